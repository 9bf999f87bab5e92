package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/agenttest"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

// office is a control plane and a bare host that is about to enrol, in this
// process.
type office struct {
	t     testing.TB
	dir   string
	house trusttest.House
	hall  *agenttest.Hall
}

func newOffice(t testing.TB) *office {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root enrols a host")
	}
	o := &office{t: t, dir: t.TempDir(), house: trusttest.Must(nil, trusttest.Options{Now: time.Now()})}
	if err := os.Chmod(filepath.Dir(o.dir), 0o711); err != nil { // the messenger goes through it
		t.Fatal(err)
	}
	var err error
	if o.hall, err = agenttest.New(t.Context(), o.house, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.hall.Server.Close() })
	return o
}

func (o *office) in(parts ...string) string {
	return filepath.Join(append([]string{o.dir}, parts...)...)
}

// known gives the host one of the house's keys, as an image would that the
// keepers have named.
func (o *office) known() {
	o.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.PrivateKey(o.house.Hosts[0].Key))
	if err == nil {
		err = os.MkdirAll(o.in("state"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(o.in("state", "host.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) token(text string) {
	o.t.Helper()
	if err := os.WriteFile(o.in("token"), []byte(text+"\n"), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// enrol runs the verb; more flags override the ones before.
func (o *office) enrol(more ...string) (int, string) {
	o.t.Helper()
	code, out, errs := run(append([]string{"enroll", "--root-sha256", string(o.house.Pinned), "--server", "https://" + o.hall.Server.Addr(), "--token", o.in("token"),
		"--state", o.in("state"), "--messenger-state", o.in("messenger"), "--public", o.in("public"), "--root", o.dir, "--user", "65534:65534"}, more...)...)
	return code, out + errs
}

func (o *office) bound() bool {
	_, one := os.Stat(o.in("state", "enrolled"))
	_, two := os.Stat(o.in("messenger", "server"))
	return one == nil && two == nil
}

func TestEnrolTwice(t *testing.T) {
	o := newOffice(t)
	o.token(o.hall.Token().String())
	code, out := o.enrol()
	if code != exitOK || !strings.Contains(out, "pending: the keepers add this host") || !o.bound() {
		t.Fatalf("%d\n%s", code, out)
	}
	var host struct{ Host string }
	_, status, _ := run("status", "--state", o.in("state"), "-o", "json")
	if err := json.Unmarshal([]byte(status), &host); err != nil || !strings.Contains(out, host.Host) {
		t.Errorf("the fingerprint %q is not in\n%s", host.Host, out)
	}
	for path, want := range map[string]struct {
		uid  uint32
		mode os.FileMode
	}{"state": {0, 0o700}, "state/host.key": {0, 0o600}, "state/enrolled": {0, 0o600}, "messenger": {65534, 0o700}, "messenger/wire.key": {65534, 0o600}, "messenger/server": {65534, 0o600}} {
		st, err := os.Lstat(o.in(path))
		if err != nil || st.Sys().(*syscall.Stat_t).Uid != want.uid || st.Mode().Perm() != want.mode {
			t.Errorf("%s: %v, %v", path, st, err)
		}
	}
	wire, err := os.ReadFile(o.in("messenger", "wire.key"))
	if err != nil {
		t.Fatal(err)
	}
	// Again, with the token that was used, and with one that is none: the host is
	// known already.
	for _, token := range []string{"", o.hall.Token().String()} {
		if token != "" {
			o.token(token)
		}
		if code, out := o.enrol(); code != exitOK {
			t.Errorf("again: %d\n%s", code, out)
		}
	}
	if again, err := os.ReadFile(o.in("messenger", "wire.key")); err != nil || string(again) != string(wire) {
		t.Errorf("another wire key: %v", err)
	}
}

func TestEnrolRefusals(t *testing.T) {
	o := newOffice(t)
	good := o.hall.Token()
	used := o.hall.Token()
	used.Secret[0] ^= 1 // never made here
	stranger := good
	stranger.Server = canon.SumFile([]byte("another key"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := "https://" + l.Addr().String()
	l.Close()
	for name, c := range map[string]struct {
		token string
		more  []string
		code  int
		says  string
	}{
		"no digest":         {good.String(), []string{"--root-sha256", ""}, exitUsage, "enroll needs --root-sha256"},
		"a short digest":    {good.String(), []string{"--root-sha256", "abc"}, exitUsage, "64 lower-case"},
		"no token":          {"hello", nil, exitFailed, "PW-WIRE-TOKEN"},
		"an unknown token":  {used.String(), nil, exitFailed, "PW-CONTROL-TOKEN"},
		"another server":    {stranger.String(), nil, exitRefused, "PW-WIRE-SERVER"},
		"a server down":     {good.String(), []string{"--server", down}, exitFailed, "PW-WIRE-DOWN"},
		"no https":          {good.String(), []string{"--server", "http://localhost:1"}, exitFailed, "https://host:port"},
		"an unknown user":   {good.String(), []string{"--user", "nosuchuserhere"}, exitUsage, "systemd-sysusers"},
		"a bad user number": {good.String(), []string{"--user", "x:y"}, exitUsage, "UID:GID"},
		"no token file":     {good.String(), []string{"--token", o.in("none")}, exitUsage, "no such file"},
	} {
		o.token(c.token)
		if code, out := o.enrol(c.more...); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: %d, want %d with %q\n%s", name, code, c.code, c.says, out)
		}
		if o.bound() {
			t.Fatalf("%s: the host is bound", name)
		}
	}
	if code, out, errs := run("run", "--state", o.in("messenger")); code != exitFailed || !strings.Contains(out+errs, "PW-AGENT-ENROLLED") {
		t.Errorf("run before enroll: %d\n%s%s", code, out, errs)
	}
	o.token(good.String())
	if code, out := o.enrol(); code != exitOK {
		t.Errorf("the good one: %d\n%s", code, out)
	}
	if code, out := o.enrol("--root-sha256", string(canon.SumFile(nil))); code != exitFailed || !strings.Contains(out, "PW-AGENT-ENROLLED") {
		t.Errorf("to another root afterwards: %d\n%s", code, out)
	}
}

// A control plane whose trust repository is not under the pinned root: the host
// is not bound to it.
func TestEnrolToAFalseRoot(t *testing.T) {
	o := newOffice(t)
	o.known()
	o.hall.SetTrust(trusttest.Must(nil, trusttest.Options{Now: time.Now(), Log: "log.example/evil"}).Bundle())
	token := o.hall.Token().String()
	o.token(token)
	if code, out := o.enrol(); code != exitRefused || !strings.Contains(out, "PW-TRUST-PIN") || o.bound() {
		t.Errorf("%d\n%s", code, out)
	}
	o.hall.SetTrust(o.house.Bundle())
	if code, out := o.enrol(); code != exitOK || !strings.Contains(out, "under the pinned root") || !o.bound() {
		t.Errorf("the right one: %d\n%s", code, out)
	}
}

// Root writes nothing into the messenger's directory with its own rights: names
// there may lead anywhere.
func TestEnrolWritesAsTheMessenger(t *testing.T) {
	o := newOffice(t)
	o.token(o.hall.Token().String())
	if err := os.WriteFile(o.in("precious"), []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(o.in("messenger"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"server.new", "wire.key.new", "run.new"} {
		if err := os.Symlink(o.in("precious"), o.in("messenger", name)); err != nil {
			t.Fatal(err)
		}
	}
	if code, out := o.enrol(); code != exitFailed || o.bound() {
		t.Errorf("%d\n%s", code, out)
	}
	if raw, err := os.ReadFile(o.in("precious")); err != nil || string(raw) != "root's" {
		t.Errorf("root's file holds %q, %v", raw, err)
	}
}
