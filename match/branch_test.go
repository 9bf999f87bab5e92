package match

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The rule as an expression, as it stood before it was written by hand: a program
// that looks at one host would compile it at every start.
var minorRelease = regexp.MustCompile(`\.(?:module\+)?el([0-9]+)[._]([0-9]+)`)

func TestBranchIsTheExpression(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{".", "el", "8", "9", "_", "module+", "2", "-", "1.0", "x", ".el9_2", ".module+el8.6.0+1", "é"})
		v := strings.Join(rapid.SliceOfN(part, 0, 9).Draw(t, "parts"), "")
		want := ""
		if m := minorRelease.FindStringSubmatch(v[strings.LastIndexByte(v, '-')+1:]); m != nil {
			want = m[1] + "_" + m[2]
		}
		if got := branch(v); got != want {
			t.Fatalf("%q is of %q, want %q", v, got, want)
		}
	})
}
