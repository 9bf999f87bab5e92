package box

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stageName is the name under which this very binary is started to become a box.
const stageName = "patchwrit-advice-box"

// Descriptors of the stage, behind three of /dev/null.
const (
	sockFD = 3
	progFD = 4
)

// What the stage says first, with the filter's listener or with a sentence.
const (
	ready  = 'R'
	failed = 'F'
)

// cannotRun is the stage's exit code when the kernel refuses the program.
const cannotRun = 126

func staged() bool { return len(os.Args) > 0 && os.Args[0] == stageName }

// The thread that locks itself in is the one that becomes the program: the first.
func init() {
	if staged() {
		runtime.LockOSThread()
	}
}

// Stage makes a box of this process, and of it the advisor, if a Box has started
// it for that, and never returns then. Call it first of all in main.
func Stage() {
	if staged() {
		enter(steps, allowed(), unix.SECCOMP_RET_USER_NOTIF)
	}
}

// step is one thing that is given away for good. It gives a word about what
// there was to do it with.
type step struct {
	name string
	do   func() (string, error)
}

// steps are taken in this order; the filter is the last thing, since what is
// left to do then is one call.
var steps = []step{
	{"parent-death signal", dieWithParent},
	{"empty root", emptyRoot},
	{"host name", func() (string, error) { return "", unix.Sethostname([]byte("advisor")) }},
	{"descriptors", func() (string, error) { return "", unix.CloseRange(progFD, ^uint(0)>>33, unix.CLOSE_RANGE_CLOEXEC) }},
	{"capabilities", dropCapabilities},
	{"no new privileges", func() (string, error) { return "", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }},
	{"landlock", landlock},
}

// enter takes the steps, then hands the listener of the filter to the parent and
// asks to be the program. The parent looks at this process while it waits for that.
func enter(steps []step, rules []rule, rest uint32) {
	debug.SetGCPercent(-1)
	said := ""
	for _, s := range steps {
		word, err := s.do()
		if err != nil {
			fail(s.name, err)
		}
		if word != "" {
			said += word
		}
	}
	code, err := program(rules, rest)
	if err != nil {
		fail("seccomp", err)
	}
	listener := make(chan *atomic.Int64)
	go hand(listener, said)
	l := <-listener
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	argv, envp, empty := [2]*byte{&[]byte("patchwrit-advisor\x00")[0], nil}, [1]*byte{nil}, []byte{0}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		fail("seccomp", errno)
	}
	l.Store(int64(fd))
	for {
		_, _, errno = unix.Syscall6(unix.SYS_EXECVEAT, progFD, uintptr(unsafe.Pointer(&empty[0])), uintptr(unsafe.Pointer(&argv)), uintptr(unsafe.Pointer(&envp)), unix.AT_EMPTY_PATH, 0)
		if errno != unix.EINTR && errno != unix.EAGAIN {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, cannotRun, 0, 0)
		}
	}
}

// hand sends the listener to the parent from a thread that has no filter, which
// ends with the exec like every other.
func hand(to chan<- *atomic.Int64, said string) {
	runtime.LockOSThread()
	var fd atomic.Int64
	fd.Store(-1)
	to <- &fd
	for fd.Load() < 0 {
		unix.Nanosleep(&unix.Timespec{Nsec: 100_000}, nil) // the other thread may make no call that would wake this one
	}
	if err := unix.Sendmsg(sockFD, append([]byte{ready}, said...), unix.UnixRights(int(fd.Load())), nil, 0); err != nil {
		os.Exit(1)
	}
	select {}
}

// fail says what could not be given away, and ends.
func fail(what string, err error) {
	unix.Write(sockFD, fmt.Appendf([]byte{failed}, "%s: %v", what, err))
	os.Exit(1)
}

func dieWithParent() (string, error) {
	if unix.Gettid() != unix.Getpid() {
		return "", errors.New("this is not the first thread")
	}
	return "", unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}

// emptyRoot makes an empty file system that nobody can write the root, and the
// only one there is.
func emptyRoot() (string, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("making mounts private: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("none", "/proc", "tmpfs", flags, "size=4k,nr_inodes=2,mode=0555"); err != nil {
		return "", fmt.Errorf("mounting: %w", err)
	}
	if err := unix.Chdir("/proc"); err != nil {
		return "", err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return "", fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return "", fmt.Errorf("unmounting the old root: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY|flags, "size=4k,nr_inodes=2,mode=0555"); err != nil {
		return "", fmt.Errorf("making it read-only: %w", err)
	}
	return "", unix.Chdir("/")
}

// dropCapabilities gives all of them away, in every set, and locks the bits by
// which user 0 would get them back.
func dropCapabilities() (string, error) {
	for c := range uintptr(64) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err == unix.EINVAL {
			break // the kernel has no such capability, nor a higher one
		} else if err != nil {
			return "", fmt.Errorf("bounding set: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return "", fmt.Errorf("ambient set: %w", err)
	}
	// SECBIT_NOROOT, _NO_SETUID_FIXUP, _NO_CAP_AMBIENT_RAISE, and the locks of these
	// and of _KEEP_CAPS (linux/securebits.h).
	const bits = 1 | 1<<1 | 1<<2 | 1<<3 | 1<<5 | 1<<6 | 1<<7
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, bits, 0, 0, 0); err != nil {
		return "", fmt.Errorf("securebits: %w", err)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	none := [2]unix.CapUserData{}
	return "", unix.Capset(&head, &none[0])
}

// Rights on files by the version of Landlock's interface that brought them
// (landlock(7)): the first has 13, each of these one more.
var landlockFS = []int64{2, 3, 5, 9}

// landlock forbids every right that this kernel's Landlock knows, without
// exception, and tries whether it is so.
func landlock() (string, error) {
	abi, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return "", fmt.Errorf("this kernel has none, or has it switched off: %w", errno)
	}
	rules := unix.LandlockRulesetAttr{Handled_access_fs: 1<<13 - 1}
	for i, since := range landlockFS {
		if int64(abi) >= since {
			rules.Handled_access_fs |= 1 << (13 + i)
		}
	}
	if abi >= 4 {
		rules.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 6 {
		rules.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&rules)), unsafe.Sizeof(rules), 0)
	if errno != 0 {
		return "", fmt.Errorf("ruleset: %w", errno)
	}
	if _, _, errno = unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return "", fmt.Errorf("restricting: %w", errno)
	}
	unix.Close(int(fd))
	if fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != unix.EACCES {
		return "", fmt.Errorf("the root still opens: %d, %v", fd, err)
	}
	return fmt.Sprintf("landlock %d", abi), nil
}
