// Package apt carries writs out with the real apt and dpkg of Debian and
// Ubuntu, on the running system or on a root directory, and says what is there
// afterwards.
//
// The parties: the agent calls a [Manager] with a verified writ; a supervisor,
// which is the agent's binary started inside the root ([Supervise]), is the
// parent of apt and dpkg and outlives the agent; apt asks the gate, the same
// binary ([Gate]), before dpkg starts. The objects: the pool, bytes from
// anywhere that travel with a writ; the own directory /var/lib/patchwrit, root's
// and mode 0700, with an apt configuration, lists and archives that are nobody
// else's; a run, one directory in it for each attempt.
//
// The promise is pkgmgr.Manager's, kept so: every artefact, old and new, is
// copied while it is hashed and traced to its vendor's signature before it is
// opened; its class is computed from its bytes; apt gets exactly those files and
// no source, so the solver cannot want others; the gate compares the whole set
// of operations with a sealed list; maintainer scripts have no network unless
// the plan gives it; a running dpkg is never cut; what happened is read from
// dpkg's database and from the files.
//
// What it does not do: it does not stop local root, nor `dpkg -i`. In a root
// directory services are not kept: what a maintainer script starts there ends
// with the run. Where systemd runs, the supervisor lives in a scope of its own,
// so that the end of the agent's unit does not reach it; elsewhere it has only a
// session of its own. A scope has the agent's sandbox: what the agent's unit is
// forbidden, maintainer scripts are too.
package apt

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// Config is what a Manager works with. Root, Journal, Agent and Now have no
// default.
type Config struct {
	Root     string           // "/" for the running system, or a directory with a system in it
	Trust    trust.Root       // vendors' keyrings and the critical list; not needed for States and Recover
	Pool     string           // directory of the bytes that came with the writ (docs/design/0001); may be empty
	Agent    string           // path of the agent's binary, with the verbs gate and supervise
	Journal  pkgmgr.Journal   // not needed for States
	Now      func() time.Time // the host's clock
	Progress io.Writer        // the package manager's own words; nil: nowhere
	LockWait time.Duration    // how long to wait for another package manager; 0: not at all
}

// Manager implements pkgmgr.Manager with apt and dpkg.
type Manager struct {
	Config
	sys *system
}

var _ pkgmgr.Manager = (*Manager)(nil)

// New opens a root directory that holds a Debian system. Close it after use.
func New(c Config) (*Manager, error) {
	sys, err := openSystem(c.Root)
	if err != nil {
		return nil, err
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	return &Manager{Config: c, sys: sys}, nil
}

// Close lets the root directory go.
func (m *Manager) Close() { m.sys.close() }

// States implements pkgmgr.Manager.
func (m *Manager) States(context.Context) ([]inventory.Package, error) {
	inv, err := m.inventory()
	return inv.Packages, err
}

// inventory reads the root. A package database that cannot be read whole is a
// refusal; what could be read comes with it.
func (m *Manager) inventory() (inventory.Inventory, error) {
	root, err := os.OpenRoot(m.Root)
	if err != nil {
		return inventory.Inventory{}, refusal.New(pkgmgr.CodeRoot, "%v", err)
	}
	defer root.Close()
	inv, err := inventory.Read(root.FS())
	if err != nil {
		return inv, refusal.New(pkgmgr.CodeRoot, "%s: %v", m.Root, err)
	}
	for _, gap := range inv.Partial {
		if gap.What == inventory.AreaPackages || gap.What == inventory.AreaArch {
			return inv, refusal.New(pkgmgr.CodeDatabase, "%s", gap.Why)
		}
	}
	return inv, nil
}

// Rehearse implements pkgmgr.Manager.
func (m *Manager) Rehearse(ctx context.Context, changes []change.Change) error {
	inv, err := m.inventory()
	if err != nil {
		return err
	}
	if err := startsFrom(changes, inv.Packages); err != nil {
		return err
	}
	o, run, err := m.enter("rehearsal")
	if err != nil {
		return err
	}
	defer o.close()
	s := m.newStage(o, run, inv.Arch, m.Now()) // nothing is permitted here, so the host's clock will do
	defer s.close()
	if _, err := s.gather(changes); err != nil {
		return err
	}
	return m.rehearse(ctx, o, run, changes, inv.Arch)
}

// enter opens the own directory for one run: locked, with the helper in place.
func (m *Manager) enter(name string) (*own, string, error) {
	o, err := openOwn(m.sys)
	if err != nil {
		return nil, "", err
	}
	run := ""
	if err = o.acquire(); err == nil {
		if err = o.installAgent(m.Agent); err == nil {
			run, err = o.newRun(name)
		}
	}
	if err != nil {
		o.close()
		return nil, "", err
	}
	return o, run, nil
}

// rehearse asks apt what it would do with the artefacts of the run, and compares.
func (m *Manager) rehearse(ctx context.Context, o *own, run string, changes []change.Change, native string) error {
	e := expect("", changes, run+"/archives")
	if err := o.write(run+"/apt.conf", []byte(configuration(run, e.seal(), 0))); err != nil {
		return refusal.New(fullOr(err, pkgmgr.CodeDir), "%v", err)
	}
	name := run + "/rehearsal"
	cmd, err := o.start(name, command(run, changes, native, true), run, false)
	if err != nil {
		return err
	}
	if err := o.await(ctx, cmd, name, io.Discard); err != nil {
		return err
	}
	end, ok, err := o.ended(name)
	switch {
	case err != nil || !ok || end.Why != "":
		return refusal.New(pkgmgr.CodeTool, "the dry run did not run: %s %v", end.Why, err)
	case end.Code != 0:
		return refusal.New(pkgmgr.CodeSolver, "apt-get exits with %d: %s", end.Code, lastWords(o.log(name)))
	}
	steps, err := ReadSimulation(o.log(name))
	if err != nil {
		return refusal.New(pkgmgr.CodeSolver, "%v", err)
	}
	if diff := differs(changes, steps, native); diff != "" {
		return refusal.New(pkgmgr.CodeSolver, "%s", diff)
	}
	if err := o.root.Remove(o.rel(run + "/apt.conf")); err != nil {
		return refusal.New(pkgmgr.CodeDir, "%v", err)
	}
	return nil
}
