// Package flat is advisories compiled into one file that is looked up in place:
// a question about one package reads the bytes about that package and no other,
// and never a zip or JSON.
//
// The parties: who compiles (Write, from the snapshots of room feed), who keeps
// and carries the file and is trusted with nothing but its bytes, and who asks
// (Open, whose File is a match.Records). The objects are blocks of 16 KiB, each
// with its SHA-256 in a table, groups (one subject: a package of a release),
// records, and the snapshots that all of it was made from.
//
// The promise: the same sets give the same bytes, and a File gives back what the
// sets held: match finds the same, byte for byte. A block that does not have its
// digest is never believed: the File says so (Err), gives nothing more of it,
// and match answers unknown. Every offset and count is checked against the bytes
// that are there, so that a hostile file costs an error, and memory at most some
// dozen times the piece of it that was asked for.
//
// The digests show damage, not truth: whoever can write the file can write
// another one. Digest names what was opened, for who has it from elsewhere. A
// File keeps a few blocks and is for one goroutine. It opens nothing by itself.
//
// # Layout
//
// All fixed numbers are little-endian; n is a uvarint, s is n and that many
// bytes, l is n and that many s.
//
//	head     magic (12 bytes), version u32
//	records  each: n length, what judging needs of a record (put.record); they stand near others about the same package
//	groups   each: n length, a table of words, rows with the offsets of their records (put.group)
//	rests    each: n length, the rest of a record (put.rest)
//	places   u64 each: the offset of each record's rest, in the order in which the records stand
//	subjects 16 bytes each, ascending: first 8 bytes of SHA-256(s ecosystem, s package), offset u64 of a group
//	names    24 bytes each, ascending: first 8 bytes of SHA-256(name), ordinal u64, offset u64 of a record
//	meta     snapshots, origins, releases, expiries (put.meta)
//	table    32 bytes for each 16 KiB of all above, the last one shorter
//	foot     the ends of the eight parts from records to table, u64 each, then SHA-256 of head, table and ends
package flat

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/refusal"
)

// Codes of refusals.
const (
	Foreign refusal.Code = "PW-INDEX-FOREIGN" // no index, or one of another version
	Broken  refusal.Code = "PW-INDEX-BROKEN"  // damaged, cut, or made to mislead
	Stale   refusal.Code = "PW-INDEX-STALE"   // made from other bytes than the feed has now
)

// Version is that of the layout and of what its words mean. Another one is
// refused, never guessed at. 2: names of PyPI are normalised (PEP 503). 3: Go
// modules also stand under their names in lower case. 5: what judging needs of
// the records stands apart, where rows say.
const Version = 5

const (
	magic      = "PATCHWRITIDX"
	headSize   = len(magic) + 4
	block      = 16 << 10
	placeRow   = 8
	subjectRow = 16
	nameRow    = 24
	parts      = 8 // ends in the foot
	footSize   = parts*8 + sha256.Size
	maxPiece   = 1 << 27 // bytes of one group, one record, or meta
)

// head is how every file of this version begins.
func head() []byte { return binary.LittleEndian.AppendUint32([]byte(magic), Version) }

// subjectKey finds a subject's group.
func subjectKey(s advisory.Subject) uint64 {
	b := binary.AppendUvarint(nil, uint64(len(s.Ecosystem)))
	b = append(b, s.Ecosystem...)
	b = binary.AppendUvarint(b, uint64(len(s.Package)))
	return key(append(b, s.Package...))
}

func key(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8])
}

// origin is a table entry that many records share.
type origin struct {
	source string
	basis  advisory.Basis
	feed   advisory.Feed
}

// expiry is a record that ends by itself, of the snapshot with that number.
type expiry struct {
	at       int64
	snapshot uint64
}

// get reads the layout's pieces. After the first failure it gives zero values;
// the caller looks at bad once. Its strings are parts of b.
type get struct {
	b   string
	bad error
}

var errCut = errors.New("it ends in the middle of a value")

func (g *get) n() uint64 {
	var v uint64
	for i := range min(len(g.b), binary.MaxVarintLen64) {
		c := g.b[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			g.b = g.b[i+1:]
			return v
		}
	}
	g.fail(errCut)
	return 0
}

func (g *get) fail(err error) {
	if g.bad == nil {
		g.bad = err
	}
	g.b = ""
}

// count reads how many elements follow; each takes at least one byte, so that
// more than there are bytes is a lie.
func (g *get) count() int {
	n := g.n()
	if n > uint64(len(g.b)) {
		g.fail(errors.New("it claims more elements than it has bytes"))
		return 0
	}
	return int(n)
}

// i reads a signed number.
func (g *get) i() int64 {
	u := g.n()
	return int64(u>>1) ^ -int64(u&1)
}

func (g *get) raw(n int) string {
	if n > len(g.b) {
		g.fail(errCut)
		return ""
	}
	b := g.b[:n]
	g.b = g.b[n:]
	return b
}

func (g *get) s() string { return g.raw(g.count()) }

func (g *get) l() []string { return g.texts(nil) }

// texts appends a list of texts; a list that is empty is not nil.
func (g *get) texts(out []string) []string {
	n := g.count()
	if out == nil {
		out = make([]string, 0, min(n, atOnce))
	}
	for n += len(out); len(out) < n && g.bad == nil; {
		out = append(out, g.s())
	}
	return out
}

// atOnce is how many elements are made room for at once: a liar gets no more.
const atOnce = 256

// list reads n elements.
func list[T any](g *get, one func(*get) T) []T {
	n := g.count()
	out := make([]T, 0, min(n, atOnce))
	for len(out) < n && g.bad == nil {
		out = append(out, one(g))
	}
	return out
}

// put writes them.
type put struct{ bytes.Buffer }

func (p *put) n(v uint64) { p.Write(binary.AppendUvarint(p.AvailableBuffer(), v)) }
func (p *put) i(v int64)  { p.n(uint64(v)<<1 ^ uint64(v>>63)) }

func (p *put) s(s string) {
	p.n(uint64(len(s)))
	p.WriteString(s)
}

func (p *put) l(list []string) {
	p.n(uint64(len(list)))
	for _, s := range list {
		p.s(s)
	}
}
