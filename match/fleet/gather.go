package fleet

import (
	"math/bits"

	"github.com/RoaringBitmap/roaring/v2"
)

// gather joins the hosts of tuples, one bit for each host.
type gather struct {
	words []uint64 // nil until there is something to join
	n     int      // bits that are set
	kept  []uint32
}

// crews are the hosts of all templates side by side: much less memory to go
// through than the templates. They are made anew when a host has come, gone or
// gone over to another template, and not when what it has has changed.
type crews struct {
	at      []uint32 // where the stretches of each template begin, and the last ends
	members []stretchOfHosts
}

func crewsOf(templates *paged[*template]) *crews {
	c := &crews{at: make([]uint32, 1, templates.n+1)}
	for i := range templates.n {
		c.members = append(c.members, (*templates.at(i)).members...)
		c.at = append(c.at, uint32(len(c.members)))
	}
	return c
}

// of gives the hosts of a template.
func (c *crews) of(template uint32) []stretchOfHosts {
	return c.members[c.at[template]:c.at[template+1]]
}

func (g *gather) has(i uint32) bool { return g.words[i/64]>>(i%64)&1 != 0 }

// add and drop have no branch that a processor could guess wrong.
func (g *gather) add(i uint32) {
	w := &g.words[i/64]
	g.n += int(^*w >> (i % 64) & 1)
	*w |= 1 << (i % 64)
}

func (g *gather) drop(i uint32) {
	w := &g.words[i/64]
	g.n -= int(*w >> (i % 64) & 1)
	*w &^= 1 << (i % 64)
}

// addAll and dropAll spare a call for each host of a short set, which most are.
func (g *gather) addAll(s set) {
	if s.many != nil {
		s.each(g.add)
		return
	}
	for _, i := range s.few {
		g.add(i)
	}
}

func (g *gather) dropAll(s set) {
	if s.many != nil {
		s.each(g.drop)
		return
	}
	for _, i := range s.few {
		g.drop(i)
	}
}

// masks gives the words of a stretch and the bits of the first and the last.
func (r stretchOfHosts) masks() (from, to int, first, last uint64) {
	return int(r.first / 64), int(r.last / 64), ^uint64(0) << (r.first % 64), ^uint64(0) >> (63 - r.last%64)
}

// span adds a stretch of hosts.
func (g *gather) span(r stretchOfHosts) {
	from, to, first, last := r.masks()
	if from == to {
		first &= last
		g.n += bits.OnesCount64(first &^ g.words[from])
		g.words[from] |= first
		return
	}
	g.n += bits.OnesCount64(first&^g.words[from]) + bits.OnesCount64(last&^g.words[to])
	g.words[from] |= first
	g.words[to] |= last
	for i := from + 1; i < to; i++ {
		g.n += 64 - bits.OnesCount64(g.words[i])
		g.words[i] = ^uint64(0)
	}
}

// or adds the hosts that have a tuple: those whose templates have it, without
// those that lack it, and those that have it besides.
func (g *gather) or(s *Snapshot, h *held) {
	if g.words == nil {
		g.words = make([]uint64, (s.hosts.n+63)/64)
	}
	if h.by != nil {
		g.kept = g.kept[:0]
		h.by.lacking.each(func(i uint32) {
			if g.has(i) { // for another tuple
				g.kept = append(g.kept, i)
			}
		})
		for _, t := range h.by.templates {
			for _, r := range s.crews.of(t) {
				g.span(r)
			}
		}
		g.dropAll(h.by.lacking)
		for _, i := range g.kept {
			g.add(i)
		}
	}
	g.addAll(h.extra)
}

func (g *gather) orAll(s *Snapshot, list []held) {
	for i := range list {
		g.or(s, &list[i])
	}
}

// wipe takes out whatever or has put in of these tuples, so that g is empty
// when they are all that it holds. Where they have many hosts, clearing
// everything is faster than going there again.
func (g *gather) wipe(s *Snapshot, list []held) {
	places := 0
	for i := range list {
		if places += list[i].extra.len(); list[i].by != nil {
			places += 8 * len(list[i].by.templates)
		}
	}
	if places > len(g.words)/8 {
		g.empty()
		return
	}
	for i := range list {
		h := &list[i]
		if h.by != nil {
			for _, t := range h.by.templates {
				for _, r := range s.crews.of(t) {
					from, to, _, _ := r.masks()
					clear(g.words[from : to+1])
				}
			}
		}
		h.extra.each(func(i uint32) { g.words[i/64] = 0 })
	}
	g.n = 0
}

// without takes out the hosts of o.
func (g *gather) without(o *gather) {
	if g.n == 0 || o.n == 0 {
		return
	}
	g.n = 0
	for i, w := range o.words {
		g.words[i] &^= w
		g.n += bits.OnesCount64(g.words[i])
	}
}

// empty clears g; some bits may be set only where n is not 0.
func (g *gather) empty() {
	if g.n > 0 {
		clear(g.words)
		g.n = 0
	}
}

// hosts gives what was joined, and g is empty.
func (g *gather) hosts() (h Hosts) {
	if g.n > 0 {
		h = Hosts{set: roaring.FromDense(g.words, false), n: g.n}
	}
	g.words, g.n = nil, 0
	return h
}

// view gives what was joined, for as long as g stays as it is.
func (g *gather) view() Hosts { return Hosts{words: g.words, n: g.n} }

// answers are the hosts by what is said of them.
type answers struct {
	*Snapshot
	affected, unknown, studied gather
}

func (o *answers) view() Answer {
	return Answer{o.affected.view(), o.unknown.view(), o.studied.view()}
}

func (o *answers) hosts() Answer {
	return Answer{o.affected.hosts(), o.unknown.hosts(), o.studied.hosts()}
}

func (o *answers) empty() {
	o.affected.empty()
	o.unknown.empty()
	o.studied.empty()
}
