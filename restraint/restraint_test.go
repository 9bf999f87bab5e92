package restraint_test

import (
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/restraint"
)

const now = 1_800_000_000

func stands(t *rapid.T) restraint.Stand {
	v := policy.Verdict{Type: policy.TypeVerdict, Plan: canon.SumFile([]byte("plan")), At: now, Class: rapid.SampledFrom(change.Classes).Draw(t, "class"),
		Outcome: rapid.SampledFrom([]policy.Outcome{policy.Allow, policy.Quorum, policy.Hold, policy.Deny}).Draw(t, "outcome"), Reasons: []policy.Reason{}}
	if v.Outcome == policy.Hold {
		v.Until = now + rapid.Int64Range(1, 1e6).Draw(t, "until")
	}
	s := restraint.Stand{Verdict: v, Granted: rapid.Bool().Draw(t, "granted"), Now: now, Review: now + rapid.Int64Range(0, 1e6).Draw(t, "review"), Expires: now + rapid.Int64Range(1, 6e5).Draw(t, "expires")}
	if rapid.Bool().Draw(t, "has a day") {
		s.Due = now + rapid.Int64Range(-1e6, 1e6).Draw(t, "due")
	}
	s.Shown = rapid.Bool().Draw(t, "may only show")
	if rapid.Bool().Draw(t, "was held") {
		s.Held = now + rapid.Int64Range(-1e6, 1e6).Draw(t, "held")
	}
	return s
}

func proposals(t *rapid.T) advice.Accepted {
	return advice.Accepted{Stands: rapid.Bool().Draw(t, "stands"), Action: rapid.OneOf(rapid.SampledFrom(advice.Actions), rapid.String()).Draw(t, "action"),
		Class: change.Class(rapid.String().Draw(t, "of class")), Order: rapid.SliceOf(rapid.String()).Draw(t, "order"), Reason: canon.NoteOf(rapid.String().Draw(t, "reason"))}
}

// TestAdviceOnlyHoldsBack is promise P2 where advice meets a verdict: whatever is
// proposed, nothing becomes milder, and a hold ends before the work is due.
func TestAdviceOnlyHoldsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, p := stands(t), proposals(t)
		e := restraint.By(s, p)
		v := e.Verdict
		switch {
		case v.Outcome.Rank() < s.Verdict.Outcome.Rank() || v.Class.Rank() < s.Verdict.Class.Rank() || v.Until < s.Verdict.Until:
			t.Fatalf("milder: %+v became %+v", s.Verdict, v)
		case v.Outcome.Rank() > max(s.Verdict.Outcome.Rank(), policy.Quorum.Rank()) || v.Class != s.Verdict.Class || v.Until != s.Verdict.Until:
			t.Fatalf("more than people were asked for: %+v became %+v", s.Verdict, v)
		case v.Plan != s.Verdict.Plan || v.At != s.Verdict.At || v.Input != s.Verdict.Input || v.Bundle != s.Verdict.Bundle:
			t.Fatal("it is another verdict")
		case !slices.Equal(v.Reasons[:len(s.Verdict.Reasons)], s.Verdict.Reasons):
			t.Fatal("a reason of the rules is gone")
		}
		acts := p.Stands && (p.Action == advice.Hold || p.Action == advice.Escalate)
		if s.Shown && (e.Held || s.Granted && s.Verdict.Outcome == policy.Allow && (v.Outcome != policy.Allow || e.First || e.Until != 0)) {
			t.Fatalf("what may only show does %+v", e)
		}
		acts = acts && (!s.Shown || !s.Granted || s.Verdict.Outcome != policy.Allow)
		if held := s.Granted && v.Outcome != s.Verdict.Outcome; held != e.Held {
			t.Fatalf("held %v, it says %v", held, e.Held)
		} else if !acts && (held || e.First || e.Until != 0) {
			t.Fatalf("%q that stands %v did %+v", p.Action, p.Stands, e)
		} else if held && (e.Until <= s.Now || !s.Granted) {
			t.Fatalf("held without an end, or what people are asked about anyway: %+v", e)
		} else if acts && s.Granted && s.Verdict.Outcome == policy.Allow && !held && e.Until > s.Now {
			t.Fatalf("a hold that is not over does not hold: %+v", e)
		}
		if s.Held == 0 && e.Until > s.Now && (e.Until >= s.Expires || e.Until > s.Review || s.Due != 0 && e.Until >= s.Due) {
			t.Fatalf("a hold until %d, review %d, life %d, due %d", e.Until, s.Review, s.Expires, s.Due)
		}
		if acts && s.Held != 0 && e.Until != s.Held {
			t.Fatal("a hold was begun anew, or forgotten")
		}
	})
}

// TestAHoldEndsInTime: a table of ends.
func TestAHoldEndsInTime(t *testing.T) {
	hold := advice.Accepted{Stands: true, Action: advice.Hold}
	allow := policy.Verdict{Outcome: policy.Allow, Class: change.Routine}
	for name, x := range map[string]struct {
		s     restraint.Stand
		until int64
		want  policy.Outcome
	}{
		"by the time people have":     {restraint.Stand{Review: now + 10, Expires: now + 100, Due: now + 200}, now + 10, policy.Quorum},
		"by the life of the plan":     {restraint.Stand{Review: now + 100, Expires: now + 100}, now + 50, policy.Quorum},
		"by the due day":              {restraint.Stand{Review: now + 100, Expires: now + 1000, Due: now + 30}, now + 15, policy.Quorum},
		"by the end of its permit":    {restraint.Stand{Review: now + 100, Expires: now + 1000, Due: now + 900, Permit: now + 40}, now + 20, policy.Quorum},
		"its permit has ended":        {restraint.Stand{Review: now + 100, Expires: now + 1000, Permit: now - 1}, now, policy.Allow},
		"due now":                     {restraint.Stand{Review: now + 100, Expires: now + 1000, Due: now}, now, policy.Allow},
		"overdue":                     {restraint.Stand{Review: now + 100, Expires: now + 1000, Due: now - 9}, now, policy.Allow},
		"an earlier hold is not over": {restraint.Stand{Review: now + 100, Expires: now + 1000, Held: now + 3}, now + 3, policy.Quorum},
		"it may only show":            {restraint.Stand{Review: now + 100, Expires: now + 1000, Shown: true}, 0, policy.Allow},
		"an earlier hold is over":     {restraint.Stand{Review: now + 100, Expires: now + 1000, Held: now}, now, policy.Allow},
	} {
		x.s.Now, x.s.Granted, x.s.Verdict = now, true, allow
		if e := restraint.By(x.s, hold); e.Until != x.until || e.Verdict.Outcome != x.want {
			t.Errorf("%s: %s until %d, want %s until %d", name, e.Verdict.Outcome, e.Until-now, x.want, x.until-now)
		}
	}
}

// TestOrderOnlyWithinAClass: whoever is first, what is overdue and the stricter
// class stay before the others, and nothing comes or goes.
func TestOrderOnlyWithinAClass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var work []priority.Work
		for i := range rapid.IntRange(0, 12).Draw(t, "n") {
			w := priority.Work{ID: strconv.Itoa(i), Rank: rapid.IntRange(0, 2).Draw(t, "rank")}
			if rapid.Bool().Draw(t, "day") {
				w.Due = now + rapid.Int64Range(-3, 3).Draw(t, "due")
			}
			work = append(work, w)
		}
		first := map[string]bool{}
		for _, w := range work {
			first[w.ID] = rapid.Bool().Draw(t, "first")
		}
		plain, got := slices.Clone(work), slices.Clone(work)
		priority.Order(plain, now)
		restraint.Order(got, func(id string) bool { return first[id] }, now)
		for i, w := range got {
			p := plain[i]
			if w.Overdue(now) != p.Overdue(now) || w.Rank != p.Rank {
				t.Fatalf("place %d has %+v, without advice %+v", i, w, p)
			}
			if w.Overdue(now) && w != p {
				t.Fatalf("what is overdue was moved: %+v %+v", w, p)
			}
			if i > 0 && !w.Overdue(now) && first[w.ID] && !first[got[i-1].ID] && got[i-1].Rank == w.Rank && !got[i-1].Overdue(now) {
				t.Fatal("one to be looked at now stands behind another of its class")
			}
		}
	})
}

// BenchmarkBy is what advice costs where it meets a verdict.
func BenchmarkBy(b *testing.B) {
	s := restraint.Stand{Verdict: policy.Verdict{Outcome: policy.Allow, Class: change.Routine, Reasons: []policy.Reason{}}, Granted: true, Now: now, Review: now + 86400, Expires: now + 259200, Due: now + 86400}
	for name, p := range map[string]advice.Accepted{"none": {}, "hold": {Stands: true, Action: advice.Hold}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				restraint.By(s, p)
			}
		})
	}
}
