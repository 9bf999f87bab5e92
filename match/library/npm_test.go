package library

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/inventory/sbom"
	"github.com/patchwrit/patchwrit/match"
)

// npm tells capitals apart. Where a bill has two spellings, what is said of the
// first one counts, and of the second one nobody knows whether it is meant.
func TestAnNPMPackageInTwoSpellings(t *testing.T) {
	of := func(id, events string, names ...string) string {
		var affected []string
		for _, n := range names {
			affected = append(affected, fmt.Sprintf(`{"package":{"ecosystem":"npm","name":%q},"ranges":[{"type":"SEMVER","events":[%s]}]}`, n, events))
		}
		return fmt.Sprintf(`{"id":%q,"affected":[%s]}`, id, strings.Join(affected, ","))
	}
	const all, below = `{"introduced":"0"}`, `{"introduced":"0"},{"fixed":"1.0.0"}`
	ix := set(t, of("GHSA-1", all, "JSONStream"), of("GHSA-2", all, "jsonstream"), of("GHSA-3", all, "JSONStream", "jsonstream"), of("GHSA-4", below, "jsonstream"), of("GHSA-5", all, "JSONSTREAM"))
	for name, c := range map[string]struct {
		name, other string
		want        []string
	}{
		"capitals alone":   {"JSONStream", "", []string{"GHSA-1 affected found-not-fixable", "GHSA-3 affected found-not-fixable"}},
		"lower case alone": {"jsonstream", "", []string{"GHSA-2 affected found-not-fixable", "GHSA-3 affected found-not-fixable"}},
		"both":             {"JSONStream", "jsonstream", []string{"GHSA-1 affected found-not-fixable", "GHSA-2 unknown capitals-unknown", "GHSA-3 affected found-not-fixable"}},
		"neither":          {"jsonStream", "", nil},
	} {
		var got []string
		for _, f := range Find([]sbom.Library{{Ecosystem: "npm", Name: c.name, Other: c.other, Version: "1.0.0"}}, ix) {
			got = append(got, fmt.Sprintf("%s %s %s", f.Advisory, f.State, f.Reason.Code))
			if f.State == match.Unknown && (f.Fixed != "" || f.Package != c.name || f.Source != c.other || f.Sources[0].State != match.Unknown) {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	both := []sbom.Library{{Ecosystem: "npm", Name: "JSONStream", Other: "jsonstream", Version: "1.0.0"}}
	if f := Explain(both, ix, match.Query{Advisory: "GHSA-2", Package: "jsonstream"}); len(f) != 1 || f[0].Reason.Code != match.CapitalsUnknown {
		t.Errorf("asked by the second spelling: %+v", f)
	}
	if f := Explain(both, ix, match.Query{Advisory: "GHSA-4"}); len(f) != 1 || f[0].State != match.NotAffected {
		t.Errorf("not affected under any name: %+v", f)
	}
}
