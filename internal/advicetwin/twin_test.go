package advicetwin_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/advicetwin"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/restraint"
)

const now = advicetest.Now

// hostile is any bytes, and near-answers.
func hostile(t *rapid.T) []byte {
	return rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.MapOf(rapid.SampledFrom([]string{"type", "dossier", "abstain", "claims", "proposal", "unknowns", "narrative", "authorise", "order"}),
		rapid.String()), func(m map[string]string) []byte { raw, _ := json.Marshal(m); return raw })).Draw(t, "bytes")
}

// wellFormed is an answer about the dossier whose claims are true, some of them
// bent, with any proposal about them.
func wellFormed(t *rapid.T, d advice.Dossier) []byte {
	a := advice.Answer{Dossier: d.Digest(), Proposal: advice.Proposal{Action: rapid.SampledFrom(advice.Actions).Draw(t, "action")}}
	facts := slices.DeleteFunc(slices.Clone(d.Evidence), func(e advice.Evidence) bool { return len(e.Facts) == 0 })
	for i := range rapid.IntRange(0, 3).Draw(t, "claims") {
		e := rapid.SampledFrom(facts).Draw(t, "evidence")
		c := advicetest.True(e, rapid.IntRange(0, len(e.Facts)-1).Draw(t, "fact"))
		if rapid.IntRange(0, 3).Draw(t, "bent") == 0 {
			c.Value += "1"
		}
		c.ID = "c" + string(rune('1'+i))
		a.Claims, a.Proposal.Because = append(a.Claims, c), append(a.Proposal.Because, c.ID)
	}
	if rapid.Bool().Draw(t, "orders") {
		class := rapid.SampledFrom(change.Classes).Draw(t, "class")
		for _, i := range d.Items {
			if i.Class == class {
				a.Proposal.Order = append(a.Proposal.Order, i.Key)
			}
		}
		a.Proposal.Order = rapid.Permutation(a.Proposal.Order).Draw(t, "order")
	}
	return advicetest.Write(a)
}

// TestNoAnswerPermitsAnything: for hostile bytes and for well-formed answers, from
// the bytes to what happens to a plan, against the twin without advice.
func TestNoAnswerPermitsAnything(t *testing.T) {
	d := advicetest.Dossier(advicetest.Material())
	held, first := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := restraint.Stand{Verdict: policy.Verdict{Class: rapid.SampledFrom(change.Classes).Draw(t, "class"), Outcome: rapid.SampledFrom([]policy.Outcome{policy.Allow, policy.Allow, policy.Quorum, policy.Hold, policy.Deny}).Draw(t, "outcome")},
			Granted: rapid.Bool().Draw(t, "granted"), Now: now, Review: now + 86400, Expires: now + rapid.Int64Range(2, 600000).Draw(t, "expires"), Due: rapid.SampledFrom([]int64{0, now - 5, now, now + 5, now + 86400, now + 9e5}).Draw(t, "due")}
		h := advice.Heard{Outcome: rapid.SampledFrom([]advice.Outcome{advice.Answered, advice.Answered, advice.Answered, advice.Failed, advice.Refused, advice.Truncated, advice.Off}).Draw(t, "came")}
		if rapid.Bool().Draw(t, "hostile") {
			h.Answer = hostile(t)
		} else {
			h.Answer = wellFormed(t, d)
		}
		x, _ := advice.Judge(d, advice.Request(d), h, now, now, advice.Days14)
		if h.Outcome != advice.Answered && (x.Proposal.Stands || x.Proposal.Action != advice.Keep) {
			t.Fatalf("%s, and it proposes %+v", h.Outcome, x.Proposal)
		}
		if !x.Proposal.Stands && x.Proposal.Reason != "" {
			t.Fatal("what does not stand is in the record, in the model's words")
		}
		work := canon.SumFile([]byte("bytes"))
		diff := advicetwin.Compare([]advicetwin.Seen{advicetwin.Of("plan", work, s, advice.Accepted{})}, []advicetwin.Seen{advicetwin.Of("plan", work, s, x.Proposal)})
		if !diff.Clean() {
			t.Fatalf("%s: %v", diff, diff.Why)
		}
		held, first = held+diff.Held, first+diff.Escalated
	})
	t.Logf("held %d, to be looked at now %d", held, first)
}

// TestAnAnswerCanHold: what the property above allows does happen.
func TestAnAnswerCanHold(t *testing.T) {
	d := advicetest.Dossier(advicetest.Material())
	s := restraint.Stand{Verdict: policy.Verdict{Class: change.Routine, Outcome: policy.Allow}, Granted: true, Now: now, Review: now + 86400, Expires: now + 259200, Due: now + 86400}
	clean := []advicetwin.Seen{advicetwin.Of("plan", "", s, advice.Accepted{})}
	for action, want := range map[string]string{advice.Keep: "false false", advice.Hold: "true false", advice.Escalate: "true true"} {
		x, _ := advice.Judge(d, advice.Request(d), advicetest.Simulated(action)(t.Context(), advice.Request(d)), now, now, advice.Days14)
		got := advicetwin.Compare(clean, []advicetwin.Seen{advicetwin.Of("plan", "", s, x.Proposal)})
		if is := fmt.Sprint(got.Held == 1, got.Escalated == 1); is != want || !got.Clean() {
			t.Errorf("%s: held and escalated %s, want %s: %v", action, is, want, got.Why)
		}
	}
}

// TestCompareFinds: each difference that must not be is found.
func TestCompareFinds(t *testing.T) {
	base := []advicetwin.Seen{{Work: "a", Artefacts: "x", Class: change.Sensitive, Outcome: policy.Quorum, Approvals: 2, Due: 10, Expires: 20, Group: "1"},
		{Work: "b", Class: change.Routine, Outcome: policy.Allow, Alone: 5, Due: 10, Expires: 20, Group: "1"}, {Work: "c", Group: "0", Outcome: policy.Allow, Alone: 5, Expires: 20}}
	for name, x := range map[string]struct {
		edit func(w []advicetwin.Seen) []advicetwin.Seen
		want advicetwin.Difference
	}{
		"nothing":         {func(w []advicetwin.Seen) []advicetwin.Seen { return w }, advicetwin.Difference{}},
		"milder":          {func(w []advicetwin.Seen) []advicetwin.Seen { w[0].Outcome = policy.Allow; return w }, advicetwin.Difference{Authorizations: 1, Held: 1}},
		"lower class":     {func(w []advicetwin.Seen) []advicetwin.Seen { w[0].Class = change.Routine; return w }, advicetwin.Difference{Authorizations: 1}},
		"fewer approvals": {func(w []advicetwin.Seen) []advicetwin.Seen { w[0].Approvals = 1; return w }, advicetwin.Difference{Authorizations: 1}},
		"alone":           {func(w []advicetwin.Seen) []advicetwin.Seen { w[0].Alone = 9; return w }, advicetwin.Difference{Authorizations: 1}},
		"alone earlier":   {func(w []advicetwin.Seen) []advicetwin.Seen { w[1].Alone = 4; return w }, advicetwin.Difference{Authorizations: 1}},
		"other bytes":     {func(w []advicetwin.Seen) []advicetwin.Seen { w[0].Artefacts = "y"; return w }, advicetwin.Difference{Work: 1}},
		"new work":        {func(w []advicetwin.Seen) []advicetwin.Seen { return append(w, advicetwin.Seen{Work: "d"}) }, advicetwin.Difference{Work: 1}},
		"another day":     {func(w []advicetwin.Seen) []advicetwin.Seen { w[0].Due = 11; return w }, advicetwin.Difference{Deadlines: 1}},
		"never alone":     {func(w []advicetwin.Seen) []advicetwin.Seen { w[1].Alone = 0; return w }, advicetwin.Difference{Deadlines: 1}},
		"too late":        {func(w []advicetwin.Seen) []advicetwin.Seen { w[1].Alone = 10; return w }, advicetwin.Difference{Deadlines: 1}},
		"after its life":  {func(w []advicetwin.Seen) []advicetwin.Seen { w[2].Alone = 20; return w }, advicetwin.Difference{Deadlines: 1}},
		"gone":            {func(w []advicetwin.Seen) []advicetwin.Seen { return w[:2] }, advicetwin.Difference{Deadlines: 1}},
		"order":           {func(w []advicetwin.Seen) []advicetwin.Seen { w[0], w[1] = w[1], w[0]; return w }, advicetwin.Difference{Order: 2}},
		"across":          {func(w []advicetwin.Seen) []advicetwin.Seen { w[1], w[2] = w[2], w[1]; return w }, advicetwin.Difference{Across: 2}},
		"held in time": {func(w []advicetwin.Seen) []advicetwin.Seen {
			w[1].Alone, w[1].Outcome, w[1].First = 9, policy.Quorum, true
			return w
		}, advicetwin.Difference{Held: 1, Escalated: 1}},
	} {
		got := advicetwin.Compare(base, x.edit(slices.Clone(base)))
		if got.Why = nil; got.String() != x.want.String() || got.Held != x.want.Held || got.Across != x.want.Across {
			t.Errorf("%s: %s across %d held %d", name, got, got.Across, got.Held)
		}
	}
}
