package solve

import (
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/match"
)

// Held is a record of a feed that does not count as it came.
type Held struct {
	quarantine.Held
	Feed     string   `json:"feed"`
	Packages []string `json:"packages"` // installed packages that it names, "name:arch" ascending
}

// judged gives the feeds as they count: each that has an earlier reading in
// Since is held to that, to every version that the sources' verified indexes
// carry, and to the changelogs and the other earlier readings as second sources.
func (p *planner) judged(s *Seen, changelogs []advisory.Set) []advisory.Set {
	out := slices.Clone(p.Feeds)
	if len(p.Since) == 0 {
		return out
	}
	world := quarantine.NewWorld(s.carried(), nil)
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
			s.Held = append(s.Held, Held{Held: h, Feed: f.Snapshot.Name, Packages: s.named(h)})
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
				out = append(out, quarantine.Version{Ecosystem: ecosystem, Package: name, Version: ver})
			}
		}
	}
	return out
}

// named lists the installed packages that a held record speaks of.
func (s Seen) named(h quarantine.Held) []string {
	out := []string{}
	ecosystem, ok := match.Ecosystem(s.Inventory.OS)
	if !ok {
		return out
	}
	base, _, _ := strings.Cut(ecosystem, ":")
	for _, p := range s.Inventory.Packages {
		if p.Status.Present() && slices.ContainsFunc(match.SourcesOf(p), func(source string) bool {
			return slices.Contains(h.Subjects, advisory.Subject{Ecosystem: ecosystem, Package: source}) ||
				slices.Contains(h.Subjects, advisory.Subject{Ecosystem: base, Package: source})
		}) {
			out = append(out, p.Key())
		}
	}
	slices.Sort(out)
	return out
}
