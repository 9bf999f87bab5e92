package helper

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/agent/parley"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// Limits of what is copied from the messenger's directory.
const (
	maxWrit       = 16 << 20
	maxTrustFiles = 4096
	maxTrust      = 256 << 20 // bytes of all files together
)

// messenger is the directory of somebody who is not trusted: nothing leads out
// of it, and only ordinary files are read.
type messenger struct{ *os.Root }

func openMessenger(dir string) (messenger, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return messenger{}, refusal.New(codeFiles, "%v", err)
	}
	return messenger{root}, nil
}

// file opens an ordinary file.
func (m messenger) file(name string) (*os.File, error) {
	f, err := m.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, refusal.New(codeFiles, "%v", err)
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, refusal.New(codeFiles, "%s is no ordinary file", name)
	}
	return f, nil
}

// blob reads a file by its digest.
func (m messenger) blob(d canon.Digest) ([]byte, error) {
	f, err := m.file(parley.BlobsDir + "/" + string(d))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxWrit+1))
	if err == nil && (len(raw) > maxWrit || canon.SumFile(raw) != d) {
		err = errors.New("it is too large, or not what its name says")
	}
	if err != nil {
		return nil, refusal.New(codeFiles, "%s: %v", d.Short(), err)
	}
	return raw, nil
}

// opened is an open directory: whatever its name leads to later, it stays the
// one that was opened.
type opened struct{ *os.File }

func (m messenger) dir(name string) (opened, error) {
	f, err := m.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0)
	if err != nil {
		return opened{}, refusal.New(codeFiles, "%v", err)
	}
	return opened{f}, nil
}

func (o opened) path() string { return fmt.Sprintf("/proc/self/fd/%d", o.Fd()) }

// trustDir is the helper's own copy of the trust repository.
func (h *Helper) trustDir() string { return filepath.Join(h.State, "trust") }

// takeTrust copies the messenger's trust repository. It takes the place of the
// own copy when it loads under the pinned root; whether it is older than what
// was acted on before is for the attempt to say.
func (h *Helper) takeTrust(m messenger) error {
	fresh := h.trustDir() + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return refusal.New(codeFiles, "%v", err)
	}
	defer os.RemoveAll(fresh) // what is left when it was not taken
	if err := m.copyTree(parley.TrustDir, fresh); err != nil {
		return err
	}
	if _, err := trust.Load(os.DirFS(fresh), h.e.Pinned, trust.Versions{}, h.Now()); err != nil {
		return err
	}
	if err := h.putTrust(fresh); err != nil {
		return refusal.New(codeFiles, "%v", err)
	}
	return nil
}

// putTrust makes fresh the own copy, durably and at no moment without one: after
// a power cut the way back needs it, and nobody else has to be there.
func (h *Helper) putTrust(fresh string) error {
	err := fs.WalkDir(os.DirFS(fresh), ".", func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncPath(filepath.Join(fresh, filepath.FromSlash(p)))
	})
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, h.trustDir(), unix.RENAME_EXCHANGE)
		if errors.Is(err, fs.ErrNotExist) { // the first one
			err = os.Rename(fresh, h.trustDir())
		}
	}
	return errors.Join(err, syncPath(h.State), os.RemoveAll(fresh))
}

// syncPath makes what a file or directory holds survive a power cut.
func syncPath(p string) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// copyTree copies ordinary files and directories below name.
func (m messenger) copyTree(name, to string) error {
	files, left := 0, int64(maxTrust)
	return fs.WalkDir(m.FS(), name, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return refusal.New(codeFiles, "%v", err)
		}
		if files++; files > maxTrustFiles {
			return refusal.New(codeFiles, "%s holds more than %d files", name, maxTrustFiles)
		}
		target := filepath.Join(to, filepath.FromSlash(p[len(name):]))
		if d.IsDir() {
			if err := os.Mkdir(target, 0o700); err != nil {
				return refusal.New(codeFiles, "%v", err)
			}
			return nil
		}
		n, err := m.copyFile(p, target, left)
		left -= n
		return err
	})
}

func (m messenger) copyFile(name, to string, left int64) (int64, error) {
	in, err := m.file(name)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	if st, err := in.Stat(); err != nil || st.Size() > left {
		return 0, refusal.New(codeFiles, "%s makes it more than %d bytes", path.Base(name), int64(maxTrust))
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, refusal.New(codeFiles, "%v", err)
	}
	n, err := io.Copy(out, io.LimitReader(in, left+1))
	if err = errors.Join(err, out.Close()); err == nil && n > left {
		err = fmt.Errorf("%s makes it more than %d bytes", path.Base(name), int64(maxTrust))
	}
	if err != nil {
		return n, refusal.New(codeFiles, "%v", err)
	}
	return n, nil
}
