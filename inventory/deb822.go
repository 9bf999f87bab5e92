package inventory

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Limits of one package database. A large desktop has about 4,000 packages in
// 6 MB; the longest line seen in Debian 12 is below 20 KB.
const (
	maxFile    = 256 << 20 // bytes read from one file
	maxLine    = 256 << 10 // bytes in one line
	usualLine  = 32 << 10  // bytes that are read at once
	maxStanzas = 200_000   // stanzas in one file
)

// errTooBig says that a file broke one of the limits above.
var errTooBig = errors.New("larger than any real package database")

// stanza is the part of one deb822 paragraph (deb-control(5)) that was asked for.
type stanza struct {
	line   int               // of its first field, from 1
	fields map[string]string // first line of each wanted field, under the wanted spelling
	broken string            // why the paragraph does not follow the grammar, or ""
}

// deb822 reads paragraphs one by one and keeps no more than one in memory.
type deb822 struct {
	in     *bufio.Reader
	long   []byte // a line that is longer than the reader's buffer
	wanted []string
	fields map[string]string // of the paragraph that was returned last
	line   int
	read   int64
	count  int
	cut    bool // the file ended in the middle of a line
}

func newDeb822(r io.Reader, wanted ...string) *deb822 {
	return &deb822{in: bufio.NewReaderSize(r, usualLine), wanted: wanted}
}

// next returns the next paragraph, good until the call after it, or io.EOF
// behind the last one. Any other error means that the rest of the file could not
// be read.
func (d *deb822) next() (stanza, error) {
	if d.fields == nil {
		d.fields = map[string]string{}
	}
	clear(d.fields)
	s := stanza{fields: d.fields}
	for open := false; ; {
		line, err := d.bytes()
		switch {
		case err == io.EOF && open:
			return s, d.counted()
		case err != nil:
			return stanza{}, err
		case len(line) == 0 && open:
			return s, d.counted()
		case len(line) == 0:
			continue
		case !open:
			open, s.line = true, d.line
		}
		d.take(&s, line)
	}
}

func (d *deb822) counted() error {
	if d.count++; d.count > maxStanzas {
		return fmt.Errorf("more than %d stanzas: %w", maxStanzas, errTooBig)
	}
	return nil
}

// take adds one line to the paragraph. Continuation lines belong to the field
// before them and are not kept.
func (d *deb822) take(s *stanza, line []byte) {
	if line[0] == ' ' || line[0] == '\t' {
		if s.line == d.line || len(bytes.TrimSpace(line)) == 0 {
			s.breaks(d.line, "a continuation of nothing")
		}
		return
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !fieldName(name) {
		s.breaks(d.line, "neither a field nor a continuation")
		return
	}
	for _, w := range d.wanted {
		if len(w) == len(name) && bytes.EqualFold([]byte(w), name) {
			if _, twice := s.fields[w]; twice {
				s.breaks(d.line, "field "+w+" stands twice")
			}
			s.fields[w] = string(bytes.Trim(value, " \t"))
		}
	}
}

func (s *stanza) breaks(line int, why string) {
	if s.broken == "" {
		s.broken = fmt.Sprintf("line %d: %s", line, why)
	}
}

// readLine is bytes in memory of its own.
func (d *deb822) readLine() (string, error) {
	b, err := d.bytes()
	return string(b), err
}

// bytes returns a line without its end, good until the next call. A last line
// without end is returned too, and remembered in cut.
func (d *deb822) bytes() ([]byte, error) {
	b, err := d.in.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		for d.long = d.long[:0]; err == bufio.ErrBufferFull && len(d.long)+len(b) < maxLine; {
			d.long = append(d.long, b...)
			b, err = d.in.ReadSlice('\n')
		}
		d.long = append(d.long, b...)
		b = d.long
	}
	d.read += int64(len(b))
	switch {
	case d.read > maxFile:
		return nil, fmt.Errorf("more than %d bytes: %w", maxFile, errTooBig)
	case err == bufio.ErrBufferFull: // pieces of usualLine fill maxLine exactly, so that no other line is longer
		return nil, fmt.Errorf("line %d has more than %d bytes: %w", d.line+1, maxLine, errTooBig)
	case err == io.EOF && len(b) > 0:
		d.line++
		d.cut = true
		return b, nil
	case err != nil:
		return nil, err
	}
	d.line++
	return b[:len(b)-1], nil
}

// fieldName follows deb-control(5): printable ASCII without space and colon,
// not beginning with # or -.
func fieldName(s []byte) bool {
	if len(s) == 0 || s[0] == '#' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
