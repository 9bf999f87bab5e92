package control

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/restraint"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/trust"
)

// Advised is what came of asking an adviser about a plan, and what it does. A
// plan has one at most: nobody is asked twice.
type Advised struct {
	Exchange advice.Exchange `json:"exchange"` // as it stands in the log
	Rules    policy.Outcome  `json:"rules"`    // what the rules had said when it came
	Heeded   advice.Accepted `json:"heeded"`   // what of the proposal counts, by how much say the model has (Model)
	Effect   string          `json:"effect"`
	Text     canon.Note      `json:"text"`  // the same for people, in our words
	Until    int64           `json:"until"` // end of the hold, Unix seconds; 0: it has held nothing
}

// The effects of advice.
const (
	EffectNone   = "none"   // no advice, or keep: as if nobody had been asked
	EffectHeld   = "held"   // the rules allow it; people are asked first, until Until
	EffectShown  = "shown"  // people look at it anyway, or the hold had no time left
	EffectLate   = "late"   // the plan had gone on, or ended
	EffectShadow = "shadow" // the model has no say: it is only written down
)

func (a Advised) doc() store.Doc { return doc(kindAdvice, string(a.Exchange.Plan), a) }
func (a Advised) enter(b *book) {
	if b.advised == nil {
		b.advised = map[canon.Digest]Advised{}
	}
	b.advised[a.Exchange.Plan] = a
}

// says is what of an adviser's proposal counts now.
func (a Advised) says() advice.Accepted {
	if a.Effect == EffectLate || !a.Heeded.Stands {
		return advice.Accepted{Action: advice.Keep}
	}
	return a.Heeded
}

// Judged is advice that came and was judged, with what it is about.
type Judged struct {
	Exchange advice.Exchange
	Report   *advice.Report // nil: there was no answer that could be judged
	Claims   []advice.Claim // of the answer, as the report has them
	Dossier  advice.Dossier
	Rules    policy.Verdict          // the rules' own, as far as they have answered
	Releases map[trust.HostID]string // of the plan's hosts, as far as they are known
}

// restrained is what advice makes of the rules' answer about a plan, which a grant
// covers or "": the answer itself while there is none. The caller holds the lock.
func (c *Control) restrained(p Plan, v policy.Verdict, grant canon.Digest, a Advised, say conduct.Say) restraint.Effect {
	s := restraint.Stand{Verdict: v, Granted: grant != "", Now: c.Now().Unix(), Expires: p.Expires, Due: p.work().Due, Held: a.Until, Shown: say == conduct.Show}
	s.Review = s.Now + int64(c.Terms.Review/time.Second)
	if s.Granted && a.says().Action != advice.Keep {
		s.Permit = c.permit(p, grant, s.Now)
	}
	return restraint.By(s, a.says())
}

// permit is when what lets a plan run now ends: its grant, or the first of its
// hosts' windows that are open. What cannot be read permits no hold.
func (c *Control) permit(p Plan, grant canon.Digest, now int64) int64 {
	end := c.book.grants[grant].Grant.Expires
	raw, err := c.blobs.get(p.Input)
	var in policy.Input
	if err == nil {
		err = canon.Decode(raw, &in)
	}
	if err != nil {
		c.Logger.Warn("what the rules were told about a plan cannot be read; advice does not hold it", "plan", p.Digest.Short(), "error", err)
		return now
	}
	for _, h := range in.Facts.Hosts {
		if len(h.Windows) > 0 && h.Windows[0].From <= now && now < h.Windows[0].Until {
			end = min(end, h.Windows[0].Until)
		}
	}
	return end
}

// effect notes what advice did.
func (a Advised) effect(e restraint.Effect) Advised {
	a.Until = e.Until
	if e.Text != "" {
		a.Text = e.Text
	}
	switch {
	case e.Text == "" && a.Heeded.Action != a.Exchange.Proposal.Action:
		a.Effect = EffectShadow
	case e.Text == "":
		a.Effect = EffectNone
	case e.Held || a.Effect == EffectHeld:
		a.Effect = EffectHeld
	default:
		a.Effect = EffectShown
	}
	return a
}

// heldByAdvice reports whether people are asked about a plan only because an
// adviser wants it. Without an answer it goes on when that is over.
func (c *Control) heldByAdvice(p Plan) bool {
	return p.State == Review && c.book.advised[p.Digest].alone(p)
}

// alone reports that the last time people were asked about a plan it was because an
// adviser wanted it, and not the rules: until the end of its hold, and they allow it.
func (a Advised) alone(p Plan) bool {
	return a.Until != 0 && a.Until == p.Until && len(p.Verdict) == 1 && p.Verdict[0].Outcome == policy.Allow
}

// awaits is until when a plan that could run waits for advice, by the operator's
// choice; 0: it does not. Half of what is left until it is due stays for the work.
func (c *Control) awaits(p Plan) int64 {
	if _, heard := c.book.advised[p.Digest]; heard || c.Advise == nil || c.Terms.Advice == 0 {
		return 0
	}
	return restraint.End(restraint.Stand{Now: p.Created, Review: p.Created + int64(c.Terms.Advice/time.Second), Expires: p.Expires, Due: p.work().Due})
}

// consult asks about every open plan that the rules have answered about, one
// after the other in the order of work. No plan waits for it here.
func (c *Control) consult(ctx context.Context) {
	if c.Advise == nil {
		return
	}
	c.told("model", c.watch(ctx))
	c.mu.Lock()
	plans := c.ordered()
	c.mu.Unlock()
	for _, d := range plans {
		if c.Now().Sub(c.unkept) < unkeptFor {
			return
		}
		c.mu.Lock()
		p := c.book.plans[d]
		_, heard := c.book.advised[d]
		c.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if !heard && p.State.open() && len(p.Verdict) > 0 {
			c.told("advice", c.ask(ctx, p))
			c.told("model", c.watch(ctx))
		}
	}
}

// unkeptFor is how long nobody is asked after an exchange that could not be kept:
// each asking may cost money, and sends the dossier away.
const unkeptFor = 10 * time.Minute

// parting is how long an adviser has to come back when ctx ends.
const parting = 2 * time.Second

// hear asks, and is back soon after ctx ends, whatever the adviser does. One that
// breaks down has said nothing: no model's bytes may end the control plane.
func (c *Control) hear(ctx context.Context, request []byte) advice.Heard {
	said := make(chan advice.Heard, 1)
	go func() {
		defer func() {
			if bug := recover(); bug != nil {
				said <- advice.Heard{Outcome: advice.Failed, Why: canon.NoteOf(fmt.Sprintf("asking broke down, this is a bug: %.200v", bug))}
			}
		}()
		said <- c.Advise(ctx, request)
	}()
	select {
	case h := <-said:
		return h
	case <-ctx.Done():
	}
	select {
	case <-said:
	case <-time.After(parting):
	}
	return advice.Heard{} // ask drops whatever came
}

// judged is what came of asking. What breaks down on its way into the record is
// no answer; its bytes are kept.
func judged(d advice.Dossier, request []byte, h advice.Heard, asked, at int64) (x advice.Exchange, r *advice.Report) {
	defer func() {
		if bug := recover(); bug != nil {
			why := canon.NoteOf(fmt.Sprintf("judging broke down, this is a bug: %.200v", bug))
			x, r = advice.Judge(d, request, advice.Heard{Outcome: advice.Failed, Why: why, Sent: h.Sent, Received: h.Received}, asked, at, advice.Days14)
		}
	}()
	x, r = advice.Judge(d, request, h, asked, at, advice.Days14)
	canon.MustEncode(x)
	if r != nil {
		canon.MustEncode(*r)
	}
	return x, r
}

// ask asks an adviser about one plan, without the lock, and commits what came.
func (c *Control) ask(ctx context.Context, p Plan) error {
	asked := c.Now().Unix()
	d, releases, request, err := c.requestFor(ctx, p)
	h := advice.Heard{Outcome: advice.Off, Why: "the dossier could not be made, or would be too large"}
	if err == nil {
		h = c.hear(ctx, request)
	}
	if ctx.Err() != nil {
		return ctx.Err() // it is asked again after the next start
	}
	j := Judged{Dossier: d, Rules: p.Verdict[0], Releases: releases}
	if err != nil {
		request = nil // what was made of it is no dossier
	}
	j.Exchange, j.Report = judged(d, request, h, asked, c.Now().Unix())
	j.Exchange.Plan = p.Digest
	if j.Report != nil {
		a, _ := advice.ParseAnswer(h.Answer) // it was read before, when it was judged
		j.Claims = a.Claims
	}
	if bad := c.keepExchange(j, request, h); bad != nil {
		c.unkept = c.Now()
		return bad
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if bad := c.advise(ctx, j); bad != nil || err != nil {
		if bad != nil {
			c.unkept = c.Now()
		}
		return cmp.Or(bad, err)
	}
	if o := j.Exchange.Outcome; o == advice.Off || o == advice.Failed {
		return fmt.Errorf("no advice on plan %s: %s", p.Digest.Short(), j.Exchange.Why.Text())
	}
	return nil
}

// keepExchange keeps the bytes of an exchange, before its event names them.
func (c *Control) keepExchange(j Judged, request []byte, h advice.Heard) error {
	x := j.Exchange
	all := map[canon.Digest][]byte{x.Request: request, x.Sent: h.Sent, x.Received: h.Received, x.Answer: h.Answer}
	if j.Report != nil {
		all[x.Report] = canon.MustEncode(*j.Report)
	}
	for name, raw := range all {
		if name == "" {
			continue
		}
		if _, err := c.blobs.put(raw); err != nil {
			return err
		}
	}
	return nil
}

// advise commits what came of asking, and what follows from it. The caller holds
// the lock.
func (c *Control) advise(ctx context.Context, j Judged) error {
	x := j.Exchange
	p := c.book.plans[x.Plan]
	f, err := c.file(p)
	if err != nil { // then there was no dossier either; that, too, is written down
		f = opened{}
	}
	a := Advised{Exchange: x, Rules: p.Verdict[0].Outcome}
	o, heeded, why := c.caseOf(p, f.File, j)
	a.Heeded, a.Text = heeded, why
	_, heard := c.book.advised[x.Plan]
	records := []record{}
	switch {
	case heard:
		return nil // it counts once
	case !p.State.open() || len(c.book.ofPlan[x.Plan]) > 0:
		a.Effect, a.Text = EffectLate, "it came after the plan had gone on, and changes nothing"
	default:
		e := c.restrained(p, p.Verdict[0], p.Grant, a, o.Case.Say)
		if a = a.effect(e); p.State == Running && e.Held {
			records = append(records, held(p, e))
		}
	}
	if p.State == Held && p.Verdict[0].Outcome == policy.Allow { // it waited for this
		p.Until = x.At
		records = append(records, p)
	}
	c.Logger.Info("an adviser was asked", "plan", p.Digest.Short(), "outcome", x.Outcome, "action", x.Proposal.Action, "effect", a.Effect, "model", x.Model.Short())
	c.Kick()
	return c.commit(ctx, "plan/"+string(x.Plan), "advice", canon.MustEncode(x), x.Entry(), append(records, a, o)...)
}

// held is a plan that the rules allow and that people are asked about because an
// adviser wants it.
func held(p Plan, e restraint.Effect) Plan {
	p.State, p.Until, p.Grant = Review, e.Until, ""
	p.Why = canon.NoteOf(fmt.Sprintf("the rules allow it; an adviser asks people to look first, until %s. Then it goes on as the rules said", stamp(e.Until)))
	return p
}

// requestFor is what an adviser is sent about a plan: the plan, and what the feeds
// say about its changes. What releases its hosts have is not sent.
func (c *Control) requestFor(ctx context.Context, p Plan) (d advice.Dossier, releases map[trust.HostID]string, request []byte, err error) {
	c.mu.Lock()
	f, err := c.file(p)
	c.mu.Unlock()
	if err != nil {
		return d, nil, nil, err
	}
	if d, err = c.dossierOf(ctx, f.File); err != nil {
		return d, nil, nil, fmt.Errorf("the dossier of plan %s: %w", p.Digest.Short(), err)
	}
	return d, c.releases(f.File), advice.Request(d), nil
}

func (c *Control) dossierOf(ctx context.Context, f proposal.File) (advice.Dossier, error) {
	m := advice.Material{Plan: f}
	var err error
	if m.Sets, err = c.advisories(ctx, c.Now()); err != nil {
		return advice.Dossier{}, err
	}
	if c.Lists != nil {
		if err := c.Lists(ctx, c.Now(), &m); err != nil {
			return advice.Dossier{}, err
		}
	}
	return advice.Build(m)
}
