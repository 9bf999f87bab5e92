package witness_test

import (
	"bytes"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/identity/softkey"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/tlog/tlogtest"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/witness"
	"github.com/patchwrit/patchwrit/witness/ask"
)

// world is a house whose log is one of tlogtest's, with its trust repository on
// disk and a clock that the test moves.
type world struct {
	trusttest.House
	log   *tlogtest.Log
	trust string // directory
	clock atomic.Int64
}

const origin = "log.example/one"

func newWorld(t testing.TB) *world {
	w := &world{log: tlogtest.New(origin, 0, 0), trust: t.TempDir()}
	w.House = trusttest.Must(nil, trusttest.Options{Hosts: 3, Edit: func(c *ceremony.Contents) {
		_, rest, _ := strings.Cut(c.Witnesses, "\n")
		c.Witnesses = "log " + w.log.VKey(origin) + "\n" + rest
	}})
	for name, b := range w.Bundle() {
		path := filepath.Join(w.trust, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, b, 0o644))
	}
	w.clock.Store(w.Now.Unix())
	return w
}

// state makes the state directory of the house's i-th witness.
func (w *world) state(t testing.TB, i int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	line, err := witness.NewKey(dir, w.Witnesses[i].Name, w.Witnesses[i].URL, bytes.NewReader(w.Witnesses[i].Key.Seed()))
	must(t, err)
	if !strings.Contains(w.Root.Witnesses, line+"\n") {
		t.Fatalf("keygen prints %q, which is not in the policy", line)
	}
	return dir
}

func (w *world) config(dir string) witness.Config {
	return witness.Config{Dir: dir, Trust: os.DirFS(w.trust), Root: w.Pinned, Now: func() time.Time { return time.Unix(w.clock.Load(), 0) }}
}

// running is a witness that answers over HTTP.
type running struct {
	*witness.Witness
	t   testing.TB
	url string
}

func (w *world) run(t testing.TB, dir string) running {
	t.Helper()
	wit, err := witness.Open(w.config(dir))
	must(t, err)
	srv := httptest.NewServer(wit.Handler())
	t.Cleanup(func() {
		srv.Close()
		wit.Close() // once more, where the test has done so
	})
	return running{wit, t, srv.URL}
}

// at is the witness as the policy would give it.
func (r running) at() tlog.Witness { return tlog.Witness{Name: r.Name(), URL: r.url} }

func (r running) post(path, body string) (status int, kind, said string) {
	r.t.Helper()
	resp, err := http.Post(r.url+path, "", strings.NewReader(body))
	must(r.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(r.t, err)
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

// lease asks for a lease and gives the refusal.
func (r running) lease(h trust.HostID) error {
	r.t.Helper()
	leases, err := ask.Leases(r.t.Context(), []tlog.Witness{r.at()}, h, nonce)
	if (err == nil) != (len(leases) == 1) {
		r.t.Errorf("%d leases and %v", len(leases), err)
	}
	return err
}

var nonce = strings.Repeat("5a", 32)

// halt makes a halt that begins now.
func (w *world) halt(n byte, scope trust.Scope, life int64) approval.Halt {
	now := w.clock.Load()
	return approval.Halt{
		Type: approval.TypeHalt, Nonce: hex.EncodeToString(bytes.Repeat([]byte{n}, 32)), Author: w.People[0].ID,
		From: now, Until: now + life, Scope: scope, Note: "stop",
	}
}

func everything() trust.Scope {
	return trust.Scope{All: true, Hosts: []trust.HostID{}, Domains: []string{}, Labels: []trust.Label{}}
}

func only(h trust.HostID) trust.Scope {
	return trust.Scope{Hosts: []trust.HostID{h}, Domains: []string{}, Labels: []trust.Label{}}
}

// signed are the approvals of the house's first people.
func (w *world) signed(t testing.TB, h approval.Halt, k approval.Kind, people int) []approval.Approval {
	t.Helper()
	out := []approval.Approval{}
	for _, p := range w.People[:people] {
		a, err := softkey.SSH(w.Root, p.SSH, h.Statement(k), w.clock.Load())
		must(t, err)
		out = append(out, a)
	}
	return out
}

// submit is the body of POST /add-checkpoint.
func submit(old string, proof []canon.Digest, signed []byte) string {
	body := "old " + old + "\n"
	for _, d := range proof {
		body += base64Of(d) + "\n"
	}
	return body + "\n" + string(signed)
}

func base64Of(d canon.Digest) string {
	return strings.Split(tlogtest.Text(tlog.Checkpoint{Hash: d}), "\n")[2]
}

// cosigned verifies a signature line under a checkpoint and gives its time.
func (w *world) cosigned(t testing.TB, i int, signed []byte, line string) int64 {
	t.Helper()
	n, err := note.Open([]byte(string(signed)+line), note.VerifierList(w.Witnesses[i].Signer.Verifier()))
	must(t, err)
	p, err := tlog.ParsePolicy("log " + w.log.VKey(origin) + "\nwitness x " + w.Witnesses[i].Signer.Verifier().String() + " http://x\nquorum x\n")
	must(t, err)
	v, err := p.Checkpoint([]byte(string(signed) + line))
	must(t, err)
	if len(n.Sigs) != 1 {
		t.Errorf("%d signatures", len(n.Sigs))
	}
	return v.Time
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t testing.TB, err error, code refusal.Code) {
	t.Helper()
	if refusal.CodeOf(err) != code || (err != nil) != (code != "") {
		t.Errorf("got %v, want %q", err, code)
	}
}

// copyOf is the state directory as a crash would leave it at this moment.
func copyOf(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "state")
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		rel, _ := filepath.Rel(dir, path)
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		must(t, err)
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	}))
	return to
}

func entry(i int) tlog.Entry {
	return tlog.NewEntry("plan", canon.SumFile([]byte{byte(i)}), int64(1000+i))
}
