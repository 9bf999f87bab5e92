package control_test

import (
	"slices"
	"testing"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
)

const hello = evidencetest.Package

// TestTheWholeLoopWithPeople goes from enrolment to a finished plan, and has an
// auditor check what is left of it.
func TestTheWholeLoopWithPeople(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 5, Roles: 2})
	w.start()
	w.enrol(0, 4, hello)
	p := w.only(control.Review)
	if len(p.Hosts) != 5 || !slices.Equal(p.Packages, []string{hello}) {
		t.Fatalf("%d hosts, packages %v", len(p.Hosts), p.Packages)
	}
	if n := w.round(); n != 0 {
		t.Fatalf("%d hosts acted before anybody said yes", n)
	}
	w.say(p, approval.Approve, 0)
	if n := w.round(); n != 0 || w.plan(p.Digest).State != control.Review {
		t.Fatal("one person was enough")
	}
	w.say(p, approval.Approve, 1)
	w.until("the first wave", func() bool { return w.round() > 0 })
	canaries := 0
	for i, h := range w.hosts {
		if len(h.Applied) > 0 {
			canaries++
			if i > 1 && p.Waves[slices.Index(p.Hosts, h.Known.ID)] != 0 {
				t.Errorf("host %d acted with the canaries", i)
			}
		}
	}
	if canaries > 2 {
		t.Errorf("%d hosts acted first; there are 2 roles", canaries)
	}
	w.work(p.Digest, control.Finished)
	for i, h := range w.hosts {
		if len(h.Applied) != 1 || len(h.Refused) != 0 || h.Installed[hello] != evidencetest.New {
			t.Errorf("host %d: applied %d, refused %v, has %s", i, len(h.Applied), h.Refused, h.Installed[hello])
		}
	}
	w.audit(p.Digest)
	w.round()
	before := w.Solved()
	w.look()
	w.until("another look", func() bool { return w.Solved() > before })
	if n := len(w.plans()); n != 1 {
		t.Errorf("%d plans", n)
	}
}

// TestUnderAGrant needs nobody, and waits for the soak.
func TestUnderAGrant(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 3})
	w.start()
	grant := w.grant(2)
	w.enrol(0, 2, hello)
	p := w.only(control.Running)
	if p.Grant != grant {
		t.Fatalf("it runs under %q", p.Grant)
	}
	if len(w.writs()) > 0 && w.now().Unix() < p.Created+2 {
		t.Error("a writ before the soak was over")
	}
	w.work(p.Digest, control.Finished)
	for i, h := range w.hosts {
		if len(h.Applied) != 1 || len(h.Refused) != 0 {
			t.Errorf("host %d: applied %d, refused %v", i, len(h.Applied), h.Refused)
		}
	}
	w.audit(p.Digest)
}
