// Package fake is a package manager in memory that behaves, and above all
// fails, the way real ones do.
//
// The parties: simulations and tests make a [Manager] with what is installed,
// offer it artefacts, and may arrange one [Fault] for its next transaction. The
// agent's code uses it through pkgmgr.Manager and cannot tell the difference,
// except that every receipt says Simulated.
//
// The promise: it passes pkgmgrtest like pkgmgr/apt. A database that outlives
// the Manager ([Host]) stands for the disk: after a fault of the kind Killed,
// a new Manager over the same Host is the machine after the crash.
//
// It parses no artefact and verifies no vendor: offering a digest is its
// vendor's signature, and a change's class is what the change says.
package fake

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/writ"
)

// Fault is one way in which the next transaction goes wrong.
type Fault string

// The faults. At counts changes from 0 in the order of the writ.
const (
	LockHeld         Fault = "lock held"          // another package manager is at work
	DiskFull         Fault = "disk full"          // seen before the start
	SolverDiffers    Fault = "solver differs"     // a removal that nobody asked for
	FullMidway       Fault = "full midway"        // no room while unpacking change At
	ScriptFails      Fault = "script fails"       // change At stays half-configured
	FailedYetApplied Fault = "failed yet applied" // everything is there, and it says it failed
	Killed           Fault = "killed"             // everything dies before change At
	KilledUnpacked   Fault = "killed unpacked"    // everything dies when change At is unpacked
	ExtraChange      Fault = "extra change"       // another package changes too
)

// Host is a machine's disk: it outlives the Manager.
type Host struct {
	packages  map[string]inventory.Package
	artefacts map[canon.Digest]bool
}

// NewHost is a machine with these packages installed.
func NewHost(installed ...inventory.Package) *Host {
	h := &Host{packages: map[string]inventory.Package{}, artefacts: map[canon.Digest]bool{}}
	for _, p := range installed {
		h.packages[p.Key()] = p
	}
	return h
}

// Offer makes artefacts available, signed by their vendor.
func (h *Host) Offer(digests ...canon.Digest) {
	for _, d := range digests {
		h.artefacts[d] = true
	}
}

// Manager is a package manager over a Host.
type Manager struct {
	host    *Host
	journal pkgmgr.Journal
	now     func() time.Time
	fault   Fault
	at      int
}

var _ pkgmgr.Manager = (*Manager)(nil)

// New is a Manager over host that is remembered by journal.
func New(host *Host, journal pkgmgr.Journal, now func() time.Time) *Manager {
	return &Manager{host: host, journal: journal, now: now}
}

// Arrange makes the next rehearsal or transaction meet the fault, once.
func (m *Manager) Arrange(f Fault, at int) { m.fault, m.at = f, at }

// take reports whether the arranged fault is f, and uses it up.
func (m *Manager) take(f Fault) bool {
	if m.fault != f {
		return false
	}
	m.fault = ""
	return true
}

// States implements pkgmgr.Manager.
func (m *Manager) States(context.Context) ([]inventory.Package, error) {
	all := make([]inventory.Package, 0, len(m.host.packages))
	for _, p := range m.host.packages {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b inventory.Package) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Arch, b.Arch)
	})
	return all, nil
}

// Rehearse implements pkgmgr.Manager.
func (m *Manager) Rehearse(_ context.Context, changes []change.Change) error {
	return m.rehearse(changes, false)
}

func (m *Manager) rehearse(changes []change.Change, undo bool) error {
	for _, c := range changes {
		p := m.host.packages[c.Key()]
		switch {
		case p.Hold:
			return refusal.New(pkgmgr.CodeHeld, "%s", c.Key())
		case !undo && (installed(p) != c.From || (c.From != "" && p.Status.State != inventory.Installed)):
			return refusal.New(pkgmgr.CodeFrom, "%s is %q %s, the writ starts from %q", c.Key(), p.Version, p.Status.State, c.From)
		case c.Artefact != "" && !m.host.artefacts[c.Artefact]:
			return refusal.New(pkgmgr.CodePool, "%s of %s", c.Artefact.Short(), c.Key())
		}
	}
	if m.take(SolverDiffers) {
		return refusal.New(pkgmgr.CodeSolver, "the solver would also remove a package")
	}
	return nil
}

// Apply implements pkgmgr.Manager.
func (m *Manager) Apply(ctx context.Context, v writ.Verified) (writ.Receipt, error) {
	if err := m.check(v); err != nil {
		return writ.Receipt{}, err
	}
	before, err := m.States(ctx)
	if err != nil {
		return writ.Receipt{}, err
	}
	b := pkgmgr.Begin(v, v.Changes(), m.now().Unix(), "run", []writ.Release{})
	if err := v.Take(); err != nil {
		return writ.Receipt{}, err
	}
	if err := m.journal.Begin(b); err != nil {
		return writ.Receipt{}, refusal.New(pkgmgr.CodeJournal, "%v", err)
	}
	complaint := m.transact(b.Changes)
	if complaint == pkgmgr.CodeInterrupted {
		return writ.Receipt{}, refusal.New(complaint, "writ %s", b.Writ.Short())
	}
	return m.report(b, before, complaint)
}

// check is all that is looked at before anything begins.
func (m *Manager) check(v writ.Verified) error {
	if len(v.Changes()) == 0 {
		return v.Take() // the zero value: this refuses
	}
	if err := v.Meets(change.Highest(v.Changes())); err != nil {
		return err
	}
	if keys := pkgmgr.Unsettled(m.all()); len(keys) > 0 && !v.Undo() {
		return refusal.New(pkgmgr.CodeBroken, "%s", strings.Join(keys, ", "))
	}
	for _, c := range v.Back() {
		if !v.Undo() && c.Artefact != "" && !m.host.artefacts[c.Artefact] {
			return refusal.New(pkgmgr.CodeBack, "%s of %s %s", c.Artefact.Short(), c.Key(), c.To)
		}
	}
	switch {
	case m.take(LockHeld):
		return refusal.New(pkgmgr.CodeLock, "held by another process")
	case m.take(DiskFull):
		return refusal.New(pkgmgr.CodeSpace, "0 bytes free")
	}
	return m.rehearse(v.Changes(), v.Undo())
}

func (m *Manager) all() []inventory.Package {
	all, _ := m.States(context.Background()) // never fails here
	return all
}

// transact unpacks every change and then configures every one, as dpkg does,
// and meets the arranged fault on the way.
func (m *Manager) transact(changes []change.Change) refusal.Code {
	fault, at := m.fault, min(m.at, len(changes)-1)
	m.fault = ""
	for i, c := range changes {
		switch {
		case fault == Killed && i == at:
			return pkgmgr.CodeInterrupted
		case fault == FullMidway && i == at:
			m.configure(changes[:i], -1)
			return pkgmgr.CodeFull
		}
		m.unpack(c)
		if fault == KilledUnpacked && i == at {
			return pkgmgr.CodeInterrupted
		}
	}
	failing := -1
	if fault == ScriptFails {
		failing = at
	}
	m.configure(changes, failing)
	switch fault {
	case ScriptFails:
		return pkgmgr.CodeScript
	case FailedYetApplied:
		return pkgmgr.CodeExit
	case ExtraChange:
		m.host.packages["stowaway:all"] = state("stowaway", "all", "1", inventory.Installed)
	}
	return ""
}

func (m *Manager) unpack(c change.Change) {
	if c.Op == change.Remove {
		delete(m.host.packages, c.Key())
		return
	}
	m.host.packages[c.Key()] = state(c.Package, c.Arch, c.To, inventory.Unpacked)
}

// configure brings unpacked changes to rest, except the one at failing.
func (m *Manager) configure(changes []change.Change, failing int) {
	for i, c := range changes {
		p, there := m.host.packages[c.Key()]
		if !there || (p.Status.State != inventory.Unpacked && p.Status.State != inventory.HalfConfigured) {
			continue
		}
		p.Status.State = inventory.Installed
		if i == failing {
			p.Status.State = inventory.HalfConfigured
		}
		m.host.packages[c.Key()] = p
	}
}

// Recover implements pkgmgr.Manager.
func (m *Manager) Recover(_ context.Context, b pkgmgr.Begun) (writ.Receipt, error) {
	m.configure(b.Changes, -1)
	complaint := refusal.Code("")
	if !pkgmgr.Compare(b.Changes, nil, m.all()).There {
		complaint = pkgmgr.CodeInterrupted
	}
	return m.report(b, nil, complaint)
}

func (m *Manager) report(b pkgmgr.Begun, before []inventory.Package, complaint refusal.Code) (writ.Receipt, error) {
	r := b.Conclude(pkgmgr.Compare(b.Changes, before, m.all()), complaint)
	r.Simulated, r.Ended = true, m.now().Unix()
	r.Effective.Installed, r.Effective.Running = writ.No, writ.Unknown
	if r.Outcome == writ.Done || r.Outcome == writ.RolledBack {
		r.Effective.Installed = writ.Yes
	}
	signed, err := m.journal.Ended(r)
	if err != nil {
		return r, refusal.New(pkgmgr.CodeJournal, "the outcome %s could not be stored: %v", r.Outcome, err)
	}
	return signed, nil
}

func state(name, arch, version, word string) inventory.Package {
	return inventory.Package{Name: name, Arch: arch, Version: version, Scheme: "deb", Source: name, SourceVersion: version,
		Status: inventory.Status{Want: "install", Flag: "ok", State: word}}
}

// Installed is a package at rest, for NewHost.
func Installed(name, arch, version string) inventory.Package {
	return state(name, arch, version, inventory.Installed)
}

func installed(p inventory.Package) string {
	if p.Name == "" || !p.Status.Present() {
		return ""
	}
	return p.Version
}

// String tells what is on the machine, one package a line, for tests' logs.
func (h *Host) String() string {
	var lines []string
	for key, p := range h.packages {
		lines = append(lines, fmt.Sprintf("%s %s %s", key, p.Version, p.Status.State))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
