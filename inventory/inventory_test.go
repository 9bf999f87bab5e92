package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"
)

const debian12 = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n"

// entry writes one stanza as dpkg does, with its blank line.
func entry(name, status, ver string, more ...string) string {
	s := "Package: " + name + "\nStatus: " + status + "\nArchitecture: amd64\nVersion: " + ver + "\n"
	for _, m := range more {
		s += m + "\n"
	}
	return s + "Description: synthetic\n a long text: Version: 9\n .\n Status: install ok installed\n\n"
}

const ok = "install ok installed"

func root(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{"etc/os-release": {Data: []byte(debian12)}}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func read(t testing.TB, fsys fs.FS) Inventory {
	t.Helper()
	inv, err := Read(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func TestReadTellsEveryFieldOfARoot(t *testing.T) {
	status := entry("dpkg", ok, "1.21.22", "Essential: yes") +
		entry("libssl3", ok, "3.0.20-1~deb12u1", "Source: openssl", "Multi-Arch: same") +
		entry("libperl5.36", "hold ok installed", "5.36.0-7+b1", "Source: perl (5.36.0-7)") +
		entry("linux-image-6.1.0-37-amd64", ok, "6.1.140-1", "Source: linux-signed-amd64 (6.1.140+1)") +
		entry("linux-image-amd64", ok, "6.1.140-1", "Source: linux-signed-amd64 (6.1.140+1)") +
		entry("linux-image-6.12-amd64", ok, "6.12.9-1", "Source: linux-signed-6.12-amd64 (6.12.9+1)") +
		entry("linux-image-6.1.0-37-amd64-dbg", ok, "6.1.140-1", "Source: linux (6.1.140-1)") +
		entry("zip", "deinstall ok config-files", "3.0-13") +
		entry("slow", "install ok half-configured", "1.1-1") +
		"Package: wished\nStatus: install ok not-installed\nPriority: optional\nSection: x\n\n"
	inv := read(t, root(map[string]string{statusFile: status}))
	got, err := json.MarshalIndent(inv, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/root.json", append(got, '\n'))
	if _, err := inv.Digest(); err != nil {
		t.Errorf("no digest: %v", err)
	}
}

// golden compares got with a file, which PATCHWRIT_REWRITE=1 writes anew.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if os.Getenv("PATCHWRIT_REWRITE") == "1" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

func TestStatesCountAsPresentOrNot(t *testing.T) {
	want := map[string][2]bool{ // state: present, settled
		"installed": {true, true}, "half-configured": {true, true}, "unpacked": {true, true},
		"triggers-pending": {true, true}, "triggers-awaited": {true, true},
		"half-installed": {true, false}, "config-files": {false, false}, "not-installed": {false, false},
		"unknown": {true, false},
	}
	for state, w := range want {
		s := Status{"install", "ok", state}
		if s.Present() != w[0] || s.Settled() != w[1] {
			t.Errorf("%s: present %v settled %v, want %v", state, s.Present(), s.Settled(), w)
		}
	}
	if (Status{"install", "reinstreq", "installed"}).Settled() {
		t.Error("a package that needs reinstallation is not settled")
	}
}

func TestWhatIsMissingOrAbsurdIsAGap(t *testing.T) {
	good := entry("dpkg", ok, "1.21.22")
	long := "Package: a\nDepends: " + strings.Repeat("x", maxLine) + "\n\n"
	cases := []struct {
		name  string
		files map[string]string
		want  string // part of the gap
		keeps string // package that must still be there
	}{
		{"no database", map[string]string{}, "no dpkg database", ""},
		{"empty database", map[string]string{statusFile: ""}, "is empty", ""},
		{"cut in a line", map[string]string{statusFile: good + "Package: openssl\nStatus: install ok inst"}, "middle of line 11", "dpkg"},
		{"cut between stanzas", map[string]string{statusFile: good, infoDir + "/dpkg.list": "", infoDir + "/libssl3:amd64.list": ""}, `the first is "libssl3"`, "dpkg"},
		{"no version", map[string]string{statusFile: good + "Package: a\nStatus: install ok installed\nArchitecture: all\n\n"}, "it has no Version", "a"},
		{"no architecture", map[string]string{statusFile: good + "Package: a\nStatus: install ok installed\nVersion: 1\n\n"}, "no Architecture", "a"},
		{"no status", map[string]string{statusFile: good + "Package: a\nArchitecture: all\nVersion: 1\n\n"}, "its Status is not", "a"},
		{"state of the future", map[string]string{statusFile: good + entry("a", "install ok teleported", "1")}, "its Status is not", "a"},
		{"no name", map[string]string{statusFile: good + "Version: 1\nStatus: install ok installed\n\n"}, "this is no package name", "dpkg"},
		{"name with a path", map[string]string{statusFile: good + entry("../a", ok, "1")}, "this is no package name", "dpkg"},
		{"field twice", map[string]string{statusFile: good + entry("a", ok, "1", "Version: 2")}, "field Version stands twice", "a"},
		{"package twice", map[string]string{statusFile: good + good}, "stands twice", "dpkg"},
		{"source without version", map[string]string{statusFile: good + entry("a", ok, "1", "Source: b (")}, "its Source is not", "a"},
		{"source of odd bytes", map[string]string{statusFile: good + entry("a", ok, "1", "Source: a\x01 (1)")}, "its Source is not", "a"},
		{"version of two words", map[string]string{statusFile: good + entry("a", ok, "1 2")}, "no field of its kind can hold", "a"},
		{"rubbish", map[string]string{statusFile: good + "rubbish\nPackage: a\n\n"}, "neither a field nor", "dpkg"},
		{"binary", map[string]string{statusFile: good + "Package: a\x00b\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\n"}, "this is no package name", "dpkg"},
		{"long line", map[string]string{statusFile: good + long}, "cannot be read beyond line 10: \"line 11 has more than 262144 bytes", "dpkg"},
		{"no os-release", map[string]string{statusFile: good, "etc/os-release": ""}, "ID is missing", "dpkg"},
		{"rolling", map[string]string{statusFile: good, "etc/os-release": "ID=debian\n"}, "no VERSION_ID", "dpkg"},
		{"two architectures", map[string]string{statusFile: entry("a", ok, "1") + strings.ReplaceAll(entry("b", ok, "1"), "amd64", "i386")}, "native architecture", "a"},
	}
	for _, c := range cases {
		inv := read(t, root(c.files))
		text := fmt.Sprint(inv.Partial)
		if !strings.Contains(text, c.want) {
			t.Errorf("%s: gaps %s, want one with %q", c.name, text, c.want)
		}
		if _, err := inv.Digest(); err != nil {
			t.Errorf("%s: no digest: %v", c.name, err)
		}
		if c.keeps != "" && !slices.ContainsFunc(inv.Packages, func(p Package) bool { return p.Name == c.keeps }) {
			t.Errorf("%s: package %s was dropped", c.name, c.keeps)
		}
	}
	if inv := read(t, root(map[string]string{statusFile: good})); len(inv.Partial) != 0 {
		t.Errorf("the positive control has gaps: %v", inv.Partial)
	}
}

func TestManyGapsAreCountedNotListed(t *testing.T) {
	inv := read(t, root(map[string]string{statusFile: entry("dpkg", ok, "1") + strings.Repeat("rubbish\n\n", 3*maxGaps)}))
	if n := len(inv.Partial); n != maxGaps+1 || !strings.Contains(inv.Partial[n-1].Why, "100 more") {
		t.Errorf("%d gaps, the last %v", n, inv.Partial[n-1])
	}
}

func TestJournalIsNewerThanStatus(t *testing.T) {
	inv := read(t, root(map[string]string{
		statusFile:            entry("dpkg", ok, "1") + entry("openssl", ok, "3.0.20-1") + entry("gone", ok, "1"),
		updatesDir + "/0000":  entry("openssl", "install ok unpacked", "3.0.22-1"),
		updatesDir + "/0001":  entry("openssl", "install ok half-configured", "3.0.22-1"),
		updatesDir + "/0002":  "Package: gone\nStatus: purge ok not-installed\nArchitecture: amd64\n\n",
		updatesDir + "/tmp.i": entry("openssl", ok, "9"),
	}))
	if len(inv.Partial) != 0 || len(inv.Packages) != 2 {
		t.Fatalf("gaps %v, packages %v", inv.Partial, inv.Packages)
	}
	if p := inv.Packages[1]; p.Version != "3.0.22-1" || p.Status.State != HalfConfigured {
		t.Errorf("got %s %s, want what the journal's last entry says", p.Version, p.Status.State)
	}
}

func TestStatusDirectoryOfImagesWithoutDpkg(t *testing.T) {
	inv := read(t, root(map[string]string{
		statusDir + "/base":         "Package: base-files\nVersion: 12.4\nArchitecture: amd64\nMaintainer: x\n",
		statusDir + "/base.md5sums": "00 etc/x\n",
	}))
	if len(inv.Partial) != 0 || len(inv.Packages) != 1 || inv.Packages[0].Status.State != Installed || inv.Arch != "amd64" {
		t.Errorf("%+v", inv)
	}
}

func TestWrongDirectoryIsAnErrorNotAnEmptyHost(t *testing.T) {
	for _, fsys := range []fs.FS{nil, fstest.MapFS{"home/me/x": {}}} {
		if _, err := Read(fsys); !errors.Is(err, ErrNotARoot) {
			t.Errorf("got %v", err)
		}
	}
}

func TestAbsoluteLinkDoesNotLeaveTheRoot(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"usr/lib/os-release": debian12, statusFile: entry("dpkg", ok, "1"), "etc/x": ""} {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(t.TempDir(), "os-release")
	if err := errors.Join(os.WriteFile(outside, []byte("ID=elsewhere\nVERSION_ID=1\n"), 0o644), os.Symlink(outside, filepath.Join(dir, "etc/os-release"))); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if inv := read(t, r.FS()); inv.OS != (OS{"debian", "12", "bookworm"}) || len(inv.Partial) != 0 {
		t.Errorf("%+v %v", inv.OS, inv.Partial)
	}
}

func TestOSRelease(t *testing.T) {
	for text, want := range map[string]OS{
		"ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME='bookworm'\n#ID=x\nNAME=\"a b\"": {"debian", "12", "bookworm"},
		"ID=ubuntu\r\nVERSION_ID=22.04\r\n":                                              {"ubuntu", "22.04", ""},
		"ID=a\nID=b":                                                                     {ID: "b"},
		`ID="a\$b"`:                                                                      {ID: "a$b"},
	} {
		if got, err := ParseOSRelease(text); err != nil || got != want {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "NAME=x", "ID=\"a", "ID=a b", "ID=`id`", "ID=\"$(id)\"", "ID=\x01", "ID=x\nVERSION_ID=\"1\\n\"", strings.Repeat(" ", maxSmall) + "\nID=a"} {
		if got, err := ParseOSRelease(text); err == nil {
			t.Errorf("%.20q: accepted as %+v", text, got)
		}
	}
}

func TestDeletedMappings(t *testing.T) {
	text := `55d0c0a00000-55d0c0a02000 r--p 00000000 08:01 131 /usr/sbin/nginx
7f10c8a00000-7f10c8a1e000 r--p 00000000 08:01 2001                       /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)
7f10c8a1e000-7f10c8a7c000 r-xp 0001e000 08:01 2001                       /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)
7f10c8b00000-7f10c8b01000 r--p 00000000 08:01 2002                       /usr/share/a b\012c (deleted)
7f10c8c00000-7f10c8c01000 rw-s 00000000 00:01 4 /memfd:x (deleted)
7f10c8d00000-7f10c8d01000 rw-s 00000000 00:01 5 /SYSV00000000 (deleted)
7f10c8e00000-7f10c8e01000 rw-s 00000000 00:01 6 /dev/zero (deleted)
7f10c8f00000-7f10c8f01000 rw-p 00000000 00:00 0 
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
`
	got, err := DeletedMappings(strings.NewReader(text))
	want := []Mapping{
		{Path: "/usr/lib/x86_64-linux-gnu/libssl.so.3", Inode: 2001, Exec: true},
		{Path: `/usr/share/a b\012c`, Inode: 2002},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{"\n", "x", "0-1 r-xp", "0-1 r-xp 0 08:01 x /a (deleted)", "zz-1 r-xp 0 08:01 1 /a (deleted)", strings.Repeat("x", maxMapLine+1)} {
		if m, err := DeletedMappings(strings.NewReader(bad)); err == nil {
			t.Errorf("%.30q: accepted as %v", bad, m)
		}
	}
	own, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Skipf("no /proc here, the kernel's own text was not read: %v", err)
	}
	defer own.Close()
	if _, err := DeletedMappings(own); err != nil {
		t.Errorf("this process's own maps: %v", err)
	}
}

// The order on disk must not show in the result.
func TestReadIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-c][a-z0-9+.-]{1,5}`), 1, 8, rapid.ID).Draw(t, "names")
		stanzas := map[string]string{}
		for _, n := range names {
			st := rapid.SampledFrom([]string{ok, "hold ok installed", "install ok unpacked", "deinstall ok config-files"}).Draw(t, "status")
			stanzas[n] = entry(n, st, "1")
		}
		var digests []string
		for range 2 {
			text := entry("dpkg", ok, "1.21.22")
			for _, n := range rapid.Permutation(slices.Sorted(maps.Keys(stanzas))).Draw(t, "order") {
				text += stanzas[n]
			}
			inv, err := Read(root(map[string]string{statusFile: text}))
			if err != nil || len(inv.Partial) != 0 || len(inv.Packages) != len(names)+1 {
				t.Fatalf("%v %+v", err, inv)
			}
			d, err := inv.Digest()
			if err != nil {
				t.Fatal(err)
			}
			digests = append(digests, string(d))
		}
		if digests[0] != digests[1] {
			t.Fatal("same packages in another order, another digest")
		}
	})
}

// On a machine with dpkg, our reading of its database equals dpkg-query's.
func TestEqualsDpkgQuery(t *testing.T) {
	tool, err := exec.LookPath("dpkg-query")
	if err != nil {
		t.Skip("dpkg-query is not installed")
	}
	query := func() string {
		out, err := exec.Command(tool, "-W", "-f", "${Package} ${Architecture} ${Version} ${source:Package} ${source:Version} ${db:Status-Want} ${db:Status-Eflag} ${db:Status-Status}\n").Output()
		if err != nil {
			t.Skipf("dpkg-query does not answer: %v", err)
		}
		return strings.TrimSpace(string(out))
	}
	before := query()
	inv := read(t, os.DirFS("/"))
	if query() != before {
		t.Skip("somebody is installing packages on this machine at this moment")
	}
	got := []string{}
	for _, p := range inv.Packages {
		got = append(got, strings.Join([]string{p.Name, p.Arch, p.Version, p.Source, p.SourceVersion, p.Status.Want, p.Status.Flag, p.Status.State}, " "))
	}
	want := strings.Split(before, "\n")
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("dpkg-query knows %d packages, we %d; gaps %v", len(want), len(got), inv.Partial)
	}
	if len(want) < 10 {
		t.Errorf("only %d packages were compared", len(want))
	}
}

func TestDatabaseLimits(t *testing.T) {
	for want, r := range map[string]io.Reader{
		"more than 200000 stanzas":  strings.NewReader(strings.Repeat("a: b\n\n", maxStanzas+1)),
		"more than 268435456 bytes": io.MultiReader(strings.NewReader("a:"), &endless{text: " " + strings.Repeat("x", maxLine-100) + "\n"}),
	} {
		d, err := newDeb822(r, "a"), error(nil)
		for err == nil {
			_, err = d.next()
		}
		if !errors.Is(err, errTooBig) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	d := newDeb822(strings.NewReader(strings.Repeat("a: b\n\n", maxStanzas)), "a")
	for i := range maxStanzas {
		if _, err := d.next(); err != nil {
			t.Fatalf("positive control: stanza %d: %v", i, err)
		}
	}
}

// endless repeats its text for ever.
type endless struct {
	text string
	at   int // in text
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	return n, nil
}

func TestFieldNames(t *testing.T) {
	for name, want := range map[string]bool{"Package": true, "X-Y_z": true, "": false, "#a": false, "-a": false, "a b": false, "a\x7f": false, "\xe9": false} {
		if fieldName([]byte(name)) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func TestKernelReleases(t *testing.T) {
	for name, want := range map[string]bool{"6.1.0-37-amd64": true, "6.12.9+deb12-amd64": true, "amd64": false, "6.12-amd64": false, "6..1-x": false, "6.1.x": false, "6.1.": false, "6.1.0-37-amd64-dbg": false, "": false} {
		if isRelease(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func TestDigestNeedsWhatReadPromises(t *testing.T) {
	for _, inv := range []Inventory{{}, {Packages: []Package{}, Partial: []Gap{}, Kernel: Kernel{Installed: []Image{}}, Arch: "\x01"}} {
		if d, err := inv.Digest(); err == nil || d != "" {
			t.Errorf("%+v: %s", inv, d)
		}
	}
}

func TestMappingsAreOrderedAndCounted(t *testing.T) {
	text := "0-1 r-xp 0 8:1 1 /b (deleted)\n1-2 r-xp 0 8:1 2 /a (deleted)\n2-3 r--p 0 8:1 10 /a (deleted)\n"
	got, err := DeletedMappings(strings.NewReader(text))
	if want := []Mapping{{Path: "/a", Inode: 2, Exec: true}, {Path: "/a", Inode: 10}, {Path: "/b", Inode: 1, Exec: true}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v", got, err)
	}
	if _, err := DeletedMappings(strings.NewReader(strings.Repeat("0-1 r-xp 0 8:1 0\n", maxMappings+1))); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v", err)
	}
}

func TestALongLineIsReadWhole(t *testing.T) {
	value := strings.Repeat("0123456789", 4*usualLine/10)
	d := newDeb822(strings.NewReader("a: "+value+"\nb: c\n\na: d\n"), "a", "b")
	for _, want := range []map[string]string{{"a": value, "b": "c"}, {"a": "d"}} {
		s, err := d.next()
		if err != nil || !maps.Equal(s.fields, want) {
			t.Fatalf("%v: %d fields, a has %d bytes", err, len(s.fields), len(s.fields["a"]))
		}
	}
}
