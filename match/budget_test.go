package match

import (
	"fmt"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/inventory"
)

// crowd is so many packages, of one source version or of as many, and so many
// records about the source: affected, or of versions that are past.
func crowd(t *testing.T, packages, records int, sources bool, fixed string) (inventory.Inventory, Index) {
	var lines, texts []string
	for i := range packages {
		v := "1"
		if sources {
			v = fmt.Sprint(1, ".", i)
		}
		lines = append(lines, fmt.Sprintf("p%d amd64 %s s %s installed", i, v, v))
	}
	for i := range records {
		texts = append(texts, osv(fmt.Sprintf("DSA-%d", i), "", "Debian:12", "s", "introduced 0 fixed "+fixed))
	}
	return host(lines...), NewIndex(feed(t, "osv", texts...))
}

func TestABudgetIsKeptAndNoPartIsGiven(t *testing.T) {
	for name, x := range map[string]struct {
		packages, records int
		sources           bool
		fixed             string
		most              Budget
		found             int // -1: nothing is given
	}{
		"as many findings as there may be":         {3, 4, true, "9", Budget{12, 99}, 12},
		"one more":                                 {3, 4, true, "9", Budget{11, 99}, -1},
		"one more, of one source":                  {3, 4, false, "9", Budget{11, 99}, -1},
		"as many comparisons as there may be":      {3, 4, true, "0", Budget{99, 12}, 0},
		"one more comparison":                      {3, 4, true, "0", Budget{99, 11}, -1},
		"packages of one source are compared once": {3, 4, false, "0", Budget{99, 4}, 0},
		"what is not affected takes no room":       {3, 4, true, "0", Budget{0, 12}, 0},
	} {
		inv, ix := crowd(t, x.packages, x.records, x.sources, x.fixed)
		sys, _ := ix.system(inv.OS)
		found, whole := ix.found(sys, inv, Query{}, false, x.most)
		if want := max(0, x.found); len(found) != want || whole != (x.found >= 0) {
			t.Errorf("%s: %d findings, whole: %v", name, len(found), whole)
		}
	}
}

// Red Hat's records are looked up by product: their way is counted too.
func TestComparisonsWithRedHatsRecordsAreCounted(t *testing.T) {
	inv := inventory.Inventory{OS: inventory.OS{ID: "rhel", VersionID: "9.4"}, Packages: []inventory.Package{rpmPackage("p", "1-1.el9", "")}}
	a := advisory.Advisory{ID: "CVE-2026-1", Source: "redhat/csaf", Basis: advisory.BasisRecord, Affected: []advisory.Affected{
		{Ecosystem: "Red Hat:enterprise_linux:9::baseos", Package: "p", Ranges: []advisory.Range{{Type: "ECOSYSTEM", Introduced: advisory.Beginning, Fixed: "2-1.el9"}}}}}
	ix := NewIndex(advisory.Set{Snapshot: advisory.Snapshot{Count: 1}, Advisories: []advisory.Advisory{a}})
	sys, _ := ix.system(inv.OS)
	for most, want := range map[int]bool{0: false, 1: true} {
		if found, whole := ix.found(sys, inv, Query{}, false, Budget{9, most}); whole != want || len(found) != most {
			t.Errorf("%d comparisons: %d found, whole: %v", most, len(found), whole)
		}
	}
}

func TestMoreFindingsThanMayBeAreUnknown(t *testing.T) {
	inv, ix := crowd(t, 1000, MaxFindings/1000, false, "9")
	if a := Search(inv, ix); len(a.found) != MaxFindings || len(a.whole) != 0 {
		t.Errorf("at the limit: %d found, %+v", len(a.found), a.whole)
	}
	inv.Packages = append(inv.Packages, host("q amd64 1 s 1 installed").Packages...)
	if f := Find(inv, ix); len(f) != 1 || f[0].State != Unknown || f[0].Reason.Code != TooMany || f[0].Package != "" || f[0].Advisory != "" {
		t.Errorf("%d findings, the first %+v", len(f), f[0])
	}
	if f := Explain(inv, ix, Query{Package: "s"}); len(f) != 1 || f[0].Reason.Code != TooMany {
		t.Errorf("%d answers, the first %+v", len(f), f[0])
	}
}
