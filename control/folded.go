package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// The record of a host's exposures is its stream "exposure/FINGERPRINT", one
// Glimpse an event. What they come to is kept folded, so that no question reads
// the past again: an Exposures for each host, and the clocks themselves in a
// document of their own, which hosts with the same past share. Both are changed
// in the transaction of the event, and made anew from the stream where they are
// missing, damaged, or of another version.

// Exposures is what the glimpses of a host come to.
type Exposures struct {
	Host    trust.HostID `json:"host"`
	Version string       `json:"version"` // of the fold
	Count   int          `json:"count"`   // glimpses
	Last    Glimpse      `json:"last"`
	Folded  canon.Digest `json:"folded"` // document of kindClocks: priority.State
	Press   []press      `json:"press"`  // one for each rank of class in which a clock runs, ascending
}

// press is what a host's clocks of one rank come to in the order of work.
type press struct {
	Rank int   `json:"rank"`
	Due  int64 `json:"due"` // the earliest day; 0: none has one
}

func (e Exposures) doc() store.Doc { return doc(kindExposure, string(e.Host), e) }

func (e Exposures) enter(b *book) {
	if had, ok := b.exposures[e.Host]; ok {
		if b.shared[had.Folded]--; b.shared[had.Folded] == 0 {
			delete(b.shared, had.Folded)
		}
	}
	b.exposures[e.Host] = e
	b.shared[e.Folded]++
}

// clocks is the document of a state.
type clocks struct {
	digest canon.Digest
	body   []byte // nil: the document is removed
}

func (f clocks) doc() store.Doc {
	return store.Doc{Kind: kindClocks, ID: string(f.digest), Body: f.body}
}
func (clocks) enter(*book) {}

// domainClocks is the digest domain of folded clocks.
const domainClocks = "patchwrit/clocks/v1"

func clocksOf(s priority.State) clocks {
	body := canon.MustEncode(s)
	return clocks{canon.Sum(domainClocks, body), body}
}

// folded is a state in the forms in which it is kept.
type folded struct {
	state  priority.State
	clocks clocks
	press  []press
}

func foldedOf(s priority.State) folded { return folded{s, clocksOf(s), summed(s)} }

// foldForm is the form of what is kept folded. It rises with each change of it,
// or of what the fold makes of the same events.
const foldForm = "1"

// foldVersion names the fold: its form, and the deadline classes that it uses.
func foldVersion(tables priority.Rules) string {
	all := []priority.Class{}
	for _, v := range tables.BOD.Outcome.Values {
		c, _ := tables.Class(v.Key)
		all = append(all, c)
	}
	return foldForm + " " + canon.Sum("patchwrit/classes/v1", canon.MustEncode(all)).Short()
}

// summed is what a state comes to in the order of work.
func summed(s priority.State) []press {
	by := map[int]int64{}
	for _, x := range s.Exposures("") {
		due, met := by[x.Class.Rank]
		if x.Closed == 0 && (!met || due == 0 || x.Due != 0 && x.Due < due) {
			by[x.Class.Rank] = x.Due
		}
	}
	out := []press{}
	for rank, due := range by {
		out = append(out, press{rank, due})
	}
	slices.SortFunc(out, func(a, b press) int { return cmp.Compare(a.Rank, b.Rank) })
	return out
}

// most is the most pressing work of a host; false when no clock runs.
func (e Exposures) most(now int64) (priority.Work, bool) {
	if len(e.Press) == 0 {
		return priority.Work{}, false
	}
	work := make([]priority.Work, len(e.Press))
	for i, p := range e.Press {
		work[i] = priority.Work{Rank: p.Rank, Due: p.Due}
	}
	return slices.MinFunc(work, func(a, b priority.Work) int { return priority.Compare(a, b, now) }), true
}

// maxFolded is how many clocks are kept in memory at once.
const maxFolded = 200_000

// states are folded clocks in memory, the ones asked for last.
type states struct {
	mu    sync.Mutex
	by    map[canon.Digest]priority.State
	order []canon.Digest // those asked for last at the end
	size  int
}

func (k *states) get(d canon.Digest) (priority.State, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.by[d]
	if ok && k.order[len(k.order)-1] != d {
		k.order = append(slices.DeleteFunc(k.order, func(o canon.Digest) bool { return o == d }), d)
	}
	return s, ok
}

func (k *states) put(d canon.Digest, s priority.State) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.by == nil {
		k.by = map[canon.Digest]priority.State{}
	}
	if _, ok := k.by[d]; ok {
		return
	}
	k.by[d], k.order, k.size = s, append(k.order, d), k.size+len(s.Clocks)
	for k.size > maxFolded && len(k.order) > 1 {
		old := k.order[0]
		k.size -= len(k.by[old].Clocks)
		delete(k.by, old)
		k.order = k.order[1:]
	}
}

// errFolded says that folded clocks are not what their host's document names.
var errFolded = errors.New("the folded clocks are missing or damaged")

// stateOf is the folded past of a host. Clocks that are missing or damaged are
// folded anew.
func (c *Control) stateOf(ctx context.Context, x Exposures) (priority.State, error) {
	if x.Count == 0 {
		return priority.NewState(nil), nil
	}
	s, err := c.kept(ctx, x.Folded)
	if !errors.Is(err, errFolded) {
		return s, err
	}
	all, err := c.glimpses(ctx, x.Host)
	if err == nil {
		s, err = c.refold(all)
	}
	if err != nil {
		return s, err
	}
	if f := clocksOf(s); f.digest == x.Folded {
		_, err = c.Store.Commit(ctx, store.Batch{Expect: store.Any, Docs: []store.Doc{f.doc()}})
		c.states.put(f.digest, s)
	}
	return s, err
}

// kept reads folded clocks, and looks whether they are still they.
func (c *Control) kept(ctx context.Context, d canon.Digest) (s priority.State, err error) {
	if s, ok := c.states.get(d); ok {
		return s, nil
	}
	doc, err := c.Store.Doc(ctx, kindClocks, string(d))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return s, err
	}
	// The digest says that the bytes are canonical: they were encoded here.
	if err != nil || canon.Sum(domainClocks, doc.Body) != d || json.Unmarshal(doc.Body, &s) != nil {
		return s, errFolded
	}
	c.states.put(d, s)
	return s, nil
}

// past is the folded past of a host by its fingerprint, for who does not hold the
// lock.
func (c *Control) past(ctx context.Context, id trust.HostID) (priority.State, error) {
	c.mu.Lock()
	x, err := c.book.exposures[id], c.unfolded[id]
	c.mu.Unlock()
	if err != nil {
		return priority.State{}, err
	}
	return c.stateOf(ctx, x)
}

// running are the clocks of hosts that run, of vulnerabilities with one of the
// names.
type running map[trust.HostID]found

type found struct {
	folded canon.Digest // where it was found
	clocks []priority.Exposure
}

func find(s priority.State, names map[string]bool) []priority.Exposure {
	return slices.DeleteFunc(s.Exposures(""), func(x priority.Exposure) bool {
		return x.Closed != 0 || !slices.ContainsFunc(x.Names, func(n string) bool { return names[n] })
	})
}

// runningOn looks for clocks of many hosts without the lock: hosts with the same
// past are looked at once.
func (c *Control) runningOn(ctx context.Context, ids []trust.HostID, names map[string]bool) (running, error) {
	pasts := make([]Exposures, len(ids))
	c.mu.Lock()
	for i, id := range ids {
		pasts[i] = c.book.exposures[id]
		if err := c.unfolded[id]; err != nil {
			c.mu.Unlock()
			return nil, err
		}
	}
	c.mu.Unlock()
	out, same := running{}, map[canon.Digest]found{}
	for i, x := range pasts {
		f, ok := same[x.Folded]
		if !ok {
			s, err := c.stateOf(ctx, x)
			if err != nil {
				return nil, err
			}
			f = found{x.Folded, find(s, names)}
			same[x.Folded] = f
		}
		out[ids[i]] = f
	}
	return out, nil
}

// openOf are the running clocks of a group, of what was found there.
func (c *Control) openOf(ctx context.Context, g group, s solve.Solved) (running, error) {
	ids, names := make([]trust.HostID, len(g.hosts)), map[string]bool{}
	for i, h := range g.hosts {
		ids[i] = h.ID
	}
	for _, f := range s.Findings {
		for _, n := range f.Names() {
			names[n] = true
		}
	}
	return c.runningOn(ctx, ids, names)
}

// of gives those of one host, again when its past has gone on meanwhile. The
// caller holds the lock.
func (r running) of(ctx context.Context, c *Control, id trust.HostID, names map[string]bool) ([]priority.Exposure, error) {
	x := c.book.exposures[id]
	if f, ok := r[id]; ok && f.folded == x.Folded {
		return slices.DeleteFunc(slices.Clone(f.clocks), func(x priority.Exposure) bool {
			return !slices.ContainsFunc(x.Names, func(n string) bool { return names[n] })
		}), nil
	}
	if err := c.unfolded[id]; err != nil {
		return nil, err
	}
	s, err := c.stateOf(ctx, x)
	return find(s, names), err
}

// glimpses are all that was ever seen of a host, in order.
func (c *Control) glimpses(ctx context.Context, id trust.HostID) (out []Glimpse, err error) {
	for e, err := range c.Store.Stream(ctx, "exposure/"+string(id)) {
		if err != nil {
			return nil, err
		}
		var g Glimpse
		if err := canon.Decode(e.Body, &g); err != nil {
			return nil, fmt.Errorf("event %d, what was seen of host %s: %w", e.Position, id.Short(), err)
		}
		out = append(out, g)
	}
	return out, nil
}

// refold folds glimpses from the first one on.
func (c *Control) refold(all []Glimpse) (priority.State, error) {
	p, err := c.pastOf(all, c.spottedIn)
	return p.State(timesOf(all)), err
}

// pastOf is what glimpses were about; the time of an event is the place of its
// glimpse.
func (c *Control) pastOf(all []Glimpse, list func(canon.Digest) ([]spotted, error)) (priority.Past, error) {
	var events []priority.Event
	var before []spotted
	for i, g := range all {
		seen, err := list(g.Seen)
		if err != nil {
			return priority.Past{}, err
		}
		ended, err := list(g.Ended)
		if err != nil {
			return priority.Past{}, err
		}
		events = append(events, c.eventsOf(int64(i), before, seen, ended)...)
		before = seen
	}
	return priority.NewPast(events), nil
}

func timesOf(all []Glimpse) func(int64) int64 { return func(i int64) int64 { return all[i].At } }

// foldMissing folds the past of the hosts anew of which nothing is kept, or by
// another version. A host whose past cannot be read has no clocks, and its looks
// fail, until it can.
func (c *Control) foldMissing(ctx context.Context) error {
	version, pasts := foldVersion(c.Tables), newAlike()
	var old []trust.HostID
	for _, h := range sorted(c.book.hosts) {
		if h.State != wire.Gone && c.book.exposures[h.ID].Version != version {
			old = append(old, h.ID)
		}
	}
	for some := range slices.Chunk(old, foldedAtOnce) {
		if err := c.foldSome(ctx, some, pasts); err != nil {
			return err
		}
	}
	return nil
}

// foldedAtOnce is how many hosts are folded anew in one transaction: an fsync for
// each took half of the time.
const foldedAtOnce = 100

// foldSome folds hosts anew, and none of them where that cannot be kept.
func (c *Control) foldSome(ctx context.Context, ids []trust.HostID, pasts *alike) error {
	var records []record
	var done []trust.HostID
	bad := func(id trust.HostID, err error) {
		c.unfolded[id] = fmt.Errorf("the exposure clocks of host %s: %w", id.Short(), err)
		c.told("exposure clocks of host "+id.Short(), err)
	}
	for _, id := range ids {
		all, err := c.glimpses(ctx, id)
		if err == nil && len(all) == 0 {
			continue
		}
		var made []record
		if err == nil {
			made, err = c.foldAnew(id, all, pasts)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			bad(id, err)
			continue
		}
		for _, r := range made { // the next host may share these clocks
			r.enter(c.book)
		}
		records, done = append(records, made...), append(done, id)
		c.Logger.Info("exposure clocks were folded anew", "host", id.Short(), "glimpses", len(all))
	}
	err := c.put(ctx, "", nil, records...)
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	for _, id := range done {
		bad(id, err)
	}
	c.book, err = readBook(ctx, c.Store) // without what was entered
	return err
}

// alike is what folding the pasts of hosts anew has read and made: many have seen
// the same, at times of their own or at the same.
type alike struct {
	lists map[canon.Digest][]spotted
	pasts map[canon.Digest]priority.Past // by what the glimpses were about
	folds map[canon.Digest]folded        // by all that they say
	size  int                            // vulnerabilities in all three
}

func newAlike() *alike {
	return &alike{lists: map[canon.Digest][]spotted{}, pasts: map[canon.Digest]priority.Past{}, folds: map[canon.Digest]folded{}}
}

// room forgets everything when there is too much.
func (a *alike) room(more int) {
	if a.size += more; a.size > maxFolded {
		clear(a.lists)
		clear(a.pasts)
		clear(a.folds)
		a.size = more
	}
}

func (c *Control) refoldAlike(all []Glimpse, a *alike) (folded, error) {
	key := canon.SumFile(canon.MustEncode(all))
	if f, ok := a.folds[key]; ok {
		return f, nil
	}
	p, err := c.pastAlike(all, a)
	if err != nil {
		return folded{}, err
	}
	s := p.State(timesOf(all))
	a.room(len(s.Clocks))
	a.folds[key] = foldedOf(s)
	return a.folds[key], nil
}

func (c *Control) pastAlike(all []Glimpse, a *alike) (priority.Past, error) {
	about := make([][]canon.Digest, 0, len(all))
	for _, g := range all {
		about = append(about, []canon.Digest{g.Seen, g.Ended})
	}
	key := canon.SumFile(canon.MustEncode(about))
	if p, ok := a.pasts[key]; ok {
		return p, nil
	}
	events := 0
	p, err := c.pastOf(all, func(d canon.Digest) (list []spotted, err error) {
		list, ok := a.lists[d]
		if !ok {
			if list, err = c.spottedIn(d); err == nil {
				a.room(len(list))
				a.lists[d] = list
			}
		}
		events += len(list)
		return list, err
	})
	if err == nil {
		a.room(events)
		a.pasts[key] = p
	}
	return p, err
}

func (c *Control) foldAnew(id trust.HostID, all []Glimpse, a *alike) ([]record, error) {
	made, err := c.refoldAlike(all, a)
	if err != nil {
		return nil, err
	}
	last := all[len(all)-1]
	if last.Open == "" {
		if last.Open, err = c.reopened(all); err != nil {
			return nil, err
		}
	}
	x, f := c.folds(id, len(all), last, made)
	return append(f, x), nil
}

// folds are the documents of a host's folded past: its own, its clocks, and the
// removal of clocks that nobody has any more. The caller holds the lock, or is
// alone.
func (c *Control) folds(id trust.HostID, count int, last Glimpse, made folded) (Exposures, []record) {
	f, had := made.clocks, c.book.exposures[id]
	x := Exposures{Host: id, Version: foldVersion(c.Tables), Count: count, Last: last, Folded: f.digest, Press: made.press}
	var out []record
	if c.book.shared[f.digest] == 0 {
		out = append(out, f)
	}
	if had.Folded != "" && had.Folded != f.digest && c.book.shared[had.Folded] == 1 {
		out = append(out, clocks{digest: had.Folded})
	}
	c.states.put(f.digest, made.state)
	return x, out
}

// reopened is the list of clocks that run, of glimpses that do not tell it: with
// every package that they were ever found in since, so that none ends early.
func (c *Control) reopened(all []Glimpse) (canon.Digest, error) {
	open := map[string]spotted{}
	for _, g := range all {
		seen, err := c.spottedIn(g.Seen)
		if err != nil {
			return "", err
		}
		ended, err := c.spottedIn(g.Ended)
		if err != nil {
			return "", err
		}
		for _, s := range ended {
			delete(open, s.key())
		}
		for _, s := range seen {
			s.On = slices.Concat(open[s.key()].On, s.On)
			slices.SortFunc(s.On, cure.compare)
			s.On = slices.Compact(s.On)
			open[s.key()] = s
		}
	}
	return c.blobs.put(canon.MustEncode(append([]spotted{}, sorted(open)...)))
}
