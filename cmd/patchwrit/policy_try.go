package main

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/policy/rego/standard"
)

func policyTestCmd() *cobra.Command {
	least, bundle := 0, ""
	cmd := &cobra.Command{
		Use:   "test [DIR]",
		Short: "run the tests of a directory of rules (the standard rules, or your own), with coverage",
		Long: "Runs the test_ rules of the .rego files in DIR as 'opa test' does; todo_test_ rules are skipped. Rules and tests have\n" +
			"the built-ins that a signed bundle has. Limits on a model (advice_limits) that would not hold are refused. Coverage counts the lines of rules, not of *_test.rego.\n\n" +
			"Exit code 3: a test failed, there is none, or less is covered than --coverage wants.",
		Example: "  patchwrit policy test\n  patchwrit policy test rules --coverage 90 -o json\n  patchwrit policy test --bundle policy.tar.gz",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := output(cmd, "table", "json")
			if err != nil {
				return err
			}
			var from fs.FS = standard.Rules
			if len(args) == 1 {
				if info, err := os.Stat(args[0]); err != nil || !info.IsDir() {
					return usagef("%s is no directory of rules", args[0])
				}
				from = os.DirFS(args[0])
			}
			t, err := tried(cmd, from, bundle)
			if err != nil {
				return err
			}
			if err := printTests(cmd.OutOrStdout(), t, format); err != nil {
				return err
			}
			switch {
			case t.Failed > 0 || t.Passed == 0:
				return exit{exitFindings, fmt.Errorf("%d tests passed, %d failed", t.Passed, t.Failed)}
			case t.Percent < least:
				return exit{exitFindings, fmt.Errorf("the tests cover %d %% of the rules' lines, --coverage wants %d %%", t.Percent, least)}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&bundle, "bundle", "", "test the rules of this signed bundle: only the *_test.rego files of DIR count (default: the standard rules' tests)")
	cmd.Flags().IntVar(&least, "coverage", 0, "least percentage of the rules' lines that the tests must reach")
	addFormatFlag(cmd)
	return cmd
}

func tried(cmd *cobra.Command, from fs.FS, bundle string) (rego.Tests, error) {
	if bundle == "" {
		t, err := rego.Test(cmd.Context(), from)
		if err != nil {
			return t, err
		}
		e, err := rego.Unsigned(cmd.Context(), from)
		return t, limitsHold(e, err)
	}
	raw, err := readBundle(bundle)
	if err != nil {
		return rego.Tests{}, err
	}
	t, err := rego.TestBundle(cmd.Context(), raw, from)
	if err != nil {
		return t, err
	}
	e, err := rego.OpenUnverified(cmd.Context(), raw)
	return t, limitsHold(e, err)
}

// limitsHold refuses rules, if they could be read, whose advice_limits would not hold.
func limitsHold(e *rego.Engine, err error) error {
	if err != nil {
		return err
	}
	return conduct.Ruled(e.Advice(), e.Unheard())
}

func printTests(w io.Writer, t rego.Tests, format string) error {
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(t)
	}
	r := &rows{head: []string{"TEST", "IS", "WHERE", "WHY"}}
	for _, one := range t.Tests {
		r.add(one.Name, one.Is, fmt.Sprintf("%s:%d", one.File, one.Line), one.Why)
	}
	r.write(w)
	_, err := fmt.Fprintf(w, "%d passed, %d failed, %d skipped; %d %% of the rules' lines covered\n", t.Passed, t.Failed, t.Skipped, t.Percent)
	return err
}
