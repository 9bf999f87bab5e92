// Package strictjson reads JSON (RFC 8259) that strangers wrote, in one pass
// and in the order its caller asks for.
//
// The parties: whoever wrote the text, and a parser that wants a few of its
// members. The objects: a Doc holds one text whole; a Stream walks the outer
// levels of a text that is too large to hold and hands on the bytes of one
// inner value at a time, which a Doc then reads.
//
// The promise: two readers of the same bytes cannot see different values. Keys
// are compared exactly, a key that stands twice in an object that is read is an
// error, and so is anything after the value, text that is not UTF-8, and
// whatever is deeper, longer or more than the limits. Every error is a *Syntax
// with the byte at which reading stopped.
//
// It knows no meaning of any value and opens no file.
package strictjson

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of one JSON document, whatever it is about.
const (
	MaxDepth = 64  // deepest nesting; records in use stay below 15
	MaxKeys  = 256 // keys of one object that is read; records in use stay below 20

	maxKey = 1 << 20 // bytes of a key
)

// Doc reads one text.
type Doc struct {
	in    string
	at    int
	depth int
	part  bool // strings are parts of in
}

// Of returns a reader of text.
func Of(text []byte) Doc { return Doc{in: string(text)} }

// PartsOf is Of, but the strings that it gives are parts of text and keep all of
// it in memory: for who keeps few of many texts, and clones what is kept.
func PartsOf(text string) Doc { return Doc{in: text, part: true} }

// At is the byte that is read next.
func (d *Doc) At() int { return d.at }

// Syntax is an error at a byte of the text.
type Syntax struct {
	Offset int64
	Reason string
}

// Error is the reason alone; whoever reports it adds the place.
func (s *Syntax) Error() string { return s.Reason }

// Fail is a *Syntax at the byte that is read next.
func (d *Doc) Fail(format string, args ...any) error {
	return &Syntax{int64(d.at), fmt.Sprintf(format, args...)}
}

func (d *Doc) space() {
	for d.at < len(d.in) {
		switch d.in[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// Peek returns the next byte that is not white space, or 0 at the end.
func (d *Doc) Peek() byte {
	d.space()
	if d.at < len(d.in) {
		return d.in[d.at]
	}
	return 0
}

// Whole reads the document: one value, read by f, and nothing after it.
func (d *Doc) Whole(f func() error) error {
	if !utf8.ValidString(d.in) {
		return d.Fail("the text is not UTF-8")
	}
	if err := f(); err != nil {
		return err
	}
	if d.Peek(); d.at != len(d.in) {
		return d.Fail("something follows the end of the record")
	}
	return nil
}

func (d *Doc) enter(open byte, kind string) error {
	if d.Peek() != open {
		return d.Fail("%s was expected", kind)
	}
	if d.depth++; d.depth > MaxDepth {
		return d.Fail("nested more than %d deep", MaxDepth)
	}
	d.at++
	return nil
}

// more reports whether another element comes before close, and consumes the
// comma, or close itself.
func (d *Doc) more(first bool, close byte) (bool, error) {
	switch c := d.Peek(); {
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
	return false, d.Fail("a comma or %q was expected", close)
}

// Object reads an object of at most MaxKeys keys; member consumes the value of
// each key.
func (d *Doc) Object(member func(key string) error) error {
	return d.Members(MaxKeys, member)
}

// Members reads an object of at most limit keys.
func (d *Doc) Members(limit int, member func(key string) error) error {
	if err := d.enter('{', "an object"); err != nil {
		return err
	}
	var seen keys
	for first := true; ; first = false {
		if more, err := d.more(first, '}'); !more {
			return err
		}
		key, err := d.Str(maxKey)
		if err != nil {
			return err
		}
		if why := seen.add(key, limit); why != "" {
			return d.Fail("%s", why)
		}
		if d.Peek() != ':' {
			return d.Fail("a colon was expected")
		}
		d.at++
		if err := member(key); err != nil {
			return err
		}
	}
}

// keys are those of one object. Few are compared one by one, many are hashed.
type keys struct {
	few  [16]string
	n    int // of few
	many map[string]bool
}

// add says why a key cannot stand here, or "".
func (k *keys) add(key string, limit int) string {
	if slices.Contains(k.few[:k.n], key) || k.many[key] {
		return fmt.Sprintf("the key %+q stands twice", key)
	}
	if k.n+len(k.many) >= limit {
		return fmt.Sprintf("more than %d keys in one object", limit)
	}
	if k.n < len(k.few) {
		k.few[k.n] = key
		k.n++
		return ""
	}
	if k.many == nil {
		k.many = map[string]bool{}
	}
	k.many[key] = true
	return ""
}

// Array reads an array of at most limit elements, or null, which is an empty one.
func (d *Doc) Array(limit int, item func() error) error {
	if d.Peek() == 'n' {
		return d.Word("null")
	}
	if err := d.enter('[', "an array"); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if more, err := d.more(n == 0, ']'); !more {
			return err
		}
		if n == limit {
			return d.Fail("more than %d elements", limit)
		}
		if err := item(); err != nil {
			return err
		}
	}
}

func (d *Doc) Word(w string) error {
	if d.Peek(); !strings.HasPrefix(d.in[d.at:], w) {
		return d.Fail("a value was expected")
	}
	d.at += len(w)
	return nil
}

// Str reads a string of at most limit bytes.
func (d *Doc) Str(limit int) (string, error) {
	if d.Peek() != '"' {
		return "", d.Fail("a string was expected")
	}
	d.at++
	start := d.at
	for i, c := range []byte(d.in[start:]) {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		d.at = start + i
		switch c {
		case '"':
			s := d.in[start:d.at]
			d.at++
			if len(s) > limit {
				return "", d.Fail("a string of %d bytes, the limit is %d", len(s), limit)
			}
			if !d.part {
				s = strings.Clone(s)
			}
			return s, nil
		case '\\':
			return d.escaped(start, limit)
		}
		return "", d.Fail("a control character in a string")
	}
	d.at = len(d.in)
	return "", d.Fail("a string without end")
}

// skipString is Str without the string.
func (d *Doc) skipString() error {
	if d.Peek() != '"' {
		return d.Fail("a string was expected")
	}
	for d.at++; d.at < len(d.in); {
		switch c := d.in[d.at]; {
		case c == '"':
			d.at++
			return nil
		case c == '\\':
			if _, err := d.escape(); err != nil {
				return err
			}
		case c < 0x20:
			return d.Fail("a control character in a string")
		default:
			d.at++
		}
	}
	return d.Fail("a string without end")
}

// escaped goes on where str has met the first backslash.
func (d *Doc) escaped(start, limit int) (string, error) {
	out := []byte(d.in[start:d.at])
	for d.at < len(d.in) {
		c := d.in[d.at]
		switch {
		case c == '"':
			d.at++
			return string(out), nil
		case c < 0x20:
			return "", d.Fail("a control character in a string")
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
			return "", d.Fail("a string of more than %d bytes", limit)
		}
	}
	return "", d.Fail("a string without end")
}

const plainEscapes = `"\/bfnrt`
const plainMeaning = "\"\\/\b\f\n\r\t"

// escape consumes one escape sequence. Half of a surrogate pair becomes U+FFFD.
func (d *Doc) escape() (rune, error) {
	if d.at+1 >= len(d.in) {
		return 0, d.Fail("a string without end")
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
		return 0, d.Fail("an escape that JSON does not have")
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
func (d *Doc) hex4(i int) (rune, bool) {
	if i+6 > len(d.in) || d.in[i] != '\\' || d.in[i+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range []byte(d.in[i+2 : i+6]) {
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

// Skip consumes one value of any kind that is not wanted, checking its grammar.
func (d *Doc) Skip() error {
	switch c := d.Peek(); {
	case c == '"':
		return d.skipString()
	case c == '[':
		return d.Array(len(d.in), d.Skip)
	case c == '{':
		return d.skipObject()
	case c == 't':
		return d.Word("true")
	case c == 'f':
		return d.Word("false")
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
	}
	return d.Word("null")
}

func (d *Doc) skipObject() error {
	if err := d.enter('{', "an object"); err != nil {
		return err
	}
	for first := true; ; first = false {
		if more, err := d.more(first, '}'); !more {
			return err
		}
		if err := d.skipString(); err != nil {
			return err
		}
		if d.Peek() != ':' {
			return d.Fail("a colon was expected")
		}
		d.at++
		if err := d.Skip(); err != nil {
			return err
		}
	}
}

// number consumes -?int frac? exp?
func (d *Doc) number() error {
	if d.in[d.at] == '-' {
		d.at++
	}
	zero := d.at < len(d.in) && d.in[d.at] == '0'
	n := d.digits()
	if n == 0 || (zero && n > 1) {
		return d.Fail("not a number")
	}
	if d.at < len(d.in) && d.in[d.at] == '.' {
		d.at++
		if d.digits() == 0 {
			return d.Fail("not a number")
		}
	}
	if d.at < len(d.in) && (d.in[d.at] == 'e' || d.in[d.at] == 'E') {
		d.at++
		if d.at < len(d.in) && (d.in[d.at] == '+' || d.in[d.at] == '-') {
			d.at++
		}
		if d.digits() == 0 {
			return d.Fail("not a number")
		}
	}
	return nil
}

func (d *Doc) digits() int {
	start := d.at
	for d.at < len(d.in) && d.in[d.at] >= '0' && d.in[d.at] <= '9' {
		d.at++
	}
	return d.at - start
}

// Plain reads a string of 1 to limit printable ASCII characters that neither
// begins nor ends with a space.
func (d *Doc) Plain(limit int) (string, error) {
	s, err := d.Str(limit)
	if err != nil {
		return "", err
	}
	if !Printable(s) {
		return "", d.Fail("%+q is empty or has characters outside printable ASCII", s)
	}
	return s, nil
}

// Printable reports whether s is what Plain takes, of any length.
func Printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return strings.TrimSpace(s) == s && s != ""
}

// Time reads a time as RFC 3339 writes it, after 1970, into Unix seconds. The
// first second of the year 1 is 0: how the Go database writes "not stated".
func (d *Doc) Time(limit int) (int64, error) {
	s, err := d.Plain(limit)
	if err != nil {
		return 0, err
	}
	t, err := time.Parse(time.RFC3339, s)
	if err == nil && t.IsZero() {
		return 0, nil
	}
	if err != nil || t.Unix() <= 0 {
		return 0, d.Fail("%+q is no time as RFC 3339 writes it, after 1970", s)
	}
	return t.Unix(), nil
}
