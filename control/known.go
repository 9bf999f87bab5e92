package control

import (
	"context"
	"sync"
	"time"
)

// learned is what was last read about vulnerabilities at large.
type learned struct {
	mu   sync.Mutex
	know Knowledge
	at   time.Time
}

// knowing reads what sources know about vulnerabilities, at most once for each
// look. What cannot be read now leaves what was read before; nil says that no
// source is configured, or that none was read yet.
func (c *Control) knowing(ctx context.Context) Knowledge {
	if c.Known == nil {
		return nil
	}
	c.learned.mu.Lock()
	defer c.learned.mu.Unlock()
	if now := c.Now(); c.learned.at.IsZero() || now.Sub(c.learned.at) >= c.Terms.Plan {
		know, err := c.Known(ctx, now)
		if c.told("KEV, SSVC and EPSS", err); err == nil {
			c.learned.know = know
		}
		c.learned.at = now
	}
	return c.learned.know
}
