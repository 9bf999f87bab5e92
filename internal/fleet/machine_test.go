package fleet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/internal/debworld"
)

// street is two booted hosts on a street.
func street(t *testing.T) (*Street, []*Machine) {
	t.Helper()
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: real Debian roots, network namespaces")
	}
	base, err := debworld.BaseRoot(t.Context(), "", os.Stderr)
	debworld.Need(t, err)
	dir := t.TempDir()
	pid1 := filepath.Join(dir, "pid1")
	debworld.Need(t, BuildPid1(t.Context(), pid1))
	s, err := OpenStreet(t.Context())
	debworld.Need(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	var ms []*Machine
	for i := range 2 {
		name := fmt.Sprintf("host-%d", i+1)
		m, err := s.NewMachine(base, filepath.Join(dir, name), name, pid1)
		debworld.Need(t, err)
		t.Cleanup(func() { must(t, m.Close()) })
		must(t, m.Boot(t.Context()))
		ms = append(ms, m)
	}
	return s, ms
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (m *Machine) says(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := m.Run(t.Context(), Program{Name: argv[0], Argv: argv})
	must(t, err)
	return strings.TrimSpace(out)
}

func TestAHostReachesTheStreetAndNothingElse(t *testing.T) {
	s, ms := street(t)
	l, err := net.Listen("tcp", net.JoinHostPort(s.Addr.String(), "0"))
	must(t, err)
	defer l.Close()
	elsewhere, err := net.Listen("tcp", "0.0.0.0:0")
	must(t, err)
	defer elsewhere.Close()
	if got := ms[0].says(t, Tools+"/pid1", "reach", l.Addr().String()); got != l.Addr().String()+" open" {
		t.Errorf("the street's address: %s", got)
	}
	must(t, ms[0].Alone(t.Context(), ms))
	_, port, _ := net.SplitHostPort(elsewhere.Addr().String())
	others, err := net.InterfaceAddrs()
	must(t, err)
	for _, a := range others {
		addr, _, err := net.ParseCIDR(a.String())
		if err != nil || addr.IsLoopback() || addr.To4() == nil || addr.String() == s.Addr.String() {
			continue
		}
		if got := ms[0].says(t, Tools+"/pid1", "reach", net.JoinHostPort(addr.String(), port)); !strings.HasSuffix(got, " no route") {
			t.Errorf("another address of the machine: %s", got)
		}
	}
	must(t, ms[0].Unplug(t.Context()))
	if got := ms[0].says(t, Tools+"/pid1", "reach", l.Addr().String()); strings.HasSuffix(got, " open") {
		t.Errorf("with the cable cut: %s", got)
	}
	must(t, ms[0].Plug(t.Context()))
	got := ""
	for end := time.Now().Add(30 * time.Second); !strings.HasSuffix(got, " open") && time.Now().Before(end); { // the neighbours are found anew
		got = ms[0].says(t, Tools+"/pid1", "reach", l.Addr().String())
	}
	if !strings.HasSuffix(got, " open") {
		t.Errorf("with the cable connected again: %s", got)
	}
}

func TestAHostIsAHost(t *testing.T) {
	_, ms := street(t)
	m := ms[0]
	if got := m.says(t, "/bin/hostname"); got != "host-1" {
		t.Errorf("it calls itself %q", got)
	}
	if got := m.says(t, "/usr/bin/dpkg-query", "-W", "-f", "${db:Status-Status}", "libc6"); got != "installed" {
		t.Errorf("dpkg says %q", got)
	}
	_, err := m.Run(t.Context(), Program{Name: "false", Argv: []string{"/bin/false"}})
	if status := new(ExitError); !errors.As(err, &status) || status.Code != 1 {
		t.Errorf("false: %v", err)
	}
	_, err = m.Run(t.Context(), Program{Argv: []string{"/usr/sbin/useradd", "--system", "someone"}})
	must(t, err)
	out, err := m.Run(t.Context(), Program{Name: "id", Argv: []string{"/usr/bin/id", "-un"}, User: "someone"})
	if must(t, err); out != "someone\n" {
		t.Errorf("the user is %q", out)
	}
	sleep, err := m.Start(Program{Name: "sleep", Argv: []string{"/bin/sleep", "600"}}, filepath.Join(t.TempDir(), "log"))
	must(t, err)
	if got := m.says(t, "/bin/ls", "/proc"); !strings.Contains(got, "self") || len(strings.Fields(got)) > 100 {
		t.Errorf("/proc holds %s", got)
	}
	if !sleep.Running() {
		t.Error("a started process does not run")
	}
	must(t, m.PowerCut())
	if must(t, awaitEnd(sleep.gone, "sleep")); sleep.Running() {
		t.Error("it outlived the power cut")
	}
	must(t, m.Boot(t.Context()))
	if got := m.says(t, "/bin/cat", "/etc/hostname"); got != "host-1" {
		t.Errorf("after the boot: %q", got)
	}
}

// A run that was killed leaves a bridge; the next run removes it, and only it.
func TestSweepTakesWhatTheDeadLeft(t *testing.T) {
	mine, _ := street(t)
	dead := exec.Command("sleep", "600")
	must(t, dead.Start())
	whose, err := owner(dead.Process.Pid)
	must(t, err)
	left := &Street{bridge: "pwswept", subnet: randomSubnet()}
	left.Addr = left.subnet.Addr().Next()
	must(t, left.make(t.Context(), mark+whose))
	defer left.Close()
	there := func(s *Street) bool {
		_, err := os.Lstat("/sys/class/net/" + s.bridge)
		return err == nil
	}
	if must(t, Sweep(t.Context())); !there(left) {
		t.Error("the bridge of a living run was swept")
	}
	must(t, dead.Process.Kill())
	dead.Wait()
	for end := time.Now().Add(10 * time.Second); there(left) && time.Now().Before(end); {
		must(t, Sweep(t.Context()))
	}
	if there(left) || !there(mine) {
		t.Errorf("after the sweep: left %t, mine %t", there(left), there(mine))
	}
}
