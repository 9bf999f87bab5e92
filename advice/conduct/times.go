package conduct

import (
	"math"
	"slices"
)

// stretch is how long plans took, from made until effective, in millionths of what is
// usual for their deadline class: in the model's first time, and the newest. All are
// cut at twice the usual: a plan that takes longer, or is not in effect yet, took at
// least so long.
type stretch struct{ before, now []int64 }

// times finds a segment that waits longer, or shorter, for patches than the others
// of the same deadline classes do, each held to its own first time: a kernel that
// always waited for a reboot is no disparity. The ratio has to be beyond its limit in
// both halves of the newest plans, and the segment's own times beyond chance.
func (w *watch) times(s Segment) {
	own := w.stretch(func(c *Case) bool { return c.in(s) })
	rest := w.stretch(func(c *Case) bool { return !c.in(s) })
	if !w.enough(own) || !w.enough(rest) {
		return
	}
	a, b := ratios(own, rest)
	sigmas := ranks(own.before, own.now)
	say := func(value float64, limit int) {
		w.alarm(MeasureTime, s, value, limit, len(own.now), "plans take %.2f, and the newer ones %.2f times as long as the others of their deadline classes, each against its own first time", a, b)
	}
	switch {
	case ppm(min(a, b)) >= w.l.Slower && sigmas >= w.sigmas():
		say(min(a, b), w.l.Slower)
	case ppm(max(a, b)) <= w.l.Faster && sigmas <= -w.sigmas():
		say(max(a, b), w.l.Faster)
	}
}

func (w *watch) enough(s stretch) bool {
	return len(s.before) >= w.l.Plans && len(s.now) >= 2*w.l.Plans
}

// in reports whether a case changes something of a segment.
func (c *Case) in(s Segment) bool {
	return slices.ContainsFunc(c.Items, func(i Item) bool { return i.in(s) })
}

// stretch is of the plans that mine picks, without classes of which the base has too
// few to know what is usual. A plan that people said no to waited for no patch. Of the
// newest those count that are old enough to show twice the usual time: of younger ones
// only the fast are known.
func (w *watch) stretch(mine func(*Case) bool) (out stretch) {
	took := map[string][]int64{}
	for i := range w.base {
		if c := &w.base[i]; c.People != No && mine(c) {
			took[c.Class] = append(took[c.Class], c.took())
		}
	}
	usual := map[string]int64{}
	for class, list := range took {
		u := median(list)
		if len(list) < w.l.Seen || u == 0 || u == math.MaxInt64 {
			continue
		}
		usual[class] = u
		for _, t := range list {
			out.before = append(out.before, of(t, u))
		}
	}
	for i := range w.now {
		c := &w.now[i]
		if u, ok := usual[c.Class]; ok && w.latest-c.Made >= 2*u && c.People != No && mine(c) {
			out.now = append(out.now, of(c.took(), u))
		}
	}
	return out
}

// of is a time in millionths of the usual, two of it at most.
func of(t, usual int64) int64 {
	return int64(Million * min(2, float64(t)/float64(usual)))
}

// took is seconds from made until effective; the greatest number when not yet.
func (c *Case) took() int64 {
	if c.Effective == 0 {
		return math.MaxInt64
	}
	return max(0, c.Effective-c.Made)
}

// ratios are how much longer own takes than rest, in the older and the newer half.
func ratios(own, rest stretch) (older, newer float64) {
	middle := func(list []int64) float64 { return float64(max(1, median(slices.Clone(list)))) }
	a, b := len(own.now)/2, len(rest.now)/2
	return middle(own.now[:a]) / middle(rest.now[:b]), middle(own.now[a:]) / middle(rest.now[b:])
}
