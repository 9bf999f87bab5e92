package control

import (
	"maps"
	"slices"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/proposal"
)

// TestHostFactsOfSeveralClocks: the strictest class, the earliest day, and the
// triage that the latest clock asks for, in whatever order they stand.
func TestHostFactsOfSeveralClocks(t *testing.T) {
	w := newClockwork(t)
	id := w.host(1)
	clock := func(class string, opened, due int64) priority.Exposure {
		c, ok := w.Tables.Class(class)
		if ok != (class != "") {
			t.Fatal("no class", class)
		}
		return priority.Exposure{Names: []string{"CVE-2026-0001"}, Class: c, Opened: opened, Due: due}
	}
	know := priority.Known{KEV: priority.No, Automatable: priority.Yes, Total: priority.No}
	listed := know
	listed.KEV = priority.Yes
	for name, c := range map[string]struct {
		clocks  []priority.Exposure
		triaged int64
		now     int64
		know    priority.Known
		want    string // class, triage, must patch
		due     int64
	}{
		"one without a class":   {[]priority.Exposure{clock("", 1, 5), clock("14D", 1, 90)}, 0, 10, know, "14D none no", 90},
		"the stricter last":     {[]priority.Exposure{clock("14D", 1, 90), clock("3DF", 5, 50), clock("3DF", 7, 0)}, 0, 10, know, "3DF needed no", 50},
		"the stricter first":    {[]priority.Exposure{clock("3DF", 5, 50), clock("14D", 7, 90)}, 0, 10, know, "3DF needed no", 50},
		"looked at before":      {[]priority.Exposure{clock("3DF", 20, 50), clock("3DF", 10, 40)}, 15, 10, know, "3DF needed no", 40},
		"looked at since":       {[]priority.Exposure{clock("3DF", 10, 50), clock("3DF", 20, 40)}, 20, 10, know, "3DF done no", 40},
		"no look is asked for":  {[]priority.Exposure{clock("14D", 10, 50)}, 5, 10, know, "14D none no", 50},
		"on its day":            {[]priority.Exposure{clock("14D", 10, 50)}, 0, 50, know, "14D none yes", 50},
		"a second before":       {[]priority.Exposure{clock("14D", 10, 50)}, 0, 49, know, "14D none no", 50},
		"without a day":         {[]priority.Exposure{clock("14D", 10, 0)}, 0, 50, know, "14D none no", 0},
		"listed, without a day": {[]priority.Exposure{clock("14D", 10, 0)}, 0, 50, listed, "14D none yes", 0},
	} {
		delete(w.book.triaged, id)
		if c.triaged != 0 {
			w.book.triaged[id] = Triage{Host: id, At: c.triaged}
		}
		found := []match.Finding{{Advisory: "CVE-2026-0001", Aliases: []string{}}}
		facts, err := w.hostFacts(t.Context(), proposal.Host{ID: id, Causes: []proposal.Cause{{Advisories: []string{"CVE-2026-0001"}}}},
			weighed{found, func(string) priority.Known { return c.know }, running{id: {clocks: c.clocks}}}, c.now)
		w.must(err)
		if got := facts.Deadline.Is + " " + facts.Triage.Is + " " + facts.MustPatch.Is; got != c.want || facts.Due != c.due || facts.Automatable.Is != policy.Yes || facts.Total.Is != policy.No {
			t.Errorf("%s: %q, day %d, %+v", name, got, facts.Due, facts)
		}
	}
	if got := answer(priority.Unknown, fromKEV); got != (policy.Answer{}) {
		t.Errorf("what is not known is answered by somebody: %+v", got)
	}
	nameless := weighed{[]match.Finding{{Advisory: "DSA-1", Aliases: []string{}}}, func(string) priority.Known { return listed }, nil}
	facts, err := w.hostFacts(t.Context(), proposal.Host{ID: id, Causes: []proposal.Cause{{Advisories: []string{"DSA-1"}}}}, nameless, 10)
	if w.must(err); facts.KEV != (policy.Answer{}) || facts.Automatable != (policy.Answer{}) {
		t.Errorf("of what has no CVE: %+v", facts)
	}
	w.unfolded[id] = errFolded
	if _, err := w.hostFacts(t.Context(), proposal.Host{ID: id}, weighed{}, 10); err == nil {
		t.Error("a host whose past cannot be read has facts")
	}
}

// TestWhatAPlanSettles: every name of it, and no other vulnerability.
func TestWhatAPlanSettles(t *testing.T) {
	found := []match.Finding{{Advisory: "DSA-1", Aliases: []string{"CVE-2026-0001"}, State: match.Affected}, {Advisory: "DSA-2", Aliases: []string{"CVE-2026-0002"}},
		{Advisory: "CVE-2026-0001", Aliases: []string{}, State: match.Affected}}
	names, cves := settled(proposal.Host{Causes: []proposal.Cause{{Advisories: []string{"DSA-1"}}}}, found)
	if got := slices.Sorted(maps.Keys(names)); !slices.Equal(got, []string{"CVE-2026-0001", "DSA-1"}) || !slices.Equal(cves, got[:1]) {
		t.Error(got, cves)
	}
	if got := cvesOf(found); !slices.Equal(got, []string{"CVE-2026-0001", "CVE-2026-0001"}) {
		t.Error("of what is affected:", got)
	}
}

// TestDeferredCountsEarlierPlansThatCameToNothing, of the same work.
func TestDeferredCountsEarlierPlansThatCameToNothing(t *testing.T) {
	plan := func(n int, cover string, created int64, state PlanState) Plan {
		return Plan{Digest: canon.SumFile([]byte{byte(n)}), Cover: canon.SumFile([]byte(cover)), Created: created, State: state}
	}
	this := plan(0, "a", 100, Denied)
	c := &Control{book: &book{plans: map[canon.Digest]Plan{this.Digest: this}}}
	for i, p := range []Plan{plan(1, "a", 99, Denied), plan(2, "a", 100, Expired), plan(3, "a", 50, Stopped),
		plan(4, "b", 50, Stopped), plan(5, "a", 101, Denied), plan(6, "a", 50, Finished), plan(7, "a", 50, Review)} {
		c.book.plans[p.Digest] = p
		if got, want := c.deferred(this), min(i+1, 3); got != want {
			t.Errorf("with %d plans beside it: %d, want %d", i+1, got, want)
		}
	}
	w := newClockwork(t)
	w.book.plans = c.book.plans
	facts, err := w.factsOf(t.Context(), this, proposal.File{Dossier: proposal.Dossier{Hosts: []proposal.Host{{ID: w.host(1)}}}}, weighed{}, 1)
	if err != nil || len(facts.Hosts) != 1 || facts.Hosts[0].Deferred != 3 {
		t.Errorf("the rules are told %+v, %v", facts.Hosts, err)
	}
}
