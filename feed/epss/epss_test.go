package epss

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/document"
	"github.com/patchwrit/patchwrit/internal/shareddata"
)

var now = Options{Source: "feeds/epss_scores-2026-08-16.csv.gz", Now: time.Unix(1_790_000_000, 0)}

func readAll(t testing.TB, raw string, o Options) Scores {
	t.Helper()
	s, err := Read(strings.NewReader(raw), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryGenerationIsRead(t *testing.T) {
	for name, c := range map[string]struct {
		raw, source, day, model string
		score                   Score
	}{
		"two columns":   {"cve,epss\nCVE-2020-5902,0.65117\n", "epss_scores-2021-04-14.csv", "2021-04-14", "", Score{651170, 0, false}},
		"long decimals": {"cve,epss,percentile\nCVE-2020-5902,0.65117,0.9981063485700858\n", "x/epss_scores-2021-09-01.csv.gz", "2021-09-01", "", Score{651170, 998106, true}},
		"a first line":  {"#model_version:v2022.01.01,score_date:2022-02-04T00:00:00+0000\ncve,epss,percentile\nCVE-2020-5902,0.96817,0.99999\n", "x.csv", "2022-02-04", "v2022.01.01", Score{968170, 999990, true}},
		"today's":       {"#model_version:v2025.03.14,score_date:2026-08-16T12:55:00Z\r\ncve,epss,percentile\r\nCVE-2020-5902,1.0,1e-05\r\n", "epss_scores-2020-01-01.csv", "2026-08-16", "v2025.03.14", Score{PPM, 10, true}},
	} {
		t.Run(name, func(t *testing.T) {
			s := readAll(t, c.raw, Options{c.source, now.Now})
			got, ok := s.Of("CVE-2020-5902")
			if !ok || got != c.score || s.Day != c.day || s.Model != c.model || len(s.Snapshot.Partial) != 0 || s.Snapshot.Count != 1 {
				t.Errorf("%+v %+v", got, s)
			}
			at, _ := time.Parse(time.DateOnly, c.day)
			if s.Snapshot.Newest != at.Unix() || s.Snapshot.Digest != canon.SumFile([]byte(c.raw)) {
				t.Errorf("%+v", s.Snapshot)
			}
		})
	}
}

func TestUnscoredIsNotZero(t *testing.T) {
	s := readAll(t, "cve,epss,percentile\nCVE-0000-0000,0.5,0.5\nCVE-2026-0002,0.0,0.0\nCVE-2026-10000,0.1,0.2\n", now)
	if z, ok := s.Of("CVE-2026-0002"); !ok || z != (Score{Ranked: true}) {
		t.Error(z, ok)
	}
	for _, cve := range []string{"CVE-2026-0001", "CVE-2026-00002", "CVE-2026-010000", "CVE-2026-1000", "", "GHSA-x", "CVE-2026-2"} {
		if s, ok := s.Of(cve); ok || s != (Score{}) {
			t.Errorf("%q has a score: %v", cve, s)
		}
	}
}

func TestWhatIsWrongIsAGap(t *testing.T) {
	const head, good = "cve,epss,percentile\n", "CVE-2026-0001,0.5,0.9\n"
	for name, c := range map[string]struct{ raw, gap string }{
		"no CVE":                 {head + "GHSA-1,0.1,0.2\n" + good, "line 2 was skipped: the first column"},
		"a padded number":        {head + "CVE-2026-00009,0.1,0.2\n" + good, "no CVE id"},
		"a long number":          {head + "CVE-2026-1234567890123,0.1,0.2\n" + good, "no CVE id"},
		"letters":                {head + "CVE-2026-00x9,0.1,0.2\n" + good, "no CVE id"},
		"above one":              {head + "CVE-2026-0009,1.00001,0.2\n" + good, "between 0 and 1"},
		"below zero":             {head + "CVE-2026-0009,-0.1,0.2\n" + good, "between 0 and 1"},
		"not a number":           {head + "CVE-2026-0009,NaN,0.2\n" + good, "between 0 and 1"},
		"hexadecimal":            {head + "CVE-2026-0009,0x1p-2,0.2\n" + good, "between 0 and 1"},
		"a broken percentile":    {head + "CVE-2026-0009,0.1,\n" + good, "between 0 and 1"},
		"no digit first":         {head + "CVE-2026-0009,.1,0.2\n" + good, "between 0 and 1"},
		"no number at all":       {head + "CVE-2026-0009,,0.2\n" + good, "between 0 and 1"},
		"a long value":           {head + "CVE-2026-0009,0.1" + strings.Repeat("0", 30) + ",0.2\n" + good, "between 0 and 1"},
		"a column less":          {head + "CVE-2026-0009,0.1\n" + good, "columns"},
		"a column more":          {head + "CVE-2026-0009,0.1,0.2,0.3\n" + good, "between 0 and 1"},
		"an empty line":          {head + "\n" + good, "no CVE id"},
		"a line without end":     {head + good + "CVE-2026-0009,0.1,0.2", "cut short"},
		"a line too long":        {head + strings.Repeat("x", 3*document.MaxLine) + "\n" + good, "a line of more"},
		"two scores":             {head + "CVE-2026-0001,0.1,0.9\n" + good + "CVE-2026-0001,0.4,0.99\n", "the higher one"},
		"no row":                 {head, "no score"},
		"a date that is none":    {"#model_version:v1,score_date:soon\n" + head + good, "no date"},
		"a gzip that is cut off": {"", "reading stopped in line"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := c.raw
			if raw == "" {
				raw = cutGzip(t, head+good)
			}
			s := readAll(t, raw, now)
			if !strings.Contains(fmt.Sprint(s.Snapshot.Partial), c.gap) {
				t.Errorf("gaps %v, want %q", s.Snapshot.Partial, c.gap)
			}
			if g, ok := s.Of("CVE-2026-0001"); name != "no row" && (!ok || g.EPSS != 500_000) {
				t.Errorf("the good row: %v %v", g, ok)
			}
			if _, ok := s.Of("CVE-2026-0009"); ok {
				t.Error("the broken row counts")
			}
		})
	}
	if s := readAll(t, head+good+good, now); s.Snapshot.Count != 1 || len(s.Snapshot.Partial) != 0 {
		t.Errorf("the same row twice: %+v", s)
	}
	if s := readAll(t, head+good, Options{"scores.csv", now.Now}); !strings.Contains(fmt.Sprint(s.Snapshot.Partial), "age is unknown") {
		t.Errorf("no day: %+v", s)
	}
}

func TestWhatIsNoFileOfScoresIsUnusable(t *testing.T) {
	for raw, why := range map[string]string{"": "in line 1: EOF", "<html>\n": "other columns", "cve;epss;percentile\n": "other columns", "cve,percentile,epss\n": "other columns", "#only\n": "EOF",
		strings.Repeat("#\n", 20) + "cve,epss\n": "first 16 lines", "cve,epss": "may be cut short", strings.Repeat("x", 2*document.MaxLine): "a line of more", "\x1f\x8b\x08": "unexpected EOF"} {
		if _, err := Read(strings.NewReader(raw), now); !errors.Is(err, document.ErrUnusable) || !strings.Contains(err.Error(), why) {
			t.Errorf("%.40q: %v", raw, err)
		}
	}
}

// TestNoMoreRowsThanTheLimit: what is beyond it is a gap, what was read counts.
func TestNoMoreRowsThanTheLimit(t *testing.T) {
	const three = "cve,epss\nCVE-2026-0001,0.1\nCVE-2026-0002,0.1\nCVE-2026-0003,0.1\n"
	for most, count := range map[int]int{2: 2, 3: 3} {
		s, err := read(strings.NewReader(three), now, most)
		if cut := strings.Contains(fmt.Sprint(s.Snapshot.Partial), "more than 2 rows"); err != nil || s.Snapshot.Count != count || cut != (count == 2) {
			t.Errorf("%d: %+v, %v", most, s.Snapshot, err)
		}
	}
}

func real(t testing.TB, day string) (Scores, string) {
	p := shareddata.Path(t, "../..", "epss/epss_scores-"+day+".csv.gz")
	raw, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return readAll(t, string(raw), Options{p, now.Now}), p
}

// Three real days: each is whole, and every row equals a plain reading of its line.
func TestRealScoresThroughTime(t *testing.T) {
	last := 0
	for _, c := range []struct {
		day   string
		count int
	}{{"2024-06-30", 252_015}, {"2025-01-26", 275_281}, {"2026-08-16", 360_142}} {
		s, p := real(t, c.day)
		if s.Snapshot.Count != c.count || s.Day != c.day || len(s.Snapshot.Partial) != 0 || s.Snapshot.Count <= last {
			t.Fatalf("%s: %+v", c.day, s.Snapshot)
		}
		last = s.Snapshot.Count
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		d, err := document.Open(f, MaxBytes)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(d)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			part := strings.Split(strings.TrimSpace(line), ",")
			if part[0] == "cve" {
				continue
			}
			got, ok := s.Of(part[0])
			if want := fmt.Sprintf("%.5f %.5f", float64(got.EPSS)/PPM, float64(got.Percentile)/PPM); !ok || want != part[1]+" "+part[2] {
				t.Fatalf("%s: %s, file %v", part[0], want, part)
			}
		}
	}
}

// BenchmarkRead reads the whole file of August 2026, packed. "held" is what one
// reading keeps in memory.
func BenchmarkRead(b *testing.B) {
	raw, err := os.ReadFile(shareddata.Path(b, "../..", "epss/epss_scores-2026-08-16.csv.gz"))
	if err != nil {
		b.Fatal(err)
	}
	var s Scores
	b.ReportAllocs()
	for b.Loop() {
		if s, err = Read(bytes.NewReader(raw), now); err != nil {
			b.Fatal(err)
		}
	}
	rows := float64(s.Snapshot.Count)
	b.ReportMetric(rows, "rows")
	b.ReportMetric(float64(held(&s))/rows, "held-B/row")
}

// held is the heap that goes when s goes.
func held(s *Scores) int64 {
	var with, without runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&with)
	runtime.KeepAlive(s)
	*s = Scores{}
	runtime.GC()
	runtime.ReadMemStats(&without)
	return int64(with.HeapAlloc) - int64(without.HeapAlloc)
}

func cutGzip(t *testing.T, text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil || z.Flush() != nil {
		t.Fatal(err)
	}
	return b.String() // never closed
}

// Whatever bytes come: no panic; the values are in range; and what is taken can
// be found by the name that stands in the file.
func FuzzRead(f *testing.F) {
	f.Add([]byte("#model_version:v1,score_date:2026-01-01\ncve,epss,percentile\nCVE-2026-0001,0.5,0.9\n"))
	f.Add([]byte("cve,epss\nCVE-2026-123456,1e-05\nCVE-2026-123456,0.1"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Read(bytes.NewReader(raw), now)
		if err != nil {
			if !errors.Is(err, document.ErrUnusable) {
				t.Fatal(err)
			}
			return
		}
		for i, r := range s.rows {
			name := nameOf(r.cve)
			got, ok := s.Of(name)
			if !ok || got.EPSS > PPM || got.Percentile > PPM || i > 0 && s.rows[i-1].cve >= r.cve {
				t.Fatalf("%s: %+v %v", name, got, ok)
			}
			if raw[0] != 0x1f && !bytes.Contains(raw, []byte(name+",")) {
				t.Fatalf("%s is nowhere in the file", name)
			}
		}
		if s.Snapshot.Count != len(s.rows) || len(s.rows) == 0 && len(s.Snapshot.Partial) == 0 {
			t.Fatalf("%+v", s.Snapshot)
		}
	})
}
