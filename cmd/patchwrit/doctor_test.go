package main

import (
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// TestDoctorCountsWhoIsMissing: a host that the trust root names and this control
// plane does not serve is told, after a record was lost above all.
func TestDoctorCountsWhoIsMissing(t *testing.T) {
	here, gone, never := canon.SumFile([]byte("here")), canon.SumFile([]byte("gone")), canon.SumFile([]byte("never"))
	p := &patient{named: []trust.Host{{ID: here}, {ID: gone}, {ID: never}}}
	const now = 1_790_000_000
	view := func(id trust.HostID, state wire.HostState) control.HostView {
		var h control.HostView
		h.ID, h.State, h.Seen = id, state, now
		return h
	}
	p.hosts([]control.HostView{view(here, wire.Enrolled), view(gone, wire.Gone)}, now)
	said := ""
	for _, s := range p.found {
		if s.State == "warn" {
			said += s.What + ": " + s.Says
		}
	}
	if !strings.Contains(said, "2: ") || !strings.Contains(said, gone.Short()) || !strings.Contains(said, never.Short()) || strings.Contains(said, here.Short()) {
		t.Errorf("said %q of %+v", said, p.found)
	}
	p = &patient{named: []trust.Host{{ID: here}}}
	if p.hosts([]control.HostView{view(here, wire.Enrolled)}, now); len(p.found) != 1 {
		t.Errorf("all are here, and it says %+v", p.found)
	}
}
