package match

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/inventory"
)

// Records is where an Index looks records up: what NewIndex keeps in memory, or
// a compiled file (room match/flat). It has no clock: what it gives is what
// counts at the caller's time.
type Records interface {
	// Snapshots lists what the records come from, in any order.
	Snapshots() []advisory.Snapshot
	// Of gives every record that names a subject, with the parts that do; of Go
	// modules also by the lower case of their name (Folded). The order is that of
	// the sets and of the records in them. A record and its parts are used, or
	// copied, before the next one is asked for.
	Of(advisory.Subject) iter.Seq2[*advisory.Advisory, []*advisory.Affected]
	// Named gives every record that goes by a name, whole, in the same order.
	Named(name string) []*advisory.Advisory
	// Whole reports that some snapshot speaks about a release as a whole.
	Whole(ecosystem string) bool
	// Releases lists the ecosystems of which Whole is true, in any order.
	Releases() []string
	// Err is the first failure of the others to read; nil as long as all that
	// they gave was complete.
	Err() error
}

// Index is what several snapshots say, by release and package. It is as
// immutable as the records under it, and shares their memory, which must not be
// changed afterwards.
type Index struct {
	records   []Records
	snapshots []advisory.Snapshot
	scoped    map[advisory.Subject]bool // packages that a scoped snapshot speaks about
}

// record is an advisory with what it says about one package of one release.
type record struct {
	*advisory.Advisory
	parts []*advisory.Affected
}

// NewIndex builds an index. The order of the sets does not show in any finding.
func NewIndex(sets ...advisory.Set) Index { return Over(Memory(sets...)) }

// Memory keeps what sets say, and shares their memory.
func Memory(sets ...advisory.Set) Records {
	m := memory{records: map[advisory.Subject][]record{}, names: map[string][]*advisory.Advisory{}, whole: map[string]bool{}}
	for i := range sets {
		s := &sets[i]
		m.snapshots = append(m.snapshots, s.Snapshot)
		for j := range s.Advisories {
			m.add(&s.Advisories[j], len(s.Snapshot.Scope) == 0)
		}
	}
	return m
}

// Over builds an index over records that are looked up elsewhere, in one place
// or in several. Where they cannot be read, answers are unknown.
func Over(records ...Records) Index {
	ix := Index{records: records, scoped: map[advisory.Subject]bool{}}
	for _, r := range records {
		ix.snapshots = append(ix.snapshots, r.Snapshots()...)
	}
	for _, s := range ix.snapshots {
		for _, subject := range s.Scope {
			ix.scoped[subject] = true
		}
	}
	slices.SortStableFunc(ix.snapshots, func(a, b advisory.Snapshot) int {
		if c := strings.Compare(a.Name+"\x00"+a.Source, b.Name+"\x00"+b.Source); c != 0 {
			return c
		}
		return strings.Compare(string(a.Digest), string(b.Digest))
	})
	return ix
}

// memory holds records as sets gave them.
type memory struct {
	snapshots []advisory.Snapshot
	records   map[advisory.Subject][]record
	names     map[string][]*advisory.Advisory // by id, alias and upstream name
	whole     map[string]bool                 // releases that an unscoped snapshot speaks about
}

func (m memory) add(a *advisory.Advisory, unscoped bool) {
	for _, n := range a.Names() {
		if l := m.names[n]; len(l) == 0 || l[len(l)-1] != a {
			m.names[n] = append(l, a)
		}
	}
	for i := range a.Affected {
		f := &a.Affected[i]
		if unscoped && SpeaksForAll(a, f.Ecosystem) {
			m.whole[f.Ecosystem] = true
		}
		m.put(a, f)
	}
	for _, f := range Folded(a) {
		m.put(a, &f)
	}
}

func (m memory) put(a *advisory.Advisory, f *advisory.Affected) {
	subject := advisory.Subject{Ecosystem: f.Ecosystem, Package: f.Package}
	list := m.records[subject]
	if n := len(list); n > 0 && list[n-1].Advisory == a {
		list[n-1].parts = append(list[n-1].parts, f)
		return
	}
	m.records[subject] = append(list, record{a, []*advisory.Affected{f}})
}

// Folded gives copies of the parts that Records give under another spelling too:
// Go modules whose path has capitals, in lower case. A purl has lost the capitals
// (ECMA-427, type golang), and records spell one module in two ways. Go itself
// builds nothing with two import paths that differ in capitals alone.
func Folded(a *advisory.Advisory) (out []advisory.Affected) {
	for _, f := range a.Affected {
		if f.Ecosystem != "Go" {
			continue
		}
		if low := strings.ToLower(f.Package); low != f.Package {
			f.Package = low
			out = append(out, f)
		}
	}
	return out
}

// SpeaksForAll reports whether a record of an unscoped snapshot makes that
// snapshot an answer about a whole release: only the distribution's own records
// do, and where no distribution ships the packages every record but people's.
// Anybody else's silence is no answer.
func SpeaksForAll(a *advisory.Advisory, ecosystem string) bool {
	return a.Over(ecosystem).Works() || a.Basis != advisory.BasisStatement && !advisory.Shipped(ecosystem)
}

func (m memory) Snapshots() []advisory.Snapshot         { return m.snapshots }
func (m memory) Named(name string) []*advisory.Advisory { return m.names[name] }
func (m memory) Whole(ecosystem string) bool            { return m.whole[ecosystem] }
func (m memory) Releases() []string                     { return slices.Collect(maps.Keys(m.whole)) }
func (m memory) Err() error                             { return nil }
func (m memory) Of(s advisory.Subject) iter.Seq2[*advisory.Advisory, []*advisory.Affected] {
	return func(yield func(*advisory.Advisory, []*advisory.Affected) bool) {
		for _, r := range m.records[s] {
			if !yield(r.Advisory, r.parts) {
				return
			}
		}
	}
}

// Snapshots lists what the index was built from, ascending by name and source.
func (ix Index) Snapshots() []advisory.Snapshot { return slices.Clone(ix.snapshots) }

// Err is the first failure to read the records; nil as long as the answers are
// whole. Find says the same as a finding of code IndexBroken.
func (ix Index) Err() error {
	for _, r := range ix.records {
		if err := r.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Of gives what is known about a subject, as Records.Of does; for matching that
// has another order of versions (room match/library).
func (ix Index) Of(s advisory.Subject) iter.Seq2[*advisory.Advisory, []*advisory.Affected] {
	return ix.of(s)
}

// Whole reports whether a snapshot speaks about all of an ecosystem.
func (ix Index) Whole(ecosystem string) bool { return ix.whole(ecosystem) }

// of gives what is known about a subject.
func (ix Index) of(s advisory.Subject) iter.Seq2[*advisory.Advisory, []*advisory.Affected] {
	return func(yield func(*advisory.Advisory, []*advisory.Affected) bool) {
		for _, r := range ix.records {
			for a, parts := range r.Of(s) {
				if !yield(a, parts) {
					return
				}
			}
		}
	}
}

func (ix Index) named(name string) []*advisory.Advisory {
	var out []*advisory.Advisory
	for _, r := range ix.records {
		out = append(out, r.Named(name)...)
	}
	return out
}

// whole reports whether a snapshot speaks about all of a release.
func (ix Index) whole(ecosystem string) bool {
	return slices.ContainsFunc(ix.records, func(r Records) bool { return r.Whole(ecosystem) })
}

// Aged gives records as of a time: a snapshot that has stood still for longer
// than limit seconds is partial (advisory.Snapshot.Aged).
func Aged(r Records, now, limit int64) Records { return aged{r, now, limit} }

type aged struct {
	Records
	now, limit int64
}

func (a aged) Snapshots() []advisory.Snapshot {
	list := slices.Clone(a.Records.Snapshots())
	for i, s := range list {
		list[i] = s.Aged(a.now, a.limit)
	}
	return list
}

// Lookup returns every advisory that goes by a name: an id, an alias or an
// upstream name.
func (ix Index) Lookup(name string) []advisory.Advisory {
	var out []advisory.Advisory
	for _, a := range ix.named(name) {
		out = append(out, *a)
	}
	return out
}

// covers reports whether silence about a source package means something.
func (ix Index) covers(s system, source string) bool {
	return ix.speaksFor(s) || ix.scoped[advisory.Subject{Ecosystem: s.name, Package: source}]
}

// speaksFor reports whether a snapshot speaks about all of a system: of Red Hat's,
// about some product of its main line.
func (ix Index) speaksFor(s system) bool {
	return ix.whole(s.name) || slices.ContainsFunc(s.main, ix.whole)
}

// partial reports whether any feed may hold records that were not read.
func (ix Index) partial() bool {
	return len(ix.snapshots) == 0 || slices.ContainsFunc(ix.snapshots, func(s advisory.Snapshot) bool {
		return s.Count == 0 || len(s.Partial) > 0
	})
}

// unasked lists what keeps the whole answer from being complete.
func (ix Index) unasked(inv inventory.Inventory) []Finding {
	out := []Finding{}
	say := func(code Code, format string, args ...any) {
		out = append(out, Finding{Aliases: []string{}, State: Unknown, Reason: Reason{code, fmt.Sprintf(format, args...)}, Sources: []Source{}})
	}
	for _, g := range inv.Partial {
		say(InventoryGap, "The inventory is incomplete (%s): %s.", g.What, strings.TrimSuffix(g.Why, "."))
	}
	if len(ix.snapshots) == 0 {
		say(NoFeed, "No feed was read, so nothing is known about any package.")
	}
	for _, s := range ix.snapshots {
		switch {
		case s.Count == 0 && len(s.Partial) > 0:
			say(FeedEmpty, "Feed %+q from %+q has no records; an empty feed says nothing (%s).", s.Name, s.Source, s.Gaps())
		case s.Count == 0:
			say(FeedEmpty, "Feed %+q from %+q has no records; an empty feed says nothing.", s.Name, s.Source)
		case len(s.Partial) > 0:
			say(FeedPartial, "Feed %+q from %+q could not be read whole (%s).", s.Name, s.Source, s.Gaps())
		}
	}
	sys, ok := ix.system(inv.OS)
	if !ok {
		say(SystemUnknown, "Packages of the system %+q, release %+q, cannot be matched by this version.", inv.OS.ID, inv.OS.VersionID)
		return out
	}
	if uncovered := ix.uncovered(sys, inv); len(uncovered) > 0 {
		say(NotCovered, "No feed speaks about %s as a whole, nor about %d of its installed source packages (the first: %+q).", sys.name, len(uncovered), uncovered[0])
	}
	return out
}

// uncovered lists the installed source packages about which silence means
// nothing, ascending.
func (ix Index) uncovered(s system, inv inventory.Inventory) []string {
	set := map[string]bool{}
	for _, p := range inv.Packages {
		known := slices.ContainsFunc(identities(p), func(id identity) bool { return ix.covers(s, id.source) })
		if p.Status.Present() && !known {
			set[p.Source] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}
