// Package plan is the immutable proposal: exact changes per host, in waves,
// with gates and a way back, named by its digest.
//
// The parties: an author (a person or the control plane on its own) makes it
// from findings (room proposal); people sign its header; every host gets the
// header, its own branch and the path that ties the branch to the header's
// tree. Whoever signs or audits opens the plan with all branches.
//
// The promise: the header's digest fixes every byte of every branch, their
// number and their order. The package does not judge whether a plan is wise or
// permitted.
package plan

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/trust"
)

// Limits.
const (
	MaxLife     = 7 * 24 * 3600 // seconds from Created to Expires
	MaxWaves    = 64
	MaxBranches = 1_000_000
	MaxChanges  = 10_000 // a host has about 600 to 3,000 packages
)

// Type names of the encodings.
const (
	TypeHeader = "patchwrit/plan/v1"
	TypeBranch = "patchwrit/branch/v1"
)

// Header is what people sign. Its digest is the plan's name.
type Header struct {
	Type       string         `json:"type"`
	Nonce      string         `json:"nonce"`      // 32 random bytes, lower hex
	Author     trust.PersonID `json:"author"`     // who wrote it; cannot approve it
	Created    int64          `json:"created"`    // Unix seconds
	Expires    int64          `json:"expires"`    // at most 7 days after Created
	Generation int64          `json:"generation"` // size of a witnessed checkpoint the author had seen; a host never goes back
	Parent     canon.Digest   `json:"parent"`     // the plan this one replaces, or ""
	Dossier    canon.Digest   `json:"dossier"`    // canon.Sum("patchwrit/dossier/v1", dossier bytes)
	Class      change.Class   `json:"class"`      // the highest class in any branch
	Waves      []Wave         `json:"waves"`
	Leaves     int            `json:"leaves"` // number of branches
	Tree       canon.Digest   `json:"tree"`   // RFC 6962 root over the branches' bytes
	Note       canon.Note     `json:"note"`
}

// Wave is one stage of the rollout and the gate behind it.
type Wave struct {
	NotBefore int64 `json:"not_before"` // Unix seconds
	Hosts     int   `json:"hosts"`      // branches in this wave
	Good      int   `json:"good"`       // good receipts of this wave that any later wave must carry
}

// Branch is what happens on one host. Branches stand strictly ascending by host.
type Branch struct {
	Type     string          `json:"type"`
	Host     trust.HostID    `json:"host"`
	Wave     int             `json:"wave"` // index into Header.Waves
	Changes  []change.Change `json:"changes"`
	Rollback []change.Change `json:"rollback"` // back to where it came from, same keys as Changes
	Network  bool            `json:"network"`  // maintainer scripts may use the network
}

// ErrForm says that a plan contradicts itself.
var ErrForm = errors.New("malformed plan")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrForm}, args...)...)
}

// Bytes are the header's canonical bytes: what an approval signs.
func (h Header) Bytes() []byte { return canon.MustEncode(h) }

// Digest names the plan.
func (h Header) Digest() canon.Digest { return canon.Sum(TypeHeader, h.Bytes()) }

// Bytes are the branch's canonical bytes: a leaf of the plan's tree.
func (b Branch) Bytes() []byte { return canon.MustEncode(b) }

// Valid says why the header contradicts itself, or nil.
func (h Header) Valid() error {
	switch {
	case h.Type != TypeHeader:
		return bad("type %q", h.Type)
	case !canon.Hex(h.Nonce, 32) || !h.Dossier.Valid() || !h.Tree.Valid():
		return bad("nonce, dossier and tree must be 32 bytes of lower hex")
	case h.Parent != "" && !h.Parent.Valid():
		return bad("parent %q", h.Parent)
	case h.Author == "":
		return bad("no author")
	case h.Expires <= h.Created || h.Expires-h.Created > MaxLife:
		return bad("lives from %d to %d; the most is 7 days", h.Created, h.Expires)
	case h.Class.Rank() > len(change.Classes):
		return bad("unknown class %q", h.Class)
	case h.Leaves < 1 || h.Leaves > MaxBranches:
		return bad("%d branches", h.Leaves)
	}
	return h.validWaves()
}

func (h Header) validWaves() error {
	if len(h.Waves) < 1 || len(h.Waves) > MaxWaves {
		return bad("%d waves", len(h.Waves))
	}
	hosts := 0
	for i, w := range h.Waves {
		hosts += w.Hosts
		switch {
		case w.Hosts < 1 || w.Good < 1 || w.Good > w.Hosts:
			return bad("wave %d: %d hosts, %d good receipts wanted", i, w.Hosts, w.Good)
		case i > 0 && w.NotBefore < h.Waves[i-1].NotBefore:
			return bad("wave %d begins before wave %d", i, i-1)
		case w.NotBefore >= h.Expires:
			return bad("wave %d begins after the plan has ended", i)
		}
	}
	if hosts != h.Leaves {
		return bad("waves hold %d hosts, the tree %d", hosts, h.Leaves)
	}
	return nil
}

// Valid says why the branch contradicts itself or the header, or nil.
func (b Branch) Valid(h Header) error {
	switch {
	case b.Type != TypeBranch:
		return bad("type %q", b.Type)
	case !b.Host.Valid():
		return bad("host %q is no fingerprint", b.Host)
	case b.Wave < 0 || b.Wave >= len(h.Waves):
		return bad("host %s: wave %d of %d", b.Host.Short(), b.Wave, len(h.Waves))
	case len(b.Changes) > MaxChanges:
		return bad("host %s: %d changes", b.Host.Short(), len(b.Changes))
	case change.Highest(b.Changes).Rank() > h.Class.Rank():
		return bad("host %s: a change is %s, the plan says %s", b.Host.Short(), change.Highest(b.Changes), h.Class)
	}
	if err := change.ValidSet(b.Changes); err != nil {
		return bad("host %s: %v", b.Host.Short(), err)
	}
	return b.validRollback()
}

// validRollback holds the way back to exactly the way forth.
func (b Branch) validRollback() error {
	if len(b.Rollback) != len(b.Changes) {
		return bad("host %s: %d changes forth, %d back", b.Host.Short(), len(b.Changes), len(b.Rollback))
	}
	if err := change.ValidSet(b.Rollback); err != nil {
		return bad("host %s: rollback: %v", b.Host.Short(), err)
	}
	for i, back := range b.Rollback {
		forth := b.Changes[i]
		if back.Key() != forth.Key() || back.From != forth.To || back.To != forth.From || back.Scheme != forth.Scheme {
			return bad("host %s: %s goes back another way", b.Host.Short(), forth.Key())
		}
	}
	return nil
}

// Holds says why branch bytes are not leaf n of the header's tree, or nil.
func (h Header) Holds(branch []byte, n int, path []canon.Digest) error {
	proof := make(tlog.RecordProof, len(path))
	for i, p := range path {
		if !p.Valid() {
			return bad("path element %d", i)
		}
		proof[i] = tlog.Hash(p.Bytes())
	}
	if !h.Tree.Valid() || n < 0 || n >= h.Leaves {
		return bad("branch %d of %d", n, h.Leaves)
	}
	if err := tlog.CheckRecord(proof, int64(h.Leaves), tlog.Hash(h.Tree.Bytes()), int64(n), tlog.RecordHash(branch)); err != nil {
		return bad("branch %d is not in the plan's tree", n)
	}
	return nil
}
