package match

import (
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/version"
)

func rpmPackage(name, ver, module string) inventory.Package {
	return inventory.Package{Name: name, Arch: "x86_64", Version: ver, Scheme: version.RPM, Source: name, Module: module, Status: inventory.Status{Want: "install", Flag: "ok", State: inventory.Installed}}
}

// Every pairing of what a record says of streams with what a host knows of them.
func TestModuleStreamsAreKeptApart(t *testing.T) {
	const (
		build = "1:18.12.1-2.module_el8.7.0+3369+37ae6a45"
		below = "1:18.0.0-1.module_el8.6.0+1+1"
		above = "1:18.20.0-1.module_el8.9.0+1+1"
		label = "nodejs:18:8060020220823:0b4eb31d"
	)
	ranges := func(fixed string) []advisory.Range {
		return []advisory.Range{{Type: "ECOSYSTEM", Introduced: advisory.Beginning, Fixed: fixed}}
	}
	for _, c := range []struct {
		name, module, fixed, installed, label string
		want                                  string // state code
	}{
		{"same stream", "nodejs:18", build, below, label, "affected below-fixed"},
		{"same stream, newer", "nodejs:18", build, above, label, "not_affected fixed"},
		{"another stream", "nodejs:16", build, below, label, "not_affected not-named"},
		{"stream of the host not known", "nodejs:18", build, below, "", "unknown module-unknown"},
		{"a label that says too little", "nodejs:18", build, below, "nodejs", "unknown module-unknown"},
		{"a short label beside a plain version", "nodejs:18", build, "1:18.0.0-1.el8", "nodejs", "unknown module-unknown"},
		{"not known and newer than any fix", "nodejs:18", build, above, "", "not_affected fixed"},
		{"stream of the record not known", "", build, below, label, "unknown module-unknown"},
		{"neither known", "", build, below, "", "unknown module-unknown"},
		{"package of no module, record of one", "nodejs:18", build, "1:16.0.0-1.el8", "", "not_affected not-named"},
		{"package of no module, build of one", "", build, "1:16.0.0-1.el8", "", "not_affected not-named"},
		{"package of a module, record of none", "", "1:18.12.1-2.el8", below, label, "not_affected not-named"},
		{"no fix, no stream", "", "", below, label, "affected unfixed"},
		{"no fix, another stream", "nodejs:20", "", below, label, "not_affected not-named"},
		{"no fix, stream not known", "nodejs:20", "", below, "", "unknown module-unknown"},
	} {
		a := advisory.Advisory{ID: "ALSA-1", Source: "osv/ALSA", Basis: advisory.BasisRecord, Affected: []advisory.Affected{{Ecosystem: "AlmaLinux:8", Package: "nodejs", Module: c.module, Ranges: ranges(c.fixed)}}}
		inv := inventory.Inventory{OS: inventory.OS{ID: "almalinux", VersionID: "8.7"}, Packages: []inventory.Package{rpmPackage("nodejs", c.installed, c.label)}}
		ix := NewIndex(advisory.Set{Snapshot: advisory.Snapshot{Count: 1}, Advisories: []advisory.Advisory{a}})
		got := Explain(inv, ix, Query{Advisory: "ALSA-1", Package: "nodejs"})
		if len(got) != 1 || string(got[0].State)+" "+string(got[0].Reason.Code) != c.want {
			t.Errorf("%s: %+v, want %s", c.name, got, c.want)
		}
		if c.want == "unknown module-unknown" && !strings.Contains(got[0].Reason.Text, "stream") {
			t.Errorf("%s: %s", c.name, got[0].Reason.Text)
		}
		if n := len(Find(inv, ix)); (n == 0) != strings.HasPrefix(c.want, "not_") {
			t.Errorf("%s: %d findings", c.name, n)
		}
		if c.label == "" { // as the fleet index asks
			s, _ := Verdict(&a, advisory.Subject{Ecosystem: "AlmaLinux:8", Package: "nodejs"}, Seen{Version: c.installed, Settled: true})
			if !strings.HasPrefix(c.want, string(s)+" ") {
				t.Errorf("%s: Verdict says %s", c.name, s)
			}
		}
	}
}

// What is certain comes before what depends on a stream.
func TestOneCertainPartDecides(t *testing.T) {
	part := func(module, fixed string) *advisory.Affected {
		return &advisory.Affected{Ecosystem: "AlmaLinux:8", Package: "a", Module: module, Ranges: []advisory.Range{{Introduced: advisory.Beginning, Fixed: fixed}}}
	}
	const build = ".module_el8+1+1"
	for want, parts := range map[string][]*advisory.Affected{
		"affected below-fixed":                    {part("m:1", "2-1"+build), part("", "2-1"+build)},
		"unknown module-unknown":                  {part("m:1", "1-0"+build), part("", "2-1"+build)},
		"not_affected fixed":                      {part("m:1", "1-0"+build), part("", "1-0"+build)},
		"under_investigation under-investigation": {{Ecosystem: "AlmaLinux:8", Package: "a", Module: "m:1", Status: advisory.UnderInvestigation}, part("", "1-0"+build)},
	} {
		p := rpmPackage("a", "1-1"+build, "m:1:1:1")
		v, _ := record{&advisory.Advisory{Source: "osv/ALSA"}, parts}.about(p, identity{"a", p.Version}, false)
		if got := string(v.state) + " " + string(v.code); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
