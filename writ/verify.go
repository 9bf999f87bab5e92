package writ

import (
	"errors"
	"slices"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
)

// Tolerances, in seconds.
const (
	skew       = 2 * 60    // an issuer's clock may be this far ahead of the witnesses'
	clockDrift = 24 * 3600 // a host's clock may be this far from the witnesses' time
)

// Verify decides whether raw permits its changes on the host that remembers
// mem, under root, now (the host's clock; it only bounds the age of the lease).
// On success the Memory returned has the plan consumed: store it durably, then
// act. On refusal the Verified permits nothing and mem comes back unchanged.
//
// One pass, one refusal code for each check, in this order: canonical form,
// trust root, host, not consumed, generation, lease (it gives the time that
// decides), windows and caps, plan, branch, floors, approvals or grant, earlier
// waves' receipts, log proof, consistency with this host's last checkpoint.
func Verify(raw Raw, root trust.Root, mem Memory, now time.Time) (Verified, Memory, error) {
	c := &checker{raw: raw, root: root, mem: mem, now: now.Unix()}
	for _, step := range []func() error{
		c.form, c.rooted, c.forThisHost, c.notConsumed, c.generation, c.leased, c.inWindow,
		c.planned, c.branched, c.aboveFloors, c.permitted, c.covered, c.received, c.logged, c.continued,
	} {
		if err := step(); err != nil {
			return Verified{}, mem, err
		}
	}
	return c.verified(), c.remember(), nil
}

// VerifyUndo decides whether the plan's own rollback may run: raw is the writ
// that was used, and mem must hold the failure of that very writ, recorded by
// this host, not yet answered, at most UndoWindow ago by the host's clock. No
// new lease is asked for: the failed step had one. The changes permitted are
// the branch's rollback. Memory rules are those of Verify.
func VerifyUndo(raw Raw, root trust.Root, mem Memory, now time.Time) (Verified, Memory, error) {
	c := &checker{raw: raw, root: root, mem: mem, now: now.Unix(), undo: true}
	for _, step := range []func() error{
		c.form, c.rooted, c.forThisHost, c.failedHere, c.planned, c.branched, c.permitted, c.logged,
	} {
		if err := step(); err != nil {
			return Verified{}, mem, err
		}
	}
	next := mem.clone()
	for i := range next.Failures {
		if next.Failures[i].Writ == c.digest {
			next.Failures[i].Undone = true
		}
	}
	return c.verified(), next, nil
}

// checker carries one verification from step to step.
type checker struct {
	raw  Raw
	root trust.Root
	mem  Memory
	now  int64
	undo bool

	w      Writ
	digest canon.Digest
	host   trust.Host
	policy tlog.Policy
	leases []Lease
	time   int64 // trusted time: the leases' quorum time
	seen   tlog.Verified
}

func (c *checker) form() error {
	if err := canon.Decode(c.raw.Writ, &c.w); err != nil {
		return refusal.New("PW-WRIT-FORM", "%v", err)
	}
	b := c.w.Body
	switch {
	case c.w.Type != TypeFile || b.Type != TypeBody:
		return refusal.New("PW-WRIT-FORM", "type %q with body %q", c.w.Type, b.Type)
	case !canon.Hex(b.Nonce, 32) || !b.Host.Valid() || !b.Plan.Valid() || !b.Branch.Valid() || !b.Verdict.Valid() || !b.Approvals.Valid():
		return refusal.New("PW-WRIT-FORM", "nonce, host, plan, branch, approvals and verdict must be 32 bytes of lower hex")
	case b.Grant != "" && !b.Grant.Valid(), (b.Grant == "") != (len(c.w.Grants) == 0), len(c.w.Grants) > 1:
		return refusal.New("PW-WRIT-FORM", "grant %q with %d grants", b.Grant, len(c.w.Grants))
	}
	c.digest = b.Digest()
	return nil
}

func (c *checker) rooted() (err error) {
	v, b := c.root.Versions, c.w.Body.Trust
	switch {
	case !c.root.Loaded():
		return refusal.New("PW-WRIT-ROOT", "no trust root is loaded")
	case c.mem.Type != TypeMemory || c.mem.Root != c.root.ID:
		return refusal.New("PW-WRIT-ROOT", "this host was enrolled to %s, the trust root is %s", c.mem.Root.Short(), c.root.ID.Short())
	case c.mem.Versions.Newer(v):
		return refusal.New("PW-WRIT-ROOT", "the trust root went back from %+v to %+v", c.mem.Versions, v)
	case b.Newer(v):
		return refusal.New("PW-WRIT-TRUST", "the writ was made under %+v, this host has %+v", b, v)
	}
	if c.policy, err = tlog.ParsePolicy(c.root.Witnesses); err != nil {
		return refusal.New("PW-WRIT-ROOT", "%v", err)
	}
	if c.mem.Checkpoint.ContinuedBy(c.policy.Origin()) { // the log was lost, and the keepers opened a new one
		c.mem.Checkpoint, c.mem.Generation = tlog.Checkpoint{}, 0
	}
	return nil
}

func (c *checker) forThisHost() error {
	host, known := c.root.Host(c.mem.Host)
	if c.w.Body.Host != c.mem.Host {
		return refusal.New("PW-WRIT-HOST", "for %s, this is %s", c.w.Body.Host.Short(), c.mem.Host.Short())
	}
	if !known {
		return refusal.New("PW-WRIT-HOST", "%s is not in the trust root's hosts", c.mem.Host.Short())
	}
	c.host = host
	return nil
}

func (c *checker) notConsumed() error {
	if slices.ContainsFunc(c.mem.Consumed, func(used Consumed) bool { return used.Plan == c.w.Body.Plan }) {
		return refusal.New("PW-WRIT-CONSUMED", "plan %s", c.w.Body.Plan.Short())
	}
	return nil
}

func (c *checker) generation() error {
	if c.w.Header.Generation < c.mem.Generation {
		return refusal.New("PW-WRIT-GENERATION", "plan %d, this host is at %d", c.w.Header.Generation, c.mem.Generation)
	}
	return nil
}

// inWindow judges every time at the trusted time.
func (c *checker) inWindow() error {
	b, h := c.w.Body, c.w.Header
	switch {
	case b.Expires <= b.Issued || b.Expires-b.Issued > MaxLife:
		return refusal.New("PW-WRIT-LIFE", "from %s to %s", stamp(b.Issued), stamp(b.Expires))
	case b.Expires <= c.time:
		return refusal.New("PW-WRIT-EXPIRED", "the writ ended %s, it is %s", stamp(b.Expires), stamp(c.time))
	case h.Expires <= c.time:
		return refusal.New("PW-WRIT-EXPIRED", "the plan ended %s, it is %s", stamp(h.Expires), stamp(c.time))
	case b.Issued > c.time+skew, h.Created > c.time+skew:
		return refusal.New("PW-WRIT-EARLY", "issued %s on a plan of %s, it is %s", stamp(b.Issued), stamp(h.Created), stamp(c.time))
	}
	if n := c.w.Branch.Wave; n >= 0 && n < len(h.Waves) && h.Waves[n].NotBefore > c.time {
		return refusal.New("PW-WRIT-EARLY", "wave %d begins %s, it is %s", n, stamp(h.Waves[n].NotBefore), stamp(c.time))
	}
	return nil
}

func (c *checker) planned() error {
	if err := c.w.Header.Valid(); err != nil {
		return refusal.New("PW-WRIT-PLAN", "%v", err)
	}
	if d := c.w.Header.Digest(); d != c.w.Body.Plan {
		return refusal.New("PW-WRIT-PLAN", "the plan is %s, the writ names %s", d.Short(), c.w.Body.Plan.Short())
	}
	return nil
}

func (c *checker) branched() error {
	b := c.w.Branch
	if err := b.Valid(c.w.Header); err != nil {
		return refusal.New("PW-WRIT-BRANCH", "%v", err)
	}
	raw := b.Bytes()
	switch {
	case b.Host != c.w.Body.Host:
		return refusal.New("PW-WRIT-BRANCH", "the branch is for %s", b.Host.Short())
	case canon.Sum(plan.TypeBranch, raw) != c.w.Body.Branch:
		return refusal.New("PW-WRIT-BRANCH", "the writ names another branch")
	}
	if err := c.w.Header.Holds(raw, c.w.Index, c.w.Path); err != nil {
		return refusal.New("PW-WRIT-BRANCH", "%v", err)
	}
	return nil
}

// aboveFloors lets nothing go below the newest version this host ever had,
// except a downgrade that says so (permitted asks a rollback quorum for it).
func (c *checker) aboveFloors() error {
	floors := map[string]Floor{}
	for _, f := range c.mem.Floors {
		floors[f.Key] = f
	}
	for _, ch := range c.w.Branch.Changes {
		f, known := floors[ch.Key()]
		if !known || ch.To == "" || ch.Op == change.Downgrade {
			continue
		}
		order, err := version.Compare(ch.Scheme, ch.To, f.Version)
		if err != nil || order < 0 || version.Scheme(f.Scheme) != ch.Scheme {
			return refusal.New("PW-WRIT-FLOOR", "%s to %s, this host had %s", ch.Key(), ch.To, f.Version)
		}
	}
	return nil
}

// permitted asks whether people said yes: to this plan, or to the grant.
func (c *checker) permitted() error {
	if d := ApprovalsDigest(c.w.Approvals); d != c.w.Body.Approvals {
		return refusal.New("PW-WRIT-APPROVAL", "the writ was logged with other approvals")
	}
	if len(c.w.Grants) == 1 {
		return c.granted(c.w.Grants[0].Grant)
	}
	return c.meets(c.w.Header.Class)
}

// meets asks the quorum of the class, and the rollback quorum when anything
// goes down or below a floor.
func (c *checker) meets(class change.Class) error {
	names := []string{string(change.Max(class, c.w.Header.Class))}
	if slices.ContainsFunc(c.w.Branch.Changes, func(ch change.Change) bool { return ch.Op == change.Downgrade }) {
		names = append(names, approval.Rollback)
	}
	s := approval.Statement{Kind: approval.Approve, Bytes: c.w.Header.Bytes()}
	for _, name := range names {
		if err := c.answered(name, s, c.w.Header.Author); err != nil {
			return err
		}
	}
	return nil
}

// answered asks whether the writ's approvals are the named quorum's yes to s.
func (c *checker) answered(quorum string, s approval.Statement, author trust.PersonID) error {
	q, ok := c.root.Quorum(quorum)
	if !ok {
		return refusal.New("PW-WRIT-APPROVAL", "the trust root has no quorum for %q", quorum)
	}
	if _, err := approval.Tally(c.root, q, s, author, c.w.Approvals); err != nil {
		return refusal.New("PW-WRIT-APPROVAL", "quorum %s: %v", quorum, err)
	}
	return nil
}

// meetsGrant asks whether a class computed from the bytes is under the ceiling.
func (c *checker) meetsGrant(class change.Class) error {
	ceiling := c.w.Grants[0].Grant.Ceiling
	if class.Rank() > ceiling.Rank() || class.Rank() >= change.Critical.Rank() {
		return refusal.New("PW-WRIT-GRANT", "the change is %s, the grant's ceiling is %s", class, ceiling)
	}
	return nil
}

// granted checks the grant itself: its form, its signatures, what it covers.
func (c *checker) granted(g approval.Grant) error {
	s := approval.Statement{Kind: approval.Allow, Bytes: canon.MustEncode(g)}
	if d := s.Digest(); d != c.w.Body.Grant || slices.Contains(c.root.Critical.Grants, d) {
		return refusal.New("PW-WRIT-GRANT", "the writ names another grant, or the keepers have ended it")
	}
	if err := c.answered("grant", s, g.Author); err != nil {
		return err
	}
	if c.w.Branch.Network {
		return refusal.New("PW-WRIT-GRANT", "no grant lets maintainer scripts use the network")
	}
	if err := g.Covers(c.host, c.w.Branch.Changes, c.root.Critical); err != nil {
		return refusal.New("PW-WRIT-GRANT", "%v", err)
	}
	return c.meetsGrant(c.w.Header.Class)
}

// covered checks the grant against time and this host's own counters.
func (c *checker) covered() error {
	if len(c.w.Grants) == 0 {
		return nil
	}
	g, spent := c.w.Grants[0].Grant, len(c.w.Branch.Changes)
	if g.Expires <= c.time || g.Created > c.time+skew {
		return refusal.New("PW-WRIT-GRANT", "it lives from %s to %s, it is %s", stamp(g.Created), stamp(g.Expires), stamp(c.time))
	}
	stood, err := c.policy.Verify(PlanEntry(c.w.Header), c.w.Grants[0].Proof)
	if err != nil {
		return refusal.New("PW-WRIT-LOG", "the plan's entry: %v", err)
	}
	begins, err := g.NotBefore(c.host, stood.Time)
	if err != nil {
		return refusal.New("PW-WRIT-GRANT", "%v", err)
	}
	if begins > c.time {
		return refusal.New("PW-WRIT-SOAK", "until %s, it is %s", stamp(begins), stamp(c.time))
	}
	for _, s := range c.mem.Spent {
		if s.Grant == c.w.Body.Grant && s.At > c.time-BudgetSpan {
			spent += s.Changes
		}
	}
	if spent > g.Budget {
		return refusal.New("PW-WRIT-BUDGET", "%d changes in 24 hours, %d allowed", spent, g.Budget)
	}
	return nil
}

// received counts the good receipts of every earlier wave.
func (c *checker) received() error {
	good := make([]map[trust.HostID]bool, c.w.Branch.Wave)
	for i := range good {
		good[i] = map[trust.HostID]bool{}
	}
	for _, e := range c.w.Earlier {
		if err := c.earlier(e); err != nil {
			return refusal.New("PW-WRIT-RECEIPTS", "receipt of %s: %v", e.Receipt.Host.Short(), err)
		}
		good[e.Branch.Wave][e.Branch.Host] = true
	}
	for i, hosts := range good {
		if want := c.w.Header.Waves[i].Good; len(hosts) < want {
			return refusal.New("PW-WRIT-RECEIPTS", "wave %d: %d of %d good receipts", i, len(hosts), want)
		}
	}
	return nil
}

// earlier says why a receipt does not speak for its wave, or nil.
func (c *checker) earlier(e Earlier) error {
	r := e.Receipt
	host, known := c.root.Host(r.Host)
	switch {
	case !known:
		return errors.New("the host is not in the trust root")
	case r.Host != e.Branch.Host || r.Wave != e.Branch.Wave || r.Plan != c.w.Body.Plan:
		return errors.New("it speaks for another plan, host or wave")
	case e.Branch.Wave < 0 || e.Branch.Wave >= c.w.Branch.Wave:
		return errors.New("its wave is not an earlier one")
	case !r.Good():
		return errors.New("it is not good: " + string(r.Outcome))
	}
	if err := e.Branch.Valid(c.w.Header); err != nil {
		return err
	}
	if err := c.w.Header.Holds(e.Branch.Bytes(), e.Index, e.Path); err != nil {
		return err
	}
	return r.Signed(host)
}

// logged checks that the leaf derived from the writ's own body stands in a
// witnessed checkpoint.
func (c *checker) logged() (err error) {
	if c.seen, err = c.policy.Verify(c.w.Body.Entry(), c.w.Proof); err != nil {
		return refusal.New("PW-WRIT-LOG", "%v", err)
	}
	if size := c.seen.Checkpoint.Size; c.w.Header.Generation > size {
		return refusal.New("PW-WRIT-LOG", "the plan claims generation %d in a log of %d entries", c.w.Header.Generation, size)
	}
	return nil
}

// continued checks that the writ's checkpoint, this host's last one and the
// witnesses' newest are states of one log.
func (c *checker) continued() error {
	mine, theirs := c.mem.Checkpoint, c.seen.Checkpoint
	for _, l := range c.leases {
		if l.Checkpoint.Origin == theirs.Origin && l.Checkpoint.Size == theirs.Size && l.Checkpoint.Hash != theirs.Hash {
			return refusal.New("PW-WRIT-FORK", "witness %s saw %s at size %d, the writ says %s", l.Witness, l.Checkpoint.Hash.Short(), theirs.Size, theirs.Hash.Short())
		}
	}
	if mine.Size == 0 {
		return nil
	}
	if mine.Origin != theirs.Origin || (mine.Size == theirs.Size && mine.Hash != theirs.Hash) {
		return refusal.New("PW-WRIT-FORK", "this host saw %s %s at size %d, the writ says %s %s", mine.Origin, mine.Hash.Short(), mine.Size, theirs.Origin, theirs.Hash.Short())
	}
	older, newer := mine, theirs
	if older.Size > newer.Size {
		older, newer = newer, older
	}
	if err := tlog.Consistent(older, newer, c.raw.Consistency); err != nil {
		return refusal.New("PW-WRIT-NOCONSISTENCY", "from size %d to %d: %v", older.Size, newer.Size, err)
	}
	return nil
}

func (c *checker) failedHere() error {
	for _, f := range c.mem.Failures {
		switch {
		case f.Writ != c.digest:
		case f.Undone:
			return refusal.New("PW-UNDO-USED", "writ %s", c.digest.Short())
		case c.now-f.At > UndoWindow || c.now < f.At:
			return refusal.New("PW-UNDO-LATE", "it failed %s, it is %s", stamp(f.At), stamp(c.now))
		default:
			return nil
		}
	}
	return refusal.New("PW-UNDO-NONE", "writ %s", c.digest.Short())
}

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
