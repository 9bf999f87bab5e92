package box

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stopped are rules that let every call through but one.
func stopped(nr uint32, but ...condition) (rules []rule) {
	for n := range uint32(500) {
		if n != nr {
			rules = append(rules, rule{n, nil})
		}
	}
	if len(but) > 0 {
		rules = append(rules, rule{nr, but})
	}
	return rules
}

// filtered does something on a thread of its own behind a filter, and ends the
// thread. It gives the filter's listener, if it has one.
func filtered(t *testing.T, rules []rule, rest, flags uint32, do func()) (listener int, over chan struct{}) {
	t.Helper()
	p, err := program(rules, rest)
	if err != nil {
		t.Skip(err)
	}
	over = make(chan struct{})
	made := make(chan int)
	var run func()
	run = func() {
		runtime.LockOSThread() // not unlocked below: the thread ends
		if unix.Gettid() == unix.Getpid() {
			other := make(chan bool) // the first thread never ends
			go func() { defer close(other); run() }()
			<-other
			runtime.UnlockOSThread()
			return
		}
		defer close(over)
		prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Error(err)
		}
		fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&prog)))
		if errno != 0 {
			t.Error(errno)
		}
		made <- int(fd)
		do()
	}
	go run()
	return <-made, over
}

// TestACallBeforeTheProgramIsNamed: what the stage may do is one call, and another
// is no reason to go on; an answer to a call that nobody makes is an error; when
// nobody is left who could call, that is said.
func TestACallBeforeTheProgramIsNamed(t *testing.T) {
	needs(t)
	// Not a raw call: a collection of garbage would wait for it, and all that could answer it for the collection.
	fd, over := filtered(t, stopped(unix.SYS_GETPRIORITY), unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, func() { unix.Syscall(unix.SYS_GETPRIORITY, 0, 0, 0) })
	defer unix.Close(fd)
	j := &jail{listener: fd, gone: make(chan struct{})}
	late := time.AfterFunc(5*time.Second, func() { close(j.gone) })
	n, err := j.next(unix.SYS_EXECVEAT)
	if late.Stop(); err == nil || !strings.Contains(err.Error(), "before it was asked anything") {
		t.Fatalf("%+v %v", n, err)
	}
	if err := j.answer(n.id+1, 0, 0); !errors.Is(err, unix.ENOENT) {
		t.Errorf("an answer to nobody: %v", err)
	}
	if err := j.answer(n.id, 0, 0); err != nil {
		t.Fatal(err)
	}
	<-over
	ended := make(chan error)
	go func() {
		for {
			if _, _, err := j.receive(); err != nil {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("it waits for nobody")
	}
}

// TestLandlockThatIsNotThereIsSaid puts a kernel before the stage that has none, that
// makes no rules, that does not keep to them, or only says that it does.
func TestLandlockThatIsNotThereIsSaid(t *testing.T) {
	needs(t)
	version := condition{2, math.MaxUint32, unix.LANDLOCK_CREATE_RULESET_VERSION}
	denied := uint32(unix.SECCOMP_RET_ERRNO | uint32(unix.EOPNOTSUPP))
	for want, x := range map[string]struct {
		rules []rule
		rest  uint32
	}{"this kernel has none": {stopped(unix.SYS_LANDLOCK_CREATE_RULESET), denied}, "ruleset": {stopped(unix.SYS_LANDLOCK_CREATE_RULESET, version), denied},
		"restricting": {stopped(unix.SYS_LANDLOCK_RESTRICT_SELF), denied}, "the root still opens": {stopped(unix.SYS_LANDLOCK_RESTRICT_SELF), unix.SECCOMP_RET_ERRNO}} {
		_, over := filtered(t, x.rules, x.rest, 0, func() {
			if word, err := landlock(); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s: %q %v", want, word, err)
			}
		})
		<-over
	}
}

// TestOnlyTheFirstThreadBecomesTheProgram: two at once are not both the first.
func TestOnlyTheFirstThreadBecomesTheProgram(t *testing.T) {
	said, leave := make(chan error), make(chan bool)
	defer close(leave)
	for range 2 {
		go func() {
			runtime.LockOSThread()
			err := error(nil)
			if unix.Gettid() != unix.Getpid() {
				if _, err = dieWithParent(); err == nil {
					err = errors.New("another thread is taken for the first")
				} else {
					err = nil
				}
			}
			said <- err
			<-leave
		}()
	}
	for range 2 {
		if err := <-said; err != nil {
			t.Error(err)
		}
	}
}

// TestNoFilterForAnUnknownMachine: the numbers of calls are of one architecture.
func TestNoFilterForAnUnknownMachine(t *testing.T) {
	was, known := architectures[runtime.GOARCH]
	if !known {
		t.Skip("this is one")
	}
	defer func() { architectures[runtime.GOARCH] = was }()
	delete(architectures, runtime.GOARCH)
	if p, err := program(allowed(), unix.SECCOMP_RET_USER_NOTIF); err == nil {
		t.Errorf("a filter of %d instructions", len(p))
	}
}

// TestAStageThatSaysNothingIsNotWaitedFor for ever.
func TestAStageThatSaysNothingIsNotWaitedFor(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	j := &jail{conn: os.NewFile(uintptr(pair[0]), "advisor"), limits: bounds{start: 10 * time.Millisecond}}
	defer j.conn.Close()
	if word, err := j.listen(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q %v", word, err)
	}
}

// TestAGroupThatCannotBeMadeIsNone, and a setting that is not there is told as such.
func TestAGroupThatCannotBeMadeIsNone(t *testing.T) {
	g := cgroup{name: "g"}
	if g.make("/nowhere", nil) || g.dirs != nil {
		t.Errorf("%v", g.dirs)
	}
	if err := write(filepath.Join(t.TempDir(), "memory.swap.max"), "0"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestAProgramThatIsTooLongIsNone: part of it would be sealed and run.
func TestAProgramThatIsTooLongIsNone(t *testing.T) {
	raw, err := os.ReadFile(programs(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), Program)
	if err := errors.Join(os.WriteFile(path, raw, 0o755), os.Truncate(path, maxProgram+1)); err != nil {
		t.Fatal(err)
	}
	if got, err := readProgram(path); err == nil {
		t.Errorf("%d bytes of %d", len(got), maxProgram+1)
	}
}
