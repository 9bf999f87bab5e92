package page

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/identity/softkey"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

const port = 8444 // of the house's passkeys; the tests here open no socket on it

// asking is a page over the subject for the house's first person.
func asking(h trusttest.House, subject Subject) *answering {
	return &answering{Options: Options{
		Root: h.Root, Subject: subject, Kinds: subject.kinds, Person: h.People[0].ID,
		Passkey: Passkey{Credential: h.People[0].PasskeyCredential(), Handle: "aGFuZGxl"}, Now: func() time.Time { return now },
	}}
}

func rendered(t testing.TB, h trusttest.House, subject Subject) string {
	t.Helper()
	name, view := asking(h, subject).render(session{"token"})
	var b bytes.Buffer
	must(t, templates.ExecuteTemplate(&b, name, view))
	return b.String()
}

// visit is one request as the right browser makes it.
func (s *server) visit(method, path, body string, edit func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://"+s.host+path, strings.NewReader(body))
	r.AddCookie(&s.cookie)
	if method == http.MethodPost {
		r.Header.Set("Origin", "http://"+s.host)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Patchwrit-Token", s.token)
	}
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func planPage(t *testing.T, h trusttest.House) (*server, *answering) {
	t.Helper()
	header, branches := newPlan(t, h, "a note")
	subject, err := OfPlan(h.Root, header, branches)
	must(t, err)
	a := asking(h, subject)
	return newServer(port, a), a
}

// posted is a right answer as the page's script sends it.
func posted(t *testing.T, h trusttest.House, kind approval.Kind, statement []byte) string {
	t.Helper()
	p := h.People[0]
	s := approval.Statement{Kind: kind, Bytes: statement}
	a, err := softkey.Passkey(h.Root, p.Passkey, p.PasskeyCredential(), s, now.Unix())
	must(t, err)
	b, err := json.Marshal(answer{Step: "answer", Kind: kind, Signature: a.Signature, Authenticator: a.Authenticator, Client: a.Client})
	must(t, err)
	return string(b)
}

func TestAddressWorksOnce(t *testing.T) {
	s, _ := planPage(t, house())
	bare := func(r *http.Request) { r.Header.Del("Cookie") }
	if w := s.visit("GET", "/open/"+strings.Repeat("0", 64), "", bare); w.Code != http.StatusGone {
		t.Errorf("a guessed address: %d", w.Code)
	}
	if w := s.visit("GET", "/", "", bare); w.Code != http.StatusForbidden {
		t.Errorf("without address: %d", w.Code)
	}
	first := s.visit("GET", "/open/"+s.ticket, "", bare)
	if c := first.Result().Cookies(); first.Code != http.StatusSeeOther || len(c) != 1 || !c[0].HttpOnly || c[0].Value != s.cookie.Value {
		t.Fatalf("%d %v", first.Code, first.Header())
	}
	if w := s.visit("GET", "/open/"+s.ticket, "", bare); w.Code != http.StatusGone || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("a second time, by another browser: %d", w.Code)
	}
	if w := s.visit("GET", "/open/"+s.ticket, "", nil); w.Code != http.StatusSeeOther {
		t.Errorf("a second time, by the same browser: %d", w.Code)
	}
	if w := s.visit("GET", "/", "", nil); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Do you permit this plan?") {
		t.Errorf("with the cookie: %d", w.Code)
	}
}

func TestGuards(t *testing.T) {
	h := house()
	s, a := planPage(t, h)
	right := posted(t, h, approval.Approve, a.Subject.bytes)
	set := func(key, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(key, value) }
	}
	for _, c := range []struct {
		name, method, path string
		code               int
		edit               func(*http.Request)
	}{
		{"rebound name", "GET", "/", 421, func(r *http.Request) { r.Host = "evil.example:8444" }},
		{"rebound name, one-time address", "GET", "/open/" + s.ticket, 421, func(r *http.Request) { r.Host = "evil.example" }},
		{"by number", "GET", "/", 421, func(r *http.Request) { r.Host = "127.0.0.1:8444" }},
		{"another port", "GET", "/", 421, func(r *http.Request) { r.Host = "localhost:80" }},
		{"rebound name, answer", "POST", "/answer", 421, func(r *http.Request) { r.Host = "evil.example:8444" }},
		{"no cookie", "POST", "/answer", 403, func(r *http.Request) { r.Header.Del("Cookie") }},
		{"wrong cookie", "GET", "/page.js", 403, set("Cookie", s.cookie.Name+"=0")},
		{"another origin", "POST", "/answer", 403, set("Origin", "http://localhost:9999")},
		{"no origin", "POST", "/answer", 403, func(r *http.Request) { r.Header.Del("Origin") }},
		{"null origin", "POST", "/answer", 403, set("Origin", "null")},
		{"from another site", "POST", "/answer", 403, set("Sec-Fetch-Site", "same-site")},
		{"as a form", "POST", "/answer", 403, set("Content-Type", "text/plain")},
		{"no token", "POST", "/answer", 403, func(r *http.Request) { r.Header.Del("X-Patchwrit-Token") }},
		{"wrong token", "POST", "/answer", 403, set("X-Patchwrit-Token", s.ticket)},
		{"close from another origin", "POST", "/close", 403, set("Origin", "https://evil.example")},
		{"answer by GET", "GET", "/answer", 404, nil},
		{"unknown path", "GET", "/etc/passwd", 404, nil},
		{"a template", "GET", "/html/answer.html", 404, nil},
	} {
		body := ""
		if c.method == "POST" {
			body = right
		}
		if w := s.visit(c.method, c.path, body, c.edit); w.Code != c.code {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.code)
		}
		if s.over || s.tries > 0 || s.opened {
			t.Fatalf("%s: had an effect", c.name)
		}
	}
	if w := s.visit("POST", "/answer", right, nil); w.Code != http.StatusOK || a.given.Kind != approval.Approve {
		t.Errorf("the right answer: %d %s", w.Code, w.Body)
	}
}

func TestHeadersOnEveryResponse(t *testing.T) {
	s, _ := planPage(t, house())
	for _, path := range []string{"/", "/page.js", "/page.css", "/none", "/open/x"} {
		for _, host := range []string{s.host, "evil.example"} {
			head := s.visit("GET", path, "", func(r *http.Request) { r.Host = host }).Header()
			for key, part := range map[string]string{
				"Content-Security-Policy": "default-src 'none'", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
				"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			} {
				if !strings.Contains(head.Get(key), part) {
					t.Errorf("%s on %s: %s is %q", path, host, key, head.Get(key))
				}
			}
			if head.Get("Access-Control-Allow-Origin") != "" || strings.Contains(head.Get("Content-Security-Policy"), "unsafe") {
				t.Errorf("%s: open to others: %v", path, head)
			}
		}
	}
}

func TestOnlyOwnScript(t *testing.T) {
	s, _ := planPage(t, house())
	html := s.visit("GET", "/", "", nil).Body.String()
	if got := regexp.MustCompile(`(?i)<script[^>]*>`).FindAllString(html, -1); len(got) != 1 || got[0] != `<script src="/page.js" defer>` {
		t.Errorf("scripts: %q", got)
	}
	if m := regexp.MustCompile(`(?i)(https?:)?//[a-z]|\son[a-z]+=|style=|<img|<iframe|<form|javascript:`).FindString(html); m != "" {
		t.Errorf("the page holds %q", m)
	}
	for _, f := range []string{"/page.js", "/page.css"} {
		if m := regexp.MustCompile(`https?://|@import|\burl\(|\beval\b|innerHTML`).FindString(s.visit("GET", f, "", nil).Body.String()); m != "" {
			t.Errorf("%s holds %q", f, m)
		}
	}
}

// TestHostileText: whatever a plan's author or an explanation says stays text.
func TestHostileText(t *testing.T) {
	h := house()
	hostile := "</dd><script>alert(1)</script>\"'><img src=x onerror=alert(1)> {{.Token}} \u202egnp.exe\u200b\x07 <!-- "
	header, branches := newPlan(t, h, hostile)
	subject, err := OfPlan(h.Root, header, branches)
	must(t, err)
	a := asking(h, subject)
	a.Explain = []Note{{Heading: hostile, Lines: []string{hostile, "https://evil.example/"}}}
	s := newServer(port, a)
	html := s.visit("GET", "/", "", nil).Body.String()
	for _, bad := range []string{"<script>", "<img", "<!-- ", "\u202e", "\u200b", "\x07", "{{"} {
		if bad == "{{" { // stands as text, and is not run
			if strings.Count(html, s.token) != 1 {
				t.Error("a template in the text was run")
			}
			continue
		}
		if strings.Contains(html, bad) {
			t.Errorf("%q came through", bad)
		}
	}
	if !strings.Contains(html, `\u202egnp.exe\u200b\a`) {
		t.Error("invisible characters are not made visible")
	}
}

func TestAnswers(t *testing.T) {
	h := house()
	for _, kind := range []approval.Kind{approval.Approve, approval.Deny} {
		s, a := planPage(t, h)
		w := s.visit("POST", "/answer", posted(t, h, kind, a.Subject.bytes), nil)
		var r reply
		must(t, json.Unmarshal(w.Body.Bytes(), &r))
		if w.Code != 200 || !r.Done || a.given.Kind != kind || a.given.At != now.Unix() {
			t.Errorf("%s: %d %+v", kind, w.Code, r)
		}
		must(t, <-s.end)
		if _, _, err := approval.Check(h.Root, approval.Statement{Kind: kind, Bytes: a.Subject.bytes}, a.given); err != nil {
			t.Error(err)
		}
		w = s.visit("POST", "/answer", posted(t, h, approval.Deny, a.Subject.bytes), nil)
		if w.Code != http.StatusUnprocessableEntity || a.given.Kind != kind {
			t.Errorf("a second answer: %d, now %s", w.Code, a.given.Kind)
		}
	}
}

func TestAnswersThatDoNotPass(t *testing.T) {
	h := house()
	s, a := planPage(t, h)
	other, _ := newPlan(t, h, "another plan")
	for i, c := range []struct{ name, body, says string }{
		{"of another plan", posted(t, h, approval.Approve, other.Bytes()), "PW-APPROVAL-CHALLENGE"},
		{"a no sent as a yes", strings.Replace(posted(t, h, approval.Deny, a.Subject.bytes), `"deny"`, `"approve"`, 1), "PW-APPROVAL-CHALLENGE"},
		{"not offered", posted(t, h, approval.Stop, a.Subject.bytes), "does not offer"},
		{"a registration's step", strings.Replace(posted(t, h, approval.Approve, a.Subject.bytes), `"answer"`, `"create"`, 1), "does not offer"},
		{"nothing", `{"step":"answer","kind":"approve"}`, "PW-APPROVAL-FORM"},
	} {
		if s.over {
			t.Fatalf("%s: the page is over after %d tries", c.name, i)
		}
		w := s.visit("POST", "/answer", c.body, nil)
		if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
	if err := <-s.end; !errors.Is(err, ErrTries) || refusal.CodeOf(err) != "PW-APPROVAL-FORM" || a.given.Kind != "" {
		t.Errorf("after %d tries: %v, %+v", s.tries, err, a.given)
	}
	w := s.visit("POST", "/answer", posted(t, h, approval.Approve, a.Subject.bytes), nil)
	if w.Code != http.StatusUnprocessableEntity || a.given.Kind != "" {
		t.Error("a page that is over took an answer")
	}
}

// TestOneAnswerCounts: of many right answers at the same moment one is taken,
// and an end that comes afterwards does not take it away.
func TestOneAnswerCounts(t *testing.T) {
	h := house()
	s, a := planPage(t, h)
	body := posted(t, h, approval.Approve, a.Subject.bytes)
	codes := make(chan int)
	for range 20 {
		go func() { codes <- s.visit("POST", "/answer", body, nil).Code }()
	}
	count := map[int]int{}
	for range 20 {
		count[<-codes]++
	}
	if count[200] != 1 || count[422] != 19 {
		t.Errorf("codes: %v", count)
	}
	if err := s.late(ErrLate); err != nil {
		t.Errorf("an answered page ends with %v", err)
	}
	s, a = planPage(t, h)
	if err := s.late(ErrLate); !errors.Is(err, ErrLate) {
		t.Error(err)
	}
	if w := s.visit("POST", "/answer", body, nil); w.Code != 422 || a.given.Type != "" {
		t.Errorf("an answer after the end: %d", w.Code)
	}
}

func TestMalformedAnswersDoNotCount(t *testing.T) {
	s, _ := planPage(t, house())
	for name, body := range map[string]string{"empty": "", "no JSON": "x", "unknown field": `{"step":"answer","x":1}`, "large": `{"step":"` + strings.Repeat("x", 33<<10) + `"}`} {
		if w := s.visit("POST", "/answer", body, nil); w.Code != http.StatusBadRequest || s.tries > 0 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

func TestClosing(t *testing.T) {
	s, a := planPage(t, house())
	if w := s.visit("POST", "/close", "{}", nil); w.Code != 200 {
		t.Error(w.Code)
	}
	if err := <-s.end; !errors.Is(err, ErrClosed) || a.given.Kind != "" {
		t.Error(err)
	}
}

func TestSubjectsAreChecked(t *testing.T) {
	h := house()
	header, branches := newPlan(t, h, "")
	fewer := branches[:3]
	if _, err := OfPlan(h.Root, header, fewer); !errors.Is(err, plan.ErrForm) {
		t.Errorf("a branch left out: %v", err)
	}
	changed := append([]plan.Branch{}, branches...)
	changed[0].Network = !changed[0].Network
	if _, err := OfPlan(h.Root, header, changed); !errors.Is(err, plan.ErrForm) {
		t.Errorf("a branch changed: %v", err)
	}
	header.Author = "jürgen"
	if _, err := OfPlan(h.Root, header, branches); !errors.Is(err, canon.ErrForm) {
		t.Errorf("not canonical: %v", err)
	}
	if _, err := OfPlan(h.Root, header, make([]plan.Branch, maxBranches+1)); !errors.Is(err, ErrLarge) {
		t.Error(err)
	}
	if _, err := OfGrant(h.Root, approval.Grant{}); refusal.CodeOf(err) != "PW-GRANT-FORM" {
		t.Error(err)
	}
	if _, err := OfHalt(h.Root, approval.Halt{}); refusal.CodeOf(err) != "PW-HALT-FORM" {
		t.Error(err)
	}
}

// TestTooManyRows: hosts to which the same happens are one group; many that
// differ are too many for a page.
func TestTooManyRows(t *testing.T) {
	h := house()
	build := func(differ bool) error {
		header, _ := newPlan(t, h, "")
		branches := []plan.Branch{}
		for i := range 2_501 {
			b := branch(canon.Digest(fmt.Sprintf("%064x", i)), 0)
			if differ {
				b.Changes[0].Artefact = artefact(fmt.Sprint(i))
			}
			branches = append(branches, b)
		}
		leaves := [][]byte{}
		for _, b := range branches {
			leaves = append(leaves, b.Bytes())
		}
		var err error
		header.Tree, err = whole.Tree(leaves)
		must(t, err)
		header.Leaves, header.Class = len(branches), change.Sensitive
		header.Waves = []plan.Wave{{NotBefore: 1, Hosts: len(branches), Good: 1}}
		_, err = OfPlan(h.Root, header, branches)
		return err
	}
	if err := build(false); err != nil {
		t.Error(err)
	}
	if err := build(true); !errors.Is(err, ErrLarge) {
		t.Error(err)
	}
}

func grantAndHalt(h trusttest.House) (approval.Grant, approval.Halt) {
	scope := trust.Scope{Hosts: []trust.HostID{}, Domains: []string{"a"}, Labels: []trust.Label{{Key: "env", Value: "none"}}}
	nonce := strings.Repeat("0f", 32)
	return approval.Grant{
			Type: approval.TypeGrant, Nonce: nonce, Author: "p-002", Created: now.Unix(), Expires: now.Unix() + 30*86400, Scope: scope,
			Packages: []string{"curl", "libcurl4"}, Origins: []change.Origin{"debian-security"}, Ceiling: change.Sensitive, Soak: 86400,
			Slots: []approval.Slot{{Domain: "a", After: 7200}}, Budget: 20, Note: "nightly",
		}, approval.Halt{
			Type: approval.TypeHalt, Nonce: nonce, Author: "p-001", From: now.Unix(), Until: now.Unix() + 7200, Scope: scope, Note: "strange logins",
		}
}

func TestGrantsAndHaltsAreShown(t *testing.T) {
	h := house()
	g, halt := grantAndHalt(h)
	subject, err := OfGrant(h.Root, g)
	must(t, err)
	html := rendered(t, h, subject)
	for _, want := range []string{"Do you lend this autonomy?", string(g.Statement(approval.Allow).Digest()), "curl", "libcurl4", "debian-security", "sensitive", "(86400 s)",
		"fault domain a: 2 h", "20 changes in 24 hours", "label env = none", "nightly", "2 hosts", "Sign this grant", "Revoke this grant"} {
		if !strings.Contains(html, want) {
			t.Errorf("grant: %q is not on the page", want)
		}
	}
	subject, err = OfHalt(h.Root, halt)
	must(t, err)
	html = rendered(t, h, subject)
	for _, want := range []string{string(halt.Statement(approval.Stop).Digest()), "in 2 h", "fault domain a", "strange logins", "2 hosts", "Lift this halt"} {
		if !strings.Contains(html, want) {
			t.Errorf("halt: %q is not on the page", want)
		}
	}
}

func TestWhoseKeyAndWhichPage(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	console, err := ceremony.FromWebAuthn(&key.PublicKey, "console.example", "https://console.example:8443")
	must(t, err)
	h := house(console)
	header, branches := newPlan(t, h, "")
	subject, err := OfPlan(h.Root, header, branches)
	must(t, err)
	right := asking(h, subject).Options
	if p, err := right.port(); err != nil || p != port {
		t.Errorf("%d, %v", p, err)
	}
	for name, edit := range map[string]func(*Options){
		"somebody else's": func(o *Options) { o.Passkey.Credential = h.People[1].PasskeyCredential() },
		"an ssh key":      func(o *Options) { o.Passkey.Credential = h.People[0].SSHCredential() },
		"the console's":   func(o *Options) { o.Passkey.Credential = console },
		"unknown":         func(o *Options) { o.Passkey.Credential.Public = "04" },
		"no answers":      func(o *Options) { o.Kinds = nil },
		"answers of other things": func(o *Options) {
			o.Kinds = []approval.Kind{approval.Approve, approval.Stop}
		},
		"nothing to show": func(o *Options) { o.Subject = Subject{} },
	} {
		o := right
		o.Open = func(string) { t.Errorf("%s: a page was opened", name) }
		edit(&o)
		if _, err := Approve(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestClosedAndLateApprovals: a page that ends without an answer gives none.
func TestClosedAndLateApprovals(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c, err := ceremony.FromWebAuthn(&key.PublicKey, RelyingParty, fmt.Sprintf("http://localhost:%d", free(t)))
	must(t, err)
	h := house(c)
	header, branches := newPlan(t, h, "")
	subject, err := OfPlan(h.Root, header, branches)
	must(t, err)
	o := asking(h, subject).Options
	o.Passkey.Credential = c
	o.Open = func(address string) { closeBy(t, address) }
	if a, err := Approve(t.Context(), o); !errors.Is(err, ErrClosed) || a.Type != "" {
		t.Errorf("closed: %+v, %v", a, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Open = func(string) { cancel() }
	if a, err := Approve(ctx, o); !errors.Is(err, context.Canceled) || a.Type != "" {
		t.Errorf("cancelled: %+v, %v", a, err)
	}
}

func free(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestListensOnLoopbackOnly opens a real page and looks for it on every address
// of this machine.
func TestListensOnLoopbackOnly(t *testing.T) {
	p, ctx := free(t), t.Context()
	opened := false
	_, err := Register(ctx, Registering{Person: "p-001", Port: p, Open: func(address string) {
		opened = true
		addresses, err := net.InterfaceAddrs()
		must(t, err)
		for _, a := range addresses {
			ip := a.(*net.IPNet).IP
			if ip.To4() == nil && ip.IsLinkLocalUnicast() {
				continue
			}
			c, err := net.DialTimeout("tcp", net.JoinHostPort(ip.String(), fmt.Sprint(p)), time.Second)
			if reached := err == nil; reached != ip.IsLoopback() {
				t.Errorf("%s: reached %v", ip, reached)
			} else if reached {
				c.Close()
			}
		}
		closeBy(t, address)
	}})
	if !errors.Is(err, ErrClosed) || !opened {
		t.Errorf("opened %v, %v", opened, err)
	}
	if _, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", p), time.Second); err == nil {
		t.Error("the page still listens after its end")
	}
}

// closeBy presses "close" the way the page's script does.
func closeBy(t *testing.T, address string) {
	t.Helper()
	jar := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	first, err := jar.Get(address)
	must(t, err)
	first.Body.Close()
	base := address[:strings.Index(address, "/open/")]
	get, err := http.NewRequest("GET", base+"/", nil)
	must(t, err)
	get.AddCookie(first.Cookies()[0])
	page, err := jar.Do(get)
	must(t, err)
	html, err := io.ReadAll(page.Body)
	must(t, err)
	page.Body.Close()
	post, err := http.NewRequest("POST", base+"/close", strings.NewReader("{}"))
	must(t, err)
	post.AddCookie(first.Cookies()[0])
	post.Header.Set("Origin", base)
	post.Header.Set("Content-Type", "application/json")
	post.Header.Set("X-Patchwrit-Token", regexp.MustCompile(`data-token="([0-9a-f]{64})"`).FindStringSubmatch(string(html))[1])
	done, err := jar.Do(post)
	must(t, err)
	done.Body.Close()
}

func TestPortInOtherHands(t *testing.T) {
	for _, at := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(at, "0"))
		if err != nil {
			t.Skipf("no %s here: %v", at, err)
		}
		defer l.Close()
		_, err = Register(t.Context(), Registering{Person: "p-001", Port: l.Addr().(*net.TCPAddr).Port, Open: func(string) { t.Error("opened") }})
		if err == nil || !strings.Contains(err.Error(), "not free") {
			t.Errorf("%s: %v", at, err)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Register(ctx, Registering{Person: "p-001", Port: free(t)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestRegisteringProvesTheKey(t *testing.T) {
	h := house()
	p := h.People[0]
	spki := spkiOf(t, p.Passkey)
	created := func(edit func(*answer)) string {
		in := answer{Step: "create", Handle: "aGFuZGxl", Public: spki, Algorithm: -7}
		if edit != nil {
			edit(&in)
		}
		b, err := json.Marshal(in)
		must(t, err)
		return string(b)
	}
	fresh := func() (*server, *registering) {
		g := &registering{Registering: Registering{Person: p.ID, Port: port}, nonce: random(), user: random()}
		return newServer(port, g), g
	}
	for name, body := range map[string]string{
		"RS256":        created(func(a *answer) { a.Algorithm = -257 }),
		"no key":       created(func(a *answer) { a.Public = "" }),
		"no SPKI":      created(func(a *answer) { a.Public = "AAAA" }),
		"another key":  created(func(a *answer) { a.Public = ed25519SPKI }),
		"no handle":    created(func(a *answer) { a.Handle = "" }),
		"long handle":  created(func(a *answer) { a.Handle = strings.Repeat("A", 1400) }),
		"odd handle":   created(func(a *answer) { a.Handle = "a b" }),
		"a step ahead": created(func(a *answer) { a.Step = "prove" }),
		"an answer":    created(func(a *answer) { a.Step = "answer" }),
	} {
		s, g := fresh()
		if w := s.visit("POST", "/answer", body, nil); w.Code != http.StatusUnprocessableEntity || g.made.Credential.ID != "" {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	s, g := fresh()
	if w := s.visit("POST", "/answer", created(nil), nil); w.Code != 200 || s.over {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	proof := func(nonce []byte) string {
		return string(must2(t)(json.Marshal(softAnswer(t, p, approval.Statement{Kind: "register", Bytes: nonce}))))
	}
	if w := s.visit("POST", "/answer", proof(random()), nil); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("a proof over something else: %d", w.Code)
	}
	if w := s.visit("POST", "/answer", proof(g.nonce), nil); w.Code != 200 || !s.over {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	must(t, <-s.end)
	want := p.PasskeyCredential()
	if got := g.made; fmt.Sprint(got.Credential) != fmt.Sprint(want) || got.Handle != "aGFuZGxl" {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestKeeping(t *testing.T) {
	h := house()
	path := filepath.Join(t.TempDir(), "deep", "passkeys.json")
	if all, err := Kept(path); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	keep := func(n int, handle string) {
		must(t, Keep(path, Passkey{Credential: h.People[n].PasskeyCredential(), Handle: handle}))
	}
	keep(0, "b25l")
	keep(1, "dHdv")
	keep(0, "bmV3")
	all, err := Kept(path)
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	if got, err := Choose(h.Root, "p-001", all); err != nil || got.Handle != "bmV3" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, who := range []trust.PersonID{"p-003", "p-999"} {
		if _, err := Choose(h.Root, who, all); err == nil {
			t.Errorf("%s has a passkey here", who)
		}
	}
	if _, err := Choose(trust.Root{}, "p-001", all); err == nil {
		t.Error("chosen without a roster")
	}
	must(t, writeFile(path, []byte(`{"passkeys":[],"type":"patchwrit/passkeys/v9"}`)))
	if _, err := Kept(path); err == nil {
		t.Error("another version is read")
	}
	must(t, writeFile(path, make([]byte, maxKept+1)))
	if _, err := Kept(path); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a large file: %v", err)
	}
	if err := Keep(path, all[0]); err == nil {
		t.Error("kept over a file that cannot be read")
	}
	blocked := filepath.Join(path, "passkeys.json") // below a file
	if err := Keep(blocked, all[0]); err == nil {
		t.Error("kept where nothing can be kept")
	}
}

func softAnswer(t *testing.T, p trusttest.Person, s approval.Statement) answer {
	t.Helper()
	a, err := softkey.Assert(p.Passkey, p.PasskeyCredential(), s)
	must(t, err)
	return answer{Step: "prove", Signature: a.Signature, Authenticator: a.Authenticator, Client: a.Client}
}

// ed25519SPKI is the public key of RFC 8410 §10.1.
var ed25519SPKI = base64.StdEncoding.EncodeToString(append([]byte{0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00}, make([]byte, 32)...))
