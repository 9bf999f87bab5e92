package priority

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// State is what the events of one host come to, so that later ones can be added
// without them. It names no host: hosts with the same past have the same State.
type State struct {
	At     int64    `json:"at"`     // of the newest event, Unix seconds
	Clocks []Clock  `json:"clocks"` // ascending by id
	Loose  []string `json:"loose"`  // names of ends that nothing was seen under, ascending
}

// Clock is one clock, with what it needs to go on. Times are as in Exposure.
type Clock struct {
	ID     string   `json:"id"`
	Names  []string `json:"names"`
	Seen   bool     `json:"seen"` // false: it was assessed only, and is no exposure
	First  int64    `json:"first"`
	Opened int64    `json:"opened"`
	Closed int64    `json:"closed"`
	Gone   int64    `json:"gone"`
	Used   int64    `json:"used"`
	Terms  []Term   `json:"terms"` // every class it was ever in, in the order of their first time
	Now    int      `json:"now"`   // place of the newest class in Terms, from 1; 0: never assessed
}

// Term is a class and the exposure at which it first applied.
type Term struct {
	Class Class `json:"class"`
	After int64 `json:"after"`
}

func (a Class) same(b Class) bool {
	return a.Key == b.Key && a.Name == b.Name && a.Rank == b.Rank && a.Days == b.Days && slices.Equal(a.Steps, b.Steps)
}

// NewState folds the events of one host, as Fold says. Their hosts are not looked
// at.
func NewState(events []Event) State {
	return NewPast(events).State(func(at int64) int64 { return at })
}

// Past is what the events of a host were about. Hosts that have seen the same one
// after the other, each at its own times, have one Past and many States.
type Past struct {
	events []Event
	clocks []pastClock // ascending by id
	loose  []string
}

type pastClock struct {
	id     string
	names  []string
	events []int // places
}

// NewPast finds out which clocks events are about. It keeps them.
func NewPast(events []Event) Past {
	n, by := newNames(events), map[string][]int{}
	out, loose := Past{events: events}, map[string]bool{}
	for i, e := range events {
		for _, id := range n.targets(e) {
			by[id] = append(by[id], i)
		}
		if !e.joins() && !slices.ContainsFunc(e.Names, isCVE) {
			for _, name := range e.Names {
				if _, known := n.parent[name]; !known {
					loose[name] = true
				}
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(by)) {
		if names := n.of(id); len(names) > 0 { // else ends of what was never seen
			out.clocks = append(out.clocks, pastClock{id, names, by[id]})
		}
	}
	out.loose = append([]string{}, slices.Sorted(maps.Keys(loose))...)
	return out
}

// State is that of a host for which the events happened at times of its own: at
// gives them, from the events' times.
func (p Past) State(at func(int64) int64) State {
	out := State{Clocks: make([]Clock, 0, len(p.clocks)), Loose: p.loose}
	for i := range p.events {
		out.At = max(out.At, at(p.events[i].At))
	}
	var events []Event
	for _, x := range p.clocks {
		c := Clock{ID: x.id, Names: x.names, Terms: []Term{}}
		events = events[:0]
		for _, i := range x.events {
			e := p.events[i]
			e.At = at(e.At)
			events = append(events, e)
		}
		c.run(events)
		out.Clocks = append(out.Clocks, c)
	}
	return out
}

// joins reports whether the event says that its names mean the same.
func (e Event) joins() bool { return e.Kind == Seen || e.Kind == Assessed }

// Exposures are the clocks that ever ran, of a host.
func (s State) Exposures(host string) []Exposure {
	out := make([]Exposure, 0, len(s.Clocks))
	for _, c := range s.Clocks {
		if c.Seen {
			out = append(out, c.exposure(host))
		}
	}
	return out
}

func (c Clock) exposure(host string) Exposure {
	x := Exposure{Host: host, ID: c.ID, Names: c.Names, First: c.First, Opened: c.Opened, Closed: c.Closed, Gone: c.Gone, Used: c.Used}
	if c.Now > 0 {
		x.Class = c.Terms[c.Now-1].Class
	}
	if limit, ok := c.limit(); ok && c.Closed == 0 {
		x.Due = c.Opened + max(0, limit-c.Used)
	}
	return x
}

// run lets events happen to a clock, later than those it knows.
func (c *Clock) run(events []Event) {
	slices.SortStableFunc(events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)), cmp.Compare(a.Class.Rank, b.Class.Rank))
	})
	for _, e := range events {
		open := c.Seen && c.Closed == 0
		switch {
		case e.Kind == Seen && open:
			c.Gone = 0
		case e.Kind == Seen && !c.Seen:
			c.First, c.Opened, c.Seen = e.At, e.At, true
		case e.Kind == Seen:
			c.Used += c.Closed - c.Opened
			c.Opened, c.Closed, c.Gone = e.At, 0, 0
		case e.Kind == Absent && open && c.Gone == 0:
			c.Gone = e.At
		case e.Kind == Effective && open:
			c.Closed, c.Gone = e.At, 0
		case e.Kind == Assessed:
			c.assess(e)
		}
	}
}

func (c *Clock) assess(e Event) {
	i := slices.IndexFunc(c.Terms, func(t Term) bool { return t.Class.same(e.Class) })
	if i < 0 {
		after := int64(0)
		if c.Seen {
			after = c.exposure("").Spent(e.At)
		}
		i, c.Terms = len(c.Terms), append(slices.Clip(c.Terms), Term{e.Class, after})
	}
	c.Now = i + 1
}

// limit is the exposure that may be spent; false when there is no limit.
func (c Clock) limit() (limit int64, ok bool) {
	for _, a := range c.Terms {
		if a.Class.Rank > c.Terms[c.Now-1].Class.Rank || a.Class.Days == 0 {
			continue
		}
		since := a.After
		for _, b := range c.Terms {
			if b.Class.Rank >= a.Class.Rank {
				since = min(since, b.After)
			}
		}
		if end := since + int64(a.Class.Days)*day; !ok || end < limit {
			limit, ok = end, true
		}
	}
	return limit, ok
}

// Next is the state after later events of the same host, and equal to what
// NewState makes of all of them. False: the state alone does not tell, because
// an event is not later than those before, or shows that names which were apart
// mean the same; then all events have to be folded anew.
func (s State) Next(events []Event) (State, bool) {
	n := next{State: s, at: map[string]int{}, of: map[string][]int{}}
	n.Clocks = slices.Clone(s.Clocks)
	for i, c := range n.Clocks {
		n.note(i, c.Names...)
	}
	for _, e := range events {
		if e.At <= s.At || e.joins() && !n.join(e.Names) {
			return State{}, false
		}
		n.At = max(n.At, e.At)
	}
	by := map[int][]Event{}
	for _, e := range events {
		targets, ok := n.targets(e)
		if !ok {
			return State{}, false
		}
		for _, i := range targets {
			by[i] = append(by[i], e)
		}
	}
	for i, list := range by {
		n.Clocks[i].run(list)
	}
	slices.SortFunc(n.Clocks, func(a, b Clock) int { return strings.Compare(a.ID, b.ID) })
	return n.State, true
}

// next is a state that goes on.
type next struct {
	State
	at map[string]int   // clocks by id
	of map[string][]int // clocks by alias
}

func (n *next) note(i int, names ...string) {
	n.at[n.Clocks[i].ID] = i
	for _, name := range names {
		if !isCVE(name) {
			n.of[name] = append(n.of[name], i)
		}
	}
}

// join takes in that names mean the same; false when that changes what events of
// the past were about.
func (n *next) join(names []string) bool {
	var fresh []string
	var clocks []int // of the aliases that are known
	known := false
	for _, name := range names {
		of, ok := n.of[name]
		switch {
		case isCVE(name):
		case slices.Contains(n.Loose, name) || ok && known && !slices.Equal(of, clocks):
			return false
		case ok:
			known, clocks = true, of
		default:
			fresh = append(fresh, name)
		}
	}
	cves := slices.Sorted(slices.Values(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !isCVE(name) })))
	switch {
	case known && len(fresh) > 0 && !isCVE(n.Clocks[clocks[0]].ID):
		return false // the clock's id may change
	case known:
		for _, cve := range cves {
			if i, ok := n.at[cve]; !ok || !slices.Contains(clocks, i) {
				return false
			}
		}
	case len(cves) > 0:
		for _, cve := range cves {
			clocks = append(clocks, n.clock(cve))
		}
	case len(fresh) > 0:
		clocks = []int{n.clock(slices.Min(fresh))}
	}
	clocks = slices.Clone(clocks)
	slices.Sort(clocks)
	for _, i := range slices.Compact(clocks) {
		n.name(i, fresh)
	}
	return true
}

// clock is the clock of an id, made when there is none.
func (n *next) clock(id string) int {
	i, ok := n.at[id]
	if !ok {
		i = len(n.Clocks)
		n.Clocks = append(n.Clocks, Clock{ID: id, Names: []string{id}, Terms: []Term{}})
		n.note(i)
	}
	return i
}

// name gives a clock aliases that nothing else has.
func (n *next) name(i int, fresh []string) {
	n.note(i, fresh...)
	all := slices.Concat(n.Clocks[i].Names, fresh)
	slices.Sort(all)
	n.Clocks[i].Names = slices.Compact(all)
}

// targets are the clocks that an event is about.
func (n *next) targets(e Event) ([]int, bool) {
	out := map[int]bool{}
	cve := slices.ContainsFunc(e.Names, isCVE)
	for _, name := range e.Names {
		i, known := n.at[name]
		switch {
		case isCVE(name) && known:
			out[i] = true
		case isCVE(name) || cve:
		case n.of[name] == nil:
			return nil, false // an end under a name that may be seen later
		default:
			for _, i := range n.of[name] {
				out[i] = true
			}
		}
	}
	if len(out) > 1 && !cve && !e.joins() {
		return nil, true
	}
	return slices.Sorted(maps.Keys(out)), true
}
