package quarantine

import (
	"math"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
)

// words are the qualitative levels in use: Debian's urgency, Ubuntu's priority,
// Red Hat's impact.
var words = map[string]int{
	"none": 0, "unimportant": 0, "negligible": 0, "untriaged": -1, "low": 1, "low*": 1, "low**": 1, "medium": 2, "medium*": 2, "medium**": 2, "moderate": 2,
	"high": 3, "high*": 3, "high**": 3, "important": 3, "critical": 4,
}

// level is 0 (none) to 4 (critical) by CVSS 3.1's qualitative scale (section 5),
// or -1 when it cannot be told.
func level(s advisory.Severity) int {
	if l, ok := words[strings.ToLower(s.Score)]; ok {
		return l
	}
	score, ok := base3(s.Score)
	if f, err := strconv.ParseFloat(s.Score, 64); err == nil {
		score, ok = f, true
	}
	switch {
	case !ok:
		return -1
	case score >= 9:
		return 4
	case score >= 7:
		return 3
	case score >= 4:
		return 2
	case score > 0:
		return 1
	}
	return 0
}

// flipped says that a severity which stood moved by two levels or more, or "".
// A severity for what had none is news; one that goes away is a flip to none.
func flipped(a, old *advisory.Advisory) string {
	was, now, out := levels(old), levels(a), ""
	for k, w := range was {
		n, ok := now[k]
		if !ok {
			n = scale{0, "none"}
		}
		if d := n.level - w.level; d >= 2 || d <= -2 {
			if why := "the severity " + k.what + " by " + k.by + " jumped from " + w.text + " to " + n.text; out == "" || why < out {
				out = why
			}
		}
	}
	return out
}

type voice struct{ ecosystem, pkg, by, what string }

type scale struct {
	level int
	text  string
}

// levels are the highest level of each scale and package.
func levels(a *advisory.Advisory) map[voice]scale {
	out := map[voice]scale{}
	put := func(ecosystem, pkg string, list []advisory.Severity) {
		for _, s := range list {
			k := voice{ecosystem, pkg, s.Source, s.Type}
			if l := level(s); l >= 0 && (l > out[k].level || out[k].text == "") {
				out[k] = scale{l, s.Score}
			}
		}
	}
	put("", "", a.Severities)
	for _, f := range a.Affected {
		put(f.Ecosystem, f.Package, f.Severities)
	}
	return out
}

// weights of CVSS 3.1, section 7.4; PR has others when the scope changes.
var weights = map[string]float64{
	"AV:N": .85, "AV:A": .62, "AV:L": .55, "AV:P": .2, "AC:L": .77, "AC:H": .44, "PR:N": .85, "PR:L": .62, "PR:H": .27,
	"UI:N": .85, "UI:R": .62, "C:H": .56, "C:L": .22, "I:H": .56, "I:L": .22, "A:H": .56, "A:L": .22, "C:N": 0, "I:N": 0, "A:N": 0,
}

// base3 computes the base score of a CVSS 3.x vector (specification 3.1, section 7.1).
func base3(vector string) (float64, bool) {
	rest, ok := strings.CutPrefix(vector, "CVSS:3.")
	m := map[string]float64{}
	changed := strings.Contains(rest, "/S:C")
	for _, part := range strings.Split(rest, "/")[1:] {
		name, _, _ := strings.Cut(part, ":")
		if w, ok := weights[part]; ok {
			m[name] = w
		}
		if changed && part == "PR:L" {
			m[name] = .68
		} else if changed && part == "PR:H" {
			m[name] = .5
		}
	}
	if !ok || len(m) != 7 {
		return 0, false
	}
	iss := 1 - (1-m["C"])*(1-m["I"])*(1-m["A"])
	impact := 6.42 * iss
	if changed {
		impact = 7.52*(iss-.029) - 3.25*math.Pow(iss-.02, 15)
	}
	if impact <= 0 {
		return 0, true
	}
	sum := impact + 8.22*m["AV"]*m["AC"]*m["PR"]*m["UI"]
	if changed {
		sum *= 1.08
	}
	return math.Ceil(math.Min(sum, 10)*10-1e-6) / 10, true
}
