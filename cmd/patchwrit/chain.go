package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

func ledgerShowCmd() *cobra.Command {
	host := ""
	cmd := &cobra.Command{
		Use:   "show DIGEST",
		Short: "show the whole chain behind one change: feed, finding, plan, verdict, yes or grant, writ, leases, receipt",
		Long: "DIGEST, or its beginning, is that of a plan, a verdict, a writ, a receipt, an approval, or a grant. One question\n" +
			"gives everything from the bytes of the feed to what the host said, each with its leaf in the log. All of it is\n" +
			"checked here, under your own trust root, as patchwrit verify does.\n\n" +
			"Exit code 5: something in the chain does not hold.",
		Example: "  patchwrit ledger show 5be1c09a22f3 --trust trust --root-sha256 3f2a…\n  patchwrit ledger show 5be1c09a22f3 --host web1 -o json",
		Args:    exactly(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return showChain(cmd, args[0], host) },
	}
	addHouseFlags(cmd)
	addServerFlags(cmd)
	addFormatFlag(cmd)
	cmd.Flags().StringVar(&host, "host", "", "only this host of the plan: its fingerprint or the beginning of it")
	return cmd
}

// chain is everything behind the changes of one plan.
type chain struct {
	Plan     canon.Digest     `json:"plan"`
	Basis    *proposal.Basis  `json:"basis,omitempty"`
	Place    int64            `json:"basis_leaf"` // of the basis, -1 without one
	Evidence evidence.Bundle  `json:"evidence"`
	Report   evidence.Report  `json:"report"`
	Hosts    []trust.HostID   `json:"hosts"`
	leaves   map[string]int64 // by subject
}

func showChain(cmd *cobra.Command, prefix, host string) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	s, err := openServer(cmd)
	if err != nil {
		return err
	}
	plan, on, err := s.planOf(cmd.Context(), prefix)
	if err != nil {
		return err
	}
	c, err := s.chain(cmd.Context(), root, plan)
	if err != nil {
		return err
	}
	for _, b := range c.Evidence.Branches {
		if (on == "" || on == b.Host) && (host == "" || isPrefix(host, string(b.Host))) {
			c.Hosts = append(c.Hosts, b.Host)
		}
	}
	if len(c.Hosts) == 0 {
		return fmt.Errorf("plan %s is not about host %q", plan.Short(), host+string(on))
	}
	if err := present(cmd, c, c); err != nil {
		return err
	}
	if !c.Report.OK {
		return exit{exitIntegrity, errors.New("something in this chain does not hold: do not rely on it")}
	}
	return nil
}

// planOf finds the plan that a digest belongs to, and the host when it is about
// one alone.
func (s *server) planOf(ctx context.Context, prefix string) (canon.Digest, trust.HostID, error) {
	plans, err := s.plans(ctx)
	if err != nil {
		return "", "", err
	}
	var writs []control.Writ
	var receipts []control.Receipt
	if err := errors.Join(s.get(ctx, "writs", &writs), s.get(ctx, "receipts", &receipts)); err != nil {
		return "", "", err
	}
	type place struct {
		digest, plan canon.Digest
		host         trust.HostID
	}
	all := []place{}
	for _, p := range plans {
		all = append(all, place{p.Digest, p.Digest, ""}, place{p.Grant, p.Digest, ""})
		for _, v := range p.Verdict {
			all = append(all, place{v.Digest(), p.Digest, ""})
		}
		for _, a := range p.Answers {
			all = append(all, place{evidence.ApprovalEntry(a).Subject, p.Digest, ""}, place{a.Statement, p.Digest, ""})
		}
	}
	for _, w := range writs {
		all = append(all, place{w.Digest, w.Plan, w.Host})
	}
	for _, r := range receipts {
		all = append(all, place{r.Receipt.Digest(), r.Receipt.Plan, r.Receipt.Host})
	}
	slices.SortFunc(all, func(a, b place) int { return strings.Compare(string(a.digest+a.plan), string(b.digest+b.plan)) })
	p, err := one(slices.Compact(all), "plan, verdict, writ, receipt, approval or grant", prefix, func(p place) string { return string(p.digest) })
	return p.plan, p.host, err
}

// chain fetches the evidence about a plan and checks it.
func (s *server) chain(ctx context.Context, root trust.Root, plan canon.Digest) (*chain, error) {
	raw, err := s.raw(ctx, http.MethodGet, "evidence/"+string(plan), nil)
	if err != nil {
		return nil, err
	}
	c := &chain{Plan: plan, Place: -1, Hosts: []trust.HostID{}, leaves: map[string]int64{}}
	if err := canon.Decode(raw, &c.Evidence); err != nil {
		return nil, swapped("the evidence about plan %s cannot be read: %v", plan.Short(), err)
	}
	if got := c.Evidence.Header.Digest(); got != plan {
		return nil, swapped("asked for plan %s, given plan %s", plan, got)
	}
	c.Report = evidence.Run(raw, root, decide(ctx, root), false)
	p, err := tlog.ParsePolicy(root.Witnesses)
	if err != nil {
		return nil, err
	}
	for _, l := range c.Evidence.Entries {
		if v, err := p.Verify(l.Entry, l.Proof); err == nil {
			c.leaves[string(l.Entry.Subject)] = v.Index
		}
	}
	return c, s.basis(ctx, p, c)
}

// basis adds what the plan was made from, proved; a person's plan has none.
func (s *server) basis(ctx context.Context, p tlog.Policy, c *chain) error {
	var l control.Logged
	if err := s.get(ctx, "plans/"+string(c.Plan)+"/basis", &l); err != nil {
		if errors.As(err, new(unreachable)) {
			return err
		}
		return nil
	}
	var b proposal.Basis
	if err := canon.Decode(l.Body, &b); err != nil || b.Plan != c.Plan {
		return swapped("the basis of plan %s is of plan %s: %v", c.Plan.Short(), b.Plan.Short(), err)
	}
	v, err := p.Verify(b.Entry(), l.Proof)
	if err != nil {
		return fmt.Errorf("the basis of plan %s: %w", c.Plan.Short(), err)
	}
	c.Basis, c.Place = &b, v.Index
	return nil
}

// leaf says where an event stands in the log.
func (c *chain) leaf(d canon.Digest) string {
	if i, ok := c.leaves[string(d)]; ok {
		return fmt.Sprintf("leaf %d", i)
	}
	return "NOT PROVED to be in the log"
}

func (c *chain) write(w io.Writer) error {
	p := &pairs{}
	c.first(p)
	for _, h := range c.Hosts {
		c.host(p, h)
	}
	p.add("", "")
	if c.Report.OK {
		p.add("checks", "all %d hold under your trust root", len(c.Report.Checks))
	}
	for _, k := range c.Report.Checks {
		if !k.OK {
			p.add("NO", "%s: %s", k.Name, k.Says)
		}
	}
	return p.write(w)
}

// first shows what is the same for every host.
func (c *chain) first(p *pairs) {
	b := c.Evidence
	if c.Basis == nil {
		p.add("finding", "a person wrote this plan; findings were not logged with it")
	} else {
		p.add("basis", "inventory %s, matched %s (leaf %d)", c.Basis.Inventory, when(c.Basis.At), c.Place)
		for _, f := range c.Basis.Findings {
			for _, s := range f.Sources {
				p.add("feed", "%s of %s: bytes %s, in snapshot %s", s.Advisory, s.Feed, s.Raw, s.Snapshot.Short())
			}
			p.add("finding", "%s in %s %s: %s; fixed in %s", f.Advisory, f.Package, f.Version, f.State, f.Fixed)
		}
	}
	p.add("plan", "%s by %s, %s, %s (%s)", c.Plan, b.Header.Author, b.Header.Class, when(b.Header.Created), c.leaf(c.Plan))
	p.add("dossier", "%s", b.Header.Dossier)
	p.add("rules", "bundle %s on input %s", b.Verdict.Bundle, b.Verdict.Input)
	p.add("verdict", "%s %s, %s (%s)", b.Verdict.Digest(), b.Verdict.Outcome, when(b.Verdict.At), c.leaf(b.Verdict.Digest()))
	for _, r := range b.Verdict.Reasons {
		p.add("", "%s: %s: %s", r.Rule, r.Outcome, r.Text)
	}
	for _, a := range b.Approvals {
		d := evidence.ApprovalEntry(a).Subject
		p.add(string(a.Kind), "%s by %s with credential %s, %s (%s)", d, a.Person, a.Credential.Short(), when(a.At), c.leaf(d))
	}
}

// host shows what was decided and done for one host.
func (c *chain) host(p *pairs, id trust.HostID) {
	p.add("", "")
	p.add("host", "%s", id)
	for i, b := range c.Evidence.Branches {
		if b.Host != id {
			continue
		}
		for n, ch := range b.Changes {
			p.add("change", "%s %s from %s to %s, %s: bytes %s", ch.Op, ch.Key(), none(ch.From), none(ch.To), ch.Class, ch.Artefact)
			p.add("", "because of %s", strings.Join(c.Evidence.Dossier.Hosts[i].Causes[n].Advisories, " "))
		}
	}
	for _, f := range c.Evidence.Dossier.Artefacts {
		p.add("vendor", "%s", vendor(f.Chain))
	}
	used := false
	for _, u := range c.Evidence.Writs {
		if u.Writ.Body.Host == id {
			used = true
			c.used(p, u)
		}
	}
	if !used {
		p.add("writ", "none was issued")
	}
}

func vendor(c provenance.Chain) string {
	return fmt.Sprintf("%s %s from %s: InRelease %s of %s, signed by %s", c.Package, c.Version, c.Origin, c.Release.Short(), when(c.Date), strings.Join(c.Signers, " "))
}

func (c *chain) used(p *pairs, u evidence.Used) {
	body := u.Writ.Body
	for _, g := range u.Writ.Grants {
		p.add("grant", "%s by %s, signed by %s", g.Grant.Statement(approval.Allow).Digest(), g.Grant.Author, signers(u.Writ.Approvals))
	}
	p.add("writ", "%s, %s to %s (%s)", body.Digest(), when(body.Issued), when(body.Expires), c.leaf(body.Digest()))
	for _, l := range u.Leases {
		p.add("lease", "%s at %s, having seen %d leaves", l.Witness, when(l.Time), l.Checkpoint.Size)
	}
	for _, r := range u.Receipts {
		p.add("receipt", "%s: %s %s, %s to %s (%s)", r.Digest(), r.Outcome, r.Code, when(r.Started), when(r.Ended), c.leaf(r.Digest()))
		for _, s := range r.States {
			p.add("", "%s:%s %s, was %s, is %s", s.Package, s.Arch, s.Status, none(s.Before), none(s.After))
		}
		p.add("", "%s", effective(r.Effective))
	}
}

func effective(e writ.Effective) string {
	return fmt.Sprintf("installed %s, running %s, rescanned %s, healthy %s, attested %s", e.Installed, e.Running, e.Rescanned, e.Healthy, e.Attested)
}
