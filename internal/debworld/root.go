package debworld

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// mountSource is the device name that marks our overlays in a list of mounts.
const mountSource = "patchwrit-world"

// Root is one Debian host that is not booted: a directory with a whole system,
// and commands run in it. [Clone], [Copy] and [At] make one; the zero value is
// none.
type Root struct {
	Dir   string // the root directory of the host
	Upper string // what this host changed since it was cloned; empty for a copy

	mu      *sync.Mutex
	running map[*exec.Cmd]bool // started by Run and not yet waited for; guarded by mu
}

// At returns the Root whose system is in dir, for a directory made earlier by
// [Copy].
func At(dir string) Root {
	return Root{Dir: dir, mu: new(sync.Mutex), running: map[*exec.Cmd]bool{}}
}

// Clone makes a host of the base root as an overlay in dir, which it creates:
// dir/root is the system, dir/upper what changed. It costs one mount and a few
// inodes. cleanup kills what runs in the host, unmounts and removes it; call it
// always, twice does no harm.
func Clone(base, dir string) (r Root, cleanup func() error, err error) {
	nothing := func() error { return nil }
	if err := need(true, "unshare"); err != nil {
		return Root{}, nothing, err
	}
	lower, err := realPath(base)
	if err != nil {
		return Root{}, nothing, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Root{}, nothing, err
	}
	if dir, err = realPath(dir); err != nil {
		return Root{}, nothing, err
	}
	if strings.ContainsAny(lower+dir, ":,\\") {
		return Root{}, nothing, fmt.Errorf("an overlay of %s in %s cannot be mounted: a path holds ':', ',' or a backslash; choose another directory", lower, dir)
	}
	r = At(filepath.Join(dir, "root"))
	r.Upper = filepath.Join(dir, "upper")
	work := filepath.Join(dir, "work")
	cleanup = r.cleanup(dir)
	for _, d := range []string{r.Dir, r.Upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return Root{}, nothing, fmt.Errorf("make a host in %s: %w", dir, err)
		}
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, r.Upper, work)
	if err := syscall.Mount(mountSource, r.Dir, "overlay", 0, opts); err != nil {
		missing := Missing{Facts: []string{fmt.Sprintf("no overlay could be mounted in %s (%v); root with CAP_SYS_ADMIN and a directory on ext4, xfs, btrfs or tmpfs are needed (TMPDIR chooses one)", dir, err)}}
		return Root{}, nothing, errors.Join(missing, cleanup())
	}
	if err := r.settle(lower); err != nil {
		return Root{}, nothing, errors.Join(err, cleanup())
	}
	return r, cleanup, nil
}

func (r Root) cleanup(dir string) func() error {
	var once sync.Once
	var result error
	return func() error {
		once.Do(func() {
			result = r.Kill()
			result = errors.Join(result, Unmount(dir), removeTree(dir))
		})
		return result
	}
}

// Copy makes a host of the base root as plain files in dir, which must not
// exist, for hosts that have to stay: about as large as the base root unless
// the file system shares blocks. Remove it with [Remove].
func Copy(ctx context.Context, base, dir string) (Root, error) {
	if err := need(true, "cp", "unshare"); err != nil {
		return Root{}, err
	}
	base, err := realPath(base)
	if err != nil {
		return Root{}, err
	}
	if _, err := os.Lstat(dir); err == nil {
		return Root{}, fmt.Errorf("%s is there already; remove it first", dir)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return Root{}, err
	}
	out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", "--", base, dir).CombinedOutput()
	if err != nil {
		return Root{}, errors.Join(fmt.Errorf("copy the base root to %s: %w: %s", dir, err, bytes.TrimSpace(out)), removeTree(dir))
	}
	r := At(dir)
	return r, r.settle(base)
}

// Remove kills what runs in the host at dir, unmounts what is mounted below and
// removes the directory. It is no error when dir does not exist.
func Remove(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return errors.Join(At(dir).Kill(), Unmount(dir), removeTree(dir))
}

// settle gives the host the machine's resolver, if it changed since the base
// root was built.
func (r Root) settle(base string) error {
	ours, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return nil // no resolver on the machine: none in the host
	}
	if was, err := os.ReadFile(filepath.Join(base, "etc/resolv.conf")); err == nil && bytes.Equal(was, ours) {
		return nil
	}
	return r.Write("etc/resolv.conf", ours, 0o644)
}

// Changed lists what the host changed since it was cloned, as sorted absolute
// paths: files and links that were written, and those removed. Directories are
// left out. It is an error for a copy, which remembers nothing.
func (r Root) Changed() ([]string, error) {
	if r.Upper == "" {
		return nil, fmt.Errorf("%s is a copy, not an overlay: it does not know what changed", r.Dir)
	}
	var paths []string
	err := filepath.WalkDir(r.Upper, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, strings.TrimPrefix(path, r.Upper))
		}
		return err
	})
	return paths, err
}

// Write puts a file into the host, with its directories. path is relative to
// the root of the host.
func (r Root) Write(path string, content []byte, mode os.FileMode) error {
	full := filepath.Join(r.Dir, filepath.Clean("/"+path))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(full, content, mode); err != nil {
		return err
	}
	return os.Chmod(full, mode)
}

// Result is how a command in a host ended.
type Result struct {
	Code           int // exit status; -1 when a signal ended it
	Stdout, Stderr string
}

// Command prepares argv to run inside the host, as root, in mount, pid, ipc and
// uts namespaces of its own, with /proc mounted and a clean environment. The
// command is process 1 there: when it dies, everything it started dies. No
// shell is involved. The caller may add to SysProcAttr (CLONE_NEWNET takes the
// network away), Env and the standard streams before it starts the command.
func (r Root) Command(ctx context.Context, argv ...string) *exec.Cmd {
	args := append([]string{"--mount-proc", "--root=" + r.Dir, "--wd=/", "--"}, argv...)
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.Env = commandEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Unshareflags: syscall.CLONE_NEWNS, // makes all mounts private: nothing gets back to the machine
		Pdeathsig:    syscall.SIGKILL,
	}
	cmd.WaitDelay = 10 * time.Second // the pipes close with the namespace; a bound all the same
	return cmd
}

// Run runs argv inside the host (see [Root.Command]) and waits for it. A
// non-zero exit status is an error that carries the end of what it printed; the
// Result is there either way.
func (r Root) Run(ctx context.Context, argv ...string) (Result, error) {
	var stdout, stderr bytes.Buffer
	cmd := r.Command(ctx, argv...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := r.run(cmd)
	res := Result{Code: -1, Stdout: stdout.String(), Stderr: stderr.String()}
	if cmd.ProcessState != nil {
		res.Code = cmd.ProcessState.ExitCode()
	}
	if err != nil {
		var tail tailBuffer
		tail.Write(stdout.Bytes())
		tail.Write(stderr.Bytes())
		return res, fmt.Errorf("in the host %s: %s: %w\n%s", r.Dir, strings.Join(argv, " "), err, tail.String())
	}
	return res, nil
}

// run starts and waits on one locked thread, because the parent-death signal
// follows the thread that started the child.
func (r Root) run(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r.mu.Lock()
	err := cmd.Start()
	if err == nil {
		r.running[cmd] = true
	}
	r.mu.Unlock()
	if errors.Is(err, syscall.EPERM) {
		return Missing{Facts: []string{fmt.Sprintf("this process may not make namespaces (%v)", err)}}
	}
	if err != nil {
		return err
	}
	err = cmd.Wait()
	r.mu.Lock()
	delete(r.running, cmd)
	r.mu.Unlock()
	return err
}

// Kill ends everything in the host at once, with SIGKILL, as a power loss would:
// what Run started and every other process whose root directory is this host's.
// A process that works on the host from outside is not found.
func (r Root) Kill() error {
	r.mu.Lock()
	for cmd := range r.running {
		cmd.Process.Kill()
	}
	r.mu.Unlock()
	for range killRounds {
		pids, err := r.processes()
		if err != nil || len(pids) == 0 {
			return err
		}
		if slices.Contains(pids, os.Getpid()) || slices.Contains(pids, 1) {
			return fmt.Errorf("this process itself runs in %s; nothing is killed", r.Dir)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
				return fmt.Errorf("kill %d in the host %s: %w", pid, r.Dir, err)
			}
		}
		// Dying takes the kernel a moment; /proc is the only witness.
		time.Sleep(killPause)
	}
	return fmt.Errorf("processes in the host %s do not end", r.Dir)
}

// Kill looks every killPause, at most killRounds times: ten seconds, far more
// than a process needs to die unless it waits for a broken disk.
const (
	killRounds = 1000
	killPause  = 10 * time.Millisecond
)

// processes finds the live processes whose root directory is the host's. It
// refuses to list the machine's own: what it returns is going to be killed.
func (r Root) processes() ([]int, error) {
	root, err := os.Stat(r.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if machine, err := os.Stat("/"); err != nil || os.SameFile(root, machine) {
		return nil, fmt.Errorf("%s is the machine itself, not a host", r.Dir)
	}
	links, err := filepath.Glob("/proc/[0-9]*/root")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, link := range links {
		// A zombie has no root any more, so it does not count.
		if its, err := os.Stat(link); err == nil && os.SameFile(its, root) {
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// commandEnv is the environment of every command: fixed, plus the machine's
// proxies, without which no mirror may be reachable.
func commandEnv() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb", "DEBIAN_FRONTEND=noninteractive",
	}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}
