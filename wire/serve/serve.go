// Package serve is the control plane's end of the wire: one TLS port with the
// way in for hosts (/enroll, /pass), the bus (/wire: NATS over WebSocket), and
// whatever else the caller serves there.
//
// The parties: agents, each with a wire key; a Directory that knows them; a
// Handler that answers. The promise: the Handler is told the wire key that
// really spoke; no agent speaks or listens as another; JWTs are short-lived and
// signed by a scoped key whose template names the subject, never the name;
// every body, wait and number of questions at once is bounded. The keys of the
// bus live in memory only; the TLS key is kept in Dir.
package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// Directory knows the hosts.
type Directory interface {
	// Enrol judges the secret of an enrolment that was checked otherwise.
	Enrol(ctx context.Context, secret []byte, e wire.Enrolment) error
	// Knows tells which host a wire key speaks for; an error refuses it.
	Knows(ctx context.Context, wireKey string) (trust.HostID, error)
}

// Handler answers one question of the agent with this wire key.
type Handler func(ctx context.Context, wireKey string, v wire.Verb, body []byte) ([]byte, error)

// Config is what a Server needs. Names, Extra and Life may be empty.
type Config struct {
	Dir       string        // of the TLS key; made when it is not there
	Listen    string        // address of the one port
	Names     []string      // DNS names and addresses in the certificate; agents pin its key, browsers look at names
	Life      time.Duration // of a JWT; an hour
	Now       func() time.Time
	Logger    *slog.Logger
	Directory Directory
	Handler   Handler
	Extra     http.Handler // everything but the wire's own paths
}

// Limits.
const (
	jwtLife    = time.Hour
	atOnce     = 64               // questions that are answered at the same time
	atOnceEach = 4                // of one agent: it asks one after the other, and may have begun anew
	answerTime = 40 * time.Second // for one of them
	maxConns   = 20_000
	maxEnrol   = 8 << 10 // bytes of an enrolment or a request for a pass
)

// Server is a running end of the wire.
type Server struct {
	cfg    Config
	bus    *server.Server
	nc     *nats.Conn
	http   *http.Server
	listen net.Listener
	spki   canon.Digest
	signer nkeys.KeyPair // scoped: signs agents' JWTs and can give them nothing more
	key    nkeys.KeyPair // the account's operator
	acct   *jwt.AccountClaims
	res    *server.MemAccResolver
	slots  chan struct{}
	leases chan struct{}  // places of their own: witnesses may be slow, and nobody else waits for them
	mu     sync.Mutex     // guards acct and asking
	asking map[string]int // questions of each agent that are being answered
	busy   sync.WaitGroup
}

// Listen starts a Server.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Life == 0 {
		cfg.Life = jwtLife
	}
	s := &Server{cfg: cfg, slots: make(chan struct{}, atOnce), leases: make(chan struct{}, atOnce), asking: map[string]int{}}
	cert, err := s.certificate()
	if err != nil {
		return nil, err
	}
	port, err := s.startBus()
	if err != nil {
		return nil, err
	}
	if s.listen, err = net.Listen("tcp", cfg.Listen); err != nil {
		s.bus.Shutdown()
		return nil, fmt.Errorf("the control plane cannot listen on %s: %w", cfg.Listen, err)
	}
	s.http = &http.Server{Handler: s.routes(port), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		TLSConfig:   &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}},
		ErrorLog:    slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) }}
	go s.http.ServeTLS(s.listen, "", "")
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.listen.Addr().String() }

// CertSHA256 names the TLS key, for tokens.
func (s *Server) CertSHA256() canon.Digest { return s.spki }

// Connected is the number of agents' connections.
func (s *Server) Connected() int { return max(0, s.bus.NumClients()-1) }

// Close ends every connection.
func (s *Server) Close() error {
	err := s.http.Close()
	s.nc.Close()
	s.bus.Shutdown()
	s.bus.WaitForShutdown()
	s.busy.Wait()
	return err
}

// certificate makes a certificate for the TLS key.
func (s *Server) certificate() (tls.Certificate, error) {
	key, err := keyIn(s.cfg.Dir)
	if err != nil {
		return tls.Certificate{}, err
	}
	if s.spki, err = spkiOf(key); err != nil {
		return tls.Certificate{}, err
	}
	der, err := s.selfSigned(key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// Key names the TLS key in dir, which is made when it is not there.
func Key(dir string) (canon.Digest, error) {
	key, err := keyIn(dir)
	if err != nil {
		return "", err
	}
	return spkiOf(key)
}

func spkiOf(key *ecdsa.PrivateKey) (canon.Digest, error) {
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	sum := sha256.Sum256(spki)
	return canon.Digest(hex.EncodeToString(sum[:])), err
}

// keyIn reads the TLS key, or makes it.
func keyIn(dir string) (*ecdsa.PrivateKey, error) {
	path := filepath.Join(dir, "tls.key")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		raw, err = newKey(path)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s holds no ECDSA key: %w", path, err)
	}
	return key, nil
}

func newKey(path string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	raw := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return raw, keep(path, raw)
}

// keep writes a private file so that a crash leaves all of it or nothing.
func keep(path string, raw []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// certLife is long: agents pin the key, and the certificate is made at each start.
const certLife = 5 * 365 * 24 * time.Hour

func (s *Server) selfSigned(key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "patchwrit control plane"}, NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(certLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
	for _, name := range append([]string{"localhost"}, s.cfg.Names...) {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	return x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
}

// routes are the paths of the one port.
func (s *Server) routes(busPort int) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST "+wire.PathEnrol, func(w http.ResponseWriter, r *http.Request) { answer(s, w, r, s.enrol) })
	m.HandleFunc("POST "+wire.PathPass, func(w http.ResponseWriter, r *http.Request) { answer(s, w, r, s.pass) })
	m.Handle(wire.PathWire, &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL = &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", busPort), Path: "/"}
			p.Out.Host = p.Out.URL.Host
		},
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	})
	if s.cfg.Extra != nil {
		m.Handle("/", s.cfg.Extra)
	}
	return m
}

// answer decodes a request of the way in, and answers it or says no.
func answer[Q any](s *Server, w http.ResponseWriter, r *http.Request, f func(context.Context, Q) (any, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	conn, end := http.NewResponseController(w), time.Now().Add(answerTime)
	if err := errors.Join(conn.SetReadDeadline(end), conn.SetWriteDeadline(end)); err != nil {
		s.cfg.Logger.Warn("a connection has no deadline", "err", err)
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEnrol))
	var q Q
	if err == nil {
		err = canon.Decode(raw, &q)
	}
	if err != nil {
		err = refusal.New(wire.CodeEnrol, "%v", err)
	}
	var a any
	if err == nil {
		a, err = f(ctx, q)
	}
	if err != nil {
		w.WriteHeader(http.StatusForbidden)
		w.Write(canon.MustEncode(s.no(err)))
		return
	}
	w.Write(canon.MustEncode(a))
}

// no is what an agent is told: a refusal in full, a failure only in general.
func (s *Server) no(err error) wire.No {
	var r *refusal.Refusal
	if errors.As(err, &r) {
		return wire.No{Code: string(r.Code), Detail: canon.NoteOf(r.Detail)}
	}
	s.cfg.Logger.Error("a question of an agent failed", "err", err)
	return wire.No{Detail: canon.NoteOf("the control plane failed; its log says why")}
}

func (s *Server) enrol(ctx context.Context, e wire.Enrolment) (any, error) {
	secret, err := e.Check()
	if err != nil {
		return nil, err
	}
	if !nkeys.IsValidPublicUserKey(e.Wire) {
		return nil, refusal.New(wire.CodeEnrol, "the wire key is none")
	}
	return struct{}{}, s.cfg.Directory.Enrol(ctx, secret, e)
}

func (s *Server) pass(ctx context.Context, p wire.PassRequest) (any, error) {
	no := func(format string, args ...any) (any, error) { return nil, refusal.New(wire.CodePass, format, args...) }
	now := s.cfg.Now().Unix()
	sig, err := base64.StdEncoding.Strict().DecodeString(p.Signature)
	switch {
	case err != nil || p.Type != wire.TypePass || !nkeys.IsValidPublicUserKey(p.Wire):
		return no("it cannot be read")
	case p.Server != s.spki:
		return no("it was made for another server")
	case p.At < now-wire.PassSkew || p.At > now+wire.PassSkew:
		return no("it is of %s, here it is %s", stamp(p.At), stamp(now))
	}
	key, err := nkeys.FromPublicKey(p.Wire)
	if err != nil || key.Verify(p.Digest().Bytes(), sig) != nil {
		return no("the wire key's signature does not verify")
	}
	if _, err := s.cfg.Directory.Knows(ctx, p.Wire); err != nil {
		return nil, err
	}
	token, err := s.token(p.Wire)
	return wire.PassAnswer{JWT: token}, err
}

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// Wake tells an agent to look. One that is not there looks by itself later.
func (s *Server) Wake(wireKey string) {
	if nkeys.IsValidPublicUserKey(wireKey) {
		s.nc.Publish(wire.WakeSubject+wireKey, nil)
	}
}

// Cut ends an agent's connection; the Directory must refuse it a new pass.
func (s *Server) Cut(wireKey string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acct.Revoke(wireKey)
	return s.publish()
}

// verbOf reads "host.<wire key>.<verb>" and the inbox of that same key: an
// answer goes nowhere else, or an agent could have us speak to another in our
// name.
func verbOf(subject, reply string) (key string, v wire.Verb, ok bool) {
	f := strings.Split(subject, ".")
	if len(f) != 3 || f[0]+"." != wire.HostSubject || !strings.HasPrefix(reply, wire.InboxSubject+f[1]+".") {
		return "", "", false
	}
	return f[1], wire.Verb(f[2]), true
}

// question answers one message.
func (s *Server) question(m *nats.Msg) {
	key, v, ok := verbOf(m.Subject, m.Reply)
	if !ok {
		return
	}
	if !s.enter(key) {
		s.answer(m, v, nil, refusal.New(wire.CodeMany, "%d questions are being answered", atOnceEach))
		return
	}
	places := s.slots
	if v == wire.Lease {
		places = s.leases
	} else {
		places <- struct{}{} // what is not read yet waits in the bus, which has bounds
	}
	s.busy.Go(func() {
		if v == wire.Lease {
			places <- struct{}{}
		}
		defer func() { s.leave(key); <-places }()
		body, err := s.handle(key, v, m.Data)
		s.answer(m, v, body, err)
	})
}

// answer sends what was found out, or why nothing was.
func (s *Server) answer(m *nats.Msg, v wire.Verb, body []byte, err error) {
	out := append([]byte{wire.MarkYes}, body...)
	if err != nil {
		out = append([]byte{wire.MarkNo}, canon.MustEncode(s.no(err))...)
	}
	if err := m.Respond(out); err != nil {
		s.cfg.Logger.Warn("an answer was not sent", "verb", v, "err", err)
	}
}

// enter counts an agent's question, unless it has too many already: no agent
// takes the places of the others.
func (s *Server) enter(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking[key] >= atOnceEach {
		return false
	}
	s.asking[key]++
	return true
}

func (s *Server) leave(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking[key]--; s.asking[key] == 0 {
		delete(s.asking, key)
	}
}

// handle asks the Handler, within limits; a panic is a failure of that question.
func (s *Server) handle(key string, v wire.Verb, body []byte) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in verb %s: %v", v, p)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	if len(body) > wire.MaxBody {
		return nil, refusal.New(wire.CodeEnrol, "a question of %d bytes", len(body))
	}
	if out, err = s.cfg.Handler(ctx, key, v, body); err == nil && len(out) > wire.MaxBody {
		err = fmt.Errorf("an answer of %d bytes to verb %s", len(out), v)
	}
	return out, err
}
