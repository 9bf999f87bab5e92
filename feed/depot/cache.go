package depot

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/patchwrit/patchwrit/advisory"
)

// maxCached is how many records a Cache keeps, of all feeds together: about half
// a gigabyte. What does not fit is read each time.
const maxCached = 600_000

// Cache keeps the snapshots in use as they were parsed, for who reads a depot
// again and again. Another snapshot, and another list of what is held of it, are
// read anew; what keeps a feed from being whole is judged at each reading. It is
// safe for concurrent use; what it gives is shared, and nobody may change it.
// The zero Cache is empty.
type Cache struct {
	mu    sync.Mutex
	by    map[string]*cached
	total int // records
}

// cached is what is kept of one feed. A feed is read by one at a time.
type cached struct {
	mu      sync.Mutex
	key     string
	content Content
	records int
}

// Through is the depot, read through a cache.
func (d *Depot) Through(c *Cache) *Depot {
	out := *d
	out.cache = c
	return &out
}

func (c *Cache) feed(name string) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]*cached{}
	}
	if c.by[name] == nil {
		c.by[name] = &cached{}
	}
	return c.by[name]
}

// room takes room for records in the place of others; false when there is none.
func (c *Cache) room(before, records int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total-before+records > maxCached {
		c.total -= before
		return false
	}
	c.total += records - before
	return true
}

// counted is count, through the cache when there is one. Readings of some CVEs
// only, and of records that end by themselves, are not kept.
func (d *Depot) counted(ctx context.Context, f Feed, k Kept, now int64, wanted func(cve string) bool) (Content, error) {
	if d.cache == nil || wanted != nil {
		return d.count(ctx, f, k, now, wanted)
	}
	kept := d.cache.feed(f.Name)
	kept.mu.Lock()
	defer kept.mu.Unlock()
	key := fmt.Sprintf("%q %s %s %q %d %d", f.Kind, k.Digest, k.Holds, k.Source, k.Modified, k.Fetched)
	if kept.key == key {
		return kept.content.apart(), nil
	}
	content, err := d.count(ctx, f, k, now, nil)
	if err != nil {
		return content, err
	}
	n := content.records()
	if content.Set != nil && (content.Set.Snapshot.Lapsed > 0 || ends(content.Set.Advisories)) {
		n = maxCached + 1
	}
	if !d.cache.room(kept.records, n) {
		kept.key, kept.content, kept.records = "", Content{}, 0
		return content, nil
	}
	kept.key, kept.content, kept.records = key, content, n
	return content.apart(), nil
}

// ends reports whether a record counts for a time only: then a reading is good
// for its own moment, as is one that left out what has ended.
func ends(records []advisory.Advisory) bool {
	return slices.ContainsFunc(records, func(a advisory.Advisory) bool { return a.Expires > 0 })
}

func (c Content) records() int {
	switch {
	case c.Set != nil:
		return len(c.Set.Advisories)
	case c.CVE != nil:
		return len(c.CVE.Records)
	}
	return c.snapshot().Count
}

// apart is content whose snapshot can be given more gaps, and no other is.
func (c Content) apart() Content {
	switch {
	case c.Set != nil:
		s := *c.Set
		c.Set = &s
	case c.KEV != nil:
		s := *c.KEV
		c.KEV = &s
	case c.EPSS != nil:
		s := *c.EPSS
		c.EPSS = &s
	case c.CVE != nil:
		s := *c.CVE
		c.CVE = &s
	}
	return c
}
