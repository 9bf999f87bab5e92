package csaf

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

func fixture(t testing.TB) []byte {
	raw, err := os.ReadFile("testdata/vex.json")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestNormalForm(t *testing.T) {
	list, gaps := all(bytes.NewReader(fixture(t)))
	var b strings.Builder
	for _, a := range list {
		if _, err := canon.Encode(a); err != nil || a.Modified != 1_770_076_800 || a.Published == 0 {
			t.Errorf("%s: %v, times %d %d", a.ID, err, a.Published, a.Modified)
		}
		fmt.Fprintln(&b, a.ID, a.Aliases, a.Severities, a.Summary)
		for _, p := range a.Affected {
			fmt.Fprintln(&b, "", p.Ecosystem, p.Package, "module", p.Module, p.Ranges, p.Status, p.Word, p.Note, p.Severities)
		}
	}
	want := `redhat-csaf/CVE-2026-1/CVE-2026-1 [CVE-2026-1] [{redhat/csaf CVSS_V3 CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:N/I:N/A:H}] alpha: reads beyond its end
 Red Hat:enterprise_linux:8::appstream alpha module alpha:18 [{ECOSYSTEM 0 1:2.0-3.el8 }]    []
 Red Hat:enterprise_linux:7 beta module tools:4 [{ECOSYSTEM 0  }] end-of-life no_fix_planned Out of support scope []
 Red Hat:enterprise_linux:8::appstream beta module tools:4 [{ECOSYSTEM 0  }] wont-fix no_fix_planned Will not fix [{redhat/csaf impact Moderate}]
 Red Hat:enterprise_linux:7 lib++ module  [] not-affected vulnerable_code_not_present  []
 Red Hat:enterprise_linux:8::appstream lib++ module  [] under-investigation under_investigation  []
redhat-csaf/CVE-2026-1/CVE-2026-2 [CVE-2026-2] [] alpha: reads beyond its end
 Red Hat:enterprise_linux:7 lib++ module  [{ECOSYSTEM 0  }] postponed none_available Fix deferred []
 Red Hat:enterprise_linux:8::appstream lib++ module  [{ECOSYSTEM 0  }] unfixed none_available Affected []
`
	if got := b.String(); got != want || len(gaps) != 0 {
		t.Errorf("gaps %q; got:\n%s", gaps, got)
	}
}

func TestADocumentIsTakenWholeOrNotAtAll(t *testing.T) {
	whole := string(fixture(t))
	for _, c := range [][3]string{ // old, new, part of the reason
		{`"csaf_version":"2.0"`, `"csaf_version":"2.1"`, `CSAF "2.1" and not 2.0`},
		{`"id":"CVE-2026-1",`, ``, "no tracking id"},
		{`"csaf_vex"`, `"csaf_base"`, "csaf_base"},
		{`https://www.redhat.com`, `https://elsewhere.example`, "is not Red Hat"},
		{`"cve":"CVE-2026-2",`, ``, "without a CVE"},
		{`"known_affected":["7:lib"`, `"first_affected":["7:lib"`, `"first_affected" is not known`},
		{`"known_affected":["7:lib"`, `"known_affected":["9:lib"`, `"9:lib" is not in the product tree`},
		{`"known_affected":["7:lib"`, `"fixed":["7:lib"`, "no version is named"},
		{`"relates_to_product_reference":"AppStream-8:alpha:18"`, `"relates_to_product_reference":"m:alpha.x86_64"`, "in a row"},
		{`"product_reference":"lib","relates`, `"product_reference":"","relates`, "is empty"},
		{`"product_id":"8:lib"},"product_reference":"lib",`, `"product_id":"8:lib"},`, "misses one"},
		{`"product_id":"8:beta"},"product_reference":"beta"`, `"product_id":"7:beta"},"product_reference":"beta"`, "two relationships"},
		{`"product_id":"rhel7","product`, `"product_id":"AppStream-8","product`, "two products"},
		{`lib%2B%2B?`, `lib%2?`, "cannot be read"},
		{`2.0-3.el8?arch=src`, `2.0-3.el8%21?arch=src`, "no rpm version"},
		{`rpmmod=tools:4`, `rpmmod=t%0A`, "outside printable"},
		{`2026-02-03T`, `later`, "no time"},
		{`"document":{`, `"document":{"title":"","title":"",`, "stands twice"},
	} {
		text := strings.Replace(whole, c[0], c[1], 1)
		list, gaps := all(strings.NewReader(text))
		if text == whole || len(list) != 0 || len(gaps) != 1 || !strings.Contains(gaps[0], c[2]) {
			t.Errorf("%s: %d records, gaps %q, want %q", c[1], len(list), gaps, c[2])
		}
	}
	for cut := 0; cut < len(whole)-1; cut += 97 {
		if list, gaps := all(strings.NewReader(whole[:cut])); len(list) != 0 || len(gaps) != 1 || !strings.Contains(gaps[0], "byte ") {
			t.Errorf("cut at %d: %d records, gaps %q", cut, len(list), gaps)
		}
	}
	if list, gaps := all(strings.NewReader(whole + strings.Repeat(" ", maxDocument))); len(list) != 0 || len(gaps) != 1 {
		t.Errorf("beyond the limit: %d records, gaps %q", len(list), gaps)
	}
}

// TestRealSamples reads 32 real documents.
func TestRealSamples(t *testing.T) {
	docs, parts, status, wrong := 0, 0, map[advisory.Status]int{}, ""
	read := func(name string, raw []byte) {
		if !strings.HasSuffix(name, ".json") || !bytes.Contains(raw, []byte(`"csaf_version"`)) {
			return
		}
		list, gaps := all(bytes.NewReader(raw))
		if docs++; len(gaps) > 0 {
			wrong += name + " " + strings.Join(gaps, " ") + "\n"
		}
		for _, a := range list {
			parts += len(a.Affected)
			for _, p := range a.Affected {
				status[p.Status]++
			}
			if _, err := canon.Encode(a); err != nil {
				t.Error(err)
			}
		}
	}
	for name, raw := range shareddata.Archive(t, "../..", "redhat/redhat-csaf-vex-fixtures.tar.zst", "") {
		read(name, raw)
	}
	for name, raw := range shareddata.Archive(t, "../..", "fixtures/vuls-data-update-feed-fixtures.tar.zst", "pkg/fetch/redhat/") {
		if strings.HasSuffix(name, ".tar.zst") {
			shareddata.Untar(t, bytes.NewReader(raw), read)
		} else {
			read(name, raw)
		}
	}
	want := map[advisory.Status]int{"": 4541, advisory.EndOfLife: 18, advisory.NotAffected: 2368, advisory.Unfixed: 11, advisory.WontFix: 3}
	if docs != 32 || wrong != "" || parts != 6941 || fmt.Sprint(status) != fmt.Sprint(want) {
		t.Errorf("%d documents, %d parts, %v, gaps %s", docs, parts, status, wrong)
	}
}

// Whatever bytes come: no panic, either records or one gap, canonical bytes.
func FuzzRead(f *testing.F) {
	f.Add(fixture(f))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, gaps := all(bytes.NewReader(raw))
		if len(gaps) > 1 || len(gaps) == 1 && len(list) > 0 || len(gaps) == 0 && !json.Valid(raw) {
			t.Fatal(len(list), gaps)
		}
		for _, a := range list {
			if _, err := canon.Encode(a); err != nil {
				t.Fatal(err)
			}
			for _, p := range a.Affected {
				if p.Ecosystem == "" || p.Package == "" || len(p.Ranges) == 0 && p.Status == "" {
					t.Fatalf("%+v", p)
				}
			}
		}
	})
}
