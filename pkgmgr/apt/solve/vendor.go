package solve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/version"
)

// vendor is a source's verified release with its indexes of one architecture.
type vendor struct {
	source  Source
	release provenance.Release
	files   []string // paths of the Packages files, as InRelease names them
	indexes []provenance.Index
}

func releaseName(s Source, name string) string { return "releases/" + string(s.Origin.ID) + "/" + name }

// vendor fetches and verifies a source, and stores what it read in the pool.
// The release comes last: what it names is there then.
func (p *planner) vendor(ctx context.Context, s Source, arch string) (*vendor, error) {
	if !filepath.IsLocal(s.Suite) || path.Clean(s.Suite) != s.Suite {
		return nil, fmt.Errorf("source %s: %q is no directory below dists/", s.Origin.ID, s.Suite)
	}
	p.say.line("verify %s (%s)", s.Origin.ID, s.Suite)
	raw, err := p.inRelease(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Origin.ID, err)
	}
	v := &vendor{source: s}
	if v.release, err = provenance.ReadRelease(raw, s.Origin, s.Keyring, p.floor(s), p.Now); err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Origin.ID, err)
	}
	for _, f := range best(v.release.Packages(), arch) {
		index, err := p.index(ctx, v, f)
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", s.Origin.ID, err)
		}
		v.files, v.indexes = append(v.files, f.Path), append(v.indexes, index)
	}
	if len(v.indexes) == 0 {
		return nil, fmt.Errorf("source %s names no Packages file for %s in an allowed component", s.Origin.ID, arch)
	}
	return v, p.pool.keep(releaseName(s, "InRelease"), func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	})
}

func (p *planner) inRelease(ctx context.Context, s Source) (raw []byte, err error) {
	err = p.get(ctx, s.URL, path.Join("dists", s.Suite, "InRelease"), func(body io.Reader) error {
		raw, err = io.ReadAll(io.LimitReader(body, provenance.MaxRelease+1))
		return err // one that is too long is refused by ReadRelease
	})
	return raw, err
}

// floor is the newest date of this origin that is known: the caller's, or that
// of the release in the pool, so that a mirror cannot go back unnoticed.
func (p *planner) floor(s Source) int64 {
	floor := p.Floor[s.Origin.ID]
	f, err := p.pool.open(releaseName(s, "InRelease"))
	if err != nil {
		return floor
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, provenance.MaxRelease+1))
	if err != nil {
		return floor
	}
	old, err := provenance.ReadRelease(raw, s.Origin, s.Keyring, 0, p.Now)
	if err != nil {
		return floor // expired since, or of another key: it binds nobody
	}
	return max(floor, old.Date())
}

// best picks one compression of each component's Packages file for the
// architecture: xz before gz, zstd and plain.
func best(files []provenance.File, arch string) []provenance.File {
	order := []string{".xz", ".gz", ".zst", ""}
	found := map[string]provenance.File{}
	for _, f := range files {
		ext := path.Ext(f.Path)
		base := strings.TrimSuffix(f.Path, ext)
		rank := slices.Index(order, ext)
		if path.Base(path.Dir(f.Path)) != "binary-"+arch || rank < 0 {
			continue
		}
		if had, ok := found[base]; !ok || rank < slices.Index(order, path.Ext(had.Path)) {
			found[base] = f
		}
	}
	out := make([]provenance.File, 0, len(found))
	for _, f := range found {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b provenance.File) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// index reads a Packages file from the pool when it is there intact, else from
// the mirror: by name, then by hash, for a mirror that is being updated.
func (p *planner) index(ctx context.Context, v *vendor, f provenance.File) (provenance.Index, error) {
	name := releaseName(v.source, f.Path)
	if file, err := p.pool.open(name); err == nil {
		index, err := v.release.ReadPackages(f.Path, file)
		file.Close()
		if err == nil {
			return index, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return provenance.Index{}, err
	}
	p.say.line("fetch %s of %s (%.1f MB)", f.Path, v.source.Origin.ID, float64(f.Size)/1e6)
	dir := path.Join("dists", v.source.Suite, path.Dir(f.Path))
	raw, err := p.named(ctx, v.source.URL, path.Join(dir, path.Base(f.Path)), f)
	if err != nil && ctx.Err() == nil {
		var byHash error
		if raw, byHash = p.named(ctx, v.source.URL, path.Join(dir, "by-hash", "SHA256", string(f.Digest)), f); byHash != nil {
			return provenance.Index{}, err
		}
	} else if err != nil {
		return provenance.Index{}, err
	}
	index, err := v.release.ReadPackages(f.Path, bytes.NewReader(raw))
	if err != nil {
		return index, err
	}
	return index, p.pool.keep(name, func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	})
}

// named reads a file that a release names, and refuses other bytes.
func (p *planner) named(ctx context.Context, base, name string, f provenance.File) (raw []byte, err error) {
	if f.Size > provenance.MaxPackages {
		return nil, fmt.Errorf("%s has %d bytes, limit %d", name, f.Size, provenance.MaxPackages)
	}
	err = p.get(ctx, base, name, func(body io.Reader) error {
		raw, err = io.ReadAll(io.LimitReader(body, f.Size+1))
		if err == nil && (int64(len(raw)) != f.Size || canon.SumFile(raw) != f.Digest) {
			err = fmt.Errorf("not the bytes that the signed release names; the mirror is being updated, or somebody changed them: try again, then another mirror")
		}
		return err
	})
	return raw, err
}

// above reports whether version a is certainly above b.
func above(a, b string) bool {
	n, err := version.Compare(version.Deb, a, b)
	return err == nil && n > 0
}
