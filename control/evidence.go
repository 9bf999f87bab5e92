package control

import (
	"cmp"
	"context"
	"net/http"
	"os"
	"slices"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
)

func (c *Control) apiEvidence(r *http.Request) (any, error) {
	p, err := c.apiPlan(r)
	if err != nil {
		return nil, err
	}
	b, err := c.Evidence(r.Context(), p)
	if err != nil {
		return nil, err
	}
	return canon.Encode(b)
}

// Evidence puts together what an auditor checks offline about one plan.
func (c *Control) Evidence(ctx context.Context, p Plan) (evidence.Bundle, error) {
	if len(p.Verdict) == 0 {
		return evidence.Bundle{}, refusal.New(codePlan, "the rules have not been asked about plan %s yet", p.Digest.Short())
	}
	if err := c.flush(ctx); err != nil { // what came last is proved too
		return evidence.Bundle{}, err
	}
	c.mu.Lock()
	f, err := c.file(p)
	writs, root := []Writ{}, c.root
	for _, d := range c.book.ofPlan[p.Digest] {
		if w := c.book.writs[d]; w.File != "" {
			writs = append(writs, w)
		}
	}
	c.mu.Unlock()
	if err != nil {
		return evidence.Bundle{}, err
	}
	raw, err := c.blobs.get(p.Input)
	if err != nil {
		return evidence.Bundle{}, err
	}
	var in policy.Input
	if err := canon.Decode(raw, &in); err != nil {
		return evidence.Bundle{}, err
	}
	b := evidence.Bundle{Type: evidence.TypeBundle, Root: root.ID, Header: f.Header, Branches: f.Branches, Dossier: f.Dossier,
		Approvals: slices.Clone(p.Answers), Grant: in.Grant, Facts: in.Facts, Verdict: p.Verdict[0], Writs: []evidence.Used{}}
	slices.SortFunc(b.Approvals, func(x, y approval.Approval) int {
		return c.before(evidence.ApprovalEntry(x), evidence.ApprovalEntry(y))
	})
	if err := c.addWrits(ctx, writs, &b); err != nil {
		return b, err
	}
	if err := c.addBlobs(p, &b); err != nil {
		return b, err
	}
	return b, c.prove(ctx, root, &b)
}

// before compares the places of two entries in the log.
func (c *Control) before(a, b tlog.Entry) int {
	x, _ := c.Log.Find(a)
	y, _ := c.Log.Find(b)
	return cmp.Compare(x, y)
}

func (c *Control) addWrits(ctx context.Context, writs []Writ, b *evidence.Bundle) error {
	for _, w := range writs {
		u := evidence.Used{Leases: []writ.Lease{}, Receipts: []writ.Receipt{}}
		raw, err := c.blobs.get(w.File)
		if err != nil {
			return err
		}
		if err := canon.Decode(raw, &u.Writ); err != nil {
			return err
		}
		for _, d := range w.Receipts {
			r, err := get[Receipt](ctx, c.Store, kindReceipt, string(d))
			if err != nil {
				return err
			}
			u.Receipts = append(u.Receipts, r.Receipt)
			if r.Receipt.Shown == writ.Shown(raw, r.Leases) {
				u.Leases = append(u.Leases[:0], r.Leases...)
			}
		}
		slices.SortFunc(u.Receipts, func(x, y writ.Receipt) int { return cmp.Compare(x.Ended, y.Ended) })
		b.Writs = append(b.Writs, u)
	}
	slices.SortFunc(b.Writs, func(x, y evidence.Used) int { return c.before(x.Writ.Body.Entry(), y.Writ.Body.Entry()) })
	return nil
}

// addBlobs adds the rules and the vendors' releases that the plan rests on.
func (c *Control) addBlobs(p Plan, b *evidence.Bundle) error {
	rules, err := c.blobs.get(p.Verdict[0].Bundle)
	if err != nil {
		return err
	}
	blobs := map[canon.Digest]evidence.Blob{}
	add := func(raw []byte) {
		blob := evidence.NewBlob(raw)
		blobs[blob.Digest] = blob
	}
	add(rules)
	raw, err := os.ReadFile(c.releasesFile(p.Digest))
	if err != nil {
		return err
	}
	var list []wire.File
	if err := canon.Decode(raw, &list); err != nil {
		return err
	}
	for _, f := range list {
		raw, err := c.blobs.get(f.Digest)
		if err != nil {
			return err
		}
		add(raw)
	}
	b.Blobs = []evidence.Blob{}
	for _, blob := range blobs {
		b.Blobs = append(b.Blobs, blob)
	}
	slices.SortFunc(b.Blobs, func(x, y evidence.Blob) int { return cmp.Compare(x.Digest, y.Digest) })
	return nil
}

// prove proves every event at the log's newest checkpoint, and links the states
// that anything in the bundle speaks of.
func (c *Control) prove(ctx context.Context, root trust.Root, b *evidence.Bundle) error {
	events := b.Events()
	slices.SortFunc(events, c.before)
	_, newest, err := c.Log.Checkpoint(ctx)
	if err != nil {
		return err
	}
	b.Entries = []evidence.Logged{}
	for _, e := range events {
		proof, err := c.Log.Prove(ctx, e, newest.Checkpoint.Size)
		if err != nil {
			return err
		}
		b.Entries = append(b.Entries, evidence.Logged{Entry: e, Proof: proof})
	}
	policy, err := tlog.ParsePolicy(root.Witnesses)
	if err != nil {
		return err
	}
	states, err := b.States(policy)
	if err != nil {
		return err
	}
	b.Links = []evidence.Link{}
	for i := 1; i < len(states); i++ {
		link := evidence.Link{From: states[i-1].Size, To: states[i].Size}
		if link.Proof, err = c.Log.Consistency(ctx, link.From, link.To); err != nil {
			return err
		}
		b.Links = append(b.Links, link)
	}
	return nil
}
