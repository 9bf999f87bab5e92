package apt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/writ"
)

// stage brings artefacts from the pool into the own directory: copied while
// they are hashed, then traced to their vendor, and only then opened.
type stage struct {
	m       *Manager
	own     *own
	run     string
	native  string
	at      time.Time // the trusted time
	pool    *os.Root  // nil when there is none
	vendors map[change.Origin]*vendor
}

// vendor is what one origin has signed.
type vendor struct {
	release provenance.Release
	indexes map[string]provenance.Index // by path without the ending of its compression
}

func (m *Manager) newStage(o *own, run, native string, at time.Time) *stage {
	s := &stage{m: m, own: o, run: run, native: native, at: at, vendors: map[change.Origin]*vendor{}}
	if root, err := os.OpenRoot(m.Pool); m.Pool != "" && err == nil {
		s.pool = root
	}
	return s
}

func (s *stage) close() {
	if s.pool != nil {
		s.pool.Close()
	}
}

// gather brings the artefacts of changes in and lays them out for apt. It
// returns what is inside each, by the change's key.
func (s *stage) gather(changes []change.Change) (map[string]artefact.Contents, error) {
	inside, err := s.fetch(changes)
	if err != nil {
		return nil, err
	}
	return inside, s.layOut(changes)
}

// layOut gives verified artefacts the names under which apt looks for them.
func (s *stage) layOut(changes []change.Change) error {
	for _, c := range changes {
		if c.Op == change.Remove {
			continue
		}
		if err := s.own.root.Link(s.own.rel(stored(c)), s.own.rel(s.run+"/archives/"+fileName(c))); err != nil {
			return refusal.New(fullOr(err, pkgmgr.CodeDir), "%v", err)
		}
	}
	return nil
}

// fetch brings the artefacts of changes into the store, verified.
func (s *stage) fetch(changes []change.Change) (map[string]artefact.Contents, error) {
	inside := map[string]artefact.Contents{}
	for _, c := range changes {
		if c.Op == change.Remove {
			continue
		}
		if err := s.copy(c); err != nil {
			return nil, err
		}
		if err := s.trace(c); err != nil {
			return nil, err
		}
		if err := s.keep(c); err != nil {
			return nil, err
		}
		contents, err := s.own.contents(c)
		if err != nil {
			return nil, err
		}
		inside[c.Key()] = contents
	}
	return inside, nil
}

// stored is where a change's artefact lies once it was verified.
func stored(c change.Change) string { return storeDir + "/" + string(c.Artefact) }

func (s *stage) incoming(c change.Change) string { return s.run + "/" + string(c.Artefact) }

// open opens an ordinary file of the pool.
func (s *stage) open(name string) (*os.File, error) {
	if s.pool == nil {
		return nil, refusal.New(pkgmgr.CodePool, "there is no pool at %q", s.m.Pool)
	}
	f, err := s.pool.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, refusal.New(pkgmgr.CodePool, "%v", err)
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, refusal.New(pkgmgr.CodePool, "%s is no ordinary file", name)
	}
	return f, nil
}

// copy copies an artefact out of the pool and hashes what it writes, so that
// nobody can change it between the look and the use.
func (s *stage) copy(c change.Change) error {
	in, err := s.open("sha256/" + string(c.Artefact))
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := s.own.root.OpenFile(s.own.rel(s.incoming(c)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil // the same artefact for another change: copied and hashed a moment ago
	} else if err != nil {
		return refusal.New(fullOr(err, pkgmgr.CodeDir), "%v", err)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, h), io.LimitReader(in, c.Size+1))
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return refusal.New(fullOr(err, pkgmgr.CodePool), "%s of %s: %v", c.Artefact.Short(), c.Key(), err)
	}
	if sum := canon.Digest(hex.EncodeToString(h.Sum(nil))); n != c.Size || sum != c.Artefact {
		return refusal.New(pkgmgr.CodeBytes, "%s %s: %d bytes with digest %s, the writ names %d with %s",
			c.Key(), c.To, n, sum.Short(), c.Size, c.Artefact.Short())
	}
	return nil
}

// keep moves a verified artefact into the store.
func (s *stage) keep(c change.Change) error {
	err := s.own.root.Rename(s.own.rel(s.incoming(c)), s.own.rel(stored(c)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the same artefact for another change
	} else if err != nil {
		return refusal.New(fullOr(err, pkgmgr.CodeDir), "%v", err)
	}
	return nil
}

// trace walks from the origin's signature to this artefact.
func (s *stage) trace(c change.Change) error {
	v, err := s.vendor(c.Origin)
	if err != nil {
		return err
	}
	missing := error(nil)
	for _, base := range s.indexesFor(v.release, c.Arch) {
		index, err := s.index(v, c.Origin, base)
		if refusal.CodeOf(err) == pkgmgr.CodePool {
			missing = err
			continue
		} else if err != nil {
			return err
		}
		entry, err := index.Find(c.Package, c.Arch, c.To)
		if err != nil {
			continue
		}
		if entry.Artefact() != c.Artefact || entry.Size() != c.Size {
			return refusal.New(pkgmgr.CodeVendor, "%s %s: %s signs %s, the writ names %s", c.Key(), c.To, c.Origin, entry.Artefact().Short(), c.Artefact.Short())
		}
		return nil
	}
	if missing != nil {
		return missing
	}
	return refusal.New(pkgmgr.CodeVendor, "%s does not publish %s %s", c.Origin, c.Key(), c.To)
}

// vendor verifies an origin's release once.
func (s *stage) vendor(id change.Origin) (*vendor, error) {
	if v, ok := s.vendors[id]; ok {
		return v, nil
	}
	origin, ok := s.m.Trust.Origin(id)
	if !ok {
		return nil, refusal.New(pkgmgr.CodeOrigin, "%q", id)
	}
	f, err := s.open("releases/" + string(id) + "/InRelease")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, provenance.MaxRelease+1))
	if err != nil {
		return nil, refusal.New(pkgmgr.CodePool, "%v", err)
	}
	mem := s.m.Journal.Memory()
	r, err := provenance.ReadRelease(raw, origin, s.m.Trust.Keyrings[origin.Keyring], mem.ReleaseFloor(id), s.at)
	if err != nil {
		return nil, refusal.New(pkgmgr.CodeVendor, "release of %s: %v", id, err)
	}
	s.vendors[id] = &vendor{release: r, indexes: map[string]provenance.Index{}}
	return s.vendors[id], nil
}

// indexesFor lists the Packages files, without ending, that can name an
// artefact of the architecture: its own, and for "all" also the native one's.
func (s *stage) indexesFor(r provenance.Release, arch string) []string {
	var bases []string
	for _, f := range r.Packages() {
		base := strings.TrimSuffix(f.Path, path.Ext(f.Path))
		dir := path.Base(path.Dir(f.Path))
		if dir != "binary-"+arch && (arch != "all" || dir != "binary-"+s.native) {
			continue
		}
		if !slices.Contains(bases, base) {
			bases = append(bases, base)
		}
	}
	return bases
}

// index reads a Packages file in the first compression that the pool has.
func (s *stage) index(v *vendor, id change.Origin, base string) (provenance.Index, error) {
	if in, ok := v.indexes[base]; ok {
		return in, nil
	}
	missing := refusal.New(pkgmgr.CodePool, "releases/%s/%s in any compression", id, base)
	for _, f := range v.release.Packages() {
		if f.Path != base && strings.TrimSuffix(f.Path, path.Ext(f.Path)) != base {
			continue
		}
		in, err := s.open("releases/" + string(id) + "/" + f.Path)
		if err != nil {
			continue
		}
		index, err := v.release.ReadPackages(f.Path, in)
		in.Close()
		if err != nil {
			return index, refusal.New(pkgmgr.CodeVendor, "index of %s: %v", id, err)
		}
		v.indexes[base] = index
		return index, nil
	}
	return provenance.Index{}, missing
}

// releases are the dates of the releases that were verified on the way.
func (s *stage) releases() []writ.Release {
	out := []writ.Release{}
	for id, v := range s.vendors {
		out = append(out, writ.Release{Origin: id, Date: v.release.Date()})
	}
	slices.SortFunc(out, func(a, b writ.Release) int { return strings.Compare(string(a.Origin), string(b.Origin)) })
	return out
}

// contents opens a verified artefact of the store, and refuses one that is
// another package inside.
func (o *own) contents(c change.Change) (artefact.Contents, error) {
	f, err := o.root.Open(o.rel(stored(c)))
	if err != nil {
		return artefact.Contents{}, refusal.New(pkgmgr.CodePool, "%v", err)
	}
	defer f.Close()
	contents, err := artefact.Open(f, c.Size)
	if err != nil {
		return artefact.Contents{}, err
	}
	if contents.Package != c.Package || contents.Version != c.To || contents.Arch != c.Arch {
		return artefact.Contents{}, refusal.New(pkgmgr.CodeContents, "%s %s %s inside, the writ names %s %s %s",
			contents.Package, contents.Version, contents.Arch, c.Package, c.To, c.Arch)
	}
	return contents, nil
}
