package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	debversion "github.com/patchwrit/patchwrit/version"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// scene is one real root, one vendor, one house, and the agent as a program of
// its own.
type scene struct {
	t     *testing.T
	dir   string
	agent string
	host  debworld.Root
	house trusttest.House
	key   *debworld.Key
	repo  *debworld.Repo
}

const codename = "pwtest"

func newScene(t *testing.T, installed debworld.Package) *scene {
	t.Helper()
	needsRoots(t)
	return newSceneWith(t, installed, shipped)
}

func needsRoots(t *testing.T) {
	t.Helper()
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: real Debian roots, minutes")
	}
}

// built is where the binaries of this test run lie, removed at its end.
var built string

func TestMain(m *testing.M) {
	if os.Getenv("PATCHWRIT_TEST_MAIN") != "" { // a process that a test sends signals to
		main()
	}
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// build builds the agent once, as it is shipped but for more arguments.
func build(name string, more ...string) (string, error) {
	var err error
	if built == "" {
		if built, err = os.MkdirTemp("", "patchwrit-agent-test-"); err != nil {
			return "", err
		}
		if err = os.Chmod(built, 0o755); err != nil {
			return "", err
		}
	}
	to := filepath.Join(built, name)
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", to}, more...), ".")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return to, nil
}

// shipped is the agent as it is shipped.
var shipped = sync.OnceValues(func() (string, error) { return build("patchwrit-agent") })

func newSceneWith(t *testing.T, installed debworld.Package, agent func() (string, error)) *scene {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), host: debworld.NewHost(t)}
	var err error
	s.agent, err = agent()
	s.must(err)
	s.key, err = debworld.NewKey(debworld.KeyConfig{Name: "Vendor", Created: time.Now().Add(-24 * time.Hour)})
	s.must(err)
	ring, err := debworld.Keyring(s.key)
	s.must(err)
	s.house = trusttest.Must(nil, trusttest.Options{Now: time.Now(), Keyrings: map[string][]byte{"vendor.gpg": ring},
		Origins: []trust.Origin{{ID: "vendor", Keyring: "vendor.gpg", Signers: 1, Origin: "Vendor", Label: "Vendor", Codename: codename, Suites: []string{"stable"}, Sections: []string{"main"}}}})
	for name, raw := range s.house.Bundle() {
		s.put(filepath.Join("trust", name), raw)
	}
	der, err := x509.MarshalPKCS8PrivateKey(s.house.Hosts[0].Key)
	s.must(err)
	s.must(os.Mkdir(s.in("state"), 0o700))
	s.must(os.WriteFile(s.in("state", "host.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	s.repo, err = debworld.NewRepo(s.in("repo"), debworld.RepoConfig{Origin: "Vendor", Label: "Vendor", Suite: "stable", Codename: codename})
	s.must(err)
	raw, err := installed.Build()
	s.must(err)
	s.must(s.host.Write("/tmp/old.deb", raw, 0o644))
	_, err = s.host.Run(t.Context(), "dpkg", "-i", "/tmp/old.deb")
	s.must(err)
	return s
}

func (s *scene) in(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) put(name string, raw []byte) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(s.in(name)), 0o755))
	s.must(os.WriteFile(s.in(name), raw, 0o644))
}

// plan publishes both packages, fills the pool, and writes the writ.
func (s *scene) plan(from, to debworld.Package) *writtest.Case {
	s.t.Helper()
	s.must(s.repo.Add(from, to))
	in, err := s.repo.Publish(debworld.Publication{At: time.Now().Add(-time.Minute), Signers: []debworld.Signer{{Key: s.key}}})
	s.must(err)
	s.put("pool/releases/vendor/InRelease", in)
	index, err := os.ReadFile(s.in("repo/dists", codename, "main/binary-amd64/Packages.xz"))
	s.must(err)
	s.put("pool/releases/vendor/main/binary-amd64/Packages.xz", index)
	one := func(op change.Op, a, b debworld.Package) change.Change {
		raw, err := b.Build()
		s.must(err)
		s.put("pool/sha256/"+string(canon.SumFile(raw)), raw)
		return change.Change{Op: op, Scheme: debversion.Deb, Package: b.Name, Arch: "amd64", From: a.Version, To: b.Version,
			Artefact: canon.SumFile(raw), Size: int64(len(raw)), Origin: "vendor", Class: change.Sensitive}
	}
	c := writtest.New(s.house)
	b := writtest.Branch(c.Host.ID, 0, one(change.Upgrade, from, to))
	b.Rollback = []change.Change{one(change.Downgrade, to, from)}
	c.Branches[0], c.Header.Class = b, change.Sensitive
	s.put("writ.json", append(c.Raw().Writ, '\n'))
	return c
}

// argv is the command line that applies the writ, with leases for the nonce that
// the host has outstanding.
func (s *scene) argv(c *writtest.Case) []string {
	s.t.Helper()
	argv := []string{"apply", "--root", s.host.Dir, "--writ", s.in("writ.json"), "--pool", s.in("pool"), "--trust", s.in("trust"),
		"--root-sha256", string(s.house.Pinned), "--state", s.in("state"), "-o", "json"}
	nonce := s.status().Nonce
	if nonce == "" {
		return argv
	}
	c.EditLease = func(_ int, l *writ.Lease) { l.Nonce = nonce }
	for i, raw := range c.Raw().Leases {
		name := fmt.Sprintf("lease%d.json", i)
		s.put(name, raw)
		argv = append(argv, "--lease", s.in(name))
	}
	return argv
}

type status struct {
	Nonce      string         `json:"nonce"`
	Unfinished []any          `json:"unfinished"`
	Receipts   []writ.Receipt `json:"receipts"`
	Error      *failure       `json:"error"`
}

func (s *scene) status() status {
	s.t.Helper()
	out, err := exec.Command(s.agent, "status", "--state", s.in("state"), "-o", "json").Output()
	s.must(err)
	var st status
	s.must(json.Unmarshal(out, &st))
	return st
}

// agentRun runs the agent to its end.
func (s *scene) agentRun(argv ...string) (int, status, string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(s.t.Context(), s.agent, argv...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	var st status
	if out.Len() > 0 {
		s.must(json.Unmarshal(out.Bytes(), &st))
	}
	return cmd.ProcessState.ExitCode(), st, errs.String()
}

// asked makes the host ask for leases once, in vain, so that a nonce is
// outstanding.
func (s *scene) asked(c *writtest.Case) {
	s.t.Helper()
	code, st, errs := s.agentRun(s.argv(c)...)
	if code != exitFailed || st.Error == nil || st.Error.Code != "PW-AGENT-LEASE" || s.status().Nonce == "" {
		s.t.Fatalf("without leases: exit code %d, %+v\n%s", code, st.Error, errs)
	}
}

func (s *scene) dpkg() string {
	s.t.Helper()
	res, err := s.host.Run(s.t.Context(), "dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", "hello-pw")
	s.must(err)
	return res.Stdout
}

func hello(version string, scripts map[string]string) debworld.Package {
	return debworld.Package{Name: "hello-pw", Version: version, Scripts: scripts,
		Files: map[string]debworld.File{"/usr/share/hello-pw": {Content: version}}}
}

func outcomes(receipts []writ.Receipt) string {
	var all []string
	for _, r := range receipts {
		all = append(all, strings.TrimSpace(string(r.Outcome)+" "+r.Code))
	}
	return strings.Join(all, ", ")
}

func TestOneWritFromFileToReceipt(t *testing.T) {
	old, new := hello("1.0-1", nil), hello("1.0-2", nil)
	s := newScene(t, old)
	c := s.plan(old, new)
	s.asked(c)
	code, st, errs := s.agentRun(s.argv(c)...)
	if code != exitOK || outcomes(st.Receipts) != "done" || s.dpkg() != "1.0-2 installed" {
		t.Fatalf("exit code %d, %s, dpkg says %q\n%s", code, outcomes(st.Receipts), s.dpkg(), errs)
	}
	if err := st.Receipts[0].Signed(s.house.Hosts[0].Host); err != nil {
		t.Error(err)
	}
	s.asked(c)
	if code, st, _ := s.agentRun(s.argv(c)...); code != exitRefused || st.Error == nil || st.Error.Code != "PW-WRIT-CONSUMED" {
		t.Errorf("the same writ again: exit code %d, %+v", code, st.Error)
	}
}

func TestAFailingScriptGoesBackByItself(t *testing.T) {
	old, new := hello("1.0-1", nil), hello("1.0-2", map[string]string{"postinst": "#!/bin/sh\nexit 1\n"})
	s := newScene(t, old)
	c := s.plan(old, new)
	s.asked(c)
	code, st, errs := s.agentRun(s.argv(c)...)
	if code != exitFailed || outcomes(st.Receipts) != "partial PW-APT-SCRIPT, rolled_back PW-APT-SCRIPT" || s.dpkg() != "1.0-1 installed" {
		t.Fatalf("exit code %d, %s, dpkg says %q\n%s", code, outcomes(st.Receipts), s.dpkg(), errs)
	}
}

// waiting is a maintainer script that stands still until it is told to go on.
const waiting = "#!/bin/sh\ntouch /tmp/here\nwhile [ ! -e /tmp/go-on ]; do sleep 0.1; done\n"

// start starts the agent and waits until dpkg runs the maintainer script.
func (s *scene) start(c *writtest.Case) *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command(s.agent, s.argv(c)...)
	cmd.Stderr = os.Stderr
	s.must(cmd.Start())
	for range 600 {
		if _, err := os.Stat(filepath.Join(s.host.Dir, "tmp/here")); err == nil {
			return cmd
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatal("dpkg never came to the maintainer script")
	return nil
}

// The agent dies by kill -9; dpkg is not touched. The next agent waits for it,
// or says that it runs; and it reports the end before anything else.
func TestTheAgentIsKilledAndDpkgIsNot(t *testing.T) {
	old, new := hello("1.0-1", nil), hello("1.0-2", map[string]string{"postinst": waiting})
	s := newScene(t, old)
	c := s.plan(old, new)
	s.asked(c)
	cmd := s.start(c)
	s.must(cmd.Process.Signal(syscall.SIGKILL))
	if err := cmd.Wait(); err == nil {
		t.Fatal("it survived")
	}
	if st := s.status(); len(st.Unfinished) != 1 || len(st.Receipts) != 0 {
		t.Errorf("status %+v", st)
	}
	go func() {
		time.Sleep(time.Second)
		os.WriteFile(filepath.Join(s.host.Dir, "tmp/go-on"), nil, 0o644)
	}()
	code, st, errs := s.agentRun(s.argv(c)...)
	if code != exitOK || outcomes(st.Receipts) != "done" || s.dpkg() != "1.0-2 installed" {
		t.Fatalf("exit code %d, %s, dpkg says %q\n%s", code, outcomes(st.Receipts), s.dpkg(), errs)
	}
	if st := s.status(); len(st.Unfinished) != 0 || len(st.Receipts) != 1 {
		t.Errorf("status %+v", st)
	}
}

// Everything dies at once, as if the power went: agent, supervisor, apt, dpkg.
func TestEverythingIsKilled(t *testing.T) {
	for name, c := range map[string]struct {
		scripts  map[string]string
		outcomes string
		code     int
		dpkg     string
	}{
		"while configuring": {map[string]string{"postinst": waiting}, "done", exitOK, "1.0-2 installed"},
		"while unpacking":   {map[string]string{"preinst": waiting}, "partial PW-APT-INTERRUPTED, rolled_back PW-APT-INTERRUPTED", exitFailed, "1.0-1 installed"},
	} {
		t.Run(name, func(t *testing.T) {
			old, new := hello("1.0-1", nil), hello("1.0-2", c.scripts)
			s := newScene(t, old)
			w := s.plan(old, new)
			s.asked(w)
			cmd := s.start(w)
			s.must(cmd.Process.Signal(syscall.SIGKILL))
			s.must(s.host.Kill())
			if err := cmd.Wait(); err == nil {
				t.Fatal("it survived")
			}
			s.must(s.host.Write("/tmp/go-on", nil, 0o644))
			code, st, errs := s.agentRun(s.argv(w)...)
			if code != c.code || outcomes(st.Receipts) != c.outcomes || s.dpkg() != c.dpkg {
				t.Fatalf("exit code %d, %s, dpkg says %q\n%s", code, outcomes(st.Receipts), s.dpkg(), errs)
			}
		})
	}
}

func TestLockdownStopsAptWithoutAWrit(t *testing.T) {
	old, new := hello("1.0-1", nil), hello("1.0-2", nil)
	s := newScene(t, old)
	raw, err := new.Build()
	s.must(err)
	s.must(s.host.Write("/tmp/new.deb", raw, 0o644))
	install := func() (string, error) {
		res, err := s.host.Run(t.Context(), "apt-get", "install", "-y", "-q", "/tmp/new.deb")
		return res.Stdout + res.Stderr, err
	}
	if code, _, errs := s.agentRun("gate", "lock", "--root", s.host.Dir); code != exitOK {
		t.Fatalf("lock: %d\n%s", code, errs)
	}
	if out, err := install(); err == nil || !strings.Contains(out, "PW-APT-LOCKDOWN") || s.dpkg() != "1.0-1 installed" {
		t.Errorf("apt under lockdown: %v, dpkg says %q\n%s", err, s.dpkg(), out)
	}
	c := s.plan(old, new) // a writ opens the gate
	s.asked(c)
	if code, st, errs := s.agentRun(s.argv(c)...); code != exitOK || outcomes(st.Receipts) != "done" {
		t.Errorf("a writ under lockdown: %d, %s\n%s", code, outcomes(st.Receipts), errs)
	}
	_, err = s.host.Run(t.Context(), "dpkg", "-i", "/tmp/old.deb")
	s.must(err)
	if code, _, errs := s.agentRun("gate", "unlock", "--root", s.host.Dir); code != exitOK {
		t.Fatalf("unlock: %d\n%s", code, errs)
	}
	if out, err := install(); err != nil || s.dpkg() != "1.0-2 installed" {
		t.Errorf("apt after the lockdown: %v, dpkg says %q\n%s", err, s.dpkg(), out)
	}
}
