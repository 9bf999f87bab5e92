package redteam

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/wire/dial"
	"github.com/patchwrit/patchwrit/writ"
)

// mole is an agent in the attacker's hands: its keys, and whatever it likes to
// say with them.
type mole struct {
	seed   []byte // of its wire key
	wire   string
	key    ed25519.PrivateKey // its host key
	host   trust.HostID
	public string
}

// newMole makes an agent with keys of its own.
func newMole() (mole, error) {
	seed, public, err := dial.NewSeed()
	m := mole{seed: seed, wire: public, key: newKey()}
	pub := m.key.Public().(ed25519.PublicKey)
	m.host, m.public = trust.HostOf(pub), hex.EncodeToString(pub)
	return m, err
}

// token is a fresh enrolment token, as an operator makes one.
func (s *server) token(ctx context.Context) (string, error) {
	var t struct {
		Token string `json:"token"`
	}
	err := s.ask(ctx, "tokens?seconds=600", struct{}{}, &t)
	return t.Token, err
}

// secret is the secret in one.
func (p *play) secret() ([]byte, error) {
	text, err := p.server.token(p.ctx)
	if err != nil {
		return nil, err
	}
	token, err := wire.ParseToken(text)
	return token.Secret, err
}

func (p *play) enrol(m mole, secret []byte, name string) error {
	return dial.Enrol(p.ctx, p.server.dialing(m.seed), secret, name, trust.Host{ID: m.host, Public: m.public}, func(d []byte) []byte { return ed25519.Sign(m.key, d) })
}

// enrolled is an agent that has enrolled with a token of its own.
func (p *play) enrolled(name string) (mole, error) {
	m, err := newMole()
	if err != nil {
		return m, err
	}
	secret, err := p.secret()
	if err != nil {
		return m, err
	}
	return m, p.enrol(m, secret, name)
}

// ask asks one honest question as an agent.
func (p *play) ask(m mole, v wire.Verb, q, a any) error {
	c, err := dial.Dial(p.server.dialing(m.seed))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	raw, err := c.Ask(ctx, v, canon.MustEncode(q))
	if err != nil {
		return err
	}
	return canon.Decode(raw, a)
}

func (p *play) hello(m mole, run, name string) (wire.HelloAnswer, error) {
	var a wire.HelloAnswer
	err := p.ask(m, wire.Hello, wire.HelloRequest{Protocol: wire.Protocol, Version: "redteam", Host: m.host, Run: run, Name: canon.NoteOf(name)}, &a)
	return a, err
}

func newRun() string { return nonce()[:32] }

// raw connects with an agent's own keys and pass, and a library that may be
// asked for anything.
func (p *play) raw(m mole) (*nats.Conn, error) {
	k, err := nkeys.FromSeed(m.seed)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(p.server.url)
	if err != nil {
		return nil, err
	}
	pass := func() (string, error) {
		q := wire.PassRequest{Type: wire.TypePass, Wire: m.wire, Server: p.server.key, At: now()}
		sig, err := k.Sign(q.Digest().Bytes())
		if err != nil {
			return "", err
		}
		q.Signature = base64.StdEncoding.EncodeToString(sig)
		var a wire.PassAnswer
		err = p.server.way(p.ctx, wire.PathPass, q, &a)
		return a.JWT, err
	}
	return nats.Connect("wss://"+u.Host, nats.ProxyPath(wire.PathWire), nats.Secure(&tls.Config{InsecureSkipVerify: true}), nats.MaxReconnects(0), // whom the attacker speaks to is his own business
		nats.UserJWT(pass, k.Sign), nats.CustomInboxPrefix(wire.InboxSubject+m.wire), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

// listed is what the control plane's record says of an agent.
func (p *play) listed(m mole) (name string, state wire.HostState, err error) {
	var all []struct {
		Wire  string         `json:"wire"`
		Name  string         `json:"name"`
		State wire.HostState `json:"state"`
	}
	if err := p.server.ask(p.ctx, "hosts", nil, &all); err != nil {
		return "", "", err
	}
	for _, h := range all {
		if h.Wire == m.wire {
			return h.Name, h.State, nil
		}
	}
	return "", "", fmt.Errorf("agent %s is not on the record", m.wire)
}

// said turns what came back from the wire into an answer.
func said(err error) (answer, error) {
	var r *refusal.Refusal
	if errors.As(err, &r) {
		return answer{code: r.Code, detail: r.Detail}, nil
	}
	return answer{}, err
}

// onTheBus is the act against a running control plane: agents in hostile hands.
func onTheBus() act {
	return act{
		name: "agents in hostile hands", control: "the agent itself does the same in its own name, and is answered",
		set: func(p *play) error {
			err := p.up(p.stolen())
			if err == nil {
				p.a, err = p.enrolled("*")
			}
			if err == nil {
				p.b, err = p.enrolled("web-9")
			}
			return err
		},
		rows: append(enrolRows(), speechRows()...),
		proof: func(p *play) error {
			for _, m := range []mole{p.a, p.b} {
				if a, err := p.hello(m, newRun(), "me"); err != nil || a.State != wire.Pending {
					return fmt.Errorf("hello: %+v %w", a, err)
				}
				if name, _, err := p.listed(m); err != nil || name != "me" {
					return fmt.Errorf("on the record it is %q: %w", name, err)
				}
			}
			return nil
		},
		end: func(p *play) error { return p.down() },
	}
}

// enrolRows attack the way in.
func enrolRows() []Row {
	return []Row{
		{ID: "agent-named-star", Where: OnBus, Code: wire.CodeEnrol, Says: "the wire key is none", What: "an agent enrols under the wire key *, which would stand for every agent's subject", play: func(p *play) (answer, error) {
			secret, err := p.secret()
			if err != nil {
				return answer{}, err
			}
			return p.enrolAs(secret, func(e *wire.Enrolment) { e.Wire = "*" })
		}},
		{ID: "rogue-agent-without-a-token", Where: OnBus, Code: "PW-CONTROL-TOKEN", What: "an agent enrols with a secret that nobody gave it", play: func(p *play) (answer, error) {
			return p.enrolAs([]byte(nonce()[:wire.SecretBytes]), func(*wire.Enrolment) {})
		}},
		{ID: "token-used-twice", Where: OnBus, Code: "PW-CONTROL-TOKEN", Says: "used by another", What: "a second agent enrols with the token of another", play: func(p *play) (answer, error) {
			secret, err := p.secret()
			if err != nil {
				return answer{}, err
			}
			first, err := newMole()
			if err != nil {
				return answer{}, err
			}
			p.controlled = p.enrol(first, secret, "first")
			return p.enrolAs(secret, func(*wire.Enrolment) {})
		}, Control: "the first agent enrols with it"},
		{ID: "enrol-to-a-false-root", Where: OnHost, Code: "PW-TRUST-PIN", What: "a new host enrols at the attacker's control plane, with the attacker's token; his trust repository names this host and is well-signed", Control: "with the same digest the same host enrols at the house's own control plane",
			play: falseEnrolment},
		{ID: "enrol-in-anothers-name", Where: OnBus, Code: wire.CodeEnrol, Says: "signature does not verify", What: "an agent enrols its own wire key under another host's key, which it does not hold", play: func(p *play) (answer, error) {
			secret, err := p.secret()
			if err != nil {
				return answer{}, err
			}
			return p.enrolAs(secret, func(e *wire.Enrolment) { e.Public = p.web.known.Public })
		}},
	}
}

// enrolAs enrols a new agent whose enrolment is changed before its own key
// signs it.
func (p *play) enrolAs(secret []byte, edit func(*wire.Enrolment)) (answer, error) {
	m, err := newMole()
	if err != nil {
		return answer{}, err
	}
	e := wire.Enrolment{Type: wire.TypeEnrolment, Secret: base64.StdEncoding.EncodeToString(secret), Public: m.public, Wire: m.wire, Name: "rogue"}
	edit(&e)
	e.Signature = hex.EncodeToString(ed25519.Sign(m.key, e.Digest().Bytes()))
	return said(p.server.way(p.ctx, wire.PathEnrol, e, nil))
}

// speechRows attack what an enrolled agent may say and hear.
func speechRows() []Row {
	return []Row{
		{ID: "pass-for-another", Where: OnBus, Code: wire.CodePass, Says: "signature does not verify", What: "an agent asks for a pass in another's name", play: func(p *play) (answer, error) {
			k, err := nkeys.FromSeed(p.a.seed)
			if err != nil {
				return answer{}, err
			}
			q := wire.PassRequest{Type: wire.TypePass, Wire: p.b.wire, Server: p.server.key, At: now()}
			sig, err := k.Sign(q.Digest().Bytes())
			if err != nil {
				return answer{}, err
			}
			q.Signature = base64.StdEncoding.EncodeToString(sig)
			return said(p.server.way(p.ctx, wire.PathPass, q, nil))
		}},
		{ID: "agent-speaks-as-another", Where: OnBus, What: "agent A, which calls itself *, publishes under B's subject, under * and under >", play: speaksAsAnother},
		{ID: "agent-listens-as-another", Where: OnBus, What: "agent A subscribes to B's answers and wakes, and to everything, while B asks", play: listensAsAnother},
		{ID: "rogue-agent-not-in-the-trust-root", Where: OnBus, Code: "PW-CONTROL-HOST", Says: "pending", What: "an agent with a good token, which no keeper has named, asks for work", play: func(p *play) (answer, error) {
			return said(p.ask(p.a, wire.Next, wire.NextRequest{}, &wire.NextAnswer{}))
		}, Control: "a host of the trust root asks and is answered (see cloned-agent)"},
		{ID: "cloned-agent", Where: OnBus, Code: "PW-CONTROL-HOST", Says: "cloned", What: "a second machine with a host's keys speaks in turn with the first", Control: "before the copy speaks, and after a person has looked, the host asks and is answered", play: cloned},
		{ID: "anothers-receipt", Where: OnBus, Code: "PW-CONTROL-RECEIPT", Says: "hands over a receipt of", What: "a host hands over a receipt in another's name", play: anothersReceipt, Control: "see cloned-agent: the host itself is answered"},
	}
}

func speaksAsAnother(p *play) (answer, error) {
	if _, err := p.hello(p.b, newRun(), "B itself"); err != nil {
		return answer{}, err
	}
	nc, err := p.raw(p.a)
	if err != nil {
		return answer{}, err
	}
	defer nc.Close()
	forged := canon.MustEncode(wire.HelloRequest{Protocol: wire.Protocol, Version: "forged", Host: p.b.host, Run: newRun(), Name: "FORGED"})
	for _, subject := range []string{wire.HostSubject + p.b.wire, wire.HostSubject + "*", wire.HostSubject + "host." + p.b.wire} {
		if m, err := nc.Request(subject+"."+string(wire.Hello), forged, 500*time.Millisecond); err == nil {
			return answer{}, fmt.Errorf("%s was answered: %s", subject, m.Data)
		}
	}
	if err := nc.Flush(); err != nil {
		return answer{}, err
	}
	name, _, err := p.listed(p.b)
	if err == nil && name != "B itself" {
		err = fmt.Errorf("the record has B as %q", name)
	}
	return answer{detail: "no answer, and B's record is what B said"}, err
}

func listensAsAnother(p *play) (answer, error) {
	nc, err := p.raw(p.a)
	if err != nil {
		return answer{}, err
	}
	defer nc.Close()
	heard := make(chan *nats.Msg, 16)
	for _, subject := range []string{wire.WakeSubject + p.b.wire, wire.WakeSubject + "*", wire.InboxSubject + p.b.wire + ".>", "_INBOX.>", wire.HostSubject + p.b.wire + ".>", wire.HostSubject + ">", ">"} {
		if _, err := nc.ChanSubscribe(subject, heard); err != nil {
			return answer{}, err
		}
	}
	if err := nc.Flush(); err != nil {
		return answer{}, err
	}
	if _, err := p.hello(p.b, newRun(), "B in private"); err != nil {
		p.controlled = err
	}
	select {
	case m := <-heard:
		return answer{}, fmt.Errorf("agent A heard %s: %s", m.Subject, m.Data)
	case <-time.After(time.Second):
		return answer{detail: "A heard nothing of B's question and answer"}, nil
	}
}

// asItself is a host of the trust root as an agent: with its own key, enrolled
// anew where it was enrolled before.
func (p *play) asItself(t *target) (mole, error) {
	m, err := newMole()
	if err != nil {
		return m, err
	}
	raw, err := t.hostKey()
	if err != nil {
		return m, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return m, fmt.Errorf("%s has no host key", t.Name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return m, err
	}
	m.key, m.host, m.public = key.(ed25519.PrivateKey), t.known.ID, t.known.Public
	if err := p.forget(t); err != nil {
		return m, err
	}
	secret, err := p.secret()
	if err != nil {
		return m, err
	}
	return m, p.enrol(m, secret, t.Name)
}

// forget has the control plane let a host go, if it serves it.
func (p *play) forget(t *target) error {
	err := p.server.ask(p.ctx, "hosts/"+string(t.known.ID)+"/remove", struct{}{}, nil)
	if err != nil && strings.Contains(err.Error(), "PW-CONTROL-HOST") {
		return nil
	}
	return err
}

func cloned(p *play) (answer, error) {
	m, err := p.asItself(p.web)
	if err != nil {
		return answer{}, err
	}
	first, second := newRun(), newRun()
	next := func() error { return p.ask(m, wire.Next, wire.NextRequest{}, &wire.NextAnswer{}) }
	if _, err := p.hello(m, first, p.web.Name); err != nil {
		return answer{}, err
	}
	p.controlled = next()
	for _, run := range []string{second, first} {
		if _, err := p.hello(m, run, p.web.Name); err != nil {
			return answer{}, err
		}
	}
	a, err := said(next())
	if err != nil {
		return a, err
	}
	if err := p.server.ask(p.ctx, "hosts/"+string(m.host)+"/accept", struct{}{}, nil); err != nil {
		return a, err
	}
	if _, err := p.hello(m, newRun(), p.web.Name); err != nil {
		return a, err
	}
	p.controlled = errors.Join(p.controlled, next())
	return a, nil
}

func anothersReceipt(p *play) (answer, error) {
	m, err := p.asItself(p.far)
	if err != nil {
		return answer{}, err
	}
	if _, err := p.hello(m, newRun(), p.far.Name); err != nil {
		return answer{}, err
	}
	r := writ.Receipt{Type: writ.TypeReceipt, Host: p.web.known.ID, Writ: anyDigest, Plan: anyDigest, Shown: anyDigest, Outcome: writ.Done, States: []writ.State{},
		Effective: writ.Effective{Installed: writ.Yes, Running: writ.Yes, Rescanned: writ.Yes, Healthy: writ.Yes, Attested: writ.Unknown, Stale: []string{}}, Started: now(), Ended: now()}
	r.Signature = hex.EncodeToString(ed25519.Sign(m.key, r.Digest().Bytes()))
	return said(p.ask(m, wire.Done, wire.ReceiptRequest{Receipts: []string{base64.StdEncoding.EncodeToString(canon.MustEncode(r))}, Leases: []string{}, Writ: anyDigest}, &wire.ReceiptAnswer{}))
}
