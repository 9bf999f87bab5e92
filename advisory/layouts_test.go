package advisory

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/internal/shareddata"
)

func parseOK(t *testing.T, raw string) Advisory {
	t.Helper()
	a, err := ParseOSV([]byte(raw), from)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Ubuntu's two layouts: until 2025 the CVE is only in the id (and "related") and
// the priority in ecosystem_specific; since then "upstream" and a severity.
func TestUbuntuLayouts(t *testing.T) {
	until := Range{Type: "ECOSYSTEM", Introduced: "0", Fixed: "1.2-3ubuntu0.1~esm1"}
	const ranges = `"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.2-3ubuntu0.1~esm1"}]}],"versions":["1.2-3"]`
	for name, c := range map[string]struct {
		raw       string
		upstream  []string
		ecosystem string
		severity  []Severity
		note      string
	}{
		"until 2025": {`{"schema_version":"1.6.3","id":"UBUNTU-CVE-2024-0001","aliases":[],"related":["CVE-2024-0001"],"affected":[{"package":{"ecosystem":"Ubuntu:22.04:LTS","name":"a"},` + ranges +
			`,"ecosystem_specific":{"binaries":[{"binary_name":"a","binary_version":"1"}],"availability":"No subscription required","ubuntu_priority":"medium"}}]}`,
			[]string{"CVE-2024-0001"}, "Ubuntu:22.04:LTS", []Severity{{"osv/UBUNTU", "Ubuntu", "medium"}}, "No subscription required"},
		"since then": {`{"schema_version":"1.7.0","id":"UBUNTU-CVE-2024-0001","aliases":[],"upstream":["CVE-2024-0001"],"related":["USN-1-1"],"severity":[{"type":"Ubuntu","score":"negligible"}],"affected":[{"package":{"ecosystem":"Ubuntu:Pro:22.04:LTS","name":"a"},` + ranges +
			`,"ecosystem_specific":{"availability":"Available with Ubuntu Pro: https://ubuntu.com/pro","binaries":[]}}]}`,
			[]string{"CVE-2024-0001"}, "Ubuntu:22.04:LTS", []Severity{}, "Available with Ubuntu Pro: https://ubuntu.com/pro"},
		"without a word": {`{"id":"UBUNTU-CVE-2024-0001","affected":[{"package":{"ecosystem":"Ubuntu:Pro:22.04:LTS","name":"a"},` + ranges + `}]}`,
			[]string{"CVE-2024-0001"}, "Ubuntu:22.04:LTS", []Severity{}, "with Ubuntu Pro"},
		"no long support": {`{"id":"UBUNTU-CVE-2024-0001","affected":[{"package":{"ecosystem":"Ubuntu:Pro:25.10","name":"a"},` + ranges + `}]}`,
			[]string{"CVE-2024-0001"}, "Ubuntu:25.10", []Severity{}, "with Ubuntu Pro"},
		"another stream": {`{"id":"UBUNTU-CVE-2024-0001","affected":[{"package":{"ecosystem":"Ubuntu:Pro:FIPS-updates:22.04:LTS","name":"a"},` + ranges + `,"ecosystem_specific":{"ubuntu_priority":7,"availability":null}}]}`,
			[]string{"CVE-2024-0001"}, "Ubuntu:Pro:FIPS-updates:22.04:LTS", []Severity{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := parseOK(t, c.raw)
			f := a.Affected[0]
			if !slices.Equal(a.Upstream, c.upstream) || a.CVE() != "CVE-2024-0001" || a.Key() != "CVE-2024-0001" {
				t.Errorf("%+v", a)
			}
			if f.Ecosystem != c.ecosystem || !slices.Equal(f.Severities, c.severity) || string(f.Note) != c.note || !slices.Equal(f.Ranges, []Range{until}) {
				t.Errorf("%+v", f)
			}
		})
	}
}

// Shapes of the language ecosystems (GO, PYSEC, GHSA, RUSTSEC, MAL): ranges of
// both types, versions one by one, and packages without either.
func TestLanguageLayouts(t *testing.T) {
	for name, c := range map[string]struct {
		raw      string
		key      string
		affected []Affected
	}{
		"Go": {`{"schema_version":"1.3.1","id":"GO-2024-0001","published":"0001-01-01T00:00:00Z","aliases":["CVE-2024-0001","GHSA-aaaa-bbbb-cccc"],"affected":[{"package":{"name":"example.com/m","ecosystem":"Go"},
"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.2.3"},{"introduced":"1.3.0-0"},{"fixed":"1.3.2"}]}],"ecosystem_specific":{"imports":[{"path":"example.com/m/p","symbols":["F"]}]}}]}`, "CVE-2024-0001",
			[]Affected{{Ecosystem: "Go", Package: "example.com/m", Ranges: []Range{{"SEMVER", "0", "1.2.3", ""}, {"SEMVER", "1.3.0-0", "1.3.2", ""}}}}},
		"PyPI": {`{"id":"PYSEC-2024-1","aliases":["GHSA-aaaa-bbbb-cccc"],"affected":[{"package":{"name":"a","ecosystem":"PyPI","purl":"pkg:pypi/a"},"ranges":[{"type":"GIT","repo":"https://example.invalid","events":[{"introduced":"0"},{"fixed":"deadbeef"}]},{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"2.0"}]}],"versions":["1.0","1.0.post1"]}]}`, "GHSA-aaaa-bbbb-cccc",
			[]Affected{{Ecosystem: "PyPI", Package: "a", Ranges: []Range{{"ECOSYSTEM", "0", "2.0", ""}}, Versions: []string{"1.0", "1.0.post1"}}}},
		"PyPI, by GitHub": {`{"id":"GHSA-aaaa-bbbb-cccc","affected":[{"package":{"name":"Zope.-_Interface","ecosystem":"PyPI"},"versions":["1.0"]},{"package":{"name":"Zope.Interface","ecosystem":"npm"},"versions":["1.0"]}]}`, "GHSA-aaaa-bbbb-cccc",
			[]Affected{{Ecosystem: "PyPI", Package: "zope-interface", Versions: []string{"1.0"}}, {Ecosystem: "npm", Package: "Zope.Interface", Versions: []string{"1.0"}}}},
		"npm": {`{"id":"GHSA-aaaa-bbbb-cccc","aliases":["PYSEC-2024-1"],"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N"}],"affected":[{"package":{"ecosystem":"npm","name":"@a/b"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"last_affected":"8.0.18"}]}],"database_specific":{"source":"x"}}]}`, "GHSA-aaaa-bbbb-cccc",
			[]Affected{{Ecosystem: "npm", Package: "@a/b", Ranges: []Range{{"SEMVER", "0", "", "8.0.18"}}}}},
		"crates": {`{"id":"RUSTSEC-2024-0001","aliases":["CVE-2024-0001"],"affected":[{"package":{"ecosystem":"crates.io","name":"a","purl":"pkg:cargo/a"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0.0.0-0"},{"fixed":"1.2.3"}]}],"ecosystem_specific":{"affects":{"arch":[],"os":[],"functions":[]}},"database_specific":{"categories":[],"cvss":null,"informational":null}}]}`, "CVE-2024-0001",
			[]Affected{{Ecosystem: "crates.io", Package: "a", Ranges: []Range{{"SEMVER", "0.0.0-0", "1.2.3", ""}}}}},
		"a malicious package": {`{"id":"MAL-2024-1","affected":[{"package":{"ecosystem":"npm","name":"a"},"versions":["77.77.79"]}]}`, "MAL-2024-1",
			[]Affected{{Ecosystem: "npm", Package: "a", Versions: []string{"77.77.79"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			a := parseOK(t, c.raw)
			for i := range c.affected {
				f := &c.affected[i]
				f.Severities = []Severity{}
				if f.Ranges == nil {
					f.Ranges = []Range{}
				}
				if f.Versions == nil {
					f.Versions = []string{}
				}
			}
			if !reflect.DeepEqual(a.Affected, c.affected) || a.Key() != c.key {
				t.Errorf("%s %+v", a.Key(), a.Affected)
			}
		})
	}
}

// Aliases join, upstream joins as a CVE alone, related never does, and a record
// of several CVEs is the same thing as none of them.
func TestKey(t *testing.T) {
	for _, c := range []struct {
		a    Advisory
		want string
	}{
		{Advisory{ID: "CVE-2026-0001"}, "CVE-2026-0001"},
		{Advisory{ID: "UBUNTU-CVE-2026-0001"}, "CVE-2026-0001"},
		{Advisory{ID: "USN-1-1", Upstream: []string{"UBUNTU-CVE-2026-0001"}}, "CVE-2026-0001"},
		{Advisory{ID: "USN-1-1", Upstream: []string{"UBUNTU-CVE-2026-0001", "CVE-2026-0001"}}, "CVE-2026-0001"},
		{Advisory{ID: "USN-1-1", Upstream: []string{"UBUNTU-CVE-2026-0001", "UBUNTU-CVE-2026-0002"}}, "USN-1-1"},
		{Advisory{ID: "USN-1-1", Related: []string{"CVE-2026-0001"}}, "USN-1-1"},
		{Advisory{ID: "GHSA-b", Aliases: []string{"GO-1", "CVE-2026-0001"}}, "CVE-2026-0001"},
		{Advisory{ID: "GHSA-b", Aliases: []string{"CVE-2026-0002", "CVE-2026-0001"}}, "GHSA-b"},
		{Advisory{ID: "GO-1", Aliases: []string{"GHSA-b"}}, "GHSA-b"},
		{Advisory{ID: "GHSA-b", Upstream: []string{"GHSA-a"}}, "GHSA-b"},
		{Advisory{ID: "XCVE-2026-0001"}, "XCVE-2026-0001"},
		{Advisory{ID: "A-CVE-2026-0001-1"}, "A-CVE-2026-0001-1"},
	} {
		if got := c.a.Key(); got != c.want {
			t.Errorf("%+v: %s, want %s", c.a, got, c.want)
		}
	}
}

// Every OSV record of the fixtures of two other projects is read, whatever its
// ecosystem; of Ubuntu's, each release stands under its own name.
func TestRealLayouts(t *testing.T) {
	seen := map[string]int{}
	read := func(name string, raw []byte) {
		a, err := ParseOSV(raw, from)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		for _, f := range a.Affected {
			base, _, _ := strings.Cut(f.Ecosystem, ":")
			if seen[base]++; strings.HasPrefix(f.Ecosystem, "Ubuntu:Pro:") {
				t.Errorf("%s: %s hides from hosts of the release", name, f.Ecosystem)
			}
		}
		if strings.HasPrefix(a.ID, "UBUNTU-CVE-") && "UBUNTU-"+a.Key() != a.ID {
			t.Errorf("%s has the key %s", a.ID, a.Key())
		}
	}
	for name, raw := range shareddata.Archive(t, "..", "ubuntu/ubuntu-vex-osv-fixtures.tar.zst", "/osv") {
		if strings.HasSuffix(name, ".json") {
			read(name, raw)
		}
	}
	for name, raw := range shareddata.Archive(t, "..", "fixtures/vuls-data-update-feed-fixtures.tar.zst", "/osv/testdata/fixtures/all.zip") {
		z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatal(name, err)
		}
		for _, f := range z.File {
			if !strings.HasSuffix(f.Name, ".json") {
				continue
			}
			in, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(in)
			if err != nil {
				t.Fatal(err)
			}
			read(name+" "+f.Name, raw)
		}
	}
	if got := fmt.Sprint(seen["Ubuntu"], seen["Go"] > 0, seen["PyPI"] > 0, seen["npm"] > 0, seen["Alpine"] > 0, seen["AlmaLinux"] > 0); got != "51 true true true true true" {
		t.Errorf("%s: %v", got, seen)
	}
}
