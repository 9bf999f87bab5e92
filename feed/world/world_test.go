package world

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

const t0 = int64(1_790_000_000)

func of(pairs ...string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := 0; i < len(pairs); i += 2 {
			if !yield(pairs[i], pairs[i+1]) {
				return
			}
		}
	}
}

func learns(t testing.TB, dir string, now int64, name string, pairs ...string) bool {
	t.Helper()
	grew, err := Learn(dir, []Archive{{"Debian:12", name, "", of(pairs...)}}, now)
	if err != nil {
		t.Fatal(err)
	}
	return grew
}

// impossible asks the judge about a new record.
func impossible(t testing.TB, dir, fixed string, now int64) bool {
	t.Helper()
	w, _, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	a := advisory.Advisory{ID: "X", Source: "osv/DEBIAN", Basis: advisory.BasisRecord, Raw: canon.SumFile([]byte(fixed)),
		Affected: []advisory.Affected{{Ecosystem: "Debian:12", Package: "a", Ranges: []advisory.Range{{Introduced: "0", Fixed: fixed}}}}}
	v := quarantine.Judge(quarantine.Case{New: advisory.Set{Snapshot: advisory.Snapshot{Count: 1}, Advisories: []advisory.Advisory{a}}, World: w, Now: now})
	return len(v.Held) == 1
}

// TestWhatOnceWasStaysKnown: an index forgets what it carried, the world does not.
func TestWhatOnceWasStaysKnown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "world")
	if !learns(t, dir, t0, "main", "a", "2-1", "b", "1-1", "a", "2-1", "bad", "no version!") || learns(t, dir, t0+60, "main", "a", "2-1") {
		t.Error("what is new")
	}
	learns(t, dir, t0+3600, "main", "a", "2-3")
	learns(t, dir, t0+7200, "main", "a", "2-5")
	for v, want := range map[string]bool{"1-1": false, "2-1": false, "2-2": true, "2-3": false, "2-4": true, "2-5": false, "2-6": true} {
		if got := impossible(t, dir, v, t0+7200); got != want {
			t.Errorf("%s is impossible: %t", v, got)
		}
	}
	if impossible(t, dir, "2-6", t0+7200+week+1) {
		t.Error("nobody has looked for a week, and yet the newest is known")
	}
	// another archive, seen for the first time: what lies below its versions may have been there
	learns(t, dir, t0+7300, "security", "a", "2-8")
	for v, want := range map[string]bool{"2-4": false, "2-7": false, "2-9": true} {
		if got := impossible(t, dir, v, t0+7300); got != want {
			t.Errorf("with another archive: %s is impossible: %t", v, got)
		}
	}
	// nobody looked for a week: what came and went then is not known
	learns(t, dir, t0+7300+week+1, "main", "a", "2-20")
	if impossible(t, dir, "2-15", t0+7300+week+1) || !impossible(t, dir, "2-21", t0+7300+week+1) {
		t.Error("after a week without a look")
	}
}

func TestADamagedWorldIsRefused(t *testing.T) {
	dir := t.TempDir()
	learns(t, dir, t0, "main", "a", "2-1", "b", "1-1")
	path := filepath.Join(dir, "Debian:12")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a byte":      strings.Replace(string(good), "2-1", "9-1", 1),
		"cut":         string(good[:len(good)-80]),
		"half a line": string(good[:20]),
		"empty":       "",
		"more":        string(good) + "c\t-\t1\n",
		"no digest":   strings.Replace(string(good), "sha256\t", "sha255\t", 1),
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Read(dir); refusal.CodeOf(err) != CodeWorld {
			t.Errorf("%s: read: %v", name, err)
		}
		if _, err := Learn(dir, []Archive{{"Debian:12", "main", "", of("a", "3-1")}}, t0); refusal.CodeOf(err) != CodeWorld {
			t.Errorf("%s: learned over: %v", name, err)
		}
	}
	if _, err := Learn(dir, []Archive{{"Windows", "main", "", of("a", "3-1")}}, t0); err == nil {
		t.Error("versions without an order are kept")
	}
}

func TestWritersLoseNothing(t *testing.T) {
	dir, done := t.TempDir(), make(chan error)
	for i := range 8 {
		go func() {
			_, err := Learn(dir, []Archive{{"Debian:12", "main", "", of("a", fmt.Sprintf("1-%d", i))}}, t0)
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if f, err := open(filepath.Join(dir, "Debian:12")); err != nil || len(f.packages["a"].versions) != 8 {
		t.Error(f.packages["a"], err)
	}
}

func FuzzParse(f *testing.F) {
	k := &known{before: "1-1", versions: map[string]bool{"1-1": true, "1-2": true}}
	f.Add(string(file{"Debian:12", t0, map[string]canon.Digest{"main": canon.SumFile(nil)}, map[string]*known{"a": k}}.bytes()))
	f.Add("")
	f.Add("patchwrit/world/v1\tDebian:12\tx\nsha256\t00\n")
	f.Fuzz(func(t *testing.T, text string) {
		one, err := parse(strings.NewReader(text))
		if err != nil {
			return
		}
		again, err := parse(strings.NewReader(string(one.bytes())))
		if err != nil || string(again.bytes()) != string(one.bytes()) {
			t.Error("it is not what was written", err)
		}
	})
}

// TestAReleaseIsReadOnce within the hour, and a newer one at once.
func TestAReleaseIsReadOnce(t *testing.T) {
	dir, read := t.TempDir(), 0
	look := func(now int64, release string) {
		t.Helper()
		versions := func(yield func(string, string) bool) {
			read++
			yield("a", "1-1")
		}
		if _, err := Learn(dir, []Archive{{"Debian:12", "main", canon.SumFile([]byte(release)), versions}}, now); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range []struct {
		at      int64
		release string
		read    int
	}{{t0, "1", 1}, {t0 + 60, "1", 1}, {t0 + 120, "2", 2}, {t0 + 3600, "2", 2}, {t0 + 3720, "2", 3}, {t0 + 3780, "2", 3}} {
		if look(c.at, c.release); read != c.read {
			t.Errorf("look %d: read %d times, not %d", i, read, c.read)
		}
	}
}
