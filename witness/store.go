package witness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// Names in the state directory.
const (
	keyFile   = "key.json"
	seenFile  = "seen.json"  // what was cosigned last, for each origin
	trustFile = "trust.json" // the house and the newest versions seen of its trust root
	haltDir   = "halts"      // one file for each halt, named by its digest
	lockFile  = "lock"
)

// maxFile bounds a file of the state directory; the largest is a halt with all
// its approvals.
const maxFile = 2 << 20

// store is the state directory. What save has returned from survives a crash:
// the bytes are written beside, synced, renamed, and the directory is synced.
type store struct {
	dir  string
	lock *os.File
}

// openStore takes the directory for this process, and refuses one that others
// can read.
func openStore(dir string) (*store, error) {
	for _, p := range []string{dir, filepath.Join(dir, keyFile), filepath.Join(dir, seenFile), filepath.Join(dir, trustFile)} {
		info, err := os.Stat(p)
		if err != nil {
			return nil, refusal.New(CodeState, "%v", err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			return nil, refusal.New(CodeExposed, "%s has mode %#o", p, info.Mode().Perm())
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("witness state: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(refusal.New(CodeBusy, "%s: %v", dir, err), f.Close())
	}
	return &store{dir, f}, nil
}

func (s *store) close() error { return s.lock.Close() }

// load reads a file of the directory into v. One that is missing or damaged is
// refused: a witness must not begin anew.
func (s *store) load(name string, v any) error {
	path := filepath.Join(s.dir, name)
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("%d bytes, limit %d", info.Size(), maxFile)
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err == nil {
		err = canon.Decode(b, v)
	}
	if err != nil {
		return refusal.New(CodeState, "%s: %v", path, err)
	}
	return nil
}

// save writes v durably.
func (s *store) save(name string, v any) error {
	b, err := canon.Encode(v)
	if err != nil {
		return fmt.Errorf("witness state %s: %w", name, err)
	}
	path := filepath.Join(s.dir, name)
	if err := write(path+".new", b, os.O_CREATE|os.O_TRUNC); err != nil {
		return fmt.Errorf("witness state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("witness state: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// remove deletes a file; that it is gone need not survive a crash.
func (s *store) remove(name string) error {
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("witness state: %w", err)
	}
	return nil
}

// list names the files below a folder of the directory that save has finished.
func (s *store) list(folder string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(s.dir, folder, "*.json"))
	if err != nil {
		return nil, err
	}
	for i, p := range found {
		found[i] = filepath.Join(folder, filepath.Base(p))
	}
	return found, nil
}

// write makes a file that only its owner reads, and syncs it.
func write(path string, b []byte, how int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|how, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("witness state: %w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}
