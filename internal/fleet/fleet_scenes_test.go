package fleet

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/trust"
)

// soak is short here; people who sign grants choose hours.
const soak = "1s"

// failing is a maintainer script that every version has, so that the plan stays
// routine, and that fails in version 1.1-1.
var failing = map[string]string{"postinst": "#!/bin/sh\ntest \"$(cat /usr/share/pw-bad/version)\" != 1.1-1\n"}

// granted is a grant for a package of the vendor's on every host.
func (w *town) granted(name string) control.Grant {
	w.t.Helper()
	g, err := w.Grant(w.t.Context(), name+".grant", "--all", "--package", name, "--origin", "vendor", "--soak", soak,
		"--slot", "rack-1=0s", "--slot", "rack-2=0s", "--note", "soak of the test")
	must(w.t, err)
	return g
}

// ends waits until the plan for a package, on every host, is in one of the
// states.
func (w *town) ends(name string, states ...control.PlanState) control.Plan {
	w.t.Helper()
	p, err := w.AwaitPlan(w.t.Context(), fmt.Sprintf("the plan for %s is one of %v", name, states), planning, func(p control.Plan) bool {
		return slices.Contains(p.Packages, name) && len(p.Hosts) == len(w.Machines) && slices.Contains(states, p.State)
	})
	must(w.t, err)
	return p
}

func (w *town) writsOf(p control.Plan) []control.Writ {
	w.t.Helper()
	var all []control.Writ
	must(w.t, w.Get(w.t.Context(), "writs", &all))
	return slices.DeleteFunc(all, func(x control.Writ) bool { return x.Plan != p.Digest })
}

func (w *town) receiptsOf(p control.Plan) []control.Receipt {
	w.t.Helper()
	var all []control.Receipt
	must(w.t, w.Get(w.t.Context(), "receipts", &all))
	return slices.DeleteFunc(all, func(x control.Receipt) bool { return x.Receipt.Plan != p.Digest })
}

// canary is the one host of a plan's first wave.
func (w *town) canary(p control.Plan) string {
	w.t.Helper()
	out := []trust.HostID{}
	for i, h := range p.Hosts {
		if p.Waves[i] == 0 {
			out = append(out, h)
		}
	}
	if len(out) != 1 {
		w.t.Fatalf("the first wave has %d hosts", len(out))
	}
	return w.NameOf(string(out[0]))
}

func (w *town) others(name string) []string {
	out := []string{}
	for _, m := range w.Machines {
		if m.Name != name {
			out = append(out, m.Name)
		}
	}
	return out
}

func (w *town) version(host, name string) string {
	w.t.Helper()
	res, err := w.Machine(host).Root.Run(w.t.Context(), "dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", name)
	must(w.t, err)
	return res.Stdout
}

// TestASmallFleet plays what a fleet must withstand, with real dpkg on three
// real hosts, real witnesses and a real control plane, which it kills.
func TestASmallFleet(t *testing.T) {
	names := []string{"pw-good", "pw-silent", "pw-forensic", "pw-halted"}
	installed := append(packagesOf("1.0-1", "", names...), Fix("pw-bad", "1.0-1", "", failing), library("1.0-1", "", "1.0"))
	w := newTown(t, Options{Hosts: []Host{{Name: "web-1", Domain: "rack-1", Role: "web"}, {Name: "web-2", Domain: "rack-2", Role: "web"},
		{Name: "web-3", Domain: "rack-2", Role: "web"}}, Up: []string{"--plan-every", "1s", "--poll-every", "1s"}}, installed...)
	for _, scene := range []struct {
		name string
		play func(*town)
	}{
		{"hosts reach the control plane and nothing else", (*town).alone},
		{"canary first, and later waves carry receipts", (*town).good},
		{"a failing canary stops the plan and suspends the grant", (*town).bad},
		{"a silent canary stops the plan", (*town).silent},
		{"what is exploited is held until people have looked at the hosts", (*town).forensic},
		{"a halt with the control plane dead stops everything, and lifted it goes on", (*town).halted},
	} {
		ok := t.Run(scene.name, func(t *testing.T) {
			here := *w
			here.t = t
			scene.play(&here)
		})
		if !ok {
			return
		}
	}
}

func (w *town) alone() {
	for _, m := range w.Machines {
		must(w.t, m.Alone(w.t.Context(), w.Machines))
	}
}

func (w *town) good() {
	w.granted("pw-good")
	must(w.t, w.vendor.Offer(Fix("pw-good", "1.1-1", "CVE-2026-1001", nil)))
	p := w.ends("pw-good", control.Finished, control.Stopped, control.Denied)
	if p.State != control.Finished || p.Grant == "" || w.versions("pw-good") != "1.1-1 1.1-1 1.1-1" {
		w.t.Fatalf("the plan is %s under grant %q (%s); dpkg says %s", p.State, p.Grant.Short(), p.Why.Text(), w.versions("pw-good"))
	}
	canary := w.canary(p)
	ended := int64(0)
	receipts := w.receiptsOf(p)
	for _, r := range receipts {
		if w.NameOf(string(r.Receipt.Host)) == canary {
			ended = r.Receipt.Ended
		}
	}
	for _, r := range receipts {
		if name := w.NameOf(string(r.Receipt.Host)); name != canary && r.Receipt.Started < ended {
			w.t.Errorf("%s began at %d, before the canary's end at %d", name, r.Receipt.Started, ended)
		}
	}
	for _, x := range w.writsOf(p) {
		var file struct{ Earlier []any }
		must(w.t, w.Get(w.t.Context(), "writs/"+string(x.Digest)+"/file", &file))
		if want := x.Wave; len(file.Earlier) != want { // one host in each of the waves before
			w.t.Errorf("the writ for wave %d carries %d receipts, want %d", x.Wave, len(file.Earlier), want)
		}
	}
	if len(receipts) != 3 {
		w.t.Errorf("%d receipts of 3 hosts", len(receipts))
	}
}

func (w *town) bad() {
	g := w.granted("pw-bad")
	must(w.t, w.vendor.Offer(Fix("pw-bad", "1.1-1", "CVE-2026-1002", failing)))
	p := w.ends("pw-bad", control.Finished, control.Stopped, control.Denied)
	canary := w.canary(p)
	if p.State != control.Stopped || p.Grant != g.Digest {
		w.t.Fatalf("the plan is %s (%s)", p.State, p.Why.Text())
	}
	must(w.t, w.Wait(w.t.Context(), "the canary has gone back", answering, func() (bool, error) { return len(w.receiptsOf(p)) == 2, nil }))
	if got := w.version(canary, "pw-bad"); got != "1.0-1 installed" {
		w.t.Errorf("the canary has %s", got)
	}
	w.onlyTheCanary(p, canary, "pw-bad")
	grants, err := w.GrantsNow(w.t.Context())
	must(w.t, err)
	for _, now := range grants {
		if now.Digest == g.Digest && now.State != control.Suspended {
			w.t.Errorf("the grant is %s", now.State)
		}
	}
	must(w.t, w.vendor.Withdraw("pw-bad", "1.1-1"))
}

// onlyTheCanary looks whether anybody but the canary got a writ or changed.
func (w *town) onlyTheCanary(p control.Plan, canary, name string) {
	w.t.Helper()
	for _, x := range w.writsOf(p) {
		if w.NameOf(string(x.Host)) != canary {
			w.t.Errorf("%s got a writ after the canary had not made it", w.NameOf(string(x.Host)))
		}
	}
	for _, host := range w.others(canary) {
		if got := w.version(host, name); got != "1.0-1 installed" {
			w.t.Errorf("%s has %s", host, got)
		}
	}
}

// restart starts the control plane again with a life of writs.
func (w *town) restart(life string) {
	w.t.Helper()
	p, err := w.Process(Control)
	must(w.t, err)
	must(w.t, p.Kill())
	w.Up = append(w.Up[:4:4], "--writ-life", life)
	must(w.t, w.StartControl(w.t.Context()))
}

func (w *town) silent() {
	w.restart("10s")
	g := w.granted("pw-silent")
	must(w.t, w.Wait(w.t.Context(), "every host has told what it has after its last change", planning, func() (bool, error) {
		hosts, err := w.HostsNow(w.t.Context())
		return !slices.ContainsFunc(hosts, func(h control.HostView) bool { return h.Stale }), err
	}))
	must(w.t, w.Each(func(m *Machine) error { return w.Kill(Messenger(m.Name)) }))
	must(w.t, w.vendor.Offer(Fix("pw-silent", "1.1-1", "CVE-2026-1003", nil)))
	p := w.ends("pw-silent", control.Finished, control.Stopped, control.Denied)
	if p.State != control.Stopped || p.Grant != g.Digest {
		w.t.Errorf("the plan is %s (%s)", p.State, p.Why.Text())
	}
	must(w.t, w.Each(w.StartMessenger))
	w.onlyTheCanary(p, w.canary(p), "pw-silent")
	if got := w.version(w.canary(p), "pw-silent"); got != "1.0-1 installed" {
		w.t.Errorf("the silent canary has %s", got)
	}
	must(w.t, w.vendor.Withdraw("pw-silent", "1.1-1"))
	w.restart("1h")
}

func (w *town) halted() {
	must(w.t, w.Kill(Control))
	said, err := w.Halt(w.t.Context(), "bob")
	must(w.t, err)
	var halts []struct {
		Digest string `json:"digest"`
	}
	list, err := w.Do(w.t.Context(), append([]string{"patchwrit", "halt", "ls", "-o", "json"}, w.House()...)...)
	must(w.t, err)
	if err := json.Unmarshal([]byte(list), &halts); err != nil || len(halts) != 1 {
		w.t.Fatalf("halt ls: %v\n%s\n%s", err, list, said)
	}
	must(w.t, w.StartControl(w.t.Context()))
	w.granted("pw-halted")
	must(w.t, w.vendor.Offer(Fix("pw-halted", "1.1-1", "CVE-2026-1004", nil)))
	p := w.ends("pw-halted", control.Running)
	canary := w.canary(p)
	asked := time.Now().Unix()
	must(w.t, w.Wait(w.t.Context(), "the canary has asked for a lease and got none", planning, func() (bool, error) {
		hosts, err := w.HostsNow(w.t.Context())
		i := slices.IndexFunc(hosts, func(h control.HostView) bool { return w.NameOf(string(h.ID)) == canary })
		return i >= 0 && hosts[i].Refused >= asked, err
	}))
	if got := w.versions("pw-halted"); got != "1.0-1 1.0-1 1.0-1" {
		w.t.Fatalf("under a halt dpkg says %s", got)
	}
	must(w.t, w.Lift(w.t.Context(), halts[0].Digest))
	if p = w.ends("pw-halted", control.Finished, control.Stopped, control.Denied); p.State != control.Finished || w.versions("pw-halted") != "1.1-1 1.1-1 1.1-1" {
		w.t.Errorf("lifted, the plan is %s (%s); dpkg says %s", p.State, p.Why.Text(), w.versions("pw-halted"))
	}
}
