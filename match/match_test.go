package match

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/shareddata"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/version"
)

// host is Debian 12 with packages written "name arch version source sourceversion state".
func host(packages ...string) inventory.Inventory {
	inv := inventory.Inventory{OS: inventory.OS{ID: "debian", VersionID: "12", Codename: "bookworm"}, Arch: "amd64", Partial: []inventory.Gap{}}
	for _, p := range packages {
		f := strings.Fields(p)
		inv.Packages = append(inv.Packages, inventory.Package{Name: f[0], Arch: f[1], Version: f[2], Scheme: version.Deb,
			Source: f[3], SourceVersion: f[4], Status: inventory.Status{Want: "install", Flag: "ok", State: f[5]}})
	}
	return inv
}

// feed parses OSV records into a set, as room feed does.
func feed(t testing.TB, name string, records ...string) advisory.Set {
	t.Helper()
	s := advisory.Set{Snapshot: advisory.Snapshot{Name: name, Kind: "osv", Source: name + ".zip", Digest: canon.SumFile([]byte(name)), Count: len(records)}}
	for _, raw := range records {
		a, err := advisory.ParseOSV([]byte(raw), s.Snapshot.Origin())
		if err != nil {
			t.Fatal(err)
		}
		if a.Over("Debian:12") == advisory.People { // "R", "X-1": the distribution's, unless the test says more
			a.Source = "debian/tracker"
		}
		s.Advisories = append(s.Advisories, a)
	}
	return s
}

// osv writes a record; events are written "introduced 0 fixed 1.0".
func osv(id, upstream, ecosystem, pkg, events string, more ...string) string {
	var list []string
	f := strings.Fields(events)
	for i := 0; i+1 < len(f); i += 2 {
		list = append(list, fmt.Sprintf(`{%q:%q}`, f[i], f[i+1]))
	}
	up := "[]"
	if upstream != "" {
		up = fmt.Sprintf(`[%q]`, upstream)
	}
	ranges := ""
	if len(list) > 0 {
		ranges = `,"ranges":[{"type":"ECOSYSTEM","events":[` + strings.Join(list, ",") + `]}]`
	}
	return fmt.Sprintf(`{"id":%q,"upstream":%s,"affected":[{"package":{"ecosystem":%q,"name":%q}%s%s}]}`,
		id, up, ecosystem, pkg, ranges, strings.Join(more, ""))
}

func render(t testing.TB, findings []Finding) []byte {
	t.Helper()
	if _, err := canon.Encode(findings); err != nil {
		t.Fatalf("no canonical bytes: %v", err)
	}
	out, err := json.MarshalIndent(findings, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// brief is "advisory package state code fixed" of each finding.
func brief(findings []Finding) []string {
	out := []string{}
	for _, f := range findings {
		out = append(out, strings.Join([]string{f.Advisory, f.Package, string(f.State), string(f.Reason.Code), f.Fixed}, " "))
	}
	return out
}

func same(t *testing.T, got []Finding, want ...string) {
	t.Helper()
	if b := brief(got); !slices.Equal(b, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(b, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestGoldenFindings(t *testing.T) {
	inv := host(
		"libssl3 amd64 3.0.20-1~deb12u1 openssl 3.0.20-1~deb12u1 installed",
		"linux-image-6.1.0-37-amd64 amd64 6.1.140-1 linux-signed-amd64 6.1.140+1 installed",
		"libperl5.36 amd64 5.36.0-7+b1 perl 5.36.0-7 triggers-pending",
		"slow amd64 2-1 slow 2-1 half-installed",
		"zip amd64 3.0-13 zip 3.0-13 config-files",
	)
	mention, err := advisory.ParseOSV([]byte(osv("debian-changelog/openssl/CVE-2026-1", "", "Debian:12", "openssl", "introduced 0 fixed 3.0.22-1~deb12u2")), advisory.Feed{Name: "debian-changelog", Kind: "vendor-signed changelog"})
	if err != nil {
		t.Fatal(err)
	}
	mention.Aliases, mention.Source, mention.Basis = []string{"CVE-2026-1"}, "debian/changelog", advisory.BasisMention
	scoped := advisory.Set{Advisories: []advisory.Advisory{mention}, Snapshot: advisory.Snapshot{Name: "debian-changelog", Source: "openssl", Count: 9,
		Scope: []advisory.Subject{{Ecosystem: "Debian:12", Package: "openssl"}}}}
	set := feed(t, "osv",
		osv("DEBIAN-CVE-2026-1", "CVE-2026-1", "Debian:12", "openssl", "introduced 0 fixed 3.0.22-1~deb12u1"),
		osv("DEBIAN-CVE-2026-2", "CVE-2026-2", "Debian:12", "openssl", "introduced 0 fixed 3.0.9-1"),
		osv("DEBIAN-CVE-2026-3", "CVE-2026-3", "Debian:12", "linux", "introduced 0 fixed 6.1.140-2"),
		osv("DEBIAN-CVE-2026-4", "CVE-2026-4", "Debian:12", "linux", "introduced 0 fixed 6.1.140-1"),
		osv("DEBIAN-CVE-2026-5", "CVE-2026-5", "Debian:12", "perl", "introduced 0"),
		osv("DEBIAN-CVE-2026-6", "CVE-2026-6", "Debian:12", "slow", "introduced 0 fixed 2-1"),
		osv("DEBIAN-CVE-2026-7", "CVE-2026-7", "Debian:12", "zip", "introduced 0 fixed 9-1"),
		osv("DEBIAN-CVE-2026-8", "CVE-2026-8", "Debian:11", "openssl", "introduced 0 fixed 9-1"),
	)
	got := render(t, Explain(inv, NewIndex(set, scoped), Query{}))
	if os.Getenv("PATCHWRIT_REWRITE") == "1" {
		if err := os.WriteFile("testdata/findings.golden", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/findings.golden")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v; got:\n%s", err, got)
	}
}

func TestEveryReason(t *testing.T) {
	inv := host("a amd64 1.5-1 a 1.5-1 installed")
	rec := func(events string, more ...string) string {
		return osv("R", "CVE-2026-1", "Debian:12", "a", events, more...)
	}
	for _, c := range []struct{ record, want string }{
		{rec("introduced 0 fixed 1.5-2"), "affected below-fixed 1.5-2"},
		{rec("introduced 0 fixed 1.5-1"), "not_affected fixed 1.5-1"},
		{rec("introduced 0 fixed 1.5-1~deb12u1"), "not_affected fixed 1.5-1~deb12u1"},
		{rec("introduced 0"), "affected unfixed "},
		{rec("introduced 1.6-1"), "not_affected not-introduced "},
		{rec("introduced 1:0 fixed 1:1"), "not_affected not-introduced "},
		{rec("introduced 0 last_affected 1.5-1"), "affected in-range "},
		{rec("introduced 0 last_affected 1.4-1"), "not_affected outside-ranges "},
		{rec("introduced 0 fixed 1.0-1 introduced 1.4-1 fixed 1.6-1"), "affected below-fixed 1.6-1"},
		{rec("introduced 0 fixed 1.0-1 introduced 1.6-1 fixed 1.7-1"), "not_affected fixed 1.0-1"},
		{rec("introduced 1.5-1 fixed 1.6-1 introduced 1.6-1 fixed 1.7-1"), "affected below-fixed 1.7-1"},
		{rec("", `,"versions":["1.5-1"]`), "affected listed "},
		{rec("", `,"versions":["1.4-1"]`), "not_affected outside-ranges "},
		{rec("introduced 0 fixed 1.4-1", `,"versions":["1.5-1"]`), "affected listed "},
		{rec(""), "unknown no-range "},
		{rec("introduced 0 fixed <unfixed>"), "unknown version-unreadable "},
		{rec("introduced 1.6-1 fixed <unfixed>"), "not_affected not-introduced "},
		{osv("R", "CVE-2026-1", "Debian", "a", "introduced 0 fixed 1.0-1"), "unknown release-unnamed "},
		{strings.Replace(rec("introduced 0"), `"id"`, `"withdrawn":"2026-01-01T00:00:00Z","id"`, 1), "not_affected withdrawn "},
	} {
		f := Explain(inv, NewIndex(feed(t, "osv", c.record)), Query{Advisory: "CVE-2026-1"})
		if len(f) != 1 || fmt.Sprint(f[0].State, " ", f[0].Reason.Code, " ", f[0].Fixed) != c.want {
			t.Errorf("%s: got %q, want %q", c.record, brief(f), c.want)
		}
	}
}

func TestInterruptedAndAbsentPackages(t *testing.T) {
	set := feed(t, "osv", osv("R", "CVE-2026-1", "Debian:12", "a", "introduced 0 fixed 2"))
	for state, want := range map[string]string{
		inventory.Installed: "R a affected below-fixed 2", inventory.Unpacked: "R a affected below-fixed 2",
		inventory.HalfConfigured: "R a affected below-fixed 2", inventory.TriggersPending: "R a affected below-fixed 2",
		inventory.HalfInstalled: "R a unknown not-settled ", "unknown": "R a unknown not-settled ",
		inventory.ConfigFiles: "CVE-2026-1  not_affected not-installed ",
	} {
		same(t, Explain(host("a amd64 1 a 1 "+state), NewIndex(set), Query{Advisory: "CVE-2026-1"}), want)
	}
}

// What is missing must never look clean.
func TestWhateverIsMissingIsUnknown(t *testing.T) {
	inv := host("a amd64 1 a 1 installed", "b amd64 1 b 1 installed")
	good := feed(t, "osv", osv("R", "", "Debian:12", "x", "introduced 0 fixed 2"))
	same(t, Find(inv, NewIndex(good))) // positive control: nothing to say
	gappy := inv
	gappy.Partial = []inventory.Gap{{What: inventory.AreaPackages, Why: "cut"}}
	rolling, fedora := inv, inv
	rolling.OS.VersionID = ""
	fedora.OS.ID = "fedora"
	empty, partial := feed(t, "osv"), feed(t, "osv", osv("R", "", "Debian:12", "x", "introduced 0 fixed 2"))
	partial.Snapshot.Partial = []advisory.Gap{{Record: "x.json", Why: "broken"}}
	scoped := feed(t, "log", osv("R", "", "Debian:12", "a", "introduced 0 fixed 1"))
	scoped.Snapshot.Scope = []advisory.Subject{{Ecosystem: "Debian:12", Package: "a"}}
	for name, c := range map[string]struct {
		inv  inventory.Inventory
		ix   Index
		want []string
	}{
		"gap":            {gappy, NewIndex(good), []string{"  unknown inventory-gap "}},
		"no feed":        {inv, NewIndex(), []string{"  unknown no-feed ", "  unknown not-covered "}},
		"zero index":     {inv, Index{}, []string{"  unknown no-feed ", "  unknown not-covered "}},
		"empty feed":     {inv, NewIndex(empty), []string{"  unknown feed-empty ", "  unknown not-covered "}},
		"partial feed":   {inv, NewIndex(partial), []string{"  unknown feed-partial "}},
		"other release":  {inv, NewIndex(feed(t, "osv", osv("R", "", "Debian:11", "a", "introduced 0"))), []string{"  unknown not-covered "}},
		"scoped feed":    {inv, NewIndex(scoped), []string{"  unknown not-covered "}},
		"rolling":        {rolling, NewIndex(good), []string{"  unknown system-unknown "}},
		"another system": {fedora, NewIndex(good), []string{"  unknown system-unknown "}},
	} {
		t.Run(name, func(t *testing.T) { same(t, Find(c.inv, c.ix), c.want...) })
	}
	other := feed(t, "other")
	if a, b := render(t, Find(inv, NewIndex(empty, other))), render(t, Find(inv, NewIndex(other, empty))); !bytes.Equal(a, b) {
		t.Error("the order of the feeds shows")
	}
	both := NewIndex(scoped, good)
	same(t, Find(inv, both)) // a whole feed beside the scoped one covers all
	if f := Find(inv, NewIndex(scoped)); !strings.Contains(f[0].Reason.Text, `1 of its installed source packages (the first: "b")`) {
		t.Error(f[0].Reason.Text)
	}
}

func TestExplainSaysWhyThereIsNothing(t *testing.T) {
	inv := host("a-bin amd64 1 a 1 installed")
	ix := NewIndex(feed(t, "osv", osv("R1", "CVE-2026-1", "Debian:12", "a", "introduced 0 fixed 1"), osv("R2", "CVE-2026-2", "Debian:12", "b", "introduced 0"), osv("R3", "CVE-2026-3", "Debian:11", "a", "introduced 0")))
	gappy := inv
	gappy.Partial = []inventory.Gap{{What: inventory.AreaPackages, Why: "cut"}}
	broken := feed(t, "osv", osv("R2", "CVE-2026-2", "Debian:12", "b", "introduced 0"))
	broken.Snapshot.Partial = []advisory.Gap{{Why: "x"}}
	scoped := feed(t, "log", osv("R2", "", "Debian:12", "b", "introduced 0"))
	scoped.Snapshot.Scope = []advisory.Subject{{Ecosystem: "Debian:12", Package: "a"}}
	for _, c := range []struct {
		inv  inventory.Inventory
		ix   Index
		q    Query
		want string
	}{
		{inv, ix, Query{"CVE-2026-1", ""}, "R1 a-bin not_affected fixed 1"},
		{inv, ix, Query{"R1", "a"}, "R1 a-bin not_affected fixed 1"},
		{inv, ix, Query{"", "a-bin"}, "R1 a-bin not_affected fixed 1"},
		{inv, ix, Query{"CVE-2026-2", ""}, "CVE-2026-2  not_affected not-installed "},
		{inv, ix, Query{"", "b"}, " b not_affected not-installed "},
		{gappy, ix, Query{"CVE-2026-2", ""}, "CVE-2026-2  unknown inventory-gap "},
		{inv, ix, Query{"CVE-2026-3", ""}, "CVE-2026-3  not_affected not-named "},
		{inv, ix, Query{"CVE-2026-2", "a"}, "CVE-2026-2 a not_affected not-named "},
		{inv, NewIndex(broken), Query{"", "a"}, " a unknown feed-partial "},
		{inv, ix, Query{"CVE-2099-1", ""}, "CVE-2099-1  unknown no-such-advisory "},
		{inv, Index{}, Query{"", "a"}, " a unknown not-covered "},
		{inv, NewIndex(scoped), Query{"", "a"}, " a unknown not-covered "},
		{inventory.Inventory{}, ix, Query{"", "a"}, " a unknown system-unknown "},
	} {
		same(t, Explain(c.inv, c.ix, c.q), c.want)
		render(t, Explain(c.inv, c.ix, c.q))
	}
}

func TestSourcesAreJoinedOnlyUnderOneCVE(t *testing.T) {
	inv := host("a amd64 1.5 a 1.5 installed")
	ix := NewIndex(
		feed(t, "one", osv("X-1", "CVE-2026-1", "Debian:12", "a", "introduced 0 fixed 2")),
		feed(t, "two", osv("Y-1", "CVE-2026-1", "Debian:12", "a", "introduced 0 fixed 1"), osv("Y-2", "", "Debian:12", "a", "introduced 0 fixed 3"), osv("Y-3", "CVE-2026-1", "Debian:12", "a", "introduced 0 fixed 4")),
	)
	got := Find(inv, ix)
	same(t, got, "X-1 a affected below-fixed 4", "Y-2 a affected below-fixed 3")
	f := got[0]
	if !slices.Equal(f.Aliases, []string{"CVE-2026-1", "Y-1", "Y-3"}) || len(f.Sources) != 3 || !strings.Contains(f.Reason.Text, "disagree: 1 of 3") {
		t.Errorf("%+v", f)
	}
	if s := f.Sources[2]; s.Advisory != "Y-1" || s.State != NotAffected || s.Feed != "two" || s.Snapshot == "" || s.Raw == "" {
		t.Errorf("%+v", s)
	}
	if got := ix.Lookup("CVE-2026-1"); len(got) != 3 {
		t.Errorf("looked up %d records", len(got))
	}
}

func TestEcosystem(t *testing.T) {
	for in, want := range map[inventory.OS]string{
		{ID: "debian", VersionID: "12"}: "Debian:12", {ID: "debian", VersionID: "12.5"}: "Debian:12", {ID: "debian"}: "",
		{ID: "ubuntu", VersionID: "22.04"}: "Ubuntu:22.04:LTS", {ID: "ubuntu", VersionID: "24.10"}: "Ubuntu:24.10",
		{ID: "ubuntu", VersionID: "23.04"}: "Ubuntu:23.04", {ID: "ubuntu", VersionID: ".04"}: "Ubuntu:.04", {ID: "alpine", VersionID: "3"}: "", {ID: "alpine", VersionID: "3.20.3"}: "Alpine:v3.20",
		{ID: "almalinux", VersionID: "9.4"}: "AlmaLinux:9", {ID: "rocky", VersionID: "8.10"}: "Rocky Linux:8", {ID: "rhel", VersionID: "9.4"}: "",
	} {
		if got, ok := Ecosystem(in); got != want || ok != (want != "") {
			t.Errorf("%+v: %q %v", in, got, ok)
		}
	}
}

func TestSignedKernelsAreComparedAsTheKernelTheyWrap(t *testing.T) {
	set := feed(t, "osv", osv("R1", "", "Debian:12", "linux", "introduced 0 fixed 6.1.140-2"), osv("R2", "", "Debian:12", "linux-6.12", "introduced 0 fixed 6.12.9-1~deb12u1"))
	same(t, Find(host(
		"linux-image-6.1.0-37-amd64 amd64 6.1.140-1 linux-signed-amd64 6.1.140+1 installed",
		"linux-image-6.12.9+deb12-amd64 amd64 6.12.9-1~deb12u1 linux-signed-6.12-amd64 6.12.9+1~deb12u1 installed",
	), NewIndex(set)), "R1 linux-image-6.1.0-37-amd64 affected below-fixed 6.1.140-2")
}

// reference answers one record on one package in the plainest way.
func reference(a advisory.Advisory, p inventory.Package) State {
	state := NotAffected
	for _, f := range a.Affected {
		if f.Ecosystem != "Debian:12" || f.Package != p.Source {
			continue
		}
		for _, r := range f.Ranges {
			from, err1 := version.Compare(version.Deb, p.SourceVersion, r.Introduced)
			to, err2 := version.Compare(version.Deb, p.SourceVersion, r.Fixed)
			switch {
			case from < 0 && err1 == nil && r.Introduced != "0":
			case (from >= 0 && err1 == nil || r.Introduced == "0") && (r.Fixed == "" || to < 0 && err2 == nil):
				return Affected
			case err1 != nil || err2 != nil && r.Fixed != "":
				state = Unknown
			}
		}
		if slices.Contains(f.Versions, p.SourceVersion) {
			return Affected
		}
	}
	return state
}

func TestFindEqualsTheNaiveMatcher(t *testing.T) {
	vs := []string{"0", "0~1", "1.0-1", "1.0-1+deb12u1", "1.0-2", "1:0.5-1", "2.0-1", "not a version"}
	ver := rapid.SampledFrom(vs)
	src := rapid.SampledFrom([]string{"a", "b", "c"})
	rapid.Check(t, func(t *rapid.T) {
		inv := host()
		for i := range rapid.IntRange(0, 6).Draw(t, "packages") {
			v := ver.Draw(t, "v")
			inv.Packages = append(inv.Packages, inventory.Package{Name: fmt.Sprint("p", i), Arch: "amd64", Version: v, Source: src.Draw(t, "src"), SourceVersion: v,
				Status: inventory.Status{Want: "install", Flag: "ok", State: rapid.SampledFrom([]string{"installed", "unpacked", "config-files"}).Draw(t, "state")}})
		}
		var sets []advisory.Set
		for s := range rapid.IntRange(1, 3).Draw(t, "sets") {
			set := advisory.Set{Snapshot: advisory.Snapshot{Name: fmt.Sprint("s", s), Count: 1}}
			for range rapid.IntRange(1, 5).Draw(t, "records") {
				a := advisory.Advisory{ID: fmt.Sprint("R-", rapid.IntRange(0, 3).Draw(t, "id")), Basis: advisory.BasisRecord, Feed: advisory.Feed{Name: set.Snapshot.Name}}
				a.Upstream = []string{fmt.Sprint("CVE-2026-", rapid.IntRange(0, 2).Draw(t, "cve"))}
				for range rapid.IntRange(1, 3).Draw(t, "affected") {
					f := advisory.Affected{Ecosystem: rapid.SampledFrom([]string{"Debian:12", "Debian:11"}).Draw(t, "eco"), Package: src.Draw(t, "pkg")}
					for range rapid.IntRange(1, 2).Draw(t, "ranges") {
						f.Ranges = append(f.Ranges, advisory.Range{Introduced: ver.Draw(t, "in"), Fixed: rapid.SampledFrom(append([]string{""}, vs...)).Draw(t, "fix")})
					}
					if rapid.Bool().Draw(t, "listed") {
						f.Versions = []string{ver.Draw(t, "l")}
					}
					a.Affected = append(a.Affected, f)
				}
				set.Advisories = append(set.Advisories, a)
			}
			sets = append(sets, set)
		}
		want := map[string]State{} // package and CVE: worst state any record gives
		for _, p := range inv.Packages {
			if p.Status.State == "config-files" {
				continue
			}
			for _, s := range sets {
				for _, a := range s.Advisories {
					if !slices.ContainsFunc(a.Affected, func(f advisory.Affected) bool { return f.Ecosystem == "Debian:12" && f.Package == p.Source }) {
						continue
					}
					st := reference(a, p)
					if version.Valid(version.Deb, p.SourceVersion) != nil {
						st = Unknown // nothing can be said about such a version, not even by a list
					}
					key := p.Name + " " + a.Upstream[0]
					if old, ok := want[key]; !ok || rank[st] < rank[old] {
						want[key] = st
					}
				}
			}
		}
		got := map[string]State{}
		all := Explain(inv, NewIndex(sets...), Query{})
		for _, f := range all {
			if f.Package != "" {
				got[f.Package+" "+f.Aliases[0]] = f.State
			}
		}
		if !maps.Equal(got, want) {
			t.Fatalf("got %v\nwant %v", got, want)
		}
		open := slices.DeleteFunc(slices.Clone(all), func(f Finding) bool { return f.State == NotAffected })
		inv.Packages = rapid.Permutation(inv.Packages).Draw(t, "order")
		if again := Find(inv, NewIndex(rapid.Permutation(sets).Draw(t, "sets order")...)); fmt.Sprint(again) != fmt.Sprint(open) {
			t.Fatalf("Find differs from Explain without negatives, or depends on an order:\n%v\n%v", again, open)
		}
	})
}

// bookworm is a root in which every binary of a Packages file is installed.
func bookworm(t testing.TB) inventory.Inventory {
	text := shareddata.Gunzip(t, "..", shareddata.BookwormMain)
	status := strings.ReplaceAll("\n"+strings.TrimSpace(text)+"\n", "\nPackage: ", "\nStatus: install ok installed\nPackage: ")
	inv, err := inventory.Read(fstest.MapFS{
		"etc/os-release":      {Data: []byte("ID=debian\nVERSION_ID=12\n")},
		"var/lib/dpkg/status": {Data: []byte(status)},
		"var/lib/dpkg/arch":   {Data: []byte("amd64\n")},
	})
	if err != nil || len(inv.Partial) != 0 {
		t.Fatal(err, inv.Partial)
	}
	return inv
}

func realFeed(t testing.TB) advisory.Set {
	set := advisory.Set{Snapshot: advisory.Snapshot{Name: "osv"}}
	shareddata.Zipped(t, "..", "debian/osv-derived-bookworm.zip", func(_ string, raw []byte) {
		a, err := advisory.ParseOSV(raw, set.Snapshot.Origin())
		if err != nil {
			t.Fatal(err)
		}
		set.Advisories = append(set.Advisories, a)
	})
	set.Snapshot.Count = len(set.Advisories)
	return set
}

// On real packages and records: what Find calls affected is what the data set's
// own table calls upgradeable, pair by pair.
func TestRealDebianData(t *testing.T) {
	set, inv := realFeed(t), bookworm(t)
	start := time.Now()
	findings := Find(inv, NewIndex(set))
	t.Logf("%d packages, %d records, %d findings in %v", len(inv.Packages), len(set.Advisories), len(findings), time.Since(start))
	got := map[string]string{}
	for _, f := range findings {
		if f.State != Affected || f.Reason.Code != BelowFixed {
			t.Fatalf("%+v", f)
		}
		got[f.Aliases[0]+" "+f.Source] = f.Fixed
	}
	file, err := os.Open(shareddata.Path(t, "..", "debian/bookworm-fixed-versions.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	installed := map[string]bool{}
	for _, p := range inv.Packages {
		installed[p.Source] = true
	}
	want, pairs := map[string]string{}, 0
	for _, r := range rows[1:] {
		if installed[r[1]] {
			pairs++
			if r[7] == "1" {
				want[r[0]+" "+r[1]] = r[2]
			}
		}
	}
	if !maps.Equal(got, want) || len(set.Advisories) != 1021 || len(want) < 400 {
		t.Errorf("%d records, %d pairs on installed sources; affected pairs: got %d, want %d", len(set.Advisories), pairs, len(got), len(want))
	}
	if all := Explain(inv, NewIndex(set), Query{}); len(all) <= len(findings) {
		t.Error("no negative answers")
	}
}

func BenchmarkFindRealDebianData(b *testing.B) {
	set, inv := realFeed(b), bookworm(b)
	ix := NewIndex(set)
	for b.Loop() {
		Find(inv, ix)
	}
}
