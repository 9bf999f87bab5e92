package solve

import (
	"slices"

	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
)

// goBack sorts the packages that a person wants back into those to ask for and
// those held.
func (s Seen) goBack(targets []Target) chosen {
	c := chosen{to: map[string]string{}, held: map[string]string{}, down: true}
	for _, t := range targets {
		i := slices.IndexFunc(s.Inventory.Packages, func(p inventory.Package) bool { return p.Key() == t.key() && p.Status.Present() })
		if i < 0 {
			c.held[t.key()] = "it is not installed"
			continue
		}
		p := s.Inventory.Packages[i]
		if why := s.stays(p, t.Version); why != "" {
			c.held[t.key()] = why
			continue
		}
		c.want, c.to[t.key()] = append(c.want, p), t.Version
	}
	return c
}

// stays says why a package cannot go back to a version, or "".
func (s Seen) stays(p inventory.Package, to string) string {
	switch {
	case p.Hold:
		return "it is on hold in dpkg: apt-mark unhold " + p.Name + " lets it go"
	case !p.Status.Settled():
		return "an earlier installation of it was interrupted: repair it first (dpkg --configure -a)"
	case !above(p.Version, to):
		return "it is installed as " + p.Version + ", and " + to + " is not below that"
	}
	if _, ok := s.exact(p.Name, p.Arch, to); !ok {
		return "no verified index of the sources still holds " + p.Name + " " + to
	}
	if _, ok := s.exact(p.Name, p.Arch, p.Version); !ok {
		return noWayBack(p.Name, p.Version)
	}
	return ""
}

// shares reports whether an installed package is of the same source as one of
// the targets.
func (s Seen) shares(p inventory.Package, targets []Target) bool {
	return slices.ContainsFunc(targets, func(t Target) bool {
		return slices.ContainsFunc(s.Inventory.Packages, func(o inventory.Package) bool { return o.Key() == t.key() && o.Source == p.Source })
	})
}

// afterwards is what would be found once every pair has gone its way.
func (s Seen) afterwards(pairs []pair) []match.Finding {
	inv := s.Inventory
	inv.Packages = slices.Clone(inv.Packages)
	for i, p := range inv.Packages {
		for _, c := range pairs {
			if c.key() == p.Key() {
				source, version := c.new.Source()
				inv.Packages[i].Version, inv.Packages[i].Source, inv.Packages[i].SourceVersion = c.to, source, version
			}
		}
	}
	return match.Find(inv, s.Index)
}
