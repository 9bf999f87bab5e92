package apt

import (
	"testing"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/writ"
)

// Power goes while a package is unpacked: dpkg does not know which files are
// there. Recovery says so, and the plan's own rollback puts the old package back.
func TestKilledWhileUnpacking(t *testing.T) {
	stop := "#!/bin/sh\n[ -e /tmp/unpacking ] && exit 0\ntouch /tmp/unpacking\nsleep 600\n"
	for _, c := range []struct {
		script string
		status string
	}{{"preinst", "half-installed"}, {"postrm of the old one", "half-installed"}} {
		t.Run(c.script, func(t *testing.T) {
			from, to := old10, new20
			if c.script == "preinst" {
				to.Scripts = map[string]string{"preinst": stop}
			} else {
				from.Scripts = map[string]string{"postrm": stop}
			}
			other, more := second("1.0-1"), second("1.0-2")
			w := newWorld(t, from, other)
			w.class = change.Sensitive
			w.offer(to, more)
			forth, back := w.changes(pair{from, to}, pair{other, more})
			v, undo := w.permit(forth, back)
			killWhen(t, w.host, "tmp/unpacking")
			if _, err := w.manager().Apply(t.Context(), v); refusal.CodeOf(err) != pkgmgr.CodeInterrupted {
				t.Fatalf("killed: %v\n%s", err, w.log)
			}
			m := w.manager()
			r, err := m.Recover(t.Context(), w.journal.Begun[0])
			if err != nil || r.Outcome != writ.Partial || r.Code != string(pkgmgr.CodeInterrupted) {
				t.Fatalf("recovered: %+v, %v\n%s", r, err, w.log)
			}
			t.Logf("%+v", r.States)
			r, err = m.Apply(t.Context(), undo())
			if err != nil || r.Outcome != writ.RolledBack || r.Effective.Installed != writ.Yes || w.version("hello-pw") != "1.0-1 installed" {
				t.Errorf("back: %+v, %v; dpkg says %q\n%s", r, err, w.version("hello-pw"), w.log)
			}
		})
	}
}
