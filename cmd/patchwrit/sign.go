package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/identity"
	"github.com/patchwrit/patchwrit/identity/page"
	"github.com/patchwrit/patchwrit/identity/sshsign"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// subject is something to sign, opened from its bytes by this program.
type subject struct {
	what  string // "plan", "grant", "halt"
	bytes []byte
	typed string                       // what the person types to sign it
	show  func(io.Writer) error        // exactly what is signed
	page  func() (page.Subject, error) // the same for a browser
}

// signing are the flags of every verb with which a person signs.
type signing struct {
	kind                   approval.Kind
	person, key, signature string
	agent, page, yes       bool
	passkeys               string
	opened                 sshsign.Signer
}

func (s *signing) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.person, "person", "", "your pseudonym in the roster (default: whoever the key belongs to)")
	f.StringVar(&s.key, "key", "", "OpenSSH private key file; a FIDO key's file asks for a touch")
	f.BoolVar(&s.agent, "agent", false, "sign with the ssh-agent at SSH_AUTH_SOCK")
	f.BoolVar(&s.page, "page", false, "sign with a passkey on a page this program serves on localhost")
	f.StringVar(&s.signature, "signature", "", "a signature file made by ssh-keygen -Y sign")
	f.StringVar(&s.passkeys, "passkeys", defaultPasskeys(), "where this machine keeps passkey handles")
	f.BoolVar(&s.yes, "yes", false, "do not ask again before signing")
}

func defaultPasskeys() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "passkeys.json"
	}
	return filepath.Join(dir, "patchwrit", "passkeys.json")
}

// sign makes the answer by whichever way the flags name.
func (s *signing) sign(cmd *cobra.Command, root trust.Root, sub subject) (approval.Approval, error) {
	statement, now := approval.Statement{Kind: s.kind, Bytes: sub.bytes}, time.Now().Unix()
	switch {
	case s.page:
		return s.onPage(cmd, root, sub)
	case s.signature != "":
		armoured, err := os.ReadFile(s.signature)
		if err != nil {
			return approval.Approval{}, err
		}
		return sshsign.Import(root, trust.PersonID(s.person), armoured, statement, now)
	case s.key == "" && !s.agent:
		return approval.Approval{}, usagef("say how you sign: --key FILE, --agent, --page or --signature FILE")
	}
	if err := s.confirm(cmd, sub); err != nil {
		return approval.Approval{}, err
	}
	k, err := s.signer(cmd, root)
	if err != nil {
		return approval.Approval{}, err
	}
	return sshsign.Approve(cmd.Context(), root, trust.PersonID(s.person), k, statement, now)
}

// who is the person that signs: named, or whoever the key belongs to.
func (s *signing) who(cmd *cobra.Command, root trust.Root) (trust.PersonID, error) {
	if s.person != "" {
		return trust.PersonID(s.person), nil
	}
	if s.key == "" {
		return "", usagef("say who you are: --person, as the roster has you, and how you sign: --key FILE, --agent or --page")
	}
	k, err := s.signer(cmd, root)
	if err != nil {
		return "", err
	}
	p, _, err := identity.Find(root, "", base64.StdEncoding.EncodeToString(k.Public()))
	return p.ID, err
}

// signer opens the key, once.
func (s *signing) signer(cmd *cobra.Command, root trust.Root) (k sshsign.Signer, err error) {
	if s.opened == nil {
		s.opened, err = s.open(cmd, root)
	}
	return s.opened, err
}

func (s *signing) open(cmd *cobra.Command, root trust.Root) (sshsign.Signer, error) {
	switch {
	case s.key != "":
		t := sshsign.Terminal{Out: cmd.ErrOrStderr()}
		if term.IsTerminal(int(os.Stdin.Fd())) {
			t.In = os.Stdin
		}
		return sshsign.File(s.key, askPassphrase, t)
	case s.person != "":
		return sshsign.Agent(cmd.Context(), os.Getenv("SSH_AUTH_SOCK"), root, trust.PersonID(s.person))
	}
	return nil, usagef("--agent needs --person: an agent holds many keys")
}

// confirm shows what is signed and asks, unless --yes or no terminal is there
// to ask.
func (s *signing) confirm(cmd *cobra.Command, sub subject) error {
	if err := sub.show(cmd.ErrOrStderr()); err != nil {
		return err
	}
	if s.yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return usagef("nobody is there to ask: look at the %s and add --yes", sub.what)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "\nType the first 12 digits of the %s's digest to %s it: ", sub.what, s.kind)
	var typed string
	if _, err := fmt.Fscanln(os.Stdin, &typed); err != nil || typed != sub.typed {
		return fmt.Errorf("that is not the %s's digest; nothing was signed", sub.what)
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

// onPage serves the page on localhost and waits for the person. A plan's page
// offers the no beside the yes.
func (s *signing) onPage(cmd *cobra.Command, root trust.Root, sub subject) (approval.Approval, error) {
	if s.person == "" {
		return approval.Approval{}, usagef("--page needs --person: whose passkey is asked")
	}
	kept, err := page.Kept(s.passkeys)
	if err != nil {
		return approval.Approval{}, err
	}
	passkey, err := page.Choose(root, trust.PersonID(s.person), kept)
	if err != nil {
		return approval.Approval{}, err
	}
	shown, err := sub.page()
	if err != nil {
		return approval.Approval{}, err
	}
	kinds := []approval.Kind{s.kind}
	if answers := []approval.Kind{approval.Approve, approval.Deny}; slices.Contains(answers, s.kind) {
		kinds = answers
	}
	return page.Approve(cmd.Context(), page.Options{Root: root, Subject: shown, Kinds: kinds,
		Person: trust.PersonID(s.person), Passkey: passkey, Open: announce(cmd)})
}

func announce(cmd *cobra.Command) func(string) {
	return func(address string) { tell(cmd, "open %s in your browser", address) }
}

// some reports whether the flags name a way to sign.
func (s *signing) some() bool { return s.key != "" || s.agent || s.page || s.signature != "" }

// together signs, keeps the signature in out, and puts it with other people's.
func (s *signing) together(cmd *cobra.Command, root trust.Root, sub subject, with []string, out string) ([]approval.Approval, error) {
	a, err := s.sign(cmd, root, sub)
	if err != nil {
		return nil, err
	}
	all := []approval.Approval{a}
	for _, path := range with {
		var other approval.Approval
		if err := read(path, &other); err != nil {
			return nil, fmt.Errorf("this is no signature: %w", err)
		}
		all = merged(all, []approval.Approval{other})
	}
	if out != "" {
		return all, writeFile(cmd, out, canon.MustEncode(a))
	}
	return all, nil
}

// missing reports whether a tally only wants more people.
func missing(err error) bool {
	code := refusal.CodeOf(err)
	return code == "PW-APPROVAL-PEOPLE" || code == "PW-APPROVAL-ROLES" || code == "PW-APPROVAL-INDEPENDENT"
}

// firstLine is an error in short.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
