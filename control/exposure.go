package control

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"os"
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
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
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

// Glimpse is what one look saw of a host, when it is something else than the one
// before saw.
type Glimpse struct {
	At    int64        `json:"at"`             // Unix seconds
	Seen  canon.Digest `json:"seen"`           // blob of []spotted: all that is affected
	Ended canon.Digest `json:"ended"`          // blob of []spotted: whose fix is effective now
	Open  canon.Digest `json:"open,omitempty"` // blob of []spotted: clocks that run after it; "": an earlier version did not say
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

	Source string `json:"source,omitempty"` // that Package was built from; "": an earlier version did not say
}

func (s spotted) key() string { return strings.Join(s.Names, " ") }

func (a cure) compare(b cure) int {
	return cmp.Or(strings.Compare(a.Package, b.Package), strings.Compare(a.Arch, b.Arch), strings.Compare(a.Fixed, b.Fixed), strings.Compare(a.Source, b.Source))
}

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
		at.On = append(at.On, cure{f.Package, f.Arch, f.Fixed, f.Source})
	}
	out := make([]spotted, 0, len(order))
	slices.Sort(order)
	for _, k := range order {
		s := *by[k]
		slices.SortFunc(s.On, cure.compare)
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

// observation is one look at hosts with the same packages.
type observation struct {
	at    int64 // of all of them: what is the same is kept once
	inv   inventory.Inventory
	seen  map[priority.Answer]sight
	lists map[canon.Digest][]spotted
	folds map[foldKey]folded
}

// sight is what is affected.
type sight struct {
	list []spotted
	blob canon.Digest
}

// foldKey names a state that goes on by a glimpse.
type foldKey struct{ folded, before, seen, ended canon.Digest }

// observe notes what a look saw on the hosts of a group.
func (c *Control) observe(ctx context.Context, g group, s solve.Solved, know Knowledge) error {
	o := observation{at: c.Now().Unix(), inv: s.Inventory, seen: map[priority.Answer]sight{}, lists: map[canon.Digest][]spotted{}, folds: map[foldKey]folded{}}
	for _, h := range g.hosts {
		e := exposedOf(h)
		seen, ok := o.seen[e]
		if !ok {
			seen.list = c.spot(s.Findings, know, e)
			var err error
			if seen.blob, err = c.blobs.put(canon.MustEncode(seen.list)); err != nil {
				return err
			}
			o.seen[e], o.lists[seen.blob] = seen, seen.list
		}
		if err := c.glimpse(ctx, o, h.ID, seen); err != nil {
			return err
		}
	}
	return nil
}

// list reads a list once.
func (o observation) list(c *Control, d canon.Digest) (list []spotted, err error) {
	list, ok := o.lists[d]
	if !ok {
		if list, err = c.spottedIn(d); err == nil {
			o.lists[d] = list
		}
	}
	return list, err
}

// glimpse notes what one host has now, when it is not what it had before. Nobody
// else does so at the same time.
func (c *Control) glimpse(ctx context.Context, o observation, id trust.HostID, seen sight) error {
	c.mu.Lock()
	h, ok := c.book.host(id)
	past, err := c.book.exposures[id], c.unfolded[id]
	c.mu.Unlock()
	if !ok || err != nil || past.Count == 0 && len(seen.list) == 0 || past.Last.Seen == seen.blob && past.Last.Open == seen.blob {
		return err
	}
	open, err := o.list(c, past.Last.Open)
	if err != nil {
		return err
	}
	still, ended := carry(open, seen.list, o.inv, c.running(h, o.inv))
	if past.Last.Seen == seen.blob && len(ended) == 0 {
		return nil
	}
	slices.SortFunc(still, func(a, b spotted) int { return strings.Compare(a.key(), b.key()) })
	next := Glimpse{At: o.at, Seen: seen.blob}
	if next.Ended, err = c.blobs.put(canon.MustEncode(ended)); err != nil {
		return err
	}
	if next.Open, err = c.blobs.put(canon.MustEncode(still)); err != nil {
		return err
	}
	state, err := c.fold(ctx, o, past, id, next, ended)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	x, records := c.folds(id, past.Count+1, next, state)
	return c.note(ctx, "exposure/"+string(id), "exposure", next, append(records, x)...)
}

// fold is the past of a host with one glimpse more.
func (c *Control) fold(ctx context.Context, o observation, past Exposures, id trust.HostID, next Glimpse, ended []spotted) (folded, error) {
	key := foldKey{past.Folded, past.Last.Seen, next.Seen, next.Ended}
	if s, ok := o.folds[key]; ok {
		return s, nil
	}
	before, err := o.list(c, past.Last.Seen)
	if err != nil {
		return folded{}, err
	}
	s, err := c.stateOf(ctx, past)
	if err != nil {
		return folded{}, err
	}
	if s, goesOn := s.Next(c.eventsOf(next.At, before, o.lists[next.Seen], ended)); goesOn {
		f := foldedOf(s)
		o.folds[key] = f
		return f, nil
	}
	all, err := c.glimpses(ctx, id)
	if err != nil {
		return folded{}, err
	}
	s, err = c.refold(append(all, next))
	return foldedOf(s), err
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
			s = unreadable(err)
		}
		return runsOf(s, inv)
	})
	return func(v spotted) bool { return read().not(v) == "" }
}

// eventsOf tells one glimpse as events.
func (c *Control) eventsOf(at int64, before, seen, ended []spotted) []priority.Event {
	var out []priority.Event
	has := map[string]bool{}
	for _, s := range seen {
		has[s.key()] = true
		out = append(out, priority.Event{At: at, Names: s.Names, Kind: priority.Seen})
		if class, ok := c.Tables.Class(s.Class); ok {
			out = append(out, priority.Event{At: at, Names: s.Names, Kind: priority.Assessed, Class: class})
		}
	}
	for _, s := range ended {
		has[s.key()] = true
		out = append(out, priority.Event{At: at, Names: s.Names, Kind: priority.Effective})
	}
	for _, s := range before {
		if !has[s.key()] {
			out = append(out, priority.Event{At: at, Names: s.Names, Kind: priority.Absent})
		}
	}
	return out
}

// ExposureView is one clock as operators see it.
type ExposureView struct {
	priority.Exposure
	Spent   int64 `json:"spent"` // seconds of exposure up to now
	Overdue bool  `json:"overdue"`

	Waits canon.Note `json:"waits"` // why it runs on though no look finds it any more, or ""
}

// apiExposures lists the clocks of one host: those that run first, as work is
// ordered.
func (c *Control) apiExposures(r *http.Request) (any, error) {
	c.mu.Lock()
	h, ok := c.book.host(trust.HostID(r.FormValue("host")))
	c.mu.Unlock()
	if !ok {
		return nil, refusal.New(codeHost, "no host %q is enrolled", r.FormValue("host"))
	}
	return c.exposuresOf(r.Context(), h)
}

// exposuresOf are the clocks of a host.
func (c *Control) exposuresOf(ctx context.Context, h Host) ([]ExposureView, error) {
	s, err := c.past(ctx, h.ID)
	if err != nil {
		return nil, err
	}
	waits, err := c.goesOn(h)
	if err != nil {
		return nil, err
	}
	now, out := c.Now().Unix(), []ExposureView{}
	for _, x := range s.Exposures(string(h.ID)) {
		v := ExposureView{Exposure: x, Spent: x.Spent(now), Overdue: x.Overdue(now)}
		if x.Closed == 0 && x.Gone != 0 {
			v.Waits = waits(x.Names)
		}
		out = append(out, v)
	}
	slices.SortStableFunc(out, func(a, b ExposureView) int {
		if (a.Closed == 0) != (b.Closed == 0) {
			return cmp.Compare(a.Closed, b.Closed)
		}
		return priority.Compare(workOf(a.Exposure), workOf(b.Exposure), now)
	})
	return out, nil
}

// goesOn says of a host why a clock runs on though no look finds the vulnerability
// any more.
func (c *Control) goesOn(h Host) (func(names []string) canon.Note, error) {
	c.mu.Lock()
	past := c.book.exposures[h.ID]
	c.mu.Unlock()
	open, err := c.spottedIn(past.Last.Open)
	if err != nil || h.Snapshot == "" {
		return func([]string) canon.Note { return "" }, err
	}
	read := sync.OnceValues(func() (runs, inventory.Inventory) {
		s, err := c.snapshot(h.Snapshot)
		inv, bad := inventory.Read(os.DirFS(c.rootOf(h.Inventory)))
		if err = errors.Join(err, bad); err != nil {
			s = unreadable(err)
		}
		return runsOf(s, inv), inv
	})
	return func(names []string) canon.Note {
		i := slices.IndexFunc(open, func(o spotted) bool {
			return slices.ContainsFunc(o.Names, func(n string) bool { return slices.Contains(names, n) })
		})
		if i < 0 {
			return ""
		}
		r, inv := read()
		if !cured(open[i], inv) {
			return canon.NoteOf("a package that it was found in is not at a version that is known to be fixed")
		}
		return canon.NoteOf(r.not(open[i]))
	}, nil
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
func (c *Control) urgency(ctx context.Context, g group, s solve.Solved, know Knowledge, open running) (Urgency, error) {
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
	for _, h := range g.hosts {
		clocks, err := open.of(ctx, c, h.ID, names)
		if err != nil {
			return u, err
		}
		for _, x := range clocks {
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
// The caller holds the lock.
func (c *Control) pressing(g group, now int64) priority.Work {
	out := priority.Work{Rank: -1}
	for _, h := range g.hosts {
		if w, ok := c.book.exposures[h.ID].most(now); ok && (out.Rank < 0 || priority.Compare(w, out, now) < 0) {
			out = w
		}
	}
	out.ID = string(g.inventory)
	return out
}
