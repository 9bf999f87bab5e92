package apt

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
)

// Seen is what looks at the processes of a system have learned: whose the files
// are that they use. After an upgrade nobody can tell that any more of a deleted
// file: its path may be in no list, or in that of a package that has taken it
// over. So the word of a list counts for a file only if a look has met that very
// file in use at that path while no package manager was at work; for any other
// the owners are not known.
type Seen struct {
	Type     string     `json:"type"`     // TypeSeen
	Boot     string     `json:"boot"`     // inodes are compared within one boot
	Packages string     `json:"packages"` // state of the package database when Files was last compared with its lists
	Files    []SeenFile `json:"files"`    // those in use, ascending
}

// TypeSeen is the type of a Seen.
const TypeSeen = "patchwrit/seen/v1"

// SeenFile is a file that a process uses.
type SeenFile struct {
	Path   string            `json:"path"` // as in inventory.Mapping
	Dev    string            `json:"dev"`
	Inode  uint64            `json:"inode"`
	Owners []inventory.Owner `json:"owners"` // that list it; none: it is nobody's
}

// Limits of what is remembered. A file with more owners counts as nobody's.
const (
	maxSeen   = 20_000
	maxOwners = 8
)

type seenKey struct {
	path, dev string
	inode     uint64
}

func (f SeenFile) key() seenKey { return seenKey{f.Path, f.Dev, f.Inode} }

// glance is one look.
type glance struct {
	sys     *system
	deleted map[seenKey]inventory.Mapping
	live    map[seenKey]bool // whether the file is still the one at its path
	ours    string           // mount namespace
	first   map[seenKey]int  // process with the lowest id
}

// Look goes through the processes of the system in root. It lists the deleted
// files that they map, ascending, with their owners where a look before has
// learned them, and learns those of the files that they map now. state tells one
// state of the package database from another, "" when that is not known. An
// error means that some processes could not be looked at; the list holds what
// the others map.
func (s *Seen) Look(root, boot string, state func() string) ([]inventory.Mapping, error) {
	sys, err := openSystem(root)
	if err != nil {
		return nil, err
	}
	defer sys.close()
	return s.look(sys, boot, state, sys.processes)
}

// look is Look with the processes of one system.
func (s *Seen) look(sys *system, boot string, state func() string, processes func(func(int, []inventory.Use)) error) ([]inventory.Mapping, error) {
	if s.Type != TypeSeen || s.Boot != boot || boot == "" {
		*s = Seen{Type: TypeSeen, Boot: boot}
	}
	packages := state()
	g := glance{sys: sys, deleted: map[seenKey]inventory.Mapping{}, live: map[seenKey]bool{}, first: map[seenKey]int{}}
	g.ours, _ = os.Readlink("/proc/self/ns/mnt")
	err := processes(g.process)
	known := map[seenKey][]inventory.Owner{}
	for _, f := range s.Files {
		known[f.key()] = f.Owners
	}
	if packages != "" {
		s.learn(g, packages, known, func() bool { return sys.still() && state() == packages })
	}
	s.keep(g, known, err == nil)
	return g.mappings(known), err
}

// process notes what one process uses.
func (g *glance) process(pid int, uses []inventory.Use) {
	theirs, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/mnt")
	for _, u := range uses {
		path := u.Path
		if !g.sys.running() {
			path = strings.TrimPrefix(path, g.sys.dir)
		}
		k := seenKey{path, u.Dev, u.Inode}
		if u.Deleted {
			was, again := g.deleted[k]
			if !again || pid < g.first[k] {
				g.first[k] = pid
			}
			g.deleted[k] = inventory.Mapping{Path: path, Inode: u.Inode, Exec: u.Exec || was.Exec}
			continue
		}
		if !g.live[k] {
			g.live[k] = err == nil && g.there(k, pid, theirs == g.ours)
		}
	}
}

// there reports whether the file of a mapping is the one that the system has at
// its path, and that the process sees there: it may have mounts of its own.
func (g *glance) there(k seenKey, pid int, ours bool) bool {
	if !plain(k.path) || k.inode > canon.MaxInt {
		return false
	}
	f, err := g.sys.openLast(k.path)
	if err != nil {
		return false
	}
	defer f.Close()
	var here, theirs unix.Stat_t
	if unix.Fstat(int(f.Fd()), &here) != nil || here.Ino != k.inode {
		return false
	}
	if ours || !g.sys.running() {
		return true
	}
	err = unix.Lstat("/proc/"+strconv.Itoa(pid)+"/root"+k.path, &theirs)
	return err == nil && theirs.Dev == here.Dev && theirs.Ino == here.Ino
}

// plain reports whether a path is printable ASCII, in which the kernel escapes
// nothing.
func plain(path string) bool {
	return !strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' })
}

// still reports whether no package manager is at work, or has left work behind:
// dpkg keeps a journal from before it touches the first file until its database
// has been written.
func (s *system) still() bool { return !(&Manager{sys: s}).journalled() }

// learn compares the files in use with the lists of the package database: all of
// them when it is another one than before, else those that are new. What lists
// said before of the same file stays. after says whether nothing has changed
// meanwhile.
func (s *Seen) learn(g glance, packages string, known map[seenKey][]inventory.Owner, after func() bool) {
	var ask []string
	for k, same := range g.live {
		if _, ok := known[k]; same && (!ok || packages != s.Packages) {
			ask = append(ask, k.path)
		}
	}
	owners := map[string][]inventory.Owner{}
	if len(ask) > 0 {
		root, err := os.OpenRoot(g.sys.dir)
		if err != nil {
			return
		}
		defer root.Close()
		inv, err := inventory.Read(root.FS())
		if err != nil {
			return
		}
		if owners, err = inventory.OwnersOf(root.FS(), inv, ask); err != nil {
			return
		}
	}
	if !after() {
		return
	}
	for k, same := range g.live {
		if _, ok := known[k]; same && (!ok || packages != s.Packages) {
			all := slices.Concat(known[k], owners[k.path])
			slices.SortFunc(all, func(a, b inventory.Owner) int {
				return cmp.Or(strings.Compare(a.Package, b.Package), strings.Compare(a.Source, b.Source))
			})
			known[k] = slices.Compact(all)
		}
	}
	s.Packages = packages
}

// keep remembers the files that are in use; all, when it is not known which are.
func (s *Seen) keep(g glance, known map[seenKey][]inventory.Owner, whole bool) {
	s.Files = []SeenFile{}
	for k, owners := range known {
		_, deleted := g.deleted[k]
		if _, live := g.live[k]; live || deleted || !whole {
			s.Files = append(s.Files, SeenFile{k.path, k.dev, k.inode, append([]inventory.Owner{}, owners...)})
		}
	}
	slices.SortFunc(s.Files, func(a, b SeenFile) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Dev, b.Dev), cmp.Compare(a.Inode, b.Inode))
	})
	s.Files = s.Files[:min(len(s.Files), maxSeen)]
}

// mappings are the deleted files, each once, with what is known of them.
func (g glance) mappings(known map[seenKey][]inventory.Owner) []inventory.Mapping {
	out := []inventory.Mapping{}
	for k, m := range g.deleted {
		m.Process = canon.NoteOf(fmt.Sprintf("%s (pid %d)", comm(g.first[k]), g.first[k]))
		if owners := known[k]; len(owners) <= maxOwners {
			m.Owners = owners
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b inventory.Mapping) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Inode, b.Inode), strings.Compare(string(a.Process), string(b.Process)))
	})
	return out
}

// Load reads what an earlier process of the same boot had learned. What cannot
// be read was not learned.
func (s *Seen) Load(file string) {
	*s = Seen{}
	if st, err := os.Stat(file); err != nil || st.Size() > maxSeenFile {
		return
	}
	raw, err := os.ReadFile(file)
	if err != nil || canon.Decode(raw, s) != nil || s.Type != TypeSeen {
		*s = Seen{}
	}
}

const maxSeenFile = 32 << 20

// Save writes it to a file that root alone can read.
func (s *Seen) Save(file string) error {
	raw, err := canon.Encode(*s)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".seen-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	return err
}
