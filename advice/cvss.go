package advice

import (
	"math"
	"slices"
	"strings"
)

// Weights of CVSS 3.0 and 3.1 (FIRST, CVSS v3.1 specification, section 7.4).
var weights = map[string]map[string]float64{
	"AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
	"AC": {"L": 0.77, "H": 0.44},
	"PR": {"N": 0.85, "L": 0.62, "H": 0.27},
	"UI": {"N": 0.85, "R": 0.62},
	"S":  {"U": 0, "C": 1},
	"C":  {"H": 0.56, "L": 0.22, "N": 0},
	"I":  {"H": 0.56, "L": 0.22, "N": 0},
	"A":  {"H": 0.56, "L": 0.22, "N": 0},
}

// Metrics reads the base metrics of a CVSS 3.0 or 3.1 vector. It is false for
// other versions, and where a base metric is missing, unknown or stands twice.
func metrics(vector string) (map[string]string, bool) {
	rest, ok := strings.CutPrefix(vector, "CVSS:3.1/")
	if !ok {
		if rest, ok = strings.CutPrefix(vector, "CVSS:3.0/"); !ok {
			return nil, false
		}
	}
	got, base := map[string]string{}, 0
	for part := range strings.SplitSeq(rest, "/") {
		name, value, ok := strings.Cut(part, ":")
		if _, twice := got[name]; !ok || twice {
			return nil, false
		}
		got[name] = value
		if known := weights[name]; known != nil {
			if _, ok := known[value]; !ok {
				return nil, false
			}
			base++
		}
	}
	return got, base == len(weights)
}

// Base gives the base score of a CVSS 3.0 or 3.1 vector in tenths, by section 7.1
// of the specification. It is false for other vectors.
func Base(vector string) (tenths int, ok bool) {
	m, ok := metrics(vector)
	if !ok {
		return 0, false
	}
	w := func(name string) float64 { return weights[name][m[name]] }
	changed := m["S"] == "C"
	privileges := w("PR")
	if changed && m["PR"] == "L" {
		privileges = 0.68
	}
	if changed && m["PR"] == "H" {
		privileges = 0.5
	}
	iss := 1 - (1-w("C"))*(1-w("I"))*(1-w("A"))
	impact := 6.42 * iss
	if changed {
		impact = 7.52*(iss-0.029) - 3.25*math.Pow(iss-0.02, 15)
	}
	if impact <= 0 {
		return 0, true
	}
	sum := impact + 8.22*w("AV")*w("AC")*privileges*w("UI")
	if changed {
		sum *= 1.08
	}
	return roundUp(min(sum, 10)), true
}

// roundUp is the smallest number of tenths that is not below x: appendix A of the
// specification, which keeps floating point out of the answer.
func roundUp(x float64) int {
	n := int(math.Round(x * 100000))
	return (n + 9999) / 10000
}

// canonical gives a vector with its metrics in alphabetical order, so that two
// are the same if they say the same, in any order (section 6). What is no vector
// of CVSS 3.0 or 3.1 stays as it is.
func canonical(vector string) string {
	if _, ok := metrics(vector); !ok {
		return vector
	}
	parts := strings.Split(vector, "/")
	slices.Sort(parts[1:])
	return strings.Join(parts, "/")
}
