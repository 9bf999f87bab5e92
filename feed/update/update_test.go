package update

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/fetch"
	"github.com/patchwrit/patchwrit/feed/seal"
	"github.com/patchwrit/patchwrit/identity/sshsign"
)

func rec(id, modified string) string {
	return fmt.Sprintf(`{"id":%q,"modified":%q,"affected":[{"package":{"ecosystem":"Debian:12","name":"a"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1"}]}]}]}`, id, modified)
}

// town is a source, a depot and a clock.
type town struct {
	t      testing.TB
	files  map[string]string // path to content; absent: 404
	asked  []string          // "path If-None-Match"
	answer func(w http.ResponseWriter, r *http.Request) bool
	url    string
	dir    string
	depot  *depot.Depot
	now    time.Time
}

func newTown(t testing.TB) *town {
	w := &town{t: t, files: map[string]string{}, dir: t.TempDir(), now: time.Unix(1_790_000_000, 0)}
	w.depot = depot.Open(filepath.Join(w.dir, "depot"), nil)
	s := httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

func (w *town) serve(out http.ResponseWriter, r *http.Request) {
	w.asked = append(w.asked, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("If-None-Match")))
	if w.answer != nil && w.answer(out, r) {
		return
	}
	text, ok := w.files[r.URL.Path]
	if !ok {
		http.NotFound(out, r)
		return
	}
	tag := `"` + canon.SumFile([]byte(text)).Short() + `"`
	out.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		out.WriteHeader(http.StatusNotModified)
		return
	}
	fmt.Fprint(out, text)
}

// source reads a configuration of one feed; more is what stands behind its URLs.
func (w *town) source(more string) Source {
	w.t.Helper()
	c, err := w.config(fmt.Sprintf(`{"feeds":[{"name":"f","kind":"osv","urls":["%s/f","%s/mirror"]%s}]}`, w.url, w.url, more))
	if err != nil {
		w.t.Fatal(err)
	}
	return c.Feeds[0]
}

func (w *town) config(text string) (Config, error) {
	path := filepath.Join(w.dir, "feeds.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return Read(path)
}

func (w *town) update(s Source) Outcome {
	w.t.Helper()
	w.asked = nil
	out, err := Update(w.t.Context(), w.depot, s, Options{Now: func() time.Time { return w.now }, Retry: Retry{Tries: 2, Wait: time.Millisecond}})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func reasons(out Outcome) string {
	var all []string
	for _, r := range out.Kept.Reasons {
		all = append(all, string(r.Code))
	}
	return strings.Join(all, " ")
}

func TestFromSourceToDepot(t *testing.T) {
	w := newTown(t)
	s := w.source(`,"max_age":"87600h"`)
	out := w.update(s)
	if out.Err == nil || out.Kept.Digest != "" || out.Feed.Standing(w.now.Unix()) != depot.Empty || !strings.Contains(out.Feed.Failure.Text(), "404") {
		t.Errorf("nothing is there: %+v", out)
	}
	w.files["/mirror"] = rec("A", "2026-01-01T00:00:00Z")
	if out = w.update(s); out.Err != nil || !out.Fresh || out.Kept.Source != w.url+"/mirror" || out.Kept.State != depot.Accepted {
		t.Fatalf("%+v", out)
	}
	w.now = w.now.Add(time.Hour)
	out = w.update(s)
	if out.Fresh || out.Err != nil || out.Feed.Checked != w.now.Unix() || len(w.asked) != 2 || w.asked[0] != "/f" || !strings.HasPrefix(w.asked[1], `/mirror "`) {
		t.Errorf("a mirror's tag is for the mirror: %q %+v", w.asked, out)
	}
	w.files["/f"] = rec("A", "2026-02-01T00:00:00Z")
	if out = w.update(s); !out.Fresh || out.Kept.Source != w.url+"/f" {
		t.Errorf("%+v", out)
	}
	w.files["/f"] = rec("A", "2026-01-15T00:00:00Z")
	if out = w.update(s); out.Fresh == false || reasons(out) != "PW-FEED-BACKWARDS" || out.Feed.Standing(w.now.Unix()) != depot.Contest {
		t.Errorf("%+v", out)
	}
	w.files["/f"] = rec("A", "2026-02-01T00:00:00Z")
	if out = w.update(s); out.Fresh || out.Feed.Standing(w.now.Unix()) != depot.OK {
		t.Errorf("the good one again: %+v", out)
	}
	delete(w.files, "/f")
	delete(w.files, "/mirror")
	was := out.Feed.Checked
	w.now = w.now.Add(time.Hour)
	if out = w.update(s); out.Err == nil || out.Kept.Count != 1 || out.Feed.Checked != was {
		t.Errorf("what is in use stays: %+v", out)
	}
}

// failing is a judge that cannot come to a word.
type failing struct{}

func (failing) Judge(context.Context, depot.Case) (depot.Ruling, error) {
	return depot.Ruling{}, os.ErrDeadlineExceeded
}

func TestWhatWasLeftUnjudgedIsJudgedFirst(t *testing.T) {
	w := newTown(t)
	s := w.source(`,"max_age":"87600h"`)
	w.files["/f"] = rec("A", "2026-01-01T00:00:00Z")
	good := w.depot
	w.depot = depot.Open(good.Dir(), failing{})
	if _, err := Update(t.Context(), w.depot, s, Options{Now: func() time.Time { return w.now }}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	w.depot = good
	delete(w.files, "/f")
	if out := w.update(s); out.Err == nil || out.Kept.Count != 1 || out.Kept.State != depot.Accepted {
		t.Errorf("%+v", out)
	}
}

func TestASourceIsLeftAloneAsLongAsItWants(t *testing.T) {
	w := newTown(t)
	s := w.source("")
	w.answer = func(out http.ResponseWriter, _ *http.Request) bool {
		out.Header().Set("Retry-After", "3600")
		out.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	var later *fetch.Later
	if out := w.update(s); !errors.As(out.Err, &later) || len(w.asked) != 2 {
		t.Fatal(out.Err, w.asked)
	}
	w.answer, w.files["/f"] = nil, rec("A", "2026-01-01T00:00:00Z")
	w.now = w.now.Add(30 * time.Minute)
	if out := w.update(s); out.Err == nil || len(w.asked) != 0 || !strings.Contains(out.Err.Error(), "left alone until") {
		t.Error(out.Err, w.asked)
	}
	if out, err := Update(t.Context(), w.depot, s, Options{Now: func() time.Time { return w.now }, Anyway: true}); err != nil || !out.Fresh {
		t.Error(out, err)
	}
	w.now = w.now.Add(31 * time.Minute)
	if out := w.update(s); out.Err != nil || len(w.asked) == 0 {
		t.Error(out.Err, w.asked)
	}
}

func TestPinsAndSignatures(t *testing.T) {
	w := newTown(t)
	text := rec("A", "2026-01-01T00:00:00Z")
	w.files["/f"] = text
	if out := w.update(w.source(`,"sha256":"` + string(canon.SumFile([]byte("x"))) + `"`)); reasons(out) != "PW-FEED-PIN" || out.Feed.Standing(0) != depot.Empty {
		t.Errorf("%+v", out)
	}
	if out := w.update(w.source(`,"sha256":"` + string(canon.SumFile([]byte(text))) + `"`)); reasons(out) != "" || out.Kept.Proof != "sha256 pin" {
		t.Errorf("%+v", out)
	}
	if out := w.update(w.source(`,"sha256":"` + string(canon.SumFile([]byte("x"))) + `"`)); reasons(out) != "PW-FEED-PIN" || w.asked[0] != "/f" {
		t.Errorf("what is known is not what is pinned: %q %+v", w.asked, out)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "keys"), append([]byte("me "), ssh.MarshalAuthorizedKey(key)...), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := sshsign.Memory(private)
	if err != nil {
		t.Fatal(err)
	}
	signed := w.source(`,"signers":"keys"`)
	if out := w.update(signed); out.Err == nil || !strings.Contains(out.Err.Error(), "its signature: ") || w.asked[0] != "/f" {
		t.Errorf("no signature: %q %+v", w.asked, out)
	}
	sign := func(namespace, text string) {
		blob, err := k.Sign(t.Context(), namespace, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		w.files["/f.sig"] = string(sshsign.Armour(blob))
	}
	for _, bad := range []func(){func() { sign(seal.FeedNamespace, text+" ") }, func() { sign(seal.BundleNamespace, text) }, func() { w.files["/f.sig"] = "x" }} {
		bad()
		if out := w.update(signed); reasons(out) != "PW-FEED-SIGNATURE" || out.Feed.Standing(w.now.Unix()) == depot.OK {
			t.Errorf("%+v", out)
		}
	}
	sign(seal.FeedNamespace, text)
	out := w.update(signed)
	if reasons(out) != "" || out.Kept.Proof.Text() != "signed by me "+ssh.FingerprintSHA256(key) {
		t.Errorf("%+v", out)
	}
	if out = w.update(signed); out.Err != nil || len(w.asked) != 1 || !strings.HasPrefix(w.asked[0], `/f "`) {
		t.Errorf("%q %+v", w.asked, out)
	}
	if left, _ := filepath.Glob(filepath.Join(w.depot.Dir(), "partial", "*.sig")); len(left) > 0 {
		t.Error(left)
	}
}

func TestWhatIsNoConfiguration(t *testing.T) {
	w := newTown(t)
	feed := func(more string) string {
		return `{"feeds":[{"name":"f","kind":"osv","urls":["https://feeds.example/f"]` + more + `}]}`
	}
	if _, err := w.config(feed("")); err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string]string{
		"unknown field":   `{"feed":[]}`,
		"names 0 feeds":   `{"feeds":[]}`,
		"behind":          feed("") + "{}",
		"two feeds":       `{"feeds":[{"name":"f","kind":"osv","urls":["https://h/"]},{"name":"f","kind":"osv","urls":["https://h/"]}]}`,
		"name: 1 to 64":   `{"feeds":[{"name":"../f","kind":"osv","urls":["https://h/"]}]}`,
		"kind is one of":  `{"feeds":[{"name":"f","kind":"x","urls":["https://h/"]}]}`,
		"urls: at least":  `{"feeds":[{"name":"f","kind":"osv","urls":[]}]}`,
		"must be an http": `{"feeds":[{"name":"f","kind":"osv","urls":["file:///etc"]}]}`,
		"max_age: time":   feed(`,"max_age":"soon"`),
		"max_age: 1m":     feed(`,"max_age":"1s"`),
		"shrink: 0":       feed(`,"shrink":101`),
		"max_bytes":       feed(`,"max_bytes":-1`),
		"sha256: 64":      feed(`,"sha256":"ab"`),
		"no such file":    feed(`,"signers":"absent"`),
		"is no signer":    feed(`,"signers":"feeds.json"`),
		"invalid":         `{"feeds":x`,
	} {
		if _, err := w.config(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	c, err := w.config(`{"feeds":[{"name":"f","kind":"openvex","urls":["https://h/"]},{"name":"g","kind":"osv","urls":["https://h/"],"shrink":0}]}`)
	if err != nil || *c.Feeds[0].Shrink != 100 || *c.Feeds[1].Shrink != 0 || c.Feeds[0].age != defaultAge {
		t.Error(c, err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(`{"feeds":[{"name":"f","kind":"osv","urls":["https://feeds.example/f"],"max_age":"1h","shrink":3,"sha256":"ab"}],"proxy":"none"}`)
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "c")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Read(path)
		if err != nil {
			return
		}
		for _, s := range c.Feeds {
			if r := s.rules(); !depot.ValidName(r.Name) || r.MaxAge < 60 || r.Shrink < 0 || r.Shrink > 100 || len(s.URLs) == 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}
