package fleet

import (
	"slices"
	"strings"
)

// settle chooses the template by which a host is held that has these packages,
// and leaves the difference to it in x.now: the template that it had when that
// still fits, else one that is alike, else a new one of its list.
func (x *Index) settle(had *state, ecosystem uint32, packages []Package) uint32 {
	if had.present() && x.fit(ecosystem, packages, had.template) {
		return had.template
	}
	x.hashes = x.hashes[:0]
	for i := range packages {
		x.hashes = append(x.hashes, hashOf(x.next.seed, ecosystem, &packages[i]))
	}
	about := wordsOf(x.hashes)
	for _, id := range x.templates.likely(about) {
		if id > 0 && x.fit(ecosystem, packages, id-1) {
			x.cut(id - 1)
			return id - 1
		}
	}
	return x.newTemplate(ecosystem, packages, about)
}

// spelledAt is of how many hosts on a template keeps its packages' text
// together: that is read faster than the tuples' and is as long again.
const spelledAt = 16

// spell writes the source packages and versions of a template in the order in
// which they come, each with its lengths; "" when that cannot be done.
func (x *Index) spell(t *template) string {
	var b strings.Builder
	for _, place := range t.order {
		f := x.next.tuples[t.list[place]]
		if f.unsettled || f.module != "" || len(f.source()) > 255 || len(f.version()) > 255 {
			return ""
		}
		b.WriteByte(byte(len(f.source())))
		b.WriteByte(byte(len(f.version())))
		b.WriteString(f.text[:f.end])
	}
	return strings.Clone(b.String())
}

// reader goes through a template in the order in which its packages come.
type reader struct {
	*template
	tuples []*tuple
	at     int // in order
	byte   int // in text
}

// next compares the next package of the template with p, byte by byte.
func (r *reader) next(ecosystem uint32, p *Package) (same, sameSource bool) {
	if r.at >= len(r.order) {
		return false, false
	}
	if r.text == "" {
		f := r.tuples[r.list[r.order[r.at]]]
		return f.is(ecosystem, p), f.source() == p.Source
	}
	cut := r.byte + 2 + int(r.text[r.byte])
	end := cut + int(r.text[r.byte+1])
	sameSource = r.text[r.byte+2:cut] == p.Source
	return sameSource && r.text[cut:end] == p.Version && !p.Unsettled && p.Module == "", sameSource
}

// skip goes on by n packages.
func (r *reader) skip(n int) {
	r.at += n
	for ; n > 0 && r.text != ""; n-- {
		r.byte += 2 + int(r.text[r.byte]) + int(r.text[r.byte+1])
	}
}

// ahead is how far fit looks for a package in a template when the next one is
// another.
const ahead = 8

// fit sees packages through a template: most are the same in the same order,
// which their bytes say without any search; the others are looked up. False
// when there is too much difference, or too much disorder.
func (x *Index) fit(ecosystem uint32, packages []Package, id uint32) bool {
	t := *x.next.templates.at(id)
	if len(t.list) > 0 && x.next.tuples[t.list[0]].ecosystem != ecosystem {
		return false
	}
	limit := x.limit(t)
	x.seen = slices.Grow(x.seen[:0], len(t.list))[:len(t.list)]
	clear(x.seen)
	x.strange = x.strange[:0]
	r := reader{template: t, tuples: x.next.tuples}
	for i := range packages {
		switch same, sameSource := r.next(ecosystem, &packages[i]); {
		case same:
			x.seen[t.order[r.at]] = true
			r.skip(1)
			continue
		case sameSource: // in another version
			r.skip(1)
		default:
			look := r
			for range min(ahead, len(r.order)-r.at) {
				if same, sameSource = look.next(ecosystem, &packages[i]); sameSource {
					break
				}
				look.skip(1)
			}
			if sameSource {
				r = look
				r.skip(1)
			}
			if same {
				x.seen[t.order[r.at-1]] = true
				continue
			}
		}
		if x.strange = append(x.strange, uint32(i)); len(x.strange) > 2*limit {
			return false
		}
	}
	d := &x.now
	d.missing, d.added = d.missing[:0], d.added[:0]
	for _, f := range x.lookUp(ecosystem, packages) {
		if place, has := slices.BinarySearch(t.list, f); has {
			x.seen[place] = true
		} else {
			d.added = append(d.added, f)
		}
	}
	for place, seen := range x.seen {
		if !seen {
			d.missing = append(d.missing, uint32(place))
		}
	}
	slices.Sort(d.added)
	d.added = slices.Compact(d.added)
	return d.len() <= limit
}

// lookUp gives the tuples of the packages of x.strange.
func (x *Index) lookUp(ecosystem uint32, packages []Package) []uint32 {
	x.changes, x.slots = x.changes[:0], x.slots[:0]
	for _, i := range x.strange {
		x.slots = append(x.slots, hashOf(x.next.seed, ecosystem, &packages[i]))
	}
	x.warm(x.slots)
	for k, i := range x.strange {
		x.changes = append(x.changes, x.intern(ecosystem, &packages[i], x.slots[k]).id)
	}
	return x.changes
}

// warm reads what finding tuples with these hashes will read, for all of them,
// so that the processor waits for memory once and not for one after another.
func (x *Index) warm(hashes []uint64) {
	mask, sum := uint64(len(x.interned.slots)-1), uint64(0)
	for _, hash := range hashes {
		sum += x.interned.slots[hash&mask].hash
	}
	for _, hash := range hashes {
		if t := x.interned.slots[hash&mask].tuple; t != nil && len(t.text) > 0 {
			sum += uint64(t.text[0])
		}
	}
	x.read = sum
}

// newTemplate makes a template of a host's list.
func (x *Index) newTemplate(ecosystem uint32, packages []Package, about [words]uint64) uint32 {
	t := &template{owner: x.generation, list: make([]uint32, 0, len(packages))}
	for i := range packages {
		t.list = append(t.list, x.intern(ecosystem, &packages[i], x.hashes[i]).id)
	}
	arrived := slices.Clone(t.list)
	slices.Sort(t.list)
	t.list = slices.Clip(slices.Compact(t.list))
	if len(t.list) <= 1<<16 {
		t.order = make([]uint16, len(arrived))
		for i, id := range arrived {
			place, _ := slices.BinarySearch(t.list, id)
			t.order[i] = uint16(place)
		}
	}
	id := x.next.templates.push(x.generation, t)
	x.moved = true
	x.templates.blocks = append(x.templates.blocks, block{})
	x.templates.know(id, about)
	for _, f := range t.list {
		x.mark(f, through, id, true)
	}
	x.now.missing, x.now.added = x.now.missing[:0], x.now.added[:0]
	return id
}

// editTemplate gives a template to write to, and to change the hosts of.
func (x *Index) editTemplate(id uint32) *template {
	x.moved = true
	t := *x.next.templates.at(id)
	if t.owner != x.generation {
		c := *t
		c.owner, c.members = x.generation, slices.Clone(t.members)
		t = &c
		*x.next.templates.edit(x.generation, id) = t
	}
	return t
}

// cut takes out of a template that has one host what x.now misses of it, so
// that the second host leaves in it what both have and not what the first has
// alone. The first host then has it besides.
func (x *Index) cut(id uint32) {
	if t := *x.next.templates.at(id); t.n != 1 || len(x.now.missing) == 0 {
		return
	}
	t := x.editTemplate(id)
	first := t.members[0].first
	row := x.next.hosts.edit(x.generation, first)
	x.templates.forget(id, x.wordsOf(t.list))
	x.had.decode(row.difference)
	missing := x.had.missing[:0:0]
	out := make([]bool, len(t.list))
	for _, place := range x.now.missing {
		f := t.list[place]
		out[place] = true
		x.mark(f, through, id, false)
		if _, lacks := slices.BinarySearch(x.had.missing, place); lacks {
			x.mark(f, lacking, first, false)
		} else {
			x.mark(f, extra, first, true)
			x.had.added = append(x.had.added, f)
		}
	}
	moved := make([]uint32, len(t.list)) // where places go
	list := make([]uint32, 0, len(t.list)-len(x.now.missing))
	for place, f := range t.list {
		if moved[place] = uint32(len(list)); !out[place] {
			list = append(list, f)
		}
	}
	for _, place := range x.had.missing {
		if !out[place] {
			missing = append(missing, moved[place])
		}
	}
	var order []uint16
	if t.order != nil {
		order = make([]uint16, 0, len(t.order))
		for _, place := range t.order {
			if !out[place] {
				order = append(order, uint16(moved[place]))
			}
		}
	}
	t.list, t.order, t.text = list, slices.Clip(order), ""
	x.templates.know(id, x.wordsOf(t.list))
	slices.Sort(x.had.added)
	x.had.missing = missing
	row.difference = x.encode(&x.had)
	x.now.missing = x.now.missing[:0]
}

// wordsOf gives the words about a list of tuples.
func (x *Index) wordsOf(list []uint32) [words]uint64 {
	hashes := make([]uint64, len(list))
	for i, id := range list {
		t := x.next.tuples[id]
		hashes[i] = hashOf(x.next.seed, t.ecosystem, &Package{Source: t.source(), Version: t.version(), Module: t.module})
	}
	return wordsOf(hashes)
}

func (x *Index) encode(d *difference) string {
	x.buffer = d.encode(x.buffer)
	return string(x.buffer)
}
