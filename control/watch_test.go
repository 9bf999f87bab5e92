package control

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego"
)

// watchedSlowly goes over every case of every model, which is easy to see through.
func watchedSlowly(c *Control, m Model, l conduct.Limits, newest int) (base, recent, foreign []conduct.Case) {
	ended := false
	for _, o := range slices.SortedFunc(maps.Values(c.book.observed), func(a, b *observed) int { return cmp.Compare(a.Nth, b.Nth) }) {
		switch {
		case o.Case.Model != m.Digest || o.Watch != m.Watch || o.Case.Outcome == advice.Failed || o.Case.Outcome == advice.Off:
		case o.Foreign:
			foreign = append(foreign, o.Case)
		case !ended && o.Case.Say == conduct.Shadow && len(base) < l.Base:
			base = append(base, o.Case)
		default:
			if ended = true; o.Nth > m.Anew {
				recent = append(recent, c.answered(o.Case))
			}
		}
	}
	return base, recent[max(0, len(recent)-newest):], foreign
}

// TestWatchedIsAsIfAllWereLookedAt: the tracks give what a look at all cases gives,
// whatever came in between, and after a restart, which reads them in another order.
func TestWatchedIsAsIfAllWereLookedAt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, models := &Control{book: newBook()}, []Model{}
		for i := range 2 {
			models = append(models, Model{Digest: canon.SumFile(fmt.Appendf(nil, "model %d", i)), Watch: 1})
		}
		plans := []canon.Digest{}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			m := &models[rapid.IntRange(0, 1).Draw(t, "model")]
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				m.Anew = c.book.cases
			case 1:
				m.Anew, m.Watch = c.book.cases, m.Watch+1
			case 2:
				c.restarted(rapid.Permutation(slices.Sorted(maps.Keys(c.book.observed))).Draw(t, "order"))
			case 3, 4:
				if len(plans) > 0 {
					c.came(t, rapid.SampledFrom(plans).Draw(t, "plan"))
				}
			default:
				o := observed{Nth: c.book.cases + 1, Watch: m.Watch, Foreign: rapid.IntRange(0, 4).Draw(t, "kind") == 0, Case: conduct.Case{
					Plan: canon.SumFile(fmt.Append(nil, len(plans))), Model: m.Digest, Say: rapid.SampledFrom(conduct.Says).Draw(t, "say"),
					Outcome: rapid.SampledFrom([]advice.Outcome{advice.Answered, advice.Answered, advice.Refused, advice.Truncated, advice.Failed, advice.Off}).Draw(t, "outcome")}}
				o.enter(c.book)
				plans = append(plans, o.Case.Plan)
			}
			l, newest := conduct.Limits{Base: rapid.IntRange(1, 6).Draw(t, "base")}, rapid.SampledFrom([]int{0, 1, 3, math.MaxInt}).Draw(t, "newest")
			for _, m := range models {
				base, recent, foreign := c.watched(m, l, newest)
				b, r, f := watchedSlowly(c, m, l, newest)
				if fmt.Sprint(base, recent, foreign) != fmt.Sprint(b, r, f) {
					t.Fatalf("%+v\n%+v\n%+v\nwant\n%+v\n%+v\n%+v", base, recent, foreign, b, r, f)
				}
			}
		}
	})
}

// restarted enters all cases anew in some order.
func (c *Control) restarted(order []canon.Digest) {
	had := c.book.observed
	c.book.observed, c.book.tracks, c.book.cases = nil, nil, 0
	for _, d := range order {
		had[d].enter(c.book)
	}
}

// came is something that becomes known of a plan: how it ended, or people's answers.
func (c *Control) came(t *rapid.T, d canon.Digest) {
	o := *c.book.observed[d]
	o.Case.Wrong, o.Case.Effective = rapid.Bool().Draw(t, "wrong"), rapid.Int64Range(0, 9).Draw(t, "effective")
	o.enter(c.book)
	if got := fmt.Sprint(*c.book.observed[d]); got != fmt.Sprint(o) {
		t.Fatalf("how its plan ended is not kept: %s, want %+v", got, o)
	}
	a := Advised{Until: 9, Effect: rapid.SampledFrom([]string{EffectHeld, EffectShown}).Draw(t, "effect")}
	a.Exchange.Plan = d
	a.enter(c.book)
	p := Plan{Digest: d, State: rapid.SampledFrom([]PlanState{Review, Denied, Running, Finished}).Draw(t, "state")}
	p.Until, p.Verdict = 9, []policy.Verdict{{Outcome: policy.Allow}}
	p.Answers = []approval.Approval{{Kind: rapid.SampledFrom([]approval.Kind{approval.Approve, approval.Deny}).Draw(t, "answer")}}
	p.enter(c.book)
}

// BenchmarkWatched has 100,000 cases of one model: what one event costs under the
// lock, and what a list does.
func BenchmarkWatched(b *testing.B) {
	c, m := &Control{book: newBook(), rules: &rego.Engine{}}, Model{Digest: canon.SumFile([]byte("model")), Watch: 1, Say: conduct.Hold}
	m.enter(c.book)
	for i := range 100_000 {
		o := observed{Nth: i + 1, Watch: 1, Case: conduct.Case{Plan: canon.SumFile(fmt.Append(nil, i)), Model: m.Digest, At: int64(i), Say: conduct.Hold, Outcome: advice.Answered, Action: advice.Keep,
			Rules: "allow", Class: "3DF", Claims: []advice.Counted{{Verdict: advice.Verified, Claims: 3}}, Items: []conduct.Item{{OS: "debian-12", Vendor: "debian", Component: fmt.Sprint("p", i%50)}}}}
		if i < conduct.Default.Base {
			o.Case.Say = conduct.Shadow
		}
		o.enter(c.book)
	}
	look := func(watched func(*Control, Model, conduct.Limits, int) ([]conduct.Case, []conduct.Case, []conduct.Case)) func(*testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				base, recent, _ := watched(c, m, conduct.Default, conduct.Default.Window)
				if len(conduct.Watch(base, recent, conduct.Default)) > 0 {
					b.Fatal("an alarm")
				}
			}
		}
	}
	b.Run("event", look((*Control).watched))
	b.Run("event slowly", look(watchedSlowly))
	b.Run("list, with the lock", func(b *testing.B) {
		for b.Loop() {
			if got := c.conducted(); len(got[0].recent) != 100_000-conduct.Default.Base {
				b.Fatal(len(got[0].recent))
			}
		}
	})
	b.Run("list, whole", func(b *testing.B) {
		for b.Loop() {
			c.Models()
		}
	})
}
