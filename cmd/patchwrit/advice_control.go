package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/refusal"
)

// dossierOfServer is the dossier that the control plane sent, or would send,
// about the plan of --plan; false when --plan is a file.
func dossierOfServer(cmd *cobra.Command) (d advice.Dossier, asked bool, err error) {
	name, _ := cmd.Flags().GetString("plan")
	if _, err := os.Stat(name); err == nil || !digits(name) {
		return d, false, nil
	}
	s, err := openServer(cmd)
	if err != nil {
		return d, true, err
	}
	p, err := s.plan(cmd.Context(), name)
	if err != nil {
		return d, true, err
	}
	raw, err := s.raw(cmd.Context(), http.MethodGet, "plans/"+string(p.Digest)+"/request", nil)
	if err != nil {
		return d, true, err
	}
	if d, err = advice.ReadRequest(raw); err == nil && d.Plan != p.Digest {
		err = fmt.Errorf("it is about plan %s", d.Plan.Short())
	}
	if err != nil {
		err = swapped("the request about plan %s: %v", p.Digest.Short(), err)
	}
	return d, true, err
}

// lists adds what KEV, EPSS and CVE records of the depot say of a plan's CVEs.
// Nil without a depot.
func (u *upFlags) lists() func(context.Context, time.Time, *advice.Material) error {
	if u.depot == "" {
		return nil
	}
	return func(ctx context.Context, now time.Time, m *advice.Material) error {
		c, err := u.chosen()
		if err != nil {
			return err
		}
		f, err := c.facts(ctx, now)
		if err != nil {
			return err
		}
		r := adviceReading{Material: m, limit: int64(u.age / time.Second), now: now, cves: advice.CVEs(advice.Records(m.Plan, m.Sets))}
		r.lists(f)
		wanted := map[string]bool{}
		for _, id := range r.cves {
			wanted[id] = true
		}
		books, _, err := f.cve.books(ctx, now, func(id string) bool { return wanted[id] })
		for _, b := range books {
			for _, x := range b.Records {
				m.Spoke = append(m.Spoke, spokenOf(x, b.Snapshot))
			}
		}
		return err
	}
}

// adviceOf is what an adviser said about a plan; nil when nobody was asked.
func (s *server) adviceOf(ctx context.Context, plan canon.Digest) (*control.AdviceView, error) {
	var all []control.AdviceView
	if err := s.get(ctx, "plans/"+string(plan)+"/advice", &all); err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

// showAdvice shows it below a plan, and apart from it.
func (s *server) showAdvice(cmd *cobra.Command, plan canon.Digest) error {
	v, err := s.adviceOf(cmd.Context(), plan)
	if refusal.CodeOf(err) == "PW-CONTROL-BLOB" { // the plan itself is whole
		tell(cmd, "what an adviser said about it cannot be shown: %s", firstLine(err))
		return nil
	}
	if err != nil || v == nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout())
	if err := say(cmd.OutOrStdout(), "advice (not part of the plan; nothing of it permits anything)"); err != nil {
		return err
	}
	for _, line := range v.Lines() {
		if err := say(cmd.OutOrStdout(), "  %s", clean(line)); err != nil {
			return err
		}
	}
	return nil
}

func adviceShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show PLAN",
		Short: "show what an adviser said about a plan of the control plane, claim by claim",
		Long: "Each line says what it is worth: verified, or a model's words. -o json has the whole record: model, the SHA-256 of dossier, request, what was\n" +
			"sent and what came back, and the report. The bytes themselves are at GET /v1/plans/PLAN/advice/request, sent, received, answer and report.",
		Example: "  patchwrit advice show 5be1c09a22f3",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			p, err := s.plan(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			v, err := s.adviceOf(cmd.Context(), p.Digest)
			if err != nil {
				return err
			}
			if v == nil {
				return exit{exitFailure, fmt.Errorf("nobody was asked about plan %s", p.Digest.Short())}
			}
			x, t := v.Exchange, &pairs{}
			t.add("plan", "%s", x.Plan)
			t.add("model", "%s", orNone(string(x.Model)))
			t.add("dossier", "%s", orNone(string(x.Dossier)))
			t.add("request", "%s", orNone(string(x.Request)))
			t.add("answer", "%s", orNone(string(x.Answer)))
			t.add("effect", "%s; the rules had said %s", v.Effect, v.Rules)
			for _, line := range v.Lines() {
				t.add("advice", "%s", line)
			}
			return present(cmd, v, t)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

func adviceFiguresCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "figures",
		Short: "change-failure rate and time to restore, with and without advice",
		Long: "Counts the plans of which a host has acted: those that an adviser had answered about in time, and the others. They are not alike: which plans an\n" +
			"adviser sees, and which are held, is no matter of chance. A difference between the two is no proof of an effect.",
		Example: "  patchwrit advice figures\n  patchwrit advice figures -o json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			var f control.Figures
			if err := s.get(cmd.Context(), "figures", &f); err != nil {
				return err
			}
			t := &rows{head: []string{"", "PLANS", "FAILED", "CHANGE-FAILURE RATE", "HOSTS FAILED", "RESTORED", "MEDIAN TIME TO RESTORE"}}
			for _, g := range []struct {
				name string
				control.Group
			}{{"with advice", f.With}, {"without advice", f.Without}, {"asked " + fmt.Sprint(f.Asked) + ", held " + fmt.Sprint(f.Held) + ", look now " + fmt.Sprint(f.First), control.Group{Plans: -1}}} {
				if g.Plans < 0 {
					t.add(g.name)
					continue
				}
				rate, restore := "-", "-"
				if g.Plans > 0 {
					rate = fmt.Sprintf("%.1f %%", 100*float64(g.Failed)/float64(g.Plans))
				}
				if g.Restored > 0 {
					restore = ago(g.Restore)
				}
				t.add(g.name, fmt.Sprint(g.Plans), fmt.Sprint(g.Failed), rate, fmt.Sprint(g.Hosts), fmt.Sprint(g.Restored), restore)
			}
			return present(cmd, f, t)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}
