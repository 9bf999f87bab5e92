package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/patchwrit/patchwrit/internal/ending/endingtest"
)

// asAgent is the agent in a process that a test sends signals to.
func asAgent(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "PATCHWRIT_TEST_MAIN=1")
	return cmd
}

// TestASecondSignalEndsWhatWaits: as in cmd/patchwrit. What is left by an end in the
// middle of a change is what TestKilledAtEachStep leaves.
func TestASecondSignalEndsWhatWaits(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "writ")
	cmd := asAgent(t, "apply", "--root", dir, "--writ", pipe, "--pool", dir, "--trust", dir, "--state", filepath.Join(dir, "state"), "--root-sha256", strings.Repeat("ab", 32))
	h := endingtest.Hold(t, cmd, pipe)
	if !h.Signal(syscall.SIGTERM, endingtest.Most) {
		t.Fatal("it goes on waiting")
	}
	if ws := h.Ended().Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGTERM {
		t.Errorf("%v", h.ProcessState)
	}
}

// TestNoSignalEndsASupervisor: it is the parent of a running dpkg. It is held where it
// reads its job, and then given one that it refuses.
func TestNoSignalEndsASupervisor(t *testing.T) {
	name := filepath.Join(t.TempDir(), "apply")
	cmd := asAgent(t, "supervise", name)
	var said bytes.Buffer
	cmd.Stderr = &said
	h := endingtest.Hold(t, cmd, name+".job")
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		if h.Signal(s, 5) {
			t.Fatalf("%v: %v %s", s, h.ProcessState, &said)
		}
	}
	if _, err := h.Pipe.WriteString(`{"argv":["/bin/true"],"env":[],"isolated":false,"network":false}`); err != nil {
		t.Fatal(err)
	}
	h.Pipe.Close()
	if !h.Ended().Exited() || !strings.Contains(said.String(), "starts apt-get and dpkg for a run, and nothing else") {
		t.Errorf("%v: %s", h.ProcessState, &said)
	}
}
