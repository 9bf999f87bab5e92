package conduct_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
)

func TestSayGoesStepByStep(t *testing.T) {
	for _, x := range []struct {
		say, below, above conduct.Say
		more              bool
	}{
		{conduct.Shadow, conduct.Shadow, conduct.Show, true},
		{conduct.Show, conduct.Shadow, conduct.Hold, true},
		{conduct.Hold, conduct.Show, conduct.Hold, false},
		{"everything", conduct.Shadow, conduct.Show, true},
		{"", conduct.Shadow, conduct.Show, true},
	} {
		if above, more := x.say.Above(); x.say.Below() != x.below || above != x.above || more != x.more {
			t.Errorf("%q: below %q, above %q %v", x.say, x.say.Below(), above, more)
		}
	}
}

func TestShadowSaysNothing(t *testing.T) {
	all := advice.Accepted{Stands: true, Action: advice.Escalate, Class: "routine", Order: []string{"a", "b"}, Reason: "because"}
	for say, counts := range map[conduct.Say]bool{conduct.Shadow: false, conduct.Show: true, conduct.Hold: true, "": false, "HOLD": false} {
		got := say.Of(all)
		if counts != got.Stands || counts != (got.Action == advice.Escalate) || counts != (len(got.Order) == 2) {
			t.Errorf("%q: %+v", say, got)
		}
		if !counts && got.Action != advice.Keep {
			t.Errorf("%q: %+v", say, got)
		}
	}
}

// a case of two components of one release, with claims about the first.
func twoOf(change func(*conduct.Case)) conduct.Case {
	c := conduct.Case{Outcome: advice.Answered, Action: advice.Keep, Rules: "allow", Class: "14D", Order: []string{"curl", "vim"}, Made: 100, Effective: 400,
		Claims: []advice.Counted{{Verdict: advice.Verified, Claims: 3}, {Verdict: advice.Contradicted, Claims: 1}},
		Items: []conduct.Item{
			{OS: "debian:12", Vendor: "Debian", Component: "curl", Claims: []advice.Counted{{Verdict: advice.Verified, Claims: 3}, {Verdict: advice.Contradicted, Claims: 1}}},
			{OS: "debian:12", Vendor: "Debian", Component: "vim"},
		}}
	if change != nil {
		change(&c)
	}
	return c
}

func TestFiguresOfSegments(t *testing.T) {
	cases := []conduct.Case{
		twoOf(nil),
		twoOf(func(c *conduct.Case) { c.Action, c.People, c.Effective = advice.Hold, conduct.Yes, 0 }),
		twoOf(func(c *conduct.Case) { c.Action, c.Rules, c.People = advice.Escalate, "quorum", conduct.No }),
		twoOf(func(c *conduct.Case) { c.Abstained, c.Order, c.Claims, c.Items[0].Claims = true, nil, nil, nil }),
		twoOf(func(c *conduct.Case) {
			c.Outcome, c.Claims, c.Items[0].Claims, c.Rules = advice.Refused, nil, nil, "deny"
		}),
		twoOf(func(c *conduct.Case) { c.Outcome = advice.Failed }),
		twoOf(func(c *conduct.Case) { c.Outcome = advice.Off }),
	}
	got := conduct.Measure(cases)
	if len(got) != 5 {
		t.Fatalf("%d segments: %+v", len(got), got)
	}
	all := conduct.Figures{Segment: conduct.All, Cases: 5, Claims: 12, Verified: 750_000, Contradicted: 250_000, Abstained: 400_000, Restrained: 400_000,
		Disagreed: 400_000, Ended: 4, Asked: 2, Overridden: 500_000, Orders: 4, First: 4, Patch: []conduct.Time{{Class: "14D", Plans: 4, Median: 300}}}
	if !same(got[0], all) {
		t.Errorf("all: %+v", got[0])
	}
	names := []string{}
	for _, f := range got[1:] {
		names = append(names, f.By+" "+f.Name)
		if f.Cases != 5 {
			t.Errorf("%v has %d cases", f.Segment, f.Cases)
		}
	}
	if want := []string{"os debian:12", "vendor Debian", "component curl", "component vim"}; !slices.Equal(names, want) {
		t.Errorf("segments %q", names)
	}
	curl, vim := got[3], got[4]
	if curl.Claims != 12 || vim.Claims != 0 || curl.First != 4 || vim.First != 0 || vim.Orders != 4 || vim.Verified != 0 {
		t.Errorf("curl %+v\nvim %+v", curl, vim)
	}
}

func same(a, b conduct.Figures) bool {
	patch := slices.Equal(a.Patch, b.Patch)
	a.Patch, b.Patch = nil, nil
	return patch && a.Segment == b.Segment && a.Cases == b.Cases && a.Claims == b.Claims && a.Verified == b.Verified && a.Contradicted == b.Contradicted &&
		a.Abstained == b.Abstained && a.Restrained == b.Restrained && a.Disagreed == b.Disagreed && a.Ended == b.Ended && a.Misjudged == b.Misjudged && a.Asked == b.Asked && a.Overridden == b.Overridden &&
		a.Orders == b.Orders && a.First == b.First
}

func TestFiguresDoNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cases := rapid.SliceOfN(rapid.Custom(anyCase), 0, 30).Draw(t, "cases")
		shuffled := rapid.Permutation(cases).Draw(t, "shuffled")
		a, b := conduct.Measure(cases), conduct.Measure(shuffled)
		if len(a) != len(b) {
			t.Fatalf("%d and %d segments", len(a), len(b))
		}
		for i := range a {
			if !same(a[i], b[i]) {
				t.Fatalf("%+v\n%+v", a[i], b[i])
			}
			if a[i].Cases > a[0].Cases || a[i].Orders > a[i].Cases || a[i].First > a[i].Orders || a[i].Asked > a[i].Cases {
				t.Fatalf("counts do not add up: %+v of %+v", a[i], a[0])
			}
		}
	})
}

func anyCase(t *rapid.T) conduct.Case {
	pick := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	c := conduct.Case{Outcome: advice.Outcome(pick("outcome", "answered", "refused", "truncated", "failed", "off")), Abstained: rapid.Bool().Draw(t, "abstained"),
		Action: pick("action", "keep", "hold", "escalate"), Rules: pick("rules", "allow", "quorum", "hold", "deny"), Class: pick("class", "", "3D", "14D"),
		People: pick("people", "", "yes", "no"), Made: 100, Effective: rapid.SampledFrom([]int64{0, 50, 200}).Draw(t, "effective")}
	for i := range rapid.IntRange(0, 3).Draw(t, "items") {
		counted := []advice.Counted{{Verdict: advice.Verdicts[rapid.IntRange(0, len(advice.Verdicts)-1).Draw(t, "verdict")], Claims: rapid.IntRange(0, 5).Draw(t, "n")}}
		c.Items = append(c.Items, conduct.Item{OS: pick("os", "debian:12", "rhel:9"), Vendor: pick("vendor", "", "Debian"), Component: string(rune('a' + i)), Claims: counted})
		c.Claims = append(c.Claims, counted...)
		c.Order = append(c.Order, string(rune('a'+i)))
	}
	return c
}
