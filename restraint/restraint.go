// Package restraint is the one place where advice meets a verdict.
//
// The parties: the rules have answered about a plan (room policy); an adviser
// was asked, and what of its proposal stands has been verified (room advice); the
// control plane does what comes out here, and nothing else, about either.
//
// The promise (P2, P3): for every proposal the verdict is never milder than the
// rules' own, its class never lower, its hold never shorter; nothing is made that
// was not there; the due day is no field of an Effect, so it cannot move. A hold
// through advice ends by itself, when half of the time is left until its due day,
// and until the grant or the window ends that lets it run now: then the plan goes
// on as the rules said. So advice alone can
// neither stop work nor put it off for good, however often it says hold.
//
// It asks nobody and keeps nothing: the same arguments give the same effect.
package restraint

import (
	"cmp"
	"slices"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/priority"
)

// Rule is the name of the reason that advice adds to a verdict.
const Rule = "advice"

// Stand is how a plan stands, as far as advice can touch it. Times are Unix
// seconds.
type Stand struct {
	Verdict policy.Verdict // the rules' own
	Granted bool           // a live grant covers the plan: what the rules allow runs by itself
	Now     int64
	Review  int64 // until when people could answer if they were asked now
	Expires int64 // end of the plan's life
	Due     int64 // by when its work has to be effective; 0: no day
	Permit  int64 // when what lets it run now ends: the grant, or an open window; 0: no end
	Held    int64 // the end that an earlier Effect gave; 0: none did
	Shown   bool  // the model may have things shown, and hold nothing (conduct.Show)
}

// Effect is what advice does to a plan.
type Effect struct {
	Verdict policy.Verdict // what counts
	Until   int64          // a hold through advice: its end; 0: there was none
	Held    bool           // it is held now: the rules allow it, and people are asked
	First   bool           // people look now: it comes before other plans of its class
	Text    canon.Note     // what it does, for people; "" when nothing
}

// By is the effect of a proposal. One that does not stand, and keep, have none.
func By(s Stand, p advice.Accepted) Effect {
	e := Effect{Verdict: s.Verdict}
	if !p.Stands || p.Action != advice.Hold && p.Action != advice.Escalate {
		return e
	}
	e.First, e.Until = p.Action == advice.Escalate, s.Held
	asked := policy.Verdict{Outcome: policy.Quorum, Class: s.Verdict.Class,
		Reasons: []policy.Reason{{Rule: Rule, Outcome: policy.Quorum, Text: "an adviser asks people to look; its claims were verified"}}}
	if s.Verdict.Outcome != policy.Allow || !s.Granted {
		e.Verdict, e.Text = s.Verdict.Restrict(asked), "people look at it anyway"
		return e
	}
	if s.Shown {
		e.First, e.Until, e.Text = false, 0, "nothing is held: the model may not hold"
		return e
	}
	if e.Until == 0 {
		e.Until = End(s)
	}
	if e.Until <= s.Now {
		e.Text = "nothing is held: the hold is over, or the work is due"
		return e
	}
	e.Held = true
	e.Verdict, e.Text = s.Verdict.Restrict(asked), "people are asked first; without an answer it goes on as the rules said when the hold ends"
	return e
}

// End is when a hold that begins now is over: with the time that people have to
// answer, but when half of what is left until the due day, until the end of the
// plan's life, and until what permits it ends, has passed. The other half is for
// the work.
func End(s Stand) int64 {
	end := min(s.Review, half(s.Now, s.Expires))
	for _, limit := range []int64{s.Due, s.Permit} {
		if limit != 0 {
			end = min(end, half(s.Now, limit))
		}
	}
	return max(end, s.Now)
}

func half(from, to int64) int64 { return from + (to-from)/2 }

// Order sorts work as priority.Order does, with those first of their class that
// people are to look at now. What is overdue stays as it is, before all else.
func Order(work []priority.Work, first func(id string) bool, now int64) {
	priority.Order(work, now)
	back := func(w priority.Work) int {
		if w.Overdue(now) || first(w.ID) {
			return 0
		}
		return 1
	}
	late := func(w priority.Work) int {
		if w.Overdue(now) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(work, func(a, b priority.Work) int {
		if c := cmp.Compare(late(a), late(b)); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(b.Rank, a.Rank), cmp.Compare(back(a), back(b)))
	})
}
