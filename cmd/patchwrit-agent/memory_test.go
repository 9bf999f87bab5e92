package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// resident is a line of a process's status, in KiB.
func resident(t *testing.T, pid int, line string) int {
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

func TestIdleMemoryAndSize(t *testing.T) {
	s := newStation(t, newScene(t, hello("1.0-1", nil)))
	if code, out := s.enrol(); code != exitOK {
		t.Fatalf("enroll: %d\n%s", code, out)
	}
	both := map[string]*exec.Cmd{"helper": s.begin("helper"), "run": s.begin("run")}
	s.until("the inventory is told", func() bool { return s.hall.Snapshot() != nil })
	total := 0
	for range 3 {
		time.Sleep(4 * time.Second) // idle: a few rounds in which nothing has changed
		total = 0
		for name, cmd := range both {
			rss := resident(t, cmd.Process.Pid, "VmRSS")
			total += rss << 10
			t.Logf("%s: VmRSS %d KiB (anonymous %d, file %d)", name, rss, resident(t, cmd.Process.Pid, "RssAnon"), resident(t, cmd.Process.Pid, "RssFile"))
		}
	}
	info, err := os.Stat(s.agent)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("both together %d bytes, the binary %d bytes", total, info.Size())
	if total > maxResident || info.Size() > maxBinary {
		t.Errorf("more than %d resident or %d on disk", maxResident, maxBinary)
	}
}
