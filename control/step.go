package control

import (
	"context"
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
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ/issue"
)

func noVerdict() []policy.Verdict    { return []policy.Verdict{} }
func noAnswers() []approval.Approval { return []approval.Approval{} }

// opened is a whole plan, opened once.
type opened struct {
	proposal.File
	issue issue.Plan
}

// file reads a plan whole. Those of open plans are kept.
func (c *Control) file(p Plan) (opened, error) {
	if o, ok := c.files[p.Digest]; ok {
		return o, nil
	}
	raw, err := c.blobs.get(p.File)
	if err != nil {
		return opened{}, err
	}
	f, err := proposal.ReadFile(raw)
	if err != nil {
		return opened{}, err
	}
	o := opened{File: f}
	if o.issue, err = issue.Open(f.Header, f.Branches); err == nil && p.State.open() {
		c.files[p.Digest] = o
	}
	return o, err
}

// step takes one plan as far as it goes now.
func (c *Control) step(ctx context.Context, d canon.Digest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, now := c.book.plans[d], c.Now().Unix()
	switch {
	case !p.State.open():
		return nil
	case p.Expires <= now:
		return c.end(ctx, p, Expired, "the plan's life is over")
	case p.State == Proposed, p.State == Held && p.Until <= now:
		return c.decide(ctx, p)
	case p.Until <= now && c.heldByAdvice(p):
		return c.decide(ctx, p) // as if nobody had been asked
	case p.State == Review && p.Until <= now:
		return c.end(ctx, p, Denied, "nobody, or too few, said yes in time; silence is never a yes")
	case p.State == Review:
		return c.tally(ctx, p)
	case p.State == Running:
		return c.advance(ctx, p)
	}
	return nil
}

// maxTogether is how many documents of a plan are changed in one batch.
const maxTogether = 2000

// end ends a plan, and takes back the writs that no host has used. What a host
// has fetched already it may still use: its receipt is taken.
func (c *Control) end(ctx context.Context, p Plan, s PlanState, why string) error {
	if err := c.state(ctx, p, s, why); err != nil {
		return err
	}
	c.Logger.Info("plan ended", "plan", p.Digest.Short(), "state", s, "why", why)
	delete(c.files, p.Digest)
	if had := c.book.observed[p.Digest]; had != nil && (s == Finished || s == Stopped) {
		o := *had // the book learns it after the commit
		if o.Case.Wrong = s == Stopped; !o.Case.Wrong {
			o.Case.Effective = c.Now().Unix()
		}
		if err := c.put(ctx, "plan/"+string(p.Digest), nil, o); err != nil {
			return err
		}
	}
	c.told("plan "+p.Digest.Short(), nil)
	return c.withdraw(ctx, p)
}

// withdraw takes back what an ended plan has not handed out, or not got back.
func (c *Control) withdraw(ctx context.Context, p Plan) error {
	var records []record
	for _, w := range c.book.issued(p.Digest) {
		if w.State != Drafted && w.State != Ready {
			continue
		}
		if w.State == Drafted {
			records = append(records, draft{Digest: w.Digest, Gone: true})
		}
		if w.State == Ready && w.Expires <= c.Now().Unix() {
			w.State, w.Why = Lapsed, canon.NoteOf("its host was silent until it ended")
		} else {
			w.State, w.Why = Withdrawn, canon.NoteOf("its plan has ended")
		}
		records = append(records, w)
	}
	for part := range slices.Chunk(records, maxTogether) {
		if err := c.note(ctx, "plan/"+string(p.Digest), "withdrawn", map[string]int{"documents": len(part)}, part...); err != nil {
			return err
		}
	}
	return nil
}

func (c *Control) state(ctx context.Context, p Plan, s PlanState, why string) error {
	p.State, p.Why = s, canon.NoteOf(why)
	type told struct {
		State PlanState  `json:"state"`
		Why   canon.Note `json:"why"`
	}
	return c.note(ctx, "plan/"+string(p.Digest), string(s), told{s, p.Why}, p)
}

// shortHold is the least time between two questions to the rules about a plan
// that they hold.
const shortHold = 60

// decide asks the rules once the plan stands in the log. A live grant that
// covers the plan is named to them. The lock is let go while they think, and while
// what they are told is read.
func (c *Control) decide(ctx context.Context, p Plan) error {
	if _, ok, err := c.proofOf(ctx, p.Digest); err != nil || !ok {
		return err
	}
	f, err := c.file(p)
	if err != nil {
		return err
	}
	asked := p.State
	c.mu.Unlock()
	w, err := c.weigh(ctx, p)
	c.mu.Lock()
	if p = c.book.plans[p.Digest]; err != nil || p.State != asked {
		return err
	}
	now, rules, grant := c.Now().Unix(), c.rules, c.covering(f.File)
	facts, err := c.factsOf(ctx, p, f.File, w, now)
	if err != nil {
		return err
	}
	in := policy.NewInput(c.root, f.Header, f.Branches, f.Dossier, facts, grant, now).Bytes()
	c.mu.Unlock()
	d, err := rules.Decide(ctx, in)
	c.mu.Lock()
	p = c.book.plans[p.Digest] // people may have spoken
	if err != nil || !p.State.open() || ctx.Err() != nil {
		return err
	}
	v := policy.Bind(d, p.Digest, f.Header.Class, now, rules.Digest(), policy.InputDigest(in))
	if _, err = c.blobs.put(rules.Bundle()); err != nil {
		return err
	}
	if p.Input, err = c.blobs.put(in); err != nil {
		return err
	}
	return c.decided(ctx, p, v, grant)
}

// decided commits the rules' answer and what follows from it.
func (c *Control) decided(ctx context.Context, p Plan, v policy.Verdict, grant canon.Digest) error {
	p.Verdict, p.Class, p.Grant = []policy.Verdict{v}, v.Class, ""
	records := []record{}
	a, advised := c.book.advised[p.Digest]
	e := c.restrained(p, v, grant, a, c.said(p.Digest))
	if advised && a.Effect != EffectLate {
		records = append(records, a.effect(e))
	}
	review := min(p.Expires, v.At+int64(c.Terms.Review/time.Second))
	switch wait := c.awaits(p); {
	case v.Outcome == policy.Allow && e.Verdict.Outcome == policy.Quorum && grant != "":
		p = held(p, e)
	case v.Outcome == policy.Allow && grant != "" && wait > v.At:
		p.State, p.Until, p.Why = Held, wait, "it waits for an adviser, as the operator wants"
	case v.Outcome == policy.Allow && grant != "":
		p.State, p.Grant, p.Why = Running, grant, canon.NoteOf("under grant "+grant.Short())
	case v.Outcome == policy.Allow:
		p.State, p.Until, p.Why = Review, review, canon.NoteOf("the rules allow it, and no grant covers it: people are asked")
	case v.Outcome == policy.Quorum:
		p.State, p.Until, p.Why = Review, review, canon.NoteOf("people are asked: "+reasons(v))
	case v.Outcome == policy.Hold:
		p.State, p.Until, p.Why = Held, max(v.Until, v.At+shortHold), canon.NoteOf(reasons(v))
	default:
		p.State, p.Why = Denied, canon.NoteOf("the rules say no: "+reasons(v))
		delete(c.files, p.Digest)
	}
	c.Logger.Info("the rules have answered", "plan", p.Digest.Short(), "outcome", v.Outcome, "grant", p.Grant.Short())
	c.Kick()
	wake(c.answers)
	return c.commit(ctx, "plan/"+string(p.Digest), "verdict", v.Bytes(), evidence.VerdictEntry(v), append(records, p)...)
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
func (c *Control) covering(f proposal.File) canon.Digest {
	now := c.Now().Unix()
	for _, g := range sorted(c.book.grants) {
		if g.State == Live && !slices.Contains(c.root.Critical.Grants, g.Digest) && g.Grant.Created <= now && now < g.Grant.Expires && c.covers(g, f) {
			return g.Digest
		}
	}
	return ""
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
	if _, err := c.yes(p, f.File); err != nil {
		if refusal.CodeOf(err) != "" {
			return nil // it waits; Why says for whom
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
	p, ok := c.book.plans[plan]
	switch {
	case !ok:
		return refusal.New(codePlan, "no plan %s", plan.Short())
	case !p.State.open():
		return refusal.New(codePlan, "plan %s is %s", plan.Short(), p.State)
	case a.Kind != approval.Approve && a.Kind != approval.Deny:
		return refusal.New(codePlan, "an answer of kind %q", a.Kind)
	}
	f, err := c.file(p)
	if err != nil {
		return err
	}
	if _, _, err := approval.Check(c.root, approval.Statement{Kind: a.Kind, Bytes: f.Header.Bytes()}, a); err != nil {
		return err
	}
	e := evidence.ApprovalEntry(a)
	if slices.ContainsFunc(p.Answers, func(o approval.Approval) bool { return evidence.ApprovalEntry(o) == e }) {
		return nil
	}
	if len(p.Answers) >= maxAnswers {
		return refusal.New(codePlan, "plan %s has %d answers", plan.Short(), len(p.Answers))
	}
	p.Answers = append(slices.Clone(p.Answers), a)
	if a.Kind == approval.Deny {
		p.State, p.Why = Denied, canon.NoteOf(string(a.Person)+saidNo)
	}
	c.Kick()
	if err := c.commit(ctx, "plan/"+string(plan), string(a.Kind), canon.MustEncode(a), e, p); err != nil || a.Kind != approval.Deny {
		return err
	}
	delete(c.files, plan)
	return c.withdraw(ctx, p)
}

// saidNo ends the reason of a plan that a person denied.
const saidNo = " said no"

// maxAnswers bounds what people say to one plan.
const maxAnswers = 4 * approval.MaxApprovals

// settled reports whether what a writ rests on stands in the log: the rules'
// answer, and people's.
func (c *Control) settled(ctx context.Context, p Plan, yes []approval.Approval) (bool, error) {
	entries := []tlog.Entry{evidence.VerdictEntry(p.Verdict[0])}
	for _, a := range yes {
		entries = append(entries, evidence.ApprovalEntry(a))
	}
	for _, e := range entries {
		if _, ok, err := c.proofOf(ctx, e.Subject); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// hostIs says why a host that a plan names can take no part in it, or "".
func (c *Control) hostIs(id trust.HostID) string {
	if _, ok := c.root.Host(id); !ok {
		return "the trust root no longer names it"
	}
	if _, ok := c.book.host(id); !ok {
		return "it was removed"
	}
	return ""
}

var errTooFew = errors.New("too few hosts are left")
