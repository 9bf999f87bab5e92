package depot

import (
	"context"
	"fmt"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// Judge says whether a snapshot that came may count.
type Judge interface {
	// Judge returns what speaks against c.New; nothing: it counts from now on.
	// The same case gives the same answer: it may be asked again after a crash.
	// An error leaves the candidate unjudged.
	Judge(ctx context.Context, c Case) ([]Reason, error)
}

// Case is what a judge is given.
type Case struct {
	Feed    Feed // as it stands, with everything that is kept
	New     Kept // the candidate; Count, Newest and Gaps are filled
	Content Content
	Last    *Kept // the newest accepted one, or nil
	// LastContent reads it again; nil when there is none.
	LastContent func(ctx context.Context) (Content, error)
	Now         int64 // Unix seconds
}

// Standard refuses what is empty, what lost more records than the feed's Shrink
// allows, and what is older than what was accepted before: by its newest record,
// by its server's date, or by having been accepted, and followed by another.
type Standard struct{}

// Judge implements Judge; it reads no content.
func (Standard) Judge(_ context.Context, c Case) ([]Reason, error) {
	var out []Reason
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
	if c.Last == nil {
		return out, nil
	}
	if lost := c.Last.Count - c.New.Count; lost*100 > c.Last.Count*c.Feed.Shrink {
		say(CodeShrunk, "it has %d records, the one in use has %d; at most %d%% may be missing", c.New.Count, c.Last.Count, c.Feed.Shrink)
	}
	if c.New.Newest < c.Last.Newest {
		say(CodeBackwards, "its newest record is of %s, that of the one in use of %s", day(c.New.Newest), day(c.Last.Newest))
	}
	if c.New.Modified > 0 && c.New.Modified < c.Last.Modified {
		say(CodeBackwards, "its server dates it %s, the one in use is of %s", day(c.New.Modified), day(c.Last.Modified))
	}
	return out, nil
}

func day(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05Z") }
