package unpack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// The decompressor allocates whatever history a block's header asks for, up to
// 4 GiB, before it reads a byte of it. So the stream's skeleton is walked
// first: block headers and LZMA2 chunk headers, without their contents. The
// walk also adds up what the stream will unpack to.
// Source: the .xz file format, version 1.2.1, §2 and §3; LZMA2 chunks as in
// xz-embedded's description.

const (
	xzHeader  = 12   // magic, flags, CRC32
	xzLZMA2   = 0x21 // the only filter vendors of packages use
	xzFilters = 0x03 // block flag: number of filters minus one
	xzPacked  = 0x40 // block flag: compressed size present
	xzSize    = 0x80 // block flag: uncompressed size present
)

var xzMagic = []byte{0xfd, '7', 'z', 'X', 'Z', 0}

// xzSums gives the length of the integrity sum by the stream flag: none,
// CRC32, CRC64, SHA-256.
var xzSums = map[byte]int64{0x00: 0, 0x01: 4, 0x04: 8, 0x0a: 32}

// surveyXZ refuses a stream whose blocks ask for more than MaxWindow or unpack
// to more than limit bytes, or whose skeleton is broken. The index behind the
// blocks is left to the decompressor.
func surveyXZ(r io.ReaderAt, size, limit int64) error {
	var head [xzHeader]byte
	if size < xzHeader {
		return formError(io.ErrUnexpectedEOF)
	}
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return err
	}
	sum, known := xzSums[head[7]]
	if !bytes.Equal(head[:6], xzMagic) || head[6] != 0 || !known {
		return fmt.Errorf("%w: no xz stream header", ErrForm)
	}
	s := survey{r: r, size: size, at: xzHeader, left: limit}
	for {
		more, err := s.block(sum)
		if err != nil || !more {
			return err
		}
	}
}

// survey walks a stream.
type survey struct {
	r    io.ReaderAt
	size int64
	at   int64
	left int64 // of the limit
}

// take reads n bytes at the present place and steps over them.
func (s *survey) take(buf []byte) ([]byte, error) {
	if s.size-s.at < int64(len(buf)) {
		return nil, formError(io.ErrUnexpectedEOF)
	}
	n, err := s.r.ReadAt(buf, s.at)
	s.at += int64(n)
	if n == len(buf) {
		err = nil
	}
	return buf, err
}

// block walks one block; more is false when the index begins instead.
func (s *survey) block(sum int64) (more bool, err error) {
	one, err := s.take(make([]byte, 1))
	if err != nil || one[0] == 0 {
		return false, err
	}
	header, err := s.take(make([]byte, (int64(one[0])+1)*4-1))
	if err != nil {
		return false, err
	}
	if err := blockHeader(header[:len(header)-4]); err != nil {
		return false, err
	}
	start := s.at
	for more := true; more; {
		if more, err = s.chunk(); err != nil {
			return false, err
		}
	}
	s.at += -(s.at - start) & 3 // padding to a multiple of four
	s.at += sum
	return true, nil
}

// blockHeader checks that a block's one filter is LZMA2 with a small window.
func blockHeader(h []byte) error {
	flags, rest := h[0], h[1:]
	if flags&xzFilters != 0 || flags&^(xzFilters|xzPacked|xzSize) != 0 {
		return fmt.Errorf("%w: xz block flags %#x", ErrForm, flags)
	}
	for _, present := range []byte{xzPacked, xzSize} {
		if flags&present == 0 {
			continue
		}
		_, n := binary.Uvarint(rest)
		if n <= 0 {
			return fmt.Errorf("%w: xz block sizes", ErrForm)
		}
		rest = rest[n:]
	}
	if len(rest) < 3 || rest[0] != xzLZMA2 || rest[1] != 1 {
		return fmt.Errorf("%w: an xz filter other than LZMA2", ErrForm)
	}
	if bits := rest[2]; bits > 40 || window(bits) > MaxWindow {
		return fmt.Errorf("%w: an xz window beyond %d MiB", ErrLimit, MaxWindow>>20)
	}
	return nil
}

// window decodes LZMA2's dictionary size: 2 or 3 times a power of two.
func window(bits byte) int64 {
	return (2 | int64(bits&1)) << (bits/2 + 11)
}

// chunk steps over one LZMA2 chunk; more is false at the end marker.
func (s *survey) chunk() (more bool, err error) {
	one, err := s.take(make([]byte, 1))
	if err != nil || one[0] == 0 {
		return false, err
	}
	control := one[0]
	if control > 2 && control < 0x80 {
		return false, fmt.Errorf("%w: LZMA2 control byte %#x", ErrForm, control)
	}
	var unpacked, skip int64
	if control <= 2 { // stored: two bytes of size
		b, err := s.take(make([]byte, 2))
		if err != nil {
			return false, err
		}
		unpacked = int64(binary.BigEndian.Uint16(b)) + 1
		skip = unpacked
	} else { // packed: five bits and two bytes unpacked size, two bytes packed size, properties
		b, err := s.take(make([]byte, 4))
		if err != nil {
			return false, err
		}
		unpacked = int64(control&0x1f)<<16 + int64(binary.BigEndian.Uint16(b)) + 1
		skip = int64(binary.BigEndian.Uint16(b[2:])) + 1
		if control >= 0xc0 {
			skip++
		}
	}
	s.at += skip
	if s.left -= unpacked; s.left < 0 {
		return false, ErrLimit
	}
	return true, nil
}
