package debworld

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ulikunitz/xz"
)

var testRepo = RepoConfig{Origin: "Patchwrit Test", Label: "Test", Suite: "stable-test", Codename: "testing-suite"}

func newRepo(t testing.TB, pkgs ...Package) *Repo {
	t.Helper()
	r, err := NewRepo(filepath.Join(t.TempDir(), "repo"), testRepo)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add(pkgs...); err != nil {
		t.Fatal(err)
	}
	return r
}

func publish(t testing.TB, r *Repo, p Publication) []byte {
	t.Helper()
	raw, err := r.Publish(p)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The chain a verifier walks holds: Release names each index by size and digest,
// also by hash, and the index names each .deb.
func TestPublishedChainHolds(t *testing.T) {
	r := newRepo(t, samplePackage(), Package{Name: "libtool-x", Version: "1.0", Arch: "all"})
	publish(t, r, Publication{At: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), ValidFor: time.Hour, Signers: []Signer{{Key: testKey(t, KeyConfig{})}}})
	dist := filepath.Join(r.Dir, "dists/testing-suite")
	release := read(t, filepath.Join(dist, "Release"))
	for _, want := range []string{"Origin: Patchwrit Test\n", "Suite: stable-test\n", "Codename: testing-suite\n",
		"Date: Sun, 01 Mar 2026 09:00:00 UTC\n", "Valid-Until: Sun, 01 Mar 2026 10:00:00 UTC\n", "Acquire-By-Hash: yes\n", "Components: main\n"} {
		if !strings.Contains(release, want) {
			t.Errorf("Release has no %q:\n%s", want, release)
		}
	}
	if !strings.Contains(read(t, filepath.Join(dist, "InRelease")), "Origin: Patchwrit Test\n") {
		t.Error("InRelease does not hold the Release")
	}
	plain := read(t, filepath.Join(dist, "main/binary-amd64/Packages"))
	for _, name := range []string{"Packages", "Packages.gz", "Packages.xz"} {
		raw := read(t, filepath.Join(dist, "main/binary-amd64", name))
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(raw)))
		if want := fmt.Sprintf(" %s %8d main/binary-amd64/%s\n", sum, len(raw), name); !strings.Contains(release, want) {
			t.Errorf("Release has no %q", want)
		}
		if read(t, filepath.Join(dist, "main/binary-amd64/by-hash/SHA256", sum)) != raw {
			t.Errorf("%s is another file by hash", name)
		}
		if unpack(t, name, raw) != plain {
			t.Errorf("%s unpacks to another text", name)
		}
	}
	for _, p := range []Package{samplePackage(), {Name: "libtool-x", Version: "1.0", Arch: "all"}} {
		deb := read(t, r.PoolFile(p))
		if want := fmt.Sprintf("Size: %d\n", len(deb)); !strings.Contains(plain, want) {
			t.Errorf("Packages has no %q", want)
		}
		if want := fmt.Sprintf("SHA256: %x\n", sha256.Sum256([]byte(deb))); !strings.Contains(plain, want) {
			t.Errorf("Packages has no %q", want)
		}
	}
	if !strings.Contains(plain, "Filename: pool/main/libt/libtool-x/libtool-x_1.0_all.deb\n") || !strings.Contains(plain, "Filename: pool/main/p/pwsample/pwdemo-sample_2.0-1_amd64.deb\n") {
		t.Errorf("the pool is not laid out as Debian's:\n%s", plain)
	}
}

func TestHostileKnobs(t *testing.T) {
	key := testKey(t, KeyConfig{})
	r := newRepo(t, samplePackage())
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	index := filepath.Join(r.Dir, "dists/testing-suite/main/binary-amd64/Packages")
	publish(t, r, Publication{At: at, Signers: []Signer{{Key: key}}})
	before := read(t, index)

	evil := samplePackage()
	evil.Scripts["postinst"] = "#!/bin/sh\ntouch /owned\n"
	honest := read(t, r.PoolFile(evil))
	if err := r.Swap(evil); err != nil {
		t.Fatal(err)
	}
	publish(t, r, Publication{At: at.Add(time.Hour), Signers: []Signer{{Key: key}}})
	if read(t, index) != before || read(t, r.PoolFile(evil)) == honest {
		t.Error("Swap must change the pool and leave the index")
	}

	raw := publish(t, r, Publication{At: at, Signers: []Signer{{Key: key}}, Edit: SetField("Origin", "Debian")})
	if !bytes.Contains(raw, []byte("\nOrigin: Debian\n")) || bytes.Contains(raw, []byte("Patchwrit Test")) {
		t.Errorf("Edit did not reach the signed text:\n%s", raw)
	}
	raw = publish(t, r, Publication{At: at, Signers: []Signer{{Key: key}}, Edit: SetField("Not-Automatic", "yes")})
	if !bytes.Contains(raw, []byte("\nNot-Automatic: yes\n")) {
		t.Error("SetField did not add a field that was not there")
	}
	raw = publish(t, r, Publication{At: at, Signers: []Signer{{Key: key}}, Harm: func(b []byte) []byte { return append([]byte("x"), b...) }})
	if raw[0] != 'x' || read(t, filepath.Join(r.Dir, "dists/testing-suite/InRelease"))[0] != 'x' {
		t.Error("Harm did not reach the file")
	}
	if publish(t, r, Publication{At: at}); exists(filepath.Join(r.Dir, "dists/testing-suite/InRelease")) {
		t.Error("an unsigned publication left the old InRelease")
	}
	r.Drop("pwdemo-sample", "1:2.0-1", "amd64")
	if publish(t, r, Publication{At: at}); strings.Contains(read(t, index), "pwdemo-sample") || !exists(r.PoolFile(evil)) {
		t.Error("Drop takes a package out of the index and keeps its file")
	}
}

// Two publications within a second are two to a client that asks for changes.
func TestServerForgetsNothing(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "f"), "one")
	s, err := Serve(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q, _ := http.NewRequest("GET", s.URL+"/f", nil)
	q.Header.Set("If-Modified-Since", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
	q.Header.Set("Range", "bytes=2-")
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); answer.StatusCode != 200 || string(body) != "one" {
		t.Errorf("got %s %q", answer.Status, body)
	}
	if asked := s.Asked(); len(asked) != 1 || asked[0] != "/f" {
		t.Errorf("asked: %v", asked)
	}
}

func TestRepoNeedsACodename(t *testing.T) {
	if _, err := NewRepo(t.TempDir(), RepoConfig{Origin: "x"}); err == nil {
		t.Error("a repository without a codename has no place for its files")
	}
}

func unpack(t *testing.T, name, raw string) string {
	t.Helper()
	var in io.Reader = strings.NewReader(raw)
	var err error
	switch filepath.Ext(name) {
	case ".gz":
		in, err = gzip.NewReader(in)
	case ".xz":
		in, err = xz.NewReader(in)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func read(t testing.TB, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
