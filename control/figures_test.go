package control_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// told is one receipt of a change: what came of it, and when by the host's clock.
type told struct {
	outcome        writ.Outcome
	started, ended int64
}

// offered is what waits for a host, and its bytes.
type offered struct {
	next wire.NextAnswer
	raw  []byte
}

func (w *town) offered(h *controltest.Host) (o offered) {
	w.t.Helper()
	w.until("a writ for the host", func() bool {
		next, err := h.Next(w.t.Context(), w.control.Handle)
		w.must(err)
		o.next = next
		return next.Writ != ""
	})
	raw, err := h.Fetch(w.t.Context(), w.control.Handle, o.next.Writ)
	w.must(err)
	o.raw = raw
	return o
}

// tells has a host carry out what it was offered, and say this of it.
func (w *town) tells(h *controltest.Host, o offered, first told, more ...told) {
	w.t.Helper()
	var said writ.Receipt
	h.Fail = first.outcome != writ.Done
	h.Edit = func(r *writ.Receipt) {
		r.Outcome, r.Started, r.Ended = first.outcome, first.started, first.ended
		said = *r
	}
	if did, err := h.Act(w.t.Context(), w.control.Handle, o.raw, o.next); err != nil || !did {
		w.t.Fatal(did, err, h.Refused)
	}
	for _, m := range more {
		said.Outcome, said.Started, said.Ended = m.outcome, m.started, m.ended
		h.Receipts = append(h.Receipts, writtest.SignReceipt(said, h.Key))
		w.must(h.Deliver(w.t.Context(), w.control.Handle))
	}
	w.must(h.Report(w.t.Context(), w.control.Handle))
}

// permitted is a person's plan for hosts that have the old version, about which an
// adviser was asked and that people then approved.
func (w *town) permitted(hosts ...*controltest.Host) canon.Digest {
	w.t.Helper()
	for _, h := range hosts {
		h.Installed[hello] = evidencetest.Old
		w.must(h.Report(w.t.Context(), w.control.Handle))
	}
	f := w.Plan(hosts...)
	w.propose(f)
	d := controltest.Digest(f)
	w.advised(d)
	w.say(w.plan(d), approval.Approve, 0, 1)
	return d
}

// change is a plan for one host, with what the host says of it.
func (w *town) change(h *controltest.Host, s control.PlanState, first told, more ...told) {
	w.t.Helper()
	d := w.permitted(h)
	w.tells(h, w.offered(h), first, more...)
	w.becomes(w.plan(d), s)
}

// TestFigures: plans that went well and badly, with an adviser's answer and without,
// against counts and seconds that were added up by hand.
func TestFigures(t *testing.T) {
	t.Parallel()
	w, answers := newTown(t, controltest.Options{Hosts: 9}), new(atomic.Bool)
	w.advise = func(ctx context.Context, request []byte) advice.Heard {
		if answers.Load() {
			return advicetest.Simulated(advice.Keep)(ctx, request)
		}
		return advice.Heard{Model: advicetest.Model, Outcome: advice.Refused, Why: "it would not", Sent: []byte("s"), Received: []byte("no")}
	}
	w.Allow() // the control plane itself proposes nothing
	w.start()
	w.enrol(0, 8, hello)
	h, began := w.hosts, time.Now().Unix()
	at := func(outcome writ.Outcome, started, ended int64) told {
		return told{outcome, began + started, began + ended}
	}

	answers.Store(true)
	w.change(h[0], control.Finished, at(writ.Done, 10, 20))
	w.change(h[1], control.Stopped, at(writ.RolledBack, 100, 140))                                // well after 40 s
	w.change(h[2], control.Stopped, at(writ.Failed, 200, 210))                                    // well after 300 s, by the next
	w.change(h[2], control.Finished, at(writ.Done, 480, 500))                                     //
	w.change(h[3], control.Stopped, at(writ.Failed, 1000, 1010), at(writ.RolledBack, 1020, 1090)) // well after 90 s
	w.change(h[0], control.Stopped, at(writ.Failed, 2000, 2010))                                  // never: it did well before, and others did after
	wantWith := control.Group{Plans: 6, Failed: 4, Hosts: 4, Restored: 3, Restore: 90 /* of 40, 90, 300 */}
	if f := get[control.Figures](w, "figures"); f != (control.Figures{With: wantWith, Asked: 6}) {
		t.Errorf("with advice: %+v", f)
	}

	answers.Store(false)
	w.change(h[4], control.Finished, at(writ.Done, 5000, 5020))
	three := w.permitted(h[5], h[6], h[7])
	w.tells(h[5], w.offered(h[5]), at(writ.Done, 6000, 6020))
	sixth, seventh := w.offered(h[6]), w.offered(h[7])
	w.tells(h[6], sixth, at(writ.RolledBack, 7000, 7700))   // well after 700 s
	w.tells(h[7], seventh, at(writ.RolledBack, 7000, 7800)) // well after 800 s; it had begun when its plan was stopped
	w.becomes(w.plan(three), control.Stopped)
	silent := w.permitted(h[8])
	w.offered(h[8])
	w.skew.Store(3601)
	w.becomes(w.plan(silent), control.Stopped)
	w.skew.Store(0)
	lapsed := int64(0)
	for _, v := range w.writs() {
		if v.Host == h[8].Known.ID && v.State == control.Lapsed {
			lapsed = v.Expires - began
		}
	}
	w.change(h[8], control.Finished, at(writ.Done, lapsed+200, lapsed+250)) // well 250 s after its writ had ended in silence
	wantWithout := control.Group{Plans: 4, Failed: 2, Hosts: 3, Restored: 3, Restore: 700 /* of 250, 700, 800 */}
	if f := get[control.Figures](w, "figures"); f != (control.Figures{With: wantWith, Without: wantWithout, Asked: 10}) {
		t.Errorf("all: %+v", f)
	}
}
