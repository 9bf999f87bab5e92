package fleet

import (
	"hash/maphash"
	"math/bits"

	"github.com/patchwrit/patchwrit/version"
)

// tuple is a source package of one release in one version, interned. It is
// never changed.
type tuple struct {
	text      string // the source package, the version and what orders versions; see version.Key
	module    string
	id        uint32
	subject   uint32
	ecosystem uint32
	cut, end  uint32 // where the source package and the version end
	place     place
	unsettled bool
}

// place is how records are asked about a tuple.
type place uint8

const (
	ordered  place = iota // by its place in the order of versions
	loose                 // it has none: unsettled, or the version cannot be read
	streamed              // each record by itself, as it may mean another module stream
)

// placeOf chooses it; readable: its version has a place in the order.
func placeOf(s version.Scheme, readable bool, p *Package) place {
	switch {
	case p.Module != "" && s == version.RPM:
		return streamed
	case !readable || p.Unsettled:
		return loose
	}
	return ordered
}

func (t *tuple) source() string  { return t.text[:t.cut] }
func (t *tuple) version() string { return t.text[t.cut:t.end] }
func (t *tuple) key() string     { return t.text[t.end:] }

// is tells whether the tuple is that package, byte by byte.
func (t *tuple) is(ecosystem uint32, p *Package) bool {
	n := len(p.Source)
	return t.cut == uint32(n) && t.end == uint32(n+len(p.Version)) && t.ecosystem == ecosystem && t.unsettled == p.Unsettled && t.module == p.Module &&
		t.text[n:t.end] == p.Version && t.text[:n] == p.Source
}

// slab is how many tuples are made at once: fewer pieces for the collector.
const slab = 256

// interned finds tuples by what they are: a hash table with open addressing.
// The hash only says where to look; the same is what is the same byte by byte.
type interned struct {
	slots []slot // a power of two, at most half of them taken
	n     int
	slab  []tuple
}

type slot struct {
	hash uint64
	*tuple
}

// hashOf is seeded, so that nobody can choose versions that meet in one slot.
func hashOf(seed maphash.Seed, ecosystem uint32, p *Package) uint64 {
	h := maphash.String(seed, p.Source) ^ bits.RotateLeft64(maphash.String(seed, p.Version), 29)
	if p.Module != "" {
		h ^= bits.RotateLeft64(maphash.String(seed, p.Module), 47)
	}
	return h + nextSystem*uint64(ecosystem)
}

// nextSystem is what the next ecosystem adds to a hash.
const nextSystem = 0x9e3779b97f4a7c15

// find gives the tuple, nil for none.
func (t *interned) find(hash uint64, ecosystem uint32, p *Package) *tuple {
	for i := hash; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		if s.tuple == nil {
			return nil
		}
		if s.hash == hash && s.is(ecosystem, p) {
			return s.tuple
		}
	}
}

// fresh makes a tuple, which add is to put in.
func (t *interned) fresh() *tuple {
	if len(t.slab) == 0 {
		t.slab = make([]tuple, slab)
	}
	f := &t.slab[0]
	t.slab = t.slab[1:]
	return f
}

// add puts in a tuple that was not there.
func (t *interned) add(hash uint64, fresh *tuple) {
	if t.n++; t.n > len(t.slots)/2 {
		old := t.slots
		t.slots = make([]slot, 2*len(old))
		for _, s := range old {
			if s.tuple != nil {
				t.place(s)
			}
		}
	}
	t.place(slot{hash, fresh})
}

func (t *interned) place(s slot) {
	i := s.hash
	for t.slots[i&uint64(len(t.slots)-1)].tuple != nil {
		i++
	}
	t.slots[i&uint64(len(t.slots)-1)] = s
}
