package control

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
)

// maxReceipts is how many receipts and leases one message brings.
const maxReceipts = 64

// receipts takes what a host says it did.
func (c *Control) receipts(ctx context.Context, h Host, q wire.ReceiptRequest) (wire.ReceiptAnswer, error) {
	a := wire.ReceiptAnswer{}
	if len(q.Receipts) > maxReceipts || len(q.Leases) > maxReceipts {
		return a, refusal.New(codeMessage, "%d receipts and %d leases; the most is %d", len(q.Receipts), len(q.Leases), maxReceipts)
	}
	leases := []writ.Lease{}
	for _, text := range q.Leases {
		raw, err := base64.StdEncoding.DecodeString(text)
		var l writ.Lease
		if err != nil || canon.Decode(raw, &l) != nil {
			return a, refusal.New(codeMessage, "a lease that is none")
		}
		leases = append(leases, l)
	}
	for _, text := range q.Receipts {
		raw, err := base64.StdEncoding.DecodeString(text)
		var r writ.Receipt
		if err != nil || canon.Decode(raw, &r) != nil {
			return a, refusal.New(codeReceipt, "it cannot be read")
		}
		if err := c.receipt(ctx, h, r, leases); err != nil {
			return a, err
		}
		a.Stored++
	}
	if len(q.Receipts) == 0 {
		return a, c.refused(ctx, h, q)
	}
	c.Kick()
	return a, nil
}

// receipt stores one receipt and what it means for its writ.
func (c *Control) receipt(ctx context.Context, h Host, r writ.Receipt, leases []writ.Lease) error {
	known, ok := c.root.Host(h.ID)
	if !ok || r.Host != h.ID {
		return refusal.New(codeReceipt, "host %s hands over a receipt of %s", h.ID.Short(), r.Host.Short())
	}
	if err := r.Signed(known); err != nil {
		return refusal.New(codeReceipt, "%v", err)
	}
	if _, err := c.Store.Doc(ctx, kindReceipt, string(r.Digest())); err == nil {
		return nil
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	h.Stale = true
	records := []record{Receipt{r, leases}, h}
	if w, ok := c.book.writs[r.Writ]; ok && w.Host == h.ID && w.Plan == r.Plan && w.Wave == r.Wave && w.takes(r) {
		w.Receipts = append(slices.Clone(w.Receipts), r.Digest())
		w.Code, w.Outcome, w.State, w.Why = r.Code, string(r.Outcome), Failed, canon.NoteOf(string(r.Outcome)+" "+r.Code)
		if r.Good() {
			w.State, w.Why = Done, ""
		}
		records = append(records, w)
		records = append(records, c.others(w)...)
	}
	c.heard()
	return c.commit(ctx, "host/"+h.Wire, "receipt", canon.MustEncode(r), r.Entry(), records...)
}

// others takes back what was issued in the place of a writ that was used after
// all.
func (c *Control) others(used Writ) (out []record) {
	for _, w := range c.book.issued(used.Plan) {
		if w.Host != used.Host || w.Digest == used.Digest || w.State != Ready && w.State != Drafted {
			continue
		}
		if w.State == Drafted {
			out = append(out, draft{Digest: w.Digest, Gone: true})
		}
		w.State, w.Why = Withdrawn, canon.NoteOf("the one before it was used after all")
		out = append(out, w)
	}
	return out
}

// takes reports whether a receipt changes how its writ stands: the first one
// does, and that of a rollback after a failure, which stays one.
func (w Writ) takes(r writ.Receipt) bool {
	switch w.State {
	case Ready, Lapsed, Withdrawn, Replaced:
		return w.File != ""
	case Failed:
		return len(w.Receipts) == 0 || r.Outcome == writ.RolledBack
	}
	return false
}

// passing are refusals that say nothing against the plan: the same writ is
// offered again, or a new one is made.
var passing = []string{"PW-AGENT-LEASE", "PW-WRIT-LEASE", "PW-WRIT-EARLY", "PW-WRIT-SOAK", "PW-WRIT-CLOCK", "PW-AGENT-BUSY", "PW-APT-LOCK", "PW-WRIT-TRUST"}

// refused takes note that a host did not begin. A passing reason leaves the
// writ as it is; any other is a failure of the step.
func (c *Control) refused(ctx context.Context, h Host, q wire.ReceiptRequest) error {
	w, ok := c.book.writs[q.Writ]
	if !ok || w.Host != h.ID || w.State != Ready {
		return nil // nothing that still matters
	}
	if w.passing() && w.Code == q.Code && w.Why == q.Detail {
		return nil // it waits, as before
	}
	w.Code, w.Why = q.Code, q.Detail
	if !w.passing() {
		w.State = Failed
		w.Why = canon.NoteOf("it refused: " + q.Code + " " + q.Detail.Text())
	}
	c.Kick()
	return c.note(ctx, "writ/"+string(w.Digest), "refused", q, w)
}
