package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/identity/page"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
)

func init() {
	verbs = append(verbs,
		func() *cobra.Command { return answerCmd(approval.Approve) },
		func() *cobra.Command { return answerCmd(approval.Deny) },
		approverCmd)
}

// answering are the flags of approve and deny.
type answering struct {
	signing
	out string
}

// answerCmd is approve or deny.
func answerCmd(kind approval.Kind) *cobra.Command {
	a := answering{signing: signing{kind: kind}}
	verb := string(kind)
	cmd := &cobra.Command{
		Use:   verb + " PLAN",
		Short: map[approval.Kind]string{approval.Approve: "say yes to one plan, byte for byte, with your own key", approval.Deny: "say no to one plan with your own key"}[kind],
		Long: "Opens the plan, rebuilds its tree from every branch, shows what it is, and signs your answer over its bytes.\n" +
			"PLAN is a plan file, or a plan's digest (or the beginning of it) at the control plane: its bytes are fetched, the\n" +
			"digest is computed here again under your own trust root, and the signed answer is handed in.\n\n" +
			"Sign with an OpenSSH key file (--key), with your ssh-agent (--agent), with a passkey on the page that this\n" +
			"program serves on localhost (--page), or bring a signature made elsewhere (--signature) with\n" +
			"  ssh-keygen -Y sign -n " + kind.Namespace() + " -f KEY HEADERFILE     (patchwrit plan show -o header > HEADERFILE)",
		Example: "  patchwrit " + verb + " 5be1c09a22f3 --key ~/.ssh/id_ed25519\n" +
			"  patchwrit " + verb + " plan.json --key ~/.ssh/id_ed25519 --out " + verb + "-ann.json\n" +
			"  patchwrit " + verb + " plan.json --page --person p-7f3a12bc",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, args[0]) },
	}
	addHouseFlags(cmd)
	addServerFlags(cmd)
	a.addFlags(cmd)
	cmd.Flags().StringVar(&a.out, "out", "", "file for the signed answer (default: the standard output, or nowhere when it is handed in)")
	return cmd
}

func (a *answering) run(cmd *cobra.Command, plan string) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	p, at, err := openPlan(cmd, plan)
	if err != nil {
		return err
	}
	if time.Now().Unix() >= p.Header.Expires {
		return fmt.Errorf("the plan ended %s; ask for a new one", time.Unix(p.Header.Expires, 0).UTC().Format(time.RFC3339))
	}
	signed, err := a.sign(cmd, root, planSubject(root, p))
	if err != nil {
		return err
	}
	d := p.Header.Digest()
	tell(cmd, "%s of plan %s signed by %s", signed.Kind, d.Short(), signed.Person)
	if a.out != "" || at == nil {
		if err := writeFile(cmd, a.out, canon.MustEncode(signed)); err != nil {
			return err
		}
	}
	if at == nil {
		return nil
	}
	if err := at.post(cmd.Context(), "plans/"+string(d)+"/answers", signed, &struct{}{}); err != nil {
		return err
	}
	tell(cmd, "handed in; patchwrit review show %s says what is missing", d.Short())
	return nil
}

// planSubject is a plan to be signed.
func planSubject(root trust.Root, p proposal.File) subject {
	return subject{what: "plan", bytes: p.Header.Bytes(), typed: p.Header.Digest().Short(),
		show: func(w io.Writer) error { return showPlan(w, p) },
		page: func() (page.Subject, error) { return page.OfPlan(root, p.Header, p.Branches) }}
}

func approverCmd() *cobra.Command {
	var person, passkeys, out string
	var port int
	register := &cobra.Command{
		Use:   "register",
		Short: "make a passkey for approving, and print its roster entry for the root keepers",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if person == "" {
				return usagef("say for whom: --person NAME")
			}
			p, err := registered(cmd.Context(), person, port, passkeys, announce(cmd))
			if err != nil {
				return err
			}
			return writeFile(cmd, out, canon.MustEncode(p.Credential))
		},
	}
	register.Flags().StringVar(&person, "person", "", "your name or pseudonym, shown by the authenticator")
	register.Flags().StringVar(&passkeys, "passkeys", defaultPasskeys(), "where this machine keeps passkey handles")
	register.Flags().IntVar(&port, "port", page.DefaultPort, "port on localhost of every page this passkey will answer on")
	register.Flags().StringVar(&out, "out", "-", "file for the roster entry")
	cmd := &cobra.Command{Use: "approver", Short: "prepare a person's key for approving"}
	cmd.AddCommand(register)
	return cmd
}

func registered(ctx context.Context, person string, port int, passkeys string, open func(string)) (page.Passkey, error) {
	p, err := page.Register(ctx, page.Registering{Person: trust.PersonID(person), Port: port, Open: open})
	if err != nil {
		return p, err
	}
	return p, page.Keep(passkeys, p)
}
