package apt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/pkgmgr/pkgmgrtest"
	"github.com/patchwrit/patchwrit/refusal"
)

// bare is a directory with just enough of a system in it for what is refused
// before anything is run.
func bare(t *testing.T) *Manager {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\n", "etc/apt/apt.conf.d/README": "", "usr/bin/apt-get": "", "usr/bin/dpkg": "", "var/lib/dpkg/arch": "amd64\n",
		"var/lib/dpkg/status": "Package: a\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: x\nVersion: 1\nDescription: x\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := New(Config{Root: dir, Pool: t.TempDir(), Journal: &pkgmgrtest.Journal{}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func coded(t *testing.T, what string, err error, want refusal.Code) {
	t.Helper()
	if refusal.CodeOf(err) != want || (err == nil) != (want == "") {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

func TestADatabaseThatCannotBeReadWhole(t *testing.T) {
	m := bare(t)
	all, err := m.States(t.Context())
	coded(t, "the honest twin", err, "")
	if len(all) != 1 {
		t.Errorf("%+v", all)
	}
	status := filepath.Join(m.Root, "var/lib/dpkg/status")
	if err := os.WriteFile(status, []byte("Package: a\nVersion: 1\nthis is no field\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = m.States(t.Context())
	coded(t, "a damaged database", err, pkgmgr.CodeDatabase)
}

func TestWhatIsBackAlreadyIsNotTakenBack(t *testing.T) {
	coded(t, "nothing left", (&attempt{m: bare(t)}).rehearse(t.Context()), pkgmgr.CodeFrom)
}

// TestTheStoreIsHashedAgain: the old artefact was verified before the attempt
// that failed; somebody has changed it since.
func TestTheStoreIsHashedAgain(t *testing.T) {
	m := bare(t)
	o, err := openOwn(m.sys)
	coded(t, "own directory", err, "")
	defer o.close()
	raw, err := hello("1.0-1").Build()
	if err != nil {
		t.Fatal(err)
	}
	c := change.Change{Op: change.Downgrade, Package: "hello-pw", Arch: "amd64", From: "2", To: "1.0-1", Artefact: canon.SumFile(raw), Size: int64(len(raw))}
	run, err := o.newRun("undo")
	coded(t, "run", err, "")
	s := m.newStage(o, run, "amd64", time.Now())
	defer s.close()
	for _, v := range []struct {
		bytes []byte
		want  refusal.Code
	}{{raw, ""}, {append([]byte{'x'}, raw[1:]...), pkgmgr.CodeBack}} {
		if err := os.WriteFile(filepath.Join(m.Root, stored(c)), v.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = s.again([]change.Change{c})
		coded(t, "from the store", err, v.want)
	}
}

func TestThePoolHoldsOrdinaryFilesOnly(t *testing.T) {
	m := bare(t)
	m.Pool = filepath.Join(m.Root, "no-pool")
	s := m.newStage(nil, "", "amd64", time.Now())
	_, err := s.open("sha256/x")
	coded(t, "no pool", err, pkgmgr.CodePool)
	m.Pool = t.TempDir()
	if err := os.MkdirAll(filepath.Join(m.Pool, "sha256", "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.Pool, "sha256", "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s = m.newStage(nil, "", "amd64", time.Now())
	defer s.close()
	f, err := s.open("sha256/file")
	coded(t, "the honest twin", err, "")
	f.Close()
	_, err = s.open("sha256/dir")
	coded(t, "a directory", err, pkgmgr.CodePool)
}

func TestRecoverStaysInItsOwnDirectory(t *testing.T) {
	_, err := bare(t).Recover(t.Context(), pkgmgr.Begun{Run: "/etc/apt"})
	coded(t, "another run", err, pkgmgr.CodeDir)
}

func TestTheGateTakesNoOtherArguments(t *testing.T) {
	none := func(string) string { return "" }
	coded(t, "a word", GateMain([]string{"open"}, none), pkgmgr.CodeGate)
	coded(t, "a flag", GateMain([]string{"--open"}, none), pkgmgr.CodeGate)
	coded(t, "none: the lockdown", GateMain(nil, none), pkgmgr.CodeLockdown)
}

func TestALockdownThatCannotBeTakenOffIsTold(t *testing.T) {
	m := bare(t)
	coded(t, "none there", Unlock(m.Root), "")
	if err := os.Mkdir(filepath.Join(m.Root, lockdownDir, lockdownFile), 0o755); err != nil {
		t.Fatal(err)
	}
	coded(t, "a directory in its place", Unlock(m.Root), pkgmgr.CodeRoot)
}

// TestASolverThatWantsMoreIsRefused: the writ takes a library away, apt would
// take away what needs it too.
func TestASolverThatWantsMoreIsRefused(t *testing.T) {
	lib := debworld.Package{Name: "pw-lib", Version: "1"}
	app := debworld.Package{Name: "pw-app", Version: "1", Depends: "pw-lib"}
	w := newWorld(t, lib, app)
	w.offer()
	gone := func(p debworld.Package) change.Change { return w.change(p, debworld.Package{}) }
	m := w.manager()
	coded(t, "both", m.Rehearse(t.Context(), []change.Change{gone(app), gone(lib)}), "")
	err := m.Rehearse(t.Context(), []change.Change{gone(lib)})
	coded(t, "the library alone", err, pkgmgr.CodeSolver)
	if err == nil || !strings.Contains(err.Error(), "remove pw-app") {
		t.Errorf("%v", err)
	}
	w.edit = func(c *Config) { c.Agent = "/bin/true" } // a supervisor that ends without a word
	coded(t, "no supervisor", w.manager().Rehearse(t.Context(), []change.Change{gone(app), gone(lib)}), pkgmgr.CodeTool)
}
