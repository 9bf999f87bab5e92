// Package pkgmgrtest is the conformance suite that every package manager
// behind pkgmgr.Manager passes, the fake one included.
//
// The parties: an implementation's test gives a [Make], which builds a [World]
// for each [Situation]; the suite drives it and looks at what is installed
// afterwards, never at what the implementation says about itself alone.
//
// The promise that is tested is the one in the comments of pkgmgr. What is
// special to one implementation (signatures, hooks, namespaces) it tests itself.
package pkgmgrtest

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/writ"
)

// Situation is what a world is like.
type Situation string

// The situations. In all but Plain the changes meet that trouble.
const (
	Plain            Situation = "plain"              // the changes can simply be done
	LockHeld         Situation = "lock held"          // another package manager is at work, longer than anybody waits
	DiskFull         Situation = "disk full"          // there is no room, and that can be seen before the start
	NoWayBack        Situation = "no way back"        // an old artefact is missing
	SolverDiffers    Situation = "solver differs"     // the solver would do more than the changes
	ScriptFails      Situation = "script fails"       // one change stays half-configured
	FailedYetApplied Situation = "failed yet applied" // all is done, and the package manager says it failed
	Killed           Situation = "killed"             // everything dies in the middle, without a word
)

// World is one host in one situation.
type World struct {
	Manager pkgmgr.Manager
	Changes []change.Change // what the plan wants, at least one upgrade
	// Permit gives a fresh permission for Changes, and a function that gives
	// one for the plan's own rollback after its failure.
	Permit func() (forth writ.Verified, back func() writ.Verified)
	// Reopen gives a Manager for the same host after a crash, with the trouble
	// gone. Only for Killed.
	Reopen func() pkgmgr.Manager
}

// Make builds a fresh world whose manager uses the journal. It may skip the
// test with a clear message.
type Make func(t *testing.T, s Situation, j pkgmgr.Journal) World

// Journal is a journal in memory that watches the order of things.
type Journal struct {
	Held    writ.Memory
	Begun   []pkgmgr.Begun
	Ends    []writ.Receipt
	OnBegin func() error // called in Begin; its error is Begin's
}

// Memory implements pkgmgr.Journal.
func (j *Journal) Memory() writ.Memory { return j.Held }

// Begin implements pkgmgr.Journal.
func (j *Journal) Begin(b pkgmgr.Begun) error {
	if j.OnBegin != nil {
		if err := j.OnBegin(); err != nil {
			return err
		}
	}
	j.Begun = append(j.Begun, b)
	return nil
}

// Ended implements pkgmgr.Journal. The signature is a mark that the suite can
// recognise, not a signature.
func (j *Journal) Ended(r writ.Receipt) (writ.Receipt, error) {
	r.Signature = signedHere
	j.Ends = append(j.Ends, r)
	return r, nil
}

const signedHere = "completed by the journal"

// Run runs the whole suite.
func Run(t *testing.T, build Make) {
	for _, c := range []struct {
		name string
		in   Situation
		run  func(*testing.T, *run)
	}{
		{"nothing without a permission", Plain, zeroPermitsNothing},
		{"a rehearsal changes nothing", Plain, rehearsal},
		{"done is exactly the changes", Plain, done},
		{"no journal so no change", Plain, journalFirst},
		{"another package manager at work", LockHeld, before(pkgmgr.CodeLock)},
		{"no room", DiskFull, before(pkgmgr.CodeSpace)},
		{"no way back so no way forth", NoWayBack, before(pkgmgr.CodeBack)},
		{"the solver wants more", SolverDiffers, before(pkgmgr.CodeSolver)},
		{"a script fails and back", ScriptFails, failsAndBack},
		{"failed yet applied", FailedYetApplied, failedYetApplied},
		{"killed then recovered", Killed, killed},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := &Journal{}
			w := build(t, c.in, j)
			c.run(t, &run{World: w, journal: j, start: states(t, w.Manager)})
		})
	}
}

// run is one test in one world.
type run struct {
	World
	journal *Journal
	start   []inventory.Package
}

func states(t *testing.T, m pkgmgr.Manager) []inventory.Package {
	t.Helper()
	all, err := m.States(context.Background())
	if err != nil {
		t.Fatalf("the package database cannot be read: %v", err)
	}
	if len(all) == 0 {
		t.Fatal("no package at all; the suite would prove nothing")
	}
	return all
}

func (r *run) unchanged(t *testing.T) {
	t.Helper()
	if now := states(t, r.Manager); !reflect.DeepEqual(now, r.start) {
		t.Errorf("the host changed:\n%+v", pkgmgr.Compare(nil, r.start, now).States)
	}
}

func (r *run) notBegun(t *testing.T, v writ.Verified) {
	t.Helper()
	r.unchanged(t)
	if len(r.journal.Begun) > 0 {
		t.Error("it was begun")
	}
	if err := v.Take(); err != nil {
		t.Errorf("the permission is used up although nothing was begun: %v", err)
	}
}

func zeroPermitsNothing(t *testing.T, r *run) {
	_, err := r.Manager.Apply(context.Background(), writ.Verified{})
	if refusal.CodeOf(err) != "PW-VERIFIED-ZERO" {
		t.Errorf("got %v", err)
	}
	r.unchanged(t)
	if len(r.journal.Begun) > 0 {
		t.Error("it was begun")
	}
}

func rehearsal(t *testing.T, r *run) {
	if err := r.Manager.Rehearse(context.Background(), r.Changes); err != nil {
		t.Errorf("a possible set: %v", err)
	}
	other := append([]change.Change{}, r.Changes...)
	other[0].From += "+other"
	if err := r.Manager.Rehearse(context.Background(), other); refusal.CodeOf(err) != pkgmgr.CodeFrom {
		t.Errorf("from another version than is installed: %v", err)
	}
	r.unchanged(t)
}

func done(t *testing.T, r *run) {
	v, _ := r.Permit()
	r.journal.OnBegin = func() error { r.unchanged(t); return nil }
	receipt, err := r.Manager.Apply(context.Background(), v)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	if receipt.Outcome != writ.Done || receipt.Code != "" || receipt.Signature != signedHere || receipt.Effective.Installed != writ.Yes {
		t.Errorf("receipt %+v", receipt)
	}
	if receipt.Writ != v.Digest() || receipt.Host != v.Host() || receipt.Plan != v.Plan() || receipt.Started == 0 || receipt.Ended < receipt.Started {
		t.Errorf("the receipt names something else: %+v", receipt)
	}
	now := states(t, r.Manager)
	if o := pkgmgr.Compare(r.Changes, r.start, now); !o.There || len(o.Extra) > 0 || !reflect.DeepEqual(o.States, receipt.States) {
		t.Errorf("the database says %+v, the receipt %+v", o, receipt.States)
	}
	if len(r.journal.Begun) != 1 || len(r.journal.Ends) != 1 {
		t.Errorf("journal: %d begun, %d ended", len(r.journal.Begun), len(r.journal.Ends))
	}
	if _, err := r.Manager.Apply(context.Background(), v); err == nil {
		t.Error("the permission worked twice")
	}
	if again := states(t, r.Manager); !reflect.DeepEqual(again, now) || len(r.journal.Begun) != 1 {
		t.Error("the second attempt had an effect")
	}
}

func journalFirst(t *testing.T, r *run) {
	v, _ := r.Permit()
	r.journal.OnBegin = func() error { return errors.New("the disk of the journal is gone") }
	if _, err := r.Manager.Apply(context.Background(), v); refusal.CodeOf(err) != pkgmgr.CodeJournal {
		t.Errorf("got %v", err)
	}
	r.unchanged(t)
}

// before tests trouble that is seen before anything begins.
func before(want refusal.Code) func(*testing.T, *run) {
	return func(t *testing.T, r *run) {
		v, _ := r.Permit()
		_, err := r.Manager.Apply(context.Background(), v)
		if refusal.CodeOf(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
		r.notBegun(t, v)
	}
}

func failsAndBack(t *testing.T, r *run) {
	v, back := r.Permit()
	receipt, err := r.Manager.Apply(context.Background(), v)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	if receipt.Outcome != writ.Partial || receipt.Code != string(pkgmgr.CodeScript) || receipt.Effective.Installed == writ.Yes {
		t.Errorf("receipt %+v", receipt)
	}
	r.exact(t, receipt)
	receipt, err = r.Manager.Apply(context.Background(), back())
	if err != nil {
		t.Fatalf("the way back: %v", err)
	}
	if receipt.Outcome != writ.RolledBack {
		t.Errorf("receipt of the way back %+v", receipt)
	}
	r.unchanged(t)
}

// exact compares the receipt's states with the database.
func (r *run) exact(t *testing.T, receipt writ.Receipt) {
	t.Helper()
	if o := pkgmgr.Compare(r.Changes, r.start, states(t, r.Manager)); !reflect.DeepEqual(o.States, receipt.States) {
		t.Errorf("the database says %+v, the receipt %+v", o.States, receipt.States)
	}
}

func failedYetApplied(t *testing.T, r *run) {
	v, _ := r.Permit()
	receipt, err := r.Manager.Apply(context.Background(), v)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	if receipt.Outcome != writ.Partial || receipt.Code == "" {
		t.Errorf("a failure that the package manager reported passed as %s %q", receipt.Outcome, receipt.Code)
	}
	if !pkgmgr.Compare(r.Changes, r.start, states(t, r.Manager)).There {
		t.Error("this world did not apply the changes; the test would prove nothing")
	}
	r.exact(t, receipt)
}

func killed(t *testing.T, r *run) {
	v, _ := r.Permit()
	_, err := r.Manager.Apply(context.Background(), v)
	if code := refusal.CodeOf(err); code != pkgmgr.CodeInterrupted && code != pkgmgr.CodeRunning {
		t.Fatalf("killed in the middle, it said %v", err)
	}
	if len(r.journal.Begun) != 1 || len(r.journal.Ends) != 0 {
		t.Fatalf("journal: %d begun, %d ended", len(r.journal.Begun), len(r.journal.Ends))
	}
	r.Manager = r.Reopen()
	first, err := r.Manager.Recover(context.Background(), r.journal.Begun[0])
	if err != nil {
		t.Fatalf("Recover: %v", err)
	}
	now := states(t, r.Manager)
	if keys := pkgmgr.Unsettled(now); len(keys) > 0 && first.Outcome == writ.Done {
		t.Errorf("half done packages %v, reported %s", keys, first.Outcome)
	}
	if there := pkgmgr.Compare(r.Changes, r.start, now).There; there != (first.Outcome == writ.Done) {
		t.Errorf("all there: %v, reported %s", there, first.Outcome)
	}
	r.exact(t, first)
	again, err := r.Manager.Recover(context.Background(), r.journal.Begun[0])
	if err != nil || again.Outcome != first.Outcome || !reflect.DeepEqual(again.States, first.States) {
		t.Errorf("recovered again: %+v, %v; first: %+v", again, err, first)
	}
}
