// Package dial is a host's end of the wire: it enrols, and keeps one connection
// to the control plane, outbound, over TLS and WebSocket, through an HTTP proxy
// where there is one.
//
// The parties: the messenger, and a server that is known by the digest of its
// TLS key. The promise: it speaks to that server or to nobody; it listens on no
// port; it tries again for ever, less and less often, never all hosts at once.
package dial

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// Config says who to speak to and as whom. URL, CertSHA256 and Seed have no
// default (Seed is not needed to enrol a new one).
type Config struct {
	URL        string                                // https://host:port
	CertSHA256 canon.Digest                          // of the server's SubjectPublicKeyInfo
	Seed       []byte                                // of the wire key, an nkey user seed
	Proxy      func(*http.Request) (*url.URL, error) // nil: http.ProxyFromEnvironment
	Now        func() time.Time                      // nil: time.Now
	Logger     *slog.Logger                          // nil: nowhere
}

// Times of one connection.
const (
	connectTime = 20 * time.Second
	answerTime  = 45 * time.Second // of a request without a deadline
	minDelay    = 500 * time.Millisecond
	maxDelay    = time.Minute
)

func (c Config) filled() (Config, *url.URL, error) {
	if c.Proxy == nil {
		c.Proxy = http.ProxyFromEnvironment
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return c, nil, fmt.Errorf("the control plane's address is https://host:port, not %q", c.URL)
	}
	if !c.CertSHA256.Valid() {
		return c, nil, refusal.New(wire.CodeServer, "the digest of its TLS key is not given")
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "443")
	}
	return c, u, nil
}

// NewSeed makes a wire key.
func NewSeed() (seed []byte, public string, err error) {
	k, err := nkeys.CreateUser()
	if err != nil {
		return nil, "", err
	}
	if seed, err = k.Seed(); err != nil {
		return nil, "", err
	}
	public, err = k.PublicKey()
	return seed, public, err
}

// tls trusts exactly one key.
func (c Config) tls(host string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: host,
		InsecureSkipVerify: true, // no authority is asked: VerifyConnection pins the key
		VerifyConnection: func(s tls.ConnectionState) error {
			got := sha256.Sum256(s.PeerCertificates[0].RawSubjectPublicKeyInfo)
			if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(got[:])), []byte(c.CertSHA256)) != 1 {
				return refusal.New(wire.CodeServer, "its TLS key is %s", hex.EncodeToString(got[:8]))
			}
			return nil
		},
	}
}

func (c Config) client(u *url.URL) *http.Client {
	return &http.Client{Timeout: connectTime,
		Transport:     &http.Transport{TLSClientConfig: c.tls(u.Hostname()), Proxy: c.Proxy, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// maxAnswer bounds the answers to Enrol and to a request for a pass.
const maxAnswer = 64 << 10

// post sends canonical JSON and decodes the answer.
func (c Config) post(ctx context.Context, u *url.URL, path string, q, a any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.JoinPath(path).String(), bytes.NewReader(canon.MustEncode(q)))
	if err != nil {
		return err
	}
	resp, err := c.client(u).Do(req)
	if err != nil {
		if refusal.CodeOf(err) == "" {
			err = refusal.New(wire.CodeDown, "%v", err)
		}
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil || len(raw) > maxAnswer {
		return refusal.New(wire.CodeDown, "an answer of %d bytes: %v", len(raw), err)
	}
	if resp.StatusCode != http.StatusOK {
		var no wire.No
		if canon.Decode(raw, &no) == nil {
			return no.Err()
		}
		return refusal.New(wire.CodeDown, "it answers %s", resp.Status)
	}
	return canon.Decode(raw, a)
}

// Enrol asks the control plane to serve this host. sign signs with the host key.
func Enrol(ctx context.Context, c Config, secret []byte, name string, host trust.Host, sign func([]byte) []byte) error {
	c, u, err := c.filled()
	if err != nil {
		return err
	}
	k, err := nkeys.FromSeed(c.Seed)
	if err != nil {
		return err
	}
	public, err := k.PublicKey()
	if err != nil {
		return err
	}
	e := wire.Enrolment{Type: wire.TypeEnrolment, Secret: base64.StdEncoding.EncodeToString(secret), Public: host.Public, Wire: public, Name: canon.NoteOf(name)}
	e.Signature = hex.EncodeToString(sign(e.Digest().Bytes()))
	return c.post(ctx, u, wire.PathEnrol, e, &struct{}{})
}

// Known says whether the control plane knows the wire key: nil, or why not.
func Known(ctx context.Context, c Config) error {
	c, u, err := c.filled()
	if err != nil {
		return err
	}
	key, err := nkeys.FromSeed(c.Seed)
	if err != nil {
		return err
	}
	_, err = c.ticket(ctx, u, key)
	return err
}

// ticket fetches a JWT.
func (c Config) ticket(ctx context.Context, u *url.URL, key nkeys.KeyPair) (string, error) {
	public, err := key.PublicKey()
	if err != nil {
		return "", err
	}
	q := wire.PassRequest{Type: wire.TypePass, Wire: public, Server: c.CertSHA256, At: c.Now().Unix()}
	sig, err := key.Sign(q.Digest().Bytes())
	if err != nil {
		return "", err
	}
	q.Signature = base64.StdEncoding.EncodeToString(sig)
	var a wire.PassAnswer
	err = c.post(ctx, u, wire.PathPass, q, &a)
	return a.JWT, err
}

// Conn is a connection that comes back by itself.
type Conn struct {
	c      Config
	u      *url.URL
	key    nkeys.KeyPair
	public string
	nc     *nats.Conn
	wakes  chan struct{}
	last   chan error // the newest reason why there is no connection
}

// Dial connects in the background: Ask waits for the first connection.
func Dial(c Config) (*Conn, error) {
	c, u, err := c.filled()
	if err != nil {
		return nil, err
	}
	k := &Conn{c: c, u: u, wakes: make(chan struct{}, 1), last: make(chan error, 1)}
	if k.key, err = nkeys.FromSeed(c.Seed); err != nil {
		return nil, err
	}
	if k.public, err = k.key.PublicKey(); err != nil {
		return nil, err
	}
	k.nc, err = nats.Connect("wss://"+u.Host, nats.ProxyPath(wire.PathWire), nats.Secure(c.tls(u.Hostname())),
		k.passes, nats.CustomInboxPrefix(wire.InboxSubject+k.public), nats.SetCustomDialer(dialer{c, u}),
		nats.Timeout(connectTime), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.CustomReconnectDelay(delay), nats.ReconnectBufSize(-1),
		nats.IgnoreAuthErrorAbort(), nats.Name("patchwrit-agent"),
		nats.ConnectHandler(func(*nats.Conn) { k.woken(nil) }), nats.ReconnectHandler(func(*nats.Conn) { k.woken(nil) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { k.note(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { k.note(err) }))
	if err != nil {
		return nil, err
	}
	if _, err := k.nc.Subscribe(wire.WakeSubject+k.public, k.woken); err != nil {
		k.nc.Close()
		return nil, err
	}
	return k, nil
}

// delay is a full jitter between a half second and an end that doubles.
func delay(attempts int) time.Duration {
	top := min(maxDelay, minDelay<<min(attempts, 7))
	n, err := rand.Int(rand.Reader, big.NewInt(int64(top)))
	if err != nil {
		return top
	}
	return max(minDelay, time.Duration(n.Int64()))
}

func (k *Conn) woken(*nats.Msg) {
	select {
	case k.wakes <- struct{}{}:
	default:
	}
}

// note keeps the newest reason for who waits.
func (k *Conn) note(err error) {
	if err == nil {
		return
	}
	k.c.Logger.Warn("the wire", "err", err)
	select {
	case <-k.last:
	default:
	}
	select {
	case k.last <- err:
	default:
	}
}

// passes is nats.UserJWT without its trial of pass at once: an agent that starts while
// the control plane is down would end.
func (k *Conn) passes(o *nats.Options) error {
	o.UserJWT, o.SignatureCB = k.pass, k.key.Sign
	return nil
}

// pass fetches a JWT; the library calls it for each connection.
func (k *Conn) pass() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), connectTime)
	defer cancel()
	token, err := k.c.ticket(ctx, k.u, k.key)
	k.note(err)
	return token, err
}

// Ask asks one question. A refusal of the control plane comes back as the same
// refusal; anything else that went wrong is PW-WIRE-DOWN, and the question may
// be asked again.
func (k *Conn) Ask(ctx context.Context, v wire.Verb, body []byte) ([]byte, error) {
	if len(body) > wire.MaxBody {
		return nil, fmt.Errorf("a request of %d bytes; the most is %d", len(body), wire.MaxBody)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, answerTime)
		defer cancel()
	}
	msg, err := k.request(ctx, wire.HostSubject+k.public+"."+string(v), body)
	if err != nil {
		select {
		case why := <-k.last:
			err = errors.Join(err, why)
		default:
		}
		return nil, refusal.New(wire.CodeDown, "%v", err)
	}
	switch {
	case len(msg.Data) > 0 && msg.Data[0] == wire.MarkYes:
		return msg.Data[1:], nil
	case len(msg.Data) > 0 && msg.Data[0] == wire.MarkNo:
		var no wire.No
		if err := canon.Decode(msg.Data[1:], &no); err != nil {
			return nil, refusal.New(wire.CodeDown, "a refusal that cannot be read: %v", err)
		}
		return nil, no.Err()
	}
	return nil, refusal.New(wire.CodeDown, "an answer of %d bytes that is none", len(msg.Data))
}

// errLost says that no answer can come any more: it would come over a connection that is gone.
var errLost = errors.New("the connection ended before the answer came")

// request waits for a connection where there is none just now.
func (k *Conn) request(ctx context.Context, subject string, body []byte) (*nats.Msg, error) {
	up, lost := k.nc.StatusChanged(nats.CONNECTED, nats.CLOSED), k.nc.StatusChanged(nats.RECONNECTING)
	defer k.nc.RemoveStatusListener(up)
	defer k.nc.RemoveStatusListener(lost)
	for {
		msg, err := k.once(ctx, lost, subject, body)
		if !errors.Is(err, nats.ErrReconnectBufExceeded) || k.nc.IsClosed() {
			return msg, err
		}
		if k.nc.IsConnected() {
			continue
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// once asks over the connection that there is, and does not outlast it.
func (k *Conn) once(ctx context.Context, lost <-chan nats.Status, subject string, body []byte) (*nats.Msg, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watched sync.WaitGroup
	watched.Go(func() {
		select {
		case <-lost:
			cancel(errLost)
		case <-ctx.Done():
		}
	})
	msg, err := k.nc.RequestWithContext(ctx, subject, body)
	if err != nil && context.Cause(ctx) == errLost && !errors.Is(err, nats.ErrReconnectBufExceeded) {
		err = errLost
	}
	cancel(nil)
	watched.Wait() // what comes next on lost is for the next asking
	return msg, err
}

// Wakes tells that there may be something to do: the control plane said so, or
// the connection is new.
func (k *Conn) Wakes() <-chan struct{} { return k.wakes }

// Up reports whether there is a connection now.
func (k *Conn) Up() bool { return k.nc.IsConnected() }

// Close ends the connection.
func (k *Conn) Close() { k.nc.Close() }

// dialer connects to the server, through the proxy that the environment names.
type dialer struct {
	c Config
	u *url.URL
}

// SkipTLSHandshake: the library does TLS itself, over what Dial returns.
func (dialer) SkipTLSHandshake() bool { return false }

// Dial implements nats.CustomDialer. Whatever address it is asked for, it goes
// to the server that was configured.
func (d dialer) Dial(network, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), connectTime)
	defer cancel()
	proxy, err := d.c.Proxy(&http.Request{URL: d.u})
	if err != nil {
		return nil, err
	}
	var plain net.Dialer
	if proxy == nil {
		return plain.DialContext(ctx, network, d.u.Host)
	}
	if proxy.Scheme != "http" {
		return nil, fmt.Errorf("proxy %s: only http:// proxies are known (CONNECT)", proxy.Redacted())
	}
	host := proxy.Host
	if proxy.Port() == "" {
		host = net.JoinHostPort(proxy.Hostname(), "80")
	}
	conn, err := plain.DialContext(ctx, network, host)
	if err != nil {
		return nil, err
	}
	if err := connect(ctx, conn, proxy, d.u.Host); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// connect asks an HTTP proxy for a tunnel (RFC 9110 §9.3.6).
func connect(ctx context.Context, conn net.Conn, proxy *url.URL, target string) error {
	if t, ok := ctx.Deadline(); ok {
		conn.SetDeadline(t)
		defer conn.SetDeadline(time.Time{})
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{}}
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	// One byte at a time: what follows the head belongs to the server.
	resp, err := http.ReadResponse(bufio.NewReaderSize(oneByte{conn}, 16), req)
	if err != nil {
		return fmt.Errorf("proxy %s: %w", proxy.Redacted(), err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("proxy %s answers %s", proxy.Redacted(), resp.Status)
	}
	return nil
}

// oneByte reads no further than it is asked for.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }
