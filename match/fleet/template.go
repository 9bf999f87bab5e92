package fleet

import (
	"encoding/binary"
	"slices"
	"sort"
)

// Hosts are much alike: made from a few images, in a few roles. What a host has
// is held as its difference to a template, a list that many hosts share: the
// places in the template that it lacks, and what it has besides. Tuples know
// their templates, and templates their hosts, so that a host costs what is
// different about it.

// template is such a list with the hosts that are held by it. The list of a
// template with one host may be cut down; else only members change.
type template struct {
	owner   uint64   // the generation that may write to it
	list    []uint32 // tuples, ascending
	order   []uint16 // places in list in the order in which packages come; nil when there are too many
	text    string   // what packages are called in that order, once many hosts are held by it; see spell
	members []stretchOfHosts
	n       int // hosts
}

// state is what is held of a host. A host with the zero state does not exist.
type state struct {
	name       string
	difference string // see encode
	template   uint32
	about      uint32 // the ecosystem and, in the lowest bits, what follows
}

const (
	present = 1 << iota
	incomplete
	aboutBits = iota
)

func (s *state) present() bool     { return s.about&present != 0 }
func (s *state) incomplete() bool  { return s.about&incomplete != 0 }
func (s *state) ecosystem() uint32 { return s.about >> aboutBits }

// difference is what a host lacks of a template and has besides.
type difference struct {
	missing []uint32 // places in the template, ascending
	added   []uint32 // tuples, ascending
}

func (d *difference) len() int { return len(d.missing) + len(d.added) }

// encode writes a difference: how many places are missing, their gaps, and the
// gaps of the added tuples.
func (d *difference) encode(buf []byte) []byte {
	buf = buf[:0]
	if d.len() == 0 {
		return buf
	}
	buf = binary.AppendUvarint(buf, uint64(len(d.missing)))
	for _, list := range [][]uint32{d.missing, d.added} {
		last := uint32(0)
		for _, i := range list {
			buf = binary.AppendUvarint(buf, uint64(i-last))
			last = i
		}
	}
	return buf
}

// decode reads what encode wrote.
func (d *difference) decode(text string) {
	d.missing, d.added = d.missing[:0], d.added[:0]
	if text == "" {
		return
	}
	at := 0
	next := func() (v uint32) {
		for shift := 0; ; shift += 7 {
			b := text[at]
			at++
			if v |= uint32(b&0x7f) << shift; b < 0x80 {
				return v
			}
		}
	}
	last := uint32(0)
	for range next() {
		last += next()
		d.missing = append(d.missing, last)
	}
	for last = 0; at < len(text); {
		last += next()
		d.added = append(d.added, last)
	}
}

// goes takes a tuple out; false when it is not there.
func (d *difference) goes(t *template, id uint32) bool {
	if i, found := slices.BinarySearch(d.added, id); found {
		d.added = slices.Delete(d.added, i, i+1)
		return true
	}
	place, there := slices.BinarySearch(t.list, id)
	i, gone := slices.BinarySearch(d.missing, uint32(place))
	if !there || gone {
		return false
	}
	d.missing = slices.Insert(d.missing, i, uint32(place))
	return true
}

// comes puts a tuple in, which may be there.
func (d *difference) comes(t *template, id uint32) {
	if place, there := slices.BinarySearch(t.list, id); there {
		if i, gone := slices.BinarySearch(d.missing, uint32(place)); gone {
			d.missing = slices.Delete(d.missing, i, i+1)
		}
	} else if i, found := slices.BinarySearch(d.added, id); !found {
		d.added = slices.Insert(d.added, i, id)
	}
}

// tuples appends the list of a host with difference d to the template.
func (t *template) tuples(out []uint32, d *difference) []uint32 {
	added := d.added
	missing := d.missing
	for place, id := range t.list {
		if len(missing) > 0 && missing[0] == uint32(place) {
			missing = missing[1:]
			continue
		}
		for len(added) > 0 && added[0] < id {
			out, added = append(out, added[0]), added[1:]
		}
		out = append(out, id)
	}
	return append(out, added...)
}

// limit is the greatest difference of a host to its template.
func (x *Index) limit(t *template) int { return len(t.list)/6 + x.slack }

// stretchOfHosts is a run of host numbers, both ends inside.
type stretchOfHosts struct{ first, last uint32 }

// join adds a host to the template's, leave takes one out.
func (t *template) join(id uint32) {
	t.n++
	i := sort.Search(len(t.members), func(i int) bool { return t.members[i].last >= id })
	left := i > 0 && t.members[i-1].last+1 == id
	right := i < len(t.members) && t.members[i].first == id+1
	switch {
	case left && right:
		t.members[i-1].last = t.members[i].last
		t.members = slices.Delete(t.members, i, i+1)
	case left:
		t.members[i-1].last = id
	case right:
		t.members[i].first = id
	default:
		t.members = slices.Insert(t.members, i, stretchOfHosts{id, id})
	}
}

func (t *template) leave(id uint32) {
	t.n--
	i := sort.Search(len(t.members), func(i int) bool { return t.members[i].last >= id })
	switch r := t.members[i]; {
	case r.first == r.last:
		t.members = slices.Delete(t.members, i, i+1)
	case r.first == id:
		t.members[i].first++
	case r.last == id:
		t.members[i].last--
	default:
		t.members[i].last = id - 1
		t.members = slices.Insert(t.members, i+1, stretchOfHosts{id + 1, r.last})
	}
}

// templates finds the template that a list is like, by words about the list
// that like lists share (MinHash): the least hashes in 60 classes, five to
// a word. A list of which nine tenths are common shares three words in five, and
// one of which three quarters are common one in four.
type templates struct {
	by     map[uint64][perWord]uint32 // one more than the latest templates with that word
	blocks []block                    // by template
}

// block is a run of host numbers that is kept for hosts of one template, so
// that their numbers lie together.
type block struct{ next, end, size uint32 }

const (
	words    = 12
	atOnce   = 5 // least hashes to a word
	perWord  = 4 // templates that are kept of a word
	maxBlock = 64
)

// wordsOf gives the words about a list from its tuples' hashes.
func wordsOf(hashes []uint64) (out [words]uint64) {
	var least [words * atOnce]uint64
	for i := range least {
		least[i] = ^uint64(0)
	}
	for _, h := range hashes {
		class := &least[h%uint64(len(least))]
		*class = min(*class, h)
	}
	for i := range out {
		v := uint64(i)
		for _, h := range least[i*atOnce:][:atOnce] {
			v = (v ^ h) * 0x9e3779b97f4a7c15
			v ^= v >> 32
		}
		out[i] = v
	}
	return out
}

// likely gives the three templates that share the most words, best first; 0 is
// none, as each number is one more.
func (t *templates) likely(about [words]uint64) (out [3]uint32) {
	var seen [words * perWord]uint32
	var votes [words * perWord]int
	n := 0
	for _, w := range about {
		for _, id := range t.by[w] {
			if id == 0 {
				break
			}
			i := slices.Index(seen[:n], id)
			if i < 0 {
				i, n = n, n+1
				seen[i] = id
			}
			votes[i]++
		}
	}
	for k := range out {
		best := 0
		for i := range n {
			if votes[i] > votes[best] {
				best = i
			}
		}
		if n > 0 && votes[best] > 0 {
			out[k], votes[best] = seen[best], 0
		}
	}
	return out
}

// know makes template id be found by its words, forget undoes it.
func (t *templates) know(id uint32, about [words]uint64) {
	for _, w := range about {
		old := t.by[w]
		if old[0] != id+1 {
			t.by[w] = [perWord]uint32{id + 1, old[0], old[1], old[2]}
		}
	}
}

func (t *templates) forget(id uint32, about [words]uint64) {
	for _, w := range about {
		var rest [perWord]uint32
		n := 0
		for _, other := range t.by[w] {
			if other != id+1 {
				rest[n] = other
				n++
			}
		}
		if t.by[w] = rest; rest[0] == 0 {
			delete(t.by, w)
		}
	}
}
