package flat

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// File is an open index; it is a match.Records. Records whose end is past are
// not given, and the snapshots count them as lapsed.
type File struct {
	in        io.ReaderAt
	now       int64
	digest    canon.Digest
	ends      [parts]uint64 // of records, groups, rests, places, subjects, names, meta, table
	table     []byte
	snapshots []advisory.Snapshot
	origins   []origin
	whole     map[string]bool
	kept      [keep]kept
	next      int    // which block gives way
	last      int    // which was asked for last
	spare     *group // what the last walk over a group has left, for the next one
	err       error
}

// keep is how many blocks stay in memory: half a MiB.
const keep = 32

type kept struct {
	number uint64
	b      []byte // nil: none
}

// Open reads what every question needs and checks it. size is the number of
// bytes in reach; now, Unix seconds, is when the questions are asked. It keeps
// in. The error is a *refusal.Refusal of code Foreign or Broken.
func Open(in io.ReaderAt, size, now int64) (*File, error) {
	f := &File{in: in, now: now, whole: map[string]bool{}}
	first := make([]byte, headSize)
	if n, err := in.ReadAt(first, 0); n < headSize || string(first[:len(magic)]) != magic {
		if err != nil && err != io.EOF {
			return nil, refusal.New(Broken, "%v", err)
		}
		return nil, refusal.New(Foreign, "it does not begin as an index does")
	}
	if v := binary.LittleEndian.Uint32(first[len(magic):]); v != Version {
		return nil, refusal.New(Foreign, "it has version %d, this program reads version %d", v, Version)
	}
	if err := f.open(size); err != nil {
		return nil, refusal.New(Broken, "%v", err)
	}
	return f, nil
}

func (f *File) open(size int64) error {
	if size < int64(headSize+footSize) {
		return fmt.Errorf("it has %d bytes, which is too few", size)
	}
	foot := make([]byte, footSize)
	if _, err := f.in.ReadAt(foot, size-footSize); err != nil && err != io.EOF {
		return err
	}
	before := uint64(headSize)
	for i := range f.ends {
		f.ends[i] = binary.LittleEndian.Uint64(foot[i*8:])
		if f.ends[i] < before {
			return errors.New("its parts overlap")
		}
		before = f.ends[i]
	}
	end := f.ends[parts-2]
	blocks := end / block
	if end%block != 0 {
		blocks++
	}
	if before != uint64(size-footSize) || before-end != blocks*sha256.Size {
		return errors.New("its end is not where it says; it was cut or is still being written")
	}
	f.table = make([]byte, before-end)
	if _, err := f.in.ReadAt(f.table, int64(end)); err != nil && err != io.EOF {
		return err
	}
	sum := footSum(f.table, foot[:parts*8])
	if !bytes.Equal(sum, foot[parts*8:]) {
		return errors.New("its digests do not have the digest at its end")
	}
	f.digest = canon.Digest(hex.EncodeToString(sum))
	meta := f.ends[parts-2] - f.ends[parts-3]
	if meta > maxPiece {
		return fmt.Errorf("what it says about snapshots takes %d bytes", meta)
	}
	raw := f.read(f.ends[parts-3], int(meta))
	if f.err != nil {
		return f.err
	}
	return f.meta(&get{b: raw})
}

// Digest names the whole file.
func (f *File) Digest() canon.Digest { return f.digest }

// Err is the first failure, a *refusal.Refusal of code Broken.
func (f *File) Err() error { return f.err }

// Snapshots lists what the file was made from, in the order of the sets.
func (f *File) Snapshots() []advisory.Snapshot { return slices.Clone(f.snapshots) }

// Whole reports that some snapshot speaks about a release as a whole.
func (f *File) Whole(ecosystem string) bool { return f.whole[ecosystem] }

// Releases lists the ecosystems of which Whole is true.
func (f *File) Releases() []string { return slices.Collect(maps.Keys(f.whole)) }

func (f *File) meta(g *get) error {
	f.snapshots = list(g, (*get).snapshot)
	f.origins = list(g, (*get).origin)
	for _, ecosystem := range g.l() {
		f.whole[ecosystem] = true
	}
	for _, e := range list(g, (*get).expiry) {
		if e.snapshot >= uint64(len(f.snapshots)) {
			return errors.New("a record of no snapshot")
		}
		if s := &f.snapshots[e.snapshot]; e.at <= f.now {
			s.Count--
			s.Lapsed++
		}
	}
	return g.end()
}

// end fails when something is left.
func (g *get) end() error {
	if g.bad == nil && len(g.b) > 0 {
		g.fail(errors.New("there is more than it should hold"))
	}
	return g.bad
}

func (g *get) snapshot() advisory.Snapshot {
	return advisory.Snapshot{Name: g.s(), Kind: g.s(), Source: g.s(), Fetched: g.i(), Digest: g.digest(),
		Count: int(g.i()), Lapsed: int(g.i()), Newest: g.i(), Scope: list(g, (*get).subject), Partial: list(g, (*get).gap)}
}

func (g *get) origin() origin {
	return origin{g.s(), advisory.Basis(g.s()), advisory.Feed{Name: g.s(), Kind: g.s(), Snapshot: g.digest(), Fetched: g.i()}}
}

func (g *get) expiry() expiry            { return expiry{g.i(), g.n()} }
func (g *get) subject() advisory.Subject { return advisory.Subject{Ecosystem: g.s(), Package: g.s()} }
func (g *get) gap() advisory.Gap         { return advisory.Gap{Record: g.s(), Why: canon.Note(g.s())} }
func (g *get) severity() advisory.Severity {
	return advisory.Severity{Source: g.s(), Type: g.s(), Score: g.s()}
}

const digits = "0123456789abcdef"

func (g *get) digest() canon.Digest {
	switch g.n() {
	case 0:
		return canon.Digest(g.s())
	case 1:
		var sum [2 * sha256.Size]byte
		for i, b := range []byte(g.raw(sha256.Size)) {
			sum[2*i], sum[2*i+1] = digits[b>>4], digits[b&15]
		}
		return canon.Digest(sum[:])
	}
	g.fail(errors.New("a digest of an unknown kind"))
	return ""
}

// fail remembers the first failure and where it was.
func (f *File) fail(what string, at uint64, err error) {
	if f.err == nil {
		f.err = refusal.New(Broken, "%s at byte %d: %v", what, at, err)
	}
}

// blockAt gives a block whose digest is right, or nil. It is good until the next
// call.
func (f *File) blockAt(number uint64) []byte {
	if k := &f.kept[f.last]; k.b != nil && k.number == number {
		return k.b
	}
	for i := range f.kept {
		if f.kept[i].b != nil && f.kept[i].number == number {
			f.last = i
			return f.kept[i].b
		}
	}
	from, end := number*block, f.ends[parts-2]
	n := min(end-from, block)
	k := &f.kept[f.next]
	b := k.b
	k.b = nil
	if cap(b) < block {
		b = make([]byte, block)
	}
	b = b[:n]
	if got, err := f.in.ReadAt(b, int64(from)); uint64(got) < n {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		f.fail("the block", from, err)
		return nil
	}
	if sum := sha256.Sum256(b); !bytes.Equal(sum[:], f.table[number*sha256.Size:][:sha256.Size]) {
		f.fail("the block", from, errors.New("it does not have its digest"))
		return nil
	}
	*k = kept{number, b}
	f.last, f.next = f.next, (f.next+1)%keep
	return b
}

// read copies bytes of the checked parts; "" after any failure. The caller has
// bounded n.
func (f *File) read(at uint64, n int) string {
	if end := f.ends[parts-2]; at > end || uint64(n) > end-at {
		f.fail("a piece", at, errors.New("it reaches beyond the end"))
		return ""
	}
	if b := f.blockAt(at / block); b != nil && at%block+uint64(n) <= uint64(len(b)) {
		return string(b[at%block:][:n])
	}
	var out strings.Builder
	out.Grow(n)
	for out.Len() < n {
		b := f.blockAt(at / block)
		if b == nil {
			return ""
		}
		b = b[at%block:]
		b = b[:min(len(b), n-out.Len())]
		out.Write(b)
		at += uint64(len(b))
	}
	return out.String()
}

// piece reads bytes behind their length, in the part from..to.
func (f *File) piece(at, from, to uint64) (get, bool) {
	if f.err == nil && (at < from || at >= to) {
		f.fail("a piece", at, errors.New("it lies outside its part"))
	}
	if f.err != nil {
		return get{}, false
	}
	n, width := f.length(at, int(min(to-at, binary.MaxVarintLen64)))
	if at += uint64(width); f.err == nil && (width == 0 || n > to-at || n > maxPiece) {
		f.fail("a piece", at, errors.New("its length is wrong"))
	}
	if f.err != nil {
		return get{}, false
	}
	b := f.read(at, int(n))
	return get{b: b}, f.err == nil
}

// length reads a number of at most some bytes; width 0: there is none.
func (f *File) length(at uint64, most int) (n uint64, width int) {
	b := f.blockAt(at / block)
	if b == nil {
		return 0, 0
	}
	if b = b[at%block:]; len(b) < most {
		b = []byte(f.read(at, most))
	}
	n, width = binary.Uvarint(b[:min(len(b), most)])
	return n, max(width, 0)
}

// at reads a fixed number of a sorted part; false after a failure.
func (f *File) at(offset uint64) (uint64, bool) {
	end := f.ends[parts-2]
	if offset > end || end-offset < 8 {
		f.fail("a number", offset, errors.New("it reaches beyond the end"))
		return 0, false
	}
	if b := f.blockAt(offset / block); b != nil && offset%block+8 <= uint64(len(b)) {
		return binary.LittleEndian.Uint64(b[offset%block:]), true
	}
	s := f.read(offset, 8)
	if f.err != nil {
		return 0, false
	}
	return binary.LittleEndian.Uint64([]byte(s)), true
}

// find gives the offsets of the rows of a sorted part that begin with a key.
func (f *File) find(part, width int, key uint64) iter.Seq[uint64] {
	from := f.ends[part-1]
	count := int((f.ends[part] - from) / uint64(width))
	row := func(i int) uint64 { return from + uint64(i)*uint64(width) }
	return func(yield func(uint64) bool) {
		i := sort.Search(count, func(i int) bool {
			v, ok := f.at(row(i))
			return !ok || v >= key
		})
		for ; i < count && f.err == nil; i++ {
			if v, ok := f.at(row(i)); !ok || v != key || !yield(row(i)) {
				return
			}
		}
	}
}

// The parts, by the index of their end.
const (
	inRecords = iota
	inGroups
	inRests
	inPlaces
	inSubjects
	inNames
)

// Of gives every record that names a subject. The advisory has neither Affected
// nor what is only for people: Related, Published, Modified, Summary, Severities.
func (f *File) Of(s advisory.Subject) iter.Seq2[*advisory.Advisory, []*advisory.Affected] {
	return func(yield func(*advisory.Advisory, []*advisory.Affected) bool) {
		rows := f.spare
		if f.spare = nil; rows == nil { // the first walk, or one within another
			rows = new(group)
		}
		defer func() { f.spare = rows }()
		a := &rows.record
		for entry := range f.find(inSubjects, subjectRow, subjectKey(s)) {
			at, _ := f.at(entry + 8)
			if !f.rows(at, rows) || rows.subject != s {
				continue // another subject with the same key, or a failure
			}
			for record, parts := range rows.each {
				if _, ok := f.recordAt(record, a); !ok {
					return
				}
				if !f.over(a.Expires) && !yield(a, parts) {
					return
				}
			}
			f.settle(rows.bad, "the package", at)
		}
	}
}

// Named gives every record that goes by a name, whole.
func (f *File) Named(name string) []*advisory.Advisory {
	var out []*advisory.Advisory
	for entry := range f.find(inNames, nameRow, key([]byte(name))) {
		at, _ := f.at(entry + 16)
		a := &advisory.Advisory{}
		number, ok := f.recordAt(at, a)
		if !ok || f.over(a.Expires) || !slices.Contains(a.Names(), name) {
			continue
		}
		if f.complete(a, number, at) {
			out = append(out, a)
		}
	}
	return out
}

// over reports that a record's own end is past.
func (f *File) over(expires int64) bool { return expires > 0 && expires <= f.now }

func (f *File) settle(bad error, what string, at uint64) {
	if bad != nil {
		f.fail(what, at, bad)
	}
}

// group is a package's group while it is read. What it holds is used again for
// the next one.
type group struct {
	get
	subject advisory.Subject
	words   []string
	kept    []*advisory.Affected
	record  advisory.Advisory // which the caller has in hand
}

// rows opens a group; false when it cannot be read.
func (f *File) rows(at uint64, r *group) bool {
	g, ok := f.piece(at, f.ends[inGroups-1], f.ends[inGroups])
	if !ok {
		return false
	}
	r.get = g
	r.subject, r.words = r.get.subject(), r.texts(r.words[:0])
	if r.bad != nil {
		f.fail("the package", at, r.bad)
	}
	return r.bad == nil
}

// each gives the offset of each row's record, and its parts, which the next row
// takes the place of.
func (r *group) each(yield func(record uint64, parts []*advisory.Affected) bool) {
	record := uint64(0)
	var parts []*advisory.Affected
	for range r.count() {
		record += uint64(r.i())
		n := r.count()
		parts = parts[:0]
		for len(parts) < n && r.bad == nil {
			if len(parts) == len(r.kept) {
				r.kept = append(r.kept, &advisory.Affected{Ranges: []advisory.Range{}, Versions: []string{}, Severities: []advisory.Severity{}})
			}
			r.part(r.kept[len(parts)])
			parts = append(parts, r.kept[len(parts)])
		}
		if r.bad != nil || !yield(record, parts) {
			return
		}
	}
	r.end()
}

func (r *group) part(a *advisory.Affected) {
	a.Ecosystem, a.Package = r.subject.Ecosystem, r.subject.Package
	a.Ranges, a.Versions, a.Severities = a.Ranges[:0], a.Versions[:0], a.Severities[:0]
	for n := r.count(); len(a.Ranges) < n && r.bad == nil; {
		a.Ranges = append(a.Ranges, advisory.Range{Type: r.word(), Introduced: r.word(), Fixed: r.word(), LastAffected: r.word()})
	}
	for n := r.count(); len(a.Versions) < n && r.bad == nil; {
		a.Versions = append(a.Versions, r.word())
	}
	for n := r.count(); len(a.Severities) < n && r.bad == nil; {
		a.Severities = append(a.Severities, advisory.Severity{Source: r.word(), Type: r.word(), Score: r.word()})
	}
	a.Module, a.Status, a.Word, a.Note = r.word(), advisory.Status(r.word()), r.word(), canon.Note(r.word())
}

func (r *group) word() string {
	n := r.n()
	if n >= uint64(len(r.words)) {
		r.fail(errors.New("a word that is not in its table"))
		return ""
	}
	return r.words[n]
}

// recordAt reads into a what judging needs of a record, and gives its number;
// false when it cannot be read.
func (f *File) recordAt(at uint64, a *advisory.Advisory) (number uint64, ok bool) {
	g, ok := f.piece(at, uint64(headSize), f.ends[inRecords])
	if !ok {
		return 0, false
	}
	n, number := g.n(), g.n()
	*a = advisory.Advisory{}
	a.ID, a.Aliases, a.Upstream, a.Withdrawn, a.Expires, a.Raw = g.s(), g.l(), g.l(), g.i(), g.i(), canon.Digest(g.s())
	if n >= uint64(len(f.origins)) {
		g.fail(errors.New("it comes from nowhere"))
	}
	if g.end() != nil {
		f.fail("the record", at, g.bad)
		return 0, false
	}
	o := f.origins[n]
	a.Source, a.Basis, a.Feed = o.source, o.basis, o.feed
	return number, true
}

// restAt is the offset of the rest of the record with a number.
func (f *File) restAt(number uint64) uint64 {
	from := f.ends[inPlaces-1]
	if number >= (f.ends[inPlaces]-from)/placeRow {
		f.fail("a record", from, errors.New("it has no place for its rest"))
		return 0
	}
	at, _ := f.at(from + number*placeRow)
	return at
}

// complete reads the rest of the record with a number, which is at an offset, and
// its parts from their groups; false when it cannot be read.
func (f *File) complete(a *advisory.Advisory, number, at uint64) bool {
	rest := f.restAt(number)
	g, ok := f.piece(rest, f.ends[inGroups], f.ends[inRests])
	if !ok {
		return false
	}
	a.Related, a.Published, a.Modified, a.Summary = g.l(), g.i(), g.i(), canon.Note(g.s())
	a.Severities = list(&g, (*get).severity)
	groups := list(&g, (*get).n)
	a.Affected = []advisory.Affected{}
	f.settle(g.end(), "the rest of a record", rest)
	parts := map[uint64][]*advisory.Affected{}
	for _, group := range groups {
		if _, ok := parts[group]; !ok {
			parts[group] = f.partsOf(group, at)
		}
		if f.err == nil && len(parts[group]) == 0 {
			f.fail("the record", at, errors.New("a part of it is not there"))
		}
		if f.err != nil {
			return false
		}
		a.Affected = append(a.Affected, *parts[group][0])
		parts[group] = parts[group][1:]
	}
	return true
}

// partsOf gives what the group at an offset says for the record at another.
func (f *File) partsOf(at, record uint64) []*advisory.Affected {
	var rows group
	if !f.rows(at, &rows) {
		return nil
	}
	for of, parts := range rows.each {
		if of == record {
			return parts
		}
	}
	f.settle(rows.bad, "the package", at)
	return nil
}
