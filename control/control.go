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
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/restraint"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/tlog/writer"
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
	codeBlob    refusal.Code = "PW-CONTROL-BLOB"    // bytes that the record names are missing or damaged
	codeReceipt refusal.Code = "PW-CONTROL-RECEIPT" // a receipt that speaks for nothing here
)

// Log is the transparency log.
type Log interface {
	AppendAll(ctx context.Context, entries []tlog.Entry) ([]writer.Placed, error)
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
	Advice() []byte       // limits on a model's conduct (conduct.ParseLimits) that the rules name; nil: none
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

	Advice time.Duration // how long a plan that could run waits for advice; 0: it does not

	Cooldowns *priority.Cooldowns // how long new artefacts wait; nil: they do not, and the rules are told that nothing is known
}

// Config is what Control works with. Every field but Feeds, Known, KnownBy,
// Quarantine, Tables, Advise, Model, Lists, Cut, Server and Progress is needed.
type Config struct {
	Store   store.Store
	Log     Log
	Rules   func(context.Context, trust.Policy) (Rules, error)                         // those that the trust root names
	Dir     string                                                                     // blobs, pool, snapshots: made when it is not there
	Trust   string                                                                     // directory of the trust repository
	Pinned  canon.Digest                                                               // of its first root
	Solve   func(context.Context, solve.Options) (solve.Solved, error)                 // solve.Solve
	Sources func(trust.Root) ([]solve.Source, error)                                   // where packages come from
	Feeds   func(context.Context, time.Time) ([]advisory.Set, error)                   // besides the changelogs
	Known   func(context.Context, time.Time, func(cve string) bool) (Knowledge, error) // of KEV, SSVC, EPSS, at least for the CVEs that are asked for; nil: clocks run, and no work has a day
	KnownBy func(time.Time) (string, error)                                            // names what Known would read: the same name, the same answers; nil: it is read again with every look
	// Quarantine reads what the feeds hold, and by whose word what counts; nil: nothing is held.
	Quarantine func(context.Context) (Quarantine, error)
	Tables     priority.Rules // of deadlines; zero: those that the program carries
	// Advise asks an adviser: the bytes of a request (advice.Request) go in, what came of it
	// comes out. One plan at a time, without the lock, and no plan's step waits for it; limits
	// of time and size are its own. nil: nobody is asked, and nothing is missing.
	Advise func(ctx context.Context, request []byte) advice.Heard
	Lists  func(context.Context, time.Time, *advice.Material) error // adds what KEV, EPSS and CVE records say of a plan's CVEs, for dossiers; nil: nothing
	// Model is the one that Advise asks: its record, by digest, and the digest of the prompt. It is
	// entered into the ledger, and what it says counts as far as people let it. nil: nothing counts.
	Model    *conduct.Registration
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
	blobs   blobs
	kick    chan struct{}  // something has happened: look at once
	ink     chan struct{}  // something waits for the log
	hurry   chan struct{}  // somebody asks for a look
	answers chan struct{}  // the rules have answered: an adviser can be asked
	parts   [64]sync.Mutex // by wire key: one part of a host's inventory at a time
	fleet   fleetIndex     // which hosts an advisory concerns
	unkept  time.Time      // when an adviser's exchange could not be kept; of consult alone

	mu      sync.Mutex // one decision at a time; guards the next fields
	book    *book
	files   map[canon.Digest]opened // of open plans
	root    trust.Root
	rules   Rules     // those of root.Policy
	weaker  refused   // rules that the trust root names and that were not taken over
	loaded  time.Time // when root was looked at
	print   string    // of the trust repository when it was read
	read    time.Time
	planned time.Time   // when the last look for work began
	ended   time.Time   // and when it did
	want    bool        // look for work as soon as may be
	all     bool        // and at every host
	news    []time.Time // when the first and the last new inventory came since the last look
	looked  map[string]time.Time
	dirty   map[string]bool // hosts whose document is older than the book
	saved   time.Time

	glance   glance                 // of the watch over the model
	unfolded map[trust.HostID]error // hosts whose past cannot be read: since Open

	states  states
	learned learned
	spans   spans
	ill     sync.Mutex        // guards trouble
	trouble map[string]string // what does not work, by subject, for people
}

// Open makes a Control over what the store holds. Run does the work.
func Open(ctx context.Context, c Config) (*Control, error) {
	for _, sub := range []string{"blobs", "pool", "hosts"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	c.Terms = c.Terms.filled()
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	k := &Control{Config: c, blobs: blobs(filepath.Join(c.Dir, "blobs")), kick: make(chan struct{}, 1), ink: make(chan struct{}, 1), hurry: make(chan struct{}, 1), answers: make(chan struct{}, 1),
		fleet:   fleetIndex{news: make(chan struct{}, 1)},
		trouble: map[string]string{}, files: map[canon.Digest]opened{}, looked: map[string]time.Time{}, dirty: map[string]bool{}, unfolded: map[trust.HostID]error{}}
	var err error
	if k.Tables.BOD.ID == "" {
		if k.Tables, err = priority.Standard(); err != nil {
			return nil, err
		}
	}
	if k.book, err = readBook(ctx, c.Store); err != nil {
		return nil, err
	}
	if err := k.foldMissing(ctx); err != nil {
		return nil, err
	}
	if err := k.reload(ctx); err != nil {
		return nil, err
	}
	return k, k.register(ctx)
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
		if err := c.takeOver(ctx, rules, root); err != nil {
			return err
		}
		c.rules = rules
	}
	c.root = root
	return nil
}

// rereadEvery is how often the trust repository is judged anew though its files
// have not changed: it may have expired.
const rereadEvery = time.Minute

// again reads the trust repository when its files have changed, or it was read
// a while ago.
func (c *Control) again(ctx context.Context, now time.Time) error {
	c.loaded = now
	print, err := fingerprint(os.DirFS(c.Trust))
	if err != nil || print == c.print && now.Sub(c.read) < rereadEvery {
		return err
	}
	if err := c.reload(ctx); err != nil {
		return err
	}
	c.print, c.read = print, now
	return nil
}

// fingerprint changes with every new version of a trust repository: its roots'
// names and its timestamp's bytes.
func fingerprint(fsys fs.FS) (string, error) {
	roots, err := fs.Glob(fsys, "*.root.json")
	if err != nil {
		return "", err
	}
	stamp, err := fs.ReadFile(fsys, "timestamp.json")
	return fmt.Sprint(roots, canon.SumFile(stamp)), err
}

// Kick has the flow look at once.
func (c *Control) Kick() { wake(c.kick) }

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// pace is how often the flow looks when nothing kicks it.
const pace = time.Second

// Run runs the flow until ctx ends. Steps that fail are told, kept in Trouble,
// and tried again.
func (c *Control) Run(ctx context.Context) error {
	var working sync.WaitGroup
	working.Go(func() { rounds(ctx, c.ink, func() { c.told("log", c.flush(ctx)) }) })
	working.Go(func() { rounds(ctx, c.hurry, func() { c.lookIfDue(ctx) }) })
	working.Go(func() { rounds(ctx, c.answers, func() { c.consult(ctx) }) })
	working.Go(func() { rounds(ctx, c.fleet.news, func() { c.told("fleet index", c.indexed(ctx)) }) })
	rounds(ctx, c.kick, func() { c.turn(ctx) })
	working.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.save(context.WithoutCancel(ctx))
}

// rounds does something again and again: when it is woken, and every pace.
func rounds(ctx context.Context, woken <-chan struct{}, do func()) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for ctx.Err() == nil {
		do()
		select {
		case <-ctx.Done():
		case <-woken:
		case <-tick.C:
		}
	}
}

// due reports whether it is time to look for work, and notes that it is done.
func (c *Control) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.Now()
	late := now.Sub(c.planned) >= c.Terms.Plan
	if !c.want && !late || c.settling(now) {
		return false
	}
	c.want, c.planned, c.news, c.all = false, now, nil, c.all || late
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
	wake(c.fleet.news)
}

// turn is one round of everything that does not take long.
func (c *Control) turn(ctx context.Context) {
	c.mu.Lock()
	if now := c.Now(); now.Sub(c.loaded) >= pace {
		c.told("trust", c.again(ctx, now))
	}
	if c.Now().Sub(c.saved) >= saveEvery {
		c.told("store", c.save(ctx))
	}
	plans := c.ordered()
	c.mu.Unlock()
	for _, d := range plans {
		if ctx.Err() != nil {
			return
		}
		err := c.step(ctx, d)
		if err == nil {
			err = c.complete(ctx, d)
		}
		c.told("plan "+d.Short(), err)
	}
}

// ordered are the open plans in the order of work: what is overdue comes first,
// and takes the places that are free. What people are to look at now comes first
// in its class.
func (c *Control) ordered() []canon.Digest {
	work := []priority.Work{}
	for d := range c.book.open {
		work = append(work, c.book.plans[d].work())
	}
	restraint.Order(work, func(id string) bool { return c.book.advised[canon.Digest(id)].says().Action == advice.Escalate }, c.Now().Unix())
	out := make([]canon.Digest, len(work))
	for i, w := range work {
		out[i] = canon.Digest(w.ID)
	}
	return out
}

// saveEvery is how often it is written down when hosts were last seen.
const saveEvery = 30 * time.Second

// save writes down what is known of hosts and was not worth a commit.
func (c *Control) save(ctx context.Context) error {
	c.saved = c.Now()
	keys := slices.Sorted(maps.Keys(c.dirty))
	for part := range slices.Chunk(keys, maxTogether) {
		var records []record
		for _, k := range part {
			records = append(records, c.book.hosts[k])
		}
		if err := c.put(ctx, "", nil, records...); err != nil {
			return err
		}
		for _, k := range part {
			delete(c.dirty, k)
		}
	}
	return nil
}

// touch changes what is known of a host, to be written down later.
func (c *Control) touch(h Host) {
	h.enter(c.book)
	c.dirty[h.Wire] = true
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
