package ending

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

const asProgram = "PATCHWRIT_TEST_ENDING"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		program()
		return
	}
	os.Exit(m.Run())
}

// program says when it has begun and when it has seen its end, and then hangs.
func program() {
	ctx, stop := Begin()
	defer stop()
	fmt.Println("begun")
	<-ctx.Done()
	fmt.Println("ending")
	time.Sleep(time.Hour)
}

// TestHeed: nothing ends without a signal, and with it the signals are let go of first.
func TestHeed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	signals, over, did := make(chan os.Signal), make(chan struct{}), []string{}
	note := func(what string) func() { return func() { did = append(did, what) } }
	go func() {
		defer close(over)
		heed(ctx, signals, note("let go"), note("end"))
	}()
	signals <- os.Interrupt // taken by nobody else
	<-over
	if !slices.Equal(did, []string{"let go", "end"}) {
		t.Errorf("%q", did)
	}

	// A program that ends by itself lets go too, and leaves nobody waiting.
	cancel()
	did = nil
	if heed(ctx, signals, note("let go"), note("end")); !slices.Equal(did, []string{"let go", "end"}) {
		t.Errorf("%q", did)
	}
}

// TestTheSecondSignalIsTheKernels sends each signal when the program has said that it
// is where it meets it, so it does not matter how long that takes.
func TestTheSecondSignalIsTheKernels(t *testing.T) {
	for _, sent := range [][2]syscall.Signal{{syscall.SIGINT, syscall.SIGINT}, {syscall.SIGTERM, syscall.SIGTERM}, {syscall.SIGTERM, syscall.SIGINT}} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), asProgram+"=1")
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for i, want := range []string{"begun", "ending"} {
			if !lines.Scan() || lines.Text() != want {
				t.Fatalf("%v: it says %q, want %q", sent, lines.Text(), want)
			}
			if err := cmd.Process.Signal(sent[i]); err != nil {
				t.Fatal(err)
			}
		}
		late := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
		cmd.Wait()
		late.Stop()
		if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != sent[1] {
			t.Errorf("%v: %v", sent, cmd.ProcessState)
		}
	}
}
