package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/issue"
)

func init() { verbs = append(verbs, writCmd) }

func writCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "writ", Short: "issue and show writs"}
	cmd.AddCommand(writIssueCmd(), writShowCmd())
	return cmd
}

// issuing are the flags of writ issue.
type issuing struct {
	host, policy, out string
	answers           []string
	life              time.Duration
}

func writIssueCmd() *cobra.Command {
	var i issuing
	cmd := &cobra.Command{
		Use:   "issue PLANFILE",
		Short: "log plan, answers and verdict, and issue the writ for one host",
		Long: "Checks people's answers and the policy, logs everything in a witnessed checkpoint, and assembles the writ.\n" +
			"This permits nothing by itself: the host checks all of it again.\n\n" +
			"Exit code 3: the rules, or a person, said no. 4: it waits for more approvals.",
		Example: "  patchwrit writ issue plan.json --answer approve-ann.json --answer approve-bob.json --host 3f2a… --out writ.json",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := readFile(args[0])
			if err != nil {
				return err
			}
			p, err := proposal.ReadFile(raw)
			if err != nil {
				return err
			}
			return withLedger(cmd, func(ctx context.Context, root trust.Root, l *ledger) error { return i.run(ctx, cmd, root, l, p) })
		},
	}
	addHouseFlags(cmd)
	addDataFlag(cmd)
	cmd.Flags().StringVar(&i.host, "host", "", "fingerprint of the host (may be left out when the plan has one)")
	cmd.Flags().StringArrayVar(&i.answers, "answer", nil, "a signed approve or deny (repeat); those given before are remembered")
	cmd.Flags().StringVar(&i.policy, "policy", "", "the policy bundle that the trust root pins (remembered after the first time)")
	cmd.Flags().DurationVar(&i.life, "life", time.Hour, "how long the writ lives, at most 24h")
	cmd.Flags().StringVar(&i.out, "out", "-", "file for the writ")
	return cmd
}

func (i *issuing) run(ctx context.Context, cmd *cobra.Command, root trust.Root, l *ledger, p proposal.File) error {
	host, err := i.chosen(p)
	if err != nil {
		return err
	}
	d, err := l.dealing(ctx, root, p)
	if err != nil {
		return err
	}
	for _, file := range i.answers {
		if err := d.answer(ctx, file); err != nil {
			return err
		}
	}
	yes, err := d.enough(change.Routine)
	if err != nil {
		return err
	}
	v, err := d.verdict(ctx, i.policy)
	if err != nil {
		return err
	}
	if _, err := d.enough(v.Class); err != nil {
		return err
	}
	now := time.Now().Unix()
	raw, body, err := issue.Issue(ctx, l, issue.Order{Nonce: nonce(), Host: host, Header: p.Header, Branches: p.Branches, Approvals: yes,
		Grants: []writ.Granted{}, Earlier: []writ.Earlier{}, Verdict: v.Digest(), Trust: root.Versions,
		Issued: now, Expires: min(now+int64(i.life/time.Second), p.Header.Expires)})
	if err != nil {
		return err
	}
	if err := l.keep(body.Digest(), raw); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "patchwrit: writ %s for host %s, until %s\n", body.Digest().Short(), host.Short(), time.Unix(body.Expires, 0).UTC().Format(time.RFC3339))
	return writeFile(cmd, i.out, raw)
}

func (i *issuing) chosen(p proposal.File) (trust.HostID, error) {
	switch {
	case i.host != "":
		return trust.HostID(i.host), nil
	case len(p.Branches) == 1:
		return p.Branches[0].Host, nil
	}
	return "", usagef("the plan has %d hosts: say which with --host", len(p.Branches))
}

// dealing is one plan's state in the data directory: answers and verdict.
type dealing struct {
	l       *ledger
	root    trust.Root
	p       proposal.File
	dir     string
	answers []approval.Approval
}

// dealing opens a plan's state; the plan's entry is logged the first time.
func (l *ledger) dealing(ctx context.Context, root trust.Root, p proposal.File) (*dealing, error) {
	d := &dealing{l: l, root: root, p: p, dir: filepath.Join(l.dir, "plans", string(p.Header.Digest()))}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	if err := d.store("plan.json", canon.MustEncode(p)); err != nil {
		return nil, err
	}
	if _, err := l.event(ctx, writ.PlanEntry(p.Header), p.Header.Bytes()); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(d.dir, "answer-*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	for _, f := range files {
		raw, err := readFile(f)
		if err != nil {
			return nil, err
		}
		var a approval.Approval
		if err := canon.Decode(raw, &a); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		d.answers = append(d.answers, a)
	}
	return d, nil
}

// store writes a file of the dealing durably.
func (d *dealing) store(name string, b []byte) error {
	path := filepath.Join(d.dir, name)
	f, err := os.CreateTemp(d.dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// answer checks, remembers and logs one signed answer.
func (d *dealing) answer(ctx context.Context, file string) error {
	raw, err := readFile(file)
	if err != nil {
		return err
	}
	var a approval.Approval
	if err := canon.Decode(raw, &a); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if _, _, err := approval.Check(d.root, approval.Statement{Kind: a.Kind, Bytes: d.p.Header.Bytes()}, a); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	e := evidence.ApprovalEntry(a)
	if slices.ContainsFunc(d.answers, func(have approval.Approval) bool { return evidence.ApprovalEntry(have) == e }) {
		return nil
	}
	if _, err := d.l.event(ctx, e, canon.MustEncode(a)); err != nil {
		return err
	}
	d.answers = append(d.answers, a)
	return d.store("answer-"+string(e.Subject)+".json", canon.MustEncode(a))
}

// enough returns the yeses when they meet the quorum of the plan's class, or of
// a stricter one; otherwise it tells that the plan waits, or that somebody said
// no.
func (d *dealing) enough(class change.Class) ([]approval.Approval, error) {
	yes := []approval.Approval{}
	for _, a := range d.answers {
		if a.Kind != approval.Approve {
			return nil, exit{exitFindings, fmt.Errorf("%s said no to this plan; make a new one", a.Person)}
		}
		if !slices.ContainsFunc(yes, func(have approval.Approval) bool { return have.Person == a.Person }) {
			yes = append(yes, a)
		}
	}
	names := []string{string(change.Max(class, d.p.Header.Class))}
	if d.p.Dossier.Reason != "" {
		names = append(names, approval.Rollback)
	}
	s := approval.Statement{Kind: approval.Approve, Bytes: d.p.Header.Bytes()}
	for _, name := range names {
		q, ok := d.root.Quorum(name)
		if !ok {
			return nil, fmt.Errorf("the trust root has no quorum for %q", name)
		}
		if _, err := approval.Tally(d.root, q, s, d.p.Header.Author, yes); err != nil {
			return nil, exit{exitWaits, fmt.Errorf("the plan waits for approval by the quorum %s: %w", name, err)}
		}
	}
	return yes, nil
}

// verdict evaluates the rules once for a plan and logs the answer.
func (d *dealing) verdict(ctx context.Context, bundle string) (policy.Verdict, error) {
	var v policy.Verdict
	if raw, err := readFile(filepath.Join(d.dir, "verdict.json")); err == nil {
		return v, canon.Decode(raw, &v)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return v, err
	}
	file, err := d.bundle(bundle)
	if err != nil {
		return v, err
	}
	engine, err := rego.Load(ctx, file, d.root.Policy.Bundle, canon.Note(d.root.Policy.Key).Text())
	if err != nil {
		return v, err
	}
	at := time.Now().Unix()
	in := policy.NewInput(d.root, d.p.Header, d.p.Branches, d.p.Dossier, policy.Facts{}, "", at).Bytes()
	decision, err := engine.Decide(ctx, in)
	if err != nil {
		return v, err
	}
	v = policy.Bind(decision, d.p.Header.Digest(), d.p.Header.Class, at, engine.Digest(), policy.InputDigest(in))
	if v.Outcome.Rank() > policy.Quorum.Rank() {
		return v, exit{exitFindings, fmt.Errorf("the rules say %s: %s", v.Outcome, reasons(v))}
	}
	if err := d.store("input.json", in); err != nil {
		return v, err
	}
	if _, err := d.l.event(ctx, evidence.VerdictEntry(v), v.Bytes()); err != nil {
		return v, err
	}
	return v, d.store("verdict.json", v.Bytes())
}

func reasons(v policy.Verdict) string {
	text := ""
	for _, r := range v.Reasons {
		if r.Outcome == v.Outcome {
			text += fmt.Sprintf("%s (%s); ", r.Text.Text(), r.Rule)
		}
	}
	return text
}

// bundle reads the policy bundle and remembers it in the data directory.
func (d *dealing) bundle(path string) ([]byte, error) {
	kept := filepath.Join(d.l.dir, "policy.tar.gz")
	if path == "" {
		b, err := os.ReadFile(kept)
		if err != nil {
			return nil, usagef("say where the policy bundle is, once: --policy FILE (%v)", err)
		}
		return b, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return b, os.WriteFile(kept, b, 0o644)
}

func writShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "show WRITFILE",
		Short: "show what a writ claims (nothing is verified: hosts and 'patchwrit verify' do that)",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := readFile(args[0])
			if err != nil {
				return err
			}
			var w writ.Writ
			if err := canon.Decode(raw, &w); err != nil {
				return err
			}
			out, b := cmd.OutOrStdout(), w.Body
			fmt.Fprintf(out, "writ     %s\nhost     %s\nplan     %s (%s)\nissued   %s\nexpires  %s\n", b.Digest(), b.Host, b.Plan, w.Header.Class,
				time.Unix(b.Issued, 0).UTC().Format(time.RFC3339), time.Unix(b.Expires, 0).UTC().Format(time.RFC3339))
			for _, a := range w.Approvals {
				fmt.Fprintf(out, "%-8s by %s with key %s\n", a.Kind, a.Person, a.Credential.Short())
			}
			for _, c := range w.Branch.Changes {
				fmt.Fprintf(out, "%-9s %s %s -> %s  %s  %s  %s\n", c.Op, c.Key(), c.From, c.To, c.Origin, c.Class, c.Artefact.Short())
			}
			return nil
		},
	}
}
