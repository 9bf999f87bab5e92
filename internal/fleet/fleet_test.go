package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/debworld"
)

// town is a small fleet with a vendor of its own.
type town struct {
	*Fleet
	t      testing.TB
	vendor *Vendor
}

// programs builds the three programs as they are shipped.
func programs(t testing.TB, dir string, flags ...string) string {
	t.Helper()
	if bin := os.Getenv("PATCHWRIT_TEST_BIN"); bin != "" && len(flags) == 0 {
		return bin
	}
	for _, name := range []string{"patchwrit", "patchwrit-agent", "patchwrit-witness"} {
		must(t, build(t.Context(), filepath.Join(dir, name), "github.com/patchwrit/patchwrit/cmd/"+name, flags...))
	}
	return dir
}

// told shows what is done in the test's own log.
type told struct{ t testing.TB }

func (w told) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// keepLogs shows the end of what every process said.
func keepLogs(t testing.TB, f *Fleet) {
	for name, p := range f.processes {
		t.Logf("== %s (running: %t)\n%s", name, p.Running(), p.Tail())
	}
}

// newTown founds a house with hosts that have the packages.
func newTown(t testing.TB, o Options, installed ...debworld.Package) *town {
	t.Helper()
	if os.Getenv("PATCHWRIT_E2E") == "" || os.Getenv("PATCHWRIT_LONG") == "" {
		t.Skip("PATCHWRIT_E2E and PATCHWRIT_LONG are not both set (make test-fleet): real Debian roots, network namespaces, real processes, minutes")
	}
	base, err := debworld.BaseRoot(t.Context(), "", os.Stderr)
	debworld.Need(t, err)
	dir, err := os.MkdirTemp("", "pw") // a short path: a socket is in it
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	v, err := NewVendor(dir)
	must(t, err)
	must(t, v.Offer(installed...))
	o.Dir, o.Base, o.Origins, o.Say = dir, base, []Origin{v.Origin}, told{t}
	if o.Bin == "" {
		o.Bin = programs(t, filepath.Join(dir, "bin"))
	}
	for i := range o.Hosts {
		o.Hosts[i].Furnish = func(m *Machine) error { return m.Preinstall(t.Context(), installed...) }
	}
	f, err := New(t.Context(), o)
	t.Cleanup(func() {
		if t.Failed() {
			keepLogs(t, f)
		}
		must(t, f.Close())
	})
	must(t, err)
	must(t, f.StartAgents(t.Context()))
	return &town{f, t, v}
}

// versions is what dpkg says on every host, in their order.
func (w *town) versions(name string) string {
	w.t.Helper()
	out := []string{}
	for _, m := range w.Machines {
		res, err := m.Root.Run(w.t.Context(), "dpkg-query", "-W", "-f", "${Version}", name)
		must(w.t, err)
		out = append(out, res.Stdout)
	}
	return strings.Join(out, " ")
}

func TestAFleetPatchesItself(t *testing.T) {
	old := Fix("pw-tool", "1.0-1", "", nil)
	w := newTown(t, Options{Hosts: []Host{{Name: "web-1", Domain: "rack-1", Role: "web"}, {Name: "web-2", Domain: "rack-2", Role: "web"}},
		Up: []string{"--plan-every", "2s", "--poll-every", "2s"}}, old)
	must(t, w.vendor.Offer(Fix("pw-tool", "1.1-1", "CVE-2026-1001", nil)))
	p, err := w.AwaitPlan(t.Context(), "a plan", planning, func(p control.Plan) bool { return p.State == control.Review && len(p.Hosts) == 2 })
	must(t, err)
	must(t, w.Approve(t.Context(), string(p.Digest), "ann", "bob"))
	p, err = w.AwaitPlan(t.Context(), "a plan", planning, func(q control.Plan) bool { return q.Digest == p.Digest && q.State == control.Finished })
	must(t, err)
	if got := w.versions("pw-tool"); got != "1.1-1 1.1-1" {
		t.Errorf("dpkg says %s", got)
	}
}

// BenchmarkEndToEnd is one approved plan on four real hosts in two domains, three
// waves: from the second yes until the control plane holds every receipt. Time
// for each host; a wave's hosts work side by side.
func BenchmarkEndToEnd(b *testing.B) {
	if b.N > 1 {
		return // once is minutes already
	}
	hosts := []Host{}
	for i, rack := range []string{"rack-1", "rack-2", "rack-1", "rack-2"} {
		hosts = append(hosts, Host{Name: fmt.Sprintf("web-%d", i+1), Domain: rack, Role: "web"})
	}
	w := newTown(b, Options{Hosts: hosts, Up: []string{"--plan-every", "2s", "--poll-every", "2s"}}, Fix("pw-tool", "1.0-1", "", nil))
	must(b, w.vendor.Offer(Fix("pw-tool", "1.1-1", "CVE-2026-1001", nil)))
	p, err := w.AwaitPlan(b.Context(), "a plan", planning, func(p control.Plan) bool { return p.State == control.Review && len(p.Hosts) == len(hosts) })
	must(b, err)
	must(b, w.Approve(b.Context(), string(p.Digest), "ann"))
	began := time.Now()
	must(b, w.Approve(b.Context(), string(p.Digest), "bob"))
	p, err = w.AwaitPlan(b.Context(), "its end", planning, func(q control.Plan) bool { return q.Digest == p.Digest && q.State == control.Finished })
	must(b, err)
	took := time.Since(began).Seconds()
	b.ReportMetric(took/float64(len(hosts)), "s/host")
	b.ReportMetric(took/float64(slices.Max(p.Waves)+1), "s/wave")
}

// packagesOf is one version of several packages.
func packagesOf(version, cve string, names ...string) []debworld.Package {
	out := []debworld.Package{}
	for _, name := range names {
		out = append(out, Fix(name, version, cve, nil))
	}
	return out
}
