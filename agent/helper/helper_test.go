package helper

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"crypto/x509"
	"encoding/pem"

	"github.com/patchwrit/patchwrit/agent/parley"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// place is one host with a helper that runs, over a root with an empty package
// database: enough to come to the question, never to an artefact.
type place struct {
	t     *testing.T
	dir   string
	house trusttest.House
	log   bytes.Buffer
}

func (p *place) in(parts ...string) string {
	return filepath.Join(append([]string{p.dir}, parts...)...)
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) put(name string, raw []byte) {
	p.t.Helper()
	p.must(os.MkdirAll(filepath.Dir(p.in(name)), 0o755))
	p.must(os.WriteFile(p.in(name), raw, 0o600))
}

func newPlace(t *testing.T, edit func(*Enrolled)) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), house: trusttest.Must(nil, trusttest.Options{Now: time.Now()})}
	for name, text := range map[string]string{"usr/bin/apt-get": "", "usr/bin/dpkg": "",
		"var/lib/dpkg/status": "Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.20-1~deb12u2\n"} {
		p.put("root/"+name, []byte(text))
	}
	p.put("root/var/lib/dpkg/arch", []byte("amd64\n"))
	p.put("root/etc/os-release", []byte("ID=debian\nVERSION_ID=12\n"))
	p.trust(p.house)
	p.must(os.MkdirAll(p.in("messenger", "blobs"), 0o700))
	p.must(os.MkdirAll(p.in("messenger", "pool"), 0o700))
	der, err := x509.MarshalPKCS8PrivateKey(p.house.Hosts[0].Key)
	p.must(err)
	p.must(os.Mkdir(p.in("state"), 0o700))
	p.put("state/host.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	e := Enrolled{Type: TypeEnrolled, Pinned: p.house.Pinned, Root: canon.NoteOf(p.in("root")), Messenger: canon.NoteOf(p.in("messenger")),
		Public: canon.NoteOf(p.in("public")), UID: os.Getuid()}
	if edit != nil {
		edit(&e)
	}
	p.must(e.Save(p.in("state")))
	p.run()
	return p
}

// trust lays a house's repository into the messenger's directory.
func (p *place) trust(h trusttest.House) {
	p.t.Helper()
	p.must(os.RemoveAll(p.in("messenger", "trust")))
	for name, raw := range h.Bundle() {
		p.put("messenger/trust/"+name, raw)
	}
}

func (p *place) run() {
	ctx, stop := context.WithCancel(p.t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{State: p.in("state"), Agent: "/nonexistent", Now: time.Now, Logger: slog.New(slog.NewTextHandler(&p.log, nil))})
	}()
	p.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			p.t.Errorf("the helper ended: %v", err)
		}
		if p.t.Failed() {
			p.t.Logf("%s", &p.log)
		}
	})
	for range 200 {
		if _, err := os.Stat(p.in("public", parley.Socket)); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatal("no socket")
}

func (p *place) dial() net.Conn {
	p.t.Helper()
	conn, err := net.Dial("unix", p.in("public", parley.Socket))
	p.must(err)
	p.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// last reads until the end of a conversation.
func (p *place) last(conn net.Conn) parley.End {
	p.t.Helper()
	for {
		k, body, err := parley.Read(conn, parley.MaxTold)
		p.must(err)
		var e parley.End
		switch k {
		case parley.KindProgress:
		default:
			p.must(parley.Decode(k, body, parley.KindEnd, &e))
			conn.Close()
			return e
		}
	}
}

// settled waits for the helper to have looked after what was left open.
func (p *place) offer(o parley.Offer) parley.End {
	p.t.Helper()
	for {
		conn := p.dial()
		p.must(parley.Write(conn, parley.KindOffer, o))
		if e := p.last(conn); e.Code != string(codeBusy) {
			return e
		}
	}
}

func offer(d canon.Digest, stored ...canon.Digest) parley.Offer {
	return parley.Offer{Type: parley.TypeOffer, Writ: d, Stored: append([]canon.Digest{}, stored...)}
}

// writ lays a writ into the messenger's directory.
func (p *place) writ(c *writtest.Case) canon.Digest {
	p.t.Helper()
	raw := c.Raw().Writ
	d := canon.SumFile(raw)
	p.put("messenger/blobs/"+string(d), raw)
	return d
}

// An offer of a good writ comes to the question, and without leases no further.
func TestAnOfferComesToTheQuestion(t *testing.T) {
	p := newPlace(t, nil)
	c := writtest.New(p.house)
	d := p.writ(c)
	p.offer(offer(canon.SumFile(nil))) // until it is not busy any more
	conn := p.dial()
	p.must(parley.Write(conn, parley.KindOffer, offer(d)))
	k, body, err := parley.Read(conn, parley.MaxTold)
	for err == nil && k == parley.KindProgress {
		k, body, err = parley.Read(conn, parley.MaxTold)
	}
	p.must(err)
	var q parley.Question
	p.must(parley.Decode(k, body, parley.KindQuestion, &q))
	if q.Host != p.house.Hosts[0].ID || !canon.Hex(q.Nonce, 32) || q.Older != 0 || q.Newer != int64(len(c.Entries())) {
		t.Errorf("question %+v", q)
	}
	other := p.dial() // one thing at a time
	p.must(parley.Write(other, parley.KindOffer, offer(d)))
	if e := p.last(other); e.Code != string(codeBusy) {
		t.Errorf("a second offer meanwhile: %+v", e)
	}
	p.must(parley.Write(conn, parley.KindAnswer, parley.Answer{Leases: []string{}, Consistency: []canon.Digest{}, Why: "witness a is down"}))
	e := p.last(conn)
	if e.Code != "PW-AGENT-LEASE" || !strings.Contains(e.Detail.Text(), "witness a is down") || !e.Writ.Valid() || len(e.Receipts) != 0 {
		t.Errorf("end %+v", e)
	}
	facts, err := os.ReadFile(p.in("public", parley.FactsFile))
	var f parley.Facts
	if err != nil || canon.Decode(facts, &f) != nil || f.Boot == "" || f.Packages == "" || f.Packages != parley.PackagesOf(p.in("root")) {
		t.Errorf("facts %s, %v", facts, err)
	}
}

func TestSomebodyElseIsNotHeard(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give the socket to somebody else")
	}
	p := newPlace(t, func(e *Enrolled) { e.UID = 65534 })
	st, err := os.Stat(p.in("public", parley.Socket))
	p.must(err)
	if sys := st.Sys().(*syscall.Stat_t); sys.Uid != 65534 || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket belongs to %d, mode %v", sys.Uid, st.Mode())
	}
	conn := p.dial() // root can connect, and is still not the messenger
	if e := p.last(conn); e.Code != string(codePeer) {
		t.Errorf("root is heard: %+v", e)
	}
}

// Everything else than the one verb ends the conversation with its code, and
// does nothing.
func TestThereIsNoOtherVerb(t *testing.T) {
	p := newPlace(t, nil)
	c := writtest.New(p.house)
	d := p.writ(c)
	p.offer(offer(canon.SumFile(nil)))
	frame := func(k parley.Kind, v any) []byte {
		var b bytes.Buffer
		p.must(parley.Write(&b, k, v))
		return b.Bytes()
	}
	good := frame(parley.KindOffer, offer(d))
	huge := append([]byte{byte(parley.KindOffer)}, binary.BigEndian.AppendUint32(nil, 1<<31)...)
	for name, raw := range map[string][]byte{
		"another kind":        frame('x', offer(d)),
		"an answer first":     frame(parley.KindAnswer, parley.Answer{Leases: []string{}, Consistency: []canon.Digest{}}),
		"the end, from below": frame(parley.KindEnd, parley.End{Receipts: []parley.Receipt{}}),
		"another version":     frame(parley.KindOffer, parley.Offer{Type: "patchwrit/offer/v9", Writ: d, Stored: []canon.Digest{}}),
		"a path":              frame(parley.KindOffer, parley.Offer{Type: parley.TypeOffer, Writ: "../../../../../../etc/shadow", Stored: []canon.Digest{}}),
		"no digest stored":    frame(parley.KindOffer, parley.Offer{Type: parley.TypeOffer, Writ: d, Stored: []canon.Digest{".."}}),
		"a claim of 2 GiB":    huge,
		"one byte too many":   append(append([]byte{byte(parley.KindOffer)}, binary.BigEndian.AppendUint32(nil, parley.MaxSaid+1)...), make([]byte, parley.MaxSaid+1)...),
		"garbage":             bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 100),
		"white space":         bytes.Replace(good, []byte(`{"stored"`), []byte(`{ "stored"`), 1),
	} {
		conn := p.dial()
		go func() { conn.Write(raw); conn.(*net.UnixConn).CloseWrite() }()
		if e := p.last(conn); e.Code != string(parley.CodeForm) || e.Writ != "" {
			t.Errorf("%s: %+v", name, e)
		}
	}
	for name, second := range map[string][]byte{
		"a second offer":    good,
		"progress":          frame(parley.KindProgress, parley.Progress{}),
		"bad base64":        frame(parley.KindAnswer, parley.Answer{Leases: []string{"%"}, Consistency: []canon.Digest{}}),
		"garbage in answer": []byte("aaaaaaaaaaaaaa"),
		"silence":           nil,
	} {
		conn := p.dial()
		conn.Write(good)
		k, _, err := parley.Read(conn, parley.MaxTold)
		for err == nil && k == parley.KindProgress {
			k, _, err = parley.Read(conn, parley.MaxTold)
		}
		if err != nil || k != parley.KindQuestion {
			t.Fatalf("%s: kind %q, %v", name, k, err)
		}
		conn.Write(second)
		conn.(*net.UnixConn).CloseWrite()
		if e := p.last(conn); e.Code != string(parley.CodeForm) {
			t.Errorf("%s instead of the answer: %+v", name, e)
		}
	}
	if s, err := os.ReadDir(p.in("state", "receipts")); err != nil || len(s) != 0 {
		t.Errorf("%v, %v", s, err)
	}
}

// What lies in the messenger's directory is looked at as a stranger's.
func TestTheMessengersDirectoryIsAStrangers(t *testing.T) {
	p := newPlace(t, nil)
	p.put("secret", []byte("of root"))
	d := p.writ(writtest.New(p.house))
	secret := canon.SumFile([]byte("of root"))
	p.must(os.Symlink(p.in("secret"), p.in("messenger", "blobs", string(secret))))
	pipe, other := canon.SumFile([]byte("pipe")), canon.SumFile([]byte("other"))
	p.must(syscall.Mkfifo(p.in("messenger", "blobs", string(pipe)), 0o600))
	p.put("messenger/blobs/"+string(other), []byte("not what its name says"))
	sparse := canon.SumFile([]byte("sparse"))
	p.put("messenger/blobs/"+string(sparse), nil)
	p.must(os.Truncate(p.in("messenger", "blobs", string(sparse)), 1<<40))
	for name, d := range map[string]canon.Digest{"a link out": secret, "a pipe": pipe, "other bytes": other, "a large file": sparse, "nothing": canon.SumFile([]byte("none"))} {
		if e := p.offer(offer(d)); e.Code != string(codeFiles) || strings.Contains(e.Detail.Text(), "of root") {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if e := p.offer(offer(p.writWith([]byte("{}")))); e.Code != "PW-WRIT-FORM" || e.Writ != "" {
		t.Errorf("no writ: %+v", e)
	}
	for _, c := range []struct {
		name string
		do   func()
		code refusal.Code
	}{
		{"another house", func() { p.trust(trusttest.Must(nil, trusttest.Options{Now: time.Now(), Log: "log.example/evil"})) }, "PW-TRUST-PIN"},
		{"no trust repository", func() { p.must(os.RemoveAll(p.in("messenger", "trust"))) }, codeFiles},
		{"a link for a repository", func() { p.must(os.Symlink(p.in("secrets"), p.in("messenger", "trust"))) }, codeFiles},
		{"a link in it", func() {
			p.trust(p.house)
			p.must(os.Symlink("/etc/passwd", p.in("messenger", "trust", "9.root.json")))
		}, codeFiles},
		{"a pipe in it", func() {
			p.trust(p.house)
			p.must(syscall.Mkfifo(p.in("messenger", "trust", "9.root.json"), 0o600))
		}, codeFiles},
		{"too many files", func() {
			p.trust(p.house)
			for n := range maxTrustFiles + 1 {
				p.put(fmt.Sprintf("messenger/trust/x/%d", n), nil)
			}
		}, codeFiles},
		{"more than it may be", func() {
			p.trust(p.house)
			p.put("messenger/trust/x", nil)
			p.must(os.Truncate(p.in("messenger", "trust", "x"), maxTrust+1))
		}, codeFiles},
		{"a link for a pool", func() {
			p.trust(p.house)
			p.must(os.RemoveAll(p.in("messenger", "pool")))
			p.must(os.Symlink("/", p.in("messenger", "pool")))
		}, codeFiles},
	} {
		c.do()
		if e := p.offer(offer(d)); e.Code != string(c.code) {
			t.Errorf("%s: %+v", c.name, e)
		}
		own, err := os.ReadFile(p.in("state", "trust", "1.root.json"))
		if err == nil && canon.SumFile(own) != p.house.Pinned {
			t.Errorf("%s: the helper took it for its own", c.name)
		}
	}
	p.must(os.Remove(p.in("messenger", "pool")))
	p.must(os.Mkdir(p.in("messenger", "pool"), 0o700))
	conn := p.dial()
	p.must(parley.Write(conn, parley.KindOffer, offer(d)))
	k, _, err := parley.Read(conn, parley.MaxTold)
	for err == nil && k == parley.KindProgress {
		k, _, err = parley.Read(conn, parley.MaxTold)
	}
	if err != nil || k != parley.KindQuestion {
		t.Errorf("everything in order again: %q, %v", k, err)
	}
}

func (p *place) writWith(raw []byte) canon.Digest {
	d := canon.SumFile(raw)
	p.put("messenger/blobs/"+string(d), raw)
	return d
}

// Receipts are told again and again until somebody says that they are stored,
// and a writ that has one is not begun again.
func TestReceiptsAreToldUntilTheyAreStored(t *testing.T) {
	p := newPlace(t, nil)
	c := writtest.New(p.house)
	d := p.writ(c)
	var w writ.Writ
	p.must(canon.Decode(c.Raw().Writ, &w))
	r := writtest.SignReceipt(writ.Receipt{Type: writ.TypeReceipt, Host: p.house.Hosts[0].ID, Writ: w.Body.Digest(), Outcome: writ.Done,
		States: []writ.State{}, Effective: writ.Effective{Stale: []string{}}}, p.house.Hosts[0].Key)
	p.put("state/owed/"+string(r.Writ), canon.MustEncode(r))
	for range 2 {
		e := p.offer(offer(d))
		if e.Code != "" || e.Writ != r.Writ || len(e.Receipts) != 1 || e.Receipts[0].Receipt.Digest() != r.Digest() {
			t.Fatalf("%+v", e)
		}
	}
	if e := p.offer(offer(canon.SumFile(nil))); len(e.Receipts) != 1 { // with whatever offer
		t.Errorf("with another offer: %+v", e)
	}
	if e := p.offer(offer(canon.SumFile(nil), r.Digest())); len(e.Receipts) != 0 || e.Code != string(codeFiles) {
		t.Errorf("after it was stored: %+v", e)
	}
}

func TestAHostIsEnrolledToOneRoot(t *testing.T) {
	dir := t.TempDir()
	e := Enrolled{Type: TypeEnrolled, Pinned: canon.SumFile(nil), UID: 7}
	if _, err := ReadEnrolled(dir); refusal.CodeOf(err) != codeEnrolled {
		t.Errorf("none yet: %v", err)
	}
	if err := Run(t.Context(), Config{State: dir, Logger: slog.New(slog.DiscardHandler)}); refusal.CodeOf(err) != codeEnrolled {
		t.Errorf("a helper of no host: %v", err)
	}
	for range 2 {
		if err := e.Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ReadEnrolled(dir); err != nil || got != e {
		t.Errorf("%+v, %v", got, err)
	}
	e.Pinned = canon.SumFile([]byte("other"))
	if err := e.Save(dir); refusal.CodeOf(err) != codeEnrolled {
		t.Errorf("another root: %v", err)
	}
}

func TestLines(t *testing.T) {
	var got []string
	l := lines{to: func(s string) { got = append(got, s) }}
	io.WriteString(&l, "one\ntw")
	io.WriteString(&l, "o\n\n"+strings.Repeat("x", 3*maxLine/2)+"\nend")
	l.end()
	if len(got) != 4 || got[0] != "one" || got[1] != "two" || len(got[2]) != maxLine || got[3] != "end" {
		t.Errorf("%q", got)
	}
}

func TestPrintable(t *testing.T) {
	for path, want := range map[string]string{"/usr/lib/x": "/usr/lib/x", `/a\040b`: `/a\040b`, "/ä": `/\u00e4`} {
		if got := printable(path); got != want {
			t.Errorf("%q: %q", path, got)
		}
	}
}
