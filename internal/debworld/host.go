package debworld

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// TB is the part of testing.TB that the workshop uses; naming it here keeps the
// package testing out of programs that link the workshop.
type TB interface {
	Helper()
	Cleanup(func())
	Context() context.Context
	TempDir() string
	Skip(args ...any)
	Fatal(args ...any)
	Log(args ...any)
	Error(args ...any)
}

// RootsEnv names the variable that decides about tests with real roots: empty,
// they run where the machine can and skip where it cannot; "must" turns skips
// into failures, so that a CI run cannot go green by lacking the tools; "no"
// skips them all, for a quick run.
const RootsEnv = "PATCHWRIT_REAL_ROOTS"

// Need ends the test on an error: with a skip when the machine lacks something,
// with a failure otherwise. PATCHWRIT_REAL_ROOTS=must makes both a failure.
func Need(t TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case IsMissing(err) && os.Getenv(RootsEnv) != "must":
		t.Skip(err.Error())
	default:
		t.Fatal(fmt.Sprintf("debworld: %v", err))
	}
}

// NewHost gives a test a fresh host: an overlay clone of the base root, with no
// APT sources. It is killed, unmounted and removed when the test ends, and the
// test fails if a mount is left. The first call on a machine builds the base
// root, which takes minutes; what it prints goes to standard error.
func NewHost(t TB) Root {
	t.Helper()
	if os.Getenv(RootsEnv) == "no" {
		t.Skip(RootsEnv + "=no: no tests with real roots")
	}
	base, err := BaseRoot(t.Context(), "", os.Stderr)
	Need(t, err)
	dir := filepath.Join(t.TempDir(), "host")
	r, cleanup, err := Clone(base, dir)
	Need(t, err)
	t.Cleanup(func() {
		if err := cleanup(); err != nil {
			t.Error(err)
		}
		if left, err := Mounts(dir); err == nil && len(left) > 0 {
			t.Error("still mounted:", left)
		}
	})
	Need(t, r.SetSources())
	return r
}
