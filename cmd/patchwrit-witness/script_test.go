package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"patchwrit-witness": main,
		"world":             func() { os.Exit(worldTool(os.Args[1:])) },
	})
}

// TestScripts runs what a person types, each program a process of its own. The
// tool "world" stands for the keepers, the control plane's log and people.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"W1", "W2"} {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				e.Setenv(name, l.Addr().String())
				if err := l.Close(); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"setenv": setenv, "mode": mode, "start": start, "signal": send, "end": end,
		},
	})
}

// setenv NAME FILE: the file's text without its last line end.
func setenv(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// mode OCTAL FILE: the file's permissions are these.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s", args[1], got)
	}
}

// processes are those that start began, by script and name.
var processes sync.Map

type processKey struct {
	ts   *testscript.TestScript
	name string
}

// start NAME PROGRAM ARG…: begin a process.
func start(ts *testscript.TestScript, neg bool, args []string) {
	path := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if p := filepath.Join(dir, args[1]); path == "" {
			if _, err := os.Stat(p); err == nil {
				path = p
			}
		}
	}
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir, cmd.Stderr = ts.MkAbs("."), os.Stderr
	if !testing.Verbose() {
		cmd.Stderr = nil
	}
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME")}
	ts.Check(cmd.Start())
	processes.Store(processKey{ts, args[0]}, cmd)
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
}

var signals = map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "HUP": syscall.SIGHUP}

// signal NAME SIGNAL: send it a signal.
func send(ts *testscript.TestScript, neg bool, args []string) {
	cmd, ok := processes.Load(processKey{ts, args[0]})
	if !ok {
		ts.Fatalf("no process %q", args[0])
	}
	ts.Check(cmd.(*exec.Cmd).Process.Signal(signals[args[1]]))
}

// end NAME SIGNAL CODE: it ends on the signal with this exit code, -1 for
// being killed.
func end(ts *testscript.TestScript, neg bool, args []string) {
	send(ts, neg, args[:2])
	cmd, _ := processes.Load(processKey{ts, args[0]})
	cmd.(*exec.Cmd).Wait() // the exit code says it all
	if got := fmt.Sprint(cmd.(*exec.Cmd).ProcessState.ExitCode()); got != args[2] {
		ts.Fatalf("%s ended with %s, want %s", args[0], got, args[2])
	}
}
