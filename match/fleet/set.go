package fleet

import (
	"cmp"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// A change of a set is a number with one more bit at the end: 1 when it comes,
// 0 when it goes.
const on = 1

// most is how many numbers a set holds as a plain list.
const most = 512

// set is a set of hosts as it is stored: a list while it is short, else Roaring
// bitmaps, one for each run of 65,536 numbers, so that a change copies one of
// them. It is never changed by anybody but the generation that made it.
type set struct {
	few  []uint32 // ascending
	many *many
}

type many struct {
	owner  uint64
	n      int
	chunks []chunk // ascending
}

type chunk struct {
	high  uint32 // the numbers' upper bits
	owner uint64
	*roaring.Bitmap
}

func (s set) len() int {
	if s.many != nil {
		return s.many.n
	}
	return len(s.few)
}

// each gives the numbers, ascending.
func (s set) each(f func(uint32)) {
	for _, i := range s.few {
		f(i)
	}
	if s.many == nil {
		return
	}
	var some [256]uint32
	for _, c := range s.many.chunks {
		it := c.ManyIterator()
		for n := it.NextMany(some[:]); n > 0; n = it.NextMany(some[:]) {
			for _, i := range some[:n] {
				f(i)
			}
		}
	}
}

// bitmap gives the set as one bitmap, of its own.
func (s set) bitmap() *roaring.Bitmap {
	if s.many == nil {
		return roaring.BitmapOf(s.few...)
	}
	all := make([]*roaring.Bitmap, len(s.many.chunks))
	for i, c := range s.many.chunks {
		all[i] = c.Bitmap
	}
	return roaring.FastOr(all...)
}

// apply gives the set with changes, which are ascending, each number once.
func (s set) apply(owner uint64, changes ...uint32) set {
	if len(changes) == 0 {
		return s
	}
	if s.many == nil {
		few := merge(s.few, changes)
		if len(few) <= most {
			return set{few: few}
		}
		m := &many{owner: owner}
		for i := range few {
			few[i] = few[i]<<1 | on
		}
		m.apply(few)
		return set{many: m}
	}
	m := s.many
	if m.owner != owner {
		m = &many{owner, m.n, append(make([]chunk, 0, len(m.chunks)+1), m.chunks...)}
	}
	m.apply(changes)
	if m.n > most/2 {
		return set{many: m}
	}
	few := make([]uint32, 0, m.n)
	set{many: m}.each(func(i uint32) { few = append(few, i) })
	return set{few: few}
}

// has reports whether a number is in the set.
func (s set) has(i uint32) bool {
	if s.many == nil {
		_, found := slices.BinarySearch(s.few, i)
		return found
	}
	k, found := slices.BinarySearchFunc(s.many.chunks, i>>16, func(c chunk, high uint32) int { return cmp.Compare(c.high, high) })
	return found && s.many.chunks[k].Contains(i)
}

// keep makes a number be in the set or not.
func (s *set) keep(owner uint64, i uint32, in bool) {
	if s.has(i) == in {
		return
	}
	change := i << 1
	if in {
		change |= on
	}
	*s = s.apply(owner, change)
}

// merge gives a list with changes, in memory of its own.
func merge(list, changes []uint32) []uint32 {
	out := make([]uint32, 0, len(list)+len(changes))
	for _, c := range changes {
		n := 0
		for n < len(list) && list[n] < c>>1 {
			n++
		}
		out, list = append(out, list[:n]...), list[n:]
		if len(list) > 0 && list[0] == c>>1 {
			list = list[1:]
		}
		if c&on != 0 {
			out = append(out, c>>1)
		}
	}
	out = append(out, list...)
	if len(out) < cap(out)*3/4 {
		out = append([]uint32(nil), out...)
	}
	return out
}

// apply works changes into chunks that m may write to.
func (m *many) apply(changes []uint32) {
	for k := 0; len(changes) > 0; {
		high, n := changes[0]>>17, 1
		for n < len(changes) && changes[n]>>17 == high {
			n++
		}
		for k < len(m.chunks) && m.chunks[k].high < high {
			k++
		}
		switch {
		case k == len(m.chunks) || m.chunks[k].high != high:
			m.chunks = append(m.chunks, chunk{})
			copy(m.chunks[k+1:], m.chunks[k:])
			m.chunks[k] = chunk{high, m.owner, roaring.New()}
		case m.chunks[k].owner != m.owner:
			m.chunks[k] = chunk{high, m.owner, m.chunks[k].Clone()}
		}
		m.n += m.chunks[k].apply(changes[:n])
		changes = changes[n:]
	}
}

// apply works changes into a chunk and gives by how many numbers it grew.
func (c chunk) apply(changes []uint32) (grown int) {
	if len(changes) < 64 {
		for _, h := range changes {
			switch {
			case h&on != 0 && c.CheckedAdd(h>>1):
				grown++
			case h&on == 0 && c.CheckedRemove(h>>1):
				grown--
			}
		}
		return grown
	}
	before := c.GetCardinality()
	come, gone := roaring.New(), roaring.New()
	for _, h := range changes {
		if h&on != 0 {
			come.Add(h >> 1)
		} else {
			gone.Add(h >> 1)
		}
	}
	c.Or(come)
	c.AndNot(gone)
	c.RunOptimize()
	return int(c.GetCardinality()) - int(before)
}
