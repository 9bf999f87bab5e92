package box

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// cgroup is a control group for one box, where one can be made: a second limit
// beside those of the process, which holds for all that it starts together.
type cgroup struct {
	name string
	dirs []string // none: no group can be made here
	v2   *os.File // the directory, in the unified hierarchy
}

var groups atomic.Int64

// newCgroup makes a group below the one of this process: in the unified hierarchy
// (version 2) where memory and pids are delegated to it, else in those two of
// version 1. Where neither can be, it has no directory.
func newCgroup(l bounds) cgroup {
	g := cgroup{name: fmt.Sprintf("patchwrit-advice-%d-%d", os.Getpid(), groups.Add(1))}
	raw, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return g
	}
	own := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			own[f[1]] = f[2]
		}
	}
	memory, threads := strconv.FormatUint(l.data+l.data/4, 10), strconv.FormatUint(l.threads+16, 10) // the stage that makes the box is counted, too
	const at = "/sys/fs/cgroup"
	if path, ok := own[""]; ok && g.make(filepath.Join(at, path), map[string]string{"memory.max": memory, "memory.swap.max": "0", "pids.max": threads}) {
		if g.v2, err = os.Open(g.dirs[0]); err == nil {
			return g
		}
		g.remove()
	}
	m, hasMemory := own["memory"]
	p, hasPids := own["pids"]
	if hasMemory && hasPids && (!g.make(filepath.Join(at, "memory", m), map[string]string{"memory.limit_in_bytes": memory}) || !g.make(filepath.Join(at, "pids", p), map[string]string{"pids.max": threads})) {
		g.remove()
	}
	return g
}

// make makes the group in one hierarchy, with its settings or not at all.
func (g *cgroup) make(parent string, set map[string]string) bool {
	dir := filepath.Join(parent, g.name)
	if os.Mkdir(dir, 0o755) != nil {
		return false
	}
	g.dirs = append(g.dirs, dir)
	for file, value := range set {
		err := write(filepath.Join(dir, file), value)
		if err != nil && !(file == "memory.swap.max" && errors.Is(err, os.ErrNotExist)) {
			g.remove()
			return false
		}
	}
	return true
}

// write writes a setting that is there: in a directory that is no control group
// there is none.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// into has a process start in the group, where that can be.
func (g *cgroup) into(a *syscall.SysProcAttr) {
	if g.v2 != nil {
		a.UseCgroupFD, a.CgroupFD = true, int(g.v2.Fd())
	}
}

// add moves a process that has started into the group.
func (g *cgroup) add(pid int) error {
	if g.v2 != nil {
		return nil
	}
	for _, dir := range g.dirs {
		if err := write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

// oom reports whether the group's limit of memory has killed somebody.
func (g *cgroup) oom() bool {
	for _, dir := range g.dirs {
		for _, file := range []string{"memory.events", "memory.oom_control"} {
			raw, _ := os.ReadFile(filepath.Join(dir, file))
			for line := range strings.Lines(string(raw)) {
				if f := strings.Fields(line); len(f) == 2 && f[0] == "oom_kill" && f[1] != "0" {
					return true
				}
			}
		}
	}
	return false
}

// remove takes the group away, after its processes are gone.
func (g *cgroup) remove() {
	if g.v2 != nil {
		g.v2.Close()
	}
	for _, dir := range g.dirs {
		os.Remove(dir)
	}
	g.dirs, g.v2 = nil, nil
}
