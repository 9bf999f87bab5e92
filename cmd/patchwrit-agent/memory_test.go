package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// resident is a line of a process's status, in KiB.
func resident(t testing.TB, pid int, line string) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(l, line+":"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("process %d has no %s", pid, line)
	return 0
}

// Sizes that the agent keeps within.
const (
	maxResident = 20_000_000 // bytes of both processes together, idle
	maxBinary   = 15_000_000 // bytes, stripped
)

// usage is what both processes take while they have nothing to do.
type usage struct{ messenger, helper, binary int } // bytes

// idleUsage enrols a host of 600 packages, waits until it has told them, and
// looks at both processes a few rounds later.
func idleUsage(t testing.TB) usage {
	t.Helper()
	o := newOffice(t)
	o.known()
	status := strings.Builder{}
	for n := range 600 {
		fmt.Fprintf(&status, "Package: package-%d\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-%d\nDepends: libc6 (>= 2.36), package-%d\nDescription: one of many\n of them\n\n", n, n, n/2)
	}
	for name, text := range map[string]string{"usr/bin/apt-get": "", "usr/bin/dpkg": "", "etc/os-release": "ID=debian\nVERSION_ID=12\n", "var/lib/dpkg/status": status.String()} {
		if err := os.MkdirAll(filepath.Dir(o.in(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(o.in(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	o.token(o.hall.Token().String())
	if code, out := o.enrol(); code != exitOK {
		t.Fatalf("enroll: %d\n%s", code, out)
	}
	agent, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	start := func(verb, state string) int {
		cmd := exec.Command(agent, verb, "--state", o.in(state))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		return cmd.Process.Pid
	}
	helper, messenger := start("helper", "state"), start("run", "messenger")
	for n := 0; o.hall.Snapshot() == nil; n++ {
		if n > 600 {
			t.Fatal("the inventory is not told")
		}
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(6 * time.Second) // a few rounds in which nothing has changed
	for name, pid := range map[string]int{"messenger": messenger, "helper": helper} {
		t.Logf("%s: VmRSS %d KiB (anonymous %d, file %d)", name, resident(t, pid, "VmRSS"), resident(t, pid, "RssAnon"), resident(t, pid, "RssFile"))
		if n := listens(t, pid); n != 0 {
			t.Errorf("%s listens on %d ports", name, n)
		}
	}
	if uid := resident(t, messenger, "Uid"); uid != nobody {
		t.Errorf("the messenger is user %d", uid)
	}
	info, err := os.Stat(agent)
	if err != nil {
		t.Fatal(err)
	}
	return usage{resident(t, messenger, "VmRSS") << 10, resident(t, helper, "VmRSS") << 10, int(info.Size())}
}

// listens counts a process's sockets that listen for others, of any family but
// unix.
func listens(t testing.TB, pid int) int {
	t.Helper()
	open := map[string]bool{}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			open[strings.TrimSuffix(inode, "]")] = true
		}
	}
	n := 0
	for _, family := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6"} {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, family))
		if err != nil {
			continue // a kernel without IPv6
		}
		for line := range strings.Lines(string(raw)) { // sl local remote state … uid timeout inode
			f := strings.Fields(line)
			if len(f) > 9 && open[f[9]] && (f[3] == "0A" || !strings.HasPrefix(family, "tcp")) {
				n++
			}
		}
	}
	return n
}

func TestIdleMemoryAndSize(t *testing.T) {
	needsRoots(t) // not for the roots: it builds, and waits
	u := idleUsage(t)
	t.Logf("both together %d bytes, the binary %d bytes", u.messenger+u.helper, u.binary)
	if u.messenger+u.helper > maxResident || u.binary > maxBinary {
		t.Errorf("more than %d resident or %d on disk", maxResident, maxBinary)
	}
}

// BenchmarkIdle measures memory and size; its time says nothing.
func BenchmarkIdle(b *testing.B) {
	if b.N > 1 {
		return
	}
	u := idleUsage(b)
	b.ReportMetric(float64(u.messenger)/1e6, "MB-messenger")
	b.ReportMetric(float64(u.helper)/1e6, "MB-helper")
	b.ReportMetric(float64(u.binary)/1e6, "MB-binary")
}
