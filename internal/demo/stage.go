package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stage holds what one scene leaves for the next.
type stage struct {
	ctx     context.Context
	dir     string
	yes     bool
	began   time.Time
	summary summary

	rootSHA   string // the house's pinned digest
	host      string // fingerprint
	hostKey   string // public key, hex
	author    string
	sources   []string
	ports     []string
	witnesses []*exec.Cmd
}

// in is a path in the demo's directory.
func (s *stage) in(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// root is the demo's Debian root.
func (s *stage) root() string { return s.in("hosts", hostName, "root") }

// call is one command, as a person would type it.
type call struct {
	argv []string
	in   io.Reader
	code int  // the exit code that is right
	mute bool // do not show what it prints
}

// try runs a command, shows it, and returns its standard output. Another exit
// code than the expected one is an error.
func (s *stage) try(c call) (string, error) {
	fmt.Printf("$ %s\n", s.shown(c.argv))
	cmd := exec.CommandContext(s.ctx, s.binary(c.argv[0]), c.argv[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, &out, &errs
	if c.in == os.Stdin {
		cmd.Stderr = os.Stderr
	}
	err := cmd.Run()
	if !c.mute {
		fmt.Print(indent(errs.String()), indent(out.String()))
	}
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		return "", err
	}
	if got := cmd.ProcessState.ExitCode(); got != c.code {
		return "", fmt.Errorf("exit code %d, expected %d: %s\n%s", got, c.code, s.shown(c.argv), errs.String())
	}
	return out.String() + errs.String(), nil
}

// do runs a command that must succeed and returns its trimmed output.
func (s *stage) do(argv ...string) (string, error) {
	cmd := exec.CommandContext(s.ctx, s.binary(argv[0]), argv[1:]...)
	fmt.Printf("$ %s\n", s.shown(argv))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", s.shown(argv), err, errs.String())
	}
	fmt.Print(indent(errs.String()))
	return strings.TrimSpace(out.String()), nil
}

// answer runs a scan that may know only part of the answer (exit code 6) and
// returns its standard output.
func (s *stage) answer(argv ...string) (string, error) {
	fmt.Printf("$ %s\n", s.shown(argv))
	var errs bytes.Buffer
	cmd := exec.CommandContext(s.ctx, s.binary(argv[0]), argv[1:]...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	const partial = 6
	if err != nil && (cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != partial) {
		return "", fmt.Errorf("%s: %w\n%s", s.shown(argv), err, errs.String())
	}
	return string(out), nil
}

// binary finds our own programs in bin/.
func (s *stage) binary(name string) string {
	if strings.HasPrefix(name, "patchwrit") {
		return filepath.Join(filepath.Dir(s.dir), "bin", name)
	}
	return name
}

// shown is a command line with the demo's directory as "demo".
func (s *stage) shown(argv []string) string {
	return strings.ReplaceAll(strings.Join(argv, " "), s.dir, "demo")
}

func indent(text string) string {
	if text == "" {
		return ""
	}
	const most = 60 // lines; the files keep the rest
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > most {
		lines = append(lines[:most], fmt.Sprintf("… %d more lines", len(lines)-most))
	}
	return "    " + strings.Join(lines, "\n    ") + "\n"
}

// house are the flags that say whose word counts.
func (s *stage) house() []string {
	return []string{"--trust", s.in("trust"), "--root-sha256", s.rootSHA}
}

// ledger are the flags of the control plane's verbs.
func (s *stage) ledger() []string { return append(s.house(), "--data", s.in("data")) }

// freePort finds a port on loopback for a witness.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// startWitness starts a witness as a process of its own and waits until it
// answers.
func (s *stage) startWitness(name, addr string) error {
	argv := append([]string{"patchwrit-witness", "run", "--dir", s.in(name), "--listen", addr}, s.house()...)
	fmt.Printf("$ %s &\n", s.shown(argv))
	log, err := os.Create(s.in(name + ".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.binary(argv[0]), argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.witnesses = append(s.witnesses, cmd)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		answer, err := http.Get("http://" + addr + "/healthz")
		if err == nil {
			answer.Body.Close()
			return nil
		}
	}
	return fmt.Errorf("witness %s does not answer; see demo/%s.log", name, name)
}

// strike ends what the demo started.
func (s *stage) strike() error {
	var errs []error
	for _, w := range s.witnesses {
		errs = append(errs, w.Process.Signal(syscall.SIGTERM))
		if err := w.Wait(); err != nil {
			var status *exec.ExitError
			if !errors.As(err, &status) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
