package control_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
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
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/epss"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/feed/world"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/refusal"
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
		q := control.Quarantine{Held: map[string]int{}}
		names, err := w.depot.Names()
		for _, name := range names {
			f, _, e := w.depot.Feed(name)
			words, e2 := w.depot.Words(name)
			k, _ := f.InUse()
			q.Held[name], q.Words, err = k.Held, append(q.Words, words...), errors.Join(err, e, e2)
		}
		q.List = func() (out []control.HeldRecord, err error) {
			for _, name := range names {
				held, source, e := w.depot.Aside(name)
				for _, h := range held {
					out = append(out, control.HeldRecord{Feed: name, Source: source, Held: h})
				}
				err = errors.Join(err, e)
			}
			return out, err
		}
		return q, err
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
	return w.arrive(w.rules, b.String(), now)
}

// arrive lets a file come.
func (w *depots) arrive(rules depot.Rules, text string, now time.Time) depot.Kept {
	w.t.Helper()
	dir, err := w.depot.Staging()
	w.must(err)
	file := filepath.Join(dir, "x")
	w.must(os.WriteFile(file, []byte(text), 0o600))
	k, err := w.depot.Keep(w.t.Context(), rules, depot.Arrived{File: file}, now.Unix())
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

// factRules are those of a feed of facts.
func factRules(name, kind string) depot.Rules {
	return depot.Rules{Name: name, Kind: kind, MaxAge: 1000 * day, Shrink: 60}
}

// fromDepot is what KEV, SSVC and EPSS of the depot say, as they count.
func (w *depots) fromDepot(ctx context.Context, now time.Time, wanted func(string) bool) (control.Knowledge, error) {
	content := map[string]depot.Content{}
	var books []cve.Book
	for _, name := range []string{"cvelist", "epss", "kev", "ssvc"} {
		if _, there, err := w.depot.Feed(name); err != nil || !there {
			continue
		}
		asked := wanted
		if name == "kev" || name == "epss" {
			asked = nil
		}
		_, c, err := w.depot.ReadOf(ctx, name, now.Unix(), 0, asked)
		if err != nil {
			return nil, err
		}
		if content[name] = c; c.CVE != nil {
			books = append(books, *c.CVE)
		}
	}
	yes := map[string]priority.Answer{"yes": priority.Yes, "total": priority.Yes, "no": priority.No, "partial": priority.No}
	return func(name string) (k priority.Known) {
		k.KEV = priority.No
		if _, l := content["kev"].KEV.Lookup(name); l == kev.Listed {
			k.KEV = priority.Yes
		}
		if s, ok := content["epss"].EPSS.Of(name); ok {
			k.EPSS = priority.Measure{Known: true, Value: int(s.EPSS)}
		}
		x := cve.Settle(name, books...)
		k.Automatable, k.Total = yes[x.Automatable.Value], yes[x.Impact.Value]
		return k
	}, nil
}

// catalogue is KEV with an entry for each.
func catalogue(at time.Time, due string, cves ...string) string {
	var out []string
	for _, name := range cves {
		out = append(out, fmt.Sprintf(`{"cveID":%q,"vendorProject":"v","product":"p","vulnerabilityName":"n","dateAdded":"2026-01-02","shortDescription":"s","requiredAction":"r","dueDate":%q,"knownRansomwareCampaignUse":"Known","notes":"","cwes":[]}`, name, due))
	}
	return fmt.Sprintf(`{"title":"t","catalogVersion":"2026.01.02","dateReleased":%q,"count":%d,"vulnerabilities":[%s]}`, at.UTC().Format("2006-01-02T15:04:05.0000Z"), len(out), strings.Join(out, ","))
}

// decision is a CVE record with what CISA says.
func decision(at time.Time, state, automatable, impact string) string {
	on := at.UTC().Format(time.RFC3339)
	return fmt.Sprintf(`{"dataType":"CVE_RECORD","dataVersion":"5.1","cveMetadata":{"cveId":"CVE-2026-0001","state":%q,"dateUpdated":%q},"containers":{"cna":{"providerMetadata":{"orgId":"a","dateUpdated":%[2]q}},"adp":[{"providerMetadata":{"orgId":%q,"shortName":"CISA-ADP","dateUpdated":%[2]q},"metrics":[{"other":{"type":"ssvc","content":{"id":"CVE-2026-0001","role":"CISA Coordinator","options":[{"Exploitation":"active"},{"Automatable":%[4]q},{"Technical Impact":%[5]q}],"version":"2.0.3","timestamp":%[2]q}}}]}]}}`,
		state, on, cve.CISAOrg, automatable, impact)
}

// likely is a day of EPSS in which CVE-2026-0001 and CVE-2026-0002 have a score.
func likely(at time.Time, score string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#model_version:v1,score_date:%s\ncve,epss,percentile\nCVE-2026-0001,0.91000,0.99000\nCVE-2026-0002,%s,0.99000\n", at.UTC().Format("2006-01-02T15:04:05+0000"), score)
	for i := range 400 {
		fmt.Fprintf(&b, "CVE-2024-%04d,0.0%04d,0.50000\n", 1000+i, i)
	}
	return b.String()
}

// TestPoisonedFactsChangeNoClock lets one bad snapshot of facts after the other
// arrive: an entry of KEV that goes, or is due later; SSVC made milder, also by a
// second feed; an id rejected; an EPSS score that collapses. Class, day and plans
// stay as they were, and so does the order in which work that comes later stands.
func TestPoisonedFactsChangeNoClock(t *testing.T) {
	if testing.Short() {
		t.Skip("seven snapshots, each with looks for work; make test-real has them")
	}
	w := newDepots(t)
	w.Allow(evidencetest.Package, "other")
	w.known = w.fromDepot
	start := w.now().Add(-time.Hour)
	const pkg, id = evidencetest.Package, "CVE-2026-0001"
	rest := osvLine("CVE-2026-0002", "other", "0.1-1", start, false)
	w.publish(start, osvLine(id, pkg, evidencetest.New, start, false), rest)
	fine := map[string]string{"kev": catalogue(start, "2099-01-02", id, "CVE-2024-1000"), "ssvc": decision(start, "PUBLISHED", "yes", "total"), "epss": likely(start, "0.91000")}
	for name, kind := range map[string]string{"kev": kev.Kind, "ssvc": cve.Name, "epss": epss.Kind} {
		if k := w.arrive(factRules(name, kind), fine[name], start); k.State != depot.Accepted || k.Held != 0 {
			t.Fatalf("%s: %+v", name, k)
		}
	}
	w.start()
	w.enrol(0, 0, pkg, "other")
	first := w.clock(w.hosts[0])
	w.until("the work", func() bool { return w.plansFor(pkg) == 1 })
	now := start
	for _, c := range []struct {
		kind, feed, of, id, code string
		text                     func(at time.Time) string
	}{
		{"an entry that goes", "kev", kev.Kind, id, "GONE", func(at time.Time) string { return catalogue(at, "2099-01-02", "CVE-2024-1000") }},
		{"a later day", "kev", kev.Kind, id, "LOWERED", func(at time.Time) string { return catalogue(at, "2099-06-02", id, "CVE-2024-1000") }},
		{"a milder point", "ssvc", cve.Name, id, "LOWERED", func(at time.Time) string { return decision(at, "PUBLISHED", "yes", "partial") }},
		{"two of them", "ssvc", cve.Name, id, "LOWERED", func(at time.Time) string { return decision(at, "PUBLISHED", "no", "partial") }},
		{"a rejected id", "ssvc", cve.Name, id, "WITHDRAWN", func(at time.Time) string { return decision(at, "REJECTED", "yes", "total") }},
		{"a second feed that is milder", "cvelist", cve.Name, id, "LOWERED", func(at time.Time) string { return decision(at, "PUBLISHED", "no", "partial") }},
		{"a score that collapses", "epss", epss.Kind, "CVE-2026-0002", "SCORES", func(at time.Time) string { return likely(at, "0.00100") }},
	} {
		now = now.Add(time.Minute)
		if k := w.arrive(factRules(c.feed, c.of), c.text(now), now); k.State != depot.Accepted || k.Held == 0 {
			t.Errorf("%s: %+v", c.kind, k)
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
		list := get[[]control.HeldRecord](w.town, "quarantine?feed="+c.feed)
		if !slices.ContainsFunc(list, func(h control.HeldRecord) bool {
			return h.ID == c.id && h.Since == now.Unix() && strings.HasSuffix(string(h.Reasons[0].Code), c.code)
		}) {
			t.Errorf("%s: an operator sees %.600s", c.kind, fmt.Sprintf("%+v", list))
		}
	}
	w.publish(now.Add(time.Minute), osvLine(id, pkg, evidencetest.New, start, false), rest, osvLine("CVE-2026-0002", "other", evidencetest.New, start, false))
	w.look()
	w.until("later work", func() bool { return w.plansFor("other") == 1 })
	for _, p := range w.plans() {
		if len(p.Urgency) != 1 || p.Urgency[0].EPSS != (priority.Measure{Known: true, Value: 910_000}) {
			t.Errorf("plan for %v: its urgency is %+v", p.Packages, p.Urgency)
		}
	}
	if n, _ := w.words(); n != 0 {
		t.Error("words that nobody gave:", n)
	}
	if _, err := call[[]control.HeldRecord](w.town, "GET", "quarantine?feed=kevv", nil); refusal.CodeOf(err) != depot.CodeUnknown || !strings.Contains(err.Error(), "cvelist, epss, kev, osv, ssvc") {
		t.Error("a feed that is not there:", err)
	}
}
