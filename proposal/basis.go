package proposal

import (
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/tlog"
)

// TypeBasis is the type and digest domain of a Basis.
const TypeBasis = "patchwrit/basis/v1"

// Basis is what a plan was made from: which inventory was matched, and which
// findings its changes answer, each with the digest of the feed's own bytes. It
// is logged before its plan, and it permits nothing.
type Basis struct {
	Type      string          `json:"type"`
	Plan      canon.Digest    `json:"plan"`
	At        int64           `json:"at"` // Unix seconds
	Inventory canon.Digest    `json:"inventory"`
	Findings  []match.Finding `json:"findings"`
}

// NewBasis keeps the findings that a plan's causes name.
func NewBasis(f File, inventory canon.Digest, found []match.Finding, at int64) Basis {
	named := map[string]bool{}
	for _, h := range f.Dossier.Hosts {
		for _, c := range h.Causes {
			for _, a := range c.Advisories {
				named[a] = true
			}
		}
	}
	b := Basis{Type: TypeBasis, Plan: f.Header.Digest(), At: at, Inventory: inventory, Findings: []match.Finding{}}
	for _, x := range found {
		if named[x.Advisory] || slices.ContainsFunc(x.Aliases, func(a string) bool { return named[a] }) {
			x.Aliases, x.Sources = append([]string{}, x.Aliases...), append([]match.Source{}, x.Sources...)
			b.Findings = append(b.Findings, x)
		}
	}
	return b
}

// Entry is the basis's log entry.
func (b Basis) Entry() tlog.Entry {
	return tlog.NewEntry("basis", canon.Sum(TypeBasis, canon.MustEncode(b)), b.At)
}
