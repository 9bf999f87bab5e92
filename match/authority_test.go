package match

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advisory"
)

// work is what of findings may become a change, and what keeps the whole answer
// from being complete.
func work(found []Finding) (out []string) {
	for _, f := range found {
		switch {
		case f.Advisory == "" && f.Package == "":
			out = append(out, "gap "+string(f.Reason.Code)+" "+f.Reason.Text)
		case f.Work():
			out = append(out, strings.Join([]string{"work", f.Advisory, f.Package, f.Arch, f.SourceVersion, f.Fixed}, " "))
		case f.Grounded():
			out = append(out, strings.Join([]string{"open", f.Advisory, f.Package}, " "))
		}
	}
	slices.Sort(out)
	return out
}

var lower = []string{"osv/GHSA", "osv/CVE", "osv/ALSA", "redhat/csaf", "cisa/kev", "nvd", "osv/ME", "openvex/me", "debian/changelog"}

// records draws a set whose records come from given sources.
func records(t *rapid.T, name string, sources []string) advisory.Set {
	versions := rapid.SampledFrom([]string{"", "0", "1-1", "1-2", "2-1", "2:1-1", "99", "not a version!"})
	s := advisory.Set{Snapshot: advisory.Snapshot{Name: name, Kind: "osv", Source: name, Count: 1}}
	for i := range rapid.IntRange(0, 6).Draw(t, name) {
		a := advisory.Advisory{ID: fmt.Sprintf("%s-%d", name, i), Source: rapid.SampledFrom(sources).Draw(t, "source"), Basis: advisory.BasisRecord,
			Upstream:  []string{rapid.SampledFrom([]string{"CVE-2026-1", "CVE-2026-2", "CVE-2026-3"}).Draw(t, "cve")},
			Withdrawn: int64(rapid.IntRange(-3, 1).Draw(t, "withdrawn"))}
		if strings.HasPrefix(a.Source, "openvex/") {
			a.Basis = advisory.BasisStatement
		}
		f := advisory.Affected{Ecosystem: rapid.SampledFrom([]string{"Debian:12", "Debian"}).Draw(t, "ecosystem"), Package: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "package"),
			Status: rapid.SampledFrom([]advisory.Status{"", advisory.NotAffected, advisory.WontFix, advisory.UnderInvestigation}).Draw(t, "status")}
		if f.Status != advisory.NotAffected && f.Status != advisory.UnderInvestigation {
			f.Ranges = []advisory.Range{{Type: "ECOSYSTEM", Introduced: rapid.SampledFrom([]string{"0", "1-2"}).Draw(t, "introduced"), Fixed: versions.Draw(t, "fixed")}}
		}
		a.Affected = []advisory.Affected{f}
		s.Advisories = append(s.Advisories, a)
	}
	return s
}

// TestLowerAuthorityNeitherMakesWorkNorEndsIt is the lattice: with or without
// any records of CNAs, KEV, ADP, NVD, other distributions and people, the same
// changes may be made, under the same names, to the same versions; what the
// distribution holds open stays open, and what is not covered stays so.
func TestLowerAuthorityNeitherMakesWorkNorEndsIt(t *testing.T) {
	inv := host("a amd64 1-1 a 1-1 installed", "b amd64 1-2 b 1-2 installed", "c amd64 2-1 c 2-1 installed")
	most, changed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		high := records(t, "high", []string{"osv/DEBIAN", "osv/DSA", "debian/tracker"})
		low := records(t, "a-low", lower)
		without, with := Find(inv, NewIndex(high)), Find(inv, NewIndex(high, low))
		if a, b := work(without), work(with); !slices.Equal(a, b) {
			t.Fatalf("without:\n  %s\nwith:\n  %s", strings.Join(a, "\n  "), strings.Join(b, "\n  "))
		}
		most = max(most, len(work(without)))
		if len(with) != len(without) {
			changed++
		}
	})
	if most < 1 || changed == 0 {
		t.Errorf("the generator shows too little: at most %d lines, %d differences in what is shown", most, changed)
	}
}

// TestALowerRecordIsShownAndSaysWhyItIsNoWork is the twin by hand.
func TestALowerRecordIsShownAndSaysWhyItIsNoWork(t *testing.T) {
	inv := host("a amd64 1-1 a 1-1 installed")
	low := feed(t, "nvd", osv("GHSA-1", "CVE-2026-1", "Debian:12", "a", "introduced 0 fixed 9-1"))
	high := feed(t, "debian", osv("DEBIAN-CVE-2026-1", "CVE-2026-1", "Debian:12", "a", "introduced 0 fixed 2-1"))
	find := func(sets ...advisory.Set) Finding {
		for _, f := range Find(inv, NewIndex(sets...)) {
			if f.Package == "a" {
				return f
			}
		}
		return Finding{}
	}
	if f := find(low); f.State != Affected || f.Work() || !strings.HasSuffix(f.Reason.Text, "nobody else's word makes work.") || f.Sources[0].Authority != advisory.CNA {
		t.Errorf("alone: %+v", f)
	}
	if f := find(low, high); !f.Work() || f.Fixed != "2-1" || f.Advisory != "DEBIAN-CVE-2026-1" || len(f.Sources) != 2 {
		t.Errorf("beside the distribution's: %+v", f)
	}
}
