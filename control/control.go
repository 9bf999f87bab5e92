// Package control runs the flow: it takes inventories in, has plans made,
// asks the rules, waits for people or finds a grant, logs, issues writs, hands
// them out wave by wave, and keeps the receipts.
//
// The parties: agents, which speak over room wire and believe nothing from
// here; approvers, whose signatures come in and are checked again by every
// host; the log and its witnesses; the store, which is the record. The objects:
// Control, and the documents of its projections (host, plan, writ, grant,
// token), each changed in the same transaction as the event that causes it.
//
// The promise: nothing has effect before its event is committed and stands in
// the log; after kill -9 at any point the same steps are taken up again and
// nothing is handed out twice for two purposes. A failed, partial or silent
// host stops its plan.
//
// It permits nothing. With all of its keys and its database in hostile hands,
// a host changes only under what people signed.
package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
)

// Author is who wrote the plans that the control plane makes by itself. Nobody
// in a roster has this name, so nobody approves what they wrote.
const Author trust.PersonID = "control-plane"

// Refusals of this room; refusal/catalogue.txt says what each means.
const (
	codeToken   refusal.Code = "PW-CONTROL-TOKEN"   // enrolment token unknown, used or ended
	codeHost    refusal.Code = "PW-CONTROL-HOST"    // the host is not known, pending, cloned or gone
	codeMessage refusal.Code = "PW-CONTROL-MESSAGE" // a message that is not one
	codePlan    refusal.Code = "PW-CONTROL-PLAN"    // the plan is not known, or past that step
	codeGrant   refusal.Code = "PW-CONTROL-GRANT"   // the grant is not known, or no longer live
	codeReceipt refusal.Code = "PW-CONTROL-RECEIPT" // a receipt that speaks for nothing here
)

// Log is the transparency log.
type Log interface {
	Append(ctx context.Context, e tlog.Entry) (tlog.Proof, error)
	Prove(ctx context.Context, e tlog.Entry, size int64) (tlog.Proof, error)
	Find(e tlog.Entry) (int64, bool)
	Consistency(ctx context.Context, older, newer int64) ([]canon.Digest, error)
	Checkpoint(ctx context.Context) ([]byte, tlog.Verified, error)
}

// Rules answer about a plan; room policy/rego is one.
type Rules interface {
	Decide(ctx context.Context, input []byte) (policy.Decision, error)
	Digest() canon.Digest // of Bundle
	Bundle() []byte       // the signed file, for auditors
}

// Terms are the times and sizes that an operator may choose.
type Terms struct {
	Plan   time.Duration // between two looks for work; 10 min
	Review time.Duration // until silence is a no; 24 h
	Life   time.Duration // of a plan; 72 h
	Writ   time.Duration // of a writ; a host that is silent for so long has failed; 1 h
	Every  time.Duration // between two questions of an agent; 60 s
	Settle time.Duration // without a new inventory before hosts are planned for; 0: at once
	Only   []string      // packages to plan for; none: all that are affected
}

// Config is what Control works with. Every field but Feeds, Cut, Server and
// Progress is needed.
type Config struct {
	Store    store.Store
	Log      Log
	Rules    func(context.Context, trust.Policy) (Rules, error)                                       // those that the trust root names
	Dir      string                                                                                   // blobs, pool, snapshots: made when it is not there
	Trust    string                                                                                   // directory of the trust repository
	Pinned   canon.Digest                                                                             // of its first root
	Solve    func(context.Context, solve.Options) (solve.Solved, error)                               // solve.Solve
	Sources  func(trust.Root) ([]solve.Source, error)                                                 // where packages come from
	Feeds    func(context.Context, time.Time) ([]advisory.Set, error)                                 // besides the changelogs
	Lease    func(context.Context, []tlog.Witness, trust.HostID, string) (leases [][]byte, err error) // ask.Leases
	Wake     func(wireKey string)
	Cut      func(wireKey string) error // ends the connection of a host that is let go
	Server   canon.Digest               // of the TLS key, for tokens
	Now      func() time.Time
	Random   io.Reader
	Logger   *slog.Logger
	Progress io.Writer
	Terms    Terms
}

// Control is the running flow.
type Control struct {
	Config
	blobs blobs
	kick  chan struct{} // something has happened: look at once

	mu      sync.Mutex // one decision at a time; guards the next fields
	root    trust.Root
	rules   Rules       // those of root.Policy
	planned time.Time   // when the last look for work began
	want    bool        // look for work as soon as may be
	news    []time.Time // when the first and the last new inventory came since then

	ill     sync.Mutex        // guards trouble
	trouble map[string]string // what does not work, by subject, for people
}

// Open makes a Control over what the store holds. Run does the work.
func Open(c Config) (*Control, error) {
	for _, sub := range []string{"blobs", "pool", "hosts"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	c.Terms = c.Terms.filled()
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	k := &Control{Config: c, blobs: blobs(filepath.Join(c.Dir, "blobs")), kick: make(chan struct{}, 1), trouble: map[string]string{}}
	k.want = true
	return k, k.reload(context.Background())
}

func (t Terms) filled() Terms {
	fill := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	fill(&t.Plan, 10*time.Minute)
	fill(&t.Review, 24*time.Hour)
	fill(&t.Life, 72*time.Hour)
	fill(&t.Writ, time.Hour)
	fill(&t.Every, time.Minute)
	return t
}

// reload reads the trust repository again, and the rules when it names others.
// What cannot be read leaves what was read before.
func (c *Control) reload(ctx context.Context) error {
	root, err := trust.Load(os.DirFS(c.Trust), c.Pinned, c.root.Versions, c.Now())
	if err != nil {
		return fmt.Errorf("the trust repository in %s: %w", c.Trust, err)
	}
	if c.rules == nil || c.rules.Digest() != root.Policy.Bundle {
		rules, err := c.Rules(ctx, root.Policy)
		if err != nil {
			return err
		}
		c.rules = rules
	}
	c.root = root
	return nil
}

// Kick has the flow look at once.
func (c *Control) Kick() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// pace is how often the flow looks when nothing kicks it.
const pace = time.Second

// Run runs the flow until ctx ends. Steps that fail are told, kept in Trouble,
// and tried again.
func (c *Control) Run(ctx context.Context) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	planning := make(chan struct{}, 1)
	var working sync.WaitGroup
	defer working.Wait()
	for {
		c.turn(ctx)
		select {
		case planning <- struct{}{}:
			if !c.due() {
				<-planning
				break
			}
			working.Go(func() { c.look(ctx); <-planning; c.Kick() })
		default: // the last look is not over
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.kick:
		case <-tick.C:
		}
	}
}

// due reports whether it is time to look for work, and notes that it is done.
func (c *Control) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.Now()
	if !c.want && now.Sub(c.planned) < c.Terms.Plan || c.settling(now) {
		return false
	}
	c.want, c.planned, c.news = false, now, nil
	return true
}

// patience is how many times as long as Terms.Settle hosts that do not stop
// bringing news are waited for.
const patience = 12

// settling reports whether inventories are just coming in: hosts that bring the
// same are planned for together, canary first.
func (c *Control) settling(now time.Time) bool {
	return len(c.news) == 2 && now.Sub(c.news[1]) < c.Terms.Settle && now.Sub(c.news[0]) < patience*c.Terms.Settle
}

// heard notes that an inventory with something new has come.
func (c *Control) heard() {
	now := c.Now()
	if len(c.news) == 0 {
		c.news = []time.Time{now, now}
	}
	c.want, c.news[1] = true, now
}

// turn is one round of everything that does not take long.
func (c *Control) turn(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told("trust", c.reload(ctx))
	c.told("log", c.flush(ctx))
	plans, err := all[Plan](ctx, c.Store, kindPlan)
	c.told("store", err)
	for _, p := range plans {
		if ctx.Err() == nil {
			c.told("plan "+p.Digest.Short(), c.step(ctx, p))
		}
	}
}

// told keeps what is wrong with a subject, and logs it when it is new.
func (c *Control) told(subject string, err error) {
	c.ill.Lock()
	defer c.ill.Unlock()
	switch {
	case err == nil:
		if _, had := c.trouble[subject]; had {
			c.Logger.Info("works again", "subject", subject)
			delete(c.trouble, subject)
		}
	case errors.Is(err, context.Canceled):
	case c.trouble[subject] != err.Error():
		c.trouble[subject] = err.Error()
		c.Logger.Warn("does not work", "subject", subject, "err", err)
	}
}

// nonce is 32 random bytes in lower hex.
func (c *Control) nonce() (string, error) {
	b := make([]byte, 32)
	if _, err := io.ReadFull(c.Random, b); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", b), nil
}
