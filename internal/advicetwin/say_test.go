package advicetwin_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/advicetwin"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/restraint"
)

// TestNoConductMovesWhatMustBePatched: a model that would stop everything, of any
// say, that its conduct takes from it in the middle, or that people give back. Every
// plan of a fleet is held to the twin without advice: the same due day, class and
// authorisation, and what the rules let go on in time goes on in time. So the
// policy's recall, plans due that go on before they are, is the twin's.
func TestNoConductMovesWhatMustBePatched(t *testing.T) {
	held, demoted, shadowed := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		say := conduct.Say(rapid.OneOf(rapid.SampledFrom([]string{"shadow", "show", "hold", "hold", "hold"}), rapid.String()).Draw(t, "say"))
		limits := conduct.Default
		limits.Base, limits.Window, limits.Cases, limits.Sigmas = 10, 10, 5, 1000
		worst := rapid.SampledFrom([]string{advice.Hold, advice.Escalate}).Draw(t, "action")
		base, recent := []conduct.Case{}, []conduct.Case{}
		for i := range 10 {
			base = append(base, conduct.Case{At: int64(i), Outcome: advice.Answered, Action: advice.Keep, Rules: "allow"})
		}
		var without, with []advicetwin.Seen
		for i := range rapid.IntRange(1, 16).Draw(t, "plans") {
			s := stand(t)
			p := say.Of(advice.Accepted{Stands: true, Action: worst, Order: []string{}})
			name, bytes := fmt.Sprint("plan ", i), canon.SumFile([]byte{byte(i)})
			without = append(without, advicetwin.Of(name, bytes, s, advice.Accepted{}))
			s.Shown = say == conduct.Show
			with = append(with, advicetwin.Of(name, bytes, s, p))
			if !p.Stands {
				shadowed++
			}
			recent = append(recent, conduct.Case{At: now + int64(i), Outcome: advice.Answered, Action: worst, Rules: "allow"})
			if len(conduct.Watch(base, recent, limits)) > 0 {
				if below := say.Below(); below != say {
					say, demoted = below, demoted+1
				}
			}
		}
		diff := advicetwin.Compare(without, with)
		if !diff.Clean() {
			t.Fatalf("%s: %v", diff, diff.Why)
		}
		if a, b := recall(without), recall(with); a != b {
			t.Fatalf("the twin has %d plans go on before they are due, with advice %d", a, b)
		}
		held += diff.Held
	})
	if held == 0 || demoted == 0 || shadowed == 0 {
		t.Errorf("held %d, demoted %d, in shadow %d: the property was not tried", held, demoted, shadowed)
	}
}

// stand is any plan that has a due day.
func stand(t *rapid.T) restraint.Stand {
	return restraint.Stand{Verdict: policy.Verdict{Class: rapid.SampledFrom(change.Classes).Draw(t, "class"), Outcome: rapid.SampledFrom([]policy.Outcome{policy.Allow, policy.Allow, policy.Quorum, policy.Hold, policy.Deny}).Draw(t, "outcome")},
		Granted: rapid.Bool().Draw(t, "granted"), Now: now, Review: now + rapid.Int64Range(1, 9e5).Draw(t, "review"), Expires: now + rapid.Int64Range(2, 600000).Draw(t, "expires"),
		Due: now + rapid.Int64Range(-5, 9e5).Draw(t, "due")}
}

// recall counts the plans that go on by themselves before they are due.
func recall(seen []advicetwin.Seen) (n int) {
	for _, s := range seen {
		if s.Alone > 0 && s.Alone < s.Due {
			n++
		}
	}
	return n
}

// TestShadowIsTheTwin: in shadow, and at what is no level, a run is its twin.
func TestShadowIsTheTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := stand(t)
		p := advice.Accepted{Stands: true, Action: rapid.SampledFrom(advice.Actions).Draw(t, "action"), Order: []string{"a", "b"}}
		for _, say := range []conduct.Say{conduct.Shadow, "", "everything"} {
			if a, b := advicetwin.Of("plan", "", s, advice.Accepted{}), advicetwin.Of("plan", "", s, say.Of(p)); a != b {
				t.Fatalf("%q: %+v, the twin %+v", say, b, a)
			}
		}
	})
}

// TestShowHoldsNothing: a model that may only have things shown changes who looks
// first; what a grant covers is its twin, and without one people are asked anyway.
func TestShowHoldsNothing(t *testing.T) {
	first := 0
	rapid.Check(t, func(t *rapid.T) {
		s := stand(t)
		a := advicetwin.Of("plan", "", s, advice.Accepted{})
		s.Shown = true
		b := advicetwin.Of("plan", "", s, conduct.Show.Of(advice.Accepted{Stands: true, Action: rapid.SampledFrom(advice.Actions).Draw(t, "action")}))
		if b.First {
			b.First, first = false, first+1
		}
		if !s.Granted {
			b.Outcome = a.Outcome
		}
		if a != b {
			t.Fatalf("%+v, the twin %+v", b, a)
		}
	})
	if first == 0 {
		t.Error("nothing was ever shown first")
	}
}
