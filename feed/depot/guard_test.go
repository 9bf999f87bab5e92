package depot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/world"
	"github.com/patchwrit/patchwrit/refusal"
)

// verbs are what can be asked of one feed.
func verbs(t *testing.T, d *Depot, name string) map[string]error {
	ctx, out := t.Context(), map[string]error{}
	_, _, out["read"] = d.Read(ctx, name, t0, 0)
	_, _, out["holding"] = d.Holding(ctx, name, t0)
	_, out["release"] = d.Release(ctx, name, func(Held) bool { return true }, "ada", "x", t0)
	_, out["accept"] = d.Accept(ctx, name, canon.SumFile(nil), "ada: x", t0)
	out["remove"] = d.Remove(name)
	return out
}

func TestAFeedThatIsNotThereOrBrokenIsSaidSo(t *testing.T) {
	d, _ := lowered(t)
	for verb, err := range verbs(t, d, "elsewhere") {
		if err == nil || !strings.Contains(err.Error(), `the depot has no feed "elsewhere"`) {
			t.Errorf("%s of no feed: %v", verb, err)
		}
	}
	_, err := d.Keep(t.Context(), Rules{Name: "osv", Kind: "kev"}, Arrived{File: arrive(t, d, "x")}, t0)
	if err == nil || !strings.Contains(err.Error(), "feed osv holds osv, not kev") {
		t.Error("a snapshot of another kind:", err)
	}
	if err := os.WriteFile(d.feedFile("osv"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := verbs(t, d, "osv")
	broken["settle"], broken["reconsider"] = d.Settle(t.Context(), "osv", t0), d.Reconsider(t.Context(), t0)
	for verb, err := range broken {
		if refusal.CodeOf(err) != CodeDepot {
			t.Errorf("%s of a broken feed: %v", verb, err)
		}
	}
}

// TestACandidateThatAnotherProcessTookAway is told, and stands for nothing.
func TestACandidateThatAnotherProcessTookAway(t *testing.T) {
	d, _ := lowered(t)
	if _, err := d.settled(osv, Kept{Digest: canon.SumFile([]byte("other"))}, t0); err == nil || !strings.Contains(err.Error(), "another process changed") {
		t.Error(err)
	}
}

// counting counts how often it is asked.
type counting struct{ asked int }

func (c *counting) Judge(ctx context.Context, x Case) (Ruling, error) {
	c.asked++
	return Standard{}.Judge(ctx, x)
}

// TestWhatIsHeldIsJudgedAgainOnlyForNews: nothing new, no judgement; and a world
// that cannot be read leaves everything held.
func TestWhatIsHeldIsJudgedAgainOnlyForNews(t *testing.T) {
	d, _ := lowered(t)
	c := &counting{}
	d.judge = c
	for range 3 {
		if err := d.Reconsider(t.Context(), t0+2*dayLong); err != nil {
			t.Fatal(err)
		}
	}
	if c.asked > 1 { // once: the depot's other files were judged before there was a list
		t.Errorf("judged %d times", c.asked)
	}
	was := c.asked
	if err := os.MkdirAll(d.World(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.World(), "Debian:12"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.Reconsider(t.Context(), t0+2*dayLong); refusal.CodeOf(err) != world.CodeWorld || c.asked != was {
		t.Error(err, c.asked)
	}
	if got := heldCodes(t, d, "osv", t0); len(got) != 1 {
		t.Error(got)
	}
}

// TestWhatAPersonAcceptedIsNotHeldLater: the word about a whole snapshot counts
// for every record in it, whatever comes after.
func TestWhatAPersonAcceptedIsNotHeldLater(t *testing.T) {
	d := depotIn(t)
	keep(t, d, osv, zipOf(t, base()...), t0)
	odd := line{id: "DEBIAN-CVE-2026-9", cve: "CVE-2026-9", pkg: "opensssl", fixed: "1-1", modified: t0}
	k := keep(t, d, osv, zipOf(t, append(base()[:10], odd)...), t0+3600)
	if k.State != Refused {
		t.Fatalf("%+v", k)
	}
	if _, err := d.Accept(t.Context(), "osv", k.Digest, "ada: the tracker was split", t0+3600); err != nil {
		t.Fatal(err)
	}
	if _, err := world.Learn(d.World(), []world.Archive{{Ecosystem: "Debian:12", Name: "main", Versions: func(yield func(string, string) bool) { yield("openssl", "1.5-1") }}}, t0); err != nil {
		t.Fatal(err)
	}
	if err := d.Reconsider(t.Context(), t0+7200); err != nil {
		t.Fatal(err)
	}
	if got := heldCodes(t, d, "osv", t0+7200); len(got) != 0 || says(t, d, "osv", t0+7200)[odd.id] == "" {
		t.Error(got)
	}
}

// TestOneWordFreesNoMoreThanItsLimit: a list of any length can be held, and a
// word about all of it is refused before it is kept.
func TestOneWordFreesNoMoreThanItsLimit(t *testing.T) {
	d, _ := lowered(t)
	list := make([]Held, maxRelease+1)
	for i := range list {
		list[i].Held = quarantine.Held{ID: fmt.Sprintf("DEBIAN-CVE-2026-%06d", i), Reasons: []quarantine.Reason{}, Subjects: []advisory.Subject{}}
	}
	err := d.change(osv, func(f *Feed) error { return d.hold("osv", &f.Kept[0], list) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Release(t.Context(), "osv", func(Held) bool { return true }, "ada", "x", t0); err == nil || !strings.Contains(err.Error(), "at most 20000 records") {
		t.Error(err)
	}
	if w, err := d.Words("osv"); err != nil || len(w) != 0 {
		t.Error(len(w), err)
	}
}

func TestAFileThatIsGoneSaysSo(t *testing.T) {
	if _, err := contentOf(t.Context(), filepath.Join(t.TempDir(), "x"), "kev", opening{}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}

// TestTwoSourcesThatChangeAlikeConfirmEachOther, although the second is held at
// first like the first one.
func TestTwoSourcesThatChangeAlikeConfirmEachOther(t *testing.T) {
	d := depotIn(t)
	second := Rules{Name: "dsa", Kind: "osv", MaxAge: week, Shrink: 10}
	other := line{id: "DSA-1-1", cve: "CVE-2026-1000", pkg: "openssl", fixed: "1.5-1", modified: t0}
	keep(t, d, second, zipOf(t, other), t0)
	keep(t, d, osv, zipOf(t, base()...), t0)
	list := base()
	list[0].fixed, list[0].modified = "1.2-1", t0
	if k := keep(t, d, osv, zipOf(t, list...), t0+dayLong); k.Held != 1 {
		t.Fatal(k)
	}
	other.fixed, other.modified = "1.2-1", t0+1
	keep(t, d, second, zipOf(t, other), t0+dayLong)
	if a, b := heldCodes(t, d, "osv", t0+dayLong), heldCodes(t, d, "dsa", t0+dayLong); len(a) != 0 || len(b) != 0 {
		t.Error(a, b)
	}
}

// TestNobodyConfirmsThatARecordIsGone: another feed that still has it least of all.
func TestNobodyConfirmsThatARecordIsGone(t *testing.T) {
	old := mild(0, 20)
	if r := judged(t, Case{}, old, old[1:], old[0]); len(r.Held) != 1 || r.Held[0].Reasons[0].Code != quarantine.CodeGone || len(r.Freed) != 0 {
		t.Errorf("%+v", r)
	}
}

// TestPoisonIsNoVoice: of what is held only a changed word may speak for others.
func TestPoisonIsNoVoice(t *testing.T) {
	for codes, want := range map[string]int{"LOWERED": 2, "WITHDRAWN": 2, "SEVERITY": 2, "FLOOD": 1, "TIME": 1, "VERSION": 1, "LOOKALIKE": 1, "LOWERED FLOOD": 1} {
		h := Held{Came: &advisory.Advisory{ID: "b"}}
		for _, code := range strings.Fields(codes) {
			h.Reasons = append(h.Reasons, quarantine.Reason{Code: refusal.Code("PW-POISON-" + code)})
		}
		c := Content{Set: &advisory.Set{Advisories: []advisory.Advisory{{ID: "a"}}}, Held: []Held{h}}
		if got := c.voiced(); len(got.Advisories) != want {
			t.Errorf("held as %s: %d voices, want %d", codes, len(got.Advisories), want)
		}
	}
}

// TestPoisonFreesNoFact: nor does a CVE record that is held as poison.
func TestPoisonFreesNoFact(t *testing.T) {
	for code, want := range map[refusal.Code]int{quarantine.CodeLowered: 1, quarantine.CodeFlood: 0, quarantine.CodeTime: 0} {
		other := Held{CameRecord: &cve.Record{CVE: "CVE-2026-1"}}
		other.ID, other.Reasons = "CVE-2026-1", []quarantine.Reason{{Code: code}}
		c := Case{Others: func(context.Context, func(string) bool) ([]Content, error) {
			return []Content{{CVE: &cve.Book{}, Held: []Held{other}}}, nil
		}}
		asks := Held{}
		asks.ID = "CVE-2026-1"
		r, err := c.freed(t.Context(), Ruling{}, []Held{asks}, func(Held, cve.Record) bool { return true })
		if err != nil || len(r.Freed) != want {
			t.Errorf("a record held as %s frees %d, want %d (%v)", code, len(r.Freed), want, err)
		}
	}
}
