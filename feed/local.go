package feed

import (
	"archive/zip"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/patchwrit/patchwrit/canon"
)

// path reads a directory, a zip or a single file. date is that of a file's
// content; 0: its modification time.
func (r *reading) path(ctx context.Context, name string, date int64) error {
	if root, err := folder(name); err == nil {
		defer root.Close()
		return r.directory(ctx, root)
	}
	f, err := regular(name)
	if err != nil {
		return unusable("%v", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return unusable("%v", err)
	}
	return r.file(ctx, f, name, cmp.Or(date, info.ModTime().Unix()))
}

// folder opens a directory, and nothing else: opening a pipe would wait.
func folder(name string) (*os.Root, error) {
	if info, err := os.Stat(name); err != nil || !info.IsDir() {
		return nil, cmp.Or(err, fs.ErrInvalid)
	}
	return os.OpenRoot(name)
}

// regular opens a regular file. It does not wait for the writer of a pipe.
func regular(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: name, Err: errors.New("it is no regular file")}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnusable, fmt.Sprintf(format, args...))
}

// file reads a zip or a single file, after hashing it whole.
func (r *reading) file(ctx context.Context, f *os.File, name string, date int64) error {
	sum := sha256.New()
	size, err := io.Copy(sum, io.LimitReader(contextReader{ctx, f}, r.limits.Download+1))
	if err != nil {
		return failed(ctx, err)
	}
	if size > r.limits.Download {
		return unusable("%s has more than %d bytes", name, r.limits.Download)
	}
	r.snap.Digest = digest(sum)
	head := make([]byte, 2)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return failed(ctx, err)
	}
	if string(head[:n]) == "PK" {
		return r.zip(ctx, f, size, name)
	}
	r.visit(ctx, name, io.NewSectionReader(f, 0, size), date)
	return ctx.Err()
}

func digest(h hash.Hash) canon.Digest { return canon.Digest(hex.EncodeToString(h.Sum(nil))) }

// zip reads every .json entry, ascending by name. The zip's own words about
// sizes are not believed.
func (r *reading) zip(ctx context.Context, f io.ReaderAt, size int64, name string) error {
	z, err := zip.NewReader(&ahead{in: f}, size)
	if err != nil {
		return unusable("%s is no complete zip (%v); fetch it again", name, err)
	}
	entries := slices.DeleteFunc(slices.Clone(z.File), func(e *zip.File) bool { return !r.wants(e.Name) })
	slices.SortStableFunc(entries, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range entries {
		if r.passed(e.Name, func() int64 { return e.Modified.Unix() }) {
			continue
		}
		if more, err := r.next(ctx, e.Name); !more {
			return err
		}
		in, err := e.Open()
		if err != nil {
			r.gap(e.Name, "%v", err)
			continue
		}
		r.visit(ctx, e.Name, in, e.Modified.Unix())
		in.Close()
	}
	return ctx.Err()
}

// ahead reads a file some way ahead: a zip takes several small reads for each of
// its tens of thousands of files, and each would ask the system.
type ahead struct {
	in   io.ReaderAt
	from int64 // where kept begins
	kept []byte
	room [8 << 10]byte
}

// ReadAt is io.ReaderAt's, for one goroutine.
func (a *ahead) ReadAt(b []byte, at int64) (int, error) {
	if at < a.from || at+int64(len(b)) > a.from+int64(len(a.kept)) {
		if len(b) > len(a.room)/2 {
			return a.in.ReadAt(b, at)
		}
		n, err := a.in.ReadAt(a.room[:], at)
		if a.from, a.kept = at, a.room[:n]; n < len(b) {
			return copy(b, a.kept), cmp.Or(err, io.ErrUnexpectedEOF)
		}
	}
	return copy(b, a.kept[at-a.from:]), nil
}

// next counts a file. It is false when the reading must stop: with an error
// when the caller gave up, with a gap when a limit is reached.
func (r *reading) next(ctx context.Context, name string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if r.files >= r.limits.Records {
		r.gap(name, "reading stopped here: more than %d files", r.limits.Records)
		return false, nil
	}
	if r.left <= 0 {
		r.gap(name, "reading stopped here: the files before it unpack to more than %d bytes", r.limits.Unpacked)
		return false, nil
	}
	return true, nil
}

// directory reads every .json file below root. What a reader left of a file is
// hashed too. Links are not followed, since
// they may lead anywhere; each is a gap.
func (r *reading) directory(ctx context.Context, root *os.Root) error {
	list := sha256.New()
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			r.gap(name, "%v", err)
			return nil
		case d.IsDir() || !r.wants(name):
			return nil
		case !d.Type().IsRegular():
			r.gap(name, "it is a link or a special file and was not read")
			return nil
		}
		if r.passed(name, func() int64 { return modified(d) }) {
			return nil
		}
		if more, err := r.next(ctx, name); !more {
			return cmp.Or(err, fs.SkipAll)
		}
		in, err := root.Open(name)
		if err != nil {
			r.gap(name, "%v", err)
			return nil
		}
		defer in.Close()
		date := int64(0)
		if info, err := in.Stat(); err == nil {
			date = info.ModTime().Unix()
		}
		sum := sha256.New()
		r.visit(ctx, name, io.TeeReader(in, sum), date)
		if _, err := io.Copy(sum, io.LimitReader(in, r.limits.Download)); err != nil {
			r.gap(name, "%v", err)
		}
		fmt.Fprintf(list, "%s  %s\n", digest(sum), name)
		return nil
	})
	r.snap.Digest = digest(list)
	return cmp.Or(err, ctx.Err())
}

func modified(d fs.DirEntry) int64 {
	info, err := d.Info()
	if err != nil {
		return 0
	}
	return info.ModTime().Unix()
}

// contextReader stops reading when the caller gives up.
type contextReader struct {
	ctx context.Context
	in  io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.in.Read(p)
}

// failed keeps the context's own error and makes every other one ErrUnusable.
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return unusable("%v", err)
}
