package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/trust"
)

// started is up with its flags read, as far as the first look.
func started(t *testing.T, args ...string) (*upFlags, error) {
	t.Helper()
	u := &upFlags{}
	cmd := u.command()
	if err := cmd.ParseFlags(append(args, "--data", t.TempDir())); err != nil {
		t.Fatal(err)
	}
	return u, u.check(cmd, trust.Root{})
}

// TestUpAge: --max-age holds for every feed that up is given, and for those of the
// depot, of which each has an age of its own, when it is given.
func TestUpAge(t *testing.T) {
	now := time.Date(2026, 8, 3, 0, 0, 0, 0, time.UTC) // two days after the newest record
	dir, given := t.TempDir(), filepath.Join(t.TempDir(), "given.json")
	d := depot.Open(dir, nil)
	keep := func(name, kind, text string, age time.Duration) {
		t.Helper()
		staged, err := d.Staging()
		file := filepath.Join(staged, name)
		if err = errors.Join(err, os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		r := depot.Rules{Name: name, Kind: kind, MaxAge: int64(age / time.Second), Shrink: 10}
		if k, err := d.Keep(t.Context(), r, depot.Arrived{File: file}, now.Unix()); err != nil || k.State != depot.Accepted {
			t.Fatal(k, err)
		}
	}
	record := toolRecord("CVE-2026-1001", "2.0-1")
	if err := os.WriteFile(given, []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	keep("day", "osv", record, 24*time.Hour)
	keep("year", "osv", record, 365*24*time.Hour)
	keep("kev", kev.Kind, strings.ReplaceAll(catalogue(1), "2026-08-07", "2026-08-01"), 24*time.Hour)
	for flag, want := range map[string]struct{ stale, kev string }{
		"":                   {"[false true false]", "stale"}, // of given, day, year; kev is 33 hours old
		"--max-age=1h":       {"[true true true]", "stale"},
		"--max-age=0s":       {"[true true true]", "stale"},
		"--max-age=72h":      {"[false false false]", "ok"},
		"--max-age=876000h":  {"[false false false]", "ok"},
		"--max-age=47h59m":   {"[true true true]", "ok"},
		"--max-age=48h0m0s":  {"[false false false]", "ok"},
		"--max-age=999999ns": {"[true true true]", "stale"},
	} {
		u, err := started(t, strings.Fields("--feed "+given+" --feeds "+dir+" "+flag)...)
		if err != nil {
			t.Fatal(err)
		}
		sets, err := u.read(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		stale := []bool{}
		for _, s := range sets {
			stale = append(stale, len(s.Snapshot.Partial) > 0)
		}
		facts, err := u.knownBy()(now)
		if err != nil || fmt.Sprint(stale) != want.stale || !strings.HasSuffix(facts, " "+want.kev+"\n") {
			t.Errorf("%s: %v, want %v; %s%v", flag, stale, want, facts, err)
		}
	}
	for _, bad := range []string{"-1h", "-1ns", "876001h"} {
		if _, err := started(t, "--max-age="+bad); !errors.As(err, new(usage)) || !strings.Contains(err.Error(), "--max-age") {
			t.Errorf("--max-age=%s: %v", bad, err)
		}
	}
}
