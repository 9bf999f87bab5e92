package evidence

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/writ"
)

// ApprovalEntry is the log entry of a yes or no.
func ApprovalEntry(a approval.Approval) tlog.Entry {
	return tlog.NewEntry("approval", canon.Sum(approval.TypeApproval, canon.MustEncode(a)), a.At)
}

// VerdictEntry is the log entry of a verdict.
func VerdictEntry(v policy.Verdict) tlog.Entry { return tlog.NewEntry("verdict", v.Digest(), v.At) }

// Events lists the entry of every event in the bundle: plan, approvals,
// verdict, then each writ with its receipts.
func (b Bundle) Events() []tlog.Entry {
	all := []tlog.Entry{writ.PlanEntry(b.Header)}
	for _, a := range b.Approvals {
		all = append(all, ApprovalEntry(a))
	}
	all = append(all, VerdictEntry(b.Verdict))
	for _, u := range b.Writs {
		all = append(all, u.Writ.Body.Entry())
		for _, r := range u.Receipts {
			all = append(all, r.Entry())
		}
	}
	return all
}

// ordered holds the entries to exactly the bundle's events, each once, in an
// order in which they may have effect. That the entries are in the log, and in
// this order, is for logged.
func (c *checker) ordered() (string, error) {
	c.place = map[tlog.Entry]int{}
	for i, l := range c.b.Entries {
		c.place[l.Entry] = i
	}
	want := c.b.Events()
	if len(want) != len(c.b.Entries) || len(want) != len(c.place) {
		return "", refusal.New(codeLog, "%d events, %d entries, %d of them different", len(want), len(c.b.Entries), len(c.place))
	}
	for _, e := range want {
		if _, ok := c.place[e]; !ok {
			return "", refusal.New(codeLog, "the %s of %s is not among the entries", e.Kind, stamp(e.At))
		}
	}
	if c.place[want[0]] != 0 {
		return "", refusal.New(codeLog, "a %s was logged before the plan", c.b.Entries[0].Entry.Kind)
	}
	for _, chain := range c.chains() {
		for i := 1; i < len(chain); i++ {
			if a, b := chain[i-1], chain[i]; c.place[a] > c.place[b] {
				return "", refusal.New(codeLog, "the %s of %s stands after the %s of %s", a.Kind, stamp(a.At), b.Kind, stamp(b.At))
			}
		}
	}
	return fmt.Sprintf("%d events, nothing before what it follows from", len(want)), nil
}

// chains are events that must follow one another: the approvals as they are
// listed, the verdict and the writs, each writ and its receipts.
func (c *checker) chains() [][]tlog.Entry {
	said, issued := []tlog.Entry{}, []tlog.Entry{VerdictEntry(c.b.Verdict)}
	for _, a := range c.b.Approvals {
		said = append(said, ApprovalEntry(a))
	}
	all := [][]tlog.Entry{said}
	for _, u := range c.b.Writs {
		issued = append(issued, u.Writ.Body.Entry())
		done := []tlog.Entry{u.Writ.Body.Entry()}
		for _, r := range u.Receipts {
			done = append(done, r.Entry())
		}
		all = append(all, done)
	}
	return append(all, issued)
}

// logged verifies every entry's proof, all at one checkpoint and in the log's
// order, and that every other checkpoint anything here speaks of is an earlier
// state of the same log.
func (c *checker) logged() (string, error) {
	last := tlog.Verified{Index: -1}
	for i, l := range c.b.Entries {
		seen, err := c.policy.Verify(l.Entry, l.Proof)
		if err != nil {
			return "", refusal.New(codeLog, "entry %d (%s): %v", i, l.Entry.Kind, err)
		}
		if seen.Index <= last.Index {
			return "", refusal.New(codeLog, "entry %d (%s) is not in the log's order", i, l.Entry.Kind)
		}
		if i > 0 && seen.Checkpoint != last.Checkpoint {
			return "", refusal.New(codeLog, "entry %d (%s) is proved at another checkpoint than the others", i, l.Entry.Kind)
		}
		last = seen
	}
	n, err := c.linked(last.Checkpoint)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d events stand in the log's first %d entries, which the log signed and %d witnesses saw by %s; %d earlier states are of the same log",
		len(c.b.Entries), last.Checkpoint.Size, len(last.Witnesses), stamp(last.Time), n), nil
}

// States are the states of the log that anything in the bundle speaks of, by
// size, each once: the checkpoints of the entries, of the writs' own proofs, of
// leases and receipts. Proofs must verify. Two of one size that differ both
// stay: they are a fork.
func (b Bundle) States(p tlog.Policy) ([]tlog.Checkpoint, error) {
	points := []tlog.Checkpoint{}
	proved := slices.Clone(b.Entries[:min(1, len(b.Entries))]) // logged holds the others to its checkpoint
	for _, u := range b.Writs {
		proved = append(proved, Logged{u.Writ.Body.Entry(), u.Writ.Proof})
		for _, g := range u.Writ.Grants {
			proved = append(proved, Logged{writ.PlanEntry(b.Header), g.Proof})
		}
		for _, l := range u.Leases {
			points = append(points, l.Checkpoint)
		}
		for _, r := range u.Receipts {
			points = append(points, r.Checkpoint)
		}
	}
	for _, l := range proved {
		seen, err := p.Verify(l.Entry, l.Proof)
		if err != nil {
			return nil, refusal.New(codeLog, "the proof of the %s of %s: %v", l.Entry.Kind, stamp(l.Entry.At), err)
		}
		points = append(points, seen.Checkpoint)
	}
	points = slices.DeleteFunc(points, func(p tlog.Checkpoint) bool { return p == tlog.Checkpoint{} }) // none seen
	slices.SortFunc(points, func(a, b tlog.Checkpoint) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.Hash, b.Hash), cmp.Compare(a.Origin, b.Origin))
	})
	return slices.Compact(points), nil
}

// linked proves that all states anything speaks of are earlier states of the
// newest, and counts them.
func (c *checker) linked(newest tlog.Checkpoint) (int, error) {
	points, err := c.b.States(c.policy)
	if err != nil {
		return 0, err
	}
	if last := points[len(points)-1]; last.Size > newest.Size {
		return 0, refusal.New(codeLog, "a state of %d entries is spoken of, the entries are proved in the first %d", last.Size, newest.Size)
	}
	if len(c.b.Links) != len(points)-1 {
		return 0, refusal.New(codeLog, "%d states of the log, %d links", len(points), len(c.b.Links))
	}
	for i, l := range c.b.Links {
		if l.From != points[i].Size || l.To != points[i+1].Size {
			return 0, refusal.New(codeLog, "link %d joins other sizes", i)
		}
		if err := tlog.Consistent(points[i], points[i+1], l.Proof); err != nil {
			return 0, refusal.New(codeLog, "from size %d to %d: %v", l.From, l.To, err)
		}
	}
	return len(points) - 1, nil
}
