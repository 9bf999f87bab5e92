package control_test

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/refusal"
)

const day = 24 * 3600

// mild is a CVE that CISA does not list, and that is scored.
func mild(context.Context, time.Time, func(string) bool) (control.Knowledge, error) {
	return func(string) priority.Known {
		return priority.Known{KEV: priority.No, Automatable: priority.Yes, Total: priority.Yes, EPSS: priority.Measure{Known: true, Value: 1234}}
	}, nil
}

// looked has the control plane look for work, and waits until it has.
func (w *town) looked() {
	w.t.Helper()
	for range 3 { // one may be under way, one is what is waited for, and the third begins when that has ended
		n := w.Solved()
		w.look()
		w.until("a look", func() bool { return w.Solved() > n })
	}
}

// clock is the one clock of a host.
func (w *town) clock(h *controltest.Host) control.ExposureView {
	w.t.Helper()
	var all []control.ExposureView
	w.until("a clock", func() bool {
		all = get[[]control.ExposureView](w, "exposures?host="+string(h.Known.ID))
		return len(all) > 0
	})
	if len(all) != 1 || all[0].ID != "CVE-2026-0001" {
		w.t.Fatalf("%+v", all)
	}
	return all[0]
}

func TestExposureClockRunsUntilTheFixIsEffective(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 1})
	w.known = mild
	w.start()
	w.enrol(0, 0, evidencetest.Package)
	first := w.clock(w.hosts[0])
	if first.Closed != 0 || first.Class.Key == "" || first.Class.Days == 0 || first.Due != first.Opened+int64(first.Class.Days)*day || first.Overdue {
		t.Fatalf("a clock that runs: %+v", first)
	}
	p := w.only(control.Review)
	if len(p.Urgency) != 1 || p.Urgency[0].Due != first.Due || p.Urgency[0].EPSS.Value != 1234 || p.Urgency[0].CVSS.Known {
		t.Errorf("the plan's urgency: %+v, the clock %+v", p.Urgency, first)
	}
	w.skew.Add(100)
	w.look()
	w.restart()
	w.look()
	if again := w.clock(w.hosts[0]); again.Opened != first.Opened || again.Spent < 100 {
		t.Errorf("after other looks and a restart: %+v, at first %+v", again, first)
	}
	w.say(p, approval.Approve, 0, 1)
	w.work(p.Digest, control.Finished)
	h := w.hosts[0]
	h.Mapped = []inventory.Mapping{{Path: "/usr/lib/old.so", Inode: 7, Exec: true}}
	w.must(h.Report(t.Context(), w.control.Handle))
	w.look()
	w.until("the finding is gone", func() bool { return w.clock(h).Gone != 0 })
	if x := w.clock(h); x.Closed != 0 {
		t.Errorf("a fix that a process does not use yet ends the clock: %+v", x)
	}
	for _, none := range []func(){func() { h.MappedAt = 0 }, func() { h.MappedAt, h.MappedWhy = 7, "it is older than the packages" }} {
		h.Mapped = []inventory.Mapping{}
		none()
		w.must(h.Report(t.Context(), w.control.Handle))
		w.looked()
		if x := w.clock(h); x.Closed != 0 {
			t.Errorf("without a list of processes that speaks of these packages the clock ends: %+v", x)
		}
	}
	h.MappedWhy = ""
	h.Mapped = []inventory.Mapping{{Path: "/usr/lib/own.so", Inode: 8, Process: "old (pid 7)", Owners: []inventory.Owner{{Package: evidencetest.Package + "-tools:amd64", Source: evidencetest.Package}}}}
	w.must(h.Report(t.Context(), w.control.Handle))
	w.looked()
	if x := w.clock(h); x.Closed != 0 || !strings.Contains(x.Waits.Text(), "process old (pid 7) still uses the deleted file /usr/lib/own.so of "+evidencetest.Package+"-tools:amd64") {
		t.Errorf("a process uses what was built from the same source: %+v", x)
	}
	h.Mapped[0].Owners[0] = inventory.Owner{Package: "other:amd64", Source: "other"} // another's clock goes on for that
	w.must(h.Report(t.Context(), w.control.Handle))
	w.look()
	w.until("the clock ends", func() bool { return w.clock(h).Closed != 0 })
	if x := w.clock(h); x.Due != 0 || x.Overdue || x.Spent < 100 {
		t.Errorf("a clock that has ended: %+v", x)
	}
}

// TestWhatIsFoundIsAskedFor: sources are read for the CVEs that are found, also
// when those change between two looks.
func TestWhatIsFoundIsAskedFor(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 1})
	w.known = func(_ context.Context, _ time.Time, wanted func(string) bool) (control.Knowledge, error) {
		return func(cve string) priority.Known {
			if !wanted(cve) {
				return priority.Known{}
			}
			return priority.Known{KEV: priority.No, Automatable: priority.No, Total: priority.No}
		}, nil
	}
	w.start()
	w.enrol(0, 0, evidencetest.Package)
	if x := w.clock(w.hosts[0]); x.Class.Key == "" || x.Class.Key == "3DF" {
		t.Errorf("the sources were not read for it: %+v", x.Class)
	}
}

// TestNoFeedEndsNoClock has the finding vanish while the package stays as it is:
// a feed that fell silent.
func TestNoFeedEndsNoClock(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 1})
	w.known = mild
	w.start()
	w.enrol(0, 0, evidencetest.Package)
	first := w.clock(w.hosts[0])
	w.Allow()
	w.look()
	w.until("the finding is gone", func() bool { return w.clock(w.hosts[0]).Gone != 0 })
	w.skew.Add((int64(first.Class.Days) + 1) * day)
	if x := w.clock(w.hosts[0]); x.Closed != 0 || !x.Overdue {
		t.Errorf("%+v", x)
	}
}

// TestOverdueWorkStandsFirst lets work that is mild become overdue.
func TestOverdueWorkStandsFirst(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 1})
	w.terms.Life, w.terms.Review = 168*time.Hour, 168*time.Hour
	w.start()
	w.enrol(0, 0, evidencetest.Package)
	if x := w.clock(w.hosts[0]); x.Class.Key != "" || x.Due != 0 {
		t.Errorf("without a source of deadlines: %+v", x)
	}
	w.known = mild
	w.restart()
	w.look()
	w.until("a class", func() bool { return w.clock(w.hosts[0]).Class.Key != "" })
	x := w.clock(w.hosts[0])
	w.skew.Add((int64(x.Class.Days) + 1) * day)
	if x = w.clock(w.hosts[0]); !x.Overdue {
		t.Errorf("%+v is not overdue", x)
	}
}

// told is what the rules were told of a plan.
func (w *town) told(p control.Plan) policy.Facts {
	w.t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.Data(), "blobs", string(p.Input)))
	w.must(err)
	var in policy.Input
	w.must(canon.Decode(raw, &in))
	return in.Facts
}

func TestNewArtefactsCoolDown(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 1})
	w.known = func(context.Context, time.Time, func(string) bool) (control.Knowledge, error) {
		return func(string) priority.Known {
			return priority.Known{KEV: priority.No, Automatable: priority.No, Total: priority.No}
		}, nil
	}
	const origin = "debian-security"
	cool, err := priority.NewCooldowns([]priority.Wait{{Origin: origin, Class: controltest.ClassOf(evidencetest.Package), Seconds: 2 * day, Corroborated: 3600}})
	w.must(err)
	w.terms.Cooldowns, w.terms.Life = &cool, 168*time.Hour
	w.start()
	w.enrol(0, 0, evidencetest.Package)
	p := w.only(control.Held)
	if a := w.told(p).Artefacts[0]; a.Cooldown != p.Until || a.Corroborated.Is != policy.No || p.Until < time.Now().Unix()+day {
		t.Errorf("held until %d: %+v", p.Until, a)
	}
	w.restart()
	w.skew.Add(2*day + 60)
	w.until("the wait is over", func() bool { return w.plan(p.Digest).State == control.Review })
	if a := w.told(w.plan(p.Digest)).Artefacts[0]; a.Cooldown != p.Until {
		t.Errorf("the wait began anew: %+v", a)
	}
}

func TestForensicHoldWaitsForAPerson(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 1})
	w.known = func(context.Context, time.Time, func(string) bool) (control.Knowledge, error) {
		return func(string) priority.Known {
			return priority.Known{KEV: priority.Yes, Automatable: priority.Yes, Total: priority.Yes}
		}, nil
	}
	w.start()
	w.enrol(0, 0, evidencetest.Package)
	h := w.hosts[0]
	p := w.only(control.Held)
	if f := w.told(p).Hosts[0]; f.KEV.Is != policy.Yes || f.Deadline.Is != "3DF" || f.Triage.Is != "needed" || f.MustPatch.Is != policy.Yes || f.Due == 0 {
		t.Fatalf("%+v", f)
	}
	path := "hosts/" + string(h.Known.ID) + "/triaged"
	for what, x := range map[string]struct {
		path string
		said control.Triage
		code refusal.Code
	}{"nothing": {path, control.Triage{By: "alice", Note: " "}, "PW-CONTROL-MESSAGE"}, "by nobody": {path, control.Triage{By: " ", Note: "nothing foreign runs"}, "PW-CONTROL-MESSAGE"},
		"of no host": {"hosts/" + strings.Repeat("ab", 32) + "/triaged", control.Triage{By: "alice", Note: "nothing foreign runs"}, "PW-CONTROL-HOST"}} {
		if _, err := call[struct{}](w, "POST", x.path, x.said); refusal.CodeOf(err) != x.code {
			t.Errorf("a triage that says %s: %v", what, err)
		}
	}
	_, err := call[struct{}](w, "POST", path, control.Triage{By: "alice", Note: "nothing foreign runs"})
	w.must(err)
	w.until("people are asked", func() bool { return w.plan(p.Digest).State == control.Review })
	w.say(p, approval.Approve, 0, 1)
	w.work(p.Digest, control.Finished)
	w.audit(p.Digest)
}

// TestAPersonsPlanCoolsDownOnce: the wait of what no look has met begins when the
// plan comes in, not anew at each question.
func TestAPersonsPlanCoolsDownOnce(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 1})
	cool, err := priority.NewCooldowns([]priority.Wait{{Origin: "debian-security", Class: controltest.ClassOf(evidencetest.Package), Seconds: 600, Corroborated: 600}})
	w.must(err)
	w.terms.Cooldowns = &cool
	w.solve = func(ctx context.Context, o solve.Options) (solve.Solved, error) { // no look finds work, however late it comes
		o.Only = []string{"nothing"}
		return w.Solve(ctx, o)
	}
	w.start()
	w.enrol(0, 0, evidencetest.Package)
	f := w.Plan(w.hosts...)
	raw := httptest.NewRecorder()
	w.control.API().ServeHTTP(raw, httptest.NewRequest("POST", "/v1/plans", bytes.NewReader(f.Bytes())))
	if raw.Code != 200 {
		t.Fatal(raw.Body.String())
	}
	p := w.only(control.Held)
	w.skew.Add(660)
	w.until("the wait is over", func() bool { return w.plan(p.Digest).State == control.Review })
}

// TestTheRulesKnowAfterARestart: what sources know of a plan's CVEs is read for
// its decision, though no look has found them since the start.
func TestTheRulesKnowAfterARestart(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 1})
	w.known = func(_ context.Context, _ time.Time, wanted func(string) bool) (control.Knowledge, error) {
		return func(cve string) priority.Known {
			if !wanted(cve) {
				return priority.Known{}
			}
			return priority.Known{KEV: priority.No, Automatable: priority.Yes, Total: priority.No}
		}, nil
	}
	cool, err := priority.NewCooldowns([]priority.Wait{{Origin: "debian-security", Class: controltest.ClassOf(evidencetest.Package), Seconds: 600, Corroborated: 600}})
	w.must(err)
	w.terms.Cooldowns = &cool
	w.start()
	w.enrol(0, 0, evidencetest.Package)
	p := w.only(control.Held)
	w.Allow() // no look finds anything any more
	w.restart()
	w.skew.Add(660)
	w.until("the wait is over", func() bool { return w.plan(p.Digest).State == control.Review })
	if f := w.told(w.plan(p.Digest)).Hosts[0]; f.Automatable.Is != policy.Yes || f.Total.Is != policy.No || f.KEV.Is != policy.No {
		t.Errorf("after a restart the rules are told %+v", f)
	}
}
