package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/visit"
	"github.com/patchwrit/patchwrit/wire"
)

// askFor takes a visitor's request: hosts are looked at next, however short ago
// they were. What is planned then is what control would plan for them by itself.
func (c *Control) askFor(ctx context.Context, name string, q visit.Ask) (petition, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	nonce, err := c.nonce()
	if err != nil {
		return petition{}, err
	}
	r := visit.Request{Type: visit.TypeRequest, Visitor: name, Nonce: nonce, Hosts: slices.Sorted(slices.Values(q.Hosts)), Packages: slices.Sorted(slices.Values(q.Packages)), At: c.Now().Unix()}
	if err := r.Valid(); err != nil {
		return petition{}, err
	}
	a := petition{Request: r}
	for _, id := range r.Hosts {
		if h, ok := c.book.host(id); !ok || c.seenAs(h) != wire.Enrolled {
			return petition{}, refusal.New(visit.CodeQuestion, "no host %s is enrolled here", id.Short())
		}
		a.Hosts = append(a.Hosts, outcome{State: visit.Waiting, Plans: []canon.Digest{}})
	}
	c.want = true
	defer wake(c.hurry)
	return a, c.commit(ctx, "visitor/"+name, "request", canon.MustEncode(r), r.Entry(), a)
}

// asked reports whether a visitor waits for a look at the group. The caller holds
// the lock.
func (c *Control) asked(g group) bool {
	return slices.ContainsFunc(c.book.inTurn(), func(a petition) bool { return len(a.on(g)) > 0 })
}

// on are the places of a request's hosts that wait and are in the group.
func (a petition) on(g group) (at []int) {
	for i, id := range a.Request.Hosts {
		if a.Hosts[i].State == visit.Waiting && slices.ContainsFunc(g.hosts, func(h trust.Host) bool { return h.ID == id }) {
			at = append(at, i)
		}
	}
	return at
}

// about are the binary packages with a finding that a name stands for, its own or
// its source's: only such findings count as make work.
func about(name string, found []match.Finding) (binaries []string) {
	for _, f := range found {
		if f.Grounded() && (f.Package == name || f.Source == name) {
			binaries = append(binaries, f.Package)
		}
	}
	return binaries
}

// grounded reports whether each package of a request has a finding; without names
// the first that has none.
func (a petition) grounded(found []match.Finding) (without string, ok bool) {
	for _, name := range a.Request.Packages {
		if len(about(name, found)) == 0 {
			return name, false
		}
	}
	return "", true
}

// settles reports whether changes hold one that a request is about.
func (a petition) settles(cs []change.Change, found []match.Finding) bool {
	return slices.ContainsFunc(a.Request.Packages, func(name string) bool {
		binaries := about(name, found)
		return slices.ContainsFunc(cs, func(ch change.Change) bool { return slices.Contains(binaries, ch.Package) })
	})
}

// authorOf is who writes the plan of a track: the visitor that asked first for
// something in it, and had a finding to show; else control itself. The caller holds
// the lock.
func (c *Control) authorOf(g group, track, whole solve.Solved) trust.PersonID {
	for _, a := range c.book.inTurn() {
		if _, ok := a.grounded(whole.Findings); ok && len(a.on(g)) > 0 && a.settles(track.Changes, whole.Findings) {
			return visit.Author(a.Request.Visitor)
		}
	}
	return Author
}

// answerAsks says what became of the requests about a group that was looked at. The
// caller holds the lock.
func (c *Control) answerAsks(ctx context.Context, g group, s solve.Solved) error {
	for _, a := range c.book.inTurn() {
		at := a.on(g)
		if len(at) == 0 {
			continue
		}
		a.Hosts = slices.Clone(a.Hosts)
		for _, i := range at {
			a.Hosts[i] = c.became(a, a.Request.Hosts[i], s)
		}
		if err := c.note(ctx, "visitor/"+a.Request.Visitor, "answered", a, a); err != nil {
			return err
		}
	}
	return nil
}

// became says what became of a request on one host.
func (c *Control) became(a petition, id trust.HostID, s solve.Solved) outcome {
	no := func(code refusal.Code, format string, args ...any) outcome {
		return outcome{visit.Refused, []canon.Digest{}, code, canon.NoteOf(fmt.Sprintf(format, args...))}
	}
	if name, ok := a.grounded(s.Findings); !ok {
		return no(visit.CodeFinding, "no authenticated advisory concerns %q on this host: a request makes no work", name)
	}
	if !a.settles(s.Changes, s.Findings) {
		held := []string{}
		for _, h := range s.Held {
			held = append(held, h.Package+": "+h.Why.Text())
		}
		return no(visit.CodeNoFix, "nothing that can be installed now would fix it. %s", strings.Join(held[:min(len(held), 5)], "; "))
	}
	out := outcome{State: visit.UnderWay, Plans: []canon.Digest{}}
	last := int64(0)
	for _, p := range sorted(c.book.plans) {
		if !slices.Contains(p.Hosts, id) || !a.settles(changed(p.Packages), s.Findings) {
			continue
		}
		if p.State.open() {
			out.Plans = append(out.Plans, p.Digest)
			if p.Created >= a.Request.At {
				out.State = visit.Planned
			}
		}
		last = max(last, p.Created)
	}
	if len(out.Plans) == 0 {
		return no(visit.CodeAgain, "a plan for it ended without effect; the same work is planned anew after %s", stamp(last+again))
	}
	return out
}

// changed are names as changes, for settles.
func changed(packages []string) []change.Change {
	out := make([]change.Change, len(packages))
	for i, name := range packages {
		out[i].Package = name
	}
	return out
}

// lapse ends requests that nobody could look at. The caller holds the lock.
func (c *Control) lapse(ctx context.Context) error {
	for _, a := range c.book.inTurn() {
		if c.Now().Unix()-a.Request.At < int64(patienceOf.Seconds()) {
			continue
		}
		a.Hosts = slices.Clone(a.Hosts)
		for i, o := range a.Hosts {
			if o.State == visit.Waiting {
				a.Hosts[i] = outcome{visit.Refused, []canon.Digest{}, visit.CodeLapsed, canon.NoteOf("the host could not be looked at for " + patienceOf.String())}
			}
		}
		if err := c.put(ctx, "visitor/"+a.Request.Visitor, nil, a); err != nil {
			return err
		}
	}
	return nil
}

// proposal is a request as its visitor sees it.
func (a petition) proposal() visit.Proposal {
	out := visit.Proposal{Proposal: a.Request.Digest(), Hosts: []visit.Outcome{}}
	for i, o := range a.Hosts {
		out.Hosts = append(out.Hosts, visit.Outcome{Host: a.Request.Hosts[i], State: o.State, Plans: o.Plans, Code: string(o.Code), Text: visit.Said(o.Text.Text())})
	}
	return out
}
