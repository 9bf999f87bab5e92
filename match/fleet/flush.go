package fleet

import (
	"cmp"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// mark notes how a host's list has changed; both are ascending.
func (x *Index) mark(host uint32, old, list []uint32) {
	if n := len(x.pending) + len(old) + len(list); n > cap(x.pending) {
		x.pending = slices.Grow(x.pending, n) // to twice its length: it may grow a lot
	}
	for i, j := 0, 0; i < len(old) || j < len(list); {
		switch {
		case j == len(list) || i < len(old) && old[i] < list[j]:
			x.pending = append(x.pending, mark{old[i], host | gone})
			i++
		case i == len(old) || list[j] < old[i]:
			x.pending = append(x.pending, mark{list[j], host})
			j++
		default:
			i, j = i+1, j+1
		}
	}
	if len(x.pending) >= flushAt {
		x.flush()
	}
}

// flush works the pending marks into the sets, tuple by tuple, those of one
// tuple in the order in which they came.
func (x *Index) flush() {
	marks := x.sort()
	for len(marks) > 0 {
		n := 1
		for n < len(marks) && marks[n].tuple == marks[0].tuple {
			n++
		}
		x.work(x.next.tuples[marks[0].tuple], marks[:n])
		marks = marks[n:]
	}
	x.pending = x.pending[:0]
}

// sort orders the pending marks by tuple and keeps the order of equals: by
// counting where there are many.
func (x *Index) sort() []mark {
	if len(x.pending) < len(x.next.tuples) {
		slices.SortStableFunc(x.pending, func(a, b mark) int { return cmp.Compare(a.tuple, b.tuple) })
		return x.pending
	}
	place := make([]uint32, len(x.next.tuples)+1)
	for _, m := range x.pending {
		place[m.tuple+1]++
	}
	for i := 1; i < len(place); i++ {
		place[i] += place[i-1]
	}
	x.sorted = slices.Grow(x.sorted[:0], len(x.pending))[:len(x.pending)]
	for _, m := range x.pending {
		x.sorted[place[m.tuple]] = m
		place[m.tuple]++
	}
	return x.sorted
}

// work applies marks of one tuple, of which there is at least one.
func (x *Index) work(t *tuple, marks []mark) {
	list, i, found := x.edit(t.subject).search(t)
	var set *roaring.Bitmap
	switch {
	case !found:
		set = roaring.New()
	case t.owner == x.generation:
		set = (*list)[i].hosts
	default:
		set = (*list)[i].hosts.Clone()
	}
	t.owner = x.generation
	apply(set, marks)
	switch {
	case set.IsEmpty() && found:
		*list = slices.Delete(*list, i, i+1)
	case set.IsEmpty():
	case found:
		(*list)[i].hosts = set
	default:
		*list = slices.Insert(*list, i, held{t, set})
	}
}

// apply works marks into a set: added ones in runs, as a set takes many at once
// much faster.
func apply(set *roaring.Bitmap, marks []mark) {
	var run [512]uint32
	n := 0
	for _, m := range marks {
		if m.host&gone == 0 {
			run[n] = m.host
			if n++; n < len(run) {
				continue
			}
		}
		set.AddMany(run[:n])
		n = 0
		if m.host&gone != 0 {
			set.Remove(m.host &^ gone)
		}
	}
	set.AddMany(run[:n])
	if len(marks) >= len(run) {
		set.RunOptimize()
	}
}

// add and drop change a set that belongs to the snapshot as a whole.
func add(set **roaring.Bitmap, owner *uint64, generation uint64, id uint32) {
	own(set, owner, generation)
	(*set).Add(id)
}

func drop(set **roaring.Bitmap, owner *uint64, generation uint64, id uint32) {
	own(set, owner, generation)
	(*set).Remove(id)
}

func own(set **roaring.Bitmap, owner *uint64, generation uint64) {
	if *owner != generation {
		*set = (*set).Clone()
		*owner = generation
	}
}
