package messenger

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// Limits of what is fetched.
const (
	maxWrit  = 16 << 20
	maxFiles = 8192
	maxTrust = 256 << 20 // bytes of the trust repository
	maxPool  = 16 << 30  // bytes of a writ's pool
	spare    = 64 << 20  // bytes that stay free on the disk
)

// check says why a list of files is not to be fetched, or nil.
func check(files []wire.File, limit int64) error {
	if len(files) > maxFiles {
		return refusal.New(codeFetch, "%d files; the most is %d", len(files), maxFiles)
	}
	left := limit
	for _, f := range files {
		if !fs.ValidPath(f.Name) || f.Name == "." || !f.Digest.Valid() || f.Size < 0 {
			return refusal.New(codeFetch, "a file %q of %d bytes", f.Name, f.Size)
		}
		if left -= f.Size; left < 0 {
			return refusal.New(codeFetch, "more than %d bytes", limit)
		}
	}
	return nil
}

// room refuses what would fill the disk.
func (m *Messenger) room(files []wire.File) error {
	need := int64(spare)
	for _, f := range files {
		if !m.has(f.Digest) {
			need += f.Size
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(m.State, &st); err != nil {
		return refusal.New(codeState, "%v", err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return refusal.New(codeState, "%s has %d bytes free, %d are needed", m.State, free, need)
	}
	return nil
}

func (m *Messenger) blob(d canon.Digest) string { return filepath.Join(m.State, blobsDir, string(d)) }

func (m *Messenger) has(d canon.Digest) bool {
	_, err := os.Lstat(m.blob(d))
	return err == nil
}

// fetchAll fetches files that are not here yet.
func (m *Messenger) fetchAll(ctx context.Context, files []wire.File, limit int64) error {
	if err := check(files, limit); err != nil {
		return err
	}
	if err := m.room(files); err != nil {
		return err
	}
	for _, f := range files {
		if err := m.fetch(ctx, f.Digest, f.Size); err != nil {
			return err
		}
	}
	return nil
}

// fetch fetches one blob, from where it was cut off. Without a size (-1) the
// first answer says it.
func (m *Messenger) fetch(ctx context.Context, d canon.Digest, size int64) error {
	if m.has(d) {
		return nil
	}
	partial := filepath.Join(m.State, partialDir, string(d))
	f, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return refusal.New(codeState, "%v", err)
	}
	defer f.Close()
	if err := m.chunks(ctx, f, d, size); err != nil {
		return err
	}
	sum, err := sumOf(f)
	if err == nil && sum != d {
		os.Remove(partial)
		return refusal.New(codeFetch, "what came for %s has digest %s", d.Short(), sum.Short())
	}
	if err = errors.Join(err, f.Sync()); err == nil {
		err = os.Rename(partial, m.blob(d))
	}
	if err != nil {
		return refusal.New(codeState, "%v", err)
	}
	return nil
}

// chunks appends to f until it is whole.
func (m *Messenger) chunks(ctx context.Context, f *os.File, d canon.Digest, size int64) error {
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return refusal.New(codeState, "%v", err)
	}
	if size >= 0 && at > size {
		at = 0
	}
	for size < 0 || at < size {
		a, err := ask[wire.BlobAnswer](ctx, m.Wire, wire.Fetch, wire.BlobRequest{Digest: d, Offset: at})
		if err != nil {
			return err
		}
		data, err := base64.StdEncoding.Strict().DecodeString(a.Data)
		switch {
		case size < 0 && a.Size <= maxWrit:
			size = a.Size
		case a.Size != size:
			return refusal.New(codeFetch, "%s has %d bytes, not %d", d.Short(), a.Size, size)
		}
		if err != nil || len(data) == 0 && at < size || len(data) > wire.MaxChunk || at+int64(len(data)) > size {
			return refusal.New(codeFetch, "a part of %s at %d with %d bytes: %v", d.Short(), at, len(data), err)
		}
		if _, err := f.WriteAt(data, at); err != nil {
			return refusal.New(codeState, "%v", err)
		}
		at += int64(len(data))
	}
	if err := f.Truncate(size); err != nil {
		return refusal.New(codeState, "%v", err)
	}
	return nil
}

func sumOf(f *os.File) (canon.Digest, error) {
	h := sha256.New()
	_, err := io.Copy(h, io.NewSectionReader(f, 0, 1<<62))
	return canon.Digest(hex.EncodeToString(h.Sum(nil))), err
}

// layOut gives blobs their names in a directory, in place of what was there.
func (m *Messenger) layOut(name string, files []wire.File) error {
	dir := filepath.Join(m.State, name)
	fresh := dir + newSuffix
	err := os.RemoveAll(fresh)
	if err == nil {
		err = os.Mkdir(fresh, 0o700)
	}
	for _, f := range files {
		target := filepath.Join(fresh, filepath.FromSlash(f.Name))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(target), 0o700)
		}
		if err == nil {
			err = os.Link(m.blob(f.Digest), target)
		}
	}
	if err != nil {
		return refusal.New(codeState, "%v", err)
	}
	return nil
}

// settle makes what layOut has laid out the directory that is looked at.
func (m *Messenger) settle(name string) error {
	dir := filepath.Join(m.State, name)
	err := os.RemoveAll(dir)
	if err == nil {
		err = os.Rename(dir+newSuffix, dir)
	}
	if err == nil {
		err = syncDir(m.State)
	}
	if err != nil {
		return refusal.New(codeState, "%v", err)
	}
	return nil
}

// takeTrust fetches a trust repository and takes it when it loads under the
// pinned root. It never goes back.
func (m *Messenger) takeTrust(ctx context.Context, files []wire.File) error {
	if err := m.fetchAll(ctx, files, maxTrust); err != nil {
		return err
	}
	if err := m.layOut(trustDir, files); err != nil {
		return err
	}
	root, err := trust.Load(os.DirFS(filepath.Join(m.State, trustDir+newSuffix)), m.server.Pinned, m.held().Versions, m.Now())
	if err != nil {
		return err
	}
	if err := m.settle(trustDir); err != nil {
		return err
	}
	m.Logger.Info("trust repository taken", "root", root.Versions.Root, "targets", root.Versions.Targets, "hosts", root.Versions.Hosts, "timestamp", root.Versions.Timestamp)
	return m.put(heldFile, held{Versions: root.Versions, Files: files})
}

// sweep removes blobs that neither the trust repository nor the offer needs.
func (m *Messenger) sweep(o offer) error {
	keep := []canon.Digest{o.Writ}
	for _, f := range slices.Concat(m.held().Files, o.Pool) {
		keep = append(keep, f.Digest)
	}
	for _, dir := range []string{blobsDir, partialDir} {
		entries, err := os.ReadDir(filepath.Join(m.State, dir))
		if err != nil {
			return refusal.New(codeState, "%v", err)
		}
		for _, e := range entries {
			if slices.Contains(keep, canon.Digest(e.Name())) {
				continue
			}
			if err := os.Remove(filepath.Join(m.State, dir, e.Name())); err != nil {
				return refusal.New(codeState, "%v", err)
			}
		}
	}
	return nil
}

// Check is the first look, at enrolment: it says hello and, when the control
// plane already serves this host, takes its trust repository, or refuses one
// that is not under the pinned root.
func Check(ctx context.Context, c Config, s Server) (wire.HelloAnswer, error) {
	c.Logger = slog.New(slog.DiscardHandler)
	m, err := over(c, s)
	if err == nil {
		err = m.start(false)
	}
	if err != nil {
		return wire.HelloAnswer{}, err
	}
	a, err := Greet(ctx, m.Wire, s, m.Version, m.run)
	if err != nil || a.State != wire.Enrolled {
		return a, err
	}
	next, err := ask[wire.NextAnswer](ctx, m.Wire, wire.Next, wire.NextRequest{Trust: m.held().Versions})
	if err == nil && len(next.Trust) > 0 {
		err = m.takeTrust(ctx, next.Trust)
	}
	return a, err
}
