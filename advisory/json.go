package advisory

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of one JSON document, whatever it is about.
const (
	maxDepth = 64  // deepest nesting; records in use stay below 15
	maxKeys  = 256 // keys of one object that is read; records in use stay below 20
)

// document reads one JSON text (RFC 8259) in a single pass, in the order its
// caller asks for. Keys are compared exactly, a key that stands twice in an
// object that is read is an error, and so is anything after the value: two
// readers of the same bytes cannot see different records.
type document struct {
	in    []byte
	at    int
	depth int
}

// syntax is an error at a byte of the document.
type syntax struct {
	offset int
	reason string
}

func (s *syntax) Error() string { return s.reason }

func (d *document) fail(format string, args ...any) error {
	return &syntax{d.at, fmt.Sprintf(format, args...)}
}

func (d *document) space() {
	for d.at < len(d.in) {
		switch d.in[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// peek returns the next byte that is not white space, or 0 at the end.
func (d *document) peek() byte {
	d.space()
	if d.at < len(d.in) {
		return d.in[d.at]
	}
	return 0
}

// whole reads the document: one value, read by f, and nothing after it.
func (d *document) whole(f func() error) error {
	if !utf8.Valid(d.in) {
		return d.fail("the text is not UTF-8")
	}
	if err := f(); err != nil {
		return err
	}
	if d.peek(); d.at != len(d.in) {
		return d.fail("something follows the end of the record")
	}
	return nil
}

func (d *document) enter(open byte, kind string) error {
	if d.peek() != open {
		return d.fail("%s was expected", kind)
	}
	if d.depth++; d.depth > maxDepth {
		return d.fail("nested more than %d deep", maxDepth)
	}
	d.at++
	return nil
}

// more reports whether another element comes before close, and consumes the
// comma, or close itself.
func (d *document) more(first bool, close byte) (bool, error) {
	switch c := d.peek(); {
	case c == close:
		d.at++
		d.depth--
		return false, nil
	case first:
		return true, nil
	case c == ',':
		d.at++
		return true, nil
	}
	return false, d.fail("a comma or %q was expected", close)
}

// object reads an object; member consumes the value of each key.
func (d *document) object(member func(key string) error) error {
	if err := d.enter('{', "an object"); err != nil {
		return err
	}
	var seen []string
	for first := true; ; first = false {
		if more, err := d.more(first, '}'); !more {
			return err
		}
		key, err := d.str(maxText)
		if err != nil {
			return err
		}
		for _, k := range seen {
			if k == key {
				return d.fail("the key %+q stands twice", key)
			}
		}
		if seen = append(seen, key); len(seen) > maxKeys {
			return d.fail("more than %d keys in one object", maxKeys)
		}
		if d.peek() != ':' {
			return d.fail("a colon was expected")
		}
		d.at++
		if err := member(key); err != nil {
			return err
		}
	}
}

// array reads an array of at most limit elements, or null, which is an empty one.
func (d *document) array(limit int, item func() error) error {
	if d.peek() == 'n' {
		return d.word("null")
	}
	if err := d.enter('[', "an array"); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if more, err := d.more(n == 0, ']'); !more {
			return err
		}
		if n == limit {
			return d.fail("more than %d elements", limit)
		}
		if err := item(); err != nil {
			return err
		}
	}
}

func (d *document) word(w string) error {
	if d.peek(); d.at+len(w) > len(d.in) || string(d.in[d.at:d.at+len(w)]) != w {
		return d.fail("a value was expected")
	}
	d.at += len(w)
	return nil
}

// str reads a string of at most limit bytes.
func (d *document) str(limit int) (string, error) {
	if d.peek() != '"' {
		return "", d.fail("a string was expected")
	}
	start := d.at + 1
	for d.at++; d.at < len(d.in); d.at++ {
		switch c := d.in[d.at]; {
		case c == '"':
			s := d.in[start:d.at]
			d.at++
			if len(s) > limit {
				return "", d.fail("a string of %d bytes, the limit is %d", len(s), limit)
			}
			return string(s), nil
		case c == '\\':
			return d.escaped(start, limit)
		case c < 0x20:
			return "", d.fail("a control character in a string")
		}
	}
	return "", d.fail("a string without end")
}

// escaped goes on where str has met the first backslash.
func (d *document) escaped(start, limit int) (string, error) {
	out := append([]byte(nil), d.in[start:d.at]...)
	for d.at < len(d.in) {
		c := d.in[d.at]
		switch {
		case c == '"':
			d.at++
			return string(out), nil
		case c < 0x20:
			return "", d.fail("a control character in a string")
		case c == '\\':
			r, err := d.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
			d.at++
		}
		if len(out) > limit {
			return "", d.fail("a string of more than %d bytes", limit)
		}
	}
	return "", d.fail("a string without end")
}

const plainEscapes = `"\/bfnrt`
const plainMeaning = "\"\\/\b\f\n\r\t"

// escape consumes one escape sequence. Half of a surrogate pair becomes U+FFFD.
func (d *document) escape() (rune, error) {
	if d.at+1 >= len(d.in) {
		return 0, d.fail("a string without end")
	}
	c := d.in[d.at+1]
	for i := range len(plainEscapes) {
		if plainEscapes[i] == c {
			d.at += 2
			return rune(plainMeaning[i]), nil
		}
	}
	r, ok := d.hex4(d.at)
	if !ok {
		return 0, d.fail("an escape that JSON does not have")
	}
	d.at += 6
	if utf16.IsSurrogate(r) {
		low, ok := d.hex4(d.at)
		if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
			d.at += 6
		}
	}
	return r, nil
}

// hex4 reads \uXXXX at i.
func (d *document) hex4(i int) (rune, bool) {
	if i+6 > len(d.in) || d.in[i] != '\\' || d.in[i+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range d.in[i+2 : i+6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// skip consumes one value of any kind that is not wanted, checking its grammar.
func (d *document) skip() error {
	switch c := d.peek(); {
	case c == '"':
		_, err := d.str(len(d.in))
		return err
	case c == '[':
		return d.array(len(d.in), d.skip)
	case c == '{':
		return d.skipObject()
	case c == 't':
		return d.word("true")
	case c == 'f':
		return d.word("false")
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
	}
	return d.word("null")
}

func (d *document) skipObject() error {
	if err := d.enter('{', "an object"); err != nil {
		return err
	}
	for first := true; ; first = false {
		if more, err := d.more(first, '}'); !more {
			return err
		}
		if _, err := d.str(len(d.in)); err != nil {
			return err
		}
		if d.peek() != ':' {
			return d.fail("a colon was expected")
		}
		d.at++
		if err := d.skip(); err != nil {
			return err
		}
	}
}

// number consumes -?int frac? exp?
func (d *document) number() error {
	if d.in[d.at] == '-' {
		d.at++
	}
	zero := d.at < len(d.in) && d.in[d.at] == '0'
	n := d.digits()
	if n == 0 || (zero && n > 1) {
		return d.fail("not a number")
	}
	if d.at < len(d.in) && d.in[d.at] == '.' {
		d.at++
		if d.digits() == 0 {
			return d.fail("not a number")
		}
	}
	if d.at < len(d.in) && (d.in[d.at] == 'e' || d.in[d.at] == 'E') {
		d.at++
		if d.at < len(d.in) && (d.in[d.at] == '+' || d.in[d.at] == '-') {
			d.at++
		}
		if d.digits() == 0 {
			return d.fail("not a number")
		}
	}
	return nil
}

func (d *document) digits() int {
	start := d.at
	for d.at < len(d.in) && d.in[d.at] >= '0' && d.in[d.at] <= '9' {
		d.at++
	}
	return d.at - start
}
