package solve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/pkgmgr/apt"
	"github.com/patchwrit/patchwrit/provenance"
)

// vendorWorld is a signed archive behind a real server, and a root that is
// described in files only: enough for all that apt is not needed for.
type vendorWorld struct {
	t      *testing.T
	key    *debworld.Key
	repo   *debworld.Repo
	server *debworld.Server
	o      Options
}

func newVendorWorld(t *testing.T, status string) *vendorWorld {
	t.Helper()
	w := &vendorWorld{t: t}
	var err error
	w.key, err = debworld.NewKey(debworld.KeyConfig{Name: "Vendor", Created: time.Now().Add(-24 * time.Hour)})
	w.must(err)
	dir := filepath.Join(t.TempDir(), "repo")
	w.repo, err = debworld.NewRepo(dir, debworld.RepoConfig{Origin: "Vendor", Label: "Vendor", Suite: "stable", Codename: "pwtest"})
	w.must(err)
	w.server, err = debworld.Serve(dir)
	w.must(err)
	t.Cleanup(func() { w.server.Close() })
	ring, err := debworld.Keyring(w.key)
	w.must(err)
	root := t.TempDir()
	w.write(root, "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n")
	w.write(root, "var/lib/dpkg/status", status)
	w.write(root, "var/lib/dpkg/arch", "amd64\n")
	w.o = Options{Root: root, Pool: t.TempDir(), Now: time.Now(),
		Sources: []Source{{Origin: origin(), Keyring: ring, URL: w.server.URL, Suite: "pwtest"}}}
	return w
}

func (w *vendorWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *vendorWorld) write(dir, name, text string) {
	w.t.Helper()
	w.must(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
	w.must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
}

func (w *vendorWorld) publish(at time.Time) {
	w.t.Helper()
	_, err := w.repo.Publish(debworld.Publication{At: at, Signers: []debworld.Signer{{Key: w.key}}})
	w.must(err)
}

// installed is a stanza of dpkg's database.
func installed(name, version, want string) string {
	return fmt.Sprintf("Package: %s\nStatus: %s ok installed\nArchitecture: amd64\nMaintainer: T <t@example.invalid>\nVersion: %s\nDescription: t\n\n", name, want, version)
}

func TestLookReadsChangelogsOfNewerPackages(t *testing.T) {
	w := newVendorWorld(t, installed("pw-held", "1.0-1", "hold")+installed("pw-new", "9.0-1", "install")+installed("pw-tool", "1.0-1", "install"))
	w.must(w.repo.Add(tool("pw-tool", "1.0-1", ""), tool("pw-tool", "1.1-1", "CVE-2026-1001"), tool("pw-held", "1.1-1", "CVE-2026-1002"), tool("pw-new", "1.1-1", "CVE-2026-1003")))
	w.publish(time.Now().Add(-time.Minute))
	s, err := Look(t.Context(), w.o)
	w.must(err)
	var got []string
	for _, f := range s.Findings {
		if f.State == match.Affected {
			got = append(got, f.Package+" "+f.Fixed)
		}
	}
	slices.Sort(got)
	if want := []string{"pw-held 1.1-1", "pw-tool 1.1-1"}; !slices.Equal(got, want) {
		t.Errorf("affected %q, want %q", got, want)
	}
	c := choose(s, nil)
	if len(c.want) != 1 || c.want[0].Name != "pw-tool" || !strings.Contains(c.held["pw-held:amd64"], "on hold") {
		t.Errorf("wanted %v, held %v", c.want, c.held)
	}
	if c = choose(s, []string{"pw-absent"}); len(c.want) != 0 || c.held["pw-absent"] != "it is not installed" {
		t.Errorf("wanted %v, held %v", c.want, c.held)
	}
}

func TestNothingIsFetchedTwice(t *testing.T) {
	w := newVendorWorld(t, installed("pw-tool", "1.0-1", "install"))
	w.must(w.repo.Add(tool("pw-tool", "1.1-1", "CVE-2026-1001")))
	w.publish(time.Now().Add(-time.Minute))
	_, err := Look(t.Context(), w.o)
	w.must(err)
	first := len(w.server.Asked())
	_, err = Look(t.Context(), w.o)
	w.must(err)
	again := w.server.Asked()[first:]
	if len(again) != 1 || !strings.HasSuffix(again[0], "InRelease") {
		t.Errorf("the second look asked for %q, want the release alone", again)
	}
	for _, name := range []string{"releases/vendor/InRelease", "releases/vendor/main/binary-amd64/Packages.xz"} {
		if _, err := os.Stat(filepath.Join(w.o.Pool, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestHostileMirrorsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(w *vendorWorld)
		says string
	}{
		"another deb": {func(w *vendorWorld) {
			evil := tool("pw-tool", "1.1-1", "CVE-2026-1001")
			evil.Description = "changed on the way"
			w.must(w.repo.Swap(evil))
		}, "PW-PROV-ARTEFACT"},
		"another index": {func(w *vendorWorld) {
			w.must(filepath.WalkDir(filepath.Join(w.repo.Dir, "dists"), func(p string, d os.DirEntry, err error) error {
				if err == nil && !d.IsDir() && !strings.HasSuffix(p, "Release") {
					return os.WriteFile(p, []byte("other"), 0o644)
				}
				return err
			}))
		}, "not the bytes that the signed release names"},
		"an older release": {func(w *vendorWorld) {
			_, err := Look(w.t.Context(), w.o)
			w.must(err)
			w.publish(time.Now().Add(-time.Hour))
		}, "PW-PROV-BACK"},
		"an unsigned release": {func(w *vendorWorld) {
			w.must(os.WriteFile(filepath.Join(w.repo.Dir, "dists/pwtest/InRelease"), []byte("Origin: Vendor\n"), 0o644))
		}, "PW-PROV-FORM"},
		"no release": {func(w *vendorWorld) {
			w.must(os.Remove(filepath.Join(w.repo.Dir, "dists/pwtest/InRelease")))
		}, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newVendorWorld(t, installed("pw-tool", "1.0-1", "install"))
			w.must(w.repo.Add(tool("pw-tool", "1.1-1", "CVE-2026-1001")))
			w.publish(time.Now().Add(-time.Minute))
			if name != "an older release" {
				twin := w.o
				twin.Pool = t.TempDir()
				_, err := Look(t.Context(), twin)
				w.must(err)
			}
			c.do(w)
			if _, err := Look(t.Context(), w.o); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
			names, err := filepath.Glob(filepath.Join(w.o.Pool, "sha256", "*"))
			w.must(err)
			for _, n := range names {
				raw, err := os.ReadFile(n)
				w.must(err)
				if string(canon.SumFile(raw)) != filepath.Base(n) {
					t.Errorf("the pool holds %s with other bytes", filepath.Base(n))
				}
			}
		})
	}
}

func TestAnIndexIsFoundByHashWhileTheMirrorChanges(t *testing.T) {
	w := newVendorWorld(t, installed("pw-tool", "1.0-1", "install"))
	w.must(w.repo.Add(tool("pw-tool", "1.1-1", "CVE-2026-1001")))
	w.publish(time.Now().Add(-time.Minute))
	w.must(os.WriteFile(filepath.Join(w.repo.Dir, "dists/pwtest/main/binary-amd64/Packages.xz"), []byte("the next one"), 0o644))
	_, err := Look(t.Context(), w.o)
	w.must(err)
}

// TestGrowKeepsAllThatFits: whatever conflicts with nothing is taken, and all
// that is not taken is held with a reason.
func TestGrowKeepsAllThatFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := make([]inventory.Package, rapid.IntRange(0, 40).Draw(t, "n"))
		bad := map[string]bool{}
		for i := range want {
			want[i] = inventory.Package{Name: fmt.Sprintf("p%d", i), Arch: "amd64"}
			bad[want[i].Name] = rapid.IntRange(0, 9).Draw(t, "bad") == 0
		}
		held, asked := map[string]string{}, 0
		taken, err := grow(nil, want, func(set []inventory.Package) error {
			asked++
			for _, p := range set {
				if bad[p.Name] {
					return refused("not " + p.Name)
				}
			}
			return nil
		}, held)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range want {
			in := slices.ContainsFunc(taken, func(q inventory.Package) bool { return q.Name == p.Name })
			if why := held[p.Key()]; in == bad[p.Name] || (why != "") != bad[p.Name] {
				t.Fatalf("%s: bad %t, taken %t, held %q", p.Name, bad[p.Name], in, why)
			}
		}
		if asked > 2*len(want)+1 {
			t.Fatalf("asked %d times about %d packages", asked, len(want))
		}
	})
}

func TestGrowEndsOnErrorsThatAreNoAnswer(t *testing.T) {
	broken := errors.New("no such binary")
	_, err := grow(nil, []inventory.Package{{Name: "a"}, {Name: "b"}}, func([]inventory.Package) error { return broken }, map[string]string{})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestStepsBecomeExactChangesOrAreRefused(t *testing.T) {
	w := newVendorWorld(t, installed("pw-lonely", "1.0-1", "install")+installed("pw-tool", "1.0-1", "install"))
	w.must(w.repo.Add(tool("pw-tool", "1.0-1", ""), tool("pw-tool", "1.1-1", ""), tool("pw-lonely", "1.1-1", "")))
	w.publish(time.Now().Add(-time.Minute))
	s, err := Look(t.Context(), w.o)
	w.must(err)
	for _, c := range []struct{ text, says string }{
		{"Inst pw-tool [1.0-1] (1.1-1 Vendor:stable [amd64])\nConf pw-tool (1.1-1 Vendor:stable [amd64])\n", ""},
		{"Remv pw-lonely [1.0-1]\n", "would remove"},
		{"Inst pw-lonely [1.0-1] (1.1-1 Vendor:stable [amd64])\n", "no way back"},
		{"Inst pw-tool [1.0-1] (1.2-1 Vendor:stable [amd64])\n", "no verified index"},
		{"Inst pw-tool [1.0-1] (1.0-1 Vendor:stable [amd64])\n", "not up"},
		{"Inst pw-tool [1.0-1] (1.1-1 Vendor:stable [all])\n", "another architecture"},
	} {
		steps, err := apt.ReadSimulation(c.text)
		w.must(err)
		pairs, err := s.pairs(steps, false)
		switch {
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%q: got %v, want %q", c.text, err, c.says)
		case c.says == "" && (err != nil || len(pairs) != 1 || pairs[0].new.Version() != "1.1-1" || pairs[0].old.Version() != "1.0-1"):
			t.Errorf("%q: got %v, %v", c.text, pairs, err)
		}
	}
}

func TestBestPrefersXZAndTheArchitecture(t *testing.T) {
	got := []string{}
	for _, f := range best([]provenance.File{{Path: "main/binary-amd64/Packages"}, {Path: "main/binary-amd64/Packages.gz"}, {Path: "main/binary-amd64/Packages.xz"},
		{Path: "main/binary-arm64/Packages.xz"}, {Path: "contrib/binary-amd64/Packages.gz"}, {Path: "main/binary-amd64/Packages.bz2"}}, "amd64") {
		got = append(got, f.Path)
	}
	if want := []string{"contrib/binary-amd64/Packages.gz", "main/binary-amd64/Packages.xz"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOptionsThatCannotBeMeant(t *testing.T) {
	one := Source{Origin: origin(), URL: "ftp://example.invalid", Suite: "pwtest"}
	for _, o := range []Options{{}, {Root: "/", Pool: "p", Now: time.Now(), Sources: []Source{one, one}}} {
		if _, err := newPlanner(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	p, err := newPlanner(Options{Root: "/", Pool: t.TempDir(), Now: time.Now(), Sources: []Source{one}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.vendor(context.Background(), one, "amd64"); err == nil || !strings.Contains(err.Error(), "http://") {
		t.Errorf("got %v", err)
	}
	one.Suite = "../../etc"
	if _, err := p.vendor(context.Background(), one, "amd64"); err == nil || !strings.Contains(err.Error(), "dists/") {
		t.Errorf("got %v", err)
	}
}
