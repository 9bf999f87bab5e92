package policy_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/policy"
)

var (
	outcomes = []policy.Outcome{policy.Allow, policy.Quorum, policy.Hold, policy.Deny}
	plan     = canon.SumFile([]byte("plan"))
)

func bind(d policy.Decision, class change.Class) policy.Verdict {
	return policy.Bind(d, plan, class, 7, canon.SumFile([]byte("bundle")), canon.SumFile([]byte("input")))
}

func TestUnusableDecisionsBecomeDeny(t *testing.T) {
	reason := func(o policy.Outcome) []policy.Reason { return []policy.Reason{{Rule: "r", Outcome: o}} }
	for name, c := range map[string]struct {
		d    policy.Decision
		want policy.Outcome
	}{
		"allow":                     {policy.Decision{Outcome: policy.Allow, Class: change.Routine}, policy.Allow},
		"hold with an end":          {policy.Decision{Outcome: policy.Hold, Class: change.Routine, Until: 9}, policy.Hold},
		"hold at the last second":   {policy.Decision{Outcome: policy.Hold, Class: change.Routine, Until: canon.MaxInt}, policy.Hold},
		"deny with its reason":      {policy.Decision{Outcome: policy.Deny, Class: change.Critical, Reasons: reason(policy.Deny)}, policy.Deny},
		"nothing":                   {policy.Decision{}, policy.Deny},
		"unknown outcome":           {policy.Decision{Outcome: "permit", Class: change.Routine}, policy.Deny},
		"unknown class":             {policy.Decision{Outcome: policy.Allow, Class: "harmless"}, policy.Deny},
		"hold without end":          {policy.Decision{Outcome: policy.Hold, Class: change.Routine}, policy.Deny},
		"hold beyond the calendar":  {policy.Decision{Outcome: policy.Hold, Class: change.Routine, Until: canon.MaxInt + 1}, policy.Deny},
		"hold before time":          {policy.Decision{Outcome: policy.Hold, Class: change.Routine, Until: -1}, policy.Deny},
		"allow until":               {policy.Decision{Outcome: policy.Allow, Class: change.Routine, Until: 9}, policy.Deny},
		"allow until before time":   {policy.Decision{Outcome: policy.Allow, Class: change.Routine, Until: -1}, policy.Deny},
		"a reason that is stricter": {policy.Decision{Outcome: policy.Allow, Class: change.Routine, Reasons: reason(policy.Quorum)}, policy.Deny},
		"a reason nobody knows":     {policy.Decision{Outcome: policy.Hold, Class: change.Routine, Until: 9, Reasons: reason("fine")}, policy.Deny},
		"a reason that is milder":   {policy.Decision{Outcome: policy.Quorum, Class: change.Routine, Reasons: reason(policy.Allow)}, policy.Quorum},
	} {
		v := bind(c.d, change.Sensitive)
		usable := c.d.Outcome == c.want
		if v.Outcome != c.want || v.Class.Rank() < change.Sensitive.Rank() {
			t.Errorf("%s: %s %s, want %s", name, v.Outcome, v.Class, c.want)
		}
		if usable == (len(v.Reasons) == 1 && v.Reasons[0].Rule == "usable_answer") {
			t.Errorf("%s: reasons %+v", name, v.Reasons)
		}
		if v.Type != policy.TypeVerdict || v.Plan != plan || v.At != 7 {
			t.Errorf("%s: bound to %+v", name, v)
		}
	}
}

func TestReasonsStandInOneOrder(t *testing.T) {
	a, b := policy.Reason{Rule: "a", Outcome: policy.Allow, Text: "1"}, policy.Reason{Rule: "a", Outcome: policy.Allow, Text: "2"}
	d := policy.Decision{Outcome: policy.Allow, Class: change.Routine, Reasons: []policy.Reason{b, a}}
	e := policy.Decision{Outcome: policy.Allow, Class: change.Routine, Reasons: []policy.Reason{a, b}}
	if bind(d, change.Routine).Digest() != bind(e, change.Routine).Digest() || d.Reasons[0] != b {
		t.Error("the order of reasons shows in the verdict, or the decision was changed")
	}
}

func decisions() *rapid.Generator[policy.Decision] {
	return rapid.Custom(func(t *rapid.T) policy.Decision {
		d := policy.Decision{Outcome: rapid.SampledFrom(append(slices.Clone(outcomes), "other", "")).Draw(t, "outcome"),
			Class: rapid.SampledFrom(append(slices.Clone(change.Classes), "other")).Draw(t, "class"), Until: rapid.Int64Range(-1, 3).Draw(t, "until")}
		for range rapid.IntRange(0, 3).Draw(t, "reasons") {
			d.Reasons = append(d.Reasons, policy.Reason{Rule: rapid.StringMatching(`[a-c]`).Draw(t, "rule"), Outcome: rapid.SampledFrom(outcomes).Draw(t, "says"),
				Text: canon.NoteOf(rapid.String().Draw(t, "text"))})
		}
		return d
	})
}

// TestRestrictNeverMakesMilder is promise P2 for verdicts: whatever advice
// says, outcome, class and end of hold are at least what they were.
func TestRestrictNeverMakesMilder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := bind(decisions().Draw(t, "rules"), rapid.SampledFrom(change.Classes).Draw(t, "plan class"))
		a := bind(decisions().Draw(t, "advice"), change.Routine)
		if rapid.Bool().Draw(t, "raw advice") { // advice need not come through Bind
			a.Outcome, a.Class = policy.Outcome(rapid.String().Draw(t, "outcome")), change.Class(rapid.String().Draw(t, "class"))
		}
		before := v.Digest()
		r, q := v.Restrict(a), a.Restrict(v)
		for name, by := range map[string]policy.Verdict{"rules": v, "advice": a} {
			if r.Outcome.Rank() < by.Outcome.Rank() || r.Class.Rank() < by.Class.Rank() || r.Until < by.Until {
				t.Fatalf("%+v is milder than the %s %+v", r, name, by)
			}
		}
		if r.Outcome.Rank() != q.Outcome.Rank() || r.Class.Rank() != q.Class.Rank() || r.Until != q.Until || len(r.Reasons) != len(v.Reasons)+len(a.Reasons) {
			t.Fatalf("order shows: %+v and %+v", r, q)
		}
		if v.Digest() != before || r.Plan != v.Plan || r.Bundle != v.Bundle || r.Input != v.Input || r.At != v.At {
			t.Fatal("Restrict changed the verdict it was given, or what it is about")
		}
		if again := r.Restrict(a); again.Outcome != r.Outcome || again.Class != r.Class || again.Until != r.Until {
			t.Fatal("the same restriction twice is stricter than once")
		}
	})
}

func TestLattice(t *testing.T) {
	for i, a := range outcomes {
		for j, b := range outcomes {
			got := policy.Verdict{Outcome: a, Class: change.Routine}.Restrict(policy.Verdict{Outcome: b, Class: change.Routine}).Outcome
			if want := outcomes[max(i, j)]; got != want || a.Rank() != i {
				t.Errorf("%s by %s is %s, want %s", a, b, got, want)
			}
		}
	}
	if policy.Outcome("anything").Rank() != 3 {
		t.Error("an unknown outcome is not the strictest")
	}
}
