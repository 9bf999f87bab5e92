package shareddata

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Files of the data set about Debian 12: what main carried at its last point
// release, and the security archive whole, four months later.
const (
	BookwormMain     = "debian/Packages-bookworm-12.15-main-subset.gz"
	BookwormSecurity = "debian/Packages-bookworm-security-2026-11-21.gz"
)

// Stanza is a binary package of a Debian index, with the source package that it
// was built from.
type Stanza struct{ Package, Arch, Version, Source, SourceVersion string }

// Stanzas reads a Packages index of the data set.
func Stanzas(t testing.TB, top, name string) (out []Stanza) {
	t.Helper()
	for block := range strings.SplitSeq(Gunzip(t, top, name), "\n\n") {
		m := map[string]string{}
		for line := range strings.SplitSeq(block, "\n") {
			if k, v, ok := strings.Cut(line, ": "); ok && k != "" && k[0] != ' ' {
				m[k] = v
			}
		}
		if m["Package"] == "" {
			continue
		}
		s := Stanza{Package: m["Package"], Arch: m["Architecture"], Version: m["Version"], Source: m["Package"], SourceVersion: m["Version"]}
		if text := m["Source"]; text != "" {
			s.Source = text
			if name, v, ok := strings.Cut(text, " ("); ok {
				s.Source, s.SourceVersion = name, strings.TrimSuffix(v, ")")
			}
		}
		out = append(out, s)
	}
	return out
}

// Gunzip is the text of a .gz of the data set.
func Gunzip(t testing.TB, top, name string) string {
	t.Helper()
	f, err := os.Open(Path(t, top, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(g)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// Unzstd is the text of a .zst of the data set.
func Unzstd(t testing.TB, top, name string) string {
	t.Helper()
	raw, err := os.ReadFile(Path(t, top, name))
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil)
	if err == nil {
		defer z.Close()
		raw, err = z.DecodeAll(raw, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// Zipped hands on every file of a .zip of the data set.
func Zipped(t testing.TB, top, name string, each func(name string, raw []byte)) {
	t.Helper()
	z, err := zip.OpenReader(Path(t, top, name))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		if f.FileInfo().IsDir() {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		each(f.Name, raw)
	}
}

// Changelogs hands on the 63 real changelogs of Debian 12, by source package.
func Changelogs(t testing.TB, top string, each func(source string, text []byte)) {
	t.Helper()
	Zipped(t, top, "debian/changelogs-bookworm-security.zip", func(name string, raw []byte) {
		each(strings.TrimSuffix(name, ".changelog.Debian"), raw)
	})
}

var entry = regexp.MustCompile(`^([a-z0-9][a-z0-9+.-]*) \(([^)]+)\) [a-z]`)

// Carried is what Debian 12 was ever seen to carry, as pairs of source package
// and version: in the two indexes now, and before by the packages' changelogs.
func Carried(t testing.TB, top string) (out [][2]string) {
	t.Helper()
	for _, name := range []string{BookwormMain, BookwormSecurity} {
		for _, s := range Stanzas(t, top, name) {
			out = append(out, [2]string{s.Source, s.SourceVersion})
		}
	}
	Changelogs(t, top, func(_ string, text []byte) {
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			if m := entry.FindStringSubmatch(lines.Text()); m != nil {
				out = append(out, [2]string{m[1], m[2]})
			}
		}
	})
	return out
}
