package priority

import (
	"cmp"
	"slices"
	"strings"
)

// Measure is a number that may be missing. The zero value is: not measured.
type Measure struct {
	Known bool `json:"known"`
	Value int  `json:"value"`
}

// Work is one thing to be done, as far as its place in the order depends on it.
type Work struct {
	ID   string  // breaks the last tie
	Rank int     // of its deadline class; higher is stricter
	Due  int64   // Unix seconds; 0: no day
	EPSS Measure // parts per million
	CVSS Measure // base score in tenths
}

// Overdue reports whether w should have been done by now.
func (w Work) Overdue(now int64) bool { return w.Due != 0 && now >= w.Due }

// Compare orders work: negative when a comes before b. What is overdue comes
// first, whatever its class: this is what keeps mild work from starving. Then
// the stricter class. Only then, inside one class: what has been overdue for
// longer, the higher EPSS, the higher CVSS, the earlier due day. What is not
// measured stands before what is, since it may be worse.
func Compare(a, b Work, now int64) int {
	late := a.Overdue(now)
	if late != b.Overdue(now) {
		if late {
			return -1
		}
		return 1
	}
	if c := cmp.Compare(b.Rank, a.Rank); c != 0 {
		return c
	}
	if late && a.Due != b.Due {
		return cmp.Compare(a.Due, b.Due)
	}
	return cmp.Or(a.EPSS.compare(b.EPSS), a.CVSS.compare(b.CVSS), compareDue(a.Due, b.Due), strings.Compare(a.ID, b.ID))
}

func (m Measure) compare(o Measure) int {
	switch {
	case m.Known && o.Known:
		return cmp.Compare(o.Value, m.Value)
	case m.Known:
		return 1
	case o.Known:
		return -1
	}
	return 0
}

// compareDue puts no day behind every day.
func compareDue(a, b int64) int {
	switch {
	case a == b:
		return 0
	case a == 0:
		return 1
	case b == 0:
		return -1
	}
	return cmp.Compare(a, b)
}

// Order sorts work by Compare, at the time now (Unix seconds). Different IDs
// have one order, whatever order they come in.
func Order(work []Work, now int64) {
	slices.SortStableFunc(work, func(a, b Work) int { return Compare(a, b, now) })
}
