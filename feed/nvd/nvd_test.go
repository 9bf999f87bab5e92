package nvd

import (
	"bytes"
	"compress/gzip"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/internal/shareddata"
)

const (
	first = `{"cve":{"id":"CVE-2026-0001","sourceIdentifier":"security@example.invalid","published":"2026-01-01T00:00:00.100","lastModified":"2026-01-02T00:00:00.200","vulnStatus":"Analyzed","cveTags":[],"descriptions":[{"lang":"en","value":"d"}],
"metrics":{"cvssMetricV31":[{"source":"nvd@nist.gov","type":"Primary","cvssData":{"version":"3.1","vectorString":"CVSS:3.1/AV:N","baseScore":10.0},"exploitabilityScore":3.9},
{"source":"security@example.invalid","type":"Secondary","cvssData":{"version":"3.1","vectorString":"CVSS:3.1/AV:L","baseScore":5}},
{"source":"134c704f-9b21-4f2e-91b3-4a467353bcc0","type":"Secondary","cvssData":{"version":"3.1","vectorString":"CVSS:3.1/AV:A","baseScore":7.1}}],
"ssvcV203":[{"source":"134c704f-9b21-4f2e-91b3-4a467353bcc0","ssvcData":{"timestamp":"2025-02-04T14:25:34.416117Z","id":"CVE-2026-0001","options":[{"exploitation":"active"},{"automatable":"yes"},{"technicalImpact":"total"}],"role":"CISA Coordinator","version":"2.0.3"}}]}}}`
	second = `{"cve":{"id":"CVE-2026-0002","sourceIdentifier":"c","published":"2026-01-01T00:00:00.000","lastModified":"2026-01-02T00:00:00.000","vulnStatus":"STATUS","metrics":{}}}`
)

func pageOf(list ...string) string {
	n := string(rune('0' + len(list)))
	return `{"resultsPerPage":` + n + `,"startIndex":0,"totalResults":` + n + `,"format":"NVD_CVE","version":"2.0","timestamp":"2026-06-18T00:00:00.000","vulnerabilities":[` + strings.Join(list, ",") + `]}`
}

type gap struct{ record, why string }

func read(raw string) (list []cve.Record, gaps []gap, p Page) {
	p = Read(strings.NewReader(raw), func(r cve.Record) { list = append(list, r) }, func(record, why string) { gaps = append(gaps, gap{record, why}) })
	return list, gaps, p
}

func TestWhatIsPassedOnSaysSo(t *testing.T) {
	list, gaps, p := read(pageOf(first))
	const id, changed, said = "CVE-2026-0001", 1767312000, 1738679134
	want := []cve.Record{{CVE: id, Status: "Analyzed", Published: 1767225600, Modified: changed, Raw: canon.SumFile([]byte(first)),
		Claims: []cve.Claim{{CVE: id, Point: cve.Exploitation, Value: "active", Source: cve.CISA, Role: cve.ADP, At: said, Via: Via},
			{CVE: id, Point: cve.Automatable, Value: "yes", Source: cve.CISA, Role: cve.ADP, At: said, Via: Via}, {CVE: id, Point: cve.Impact, Value: "total", Source: cve.CISA, Role: cve.ADP, At: said, Via: Via}},
		Scores: []cve.Score{{CVE: id, Version: "3.1", Vector: "CVSS:3.1/AV:N", Tenths: 100, Source: "nvd@nist.gov", Role: cve.NVD, At: changed, Via: Via},
			{CVE: id, Version: "3.1", Vector: "CVSS:3.1/AV:L", Tenths: 50, Source: "security@example.invalid", Role: cve.CNA, At: changed, Via: Via},
			{CVE: id, Version: "3.1", Vector: "CVSS:3.1/AV:A", Tenths: 71, Source: cve.CISA, Role: cve.ADP, At: changed, Via: Via}}}}
	if !reflect.DeepEqual(list, want) || len(gaps) != 0 || p != (Page{0, 1, 1, 1781740800, 1}) {
		t.Errorf("%+v\n%v %+v", list, gaps, p)
	}
}

// To wait for NIST is a state of its own.
func TestUnscored(t *testing.T) {
	for _, word := range []string{"Received", "Awaiting Analysis", "Undergoing Analysis", "Deferred", "Not Scheduled", "Rejected", "Modified"} {
		list, gaps, _ := read(pageOf(strings.Replace(second, "STATUS", word, 1)))
		if len(list) != 1 || len(gaps) != 0 || !list[0].Unscored() || list[0].Status != word || list[0].Rejected != (word == "Rejected") {
			t.Errorf("%s: %+v %v", word, list, gaps)
		}
		if word == "Rejected" && list[0].Withdrawn != 1767312000 || word != "Rejected" && list[0].Withdrawn != 0 {
			t.Errorf("%s: %+v", word, list[0])
		}
	}
}

func TestBrokenRecordsAreLeftOut(t *testing.T) {
	for name, c := range map[string]struct{ from, to, record, why string }{
		"no id":                 {`"id":"CVE-2026-0001",`, "", "", "no id"},
		"no CVE":                {`"id":"CVE-2026-0001"`, `"id":"X"`, "", "no CVE id"},
		"no status":             {`"vulnStatus":"Analyzed",`, "", "CVE-2026-0001", "vulnStatus"},
		"a time":                {`2026-01-02T00:00:00.200`, `now`, "CVE-2026-0001", "no time"},
		"a score without words": {`"source":"nvd@nist.gov",`, "", "CVE-2026-0001", "without source"},
		"a score without data":  {`"cvssData":{"version":"3.1","vectorString":"CVSS:3.1/AV:N","baseScore":10.0},`, "", "CVE-2026-0001", "cvssData"},
		"points without source": {`"ssvcV203":[{"source":"134c704f-9b21-4f2e-91b3-4a467353bcc0",`, `"ssvcV203":[{`, "CVE-2026-0001", "SSVC points without"},
		"points without data":   {`"ssvcData"`, `"data"`, "CVE-2026-0001", "SSVC points without"},
		"points of another":     {`"id":"CVE-2026-0001","options"`, `"id":"CVE-2026-0009","options"`, "CVE-2026-0001", "those of"},
		"no score":              {`"baseScore":10.0`, `"baseScore":11`, "CVE-2026-0001", "base score"},
		"too many scores":       {`"cvssMetricV31":[`, `"cvssMetricV2":[` + strings.Repeat("{},", 300) + `{}],"cvssMetricV31":[`, "CVE-2026-0001", "without source"},
		"too large":             {`"value":"d"`, `"value":"` + strings.Repeat("d", cve.MaxRecord) + `"`, "", "has more than 8388608 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			broken := strings.Replace(first, c.from, c.to, 1)
			if broken == first {
				t.Fatal("nothing was replaced")
			}
			list, gaps, p := read(pageOf(broken, strings.Replace(second, "STATUS", "Deferred", 1)))
			if len(list) != 1 || list[0].CVE != "CVE-2026-0002" || p.Met != 2 {
				t.Fatalf("%+v %v: the other record is lost", list, gaps)
			}
			if len(gaps) != 1 || gaps[0].record != c.record || !strings.Contains(gaps[0].why, c.why) || !strings.Contains(gaps[0].why, "byte ") {
				t.Errorf("%v", gaps)
			}
		})
	}
}

func TestAPageThatIsNotWhole(t *testing.T) {
	whole := pageOf(first)
	for name, c := range map[string]struct{ raw, why string }{
		"fewer than it says": {strings.Replace(whole, `"resultsPerPage":1`, `"resultsPerPage":2`, 1), "says that it has 2 records, 1 were met"},
		"no count":           {strings.Replace(whole, `"resultsPerPage":1,`, "", 1), "does not say how many"},
		"no start":           {strings.Replace(whole, `"startIndex":0,`, "", 1), "does not say how many"},
		"no total":           {strings.Replace(whole, `"totalResults":1,`, "", 1), "does not say how many"},
		"a count in words":   {strings.Replace(whole, `"resultsPerPage":1`, `"resultsPerPage":"1"`, 1), "a count"},
		"a count too long":   {strings.Replace(whole, `"resultsPerPage":1`, `"resultsPerPage":1234567890`, 1), "9 digits"},
		"a broken count":     {strings.Replace(whole, `"resultsPerPage":1`, `"resultsPerPage":1.5`, 1), "follows"},
		"another format":     {strings.Replace(whole, "NVD_CVE", "NVD_CPE", 1), "only NVD_CVE 2.0"},
		"another version":    {strings.Replace(whole, `"version":"2.0"`, `"version":"3.0"`, 1), "only NVD_CVE 2.0"},
		"cut":                {whole[:len(whole)-2], "what follows is lost"},
		"cut in a record":    {whole[:len(whole)-200], "what follows is lost"},
		"a long time":        {strings.Replace(whole, "2026-06-18T", strings.Repeat("2", maxHeader), 1), "too long"},
		"something after it": {whole + "{}", "what follows is lost"},
		"a long header":      {strings.Replace(whole, `{"resultsPerPage"`, `{"x":"`+strings.Repeat("x", maxHeader)+`","resultsPerPage"`, 1), "too long"},
		"nothing":            {"", "what follows is lost"},
	} {
		t.Run(name, func(t *testing.T) {
			_, gaps, _ := read(c.raw)
			if len(gaps) != 1 || gaps[0].record != "" || !strings.Contains(gaps[0].why, c.why) {
				t.Errorf("%v", gaps)
			}
		})
	}
}

// Real answers of the API, and a yearly file, are read whole.
func TestRealPages(t *testing.T) {
	files := shareddata.Archive(t, "../..", "fixtures/vuls-data-update-feed-fixtures.tar.zst", "/nvd/")
	pages, records, scores, deferred := 0, 0, 0, 0
	for name, raw := range files {
		if strings.Contains(name, "/v1/") || !strings.Contains(name, "/cve/") {
			continue
		}
		if strings.HasSuffix(name, ".gz") {
			z, err := gzip.NewReader(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			if raw, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		list, gaps, p := read(string(raw))
		if strings.Contains(name, "/moddate/") { // the only fixture whose count is not that of its records
			if len(gaps) != 1 || !strings.Contains(gaps[0].why, "8 were met") {
				t.Errorf("%s: %v", name, gaps)
			}
		} else if len(gaps) != 0 || p.Met != len(list) {
			t.Errorf("%s: %v", name, gaps)
		}
		pages, records = pages+1, records+len(list)
		for _, r := range list {
			if scores += len(r.Scores); r.Status == "Deferred" {
				deferred++
			}
		}
	}
	if pages < 15 || records < 40 || scores < 20 {
		t.Errorf("%d pages, %d records, %d scores, %d deferred", pages, records, scores, deferred)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(pageOf(first, second)))
	f.Add([]byte(pageOf(first)[:200]))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, gaps, p := read(string(raw))
		if len(list) > p.Met || len(gaps) == 0 && len(list) != p.Results {
			t.Fatalf("%d records, %v, %+v", len(list), gaps, p)
		}
		for _, r := range list {
			if !cve.ID(r.CVE) || r.Status == "" || r.Claims == nil || r.Scores == nil {
				t.Fatalf("%+v", r)
			}
			for _, s := range r.Scores {
				if s.Via != Via || s.CVE != r.CVE || s.Source == "" || s.Tenths < 0 || s.Tenths > 100 {
					t.Fatalf("%+v", s)
				}
			}
		}
	})
}
