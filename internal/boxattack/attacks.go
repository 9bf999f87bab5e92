package main

import (
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attacks by name.
var attacks = map[string]func(target) string{
	"connect-tcp":      func(t target) string { return connect(unix.AF_INET, unix.SOCK_STREAM, local(t.Port)) },
	"connect-metadata": func(target) string { return connect(unix.AF_INET, unix.SOCK_STREAM, metadata) },
	"connect-tcp6": func(t target) string {
		return connect(unix.AF_INET6, unix.SOCK_STREAM, &unix.SockaddrInet6{Port: t.Port, Addr: [16]byte{15: 1}})
	},
	"send-udp": func(t target) string { return connect(unix.AF_INET, unix.SOCK_DGRAM, local(t.Port)) },
	"connect-unix": func(t target) string {
		return connect(unix.AF_UNIX, unix.SOCK_STREAM, &unix.SockaddrUnix{Name: t.Socket})
	},
	"connect-abstract": func(t target) string {
		return connect(unix.AF_UNIX, unix.SOCK_STREAM, &unix.SockaddrUnix{Name: fmt.Sprintf("@patchwrit-boxattack-%d", t.PID)})
	},
	"socket-netlink": func(target) string { return socket(unix.AF_NETLINK, unix.SOCK_RAW) },
	"socket-raw":     func(target) string { return socket(unix.AF_INET, unix.SOCK_RAW) },
	"socket-packet":  func(target) string { return socket(unix.AF_PACKET, unix.SOCK_RAW) },
	"socket-vsock":   func(target) string { return socket(unix.AF_VSOCK, unix.SOCK_STREAM) },
	"socket-alg":     func(target) string { return socket(unix.AF_ALG, unix.SOCK_SEQPACKET) },

	"open-passwd":  func(target) string { return tell(readFile("/etc/passwd")) },
	"open-environ": func(target) string { return tell(readFile("/proc/1/environ")) },
	"open-parent":  func(t target) string { return tell(readFile(fmt.Sprintf("/proc/%d/environ", t.PID))) },
	"open-key":     func(t target) string { return tell(readFile(t.Path)) },
	"open-devmem":  func(target) string { return tell(readFile("/dev/mem")) },
	"open-root": func(target) string {
		_, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		return tell("the root", err)
	},
	"create-file": func(target) string {
		_, err := unix.Open("/x", unix.O_CREAT|unix.O_RDWR, 0o600)
		return tell("a file", err)
	},
	"make-device": func(target) string { return tell("a device", unix.Mknod("/m", unix.S_IFCHR|0o600, 0x101)) },
	"descriptors": descriptors,

	"exec-shell":     func(target) string { return tell("", unix.Exec("/bin/sh", []string{"sh", "-c", "id"}, nil)) },
	"exec-memfd":     execMemfd,
	"fork":           func(target) string { _, err := fork(); return tell("a process", err) },
	"fork-bomb":      forkBomb,
	"thread-bomb":    threadBomb,
	"memory-bomb":    memoryBomb,
	"reserve-memory": reserve,
	"shared-memory": func(target) string {
		_, err := unix.Mmap(-1, 0, 1<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
		return tell("1 GiB", err)
	},
	"exec-memory": func(target) string {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
		return tell("a page", err)
	},
	"spin": func(target) string {
		for {
			runtime.Gosched()
		}
	},
	"sleep": func(target) string { time.Sleep(time.Hour); return "slept" },

	"ptrace-parent": func(t target) string { return tell("attached", unix.PtraceAttach(t.PID)) },
	"read-parent":   readParent,
	"kill-parent":   func(t target) string { return tell("sent", unix.Kill(t.PID, unix.SIGCONT)) },
	"kill-all":      func(t target) string { return tell("sent", unix.Kill(-1, unix.SIGCONT)) },
	"pidfd-parent":  func(t target) string { _, err := unix.PidfdOpen(t.PID, 0); return tell("opened", err) },

	"io-uring": func(target) string { return raw(unix.SYS_IO_URING_SETUP, 8, uintptr(unsafe.Pointer(&[120]byte{})), 0) },
	"bpf": func(target) string {
		return raw(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&[128]byte{0: 2, 4: 4, 8: 8, 12: 1})), 128)
	},
	"keyctl": func(target) string {
		_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true)
		return tell("a keyring", err)
	},
	"mount":        func(target) string { return tell("mounted", unix.Mount("none", "/", "tmpfs", 0, "")) },
	"chroot":       func(target) string { return tell("changed", unix.Chroot("/")) },
	"unshare":      func(target) string { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWNET, 0, 0) },
	"unshare-user": func(target) string { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0) },
	"setns":        func(target) string { return tell("entered", unix.Setns(0, 0)) },
	"prctl":        func(target) string { return tell("set", unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)) },
	"raise-limit": func(target) string {
		l := unix.Rlimit{Cur: 1 << 40, Max: 1 << 40}
		return tell("raised", unix.Prlimit(0, unix.RLIMIT_DATA, &l, nil))
	},
	"ioctl": func(target) string { _, err := unix.IoctlGetTermios(0, unix.TCGETS); return tell("a terminal", err) },
	"perf": func(target) string {
		_, err := unix.PerfEventOpen(&unix.PerfEventAttr{}, 0, -1, -1, 0)
		return tell("opened", err)
	},
	"userfault": func(target) string { return raw(unix.SYS_USERFAULTFD, 0, 0, 0) },
	"x32-call":  func(target) string { return raw(unix.SYS_GETPID|0x40000000, 0, 0, 0) },
	"i386-call": func(target) string { return old386() },
	"undefined": func(target) string { return raw(1000, 0, 0, 0) },
}

var metadata = &unix.SockaddrInet4{Port: 80, Addr: [4]byte{169, 254, 169, 254}}

func local(port int) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

func socket(family, kind int) string {
	protocol := 0
	if family == unix.AF_INET {
		protocol = unix.IPPROTO_ICMP
	}
	_, err := unix.Socket(family, kind, protocol)
	return tell("a socket", err)
}

func connect(family, kind int, to unix.Sockaddr) string {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(fd, to)
	}
	return tell("connected", err)
}

func raw(nr, a, b, c uintptr) string {
	_, _, errno := unix.RawSyscall(nr, a, b, c)
	if errno != 0 {
		return tell("", errno)
	}
	return tell("no error", nil)
}

func descriptors(target) string {
	open := []int{}
	for fd := range 4096 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			open = append(open, fd)
		}
	}
	return list(open)
}

func execMemfd(target) string {
	fd, err := unix.MemfdCreate("x", 0)
	if err != nil {
		return tell("", err)
	}
	unix.Write(fd, []byte("#!/bin/sh\n"))
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&[]byte{0}[0])), 0, 0, unix.AT_EMPTY_PATH, 0)
	return tell("", errno)
}

// fork makes a process that sleeps until it is killed.
func fork() (int, error) {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	if pid == 0 {
		for {
			unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&hour)), 0, 0)
		}
	}
	return int(pid), nil
}

var hour = unix.Timespec{Sec: 3600}

func forkBomb(target) string {
	runtime.LockOSThread()
	for n := range 4096 {
		if _, err := fork(); err != nil {
			return tell("", fmt.Errorf("after %d processes: %w", n, err))
		}
	}
	return tell("4096 processes", nil)
}

func threadBomb(target) string {
	for range 4096 {
		go func() {
			runtime.LockOSThread()
			unix.Nanosleep(&hour, nil)
		}()
	}
	time.Sleep(time.Hour)
	return "slept"
}

func memoryBomb(target) string {
	held := [][]byte{}
	for range 4096 {
		b := make([]byte, 1<<22)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		held = append(held, b)
	}
	return tell(fmt.Sprintf("%d MiB", len(held)*4), nil)
}

func reserve(target) string {
	for n := range 64 {
		if _, err := unix.Mmap(-1, 0, 1<<28, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE); err != nil {
			return tell("", fmt.Errorf("after %d MiB: %w", n<<8, err))
		}
	}
	return tell("16 GiB", nil)
}

func readParent(t target) string {
	b := make([]byte, 16)
	l := []unix.Iovec{{Base: &b[0]}}
	l[0].SetLen(len(b))
	_, err := unix.ProcessVMReadv(t.PID, l, []unix.RemoteIovec{{Base: 0x400000, Len: len(b)}}, 0)
	return tell("read", err)
}
