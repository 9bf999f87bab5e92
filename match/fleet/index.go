package fleet

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/patchwrit/patchwrit/advisory"
)

// flushAt is how many pending marks are worked into the sets at once: enough
// that each set is touched seldom, at 8 bytes each.
const flushAt = 1 << 24

// maxHosts is one more than the largest host number: a mark keeps a bit.
const maxHosts = 1 << 31

// Index is what the writer holds: the next snapshot and what it takes to make
// it. It is for one goroutine.
type Index struct {
	generation uint64 // owns what was made since the last Commit
	next       Snapshot
	interned   interned
	subjects   map[advisory.Subject]uint32
	releases   map[advisory.Subject][]uint32 // by package of a distribution as a whole
	ecosystems map[string]uint32
	freeHosts  []uint32
	freeRows   []uint32
	templates  templates
	pending    []mark
	sorted     []mark
	list, old  []uint32 // scratch
}

// mark says that a host has a tuple from now on, or not any more.
type mark struct{ tuple, host uint32 } // the host's highest bit: not any more

const gone = maxHosts

// New gives an index without hosts and records.
func New() *Index {
	return &Index{
		generation: 1,
		next:       Snapshot{seed: maphash.MakeSeed(), all: roaring.New(), incomplete: roaring.New()},
		interned:   interned{slots: make([]slot, 1<<10)},
		subjects:   map[advisory.Subject]uint32{},
		releases:   map[advisory.Subject][]uint32{},
		ecosystems: map[string]uint32{},
	}
}

// Commit gives a snapshot of everything up to now.
func (x *Index) Commit() *Snapshot {
	x.flush()
	if cap(x.pending) > flushAt/64 {
		x.pending, x.sorted = nil, nil
	}
	x.next.templates = x.templates.lists
	s := x.next
	x.generation++
	return &s
}

// base is a distribution's name without its release.
func base(ecosystem string) string {
	name, _, _ := strings.Cut(ecosystem, ":")
	return name
}

// subject interns a package of a release.
func (x *Index) subject(s advisory.Subject) uint32 {
	if id, ok := x.subjects[s]; ok {
		return id
	}
	scheme, known := advisory.SchemeOf(s.Ecosystem)
	whole := advisory.Subject{Ecosystem: base(s.Ecosystem), Package: s.Package}
	s.Package = strings.Clone(s.Package) // not to keep the bytes that it was cut from
	fresh := &subject{Subject: s, generation: x.generation, scheme: scheme, known: known}
	id := x.next.subjects.push(x.generation, fresh)
	x.subjects[s] = id
	if s == whole {
		fresh.releases = slices.Clone(x.releases[whole])
		return id
	}
	x.releases[whole] = append(x.releases[whole], id)
	if w, ok := x.subjects[whole]; ok {
		e := x.edit(w)
		e.releases = append(slices.Clone(e.releases), id)
	}
	return id
}

// edit gives a subject to write to.
func (x *Index) edit(id uint32) *subject {
	s := *x.next.subjects.at(id)
	if s.generation == x.generation {
		return s
	}
	e := *s
	e.generation = x.generation
	e.ordered, e.loose = slices.Clone(s.ordered), slices.Clone(s.loose)
	*x.next.subjects.edit(x.generation, id) = &e
	return &e
}

// intern gives the tuple of a package in a release.
func (x *Index) intern(ecosystem uint32, p *Package) *tuple {
	hash := hashOf(x.next.seed, ecosystem, p)
	if t := x.interned.find(hash, ecosystem, p); t != nil {
		return t
	}
	s := x.subject(advisory.Subject{Ecosystem: x.next.ecosystems[ecosystem], Package: p.Source})
	about := *x.next.subjects.at(s)
	t := &tuple{id: uint32(len(x.next.tuples)), subject: s, ecosystem: ecosystem, unsettled: p.Unsettled}
	text := p.Source + p.Version // one text, not to keep the bytes that they were cut from
	t.source, t.version = text[:len(p.Source)], text[len(p.Source):]
	b, ok := boundOf(about.scheme, t.version)
	t.key, t.loose = b.key, !ok || !about.known || p.Unsettled
	x.next.tuples = append(x.next.tuples, t)
	x.interned.add(hash, t)
	return t
}

// ecosystem interns a system's name.
func (x *Index) ecosystem(name string) uint32 {
	e, ok := x.ecosystems[name]
	if !ok {
		e = uint32(len(x.next.ecosystems))
		name = strings.Clone(name)
		x.ecosystems[name] = e
		x.next.ecosystems = append(x.next.ecosystems, name)
	}
	return e
}

// PutHost takes a host in, or what a host that is known has now.
func (x *Index) PutHost(h Host) {
	id, known := x.next.hostID(h.Name)
	if !known {
		id = x.newHost(h.Name)
	}
	x.list = x.list[:0]
	if h.Ecosystem == "" {
		h.Incomplete = true
	} else {
		e := x.ecosystem(h.Ecosystem)
		for i := range h.Packages {
			x.list = append(x.list, x.intern(e, &h.Packages[i]).id)
		}
		slices.Sort(x.list)
		x.list = slices.Compact(x.list)
	}
	row := x.next.hosts.at(id)
	x.old = decode(x.old[:0], x.template(row), row.difference)
	x.mark(id, x.old, x.list)
	x.store(id, h, x.templates.choose(x.list))
}

// template is the list that a row is the difference to.
func (x *Index) template(row *host) []uint32 {
	if !row.present {
		return nil
	}
	return x.templates.lists[row.template]
}

// store writes a host's row, with x.list as what it has.
func (x *Index) store(id uint32, h Host, template uint32) {
	row := x.next.hosts.edit(x.generation, id)
	if !row.present {
		add(&x.next.all, &x.next.allOwner, x.generation, id)
	}
	if h.Incomplete != row.incomplete {
		if h.Incomplete {
			add(&x.next.incomplete, &x.next.incompleteOwner, x.generation, id)
		} else {
			drop(&x.next.incomplete, &x.next.incompleteOwner, x.generation, id)
		}
	}
	*row = host{name: row.name, difference: x.templates.difference(template, x.list), template: template,
		ecosystem: x.ecosystem(h.Ecosystem), incomplete: h.Incomplete, present: true}
}

func (x *Index) newHost(name string) uint32 {
	name = strings.Clone(name)
	var id uint32
	if n := len(x.freeHosts); n > 0 {
		id, x.freeHosts = x.freeHosts[n-1], x.freeHosts[:n-1]
		*x.next.hosts.edit(x.generation, id) = host{name: name}
	} else {
		id = x.next.hosts.push(x.generation, host{name: name})
	}
	x.next.hostNames.add(x.generation, x.next.seed, id, name, x.next.hostName)
	return id
}

// ChangeHost applies to a host what went and what came since it was last put:
// source packages, each of which counts once however many binary packages it
// has here. An error means that the change does not fit what is held and that
// nothing was changed; put the host whole.
func (x *Index) ChangeHost(name string, went, came []Package) error {
	id, known := x.next.hostID(name)
	if !known {
		return fmt.Errorf("the fleet has no host %+q, so that a change of it says nothing; put the host whole", name)
	}
	row := x.next.hosts.at(id)
	ecosystem := x.next.ecosystems[row.ecosystem]
	if ecosystem == "" {
		return fmt.Errorf("host %+q has no system that advisories name, so that its packages are not held; put the host whole", name)
	}
	x.old = decode(x.old[:0], x.template(row), row.difference)
	x.list = append(x.list[:0], x.old...)
	for _, p := range went {
		i, found := 0, false
		if t := x.interned.find(hashOf(x.next.seed, row.ecosystem, &p), row.ecosystem, &p); t != nil {
			i, found = slices.BinarySearch(x.list, t.id)
		}
		if !found {
			return fmt.Errorf("host %+q is not known to have had %+q %+q; put the host whole", name, p.Source, p.Version)
		}
		x.list = slices.Delete(x.list, i, i+1)
	}
	for _, p := range came {
		t := x.intern(row.ecosystem, &p)
		if i, found := slices.BinarySearch(x.list, t.id); !found {
			x.list = slices.Insert(x.list, i, t.id)
		}
	}
	x.mark(id, x.old, x.list)
	x.store(id, Host{Ecosystem: ecosystem, Incomplete: row.incomplete}, row.template)
	return nil
}

// RemoveHost forgets a host; false when it was not known. Its number may go to
// another host later.
func (x *Index) RemoveHost(name string) bool {
	id, known := x.next.hostID(name)
	if !known {
		return false
	}
	row := x.next.hosts.edit(x.generation, id)
	x.old = decode(x.old[:0], x.template(row), row.difference)
	x.mark(id, x.old, nil)
	x.next.hostNames.remove(x.generation, x.next.seed, id, row.name)
	drop(&x.next.all, &x.next.allOwner, x.generation, id)
	if row.incomplete {
		drop(&x.next.incomplete, &x.next.incompleteOwner, x.generation, id)
	}
	*row = host{}
	x.freeHosts = append(x.freeHosts, id)
	return true
}

// PutAdvisory takes a record in, in place of one of the same feed and id. The
// record's memory is shared and must not be changed afterwards.
func (x *Index) PutAdvisory(a *advisory.Advisory) Ref { return x.PutNth(a, 0) }

// PutNth is PutAdvisory where a feed has several records of one id; nth tells
// them apart.
func (x *Index) PutNth(a *advisory.Advisory, nth int) Ref {
	r := compile(a, nth, x.subject)
	x.RemoveAdvisory(r.ref)
	var id uint32
	if n := len(x.freeRows); n > 0 {
		id, x.freeRows = x.freeRows[n-1], x.freeRows[:n-1]
		*x.next.records.edit(x.generation, id) = r
	} else {
		id = x.next.records.push(x.generation, r)
	}
	for i, name := range r.names {
		x.next.recordNames.add(x.generation, x.next.seed, naming{id, uint32(i)}, name, x.next.recordName)
	}
	for i := range r.rows {
		s := x.edit(r.rows[i].subject)
		s.rows = append(s.rows, &r.rows[i]) // beyond what older snapshots see of it
	}
	return r.ref
}

// RemoveAdvisory forgets a record; false when it was not known. A record that
// its source has withdrawn is put, not removed.
func (x *Index) RemoveAdvisory(ref Ref) bool {
	id, known := x.next.recordID(ref)
	if !known {
		return false
	}
	r := *x.next.records.at(id)
	for i := range r.rows {
		s := x.edit(r.rows[i].subject)
		rest := make([]*row, 0, len(s.rows))
		for _, w := range s.rows {
			if w.of != r {
				rest = append(rest, w)
			}
		}
		s.rows = rest
	}
	for i, name := range r.names {
		x.next.recordNames.remove(x.generation, x.next.seed, naming{id, uint32(i)}, name)
	}
	*x.next.records.edit(x.generation, id) = nil
	x.freeRows = append(x.freeRows, id)
	return true
}
