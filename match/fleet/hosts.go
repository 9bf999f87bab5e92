package fleet

import (
	"iter"

	"github.com/RoaringBitmap/roaring/v2"
)

// Hosts is a set of hosts by their numbers. It never changes. The zero value is
// the empty set.
type Hosts struct {
	set *roaring.Bitmap
	n   int
}

var none = roaring.New() // never written to

func hostsOf(b *roaring.Bitmap) Hosts { return Hosts{b, int(b.GetCardinality())} }

func (h Hosts) bitmap() *roaring.Bitmap {
	if h.set == nil {
		return none
	}
	return h.set
}

// Len is how many hosts there are in h.
func (h Hosts) Len() int { return h.n }

// Has reports whether host number i is in h.
func (h Hosts) Has(i uint32) bool { return h.bitmap().Contains(i) }

// All gives the numbers, ascending.
func (h Hosts) All() iter.Seq[uint32] {
	return func(yield func(uint32) bool) { h.bitmap().Iterate(yield) }
}

// Numbers lists the numbers, ascending.
func (h Hosts) Numbers() []uint32 { return h.bitmap().ToArray() }

// And gives the hosts that are in both.
func (h Hosts) And(o Hosts) Hosts { return hostsOf(roaring.And(h.bitmap(), o.bitmap())) }

// Or gives the hosts that are in either.
func (h Hosts) Or(o Hosts) Hosts { return hostsOf(roaring.Or(h.bitmap(), o.bitmap())) }

// Without gives the hosts of h that are not in o.
func (h Hosts) Without(o Hosts) Hosts { return hostsOf(roaring.AndNot(h.bitmap(), o.bitmap())) }

// Clone gives a set with memory of its own; see Snapshot.Match.
func (h Hosts) Clone() Hosts { return Hosts{h.bitmap().Clone(), h.n} }

// Split parts h by rings: the answer's element i holds the hosts of h in ring i.
func (h Hosts) Split(rings []Hosts) []Hosts {
	out := make([]Hosts, len(rings))
	for i, r := range rings {
		out[i] = h.And(r)
	}
	return out
}

// union joins sets, which it does not change; a single set is given as it is.
func union(sets []*roaring.Bitmap) *roaring.Bitmap {
	switch len(sets) {
	case 0:
		return none
	case 1:
		return sets[0]
	}
	return roaring.FastOr(sets...)
}
