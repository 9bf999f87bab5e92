package box

import (
	"fmt"
	"math"
	"runtime"

	"golang.org/x/sys/unix"
)

// rule allows one system call, if all its conditions hold.
type rule struct {
	nr   uint32
	when []condition
}

// condition holds when the low half of argument arg, masked, is value. The high
// half of what is asked about here has no meaning for the kernel.
type condition struct {
	arg         int
	mask, value uint32
}

const threadFlags = unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND

// allowed is what a Go program needs that reads and writes descriptors it has:
// its own memory (private, never executable), its own threads, waiting, time,
// signals to itself, random bytes, and an end. Everything else stops the caller
// until the broker has seen which call it was: see jail.watch.
func allowed() []rule {
	own := []condition{{3, unix.MAP_SHARED, 0}, {2, unix.PROT_EXEC, 0}}
	rules := []rule{
		{unix.SYS_READ, nil}, {unix.SYS_WRITE, nil}, {unix.SYS_CLOSE, nil},
		{unix.SYS_MMAP, own}, {unix.SYS_MPROTECT, own[1:]}, {unix.SYS_MUNMAP, nil}, {unix.SYS_MADVISE, nil},
		{unix.SYS_CLONE, []condition{{0, threadFlags, threadFlags}}},
		{unix.SYS_FUTEX, nil}, {unix.SYS_NANOSLEEP, nil}, {unix.SYS_CLOCK_NANOSLEEP, nil}, {unix.SYS_CLOCK_GETTIME, nil}, {unix.SYS_SCHED_YIELD, nil}, {unix.SYS_SCHED_GETAFFINITY, nil},
		{unix.SYS_RT_SIGACTION, nil}, {unix.SYS_RT_SIGPROCMASK, nil}, {unix.SYS_RT_SIGRETURN, nil}, {unix.SYS_SIGALTSTACK, nil},
		{unix.SYS_GETPID, nil}, {unix.SYS_GETTID, nil}, {unix.SYS_TGKILL, nil}, // of its own process: there is no other to be seen
		{unix.SYS_FCNTL, []condition{{1, math.MaxUint32, unix.F_GETFD}}}, {unix.SYS_FCNTL, []condition{{1, math.MaxUint32, unix.F_GETFL}}},
		{unix.SYS_EPOLL_CREATE1, nil}, {unix.SYS_EPOLL_CTL, nil}, {unix.SYS_EPOLL_PWAIT, nil}, {unix.SYS_EVENTFD2, nil}, // timers
		{unix.SYS_PRCTL, []condition{{0, math.MaxUint32, unix.PR_SET_VMA}}}, // a name for its own memory
		{unix.SYS_GETRANDOM, nil}, {unix.SYS_EXIT, nil}, {unix.SYS_EXIT_GROUP, nil}, {unix.SYS_RESTART_SYSCALL, nil},
	}
	if runtime.GOARCH == "amd64" {
		rules = append(rules, rule{sysArchPrctl, nil}) // the register of thread-local storage
	}
	return rules
}

// sysArchPrctl is the number on x86-64; other machines have no such call.
const sysArchPrctl = 158

// architectures that the numbers above are of (linux/audit.h).
var architectures = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// program is the filter: another architecture's calls kill, rules allow, and the
// rest is notified.
func program(rules []rule, rest uint32) ([]unix.SockFilter, error) {
	arch, known := architectures[runtime.GOARCH]
	if !known {
		return nil, fmt.Errorf("there is no filter for %s", runtime.GOARCH)
	}
	const load, equal, and, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	// struct seccomp_data: nr, arch, instruction pointer, six arguments of 64 bits (seccomp(2)).
	p := []unix.SockFilter{{Code: load, K: 4}, {Code: equal, Jt: 1, K: arch}, {Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS}}
	for _, r := range rules {
		length := uint8(3*len(r.when) + 1) // of what follows the comparison of the number
		p = append(p, unix.SockFilter{Code: load, K: 0}, unix.SockFilter{Code: equal, Jf: length, K: r.nr})
		for i, c := range r.when {
			left := uint8(3*(len(r.when)-i-1) + 1)
			p = append(p, unix.SockFilter{Code: load, K: uint32(16 + 8*c.arg)}, unix.SockFilter{Code: and, K: c.mask}, unix.SockFilter{Code: equal, Jf: left, K: c.value})
		}
		p = append(p, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	}
	return append(p, unix.SockFilter{Code: ret, K: rest}), nil
}

// names of calls that somebody who wants out may try, for the report.
var names = map[int32]string{
	unix.SYS_OPENAT: "openat", unix.SYS_OPENAT2: "openat2", unix.SYS_READLINKAT: "readlinkat", unix.SYS_EXECVE: "execve", unix.SYS_EXECVEAT: "execveat",
	unix.SYS_SOCKET: "socket", unix.SYS_SOCKETPAIR: "socketpair", unix.SYS_CONNECT: "connect", unix.SYS_BIND: "bind", unix.SYS_LISTEN: "listen", unix.SYS_ACCEPT4: "accept4",
	unix.SYS_SENDTO: "sendto", unix.SYS_SENDMSG: "sendmsg", unix.SYS_RECVMSG: "recvmsg", unix.SYS_PTRACE: "ptrace", unix.SYS_PROCESS_VM_READV: "process_vm_readv", unix.SYS_PROCESS_VM_WRITEV: "process_vm_writev",
	unix.SYS_KILL: "kill", unix.SYS_TKILL: "tkill", unix.SYS_PIDFD_OPEN: "pidfd_open", unix.SYS_PIDFD_GETFD: "pidfd_getfd", unix.SYS_PIDFD_SEND_SIGNAL: "pidfd_send_signal",
	unix.SYS_CLONE: "clone (a new process)", unix.SYS_CLONE3: "clone3", unix.SYS_MMAP: "mmap (shared or executable)", unix.SYS_MPROTECT: "mprotect (executable)", unix.SYS_MREMAP: "mremap", unix.SYS_BRK: "brk",
	unix.SYS_MEMFD_CREATE: "memfd_create", unix.SYS_MEMFD_SECRET: "memfd_secret", unix.SYS_USERFAULTFD: "userfaultfd", unix.SYS_IO_URING_SETUP: "io_uring_setup", unix.SYS_BPF: "bpf", unix.SYS_PERF_EVENT_OPEN: "perf_event_open",
	unix.SYS_KEYCTL: "keyctl", unix.SYS_ADD_KEY: "add_key", unix.SYS_REQUEST_KEY: "request_key", unix.SYS_MOUNT: "mount", unix.SYS_UMOUNT2: "umount2", unix.SYS_PIVOT_ROOT: "pivot_root", unix.SYS_CHROOT: "chroot",
	unix.SYS_FSOPEN: "fsopen", unix.SYS_OPEN_TREE: "open_tree", unix.SYS_MOVE_MOUNT: "move_mount", unix.SYS_UNSHARE: "unshare", unix.SYS_SETNS: "setns", unix.SYS_PRCTL: "prctl", unix.SYS_PRLIMIT64: "prlimit64",
	unix.SYS_SECCOMP: "seccomp", unix.SYS_IOCTL: "ioctl", unix.SYS_FCNTL: "fcntl", unix.SYS_DUP: "dup", unix.SYS_DUP3: "dup3", unix.SYS_PIPE2: "pipe2", unix.SYS_EVENTFD2: "eventfd2", unix.SYS_EPOLL_CREATE1: "epoll_create1",
	unix.SYS_UNAME: "uname", unix.SYS_GETDENTS64: "getdents64", unix.SYS_STATFS: "statfs", unix.SYS_UNLINKAT: "unlinkat", unix.SYS_MKNODAT: "mknodat", unix.SYS_MKDIRAT: "mkdirat", unix.SYS_SETUID: "setuid", unix.SYS_CAPSET: "capset",
	unix.SYS_INIT_MODULE: "init_module", unix.SYS_KEXEC_LOAD: "kexec_load", unix.SYS_REBOOT: "reboot", unix.SYS_NAME_TO_HANDLE_AT: "name_to_handle_at", unix.SYS_OPEN_BY_HANDLE_AT: "open_by_handle_at",
	unix.SYS_SCHED_SETSCHEDULER: "sched_setscheduler", unix.SYS_SETPRIORITY: "setpriority", unix.SYS_SHMGET: "shmget", unix.SYS_MSGGET: "msgget", unix.SYS_SEMGET: "semget", unix.SYS_MQ_OPEN: "mq_open",
}

// old are calls that x86-64 alone has.
var old = map[int32]string{2: "open", 4: "stat", 21: "access", 33: "dup2", 57: "fork", 58: "vfork", 89: "readlink"}

var families = map[uint64]string{unix.AF_UNIX: "AF_UNIX", unix.AF_INET: "AF_INET", unix.AF_INET6: "AF_INET6", unix.AF_NETLINK: "AF_NETLINK", unix.AF_PACKET: "AF_PACKET", unix.AF_VSOCK: "AF_VSOCK", unix.AF_ALG: "AF_ALG"}

// nameOf names a call.
func nameOf(nr int32, first uint64) string {
	name := names[nr]
	if runtime.GOARCH == "amd64" && name == "" {
		name = old[nr]
	}
	switch {
	case name == "":
		return fmt.Sprintf("system call %d", nr)
	case nr == unix.SYS_SOCKET && families[first] != "":
		return fmt.Sprintf("socket(%s)", families[first])
	}
	return name
}
