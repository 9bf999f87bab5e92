// Package fleet answers for all hosts at once which of them an advisory
// concerns.
//
// The parties: the control plane's one writer feeds an Index with what hosts
// have (room inventory) and what the world says (room advisory); any number of
// readers ask a Snapshot. The objects: a source package of one release in one
// version is held once, told from others byte by byte; a record is compiled to
// stretches of versions, so that its hosts are those of a run of packages. Hosts
// are much alike, so that what one has is held as its difference to a template,
// a list that it shares with the hosts like it: a package knows the templates
// that have it, the hosts that lack it all the same and those that have it
// besides (in Roaring bitmaps where they are many), and a template its hosts,
// whose numbers lie together.
//
// The promise: a Snapshot never changes and may be read by many goroutines
// without any lock while the writer goes on; whoever holds the newest one swaps
// a pointer. Records and hosts come, change and go one at a time or many
// together, and the answer is after each step the one that looking at every
// host would give: the hosts for which match.Explain lists that record with
// the State Affected, Unknown and UnderInvestigation. Records that go by one
// name are joined as match.Find joins them.
//
// It answers by source package. It knows nothing of binary packages,
// architectures, reasons or fixed versions, does not tell a running kernel from
// an installed one, and does not judge feeds that are empty, partial or silent:
// match.Find does all that for one host. Records that have expired are for the
// caller to leave out, as room feed does. What it was told of a host whose
// inventory has gaps, or whose system has no name in advisories, stands in
// Incomplete; such a host may be missing from any answer and is never clean.
//
// What was once interned stays until the Index is built anew: text of versions
// that no host has any more, and templates without hosts. What a host costs is
// what sets it apart from the nearest template: a fleet in which no two hosts
// are alike costs as much as its lists. An Index is for one goroutine; it has no
// door to the disk.
package fleet

import (
	"cmp"
	"strings"

	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
)

// Ref names a record: the feed that carries it and the record's id in it.
type Ref struct {
	Feed, ID string
	Nth      int // of several records of one id in one feed; the first is 0
}

func (r Ref) compare(o Ref) int {
	return cmp.Or(strings.Compare(r.Feed, o.Feed), strings.Compare(r.ID, o.ID), r.Nth-o.Nth)
}

// Package is a source package in one version on one host.
type Package struct {
	Source, Version string
	Unsettled       bool   // it is open which version's files are there
	Module          string // of rpm, the stream that it comes from, "nodejs:18"; OtherStream when that is not known, "" when it is of none
}

// Host is what the index takes in of one host.
type Host struct {
	Name       string    // any text, unique in the fleet
	Ecosystem  string    // as in advisories, "Debian:12"; "" when it has none
	Packages   []Package // in any order; twice is once
	Incomplete bool      // the inventory has gaps
}

// OtherStream stands for a module stream that is not known.
const OtherStream = "?"

// FromInventory gives what the index takes in of an inventory. A host of Red Hat
// Enterprise Linux has no one name in advisories, and is Incomplete.
func FromInventory(name string, inv inventory.Inventory) Host {
	h := Host{Name: name, Incomplete: len(inv.Partial) > 0}
	h.Ecosystem, _ = match.Ecosystem(inv.OS)
	for _, p := range inv.Packages {
		if !p.Status.Present() {
			continue
		}
		stream, modular := match.ModuleStream(p)
		if modular && stream == "" {
			stream = OtherStream
		}
		for _, n := range match.Names(p) {
			h.Packages = append(h.Packages, Package{n.Source, n.Version, !p.Status.Settled(), stream})
		}
	}
	return h
}
