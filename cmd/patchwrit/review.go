package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/control"
)

func init() { verbs = append(verbs, reviewCmd) }

func reviewCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "review", Short: "see which plans wait for people, until when, and for whom"}
	cmd.AddCommand(reviewLsCmd(), reviewShowCmd())
	return cmd
}

// reviews lists the plans that people are asked about, the most urgent first.
func (s *server) reviews(ctx context.Context) (all []control.Waiting, err error) {
	return all, s.get(ctx, "reviews", &all)
}

func reviewLsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "list the plans that wait for people, the most urgent first",
		Long: "A review that nobody, or too few, answer in time ends as a no: silence is never a yes. Where the rules and a grant permit a plan,\n" +
			"and only an adviser asks people to look, the grant permits it again when that time is over.",
		Example: "  patchwrit review ls\n  patchwrit review ls -o json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			all, err := s.reviews(cmd.Context())
			if err != nil {
				return err
			}
			t := &rows{head: []string{"PLAN", "CLASS", "HOSTS", "PACKAGES", "UNTIL", "LEFT", "SAID YES", "MISSING"}}
			for _, w := range all {
				t.add(w.Plan.Short(), string(w.Class), strconv.Itoa(w.Hosts), some(w.Packages), when(w.Until), left(w.Until), strings.Join(w.Said, ","), w.Missing)
			}
			return present(cmd, all, t)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

// left is how long it is until then.
func left(unix int64) string {
	d := time.Until(time.Unix(unix, 0)).Truncate(time.Second)
	if d <= 0 {
		return "over"
	}
	return d.String()
}

func reviewShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show PLAN",
		Short: "show one review: why people are asked, who said what, who is missing",
		Long: "Says how the review of one plan stands. What the plan does, and what is signed, says patchwrit plan show.\n\n" +
			"Exit code 4: it still waits for people.",
		Example: "  patchwrit review show 5be1c09a22f3",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			return s.showReview(cmd, args[0])
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

func (s *server) showReview(cmd *cobra.Command, prefix string) error {
	all, err := s.reviews(cmd.Context())
	if err != nil {
		return err
	}
	w, err := one(all, "review", prefix, func(w control.Waiting) string { return string(w.Plan) })
	if err != nil {
		if p, known := s.plan(cmd.Context(), prefix); known == nil {
			return exit{exitFailure, fmt.Errorf("plan %s waits for nobody: it is %s. %s", p.Digest.Short(), p.State, p.Why.Text())}
		}
		return err
	}
	t := &pairs{}
	t.add("plan", "%s", w.Plan)
	t.add("class", "%s", w.Class)
	t.add("hosts", "%d", w.Hosts)
	t.add("packages", "%s", strings.Join(w.Packages, " "))
	t.add("asked", "%s", when(w.Asked))
	then := "silence is a no"
	if w.Advised {
		then = "it goes on as the rules said: only an adviser asks people to look"
	}
	t.add("until", "%s (%s); then %s", when(w.Until), left(w.Until), then)
	if w.First {
		t.add("look now", "an adviser asks for it; patchwrit advice show %s", w.Plan.Short())
	}
	t.add("why", "%s", w.Why.Text())
	t.add("said yes", "%s", strings.Join(w.Said, " "))
	t.add("missing", "%s", w.Missing)
	for _, who := range w.Who {
		t.add("can answer", "%s", who)
	}
	if err := present(cmd, w, t); err != nil {
		return err
	}
	if w.Missing != "" {
		return exit{exitWaits, errors.New("it waits for people: patchwrit approve, or patchwrit deny, " + w.Plan.Short())}
	}
	return nil
}
