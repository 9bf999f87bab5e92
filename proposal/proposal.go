// Package proposal makes plans: from findings, the package manager's own dry
// run and facts about the artefacts to an immutable plan with its dossier.
//
// The parties: room match says what is affected, a real solver what would
// happen, rooms provenance and artefact what the bytes are; people read the
// dossier and sign the plan; auditors open both. The promise: text never
// creates work (promise P3). A host gets a branch only when at least one of its
// changes answers an authenticated advisory of a vendor or distribution about a
// package it has, and every change carries the class computed from its bytes. A plan that goes down (a
// rollback) is a person's: it has that person's reason, does nothing but go
// down, and names what it opens again.
//
// It runs no solver, fetches nothing and decides nothing about permission.
package proposal

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
)

// TypeDossier is the type and digest domain of a Dossier.
const TypeDossier = "patchwrit/dossier/v1"

// Dossier is what is known about a plan's artefacts and why each host is in it.
// Its digest stands in the plan.
type Dossier struct {
	Type      string     `json:"type"`
	Reason    canon.Note `json:"reason"`    // why a person wants a rollback; "" in every other plan
	Artefacts []Fact     `json:"artefacts"` // ascending by package, architecture, from, to
	Hosts     []Host     `json:"hosts"`     // ascending by id
}

// Fact is everything deterministic about one change of one artefact.
type Fact struct {
	Package       string            `json:"package"`
	Arch          string            `json:"arch"`
	From          string            `json:"from"`
	To            string            `json:"to"`
	Source        string            `json:"source"`
	SourceVersion string            `json:"source_version"`
	Class         change.Class      `json:"class"`
	Reasons       []artefact.Reason `json:"reasons"`
	Diff          artefact.Diff     `json:"diff"`
	Breaks        []artefact.Break  `json:"breaks"` // programs on the host that would miss a symbol
	Chain         provenance.Chain  `json:"chain"`  // how the new artefact is known to be the vendor's
	Back          provenance.Chain  `json:"back"`   // the same for the artefact that leads back; the zero Entry's for an installation
}

func (f Fact) key() string { return strings.Join([]string{f.Package, f.Arch, f.From, f.To}, "\x00") }

// Host says why a host is in the plan and what was left out.
type Host struct {
	ID        trust.HostID `json:"id"`
	Inventory canon.Digest `json:"inventory"` // of the inventory that was matched
	Causes    []Cause      `json:"causes"`    // one for each change, in its order
	Held      []Held       `json:"held"`      // affected packages that this plan does not fix, ascending
}

// Cause is why one change is there.
type Cause struct {
	Key        string   `json:"key"`        // package:arch
	Advisories []string `json:"advisories"` // answered by this change, ascending; none: the solver needs it
	Reopens    []string `json:"reopens"`    // that would be open again after it, ascending: only in a rollback
}

// Held is an affected package that stays as it is, with the reason.
type Held struct {
	Package string     `json:"package"`
	Why     canon.Note `json:"why"`
}

// Bytes are the dossier's canonical bytes.
func (d Dossier) Bytes() []byte { return canon.MustEncode(d) }

// Digest names the dossier.
func (d Dossier) Digest() canon.Digest { return canon.Sum(TypeDossier, d.Bytes()) }

// Request is what a plan is made from.
type Request struct {
	Nonce      string // 32 random bytes, lower hex
	Author     trust.PersonID
	Created    int64 // Unix seconds
	Expires    int64
	Generation int64
	Parent     canon.Digest
	Waves      []plan.Wave // NotBefore and Good; Hosts is counted here
	Hosts      []HostRequest
	Facts      []Fact
	Note       string
	Reason     string // why a person wants a rollback: then every change goes down, and none needs an advisory
}

// HostRequest is one host's part of a request.
type HostRequest struct {
	ID        trust.HostID
	Wave      int
	Inventory canon.Digest
	Findings  []match.Finding
	After     []match.Finding // a rollback's: what would be found once it is done
	Changes   []change.Change // as the real solver would carry them out
	Back      []change.Change // the way back, in the same order
	Network   bool
	Held      []Held
}

// ErrNoCause says that nothing authenticated asks for a host's changes.
var ErrNoCause = errors.New("no authenticated advisory asks for these changes")

// ErrRollback says that a plan goes down without a reason, or has a reason to
// go down and does something else.
var ErrRollback = errors.New("a plan that goes down has a person's reason and does nothing else")

// New makes the plan and its dossier. The plan it returns opens (plan.Open).
func New(r Request) (plan.Header, []plan.Branch, Dossier, error) {
	d := Dossier{Type: TypeDossier, Reason: canon.NoteOf(strings.TrimSpace(r.Reason)), Artefacts: append([]Fact{}, r.Facts...), Hosts: []Host{}}
	slices.SortFunc(d.Artefacts, func(a, b Fact) int { return strings.Compare(a.key(), b.key()) })
	hosts := slices.Clone(r.Hosts)
	slices.SortFunc(hosts, func(a, b HostRequest) int { return strings.Compare(string(a.ID), string(b.ID)) })
	h := plan.Header{Type: plan.TypeHeader, Nonce: r.Nonce, Author: r.Author, Created: r.Created, Expires: r.Expires,
		Generation: r.Generation, Parent: r.Parent, Class: change.Routine, Waves: slices.Clone(r.Waves), Note: canon.NoteOf(r.Note)}
	for i := range h.Waves {
		h.Waves[i].Hosts = 0
	}
	branches, leaves := []plan.Branch{}, [][]byte{}
	for _, hr := range hosts {
		b, host, err := hr.branch(d)
		if err != nil {
			return plan.Header{}, nil, Dossier{}, err
		}
		if b.Wave >= 0 && b.Wave < len(h.Waves) {
			h.Waves[b.Wave].Hosts++
		}
		h.Class = change.Max(h.Class, change.Highest(b.Changes))
		leaf, err := canon.Encode(b)
		if err != nil {
			return plan.Header{}, nil, Dossier{}, fmt.Errorf("host %s: %w", hr.ID.Short(), err)
		}
		branches, leaves, d.Hosts = append(branches, b), append(leaves, leaf), append(d.Hosts, host)
	}
	if _, err := canon.Encode(d); err != nil { // an advisory's or package's name from outside may hold anything
		return plan.Header{}, nil, Dossier{}, fmt.Errorf("the dossier: %w", err)
	}
	tree, err := whole.Tree(leaves)
	h.Tree, h.Leaves, h.Dossier = tree, len(leaves), d.Digest()
	if err := errors.Join(err, whole.Open(h, branches)); err != nil {
		return plan.Header{}, nil, Dossier{}, err
	}
	return h, branches, d, nil
}

// branch makes one host's branch and says why each change is in it.
func (hr HostRequest) branch(d Dossier) (plan.Branch, Host, error) {
	host := Host{ID: hr.ID, Inventory: hr.Inventory, Causes: []Cause{}, Held: append([]Held{}, hr.Held...)}
	slices.SortFunc(host.Held, func(a, b Held) int { return strings.Compare(a.Package, b.Package) })
	answered := 0
	if len(hr.Back) != len(hr.Changes) {
		return plan.Branch{}, host, fmt.Errorf("host %s: %d changes forth, %d back", hr.ID.Short(), len(hr.Changes), len(hr.Back))
	}
	if err := d.direction(hr.Changes); err != nil {
		return plan.Branch{}, host, fmt.Errorf("host %s: %w", hr.ID.Short(), err)
	}
	for i, c := range hr.Changes {
		cause := Cause{Key: c.Key(), Advisories: []string{}, Reopens: reopens(c, hr.Findings, hr.After)}
		if err := d.knows(c, hr.Back[i]); err != nil {
			return plan.Branch{}, host, fmt.Errorf("host %s: %w", hr.ID.Short(), err)
		}
		if f, err := d.fact(c); err == nil && c.To != "" && c.Op != change.Downgrade {
			cause.Advisories = answers(f, c, hr.Findings)
		}
		answered += len(cause.Advisories)
		host.Causes = append(host.Causes, cause)
	}
	if answered == 0 && d.Reason == "" {
		return plan.Branch{}, host, fmt.Errorf("host %s: %w", hr.ID.Short(), ErrNoCause)
	}
	return plan.Branch{Type: plan.TypeBranch, Host: hr.ID, Wave: hr.Wave, Changes: append([]change.Change{}, hr.Changes...),
		Rollback: append([]change.Change{}, hr.Back...), Network: hr.Network}, host, nil
}

// direction says why changes are no part of this plan, or nil: with a reason all
// of them go down, without one none does.
func (d Dossier) direction(changes []change.Change) error {
	for _, c := range changes {
		if (c.Op == change.Downgrade) != (d.Reason != "") {
			return fmt.Errorf("%s: %s with the reason %q: %w", c.Key(), c.Op, d.Reason, ErrRollback)
		}
	}
	return nil
}

// reopens lists the advisories about a downgraded package that hold afterwards
// and do not hold now.
func reopens(c change.Change, now, after []match.Finding) []string {
	ids := []string{}
	about := func(f match.Finding) bool {
		return f.State == match.Affected && f.Package == c.Package && f.Arch == c.Arch
	}
	for _, f := range after {
		open := slices.ContainsFunc(now, func(o match.Finding) bool { return about(o) && o.Advisory == f.Advisory })
		if c.Op == change.Downgrade && about(f) && !open {
			ids = append(ids, f.Advisory)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// knows says why the dossier does not describe a change and its way back, or
// nil. A removal brings nothing new, so it needs no fact; when there is one, it
// must describe what would come back.
func (d Dossier) knows(c, back change.Change) error {
	f, err := d.fact(c)
	if c.To == "" && errors.Is(err, errNoFact) {
		return nil
	}
	if err != nil {
		return err
	}
	if f.Back.Artefact != back.Artefact || f.Back.Origin != back.Origin || f.Back.Size != back.Size {
		return fmt.Errorf("%s: the artefact that leads back differs from what is known about it", c.Key())
	}
	return nil
}

var errNoFact = errors.New("nothing is known about its artefact")

// fact finds what is known about a change and holds the change to it.
func (d Dossier) fact(c change.Change) (Fact, error) {
	want := Fact{Package: c.Package, Arch: c.Arch, From: c.From, To: c.To}.key()
	i, ok := slices.BinarySearchFunc(d.Artefacts, want, func(f Fact, key string) int { return strings.Compare(f.key(), key) })
	if !ok {
		return Fact{}, fmt.Errorf("%s: %w", c.Key(), errNoFact)
	}
	f := d.Artefacts[i]
	if f.Class != c.Class || f.Chain.Artefact != c.Artefact || f.Chain.Origin != c.Origin || f.Chain.Size != c.Size {
		return Fact{}, fmt.Errorf("%s: class, artefact, size or origin differ from what is known about it", c.Key())
	}
	return f, nil
}

// answers lists the advisories that a change fixes on this host: the package is
// affected by the word of its vendor or distribution, and the new source version
// is not below the fixed one.
func answers(f Fact, c change.Change, findings []match.Finding) []string {
	ids := []string{}
	for _, finding := range findings {
		if !finding.Work() || finding.Package != c.Package || finding.Arch != c.Arch {
			continue
		}
		if order, err := version.Compare(c.Scheme, f.SourceVersion, finding.Fixed); err == nil && order >= 0 {
			ids = append(ids, finding.Advisory)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
