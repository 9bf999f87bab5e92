package control

import (
	"fmt"
	"io"
	"math"
	"net/http"

	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// ModelView is a model as operators see it.
type ModelView struct {
	Model
	Asked   bool              `json:"asked"`   // it is the one that plans are put before
	Limits  conduct.Limits    `json:"limits"`  // in force
	Base    []conduct.Figures `json:"base"`    // of its first time in shadow, in the present watch
	Recent  []conduct.Figures `json:"recent"`  // of the cases after it
	Alarms  []conduct.Alarm   `json:"alarms"`  // that stand
	Loose   canon.Note        `json:"loose"`   // why nearly nothing of it can alarm; "": it can
	Missing string            `json:"missing"` // why people could not promote it now; "": they could
}

// demotion is why operators take a model's say.
type demotion struct {
	Why canon.Note `json:"why"`
}

// modelRoutes are those of API about models.
func (c *Control) modelRoutes(read, write func(string, func(*http.Request) (any, error))) {
	read("models", func(*http.Request) (any, error) { return c.Models(), nil })
	read("models/{id}/sheet", c.apiSheet)
	read("limits", func(*http.Request) (any, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.limits(), nil
	})
	write("models/{id}/sheet", func(r *http.Request) (any, error) {
		raw, err := io.ReadAll(io.LimitReader(r.Body, conduct.MaxSheet+1))
		if err != nil {
			return nil, fmt.Errorf("%w: %v", errRequest, err)
		}
		return struct{}{}, c.Sheet(r.Context(), canon.Digest(r.PathValue("id")), raw)
	})
	write("models/{id}/demote", func(r *http.Request) (any, error) {
		d, err := body[demotion](r)
		if err != nil {
			return nil, err
		}
		return struct{}{}, c.Demote(r.Context(), canon.Digest(r.PathValue("id")), d.Why)
	})
	write("promotions", func(r *http.Request) (any, error) {
		s, err := body[SignedPromotion](r)
		if err != nil {
			return nil, err
		}
		return struct{}{}, c.Promote(r.Context(), s)
	})
}

// Models are all models that were ever registered, ascending by digest, each with
// how it does. The lock is held only to take the cases.
func (c *Control) Models() []ModelView {
	out := []ModelView{}
	for _, k := range c.conducted() {
		v := ModelView{Model: k.model, Asked: c.Model != nil && c.Model.Model == k.model.Digest, Limits: k.limits,
			Base: conduct.Measure(k.base), Recent: conduct.Measure(k.recent), Alarms: conduct.Watch(k.base, k.recent, k.limits), Loose: conduct.Unwatched(k.base, k.model.Say, k.limits)}
		if to, more := k.model.Say.Above(); !more {
			v.Missing = "it has all the say there is"
		} else if err := conduct.Gate(append(k.base, k.recent...), v.Alarms, to, k.limits); err != nil {
			v.Missing = err.Error()
		} else if k.model.Registration.Sheet == "" {
			v.Missing = "it has no data sheet"
		}
		out = append(out, v)
	}
	return out
}

// conducted is a model with the cases of its present watch.
type conducted struct {
	model        Model
	limits       conduct.Limits
	base, recent []conduct.Case
}

func (c *Control) conducted() (out []conducted) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.limits()
	for _, m := range sorted(c.book.models) {
		base, recent, _ := c.watched(m, l, math.MaxInt)
		out = append(out, conducted{m, l, base, recent})
	}
	return out
}

// apiSheet gives a model's data sheet.
func (c *Control) apiSheet(r *http.Request) (any, error) {
	c.mu.Lock()
	m, err := c.model(canon.Digest(r.PathValue("id")))
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if m.Registration.Sheet == "" {
		return nil, refusal.New(conduct.CodeSheet, "model %s has none", m.Digest.Short())
	}
	return c.blobs.get(m.Registration.Sheet)
}
