package fleet

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
)

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
	moved      bool // hosts came to templates or left them
	slack      int  // how much even short lists may differ from their template
	pending    []mark
	sorted     []mark

	now, had difference // of the host at hand, and of itself before or of another
	hashes   []uint64   // scratch, as all that follows
	ahead    []uint64
	slots    []uint64
	strange  []uint32
	read     uint64
	seen     []bool
	changes  []uint32
	buffer   []byte
}

// New gives an index without hosts and records.
func New() *Index {
	return &Index{
		generation: 1,
		next:       Snapshot{seed: maphash.MakeSeed()},
		interned:   interned{slots: make([]slot, 1<<10)},
		subjects:   map[advisory.Subject]uint32{},
		releases:   map[advisory.Subject][]uint32{},
		ecosystems: map[string]uint32{},
		templates:  templates{by: map[uint64][perWord]uint32{}},
		slack:      8,
		moved:      true,
	}
}

// Commit gives a snapshot of everything up to now.
func (x *Index) Commit() *Snapshot {
	x.flush()
	if cap(x.pending) > flushAt/64 {
		x.pending, x.sorted = nil, nil
	}
	if x.moved {
		x.next.crews, x.moved = crewsOf(&x.next.templates), false
	}
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
	e.ordered, e.loose, e.streamed = slices.Clone(s.ordered), slices.Clone(s.loose), slices.Clone(s.streamed)
	*x.next.subjects.edit(x.generation, id) = &e
	return &e
}

// intern gives the tuple of a package in a release.
func (x *Index) intern(ecosystem uint32, p *Package, hash uint64) *tuple {
	if t := x.interned.find(hash, ecosystem, p); t != nil {
		return t
	}
	s := x.subject(advisory.Subject{Ecosystem: x.next.ecosystems[ecosystem], Package: p.Source})
	about := *x.next.subjects.at(s)
	b, ok := boundOf(about.scheme, p.Version)
	t := x.interned.fresh()
	// One text, not to keep the bytes that they were cut from.
	*t = tuple{text: p.Source + p.Version + b.key, id: uint32(len(x.next.tuples)), subject: s, ecosystem: ecosystem,
		cut: uint32(len(p.Source)), end: uint32(len(p.Source) + len(p.Version)),
		module: strings.Clone(p.Module), place: placeOf(about.scheme, ok && about.known, p), unsettled: p.Unsettled}
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
	if h.Ecosystem == "" {
		h.Packages, h.Incomplete = nil, true
	}
	ecosystem := x.ecosystem(h.Ecosystem)
	id, known := x.next.hostID(h.Name)
	var had state
	if known {
		had = *x.next.hosts.at(id)
	}
	template := x.settle(&had, ecosystem, h.Packages)
	if !known {
		id = x.newHost(h.Name, template)
	}
	about := ecosystem<<aboutBits | present
	if h.Incomplete {
		about |= incomplete
	}
	x.had.decode(had.difference)
	x.store(id, had, template, about)
}

// store gives a host the state that it has from now on, with the difference to
// its template in x.now and the one that it had in x.had, and marks what that
// changes.
func (x *Index) store(id uint32, had state, template, about uint32) {
	if had.present() && had.template != template {
		x.leave(id, had)
		had.about &^= present
	}
	if !had.present() {
		x.had = difference{x.had.missing[:0], x.had.added[:0]}
		t := x.editTemplate(template)
		if t.join(id); t.n == spelledAt && t.text == "" {
			t.text = x.spell(t)
		}
	}
	list := (*x.next.templates.at(template)).list
	apart(x.had.missing, x.now.missing, func(place uint32, comes bool) { x.mark(list[place], lacking, id, comes) })
	apart(x.had.added, x.now.added, func(tuple uint32, comes bool) { x.mark(tuple, extra, id, comes) })
	if changed := about ^ had.about; changed&(present|incomplete) != 0 {
		x.next.all.keep(x.generation, id, about&present != 0)
		x.next.incomplete.keep(x.generation, id, about&incomplete != 0)
	}
	row := x.next.hosts.edit(x.generation, id)
	x.buffer = x.now.encode(x.buffer)
	if text := row.difference; text != string(x.buffer) {
		row.difference = string(x.buffer)
	}
	row.template, row.about = template, about
	if len(x.pending) >= flushAt {
		x.flush()
	}
}

// leave takes a host, whose difference is in x.had, out of all sets but those of
// the snapshot as a whole.
func (x *Index) leave(id uint32, had state) {
	t := x.editTemplate(had.template)
	t.leave(id)
	for _, place := range x.had.missing {
		x.mark(t.list[place], lacking, id, false)
	}
	for _, f := range x.had.added {
		x.mark(f, extra, id, false)
	}
}

// apart gives what goes from old and what comes in list; both are ascending.
func apart(old, list []uint32, f func(v uint32, comes bool)) {
	for len(old) > 0 || len(list) > 0 {
		switch {
		case len(list) == 0 || len(old) > 0 && old[0] < list[0]:
			f(old[0], false)
			old = old[1:]
		case len(old) == 0 || list[0] < old[0]:
			f(list[0], true)
			list = list[1:]
		default:
			old, list = old[1:], list[1:]
		}
	}
}

// newHost finds a number for a host: one that became free, else the next of the
// block of its template.
func (x *Index) newHost(name string, template uint32) uint32 {
	name = strings.Clone(name)
	var id uint32
	if n := len(x.freeHosts); n > 0 {
		id, x.freeHosts = x.freeHosts[n-1], x.freeHosts[:n-1]
	} else {
		b := &x.templates.blocks[template]
		if b.next == b.end {
			b.size = min(max(2*b.size, 4), maxBlock)
			b.next, b.end = x.next.hosts.n, x.next.hosts.n+b.size
			for range b.size {
				x.next.hosts.push(x.generation, state{})
			}
		}
		id = b.next
		b.next++
	}
	x.next.hosts.edit(x.generation, id).name = name
	x.next.hostNames.add(x.generation, x.next.seed, id, name)
	return id
}

// Change is what went from a host and what came since it was last put: source
// packages, each of which counts once however many binary packages it has there.
type Change struct {
	Host       string
	Went, Came []Package
}

// Change applies changes, one after the other. An error is about the change with
// number n, which does not fit what is held: those before it were applied, it
// and those after it were not. Put that host whole.
func (x *Index) Change(list ...Change) (n int, err error) {
	for n < len(list) {
		hashes := x.foresee(list[n:min(n+foreseen, len(list))])
		for range min(foreseen, len(list)-n) {
			c := &list[n]
			mine := hashes[:len(c.Went)+len(c.Came)]
			if err := x.change(c, mine); err != nil {
				return n, err
			}
			n, hashes = n+1, hashes[len(mine):]
		}
	}
	return n, nil
}

// foreseen is how many changes are looked at together.
const foreseen = 32

// foresee gives the hashes of all packages of some changes, without their hosts'
// ecosystems, and reads what applying them will read: each step for all of them,
// so that the processor waits for memory once a step and not once a step and
// change; see warm. Which host it is it only guesses, by the hash of its name.
func (x *Index) foresee(some []Change) []uint64 {
	var rows [foreseen]*state
	x.foreseeHosts(some, &rows)
	x.ahead, x.hashes = x.ahead[:0], x.hashes[:0]
	for i, row := range rows[:len(some)] {
		for _, list := range [...][]Package{some[i].Went, some[i].Came} {
			for k := range list {
				x.ahead = append(x.ahead, hashOf(x.next.seed, 0, &list[k]))
			}
		}
		if row != nil {
			for _, hash := range x.ahead[len(x.hashes):] {
				x.hashes = append(x.hashes, hash+nextSystem*uint64(row.ecosystem()))
			}
		} else {
			x.hashes = append(x.hashes, x.ahead[len(x.hashes):]...)
		}
	}
	x.warm(x.hashes)
	for _, row := range rows[:len(some)] {
		if row != nil && len(row.name) > 0 {
			x.read += uint64(row.name[0])
		}
		if row != nil && len(row.difference) > 0 {
			x.read += uint64(row.difference[0])
		}
	}
	return x.ahead
}

// foreseeHosts finds a host with the same hash for each change; nil for none.
func (x *Index) foreseeHosts(some []Change, rows *[foreseen]*state) {
	t := &x.next.hostNames
	if t.buckets.n == 0 {
		return
	}
	var hashes [foreseen]uint32
	var buckets [foreseen][]named[uint32]
	for i := range some {
		hashes[i] = nameHash(x.next.seed, some[i].Host)
		buckets[i] = *t.buckets.at(bucket(hashes[i], t.buckets.n))
	}
	for i := range some {
		for _, e := range buckets[i] {
			if e.hash == hashes[i] {
				rows[i] = x.next.hosts.at(e.what)
				break
			}
		}
	}
}

// change applies c, of whose packages these are the hashes without an ecosystem.
func (x *Index) change(c *Change, hashes []uint64) error {
	name, went, came := c.Host, c.Went, c.Came
	id, known := x.next.hostID(name)
	if !known {
		return fmt.Errorf("the fleet has no host %+q, so that a change of it says nothing; put the host whole", name)
	}
	had := *x.next.hosts.at(id)
	ecosystem := had.ecosystem()
	if x.next.ecosystems[ecosystem] == "" {
		return fmt.Errorf("host %+q has no system that advisories name, so that its packages are not held; put the host whole", name)
	}
	for i := range hashes {
		hashes[i] += nextSystem * uint64(ecosystem)
	}
	t, d := *x.next.templates.at(had.template), &x.now
	d.decode(had.difference)
	x.had = difference{append(x.had.missing[:0], d.missing...), append(x.had.added[:0], d.added...)}
	for i := range went {
		p := &went[i]
		if f := x.interned.find(hashes[i], ecosystem, p); f == nil || !d.goes(t, f.id) {
			return fmt.Errorf("host %+q is not known to have had %+q %+q; put the host whole", name, p.Source, p.Version)
		}
	}
	for i := range came {
		d.comes(t, x.intern(ecosystem, &came[i], hashes[len(went)+i]).id)
	}
	if d.len() > x.limit(t) { // another template may be nearer
		h := x.next.host(id, d)
		x.PutHost(h)
		return nil
	}
	x.store(id, had, had.template, had.about)
	return nil
}

// RemoveHost forgets a host; false when it was not known. Its number may go to
// another host later.
func (x *Index) RemoveHost(name string) bool {
	id, known := x.next.hostID(name)
	if !known {
		return false
	}
	had := *x.next.hosts.at(id)
	x.had.decode(had.difference)
	x.leave(id, had)
	x.next.hostNames.remove(x.generation, x.next.seed, id, name)
	x.next.all.keep(x.generation, id, false)
	x.next.incomplete.keep(x.generation, id, false)
	*x.next.hosts.edit(x.generation, id) = state{}
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
		x.next.recordNames.add(x.generation, x.next.seed, naming{id, uint32(i)}, name)
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
