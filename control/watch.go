package control

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/trust"
)

// observed is one case of a model, as it is kept for the watch.
type observed struct {
	Case    conduct.Case `json:"case"`
	Nth     int          `json:"nth"`     // of all cases; clocks go back
	Watch   int          `json:"watch"`   // Model.Watch then
	Foreign bool         `json:"foreign"` // of a kind that the model was not watched on: nothing of it counted, and it says nothing of its conduct
}

func (o observed) doc() store.Doc { return doc(kindCase, string(o.Case.Plan), o) }

// enter keeps a case in one place, to which both the plans and the model's track
// lead. A case that is there only learns how its plan ended.
func (o observed) enter(b *book) {
	b.moves++
	if b.observed == nil {
		b.observed, b.tracks = map[canon.Digest]*observed{}, map[tracked]*track{}
	}
	b.cases = max(b.cases, o.Nth)
	if had := b.observed[o.Case.Plan]; had != nil {
		*had = o
		return
	}
	b.observed[o.Case.Plan] = &o
	if o.Case.Outcome == advice.Failed || o.Case.Outcome == advice.Off {
		return
	}
	of := tracked{o.Case.Model, o.Watch}
	if b.tracks[of] == nil {
		b.tracks[of] = &track{}
	}
	b.tracks[of].add(&o)
}

// tracked is one watch of one model.
type tracked struct {
	model canon.Digest
	watch int
}

// track is the cases of one watch that say something of the model, and those of a
// kind that it was not watched on. Each list is ascending by Nth when it is read.
type track struct {
	cases, foreign []*observed
	mixed          bool // the store gave them in another order
}

func (t *track) add(o *observed) {
	list := &t.cases
	if o.Foreign {
		list = &t.foreign
	}
	t.mixed = t.mixed || len(*list) > 0 && o.Nth < (*list)[len(*list)-1].Nth
	*list = append(*list, o)
}

func (t *track) sort() {
	if t.mixed {
		byNth := func(a, b *observed) int { return cmp.Compare(a.Nth, b.Nth) }
		slices.SortFunc(t.cases, byNth)
		slices.SortFunc(t.foreign, byNth)
		t.mixed = false
	}
}

// said is how much of what was said about a plan may count. What was asked before
// there was a registry of models counted whole. A hold that began goes on to its end;
// none begins by what a model said before it lost its say.
func (c *Control) said(plan canon.Digest) conduct.Say {
	o, ok := c.book.observed[plan]
	if !ok {
		return conduct.Hold
	}
	now := c.book.models[o.Case.Model].Say
	if c.book.advised[plan].Until == 0 && slices.Index(conduct.Says, now) < slices.Index(conduct.Says, o.Case.Say) {
		return now
	}
	return o.Case.Say
}

// caseOf makes a case of what came of asking, and says what of the proposal
// counts, and why not all. The caller holds the lock.
func (c *Control) caseOf(p Plan, f proposal.File, j Judged) (observed, advice.Accepted, canon.Note) {
	x := j.Exchange
	m := c.book.models[x.Model]
	o := observed{Nth: c.book.cases + 1, Watch: m.Watch, Case: conduct.Case{Exchange: x.Entry().Subject, Plan: x.Plan, Model: x.Model, At: x.At, Say: conduct.Shadow, Outcome: x.Outcome,
		Abstained: x.Abstained, Claims: x.Claims, Action: x.Proposal.Action, Rules: string(p.Verdict[0].Outcome), Order: []string{}, Items: itemsOf(f, j), Made: p.Created}}
	for _, u := range p.Urgency {
		o.Case.Class = u.Class
	}
	if x.Outcome == advice.Failed && x.Answer != "" { // it answered, and that is no answer: a silence of the model, not of its provider
		o.Case.Outcome = advice.Truncated
	}
	for _, key := range x.Proposal.Order {
		name, _, _ := strings.Cut(key, ":")
		o.Case.Order = append(o.Case.Order, name)
	}
	if c.Model == nil || x.Model != c.Model.Model || m.Digest == "" {
		return o, conduct.Shadow.Of(x.Proposal), "it is not the model that stands in the ledger as the one that is asked: nothing of it counts"
	}
	if o.Case.Say = m.Say; m.Say == conduct.Shadow {
		return o, m.Say.Of(x.Proposal), "the model is in shadow: nothing of it counts"
	}
	l := c.limits()
	base, _, foreign := c.watched(m, l, 0)
	if known, why := conduct.Known(append(base, foreign...), o.Case, l); !known {
		o.Case.Say, o.Foreign = conduct.Shadow, true
		return o, conduct.Shadow.Of(x.Proposal), why
	}
	return o, m.Say.Of(x.Proposal), ""
}

// itemsOf is what a plan changes, by release and package, with the claims about it.
// A claim counts once: under the release that it names, or the first that has the
// package.
func itemsOf(f proposal.File, j Judged) []conduct.Item {
	items, told, vendor := []conduct.Item{}, dossierReleases(j.Dossier), ""
	find := func(os, name string) int {
		return slices.IndexFunc(items, func(i conduct.Item) bool { return i.Component == name && (os == "" || i.OS == os) })
	}
	for _, b := range f.Branches {
		for _, ch := range b.Changes {
			vendor = string(ch.Origin)
			os := cmp.Or(j.Releases[b.Host], told[ch.Package], told[""])
			if !slices.ContainsFunc(items, func(i conduct.Item) bool { return i.Component == ch.Package && i.OS == os }) {
				items = append(items, conduct.Item{OS: os, Vendor: vendor, Component: ch.Package})
			}
		}
	}
	byRelease := func(a, b conduct.Item) int {
		return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.OS, b.OS))
	}
	slices.SortFunc(items, byRelease)
	first := cmp.Or(slices.Sorted(maps.Values(j.Releases))...)
	for i, claim := range j.Claims {
		name, os := packaged(claim.Package)
		if name == "" {
			continue
		}
		at := find(os, name)
		if at < 0 {
			at = find("", name)
		}
		if at < 0 { // a source package, or what the model made up
			if !slices.Contains(slices.Collect(maps.Values(j.Releases)), os) {
				os = cmp.Or(first, told[name], told[""])
			}
			items, at = append(items, conduct.Item{OS: os, Vendor: vendor, Component: name}), len(items)
		}
		items[at].Claims = counted(items[at].Claims, j.Report.Claims[i].Verdict)
	}
	slices.SortStableFunc(items, byRelease)
	for i := range items {
		items[i].Claims = append([]advice.Counted{}, items[i].Claims...)
	}
	return items
}

// dossierReleases are the releases that a dossier names, one for each package and one
// for all: where that of a host is not known.
func dossierReleases(d advice.Dossier) map[string]string {
	out := map[string]string{}
	for _, e := range d.Evidence {
		for _, fact := range e.Facts {
			if name, os := packaged(fact.Package); os != "" {
				out[name], out[""] = os, os
			}
		}
	}
	return out
}

// releases are those of a plan's hosts, spelled as in dossiers. A dossier itself names
// those of which its advisories speak, and these may be more. Hosts whose release
// cannot be read are left out.
func (c *Control) releases(f proposal.File) map[trust.HostID]string {
	out, read := map[trust.HostID]string{}, map[canon.Digest]string{}
	for _, h := range f.Dossier.Hosts {
		if _, done := read[h.Inventory]; !done {
			raw, err := os.ReadFile(filepath.Join(c.rootOf(h.Inventory), "etc", "os-release"))
			if err != nil {
				raw = nil // its inventory is gone since: a newer one may be of another release
			}
			read[h.Inventory] = releaseOf(string(raw))
		}
		if name := read[h.Inventory]; name != "" {
			out[h.ID] = name
		}
	}
	return out
}

func releaseOf(osRelease string) string {
	o, err := inventory.ParseOSRelease(osRelease)
	if err != nil {
		return ""
	}
	ecosystem, _ := match.Ecosystem(o)
	purl, _, _ := advice.Purl(ecosystem, "any", "")
	_, name := packaged(purl)
	return name
}

// packaged is the name of what a claim or fact names: name:arch, or a purl, whose
// release comes with it.
func packaged(s string) (name, os string) {
	purl, rest, _ := strings.Cut(s, "?")
	if !strings.HasPrefix(purl, "pkg:") {
		name, _, _ = strings.Cut(s, ":")
		return name, ""
	}
	for _, q := range strings.Split(rest, "&") {
		if v, is := strings.CutPrefix(q, "distro="); is {
			os = v
		}
	}
	return purl[strings.LastIndex(purl, "/")+1:], os
}

func counted(list []advice.Counted, v advice.Verdict) []advice.Counted {
	for i := range list {
		if list[i].Verdict == v {
			list[i].Claims++
			return list
		}
	}
	return append(list, advice.Counted{Verdict: v, Claims: 1})
}

// watched are the cases of the present watch of a model that say something of it:
// those of its first time in shadow, and the newest of the others since its last step
// back, at most so many. What a provider or a sandbox did not deliver is not among
// them. Foreign are those of a kind that it was not watched on: with enough of them
// the kind is known. What it costs does not grow with what is left out: it is called
// at each event. The caller holds the lock.
func (c *Control) watched(m Model, l conduct.Limits, newest int) (base, recent, foreign []conduct.Case) {
	t := c.book.tracks[tracked{m.Digest, m.Watch}]
	if t == nil {
		return nil, nil, nil
	}
	t.sort()
	for _, o := range t.foreign {
		foreign = append(foreign, o.Case)
	}
	for len(base) < min(len(t.cases), l.Base) && t.cases[len(base)].Case.Say == conduct.Shadow {
		base = append(base, t.cases[len(base)].Case)
	}
	anew, _ := slices.BinarySearchFunc(t.cases, m.Anew+1, func(o *observed, nth int) int { return cmp.Compare(o.Nth, nth) })
	rest := t.cases[max(len(base), anew):]
	rest = rest[max(0, len(rest)-newest):]
	recent = make([]conduct.Case, 0, len(rest))
	for _, o := range rest {
		recent = append(recent, c.answered(o.Case))
	}
	return base, recent, foreign
}

// answered adds what people answered where the model alone had brought the plan before
// them: no, or the yes of enough of them. A plan that went on under its grant, ended,
// or waits for more of them, has no answer; nor has the model where the rules came to
// want people too: then they answered the rules.
func (c *Control) answered(k conduct.Case) conduct.Case {
	a, p := c.book.advised[k.Plan], c.book.plans[k.Plan]
	switch {
	case a.Effect != EffectHeld || !a.alone(p) || len(p.Answers) == 0:
	case p.State == Denied && slices.ContainsFunc(p.Answers, func(x approval.Approval) bool { return x.Kind == approval.Deny }):
		k.People = conduct.No
	case p.Grant == "" && (p.State == Running || p.State == Finished || p.State == Stopped):
		k.People = conduct.Yes
	}
	return k
}

// watch takes a step back from the model that is asked when it is no more what it
// was, and says so until people look.
func (c *Control) watch(ctx context.Context) error {
	if c.Model == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.book.models[c.Model.Model]
	if !ok {
		return nil
	}
	if m.Say == conduct.Shadow {
		return demoted(m)
	}
	l := c.limits()
	base, recent, _ := c.watched(m, l, l.Window)
	seen := glance{c.book.moves, l}
	if seen == c.glance { // nothing has happened since
		return cmp.Or(demoted(m), unwatched(m, base, l))
	}
	if d, fall := conduct.Demoted(m.Digest, m.Say, conduct.Watch(base, recent, l), recent, l, c.Now().Unix()); fall {
		if err := c.demote(ctx, m, d); err != nil {
			return err
		}
		m = c.book.models[m.Digest]
	}
	c.glance = seen
	return cmp.Or(demoted(m), unwatched(m, base, l))
}

// unwatched tells people of a model that they gave a say without a trial.
func unwatched(m Model, base []conduct.Case, l conduct.Limits) error {
	if why := conduct.Unwatched(base, m.Say, l); why != "" {
		return fmt.Errorf("model %s is hardly watched: %s", m.Digest.Short(), why.Text())
	}
	return nil
}

// glance is what the watch has looked at.
type glance struct {
	moves  int
	limits conduct.Limits
}

// demoted tells people of a step back until they have promoted the model again.
func demoted(m Model) error {
	if m.By == conduct.ByWatch {
		return fmt.Errorf("model %s was demoted to %s at %s: %s People look (patchwrit model show) and promote it again, or another is asked", m.Digest.Short(), m.Say, stamp(m.Since), m.Why.Text())
	}
	return nil
}
