package witness_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/tlog/tlogtest"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/witness"
	"github.com/patchwrit/patchwrit/witness/ask"
	"github.com/patchwrit/patchwrit/writ"
)

const (
	size     = "text/x.tlog.size"
	alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
)

// The protocol of c2sp.org/tlog-witness, step by step: what each submission
// gets, and that a refused one changes nothing.
func TestAddCheckpointFollowsTheProtocol(t *testing.T) {
	w := newWorld(t)
	r := w.run(t, w.state(t, 0))
	l, none := w.log, []canon.Digest{}
	for i := range 3 {
		l.Append(entry(i))
	}
	fork := l.Fork()
	for i := range 4 {
		l.Append(entry(10 + i))
		fork.Append(entry(20 + i))
	}
	other := tlogtest.New("other.example", 1, 1)
	stranger := tlogtest.New("stranger.example", 1, 1)
	text := func(c int64) string { return tlogtest.Text(l.Checkpoint(c)) }
	long := strings.Repeat("x", 1<<20)
	proved := submit("3", l.Consistency(3, 4), l.Signed(4))
	first := base64Of(l.Consistency(3, 4)[0])
	last := strings.IndexByte(alphabet, first[42]) // its two lowest bits stand for nothing
	loosened := strings.Replace(proved, first, first[:42]+alphabet[last+1:last+2]+"=", 1)
	for _, c := range []struct {
		what, body string
		status     int
		kind, said string // when not 200
	}{
		{"junk", "junk", 400, "", ""},
		{"nothing", "", 400, "", ""},
		{"size with a sign", submit("+0", none, l.Signed(3)), 400, "", ""},
		{"size with a zero in front", submit("00", none, l.Signed(3)), 400, "", ""},
		{"negative size", submit("-1", none, l.Signed(3)), 400, "", ""},
		{"a hash that is none", "old 0\nAAAA\n\n" + string(l.Signed(3)), 400, "", ""},
		{"old size beyond the new one", submit("9", none, l.Signed(3)), 400, "", ""},
		{"too many hashes", submit("0", slices.Repeat([]canon.Digest{canon.SumFile(nil)}, 64), l.Signed(3)), 400, "", ""},
		{"no checkpoint", submit("0", none, []byte(text(3))), 400, "", ""},
		{"too long", submit("0", none, []byte(long)), 400, "", ""},
		{"another log", submit("0", none, other.Signed(0)), 404, "", ""},
		{"not signed by the log", submit("0", none, []byte(text(3)+"\n"+stranger.LogLine(text(3)))), 403, "", ""},
		{"signature of other text", submit("0", none, []byte(text(3)+"\n"+l.LogLine(text(4)))), 403, "", ""},
		{"old size before anything was cosigned", submit("2", l.Consistency(2, 3), l.Signed(3)), 409, size, "0\n"},
		{"a proof from nothing", submit("0", l.Consistency(2, 3), l.Signed(3)), 422, "", ""},
		{"first", submit("0", none, l.Signed(3)), 200, "", ""},
		{"the same again", submit("3", none, l.Signed(3)), 200, "", ""},
		{"from nothing again", submit("0", none, l.Signed(3)), 409, size, "3\n"},
		{"smaller", submit("3", none, l.Signed(2)), 400, "", ""},
		{"smaller, honest about it", submit("2", none, l.Signed(2)), 409, size, "3\n"},
		{"grown without proof", submit("3", none, l.Signed(5)), 422, "", ""},
		{"grown with the proof of another size", submit("3", l.Consistency(2, 5), l.Signed(5)), 422, "", ""},
		{"a hash in another spelling", loosened, 400, "", ""},
		{"the same in its only spelling", proved, 200, "", ""},
		{"as good, but late", proved, 409, size, "4\n"},
		{"grown, also signed by a stranger", submit("4", l.Consistency(4, 5), append(l.Signed(5), stranger.LogLine(text(5))...)), 200, "", ""},
		{"fork", submit("5", fork.Consistency(5, 7), fork.Signed(7)), 422, "", ""},
		{"another tree of the same size", submit("5", none, fork.Signed(5)), 409, "text/plain; charset=utf-8", ""},
		{"grown on", submit("5", l.Consistency(5, 7), l.Signed(7)), 200, "", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			w.clock.Add(1)
			status, kind, said := r.post("/add-checkpoint", c.body)
			if status != c.status || (c.kind != "" && kind != c.kind) || (c.said != "" && said != c.said) {
				t.Fatalf("got %d %s %q, want %d %s %q", status, kind, said, c.status, c.kind, c.said)
			}
			if kind == size && c.kind != size {
				t.Error("the log would take this for the size cosigned last")
			}
			if status != 200 {
				if strings.Contains(said, "\u2014") {
					t.Errorf("a refusal with a signature: %q", said)
				}
				return
			}
			_, signed, _ := strings.Cut(c.body, "\n\n")
			signed = signed[:strings.Index(signed, "\n\n")+2] + l.LogLine(signed[:strings.Index(signed, "\n\n")+1])
			if at := w.cosigned(t, 0, []byte(signed), said); at != w.clock.Load() {
				t.Errorf("cosigned at %d, it is %d", at, w.clock.Load())
			}
		})
	}
	resp, err := http.Get(r.url + "/add-checkpoint")
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET gets %s", resp.Status)
	}
}

// What was cosigned is on disk before the answer is out: a crash at the moment
// of the answer leaves a state that cosigns no other history.
func TestACrashForgetsNothing(t *testing.T) {
	w := newWorld(t)
	dir := w.state(t, 0)
	r := w.run(t, dir)
	fork := w.log.Fork()
	for i := range 5 {
		w.log.Append(entry(i))
		fork.Append(entry(50 + i))
	}
	status, _, _ := r.post("/add-checkpoint", submit("0", nil, w.log.Signed(5)))
	if status != 200 {
		t.Fatal(status)
	}
	h := w.halt(1, everything(), 3600)
	must(t, ask.Err(ask.Halt(t.Context(), []tlog.Witness{r.at()}, h, w.signed(t, h, approval.Stop, 1))))

	again := w.run(t, copyOf(t, dir))
	status, kind, said := again.post("/add-checkpoint", submit("0", nil, fork.Signed(5)))
	if status != 409 || kind != size || said != "5\n" {
		t.Errorf("after a crash another history gets %d %q", status, said)
	}
	status, _, _ = again.post("/add-checkpoint", submit("5", nil, fork.Signed(5)))
	if status != 409 {
		t.Errorf("after a crash another tree of the same size gets %d", status)
	}
	wants(t, again.lease(w.Hosts[0].ID), witness.CodeHalted)
}

// When the state cannot be stored there is no signature, and no harm.
func TestNothingIsSaidThatCannotBeStored(t *testing.T) {
	w := newWorld(t)
	dir := w.state(t, 0)
	r := w.run(t, dir)
	w.log.Append(entry(1))
	block := filepath.Join(dir, "seen.json.new") // a directory where the file is to be
	must(t, os.Mkdir(block, 0o700))
	status, _, said := r.post("/add-checkpoint", submit("0", nil, w.log.Signed(1)))
	if status != 500 || strings.Contains(said, "\u2014") {
		t.Errorf("got %d %q", status, said)
	}
	h := w.halt(1, everything(), 3600)
	haltFile := filepath.Join(dir, "halts", string(h.Statement(approval.Stop).Digest())+".json.new")
	must(t, os.Mkdir(haltFile, 0o700))
	if err := ask.Err(ask.Halt(t.Context(), []tlog.Witness{r.at()}, h, w.signed(t, h, approval.Stop, 1))); err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("a halt that was not stored: %v", err)
	}
	must(t, os.Remove(block))
	must(t, os.Remove(haltFile))
	status, _, said = r.post("/add-checkpoint", submit("0", nil, w.log.Signed(1)))
	if status != 200 {
		t.Errorf("got %d %q", status, said)
	}
	must(t, ask.Err(ask.Halt(t.Context(), []tlog.Witness{r.at()}, h, w.signed(t, h, approval.Stop, 1))))
}

// Of many histories that arrive at the same moment, one is cosigned.
func TestOneOfManyForksIsCosigned(t *testing.T) {
	w := newWorld(t)
	r := w.run(t, w.state(t, 0))
	var group sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for i := range 16 {
		fork := w.log.Fork()
		fork.Append(entry(i))
		group.Go(func() {
			resp, err := http.Post(r.url+"/add-checkpoint", "", strings.NewReader(submit("0", nil, fork.Signed(1))))
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			if resp.StatusCode == 200 {
				good++
			}
		})
	}
	group.Wait()
	if good != 1 {
		t.Errorf("%d histories were cosigned", good)
	}
}

func TestLeasesSayWhatTheWitnessKnows(t *testing.T) {
	w := newWorld(t)
	r := w.run(t, w.state(t, 1))
	policy, err := tlog.ParsePolicy(w.Root.Witnesses)
	must(t, err)
	w.log.Append(entry(1))
	for _, want := range []tlog.Checkpoint{{}, w.log.Checkpoint(1)} {
		w.clock.Add(100)
		leases, err := ask.Leases(t.Context(), []tlog.Witness{r.at()}, w.Hosts[0].ID, nonce)
		must(t, err)
		var l writ.Lease
		must(t, canon.Decode(leases[0], &l))
		sig := l.Signature
		l.Signature = ""
		if (l != writ.Lease{
			Type: writ.TypeLease, Witness: "w2.example", Host: w.Hosts[0].ID, Nonce: nonce, Time: w.clock.Load(),
			Checkpoint: want, Trust: w.Pinned, Versions: w.Root.Versions,
		}) {
			t.Errorf("%+v", l)
		}
		key, _ := policy.Key("w2.example")
		b, _ := hex.DecodeString(sig)
		if !ed25519.Verify(key, l.Digest().Bytes(), b) {
			t.Error("the lease's signature does not verify")
		}
		if status, _, said := r.post("/add-checkpoint", submit(fmt.Sprint(want.Size), nil, w.log.Signed(1))); status != 200 {
			t.Fatal(status, said)
		}
	}
}

func TestLeaseRefusals(t *testing.T) {
	w := newWorld(t)
	r := w.run(t, w.state(t, 0))
	good := ask.LeaseRequest{Type: ask.TypeLeaseRequest, Host: w.Hosts[0].ID, Nonce: nonce}
	change := func(f func(*ask.LeaseRequest)) string {
		q := good
		f(&q)
		return string(canon.MustEncode(q))
	}
	for _, c := range []struct {
		what, body string
		status     int
		code       refusal.Code
	}{
		{"untouched", change(func(*ask.LeaseRequest) {}), 200, ""},
		{"junk", "junk", 400, witness.CodeRequest},
		{"not canonical", " " + change(func(*ask.LeaseRequest) {}), 400, witness.CodeRequest},
		{"another type", change(func(q *ask.LeaseRequest) { q.Type = writ.TypeLease }), 400, witness.CodeRequest},
		{"no host", change(func(q *ask.LeaseRequest) { q.Host = "" }), 400, witness.CodeRequest},
		{"short nonce", change(func(q *ask.LeaseRequest) { q.Nonce = nonce[2:] }), 400, witness.CodeRequest},
		{"too long", change(func(q *ask.LeaseRequest) { q.Nonce = strings.Repeat("a", ask.MaxLeaseRequest) }), 400, witness.CodeRequest},
		{"unknown host", change(func(q *ask.LeaseRequest) { q.Host = canon.SumFile(nil) }), 403, witness.CodeHost},
	} {
		t.Run(c.what, func(t *testing.T) {
			status, _, said := r.post("/lease", c.body)
			if status != c.status {
				t.Errorf("got %d %s", status, said)
			}
			if c.code == "" {
				return
			}
			var no ask.Refused
			must(t, canon.Decode([]byte(said), &no))
			if refusal.Code(no.Code) != c.code || no.Type != ask.TypeRefused {
				t.Errorf("got %+v, want %s", no, c.code)
			}
		})
	}
}

func TestHaltStopsLeasesUntilItEndsOrIsLifted(t *testing.T) {
	w := newWorld(t)
	dir := w.state(t, 0)
	r := w.run(t, dir)
	one, two := w.Hosts[0].ID, w.Hosts[1].ID
	ws := []tlog.Witness{r.at()}
	must(t, r.lease(one))

	h := w.halt(1, only(one), 3600)
	answers := ask.Halt(t.Context(), ws, h, w.signed(t, h, approval.Stop, 1))
	must(t, ask.Err(answers))
	if a := answers[0]; a.Witness != r.Name() || a.Standing.State != ask.InForce || a.Standing.Halt != h.Statement(approval.Stop).Digest() {
		t.Errorf("%+v", a)
	}
	wants(t, r.lease(one), witness.CodeHalted)
	if err := r.lease(one); !strings.Contains(err.Error(), string(h.Author)) || !strings.Contains(err.Error(), "stop") {
		t.Errorf("who halted and why is missing: %v", err)
	}
	must(t, r.lease(two))

	must(t, r.Close())
	r = w.run(t, dir)
	ws = []tlog.Witness{r.at()}
	wants(t, r.lease(one), witness.CodeHalted)

	wants(t, ask.Err(ask.Lift(t.Context(), ws, h, w.signed(t, h, approval.Lift, 1))), "PW-APPROVAL-PEOPLE")
	wants(t, r.lease(one), witness.CodeHalted)
	answers = ask.Lift(t.Context(), ws, h, w.signed(t, h, approval.Lift, 2))
	must(t, ask.Err(answers))
	if answers[0].Standing.State != ask.Lifted {
		t.Errorf("%+v", answers[0])
	}
	must(t, r.lease(one))

	// The halt's bytes are public; handed over again they stop nobody.
	must(t, r.Close())
	r = w.run(t, dir)
	ws = []tlog.Witness{r.at()}
	answers = ask.Halt(t.Context(), ws, h, w.signed(t, h, approval.Stop, 1))
	must(t, ask.Err(answers))
	if answers[0].Standing.State != ask.Lifted {
		t.Errorf("a lifted halt is %s again", answers[0].Standing.State)
	}
	must(t, r.lease(one))

	// A halt that is lifted before it arrives never stops anybody.
	early := w.halt(2, everything(), 3600)
	must(t, ask.Err(ask.Lift(t.Context(), ws, early, w.signed(t, early, approval.Lift, 2))))
	must(t, ask.Err(ask.Halt(t.Context(), ws, early, w.signed(t, early, approval.Stop, 1))))
	must(t, r.lease(two))

	// A halt ends by itself, and is forgotten.
	short := w.halt(3, everything(), 60)
	must(t, ask.Err(ask.Halt(t.Context(), ws, short, w.signed(t, short, approval.Stop, 1))))
	wants(t, r.lease(two), witness.CodeHalted)
	list, err := ask.Standings(t.Context(), r.at())
	must(t, err)
	states := map[string]ask.State{}
	for _, held := range list.Halts {
		states[held.Halt.Nonce[:2]] = held.State()
	}
	if len(states) != 3 || states["01"] != ask.Lifted || states["02"] != ask.Lifted || states["03"] != ask.InForce || list.Witness != r.Name() {
		t.Errorf("%+v", states)
	}
	w.clock.Add(60)
	must(t, r.lease(two))
	wants(t, ask.Err(ask.Halt(t.Context(), ws, short, w.signed(t, short, approval.Stop, 1))), witness.CodeOver)
	if list, err = ask.Standings(t.Context(), r.at()); err != nil || len(list.Halts) != 2 {
		t.Errorf("%d halts, %v", len(list.Halts), err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "halts", "*")); len(files) != 2 {
		t.Errorf("kept on disk: %q", files)
	}
}

func TestHaltRefusals(t *testing.T) {
	w := newWorld(t)
	r := w.run(t, w.state(t, 0))
	ws := []tlog.Witness{r.at()}
	h := w.halt(1, everything(), 3600)
	late := w.halt(2, everything(), 3600)
	late.From += 301
	soon := w.halt(3, only(w.Hosts[2].ID), 3600)
	soon.From += 300
	bad := w.halt(4, everything(), 31*24*3600)
	signed := func(h approval.Halt, k approval.Kind, n int) []approval.Approval { return w.signed(t, h, k, n) }
	forged := signed(h, approval.Stop, 1)
	forged[0].Signature = signed(late, approval.Stop, 1)[0].Signature
	for _, c := range []struct {
		what string
		with []approval.Approval
		h    approval.Halt
		ask  func([]approval.Approval, approval.Halt) []ask.Answer
		code refusal.Code
	}{
		{"nobody", []approval.Approval{}, h, w.halting(t, ws), "PW-APPROVAL-PEOPLE"},
		{"a yes for another halt", signed(late, approval.Stop, 1), h, w.halting(t, ws), "PW-APPROVAL-STATEMENT"},
		{"a lift is no halt", signed(h, approval.Lift, 2), h, w.halting(t, ws), "PW-APPROVAL-KIND"},
		{"a halt is no lift", signed(h, approval.Stop, 2), h, w.lifting(t, ws), "PW-APPROVAL-KIND"},
		{"forged", forged, h, w.halting(t, ws), "PW-APPROVAL-SIGNATURE"},
		{"one person twice", append(signed(h, approval.Lift, 1), signed(h, approval.Lift, 1)...), h, w.lifting(t, ws), "PW-APPROVAL-TWICE"},
		{"longer than 30 days", signed(bad, approval.Stop, 1), bad, w.halting(t, ws), "PW-HALT-FORM"},
		{"far in the future: accepted, not yet in force", signed(late, approval.Stop, 1), late, w.halting(t, ws), ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			wants(t, ask.Err(c.ask(c.with, c.h)), c.code)
			must(t, r.lease(w.Hosts[0].ID))
		})
	}
	t.Run("another type", func(t *testing.T) {
		q := ask.HaltRequest{Type: ask.TypeLeaseRequest, Halt: h, Approvals: signed(h, approval.Stop, 1)}
		if status, _, said := r.post("/halt", string(canon.MustEncode(q))); status != 400 || !strings.Contains(said, string(witness.CodeRequest)) {
			t.Errorf("%d %s", status, said)
		}
	})
	t.Run("begins in a moment by a clock that is ahead", func(t *testing.T) {
		must(t, ask.Err(w.halting(t, ws)(signed(soon, approval.Stop, 1), soon)))
		wants(t, r.lease(w.Hosts[2].ID), witness.CodeHalted)
		must(t, r.lease(w.Hosts[0].ID))
	})
	t.Run("the same, untouched", func(t *testing.T) {
		must(t, ask.Err(w.halting(t, ws)(signed(h, approval.Stop, 1), h)))
		wants(t, r.lease(w.Hosts[0].ID), witness.CodeHalted)
	})
}

func (w *world) halting(t *testing.T, ws []tlog.Witness) func([]approval.Approval, approval.Halt) []ask.Answer {
	return func(as []approval.Approval, h approval.Halt) []ask.Answer { return ask.Halt(t.Context(), ws, h, as) }
}

func (w *world) lifting(t *testing.T, ws []tlog.Witness) func([]approval.Approval, approval.Halt) []ask.Answer {
	return func(as []approval.Approval, h approval.Halt) []ask.Answer { return ask.Lift(t.Context(), ws, h, as) }
}

func TestStateThatCannotBeTrustedIsRefused(t *testing.T) {
	w := newWorld(t)
	stranger := trusttest.Must(nil, trusttest.Options{})
	for _, c := range []struct {
		what string
		hurt func(dir string, cfg *witness.Config)
		code refusal.Code
	}{
		{"untouched", func(string, *witness.Config) {}, ""},
		{"directory open to others", func(dir string, _ *witness.Config) { must(t, os.Chmod(dir, 0o750)) }, witness.CodeExposed},
		{"key open to others", func(dir string, _ *witness.Config) { must(t, os.Chmod(dir+"/key.json", 0o640)) }, witness.CodeExposed},
		{"no key", func(dir string, _ *witness.Config) { must(t, os.Remove(dir+"/key.json")) }, witness.CodeState},
		{"memory lost", func(dir string, _ *witness.Config) { must(t, os.Remove(dir+"/seen.json")) }, witness.CodeState},
		{"memory of trust lost", func(dir string, _ *witness.Config) { must(t, os.Remove(dir+"/trust.json")) }, witness.CodeState},
		{"memory cut", func(dir string, _ *witness.Config) { must(t, os.Truncate(dir+"/seen.json", 20)) }, witness.CodeState},
		{"memory of another kind", func(dir string, _ *witness.Config) {
			must(t, os.WriteFile(dir+"/seen.json", []byte(`{"checkpoints":[],"type":"x"}`), 0o600))
		}, witness.CodeState},
		{"memory too long", func(dir string, _ *witness.Config) {
			doc := struct {
				Checkpoints []tlog.Checkpoint `json:"checkpoints"`
				Type        string            `json:"type"`
			}{slices.Repeat([]tlog.Checkpoint{w.log.Checkpoint(0)}, 20_000), "patchwrit/witnessseen/v1"}
			must(t, os.WriteFile(dir+"/seen.json", canon.MustEncode(doc), 0o600))
		}, witness.CodeState},
		{"key of another kind", func(dir string, _ *witness.Config) {
			must(t, os.WriteFile(dir+"/key.json", []byte(`{"name":"w1.example","seed":"00","type":"patchwrit/witnesskey/v1"}`), 0o600))
		}, witness.CodeState},
		{"a halt damaged", func(dir string, _ *witness.Config) {
			must(t, os.WriteFile(dir+"/halts/x.json", []byte(`{}`), 0o600))
		}, witness.CodeState},
		{"no directory", func(_ string, cfg *witness.Config) { cfg.Dir += "x" }, witness.CodeState},
		{"another pin", func(_ string, cfg *witness.Config) { cfg.Root = canon.SumFile(nil) }, "PW-TRUST-PIN"},
		{"another house", func(dir string, cfg *witness.Config) {
			r := w.run(t, dir)
			must(t, r.Close())
			cfg.Root, cfg.Trust = stranger.Pinned, stranger.FS
		}, witness.CodeHouse},
		{"a house that does not know it", func(_ string, cfg *witness.Config) { cfg.Root, cfg.Trust = stranger.Pinned, stranger.FS }, witness.CodeStranger},
		{"another process is this witness", func(dir string, _ *witness.Config) { w.run(t, dir) }, witness.CodeBusy},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := w.state(t, 0)
			cfg := w.config(dir)
			c.hurt(dir, &cfg)
			wit, err := witness.Open(cfg)
			wants(t, err, c.code)
			if err == nil {
				must(t, wit.Close())
			}
		})
	}
}

func TestKeygenRefusals(t *testing.T) {
	seed := func() *bytes.Reader { return bytes.NewReader(make([]byte, 32)) }
	dir := filepath.Join(t.TempDir(), "w")
	_, err := witness.NewKey(dir, "w.example", "http://w.example/", seed())
	must(t, err)
	_, err = witness.NewKey(dir, "w.example", "http://w.example/", seed())
	wants(t, err, witness.CodeKeyThere)
	open := t.TempDir()
	must(t, os.Chmod(open, 0o755))
	_, err = witness.NewKey(open, "w.example", "http://w.example/", seed())
	wants(t, err, witness.CodeExposed)
	for _, c := range [][2]string{{"w.example", "w.example"}, {"w.example", "http://a b"}, {"w#", "http://w.example"}} {
		_, err = witness.NewKey(filepath.Join(t.TempDir(), "w"), c[0], c[1], seed())
		wants(t, err, tlog.CodePolicy)
	}
	if _, err = witness.NewKey(filepath.Join(t.TempDir(), "w"), "w+1", "http://w.example", seed()); err == nil {
		t.Error("a name with + was taken")
	}
	if _, err = witness.NewKey(filepath.Join(t.TempDir(), "w"), "w", "http://w.example", bytes.NewReader(nil)); err == nil {
		t.Error("a key without randomness was made")
	}
}

// A newer trust root is taken while the witness runs; an older one, or a broken
// one, leaves the one before, also after a restart.
func TestTrustRootMovesForwardOnly(t *testing.T) {
	w := newWorld(t)
	dir := w.state(t, 0)
	r := w.run(t, dir)
	public, _, err := ed25519.GenerateKey(bytes.NewReader(make([]byte, 32)))
	must(t, err)
	fresh := ceremony.FromHostKey(public, "c")
	wants(t, r.lease(fresh.ID), witness.CodeHost)
	must(t, r.Reload()) // nothing has changed

	old := map[string][]byte{}
	for name, b := range w.Bundle() {
		old[name] = b
	}
	_, err = ceremony.AddHost(w.trust, w.Signing(), fresh)
	must(t, err)
	must(t, r.Reload())
	must(t, r.lease(fresh.ID))

	must(t, os.WriteFile(filepath.Join(w.trust, "timestamp.json"), old["timestamp.json"], 0o644))
	wants(t, r.Reload(), "PW-TRUST-ROLLBACK")
	must(t, r.lease(fresh.ID))
	must(t, r.Close())
	_, err = witness.Open(w.config(dir))
	wants(t, err, "PW-TRUST-ROLLBACK")
	must(t, os.Remove(filepath.Join(w.trust, "timestamp.json")))
	_, err = witness.Open(w.config(dir))
	if err == nil {
		t.Error("opened without a trust repository")
	}
}

// Nobody can keep other people's halts out by signing many.
func TestOnePersonCannotFillTheWitness(t *testing.T) {
	w := newWorld(t)
	dir := w.state(t, 0)
	for i := range 100 {
		h := w.halt(0, only(w.Hosts[0].ID), 3600)
		h.Nonce = fmt.Sprintf("%064x", i)
		held := ask.Held{Halt: h, Approvals: []approval.Approval{{Person: w.People[0].ID}}, Lifts: []approval.Approval{}}
		must(t, os.WriteFile(filepath.Join(dir, "halts", string(held.Digest())+".json"), canon.MustEncode(held), 0o600))
	}
	r := w.run(t, dir)
	h := w.halt(9, everything(), 3600)
	both := w.signed(t, h, approval.Stop, 2)
	ws := []tlog.Witness{r.at()}
	wants(t, ask.Err(ask.Halt(t.Context(), ws, h, both[:1])), witness.CodeFull)
	must(t, r.lease(w.Hosts[1].ID))
	must(t, ask.Err(ask.Halt(t.Context(), ws, h, both[1:])))
	wants(t, r.lease(w.Hosts[1].ID), witness.CodeHalted)
}

// All witnesses are asked at once, and each one's answer is told.
func TestEveryWitnessAnswerIsTold(t *testing.T) {
	w := newWorld(t)
	good, halted := w.run(t, w.state(t, 0)), w.run(t, w.state(t, 1))
	h := w.halt(1, everything(), 3600)
	must(t, ask.Err(ask.Halt(t.Context(), []tlog.Witness{halted.at()}, h, w.signed(t, h, approval.Stop, 1))))
	lies := map[string]string{"/lease": "no lease"}
	liar := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, lies[r.URL.Path]) }))
	defer liar.Close()
	away := httptest.NewServer(http.RedirectHandler(good.url+"/lease", http.StatusTemporaryRedirect))
	defer away.Close()
	flood := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { rw.Write(make([]byte, 1<<20)) }))
	defer flood.Close()
	ws := []tlog.Witness{
		{Name: "down.example", URL: "http://127.0.0.1:1"}, good.at(), halted.at(), {Name: "liar.example", URL: liar.URL},
		{Name: "imposter.example", URL: good.url}, {Name: "w3.example", URL: away.URL}, {Name: "flood.example", URL: flood.URL},
	}
	leases, err := ask.Leases(t.Context(), ws, w.Hosts[0].ID, nonce)
	if len(leases) != 1 || err == nil {
		t.Fatalf("%d leases, %v", len(leases), err)
	}
	for _, want := range []string{
		"witness down.example: ", "witness " + halted.Name() + ": PW-WITNESS-HALTED", "witness liar.example: its answer is no lease",
		"witness imposter.example: its lease is by \"w1.example\"", "witness w3.example: it answers 307", "witness flood.example: its answer is longer",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), good.Name()+": ") {
		t.Errorf("the good witness is blamed: %v", err)
	}
	answers := ask.Halt(t.Context(), ws[:2], h, w.signed(t, h, approval.Stop, 1))
	if answers[0].Err == nil || answers[1].Err != nil || answers[1].Standing.State != ask.InForce {
		t.Errorf("%+v", answers)
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	r := w.run(t, w.state(t, 0))
	w.log.Append(entry(1))
	r.post("/add-checkpoint", submit("0", nil, w.log.Signed(1)))
	resp, err := http.Get(r.url + "/healthz")
	must(t, err)
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	must(t, err)
	var h ask.Health
	must(t, canon.Decode(b.Bytes(), &h))
	if (h != ask.Health{Type: ask.TypeHealth, Witness: r.Name(), Time: w.clock.Load(), Checkpoint: w.log.Checkpoint(1), Trust: w.Pinned, Versions: w.Root.Versions}) {
		t.Errorf("%+v", h)
	}
}

// Whatever is sent, a cosignature comes only for what the log signed and what
// continues the log, in sizes that never fall.
func FuzzAddCheckpoint(f *testing.F) {
	w := newWorld(f)
	wit, err := witness.Open(w.config(w.state(f, 0)))
	must(f, err)
	handler := wit.Handler()
	for i := range 5 {
		w.log.Append(entry(i))
	}
	f.Add(submit("0", nil, w.log.Signed(2)))
	f.Add(submit("2", w.log.Consistency(2, 5), w.log.Signed(5)))
	f.Add("old 0\n\n" + origin + "\n")
	top := int64(0)
	f.Fuzz(func(t *testing.T, body string) {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest("POST", "/add-checkpoint", strings.NewReader(body)))
		switch {
		case rec.Code == 200:
			_, signed, _ := strings.Cut(body, "\n\n")
			w.cosigned(t, 0, []byte(signed[:strings.LastIndex(signed, "\n\n")+2]+w.log.LogLine(signed[:strings.LastIndex(signed, "\n\n")+1])), rec.Body.String())
			var n int64
			fmt.Sscan(strings.Split(signed, "\n")[1], &n)
			if n < top {
				t.Fatalf("cosigned %d after %d", n, top)
			}
			top = n
		case rec.Code >= 500:
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
	})
}
