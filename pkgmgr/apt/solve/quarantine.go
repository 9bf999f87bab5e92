package solve

import (
	"fmt"
	"slices"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	carried "github.com/patchwrit/patchwrit/feed/world"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
)

// Held is a record of a feed that does not count as it came.
type Held struct {
	quarantine.Held
	Feed     string   `json:"feed"`
	Packages []string `json:"packages"` // installed packages that it names, "name:arch" ascending; a library without ":arch"

	Came *advisory.Advisory `json:"-"` // the form that does not count; nil: it is gone, or not known
}

// Doubt takes held records in. Where the form that came says that something is
// affected, or may be, and what counts does not, the answer is unknown: nobody has
// decided which of the two is right. Such answers stand last. more finds what the inventory does not hold
// (libraries of a bill), or is nil.
func (s *Seen) Doubt(held []Held, more func(match.Index) []match.Finding) {
	by := map[string][]int{} // what came → places in s.Held
	var sets []advisory.Set
	names := s.naming()
	for _, h := range held {
		h.Packages = names(h.Held)
		s.Held = append(s.Held, h)
		if h.Came != nil {
			sets = append(sets, advisory.Set{Snapshot: advisory.Snapshot{Name: h.Feed, Count: 1}, Advisories: []advisory.Advisory{*h.Came}})
			by[string(h.Came.Raw)] = append(by[string(h.Came.Raw)], len(s.Held)-1)
		}
	}
	if len(sets) == 0 {
		return
	}
	ix := match.NewIndex(sets...)
	found := match.Find(s.Inventory, ix)
	if more != nil {
		found = append(found, more(ix)...)
	}
	type subject struct{ key, version string }
	at := map[subject][]int{} // places in s.Findings
	for i, f := range s.Findings {
		if f.Package != "" {
			at[subject{Key(f), f.Version}] = append(at[subject{Key(f), f.Version}], i)
		}
	}
	for _, f := range found {
		switch {
		case f.Reason.Code == match.TooMany: // what is held may hold anything
			s.Findings = append(s.Findings, f)
			continue
		case f.Package == "" || f.Advisory == "":
			continue
		}
		for _, o := range f.Sources {
			for _, i := range by[string(o.Raw)] {
				s.Held[i].Packages = with(s.Held[i].Packages, Key(f))
			}
		}
		of := subject{Key(f), f.Version}
		if !slices.ContainsFunc(at[of], func(i int) bool { return overlap(s.Findings[i].Names(), f.Names()) }) {
			f.State, f.Reason, f.Fixed = match.Unknown, doubt(f), ""
			at[of] = append(at[of], len(s.Findings))
			s.Findings = append(s.Findings, f)
		}
	}
}

// Key names an installed package as an inventory does; a library is its name.
func Key(f match.Finding) string {
	if f.Arch == "" {
		return f.Package
	}
	return f.Package + ":" + f.Arch
}

func doubt(f match.Finding) match.Reason {
	feed := ""
	if len(f.Sources) > 0 {
		feed = f.Sources[0].Feed
	}
	return match.Reason{Code: match.Quarantined, Text: fmt.Sprintf("Record %+q of feed %+q does not count, for it is in quarantine; it would say that %s %s is affected.", f.Advisory, feed, f.Package, f.Version)}
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(n string) bool { return slices.Contains(b, n) })
}

func with(list []string, name string) []string {
	if i, found := slices.BinarySearch(list, name); !found {
		return slices.Insert(list, i, name)
	}
	return list
}

// judged gives the feeds as they count: each that has an earlier reading in
// Since is held to that, to every version that the sources' verified indexes
// carry, and to the changelogs and the other earlier readings as second sources.
func (p *planner) judged(s *Seen, changelogs []advisory.Set) []advisory.Set {
	out := slices.Clone(p.Feeds)
	if len(p.Since) == 0 {
		return out
	}
	world, names := quarantine.NewWorld(s.carried(), nil), s.naming()
	for i, f := range p.Feeds {
		last, ok := p.Since[i]
		if !ok {
			continue
		}
		others := slices.Clone(changelogs)
		for k, other := range p.Since {
			if k != i {
				others = append(others, other)
			}
		}
		v := quarantine.Judge(quarantine.Case{Last: &last, New: f, World: world, Others: others, Releases: p.Released, Now: p.Now.Unix()})
		out[i] = v.Set
		for _, r := range v.Whole {
			why := "what came was not accepted, so an earlier reading counts: " + r.Text.Text() + " (" + string(r.Code) + ")"
			out[i].Snapshot.Partial = append(slices.Clip(out[i].Snapshot.Partial), advisory.Gap{Why: canon.NoteOf(why)})
		}
		for _, h := range v.Held {
			s.Held = append(s.Held, Held{Held: h, Feed: f.Snapshot.Name, Packages: names(h)})
		}
	}
	return out
}

// carried lists the versions of every source package in the verified indexes.
func (s Seen) carried() []quarantine.Version {
	ecosystem, ok := match.Ecosystem(s.Inventory.OS)
	if !ok || len(s.vendors) == 0 {
		return nil
	}
	var out []quarantine.Version
	for _, v := range s.vendors {
		for _, index := range v.indexes {
			for e := range index.All() {
				name, ver := e.Source()
				out = append(out, quarantine.Version{Ecosystem: ecosystem, Package: name, Version: ver, First: true})
			}
		}
	}
	return out
}

// Archives are the verified releases that were read, with what they carry.
func (s Seen) Archives() (out []carried.Archive) {
	ecosystem, ok := match.Ecosystem(s.Inventory.OS)
	if !ok {
		return nil
	}
	for _, v := range s.vendors {
		out = append(out, carried.Archive{Ecosystem: ecosystem, Name: string(v.source.Origin.ID) + "/" + v.source.Suite, Release: v.release.Digest(),
			Versions: func(yield func(name, version string) bool) {
				for _, index := range v.indexes {
					for e := range index.All() {
						if !yield(e.Source()) {
							return
						}
					}
				}
			}})
	}
	return out
}

// naming gives a function that lists the installed packages that a held record
// speaks of, ascending.
func (s Seen) naming() func(quarantine.Held) []string {
	by := map[string][]inventory.Package{}
	for _, p := range s.Inventory.Packages {
		if !p.Status.Present() {
			continue
		}
		by[p.Source] = append(by[p.Source], p)
		for _, n := range match.Names(p) {
			if n.Source != p.Source {
				by[n.Source] = append(by[n.Source], p)
			}
		}
	}
	return func(h quarantine.Held) []string {
		out := []string{}
		for _, about := range h.Subjects {
			for _, p := range by[about.Package] {
				if match.Concerns(s.Inventory.OS, p, about) {
					out = append(out, p.Key())
				}
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
}
