package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/trust"
)

func init() { verbs = append(verbs, verifyCmd) }

// verifyCmd is the auditor's verb: offline, and it needs nothing but the file
// and the auditor's own trust repository.
func verifyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "check evidence offline, and say what was proved and what was not",
		Long: "Derives everything in an evidence file again: plan, answers, rules, provenance, log, writs, leases, receipts.\n" +
			"It asks nobody: it needs the file, and the trust repository that you hold yourself.\n\n" +
			"Exit code 5: a check says no.",
		Example: "  patchwrit verify evidence.json --trust trust --root-sha256 3f2a…",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := output(cmd, "table", "json")
			if err != nil {
				return err
			}
			root, err := openHouse(cmd)
			if err != nil {
				return err
			}
			raw, err := readFile(args[0])
			if err != nil {
				return err
			}
			r := evidence.Run(raw, root, decide(cmd.Context(), root), false)
			if err := printReport(cmd.OutOrStdout(), r, format); err != nil {
				return err
			}
			if !r.OK {
				return exit{exitIntegrity, fmt.Errorf("%s does not hold: do not rely on it, and tell whoever runs the log", args[0])}
			}
			return nil
		},
	}
	addHouseFlags(cmd)
	cmd.Flags().StringP("output", "o", "table", "table or json")
	return cmd
}

// decide evaluates the rules that the root pins.
func decide(ctx context.Context, root trust.Root) evidence.Decide {
	return func(bundle, input []byte) (policy.Decision, error) {
		e, err := rego.Load(ctx, bundle, root.Policy.Bundle, canon.Note(root.Policy.Key).Text())
		if err != nil {
			return policy.Decision{}, err
		}
		return e.Decide(ctx, input)
	}
}

func printReport(w io.Writer, r evidence.Report, format string) error {
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	for _, c := range r.Checks {
		word := "ok"
		if !c.OK {
			word = "NO"
		}
		if _, err := fmt.Fprintf(w, "%s  %-17s  %s\n", word, c.Name, c.Says); err != nil {
			return err
		}
	}
	verdict := "Everything that this file can prove is proved."
	if !r.OK {
		verdict = "THIS EVIDENCE DOES NOT HOLD."
	}
	if _, err := fmt.Fprintf(w, "\nplan %s\n%s\n\nNot proved:\n", r.Plan, verdict); err != nil {
		return err
	}
	for _, n := range r.NotProved {
		if _, err := fmt.Fprintln(w, "-", n); err != nil {
			return err
		}
	}
	return nil
}
