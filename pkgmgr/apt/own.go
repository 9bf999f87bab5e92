package apt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
)

// system is the root directory that is worked on. Every path below it is
// resolved as a process inside would, so no link in it leads out.
type system struct {
	dir string // on this side; "/" for the running system
	fd  int
}

// openSystem opens a root directory that holds a Debian system.
func openSystem(dir string) (*system, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, refusal.New(pkgmgr.CodeRoot, "%s: %v", dir, err)
	}
	s := &system{dir: dir, fd: fd}
	for _, p := range []string{"/var/lib/dpkg/status", aptGet, dpkg} {
		f, err := s.open(p, unix.O_PATH)
		if err != nil {
			s.close()
			return nil, refusal.New(pkgmgr.CodeRoot, "%s: %v", dir, err)
		}
		f.Close()
	}
	return s, nil
}

func (s *system) close() { unix.Close(s.fd) }

// running reports whether this is the running system and not a directory.
func (s *system) running() bool { return s.dir == "/" }

// open opens a path as the system inside sees it.
func (s *system) open(p string, flags uint64) (*os.File, error) {
	fd, err := unix.Openat2(s.fd, p, &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: p, Err: err}
	}
	return os.NewFile(uintptr(fd), p), nil
}

// openLast opens a path without following its last element.
func (s *system) openLast(p string) (*os.File, error) {
	return s.open(p, unix.O_PATH|unix.O_NOFOLLOW)
}

// own is the agent's own directory inside a system: root's, mode 0700.
type own struct {
	sys  *system
	root *os.Root
	lock *os.File // held by this process or by the supervisor it started; nil when not
}

// openOwn opens the own directory, and makes it when it is not there. One that
// somebody else could change is refused.
func openOwn(s *system) (*own, error) {
	parent, err := s.open(path.Dir(ownDir), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, refusal.New(pkgmgr.CodeDir, "%v", err)
	}
	defer parent.Close()
	name := path.Base(ownDir)
	if err := unix.Mkdirat(int(parent.Fd()), name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, refusal.New(fullOr(err, pkgmgr.CodeDir), "%s: %v", ownDir, err)
	}
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, refusal.New(pkgmgr.CodeDir, "%s: %v", ownDir, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, refusal.New(pkgmgr.CodeDir, "%s: %v", ownDir, err)
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return nil, refusal.New(pkgmgr.CodeDir, "%s belongs to user %d and has mode %#o", ownDir, st.Uid, st.Mode&0o7777)
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, refusal.New(pkgmgr.CodeDir, "%s: %v", ownDir, err)
	}
	o := &own{sys: s, root: root}
	for _, dir := range []string{emptyDir, runsDir, storeDir, path.Dir(agentBin)} {
		if err := root.MkdirAll(o.rel(dir), 0o700); err != nil {
			o.close()
			return nil, refusal.New(fullOr(err, pkgmgr.CodeDir), "%v", err)
		}
	}
	return o, nil
}

func (o *own) close() {
	if o.lock != nil {
		o.lock.Close()
	}
	o.root.Close()
}

// rel turns a path inside the system into one inside the own directory.
func (o *own) rel(p string) string { return strings.TrimPrefix(p, ownDir+"/") }

// acquire takes the lock of the one transaction that may run. It is refused
// while a supervisor, also one of an agent that was killed, still holds it.
func (o *own) acquire() error {
	f, err := o.root.OpenFile(o.rel(lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return refusal.New(fullOr(err, pkgmgr.CodeDir), "%v", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return refusal.New(pkgmgr.CodeRunning, "its lock is %s%s", o.sys.dir, lockFile)
		}
		return refusal.New(pkgmgr.CodeDir, "%s: %v", lockFile, err)
	}
	o.lock = f
	return nil
}

// newRun makes a fresh directory for a run, in place of one of that name that
// was never begun, and returns its path inside the system.
func (o *own) newRun(name string) (string, error) {
	run := runsDir + "/" + name
	if err := o.root.RemoveAll(o.rel(run)); err != nil {
		return "", refusal.New(pkgmgr.CodeDir, "%v", err)
	}
	for _, dir := range []string{"/archives/partial", "/lists/partial"} {
		if err := o.root.MkdirAll(o.rel(run+dir), 0o700); err != nil {
			return "", refusal.New(fullOr(err, pkgmgr.CodeDir), "%v", err)
		}
	}
	return run, nil
}

// write makes a new file of the own directory, durably.
func (o *own) write(p string, content []byte) error {
	f, err := o.root.OpenFile(o.rel(p), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// read reads a file of the own directory, at most limit bytes of it.
func (o *own) read(p string, limit int64) ([]byte, error) {
	f, err := o.root.Open(o.rel(p))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", p, limit)
	}
	return b, err
}

// installAgent copies the agent's binary into the system, where the gate and
// the supervisor run from, unless it is there already.
func (o *own) installAgent(from string) error {
	want, err := sumOf(from)
	if err != nil {
		return refusal.New(pkgmgr.CodeTool, "%v", err)
	}
	at := o.rel(agentBin)
	if f, err := o.root.Open(at); err == nil {
		have, err := sumReader(f)
		f.Close()
		if err == nil && have == want {
			return nil
		}
	}
	if err := o.copyAgent(from, at+".new"); err != nil {
		return refusal.New(fullOr(err, pkgmgr.CodeTool), "%v", err)
	}
	if err := o.root.Rename(at+".new", at); err != nil {
		return refusal.New(fullOr(err, pkgmgr.CodeTool), "%v", err)
	}
	return nil
}

func (o *own) copyAgent(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := o.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// sumOf is the SHA-256 of a file's bytes.
func sumOf(p string) (canon.Digest, error) {
	f, err := os.Open(p)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return sumReader(f)
}

func sumReader(r io.Reader) (canon.Digest, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return canon.Digest(hex.EncodeToString(h.Sum(nil))), nil
}

// writeNew makes a file that must not exist, durably.
func writeNew(p string, content []byte) error {
	f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// fullOr is the code for an error: no room left, or otherwise.
func fullOr(err error, otherwise refusal.Code) refusal.Code {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return pkgmgr.CodeSpace
	}
	return otherwise
}
