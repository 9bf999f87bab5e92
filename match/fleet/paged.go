package fleet

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
)

// A page is small, as one change copies it; a shelf holds many pages, so that
// the list of shelves is short too.
const (
	pageSize  = 16
	shelfSize = 256
)

// paged is a growing array in pages on shelves. A copy of the struct is a
// frozen version: later edits copy the page, the shelf and the list of shelves
// that they touch. Each carries the generation that owns it; only the owner
// writes in place.
type paged[T any] struct {
	generation uint64
	shelves    []*shelf[T]
	n          uint32
}

type shelf[T any] struct {
	generation uint64
	pages      [shelfSize]*page[T]
}

type page[T any] struct {
	generation uint64
	items      [pageSize]T
}

func (p *paged[T]) at(i uint32) *T {
	return &p.shelves[i/pageSize/shelfSize].pages[i/pageSize%shelfSize].items[i%pageSize]
}

// edit gives the place of item i to write to.
func (p *paged[T]) edit(generation uint64, i uint32) *T {
	old := p.shelf(generation, i).pages[i/pageSize%shelfSize]
	if old.generation != generation {
		old = &page[T]{generation, old.items}
		p.shelf(generation, i).pages[i/pageSize%shelfSize] = old
	}
	return &old.items[i%pageSize]
}

// shelf gives the shelf of item i to write to.
func (p *paged[T]) shelf(generation uint64, i uint32) *shelf[T] {
	k := int(i / pageSize / shelfSize)
	if k == len(p.shelves) || p.shelves[k].generation != generation {
		if p.generation != generation {
			p.shelves, p.generation = slices.Clone(p.shelves), generation
		}
		if k == len(p.shelves) {
			p.shelves = append(p.shelves, &shelf[T]{generation: generation})
		} else {
			p.shelves[k] = &shelf[T]{generation, p.shelves[k].pages}
		}
	}
	return p.shelves[k]
}

// push appends an item and gives its number.
func (p *paged[T]) push(generation uint64, v T) uint32 {
	i := p.n
	if i%pageSize == 0 {
		p.shelf(generation, i).pages[i/pageSize%shelfSize] = &page[T]{generation: generation}
	}
	p.n++
	*p.edit(generation, i) = v
	return i
}

// bucketLoad is how many numbers a bucket of names holds on average.
const bucketLoad = 4

// names finds things by text: a hash table that grows by one bucket at a time
// (linear hashing), so that no single step is long. The hash only says where to
// look; whether a name is the same is for the bytes to say.
type names[E comparable] struct {
	buckets paged[[]named[E]]
	count   uint32
}

// named is a thing with its name's hash, so that others in the same bucket need
// not be looked at.
type named[E comparable] struct {
	what E
	hash uint32
}

func nameHash(seed maphash.Seed, name string) uint32 { return uint32(maphash.String(seed, name)) }

// bucket is where a hash belongs among n buckets.
func bucket(hash, n uint32) uint32 {
	level := uint32(1) << (bits.Len32(n) - 1)
	if i := hash & (level*2 - 1); i < n {
		return i
	}
	return hash & (level - 1)
}

// each gives everything whose text by of is name.
func (t *names[E]) each(seed maphash.Seed, name string, of func(E) string) iter.Seq[E] {
	return func(yield func(E) bool) {
		if t.buckets.n == 0 {
			return
		}
		hash := nameHash(seed, name)
		for _, e := range *t.buckets.at(bucket(hash, t.buckets.n)) {
			if e.hash == hash && of(e.what) == name && !yield(e.what) {
				return
			}
		}
	}
}

// add puts in e, whose text is name and which was not there.
func (t *names[E]) add(generation uint64, seed maphash.Seed, e E, name string) {
	if t.count >= t.buckets.n*bucketLoad {
		t.split(generation)
	}
	t.count++
	hash := nameHash(seed, name)
	b := t.buckets.edit(generation, bucket(hash, t.buckets.n))
	*b = append((*b)[:len(*b):len(*b)], named[E]{e, hash})
}

// split adds one bucket and shares out the one that it takes from.
func (t *names[E]) split(generation uint64) {
	n := t.buckets.push(generation, nil)
	if n == 0 {
		return
	}
	from := t.buckets.edit(generation, n-1<<(bits.Len32(n)-1))
	var stay, move []named[E]
	for _, e := range *from {
		if bucket(e.hash, n+1) == n {
			move = append(move, e)
		} else {
			stay = append(stay, e)
		}
	}
	*from = stay
	*t.buckets.edit(generation, n) = move
}

// remove takes e, whose text is name, out.
func (t *names[E]) remove(generation uint64, seed maphash.Seed, e E, name string) {
	b := t.buckets.edit(generation, bucket(nameHash(seed, name), t.buckets.n))
	var rest []named[E]
	for _, other := range *b {
		if other.what != e {
			rest = append(rest, other)
		}
	}
	t.count--
	*b = rest
}
