// Package idle makes a process small while it has nothing to do.
//
// The party is a service of the agent between two rounds of work. It gives the
// heap back and lets go of its own program's pages: the kernel keeps the file in
// its cache as long as it likes, and brings back what is touched again.
//
// The promise: nothing is lost, and nothing but time to touch it again is paid.
// Mappings that are not exactly the file's bytes are left alone.
package idle

import (
	"bufio"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Rest gives back what is not in use.
func Rest() {
	debug.FreeOSMemory()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return // no /proc: a larger process, and that is all
	}
	defer f.Close()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for _, m := range pristine(f, self) {
		unix.RawSyscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED) // refused: it stays mapped
	}
}

// span is a part of the address space.
type span struct{ from, to uintptr }

// pristine finds the mappings of a file that cannot be written and hold nothing
// else than the file's bytes (proc_pid_smaps(5)): letting those go loses nothing.
func pristine(smaps io.Reader, file string) []span {
	var out []span
	var now span
	ours := false
	in := bufio.NewScanner(smaps)
	for in.Scan() {
		f := strings.Fields(in.Text())
		switch {
		case len(f) == 3 && f[0] == "Anonymous:" && ours:
			if f[1] == "0" {
				out = append(out, now)
			}
			ours = false
		case len(f) >= 6 && strings.Contains(f[0], "-") && len(f[1]) == 4:
			from, to, _ := strings.Cut(f[0], "-")
			a, err := strconv.ParseUint(from, 16, 64)
			b, berr := strconv.ParseUint(to, 16, 64)
			now = span{uintptr(a), uintptr(b)}
			ours = err == nil && berr == nil && f[1][0] == 'r' && f[1][1] == '-' && f[1][3] == 'p' && strings.Join(f[5:], " ") == file
		}
	}
	return out
}
