package apt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/change"
)

// maxSimulation bounds what a dry run may print: 3,000 packages give about
// 500 KB.
const maxSimulation = 16 << 20

// Step is one line of apt-get's dry run.
type Step struct {
	Verb    string // "Inst", "Conf", "Remv" or "Purg"
	Package string
	Arch    string // "" in Remv lines of the native architecture, which apt does not print
	Old     string // version installed, "" when apt prints none
	Version string // candidate, "" in Remv lines
}

// ReadSimulation takes the steps out of the output of apt-get --simulate. Lines
// that begin with another word are apt's talk.
func ReadSimulation(text string) ([]Step, error) {
	if len(text) > maxSimulation {
		return nil, fmt.Errorf("the dry run printed %d bytes, limit %d", len(text), maxSimulation)
	}
	var steps []Step
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		verb, rest, _ := strings.Cut(line, " ")
		if !slices.Contains([]string{"Inst", "Conf", "Remv", "Purg"}, verb) {
			continue
		}
		s, ok := parseStep(verb, rest)
		if !ok {
			return nil, fmt.Errorf("a line of the dry run cannot be read: %.200q", line)
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// parseStep reads "name[:arch] [old] (version source… [arch]) [more]".
func parseStep(verb, rest string) (Step, bool) {
	s := Step{Verb: verb}
	name, rest, _ := strings.Cut(rest, " ")
	s.Package, s.Arch, _ = strings.Cut(name, ":")
	if old, after, ok := bracket(rest, '[', ']'); ok {
		s.Old, rest = old, after
	}
	inner, after, ok := bracket(rest, '(', ')')
	if ok {
		version, source, _ := strings.Cut(inner, " ")
		i := strings.LastIndex(source, "[")
		if version == "" || i < 0 || !strings.HasSuffix(source, "]") {
			return s, false
		}
		arch := source[i+1 : len(source)-1]
		if s.Arch != "" && s.Arch != arch {
			return s, false
		}
		s.Version, s.Arch, rest = version, arch, after
	}
	if (verb == "Inst" || verb == "Conf") != ok || (!ok && s.Old == "") {
		return s, false
	}
	// What may follow names packages that are broken for the moment: "[perl:amd64 ]".
	rest = strings.TrimSpace(rest)
	return s, change.Name(s.Package) && (rest == "" || (strings.HasPrefix(rest, "[") && strings.HasSuffix(rest, "]")))
}

// bracket takes "[text]" or "(text)" from the front of s. Brackets of the other
// kind may stand inside.
func bracket(s string, open, shut byte) (inner, after string, ok bool) {
	s = strings.TrimPrefix(s, " ")
	if s == "" || s[0] != open {
		return "", s, false
	}
	end := strings.IndexByte(s, shut)
	if end < 0 {
		return "", s, false
	}
	return s[1:end], s[end+1:], true
}

// differs says how the dry run's steps differ from the changes, or "". The
// sets must be equal: every package installed, configured and removed, with its
// versions, and nothing else. native is dpkg's own architecture.
func differs(changes []change.Change, steps []Step, native string) string {
	want, got := []string{}, []string{}
	for _, c := range changes {
		if c.Op == change.Remove {
			want = append(want, fmt.Sprintf("remove %s:%s %s", c.Package, c.Arch, c.From))
			continue
		}
		want = append(want, fmt.Sprintf("install %s from %q to %s", c.Key(), c.From, c.To), fmt.Sprintf("configure %s %s", c.Key(), c.To))
	}
	for _, s := range steps {
		switch s.Verb {
		case "Inst":
			got = append(got, fmt.Sprintf("install %s:%s from %q to %s", s.Package, s.Arch, s.Old, s.Version))
		case "Conf":
			got = append(got, fmt.Sprintf("configure %s:%s %s", s.Package, s.Arch, s.Version))
		case "Remv":
			got = append(got, fmt.Sprintf("remove %s:%s %s", s.Package, removed(changes, s, native), s.Old))
		default:
			got = append(got, fmt.Sprintf("purge %s:%s %s", s.Package, s.Arch, s.Old))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	return compare(want, got)
}

// removed is the architecture of a Remv line. apt prints none for the native
// one, and none for "all".
func removed(changes []change.Change, s Step, native string) string {
	if s.Arch != "" {
		return s.Arch
	}
	for _, c := range changes {
		if c.Op == change.Remove && c.Package == s.Package && (c.Arch == "all" || c.Arch == native) {
			return c.Arch
		}
	}
	return native
}
