package control

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
	"github.com/patchwrit/patchwrit/wire"
)

// Knowledge says what sources know of a CVE, wherever it is found.
type Knowledge func(cve string) priority.Known

// exposureLabel is the label of the trust root that says whether the public
// reaches a host: internet or internal. Without it that is unknown, which is the
// stricter; so is any other value.
const exposureLabel = "exposure"

// exposedOf reads the label.
func exposedOf(h trust.Host) priority.Answer {
	for _, l := range h.Labels {
		switch {
		case l.Key == exposureLabel && l.Value == "internal":
			return priority.No
		case l.Key == exposureLabel:
			return priority.Yes
		}
	}
	return priority.Unknown
}

// Exposures is the past of a host's vulnerabilities, as looks for work saw it:
// one Glimpse for each look that saw something else than the one before.
type Exposures struct {
	Host     trust.HostID `json:"host"`
	Glimpses []Glimpse    `json:"glimpses"` // in order
	Open     canon.Digest `json:"open"`     // blob of []spotted: clocks that run after the last one
}

// Glimpse is what one look saw.
type Glimpse struct {
	At    int64        `json:"at"`    // Unix seconds
	Seen  canon.Digest `json:"seen"`  // blob of []spotted: all that is affected
	Ended canon.Digest `json:"ended"` // blob of []spotted: whose fix is effective now
}

// spotted is one vulnerability on a host.
type spotted struct {
	Names []string `json:"names"` // CVE ids and all other names, ascending
	Class string   `json:"class"` // key of its deadline class; "" when no source of deadlines is configured
	On    []cure   `json:"on"`    // where; ascending
}

// cure is what ends it for one package.
type cure struct {
	Package string `json:"package"`
	Arch    string `json:"arch"`
	Fixed   string `json:"fixed"` // source version; "" when none is known
}

func (s spotted) key() string { return strings.Join(s.Names, " ") }

func (e Exposures) doc() store.Doc { return doc(kindExposure, string(e.Host), e) }
func (e Exposures) enter(b *book)  { b.exposures[e.Host] = e }

// spot lists what is affected by the word of a vendor or distribution, each
// vulnerability once, with its deadline class
// on a host that the public reaches, or not.
func (c *Control) spot(found []match.Finding, know Knowledge, exposed priority.Answer) []spotted {
	by, order := map[string]*spotted{}, []string{}
	for _, f := range found {
		if !f.Grounded() || f.Package == "" {
			continue
		}
		s := spotted{Names: f.Names(), On: []cure{}}
		if by[s.key()] == nil {
			if know != nil {
				s.Class = c.Tables.Decide(known(f.CVEs(), know).On(exposed)).Class.Key
			}
			by[s.key()], order = &s, append(order, s.key())
		}
		at := by[s.key()]
		at.On = append(at.On, cure{f.Package, f.Arch, f.Fixed})
	}
	out := make([]spotted, 0, len(order))
	slices.Sort(order)
	for _, k := range order {
		s := *by[k]
		slices.SortFunc(s.On, func(a, b cure) int {
			return cmp.Or(strings.Compare(a.Package, b.Package), strings.Compare(a.Arch, b.Arch), strings.Compare(a.Fixed, b.Fixed))
		})
		s.On = slices.Compact(s.On)
		out = append(out, s)
	}
	return out
}

func known(cves []string, know Knowledge) priority.Known {
	of := make([]priority.Known, len(cves))
	for i, cve := range cves {
		of[i] = know(cve)
	}
	return priority.Worst(of)
}

// observe notes what a look saw on the hosts of a group.
func (c *Control) observe(ctx context.Context, g group, s solve.Solved, know Knowledge) error {
	seen := map[priority.Answer][]spotted{}
	for _, h := range g.hosts {
		e := exposedOf(h)
		if _, ok := seen[e]; !ok {
			seen[e] = c.spot(s.Findings, know, e)
		}
		if err := c.glimpse(ctx, h, s.Inventory, seen[e]); err != nil {
			return err
		}
	}
	return nil
}

// glimpse notes what one host has now, when it is not what it had before.
func (c *Control) glimpse(ctx context.Context, known trust.Host, inv inventory.Inventory, seen []spotted) error {
	c.mu.Lock()
	h, ok := c.book.host(known.ID)
	past := c.book.exposures[h.ID]
	c.mu.Unlock()
	if !ok {
		return nil
	}
	open, err := c.spottedIn(past.Open)
	if err != nil {
		return err
	}
	still, ended := carry(open, seen, inv, c.running(h, inv))
	slices.SortFunc(still, func(a, b spotted) int { return strings.Compare(a.key(), b.key()) })
	next := Glimpse{At: c.Now().Unix()}
	if next.Seen, err = c.blobs.put(canon.MustEncode(seen)); err != nil {
		return err
	}
	if n := len(past.Glimpses); n > 0 && past.Glimpses[n-1].Seen == next.Seen && len(ended) == 0 || n == 0 && len(seen) == 0 {
		return nil
	}
	if next.Ended, err = c.blobs.put(canon.MustEncode(ended)); err != nil {
		return err
	}
	past.Host, past.Glimpses = h.ID, append(slices.Clone(past.Glimpses), next)
	if past.Open, err = c.blobs.put(canon.MustEncode(still)); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.note(ctx, "exposure/"+string(h.ID), "exposure", next, past)
}

// carry says which clocks go on and which end, of those that were open. One ends
// when every package that it was ever found in since is cured and running, and no
// clock that goes on is of the same CVE. What a look no longer says of a package
// is carried on until then.
func carry(open, seen []spotted, inv inventory.Inventory, running func(spotted) bool) (still, ended []spotted) {
	still, ended = slices.Clone(seen), []spotted{}
	var fixed []spotted
	for _, o := range open {
		i := slices.IndexFunc(still, func(s spotted) bool { return s.key() == o.key() })
		switch {
		case i >= 0:
			on := slices.Clone(still[i].On)
			for _, x := range o.On {
				known := slices.ContainsFunc(on, func(y cure) bool { return y.Package == x.Package && y.Arch == x.Arch })
				if !known && !cured(spotted{On: []cure{x}}, inv) {
					on = append(on, x)
				}
			}
			still[i].On = on
		case running(o) && cured(o, inv):
			fixed = append(fixed, o)
		default:
			still = append(still, o)
		}
	}
	for _, o := range fixed {
		if slices.ContainsFunc(still, func(s spotted) bool { return s.shares(o) }) {
			still = append(still, o)
		} else {
			ended = append(ended, o)
		}
	}
	return still, ended
}

// shares reports whether two have a CVE in common.
func (s spotted) shares(o spotted) bool {
	return slices.ContainsFunc(s.Names, func(n string) bool { return strings.HasPrefix(n, "CVE-") && slices.Contains(o.Names, n) })
}

// spottedIn reads a list; that of no digest is empty.
func (c *Control) spottedIn(d canon.Digest) (out []spotted, err error) {
	if d == "" {
		return nil, nil
	}
	raw, err := c.blobs.get(d)
	if err != nil {
		return nil, err
	}
	return out, canon.Decode(raw, &out)
}

// cured reports whether every package that a vulnerability was found in is at a
// fixed version, or gone. That no feed speaks of it any more cures nothing.
func cured(s spotted, inv inventory.Inventory) bool {
	return !slices.ContainsFunc(s.On, func(on cure) bool {
		return slices.ContainsFunc(inv.Packages, func(p inventory.Package) bool {
			if p.Name != on.Package || p.Arch != on.Arch || !p.Status.Present() {
				return false
			}
			order, err := version.Compare(p.Scheme, p.SourceVersion, on.Fixed)
			return on.Fixed == "" || err != nil || order < 0
		})
	})
}

// running says of a host whether the installed files are those that run, by its
// newest snapshot. It is read once, and only when somebody asks.
func (c *Control) running(h Host, inv inventory.Inventory) func(spotted) bool {
	read := sync.OnceValue(func() runs {
		s, err := c.snapshot(h.Snapshot)
		if err != nil {
			s = wire.Snapshot{MappedWhy: canon.NoteOf("the host's inventory cannot be read: " + err.Error())}
		}
		return runsOf(s, inv)
	})
	return func(v spotted) bool { return read().not(v) == "" }
}

// clocks folds the exposures of one host. The caller holds the lock.
func (c *Control) clocks(id trust.HostID) ([]priority.Exposure, error) {
	past := c.book.exposures[id]
	if kept, ok := c.folded[id]; ok && kept.glimpses == len(past.Glimpses) {
		return kept.clocks, nil
	}
	var events []priority.Event
	var before []spotted
	for _, g := range past.Glimpses {
		seen, err := c.spottedIn(g.Seen)
		if err != nil {
			return nil, err
		}
		ended, err := c.spottedIn(g.Ended)
		if err != nil {
			return nil, err
		}
		events = append(events, c.eventsOf(string(id), g.At, before, seen, ended)...)
		before = seen
	}
	clocks := priority.Fold(events)
	c.folded[id] = foldedClocks{len(past.Glimpses), clocks}
	return clocks, nil
}

// foldedClocks is an answer of clocks, for as long as nothing new was seen.
type foldedClocks struct {
	glimpses int
	clocks   []priority.Exposure
}

// eventsOf tells one glimpse as events.
func (c *Control) eventsOf(host string, at int64, before, seen, ended []spotted) []priority.Event {
	var out []priority.Event
	has := map[string]bool{}
	for _, s := range seen {
		has[s.key()] = true
		out = append(out, priority.Event{At: at, Host: host, Names: s.Names, Kind: priority.Seen})
		if class, ok := c.Tables.Class(s.Class); ok {
			out = append(out, priority.Event{At: at, Host: host, Names: s.Names, Kind: priority.Assessed, Class: class})
		}
	}
	for _, s := range ended {
		has[s.key()] = true
		out = append(out, priority.Event{At: at, Host: host, Names: s.Names, Kind: priority.Effective})
	}
	for _, s := range before {
		if !has[s.key()] {
			out = append(out, priority.Event{At: at, Host: host, Names: s.Names, Kind: priority.Absent})
		}
	}
	return out
}

// ExposureView is one clock as operators see it.
type ExposureView struct {
	priority.Exposure
	Spent   int64 `json:"spent"` // seconds of exposure up to now
	Overdue bool  `json:"overdue"`
}

// apiExposures lists the clocks of one host: those that run first, as work is
// ordered.
func (c *Control) apiExposures(r *http.Request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.book.host(trust.HostID(r.FormValue("host")))
	if !ok {
		return nil, refusal.New(codeHost, "no host %q is enrolled", r.FormValue("host"))
	}
	clocks, err := c.clocks(h.ID)
	if err != nil {
		return nil, err
	}
	now, out := c.Now().Unix(), []ExposureView{}
	for _, x := range clocks {
		out = append(out, ExposureView{x, x.Spent(now), x.Overdue(now)})
	}
	slices.SortStableFunc(out, func(a, b ExposureView) int {
		if (a.Closed == 0) != (b.Closed == 0) {
			return cmp.Compare(a.Closed, b.Closed)
		}
		return priority.Compare(workOf(a.Exposure), workOf(b.Exposure), now)
	})
	return out, nil
}

func workOf(x priority.Exposure) priority.Work {
	return priority.Work{ID: x.ID, Rank: x.Class.Rank, Due: x.Due}
}

// Urgency is how a plan's work stands among other work.
type Urgency struct {
	Class string           `json:"class"` // key of the strictest deadline class of what it fixes, or ""
	Rank  int              `json:"rank"`
	Due   int64            `json:"due"`  // the earliest day; Unix seconds, 0: none
	EPSS  priority.Measure `json:"epss"` // highest, parts per million
	CVSS  priority.Measure `json:"cvss"` // highest, tenths
}

// work is a plan in the order of work.
func (p Plan) work() priority.Work {
	w := priority.Work{ID: string(p.Digest)}
	for _, u := range p.Urgency {
		w.Rank, w.Due, w.EPSS, w.CVSS = u.Rank, u.Due, u.EPSS, u.CVSS
	}
	return w
}

// urgency is that of changes on hosts: the strictest class and the earliest day
// of all that they fix. The caller holds the lock.
func (c *Control) urgency(g group, s solve.Solved, know Knowledge) (Urgency, error) {
	names, cves := map[string]bool{}, []string{}
	for _, f := range s.Findings {
		if f.Grounded() && slices.ContainsFunc(s.Changes, func(ch change.Change) bool { return ch.Package == f.Package && ch.Arch == f.Arch }) {
			cves = append(cves, f.CVEs()...)
			for _, n := range f.Names() {
				names[n] = true
			}
		}
	}
	u := Urgency{}
	if know != nil {
		k := known(cves, know)
		u.EPSS, u.CVSS = k.EPSS, k.CVSS
	}
	for _, member := range g.hosts {
		h, _ := c.book.host(member.ID)
		clocks, err := c.clocks(h.ID)
		if err != nil {
			return u, err
		}
		for _, x := range clocks {
			if x.Closed != 0 || !slices.ContainsFunc(x.Names, func(n string) bool { return names[n] }) {
				continue
			}
			if u.Class == "" || x.Class.Rank > u.Rank {
				u.Class, u.Rank = x.Class.Key, x.Class.Rank
			}
			if x.Due != 0 && (u.Due == 0 || x.Due < u.Due) {
				u.Due = x.Due
			}
		}
	}
	return u, nil
}

// pressing is the most urgent work of a group's hosts, by what is known so far.
func (c *Control) pressing(g group, now int64) priority.Work {
	out := priority.Work{ID: string(g.inventory), Rank: -1}
	for _, member := range g.hosts {
		h, _ := c.book.host(member.ID)
		clocks, err := c.clocks(h.ID)
		if err != nil {
			continue // the look itself tells it
		}
		for _, x := range clocks {
			w := workOf(x)
			w.ID = out.ID
			if x.Closed == 0 && (out.Rank < 0 || priority.Compare(w, out, now) < 0) {
				out = w
			}
		}
	}
	return out
}
