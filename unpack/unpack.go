// Package unpack opens compressed bytes within bounds: gzip, xz, zstd or plain.
//
// The parties: vendors compress their indexes and packages; rooms provenance
// and artefact read them after the hash chain has shown whose bytes they are.
// A vendor may still be hostile or broken, so nothing here trusts a length it
// is told.
//
// The promise: however the input is made, a reader yields at most the agreed
// number of bytes, holds at most MaxWindow bytes of history, and ends with an
// error, never a panic, when the input is not well-formed to its last byte.
// Integrity sums inside a format are checked when the reader reaches its end,
// so a caller believes nothing before io.EOF.
//
// It does not authenticate anything and knows no archive formats.
package unpack

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Format is how bytes are compressed, written as the file name's ending.
type Format string

// The formats Debian archives use today.
const (
	Plain Format = ""
	Gzip  Format = ".gz"
	XZ    Format = ".xz"
	Zstd  Format = ".zst"
)

// MaxWindow is the largest history a stream may ask for. The highest preset of
// xz asks for 64 MiB; zstd asks for at most 128 MiB unless told "--long".
const MaxWindow = 128 << 20

// buffer is the size of the buffers before and behind a decompressor. Without
// them reading one large package took ten times as long.
const buffer = 64 << 10

// The reasons to stop. Both mean: believe nothing of what was read.
var (
	ErrForm  = errors.New("not a well-formed compressed stream")
	ErrLimit = errors.New("unpacks to more than its limit")
)

// FormatOf cuts a known ending off a file name: "Packages.xz" gives "Packages"
// and XZ. A name without a known ending is Plain.
func FormatOf(name string) (base string, f Format) {
	for _, f := range []Format{Gzip, XZ, Zstd} {
		if base, ok := strings.CutSuffix(name, string(f)); ok {
			return base, f
		}
	}
	return name, Plain
}

// Open returns a buffered reader of what the size bytes of r unpack to, at most
// limit bytes. Errors are ErrForm, ErrLimit or r's own. Close frees memory only.
func Open(f Format, r io.ReaderAt, size, limit int64) (io.ReadCloser, error) {
	if size == 0 && f != Plain {
		return nil, formError(io.ErrUnexpectedEOF) // zstd would take nothing for an empty stream
	}
	in := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), buffer)
	switch f {
	case Plain:
		return bound(in, nil, limit), nil
	case Gzip:
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, formError(err)
		}
		return bound(z, nil, limit), nil
	case Zstd:
		z, odd := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(MaxWindow))
		if odd != nil { // only an option could be
			return nil, formError(odd)
		}
		return bound(z, z.Close, limit), nil
	case XZ:
		if err := surveyXZ(r, size, limit); err != nil {
			return nil, err
		}
		z, err := xz.ReaderConfig{SingleStream: true}.NewReader(in)
		if err != nil {
			return nil, formError(err)
		}
		return bound(z, nil, limit), nil
	}
	return nil, fmt.Errorf("%w: format %q is not known", ErrForm, f)
}

// formError says that a decompressor gave up; its words follow.
func formError(err error) error {
	return fmt.Errorf("%w: %v", ErrForm, err)
}

// bounded passes on at most left more bytes and names every error.
type bounded struct {
	from io.Reader
	left int64
	end  func()
}

func bound(from io.Reader, end func(), limit int64) io.ReadCloser {
	b := &bounded{from: from, left: limit, end: end}
	return struct {
		io.Reader
		io.Closer
	}{bufio.NewReaderSize(b, buffer), b}
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrLimit
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more than allowed, to notice what is too long
	}
	n, err := b.from.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, ErrLimit
	}
	if err != nil && err != io.EOF {
		err = formError(err)
	}
	return n, err
}

func (b *bounded) Close() error {
	if b.end != nil {
		b.end()
	}
	return nil
}
