package advice

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/proposal"
)

// Material is what a dossier is built from. Of it only the fields of an
// allow-list are read; see docs/ADVICE.md.
type Material struct {
	Plan  proposal.File
	Sets  []advisory.Set // records; those that the plan's causes do not name are passed over
	KEV   *Catalogue     // nil: not given
	EPSS  *Scores        // nil: not given
	Spoke []Spoken       // what CVE records say
}

// Catalogue is what a reading of KEV says of CVEs; one that it cannot say is not
// in it.
type Catalogue struct {
	Version string
	AsOf    int64
	Digest  canon.Digest
	Listed  map[string]bool
}

// Scores is what a reading of EPSS says of CVEs, as "0.97567".
type Scores struct {
	Day    string
	AsOf   int64
	Digest canon.Digest
	Share  map[string]string
}

// Spoken is what one record of the CVE program, or of NVD, says of a CVE.
type Spoken struct {
	CVE      string
	Rejected bool
	NVD      bool // NIST's page of it
	AsOf     int64
	Digest   canon.Digest
	Points   []Point
	Scores   []Score
}

// Point is one SSVC decision point: "automatable", "yes".
type Point struct{ Source, Name, Value string }

// Score is one CVSS score.
type Score struct {
	Source  string
	Version string // "3.1"
	Vector  string
	Tenths  int // base score as given
}

// Subjects are the names of the packages that a plan's records are about: what
// to read of feeds.
func Subjects(f proposal.File) map[string]bool {
	out := map[string]bool{}
	for _, a := range f.Dossier.Artefacts {
		out[a.Package], out[a.Source] = true, true
	}
	return out
}

// Records picks the records that a plan's causes name, by id, alias or CVE, in
// the order of the sets.
func Records(f proposal.File, sets []advisory.Set) []advisory.Advisory {
	named := map[string]bool{}
	for _, h := range f.Dossier.Hosts {
		for _, c := range h.Causes {
			for _, a := range append(slices.Clone(c.Advisories), c.Reopens...) {
				named[a] = true
				if cve := advisory.CVEOf(a); cve != "" {
					named[cve] = true
				}
			}
		}
	}
	out := []advisory.Advisory{}
	for _, s := range sets {
		for _, a := range s.Advisories {
			if slices.ContainsFunc(a.Names(), func(n string) bool { return named[n] || named[advisory.CVEOf(n)] }) {
				a.Feed.Fetched = readingOf(s)
				out = append(out, a)
			}
		}
	}
	return out
}

// readingOf is the time that a reading speaks of: its newest record's, so that a
// feed that stands still grows old.
func readingOf(s advisory.Set) int64 {
	if s.Snapshot.Newest > 0 {
		return min(s.Snapshot.Fetched, s.Snapshot.Newest)
	}
	return s.Snapshot.Fetched
}

// CVEs are the CVE ids that records are about, ascending.
func CVEs(records []advisory.Advisory) []string {
	out := []string{}
	for _, a := range records {
		for _, n := range a.Names() {
			if cve := advisory.CVEOf(n); cve != "" {
				out = append(out, cve)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Build makes the dossier. The same material gives the same bytes. The error is
// ErrForm: the plan is too large for one dossier.
func Build(m Material) (Dossier, error) {
	d := Dossier{Type: TypeDossier, Plan: m.Plan.Header.Digest(), Evidence: []Evidence{}, Items: []Item{}, Edges: []Edge{}}
	changes := changesOf(m.Plan)
	d.order(changes, m.Plan)
	d.ours(changes, m.Plan)
	records := Records(m.Plan, m.Sets)
	subjects := Subjects(m.Plan)
	for _, a := range records {
		d.record(a, subjects)
	}
	cves := CVEs(records)
	d.lists(m, cves)
	for _, s := range m.Spoke {
		if slices.Contains(cves, s.CVE) {
			d.spoken(s)
		}
	}
	for _, a := range records {
		d.add(Evidence{Channel: Untrusted, Source: a.Source, Record: a.ID, Authority: advisory.People, AsOf: a.Feed.Fetched, Digest: a.Raw,
			Text: string(a.Summary[:min(len(a.Summary), maxProse)])})
	}
	return d, d.fits()
}

// fits says why what was built is no dossier, or nil. What is far too large is not
// encoded to find out.
func (d Dossier) fits() error {
	size := 0
	for _, e := range d.Evidence {
		size += 2 * len(e.Text) // it stands in the facts again
	}
	if err := d.valid(); err != nil {
		return fmt.Errorf("no dossier for this plan: %w", err)
	}
	if size <= MaxDossier {
		raw, err := canon.Encode(d)
		if err != nil {
			return fmt.Errorf("no dossier for this plan: %w", err)
		}
		size = len(raw)
	}
	if size > MaxDossier {
		return bad("the dossier would have %d bytes, the limit is %d: split the plan, or go without advice", size, MaxDossier)
	}
	return nil
}

// planned is one kind of change of a plan, on all hosts together.
type planned struct {
	change.Change
	hosts int
	fact  proposal.Fact
}

// changesOf gathers the plan's changes, ascending by key and versions.
func changesOf(f proposal.File) []planned {
	at, out := map[string]int{}, []planned{}
	for _, b := range f.Branches {
		for _, c := range b.Changes {
			key := c.Key() + " " + c.From + " " + c.To
			if i, ok := at[key]; ok {
				out[i].hosts++
				continue
			}
			at[key] = len(out)
			p := planned{Change: c, hosts: 1}
			for _, a := range f.Dossier.Artefacts {
				if a.Package == c.Package && a.Arch == c.Arch && a.From == c.From && a.To == c.To {
					p.fact = a
				}
			}
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b planned) int {
		return cmp.Or(cmp.Compare(a.Key(), b.Key()), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return out
}

// order fills items and edges. An edge is a dependency that an artefact's new
// control data names, without an alternative, on another package of the plan.
func (d *Dossier) order(changes []planned, f proposal.File) {
	classes, keys := map[string]change.Class{}, map[string][]string{}
	for _, c := range changes {
		if classes[c.Key()] == "" {
			keys[c.Package] = append(keys[c.Package], c.Key())
			classes[c.Key()] = c.Class
		}
		classes[c.Key()] = change.Max(classes[c.Key()], c.Class)
	}
	for key, class := range classes {
		d.Items = append(d.Items, Item{key, class})
	}
	slices.SortFunc(d.Items, func(a, b Item) int { return cmp.Compare(a.Key, b.Key) })
	for _, c := range changes {
		for _, field := range c.fact.Diff.Fields {
			if field.Name != "depends" && field.Name != "pre-depends" { // as room artefact writes them
				continue
			}
			for _, name := range needs(string(field.To)) {
				for _, key := range keys[name] {
					if key != c.Key() {
						d.Edges = append(d.Edges, Edge{Before: key, After: c.Key()})
					}
				}
			}
		}
	}
	slices.SortFunc(d.Edges, func(a, b Edge) int { return cmp.Or(cmp.Compare(a.Before, b.Before), cmp.Compare(a.After, b.After)) })
	d.Edges = slices.Compact(d.Edges)
}

// needs reads the package names of a relation field (Debian Policy 7.1) that
// have no alternative.
func needs(field string) []string {
	out := []string{}
	for part := range strings.SplitSeq(field, ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(part), " ")
		name, _, _ = strings.Cut(name, "(")
		name, _, _ = strings.Cut(name, ":")
		if !strings.Contains(part, "|") && change.Name(name) {
			out = append(out, name)
		}
	}
	return out
}

// ours adds what Patchwrit knows by itself.
func (d *Dossier) ours(changes []planned, f proposal.File) {
	at, by := f.Header.Created, "patchwrit"
	network := "no"
	for _, b := range f.Branches {
		if b.Network {
			network = "yes"
		}
	}
	have := []Fact{{Kind: AssetFact, About: "hosts", Source: by, Value: strconv.Itoa(len(f.Branches))},
		{Kind: AssetFact, About: "network", Source: by, Value: network}}
	would, bytes := []Fact{{Kind: AssetFact, About: "class", Source: by, Value: string(f.Header.Class)}}, []Fact{}
	for _, c := range changes {
		have = append(have, Fact{Kind: AssetFact, About: "hosts", Package: c.Key(), Source: by, Version: c.From, Value: strconv.Itoa(c.hosts)})
		if c.From != "" && c.To != "" {
			would = append(would, Fact{Kind: Supersedes, Package: c.Key(), Source: by, Scheme: c.Scheme, Version: c.From, Value: c.To})
		}
		if c.Artefact != "" {
			bytes = append(bytes, Fact{Kind: PatchArtifact, Package: c.Key(), Source: by, Scheme: c.Scheme, Version: c.To, Value: string(c.Artefact)})
		}
		bytes = append(bytes, Fact{Kind: AssetFact, About: "to_class", Package: c.Key(), Source: by, Version: c.To, Value: string(c.Class)})
		if c.Op == change.Upgrade && strings.HasPrefix(c.Package, "linux-image-") || c.Op == change.Install && strings.HasPrefix(c.Package, "linux-image-") {
			bytes = append(bytes, Fact{Kind: RebootRequired, Package: c.Key(), Source: by, Value: "yes"})
		}
	}
	for _, e := range d.Edges {
		would = append(would, Fact{Kind: DependsBefore, Package: e.Before, Source: by, Value: e.After})
	}
	would = append(would, answered(changes, f)...)
	for _, e := range []Evidence{{Channel: Inventory, Facts: have}, {Channel: Solver, Facts: would}, {Channel: Artefact, Facts: bytes}} {
		e.Source, e.Record, e.Authority, e.AsOf, e.Digest = by, d.Plan.Short(), Own, at, d.Plan
		d.add(e)
	}
}

// answered says which advisories the plan's changes are there for.
func answered(changes []planned, f proposal.File) []Fact {
	out, have := []Fact{}, map[Fact]bool{}
	for i, b := range f.Branches {
		for j, c := range b.Changes {
			for _, a := range f.Dossier.Hosts[i].Causes[j].Advisories {
				x := Fact{Kind: PackageAffected, About: a, Package: c.Key(), Source: "patchwrit", Scheme: c.Scheme, Version: c.From, Value: "yes"}
				if !have[x] {
					have[x], out = true, append(out, x)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Fact) int { return cmp.Compare(a.String(), b.String()) })
	return out
}
