// Package canon is the one encoding of everything that is signed, logged or
// hashed in Patchwrit: canonical JSON (RFC 8785) over a strict subset, and the
// domain-separated digests of such bytes.
//
// The parties are whoever writes a statement (people's tools, control plane,
// hosts, witnesses) and whoever reads it later (hosts, auditors). The promise:
// one value has exactly one encoding, and Decode accepts nothing else, so two
// readers can never understand the same signed bytes differently.
//
// The subset: printable-ASCII strings, booleans, arrays, objects and integers
// from 0 to 2^53-1. No null, no fraction, no sign, no exponent. Keys are
// lower-case snake_case and strictly ascending, so duplicates cannot be written.
// A free text for people is stored as Note, whose characters outside printable
// ASCII are escaped before the encoding.
//
// It does not say what a statement means and verifies no signature.
package canon

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Limits of every canonical document. A writ with a large branch is about
// 100 KB; a plan file for a thousand hosts about 20 MB.
const (
	MaxBytes = 64 << 20 // a larger document is refused unread
	MaxDepth = 32       // deeper nesting is refused
	MaxInt   = 1<<53 - 1
)

// ErrForm says that bytes are not the canonical encoding of the wanted type.
var ErrForm = errors.New("not in canonical form")

// Encode returns the canonical bytes of v: a struct, slice or map of the
// subset with json tags. A nil slice is an error (write an empty one), so that
// absent and empty cannot be confused.
func Encode(v any) ([]byte, error) {
	var raw bytes.Buffer
	enc := json.NewEncoder(&raw)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrForm, err)
	}
	p := parser{in: bytes.TrimSuffix(raw.Bytes(), []byte("\n")), loose: true}
	return p.value(nil, 0)
}

// MustEncode is Encode for values built by this program; it panics on a value
// outside the subset, which is a bug.
func MustEncode(v any) []byte {
	b, err := Encode(v)
	if err != nil {
		panic(fmt.Sprintf("canon: this is a bug: %v", err))
	}
	return b
}

// Decode reads canonical bytes into v, a pointer to a struct, slice or map.
// Unknown, missing, duplicate, misspelt or reordered keys, white space, and
// every other spelling are ErrForm: it holds that Encode(*v) == b afterwards.
func Decode(b []byte, v any) error {
	if err := Check(b); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %v", ErrForm, err)
	}
	again, err := Encode(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, b) {
		return fmt.Errorf("%w: a key is missing, misspelt or of the wrong kind", ErrForm)
	}
	return nil
}

// Check reports whether b is one canonical document, whatever its type.
func Check(b []byte) error {
	if len(b) > MaxBytes {
		return fmt.Errorf("%w: %d bytes, limit %d", ErrForm, len(b), MaxBytes)
	}
	p := parser{in: b}
	out, err := p.value(nil, 0)
	if err != nil {
		return err
	}
	if !bytes.Equal(out, b) { // also when b goes on after the document
		return fmt.Errorf("%w: other bytes than its canonical encoding", ErrForm)
	}
	return nil
}

// Digest is a SHA-256 as 64 lower-case hexadecimal digits. The empty string
// stands for "none" where a field allows it.
type Digest string

// Sum is SHA-256(domain || 0x00 || b): the name of a statement. Domains look
// like "patchwrit/plan/v1"; one kind of statement can never pass for another.
func Sum(domain string, b []byte) Digest {
	h := sha256.New()
	h.Write([]byte(domain))
	h.Write([]byte{0})
	h.Write(b)
	return Digest(hex.EncodeToString(h.Sum(nil)))
}

// SumFile is the plain SHA-256 of b, as vendors publish it for artefacts.
func SumFile(b []byte) Digest {
	s := sha256.Sum256(b)
	return Digest(hex.EncodeToString(s[:]))
}

// Valid reports whether d is 64 lower-case hexadecimal digits.
func (d Digest) Valid() bool { return Hex(string(d), sha256.Size) }

// Bytes returns the 32 bytes d stands for, or nil when d is not valid.
func (d Digest) Bytes() []byte {
	if !d.Valid() {
		return nil
	}
	b, _ := hex.DecodeString(string(d)) // cannot fail: Valid has looked at every digit
	return b
}

// Short is the first 12 digits, for people.
func (d Digest) Short() string { return string(d[:min(len(d), 12)]) }

// Hex reports whether s is exactly n bytes written as lower-case hexadecimal.
func Hex(s string, n int) bool {
	return len(s) == 2*n && strings.Trim(s, "0123456789abcdef") == ""
}

// Note is a free text for people, escaped so that it is printable ASCII: every
// other character, and the backslash, stand as Go string escapes.
type Note string

// NoteOf escapes any text.
func NoteOf(text string) Note {
	q := strconv.QuoteToASCII(text)
	return Note(bytes.ReplaceAll([]byte(q[1:len(q)-1]), []byte(`\"`), []byte(`"`)))
}

// Text returns the text a person wrote; an escape that NoteOf cannot have
// written is shown as it stands.
func (n Note) Text() string {
	q := bytes.ReplaceAll([]byte(n), []byte(`"`), []byte(`\"`))
	s, err := strconv.Unquote(`"` + string(q) + `"`)
	if err != nil {
		return string(n)
	}
	return s
}

// parser reads JSON of the subset and writes its canonical form. In loose mode
// (used on our own encoder's output) keys may come in any order.
type parser struct {
	in    []byte
	at    int
	loose bool
}

func (p *parser) fail(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrForm, what, p.at)
}

func (p *parser) peek() byte {
	if p.at < len(p.in) {
		return p.in[p.at]
	}
	return 0
}

func (p *parser) value(out []byte, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, p.fail("nesting too deep")
	}
	switch c := p.peek(); {
	case c == '{':
		return p.object(out, depth)
	case c == '[':
		return p.array(out, depth)
	case c == '"':
		s, err := p.str()
		return append(out, s...), err
	case c >= '0' && c <= '9':
		return p.integer(out)
	}
	for _, word := range []string{"true", "false"} {
		if bytes.HasPrefix(p.in[p.at:], []byte(word)) {
			p.at += len(word)
			return append(out, word...), nil
		}
	}
	return nil, p.fail("neither object, array, string, integer nor boolean")
}

// str consumes a string and returns it with its quotes. Only the quote and the
// backslash may be escaped, and each in one way.
func (p *parser) str() ([]byte, error) {
	start := p.at
	if p.peek() != '"' {
		return nil, p.fail("a string was expected")
	}
	for p.at++; p.at < len(p.in); p.at++ {
		switch c := p.in[p.at]; {
		case c == '"':
			p.at++
			return p.in[start:p.at], nil
		case c == '\\':
			p.at++
			if e := p.peek(); e != '"' && e != '\\' {
				return nil, p.fail("an escape other than \\\" and \\\\")
			}
		case c < 0x20 || c > 0x7e:
			return nil, p.fail("a character outside printable ASCII")
		}
	}
	return nil, p.fail("a string without end")
}

func (p *parser) integer(out []byte) ([]byte, error) {
	start := p.at
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.at++
	}
	s := string(p.in[start:p.at])
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > MaxInt || (len(s) > 1 && s[0] == '0') {
		return nil, p.fail("an integer outside 0 to 2^53-1")
	}
	return append(out, s...), nil
}

func (p *parser) array(out []byte, depth int) ([]byte, error) {
	out = append(out, '[')
	p.at++
	for first := true; p.peek() != ']'; first = false {
		if !first {
			if p.peek() != ',' {
				return nil, p.fail("a comma or ] was expected")
			}
			p.at++
			out = append(out, ',')
		}
		var err error
		if out, err = p.value(out, depth+1); err != nil {
			return nil, err
		}
	}
	p.at++
	return append(out, ']'), nil
}

type member struct {
	key   string
	value []byte
}

func (p *parser) object(out []byte, depth int) ([]byte, error) {
	p.at++
	var members []member
	for p.peek() != '}' {
		if len(members) > 0 {
			if p.peek() != ',' {
				return nil, p.fail("a comma or } was expected")
			}
			p.at++
		}
		key, err := p.key()
		if err != nil {
			return nil, err
		}
		v, err := p.value(nil, depth+1)
		if err != nil {
			return nil, err
		}
		if n := len(members); n > 0 && !p.loose && members[n-1].key >= string(key) {
			return nil, p.fail("keys not strictly ascending")
		}
		members = append(members, member{string(key), v})
	}
	p.at++
	if p.loose {
		sort.Slice(members, func(i, j int) bool { return members[i].key < members[j].key })
	}
	return p.write(out, members)
}

// key consumes a key and its colon. Keys hold only characters whose order with
// and without quotes is the same, so that comparing quoted keys is RFC 8785 order.
func (p *parser) key() ([]byte, error) {
	key, err := p.str()
	if err != nil {
		return nil, err
	}
	for _, c := range key[1 : len(key)-1] {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return nil, p.fail("a key with other characters than a-z, 0-9 and _")
		}
	}
	if p.peek() != ':' {
		return nil, p.fail("a colon was expected")
	}
	p.at++
	return key, nil
}

func (p *parser) write(out []byte, members []member) ([]byte, error) {
	out = append(out, '{')
	for i, m := range members {
		if i > 0 {
			if members[i-1].key == m.key {
				return nil, p.fail("a key twice")
			}
			out = append(out, ',')
		}
		out = append(append(append(out, m.key...), ':'), m.value...)
	}
	return append(out, '}'), nil
}
