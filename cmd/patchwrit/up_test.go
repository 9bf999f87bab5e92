package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/wire/dial"
)

// plant is a control plane as a process of its own, which can be killed.
type plant struct {
	*controltest.House
	t     testing.TB
	data  string
	args  []string
	cmd   *exec.Cmd
	err   *overheard // while the process writes to it
	url   string
	key   canon.Digest
	conns map[string]*dial.Conn
}

func newPlant(t testing.TB, o controltest.Options, args ...string) *plant {
	p := &plant{House: controltest.New(t, o), t: t, args: args, conns: map[string]*dial.Conn{}}
	p.data = p.Data()
	t.Cleanup(p.kill)
	return p
}

func (p *plant) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.err)
	}
}

// patchwrit is a command line of this very binary.
func (p *plant) patchwrit(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "PATCHWRIT_TEST_MAIN=1", "PATCHWRIT_TRUST="+p.Trust(), "PATCHWRIT_ROOT_SHA256="+string(p.World.House.Pinned))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// start starts up and waits until it says where it listens.
func (p *plant) start() {
	p.t.Helper()
	listen := "127.0.0.1:0"
	if p.url != "" {
		listen = strings.TrimPrefix(p.url, "https://")
	}
	p.cmd = p.patchwrit(append([]string{"up", "--data", p.data, "--listen", listen, "--log-json"}, p.args...)...)
	p.err = &overheard{}
	p.cmd.Stderr = p.err
	out, err := p.cmd.StdoutPipe()
	p.must(err)
	p.must(p.cmd.Start())
	in := bufio.NewScanner(out)
	for in.Scan() {
		switch f := strings.Fields(in.Text()); f[0] {
		case "listen":
			p.url = f[1]
		case "key":
			p.key = canon.Digest(f[1])
		case "token":
			return
		}
	}
	p.t.Fatalf("up does not start: %v\n%s", p.cmd.Wait(), p.err)
}

func (p *plant) kill() {
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = map[string]*dial.Conn{}
	if p.cmd != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		p.cmd = nil
	}
}

func (p *plant) wire(seed []byte) dial.Config {
	return dial.Config{URL: p.url, CertSHA256: p.key, Seed: seed, Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }}
}

// call asks on the operators' socket.
func (p *plant) call(method, path string, body []byte) ([]byte, int, error) {
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(p.data, "api.sock"))
	}}}
	req, err := http.NewRequest(method, "http://up/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return raw, resp.StatusCode, err
}

func (p *plant) get(path string, into any) {
	p.t.Helper()
	raw, status, err := p.call("GET", path, nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", path, status, raw)
	}
	p.must(err)
	p.must(json.Unmarshal(raw, into))
}

func (p *plant) post(path string, body any) []byte {
	p.t.Helper()
	raw, status, err := p.call("POST", path, canon.MustEncode(body))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", path, status, raw)
	}
	p.must(err)
	return raw
}

// enrol brings a host in over the wire.
func (p *plant) enrol(h *controltest.Host) {
	p.t.Helper()
	var made control.NewToken
	p.must(json.Unmarshal(p.post("tokens?seconds=3600", struct{}{}), &made))
	token, err := wire.ParseToken(made.Token)
	p.must(err)
	if token.Server != p.key {
		p.t.Fatalf("the token names server %s", token.Server)
	}
	p.must(dial.Enrol(p.t.Context(), p.wire(h.Seed), token.Secret, "h", h.Known, func(d []byte) []byte { return ed25519.Sign(h.Key, d) }))
}

// ask is how hosts speak over the real wire.
func (p *plant) ask(h *controltest.Host) controltest.Ask {
	return func(ctx context.Context, key string, v wire.Verb, body []byte) ([]byte, error) {
		c, ok := p.conns[key]
		if !ok {
			var err error
			if c, err = dial.Dial(p.wire(h.Seed)); err != nil {
				return nil, err
			}
			p.conns[key] = c
		}
		return direct(c)(ctx, key, v, body)
	}
}

// direct asks on one connection.
func direct(c *dial.Conn) controltest.Ask {
	return func(ctx context.Context, _ string, v wire.Verb, body []byte) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
		defer cancel()
		return c.Ask(ctx, v, body)
	}
}

func (p *plant) until(what string, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(90 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%s does not happen\n%s", what, p.err)
		}
	}
}

func (p *plant) plans() (out []control.Plan) {
	p.t.Helper()
	p.get("plans", &out)
	return out
}

// propose hands a plan over that fixes what the hosts have: the real solver
// needs a real Debian archive.
func (p *plant) propose(hosts ...*controltest.Host) control.Plan {
	p.t.Helper()
	f := p.Plan(hosts...)
	raw, status, err := p.call("POST", "plans", f.Bytes())
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%d %s", status, raw)
	}
	p.must(err)
	var plan control.Plan
	p.until("the rules answer", func() bool {
		p.get("plans/"+string(f.Header.Digest()), &plan)
		return plan.State == control.Review
	})
	for n := range 2 {
		p.post("plans/"+string(plan.Digest)+"/answers", p.Person(n, controltest.Statement(f.Header, approval.Approve)))
	}
	return plan
}

// work lets hosts ask until the plan is finished; a connection that is lost is
// made again.
func (p *plant) work(d canon.Digest, hosts ...*controltest.Host) {
	p.t.Helper()
	p.until("the plan is finished", func() bool {
		for _, h := range hosts {
			if _, err := h.Round(p.t.Context(), p.ask(h)); err != nil {
				p.t.Logf("host %s: %v", h.Known.ID.Short(), err)
			}
		}
		var plan control.Plan
		p.get("plans/"+string(d), &plan)
		return plan.State == control.Finished
	})
	for _, h := range hosts {
		if len(h.Applied) != 1 || len(h.Refused) != 0 {
			p.t.Errorf("host %s applied %d writs, refused %v", h.Known.ID.Short(), len(h.Applied), h.Refused)
		}
	}
}

// TestUpIsKilledBackedUpAndRestored: the whole loop over the real wire, kill -9
// in the middle, a backup while it runs, a bare directory, and on.
func TestUpIsKilledBackedUpAndRestored(t *testing.T) {
	p := newPlant(t, controltest.Options{Hosts: 4}, "--plan-every", "1h", "--poll-every", "1s")
	p.start()
	var hosts []*controltest.Host
	for i := range 4 {
		hosts = append(hosts, p.Host(i, "hello"))
		p.enrol(hosts[i])
		if _, err := hosts[i].Hello(t.Context(), p.ask(hosts[i])); err != nil {
			t.Fatal(err)
		}
		p.must(hosts[i].Report(t.Context(), p.ask(hosts[i])))
	}
	first := p.propose(hosts[:2]...)
	p.must(func() error { _, err := hosts[0].Round(t.Context(), p.ask(hosts[0])); return err }())
	p.kill()
	p.start()
	p.work(first.Digest, hosts[:2]...)

	file := filepath.Join(p.Dir, "backup.tar")
	if out, err := p.patchwrit("backup", "--data", p.data, "--to", file, "--pool").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v %v", info.Mode(), err)
	}
	p.kill()
	old := p.data
	p.data = filepath.Join(p.Dir, "bare")
	if out, err := p.patchwrit("restore", file, "--data", p.data).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p.start()
	second := p.propose(hosts[2:]...)
	p.work(second.Digest, hosts[2:]...)
	if n := len(p.plans()); n != 2 {
		t.Errorf("%d plans", n)
	}
	p.kill()

	out, err := p.patchwrit("restore", file, "--data", filepath.Join(p.Dir, "too-old")).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte(codeBehind)) {
		t.Errorf("a backup that is behind the witnesses: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(p.Dir, "too-old")); err == nil {
		t.Error("it left a directory")
	}
	p.data = old
	p.spoiled(file)
}

// spoiled restores backups that are not whole.
func (p *plant) spoiled(file string) {
	p.t.Helper()
	raw, err := os.ReadFile(file)
	p.must(err)
	flip := bytes.Clone(raw)
	flip[bytes.Index(flip, []byte(`"kind":"plan"`))+9] ^= 1
	for name, b := range map[string][]byte{"half": raw[:len(raw)/2], "a byte changed": flip, "nothing": {}} {
		path := filepath.Join(p.Dir, "spoiled.tar")
		p.must(os.WriteFile(path, b, 0o600))
		out, err := p.patchwrit("restore", path, "--data", filepath.Join(p.Dir, "spoiled")).CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte(codeArchive)) {
			p.t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestUpRefusesWeakStarts(t *testing.T) {
	p := newPlant(t, controltest.Options{Hosts: 1})
	refused := func(name, want string, cmd *exec.Cmd) {
		t.Helper()
		out, err := cmd.CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte(want)) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	up := func(args ...string) *exec.Cmd {
		return p.patchwrit(append([]string{"up", "--data", p.data, "--listen", "127.0.0.1:0"}, args...)...)
	}
	p.must(os.Chmod(p.data, 0o750))
	refused("a directory that others read", "PW-UP-PRIVATE", up())
	p.must(os.Chmod(p.data, 0o700))
	p.must(os.Chmod(filepath.Join(p.data, "log.key"), 0o640))
	refused("a key that others read", "PW-UP-PRIVATE", up())
	p.must(os.Chmod(filepath.Join(p.data, "log.key"), 0o600))
	refused("another root", "PW-TRUST-", up("--root-sha256", strings.Repeat("ab", 32)))
	rules := filepath.Join(p.data, "policy.tar.gz")
	raw, err := os.ReadFile(rules)
	p.must(err)
	p.must(os.WriteFile(rules, append(raw, 0), 0o600))
	refused("rules that nobody signed", "PW-POLICY-BUNDLE", up())
	p.must(os.WriteFile(rules, raw, 0o600))
	refused("a writ that lives too long", "--writ-life", up("--writ-life", "48h"))
	p.start()
	refused("a second one", "PW-STORE-BUSY", up())
}

// TestWhatThePortSays asks as a stranger and as an operator, over TLS.
func TestWhatThePortSays(t *testing.T) {
	p := newPlant(t, controltest.Options{Hosts: 1})
	p.start()
	h := p.Host(0, "hello")
	p.enrol(h)
	token, err := os.ReadFile(filepath.Join(p.data, operatorToken))
	p.must(err)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	ask := func(path, bearer string) (int, string) {
		t.Helper()
		req, err := http.NewRequest("GET", p.url+path, nil)
		p.must(err)
		req.Header.Set("Authorization", "Bearer "+bearer)
		resp, err := c.Do(req)
		p.must(err)
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		p.must(err)
		return resp.StatusCode, string(raw)
	}
	good := strings.TrimSpace(string(token))
	for _, no := range []string{"", "x", good[1:], good + "0"} {
		if status, _ := ask("/v1/hosts", no); status != http.StatusUnauthorized {
			t.Errorf("token %q: %d", no, status)
		}
	}
	if status, said := ask("/v1/hosts", good); status != http.StatusOK || !strings.Contains(said, string(h.Known.ID)) {
		t.Errorf("with the token: %d %s", status, said)
	}
	if status, said := ask("/healthz", ""); status != http.StatusOK || !strings.Contains(said, `"ok":true`) {
		t.Errorf("healthz: %d %s", status, said)
	}
	_, metrics := ask("/metrics", "")
	label := regexp.MustCompile(`="([^"]*)"`)
	for line := range strings.Lines(metrics) {
		if !strings.HasPrefix(line, "patchwrit_") {
			continue
		}
		for _, m := range label.FindAllStringSubmatch(line, -1) {
			if !bounded[m[1]] {
				t.Errorf("a label that is not of a fixed set: %s", line)
			}
		}
	}
	if !strings.Contains(metrics, `patchwrit_hosts{state="enrolled"} 1`) {
		t.Error(metrics)
	}
	p.Down(0, true)
	p.Down(1, true)
	p.post("tokens?seconds=60", struct{}{})
	f := p.Plan(h)
	if raw, status, err := p.call("POST", "plans", f.Bytes()); err != nil || status != http.StatusOK {
		t.Fatalf("%v %d %s", err, status, raw)
	}
	p.until("the log is in trouble", func() bool { status, _ := ask("/healthz", ""); return status == http.StatusServiceUnavailable })
	p.Down(0, false)
	p.until("the log works again", func() bool { status, _ := ask("/healthz", ""); return status == http.StatusOK })
	p.must(p.cmd.Process.Signal(syscall.SIGTERM))
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, p.err)
	}
	p.cmd = nil
}

// bounded are all label values there may be.
var bounded = map[string]bool{"pending": true, "enrolled": true, "cloned": true, "gone": true,
	"proposed": true, "held": true, "review": true, "running": true, "finished": true, "denied": true, "stopped": true, "expired": true,
	"drafted": true, "ready": true, "done": true, "failed": true, "lapsed": true, "replaced": true, "withdrawn": true,
	"live": true, "suspended": true, "revoked": true, "partial": true, "rolled_back": true,
	"shadow": true, "show": true, "hold": true}
