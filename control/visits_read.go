package control

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/visit"
	"github.com/patchwrit/patchwrit/wire"
)

// cut takes the first n of a list, and says whether that were not all.
func cut[T any](list []T, n int) ([]T, bool) {
	return append([]T{}, list[:min(len(list), n)]...), len(list) > n
}

// enrolled finds a host by its whole fingerprint.
func (c *Control) enrolled(id trust.HostID) (Host, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.book.host(id)
	if !ok {
		return h, refusal.New(visit.CodeQuestion, "no host %q is here; host_ls gives their fingerprints", canon.NoteOf(string(id)))
	}
	return h, nil
}

func (c *Control) visitHosts(_ context.Context, q visit.Page) (visit.Hosts, error) {
	n, err := few(q.Limit)
	if err != nil {
		return visit.Hosts{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []visit.Host{}
	for _, h := range c.book.hosts {
		if h.State == wire.Gone || string(h.ID) <= q.After {
			continue
		}
		known, _ := c.root.Host(h.ID)
		all = append(all, visit.Host{ID: h.ID, Name: visit.Said(h.Name.Text()), State: string(c.seenAs(h)), Domain: known.Domain,
			Role: labelOf(known, roleLabel), Exposure: labelOf(known, exposureLabel), Seen: h.Seen})
	}
	slices.SortFunc(all, func(a, b visit.Host) int { return cmp.Compare(a.ID, b.ID) })
	out := visit.Hosts{}
	out.Hosts, out.More = cut(all, n)
	return out, nil
}

func labelOf(h trust.Host, key string) string {
	for _, l := range h.Labels {
		if l.Key == key {
			return l.Value
		}
	}
	return ""
}

func (c *Control) visitHostFindings(ctx context.Context, q visit.HostPage) (visit.HostFindings, error) {
	out := visit.HostFindings{Host: q.Host, Findings: []visit.Clock{}}
	n, err := few(q.Limit)
	if err != nil {
		return out, err
	}
	h, err := c.enrolled(q.Host)
	if err != nil {
		return out, err
	}
	all, err := c.exposuresOf(ctx, h)
	if err != nil {
		return out, err
	}
	all, out.More = cut(all, n)
	for _, x := range all {
		out.Findings = append(out.Findings, visit.Clock{Name: x.ID, Names: x.Names, First: x.First, Closed: x.Closed, Class: x.Class.Key, Due: x.Due, Spent: x.Spent, Overdue: x.Overdue, Waits: visit.Said(x.Waits.Text())})
	}
	return out, nil
}

// notYet is a refusal while the fleet index is not there.
func notYet(err error) error {
	if errors.Is(err, errNotRead) {
		return refusal.New(visit.CodeQuestion, "%v", err)
	}
	return err
}

func (c *Control) visitFindings(_ context.Context, q visit.Limit) (visit.Findings, error) {
	out := visit.Findings{Findings: []visit.Count{}}
	n, err := few(q.Limit)
	if err != nil {
		return out, err
	}
	all, err := c.Counts(n + 1)
	if err != nil {
		return out, notYet(err)
	}
	all, out.More = cut(all, n)
	for _, x := range all {
		out.Findings = append(out.Findings, visit.Count{Name: x.Name, Affected: x.Affected, Unknown: x.Unknown, Investigated: x.Investigated})
	}
	return out, nil
}

// maxFindingName bounds the name of a vulnerability that is asked for.
const maxFindingName = 256

func (c *Control) visitConcerned(_ context.Context, q visit.Named) (visit.Concerned, error) {
	if q.Finding == "" || len(q.Finding) > maxFindingName {
		return visit.Concerned{}, refusal.New(visit.CodeQuestion, "finding: a CVE or advisory id")
	}
	a, err := c.About(q.Finding)
	if err != nil {
		return visit.Concerned{}, notYet(err)
	}
	out := visit.Concerned{Finding: string(canon.NoteOf(q.Finding)), Gaps: visit.SaidAll(a.Gaps, visit.MaxList), Hosts: a.Hosts, Read: a.Read,
		Counts: visit.Count{Name: string(canon.NoteOf(q.Finding)), Affected: len(a.Affected), Unknown: len(a.Unknown), Investigated: len(a.Investigated)}}
	out.Records, _ = cut(a.Records, visit.MaxList)
	out.Affected, _ = cut(a.Affected, visit.MaxList)
	out.Unknown, _ = cut(a.Unknown, visit.MaxList)
	out.Investigated, _ = cut(a.Investigated, visit.MaxList)
	return out, nil
}

// visitExplain asks the matcher about one host, with the records of that name only.
// Where no record has it, what is missing is said as it is of all.
func (c *Control) visitExplain(ctx context.Context, q visit.NamedOn) (visit.Explained, error) {
	out := visit.Explained{Host: q.Host, Findings: []visit.Finding{}}
	if q.Finding == "" || len(q.Finding) > maxFindingName || len(q.Package) > maxFindingName {
		return out, refusal.New(visit.CodeQuestion, "finding: a CVE or advisory id")
	}
	h, err := c.enrolled(q.Host)
	if err != nil {
		return out, err
	}
	if h.Inventory == "" {
		return out, refusal.New(visit.CodeQuestion, "host %s has not told what it has", q.Host.Short())
	}
	inv, err := inventory.Read(os.DirFS(c.rootOf(h.Inventory)))
	if err != nil {
		return out, err
	}
	sets, err := c.advisories(ctx, c.Now())
	if err != nil {
		return out, err
	}
	all, more := cut(match.Explain(inv, match.NewIndex(naming(sets, q.Finding)...), match.Query{Advisory: q.Finding, Package: q.Package}), visit.MaxList)
	out.More = more
	for _, f := range all {
		out.Findings = append(out.Findings, findingOf(f))
	}
	return out, ctx.Err()
}

// naming are the sets with the records alone that go by a name.
func naming(sets []advisory.Set, name string) []advisory.Set {
	out := slices.Clone(sets)
	for i, s := range out {
		out[i].Advisories = nil
		for _, a := range s.Advisories {
			if slices.ContainsFunc(a.Names(), func(n string) bool {
				return n == name || advisory.CVEOf(n) == name
			}) {
				out[i].Advisories = append(out[i].Advisories, a)
			}
		}
	}
	return out
}

func findingOf(f match.Finding) visit.Finding {
	out := visit.Finding{Advisory: f.Advisory, Package: f.Package, Arch: f.Arch, Version: f.Version, Compared: f.SourceVersion, Fixed: f.Fixed,
		State: string(f.State), Code: string(f.Reason.Code), Text: visit.Said(f.Reason.Text), Sources: []visit.Source{}}
	for _, s := range f.Sources {
		out.Sources = append(out.Sources, visit.Source{Advisory: s.Advisory, Source: s.Source, Feed: s.Feed, Authority: string(s.Authority), State: string(s.State), Fixed: s.Fixed, Record: s.Raw})
	}
	return out
}

func planOf(p Plan) visit.Plan {
	packages, _ := cut(p.Packages, visit.MaxList)
	return visit.Plan{Plan: p.Digest, State: string(p.State), Class: p.Class, Hosts: len(p.Hosts), Packages: packages, Created: p.Created, Expires: p.Expires,
		Until: p.Until, Due: p.work().Due, Why: visit.Said(withoutPeople(p.Why.Text()))}
}

func (c *Control) visitPlans(_ context.Context, q visit.PlanList) (visit.Plans, error) {
	out := visit.Plans{Plans: []visit.Plan{}}
	n, err := few(q.Limit)
	if err != nil {
		return out, err
	}
	all := slices.DeleteFunc(listed(c, c.book.plans), func(p Plan) bool { return q.State != "" && string(p.State) != q.State })
	slices.SortStableFunc(all, func(a, b Plan) int { return cmp.Compare(b.Created, a.Created) })
	all, out.More = cut(all, n)
	for _, p := range all {
		out.Plans = append(out.Plans, planOf(p))
	}
	return out, nil
}

// planFile finds a plan and its file.
func (c *Control) planFile(id canon.Digest) (Plan, opened, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.book.plans[id]
	if !ok {
		return p, opened{}, refusal.New(visit.CodeQuestion, "no plan %q; plan_ls gives their digests", canon.NoteOf(string(id)))
	}
	f, err := c.file(p)
	return p, f, err
}

func (c *Control) visitPlan(_ context.Context, q visit.PlanID) (visit.PlanShown, error) {
	p, f, err := c.planFile(q.Plan)
	if err != nil {
		return visit.PlanShown{}, err
	}
	out := visit.PlanShown{Plan: planOf(p), Author: f.Header.Author, Changes: []visit.Change{}, Verdict: []visit.Verdict{}, Grant: p.Grant, Writs: []visit.State{}}
	at := map[visit.Change]int{}
	for _, b := range f.Branches {
		for _, ch := range b.Changes {
			at[visit.Change{Op: string(ch.Op), Package: ch.Package, Arch: ch.Arch, From: ch.From, To: ch.To, Class: ch.Class, Origin: string(ch.Origin), Artefact: ch.Artefact}]++
		}
	}
	for ch, n := range at {
		ch.Hosts = n
		out.Changes = append(out.Changes, ch)
	}
	slices.SortFunc(out.Changes, func(a, b visit.Change) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Artefact, b.Artefact))
	})
	var more bool
	out.Changes, out.More = cut(out.Changes, visit.MaxList)
	out.Hosts, more = cut(p.Hosts, visit.MaxList)
	out.More = out.More || more
	for _, v := range p.Verdict {
		w := visit.Verdict{Outcome: string(v.Outcome), Class: v.Class, At: v.At, Until: v.Until, Rules: v.Bundle, Reasons: []visit.Reason{}}
		for _, r := range v.Reasons {
			w.Reasons = append(w.Reasons, visit.Reason{Rule: r.Rule, Outcome: string(r.Outcome), Text: visit.Said(r.Text.Text())})
		}
		out.Verdict = append(out.Verdict, w)
	}
	out.Writs = c.writsBy(p.Digest)
	return out, nil
}

// writsBy counts a plan's writs by state.
func (c *Control) writsBy(plan canon.Digest) []visit.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := map[string]int{}
	for _, w := range c.book.issued(plan) {
		n[w.State]++
	}
	out := []visit.State{}
	for _, s := range slices.Sorted(maps.Keys(n)) {
		out = append(out, visit.State{State: s, N: n[s]})
	}
	return out
}

func (c *Control) visitReviews(ctx context.Context, q visit.Limit) (visit.Reviews, error) {
	out := visit.Reviews{Reviews: []visit.Review{}}
	n, err := few(q.Limit)
	if err != nil {
		return out, err
	}
	all, err := c.Reviews(ctx)
	if err != nil {
		return out, err
	}
	all, out.More = cut(all, n)
	for _, w := range all {
		packages, _ := cut(w.Packages, visit.MaxList)
		out.Reviews = append(out.Reviews, visit.Review{Plan: w.Plan, Class: w.Class, Hosts: w.Hosts, Packages: packages, Asked: w.Asked, Until: w.Until, Due: w.Due, Said: len(w.Said), Why: visit.Said(w.Why.Text())})
	}
	return out, nil
}

// visitWhy says why, without what may hold addresses or names of people: errors of
// planning, words of witnesses and of helpers, and who could unblock it.
func (c *Control) visitWhy(ctx context.Context, q visit.HostPackage) (visit.Whys, error) {
	out := visit.Whys{Host: q.Host, Reasons: []visit.Why{}}
	if len(q.Package) > maxFindingName {
		return out, refusal.New(visit.CodeQuestion, "package: the name of one")
	}
	if _, err := c.enrolled(q.Host); err != nil {
		return out, err
	}
	all, err := c.Why(ctx, q.Host, q.Package)
	if err != nil {
		return out, err
	}
	for _, r := range all {
		packages, _ := cut(r.Packages, visit.MaxList)
		w := visit.Why{Plan: r.Plan, Packages: packages, State: r.State, Code: r.Code, Title: r.Title, Do: r.Do, Next: r.Next, Due: r.Due, Overdue: r.Overdue}
		switch {
		case r.Plan == "" && r.State != "quiet", r.State == string(Proposed):
			w.Text = visit.Said("operators see why (patchwrit why)")
		default:
			w.Text = visit.Said(withoutPeople(r.Text))
		}
		out.Reasons = append(out.Reasons, w)
	}
	return out, nil
}

// withoutPeople cuts off what a review still lacks, and who said no: it may name
// people.
func withoutPeople(text string) string {
	if strings.HasSuffix(text, saidNo) {
		return "a person" + saidNo
	}
	text, _, _ = strings.Cut(text, ". Missing: ")
	return text
}

// shown is a dossier that a visitor was given.
type shown struct {
	Digest canon.Digest `json:"digest"`
	File   canon.Digest `json:"file"` // blob: the dossier's bytes
	Plan   canon.Digest `json:"plan"`
	At     int64        `json:"at"`
}

func (s shown) doc() store.Doc { return doc(kindShown, string(s.Digest), s) }

func (shown) enter(*book) {}

func (c *Control) visitDossier(ctx context.Context, q visit.PlanID) (visit.Dossier, error) {
	_, f, err := c.planFile(q.Plan)
	if err != nil {
		return visit.Dossier{}, err
	}
	d, err := c.dossierOf(ctx, f.File)
	if errors.Is(err, advice.ErrForm) {
		return visit.Dossier{}, refusal.New(visit.CodeSize, "%v", err)
	}
	if err != nil {
		return visit.Dossier{}, err
	}
	out := visit.Dossier{ID: d.Digest(), Instructions: advice.Instructions, Dossier: d, Schema: d.Schema()}
	if _, err := c.Store.Doc(ctx, kindShown, string(out.ID)); err == nil {
		return out, nil
	}
	file, err := c.blobs.put(d.Bytes())
	if err != nil {
		return out, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return out, c.put(ctx, "", nil, shown{out.ID, file, q.Plan, c.Now().Unix()})
}

// visitCheck judges advice about a dossier that a visitor was given.
func (c *Control) visitCheck(ctx context.Context, q visit.Advice) (visit.Judged, error) {
	a, err := advice.ParseAnswer([]byte(q.Answer))
	if err != nil {
		return visit.Judged{}, refusal.New(visit.CodeQuestion, "answer: %v", err)
	}
	if !a.Dossier.Valid() {
		return visit.Judged{}, refusal.New(visit.CodeQuestion, "answer: it names no dossier; plan_dossier gives its id")
	}
	s, err := get[shown](ctx, c.Store, kindShown, string(a.Dossier))
	if err != nil {
		return visit.Judged{}, err
	}
	raw, err := c.blobs.get(s.File)
	if err != nil {
		return visit.Judged{}, err
	}
	d, err := advice.ReadDossier(raw)
	if err != nil {
		return visit.Judged{}, err
	}
	r := advice.Verify(d, a, c.Now().Unix(), advice.Days14)
	return visit.Judged{Holds: r.Holds(), Report: r}, nil
}
