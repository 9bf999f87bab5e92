package match

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/inventory"
)

// Index is what several snapshots say, by release and package. It is immutable
// and shares the sets' memory, which must not be changed afterwards.
type Index struct {
	snapshots []advisory.Snapshot
	records   map[advisory.Subject][]record
	names     map[string][]*advisory.Advisory // by id, alias and upstream name
	whole     map[string]bool                 // releases that an unscoped snapshot speaks about
	scoped    map[advisory.Subject]bool       // packages that a scoped snapshot speaks about
}

// record is an advisory with what it says about one package of one release.
type record struct {
	*advisory.Advisory
	parts []*advisory.Affected
}

// NewIndex builds an index. The order of the sets does not show in any finding.
func NewIndex(sets ...advisory.Set) Index {
	ix := Index{
		records: map[advisory.Subject][]record{}, names: map[string][]*advisory.Advisory{},
		whole: map[string]bool{}, scoped: map[advisory.Subject]bool{},
	}
	for i := range sets {
		s := &sets[i]
		ix.snapshots = append(ix.snapshots, s.Snapshot)
		for _, subject := range s.Snapshot.Scope {
			ix.scoped[subject] = true
		}
		for j := range s.Advisories {
			ix.add(&s.Advisories[j], len(s.Snapshot.Scope) == 0)
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

func (ix Index) add(a *advisory.Advisory, unscoped bool) {
	for _, n := range a.Names() {
		if l := ix.names[n]; len(l) == 0 || l[len(l)-1] != a {
			ix.names[n] = append(l, a)
		}
	}
	for i := range a.Affected {
		f := &a.Affected[i]
		if unscoped && a.Basis != advisory.BasisStatement { // people's silence is no answer
			ix.whole[f.Ecosystem] = true
		}
		subject := advisory.Subject{Ecosystem: f.Ecosystem, Package: f.Package}
		list := ix.records[subject]
		if n := len(list); n > 0 && list[n-1].Advisory == a {
			list[n-1].parts = append(list[n-1].parts, f)
			continue
		}
		ix.records[subject] = append(list, record{a, []*advisory.Affected{f}})
	}
}

// Snapshots lists what the index was built from, ascending by name and source.
func (ix Index) Snapshots() []advisory.Snapshot { return slices.Clone(ix.snapshots) }

// Lookup returns every advisory that goes by a name: an id, an alias or an
// upstream name.
func (ix Index) Lookup(name string) []advisory.Advisory {
	var out []advisory.Advisory
	for _, a := range ix.names[name] {
		out = append(out, *a)
	}
	return out
}

// covers reports whether silence about a source package means something.
func (ix Index) covers(ecosystem, source string) bool {
	return ix.whole[ecosystem] || ix.scoped[advisory.Subject{Ecosystem: ecosystem, Package: source}]
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
		case s.Count == 0:
			say(FeedEmpty, "Feed %+q from %+q has no records; an empty feed says nothing.", s.Name, s.Source)
		case len(s.Partial) > 0:
			g := s.Partial[0]
			say(FeedPartial, "Feed %+q from %+q could not be read whole (%d gaps; the first: %+q %s).", s.Name, s.Source, len(s.Partial), g.Record, g.Why)
		}
	}
	ecosystem, ok := Ecosystem(inv.OS)
	if !ok {
		say(SystemUnknown, "Packages of the system %+q, release %+q, cannot be matched by this version.", inv.OS.ID, inv.OS.VersionID)
		return out
	}
	if uncovered := ix.uncovered(ecosystem, inv); len(uncovered) > 0 {
		say(NotCovered, "No feed speaks about %s as a whole, nor about %d of its installed source packages (the first: %+q).", ecosystem, len(uncovered), uncovered[0])
	}
	return out
}

// uncovered lists the installed source packages about which silence means
// nothing, ascending.
func (ix Index) uncovered(ecosystem string, inv inventory.Inventory) []string {
	set := map[string]bool{}
	for _, p := range inv.Packages {
		known := slices.ContainsFunc(identities(p), func(id identity) bool { return ix.covers(ecosystem, id.source) })
		if p.Status.Present() && !known {
			set[p.Source] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}
