package advisory

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/shareddata"
	"github.com/patchwrit/patchwrit/version"
)

var from = Feed{Name: "test", Kind: "osv", Snapshot: canon.SumFile(nil), Fetched: 1_790_000_000}

func TestParseOSVNormalForm(t *testing.T) {
	raw, err := os.ReadFile("testdata/full.json")
	if err != nil {
		t.Fatal(err)
	}
	a, err := ParseOSV(raw, from)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(a, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if os.Getenv("PATCHWRIT_REWRITE") == "1" {
		if err := os.WriteFile("testdata/full.golden", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/full.golden")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v; got:\n%s", err, got)
	}
	if _, err := canon.Encode(a); err != nil {
		t.Errorf("no canonical bytes: %v", err)
	}
}

// record makes a record around one field.
func record(field string) string { return `{"id":"X-1",` + field + `}` }

func affected(inner string) string {
	return record(`"affected":[{"package":{"ecosystem":"Debian:12","name":"a"},` + inner + `}]`)
}

func TestParseOSVRefuses(t *testing.T) {
	cases := map[string]string{ // record: part of the reason
		``:                           "an object was expected",
		`null`:                       "an object was expected",
		`[]`:                         "an object was expected",
		`{}`:                         "it has no id",
		"\xef\xbb\xbf{\"id\":\"X\"}": "an object was expected",
		`{"id":"X"} {"id":"Y"}`:      "something follows",
		`{"id":"X","id":"Y"}`:        "stands twice",
		`{"id":"X","\u0069d":"Y"}`:   "stands twice",
		`{"id":7}`:                   "a string was expected",
		`{"id":""}`:                  "is empty",
		`{"id":"a\u0000"}`:           "outside printable ASCII",
		`{"id":"caf\u00e9"}`:         "outside printable ASCII",
		`{"id":" X"}`:                "outside printable ASCII",
		`{"id":"` + strings.Repeat("x", 513) + `"}`:                            "the limit is 512",
		"{\"id\":\"\xff\"}":                                                    "not UTF-8",
		`{"id":"X"`:                                                            "a comma or",
		record(`"aliases":"CVE-1"`):                                            "an array was expected",
		record(`"aliases":[1]`):                                                "a string was expected",
		record(`"aliases":["a",]`):                                             "a string was expected",
		record(`"modified":"yesterday"`):                                       "no time",
		record(`"withdrawn":"1970-01-01T00:00:00Z"`):                           "no time",
		record(`"withdrawn":null`):                                             "a string was expected",
		record(`"schema_version":"2.0.0"`):                                     "only 1.x",
		record(`"severity":[{"type":"CVSS_V3"}]`):                              "without type or score",
		record(`"affected":{}`):                                                "an array was expected",
		record(`"affected":[{"package":{"name":"a"}}]`):                        "without ecosystem",
		affected(`"ranges":[{"type":"COLOUR","events":[{"introduced":"0"}]}]`): "not known",
		affected(`"ranges":[{"type":"ECOSYSTEM","events":[{"fixed":"1"}]}]`):   "without an introduced",
		affected(`"ranges":[{"type":"ECOSYSTEM","events":[]}]`):                "without an introduced",
		affected(`"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0","fixed":"1"}]}]`):                      "must be one of",
		affected(`"ranges":[{"type":"ECOSYSTEM","events":[{}]}]`):                                                  "must be one of",
		affected(`"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1"},{"introduced":"_"}]}]`): "no order",
		affected(`"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":0}]}]`):                                    "a string was expected",
		affected(`"versions":[1]`): "a string was expected",
		record(`"x":` + strings.Repeat("[", 70) + strings.Repeat("]", 70)): "nested more than 64",
		`{"id":"X-1",x:1}`: "a string was expected",
		`{"id" "X"}`:       "a colon was expected",
		`{"id":"\`:         "without end",
		`{"id":"\u00`:      "an escape",
		`{"id":"\u0041` + strings.Repeat("x", 512) + `"}`: "more than 512 bytes",
		record("\"x\":\"\\ta\nb\""):                       "control character",
		record(`"x":{1:2}`):                               "a string was expected",
		record(`"x":{"a" 1}`):                             "a colon was expected",
		record(`"x":{"a":nul}`):                           "a value was expected",
		record(`"x":` + strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70)): "nested more than 64",
		record(`"summary":7`):            "a string was expected",
		record(keys(strictjson.MaxKeys)): "more than 256 keys",
		record(`"x":01`):                 "not a number",
		record(`"x":1.`):                 "not a number",
		record(`"x":-`):                  "not a number",
		record(`"x":1e+`):                "not a number",
		record(`"x":nul`):                "a value was expected",
		record(`"x":"\q"`):               "an escape",
		record(`"x":"\u12g4"`):           "an escape",
		record("\"x\":\"a\nb\""):         "control character",
		record(`"x":"a`):                 "without end",
		record(`"aliases":[` + strings.Repeat(`"a",`, maxNames) + `"a"]`): "more than 5000 elements",
	}
	for raw, want := range cases {
		a, err := ParseOSV([]byte(raw), from)
		var m *Malformed
		if !errors.As(err, &m) || !strings.Contains(m.Reason, want) {
			t.Errorf("%.90s: got %v, want %q", raw, err, want)
			continue
		}
		if a.ID != "" || m.Offset > len(raw) || (strings.HasPrefix(raw, `{"id":"X-1"`) && m.ID != "X-1") {
			t.Errorf("%.90s: advisory %+v, error %+v", raw, a, m)
		}
	}
	for size, ok := range map[int]bool{MaxRecord: true, MaxRecord + 1: false} {
		if _, err := ParseOSV([]byte(`{"id":"X"}`+strings.Repeat(" ", size-10)), from); (err == nil) != ok {
			t.Errorf("a record of %d bytes: %v", size, err)
		}
	}
	for _, raw := range []string{record(`"x":1`), record(keys(strictjson.MaxKeys - 1)), affected(`"ecosystem_specific":null`), affected(`"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"_"}]}]`)} {
		if _, err := ParseOSV([]byte(raw), from); err != nil {
			t.Errorf("positive control %s: %v", raw, err)
		}
	}
}

// keys is n members of an object.
func keys(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`"k%d":0`, i))
	}
	return strings.Join(out, ",")
}

func TestHalfASurrogatePairIsNoReasonToReadOn(t *testing.T) {
	for raw, want := range map[string]string{`\ud83d\udd25`: "\U0001f525", `\ud83dzzdc00`: "\ufffdzzdc00", `\ud83d\n`: "\ufffd", `\udd25`: "\ufffd", `\/\"\\ \t`: `/"\`} {
		a, err := ParseOSV([]byte(record(`"summary":"`+raw+`"`)), from)
		if err != nil || strings.TrimSpace(a.Summary.Text()) != want {
			t.Errorf("%s: %q %v", raw, a.Summary.Text(), err)
		}
	}
}

func TestUnscoredIsAStateOfItsOwn(t *testing.T) {
	for raw, want := range map[string]bool{
		`{"id":"A"}`: true,
		affected(`"ecosystem_specific":{"urgency":"not yet assigned"}`): true,
		affected(`"ecosystem_specific":{"urgency":null}`):               true,
		affected(`"ecosystem_specific":{"urgency":"low"}`):              false,
		record(`"severity":[{"type":"Ubuntu","score":"low"}]`):          false,
	} {
		if a, err := ParseOSV([]byte(raw), from); err != nil || a.Unscored() != want {
			t.Errorf("%s: unscored %v, %v", raw, a.Unscored(), err)
		}
	}
}

func TestCVEIsTheOnlyOneOrNone(t *testing.T) {
	for _, c := range []struct {
		a    Advisory
		want string
	}{
		{Advisory{ID: "CVE-2026-1"}, "CVE-2026-1"},
		{Advisory{ID: "DEBIAN-CVE-2026-1", Upstream: []string{"CVE-2026-1"}}, "CVE-2026-1"},
		{Advisory{ID: "CVE-2026-1", Aliases: []string{"CVE-2026-1", "GHSA-x"}}, "CVE-2026-1"},
		{Advisory{ID: "DSA-1", Upstream: []string{"CVE-2026-1", "CVE-2026-2"}}, ""},
		{Advisory{ID: "ALSA-1", Related: []string{"CVE-2026-1"}}, ""},
	} {
		if got := c.a.CVE(); got != c.want {
			t.Errorf("%+v: %q", c.a, got)
		}
	}
}

func TestAgedFeedIsPartial(t *testing.T) {
	s := Snapshot{Newest: 1_000_000}
	for now, gaps := range map[int64]int{1_000_000: 0, 1_086_400: 0, 1_086_401: 1, 920_000: 0, 900_000: 1} {
		if got := s.Aged(now, 86_400); len(got.Partial) != gaps {
			t.Errorf("at %d: %v", now, got.Partial)
		}
	}
	if len(s.Partial) != 0 {
		t.Error("Aged changed its receiver")
	}
}

// osvAffected is OSV's own evaluation, as its schema describes it: sort the
// events, then let each one that v has reached switch.
func osvAffected(v string, list []event) bool {
	cmp := func(a, b string) int {
		c, err := version.Compare(version.Deb, a, b)
		if err != nil {
			panic(err)
		}
		return c
	}
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b event) int {
		az, bz := a == event{"introduced", "0"}, b == event{"introduced", "0"}
		if az || bz {
			return map[bool]int{true: -1, false: 1}[az] * map[bool]int{true: 0, false: 1}[az && bz]
		}
		return cmp(a.version, b.version)
	})
	hit := false
	for _, e := range sorted {
		switch {
		case e.what == "introduced" && (e.version == "0" || cmp(v, e.version) >= 0):
			hit = true
		case e.what == "fixed" && cmp(v, e.version) >= 0, e.what == "last_affected" && cmp(v, e.version) > 0:
			hit = false
		}
	}
	return hit
}

func TestRangesEqualOSVsOwnEvaluation(t *testing.T) {
	versions := []string{"0~rc1", "1.0-1", "1.0-1+deb12u1", "1.0-2", "1:0.5-1", "2.0~b-1", "2.0-1", "2.0-1+b1"}
	rapid.Check(t, func(t *rapid.T) {
		kinds := []string{"introduced", rapid.SampledFrom([]string{"fixed", "last_affected"}).Draw(t, "kind")}
		list := []event{{"introduced", rapid.SampledFrom([]string{"0", "1.0-1"}).Draw(t, "first")}}
		// one event a version: the schema does not say what two at one version mean
		for _, v := range rapid.SliceOfNDistinct(rapid.SampledFrom(versions), 0, 5, rapid.ID).Draw(t, "versions") {
			if v != list[0].version {
				list = append(list, event{rapid.SampledFrom(kinds).Draw(t, "what"), v})
			}
		}
		list = rapid.Permutation(list).Draw(t, "order")
		ranges, why := events{"ECOSYSTEM", slices.Clone(list)}.ranges("Debian:12", nil)
		if why != "" {
			t.Fatal(why)
		}
		for _, v := range versions {
			got := false
			for _, r := range ranges {
				in, err := r.Contains(version.Deb, v)
				if err != nil {
					t.Fatal(err)
				}
				got = got || in
			}
			if want := osvAffected(v, list); got != want {
				t.Fatalf("%s in %v: got %v, want %v (%v)", v, list, got, want, ranges)
			}
		}
	})
}

func TestContainsSaysWhenItCannotKnow(t *testing.T) {
	for _, r := range []Range{{Introduced: "0", Fixed: "_"}, {Introduced: "_"}, {Introduced: "0", LastAffected: "_"}} {
		if in, err := r.Contains(version.Deb, "1"); err == nil || in {
			t.Errorf("%+v: %v %v", r, in, err)
		}
	}
	if in, err := (Range{Introduced: "0"}).Contains(version.Deb, "not a version"); err == nil || in {
		t.Errorf("%v %v", in, err)
	}
}

// shared opens a data set beside the checkout, or skips.
func shared(t *testing.T, name string) *zip.ReadCloser {
	t.Helper()
	z, err := zip.OpenReader(shareddata.Path(t, "..", name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { z.Close() })
	return z
}

// Complete real feeds are read without loss: our count of records, packages and
// stretches equals that of the standard library's decoder. Of AlmaLinux, which
// is large, a twentieth is read, or with PATCHWRIT_WHOLE_FEEDS=1 all.
func TestRealFeedsAreReadWhole(t *testing.T) {
	for name, want := range map[string]string{
		"osv/AlmaLinux.zip":                         "5680 records, 71329 packages, 71329 stretches, 0 withdrawn",
		"osv/Go.zip":                                "4291 records, 6125 packages, 7579 stretches, 17 withdrawn",
		"debian/osv-derived-bookworm.zip":           "1021 records, 1041 packages, 1041 stretches, 0 withdrawn",
		"debian/osv-derived-DSA-DLA-to-2023-03.zip": "8910 records, 10466 packages, 10466 stretches, 0 withdrawn",
	} {
		if name == "osv/AlmaLinux.zip" && os.Getenv("PATCHWRIT_WHOLE_FEEDS") == "" {
			want = "284 records, 3771 packages, 3771 stretches, 0 withdrawn"
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			var records, packages, stretches, withdrawn, events int
			for i, f := range shared(t, name).File {
				if !strings.HasSuffix(f.Name, ".json") || (name == "osv/AlmaLinux.zip" && i%20 != 0 && os.Getenv("PATCHWRIT_WHOLE_FEEDS") == "") {
					continue
				}
				raw := contents(t, f)
				a, err := ParseOSV(raw, from)
				if err != nil {
					t.Fatal(f.Name, err)
				}
				records++
				once(&a)
				packages += len(a.Affected)
				stretches += stretchesOf(a)
				if a.Withdrawn > 0 {
					withdrawn++
				}
				events += introduced(t, raw)
			}
			if got := fmt.Sprintf("%d records, %d packages, %d stretches, %d withdrawn", records, packages, stretches, withdrawn); got != want || events != stretches {
				t.Errorf("got %s (%d introduced events), want %s", got, events, want)
			}
		})
	}
}

// once keeps of parts that stand once for each module stream the first.
func once(a *Advisory) {
	var kept []Affected
	for i, f := range a.Affected {
		if i == 0 || f.Module == "" || f.Package != a.Affected[i-1].Package || f.Module == a.Affected[0].Module {
			kept = append(kept, f)
		}
	}
	a.Affected = kept
}

// An erratum's title alone says of which module stream its builds are.
func TestModuleStreams(t *testing.T) {
	record := func(title, fixed string) string {
		return fmt.Sprintf(`{"id":"ALSA-1","summary":%q,"affected":[{"package":{"ecosystem":"AlmaLinux:8","name":"a"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":%q}]}]},
{"package":{"ecosystem":"AlmaLinux:8","name":"b"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1-1.el8"}]}]}]}`, title, fixed)
	}
	const build = "1:18.12.1-2.module_el8.7.0+3369+37ae6a45"
	for _, c := range [][3]string{
		{"Important: nodejs:18 security update", build, "a nodejs:18 b  "},
		{"ALSA-2022:5468: php:8.0 security update (Important)", build, "a php:8.0 b  "},
		{"Moderate: virt:rhel and virt-devel:rhel security, bug fix, and enhancement update", build, "a virt:rhel a virt-devel:rhel b  "},
		{"Important: go-toolset:rhel8, and nodejs:18 nodejs:18", "1-1.module+el8.6.0+1", "a nodejs:18 b  "},
		{"Important: varnish security update", build, "a  b  "},
		{"Moderate: kernel:4.18.0 security update", "4.18.0-553.30.1.el8_10", "a  b  "},
		{"Moderate: a:1 a:2 a:3 a:4 a:5 a:6 a:7 a:8 a:9", build, "a  b  "},
	} {
		a, err := ParseOSV([]byte(record(c[0], c[1])), from)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, f := range a.Affected {
			got += f.Package + " " + f.Module + " "
		}
		if got != c[2] {
			t.Errorf("%s: %q, want %q", c[0], got, c[2])
		}
	}
}

func stretchesOf(a Advisory) (n int) {
	for _, p := range a.Affected {
		n += len(p.Ranges)
	}
	return n
}

func contents(t *testing.T, f *zip.File) []byte {
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func introduced(t *testing.T, raw []byte) (n int) {
	var r struct {
		Affected []struct {
			Ranges []struct{ Events []map[string]string }
		}
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	for _, a := range r.Affected {
		for _, g := range a.Ranges {
			for _, e := range g.Events {
				if e["introduced"] != "" {
					n++
				}
			}
		}
	}
	return n
}

// The rule as an expression, as it stood before it was written by hand for speed.
var named = regexp.MustCompile(`^(?:[A-Z]+-)?(CVE-[0-9]{4}-[0-9]+)$`)

func TestCVEOfIsTheExpression(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"CVE", "UBUNTU", "cve", "-", "2024", "202", "0001", "7", "x", "\n", " "})
		name := strings.Join(rapid.SliceOfN(part, 0, 8).Draw(t, "parts"), rapid.SampledFrom([]string{"", "-"}).Draw(t, "between"))
		want := ""
		if m := named.FindStringSubmatch(name); m != nil {
			want = m[1]
		}
		if got := CVEOf(name); got != want {
			t.Fatalf("%q gives %q, want %q", name, got, want)
		}
	})
	for _, name := range []string{"CVE-2024-1", "UBUNTU-CVE-2024-1", "CVE-CVE-2024-1", "-CVE-2024-1", "CVE-2024-", "CVE-2024-1\n"} {
		if m := named.FindStringSubmatch(name); (CVEOf(name) != "") != (m != nil) {
			t.Errorf("%q gives %q", name, CVEOf(name))
		}
	}
}

// Two more rules that stood as expressions.
var (
	streamWord = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+.-]*:[A-Za-z0-9_+.-]*[A-Za-z0-9]$`)
	proRelease = regexp.MustCompile(`^Ubuntu:Pro:([0-9]{2}\.[0-9]{2}(?::LTS)?)$`)
)

func TestStreamsAndProReleasesAreTheExpressions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"nodejs", "a", "Z", ":", "18", "7", ".", "_", "+", "-", "Ubuntu:Pro:", "22", ".04", ":LTS", "é", "@", "[", "`", "{", "/", "\n"})
		s := strings.Join(rapid.SliceOfN(part, 0, 6).Draw(t, "parts"), "")
		if got, want := isStream(s), streamWord.MatchString(s); got != want {
			t.Fatalf("%q is a stream: %v, want %v", s, got, want)
		}
		f, want := Affected{Ecosystem: s}, s
		if m := proRelease.FindStringSubmatch(s); m != nil {
			want = "Ubuntu:" + m[1]
		}
		if f.pro(); f.Ecosystem != want || (f.Note == "") != (want == s) {
			t.Fatalf("%q becomes %q (%q), want %q", s, f.Ecosystem, f.Note, want)
		}
	})
	for _, s := range []string{"Ubuntu:Pro:22.04:LTS", "Ubuntu:Pro:16.10", "Ubuntu:Pro:FIPS:22.04:LTS", "Ubuntu:Pro:2x.04", "Ubuntu:Pro:22.04:LTS:LTS"} {
		f := Affected{Ecosystem: s}
		if f.pro(); (f.Ecosystem != s) != proRelease.MatchString(s) {
			t.Errorf("%q becomes %q", s, f.Ecosystem)
		}
	}
}
