package serve

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/patchwrit/patchwrit/wire"
)

// startBus starts the embedded bus with keys of its own and connects to it from
// inside. It returns the loopback port of its WebSocket listener.
func (s *Server) startBus() (port int, err error) {
	operator, err := nkeys.CreateOperator()
	if err != nil {
		return 0, err
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		return 0, err
	}
	if s.signer, err = nkeys.CreateAccount(); err != nil {
		return 0, err
	}
	s.key = operator
	claims, err := operatorClaims(operator)
	if err != nil {
		return 0, err
	}
	if s.acct, err = accountClaims(account, s.signer); err != nil {
		return 0, err
	}
	s.res = &server.MemAccResolver{}
	if err := s.publish(); err != nil {
		return 0, err
	}
	o := &server.Options{ServerName: "patchwrit", DontListen: true, NoSigs: true, NoLog: true, MaxPayload: 1 << 20, MaxConn: maxConns,
		TrustedOperators: []*jwt.OperatorClaims{claims}, AccountResolver: s.res, AuthTimeout: 10, PingInterval: 30 * time.Second,
		Websocket: server.WebsocketOpts{Host: "127.0.0.1", Port: -1, NoTLS: true, HandshakeTimeout: 10 * time.Second}}
	if s.bus, err = server.NewServer(o); err != nil {
		return 0, err
	}
	s.bus.Start()
	if !s.bus.ReadyForConnections(20 * time.Second) {
		return 0, errors.New("the bus does not start")
	}
	v, err := s.bus.Varz(nil)
	if err != nil {
		return 0, err
	}
	return v.Websocket.Port, s.join(account)
}

func operatorClaims(key nkeys.KeyPair) (*jwt.OperatorClaims, error) {
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	c := jwt.NewOperatorClaims(public)
	token, err := c.Encode(key)
	if err != nil {
		return nil, err
	}
	return jwt.DecodeOperatorClaims(token)
}

// accountClaims is the account of all agents. Its scoped signing key can make
// users of one form only: their permissions name the user's own key. The
// template uses subject(), a public key; name() is free text, and an agent that
// calls itself "*" would speak for all.
func accountClaims(account, signer nkeys.KeyPair) (*jwt.AccountClaims, error) {
	public, err := account.PublicKey()
	if err != nil {
		return nil, err
	}
	scoped, err := signer.PublicKey()
	if err != nil {
		return nil, err
	}
	c := jwt.NewAccountClaims(public)
	c.Name = "agents"
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = scoped, "agent"
	scope.Template.Permissions.Pub.Allow.Add(wire.HostSubject + "{{subject()}}.*")
	scope.Template.Permissions.Sub.Allow.Add(wire.InboxSubject+"{{subject()}}.>", wire.WakeSubject+"{{subject()}}")
	scope.Template.Limits.Subs = 8
	scope.Template.Limits.Payload = 1 << 20
	c.SigningKeys.AddScopedSigner(scope)
	return c, nil
}

// publish gives the bus the account as it is now; connections of revoked users
// are cut.
func (s *Server) publish() error {
	token, err := s.acct.Encode(s.key)
	if err != nil {
		return err
	}
	if err := s.res.Store(s.acct.Subject, token); err != nil || s.bus == nil {
		return err
	}
	acc, err := s.bus.LookupAccount(s.acct.Subject)
	if err != nil {
		return err
	}
	s.bus.UpdateAccountClaims(acc, s.acct)
	return nil
}

// token is an agent's short-lived JWT.
func (s *Server) token(wireKey string) (string, error) {
	c := jwt.NewUserClaims(wireKey)
	c.IssuerAccount = s.acct.Subject
	c.UserPermissionLimits = jwt.UserPermissionLimits{} // scoped: all comes from the template
	c.Expires = s.cfg.Now().Add(s.cfg.Life).Unix()
	return c.Encode(s.signer)
}

// join connects the control plane to its own bus, with a user of the account's
// own key: it hears all agents.
func (s *Server) join(account nkeys.KeyPair) error {
	user, err := nkeys.CreateUser()
	if err != nil {
		return err
	}
	public, err := user.PublicKey()
	if err != nil {
		return err
	}
	token, err := jwt.NewUserClaims(public).Encode(account)
	if err != nil {
		return err
	}
	s.nc, err = nats.Connect("", nats.InProcessServer(s.bus), nats.UserJWT(func() (string, error) { return token, nil }, user.Sign), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("the control plane cannot join its own bus: %w", err)
	}
	sub, err := s.nc.Subscribe(wire.HostSubject+"*.*", s.question)
	if err != nil {
		return err
	}
	return sub.SetPendingLimits(100_000, 512<<20)
}
