package fleet

import (
	"cmp"
	"hash/maphash"
	"iter"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/patchwrit/patchwrit/advisory"
)

// Snapshot is the fleet and the records at one moment. It never changes, and
// any number of goroutines may read it. A host has the same number in all
// snapshots of one Index, until it is removed.
type Snapshot struct {
	seed            maphash.Seed
	tuples          []*tuple
	templates       paged[*template]
	crews           *crews
	ecosystems      []string
	subjects        paged[*subject]
	hosts           paged[state]
	records         paged[*record]
	hostNames       names[uint32]
	recordNames     names[naming]
	all, incomplete set
}

// Answer is whom a record concerns, by what match.Find says of one of the
// host's packages at least: a host with several packages or versions may be in
// more than one set.
type Answer struct {
	Affected     Hosts
	Unknown      Hosts // where it cannot be told
	Investigated Hosts // where the source is still finding out
}

// Answer gives whom a record concerns; false when no such record is held.
// Silence about a host of Incomplete means nothing.
func (s *Snapshot) Answer(ref Ref) (Answer, bool) {
	id, known := s.recordID(ref)
	if !known {
		return Answer{}, false
	}
	o := answers{Snapshot: s}
	o.collect(id)
	return o.hosts(), true
}

func (o *answers) collect(id uint32) {
	r := *o.records.at(id)
	for i := range r.rows {
		r.rows[i].collect(o)
	}
}

// Named gives whom a vulnerability concerns by all records that go by a name,
// an id, an alias or an upstream name, and these records. As in a finding the
// worst answer counts: a host is in one set at most.
func (s *Snapshot) Named(name string) (Answer, []Ref) {
	o := answers{Snapshot: s}
	refs := o.named(name)
	slices.SortFunc(refs, Ref.compare)
	return o.hosts(), refs
}

// Count gives how many hosts Named has in each set, without making the sets.
func (s *Snapshot) Count(name string) (affected, unknown, investigated int) {
	o := answers{Snapshot: s}
	o.named(name)
	return o.affected.n, o.unknown.n, o.studied.n
}

func (o *answers) named(name string) (refs []Ref) {
	for e := range o.recordNames.each(o.seed, name, o.recordName) {
		o.collect(e.record)
		refs = append(refs, (*o.records.at(e.record)).ref)
	}
	o.unknown.without(&o.affected)
	o.studied.without(&o.affected)
	o.studied.without(&o.unknown)
	return refs
}

// Concerning lists the vulnerabilities that concern some host, ascending, each
// by the name under which findings join records: the one CVE id, else the
// record's own id.
func (s *Snapshot) Concerning() []string {
	keys, o := map[string]bool{}, answers{Snapshot: s}
	for i := range s.subjects.n {
		o.match(s.subject(i), func(w *row, a Answer) bool {
			if a.Affected.Len()+a.Unknown.Len()+a.Investigated.Len() > 0 {
				keys[w.of.names[w.of.key]] = true
			}
			return true
		})
	}
	return slices.Sorted(maps.Keys(keys))
}

// Row is what one record says about one package of one release, to all hosts.
type Row struct {
	Ref
	advisory.Subject
	Answer
}

// Match gives every row of every record, package by package. A row's sets hold
// until the next row; Clone what is to be kept.
func (s *Snapshot) Match() iter.Seq[Row] {
	return func(yield func(Row) bool) {
		o := answers{Snapshot: s}
		for i := range s.subjects.n {
			about := s.subject(i)
			if !o.match(about, func(w *row, a Answer) bool { return yield(Row{w.of.ref, about.Subject, a}) }) {
				return
			}
		}
	}
}

// match gives the rows of one subject. Rows that hold from the beginning on, as
// nearly all do, are taken by where they end, so that each set of hosts is
// joined once and not once a row. It finds and leaves o empty.
func (o *answers) match(about *subject, yield func(*row, Answer) bool) bool {
	if len(about.rows) == 0 {
		return true
	}
	type ending struct {
		*row
		at int
	}
	warm(about.rows)
	endings := make([]ending, 0, len(about.rows))
	defer o.empty()
	for _, w := range about.rows {
		if w.prefix() && len(about.streamed) == 0 {
			_, hi := about.places(w.first)
			endings = append(endings, ending{w, hi})
			continue
		}
		w.collect(o)
		if !yield(w, o.view()) {
			return false
		}
		o.empty()
	}
	slices.SortFunc(endings, func(a, b ending) int { return cmp.Compare(a.at, b.at) })
	o.unknown.orAll(o.Snapshot, about.loose)
	at := 0
	defer func() { o.affected.wipe(o.Snapshot, about.ordered[:at]) }()
	for _, e := range endings {
		o.affected.orAll(o.Snapshot, about.ordered[at:e.at])
		if at = e.at; !yield(e.row, o.view()) {
			return false
		}
	}
	return true
}

// warm reads what match is about to read of each row. Rows, their records and the
// keys of their bounds lie apart in memory; read with no work between them, the
// processor fetches many at a time and match does not wait for each. What it
// gives means nothing; it is not inlined, so that the reads stay.
//
//go:noinline
func warm(rows []*row) (sum int) {
	for _, w := range rows {
		sum += w.of.key
	}
	for _, w := range rows {
		if k := w.first.to.key; k != "" {
			sum += int(k[0])
		}
	}
	return sum
}

// All gives every host.
func (s *Snapshot) All() Hosts { return Hosts{set: s.all.bitmap(), n: s.all.len()} }

// Incomplete gives the hosts of which not everything is known: their
// inventories have gaps or advisories have no name for their system.
func (s *Snapshot) Incomplete() Hosts {
	return Hosts{set: s.incomplete.bitmap(), n: s.incomplete.len()}
}

// Name gives a host's name by its number, "" for none.
func (s *Snapshot) Name(id uint32) string {
	if id >= s.hosts.n {
		return ""
	}
	return s.hostName(id)
}

// Number gives a host's number by its name.
func (s *Snapshot) Number(name string) (uint32, bool) { return s.hostID(name) }

// Host gives what is held of a host: each source package and version once.
func (s *Snapshot) Host(name string) (Host, bool) {
	id, known := s.hostID(name)
	if !known {
		return Host{}, false
	}
	var d difference
	d.decode(s.hosts.at(id).difference)
	return s.host(id, &d), true
}

// host gives a host as one with difference d to its template.
func (s *Snapshot) host(id uint32, d *difference) Host {
	row := s.hosts.at(id)
	h := Host{Name: s.hostName(id), Ecosystem: s.ecosystems[row.ecosystem()], Incomplete: row.incomplete()}
	list := (*s.templates.at(row.template)).tuples(nil, d)
	h.Packages = make([]Package, len(list))
	for i, id := range list {
		t := s.tuples[id]
		h.Packages[i] = Package{t.source(), t.version(), t.unsettled, t.module}
	}
	return h
}

// Rings parts all hosts into n rings; ring tells by name and may give a number
// outside of them for a host that belongs to none.
func (s *Snapshot) Rings(n int, ring func(name string) int) []Hosts {
	sets := make([]*roaring.Bitmap, n)
	for i := range sets {
		sets[i] = roaring.New()
	}
	s.all.each(func(id uint32) {
		if i := ring(s.hostName(id)); 0 <= i && i < n {
			sets[i].Add(id)
		}
	})
	out := make([]Hosts, n)
	for i := range out {
		out[i] = hostsOf(sets[i])
	}
	return out
}

func (s *Snapshot) subject(i uint32) *subject { return *s.subjects.at(i) }

func (s *Snapshot) hostName(i uint32) string { return s.hosts.at(i).name }

func (s *Snapshot) hostID(name string) (uint32, bool) {
	for id := range s.hostNames.each(s.seed, name, s.hostName) {
		return id, true
	}
	return 0, false
}

// naming is one name of one record, by its place in record.names.
type naming struct{ record, place uint32 }

func (s *Snapshot) recordName(e naming) string { return (*s.records.at(e.record)).names[e.place] }

func (s *Snapshot) recordID(ref Ref) (uint32, bool) {
	for e := range s.recordNames.each(s.seed, ref.ID, s.recordName) {
		if e.place == 0 && (*s.records.at(e.record)).ref == ref {
			return e.record, true
		}
	}
	return 0, false
}
