package control

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/writ"
)

// AdviceView is what an adviser said about a plan, apart from what is known of
// it. Every text of it is a model's words, but for the reasons.
type AdviceView struct {
	Advised
	Report *advice.Report `json:"report"` // claim by claim; null: there was no answer that could be judged
}

// Lines are the advice for people. What a line is worth stands at its beginning.
func (v AdviceView) Lines() []string {
	x := v.Exchange
	model := "no model"
	if x.Model != "" {
		model = "model " + x.Model.Short()
	}
	out := []string{"asked " + stamp(x.Asked) + ": " + string(x.Outcome) + " (" + model + "). " + x.Why.Text()}
	if v.Report == nil {
		return out
	}
	for _, j := range v.Report.Claims {
		mark := "verified: "
		if j.Verdict != advice.Verified {
			mark = "a model's words, " + strings.ReplaceAll(string(j.Verdict), "_", " ") + ": "
		}
		out = append(out, mark+j.Claim.Text()+" ("+j.Reason.Text()+")")
	}
	for _, s := range v.Report.Kept() {
		out = append(out, "a model's words, not verified: "+s)
	}
	if x.Abstained {
		out = append(out, "it abstains")
	}
	text := "proposal: " + x.Proposal.Action
	if v.Text != "" {
		text += "; " + v.Text.Text()
	}
	out = append(out, text)
	if len(v.Heeded.Order) > 0 {
		out = append(out, "a model's order of class "+string(v.Heeded.Class)+", as it would look at them: "+strings.Join(v.Heeded.Order, ", "))
	}
	return out
}

// adviceOn is what an adviser said about a plan; false when nobody was asked.
func (c *Control) adviceOn(plan canon.Digest) (v AdviceView, ok bool, err error) {
	c.mu.Lock()
	v.Advised, ok = c.book.advised[plan]
	c.mu.Unlock()
	if !ok || v.Exchange.Report == "" {
		return v, ok, nil
	}
	raw, err := c.blobs.get(v.Exchange.Report)
	if err == nil {
		v.Report = new(advice.Report)
		err = canon.Decode(raw, v.Report)
	}
	return v, true, err
}

// apiAdvice lists what an adviser said about a plan: nothing, or once.
func (c *Control) apiAdvice(r *http.Request) (any, error) {
	p, err := c.apiPlan(r)
	if err != nil {
		return nil, err
	}
	v, ok, err := c.adviceOn(p.Digest)
	if err != nil || !ok {
		return []AdviceView{}, err
	}
	return []AdviceView{v}, nil
}

// apiAdvicePart gives the bytes of one part of an exchange.
func (c *Control) apiAdvicePart(r *http.Request) (any, error) {
	p, err := c.apiPlan(r)
	if err != nil {
		return nil, err
	}
	v, _, err := c.adviceOn(p.Digest)
	if err != nil {
		return nil, err
	}
	x := v.Exchange
	parts := map[string]canon.Digest{"request": x.Request, "sent": x.Sent, "received": x.Received, "answer": x.Answer, "report": x.Report}
	if d := parts[r.PathValue("part")]; d != "" {
		return c.blobs.get(d)
	}
	return nil, refusal.New(codePlan, "of plan %s there is no %q of an adviser", p.Digest.Short(), r.PathValue("part"))
}

// apiRequest gives what an adviser was sent about a plan; where nobody was asked
// yet, what one would be sent now.
func (c *Control) apiRequest(r *http.Request) (any, error) {
	p, err := c.apiPlan(r)
	if err != nil {
		return nil, err
	}
	if v, ok, err := c.adviceOn(p.Digest); err == nil && ok && v.Exchange.Request != "" {
		return c.blobs.get(v.Exchange.Request)
	}
	_, _, request, err := c.requestFor(r.Context(), p)
	return request, err
}

// Figures are what came of the plans that began, apart for those that an adviser
// had answered about before they did.
type Figures struct {
	With    Group `json:"with"`
	Without Group `json:"without"`
	Asked   int   `json:"asked"` // plans about which an adviser was asked
	Held    int   `json:"held"`  // that were held because of it
	First   int   `json:"first"` // that people were to look at now
}

// Group is what came of some plans.
type Group struct {
	Plans    int   `json:"plans"`    // of which a host has acted, or was silent
	Failed   int   `json:"failed"`   // a host failed or was silent: failed / plans is the change-failure rate
	Hosts    int   `json:"hosts"`    // that failed
	Restored int   `json:"restored"` // of them: rolled back, or changed well later
	Restore  int64 `json:"restore"`  // median time from the failure until then, seconds; 0 with none
}

// Figures counts over all plans.
func (c *Control) Figures(ctx context.Context) (f Figures, err error) {
	c.mu.Lock()
	plans, writs := sorted(c.book.plans), map[canon.Digest][]Writ{}
	asked := map[canon.Digest]Advised{}
	for _, p := range plans {
		for _, d := range c.book.ofPlan[p.Digest] {
			writs[p.Digest] = append(writs[p.Digest], c.book.writs[d])
		}
		if a, ok := c.book.advised[p.Digest]; ok {
			asked[p.Digest] = a
		}
	}
	c.mu.Unlock()
	good, err := c.goodOn(ctx, writs)
	if err != nil {
		return f, err
	}
	times := map[*Group][]int64{}
	for _, p := range plans {
		a, ok := asked[p.Digest]
		group := &f.Without
		if ok {
			f.count(a)
			if a.Exchange.Outcome == advice.Answered && a.Effect != EffectLate && a.Effect != EffectShadow {
				group = &f.With
			}
		}
		spans, err := c.tallyOf(ctx, writs[p.Digest], good, group)
		if err != nil {
			return f, err
		}
		times[group] = append(times[group], spans...)
	}
	for group, spans := range times {
		if slices.Sort(spans); len(spans) > 0 {
			group.Restore = spans[(len(spans)-1)/2]
		}
	}
	return f, nil
}

func (f *Figures) count(a Advised) {
	f.Asked++
	if a.Effect == EffectHeld {
		f.Held++
	}
	if a.says().Action == advice.Escalate {
		f.First++
	}
}

// goodOn lists when changes ended well, by host, ascending.
func (c *Control) goodOn(ctx context.Context, writs map[canon.Digest][]Writ) (map[string][]int64, error) {
	out := map[string][]int64{}
	for _, list := range writs {
		for _, w := range list {
			if w.State != Done || len(w.Receipts) == 0 {
				continue
			}
			s, err := c.spanOf(ctx, w.Receipts[len(w.Receipts)-1])
			if err != nil {
				return nil, err
			}
			out[string(w.Host)] = append(out[string(w.Host)], s.ended)
		}
	}
	for _, times := range out {
		slices.Sort(times)
	}
	return out, nil
}

// span is what figures need of a receipt.
type span struct {
	started, ended int64
	back           bool // it tells of a rollback
}

// spans holds those that were read. What has a digest never changes, so that nothing
// here ever grows old.
type spans struct {
	mu sync.Mutex // held for no reading of the store; guards of
	of map[canon.Digest]span
}

func (c *Control) spanOf(ctx context.Context, d canon.Digest) (span, error) {
	c.spans.mu.Lock()
	s, ok := c.spans.of[d]
	c.spans.mu.Unlock()
	if ok {
		return s, nil
	}
	r, err := get[Receipt](ctx, c.Store, kindReceipt, string(d))
	if err != nil {
		return s, err
	}
	s = span{r.Receipt.Started, r.Receipt.Ended, r.Receipt.Outcome == writ.RolledBack}
	c.spans.mu.Lock()
	defer c.spans.mu.Unlock()
	if c.spans.of == nil {
		c.spans.of = map[canon.Digest]span{}
	}
	c.spans.of[d] = s
	return s, nil
}

// tallyOf adds one plan to its group, and gives how long each host that failed
// took until it was well again.
func (c *Control) tallyOf(ctx context.Context, writs []Writ, good map[string][]int64, group *Group) (spans []int64, err error) {
	acted, failed := false, 0
	for _, w := range writs {
		if acted = acted || len(w.Receipts) > 0 || w.State == Lapsed || w.State == Failed; w.State != Failed && w.State != Lapsed {
			continue
		}
		failed++
		since, back := w.Expires, int64(0)
		for i, d := range w.Receipts {
			s, err := c.spanOf(ctx, d)
			if err != nil {
				return nil, err
			}
			if i == 0 {
				since = s.started
			}
			if s.back {
				back = s.ended
			}
		}
		for _, at := range good[string(w.Host)] {
			if back == 0 && at >= since {
				back = at
			}
		}
		if back != 0 {
			group.Restored++
			spans = append(spans, max(0, back-since))
		}
	}
	if acted {
		group.Plans++
	}
	if failed > 0 {
		group.Failed++
		group.Hosts += failed
	}
	return spans, nil
}
