package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
)

func policyActivateCmd() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "activate BUNDLE KEY.pem",
		Short: "have the trust root name another signed bundle of rules; the keepers sign",
		Long: "Compares BUNDLE with the rules in force (--from, their bundle) and makes the version of the trust repository that names it,\n" +
			"signed by the keepers at hand (--key) or staged for keepers who sign apart (--stage).\n\n" +
			"The house's threshold of keepers must sign, as always. Rules that are, or may be, weaker than those in force need two keepers\n" +
			"whatever the threshold; without --from nothing shows that they are not. See 'patchwrit policy diff --help'.\n\n" +
			"Then bring BUNDLE to the control plane (policy.tar.gz in its data directory): it goes on with the old rules until it has both.\n\n" +
			"Exit code 5 (PW-POLICY-WEAKER): a second keeper must sign; nothing was written.",
		Example: "  patchwrit policy activate new.tar.gz policy.key.pem --from data/policy.tar.gz --key ann.keeper.pem --key bob.keeper.pem",
		Args:    exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, err := openHouse(cmd)
			if err != nil {
				return err
			}
			p, now, err := pinPolicy(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			found, err := againstForce(cmd, root, now, from)
			if err != nil {
				return err
			}
			dir, s, err := signingOf(cmd)
			if err != nil {
				return err
			}
			s.Harmless = func(trust.Policy, trust.Policy) error {
				if found.Is.Harmless() {
					return nil
				}
				return fmt.Errorf("the newer rules are %s: %s", found.Is, strings.Join(found.Why, "; "))
			}
			return carryOutAs(cmd, dir, s, func(c *ceremony.Contents) error {
				c.Policy = p
				return nil
			}, nil)
		},
	}
	addKeeperFlags(cmd)
	cmd.Flags().StringVar(&from, "from", "", "the bundle in force, to compare with")
	return cmd
}

// againstForce compares the new rules with those in force and shows the keepers what
// was found.
func againstForce(cmd *cobra.Command, root trust.Root, now *rego.Engine, from string) (policy.Comparison, error) {
	none := policy.Comparison{Is: policy.MayBeWeaker, Why: []string{"the bundle in force was not given (--from): nothing was compared"}}
	if root.Policy.Bundle == "" {
		tell(cmd, "these are the house's first rules: there is nothing to compare them with")
		return none, nil
	}
	if from == "" {
		tell(cmd, "%s", none.Why[0])
		return none, nil
	}
	file, err := readBundle(from)
	if err != nil {
		return none, err
	}
	old, err := rego.Load(cmd.Context(), file, root.Policy.Bundle, canon.Note(root.Policy.Key).Text())
	if err != nil {
		return none, fmt.Errorf("--from %s: %w", from, err)
	}
	found, err := rego.Compare(cmd.Context(), old, now, policy.Corpus())
	if err != nil {
		return none, err
	}
	return found, comparison(found).write(cmd.ErrOrStderr())
}
