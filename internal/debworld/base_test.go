package debworld

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An existing base root is returned without a builder.
func TestBaseRootIsBuiltOnce(t *testing.T) {
	Need(t, need(true, "unshare"))
	cache := t.TempDir()
	done := filepath.Join(cache, "roots", theRecipe.Name())
	if err := os.MkdirAll(done, 0o755); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	got, err := BaseRoot(t.Context(), cache, &said)
	if err != nil || got != done || said.Len() > 0 {
		t.Errorf("got %q, %v, said %q; want %q in silence", got, err, said.String(), done)
	}
}

func TestRecipeNamesWhatItHolds(t *testing.T) {
	other := theRecipe
	other.Include = []string{"ca-certificates", "nginx-light"}
	edited := theRecipe
	edited.Files = map[string]string{"etc/apt/apt.conf.d/90patchwrit-world": "// none\n"}
	names := map[string]bool{theRecipe.Name(): true, other.Name(): true, edited.Name(): true}
	again := theRecipe.Name()
	if len(names) != 3 || theRecipe.Name() != again {
		t.Errorf("three recipes have the names %v; each needs its own, and always the same", names)
	}
}

// A build is whole or it is not there: a builder that fails or is stopped leaves
// nothing, and the next one clears what a killed one left.
func TestBuildIsWholeOrNothing(t *testing.T) {
	Need(t, need(true, "unshare"))
	for name, c := range map[string]struct {
		script string
		limit  time.Duration
		whole  bool
	}{
		"whole":   {"exit 0", time.Minute, true},
		"failing": {"echo no such mirror >&2; exit 1", time.Minute, false},
		"stopped": {"sleep 600", 300 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			done := filepath.Join(t.TempDir(), theRecipe.Name())
			put(t, filepath.Join(done+".half", "etc/left-by-a-killed-builder"), "")
			playBuilder(t, c.script)
			ctx, cancel := context.WithTimeout(t.Context(), c.limit)
			defer cancel()
			start := time.Now()
			var said bytes.Buffer
			err := theRecipe.build(ctx, Mirror{Main: "http://mirror.test/debian"}, done, &said)
			if (err == nil) != c.whole {
				t.Fatalf("the build ended with %v", err)
			}
			if took := time.Since(start); took > 8*time.Second { // grandchildren that live on hold the pipe for 10 s
				t.Errorf("the build took %v, so it did not end the builder's children", took)
			}
			left, _ := filepath.Glob(filepath.Join(filepath.Dir(done), "*"))
			if !c.whole {
				if len(left) > 0 || !strings.Contains(err.Error(), "mmdebstrap could not build") {
					t.Errorf("left %v, said %v", left, err)
				}
				return
			}
			if len(left) != 1 || left[0] != done {
				t.Errorf("made %v, want only %s", left, done)
			}
			if _, err := os.Stat(filepath.Join(done, "etc/left-by-a-killed-builder")); err == nil {
				t.Error("the new root holds what a killed builder left")
			}
			list, _ := os.ReadFile(filepath.Join(done, "etc/apt/sources.list"))
			if want := "deb [signed-by=" + archiveKeyring + "] http://mirror.test/debian bookworm main\n"; string(list) != want {
				t.Errorf("sources.list is %q, want %q", list, want)
			}
			if st, err := os.Stat(filepath.Join(done, "usr/sbin/policy-rc.d")); err != nil || st.Mode() != 0o755 {
				t.Errorf("policy-rc.d: %v %v", st, err)
			}
		})
	}
}

// playBuilder puts a script in the place of mmdebstrap: it makes the target and
// then does as told.
func playBuilder(t *testing.T, script string) {
	t.Helper()
	bin := t.TempDir()
	text := "#!/bin/sh\nfor a; do case $a in *.half) mkdir -p \"$a/usr\";; esac; done\n" + script + "\n"
	put(t, filepath.Join(bin, "mmdebstrap"), text)
	if err := os.Chmod(filepath.Join(bin, "mmdebstrap"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func TestSecondBuilderWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var said bytes.Buffer
	if _, err := lock(ctx, path, &said); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second builder got %v while the first held the lock", err)
	}
	if !strings.Contains(said.String(), "another process is building") {
		t.Errorf("the waiting builder said %q", said.String())
	}
	unlock()
	again, err := lock(t.Context(), path, &said)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestMissingSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := need(false, "mmdebstrap", "gpgv")
	if !IsMissing(err) {
		t.Fatalf("no tools at all gave %v", err)
	}
	for _, want := range []string{"not found: mmdebstrap, gpgv", "apt-get install mmdebstrap gpgv"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if IsMissing(errors.New("disk full")) {
		t.Error("an ordinary error counts as a missing tool, so a test would be skipped over it")
	}
}

func TestNeedTellsLackFromFailure(t *testing.T) {
	for _, c := range []struct {
		err        error
		must, want string
	}{
		{nil, "", "goes on"},
		{Missing{Tools: []string{"gcc"}}, "", "skipped"},
		{Missing{Tools: []string{"gcc"}}, "must", "failed"},
		{errors.New("disk full"), "", "failed"},
	} {
		t.Setenv(RootsEnv, c.must)
		probe := &probeTB{TB: t, state: "goes on"}
		Need(probe, c.err)
		if probe.state != c.want {
			t.Errorf("%v with %s=%q: the test %s, want: %s", c.err, RootsEnv, c.must, probe.state, c.want)
		}
	}
}

type probeTB struct {
	TB
	state string
}

func (p *probeTB) Skip(...any)  { p.state = "skipped" }
func (p *probeTB) Fatal(...any) { p.state = "failed" }
