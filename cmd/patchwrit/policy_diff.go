package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/policy/rego/standard"
)

func policyDiffCmd() *cobra.Command {
	var inputs []string
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "say what two bundles of rules answer differently, and whether the newer one is weaker",
		Long: "Compares settings, rules and data, and asks both bundles about 1,600 systematic inputs, and about the recorded ones in --input\n" +
			"with each of their facts changed. OLD and NEW are signed bundles, directories of .rego files, or the word standard. Who signed\n" +
			"a bundle is not asked here.\n\n" +
			"NEW is  same           the same rules and settings\n" +
			"        stricter       the standard rules with known settings tightened, and nothing else\n" +
			"        may_be_weaker  anything else: no list of inputs can show that a changed rule is nowhere milder\n" +
			"        weaker         proved, by an input with a milder answer or a known setting that is loosened\n\n" +
			"Milder: more may happen, a smaller quorum, a shorter hold, or fewer rules that hold.\n" +
			"Exit code 3: NEW is or may be weaker. To activate it two keepers must sign (patchwrit policy activate).",
		Example: "  patchwrit policy diff standard rules\n  patchwrit policy diff old.tar.gz new.tar.gz --input data/plans -o json",
		Args:    exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			old, err := rulesAt(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			now, err := rulesAt(cmd.Context(), args[1])
			if err != nil {
				return err
			}
			c, err := compared(cmd, old, now, inputs)
			if err != nil {
				return err
			}
			if err := present(cmd, c, comparison(c)); err != nil {
				return err
			}
			if !c.Is.Harmless() {
				return exit{exitFindings, fmt.Errorf("the newer rules are %s: %s", c.Is, strings.Join(c.Why, "; "))}
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&inputs, "input", nil, "recorded policy inputs to compare over as well: a file, or a directory of them (repeat)")
	addFormatFlag(cmd)
	return cmd
}

// rulesAt compiles rules to be compared or tried: of a signed bundle file, of a
// directory, or those of this program.
func rulesAt(ctx context.Context, path string) (*rego.Engine, error) {
	if path == "standard" {
		return rego.Unsigned(ctx, standard.Rules)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return rego.Unsigned(ctx, os.DirFS(path))
	}
	raw, err := readBundle(path)
	if err != nil {
		return nil, err
	}
	e, err := rego.OpenUnverified(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

// compared compares over the systematic inputs and those at paths.
func compared(cmd *cobra.Command, old, now *rego.Engine, paths []string) (policy.Comparison, error) {
	given := []policy.Case{}
	for _, path := range paths {
		found, err := recordedAt(path)
		if err != nil {
			return policy.Comparison{}, err
		}
		for _, f := range found {
			var in policy.Input
			if err := canon.Decode(f.raw, &in); err != nil || in.Type != policy.TypeInput {
				tell(cmd, "%s is no policy input that this version reads; it is left out", f.path)
				continue
			}
			given = append(given, policy.Case{Name: f.path, Input: in})
		}
	}
	return rego.Compare(cmd.Context(), old, now, policy.Corpus(given...))
}

// comparison is a comparison for people.
type comparison policy.Comparison

func (c comparison) write(w io.Writer) error {
	t := &pairs{}
	t.add("the newer rules are", "%s", c.Is)
	for _, why := range c.Why {
		t.add("because", "%s", why)
	}
	t.add("inputs asked", "%d: %d answers milder, %d stricter", c.Asked, c.Weaker, c.Stricter)
	for _, s := range c.Settings {
		t.add("setting "+s.Name, "%s -> %s (%s)", orNone(s.Old), orNone(s.New), s.Is)
	}
	for _, r := range c.Rules {
		t.add("rule "+r.Is, "%s", r.Rule)
	}
	for _, f := range c.Findings {
		t.add("", "")
		t.add("counterexample", "%s", f.Case)
		t.add("  the old rules say", "%s", f.Said.Text())
		t.add("  the newer say", "%s", f.Says.Text())
		for _, in := range f.In {
			t.add("  milder", "%s", in)
		}
		for _, g := range f.Gone {
			t.add("  silent now", "%s", g)
		}
	}
	return t.write(w)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
