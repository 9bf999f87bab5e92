// Package post carries a call to the one host of a model, with the key, and
// brings the reply back.
//
// The parties: who holds a call (package dialect makes it), the provider's
// server, whose bytes are hostile, and everybody between. The objects: a Key,
// which prints as nothing; a Line, which is where a model is reached from this
// machine.
//
// The promise: one connection to the endpoint's host, one request, no second try,
// no redirect, no cookie, no proxy but the one that is named, nothing from the
// environment. Limits of time and bytes hold for all of it. The key is in one
// header and nowhere else: a reply in which it stands is not passed on.
//
// It does not read the reply; that is done where nothing can be reached from.
package post

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/patchwrit/patchwrit/advisor/dialect"
)

// Key is a provider's key. However it is printed, it is not seen: even a verb
// that has no meaning prints an address.
type Key struct{ hidden *string }

func (k Key) secret() string {
	if k.hidden == nil {
		return ""
	}
	return *k.hidden
}

// Format prints that there is a key, or that there is none.
func (k Key) Format(w fmt.State, _ rune) { io.WriteString(w, k.String()) }

// String is "[key]", or "[no key]".
func (k Key) String() string {
	if k.secret() == "" {
		return "[no key]"
	}
	return "[key]"
}

// MarshalJSON is String, as JSON.
func (k Key) MarshalJSON() ([]byte, error) { return []byte(`"` + k.String() + `"`), nil }

// Lengths of a key: a shorter one could stand in a reply by chance.
const (
	minKey = 8
	maxKey = 4 << 10
)

// ReadKey reads a key file: one line, readable by its owner only.
func ReadKey(path string) (Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return Key{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Key{}, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return Key{}, fmt.Errorf("key file %s: others on this machine can read it (%v). Run: chmod 600 %[1]s, and think about who may have copied it", path, info.Mode())
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxKey+2))
	if err != nil {
		return Key{}, err
	}
	return KeyOf(path, strings.TrimSuffix(string(raw), "\n"))
}

// KeyOf takes a key; from names where it came from, for the error.
func KeyOf(from, secret string) (Key, error) {
	for i := range len(secret) {
		if c := secret[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return Key{}, fmt.Errorf("key file %s: a key is one line of printable characters without spaces, quotes or backslashes", from)
		}
	}
	if len(secret) < minKey || len(secret) > maxKey {
		return Key{}, fmt.Errorf("key file %s: a key has %d to %d characters", from, minKey, maxKey)
	}
	return Key{&secret}, nil
}

// Line is how a model is reached.
type Line struct {
	Key   Key
	CA    *x509.CertPool // nil: the system's
	Proxy string         // http or https address; "": none
}

// PoolOf reads certificates in PEM.
func PoolOf(raw []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, errors.New("there is no certificate in PEM")
	}
	return pool, nil
}

// maxHeader is the most bytes of a reply's header.
const maxHeader = 64 << 10

// Send sends a call to the model's endpoint and reads the reply. It takes the
// method, path and headers from the model, never from the call, so that whoever
// made the body cannot choose them. It is an advisor.Sender.
func (l Line) Send(ctx context.Context, m dialect.Model, call dialect.Call) dialect.Reply {
	if err := m.Check(); err != nil || !m.Provider.Remote() {
		return dialect.Reply{Broken: fmt.Sprintf("nothing was sent: no such model can be reached (%v)", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(m.Seconds)*time.Second)
	defer cancel()
	request, err := l.request(ctx, m, call.Body)
	if err != nil {
		return dialect.Reply{Broken: l.clean("nothing was sent: " + err.Error())}
	}
	transport, err := l.transport(request.URL)
	if err != nil {
		return dialect.Reply{Broken: l.clean("nothing was sent: " + err.Error())}
	}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		return dialect.Reply{Broken: l.broken(ctx, m, err)}
	}
	defer answer.Body.Close()
	r := dialect.Reply{Status: answer.StatusCode}
	r.Body, err = io.ReadAll(io.LimitReader(answer.Body, m.MaxBytes+1))
	switch {
	case err != nil:
		r.Broken = l.broken(ctx, m, err)
	case int64(len(r.Body)) > m.MaxBytes:
		r.Body, r.Broken = r.Body[:m.MaxBytes], fmt.Sprintf("the reply has more than %d bytes", m.MaxBytes)
	case answer.Header.Get("Content-Encoding") != "":
		r.Broken = fmt.Sprintf("the reply is packed (%.40q), which was not asked for", answer.Header.Get("Content-Encoding"))
	}
	return l.withoutKey(r)
}

// request is the one request, with its headers and no other.
func (l Line) request(ctx context.Context, m dialect.Model, body []byte) (*http.Request, error) {
	u, err := url.Parse(m.Endpoint)
	if err != nil {
		return nil, err
	}
	frame := m.Frame()
	u.Path = frame.Path
	request, err := http.NewRequestWithContext(ctx, frame.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.GetBody = nil // it cannot be sent again
	for _, h := range frame.Header {
		request.Header.Set(h.Name, h.Value)
	}
	if l.Key.secret() != "" {
		request.Header.Set("Authorization", "Bearer "+l.Key.secret())
	}
	return request, nil
}

// transport makes one connection, and only to where the address says.
func (l Line) transport(to *url.URL) (*http.Transport, error) {
	dialer := net.Dialer{}
	if to.Scheme == "http" {
		if l.Proxy != "" {
			return nil, errors.New("a loopback endpoint is not asked through a proxy")
		}
		dialer.Control = loopbackOnly
	}
	t := &http.Transport{
		DialContext: dialer.DialContext, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: l.CA},
	}
	if l.Proxy != "" {
		proxy, err := url.Parse(l.Proxy)
		if err != nil {
			return nil, err
		}
		t.Proxy = http.ProxyURL(proxy)
	}
	return t, nil
}

// loopbackOnly refuses, after resolution and before the first packet, an address
// that leaves the machine.
func loopbackOnly(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err == nil && !dialect.Loopback(host) {
		err = fmt.Errorf("%s is not this machine", address)
	}
	return err
}

func (l Line) broken(ctx context.Context, m dialect.Model, err error) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Sprintf("no whole reply came within %d seconds", m.Seconds)
	}
	return l.clean("no whole reply came: " + err.Error())
}

func (l Line) clean(text string) string {
	for _, form := range l.forms() {
		text = strings.ReplaceAll(text, form, l.Key.String())
	}
	return text
}

// forms are the key as it is, and as JSON may write it.
func (l Line) forms() []string {
	k := l.Key.secret()
	if k == "" {
		return nil
	}
	return []string{k, strings.ReplaceAll(k, "/", `\/`)}
}

// withoutKey takes the key out of a reply that repeats it, and breaks it. Of a
// reply that came in part, the beginning of a key at its end goes, too.
func (l Line) withoutKey(r dialect.Reply) dialect.Reply {
	if k := []byte(l.Key.secret()); len(k) > 0 {
		text := r.Body
		for range 3 { // a text within a text within a reply
			if text = unescaped(text); bytes.Contains(text, k) && !bytes.Contains(r.Body, k) {
				r.Body, r.Broken = nil, "the reply repeats the key in escapes, and is not kept: change it, and find out why"
			}
		}
	}
	for _, form := range l.forms() {
		if bytes.Contains(r.Body, []byte(form)) {
			r.Body = bytes.ReplaceAll(r.Body, []byte(form), []byte(l.Key.String()))
			r.Broken = "the reply repeats the key: change it, and find out why"
		}
		for n := len(form) - 1; n >= minKey && r.Broken != ""; n-- {
			if bytes.HasSuffix(r.Body, []byte(form[:n])) {
				r.Body = r.Body[:len(r.Body)-n]
			}
		}
	}
	return r
}

// unescaped takes JSON's escapes of ASCII out of bytes, wherever they stand.
func unescaped(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		n, c := 1, b[0]
		if c == '\\' && len(b) > 1 {
			n, c = 2, b[1]
			if v, err := strconv.ParseUint(string(b[2:min(6, len(b))]), 16, 7); c == 'u' && len(b) >= 6 && err == nil {
				n, c = 6, byte(v)
			}
		}
		out, b = append(out, c), b[n:]
	}
	return out
}
