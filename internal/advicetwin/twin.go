// Package advicetwin compares two runs over the same fleet, one without and one
// with advice, and counts what must never differ.
//
// The parties: a test, or make redteam-advice, runs both; Compare says what
// advice changed. It judges what was done with plans, not what was said of them.
// It is for tests and drills only.
package advicetwin

import (
	"fmt"
	"slices"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/restraint"
)

// Seen is what one run did with one plan. Times are Unix seconds.
type Seen struct {
	Work      string         // names the same work in both runs: hosts and changes
	Artefacts canon.Digest   // of what would be installed, and where
	Class     change.Class   // the quorum wanted
	Outcome   policy.Outcome // what counted
	Approvals int            // people whose yes it had when it ran
	Alone     int64          // when it goes on if no person ever answers; 0: never
	Due       int64          // 0: no day
	Expires   int64
	Group     string // its place among classes: overdue or not, and the deadline class
	First     bool   // people are to look now
}

// Of is what becomes of one plan by itself: a stand, and what of a proposal stands.
func Of(work string, artefacts canon.Digest, s restraint.Stand, p advice.Accepted) Seen {
	e := restraint.By(s, p)
	out := Seen{Work: work, Artefacts: artefacts, Class: e.Verdict.Class, Outcome: e.Verdict.Outcome, Due: s.Due, Expires: s.Expires, First: e.First}
	switch {
	case e.Held:
		out.Alone = e.Until
	case e.Verdict.Outcome == policy.Allow && s.Granted:
		out.Alone = s.Now
	}
	return out
}

// Difference counts plans by what advice changed. The first four must be 0.
type Difference struct {
	Authorizations int // milder, of a lower class, with fewer approvals, or alone earlier
	Work           int // work, or bytes, that the run without advice has not
	Deadlines      int // another due day; or what would go on alone in time does so no more
	Across         int // places that changed beyond a class
	Order          int // places that changed within one
	Escalated      int
	Held           int
	Why            []string // of the first four
}

// Add adds another comparison.
func (d *Difference) Add(o Difference) {
	d.Authorizations += o.Authorizations
	d.Work += o.Work
	d.Deadlines += o.Deadlines
	d.Across += o.Across
	d.Order += o.Order
	d.Escalated += o.Escalated
	d.Held += o.Held
	d.Why = append(d.Why, o.Why...)
}

// Clean reports whether advice changed nothing that it must not.
func (d Difference) Clean() bool { return d.Authorizations+d.Work+d.Deadlines+d.Across == 0 }

// String is the first half of the last line of make redteam-advice.
func (d Difference) String() string {
	return fmt.Sprintf("authorizations changed: %d, work created: %d, deadlines lengthened: %d, order changed: %d, escalated: %d", d.Authorizations, d.Work, d.Deadlines, d.Order, d.Escalated)
}

// Compare compares a run without advice to its twin with it; both in the order
// of work.
func Compare(without, with []Seen) (d Difference) {
	no := func(n *int, format string, args ...any) {
		*n++
		d.Why = append(d.Why, fmt.Sprintf(format, args...))
	}
	for place, w := range with {
		i := slices.IndexFunc(without, func(o Seen) bool { return o.Work == w.Work })
		if i < 0 {
			no(&d.Work, "%s is new", w.Work)
			continue
		}
		o := without[i]
		if o.Artefacts != w.Artefacts {
			no(&d.Work, "%s installs other bytes", w.Work)
		}
		if why := milder(o, w); why != "" {
			no(&d.Authorizations, "%s: %s", w.Work, why)
		}
		if why := later(o, w); why != "" {
			no(&d.Deadlines, "%s: %s", w.Work, why)
		}
		if place < len(without) && without[place].Work != w.Work {
			if without[place].Group != w.Group {
				no(&d.Across, "%s moved out of its class", w.Work)
			} else {
				d.Order++
			}
		}
		if w.First {
			d.Escalated++
		}
		if w.Outcome != o.Outcome {
			d.Held++
		}
	}
	for _, o := range without {
		if !slices.ContainsFunc(with, func(w Seen) bool { return w.Work == o.Work }) {
			no(&d.Deadlines, "%s is gone", o.Work)
		}
	}
	return d
}

func milder(o, w Seen) string {
	switch {
	case w.Outcome.Rank() < o.Outcome.Rank():
		return fmt.Sprintf("%s became %s", o.Outcome, w.Outcome)
	case w.Class.Rank() < o.Class.Rank():
		return fmt.Sprintf("class %s became %s", o.Class, w.Class)
	case w.Approvals < o.Approvals:
		return fmt.Sprintf("%d approvals became %d", o.Approvals, w.Approvals)
	case w.Alone != 0 && (o.Alone == 0 || w.Alone < o.Alone):
		return fmt.Sprintf("it goes on alone at %d, not at %d", w.Alone, o.Alone)
	}
	return ""
}

func later(o, w Seen) string {
	switch {
	case w.Due != o.Due:
		return fmt.Sprintf("due at %d, not at %d", w.Due, o.Due)
	case o.Alone == 0:
		return ""
	case w.Alone == 0:
		return "it goes on alone no more"
	case w.Alone > o.Alone && w.Alone >= w.Expires:
		return "it goes on alone when its life is over"
	case w.Due != 0 && w.Alone > o.Alone && w.Alone >= w.Due:
		return "it goes on alone when it is overdue"
	}
	return ""
}
