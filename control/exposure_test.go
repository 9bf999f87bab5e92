package control_test

import (
	"context"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/priority"
)

const day = 24 * 3600

// mild is a CVE that CISA does not list, and that is scored.
func mild(context.Context, time.Time) (control.Knowledge, error) {
	return func(string) priority.Known {
		return priority.Known{KEV: priority.No, Automatable: priority.Yes, Total: priority.Yes, EPSS: priority.Measure{Known: true, Value: 1234}}
	}, nil
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
	h.Mapped = []inventory.Mapping{}
	w.must(h.Report(t.Context(), w.control.Handle))
	w.look()
	w.until("the clock ends", func() bool { return w.clock(h).Closed != 0 })
	if x := w.clock(h); x.Due != 0 || x.Overdue || x.Spent < 100 {
		t.Errorf("a clock that has ended: %+v", x)
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
