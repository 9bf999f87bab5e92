package quarantine

import (
	"slices"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/version"
)

// judge is a case with what is looked up often.
type judge struct {
	Case
	last    map[string][]*advisory.Advisory // by id
	pairs   []*advisory.Advisory            // of what came: what it replaces, or nil
	gone    []*advisory.Advisory            // what nothing that came replaces
	flooded map[string]Reason               // new records that are held since a flood, by id
	names   map[string]*names               // known packages by ecosystem's base
	tops    map[advisory.Subject]top        // of the fixed versions that counted
	others  map[advisory.Subject][]*advisory.Advisory
}

func newJudge(c Case) *judge {
	j := &judge{Case: c, last: map[string][]*advisory.Advisory{}, flooded: map[string]Reason{}, names: map[string]*names{},
		tops: map[advisory.Subject]top{}, others: map[advisory.Subject][]*advisory.Advisory{}}
	if c.Last != nil {
		for i := range c.Last.Advisories {
			a := &c.Last.Advisories[i]
			j.last[a.ID] = append(j.last[a.ID], a)
			for _, f := range a.Affected {
				j.know(f.Ecosystem, f.Package)
				for _, r := range f.Ranges {
					s := advisory.Subject{Ecosystem: f.Ecosystem, Package: f.Package}
					j.tops[s] = j.tops[s].with(r.Fixed)
				}
			}
		}
	}
	j.pair()
	for _, h := range c.Before {
		for _, r := range h.Reasons {
			if r.Code == CodeFlood {
				j.flooded[h.ID] = r
			}
		}
	}
	for s := range c.World.carried {
		j.know(s.Ecosystem, s.Package)
	}
	for i := range c.Others {
		for k := range c.Others[i].Advisories {
			a := &c.Others[i].Advisories[k]
			for _, f := range a.Affected {
				s := advisory.Subject{Ecosystem: f.Ecosystem, Package: f.Package}
				j.others[s] = append(j.others[s], a)
			}
		}
	}
	return j
}

// pair finds what each record that came replaces. An id can stand more than once,
// in the folders of several releases: then the same bytes are the same record,
// and of the others those that name a package in common.
func (j *judge) pair() {
	j.pairs = make([]*advisory.Advisory, len(j.New.Advisories))
	taken := map[*advisory.Advisory]bool{}
	for _, fits := range []func(a, old *advisory.Advisory) bool{
		func(a, old *advisory.Advisory) bool { return a.Raw == old.Raw },
		func(a, old *advisory.Advisory) bool {
			return slices.ContainsFunc(old.Affected, func(o advisory.Affected) bool { return names1(a, o) })
		},
		func(_, _ *advisory.Advisory) bool { return true },
	} {
		for i := range j.New.Advisories {
			a := &j.New.Advisories[i]
			if j.pairs[i] != nil {
				continue
			}
			for _, old := range j.last[a.ID] {
				if !taken[old] && fits(a, old) {
					j.pairs[i], taken[old] = old, true
					break
				}
			}
		}
	}
	if j.Last == nil {
		return
	}
	for i := range j.Last.Advisories {
		if old := &j.Last.Advisories[i]; !taken[old] {
			j.gone = append(j.gone, old)
		}
	}
}

// flood is why no new record of this snapshot counts by itself, or nil.
func (j *judge) flood() *Reason {
	if j.Last == nil || j.Again {
		return nil
	}
	fresh := 0
	for i, a := range j.New.Advisories {
		if _, stays := j.flooded[a.ID]; !stays && j.pairs[i] == nil && a.Basis != advisory.BasisStatement {
			fresh++
		}
	}
	// whole days: feeds come in batches
	days := max(1, (j.New.Snapshot.Fetched-j.Last.Snapshot.Fetched)/day)
	most := int64(j.Limits.New+len(j.Last.Advisories)*j.Limits.Share/100) * days
	if int64(fresh+j.Recent) <= most || fresh == 0 {
		return nil
	}
	r := say(CodeFlood, "%d new records came within %d day(s); more than %d are not believed without a second source", fresh+j.Recent, days, most)
	return &r
}

// mass is why nothing of a snapshot counts of which too many records would be
// held at their last form, or nil. A few are always let through to be held.
func (j *judge) mass(list []Held) *Reason {
	if j.Last == nil || j.Again {
		return nil
	}
	n := 0
	for _, h := range list {
		if h.Last != nil && h.Raw != "" {
			n++
		}
	}
	if n <= few || n*100 <= len(j.Last.Advisories)*j.Limits.Mass {
		return nil
	}
	r := say(CodeMass, "%d of the %d records that count would change in a way that is not believed; more than %d%% is no news", n, len(j.Last.Advisories), j.Limits.Mass)
	return &r
}

// few suspicious records are never a mass.
const few = 100

// against lists what speaks against a record that came; old is the version that
// counts, or nil.
func (j *judge) against(a, old *advisory.Advisory) []Reason {
	out := []Reason{}
	if a.Basis == advisory.BasisStatement || old != nil && old.Raw == a.Raw {
		return out
	}
	if old != nil {
		if old.Withdrawn == 0 && a.Withdrawn > 0 {
			out = append(out, say(CodeWithdrawn, "the record was in force and is now withdrawn (%s)", date(a.Withdrawn)))
		} else if why := j.lowered(a, old); why != "" {
			out = append(out, say(CodeLowered, "%s", why))
		}
		if why := flipped(a, old); why != "" {
			out = append(out, say(CodeSeverity, "%s", why))
		}
	}
	if why := j.outOfTime(a, old); why != "" {
		out = append(out, say(CodeTime, "%s", why))
	}
	for _, f := range a.Affected {
		if why := j.lookAlike(f, a); why != "" {
			out = append(out, say(CodeLookAlike, "%s", why))
			break
		}
	}
	for _, f := range a.Affected {
		if why := j.impossible(f, old); why != "" {
			out = append(out, say(CodeVersion, "%s", why))
			break
		}
	}
	return out
}

func (j *judge) outOfTime(a, old *advisory.Advisory) string {
	switch limit := j.Now + day; {
	case a.Published > limit:
		return "it says that it was published in the future (" + date(a.Published) + ")"
	case a.Modified > limit:
		return "it says that it was changed in the future (" + date(a.Modified) + ")"
	case old != nil && a.Modified < old.Modified:
		return "it says that it was changed " + date(a.Modified) + ", before the version that counts (" + date(old.Modified) + ")"
	}
	return ""
}

// corroboration lists the records of other feeds' vendors or distributions that
// together say the same as a about every package of which a says something else
// than old; none when one of these packages has no such record.
func (j *judge) corroboration(a, old *advisory.Advisory) (by []advisory.Advisory) {
	if a == nil || len(j.others) == 0 {
		return nil
	}
	parts := a.Affected
	if a.Withdrawn > 0 && old != nil {
		parts = old.Affected
	}
	for _, f := range parts {
		if a.Withdrawn == 0 && old != nil && slices.ContainsFunc(old.Affected, func(o advisory.Affected) bool { return sameWord(f, o) }) {
			continue
		}
		list := j.others[advisory.Subject{Ecosystem: f.Ecosystem, Package: f.Package}]
		i := slices.IndexFunc(list, func(o *advisory.Advisory) bool {
			return o.Source != a.Source && o.Feed.Name != a.Feed.Name && o.Over(f.Ecosystem).Works() && sameCVE(o, a, old) && agrees(o, a, f)
		})
		if i < 0 {
			return nil
		}
		if !slices.ContainsFunc(by, func(o advisory.Advisory) bool { return o.ID == list[i].ID && o.Feed.Name == list[i].Feed.Name }) {
			by = append(by, *list[i])
		}
	}
	if a.Withdrawn == 0 && old != nil && slices.ContainsFunc(old.Affected, func(o advisory.Affected) bool { return !names1(a, o) }) {
		return nil // it no longer names a package: nobody can say the same of nothing
	}
	return by
}

// names1 reports whether a names the package of part o.
func names1(a *advisory.Advisory, o advisory.Affected) bool {
	return slices.ContainsFunc(a.Affected, func(f advisory.Affected) bool {
		return f.Ecosystem == o.Ecosystem && f.Package == o.Package && f.Module == o.Module
	})
}

// sameCVE reports whether two records are about one vulnerability.
func sameCVE(o, a, old *advisory.Advisory) bool {
	c := a.CVE()
	if c == "" && old != nil {
		c = old.CVE()
	}
	return c != "" && o.CVE() == c
}

// agrees reports whether o says of part f's package what a says.
func agrees(o, a *advisory.Advisory, f advisory.Affected) bool {
	if a.Withdrawn > 0 || o.Withdrawn > 0 {
		return a.Withdrawn > 0 && (o.Withdrawn > 0 || slices.ContainsFunc(o.Affected, func(p advisory.Affected) bool {
			return p.Ecosystem == f.Ecosystem && p.Package == f.Package && p.Status == advisory.NotAffected
		}))
	}
	return slices.ContainsFunc(o.Affected, func(p advisory.Affected) bool { return sameWord(f, p) })
}

// sameWord reports whether two parts say the same about the same package.
func sameWord(f, o advisory.Affected) bool {
	return f.Ecosystem == o.Ecosystem && f.Package == o.Package && f.Module == o.Module && f.Status == o.Status && slices.Equal(f.Ranges, o.Ranges) && slices.Equal(f.Versions, o.Versions)
}

// lowered says which affected versions the new record takes out, or "". That a
// stretch without end gets a fixed version is news, not a lowering, unless it
// is one that the world knows not to be.
func (j *judge) lowered(a, old *advisory.Advisory) string {
	if old.Withdrawn > 0 {
		return ""
	}
	for _, o := range old.Affected {
		if o.Status == advisory.NotAffected || o.Status == advisory.UnderInvestigation || o.Status == advisory.Undetermined {
			continue
		}
		var now []advisory.Range
		said := o.Status == ""
		listed := map[string]bool{}
		for _, f := range a.Affected {
			if f.Ecosystem == o.Ecosystem && f.Package == o.Package && f.Module == o.Module {
				now, said = append(now, f.Ranges...), true
				for _, v := range f.Versions {
					listed[v] = true
				}
			}
		}
		if !said {
			return "it no longer names " + o.Package + " of " + o.Ecosystem
		}
		for _, r := range o.Ranges {
			if why := shorter(o, r, now); why != "" {
				return why
			}
		}
		for _, v := range o.Versions {
			if scheme, ok := advisory.SchemeOf(o.Ecosystem); !listed[v] && !(ok && inside(scheme, v, now)) {
				return "version " + v + " of " + o.Package + " is no longer named as affected"
			}
		}
	}
	return ""
}

func inside(s version.Scheme, v string, list []advisory.Range) bool {
	return slices.ContainsFunc(list, func(r advisory.Range) bool {
		in, err := r.Contains(s, v)
		return in && err == nil
	})
}

// shorter says that now leaves out a piece of what r covered, or "".
func shorter(o advisory.Affected, r advisory.Range, now []advisory.Range) string {
	if slices.Contains(now, r) {
		return ""
	}
	s, ok := advisory.SchemeOf(o.Ecosystem)
	for _, n := range now {
		if begins(s, ok, n, r) && endsNotBefore(s, ok, n, r) {
			return ""
		}
	}
	what := "no fixed version"
	if r.Fixed != "" {
		what = "the fixed version " + r.Fixed
	}
	if len(now) == 0 {
		return "the affected versions of " + o.Package + " of " + o.Ecosystem + " (" + what + ") are gone"
	}
	return "fewer versions of " + o.Package + " of " + o.Ecosystem + " are affected than before: it had " + what + " from " + r.Introduced + " on, now " + brief(now)
}

func brief(list []advisory.Range) string {
	out := ""
	for i, r := range list {
		if i == 3 {
			return out + " and more"
		}
		if i > 0 {
			out += ", "
		}
		out += r.Introduced + " to " + r.Fixed + r.LastAffected
	}
	return out
}

// begins reports whether n begins no later than r.
func begins(s version.Scheme, ordered bool, n, r advisory.Range) bool {
	if n.Introduced == r.Introduced || n.Introduced == advisory.Beginning {
		return true
	}
	c, err := version.Compare(s, n.Introduced, r.Introduced)
	return ordered && r.Introduced != advisory.Beginning && err == nil && c <= 0
}

// endsNotBefore reports whether n reaches as far as r. A stretch without end may
// get one: room match then says of which versions it holds.
func endsNotBefore(s version.Scheme, ordered bool, n, r advisory.Range) bool {
	open := func(r advisory.Range) bool { return r.Fixed == "" && r.LastAffected == "" }
	switch {
	case open(n) || open(r):
		return true
	case n.Fixed == r.Fixed && n.LastAffected == r.LastAffected:
		return true
	case !ordered || (n.Fixed == "") && r.Fixed != "":
		return false
	}
	c, err := version.Compare(s, n.Fixed+n.LastAffected, r.Fixed+r.LastAffected)
	return err == nil && c >= 0
}
