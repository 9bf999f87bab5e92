package apt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	var all []string
	err := m.sys.processes(func(pid int, uses []inventory.Use) {
		for _, u := range uses {
			if p, ok := m.sys.inner(u.Path, replaced); u.Deleted && ok {
				all = append(all, fmt.Sprintf("%d %s %s", pid, comm(pid), canon.NoteOf(p)))
			}
		}
	})
	return all, err
}

// passes is how often the processes are gone through: again as long as one ends
// before it is read, for it may have left others that no pass has met.
const passes = 20

// processes calls do for each process of the system with the files that it maps.
// The error means that some could not be looked at.
func (s *system) processes(do func(pid int, uses []inventory.Use)) error {
	list := func() (pids []int, err error) {
		entries, err := os.ReadDir("/proc")
		for _, e := range entries {
			if pid, err := strconv.Atoi(e.Name()); err == nil && (pid != 1 || s.running()) { // the machine's init is in no directory
				pids = append(pids, pid)
			}
		}
		return pids, err
	}
	stays := func(pid int) bool {
		_, err := os.Stat("/proc/" + strconv.Itoa(pid))
		return err == nil
	}
	return sweep(list, s.uses, stays, do)
}

// sweep goes through processes. One that stays though it maps nothing is a kernel
// thread or a zombie.
func sweep(list func() ([]int, error), uses func(int) ([]inventory.Use, error), stays func(int) bool, do func(int, []inventory.Use)) (problem error) {
	read := map[int]bool{}
	for range passes {
		pids, err := list()
		if err != nil {
			return err
		}
		lost := false
		for _, pid := range pids {
			if read[pid] {
				continue
			}
			mapped, err := uses(pid)
			switch {
			case err == nil:
				do(pid, mapped)
			case gone(err):
				lost = true
				if !stays(pid) {
					continue
				}
			default:
				problem = fmt.Errorf("process %d: %w", pid, err)
			}
			read[pid] = true
		}
		if !lost {
			return problem
		}
	}
	return errors.Join(problem, errors.New("processes end faster than they can be looked at"))
}

// gone reports whether a process ended while it was looked at.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// uses lists the files that a process maps, when it is one of this system.
func (s *system) uses(pid int) ([]inventory.Use, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	inside, err := s.isRoot(dir + "/root")
	if err == nil && !inside {
		inside, err = s.confined(dir)
	}
	if err != nil || !inside {
		return nil, err
	}
	maps, err := os.Open(dir + "/maps")
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	return inventory.Mappings(maps)
}

// confined reports whether a process of the running system has put itself into a
// root directory (chroot(2)): it began with the system's files. One with another
// root in a mount namespace of its own is a container.
func (s *system) confined(dir string) (bool, error) {
	if !s.running() {
		return false, nil
	}
	theirs, err := os.Readlink(dir + "/ns/mnt")
	if err != nil {
		return false, err
	}
	ours, err := os.Readlink("/proc/self/ns/mnt")
	return theirs == ours, err
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
		if p := inventory.MergedUsr(mapped[at:]); replaced[p] {
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
func comm(pid int) string {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
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
