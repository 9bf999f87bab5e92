package messenger

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/agent/parley"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/wire"
)

// kernel is the release that runs, and its build.
func kernel() (release string, build canon.Note) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", ""
	}
	return string(canon.NoteOf(unix.ByteSliceToString(u.Release[:]))), canon.NoteOf(unix.ByteSliceToString(u.Version[:]))
}

func bootID() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// booted is when the machine was, Unix seconds (proc_stat(5), btime); 0: not
// known.
func booted(stat string) int64 {
	f, err := os.Open(stat)
	if err != nil {
		return 0
	}
	defer f.Close()
	in := bufio.NewScanner(io.LimitReader(f, maxFacts))
	in.Buffer(nil, 1<<20) // the line of interrupts is long
	for in.Scan() {
		if n, ok := strings.CutPrefix(in.Text(), "btime "); ok {
			at, err := strconv.ParseInt(n, 10, 64)
			if err != nil || at < 0 || at > canon.MaxInt {
				return 0
			}
			return at
		}
	}
	return 0
}

// imageAt is when the image of a kernel release came onto the disk: the newest
// change of a file that is written then, as the file system dates it (packages
// carry dates of their own). 0: none is there.
func imageAt(root, release string) int64 {
	if release == "" || strings.ContainsAny(release, "/\x00") {
		return 0
	}
	at := int64(0)
	for _, name := range []string{"boot/vmlinuz-" + release, "boot/vmlinux-" + release, "usr/lib/modules/" + release + "/vmlinuz",
		"var/lib/dpkg/info/linux-image-" + release + ".list", "var/lib/dpkg/info/linux-image-unsigned-" + release + ".list"} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(root, name), &st); err == nil {
			at = max(at, st.Ctim.Sec)
		}
	}
	return at
}

// maxFacts bounds the facts file.
const maxFacts = 4 << 20

// sighting is a list of processes on deleted files, and since when it is the
// same.
type sighting struct {
	what string
	at   int64
}

// sight tells what the helper has seen; packages is the state of the package
// database before it was read. That the same was seen again is not told: all
// hosts would tell a new inventory with each look of their helpers.
func (m *Messenger) sight(s *wire.Snapshot, packages string) {
	f, why := m.facts(s.Boot, packages)
	s.Mapped, s.MappedAt, s.MappedWhy = f.Mapped, f.At, canon.NoteOf(why)
	f.At = 0
	if what := string(canon.MustEncode(f)) + why; what == m.list.what {
		s.MappedAt = min(s.MappedAt, m.list.at)
	} else {
		m.list = sighting{what, s.MappedAt}
	}
}

// facts is what the helper has seen since this boot; why says what keeps it from
// speaking of the packages that were just read.
func (m *Messenger) facts(boot, packages string) (f parley.Facts, why string) {
	none := parley.Facts{Mapped: []inventory.Mapping{}}
	file, err := os.Open(m.factsFile())
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return none, "the helper has made no list of processes on deleted files"
		}
		return none, "the helper's list of processes on deleted files cannot be opened"
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxFacts))
	if err != nil || canon.Decode(raw, &f) != nil {
		return none, "the helper's list of processes on deleted files cannot be read"
	}
	switch {
	case f.Boot != boot || boot == "":
		return none, "the helper's list of processes on deleted files is of another boot"
	case f.Why != "":
		return f, "the helper's list of processes on deleted files is not whole: " + f.Why.Text()
	case packages == "" || f.Packages != packages || parley.PackagesOf(m.server.Root.Text()) != packages:
		return f, "the helper's list of processes on deleted files is older than the packages"
	case f.At <= 0 || f.At > m.Now().Unix()+skew:
		return f, "the helper's list of processes on deleted files bears a date that is still to come"
	}
	return f, ""
}

// skew is how far two readings of one clock may lie apart.
const skew = 1
