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
	templates       [][]uint32
	ecosystems      []string
	subjects        paged[*subject]
	hosts           paged[host]
	records         paged[*record]
	hostNames       names[uint32]
	recordNames     names[naming]
	all, incomplete *roaring.Bitmap
	// The generations that own the sets; for the writer alone.
	allOwner, incompleteOwner uint64
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
	var o answers
	s.collect(id, &o)
	return o.join(), true
}

func (s *Snapshot) collect(id uint32, o *answers) {
	r := *s.records.at(id)
	for i := range r.rows {
		r.rows[i].collect(s.subject, o)
	}
}

// Named gives whom a vulnerability concerns by all records that go by a name,
// an id, an alias or an upstream name, and these records. As in a finding the
// worst answer counts: a host is in one set at most.
func (s *Snapshot) Named(name string) (Answer, []Ref) {
	var o answers
	var refs []Ref
	for e := range s.recordNames.each(s.seed, name, s.recordName) {
		s.collect(e.record, &o)
		refs = append(refs, (*s.records.at(e.record)).ref)
	}
	slices.SortFunc(refs, Ref.compare)
	a := o.join()
	a.Unknown = a.Unknown.Without(a.Affected)
	a.Investigated = a.Investigated.Without(a.Affected).Without(a.Unknown)
	return a, refs
}

// Concerning lists the vulnerabilities that concern some host, ascending, each
// by the name under which findings join records: the one CVE id, else the
// record's own id.
func (s *Snapshot) Concerning() []string {
	keys := map[string]bool{}
	for i := range s.records.n {
		r := *s.records.at(i)
		if r == nil || keys[r.names[r.key]] {
			continue
		}
		var o answers
		if s.collect(i, &o); len(o.affected)+len(o.unknown)+len(o.studied) > 0 {
			keys[r.names[r.key]] = true
		}
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
		for i := range s.subjects.n {
			if !s.match(s.subject(i), yield) {
				return
			}
		}
	}
}

// match gives the rows of one subject. Rows that hold from the beginning on, as
// nearly all do, are taken by where they end, so that each set of hosts is
// joined once and not once a row.
func (s *Snapshot) match(about *subject, yield func(Row) bool) bool {
	if len(about.rows) == 0 {
		return true
	}
	type ending struct {
		*row
		at int
	}
	endings := make([]ending, 0, len(about.rows))
	for _, w := range about.rows {
		if w.prefix() {
			_, hi := about.places(w.first)
			endings = append(endings, ending{w, hi})
			continue
		}
		var o answers
		w.collect(s.subject, &o)
		if !yield(Row{w.of.ref, about.Subject, o.join()}) {
			return false
		}
	}
	slices.SortFunc(endings, func(a, b ending) int { return cmp.Compare(a.at, b.at) })
	unknown := hostsOf(union(appendHosts(nil, about.loose)))
	joined, affected, at := roaring.New(), Hosts{}, 0
	for _, e := range endings {
		if at < e.at {
			for ; at < e.at; at++ {
				joined.Or(about.ordered[at].hosts)
			}
			affected = hostsOf(joined)
		}
		if !yield(Row{e.of.ref, about.Subject, Answer{affected, unknown, Hosts{}}}) {
			return false
		}
	}
	return true
}

// All gives every host.
func (s *Snapshot) All() Hosts { return hostsOf(s.all) }

// Incomplete gives the hosts of which not everything is known: their
// inventories have gaps or advisories have no name for their system.
func (s *Snapshot) Incomplete() Hosts { return hostsOf(s.incomplete) }

// Name gives a host's name by its number, "" for none.
func (s *Snapshot) Name(id uint32) string {
	if id >= s.hosts.n {
		return ""
	}
	return s.hosts.at(id).name
}

// Number gives a host's number by its name.
func (s *Snapshot) Number(name string) (uint32, bool) { return s.hostID(name) }

// Host gives what is held of a host: each source package and version once.
func (s *Snapshot) Host(name string) (Host, bool) {
	id, known := s.hostID(name)
	if !known {
		return Host{}, false
	}
	row := s.hosts.at(id)
	h := Host{Name: row.name, Ecosystem: s.ecosystems[row.ecosystem], Incomplete: row.incomplete}
	for _, i := range decode(nil, s.templates[row.template], row.difference) {
		t := s.tuples[i]
		h.Packages = append(h.Packages, Package{s.subject(t.subject).Package, t.version, t.unsettled})
	}
	return h, true
}

// Rings parts all hosts into n rings; ring tells by name and may give a number
// outside of them for a host that belongs to none.
func (s *Snapshot) Rings(n int, ring func(name string) int) []Hosts {
	sets := make([]*roaring.Bitmap, n)
	for i := range sets {
		sets[i] = roaring.New()
	}
	s.all.Iterate(func(id uint32) bool {
		if i := ring(s.hosts.at(id).name); 0 <= i && i < n {
			sets[i].Add(id)
		}
		return true
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
