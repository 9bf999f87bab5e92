package policy_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/policy"
)

func reason(rule string, o policy.Outcome) policy.Reason {
	return policy.Reason{Rule: rule, Outcome: o, Text: canon.NoteOf("text")}
}

func TestWhatIsMilder(t *testing.T) {
	v := func(o policy.Outcome, class change.Class, until int64, rules ...string) policy.Verdict {
		out := policy.Verdict{Outcome: o, Class: class, Until: until}
		for _, r := range rules {
			out.Reasons = append(out.Reasons, reason(r, o))
		}
		return out
	}
	for name, c := range map[string]struct {
		before, now policy.Verdict
		want        string
	}{
		"the same":                     {v("hold", "routine", 5, "a"), v("hold", "routine", 5, "a"), ""},
		"deny, then hold":              {v("deny", "routine", 0), v("hold", "routine", 5), "deny became hold"},
		"hold, then quorum":            {v("hold", "routine", 5, "a"), v("quorum", "routine", 0), "hold became quorum"},
		"quorum, then allow":           {v("quorum", "routine", 0), v("allow", "routine", 0), "quorum became allow"},
		"an outcome nobody knows":      {v("strange", "routine", 0), v("deny", "routine", 0), ""},
		"allow, then quorum":           {v("allow", "routine", 0), v("quorum", "routine", 0), ""},
		"a smaller quorum":             {v("quorum", "critical", 0), v("quorum", "sensitive", 0), "the quorum critical became sensitive"},
		"a larger quorum":              {v("quorum", "sensitive", 0), v("quorum", "critical", 0), ""},
		"a smaller quorum for nothing": {v("deny", "critical", 0), v("deny", "routine", 0), ""},
		"stricter, of fewer people":    {v("quorum", "critical", 0), v("hold", "routine", 5, "a"), "the quorum critical became routine"},
		"a shorter hold":               {v("hold", "routine", 5, "a"), v("hold", "routine", 4, "a"), "the hold ends 1 seconds earlier"},
		"a longer hold":                {v("hold", "routine", 4, "a"), v("hold", "routine", 5, "a"), ""},
		"fewer rules hold":             {v("hold", "routine", 5, "a", "b"), v("hold", "routine", 5, "a"), "2 rules held, 1 hold"},
		"more rules hold":              {v("hold", "routine", 5, "a"), v("hold", "routine", 5, "a", "b"), ""},
		"one rule for two hosts":       {v("hold", "routine", 5, "a", "a"), v("hold", "routine", 5, "a"), ""},
		"a hold and its rule, to deny": {v("hold", "routine", 5, "a"), v("deny", "routine", 0, "b"), ""},
	} {
		if got := strings.Join(c.now.WeakerThan(c.before), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	a, b := v("deny", "routine", 0, "x", "y", "y"), v("deny", "routine", 0, "x")
	if got := a.Spoke(b); !slices.Equal(got, []string{"y"}) || len(b.Spoke(a)) != 0 {
		t.Errorf("%q", got)
	}
}

func TestCorpus(t *testing.T) {
	all, names := policy.Corpus(), map[string]bool{}
	for _, c := range all {
		names[c.Name] = true
		raw, err := canon.Encode(c.Input)
		var in policy.Input
		if err != nil || canon.Decode(raw, &in) != nil || !reflect.DeepEqual(in, c.Input) || c.Input.Plan.Valid() != nil || in.Type != policy.TypeInput {
			t.Fatalf("%s: not canonical or no plan: %v, %v", c.Name, err, c.Input.Plan.Valid())
		}
	}
	if len(all) < 1000 || len(names) != len(all) {
		t.Errorf("%d inputs, %d names", len(all), len(names))
	}
	given := policy.Case{Name: "mine", Input: all[0].Input}
	more := policy.Corpus(given)
	if more[0].Name != "mine" || len(more) != len(all)+1+len(policy.Variants(given.Input)) {
		t.Errorf("%d with a given one, %d without", len(more), len(all))
	}
	for _, want := range []string{"a freeze, level L0", "a routine plan under a grant, deadline 3DF, triage done"} {
		if !names[want] {
			t.Errorf("there is no %q", want)
		}
	}
}

// pastOf is a recorded decision over the corpus's first input, edited.
func pastOf(name string, edit func(*policy.Input), o policy.Outcome, until int64, rules ...string) policy.Past {
	in := policy.Corpus()[0].Input
	in.Facts.Hosts = slices.Clone(in.Facts.Hosts)
	edit(&in)
	d := policy.Decision{Outcome: o, Class: change.Routine, Until: until}
	for _, r := range rules {
		d.Reasons = append(d.Reasons, reason(r, o))
	}
	raw := in.Bytes()
	return policy.Past{Name: name, Input: raw, Verdict: policy.Bind(d, in.Plan.Digest(), in.Plan.Class, in.At, canon.SumFile(nil), policy.InputDigest(raw))}
}

func TestReplay(t *testing.T) {
	same := func(*policy.Input) {}
	two := func(in *policy.Input) {
		other := in.Facts.Hosts[0]
		other.Group = "db"
		in.Facts.Hosts = append(in.Facts.Hosts, other, in.Facts.Hosts[0])
	}
	past := []policy.Past{pastOf("stays", same, policy.Deny, 0, "always"), pastOf("was milder", two, policy.Quorum, 0, "people"), pastOf("held", two, policy.Hold, 9, "window")}
	deny := func([]byte) (policy.Decision, error) {
		return policy.Decision{Outcome: policy.Deny, Class: change.Routine, Reasons: []policy.Reason{reason("always", policy.Deny), {Rule: "aside", Outcome: policy.Allow, Text: "x"}}}, nil
	}
	got, err := policy.Replay(past, canon.SumFile([]byte("new")), deny)
	if err != nil || got.Decisions != 3 || got.Changed != 2 || got.Weaker != 0 || len(got.Left) != 0 || len(got.Changes) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	c := got.Changes[0]
	if c.Name != "was milder" || c.Hosts != 3 || !slices.Equal(c.Groups, []string{"db", "web"}) || c.Said.Outcome != "quorum" || c.Says.Outcome != "deny" ||
		!slices.Equal(c.Gone, []string{"people"}) || !slices.Equal(c.Came, []string{"always", "aside"}) || !slices.Equal(c.Why, []string{"always: text"}) || c.Bundle != canon.SumFile(nil) {
		t.Errorf("%+v", c)
	}
	want := []policy.Group{{Group: "db", Decisions: 2, Hosts: 2, Changed: 2, Moves: map[string]int{"quorum -> deny": 1, "hold -> deny": 1}},
		{Group: "web", Decisions: 3, Hosts: 5, Changed: 2, Moves: map[string]int{"quorum -> deny": 1, "hold -> deny": 1}}}
	if !reflect.DeepEqual(got.Groups, want) {
		t.Errorf("%+v", got.Groups)
	}
}

func TestReplayNamesWhatMoves(t *testing.T) {
	same := func(*policy.Input) {}
	for want, c := range map[string]struct {
		said   policy.Past
		says   policy.Decision
		milder int
	}{
		"deny -> quorum":                     {pastOf("a", same, policy.Deny, 0), policy.Decision{Outcome: policy.Quorum, Class: change.Routine}, 1},
		"quorum, quorum routine -> critical": {pastOf("a", same, policy.Quorum, 0), policy.Decision{Outcome: policy.Quorum, Class: change.Critical}, 0},
		"a shorter hold":                     {pastOf("a", same, policy.Hold, 9), policy.Decision{Outcome: policy.Hold, Class: change.Routine, Until: 8}, 1},
		"a longer hold":                      {pastOf("a", same, policy.Hold, 9), policy.Decision{Outcome: policy.Hold, Class: change.Routine, Until: 10}, 0},
	} {
		got, err := policy.Replay([]policy.Past{c.said}, "", func([]byte) (policy.Decision, error) { return c.says, nil })
		if err != nil || got.Changed != 1 || got.Weaker != c.milder || got.Groups[0].Moves[want] != 1 || got.Groups[0].Weaker != c.milder {
			t.Errorf("%s: %+v, %v", want, got, err)
		}
	}
}

func TestNothingIsPassedOver(t *testing.T) {
	good := func() policy.Past { return pastOf("x", func(*policy.Input) {}, policy.Quorum, 0) }
	never := func([]byte) (policy.Decision, error) {
		return policy.Decision{Outcome: policy.Quorum, Class: change.Routine}, nil
	}
	for name, c := range map[string]struct {
		edit func(*policy.Past)
		why  string
	}{
		"the honest twin": {func(*policy.Past) {}, ""},
		"no input":        {func(p *policy.Past) { p.Input = nil }, "does not read its input"},
		"an older form":   {func(p *policy.Past) { p.Input = []byte(`{"at":1,"type":"patchwrit/policyinput/v0"}`) }, "older form"},
		"another type": {func(p *policy.Past) {
			*p = pastOf("x", func(in *policy.Input) { in.Type = "patchwrit/policyinput/v0" }, policy.Quorum, 0)
		}, "has the type"},
		"a verdict of another type": {func(p *policy.Past) { p.Verdict.Type = "patchwrit/verdict/v0" }, "its verdict has the type"},
		"another input":             {func(p *policy.Past) { p.Verdict.Input = canon.SumFile(nil) }, "was given over"},
		"another plan":              {func(p *policy.Past) { p.Verdict.Plan = canon.SumFile(nil) }, "its verdict about"},
		"another time":              {func(p *policy.Past) { p.Verdict.At++ }, "its verdict about"},
	} {
		p := good()
		c.edit(&p)
		got, err := policy.Replay([]policy.Past{p, good()}, "", never)
		left := ""
		if len(got.Left) > 0 {
			left = got.Left[0].Why
		}
		if err != nil || (c.why == "") != (len(got.Left) == 0) || !strings.Contains(left, c.why) || got.Decisions+len(got.Left) != 2 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := policy.Replay([]policy.Past{good()}, "", func([]byte) (policy.Decision, error) { return policy.Decision{}, errors.New("no") }); err == nil {
		t.Error("an error of the rules' engine is none")
	}
}
