package box

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/advisor/pipe"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/raced"
)

// permissive as an argument of the stage has the filter stop nothing but the one
// exec, so that what the other layers deny can be seen; "-name" leaves a step out.
const permissive = "permissive"

func TestMain(m *testing.M) {
	if staged() && len(os.Args) > 1 {
		rules := allowed()
		if slices.Contains(os.Args, permissive) {
			rules = nil
			for nr := range uint32(500) {
				if nr != unix.SYS_EXECVEAT {
					rules = append(rules, rule{nr, nil})
				}
			}
		}
		enter(slices.DeleteFunc(steps, func(s step) bool { return slices.Contains(os.Args, "-"+s.name) }), rules, unix.SECCOMP_RET_USER_NOTIF)
	}
	Stage()
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// built is the directory that build made, for its end.
var built string

// needs skips where the kernel, or whoever confines this test, has no sandbox to
// give; which feature it is stands in the reason. That is found out without the
// box, so that a box that is broken never passes for a kernel that lacks something.
func needs(t *testing.T) {
	t.Helper()
	if what := lacking(); what != "" {
		t.Skipf("NO SANDBOX HERE, and none was tested: this machine has no %s", what)
	}
}

var lacking = sync.OnceValue(func() string {
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 {
		return fmt.Sprintf("Landlock: %v", errno)
	}
	action, getActionAvail := uint32(unix.SECCOMP_RET_USER_NOTIF), uintptr(2)
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, getActionAvail, 0, uintptr(unsafe.Pointer(&action))); errno != 0 {
		return fmt.Sprintf("seccomp with notification: %v", errno)
	}
	cmd := exec.Command("/bin/mount", "-t", "tmpfs", "none", "/proc")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Sprintf("user namespace in which mounts can be made: %v %s", err, out)
	}
	return ""
})

var patient = bounds{start: time.Minute, patience: time.Minute, data: 512 << 20, cpu: 60, threads: 24}

// programs are the advisor and the attacker, as they are shipped.
func programs(t *testing.T) [2]string {
	t.Helper()
	p, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var build = sync.OnceValues(func() (p [2]string, err error) {
	if dir := os.Getenv(programsHere); dir != "" { // an ordinary user has no compiler's cache
		return [2]string{filepath.Join(dir, Program), filepath.Join(dir, "boxattack")}, nil
	}
	dir, err := os.MkdirTemp("", "box")
	if err != nil {
		return p, err
	}
	built = dir
	cmd := exec.Command("go", "build", "-trimpath", "-o", dir+"/", "../../cmd/patchwrit-advisor", "../../internal/boxattack")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return p, fmt.Errorf("%w: %s", err, out)
	}
	return [2]string{filepath.Join(dir, Program), filepath.Join(dir, "boxattack")}, os.Chmod(dir, 0o755)
})

const programsHere = "PATCHWRIT_BOX_PROGRAMS"

func model(name string) dialect.Model {
	return dialect.Model{Type: dialect.TypeModel, Provider: dialect.Chat, Name: name, Endpoint: "http://127.0.0.1:1/v1", Sampling: dialect.Zero, Seed: 7, MaxTokens: 512, Seconds: 20, MaxBytes: 1 << 20}
}

func request() []byte { return advice.Request(advicetest.Dossier(advicetest.Material())) }

// answers is a sender that answers with these bytes, and counts.
func answers(body []byte, sent *int) func(context.Context, dialect.Model, dialect.Call) dialect.Reply {
	return func(context.Context, dialect.Model, dialect.Call) dialect.Reply {
		*sent++
		return dialect.Reply{Status: 200, Body: body}
	}
}

func TestTheAdvisorAnswersFromItsBox(t *testing.T) {
	needs(t)
	sent := 0
	reply := []byte(`{"choices":[{"index":0,"message":{"role":"assistant","content":"{}"},"finish_reason":"stop"}],"model":"m"}`)
	b := Box{Model: model("m"), Program: programs(t)[0], limits: &patient, Send: answers(reply, &sent)}
	h := b.Ask(context.Background(), request())
	call, _ := dialect.Encode(b.Model, request())
	if h.Outcome != advice.Answered || string(h.Answer) != "{}" || string(h.Sent) != string(call.Body) || string(h.Received) != string(reply) || sent != 1 || h.Model != b.Model.Digest() {
		t.Errorf("%+v, sent %d", h, sent)
	}
	r, err := b.Try(context.Background())
	if err != nil || len(r.Layers) != len(all) {
		t.Errorf("%q, %v", r.Layers, err)
	}
	t.Logf("%s: %s", r.Digest.Short(), strings.Join(r.Layers, "; "))
	raw, err := os.ReadFile(b.Program)
	if err != nil {
		t.Fatal(err)
	}
	b.Digest = canon.SumFile(raw)
	if _, err := b.Try(context.Background()); err != nil {
		t.Error(err)
	}
	b.Digest = canon.SumFile([]byte("another"))
	if h := b.Ask(context.Background(), request()); h.Outcome != advice.Off || !strings.Contains(string(h.Why), "SHA-256") || sent != 1 {
		t.Errorf("%+v", h)
	}
	nothingLeft(t)
}

// world is what attacks are about, and it is all within their reach but for the box.
func world(t *testing.T) []byte {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	u, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := net.Listen("unix", fmt.Sprintf("@patchwrit-boxattack-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); u.Close(); a.Close() })
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("sk-SECRET"), 0o644); err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(map[string]any{"Port": l.Addr().(*net.TCPAddr).Port, "Path": key, "Socket": filepath.Join(dir, "s"), "PID": os.Getpid()})
	return raw
}

// seccomp is the report of a call that the filter has named.
func seccomp(call string) string { return "denied and killed by seccomp: it tried " + call + "," }

// says reports whether one of the sentences, with "|" between, is in the reason.
func says(h advice.Heard, any string) bool {
	return slices.ContainsFunc(strings.Split(any, "|"), func(s string) bool { return strings.Contains(string(h.Why), s) })
}

// fates are what must become of each attack in the whole box. A kernel without
// 32-bit programs answers their calls with a signal of its own.
var fates = map[string]string{
	"connect-tcp": seccomp("socket(AF_INET)"), "connect-metadata": seccomp("socket(AF_INET)"), "connect-tcp6": seccomp("socket(AF_INET6)"), "send-udp": seccomp("socket(AF_INET)"),
	"connect-unix": seccomp("socket(AF_UNIX)"), "connect-abstract": seccomp("socket(AF_UNIX)"), "socket-netlink": seccomp("socket(AF_NETLINK)"), "socket-raw": seccomp("socket(AF_INET)"),
	"socket-packet": seccomp("socket(AF_PACKET)"), "socket-vsock": seccomp("socket(AF_VSOCK)"), "socket-alg": seccomp("socket(AF_ALG)"),
	"open-passwd": seccomp("openat"), "open-environ": seccomp("openat"), "open-parent": seccomp("openat"), "open-key": seccomp("openat"), "open-devmem": seccomp("openat"), "open-root": seccomp("openat"), "create-file": seccomp("openat"), "early-open": "denied: open /etc/passwd: operation not permitted",
	"make-device": seccomp("mknodat"), "descriptors": "descriptors [0 1 2 3]", "environment": `environment [], arguments ["patchwrit-advisor"]`,
	"exec-shell": seccomp("execve"), "exec-memfd": seccomp("memfd_create"), "fork": seccomp("clone (a new process)"), "fork-bomb": seccomp("clone (a new process)"),
	"thread-bomb": "it ended (exit status 2)", "memory-bomb": "it ended (exit status 2) at its limit of memory (192 MiB)", "reserve-memory": "after 0 MiB: cannot allocate memory", "shared-memory": seccomp("mmap (shared or executable)"), "exec-memory": seccomp("mmap (shared or executable)"),
	"spin": "killed at its limit of processor time (1 s)", "sleep": "not within 3s",
	"ptrace-parent": seccomp("ptrace"), "read-parent": seccomp("process_vm_readv"), "kill-parent": seccomp("kill"), "kill-all": seccomp("kill"), "pidfd-parent": seccomp("pidfd_open"),
	"io-uring": seccomp("io_uring_setup"), "bpf": seccomp("bpf"), "keyctl": seccomp("keyctl"), "mount": seccomp("mount"), "chroot": seccomp("chroot"), "unshare": seccomp("unshare"), "unshare-user": seccomp("unshare"), "setns": seccomp("setns"),
	"prctl": seccomp("prctl"), "raise-limit": seccomp("prlimit64"), "ioctl": seccomp("ioctl"), "perf": seccomp("perf_event_open"), "userfault": seccomp("userfaultfd"),
	"x32-call": seccomp("system call 1073741863"), "i386-call": "killed by seccomp (SIGSYS)|it ended (exit status 2)", "undefined": seccomp("system call 1000"),
	"huge-frame": "has 4294967295 bytes, the limit is 16", "write-forever": `kind '\\x00', not 's'`, "second-call": "kind 'c', not 's'", "no-such-outcome": "the decoder's word has no meaning",
	"another-body": "nothing was sent: the advisor asks to send something else", "another-path": "nothing was sent", "another-method": "nothing was sent",
}

// tight bounds: attacks on them should not take long.
var tight = bounds{start: time.Minute, patience: 20 * time.Second, data: 192 << 20, cpu: 1, threads: 24}

func TestEveryAttackIsDeniedAndNamed(t *testing.T) {
	raced.Leave(t, "make test-real")
	needs(t)
	to := world(t)
	for name, fate := range fates {
		t.Run(name, func(t *testing.T) {
			sent, start := 0, time.Now()
			b := Box{Model: model(name), Program: programs(t)[1], limits: &tight, Send: answers(to, &sent)}
			if name == "sleep" {
				short := tight
				b.limits, short.patience = &short, 3*time.Second
			}
			h := b.Ask(context.Background(), request())
			if h.Outcome != advice.Failed || h.Answer != nil || !says(h, fate) || strings.Contains(string(h.Why), "GOT THROUGH") {
				t.Errorf("%s: %s\nwant: %s", h.Outcome, h.Why, fate)
			}
			if wrong := strings.HasPrefix(name, "another-"); (sent == 1) == wrong || (h.Sent == nil) != wrong {
				t.Errorf("%d sent, %d bytes of it kept", sent, len(h.Sent))
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("it took %v", took)
			}
		})
	}
	nothingLeft(t)
}

// TestEachLayerDeniesByItself takes the filter away and leaves what is under it.
func TestEachLayerDeniesByItself(t *testing.T) {
	raced.Leave(t, "make test-real")
	needs(t)
	to := world(t)
	for _, c := range []struct{ attack, fate, layer, without string }{
		{"open-root", "permission denied", "landlock", ""},
		{"connect-tcp", "permission denied|network is unreachable", "landlock or network namespace", ""},
		{"connect-metadata", "network is unreachable|permission denied", "network namespace", ""},
		{"connect-tcp", "network is unreachable|cannot assign", "network namespace", "-landlock"},
		{"send-udp", "network is unreachable", "network namespace", "-landlock"},
		{"connect-abstract", "connection refused", "network namespace", "-landlock"},
		{"connect-unix", "no such file|permission denied", "empty root", "-landlock"},
		{"open-passwd", "no such file", "empty root", "-landlock"},
		{"open-environ", "no such file", "empty root", "-landlock"},
		{"open-key", "no such file", "empty root", "-landlock"},
		{"create-file", "read-only|permission denied", "empty root", "-landlock"},
		{"make-device", "operation not permitted|read-only", "capabilities", "-landlock"},
		{"exec-shell", "no such file|permission denied", "empty root", "-landlock"},
		{"ptrace-parent", "no such process", "pid namespace", "-landlock"},
		{"read-parent", "no such process", "pid namespace", "-landlock"},
		{"kill-parent", "no such process", "pid namespace", "-landlock"},
		{"pidfd-parent", "no such process|invalid", "pid namespace", "-landlock"},
		{"kill-all", "no such process", "pid namespace", "-landlock"},
		{"mount", "operation not permitted", "capabilities", "-landlock"},
		{"chroot", "operation not permitted", "capabilities", "-landlock"},
		{"unshare", "operation not permitted", "capabilities", "-landlock"},
		{"socket-raw", "operation not permitted", "capabilities", "-landlock"},
		{"bpf", "operation not permitted", "capabilities", "-landlock"},
		{"raise-limit", "operation not permitted", "capabilities", "-landlock"},
		{"fork-bomb", "resource temporarily unavailable", "limit of threads", "-landlock"},
		{"memory-bomb", "at its limit of memory", "limit of memory", "-landlock"},
		{"reserve-memory", "after 0 MiB: cannot allocate memory", "limit of memory", "-landlock"},
	} {
		t.Run(c.attack+c.without, func(t *testing.T) {
			sent := 0
			b := Box{Model: model(c.attack), Program: programs(t)[1], limits: &tight, stage: []string{permissive, c.without}, Send: answers(to, &sent)}
			if c.without != "" {
				b.checks = slices.DeleteFunc(slices.Clone(all), func(k check) bool { return "-"+k.name == c.without })
			}
			h := b.Ask(context.Background(), request())
			if h.Outcome != advice.Failed || strings.Contains(string(h.Why), "GOT THROUGH") || !says(h, c.fate) {
				t.Errorf("%s alone: %s: %s\nwant: %s", c.layer, h.Outcome, h.Why, c.fate)
			}
		})
	}
	nothingLeft(t)
}

// TestALayerThatIsMissingTurnsAdviceOff leaves out each step in turn.
func TestALayerThatIsMissingTurnsAdviceOff(t *testing.T) {
	raced.Leave(t, "make test-real")
	needs(t)
	sees := map[string]string{"descriptors": "descriptors: it would keep", "capabilities": "capabilities: CapPrm", "empty root": "empty root: its root holds", "landlock": "landlock: it was not tried", "no new privileges": "landlock: restricting: operation not permitted"}
	for _, s := range steps {
		want, seen := sees[s.name]
		if !seen {
			continue // what kills with the parent has a test of its own; a host's name is no wall
		}
		sent := 0
		leave := []string{"-" + s.name}
		if s.name == "empty root" {
			leave = append(leave, "-landlock")
		}
		h := Box{Model: model("m"), Program: programs(t)[0], limits: &patient, stage: leave, Send: answers(nil, &sent), checks: slices.DeleteFunc(slices.Clone(all), func(k check) bool { return s.name == "empty root" && k.name == "landlock" })}.Ask(context.Background(), request())
		if h.Outcome != advice.Off || sent != 0 || !says(h, want) {
			t.Errorf("without %s: %s: %s; sent %d", s.name, h.Outcome, h.Why, sent)
		}
	}
	nothingLeft(t)
}

// TestNoCheckTakesAnOpenProcessForABox: of a process without any layer each check
// says that its own is missing.
func TestNoCheckTakesAnOpenProcessForABox(t *testing.T) {
	cmd := exec.Command("/bin/sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	j := &jail{cmd: cmd, limits: usual, group: cgroup{name: "another", dirs: []string{"/nowhere"}}}
	for _, c := range all {
		if word, err := c.look(j); err == nil && c.name != "limits" && !(c.name == "user" && os.Geteuid() != 0) && !(c.name == "capabilities" && os.Geteuid() != 0) {
			t.Errorf("%s: %q", c.name, word)
		} else if c.name == "namespaces" && !strings.Contains(err.Error(), "user is this process's own") {
			t.Error(err)
		}
	}
}

func TestAProgramThatIsNoneTurnsAdviceOff(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{"/nowhere": "no such file", text: "no program", "/bin/sh": "shared libraries", "/": "no program", "": Program} {
		h := Box{Model: model("m"), Program: path}.Ask(context.Background(), request())
		if h.Outcome != advice.Off || !strings.Contains(string(h.Why), why) || !strings.Contains(string(h.Why), "advice is off") {
			t.Errorf("%q: %s: %s", path, h.Outcome, h.Why)
		}
	}
	if h := (Box{Model: model("m")}).Ask(context.Background(), []byte("{}")); h.Outcome != advice.Off {
		t.Errorf("%+v", h)
	}
}

func TestAskEndsWithItsContext(t *testing.T) {
	raced.Leave(t, "make test-real")
	needs(t)
	ctx, cancel := context.WithCancel(context.Background())
	b := Box{Model: model("sleep"), Program: programs(t)[1], limits: &patient, Send: func(context.Context, dialect.Model, dialect.Call) dialect.Reply {
		time.AfterFunc(50*time.Millisecond, cancel)
		return dialect.Reply{Status: 200, Body: []byte("{}")}
	}}
	start := time.Now()
	if h := b.Ask(ctx, request()); h.Outcome != advice.Failed || !strings.Contains(string(h.Why), "context canceled") || time.Since(start) > 30*time.Second {
		t.Errorf("%v, %s: %s", time.Since(start), h.Outcome, h.Why)
	}
	if h := b.Ask(ctx, request()); h.Outcome != advice.Off {
		t.Errorf("%+v", h)
	}
	nothingLeft(t)
}

// TestTheBoxDiesWithItsBroker kills the broker with the one signal that it cannot
// answer to.
func TestTheBoxDiesWithItsBroker(t *testing.T) {
	if os.Getenv("PATCHWRIT_BOX_BROKER") != "" {
		j, err := Box{Program: programs(t)[1], limits: &patient}.start(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.first(canon.MustEncode(model("sleep")), request()); err != nil {
			t.Fatal(err)
		}
		if err := pipe.WriteReply(j.conn, dialect.Reply{Status: 200}); err != nil { // from now on it does not look at the socket
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		fmt.Printf("BOX %d\n", j.cmd.Process.Pid)
		select {}
	}
	needs(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestTheBoxDiesWithItsBroker$")
	cmd.Env = append(os.Environ(), "PATCHWRIT_BOX_BROKER=1", programsHere+"="+filepath.Dir(programs(t)[0]))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	if _, err := fmt.Fscanf(out, "BOX %d\n", &pid); err != nil || unix.Kill(pid, 0) != nil {
		t.Fatalf("%d: %v", pid, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	for start := time.Now(); unix.Kill(pid, 0) == nil; {
		if time.Since(start) > 20*time.Second {
			t.Fatal("it lives on")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// asUser are the attacks that meet something else when root is not behind them.
const asUser = "open-key|open-parent|connect-unix|ptrace-parent|kill-all|fork-bomb-landlock|memory-bomb|thread-bomb|unshare-landlock|raise-limit-landlock|mount-landlock|spin"

// TestAnOrdinaryUserHasTheSameBox runs the other tests again without root.
func TestAnOrdinaryUserHasTheSameBox(t *testing.T) {
	raced.Leave(t, "make test-real")
	if os.Geteuid() != 0 {
		t.Skip("the user is an ordinary one: all tests ran so")
	}
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=^Test(TheAdvisor|EveryAttack|EachLayer|ALayer|NoCheck|AskEnds|TheBoxDies)/^("+asUser+")$")
	cmd.Dir = t.TempDir()
	if err := os.Chmod(cmd.Dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(cmd.Dir); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Env = []string{"TMPDIR=" + cmd.Dir, programsHere + "=" + filepath.Dir(programs(t)[0])}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	out, err := cmd.CombinedOutput()
	switch {
	case strings.Contains(string(out), "NO SANDBOX HERE"):
		t.Skipf("an ordinary user has no sandbox here:\n%s", out)
	case err != nil || strings.Count(string(out), "\n--- PASS") < 7:
		t.Errorf("%v:\n%s", err, out)
	}
}

// nothingLeft looks for a child of this process that still is there.
func nothingLeft(t *testing.T) {
	t.Helper()
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, file := range tasks {
		raw, _ := os.ReadFile(file)
		for _, pid := range strings.Fields(string(raw)) {
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			if strings.HasPrefix(string(name), "patchwrit") || strings.HasPrefix(string(name), "4") {
				t.Errorf("process %s (%s) is left", pid, strings.TrimSpace(string(name)))
			}
		}
	}
	left, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/patchwrit-advice-%d-*", os.Getpid()))
	if len(left) > 0 {
		t.Errorf("control groups are left: %v", left)
	}
}

// TestTheFilterSaysWhatItsRulesSay runs the program as the kernel would.
func TestTheFilterSaysWhatItsRulesSay(t *testing.T) {
	p, err := program(allowed(), unix.SECCOMP_RET_USER_NOTIF)
	if err != nil {
		t.Skipf("no filter for this architecture: %v", err)
	}
	arch := uint32(0)
	for _, a := range architectures {
		if p[1].K == a {
			arch = a
		}
	}
	for nr := range uint32(1100) {
		for _, first := range []uint32{0, threadFlags, unix.CLONE_NEWUSER, math.MaxUint32} {
			args := [6]uint32{first, first, first, first, first, first}
			want := uint32(unix.SECCOMP_RET_USER_NOTIF)
			for _, r := range allowed() {
				if r.nr == nr && !slices.ContainsFunc(r.when, func(c condition) bool { return args[c.arg]&c.mask != c.value }) {
					want = unix.SECCOMP_RET_ALLOW
				}
			}
			if got := run(p, nr, arch, args); got != want {
				t.Fatalf("call %d (%x): %x, want %x", nr, first, got, want)
			}
			if got := run(p, nr, arch+1, args); got != unix.SECCOMP_RET_KILL_PROCESS {
				t.Fatalf("another architecture's call %d: %x", nr, got)
			}
		}
	}
}

func run(p []unix.SockFilter, nr, arch uint32, args [6]uint32) uint32 {
	a := uint32(0)
	for pc := 0; ; pc++ {
		switch in := p[pc]; in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			switch {
			case in.K == 0:
				a = nr
			case in.K == 4:
				a = arch
			default:
				a = args[(in.K-16)/8]
			}
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if a == in.K {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			panic("no such instruction")
		}
	}
}
