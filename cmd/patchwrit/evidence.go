package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

func init() { verbs = append(verbs, evidenceCmd) }

func evidenceCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "evidence", Short: "put together what an auditor checks offline"}
	cmd.AddCommand(evidenceExportCmd())
	return cmd
}

// exporting are the flags of evidence export.
type exporting struct {
	pool, out               string
	writs, leases, receipts []string
	states                  []string
}

func evidenceExportCmd() *cobra.Command {
	var x exporting
	cmd := &cobra.Command{
		Use:   "export PLAN",
		Short: "write one file with everything about a plan, for patchwrit verify",
		Long: "Gathers plan, answers, verdict, writs, leases and receipts, logs receipts that are not in the log yet, proves every event\n" +
			"at the log's newest checkpoint, and adds the vendors' releases from the pool. Writs and receipts that the ledger knows\n" +
			"come by themselves; leases, and receipts it has not seen, come from the hosts' agents.\n\n" +
			"PLAN is a plan file, or a plan's digest (or, at the control plane, the beginning of it). Where a control plane is named\n" +
			"(and no --data), it puts the evidence together; it is believed no more than any other.\n\n" +
			"The bundle is checked before this command ends. Exit code 5: it was written, and it does not hold.",
		Example: "  patchwrit evidence export 5be1c09a22f3 -o evidence.json\n  patchwrit evidence export plan.json --data data --pool pool --agent-state /var/lib/patchwrit-agent -o evidence.json",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if serverName(cmd) != "" && !cmd.Flags().Changed("data") {
				return x.fetch(cmd, args[0])
			}
			if x.pool == "" {
				return usagef("say where the vendors' releases are: --pool DIR")
			}
			return withLedger(cmd, func(ctx context.Context, root trust.Root, l *ledger) error { return x.run(ctx, cmd, root, l, args[0]) })
		},
	}
	addHouseFlags(cmd)
	addServerFlags(cmd)
	addDataFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&x.pool, "pool", "", "the pool that the plan was made with")
	f.StringArrayVar(&x.writs, "writ", nil, "a writ's file (repeat)")
	f.StringArrayVar(&x.leases, "lease", nil, "a lease that a host acted under, or a file with one a line (repeat)")
	f.StringArrayVar(&x.receipts, "receipt", nil, "a host's signed receipt (repeat)")
	f.StringArrayVar(&x.states, "agent-state", nil, "an agent's state directory: its writs, leases and receipts (repeat)")
	f.StringVarP(&x.out, "output", "o", "-", "file for the evidence")
	return cmd
}

func (x *exporting) run(ctx context.Context, cmd *cobra.Command, root trust.Root, l *ledger, plan string) error {
	g := &gathering{ctx: ctx, root: root, l: l}
	for _, step := range []func() error{
		func() error { return g.decided(plan) },
		func() error { return g.ledger() },
		func() error { return g.given(x) },
		g.used,
		func() error { return g.files(x.pool) },
		g.prove,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	raw, err := canon.Encode(g.b)
	if err != nil {
		return err
	}
	return x.write(cmd, root, raw, len(g.b.Entries))
}

// fetch has the control plane put the evidence together.
func (x *exporting) fetch(cmd *cobra.Command, plan string) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	if !digits(plan) {
		p, err := planFile(plan)
		if err != nil {
			return err
		}
		plan = string(p.Header.Digest())
	}
	s, err := openServer(cmd)
	if err != nil {
		return err
	}
	p, err := s.plan(cmd.Context(), plan)
	if err != nil {
		return err
	}
	raw, err := s.raw(cmd.Context(), http.MethodGet, "evidence/"+string(p.Digest), nil)
	if err != nil {
		return err
	}
	var b evidence.Bundle
	if err := canon.Decode(raw, &b); err != nil || b.Header.Digest() != p.Digest {
		return swapped("its evidence is not about plan %s: %v", p.Digest.Short(), err)
	}
	return x.write(cmd, root, raw, len(b.Entries))
}

// write writes the bundle, and says whether it holds.
func (x *exporting) write(cmd *cobra.Command, root trust.Root, raw []byte, events int) error {
	if err := writeFile(cmd, x.out, raw); err != nil {
		return err
	}
	r := evidence.Run(raw, root, decide(cmd.Context(), root), false)
	for _, c := range r.Checks {
		if !c.OK {
			return exit{exitIntegrity, fmt.Errorf("the evidence was written, and it does not hold: %s: %s", c.Name, c.Says)}
		}
	}
	tell(cmd, "evidence about plan %s: %d events, %d bytes; every check holds", canon.Digest(r.Plan).Short(), events, len(raw))
	return nil
}

// gathering is a bundle in the making.
type gathering struct {
	ctx      context.Context
	root     trust.Root
	l        *ledger
	b        evidence.Bundle
	writs    map[canon.Digest]writ.Writ
	leases   []writ.Lease
	receipts map[canon.Digest]writ.Receipt
}

// decided reads the plan's state: what writ issue keeps.
func (g *gathering) decided(plan string) error {
	dir, err := g.planDir(plan)
	if err != nil {
		return err
	}
	raw, err := readFile(filepath.Join(dir, "plan.json"))
	if err != nil {
		return fmt.Errorf("the data directory knows no such plan; a plan is known once writ issue has seen it: %w", err)
	}
	p, err := proposal.ReadFile(raw)
	if err != nil {
		return err
	}
	d, err := g.l.dealing(g.ctx, g.root, p)
	if err != nil {
		return err
	}
	g.b = evidence.Bundle{Type: evidence.TypeBundle, Root: g.root.ID, Header: p.Header, Branches: p.Branches, Dossier: p.Dossier, Approvals: d.answers}
	g.b.Approvals = append(g.b.Approvals[:0:0], g.b.Approvals...)
	slices.SortFunc(g.b.Approvals, func(x, y approval.Approval) int {
		return g.order(evidence.ApprovalEntry(x), evidence.ApprovalEntry(y))
	})
	var in policy.Input
	if err := read(filepath.Join(dir, "verdict.json"), &g.b.Verdict); err != nil {
		return fmt.Errorf("the rules have not been asked about this plan yet: %w", err)
	}
	if err := read(filepath.Join(dir, "input.json"), &in); err != nil {
		return err
	}
	g.b.Grant, g.b.Facts = in.Grant, in.Facts
	g.writs, g.receipts = map[canon.Digest]writ.Writ{}, map[canon.Digest]writ.Receipt{}
	return nil
}

func (g *gathering) planDir(plan string) (string, error) {
	d := canon.Digest(plan)
	if !d.Valid() {
		raw, err := readFile(plan)
		if err != nil {
			return "", err
		}
		p, err := proposal.ReadFile(raw)
		if err != nil {
			return "", err
		}
		d = p.Header.Digest()
	}
	return filepath.Join(g.l.dir, "plans", string(d)), nil
}

// order compares the places of two entries in the log.
func (g *gathering) order(a, b tlog.Entry) int {
	x, _ := g.l.log.Find(a)
	y, _ := g.l.log.Find(b)
	return cmp.Compare(x, y)
}

// read reads a canonical file.
func read(path string, v any) error {
	raw, err := readFile(path)
	if err != nil {
		return err
	}
	if err := canon.Decode(raw, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// ledger takes the writs and receipts that the log names and whose bytes are
// kept. A body that is not there is no error: it may come from the host.
func (g *gathering) ledger() error {
	for e, err := range g.l.log.Entries(g.ctx) {
		if err != nil {
			return err
		}
		if e.Kind != "writ" && e.Kind != "receipt" {
			continue
		}
		raw, err := g.l.body(e.Subject)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = g.take(raw)
		}
		if err != nil {
			return fmt.Errorf("log entry %s %s: %w", e.Kind, e.Subject.Short(), err)
		}
	}
	return nil
}

// take puts a writ or a receipt of this plan in its place; others are left out.
func (g *gathering) take(raw []byte) error {
	var w writ.Writ
	if err := canon.Decode(raw, &w); err == nil && w.Type == writ.TypeFile {
		if w.Body.Plan == g.b.Header.Digest() {
			g.writs[w.Body.Digest()] = w
		}
		return nil
	}
	var r writ.Receipt
	if err := canon.Decode(raw, &r); err != nil || r.Type != writ.TypeReceipt {
		return fmt.Errorf("neither a writ nor a receipt: %w", err)
	}
	if r.Plan == g.b.Header.Digest() {
		g.receipts[r.Digest()] = r
	}
	return nil
}

// given reads what the flags name.
func (g *gathering) given(x *exporting) error {
	files, leases := slices.Concat(x.writs, x.receipts), slices.Clone(x.leases)
	for _, dir := range x.states {
		if _, err := os.Stat(filepath.Join(dir, "receipts")); err != nil {
			return fmt.Errorf("%s is no agent's state directory: %w", dir, err)
		}
		for _, pattern := range []string{"writs/*", "receipts/*"} {
			found, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				return err
			}
			for _, f := range found {
				if strings.HasSuffix(f, ".leases") {
					leases = append(leases, f)
				} else {
					files = append(files, f)
				}
			}
		}
	}
	for _, f := range files {
		raw, err := readFile(f)
		if err == nil {
			err = g.take(raw)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	return g.lent(leases)
}

// lent reads leases, one a line. One that cannot be read did not count on the
// host either.
func (g *gathering) lent(files []string) error {
	for _, f := range files {
		raw, err := readFile(f)
		if err != nil {
			return err
		}
		for line := range bytes.SplitSeq(raw, []byte("\n")) {
			var l writ.Lease
			if canon.Decode(line, &l) == nil {
				g.leases = append(g.leases, l)
			}
		}
	}
	return nil
}

// used puts leases and receipts to their writs and logs receipts that are new.
func (g *gathering) used() error {
	g.b.Writs = []evidence.Used{}
	for _, w := range g.writs {
		u := evidence.Used{Writ: w, Leases: []writ.Lease{}, Receipts: []writ.Receipt{}}
		for _, r := range g.receipts {
			if r.Writ == w.Body.Digest() {
				u.Receipts = append(u.Receipts, r)
			}
		}
		slices.SortFunc(u.Receipts, func(a, b writ.Receipt) int { return cmp.Compare(a.Ended, b.Ended) })
		for _, r := range u.Receipts {
			if _, err := g.l.event(g.ctx, r.Entry(), canon.MustEncode(r)); err != nil {
				return err
			}
		}
		if len(u.Receipts) > 0 {
			var err error
			if u.Leases, err = g.under(u); err != nil {
				return err
			}
		}
		g.b.Writs = append(g.b.Writs, u)
	}
	slices.SortFunc(g.b.Writs, func(x, y evidence.Used) int { return g.order(x.Writ.Body.Entry(), y.Writ.Body.Entry()) })
	return nil
}

// under finds the leases that a host acted under: those that its receipt names.
func (g *gathering) under(u evidence.Used) ([]writ.Lease, error) {
	p, err := tlog.ParsePolicy(g.root.Witnesses)
	if err != nil {
		return nil, err
	}
	byNonce, raw := map[string][]writ.Lease{}, canon.MustEncode(u.Writ)
	for _, l := range g.leases {
		key, known := p.Key(l.Witness)
		if known && l.Host == u.Writ.Body.Host && l.Signed(key) == nil {
			byNonce[l.Nonce] = append(byNonce[l.Nonce], l)
		}
	}
	for _, ls := range byNonce {
		if writ.Shown(raw, ls) == u.Receipts[0].Shown {
			return ls, nil
		}
	}
	return nil, fmt.Errorf("the leases that host %s acted under are not here: give its agent's state directory (--agent-state), or the leases in the order the host had them (--lease)", u.Writ.Body.Host.Short())
}

// files adds the rules and the releases that the dossier's chains name.
func (g *gathering) files(pool string) error {
	want := map[string]canon.Digest{filepath.Join(g.l.dir, "policy.tar.gz"): g.b.Verdict.Bundle}
	for _, f := range g.b.Dossier.Artefacts {
		for _, c := range []provenance.Chain{f.Chain, f.Back} {
			if c.Artefact == "" {
				continue
			}
			if !filepath.IsLocal(filepath.Join(string(c.Origin), c.Path)) {
				return fmt.Errorf("the dossier names %q of %q", c.Path, c.Origin)
			}
			dir := filepath.Join(pool, "releases", string(c.Origin))
			want[filepath.Join(dir, "InRelease")], want[filepath.Join(dir, filepath.FromSlash(c.Path))] = c.Release, c.Packages
		}
	}
	blobs := map[canon.Digest]evidence.Blob{}
	for path, d := range want {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if got := canon.SumFile(raw); got != d {
			return fmt.Errorf("%s is %s, the plan was decided with %s: use the pool and the data directory of that time", path, got.Short(), d.Short())
		}
		blobs[d] = evidence.NewBlob(raw)
	}
	g.b.Blobs = []evidence.Blob{}
	for _, b := range blobs {
		g.b.Blobs = append(g.b.Blobs, b)
	}
	slices.SortFunc(g.b.Blobs, func(x, y evidence.Blob) int { return cmp.Compare(x.Digest, y.Digest) })
	return nil
}

// prove proves every event at the log's newest checkpoint and links the states
// that anything in the bundle speaks of.
func (g *gathering) prove() error {
	events := g.b.Events()
	slices.SortFunc(events, g.order)
	_, newest, err := g.l.log.Checkpoint(g.ctx)
	if err != nil {
		return err
	}
	g.b.Entries = []evidence.Logged{}
	for _, e := range events {
		p, err := g.l.log.Prove(g.ctx, e, newest.Checkpoint.Size)
		if err != nil {
			return fmt.Errorf("the %s %s: %w", e.Kind, e.Subject.Short(), err)
		}
		g.b.Entries = append(g.b.Entries, evidence.Logged{Entry: e, Proof: p})
	}
	p, err := tlog.ParsePolicy(g.root.Witnesses)
	if err != nil {
		return err
	}
	states, err := g.b.States(p)
	if err != nil {
		return err
	}
	g.b.Links = []evidence.Link{}
	for i := 1; i < len(states); i++ {
		link := evidence.Link{From: states[i-1].Size, To: states[i].Size}
		if link.Proof, err = g.l.log.Consistency(g.ctx, link.From, link.To); err != nil {
			return err
		}
		g.b.Links = append(g.b.Links, link)
	}
	return nil
}
