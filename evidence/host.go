package evidence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/writ"
)

// clocks is how far a receipt's times, by the host's clock, may lie from its
// leases', by the witnesses': a host refuses leases beyond a day.
const clocks = 24*3600 + writ.LeaseLife

// receipts checks each receipt's signature and that it speaks of exactly the
// writ and leases beside it.
func (c *checker) receipts() (string, error) {
	says := []string{}
	for _, u := range c.b.Writs {
		if err := u.told(); err != nil {
			return "", err
		}
		for _, r := range u.Receipts {
			host, known := c.root.Host(r.Host)
			if !known {
				return "", refusal.New(codeReceipt, "host %s is not in the trust root", r.Host.Short())
			}
			if err := r.Signed(host); err != nil {
				return "", refusal.New(codeReceipt, "host %s: %v", r.Host.Short(), err)
			}
			says = append(says, tell(r))
		}
		if len(u.Receipts) == 0 {
			says = append(says, fmt.Sprintf("host %s has sent none: nobody knows what became of its writ", u.Writ.Body.Host.Short()))
		}
	}
	return strings.Join(append([]string{fmt.Sprintf("%d writs", len(c.b.Writs))}, says...), "; "), nil
}

func tell(r writ.Receipt) string {
	e, how := r.Effective, ""
	if r.Simulated {
		how = " SIMULATED"
	}
	return fmt.Sprintf("host %s signed%s %s %s at %s: installed %s, running %s, rescanned %s, healthy %s, attested %s",
		r.Host.Short(), how, r.Outcome, r.Code, stamp(r.Ended), e.Installed, e.Running, e.Rescanned, e.Healthy, e.Attested)
}

// told holds the receipts of a writ to it: an attempt, then perhaps its
// rollback.
func (u Used) told() error {
	host, b := u.Writ.Body.Host.Short(), u.Writ.Body
	switch n := len(u.Receipts); {
	case n > 2 || n == 2 && u.Receipts[0].Outcome == writ.Done:
		return refusal.New(codeReceipt, "host %s: %d receipts; one is right, and a second after a failure", host, n)
	case n > 0 && len(u.Leases) == 0:
		return refusal.New(codeReceipt, "host %s acted without a lease", host)
	case n == 0 && len(u.Leases) > 0:
		return refusal.New(codeReceipt, "host %s: leases without a receipt that says they were used", host)
	}
	for i, r := range u.Receipts {
		leases := u.Leases
		if i == 1 {
			leases = nil // a plan's own rollback asks for none
		}
		switch {
		case r.Host != b.Host || r.Writ != b.Digest() || r.Plan != b.Plan || r.Wave != u.Writ.Branch.Wave:
			return refusal.New(codeReceipt, "host %s: it speaks for another host, writ, plan or wave", host)
		case r.Shown != writ.Shown(canon.MustEncode(u.Writ), leases):
			return refusal.New(codeReceipt, "host %s acted on another writ file or other leases than these", host)
		case r.Ended < r.Started || r.Started-u.Leases[0].Time > clocks || u.Leases[0].Time-r.Started > clocks:
			return refusal.New(codeReceipt, "host %s began %s and ended %s, its lease is of %s", host, stamp(r.Started), stamp(r.Ended), stamp(u.Leases[0].Time))
		}
		if err := arrived(r, i == 1, u.Writ.Branch.Changes); err != nil {
			return err
		}
	}
	return nil
}

// arrived holds a receipt that says done, or rolled back, to the versions of
// its branch, and to nothing else.
func arrived(r writ.Receipt, undo bool, changes []change.Change) error {
	host := r.Host.Short()
	if (r.Outcome == writ.RolledBack) && !undo || r.Outcome == writ.Done && undo {
		return refusal.New(codeReceipt, "host %s: %s is no end of this attempt", host, r.Outcome)
	}
	if !slices.Contains([]writ.Outcome{writ.Done, writ.RolledBack, writ.Failed, writ.Partial}, r.Outcome) {
		return refusal.New(codeReceipt, "host %s: outcome %q", host, r.Outcome)
	}
	if r.Outcome != writ.Done && r.Outcome != writ.RolledBack {
		return nil
	}
	if len(r.States) != len(changes) {
		return refusal.New(codeReceipt, "host %s says %s of %d packages, the writ permits %d", host, r.Outcome, len(r.States), len(changes))
	}
	for _, ch := range changes {
		from, to := ch.From, ch.To
		if undo {
			from, to = to, from
		}
		ok := slices.ContainsFunc(r.States, func(s writ.State) bool {
			return s.Package == ch.Package && s.Arch == ch.Arch && s.After == to && (undo || s.Before == from)
		})
		if !ok {
			return refusal.New(codeReceipt, "host %s says %s, but not that %s went to %q", host, r.Outcome, ch.Key(), to)
		}
	}
	return nil
}

// writs verifies every writ as its host did; that its branch is of this plan is
// part of that.
func (c *checker) writs() (string, error) {
	for _, u := range c.b.Writs {
		b := u.Writ.Body
		switch {
		case b.Plan != c.b.Header.Digest() || b.Verdict != c.b.Verdict.Digest():
			return "", refusal.New(codeWrit, "host %s: the writ is of another plan or verdict", b.Host.Short())
		case b.Grant != c.b.Grant && b.Grant != "": // under no grant people have signed
			return "", refusal.New(codeWrit, "host %s: the rules were asked about grant %q, the writ runs under %q", b.Host.Short(), c.b.Grant.Short(), b.Grant.Short())
		}
		if err := c.verified(u); err != nil {
			return "", refusal.New(codeWrit, "host %s: %v", b.Host.Short(), err)
		}
	}
	return fmt.Sprintf("%d writs verify as their hosts verified them", len(c.b.Writs)), nil
}

// verified runs the host's own verification: at its leases' time, or, when the
// host has shown nothing, the part that needs no leases.
func (c *checker) verified(u Used) error {
	host, raw, newest := u.Writ.Body.Host, writ.Raw{Writ: canon.MustEncode(u.Writ)}, int64(0)
	for _, l := range u.Leases {
		raw.Leases = append(raw.Leases, canon.MustEncode(l))
		newest = max(newest, l.Time)
	}
	memory := writ.NewMemory(host, c.root.ID)
	if len(u.Receipts) == 0 {
		at := u.Writ.Body.Issued
		_, _, err := writ.VerifyUndo(raw, c.root, memory.Failed(u.Writ.Body.Digest(), at), time.Unix(at, 0))
		return err
	}
	if len(u.Leases) == 0 {
		return errors.New("the host acted without a lease")
	}
	_, _, err := writ.Verify(raw, c.root, memory.Asking(u.Leases[0].Nonce, newest), time.Unix(newest, 0))
	return err
}

// leases checks every single one: on a host a bad one does not count, here it
// is a finding.
func (c *checker) leases() (string, error) {
	n := 0
	for _, u := range c.b.Writs {
		for _, l := range u.Leases {
			key, known := c.policy.Key(l.Witness)
			if !known {
				return "", refusal.New(codeLease, "witness %q is not in the policy", l.Witness)
			}
			if err := l.Signed(key); err != nil {
				return "", refusal.New(codeLease, "%v", err)
			}
			if l.Host != u.Writ.Body.Host || l.Nonce != u.Leases[0].Nonce || l.Trust != c.root.ID {
				return "", refusal.New(codeLease, "the lease of %s is for another host, nonce or house", l.Witness)
			}
			n++
		}
	}
	return fmt.Sprintf("%d leases, each signed by its witness", n), nil
}
