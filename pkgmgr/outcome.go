package pkgmgr

import (
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/writ"
)

// Outcome is what the package databases before and after say about a set of
// changes.
type Outcome struct {
	States  []writ.State // of the packages named, then of any other that differs; ascending by package and architecture
	There   bool         // every change is there
	Nothing bool         // before and after are the same
	Extra   []string     // keys of other packages that differ
}

// Compare judges by the two databases alone. Before is nil when it is not
// known any more (a crash lost it): then the changes' own From stands in, and
// Extra cannot be told.
func Compare(changes []change.Change, before, after []inventory.Package) Outcome {
	was, is := byKey(before), byKey(after)
	out := Outcome{There: true, Nothing: true, States: []writ.State{}}
	named := map[string]bool{}
	for _, c := range changes {
		key := c.Key()
		named[key] = true
		p, old := is[key], c.From
		if before != nil {
			old = present(was[key])
		}
		s := writ.State{Package: c.Package, Arch: c.Arch, Before: old, After: present(p), Status: word(p)}
		out.States = append(out.States, s)
		out.There = out.There && s.After == c.To && settled(p, c.To)
		out.Nothing = out.Nothing && s.After == s.Before && settled(p, s.Before)
	}
	if before != nil {
		out.others(named, was, is)
	}
	slices.SortFunc(out.States, func(a, b writ.State) int {
		if c := strings.Compare(a.Package, b.Package); c != 0 {
			return c
		}
		return strings.Compare(a.Arch, b.Arch)
	})
	return out
}

// others finds packages that nobody named and that differ all the same.
func (o *Outcome) others(named map[string]bool, was, is map[string]inventory.Package) {
	keys := map[string]bool{}
	for key := range was {
		keys[key] = true
	}
	for key := range is {
		keys[key] = true
	}
	for key := range keys {
		a, b := was[key], is[key]
		if named[key] || (a.Version == b.Version && a.Status == b.Status) {
			continue
		}
		name, arch, _ := strings.Cut(key, ":")
		o.States = append(o.States, writ.State{Package: name, Arch: arch, Before: present(a), After: present(b), Status: word(b)})
		o.Extra = append(o.Extra, key)
		o.Nothing = false
	}
	slices.Sort(o.Extra)
}

// Judge turns the outcome and the package manager's own complaint ("" when it
// had none) into what a receipt says. Only when every change is there, nothing
// else is, and nobody complained, it is done.
func (o Outcome) Judge(complaint refusal.Code) (writ.Outcome, refusal.Code) {
	switch {
	case o.There && len(o.Extra) == 0 && complaint == "":
		return writ.Done, ""
	case o.Nothing && complaint == "":
		return writ.Failed, CodeExit
	case o.Nothing:
		return writ.Failed, complaint
	case complaint != "":
		return writ.Partial, complaint
	case len(o.Extra) > 0:
		return writ.Partial, CodeExtra
	}
	return writ.Partial, CodeExit
}

// Conclude is the receipt for the transaction: what o and the package manager's
// complaint say. How far it is effective is for the caller to fill in.
func (b Begun) Conclude(o Outcome, complaint refusal.Code) writ.Receipt {
	r := b.Receipt()
	outcome, code := o.Judge(complaint)
	if b.Undo && outcome == writ.Done {
		outcome = writ.RolledBack
	}
	r.Outcome, r.Code, r.States = outcome, string(code), o.States
	return r
}

// Unsettled lists the keys of packages that somebody left half done.
func Unsettled(packages []inventory.Package) []string {
	var keys []string
	for _, p := range packages {
		if p.Status.Present() && !settled(p, p.Version) {
			keys = append(keys, p.Key())
		}
	}
	return keys
}

// settled reports whether p is at rest: installed at the version, or absent
// when the version is "".
func settled(p inventory.Package, version string) bool {
	if version == "" {
		return !p.Status.Present() || p.Name == ""
	}
	return p.Status.State == inventory.Installed && p.Status.Flag == "ok" && p.Version == version
}

// present is the version of a package whose files may be there, else "".
func present(p inventory.Package) string {
	if p.Name == "" || !p.Status.Present() {
		return ""
	}
	return p.Version
}

func word(p inventory.Package) string {
	if p.Name == "" {
		return inventory.NotInstalled
	}
	if p.Status.Flag != "ok" && p.Status.Flag != "" {
		return p.Status.State + " " + p.Status.Flag
	}
	return p.Status.State
}

func byKey(packages []inventory.Package) map[string]inventory.Package {
	m := make(map[string]inventory.Package, len(packages))
	for _, p := range packages {
		m[p.Key()] = p
	}
	return m
}
