package page

import (
	"bytes"
	"context"
	"crypto/subtle"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/patchwrit/patchwrit/refusal/explain"
)

const (
	maxAnswer = 32 << 10 // bytes of a posted answer; one has about 2 KiB
	maxTries  = 5        // answers that do not pass before the page closes
	farewell  = 2 * time.Second
)

// policy is the Content-Security-Policy: the page's own script and style, and
// nothing else from anywhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

//go:embed html
var files embed.FS

var templates = template.Must(template.New("").Funcs(functions).ParseFS(files, "html/*.html"))

// asker is what a page asks: it renders itself and judges answers. Its methods
// are never called at the same time.
type asker interface {
	render(session) (name string, view any)
	receive(answer) (reply, error)
}

// reply is what the page's script reads.
type reply struct {
	Done   bool   `json:"done"`
	Text   string `json:"text"`
	Handle string `json:"handle"`
	Failed bool   `json:"failed"`
}

// session is what a page needs to answer from.
type session struct {
	Token string // of the posting script, against forged requests
}

// server serves one page to one browser for one answer.
type server struct {
	host   string // "localhost:PORT", the only name it answers to
	asker  asker
	ticket string // of the one-time address
	cookie http.Cookie
	token  string
	end    chan error // one word: nil is answered

	mu     sync.Mutex // guards the fields below and the asker
	opened bool
	tries  int
	over   bool
}

// serve shows the asker's page on localhost until it is answered.
func serve(ctx context.Context, port int, open func(string), a asker) error {
	ctx, cancel := context.WithTimeoutCause(ctx, MaxWait, ErrLate)
	defer cancel()
	listeners, err := listen(ctx, port)
	if err != nil {
		return err
	}
	s := newServer(listeners[0].Addr().(*net.TCPAddr).Port, a)
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	for _, l := range listeners {
		go h.Serve(l) // ends with Shutdown or Close, below
	}
	if open != nil {
		open("http://" + s.host + "/open/" + s.ticket)
	}
	select {
	case err = <-s.end:
	case <-ctx.Done():
		err = s.late(context.Cause(ctx))
	}
	bye, stop := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer stop()
	if h.Shutdown(bye) != nil {
		h.Close()
	}
	return err
}

// listen takes the port on every loopback address there is. A port that is only
// half free is refused: the browser might reach whoever holds the other half.
func listen(ctx context.Context, port int) ([]net.Listener, error) {
	var all []net.Listener
	for _, at := range []struct{ network, ip string }{{"tcp4", "127.0.0.1"}, {"tcp6", "::1"}} {
		l, err := new(net.ListenConfig).Listen(ctx, at.network, net.JoinHostPort(at.ip, strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
			continue // this machine has no such loopback address, so nobody else can hold it
		}
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			return nil, fmt.Errorf("port %d of this machine is not free (%w). The key answers only on that port: close the program that uses it, and be wary of it", port, err)
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		return nil, errors.New("this machine has no loopback address")
	}
	return all, nil
}

func newServer(port int, a asker) *server {
	s := &server{
		host: "localhost:" + strconv.Itoa(port), asker: a, end: make(chan error, 1),
		ticket: hex.EncodeToString(random()), token: hex.EncodeToString(random()),
	}
	// Lax, as the first address may be opened from elsewhere (a terminal in a
	// browser); posting is guarded by origin and token besides.
	s.cookie = http.Cookie{Name: "patchwrit-" + strconv.Itoa(port), Value: hex.EncodeToString(random()), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	return s
}

// ServeHTTP guards every request, then finds who answers it.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", policy)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Frame-Options", "DENY")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cache-Control", "no-store")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Permissions-Policy", "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), geolocation=(), microphone=()")
	if r.Host != s.host { // a name somebody made to point at this machine
		http.Error(w, "This page answers to http://"+s.host+" only.", http.StatusMisdirectedRequest)
		return
	}
	if ticket, ok := cutPath(r, "/open/"); ok {
		s.open(w, r, ticket)
		return
	}
	if c, err := r.Cookie(s.cookie.Name); err != nil || !same(c.Value, s.cookie.Value) {
		http.Error(w, "This page belongs to the browser that opened the address the program printed.", http.StatusForbidden)
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /":
		s.show(w)
	case "GET /page.js":
		s.file(w, "html/page.js", "text/javascript; charset=utf-8")
	case "GET /page.css":
		s.file(w, "html/page.css", "text/css; charset=utf-8")
	case "POST /answer":
		s.answer(w, r)
	case "POST /close":
		s.close(w, r)
	default:
		http.Error(w, "There is nothing here.", http.StatusNotFound)
	}
}

func cutPath(r *http.Request, prefix string) (string, bool) {
	if r.Method != http.MethodGet || len(r.URL.Path) <= len(prefix) || r.URL.Path[:len(prefix)] != prefix {
		return "", false
	}
	return r.URL.Path[len(prefix):], true
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// open takes the one-time address and gives its browser the cookie.
func (s *server) open(w http.ResponseWriter, r *http.Request, ticket string) {
	s.mu.Lock()
	first := !s.opened && same(ticket, s.ticket)
	s.opened = s.opened || first
	s.mu.Unlock()
	if c, err := r.Cookie(s.cookie.Name); first {
		http.SetCookie(w, &s.cookie)
	} else if err != nil || !same(c.Value, s.cookie.Value) {
		http.Error(w, "This address was opened before, or is wrong. If it was not you who opened it, stop the program and start again.", http.StatusGone)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *server) show(w http.ResponseWriter) {
	s.mu.Lock()
	name, view := s.asker.render(session{s.token})
	s.mu.Unlock()
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, view); err != nil {
		http.Error(w, "This is a bug: the page could not be written.", http.StatusInternalServerError)
		s.finish(fmt.Errorf("page: this is a bug: %w", err))
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page.Bytes()) // a browser that went away asks again
}

func (s *server) file(w http.ResponseWriter, name, kind string) {
	b, err := files.ReadFile(name)
	if err != nil {
		http.Error(w, "There is nothing here.", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(b) // as above
}

// ours reports whether a post comes from the page's own script.
func (s *server) ours(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return r.Header.Get("Origin") == "http://"+s.host && (site == "" || site == "same-origin") &&
		r.Header.Get("Content-Type") == "application/json" && same(r.Header.Get("X-Patchwrit-Token"), s.token)
}

func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	if !s.ours(r) {
		http.Error(w, "Only the page itself may answer.", http.StatusForbidden)
		return
	}
	var in answer
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAnswer))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		http.Error(w, "The answer is malformed.", http.StatusBadRequest)
		return
	}
	out, end, over := s.judge(in)
	w.Header().Set("Content-Type", "application/json")
	if out.Failed {
		w.WriteHeader(http.StatusUnprocessableEntity)
	}
	_ = json.NewEncoder(w).Encode(out) // the answer counts, whether or not the browser hears of it
	if over {
		s.finish(end)
	}
}

// judge lets the asker look at one answer at a time, and at none after the last.
func (s *server) judge(in answer) (out reply, end error, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return reply{Failed: true, Text: "This page has its answer already."}, nil, false
	}
	out, err := s.asker.receive(in)
	if err != nil {
		s.tries++
		out = reply{Failed: true, Text: explain.Error(err)}
		end = fmt.Errorf("%w; the last: %w", ErrTries, err)
	}
	s.over = out.Done || s.tries >= maxTries
	return out, end, s.over
}

// close is the person's "not now".
func (s *server) close(w http.ResponseWriter, r *http.Request) {
	if !s.ours(r) {
		http.Error(w, "Only the page itself may answer.", http.StatusForbidden)
		return
	}
	s.mu.Lock()
	late := s.over
	s.over = true
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(reply{Done: true, Text: "Closed. Nothing was signed."}) // as in answer
	if !late {
		s.finish(ErrClosed)
	}
}

// late ends the page from outside. An answer that was taken before counts.
func (s *server) late(why error) error {
	s.mu.Lock()
	taken := s.over
	s.over = true
	s.mu.Unlock()
	if taken {
		return <-s.end // whoever set over says the last word
	}
	return why
}

// finish ends the page; the first word counts.
func (s *server) finish(err error) {
	select {
	case s.end <- err:
	default:
	}
}
