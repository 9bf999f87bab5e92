package messenger

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// errLZ4 says that bytes are no LZ4 frame.
var errLZ4 = errors.New("not a well-formed LZ4 frame")

// lz4Window is how far back a match may lie.
const lz4Window = 64 << 10

// lz4Reader reads an LZ4 frame (lz4_Frame_format.md 1.6.2), as apt keeps its
// lists in containers. It holds one block and a window. The sums in the frame
// are not looked at: these are the host's own files, and what they say is told
// to people and permits nothing.
type lz4Reader struct {
	in    *bufio.Reader
	out   []byte // window, then the block
	at    int    // what of out was read
	block []byte
	max   int  // of a block
	sums  bool // a sum follows each block
	end   error
}

func newLZ4(r io.Reader) (*lz4Reader, error) {
	l := &lz4Reader{in: bufio.NewReaderSize(r, 64<<10)}
	var head [7]byte // magic, FLG, BD, HC
	if _, err := io.ReadFull(l.in, head[:]); err != nil || binary.LittleEndian.Uint32(head[:]) != 0x184D2204 || head[4]>>6 != 1 {
		return nil, errLZ4
	}
	size := head[5] >> 4 & 7
	if size < 4 {
		return nil, errLZ4
	}
	l.max, l.sums = 1<<(8+2*size), head[4]&0x10 != 0
	more := 0
	if head[4]&0x08 != 0 { // content size
		more += 8
	}
	if head[4]&0x01 != 0 { // dictionary
		return nil, errLZ4
	}
	_, err := l.in.Discard(more)
	return l, err
}

// Read implements io.Reader.
func (l *lz4Reader) Read(p []byte) (int, error) {
	for l.at == len(l.out) {
		if l.end == nil {
			l.end = l.next()
		}
		if l.at == len(l.out) && l.end != nil {
			return 0, l.end
		}
	}
	n := copy(p, l.out[l.at:])
	l.at += n
	return n, nil
}

// next unpacks one block; io.EOF after the last.
func (l *lz4Reader) next() error {
	l.out = append(l.out[:0], l.out[max(0, len(l.out)-lz4Window):]...)
	l.at = len(l.out)
	var head [4]byte
	if _, err := io.ReadFull(l.in, head[:]); err != nil {
		return errLZ4
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size == 0 {
		return io.EOF
	}
	n := int(size &^ (1 << 31))
	if n > l.max {
		return errLZ4
	}
	if cap(l.block) < n {
		l.block = make([]byte, n)
	}
	l.block = l.block[:n]
	if _, err := io.ReadFull(l.in, l.block); err != nil {
		return errLZ4
	}
	if l.sums {
		if _, err := l.in.Discard(4); err != nil {
			return errLZ4
		}
	}
	if size>>31 == 1 {
		l.out = append(l.out, l.block...)
		return nil
	}
	return l.unpack(l.block)
}

// unpack decodes one block (lz4_Block_format.md): literals and matches in turn.
func (l *lz4Reader) unpack(b []byte) error {
	from := len(l.out)
	for len(b) > 0 {
		token := b[0]
		n, rest, ok := length(int(token>>4), b[1:])
		if !ok || n > len(rest) || len(l.out)-from+n > l.max {
			return errLZ4
		}
		l.out, b = append(l.out, rest[:n]...), rest[n:]
		if len(b) == 0 {
			return nil // the last sequence has no match
		}
		if len(b) < 2 {
			return errLZ4
		}
		back := int(binary.LittleEndian.Uint16(b))
		n, b, ok = length(int(token&15), b[2:])
		n += 4
		if !ok || back == 0 || back > len(l.out) || len(l.out)-from+n > l.max {
			return errLZ4
		}
		for range n { // a match may reach into itself
			l.out = append(l.out, l.out[len(l.out)-back])
		}
	}
	return nil
}

// length reads the bytes that go on with a length of 15.
func length(n int, b []byte) (int, []byte, bool) {
	if n < 15 {
		return n, b, true
	}
	for i, c := range b {
		if n += int(c); c != 255 {
			return n, b[i+1:], true
		}
	}
	return 0, nil, false
}
