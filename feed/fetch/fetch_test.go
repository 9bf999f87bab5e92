package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

var then = time.Date(2026, 9, 21, 14, 0, 0, 0, time.UTC)

// site is a server that a test tells what to do.
type site struct {
	*httptest.Server
	mu   sync.Mutex
	list []string
}

// asked is "Range If-Range If-None-Match" of each request so far.
func (s *site) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

func (s *site) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
}

func serve(t testing.TB, answer func(w http.ResponseWriter, r *http.Request, n int)) *site {
	s := &site{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.list = append(s.list, strings.TrimSpace(r.Header.Get("Range")+" "+r.Header.Get("If-Range")+" "+r.Header.Get("If-None-Match")+r.Header.Get("If-Modified-Since")))
		n := len(s.list)
		s.mu.Unlock()
		answer(w, r, n)
	}))
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	return s
}

// request asks the sites in order, without waiting in real time.
func request(t testing.TB, urls ...string) (Request, *[]time.Duration) {
	slept := &[]time.Duration{}
	return Request{URLs: urls, Partial: filepath.Join(t.TempDir(), "p"), Now: func() time.Time { return then },
		Sleep: func(_ context.Context, d time.Duration) error { *slept = append(*slept, d); return nil }}, slept
}

func fetched(t testing.TB, r Request) (Result, string) {
	t.Helper()
	res, err := Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(r.Partial)
	if err != nil || int64(len(b)) != res.Size {
		t.Fatal(err, len(b), res.Size)
	}
	if _, err := os.Stat(r.Partial + ".note"); err == nil {
		t.Error("the note of a whole file is left")
	}
	return res, string(b)
}

// cut sends headers for the whole and then only a part of it.
func cut(w http.ResponseWriter, whole string, from, to int, tag string) {
	w.Header().Set("ETag", tag)
	if from > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(whole)-1, len(whole)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(whole)-from))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	io.WriteString(w, whole[from:to])
	if to < len(whole) {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

const whole = "0123456789abcdefghijklmnopqrstuvwxyz"

func TestAWholeFile(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Last-Modified", then.Format(http.TimeFormat))
		if r.Header.Get("Accept-Encoding") != "identity" || r.Header.Get("User-Agent") != "patchwrit" {
			t.Error(r.Header)
		}
		io.WriteString(w, whole)
	})
	r, _ := request(t, s.URL+"/f?token=secret")
	var last, total int64
	r.Progress = func(done, of int64) { last, total = done, of }
	res, text := fetched(t, r)
	if text != whole || res.ETag != `"1"` || res.Modified != then.Unix() || res.Source != s.URL+"/f" || res.Address != Address(s.URL+"/f?token=secret") || last != 36 || total != 36 {
		t.Errorf("%q %+v %d/%d", text, res, last, total)
	}
	if Address(s.URL+"/f?token=other") == res.Address || strings.Contains(fmt.Sprint(res), "secret") {
		t.Error(res)
	}
}

func TestNothingNew(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request, _ int) { w.WriteHeader(http.StatusNotModified) })
	r, _ := request(t, s.URL)
	r.Known = Known{Address: Address(s.URL), ETag: `W/"1"`, Modified: then.Unix()}
	res, err := Fetch(t.Context(), r)
	if err != nil || !res.Unchanged || res.File != "" || s.asked()[0] != `W/"1"`+then.Format(http.TimeFormat) {
		t.Errorf("%v %+v %q", err, res, s.asked())
	}
	for name, known := range map[string]Known{"nothing is known": {Address: Address(s.URL)}, "it is another address's": {Address: Address(s.URL + "/other"), ETag: `"1"`}} {
		r.Known = known
		s.forget()
		if _, err := Fetch(t.Context(), r); err == nil || !strings.Contains(err.Error(), "which was not asked") || s.asked()[0] != "" {
			t.Errorf("%s: %v, asked %q", name, err, s.asked())
		}
	}
}

// Each row breaks off after ten bytes, and says what the next answer is.
func TestADownloadThatBrokeOff(t *testing.T) {
	const other = "another file that is longer than the first one was"
	for name, c := range map[string]struct {
		tag    string
		second func(w http.ResponseWriter)
		want   string
		ranges string // what is asked in the second and third request
	}{
		"goes on":                         {`"1"`, func(w http.ResponseWriter) { cut(w, whole, 10, 36, `"1"`) }, whole, `bytes=10- "1"`},
		"the server cannot":               {`"1"`, func(w http.ResponseWriter) { cut(w, whole, 0, 36, `"1"`) }, whole, `bytes=10- "1"`},
		"it changed":                      {`"1"`, func(w http.ResponseWriter) { cut(w, other, 0, len(other), `"2"`) }, other, `bytes=10- "1"`},
		"it changed, not admitted":        {`"1"`, func(w http.ResponseWriter) { cut(w, other, 10, len(other), `"2"`) }, other, `bytes=10- "1"|`},
		"another length":                  {`"1"`, func(w http.ResponseWriter) { cut(w, other, 10, len(other), `"1"`) }, other, `bytes=10- "1"|`},
		"another part":                    {`"1"`, func(w http.ResponseWriter) { cut(w, whole, 12, 36, `"1"`) }, other, `bytes=10- "1"|`},
		"another file of the same length": {`"1"`, func(w http.ResponseWriter) { cut(w, strings.ToUpper(whole), 10, 36, `"2"`) }, other, `bytes=10- "1"|`},
		"the beginning again": {`"1"`, func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 0-25/36")
			w.WriteHeader(http.StatusPartialContent)
			io.WriteString(w, whole[:26])
		}, other, `bytes=10- "1"|`},
		"out of range": {`"1"`, func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		}, other, `bytes=10- "1"|`},
		"weak tag": {`W/"1"`, func(w http.ResponseWriter) { cut(w, other, 0, len(other), `"2"`) }, other, ``},
		"no tag":   {``, func(w http.ResponseWriter) { cut(w, other, 0, len(other), ``) }, other, ``},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, _ *http.Request, n int) {
				switch n {
				case 1:
					cut(w, whole, 0, 10, c.tag)
				case 2:
					c.second(w)
				default:
					cut(w, other, 0, len(other), `"3"`)
				}
			})
			r, _ := request(t, s.URL)
			if _, text := fetched(t, r); text != c.want || strings.Join(s.asked()[1:], "|") != c.ranges {
				t.Errorf("%q, asked %q", text, s.asked())
			}
		})
	}
}

func TestADateThatCanBeTrustedContinues(t *testing.T) {
	for said, want := range map[string]string{then.Format(http.TimeFormat): "bytes=10- " + then.Format(http.TimeFormat), time.Now().UTC().Format(http.TimeFormat): ""} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request, n int) {
			w.Header().Set("Last-Modified", said)
			w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
			if n == 1 {
				w.Header()["Etag"] = nil
				w.Header().Set("Content-Length", "36")
				io.WriteString(w, whole[:10])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			io.WriteString(w, whole)
		})
		r, _ := request(t, s.URL)
		if _, text := fetched(t, r); text != whole || s.asked()[1] != want {
			t.Errorf("%q %q", text, s.asked())
		}
	}
}

func TestTheNextProcessGoesOn(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		if n == 1 {
			cut(w, whole, 0, 10, `"1"`)
		}
		cut(w, whole, 10, 36, `"1"`)
	})
	r, _ := request(t, s.URL)
	r.Tries = 1
	if _, err := Fetch(t.Context(), r); err == nil || !strings.Contains(err.Error(), "it broke off after 10 bytes") {
		t.Fatal(err)
	}
	if _, text := fetched(t, r); text != whole || s.asked()[1] != `bytes=10- "1"` {
		t.Errorf("%q %q", text, s.asked())
	}
	// a mirror is another file until it says the same bytes by itself
	m := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int) { cut(w, whole, 0, 36, `"1"`) })
	r, _ = request(t, s.URL, m.URL)
	r.Tries = 1
	s.forget()
	if res, text := fetched(t, r); text != whole || m.asked()[0] != "" || res.Source != m.URL {
		t.Errorf("%q %q", text, m.asked())
	}
}

func TestWhatIsNoAnswer(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	z.Write(make([]byte, 1<<20))
	z.Close()
	raw := func(text string) func(w http.ResponseWriter, r *http.Request, n int) {
		return func(w http.ResponseWriter, _ *http.Request, _ int) {
			c, b, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			b.WriteString(text)
			b.Flush()
			c.Close()
		}
	}
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request, n int)
		want   string
		asked  int
	}{
		"fewer bytes than announced": {raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"), "broke off after 3 bytes", 4},
		"no end":                     {raw("HTTP/1.0 200 OK\r\n\r\nabc"), "where its answer ends", 1},
		"no length, cut chunks":      {raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), "broke off after 3 bytes", 4},
		"no HTTP":                    {raw("hello"), "malformed", 4},
		"announced too large": {func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Content-Length", "1001")
		}, "larger than the limit: 1001 bytes", 1},
		"too large": {func(w http.ResponseWriter, r *http.Request, _ int) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 500)); err != nil {
					return
				}
				w.(http.Flusher).Flush()
			}
		}, "larger than the limit: more than 1000 bytes", 1},
		"redirect loop": {func(w http.ResponseWriter, r *http.Request, _ int) {
			http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
		}, "more than 5 redirections", 5},
		"packed": {func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb.Bytes())
		}, "packed (Content-Encoding)", 1},
		"not found":  {func(w http.ResponseWriter, r *http.Request, _ int) { http.NotFound(w, r) }, "it answers 404", 1},
		"a part":     {func(w http.ResponseWriter, r *http.Request, _ int) { cut(w, whole, 10, 36, "") }, "a part that was not asked for", 4},
		"broken":     {func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusBadGateway) }, "it answers 502", 4},
		"no content": {func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusNoContent) }, "it answers 204", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.answer)
			r, slept := request(t, s.URL)
			r.Limit = 1000
			res, err := Fetch(t.Context(), r)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(s.asked()) != c.asked {
				t.Errorf("%+v %v, asked %d times", res, err, len(s.asked()))
			}
			if info, err := os.Stat(r.Partial); err == nil && info.Size() > 1000 {
				t.Error("written:", info.Size())
			}
			for i, d := range *slept {
				if want := DefaultWait << i; d != want {
					t.Errorf("wait %d is %s", i, d)
				}
			}
		})
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	for said, want := range map[string]time.Duration{"7": 7 * time.Second, "1": DefaultWait, "": DefaultWait, "nonsense": DefaultWait,
		then.Add(time.Minute).Format(http.TimeFormat): time.Minute, then.Add(-time.Minute).Format(http.TimeFormat): DefaultWait} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request, n int) {
			if n == 1 {
				w.Header().Set("Retry-After", said)
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			io.WriteString(w, whole)
		})
		r, slept := request(t, s.URL)
		if _, text := fetched(t, r); text != whole || len(*slept) != 1 || (*slept)[0] != want {
			t.Errorf("%q: %q, waited %v", said, text, *slept)
		}
	}
	s := serve(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		w.Header().Set("Retry-After", "7200")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	r, slept := request(t, s.URL)
	var later *Later
	if _, err := Fetch(t.Context(), r); !errors.As(err, &later) || !later.Until.Equal(then.Add(2*time.Hour)) || len(*slept) != 0 || len(s.asked()) != 1 {
		t.Error(err, *slept, s.asked())
	}
	m := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int) { io.WriteString(w, whole) })
	r.URLs = append(r.URLs, m.URL)
	if res, text := fetched(t, r); text != whole || res.Source != m.URL {
		t.Error(res)
	}
}

func TestASilentServerIsLeft(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request, n int){
		"no answer": func(_ http.ResponseWriter, r *http.Request, _ int) { <-r.Context().Done() },
		"no more bytes": func(w http.ResponseWriter, r *http.Request, _ int) {
			io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		s := serve(t, answer)
		r, _ := request(t, s.URL)
		r.Stall, r.Tries = 50*time.Millisecond, 2
		if _, err := Fetch(t.Context(), r); err == nil || !strings.Contains(err.Error(), "no byte came for 50ms") || len(s.asked()) != 2 {
			t.Errorf("%s: %v, asked %d times", name, err, len(s.asked()))
		}
		r.Stall, r.Whole = time.Minute, 50*time.Millisecond
		if _, err := Fetch(t.Context(), r); err == nil || !strings.Contains(err.Error(), "not complete after 50ms") {
			t.Errorf("%s: %v", name, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		r.Whole = time.Minute
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err := Fetch(ctx, r); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoCredentialsInWords(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody listens
	for _, u := range []string{"http://user:hunter2@" + l.Addr().String() + "/f?key=hunter2", "http://[hunter2", "ftp://u:hunter2@h/", "hunter2"} {
		r, _ := request(t, u)
		r.Tries = 1
		_, err := Fetch(t.Context(), r)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Error(err)
		}
	}
	if _, err := Fetch(t.Context(), Request{Partial: filepath.Join(t.TempDir(), "p")}); err == nil {
		t.Error("nobody was asked, and it went well")
	}
}

func TestOneFetchAtATime(t *testing.T) {
	r, _ := request(t, "http://127.0.0.1:1/")
	lock, err := os.Create(r.Partial + ".lock")
	if err != nil || unix.Flock(int(lock.Fd()), unix.LOCK_EX) != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := Fetch(t.Context(), r); !errors.Is(err, errBusy) {
		t.Error(err)
	}
}

func TestProxies(t *testing.T) {
	var asked string
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		io.WriteString(w, whole)
	}))
	defer p.Close()
	t.Setenv("NO_PROXY", "internal.example")
	proxy, err := Proxy(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := request(t, "http://feeds.example/f")
	r.Client = NewClient(proxy)
	if _, text := fetched(t, r); text != whole || asked != "http://feeds.example/f" {
		t.Error(text, asked)
	}
	for _, bad := range []string{"proxy:3128", "ftp://p/", "http://", "::"} {
		if _, err := Proxy(bad); err == nil || strings.Contains(err.Error(), "3128") {
			t.Error(bad, err)
		}
	}
	if f, err := Proxy(""); f != nil || err != nil {
		t.Error("the environment's is not the transport's own")
	}
	if f, err := Proxy("none"); err != nil {
		t.Error(err)
	} else if u, err := f(nil); u != nil || err != nil {
		t.Error(u, err)
	}
	for list, want := range map[string]bool{"": false, "*": true, "feeds.example": true, ".example": true, "*.example": true, "example": true, "xample": false,
		"other, feeds.example:443": false, "feeds.example:80": true, "10.0.0.0/8": false} {
		if u, _ := url.Parse("http://feeds.example/f"); excepted(u, list) != want {
			t.Error(list)
		}
	}
	if u, _ := url.Parse("http://10.1.2.3/f"); !excepted(u, "10.0.0.0/8") {
		t.Error("a network is not read")
	}
}

func TestHTTPSDoesNotBecomeHTTP(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, _ *http.Request, _ int) { io.WriteString(w, whole) })
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) }))
	defer s.Close()
	r, _ := request(t, s.URL)
	r.Client = NewClient(nil)
	r.Client.Transport = s.Client().Transport
	if _, err := Fetch(t.Context(), r); err == nil || !strings.Contains(err.Error(), "from https to plain http") || len(plain.asked()) != 0 {
		t.Error(err, plain.asked())
	}
}

// Whatever servers do, a file that is handed out is one whole version.
func TestNoMixtureIsHandedOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 300).Draw(t, "size")
		versions := []string{strings.Repeat("a", size), strings.Repeat("b", size), strings.Repeat("c", size+7)}
		at := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if rapid.IntRange(0, 3).Draw(t, "change") == 0 {
				at = rapid.IntRange(0, 2).Draw(t, "version")
			}
			text, tag, from := versions[at], fmt.Sprintf(`"%d"`, at), 0
			if n, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); n != 1 || err != nil || r.Header.Get("If-Range") != tag || from >= len(text) {
				from = 0
			}
			if rapid.IntRange(0, 5).Draw(t, "mood") == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			cut(w, text, from, rapid.IntRange(from, len(text)).Draw(t, "to"), tag)
		}))
		defer s.Close()
		dir, err := os.MkdirTemp("", "fetch")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		r := Request{URLs: []string{s.URL}, Partial: filepath.Join(dir, "p"), Tries: 3, Sleep: func(context.Context, time.Duration) error { return nil }}
		for range 5 {
			res, err := Fetch(context.Background(), r)
			if err != nil {
				continue
			}
			b, err := os.ReadFile(r.Partial)
			if err != nil {
				t.Fatal(err)
			}
			i := strings.Trim(res.ETag, `"`)
			if n, err := strconv.Atoi(i); err != nil || string(b) != versions[n] {
				t.Fatalf("%s: %q", res.ETag, b)
			}
			return
		}
	})
}
