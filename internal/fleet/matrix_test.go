package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/trust"
)

// The matrix's package: its maintainer script counts its runs, and stops in the
// middle of dpkg like a fault point.
const (
	matrixPackage = "pw-matrix"
	hostFaults    = "/var/tmp/faults"
	matrixScript  = `#!/bin/sh
[ "$1" = configure ] || exit 0
cat /usr/share/pw-matrix/version >> /var/lib/pw-matrix.runs
d=` + hostFaults + `
if [ -e $d/armed ] && [ ! -e $d/in-dpkg.at ]; then
	touch $d/in-dpkg.at
	while [ ! -e $d/in-dpkg.go ] && [ -e $d/armed ]; do sleep 0.05; done
fi
`
)

func matrixVersion(n int) debworld.Package {
	p := Fix(matrixPackage, fmt.Sprintf("1.%d-1", n), "", map[string]string{"postinst": matrixScript})
	for i := n; i > 0; i-- { // every version's changelog names all that came before
		p.Changelog = append([]debworld.Change{{Version: fmt.Sprintf("1.%d-1", n-i+1), Lines: []string{fmt.Sprintf("Fix CVE-2026-2%03d.", n-i+1)}, At: time.Now()}}, p.Changelog...)
	}
	return p
}

// victim is what dies at every step of a round, and how it comes back.
type victim struct {
	name   string
	pass   []string // points that are not stopped at
	strike func(*town) error
	mend   func(*town) error
}

// struck is the host at whose steps victims die.
const struck = "web-1"

func pass(names ...string) []string { return append(names, consumed) }

var victims = []victim{
	{"control plane", pass(), func(w *town) error { return w.Kill(Control) }, func(w *town) error { return w.StartControl(w.t.Context()) }},
	{"messenger", pass(), func(w *town) error { return w.Kill(Messenger(struck)) }, func(w *town) error { return w.StartMessenger(w.Machine(struck)) }},
	// A helper that died during dpkg does not come to the point after it: its
	// successor finds out how dpkg ended. So there are two rounds.
	{"helper", pass("in-dpkg"), func(w *town) error { return w.Kill(Helper(struck)) }, func(w *town) error { return w.StartHelper(w.Machine(struck)) }},
	{"helper during dpkg", pass("after-dpkg"), func(w *town) error { return w.Kill(Helper(struck)) }, func(w *town) error { return w.StartHelper(w.Machine(struck)) }},
	{"two witnesses, and with them the quorum", pass(), func(w *town) error { return errors.Join(w.Kill(WitnessName(0)), w.Kill(WitnessName(1))) },
		func(w *town) error {
			return errors.Join(w.StartWitness(w.t.Context(), 0), w.StartWitness(w.t.Context(), 1))
		}},
	{"bus connection", pass(), func(w *town) error { return w.Machine(struck).Unplug(w.t.Context()) }, func(w *town) error {
		time.Sleep(outage) // the outage itself
		return w.Machine(struck).Plug(w.t.Context())
	}},
}

// TestCrashMatrix kills each part of the fleet at each step of the loop, over
// real processes and real dpkg: nothing acknowledged is lost, nothing is applied
// twice, and the loop goes on.
func TestCrashMatrix(t *testing.T) {
	if os.Getenv("PATCHWRIT_E2E") == "" || os.Getenv("PATCHWRIT_LONG") == "" {
		t.Skip("PATCHWRIT_E2E and PATCHWRIT_LONG are not both set (make test-fleet): real Debian roots, network namespaces, real processes, minutes")
	}
	dir := t.TempDir()
	root, err := moduleRoot()
	must(t, err)
	overlay, err := faultOverlay(root, dir, faultPoints)
	must(t, err)
	x := &faults{dirs: []string{filepath.Join(dir, "faults")}}
	must(t, os.Mkdir(x.dirs[0], 0o777))
	w := newTown(t, Options{Bin: programs(t, filepath.Join(dir, "bin"), overlay), Hosts: []Host{{Name: struck, Domain: "rack-1", Role: "web"}, {Name: "web-2", Domain: "rack-2", Role: "web"}},
		Env: []string{FaultsEnv + "=" + x.dirs[0]}, HostEnv: []string{FaultsEnv + "=" + hostFaults}, Up: []string{"--plan-every", "1s", "--poll-every", "1s", "--settle", "1s"}}, matrixVersion(0))
	x.dirs = append(x.dirs, filepath.Join(w.Machine(struck).Root.Dir, hostFaults))
	for i, v := range victims {
		ok := t.Run(v.name, func(t *testing.T) {
			here := *w
			here.t = t
			here.round(x, v, i+1)
		})
		if !ok {
			return
		}
	}
	t.Run("helper between journal and dpkg", func(t *testing.T) {
		here := *w
		here.t = t
		here.between(x, len(victims)+1)
	})
}

// between has the helper die when the writ is used and dpkg has not begun: the
// host has done nothing, says so, and does not begin again; the plan stops.
func (w *town) between(x *faults, n int) {
	others := slices.DeleteFunc(append(pointNames(), "in-dpkg"), func(name string) bool { return name == consumed })
	must(w.t, x.arm(others...))
	was := w.version(struck, matrixPackage)
	version := fmt.Sprintf("1.%d-1", n)
	must(w.t, w.vendor.Offer(matrixVersion(n)))
	acknowledged := make(chan map[canon.Digest][]string, 1)
	go func() { acknowledged <- w.approving(w.t.Context(), version) }()
	must(w.t, w.Wait(w.t.Context(), "the helper is between journal and dpkg", roundTime, func() (bool, error) {
		p, there := w.ofVersion(w.t.Context(), version)
		if there && p.State == control.Stopped {
			return false, fmt.Errorf("the plan has stopped before: %s", p.Why.Text())
		}
		return len(x.reached()) == 1, nil
	}))
	must(w.t, errors.Join(w.Kill(Helper(struck)), x.disarm(), w.StartHelper(w.Machine(struck))))
	<-acknowledged
	var p control.Plan
	must(w.t, w.Wait(w.t.Context(), "the plan has ended", roundTime, func() (bool, error) {
		p, _ = w.ofVersion(w.t.Context(), version)
		return p.State == control.Finished || p.State == control.Stopped, w.allAlive()
	}))
	raw, err := os.ReadFile(filepath.Join(w.Machine(struck).Root.Dir, "var/lib/pw-matrix.runs"))
	must(w.t, err)
	bad := 0
	for _, r := range w.receiptsOf(p) {
		if w.NameOf(string(r.Receipt.Host)) == struck && !r.Receipt.Good() {
			bad++
		}
	}
	if got := w.version(struck, matrixPackage); p.State != control.Stopped || bad == 0 || strings.Contains(string(raw), version+"\n") || got != was {
		w.t.Errorf("the plan is %s (%s); %d receipts say that it was not done; the host has %s; scripts ran for %q", p.State, p.Why.Text(), bad, got, raw)
	}
}

// round has one version go round while a victim dies at every step.
func (w *town) round(x *faults, v victim, n int) {
	must(w.t, x.arm(v.pass...))
	version := fmt.Sprintf("1.%d-1", n)
	must(w.t, w.vendor.Offer(matrixVersion(n)))
	ctx, stop := context.WithTimeout(w.t.Context(), roundTime)
	defer stop()
	acknowledged := make(chan map[canon.Digest][]string, 1)
	go func() { acknowledged <- w.approving(ctx, version) }()
	struckAt := w.strikeAll(ctx, x, v, len(faultPoints)+1-len(v.pass)) // in-dpkg is one more
	must(w.t, x.disarm())
	w.t.Logf("%s died at %d points: %s", v.name, len(struckAt), strings.Join(struckAt, " "))
	for _, p := range append(pointNames(), "in-dpkg") {
		if !slices.Contains(v.pass, p) && !slices.Contains(struckAt, p) {
			w.t.Errorf("point %s was not reached", p)
		}
	}
	people := <-acknowledged
	w.settled(version, people)
}

// roundTime bounds a round on a busy machine.
const roundTime = 6 * time.Minute

func pointNames() []string {
	out := []string{}
	for _, p := range faultPoints {
		out = append(out, p.name)
	}
	return out
}

// toVersion finds the plans to a version: one for both hosts, or one for each
// when one of them was not heard of while the first was made.
func (w *town) toVersion(ctx context.Context, version string) []control.Plan {
	plans, err := w.PlansNow(ctx)
	if err != nil {
		return nil // the control plane is dead just now
	}
	return slices.DeleteFunc(plans, func(p control.Plan) bool {
		return !slices.Contains(p.Packages, matrixPackage) || !strings.Contains(w.target(ctx, p), version)
	})
}

// ofVersion finds the plan to a version that is for the host that is struck.
func (w *town) ofVersion(ctx context.Context, version string) (control.Plan, bool) {
	for _, p := range w.toVersion(ctx, version) {
		if slices.Contains(p.Hosts, trust.HostID(w.ID(struck))) {
			return p, true
		}
	}
	return control.Plan{}, false
}

// covered reports whether plans are there for both hosts.
func (w *town) covered(plans []control.Plan) bool {
	hosts := 0
	for _, p := range plans {
		hosts += len(p.Hosts)
	}
	return hosts == len(w.Machines)
}

// target is the version that a plan leads to.
func (w *town) target(ctx context.Context, p control.Plan) string {
	var file struct {
		Branches []struct {
			Changes []struct{ To string }
		}
	}
	if err := w.Get(ctx, "plans/"+string(p.Digest)+"/file", &file); err != nil || len(file.Branches) == 0 || len(file.Branches[0].Changes) == 0 {
		return ""
	}
	return file.Branches[0].Changes[0].To
}

// approving has two people say yes to every plan as soon as it is there, again
// and again until each was acknowledged. It returns who was, by plan.
func (w *town) approving(ctx context.Context, version string) map[canon.Digest][]string {
	done := map[canon.Digest][]string{}
	err := w.Wait(ctx, "two people have approved", roundTime, func() (bool, error) {
		plans := w.toVersion(ctx, version)
		all := w.covered(plans)
		for _, p := range plans {
			for _, name := range []string{"ann", "bob"} {
				if p.State == control.Review && !slices.Contains(done[p.Digest], name) && w.Approve(ctx, string(p.Digest), name) == nil {
					done[p.Digest] = append(done[p.Digest], name)
				}
			}
			all = all && len(done[p.Digest]) == 2
		}
		return all, nil
	})
	if err != nil {
		w.t.Error(err)
	}
	return done
}

// strikeAll strikes the victim at each point that is reached, until it has died at
// so many or the time is over.
func (w *town) strikeAll(ctx context.Context, x *faults, v victim, want int) []string {
	w.t.Helper()
	var at []string
	err := w.Wait(ctx, "every point was reached", roundTime, func() (bool, error) {
		for _, point := range x.reached() {
			at = append(at, strings.TrimSuffix(filepath.Base(point), ".at"))
			if err := errors.Join(v.strike(w), release(point), v.mend(w)); err != nil {
				return false, fmt.Errorf("at %s: %w", point, err)
			}
		}
		return len(at) == want, nil
	})
	if err != nil {
		w.t.Error(err)
	}
	return at
}

// settled looks at the end of a round: everybody has the version, by one run of
// dpkg each; every yes that was acknowledged is there; and everything that had to
// be logged is in the log.
func (w *town) settled(version string, people map[canon.Digest][]string) {
	w.t.Helper()
	var plans []control.Plan
	must(w.t, w.Wait(w.t.Context(), "the plans have ended", roundTime, func() (bool, error) {
		plans = w.toVersion(w.t.Context(), version)
		open := slices.ContainsFunc(plans, func(p control.Plan) bool {
			return p.State != control.Finished && p.State != control.Stopped && p.State != control.Denied
		})
		return w.covered(plans) && !open, w.allAlive()
	}))
	for _, m := range w.Machines {
		if got := w.version(m.Name, matrixPackage); got != version+" installed" {
			w.t.Errorf("%s has %s", m.Name, got)
		}
		raw, err := os.ReadFile(filepath.Join(m.Root.Dir, "var/lib/pw-matrix.runs"))
		if must(w.t, err); strings.Count(string(raw), version+"\n") != 1 {
			w.t.Errorf("on %s the maintainer script of %s ran %d times", m.Name, version, strings.Count(string(raw), version+"\n"))
		}
	}
	good := map[string]int{}
	for _, p := range plans {
		if p.State != control.Finished {
			w.t.Fatalf("the plan is %s: %s", p.State, p.Why.Text())
		}
		for _, r := range w.receiptsOf(p) {
			if r.Receipt.Good() {
				good[w.NameOf(string(r.Receipt.Host))]++
			}
		}
		for _, name := range people[p.Digest] {
			if !slices.ContainsFunc(p.Answers, func(a approval.Approval) bool { return string(a.Person) == w.house.People[name] }) {
				w.t.Errorf("the yes of %s was acknowledged and is lost", name)
			}
		}
	}
	if len(good) != 2 || good[struck] != 1 || good["web-2"] != 1 {
		w.t.Errorf("good receipts %v, want one of each host", good)
	}
	w.allLogged()
	must(w.t, w.Wait(w.t.Context(), "both hosts have told what they have now", roundTime, func() (bool, error) {
		hosts, err := w.HostsNow(w.t.Context())
		return err == nil && !hosts[0].Stale && !hosts[1].Stale && hosts[0].Inventory == hosts[1].Inventory, err
	}))
}

// allLogged wants every event of the record that belongs to the log in it, at a
// place of its own.
func (w *town) allLogged() {
	w.t.Helper()
	must(w.t, w.Wait(w.t.Context(), "every event stands in the log", answering, func() (bool, error) {
		places := map[int64]string{}
		for after := int64(0); ; {
			var events []control.Logged
			if err := w.Get(w.t.Context(), fmt.Sprintf("ledger?after=%d", after), &events); err != nil {
				return false, err
			}
			if len(events) == 0 {
				return true, nil
			}
			for _, e := range events {
				if after = e.Position; e.Subject == "" {
					continue
				}
				if e.Index < 0 {
					return false, nil
				}
				what := e.Kind + " " + string(e.Subject)
				if was := places[e.Index]; was != "" && was != what {
					return false, fmt.Errorf("%s and %s have the same place %d in the log", was, what, e.Index)
				}
				places[e.Index] = what
			}
		}
	}))
}

// TestFaultPointsHaveAPlace keeps the anchors true without a run of the matrix.
func TestFaultPointsHaveAPlace(t *testing.T) {
	root, err := moduleRoot()
	must(t, err)
	for _, points := range [][]faultPoint{faultPoints, adviceFaults} {
		_, err = faultOverlay(root, t.TempDir(), points)
		must(t, err)
	}
}
