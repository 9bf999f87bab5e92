// Package page is the independent view for people with passkeys and security
// keys in a browser: a page that the approver's own binary serves on localhost,
// for one answer, then never again.
//
// The parties: the approver at their own machine; their browser and
// authenticator; other programs, pages and people on that machine, which are
// not trusted; the control plane, which has no part in it. The page shows
// exactly the bytes that are signed: a plan is opened with all its branches and
// its tree rebuilt, and the digest on the page is the challenge the
// authenticator signs.
//
// The promise: what Approve returns has passed approval.Check over those bytes.
// Nobody but the browser that opened the one-time address can read the page or
// answer on it; no other origin can; no name that was made to point at this
// machine can; whatever the plan says is text, never markup or script.
//
// It does not protect a person whose own account or browser is in other hands
// (docs/THREATS.md), and who listens on the port at other times can show a page
// of theirs under the same origin: open only the address this program prints.
package page

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/identity"
	"github.com/patchwrit/patchwrit/trust"
)

// The relying party of every credential made here, and the port its origin
// names unless another is asked for. Browsers treat http://localhost as secure.
const (
	RelyingParty = "localhost"
	DefaultPort  = 8444
)

// MaxWait is how long a page waits when its context sets no earlier end.
const MaxWait = 15 * time.Minute

// Errors that end a page without an answer.
var (
	ErrClosed = errors.New("the page was closed without an answer; nothing was signed")
	ErrTries  = errors.New("too many answers that do not pass; nothing was signed")
	ErrLate   = errors.New("nobody answered in time; nothing was signed")
)

// Options say what is asked of whom.
type Options struct {
	Root    trust.Root
	Subject Subject         // what is shown and signed
	Kinds   []approval.Kind // the answers offered, for a plan approval.Approve and approval.Deny
	Person  trust.PersonID
	Passkey Passkey              // whose credential is one of the person's; its first localhost origin gives the port
	Explain []Note               // shown beside the subject, marked as not part of what is signed
	Now     func() time.Time     // the signer's clock; nil is time.Now
	Open    func(address string) // called once, when the page can be opened: print it, or start a browser
}

// Note is an explanation: a heading and its lines, all of it plain text.
type Note struct {
	Heading string
	Lines   []string
}

// Passkey is a WebAuthn credential as the approver's machine keeps it: the
// roster's entry, and the handle by which the authenticator finds its key. The
// handle is no secret.
type Passkey struct {
	Credential trust.Credential `json:"credential"`
	Handle     string           `json:"handle"` // base64url of the raw credential id; "" lets the authenticator choose
}

// Approve shows the subject and returns the person's answer. Its Kind is the one
// the person chose among the kinds offered. It returns when the person has
// answered or closed the page, or when ctx or MaxWait ends.
func Approve(ctx context.Context, o Options) (approval.Approval, error) {
	port, err := o.port()
	if err != nil {
		return approval.Approval{}, err
	}
	if len(o.Kinds) == 0 || slices.ContainsFunc(o.Kinds, func(k approval.Kind) bool { return !slices.Contains(o.Subject.kinds, k) }) {
		return approval.Approval{}, fmt.Errorf("page: this is a bug: the answers %q do not fit what is shown", o.Kinds)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &answering{Options: o}
	if err := serve(ctx, port, o.Open, a); err != nil {
		return approval.Approval{}, err
	}
	return a.given, nil
}

// port finds where the credential's origin, as the roster has it, says the page
// must be.
func (o Options) port() (int, error) {
	_, c, err := identity.Find(o.Root, o.Person, o.Passkey.Credential.Public)
	if err != nil {
		return 0, err
	}
	for _, origin := range c.Origins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" || u.Hostname() != RelyingParty {
			continue
		}
		if port, err := strconv.Atoi(u.Port()); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("credential %s is not for a page on this machine (http://localhost:PORT). Register one that is, and let the root keepers add it", c.ID.Short())
}

// answering is a page that waits for one answer over its subject.
type answering struct {
	Options
	given approval.Approval
}

func (a *answering) render(s session) (string, any) {
	now := a.Now()
	return "answer.html", answerView{
		session: s, Subject: a.Subject.view(now), Explain: shown(a.Explain), Person: string(a.Person),
		Credential: a.Passkey.Credential.ID, Handle: a.Passkey.Handle, Offers: a.offers(),
	}
}

func (a *answering) offers() []offer {
	all := []offer{}
	for _, k := range a.Kinds {
		s := approval.Statement{Kind: k, Bytes: a.Subject.bytes}
		o := words[k]
		o.Kind, o.Digest = k, s.Digest()
		o.Challenge = base64.RawURLEncoding.EncodeToString(o.Digest.Bytes())
		all = append(all, o)
	}
	return all
}

// answer is what the page's script posts; each field of an assertion as base64.
type answer struct {
	Step          string        `json:"step"` // "answer", "create" or "prove"
	Kind          approval.Kind `json:"kind"`
	Signature     string        `json:"signature"`
	Authenticator string        `json:"authenticator_data"`
	Client        string        `json:"client_data"`
	Handle        string        `json:"handle"`     // base64url, of a new credential
	Public        string        `json:"public_key"` // SPKI, of a new credential
	Algorithm     int           `json:"algorithm"`  // COSE, of a new credential
}

// receive judges one answer. An answer that does not pass leaves the page open.
func (a *answering) receive(in answer) (reply, error) {
	if in.Step != "answer" || !slices.Contains(a.Kinds, in.Kind) {
		return reply{}, fmt.Errorf("this page does not offer the answer %q", in.Kind)
	}
	s := approval.Statement{Kind: in.Kind, Bytes: a.Subject.bytes}
	given := identity.Blank(s, a.Person, a.Passkey.Credential.ID, a.Now().Unix())
	given.Signature, given.Authenticator, given.Client = in.Signature, in.Authenticator, in.Client
	if _, _, err := approval.Check(a.Root, s, given); err != nil {
		return reply{}, err
	}
	a.given = given
	return reply{Done: true, Text: words[in.Kind].Done}, nil
}

// Registering says for whom a credential is made.
type Registering struct {
	Person trust.PersonID
	Port   int                  // of the origin it will answer on; 0 is DefaultPort
	Open   func(address string) // as in Options
}

// Register makes a credential in the person's authenticator and has it sign
// once, so that what the root keepers are given is known to work: ES256, user
// verification, this origin. The Credential goes into the roster; the Passkey
// stays with the person (see Keep).
func Register(ctx context.Context, r Registering) (Passkey, error) {
	if r.Port == 0 {
		r.Port = DefaultPort
	}
	g := &registering{Registering: r, nonce: random(), user: random()}
	if err := serve(ctx, r.Port, r.Open, g); err != nil {
		return Passkey{}, err
	}
	return g.made, nil
}

func random() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // crypto/rand.Read never returns an error
	return b
}

// registering is a page that makes one credential.
type registering struct {
	Registering
	nonce, user []byte
	made        Passkey
}

// statement is what a new credential signs to show that it works. Its kind is
// none of approval.Kinds, so it can never pass for an answer.
func (g *registering) statement() approval.Statement {
	return approval.Statement{Kind: "register", Bytes: g.nonce}
}

func (g *registering) render(s session) (string, any) {
	return "register.html", registerView{
		session: s, Person: string(g.Person), User: base64.RawURLEncoding.EncodeToString(g.user),
		Challenge: base64.RawURLEncoding.EncodeToString(g.statement().Digest().Bytes()),
	}
}

func (g *registering) receive(in answer) (reply, error) {
	switch in.Step {
	case "create":
		return g.create(in)
	case "prove":
		return g.prove(in)
	}
	return reply{}, fmt.Errorf("this page does not know the step %q", in.Step)
}

// create takes the new public key; nothing about it is believed until it signs.
func (g *registering) create(in answer) (reply, error) {
	const es256 = -7 // COSE algorithm number
	point, err := pointOf(in.Public)
	if in.Algorithm != es256 || err != nil {
		return reply{}, fmt.Errorf("the authenticator made a key of algorithm %d, only ES256 (-7) approves: %w", in.Algorithm, errors.Join(err))
	}
	if id, err := base64.RawURLEncoding.DecodeString(in.Handle); err != nil || len(id) == 0 || len(id) > maxHandle {
		return reply{}, errors.New("the authenticator gave no usable credential id")
	}
	public := hex.EncodeToString(point)
	g.made = Passkey{Handle: in.Handle, Credential: trust.Credential{
		ID: trust.CredentialOf(public), Method: trust.WebAuthn, Algorithm: approval.ES256, Public: public,
		RelyingParty: RelyingParty, Origins: []string{"http://" + RelyingParty + ":" + strconv.Itoa(g.Port)},
	}}
	return reply{Text: "The key is made. Use it once more, to show that it answers.", Handle: in.Handle}, nil
}

// prove checks the new key's first signature the way hosts check its later ones.
func (g *registering) prove(in answer) (reply, error) {
	c, s := g.made.Credential, g.statement()
	a := identity.Blank(s, g.Person, c.ID, 0)
	a.Signature, a.Authenticator, a.Client = in.Signature, in.Authenticator, in.Client
	if err := approval.Verify(c, s, a); err != nil {
		return reply{}, err
	}
	return reply{Done: true, Text: "Registered as " + string(c.ID.Short()) + ". Give the credential that the program prints to your root keepers."}, nil
}

// words are what a person reads on the buttons and after the answer.
var words = map[approval.Kind]offer{
	approval.Approve: {Label: "Approve this plan", Done: "Approved. The signature is in the program that opened this page.", Primary: true},
	approval.Deny:    {Label: "Deny this plan", Done: "Denied. The signature is in the program that opened this page."},
	approval.Allow:   {Label: "Sign this grant", Done: "Signed. The signature is in the program that opened this page.", Primary: true},
	approval.Revoke:  {Label: "Revoke this grant", Done: "Revoked. The signature is in the program that opened this page."},
	approval.Stop:    {Label: "Halt", Done: "The halt is signed. The signature is in the program that opened this page.", Primary: true},
	approval.Lift:    {Label: "Lift this halt", Done: "The lifting is signed. The signature is in the program that opened this page."},
}

// offer is one answer a person can give: a button.
type offer struct {
	Kind      approval.Kind
	Label     string
	Done      string
	Primary   bool
	Digest    canon.Digest
	Challenge string // base64url of the digest's bytes
}
