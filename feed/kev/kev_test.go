package kev

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/document"
	"github.com/patchwrit/patchwrit/internal/shareddata"
)

var now = Options{Source: "kev.json", Now: time.Unix(1_790_000_000, 0)}

// entry writes one entry; more is put behind its members.
func entry(cve, due, more string) string {
	return fmt.Sprintf(`{"cveID":%q,"vendorProject":"Example","product":"Gate","vulnerabilityName":"n","dateAdded":"2026-08-01","shortDescription":"d","requiredAction":"a","dueDate":%q,"cwes":["CWE-1"]%s}`, cve, due, more)
}

func catalogue(count int, entries ...string) string {
	return fmt.Sprintf(`{"title":"t","catalogVersion":"2026.08.07","dateReleased":"2026-08-07T16:45:47.0648Z","count":%d,"vulnerabilities":[%s]}`, count, strings.Join(entries, ","))
}

func read(t testing.TB, raw string) Catalogue {
	t.Helper()
	c, err := Read(strings.NewReader(raw), now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReadTakesEntriesWhole(t *testing.T) {
	raw := catalogue(2, entry("CVE-2026-0002", "2026-08-04", `,"knownRansomwareCampaignUse":"Known"`), entry("CVE-2025-123456", "2026-08-15", ""))
	c := read(t, raw)
	want := []Entry{
		{"CVE-2025-123456", "2026-08-01", "2026-08-15", "", "Example", "Gate"},
		{"CVE-2026-0002", "2026-08-01", "2026-08-04", "known", "Example", "Gate"},
	}
	if fmt.Sprint(c.Entries) != fmt.Sprint(want) || c.Version != "2026.08.07" || len(c.Snapshot.Partial) != 0 {
		t.Errorf("%+v", c)
	}
	s := c.Snapshot
	if s.Newest != time.Date(2026, 8, 7, 16, 45, 47, 0, time.UTC).Unix() || s.Count != 2 || s.Digest != canon.SumFile([]byte(raw)) || s.Fetched != now.Now.Unix() || s.Source != "kev.json" {
		t.Errorf("%+v", s)
	}
	for cve, want := range map[string]Listing{"CVE-2026-0002": Listed, "CVE-2026-0003": Unlisted, "": Unlisted} {
		if e, got := c.Lookup(cve); got != want || (want == Listed) != (e.CVE == cve && cve != "") {
			t.Errorf("%s: %s %+v", cve, got, e)
		}
	}
}

// Whatever is wrong makes the catalogue partial, and then absence is unknown.
func TestWhatIsWrongIsAGap(t *testing.T) {
	good, other := entry("CVE-2026-0001", "2026-08-04", ""), entry("CVE-2026-0009", "2026-08-04", "")
	for name, c := range map[string]struct{ raw, gap string }{
		"an id of another kind":   {catalogue(2, good, strings.Replace(other, "CVE-2026-0009", "CVE-26-9", 1)), "entry 2, after byte"},
		"a due date that is none": {catalogue(2, good, entry("CVE-2026-0009", "2026-02-30", "")), "no day"},
		"a due date of null":      {catalogue(2, good, strings.Replace(other, `"2026-08-04"`, "null", 1)), "dueDate is no string"},
		"no product":              {catalogue(2, good, strings.Replace(other, `"product"`, `"produce"`, 1)), "product is missing"},
		"a key twice":             {catalogue(2, good, entry("CVE-2026-0009", "2026-08-04", `,"dueDate":"2027-01-01"`)), "twice"},
		"a new word":              {catalogue(2, good, entry("CVE-2026-0009", "2026-08-04", `,"knownRansomwareCampaignUse":"Maybe"`)), "neither"},
		"an entry of null":        {catalogue(2, good, "null"), "an object was expected"},
		"an entry too large":      {catalogue(2, good, entry("CVE-2026-0009", "2026-08-04", `,"x":"`+strings.Repeat("y", maxEntry)+`"`)), "the limit is"},
		"a name too long":         {catalogue(2, good, strings.Replace(other, "Gate", strings.Repeat("g", maxText+1), 1)), "a name of more"},
		"more than it says":       {catalogue(1, good, other), "says that it has 1 entries, 2 were met"},
		"fewer than it says":      {catalogue(900, good), "says that it has 900 entries, 1 were met"},
		"a count of words":        {strings.Replace(catalogue(1, good), `"count":1`, `"count":"1"`, 1), "does not say how many"},
		"a count below zero":      {strings.Replace(catalogue(1, good), `"count":1`, `"count":-1`, 1), "does not say how many"},
		"no version":              {strings.Replace(catalogue(1, good), "catalogVersion", "x", 1), "its version"},
		"no release":              {strings.Replace(catalogue(1, good), "2026-08-07T", "then ", 1), "when it was released"},
		"one id, two entries":     {catalogue(3, good, entry("CVE-2026-0001", "2026-08-02", ""), entry("CVE-2026-0001", "2026-08-09", "")), "two different entries"},
		"nothing":                 {catalogue(0), "is empty"},
		"cut short":               {catalogue(2, good, other)[:len(catalogue(1, good))+40], "reading stopped at byte"},
		"a second catalogue":      {catalogue(1, good) + "{}", "something follows"},
		"a broken key":            {strings.TrimSuffix(catalogue(1, good), "}") + `,<`, "invalid character"},
		"too many":                {catalogue(MaxEntries+5, good, strings.Repeat(good+",", MaxEntries+3)+good), "more than 20000 entries"},
		"a top key twice":         {strings.TrimSuffix(catalogue(1, good), "}") + `,"count":1}`, "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			got := read(t, c.raw)
			if !strings.Contains(fmt.Sprint(got.Snapshot.Partial), c.gap) {
				t.Errorf("gaps %v, want %q", got.Snapshot.Partial, c.gap)
			}
			if e, l := got.Lookup("CVE-2026-0001"); name != "nothing" && (l != Listed || e.Due > "2026-08-04") {
				t.Errorf("the good entry: %s %+v", l, e)
			}
			if _, l := got.Lookup("CVE-1999-0001"); l != Unknown {
				t.Errorf("absent from a partial catalogue: %s", l)
			}
		})
	}
	if c := read(t, `{"count":0,"vulnerabilities":{}}`); !strings.Contains(fmt.Sprint(c.Snapshot.Partial), "are no list") {
		t.Errorf("an object for a list: %+v", c)
	}
	if c := read(t, `{"count":0,"vulnerabilities":`); !strings.Contains(fmt.Sprint(c.Snapshot.Partial), "EOF") {
		t.Errorf("nothing for a list: %+v", c)
	}
	if _, err := Read(strings.NewReader(""), now); !errors.Is(err, io.EOF) {
		t.Errorf("an empty file: %v", err)
	}
	if c := read(t, catalogue(2, good, good)); len(c.Entries) != 1 || len(c.Snapshot.Partial) != 0 {
		t.Errorf("the same entry twice: %+v", c)
	}
}

func TestWhatIsNoCatalogueIsUnusable(t *testing.T) {
	for _, raw := range []string{"", "[]", "{}", "null", `{"count":1`, "<html>", `{"vulnerabilitie":[]}`, "\x1f\x8b", "\x1f\x8bno gzip at all"} {
		if c, err := Read(strings.NewReader(raw), now); !errors.Is(err, document.ErrUnusable) || c.Entries != nil {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func TestAStaleCatalogueNoLongerSaysNo(t *testing.T) {
	c := read(t, catalogue(1, entry("CVE-2026-0001", "2026-08-04", "")))
	c.Snapshot = c.Snapshot.Aged(c.Snapshot.Newest+100, 99)
	if _, l := c.Lookup("CVE-1999-0001"); l != Unknown {
		t.Error(l)
	}
}

// Six real catalogues through time: each is whole, and what goes from one to
// the next is what the history of the catalogue says was removed.
func TestRealCataloguesThroughTime(t *testing.T) {
	h, err := os.Open(shareddata.Path(t, "../..", "kev/kev-history.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	lines, err := csv.NewReader(h).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	removed := map[string]bool{}
	for _, l := range lines[1:] {
		removed[l[0]] = l[5] != ""
	}
	var before Catalogue
	gone := 0
	for _, c := range []struct {
		version       string
		count, ransom int
	}{{"2023.04.10", 913, 0}, {"2023.10.19", 1022, 184}, {"2024.04.24", 1102, 224}, {"2024.10.23", 1200, 237}, {"2025.01.23", 1251, 245}, {"2026.08.07", 1662, 338}} {
		f, err := os.Open(shareddata.Path(t, "../..", "kev/known_exploited_vulnerabilities-"+c.version+".json.gz"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Read(f, now)
		f.Close()
		ransom := 0
		for _, e := range got.Entries {
			if e.Ransomware == "known" {
				ransom++
			}
		}
		if err != nil || got.Version != c.version || len(got.Entries) != c.count || ransom != c.ransom || len(got.Snapshot.Partial) != 0 {
			t.Fatalf("%s: %d entries, %d ransomware, %v, %v", c.version, len(got.Entries), ransom, got.Snapshot.Partial, err)
		}
		if got.Snapshot.Newest <= before.Snapshot.Newest {
			t.Errorf("%s is not released after the one before", c.version)
		}
		for _, e := range before.Entries {
			if _, l := got.Lookup(e.CVE); l != Listed {
				if gone++; !removed[e.CVE] {
					t.Errorf("%s: %s is gone, and the history does not say so", c.version, e.CVE)
				}
			}
		}
		before = got
	}
	t.Logf("%d entries were removed between the six", gone)
}

// Whatever bytes come: no panic; every entry is one that the standard library
// finds too; an answer without a gap has the count that the file gives.
func FuzzRead(f *testing.F) {
	f.Add([]byte(catalogue(1, entry("CVE-2026-0001", "2026-08-04", ""))))
	f.Add([]byte(catalogue(2, entry("CVE-2026-0001", "2026-08-04", ""), "null")))
	f.Add([]byte(`{"count":0,"vulnerabilities":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := Read(bytes.NewReader(raw), now)
		if err != nil {
			if !errors.Is(err, document.ErrUnusable) {
				t.Fatal(err)
			}
			return
		}
		if len(c.Snapshot.Partial) > 0 {
			return
		}
		var std struct {
			Count           int
			Vulnerabilities []map[string]any
		}
		in := io.Reader(bytes.NewReader(raw))
		if file, err := document.Open(in, MaxBytes); err == nil {
			in = file
		}
		if err := json.NewDecoder(in).Decode(&std); err != nil {
			t.Fatalf("taken, but not JSON: %v", err)
		}
		ids := map[string]bool{}
		for _, v := range std.Vulnerabilities {
			id, _ := v["cveID"].(string)
			ids[id] = true
		}
		for _, e := range c.Entries {
			if !ids[e.CVE] {
				t.Fatalf("%s is nowhere in the file", e.CVE)
			}
		}
		if len(ids) != len(c.Entries) || std.Count != len(std.Vulnerabilities) {
			t.Fatalf("%d entries, %d ids, count %d of %d", len(c.Entries), len(ids), std.Count, len(std.Vulnerabilities))
		}
	})
}
