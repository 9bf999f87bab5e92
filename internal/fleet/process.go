package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Process is a running program under the name that it has in this fleet.
type Process struct {
	Name string
	Log  string // the file that holds what it says

	cmd  *exec.Cmd
	gone chan struct{}
}

// begin starts a command whose output is added to a log.
func begin(name string, cmd *exec.Cmd, log string, launch func(*exec.Cmd) (chan struct{}, error)) (*Process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	p := &Process{Name: name, Log: log, cmd: cmd}
	if p.gone, err = launch(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// beside starts a program on the machine itself, as the witnesses and the
// control plane run. It dies with this process.
func beside(p Program, log string) (*Process, error) {
	cmd := exec.Command(p.Argv[0], p.Argv[1:]...)
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return begin(p.Name, cmd, log, launch)
}

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// Kill ends it with SIGKILL, as a crash does.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL) }

// Stop asks it to end, as an operator does.
func (p *Process) Stop() error { return p.end(syscall.SIGTERM) }

func (p *Process) end(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return awaitEnd(p.gone, p.Name)
}

// Tail is the end of what it said.
func (p *Process) Tail() string {
	const most = 4 << 10
	raw, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(raw[max(0, len(raw)-most):]))
}
