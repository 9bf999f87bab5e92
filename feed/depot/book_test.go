package depot

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/feed/nvd"
	"github.com/patchwrit/patchwrit/internal/shareddata"
)

var (
	records = Rules{Name: "ssvc", Kind: cve.Name, MaxAge: week, Shrink: 10}
	mirror  = Rules{Name: "cvelist", Kind: cve.Name, MaxAge: week, Shrink: 10}
)

// word is a CVE record of a test. An empty point is left out.
type word struct {
	cve                              string
	exploitation, automatable, total string
	score                            float64 // of the CNA; 0: unscored
	changed                          int64
	rejected                         bool
	cna                              string  // what the CNA says of "automatable"
	second                           float64 // CISA's score
}

func (w word) String() string {
	at := time.Unix(w.changed, 0).UTC().Format(time.RFC3339)
	var options []string
	for _, p := range [][2]string{{"Exploitation", w.exploitation}, {"Automatable", w.automatable}, {"Technical Impact", w.total}} {
		if p[1] != "" {
			options = append(options, fmt.Sprintf(`{%q:%q}`, p[0], p[1]))
		}
	}
	points := func(options ...string) string {
		return fmt.Sprintf(`{"other":{"type":"ssvc","content":{"id":%q,"role":"r","options":[%s],"version":"2.0.3","timestamp":%q}}}`, w.cve, strings.Join(options, ","), at)
	}
	scored := func(score float64) string {
		return fmt.Sprintf(`{"cvssV3_1":{"version":"3.1","vectorString":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H","baseScore":%.1f}}`, score)
	}
	var adps, cnas []string
	adp, cna, state := "", "", "PUBLISHED"
	if len(options) > 0 {
		adps = append(adps, points(options...))
	}
	if w.second > 0 {
		adps = append(adps, scored(w.second))
	}
	if w.score > 0 {
		cnas = append(cnas, scored(w.score))
	}
	if w.cna != "" {
		cnas = append(cnas, points(fmt.Sprintf(`{"Automatable":%q}`, w.cna)))
	}
	if len(adps) > 0 {
		adp = fmt.Sprintf(`{"providerMetadata":{"orgId":%q,"shortName":"CISA-ADP","dateUpdated":%q},"metrics":[%s]}`, cve.CISAOrg, at, strings.Join(adps, ","))
	}
	if len(cnas) > 0 {
		cna = `,"metrics":[` + strings.Join(cnas, ",") + `]`
	}
	if w.rejected {
		state = "REJECTED"
	}
	return fmt.Sprintf(`{"dataType":"CVE_RECORD","dataVersion":"5.1","cveMetadata":{"cveId":%q,"state":%q,"dateUpdated":%q},"containers":{"cna":{"providerMetadata":{"orgId":"00000000-0000-4000-8000-000000000000","shortName":"cna","dateUpdated":%[3]q}%s},"adp":[%s]}}`,
		w.cve, state, at, cna, adp)
}

// bookOf is a feed of records.
func bookOf(t testing.TB, list ...word) string {
	t.Helper()
	files := map[string]string{}
	for _, w := range list {
		files[w.cve+".json"] = w.String()
	}
	return archive(t, files)
}

// severe are records that say the worst.
func severe(n int) (out []word) {
	for i := range n {
		out = append(out, word{cve: fmt.Sprintf("CVE-2026-%04d", 1000+i), exploitation: "active", automatable: "yes", total: "total", score: 9.8, changed: t0 - dayLong})
	}
	return out
}

// facts is what a feed says that counts, by CVE.
func facts(t testing.TB, d *Depot, name string, now int64) map[string]string {
	t.Helper()
	_, c, err := d.Read(t.Context(), name, now, 100*week)
	if err != nil {
		t.Fatal(err)
	}
	return settledOf(*c.CVE)
}

func settledOf(b cve.Book) map[string]string {
	out := map[string]string{}
	for _, r := range b.Records {
		f := said(&r)
		score := "unscored"
		if f.Score != nil {
			score = f.Score.Base()
		}
		out[r.CVE] = strings.Join([]string{f.Exploitation.Value, f.Automatable.Value, f.Impact.Value, score, fmt.Sprint(f.Rejected)}, " ")
	}
	return out
}

// edits of the first record, and what they are held for; "" counts at once.
var bookEdits = map[string]struct {
	edit func(w *word)
	code string
	says string
}{
	"automatable no":     {func(w *word) { w.automatable = "no" }, "LOWERED", `"automatable" was "yes" by CISA-ADP, and now it is "no"`},
	"impact partial":     {func(w *word) { w.total = "partial" }, "LOWERED", `"technical impact" was "total"`},
	"exploitation none":  {func(w *word) { w.exploitation = "none" }, "LOWERED", `"exploitation" was "active"`},
	"exploitation poc":   {func(w *word) { w.exploitation = "poc" }, "LOWERED", `and now it is "poc"`},
	"a point is gone":    {func(w *word) { w.automatable = "" }, "LOWERED", "says nothing of"},
	"two points":         {func(w *word) { w.automatable, w.total = "no", "partial" }, "LOWERED LOWERED", ""},
	"the score falls":    {func(w *word) { w.score = 5.0 }, "SEVERITY", "was 9.8 by cna, and now it is 5.0 by cna"},
	"the score is gone":  {func(w *word) { w.score = 0 }, "SEVERITY", "and now it is unscored"},
	"rejected":           {func(w *word) { w.rejected = true }, "WITHDRAWN", "the id is rejected"},
	"time back":          {func(w *word) { w.changed = t0 - 9*dayLong }, "TIME", "the one that counts is of"},
	"the future":         {func(w *word) { w.changed = t0 + 900*dayLong }, "TIME", "in the future"},
	"an older form back": {func(w *word) { w.automatable, w.changed = "no", t0-9*dayLong }, "TIME LOWERED", ""},
	"the score moves":    {func(w *word) { w.score = 7.5 }, "", ""},
	"nothing but time":   {func(w *word) {}, "", ""},
}

// TestARecordThatSaysLessStaysAsItWas: one CVE record of an otherwise good
// snapshot says less. It counts as before; also after the next snapshot, read by
// another process, and of some CVEs only.
func TestARecordThatSaysLessStaysAsItWas(t *testing.T) {
	const id = "CVE-2026-1000"
	for name, c := range bookEdits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := depotIn(t)
			keep(t, d, records, bookOf(t, severe(20)...), t0)
			was := facts(t, d, "ssvc", t0)
			list := severe(20)
			list[1].changed, list[0].changed = t0, t0
			c.edit(&list[0])
			k := keep(t, d, records, bookOf(t, list...), t0+dayLong)
			if c.code == "" {
				if k.Held != 0 || facts(t, d, "ssvc", t0+dayLong)[id] != strings.Replace(was[id], "9.8", fmt.Sprint(list[0].score), 1) {
					t.Fatal("an ordinary change is held:", heldCodes(t, d, "ssvc", t0+dayLong))
				}
				return
			}
			check := func(when string, d *Depot, now int64) {
				t.Helper()
				if got := heldCodes(t, d, "ssvc", now); len(got) != 1 || got[id] != c.code {
					t.Errorf("%s: held %v", when, got)
				}
				if got := facts(t, d, "ssvc", now); !maps.Equal(got, was) {
					t.Errorf("%s: it says %v", when, got)
				}
				for wanted, n := range map[string]int{id: 1, "CVE-2026-1001": 0} {
					_, some, err := d.ReadOf(t.Context(), "ssvc", now, 0, func(name string) bool { return name == wanted })
					if err != nil || len(some.CVE.Records) != 1 || settledOf(*some.CVE)[wanted] != was[wanted] || len(some.Held) != n {
						t.Errorf("%s: of %s alone: %+v, %v", when, wanted, some.CVE.Records, err)
					}
				}
				if f := feedOf(t, d, "ssvc"); f.Standing(now) != OK || f.Kept[0].Newest > now {
					t.Errorf("%s: the feed is %s, of %d", when, f.Standing(now), f.Kept[0].Newest)
				}
			}
			if k.State != Accepted {
				t.Fatalf("%+v", k.Reasons)
			}
			check("at once", d, t0+dayLong)
			check("another process", Open(d.dir, nil), t0+dayLong)
			held, _, err := d.Holding(t.Context(), "ssvc", t0+dayLong)
			if err != nil || len(held) == 0 {
				t.Fatalf("%d are held, %v", len(held), err)
			}
			if text := held[0].Reasons[len(held[0].Reasons)-1].Text.Text(); !strings.Contains(text, c.says) {
				t.Error("it says:", text)
			}
			if held[0].Part || held[0].CameRecord == nil || held[0].CameRecord.CVE != id || held[0].Record == nil {
				t.Errorf("%+v", held[0])
			}
			list[1].changed++
			keep(t, d, records, bookOf(t, list...), t0+2*dayLong)
			check("the next snapshot", d, t0+2*dayLong)
			w, err := d.Release(t.Context(), "ssvc", func(h Held) bool { return h.ID == id }, "ada", "read CISA's page", t0+2*dayLong)
			if err != nil || len(w.Records) != 1 {
				t.Fatal(w, err)
			}
			if got := facts(t, d, "ssvc", t0+2*dayLong); got[id] == was[id] && !strings.HasPrefix(c.code, "TIME") || len(heldCodes(t, d, "ssvc", t0)) != 0 {
				t.Error("released, and still", got[id])
			}
		})
	}
}

// TestARecordThatVanishesKeepsItsWord: else it could come back as a new one, and
// say less. NVD's files hold the news of some days only.
func TestARecordThatVanishesKeepsItsWord(t *testing.T) {
	d := depotIn(t)
	keep(t, d, records, bookOf(t, severe(20)...), t0)
	was := facts(t, d, "ssvc", t0)
	list := severe(20)
	list[1].changed = t0
	keep(t, d, records, bookOf(t, list[1:]...), t0+dayLong)
	if got := heldCodes(t, d, "ssvc", t0); len(got) != 1 || got[list[0].cve] != "GONE" {
		t.Fatal(got)
	}
	list[0].automatable, list[0].changed, list[2].changed = "no", t0+1, t0+1
	keep(t, d, records, bookOf(t, list...), t0+2*dayLong)
	if got := heldCodes(t, d, "ssvc", t0); len(got) != 1 || got[list[0].cve] != "LOWERED" {
		t.Error(got)
	}
	if got := facts(t, d, "ssvc", t0); !maps.Equal(got, was) {
		t.Error(got)
	}

	page := func(changed int, ids ...string) string {
		var out []string
		for _, id := range ids {
			out = append(out, fmt.Sprintf(`{"cve":{"id":%q,"sourceIdentifier":"c","published":"2026-01-01T00:00:00.000","lastModified":"2026-01-%02dT00:00:00.000","vulnStatus":"Analyzed","metrics":{"ssvcV203":[{"source":%q,"ssvcData":{"timestamp":"2026-01-01T00:00:00Z","options":[{"automatable":%q}]}}]}}}`,
				id, changed, cve.CISAOrg, map[bool]string{true: "no", false: "yes"}[id == "CVE-2026-0001" && changed > 2]))
		}
		return fmt.Sprintf(`{"resultsPerPage":%d,"startIndex":0,"totalResults":%[1]d,"format":"NVD_CVE","version":"2.0","timestamp":"2026-06-18T00:00:00.000","vulnerabilities":[%s]}`, len(out), strings.Join(out, ","))
	}
	pages := Rules{Name: "nvd", Kind: nvd.Name, MaxAge: 100 * week, Shrink: 100}
	keep(t, d, pages, page(2, "CVE-2026-0001", "CVE-2026-0002"), t0)
	if k := keep(t, d, pages, page(3, "CVE-2026-0001"), t0+1); k.State != Accepted || k.Held != 1 {
		t.Error(k.Reasons, k.Held)
	}
	if got := heldCodes(t, d, "nvd", t0); got["CVE-2026-0001"] != "LOWERED" {
		t.Error(got)
	}
}

// TestAnotherSpeakerFrees: in another feed, of two that change their word alike
// whichever comes first. The same speaker there is no second one; nobody confirms
// that an id is rejected; NVD frees nothing.
func TestAnotherSpeakerFrees(t *testing.T) {
	d := depotIn(t)
	keep(t, d, records, bookOf(t, severe(20)...), t0)
	keep(t, d, mirror, bookOf(t, severe(30)...), t0)
	list := severe(30)
	list[0].automatable, list[1].score, list[2].rejected, list[3].total = "no", 3.0, true, "partial"
	for i := range list {
		list[i].changed = t0
	}
	keep(t, d, records, bookOf(t, list[:20]...), t0+dayLong)
	want := map[string]string{list[0].cve: "LOWERED", list[1].cve: "SEVERITY", list[2].cve: "WITHDRAWN", list[3].cve: "LOWERED"}
	if got := heldCodes(t, d, "ssvc", t0); !maps.Equal(got, want) {
		t.Fatal(got)
	}
	keep(t, d, mirror, bookOf(t, list...), t0+dayLong)
	for _, feed := range []string{"ssvc", "cvelist"} {
		if got := heldCodes(t, d, feed, t0); !maps.Equal(got, want) {
			t.Errorf("the same speakers in two feeds: %s holds %v", feed, got)
		}
	}
	other := slices.Clone(list)
	other[0].cna, other[1].second, other[3].cna = "no", 3.5, "no"
	for i := range other {
		other[i].changed = t0 + 1
	}
	other[1].score = 0
	keep(t, d, mirror, bookOf(t, other...), t0+2*dayLong)
	delete(want, list[0].cve)
	delete(want, list[1].cve)
	if got := heldCodes(t, d, "ssvc", t0); !maps.Equal(got, want) {
		t.Error("two are confirmed:", got)
	}
	by := map[string]string{}
	words, err := d.Words("ssvc")
	for _, w := range words {
		by[w.Records[0].ID] = w.By.Text()
	}
	if err != nil || !maps.Equal(by, map[string]string{list[0].cve: "CVE-2026-1000 (cna) of feed cvelist", list[1].cve: "CVE-2026-1001 (CISA-ADP) of feed cvelist"}) {
		t.Error(by, err)
	}
	if got := heldCodes(t, d, "cvelist", t0); got[list[0].cve] != "LOWERED" || got[list[2].cve] != "WITHDRAWN" {
		t.Error("each feed is freed for itself:", got)
	}
	if got := all(t, d, t0, "ssvc", "cvelist")[list[0].cve]; got != "active yes total 9.8 false" {
		t.Error("one of two feeds is freed, and they say", got)
	}
	list[0].cna = "no" // the CVE record of both feeds has both speakers
	for i := range list {
		list[i].changed = t0 + 2
	}
	keep(t, d, records, bookOf(t, list[:20]...), t0+3*dayLong)
	if got := all(t, d, t0, "ssvc", "cvelist")[list[0].cve]; got != "active no total 9.8 false" {
		t.Error("both are freed, and they say", got, heldCodes(t, d, "cvelist", t0), heldCodes(t, d, "ssvc", t0))
	}
}

// TestAFeedThatDatesItselfAheadKeepsNothingDown: its milder word is the newest of
// the speaker each day, and a stricter one that comes in another feed counts. When
// that falls, it is held, though the first feed has the milder one all the time.
func TestAFeedThatDatesItselfAheadKeepsNothingDown(t *testing.T) {
	const id = "CVE-2026-1000"
	d := depotIn(t)
	ahead, list := severe(20), severe(20)
	ahead[0].exploitation = "poc"
	for day := range int64(3) {
		now := t0 + day*dayLong
		for i := range list {
			ahead[i].changed, list[i].changed = now+dayLong-1, now
		}
		if k := keep(t, d, mirror, bookOf(t, ahead...), now); k.State != Accepted || k.Held != 0 {
			t.Fatal(k.Held, k.Reasons)
		}
		if k := keep(t, d, records, bookOf(t, list...), now); k.State != Accepted || k.Held != 0 {
			t.Fatal(k.Held, k.Reasons)
		}
		if got := all(t, d, now, "ssvc", "cvelist")[id]; got != "active yes total 9.8 false" {
			t.Errorf("day %d: together they say %s", day, got)
		}
	}
	list[0].exploitation, list[0].changed = "poc", t0+3*dayLong
	keep(t, d, records, bookOf(t, list...), t0+3*dayLong)
	if got := all(t, d, t0, "ssvc", "cvelist")[id]; got != "active yes total 9.8 false" || heldCodes(t, d, "ssvc", t0)[id] != "LOWERED" {
		t.Error("one speaker's word falls by itself:", got, heldCodes(t, d, "ssvc", t0))
	}
	if _, err := d.Release(t.Context(), "ssvc", func(h Held) bool { return h.ID == id }, "ada", "CISA's page", t0+3*dayLong); err != nil {
		t.Fatal(err)
	}
	if got := all(t, d, t0, "ssvc", "cvelist")[id]; got != "poc yes total 9.8 false" {
		t.Error("both feeds say the milder one, and together", got)
	}
}

// TestWhichFirstWordsAreHeld: one that is milder than what another feed has of the
// speaker, and newer; not what NVD passes on, which replaces nothing.
func TestWhichFirstWordsAreHeld(t *testing.T) {
	said := func(value, via string, at int64) cve.Answer {
		return cve.Answer{Value: value, Claims: []cve.Claim{{Point: cve.Automatable, Value: value, Source: cve.CISA, Via: via, At: at}}}
	}
	for name, c := range map[string]struct {
		is, before cve.Answer
		want       bool
	}{
		"milder and newer":     {said("no", "", 2), said("yes", "", 1), true},
		"milder and as old":    {said("no", "", 1), said("yes", "", 1), false},
		"the same":             {said("no", "", 2), said("no", "", 1), false},
		"stricter":             {said("yes", "", 2), said("no", "", 1), false},
		"nobody has one":       {said("no", "", 2), cve.Answer{}, false},
		"it says nothing":      {cve.Answer{}, said("yes", "", 1), false},
		"it is passed on":      {said("no", nvd.Name, 2), said("yes", "", 1), false},
		"that was passed on":   {said("no", "", 2), said("yes", nvd.Name, 1), false},
		"it is of another one": {cve.Answer{Claims: []cve.Claim{{Point: cve.Automatable, Value: "no", Source: "cna", At: 2}}}, said("yes", "", 1), false},
	} {
		if got := outdated(c.is, c.before, cve.CISA); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// all is what all feeds of records say together, by CVE.
func all(t testing.TB, d *Depot, now int64, feeds ...string) map[string]string {
	t.Helper()
	var books []cve.Book
	out := map[string]string{}
	for _, name := range feeds {
		_, c, err := d.Read(t.Context(), name, now, 100*week)
		if err != nil {
			t.Fatal(err)
		}
		books = append(books, *c.CVE)
	}
	for _, b := range books {
		for _, r := range b.Records {
			f := cve.Settle(r.CVE, books...)
			score := "unscored"
			if f.Score != nil {
				score = f.Score.Base()
			}
			out[r.CVE] = strings.Join([]string{f.Exploitation.Value, f.Automatable.Value, f.Impact.Value, score, fmt.Sprint(f.Rejected)}, " ")
		}
	}
	return out
}

// TestASecondFeedErasesNothing: a feed that comes new, a record that is new in it,
// and one that it changes, are held to what another feed says that counts.
func TestASecondFeedErasesNothing(t *testing.T) {
	const id = "CVE-2026-1000"
	for name, c := range bookEdits {
		if strings.Contains(c.code, "TIME") && name != "the future" || strings.Contains(c.says, "nothing") || name == "the score is gone" {
			continue // who says nothing, or an older word, takes nothing away
		}
		for _, way := range []string{"a new feed", "a new record", "a changed record"} {
			t.Run(name+" in "+way, func(t *testing.T) {
				t.Parallel()
				d := depotIn(t)
				keep(t, d, records, bookOf(t, severe(20)...), t0)
				before := all(t, d, t0, "ssvc")
				list := severe(20)
				list[0].changed, list[1].changed = t0, t0
				switch way {
				case "a new record":
					keep(t, d, mirror, bookOf(t, list[1:]...), t0)
				case "a changed record": // it said nothing
					silent := slices.Clone(list)
					silent[0] = word{cve: id, changed: t0 - dayLong}
					keep(t, d, mirror, bookOf(t, silent...), t0)
				}
				c.edit(&list[0])
				list[1].changed++
				k := keep(t, d, mirror, bookOf(t, list...), t0+1)
				codes := map[string]string{id: c.code}
				if c.code == "" {
					codes = map[string]string{}
					before[id] = strings.Replace(before[id], "9.8", fmt.Sprint(list[0].score), 1)
				}
				if got := heldCodes(t, d, "cvelist", t0+1); k.State != Accepted || !maps.Equal(got, codes) {
					t.Errorf("held %v, not %v", got, codes)
				}
				if got := all(t, d, t0+1, "ssvc", "cvelist"); !maps.Equal(got, before) {
					t.Errorf("together they say %v, not %v", got[id], before[id])
				}
				if way != "a new feed" || c.code == "" || strings.Contains(c.code, "TIME") {
					return
				}
				if _, err := d.Release(t.Context(), "cvelist", func(h Held) bool { return h.ID == id }, "ada", "CISA's page", t0+2); err != nil {
					t.Fatal(err)
				}
				points := strings.Contains(c.code, "LOWERED") // of the score, and of an id, the newest word decides
				if got := all(t, d, t0+2, "ssvc", "cvelist"); points != (got[id] == before[id]) || len(heldCodes(t, d, "cvelist", t0+2)) != 0 {
					t.Error("released, and they say", got[id], heldCodes(t, d, "cvelist", t0+2))
				}
				list[0].changed += 5 // the first feed says it, too
				keep(t, d, records, bookOf(t, list...), t0+3)
				if got := heldCodes(t, d, "ssvc", t0+3); points != (got[id] == c.code) || !points && len(got) != 0 {
					t.Error("in the first feed are held", got)
				}
				if !points {
					return
				}
				if _, err := d.Release(t.Context(), "ssvc", func(h Held) bool { return h.ID == id }, "ada", "CISA's page", t0+4); err != nil {
					t.Fatal(err)
				}
				if got := all(t, d, t0+4, "ssvc", "cvelist"); got[id] == before[id] {
					t.Error("both feeds say the milder one, and together", got[id])
				}
			})
		}
	}
}

// TestAnOlderWordTakesNothingAway, and so it is not held.
func TestAnOlderWordTakesNothingAway(t *testing.T) {
	d := depotIn(t)
	keep(t, d, records, bookOf(t, severe(20)...), t0)
	before := all(t, d, t0, "ssvc")
	list := severe(20)
	for i := range list {
		list[i].changed, list[i].automatable, list[i].score = t0-9*dayLong, "no", 0
	}
	if k := keep(t, d, mirror, bookOf(t, list...), t0); k.Held != 0 {
		t.Error(heldCodes(t, d, "cvelist", t0))
	}
	if got := all(t, d, t0, "ssvc", "cvelist"); !maps.Equal(got, before) {
		t.Error(got)
	}
}

// TestWhatIsStricterCountsAtOnce, of a record that is milder in another point.
func TestWhatIsStricterCountsAtOnce(t *testing.T) {
	const id = "CVE-2026-1000"
	start := severe(20)
	start[0].exploitation, start[0].total, start[0].score = "none", "partial", 5.0
	d := depotIn(t)
	keep(t, d, records, bookOf(t, start...), t0)
	both := slices.Clone(start)
	both[0].exploitation, both[0].automatable, both[0].score, both[0].changed = "active", "no", 9.8, t0
	for i := range 3 {
		both[1].changed = t0 + int64(i)
		if k := keep(t, d, records, bookOf(t, both...), t0+int64(i)); k.Held != 1 {
			t.Fatal(k.Held)
		}
		if got := facts(t, d, "ssvc", t0)[id]; got != "active yes partial 9.8 false" {
			t.Error("it says", got)
		}
		held, _, err := d.Holding(t.Context(), "ssvc", t0)
		if err != nil || !held[0].Part || held[0].Since != t0 || len(held[0].Reasons) != 1 || held[0].Was != held[0].Record.Raw || held[0].Was == held[0].Raw {
			t.Errorf("%+v %v", held, err)
		}
	}
	for i := range 3 { // looked at again: the same words, of a later day
		both[0].changed = t0 + int64(i+2)
		keep(t, d, records, bookOf(t, both...), t0+4)
		if held, _, err := d.Holding(t.Context(), "ssvc", t0); err != nil || len(held) != 1 || !held[0].Part {
			t.Errorf("what counts is new in part, and of a later day: %+v %v", held, err)
		}
	}
	milder := slices.Clone(both) // what counted meanwhile is what the next is held to
	milder[0].exploitation, milder[0].score, milder[0].changed = "poc", 3.0, t0+5
	keep(t, d, records, bookOf(t, milder...), t0+5)
	if got := heldCodes(t, d, "ssvc", t0); got[id] != "LOWERED LOWERED SEVERITY" || facts(t, d, "ssvc", t0)[id] != "active yes partial 9.8 false" {
		t.Error(got, facts(t, d, "ssvc", t0)[id])
	}
	if _, err := d.Release(t.Context(), "ssvc", func(h Held) bool { return h.ID == id }, "ada", "CISA's page", t0+6); err != nil {
		t.Fatal(err)
	}
	if got := facts(t, d, "ssvc", t0)[id]; got != "poc no partial 3.0 false" || len(heldCodes(t, d, "ssvc", t0)) != 0 {
		t.Error("released, and it says", got)
	}

	first := severe(20)[:1]
	first[0].exploitation, first[0].total = "", ""
	keep(t, d, Rules{Name: "cna", Kind: cve.Name, MaxAge: week, Shrink: 100}, bookOf(t, word{cve: "CVE-2026-2000", automatable: "yes", changed: t0}), t0)
	keep(t, d, records, bookOf(t, append(milder, word{cve: "CVE-2026-2000", automatable: "no", total: "total", changed: t0 + 7})...), t0+7)
	if got := facts(t, d, "ssvc", t0)["CVE-2026-2000"]; got != "  total unscored false" || heldCodes(t, d, "ssvc", t0)["CVE-2026-2000"] != "LOWERED" {
		t.Error("of a new record:", got, heldCodes(t, d, "ssvc", t0))
	}
	if got := all(t, d, t0, "ssvc", "cna")["CVE-2026-2000"]; got != " yes total unscored false" {
		t.Error("together:", got)
	}
}

// TestEachSpeakerIsHeldToItsOwnWord: else one could be lowered behind another's
// back, and then speak for it.
func TestEachSpeakerIsHeldToItsOwnWord(t *testing.T) {
	d := depotIn(t)
	start := severe(20)
	start[0].cna = "yes"
	keep(t, d, records, bookOf(t, start...), t0)
	start[0].automatable, start[0].changed = "no", t0
	keep(t, d, records, bookOf(t, start...), t0+1)
	if got := heldCodes(t, d, "ssvc", t0); got["CVE-2026-1000"] != "LOWERED" {
		t.Error(got)
	}
}

// TestAFirstDirectWordIsHeldToWhatNVDPassedOn.
func TestAFirstDirectWordIsHeldToWhatNVDPassedOn(t *testing.T) {
	passed := mild(0, 2)
	for i := range passed[0].Claims {
		passed[0].Claims[i].Via, passed[0].Claims[i].At = nvd.Name, t0-1
		if passed[0].Claims[i].Point == cve.Automatable {
			passed[0].Claims[i].Value = "yes"
		}
	}
	r := judged(t, Case{}, nil, mild(0, 2), passed...)
	if len(r.Held) != 1 || r.Held[0].ID != passed[0].CVE || r.Held[0].Reasons[0].Code != quarantine.CodeLowered {
		t.Errorf("%+v", r.Held)
	}
}

// TestAPointFallsThoughAnotherFeedRejectsTheID: that may be taken back, and then
// what it said before counts.
func TestAPointFallsThoughAnotherFeedRejectsTheID(t *testing.T) {
	old, is, other := mild(0, 20), mild(0, 20), mild(0, 1)[0]
	is[0].Raw, other.Rejected = canon.SumFile(nil), true
	for i := range old[0].Claims {
		if old[0].Claims[i].Point == cve.Automatable {
			old[0].Claims[i].Value = "yes"
		}
	}
	if r := judged(t, Case{}, old, is, other); len(r.Held) != 1 || r.Held[0].Reasons[0].Code != quarantine.CodeLowered {
		t.Errorf("%+v", r.Held)
	}
}

// TestWhatFallsOfOneRecord: each guard of milder and partly by itself.
func TestWhatFallsOfOneRecord(t *testing.T) {
	was := mild(0, 1)[0]
	for i := range was.Claims {
		if was.Claims[i].Point == cve.Automatable {
			was.Claims[i].Value = "yes"
		}
	}
	score := func(r cve.Record, tenths int, by string, role cve.Role) cve.Record {
		r.Scores = []cve.Score{{CVE: r.CVE, Version: "3.1", Tenths: tenths, Source: by, Role: role, At: r.Modified}}
		r.Raw = canon.SumFile([]byte{byte(tenths)})
		return r
	}
	lowered := mild(0, 1)[0]
	lowered.Raw = canon.SumFile(nil)
	if r := judged(t, Case{}, []cve.Record{was}, []cve.Record{lowered}); len(r.Held) != 1 || r.Held[0].Was != was.Raw {
		t.Errorf("where nothing is stricter, the record itself stays: %+v", r.Held)
	}
	only := lowered
	only.Claims = slices.DeleteFunc(slices.Clone(lowered.Claims), func(x cve.Claim) bool { return x.Point != cve.Automatable })
	before := was
	for i := range before.Claims {
		before.Claims[i].At--
	}
	if r := judged(t, Case{}, nil, []cve.Record{only}, before); len(r.Held) != 1 || r.Held[0].Was != "" || r.Held[0].Record != nil || r.Fresh != 0 {
		t.Errorf("of a new record that says nothing else nothing counts: %+v", r)
	}
	rejected := was
	rejected.Rejected, rejected.Raw = true, canon.SumFile(nil)
	of := Case{Content: Content{CVE: &cve.Book{Snapshot: advisory.Snapshot{Kind: nvd.Kind}}}}
	if h := of.milder(&rejected, &was, nil); len(h.Reasons) != 1 || h.Reasons[0].Code != quarantine.CodeWithdrawn {
		t.Errorf("NVD rejects: %+v", h.Reasons)
	}
	high, low := score(was, 98, "cna", cve.CNA), score(was, 30, "cna", cve.CNA)
	newer := score(was, 97, "cna", cve.CNA)
	newer.Scores[0].At++
	if r := judged(t, Case{}, []cve.Record{high}, []cve.Record{low}, newer); len(r.Held) != 1 || r.Held[0].Reasons[0].Code != quarantine.CodeSeverity {
		t.Errorf("a score that falls behind another feed's: %+v", r.Held)
	}
	for tenths, freed := range map[int]int{30: 1, 39: 1, 50: 0, 98: 0} {
		if r := judged(t, Case{}, []cve.Record{high}, []cve.Record{low}, score(was, tenths, cve.CISA, cve.ADP)); len(r.Freed) != freed {
			t.Errorf("another speaker's score of %d frees %d", tenths, len(r.Freed))
		}
	}
}

// TestADirectWordAfterNVDs in a depot.
func TestADirectWordAfterNVDs(t *testing.T) {
	d := depotIn(t)
	keep(t, d, Rules{Name: "nvd", Kind: nvd.Name, MaxAge: 100 * week, Shrink: 100}, fmt.Sprintf(`{"resultsPerPage":1,"startIndex":0,"totalResults":1,"format":"NVD_CVE","version":"2.0","timestamp":"2026-06-18T00:00:00.000","vulnerabilities":[{"cve":{"id":"CVE-2026-1000","sourceIdentifier":"c","published":"2026-01-01T00:00:00.000","lastModified":"2026-01-02T00:00:00.000","vulnStatus":"Analyzed","metrics":{"ssvcV203":[{"source":%q,"ssvcData":{"timestamp":"2026-01-01T00:00:00Z","options":[{"automatable":"yes"}]}}]}}}]}`, cve.CISAOrg), t0)
	keep(t, d, records, bookOf(t, word{cve: "CVE-2026-1000", automatable: "no", total: "total", changed: t0 - dayLong}), t0)
	if got := heldCodes(t, d, "ssvc", t0); got["CVE-2026-1000"] != "LOWERED" {
		t.Error(got)
	}
}

// TestNVDFreesNothing, whoever's word it passes on.
func TestNVDFreesNothing(t *testing.T) {
	old, is := mild(0, 20), mild(0, 20)
	is[0].Raw = canon.SumFile(nil)
	for i := range old[0].Claims {
		if old[0].Claims[i].Point == cve.Automatable {
			old[0].Claims[i].Value = "yes"
		}
	}
	other := mild(0, 1)[0]
	for i := range other.Claims {
		other.Claims[i].Source = "cna"
	}
	for kind, want := range map[string]int{cve.Kind: 1, nvd.Kind: 0} {
		c := Case{Feed: Feed{Shrink: 10}, New: Kept{Count: 20}, Last: &Kept{Count: 20}, Now: t0,
			Content:     Content{CVE: &cve.Book{Snapshot: advisory.Snapshot{Kind: cve.Kind}, Records: is}},
			LastContent: func(context.Context) (Content, error) { return Content{CVE: &cve.Book{Records: old}}, nil },
			Others: func(context.Context, func(string) bool) ([]Content, error) {
				return []Content{{CVE: &cve.Book{Snapshot: advisory.Snapshot{Kind: kind}, Records: []cve.Record{other}}}}, nil
			}}
		r, err := Standard{}.Judge(t.Context(), c)
		if err != nil || len(r.Freed) != want || len(r.Held) != 1-want {
			t.Errorf("%s: %d freed, %d held, %v", kind, len(r.Freed), len(r.Held), err)
		}
	}
}

// judged rules on books without a depot.
func judged(t testing.TB, c Case, last, is []cve.Record, others ...cve.Record) Ruling {
	t.Helper()
	book := func(list []cve.Record) Content {
		return Content{CVE: &cve.Book{Snapshot: advisory.Snapshot{Kind: cve.Kind, Count: len(list)}, Records: list}}
	}
	c.Last, c.Content, c.Now = &Kept{Count: len(last), Fetched: t0}, book(is), t0
	c.Feed.Shrink, c.New.Count = 10, len(is)
	c.LastContent = func(context.Context) (Content, error) { return book(last), nil }
	c.Others = func(_ context.Context, wanted func(string) bool) ([]Content, error) {
		return []Content{book(slices.DeleteFunc(slices.Clone(others), func(r cve.Record) bool { return !wanted(r.CVE) }))}, nil
	}
	r, err := Standard{}.Judge(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// mild are first words that say the least.
func mild(from, n int) (out []cve.Record) {
	for i := range n {
		id := fmt.Sprintf("CVE-2025-%05d", 10000+from+i)
		r := cve.Record{CVE: id, Modified: t0, Raw: canon.SumFile([]byte(id))}
		for p, v := range map[cve.Point]string{cve.Exploitation: "none", cve.Automatable: "no", cve.Impact: "partial"} {
			r.Claims = append(r.Claims, cve.Claim{CVE: id, Point: p, Value: v, Source: cve.CISA, Role: cve.ADP, At: t0})
		}
		out = append(out, r)
	}
	return out
}

// elsewhere are the same words of another speaker.
func elsewhere(list ...cve.Record) []cve.Record {
	out := slices.Clone(list)
	for i := range out {
		out[i].Claims = slices.Clone(out[i].Claims)
		for k := range out[i].Claims {
			out[i].Claims[k].Source = "cna"
		}
	}
	return out
}

// TestAFloodOfRecordsIsNotBelieved: many first words at once would answer what is
// unknown, and unknown is the stricter row.
func TestAFloodOfRecordsIsNotBelieved(t *testing.T) {
	old := mild(0, 100)
	all := append(slices.Clone(old), mild(100, 1003)...)
	if r := judged(t, Case{New: Kept{Fetched: t0 + 3600}}, old, all[:1102]); len(r.Held) != 0 || r.Fresh != 1002 {
		t.Error("1002 in a day are no flood of 100 records:", len(r.Held), r.Fresh)
	}
	if r := judged(t, Case{New: Kept{Fetched: t0 + 3600}}, old, all, all[500]); len(r.Freed) != 0 {
		t.Error("the same speaker in another feed confirms")
	}
	flood := judged(t, Case{New: Kept{Fetched: t0 + 3600}}, old, all, elsewhere(all[500])...)
	if len(flood.Held) != 1002 || flood.Held[0].Reasons[0].Code != quarantine.CodeFlood || flood.Fresh != 1 || len(flood.Freed) != 1 {
		t.Error("a flood:", len(flood.Held), flood.Fresh, len(flood.Freed))
	}
	if r := judged(t, Case{New: Kept{Fetched: t0 + 3600}, Recent: 1000}, old, all[:103]); len(r.Held) != 3 {
		t.Error("drop by drop:", len(r.Held))
	}
	if r := judged(t, Case{New: Kept{Fetched: t0 + 2*dayLong}}, old, all); len(r.Held) != 0 {
		t.Error("in two days:", len(r.Held))
	}
	if r := judged(t, Case{New: Kept{Fetched: t0 + 9*dayLong}, Before: flood.Held}, old, all); len(r.Held) != 1002 {
		t.Error("days later without a word:", len(r.Held))
	}
	if r := judged(t, Case{Again: true, Before: flood.Held}, old, all, elsewhere(all[100:600]...)...); len(r.Held) != 503 || len(r.Freed) != 499 {
		t.Error("half of them are confirmed:", len(r.Held), len(r.Freed))
	}
	other := elsewhere(all[600])[0]
	for i := range other.Claims {
		other.Claims[i].Value = map[cve.Point]string{cve.Exploitation: "none", cve.Automatable: "yes", cve.Impact: "partial"}[other.Claims[i].Point]
	}
	if r := judged(t, Case{Again: true, Before: flood.Held}, old, all, other); len(r.Held) != 1002 {
		t.Error("another word confirms:", len(r.Held))
	}
}

// TestWhereTooMuchWouldSayLessNothingCounts, not even the rest.
func TestWhereTooMuchWouldSayLessNothingCounts(t *testing.T) {
	old := mild(0, 404)
	for n, refused := range map[int]bool{101: false, 102: true} {
		is := slices.Clone(old)
		for i := range n {
			is[i].Rejected, is[i].Raw, is[i].Modified = true, canon.SumFile([]byte{byte(i)}), t0+1
		}
		r := judged(t, Case{}, old, is)
		if got := len(r.Against) == 1 && r.Against[0].Code == quarantine.CodeMass; got != refused || !refused && len(r.Held) != n {
			t.Error(n, r.Against, len(r.Held))
		}
		if r := judged(t, Case{Again: true}, old, is); len(r.Against) != 0 || len(r.Held) != n {
			t.Error("judged again:", n, r.Against, len(r.Held))
		}
	}
	is := slices.Clone(old[:300])
	for i := range 100 {
		is[i].Rejected, is[i].Raw = true, canon.SumFile([]byte{byte(i)})
	}
	if r := judged(t, Case{}, old[:300], is); len(r.Against) != 0 || len(r.Held) != 100 {
		t.Error("a hundred are never a mass:", r.Against, len(r.Held))
	}
}

// TestASingleScoreThatCollapsesStays: of an ordinary day.
func TestASingleScoreThatCollapsesStays(t *testing.T) {
	days := Rules{Name: "epss", Kind: "epss", MaxAge: 10 * week, Shrink: 10}
	plain := func(i int) float64 { return float64(i) / 500 }
	d := depotIn(t)
	day := func(on string, now int64, score func(i int) float64) Kept {
		t.Helper()
		k := keep(t, d, days, scores("v1", on, score), now)
		if k.State != Accepted {
			t.Fatal(k.Reasons)
		}
		return k
	}
	of := func(name string) uint32 {
		t.Helper()
		_, c, err := d.Read(t.Context(), "epss", t0, 0)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := c.EPSS.Of(name)
		return s.EPSS
	}
	low := func(by float64) func(i int) float64 {
		return func(i int) float64 {
			switch i {
			case 390:
				return .01 + by
			case 300:
				return plain(300) - .45
			case 5:
				return .9
			}
			return plain(i)
		}
	}
	day("2026-09-01", t0, plain)
	day("2026-09-02", t0+dayLong, low(0))
	if got := heldCodes(t, d, "epss", t0); len(got) != 1 || got["CVE-2026-1390"] != "SCORES" || of("CVE-2026-1390") != 780_000 {
		t.Error(got, of("CVE-2026-1390"))
	}
	if of("CVE-2026-1300") != 150_000 || of("CVE-2026-1005") != 900_000 {
		t.Error("what falls by less, or rises, counts at once:", of("CVE-2026-1300"), of("CVE-2026-1005"))
	}
	day("2026-09-03", t0+2*dayLong, low(.001))
	list, _, err := d.Holding(t.Context(), "epss", t0)
	if err != nil || len(list) != 1 || list[0].Since != t0+dayLong || list[0].Reasons[0].Text != "its score was 0.78000, and now it is 0.01100" {
		t.Errorf("%+v %v", list, err)
	}
	gone := strings.ReplaceAll(scores("v1", "2026-09-04", low(.002)), fmt.Sprintf("CVE-2026-1399,%.5f,%.5f\n", plain(399), 399./400), "")
	if k := keep(t, d, days, gone, t0+3*dayLong); k.Held != 2 || of("CVE-2026-1399") != 798_000 {
		t.Error(k.Held, of("CVE-2026-1399"))
	}
	if _, err := d.Release(t.Context(), "epss", func(h Held) bool { return h.ID == "CVE-2026-1390" }, "ada", "FIRST says so", t0+3*dayLong); err != nil {
		t.Fatal(err)
	}
	if got := heldCodes(t, d, "epss", t0); len(got) != 1 || of("CVE-2026-1390") != 12_000 {
		t.Error(got, of("CVE-2026-1390"))
	}
	day("2026-09-05", t0+4*dayLong, plain)
	if got := heldCodes(t, d, "epss", t0); len(got) != 1 || got["CVE-2026-1005"] != "SCORES" {
		t.Error("what is back is held, or what fell is not:", got)
	}
}

// realBook are real CVE records with what CISA says of them, by file name.
func realBook(t testing.TB, name string) map[string][]byte {
	out := map[string][]byte{}
	shareddata.Zipped(t, "../..", name, func(name string, raw []byte) {
		if strings.HasSuffix(name, ".json") {
			out[name] = raw
		}
	})
	return out
}

// milderReal makes a real record say less, newer than it was.
func milderReal(t testing.TB, raw []byte, how string) ([]byte, bool) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	meta, done := o["cveMetadata"].(object), false
	meta["dateUpdated"] = "2025-02-01T00:00:00.000Z"
	switch how {
	case "rejected":
		done = meta["state"] == "PUBLISHED"
		meta["state"] = "REJECTED"
	case "time back":
		text, old := string(raw), "2"
		for _, year := range []string{"2023", "2024", "2025"} {
			text = strings.ReplaceAll(text, `"`+year+"-", `"`+old+"001-")
		}
		return []byte(text), true
	case "the future":
		meta["dateUpdated"], done = "2095-02-01T00:00:00.000Z", true
	default:
		adps, _ := o["containers"].(object)["adp"].([]any)
		for _, a := range adps {
			metrics, _ := a.(object)["metrics"].([]any)
			for _, m := range metrics {
				other, _ := m.(object)["other"].(object)
				if other == nil || other["type"] != "ssvc" {
					continue
				}
				for _, p := range other["content"].(object)["options"].([]any) {
					done = flip(p.(object), how) || done
				}
			}
		}
	}
	out, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return out, done
}

// flip makes a point milder.
func flip(p object, how string) bool {
	for point, from := range map[string]string{"Automatable": "yes", "Technical Impact": "total", "Exploitation": "active"} {
		if v, ok := p[point].(string); ok && how == point && strings.EqualFold(v, from) {
			p[point] = map[string]string{"Automatable": "no", "Technical Impact": "partial", "Exploitation": "none"}[point]
			return true
		}
	}
	return false
}

// TestRealRecordsMadeMilderAreHeld mutates real records of CISA's own repository,
// of CVEs that are in KEV: each kind, every record that has what is taken from it.
func TestRealRecordsMadeMilderAreHeld(t *testing.T) {
	if testing.Short() {
		t.Skip("real feeds take some seconds; make test-long has them")
	}
	base := realBook(t, "vulnrichment/vulnrichment-2025-01-24-kev-subset.zip")
	d := depotIn(t)
	now := time.Date(2025, 2, 2, 0, 0, 0, 0, time.UTC).Unix()
	rules := Rules{Name: "ssvc", Kind: cve.Name, MaxAge: 1000 * week, Shrink: 10}
	if k := keep(t, d, rules, packed(t, base), now); k.State != Accepted || k.Held != 0 || k.Count < 390 {
		t.Fatalf("%+v", k)
	}
	if k := keep(t, d, Rules{Name: "cvelist", Kind: cve.Name, MaxAge: 1000 * week, Shrink: 10}, packed(t, base), now); k.Held != 0 {
		t.Errorf("a second feed with the same records: %d are held", k.Held)
	}
	if err := d.Remove("cvelist"); err != nil {
		t.Fatal(err)
	}
	was, total := facts(t, d, "ssvc", now), 0
	for _, how := range []string{"Automatable", "Technical Impact", "Exploitation", "rejected", "time back", "the future"} {
		now += 3600
		files, n := maps.Clone(base), 0
		for i, name := range slices.Sorted(maps.Keys(base)) {
			if i == 0 || n == 90 { // the rest stays whole, so that the snapshot is judged record by record
				continue
			}
			if raw, done := milderReal(t, base[name], how); done {
				files[name], n = raw, n+1
			}
		}
		if n < 30 {
			t.Fatalf("%s: only %d records have it", how, n)
		}
		k := keep(t, d, rules, packed(t, files), now)
		if k.State != Accepted && codes(k) != "PW-FEED-BACKWARDS" {
			t.Errorf("%s: %+v", how, k.Reasons)
		}
		if k.State == Accepted && k.Held != n {
			t.Errorf("%s: %d of %d are held", how, k.Held, n)
		}
		if got := facts(t, d, "ssvc", now); !maps.Equal(got, was) {
			t.Errorf("%s: what counts has changed", how)
		}
		total += n
	}
	t.Logf("%d mutated real records", total)
}

// TestRealCataloguesPoisoned mutates CISA's real catalogue of 2024: each kind,
// 90 entries. What is listed, by when, and what ransomware uses, stays.
func TestRealCataloguesPoisoned(t *testing.T) {
	if testing.Short() {
		t.Skip("real feeds take some seconds; make test-long has them")
	}
	text := shareddata.Gunzip(t, "../..", "kev/known_exploited_vulnerabilities-2024.10.23.json.gz")
	rules := Rules{Name: "kev", Kind: kev.Kind, MaxAge: 1000 * week, Shrink: 10}
	now := time.Date(2024, 10, 24, 0, 0, 0, 0, time.UTC).Unix()
	d := depotIn(t)
	if k := keep(t, d, rules, text, now); k.State != Accepted || k.Count != 1200 {
		t.Fatalf("%+v", k)
	}
	listed := func() string {
		t.Helper()
		_, c, err := d.Read(t.Context(), "kev", now, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(c.KEV.Entries)
	}
	was, total := listed(), 0
	for how, edit := range map[string]func(e object) (instead, done bool){
		"ransomware unknown": func(e object) (bool, bool) {
			known := e["knownRansomwareCampaignUse"] == "Known"
			e["knownRansomwareCampaignUse"] = "Unknown"
			return true, known
		},
		"due later":  func(e object) (bool, bool) { e["dueDate"] = "2031-01-01"; return true, true },
		"the future": func(e object) (bool, bool) { e["dateAdded"] = "2031-01-01"; return true, true },
		"gone":       func(e object) (bool, bool) { clear(e); return true, true },
		"a flood": func(e object) (bool, bool) {
			e["cveID"] = strings.Replace(e["cveID"].(string), "CVE-", "CVE-3", 1)[:8] + "-" + e["cveID"].(string)[9:]
			return false, true
		},
	} {
		now += 3600
		var o object
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		list, n := []any{}, 0
		for i, e := range o["vulnerabilities"].([]any) {
			was := maps.Clone(e.(object))
			if i%8 == 0 && n < 90 {
				instead, done := edit(e.(object))
				if n += map[bool]int{true: 1}[done]; !instead {
					list = append(list, was)
				}
			}
			if len(e.(object)) > 0 {
				list = append(list, e)
			}
		}
		o["vulnerabilities"], o["count"] = list, len(list)
		o["dateReleased"] = time.Unix(now, 0).UTC().Format("2006-01-02T15:04:05.0000Z")
		raw, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		k := keep(t, d, rules, string(raw), now)
		if k.State != Accepted || k.Held != n || n < 20 {
			t.Errorf("%s: %d of %d are held, %s %v", how, k.Held, n, k.State, k.Reasons)
		}
		if listed() != was {
			t.Errorf("%s: what counts has changed", how)
		}
		total += n
	}
	t.Logf("%d mutated real entries", total)
}

// TestRealCataloguesThroughTime lets CISA's catalogues of three years arrive one
// after the other, as they were.
func TestRealCataloguesThroughTime(t *testing.T) {
	if testing.Short() {
		t.Skip("real feeds take some seconds; make test-long has them")
	}
	rules := Rules{Name: "kev", Kind: kev.Kind, MaxAge: 1000 * week, Shrink: 10}
	d := depotIn(t)
	entries, changed, held := 0, 0, 0
	was := map[string]canon.Digest{}
	for _, on := range []string{"2023-04-10", "2023-10-19", "2024-04-24", "2024-10-23", "2025-01-23", "2026-08-07"} {
		at, err := time.Parse(time.DateOnly, on)
		if err != nil {
			t.Fatal(err)
		}
		k := keep(t, d, rules, shareddata.Gunzip(t, "../..", "kev/known_exploited_vulnerabilities-"+strings.ReplaceAll(on, "-", ".")+".json.gz"), at.Unix()+dayLong)
		if k.State != Accepted {
			t.Errorf("%s: %+v", on, k.Reasons)
		}
		got := heldCodes(t, d, "kev", at.Unix())
		t.Logf("%s: %d entries, held %v", on, k.Count, got)
		_, c, err := d.Read(t.Context(), "kev", at.Unix(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if first := len(was) == 0; !first {
			entries, held = entries+k.Count, held+k.Held
			for _, e := range c.KEV.Entries {
				changed += map[bool]int{true: 1}[was[e.CVE] != entryDigest(e)]
			}
		}
		for _, e := range c.KEV.Entries {
			was[e.CVE] = entryDigest(e)
		}
		if len(got) > 0 { // an operator's word: what is held now is not held again
			if _, err := d.Release(t.Context(), "kev", func(Held) bool { return true }, "ada", "CISA's page says so", at.Unix()+dayLong); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d of %d entries are held, of which %d were new or changed", held, entries, changed)
	if held*1000 > entries || changed < 1000 { // what CISA took away
		t.Errorf("%d of %d real entries are held: more than 0.1 %%", held, entries)
	}
}

// TestRealDecisionsThroughTime lets what CISA said of exploitation in June and
// October 2024, and in January 2025, arrive one after the other, as it was.
func TestRealDecisionsThroughTime(t *testing.T) {
	if testing.Short() {
		t.Skip("real feeds take some seconds; make test-long has them")
	}
	rows, err := csv.NewReader(strings.NewReader(withoutComments(shareddata.Unzstd(t, "../..", "backtest/backtest-vulnrichment-kev.csv.zst")))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var last []cve.Record
	var before int64
	records, changed, held := 0, 0, 0
	for _, on := range []string{"2024-06-30", "2024-10-24", "2025-01-24"} {
		at, err := time.Parse(time.DateOnly, on)
		if err != nil {
			t.Fatal(err)
		}
		col := slices.Index(rows[0], "ssvc_exploitation_"+on)
		was := map[string]canon.Digest{}
		for _, r := range last {
			was[r.CVE] = r.Raw
		}
		var is []cve.Record
		fresh := 0
		for _, row := range rows[1:] {
			_, value, ok := cve.Value("Exploitation", row[col])
			if !ok {
				continue
			}
			is = append(is, cve.Record{CVE: row[0], Modified: at.Unix(), Raw: canon.SumFile([]byte(row[0] + value)), Scores: []cve.Score{},
				Claims: []cve.Claim{{CVE: row[0], Point: cve.Exploitation, Value: value, Source: cve.CISA, Role: cve.ADP, At: at.Unix()}}})
			if is[len(is)-1].Raw != was[row[0]] {
				fresh++
			}
		}
		if last != nil {
			r := judgedBetween(t, before, at.Unix(), last, is)
			t.Logf("%s: %d of %d records are held, of which %d were new or changed", on, len(r.Held), len(is), fresh)
			records, changed, held = records+len(is), changed+fresh, held+len(r.Held)
		}
		last, before = is, at.Unix()
	}
	if held*1000 > changed || held < 20 || changed < 50_000 {
		t.Errorf("%d of %d new or changed real decisions are held (%d in all): more than 0.1 %%, or not the data", held, changed, records)
	}
}

func withoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// judgedBetween rules on a book that came at a time, after another.
func judgedBetween(t testing.TB, before, at int64, last, is []cve.Record) Ruling {
	t.Helper()
	book := func(list []cve.Record) Content {
		return Content{CVE: &cve.Book{Snapshot: advisory.Snapshot{Kind: cve.Kind}, Records: list}}
	}
	r, err := Standard{}.Judge(t.Context(), Case{Feed: Feed{Shrink: 10}, New: Kept{Count: len(is), Fetched: at}, Last: &Kept{Count: len(last), Fetched: before}, Content: book(is), Now: at,
		LastContent: func(context.Context) (Content, error) { return book(last), nil },
		Others:      func(context.Context, func(string) bool) ([]Content, error) { return nil, nil }})
	if err != nil || len(r.Against) > 0 {
		t.Fatal(r.Against, err)
	}
	return r
}

// TestRealScoresPoisoned lets two real days of EPSS arrive, seven months apart,
// and then one of which 90 of the highest scores have collapsed.
func TestRealScoresPoisoned(t *testing.T) {
	if testing.Short() {
		t.Skip("real feeds take some seconds; make test-long has them")
	}
	first, second := shareddata.Gunzip(t, "../..", "epss/epss_scores-2024-06-30.csv.gz"), shareddata.Gunzip(t, "../..", "epss/epss_scores-2025-01-26.csv.gz")
	rules := Rules{Name: "epss", Kind: "epss", MaxAge: 1000 * week, Shrink: 10}
	now := time.Date(2025, 2, 1, 0, 0, 0, 0, time.UTC).Unix()
	d := depotIn(t)
	keep(t, d, rules, "#model_version:v3,score_date:2024-06-30\n"+first, now)
	k := keep(t, d, rules, "#model_version:v3,score_date:2025-01-26\n"+second, now+1)
	t.Logf("seven months later %d of %d scores are held", k.Held, k.Count)
	if k.State != Accepted || k.Held*1000 > k.Count {
		t.Errorf("%d of %d, %v", k.Held, k.Count, k.Reasons)
	}
	if _, err := d.Release(t.Context(), "epss", func(Held) bool { return true }, "ada", "FIRST says so", now+1); err != nil {
		t.Fatal(err)
	}
	var bad strings.Builder
	n := 0
	for line := range strings.Lines(second) {
		if part := strings.Split(line, ","); n < 90 && len(part) == 3 && part[1] > "0.9" && part[1] < "1" {
			line, n = part[0]+",0.00043,0.10000\n", n+1
		}
		bad.WriteString(line)
	}
	k = keep(t, d, rules, "#model_version:v3,score_date:2025-01-27\n"+bad.String(), now+2)
	if k.State != Accepted || k.Held != 90 {
		t.Errorf("%d of 90 are held, %v", k.Held, k.Reasons)
	}
}

// TestSilenceIsNoMildWord: a speaker that takes its mildest word away leaves the
// stricter row of unknown, at once; one that takes away anything above it is held.
func TestSilenceIsNoMildWord(t *testing.T) {
	for _, p := range []cve.Point{cve.Exploitation, cve.Automatable, cve.Impact} {
		if less(p, "", "") || less(p, "", cve.Mildest(p)) || less(p, cve.Mildest(p), "") {
			t.Errorf("%s: silence is taken for milder than the mildest word", p)
		}
	}
	for p, v := range map[cve.Point]string{cve.Exploitation: "poc", cve.Automatable: "yes", cve.Impact: "total"} {
		if !less(p, "", v) || !less(p, cve.Mildest(p), v) || less(p, v, cve.Mildest(p)) {
			t.Errorf("%s: %s may fall", p, v)
		}
	}
	const id = "CVE-2026-1000"
	d, list := depotIn(t), severe(20)
	list[0].automatable, list[1].exploitation = "no", "poc"
	keep(t, d, records, bookOf(t, list...), t0)
	list[0].automatable, list[1].exploitation = "", ""
	list[0].changed, list[1].changed = t0+1, t0+1
	keep(t, d, records, bookOf(t, list...), t0+1)
	if got := heldCodes(t, d, "ssvc", t0+1); len(got) != 1 || got["CVE-2026-1001"] != "LOWERED" {
		t.Error("held:", got)
	}
	if got := all(t, d, t0+1, "ssvc"); got[id] != "active  total 9.8 false" {
		t.Errorf("they say %q", got[id])
	}
}
