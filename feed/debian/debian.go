// Package debian learns from Debian's own signed packages which
// vulnerabilities each version fixes: the changelog inside a .deb names them.
//
// The parties: Debian's maintainers write changelogs and its archive signs the
// packages; room provenance has verified the chain to a .deb's bytes before
// anything here reads them. The objects are the changelog's entries and the
// advisories made from them, one for each source package and CVE.
//
// The promise: only bytes that equal a verified entry's digest are read; from
// the text nothing is taken but versions, distributions, dates and CVE ids; and
// every advisory says that its basis is a mention. A mention is not always a
// fix, and a changelog never tells what is still open: silence here means only
// that no version up to this one names a vulnerability.
//
// It fetches nothing, verifies no signature itself, and knows no other
// vendor's habits.
package debian

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/version"
)

// What advisories and snapshots from here are called.
const (
	Name   = "debian-changelog"
	Kind   = "vendor-signed changelog"
	Source = "debian/changelog"
)

// maxPacked is the most that the changelog files of one .deb may hold, packed;
// see MaxText for what is usual.
const maxPacked = 16 << 20

// Branch is the release for which fixed versions are wanted.
type Branch struct {
	Ecosystem string // "Debian:12"
	Codename  string // "bookworm"
}

// ErrBranch says that a Branch is not one of Debian's.
var ErrBranch = errors.New(`a branch is written like "Debian:12" with its codename`)

// Read reads the changelog of a .deb that e stands for. It checks the bytes
// against e first; they must not change meanwhile. One binary package of each
// source is enough. now is the time to write into the snapshot, Unix seconds.
//
// A changelog that is missing (it may live in another package of the source),
// not readable, or not of this source and version is a Gap. The error is
// ErrBranch, or a refusal of provenance or artefact.
func Read(e provenance.Entry, deb io.ReaderAt, b Branch, now int64) (advisory.Set, error) {
	if !strings.HasPrefix(b.Ecosystem, "Debian:") || b.Ecosystem == "Debian:" || b.Codename == "" {
		return advisory.Set{}, ErrBranch
	}
	if err := e.Check(io.NewSectionReader(deb, 0, e.Size())); err != nil {
		return advisory.Set{}, err
	}
	files, err := artefact.Read(deb, e.Size(), maxPacked, wanted(e.Package()))
	if err != nil {
		return advisory.Set{}, err
	}
	source, ver := e.Source()
	s := advisory.Snapshot{Name: Name, Kind: Kind, Source: e.Filename(), Fetched: now, Digest: e.Artefact(),
		Scope: []advisory.Subject{{Ecosystem: b.Ecosystem, Package: source}}, Partial: []advisory.Gap{}}
	gap := func(format string, args ...any) {
		s.Partial = append(s.Partial, advisory.Gap{Record: e.Package(), Why: canon.NoteOf(fmt.Sprintf(format, args...))})
	}
	text, why := unpack(files, e.Package())
	if why != "" {
		gap("%s", why)
		return advisory.Set{Snapshot: s, Advisories: []advisory.Advisory{}}, nil
	}
	entries, unread := ParseChangelog(text)
	for _, u := range unread {
		gap("changelog line %d: %s", u.Line, u.Why)
	}
	if len(entries) == 0 {
		gap("its changelog has no entry")
	} else if top := entries[0]; top.Source != source || !equal(top.Version, ver) {
		gap("its changelog begins with %s %s, it is built from %s %s", top.Source, top.Version, source, ver)
	}
	s.Count = len(entries)
	for _, n := range entries {
		s.Newest = max(s.Newest, n.Date)
	}
	return advisory.Set{Snapshot: s, Advisories: Advisories(entries, source, b, canon.SumFile(text), s.Origin())}, nil
}

func equal(a, b string) bool {
	c, err := version.Compare(version.Deb, a, b)
	return err == nil && c == 0
}

const docDir = "/usr/share/doc/"

// names are the places of a changelog (Debian Policy 12.7), best first: a
// native package has only changelog, elsewhere that is the upstream's.
var names = []string{"changelog.Debian.gz", "changelog.Debian", "changelog.gz", "changelog"}

func wanted(pkg string) func(string) bool {
	return func(path string) bool {
		name, ok := strings.CutPrefix(path, docDir+pkg+"/")
		return ok && slices.Contains(names, name)
	}
}

// unpack returns the best changelog's text, or why there is none.
func unpack(files map[string][]byte, pkg string) ([]byte, string) {
	for _, name := range names {
		raw, ok := files[docDir+pkg+"/"+name]
		if !ok {
			continue
		}
		if !strings.HasSuffix(name, ".gz") {
			return raw, ""
		}
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Sprintf("%s cannot be unpacked: %v", name, err)
		}
		text, err := io.ReadAll(io.LimitReader(z, MaxText+1))
		if err != nil {
			return nil, fmt.Sprintf("%s cannot be unpacked: %v", name, err)
		}
		return text, ""
	}
	return nil, "it has no changelog of its own; its documentation directory may be a link to another package's"
}

// Advisories makes one advisory for each CVE that entries of the source name,
// ascending by CVE. raw is the digest of the changelog's text.
//
// The fixed version is that of the oldest entry in the branch that names the
// CVE. Where only entries outside the branch name it, the change came in with
// them: then it is the lowest version from the oldest such entry on, since
// every later entry contains it (1.2-1~deb12u1 above 1.2-1 is the lower one).
func Advisories(entries []Entry, source string, b Branch, raw canon.Digest, from advisory.Feed) []advisory.Advisory {
	entries = slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return e.BinaryOnly || e.Source != source })
	inside, outside := map[string]Entry{}, map[string]Entry{}
	lowest := Entry{}
	for _, e := range entries {
		if lowest.Version == "" || older(e.Version, lowest.Version) {
			lowest = e
		}
		for _, id := range e.CVEs {
			if b.has(e) {
				inside[id] = e
			}
			outside[id] = lowest
		}
	}
	out := make([]advisory.Advisory, 0, len(outside))
	for _, id := range slices.Sorted(maps.Keys(outside)) {
		e, ok := inside[id]
		if !ok {
			e = outside[id]
		}
		out = append(out, advisory.Advisory{
			ID: Name + "/" + source + "/" + id, Aliases: []string{id}, Upstream: []string{}, Related: []string{},
			Source: Source, Basis: advisory.BasisMention, Published: e.Date, Modified: e.Date,
			Summary: canon.NoteOf(fmt.Sprintf("the changelog of %s %s names %s", source, e.Version, id)),
			Affected: []advisory.Affected{{Ecosystem: b.Ecosystem, Package: source, Versions: []string{}, Severities: []advisory.Severity{},
				Ranges: []advisory.Range{{Type: "ECOSYSTEM", Introduced: advisory.Beginning, Fixed: e.Version}}}},
			Severities: []advisory.Severity{}, Raw: raw, Feed: from,
		})
	}
	return out
}

func older(a, b string) bool {
	c, err := version.Compare(version.Deb, a, b)
	return err == nil && c < 0
}

// has reports whether an entry belongs to the branch: by its distribution
// ("bookworm", "bookworm-security") or, since distributions are sometimes
// written wrongly, by the release's mark in its version ("+deb12u1").
func (b Branch) has(e Entry) bool {
	for _, d := range e.Distributions {
		if d == b.Codename || strings.HasPrefix(d, b.Codename+"-") {
			return true
		}
	}
	_, number, _ := strings.Cut(b.Ecosystem, ":")
	_, after, found := strings.Cut(e.Version, "deb"+number)
	return found && (after == "" || after[0] < '0' || after[0] > '9')
}
