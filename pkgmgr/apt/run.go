package apt

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
)

// pollEvery is how often a log is read for progress, and a lock tried again.
const pollEvery = 200 * time.Millisecond

// Limits of what is read back from a run. A log is read to its last maxLog bytes.
const (
	maxLog  = 4 << 20
	maxExit = 64 << 10
)

// start runs a job under a supervisor: on the running system in a session and,
// where systemd runs, a scope of its own; on a directory in mount, pid, ipc and
// uts namespaces entered by chroot. Nothing ties its life to ours. name is the
// path of the job inside the system, without suffix.
func (o *own) start(name string, argv []string, run string, network bool) (*exec.Cmd, error) {
	j := job{Argv: argv, Env: environment(run), Isolated: !o.sys.running(), Network: network}
	if err := o.write(name+jobSuffix, canon.MustEncode(j)); err != nil {
		return nil, refusal.New(fullOr(err, pkgmgr.CodeDir), "%v", err)
	}
	attr := &syscall.SysProcAttr{Setsid: true}
	if j.Isolated {
		attr.Chroot = o.sys.dir
		attr.Unshareflags = unix.CLONE_NEWNS // makes every mount private first
		attr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	}
	if !network {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	argv = []string{agentBin, "supervise", name}
	if !j.Isolated && underSystemd() {
		argv = append(scope(name), argv...)
	}
	log, err := o.root.OpenFile(o.rel(name+logSuffix), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, refusal.New(fullOr(err, pkgmgr.CodeDir), "%v", err)
	}
	defer log.Close()
	cmd := &exec.Cmd{Path: argv[0], Args: argv, Dir: "/", Env: j.Env, Stderr: log, ExtraFiles: []*os.File{o.lock}, SysProcAttr: attr}
	if err := cmd.Start(); err != nil {
		return nil, refusal.New(pkgmgr.CodeTool, "the supervisor could not be started: %v", err)
	}
	return cmd, nil
}

// systemdRun makes scopes.
const systemdRun = "/usr/bin/systemd-run"

// underSystemd reports whether the running system is one that systemd has
// booted (sd_booted(3)).
func underSystemd() bool {
	_, err := os.Lstat("/run/systemd/system")
	return err == nil
}

// scope is the command line in front of a supervisor's that puts it into a scope
// of its own (systemd.scope(5)): the end of the agent's unit does not reach it,
// and a machine that goes down waits for it, ten minutes at most. SIGCONT says
// nothing to a process that runs.
func scope(name string) []string {
	unit := "patchwrit-" + path.Base(path.Dir(name)) + "-" + path.Base(name) + "-" + rand.Text()[:8] + ".scope"
	return []string{systemdRun, "--scope", "--quiet", "--collect", "--unit=" + unit, "--description=package manager under a writ",
		"--property=KillSignal=SIGCONT", "--property=SendSIGKILL=no", "--property=TimeoutStopSec=10min", "--"}
}

// await waits for a supervisor and passes its log on to progress. When ctx ends
// first, the supervisor goes on alone: CodeRunning.
func (o *own) await(ctx context.Context, cmd *exec.Cmd, name string, progress io.Writer) error {
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t := tail{own: o, path: name + logSuffix, out: progress}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-done: // how it ended is in the exit file, not in the status
			t.follow()
			return nil
		case <-tick.C:
			t.follow()
		case <-ctx.Done():
			return refusal.New(pkgmgr.CodeRunning, "left running: %v", ctx.Err())
		}
	}
}

// rest waits for a supervisor of an earlier agent to let the lock go, and takes
// it.
func (o *own) rest(ctx context.Context, name string, progress io.Writer) error {
	t := tail{own: o, path: name + logSuffix, out: progress}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := o.acquire()
		if refusal.CodeOf(err) != pkgmgr.CodeRunning {
			return err
		}
		t.follow()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// tail passes on what a log has grown by.
type tail struct {
	own  *own
	path string
	out  io.Writer
	at   int64
}

func (t *tail) follow() {
	f, err := t.own.root.Open(t.own.rel(t.path))
	if err != nil {
		return // not there yet
	}
	defer f.Close()
	n, _ := io.Copy(t.out, io.NewSectionReader(f, t.at, maxLog)) // progress is not worth failing for
	t.at += n
}

// ended reads how a job ended; ok is false when its supervisor died before it
// could say.
func (o *own) ended(name string) (e exit, ok bool, err error) {
	raw, err := o.read(name+exitSuffix, maxExit)
	if errors.Is(err, fs.ErrNotExist) {
		return exit{}, false, nil
	}
	if err == nil && canon.Decode(raw, &e) != nil {
		return exit{}, false, nil // cut short by a crash
	}
	return e, err == nil, err
}

// log reads the end of a job's output.
func (o *own) log(name string) string {
	f, err := o.root.Open(o.rel(name + logSuffix))
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > maxLog {
		if _, err := f.Seek(-maxLog, io.SeekEnd); err != nil {
			return ""
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxLog))
	if err != nil {
		return ""
	}
	return string(bytes.ReplaceAll(b, []byte{0}, nil))
}

// lastWords are the last lines of a log, for a person.
func lastWords(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if len(lines) > 5 {
		lines = lines[len(lines)-5:]
	}
	return strings.Join(lines, " | ")
}
