package flat

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/match"
)

// Write compiles sets into out and returns the file's digest. It keeps the
// places of records and packages in memory, not what it writes. The error is
// out's, or says which record is too large.
func Write(out io.Writer, sets ...advisory.Set) (canon.Digest, error) {
	w := &writer{out: bufio.NewWriterSize(out, 1<<16), origins: map[origin]int{}, groups: map[advisory.Subject][]row{}, at: map[advisory.Subject]uint64{}, whole: map[string]bool{}}
	w.write(head())
	w.collect(sets)
	for _, part := range []func(){w.putRecords, w.putGroups, w.putRests, w.putPlaces, w.putSubjects, w.putNames, func() { w.putMeta(sets) }} {
		part()
		w.ends = append(w.ends, w.pos)
	}
	return w.finish()
}

// one is a record with its place among all.
type one struct {
	*advisory.Advisory
	ordinal int    // in the order of the sets
	number  int    // in the order of the file
	at      uint64 // its offset, once it is written
	rest    uint64 // that of its rest, likewise
}

// row is a record's parts about one subject.
type row struct {
	record *one
	parts  []*advisory.Affected
}

type writer struct {
	out      *bufio.Writer
	err      error
	pos      uint64
	sum      hash.Hash // of the block that is being filled
	filled   int
	table    []byte
	ends     []uint64
	all      []*one // in the order of the sets
	stand    []*one // in that of the file
	groups   map[advisory.Subject][]row
	subject  []advisory.Subject          // ascending: the order of groups
	at       map[advisory.Subject]uint64 // a group's offset, once it is written
	origins  map[origin]int
	origin   []origin
	whole    map[string]bool
	expiries []expiry
}

// write appends bytes, and a digest for each block that they fill.
func (w *writer) write(b []byte) {
	if w.err == nil {
		_, w.err = w.out.Write(b)
	}
	w.pos += uint64(len(b))
	for len(b) > 0 {
		if w.sum == nil {
			w.sum = sha256.New()
		}
		n := min(len(b), block-w.filled)
		w.sum.Write(b[:n])
		b = b[n:]
		if w.filled += n; w.filled == block {
			w.seal()
		}
	}
}

func (w *writer) seal() {
	if w.filled > 0 {
		w.table = w.sum.Sum(w.table)
		w.sum.Reset()
		w.filled = 0
	}
}

// piece writes bytes behind their length and returns where.
func (w *writer) piece(b []byte, what string) (at uint64) {
	if len(b) > maxPiece {
		w.fail(fmt.Errorf("%+q takes %d bytes, the limit of an index is %d", what, len(b), maxPiece))
	}
	at = w.pos
	w.write(binary.AppendUvarint(nil, uint64(len(b))))
	w.write(b)
	return at
}

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// collect goes through the sets once, in their order.
func (w *writer) collect(sets []advisory.Set) {
	for i := range sets {
		s := &sets[i]
		for j := range s.Advisories {
			a := &s.Advisories[j]
			r := &one{Advisory: a, ordinal: len(w.all)}
			w.all = append(w.all, r)
			if a.Expires > 0 {
				w.expiries = append(w.expiries, expiry{a.Expires, uint64(i)})
			}
			for k := range a.Affected {
				f := &a.Affected[k]
				if len(s.Snapshot.Scope) == 0 && match.SpeaksForAll(a, f.Ecosystem) {
					w.whole[f.Ecosystem] = true
				}
				w.part(r, f)
			}
			for _, f := range match.Folded(a) { // behind the record's own parts, by which it is put together again
				w.part(r, &f)
			}
		}
	}
	for s := range w.groups {
		w.subject = append(w.subject, s)
	}
	slices.SortFunc(w.subject, func(a, b advisory.Subject) int {
		return cmp.Or(strings.Compare(a.Ecosystem, b.Ecosystem), strings.Compare(a.Package, b.Package))
	})
	w.number()
}

// part puts what a record says about a subject into its group.
func (w *writer) part(r *one, f *advisory.Affected) {
	subject := advisory.Subject{Ecosystem: f.Ecosystem, Package: f.Package}
	list := w.groups[subject]
	if n := len(list); n > 0 && list[n-1].record == r {
		list[n-1].parts = append(list[n-1].parts, f)
		return
	}
	w.groups[subject] = append(list, row{r, []*advisory.Affected{f}})
}

// number orders the records so that those about one package stand together.
func (w *writer) number() {
	about := func(r *one) string {
		if len(r.Affected) == 0 {
			return ""
		}
		return r.Affected[0].Package
	}
	w.stand = slices.Clone(w.all)
	slices.SortStableFunc(w.stand, func(a, b *one) int { return strings.Compare(about(a), about(b)) })
	for i, r := range w.stand {
		r.number = i
	}
}

func (w *writer) putRecords() {
	var p put
	for _, r := range w.stand {
		p.Reset()
		p.record(r, w.originOf(r.Advisory))
		r.at = w.piece(p.Bytes(), r.ID)
	}
}

func (w *writer) putRests() {
	var p put
	for _, r := range w.stand {
		p.Reset()
		p.rest(r, w.at)
		r.rest = w.piece(p.Bytes(), r.ID)
	}
}

func (w *writer) putPlaces() {
	for _, r := range w.stand {
		w.write(binary.LittleEndian.AppendUint64(nil, r.rest))
	}
}

func (w *writer) originOf(a *advisory.Advisory) int {
	o := origin{a.Source, a.Basis, a.Feed}
	n, ok := w.origins[o]
	if !ok {
		n = len(w.origin)
		w.origins[o], w.origin = n, append(w.origin, o)
	}
	return n
}

// record writes what judging needs. The digest is text, which costs a reader
// nothing.
func (p *put) record(r *one, origin int) {
	p.n(uint64(origin))
	p.n(uint64(r.number))
	p.s(r.ID)
	p.l(r.Aliases)
	p.l(r.Upstream)
	p.i(r.Withdrawn)
	p.i(r.Expires)
	p.s(string(r.Raw))
}

// rest writes what only a question about the record itself shows.
func (p *put) rest(r *one, groups map[advisory.Subject]uint64) {
	p.l(r.Related)
	p.i(r.Published)
	p.i(r.Modified)
	p.s(string(r.Summary))
	p.n(uint64(len(r.Severities)))
	for _, s := range r.Severities {
		p.s(s.Source)
		p.s(s.Type)
		p.s(s.Score)
	}
	p.n(uint64(len(r.Affected)))
	for _, f := range r.Affected {
		p.n(groups[advisory.Subject{Ecosystem: f.Ecosystem, Package: f.Package}])
	}
}

// digest writes 32 bytes where it is one, and the text where it is not.
func (p *put) digest(d canon.Digest) {
	if d.Valid() {
		p.n(1)
		p.Write(d.Bytes())
		return
	}
	p.n(0)
	p.s(string(d))
}

func (w *writer) putGroups() {
	var p put
	for _, s := range w.subject {
		p.Reset()
		p.group(s, w.groups[s])
		w.at[s] = w.piece(p.Bytes(), s.Package)
	}
}

// group writes a table of all words of a subject, each once, then the rows.
func (p *put) group(s advisory.Subject, rows []row) {
	number, table := map[string]uint64{}, []string{}
	word := func(s string) uint64 {
		n, ok := number[s]
		if !ok {
			n = uint64(len(table))
			number[s], table = n, append(table, s)
		}
		return n
	}
	word("") // the word that stands most often has the shortest number
	var body put
	body.n(uint64(len(rows)))
	last := uint64(0)
	for _, r := range rows {
		body.i(int64(r.record.at - last))
		last = r.record.at
		body.n(uint64(len(r.parts)))
		for _, f := range r.parts {
			body.part(f, word)
		}
	}
	p.s(s.Ecosystem)
	p.s(s.Package)
	p.l(table)
	p.Write(body.Bytes())
}

func (p *put) part(f *advisory.Affected, word func(string) uint64) {
	p.n(uint64(len(f.Ranges)))
	for _, r := range f.Ranges {
		for _, s := range []string{r.Type, r.Introduced, r.Fixed, r.LastAffected} {
			p.n(word(s))
		}
	}
	p.n(uint64(len(f.Versions)))
	for _, v := range f.Versions {
		p.n(word(v))
	}
	p.n(uint64(len(f.Severities)))
	for _, s := range f.Severities {
		for _, s := range []string{s.Source, s.Type, s.Score} {
			p.n(word(s))
		}
	}
	for _, s := range []string{f.Module, string(f.Status), f.Word, string(f.Note)} {
		p.n(word(s))
	}
}

func (w *writer) putSubjects() {
	type entry struct{ key, at uint64 }
	var list []entry
	for s, at := range w.at {
		list = append(list, entry{subjectKey(s), at})
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.at, b.at)) })
	for _, e := range list {
		w.write(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, e.key), e.at))
	}
}

func (w *writer) putNames() {
	type entry struct{ key, ordinal, at uint64 }
	var list []entry
	for _, r := range w.all {
		for _, n := range r.Names() {
			list = append(list, entry{key([]byte(n)), uint64(r.ordinal), r.at})
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.ordinal, b.ordinal)) })
	for _, e := range slices.Compact(list) {
		b := binary.LittleEndian.AppendUint64(nil, e.key)
		b = binary.LittleEndian.AppendUint64(b, e.ordinal)
		w.write(binary.LittleEndian.AppendUint64(b, e.at))
	}
}

// putMeta writes what every question needs.
func (w *writer) putMeta(sets []advisory.Set) {
	var p put
	p.n(uint64(len(sets)))
	for _, s := range sets {
		p.snapshot(s.Snapshot)
	}
	p.n(uint64(len(w.origin)))
	for _, o := range w.origin {
		p.s(o.source)
		p.s(string(o.basis))
		p.s(o.feed.Name)
		p.s(o.feed.Kind)
		p.digest(o.feed.Snapshot)
		p.i(o.feed.Fetched)
	}
	p.l(slices.Sorted(maps.Keys(w.whole)))
	p.n(uint64(len(w.expiries)))
	for _, e := range w.expiries {
		p.i(e.at)
		p.n(e.snapshot)
	}
	if p.Len() > maxPiece {
		w.fail(fmt.Errorf("what is said about the snapshots takes %d bytes, the limit of an index is %d", p.Len(), maxPiece))
	}
	w.write(p.Bytes())
	w.seal()
}

func (p *put) snapshot(s advisory.Snapshot) {
	p.s(s.Name)
	p.s(s.Kind)
	p.s(s.Source)
	p.i(s.Fetched)
	p.digest(s.Digest)
	p.i(int64(s.Count))
	p.i(int64(s.Lapsed))
	p.i(s.Newest)
	p.n(uint64(len(s.Scope)))
	for _, s := range s.Scope {
		p.s(s.Ecosystem)
		p.s(s.Package)
	}
	p.n(uint64(len(s.Partial)))
	for _, g := range s.Partial {
		p.s(g.Record)
		p.s(string(g.Why))
	}
}

// finish writes the table and the foot.
func (w *writer) finish() (canon.Digest, error) {
	ends := []byte{}
	for _, e := range append(w.ends, w.pos+uint64(len(w.table))) {
		ends = binary.LittleEndian.AppendUint64(ends, e)
	}
	sum := footSum(w.table, ends)
	for _, b := range [][]byte{w.table, ends, sum} {
		if w.err == nil {
			_, w.err = w.out.Write(b)
		}
	}
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return canon.Digest(hex.EncodeToString(sum)), w.err
}

// footSum covers everything: the table covers what stands before it.
func footSum(table, ends []byte) []byte {
	h := sha256.New()
	h.Write(head())
	h.Write(table)
	h.Write(ends)
	return h.Sum(nil)
}
