package apt

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/writ"
)

// stale lists the processes of the system that still map a replaced file, each
// "pid name path". An error means that some could not be looked at.
func (m *Manager) stale(replaced map[string]bool) ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []string
	var problem error
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || (pid == 1 && !m.sys.running()) { // the machine's init is in no directory
			continue
		}
		lines, err := m.process(pid, replaced)
		if err != nil && !gone(err) {
			problem = fmt.Errorf("process %d: %w", pid, err)
		}
		all = append(all, lines...)
	}
	return all, problem
}

// Mapped lists the deleted files that processes of the system in root still
// map, ascending. An error means that some processes could not be looked at; the
// list holds what the others map.
func Mapped(root string) ([]inventory.Mapping, error) {
	sys, err := openSystem(root)
	if err != nil {
		return nil, err
	}
	defer sys.close()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	found := map[inventory.Mapping]bool{}
	for _, e := range entries {
		pid, perr := strconv.Atoi(e.Name())
		if perr != nil || (pid == 1 && !sys.running()) {
			continue
		}
		deleted, perr := sys.deleted(pid)
		if perr != nil && !gone(perr) {
			err = fmt.Errorf("process %d: %w", pid, perr)
		}
		for _, d := range deleted {
			if !sys.running() {
				d.Path = strings.TrimPrefix(d.Path, sys.dir)
			}
			found[d] = true
		}
	}
	out := slices.Collect(maps.Keys(found))
	slices.SortFunc(out, func(a, b inventory.Mapping) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Inode, b.Inode), strings.Compare(fmt.Sprint(a.Exec), fmt.Sprint(b.Exec)))
	})
	return out, err
}

// gone reports whether a process ended while it was looked at.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// deleted lists the deleted files that a process maps, when its root directory
// is this system.
func (s *system) deleted(pid int) ([]inventory.Mapping, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	inside, err := s.isRoot(dir + "/root")
	if err != nil || !inside {
		return nil, err
	}
	maps, err := os.Open(dir + "/maps")
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	return inventory.DeletedMappings(maps)
}

// process looks at one process.
func (m *Manager) process(pid int, replaced map[string]bool) ([]string, error) {
	deleted, err := m.sys.deleted(pid)
	if err != nil {
		return nil, err
	}
	dir := "/proc/" + strconv.Itoa(pid)
	var lines []string
	for _, d := range deleted {
		if p, ok := m.sys.inner(d.Path, replaced); ok {
			lines = append(lines, fmt.Sprintf("%d %s %s", pid, comm(dir), canon.NoteOf(p)))
		}
	}
	return lines, nil
}

// isRoot reports whether a process's root directory is this system's. Kernel
// threads and zombies have none.
func (s *system) isRoot(link string) (bool, error) {
	var ours, theirs unix.Stat_t
	if err := unix.Stat(link, &theirs); err != nil {
		return false, err
	}
	if err := unix.Fstat(s.fd, &ours); err != nil {
		return false, err
	}
	return ours.Dev == theirs.Dev && ours.Ino == theirs.Ino, nil
}

// inner finds the replaced file that a mapping's path names. The kernel writes
// the path as this process sees it, so for a root directory it begins with
// the directory, or with some other name of it in another mount namespace.
func (s *system) inner(mapped string, replaced map[string]bool) (string, bool) {
	mapped = unescape(mapped)
	for at := 0; at >= 0 && at < len(mapped); {
		if p := merged(mapped[at:]); replaced[p] {
			return p, true
		}
		if s.running() {
			return "", false
		}
		next := strings.IndexByte(mapped[at+1:], '/')
		if next < 0 {
			return "", false
		}
		at += 1 + next
	}
	return "", false
}

// unescape undoes the kernel's \ooo (proc_pid_maps(5)).
func unescape(p string) string {
	return strings.NewReplacer(`\012`, "\n", `\040`, " ", `\011`, "\t", `\134`, `\`).Replace(p)
}

// comm is a process's name, made printable and without space.
func comm(dir string) string {
	raw, err := os.ReadFile(dir + "/comm")
	if err != nil {
		return "?"
	}
	name := strings.ReplaceAll(string(canon.NoteOf(strings.TrimSuffix(string(raw), "\n"))), " ", "_")
	if name == "" {
		return "?"
	}
	return name
}

// kernel tells whether the running kernel is the newest installed one: yes when
// the system has no kernel of its own, unknown for a root directory, which is
// not what was booted.
func (m *Manager) kernel(inv inventory.Inventory, replaced map[string]bool) (string, writ.Fact) {
	if inv.Kernel.Newest().Release == "" {
		return "", writ.Yes
	}
	if !m.sys.running() {
		return "", writ.Unknown
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", writ.Unknown
	}
	return kernelIs(inventory.Kernel{Running: unix.ByteSliceToString(u.Release[:]), Installed: inv.Kernel.Installed}, replaced)
}

// kernelIs compares the running release with the newest one of its flavour. One
// whose image was just replaced is another build under the same name.
func kernelIs(k inventory.Kernel, replaced map[string]bool) (string, writ.Fact) {
	running := k.Running
	if running == k.Newest().Release && !replaced["/boot/vmlinuz-"+running] {
		return "", writ.Yes
	}
	return fmt.Sprintf("0 kernel %s", canon.NoteOf(running)), writ.No
}
