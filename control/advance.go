package control

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/issue"
)

// muster is how the hosts of a running plan stand.
type muster struct {
	had  map[trust.HostID]bool // a writ was issued
	done map[trust.HostID]bool
	out  map[trust.HostID]string // takes no part any more, and why
}

// advance issues the writs of the wave that may begin, and ends the plan when
// all is done, or when anything is not as it should be.
func (c *Control) advance(ctx context.Context, p Plan) error {
	if g, ok := c.book.grants[p.Grant]; p.Grant != "" && (!ok || g.State != Live) {
		return c.end(ctx, p, Stopped, "its grant is "+g.State)
	}
	if slices.Contains(c.root.Critical.Grants, p.Grant) {
		return c.end(ctx, p, Stopped, "the keepers have ended its grant")
	}
	issued := c.book.issued(p.Digest)
	if why := c.bad(issued); why != "" {
		if err := c.suspend(ctx, p.Grant, why); err != nil {
			return err
		}
		return c.end(ctx, p, Stopped, why)
	}
	if replaced, err := c.replace(ctx, p, issued); err != nil || replaced {
		return err
	}
	f, err := c.file(p)
	if err != nil {
		return err
	}
	s := c.muster(p, issued)
	if len(s.done) > 0 && len(s.done)+len(s.out) == len(p.Hosts) {
		return c.end(ctx, p, Finished, fmt.Sprintf("%d hosts are done", len(s.done)))
	}
	if len(s.out) == len(p.Hosts) {
		return c.end(ctx, p, Stopped, "none of its hosts is left")
	}
	wave, err := s.wave(f.Header, p)
	if err != nil {
		return c.end(ctx, p, Stopped, err.Error())
	}
	return c.issueTo(ctx, p, f, s, wave)
}

func (c *Control) muster(p Plan, issued []Writ) muster {
	s := muster{had: map[trust.HostID]bool{}, done: map[trust.HostID]bool{}, out: map[trust.HostID]string{}}
	for _, w := range issued {
		s.had[w.Host] = true
		if w.State == Done {
			s.done[w.Host] = true
		}
	}
	for _, h := range p.Hosts {
		if why := c.hostIs(h); why != "" && !s.done[h] {
			s.out[h] = why
		}
	}
	return s
}

// wave is the last one that may begin: every wave before it has as many good
// receipts as the plan wants, and all but a tenth of its hosts. Writs carry as
// many as the plan wants; to wait for more is the control plane's own care.
func (s muster) wave(h plan.Header, p Plan) (int, error) {
	good, left := make([]int, len(h.Waves)), make([]int, len(h.Waves))
	for i, id := range p.Hosts {
		if s.done[id] {
			good[p.Waves[i]]++
		}
		if s.out[id] == "" {
			left[p.Waves[i]]++
		}
	}
	last := len(h.Waves) - 1
	for i := range last {
		if left[i] < h.Waves[i].Good {
			return 0, fmt.Errorf("wave %d: %w: %d of the %d good receipts that the next wave must show can come", i, errTooFew, left[i], h.Waves[i].Good)
		}
		if n := h.Waves[i].Hosts; good[i] < min(left[i], max(h.Waves[i].Good, n-n/10)) {
			return i, nil
		}
	}
	return last, nil
}

// bad says why a plan must stop, or "": a host failed, or was silent until its
// writ ended.
func (c *Control) bad(issued []Writ) string {
	now := c.Now().Unix()
	for _, w := range issued {
		switch {
		case w.State == Failed:
			return fmt.Sprintf("host %s failed: %s", w.Host.Short(), w.Why.Text())
		case w.State == Ready && w.Expires <= now && !w.passing() && c.hostIs(w.Host) == "":
			return fmt.Sprintf("host %s was silent until its writ ended", w.Host.Short())
		}
	}
	return ""
}

// passing reports whether the host's last word about a writ was a reason that
// passes: it is there, and would have begun.
func (w Writ) passing() bool { return slices.Contains(passing, w.Code) }

// replace takes back writs that ended while their hosts waited for something
// that passes, a halt for instance: another is issued.
func (c *Control) replace(ctx context.Context, p Plan, issued []Writ) (bool, error) {
	var records []record
	for _, w := range issued {
		if w.Expires > c.Now().Unix() || w.State != Ready && w.State != Drafted {
			continue
		}
		if w.State == Drafted {
			records = append(records, draft{Digest: w.Digest, Gone: true})
		}
		w.State = Replaced
		records = append(records, w)
	}
	for part := range slices.Chunk(records, maxTogether) {
		if err := c.note(ctx, "plan/"+string(p.Digest), "replaced", map[string]int{"documents": len(part)}, part...); err != nil {
			return false, err
		}
	}
	if len(records) > 0 {
		c.Kick()
	}
	return len(records) > 0, nil
}

// issueChunk is how many writs are drafted before others get a turn.
const issueChunk = 200

// issueTo drafts the writs of the hosts whose turn it is: committed now, logged
// next, handed out then.
func (c *Control) issueTo(ctx context.Context, p Plan, f opened, s muster, wave int) error {
	now := c.Now().Unix()
	var hosts []int
	for i, h := range p.Hosts {
		if p.Waves[i] <= wave && !s.had[h] && s.out[h] == "" && f.Header.Waves[p.Waves[i]].NotBefore <= now {
			hosts = append(hosts, i)
		}
	}
	if len(hosts) == 0 {
		return nil
	}
	b, ready, err := c.basis(ctx, p, f)
	if err != nil || !ready {
		return err
	}
	b.order.Issued, b.order.Expires = now, min(now+int64(c.Terms.Writ/time.Second), p.Expires)
	var records []record
	var events []store.Event
	for _, i := range hosts {
		if len(events) == issueChunk {
			c.Kick() // the rest in the next round
			break
		}
		w, ok, err := c.draft(ctx, p, f, b, i)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		d := w.Body.Digest()
		events = append(events, store.Event{Kind: "writ", At: now, Body: canon.MustEncode(w.Body), Entry: w.Body.Entry()})
		records = append(records, draft{Digest: d, Writ: w},
			Writ{Digest: d, Host: w.Body.Host, Plan: p.Digest, Wave: p.Waves[i], State: Drafted, Issued: now, Expires: w.Body.Expires, Receipts: []canon.Digest{}})
	}
	return c.put(ctx, "plan/"+string(p.Digest), events, records...)
}

// basis is what all writs of a plan share.
type basis struct {
	order   issue.Order
	grant   Grant // when the plan runs under one
	stood   int64 // when the plan was witnessed
	earlier map[int][]writ.Earlier
}

// basis gathers it. ready is false while something it rests on is not in the
// log yet.
func (c *Control) basis(ctx context.Context, p Plan, f opened) (b *basis, ready bool, err error) {
	b = &basis{order: issue.Order{Approvals: noAnswers(), Grants: []writ.Granted{}, Verdict: p.Verdict[0].Digest(), Trust: c.root.Versions}, earlier: map[int][]writ.Earlier{}}
	if p.Grant == "" {
		if b.order.Approvals, err = c.yes(p, f.File); err != nil {
			return nil, false, err
		}
		ready, err = c.settled(ctx, p, b.order.Approvals)
		return b, ready, err
	}
	b.grant = c.book.grants[p.Grant]
	proof, ok, err := c.proofOf(ctx, p.Digest)
	if err != nil || !ok {
		return nil, false, err
	}
	if b.stood, err = c.stood(f, proof); err != nil {
		return nil, false, err
	}
	b.order.Approvals, b.order.Grants = b.grant.Approvals, []writ.Granted{{Grant: b.grant.Grant, Proof: proof}}
	ready, err = c.settled(ctx, p, nil)
	return b, ready, err
}

// stood is the witnesses' time of a plan's proof.
func (c *Control) stood(f opened, proof tlog.Proof) (int64, error) {
	policy, err := tlog.ParsePolicy(c.root.Witnesses)
	if err != nil {
		return 0, err
	}
	seen, err := policy.Verify(writ.PlanEntry(f.Header), proof)
	return seen.Time, err
}

// draft drafts one host's writ. ok is false while a soak or slot of the grant
// is not over, or a receipt of an earlier wave is not logged.
func (c *Control) draft(ctx context.Context, p Plan, f opened, b *basis, i int) (w writ.Writ, ok bool, err error) {
	o, wave := b.order, p.Waves[i]
	o.Host = p.Hosts[i]
	if p.Grant != "" {
		known, _ := c.root.Host(o.Host)
		if begins, err := b.grant.Grant.NotBefore(known, b.stood); err != nil || begins > o.Issued {
			return w, false, err
		}
	}
	if _, have := b.earlier[wave]; !have {
		if b.earlier[wave], ok, err = c.earlier(ctx, p, f, wave); err != nil || !ok {
			delete(b.earlier, wave)
			return w, false, err
		}
	}
	o.Earlier = b.earlier[wave]
	if o.Nonce, err = c.nonce(); err != nil {
		return w, false, err
	}
	w, err = f.issue.Draft(o)
	return w, true, err
}

// earlier gathers as many good receipts of each wave before one as the plan
// wants; ok is false while one of them is not in the log.
func (c *Control) earlier(ctx context.Context, p Plan, f opened, wave int) (out []writ.Earlier, ok bool, err error) {
	out = []writ.Earlier{}
	want := make([]int, wave)
	for i := range want {
		want[i] = f.Header.Waves[i].Good
	}
	for _, w := range c.book.issued(p.Digest) {
		if w.State != Done || w.Wave >= wave || want[w.Wave] == 0 {
			continue
		}
		d := w.Receipts[len(w.Receipts)-1]
		if _, logged, err := c.proofOf(ctx, d); err != nil {
			return nil, false, err
		} else if !logged {
			continue
		}
		r, err := get[Receipt](ctx, c.Store, kindReceipt, string(d))
		if err != nil {
			return nil, false, err
		}
		e := writ.Earlier{Receipt: r.Receipt}
		if e.Branch, e.Index, e.Path, err = f.issue.Branch(w.Host); err != nil {
			return nil, false, err
		}
		want[w.Wave]--
		out = append(out, e)
	}
	return out, !slices.ContainsFunc(want, func(n int) bool { return n > 0 }), nil
}

// complete fills the drafts of a plan whose entries are in the log, and wakes
// their hosts. Files are written without the lock.
func (c *Control) complete(ctx context.Context, plan canon.Digest) error {
	c.mu.Lock()
	var drafts []writ.Writ
	if c.book.plans[plan].State == Running {
		for _, w := range c.book.issued(plan) {
			if w.State == Drafted {
				drafts = append(drafts, c.book.drafts[w.Digest])
			}
		}
	}
	c.mu.Unlock()
	files, err := c.sealed(ctx, drafts)
	if err != nil || len(files) == 0 {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.book.plans[plan].State != Running {
		return nil // withdrawn meanwhile
	}
	var records []record
	var hosts []trust.HostID
	for d, file := range files {
		w := c.book.writs[d]
		if w.State != Drafted {
			continue
		}
		w.State, w.File = Ready, file
		records, hosts = append(records, w, draft{Digest: d, Gone: true}), append(hosts, w.Host)
	}
	for part := range slices.Chunk(records, maxTogether) {
		if err := c.note(ctx, "plan/"+string(plan), "ready", map[string]int{"documents": len(part)}, part...); err != nil {
			return err
		}
	}
	for _, h := range hosts {
		if known, ok := c.book.host(h); ok {
			c.Wake(known.Wire)
		}
	}
	return nil
}

// writers is how many files are written at once: they share the disk's syncs.
const writers = 16

// sealed writes the files of the drafts whose proofs are there.
func (c *Control) sealed(ctx context.Context, drafts []writ.Writ) (map[canon.Digest]canon.Digest, error) {
	var mu sync.Mutex
	var failed error
	files, work := map[canon.Digest]canon.Digest{}, make(chan writ.Writ)
	var writing sync.WaitGroup
	for range min(writers, len(drafts)) {
		writing.Go(func() {
			for w := range work {
				d := w.Body.Digest()
				file, ok, err := c.seal(ctx, w)
				mu.Lock()
				if err != nil {
					failed = err
				} else if ok {
					files[d] = file
				}
				mu.Unlock()
			}
		})
	}
	for _, w := range drafts {
		work <- w
	}
	close(work)
	writing.Wait()
	return files, failed
}

func (c *Control) seal(ctx context.Context, w writ.Writ) (file canon.Digest, ok bool, err error) {
	proof, ok, err := c.proofOf(ctx, w.Body.Digest())
	if err != nil || !ok {
		return "", false, err
	}
	w.Proof = proof
	raw, err := canon.Encode(w)
	if err != nil {
		return "", false, refusal.New(codePlan, "the writ for host %s cannot be written: %v", w.Body.Host.Short(), err)
	}
	file, err = c.blobs.put(raw)
	return file, err == nil, err
}
