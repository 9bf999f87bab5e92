package solve

import (
	"slices"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/match"
)

// A library is there in two versions. That one of them is affected anyway says
// nothing of the other, and neither does an answer that did not come.
func TestDoubtIsAboutOneVersion(t *testing.T) {
	raw := `{"id":"GHSA-1","aliases":["CVE-2026-1"],"affected":[{"package":{"ecosystem":"npm","name":"m"}}]}`
	came, err := advisory.ParseOSV([]byte(raw), (advisory.Snapshot{Name: "osv"}).Origin())
	if err != nil {
		t.Fatal(err)
	}
	found := func(version string) match.Finding {
		return match.Finding{Advisory: "GHSA-1", Aliases: []string{"CVE-2026-1"}, Package: "m", Version: version, State: match.Affected, Sources: []match.Source{{Raw: came.Raw}}}
	}
	s := Seen{Findings: []match.Finding{found("1")}}
	s.Doubt([]Held{{Feed: "osv", Came: &came}}, func(match.Index) []match.Finding {
		return []match.Finding{found("1"), found("2"), match.Exceeded("libraries")}
	})
	var got []string
	for _, f := range s.Findings {
		got = append(got, f.Version+" "+string(f.Reason.Code))
	}
	if want := []string{"1 ", "2 quarantined", " too-many"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
