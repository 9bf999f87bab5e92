package strictjson

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Stream walks a text from a reader. What it has handed on it has forgotten.
type Stream struct {
	in    *bufio.Reader
	at    int64
	depth int
	value []byte
}

// NewStream returns a stream over in.
func NewStream(in io.Reader) *Stream { return &Stream{in: bufio.NewReaderSize(in, 64<<10)} }

// ErrTooLong says that a value has more bytes than the caller takes. The stream
// stands behind it and can go on.
var ErrTooLong = errors.New("a value is too long")

// At is the byte of the text that is read next.
func (s *Stream) At() int64 { return s.at }

func (s *Stream) fail(format string, args ...any) error {
	return &Syntax{s.at, fmt.Sprintf(format, args...)}
}

// next consumes a byte.
func (s *Stream) next() (byte, error) {
	c, err := s.in.ReadByte()
	if err != nil {
		return 0, s.broken(err)
	}
	s.at++
	return c, nil
}

func (s *Stream) broken(err error) error {
	if err == io.EOF {
		return s.fail("the text ends here")
	}
	return s.fail("it cannot be read further: %v", err)
}

// Peek returns the next byte that is not white space, or 0 at the end.
func (s *Stream) Peek() byte {
	for {
		b, err := s.in.Peek(1)
		if err != nil {
			return 0
		}
		switch b[0] {
		case ' ', '\t', '\n', '\r':
			s.in.Discard(1)
			s.at++
		default:
			return b[0]
		}
	}
}

// End is nil when nothing but white space follows.
func (s *Stream) End() error {
	if c := s.Peek(); c != 0 {
		return s.fail("something follows the end of the text")
	}
	if _, err := s.in.Peek(1); err != io.EOF {
		return s.fail("it cannot be read to its end, or goes on with a byte 0")
	}
	return nil
}

func (s *Stream) enter(open byte, kind string) error {
	if s.Peek() != open {
		return s.fail("%s was expected", kind)
	}
	if s.depth++; s.depth > MaxDepth {
		return s.fail("nested more than %d deep", MaxDepth)
	}
	_, err := s.next()
	return err
}

// more is as a Doc's.
func (s *Stream) more(first bool, close byte) (bool, error) {
	switch c := s.Peek(); {
	case c == close:
		s.depth--
		_, err := s.next()
		return false, err
	case c == 0:
		return false, s.fail("the text ends here")
	case first:
		return true, nil
	case c == ',':
		_, err := s.next()
		return true, err
	}
	return false, s.fail("a comma or %q was expected", close)
}

// Object reads an object of at most limit keys; member consumes the value of
// each key, by any of the stream's methods.
func (s *Stream) Object(limit int, member func(key string) error) error {
	if err := s.enter('{', "an object"); err != nil {
		return err
	}
	var seen keys
	for first := true; ; first = false {
		if more, err := s.more(first, '}'); !more || err != nil {
			return err
		}
		key, err := s.key()
		if err != nil {
			return err
		}
		if why := seen.add(key, limit); why != "" {
			return s.fail("%s", why)
		}
		if s.Peek() != ':' {
			return s.fail("a colon was expected")
		}
		if _, err = s.next(); err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
	}
}

// maxStreamKey is the most bytes of a key of the outer levels; those in use are
// names of packages and vulnerabilities.
const maxStreamKey = 4 << 10

func (s *Stream) key() (string, error) {
	if s.Peek() != '"' {
		return "", s.fail("a string was expected")
	}
	raw, err := s.Raw(maxStreamKey)
	if err != nil {
		return "", s.fail("a key without end or of more than %d bytes", maxStreamKey)
	}
	d, key := Of(raw), ""
	err = d.Whole(func() (err error) { key, err = d.Str(maxStreamKey); return err })
	if err != nil {
		return "", s.fail("%v", err)
	}
	return key, nil
}

// Array reads an array of at most limit elements.
func (s *Stream) Array(limit int, item func() error) error {
	if err := s.enter('[', "an array"); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if more, err := s.more(n == 0, ']'); !more || err != nil {
			return err
		}
		if n == limit {
			return s.fail("more than %d elements", limit)
		}
		if err := item(); err != nil {
			return err
		}
	}
}

// Raw returns the bytes of one value, valid until the next call. Only where it
// ends is looked for: a Doc must read it. ErrTooLong says that it has more than
// limit bytes; it is passed over then.
func (s *Stream) Raw(limit int) ([]byte, error) {
	switch s.Peek() {
	case 0, ',', ':', ']', '}':
		return nil, s.fail("a value was expected")
	}
	s.value = s.value[:0]
	over, depth, quoted := false, 0, false
	for {
		b, err := s.in.Peek(1)
		if err != nil && (depth > 0 || quoted || err != io.EOF) {
			return nil, s.broken(err)
		}
		bare := depth == 0 && !quoted && len(s.value) > 0 // a number or a word has no end of its own
		if err != nil || bare && bytes.IndexByte([]byte(",]}: \t\r\n"), b[0]) >= 0 {
			break
		}
		n, ends, err := s.piece(&depth, &quoted)
		if err != nil {
			return nil, err
		}
		if over = over || len(s.value)+len(n) > limit; !over {
			s.value = append(s.value, n...)
		} else if len(s.value) == 0 {
			s.value = append(s.value, n[0])
		}
		s.in.Discard(len(n))
		s.at += int64(len(n))
		if ends {
			break
		}
	}
	if over {
		return nil, ErrTooLong
	}
	return s.value, nil
}

// piece looks at what is buffered and returns the part of it that belongs to
// the value, and whether the value ends with it.
func (s *Stream) piece(depth *int, quoted *bool) (part []byte, ends bool, err error) {
	b, _ := s.in.Peek(max(s.in.Buffered(), 1))
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case *quoted && c == '\\':
			if i+1 == len(b) && i > 0 {
				return b[:i], false, nil // the escape begins the next piece
			}
			if i+1 == len(b) {
				b, err = s.in.Peek(2)
				if err != nil {
					return nil, false, s.broken(err)
				}
				return b, false, nil
			}
			i++
		case c == '"':
			*quoted = !*quoted
			if !*quoted && *depth == 0 {
				return b[:i+1], true, nil
			}
		case *quoted:
		case c == '{' || c == '[':
			if *depth++; *depth > MaxDepth {
				return nil, false, s.fail("nested more than %d deep", MaxDepth)
			}
		case c == '}' || c == ']':
			if *depth--; *depth <= 0 {
				return b[:i+1], true, nil
			}
		case *depth == 0:
			return b[:i+1], false, nil // a byte of a bare value
		}
	}
	return b, false, nil
}

// Skip passes over one value that is not wanted, of at most limit bytes, and
// checks its grammar.
func (s *Stream) Skip(limit int) error {
	raw, err := s.Raw(limit)
	if err != nil {
		return err
	}
	d := Of(raw)
	if !utf8.Valid(raw) {
		return s.fail("the text is not UTF-8")
	}
	if err := d.Whole(d.Skip); err != nil {
		return s.fail("%v", err)
	}
	return nil
}
