package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/identity/page"
	"github.com/patchwrit/patchwrit/identity/sshsign"
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
	kind                        approval.Kind
	person, key, signature, out string
	agent, page, yes            bool
	passkeys                    string
}

// answerCmd is approve or deny.
func answerCmd(kind approval.Kind) *cobra.Command {
	a := answering{kind: kind}
	cmd := &cobra.Command{
		Use:   string(kind) + " PLANFILE",
		Short: map[approval.Kind]string{approval.Approve: "say yes to one plan, byte for byte, with your own key", approval.Deny: "say no to one plan with your own key"}[kind],
		Long: "Opens the plan, rebuilds its tree from every branch, shows what it is, and signs your answer over its bytes.\n" +
			"Sign with an OpenSSH key file (--key), with your ssh-agent (--agent), with a passkey on the page that this\n" +
			"program serves on localhost (--page), or bring a signature made elsewhere (--signature) with\n" +
			"  ssh-keygen -Y sign -n " + kind.Namespace() + " -f KEY HEADERFILE     (patchwrit plan show -o header > HEADERFILE)",
		Example: "  patchwrit " + string(kind) + " plan.json --key ~/.ssh/id_ed25519 --out " + string(kind) + "-ann.json\n" +
			"  patchwrit " + string(kind) + " plan.json --page --person p-7f3a12bc",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd, args[0]) },
	}
	addHouseFlags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&a.person, "person", "", "your pseudonym in the roster (default: whoever the key belongs to)")
	fl.StringVar(&a.key, "key", "", "OpenSSH private key file; a FIDO key's file asks for a touch")
	fl.BoolVar(&a.agent, "agent", false, "sign with the ssh-agent at SSH_AUTH_SOCK")
	fl.BoolVar(&a.page, "page", false, "sign with a passkey on a page this program serves on localhost")
	fl.StringVar(&a.signature, "signature", "", "a signature file made by ssh-keygen -Y sign")
	fl.StringVar(&a.passkeys, "passkeys", defaultPasskeys(), "where this machine keeps passkey handles")
	fl.StringVar(&a.out, "out", "-", "file for the signed answer")
	fl.BoolVar(&a.yes, "yes", false, "do not ask again before signing")
	return cmd
}

func defaultPasskeys() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "passkeys.json"
	}
	return filepath.Join(dir, "patchwrit", "passkeys.json")
}

func (a *answering) run(cmd *cobra.Command, file string) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	raw, err := readFile(file)
	if err != nil {
		return err
	}
	p, err := proposal.ReadFile(raw)
	if err != nil {
		return err
	}
	if time.Now().Unix() >= p.Header.Expires {
		return fmt.Errorf("the plan ended %s; ask for a new one", time.Unix(p.Header.Expires, 0).UTC().Format(time.RFC3339))
	}
	signed, err := a.sign(cmd, root, p)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "patchwrit: %s of plan %s signed by %s\n", signed.Kind, p.Header.Digest().Short(), signed.Person)
	return writeFile(cmd, a.out, canon.MustEncode(signed))
}

// sign makes the answer by whichever way the flags name.
func (a *answering) sign(cmd *cobra.Command, root trust.Root, p proposal.File) (approval.Approval, error) {
	s, now := approval.Statement{Kind: a.kind, Bytes: p.Header.Bytes()}, time.Now().Unix()
	switch {
	case a.page:
		return a.onPage(cmd, root, p)
	case a.signature != "":
		armoured, err := os.ReadFile(a.signature)
		if err != nil {
			return approval.Approval{}, err
		}
		return sshsign.Import(root, trust.PersonID(a.person), armoured, s, now)
	}
	if err := a.confirm(cmd, p); err != nil {
		return approval.Approval{}, err
	}
	k, err := a.signer(cmd, root)
	if err != nil {
		return approval.Approval{}, err
	}
	return sshsign.Approve(cmd.Context(), root, trust.PersonID(a.person), k, s, now)
}

func (a *answering) signer(cmd *cobra.Command, root trust.Root) (sshsign.Signer, error) {
	switch {
	case a.key != "":
		t := sshsign.Terminal{Out: cmd.ErrOrStderr()}
		if term.IsTerminal(int(os.Stdin.Fd())) {
			t.In = os.Stdin
		}
		return sshsign.File(a.key, askPassphrase, t)
	case a.agent && a.person != "":
		return sshsign.Agent(cmd.Context(), os.Getenv("SSH_AUTH_SOCK"), root, trust.PersonID(a.person))
	case a.agent:
		return nil, usagef("--agent needs --person: an agent holds many keys")
	}
	return nil, usagef("say how you sign: --key FILE, --agent, --page or --signature FILE")
}

// confirm shows the plan and asks, unless --yes or no terminal is there to ask.
func (a *answering) confirm(cmd *cobra.Command, p proposal.File) error {
	if err := showPlan(cmd.ErrOrStderr(), p); err != nil {
		return err
	}
	if a.yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return usagef("nobody is there to ask: look at the plan (patchwrit plan show) and add --yes")
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "\nType the first 12 digits of the plan's digest to %s it: ", a.kind)
	var typed string
	if _, err := fmt.Fscanln(os.Stdin, &typed); err != nil || typed != p.Header.Digest().Short() {
		return errors.New("that is not the plan's digest; nothing was signed")
	}
	return nil
}

func askPassphrase() ([]byte, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, errors.New("the key is locked, and there is no terminal to ask for its passphrase; use --agent")
	}
	fmt.Fprint(os.Stderr, "Passphrase: ")
	defer fmt.Fprintln(os.Stderr)
	return term.ReadPassword(int(os.Stdin.Fd()))
}

// onPage serves the page on localhost and waits for the person.
func (a *answering) onPage(cmd *cobra.Command, root trust.Root, p proposal.File) (approval.Approval, error) {
	if a.person == "" {
		return approval.Approval{}, usagef("--page needs --person: whose passkey is asked")
	}
	kept, err := page.Kept(a.passkeys)
	if err != nil {
		return approval.Approval{}, err
	}
	passkey, err := page.Choose(root, trust.PersonID(a.person), kept)
	if err != nil {
		return approval.Approval{}, err
	}
	subject, err := page.OfPlan(root, p.Header, p.Branches)
	if err != nil {
		return approval.Approval{}, err
	}
	return page.Approve(cmd.Context(), page.Options{Root: root, Subject: subject, Kinds: []approval.Kind{approval.Approve, approval.Deny},
		Person: trust.PersonID(a.person), Passkey: passkey, Open: announce(cmd)})
}

func announce(cmd *cobra.Command) func(string) {
	return func(address string) {
		fmt.Fprintf(cmd.ErrOrStderr(), "patchwrit: open %s in your browser\n", address)
	}
}

func approverCmd() *cobra.Command {
	var person, passkeys, out string
	register := &cobra.Command{
		Use:   "register",
		Short: "make a passkey for approving, and print its roster entry for the root keepers",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if person == "" {
				return usagef("say for whom: --person NAME")
			}
			p, err := registered(cmd.Context(), person, passkeys, announce(cmd))
			if err != nil {
				return err
			}
			return writeFile(cmd, out, canon.MustEncode(p.Credential))
		},
	}
	register.Flags().StringVar(&person, "person", "", "your name or pseudonym, shown by the authenticator")
	register.Flags().StringVar(&passkeys, "passkeys", defaultPasskeys(), "where this machine keeps passkey handles")
	register.Flags().StringVar(&out, "out", "-", "file for the roster entry")
	cmd := &cobra.Command{Use: "approver", Short: "prepare a person's key for approving"}
	cmd.AddCommand(register)
	return cmd
}

func registered(ctx context.Context, person, passkeys string, open func(string)) (page.Passkey, error) {
	p, err := page.Register(ctx, page.Registering{Person: trust.PersonID(person), Open: open})
	if err != nil {
		return p, err
	}
	return p, page.Keep(passkeys, p)
}
