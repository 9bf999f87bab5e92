package apt

import (
	"context"
	"errors"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
)

// startsFrom refuses changes that begin at another state than is installed, or
// that touch a package on hold.
func startsFrom(changes []change.Change, packages []inventory.Package) error {
	is := map[string]inventory.Package{}
	for _, p := range packages {
		is[p.Key()] = p
	}
	for _, c := range changes {
		p, version := is[c.Key()], ""
		if p.Status.Present() && p.Name != "" {
			version = p.Version
		}
		switch {
		case version != c.From:
			return refusal.New(pkgmgr.CodeFrom, "%s is installed as %q, the writ starts from %q", c.Key(), version, c.From)
		case p.Hold:
			return refusal.New(pkgmgr.CodeHeld, "%s %s", c.Key(), p.Version)
		}
	}
	return nil
}

// remaining is what a plan's own rollback still has to do: the changes whose
// package is not at rest where it came from. They start from what dpkg records
// now: when the failed transaction died while unpacking, that is still the old
// version, and the change puts the same version there again.
func remaining(back []change.Change, packages []inventory.Package) []change.Change {
	is := map[string]inventory.Package{}
	for _, p := range packages {
		is[p.Key()] = p
	}
	todo := []change.Change{}
	for _, c := range back {
		p := is[c.Key()]
		o := pkgmgr.Compare([]change.Change{c}, nil, []inventory.Package{p})
		if o.There {
			continue
		}
		c.From = o.States[0].After
		todo = append(todo, c)
	}
	return todo
}

// classOf computes how dangerous the changes are from the bytes themselves: old
// and new artefacts by the changes' keys.
func classOf(changes []change.Change, news, olds map[string]artefact.Contents, critical change.List) change.Class {
	top := change.Routine
	for _, c := range changes {
		old, had := olds[c.Key()]
		if c.Op == change.Remove {
			top = change.Max(top, removal(c, old, critical))
			continue
		}
		before := &old
		if !had {
			before = nil
		}
		class, _ := artefact.Class(artefact.Compare(before, news[c.Key()]), news[c.Key()], critical)
		if c.Op == change.Downgrade {
			class = change.Critical
		}
		top = change.Max(top, class)
	}
	return top
}

// removal is the class of taking a package away: never routine.
func removal(c change.Change, old artefact.Contents, critical change.List) change.Class {
	floor := artefact.Floor()
	if old.Essential || critical.HasPackage(c.Package) || floor.HasPackage(c.Package) {
		return change.Critical
	}
	for _, f := range old.Files {
		if f.Kind != artefact.Dir && (critical.HasPath(f.Path) || floor.HasPath(f.Path)) {
			return change.Critical
		}
	}
	return change.Sensitive
}

// locks are dpkg's own. apt and every front end hold the first one while they
// work; dpkg holds the second.
var locks = []string{"/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"}

// unlocked waits, at most LockWait, until no package manager holds dpkg's locks.
func (m *Manager) unlocked(ctx context.Context) error {
	deadline := m.Now().Add(m.LockWait)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		pid, err := m.holder()
		if pid == 0 || err != nil {
			return err
		}
		if !m.Now().Before(deadline) {
			return refusal.New(pkgmgr.CodeLock, "process %d", pid)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return refusal.New(pkgmgr.CodeLock, "process %d; %v", pid, ctx.Err())
		}
	}
}

// holder is the process that holds one of dpkg's locks, 0 when nobody does.
func (m *Manager) holder() (int, error) {
	for _, p := range locks {
		f, err := m.sys.open(p, unix.O_RDWR)
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return 0, refusal.New(pkgmgr.CodeDatabase, "%v", err)
		}
		pid, err := lockHolder(int(f.Fd()))
		f.Close()
		if err != nil {
			return 0, refusal.New(pkgmgr.CodeDatabase, "%s: %v", p, err)
		}
		if pid != 0 {
			return pid, nil
		}
	}
	return 0, nil
}

// lockHolder asks who holds a file's fcntl lock: 0 nobody, -1 a process that
// this one cannot see.
func lockHolder(fd int) (int, error) {
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &l); err != nil {
		return 0, err
	}
	switch {
	case l.Type == unix.F_UNLCK:
		return 0, nil
	case l.Pid == 0:
		return -1, nil
	}
	return int(l.Pid), nil
}

// Room that a run needs besides the files themselves.
const (
	block  = 4096     // every file and directory takes whole blocks
	margin = 32 << 20 // dpkg rewrites its status file, keeps scripts and lists, logs
)

// roomToUnpack refuses when a file system has no room for the new files beside
// the old ones, as dpkg puts them until each package is done.
func (m *Manager) roomToUnpack(news map[string]artefact.Contents) error {
	need, where := map[uint64]int64{}, map[uint64]string{}
	known := map[string]uint64{}
	add := func(dir string, bytes int64) error {
		dev, ok := known[dir]
		if !ok {
			var err error
			if dev, err = m.device(dir); err != nil {
				return refusal.New(pkgmgr.CodeSpace, "%s: %v", dir, err)
			}
			known[dir] = dev
		}
		need[dev] += bytes
		if where[dev] == "" || len(dir) < len(where[dev]) {
			where[dev] = dir
		}
		return nil
	}
	if err := add("/var/lib/dpkg", margin); err != nil {
		return err
	}
	for _, c := range news {
		for _, f := range c.Files {
			if err := add(path.Dir(f.Path), (f.Size+block-1)/block*block); err != nil {
				return err
			}
		}
	}
	for dev, bytes := range need {
		if err := m.room(where[dev], bytes); err != nil {
			return err
		}
	}
	return nil
}

// device tells on which file system a directory lies, or will lie: that of its
// nearest ancestor that is there.
func (m *Manager) device(dir string) (uint64, error) {
	for {
		f, err := m.sys.open(dir, unix.O_PATH)
		if errors.Is(err, os.ErrNotExist) && dir != "/" {
			dir = path.Dir(dir)
			continue
		} else if err != nil {
			return 0, err
		}
		defer f.Close()
		var st unix.Stat_t
		err = unix.Fstat(int(f.Fd()), &st)
		return st.Dev, err
	}
}

// room refuses when the file system of dir, which may not be there yet, has
// fewer bytes left.
func (m *Manager) room(dir string, bytes int64) error {
	f, err := m.sys.open(dir, unix.O_PATH)
	for errors.Is(err, os.ErrNotExist) && dir != "/" {
		dir = path.Dir(dir)
		f, err = m.sys.open(dir, unix.O_PATH)
	}
	if err != nil {
		return refusal.New(pkgmgr.CodeSpace, "%s: %v", dir, err)
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return refusal.New(pkgmgr.CodeSpace, "%s: %v", dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < bytes {
		return refusal.New(pkgmgr.CodeSpace, "%s has %d MiB left, %d MiB are needed", dir, free>>20, (bytes>>20)+1)
	}
	return nil
}

// roomToCopy refuses when the own directory has no room for the artefacts.
func (m *Manager) roomToCopy(sets ...[]change.Change) error {
	bytes := int64(margin)
	for _, set := range sets {
		for _, c := range set {
			bytes += c.Size
		}
	}
	return m.room(path.Dir(ownDir), bytes)
}

// complains reads from apt's exit and words what went wrong: "" when nothing
// did.
func complains(e exit, log string) refusal.Code {
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(log, w) {
				return true
			}
		}
		return false
	}
	switch {
	case e.Why != "":
		return pkgmgr.CodeTool
	case e.Code == 0 && e.Signal == 0:
		return ""
	case has("Failure running script " + agentBin):
		return pkgmgr.CodeGate
	case has("Could not get lock", "Unable to acquire the dpkg frontend lock", "dpkg frontend lock was locked by another process"):
		return pkgmgr.CodeLock
	case has("No space left on device", "Disk quota exceeded"):
		return pkgmgr.CodeFull
	case has(" script subprocess "):
		return pkgmgr.CodeScript
	}
	return pkgmgr.CodeExit
}
