// Package shop founds a small real house for tests: keepers' and approvers'
// keys, a log, three witnesses (two are a quorum) as processes of their own, a
// trust repository, and the three programs, built from this source.
//
// The parties: a test founds it and types commands into it, as an operator
// would; the keys stand in for people and protect nothing. The promise: what
// happens in it is done by the programs, through their verbs; every process it
// started ends with the test. No shipped binary links it.
package shop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Shop is a house in a directory. Every path below it is fixed:
//
//	bin/                      the three programs
//	keys/ann, bob, eve        approvers' OpenSSH keys (owner; security; both: the author)
//	keys/keeper-1.keeper.pem  … keeper-3: two must sign
//	keys/policy, policy.pem   the rules' key; policy.tar.gz the rules
//	names.json                who is behind which pseudonym
//	witness.policy, witness-1 … witness-3
//	data/                     the control plane's directory, with the log
//	host/                     one host's state
//	trust/                    the trust repository
type Shop struct {
	t         testing.TB
	Dir       string
	Pin       string            // SHA-256 of the first root
	People    map[string]string // pseudonyms by name
	Host      string            // fingerprint of the one host
	witnesses map[string]*exec.Cmd
	addrs     map[string]string
}

// Options of a house. Everything may be empty.
type Options struct {
	Origins []string               // as `patchwrit trust init --origin` takes them
	People  func(s *Shop) []string // makes more people's keys, as --person takes them; ann and bob are replaced by those of that name
}

// Witnesses are the names of the witnesses.
var Witnesses = []string{"witness-1", "witness-2", "witness-3"}

// New founds a house. It takes seconds: the programs are built and linked.
func New(t testing.TB, o Options) *Shop {
	t.Helper()
	s := &Shop{t: t, Dir: t.TempDir(), witnesses: map[string]*exec.Cmd{}, addrs: map[string]string{}}
	s.build()
	t.Cleanup(s.close)
	for _, name := range []string{"ann", "bob", "eve"} {
		s.Must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "software key "+name, "-f", s.In("keys", name))
	}
	lines := []string{s.Must("patchwrit", "ledger", "init", "--data", s.In("data"), "--origin", "shop.patchwrit.example/log")}
	for _, name := range Witnesses {
		lines = append(lines, s.MakeWitness(name))
	}
	lines = append(lines, "group two-of-three 2 "+strings.Join(Witnesses, " "), "quorum two-of-three", "")
	s.Put("witness.policy", []byte(strings.Join(lines, "\n")))
	s.Must("patchwrit", "policy", "sign", "--key", s.In("keys", "policy"), "--out", s.In("policy.tar.gz"))
	key := s.Must("patchwrit-agent", "keygen", "--state", s.In("host"))
	s.found(key, o)
	for _, name := range Witnesses {
		s.Start(name)
	}
	return s
}

// BinEnv names a directory with the programs as they are shipped, built from the
// source around the test just before; without it every house links its own.
const BinEnv = "PATCHWRIT_TEST_BIN"

// build makes the programs from the source around the test.
func (s *Shop) build() {
	s.t.Helper()
	for _, dir := range []string{"bin", "keys"} {
		s.note(os.MkdirAll(s.In(dir), 0o700))
	}
	if built := os.Getenv(BinEnv); built != "" {
		for _, name := range []string{"patchwrit", "patchwrit-agent", "patchwrit-witness"} {
			s.note(os.Symlink(filepath.Join(built, name), s.In("bin", name)))
		}
		return
	}
	top, err := exec.CommandContext(s.t.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	s.note(err)
	cmd := exec.CommandContext(s.t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", s.In("bin")+"/", "./cmd/...")
	cmd.Dir, cmd.Env = strings.TrimSpace(string(top)), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("build: %v\n%s", err, out)
	}
}

func (s *Shop) found(hostKey string, o Options) {
	s.t.Helper()
	argv := []string{"patchwrit", "trust", "init", s.In("trust"), "--demo", "--keeper", "keeper-1", "--keeper", "keeper-2", "--keeper", "keeper-3", "--threshold", "2",
		"--keys", s.In("keys"), "--names", s.In("names.json"), "--roles", "owner,security",
		"--host", hostKey + ":rack-1:role=web", "--witness-policy", s.In("witness.policy"), "--policy", s.In("policy.tar.gz"), "--policy-key", s.In("keys", "policy.pem")}
	people := map[string]string{"ann": "ann:owner:" + s.In("keys", "ann.pub"), "bob": "bob:security:" + s.In("keys", "bob.pub"), "eve": "eve:owner,security:" + s.In("keys", "eve.pub")}
	if o.People != nil {
		for _, spec := range o.People(s) {
			name, _, _ := strings.Cut(spec, ":")
			people[name] = spec
		}
	}
	for _, spec := range people {
		argv = append(argv, "--person", spec)
	}
	for _, origin := range o.Origins {
		argv = append(argv, "--origin", origin)
	}
	s.Must(argv...)
	first, err := os.ReadFile(s.In("trust", "1.root.json"))
	s.note(err)
	sum := sha256.Sum256(first)
	s.Pin = hex.EncodeToString(sum[:])
	raw, err := os.ReadFile(s.In("names.json"))
	s.note(err)
	names := map[string]string{}
	s.note(json.Unmarshal(raw, &names))
	s.People = map[string]string{}
	for id, name := range names {
		s.People[name] = id
	}
	var doc struct{ Hosts []struct{ ID string } }
	s.note(json.Unmarshal([]byte(s.Must(append([]string{"patchwrit", "trust", "show", "-o", "json"}, s.House()...)...)), &doc))
	if len(doc.Hosts) != 1 {
		s.t.Fatalf("trust show names %d hosts", len(doc.Hosts))
	}
	s.Host = doc.Hosts[0].ID
}

// In is a path in the house's directory.
func (s *Shop) In(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

// House are the flags that say whose word counts.
func (s *Shop) House() []string {
	return []string{"--trust", s.In("trust"), "--root-sha256", s.Pin}
}

// Env is the environment of every command: the programs come first in PATH.
func (s *Shop) Env() []string {
	return append(os.Environ(), "PATH="+s.In("bin")+":"+os.Getenv("PATH"), "HOST="+s.Host,
		"PATCHWRIT_TRUST="+s.In("trust"), "PATCHWRIT_DATA="+s.In("data"), "PATCHWRIT_ROOT_SHA256="+s.Pin,
		"ANN="+s.People["ann"], "BOB="+s.People["bob"], "EVE="+s.People["eve"])
}

// Put writes a file of the house.
func (s *Shop) Put(name string, b []byte) {
	s.t.Helper()
	s.note(errors.Join(os.MkdirAll(filepath.Dir(s.In(name)), 0o755), os.WriteFile(s.In(name), b, 0o644)))
}

// Try runs a command in the house's directory.
func (s *Shop) Try(argv ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Minute)
	defer cancel()
	name := argv[0]
	if strings.HasPrefix(name, "patchwrit") {
		name = s.In("bin", name)
	}
	cmd := exec.CommandContext(ctx, name, argv[1:]...)
	cmd.Dir, cmd.Env = s.Dir, s.Env()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		s.t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// Must runs a command that must succeed, and gives its standard output, trimmed.
func (s *Shop) Must(argv ...string) string {
	s.t.Helper()
	return s.Want(0, "", argv...)
}

// Want runs a command that must end with this code and say this.
func (s *Shop) Want(code int, says string, argv ...string) string {
	s.t.Helper()
	got, out, errs := s.Try(argv...)
	if got != code || !strings.Contains(out+errs, says) {
		s.t.Fatalf("%s: exit code %d, want %d and …%s…\n%s%s", strings.ReplaceAll(strings.Join(argv, " "), s.Dir+"/", ""), got, code, says, out, errs)
	}
	return strings.TrimSpace(out)
}

// MakeWitness makes a witness's key and returns its line for the policy.
func (s *Shop) MakeWitness(name string) string {
	s.t.Helper()
	s.Reserve(name)
	return s.Must("patchwrit-witness", "keygen", "--dir", s.In(name), "--name", name, "--url", "http://"+s.addrs[name])
}

// Reserve finds an address for a witness.
func (s *Shop) Reserve(name string) string {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.note(err)
	s.addrs[name] = l.Addr().String()
	s.note(l.Close())
	return s.addrs[name]
}

// Start starts a witness as a process of its own and waits until it answers.
func (s *Shop) Start(name string) {
	s.t.Helper()
	cmd := exec.Command(s.In("bin", "patchwrit-witness"), append([]string{"run", "--dir", s.In(name), "--listen", s.addrs[name]}, s.House()...)...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	s.note(cmd.Start())
	s.witnesses[name] = cmd
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		answer, err := http.Get("http://" + s.addrs[name] + "/healthz")
		if err == nil {
			answer.Body.Close()
			return
		}
	}
	s.t.Fatalf("witness %s does not answer", name)
}

// Stop ends a witness, as a machine that is lost.
func (s *Shop) Stop(name string) {
	s.t.Helper()
	cmd := s.witnesses[name]
	if cmd == nil {
		s.t.Fatalf("witness %s does not run", name)
	}
	delete(s.witnesses, name)
	s.note(end(cmd))
}

func end(cmd *exec.Cmd) error {
	err := cmd.Process.Signal(syscall.SIGTERM)
	werr := cmd.Wait()
	var status *exec.ExitError
	if errors.As(werr, &status) {
		werr = nil
	}
	return errors.Join(err, werr)
}

func (s *Shop) close() {
	for name, cmd := range s.witnesses {
		if err := end(cmd); err != nil {
			s.t.Error(fmt.Errorf("witness %s: %w", name, err))
		}
	}
}

func (s *Shop) note(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}
