package post_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/advisor/post"
	"github.com/patchwrit/patchwrit/internal/advisortest"
)

func line(t *testing.T) post.Line {
	k, err := post.KeyOf("a test", advisortest.Secret)
	if err != nil {
		t.Fatal(err)
	}
	return post.Line{Key: k}
}

func TestOneRequestGoesOut(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	s := advisortest.NewStub(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	m := advisortest.Model(dialect.Anthropic, s.URL)
	// A call that a broken decoder made: only its body is taken.
	r := line(t).Send(context.Background(), m, dialect.Call{Method: "DELETE", Path: "/keys", Header: []dialect.Header{{Name: "X-Evil", Value: "1"}}, Body: []byte("body")})
	if r.Status != 200 || string(r.Body) != "hello" || r.Broken != "" {
		t.Fatalf("%+v", r)
	}
	a := s.Asked()
	if len(a) != 1 || a[0].Method != "POST" || a[0].Path != "/v1/messages" || string(a[0].Body) != "body" {
		t.Fatalf("%+v", a)
	}
	want := map[string]string{"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json", "User-Agent": "patchwrit", "Anthropic-Version": "2026-10-21",
		"Authorization": "Bearer " + advisortest.Secret, "Content-Length": "4", "Connection": "close"}
	for name, values := range a[0].Header {
		if want[name] != strings.Join(values, "|") {
			t.Errorf("header %s: %q", name, values)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("not sent: %v", want)
	}
	if (post.Line{}).Send(context.Background(), m, dialect.Call{}); s.Asked()[1].Header.Get("Authorization") != "" {
		t.Error("a key out of nothing")
	}
}

func TestWhatDoesNotComeWhole(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	for name, x := range map[string]struct {
		answer http.HandlerFunc
		status int
		broken string
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}, 307, ""},
		"endless": {func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 2048)) }, 200, "more than 1024 bytes"},
		"slow":    {func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); <-r.Context().Done() }, 200, "within 1 seconds"},
		"silent":  {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 0, "within 1 seconds"},
		"half": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "9")
			w.Write([]byte("half"))
		}, 200, "no whole reply"},
		"gone": {func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, 0, "no whole reply"},
		"packed": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write([]byte("x"))
		}, 200, "packed"},
		"a large header": {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<17)) }, 0, "no whole reply"},
		"the key": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"error":"bad key %s"}`, r.Header.Get("Authorization"))
		}, 200, "repeats the key"},
		"the key, escaped": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, strings.ReplaceAll(r.Header.Get("Authorization"), "/", `\/`))
		}, 200, "repeats the key"},
		"the key, in escapes": {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, escapes(1)) }, 200, "repeats the key"},
		"in escapes, twice":   {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{"+escapes(2)) }, 200, "repeats the key"},
		"half a key": {func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, strings.Repeat("x", 1024-12)+advisortest.Secret)
		}, 200, "more than 1024"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := advisortest.NewStub(t, x.answer)
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			m := advisortest.Model(dialect.Chat, s.URL)
			m.MaxBytes, m.Seconds = 1024, 1
			if x.broken != "within 1 seconds" {
				m.Seconds = 20
			}
			r := line(t).Send(context.Background(), m, dialect.Call{Body: []byte("body")})
			if r.Status != x.status || (x.broken == "") != (r.Broken == "") || !strings.Contains(r.Broken, x.broken) || len(r.Body) > 1024 {
				t.Errorf("%+v", r)
			}
			if n := len(s.Asked()); n != 1 {
				t.Errorf("it was sent %d times", n)
			}
			for _, part := range []string{advisortest.Secret, advisortest.Secret[:12], strings.ReplaceAll(advisortest.Secret, "/", `\/`), escapes(1)[:24], escapes(2)[:24]} {
				if bytes.Contains(r.Body, []byte(part)) || strings.Contains(r.Broken, part) {
					t.Errorf("the key is handed on: %q %q", r.Body, r.Broken)
				}
			}
		})
	}
	t.Cleanup(func() {
		if elsewhere.Load() > 0 {
			t.Error("a redirect was followed")
		}
	})
}

// escapes are the key as JSON may write it, with more or fewer backslashes.
func escapes(deep int) (s string) {
	for _, c := range []byte(advisortest.Secret) {
		s += fmt.Sprintf(`%su%04X`, strings.Repeat(`\`, deep), c)
	}
	return s
}

func TestOnlyTheNamedHost(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	pool, err := post.PoolOf(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := post.PoolOf([]byte("x")); err == nil {
		t.Error("no certificate is one")
	}
	l := line(t)
	m := advisortest.Model(dialect.Chat, s.URL)
	if r := l.Send(context.Background(), m, dialect.Call{}); r.Status != 0 || !strings.Contains(r.Broken, "certificate") {
		t.Errorf("an unknown certificate: %+v", r)
	}
	l.CA = pool
	if r := l.Send(context.Background(), m, dialect.Call{}); string(r.Body) != "hello" {
		t.Errorf("%+v", r)
	}
	// A proxy that leads another name there: the name must be in the certificate.
	proxy := tunnel(t, s.Listener.Addr().String())
	l.Proxy = "http://" + proxy
	for endpoint, want := range map[string]string{"https://example.com/v1": "hello", "https://evil.test/v1": ""} { // httptest's certificate is for example.com
		m.Endpoint = endpoint
		if r := l.Send(context.Background(), m, dialect.Call{}); string(r.Body) != want || (want == "") != (r.Broken != "") {
			t.Errorf("%s: %+v", endpoint, r)
		}
	}
	m.Endpoint = "http://127.0.0.1:1/v1"
	if r := l.Send(context.Background(), m, dialect.Call{}); !strings.Contains(r.Broken, "through a proxy") {
		t.Errorf("in the clear through a proxy: %+v", r)
	}
	m.Endpoint = "http://192.0.2.1/v1"
	if r := l.Send(context.Background(), m, dialect.Call{}); !strings.Contains(r.Broken, "nothing was sent") {
		t.Errorf("in the clear: %+v", r)
	}
	m = advisortest.Model(dialect.Hostile, "")
	if r := l.Send(context.Background(), m, dialect.Call{}); !strings.Contains(r.Broken, "nothing was sent") {
		t.Errorf("nobody: %+v", r)
	}
}

// tunnel is a proxy whose every CONNECT leads to one address.
func tunnel(t *testing.T, to string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get("Authorization") != "" {
			t.Errorf("the proxy is asked %s %v", r.Method, r.Header)
		}
		there, err := net.Dial("tcp", to)
		if err != nil {
			t.Error(err)
			return
		}
		w.WriteHeader(200)
		here, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		go func() { io.Copy(there, here); there.Close() }()
		io.Copy(here, there)
		here.Close()
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestKeysAreNotSeen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	write := func(text string, mode os.FileMode) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(advisortest.Secret+"\n", 0o600)
	k, err := post.ReadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(struct{ L post.Line }{post.Line{Key: k}})
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%X", "%p"} {
		asJSON = fmt.Appendf(asJSON, " "+verb+" "+verb+" "+verb, k, &k, post.Line{Key: k})
	}
	if hex := fmt.Sprintf("%x", advisortest.Secret); bytes.Contains(asJSON, []byte("CANARY")) || bytes.Contains(asJSON, []byte(hex)) || !bytes.Contains(asJSON, []byte("[key]")) {
		t.Errorf("the key is seen: %s", asJSON)
	}
	if _, err := post.ReadKey(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key file that is not there: %v", err)
	}
	if s := fmt.Sprint(post.Key{}); s != "[no key]" {
		t.Error(s)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o777} {
		write(advisortest.Secret, mode)
		if _, err := post.ReadKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("%v: %v", mode, err)
		}
	}
	for name, text := range map[string]string{"empty": "", "short": "1234567", "two lines": advisortest.Secret + "\n" + advisortest.Secret, "a space": "CANARY CANARY", "a quote": `CANARY"CANARY`, "a header": "CANARYCANARY\r\nX-Evil: 1",
		"long": strings.Repeat("CANARY", 1000), "no ASCII": "CANARYCANARÝ", "a backslash": `CANARY\CANARY`} {
		write(text, 0o600)
		if _, err := post.ReadKey(path); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := post.ReadKey(dir); err == nil {
		t.Error("a directory is a key")
	}
	if _, err := post.ReadKey(filepath.Join(dir, "none")); err == nil {
		t.Error("nothing is a key")
	}
}

func TestWhoStopsWaitingIsHeard(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := advisortest.NewStub(t, func(w http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	start := time.Now()
	if r := line(t).Send(ctx, advisortest.Model(dialect.Chat, s.URL), dialect.Call{}); r.Broken == "" || time.Since(start) > 10*time.Second {
		t.Errorf("%+v after %s", r, time.Since(start))
	}
}
