package control

import (
	"context"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
)

// Grant takes a grant with people's signatures. It lives once a quorum stands
// under it; hosts tally the signatures again.
func (c *Control) Grant(ctx context.Context, g approval.Grant, answers []approval.Approval) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := g.Valid(); err != nil {
		return err
	}
	s := g.Statement(approval.Allow)
	if err := c.quorum("grant", s, g.Author, answers); err != nil {
		return err
	}
	d := s.Digest()
	if _, known := c.book.grants[d]; known {
		return nil
	}
	if err := c.signatures(ctx, "grant/"+string(d), answers); err != nil {
		return err
	}
	doc := Grant{Digest: d, Grant: g, Approvals: answers, State: Live}
	c.want, c.all = true, true
	c.Kick()
	return c.commit(ctx, "grant/"+string(d), "grant", g.Bytes(), tlog.NewEntry("grant", d, g.Created), doc)
}

// quorum asks whether answers are the named quorum's word on a statement.
func (c *Control) quorum(name string, s approval.Statement, author trust.PersonID, answers []approval.Approval) error {
	q, ok := c.root.Quorum(name)
	if !ok {
		return refusal.New(codeGrant, "the trust root has no quorum %q", name)
	}
	_, err := approval.Tally(c.root, q, s, author, answers)
	return err
}

// signatures commits each signature as an event of its own.
func (c *Control) signatures(ctx context.Context, stream string, answers []approval.Approval) error {
	for _, a := range answers {
		if err := c.commit(ctx, stream, string(a.Kind), canon.MustEncode(a), evidence.ApprovalEntry(a)); err != nil {
			return err
		}
	}
	return nil
}

// Revoke ends a grant by people's signatures. Hosts that hold a writ under it
// learn of it through a halt or the trust root; no new writ is issued.
func (c *Control) Revoke(ctx context.Context, grant canon.Digest, answers []approval.Approval) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, ok := c.book.grants[grant]
	if !ok {
		return refusal.New(codeGrant, "no grant %s", grant.Short())
	}
	if g.State == Revoked {
		return nil
	}
	s := g.Grant.Statement(approval.Revoke)
	if err := c.quorum("revoke", s, "", answers); err != nil {
		return err
	}
	if err := c.signatures(ctx, "grant/"+string(grant), answers); err != nil {
		return err
	}
	c.Kick()
	g.State, g.Why = Revoked, canon.NoteOf("revoked by "+string(answers[0].Person))
	return c.commit(ctx, "grant/"+string(grant), "revoke", g.Grant.Bytes(), tlog.NewEntry("revoke", s.Digest(), c.Now().Unix()), g)
}

// suspend takes a grant out of use after a failure under it; "" is no grant.
func (c *Control) suspend(ctx context.Context, d canon.Digest, why string) error {
	g, ok := c.book.grants[d]
	if !ok || g.State != Live {
		return nil
	}
	g.State, g.Why = Suspended, canon.NoteOf(why)
	c.Logger.Warn("grant suspended", "grant", d.Short(), "why", why)
	return c.note(ctx, "grant/"+string(d), "suspended", map[string]canon.Note{"why": g.Why}, g)
}
