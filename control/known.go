package control

import (
	"context"
	"maps"
	"sync"
	"time"
)

// learned is what was last read about vulnerabilities at large.
type learned struct {
	mu     sync.Mutex
	know   Knowledge
	at     time.Time
	by     string          // what was read, see Config.KnownBy
	failed bool            // what was read is older
	wanted map[string]bool // CVEs that it was read for
}

// fresh reports whether nothing else would be read now: while the sources are the
// same, or where they do not say so, for the time of one look. What could not be
// read is tried again after that time.
func (l *learned) fresh(by string, known bool, passed bool) bool {
	switch {
	case l.at.IsZero():
		return false
	case known:
		return by == l.by && !(l.failed && passed)
	}
	return !passed
}

// knowing reads what sources know about vulnerabilities: when there is something
// else to be read, and when CVEs are met that were not asked for before. What
// cannot be read now leaves what was read before; nil says that no source is
// configured, or that none was read yet.
func (c *Control) knowing(ctx context.Context, cves ...string) Knowledge {
	if c.Known == nil {
		return nil
	}
	l := &c.learned
	l.mu.Lock()
	defer l.mu.Unlock()
	wanted, now := maps.Clone(l.wanted), c.Now()
	if wanted == nil {
		wanted = map[string]bool{}
	}
	for _, cve := range cves {
		wanted[cve] = true
	}
	by, says := "", false
	if c.KnownBy != nil {
		name, err := c.KnownBy(now)
		by, says = name, err == nil
	}
	if len(wanted) == len(l.wanted) && l.fresh(by, says, now.Sub(l.at) >= c.Terms.Plan || now.Before(l.at)) {
		return l.know
	}
	know, err := c.Known(ctx, now, func(cve string) bool { return wanted[cve] })
	if err == nil {
		err = c.heed(ctx)
	}
	if c.told("KEV, SSVC and EPSS", err); err == nil {
		l.know = know
	}
	l.at, l.by, l.failed, l.wanted = now, by, err != nil, wanted
	return l.know
}
