package control

import (
	"context"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// Sources that the facts name.
const (
	fromKEV    = "CISA KEV"
	fromSSVC   = "SSVC of CVE records"
	fromClocks = "BOD 26-04, exposure clocks"
	fromPeople = "patchwrit host triaged"
	fromIndex  = "first met here in the origin's index"
)

// weighed is what a decision about a plan rests on and takes its own time to read.
type weighed struct {
	findings []match.Finding
	know     Knowledge
	open     running
}

// weigh reads it, without the lock. What sources know is asked for by the CVEs of
// this plan: after a start nothing else has asked for them yet.
func (c *Control) weigh(ctx context.Context, p Plan) (w weighed, err error) {
	basis, err := c.basisOf(ctx, p.Digest)
	if err != nil {
		return w, err
	}
	names := map[string]bool{}
	for _, f := range basis.Findings {
		for _, n := range f.Names() {
			names[n] = true
		}
	}
	w.findings, w.know = basis.Findings, c.knowing(ctx, cvesOf(basis.Findings)...)
	w.open, err = c.runningOn(ctx, p.Hosts, names)
	return w, err
}

// factsOf is what the rules are told about a plan beside plan, dossier and
// labels. The caller holds the lock.
func (c *Control) factsOf(ctx context.Context, p Plan, f proposal.File, w weighed, now int64) (policy.Facts, error) {
	var out policy.Facts
	for _, h := range f.Dossier.Hosts {
		facts, err := c.hostFacts(ctx, h, w, now)
		if err != nil {
			return out, err
		}
		facts.Deferred = int64(c.deferred(p))
		out.Hosts = append(out.Hosts, facts)
	}
	for _, x := range c.cooling(f, w.findings, w.know, now) {
		is := policy.No
		if x.Hold.Shortened {
			is = policy.Yes
		}
		out.Artefacts = append(out.Artefacts, policy.ArtefactFacts{Package: x.Package, Arch: x.Arch, To: x.To, Since: x.Since, Cooldown: x.Hold.Until,
			Corroborated: policy.Answer{Is: is, Source: fromIndex}})
	}
	return out, nil
}

// hostFacts is what is known of one host of a plan, over what the plan settles
// there.
func (c *Control) hostFacts(ctx context.Context, h proposal.Host, w weighed, now int64) (policy.HostFacts, error) {
	names, cves := settled(h, w.findings)
	out := policy.HostFacts{ID: h.ID, Data: []string{}, Windows: []policy.Span{}}
	if w.know != nil && len(cves) > 0 {
		k := known(cves, w.know)
		out.KEV, out.Automatable, out.Total = answer(k.KEV, fromKEV), answer(k.Automatable, fromSSVC), answer(k.Total, fromSSVC)
	}
	clocks, err := w.open.of(ctx, c, h.ID, names)
	if err != nil {
		return out, err
	}
	worst, begun := priority.Class{Rank: -1}, int64(0)
	for _, x := range clocks {
		if x.Class.Key == "" {
			continue
		}
		if x.Class.Rank > worst.Rank {
			worst = x.Class
		}
		if x.Due != 0 && (out.Due == 0 || x.Due < out.Due) {
			out.Due = x.Due
		}
		if slices.Contains(x.Class.Steps, priority.HoldForTriage) {
			begun = max(begun, x.Opened)
		}
	}
	if worst.Key == "" {
		if c.Known != nil { // there are sources of deadlines, and they do not say
			out.Deadline.Source = fromClocks
		}
		return out, nil
	}
	out.Deadline = policy.Stated{Is: worst.Key, Source: fromClocks}
	out.MustPatch = policy.Answer{Is: policy.No, Source: fromClocks}
	if out.KEV.Is == policy.Yes || out.Due != 0 && out.Due <= now {
		out.MustPatch.Is = policy.Yes
	}
	switch at := c.book.triaged[h.ID].At; {
	case begun == 0:
		out.Triage = policy.Stated{Is: "none", Source: fromClocks}
	case at >= begun:
		out.Triage = policy.Stated{Is: "done", Source: fromPeople}
	default:
		out.Triage = policy.Stated{Is: "needed", Source: fromClocks}
	}
	return out, nil
}

func answer(a priority.Answer, source string) policy.Answer {
	if a == priority.Unknown {
		return policy.Answer{}
	}
	return policy.Answer{Is: string(a), Source: source}
}

// settled gives every name of what a plan settles on a host, and the CVE ids
// among them.
func settled(h proposal.Host, found []match.Finding) (names map[string]bool, cves []string) {
	names = map[string]bool{}
	for _, cause := range h.Causes {
		for _, a := range cause.Advisories {
			names[a] = true
		}
	}
	for _, f := range found {
		if !slices.ContainsFunc(f.Names(), func(n string) bool { return names[n] }) {
			continue
		}
		for _, n := range f.Names() {
			names[n] = true
		}
		cves = append(cves, f.CVEs()...)
	}
	slices.Sort(cves)
	return names, slices.Compact(cves)
}

// cvesOf are the CVE ids among the names of what is affected.
func cvesOf(found []match.Finding) []string {
	out := []string{}
	for _, f := range found {
		if f.State == match.Affected {
			out = append(out, f.CVEs()...)
		}
	}
	return out
}

// deferred counts the earlier plans of the same work that came to nothing.
func (c *Control) deferred(p Plan) int {
	n := 0
	for _, o := range c.book.plans {
		if o.Cover == p.Cover && o.Digest != p.Digest && o.Created <= p.Created && (o.State == Denied || o.State == Expired || o.State == Stopped) {
			n++
		}
	}
	return n
}

// Triage is a person's word that a host was looked at for a compromise. It lifts
// a hold of the rules and permits nothing.
type Triage struct {
	Host trust.HostID `json:"host"`
	At   int64        `json:"at"` // Unix seconds
	By   canon.Note   `json:"by"` // who says so, as they call themselves
	Note canon.Note   `json:"note"`
}

func (t Triage) doc() store.Doc { return doc(kindTriage, string(t.Host), t) }
func (t Triage) enter(b *book)  { b.triaged[t.Host] = t }

// Triaged notes that a host was looked at. The rules are asked again at once
// about the plans that they hold for it.
func (c *Control) Triaged(ctx context.Context, id trust.HostID, by, note canon.Note) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.book.host(id)
	switch {
	case !ok || c.seenAs(h) != wire.Enrolled:
		return refusal.New(codeHost, "no host %s is enrolled", id.Short())
	case strings.TrimSpace(by.Text()) == "" || strings.TrimSpace(note.Text()) == "":
		return refusal.New(codeMessage, "a triage says who looked, and what they found")
	}
	t := Triage{Host: h.ID, At: c.Now().Unix(), By: by, Note: note}
	body, records := canon.MustEncode(t), []record{t}
	for d := range c.book.open {
		if p := c.book.plans[d]; p.State == Held && slices.Contains(p.Hosts, id) {
			p.Until = t.At
			records = append(records, p)
		}
	}
	c.Kick()
	return c.commit(ctx, "host/"+h.Wire, "triage", body, tlog.NewEntry("triage", canon.Sum("patchwrit/triage/v1", body), t.At), records...)
}
