package debworld

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func samplePackage() Package {
	return Package{
		Name: "pwdemo-sample", Version: "1:2.0-1", Source: "pwsample (2.0)", Depends: "libc6 (>= 2.36)",
		Provides: "sample-tool", Fields: map[string]string{"Homepage": "https://example.invalid/"},
		Files: map[string]File{
			"/usr/bin/sample":    {Content: "#!/bin/sh\necho sample\n", Mode: 0o4755},
			"/usr/bin/other":     {Link: "sample"},
			"/etc/sample.conf":   {Content: "a=1\n"},
			"/var/lib/sample":    {Dir: true, Mode: 0o1777},
			"/usr/share/big.bin": {Content: strings.Repeat("0123456789abcdef", 8192)},
		},
		Conffiles: []string{"/etc/sample.conf"},
		Scripts:   map[string]string{"postinst": "#!/bin/sh\nexit 0\n"},
		Control:   map[string]string{"triggers": "interest-noawait /usr/share/sample\n"},
		Changelog: []Change{
			{Version: "1:2.0-1", Lines: []string{"CVE-2026-1234: bound the length."}, At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)},
			{Version: "1:1.0-1", Lines: []string{"Initial release."}},
		},
	}
}

func TestDpkgReadsEveryCompression(t *testing.T) {
	Need(t, need(false, "dpkg-deb"))
	for _, c := range []Compression{XZ, Zstd, Gzip} {
		t.Run(string(c), func(t *testing.T) {
			path := buildTo(t, samplePackage().with(c))
			info := output(t, "dpkg-deb", "--info", path)
			for _, want := range []string{"Package: pwdemo-sample", "Version: 1:2.0-1", "Source: pwsample (2.0)",
				"Architecture: amd64", "Provides: sample-tool", "Homepage: https://example.invalid/",
				"postinst", "triggers", "conffiles", "md5sums", "Installed-Size: 142"} {
				if !strings.Contains(info, want) {
					t.Errorf("dpkg-deb --info has no %q:\n%s", want, info)
				}
			}
			list := output(t, "dpkg-deb", "--contents", path)
			for _, want := range []string{"-rwsr-xr-x root/root        22 2026-01-02", "./usr/bin/other -> sample",
				"drwxrwxrwt root/root         0", "./etc/sample.conf", "./usr/share/doc/pwdemo-sample/changelog.Debian.gz"} {
				if !strings.Contains(list, want) {
					t.Errorf("dpkg-deb --contents has no %q:\n%s", want, list)
				}
			}
		})
	}
}

// Archive members of odd size are padded; the description makes both parities.
func TestDpkgReadsEverySize(t *testing.T) {
	Need(t, need(false, "dpkg-deb"))
	odd := map[bool]bool{}
	for n := range 8 {
		p := Package{Name: "pwdemo-size", Version: "1.0", Description: "0123456789"[:n+1], Compression: Gzip}
		raw, err := p.Build()
		if err != nil {
			t.Fatal(err)
		}
		size := strings.TrimSpace(string(raw[8+60+4+48:][:10])) // of control.tar, after debian-binary
		odd[strings.ContainsAny(size[len(size)-1:], "13579")] = true
		if got := output(t, "dpkg-deb", "--contents", buildTo(t, p)); !strings.Contains(got, "./") {
			t.Errorf("with %d bytes of description the contents are %q", n+1, got)
		}
	}
	if len(odd) != 2 {
		t.Error("all members have the same parity, so this test shows nothing; vary the package more")
	}
}

func TestChangelogIsDebians(t *testing.T) {
	Need(t, need(false, "dpkg-parsechangelog"))
	path := filepath.Join(t.TempDir(), "changelog")
	put(t, path, samplePackage().filled().changelog())
	for field, want := range map[string]string{
		"Source": "pwsample", "Version": "1:2.0-1", "Distribution": Codename + "-security", "Urgency": "high",
		"Date": "Thu, 01 Jan 2026 00:00:00 +0000",
	} {
		got := strings.TrimSpace(output(t, "dpkg-parsechangelog", "-l", path, "-S", field))
		if got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if all := output(t, "dpkg-parsechangelog", "-l", path, "--all", "-S", "Changes"); !strings.Contains(all, "CVE-2026-1234") || !strings.Contains(all, "Initial release.") {
		t.Errorf("changes read back: %s", all)
	}
}

// Map order is different on every run over a map, so equal bytes are no accident.
func TestBuildIsDeterministic(t *testing.T) {
	for _, c := range []Compression{XZ, Zstd, Gzip} {
		first, err := samplePackage().with(c).Build()
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			again, err := samplePackage().with(c).Build()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(first, again) {
				t.Errorf("%s: two builds differ", c)
			}
		}
	}
}

func (p Package) with(c Compression) Package {
	p.Compression = c
	return p
}

func TestBuildRefusesWhatHasNoName(t *testing.T) {
	if _, err := (Package{Version: "1"}).Build(); err == nil {
		t.Error("a package without a name was built")
	}
	if _, err := samplePackage().with("rar").Build(); err == nil {
		t.Error("a package was packed with a compression nobody has")
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, c := range []Compression{XZ, Zstd, Gzip} {
		b.Run(string(c), func(b *testing.B) {
			p := samplePackage().with(c)
			for b.Loop() {
				if _, err := p.Build(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func buildTo(t *testing.T, p Package) string {
	t.Helper()
	raw, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), p.FileName())
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func output(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}
