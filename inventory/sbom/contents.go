package sbom

import (
	"cmp"
	"slices"
	"strings"
)

// contents is the graph of what is in what, by elements.
type contents struct {
	in      [][2]int32 // what is inside, and in what; ascending
	subject []bool
	holds   []bool
}

// fill works out which components the bill is of, and which have real contents.
// Real is what asks a question of its own: a package, a library, anything that
// could be vulnerable. A container, a lock file, a system or a file counts by what
// is in it, however deep: two containers that only name each other hold nothing.
func (r *reader) fill() {
	g := r.graph()
	subjects := 0
	for _, is := range g.subject {
		if is {
			subjects++
		}
	}
	var todo []int32
	for i := range r.list {
		c := &r.list[i]
		if c.subject = g.subject[c.element]; c.real() {
			todo = append(todo, c.element)
		}
	}
	alone := subjects == 1 && len(todo) > 0 // of several each must say what it holds
	g.spread(todo)
	for i := range r.list {
		c := &r.list[i]
		c.holds = g.holds[c.element] || c.subject && alone
	}
}

// graph resolves the references. Nothing is inside what the bill is of by having
// it inside.
func (r *reader) graph() contents {
	g := contents{subject: make([]bool, r.elements), holds: make([]bool, r.elements)}
	at := map[string]int32{}
	for _, c := range r.list {
		if g.subject[c.element] = g.subject[c.element] || c.subject; c.ref != "" {
			at[c.ref] = c.element
		}
	}
	for _, e := range r.edges {
		if to, ok := at[e.to]; ok && e.from == "" {
			g.subject[to] = true
		}
	}
	put := func(what, in int32) {
		if what != in && !g.subject[what] {
			g.in = append(g.in, [2]int32{what, in})
		}
	}
	for _, e := range r.edges {
		to, ok := at[e.to]
		if from, known := at[e.from]; ok && known {
			put(to, from)
		}
	}
	for _, c := range r.list {
		if c.parent != outermost {
			put(c.element, c.parent)
		}
	}
	slices.SortFunc(g.in, func(a, b [2]int32) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	g.in = slices.Compact(g.in)
	return g
}

// spread goes from what is real to everything around it. Each element is gone
// from at most once for itself and once for what it holds.
func (g *contents) spread(todo []int32) {
	for len(todo) > 0 {
		what := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		i, _ := slices.BinarySearchFunc(g.in, what, func(p [2]int32, w int32) int { return cmp.Compare(p[0], w) })
		for ; i < len(g.in) && g.in[i][0] == what; i++ {
			if in := g.in[i][1]; !g.holds[in] {
				g.holds[in] = true
				todo = append(todo, in)
			}
		}
	}
}

// real reports whether a component is contents by itself.
func (c component) real() bool {
	return !c.subject && !c.part() && !c.made() && c.kind != "operating-system"
}

// part reports whether a component is only a part of what others name.
func (c component) part() bool { return c.purl == "" && passive(c.kind) }

// made reports whether a component is only made of others.
func (c component) made() bool {
	if c.purl == "" {
		return c.kind == "container" || c.grouping
	}
	_, rest, _ := strings.Cut(c.purl, ":")
	kind, _, _ := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	return madeOf(strings.ToLower(kind))
}

// madeOf reports whether purls of a type name what is only made of others.
func madeOf(kind string) bool { return kind == "oci" || kind == "docker" }
