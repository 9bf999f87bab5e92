package apt

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
)

// job is what a supervisor is to start: apt-get or dpkg, and nothing else. It
// lies in the run's directory, which only root can enter.
type job struct {
	Argv     []string `json:"argv"`
	Env      []string `json:"env"`
	Isolated bool     `json:"isolated"` // in namespaces of its own: mount /proc there
	Network  bool     `json:"network"`  // in the machine's network; else only loopback
}

// exit is how the supervised command ended.
type exit struct {
	Code   int        `json:"code"`   // exit status, 255 when a signal ended it
	Signal int        `json:"signal"` // the signal, or 0
	Ended  int64      `json:"ended"`  // Unix seconds
	Why    canon.Note `json:"why"`    // why it could not be started, or ""
}

// Suffixes of a job's files.
const (
	jobSuffix  = ".job"
	logSuffix  = ".log"
	exitSuffix = ".exit"
)

// lockFD is the descriptor through which the supervisor inherits the lock.
const lockFD = 3

// Supervise runs the job named by its file without ".job" (`patchwrit-agent
// supervise`). It is the parent of apt or dpkg, so that the agent's death does
// not touch them; it holds the lock for as long as they live; and it writes
// down how they ended. Signals do not stop it: a running dpkg is never cut.
func Supervise(name string) error {
	deaf := make(chan os.Signal, 1) // Notify, not Ignore: what is ignored is inherited
	signal.Notify(deaf, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	raw, err := os.ReadFile(name + jobSuffix)
	if err != nil {
		return err
	}
	var j job
	if err := canon.Decode(raw, &j); err != nil {
		return err
	}
	if err := j.allowed(name); err != nil {
		return err
	}
	syscall.CloseOnExec(lockFD)
	e := exit{Code: 255}
	if err := j.prepare(); err != nil {
		e.Why = canon.NoteOf(err.Error())
	} else if e, err = j.run(name + logSuffix); err != nil {
		e.Why = canon.NoteOf(err.Error())
	}
	e.Ended = time.Now().Unix()
	return writeNew(name+exitSuffix, canon.MustEncode(e))
}

// allowed refuses everything but apt-get and dpkg, for a run of the own directory.
func (j job) allowed(name string) error {
	if len(j.Argv) == 0 || !slices.Contains([]string{aptGet, dpkg}, j.Argv[0]) || path.Dir(path.Dir(name)) != runsDir {
		return errors.New("a supervisor starts apt-get and dpkg for a run, and nothing else")
	}
	return nil
}

// prepare furnishes the namespaces the supervisor was started in.
func (j job) prepare() error {
	if j.Isolated {
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
	}
	if !j.Network {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("bring loopback up: %w", err)
		}
	}
	return nil
}

// loopbackUp lets maintainer scripts talk to themselves where they have no
// other network.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// run starts the command with its output in a log file, and waits. As process 1
// of its namespace it also buries everybody's orphans.
func (j job) run(logFile string) (exit, error) {
	failed := exit{Code: 255}
	log, err := os.OpenFile(logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return failed, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return failed, err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(j.Argv[0], j.Argv, &syscall.ProcAttr{
		Dir: "/", Env: j.Env, Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
	})
	if err != nil {
		return failed, fmt.Errorf("start %s: %w", j.Argv[0], err)
	}
	e, err := bury(pid)
	letFinish()
	return e, err
}

// bury waits for the child, and for every orphan that comes this way meanwhile.
func bury(pid int) (exit, error) {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case err == syscall.EINTR || (err == nil && got != pid):
			continue
		case err != nil:
			return exit{Code: 255}, err
		case ws.Signaled():
			return exit{Code: 255, Signal: int(ws.Signal())}, nil
		}
		return exit{Code: ws.ExitStatus()}, nil
	}
}

// letFinish waits while a dpkg that has lost its parent still holds its lock: it
// would die with this namespace.
func letFinish() {
	f, err := os.OpenFile(locks[1], os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	for {
		if pid, err := lockHolder(int(f.Fd())); pid == 0 || err != nil {
			return
		}
		var ws syscall.WaitStatus
		for pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil); pid > 0 && err == nil; {
			pid, err = syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		}
		time.Sleep(pollEvery)
	}
}
