package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/identity/page"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/witness/ask"
)

func init() { verbs = append(verbs, haltCmd) }

// halting are the flags of halt.
type halting struct {
	scoping
	signing
	life, note, out string
	with            []string
}

func haltCmd() *cobra.Command {
	h := halting{signing: signing{kind: approval.Stop}}
	cmd := &cobra.Command{
		Use:   "halt",
		Short: "stop hosts at once, with your own signature, without the control plane",
		Long: "Signs a stop and hands it straight to the witnesses that your trust root names. They give no host in its scope a\n" +
			"lease any more, and without a lease no host begins a step: not even one that holds a writ. A step that has begun is\n" +
			"not cut, because a broken package database is worse. The control plane is not needed, and cannot prevent it.\n\n" +
			"Says how many witnesses took it, whether that is enough, and how many hosts have seen it. A halt ends by itself\n" +
			"(--for, at most 30 days); a quorum ends it sooner with patchwrit halt lift.\n\n" +
			"Exit codes: 0 no host in the scope can get a lease, 1 too few witnesses took it, 4 it waits for more people.",
		Example: "  patchwrit halt --all --for 12h --note 'bad libssl3' --key ~/.ssh/id_ed25519\n" +
			"  patchwrit halt --label role=db --for 2d --page --person p-7f3a12bc",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return h.run(cmd) },
	}
	addHouseFlags(cmd)
	addServerFlags(cmd)
	addFormatFlag(cmd)
	h.scoping.addFlags(cmd)
	h.signing.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&h.life, "for", "24h", "how long, such as 90m, 12h or 7d; at most 30d")
	f.StringVar(&h.note, "note", "", "why, in a few words; hosts and people are told")
	f.StringVar(&h.out, "out", "", "also keep the signed halt in this file, to hand it in again")
	f.StringArrayVar(&h.with, "with", nil, "a signed halt of --out: hand in this one, with your signature added when a key is given (repeat)")
	cmd.AddCommand(haltLsCmd(), haltLiftCmd())
	return cmd
}

func (h *halting) run(cmd *cobra.Command) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	held, err := h.statement(cmd, root, time.Now())
	if err != nil {
		return err
	}
	if h.some() || len(h.with) == 0 {
		a, err := h.sign(cmd, root, haltSubject(root, held.Halt))
		if err != nil {
			return err
		}
		held.Approvals = merged(held.Approvals, []approval.Approval{a})
	}
	if h.out != "" {
		if err := writeFile(cmd, h.out, canon.MustEncode(held)); err != nil {
			return err
		}
	}
	if err := enough(root, approval.Stop, held.Halt.Statement(approval.Stop), held.Halt.Author, held.Approvals); err != nil {
		return waits(err, "the halt waits: keep it with --out FILE, and the next person runs patchwrit halt --with FILE --key …")
	}
	answers, err := hand(cmd.Context(), root, approval.Stop, held.Halt, held.Approvals)
	if err != nil {
		return err
	}
	return told(cmd, root, held, answers)
}

// statement is the halt that the flags mean: a new one, or the one that others
// have signed.
func (h *halting) statement(cmd *cobra.Command, root trust.Root, now time.Time) (ask.Held, error) {
	held := ask.Held{Approvals: []approval.Approval{}, Lifts: []approval.Approval{}}
	for i, path := range h.with {
		var next ask.Held
		if err := read(path, &next); err != nil {
			return held, fmt.Errorf("this is no signed halt: %w", err)
		}
		if i > 0 && next.Digest() != held.Digest() {
			return held, fmt.Errorf("%s is of another halt than %s", path, h.with[0])
		}
		held.Halt, held.Approvals = next.Halt, merged(held.Approvals, next.Approvals)
	}
	if len(h.with) > 0 {
		return held, held.Halt.Valid()
	}
	scope, err := h.scope(root)
	if err != nil {
		return held, err
	}
	life, err := days(h.life)
	if err != nil {
		return held, err
	}
	author, err := h.who(cmd, root)
	if err != nil {
		return held, err
	}
	held.Halt = approval.Halt{Type: approval.TypeHalt, Nonce: nonce(), Author: author, From: now.Unix(), Until: now.Add(life).Unix(), Scope: scope, Note: canon.NoteOf(h.note)}
	if err := held.Halt.Valid(); err != nil {
		return held, usage{err}
	}
	return held, nil
}

func haltPairs(root trust.Root, h approval.Halt) *pairs {
	p := &pairs{}
	p.add("halt", "%s", h.Statement(approval.Stop).Digest())
	p.add("author", "%s", h.Author)
	p.add("from", "%s", when(h.From))
	p.add("until", "%s", when(h.Until))
	scopePairs(p, root, h.Scope)
	p.add("note", "%s", h.Note)
	return p
}

func haltSubject(root trust.Root, h approval.Halt) subject {
	return subject{what: "halt", bytes: h.Bytes(), typed: h.Statement(approval.Stop).Digest().Short(),
		show: func(w io.Writer) error { return haltPairs(root, h).write(w) },
		page: func() (page.Subject, error) { return page.OfHalt(root, h) }}
}

// hand gives a halt, or its lifting, to every witness of the trust root.
func hand(ctx context.Context, root trust.Root, kind approval.Kind, h approval.Halt, as []approval.Approval) ([]ask.Answer, error) {
	p, err := tlog.ParsePolicy(root.Witnesses)
	if err != nil {
		return nil, err
	}
	if kind == approval.Lift {
		return ask.Lift(ctx, p.Witnesses(), h, as), nil
	}
	return ask.Halt(ctx, p.Witnesses(), h, as), nil
}

// taken says what the witnesses made of a halt or its lifting.
type taken struct {
	Halt      canon.Digest `json:"halt"`
	State     string       `json:"state"` // in_force, lifted, or not_enough
	Until     int64        `json:"until"`
	Witnesses []takenBy    `json:"witnesses"`
	Hosts     *reached     `json:"hosts,omitempty"`
}

type takenBy struct {
	Witness string `json:"witness"`
	State   string `json:"state"` // in_force, lifted, or "" when it did not take it
	Error   string `json:"error"`
}

// took lists what each witness said.
func took(answers []ask.Answer) []takenBy {
	out := []takenBy{}
	for _, a := range answers {
		b := takenBy{Witness: a.Witness, State: string(a.Standing.State)}
		if a.Err != nil {
			b.State, b.Error = "", firstLine(a.Err)
		}
		out = append(out, b)
	}
	return out
}

// lending reports whether those witnesses are a quorum, so that hosts get leases
// from them.
func lending(root trust.Root, witnesses []string) (bool, error) {
	p, err := tlog.ParsePolicy(root.Witnesses)
	if err != nil {
		return false, err
	}
	times := map[string]int64{}
	for _, w := range witnesses {
		times[w] = 1
	}
	_, quorum := p.QuorumTime(times)
	return quorum, nil
}

// in lists the witnesses that are, or are not, in a state.
func in(by []takenBy, state ask.State, are bool) []string {
	out := []string{}
	for _, b := range by {
		if (b.State == string(state)) == are {
			out = append(out, b.Witness)
		}
	}
	return out
}

// told says who took a halt, whether it holds, and whom it has reached.
func told(cmd *cobra.Command, root trust.Root, held ask.Held, answers []ask.Answer) error {
	r := taken{Halt: held.Digest(), State: string(ask.InForce), Until: held.Halt.Until, Witnesses: took(answers)}
	lent, err := lending(root, in(r.Witnesses, ask.InForce, false))
	if err != nil {
		return err
	}
	if lent {
		r.State = "not_enough"
	}
	r.Hosts = reach(cmd, root, held)
	p := &pairs{}
	p.add("halt", "%s", r.Halt)
	p.add("state", "%s until %s", r.State, when(r.Until))
	witnessPairs(p, r.Witnesses)
	r.Hosts.pairs(p)
	if err := present(cmd, r, p); err != nil {
		return err
	}
	if lent {
		return errors.New("TOO FEW WITNESSES TOOK THE HALT: those that did not are a quorum, so hosts get leases from them as soon as they answer.\n" +
			"  next: keep the halt with --out FILE and hand it in again with --with FILE until enough took it, and call the operators of\n" +
			"        the witnesses that did not. Until then stop patchwrit up, or the agents on the hosts (systemctl stop patchwrit-agent)")
	}
	return nil
}

func witnessPairs(p *pairs, by []takenBy) {
	n := 0
	for _, b := range by {
		if b.Error == "" {
			n++
		}
	}
	p.add("witnesses", "%d of %d took it", n, len(by))
	for _, b := range by {
		p.add("", "%s: %s", b.Witness, cmp.Or(b.Error, b.State))
	}
}

func haltLsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "list the halts that the witnesses hold, lifted ones included until their end",
		Long: "Asks every witness of your trust root, not the control plane.\n\n" +
			"Exit code 6: a witness did not answer, so the list may not be whole.",
		Example: "  patchwrit halt ls\n  patchwrit halt ls -o json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := openHouse(cmd)
			if err != nil {
				return err
			}
			all, silent, err := standing(cmd.Context(), root)
			if err != nil {
				return err
			}
			t := &rows{head: []string{"HALT", "STATE", "SCOPE", "FROM", "UNTIL", "BY", "WITNESSES", "NOTE"}}
			for _, h := range all {
				t.add(h.Digest.Short(), h.State, scopeText(h.Halt.Scope), when(h.Halt.From), when(h.Halt.Until), strings.Join(h.By, ","), strings.Join(h.Witnesses, " "), h.Halt.Note.Text())
			}
			if err := present(cmd, all, t); err != nil {
				return err
			}
			if silent != nil {
				return exit{exitPartial, fmt.Errorf("not every witness answered, so this list may not be whole:\n%w", silent)}
			}
			return nil
		},
	}
	addHouseFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

// listed is a halt as the witnesses hold it.
type listed struct {
	Digest    canon.Digest  `json:"digest"`
	Halt      approval.Halt `json:"halt"`
	State     string        `json:"state"` // in_force, lifted, or both when witnesses differ
	By        []string      `json:"by"`
	Witnesses []string      `json:"witnesses"` // that hold it
	held      ask.Held
}

// standing asks every witness which halts it holds. silent says which did not
// answer. A halt whose signatures do not hold under root is a witness's lie and
// is left out, with an error beside.
func standing(ctx context.Context, root trust.Root) (all []listed, silent, err error) {
	p, err := tlog.ParsePolicy(root.Witnesses)
	if err != nil {
		return nil, nil, err
	}
	by := map[canon.Digest]listed{}
	for _, w := range p.Witnesses() {
		halts, err := ask.Standings(ctx, w)
		if err != nil {
			silent = errors.Join(silent, fmt.Errorf("%s: %s", w.Name, firstLine(err)))
			continue
		}
		for _, h := range halts.Halts {
			if err := genuine(root, h); err != nil {
				silent = errors.Join(silent, fmt.Errorf("%s shows a halt that nobody signed: %s", w.Name, firstLine(err)))
				continue
			}
			l, known := by[h.Digest()]
			if !known {
				l = listed{Digest: h.Digest(), Halt: h.Halt, State: string(h.State()), By: []string{}, held: h}
			}
			if string(h.State()) != l.State {
				l.State = "differs"
			}
			l.By = sorted(append(l.By, strings.Split(signers(append(h.Approvals, h.Lifts...)), ",")...))
			l.Witnesses = append(l.Witnesses, w.Name)
			by[h.Digest()] = l
		}
	}
	all = slices.Collect(maps.Values(by))
	slices.SortFunc(all, func(a, b listed) int {
		return cmp.Or(cmp.Compare(b.Halt.From, a.Halt.From), cmp.Compare(a.Digest, b.Digest))
	})
	return all, silent, nil
}

// genuine holds a halt that a witness shows to the signatures beside it.
func genuine(root trust.Root, h ask.Held) error {
	var err error
	if len(h.Approvals) > 0 || len(h.Lifts) == 0 {
		err = enough(root, approval.Stop, h.Halt.Statement(approval.Stop), h.Halt.Author, h.Approvals)
	}
	if len(h.Lifts) > 0 {
		err = errors.Join(err, enough(root, approval.Lift, h.Halt.Statement(approval.Lift), h.Halt.Author, h.Lifts))
	}
	return errors.Join(err, h.Halt.Valid())
}

func haltLiftCmd() *cobra.Command {
	sign, with, out := signing{kind: approval.Lift}, []string(nil), ""
	cmd := &cobra.Command{
		Use:   "lift HALT",
		Short: "end a halt before its time; a quorum signs",
		Long: "HALT is the halt's digest or the beginning of it (patchwrit halt ls). The halt is fetched from the witnesses, shown,\n" +
			"and signed. Each person but the last writes a signature with --out; the last one brings them with --with, and the\n" +
			"lifting is handed to every witness. What is lifted cannot be set again; sign a new halt instead.\n\n" +
			"Exit codes: 1 too few witnesses took it, 4 it waits for more people.",
		Example: "  patchwrit halt lift 77aa01 --key ~/.ssh/id_ed25519 --out lift-ann.json        (Ann)\n" +
			"  patchwrit halt lift 77aa01 --key ~/.ssh/id_ed25519 --with lift-ann.json       (Ben)",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error { return lift(cmd, &sign, args[0], with, out) },
	}
	addHouseFlags(cmd)
	addFormatFlag(cmd)
	sign.addFlags(cmd)
	cmd.Flags().StringArrayVar(&with, "with", nil, "another person's signature for this (repeat)")
	cmd.Flags().StringVar(&out, "out", "", "file for your signature")
	return cmd
}

func lift(cmd *cobra.Command, sign *signing, prefix string, with []string, out string) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	all, silent, err := standing(cmd.Context(), root)
	if err != nil {
		return err
	}
	l, err := one(all, "halt", prefix, func(l listed) string { return string(l.Digest) })
	if err != nil {
		return errors.Join(err, silent)
	}
	as, err := sign.together(cmd, root, haltSubject(root, l.Halt), with, out)
	if err != nil {
		return err
	}
	if err := enough(root, approval.Lift, l.Halt.Statement(approval.Lift), l.Halt.Author, as); err != nil {
		return waits(err, "the lifting of halt %s waits: the next person brings your signature with --with", l.Digest.Short())
	}
	answers, err := hand(cmd.Context(), root, approval.Lift, l.Halt, as)
	if err != nil {
		return err
	}
	r := taken{Halt: l.Digest, State: string(ask.Lifted), Until: l.Halt.Until, Witnesses: took(answers)}
	lent, err := lending(root, in(r.Witnesses, ask.Lifted, true))
	if err != nil {
		return err
	}
	if !lent {
		r.State = "not_enough"
	}
	p := &pairs{}
	p.add("halt", "%s", l.Digest)
	p.add("state", "%s", r.State)
	witnessPairs(p, r.Witnesses)
	if err := present(cmd, r, p); err != nil {
		return err
	}
	if !lent {
		return errors.New("too few witnesses took the lifting, and without the others there is no quorum of leases. Run it again when they answer")
	}
	return nil
}
