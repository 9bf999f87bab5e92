package evidence_test

import (
	"sync"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
)

// worlds are made once: each costs a repository and a house.
var (
	people = sync.OnceValue(func() *evidencetest.World { return evidencetest.Must(evidencetest.Options{}) })
	single = sync.OnceValue(func() *evidencetest.World { return evidencetest.Must(evidencetest.Options{Hosts: 1}) })
	grant  = sync.OnceValue(func() *evidencetest.World { return evidencetest.Must(evidencetest.Options{Grant: true}) })
	failed = sync.OnceValue(func() *evidencetest.World { return evidencetest.Must(evidencetest.Options{Hosts: 1, Fail: true}) })
	silent = sync.OnceValue(func() *evidencetest.World { return evidencetest.Must(evidencetest.Options{Hosts: 1, Pending: true}) })
)

// first gives the name and code of the first check that says no.
func first(r evidence.Report) (name, code, says string) {
	for _, c := range r.Checks {
		if !c.OK {
			return c.Name, c.Code, c.Says
		}
	}
	return "", "", ""
}

func run(w *evidencetest.World) evidence.Report {
	return evidence.Run(w.Raw(), w.House.Root, w.Decide, false)
}

func TestWholeBundlesAreProved(t *testing.T) {
	for name, w := range map[string]*evidencetest.World{"people": people(), "one host": single(), "grant": grant(), "failed": failed(), "pending": silent()} {
		began := time.Now()
		r := run(w)
		for _, c := range r.Checks {
			t.Logf("%-8s %-18s %v %s", name, c.Name, c.OK, c.Says)
		}
		if !r.OK || len(r.Checks) != 13 || r.Plan != string(w.Bundle.Header.Digest()) || len(r.NotProved) < 5 {
			t.Errorf("%s: %+v", name, r)
		}
		t.Logf("%s: %d bytes, %v", name, len(w.Raw()), time.Since(began))
	}
}
