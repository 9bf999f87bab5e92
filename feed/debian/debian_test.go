package debian

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/internal/shareddata"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

var bookworm = Branch{"Debian:12", "bookworm"}

// entry writes one changelog entry.
func entry(source, ver, dist string, lines ...string) string {
	s := fmt.Sprintf("%s (%s) %s; urgency=medium\n\n", source, ver, dist)
	for _, l := range lines {
		s += "  * " + l + "\n"
	}
	return s + "\n -- A <a@example.invalid>  Fri, 02 Jan 2026 03:04:05 +0000\n\n"
}

func TestParseChangelog(t *testing.T) {
	text := "# comment\n" +
		entry("a", "1:1.2-1~deb12u2", "bookworm-security bookworm", "fix cve-2026-0001, CVE-2026-0001 and fix_CVE-2025-12345.patch", "CVE-2026-123 CVE-1998-0001 CVE-2026-12345678901234567890") +
		"a (1:1.2-1~deb12u1+b1) bookworm; urgency=low, Binary-Only=yes\n\n  * CVE-2026-9999\n\n -- A <a@b>  Fri, 2 Jan 2026 03:04:05 +0000 (UTC)\n" +
		"a (1:1.2-1) unstable;\n\n  [ B ]\n\t* CVE-2024-0001\n\n -- A <a@b> someday\n\n" +
		"# Older entries have been removed from this changelog.\n\nvim:set ai tw=78:\nlast words\n"
	got, unread := ParseChangelog([]byte(text))
	want := []Entry{
		{2, "a", "1:1.2-1~deb12u2", []string{"bookworm-security", "bookworm"}, false, 1767323045, []string{"CVE-2025-12345", "CVE-2026-0001"}},
		{9, "a", "1:1.2-1~deb12u1+b1", []string{"bookworm"}, true, 1767323045, []string{"CVE-2026-9999"}},
		{14, "a", "1:1.2-1", []string{"unstable"}, false, 0, []string{"CVE-2024-0001"}},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || len(unread) != 0 {
		t.Errorf("got %v, unread %v", got, unread)
	}
}

func TestWhatIsLostIsToldIfItNamesVulnerabilities(t *testing.T) {
	good := entry("a", "1", "bookworm", "CVE-2026-0001")
	for _, c := range []struct {
		text    string
		entries int
		unread  string
	}{
		{good, 1, ""},
		{"", 0, ""},
		{good + "Old Changelog:\nnothing\n", 1, ""},
		{good + "Old Changelog:\nCVE-2001-0001\n", 1, "1 names of vulnerabilities"},
		{good + "a (1 2) unstable; x=y\n\n  * CVE-2020-0001\n", 1, "1 names"},
		{good + "a (1) ; x=y\n\n  * CVE-2020-0001\n", 1, "1 names"},
		{good + "a (_) unstable; x=y\n\n  * CVE-2020-0001\n", 1, "1 names"},
		{good + "\xff\x00 CVE-2020-0001", 1, "1 names"},
		{good[:len(good)/2], 1, "cut short"},
		{"a (2) bookworm; urgency=low\n\n  * x\n" + good, 2, "no signature line"},
		{"a (2) bookworm; urgency=low\n\n  * x\nrubbish\n" + good, 1, "broken off by line 4"},
		{"\n  * CVE-2020-0001\n" + good, 0, "2 names"},
	} {
		got, unread := ParseChangelog([]byte(c.text))
		if len(got) != c.entries || (c.unread == "") != (len(unread) == 0) || !strings.Contains(fmt.Sprint(unread), c.unread) {
			t.Errorf("%q: %d entries, unread %v", c.text, len(got), unread)
		}
	}
	var many strings.Builder
	for i := range maxIDs + 1 {
		fmt.Fprintf(&many, "CVE-2026-%d ", 10000+i)
	}
	if got, unread := ParseChangelog([]byte(entry("a", "1", "bookworm", many.String()))); len(got[0].CVEs) != maxIDs || len(unread) != 1 {
		t.Errorf("%d ids, %v", len(got[0].CVEs), unread)
	}
	crowd := strings.Repeat("a (1) b;\n\n -- x <y>  z\n", maxEntries)
	if got, unread := ParseChangelog([]byte(crowd + good)); len(got) != maxEntries || len(unread) != 1 {
		t.Errorf("%d entries, %v", len(got), unread)
	}
	if got, unread := ParseChangelog(make([]byte, MaxText+1)); got != nil || len(unread) != 1 {
		t.Error("a text beyond the limit was read")
	}
}

// fixes is "CVE fixed" of each advisory.
func fixes(list []advisory.Advisory) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		out[a.Aliases[0]] = a.Affected[0].Ranges[0].Fixed
	}
	return out
}

func TestFixedVersionOfABranch(t *testing.T) {
	text := entry("a", "1.3-1~deb12u1", "bookworm-security", "rebuild") +
		entry("a", "1.3-1", "unstable", "CVE-2026-0006") +
		entry("a", "1.2-1+deb12u3", "bookworm-security", "CVE-2026-0001 again", "CVE-2026-0002") +
		entry("a", "1.2-1+deb12u2", "oldstable-proposed-updates", "CVE-2026-0005") +
		entry("a", "1.2-1+deb12u1", "bookworm", "CVE-2026-0001", "CVE-2026-0003") +
		entry("a", "1.2-1+deb120u1", "unstable", "CVE-2026-0007") +
		strings.Replace(entry("a", "1.2-1+b1", "bookworm", "CVE-2026-0009"), "medium", "low, binary-only=yes", 1) +
		entry("a", "1.2-1", "unstable", "CVE-2026-0003", "CVE-2026-0004") +
		entry("b", "1.0-1", "bookworm", "CVE-2026-0008")
	entries, unread := ParseChangelog([]byte(text))
	if len(unread) != 0 {
		t.Fatal(unread)
	}
	list := Advisories(entries, "a", bookworm, canon.SumFile([]byte(text)), advisory.Feed{Name: Name})
	want := map[string]string{
		"CVE-2026-0001": "1.2-1+deb12u1", // the oldest mention in the branch
		"CVE-2026-0002": "1.2-1+deb12u3",
		"CVE-2026-0003": "1.2-1+deb12u1", // in the branch, though named before it too
		"CVE-2026-0004": "1.2-1",         // before the branch began
		"CVE-2026-0005": "1.2-1+deb12u2", // wrong distribution, right mark
		"CVE-2026-0006": "1.3-1~deb12u1", // merged from unstable into the branch
		"CVE-2026-0007": "1.2-1+deb12u1", // deb120 is another release's mark
	}
	if got := fixes(list); !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	a := list[0]
	if a.ID != "debian-changelog/a/CVE-2026-0001" || a.Basis != advisory.BasisMention || a.Source != Source || a.CVE() != "CVE-2026-0001" || !a.Unscored() || a.Published != 1767323045 {
		t.Errorf("%+v", a)
	}
	if _, err := canon.Encode(list); err != nil {
		t.Error(err)
	}
}

// On 63 real changelogs the result equals an independent table: every pair in
// it with its version, and whatever is not in it is named outside the branch only.
func TestEqualsTheTableOfRealChangelogs(t *testing.T) {
	f, err := os.Open(shareddata.Path(t, "../..", "debian/bookworm-fixed-versions.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]string{}
	for _, r := range rows[1:] {
		table[r[1]+" "+r[0]] = r[2]
	}
	equal, outside := 0, 0
	shareddata.Changelogs(t, "../..", func(source string, text []byte) {
		entries, unread := ParseChangelog(text)
		if len(unread) != 0 {
			t.Errorf("%s: %v", source, unread)
		}
		inBranch := map[string]bool{}
		for _, e := range entries {
			for _, id := range e.CVEs {
				inBranch[id] = inBranch[id] || bookworm.has(e)
			}
		}
		for id, fixed := range fixes(Advisories(entries, source, bookworm, "", advisory.Feed{})) {
			want, ok := table[source+" "+id]
			switch {
			case ok && want == fixed:
				equal++
			case ok || inBranch[id]:
				t.Errorf("%s %s: %s, the table says %q", source, id, fixed, want)
			default:
				outside++
			}
		}
	})
	t.Logf("%d pairs equal, %d named outside the branch only", equal, outside)
	if equal != len(table) || equal != 1041 {
		t.Errorf("%d of %d pairs", equal, len(table))
	}
}

// Changelogs of the packages on this machine are read whole: no id that a plain
// search finds is lost in silence.
func TestThisMachinesChangelogsAreReadWhole(t *testing.T) {
	files, err := filepath.Glob("/usr/share/doc/*/changelog.Debian.gz")
	if err != nil || len(files) < 50 {
		t.Skipf("only %d Debian changelogs on this machine", len(files))
	}
	plain := regexp.MustCompile(`(?i)CVE-[12][0-9]{3}-[0-9]{4,}`)
	ids, entries := 0, 0
	for i, name := range files {
		if i%(len(files)/25) != 0 {
			continue // some 25, so that the race detector has done in time
		}
		text := gunzipFile(t, name)
		list, unread := ParseChangelog(text)
		entries += len(list)
		got, want := map[string]bool{}, map[string]bool{}
		for _, e := range list {
			for _, id := range e.CVEs {
				got[id] = true
			}
		}
		for _, id := range plain.FindAllString(string(text), -1) {
			want[strings.ToUpper(id)] = true
		}
		ids += len(got)
		if !maps.Equal(got, want) && len(unread) == 0 {
			t.Errorf("%s: %d ids, a plain search finds %d, and nothing is unread", name, len(got), len(want))
		}
	}
	t.Logf("some of %d files, %d entries, %d ids", len(files), entries, ids)
}

func gunzipFile(t *testing.T, name string) []byte {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var day = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// verified publishes p in a signed repository and verifies its way back.
func verified(t *testing.T, p debworld.Package) (provenance.Entry, []byte) {
	t.Helper()
	raw, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	return publish(t, p, raw), raw
}

// publish is verified for bytes made elsewhere.
func publish(t *testing.T, p debworld.Package, raw []byte) provenance.Entry {
	t.Helper()
	key, err := debworld.NewKey(debworld.KeyConfig{Name: "Archive", Created: day.AddDate(-1, 0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	repo, err := debworld.NewRepo(t.TempDir(), debworld.RepoConfig{Origin: "Test", Label: "Test", Codename: "bookworm"})
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.AddRaw(p, raw); err != nil {
		t.Fatal(err)
	}
	signed, err := repo.Publish(debworld.Publication{At: day, Signers: []debworld.Signer{{Key: key}}})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := debworld.Keyring(key)
	if err != nil {
		t.Fatal(err)
	}
	origin := trust.Origin{ID: "test", Keyring: "k", Signers: 1, Origin: "Test", Label: "Test", Codename: "bookworm", Suites: []string{"bookworm"}, Sections: []string{"main"}}
	release, err := provenance.ReadRelease(signed, origin, ring, 0, day.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	packages := bytes.NewReader(mustRead(t, filepath.Join(repo.Dir, "dists/bookworm/main/binary-amd64/Packages.gz")))
	index, err := release.ReadPackages("main/binary-amd64/Packages.gz", packages)
	if err != nil {
		t.Fatal(err)
	}
	e, err := index.Find(p.Name, "amd64", p.Version)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func gz(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text))
	w.Close()
	return b.String()
}

func TestReadAVerifiedPackage(t *testing.T) {
	p := debworld.Package{Name: "libssl3", Version: "3.0.22-1~deb12u2+b1", Source: "openssl (3.0.22-1~deb12u2)"}
	doc := func(name, content string) debworld.Package {
		q := p
		q.Files = map[string]debworld.File{"/usr/share/doc/libssl3/" + name: {Content: content}}
		return q
	}
	good := entry("openssl", "3.0.22-1~deb12u2", "bookworm-security", "CVE-2026-0002") + entry("openssl", "3.0.20-1~deb12u1", "bookworm", "CVE-2026-0001")
	link := p
	link.Files = map[string]debworld.File{"/usr/share/doc/libssl3": {Link: "openssl"}}
	for name, c := range map[string]struct {
		pkg        debworld.Package
		advisories int
		gap        string
	}{
		"packed":             {doc("changelog.Debian.gz", gz(good)), 2, ""},
		"plain":              {doc("changelog.Debian", good), 2, ""},
		"native":             {doc("changelog.gz", gz(good)), 2, ""},
		"none":               {p, 0, "no changelog of its own"},
		"link":               {link, 0, "no changelog of its own"},
		"not gzip":           {doc("changelog.Debian.gz", good), 0, "cannot be unpacked"},
		"cut":                {doc("changelog.Debian.gz", gz(good)[:60]), 0, "cannot be unpacked"},
		"upstream's":         {doc("changelog.gz", gz("Version 3: no Debian changelog\n")), 0, "no entry"},
		"of another version": {doc("changelog.Debian.gz", gz(entry("openssl", "9-1", "bookworm", "CVE-2026-0001"))), 1, "begins with openssl 9-1"},
		"of another source":  {doc("changelog.Debian.gz", gz(entry("other", "3.0.22-1~deb12u2", "bookworm", "CVE-2026-0001"))), 0, "begins with other"},
		"rubbish at its end": {doc("changelog.Debian.gz", gz(good+"x CVE-2020-0001\n")), 2, "changelog line 13"},
		"in another directory": {func() debworld.Package {
			q := doc("x", "")
			q.Files["/usr/share/doc/other/changelog.Debian.gz"] = debworld.File{Content: gz(good)}
			return q
		}(), 0, "no changelog of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			e, deb := verified(t, c.pkg)
			s, err := Read(e, bytes.NewReader(deb), bookworm, 1_790_000_000)
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Advisories) != c.advisories || (c.gap == "") != (len(s.Snapshot.Partial) == 0) || !strings.Contains(fmt.Sprint(s.Snapshot.Partial), c.gap) {
				t.Errorf("%d advisories, gaps %v", len(s.Advisories), s.Snapshot.Partial)
			}
			if _, err := canon.Encode(s); err != nil {
				t.Error(err)
			}
			if s.Snapshot.Digest != canon.SumFile(deb) || !slices.Equal(s.Snapshot.Scope, []advisory.Subject{{Ecosystem: "Debian:12", Package: "openssl"}}) {
				t.Errorf("%+v", s.Snapshot)
			}
			if name == "packed" {
				a := s.Advisories[1]
				if s.Snapshot.Count != 2 || a.Feed != s.Snapshot.Origin() || a.Raw != canon.SumFile([]byte(good)) || a.Affected[0].Package != "openssl" || a.Affected[0].Ranges[0].Fixed != "3.0.22-1~deb12u2" {
					t.Errorf("%+v\n%+v", s.Snapshot, a)
				}
			}
		})
	}
}

func TestOnlyVerifiedBytesAreRead(t *testing.T) {
	p := debworld.Package{Name: "a", Version: "1-1", Changelog: []debworld.Change{{Version: "1-1", Lines: []string{"CVE-2026-0001"}}}}
	e, deb := verified(t, p)
	if s, err := Read(e, bytes.NewReader(deb), bookworm, 1); err != nil || len(s.Advisories) != 1 {
		t.Fatalf("positive control: %v %+v", err, s)
	}
	p.Changelog[0].Lines = []string{"CVE-2026-6666"}
	trojan, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		e   provenance.Entry
		deb []byte
	}{
		"other bytes":   {e, trojan},
		"a bit flipped": {e, append(append(slices.Clone(deb[:len(deb)/2]), deb[len(deb)/2]^1), deb[len(deb)/2+1:]...)},
		"cut":           {e, deb[:len(deb)-1]},
		"no entry":      {provenance.Entry{}, deb},
	} {
		if s, err := Read(c.e, bytes.NewReader(c.deb), bookworm, 1); refusal.CodeOf(err) == "" || s.Advisories != nil {
			t.Errorf("%s: %v %+v", name, err, s)
		}
	}
	rubbish := []byte("signed for, and no .deb")
	if s, err := Read(publish(t, p, rubbish), bytes.NewReader(rubbish), bookworm, 1); refusal.CodeOf(err) == "" || s.Advisories != nil || s.Snapshot.Count != 0 {
		t.Errorf("rubbish: %v %+v", err, s)
	}
	for _, b := range []Branch{{}, {"Debian:", "bookworm"}, {"Debian:12", ""}, {"Ubuntu:24.04:LTS", "noble"}} {
		if _, err := Read(e, bytes.NewReader(deb), b, 1); !errors.Is(err, ErrBranch) {
			t.Errorf("%+v: %v", b, err)
		}
	}
}

// Whatever a changelog holds: no panic, entries that can be ordered, and no id
// lost without a word.
func FuzzParseChangelog(f *testing.F) {
	f.Add([]byte(entry("a", "1:1-1~deb12u1", "bookworm", "CVE-2026-0001")))
	f.Add([]byte("# x\na (1) b c;d=e,Binary-Only=yes\n -- x <> y\n"))
	f.Add([]byte("a (1) b;\n\nx CVE-2026-0001"))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, unread := ParseChangelog(text)
		if len(entries) == 0 && len(unread) == 0 && !bytes.Contains(text, []byte("#")) && cve.Match(text) {
			t.Fatal("no entry, an id, and not a word about it")
		}
		list := Advisories(entries, "a", bookworm, canon.SumFile(text), advisory.Feed{})
		if _, err := canon.Encode(list); err != nil {
			t.Fatal(err)
		}
	})
}
