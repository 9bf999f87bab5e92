package secdb

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

func all(in io.Reader) (list []advisory.Advisory, gaps []string) {
	Read(in, func(a advisory.Advisory) { list = append(list, a) }, func(record, why string) { gaps = append(gaps, record+": "+why) })
	return list, gaps
}

// brief is one line for each advisory.
func brief(list []advisory.Advisory) string {
	var b strings.Builder
	for _, a := range list {
		p := a.Affected[0]
		fmt.Fprintf(&b, "%s %v%v %s %s", a.ID, a.Aliases, a.Related, p.Ecosystem, p.Package)
		for _, r := range p.Ranges {
			b.WriteString(" <" + r.Fixed)
		}
		b.WriteString(" " + string(p.Status) + "\n")
	}
	return b.String()
}

func TestNormalForm(t *testing.T) {
	raw, err := os.ReadFile("testdata/main.json")
	if err != nil {
		t.Fatal(err)
	}
	list, gaps := all(bytes.NewReader(raw))
	want := `alpine-secdb/v3.22/main/alpha/CVE-2026-1 [CVE-2026-1][] Alpine:v3.22 alpha not-affected
alpine-secdb/v3.22/main/alpha/CVE-2026-2 [CVE-2026-2][] Alpine:v3.22 alpha <1.0-r1 <1.2-r0 
alpine-secdb/v3.22/main/alpha/CVE-2026-3 [CVE-2026-3][XSA-231] Alpine:v3.22 alpha <1.0-r1 
alpine-secdb/v3.22/main/alpha/CVE-2026-4 [CVE-2026-4][XSA-9] Alpine:v3.22 alpha <1.2-r0 
alpine-secdb/v3.22/main/alpha/CVE-2026-5 [CVE-2026-5][XSA-9] Alpine:v3.22 alpha <1.2-r0 
alpine-secdb/v3.22/main/beta/GHSA-33c5-9fx5-fvjm [GHSA-33c5-9fx5-fvjm][] Alpine:v3.22 beta <2_p1-r0 
`
	if got := brief(list); got != want || len(gaps) != 0 {
		t.Errorf("gaps %q; got:\n%s", gaps, got)
	}
	for _, a := range list {
		if _, err := canon.Encode(a); err != nil {
			t.Errorf("%s: no canonical bytes: %v", a.ID, err)
		}
	}
}

// file is a database with two packages, the second of them whole.
func file(first string) string {
	return `{"packages":[` + first + `,{"pkg":{"name":"b","secfixes":{"1-r0":["CVE-2026-9"]}}}],"reponame":"main","distroversion":"edge"}`
}

func TestABrokenPackageIsReportedAndTheOthersAreRead(t *testing.T) {
	for first, want := range map[string]string{
		`{"pkg":{"name":"a","secfixes":{"1:":["CVE-1"]}}}`:                   `a: byte 49: "1:" is no version`,
		`{"pkg":{"name":"a","secfixes":{"1-r0":["(none)"]}}}`:                `"(none)" names no vulnerability`,
		`{"pkg":{"name":"a","secfixes":{"1-r0":[7]}}}`:                       "a string was expected",
		`{"pkg":{"name":"a","secfixes":{"1-r0":[],"1-r0":[]}}}`:              "stands twice",
		`{"pkg":{"name":"a","secfixes":["CVE-1"]}}`:                          "more than 0 elements",
		`{"pkg":{"secfixes":{}}}`:                                            "the package at byte 13: byte 36: a package without a name",
		`{}`:                                                                 "a package without a name",
		`{"pkg":{"name":"\u00e9"}}`:                                          "outside printable ASCII",
		`{"pkg":{"name":"a","x":"` + strings.Repeat("x", maxPackage) + `"}}`: "more than 4194304 bytes",
	} {
		list, gaps := all(strings.NewReader(file(first)))
		if len(list) != 1 || list[0].Aliases[0] != "CVE-2026-9" || len(gaps) != 1 || !strings.Contains(gaps[0], want) {
			t.Errorf("%.80s: %d records, gaps %q, want %q", first, len(list), gaps, want)
		}
	}
	whole := file(`{"pkg":{"name":"a","secfixes":{}}}`)
	for cut := range len(whole) {
		if _, gaps := all(strings.NewReader(whole[:cut])); len(gaps) == 0 {
			t.Errorf("cut at %d: no gap", cut)
		}
	}
	for _, text := range []string{`{"packages":[]}`, `{"packages":[],"reponame":"os","urlprefix":"https://elsewhere.example"}`, whole + "1"} {
		if _, gaps := all(strings.NewReader(text)); len(gaps) != 1 {
			t.Errorf("%s: gaps %q", text, gaps)
		}
	}
}

// TestRealSamples reads files of Alpine, Wolfi and Chainguard.
func TestRealSamples(t *testing.T) {
	n := map[string]int{}
	for name, raw := range shareddata.Archive(t, "../..", "fixtures/vuls-data-update-feed-fixtures.tar.zst", "secdb/testdata/fixtures/") {
		if !strings.HasSuffix(name, ".json") {
			continue
		}
		list, gaps := all(bytes.NewReader(raw))
		if len(list) == 0 || len(gaps) != 0 {
			t.Errorf("%s: %d records, gaps %q", name, len(list), gaps)
		}
		for _, a := range list {
			n[a.Affected[0].Ecosystem]++
		}
	}
	if want := map[string]int{"Alpine:edge": 11, "Alpine:v3.16": 3, "Alpine:v3.2": 1, "Wolfi": 84, "Chainguard": 40}; fmt.Sprint(n) != fmt.Sprint(want) {
		t.Errorf("%v", n)
	}
}

// Whatever bytes come: no panic, canonical bytes, a gap where it is no JSON.
func FuzzRead(f *testing.F) {
	raw, err := os.ReadFile("testdata/main.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(file(`{"pkg":{"name":"a","secfixes":{"0":["CVE-1"]}}}`)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, gaps := all(bytes.NewReader(raw))
		if !json.Valid(raw) && len(gaps) == 0 {
			t.Fatal("not JSON, and no gap")
		}
		for _, a := range list {
			if _, err := canon.Encode(a); err != nil {
				t.Fatal(err)
			}
		}
	})
}
