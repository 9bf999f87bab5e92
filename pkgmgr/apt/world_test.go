package apt

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/pkgmgr/pkgmgrtest"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/refusal/explain"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/version"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// TestMain lets the test binary be the agent inside a root: the gate and the
// supervisor are the same code as in patchwrit-agent.
func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) > 2 && os.Args[1] == "supervise":
		err = Supervise(os.Args[2])
	case len(os.Args) > 1 && os.Args[1] == "gate":
		err = GateMain(os.Args[2:], os.Getenv)
	case len(os.Args) > 2 && os.Args[1] == "hold": // another package manager at work
		err = holdLock(os.Args[2])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, explain.Error(err))
		os.Exit(5)
	}
	os.Exit(0)
}

// holdLock takes a lock as apt does, says so, and keeps it until it is killed.
func holdLock(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		return err
	}
	fmt.Println("held")
	select {}
}

// startSelf starts this test binary as a helper and waits for its first line.
func startSelf(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// needE2E skips a test that works on real Debian roots.
func needE2E(t *testing.T) {
	t.Helper()
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: real Debian roots, minutes")
	}
}

// world is one real Debian host, one vendor, and the common house.
type world struct {
	t       *testing.T
	host    debworld.Root
	house   trusttest.House
	key     *debworld.Key
	repo    *debworld.Repo
	pool    string
	journal *pkgmgrtest.Journal
	log     *bytes.Buffer
	class   change.Class
	signers []int // who signs the plan; nil: an owner and a security person
	network bool
	more    []trust.Origin // origins besides "vendor"
	edit    func(*Config)
}

const codename = "pwtest"

// newWorld is a fresh host with these packages installed by plain dpkg, as if
// from before Patchwrit.
func newWorld(t *testing.T, installed ...debworld.Package) *world {
	t.Helper()
	needE2E(t)
	w := &world{t: t, host: debworld.NewHost(t), pool: t.TempDir(), journal: &pkgmgrtest.Journal{}, log: &bytes.Buffer{}, class: change.Routine}
	var err error
	w.key, err = debworld.NewKey(debworld.KeyConfig{Name: "Vendor", Created: time.Now().Add(-24 * time.Hour)})
	w.must(err)
	w.found()
	w.repo, err = debworld.NewRepo(filepath.Join(t.TempDir(), "repo"), w.config())
	w.must(err)
	w.must(w.repo.Add(installed...))
	for _, p := range installed {
		raw, err := p.Build()
		w.must(err)
		w.must(w.host.Write("/tmp/"+p.FileName(), raw, 0o644))
		_, err = w.host.Run(t.Context(), "dpkg", "-i", "/tmp/"+p.FileName())
		w.must(err)
	}
	return w
}

func (w *world) config() debworld.RepoConfig {
	return debworld.RepoConfig{Origin: "Vendor", Label: "Vendor", Suite: "stable", Codename: codename}
}

// found builds the house that trusts the vendor.
func (w *world) found() {
	ring, err := debworld.Keyring(w.key)
	w.must(err)
	origins := append([]trust.Origin{{ID: "vendor", Keyring: "vendor.gpg", Signers: 1, Origin: "Vendor", Label: "Vendor",
		Codename: codename, Suites: []string{"stable"}, Sections: []string{"main"}}}, w.more...)
	w.house = trusttest.Must(nil, trusttest.Options{Now: time.Now(), Origins: origins, Keyrings: map[string][]byte{"vendor.gpg": ring}, People: 4})
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// offer publishes the packages and fills the pool with everything the vendor
// has, as of now.
func (w *world) offer(packages ...debworld.Package) {
	w.t.Helper()
	w.must(w.repo.Add(packages...))
	w.publish(debworld.Publication{At: time.Now().Add(-time.Minute), Signers: []debworld.Signer{{Key: w.key}}})
	w.carry()
}

func (w *world) publish(p debworld.Publication) {
	w.t.Helper()
	_, err := w.repo.Publish(p)
	w.must(err)
}

// carry lays what the repository publishes into the pool.
func (w *world) carry() {
	w.t.Helper()
	dist, to := filepath.Join(w.repo.Dir, "dists", codename), filepath.Join(w.pool, "releases", "vendor")
	for _, name := range []string{"InRelease", "main/binary-amd64/Packages.gz"} {
		raw, err := os.ReadFile(filepath.Join(dist, name))
		w.must(err)
		w.put(filepath.Join(to, name), raw)
	}
	debs, err := filepath.Glob(filepath.Join(w.repo.Dir, "pool/*/*/*/*.deb"))
	w.must(err)
	if len(debs) == 0 {
		w.t.Fatal("no .deb in the repository's pool")
	}
	for _, deb := range debs {
		raw, err := os.ReadFile(deb)
		w.must(err)
		w.put(filepath.Join(w.pool, "sha256", string(canon.SumFile(raw))), raw)
	}
}

func (w *world) put(path string, raw []byte) {
	w.t.Helper()
	w.must(os.MkdirAll(filepath.Dir(path), 0o755))
	w.must(os.WriteFile(path, raw, 0o644))
}

// change is the change from one package to another; either may have no name.
func (w *world) change(from, to debworld.Package) change.Change {
	w.t.Helper()
	named := to
	if to.Name == "" {
		named = from
	}
	c := change.Change{Op: change.Upgrade, Scheme: version.Deb, Package: named.Name, Arch: "amd64", From: from.Version, To: to.Version, Class: w.class}
	if named.Arch != "" {
		c.Arch = named.Arch
	}
	switch {
	case from.Name == "":
		c.Op = change.Install
	case to.Name == "":
		c.Op = change.Remove
		return c
	default:
		n, err := version.Compare(version.Deb, from.Version, to.Version)
		w.must(err)
		if n > 0 {
			c.Op = change.Downgrade
		}
	}
	raw, err := to.Build()
	w.must(err)
	c.Artefact, c.Size, c.Origin = canon.SumFile(raw), int64(len(raw)), "vendor"
	return c
}

// pair is a package before and after.
type pair struct{ from, to debworld.Package }

func (w *world) changes(pairs ...pair) (forth, back []change.Change) {
	for _, p := range pairs {
		forth = append(forth, w.change(p.from, p.to))
		back = append(back, w.change(p.to, p.from))
	}
	byKey := func(a, b change.Change) int { return strings.Compare(a.Key(), b.Key()) }
	slices.SortFunc(forth, byKey)
	slices.SortFunc(back, byKey)
	return forth, back
}

// permit makes a permission for the pairs, and one for their own rollback.
func (w *world) permit(forth, back []change.Change) (writ.Verified, func() writ.Verified) {
	w.t.Helper()
	c := writtest.New(w.house)
	b := writtest.Branch(c.Host.ID, 0, forth...)
	b.Rollback, b.Network = back, w.network
	c.Branches[0] = b
	c.Header.Class, c.Header.Author = change.Highest(forth), w.house.People[3].ID
	if w.signers != nil {
		c.Signers = w.signers
	}
	raw := c.Raw()
	v, mem, err := writ.Verify(raw, w.house.Root, c.Memory, w.house.Now)
	w.must(err)
	if w.journal.Held.Type == "" {
		w.journal.Held = mem
	}
	return v, func() writ.Verified {
		v, _, err := writ.VerifyUndo(raw, w.house.Root, mem.Failed(v.Digest(), w.house.Now.Unix()), w.house.Now)
		w.must(err)
		return v
	}
}

// manager is the real thing over the host.
func (w *world) manager() *Manager {
	w.t.Helper()
	self, err := os.Executable()
	w.must(err)
	c := Config{Root: w.host.Dir, Trust: w.house.Root, Pool: w.pool, Agent: self, Journal: w.journal, Now: time.Now, Progress: w.log}
	if w.edit != nil {
		w.edit(&c)
	}
	m, err := New(c)
	w.must(err)
	w.t.Cleanup(m.Close)
	return m
}

// apply permits the pairs and carries them out.
func (w *world) apply(pairs ...pair) (writ.Receipt, error) {
	w.t.Helper()
	v, _ := w.permit(w.changes(pairs...))
	r, err := w.manager().Apply(w.t.Context(), v)
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("the package manager's words:\n%s", w.log)
		}
	})
	return r, err
}

// version is what dpkg itself says is installed.
func (w *world) version(name string) string {
	w.t.Helper()
	res, err := w.host.Run(w.t.Context(), "dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", name)
	if err != nil {
		return ""
	}
	return res.Stdout
}

// refused wants a refusal before anything was begun.
func (w *world) refused(err error, code refusal.Code) {
	w.t.Helper()
	if refusal.CodeOf(err) != code || len(w.journal.Begun) > 0 {
		w.t.Errorf("want %s and nothing begun, got %v with %d begun", code, err, len(w.journal.Begun))
	}
}

func (w *world) done(r writ.Receipt, err error) {
	w.t.Helper()
	if err != nil || r.Outcome != writ.Done || r.Effective.Installed != writ.Yes {
		w.t.Errorf("%+v, %v", r, err)
	}
}

var _ pkgmgr.Manager = (*Manager)(nil)

func hello(version string) debworld.Package {
	return debworld.Package{Name: "hello-pw", Version: version, Files: map[string]debworld.File{
		"/usr/bin/hello-pw":           {Content: "#!/bin/sh\necho hello " + version + "\n", Mode: 0o755},
		"/usr/share/doc/hello-pw/NEW": {Content: version},
	}}
}
