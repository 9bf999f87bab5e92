package openvex

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
)

const now = 1_788_998_400 // 2026-09-10

func all(in io.Reader) (list []advisory.Advisory, gaps []string) {
	Read(in, now, func(a advisory.Advisory) { list = append(list, a) }, func(record, why string) { gaps = append(gaps, record+": "+why) })
	return list, gaps
}

func fixture(t testing.TB) string {
	raw, err := os.ReadFile("testdata/vex.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestNormalForm(t *testing.T) {
	list, gaps := all(strings.NewReader(fixture(t)))
	var b strings.Builder
	for _, a := range list {
		if _, err := canon.Encode(a); err != nil || a.Basis != advisory.BasisStatement || a.Source != `openvex/Ada L\u00f6w` {
			t.Errorf("%s: %v, %s by %s", a.ID, err, a.Basis, a.Source)
		}
		fmt.Fprintln(&b, a.ID, a.Aliases, (a.Expires-a.Published)/86400, "days", a.Summary)
		for _, p := range a.Affected {
			fmt.Fprintln(&b, "", p.Ecosystem, p.Package, p.Versions, p.Ranges, p.Status, p.Word)
		}
	}
	want := `openvex/https://house.example/vex/7/0 [CVE-2026-1 GHSA-aaaa-bbbb-cccc] 90 days Built without it.
 Debian:12 alpha [] [] not-affected vulnerable_code_not_present
openvex/https://house.example/vex/7/1 [CVE-2026-2] 15 days Wait.
 Ubuntu:24.04:LTS lib++ [1:2.0-1] []  affected
openvex/https://house.example/vex/7/2 [CVE-2026-3] 90 days 
 Debian:12 beta [3] [] not-affected fixed
 Debian:13 beta [4] [] not-affected fixed
openvex/https://house.example/vex/7/3 [CVE-2026-4] 90 days 
 Debian:12 gamma [] [] under-investigation under_investigation
`
	if got := b.String(); got != want || len(gaps) != 0 {
		t.Errorf("gaps %q; got:\n%s", gaps, got)
	}
}

func TestAStatementIsTakenWholeOrNotAtAll(t *testing.T) {
	whole := fixture(t)
	for _, c := range []struct {
		old, new, reason string
		left             int // statements that are still taken
	}{
		{`"vulnerable_code_not_present"`, `"because"`, "none", 3},
		{`,"justification":"vulnerable_code_not_present"`, ``, "needs a justification", 3},
		{`"status":"affected"`, `"status":"fine"`, `"fine" is not known`, 3},
		{`{"name":"CVE-2026-4"}`, `{}`, "names no vulnerability", 3},
		{`[{"@id":"pkg:deb/debian/gamma?distro=debian-12"}]`, `[]`, "names no product", 3},
		{`beta@3?`, `beta?`, "which version", 3},
		{`beta@3?`, `beta@3:?`, "cannot be read", 3},
		{`gamma?distro=debian-12`, `gamma`, "which release", 3},
		{`gamma?distro=debian-12`, `gamma?distro=bookworm`, "which release", 3},
		{`gamma?distro=debian-12`, `gamma?distro=ubuntu-24.04`, "which release", 3},
		{`pkg:deb/debian/gamma`, `pkg:npm/gamma`, "no purl of a Debian", 3},
		{`pkg:deb/debian/gamma`, `pkg:deb/debian/gam%zz`, "no purl of a Debian", 3},
		{`"products":[{"@id":"pkg:deb/debian/gamma`, `"products":[{"subcomponents":[],"@id":"pkg:deb/debian/gamma`, "subcomponents", 3},
		{`"expires":"2026-09-20`, `"expires":"2027-09-20`, "more than 366 days", 3},
		{`"expires":"2026-09-20`, `"expires":"2026-09-04`, "before it was made", 3},
		{`"timestamp":"2026-09-05`, `"timestamp":"2026-09-15`, "in the future", 3},
		{`"timestamp":"2026-09-01T00:00:00Z",`, ``, "has no time", 1},
		{`ns/v0.2.0`, `ns/v0.3.0`, "not OpenVEX 0.2", 0},
		{`"author":"Ada L\u00f6w",`, ``, "no author", 0},
		{`"@id":"https://house.example/vex/7",`, ``, "no @id", 0},
		{`"role":`, `"author":"Eve","role":`, "stands twice", 0},
	} {
		text := strings.Replace(whole, c.old, c.new, 1)
		list, gaps := all(strings.NewReader(text))
		if text == whole || len(list) != c.left || len(gaps) != max(1, 4-c.left) && c.left > 0 || len(gaps) == 0 || !strings.Contains(gaps[0], c.reason) {
			t.Errorf("%s: %d records, gaps %q, want %q", c.new, len(list), gaps, c.reason)
		}
	}
	for cut := range len(whole) - 1 {
		if list, gaps := all(strings.NewReader(whole[:cut])); len(list) != 0 || len(gaps) != 1 {
			t.Errorf("cut at %d: %d records, gaps %q", cut, len(list), gaps)
		}
	}
	if list, gaps := all(strings.NewReader(whole + strings.Repeat(" ", maxDocument))); len(list) != 0 || len(gaps) != 1 {
		t.Errorf("beyond the limit: %d records, gaps %q", len(list), gaps)
	}
}

// Whatever bytes come: no panic, canonical bytes, an author and an end.
func FuzzRead(f *testing.F) {
	f.Add([]byte(fixture(f)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, gaps := all(bytes.NewReader(raw))
		if len(gaps) == 0 && !json.Valid(raw) {
			t.Fatal("not JSON, and no gap")
		}
		for _, a := range list {
			if _, err := canon.Encode(a); err != nil {
				t.Fatal(err)
			}
			if a.Basis != advisory.BasisStatement || a.Source == "openvex/" || a.Expires <= 0 || a.Expires > now+maxAhead+MaxLife || len(a.Affected) == 0 {
				t.Fatalf("%+v", a)
			}
		}
	})
}
