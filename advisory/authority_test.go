package advisory

import (
	"slices"
	"testing"
)

func TestAuthorityIsOverOnesOwnPackages(t *testing.T) {
	for _, c := range []struct {
		source, ecosystem string
		want              Authority
	}{
		{"osv/DEBIAN", "Debian:12", Distribution}, {"debian/tracker", "Debian:13", Distribution}, {"osv/DSA", "Debian:12", Distribution},
		{"osv/DEBIAN", "Ubuntu:24.04:LTS", CNA}, {"osv/USN", "Ubuntu:24.04:LTS", Distribution}, {"osv/ALSA", "AlmaLinux:9", Distribution},
		{"osv/ALSA", "Red Hat:enterprise_linux:9", CNA}, {"redhat/csaf", "Red Hat:enterprise_linux:9", Distribution}, {"redhat/csaf", "AlmaLinux:9", CNA},
		{"alpine/secdb", "Alpine:v3.20", Distribution}, {"wolfi/secdb", "Chainguard", CNA}, {"osv/GHSA", "Debian:12", CNA}, {"osv/GO", "Go", CNA},
		{"cisa/kev", "Debian:12", KEVADP}, {"nvd", "Debian:12", NVD}, {"osv/debian", "Debian:12", People}, {"osv/X", "Debian:12", People}, {"", "", People},
		{"openvex/Debian", "Debian:12", People},
	} {
		a := Advisory{Source: c.source, Basis: BasisRecord}
		if got := a.Over(c.ecosystem); got != c.want {
			t.Errorf("%s over %s is %s, want %s", c.source, c.ecosystem, got, c.want)
		}
		a.Basis = BasisStatement
		if got := a.Over(c.ecosystem); got != People {
			t.Errorf("a statement under the name of %s is %s", c.source, got)
		}
	}
	signed := Advisory{Source: "debian/changelog", Basis: BasisMention, Feed: Feed{Kind: KindSigned}}
	unsigned := signed
	unsigned.Feed.Kind = "osv"
	record := signed
	record.Basis = BasisRecord
	if signed.Over("Debian:12") != Vendor || signed.Over("AlmaLinux:9") != CNA || unsigned.Over("Debian:12") != People || record.Over("Debian:12") != People {
		t.Error("only a changelog inside a verified package is the vendor's word")
	}
	if !Shipped("Debian:12") || !Shipped("AlmaLinux:9") || Shipped("Go") || Shipped("PyPI") || Shipped("") {
		t.Error("which ecosystems a distribution ships")
	}
}

func TestAuthoritiesAreALine(t *testing.T) {
	for i, a := range Authorities {
		if a.Rank() != len(Authorities)-i || a.Works() != (a == Vendor || a == Distribution) {
			t.Errorf("%s: rank %d, works %v", a, a.Rank(), a.Works())
		}
	}
	if Authority("root").Rank() != 0 || Authority("").Works() || !slices.Contains(Authorities, People) {
		t.Error("an unknown word has authority")
	}
}
