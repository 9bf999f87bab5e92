// Package match says which advisories concern which packages of a host.
//
// The parties: room inventory tells what is installed, room advisory what is
// known; proposal, priority and people read the findings. The objects are the
// Index, built once from every feed's snapshot, and the Finding: advisory ×
// package with its state, the reason, and every source that spoke.
//
// The promise: the same inventory and the same feeds give the same findings,
// byte for byte, and only a package that is installed together with a record
// that names it yields one. Whatever is missing — a gap in the inventory, a
// feed that is empty, partial, or silent about this release, a version that
// cannot be read — is a finding with State Unknown; one such finding is enough
// to forbid the word "clean".
//
// It compares source versions for Debian, Ubuntu and Alpine (the origin), and
// binary packages for AlmaLinux, Rocky Linux and Red Hat Enterprise Linux, as
// their records name them. It knows no other systems yet: those are Unknown. It does not rank findings, does not fetch feeds, and
// reads no prose.
package match

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/version"
)

// State is the answer of a finding.
type State string

// The closed set of answers.
const (
	Affected           State = "affected"
	NotAffected        State = "not_affected"
	Unknown            State = "unknown"
	UnderInvestigation State = "under_investigation" // the source does not know yet; no more clean than Unknown
)

// Finding is one answer. One whose Advisory and Package are empty is about the
// question as a whole: part of it could not be asked.
type Finding struct {
	Advisory      string   `json:"advisory"` // id of the record that decided
	Aliases       []string `json:"aliases"`  // every other name, ascending
	Package       string   `json:"package"`  // binary package
	Arch          string   `json:"arch"`
	Source        string   `json:"source"` // source package the record speaks of
	Version       string   `json:"version"`
	SourceVersion string   `json:"source_version"` // what was compared
	Fixed         string   `json:"fixed"`          // first source version without it; "" when none is known
	State         State    `json:"state"`
	Reason        Reason   `json:"reason"`
	Sources       []Source `json:"sources"` // who spoke and what each said; the deciding one first
}

// Names gives every name of the vulnerability, ascending: the advisory's, its
// aliases, and the CVE id that a distribution's own name holds
// (DEBIAN-CVE-2026-0001).
func (f Finding) Names() []string {
	out := append(append([]string{f.Advisory}, f.Aliases...), f.CVEs()...)
	slices.Sort(out)
	return slices.Compact(out)
}

// CVEs gives the CVE ids among a finding's names, ascending; never nil.
func (f Finding) CVEs() []string {
	out := []string{}
	for _, name := range append([]string{f.Advisory}, f.Aliases...) {
		if cve := advisory.CVEOf(name); cve != "" {
			out = append(out, cve)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Reason is why, for machines and for people.
type Reason struct {
	Code Code   `json:"code"`
	Text string `json:"text"` // one sentence, printable ASCII
}

// Source is what one record says about the package. Where the States of a
// finding's Sources differ, or the versions that they name as fixed, the sources
// disagree.
type Source struct {
	Advisory string         `json:"advisory"`
	Source   string         `json:"source"` // who wrote the record
	Basis    advisory.Basis `json:"basis"`
	Feed     string         `json:"feed"`
	Snapshot canon.Digest   `json:"snapshot"`
	Raw      canon.Digest   `json:"raw"`
	State    State          `json:"state"`
	Reason   Code           `json:"reason"`
	Fixed    string         `json:"fixed"`
	// Authority is what the source's word about this package is worth.
	Authority advisory.Authority `json:"authority,omitempty"`
}

// Disputed reports whether the sources disagree.
func (f *Finding) Disputed() bool {
	fixed := ""
	for i := range f.Sources {
		s := &f.Sources[i]
		if s.State != f.Sources[0].State || fixed != "" && s.Fixed != "" && s.Fixed != fixed {
			return true
		}
		fixed = cmp.Or(fixed, s.Fixed)
	}
	return false
}

// Grounded reports whether the package is affected by the word of its vendor or
// distribution. Fixed is then what satisfies every record of theirs that names a
// fix, and no other record has touched it.
func (f Finding) Grounded() bool {
	return f.State == Affected && len(f.Sources) > 0 && f.Sources[0].State == Affected && f.Sources[0].Authority.Works()
}

// Work reports whether the finding may become a change: it is grounded, and a
// fixed version is known.
func (f Finding) Work() bool { return f.Grounded() && f.Fixed != "" }

// Find returns every finding that is not NotAffected, those about the
// question as a whole first, then ascending by advisory, package, architecture.
func Find(inv inventory.Inventory, ix Index) []Finding {
	return answers(inv, ix, Query{}, false)
}

// Query picks answers to explain. Empty fields pick all.
type Query struct {
	Advisory string // id or alias
	Package  string // binary or source package
}

// Explain returns the findings that q picks, the negative ones too. Where q
// names something that no finding is about, one answer says why there is none.
func Explain(inv inventory.Inventory, ix Index, q Query) []Finding {
	found := answers(inv, ix, q, true)
	if len(found) == 0 && q != (Query{}) {
		found = append(found, nothing(inv, ix, q))
	}
	return found
}

func answers(inv inventory.Inventory, ix Index, q Query, negative bool) []Finding {
	a := search(inv, ix, q, negative)
	out := make([]Finding, 0, len(a.whole)+len(a.found))
	return slices.AppendSeq(out, a.All)
}

// Answers is what Find returns, before it is spread out: a host's thousands of
// findings repeat what is said of few sources.
type Answers struct {
	whole []Finding // about the question as a whole
	found []keyed
}

// Search is Find for who needs one finding at a time. What could not be read
// shows in ix.Err before the first is asked for.
func Search(inv inventory.Inventory, ix Index) Answers { return search(inv, ix, Query{}, false) }

// All gives the findings in the order of Find. Their slices are shared.
func (a Answers) All(yield func(Finding) bool) {
	for _, f := range a.whole {
		if !yield(f) {
			return
		}
	}
	for _, k := range a.found {
		f := *k.said
		f.Package, f.Arch, f.Version = k.Name, k.Arch, k.Version
		if !yield(f) {
			return
		}
	}
}

func search(inv inventory.Inventory, ix Index, q Query, negative bool) (a Answers) {
	if q == (Query{}) {
		a.whole = ix.unasked(inv)
	}
	sys, ok := ix.system(inv.OS)
	if !ok {
		return a
	}
	whole := false
	if a.found, whole = ix.found(sys, inv, q, negative, NewBudget()); !whole {
		a.whole = append(a.whole, Exceeded("packages"))
	}
	if err := ix.Err(); err != nil {
		a.whole = append(a.whole, broken(err))
	}
	return a
}

// usualAnswers is how many findings are made room for at once.
const usualAnswers = 8192

// found judges what q picks, packages of one source one after the other: what
// the records say of it holds for all of them, and is judged once. False means
// that the budget did not last, and nothing is given.
func (ix Index) found(s system, inv inventory.Inventory, q Query, negative bool, most Budget) ([]keyed, bool) {
	var list []asked
	for i := range inv.Packages {
		if p := &inv.Packages[i]; p.Status.Present() && q.picksPackage(*p) {
			list = append(list, askedOf(p))
		}
	}
	slices.SortStableFunc(list, compareAsked)
	j := judging{ix: ix, system: s, name: q.Advisory, negative: negative, Budget: most, out: make([]keyed, 0, min(8*len(list), usualAnswers))}
	from, to := 0, 0 // the answers about the first package of a source
	for i, p := range list {
		if j.Spent() {
			return nil, false
		}
		if i == 0 || compareAsked(list[i-1], p) != 0 {
			from = len(j.out)
			j.judge(p)
			to = len(j.out)
			continue
		}
		for _, k := range j.out[from:to] {
			if j.Keep() {
				j.out = append(j.out, keyed{k.said, p.Package, k.key})
			}
		}
	}
	if j.Spent() {
		return nil, false
	}
	slices.SortFunc(j.out, func(a, b keyed) int {
		if c := strings.Compare(a.said.Advisory, b.said.Advisory); c != 0 {
			return c // thousands are compared, and nearly all differ in this
		}
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch), strings.Compare(a.key, b.key), strings.Compare(a.Version, b.Version))
	})
	return j.out, true
}

// broken says that records were missed.
func broken(err error) Finding {
	return Finding{Aliases: []string{}, State: Unknown, Sources: []Source{},
		Reason: Reason{IndexBroken, fmt.Sprintf("The compiled records could not be read whole, so any answer may be missing: %+q.", err.Error())}}
}

// picksPackage compares with every name the package goes by.
func (q Query) picksPackage(p inventory.Package) bool {
	if q.Package == "" || q.Package == p.Name || q.Package == p.Source {
		return true
	}
	return slices.ContainsFunc(identities(p), func(id identity) bool { return id.source == q.Package })
}

// Ecosystem gives a system's name in advisories: "Debian:12", "Ubuntu:24.04:LTS",
// "AlmaLinux:9", "Rocky Linux:9", "Alpine:v3.20" (OSV schema, "Defined
// Ecosystems").
// False means that its packages are matched under no single name: another system,
// a release without a number, or Red Hat Enterprise Linux, which Find knows by
// many products.
func Ecosystem(o inventory.OS) (string, bool) {
	if o.VersionID == "" {
		return "", false
	}
	switch o.ID {
	case "debian":
		major, _, _ := strings.Cut(o.VersionID, ".")
		return "Debian:" + major, true
	case "almalinux", "rocky":
		major, _, _ := strings.Cut(o.VersionID, ".")
		return map[string]string{"almalinux": "AlmaLinux:", "rocky": "Rocky Linux:"}[o.ID] + major, true
	case "alpine":
		major, rest, _ := strings.Cut(o.VersionID, ".")
		minor, _, _ := strings.Cut(rest, ".")
		if major == "" || minor == "" {
			return "", false
		}
		return "Alpine:v" + major + "." + minor, true
	case "ubuntu":
		year, month, _ := strings.Cut(o.VersionID, ".")
		if month == "04" && year != "" && (year[len(year)-1]-'0')%2 == 0 {
			return "Ubuntu:" + o.VersionID + ":LTS", true
		}
		return "Ubuntu:" + o.VersionID, true
	}
	return "", false
}

// Wanted tells which parts of records Find asks for: those about a package of the
// inventory, of its release or of its distribution without a release.
func Wanted(inv inventory.Inventory) func(advisory.Subject) bool {
	ecosystem, ok := Ecosystem(inv.OS)
	base, _, _ := strings.Cut(ecosystem, ":")
	names := map[string]bool{}
	for _, p := range inv.Packages {
		for _, id := range identities(p) {
			names[id.source] = true
		}
	}
	return func(s advisory.Subject) bool {
		return ok && (s.Ecosystem == ecosystem || s.Ecosystem == base) && names[s.Package]
	}
}

// identity is a name and version under which records may speak of a package.
type identity struct{ source, version string }

// identities gives the source package and, for Debian's signed kernels, the
// source that was signed: linux-signed-amd64 (6.1.140+1) only wraps the images
// of linux 6.1.140-1, which records speak of, and the binary package carries
// exactly that version.
func identities(p inventory.Package) []identity {
	if p.Scheme == version.RPM { // records of rpm systems name binary packages
		return []identity{{p.Name, p.Version}}
	}
	ids := []identity{{p.Source, p.SourceVersion}}
	if rest, ok := strings.CutPrefix(p.Source, "linux-signed-"); ok {
		name := "linux"
		if i := strings.LastIndexByte(rest, '-'); i >= 0 {
			name += "-" + rest[:i] // linux-signed-6.12-amd64
		}
		ids = append(ids, identity{name, p.Version})
	}
	return ids
}
