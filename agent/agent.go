// Package agent is what a host does with a writ: it loads its trust root, asks
// for leases, verifies, remembers, applies, looks, reports and, when a step has
// failed and the plan says how, goes back.
//
// The parties: whoever operates the host names the pinned trust root and hands
// in files (writ, pool, trust repository, leases); witnesses lease; the package
// manager (room pkgmgr) carries out; the receipts, signed with the host's key,
// go to whoever wants to know. The objects: a [Journal], the host's memory that
// outlives every crash; a host key; [Options] for one attempt and its [Result].
//
// The promise: nothing is applied but under a writ.Verified; the journal holds
// it as used before the package manager starts; whatever was begun before a
// crash is brought to rest and reported before anything else is done. There is
// no other verb that changes the host.
//
// It opens no port and takes no orders: it looks at files that it is given.
package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/pkgmgr/apt"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
	"github.com/patchwrit/patchwrit/writ"
)

// Refusals of this room; refusal/catalogue.txt says what each means.
const (
	codeState refusal.Code = "PW-AGENT-STATE" // state directory unusable
	codeBusy  refusal.Code = "PW-AGENT-BUSY"  // another agent is at work
	codeOld   refusal.Code = "PW-AGENT-OLD"   // an older copy of the journal
	codeLost  refusal.Code = "PW-AGENT-LOST"  // the journal is gone
	codeKey   refusal.Code = "PW-AGENT-KEY"   // host key missing or readable by others
	codeLease refusal.Code = "PW-AGENT-LEASE" // no leases at hand
	codeRoot  refusal.Code = "PW-WRIT-ROOT"   // enrolled to another trust root; room writ says the same
	codeInput refusal.Code = "PW-AGENT-INPUT" // a file that was named cannot be read
)

// Question is what a host has to know from outside before a writ can be
// verified: that nothing is halted, and that the log only grew.
type Question struct {
	Witnesses []tlog.Witness
	Host      trust.HostID
	Nonce     string
	Older     int64 // size of the checkpoint that the host holds; 0: none
	Newer     int64 // size of the writ's, 0 when its proof cannot be read
}

// Answer is what others say to a Question; nothing of it is believed.
type Answer struct {
	Leases      [][]byte       // canonical bytes of writ.Lease
	Consistency []canon.Digest // between the two checkpoints, the smaller first; nil: not answered
}

// Ask puts a Question. What came is taken even when there is an error, which
// says why there is not more.
type Ask func(context.Context, Question) (Answer, error)

// Options is one attempt. Root, State, Trust, Pinned, Writ, Agent and Now have
// no default.
type Options struct {
	Root     string           // "/" or a directory with a system in it
	State    string           // directory of journal, key and receipts; not inside Root's /var/lib/patchwrit
	Trust    string           // directory of the trust repository
	Pinned   canon.Digest     // SHA-256 of its 1.root.json, as it came with the image
	Pool     string           // directory of the bytes that belong to the writ
	Writ     []byte           // canonical bytes of the writ
	Leases   [][]byte         // leases that were fetched for the outstanding nonce; else the witnesses are asked
	Ask      Ask              // nil: leases must be given
	Log      string           // directory of the log's tiles, for the proof that it only grew; may be empty
	Agent    string           // path of this binary
	LockWait time.Duration    // how long to wait for another package manager
	Now      func() time.Time // the host's clock
	Progress io.Writer        // what is being done, for people
}

// Result is what came of an attempt: every receipt it has brought about, in
// order. The last one says where the host stands.
type Result struct {
	Receipts []writ.Receipt `json:"receipts"`
}

// Apply is the agent's one verb. An error means that the writ was not begun, or
// that its end is not known yet (then it stays in the journal); the Result may
// hold the receipt of an earlier attempt all the same.
func Apply(ctx context.Context, o Options) (Result, error) {
	j, err := Open(o.State, o.Root, o.Pinned)
	if err != nil {
		return Result{}, err
	}
	defer j.Close()
	a := &attempt{Options: o, journal: j}
	a.root, err = trust.Load(os.DirFS(o.Trust), o.Pinned, j.state.Memory.Versions, o.Now())
	if err != nil {
		return Result{}, err
	}
	if a.manager, err = a.packages(); err != nil {
		return Result{}, err
	}
	defer a.manager.Close()
	err = a.run(ctx)
	return Result{Receipts: append([]writ.Receipt{}, a.receipts...)}, err
}

// Recover brings a transaction to rest that was begun and whose end nobody saw,
// and does nothing else. Options need no Writ; without a Trust that loads, what
// is left half-done is reported and not taken back.
func Recover(ctx context.Context, o Options) (Result, error) {
	j, err := Open(o.State, o.Root, o.Pinned)
	if err != nil {
		return Result{}, err
	}
	defer j.Close()
	if _, half := j.halfDone(); !half {
		if _, open := j.Unfinished(); !open {
			return Result{Receipts: []writ.Receipt{}}, nil
		}
	}
	a := &attempt{Options: o, journal: j}
	if a.root, err = trust.Load(os.DirFS(o.Trust), o.Pinned, j.state.Memory.Versions, o.Now()); err != nil {
		a.say("the trust root does not load, so nothing can be taken back: %v", err)
	}
	if a.manager, err = a.packages(); err != nil {
		return Result{}, err
	}
	defer a.manager.Close()
	_, err = a.recover(ctx)
	return Result{Receipts: append([]writ.Receipt{}, a.receipts...)}, err
}

func (a *attempt) packages() (manager, error) {
	return apt.New(apt.Config{Root: a.Root, Trust: a.root, Pool: a.Pool, Agent: a.Agent, Journal: a.journal,
		Now: a.Now, Progress: a.Progress, LockWait: a.LockWait})
}

// manager is a pkgmgr.Manager that holds something open.
type manager interface {
	pkgmgr.Manager
	Close()
}

// attempt is one Apply.
type attempt struct {
	Options
	journal  *Journal
	root     trust.Root
	manager  manager
	receipts []writ.Receipt
}

func (a *attempt) say(format string, args ...any) {
	fmt.Fprintf(a.Progress, format+"\n", args...)
}

func (a *attempt) run(ctx context.Context) error {
	if done, err := a.recover(ctx); done || err != nil {
		return err
	}
	raw, err := a.ready(ctx)
	if err != nil {
		return err
	}
	a.say("verifying the writ")
	before := a.journal.state.Memory
	v, after, err := writ.Verify(raw, a.root, before, a.Now())
	if err != nil {
		return err
	}
	a.say("writ %s of plan %s permits %d changes here", v.Digest().Short(), v.Plan().Short(), len(v.Changes()))
	if err := a.journal.expect(after, raw, v); err != nil {
		return err
	}
	r, err := a.apply(ctx, v)
	if err != nil {
		return a.journal.calm(err, before, after)
	}
	return a.back(ctx, r)
}

// recover brings a transaction to rest that an earlier agent had begun. done is
// true when it was under the very writ that is at hand: it is used, and its
// receipt is the answer.
func (a *attempt) recover(ctx context.Context) (done bool, err error) {
	b, open := a.journal.Unfinished()
	if !open {
		return a.late(ctx)
	}
	a.say("an earlier transaction, under writ %s, was begun and nobody saw its end; finishing it first", b.Writ.Short())
	r, err := a.manager.Recover(ctx, b)
	if err != nil {
		return false, err
	}
	a.receipts = append(a.receipts, r)
	a.say("it ended: %s %s", r.Outcome, r.Code)
	if err := a.back(ctx, r); err != nil {
		return false, err
	}
	return a.isFor(b.Writ), nil
}

// isFor reports whether the writ at hand is this one.
func (a *attempt) isFor(d canon.Digest) bool {
	var w writ.Writ
	return canon.Decode(a.Writ, &w) == nil && w.Body.Digest() == d
}

// late takes back what ended half-way when an earlier agent died before it
// could. When that is refused (it is too late for it, above all), what is
// half-done stays reported, and stands in nobody's way.
func (a *attempt) late(ctx context.Context) (done bool, err error) {
	r, half := a.journal.halfDone()
	if !half {
		return false, nil
	}
	n := len(a.receipts)
	if err := a.back(ctx, r); err != nil {
		if _, open := a.journal.Unfinished(); open {
			return false, err
		}
		a.say("it is not taken back: %v", err)
	}
	return len(a.receipts) > n && a.isFor(r.Writ), nil
}

// ready gathers what verification needs: what this host has installed as floors,
// and leases for a nonce that the journal remembers.
func (a *attempt) ready(ctx context.Context) (writ.Raw, error) {
	raw := writ.Raw{Writ: a.Writ, Leases: a.Leases}
	mem := a.journal.state.Memory
	policy, err := tlog.ParsePolicy(a.root.Witnesses)
	if err != nil {
		return raw, err
	}
	newer := checkpointOf(policy, a.Writ)
	if raw.Consistency, err = consistency(a.Log, mem.Checkpoint, newer); err != nil {
		return raw, err
	}
	packages, err := a.manager.States(ctx)
	if err != nil {
		return raw, err
	}
	for _, p := range packages {
		if !p.Status.Present() {
			continue
		}
		if next, err := mem.Had(version.Deb, map[string]string{p.Key(): p.Version}); err == nil {
			mem = next
		} else {
			a.say("%s has a version that cannot be ordered: %v", p.Key(), err)
		}
	}
	mem.Versions = a.root.Versions
	if len(raw.Leases) == 0 || mem.Nonce == "" {
		mem = mem.Asking(nonce(), a.Now().Unix())
	}
	if err := a.journal.keep(mem); err != nil {
		return raw, err
	}
	if len(raw.Leases) > 0 {
		return raw, nil
	}
	q := Question{Witnesses: policy.Witnesses(), Host: mem.Host, Nonce: mem.Nonce, Older: mem.Checkpoint.Size, Newer: newer.Size}
	if mem.Checkpoint.Origin != policy.Origin() {
		q.Older = 0 // another log: no proof leads from there, and the verification says whether that may be
	}
	said, err := a.ask(ctx, q)
	if raw.Leases = said.Leases; said.Consistency != nil {
		raw.Consistency = said.Consistency
	}
	return raw, err
}

// ask asks for leases. Some may be missing: whether those that came are enough
// is for the verification to say.
func (a *attempt) ask(ctx context.Context, q Question) (Answer, error) {
	why := errors.New("nobody to ask")
	if a.Ask != nil {
		a.say("asking %d witnesses for leases", len(q.Witnesses))
		said, err := a.Ask(ctx, q)
		if len(said.Leases) > 0 {
			if err != nil {
				a.say("not every witness gave one: %v", err)
			}
			return said, nil
		}
		why = err
	}
	return Answer{}, refusal.New(codeLease, "host %s, nonce %s: %v", q.Host, q.Nonce, why)
}

// apply carries a permission out, and when everything died on the way without
// this process, finds out at once how it stands.
func (a *attempt) apply(ctx context.Context, v writ.Verified) (writ.Receipt, error) {
	r, err := a.manager.Apply(ctx, v)
	if b, open := a.journal.Unfinished(); open && refusal.CodeOf(err) == pkgmgr.CodeInterrupted {
		a.say("the transaction was killed in the middle; finding out how it stands")
		r, err = a.manager.Recover(ctx, b)
	}
	if err == nil {
		a.receipts = append(a.receipts, r)
		a.say("ended: %s %s", r.Outcome, r.Code)
	}
	return r, err
}

// back takes the plan's own rollback when a transaction ended half-way. A
// rollback that is refused leaves the failed receipt as the last word.
func (a *attempt) back(ctx context.Context, r writ.Receipt) error {
	if r.Outcome != writ.Partial || a.journal.undoing() {
		return nil
	}
	raw, err := a.journal.writ(r.Writ)
	if err != nil {
		return err
	}
	a.say("going back to where it came from")
	before := a.journal.state.Memory
	v, after, err := writ.VerifyUndo(writ.Raw{Writ: raw}, a.root, before, a.Now())
	if err != nil {
		return err
	}
	a.journal.pending = after
	_, err = a.apply(ctx, v)
	switch {
	case err == nil:
		return nil
	case refusal.CodeOf(err) == pkgmgr.CodeFrom:
		a.say("nothing of it is left to take back")
		err = nil
	}
	return a.journal.calm(err, before, after)
}

// nonce is 32 random bytes in hex.
func nonce() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b)
}
