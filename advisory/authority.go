package advisory

import "strings"

// Authority is how much a source's word about the packages of one ecosystem is
// worth. The order is Authorities; unknown words are worth nothing.
type Authority string

// The lattice, the strongest first (requirements row 22: nothing that people
// type, and no general database, makes work or calls it off).
const (
	Vendor       Authority = "vendor"       // in bytes under the vendor's signature, checked here: a changelog inside a verified package
	Distribution Authority = "distribution" // the distribution that ships the package, about its own releases
	CNA          Authority = "cna"          // who assigned the CVE, or keeps a database of one kind of libraries
	KEVADP       Authority = "kev-adp"      // CISA: known exploited, or an addition to a CVE record
	NVD          Authority = "nvd"
	People       Authority = "people" // anything typed, and whatever is not known here
)

// Authorities lists the lattice, the strongest first.
var Authorities = []Authority{Vendor, Distribution, CNA, KEVADP, NVD, People}

// Rank orders authorities: higher is stronger, 0 is no authority at all.
func (a Authority) Rank() int {
	for i, o := range Authorities {
		if a == o {
			return len(Authorities) - i
		}
	}
	return 0
}

// Works reports whether a record of this authority can make work: only a vendor
// or a distribution can, each about its own packages.
func (a Authority) Works() bool { return a.Rank() >= Distribution.Rank() }

// homes tells which ecosystems a distribution speaks for, by the Source of its
// records.
var homes = map[string][]string{
	"osv/DEBIAN": {"Debian"}, "osv/DSA": {"Debian"}, "osv/DLA": {"Debian"}, "osv/DTSA": {"Debian"}, "debian/tracker": {"Debian"},
	"osv/UBUNTU": {"Ubuntu"}, "osv/USN": {"Ubuntu"}, "osv/LSN": {"Ubuntu"}, "ubuntu/osv": {"Ubuntu"}, "ubuntu/vex": {"Ubuntu"},
	"osv/ALSA": {"AlmaLinux"}, "osv/ALBA": {"AlmaLinux"}, "osv/ALEA": {"AlmaLinux"},
	"osv/RLSA": {"Rocky Linux"}, "osv/RXSA": {"Rocky Linux"},
	"osv/RHSA": {"Red Hat"}, "osv/RHBA": {"Red Hat"}, "osv/RHEA": {"Red Hat"}, "redhat/csaf": {"Red Hat"},
	"osv/SUSE": {"SUSE", "openSUSE"}, "osv/openSUSE": {"SUSE", "openSUSE"}, "osv/MGASA": {"Mageia"}, "osv/OESA": {"openEuler"}, "osv/AZL": {"Azure Linux"},
	"osv/ALPINE": {"Alpine"}, "alpine/secdb": {"Alpine"},
	"osv/CGA": {"Chainguard", "Wolfi"}, "chainguard/secdb": {"Chainguard"}, "wolfi/secdb": {"Wolfi"},
	"osv/ECHO": {"Echo"}, "osv/MINI": {"MinimOS"}, "osv/BELL": {"Alpaquita", "BellSoft Hardened Containers"}, "osv/ALPAQUITA": {"Alpaquita"},
}

// others are the sources that speak for no distribution.
var others = map[string]Authority{
	"osv/CVE": CNA, "osv/GHSA": CNA, "osv/GO": CNA, "osv/PYSEC": CNA, "osv/RUSTSEC": CNA, "osv/OSV": CNA, "cve": CNA, "cve/cna": CNA,
	"cisa/kev": KEVADP, "cisa/adp": KEVADP, "cve/adp": KEVADP, "cisa/vulnrichment": KEVADP,
	"nvd": NVD, "nvd/cve": NVD,
}

// Over says what a's word about the packages of an ecosystem is worth. A
// distribution that speaks about another's packages counts as a CNA there.
// Statements of people stay theirs, whatever name stands on them.
//
// A Source is what the record says of itself. That a record is where its source
// puts it is the feed's to prove (pin, signature, transport), not this table's.
func (a *Advisory) Over(ecosystem string) Authority {
	if a.Basis == BasisStatement {
		return People
	}
	base, _, _ := strings.Cut(ecosystem, ":")
	if a.Source == "debian/changelog" && a.Basis == BasisMention && a.Feed.Kind == KindSigned {
		if base == "Debian" || base == "Ubuntu" { // the archive whose keyring the package was held to
			return Vendor
		}
		return CNA
	}
	if at, ok := homes[a.Source]; ok {
		for _, h := range at {
			if h == base {
				return Distribution
			}
		}
		return CNA
	}
	if rank, ok := others[a.Source]; ok {
		return rank
	}
	return People
}

// KindSigned is the Kind of a feed that was read inside verified packages.
const KindSigned = "vendor-signed changelog"

// Shipped reports whether some distribution speaks for an ecosystem. Where none
// does (libraries of a language) the silence of any database means something.
func Shipped(ecosystem string) bool {
	base, _, _ := strings.Cut(ecosystem, ":")
	for _, at := range homes {
		for _, h := range at {
			if h == base {
				return true
			}
		}
	}
	return false
}
