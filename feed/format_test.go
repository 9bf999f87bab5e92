package feed

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
)

const trackerText = `{"p":{"CVE-2026-1":{"releases":{"bookworm":{"status":"open"}}}}}`

func TestTheContentSaysTheFormat(t *testing.T) {
	for text, want := range map[string]string{
		rec("A"):                    "osv",
		`{`:                         "osv",
		`{}`:                        "osv",
		``:                          "osv",
		`[{"p":{"CVE-2026-1":{}}}]`: "osv",
		`{"summary":"\"id\":{","x":[{"CVE-1":1}],"id":"A"}`:      "osv",
		`{"packages":[],"distroversion":"v3.22"}`:                "alpine-secdb",
		`{"@context":"https://openvex.dev/ns/v0.2.0","@id":"x"}`: "openvex",
		`{"document":{"category":"csaf_vex"}}`:                   "redhat-csaf",
		`{"packages":{"CVE-1":{}}}`:                              "debian-tracker",
		trackerText:                                              "debian-tracker",
		` { "id" : { "TEMP-1" : {}}}`:                            "debian-tracker",
		`{"summary":"x","modified":{"CVE-1":{}}}`:                "debian-tracker",
	} {
		if got := sniff(bufio.NewReaderSize(strings.NewReader(text), sniffed)).name; got != want {
			t.Errorf("%s is taken for %s, want %s", text, got, want)
		}
	}
}

func TestOneFeedHasOneFormat(t *testing.T) {
	s := read(t, put(t, t.TempDir(), "all.zip", zipped(t, "a.json", rec("A"), "b.json", trackerText, "c.json", rec("C"))), at)
	if ids(s) != "A C" || len(s.Snapshot.Partial) != 1 || !strings.Contains(fmt.Sprint(s.Snapshot.Partial), "a feed of its own") {
		t.Errorf("%s %v", ids(s), s.Snapshot.Partial)
	}
}

// Where the records carry no date the file's counts: the oldest file's, the
// zip's entry's, the server's.
func TestAFormatWithoutDatesIsAsOldAsItsFiles(t *testing.T) {
	dir := t.TempDir()
	then, later := time.Unix(1_700_000_000, 0), time.Unix(1_750_000_000, 0)
	one, two := put(t, dir, "d/a.json", []byte(trackerText)), put(t, dir, "d/b.json", []byte(strings.ReplaceAll(trackerText, "CVE-2026-1", "CVE-2026-2")))
	for name, when := range map[string]time.Time{one: later, two: then} {
		if err := os.Chtimes(name, time.Time{}, when); err != nil {
			t.Fatal(err)
		}
	}
	header := http.Header{}
	url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for k := range header {
			w.Header().Set(k, header.Get(k))
		}
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("ETag", `"x"`)
		w.Write([]byte(trackerText))
	})
	newest := func(source string, o Options) int64 {
		s := read(t, source, o)
		if s.Snapshot.Kind != "debian security tracker" || s.Snapshot.Name != "debian-tracker" || len(s.Snapshot.Partial) != 0 || s.Snapshot.Count == 0 {
			t.Errorf("%s: %+v", source, s.Snapshot)
		}
		return s.Snapshot.Newest
	}
	cached := at
	cached.Cache = t.TempDir()
	header.Set("Last-Modified", then.UTC().Format(http.TimeFormat))
	header.Set("Date", later.UTC().Format(http.TimeFormat))
	for i, got := range []int64{newest(filepath.Join(dir, "d"), at), newest(two, at), newest(url, at), newest(url, cached)} {
		if got != then.Unix() {
			t.Errorf("%d: %d", i, got)
		}
	}
	header.Del("Last-Modified")
	if a, b, c := newest(one, at), newest(url, at), newest(url, cached); a != later.Unix() || b != later.Unix() || c != then.Unix() {
		t.Errorf("the file %d, without Last-Modified %d, from the cache %d", a, b, c)
	}
}

func TestNoMoreRecordsThanTheLimit(t *testing.T) {
	o := at
	o.Limits.Records = 1
	s := read(t, put(t, t.TempDir(), "t.json", []byte(`{"p":{"CVE-2026-1":{},"CVE-2026-2":{}}}`)), o)
	if s.Snapshot.Count != 1 || len(s.Snapshot.Partial) != 1 || advisory.BasisRecord != s.Advisories[0].Basis {
		t.Errorf("%+v", s.Snapshot)
	}
}
