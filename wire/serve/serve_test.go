package serve

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/wire/dial"
)

// book is a Directory in memory.
type book struct {
	mu      sync.Mutex
	secrets map[string]bool // unused
	hosts   map[string]trust.HostID
}

func (b *book) Enrol(_ context.Context, secret []byte, e wire.Enrolment) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.secrets[string(secret)] {
		return refusal.New(wire.CodeToken, "not here")
	}
	delete(b.secrets, string(secret))
	b.hosts[e.Wire] = e.Host()
	return nil
}

func (b *book) Knows(_ context.Context, key string) (trust.HostID, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h, ok := b.hosts[key]
	if !ok {
		return "", refusal.New(wire.CodePass, "unknown")
	}
	return h, nil
}

// town is a server with everything around it.
type town struct {
	t    *testing.T
	s    *Server
	book *book
	cfg  Config
	mu   sync.Mutex
	said []string // "wirekey verb body" of every question
}

func newTown(t *testing.T, edit func(*Config)) *town {
	t.Helper()
	w := &town{t: t, book: &book{secrets: map[string]bool{}, hosts: map[string]trust.HostID{}}}
	w.cfg = Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Now: time.Now, Logger: slog.New(slog.DiscardHandler), Directory: w.book}
	w.cfg.Handler = func(_ context.Context, key string, v wire.Verb, body []byte) ([]byte, error) {
		w.mu.Lock()
		w.said = append(w.said, key+" "+string(v)+" "+string(body))
		w.mu.Unlock()
		switch v {
		case wire.Next:
			return nil, refusal.New("PW-WRIT-FORM", "no such thing")
		case wire.Fetch:
			return nil, errors.New("the disk is on fire at /secret/place")
		case wire.Lease:
			panic("handler")
		case wire.Done:
			return bytes.Repeat([]byte("x"), wire.MaxBody+1), nil
		}
		return append([]byte("you are "+key+" and said "), body...), nil
	}
	if edit != nil {
		edit(&w.cfg)
	}
	s, err := Listen(t.Context(), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.s = s
	t.Cleanup(func() { w.s.Close() })
	return w
}

func (w *town) dial(seed []byte) dial.Config {
	return dial.Config{URL: "https://" + w.s.Addr(), CertSHA256: w.s.CertSHA256(), Seed: seed, Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }}
}

// enrol makes a host and its keys.
func (w *town) enrol() (seed []byte, public string) {
	w.t.Helper()
	seed, public, err := dial.NewSeed()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.enrolAs(seed, w.secret()); err != nil {
		w.t.Fatal(err)
	}
	return seed, public
}

func (w *town) secret() []byte {
	secret := bytes.Repeat([]byte{byte(len(w.book.hosts) + 1)}, wire.SecretBytes)
	w.book.mu.Lock()
	w.book.secrets[string(secret)] = true
	w.book.mu.Unlock()
	return secret
}

func (w *town) enrolAs(seed, secret []byte) error {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	host := trust.Host{ID: trust.HostOf(pub), Public: hex.EncodeToString(pub)}
	return dial.Enrol(w.t.Context(), w.dial(seed), secret, "web-1", host, func(d []byte) []byte { return ed25519.Sign(key, d) })
}

func (w *town) conn(seed []byte) *dial.Conn {
	w.t.Helper()
	c, err := dial.Dial(w.dial(seed))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

func ask(t *testing.T, c *dial.Conn, v wire.Verb, body string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a, err := c.Ask(ctx, v, []byte(body))
	return string(a), err
}

func TestAHostSpeaksAsItself(t *testing.T) {
	w := newTown(t, nil)
	seed, public := w.enrol()
	c := w.conn(seed)
	got, err := ask(t, c, wire.Hello, "hi")
	if err != nil || got != "you are "+public+" and said hi" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := ask(t, c, wire.Next, ""); refusal.CodeOf(err) != "PW-WRIT-FORM" || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("a refusal came back as %v", err)
	}
	for _, v := range []wire.Verb{wire.Fetch, wire.Lease, wire.Done} {
		if _, err := ask(t, c, v, ""); refusal.CodeOf(err) != wire.CodeDown || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: a failure came back as %v", v, err)
		}
	}
	if _, err := c.Ask(t.Context(), wire.Hello, make([]byte, wire.MaxBody+1)); err == nil {
		t.Error("a large question was sent")
	}
}

func TestAWakeReachesOneHost(t *testing.T) {
	w := newTown(t, nil)
	a, b := w.conn(first(w.enrol())), w.conn(first(w.enrol()))
	for _, c := range []*dial.Conn{a, b} {
		if _, err := ask(t, c, wire.Hello, ""); err != nil {
			t.Fatal(err)
		}
		<-c.Wakes() // the connection itself
	}
	key := ""
	for k := range w.book.hosts {
		if got, _ := ask(t, a, wire.Hello, ""); strings.Contains(got, k) {
			key = k
		}
	}
	w.s.Wake(key)
	select {
	case <-a.Wakes():
	case <-time.After(10 * time.Second):
		t.Fatal("no wake")
	}
	select {
	case <-b.Wakes():
		t.Error("the other host was woken")
	case <-time.After(200 * time.Millisecond):
	}
}

func first(seed []byte, _ string) []byte { return seed }

// raw is a hostile agent: any library call, with its own JWT.
func (w *town) raw(seed []byte, token string, inbox string) (*nats.Conn, error) {
	k, err := nkeys.FromSeed(seed)
	if err != nil {
		w.t.Fatal(err)
	}
	opts := []nats.Option{nats.ProxyPath(wire.PathWire), nats.Secure(&tls.Config{InsecureSkipVerify: true}), nats.MaxReconnects(0),
		nats.UserJWT(func() (string, error) { return token, nil }, k.Sign), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}
	if inbox != "" {
		opts = append(opts, nats.CustomInboxPrefix(inbox))
	}
	return nats.Connect("wss://"+w.s.Addr(), opts...)
}

// TestNoAgentSpeaksOrListensAsAnother is a hostile agent with a good pass.
func TestNoAgentSpeaksOrListensAsAnother(t *testing.T) {
	w := newTown(t, nil)
	seedA, a := w.enrol()
	seedB, b := w.enrol()
	token, err := w.s.token(a)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := w.raw(seedA, token, wire.InboxSubject+a)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if m, err := nc.Request(wire.HostSubject+a+".hello", []byte("control"), 5*time.Second); err != nil || m.Data[0] != wire.MarkYes {
		t.Fatalf("the control: %v", err)
	}
	for _, subject := range []string{wire.HostSubject + b + ".hello", wire.HostSubject + "*.hello", wire.HostSubject + ">", wire.WakeSubject + b, wire.InboxSubject + b + ".x", "$SYS.REQ.SERVER.PING"} {
		if _, err := nc.Request(subject, []byte("FORGED"), 300*time.Millisecond); err == nil {
			t.Errorf("%s was answered", subject)
		}
	}
	heard := make(chan *nats.Msg, 10)
	for _, subject := range []string{wire.WakeSubject + b, wire.InboxSubject + b + ".>", wire.InboxSubject + ">", ">", wire.HostSubject + ">", wire.HostSubject + a + ".*", "_INBOX.>"} {
		if _, err := nc.ChanSubscribe(subject, heard); err != nil {
			t.Fatal(err)
		}
	}
	nc.Flush()
	cb := w.conn(seedB)
	if _, err := ask(t, cb, wire.Hello, "private"); err != nil {
		t.Fatal(err)
	}
	w.s.Wake(b)
	select {
	case m := <-heard:
		t.Errorf("heard %s: %s", m.Subject, m.Data)
	case <-time.After(500 * time.Millisecond):
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.said {
		if strings.Contains(s, "FORGED") {
			t.Errorf("the control plane heard %q", s)
		}
	}
}

// TestAnAnswerGoesOnlyHome asks with somebody else's address for the answer.
func TestAnAnswerGoesOnlyHome(t *testing.T) {
	w := newTown(t, nil)
	seedA, a := w.enrol()
	_, b := w.enrol()
	token, _ := w.s.token(a)
	nc, err := w.raw(seedA, token, wire.InboxSubject+a)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, reply := range []string{wire.HostSubject + b + ".receipt", wire.WakeSubject + b, wire.InboxSubject + b + ".x", wire.InboxSubject + a} {
		if err := nc.PublishRequest(wire.HostSubject+a+".hello", reply, []byte("ECHO")); err != nil {
			t.Fatal(err)
		}
	}
	nc.Flush()
	if m, err := nc.Request(wire.HostSubject+a+".hello", []byte("control"), 5*time.Second); err != nil || !bytes.Contains(m.Data, []byte("control")) {
		t.Fatalf("the control: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.said {
		if strings.Contains(s, "ECHO") {
			t.Errorf("the control plane took %q", s)
		}
	}
}

// TestPassesThatAreNotGood forges JWTs.
func TestPassesThatAreNotGood(t *testing.T) {
	w := newTown(t, nil)
	seed, public := w.enrol()
	good, _ := w.s.token(public)
	foreign, _ := nkeys.CreateAccount()
	make := func(name string, signer nkeys.KeyPair, edit func(*jwt.UserClaims)) string {
		c := jwt.NewUserClaims(public)
		c.Name, c.IssuerAccount, c.UserPermissionLimits = name, w.s.acct.Subject, jwt.UserPermissionLimits{}
		c.Expires = time.Now().Add(time.Hour).Unix()
		if edit != nil {
			edit(c)
		}
		token, err := c.Encode(signer)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	otherSeed, _, _ := dial.NewSeed()
	for name, c := range map[string]struct {
		token string
		seed  []byte
		ok    bool
	}{
		"as it should be":         {good, seed, true},
		"signed by another":       {make("", foreign, nil), seed, false},
		"over":                    {make("", w.s.signer, func(c *jwt.UserClaims) { c.Expires = time.Now().Add(-time.Minute).Unix() }), seed, false},
		"with rights of its own":  {make("", w.s.signer, func(c *jwt.UserClaims) { c.Permissions.Pub.Allow.Add(">") }), seed, false},
		"another key speaks":      {good, otherSeed, false},
		"none":                    {"", seed, false},
		"cut short":               {good[:len(good)-9], seed, false},
		"for an agent called *":   {make("*", w.s.signer, nil), seed, true}, // it connects, and is nobody else: see below
		"for an agent called >":   {make(">", w.s.signer, nil), seed, true},
		"for an agent called a.b": {make("a.b", w.s.signer, nil), seed, true},
	} {
		nc, err := w.raw(c.seed, c.token, wire.InboxSubject+public)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		_, other := w.enrol()
		for _, subject := range []string{wire.HostSubject + other + ".hello", wire.HostSubject + "*.hello"} {
			if _, err := nc.Request(subject, nil, 200*time.Millisecond); err == nil {
				t.Errorf("%s: speaks as %s", name, subject)
			}
		}
		if m, err := nc.Request(wire.HostSubject+public+".hello", nil, 5*time.Second); err != nil || m.Data[0] != wire.MarkYes {
			t.Errorf("%s: not even as itself: %v", name, err)
		}
		nc.Close()
	}
}

func TestEnrolmentsThatAreNotGood(t *testing.T) {
	w := newTown(t, nil)
	seed, _, _ := dial.NewSeed()
	secret := w.secret()
	if err := w.enrolAs(seed, bytes.Repeat([]byte{9}, wire.SecretBytes)); refusal.CodeOf(err) != wire.CodeToken {
		t.Errorf("an unknown secret: %v", err)
	}
	c := w.dial(seed)
	c.CertSHA256 = canon.SumFile([]byte("another"))
	pub, key, _ := ed25519.GenerateKey(nil)
	host := trust.Host{ID: trust.HostOf(pub), Public: hex.EncodeToString(pub)}
	sign := func(d []byte) []byte { return ed25519.Sign(key, d) }
	if err := dial.Enrol(t.Context(), c, secret, "x", host, sign); refusal.CodeOf(err) != wire.CodeServer {
		t.Errorf("another server: %v", err)
	}
	if err := dial.Enrol(t.Context(), w.dial(seed), secret, "x", host, func(d []byte) []byte { return make([]byte, 64) }); refusal.CodeOf(err) != wire.CodeEnrol {
		t.Errorf("a host key that did not sign: %v", err)
	}
	if err := w.enrolAs(seed, secret); err != nil {
		t.Errorf("the control: %v", err)
	}
	if err := w.enrolAs(seed, secret); refusal.CodeOf(err) != wire.CodeToken {
		t.Errorf("the secret again: %v", err)
	}
	resp, err := w.dialHTTP().Post("https://"+w.s.Addr()+wire.PathEnrol, "application/json", bytes.NewReader(make([]byte, maxEnrol+1)))
	if err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a large body: %v %v", resp, err)
	}
}

func (w *town) dialHTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
}

// TestAHostThatIsLetGo is cut, and gets no new pass.
func TestAHostThatIsLetGo(t *testing.T) {
	w := newTown(t, nil)
	seed, public := w.enrol()
	c := w.conn(seed)
	if _, err := ask(t, c, wire.Hello, ""); err != nil {
		t.Fatal(err)
	}
	w.book.mu.Lock()
	delete(w.book.hosts, public)
	w.book.mu.Unlock()
	if err := w.s.Cut(public); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := c.Ask(ctx, wire.Hello, nil); refusal.CodeOf(err) != wire.CodeDown {
		t.Errorf("after the cut: %v", err)
	}
}

// TestAShortPassIsRenewed lives longer than its JWT: it is answered when two of
// them are over.
func TestAShortPassIsRenewed(t *testing.T) {
	w := newTown(t, func(c *Config) { c.Life = 2 * time.Second })
	c := w.conn(first(w.enrol()))
	began := time.Now()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		_, err := c.Ask(ctx, wire.Hello, nil)
		cancel()
		switch age := time.Since(began); {
		case err == nil && age > 2*w.cfg.Life:
			return
		case age > time.Minute:
			t.Fatalf("not answered any more: %v", err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// TestTheServerComesBack restarts it on the same port with the same key.
func TestTheServerComesBack(t *testing.T) {
	w := newTown(t, nil)
	c := w.conn(first(w.enrol()))
	if _, err := ask(t, c, wire.Hello, ""); err != nil {
		t.Fatal(err)
	}
	addr, was := w.s.Addr(), w.s.CertSHA256()
	w.s.Close()
	w.cfg.Listen = addr
	s, err := Listen(t.Context(), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.s = s
	if s.CertSHA256() != was {
		t.Fatal("the TLS key is another one")
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if _, err = c.Ask(t.Context(), wire.Hello, nil); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// TestAnAnswerThatCannotComeIsNotWaitedFor: a question under way when the connection
// ends is over at once, not when its time is.
func TestAnAnswerThatCannotComeIsNotWaitedFor(t *testing.T) {
	asked, answer := make(chan bool, 9), make(chan bool)
	w := newTown(t, func(c *Config) {
		quick := c.Handler
		c.Handler = func(ctx context.Context, key string, v wire.Verb, body []byte) ([]byte, error) {
			if string(body) == "slow" {
				asked <- true
				<-answer
			}
			return quick(ctx, key, v, body)
		}
	})
	seed, public := w.enrol()
	c := w.conn(seed)
	if _, err := ask(t, c, wire.Hello, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(answer) })
	began, said := time.Now(), make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		_, err := c.Ask(ctx, wire.Hello, []byte("slow"))
		said <- err
	}()
	<-asked
	if err := w.s.Cut(public); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-said:
		if refusal.CodeOf(err) != wire.CodeDown || !strings.Contains(err.Error(), "ended before the answer came") {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Errorf("it still waits after %v", time.Since(began))
	}
}

// TestAnAgentStartsWithoutTheControlPlane: whatever fails first, the connection or the
// pass, it goes on by itself.
func TestAnAgentStartsWithoutTheControlPlane(t *testing.T) {
	w := newTown(t, nil)
	seed := first(w.enrol())
	for failing := range int64(3) {
		cfg := w.dial(seed)
		var calls atomic.Int64
		cfg.Proxy = func(*http.Request) (*url.URL, error) { // asked for each connection, and for each pass
			if calls.Add(1) == failing+1 {
				return nil, errors.New("reset by peer")
			}
			return nil, nil
		}
		c, err := dial.Dial(cfg)
		if err != nil {
			t.Fatalf("call %d: %v", failing+1, err)
		}
		_, err = ask(t, c, wire.Hello, "")
		if c.Close(); err != nil {
			t.Errorf("call %d: %v", failing+1, err)
		}
	}
}

// TestThroughAnHTTPProxy connects where nothing but CONNECT is let out.
func TestThroughAnHTTPProxy(t *testing.T) {
	w := newTown(t, nil)
	var tunnels atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != w.s.Addr() || r.Header.Get("Proxy-Authorization") == "" {
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		tunnels.Add(1)
		out, err := net.Dial("tcp", r.Host)
		if err != nil {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		in, _, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		fmt.Fprint(in, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { io.Copy(out, in); out.Close() }()
		io.Copy(in, out)
		in.Close()
	}))
	defer proxy.Close()
	u, _ := url.Parse(proxy.URL)
	u.User = url.UserPassword("agent", "secret")
	seed, public := w.enrol()
	cfg := w.dial(seed)
	cfg.Proxy = http.ProxyURL(u)
	c, err := dial.Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := ask(t, c, wire.Hello, ""); err != nil || !strings.Contains(got, public) {
		t.Fatalf("%q, %v", got, err)
	}
	if n := tunnels.Load(); n < 2 {
		t.Errorf("%d tunnels; one is for the pass, one for the wire", n)
	}
}

func TestManyAtOnce(t *testing.T) {
	w := newTown(t, nil)
	n := 60
	if testing.Short() {
		n = 20
	}
	var wg sync.WaitGroup
	for range n {
		seed, public := w.enrol()
		wg.Go(func() {
			c := w.conn(seed)
			for range 5 {
				if got, err := ask(t, c, wire.Hello, ""); err != nil || !strings.Contains(got, public) {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestNoAgentTakesThePlacesOfOthers: one asks a hundred questions that are not
// answered for long; another is answered all the same.
func TestNoAgentTakesThePlacesOfOthers(t *testing.T) {
	hold := make(chan struct{})
	w := newTown(t, func(c *Config) {
		c.Handler = func(ctx context.Context, key string, v wire.Verb, body []byte) ([]byte, error) {
			if v == wire.Next {
				<-hold
			}
			return []byte("yes"), nil
		}
	})
	t.Cleanup(func() { close(hold) }) // before the server ends
	greedy, other := w.conn(first(w.enrol())), w.conn(first(w.enrol()))
	refused := make(chan error, 100)
	for range cap(refused) {
		go func() {
			_, err := ask(t, greedy, wire.Next, "")
			refused <- err
		}()
	}
	for range cap(refused) - atOnceEach {
		if err := <-refused; refusal.CodeOf(err) != wire.CodeMany {
			t.Fatalf("the greedy one: %v", err)
		}
	}
	if got, err := ask(t, other, wire.Hello, ""); err != nil || got != "yes" {
		t.Errorf("the other one: %q, %v", got, err)
	}
}

// TestSlowWitnessesHoldUpNobodyElse: leases that are not answered for long, of
// more agents than there are places, and a hello.
func TestSlowWitnessesHoldUpNobodyElse(t *testing.T) {
	hold, asked := make(chan struct{}), make(chan struct{}, 2*atOnce)
	w := newTown(t, func(c *Config) {
		c.Handler = func(ctx context.Context, key string, v wire.Verb, body []byte) ([]byte, error) {
			if v == wire.Lease {
				asked <- struct{}{}
				<-hold
			}
			return []byte("yes"), nil
		}
	})
	t.Cleanup(func() { close(hold) })
	for range atOnce/atOnceEach + 2 {
		c := w.conn(first(w.enrol()))
		for range atOnceEach {
			go ask(t, c, wire.Lease, "")
		}
	}
	for range atOnce {
		<-asked
	}
	if got, err := ask(t, w.conn(first(w.enrol())), wire.Hello, ""); err != nil || got != "yes" {
		t.Errorf("hello: %q, %v", got, err)
	}
}

func FuzzToken(f *testing.F) {
	f.Add(wire.Token{Secret: make([]byte, wire.SecretBytes), Server: canon.SumFile(nil)}.String())
	f.Add("pwt1..")
	f.Fuzz(func(t *testing.T, text string) {
		if tok, err := wire.ParseToken(text); err == nil && tok.String() != text {
			t.Errorf("%q came back as %q", text, tok)
		}
	})
}
