package match_test

import (
	"slices"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/version"
)

// Packages of one source are judged once. What holds for each alone must hold
// for all together, whatever makes them differ.
func TestSiblingsAreJudgedAsEachAlone(t *testing.T) {
	installed := inventory.Status{Want: "install", Flag: "ok", State: inventory.Installed}
	deb := inventory.Package{Name: "p", Arch: "amd64", Version: "1-1", Scheme: version.Deb, Source: "s", SourceVersion: "1-1", Status: installed}
	rpm := inventory.Package{Name: "p", Arch: "x86_64", Version: "1-1.module_el8+1", Scheme: version.RPM, Source: "s", SourceVersion: "1-1", Status: installed}
	change := map[string]func(p *inventory.Package){
		"nothing":       func(*inventory.Package) {},
		"name":          func(p *inventory.Package) { p.Name = "q" },
		"arch":          func(p *inventory.Package) { p.Arch = "i386" },
		"version":       func(p *inventory.Package) { p.Version = "1-1+b1" },
		"source":        func(p *inventory.Package) { p.Source = "other" },
		"older source":  func(p *inventory.Package) { p.SourceVersion = "0-1" },
		"newer source":  func(p *inventory.Package) { p.SourceVersion = "3-1" },
		"state":         func(p *inventory.Package) { p.Status.State = inventory.HalfInstalled },
		"flag":          func(p *inventory.Package) { p.Status.Flag = "reinstreq" },
		"signed kernel": func(p *inventory.Package) { p.Source, p.SourceVersion = "linux-signed-amd64", "1+1" },
		"signed later":  func(p *inventory.Package) { p.Source, p.SourceVersion, p.Version = "linux-signed-amd64", "1+1", "3-1" },
		"stream":        func(p *inventory.Package) { p.Module = "m:1:2:3:x86_64" },
		"other stream":  func(p *inventory.Package) { p.Module = "m:2:2:3:x86_64" },
	}
	var sets []advisory.Set
	for _, system := range []struct {
		ecosystem, module, fixed string
		packages                 []string
	}{{"Debian:12", "", "2-1", []string{"s", "other", "linux"}}, {"AlmaLinux:8", "m:1", "2-1.module_el8+1", []string{"p", "q"}}} {
		a := advisory.Advisory{ID: "X-" + system.ecosystem, Source: "osv/DEBIAN", Basis: advisory.BasisRecord}
		for _, name := range system.packages {
			a.Affected = append(a.Affected, advisory.Affected{Ecosystem: system.ecosystem, Package: name, Module: system.module,
				Ranges: []advisory.Range{{Type: "ECOSYSTEM", Introduced: "1-0", Fixed: system.fixed}}})
		}
		sets = append(sets, advisory.Set{Snapshot: advisory.Snapshot{Name: "n", Source: system.ecosystem, Count: 1}, Advisories: []advisory.Advisory{a}})
	}
	ix := match.NewIndex(sets...)
	for system, first := range map[inventory.OS]inventory.Package{{ID: "debian", VersionID: "12"}: deb, {ID: "almalinux", VersionID: "8.10"}: rpm} {
		answers := map[match.State]bool{}
		for name, f := range change {
			second := first
			f(&second)
			both := []inventory.Package{first, second}
			var want []match.Finding
			for _, p := range both {
				want = append(want, aboutPackages(system, ix, p)...)
			}
			got := aboutPackages(system, ix, both...)
			for _, w := range want {
				answers[w.State] = true
				if !slices.ContainsFunc(got, func(f match.Finding) bool { return equal(f, w) }) {
					t.Errorf("%s, %s: not found together: %+v", system.ID, name, w)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%s, %s: %d findings together, %d of each alone", system.ID, name, len(got), len(want))
			}
		}
		if !answers[match.Affected] || !answers[match.Unknown] {
			t.Errorf("%s: the cases do not differ: %v", system.ID, answers)
		}
	}
}

// aboutPackages leaves out what is said of the question as a whole.
func aboutPackages(system inventory.OS, ix match.Index, p ...inventory.Package) []match.Finding {
	found := match.Find(inventory.Inventory{OS: system, Packages: p, Partial: []inventory.Gap{}}, ix)
	return slices.DeleteFunc(found, func(f match.Finding) bool { return f.Package == "" })
}

func equal(a, b match.Finding) bool {
	same := slices.Equal(a.Aliases, b.Aliases) && slices.Equal(a.Sources, b.Sources)
	return same && a.Advisory == b.Advisory && a.Package == b.Package && a.Arch == b.Arch && a.Source == b.Source && a.Version == b.Version &&
		a.SourceVersion == b.SourceVersion && a.Fixed == b.Fixed && a.State == b.State && a.Reason == b.Reason
}
