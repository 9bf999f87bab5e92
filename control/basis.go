package control

import (
	"context"
	"net/http"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/refusal"
)

// found commits what a plan was made from, before the plan.
func (c *Control) found(ctx context.Context, b proposal.Basis) error {
	raw, err := canon.Encode(b)
	if err != nil {
		return err
	}
	return c.commit(ctx, "plan/"+string(b.Plan), "basis", raw, b.Entry())
}

// apiBasis is what a plan was made from, with its proof; a plan that a person
// made elsewhere has none here.
func (c *Control) apiBasis(r *http.Request) (any, error) {
	id := r.PathValue("id")
	for e, err := range c.Store.Stream(r.Context(), "plan/"+id) {
		if err != nil {
			return nil, err
		}
		if e.Kind == "basis" {
			return Logged{e.Position, e.Stream, e.Kind, e.At, e.Entry.Subject, e.Index, &e.Entry, e.Proof, e.Body}, nil
		}
	}
	return nil, refusal.New(codePlan, "no basis of plan %q is kept here: a person made it elsewhere", id)
}
