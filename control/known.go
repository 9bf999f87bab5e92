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
	wanted map[string]bool // CVEs that it was read for
}

// knowing reads what sources know about vulnerabilities: at most once for each
// look, and when CVEs are met that were not asked for before. What cannot be read
// now leaves what was read before; nil says that no source is configured, or that
// none was read yet.
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
	if len(wanted) == len(l.wanted) && !l.at.IsZero() && now.Sub(l.at) < c.Terms.Plan {
		return l.know
	}
	know, err := c.Known(ctx, now, func(cve string) bool { return wanted[cve] })
	if c.told("KEV, SSVC and EPSS", err); err == nil {
		l.know = know
	}
	l.at, l.wanted = now, wanted
	return l.know
}
