package depot

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// Judge says what of a snapshot that came may count.
type Judge interface {
	// Judge rules on c.New. The same case gives the same answer: it may be asked
	// again after a crash. An error leaves the candidate unjudged.
	Judge(ctx context.Context, c Case) (Ruling, error)
}

// Ruling is a judge's answer.
type Ruling struct {
	Against []Reason           // what speaks against the whole of it; with any, nothing of it counts
	Held    []Held             // records that do not count as they came, ascending; Since is the depot's to fill
	Freed   []quarantine.Freed // records that count by somebody's word
	Fresh   int                // new records that count
}

// Case is what a judge is given.
type Case struct {
	Feed    Feed // as it stands, with everything that is kept
	New     Kept // the candidate; Count, Newest and Gaps are filled
	Content Content
	Last    *Kept // the newest accepted one, or nil
	// LastContent reads it again, as it counts; nil when there is none.
	LastContent func(ctx context.Context) (Content, error)
	Before      []Held // what is held of it
	Again       bool   // New is Last: what is held of it is judged again
	Recent      int    // new records that began to count in the day before New came
	Releases    []quarantine.Release
	World       func() (quarantine.World, error) // what verified indexes have shown
	// Others is what other feeds say that counts: those of advisories, or with
	// wanted those of CVE records and NVD's pages, about these CVEs.
	Others func(ctx context.Context, wanted func(cve string) bool) ([]Content, error)
	Now    int64 // Unix seconds
}

// Standard refuses what is empty, what lost more records than the feed's Shrink
// allows, and what is older than what was accepted before: by its newest record,
// by its server's date, or by having been accepted, and followed by another. Of
// what is left it holds what room quarantine does not believe, and of CISA's KEV
// and FIRST's EPSS what facts.go says, of CVE records and NVD's pages what book.go
// does.
type Standard struct{}

// Judge implements Judge.
func (Standard) Judge(ctx context.Context, c Case) (Ruling, error) {
	if !c.Again {
		if against := c.whole(); len(against) > 0 {
			return Ruling{Against: against}, nil
		}
	}
	switch {
	case c.Content.Set != nil:
		return c.records(ctx)
	case c.Content.KEV != nil:
		return c.listings(ctx)
	case c.Content.EPSS != nil:
		return c.scores(ctx)
	case c.Content.CVE != nil:
		return c.book(ctx)
	}
	return Ruling{}, nil
}

// whole lists what speaks against the snapshot, without its content.
func (c Case) whole() (out []Reason) {
	say := func(code refusal.Code, format string, args ...any) {
		out = append(out, Reason{code, canon.NoteOf(fmt.Sprintf(format, args...))})
	}
	if c.New.Count == 0 && c.Content.Snapshot().Lapsed == 0 {
		say(CodeEmpty, "there is no record in it that could be read")
	}
	for _, k := range c.Feed.Kept {
		if c.Last != nil && k.State == Accepted && k.Digest == c.New.Digest && k.Digest != c.Last.Digest {
			say(CodeBackwards, "these very bytes were replaced by newer ones already")
		}
	}
	if c.Content.Set == nil && c.Content.CVE == nil && c.New.Newest > c.Now+day1 { // there each record is held to its own time
		say(quarantine.CodeTime, "it is dated %s, in the future", day(c.New.Newest))
	}
	if c.Last == nil {
		return out
	}
	had := c.Last.Count
	for _, h := range c.Before {
		if h.Was == "" {
			had-- // a new record that never counted: a flood that ends is no loss
		}
	}
	if lost := had - c.New.Count; lost*100 > had*c.Feed.Shrink {
		say(CodeShrunk, "it has %d records, the one in use has %d; at most %d%% may be missing", c.New.Count, had, c.Feed.Shrink)
	}
	if c.New.Newest < c.Last.Newest {
		say(CodeBackwards, "its newest record is of %s, that of the one in use of %s", day(c.New.Newest), day(c.Last.Newest))
	}
	if c.New.Modified > 0 && c.New.Modified < c.Last.Modified {
		say(CodeBackwards, "its server dates it %s, the one in use is of %s", day(c.New.Modified), day(c.Last.Modified))
	}
	return out
}

// records rules on a feed of advisories. The other sources are read only when
// something is to be held.
func (c Case) records(ctx context.Context) (Ruling, error) {
	q := quarantine.Case{New: *c.Content.Set, Releases: c.Releases, Recent: c.Recent, Again: c.Again,
		Limits: quarantine.Limits{Shrink: 100}, Now: c.Now} // the depot has judged the size
	for _, h := range c.Before {
		q.Before = append(q.Before, h.Held)
	}
	if c.Last != nil {
		last, err := c.LastContent(ctx)
		if err != nil {
			return Ruling{}, err
		}
		q.Last = last.Set
	}
	var err error
	if q.World, err = c.World(); err != nil {
		return Ruling{}, err
	}
	v := quarantine.Judge(q)
	if len(v.Held) > 0 || len(v.Whole) > 0 {
		others, err := c.Others(ctx, nil)
		if err != nil {
			return Ruling{}, err
		}
		for _, o := range others {
			q.Others = append(q.Others, o.voiced())
		}
		v = quarantine.Judge(q)
	}
	r := Ruling{Freed: v.Freed, Fresh: v.Fresh}
	for _, w := range v.Whole {
		r.Against = append(r.Against, Reason(w))
	}
	for _, h := range v.Held {
		r.Held = append(r.Held, Held{Held: h})
	}
	slices.SortFunc(r.Held, compareHeld)
	return r, nil
}

// voiced is a set with what is held of it besides: two sources that change their
// word alike confirm each other, whichever comes first.
func (c Content) voiced() advisory.Set {
	s := *c.Set
	s.Advisories = slices.Clip(s.Advisories)
	for _, h := range c.Held {
		if h.Came != nil && h.vouches() {
			s.Advisories = append(s.Advisories, *h.Came)
		}
	}
	return s
}

// vouches reports whether what is held may speak for what is held of others: a
// changed word may, and not what came in a flood, at a wrong time, under a name
// that looks like another or with a version that cannot be.
func (h Held) vouches() bool {
	return !slices.ContainsFunc(h.Reasons, func(r quarantine.Reason) bool {
		return !slices.Contains([]refusal.Code{quarantine.CodeWithdrawn, quarantine.CodeGone, quarantine.CodeLowered, quarantine.CodeSeverity}, r.Code)
	})
}

func day(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05Z") }
