package messenger

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/agent/parley"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/agenttest"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/wire/dial"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// town is a control plane, one enrolled host whose helper is played by the test,
// and its messenger.
type town struct {
	t     *testing.T
	dir   string
	house trusttest.House
	hall  *agenttest.Hall
	proxy func(*http.Request) (*url.URL, error)
	seed  []byte
	log   bytes.Buffer

	mu     sync.Mutex
	offers []parley.Offer
	end    func(*town, net.Conn, parley.Offer) parley.End
}

func (w *town) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) in(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

func (w *town) put(name string, text string) {
	w.t.Helper()
	w.must(os.MkdirAll(filepath.Dir(w.in(name)), 0o755))
	w.must(os.WriteFile(w.in(name), []byte(text), 0o600))
}

const status = `Package: base-files
Status: install ok installed
Architecture: amd64
Version: 12.4
Description: files
 of the base
Conffiles:
 /etc/x 0123
Maintainer: somebody

Package: openssl
Status: install ok installed
Architecture: amd64
Version: 3.0.20-1~deb12u2
Source: openssl (3.0.20-1)
`

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{t: t, dir: t.TempDir(), house: trusttest.Must(nil, trusttest.Options{Now: time.Now()})}
	w.proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	var err error
	w.hall, err = agenttest.New(t.Context(), w.house, t.TempDir())
	w.must(err)
	t.Cleanup(func() { w.hall.Server.Close() })
	w.put("root/var/lib/dpkg/status", status)
	w.put("root/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n")
	w.must(os.Mkdir(w.in("public"), 0o755))
	w.must(os.Mkdir(w.in("state"), 0o700))
	w.seed, err = KeepSeed(w.in("state"), dial.NewSeed)
	w.must(err)
	token := w.hall.Token()
	h := w.house.Hosts[0]
	w.must(dial.Enrol(t.Context(), w.dialing(), token.Secret, "web-1", h.Host, func(d []byte) []byte { return ed25519.Sign(h.Key, d) }))
	w.must(w.server().Save(w.in("state")))
	w.listen()
	return w
}

func (w *town) server() Server {
	return Server{Type: TypeServer, URL: canon.NoteOf("https://" + w.hall.Server.Addr()), Cert: w.hall.Server.CertSHA256(), Host: w.house.Hosts[0].ID, Name: "web-1",
		Pinned: w.house.Pinned, Root: canon.NoteOf(w.in("root")), Public: canon.NoteOf(w.in("public"))}
}

func (w *town) dialing() dial.Config {
	return dial.Config{URL: "https://" + w.hall.Server.Addr(), CertSHA256: w.hall.Server.CertSHA256(), Seed: w.seed, Proxy: w.proxy}
}

// listen plays the helper: it answers each offer with what end says.
func (w *town) listen() {
	l, err := net.Listen("unix", w.in("public", parley.Socket))
	w.must(err)
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var o parley.Offer
			if parley.Expect(conn, parley.MaxSaid, parley.KindOffer, &o) == nil {
				w.mu.Lock()
				w.offers = append(w.offers, o)
				end := w.end
				w.mu.Unlock()
				e := end(w, conn, o)
				if e.Receipts == nil {
					e.Receipts = []parley.Receipt{}
				}
				parley.Write(conn, parley.KindEnd, e)
			}
			conn.Close()
		}
	}()
}

func (w *town) helper(end func(*town, net.Conn, parley.Offer) parley.End) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end = end
}

func (w *town) offered() []parley.Offer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.offers)
}

// messenger is one start of it; the test plays the rounds.
func (w *town) messenger() *Messenger {
	w.t.Helper()
	conn, err := dial.Dial(w.dialing())
	w.must(err)
	w.t.Cleanup(conn.Close)
	m, err := New(Config{State: w.in("state"), Version: "test", Wire: conn, Now: time.Now, Logger: slog.New(slog.NewTextHandler(&w.log, nil))})
	w.must(err)
	w.must(m.start(true))
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("%s", &w.log)
		}
	})
	return m
}

func (w *town) round(m *Messenger) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), 90*time.Second)
	defer cancel()
	return m.round(ctx)
}

// receipt is the helper's word that a writ is done.
func (w *town) receipt(c *writtest.Case) writ.Receipt {
	var x writ.Writ
	w.must(canon.Decode(c.Raw().Writ, &x))
	return writtest.SignReceipt(writ.Receipt{Type: writ.TypeReceipt, Host: w.house.Hosts[0].ID, Writ: x.Body.Digest(), Plan: x.Body.Plan, Outcome: writ.Done,
		States: []writ.State{}, Effective: writ.Effective{Stale: []string{}}}, w.house.Hosts[0].Key)
}

func done(r writ.Receipt) func(*town, net.Conn, parley.Offer) parley.End {
	return func(*town, net.Conn, parley.Offer) parley.End {
		return parley.End{Writ: r.Writ, Receipts: []parley.Receipt{{Receipt: r, Leases: []string{}}}}
	}
}

// asked counts the questions of one verb.
func (w *town) asked(v wire.Verb) (n int) {
	for _, s := range w.hall.Said() {
		if s.Verb == v {
			n++
		}
	}
	return n
}

func TestOneRound(t *testing.T) {
	w := newTown(t)
	c := writtest.New(w.house)
	r := w.receipt(c)
	big := bytes.Repeat([]byte("0123456789abcdef"), 100<<10) // 1.6 MB: several parts
	pool := map[string][]byte{"sha256/" + string(canon.SumFile(big)): big, "releases/debian-main/main/binary-amd64/Packages.xz": []byte("index"), "releases/debian-main/InRelease": []byte("index")}
	w.hall.Table(c, pool)
	w.helper(func(w *town, conn net.Conn, o parley.Offer) parley.End {
		for name, want := range pool {
			if got, err := os.ReadFile(w.in("state", "pool", name)); err != nil || !bytes.Equal(got, want) {
				return parley.End{Code: "PW-HELPER-FILES", Detail: canon.NoteOf(name)}
			}
		}
		parley.Write(conn, parley.KindProgress, parley.Progress{Line: "verifying the writ"})
		parley.Write(conn, parley.KindQuestion, parley.Question{Nonce: writtest.Nonce, Host: r.Host, Newer: 7})
		var a parley.Answer
		if err := parley.Expect(conn, parley.MaxSaid, parley.KindAnswer, &a); err != nil || len(a.Leases) != len(w.house.Witnesses) {
			return parley.End{Code: "PW-AGENT-LEASE", Detail: canon.NoteOf(fmt.Sprint(a, err))}
		}
		return done(r)(w, conn, o)
	})
	m := w.messenger()
	w.must(w.round(m))
	if got := w.hall.Receipts(); len(got) != 1 || got[0].Digest() != r.Digest() {
		t.Fatalf("%d receipts, refused %+v", len(got), w.hall.Refused())
	}
	s := w.hall.Snapshot()
	if s == nil || len(s.Status) != 2 || strings.Contains(string(canon.MustEncode(s.Status)), "of the base") || strings.Contains(string(canon.MustEncode(s.Status)), "0123") ||
		!strings.Contains(s.Status[0].Text(), "Maintainer: somebody") || !strings.Contains(s.Status[1].Text(), "Source: openssl (3.0.20-1)") || s.Arch != "amd64" || s.Boot == "" {
		t.Errorf("snapshot %+v", s)
	}
	if trust, err := os.ReadFile(w.in("state", "trust", "1.root.json")); err != nil || canon.SumFile(trust) != w.house.Pinned {
		t.Errorf("trust repository: %v", err)
	}
	if !strings.Contains(w.log.String(), "verifying the writ") {
		t.Error("progress was not logged")
	}
	// The next round has nothing to do: no fetch, no inventory, no offer; the
	// receipt's acknowledgement waits for the next offer.
	fetches, reports := w.asked(wire.Fetch), w.asked(wire.Report)
	w.must(w.round(m))
	if w.asked(wire.Fetch) != fetches || w.asked(wire.Report) != reports || len(w.offered()) != 1 || w.asked(wire.Hello) != 1 {
		t.Errorf("an idle round: %d fetches, %d reports, %d offers, %d hellos", w.asked(wire.Fetch)-fetches, w.asked(wire.Report)-reports, len(w.offered()), w.asked(wire.Hello))
	}
	next := writtest.New(w.house)
	next.Filler = 9
	w.hall.Table(next, nil)
	w.helper(done(w.receipt(next)))
	w.must(w.round(m))
	if o := w.offered(); len(o) != 2 || !slices.Equal(o[1].Stored, []canon.Digest{r.Digest()}) {
		t.Errorf("offers %+v", o)
	}
	if _, err := os.Lstat(w.in("state", "blobs", string(canon.SumFile(big)))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old artefact is kept: %v", err)
	}
}

func TestABlobGoesOnWhereItWasCutOff(t *testing.T) {
	w := newTown(t)
	c := writtest.New(w.house)
	big := bytes.Repeat([]byte("0123456789abcdef"), 100<<10)
	d := canon.SumFile(big)
	w.hall.Table(c, map[string][]byte{"sha256/" + string(d): big})
	w.helper(done(w.receipt(c)))
	n := 0
	w.hall.Before(func(s agenttest.Said) error {
		if s.Verb == wire.Fetch && bytes.Contains(s.Body, []byte(d)) {
			if n++; n == 3 {
				return refusal.New("", "the cable is pulled")
			}
		}
		return nil
	})
	if err := w.round(w.messenger()); refusal.CodeOf(err) != wire.CodeDown {
		t.Fatalf("the cut: %v", err)
	}
	w.hall.Before(nil)
	before := len(w.hall.Said())
	w.must(w.round(w.messenger())) // another start
	for _, s := range w.hall.Said()[before:] {
		var q wire.BlobRequest
		if s.Verb == wire.Fetch && canon.Decode(s.Body, &q) == nil && q.Digest == d && q.Offset < 2*wire.MaxChunk {
			t.Errorf("fetched again from %d", q.Offset)
		}
	}
	if len(w.hall.Receipts()) != 1 {
		t.Error("no receipt")
	}
}

// liar is a control plane that sends other things than it names.
type liar struct {
	Wire
	answer func(v wire.Verb, body []byte) (any, bool)
}

func (l liar) Ask(ctx context.Context, v wire.Verb, body []byte) ([]byte, error) {
	if a, ok := l.answer(v, body); ok {
		return canon.MustEncode(a), nil
	}
	return l.Wire.Ask(ctx, v, body)
}

func TestWhatIsFetchedIsWhatWasNamed(t *testing.T) {
	d := canon.SumFile([]byte("good"))
	data := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, a := range map[string]wire.BlobAnswer{
		"other bytes":       {Data: data("evil"), Size: 4},
		"another size":      {Data: data("good"), Size: 5},
		"nothing":           {Data: "", Size: 4},
		"too much":          {Data: data("goodgood"), Size: 4},
		"no base64":         {Data: "%%%%", Size: 4},
		"a hole at the end": {Data: data("g"), Size: 1 << 40},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			m := w.messenger()
			good := m.Wire
			m.Wire = liar{good, func(v wire.Verb, _ []byte) (any, bool) { return a, v == wire.Fetch }}
			if err := m.fetch(t.Context(), d, 4); refusal.CodeOf(err) != codeFetch {
				t.Errorf("%v", err)
			}
			if m.has(d) {
				t.Error("it was kept")
			}
			m.Wire = liar{good, func(v wire.Verb, _ []byte) (any, bool) {
				return wire.BlobAnswer{Data: data("good"), Size: 4}, v == wire.Fetch
			}}
			if err := m.fetch(t.Context(), d, 4); err != nil || !m.has(d) {
				t.Errorf("the good one afterwards: %v", err)
			}
		})
	}
}

func TestNamesAndSizesAreBounded(t *testing.T) {
	w := newTown(t)
	m := w.messenger()
	d := canon.SumFile([]byte("x"))
	many := make([]wire.File, maxFiles+1)
	for i := range many {
		many[i] = wire.File{Name: fmt.Sprint(i), Digest: d, Size: 1}
	}
	for name, files := range map[string][]wire.File{
		"out of it":  {{Name: "../x", Digest: d, Size: 1}},
		"from /":     {{Name: "/etc/x", Digest: d, Size: 1}},
		"the top":    {{Name: ".", Digest: d, Size: 1}},
		"no digest":  {{Name: "x", Digest: "../../x", Size: 1}},
		"too large":  {{Name: "x", Digest: d, Size: maxPool}, {Name: "y", Digest: d, Size: 1}},
		"too many":   many,
		"overflow":   {{Name: "x", Digest: d, Size: canon.MaxInt}, {Name: "y", Digest: d, Size: canon.MaxInt}},
		"the disk's": {{Name: "x", Digest: d, Size: maxPool - 1}},
	} {
		err := m.fetchAll(t.Context(), files, maxPool)
		if code := refusal.CodeOf(err); code != codeFetch && !(name == "the disk's" && (code == codeState || code == wire.CodeDown || code == "PW-CONTROL-MESSAGE")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := w.asked(wire.Fetch); n > 1 {
		t.Errorf("%d blobs were asked for", n)
	}
}

func TestATrustRepositoryOfAnotherHouseIsRefused(t *testing.T) {
	w := newTown(t)
	w.hall.SetTrust(trusttest.Must(nil, trusttest.Options{Now: time.Now(), Log: "log.example/evil"}).Bundle())
	w.hall.Table(writtest.New(w.house), nil)
	m := w.messenger()
	if err := w.round(m); refusal.CodeOf(err) != "PW-TRUST-PIN" {
		t.Errorf("%v", err)
	}
	if len(w.offered()) != 0 {
		t.Error("a writ was offered")
	}
	w.hall.SetTrust(w.house.Bundle())
	c := writtest.New(w.house)
	w.helper(done(w.receipt(c)))
	if err := w.round(m); err != nil || len(w.hall.Receipts()) != 1 {
		t.Errorf("the right one: %v", err)
	}
}

// Only what has changed is told again.
func TestTheInventoryIsToldAsADelta(t *testing.T) {
	w := newTown(t)
	m := w.messenger()
	w.must(w.round(m))
	w.put("root/var/lib/dpkg/status", strings.Replace(status, "deb12u2", "deb12u3", 1))
	before := len(w.hall.Said())
	for _, m := range []*Messenger{m, w.messenger()} { // also by another start
		w.must(w.round(m))
	}
	var deltas []wire.InventoryRequest
	for _, s := range w.hall.Said()[before:] {
		var q wire.InventoryRequest
		if s.Verb == wire.Report && canon.Decode(s.Body, &q) == nil && q.Part > 0 {
			deltas = append(deltas, q)
		}
	}
	if len(deltas) != 1 || len(deltas[0].Gone) != 1 || len(deltas[0].Rest.Status) != 1 || !strings.Contains(string(w.hall.Snapshot().Status[1]), "deb12u3") {
		t.Errorf("%d deltas %+v", len(deltas), deltas)
	}
	w.must(os.Remove(w.in("state", snapshotFile))) // what was told is not known any more: all of it
	w.put("root/var/lib/dpkg/status", status)
	w.must(w.round(w.messenger()))
	if got := w.hall.Snapshot().Status; len(got) != 2 || !strings.Contains(string(got[1]), "deb12u2") {
		t.Errorf("after the loss: %q", got)
	}
}

func TestALargeInventoryComesInParts(t *testing.T) {
	w := newTown(t)
	var b strings.Builder
	b.WriteString(status)
	for n := range 700 {
		fmt.Fprintf(&b, "\nPackage: p%d\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nDepends: %s\n", n, strings.Repeat(`"\\`, 200))
	}
	w.put("root/var/lib/dpkg/status", b.String())
	w.must(w.round(w.messenger()))
	if s := w.hall.Snapshot(); s == nil || len(s.Status) != 702 || w.asked(wire.Report) < 3 {
		t.Errorf("%d questions", w.asked(wire.Report))
	}
}

func TestSplit(t *testing.T) {
	p := func(n int) canon.Note { return canon.Note(strings.Repeat("x", n)) }
	for _, c := range []struct {
		status []canon.Note
		most   int
		last   int
		want   string
	}{
		{nil, 10, 10, "0"}, {[]canon.Note{p(5)}, 10, 10, "1"}, {[]canon.Note{p(5), p(5)}, 10, 10, "1 1"}, {[]canon.Note{p(5)}, 10, 3, "1 0"},
		{[]canon.Note{p(50), p(1)}, 10, 10, "1 1"}, {[]canon.Note{p(1), p(50)}, 10, 10, "1 1 0"},
	} {
		var got []string
		for _, part := range split(c.status, c.most, c.last) {
			got = append(got, fmt.Sprint(len(part)))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v: %v, want %s", c, got, c.want)
		}
	}
}

// A receipt is handed over until it is taken, whoever dies meanwhile, and the
// helper hears of it then.
func TestReceiptsAreHandedOverUntilTheyAreTaken(t *testing.T) {
	w := newTown(t)
	c := writtest.New(w.house)
	r := w.receipt(c)
	w.hall.Table(c, nil)
	w.helper(done(r))
	w.hall.Before(func(s agenttest.Said) error {
		if s.Verb == wire.Done {
			return refusal.New("", "down")
		}
		return nil
	})
	if err := w.round(w.messenger()); refusal.CodeOf(err) != wire.CodeDown {
		t.Fatalf("%v", err)
	}
	w.hall.Before(nil)
	w.must(w.round(w.messenger()))
	if got := w.hall.Receipts(); len(got) != 1 || len(w.offered()) != 1 {
		t.Errorf("%d receipts, %d offers", len(got), len(w.offered()))
	}
}

// Ends that are no end are tried again; nothing is reported and nothing lost.
func TestAnOfferIsMadeUntilItHasEnded(t *testing.T) {
	w := newTown(t)
	c := writtest.New(w.house)
	r := w.receipt(c)
	w.hall.Table(c, nil)
	ends := []parley.End{{Code: "PW-AGENT-BUSY", Detail: "x"}, {Code: "PW-APT-RUNNING", Writ: r.Writ, Detail: "x"}, {Detail: "the machine failed"}}
	for _, e := range ends {
		w.helper(func(*town, net.Conn, parley.Offer) parley.End { return e })
		if err := w.round(w.messenger()); err == nil {
			t.Errorf("%+v: no error", e)
		}
	}
	w.helper(func(_ *town, conn net.Conn, _ parley.Offer) parley.End { conn.Close(); return parley.End{} }) // it dies
	if err := w.round(w.messenger()); refusal.CodeOf(err) != codeHelper {
		t.Errorf("the helper died: %v", err)
	}
	if len(w.hall.Refused()) != 0 || len(w.hall.Receipts()) != 0 {
		t.Errorf("%+v, %+v", w.hall.Refused(), w.hall.Receipts())
	}
	w.helper(done(r))
	w.must(w.round(w.messenger()))
	if len(w.hall.Receipts()) != 1 || len(w.offered()) != 5 || w.hall.Helper() != "" {
		t.Errorf("%d receipts, %d offers", len(w.hall.Receipts()), len(w.offered()))
	}
}

// A refusal is reported once, with its code; what may have been damaged here is
// fetched again.
func TestARefusalIsReported(t *testing.T) {
	w := newTown(t)
	c := writtest.New(w.house)
	body := w.receipt(c).Writ
	w.hall.Table(c, map[string][]byte{"sha256/x": []byte("artefact")})
	w.helper(func(*town, net.Conn, parley.Offer) parley.End {
		return parley.End{Writ: body, Code: "PW-APT-BYTES", Detail: "damaged"}
	})
	m := w.messenger()
	w.must(w.round(m))
	got := w.hall.Refused()
	if len(got) != 1 || got[0].Code != "PW-APT-BYTES" || got[0].Writ != body || len(got[0].Receipts) != 0 {
		t.Fatalf("%+v", got)
	}
	if m.has(canon.SumFile([]byte("artefact"))) {
		t.Error("the damaged blob is kept")
	}
	w.must(w.round(m))
	if len(w.hall.Refused()) != 1 {
		t.Error("reported twice")
	}
}

func TestAPendingHostWaits(t *testing.T) {
	w := newTown(t)
	w.hall.House.Hosts = nil // the keepers have not named it yet
	w.hall.Table(writtest.New(w.house), nil)
	m := w.messenger()
	w.must(w.round(m))
	if w.asked(wire.Next) != 0 || w.asked(wire.Report) != 0 {
		t.Error("a pending host asked for more")
	}
	w.hall.House.Hosts = w.house.Hosts
	c := writtest.New(w.house)
	w.helper(done(w.receipt(c)))
	w.must(w.round(m))
	if len(w.hall.Receipts()) != 1 {
		t.Error("no receipt")
	}
}

// Everything goes through an HTTP CONNECT proxy, where there is one: enrolment,
// passes and the bus.
func TestThroughAProxy(t *testing.T) {
	w := newTown(t)
	direct := w.hall.Server.Addr()
	tunnels, addr := proxy(t, direct)
	w.proxy = func(*http.Request) (*url.URL, error) {
		return &url.URL{Scheme: "http", Host: addr, User: url.UserPassword("host", "pass")}, nil
	}
	c := writtest.New(w.house)
	w.hall.Table(c, map[string][]byte{"sha256/x": bytes.Repeat([]byte("x"), 1<<20)})
	w.helper(done(w.receipt(c)))
	w.must(w.round(w.messenger()))
	if len(w.hall.Receipts()) != 1 || tunnels() < 2 {
		t.Errorf("%d receipts through %d tunnels", len(w.hall.Receipts()), tunnels())
	}
}

// proxy is an HTTP CONNECT proxy to one target that wants a password.
func proxy(t *testing.T, target string) (tunnels func() int, addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				req, err := http.ReadRequest(in)
				if err != nil || req.Method != http.MethodConnect || req.Host != target || req.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("host:pass")) {
					io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
					return
				}
				up, err := net.Dial("tcp", target)
				if err != nil {
					return
				}
				defer up.Close()
				mu.Lock()
				n++
				mu.Unlock()
				io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
				go func() { io.Copy(up, in); up.Close() }()
				io.Copy(conn, up)
			}()
		}
	}()
	return func() int { mu.Lock(); defer mu.Unlock(); return n }, l.Addr().String()
}

// Run waits between rounds, hears wakes and survives a control plane that is
// away.
func TestRunHearsWakesAndComesBack(t *testing.T) {
	w := newTown(t)
	ctx, stop := context.WithCancel(t.Context())
	m := w.messenger()
	over := make(chan error, 1)
	go func() { over <- m.Run(ctx) }()
	until := func(what string, ok func() bool) {
		t.Helper()
		for range 600 {
			if ok() {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("it never came to this: %s\n%s", what, &w.log)
	}
	until("the inventory is told", func() bool { return w.hall.Snapshot() != nil })
	c := writtest.New(w.house)
	w.helper(done(w.receipt(c)))
	w.hall.Table(c, nil) // wakes
	until("a receipt", func() bool { return len(w.hall.Receipts()) == 1 })
	addr := w.hall.Server.Addr()
	w.must(w.hall.Server.Close())
	next := writtest.New(w.house)
	next.Filler = 9
	w.helper(done(w.receipt(next)))
	w.must(w.hall.Listen(t.Context(), w.in("again"), addr)) // another key: it is not spoken to
	time.Sleep(time.Second)
	if n := w.asked(wire.Hello); n != 1 {
		t.Errorf("it spoke to another server: %d hellos", n)
	}
	stop()
	w.must(<-over)
}

func TestOriginsComeFromAptsLists(t *testing.T) {
	w := newTown(t)
	w.put("root/var/lib/apt/lists/deb.example_debian_dists_bookworm_InRelease", "-----BEGIN PGP SIGNED MESSAGE-----\nOrigin: Debian\nSuite: stable\nCodename: bookworm\n")
	w.put("root/var/lib/apt/lists/deb.example_debian_dists_bookworm_main_binary-amd64_Packages", "Package: base-files\nArchitecture: amd64\nVersion: 12.4\nDescription: x\n y\n\nPackage: openssl\nArchitecture: amd64\nVersion: 1\n")
	w.put("root/var/lib/apt/lists/sec.example_dists_bw_Release", "Origin: Security\nCodename: bw-security\n")
	w.put("root/var/lib/apt/lists/sec.example_dists_bw_main_binary-amd64_Packages", "Package: openssl\nArchitecture: amd64\nVersion: 3.0.20-1~deb12u2")
	w.must(w.round(w.messenger()))
	want := []wire.PackageOrigin{{Package: "base-files:amd64", Origin: "Debian", Suite: "stable"}, {Package: "openssl:amd64", Origin: "Security", Suite: "bw-security"}}
	if got := w.hall.Snapshot().Origins; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// Protocols: the other end may be one older or one newer, and no more.
func TestProtocols(t *testing.T) {
	for theirs, ok := range map[int]bool{wire.Protocol - 2: false, wire.Protocol - 1: true, wire.Protocol: true, wire.Protocol + 2: false} {
		w := newTown(t)
		m := w.messenger()
		m.Wire = liar{m.Wire, func(v wire.Verb, _ []byte) (any, bool) {
			return wire.HelloAnswer{Protocol: theirs, State: wire.Enrolled, Every: 60}, v == wire.Hello
		}}
		err := w.round(m)
		if ok != (err == nil) || !ok && refusal.CodeOf(err) != wire.CodeProtocol {
			t.Errorf("a control plane of protocol %d: %v", theirs, err)
		}
		for _, s := range w.hall.Said() {
			if s.Verb == wire.Report && bytes.Contains(s.Body, []byte(`"part":1`)) && !bytes.Contains(s.Body, []byte("mapped_why")) {
				t.Errorf("protocol %d was answered with %s", theirs, s.Body)
			}
		}
	}
}

// TestAnAgentOfTheProtocolBefore speaks protocol 3, in the bytes that it says.
func TestAnAgentOfTheProtocolBefore(t *testing.T) {
	w := newTown(t)
	c := writtest.New(w.house)
	w.hall.Table(c, nil)
	conn, err := dial.Dial(w.dialing())
	w.must(err)
	defer conn.Close()
	say := func(v wire.Verb, text string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		raw, err := conn.Ask(ctx, v, []byte(text))
		return string(raw), err
	}
	hello := `{"host":"` + string(w.house.Hosts[0].ID) + `","name":"web-1","protocol":%d,"run":"` + strings.Repeat("ab", 16) + `","version":"0.1"}`
	if a, err := say(wire.Hello, fmt.Sprintf(hello, 3)); err != nil || !strings.Contains(a, `"protocol":3,`) {
		t.Errorf("hello: %s, %v", a, err)
	}
	a, err := say(wire.Next, `{"helper":"","trust":{"hosts":0,"root":0,"snapshot":0,"targets":0,"timestamp":0}}`)
	if err != nil || !strings.Contains(a, string(canon.SumFile(c.Raw().Writ))) {
		t.Errorf("next: %s, %v", a, err)
	}
	old := `{"arch":"amd64","boot":"b","booted":5,"host":"` + string(w.house.Hosts[0].ID) + `","kernel":"6.1.0-9-amd64","kernel_at":3,"mapped":[{"exec":true,"inode":7,"path":"/usr/lib/libone.so.1"}],"mapped_at":7,"origins":[],"os_release":"ID=debian","services":[],"status":["Package: one"],"type":"patchwrit/snapshot/v1"}`
	told := `{"base":"","digest":"` + string(canon.Sum(wire.TypeSnapshot, []byte(old))) + `","gone":[],"more":false,"part":1,"rest":` + old + `}`
	if a, err := say(wire.Report, told); err != nil || !strings.Contains(a, `"nothing"`) {
		t.Errorf("inventory: %s, %v", a, err)
	}
	if _, err := say(wire.Done, `{"code":"PW-AGENT-LEASE","detail":"","leases":[],"receipts":[],"writ":"`+string(canon.SumFile(nil))+`"}`); err != nil || len(w.hall.Refused()) != 1 {
		t.Errorf("receipt: %v", err)
	}
	for _, other := range []int{1, 2, 6} {
		if _, err := say(wire.Hello, fmt.Sprintf(hello, other)); refusal.CodeOf(err) != wire.CodeProtocol {
			t.Errorf("an agent of protocol %d: %v", other, err)
		}
	}
}

func TestASilentHelperIsTold(t *testing.T) {
	w := newTown(t)
	c := writtest.New(w.house)
	w.hall.Table(c, nil)
	w.helper(func(_ *town, conn net.Conn, _ parley.Offer) parley.End { conn.Close(); return parley.End{} })
	m := w.messenger()
	for range 2 {
		if err := w.round(m); refusal.CodeOf(err) != codeHelper {
			t.Errorf("%v", err)
		}
	}
	if !strings.Contains(w.hall.Helper(), string(codeHelper)) {
		t.Errorf("told: %q", w.hall.Helper())
	}
	w.put("root/var/lib/dpkg/status", strings.Replace(status, "deb12u2", "deb12u3", 1))
	w.round(m)
	if !strings.Contains(string(canon.MustEncode(w.hall.Snapshot().Status)), "deb12u3") {
		t.Error("the inventory was kept back")
	}
	w.helper(done(w.receipt(c)))
	w.must(w.round(m))
	if len(w.hall.Receipts()) != 1 || w.hall.Helper() != "" {
		t.Errorf("%d receipts, told %q", len(w.hall.Receipts()), w.hall.Helper())
	}
}

func TestUnits(t *testing.T) {
	got := units("ssh.service loaded active running OpenBSD Secure Shell server\ncron.service loaded failed failed Regular background\n\nbroken\n")
	if len(got) != 2 || got[0] != (wire.Service{Name: "cron.service", State: "failed"}) || got[1].State != "active" {
		t.Errorf("%+v", got)
	}
}

// TestAListOfProcessesSpeaksOfItsPackages: what the helper has seen counts only
// for the packages that were there when it looked.
func TestAListOfProcessesSpeaksOfItsPackages(t *testing.T) {
	w := newTown(t)
	m := w.messenger()
	now := time.Now().Unix()
	packages := func() string { return parley.PackagesOf(w.in("root")) }
	facts := func(change func(*parley.Facts)) {
		f := parley.Facts{Type: parley.TypeFacts, At: now, Boot: bootID(), Packages: packages(), Mapped: []inventory.Mapping{{Path: "/usr/lib/libssl.so.3", Inode: 7, Exec: true}}}
		change(&f)
		w.must(os.WriteFile(m.factsFile(), canon.MustEncode(f), 0o644))
	}
	look := func() wire.Snapshot {
		s, err := m.snapshot(t.Context())
		w.must(err)
		return s
	}
	m.spoken = wire.Protocol
	if s := look(); s.MappedAt != 0 || !strings.Contains(s.MappedWhy.Text(), "no list") || len(s.Mapped) != 0 {
		t.Errorf("without a list: %d, %q", s.MappedAt, s.MappedWhy.Text())
	}
	for name, c := range map[string]struct {
		change func(*parley.Facts)
		why    string
		listed int
	}{
		"a list":           {func(*parley.Facts) {}, "", 1},
		"another boot":     {func(f *parley.Facts) { f.Boot = "another" }, "another boot", 0},
		"older packages":   {func(f *parley.Facts) { f.Packages = "1 2 3" }, "older than the packages", 1},
		"none are known":   {func(f *parley.Facts) { f.Packages = "" }, "older than the packages", 1},
		"not all":          {func(f *parley.Facts) { f.Why = "process 7: no" }, "not whole: process 7: no", 1},
		"from the future":  {func(f *parley.Facts) { f.At += 100 }, "still to come", 1},
		"without any date": {func(f *parley.Facts) { f.At = 0 }, "still to come", 1},
	} {
		facts(c.change)
		s := look()
		if why, ok := s.Listed(); ok != (c.why == "") || !strings.Contains(why, c.why) || len(s.Mapped) != c.listed {
			t.Errorf("%s: %q, %+v", name, why, s)
		}
	}
	facts(func(*parley.Facts) {})
	first := look()
	facts(func(f *parley.Facts) { f.At++ })
	if again := look(); again.Digest() != first.Digest() {
		t.Error("that the same was seen again is a new inventory")
	}
	facts(func(f *parley.Facts) { f.At++; f.Mapped = []inventory.Mapping{} })
	if s := look(); s.MappedAt != now+1 || len(s.Mapped) != 0 {
		t.Errorf("another list: %+v", s)
	}
	read := packages()
	w.put("root/var/lib/dpkg/status", strings.Replace(status, "deb12u2", "deb12u3", 1))
	if _, why := m.facts(bootID(), read); !strings.Contains(why, "older than the packages") {
		t.Errorf("packages change while they are looked at: %q", why)
	}
	if _, ok := look().Listed(); ok {
		t.Error("a list from before the upgrade speaks of what was installed by it")
	}
	facts(func(f *parley.Facts) {
		f.Mapped[0].Process, f.Mapped[0].Owners = "nginx (pid 812)", []inventory.Owner{{Package: "libssl3:amd64", Source: "openssl"}}
	})
	if s := look(); !s.Mapped[0].Owned() || s.Mapped[0].Process == "" {
		t.Errorf("it is not told whose the file was: %+v", s.Mapped)
	}
	m.spoken = 3
	if s := look(); s.Mapped[0].Owners != nil || s.Mapped[0].Process != "" || s.MappedAt == 0 {
		t.Errorf("protocol 3 is told %+v", s)
	}
}

func TestSinceWhenTheKernelRuns(t *testing.T) {
	if now := time.Now().Unix(); booted("/proc/stat") <= 0 || booted("/proc/stat") > now {
		t.Errorf("booted at %d, now %d", booted("/proc/stat"), now)
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "stat")
	for text, want := range map[string]int64{"cpu 1\nbtime 1764300000\n": 1764300000, "cpu 1\n": 0, "btime x\n": 0, "btime -1\n": 0} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := booted(name); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
	const image = "boot/vmlinuz-6.1.0-42-amd64"
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "boot"), 0o755), os.WriteFile(filepath.Join(dir, image), nil, 0o644),
		os.Chtimes(filepath.Join(dir, image), time.Unix(1, 0), time.Unix(1, 0))); err != nil {
		t.Fatal(err)
	}
	if at := imageAt(dir, "6.1.0-42-amd64"); at < time.Now().Unix()-60 {
		t.Errorf("a package's own date counts: %d", at)
	}
	for _, other := range []string{"", "6.1.0-43-amd64", "../boot/vmlinuz-6.1.0-42-amd64"} {
		if at := imageAt(dir, other); at != 0 {
			t.Errorf("%q is dated %d", other, at)
		}
	}
}

func TestJitter(t *testing.T) {
	low, high := time.Hour, time.Duration(0)
	for range 1000 {
		d := jitter(time.Minute)
		low, high = min(low, d), max(high, d)
	}
	if low < 45*time.Second || high > 75*time.Second || high-low < 20*time.Second {
		t.Errorf("between %v and %v", low, high)
	}
}
