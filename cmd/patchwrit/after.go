package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/witness/ask"
	"github.com/patchwrit/patchwrit/writ"
)

func ledgerContinueCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "continue",
		Short: "make a new log after one that is lost, and print the witness policy that the keepers sign for it",
		Long: "Asks the witnesses of the trust root for the newest checkpoint that each has cosigned (in a lease that it signs), and\n" +
			"makes a log's key in --data whose name carries it. Hosts follow only when the keepers sign the policy that is\n" +
			"printed (patchwrit trust set-witnesses) and when they have seen nothing newer. What the lost log held stays\n" +
			"provable by the evidence that was exported before. Under a halt witnesses give no leases: lift it first. Signatures\n" +
			"under old plans and grants stay good until their own end; keepers end grants with 'patchwrit trust end-grant'.",
		Example: "  patchwrit ledger continue --data data2 --trust trust --root-sha256 … > witness.policy\n" +
			"  patchwrit trust set-witnesses witness.policy --key ann.keeper.pem --key bob.keeper.pem",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := openHouse(cmd)
			if err != nil {
				return err
			}
			dir, err := dataDir(cmd)
			if err != nil {
				return err
			}
			last, err := lastWitnessed(cmd, root)
			if err != nil {
				return err
			}
			vkey, err := initLedger(dir, fmt.Sprintf("%s/after/%d/%s", last.Origin, last.Size, last.Hash))
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "patchwrit: the new log goes on after entry %d of %s\n", last.Size, last.Origin)
			_, err = fmt.Fprint(cmd.OutOrStdout(), renamed(root.Witnesses, vkey))
			return err
		},
	}
	addHouseFlags(cmd)
	addDataFlag(cmd)
	return cmd
}

// lastWitnessed is the newest checkpoint that a quorum of the witnesses tells of. Of
// any two quorums that overlap, as those of a sound policy do, one witness has
// seen what any host has.
func lastWitnessed(cmd *cobra.Command, root trust.Root) (tlog.Checkpoint, error) {
	policy, err := tlog.ParsePolicy(root.Witnesses)
	if err != nil {
		return tlog.Checkpoint{}, err
	}
	if len(root.Hosts) == 0 {
		return tlog.Checkpoint{}, errors.New("the trust root names no host to ask a lease for: nobody has seen the log, make a new one with 'patchwrit ledger init'")
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
	defer cancel()
	host, n := root.Hosts[0].ID, nonce()
	leases, told := ask.Leases(ctx, policy.Witnesses(), host, n)
	if told != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "patchwrit: not every witness answers: %v\n", told)
	}
	last, times := tlog.Checkpoint{}, map[string]int64{}
	for _, raw := range leases {
		l, err := leaseBy(policy, root, raw)
		if err != nil {
			return last, err
		}
		times[l.Witness] = l.Time
		switch c := l.Checkpoint; {
		case c.Size > last.Size:
			last = c
		case c.Size == last.Size && c.Size > 0 && c.Hash != last.Hash:
			return last, fmt.Errorf("two witnesses saw different logs at size %d: %s and %s; find out who lied before you go on", c.Size, c.Hash.Short(), last.Hash.Short())
		}
	}
	if _, ok := policy.QuorumTime(times); !ok {
		return last, fmt.Errorf("%d witnesses that answer are no quorum: a host may have seen a newer checkpoint than they tell of (%v)", len(times), told)
	}
	if last.Size == 0 {
		return last, errors.New("no witness has seen the log: nothing is lost, make a new one with 'patchwrit ledger init'")
	}
	return last, nil
}

// leaseBy verifies one witness's word.
func leaseBy(policy tlog.Policy, root trust.Root, raw []byte) (writ.Lease, error) {
	var l writ.Lease
	if err := canon.Decode(raw, &l); err != nil {
		return l, err
	}
	key, known := policy.Key(l.Witness)
	if !known || l.Trust != root.ID || l.Checkpoint.Size > 0 && l.Checkpoint.Origin != policy.Origin() {
		return l, fmt.Errorf("witness %q answers for house %s and log %q", l.Witness, l.Trust.Short(), l.Checkpoint.Origin)
	}
	return l, l.Signed(key)
}

// renamed is a witness policy with another log.
func renamed(policy, vkey string) string {
	lines := strings.Split(policy, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "log ") {
			lines[i] = "log " + vkey
		}
	}
	return strings.Join(lines, "\n")
}
