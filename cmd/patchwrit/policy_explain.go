package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego"
)

// explained is what policy explain prints.
type explained struct {
	Verdict policy.Verdict        `json:"verdict"`
	Else    []rego.Counterfactual `json:"else"`
}

func policyExplainCmd() *cobra.Command {
	var bundle, key string
	cmd := &cobra.Command{
		Use:   "explain INPUT",
		Short: "say what rules answer to a recorded input, and which single fact would change it",
		Long: "Evaluates the bundle over INPUT (a recorded policy input, as plans/*/input.json in a data directory), and again over inputs\n" +
			"that differ in exactly one fact of a closed list. Lists those that give another outcome or class. No model has a part in it.",
		Example: "  patchwrit policy explain data/plans/3f2a…/input.json --bundle policy.tar.gz --bundle-key policy.key.pem",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := engineAt(cmd, bundle, key)
			if err != nil {
				return err
			}
			raw, err := readFile(args[0])
			if err != nil {
				return err
			}
			var in policy.Input
			if err := canon.Decode(raw, &in); err != nil {
				return fmt.Errorf("%s is no policy input: %w", args[0], err)
			}
			var x explained
			if x.Verdict, x.Else, err = e.Counterfactuals(cmd.Context(), in); err != nil {
				return err
			}
			t := &pairs{}
			t.add("outcome", "%s, class %s", x.Verdict.Outcome, x.Verdict.Class)
			for _, r := range x.Verdict.Reasons {
				t.add(r.Rule, "%s: %s", r.Outcome, r.Text.Text())
			}
			for _, c := range x.Else {
				t.add("if "+c.Fact+" were "+c.To, "%s, class %s (it is %s)", c.Outcome, c.Class, c.From)
			}
			return present(cmd, x, t)
		},
	}
	cmd.Flags().StringVar(&bundle, "bundle", "", "signed bundle")
	cmd.Flags().StringVar(&key, "bundle-key", "", "PEM of the key that signed it")
	addFormatFlag(cmd)
	return cmd
}

// engineAt loads a bundle file that the person at hand vouches for.
func engineAt(cmd *cobra.Command, bundle, key string) (*rego.Engine, error) {
	if bundle == "" || key == "" {
		return nil, usagef("say which rules: --bundle FILE --bundle-key FILE")
	}
	file, err := readFile(bundle)
	if err != nil {
		return nil, err
	}
	public, err := readFile(key)
	if err != nil {
		return nil, err
	}
	return rego.Load(cmd.Context(), file, canon.SumFile(file), string(public))
}
