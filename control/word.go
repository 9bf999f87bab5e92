package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/tlog"
)

// Quarantine is what the depot of feeds holds, and by whose words records came
// to count that were held.
type Quarantine struct {
	Held  map[string]int // records, by feed; 0 where nothing is held
	Words []depot.Word
	List  func() ([]HeldRecord, error) // reads the records themselves; nil: nobody can
}

// HeldRecord is one record that does not count as it came.
type HeldRecord struct {
	Feed   string `json:"feed"`
	Source string `json:"source"` // where the snapshot came from
	depot.Held
}

// heeded is a word that stands in the log.
type heeded struct {
	Digest canon.Digest `json:"digest"`
	Feed   string       `json:"feed"`
	At     int64        `json:"at"` // Unix seconds
}

func (h heeded) doc() store.Doc { return doc(kindWord, string(h.Digest), h) }
func (h heeded) enter(b *book) {
	if b.words == nil {
		b.words = map[canon.Digest]bool{}
	}
	b.words[h.Digest] = true
}

// advisories reads the feeds as they count. Whoever's word freed a record of them
// stands in the log first: the depot keeps a word before the record counts there.
func (c *Control) advisories(ctx context.Context, now time.Time) ([]advisory.Set, error) {
	if c.Feeds == nil {
		return nil, nil
	}
	sets, err := c.Feeds(ctx, now)
	if err != nil {
		return nil, err
	}
	return sets, c.heed(ctx)
}

// quarantined lists what is held, for operators: of one feed, or with "" of all. A
// feed that there is not is refused.
func (c *Control) quarantined(ctx context.Context, feed string) ([]HeldRecord, error) {
	var q Quarantine
	var err error
	if c.Quarantine != nil {
		q, err = c.Quarantine(ctx)
	}
	if _, known := q.Held[feed]; err == nil && feed != "" && !known {
		err = depot.Unknown(feed, slices.Sorted(maps.Keys(q.Held)))
	}
	if err != nil || q.List == nil {
		return []HeldRecord{}, err
	}
	list, err := q.List()
	return append([]HeldRecord{}, slices.DeleteFunc(list, func(h HeldRecord) bool { return feed != "" && h.Feed != feed })...), err
}

// heed enters new words into the log, and tells of what is held.
func (c *Control) heed(ctx context.Context) error {
	if c.Quarantine == nil {
		return nil
	}
	q, err := c.Quarantine(ctx)
	if err != nil {
		return fmt.Errorf("the quarantine: %w", err)
	}
	for _, feed := range slices.Sorted(maps.Keys(q.Held)) {
		var held error
		if n := q.Held[feed]; n > 0 {
			held = fmt.Errorf("%d records do not count as they came; patchwrit feed quarantine ls lists them", n)
		}
		c.told("quarantine of feed "+feed, held)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range q.Words {
		body := canon.MustEncode(w)
		h := heeded{canon.Sum(depot.TypeWord, body), w.Feed, w.At}
		if c.book.words[h.Digest] {
			continue
		}
		if err := c.commit(ctx, "quarantine/"+w.Feed, "word", body, tlog.NewEntry("word", h.Digest, w.At), h); err != nil {
			return err
		}
		c.Logger.Info("records in quarantine count by somebody's word", "feed", w.Feed, "kind", w.Kind, "by", w.By.Text(), "records", len(w.Records))
	}
	return nil
}
