// Package pkgmgr is the door to a host's package manager: one small interface,
// and what every implementation of it shares.
//
// The parties: the agent holds a verified writ and a journal; an implementation
// (pkgmgr/apt, pkgmgr/fake) carries the writ out and tells what is there
// afterwards; the journal remembers, across crashes, what was begun. The
// objects: a [Manager], a [Journal], a [Begun] transaction, and the [Outcome]
// of comparing the package database before and after.
//
// The promise: Apply takes a writ.Verified and nothing else, so that execution
// without verification does not compile; it does exactly those changes or says
// exactly what is there instead, by the package manager's own database and the
// files, never by an exit status. Whatever it refuses, it refuses with a code,
// and then nothing was begun and the permission is not used up.
//
// It does not decide what is permitted (room writ), and cannot keep local root
// from going round it: that is found as drift, not prevented.
package pkgmgr

import (
	"context"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

// Manager is one host's package manager. Its methods are not called at the same
// time. Implementations may differ in speed and in which faults can meet them,
// and in nothing else: pkgmgrtest is the suite that every one of them passes.
type Manager interface {
	// States reads the package database: every package that is not plainly
	// absent, ascending by name and architecture. It changes nothing. An error
	// is a refusal that says the database cannot be read whole.
	States(context.Context) ([]inventory.Package, error)

	// Rehearse asks the real solver what the changes would bring, from the very
	// artefacts they name, and refuses unless that is exactly this set: nothing
	// more installed, removed or configured, the versions before and after as
	// written. It changes nothing that is installed.
	Rehearse(context.Context, []change.Change) error

	// Apply carries out a permission once. Everything that can be checked is
	// checked first: the artefacts and the way back by their vendor's
	// signatures, their class, the rehearsal, locks, space. Then the permission
	// is taken, Journal.Begin returns, and only then the package manager starts.
	//
	// A nil error means that the transaction was begun and has ended; the
	// receipt, completed by Journal.Ended, says how. An error before Begin means
	// that nothing was changed and the permission is as it was; when Begin itself
	// fails (CodeJournal) nothing was changed either, but this value is used up.
	// CodeRunning and CodeInterrupted mean that it was begun and its end is not
	// known yet: it stays open in the journal, for Recover.
	Apply(context.Context, writ.Verified) (writ.Receipt, error)

	// Recover brings a transaction to rest that was begun and whose end nobody
	// saw: it waits for one that still runs, finishes what was unpacked (never
	// with a solver), and reports what is there. Calling it twice does no harm.
	Recover(context.Context, Begun) (writ.Receipt, error)
}

// Journal is what a Manager needs to be remembered by. The agent implements it.
type Journal interface {
	// Memory is what the host remembers, with the writ at hand already
	// verified: floors for Release dates, and in Time the trusted time.
	Memory() writ.Memory

	// Begin stores the transaction durably (fsync) before it returns; with it
	// the writ is used up. When it fails, nothing may be started.
	Begin(Begun) error

	// Ended stores the outcome durably, closes what Begin opened, and returns
	// the receipt as the host signs it.
	Ended(writ.Receipt) (writ.Receipt, error)
}

// TypeBegun is the type of a Begun.
const TypeBegun = "patchwrit/begun/v1"

// Begun is a transaction from the moment it may no longer be forgotten.
type Begun struct {
	Type     string          `json:"type"`
	Writ     canon.Digest    `json:"writ"`
	Plan     canon.Digest    `json:"plan"`
	Host     trust.HostID    `json:"host"`
	Wave     int             `json:"wave"`
	Shown    canon.Digest    `json:"shown"`   // for the receipt: writ.Verified.Shown
	Undo     bool            `json:"undo"`    // it is the plan's own rollback
	Network  bool            `json:"network"` // maintainer scripts may use the network
	Changes  []change.Change `json:"changes"`
	Started  int64           `json:"started"`  // Unix seconds by the host's clock
	Run      string          `json:"run"`      // the manager's own name for this run
	Releases []writ.Release  `json:"releases"` // Release dates that were verified on the way
}

// Begin is the record of a permission that is about to be used.
func Begin(v writ.Verified, changes []change.Change, started int64, run string, releases []writ.Release) Begun {
	return Begun{
		Type: TypeBegun, Writ: v.Digest(), Plan: v.Plan(), Host: v.Host(), Wave: v.Wave(), Shown: v.Shown(), Undo: v.Undo(), Network: v.Network(),
		Changes: append([]change.Change{}, changes...), Started: started, Run: run, Releases: append([]writ.Release{}, releases...),
	}
}

// Receipt is a receipt for the transaction, with nothing known yet.
func (b Begun) Receipt() writ.Receipt {
	return writ.Receipt{
		Type: writ.TypeReceipt, Host: b.Host, Writ: b.Writ, Plan: b.Plan, Wave: b.Wave, Shown: b.Shown,
		Outcome: writ.Partial, Started: b.Started, States: []writ.State{},
		Effective: writ.Effective{
			Installed: writ.Unknown, Running: writ.Unknown, Rescanned: writ.Unknown,
			Healthy: writ.Unknown, Attested: writ.Unknown, Stale: []string{},
		},
	}
}
