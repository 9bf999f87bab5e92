package box

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
)

// jail is one process and what is held of it. Ask owns it; watch runs beside.
type jail struct {
	cmd      *exec.Cmd
	conn     *os.File // our end of the socket
	listener int      // of the filter
	limits   bounds
	report   Report
	group    cgroup
	said     string        // by the stage, of what cannot be seen from here
	there    atomic.Bool   // it has said hello
	gone     chan struct{} // closed when it is dead and waited for
	watched  chan struct{} // closed when watch is over
	once     sync.Once
	over     string // how it ended; set in once

	mu     sync.Mutex // guards what follows
	ending string     // the call for which it was ended, or ""
	ours   bool       // we have killed it
}

// errSandbox begins every reason for which there is no box.
var errSandbox = errors.New("the sandbox cannot be made here, so advice is off")

// start makes the box up to the point where the program runs. The error is
// errSandbox with the layer that is missing.
func (b Box) start(ctx context.Context) (*jail, error) {
	j, err := b.make(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSandbox, err)
	}
	return j, nil
}

func (b Box) make(ctx context.Context) (*jail, error) {
	j := &jail{listener: -1, limits: usual, gone: make(chan struct{}), watched: make(chan struct{})}
	if b.limits != nil {
		j.limits = *b.limits
	}
	path, err := b.program()
	if err != nil {
		return nil, err
	}
	prog, digest, err := seal(path)
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", path, err)
	}
	defer prog.Close()
	if b.Digest != "" && digest != b.Digest {
		return nil, fmt.Errorf("program %s has SHA-256 %s, not %s as it must have: install the program that belongs to this version", path, digest, b.Digest)
	}
	j.report = Report{Program: path, Digest: digest}
	ctx, cancel := context.WithTimeout(ctx, j.limits.start)
	defer cancel()
	if err := j.spawn(prog, b.stage); err != nil {
		return nil, fmt.Errorf("namespaces: %w. Are user namespaces allowed here (sysctl user.max_user_namespaces, systemd's RestrictNamespaces, a container's profile)?", err)
	}
	stop := context.AfterFunc(ctx, j.kill)
	err = j.enclose(b.checks)
	if err == nil && !stop() {
		err = fmt.Errorf("it was not made within %v", j.limits.start)
	}
	stop()
	if err != nil {
		if end := j.abandon(); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("it ended before it was shut in: %s", end)
		}
		return nil, err
	}
	go j.watch()
	return j, nil
}

// maxProgram is the most bytes of the advisor's program.
const maxProgram = 64 << 20

// seal copies a program into memory that nobody can change any more: what is
// hashed is what runs.
func seal(path string) (*os.File, canon.Digest, error) {
	raw, err := readProgram(path)
	if err != nil {
		return nil, "", err
	}
	fd, err := unix.MemfdCreate(Program, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 every one could be executed
		fd, err = unix.MemfdCreate(Program, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, "", err
	}
	f := os.NewFile(uintptr(fd), Program)
	if _, err = f.Write(raw); err == nil {
		err = f.Chmod(0o555)
	}
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK)
	}
	if err != nil {
		f.Close()
		return nil, "", err
	}
	return f, canon.SumFile(raw), nil
}

func readProgram(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxProgram {
		return nil, fmt.Errorf("this is no program of at most %d bytes (%v)", maxProgram, err)
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return nil, fmt.Errorf("this is no program for Linux: %w", err)
	}
	if slices.ContainsFunc(e.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return nil, errors.New("it needs shared libraries, which an empty root has not: build it with CGO_ENABLED=0")
	}
	return io.ReadAll(io.NewSectionReader(f, 0, maxProgram))
}

// spawn starts this binary again, in namespaces of its own.
func (j *jail) spawn(prog *os.File, args []string) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	theirs := os.NewFile(uintptr(pair[1]), "advisor")
	defer theirs.Close()
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return err
	}
	j.conn = os.NewFile(uintptr(pair[0]), "advisor")
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	j.cmd = exec.Command("/proc/self/exe")
	j.cmd.Args, j.cmd.Env, j.cmd.Dir = append([]string{stageName}, args...), []string{}, "/"
	j.cmd.Stdin, j.cmd.Stdout, j.cmd.Stderr, j.cmd.ExtraFiles = null, null, null, []*os.File{theirs, prog}
	j.cmd.SysProcAttr = attributes()
	j.group = newCgroup(j.limits)
	j.group.into(j.cmd.SysProcAttr)
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the parent-death signal comes when this thread ends
		err := j.cmd.Start()
		started <- err
		if err == nil {
			j.cmd.Wait()
		}
		close(j.gone)
		runtime.UnlockOSThread()
	}()
	if err := <-started; err != nil {
		j.conn.Close()
		j.group.remove()
		return err
	}
	return nil
}

// nobody is the user and group as which the box runs when this process is root.
// By its limit of threads, which root would not have, and by what files it owns.
const nobody = 65534

func attributes() *syscall.SysProcAttr {
	uid, gid, root := os.Geteuid(), os.Getegid(), os.Geteuid() == 0
	if root {
		uid, gid = nobody, nobody
	}
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}},
		GidMappingsEnableSetgroups: root, Credential: &syscall.Credential{NoSetGroups: !root},
		Setsid: true, Pdeathsig: syscall.SIGKILL,
	}
}

// enclose waits until the process has given everything away, looks whether it
// has, and lets it be the program.
func (j *jail) enclose(checks []check) error {
	var err error
	if j.said, err = j.listen(); err != nil {
		return err
	}
	if err := j.group.add(j.cmd.Process.Pid); err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	asked, err := j.next(unix.SYS_EXECVEAT)
	if err != nil {
		return err
	}
	if checks == nil {
		checks = all
	}
	for _, c := range checks {
		word, err := c.look(j)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		j.report.Layers = append(j.report.Layers, word)
	}
	for {
		if err = j.answer(asked.id, 0, unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE); !errors.Is(err, unix.ENOENT) {
			return err
		}
		if asked, err = j.next(unix.SYS_EXECVEAT); err != nil { // a signal came between; it asks again
			return err
		}
	}
}

// listen hears the stage's first word: it is shut in, and here is the listener.
func (j *jail) listen() (string, error) {
	if err := j.conn.SetDeadline(time.Now().Add(j.limits.start)); err != nil {
		return "", err
	}
	conn, err := j.conn.SyscallConn()
	if err != nil {
		return "", err
	}
	word, oob := make([]byte, 1024), make([]byte, unix.CmsgSpace(4))
	var n, got int
	failure := conn.Read(func(fd uintptr) bool {
		n, got, _, _, err = unix.Recvmsg(int(fd), word, oob, unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(err, unix.EAGAIN)
	})
	switch {
	case failure != nil:
		return "", failure
	case err != nil:
		return "", err
	case n == 0:
		return "", io.EOF
	case word[0] != ready:
		return "", errors.New(string(word[1:n]))
	}
	messages, err := unix.ParseSocketControlMessage(oob[:got])
	if err == nil && len(messages) != 1 {
		err = errors.New("seccomp: no listener came")
	}
	if err != nil {
		return "", err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return "", err
	}
	j.listener = fds[0]
	return string(word[1:n]), nil
}

// notice is struct seccomp_notif, answer is struct seccomp_notif_resp
// (linux/seccomp.h).
type notice struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type answer struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

// next waits for a call that the filter stopped, which has to be this one.
func (j *jail) next(nr int32) (notice, error) {
	for {
		n, ok, err := j.receive()
		switch {
		case err != nil:
			return n, err
		case ok && n.nr == nr && n.args[0] == progFD && n.args[4] == unix.AT_EMPTY_PATH:
			return n, nil
		case ok:
			return n, fmt.Errorf("seccomp: it tried %s before it was asked anything", nameOf(n.nr, n.args[0]))
		}
		select {
		case <-j.gone:
			return n, io.EOF
		default:
		}
	}
}

// receive takes one stopped call, if one comes within a quarter of a second.
func (j *jail) receive() (n notice, ok bool, err error) {
	fds := []unix.PollFd{{Fd: int32(j.listener), Events: unix.POLLIN}}
	got, err := unix.Poll(fds, 250)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return n, false, err
	}
	if got < 1 {
		return n, false, nil
	}
	if fds[0].Revents&unix.POLLIN == 0 {
		return n, false, io.EOF // nobody is left who could call
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(j.listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n)))
	switch errno {
	case 0:
		return n, true, nil
	case unix.ENOENT, unix.EINTR: // the caller died, or was interrupted and asks again
		return n, false, nil
	}
	return n, false, errno
}

func (j *jail) answer(id uint64, errno unix.Errno, flags uint32) error {
	a := answer{id: id, error: -int32(errno), flags: flags}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(j.listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a))); errno != 0 {
		return errno
	}
	return nil
}

// starting are calls that a Go program makes before its main does anything: it
// looks for its own name, the machine's page size and limits. Until the program
// says hello they are refused; the answer is that there is nothing.
var starting = []int32{unix.SYS_OPENAT, unix.SYS_READLINKAT, unix.SYS_PRLIMIT64}

// watch refuses what the filter does not allow: the whole process ends, and the
// report names the call.
func (j *jail) watch() {
	defer close(j.watched)
	for {
		n, ok, err := j.receive()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			j.kill()
			return
		}
		select {
		case <-j.gone:
			return
		default:
		}
		if !ok {
			continue
		}
		name := nameOf(n.nr, n.args[0])
		if slices.Contains(starting, n.nr) && !j.there.Load() {
			j.answer(n.id, unix.EPERM, 0)
			continue
		}
		j.mu.Lock()
		j.ending = name
		j.mu.Unlock()
		j.kill()
		return
	}
}

// kill ends the process, and with it, since it is the first of its pid namespace,
// everything that it may have started.
func (j *jail) kill() {
	j.mu.Lock()
	j.ours = true
	j.mu.Unlock()
	j.cmd.Process.Kill()
}

// linger gives a process that seems to have ended by itself the moment it needs,
// so that the report is about that and not about our signal.
func (j *jail) linger(late bool) {
	if late {
		return
	}
	select {
	case <-j.gone:
	case <-time.After(500 * time.Millisecond):
	}
}

// abandon ends a process that nobody watches yet.
func (j *jail) abandon() string {
	j.linger(false)
	close(j.watched)
	return j.end()
}

// end kills the process if it lives, waits until it is gone, and says how it
// ended: "" for our own signal without a reason of its own.
func (j *jail) end() string {
	j.once.Do(func() {
		select {
		case <-j.gone:
		default:
			j.kill()
		}
		<-j.gone
		<-j.watched
		j.conn.Close()
		if j.listener >= 0 {
			unix.Close(j.listener)
		}
		oom := j.group.oom()
		j.group.remove()
		j.over = j.verdict(oom)
	})
	return j.over
}

// arena is the piece in which Go's runtime takes memory: it gives up when the
// next one does not fit, however much of the last is in use.
const arena = 64 << 20

// verdict reads how the process ended.
func (j *jail) verdict(oom bool) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	state, usage := j.cmd.ProcessState.Sys().(syscall.WaitStatus), j.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	full := uint64(usage.Maxrss)<<10+arena > j.limits.data/8*7
	switch {
	case j.ending != "":
		return fmt.Sprintf("denied and killed by seccomp: it tried %s, which its sandbox does not allow", j.ending)
	case state.Signaled() && state.Signal() == syscall.SIGSYS:
		return "killed by seccomp (SIGSYS): it tried a call of another architecture"
	case oom:
		return fmt.Sprintf("killed at its limit of memory (control group, %d MiB)", j.limits.data>>20)
	case state.Signaled() && !j.ours && cpu >= time.Duration(j.limits.cpu)*time.Second/2: // the kernel kills by ticks, which it counts high on a busy machine; cpu is exact
		return fmt.Sprintf("killed at its limit of processor time (%d s)", j.limits.cpu)
	case state.Signaled() && !j.ours:
		return fmt.Sprintf("killed by signal %v", state.Signal())
	case state.Exited() && state.ExitStatus() != 0 && full:
		return fmt.Sprintf("it ended (exit status %d) at its limit of memory (%d MiB)", state.ExitStatus(), j.limits.data>>20)
	case state.Exited() && state.ExitStatus() == cannotRun:
		return "the kernel does not run the program"
	case state.Exited():
		return fmt.Sprintf("it ended (exit status %d)", state.ExitStatus())
	}
	return ""
}

// lines reads a file of /proc about the process as "key: value".
func (j *jail) lines(name string) (map[string]string, error) {
	raw, err := os.ReadFile(j.proc(name))
	out := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		out[key] = strings.TrimSpace(value)
	}
	return out, err
}

func (j *jail) proc(name string) string {
	return fmt.Sprintf("/proc/%d/%s", j.cmd.Process.Pid, name)
}
