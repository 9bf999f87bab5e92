package apt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/writ"
)

// maxBefore bounds the kept package database: 10,000 packages of 400 bytes.
const maxBefore = 16 << 20

// Recover implements pkgmgr.Manager. The scripts it lets run belong to packages
// that a verified writ has unpacked; it asks no solver and unpacks nothing.
func (m *Manager) Recover(ctx context.Context, b pkgmgr.Begun) (writ.Receipt, error) {
	if path.Dir(b.Run) != runsDir {
		return writ.Receipt{}, refusal.New(pkgmgr.CodeDir, "the journal names the run %q", b.Run)
	}
	o, err := openOwn(m.sys)
	if err != nil {
		return writ.Receipt{}, err
	}
	defer o.close()
	name := b.Run + "/apply"
	if err := o.rest(ctx, name, m.Progress); err != nil {
		return writ.Receipt{}, err
	}
	before, err := o.before(b.Run)
	if err != nil {
		fmt.Fprintf(m.Progress, "what was installed before is not known any more: %v\n", err)
	}
	end, ok, err := o.ended(name)
	if err == nil && ok { // only the agent was gone
		a := &attempt{m: m, own: o, run: b.Run}
		return m.conclude(o, b, before, a.complaint(end, name))
	}
	if err := m.finish(ctx, o, b); err != nil {
		return writ.Receipt{}, err
	}
	complaint := pkgmgr.CodeInterrupted
	if inv, err := m.inventory(); err == nil && pkgmgr.Compare(b.Changes, before, inv.Packages).There {
		complaint = "" // resumed to its end
	}
	return m.conclude(o, b, before, complaint)
}

// before reads the package database as it was when the run began.
func (o *own) before(run string) ([]inventory.Package, error) {
	raw, err := o.read(run+"/before", maxBefore)
	if err != nil {
		return nil, err
	}
	var packages []inventory.Package
	return packages, canon.Decode(raw, &packages)
}

// finish configures what was unpacked and not configured. When packages outside
// the writ are in such a state too, only the writ's own are named to dpkg.
func (m *Manager) finish(ctx context.Context, o *own, b pkgmgr.Begun) error {
	inv, err := m.inventory()
	if err != nil {
		fmt.Fprintf(m.Progress, "%v\n", err) // dpkg may repair it: its journal is replayed at its start
	}
	argv := []string{dpkg, "--force-confold", "--force-confdef", "--configure"}
	todo, foreign := half(b.Changes, inv.Packages)
	switch {
	case err == nil && len(todo) == 0 && !foreign && !m.journalled():
		return nil
	case foreign:
		argv = append(argv, todo...)
	default:
		argv = append(argv, "-a")
	}
	if err := m.unlocked(ctx); err != nil {
		return err
	}
	if err := o.installAgent(m.Agent); err != nil {
		return err
	}
	name, err := o.nextName(b.Run + "/recover")
	if err != nil {
		return err
	}
	cmd, err := o.start(name, argv, b.Run, b.Network)
	if err != nil {
		return err
	}
	return o.await(ctx, cmd, name, m.Progress)
}

// half lists the packages of the changes that dpkg has still to configure, and
// tells whether others are in that state. Waiting triggers are nobody's.
func half(changes []change.Change, packages []inventory.Package) (todo []string, foreign bool) {
	for _, p := range packages {
		switch p.Status.State {
		case inventory.Unpacked, inventory.HalfConfigured, inventory.HalfInstalled:
		default:
			continue
		}
		if slices.ContainsFunc(changes, func(c change.Change) bool { return c.Key() == p.Key() }) {
			todo = append(todo, p.Name+":"+p.Arch)
		} else {
			foreign = true
		}
	}
	return todo, foreign
}

// journalled reports whether dpkg's own journal still has to be replayed, or
// cannot be seen.
func (m *Manager) journalled() bool {
	f, err := m.sys.open("/var/lib/dpkg/updates", 0)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	return !errors.Is(err, io.EOF)
}

// maxRecoveries is how often one run may be recovered; each leaves a log.
const maxRecoveries = 1000

// nextName finds a job name that no earlier recovery of the run has used.
func (o *own) nextName(base string) (string, error) {
	for i := 1; i <= maxRecoveries; i++ {
		name := fmt.Sprintf("%s-%d", base, i)
		if _, err := o.root.Lstat(o.rel(name + jobSuffix)); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
	}
	return "", refusal.New(pkgmgr.CodeDir, "%s was recovered %d times already", base, maxRecoveries)
}
