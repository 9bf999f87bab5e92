// Package osv reads feeds in the format of the Open Source Vulnerability
// schema, from a file, a zip, a directory or a URL.
//
// The parties: whoever publishes a feed, the way between (mirrors, proxies,
// disks), and the caller who asks for a snapshot. The objects are the Record,
// one JSON file's bytes with their digest, and the snapshot that names all of
// them together.
//
// The promise: a snapshot's Count is the number of records that were read
// whole, and everything else that was met is in its Partial. A download counts
// only when it is complete. Nothing unpacks to more than its limit. One broken
// record never hides the others.
//
// OSV feeds are not signed: the digest says which bytes were read, not that
// they are true.
package osv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
)

// Kind is the Kind of every snapshot from here.
const Kind = "osv"

// ErrUnusable says that a source gave nothing that can be read as a feed: it is
// missing, cut short, too large, or no zip. What it holds is unknown.
var ErrUnusable = errors.New("the feed cannot be used, so what it says is unknown")

// Limits are upper bounds; a zero field means the default.
type Limits struct {
	Download int64 // bytes of a file or of an answer; default 1 GiB (the largest official zip of one system is below 200 MB)
	Unpacked int64 // bytes of all records together; default 8 GiB
	Records  int   // files looked at; default 2,000,000
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
	Name   string       // of the feed in findings; "" means "osv"
	Now    time.Time    // the time to write into the snapshot; required
	Client *http.Client // nil: one that uses the environment's proxy and gives up after 10 minutes
	Cache  string       // directory that keeps downloads and their ETags; "": nothing is kept
	Limits Limits
}

// Record is one record as it was found.
type Record struct {
	Name   string // file name inside the source
	Raw    []byte // valid until the next record
	Digest canon.Digest
}

// maxGaps is how many gaps are listed; more are counted.
const maxGaps = 100

// reading is one pass over a source.
type reading struct {
	snap    advisory.Snapshot
	limits  Limits
	each    func(Record) error
	left    int64 // bytes that may still be unpacked
	files   int
	dropped int // gaps beyond maxGaps
}

func (r *reading) gap(record, format string, args ...any) {
	if len(r.snap.Partial) >= maxGaps {
		r.dropped++
		return
	}
	r.snap.Partial = append(r.snap.Partial, advisory.Gap{Record: printable(record), Why: canon.NoteOf(fmt.Sprintf(format, args...))})
}

func printable(s string) string { return string(canon.NoteOf(s)) }

// record hands one file's bytes on; an error from the caller is a gap.
func (r *reading) record(name string, raw []byte) {
	if err := r.each(Record{name, raw, canon.SumFile(raw)}); err != nil {
		r.gap(name, "%v", err)
		return
	}
	r.snap.Count++
}

// Each hands every record of a source to each, ascending by name, and returns
// the snapshot. An error from each marks that record as a gap and the reading
// goes on. source is an http or https URL, or a path: of a directory whose
// .json files are records, of a zip of such files, or of one record.
//
// The snapshot's Digest is the SHA-256 of the file or of the answer; of a
// directory, that of the lines "SHA-256, two spaces, name" of its records.
// The error is ErrUnusable or the context's.
func Each(ctx context.Context, source string, o Options, each func(Record) error) (advisory.Snapshot, error) {
	r := &reading{limits: o.Limits.withDefaults(), each: each}
	r.left = r.limits.Unpacked
	name := o.Name
	if name == "" {
		name = "osv"
	}
	r.snap = advisory.Snapshot{Name: name, Kind: Kind, Source: printable(source), Fetched: o.Now.Unix(),
		Scope: []advisory.Subject{}, Partial: []advisory.Gap{}}
	var err error
	if strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://") {
		err = r.url(ctx, source, o)
	} else {
		err = r.path(ctx, source)
	}
	if err != nil {
		return advisory.Snapshot{}, err
	}
	if r.dropped > 0 {
		r.snap.Partial = append(r.snap.Partial, advisory.Gap{Why: canon.NoteOf(fmt.Sprintf("and %d more gaps", r.dropped))})
	}
	if r.snap.Count == 0 && len(r.snap.Partial) == 0 {
		r.gap("", "there is no record in it; a feed has one .json file for each record")
	}
	return r.snap, nil
}

// Read reads a source into advisories, ascending by id. Records with the same
// bytes count once. Records with the same id and different bytes contradict
// each other: all are kept and the snapshot is partial.
func Read(ctx context.Context, source string, o Options) (advisory.Set, error) {
	var list []advisory.Advisory
	seen := map[canon.Digest]bool{}
	snap, err := Each(ctx, source, o, func(rec Record) error {
		if seen[rec.Digest] {
			return nil
		}
		a, err := advisory.ParseOSV(rec.Raw, advisory.Feed{})
		if err != nil {
			return err
		}
		seen[rec.Digest] = true
		list = append(list, a)
		return nil
	})
	if err != nil {
		return advisory.Set{}, err
	}
	slices.SortStableFunc(list, func(a, b advisory.Advisory) int {
		if c := strings.Compare(a.ID, b.ID); c != 0 {
			return c
		}
		return strings.Compare(string(a.Raw), string(b.Raw))
	})
	snap.Count = len(list)
	for i := range list {
		list[i].Feed = snap.Origin()
		snap.Newest = max(snap.Newest, list[i].Modified)
		if i > 0 && list[i].ID == list[i-1].ID {
			snap.Partial = append(snap.Partial, advisory.Gap{Record: list[i].ID, Why: "two different records have this id; neither is trusted to be the only one"})
		}
	}
	return advisory.Set{Snapshot: snap, Advisories: list}, nil
}
