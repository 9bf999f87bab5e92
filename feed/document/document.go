// Package document reads feeds that are one file, plain or gzip: it counts and
// hashes the bytes, unpacks them within bounds, and keeps the list of gaps.
//
// The parties: whoever publishes the file, and the parsers (feed/kev, feed/epss)
// that read it as a stream. The objects are the File and the Gaps.
//
// The promise: no more bytes are read or unpacked than the limit; whatever ends
// a file early is an error and never looks like its end; the digest covers every
// byte as it came, whether or not the parser wanted it.
//
// It opens nothing and knows no format. A digest says which bytes were read, not
// that they are true.
package document

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
)

// ErrUnusable says that a file is not what its feed publishes at all. What the
// feed says is unknown; fetch the file again, or look at what the mirror serves.
var ErrUnusable = errors.New("the feed cannot be used, so what it says is unknown")

// ErrTooLarge says that a file has more bytes than its limit, packed or unpacked.
var ErrTooLarge = errors.New("the file is larger than its limit")

// MaxLine is the longest line that Reader's ReadSlice gives, in bytes.
const MaxLine = 64 << 10

// File is one file while it is read.
type File struct {
	*bufio.Reader // the unpacked bytes; ErrTooLarge beyond the limit
	raw           io.Reader
	sum           hash.Hash
}

// Open begins to read in, which may be gzip (RFC 1952). limit bounds the bytes
// as they come and the unpacked bytes, each. The error is ErrUnusable.
func Open(in io.Reader, limit int64) (*File, error) {
	sum := sha256.New()
	packed := bufio.NewReader(io.TeeReader(&bounded{in: in, left: limit}, sum))
	f := &File{raw: packed, sum: sum}
	magic, err := packed.Peek(2)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	plain := io.Reader(packed)
	if string(magic) == "\x1f\x8b" {
		if plain, err = gzip.NewReader(packed); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
		}
		plain = &bounded{in: plain, left: limit}
	}
	f.Reader = bufio.NewReaderSize(plain, MaxLine)
	return f, nil
}

// Close reads what the parser left and returns the SHA-256 of the bytes as they
// came. The error says that they could not be read to their end.
func (f *File) Close() (canon.Digest, error) {
	_, err := io.Copy(io.Discard, f.Reader)
	if _, more := io.Copy(io.Discard, f.raw); err == nil {
		err = more
	}
	return canon.Digest(hex.EncodeToString(f.sum.Sum(nil))), err
}

// bounded fails where more than left bytes come, and from then on.
type bounded struct {
	in   io.Reader
	left int64
	over bool
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.over {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.in.Read(p)
	if int64(n) > b.left {
		n, err, b.over = int(b.left), ErrTooLarge, true
	}
	b.left -= int64(n)
	return n, err
}

// maxGaps is how many gaps are listed; more are counted.
const maxGaps = 100

// Gaps collects what could not be read. The zero value is empty.
type Gaps struct {
	list    []advisory.Gap
	dropped int
}

// Add notes a gap; record is an id or "" for the file as a whole.
func (g *Gaps) Add(record, format string, args ...any) {
	if len(g.list) >= maxGaps {
		g.dropped++
		return
	}
	g.list = append(g.list, advisory.Gap{Record: string(canon.NoteOf(record)), Why: canon.NoteOf(fmt.Sprintf(format, args...))})
}

// List returns the gaps in order, never nil, and how many more there were.
func (g *Gaps) List() []advisory.Gap {
	out := append([]advisory.Gap{}, g.list...)
	if g.dropped > 0 {
		out = append(out, advisory.Gap{Why: canon.NoteOf(fmt.Sprintf("and %d more gaps", g.dropped))})
	}
	return out
}
