package fleet

import (
	"cmp"
	"slices"
)

// flushAt is how many pending marks are worked into the sets at once: enough
// that each set is touched seldom, at 8 bytes each, twice.
const flushAt = 1 << 23

// mark says what has changed about a tuple: in the upper two bits the kind,
// below it the number of a host or template, which is below 2^29, and as the last bit whether it
// comes or goes.
type mark struct{ tuple, what uint32 }

// The kinds of marks.
const (
	extra   = iota << 30 // a host has it, and its template has not
	lacking              // a host has it not, and its template has
	through              // a template has it
	kinds   = 3 << 30
)

func (x *Index) mark(tuple, kind, number uint32, comes bool) {
	what := kind | number<<1
	if comes {
		what |= on
	}
	x.pending = append(x.pending, mark{tuple, what})
}

// flush works the pending marks into the sets, tuple by tuple.
func (x *Index) flush() {
	marks := x.sort()
	for at, warm := 0, 0; at < len(marks); {
		n := 1
		for at+n < len(marks) && marks[at+n].tuple == marks[at].tuple {
			n++
		}
		if at >= warm {
			warm = min(at+64, len(marks))
			x.approach(marks[at:warm])
		}
		x.work(x.next.tuples[marks[at].tuple], marks[at:at+n])
		at += n
	}
	x.pending = x.pending[:0]
}

// approach reads what work will read, for many marks at once; see warm.
func (x *Index) approach(marks []mark) {
	if len(marks) < 4 {
		return
	}
	sum := uint64(0)
	for _, m := range marks {
		sum += uint64(x.next.tuples[m.tuple].subject)
	}
	for _, m := range marks {
		sum += uint64(len((*x.next.subjects.at(x.next.tuples[m.tuple].subject)).ordered))
	}
	for _, m := range marks {
		if list := (*x.next.subjects.at(x.next.tuples[m.tuple].subject)).ordered; len(list) > 0 {
			sum += uint64(len(list[0].extra.few))
		}
	}
	x.read = sum
}

// digit is how many bits of a number the sorting takes at once.
const digit = 11

// sort orders the pending marks by tuple and keeps the order of equals.
func (x *Index) sort() []mark {
	if len(x.pending) < 256 {
		slices.SortStableFunc(x.pending, func(a, b mark) int { return cmp.Compare(a.tuple, b.tuple) })
		return x.pending
	}
	x.sorted = slices.Grow(x.sorted[:0], len(x.pending))[:len(x.pending)]
	for shift := 0; (len(x.next.tuples)-1)>>shift > 0; shift += digit {
		var place [1 << digit]uint32
		for _, m := range x.pending {
			place[m.tuple>>shift%(1<<digit)]++
		}
		sum := uint32(0)
		for i, n := range place {
			place[i], sum = sum, sum+n
		}
		for _, m := range x.pending {
			p := &place[m.tuple>>shift%(1<<digit)]
			x.sorted[*p] = m
			*p++
		}
		x.pending, x.sorted = x.sorted, x.pending
	}
	return x.pending
}

// work applies marks of one tuple, of which there is at least one.
func (x *Index) work(t *tuple, marks []mark) {
	list, i, found := x.edit(t.subject).search(t)
	h := held{tuple: t}
	if found {
		h = (*list)[i]
	}
	h = h.apply(x.generation, x.last(marks))
	switch none := h.extra.len() == 0 && h.by == nil; {
	case none && found:
		*list = slices.Delete(*list, i, i+1)
	case none:
	case found:
		(*list)[i] = h
	default:
		*list = slices.Insert(*list, i, h)
	}
}

// last gives of marks of one tuple what they come to: ascending by kind and
// number, of those about one number the last.
func (x *Index) last(marks []mark) []uint32 {
	if len(marks) > 1 {
		slices.SortStableFunc(marks, func(a, b mark) int { return cmp.Compare(a.what>>1, b.what>>1) })
	}
	x.changes = x.changes[:0]
	for i, m := range marks {
		if i+1 == len(marks) || marks[i+1].what>>1 != m.what>>1 {
			x.changes = append(x.changes, m.what)
		}
	}
	return x.changes
}

// apply gives h with changes, as last gives them.
func (h held) apply(owner uint64, changes []uint32) held {
	var parts [3][]uint32
	for len(changes) > 0 {
		kind, n := changes[0]&kinds, 0
		for n < len(changes) && changes[n]&kinds == kind {
			changes[n] &^= kinds
			n++
		}
		parts[kind>>30], changes = changes[:n], changes[n:]
	}
	h.extra = h.extra.apply(owner, parts[extra>>30]...)
	if len(parts[lacking>>30])+len(parts[through>>30]) == 0 {
		return h
	}
	var by carried
	if h.by != nil {
		by = *h.by
	}
	by.lacking = by.lacking.apply(owner, parts[lacking>>30]...)
	by.templates = enlist(by.templates, parts[through>>30])
	if h.by = &by; len(by.templates) == 0 && by.lacking.len() == 0 {
		h.by = nil
	}
	return h
}

// enlist gives a list with changes; what only comes after its end is written
// beyond what older snapshots see of it.
func enlist(list, changes []uint32) []uint32 {
	for i, c := range changes {
		if c&on == 0 || len(list) > 0 && c>>1 <= list[len(list)-1] {
			return merge(list, changes[i:])
		}
		list = append(list, c>>1)
	}
	return list
}
