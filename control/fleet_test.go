package control_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/trust"
)

// feedOf gives one feed that says of package a: below fixed, CVE-2026-1; and of
// CVE-2026-2 that its source does not know yet whether b has it.
func feedOf(fixed string) []advisory.Set {
	s := advisory.Set{Snapshot: advisory.Snapshot{Name: "f", Count: 2}}
	s.Advisories = []advisory.Advisory{
		{ID: "DSA-1", Aliases: []string{"CVE-2026-1"}, Feed: advisory.Feed{Name: "f"}, Raw: "1", Affected: []advisory.Affected{{Ecosystem: "Debian:12", Package: "a",
			Ranges: []advisory.Range{{Type: "ECOSYSTEM", Introduced: advisory.Beginning, Fixed: fixed}}}}},
		{ID: "CVE-2026-2", Feed: advisory.Feed{Name: "f"}, Raw: "2", Affected: []advisory.Affected{{Ecosystem: "Debian:12", Package: "b", Status: advisory.UnderInvestigation}}},
	}
	return []advisory.Set{s}
}

// TestWhichHostsAVulnerabilityConcerns follows the index through inventories,
// an upgrade, a feed that takes a record back, a restart, and a host that goes.
func TestWhichHostsAVulnerabilityConcerns(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 3})
	var feeds atomic.Pointer[[]advisory.Set]
	say := func(s []advisory.Set) { feeds.Store(&s) }
	say(feedOf("9"))
	w.feeds = func(context.Context, time.Time) ([]advisory.Set, error) { return *feeds.Load(), nil }
	w.terms.Plan = 10 * time.Millisecond // the feeds are read each time
	w.start()
	w.enrol(0, 1, "a", "b")
	w.enrol(2, 2, "b")
	ids := func(n ...int) (out []trust.HostID) {
		for _, i := range n {
			out = append(out, w.hosts[i].Known.ID)
		}
		slices.Sort(out)
		return out
	}
	about := func(name string) control.About {
		a, err := call[control.About](w, "GET", "findings/hosts?name="+name, nil)
		if err != nil && !strings.Contains(err.Error(), "ask again") {
			t.Fatal(err)
		}
		return a
	}
	is := func(what, name string, affected, studied []trust.HostID) {
		t.Helper()
		w.until(what, func() bool {
			a := about(name)
			return a.Hosts > 0 && len(a.Records) == 1 && len(a.Gaps) == 0 && slices.Equal(a.Affected, affected) && slices.Equal(a.Investigated, studied)
		})
	}
	is("two hosts affected", "CVE-2026-1", ids(0, 1), nil)
	is("the same by the record's id", "DSA-1", ids(0, 1), nil)
	is("all under investigation", "CVE-2026-2", nil, ids(0, 1, 2))
	if list := get[[]control.Count](w, "findings"); !slices.Equal(list, []control.Count{{"CVE-2026-1", 2, 0, 0}, {"CVE-2026-2", 0, 0, 3}}) {
		t.Errorf("the list is %+v", list)
	}
	w.hosts[0].Installed["a"] = "9"
	w.must(w.hosts[0].Report(t.Context(), w.control.Handle))
	is("one host less", "CVE-2026-1", ids(1), nil)
	w.restart()
	is("the same after a restart", "CVE-2026-1", ids(1), nil)
	less := feedOf("9")
	less[0].Advisories[0].Withdrawn, less[0].Advisories[0].Raw = 1, "3"
	say(less)
	is("a withdrawn record", "CVE-2026-1", nil, nil)
	say(feedOf("99"))
	is("another record", "CVE-2026-1", ids(0, 1), nil)
	w.must(w.control.Remove(t.Context(), w.hosts[1].Known.ID))
	is("a host that went", "CVE-2026-1", ids(0), nil)
	if a := about("CVE-2026-99"); len(a.Gaps) != 1 || !strings.Contains(a.Gaps[0], "no feed that was read has a record") {
		t.Errorf("a name that nothing has: %+v", a)
	}
	partial := feedOf("99")
	partial[0].Snapshot.Partial = []advisory.Gap{{Record: "x", Why: "broken"}}
	say(partial[:1])
	w.until("a partial feed is said", func() bool {
		return slices.ContainsFunc(about("CVE-2026-1").Gaps, func(g string) bool { return strings.Contains(g, "read whole") })
	})
	say(nil)
	w.until("no feed is said", func() bool {
		return slices.ContainsFunc(about("CVE-2026-1").Gaps, func(g string) bool { return strings.Contains(g, "no feed was read") })
	})
	for _, path := range []string{"findings/hosts", "findings?limit=0", "findings?limit=x"} {
		if _, err := call[any](w, "GET", path, nil); err == nil {
			t.Errorf("%s was answered", path)
		}
	}
}
