package control

import (
	"context"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
)

// TestHostFactsAreOfRunningClocks: what the rules are told of a host, by the
// clocks that run for what the plan settles.
func TestHostFactsAreOfRunningClocks(t *testing.T) {
	w := newClockwork(t)
	id := w.host(1)
	const day = 24 * 3600
	first := w.now.Unix()
	look := func(class string) {
		w.t.Helper()
		w.must(w.look([]trust.HostID{id}, []spotted{{Names: []string{"CVE-2026-0001"}, Class: class, On: []cure{{"p1", "amd64", "2", ""}}},
			{Names: []string{"CVE-2026-0009"}, Class: "3DF", On: []cure{{"p9", "amd64", "2", ""}}}}, map[string]string{"p1": "1", "p9": "1"}))
	}
	found := []match.Finding{{Advisory: "CVE-2026-0001", Aliases: []string{}, Package: "p1", Arch: "amd64", State: match.Affected}}
	facts := func(kev priority.Answer, open running) policy.HostFacts {
		w.t.Helper()
		f, err := w.hostFacts(t.Context(), proposal.Host{ID: id, Causes: []proposal.Cause{{Advisories: []string{"CVE-2026-0001"}}}},
			weighed{found, func(string) priority.Known { return priority.Known{KEV: kev} }, open}, w.now.Unix())
		w.must(err)
		return f
	}
	look("")
	if f := facts(priority.No, nil); f.Deadline != (policy.Stated{}) {
		t.Errorf("without sources of deadlines: %+v", f)
	}
	w.Known = func(context.Context, time.Time, func(string) bool) (Knowledge, error) { return nil, nil }
	if f := facts(priority.No, nil); f.Deadline != (policy.Stated{Source: fromClocks}) || f.Triage.Is != "" {
		t.Errorf("with sources that do not say: %+v", f)
	}
	look("14D")
	open, err := w.runningOn(t.Context(), []trust.HostID{id}, map[string]bool{"CVE-2026-0001": true})
	w.must(err)
	if f := facts(priority.No, open); f.Deadline.Is != "14D" || f.Due != first+14*day || f.MustPatch.Is != policy.No || f.Triage.Is != "none" {
		t.Errorf("at first, with another vulnerability in the strictest class: %+v", f)
	}
	if f := facts(priority.Yes, open); f.MustPatch.Is != policy.Yes || f.KEV.Is != policy.Yes {
		t.Errorf("listed: %+v", f)
	}
	if f := facts(priority.Unknown, open); f.KEV.Is != "" || f.MustPatch.Is != policy.No {
		t.Errorf("unknown whether listed: %+v", f)
	}
	w.book.triaged[id] = Triage{Host: id, At: first - 1}
	w.now = w.now.Add(time.Hour)
	look("3DF")
	if f := facts(priority.No, open); f.Deadline.Is != "3DF" || f.Triage.Is != "needed" || f.Due != first+3600+3*day {
		t.Errorf("clocks that went on since they were read, and a look at the host from before: %+v", f)
	}
	w.book.triaged[id] = Triage{Host: id, At: first}
	if f := facts(priority.No, nil); f.Triage.Is != "done" {
		t.Errorf("a look at the host since the clock began: %+v", f)
	}
	w.now = time.Unix(first+3600+3*day, 0)
	if f := facts(priority.No, nil); f.MustPatch.Is != policy.Yes {
		t.Errorf("overdue: %+v", f)
	}
}

// TestCarryEndsWhatIsCuredAndRuns, and nothing else.
func TestCarryEndsWhatIsCuredAndRuns(t *testing.T) {
	at := func(versions ...string) (inv inventory.Inventory) {
		for i := 0; i < len(versions); i += 2 {
			inv.Packages = append(inv.Packages, inventory.Package{Name: versions[i], Arch: "amd64", SourceVersion: versions[i+1], Scheme: version.Deb, Status: inventory.Status{State: inventory.Installed}})
		}
		return inv
	}
	one := spotted{Names: []string{"CVE-1"}, On: []cure{{"a", "amd64", "2", ""}, {"b", "amd64", "2", ""}}}
	onA := spotted{Names: one.Names, On: one.On[:1]}
	alias := spotted{Names: []string{"CVE-1", "DSA-1"}, On: []cure{{"a", "amd64", "2", ""}}}
	unfixed := spotted{Names: []string{"CVE-1"}, On: []cure{{"a", "amd64", "", ""}}}
	for name, c := range map[string]struct {
		open, seen spotted
		inv        inventory.Inventory
		runs       bool
		ends       bool
		on         int // packages of the first clock that goes on
	}{
		"cured and running":             {one, spotted{}, at("a", "2", "b", "3"), true, true, 0},
		"gone":                          {one, spotted{}, at(), true, true, 0},
		"not running":                   {one, spotted{}, at("a", "2", "b", "3"), false, false, 2},
		"one package is not cured":      {one, spotted{}, at("a", "2", "b", "1"), true, false, 2},
		"a version that is none":        {one, spotted{}, at("a", "2", "b", "x y"), true, false, 2},
		"without a fix":                 {unfixed, spotted{}, at("a", "9"), true, false, 1},
		"seen still":                    {one, one, at("a", "1", "b", "1"), true, false, 2},
		"of one package no feed speaks": {one, onA, at("a", "1", "b", "1"), true, false, 2},
		"that package is cured":         {one, onA, at("a", "1", "b", "2"), true, false, 1},
		"the CVE has another name now":  {one, alias, at("a", "2", "b", "2"), true, false, 1},
	} {
		seen := []spotted{}
		if c.seen.Names != nil {
			seen = append(seen, c.seen)
		}
		still, ended := carry([]spotted{c.open}, seen, c.inv, func(spotted) bool { return c.runs })
		if (len(ended) == 1) != c.ends || c.ends != (len(still) == 0) || len(still) > 0 && len(still[0].On) != c.on {
			t.Errorf("%s: goes on %+v, ends %+v", name, still, ended)
		}
	}
}

// TestSpotIsByAVendorsWord, in the class of a host that the public may reach.
func TestSpotIsByAVendorsWord(t *testing.T) {
	w := newClockwork(t)
	f := match.Finding{Advisory: "CVE-2026-0001", Aliases: []string{}, Package: "a", Arch: "amd64", Fixed: "2", State: match.Affected}
	mention := f
	mention.Sources = []match.Source{{Basis: advisory.BasisMention, State: match.Affected, Authority: advisory.Vendor}}
	know := func(string) priority.Known {
		return priority.Known{KEV: priority.Yes, Automatable: priority.No, Total: priority.Yes}
	}
	for _, c := range []struct {
		key, value string
		want       priority.Answer
		class      string
	}{{"exposure", "internal", priority.No, "14D"}, {"exposure", "internet", priority.Yes, "3DF"}, {"exposure", "who knows", priority.Yes, "3DF"}, {"role", "internal", priority.Unknown, "3DF"}} {
		got := exposedOf(trust.Host{Labels: []trust.Label{{Key: c.key, Value: c.value}}})
		if got != c.want {
			t.Errorf("%s=%s: %q", c.key, c.value, got)
		}
		s := w.spot([]match.Finding{f, mention, mention}, know, got)
		if len(s) != 1 || len(s[0].On) != 1 || s[0].Class != c.class {
			t.Errorf("%s=%s: %+v", c.key, c.value, s)
		}
	}
	if s := w.spot([]match.Finding{f}, know, priority.Yes); len(s) != 0 {
		t.Errorf("by nobody's word: %+v", s)
	}
}
