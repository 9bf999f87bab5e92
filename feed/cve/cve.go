// Package cve reads CVE records (JSON 5.x): what the CVE program, the numbering
// authority (CNA) and data publishers such as CISA (ADP) say about one
// vulnerability as such, whatever system it is in.
//
// The parties: a CNA writes the record and may score it; CISA adds a container
// with its SSVC points and, where the CNA gave none, a CVSS score; room feed
// brings the bytes; room feed/nvd reads the same facts as NIST passes them on.
// The objects: a Record is what one document says, a Claim is one SSVC point by
// one speaker, a Score is one CVSS score by one speaker, a Book is one reading of
// many documents, and Facts is what several books say together.
//
// The promise: every claim and every score keeps its speaker and its time, and
// nothing is averaged. A document is taken whole or not at all. What nobody says
// stays unsaid: unscored is not zero, an absent point is no "no". Where speakers
// differ on a point the stricter value counts, and the answer says that they do;
// where two books have different words of one speaker it counts too.
// A rejected id has no facts.
//
// Records are not signed: the digest says which bytes were read, not that they
// are true. Which products and versions are affected is not read here: a CNA's
// ranges are not those of any distribution's packages, and make no work.
package cve

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
)

// What snapshots from here are called.
const (
	Name = "cve"
	Kind = "cve json 5"
)

// Point is one decision point of SSVC.
type Point string

// The points that CISA publishes (SSVC 2.0.3, coordinator tree), with the values
// that each may have, the mildest first.
const (
	Exploitation Point = "exploitation"     // none, poc, active
	Automatable  Point = "automatable"      // no, yes
	Impact       Point = "technical impact" // partial, total
)

// Points are the points in a fixed order.
var Points = []Point{Exploitation, Automatable, Impact}

var values = map[Point][]string{
	Exploitation: {"none", "poc", "active"}, Automatable: {"no", "yes"}, Impact: {"partial", "total"},
}

// Role is what a speaker is to the record. Of two scores that of the CNA counts
// before that of an ADP, and that before NIST's own.
type Role string

// The closed set of roles.
const (
	CNA Role = "cna"
	ADP Role = "adp"
	NVD Role = "nvd"
)

var authority = map[Role]int{CNA: 0, ADP: 1, NVD: 2}

// CISA is how CISA's ADP container is called here, whatever it calls itself;
// CISAOrg is its organisation's id, by which it is known.
const (
	CISA    = "CISA-ADP"
	CISAOrg = "134c704f-9b21-4f2e-91b3-4a467353bcc0"
)

// Claim is one SSVC point as one speaker sees it.
type Claim struct {
	CVE    string `json:"cve"`
	Point  Point  `json:"point"`
	Value  string `json:"value"`  // lower case, one of the Point's
	Source string `json:"source"` // "CISA-ADP"; else the speaker's short name or id
	Role   Role   `json:"role"`
	At     int64  `json:"at"`            // Unix seconds; 0: not stated
	Via    string `json:"via,omitempty"` // who passed it on: "nvd"; "": it stands in the CVE record
}

// Score is one CVSS base score by one speaker.
type Score struct {
	CVE     string `json:"cve"`
	Version string `json:"version"` // "2.0", "3.0", "3.1", "4.0"
	Vector  string `json:"vector"`  // as given
	Tenths  int    `json:"tenths"`  // base score as given, in tenths: 0 to 100
	Source  string `json:"source"`
	Role    Role   `json:"role"`
	At      int64  `json:"at"` // Unix seconds; 0: not stated
	Via     string `json:"via,omitempty"`
}

// Base is the base score as people write it: "9.8".
func (s Score) Base() string { return fmt.Sprintf("%d.%d", s.Tenths/10, s.Tenths%10) }

// Record is what one document says about one CVE. Slices are never nil.
type Record struct {
	CVE       string        `json:"cve"`
	Status    string        `json:"status"`    // the document's own word: "PUBLISHED", "REJECTED"; of NVD also "Deferred", "Awaiting Analysis" …
	Published int64         `json:"published"` // Unix seconds; 0: not stated
	Modified  int64         `json:"modified"`  // likewise
	Rejected  bool          `json:"rejected"`  // the id was withdrawn
	Withdrawn int64         `json:"withdrawn"` // when it was, as far as it is stated
	Claims    []Claim       `json:"claims"`
	Scores    []Score       `json:"scores"` // none: unscored
	Raw       canon.Digest  `json:"raw"`    // SHA-256 of the record's bytes
	Feed      advisory.Feed `json:"feed"`
}

// Unscored reports that nobody has scored it. It is a state of its own: not low,
// not zero. The Status may say why ("Deferred").
func (r Record) Unscored() bool { return len(r.Scores) == 0 }

var id = regexp.MustCompile(`^CVE-[0-9]{4}-[0-9]{4,19}$`) // CVE record format 5.1, cveId

// ID reports whether s is the id of a CVE.
func ID(s string) bool { return id.MatchString(s) }

// Stricter reports whether a is a stricter value of the point than b. Neither may
// be unknown.
func Stricter(p Point, a, b string) bool {
	return slices.Index(values[p], a) > slices.Index(values[p], b)
}

// Mildest is the mildest value of a point.
func Mildest(p Point) string { return values[p][0] }

// Value gives a point and a value as this package spells them: "Technical
// Impact" and "technicalImpact", "Total" and "total" are the same. It is false
// when SSVC 2.0.3 has no such point or value.
func Value(point, value string) (Point, string, bool) {
	p := Point(strings.ToLower(point))
	if strings.EqualFold(point, "technicalImpact") {
		p = Impact
	}
	value = strings.ToLower(value)
	return p, value, slices.Contains(values[p], value)
}

// SourceOf names a speaker by its organisation's id and the name it gives
// itself. Nobody else can call itself CISA.
func SourceOf(org, short string) string {
	switch {
	case org == CISAOrg:
		return CISA
	case short == "" || strings.EqualFold(short, CISA):
		return org
	}
	return short
}

// Book is one reading of many documents.
type Book struct {
	Snapshot advisory.Snapshot `json:"snapshot"`
	Records  []Record          `json:"records"` // ascending by CVE, one each
}

// Of finds a CVE's record.
func (b Book) Of(cve string) (Record, bool) {
	i, ok := slices.BinarySearchFunc(b.Records, cve, func(r Record, cve string) int { return strings.Compare(r.CVE, cve) })
	if !ok {
		return Record{}, false
	}
	return b.Records[i], true
}
