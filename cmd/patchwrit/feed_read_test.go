package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/kev"
)

// The control plane reads the advisories of its depot at each look, with the
// gaps that keep them from saying that a host is clean.
func TestUpReadsTheDepot(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	u := upFlags{data: t.TempDir(), age: time.Hour, depot: filepath.Join(t.TempDir(), "depot")}
	if sets, err := u.read(t.Context(), now); err != nil || len(sets) != 0 {
		t.Fatal("an empty depot:", sets, err)
	}
	d := depot.Open(u.depot, nil)
	keep := func(name, kind, text string) {
		t.Helper()
		dir, err := d.Staging()
		file := filepath.Join(dir, name)
		if err = errors.Join(err, os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		const years = 10 * 365 * 24 * 3600
		if k, err := d.Keep(t.Context(), depot.Rules{Name: name, Kind: kind, MaxAge: years, Shrink: 10}, depot.Arrived{File: file}, now.Unix()); err != nil || k.State != depot.Accepted {
			t.Fatal(k, err)
		}
	}
	keep("osv", "osv", toolRecord("CVE-2026-1001", "2.0-1"))
	keep("kev", kev.Kind, catalogue(3))
	sets, err := u.read(t.Context(), now)
	if err != nil || len(sets) != 1 || sets[0].Snapshot.Name != "osv" || len(sets[0].Advisories) != 1 || len(sets[0].Snapshot.Partial) != 0 {
		t.Fatalf("%+v %v", sets, err)
	}
	if err := d.Missed(depot.Rules{Name: "more", Kind: "osv", MaxAge: 3600}, now.Unix(), 0, os.ErrClosed); err != nil {
		t.Fatal(err)
	}
	sets, err = u.read(t.Context(), now)
	if err != nil || len(sets) != 2 || len(sets[0].Snapshot.Partial) != 1 || !strings.Contains(sets[0].Snapshot.Partial[0].Why.Text(), "no snapshot of it was accepted yet") {
		t.Errorf("%+v %v", sets, err)
	}
}
