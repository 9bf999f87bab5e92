package apt

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/inventory"
)

// watch is a root directory with a package database, and what its processes map.
type watch struct {
	*testing.T
	dir   string
	sys   *system
	seen  Seen
	boot  string
	state string
	after string // the state once the processes were read; "": the same
	uses  []inventory.Use
	fail  error
}

const libOne = "/usr/lib/libone.so.1.0"

func newWatch(t *testing.T) *watch {
	w := &watch{T: t, dir: t.TempDir(), boot: "b", state: "1"}
	for _, p := range []string{aptGet, dpkg, libOne, "/usr/lib/libtwo.so.2", "/opt/own.so"} {
		w.put(p, p)
	}
	w.packages("one", libOne, "two", "/usr/lib/libtwo.so.2")
	var err error
	if w.sys, err = openSystem(w.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sys.close)
	return w
}

func (w *watch) put(p, text string) {
	w.Helper()
	at := filepath.Join(w.dir, p)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644)); err != nil {
		w.Fatal(err)
	}
}

// packages writes a database of packages that own a file each; lib NAME1 is built
// from NAME.
func (w *watch) packages(all ...string) {
	w.Helper()
	status := ""
	if err := os.RemoveAll(filepath.Join(w.dir, "/var/lib/dpkg/info")); err != nil {
		w.Fatal(err)
	}
	for i := 0; i < len(all); i += 2 {
		status += fmt.Sprintf("Package: lib%[1]s1\nSource: %[1]s\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n", all[i])
		w.put("/var/lib/dpkg/info/lib"+all[i]+"1.list", "/.\n"+all[i+1]+"\n")
	}
	w.put("/var/lib/dpkg/status", status)
}

func (w *watch) inode(p string) uint64 {
	w.Helper()
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(w.dir, p), &st); err != nil {
		w.Fatal(err)
	}
	return st.Ino
}

// use has a process map a file that is there.
func (w *watch) use(p string) inventory.Use {
	u := inventory.Use{Path: w.dir + p, Dev: "08:01", Inode: w.inode(p), Exec: true}
	w.uses = append(w.uses, u)
	return u
}

// upgrade replaces the file that libone1 owns by another, of the same or of
// another name.
func (w *watch) upgrade(to string) {
	w.Helper()
	w.put(to+".dpkg-new", "new")
	if err := os.Rename(filepath.Join(w.dir, to+".dpkg-new"), filepath.Join(w.dir, to)); err != nil {
		w.Fatal(err)
	}
	if to != libOne {
		os.Remove(filepath.Join(w.dir, libOne))
	}
	w.packages("one", to, "two", "/usr/lib/libtwo.so.2")
	w.state += "+"
	for i := range w.uses {
		w.uses[i].Deleted = w.uses[i].Deleted || w.uses[i].Path == w.dir+libOne
	}
}

// look is whose the deleted files are: "path: package, ...".
func (w *watch) look() []string {
	w.Helper()
	state := func() string { return w.state }
	all, err := w.seen.look(w.sys, w.boot, state, func(do func(int, []inventory.Use)) error {
		do(os.Getpid(), w.uses)
		if w.after != "" {
			w.state = w.after
		}
		return w.fail
	})
	if err != w.fail {
		w.Errorf("the look: %v", err)
	}
	out := []string{}
	for _, m := range all {
		line := m.Path + ":"
		for _, o := range m.Owners {
			line += " " + o.Package + " " + o.Source
		}
		if !strings.HasSuffix(m.Process.Text(), " (pid "+strconv.Itoa(os.Getpid())+")") {
			w.Errorf("used by %q", m.Process)
		}
		out = append(out, line)
	}
	return out
}

// TestWhoseADeletedFileWas: it is known of a file that a look has met in use
// while its package's list was certainly of it, and of no other.
func TestWhoseADeletedFileWas(t *testing.T) {
	const known, unknown = libOne + ": libone1:amd64 one", libOne + ":"
	for name, c := range map[string]struct {
		play func(*watch)
		want string
	}{
		"met before":                       {func(w *watch) { w.look(); w.upgrade(libOne) }, known},
		"met before, another name":         {func(w *watch) { w.look(); w.upgrade("/usr/lib/libone.so.1.1") }, known},
		"never met":                        {func(w *watch) { w.upgrade(libOne) }, unknown},
		"met when it was deleted already":  {func(w *watch) { w.upgrade(libOne); w.look() }, unknown},
		"met before two upgrades":          {func(w *watch) { w.look(); w.upgrade(libOne); w.look(); w.upgrade(libOne) }, known},
		"another package has the path now": {func(w *watch) { w.look(); w.upgrade(libOne); w.packages("three", libOne) }, known},
		"two packages list it": {func(w *watch) { w.packages("one", libOne, "three", libOne); w.look(); w.upgrade(libOne) },
			libOne + ": libone1:amd64 one libthree1:amd64 three"},
		"a package lists it later, too": {func(w *watch) {
			w.look()
			w.packages("one", libOne, "three", libOne)
			w.state = "2"
			w.look()
			w.upgrade(libOne)
		}, libOne + ": libone1:amd64 one libthree1:amd64 three"},
		"no list has it any more": {func(w *watch) {
			w.look()
			w.packages("two", "/x")
			w.state = "2"
			w.look()
			w.upgrade(libOne)
		}, known},
		"dpkg is at work": {func(w *watch) {
			w.put("/var/lib/dpkg/updates/0000", "")
			w.look()
			os.Remove(filepath.Join(w.dir, "/var/lib/dpkg/updates/0000"))
			w.upgrade(libOne)
		}, unknown},
		"dpkg has worked meanwhile":        {func(w *watch) { w.after = "2"; w.look(); w.after = ""; w.upgrade(libOne) }, unknown},
		"the database is not known":        {func(w *watch) { w.state = ""; w.look(); w.upgrade(libOne) }, unknown},
		"a package was left half unpacked": {func(w *watch) { w.halve(); w.look(); w.upgrade(libOne) }, unknown},
		"a list is missing": {func(w *watch) {
			os.Remove(filepath.Join(w.dir, "/var/lib/dpkg/info/libtwo1.list"))
			w.look()
			w.upgrade(libOne)
		}, unknown},
		"a list was missing once": {func(w *watch) {
			os.Remove(filepath.Join(w.dir, "/var/lib/dpkg/info/libtwo1.list"))
			w.look()
			w.packages("one", libOne, "two", "/x")
			w.look()
			w.upgrade(libOne)
		}, known},
		"the system has another file there": {func(w *watch) { w.uses[0].Inode += 1 << 20; w.look(); w.upgrade(libOne) }, unknown},
		"a name that may be an escaped one": {func(w *watch) {
			w.put(libOne+"\\012", "x")
			w.packages("one", libOne+"\\012")
			w.uses = nil
			w.use(libOne + "\\012")
			w.look()
			w.uses[0].Deleted = true
		}, libOne + "\\012:"},
		"too many packages list it": {func(w *watch) {
			var all []string
			for i := range maxOwners + 1 {
				all = append(all, fmt.Sprint("p", i), libOne)
			}
			w.packages(all...)
			w.look()
			w.upgrade(libOne)
		}, unknown},
		"another file was met":  {func(w *watch) { w.look(); w.upgrade(libOne); w.uses[0].Inode += 1 << 20 }, unknown},
		"another device's":      {func(w *watch) { w.look(); w.upgrade(libOne); w.uses[0].Dev = "08:02" }, unknown},
		"another boot":          {func(w *watch) { w.look(); w.upgrade(libOne); w.boot = "c" }, unknown},
		"the boot is not known": {func(w *watch) { w.boot = ""; w.look(); w.upgrade(libOne) }, unknown},
		"not in use in between": {func(w *watch) {
			was := w.uses
			w.look()
			w.uses = nil
			w.look()
			w.uses = was
			w.upgrade(libOne)
		}, unknown},
		"not all could be looked at in between": {func(w *watch) {
			was := w.uses
			w.look()
			w.uses, w.fail = nil, errors.New("process 7: no")
			w.look()
			w.uses, w.fail = was, nil
			w.upgrade(libOne)
		}, known},
		"the helper was started again": {func(w *watch) { w.look(); w.again(); w.upgrade(libOne) }, known},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatch(t)
			w.use(libOne)
			c.play(w)
			if got := w.look(); !reflect.DeepEqual(got, []string{c.want}) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func (w *watch) halve() {
	w.put("/var/lib/dpkg/status", "Package: libone1\nSource: one\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\nPackage: libtwo1\nStatus: install reinstreq half-installed\nArchitecture: amd64\nVersion: 1\n\n")
}

// again has another process go on with what was learned.
func (w *watch) again() {
	w.Helper()
	file := filepath.Join(w.dir, "seen")
	if err := w.seen.Save(file); err != nil {
		w.Fatal(err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		w.Errorf("%v, %v", st, err)
	}
	was := w.seen
	w.seen.Load(file)
	if !reflect.DeepEqual(was, w.seen) {
		w.Errorf("%+v, then %+v", was, w.seen)
	}
}

// TestNobodysFiles: what no list has is nobody's, and is told so beside others.
func TestNobodysFiles(t *testing.T) {
	w := newWatch(t)
	w.use("/opt/own.so")
	w.use("/usr/lib/libtwo.so.2")
	w.look()
	for i := range w.uses {
		w.uses[i].Deleted = true
	}
	w.uses = append(w.uses, inventory.Use{Path: "/tmp/x (deleted)", Dev: "00:20", Inode: 9, Deleted: true})
	if got := w.look(); !reflect.DeepEqual(got, []string{"/opt/own.so:", "/tmp/x (deleted):", "/usr/lib/libtwo.so.2: libtwo1:amd64 two"}) {
		t.Errorf("%q", got)
	}
	if len(w.seen.Files) != 2 || len(w.seen.Files[0].Owners) != 0 {
		t.Errorf("%+v", w.seen.Files)
	}
}

func TestWhatWasNotLearned(t *testing.T) {
	file := filepath.Join(t.TempDir(), "seen")
	for name, text := range map[string]string{"none": "", "cut": `{"boot":"b","files":[`, "another type": `{"boot":"b","files":[],"packages":"1","type":"x"}`, "no file": "-"} {
		if name == "no file" {
			os.Remove(file)
		} else if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := Seen{Boot: "c"}
		if s.Load(file); !reflect.DeepEqual(s, Seen{}) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// TestAProcessThatEndsMayHaveLeftOthers: a look ends once no process has ended
// before it was read.
func TestAProcessThatEndsMayHaveLeftOthers(t *testing.T) {
	no, bad := fs.ErrNotExist, errors.New("no")
	for name, c := range map[string]struct {
		lists [][]int // of each pass; the last one again
		errs  map[int]error
		stays map[int]bool
		met   []int
		fails string
	}{
		"none ends":                  {[][]int{{2, 3}, {2, 3, 4}}, nil, nil, []int{2, 3}, ""},
		"one ends and leaves one":    {[][]int{{2, 3}, {2, 4}}, map[int]error{3: no}, nil, []int{2, 4}, ""},
		"that one, too":              {[][]int{{2, 3}, {2, 4}, {2, 5}}, map[int]error{3: no, 4: unix.ESRCH}, nil, []int{2, 5}, ""},
		"a zombie leaves one":        {[][]int{{2, 3}, {2, 3, 4}}, map[int]error{3: no}, map[int]bool{3: true}, []int{2, 4}, ""},
		"one cannot be looked at":    {[][]int{{2, 3}}, map[int]error{2: bad}, nil, []int{3}, "process 2: no"},
		"they end without an end":    {[][]int{{2, 3}}, map[int]error{3: no}, nil, []int{2}, "faster than"},
		"the first, and without end": {[][]int{{2, 3}}, map[int]error{2: bad, 3: no}, nil, nil, "process 2: no"},
	} {
		pass, met := 0, []int(nil)
		list := func() ([]int, error) {
			pass++
			return c.lists[min(pass, len(c.lists))-1], nil
		}
		err := sweep(list, func(pid int) ([]inventory.Use, error) { return nil, c.errs[pid] }, func(pid int) bool { return c.stays[pid] },
			func(pid int, _ []inventory.Use) { met = append(met, pid) })
		if !reflect.DeepEqual(met, c.met) || (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%s: met %v, want %v; %v", name, met, c.met, err)
		}
	}
	if err := sweep(func() ([]int, error) { return nil, bad }, nil, nil, nil); err != bad {
		t.Errorf("no list: %v", err)
	}
}

// TestProcessesOfTheSystem reads the processes that really run here.
func TestProcessesOfTheSystem(t *testing.T) {
	here := &system{dir: "/"}
	var err error
	if here.fd, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	defer here.close()
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Skipf("no sleep(1) here: %v", err)
	}
	defer func() { child.Process.Kill(); child.Wait() }()
	met := map[int]int{}
	var files []inventory.Use
	err = here.processes(func(pid int, uses []inventory.Use) {
		met[pid]++
		if pid == os.Getpid() {
			files = uses
		}
	})
	if met[os.Getpid()] != 1 || met[child.Process.Pid] != 1 {
		t.Errorf("met %d and %d times: %v", met[os.Getpid()], met[child.Process.Pid], err)
	}
	if len(files) == 0 || files[0].Deleted {
		t.Errorf("this process maps %+v", files)
	}
	proc := "/proc/" + strconv.Itoa(os.Getpid())
	if in, err := here.confined(proc); !in || err != nil {
		t.Errorf("a process with the mounts of the system: %v, %v", in, err)
	}
	if in, _ := (&system{dir: t.TempDir()}).confined(proc); in {
		t.Error("a process of the machine is taken for one of a root directory")
	}
}

// TestAFileThatTheSystemHasElsewhere: a process with mounts of its own may have
// another file at a path of the system's.
func TestAFileThatTheSystemHasElsewhere(t *testing.T) {
	dir := t.TempDir()
	inside, beside := filepath.Join(dir, "own/f"), filepath.Join(dir, "f")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "own"), 0o755), os.WriteFile(inside, nil, 0o644), os.WriteFile(beside, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sh", "-c", "mount -t tmpfs none own && touch own/f && echo ready && exec sleep 60")
	child.Dir, child.SysProcAttr = dir, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Skipf("no mounts of a process's own here: %v", err)
	}
	defer func() { child.Process.Kill(); child.Wait() }()
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Skip("no mounts of a process's own here")
	}
	here := &system{dir: "/"}
	if here.fd, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	defer here.close()
	g := glance{sys: here}
	for path, want := range map[string]bool{inside: false, beside: true} {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		if got := g.there(seenKey{path, "", st.Ino}, child.Process.Pid, false); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if in, err := here.confined("/proc/" + strconv.Itoa(child.Process.Pid)); in || err != nil {
		t.Errorf("a process with mounts of its own: %v, %v", in, err)
	}
}
