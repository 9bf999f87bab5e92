// Package feed reads what the world publishes about vulnerabilities, from a
// file, a zip, a directory or a URL.
//
// The parties: whoever publishes a feed, the way between (mirrors, proxies,
// disks), and the caller who asks for a snapshot. The objects are a source's
// files, the format they are written in, and the Set that holds all records
// under one snapshot. Which format it is, the first file's content says; each
// format has a room below this one.
//
// The promise: a snapshot's Count is the number of records that were read
// whole, and everything else that was met is in its Partial. A download counts
// only when it is complete. Nothing unpacks to more than its limit. One broken
// record never hides the others.
//
// These feeds are not signed: the digest says which bytes were read, not that
// they are true. Formats that carry no date get that of the file, which whoever
// copies the file can change.
package feed

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
)

// ErrUnusable says that a source gave nothing that can be read as a feed: it is
// missing, cut short, or too large. What it holds is unknown.
var ErrUnusable = errors.New("the feed cannot be used, so what it says is unknown")

// Limits are upper bounds; a zero field means the default.
type Limits struct {
	Download int64 // bytes of a file or of an answer; default 1 GiB (the largest official zip of one system is below 200 MB)
	Unpacked int64 // bytes of all files together; default 8 GiB
	Records  int   // files looked at, and records taken; default 2,000,000
}

func (l Limits) withDefaults() Limits {
	if l.Download == 0 {
		l.Download = 1 << 30
	}
	if l.Unpacked == 0 {
		l.Unpacked = 8 << 30
	}
	if l.Records == 0 {
		l.Records = 2_000_000
	}
	return l
}

// Options say how to read a feed.
type Options struct {
	Name   string       // of the feed in findings; "" means the format's
	Source string       // to write into the snapshot in place of the path; not used for a URL
	Date   int64        // of the content of a single file, Unix seconds; 0: the file's own
	Now    time.Time    // the time to write into the snapshot; required
	Client *http.Client // nil: one that uses the environment's proxy and gives up after 10 minutes
	Cache  string       // directory that keeps downloads and their ETags; "": nothing is kept
	Limits Limits

	// Wanted picks what is kept of the advisories: those parts that it is true
	// for, and for each source and release one part, wanted or not, by which one
	// sees that the source speaks about the release. nil keeps all. Everything is
	// read and checked either way, and the snapshot is the same.
	Wanted func(advisory.Subject) bool
}

// maxGaps is how many gaps are listed; more are counted.
const maxGaps = 100

// reading is one pass over a source.
type reading struct {
	snap    advisory.Snapshot
	limits  Limits
	now     int64
	left    int64 // bytes that may still be unpacked
	files   int
	dropped int // gaps beyond maxGaps
	as      *format
	head    *bufio.Reader
	osv     advisory.OSV
	list    []advisory.Advisory
	count   int                        // records taken, kept or not
	newest  int64                      // the latest Modified of them
	seen    map[[sha256.Size]byte]bool // of id and digest of them
	wanted  func(advisory.Subject) bool
	ids     map[string]int  // with wanted: how many records taken have the id
	spoken  map[spoken]bool // with wanted: of which a part was kept
	scratch []byte
	oldest  int64  // date of the oldest file; 0 when one has none
	facts   *facts // not nil: facts about vulnerabilities are read, not advisories
}

// wants reports whether a file of a zip or directory may be the feed's.
func (r *reading) wants(name string) bool {
	if r.facts != nil {
		return r.facts.wants(name)
	}
	return strings.HasSuffix(name, ".json")
}

// passed reports whether a file's name alone says that nothing in it is asked
// for. date gives the file's date.
func (r *reading) passed(name string, date func() int64) bool {
	return r.facts != nil && r.facts.passed(name, date)
}

// visit reads one file.
func (r *reading) visit(ctx context.Context, name string, in io.Reader, date int64) {
	if r.facts != nil {
		r.factsIn(ctx, name, in)
		return
	}
	r.stream(ctx, name, in, date)
}

func (r *reading) gap(record, format string, args ...any) {
	if len(r.snap.Partial) >= maxGaps {
		r.dropped++
		return
	}
	r.snap.Partial = append(r.snap.Partial, advisory.Gap{Record: printable(record), Why: canon.NoteOf(fmt.Sprintf(format, args...))})
}

func printable(s string) string { return string(canon.NoteOf(s)) }

// stream reads one file in the format of the first one.
func (r *reading) stream(ctx context.Context, name string, in io.Reader, date int64) {
	bounded := &bounded{contextReader{ctx, in}, r.left}
	if r.head == nil {
		r.head = bufio.NewReaderSize(bounded, sniffed)
	}
	head := r.head // one for all files: its buffer is larger than most of them
	head.Reset(bounded)
	as := sniff(head)
	if r.oldest = min(r.oldest, date); r.files == 0 {
		r.oldest = date
	}
	r.files++
	switch {
	case r.as == nil:
		r.as = as
	case r.as != as:
		r.gap(name, "it is %s in a feed that began as %s; give each format as a feed of its own", as.kind, r.as.kind)
		return
	}
	gap := func(record, why string) {
		if record == "" {
			record = name
		}
		r.gap(record, "%s", why)
	}
	if as.read == nil {
		r.record1(name, head, gap)
	} else {
		as.read(head, r.now, func(a advisory.Advisory) {
			if r.take(name, &a) {
				r.list = append(r.list, a)
			}
		}, gap)
	}
	r.left = bounded.left
}

// record1 reads a file that is one record of the OSV schema.
func (r *reading) record1(name string, in *bufio.Reader, gap func(record, why string)) {
	raw, err := in.Peek(sniffed) // most are smaller
	if err == nil {
		raw, err = io.ReadAll(io.LimitReader(in, advisory.MaxRecord+1))
	} else if err == io.EOF {
		err = nil
	}
	switch {
	case err != nil:
		gap("", fmt.Sprintf("it cannot be unpacked: %v", err))
		return
	case len(raw) > advisory.MaxRecord:
		gap("", fmt.Sprintf("it unpacks to more than %d bytes", advisory.MaxRecord))
		return
	}
	a, err := r.osv.View(raw, advisory.Feed{})
	if err != nil {
		gap("", err.Error())
		return
	}
	if r.take(name, &a) {
		r.list = append(r.list, r.osv.Keep(a))
	}
}

// take counts a record and reports whether it is kept, in a what of it. Records
// with the same bytes count once.
func (r *reading) take(name string, a *advisory.Advisory) bool {
	r.scratch = append(append(append(r.scratch[:0], a.ID...), ' '), a.Raw...)
	key := sha256.Sum256(r.scratch)
	switch {
	case r.seen[key]:
		return false
	case a.Expires > 0 && a.Expires <= r.now:
		r.seen[key] = true
		r.snap.Lapsed++
		return false
	case r.count >= r.limits.Records:
		r.gap(name, "%s: more than %d records", a.ID, r.limits.Records)
		return false
	}
	r.seen[key] = true
	r.count++
	r.newest = max(r.newest, a.Modified)
	if r.wanted == nil {
		return true
	}
	if n, again := r.ids[a.ID]; again {
		r.ids[a.ID] = n + 1
	} else {
		r.ids[strings.Clone(a.ID)] = 1
	}
	a.Affected = slices.DeleteFunc(a.Affected, func(f advisory.Affected) bool { return !r.keeps(a, &f) })
	return len(a.Affected) > 0
}

// spoken is what match asks when it says that a source speaks about a release.
type spoken struct {
	source    string
	basis     advisory.Basis
	ecosystem string
}

// keeps reports whether a part of a record is kept.
func (r *reading) keeps(a *advisory.Advisory, f *advisory.Affected) bool {
	if r.wanted(advisory.Subject{Ecosystem: f.Ecosystem, Package: f.Package}) {
		return true
	}
	if r.spoken[spoken{a.Source, a.Basis, f.Ecosystem}] {
		return false
	}
	r.spoken[spoken{strings.Clone(a.Source), a.Basis, strings.Clone(f.Ecosystem)}] = true
	return true
}

// bounded gives at most left bytes and says so when there are more.
type bounded struct {
	in   io.Reader
	left int64
}

var errBound = errors.New("more bytes than the limit for a whole feed")

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.in.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.left = 0
		return 0, errBound
	}
	return n, err
}

// Read reads a source into advisories, ascending by id. source is an http or
// https URL, or a path: of a directory of .json files, of a zip of such files,
// or of one file. Records with the same id and different bytes contradict each
// other: all are kept and the snapshot is partial.
//
// The snapshot's Digest is the SHA-256 of the file or of the answer; of a
// directory, that of the lines "SHA-256, two spaces, name" of its files.
// The error is ErrUnusable or the context's.
func Read(ctx context.Context, source string, o Options) (advisory.Set, error) {
	r := &reading{limits: o.Limits.withDefaults(), now: o.Now.Unix(), seen: map[[sha256.Size]byte]bool{}, wanted: o.Wanted, ids: map[string]int{}, spoken: map[spoken]bool{}}
	r.left = r.limits.Unpacked
	r.snap = advisory.Snapshot{Source: printable(source), Fetched: o.Now.Unix(), Scope: []advisory.Subject{}, Partial: []advisory.Gap{}}
	if err := r.read(ctx, source, o); err != nil {
		return advisory.Set{}, err
	}
	if r.count == 0 && r.snap.Lapsed == 0 && len(r.snap.Partial) == 0 {
		r.gap("", "there is no record in it; a feed is .json files with records")
	}
	return r.set(o.Name), nil
}

// read opens a source and reads its files.
func (r *reading) read(ctx context.Context, source string, o Options) (err error) {
	if remote(source) {
		err = r.url(ctx, source, o)
	} else {
		err = r.path(ctx, source, o.Date)
		if o.Source != "" {
			r.snap.Source = printable(o.Source)
		}
	}
	if err == nil && r.dropped > 0 {
		r.snap.Partial = append(r.snap.Partial, advisory.Gap{Why: canon.NoteOf(fmt.Sprintf("and %d more gaps", r.dropped))})
	}
	return err
}

// remote reports whether a source is a URL.
func remote(source string) bool {
	return strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://")
}

// set puts the records in order and says what they are together.
func (r *reading) set(name string) advisory.Set {
	as := r.as
	if as == nil {
		as = fallback()
	}
	s, list := &r.snap, r.list
	if s.Name, s.Kind = name, as.kind; name == "" {
		s.Name = as.name
	}
	slices.SortStableFunc(list, func(a, b advisory.Advisory) int {
		if c := strings.Compare(a.ID, b.ID); c != 0 {
			return c
		}
		return strings.Compare(string(a.Raw), string(b.Raw))
	})
	s.Count = r.count
	switch {
	case as.undated:
		s.Newest = r.oldest
	case as.lasting:
		s.Newest = r.now
	}
	s.Newest = max(s.Newest, r.newest)
	for i := range list {
		list[i].Feed = s.Origin()
		if r.wanted == nil && i > 0 && list[i].ID == list[i-1].ID {
			r.twice(list[i].ID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.ids)) {
		for range r.ids[id] - 1 {
			r.twice(id)
		}
	}
	return advisory.Set{Snapshot: *s, Advisories: list}
}

func (r *reading) twice(id string) {
	r.snap.Partial = append(r.snap.Partial, advisory.Gap{Record: id, Why: "two different records have this id; neither is trusted to be the only one"})
}
