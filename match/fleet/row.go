package fleet

import (
	"slices"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/version"
)

// record is one advisory, compiled. It is never changed.
type record struct {
	ref   Ref
	names []string // every name that it goes by, the id first, each once
	key   int      // place of the one under which findings join records
	rows  []row
}

// row is what a record in force says about one package of one release.
type row struct {
	of      *record
	subject uint32
	kind    kind
	unnamed bool    // names the distribution and no release
	first   stretch // of kind stretches
	*more
}

// more is what few rows have.
type more struct {
	stretches []stretch          // all but the first
	listed    []string           // single versions, ascending
	whole     *advisory.Advisory // for room match to judge; of all rows in which a module stream may count
}

type kind uint8

const (
	stretches kind = iota // affected where a stretch or the list says so, else not
	vague                 // of every version it says Unknown
	studied               // of every version it says UnderInvestigation
	denied                // of every version it says NotAffected
	crooked               // room match judges version by version
)

// stretch is a run of versions. The zero bound is no bound.
type stretch struct {
	from, to bound
	through  bool // to is inside
}

type bound struct{ version, key string }

// compile turns a record into rows; subject interns a package of a release. A
// record that was withdrawn has none.
func compile(a *advisory.Advisory, nth int, subject func(advisory.Subject) uint32) *record {
	r := &record{ref: Ref{a.Feed.Name, a.ID, nth}, names: []string{a.ID}}
	if len(a.Aliases)+len(a.Upstream) > 0 {
		for _, n := range a.Names() {
			if !slices.Contains(r.names, n) {
				r.names = append(r.names, n)
			}
		}
	}
	if cve := a.CVE(); cve != "" {
		r.key = slices.Index(r.names, cve)
	}
	if a.Withdrawn > 0 {
		return r
	}
	var order []advisory.Subject
	parts := map[advisory.Subject][]*advisory.Affected{}
	for i := range a.Affected {
		s := advisory.Subject{Ecosystem: a.Affected[i].Ecosystem, Package: a.Affected[i].Package}
		if parts[s] == nil {
			order = append(order, s)
		}
		parts[s] = append(parts[s], &a.Affected[i])
	}
	r.rows = make([]row, 0, len(order))
	for _, s := range order {
		w := rowOf(a, s.Ecosystem, parts[s])
		w.unnamed = base(s.Ecosystem) == s.Ecosystem
		if scheme, _ := advisory.SchemeOf(s.Ecosystem); w.kind == crooked || scheme == version.RPM {
			if w.more == nil {
				w.more = &more{}
			}
			w.whole = judged(a, parts[s])
		}
		w.of, w.subject = r, subject(s)
		r.rows = append(r.rows, w)
	}
	return r
}

// judged is of a record what room match reads to judge some of its parts: the rest
// of a long record is not kept for it.
func judged(a *advisory.Advisory, parts []*advisory.Affected) *advisory.Advisory {
	r := &advisory.Advisory{ID: a.ID, Source: a.Source, Basis: a.Basis, Withdrawn: a.Withdrawn, Feed: a.Feed, Affected: make([]advisory.Affected, len(parts))}
	for i, f := range parts {
		r.Affected[i] = *f
		r.Affected[i].Severities, r.Affected[i].Note = nil, ""
	}
	return r
}

// rowOf chooses how a row is kept: what is the same for all versions as one
// word, what is ranges as stretches, everything else for room match to judge.
func rowOf(a *advisory.Advisory, ecosystem string, parts []*advisory.Affected) row {
	scheme, known := advisory.SchemeOf(ecosystem)
	words, versions := map[advisory.Status]bool{}, 0
	for _, f := range parts {
		words[f.Status] = true
		versions += len(f.Ranges) + len(f.Versions)
	}
	switch {
	case match.Modular(parts):
		return row{kind: crooked}
	case versions == 0 && (!known || words[advisory.Undetermined]):
		return row{kind: vague}
	case versions == 0 && words[advisory.UnderInvestigation]:
		return row{kind: studied}
	case versions == 0 && words[advisory.NotAffected]:
		return row{kind: denied}
	case versions == 0 && (a.Basis != advisory.BasisStatement || !words[""]):
		return row{kind: vague}
	case known && match.Plain(a, parts):
		return stretched(scheme, parts)
	}
	return row{kind: crooked}
}

// stretched compiles ranges and listed versions, of which there are some.
func stretched(scheme version.Scheme, parts []*advisory.Affected) row {
	var all []stretch
	var listed []string
	for _, f := range parts {
		listed = append(listed, f.Versions...)
		for _, r := range f.Ranges {
			x, ok := stretchOf(scheme, r)
			if !ok {
				return row{kind: crooked}
			}
			all = append(all, x)
		}
	}
	w := row{kind: stretches}
	switch {
	case len(all) == 0: // the list alone: the first stretch must hold nothing
		w.first.to = bound{emptyBound, ""}
	default:
		w.first = all[0]
	}
	if len(all) > 1 || len(listed) > 0 {
		slices.Sort(listed)
		w.more = &more{stretches: all[min(1, len(all)):], listed: slices.Compact(listed)}
	}
	return w
}

// emptyBound stands for a bound below every version; no version is that text.
const emptyBound = "\x00"

// stretchOf reads a range as Range.Contains does; false when it would fail for
// some version.
func stretchOf(scheme version.Scheme, r advisory.Range) (x stretch, ok bool) {
	if r.Introduced != advisory.Beginning {
		if x.from, ok = boundOf(scheme, r.Introduced); !ok {
			return x, false
		}
	}
	end := r.Fixed
	if end == "" {
		end, x.through = r.LastAffected, true
	}
	if end == "" {
		return x, true
	}
	x.to, ok = boundOf(scheme, end)
	return x, ok
}

func boundOf(scheme version.Scheme, v string) (bound, bool) {
	if version.Valid(scheme, v) != nil {
		return bound{}, false
	}
	if scheme != version.Deb {
		return bound{version: v}, true
	}
	key, err := version.Key(v)
	return bound{v, string(key)}, err == nil
}

// prefix reports that the row is a single stretch from the beginning on.
func (w *row) prefix() bool {
	return w.kind == stretches && !w.unnamed && w.first.from == (bound{}) && (w.more == nil || len(w.stretches)+len(w.listed) == 0)
}

// collect adds the hosts that the row concerns.
func (w *row) collect(o *answers) {
	s := o.subject(w.subject)
	w.judge(s, o)
	if w.kind == crooked {
		return
	}
	if w.unnamed {
		o.unknown.orAll(o.Snapshot, s.ordered)
		for _, r := range s.releases {
			o.unknown.orAll(o.Snapshot, o.subject(r).ordered)
			o.unknown.orAll(o.Snapshot, o.subject(r).loose)
		}
	}
	o.unknown.orAll(o.Snapshot, s.loose)
	switch w.kind {
	case vague:
		o.unknown.orAll(o.Snapshot, s.ordered)
	case studied:
		o.studied.orAll(o.Snapshot, s.ordered)
	case stretches:
		w.affected(s, o)
	}
}

// judge asks room match about every version of a crooked row, else about those
// that come from modules.
func (w *row) judge(s *subject, o *answers) {
	ask := func(list []held, unnamed bool) {
		for i := range list {
			h := &list[i]
			seen := match.Seen{Version: h.version(), Module: h.module, Settled: !h.unsettled, Unnamed: unnamed}
			switch state, _ := match.Verdict(w.whole, s.Subject, seen); state {
			case match.Affected:
				o.affected.or(o.Snapshot, h)
			case match.Unknown:
				o.unknown.or(o.Snapshot, h)
			case match.UnderInvestigation:
				o.studied.or(o.Snapshot, h)
			}
		}
	}
	all := func(s *subject, unnamed bool) {
		ask(s.streamed, unnamed)
		if w.kind == crooked {
			ask(s.ordered, unnamed)
			ask(s.loose, unnamed)
		}
	}
	all(s, false)
	if w.unnamed {
		all(s, true)
		for _, r := range s.releases {
			all(o.subject(r), true)
		}
	}
}

func (w *row) affected(s *subject, o *answers) {
	if w.first.to.version != emptyBound {
		lo, hi := s.places(w.first)
		o.affected.orAll(o.Snapshot, s.ordered[lo:hi])
	}
	if w.more == nil {
		return
	}
	for _, x := range w.stretches {
		lo, hi := s.places(x)
		o.affected.orAll(o.Snapshot, s.ordered[lo:hi])
	}
	if len(w.listed) == 0 {
		return
	}
	for i := range s.ordered {
		if _, hit := slices.BinarySearch(w.listed, s.ordered[i].version()); hit {
			o.affected.or(o.Snapshot, &s.ordered[i])
		}
	}
}
