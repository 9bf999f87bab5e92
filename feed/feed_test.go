package feed

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
)

var at = Options{Now: time.Unix(1_790_000_000, 0)}

func rec(id string) string {
	return fmt.Sprintf(`{"id":%q,"modified":"2026-01-02T03:04:05Z","affected":[{"package":{"ecosystem":"Debian:12","name":"a"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1"}]}]}]}`, id)
}

// zipped makes a zip of name, content, name, content …
func zipped(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i])
		if err == nil {
			_, err = w.Write([]byte(files[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func put(t testing.TB, dir, name string, raw []byte) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, raw, 0o644)); err != nil {
		t.Fatal(err)
	}
	return p
}

func ids(s advisory.Set) string {
	var out []string
	for _, a := range s.Advisories {
		out = append(out, a.ID)
	}
	return strings.Join(out, " ")
}

func read(t testing.TB, source string, o Options) advisory.Set {
	t.Helper()
	s, err := Read(t.Context(), source, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve answers every request with body and counts the requests.
func serve(t testing.TB, body func(w http.ResponseWriter, r *http.Request)) (string, *int) {
	n := new(int)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { *n++; body(w, r) }))
	t.Cleanup(s.Close)
	return s.URL + "/all.zip", n
}

func TestOneFeedInFourShapes(t *testing.T) {
	dir := t.TempDir()
	all := zipped(t, "sub/b.json", rec("B"), "a.json", rec("A"), "README.md", "no record", "sub/", "")
	file := put(t, dir, "one.json", []byte(rec("A")))
	packed := put(t, dir, "all.zip", all)
	put(t, dir, "d/a.json", []byte(rec("A")))
	put(t, dir, "d/sub/b.json", []byte(rec("B")))
	put(t, dir, "d/README.md", []byte("no record"))
	url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(all) })
	for source, want := range map[string]string{file: "A", packed: "A B", filepath.Join(dir, "d"): "A B", url: "A B"} {
		s := read(t, source, at)
		if got := ids(s); got != want || s.Snapshot.Count != len(strings.Fields(want)) || len(s.Snapshot.Partial) != 0 {
			t.Errorf("%s: %s, snapshot %+v", source, got, s.Snapshot)
		}
		a := s.Advisories[0]
		if a.Raw != canon.SumFile([]byte(rec("A"))) || a.Feed != s.Snapshot.Origin() || !a.Feed.Snapshot.Valid() || a.Feed.Fetched != 1_790_000_000 || s.Snapshot.Newest != a.Modified || a.Modified == 0 {
			t.Errorf("%s: %+v", source, a)
		}
		if _, err := canon.Encode(s.Snapshot); err != nil {
			t.Error(err)
		}
	}
	if s := read(t, packed, at); s.Snapshot.Digest != canon.SumFile(all) {
		t.Error("a zip's digest is not that of its bytes")
	}
}

func TestWhatCannotBeReadIsAGapAndTheRestIsRead(t *testing.T) {
	bomb := strings.Repeat(" ", advisory.MaxRecord+1)
	broken := zipped(t, "a.json", rec("A"), "b.json", rec("B"))
	i := bytes.Index(broken, []byte("PK\x01\x02")) - 30 // into the last entry's data
	broken[i] ^= 0xff
	for name, c := range map[string]struct {
		zip   []byte
		lim   Limits
		ids   string
		gap   string
		total int
	}{
		"broken record":    {zipped(t, "a.json", rec("A"), "b.json", `{"id":"B"`, "c.json", rec("C")), Limits{}, "A C", "record B, byte 9", 2},
		"empty record":     {zipped(t, "a.json", rec("A"), "b.json", ""), Limits{}, "A", "an object was expected", 1},
		"list, no record":  {zipped(t, "a.json", "[]"), Limits{}, "", "an object was expected", 0},
		"empty zip":        {zipped(t), Limits{}, "", "no record in it", 0},
		"no json":          {zipped(t, "all/readme.txt", "x"), Limits{}, "", "no record in it", 0},
		"record too large": {zipped(t, "a.json", rec("A"), "b.json", bomb), Limits{}, "A", "unpacks to more than 8388608", 1},
		"bomb":             {zipped(t, "a.json", rec("A"), "b.json", bomb, "c.json", rec("C")), Limits{Unpacked: 1000}, "A", "reading stopped here", 1},
		"too many files":   {zipped(t, "a.json", rec("A"), "b.json", rec("B")), Limits{Records: 1}, "A", "more than 1 files", 1},
		"damaged entry":    {broken, Limits{}, "A", "cannot be unpacked", 1},
		"same bytes twice": {zipped(t, "8/a.json", rec("A"), "9/a.json", rec("A")), Limits{}, "A", "", 1},
		"same id twice":    {zipped(t, "a.json", rec("A"), "b.json", rec("A")+" "), Limits{}, "A A", "two different records", 2},
		"binary name":      {zipped(t, "a\n\xff.json", "x"), Limits{}, "", `a\n`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			o := at
			o.Limits = c.lim
			s := read(t, put(t, t.TempDir(), "all.zip", c.zip), o)
			text := fmt.Sprint(s.Snapshot.Partial)
			if ids(s) != c.ids || s.Snapshot.Count != c.total || (c.gap == "") != (len(s.Snapshot.Partial) == 0) || !strings.Contains(text, c.gap) {
				t.Errorf("%q, count %d, gaps %s", ids(s), s.Snapshot.Count, text)
			}
			if _, err := canon.Encode(s.Snapshot); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestManyGapsAreCounted(t *testing.T) {
	var files []string
	for i := range maxGaps + 7 {
		files = append(files, fmt.Sprint(i, ".json"), "x")
	}
	p := read(t, put(t, t.TempDir(), "all.zip", zipped(t, files...)), at).Snapshot.Partial
	if len(p) != maxGaps+1 || p[maxGaps].Why != "and 7 more gaps" {
		t.Errorf("%d gaps, last %v", len(p), p[len(p)-1])
	}
}

func TestUnusableSources(t *testing.T) {
	dir := t.TempDir()
	all := zipped(t, "a.json", rec("A"))
	o := at
	o.Limits.Download = int64(len(all))
	read(t, put(t, dir, "whole.zip", all), o) // positive control
	pipe, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	fmt.Fprint(in, rec("A"))
	in.Close()
	for _, source := range []string{
		fmt.Sprintf("/proc/self/fd/%d", pipe.Fd()), // cannot be read twice
		put(t, dir, "cut.zip", all[:len(all)-10]),
		put(t, dir, "head.zip", []byte("PK")),
		put(t, dir, "large.zip", append(all, 0)),
		filepath.Join(dir, "missing"),
		"http://",
		"https://[::1",
	} {
		if s, err := Read(t.Context(), source, o); !errors.Is(err, ErrUnusable) || s.Advisories != nil {
			t.Errorf("%s: %v %v", source, err, s.Snapshot)
		}
	}
	if _, err := Read(t.Context(), filepath.Join(dir, "missing"), o); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing file is reported as %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	put(t, dir, "d/a.json", []byte(rec("A")))
	one := put(t, dir, "one.json", []byte(rec("A")))
	for _, source := range []string{one, filepath.Join(dir, "whole.zip"), filepath.Join(dir, "d"), "http://localhost:1/"} {
		if _, err := Read(ctx, source, at); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", source, err)
		}
	}
	big := put(t, dir, "big.json", []byte(rec("A")+strings.Repeat(" ", advisory.MaxRecord)))
	if s := read(t, big, at); s.Snapshot.Count != 0 || len(s.Snapshot.Partial) != 1 {
		t.Errorf("a single record beyond the limit: %+v", s.Snapshot)
	}
}

func TestGivingUpAndLimitsStopAtOnce(t *testing.T) {
	dir := t.TempDir()
	packed := put(t, t.TempDir(), "all.zip", zipped(t, "a.json", rec("A"), "b.json", rec("B"), "c.json", rec("C")))
	for _, n := range []string{"a", "b", "c"} {
		put(t, dir, n+".json", []byte(rec(strings.ToUpper(n))))
	}
	for _, source := range []string{dir, packed} {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		whole := fallback().read
		fallback().read = func(io.Reader, int64, func(advisory.Advisory), func(string, string)) { n++; cancel() }
		_, err := Read(ctx, source, at)
		fallback().read = whole
		if !errors.Is(err, context.Canceled) || n != 1 {
			t.Errorf("%s: %d records after giving up: %v", source, n, err)
		}
		o := at
		o.Limits.Records = 2
		if s := read(t, source, o); ids(s) != "A B" || len(s.Snapshot.Partial) != 1 {
			t.Errorf("%s: %s %v", source, ids(s), s.Snapshot.Partial)
		}
	}
}

func TestCacheThatCannotBeWritten(t *testing.T) {
	url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(zipped(t, "a.json", rec("A"))) })
	o := at
	o.Cache = filepath.Join(put(t, t.TempDir(), "file", nil), "cache")
	if _, err := Read(t.Context(), url, o); !errors.Is(err, ErrUnusable) {
		t.Errorf("below a file: %v", err)
	}
	o.Cache = t.TempDir()
	u, err := neturl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := cachePaths(o.Cache, u)
	put(t, body, "in the way", nil)
	if _, err := Read(t.Context(), url, o); !errors.Is(err, ErrUnusable) {
		t.Errorf("a directory in the way: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(o.Cache, ".feed-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestDirectoryLinksAreGaps(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	put(t, dir, "a.json", []byte(rec("A")))
	secret := put(t, outside, "s.json", []byte(rec("S")))
	if err := errors.Join(os.Symlink(secret, filepath.Join(dir, "b.json")), os.Symlink(outside, filepath.Join(dir, "c")), os.Symlink("a.json", filepath.Join(dir, "d.json"))); err != nil {
		t.Fatal(err)
	}
	s := read(t, dir, at)
	if ids(s) != "A" || len(s.Snapshot.Partial) != 2 || s.Snapshot.Partial[0].Record != "b.json" || s.Snapshot.Partial[1].Record != "d.json" {
		t.Errorf("%s %v", ids(s), s.Snapshot.Partial)
	}
}

func TestETagSavesTheDownloadAndNothingElse(t *testing.T) {
	body, etag := zipped(t, "a.json", rec("A")), `"one"`
	full := 0
	url, n := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		full++
		w.Header().Set("ETag", etag)
		w.Write(body)
	})
	o := at
	o.Cache = filepath.Join(t.TempDir(), "cache")
	expect := func(step, want string, wantFull int) {
		t.Helper()
		s := read(t, url, o)
		if ids(s) != want || full != wantFull || s.Snapshot.Digest != canon.SumFile(body) || s.Snapshot.Source != url {
			t.Errorf("%s: %s, %d full downloads of %d requests, %+v", step, ids(s), full, *n, s.Snapshot)
		}
	}
	expect("first", "A", 1)
	expect("unchanged", "A", 1)
	body, etag = zipped(t, "b.json", rec("B")), `"two"`
	expect("changed", "B", 2)
	for _, pattern := range []string{"*.feed", "*.json"} {
		files, err := filepath.Glob(filepath.Join(o.Cache, pattern))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		put(t, "/", files[0], []byte(`{"etag":"\"two\""`))
		expect("damaged "+pattern, "B", map[string]int{"*.feed": 3, "*.json": 4}[pattern])
	}
	expect("healed", "B", 4)
	left, err := filepath.Glob(filepath.Join(o.Cache, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestPartialDownloadNeverCounts(t *testing.T) {
	all := zipped(t, "a.json", rec("A"))
	half := all[:len(all)/2]
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"short body": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(all)))
			w.Write(half)
		},
		"broken chunks": func(w http.ResponseWriter, r *http.Request) {
			w.Write(half)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		"no end told": func(w http.ResponseWriter, r *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				fmt.Fprintf(c, "HTTP/1.0 200 OK\r\nETag: \"x\"\r\n\r\n%s", all)
				c.Close()
			}
		},
		"error page": func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) },
		"odd 304":    func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotModified) },
		"too large":  func(w http.ResponseWriter, r *http.Request) { w.Write(append(slices.Clone(all), 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			good, full := true, 0
			url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if good && r.Header.Get("If-None-Match") == `"good"` {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				if good {
					full++
					w.Header().Set("ETag", `"good"`)
					w.Write(all)
					return
				}
				r.Header.Del("If-None-Match")
				answer(w, r)
			})
			o := at
			o.Cache, o.Limits.Download = t.TempDir(), int64(len(all))
			if name != "odd 304" {
				read(t, url, o) // positive control, and something to lose
			}
			good = false
			if _, err := Read(t.Context(), url, o); !errors.Is(err, ErrUnusable) {
				t.Errorf("got %v", err)
			}
			files, err := os.ReadDir(o.Cache)
			if want := map[bool]int{true: 0, false: 2}[name == "odd 304"]; err != nil || len(files) != want {
				t.Errorf("the cache holds %v", files)
			}
			if name != "odd 304" {
				good = true
				if s := read(t, url, o); ids(s) != "A" || full != 1 {
					t.Errorf("the good copy is lost: %d full downloads", full)
				}
			}
		})
	}
}

func TestRedirectionAndPasswords(t *testing.T) {
	all := zipped(t, "a.json", rec("A"))
	plain, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/loop" {
			http.Redirect(w, r, "/loop", http.StatusFound)
			return
		}
		if _, pass, _ := r.BasicAuth(); r.URL.Path == "/secret.zip" && pass != "hunter2" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		w.Write(all)
	})
	base := strings.TrimSuffix(plain, "/all.zip")
	secure := httptest.NewTLSServer(http.RedirectHandler(plain, http.StatusFound))
	defer secure.Close()
	o := at
	o.Client = secure.Client()
	if _, err := Read(t.Context(), secure.URL, o); !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), "plain http") {
		t.Errorf("redirected from https to http: %v", err)
	}
	if _, err := Read(t.Context(), base+"/loop", at); !errors.Is(err, ErrUnusable) {
		t.Errorf("loop: %v", err)
	}
	withPass := strings.Replace(base, "http://", "http://me:hunter2@", 1)
	s := read(t, withPass+"/secret.zip?token=hunter2", at)
	if s.Snapshot.Source != base+"/secret.zip" {
		t.Errorf("source %q", s.Snapshot.Source)
	}
	_, err := Read(t.Context(), strings.Replace(withPass, "127.0.0.1", "127.0.0.1:1", 1), at)
	_, err2 := Read(t.Context(), withPass+"/loop", at)
	_, err3 := Read(t.Context(), "http://me:hunter2@127.0.0.1:1/?hunter2", at)
	if text := fmt.Sprint(err, err2, err3); strings.Contains(text, "hunter2") || err == nil || err2 == nil || err3 == nil {
		t.Errorf("a password in an error: %s", text)
	}
}

func TestRealFeeds(t *testing.T) {
	dir := os.Getenv("PATCHWRIT_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "data")
	}
	for name, want := range map[string]int{"debian/osv-derived-bookworm.zip": 1021, "debian/osv-derived-DSA-DLA-to-2023-03.zip": 8910} {
		p := filepath.Join(dir, name)
		if _, err := os.Stat(p); err != nil {
			t.Skipf("the shared data set is not here (PATCHWRIT_SHARED names its folder): %v", err)
		}
		s := read(t, p, at)
		if len(s.Advisories) != want || s.Snapshot.Count != want || len(s.Snapshot.Partial) != 0 {
			t.Errorf("%s: %d records, snapshot %+v", name, len(s.Advisories), s.Snapshot)
		}
		eachAsAlone(t, p, s)
	}
}

// eachAsAlone holds each record of a zip to what it is when it is read alone:
// records that are read one after the other share room.
func eachAsAlone(t *testing.T, path string, s advisory.Set) {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	at := map[canon.Digest]advisory.Advisory{}
	for _, a := range s.Advisories {
		at[a.Raw] = a
	}
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(in)
		if in.Close(); err != nil {
			t.Fatal(err)
		}
		want, err := advisory.ParseOSV(raw, s.Snapshot.Origin())
		if err != nil {
			t.Fatal(err)
		}
		if got := at[want.Raw]; !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: among others it is\n%+v\nalone\n%+v", f.Name, got, want)
		}
	}
}

// Whatever a zip holds: no panic, and what was not read is either a gap or ErrUnusable.
func FuzzZip(f *testing.F) {
	f.Add(zipped(f, "a.json", rec("A"), "b.json", "{"))
	f.Add(zipped(f))
	f.Add([]byte(rec("A")))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte) {
		o := at
		o.Limits = Limits{Download: 1 << 20, Unpacked: 1 << 20, Records: 100}
		s, err := Read(t.Context(), put(t, dir, "f", raw), o)
		switch {
		case err != nil && !errors.Is(err, ErrUnusable):
			t.Fatal(err)
		case err == nil && len(s.Advisories) == 0 && len(s.Snapshot.Partial) == 0:
			t.Fatal("an empty feed without a gap")
		case err == nil && s.Snapshot.Count != len(s.Advisories):
			t.Fatal("count")
		}
	})
}
