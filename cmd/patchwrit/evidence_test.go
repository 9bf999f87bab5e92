package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// office is a control plane in a directory, with its log and witnesses that
// cosign whatever they are shown (c2sp.org/tlog-witness, add-checkpoint).
type office struct {
	*testing.T
	w   *evidencetest.World
	dir string
}

func (o *office) path(name string) string { return filepath.Join(o.dir, name) }

func (o *office) put(name string, b []byte) string {
	o.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(o.path(name)), 0o700), os.WriteFile(o.path(name), b, 0o600)); err != nil {
		o.Fatal(err)
	}
	return o.path(name)
}

func openOffice(t *testing.T) *office {
	o := &office{T: t, dir: t.TempDir()}
	o.w = evidencetest.Must(evidencetest.Options{Hosts: 1, Now: time.Now().Truncate(time.Second).UTC(), Edit: func(c *ceremony.Contents) {
		for _, name := range []string{"w1.example", "w2.example", "w3.example"} {
			server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { o.cosign(name, rw, r) }))
			t.Cleanup(server.Close)
			c.Witnesses = strings.Replace(c.Witnesses, "https://"+name, server.URL, 1)
		}
	}})
	for name, b := range o.w.House.Bundle() {
		o.put(filepath.Join("trust", name), b)
	}
	o.put("data/log.key", []byte(o.w.House.Log.SKey+"\n"))
	o.put("policy.tar.gz", o.w.Rules)
	b := o.w.Bundle
	o.put("plan.json", proposal.NewFile(b.Header, b.Branches, b.Dossier).Bytes())
	for i, a := range b.Approvals {
		o.put("answer"+string(rune('0'+i)), canon.MustEncode(a))
	}
	c := b.Dossier.Artefacts[0].Chain
	o.put("pool/releases/debian-security/InRelease", o.blob(c.Release))
	o.put("pool/releases/debian-security/"+c.Path, o.blob(c.Packages))
	return o
}

func (o *office) blob(d canon.Digest) []byte {
	file, _ := evidencetest.File(o.w.Bundle, d)
	return file
}

func (o *office) cosign(name string, rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, signed, _ := strings.Cut(string(body), "\n\n")
	text, _, _ := strings.Cut(signed, "\n\n")
	for _, w := range o.w.House.Witnesses {
		if w.Name != name {
			continue
		}
		out, err := note.Sign(&note.Note{Text: text + "\n"}, w.Signer)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		_, line, _ := strings.Cut(string(out), "\n\n")
		_, _ = io.WriteString(rw, line)
	}
}

// run is one call of the tool with the office's house and data.
func (o *office) run(args ...string) (code int, stdout, stderr string) {
	var out, says bytes.Buffer
	root := newRoot(&out, &says)
	root.SetArgs(append(args, "--trust", o.path("trust"), "--root-sha256", string(o.w.House.Pinned)))
	code = report(&says, root.ExecuteContext(context.Background()))
	return code, out.String(), says.String()
}

// act is the host: it verifies the writ under leases of now, and is done.
func (o *office) act() (state string) {
	raw, err := readFile(o.path("writ.json"))
	if err != nil {
		o.Fatal(err)
	}
	var x writ.Writ
	if err := canon.Decode(raw, &x); err != nil {
		o.Fatal(err)
	}
	p, err := tlog.ParsePolicy(o.w.House.Root.Witnesses)
	if err != nil {
		o.Fatal(err)
	}
	seen, err := p.Verify(x.Body.Entry(), x.Proof)
	if err != nil {
		o.Fatal(err)
	}
	now, in := time.Now(), writ.Raw{Writ: raw, Leases: [][]byte{[]byte(`{"no":"lease"}`)}}
	for _, w := range o.w.House.Witnesses {
		in.Leases = append(in.Leases, canon.MustEncode(writtest.SignLease(writ.Lease{Type: writ.TypeLease, Witness: w.Name, Host: x.Body.Host, Nonce: writtest.Nonce,
			Time: now.Unix(), Checkpoint: seen.Checkpoint, Trust: o.w.House.Root.ID, Versions: o.w.House.Root.Versions}, w.Key)))
	}
	v, mem, err := writ.Verify(in, o.w.House.Root, writ.NewMemory(x.Body.Host, o.w.House.Root.ID).Asking(writtest.Nonce, now.Unix()), now)
	if err != nil {
		o.Fatal(err)
	}
	r := o.w.Bundle.Writs[0].Receipts[0]
	r.Host, r.Writ, r.Plan, r.Shown, r.Checkpoint, r.Started, r.Ended = v.Host(), v.Digest(), v.Plan(), v.Shown(), mem.Checkpoint, now.Unix(), now.Unix()
	o.put("agent/receipts/1", canon.MustEncode(writtest.SignReceipt(r, o.w.House.Hosts[0].Key)))
	o.put("agent/writs/"+string(v.Digest()), raw)
	o.put("agent/writs/"+string(v.Digest())+".leases", append(bytes.Join(in.Leases, []byte("\n")), '\n'))
	return o.path("agent")
}

// TestEvidenceOfARealLogHolds goes the whole way: issue, act, export, verify;
// and then each thing that export cannot do without.
func TestEvidenceOfARealLogHolds(t *testing.T) {
	o := openOffice(t)
	wants := func(code int, says string, args ...string) {
		t.Helper()
		if got, out, err := o.run(args...); got != code || !strings.Contains(out+err, says) {
			t.Errorf("%v: exit %d, want %d, …%s…\n%s%s", args, got, code, says, out, err)
		}
	}
	export := func(more ...string) []string {
		return append([]string{"evidence", "export", o.path("plan.json"), "--data", o.path("data"), "--pool", o.path("pool"), "-o", o.path("evidence.json")}, more...)
	}
	wants(exitFailure, "knows no such plan", export()...)
	wants(exitOK, "writ ", "writ", "issue", o.path("plan.json"), "--answer", o.path("answer0"), "--answer", o.path("answer1"),
		"--policy", o.path("policy.tar.gz"), "--data", o.path("data"), "--out", o.path("writ.json"))
	wants(exitOK, "every check holds", export()...)
	wants(exitOK, "has sent none", "verify", o.path("evidence.json"))

	state := o.act()
	wants(exitFailure, "leases that host", export("--receipt", filepath.Join(state, "receipts/1"))...)
	wants(exitOK, "6 events", export("--agent-state", state)...)
	wants(exitOK, "3 leases, each signed by its witness", "verify", o.path("evidence.json"))
	wants(exitOK, "6 events", append([]string{"evidence", "export", string(o.w.Bundle.Header.Digest())}, export("--agent-state", state)[3:]...)...)

	wants(exitFailure, "no agent's state directory", export("--agent-state", o.path("pool"))...)
	wants(exitFailure, "neither a writ nor a receipt", export("--writ", o.path("policy.tar.gz"))...)
	o.put("pool/releases/debian-security/InRelease", []byte("newer"))
	wants(exitFailure, "use the pool and the data directory of that time", export("--agent-state", state)...)
}
