package provenance

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"iter"
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
)

// Index is one Packages file whose bytes a Release named. Only
// Release.ReadPackages fills it.
type Index struct {
	in *index
}

type index struct {
	release *release
	file    File
	arch    string
	entries []entry // ascending by name, architecture, version as strings
}

type entry struct {
	name, version, arch   string
	source, sourceVersion string
	filename, section     string
	essential             bool
	size                  int64
	digest, stanza        [sha256.Size]byte
}

func (e *entry) compare(o *entry) int {
	return cmp.Or(cmp.Compare(e.name, o.name), cmp.Compare(e.arch, o.arch), cmp.Compare(e.version, o.version))
}

func (e *entry) sameArtefact(o *entry) bool { return e.digest == o.digest && e.size == o.size }

// sort orders the entries and refuses two artefacts under one name. The same
// artefact twice is kept once.
func (in *index) sort() error {
	slices.SortStableFunc(in.entries, func(a, b entry) int { return a.compare(&b) })
	kept := in.entries[:0]
	for i := range in.entries {
		e := in.entries[i]
		if n := len(kept); n > 0 && kept[n-1].compare(&e) == 0 {
			if !kept[n-1].sameArtefact(&e) {
				return equivocal(in, &kept[n-1], in, &e)
			}
			continue
		}
		kept = append(kept, e)
	}
	in.entries = kept
	return nil
}

func equivocal(a *index, x *entry, b *index, y *entry) error {
	return refusal.New(codeEquivocal, "%s %s %s is %s in %s of %s and %s in %s of %s", x.name, x.arch, x.version,
		hex.EncodeToString(x.digest[:6]), a.file.Path, a.release.digest.Short(),
		hex.EncodeToString(y.digest[:6]), b.file.Path, b.release.digest.Short())
}

// find gives the first place at or after the key.
func (in *index) find(key *entry) (int, bool) {
	return slices.BinarySearchFunc(in.entries, key, func(e entry, k *entry) int { return e.compare(k) })
}

// Len is the number of entries.
func (x Index) Len() int {
	if x.in == nil {
		return 0
	}
	return len(x.in.entries)
}

// Find gives the entry of exactly this package, architecture ("amd64", "all")
// and version.
func (x Index) Find(name, arch, version string) (Entry, error) {
	if x.in == nil {
		return Entry{}, refusal.New(codeZero, "Find in an index that nobody verified")
	}
	i, ok := x.in.find(&entry{name: name, arch: arch, version: version})
	if !ok {
		return Entry{}, refusal.New(codeNoEntry, "%.128q %.40q %.255q in %s of %s", name, arch, version, x.in.file.Path, x.in.release.origin.ID)
	}
	return Entry{x.in, &x.in.entries[i]}, nil
}

// All yields every entry, ascending by name, architecture and version as
// strings (not in the order of versions).
func (x Index) All() iter.Seq[Entry] { return x.from(0, func(*entry) bool { return true }) }

// Named yields every entry of one package, in the order of All.
func (x Index) Named(name string) iter.Seq[Entry] {
	if x.in == nil {
		return x.All()
	}
	first, _ := x.in.find(&entry{name: name})
	return x.from(first, func(e *entry) bool { return e.name == name })
}

func (x Index) from(first int, more func(*entry) bool) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for i := first; i < x.Len() && more(&x.in.entries[i]); i++ {
			if !yield(Entry{x.in, &x.in.entries[i]}) {
				return
			}
		}
	}
}

// Agrees refuses when x and y name different artefacts for one package,
// architecture and version: a vendor, or who holds its key, tells two stories.
// Use it on indexes of one origin that came by different ways or times.
func (x Index) Agrees(y Index) error {
	if x.in == nil || y.in == nil {
		return refusal.New(codeZero, "Agrees of an index that nobody verified")
	}
	for i := range y.in.entries {
		e := &y.in.entries[i]
		if n, ok := x.in.find(e); ok && !x.in.entries[n].sameArtefact(e) {
			return equivocal(x.in, &x.in.entries[n], y.in, e)
		}
	}
	return nil
}

// Entry is one artefact as an authentic Packages file names it. The zero Entry
// answers with zero values and refuses every byte.
type Entry struct {
	in *index
	e  *entry
}

func (e Entry) get() *entry {
	if e.e == nil {
		return &entry{}
	}
	return e.e
}

// Package is the binary package's name.
func (e Entry) Package() string { return e.get().name }

// Version is its version, in the order of version.Deb.
func (e Entry) Version() string { return e.get().version }

// Arch is its architecture, such as "amd64" or "all".
func (e Entry) Arch() string { return e.get().arch }

// Source is the source package's name and version.
func (e Entry) Source() (name, version string) { return e.get().source, e.get().sourceVersion }

// Section is the archive's section, such as "libs"; may be empty.
func (e Entry) Section() string { return e.get().section }

// Essential reports whether the package says "Essential: yes".
func (e Entry) Essential() bool { return e.get().essential }

// Filename is the artefact's path below the archive's root.
func (e Entry) Filename() string { return e.get().filename }

// Size is the artefact's length in bytes.
func (e Entry) Size() int64 { return e.get().size }

// Artefact is the artefact's SHA-256, or "" in the zero Entry.
func (e Entry) Artefact() canon.Digest {
	if e.e == nil {
		return ""
	}
	return canon.Digest(hex.EncodeToString(e.e.digest[:]))
}

// Origin names the origin whose keys signed for it.
func (e Entry) Origin() change.Origin {
	if e.in == nil {
		return ""
	}
	return e.in.release.origin.ID
}

// Check reads r to its end and refuses unless it holds exactly the artefact's
// bytes: size, then SHA-256.
func (e Entry) Check(r io.Reader) error {
	if e.e == nil {
		return refusal.New(codeZero, "Check against an entry that nobody verified")
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(r, e.e.size+1))
	if err != nil {
		return refusal.New(codeRead, "%s: %v", e.e.filename, err)
	}
	if n != e.e.size {
		return refusal.New(codeArtefactLen, "%s: %d bytes or more, the vendor says %d", e.e.filename, n, e.e.size)
	}
	if got := [sha256.Size]byte(h.Sum(nil)); got != e.e.digest {
		return refusal.New(codeArtefact, "%s: %s, the vendor says %s", e.e.filename, hex.EncodeToString(got[:6]), hex.EncodeToString(e.e.digest[:6]))
	}
	return nil
}

// TypeChain is the type of a Chain.
const TypeChain = "patchwrit/chain/v1"

// Chain is what was shown about one artefact, for evidence. Whoever has the
// InRelease, the Packages file and the keyring can derive it again.
type Chain struct {
	Type       string        `json:"type"`
	Origin     change.Origin `json:"origin"`
	Release    canon.Digest  `json:"release"`     // SHA-256 of the InRelease bytes
	Date       int64         `json:"date"`        // its Date, Unix seconds
	ValidUntil int64         `json:"valid_until"` // its Valid-Until, or 0
	Signers    []string      `json:"signers"`     // fingerprints of the distinct primary keys that signed, ascending
	Path       string        `json:"path"`        // of the Packages file
	Packages   canon.Digest  `json:"packages"`    // SHA-256 of its bytes as published
	Stanza     canon.Digest  `json:"stanza"`      // SHA-256 of the stanza's bytes, without the empty line behind it
	Package    string        `json:"package"`
	Arch       string        `json:"arch"`
	Version    string        `json:"version"`
	Filename   string        `json:"filename"`
	Size       int64         `json:"size"`
	Artefact   canon.Digest  `json:"artefact"` // SHA-256 of the artefact
}

// Chain gives the record of what was shown. The zero Entry gives the zero
// Chain with its type and no signers.
func (e Entry) Chain() Chain {
	c := Chain{Type: TypeChain, Signers: []string{}}
	if e.e == nil {
		return c
	}
	for _, s := range e.in.release.signers {
		c.Signers = append(c.Signers, s.Key)
	}
	r := e.in.release
	c.Origin, c.Release, c.Date, c.ValidUntil = r.origin.ID, r.digest, r.date, r.until
	c.Path, c.Packages = e.in.file.Path, e.in.file.Digest
	c.Stanza = canon.Digest(hex.EncodeToString(e.e.stanza[:]))
	c.Package, c.Arch, c.Version = e.e.name, e.e.arch, e.e.version
	c.Filename, c.Size, c.Artefact = e.e.filename, e.e.size, e.Artefact()
	return c
}
