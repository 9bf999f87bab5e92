package tracker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/shareddata"
)

// all reads a text; gaps are "record: why".
func all(in io.Reader) (list []advisory.Advisory, gaps []string) {
	Read(in, func(a advisory.Advisory) { list = append(list, a) }, func(record, why string) { gaps = append(gaps, record+": "+why) })
	return list, gaps
}

func TestNormalForm(t *testing.T) {
	raw, err := os.ReadFile("testdata/tracker.json")
	if err != nil {
		t.Fatal(err)
	}
	list, gaps := all(bytes.NewReader(raw))
	if len(gaps) != 0 {
		t.Error(gaps)
	}
	got, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if os.Getenv("PATCHWRIT_REWRITE") == "1" {
		if err := os.WriteFile("testdata/tracker.golden", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/tracker.golden")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v; got:\n%s", err, got)
	}
	for _, a := range list {
		if _, err := canon.Encode(a); err != nil {
			t.Errorf("%s: no canonical bytes: %v", a.ID, err)
		}
	}
}

// one is a package with one record around the text of one release.
func one(release string) string {
	return `{"p":{"CVE-2026-1":{"releases":{"bookworm":` + release + `}},"CVE-2026-2":{"releases":{}}}}`
}

func TestABrokenRecordIsReportedAndTheOthersAreRead(t *testing.T) {
	for text, want := range map[string]string{ // text: the one gap
		one(`{"status":"closed"}`): `the status "closed" is not known`,
		one(`{}`):                  `the status "" is not known`,
		one(`{"status":"resolved","fixed_version":"1:"}`): `is no version`,
		one(`{"status":"open","status":"resolved"}`):      "stands twice",
		one(`{"status":7}`):                               "a string was expected",
		one(`{"status":"open","urgency":"\u00e9"}`):       "outside printable ASCII",
		one(`[]`): "an object was expected",
		one(`{"status":"open","x":` + strings.Repeat("9", maxRecord) + `}`):                     "more than 1048576 bytes",
		`{"p":{"CVE-2026-1":{"releases":{"":{"status":"open"}}},"CVE-2026-2":{"releases":{}}}}`: "is no codename",
		`{"p":{"CVE-2026-1\u0000":{"releases":{}},"CVE-2026-2":{"releases":{}}}}`:               "printable ASCII",
		`{"p":{"CVE-2026-1":{"releases":{},"x":01},"CVE-2026-2":{"releases":{}}}}`:              "not a number",
		`{"p":{"CVE-2026-1":null,"CVE-2026-2":{}}}`:                                             "an object was expected",
	} {
		list, gaps := all(strings.NewReader(text))
		if len(list) != 1 || list[0].Aliases[0] != "CVE-2026-2" || len(gaps) != 1 || !strings.HasPrefix(gaps[0], "p/CVE-2026-1") || !strings.Contains(gaps[0], want) {
			t.Errorf("%.90s: %d records, gaps %q, want %q", text, len(list), gaps, want)
		}
	}
	_, gaps := all(strings.NewReader(`{"p":{"CVE-2026-1":  {"releases":7}}}`))
	if want := `byte 33: an object was expected`; len(gaps) != 1 || !strings.Contains(gaps[0], want) {
		t.Errorf("gaps %q, want %q", gaps, want)
	}
}

func TestALostRestIsSaid(t *testing.T) {
	whole := one(`{"status":"open"}`)
	for cut := range len(whole) {
		list, gaps := all(strings.NewReader(whole[:cut]))
		if len(gaps) == 0 || !strings.HasPrefix(gaps[len(gaps)-1], ": byte ") || len(list) > 2 {
			t.Errorf("cut at %d: %d records, gaps %q", cut, len(list), gaps)
		}
	}
	for _, text := range []string{whole + "{}", `[]`, `{"p":[]}`, `{"p":{},"p":{}}`, `{"p":{"CVE-1":{},"CVE-1":{}}}`} {
		if _, gaps := all(strings.NewReader(text)); len(gaps) != 1 {
			t.Errorf("%s: gaps %q", text, gaps)
		}
	}
}

// Tens of megabytes go through without being held.
func BenchmarkRead(b *testing.B) {
	rec := `{"description":"` + strings.Repeat("A sentence about what goes wrong. ", 8) + `","scope":"remote","releases":{`
	for i, r := range []string{"bullseye", "bookworm", "trixie", "forky", "sid"} {
		if i > 0 {
			rec += ","
		}
		rec += fmt.Sprintf(`%q:{"status":"resolved","repositories":{%q:"1.0-%d","%s-security":"1.0-%d"},"fixed_version":"1.0-%d","urgency":"not yet assigned"}`, r, r, i, r, i, i)
	}
	var text bytes.Buffer
	text.WriteByte('{')
	for p := range 4000 {
		fmt.Fprintf(&text, "%s\"package-%d\":{", map[bool]string{true: ",", false: ""}[p > 0], p)
		for c := range 15 {
			fmt.Fprintf(&text, "%s\"CVE-2026-%d\":%s}}", map[bool]string{true: ",", false: ""}[c > 0], p*15+c, rec)
		}
		text.WriteByte('}')
	}
	text.WriteByte('}')
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		Read(bytes.NewReader(text.Bytes()), func(advisory.Advisory) { n++ }, func(r, w string) { b.Fatal(r, w) })
		if n != 60_000 {
			b.Fatal(n)
		}
	}
}

// TestRealSample reads what others kept of the real export.
func TestRealSample(t *testing.T) {
	const name = "pkg/fetch/debian/tracker/api/testdata/fixtures/advisory.json"
	raw := shareddata.Archive(t, "../..", "fixtures/vuls-data-update-feed-fixtures.tar.zst", name)[name]
	list, gaps := all(bytes.NewReader(raw))
	var said []string
	for _, a := range list {
		for _, f := range a.Affected {
			said = append(said, fmt.Sprint(a.Aliases[0], " ", f.Ecosystem, " ", f.Package, " ", f.Status, " ", f.Word, " ", len(f.Ranges)))
		}
	}
	want := `CVE-2012-0833 Debian:11 389-ds-base not-affected fixed_version 0 0
CVE-2012-0833 Debian:sid 389-ds-base not-affected fixed_version 0 0
CVE-2016-5405 Debian:11 389-ds-base   1
CVE-2016-5405 Debian:sid 389-ds-base   1
CVE-2016-5416 Debian:11 389-ds-base wont-fix ignored 1
CVE-2016-5416 Debian:sid 389-ds-base unfixed open 1
TEMP-0000000-0CA7E3 Debian:11 wordpress not-affected fixed_version 0 0
TEMP-0000000-0CA7E3 Debian:sid wordpress not-affected fixed_version 0 0`
	if got := strings.Join(said, "\n"); got != want || len(gaps) != 0 {
		t.Errorf("gaps %q; got:\n%s", gaps, got)
	}
}

// Whatever bytes come: no panic, canonical bytes, and no part with a status of
// its own is silent about it.
func FuzzRead(f *testing.F) {
	raw, err := os.ReadFile("testdata/tracker.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(one(`{"status":"resolved","fixed_version":"1-1"}`)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, gaps := all(bytes.NewReader(raw))
		if !json.Valid(raw) && len(gaps) == 0 {
			t.Fatal("not JSON, and no gap")
		}
		for _, a := range list {
			if _, err := canon.Encode(a); err != nil {
				t.Fatal(err)
			}
			for _, p := range a.Affected {
				if len(p.Ranges) == 0 && p.Status == "" || p.Status == advisory.NotAffected && len(p.Ranges) > 0 {
					t.Fatalf("%+v", p)
				}
			}
		}
	})
}
