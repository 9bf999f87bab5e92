// Package endingtest holds a program in a place that it cannot leave by itself.
//
// The parties: a test, and a program that the test makes read a pipe into which nobody
// writes. The promise: what happens is told by states and never by time; a minute is
// only the bound after which a test gives up.
package endingtest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// bound is how long a state is waited for, in steps.
const (
	bound = time.Minute
	step  = 20 * time.Millisecond
)

// Held is a program that reads a pipe.
type Held struct {
	*exec.Cmd
	Pipe *os.File // its other end
	t    testing.TB
	over chan struct{}
}

// Hold starts a program and returns when it has opened the pipe, which it makes.
func Hold(t testing.TB, cmd *exec.Cmd, pipe string) *Held {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(pipe), 0o700), syscall.Mkfifo(pipe, 0o600), cmd.Start()); err != nil {
		t.Fatal(err)
	}
	h := &Held{Cmd: cmd, t: t, over: make(chan struct{})}
	go func() { cmd.Wait(); close(h.over) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-h.over })
	for range bound / step {
		// Without a reader this is ENXIO (fifo(7)).
		w, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			h.Pipe = w
			t.Cleanup(func() { w.Close() })
			return h
		}
		select {
		case <-h.over:
			t.Fatalf("it ended without reading the pipe: %v", cmd.ProcessState)
		case <-time.After(step):
		}
	}
	t.Fatal("it never came to the pipe")
	return nil
}

// Signal sends a signal again and again, at most most times, until the program has
// ended, and reports whether it has.
func (h *Held) Signal(s os.Signal, most int) bool {
	for range most {
		h.Process.Signal(s)
		select {
		case <-h.over:
			return true
		case <-time.After(step):
		}
	}
	return false
}

// Most is how often a signal is sent to a program that it must end.
const Most = int(bound / step)

// Ended waits until the program has ended by itself.
func (h *Held) Ended() *os.ProcessState {
	h.t.Helper()
	select {
	case <-h.over:
	case <-time.After(bound):
		h.t.Fatal("it does not end")
	}
	return h.ProcessState
}
