package artefact

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/version"
)

// realDebs opens the .debs that lie in apt's cache, or, with
// PATCHWRIT_E2E=1, downloads some into a directory of the test.
func realDebs(t *testing.T) []string {
	paths, err := filepath.Glob("/var/cache/apt/archives/*.deb")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("PATCHWRIT_E2E") != "1" {
		if len(paths) == 0 {
			t.Skip("no .debs in apt's cache, and PATCHWRIT_E2E is not 1: no real package is opened")
		}
		return paths
	}
	dir := t.TempDir()
	for _, name := range []string{"libssl3", "openssl", "sudo", "passwd", "bash", "dpkg", "libc6", "cron", "openssh-server", "dbus", "libstdc++6", "git", "tzdata", "ca-certificates", "perl-base", "iputils-ping"} {
		for _, v := range versionsOf(t, name) {
			cmd := exec.Command("apt-get", "download", "-q", name+"="+v)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Logf("apt-get download %s=%s: %v\n%s", name, v, err, out)
			}
		}
	}
	if paths, err = filepath.Glob(filepath.Join(dir, "*.deb")); err != nil || len(paths) == 0 {
		t.Skipf("apt-get download gave nothing (%v): no real package is opened", err)
	}
	return paths
}

// versionsOf lists the versions apt knows, at most two.
func versionsOf(t *testing.T, name string) []string {
	out, err := exec.Command("apt-cache", "madison", name).Output()
	if err != nil {
		t.Skipf("apt-cache does not run: %v", err)
	}
	var all []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Split(line, "|"); len(f) > 2 && !strings.Contains(f[2], "Sources") {
			if v := strings.TrimSpace(f[1]); len(all) == 0 || all[len(all)-1] != v {
				all = append(all, v)
			}
		}
	}
	return all[:min(len(all), 2)]
}

func TestRealDebs(t *testing.T) {
	if testing.Short() {
		t.Skip("long: opens real packages")
	}
	byName := map[string][]Contents{}
	for _, path := range realDebs(t) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		c, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Errorf("%s: %s", filepath.Base(path), err)
			continue
		}
		t.Logf("%-22s %-28s %5d files %3d linked %6d symbols %8d bytes %v", c.Package, c.Version, len(c.Files), len(c.Objects), symbolsOf(c), len(b), time.Since(began).Round(time.Millisecond))
		if len(c.Unread) > 0 {
			t.Errorf("%s: unread %v", c.Package, c.Unread)
		}
		compareWithDpkg(t, path, c)
		byName[c.Package] = append(byName[c.Package], c)
	}
	for name, all := range byName {
		if len(all) < 2 {
			continue
		}
		older, newer := all[0], all[1]
		if order, err := version.Compare(version.Deb, older.Version, newer.Version); err != nil || order > 0 {
			older, newer = newer, older
		}
		d, class, reasons := judge(t, &older, newer, change.List{})
		t.Logf("%s %s → %s: %s, %+v, %d bytes of diff", name, older.Version, newer.Version, class, d.Counts, len(canon.MustEncode(d)))
		for _, r := range reasons {
			t.Logf("  %s %s: %s", r.Class, r.Code, r.Detail)
		}
	}
}

func symbolsOf(c Contents) (n int) {
	for _, o := range c.Objects {
		n += len(o.Exports)
	}
	return n
}

// compareWithDpkg compares the list of files with dpkg-deb's.
func compareWithDpkg(t *testing.T, path string, c Contents) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Log("dpkg-deb is not installed: lists of files are not compared")
		return
	}
	cmd := exec.Command("dpkg-deb", "--contents", path)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		name, _, _ := strings.Cut(strings.Join(f[5:], " "), " -> ")
		name, _, _ = strings.Cut(name, " link to ")
		if name = strings.TrimSuffix(strings.TrimPrefix(name, "."), "/"); name != "" {
			want[name] = f[0] + " " + f[1]
		}
	}
	for _, f := range c.Files {
		if got := letters(f) + " " + f.Owner + "/" + f.Group; f.Kind != Hardlink && want[f.Path] != got {
			t.Errorf("%s: %s %s, dpkg-deb says %s", c.Package, f.Path, got, want[f.Path])
		}
	}
	if len(want) != len(c.Files) {
		t.Errorf("%s: %d files, dpkg-deb lists %d", c.Package, len(c.Files), len(want))
	}
}

// letters writes a mode as ls does.
func letters(f File) string {
	s := []byte(map[Kind]string{Regular: "-", Dir: "d", Symlink: "l", CharDev: "c", BlockDev: "b", Fifo: "p"}[f.Kind])
	for i, l := range "rwxrwxrwx" {
		if f.Mode&(1<<(8-i)) == 0 {
			l = '-'
		}
		s = append(s, byte(l))
	}
	for i, special := range []struct{ at, yes, no byte }{{3, 's', 'S'}, {6, 's', 'S'}, {9, 't', 'T'}} {
		if f.Mode&(0o4000>>i) != 0 {
			if s[special.at] == '-' {
				s[special.at] = special.no
			} else {
				s[special.at] = special.yes
			}
		}
	}
	return string(s)
}
