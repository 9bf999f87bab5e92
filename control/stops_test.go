package control_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/witness/ask"
)

// ready waits until n writs can be handed out.
func (w *town) ready(n int) []control.Writ {
	w.t.Helper()
	var out []control.Writ
	w.until("writs that are ready", func() bool {
		out = slices.DeleteFunc(w.writs(), func(v control.Writ) bool { return v.State != control.Ready })
		return len(out) == n
	})
	return out
}

// host is the agent with a fingerprint.
func (w *town) host(id trust.HostID) *controltest.Host {
	return w.hosts[slices.IndexFunc(w.hosts, func(h *controltest.Host) bool { return h.Known.ID == id })]
}

func (w *town) grantState(d canon.Digest) string {
	for _, g := range get[[]control.Grant](w, "grants") {
		if g.Digest == d {
			return g.State
		}
	}
	return ""
}

// untouched wants that only these hosts acted.
func (w *town) untouched(but ...trust.HostID) {
	w.t.Helper()
	w.round()
	for _, h := range w.hosts {
		if len(h.Applied) > 0 && !slices.Contains(but, h.Known.ID) {
			w.t.Errorf("host %s acted", h.Known.ID.Short())
		}
	}
}

func TestAFailedCanaryStopsThePlanAndItsGrant(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 4, Roles: 2})
	w.start()
	grant := w.grant(0)
	w.enrol(0, 3, hello)
	p := w.only(control.Running)
	canaries := w.ready(2)
	bad, good := w.host(canaries[0].Host), w.host(canaries[1].Host)
	bad.Fail = true
	if did, err := bad.Round(t.Context(), w.control.Handle); err != nil || !did {
		t.Fatal(did, err)
	}
	p = w.only(control.Stopped)
	if !strings.Contains(p.Why.Text(), bad.Known.ID.Short()) {
		t.Errorf("why: %s", p.Why.Text())
	}
	if s := w.grantState(grant); s != control.Suspended {
		t.Errorf("the grant is %q", s)
	}
	w.untouched(bad.Known.ID) // not even the other canary, whose writ was ready
	for _, v := range w.writs() {
		if v.Host == good.Known.ID && v.State != control.Withdrawn {
			t.Errorf("the other canary's writ is %s", v.State)
		}
	}
	before := w.Solved()
	w.look()
	w.until("another look", func() bool { return w.Solved() > before })
	if n := len(w.plans()); n != 1 {
		t.Errorf("%d plans: what has just failed is proposed again", n)
	}
	w.audit(p.Digest)
}

func TestASilentCanaryStopsThePlanAndItsGrant(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 3})
	w.start()
	grant := w.grant(0)
	w.enrol(0, 2, hello)
	p := w.only(control.Running)
	canary := w.ready(1)[0]
	silent := w.host(canary.Host)
	next, err := silent.Next(t.Context(), w.control.Handle)
	if err != nil || next.Writ == "" {
		t.Fatal(next, err)
	}
	raw, err := silent.Fetch(t.Context(), w.control.Handle, next.Writ)
	w.must(err)
	w.skew.Store(3601)
	w.becomes(p, control.Stopped)
	if s := w.grantState(grant); s != control.Suspended {
		t.Errorf("the grant is %q", s)
	}
	if v := w.writs()[0]; v.State != control.Lapsed {
		t.Errorf("the writ is %s", v.State)
	}
	w.untouched()
	w.skew.Store(0) // the host's clock and the witnesses' say that it was in time
	if did, err := silent.Act(t.Context(), w.control.Handle, raw, next); err != nil || !did {
		t.Fatal(did, err)
	}
	if v := w.writs()[0]; v.State != control.Done {
		t.Errorf("after a late receipt the writ is %s", v.State)
	}
	if s := w.plans()[0].State; s != control.Stopped {
		t.Errorf("after a late receipt the plan is %s", s)
	}
}

func TestANoStopsAPlanThatRuns(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 3})
	w.start()
	w.enrol(0, 2, hello)
	p := w.only(control.Review)
	w.say(p, approval.Approve, 0, 1)
	w.ready(1)
	w.say(p, approval.Deny, 2)
	if s := w.plan(p.Digest).State; s != control.Denied {
		t.Fatalf("the plan is %s", s)
	}
	w.untouched()
	_, err := call[struct{}](w, "POST", "plans/"+string(p.Digest)+"/answers", w.Person(0, controltest.Statement(w.file(p).Header, approval.Approve)))
	w.refusedAs("a yes to what has ended", err, "PW-CONTROL-PLAN")
	w.audit(p.Digest)
}

func TestSilenceIsANo(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 2})
	w.start()
	w.enrol(0, 1, hello)
	p := w.only(control.Review)
	w.say(p, approval.Approve, 0)
	w.skew.Store(24*3600 + 1)
	p = w.becomes(p, control.Denied)
	if !strings.Contains(p.Why.Text(), "silence") {
		t.Errorf("why: %s", p.Why.Text())
	}
	w.untouched()
}

func TestAWordThatIsNotOneIsRefused(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 2})
	w.start()
	w.enrol(0, 1, hello)
	p := w.only(control.Review)
	h := w.file(p).Header
	yes := w.Person(0, controltest.Statement(h, approval.Approve))
	forged := yes
	forged.Person = w.World.House.People[1].ID
	other := h
	other.Note = "another plan"
	for name, a := range map[string]approval.Approval{"of another person": forged, "over another plan": w.Person(0, controltest.Statement(other, approval.Approve))} {
		if _, err := call[struct{}](w, "POST", "plans/"+string(p.Digest)+"/answers", a); err == nil {
			t.Errorf("an answer %s was taken", name)
		}
	}
	_, err := call[struct{}](w, "POST", "plans/"+strings.Repeat("ab", 32)+"/answers", yes)
	w.refusedAs("an answer to no plan", err, "PW-CONTROL-PLAN")
	for range 2 {
		_, err = call[struct{}](w, "POST", "plans/"+string(p.Digest)+"/answers", yes)
		w.must(err)
	}
	if n := len(w.plan(p.Digest).Answers); n != 1 {
		t.Errorf("%d answers of one word", n)
	}
}

func TestARevokedGrantStopsWhatRunsUnderIt(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 3})
	w.start()
	g, yes := w.Grant(0)
	_, err := call[struct{}](w, "POST", "grants", control.Signed{Grant: g, Approvals: yes})
	w.must(err)
	w.enrol(0, 2, hello)
	p := w.only(control.Running)
	w.ready(1)
	d := g.Statement(approval.Allow).Digest()
	_, err = call[struct{}](w, "POST", "grants/"+string(d)+"/revoke", []approval.Approval{w.Person(0, g.Statement(approval.Allow))})
	if err == nil {
		t.Error("a signature over the grant revoked it")
	}
	_, err = call[struct{}](w, "POST", "grants/"+string(d)+"/revoke", []approval.Approval{w.Person(0, g.Statement(approval.Revoke))})
	w.must(err)
	w.becomes(p, control.Stopped)
	w.untouched()
	if s := w.grantState(d); s != control.Revoked {
		t.Errorf("the grant is %q", s)
	}
	_, err = call[struct{}](w, "POST", "grants", control.Signed{Grant: g, Approvals: yes[:1]})
	if err == nil {
		t.Error("a grant with one signature was taken")
	}
}

func TestTwoTracks(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 2})
	w.Allow(hello, "libwall")
	w.start()
	w.grant(0)
	w.enrol(0, 1, hello, "libwall")
	w.until("two plans", func() bool { return len(w.plans()) == 2 })
	var low, high control.Plan
	w.until("both have an answer", func() bool {
		for _, p := range w.plans() {
			if slices.Contains(p.Packages, hello) {
				low = p
			} else {
				high = p
			}
		}
		return low.State == control.Running && high.State == control.Review
	})
	w.work(low.Digest, control.Finished)
	for _, h := range w.hosts {
		if h.Installed[hello] != evidencetest.New || h.Installed["libwall"] != evidencetest.Old {
			t.Errorf("host %s has %v", h.Known.ID.Short(), h.Installed)
		}
	}
	w.say(high, approval.Approve, 0, 1)
	w.work(high.Digest, control.Finished)
	if n := len(w.plans()); n != 2 {
		t.Errorf("%d plans: %s", n, w.account())
	}
}

// TestAHaltPasses: a halt is no failure. The writ waits, is made anew when it
// ends meanwhile, and is used once the halt is lifted.
func TestAHaltPasses(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 2})
	w.start()
	grant := w.grant(0)
	w.enrol(0, 1, hello)
	p := w.only(control.Running)
	first := w.ready(1)[0]
	canary := w.host(first.Host)
	policy, err := tlog.ParsePolicy(w.Root().Witnesses)
	w.must(err)
	now := time.Now().Unix()
	halt := approval.Halt{Type: approval.TypeHalt, Nonce: strings.Repeat("4e", 32), Author: w.World.House.People[0].ID, From: now - 5, Until: now + 3600,
		Scope: trust.Scope{All: true, Hosts: []trust.HostID{}, Domains: []string{}, Labels: []trust.Label{}}}
	stop := []approval.Approval{w.Person(0, halt.Statement(approval.Stop))}
	w.must(ask.Err(ask.Halt(t.Context(), policy.Witnesses(), halt, stop)))
	if did, err := canary.Round(t.Context(), w.control.Handle); err != nil || did {
		t.Fatal(did, err)
	}
	if !slices.Contains(canary.Refused, "PW-WRIT-LEASE") {
		t.Errorf("refused with %v", canary.Refused)
	}
	why, err := w.control.Why(t.Context(), canary.Known.ID, "")
	if err != nil || why[0].State != "no lease" {
		t.Errorf("why: %+v, %v", why, err)
	}
	w.skew.Store(3601)
	w.until("another writ", func() bool {
		v := w.ready(1)[0]
		return v.Digest != first.Digest
	})
	if s := w.plan(p.Digest).State; s != control.Running {
		t.Errorf("the plan is %s", s)
	}
	if s := w.grantState(grant); s != control.Live {
		t.Errorf("the grant is %s", s)
	}
	lift := []approval.Approval{w.Person(0, halt.Statement(approval.Lift)), w.Person(1, halt.Statement(approval.Lift))}
	w.must(ask.Err(ask.Lift(t.Context(), policy.Witnesses(), halt, lift)))
	w.skew.Store(0)
	w.end() // and the clock is right again
	w.start()
	for _, v := range w.writs() {
		if v.Digest == first.Digest && v.State != control.Replaced {
			t.Errorf("the first writ is %s", v.State)
		}
	}
}

func TestNothingIsHandedOutBeforeWitnessesHaveSeenIt(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 3})
	w.start()
	w.enrol(0, 2, hello)
	p := w.only(control.Review)
	w.until("the verdict is logged", func() bool { return w.unlogged() == 0 })
	w.Down(0, true)
	w.Down(1, true)
	w.say(p, approval.Approve, 0, 1)
	w.until("the plan runs, or the log is in trouble", func() bool { return w.unlogged() > 0 })
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		if w.round() > 0 {
			t.Fatal("a host acted on what no quorum of witnesses has seen")
		}
	}
	for _, v := range w.writs() {
		if v.State != control.Drafted || v.File != "" {
			t.Errorf("a writ is %s", v.State)
		}
	}
	w.Down(0, false)
	w.work(p.Digest, control.Finished)
	w.audit(p.Digest)
}

// unlogged counts the events that wait for the log.
func (w *town) unlogged() (n int) {
	for _, err := range w.store.Unlogged(w.t.Context()) {
		w.must(err)
		n++
	}
	return n
}

func TestTwoMachinesWithOneKey(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 2})
	w.start()
	w.enrol(0, 1, hello)
	h := w.hosts[0]
	twin := *h
	twin.Run = strings.Repeat("77", 16)
	if a, err := twin.Hello(t.Context(), w.control.Handle); err != nil || a.State != wire.Enrolled {
		t.Fatalf("a restart: %v %v", a, err)
	}
	if a, err := h.Hello(t.Context(), w.control.Handle); err != nil || a.State != wire.Cloned {
		t.Errorf("the first one speaks again: %v %v", a, err)
	}
	for name, f := range map[string]func() error{
		"next":      func() error { _, err := h.Next(t.Context(), w.control.Handle); return err },
		"inventory": func() error { return twin.Report(t.Context(), w.control.Handle) },
		"blob":      func() error { _, err := h.Fetch(t.Context(), w.control.Handle, canon.SumFile(nil)); return err },
	} {
		w.refusedAs(name, f(), "PW-CONTROL-HOST")
	}
	w.restart()
	w.refusedAs("next after a restart", func() error { _, err := h.Next(t.Context(), w.control.Handle); return err }(), "PW-CONTROL-HOST")
	_, err := call[struct{}](w, "POST", "hosts/"+string(h.Known.ID)+"/accept", nil)
	w.must(err)
	if a, err := h.Hello(t.Context(), w.control.Handle); err != nil || a.State != wire.Enrolled {
		t.Errorf("after a person has looked: %v %v", a, err)
	}
}

func TestARemovedHost(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 4})
	w.start()
	w.enrol(0, 3, hello)
	p := w.only(control.Review)
	w.say(p, approval.Approve, 0, 1)
	canary := w.ready(1)[0].Host
	last := slices.Max(p.Waves)
	gone := w.host(p.Hosts[slices.Index(p.Waves, last)])
	if gone.Known.ID == canary {
		t.Fatal("the canary is in the last wave")
	}
	_, err := call[struct{}](w, "POST", "hosts/"+string(gone.Known.ID)+"/remove", nil)
	w.must(err)
	_, err = gone.Next(t.Context(), w.control.Handle)
	w.refusedAs("a removed host", err, "PW-CONTROL-HOST")
	w.hosts = slices.DeleteFunc(w.hosts, func(h *controltest.Host) bool { return h == gone })
	w.work(p.Digest, control.Finished) // without it
	if len(gone.Applied) != 0 {
		t.Error("it acted")
	}
	secret, err := w.control.NewToken(t.Context(), time.Hour)
	w.must(err)
	anew := w.Host(0, hello)
	anew.Known, anew.Key = gone.Known, gone.Key
	w.must(w.control.Enrol(t.Context(), secret, control.Host{Wire: anew.Wire, ID: anew.Known.ID, Public: anew.Known.Public, Name: "h"}))
	if a, err := anew.Hello(t.Context(), w.control.Handle); err != nil || a.State != wire.Enrolled {
		t.Errorf("enrolled anew: %v %v", a, err)
	}
}

func TestARemovedCanaryStopsThePlan(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 3})
	w.start()
	grant := w.grant(0)
	w.enrol(0, 2, hello)
	w.only(control.Running)
	canary := w.ready(1)[0].Host
	w.must(w.control.Remove(t.Context(), canary))
	w.only(control.Stopped)
	w.hosts = slices.DeleteFunc(w.hosts, func(h *controltest.Host) bool { return h.Known.ID == canary })
	w.untouched()
	if s := w.grantState(grant); s != control.Live {
		t.Errorf("the grant is %s", s)
	}
}

// TestWhatAHostHasToldOutlivesAKill: a host that failed and stands as before
// tells the same inventory, once. The record says so at the moment of the answer.
func TestWhatAHostHasToldOutlivesAKill(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 1})
	w.start()
	w.grant(0)
	w.enrol(0, 0, hello)
	w.only(control.Running)
	h := w.host(w.ready(1)[0].Host)
	h.Fail = true
	next, err := h.Next(t.Context(), w.control.Handle)
	w.must(err)
	raw, err := h.Fetch(t.Context(), w.control.Handle, next.Writ)
	w.must(err)
	stale := func() bool {
		d, err := w.store.Doc(t.Context(), "host", h.Wire)
		w.must(err)
		return strings.Contains(string(d.Body), `"stale":true`)
	}
	if did, err := h.Act(t.Context(), w.control.Handle, raw, next); err != nil || !did || !stale() {
		t.Fatal(did, err, "the control: a receipt makes what is known of the host stale")
	}
	w.must(h.Report(t.Context(), w.control.Handle))
	if stale() {
		t.Error("the record does not say that the host has told what it has")
	}
}
