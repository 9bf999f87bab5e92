package fleet

import (
	"hash/maphash"
	"math/bits"
)

// interned finds tuples by what they are: a hash table with open addressing.
// The hash only says where to look; the same is what is the same byte by byte.
type interned struct {
	slots []slot // a power of two, at most half of them taken
	n     int
}

type slot struct {
	hash uint64
	*tuple
}

// hashOf is seeded, so that nobody can choose versions that meet in one slot.
func hashOf(seed maphash.Seed, ecosystem uint32, p *Package) uint64 {
	h := maphash.String(seed, p.Source) ^ bits.RotateLeft64(maphash.String(seed, p.Version), 29)
	return h + uint64(ecosystem)*0x9e3779b97f4a7c15
}

// find gives the tuple, nil for none.
func (t *interned) find(hash uint64, ecosystem uint32, p *Package) *tuple {
	for i := hash; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		if s.tuple == nil {
			return nil
		}
		if s.hash == hash && s.ecosystem == ecosystem && s.unsettled == p.Unsettled && s.source == p.Source && s.version == p.Version {
			return s.tuple
		}
	}
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
