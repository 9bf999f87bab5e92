package fleet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/internal/debworld"
)

// Tools is the directory in a host where the workshop's and the product's
// programs lie: outside of what the package manager owns.
const Tools = "/usr/local/lib/patchwrit"

// Machine is one Debian host: a clone of the base root with its own process,
// mount, host name and network namespaces.
type Machine struct {
	Name string
	Addr netip.Addr
	Root debworld.Root

	street *Street
	remove func() error // unmounts and removes the root
	cable  string
	pid    int           // of its process 1 while it runs
	gone   chan struct{} // closed when process 1 has ended
}

// NewMachine clones the base root to dir/root and gives the host its names. It
// does not boot it.
func (s *Street) NewMachine(base, dir, name, pid1 string) (*Machine, error) {
	addr, err := s.address()
	if err != nil {
		return nil, err
	}
	root, remove, err := debworld.Clone(base, dir)
	if err != nil {
		return nil, err
	}
	m := &Machine{Name: name, Addr: addr, Root: root, street: s, remove: remove}
	hosts := fmt.Sprintf("127.0.0.1 localhost\n%s %s\n%s control\n", addr, name, s.Addr)
	err = errors.Join(
		root.Write("/etc/hostname", []byte(name+"\n"), 0o644),
		root.Write("/etc/hosts", []byte(hosts), 0o644),
		root.Write("/etc/resolv.conf", nil, 0o644), // nobody answers here
		root.SetSources(),
		m.Install(pid1, "pid1"))
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	return m, nil
}

// Install copies a program of the machine into the host's [Tools].
func (m *Machine) Install(from, name string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return m.Root.Write(filepath.Join(Tools, name), raw, 0o755)
}

// Boot starts process 1 and lays the cable. The host dies with this process.
func (m *Machine) Boot(ctx context.Context) error {
	cmd := m.Root.Command(context.WithoutCancel(ctx), filepath.Join(Tools, "pid1"), "wait")
	cmd.Env = hostEnv
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if m.gone, err = launch(cmd); err != nil {
		return fmt.Errorf("boot %s: %w", m.Name, err)
	}
	m.pid = cmd.Process.Pid
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
		return fmt.Errorf("boot %s: process 1 says %q: %w %s", m.Name, line, err, errs.String())
	}
	if m.cable, err = m.street.lay(ctx, m.pid, m.Addr); err != nil {
		return errors.Join(err, m.PowerCut())
	}
	return m.enter(&exec.Cmd{}, func(*exec.Cmd) error { return unix.Sethostname([]byte(m.Name)) })
}

// hostEnv is the environment of every process of a host: nothing of the
// machine's, so that no proxy leads out.
var hostEnv = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb"}

// launch starts a command on a thread that lives as long as the command: the
// parent-death signal follows the thread. gone is closed when it has ended.
func launch(cmd *exec.Cmd) (gone chan struct{}, err error) {
	started := make(chan error)
	gone = make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // how it ended is in ProcessState
			close(gone)
		}
	}()
	return gone, <-started
}

// PowerCut ends everything in the host at once.
func (m *Machine) PowerCut() error {
	if m.pid == 0 {
		return nil
	}
	if err := syscall.Kill(m.pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		return err
	}
	m.pid = 0
	return awaitEnd(m.gone, m.Name)
}

// ending is how long a process may take to end: dying with a whole namespace on
// a busy machine included.
const ending = 30 * time.Second

func awaitEnd(gone chan struct{}, what string) error {
	select {
	case <-gone:
		return nil
	case <-time.After(ending):
		return fmt.Errorf("%s does not end", what)
	}
}

// Unplug cuts the host's cable.
func (m *Machine) Unplug(ctx context.Context) error { return m.street.plug(ctx, m.cable, false) }

// Plug connects it again.
func (m *Machine) Plug(ctx context.Context) error { return m.street.plug(ctx, m.cable, true) }

// Close cuts the power and removes the host with its root.
func (m *Machine) Close() error { return errors.Join(m.PowerCut(), m.remove()) }

// Program is a program that is to run in a host, or beside the hosts.
type Program struct {
	Name string   // of the process, and of its log
	Argv []string // the path first
	User string   // of the host; empty for root
	Env  []string // besides the usual
}

// Start starts a program in the host's namespaces. Its output goes to log.
func (m *Machine) Start(p Program, log string) (*Process, error) {
	cmd, err := m.command(p)
	if err != nil {
		return nil, err
	}
	return begin(p.Name, cmd, log, m.launch)
}

// Run runs a program in the host to its end, and returns what it printed.
func (m *Machine) Run(ctx context.Context, p Program) (string, error) {
	cmd, err := m.command(p)
	if err != nil {
		return "", err
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	gone, err := m.launch(cmd)
	if err != nil {
		return "", err
	}
	select {
	case <-gone:
	case <-ctx.Done():
		cmd.Process.Kill()
		<-gone
		return out.String(), ctx.Err()
	}
	if !cmd.ProcessState.Success() {
		return out.String(), &ExitError{Argv: p.Argv, Code: cmd.ProcessState.ExitCode(), Stderr: m.Name + ": " + errs.String()}
	}
	return out.String(), nil
}

// ExitError says that a program ended with another exit code than 0.
type ExitError struct {
	Argv   []string
	Code   int
	Stderr string
}

// Error tells the exit code and what the program said.
func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: exit code %d: %s", strings.Join(e.Argv, " "), e.Code, strings.TrimSpace(e.Stderr))
}

func (m *Machine) command(p Program) (*exec.Cmd, error) {
	attr := &syscall.SysProcAttr{Chroot: m.Root.Dir, Setsid: true}
	if p.User != "" {
		id, err := m.user(p.User)
		if err != nil {
			return nil, err
		}
		attr.Credential = &id
	}
	return &exec.Cmd{Path: p.Argv[0], Args: p.Argv, Env: append(append([]string{}, hostEnv...), p.Env...), Dir: "/", SysProcAttr: attr}, nil
}

// user finds a user's numbers in the host's passwd.
func (m *Machine) user(name string) (id syscall.Credential, err error) {
	raw, err := os.ReadFile(filepath.Join(m.Root.Dir, "etc/passwd"))
	if err != nil {
		return id, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			_, err := fmt.Sscanf(strings.ReplaceAll(rest, ":", " "), "x %d %d", &id.Uid, &id.Gid)
			return id, err
		}
	}
	return id, fmt.Errorf("%s has no user %q", m.Name, name)
}

// launch starts a command in the host's namespaces and waits for it elsewhere.
func (m *Machine) launch(cmd *exec.Cmd) (gone chan struct{}, err error) {
	gone = make(chan struct{})
	if err := m.enter(cmd, (*exec.Cmd).Start); err != nil {
		return nil, err
	}
	go func() {
		cmd.Wait() // how it ended is in ProcessState
		close(gone)
	}()
	return gone, nil
}

// enter does something on a thread of its own that has entered the host's
// namespaces. The thread is thrown away: it cannot come back.
func (m *Machine) enter(cmd *exec.Cmd, do func(*exec.Cmd) error) error {
	pid := m.pid
	if pid == 0 {
		return fmt.Errorf("%s has no power", m.Name)
	}
	done := make(chan error)
	go elsewhere(func() {
		err := join(pid)
		if err == nil {
			err = do(cmd)
		}
		done <- err
	})
	if err := <-done; err != nil {
		return fmt.Errorf("in %s: %w", m.Name, err)
	}
	return nil
}

// elsewhere does something on a thread that ends afterwards. The first thread
// cannot end, and speaks for the whole process in /proc/self: it is left alone.
func elsewhere(do func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		do()
		return // still locked: the thread ends with this goroutine
	}
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() { // cannot get the first thread: it is locked
		defer close(done)
		runtime.LockOSThread()
		do()
	}()
	<-done
}

// join enters the namespaces of a process, the mounts last.
func join(pid int) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	for _, ns := range []struct {
		name string
		kind int
	}{{"net", unix.CLONE_NEWNET}, {"uts", unix.CLONE_NEWUTS}, {"ipc", unix.CLONE_NEWIPC}, {"pid", unix.CLONE_NEWPID}, {"mnt", unix.CLONE_NEWNS}} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, ns.name))
		if err != nil {
			return err
		}
		err = unix.Setns(int(f.Fd()), ns.kind)
		f.Close()
		if err != nil {
			return fmt.Errorf("enter its %s namespace: %w", ns.name, err)
		}
	}
	return nil
}

// Alone says why the host is not alone: it must have no route to the world, and
// none to its neighbours.
func (m *Machine) Alone(ctx context.Context, neighbours []*Machine) error {
	argv := []string{filepath.Join(Tools, "pid1"), "reach", "192.0.2.1:443", "127.0.0.1:22"}
	for _, n := range neighbours {
		if n != m {
			argv = append(argv, n.Addr.String()+":22")
		}
	}
	out, err := m.Run(ctx, Program{Name: "reach", Argv: argv})
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(argv)-2 || lines[0] != "192.0.2.1:443 no route" || lines[1] != "127.0.0.1:22 closed" {
		return fmt.Errorf("%s: the world must have no route, itself must answer: %s", m.Name, out)
	}
	for _, line := range lines[2:] { // closed would be an answer
		if !strings.HasSuffix(line, " silent") {
			return fmt.Errorf("%s reaches a neighbour: %s", m.Name, line)
		}
	}
	return nil
}

// BuildPid1 builds the hosts' process 1.
func BuildPid1(ctx context.Context, to string) error {
	return build(ctx, to, "github.com/patchwrit/patchwrit/internal/fleet/pid1")
}

// build builds a program of this module as it is shipped, with further flags of
// the go tool.
func build(ctx context.Context, to, pkg string, flags ...string) error {
	argv := append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", to}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(argv, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", pkg, err, bytes.TrimSpace(out))
	}
	return nil
}
