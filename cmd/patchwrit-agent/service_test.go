package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/agenttest"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// nobody is the messenger's user in tests.
const nobody = 65534

// station is a scene whose host is served by a control plane.
type station struct {
	*scene
	hall *agenttest.Hall
	log  map[string]*bytes.Buffer
}

func newStation(t *testing.T, s *scene) *station {
	t.Helper()
	h, err := agenttest.New(t.Context(), s.house, t.TempDir())
	s.must(err)
	t.Cleanup(func() { h.Server.Close() })
	s.must(os.Chmod(filepath.Dir(s.dir), 0o711)) // the messenger goes through it
	return &station{scene: s, hall: h, log: map[string]*bytes.Buffer{}}
}

// enrol runs enroll.
func (s *station) enrol(more ...string) (int, string) {
	s.t.Helper()
	s.put("token", []byte(s.hall.Token().String()+"\n"))
	return s.enrolAgain(more...)
}

func (s *station) enrolAgain(more ...string) (int, string) {
	s.t.Helper()
	argv := append([]string{"enroll", "--root-sha256", string(s.house.Pinned), "--server", "https://" + s.hall.Server.Addr(), "--token", s.in("token"),
		"--state", s.in("state"), "--messenger-state", s.in("messenger"), "--public", s.in("public"), "--root", s.host.Dir, "--user", "65534:65534"}, more...)
	cmd := exec.CommandContext(s.t.Context(), s.agent, argv...)
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

// begin starts a service; it ends with the test.
func (s *station) begin(verb string, env ...string) *exec.Cmd {
	s.t.Helper()
	state := map[string]string{"run": "messenger", "helper": "state"}[verb]
	cmd := exec.Command(s.agent, verb, "--state", s.in(state))
	if s.log[verb] == nil {
		s.log[verb] = &bytes.Buffer{}
	}
	cmd.Stderr = s.log[verb]
	cmd.Env = append(os.Environ(), env...)
	s.must(cmd.Start())
	s.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", verb, s.log[verb])
		}
	})
	return cmd
}

// until waits for something to become true.
func (s *station) until(what string, ok func() bool) {
	s.t.Helper()
	for range 1200 {
		if ok() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("it never came to this: %s", what)
}

// table lays the case on the hall's table with the pool that plan made.
func (s *station) table(c *writtest.Case) {
	s.t.Helper()
	pool := map[string][]byte{}
	s.must(filepath.WalkDir(s.in("pool"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(p)
		name, _ := filepath.Rel(s.in("pool"), p)
		pool[filepath.ToSlash(name)] = raw
		return err
	}))
	s.hall.Table(c, pool)
}

func TestOneWritOverTheWire(t *testing.T) {
	old, new := hello("1.0-1", nil), hello("1.0-2", nil)
	s := newStation(t, newScene(t, old))
	if code, out := s.enrol(); code != exitOK || !strings.Contains(out, "under the pinned root") {
		t.Fatalf("enroll: %d\n%s", code, out)
	}
	s.begin("helper")
	s.begin("run")
	s.until("the inventory is told", func() bool { return s.hall.Snapshot() != nil })
	if got := string(canon.MustEncode(s.hall.Snapshot().Status)); !strings.Contains(got, "hello-pw") {
		t.Errorf("the inventory does not hold the package: %.400s", got)
	}
	c := s.plan(old, new)
	s.table(c)
	s.until("a receipt comes in", func() bool { return len(s.hall.Receipts()) == 1 })
	r := s.hall.Receipts()[0]
	if r.Outcome != writ.Done || s.dpkg() != "1.0-2 installed" {
		t.Errorf("%s %s, dpkg says %q", r.Outcome, r.Code, s.dpkg())
	}
	if err := r.Signed(s.house.Hosts[0].Host); err != nil {
		t.Error(err)
	}
	s.until("the new inventory is told", func() bool {
		return strings.Contains(string(canon.MustEncode(s.hall.Snapshot().Status)), "1.0-2")
	})
}

type refused = wire.ReceiptRequest

func (s *station) hellos() (n int) {
	for _, q := range s.hall.Said() {
		if q.Verb == wire.Hello {
			n++
		}
	}
	return n
}

// upgraded is how often dpkg's own log says that it unpacked the new version.
func (s *station) upgraded() int {
	s.t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.host.Dir, "var/log/dpkg.log"))
	s.must(err)
	return strings.Count(string(raw), " upgrade hello-pw:amd64 1.0-1 1.0-2")
}
