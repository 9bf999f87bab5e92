package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/patchwrit/patchwrit/internal/ending/endingtest"
)

// TestASecondSignalEndsWhatWaits: a file that was named may be a pipe into which
// nobody writes. Room internal/ending tries that it takes two.
func TestASecondSignalEndsWhatWaits(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "advice", "check", "--dossier", pipe, "--answer", pipe)
	cmd.Env = append(os.Environ(), "PATCHWRIT_TEST_MAIN=1")
	h := endingtest.Hold(t, cmd, pipe)
	if !h.Signal(syscall.SIGTERM, endingtest.Most) {
		t.Fatal("it goes on waiting")
	}
	if ws := h.Ended().Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGTERM {
		t.Errorf("%v", h.ProcessState)
	}
}
