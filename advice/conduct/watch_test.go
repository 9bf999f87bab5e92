package conduct_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// run makes n cases, one an hour, each changed by its number.
func run(n int, change func(i int, c *conduct.Case)) []conduct.Case {
	out := []conduct.Case{}
	for i := range n {
		at := int64(1_800_000_000 + 3600*i)
		c := conduct.Case{Exchange: canon.SumFile(fmt.Append(nil, i)), At: at, Made: at, Effective: at + 7200 + int64(i%7)*600, Say: conduct.Shadow, Outcome: advice.Answered, Action: advice.Keep,
			Rules: "allow", Class: "14D", Order: []string{"curl", "vim"}, Claims: claims(10, 0),
			Items: []conduct.Item{{OS: "debian:12", Vendor: "Debian", Component: "curl", Claims: claims(10, 0)}, {OS: "debian:12", Vendor: "Debian", Component: "vim"}}}
		if i%2 == 1 {
			c.Order = []string{"vim", "curl"}
			c.Items[0].OS, c.Items[0].Vendor, c.Items[1].OS, c.Items[1].Vendor = "rhel:9", "Red Hat", "rhel:9", "Red Hat"
		}
		if change != nil {
			change(i, &c)
		}
		out = append(out, c)
	}
	return out
}

func claims(verified, contradicted int) []advice.Counted {
	return []advice.Counted{{Verdict: advice.Verified, Claims: verified}, {Verdict: advice.Contradicted, Claims: contradicted}}
}

// lying sets the verdicts of a case's claims, of the first item and of the whole.
func lying(c *conduct.Case, n int) { c.Claims, c.Items[0].Claims = claims(10-n, n), claims(10-n, n) }

// small are limits with which a table can do.
func small() conduct.Limits {
	l := conduct.Default
	l.Base, l.Window, l.Cases, l.Claims, l.Orders, l.Plans, l.Answers, l.Seen = 60, 60, 20, 100, 20, 10, 10, 5
	return l
}

func measures(alarms []conduct.Alarm) []string {
	out := []string{}
	for _, a := range alarms {
		if !slices.Contains(out, a.Measure) {
			out = append(out, a.Measure)
		}
	}
	return out
}

// TestWatchOneMeasureAtATime: each row changes one thing, and exactly its measures
// alarm; the row beside it changes less, or too few, and nothing does.
func TestWatchOneMeasureAtATime(t *testing.T) {
	for name, x := range map[string]struct {
		change func(i int, c *conduct.Case)
		limits func(*conduct.Limits)
		want   []string
	}{
		"nothing":                                     {nil, nil, nil},
		"half of the claims are lies":                 {func(i int, c *conduct.Case) { lying(c, 5) }, nil, []string{"verified", "contradicted", "verdicts"}},
		"under the limit of a rise":                   {func(i int, c *conduct.Case) { lying(c, 5) }, func(l *conduct.Limits) { l.VerifiedFall, l.ContradictedRise, l.PSI = 500_001, 500_001, 9_000_000 }, nil},
		"exactly at the limit of a rise":              {func(i int, c *conduct.Case) { lying(c, 5) }, func(l *conduct.Limits) { l.VerifiedFall, l.ContradictedRise, l.PSI = 500_000, 500_000, 9_000_000 }, []string{"verified", "contradicted"}},
		"too few claims":                              {func(i int, c *conduct.Case) { lying(c, 5) }, func(l *conduct.Limits) { l.Claims, l.PSI = 601, 9_000_000 }, nil},
		"just enough claims":                          {func(i int, c *conduct.Case) { lying(c, 5) }, func(l *conduct.Limits) { l.Claims, l.PSI = 600, 9_000_000 }, []string{"verified", "contradicted"}},
		"one answer full of lies":                     {func(i int, c *conduct.Case) { lying(c, 10*one(i == 9)) }, func(l *conduct.Limits) { l.ContradictedRise, l.VerifiedFall = 1, 1 }, nil},
		"claims that nothing supports":                {func(i int, c *conduct.Case) { c.Claims, c.Items[0].Claims = unsupported, unsupported }, nil, []string{"verified", "verdicts"}},
		"silence":                                     {func(i int, c *conduct.Case) { c.Abstained, c.Claims, c.Items[0].Claims = true, nil, nil }, nil, []string{"abstained", "actions"}},
		"refusals":                                    {func(i int, c *conduct.Case) { c.Outcome, c.Claims, c.Items[0].Claims = advice.Refused, nil, nil }, nil, []string{"abstained", "actions"}},
		"what did not come says nothing":              {func(i int, c *conduct.Case) { c.Outcome = advice.Failed }, nil, nil},
		"silence, too few cases":                      {func(i int, c *conduct.Case) { c.Abstained, c.Claims, c.Items[0].Claims = i > 40, nil, nil }, func(l *conduct.Limits) { l.Cases = 61 }, nil},
		"it holds everything":                         {func(i int, c *conduct.Case) { c.Action = advice.Hold }, nil, []string{"disagreed", "misjudged", "actions"}},
		"it holds everything, and people say no":      {func(i int, c *conduct.Case) { c.Action, c.People, c.Effective = advice.Hold, conduct.No, 0 }, nil, []string{"disagreed", "actions"}},
		"what it lets be is stopped":                  {func(i int, c *conduct.Case) { c.Wrong, c.Effective = true, 0 }, nil, []string{"misjudged"}},
		"what it holds is stopped":                    {func(i int, c *conduct.Case) { c.Action, c.Rules, c.Wrong, c.Effective = advice.Hold, "quorum", true, 0 }, nil, []string{"actions"}},
		"what it lets be is stopped, too few":         {func(i int, c *conduct.Case) { c.Wrong, c.Effective = i < 19, 0 }, nil, nil},
		"what it lets be is stopped, at the limit":    {func(i int, c *conduct.Case) { c.Wrong = true }, func(l *conduct.Limits) { l.MisjudgedRise, l.Sigmas = 1_000_000, 1000 }, []string{"misjudged"}},
		"plans do not end":                            {func(i int, c *conduct.Case) { c.Effective = 0 }, nil, nil},
		"it holds what the rules hold":                {func(i int, c *conduct.Case) { c.Action, c.Rules = advice.Hold, "quorum" }, nil, []string{"misjudged", "actions"}},
		"it keeps what the rules bring before people": {func(i int, c *conduct.Case) { c.Rules = "quorum" }, nil, []string{"disagreed"}},
		"it keeps what the rules let wait":            {func(i int, c *conduct.Case) { c.Rules = "hold" }, nil, nil},
		"people let all pass":                         {func(i int, c *conduct.Case) { c.People = conduct.Yes }, nil, []string{"overridden"}},
		"people stop all":                             {func(i int, c *conduct.Case) { c.People = conduct.No }, nil, nil},
		"people let just so many pass":                {func(i int, c *conduct.Case) { c.People = of(i%20 < 13, conduct.Yes, conduct.No) }, nil, []string{"overridden"}},
		"people let fewer pass":                       {func(i int, c *conduct.Case) { c.People = of(i%60 < 38, conduct.Yes, conduct.No) }, nil, nil},
		"people answer ten":                           {func(i int, c *conduct.Case) { c.People = of(i < 10, conduct.Yes, "") }, nil, []string{"overridden"}},
		"people answer nine":                          {func(i int, c *conduct.Case) { c.People = of(i < 9, conduct.Yes, "") }, nil, nil},
		"another release":                             {func(i int, c *conduct.Case) { c.Items[0].OS, c.Items[1].OS = "sles:15", "sles:15" }, nil, []string{"inputs_os"}},
		"another vendor":                              {func(i int, c *conduct.Case) { c.Items[0].Vendor, c.Items[1].Vendor = "x", "x" }, nil, []string{"inputs_vendor"}},
		"another class":                               {func(i int, c *conduct.Case) { c.Class = "3DF" }, nil, []string{"inputs_class"}},
		"another class, no alarm wanted":              {func(i int, c *conduct.Case) { c.Class = "3DF" }, func(l *conduct.Limits) { l.PSI = 100_000_000 }, nil},
		"curl is first no more":                       {func(i int, c *conduct.Case) { c.Order = []string{"vim", "curl"} }, nil, []string{"first"}},
		"curl is first once, late": {func(i int, c *conduct.Case) {
			c.Order = []string{of(i == 45, "curl", "vim"), of(i == 45, "vim", "curl")}
		}, nil, nil},
		"too few orders":                  {func(i int, c *conduct.Case) { c.Order = []string{"vim", "curl"}[:2*one(i < 19)] }, func(l *conduct.Limits) { l.Sigmas = 3500 }, nil},
		"just enough orders":              {func(i int, c *conduct.Case) { c.Order = []string{"vim", "curl"}[:2*one(i < 20)] }, func(l *conduct.Limits) { l.Sigmas = 3500 }, []string{"first"}},
		"one release waits twice as long": {func(i int, c *conduct.Case) { c.Effective += 9000 * int64(i%2) }, nil, []string{"time"}},
		"all wait twice as long":          {func(i int, c *conduct.Case) { c.Effective += 9000 }, nil, nil},
		"one release is never in effect":  {func(i int, c *conduct.Case) { c.Effective *= int64(1 - i%2) }, nil, []string{"time"}},
		"people said no to it": {func(i int, c *conduct.Case) {
			c.Effective, c.People = c.Effective*int64(1-i%2), of(i%2 == 1, conduct.No, "")
		}, nil, nil},
		"one release waits long at last": {func(i int, c *conduct.Case) { c.Effective += 9000 * int64(i%2) * int64(one(i > 40)) }, nil, nil},
		"too few plans":                  {func(i int, c *conduct.Case) { c.Effective += 9000 * int64(i%2) }, func(l *conduct.Limits) { l.Plans = 16 }, nil},
		"one release waits half as long": {func(i int, c *conduct.Case) { c.Effective -= 6000 * int64(i%2) }, nil, []string{"time"}},
		"a little longer":                {func(i int, c *conduct.Case) { c.Effective += 1500 * int64(i%2) }, nil, nil},
	} {
		l := small()
		if x.limits != nil {
			x.limits(&l)
		}
		got := conduct.Watch(run(60, nil), later(run(60, x.change), 1), l)
		if !slices.Equal(measures(got), x.want) && len(got)+len(x.want) > 0 {
			t.Errorf("%s: %+v, want %v", name, got, x.want)
		}
		for _, a := range got {
			if a.Value < 0 || a.Limit < 0 || a.Cases < 1 || a.Text == "" {
				t.Errorf("%s: %+v", name, a)
			}
		}
	}
}

// slow makes the plans of one release, rhel:9, wait so much longer, in seconds.
func slow(i int, c *conduct.Case, by int64) { c.Effective += by * int64(i%2) }

// TestWatchAsksTwice: what is beyond a threshold and not beyond chance, or of too few
// on one side only, is no alarm; nor is what the base does not know.
func TestWatchAsksTwice(t *testing.T) {
	never := func(l *conduct.Limits) { l.PSI = 90_000_000 }
	sigmas := func(n int) func(*conduct.Limits) { return func(l *conduct.Limits) { l.Sigmas, l.PSI = n, 90_000_000 } }
	plans := func(n, sigmas int) func(*conduct.Limits) {
		return func(l *conduct.Limits) { l.Plans, l.Sigmas, l.PSI = n, sigmas, 90_000_000 }
	}
	for name, x := range map[string]struct {
		base, now func(i int, c *conduct.Case)
		limits    func(*conduct.Limits)
		want      []string
	}{
		"few claims before": {func(i int, c *conduct.Case) { lying(c, 0); bare(c, i > 8) }, func(i int, c *conduct.Case) { lying(c, 5) }, sigmas(2000), nil},
		"few claims now":    {nil, func(i int, c *conduct.Case) { lying(c, 10); bare(c, i > 8) }, sigmas(1000), nil},
		"six of twenty are held": {nil, func(i int, c *conduct.Case) {
			c.Outcome, c.Rules, c.Action = fails(i >= 20), "quorum", of(i < 6, advice.Hold, advice.Keep)
			c.Rules = of(i < 6, "quorum", "allow")
		}, never, nil},
		"five of twenty have another class": {nil, func(i int, c *conduct.Case) { c.Outcome, c.Class = fails(i >= 20), of(i < 5, "3DF", "14D") }, nil, nil},
		"other rare classes": {func(i int, c *conduct.Case) { c.Class = of(i < 40, "14D", fmt.Sprint("a", i)) }, func(i int, c *conduct.Case) { c.Class = of(i < 40, "14D", fmt.Sprint("b", i)) },
			func(l *conduct.Limits) { l.Sigmas = 1000 }, nil},
		"plans of two releases":          {nil, func(i int, c *conduct.Case) { c.Items[0].OS, c.Items[1].OS = "debian:12", "rhel:9" }, func(l *conduct.Limits) { l.Sigmas = 3000 }, nil},
		"it was first once":              {func(i int, c *conduct.Case) { c.Order = []string{of(i == 0, "curl", "vim"), of(i == 0, "vim", "curl")} }, func(i int, c *conduct.Case) { c.Order = []string{"vim", "curl"} }, nil, nil},
		"it waits, of nine plans before": {func(i int, c *conduct.Case) { elsewhere(c, i > 17) }, func(i int, c *conduct.Case) { slow(i, c, 9000) }, sigmas(2500), nil},
		"it waits, of ten plans before":  {func(i int, c *conduct.Case) { elsewhere(c, i > 19) }, func(i int, c *conduct.Case) { slow(i, c, 9000) }, sigmas(2500), []string{"time"}},
		"the plans are young": {nil, func(i int, c *conduct.Case) {
			c.At, c.Made, c.Effective = int64(1_800_000_000+i), int64(1_800_000_000+i), int64(1_800_007_200*(1-i%2))
		}, nil, nil},
		"people stopped most before":      {func(i int, c *conduct.Case) { stopped(c, i%4 == 1 || i%8 == 3) }, func(i int, c *conduct.Case) { slow(i, c, 9000) }, plans(5, 2500), []string{"time"}},
		"it was never in effect before":   {func(i int, c *conduct.Case) { c.Effective *= int64(1 - i%2) }, nil, nil, nil},
		"it was in effect at once before": {func(i int, c *conduct.Case) { c.Effective = c.Effective*int64(1-i%2) + c.Made*int64(i%2) }, nil, nil, nil},
		"a class of three plans before": {func(i int, c *conduct.Case) {
			if i == 1 || i == 3 || i == 5 {
				c.Class, c.Effective = "3DF", c.Made+60
			}
		}, func(i int, c *conduct.Case) { c.Class = of(i%2 == 1, "3DF", "14D") }, never, nil},
		"ten plans wait a third longer":  {nil, func(i int, c *conduct.Case) { c.Outcome = fails(i%2 == 1 && i > 20); slow(i, c, 2700) }, plans(5, 4500), nil},
		"more plans wait a third longer": {nil, func(i int, c *conduct.Case) { slow(i, c, 2700) }, plans(5, 4500), []string{"time"}},
		"ten plans wait less":            {nil, func(i int, c *conduct.Case) { c.Outcome = fails(i%2 == 1 && i > 20); slow(i, c, -2400) }, plans(5, 4500), nil},
		"more plans wait less":           {nil, func(i int, c *conduct.Case) { slow(i, c, -2400) }, plans(5, 4500), []string{"time"}},
		"only the newer plans wait":      {nil, func(i int, c *conduct.Case) { slow(i, c, 9000*int64(one(i > 29))) }, plans(5, 2000), nil},
		"only the newer wait less":       {nil, func(i int, c *conduct.Case) { slow(i, c, -6000*int64(one(i > 29))) }, plans(5, 2000), nil},
	} {
		l := small()
		if x.limits != nil {
			x.limits(&l)
		}
		if got := conduct.Watch(run(60, x.base), later(run(60, x.now), 1), l); !slices.Equal(measures(got), x.want) && len(got)+len(x.want) > 0 {
			t.Errorf("%s: %+v, want %v", name, got, x.want)
		}
	}
}

func bare(c *conduct.Case, is bool) {
	if is {
		c.Claims, c.Items[0].Claims = nil, nil
	}
}

func stopped(c *conduct.Case, is bool) {
	if is {
		c.People, c.Effective = conduct.No, 0
	}
}

func elsewhere(c *conduct.Case, is bool) {
	if is {
		c.Items[0].OS, c.Items[0].Vendor, c.Items[1].OS, c.Items[1].Vendor = "debian:12", "Debian", "debian:12", "Debian"
	}
}

func fails(is bool) advice.Outcome {
	if is {
		return advice.Failed
	}
	return advice.Answered
}

var unsupported = []advice.Counted{{Verdict: advice.Verified, Claims: 5}, {Verdict: advice.Unsupported, Claims: 5}}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

func of(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

// TestWatchTakesTheFirstAndTheNewest: of the base the first, of the others the newest
// answered cases count, wherever they stand.
func TestWatchTakesTheFirstAndTheNewest(t *testing.T) {
	l := small()
	base := append(run(60, nil), later(run(200, func(i int, c *conduct.Case) { lying(c, 5) }), 1)...)
	good, bad := later(run(60, nil), 3), later(run(60, func(i int, c *conduct.Case) { lying(c, 5) }), 2)
	slices.Reverse(base)
	if got := conduct.Watch(base, append(good, bad...), l); len(got) > 0 {
		t.Errorf("what is over, or came after the base, alarms: %+v", got)
	}
	failed := later(run(60, func(i int, c *conduct.Case) { c.Outcome = advice.Off }), 4)
	if got := conduct.Watch(base, append(later(bad, 2), append(good, failed...)...), l); !slices.Contains(measures(got), "contradicted") {
		t.Errorf("the newest answers are bad, and no alarm: %+v", got)
	}
}

// later moves cases by months.
func later(cases []conduct.Case, n int64) []conduct.Case {
	out := slices.Clone(cases)
	for i := range out {
		out[i].At, out[i].Made = out[i].At+n*3_000_000, out[i].Made+n*3_000_000
		if out[i].Effective > 0 {
			out[i].Effective += n * 3_000_000
		}
	}
	return out
}

// TestWatchDoesNotDependOnOrder, and looks at no case twice as another.
func TestWatchDoesNotDependOnOrder(t *testing.T) {
	l := small()
	l.Cases, l.Claims, l.Orders, l.Plans, l.Answers, l.Sigmas = 3, 3, 3, 2, 2, 1000
	alarms := 0
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string) []conduct.Case {
			out := rapid.SliceOfN(rapid.Custom(anyCase), 0, 40).Draw(t, name)
			for i := range out {
				out[i].Exchange, out[i].At = canon.SumFile(fmt.Append(nil, name, i)), rapid.Int64Range(0, 50).Draw(t, "at")
			}
			return out
		}
		base, recent := some("base"), some("recent")
		a := conduct.Watch(base, recent, l)
		b := conduct.Watch(rapid.Permutation(base).Draw(t, "base again"), rapid.Permutation(recent).Draw(t, "recent again"), l)
		if !slices.Equal(a, b) {
			t.Fatalf("%+v\n%+v", a, b)
		}
		alarms += len(a)
		if got := conduct.Watch(base, base, l); len(got) > 0 && got[0].Measure != conduct.MeasureOverridden && got[0].Measure != conduct.MeasureFirst {
			t.Fatalf("the base itself alarms: %+v", got)
		}
	})
	if alarms == 0 {
		t.Error("nothing ever alarmed, so nothing was compared")
	}
}

// TestFewCasesDoNotAlarm: under the counts, whatever came.
func TestFewCasesDoNotAlarm(t *testing.T) {
	l := conduct.Default
	l.Sigmas, l.VerifiedFall, l.ContradictedRise, l.AbstainedRise, l.DisagreedRise, l.PSI, l.JS, l.Overridden = 1000, 1, 1, 1, 1, 1, 1, 1
	l.Claims = 600 // of 19 cases of at most 30
	l.Cases, l.Answers, l.Orders, l.Plans = 20, 20, 20, 20
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.SliceOfN(rapid.Custom(anyCase), 0, 60).Draw(t, "base")
		if got := conduct.Watch(base, rapid.SliceOfN(rapid.Custom(anyCase), 0, 19).Draw(t, "recent"), l); len(got) > 0 {
			t.Fatalf("%+v", got)
		}
	})
}

// TestKnown: what the model was not watched on.
func TestKnown(t *testing.T) {
	l := small()
	base := run(60, func(i int, c *conduct.Case) {
		switch {
		case i < 5:
			c.Items[0].OS, c.Items[0].Vendor = "sles:15", "SUSE"
			c.Class = "3DF"
		case i < 9:
			c.Items[0].OS = "alpine:3"
			c.Class = ""
		case i < 13:
			c.Items[0].Vendor = "nginx.org"
		case i < 20:
			c.Items[0].OS, c.Outcome = "arch", advice.Failed
		}
	})
	base = append(base, later(run(20, nil), 1)...)
	base = append(base, later(run(20, func(i int, c *conduct.Case) { c.Items[0].OS = "late:1" }), 2)...)
	for name, x := range map[string]struct {
		change func(*conduct.Case)
		why    string
	}{
		"as ever":               {func(c *conduct.Case) {}, ""},
		"five times seen":       {func(c *conduct.Case) { c.Items[0].OS, c.Items[0].Vendor, c.Class = "sles:15", "SUSE", "3DF" }, ""},
		"a new component":       {func(c *conduct.Case) { c.Items[1].Component = "new" }, ""},
		"a release, four times": {func(c *conduct.Case) { c.Items[1].OS = "alpine:3" }, "4 plans of the release alpine:3; 5 are wanted"},
		"a release, never":      {func(c *conduct.Case) { c.Items[1].OS = "x" }, "0 plans of the release x"},
		"a vendor, four times":  {func(c *conduct.Case) { c.Items[0].Vendor = "nginx.org" }, "4 plans of the vendor nginx.org"},
		"nobody knows whose":    {func(c *conduct.Case) { c.Items[0].Vendor = "" }, "0 plans of the vendor unknown"},
		"a class, four times":   {func(c *conduct.Case) { c.Class = "" }, "4 plans of the deadline class unknown"},
		"what was not answered": {func(c *conduct.Case) { c.Items[0].OS = "arch" }, "0 plans of the release arch"},
	} {
		c := run(1, nil)[0]
		x.change(&c)
		ok, why := conduct.Known(base, c, l)
		if l := (conduct.Limits{Base: 60}); x.why != "" {
			if all, _ := conduct.Known(base, c, l); !all {
				t.Errorf("%s: seen 0, and it is not known", name)
			}
		}
		if ok != (x.why == "") || !strings.Contains(string(why), x.why) {
			t.Errorf("%s: %v %q", name, ok, why)
		}
	}
}

// TestGate: each row takes one thing away.
func TestGate(t *testing.T) {
	good := func(n int, change func(i int, c *conduct.Case)) []conduct.Case { return run(n, change) }
	for name, x := range map[string]struct {
		cases  []conduct.Case
		alarms []conduct.Alarm
		to     conduct.Say
		why    string
	}{
		"all is well":         {good(200, nil), nil, conduct.Show, ""},
		"from show to hold":   {good(200, func(i int, c *conduct.Case) { c.Say = conduct.Show }), nil, conduct.Hold, ""},
		"two steps":           {good(200, nil), nil, conduct.Hold, "0 answered cases in show"},
		"to nothing":          {good(200, nil), nil, conduct.Shadow, `nobody is promoted to "shadow"`},
		"to what is no level": {good(200, nil), nil, "all", `nobody is promoted to "all"`},
		"too few":             {good(199, nil), nil, conduct.Show, "199 answered cases in shadow; 200 are wanted"},
		"one not answered":    {good(200, func(i int, c *conduct.Case) { c.Outcome = fails(i == 3) }), nil, conduct.Show, "199 answered"},
		"an alarm":            {good(200, nil), []conduct.Alarm{{Text: "It lies."}}, conduct.Show, "1 alarms stand; the first: It lies."},
		"it says nothing":     {good(200, func(i int, c *conduct.Case) { c.Claims = nil }), nil, conduct.Show, "0 claims in shadow"},
		"just verified enough": {good(200, func(i int, c *conduct.Case) {
			c.Claims, c.Items[0].Claims = unsupported9, unsupported9
		}), nil, conduct.Show, ""},
		"not verified enough": {good(200, func(i int, c *conduct.Case) {
			c.Claims, c.Items[0].Claims = append(slices.Clone(unsupported9), advice.Counted{Verdict: advice.Stale, Claims: one(i == 0)}), unsupported9
		}), nil, conduct.Show, "all plans: 89.95 % of 2001 claims are verified; 90.00 % are wanted"},
		"just lies few enough":  {good(200, func(i int, c *conduct.Case) { lying(c, one(i%4 < 2)) }), nil, conduct.Show, ""},
		"it lies too much":      {good(200, func(i int, c *conduct.Case) { lying(c, one(i%4 < 2 || i == 2)) }), nil, conduct.Show, "5.05 % of 2000 claims are contradicted; 5.00 % may be"},
		"it lies of one vendor": {good(200, func(i int, c *conduct.Case) { lying(c, i%2) }), nil, conduct.Show, "os rhel:9: 10.00 % of 1000 claims are contradicted"},
		"one release is worse": {good(200, func(i int, c *conduct.Case) {
			if i%20 == 1 {
				c.Items[0].OS = "odd:1"
			}
			if i%20 == 1 && i > 1 {
				c.Claims, c.Items[0].Claims = unsupported9, unsupported9
			}
		}), nil, conduct.Show, ""},
		"parity": {good(500, func(i int, c *conduct.Case) {
			if i%20 == 1 {
				c.Items[0].OS = "odd:1"
				c.Claims, c.Items[0].Claims = unsupported9, unsupported9
			}
		}), nil, conduct.Show, "os odd:1: 90.00 % of 250 claims are verified, of all 99.50 %"},
	} {
		err := conduct.Gate(x.cases, x.alarms, x.to, conduct.Default)
		if (err == nil) != (x.why == "") || err != nil && (!strings.Contains(err.Error(), x.why) || refusal.CodeOf(err) != "PW-MODEL-UNPROVEN") {
			t.Errorf("%s: %v, want %q", name, err, x.why)
		}
	}
}

// TestGateWithoutTrial: a house that wants none still asks that the figures be good.
func TestGateWithoutTrial(t *testing.T) {
	l := conduct.Default
	l.PromoteCases = 0
	if err := conduct.Gate(nil, nil, conduct.Show, l); err != nil {
		t.Error(err)
	}
	if err := conduct.Gate(run(3, nil), nil, conduct.Show, l); err != nil {
		t.Error(err)
	}
	if err := conduct.Gate(run(30, func(i int, c *conduct.Case) { lying(c, 5) }), nil, conduct.Show, l); err == nil {
		t.Error("half of 300 claims are lies, and it may be promoted")
	}
	if err := conduct.Gate(nil, []conduct.Alarm{{Text: "It lies."}}, conduct.Show, l); err == nil {
		t.Error("an alarm stands, and it may be promoted")
	}
}

// TestRuled: what would not hold is refused under one code.
func TestRuled(t *testing.T) {
	for name, x := range map[string]struct {
		raw     string
		unheard []string
		why     string
	}{
		"none":      {"", nil, ""},
		"good":      {`{"base":100}`, nil, ""},
		"bad":       {`{"base":0}`, nil, "base is"},
		"elsewhere": {"", []string{"package patchwrit.house", "the bundle's data"}, "package patchwrit.house, the bundle's data"},
		"both":      {`{"base":100}`, []string{"the bundle's data"}, "the bundle's data"},
	} {
		err := conduct.Ruled([]byte(x.raw), x.unheard)
		if (err == nil) != (x.why == "") || err != nil && (refusal.CodeOf(err) != conduct.CodeLimits || !strings.Contains(err.Error(), x.why)) {
			t.Errorf("%s: %v, want %q", name, err, x.why)
		}
	}
}

// TestSheetFits: from 1 byte to MaxSheet.
func TestSheetFits(t *testing.T) {
	for n, fits := range map[int]bool{0: false, 1: true, conduct.MaxSheet: true, conduct.MaxSheet + 1: false} {
		if err := conduct.SheetFits(make([]byte, n)); (err == nil) != fits || err != nil && refusal.CodeOf(err) != conduct.CodeSheet {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestOutOfShadowThereIsABase: with a trial that is shorter than what the watch needs,
// a promoted model would be watched by nothing.
func TestOutOfShadowThereIsABase(t *testing.T) {
	l := conduct.Default
	l.PromoteCases, l.Cases, l.Claims = 5, 30, 1
	shown := func(_ int, c *conduct.Case) { c.Say = conduct.Show }
	for name, x := range map[string]struct {
		cases []conduct.Case
		to    conduct.Say
		why   string
	}{
		"too few":            {run(29, nil), conduct.Show, "29 answered cases in shadow; 30 are wanted"},
		"enough":             {run(30, nil), conduct.Show, ""},
		"the next step":      {run(5, shown), conduct.Hold, ""},
		"too few of it":      {run(4, shown), conduct.Hold, "4 answered cases in show; 5 are wanted"},
		"none, in the trial": {nil, conduct.Show, "0 answered cases in shadow; 30 are wanted"},
	} {
		if err := conduct.Gate(x.cases, nil, x.to, l); (err == nil) != (x.why == "") || err != nil && !strings.Contains(err.Error(), x.why) {
			t.Errorf("%s: %v, want %q", name, err, x.why)
		}
	}
	l.PromoteCases = 31
	if err := conduct.Gate(run(30, nil), nil, conduct.Show, l); err == nil {
		t.Error("30 of 31 are enough")
	}
	failed := run(30, nil)
	failed[7].Outcome = advice.Failed
	for name, x := range map[string]struct {
		base []conduct.Case
		say  conduct.Say
		told bool
	}{
		"in shadow":          {nil, conduct.Shadow, false},
		"no base":            {nil, conduct.Show, true},
		"too few":            {run(29, nil), conduct.Hold, true},
		"one without answer": {failed, conduct.Hold, true},
		"enough":             {run(30, nil), conduct.Hold, false},
	} {
		if got := conduct.Unwatched(x.base, x.say, l); (got != "") != x.told {
			t.Errorf("%s: %q", name, got)
		}
	}
}

var unsupported9 = []advice.Counted{{Verdict: advice.Verified, Claims: 9}, {Verdict: advice.Unsupported, Claims: 1}}

// TestLimits: a table of documents.
func TestLimits(t *testing.T) {
	for doc, why := range map[string]string{
		`{}`: "",
		`{"type":"patchwrit/advicelimits/v1","window": 100}`: "",
		string(canon.MustEncode(conduct.Default)):            "",
		`{"seen":0,"promote_cases":0}`:                       "",
		`{"promote_contradicted":0,"sigmas":8000}`:           "",
		`null`:                                 "an object of limits was expected",
		`[]`:                                   "an object of limits was expected",
		``:                                     "an object of limits was expected",
		`{"type":"patchwrit/advicelimits/v2"}`: `not "patchwrit/advicelimits/v1"`,
		`{"type":1}`:                           "at byte",
		`{"windows":1}`:                        `there is no limit "windows"`,
		`{"window":100,"window":100}`:          "at byte",
		`{"window":0}`:                         `window is "0"; it is an integer from 1 to 10000`,
		`{"window":10001}`:                     "from 1 to 10000",
		`{"window":"100"}`:                     "it is an integer",
		`{"window":1e2}`:                       "it is an integer",
		`{"window":100.0}`:                     "it is an integer",
		`{"window":null}`:                      "it is an integer",
		`{"window":-1}`:                        "it is an integer",
		`{"window":}`:                          "at byte",
		`{"window":99999999999999999999}`:      "it is an integer",
		`{"sigmas":999}`:                       "from 1000 to 8000",
		`{"slower":999999}`:                    "from 1000000",
		`{"faster":1000001}`:                   "from 1 to 1000000",
		`{"cases":201}`:                        "cases is 201, more than base (200) or window (200) holds",
		`{"cases":200}`:                        "",
		`{"window":29,"plans":14}`:             "cases is 30, more than base (200) or window (29)",
		`{"base":29}`:                          "cases is 30, more than base (29)",
		`{"orders":201}`:                       "orders is 201",
		`{"answers":201}`:                      "answers is 201",
		`{"seen":201}`:                         "seen is 201",
		`{"plans":101}`:                        "plans is 101",
		`{"plans":100}`:                        "",
		`{"base":40,"plans":41}`:               "plans is 41",
		fmt.Sprintf(`{"claims":%d}`, 200*advice.MaxClaims):   "",
		fmt.Sprintf(`{"claims":%d}`, 200*advice.MaxClaims+1): "more than the answers of base (200) or window (200) can hold",
		`{} x`: "at byte",
		`{"bin":1}` + strings.Repeat(" ", conduct.MaxLimits): "the limit is 16384",
	} {
		l, err := conduct.ParseLimits([]byte(doc))
		switch {
		case (err == nil) != (why == ""), err != nil && (!errors.Is(err, conduct.ErrLimits) || !strings.Contains(err.Error(), why)):
			t.Errorf("%.80s: %v, want %q", doc, err, why)
		case err != nil && l != (conduct.Limits{}):
			t.Errorf("%.80s: refused, and yet limits: %+v", doc, l)
		}
	}
	l, err := conduct.ParseLimits([]byte(`{"window": 100, "promote_verified": 1000000}`))
	want := conduct.Default
	want.Window, want.PromoteVerified = 100, 1_000_000
	if err != nil || l != want || l.Digest() == conduct.Default.Digest() {
		t.Errorf("%+v %v", l, err)
	}
}

// FuzzLimits: what is taken is within its bounds, and reads the same when it is
// written.
func FuzzLimits(f *testing.F) {
	f.Add([]byte(`{"window":100}`))
	f.Add(canon.MustEncode(conduct.Default))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := conduct.ParseLimits(raw)
		if err != nil {
			if !errors.Is(err, conduct.ErrLimits) {
				t.Fatal(err)
			}
			return
		}
		again, err := conduct.ParseLimits(canon.MustEncode(l))
		if err != nil || again != l || again.Digest() != l.Digest() {
			t.Fatalf("%+v became %+v: %v", l, again, err)
		}
		if l.Type != conduct.TypeLimits || l.Window < 1 || l.Cases > l.Window || l.Sigmas < 1000 {
			t.Fatalf("%+v", l)
		}
	})
}
