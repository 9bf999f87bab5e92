package fleet

import (
	"iter"

	"github.com/RoaringBitmap/roaring/v2"
)

// Hosts is a set of hosts by their numbers. It never changes. The zero value is
// the empty set.
type Hosts struct {
	set   *roaring.Bitmap
	words []uint64 // in place of set: one bit for each host; see Snapshot.Match
	n     int
}

var none = roaring.New() // never written to

func hostsOf(b *roaring.Bitmap) Hosts { return Hosts{set: b, n: int(b.GetCardinality())} }

func (h Hosts) bitmap() *roaring.Bitmap {
	switch {
	case h.set != nil:
		return h.set
	case h.n > 0:
		return roaring.FromDense(h.words, true)
	}
	return none
}

// Len is how many hosts there are in h.
func (h Hosts) Len() int { return h.n }

// Has reports whether host number i is in h.
func (h Hosts) Has(i uint32) bool {
	if h.set == nil {
		return int(i/64) < len(h.words) && h.words[i/64]>>(i%64)&1 != 0
	}
	return h.set.Contains(i)
}

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
func (h Hosts) Clone() Hosts {
	if h.set == nil {
		return Hosts{set: h.bitmap(), n: h.n}
	}
	return Hosts{set: h.set.Clone(), n: h.n}
}

// Split parts h by rings: the answer's element i holds the hosts of h in ring i.
func (h Hosts) Split(rings []Hosts) []Hosts {
	out, all := make([]Hosts, len(rings)), Hosts{set: h.bitmap(), n: h.n}
	for i, r := range rings {
		out[i] = all.And(r)
	}
	return out
}
