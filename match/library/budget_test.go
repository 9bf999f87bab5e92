package library

import (
	"fmt"
	"testing"

	"github.com/patchwrit/patchwrit/inventory/sbom"
	"github.com/patchwrit/patchwrit/match"
)

func TestABudgetIsKeptAndNoPartIsGiven(t *testing.T) {
	var records []string
	for i := range 4 {
		records = append(records, fmt.Sprintf(`{"id":"GHSA-%d","affected":[{"package":{"ecosystem":"npm","name":"m"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"2.0.0"}]}]}]}`, i))
	}
	ix := set(t, records...)
	for name, x := range map[string]struct {
		version     string
		given, most int
		negative    bool
		want        int // -1: too many
	}{
		"as many findings as there may be":   {"1.0.", 12, 99, false, 12},
		"one more":                           {"1.0.", 11, 99, false, -1},
		"what is not affected takes no room": {"3.0.", 0, 12, false, 0},
		"but where it is asked for":          {"3.0.", 11, 12, true, -1},
		"one comparison more":                {"3.0.", 99, 11, false, -1},
	} {
		var libs []sbom.Library
		for i := range 3 {
			libs = append(libs, sbom.Library{Ecosystem: "npm", Name: "m", Version: x.version + fmt.Sprint(i)})
		}
		found := answers(libs, ix, match.Query{}, x.negative, match.Budget{Findings: x.given, Weighings: x.most})
		over := len(found) == 1 && found[0].Reason.Code == match.TooMany && found[0].State == match.Unknown && found[0].Package == ""
		if over != (x.want < 0) || !over && len(found) != x.want {
			t.Errorf("%s: %d answers", name, len(found))
		}
	}
}
