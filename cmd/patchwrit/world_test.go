package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
	"golang.org/x/mod/sumdb/note"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/evidence/record"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/wire/dial"
	"github.com/patchwrit/patchwrit/witness"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// TestFleetScripts runs what operators, approvers and auditors type, against a
// real control plane (patchwrit up) and three real witnesses, each a process of
// its own. The tool "world" stands for hosts and for hostile servers. Each
// script finds in its directory: trust and $PIN; data, the control plane's
// directory; w1, w2, w3, the witnesses'; people/1, 2, 3, OpenSSH keys of p-001
// (owner), p-002 (owner, security), p-003 (owner; wrote the plan); plan.json,
// an upgrade of one package on two hosts in two waves. What it puts into "site" is
// served at $SITE. The advisor's program, and one that attacks in its place, are in $PROGRAMS.
func TestFleetScripts(t *testing.T) {
	programs, sandboxed := shutIn(t)
	setup := func(e *testscript.Env) error {
		e.Setenv("PROGRAMS", programs)
		return found(e)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/fleet", Condition: sandboxed, RequireExplicitExec: true, RequireUniqueNames: true, Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode": exitcode, "start": start, "end": end, "await": await, "setenv": setenv, "site": siteConf, "clean": cleanOutput}})
}

var address = regexp.MustCompile(`(?m)^(witness (\S+) \S+) \S+$`)

// found makes the world.
func found(e *testscript.Env) error {
	now := time.Now().Truncate(time.Second).UTC()
	listen := []string{}
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		listen = append(listen, l.Addr().String())
		e.Setenv(fmt.Sprintf("W%d", i+1), l.Addr().String())
		if err := l.Close(); err != nil {
			return err
		}
	}
	w, err := evidencetest.Make(evidencetest.Options{Now: now, NoTrial: true, Edit: func(c *ceremony.Contents) {
		n := 0
		c.Witnesses = address.ReplaceAllStringFunc(c.Witnesses, func(line string) string {
			n++
			return address.ReplaceAllString(line, "$1 http://"+listen[n-1])
		})
	}})
	if err != nil {
		return err
	}
	files, err := worldFiles(w)
	if err != nil {
		return err
	}
	for name, b := range files {
		path := filepath.Join(e.WorkDir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
			return err
		}
	}
	e.Setenv("PIN", string(w.House.Pinned))
	e.Setenv("PLAN", string(w.Bundle.Header.Digest()))
	e.Setenv("OTHER", strings.Repeat("ab", 32))
	e.Setenv("SHORT", w.Bundle.Header.Digest().Short())
	for i, h := range w.House.Hosts {
		e.Setenv(fmt.Sprintf("HOST%d", i+1), string(h.ID))
		e.Setenv(fmt.Sprintf("H%d", i+1), h.ID.Short())
	}
	site := httptest.NewServer(tagged(filepath.Join(e.WorkDir, "site")))
	e.Defer(site.Close)
	e.Setenv("SITE", site.URL)
	e.Setenv("PATCHWRIT_TRUST", "trust")
	e.Setenv("PATCHWRIT_ROOT_SHA256", string(w.House.Pinned))
	e.Setenv("PATCHWRIT_SERVER", "unix:data/api.sock")
	return nil
}

func worldFiles(w *evidencetest.World) (map[string][]byte, error) {
	plan := proposal.NewFile(w.Bundle.Header, w.Bundle.Branches, w.Bundle.Dossier)
	files := map[string][]byte{"plan.json": plan.Bytes(), "data/policy.tar.gz": w.Rules, "data/log.key": []byte(w.House.Log.SKey + "\n")}
	for name, b := range w.House.Bundle() {
		files[filepath.Join("trust", name)] = b
	}
	for d, raw := range w.Debs {
		files["data/pool/sha256/"+string(d)] = raw
	}
	chain := w.Bundle.Dossier.Artefacts[0].Chain
	for _, b := range w.Bundle.Blobs {
		raw, err := base64.StdEncoding.DecodeString(b.Data)
		if err != nil {
			return nil, err
		}
		for name, d := range map[string]canon.Digest{"InRelease": chain.Release, chain.Path: chain.Packages} {
			if canon.SumFile(raw) == d {
				files["data/pool/releases/"+string(chain.Origin)+"/"+name] = raw
			}
		}
	}
	for i, x := range w.House.Witnesses {
		dir := fmt.Sprintf("w%d/", i+1)
		files[dir+"key.json"] = fmt.Appendf(nil, `{"name":%q,"seed":"%x","type":"patchwrit/witnesskey/v1"}`, x.Name, x.Key.Seed())
		files[dir+"seen.json"] = []byte(`{"checkpoints":[],"type":"patchwrit/witnessseen/v1"}`)
		files[dir+"trust.json"] = []byte(`{"root":"","type":"patchwrit/witnesstrust/v1","versions":{"hosts":0,"root":0,"snapshot":0,"targets":0,"timestamp":0}}`)
		files[dir+"halts/.keep"] = nil
	}
	for i, p := range w.House.People {
		block, err := ssh.MarshalPrivateKey(p.SSH, "")
		if err != nil {
			return nil, err
		}
		files[fmt.Sprintf("people/%d", i+1)] = pem.EncodeToMemory(block)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(stranger, "")
	files["people/stranger"] = pem.EncodeToMemory(block)
	for i, h := range w.House.Hosts {
		files[fmt.Sprintf("hosts/%d", i+1)] = []byte(hex.EncodeToString(h.Key.Seed()))
	}
	return files, err
}

// runWitness is the witness's program: run DIR ADDR PIN.
func runWitness() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := func() error {
		w, err := witness.Open(witness.Config{Dir: os.Args[1], Trust: os.DirFS("trust"), Root: canon.Digest(os.Args[3])})
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", os.Args[2])
		if err != nil {
			return err
		}
		return errors.Join(w.Serve(ctx, l), w.Close())
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		os.Exit(1)
	}
}

// worldTool is the tool of the scripts.
func worldTool() {
	verbs := map[string]func([]string) error{"enrol": worldEnrol, "act": worldAct, "swap": worldSwap, "lease": worldLease, "tamper": worldTamper}
	if err := verbs[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		os.Exit(1)
	}
}

// enrol N NAME TOKENFILE URL: host N enrols, calling itself NAME (Go-quoted).
func worldEnrol(args []string) error {
	key, host, err := hostKey(args[0])
	if err != nil {
		return err
	}
	name, err := strconv.Unquote(`"` + args[1] + `"`)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	t, err := wire.ParseToken(strings.TrimSpace(string(raw)))
	if err != nil {
		return err
	}
	seed, _, err := dial.NewSeed()
	if err != nil {
		return err
	}
	c := dial.Config{URL: args[3], CertSHA256: t.Server, Seed: seed}
	if err := dial.Enrol(context.Background(), c, t.Secret, name, host, func(b []byte) []byte { return ed25519.Sign(key, b) }); err != nil {
		return err
	}
	return os.WriteFile("hosts/"+args[0]+".wire", append(seed, []byte("\n"+args[3]+"\n"+string(t.Server))...), 0o600)
}

func hostKey(n string) (ed25519.PrivateKey, trust.Host, error) {
	b, err := os.ReadFile("hosts/" + n)
	if err != nil {
		return nil, trust.Host{}, err
	}
	seed, err := hex.DecodeString(string(b))
	if err != nil {
		return nil, trust.Host{}, err
	}
	key := ed25519.NewKeyFromSeed(seed)
	return key, ceremony.FromHostKey(key.Public().(ed25519.PublicKey), "a"), nil
}

// agent is a host's messenger and helper in one, which installs nothing: it
// says what it did all the same.
type agent struct {
	conn *dial.Conn
	key  ed25519.PrivateKey
	host trust.Host

	speaks int // protocol
}

func dialAgent(n string) (*agent, error) {
	key, host, err := hostKey(n)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile("hosts/" + n + ".wire")
	if err != nil {
		return nil, err
	}
	f := strings.Split(string(raw), "\n")
	conn, err := dial.Dial(dial.Config{URL: f[1], CertSHA256: canon.Digest(f[2]), Seed: []byte(f[0])})
	if err != nil {
		return nil, err
	}
	a := &agent{conn, key, host, wire.Protocol}
	if n == "1" {
		a.speaks-- // the first host's agent was not upgraded yet
	}
	hello := wire.HelloRequest{Protocol: a.speaks, Version: "1", Host: host.ID, Run: strings.Repeat(n, 32)[:32], Name: "host-" + canon.Note(n)}
	var said wire.HelloAnswer
	if err := a.ask(wire.Hello, hello, &said); err != nil {
		return a, err
	}
	if said.Protocol != a.speaks {
		return a, fmt.Errorf("an agent of protocol %d is spoken to in %d", a.speaks, said.Protocol)
	}
	return a, nil
}

func (a *agent) ask(v wire.Verb, q, answer any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	raw, err := a.conn.Ask(ctx, v, canon.MustEncode(q))
	if err != nil {
		return err
	}
	return canon.Decode(raw, answer)
}

// lease N: host N asks for leases and prints how many came.
func worldLease(args []string) error {
	a, err := dialAgent(args[0])
	if err != nil {
		return err
	}
	defer a.conn.Close()
	leases, why, err := a.leases(0)
	fmt.Printf("%d leases %s\n", len(leases), why)
	return err
}

func (a *agent) leases(size int64) ([]string, canon.Note, error) {
	var l wire.LeaseAnswer
	err := a.ask(wire.Lease, wire.LeaseRequest{Nonce: strings.Repeat("5a", 32), Newer: size}, &l)
	return l.Leases, l.Why, err
}

// act N OUTCOME: host N waits for its writ and says that it did it, or (failed)
// that it refused.
func worldAct(args []string) error {
	a, err := dialAgent(args[0])
	if err != nil {
		return err
	}
	defer a.conn.Close()
	var next wire.NextAnswer
	for end := time.Now().Add(30 * time.Second); next.Writ == ""; time.Sleep(100 * time.Millisecond) {
		if err := a.ask(wire.Next, wire.NextRequest{}, &next); err != nil {
			return err
		}
		if time.Now().After(end) {
			return errors.New("no writ came")
		}
	}
	var blob wire.BlobAnswer
	if err := a.ask(wire.Fetch, wire.BlobRequest{Digest: next.Writ}, &blob); err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(blob.Data)
	var w writ.Writ
	if err == nil {
		err = canon.Decode(raw, &w)
	}
	if err != nil {
		return err
	}
	if args[1] == "failed" {
		return a.ask(wire.Done, wire.ReceiptRequest{Receipts: []string{}, Leases: []string{}, Writ: w.Body.Digest(), Code: "PW-PROV-EXPIRED", Detail: "so it says"}, &wire.ReceiptAnswer{})
	}
	return a.done(raw, w)
}

func (a *agent) done(raw []byte, w writ.Writ) error {
	texts, why, err := a.leases(0)
	if err != nil || len(texts) == 0 {
		return fmt.Errorf("no leases (%s): %w", why, err)
	}
	leases := []writ.Lease{}
	for _, text := range texts {
		b, err := base64.StdEncoding.DecodeString(text)
		var l writ.Lease
		if err == nil {
			err = canon.Decode(b, &l)
		}
		if err != nil {
			return err
		}
		leases = append(leases, l)
	}
	now, c := time.Now().Unix(), w.Branch.Changes[0]
	r := writ.Receipt{Type: writ.TypeReceipt, Host: a.host.ID, Writ: w.Body.Digest(), Plan: w.Body.Plan, Wave: w.Branch.Wave, Outcome: writ.Done,
		Shown: writ.Shown(raw, leases), Started: now, Ended: now, Checkpoint: leases[0].Checkpoint,
		States:    []writ.State{{Package: c.Package, Arch: c.Arch, Before: c.From, After: c.To, Status: "installed"}},
		Effective: writ.Effective{Installed: writ.Yes, Running: writ.Yes, Rescanned: writ.Yes, Healthy: writ.Unknown, Attested: writ.Unknown, Stale: []string{}}}
	r = writtest.SignReceipt(r, a.key)
	q := wire.ReceiptRequest{Receipts: []string{base64.StdEncoding.EncodeToString(canon.MustEncode(r))}, Leases: texts, Writ: r.Writ}
	return a.ask(wire.Done, q, &wire.ReceiptAnswer{})
}

// swap SOCKET REAL OLD NEW: a control plane that passes everything on, and
// writes NEW in place of OLD in what it answers; who asks for NEW gets OLD.
func worldSwap(args []string) error {
	l, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", args[1])
	}}
	p := &httputil.ReverseProxy{Transport: t, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.URL.Path = "http", "real", strings.ReplaceAll(r.In.URL.Path, args[3], args[2])
		},
		ModifyResponse: func(r *http.Response) error {
			raw, err := io.ReadAll(r.Body)
			raw = bytes.ReplaceAll(raw, []byte(args[2]), []byte(args[3]))
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
			r.Header.Set("Content-Length", strconv.Itoa(len(raw)))
			return err
		}}
	return http.Serve(l, p)
}

// setenv NAME FILE: the file's text without its last line end.
func setenv(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// clean: neither output of the last command holds a byte that a terminal could
// take for a command.
func cleanOutput(ts *testscript.TestScript, _ bool, _ []string) {
	for _, name := range []string{"stdout", "stderr"} {
		for _, r := range ts.ReadFile(name) {
			if r != '\n' && (r < 0x20 || r > 0x7e) {
				ts.Fatalf("%s holds %q", name, r)
			}
		}
	}
}

// processes are those that start began, by script and name.
var processes sync.Map

type processKey struct {
	ts   *testscript.TestScript
	name string
}

// start NAME PROGRAM ARG…: begin a process; its standard output goes to NAME.out.
func start(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command(filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], args[1]), args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	out, err := os.Create(ts.MkAbs(args[0] + ".out"))
	ts.Check(err)
	errs, err := os.Create(ts.MkAbs(args[0] + ".err"))
	ts.Check(err)
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("WORK"), "TMPDIR=" + os.TempDir(), advisorEnv + "=" + ts.Getenv(advisorEnv)}
	ts.Check(cmd.Start())
	processes.Store(processKey{ts, args[0]}, cmd)
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
		out.Close()
		errs.Close()
	})
}

var signals = map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}

// end NAME SIGNAL: end a process.
func end(ts *testscript.TestScript, _ bool, args []string) {
	cmd, ok := processes.Load(processKey{ts, args[0]})
	if !ok {
		ts.Fatalf("no process %q", args[0])
	}
	ts.Check(cmd.(*exec.Cmd).Process.Signal(signals[args[1]]))
	cmd.(*exec.Cmd).Wait()
}

// await PATTERN COMMAND…: run it until its standard output or error matches.
func await(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		ts.Exec(args[1], args[2:]...)
		if said := ts.ReadFile("stdout") + ts.ReadFile("stderr"); pattern.MatchString(said) {
			return
		} else if time.Now().After(deadline) {
			ts.Fatalf("%q does not come; last: %s", args[0], said)
		}
	}
}

// tamper FILE HOW N OUT: the control plane changes row N of a record, with all
// the keys that it has.
func worldTamper(args []string) error {
	raw, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	last := len(lines) - 1
	var r, next record.Row
	var seal record.Seal
	if err := errors.Join(canon.Decode([]byte(lines[n]), &r), canon.Decode([]byte(lines[n+1]), &next), canon.Decode([]byte(lines[last]), &seal)); err != nil {
		return err
	}
	put := func(i int, v any) { lines[i] = string(canon.MustEncode(v)) }
	switch args[1] {
	case "body":
		b, err := base64.StdEncoding.DecodeString(r.Body)
		if err != nil {
			return err
		}
		r.Body = base64.StdEncoding.EncodeToString(bytes.Replace(b, []byte("p-00"), []byte("p-10"), 1))
		put(n, r)
	case "entry":
		r.Entry.At++
		put(n, r)
	case "delete":
		lines = slices.Delete(lines, n, n+1)
		seal.Rows--
		put(last-1, seal)
	case "swap":
		lines[n], lines[n+1] = lines[n+1], lines[n]
	case "renumber":
		r.Index, next.Index = next.Index, r.Index
		put(n, next)
		put(n+1, r)
	case "truncate":
		seal.Rows = int64(n)
		put(last, seal)
		lines = append(lines[:n], lines[last])
	case "unseal":
		lines = lines[:last]
	case "resign":
		err = resign(lines, n)
	}
	return errors.Join(err, os.WriteFile(args[3], []byte(strings.Join(lines, "\n")+"\n"), 0o600))
}

// resign changes row n, makes the tree anew, and signs it with the log's key.
func resign(lines []string, n int) error {
	key, err := os.ReadFile("data/log.key")
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(key)))
	if err != nil {
		return err
	}
	rows, last := []record.Row{}, len(lines)-1
	leaves := [][]byte{}
	for i := range last {
		var r record.Row
		if err := canon.Decode([]byte(lines[i]), &r); err != nil {
			return err
		}
		if i == n {
			r.Entry.At++
		}
		rows, leaves = append(rows, r), append(leaves, r.Entry.Bytes())
	}
	root, err := whole.Tree(leaves)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", signer.Name(), len(leaves), base64.StdEncoding.EncodeToString(root.Bytes()))
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return err
	}
	path, err := whole.Path(leaves, n)
	if err != nil {
		return err
	}
	rows[n].Proof = tlog.NewProof(int64(n), path, signed)
	lines[n] = string(canon.MustEncode(rows[n]))
	lines[last] = string(canon.MustEncode(record.Seal{Type: record.TypeSeal, Root: rootOf(), Checkpoint: base64.StdEncoding.EncodeToString(signed), Rows: int64(last)}))
	return nil
}

func rootOf() canon.Digest {
	raw, err := os.ReadFile("trust/1.root.json")
	if err != nil {
		panic(err)
	}
	return canon.SumFile(raw)
}
