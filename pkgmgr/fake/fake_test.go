package fake

import (
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/pkgmgr/pkgmgrtest"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

var start = time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)

func now() time.Time { return start }

// permit makes permissions for the changes in the common house.
func permit(t *testing.T, changes ...change.Change) func() (writ.Verified, func() writ.Verified) {
	house := trusttest.Must(nil, trusttest.Options{})
	return func() (writ.Verified, func() writ.Verified) {
		c := writtest.New(house)
		c.Branches[0] = writtest.Branch(c.Host.ID, 0, changes...)
		c.Header.Class = change.Highest(changes)
		raw := c.Raw()
		v, mem, err := writ.Verify(raw, house.Root, c.Memory, house.Now)
		if err != nil {
			t.Fatal(err)
		}
		return v, func() writ.Verified {
			v, _, err := writ.VerifyUndo(raw, house.Root, mem.Failed(v.Digest(), house.Now.Unix()), house.Now)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
}

func world(t *testing.T, j pkgmgr.Journal) (*Host, *Manager, pkgmgrtest.World) {
	changes := []change.Change{writtest.Upgrade("libssl3", "1", "2"), writtest.Upgrade("openssl", "1", "2")}
	host := NewHost(Installed("base-files", "amd64", "12"), Installed("libssl3", "amd64", "1"), Installed("openssl", "amd64", "1"))
	for _, c := range changes {
		host.Offer(c.Artefact, writtest.Back(c).Artefact)
	}
	m := New(host, j, now)
	return host, m, pkgmgrtest.World{Manager: m, Changes: changes, Permit: permit(t, changes...),
		Reopen: func() pkgmgr.Manager { return New(host, j, now) }}
}

func TestConformance(t *testing.T) {
	pkgmgrtest.Run(t, func(t *testing.T, s pkgmgrtest.Situation, j pkgmgr.Journal) pkgmgrtest.World {
		host, m, w := world(t, j)
		switch s {
		case pkgmgrtest.LockHeld:
			m.Arrange(LockHeld, 0)
		case pkgmgrtest.DiskFull:
			m.Arrange(DiskFull, 0)
		case pkgmgrtest.NoWayBack:
			delete(host.artefacts, writtest.Back(w.Changes[0]).Artefact)
		case pkgmgrtest.SolverDiffers:
			m.Arrange(SolverDiffers, 0)
		case pkgmgrtest.ScriptFails:
			m.Arrange(ScriptFails, 1)
		case pkgmgrtest.FailedYetApplied:
			m.Arrange(FailedYetApplied, 0)
		case pkgmgrtest.Killed:
			m.Arrange(KilledUnpacked, 0)
		}
		return w
	})
}

// Each fault that only the fake can arrange leaves exactly what it says.
func TestFaultsLeaveWhatTheySay(t *testing.T) {
	for _, c := range []struct {
		fault   Fault
		at      int
		outcome writ.Outcome
		code    string
		host    string
	}{
		{FullMidway, 1, writ.Partial, "PW-APT-FULL", "base-files:amd64 12 installed\nlibssl3:amd64 2 installed\nopenssl:amd64 1 installed"},
		{ExtraChange, 0, writ.Partial, "PW-APT-EXTRA", "base-files:amd64 12 installed\nlibssl3:amd64 2 installed\nopenssl:amd64 2 installed\nstowaway:all 1 installed"},
		{ScriptFails, 0, writ.Partial, "PW-APT-SCRIPT", "base-files:amd64 12 installed\nlibssl3:amd64 2 half-configured\nopenssl:amd64 2 installed"},
		{"", 0, writ.Done, "", "base-files:amd64 12 installed\nlibssl3:amd64 2 installed\nopenssl:amd64 2 installed"},
	} {
		j := &pkgmgrtest.Journal{}
		host, m, w := world(t, j)
		m.Arrange(c.fault, c.at)
		v, _ := w.Permit()
		r, err := m.Apply(t.Context(), v)
		if err != nil || r.Outcome != c.outcome || r.Code != c.code || host.String() != c.host {
			t.Errorf("%s: %s %q, %v\n%s", c.fault, r.Outcome, r.Code, err, host)
		}
		if !r.Simulated {
			t.Errorf("%s: the receipt does not say that it is simulated", c.fault)
		}
	}
}

func TestKilledBeforeAnything(t *testing.T) {
	j := &pkgmgrtest.Journal{}
	_, m, w := world(t, j)
	m.Arrange(Killed, 0)
	v, _ := w.Permit()
	if _, err := m.Apply(t.Context(), v); err == nil {
		t.Fatal("it came back")
	}
	r, err := w.Reopen().Recover(t.Context(), j.Begun[0])
	if err != nil || r.Outcome != writ.Failed || r.Code != "PW-APT-INTERRUPTED" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestLeftHalfDoneBySomebodyElse(t *testing.T) {
	j := &pkgmgrtest.Journal{}
	host, m, w := world(t, j)
	p := host.packages["base-files:amd64"]
	p.Status.State = "half-configured"
	host.packages["base-files:amd64"] = p
	v, _ := w.Permit()
	if _, err := m.Apply(t.Context(), v); err == nil || len(j.Begun) > 0 {
		t.Errorf("got %v", err)
	}
	p.Status.State, p.Hold = "installed", false
	host.packages["base-files:amd64"] = p
	if _, err := m.Apply(t.Context(), v); err != nil {
		t.Errorf("its twin without the fault: %v", err)
	}
}
