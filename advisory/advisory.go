// Package advisory is one normal form for what the world says about
// vulnerabilities.
//
// The parties: sources (a distribution, a vendor, a CNA) write records; feeds
// carry them, room feed fetches them and keeps the raw bytes by digest; match,
// priority and people read the normal form. The objects: a Snapshot is one
// reading of one feed, an Advisory is one record in it, a Set is both together.
//
// The promise: an Advisory is exactly one record of one source, never several
// merged, so every field's source is the Advisory's own Source, Raw and Feed;
// where a record passes on somebody else's word, that element names its source.
// What a record does not state stays unstated: unscored is not zero, unfixed is
// not fixed, unread is a Gap. The parser takes a record whole or not at all.
//
// The package fetches nothing, judges no installed version (room match), and
// believes no text: summaries are shown to people and never decide anything.
package advisory

import (
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/version"
)

// Basis says what kind of statement a record rests on.
type Basis string

const (
	// BasisRecord is a statement about the vulnerability itself, with ranges.
	BasisRecord Basis = "record"
	// BasisMention is a vendor's changelog that names the vulnerability beside
	// a version. A mention is not always a fix.
	BasisMention Basis = "changelog-mention"
	// BasisStatement is what people of the house say themselves. It ends, and
	// alone it neither makes work nor calls anything off.
	BasisStatement Basis = "statement"
)

// Advisory is one record. Strings are printable ASCII and slices are never nil.
type Advisory struct {
	ID         string       `json:"id"`
	Aliases    []string     `json:"aliases"`  // other names of the same vulnerability, ascending
	Upstream   []string     `json:"upstream"` // vulnerabilities this one is a packaged case of, ascending
	Related    []string     `json:"related"`  // says nothing about sameness, ascending
	Source     string       `json:"source"`   // who says so: "osv/DEBIAN", "debian/changelog"
	Basis      Basis        `json:"basis"`
	Published  int64        `json:"published"`         // Unix seconds, 0 when not stated
	Modified   int64        `json:"modified"`          // Unix seconds, 0 when not stated
	Withdrawn  int64        `json:"withdrawn"`         // Unix seconds, 0 when in force
	Expires    int64        `json:"expires,omitempty"` // Unix seconds; 0: it has no end
	Summary    canon.Note   `json:"summary"`
	Affected   []Affected   `json:"affected"`
	Severities []Severity   `json:"severities"` // of the vulnerability as such; see Unscored
	Raw        canon.Digest `json:"raw"`        // SHA-256 of the record's bytes
	Feed       Feed         `json:"feed"`
}

// Status is what a source says about a package beside the ranges or instead of
// them. The zero value adds nothing: the ranges say it all.
type Status string

// The closed set of statuses. With the first five the package is affected as
// far as the ranges go, and they say what its source intends. With the others
// the ranges are empty, and Versions, where there are any, are those meant.
const (
	Unfixed    Status = "unfixed"     // open; nothing is said about a fix
	NoAdvisory Status = "no-advisory" // open and held to be minor: no security update of its own, perhaps a fix in a later one
	Postponed  Status = "postponed"   // open; to be fixed together with a later, graver one
	WontFix    Status = "wont-fix"    // open, and the source will not fix it
	EndOfLife  Status = "end-of-life" // open, and the package has no support any more

	NotAffected        Status = "not-affected"        // the source says that no version is
	UnderInvestigation Status = "under-investigation" // the source does not know yet
	Undetermined       Status = "undetermined"        // the source does not know, or contradicts itself
)

// Affected is what a record says about one package of one release.
type Affected struct {
	Ecosystem  string     `json:"ecosystem"` // "Debian:12", as OSV spells it
	Package    string     `json:"package"`   // as the ecosystem counts: the source package for Debian
	Ranges     []Range    `json:"ranges"`
	Versions   []string   `json:"versions"`         // single versions named beside the ranges
	Severities []Severity `json:"severities"`       // for this package only
	Module     string     `json:"module,omitempty"` // "nodejs:18": only the package of this module stream
	Status     Status     `json:"status,omitempty"`
	Word       string     `json:"word,omitempty"` // the source's own word for Status: "no-dsa", "vulnerable_code_not_present"
	Note       canon.Note `json:"note,omitempty"` // why, for people
}

// Range is one stretch of affected versions: from Introduced on, up to but
// without Fixed, or up to and with LastAffected. With neither there is no end:
// no fixed version is known.
type Range struct {
	Type         string `json:"type"`       // "ECOSYSTEM" or "SEMVER"
	Introduced   string `json:"introduced"` // Beginning stands before every version
	Fixed        string `json:"fixed"`
	LastAffected string `json:"last_affected"`
}

// Beginning is the Introduced that is older than every version, even 0~~.
const Beginning = "0"

// Severity is one source's word on how bad it is, uninterpreted.
type Severity struct {
	Source string `json:"source"`
	Type   string `json:"type"`  // "CVSS_V3", "Ubuntu", "urgency"
	Score  string `json:"score"` // a vector or a word, as given
}

// Feed says how a record came here.
type Feed struct {
	Name     string       `json:"name"`
	Kind     string       `json:"kind"`     // "osv", "vendor-signed changelog"
	Snapshot canon.Digest `json:"snapshot"` // the Snapshot's Digest
	Fetched  int64        `json:"fetched"`  // Unix seconds
}

// Unscored reports that no source has given any severity. It is a state of its
// own: not low, not zero.
func (a Advisory) Unscored() bool {
	for _, f := range a.Affected {
		if len(f.Severities) > 0 {
			return false
		}
	}
	return len(a.Severities) == 0
}

// CVEOf gives the CVE that a name is, or that it is a distribution's own case
// of: "UBUNTU-CVE-2026-0001" of CVE-2026-0001. "" where the name says no CVE.
func CVEOf(name string) string {
	if isCVE(name) {
		return name
	}
	head, rest, ok := strings.Cut(name, "-")
	if ok && head != "" && strings.Trim(head, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" && isCVE(rest) {
		return rest
	}
	return ""
}

// isCVE reports whether s is "CVE-", four digits, "-" and at least one digit.
// It is asked for every name of every record, so it is no regular expression.
func isCVE(s string) bool {
	rest, ok := strings.CutPrefix(s, "CVE-")
	if !ok || len(rest) < 6 || rest[4] != '-' {
		return false
	}
	return allDigits(rest[:4]) && allDigits(rest[5:])
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// cves counts the CVEs that id, aliases and upstream names say, 2 for several,
// and gives the first.
func (a *Advisory) cves() (count int, first string) {
	one := func(name string) {
		switch c := CVEOf(name); {
		case c == "" || c == first:
		case first == "":
			count, first = 1, c
		default:
			count = 2
		}
	}
	one(a.ID)
	for _, n := range a.Aliases {
		one(n)
	}
	for _, n := range a.Upstream {
		one(n)
	}
	return count, first
}

// CVE returns the one CVE id that names this record's vulnerability, or "" when
// the record has none or covers several. Related names say nothing.
func (a Advisory) CVE() string {
	if count, first := a.cves(); count == 1 {
		return first
	}
	return ""
}

// Key is the name under which records about one vulnerability are joined: its
// one CVE; where no name says a CVE, the first in order of its id and aliases;
// the id alone of a record that covers several CVEs, and so is the same thing as
// none of them. What is upstream of a record joins it only as a CVE, what is
// related never does.
func (a Advisory) Key() string {
	switch count, first := a.cves(); count {
	case 0:
		return slices.Min(append([]string{a.ID}, a.Aliases...))
	case 1:
		return first
	}
	return a.ID
}

// Names returns every name the record goes by: id, aliases, upstream.
func (a Advisory) Names() []string {
	return append(append([]string{a.ID}, a.Aliases...), a.Upstream...)
}

// SchemeOf tells how an ecosystem orders versions. False means that this
// version of Patchwrit cannot order them.
func SchemeOf(ecosystem string) (version.Scheme, bool) {
	base, _, _ := strings.Cut(ecosystem, ":")
	switch base {
	case "Debian", "Ubuntu", "Echo":
		return version.Deb, true
	case "AlmaLinux", "Rocky Linux", "Red Hat", "openSUSE", "SUSE", "Mageia", "openEuler", "Azure Linux":
		return version.RPM, true
	case "Alpine", "Chainguard", "Wolfi", "MinimOS", "Alpaquita", "BellSoft Hardened Containers":
		return version.APK, true
	}
	return "", false
}

// ModuleBuild reports whether an rpm version-release is that of a build for a
// module: its release says "module+el8.7.0+…" (Red Hat, Rocky Linux) or
// "module_el8.7.0+…" (AlmaLinux).
func ModuleBuild(v string) bool {
	return strings.Contains(v, ".module+") || strings.Contains(v, ".module_")
}

// Contains reports whether version v lies in r by the order of scheme s. The
// error (a *version.Invalid) means that it cannot be known.
func (r Range) Contains(s version.Scheme, v string) (bool, error) {
	if r.Introduced == Beginning && r.Fixed == "" && r.LastAffected == "" {
		err := version.Valid(s, v)
		return err == nil, err
	}
	if r.Introduced != Beginning {
		if c, err := version.Compare(s, v, r.Introduced); err != nil || c < 0 {
			return false, err
		}
	}
	if r.Fixed != "" {
		c, err := version.Compare(s, v, r.Fixed)
		return err == nil && c < 0, err
	}
	if r.LastAffected != "" {
		c, err := version.Compare(s, v, r.LastAffected)
		return err == nil && c <= 0, err
	}
	return true, nil
}
