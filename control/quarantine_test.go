package control_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/world"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
)

// osvLine is an OSV record of Debian 12.
func osvLine(cve, pkg, fixed string, modified time.Time, withdrawn bool) string {
	at, out := modified.UTC().Format(time.RFC3339), ""
	if withdrawn {
		out = fmt.Sprintf(`,"withdrawn":%q`, at)
	}
	return fmt.Sprintf(`{"id":"DEBIAN-%s","upstream":[%[1]q],"modified":%q%s,"affected":[{"package":{"ecosystem":"Debian:12","name":%q},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":%q}]}]}]}`, cve, at, out, pkg, fixed)
}

// depots is a town whose work comes from a depot of feeds.
type depots struct {
	*town
	depot *depot.Depot
	rules depot.Rules

	broken atomic.Bool // the quarantine cannot be read
}

func newDepots(t *testing.T) *depots {
	w := &depots{town: newTown(t, controltest.Options{Hosts: 1}), depot: depot.Open(filepath.Join(t.TempDir(), "depot"), nil),
		rules: depot.Rules{Name: "osv", Kind: "osv", MaxAge: 100 * day, Shrink: 10}}
	w.known, w.terms.Plan = mild, 10*time.Millisecond
	w.feeds = func(ctx context.Context, now time.Time) ([]advisory.Set, error) {
		_, c, err := w.depot.Read(ctx, "osv", now.Unix(), 0)
		if err != nil {
			return nil, err
		}
		return []advisory.Set{*c.Set}, nil
	}
	w.quarantine = func(context.Context) (control.Quarantine, error) {
		if w.broken.Load() {
			return control.Quarantine{}, os.ErrPermission
		}
		f, _, err := w.depot.Feed("osv")
		if err != nil {
			return control.Quarantine{}, err
		}
		words, err := w.depot.Words("osv")
		k, _ := f.InUse()
		list := func() (out []control.HeldRecord, err error) {
			held, source, err := w.depot.Aside("osv")
			for _, h := range held {
				out = append(out, control.HeldRecord{Feed: "osv", Source: source, Held: h})
			}
			return out, err
		}
		return control.Quarantine{Held: map[string]int{"osv": k.Held}, Words: words, List: list}, err
	}
	w.solve = w.solveFound
	return w
}

// solveFound lets the house's solver fix what the feeds make work of, and nothing
// else.
func (w *depots) solveFound(ctx context.Context, o solve.Options) (solve.Solved, error) {
	s, err := w.Solve(ctx, o)
	if err != nil {
		return s, err
	}
	s.Findings = match.Find(s.Inventory, match.NewIndex(o.Feeds...))
	s.Index = match.NewIndex(o.Feeds...)
	wanted := func(name string) bool {
		return slices.ContainsFunc(s.Findings, func(f match.Finding) bool { return f.Work() && f.Package == name })
	}
	for i := len(s.Changes) - 1; i >= 0; i-- {
		if !wanted(s.Changes[i].Package) {
			s.Changes, s.Back, s.Facts = slices.Delete(s.Changes, i, i+1), slices.Delete(s.Back, i, i+1), slices.Delete(s.Facts, i, i+1)
		}
	}
	return s, nil
}

// publish lets a snapshot arrive.
func (w *depots) publish(now time.Time, lines ...string) depot.Kept {
	w.t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := range 20 {
		lines = append(lines, osvLine(fmt.Sprintf("CVE-2025-%04d", 1000+i), "filler", "1-1", w.now().Add(-100*time.Hour).Truncate(100*time.Hour), false))
	}
	for i, l := range lines {
		f, err := z.Create(fmt.Sprintf("%d.json", i))
		if err == nil {
			_, err = f.Write([]byte(l))
		}
		w.must(err)
	}
	w.must(z.Close())
	dir, err := w.depot.Staging()
	w.must(err)
	file := filepath.Join(dir, "x")
	w.must(os.WriteFile(file, b.Bytes(), 0o600))
	k, err := w.depot.Keep(w.t.Context(), w.rules, depot.Arrived{File: file}, now.Unix())
	w.must(err)
	return k
}

// words counts the words in the ledger, and gives the position of the last.
func (w *depots) words() (n int, position int64) {
	w.t.Helper()
	for after := int64(0); ; {
		list := get[[]control.Logged](w.town, fmt.Sprintf("ledger?after=%d", after))
		if len(list) == 0 {
			return n, position
		}
		for _, e := range list {
			if after = e.Position; e.Kind == "word" && e.Subject != "" {
				n, position = n+1, e.Position
			}
		}
	}
}

func (w *depots) plansFor(pkg string) (n int) {
	for _, p := range get[[]control.Plan](w.town, "plans") {
		if slices.Contains(p.Packages, pkg) {
			n++
		}
	}
	return n
}

// TestPoisonChangesNoWorkOfTheControlPlane runs depot, look and clocks: a
// withdrawal and a false record change nothing, also after a restart; a person's
// word stands in the log before it works.
func TestPoisonChangesNoWorkOfTheControlPlane(t *testing.T) {
	w := newDepots(t)
	w.Allow(evidencetest.Package, "other")
	start := w.now().Add(-time.Hour)
	good := []string{osvLine("CVE-2026-0001", evidencetest.Package, evidencetest.New, start, false), osvLine("CVE-2026-0002", "other", "0.1-1", start, false)}
	if k := w.publish(start, good...); k.State != depot.Accepted || k.Held != 0 {
		t.Fatalf("%+v", k)
	}
	w.broken.Store(true) // words that cannot be logged free nothing here
	w.start()
	w.enrol(0, 0, evidencetest.Package, "other")
	w.until("the trouble", func() bool {
		return strings.Contains(fmt.Sprint(get[any](w.town, "trouble")), "the quarantine: permission denied")
	})
	if w.Solved() != 0 || w.plansFor(evidencetest.Package) != 0 {
		t.Error("it was planned without the quarantine")
	}
	w.broken.Store(false)
	w.look()
	first := w.clock(w.hosts[0])
	w.until("the work", func() bool { return w.plansFor(evidencetest.Package) == 1 })

	bad := []string{osvLine("CVE-2026-0001", evidencetest.Package, evidencetest.New, start.Add(time.Minute), true), good[1],
		osvLine("CVE-2026-0003", "other", evidencetest.New, start, false)} // no repository carries that
	_, err := world.Learn(w.depot.World(), []world.Archive{{Ecosystem: "Debian:12", Name: "main", Versions: func(yield func(string, string) bool) {
		_ = yield("other", "0.1-1") && yield("other", evidencetest.Old)
	}}}, start.Unix())
	w.must(err)
	if k := w.publish(start.Add(2*time.Minute), bad...); k.State != depot.Accepted || k.Held != 2 {
		t.Fatalf("%+v", k)
	}
	calm := func(when string) {
		t.Helper()
		before := w.Solved()
		w.look()
		w.until("a look "+when, func() bool { return w.Solved() > before+1 })
		if x := w.clock(w.hosts[0]); x.Gone != 0 || x.Closed != 0 || x.Due != first.Due || x.Class.Key != first.Class.Key {
			t.Errorf("%s: the clock is %+v, was %+v", when, x, first)
		}
		if a, b := w.plansFor(evidencetest.Package), w.plansFor("other"); a != 1 || b != 0 {
			t.Errorf("%s: %d and %d plans", when, a, b)
		}
	}
	calm("with the poison")
	w.until("what is held is told", func() bool {
		return strings.Contains(fmt.Sprint(get[any](w.town, "trouble")), "2 records do not count as they came")
	})
	w.restart()
	calm("after a restart")
	if n, _ := w.words(); n != 0 {
		t.Fatal("words that nobody gave:", n)
	}

	_, err = w.depot.Release(t.Context(), "osv", func(h depot.Held) bool { return h.ID == "DEBIAN-CVE-2026-0003" }, "ada", "read the tracker", w.now().Unix())
	w.must(err)
	w.look()
	w.until("the released work", func() bool { return w.plansFor("other") == 1 })
	n, at := w.words()
	if n != 1 {
		t.Errorf("%d words in the ledger", n)
	}
	plans := get[[]control.Logged](w.town, fmt.Sprintf("ledger?after=%d", at))
	if !slices.ContainsFunc(plans, func(e control.Logged) bool { return e.Kind == "plan" }) {
		t.Error("no plan stands after the word")
	}
	w.restart()
	w.look()
	if n, _ := w.words(); n != 1 {
		t.Errorf("after a restart %d words in the ledger", n)
	}
}

// TestEachKindOfPoisonChangesNoWorkOfTheControlPlane lets one bad snapshot after
// the other arrive: clocks, days and plans stay as they were, and an operator sees
// what is held. At last a person's word frees a record, in the log before it works.
func TestEachKindOfPoisonChangesNoWorkOfTheControlPlane(t *testing.T) {
	if testing.Short() {
		t.Skip("eleven snapshots, each with looks for work; make test-real has them")
	}
	w := newDepots(t)
	w.Allow(evidencetest.Package, "other")
	start := w.now().Add(-time.Hour)
	line := func(cve, pkg, fixed string, at time.Time, withdrawn bool, severity string) string {
		return strings.Replace(osvLine(cve, pkg, fixed, at, withdrawn), `"modified"`, `"severity":[{"type":"Ubuntu","score":"`+severity+`"}],"modified"`, 1)
	}
	const pkg, id = evidencetest.Package, "DEBIAN-CVE-2026-0001"
	one := func(fixed string, after time.Duration, withdrawn bool, severity string) string {
		return line("CVE-2026-0001", pkg, fixed, start.Add(after), withdrawn, severity)
	}
	rest := line("CVE-2026-0002", "other", "0.1-1", start, false, "low")
	if k := w.publish(start, one(evidencetest.New, 0, false, "low"), rest); k.State != depot.Accepted || k.Held != 0 {
		t.Fatalf("%+v", k)
	}
	_, err := world.Learn(w.depot.World(), []world.Archive{{Ecosystem: "Debian:12", Name: "main", Versions: func(yield func(string, string) bool) {
		_ = yield("other", "0.1-1") && yield("other", evidencetest.Old) && yield(pkg, evidencetest.Old) && yield(pkg, evidencetest.New) && yield(pkg, "1.0-1")
	}}}, start.Unix())
	w.must(err)
	w.start()
	w.enrol(0, 0, pkg, "other")
	first := w.clock(w.hosts[0])
	w.until("the work", func() bool { return w.plansFor(pkg) == 1 })

	flood := []string{one(evidencetest.New, 0, false, "low"), rest}
	for i := range 520 {
		flood = append(flood, line(fmt.Sprintf("CVE-2024-%04d", 1000+i), pkg, evidencetest.New, start, false, "low"))
	}
	now := start
	for _, c := range []struct {
		kind, id, code string
		lines          []string
	}{
		{"withdrawn", id, "WITHDRAWN", []string{one(evidencetest.New, time.Minute, true, "low"), rest}},
		{"gone", id, "GONE", []string{rest}},
		{"lowered", id, "LOWERED", []string{one("1.0-1", time.Minute, false, "low"), rest}},
		{"severity", id, "SEVERITY", []string{one(evidencetest.New, time.Minute, false, "critical"), rest}},
		{"an impossible version", id, "VERSION", []string{one("9:9-1", time.Minute, false, "low"), rest}},
		{"a new record with one", "DEBIAN-CVE-2026-0003", "VERSION", []string{one(evidencetest.New, 0, false, "low"), rest, line("CVE-2026-0003", "other", evidencetest.New, start, false, "low")}},
		{"a look-alike", "DEBIAN-CVE-2026-0004", "LOOKALIKE", []string{one(evidencetest.New, 0, false, "low"), rest, line("CVE-2026-0004", "othher", "1-1", start, false, "low")}},
		{"time back", id, "TIME", []string{one(evidencetest.New, -9*time.Hour, false, "low"), rest}},
		{"the future", id, "TIME", []string{one(evidencetest.New, 900*time.Hour, false, "low"), rest}},
		{"a flood", "DEBIAN-CVE-2024-1000", "FLOOD", flood},
	} {
		now = now.Add(time.Minute)
		if k := w.publish(now, c.lines...); k.State != depot.Accepted || k.Held == 0 {
			t.Fatalf("%s: %+v", c.kind, k)
		}
		before := w.Solved()
		w.look()
		w.until("a look with "+c.kind, func() bool { return w.Solved() > before+1 })
		if x := w.clock(w.hosts[0]); x.Gone != 0 || x.Closed != 0 || x.Due != first.Due || x.Class.Key != first.Class.Key {
			t.Errorf("%s: the clock is %+v, was %+v", c.kind, x, first)
		}
		if a, b := w.plansFor(pkg), w.plansFor("other"); a != 1 || b != 0 {
			t.Errorf("%s: %d and %d plans", c.kind, a, b)
		}
		list := get[[]control.HeldRecord](w.town, "quarantine")
		i := slices.IndexFunc(list, func(h control.HeldRecord) bool { return h.ID == c.id })
		if i < 0 || list[i].Feed != "osv" || list[i].Since != now.Unix() || !strings.HasSuffix(string(list[i].Reasons[0].Code), c.code) {
			t.Errorf("%s: an operator sees %.600s", c.kind, fmt.Sprintf("%+v", list))
		}
	}
	if n, _ := w.words(); n != 0 {
		t.Error("words that nobody gave:", n)
	}
	w.must(func() error { // one that would make work
		now = now.Add(time.Minute)
		w.publish(now, one(evidencetest.New, 0, false, "low"), rest, line("CVE-2026-0003", "other", evidencetest.New, start, false, "low"))
		_, err := w.depot.Release(t.Context(), "osv", func(h depot.Held) bool { return h.ID == "DEBIAN-CVE-2026-0003" }, "ada", "read the tracker", w.now().Unix())
		return err
	}())
	w.look()
	w.until("the word in the log", func() bool { n, _ := w.words(); return n == 1 })
	if list := get[[]control.HeldRecord](w.town, "quarantine"); len(list) != 0 {
		t.Errorf("released, and still held: %+v", list)
	}
	w.until("the released work", func() bool { return w.plansFor("other") == 1 })
}
