package library

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/feed"
	"github.com/patchwrit/patchwrit/internal/shareddata"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/inventory/sbom"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/match/flat"
)

// The lists are ascending: PEP 440's own example, and semver.org's §11.
func TestOrder(t *testing.T) {
	for ecosystem, list := range map[string][]string{
		"PyPI": {"0.9", "1.dev0", "1.0.dev456", "1.0a1", "1.0a2.dev456", "1.0a12.dev456", "1.0a12", "1.0b1.dev456", "1.0b2", "1.0b2.post345.dev456", "1.0b2.post345", "1.0rc1.dev456", "1.0rc1", "1.0", "1.0+abc.5", "1.0+abc.7", "1.0+5", "1.0.post456.dev34", "1.0.post456", "1.0.15", "1.1.dev1", "1!0.1"},
		"npm":  {"0.9.9", "1.0.0-0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.10.0"},
	} {
		for i, a := range list {
			for j, b := range list {
				want := 0
				if i < j {
					want = -1
				} else if i > j {
					want = 1
				}
				if got, err := Compare(ecosystem, a, b); err != nil || got != want {
					t.Errorf("%s: %s against %s: %d %v", ecosystem, a, b, got, err)
				}
			}
		}
	}
	for _, p := range [][2]string{{"1.0", "1.0.0"}, {"v1.0-ALPHA_1", "1.0a1"}, {"1.0c1", "1.0rc1"}, {"1.0-1", "1.0.post1"}, {"1.0+a-1", "1.0+a.1"}} {
		if c, err := Compare("PyPI", p[0], p[1]); c != 0 || err != nil {
			t.Errorf("%v: %d %v", p, c, err)
		}
	}
	for _, bad := range [][2]string{{"PyPI", "1.x"}, {"PyPI", ""}, {"npm", "latest"}, {"Maven", "1"}, {"Go", ""}, {"Go", "v1.2.3+" + strings.Repeat("x", maxVersion)}, {"PyPI", "1+" + strings.Repeat("x", maxVersion)}} {
		for _, pair := range [][2]string{{bad[1], "1.0.0"}, {"1.0.0", bad[1]}, {bad[1], bad[1]}} {
			if _, err := Compare(bad[0], pair[0], pair[1]); err == nil {
				t.Errorf("%s takes %v", bad[0], pair)
			}
		}
	}
}

func TestOrderIsTotal(t *testing.T) {
	gen := rapid.StringMatching(`([0-2]!)?[0-3](\.[0-3]){0,2}(a[0-2]|rc[0-2])?(\.post[0-2])?(\.dev[0-2])?(\+[a-b0-2](\.[0-2])?)?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := gen.Draw(t, "a"), gen.Draw(t, "b"), gen.Draw(t, "c")
		order := func(a, b string) int {
			n, err := Compare("PyPI", a, b)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if order(a, b) != -order(b, a) || order(a, b) <= 0 && order(b, c) <= 0 && order(a, c) > 0 {
			t.Fatal("not an order")
		}
	})
}

func set(t *testing.T, records ...string) match.Index {
	return match.NewIndex(readSet(t, records...))
}

func readSet(t *testing.T, records ...string) advisory.Set {
	s := advisory.Set{Snapshot: advisory.Snapshot{Name: "osv", Count: len(records)}}
	for _, r := range records {
		a, err := advisory.ParseOSV([]byte(r), s.Snapshot.Origin())
		if err != nil {
			t.Fatal(err)
		}
		s.Advisories = append(s.Advisories, a)
	}
	return s
}

func TestFind(t *testing.T) {
	ix := set(t, `{"id":"GO-1","aliases":["CVE-2026-1"],"affected":[{"package":{"ecosystem":"Go","name":"stdlib"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.18.6"},{"introduced":"1.19.0-0"},{"fixed":"1.19.1"}]}]}]}`,
		`{"id":"GO-2","affected":[{"package":{"ecosystem":"Go","name":"m"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`,
		`{"id":"GO-3","withdrawn":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Go","name":"m"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`,
		`{"id":"GO-4","affected":[{"package":{"ecosystem":"Go","name":"n"}}]}`,
		`{"id":"GO-5","affected":[{"package":{"ecosystem":"Go","name":"l"},"ranges":[{"type":"SEMVER","events":[{"introduced":"1.0.0"},{"last_affected":"1.2.0"}]}],"versions":["0.1.0","tip"]}]}`,
		`{"id":"GO-6","affected":[{"package":{"ecosystem":"Go","name":"k"},"versions":["1.0.0","tip"]}]}`,
		`{"id":"GO-7","affected":[{"package":{"ecosystem":"Go","name":"j"},"ranges":[{"type":"SEMVER","events":[{"introduced":"x"},{"fixed":"1.0.0"}]},{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"y"}]},{"type":"SEMVER","events":[{"introduced":"0"},{"last_affected":"z"}]}]}]}`)
	for in, want := range map[string]string{
		"stdlib 1.18.5": "GO-1 affected found-not-fixable 1.18.6", "stdlib 1.18.6": "", "stdlib 1.19.0": "GO-1 affected found-not-fixable 1.19.1", "stdlib 1.19.1": "",
		"stdlib devel": "GO-1 unknown version-unreadable ", "m v1.0.0": "GO-2 affected found-not-fixable ", "n 1.0.0": "GO-4 unknown no-range ", "o 1.0.0": "",
		"l 1.2.0": "GO-5 affected found-not-fixable ", "l 1.2.1": "", "l 0.1.0": "GO-5 affected found-not-fixable ", "l 0.2.0": "",
		"l tip": "GO-5 affected found-not-fixable ", "l trunk": "GO-5 unknown version-unreadable ", "k 1.0.0": "GO-6 affected found-not-fixable ", "k 1.0.1": "", "k tip": "GO-6 affected found-not-fixable ",
		"k trunk": "GO-6 unknown version-unreadable ", "j 0.1.0": "GO-7 unknown version-unreadable ",
	} {
		var l sbom.Library
		l.Ecosystem = "Go"
		fmt.Sscan(in, &l.Name, &l.Version)
		got := ""
		for _, f := range Find([]sbom.Library{l}, ix) {
			got += fmt.Sprintf("%s %s %s %s", f.Advisory, f.State, f.Reason.Code, f.Fixed)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	if f := Find([]sbom.Library{{Ecosystem: "npm", Name: "x", Version: "1.0.0"}}, ix); len(f) != 1 || f[0].Reason.Code != match.NotCovered {
		t.Errorf("%+v", f)
	}
	if f := Explain([]sbom.Library{{Ecosystem: "Go", Name: "stdlib", Version: "1.20.0"}}, ix, match.Query{Advisory: "CVE-2026-1"}); len(f) != 1 || f[0].State != match.NotAffected {
		t.Errorf("%+v", f)
	}
}

// A crate is one under both spellings, a Python package under all.
func TestNames(t *testing.T) {
	ix := set(t, `{"id":"RUSTSEC-1","affected":[{"package":{"ecosystem":"crates.io","name":"a-b"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`,
		`{"id":"RUSTSEC-2","affected":[{"package":{"ecosystem":"crates.io","name":"c_d"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`,
		`{"id":"GHSA-1","affected":[{"package":{"ecosystem":"PyPI","name":"Zope.Interface"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]}]}`,
		`{"id":"GHSA-2","affected":[{"package":{"ecosystem":"npm","name":"a-b"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`)
	for purl, want := range map[string]string{
		"pkg:cargo/a-b@1.0.0": "RUSTSEC-1", "pkg:cargo/a_b@1.0.0": "RUSTSEC-1", "pkg:cargo/c-d@1.0.0": "RUSTSEC-2", "pkg:cargo/c_d@1.0.0": "RUSTSEC-2", "pkg:cargo/A-B@1.0.0": "",
		"pkg:pypi/zope_interface@1.0": "GHSA-1", "pkg:pypi/ZOPE..interface@1.0": "GHSA-1", "pkg:npm/a-b@1.0.0": "GHSA-2", "pkg:npm/a_b@1.0.0": "",
	} {
		d, err := sbom.Parse([]byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"x","purl":"` + purl + `"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, f := range Find(d.Libraries, ix) {
			got += f.Advisory
		}
		if got != want {
			t.Errorf("%s: %q, want %q", purl, got, want)
		}
	}
	libs := []sbom.Library{{Ecosystem: "PyPI", Name: "zope-interface", Version: "1.0"}, {Ecosystem: "crates.io", Name: "a_b", Version: "1.0.0"}}
	for asked, want := range map[string]int{"Zope.Interface": 1, "a-b": 1, "a.b": 0, "": 2} {
		if got := Explain(libs, ix, match.Query{Package: asked}); len(got) != want {
			t.Errorf("%s: %+v", asked, got)
		}
	}
}

// A Go module is one in any capitals: a purl has lost them, and records have two
// spellings. Over sets and over a compiled index alike.
func TestGoModulesInAnyCapitals(t *testing.T) {
	text := func(id, name, fixed string) string {
		return fmt.Sprintf(`{"id":%q,"affected":[{"package":{"ecosystem":"Go","name":%q},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":%q}]}]}]}`, id, name, fixed)
	}
	both := `{"id":"GO-4","affected":[{"package":{"ecosystem":"Go","name":"h.example/d"},"versions":["1.0.0"]},{"package":{"ecosystem":"Go","name":"h.example/D"},"ranges":[{"type":"SEMVER","events":[{"introduced":"2.0.0"}]}]}]}`
	records := []string{text("GO-1", "github.com/BurntSushi/toml", "2.0.0"), text("GO-2", "github.com/burntsushi/toml", "3.0.0"), text("GO-3", "h.example/c", "2.0.0"), both}
	sets := readSet(t, records...)
	var file bytes.Buffer
	if _, err := flat.Write(&file, sets); err != nil {
		t.Fatal(err)
	}
	compiled, err := flat.Open(bytes.NewReader(file.Bytes()), int64(file.Len()), 0)
	if err != nil {
		t.Fatal(err)
	}
	const other = " capitals are not compared"
	for of, ix := range map[string]match.Index{"sets": match.NewIndex(sets), "compiled": match.Over(compiled)} {
		for in, want := range map[string]string{
			"github.com/burntsushi/toml 1.0.0": "GO-1 affected 2.0.0 other; GO-2 affected 3.0.0; ",
			"github.com/BurntSushi/toml 1.0.0": "GO-1 affected 2.0.0; GO-2 affected 3.0.0 other; ",
			"github.com/BURNTSUSHI/toml 2.5.0": "GO-2 affected 3.0.0 other; ",
			"H.example/C 1.0.0":                "GO-3 affected 2.0.0 other; ",
			"h.example/D 1.0.0":                "GO-4 affected ; ", // what the record says under either
			"h.example/d 2.5.0":                "GO-4 affected ; ",
			"h.example/D v0.1.0":               "",
			"h.example/D x":                    "GO-4 unknown ; ",
			"github.com/burntsushi/yaml 1.0.0": "",
		} {
			name, ver, _ := strings.Cut(in, " ")
			got := ""
			for _, f := range Find([]sbom.Library{{Ecosystem: "Go", Name: name, Version: ver}}, ix) {
				got += fmt.Sprintf("%s %s %s", f.Advisory, f.State, f.Fixed)
				if strings.Contains(f.Reason.Text, other) {
					got += " other"
				}
				got += "; "
			}
			if got != want {
				t.Errorf("%s, %s: %q, want %q", of, in, got, want)
			}
		}
		if f := Explain([]sbom.Library{{Ecosystem: "Go", Name: "github.com/burntsushi/toml", Version: "1.0.0"}}, ix, match.Query{Advisory: "GO-1", Package: "github.com/BurntSushi/toml"}); len(f) != 1 {
			t.Errorf("%s: %+v", of, f)
		}
	}
}

// counting counts the records that are read whole.
type counting struct {
	match.Records
	whole *int
}

func (c counting) Named(name string) []*advisory.Advisory {
	*c.whole++
	return c.Records.Named(name)
}

// A record is read whole once for all versions of a module in a bill.
func TestSpellingsAreLookedUpOnce(t *testing.T) {
	var file bytes.Buffer
	if _, err := flat.Write(&file, readSet(t, `{"id":"GO-1","affected":[{"package":{"ecosystem":"Go","name":"h.example/C"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`)); err != nil {
		t.Fatal(err)
	}
	compiled, err := flat.Open(bytes.NewReader(file.Bytes()), int64(file.Len()), 0)
	if err != nil {
		t.Fatal(err)
	}
	var libs []sbom.Library
	for i := range 10 {
		libs = append(libs, sbom.Library{Ecosystem: "Go", Name: "h.example/c", Version: fmt.Sprint("1.0.", i)})
	}
	whole := 0
	found := Find(libs, match.Over(counting{compiled, &whole}))
	if whole != 1 || len(found) != 10 || !strings.Contains(found[9].Reason.Text, "capitals are not compared") {
		t.Errorf("%d findings, %d records were read whole", len(found), whole)
	}
}

// Each module of the shared records that has capitals is found by a purl in lower
// case.
func TestRealGoModulesInLowerCase(t *testing.T) {
	set, err := feed.Read(t.Context(), shareddata.Path(t, filepath.Join("..", ".."), "osv/Go.zip"), feed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ix, seen := match.NewIndex(set), map[string]bool{}
	for _, a := range set.Advisories {
		for _, f := range a.Affected {
			if low := strings.ToLower(f.Package); low != f.Package && f.Ecosystem == "Go" && !seen[f.Package] {
				seen[f.Package] = true
				d, err := sbom.Parse([]byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"x","purl":"` + sbom.Purl{Type: "golang", Name: low}.String() + `"}]}`))
				if err != nil || len(Find(d.Libraries, ix)) == 0 {
					t.Errorf("%s is not found: %v", f.Package, err)
				}
			}
		}
	}
	t.Logf("%d modules", len(seen))
	if len(seen) < 50 {
		t.Error("too few")
	}
}

// Bills and records spell PyPI's names in one normal form.
func TestPyPINamesAreOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[A-Za-z0-9._-]{1,12}`).Draw(t, "name")
		if p, err := sbom.ParsePurl("pkg:pypi/" + name); err != nil || p.Name != advisory.PyPIName(name) {
			t.Fatalf("%s: %q %q %v", name, p.Name, advisory.PyPIName(name), err)
		}
	})
}

func TestNothing(t *testing.T) {
	whole := set(t, `{"id":"GO-1","affected":[{"package":{"ecosystem":"Go","name":"m"},"versions":["1.0.0"]}]}`)
	part := advisory.Set{Snapshot: advisory.Snapshot{Name: "osv", Count: 1, Partial: []advisory.Gap{{Record: "b", Why: "broken"}}}}
	a, err := advisory.ParseOSV([]byte(`{"id":"GO-1","affected":[{"package":{"ecosystem":"Go","name":"m"},"versions":["1.0.0"]}]}`), part.Snapshot.Origin())
	if err != nil {
		t.Fatal(err)
	}
	part.Advisories = append(part.Advisories, a)
	libs := []sbom.Library{{Ecosystem: "Go", Name: "k", Version: "1.0.0"}, {Ecosystem: "npm", Name: "j", Version: "1.0.0"}}
	gap := []inventory.Gap{{What: inventory.AreaPackages, Why: "1 of type library."}}
	for name, c := range map[string]struct {
		q    match.Query
		gaps []inventory.Gap
		ix   match.Index
		want string
	}{
		"no such record":             {match.Query{Advisory: "GO-9", Package: "k"}, nil, whole, "unknown no-such-advisory"},
		"not named":                  {match.Query{Advisory: "GO-1", Package: "k"}, nil, whole, "not_affected not-named"},
		"not named, by any":          {match.Query{Package: "k"}, nil, whole, "not_affected not-named"},
		"not named, a gap elsewhere": {match.Query{Advisory: "GO-1", Package: "k"}, gap, whole, "not_affected not-named"},
		"not named, a feed broken":   {match.Query{Advisory: "GO-1", Package: "k"}, nil, match.NewIndex(part), "unknown feed-partial"},
		"no feed of its kind":        {match.Query{Advisory: "GO-1", Package: "j"}, nil, whole, "unknown not-covered"},
		"not there":                  {match.Query{Advisory: "GO-1", Package: "m"}, nil, whole, "not_affected not-installed"},
		"not there, nor any":         {match.Query{Advisory: "GO-1"}, nil, whole, "not_affected not-installed"},
		"not there, as far as known": {match.Query{Advisory: "GO-1", Package: "m"}, gap, whole, "unknown inventory-gap"},
	} {
		if f := Nothing(libs, c.gaps, c.ix, c.q); fmt.Sprint(f.State, " ", f.Reason.Code) != c.want || f.Advisory != c.q.Advisory || f.Package != c.q.Package {
			t.Errorf("%s: %+v", name, f)
		}
	}
}
