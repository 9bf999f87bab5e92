package feed

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/nvd"
	"github.com/patchwrit/patchwrit/internal/shareddata"
)

func cveRecord(id, updated, automatable string) string {
	return fmt.Sprintf(`{"containers":{"adp":[{"metrics":[{"other":{"type":"ssvc","content":{"id":%q,"options":[{"Automatable":%q}],"timestamp":%q}}}],"providerMetadata":{"orgId":"134c704f-9b21-4f2e-91b3-4a467353bcc0"}}]},"dataType":"CVE_RECORD","cveMetadata":{"cveId":%[1]q,"state":"PUBLISHED","dateUpdated":%[3]q},"dataVersion":"5.1"}`, id, automatable, updated)
}

func nvdPage(start, total int, ids ...string) string {
	list := []string{}
	for _, id := range ids {
		list = append(list, fmt.Sprintf(`{"cve":{"id":%q,"lastModified":"2026-01-02T00:00:00.000","vulnStatus":"Deferred"}}`, id))
	}
	return fmt.Sprintf(`{"resultsPerPage":%d,"startIndex":%d,"totalResults":%d,"format":"NVD_CVE","version":"2.0","timestamp":"2026-06-18T00:00:00.000","vulnerabilities":[%s]}`, len(ids), start, total, strings.Join(list, ","))
}

func gzipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, s)
	z.Close()
	return b.String()
}

// tree writes files and returns their directory and the same as a zip.
func tree(t *testing.T, files map[string]string) (dir, packed string) {
	t.Helper()
	dir, packed = t.TempDir(), filepath.Join(t.TempDir(), "a.zip")
	f, err := os.Create(packed)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Modified: factsNow})
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), factsNow, factsNow); err != nil {
			t.Fatal(err)
		}
	}
	if z.Close() != nil || f.Close() != nil {
		t.Fatal("no zip")
	}
	return dir, packed
}

var factsNow = time.Unix(1_790_000_000, 0)

func readFacts(t *testing.T, source string, wanted func(string) bool, limits Limits) cve.Book {
	t.Helper()
	b, err := Facts(context.Background(), source, Options{Now: factsNow, Limits: limits}, wanted)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func gapsOf(b cve.Book) string {
	out := ""
	for _, g := range b.Snapshot.Partial {
		out += g.Record + ": " + string(g.Why) + "\n"
	}
	return out
}

// The layout of cvelistV5 with the files beside the records, as directory and as
// zip.
func TestFactsOfATree(t *testing.T) {
	dir, packed := tree(t, map[string]string{
		"cves/2026/0xxx/CVE-2026-0001.json": cveRecord("CVE-2026-0001", "2026-01-02T00:00:00Z", "no"),
		"cves/2026/0xxx/CVE-2026-0002.json": cveRecord("CVE-2026-0002", "2026-01-03T00:00:00Z", "yes"),
		"cves/delta.json":                   `{"numberOfChanges":1}`,
		"cves/deltaLog.json":                `[]`,
		"README.md":                         "#",
	})
	for _, source := range []string{dir, packed} {
		b := readFacts(t, source, nil, Limits{})
		s := b.Snapshot
		if len(b.Records) != 2 || s.Count != 2 || len(s.Partial) != 0 || s.Newest != 1767398400 || s.Name != cve.Name || s.Kind != cve.Kind || s.Fetched != factsNow.Unix() || len(s.Digest) != 64 {
			t.Errorf("%+v", b)
		}
		if r, ok := b.Of("CVE-2026-0002"); !ok || r.Claims[0].Value != "yes" || r.Feed != s.Origin() {
			t.Errorf("%+v", r)
		}
		if _, ok := b.Of("CVE-2026-0003"); ok {
			t.Error("a record out of nothing")
		}
		b = readFacts(t, source, func(id string) bool { return id == "CVE-2026-0002" }, Limits{})
		if len(b.Records) != 1 || b.Records[0].CVE != "CVE-2026-0002" || len(b.Snapshot.Partial) != 0 || b.Snapshot.Newest != factsNow.Unix() {
			t.Errorf("what is not wanted: %+v", b)
		}
		b = readFacts(t, source, func(string) bool { return false }, Limits{})
		if len(b.Records) != 0 || len(b.Snapshot.Partial) != 0 || b.Snapshot.Name != cve.Name {
			t.Errorf("nothing is wanted: %+v", b)
		}
	}
}

// A broken record is a gap with its id, and hides no other.
func TestFactsWithGaps(t *testing.T) {
	good := cveRecord("CVE-2026-0001", "2026-01-02T00:00:00Z", "no")
	for name, c := range map[string]struct {
		files  map[string]string
		limits Limits
		gap    string
	}{
		"a broken record":            {map[string]string{"CVE-2026-0001.json": good, "CVE-2026-0002.json": cveRecord("CVE-2026-0002", "2026-01-03T00:00:00Z", "maybe")}, Limits{}, "CVE-2026-0002: CVE-2026-0002.json: byte "},
		"another's record":           {map[string]string{"CVE-2026-0001.json": good, "CVE-2026-0002.json": cveRecord("CVE-2026-0003", "2026-01-03T00:00:00Z", "no")}, Limits{}, "holds the record of CVE-2026-0003"},
		"a page among the records":   {map[string]string{"CVE-2026-0001.json": good, "z.json": nvdPage(0, 1, "CVE-2026-0009")}, Limits{}, "began as cve json 5"},
		"broken gzip":                {map[string]string{"CVE-2026-0001.json": good, "CVE-2026-0002.json.gz": "\x1f\x8bxx"}, Limits{}, "CVE-2026-0002.json.gz: "},
		"cut gzip":                   {map[string]string{"CVE-2026-0001.json": good, "CVE-2026-0002.json.gz": gzipped(strings.Repeat(good, 100))[:100]}, Limits{}, "cannot be unpacked"},
		"too many files":             {map[string]string{"CVE-2026-0001.json": good, "CVE-2026-0002.json": cveRecord("CVE-2026-0002", "2026-01-03T00:00:00Z", "no")}, Limits{Records: 1}, "more than 1 files"},
		"too many bytes":             {map[string]string{"CVE-2026-0001.json": good, "CVE-2026-0002.json": cveRecord("CVE-2026-0002", "2026-01-03T00:00:00Z", "no")}, Limits{Unpacked: int64(len(good)) + 20}, "CVE-2026-0002"},
		"two with one time":          {map[string]string{"CVE-2026-0009.json": cveRecord("CVE-2026-0009", "2026-01-03T00:00:00Z", "no"), "a/CVE-2026-0009.json": cveRecord("CVE-2026-0009", "2026-01-03T00:00:00Z", "yes"), "b/CVE-2026-0001.json": good}, Limits{}, "neither is taken"},
		"a record that is no object": {map[string]string{"CVE-2026-0001.json": good, "CVE-2026-0002.json": "[]"}, Limits{}, "an object was expected"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, packed := tree(t, c.files)
			for _, source := range []string{dir, packed} {
				b := readFacts(t, source, nil, c.limits)
				r, ok := b.Of("CVE-2026-0001")
				if !ok || r.Claims[0].Value != "no" || !strings.Contains(gapsOf(b), c.gap) {
					t.Errorf("%+v\n%s", b.Records, gapsOf(b))
				}
				if r, ok := b.Of("CVE-2026-0009"); ok && len(r.Claims) != 0 {
					t.Errorf("%+v", r)
				}
			}
		})
	}
	dir, _ := tree(t, map[string]string{"README.md": "x"})
	if b := readFacts(t, dir, nil, Limits{}); !strings.Contains(gapsOf(b), "no record in it") {
		t.Error(gapsOf(b))
	}
}

func TestTheNewerOfTwoRecordsCounts(t *testing.T) {
	old, young := cveRecord("CVE-2026-0001", "2026-01-02T00:00:00Z", "no"), cveRecord("CVE-2026-0001", "2026-01-03T00:00:00Z", "yes")
	for _, files := range []map[string]string{{"a/CVE-2026-0001.json": old, "b/CVE-2026-0001.json": young, "c/CVE-2026-0001.json": young}, {"a/CVE-2026-0001.json": young, "b/CVE-2026-0001.json": old}} {
		dir, _ := tree(t, files)
		b := readFacts(t, dir, nil, Limits{})
		if len(b.Records) != 1 || b.Records[0].Claims[0].Value != "yes" || len(b.Snapshot.Partial) != 0 {
			t.Errorf("%+v", b)
		}
	}
}

// Pages, plain or gzip; one that is missing shows.
func TestFactsOfPages(t *testing.T) {
	dir, packed := tree(t, map[string]string{"0.json": nvdPage(0, 3, "CVE-2026-0001", "CVE-2026-0002"), "2.json.gz": gzipped(nvdPage(2, 3, "CVE-2026-0003"))})
	for _, source := range []string{dir, packed} {
		b := readFacts(t, source, func(id string) bool { return id != "CVE-2026-0001" }, Limits{})
		if len(b.Records) != 2 || len(b.Snapshot.Partial) != 0 || b.Snapshot.Name != nvd.Name || b.Snapshot.Kind != nvd.Kind || b.Snapshot.Newest != 1781740800 || !b.Records[0].Unscored() {
			t.Errorf("%+v", b)
		}
	}
	dir, _ = tree(t, map[string]string{"0.json": nvdPage(0, 3, "CVE-2026-0001", "CVE-2026-0002")})
	if b := readFacts(t, dir, nil, Limits{}); !strings.Contains(gapsOf(b), "3 records in all, 2 were met: a page is missing") {
		t.Error(gapsOf(b))
	}
}

// One file by URL; and any file, as it comes.
func TestFactsAndFilesByURL(t *testing.T) {
	text := gzipped(cveRecord("CVE-2026-0001", "2026-01-02T00:00:00Z", "no"))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/CVE-2026-0001.json.gz" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, text)
	}))
	defer s.Close()
	url := strings.Replace(s.URL, "http://", "http://user:secret@", 1) + "/CVE-2026-0001.json.gz?token=secret"
	b := readFacts(t, url, nil, Limits{})
	if len(b.Records) != 1 || strings.Contains(b.Snapshot.Source, "secret") || len(b.Snapshot.Partial) != 0 {
		t.Errorf("%+v", b)
	}
	before, _ := filepath.Glob(filepath.Join(os.TempDir(), ".feed-*"))
	in, name, err := Open(context.Background(), url, Options{Now: factsNow})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(in)
	if in.Close(); err != nil || string(raw) != text || strings.Contains(name, "secret") || !strings.HasSuffix(name, "/CVE-2026-0001.json.gz") {
		t.Errorf("%v %q", err, name)
	}
	if after, _ := filepath.Glob(filepath.Join(os.TempDir(), ".feed-*")); len(after) > len(before) {
		t.Errorf("left behind: %v", after)
	}
	for _, source := range []string{s.URL + "/absent", "http://", filepath.Join(t.TempDir(), "absent")} {
		if _, _, err := Open(context.Background(), source, Options{Now: factsNow}); err == nil {
			t.Errorf("%s can be opened", source)
		}
		if _, err := Facts(context.Background(), source, Options{Now: factsNow}, nil); err == nil {
			t.Errorf("%s can be read", source)
		}
	}
}

// CISA's repository, as it is.
func TestFactsOfVulnrichment(t *testing.T) {
	b := readFacts(t, shareddata.Path(t, "..", "vulnrichment/vulnrichment-2025-01-24-kev-subset.zip"), nil, Limits{})
	log4j, ok := b.Of("CVE-2021-44228")
	if len(b.Records) != 391 || len(b.Snapshot.Partial) != 0 || ok && len(log4j.Claims) != 3 {
		t.Errorf("%d records, %v", len(b.Records), b.Snapshot.Partial)
	}
	one := b.Records[17].CVE
	only := readFacts(t, shareddata.Path(t, "..", "vulnrichment/vulnrichment-2025-01-24-kev-subset.zip"), func(id string) bool { return id == one }, Limits{})
	if len(only.Records) != 1 || only.Records[0].Raw != b.Records[17].Raw {
		t.Errorf("%+v", only.Records)
	}
}
