package redteam

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/policy/rego/standard"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

// stage is a test's own scene: overlay roots, real witnesses as processes, a
// real log, and binaries built from this tree.
type stage struct {
	t     *testing.T
	dir   string
	scene Scene
}

func needE2E(t *testing.T) {
	t.Helper()
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: real Debian roots, minutes")
	}
}

// programs are our binaries, built from this tree.
type programs struct{ agent, witness, cli string }

// built builds all of them once.
func built(t *testing.T) programs {
	t.Helper()
	needE2E(t)
	dir := t.TempDir()
	return programs{build(t, dir, "patchwrit-agent"), build(t, dir, "patchwrit-witness"), build(t, dir, "patchwrit")}
}

// newStage makes a scene of its own.
func newStage(t *testing.T, bin programs) *stage {
	t.Helper()
	s := &stage{t: t, dir: t.TempDir()}
	vendor, err := NewVendor()
	s.must(err)
	rules, policy := s.rules()
	lines, addrs := s.witnessKeys(bin.witness, 3)
	house := trusttest.Must(nil, trusttest.Options{Now: time.Now().Add(-24 * time.Hour), People: 4, Hosts: 3, Log: "log.redteam.example/one",
		Keyrings: map[string][]byte{VendorKeyring: vendor.Keyring}, Origins: []trust.Origin{vendor.Origin},
		Edit: func(c *ceremony.Contents) {
			log, _, _ := strings.Cut(c.Witnesses, "\n")
			c.Witnesses = log + "\n" + strings.Join(lines, "\n") + "\ngroup two-of-three 2 w1 w2 w3\nquorum two-of-three\n"
			c.Policy = policy
			for i, role := range []string{"web", "web", "db"} {
				c.Hosts[i].Labels = []trust.Label{{Key: "autonomy", Value: "L4"}, {Key: "exposure", Value: "internal"}, {Key: "role", Value: role}}
			}
		}})
	for name, raw := range house.Bundle() {
		s.must(put(s.in("trust", name), raw))
	}
	for i, addr := range addrs {
		s.witness(bin.witness, i, addr, house.Pinned)
	}
	s.scene = Scene{Dir: s.in("attacker"), Trust: s.in("trust"), Pinned: house.Pinned, Data: s.in("data"), Agent: bin.agent, CLI: bin.cli, Vendor: vendor, Progress: testLog{t}}
	s.must(os.Mkdir(s.scene.Dir, 0o700))
	for i := range addrs {
		s.scene.Witnesses = append(s.scene.Witnesses, s.in(fmt.Sprintf("w%d", i+1)))
	}
	for _, p := range house.People {
		s.scene.People = append(s.scene.People, Person{p.SSH, p.Passkey})
	}
	for i, name := range []string{"web-1", "web-2", "db-1"} {
		s.scene.Hosts = append(s.scene.Hosts, s.host(name, house.Hosts[i]))
	}
	s.ledger(house)
	s.must(os.WriteFile(s.in("data", "policy.tar.gz"), rules, 0o600))
	return s
}

// rules are the standard rules, signed, and what the trust root says of them.
func (s *stage) rules() ([]byte, trust.Policy) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.must(err)
	raw, err := rego.Sign(standard.Rules, key)
	s.must(err)
	public, err := rego.PublicPEM(&key.PublicKey)
	s.must(err)
	return raw, trust.Policy{Type: trust.TypePolicy, Bundle: canon.SumFile(raw), Key: string(canon.NoteOf(public))}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

func (s *stage) in(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// build builds one of our programs into dir.
func build(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	out := filepath.Join(dir, name)
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", out}, args...), "../cmd/"+name)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, said)
	}
	return out
}

// witnessKeys makes keys, with addresses that are held for a moment only.
func (s *stage) witnessKeys(bin string, n int) (lines, addrs []string) {
	s.t.Helper()
	for i := range n {
		name, addr := fmt.Sprintf("w%d", i+1), freePort(s.t)
		cmd := exec.Command(bin, "keygen", "--dir", s.in(name), "--name", name, "--url", "http://"+addr)
		line, err := cmd.Output()
		s.must(err)
		lines, addrs = append(lines, strings.TrimSpace(string(line))), append(addrs, addr)
	}
	return lines, addrs
}

// witness starts a witness as a process and waits for its first line.
func (s *stage) witness(bin string, i int, addr string, pinned canon.Digest) {
	s.t.Helper()
	cmd := exec.Command(bin, "run", "--dir", s.in(fmt.Sprintf("w%d", i+1)), "--listen", addr, "--trust", s.in("trust"), "--root-sha256", string(pinned))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start())
	s.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		s.t.Fatalf("witness %d: %q, %v", i+1, line, err)
	}
}

// host is an overlay root with an agent's state directory.
func (s *stage) host(name string, h trusttest.Host) Host {
	s.t.Helper()
	root := debworld.NewHost(s.t)
	der, err := x509.MarshalPKCS8PrivateKey(h.Key)
	s.must(err)
	state := s.in("state", name)
	s.must(os.MkdirAll(state, 0o700))
	s.must(os.WriteFile(filepath.Join(state, "host.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return Host{Name: name, Root: root.Dir, State: state}
}

// ledger is the control plane's data directory, with the log's key.
func (s *stage) ledger(house trusttest.House) {
	s.t.Helper()
	s.must(os.Mkdir(s.in("data"), 0o700))
	s.must(os.WriteFile(s.in("data", "log.key"), []byte(house.Log.SKey+"\n"), 0o600))
}
