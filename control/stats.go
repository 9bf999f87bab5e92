package control

import (
	"context"
	"errors"
	"slices"

	"github.com/patchwrit/patchwrit/store"
)

// Trouble lists what does not work at the moment, "subject: reason", sorted.
func (c *Control) Trouble() []string {
	c.ill.Lock()
	defer c.ill.Unlock()
	out := []string{}
	for subject, why := range c.trouble {
		out = append(out, subject+": "+why)
	}
	slices.Sort(out)
	return out
}

// Health says whether the control plane can do its work at all.
type Health struct {
	OK      bool     `json:"ok"`      // store and log can be used
	Trouble []string `json:"trouble"` // subjects that do not work
}

// Health looks at the store, and at what the last round met.
func (c *Control) Health(ctx context.Context) Health {
	h := Health{OK: true, Trouble: []string{}}
	if _, err := c.Store.Doc(ctx, kindHost, "health"); err != nil && !errors.Is(err, store.ErrNotFound) {
		h.OK, h.Trouble = false, append(h.Trouble, "store")
	}
	c.ill.Lock()
	defer c.ill.Unlock()
	for subject := range c.trouble {
		h.OK = h.OK && subject != "log" && subject != "store"
		h.Trouble = append(h.Trouble, subject)
	}
	slices.Sort(h.Trouble)
	h.Trouble = slices.Compact(h.Trouble)
	return h
}
