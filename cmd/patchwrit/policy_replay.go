package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/trust"
)

// replaying are the flags of policy replay.
type replaying struct {
	old   string
	since time.Duration
	left  []policy.LeftOut
}

func policyReplayCmd() *cobra.Command {
	var r replaying
	cmd := &cobra.Command{
		Use:   "replay NEW [PATH…]",
		Short: "say which past decisions would be others under other rules, for each host group",
		Long: "Asks NEW (a signed bundle, a directory of .rego files, or the word standard) about the recorded inputs of past decisions: those\n" +
			"of a running control plane (--server), the last answer about each plan, or those at each PATH:\n\n" +
			"  plans/…/input.json with verdict.json beside it, as 'patchwrit writ issue' stores them, or a directory of such\n" +
			"  an evidence bundle ('patchwrit evidence export'); its input is derived again, with --trust and --root-sha256 of that time\n" +
			"  an input without a verdict, with --old OLD: the rules that shall count as those of then\n\n" +
			"Groups are the hosts' labels group=NAME. What cannot be replayed, such as an input of an older form, is listed and counts.\n\n" +
			"Exit code 3: a decision would change. Exit code 6: some could not be replayed, whatever the others say.",
		Example: "  patchwrit policy replay rules --server unix:/var/lib/patchwrit/api.sock --since 2160h\n  patchwrit policy replay new.tar.gz data/plans -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) == 1 && serverName(cmd) == "" {
				return usagef("say which rules, and where past decisions are: policy replay NEW PATH…, or --server")
			}
			now, err := rulesAt(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			past, err := r.gather(cmd, args[1:])
			if err != nil {
				return err
			}
			out, err := policy.Replay(past, now.Digest(), func(in []byte) (policy.Decision, error) { return now.Decide(cmd.Context(), in) })
			if err != nil {
				return err
			}
			out.Left = append(r.left, out.Left...)
			if err := present(cmd, out, replayed(out)); err != nil {
				return err
			}
			switch {
			case len(out.Left) > 0:
				return exit{exitPartial, fmt.Errorf("%d recorded decisions could not be replayed: the answer is not whole", len(out.Left))}
			case out.Changed > 0:
				return exit{exitFindings, fmt.Errorf("%d of %d decisions would be others, %d of them milder", out.Changed, out.Decisions, out.Weaker)}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&r.old, "old", "", "rules that count as those of then for inputs without a verdict")
	cmd.Flags().DurationVar(&r.since, "since", 0, "only decisions that are no older (2160h: 90 days; default: all)")
	addServerFlags(cmd)
	addHouseFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

// gather collects past decisions, and notes what is none.
func (r *replaying) gather(cmd *cobra.Command, paths []string) ([]policy.Past, error) {
	r.left = []policy.LeftOut{}
	out := []policy.Past{}
	if len(paths) == 0 {
		s, err := openServer(cmd)
		if err != nil {
			return nil, err
		}
		if out, err = r.fromServer(cmd.Context(), s); err != nil {
			return nil, err
		}
	}
	for _, path := range paths {
		found, err := recordedAt(path)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s holds no recorded decision", path)
		}
		for _, f := range found {
			p, err := r.past(cmd, f)
			if err != nil {
				r.left = append(r.left, policy.LeftOut{Name: f.path, Why: err.Error()})
				continue
			}
			out = append(out, p)
		}
	}
	if r.since > 0 {
		from := time.Now().Add(-r.since).Unix()
		n := len(out)
		out = slices.DeleteFunc(out, func(p policy.Past) bool { return p.Verdict.At < from })
		if n > len(out) {
			tell(cmd, "%d older decisions are not asked for (--since %s)", n-len(out), r.since)
		}
	}
	return out, nil
}

// fromServer takes the last answer about each plan.
func (r *replaying) fromServer(ctx context.Context, s *server) ([]policy.Past, error) {
	plans, err := s.plans(ctx)
	if err != nil {
		return nil, err
	}
	out := []policy.Past{}
	for _, p := range plans {
		if len(p.Verdict) == 0 { // the rules were not asked yet
			continue
		}
		name := "plan " + p.Digest.Short()
		raw, err := s.raw(ctx, http.MethodGet, "plans/"+string(p.Digest)+"/input", nil)
		if err != nil {
			r.left = append(r.left, policy.LeftOut{Name: name, Why: err.Error()})
			continue
		}
		out = append(out, policy.Past{Name: name, Verdict: p.Verdict[0], Input: raw})
	}
	return out, nil
}

// recorded is a file that may be a decision.
type recorded struct {
	path string
	raw  []byte
}

// maxRecorded is how many files of one directory are looked at.
const maxRecorded = 100_000

// recordedAt are the file at path, or the inputs and evidence bundles in the
// directory there, in the order of their names.
func recordedAt(path string) ([]recorded, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		raw, err := readFile(path)
		return []recorded{{path, raw}}, err
	}
	out, n := []recorded{}, 0
	err = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".json") {
			return err
		}
		if n++; n > maxRecorded {
			return fmt.Errorf("%s holds more than %d files", path, maxRecorded)
		}
		raw, err := readFile(name)
		if err != nil {
			return err
		}
		if d.Name() == "input.json" || strings.Contains(string(raw), `"`+policy.TypeInput+`"`) || strings.Contains(string(raw), `"`+evidence.TypeBundle+`"`) {
			out = append(out, recorded{name, raw})
		}
		return nil
	})
	return out, err
}

// past is the decision in a file.
func (r *replaying) past(cmd *cobra.Command, f recorded) (policy.Past, error) {
	var b evidence.Bundle
	if canon.Decode(f.raw, &b) == nil && b.Type == evidence.TypeBundle {
		return pastOf(cmd, f.path, b)
	}
	p := policy.Past{Name: f.path, Input: f.raw}
	raw, err := readFile(filepath.Join(filepath.Dir(f.path), "verdict.json"))
	switch {
	case err == nil && r.old == "":
		if err := canon.Decode(raw, &p.Verdict); err != nil {
			return p, fmt.Errorf("this version does not read the verdict beside it: %w", err)
		}
		return p, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return p, err
	case r.old == "":
		return p, errors.New("no verdict stands beside it (verdict.json), and --old names no rules")
	}
	old, err := rulesAt(cmd.Context(), r.old)
	if err != nil {
		return p, err
	}
	var in policy.Input
	if err := canon.Decode(f.raw, &in); err != nil {
		return p, fmt.Errorf("this version does not read its input (an older form, or no input): %w", err)
	}
	p.Verdict, err = old.Verdict(cmd.Context(), in)
	return p, err
}

// pastOf derives the input of an evidence bundle again.
func pastOf(cmd *cobra.Command, name string, b evidence.Bundle) (policy.Past, error) {
	if !houseNamed(cmd) {
		return policy.Past{}, errors.New("what the rules saw is derived with the trust repository of that time: --trust and --root-sha256")
	}
	root, err := openHouse(cmd)
	if err != nil {
		return policy.Past{}, err
	}
	return policy.Past{Name: name, Verdict: b.Verdict, Input: inputOf(root, b)}, nil
}

func inputOf(root trust.Root, b evidence.Bundle) []byte {
	return policy.NewInput(root, b.Header, b.Branches, b.Dossier, b.Facts, b.Grant, b.Verdict.At).Bytes()
}

// replayed is a replay for people.
type replayed policy.Replayed

func (r replayed) write(w io.Writer) error {
	changes := &rows{head: []string{"PLAN", "DECIDED", "GROUPS", "HOSTS", "SAID", "WOULD SAY", "MILDER", "WHY"}}
	for _, c := range r.Changes {
		milder := "no"
		if len(c.Weaker) > 0 {
			milder = strings.Join(c.Weaker, "; ")
		}
		why := some(c.Why)
		if len(c.Gone) > 0 {
			why += " (silent now: " + some(c.Gone) + ")"
		}
		changes.add(c.Plan.Short(), when(c.At), strings.Join(named(c.Groups), " "), strconv.Itoa(c.Hosts), c.Said.Text(), c.Says.Text(), milder, why)
	}
	groups := &rows{head: []string{"GROUP", "DECISIONS", "HOSTS", "CHANGED", "MILDER", "MOVES"}}
	for _, g := range r.Groups {
		moves := []string{}
		for _, m := range slices.Sorted(maps.Keys(g.Moves)) {
			moves = append(moves, fmt.Sprintf("%s: %d", m, g.Moves[m]))
		}
		groups.add(named([]string{g.Group})[0], strconv.Itoa(g.Decisions), strconv.Itoa(g.Hosts), strconv.Itoa(g.Changed), strconv.Itoa(g.Weaker), strings.Join(moves, ", "))
	}
	left := &rows{head: []string{"NOT REPLAYED", "WHY"}}
	for _, l := range r.Left {
		left.add(l.Name, l.Why)
	}
	for _, t := range []*rows{changes, groups, left} {
		if len(t.cells) == 0 {
			continue
		}
		if err := errors.Join(t.write(w), say(w, "")); err != nil {
			return err
		}
	}
	return say(w, "%d decisions replayed: %d would change, %d of them milder; %d could not be replayed", r.Decisions, r.Changed, r.Weaker, len(r.Left))
}

// named gives hosts without a group a word.
func named(groups []string) []string {
	out := []string{}
	for _, g := range groups {
		if g == "" {
			g = "(none)"
		}
		out = append(out, g)
	}
	return out
}
