package shop

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Step is one command of a runbook, with what it must say: pieces in this
// order, and its exit code.
type Step struct {
	Line    int
	Command string
	Says    []string
	Code    int
}

// Section is what stands between two marks of a runbook ("<!-- … -->"), where a
// test does what no reader can.
type Section struct {
	Mark  string // the mark before it, "" for the first
	Steps []Step
}

// ReadRunbook takes the ```console blocks out of a page of docs/operate.
func ReadRunbook(path string) ([]Section, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out, inside := []Section{{}}, false
	for i, line := range strings.Split(string(raw), "\n") {
		now := &out[len(out)-1]
		mark, marked := strings.CutPrefix(line, "<!-- ")
		command, begins := strings.CutPrefix(line, "$ ")
		code, coded := strings.CutPrefix(line, "[exit ")
		switch {
		case line == "```console":
			inside = true
		case line == "```":
			inside = false
		case marked && !inside:
			out = append(out, Section{Mark: strings.TrimSuffix(mark, " -->")})
		case !inside:
		case begins:
			now.Steps = append(now.Steps, Step{Line: i + 1, Command: command})
		case len(now.Steps) == 0:
			return nil, fmt.Errorf("%s:%d: output before any command", path, i+1)
		case coded:
			if now.Steps[len(now.Steps)-1].Code, err = strconv.Atoi(strings.TrimSuffix(code, "]")); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
			}
		default:
			last := &now.Steps[len(now.Steps)-1]
			for _, piece := range strings.Split(line, "…") {
				if piece = strings.TrimSpace(piece); piece != "" {
					last.Says = append(last.Says, piece)
				}
			}
		}
	}
	if inside {
		return nil, fmt.Errorf("%s: a block does not end", path)
	}
	return out, nil
}

// Follow does what a section says, as a reader would who pastes it into a
// shell. env adds to the house's environment.
func (s *Shop) Follow(t testing.TB, section Section, env ...string) {
	t.Helper()
	section.Follow(t, func(command string) (int, string) {
		argv := append([]string{"env"}, env...)
		code, out, errs := s.Try(append(argv, Shell(command)...)...)
		return code, errs + out
	})
}

// Shell is how a reader's shell runs a command of a page.
func Shell(command string) []string { return []string{"bash", "-euo", "pipefail", "-c", command} }

// Follow has run do what a section says and give exit code and output, and holds
// both to the page.
func (s Section) Follow(t testing.TB, run func(command string) (code int, said string)) {
	t.Helper()
	for _, step := range s.Steps {
		code, said := run(step.Command)
		if code != step.Code {
			t.Fatalf("line %d: %s\nexit code %d, the page says %d\n%s", step.Line, step.Command, code, step.Code, said)
		}
		rest := said
		for _, piece := range step.Says {
			_, after, ok := strings.Cut(rest, piece)
			if !ok {
				t.Fatalf("line %d: %s\ndoes not say %q (in this order)\n%s", step.Line, step.Command, piece, said)
			}
			rest = after
		}
	}
}
