package advisory

import (
	"fmt"

	"github.com/patchwrit/patchwrit/canon"
)

// Snapshot is one reading of one feed.
type Snapshot struct {
	Name    string       `json:"name"`
	Kind    string       `json:"kind"`             // as in Feed
	Source  string       `json:"source"`           // file, directory or URL, without credentials
	Fetched int64        `json:"fetched"`          // Unix seconds
	Digest  canon.Digest `json:"digest"`           // of what was read; how it is formed is the feed's to say
	Count   int          `json:"count"`            // records read whole, each id once
	Lapsed  int          `json:"lapsed,omitempty"` // records left out because their end is past
	Newest  int64        `json:"newest"`           // latest Modified of any record, Unix seconds; where a format has no dates, the file's
	Scope   []Subject    `json:"scope"`            // the packages it was read for; empty: all of every release that it names
	Partial []Gap        `json:"partial"`          // what could not be read
}

// Subject is one package of one release.
type Subject struct {
	Ecosystem string `json:"ecosystem"`
	Package   string `json:"package"`
}

// Gap is a part of a feed that could not be read, and why.
type Gap struct {
	Record string     `json:"record"` // file or id; "" for the feed as a whole
	Why    canon.Note `json:"why"`
}

// Set is a snapshot with its advisories.
type Set struct {
	Snapshot   Snapshot   `json:"snapshot"`
	Advisories []Advisory `json:"advisories"`
}

// Origin is what each advisory of the snapshot carries.
func (s Snapshot) Origin() Feed {
	return Feed{Name: s.Name, Kind: s.Kind, Snapshot: s.Digest, Fetched: s.Fetched}
}

// Gaps says for people how many gaps there are, and what the first is, in printable
// ASCII; "" without one.
func (s Snapshot) Gaps() string {
	if len(s.Partial) == 0 {
		return ""
	}
	count, first := "1 gap: ", string(s.Partial[0].Why)
	if n := len(s.Partial); n > 1 {
		count = fmt.Sprintf("%d gaps; the first: ", n)
	}
	if record := s.Partial[0].Record; record != "" {
		first = fmt.Sprintf("%+q %s", record, first)
	}
	return count + first
}

// Aged returns s with a Gap when its newest record is older than limit seconds
// at the time now, or is dated beyond now: a feed that stands still can no
// longer say that a host is clean.
func (s Snapshot) Aged(now, limit int64) Snapshot {
	var why string
	switch age := now - s.Newest; {
	case s.Newest <= 0 && s.Count == 0 && len(s.Partial) > 0:
		return s // nothing was read that could be old, which is told already
	case s.Newest <= 0:
		why = "it bears no time, so nobody can tell how old it is"
	case age > limit:
		why = fmt.Sprintf("its newest record is %d hours old, the limit is %d", age/3600, limit/3600)
	case age < -24*3600:
		why = "its newest record is dated more than a day in the future"
	default:
		return s
	}
	s.Partial = append(s.Partial[:len(s.Partial):len(s.Partial)], Gap{Why: canon.NoteOf(why)})
	return s
}
