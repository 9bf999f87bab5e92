// Package shareddata opens the real records beside the repository for tests.
//
// The parties: a test, and the folder of curated public data that
// PATCHWRIT_SHARED names, or that stands beside the working tree. The promise:
// a test whose data is not there is skipped and says so, and so is one under the
// race detector, where a million records take minutes (package raced); nothing
// is ever copied into the repository. It links to no binary.
package shareddata

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/patchwrit/patchwrit/internal/raced"
)

// Path is a file of the data set. top leads from the test's folder to the top
// of the repository: "../..".
func Path(t testing.TB, top, name string) string {
	t.Helper()
	raced.Leave(t, "make test-real")
	dir := os.Getenv("PATCHWRIT_SHARED")
	if dir == "" {
		dir = filepath.Join(top, "..", "shared", "data")
	}
	p := filepath.Join(dir, name)
	if _, err := os.Stat(p); err != nil {
		t.Skipf("the shared data set is not here (PATCHWRIT_SHARED names its folder): %v", err)
	}
	return p
}

// Archive gives the files of a .tar.zst of the data set whose path holds part,
// by their path.
func Archive(t testing.TB, top, name, part string) map[string][]byte {
	t.Helper()
	f, err := os.Open(Path(t, top, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string][]byte{}
	Untar(t, f, func(name string, raw []byte) {
		if strings.Contains(name, part) {
			out[name] = raw
		}
	})
	if len(out) == 0 {
		t.Fatalf("%s has no file with %q in its path", name, part)
	}
	return out
}

// Untar hands on every regular file of a .tar.zst.
func Untar(t testing.TB, in io.Reader, each func(name string, raw []byte)) {
	t.Helper()
	z, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for files := tar.NewReader(z); ; {
		h, err := files.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		raw, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		each(h.Name, raw)
	}
}
