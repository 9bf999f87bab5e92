package guesttest

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/internal/fleet"
	"github.com/patchwrit/patchwrit/writ"
)

// fixed is a package as of a version whose changelog names a CVE.
func fixed(p debworld.Package, cve string) debworld.Package {
	p.Changelog = []debworld.Change{{Version: p.Version, Lines: []string{"Fix " + cve + "."}, At: time.Now()},
		{Version: "1.0-1", Lines: []string{"New upstream release."}, At: time.Now().Add(-time.Hour)}}
	return p
}

// holder is a service that keeps the library mapped.
func holder(consumer debworld.Package) debworld.Package {
	consumer.Files = maps.Clone(consumer.Files)
	consumer.Files["/usr/lib/systemd/system/pw-holder.service"] = debworld.File{Content: "[Service]\nExecStart=" + debworld.ConsumerPath + " hold\n"}
	return consumer
}

// heavy is a package of many files, so that unpacking takes a while.
func heavy(version, cve string) debworld.Package {
	p := fleet.Fix("pw-heavy", version, cve, nil)
	for i := range 3000 {
		p.Files[fmt.Sprintf("/usr/share/pw-heavy/%04d", i)] = debworld.File{Content: fmt.Sprint(version, i)}
	}
	return p
}

// standing stands still in its first configuration, until the power goes.
const standing = "#!/bin/sh\nif [ ! -e /var/cut ]; then touch /var/cut; sync; sleep 600; fi\n"

func TestGuest(t *testing.T) {
	broken, err := debworld.BuildABIBreak(t.Context(), "")
	debworld.Need(t, err)
	service := holder(broken.Consumer)
	w := newWorld(t, fixed(broken.Old, "CVE-2020-1"), service, fleet.Fix("pw-tool", "1.0-1", "", nil), heavy("1.0-1", ""), fleet.Fix("pw-slow", "1.0-1", "", nil))
	part := func(name string, f func(*world)) {
		if !t.Run(name, func(t *testing.T) {
			here := *w
			here.t, here.begun = t, time.Now()
			f(&here)
		}) {
			t.FailNow()
		}
	}
	part("an upgrade is effective, and not before the service is restarted", func(w *world) { w.upgrade(broken.Good) })
	part("the two units listen nowhere and can do what they claim", (*world).confined)
	part("the power goes while dpkg unpacks", (*world).cutUnpacking)
	part("the power goes while dpkg configures", (*world).cutConfiguring)
	part("a kernel is installed, and effective after the reboot", (*world).kernel)
}

// upgrade shows installed, not effective, effective.
func (w *world) upgrade(library debworld.Package) {
	w.must(w.vendor.Offer(fleet.Fix("pw-tool", "1.1-1", "CVE-2026-1001", nil)))
	r := w.ended(w.approved("pw-tool"), control.Finished, 1)
	if len(r) != 1 || r[0].Outcome != writ.Done || r[0].Effective.Installed != writ.Yes || r[0].Effective.Running != writ.Yes {
		w.t.Errorf("receipts %+v", r)
	}
	if got := w.dpkg("pw-tool"); got != "1.1-1 installed ok" {
		w.t.Errorf("dpkg says %q", got)
	}
	w.run("systemctl", "start", "pw-holder")
	w.must(w.vendor.Offer(fixed(library, "CVE-2026-1002")))
	lib := w.approved(debworld.LibraryName)
	r = w.ended(lib, control.Finished, 1)
	pid := w.run("systemctl", "show", "-p", "MainPID", "--value", "pw-holder")
	want := pid + " pwdemo-app " + debworld.LibraryPath
	if len(r) != 1 || r[0].Outcome != writ.Done || r[0].Effective.Installed != writ.Yes || r[0].Effective.Running != writ.No || strings.Join(r[0].Effective.Stale, ";") != want {
		w.t.Fatalf("receipts %+v, want one that is done, not running, stale %q", r, want)
	}
	if now := w.now(lib); now.Running != writ.No {
		w.t.Errorf("before the restart it stands as %+v", now)
	}
	w.run("systemctl", "restart", "pw-holder", helperUnit) // the helper looks at processes when it starts
	w.await("the control plane sees the new library run", slowly, func() bool { return w.now(lib).Running == writ.Yes })
}

// cutUnpacking loses the power with half of the files unpacked: the units come
// up by themselves, go back by the plan's own rollback, and say so.
func (w *world) cutUnpacking() {
	w.must(w.vendor.Offer(heavy("1.1-1", "CVE-2026-1003")))
	p := w.approved("pw-heavy")
	w.await("dpkg unpacks", slowly, func() bool {
		res, err := w.guest.Exec(w.t.Context(), "test", "-e", "/usr/share/pw-heavy/0100.dpkg-new")
		return err == nil && res.Code == 0
	})
	w.must(w.guest.PowerCut())
	w.lap("the power went")
	w.must(w.guest.Boot(w.t.Context()))
	w.lap("the guest has booted")
	r := w.ended(p, control.Stopped, 2)
	if len(r) != 2 || r[0].Outcome != writ.Partial || r[0].States[0].Status != "half-installed reinstreq" || r[1].Outcome != writ.RolledBack {
		w.t.Errorf("receipts %+v, want a partial one that says half-installed, then one that is rolled back", r)
	}
	if got := w.dpkg("pw-heavy"); got != "1.0-1 installed ok" {
		w.t.Errorf("dpkg says %q", got)
	}
	w.clean()
}

// cutConfiguring stops the helper while dpkg configures, which dpkg must not
// notice, and then loses the power: what was unpacked is configured.
func (w *world) cutConfiguring() {
	w.must(w.vendor.Offer(fleet.Fix("pw-slow", "1.1-1", "CVE-2026-1004", map[string]string{"postinst": standing})))
	p := w.approved("pw-slow")
	w.await("dpkg configures", slowly, func() bool {
		res, err := w.guest.Exec(w.t.Context(), "test", "-e", "/var/cut")
		return err == nil && res.Code == 0
	})
	before := w.run("pidof", "dpkg")
	w.run("systemctl", "restart", helperUnit)
	if after := w.run("pidof", "dpkg"); after != before {
		w.t.Errorf("dpkg was %s before the helper's unit was restarted, and is %s", before, after)
	}
	w.must(w.guest.PowerCut())
	w.lap("the power went")
	w.must(w.guest.Boot(w.t.Context()))
	w.lap("the guest has booted")
	r := w.ended(p, control.Finished, 1)
	if len(r) != 1 || r[0].Outcome != writ.Done {
		w.t.Errorf("receipts %+v, want one that is done", r)
	}
	if got := w.dpkg("pw-slow"); got != "1.1-1 installed ok" {
		w.t.Errorf("dpkg says %q", got)
	}
	w.clean()
}

// clean asks the guest's own tools whether anything is left half done.
func (w *world) clean() {
	w.t.Helper()
	if out := w.run("dpkg", "--audit"); out != "" {
		w.t.Errorf("dpkg --audit says %s", out)
	}
}

// kernel upgrades to the security suite's kernel: installed and not effective,
// until the guest has been rebooted.
func (w *world) kernel() {
	const meta = "linux-image-cloud-amd64"
	was := w.guest.Release
	w.sellKernels(meta)
	p := w.approved(meta)
	r := w.ended(p, control.Finished, 1)
	stale := "0 kernel " + was
	if len(r) != 1 || r[0].Outcome != writ.Done || r[0].Effective.Installed != writ.Yes || r[0].Effective.Running != writ.No || strings.Join(r[0].Effective.Stale, ";") != stale {
		w.t.Fatalf("receipts %+v, want one that is done, not running, stale %q", r, stale)
	}
	if now := w.now(p); now.Running != writ.No {
		w.t.Errorf("before the reboot it stands as %+v", now)
	}
	if why := w.why(meta); !strings.Contains(why, "installed, not effective: still on the old files: kernel "+was) {
		w.t.Errorf("before the reboot why says %q", why)
	}
	w.must(w.guest.Reboot(w.t.Context()))
	w.lap("the guest has booted " + w.guest.Release)
	if now := w.run("uname", "-r"); now == was || now != w.guest.Release {
		w.t.Fatalf("it runs %s, it ran %s, newest on its disk is %s", now, was, w.guest.Release)
	}
	w.await("the control plane sees the new kernel run", slowly, func() bool { return w.now(p).Running == writ.Yes })
	if why := w.why(meta); !strings.Contains(why, "installed and running") {
		w.t.Errorf("after the reboot why says %q", why)
	}
	w.clean()
}

// sellKernels lets the control plane plan from Debian's own archive, for the
// kernel alone, by an advisory that the guest's kernel is affected by.
func (w *world) sellKernels(meta string) {
	w.t.Helper()
	mirror, err := debworld.MirrorSources()
	debworld.Need(w.t, err)
	if mirror.Security == "" {
		debworld.Need(w.t, debworld.Missing{Facts: []string{"the APT sources of this machine name no mirror of Debian's security suite"}})
	}
	installed := w.run("dpkg-query", "-W", "-f", "${Version}", meta)
	feed := fmt.Sprintf(`{"schema_version":"1.6.0","id":"DEBIAN-CVE-2026-1005","modified":%q,"affected":[{"package":{"ecosystem":"Debian:12","name":"linux"},`+
		`"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"%s.1"}]}]}]}`, time.Now().UTC().Format(time.RFC3339), installed)
	w.must(os.WriteFile(w.In("feed.json"), []byte(feed), 0o644))
	w.must(w.Kill(fleet.Control))
	w.Origins = []fleet.Origin{{Source: "debian=" + mirror.Main + "," + debworld.Codename}, {Source: "debian-security=" + mirror.Security + "," + debworld.Codename + "-security"}}
	w.Up = append(w.Up, "--feed", w.In("feed.json"), "--only", meta)
	w.must(w.StartControl(w.t.Context()))
}

// confined compares the two processes with what their units say.
func (w *world) confined() {
	if out := w.run("ss", "-H", "-lntup"); strings.Contains(out, "patchwrit") {
		w.t.Errorf("the agent listens:\n%s", out)
	}
	rss := 0
	for _, unit := range []string{helperUnit, messengerUnit} {
		pid := w.run("systemctl", "show", "-p", "MainPID", "--value", unit)
		raw, err := w.guest.ReadFile("/proc/" + pid + "/status")
		w.must(err)
		status := map[string]string{}
		for line := range strings.Lines(string(raw)) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
			status[k] = strings.TrimSpace(v)
		}
		want := fmt.Sprintf("%016x", capabilities(w.run("systemctl", "show", "-p", "CapabilityBoundingSet", "--value", unit)))
		if unit == messengerUnit && want != fmt.Sprintf("%016x", 0) {
			w.t.Errorf("the messenger's unit leaves it capabilities: %s", want)
		}
		if status["CapEff"] != want || status["CapBnd"] != want {
			w.t.Errorf("%s: capabilities effective %s, bounding %s, its unit says %s", unit, status["CapEff"], status["CapBnd"], want)
		}
		if root := strings.HasPrefix(status["Uid"], "0\t"); root != (unit == helperUnit) {
			w.t.Errorf("%s runs as user %s", unit, status["Uid"])
		}
		kib, err := strconv.Atoi(strings.TrimSuffix(status["VmRSS"], " kB"))
		w.must(err)
		w.t.Logf("%s: %s, anonymous %s, of files %s; capabilities %s", unit, status["VmRSS"], status["RssAnon"], status["RssFile"], status["CapEff"])
		rss += kib
	}
	w.t.Logf("both processes: RSS %d KiB", rss)
}

// capabilities is the mask of names as systemd writes them.
func capabilities(names string) (mask uint64) {
	all := strings.Fields("chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast net_admin " +
		"net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time " +
		"sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read " +
		"perfmon bpf checkpoint_restore") // capabilities(7), by their numbers
	for _, name := range strings.Fields(names) {
		if i := slices.Index(all, strings.TrimPrefix(name, "cap_")); i >= 0 {
			mask |= 1 << i
		}
	}
	return mask
}
