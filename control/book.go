package control

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
)

// book is what the documents say, in memory, so that a question of one host
// does not read those of all. It is filled from the store when it opens, and
// changed only after the commit that says the same.
type book struct {
	hosts   map[string]Host         // by wire key
	wires   map[trust.HostID]string // of the hosts that are not gone
	plans   map[canon.Digest]Plan
	open    map[canon.Digest]bool // plans that may still lead to a change
	grants  map[canon.Digest]Grant
	writs   map[canon.Digest]Writ
	ofPlan  map[canon.Digest][]canon.Digest // writs
	waiting map[trust.HostID][]canon.Digest // writs that are ready
	drafts  map[canon.Digest]writ.Writ      // of the writs that wait for the log

	exposures map[trust.HostID]Exposures
	shared    map[canon.Digest]int // by how many hosts folded clocks are
	artefacts map[canon.Digest]Artefact
	triaged   map[trust.HostID]Triage

	words map[canon.Digest]bool // about records in quarantine, that stand in the log

	advised  map[canon.Digest]Advised   // by plan
	observed map[canon.Digest]*observed // by plan
	tracks   map[tracked]*track         // of the cases, by model and watch
	models   map[canon.Digest]Model
	cases    int                // the highest number of a case
	moves    int                // how often a plan, a case or a model was entered
	visitors map[string]Visitor // by name
	asks     map[canon.Digest]petition
	asking   map[canon.Digest]bool // requests of visitors that wait on some host
}

// record is a document that has a place in the book.
type record interface {
	doc() store.Doc
	enter(*book)
}

func newBook() *book {
	return &book{hosts: map[string]Host{}, wires: map[trust.HostID]string{}, plans: map[canon.Digest]Plan{}, open: map[canon.Digest]bool{},
		grants: map[canon.Digest]Grant{}, writs: map[canon.Digest]Writ{}, ofPlan: map[canon.Digest][]canon.Digest{},
		waiting: map[trust.HostID][]canon.Digest{}, drafts: map[canon.Digest]writ.Writ{}, exposures: map[trust.HostID]Exposures{}, shared: map[canon.Digest]int{}, artefacts: map[canon.Digest]Artefact{}, triaged: map[trust.HostID]Triage{},
		visitors: map[string]Visitor{}, asks: map[canon.Digest]petition{}, asking: map[canon.Digest]bool{}}
}

// readBook fills a book from the store.
func readBook(ctx context.Context, s store.Store) (*book, error) {
	b := newBook()
	for _, fill := range []func() error{
		func() error { return fillFrom[Host](ctx, s, kindHost, b) },
		func() error { return fillFrom[Plan](ctx, s, kindPlan, b) },
		func() error { return fillFrom[Grant](ctx, s, kindGrant, b) },
		func() error { return fillFrom[Writ](ctx, s, kindWrit, b) },
		func() error { return fillFrom[draft](ctx, s, kindDraft, b) },
		func() error { return fillExposures(ctx, s, b) },
		func() error { return fillFrom[Artefact](ctx, s, kindArtefact, b) },
		func() error { return fillFrom[Triage](ctx, s, kindTriage, b) },
		func() error { return fillFrom[heeded](ctx, s, kindWord, b) },
		func() error { return fillFrom[Advised](ctx, s, kindAdvice, b) },
		func() error { return fillFrom[Model](ctx, s, kindModel, b) },
		func() error { return fillFrom[observed](ctx, s, kindCase, b) },
		func() error { return fillFrom[Visitor](ctx, s, kindVisitor, b) },
		func() error { return fillFrom[petition](ctx, s, kindAsk, b) },
	} {
		if err := fill(); err != nil {
			return nil, fmt.Errorf("the record: %w", err)
		}
	}
	for _, list := range b.ofPlan {
		slices.SortFunc(list, func(x, y canon.Digest) int { return cmp.Compare(b.writs[x].Issued, b.writs[y].Issued) })
	}
	return b, nil
}

func fillFrom[T record](ctx context.Context, s store.Store, kind string, b *book) error {
	list, err := all[T](ctx, s, kind)
	for _, v := range list {
		v.enter(b)
	}
	return err
}

// fillExposures leaves out what is in another form: it is folded anew.
func fillExposures(ctx context.Context, s store.Store, b *book) error {
	for d, err := range s.Docs(ctx, kindExposure) {
		if err != nil {
			return err
		}
		var x Exposures
		if canon.Decode(d.Body, &x) == nil && string(x.Host) == d.ID {
			x.enter(b)
		}
	}
	return nil
}

func (h Host) enter(b *book) {
	b.hosts[h.Wire] = h
	switch {
	case h.State != wire.Gone:
		b.wires[h.ID] = h.Wire
	case b.wires[h.ID] == h.Wire:
		delete(b.wires, h.ID)
	}
}

func (t Token) enter(*book) {}

func (p Plan) enter(b *book) {
	b.moves++
	b.plans[p.Digest] = p
	if p.State.open() {
		b.open[p.Digest] = true
	} else {
		delete(b.open, p.Digest)
	}
}

func (g Grant) enter(b *book) { b.grants[g.Digest] = g }

func (w Writ) enter(b *book) {
	had, known := b.writs[w.Digest]
	if !known {
		b.ofPlan[w.Plan] = append(b.ofPlan[w.Plan], w.Digest)
	}
	b.writs[w.Digest] = w
	if known && had.State == Ready {
		b.waiting[w.Host] = slices.DeleteFunc(b.waiting[w.Host], func(d canon.Digest) bool { return d == w.Digest })
	}
	if w.State == Ready {
		b.waiting[w.Host] = append(b.waiting[w.Host], w.Digest)
	} else if len(b.waiting[w.Host]) == 0 {
		delete(b.waiting, w.Host)
	}
}

func (Receipt) enter(*book) {}

func (d draft) enter(b *book) {
	if d.Gone {
		delete(b.drafts, d.Digest)
		return
	}
	b.drafts[d.Digest] = d.Writ
}

// host is the enrolled host with a fingerprint.
func (b *book) host(id trust.HostID) (Host, bool) {
	key, ok := b.wires[id]
	return b.hosts[key], ok
}

// issued are a plan's writs that still speak for their hosts, in the order in
// which they were issued.
func (b *book) issued(plan canon.Digest) []Writ {
	out := []Writ{}
	for _, d := range b.ofPlan[plan] {
		if w := b.writs[d]; w.State != Replaced {
			out = append(out, w)
		}
	}
	return out
}

// sorted are a map's values, ascending by key.
func sorted[K ~string, V any](m map[K]V) []V {
	out := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}
