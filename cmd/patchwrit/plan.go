package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
)

func init() { verbs = append(verbs, planCmd) }

// planCmd makes plans and shows them.
func planCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "plan", Short: "list plans, make one for a host, or show exactly what a plan says"}
	cmd.AddCommand(planNewCmd(), planRollbackCmd(), planLsCmd(), planShowCmd(), planProposeCmd())
	return cmd
}

// planning are the flags of plan new and plan rollback.
type planning struct {
	host, author, notBefore, note, out string
	expires                            time.Duration
	generation                         int64
	network                            bool
	only                               []string
	back                               rollback
}

func planNewCmd() *cobra.Command {
	var p planning
	cmd := &cobra.Command{
		Use:   "new",
		Short: "make a plan that fixes what is affected on one host",
		Long: "Plan new asks the host's own apt, on verified indexes only, for the exact changes that fix what is\n" +
			"affected; brings the bytes of both ways into the pool; and writes one plan file. It changes nothing.\n\n" +
			"Exit codes: 0 a plan was written, 3 packages are affected and none can be fixed,\n" +
			"6 nothing is to be fixed as far as is known, and not all is known. Without a plan, 0 means that nothing is to be done.",
		Example: "  patchwrit plan new --root /srv/host1 --host 3f2a… --author p-7f3a12bc --pool pool --data data \\\n" +
			"    --source debian-main=https://archive.example/debian,bookworm \\\n" +
			"    --source debian-security=https://archive.example/debian-security,bookworm-security --out plan.json",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.run(cmd) },
	}
	p.flags(cmd)
	return cmd
}

// flags are those that every new plan takes.
func (p *planning) flags(cmd *cobra.Command) {
	addHouseFlags(cmd)
	addDataFlag(cmd)
	addLookFlags(cmd)
	f := cmd.Flags()
	f.String("root", "", "top directory of the host's system")
	f.String("pool", "", "directory of the bytes that travel with the plan (default: in the user's cache)")
	f.StringVar(&p.host, "host", "", "fingerprint of the host's key, as in the trust root")
	f.StringVar(&p.author, "author", "", "who writes the plan, a person of the trust root")
	f.StringArrayVar(&p.only, "only", nil, "plan for this package only (repeatable)")
	f.DurationVar(&p.expires, "expires", 72*time.Hour, "how long the plan lives, at most 168h")
	f.StringVar(&p.notBefore, "not-before", "", "when it may begin, as 2026-01-31T08:00:00Z (default: now)")
	f.StringVar(&p.note, "note", "", "a sentence for those who sign")
	f.BoolVar(&p.network, "network", false, "let maintainer scripts use the network")
	f.Int64Var(&p.generation, "generation", -1, "size of a witnessed log you have seen (default: that of the log in --data)")
	f.StringVarP(&p.out, "out", "o", "", "file for the plan (default: standard output)")
}

func (p planning) run(cmd *cobra.Command) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	begin, err := p.check(cmd, root)
	if err != nil {
		return err
	}
	if p.generation < 0 {
		if p.generation, err = logSize(cmd); err != nil {
			return err
		}
	}
	o, sources, err := lookOptions(cmd, true, false)
	if err != nil {
		return err
	}
	if o.Sources, err = sourcesOf(root, sources); err != nil {
		return err
	}
	if o.Pool, err = poolDir(cmd); err != nil {
		return err
	}
	o.Only, o.Critical, o.Down = p.only, root.Critical, p.back.targets
	if len(o.Down) > 0 {
		o.Only = nil
	}
	solved, err := solve.Solve(cmd.Context(), o)
	if err != nil {
		return err
	}
	if err := learn(cmd, solved.Seen); err != nil {
		return err
	}
	return p.write(cmd, solved, o.Now, begin)
}

// check refuses, before the long work, what could not become a plan.
func (p planning) check(cmd *cobra.Command, root trust.Root) (begin time.Time, err error) {
	if dir, _ := cmd.Flags().GetString("root"); dir == "" {
		return begin, usagef("say which system: --root DIR")
	}
	if sources, _ := cmd.Flags().GetStringArray("source"); len(sources) == 0 {
		return begin, usagef("say where packages come from: --source ORIGIN=URL,SUITE")
	}
	if _, ok := root.Host(trust.HostID(p.host)); !ok {
		return begin, usagef("the trust root knows no host %q; --host takes its key's fingerprint", p.host)
	}
	if _, ok := root.Person(trust.PersonID(p.author)); !ok {
		return begin, usagef("the trust root knows no person %q; --author takes an id of the roster", p.author)
	}
	if p.expires <= 0 || p.expires > plan.MaxLife*time.Second {
		return begin, usagef("--expires takes up to %s, not %s", plan.MaxLife*time.Second, p.expires)
	}
	if p.notBefore == "" {
		return time.Now(), nil
	}
	if begin, err = time.Parse(time.RFC3339, p.notBefore); err != nil {
		return begin, usagef("--not-before takes a time like 2026-01-31T08:00:00Z, not %q", p.notBefore)
	}
	if !begin.Before(time.Now().Add(p.expires)) {
		return begin, usagef("the plan would end before it may begin: raise --expires or lower --not-before")
	}
	return begin, nil
}

// logSize is the size of the witnessed log in the data directory.
func logSize(cmd *cobra.Command) (size int64, err error) {
	if dir, _ := cmd.Flags().GetString("data"); dir == "" {
		return 0, usagef("say what of the log you have seen: --data DIR, or --generation N")
	}
	err = withLedger(cmd, func(ctx context.Context, _ trust.Root, l *ledger) error {
		_, seen, err := l.log.Checkpoint(ctx)
		size = seen.Checkpoint.Size
		return err
	})
	return size, err
}

// write makes the plan of what was solved, and says in short what became of it.
func (p planning) write(cmd *cobra.Command, s solve.Solved, now, begin time.Time) error {
	tell := cmd.ErrOrStderr()
	for _, h := range s.Held {
		fmt.Fprintf(tell, "held: %s: %s\n", h.Package, h.Why)
	}
	if len(p.back.targets) > 0 {
		if err := p.back.whole(s); err != nil {
			return err
		}
	}
	for _, idle := range s.Idle() {
		fmt.Fprintf(tell, "newer, and no known vulnerability asks for it: %s\n", idle)
	}
	if len(s.Changes) == 0 && len(s.Held) > 0 {
		return exit{exitFindings, fmt.Errorf("%d packages are affected and none of them can be fixed now; the reasons are above", len(s.Held))}
	}
	if len(s.Changes) == 0 {
		return p.nothing(tell, s)
	}
	h, branches, dossier, err := proposal.New(proposal.Request{
		Nonce: nonce(), Author: trust.PersonID(p.author), Created: now.Unix(), Expires: now.Add(p.expires).Unix(), Generation: p.generation,
		Waves: []plan.Wave{{NotBefore: begin.Unix(), Good: 1}}, Facts: s.Facts, Note: p.note,
		Parent: p.back.parent, Reason: p.back.reason,
		Hosts: []proposal.HostRequest{{ID: trust.HostID(p.host), Inventory: s.Digest, Findings: s.Findings, After: s.After,
			Changes: s.Changes, Back: s.Back, Network: p.network, Held: s.Held}},
	})
	if err != nil {
		return err
	}
	raw := proposal.NewFile(h, branches, dossier).Bytes()
	if _, err := proposal.ReadFile(raw); err != nil {
		return err
	}
	fmt.Fprintf(tell, "plan %s: %d changes, %s, %d packages held; look at it with patchwrit plan show\n", h.Digest(), len(s.Changes), h.Class, len(s.Held))
	return writeFile(cmd, p.out, raw)
}

// nothing ends without a plan: well when all is known, else not.
func (p planning) nothing(tell io.Writer, s solve.Solved) error {
	for _, f := range s.Findings {
		if f.State == match.Unknown || f.State == match.UnderInvestigation {
			return exit{exitPartial, errors.New("nothing that is known asks for a change, and not all is known: patchwrit scan says what is not")}
		}
	}
	_, err := fmt.Fprintln(tell, "nothing asks for a change: no plan was written")
	return err
}

func planShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show PLAN",
		Short: "show exactly what a plan's signature covers",
		Long: "PLAN is a plan file, or a plan's digest (or the beginning of it) at the control plane. Either way the tree is rebuilt\n" +
			"from every branch before anything is shown; bytes that do not open are refused.\n\n" +
			"From the control plane, what an adviser said about the plan stands below it, apart from it: no signature covers that.\n\n" +
			"-o header writes the bytes that are signed, for ssh-keygen -Y sign.",
		Example: "  patchwrit plan show plan.json\n" +
			"  patchwrit plan show 5be1c09a22f3 -o json\n" +
			"  patchwrit plan show 5be1c09a22f3 -o header > header",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := output(cmd, "table", "json", "header")
			if err != nil {
				return err
			}
			f, s, err := openPlan(cmd, args[0])
			if err != nil {
				return err
			}
			switch format {
			case "table":
				if err := showPlan(cmd.OutOrStdout(), f); err != nil || s == nil {
					return err
				}
				return s.showAdvice(cmd, f.Header.Digest())
			case "header":
				_, err := cmd.OutOrStdout().Write(f.Header.Bytes())
				return err
			}
			return printJSON(cmd.OutOrStdout(), map[string]any{"digest": f.Header.Digest(), "plan": f})
		},
	}
	addServerFlags(cmd)
	cmd.Flags().StringP("output", "o", "table", "table, json, or header (the bytes that are signed)")
	return cmd
}

func planLsCmd() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "list the control plane's plans, the newest first",
		Long:    "Lists plans that may still lead to a change, and with --all those that ended, with the reason.",
		Example: "  patchwrit plan ls\n  patchwrit plan ls --all -o json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			plans, err := s.plans(cmd.Context())
			if err != nil {
				return err
			}
			shown, t := []control.Plan{}, &rows{head: []string{"PLAN", "STATE", "CLASS", "HOSTS", "PACKAGES", "CREATED", "UNTIL", "WHY"}}
			for _, p := range plans {
				if all || p.Open() {
					shown = append(shown, p)
					t.add(p.Digest.Short(), string(p.State), string(p.Class), strconv.Itoa(len(p.Hosts)), some(p.Packages), when(p.Created), when(cmp.Or(p.Until, p.Expires)), p.Why.Text())
				}
			}
			return present(cmd, shown, t)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "also plans that ended")
	return cmd
}

func planProposeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "propose FILE",
		Short: "hand a plan file in to the control plane",
		Long: "The plan's author must be in the roster. The control plane logs it and asks the rules, as it does for its own plans.\n" +
			"The bytes that it names must be in the control plane's pool.",
		Example: "  patchwrit plan propose plan.json",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := planFile(args[0])
			if err != nil {
				return err
			}
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			if err := s.post(cmd.Context(), "plans", f, &struct{}{}); err != nil {
				return err
			}
			return say(cmd.OutOrStdout(), "plan %s proposed", f.Header.Digest())
		},
	}
	addServerFlags(cmd)
	return cmd
}
