package control

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/issue"
)

func noVerdict() []policy.Verdict    { return []policy.Verdict{} }
func noAnswers() []approval.Approval { return []approval.Approval{} }

// file reads a plan whole.
func (c *Control) file(p Plan) (proposal.File, error) {
	raw, err := c.blobs.get(p.File)
	if err != nil {
		return proposal.File{}, err
	}
	return proposal.ReadFile(raw)
}

// step takes one plan as far as it goes now.
func (c *Control) step(ctx context.Context, p Plan) error {
	now := c.Now().Unix()
	switch {
	case !p.State.open():
		return nil
	case p.Expires <= now:
		return c.close(ctx, p, Expired, "the plan's life is over")
	case p.State == Proposed, p.State == Held && p.Until <= now:
		return c.decide(ctx, p)
	case p.State == Review && p.Until <= now:
		return c.close(ctx, p, Denied, "nobody, or too few, said yes in time; silence is never a yes")
	case p.State == Review:
		return c.tally(ctx, p)
	case p.State == Running:
		return c.advance(ctx, p)
	}
	return nil
}

// close ends a plan.
func (c *Control) close(ctx context.Context, p Plan, s PlanState, why string) error {
	c.Logger.Info("plan ended", "plan", p.Digest.Short(), "state", s, "why", why)
	return c.state(ctx, p, s, why)
}

func (c *Control) state(ctx context.Context, p Plan, s PlanState, why string) error {
	p.State, p.Why = s, canon.NoteOf(why)
	type told struct {
		State PlanState  `json:"state"`
		Why   canon.Note `json:"why"`
	}
	return c.note(ctx, "plan/"+string(p.Digest), string(s), told{s, p.Why}, p.doc())
}

// decide asks the rules once the plan stands in the log. A live grant that
// covers the plan is named to them.
func (c *Control) decide(ctx context.Context, p Plan) error {
	if _, ok, err := c.proofOf(ctx, p.Digest); err != nil || !ok {
		return err
	}
	f, err := c.file(p)
	if err != nil {
		return err
	}
	g, err := c.covering(ctx, f)
	if err != nil {
		return err
	}
	now := c.Now().Unix()
	in := policy.NewInput(c.root, f.Header, f.Branches, f.Dossier, g, now).Bytes()
	d, err := c.rules.Decide(ctx, in)
	if err != nil {
		return err
	}
	v := policy.Bind(d, p.Digest, f.Header.Class, now, c.rules.Digest(), policy.InputDigest(in))
	if _, err = c.blobs.put(c.rules.Bundle()); err != nil {
		return err
	}
	if p.Input, err = c.blobs.put(in); err != nil {
		return err
	}
	p.Verdict, p.Class, p.Grant = []policy.Verdict{v}, v.Class, ""
	switch v.Outcome {
	case policy.Allow:
		p.State, p.Grant, p.Why = Running, g, canon.NoteOf("under grant "+g.Short())
	case policy.Quorum:
		p.State, p.Until, p.Why = Review, min(p.Expires, now+int64(c.Terms.Review/time.Second)), canon.NoteOf("people are asked: "+reasons(v))
	case policy.Hold:
		p.State, p.Until, p.Why = Held, v.Until, canon.NoteOf(reasons(v))
	default:
		p.State, p.Why = Denied, canon.NoteOf("the rules say no: "+reasons(v))
	}
	c.Logger.Info("the rules have answered", "plan", p.Digest.Short(), "outcome", v.Outcome, "grant", p.Grant.Short())
	c.Kick()
	return c.commit(ctx, "plan/"+string(p.Digest), "verdict", v.Bytes(), evidence.VerdictEntry(v), p.doc())
}

func reasons(v policy.Verdict) string {
	text := ""
	for _, r := range v.Reasons {
		if r.Outcome == v.Outcome {
			text += fmt.Sprintf("%s (%s); ", r.Text.Text(), r.Rule)
		}
	}
	return text
}

// covering finds a live grant for every branch of a plan, or "".
func (c *Control) covering(ctx context.Context, f proposal.File) (canon.Digest, error) {
	grants, err := all[Grant](ctx, c.Store, kindGrant)
	if err != nil {
		return "", err
	}
	now := c.Now().Unix()
	for _, g := range grants {
		if g.State == Live && !slices.Contains(c.root.Critical.Grants, g.Digest) && g.Grant.Created <= now && now < g.Grant.Expires && c.covers(g, f) {
			return g.Digest, nil
		}
	}
	return "", nil
}

func (c *Control) covers(g Grant, f proposal.File) bool {
	return !slices.ContainsFunc(f.Branches, func(b plan.Branch) bool {
		h, ok := c.root.Host(b.Host)
		return !ok || b.Network || g.Grant.Covers(h, b.Changes, c.root.Critical) != nil
	})
}

// tally lets a plan run once people's answers are enough.
func (c *Control) tally(ctx context.Context, p Plan) error {
	f, err := c.file(p)
	if err != nil {
		return err
	}
	if _, err := c.yes(p, f); err != nil {
		if refusal.CodeOf(err) != "" {
			return nil // it waits; Waits says for whom
		}
		return err
	}
	c.Kick()
	return c.state(ctx, p, Running, "approved")
}

// yes are the approvals of a plan when they meet every quorum that its hosts
// will ask.
func (c *Control) yes(p Plan, f proposal.File) ([]approval.Approval, error) {
	out := noAnswers()
	for _, a := range p.Answers {
		if a.Kind == approval.Approve && !slices.ContainsFunc(out, func(o approval.Approval) bool { return o.Person == a.Person }) {
			out = append(out, a)
		}
	}
	names := []string{string(change.Max(p.Class, f.Header.Class))}
	if slices.ContainsFunc(f.Branches, func(b plan.Branch) bool {
		return slices.ContainsFunc(b.Changes, func(ch change.Change) bool { return ch.Op == change.Downgrade })
	}) {
		names = append(names, approval.Rollback)
	}
	s := approval.Statement{Kind: approval.Approve, Bytes: f.Header.Bytes()}
	for _, name := range names {
		q, ok := c.root.Quorum(name)
		if !ok {
			return nil, fmt.Errorf("the trust root has no quorum for %q", name)
		}
		if _, err := approval.Tally(c.root, q, s, f.Header.Author, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Answer takes a person's signed answer to a plan.
func (c *Control) Answer(ctx context.Context, plan canon.Digest, a approval.Approval) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := get[Plan](ctx, c.Store, kindPlan, string(plan))
	if errors.Is(err, store.ErrNotFound) {
		return refusal.New(codePlan, "no plan %s", plan.Short())
	} else if err != nil {
		return err
	}
	if !p.State.open() {
		return refusal.New(codePlan, "plan %s is %s", plan.Short(), p.State)
	}
	f, err := c.file(p)
	if err != nil {
		return err
	}
	if a.Kind != approval.Approve && a.Kind != approval.Deny {
		return refusal.New(codePlan, "an answer of kind %q", a.Kind)
	}
	if _, _, err := approval.Check(c.root, approval.Statement{Kind: a.Kind, Bytes: f.Header.Bytes()}, a); err != nil {
		return err
	}
	e := evidence.ApprovalEntry(a)
	if slices.ContainsFunc(p.Answers, func(o approval.Approval) bool { return evidence.ApprovalEntry(o) == e }) {
		return nil
	}
	p.Answers = append(p.Answers, a)
	if a.Kind == approval.Deny {
		p.State, p.Why = Denied, canon.NoteOf(string(a.Person)+" said no")
	}
	c.Kick()
	return c.commit(ctx, "plan/"+string(plan), string(a.Kind), canon.MustEncode(a), e, p.doc())
}

// advance issues the writs of the wave that may begin, and ends the plan when
// all is done, or when anything is not as it should be.
func (c *Control) advance(ctx context.Context, p Plan) error {
	writs, err := c.writsOf(ctx, func(w Writ) bool { return w.Plan == p.Digest && w.State != Replaced })
	if err != nil {
		return err
	}
	if why, err := c.bad(ctx, p, writs); err != nil || why != "" {
		return err
	}
	f, err := c.file(p)
	if err != nil {
		return err
	}
	done := map[trust.HostID]bool{}
	had := map[trust.HostID]bool{}
	for _, w := range writs {
		had[w.Host], done[w.Host] = true, w.State == Done
	}
	if len(done) == len(p.Hosts) && !slices.ContainsFunc(p.Hosts, func(h trust.HostID) bool { return !done[h] }) {
		return c.close(ctx, p, Finished, "every host is done")
	}
	wave := c.wave(f, done)
	for i, h := range p.Hosts {
		if p.Waves[i] > wave || had[h] {
			continue
		}
		if err := c.issue(ctx, p, f, h, p.Waves[i]); err != nil {
			return err
		}
	}
	return c.finish(ctx, writs)
}

// wave is the last one that may begin: every wave before it has as many good
// receipts as the plan wants.
func (c *Control) wave(f proposal.File, done map[trust.HostID]bool) int {
	good := make([]int, len(f.Header.Waves))
	for _, b := range f.Branches {
		if done[b.Host] {
			good[b.Wave]++
		}
	}
	last := len(good) - 1
	for i := range last {
		if good[i] < f.Header.Waves[i].Good {
			return i
		}
	}
	return last
}

// bad stops a plan whose host failed or was silent, and suspends the grant that
// it ran under.
func (c *Control) bad(ctx context.Context, p Plan, writs []Writ) (string, error) {
	now, why := c.Now().Unix(), ""
	for _, w := range writs {
		switch {
		case w.State == Failed:
			why = fmt.Sprintf("host %s failed: %s", w.Host.Short(), w.Why.Text())
		case w.State == Lapsed, w.State == Ready && w.Expires <= now:
			why = fmt.Sprintf("host %s was silent until its writ ended", w.Host.Short())
		}
	}
	if why == "" {
		return "", nil
	}
	for _, w := range writs {
		if w.State == Ready && w.Expires <= now {
			w.State = Lapsed
			if err := c.note(ctx, "writ/"+string(w.Digest), "lapsed", map[string]int64{"at": now}, w.doc()); err != nil {
				return why, err
			}
		}
	}
	if p.Grant != "" {
		if err := c.suspend(ctx, p.Grant, why); err != nil {
			return why, err
		}
	}
	return why, c.close(ctx, p, Stopped, why)
}

// issue drafts a host's writ: committed now, logged next, handed out then.
func (c *Control) issue(ctx context.Context, p Plan, f proposal.File, host trust.HostID, wave int) error {
	o, ready, err := c.order(ctx, p, f, host, wave)
	if err != nil || !ready {
		return err
	}
	draft, err := issue.Draft(o)
	if err != nil {
		return err
	}
	w := Writ{Digest: draft.Body.Digest(), Host: host, Plan: p.Digest, Wave: wave, State: Drafted, Draft: draft, Issued: o.Issued, Expires: o.Expires}
	c.Kick()
	return c.commit(ctx, "writ/"+string(w.Digest), "writ", canon.MustEncode(draft.Body), draft.Body.Entry(), w.doc())
}

// order gathers what a writ is made of. ready is false while a soak or a slot
// of the grant is not over.
func (c *Control) order(ctx context.Context, p Plan, f proposal.File, host trust.HostID, wave int) (o issue.Order, ready bool, err error) {
	now := c.Now().Unix()
	nonce, err := c.nonce()
	if err != nil {
		return o, false, err
	}
	o = issue.Order{Nonce: nonce, Host: host, Header: f.Header, Branches: f.Branches, Approvals: noAnswers(), Grants: []writ.Granted{},
		Verdict: p.Verdict[0].Digest(), Trust: c.root.Versions, Issued: now, Expires: min(now+int64(c.Terms.Writ/time.Second), p.Expires)}
	if o.Earlier, err = c.earlier(ctx, p, f, wave); err != nil {
		return o, false, err
	}
	if f.Header.Waves[wave].NotBefore > now {
		return o, false, nil
	}
	if p.Grant == "" {
		o.Approvals, err = c.yes(p, f)
		return o, err == nil, err
	}
	g, err := get[Grant](ctx, c.Store, kindGrant, string(p.Grant))
	if err != nil {
		return o, false, err
	}
	if g.State != Live {
		return o, false, c.close(ctx, p, Stopped, "its grant is "+g.State)
	}
	known, _ := c.root.Host(host)
	proof, begins, err := c.soaked(ctx, f, g, known)
	if err != nil || begins > now {
		return o, false, err
	}
	o.Approvals, o.Grants = g.Approvals, []writ.Granted{{Grant: g.Grant, Proof: proof}}
	return o, true, nil
}

// soaked is the proof that the plan has stood in the log, and when the host may
// begin by it.
func (c *Control) soaked(ctx context.Context, f proposal.File, g Grant, h trust.Host) (tlog.Proof, int64, error) {
	proof, ok, err := c.proofOf(ctx, f.Header.Digest())
	if err != nil || !ok {
		return "", 0, fmt.Errorf("the plan is not in the log: %w", err)
	}
	policy, err := tlog.ParsePolicy(c.root.Witnesses)
	if err != nil {
		return "", 0, err
	}
	stood, err := policy.Verify(writ.PlanEntry(f.Header), proof)
	if err != nil {
		return "", 0, err
	}
	begins, err := g.Grant.NotBefore(h, stood.Time)
	return proof, begins, err
}

// earlier gathers the good receipts of the waves before one.
func (c *Control) earlier(ctx context.Context, p Plan, f proposal.File, wave int) ([]writ.Earlier, error) {
	out := []writ.Earlier{}
	if wave == 0 {
		return out, nil
	}
	receipts, err := all[Receipt](ctx, c.Store, kindReceipt)
	if err != nil {
		return nil, err
	}
	for _, r := range receipts {
		if r.Receipt.Plan != p.Digest || r.Receipt.Wave >= wave || !r.Receipt.Good() {
			continue
		}
		b, at, path, err := issue.Branch(f.Branches, r.Receipt.Host)
		if err != nil {
			return nil, err
		}
		out = append(out, writ.Earlier{Receipt: r.Receipt, Branch: b, Index: at, Path: path})
	}
	return out, nil
}

// finish completes the drafts whose entry is in the log, and wakes their hosts.
func (c *Control) finish(ctx context.Context, writs []Writ) error {
	for _, w := range writs {
		if w.State != Drafted {
			continue
		}
		proof, ok, err := c.proofOf(ctx, w.Digest)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		w.Draft.Proof = proof
		raw, err := canon.Encode(w.Draft)
		if err != nil {
			return err
		}
		if w.File, err = c.blobs.put(raw); err != nil {
			return err
		}
		w.State = Ready
		if err := c.note(ctx, "writ/"+string(w.Digest), "ready", map[string]canon.Digest{"file": w.File}, w.doc()); err != nil {
			return err
		}
		c.wake(ctx, w.Host)
	}
	return nil
}

func (c *Control) wake(ctx context.Context, host trust.HostID) {
	if h, err := c.hostOf(ctx, host); err == nil {
		c.Wake(h.Wire)
	}
}

// receipts takes what a host says it did.
func (c *Control) receipts(ctx context.Context, h Host, q wire.ReceiptRequest) (wire.ReceiptAnswer, error) {
	a := wire.ReceiptAnswer{}
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
	}
	h.Stale = true
	docs := []store.Doc{doc(kindReceipt, string(r.Digest()), Receipt{r, leases}), h.doc()}
	w, err := get[Writ](ctx, c.Store, kindWrit, string(r.Writ))
	switch {
	case err == nil && (w.State == Ready || w.State == Lapsed || w.State == Failed && r.Outcome == writ.RolledBack):
		w.Receipt, w.Code, w.State = r.Digest(), r.Code, Failed
		w.Why = canon.NoteOf(string(r.Outcome) + " " + r.Code)
		if r.Good() {
			w.State = Done
		}
		docs = append(docs, w.doc())
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	}
	c.heard()
	return c.commit(ctx, "host/"+h.Wire, "receipt", canon.MustEncode(r), r.Entry(), docs...)
}

// passing are refusals that say nothing against the plan: the same writ is
// offered again, or a new one is made.
var passing = []string{"PW-AGENT-LEASE", "PW-WRIT-LEASE", "PW-WRIT-EARLY", "PW-WRIT-SOAK", "PW-WRIT-CLOCK", "PW-AGENT-BUSY", "PW-APT-LOCK", "PW-WRIT-TRUST"}

// refused takes note that a host did not begin. A passing reason leaves the
// writ as it is; any other is a failure of the step.
func (c *Control) refused(ctx context.Context, h Host, q wire.ReceiptRequest) error {
	w, err := get[Writ](ctx, c.Store, kindWrit, string(q.Writ))
	if err != nil || w.Host != h.ID || w.State != Ready {
		return nil // nothing that still matters
	}
	w.Code, w.Why = q.Code, q.Detail
	if !slices.Contains(passing, q.Code) {
		w.State = Failed
		w.Why = canon.NoteOf("it refused: " + q.Code + " " + q.Detail.Text())
	}
	c.Kick()
	return c.note(ctx, "writ/"+string(w.Digest), "refused", q, w.doc())
}
