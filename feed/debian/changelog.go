package debian

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/version"
)

// Limits of one changelog. The longest of 700 packages of Debian 12 that were
// looked at has 675 entries in 243 KB; those that are not trimmed reach a few
// thousand entries and some MB.
const (
	MaxText    = 16 << 20 // bytes of the unpacked text
	maxEntries = 10_000
	maxIDs     = 10_000 // vulnerabilities named by one entry
)

// Entry is one version's part of a changelog (Debian Policy 4.4).
type Entry struct {
	Line          int // of its heading, from 1
	Source        string
	Version       string
	Distributions []string
	BinaryOnly    bool     // a rebuild without a change of the source
	Date          int64    // Unix seconds, 0 when it cannot be read
	CVEs          []string // ids that it names, upper case, ascending
}

// Unread is a part of a changelog that does not follow the grammar and names
// vulnerabilities, so that something may be lost.
type Unread struct {
	Line int
	Why  string
}

var (
	heading  = regexp.MustCompile(`^([a-zA-Z0-9][-+.a-zA-Z0-9]*) \(([^() \t]+)\)((?: +[-+.a-zA-Z0-9]+)+);(.*)$`)
	trailer  = regexp.MustCompile(`^ -- .*<.*>  ?([^ ].*)$`)
	cve      = regexp.MustCompile(`(?i)CVE-(?:1999|2[0-9]{3})-[0-9]{4,}`)
	metadata = regexp.MustCompile(`^ *([-a-zA-Z0-9]+)=([^,]*)`)
)

// ParseChangelog reads a changelog, newest entry first. What comes before the
// grammar breaks is kept; the rest is Unread if it names any vulnerability.
// Ids that are written in another way ("-1234 and -1235", or cut by a line's
// end) are not seen.
func ParseChangelog(text []byte) ([]Entry, []Unread) {
	if len(text) > MaxText {
		return nil, []Unread{{1, fmt.Sprintf("%d bytes, the limit is %d", len(text), MaxText)}}
	}
	p := changelog{}
	for line := range bytes.Lines(text) {
		p.line++
		if !p.take(strings.TrimRight(string(line), " \t\r\n")) {
			p.rest(text)
			return p.done, p.unread
		}
		p.read += len(line)
	}
	if p.open != nil {
		p.lost(p.open.Line, "the entry has no signature line; the text may be cut short")
		p.close(0)
	}
	return p.done, p.unread
}

// changelog is the state between two lines.
type changelog struct {
	done   []Entry
	unread []Unread
	open   *Entry          // the entry whose signature line has not come
	ids    map[string]bool // of the open entry
	line   int
	read   int // bytes before the present line
}

func (p *changelog) lost(line int, format string, args ...any) {
	p.unread = append(p.unread, Unread{line, fmt.Sprintf(format, args...)})
}

// take reads one line. It is false where the grammar ends.
func (p *changelog) take(line string) bool {
	switch {
	case line == "":
		return true
	case p.open == nil && line[0] == '#':
		return true
	case p.open == nil:
		return p.begin(line)
	}
	if m := trailer.FindStringSubmatch(line); m != nil {
		p.close(date(m[1]))
		return true
	}
	if line[0] == ' ' || line[0] == '\t' {
		p.name(line)
		return true
	}
	if heading.MatchString(line) {
		p.lost(p.open.Line, "the entry has no signature line")
		p.close(0)
		return p.begin(line)
	}
	return false
}

func (p *changelog) begin(line string) bool {
	m := heading.FindStringSubmatch(line)
	if m == nil || len(p.done) == maxEntries || version.Valid(version.Deb, m[2]) != nil {
		return false
	}
	p.open = &Entry{Line: p.line, Source: m[1], Version: m[2], Distributions: strings.Fields(m[3])}
	p.ids = map[string]bool{}
	for part := range strings.SplitSeq(m[4], ",") {
		if kv := metadata.FindStringSubmatch(part); kv != nil && strings.EqualFold(kv[1], "binary-only") {
			p.open.BinaryOnly = strings.EqualFold(strings.TrimSpace(kv[2]), "yes")
		}
	}
	return true
}

// name collects the vulnerabilities that a line names.
func (p *changelog) name(line string) {
	for _, id := range cve.FindAllString(line, -1) {
		if len(id) > len("CVE-2000-")+19 { // the longest sequence number CVE allows
			continue
		}
		if len(p.ids) == maxIDs {
			p.lost(p.line, "the entry names more than %d vulnerabilities", maxIDs)
			return
		}
		p.ids[strings.ToUpper(id)] = true
	}
}

func (p *changelog) close(at int64) {
	p.open.Date = at
	p.open.CVEs = slices.Sorted(maps.Keys(p.ids))
	p.done = append(p.done, *p.open)
	p.open, p.ids = nil, nil
}

// rest gives up at the present line: old formats, editor settings, rubbish.
func (p *changelog) rest(text []byte) {
	if p.open != nil {
		p.lost(p.open.Line, "the entry is broken off by line %d", p.line)
		p.close(0)
	}
	if n := len(cve.FindAll(text[p.read:], -1)); n > 0 {
		p.lost(p.line, "from here on it is no Debian changelog, and %d names of vulnerabilities stand there", n)
	}
}

// date reads the date of a signature line; old entries write it in several ways.
func date(s string) int64 {
	s, _, _ = strings.Cut(s, " (") // "+0100 (CET)"
	for _, layout := range []string{"Mon, _2 Jan 2006 15:04:05 -0700", "_2 Jan 2006 15:04:05 -0700", "Mon, _2 Jan 2006 15:04:05 MST"} {
		if t, err := time.Parse(layout, strings.Join(strings.Fields(s), " ")); err == nil {
			return max(t.Unix(), 0)
		}
	}
	return 0
}
