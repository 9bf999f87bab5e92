package guesttest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/debguest"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/internal/fleet"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
)

// The agent's two units, and the user that one of them is.
const (
	helperUnit    = "patchwrit-helper.service"
	messengerUnit = "patchwrit-agent.service"
)

// How long the guest may take, without KVM and on a busy machine.
const (
	slowly   = 12 * time.Minute
	pollWait = 300 * time.Millisecond
)

// world is one guest and the house it belongs to.
type world struct {
	*fleet.Fleet
	t      *testing.T
	guest  *debguest.Guest
	vendor *fleet.Vendor
	begun  time.Time
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// lap says how long a part took.
func (w *world) lap(what string) {
	w.t.Logf("%6.1f s  %s", time.Since(w.begun).Seconds(), what)
	w.begun = time.Now()
}

type told struct{ t *testing.T }

func (w told) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// newWorld founds the house, boots the guest with these packages installed as if
// from before, and enrols it.
func newWorld(t *testing.T, installed ...debworld.Package) *world {
	t.Helper()
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: a real Debian guest, minutes")
	}
	w := &world{t: t, begun: time.Now()}
	dir, err := os.MkdirTemp("", "pw") // a short path: sockets are in it
	w.must(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	w.must(w.hand(dir, installed))
	w.guest = debguest.NewGuest(t, filepath.Join(dir, "handover"))
	mirror, err := debworld.MirrorSources()
	debworld.Need(t, err)
	w.vendor, err = fleet.NewVendor(dir)
	w.must(err)
	w.must(w.vendor.Offer(installed...))
	w.lap("programs and packages are made")
	w.Fleet, err = fleet.New(t.Context(), fleet.Options{Dir: dir, Bin: filepath.Join(dir, "bin"), Debian: mirror.Keyring, Origins: []fleet.Origin{w.vendor.Origin},
		Up: []string{"--plan-every", "2s", "--poll-every", "2s"}, Say: told{t}})
	t.Cleanup(w.close)
	w.must(err)
	w.lap("the house is founded")
	w.must(w.guest.Boot(t.Context()))
	w.lap("the guest has booted " + w.guest.Release)
	w.settle()
	w.lap("the guest is enrolled")
	return w
}

// close shows what the processes said when the test has failed.
func (w *world) close() {
	if w.t.Failed() {
		for _, name := range []string{fleet.Control} {
			if p, err := w.Process(name); err == nil {
				w.t.Logf("== %s\n%s", name, p.Tail())
			}
		}
		if out, err := w.guest.Exec(context.Background(), "journalctl", "--no-pager", "-o", "cat", "-n", "80", "-u", helperUnit, "-u", messengerUnit); err == nil {
			w.t.Logf("== the agent in the guest\n%s", out.Stdout)
		}
	}
	if err := w.Close(); err != nil {
		w.t.Error(err)
	}
}

// hand builds the programs and what the guest is given.
func (w *world) hand(dir string, installed []debworld.Package) error {
	bin, hand := filepath.Join(dir, "bin"), filepath.Join(dir, "handover")
	if err := errors.Join(os.Mkdir(bin, 0o755), os.MkdirAll(filepath.Join(hand, "debs"), 0o755)); err != nil {
		return err
	}
	for _, name := range []string{"patchwrit", "patchwrit-agent", "patchwrit-witness"} {
		if built := os.Getenv("PATCHWRIT_TEST_BIN"); built != "" {
			if err := copyFile(filepath.Join(built, name), filepath.Join(bin, name)); err != nil {
				return err
			}
			continue
		}
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(bin, name), "github.com/patchwrit/patchwrit/cmd/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	if err := os.CopyFS(filepath.Join(hand, "systemd"), os.DirFS("../../deploy/systemd")); err != nil {
		return err
	}
	for _, p := range installed {
		raw, err := p.Build()
		if err == nil {
			err = os.WriteFile(filepath.Join(hand, "debs", p.FileName()), raw, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return copyFile(filepath.Join(bin, "patchwrit-agent"), filepath.Join(hand, "patchwrit-agent"))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// run runs a command in the guest that must succeed, and returns its output.
func (w *world) run(argv ...string) string {
	w.t.Helper()
	res, err := w.guest.Exec(w.t.Context(), argv...)
	w.must(err)
	return strings.TrimSpace(res.Stdout)
}

// settle makes the guest a host of the house: packages, agent, user, units, a
// token, the keepers, and then the units start.
func (w *world) settle() {
	w.t.Helper()
	debs, err := filepath.Glob(w.In("handover", "debs", "*.deb"))
	w.must(err)
	argv := []string{"dpkg", "-i"}
	for _, d := range debs {
		argv = append(argv, debguest.Handover+"/debs/"+filepath.Base(d))
	}
	w.run(argv...)
	w.run("install", "-m", "755", debguest.Handover+"/patchwrit-agent", "/usr/bin/patchwrit-agent")
	w.run("install", "-m", "644", debguest.Handover+"/systemd/patchwrit.sysusers", "/usr/lib/sysusers.d/patchwrit.conf")
	w.run("install", "-m", "644", debguest.Handover+"/systemd/"+helperUnit, debguest.Handover+"/systemd/"+messengerUnit, "/usr/lib/systemd/system")
	w.run("install", "-m", "644", debguest.Handover+"/systemd/patchwrit.tmpfiles", "/usr/lib/tmpfiles.d/patchwrit.conf")
	w.run("systemd-sysusers")
	w.run("systemd-tmpfiles", "--create", "patchwrit.conf")
	w.run("systemctl", "daemon-reload")
	token, err := w.Do(w.t.Context(), append([]string{"patchwrit", "host", "token", "--life", "10m"}, w.Server()...)...)
	w.must(err)
	w.must(w.guest.WriteFile("/root/token", []byte(token+"\n")))
	id := w.run("patchwrit-agent", "enroll", "--root-sha256", w.House()[3], "--server", "https://"+w.Street.Addr.String()+":8443", "--token", "/root/token")
	hosts, err := w.HostsNow(w.t.Context())
	w.must(err)
	i := slices.IndexFunc(hosts, func(h control.HostView) bool { return string(h.ID) == id })
	if i < 0 {
		w.t.Fatalf("the control plane does not know %s", id)
	}
	_, err = w.Do(w.t.Context(), append([]string{"patchwrit", "trust", "add-host", hosts[i].Public + ":rack-1:role=web",
		"--key", w.Key("keeper-1.keeper.pem"), "--key", w.Key("keeper-2.keeper.pem")}, w.House()...)...)
	w.must(err)
	w.run("systemctl", "enable", "--now", helperUnit, messengerUnit)
	w.await("the guest has told what it has", slowly, func() bool { h := w.host(); return h.State == wire.Enrolled && h.Inventory != "" })
}

// host is the guest as the control plane sees it.
func (w *world) host() control.HostView {
	w.t.Helper()
	hosts, err := w.HostsNow(w.t.Context())
	w.must(err)
	if len(hosts) != 1 {
		w.t.Fatalf("%d hosts", len(hosts))
	}
	return hosts[0]
}

// await looks until something is so.
func (w *world) await(what string, atMost time.Duration, so func() bool) {
	w.t.Helper()
	end := time.Now().Add(atMost)
	for !so() {
		if time.Now().After(end) {
			w.t.Fatalf("waited %s in vain until %s", atMost, what)
		}
		time.Sleep(pollWait)
	}
}

// approved waits for the plan that names the package and has two people say yes.
func (w *world) approved(name string) control.Plan {
	w.t.Helper()
	p, err := w.AwaitPlan(w.t.Context(), "a plan for "+name, slowly, func(p control.Plan) bool {
		return p.State == control.Review && slices.Contains(p.Packages, name)
	})
	w.must(err)
	w.must(w.Approve(w.t.Context(), string(p.Digest), "ann", "bob"))
	w.lap("a plan for " + name + " is approved")
	return p
}

// receipts are the guest's, for a plan, the oldest first, as the control plane
// has them.
func (w *world) receipts(p control.Plan) (out []writ.Receipt) {
	w.t.Helper()
	var all []control.Receipt
	w.must(w.Get(w.t.Context(), "receipts", &all))
	for _, r := range all {
		if r.Receipt.Plan == p.Digest {
			out = append(out, r.Receipt)
		}
	}
	slices.SortStableFunc(out, func(a, b writ.Receipt) int {
		return cmp.Or(cmp.Compare(a.Ended, b.Ended), strings.Compare(string(a.Outcome), string(b.Outcome))) // partial, then rolled_back
	})
	return out
}

// now is how the newest receipt for a plan stands today.
func (w *world) now(p control.Plan) control.Standing {
	w.t.Helper()
	var all []control.ReceiptView
	w.must(w.Get(w.t.Context(), "receipts", &all))
	i := slices.IndexFunc(all, func(r control.ReceiptView) bool { return r.Receipt.Receipt.Plan == p.Digest })
	if i < 0 {
		w.t.Fatalf("no receipt for plan %s", p.Digest.Short())
	}
	return all[i].Now
}

// why is what the operators' verb says of a package.
func (w *world) why(name string) string {
	w.t.Helper()
	out, err := w.Do(w.t.Context(), append([]string{"patchwrit", "why", "pw-guest", name, "-o", "json"}, w.Server()...)...)
	w.must(err)
	return out
}

// ended waits until a plan has ended and n receipts for it are there, and
// returns them.
func (w *world) ended(p control.Plan, state control.PlanState, n int) []writ.Receipt {
	w.t.Helper()
	_, err := w.AwaitPlan(w.t.Context(), "the plan is "+string(state), slowly, func(q control.Plan) bool { return q.Digest == p.Digest && q.State == state })
	w.must(err)
	w.await(fmt.Sprintf("%d receipts are there", n), slowly, func() bool { return len(w.receipts(p)) >= n })
	r := w.receipts(p)
	for _, r := range r {
		w.t.Logf("receipt: %s %s, states %+v, effective %+v", r.Outcome, r.Code, r.States, r.Effective)
	}
	w.lap("plan " + p.Digest.Short() + " is " + string(state))
	return r
}

// dpkg is what the guest's dpkg says of a package.
func (w *world) dpkg(name string) string {
	w.t.Helper()
	return w.run("dpkg-query", "-W", "-f", "${Version} ${db:Status-Status} ${db:Status-Eflag}", name)
}
