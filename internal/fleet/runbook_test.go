package fleet

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/shop"
)

// here runs a page's command beside the control plane, as an operator does.
func (w *town) here(command string) (int, string) {
	argv := shop.Shell(command)
	cmd := exec.CommandContext(w.t.Context(), argv[0], argv[1:]...)
	cmd.Dir = w.Dir
	cmd.Env = append(os.Environ(), "PATH="+w.Bin+":"+os.Getenv("PATH"), "PATCHWRIT_TRUST="+w.In("trust"), "PATCHWRIT_DATA="+w.Data(), "PATCHWRIT_ROOT_SHA256="+w.house.Root)
	out, err := cmd.CombinedOutput()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		w.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// on runs a page's command on a host, as its root.
func (w *town) on(m *Machine) func(string) (int, string) {
	return func(command string) (int, string) {
		argv := shop.Shell(command + " 2>&1")
		argv[0] = "/bin/" + argv[0]
		out, err := m.Run(w.t.Context(), Program{Argv: argv,
			Env: append([]string{"PATH=" + Tools + ":/usr/sbin:/usr/bin:/sbin:/bin", "PATCHWRIT_ROOT_SHA256=" + w.house.Root, "SERVER=https://control:8443"}, w.HostEnv...)})
		var status *ExitError
		if errors.As(err, &status) {
			return status.Code, out + status.Stderr
		}
		must(w.t, err)
		return 0, out
	}
}

// patched has the vendor offer a version, people approve it, and both hosts get
// it.
func (w *town) patched(version, cve string) {
	w.t.Helper()
	must(w.t, w.vendor.Offer(Fix("pw-tool", version, cve, nil)))
	var p control.Plan
	must(w.t, w.Wait(w.t.Context(), "a plan to "+version, planning, func() (bool, error) {
		plans, err := w.PlansNow(w.t.Context())
		for _, p = range plans {
			if p.State == control.Review && len(p.Hosts) == len(w.Machines) && w.target(w.t.Context(), p) == version {
				return true, nil
			}
		}
		return false, err
	}))
	must(w.t, w.Approve(w.t.Context(), string(p.Digest), "ann", "bob"))
	_, err := w.AwaitPlan(w.t.Context(), "its end", planning, func(q control.Plan) bool { return q.Digest == p.Digest && q.State == control.Finished })
	must(w.t, err)
	if got := w.versions("pw-tool"); got != version+" "+version {
		w.t.Fatalf("dpkg says %s", got)
	}
	// A backup in which one of them has not told yet what it has now would plan the
	// next version for the other alone.
	must(w.t, w.Wait(w.t.Context(), "both hosts have told what they have", planning, func() (bool, error) {
		hosts, err := w.HostsNow(w.t.Context())
		return err == nil && !slices.ContainsFunc(hosts, func(h control.HostView) bool { return h.Stale }), err
	}))
}

// lose has the control plane's machine burn down.
func (w *town) lose() {
	w.t.Helper()
	must(w.t, errors.Join(w.Kill(Control), os.RemoveAll(w.Data())))
}

// TestRunbookControlPlaneLost follows docs/operate/control-plane-lost.md with two
// real hosts whose agents run all the time: with a fresh backup, then with one
// that is too old.
func TestRunbookControlPlaneLost(t *testing.T) {
	page, err := shop.ReadRunbook(filepath.Join("../../docs/operate", "control-plane-lost.md"))
	must(t, err)
	if len(page) != 7 {
		t.Fatalf("the page has %d marks, the test knows 6", len(page)-1)
	}
	w := newTown(t, Options{Hosts: []Host{{Name: "web-1", Domain: "rack-1", Role: "web"}, {Name: "web-2", Domain: "rack-2", Role: "web"}},
		Up: []string{"--plan-every", "2s", "--poll-every", "2s"}}, Fix("pw-tool", "1.0-1", "", nil))
	w.patched("1.1-1", "CVE-2026-1001")
	page[0].Follow(t, w.here)
	w.lose()
	page[1].Follow(t, w.here)
	must(t, w.StartControl(t.Context()))
	page[2].Follow(t, w.here)
	w.patched("1.2-1", "CVE-2026-1002")
	w.lose()
	page[3].Follow(t, w.here)
	for i := range Witnesses {
		p, err := w.Process(WitnessName(i))
		must(t, err)
		must(t, p.cmd.Process.Signal(syscall.SIGHUP)) // they would see it within a minute
	}
	must(t, w.StartControl(t.Context()))
	for _, m := range w.Machines {
		page[4].Follow(t, w.here)
		token, err := os.ReadFile(w.In("token"))
		must(t, err)
		must(t, m.Root.Write("/root/token", token, 0o600))
		page[5].Follow(t, w.on(m))
		must(t, errors.Join(w.Kill(Messenger(m.Name)), w.Kill(Helper(m.Name)), w.StartAgent(m)))
	}
	w.patched("1.3-1", "CVE-2026-1003")
	page[6].Follow(t, w.here)
}
