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
	"github.com/patchwrit/patchwrit/feed/epss"
	"github.com/patchwrit/patchwrit/feed/kev"
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
		list[i].Held = quarantine.Held{ID: fmt.Sprintf("DEBIAN-CVE-2026-%06d", i), Reasons: []quarantine.Reason{{Code: quarantine.CodeGone}}, Subjects: []advisory.Subject{}}
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

// TestADamagedListIsRefused, whose bytes are those that its snapshot names: of
// another program, or of another kind. Nothing of it is taken for what counts.
func TestADamagedListIsRefused(t *testing.T) {
	const head = `{"count":1,"feed":"x","snapshot":"%s","type":"patchwrit/held/v1"}` + "\n"
	line := func(was, more string) string {
		entry, score := "", ""
		if entry = more; strings.HasPrefix(more, `,"score`) {
			entry, score = "", more
		}
		return fmt.Sprintf(`{%s"id":"CVE-2026-1000","raw":"aa","reasons":[{"code":"PW-POISON-GONE","text":"x"}]%s,"since":1,"subjects":[],"was":%q}`+"\n", entry, score, was)
	}
	entry := entries(listing(1), t0)
	score := `,"score":{"epss":7,"percentile":7,"ranked":true}`
	for name, c := range map[string]struct{ kind, bytes, list, says string }{
		"whole":                  {"epss", scores("v1", "2026-09-01", func(int) float64 { return .5 }), line("bb", score), ""},
		"without its score":      {"epss", scores("v1", "2026-09-01", func(int) float64 { return .5 }), line("bb", ""), "something else"},
		"a score of nothing":     {"epss", scores("v1", "2026-09-01", func(int) float64 { return .5 }), line("", ""), "has no score"},
		"a score in a catalogue": {"kev", entry, line("", score), "something else"},
		"without its entry":      {"kev", entry, line("bb", ""), "something else"},
		"a new entry":            {"kev", entry, line("", ""), ""},
		"another entry":          {"kev", entry, line("bb", `"entry":`+string(canon.MustEncode(kev.Entry{CVE: "CVE-2026-1"}))+","), "another id"},
		"without a reason":       {"kev", entry, strings.Replace(line("", ""), `{"code":"PW-POISON-GONE","text":"x"}`, "", 1), "no id, or no reason"},
		"without an id":          {"kev", entry, strings.Replace(line("", ""), "CVE-2026-1000", "", 1), "no id, or no reason"},
		"an entry of records":    {"cve", bookOf(t, severe(2)...), line("bb", ""), "something else"},
		"of NVD":                 {"nvd", `{"format":"NVD_CVE","version":"2.0","resultsPerPage":0,"startIndex":0,"totalResults":0,"timestamp":"2026-06-18T00:00:00.000","vulnerabilities":[]}`, line("bb", ""), "something else"},
	} {
		d := depotIn(t)
		r := Rules{Name: "x", Kind: c.kind, MaxAge: 100 * week, Shrink: 100}
		k := keep(t, d, r, c.bytes, t0)
		list := []byte(fmt.Sprintf(head, k.Digest) + c.list)
		if err := os.WriteFile(d.object(canon.SumFile(list)), list, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.change(r, func(f *Feed) error {
			f.Kept[0].State, f.Kept[0].Held, f.Kept[0].Holds = Accepted, 1, canon.SumFile(list)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		_, _, err := d.Read(t.Context(), "x", t0, 0)
		if c.says == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if refusal.CodeOf(err) != CodeDepot || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), d.object(canon.SumFile(list))) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzHeld: what is read of a list can be laid over any content of its kind.
func FuzzHeld(f *testing.F) {
	all := []string{"epss", "kev", "cve", "nvd", "osv"}
	d := depotIn(f)
	for i, raw := range []string{scores("v1", "2026-09-01", func(int) float64 { return .5 }), entries(listing(2), t0), bookOf(f, severe(2)...), "", zipOf(f, base()[:2]...)} {
		if raw == "" {
			continue
		}
		rules := Rules{Name: all[i], Kind: all[i], MaxAge: 100 * week, Shrink: 100}
		k := keep(f, d, rules, raw, t0)
		_, c, err := d.Read(f.Context(), all[i], t0, 0)
		if err != nil {
			f.Fatal(err)
		}
		list := []Held{}
		switch {
		case c.Set != nil:
			list = append(list, Held{Held: quarantine.Held{Last: &c.Set.Advisories[0], ID: c.Set.Advisories[0].ID, Subjects: []advisory.Subject{}}})
		case c.KEV != nil:
			list = append(list, Held{Entry: &c.KEV.Entries[0], Held: quarantine.Held{ID: c.KEV.Entries[0].CVE, Subjects: []advisory.Subject{}}})
		case c.CVE != nil:
			list = append(list, Held{Record: &c.CVE.Records[0], Held: quarantine.Held{ID: c.CVE.Records[0].CVE, Subjects: []advisory.Subject{}}})
		case c.EPSS != nil:
			list = append(list, Held{Score: &epss.Score{EPSS: 7}, Held: quarantine.Held{ID: "CVE-2026-1000", Subjects: []advisory.Subject{}}})
		}
		list[0].Was, list[0].Reasons = "aa", []quarantine.Reason{{Code: quarantine.CodeGone}}
		bytes, err := heldBytes(all[i], k, list)
		if err != nil {
			f.Fatal(err)
		}
		if got, _, err := readHeld(strings.NewReader(string(bytes)), all[i]); err != nil || len(got) != 1 {
			f.Fatal(all[i], err)
		}
		f.Add(bytes, uint8(i))
	}
	f.Fuzz(func(t *testing.T, raw []byte, kind uint8) {
		name := all[int(kind)%len(all)]
		list, _, err := readHeld(strings.NewReader(string(raw)), name)
		if err != nil {
			return
		}
		feed := Feed{Name: name, Kind: name}
		if name == "osv" {
			nothing(feed).holding(list).voiced()
			return
		}
		nothing(feed).holding(list).came()
		if again, err := heldBytes(name, Kept{}, list); err != nil {
			t.Errorf("what was read cannot be kept: %v\n%s", err, again)
		}
	})
}

// TestManyWordsAreWrittenOnce, and all or none of them count when it is ended.
func TestManyWordsAreWrittenOnce(t *testing.T) {
	at := map[string]int{}
	d := depotIn(t)
	d.point = func(p string) { at[p]++ }
	var list []quarantine.Freed
	for i := range 500 {
		id := fmt.Sprintf("CVE-2026-%04d", 1000+i)
		list = append(list, quarantine.Freed{Held: quarantine.Held{ID: id, Raw: "aa"}, By: []advisory.Advisory{{ID: id, Source: "cna"}}})
	}
	list = append(list, list[0])
	if err := d.witnessed("osv", list[:200], t0); err != nil {
		t.Fatal(err)
	}
	d.point = func(p string) {
		if p == "words written" {
			panic("killed")
		}
	}
	func() {
		defer func() {
			if was := recover(); was != "killed" {
				t.Errorf("it was not ended there: %v", was)
			}
		}()
		t.Error("it went on: ", d.witnessed("osv", list, t0))
	}()
	if words, err := d.Words("osv"); err != nil || len(words) != 200 {
		t.Error("half of them were given:", len(words), err)
	}
	d.point = func(p string) { at[p]++ }
	for range 2 {
		if err := d.witnessed("osv", list, t0); err != nil {
			t.Fatal(err)
		}
	}
	words, err := d.Words("osv")
	if err != nil || len(words) != 500 || at["words written"] != 2 || at["said"] != 2 || words[499].Records[0].ID != "CVE-2026-1499" {
		t.Errorf("%d words in %d writes, %v", len(words), at["said"], err)
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
		asks := Held{}
		asks.ID = "CVE-2026-1"
		others := []Content{{CVE: &cve.Book{Snapshot: advisory.Snapshot{Kind: cve.Kind}}, Held: []Held{other}}}
		if r := (Case{}).freed(Ruling{}, []Held{asks}, others, func(Held, cve.Record) string { return "somebody" }); len(r.Freed) != want {
			t.Errorf("a record held as %s frees %d, want %d", code, len(r.Freed), want)
		}
	}
}
