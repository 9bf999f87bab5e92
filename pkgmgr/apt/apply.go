package apt

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/writ"
)

// attempt is one Apply from its first look to its receipt.
type attempt struct {
	m       *Manager
	v       writ.Verified
	own     *own
	run     string
	before  inventory.Inventory
	changes []change.Change
	news    map[string]artefact.Contents
	begun   pkgmgr.Begun
}

// Apply implements pkgmgr.Manager.
func (m *Manager) Apply(ctx context.Context, v writ.Verified) (writ.Receipt, error) {
	if len(v.Changes()) == 0 {
		return writ.Receipt{}, v.Take() // the zero value: this refuses
	}
	a := &attempt{m: m, v: v}
	defer a.close()
	for _, step := range []func(context.Context) error{a.look, a.stage, a.rehearse, a.begin} {
		if err := step(ctx); err != nil {
			return writ.Receipt{}, err
		}
	}
	name := a.run + "/apply"
	cmd, err := a.own.start(name, command(a.run, a.changes, a.before.Arch, false), a.run, v.Network())
	if err != nil {
		return m.ended(a.begun.Conclude(pkgmgr.Compare(a.changes, a.before.Packages, a.before.Packages), refusal.CodeOf(err)))
	}
	if err := a.own.await(ctx, cmd, name, m.Progress); err != nil {
		return writ.Receipt{}, err
	}
	end, ok, err := a.own.ended(name)
	if err != nil || !ok {
		return writ.Receipt{}, refusal.New(pkgmgr.CodeInterrupted, "the supervisor died without a word: %v", err)
	}
	return m.conclude(a.own, a.begun, a.before.Packages, a.complaint(end, name))
}

func (a *attempt) close() {
	if a.own != nil {
		a.own.close()
	}
}

// look compares the host with where the writ starts from.
func (a *attempt) look(ctx context.Context) error {
	var err error
	if a.before, err = a.m.inventory(); err != nil {
		return err
	}
	a.changes = a.v.Changes()
	unsettled := pkgmgr.Unsettled(a.before.Packages)
	if a.v.Undo() {
		a.changes = remaining(a.changes, a.before.Packages)
		unsettled = slices.DeleteFunc(unsettled, func(key string) bool {
			return slices.ContainsFunc(a.changes, func(c change.Change) bool { return c.Key() == key })
		})
	} else if err := startsFrom(a.changes, a.before.Packages); err != nil {
		return err
	}
	if len(unsettled) > 0 {
		return refusal.New(pkgmgr.CodeBroken, "%s", strings.Join(unsettled, ", "))
	}
	if err := a.m.unlocked(ctx); err != nil {
		return err
	}
	name := string(a.v.Digest())
	if a.v.Undo() {
		name += "-undo"
	}
	a.own, a.run, err = a.m.enter(name)
	return err
}

// stage brings in the bytes, forth and back, and judges them. The way back comes
// first: without it nothing starts.
func (a *attempt) stage(context.Context) error {
	s := a.m.newStage(a.own, a.run, a.before.Arch, time.Unix(a.m.Journal.Memory().Time, 0))
	defer s.close()
	if a.v.Undo() {
		var err error
		a.news, err = s.again(a.changes)
		return err
	}
	if err := a.own.forget(a.run); err != nil {
		return err
	}
	if err := a.m.roomToCopy(a.v.Changes(), a.v.Back()); err != nil {
		return err
	}
	olds, err := s.fetch(a.v.Back())
	if err != nil {
		return refusal.New(pkgmgr.CodeBack, "%v", err)
	}
	if a.news, err = s.gather(a.changes); err != nil {
		return err
	}
	a.begun.Releases = s.releases()
	if err := a.v.Meets(classOf(a.changes, a.news, olds, a.m.Trust.Critical)); err != nil {
		return err
	}
	return a.m.roomToUnpack(a.news)
}

// again takes the way back out of the store, where the failed attempt put it
// after it was traced to its vendor; what is not there any more comes from the
// pool, as if for the first time.
func (s *stage) again(changes []change.Change) (map[string]artefact.Contents, error) {
	var gone []change.Change
	inside := map[string]artefact.Contents{}
	for _, c := range changes {
		if c.Op == change.Remove {
			continue
		}
		f, err := s.own.root.Open(s.own.rel(stored(c)))
		if errors.Is(err, fs.ErrNotExist) {
			gone = append(gone, c)
			continue
		} else if err != nil {
			return nil, refusal.New(pkgmgr.CodeBack, "%v", err)
		}
		sum, err := sumReader(f)
		f.Close()
		if err != nil || sum != c.Artefact {
			return nil, refusal.New(pkgmgr.CodeBack, "%s in the store is damaged: %v", c.Key(), err)
		}
		if inside[c.Key()], err = s.own.contents(c); err != nil {
			return nil, err
		}
	}
	more, err := s.fetch(gone)
	if err != nil {
		return nil, refusal.New(pkgmgr.CodeBack, "%v", err)
	}
	for key, c := range more {
		inside[key] = c
	}
	return inside, s.layOut(changes)
}

// rehearse asks the real solver, except for a plan's own rollback from a broken
// state: dpkg's states do not let the solver start anywhere else, and the gate
// still sees the whole set.
func (a *attempt) rehearse(ctx context.Context) error {
	if len(a.changes) == 0 {
		return refusal.New(pkgmgr.CodeFrom, "everything is already back where it came from")
	}
	return a.m.rehearse(ctx, a.own, a.run, a.changes, a.before.Arch)
}

// begin seals the expectation, takes the permission and makes the journal
// remember, in this order. After it there is no way back to "never happened".
func (a *attempt) begin(context.Context) error {
	e := expect(a.v.Digest(), a.changes, a.run+"/archives")
	before := canon.MustEncode(held(a.before.Packages))
	conf := configuration(a.run, e.seal(), int(a.m.LockWait.Seconds()))
	for _, file := range []struct {
		name string
		body []byte
	}{{"/before", before}, {"/expectation", e.bytes()}, {"/apt.conf", []byte(conf)}} {
		if err := a.own.write(a.run+file.name, file.body); err != nil {
			return refusal.New(fullOr(err, pkgmgr.CodeDir), "%v", err)
		}
	}
	a.begun = pkgmgr.Begin(a.v, a.changes, a.m.Now().Unix(), a.run, a.begun.Releases)
	if err := a.v.Take(); err != nil {
		return err
	}
	if err := a.m.Journal.Begin(a.begun); err != nil {
		return refusal.New(pkgmgr.CodeJournal, "%v", err)
	}
	return nil
}

// complaint is what the gate or apt had against it. A run that changed something
// without asking the gate is a complaint too.
func (a *attempt) complaint(e exit, name string) refusal.Code {
	s, asked, err := a.own.seen(a.run)
	switch {
	case err == nil && asked && s.Code != "":
		return s.Code
	case e.Code == 0 && !asked:
		return pkgmgr.CodeGate
	}
	return complains(e, a.own.log(name))
}

// seen reads the gate's answer for a run.
func (o *own) seen(run string) (seen, bool, error) {
	raw, err := o.read(run+"/expectation"+seenSuffix, maxExit)
	if errors.Is(err, fs.ErrNotExist) {
		return seen{}, false, nil
	}
	var s seen
	if err == nil {
		err = canon.Decode(raw, &s)
	}
	return s, err == nil, err
}

// held is a package database in a form that can be kept beside a run.
func held(packages []inventory.Package) []inventory.Package {
	return append([]inventory.Package{}, packages...)
}

// conclude looks at what is there now and closes the transaction.
func (m *Manager) conclude(o *own, b pkgmgr.Begun, before []inventory.Package, complaint refusal.Code) (writ.Receipt, error) {
	inv, err := m.inventory()
	if err != nil && complaint == "" {
		complaint = refusal.CodeOf(err)
	}
	r := b.Conclude(pkgmgr.Compare(b.Changes, before, inv.Packages), complaint)
	m.effective(o, b.Changes, inv, &r)
	return m.ended(r)
}

func (m *Manager) ended(r writ.Receipt) (writ.Receipt, error) {
	r.Ended = m.Now().Unix()
	signed, err := m.Journal.Ended(r)
	if err != nil {
		return r, refusal.New(pkgmgr.CodeJournal, "the outcome %s %s could not be stored: %v", r.Outcome, r.Code, err)
	}
	return signed, nil
}
