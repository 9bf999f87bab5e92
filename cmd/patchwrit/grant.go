package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/identity/page"
	"github.com/patchwrit/patchwrit/trust"
)

func init() { verbs = append(verbs, grantCmd) }

func grantCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "grant", Short: "lend autonomy: write, sign, see and revoke standing approvals",
		Long: "A grant is a standing approval: hosts may take certain routine changes without a person for each plan. Each of its limits\n" +
			"is checked on the host. A quorum signs it; anybody the roster names may revoke it as the quorum for that says."}
	cmd.AddCommand(grantNewCmd(), grantSignCmd(), grantLsCmd(), grantShowCmd(), grantRevokeCmd())
	return cmd
}

// granting are the flags of grant new.
type granting struct {
	scoping
	author, ceiling, note, out string
	packages, origins, slots   []string
	soak                       time.Duration
	life                       string
	budget                     int
}

func grantNewCmd() *cobra.Command {
	var g granting
	cmd := &cobra.Command{
		Use:   "new",
		Short: "write a grant's exact statement, for people to sign",
		Long: "Writes the statement to a file that people sign one after the other (patchwrit grant sign). It permits nothing yet.\n\n" +
			"--slot says, for each fault domain, how long after the soak its hosts may begin; a domain without a slot is not covered.\n" +
			"No grant reaches the packages of critical.json, Patchwrit's own, removals or downgrades.",
		Example: "  patchwrit grant new --author p-7f3a12bc --label role=web --package 'lib*' --package curl --origin debian-security \\\n" +
			"    --ceiling routine --soak 4h --slot a=0s --slot b=1h --budget 20 --life 30d --note 'web, routine fixes' --out grant.json",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return g.run(cmd) },
	}
	addHouseFlags(cmd)
	g.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&g.author, "author", "", "who writes it, a person of the trust root; they cannot sign it")
	f.StringArrayVar(&g.packages, "package", nil, "a package by its name, or by a beginning and a *; '*' for all (repeat)")
	f.StringArrayVar(&g.origins, "origin", nil, "an origin of the trust root that the bytes may come from (repeat)")
	f.StringVar(&g.ceiling, "ceiling", "routine", "the most dangerous class: routine or sensitive")
	f.DurationVar(&g.soak, "soak", 4*time.Hour, "how long a plan must have stood in the log, seen by the witnesses")
	f.StringArrayVar(&g.slots, "slot", nil, "fault domain and how long after the soak it may begin, a=0s (repeat)")
	f.IntVar(&g.budget, "budget", 20, "changes that one host may take under it in 24 hours")
	f.StringVar(&g.life, "life", "30d", "how long it lives, such as 12h or 30d; at most 90d")
	f.StringVar(&g.note, "note", "", "what it is for, in a few words")
	f.StringVar(&g.out, "out", "-", "file for the statement")
	return cmd
}

func (g granting) run(cmd *cobra.Command) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	made, err := g.grant(root, time.Now())
	if err != nil {
		return err
	}
	tell(cmd, "grant %s: it needs %s; they sign with patchwrit grant sign", made.Statement(approval.Allow).Digest(), quorumText(root, string(approval.Allow)))
	return writeFile(cmd, g.out, canon.MustEncode(control.Signed{Grant: made, Approvals: []approval.Approval{}}))
}

// grant is the statement that the flags mean.
func (g granting) grant(root trust.Root, now time.Time) (approval.Grant, error) {
	var none approval.Grant
	if _, known := root.Person(trust.PersonID(g.author)); !known {
		return none, usagef("--author must be somebody of the trust root (patchwrit trust show)")
	}
	scope, err := g.scope(root)
	if err != nil {
		return none, err
	}
	life, err := days(g.life)
	if err != nil {
		return none, err
	}
	slots, err := slotsOf(g.slots, root)
	if err != nil {
		return none, err
	}
	made := approval.Grant{Type: approval.TypeGrant, Nonce: nonce(), Author: trust.PersonID(g.author), Created: now.Unix(), Expires: now.Add(life).Unix(),
		Scope: scope, Packages: sorted(g.packages), Origins: []change.Origin{}, Ceiling: change.Class(g.ceiling), Soak: int64(g.soak / time.Second),
		Slots: slots, Budget: g.budget, Note: canon.NoteOf(g.note)}
	for _, o := range sorted(g.origins) {
		if _, known := root.Origin(change.Origin(o)); !known {
			return none, usagef("the trust root has no origin %q (patchwrit trust show)", o)
		}
		made.Origins = append(made.Origins, change.Origin(o))
	}
	if err := made.Valid(); err != nil {
		return none, usage{err}
	}
	return made, nil
}

func sorted(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

// days reads a duration that may be in days: 30d.
func days(text string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(text, "d"); ok {
		if d, err := strconv.Atoi(n); err == nil && d > 0 && d <= 366 {
			return time.Duration(d) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, usagef("%q is no length of time; write 90m, 12h or 30d", text)
	}
	return d, nil
}

// slotsOf reads domain=duration; the domains must be ones that hosts are in.
func slotsOf(texts []string, root trust.Root) ([]approval.Slot, error) {
	out := []approval.Slot{}
	for _, text := range texts {
		domain, after, _ := strings.Cut(text, "=")
		d, err := time.ParseDuration(cmp.Or(after, "0s"))
		if err != nil || d < 0 {
			return nil, usagef("--slot takes domain=duration, such as a=0s or b=1h, not %q", text)
		}
		if !slices.ContainsFunc(root.Hosts, func(h trust.Host) bool { return h.Domain == domain }) {
			return nil, usagef("no host of the trust root is in the fault domain %q", domain)
		}
		out = append(out, approval.Slot{Domain: domain, After: int64(d / time.Second)})
	}
	if len(out) == 0 {
		return nil, usagef("say when each fault domain may begin after the soak: --slot a=0s --slot b=1h")
	}
	slices.SortFunc(out, func(a, b approval.Slot) int { return cmp.Compare(a.Domain, b.Domain) })
	return out, nil
}

// grantPairs shows a grant for a person.
func grantPairs(root trust.Root, g approval.Grant) *pairs {
	p := &pairs{}
	p.add("grant", "%s", g.Statement(approval.Allow).Digest())
	p.add("author", "%s (cannot sign it)", g.Author)
	p.add("created", "%s", when(g.Created))
	p.add("expires", "%s", when(g.Expires))
	scopePairs(p, root, g.Scope)
	p.add("packages", "%s", strings.Join(g.Packages, " "))
	p.add("origins", "%v", g.Origins)
	p.add("ceiling", "%s", g.Ceiling)
	p.add("soak", "%s in the log, seen by the witnesses", time.Duration(g.Soak)*time.Second)
	for _, s := range g.Slots {
		p.add("slot", "domain %s: %s after the soak", s.Domain, time.Duration(s.After)*time.Second)
	}
	p.add("budget", "%d changes a host in 24 hours", g.Budget)
	p.add("note", "%s", g.Note)
	p.add("nonce", "%s", g.Nonce)
	if root.Loaded() {
		p.add("needs", "%s", quorumText(root, string(approval.Allow)))
	}
	return p
}

// grantSubject is a grant to be signed or revoked.
func grantSubject(root trust.Root, g approval.Grant) subject {
	return subject{what: "grant", bytes: g.Bytes(), typed: g.Statement(approval.Allow).Digest().Short(),
		show: func(w io.Writer) error { return grantPairs(root, g).write(w) },
		page: func() (page.Subject, error) { return page.OfGrant(root, g) }}
}

// grants lists the control plane's grants, the newest first.
func (s *server) grants(ctx context.Context) ([]control.Grant, error) {
	var all []control.Grant
	err := s.get(ctx, "grants", &all)
	slices.SortFunc(all, func(a, b control.Grant) int {
		return cmp.Or(cmp.Compare(b.Grant.Created, a.Grant.Created), cmp.Compare(a.Digest, b.Digest))
	})
	return all, err
}

// grant finds one and computes its digest from its own bytes.
func (s *server) grant(ctx context.Context, prefix string) (control.Grant, error) {
	all, err := s.grants(ctx)
	if err != nil {
		return control.Grant{}, err
	}
	g, err := one(all, "grant", prefix, func(g control.Grant) string { return string(g.Digest) })
	if err != nil {
		return g, err
	}
	if err := g.Grant.Valid(); err != nil {
		return g, swapped("the bytes for grant %s are no grant: %v", g.Digest.Short(), err)
	}
	if got := g.Grant.Statement(approval.Allow).Digest(); got != g.Digest {
		return g, swapped("asked for grant %s, given grant %s", g.Digest, got)
	}
	return g, nil
}

func grantLsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "list the grants, the newest first",
		Example: "  patchwrit grant ls\n  patchwrit grant ls -o json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			all, err := s.grants(cmd.Context())
			if err != nil {
				return err
			}
			t := &rows{head: []string{"GRANT", "STATE", "SCOPE", "PACKAGES", "CEILING", "SOAK", "BUDGET", "EXPIRES", "SIGNED BY", "WHY"}}
			for _, g := range all {
				t.add(g.Digest.Short(), grantState(g), scopeText(g.Grant.Scope), some(g.Grant.Packages), string(g.Grant.Ceiling),
					(time.Duration(g.Grant.Soak) * time.Second).String(), strconv.Itoa(g.Grant.Budget), when(g.Grant.Expires), signers(g.Approvals), g.Why.Text())
			}
			return present(cmd, all, t)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

func grantState(g control.Grant) string {
	if g.State == control.Live && time.Now().Unix() >= g.Grant.Expires {
		return "ended"
	}
	return g.State
}

func signers(as []approval.Approval) string {
	out := []string{}
	for _, a := range as {
		out = append(out, string(a.Person))
	}
	return strings.Join(out, ",")
}

func grantShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show GRANT",
		Short: "show exactly what a grant permits, and who signed it",
		Long: "GRANT is a file of patchwrit grant new, or a grant's digest (or the beginning of it) at the control plane.\n" +
			"With --trust the signatures are checked here, and the hosts it reaches are counted.",
		Example: "  patchwrit grant show grant.json --trust trust --root-sha256 3f2a…\n  patchwrit grant show 91c0ffee",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var root trust.Root
			if houseNamed(cmd) {
				var err error
				if root, err = openHouse(cmd); err != nil {
					return err
				}
			}
			g, _, err := openGrant(cmd, args[0])
			if err != nil {
				return err
			}
			p := grantPairs(root, g.Grant)
			if g.State != "" {
				p.add("state", "%s %s", grantState(g), g.Why.Text())
			}
			for _, a := range g.Approvals {
				p.add("signed by", "%s: %s", a.Person, judged(root, g.Grant.Statement(approval.Allow), a))
			}
			return present(cmd, g, p)
		},
	}
	addHouseFlags(cmd)
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

// judged says what a signature is worth under a trust root.
func judged(root trust.Root, s approval.Statement, a approval.Approval) string {
	if !root.Loaded() {
		return "not checked (give --trust and --root-sha256)"
	}
	if _, _, err := approval.Check(root, s, a); err != nil {
		return "DOES NOT HOLD: " + err.Error()
	}
	return "holds"
}

// openGrant opens a grant that a person named: a file, or a digest at the
// control plane. The server is nil for a file, unless one is known.
func openGrant(cmd *cobra.Command, grant string) (control.Grant, *server, error) {
	var s *server
	if serverName(cmd) != "" || digits(grant) {
		var err error
		if s, err = openServer(cmd); err != nil {
			return control.Grant{}, nil, err
		}
	}
	if digits(grant) {
		g, err := s.grant(cmd.Context(), grant)
		return g, s, err
	}
	var signed control.Signed
	if err := read(grant, &signed); err != nil {
		return control.Grant{}, nil, fmt.Errorf("this is no grant's file: %w", err)
	}
	if err := signed.Grant.Valid(); err != nil {
		return control.Grant{}, nil, err
	}
	return control.Grant{Digest: signed.Grant.Statement(approval.Allow).Digest(), Grant: signed.Grant, Approvals: signed.Approvals}, s, nil
}

func grantSignCmd() *cobra.Command {
	sign, with := signing{kind: approval.Allow}, []string(nil)
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "sign a grant with your own key; with the last signature it is handed in",
		Long: "Shows the grant, checks the signatures that are there, adds yours, and writes the file back. Give the file to the\n" +
			"next person; or sign copies at the same time, and put them together with --with. When the quorum is met and a\n" +
			"control plane is named, the grant is handed in. Without a key, sign only puts together and hands in.\n\n" +
			"Exit code 4: it waits for more people.",
		Example: "  patchwrit grant sign grant.json --key ~/.ssh/id_ed25519\n" +
			"  patchwrit grant sign grant.json --with grant-ben.json --server unix:/var/lib/patchwrit/api.sock",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error { return signGrant(cmd, &sign, args[0], with) },
	}
	addHouseFlags(cmd)
	addServerFlags(cmd)
	sign.addFlags(cmd)
	cmd.Flags().StringArrayVar(&with, "with", nil, "a copy of the file that others signed (repeat)")
	return cmd
}

func signGrant(cmd *cobra.Command, sign *signing, file string, with []string) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	var in control.Signed
	for i, path := range append([]string{file}, with...) {
		var next control.Signed
		if err := read(path, &next); err != nil {
			return fmt.Errorf("this is no grant's file: %w", err)
		}
		if i == 0 {
			in.Grant = next.Grant
		} else if string(next.Grant.Bytes()) != string(in.Grant.Bytes()) {
			return fmt.Errorf("%s is of another grant than %s", path, file)
		}
		in.Approvals = merged(in.Approvals, next.Approvals)
	}
	if err := in.Grant.Valid(); err != nil {
		return err
	}
	if sign.some() {
		a, err := sign.sign(cmd, root, grantSubject(root, in.Grant))
		if err != nil {
			return err
		}
		in.Approvals = merged(in.Approvals, []approval.Approval{a})
	}
	if err := writeFile(cmd, file, canon.MustEncode(in)); err != nil {
		return err
	}
	return handInGrant(cmd, root, in, file)
}

// merged adds signatures of people who have not signed yet.
func merged(all, more []approval.Approval) []approval.Approval {
	out := append([]approval.Approval{}, all...)
	for _, a := range more {
		if !slices.ContainsFunc(out, func(o approval.Approval) bool { return o.Person == a.Person && o.Kind == a.Kind }) {
			out = append(out, a)
		}
	}
	return out
}

func handInGrant(cmd *cobra.Command, root trust.Root, in control.Signed, file string) error {
	d := in.Grant.Statement(approval.Allow).Digest()
	if err := enough(root, approval.Allow, in.Grant.Statement(approval.Allow), in.Grant.Author, in.Approvals); err != nil {
		return waits(err, "grant %s waits: the next person runs patchwrit grant sign %s", d.Short(), file)
	}
	if serverName(cmd) == "" {
		tell(cmd, "grant %s is signed by enough people; hand it in with patchwrit grant sign %s --server …", d.Short(), file)
		return nil
	}
	s, err := openServer(cmd)
	if err != nil {
		return err
	}
	if err := s.post(cmd.Context(), "grants", in, &struct{}{}); err != nil {
		return err
	}
	tell(cmd, "grant %s is handed in", d)
	return nil
}

// enough tallies signatures as every host will.
func enough(root trust.Root, kind approval.Kind, s approval.Statement, author trust.PersonID, as []approval.Approval) error {
	q, ok := root.Quorum(string(kind))
	if !ok {
		return fmt.Errorf("the trust root has no quorum %q: nobody can %[1]s", kind)
	}
	_, err := approval.Tally(root, q, s, author, as)
	return err
}

// waits turns a tally that wants more people into the exit code for it.
func waits(err error, format string, args ...any) error {
	if missing(err) {
		return exit{exitWaits, errors.New(fmt.Sprintf(format, args...) + " (" + firstLine(err) + ")")}
	}
	return err
}

func grantRevokeCmd() *cobra.Command {
	sign, with, out := signing{kind: approval.Revoke}, []string(nil), ""
	cmd := &cobra.Command{
		Use:   "revoke GRANT",
		Short: "end a grant before its time, with your own key",
		Long: "No writ is issued under a revoked grant. A host that holds one already may still act on it until it ends, within the\n" +
			"hour: patchwrit halt stops that too. Hosts hear of it only through the keepers (patchwrit trust end-grant), whom a control\n" +
			"plane in other hands cannot go round. Where the quorum for revoke wants several people, each writes a signature with\n" +
			"--out, and the last one brings them with --with.\n\n" +
			"Exit code 4: it waits for more people.",
		Example: "  patchwrit grant revoke 91c0ffee --key ~/.ssh/id_ed25519",
		Args:    exactly(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return revoke(cmd, &sign, args[0], with, out) },
	}
	addHouseFlags(cmd)
	addServerFlags(cmd)
	sign.addFlags(cmd)
	cmd.Flags().StringArrayVar(&with, "with", nil, "another person's signature for this (repeat)")
	cmd.Flags().StringVar(&out, "out", "", "file for your signature")
	return cmd
}

func revoke(cmd *cobra.Command, sign *signing, grant string, with []string, out string) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	g, s, err := openGrant(cmd, grant)
	if err != nil {
		return err
	}
	as, err := sign.together(cmd, root, grantSubject(root, g.Grant), with, out)
	if err != nil {
		return err
	}
	if err := enough(root, approval.Revoke, g.Grant.Statement(approval.Revoke), "", as); err != nil {
		return waits(err, "the revocation of grant %s waits: the next person brings your signature with --with", g.Digest.Short())
	}
	if s == nil {
		return usagef("say where the control plane is: --server unix:/path/api.sock or https://host:port (or PATCHWRIT_SERVER)")
	}
	if err := s.post(cmd.Context(), "grants/"+string(g.Digest)+"/revoke", as, &struct{}{}); err != nil {
		return err
	}
	tell(cmd, "grant %s is revoked: no writ is issued under it any more; stop what runs with patchwrit halt", g.Digest.Short())
	return nil
}
