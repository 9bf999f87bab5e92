package apt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

// Every test here works on a real Debian root with real apt and dpkg, and each
// refusal has its twin that succeeds.

var (
	old10 = hello("1.0-1")
	new20 = hello("1.0-2")
)

func TestOneUpgradeInARealRoot(t *testing.T) {
	w := newWorld(t, old10)
	w.offer(new20)
	w.done(w.apply(pair{old10, new20}))
	if v := w.version("hello-pw"); v != "1.0-2 installed" {
		t.Errorf("dpkg says %q", v)
	}
	if len(w.journal.Begun) != 1 || len(w.journal.Begun[0].Releases) != 1 || w.journal.Begun[0].Releases[0].Origin != "vendor" {
		t.Errorf("the journal began with %+v", w.journal.Begun)
	}
}

func TestTrojanUnderTheRightName(t *testing.T) {
	trojan := new20
	trojan.Scripts = map[string]string{"postinst": "#!/bin/sh\ntouch /tmp/owned\n"}
	for name, spoil := range map[string]func(w *world) (pair, refusal.Code){
		"other bytes in the pool": func(w *world) (pair, refusal.Code) {
			raw, err := trojan.Build()
			w.must(err)
			w.put(filepath.Join(w.pool, "sha256", string(w.change(old10, new20).Artefact)), raw)
			return pair{old10, new20}, pkgmgr.CodeBytes
		},
		"a plan that names the trojan": func(w *world) (pair, refusal.Code) {
			raw, err := trojan.Build()
			w.must(err)
			w.put(filepath.Join(w.pool, "sha256", string(canon.SumFile(raw))), raw)
			return pair{old10, trojan}, pkgmgr.CodeVendor
		},
		"neither": func(*world) (pair, refusal.Code) { return pair{old10, new20}, "" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, old10)
			w.offer(new20)
			p, want := spoil(w)
			r, err := w.apply(p)
			if want == "" {
				w.done(r, err)
				return
			}
			w.refused(err, want)
			if _, err := os.Stat(filepath.Join(w.host.Dir, "tmp/owned")); err == nil {
				t.Error("the trojan ran")
			}
		})
	}
}

func TestTheVendorsRelease(t *testing.T) {
	now := time.Now()
	other, err := debworld.NewKey(debworld.KeyConfig{Name: "Vendor", Created: now.Add(-24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		publish func(w *world) debworld.Publication
		floor   time.Time // newest release this host has seen
		inner   refusal.Code
	}{
		"as it should be": {func(w *world) debworld.Publication { return debworld.Publication{} }, now.Add(-time.Minute), ""},
		"right key and wrong origin": {func(w *world) debworld.Publication {
			return debworld.Publication{Edit: debworld.SetField("Origin", "Vendor-Testing")}
		}, time.Time{}, "PW-PROV-ORIGIN"},
		"wrong key": {func(w *world) debworld.Publication {
			return debworld.Publication{Signers: []debworld.Signer{{Key: other}}}
		}, time.Time{}, "PW-PROV-SIG-UNKNOWN-KEY"},
		"older than one seen before": {func(w *world) debworld.Publication { return debworld.Publication{} }, now, "PW-PROV-BACK"},
		"from the far future":        {func(w *world) debworld.Publication { return debworld.Publication{At: now.Add(48 * time.Hour)} }, time.Time{}, "PW-PROV-AHEAD"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, old10)
			w.must(w.repo.Add(new20))
			p := c.publish(w)
			if p.At.IsZero() {
				p.At = now.Add(-time.Minute)
			}
			if p.Signers == nil {
				p.Signers = []debworld.Signer{{Key: w.key, At: now.Add(-time.Minute)}}
			}
			w.publish(p)
			w.carry()
			forth, back := w.changes(pair{old10, new20})
			v, _ := w.permit(forth, back)
			if !c.floor.IsZero() {
				w.journal.Held = w.journal.Held.Released("vendor", c.floor.Unix())
			}
			r, err := w.manager().Apply(t.Context(), v)
			if c.inner == "" {
				w.done(r, err)
				return
			}
			w.refused(err, pkgmgr.CodeBack) // the way back comes first, from the same release
			if !strings.Contains(err.Error(), string(c.inner)) {
				t.Errorf("want %s inside, got %v", c.inner, err)
			}
		})
	}
}

func TestAnOriginNobodyNamed(t *testing.T) {
	w := newWorld(t, old10)
	w.offer(new20)
	forth, back := w.changes(pair{old10, new20})
	forth[0].Origin = "elsewhere"
	v, _ := w.permit(forth, back)
	_, err := w.manager().Apply(t.Context(), v)
	w.refused(err, pkgmgr.CodeOrigin)
}

func TestAnotherPackageInside(t *testing.T) {
	w := newWorld(t, old10)
	lie := new20
	raw, err := hello("0.9-1").Build() // the vendor signs for 1.0-2 and serves 0.9-1
	w.must(err)
	w.must(w.repo.AddRaw(lie, raw))
	w.publish(debworld.Publication{At: time.Now().Add(-time.Minute), Signers: []debworld.Signer{{Key: w.key}}})
	w.carry()
	forth, back := w.changes(pair{old10, new20})
	forth[0].Artefact, forth[0].Size = canon.SumFile(raw), int64(len(raw))
	v, _ := w.permit(forth, back)
	_, err = w.manager().Apply(t.Context(), v)
	w.refused(err, pkgmgr.CodeContents)
}

func TestASetuidBitIsSensitive(t *testing.T) {
	setuid := new20
	setuid.Files = map[string]debworld.File{"/usr/bin/hello-pw": {Content: "#!/bin/sh\n", Mode: 0o4755}}
	for name, c := range map[string]struct {
		to      debworld.Package
		signers []int
		code    refusal.Code
	}{
		"two owners":                            {setuid, []int{0, 2}, "PW-WRIT-CLASS"},
		"an owner and security":                 {setuid, []int{0, 1}, ""},
		"without the bit two owners are enough": {new20, []int{0, 2}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, old10)
			w.signers = c.signers
			w.offer(c.to)
			r, err := w.apply(pair{old10, c.to})
			if c.code == "" {
				w.done(r, err)
				return
			}
			w.refused(err, c.code)
		})
	}
}

func TestInstallRemoveAndDowngradeByAPlan(t *testing.T) {
	gone := debworld.Package{Name: "gone-pw", Version: "1:2.0~rc1-1", Files: map[string]debworld.File{"/usr/bin/gone-pw": {Content: "gone", Mode: 0o755}, "/etc/gone-pw": {Content: "x"}}, Conffiles: []string{"/etc/gone-pw"}}
	fresh := debworld.Package{Name: "fresh-pw", Version: "1:3.0~rc1-1", Depends: "hello-pw", Files: map[string]debworld.File{"/usr/bin/fresh-pw": {Content: "fresh", Mode: 0o755}}}
	w := newWorld(t, new20, gone)
	w.offer(old10, fresh)
	w.class = change.Critical
	r, err := w.apply(pair{debworld.Package{}, fresh}, pair{gone, debworld.Package{}}, pair{new20, old10})
	w.done(r, err)
	if w.version("hello-pw") != "1.0-1 installed" || w.version("fresh-pw") != "1:3.0~rc1-1 installed" || !strings.HasSuffix(w.version("gone-pw"), " config-files") {
		t.Errorf("dpkg says %q %q %q", w.version("hello-pw"), w.version("fresh-pw"), w.version("gone-pw"))
	}
}

func TestADowngradeTwoOwnersCannotPermit(t *testing.T) {
	w := newWorld(t, new20)
	w.offer(old10)
	w.class, w.signers = change.Critical, []int{0, 1}
	w.done(w.apply(pair{new20, old10}))
	// Its opposite, two owners without the rollback quorum, dies in writ.Verify.
}

func TestTheHostMovedOn(t *testing.T) {
	for name, c := range map[string]struct {
		do   []string
		code refusal.Code
	}{
		"another version":   {[]string{"dpkg", "-i", "/tmp/other.deb"}, pkgmgr.CodeFrom},
		"on hold":           {[]string{"apt-mark", "hold", "hello-pw"}, pkgmgr.CodeHeld},
		"left half done":    {[]string{"dpkg", "--unpack", "/tmp/second.deb"}, pkgmgr.CodeBroken},
		"nothing happened":  {[]string{"true"}, ""},
		"removed meanwhile": {[]string{"dpkg", "-r", "hello-pw"}, pkgmgr.CodeFrom},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, old10)
			w.offer(new20)
			for file, p := range map[string]debworld.Package{"/tmp/other.deb": hello("1.0-1+local"), "/tmp/second.deb": second("1")} {
				raw, err := p.Build()
				w.must(err)
				w.must(w.host.Write(file, raw, 0o644))
			}
			if _, err := w.host.Run(t.Context(), c.do...); err != nil {
				t.Fatal(err)
			}
			r, err := w.apply(pair{old10, new20})
			if c.code == "" {
				w.done(r, err)
				return
			}
			w.refused(err, c.code)
		})
	}
}

// What changes between the rehearsal and the run meets the gate.
func TestTheGateSeesWhatChangedMeanwhile(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(w *world, run string) error
		outcome   writ.Outcome
		code      refusal.Code
		version   string
	}{
		"nothing": {func(*world, string) error { return nil }, writ.Done, "", "1.0-2 installed"},
		"another .deb in place of the checked one": {func(w *world, run string) error {
			trojan := new20
			trojan.Scripts = map[string]string{"postinst": "#!/bin/sh\ntouch /tmp/owned\n"}
			raw, err := trojan.Build()
			deb := filepath.Join(w.host.Dir, run, "archives/hello-pw_1.0-2_amd64.deb")
			return errors.Join(err, os.Remove(deb), os.WriteFile(deb, raw, 0o600))
		}, writ.Failed, pkgmgr.CodeGate, "1.0-1 installed"},
		"another version installed by somebody": {func(w *world, _ string) error {
			raw, err := hello("1.0-1+local").Build()
			_, err2 := w.host.Run(context.Background(), "true")
			err3 := w.host.Write("/tmp/o.deb", raw, 0o644)
			_, err4 := w.host.Run(context.Background(), "dpkg", "-i", "/tmp/o.deb")
			return errors.Join(err, err2, err3, err4)
		}, writ.Partial, pkgmgr.CodeGate, "1.0-1+local installed"},
		"another expectation": {func(w *world, run string) error {
			return os.WriteFile(filepath.Join(w.host.Dir, run, "expectation"), expect("", nil, "").bytes(), 0o600)
		}, writ.Failed, pkgmgr.CodeGate, "1.0-1 installed"},
		"the hook taken out": {func(w *world, run string) error {
			file := filepath.Join(w.host.Dir, run, "apt.conf")
			raw, err := os.ReadFile(file)
			cut := strings.Index(string(raw), "DPkg::Pre-Install-Pkgs")
			return errors.Join(err, os.WriteFile(file, raw[:cut], 0o600))
		}, writ.Partial, pkgmgr.CodeGate, "1.0-2 installed"},
		"the lock taken": {func(w *world, _ string) error {
			hold(w.t, filepath.Join(w.host.Dir, "var/lib/dpkg/lock-frontend"))
			return nil
		}, writ.Failed, pkgmgr.CodeLock, "1.0-1 installed"},
	} {
		t.Run(strings.ReplaceAll(name, ",", ""), func(t *testing.T) {
			w := newWorld(t, old10)
			w.offer(new20)
			forth, back := w.changes(pair{old10, new20})
			v, _ := w.permit(forth, back)
			w.journal.OnBegin = func() error { return c.meanwhile(w, runsDir+"/"+string(v.Digest())) }
			r, err := w.manager().Apply(t.Context(), v)
			if err != nil || r.Outcome != c.outcome || r.Code != string(c.code) || w.version("hello-pw") != c.version {
				t.Errorf("%s %q, dpkg says %q, %v\n%s", r.Outcome, r.Code, w.version("hello-pw"), err, w.log)
			}
			if _, err := os.Stat(filepath.Join(w.host.Dir, "tmp/owned")); err == nil {
				t.Error("the trojan ran")
			}
		})
	}
}

func TestMaintainerScriptsHaveNoNetworkUnlessThePlanSaysSo(t *testing.T) {
	for _, network := range []bool{false, true} {
		t.Run(fmt.Sprint(network), func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			caller := new20
			caller.Scripts = map[string]string{"postinst": fmt.Sprintf("#!/bin/bash\nif (exec 3<>/dev/tcp/127.0.0.1/%d) 2>/dev/null; then echo reached; else echo denied; fi > /tmp/net\n", l.Addr().(*net.TCPAddr).Port)}
			w := newWorld(t, old10)
			w.network, w.class = network, change.Sensitive
			w.offer(caller)
			w.done(w.apply(pair{old10, caller}))
			said, err := os.ReadFile(filepath.Join(w.host.Dir, "tmp/net"))
			want := map[bool]string{false: "denied\n", true: "reached\n"}[network]
			if err != nil || string(said) != want {
				t.Errorf("the script was %q, want %q; %v", said, want, err)
			}
		})
	}
}

func TestAProcessThatKeepsTheOldLibrary(t *testing.T) {
	needE2E(t)
	lib, err := debworld.BuildABIBreak(t.Context(), "")
	debworld.Need(t, err)
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprint(running), func(t *testing.T) {
			w := newWorld(t, lib.Old, lib.Consumer)
			w.class = change.Sensitive
			w.offer(lib.Good)
			pid := 0
			if running {
				cmd := w.host.Command(t.Context(), debworld.ConsumerPath, "hold")
				out, err := cmd.StdoutPipe()
				w.must(err)
				w.must(cmd.Start())
				t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
				if _, err := out.Read(make([]byte, 16)); err != nil {
					t.Fatal(err)
				}
				pid = cmd.Process.Pid
			}
			r, err := w.apply(pair{lib.Old, lib.Good})
			w.done(r, err)
			want := map[bool]writ.Fact{true: writ.No, false: writ.Yes}[running]
			if r.Effective.Running != want || (len(r.Effective.Stale) > 0) != running {
				t.Errorf("running %s, stale %v", r.Effective.Running, r.Effective.Stale)
			}
			if line := fmt.Sprintf("%d pwdemo-app %s", pid, debworld.LibraryPath); running && r.Effective.Stale[0] != line {
				t.Errorf("stale %v, want %q", r.Effective.Stale, line)
			}
		})
	}
}

// A transaction outlives whoever started it: the agent goes away, dpkg is not
// cut, and the next agent reports its end.
func TestARunningDpkgIsNeverCut(t *testing.T) {
	slow := new20
	slow.Scripts = map[string]string{"postinst": "#!/bin/sh\ntouch /tmp/configuring\nwhile [ ! -e /tmp/go-on ]; do sleep 0.1; done\n"}
	w := newWorld(t, old10)
	w.class = change.Sensitive
	w.offer(slow)
	forth, back := w.changes(pair{old10, slow})
	v, _ := w.permit(forth, back)
	ctx, leave := context.WithCancel(t.Context())
	w.journal.OnBegin = func() error {
		go func() {
			for ctx.Err() == nil {
				if _, err := os.Stat(filepath.Join(w.host.Dir, "tmp/configuring")); err == nil {
					leave()
				}
				time.Sleep(50 * time.Millisecond)
			}
		}()
		return nil
	}
	if _, err := w.manager().Apply(ctx, v); refusal.CodeOf(err) != pkgmgr.CodeRunning {
		t.Fatalf("left in the middle: %v", err)
	}
	next := w.manager()
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := next.Recover(short, w.journal.Begun[0]); refusal.CodeOf(err) != pkgmgr.CodeRunning {
		t.Errorf("while it runs: %v", err)
	}
	w.must(w.host.Write("/tmp/go-on", nil, 0o644))
	r, err := next.Recover(t.Context(), w.journal.Begun[0])
	w.done(r, err)
}

// The plan's own rollback leads back from wherever a script has failed.
func TestBackFromEveryFailingScript(t *testing.T) {
	fail := "#!/bin/sh\nexit 7\n"
	for _, script := range []string{"preinst", "postinst", "prerm of the old one"} {
		t.Run(script, func(t *testing.T) {
			from, to := old10, new20
			if script == "prerm of the old one" {
				from.Scripts = map[string]string{"prerm": fail}
				to.Scripts = map[string]string{"prerm": fail}
			} else {
				to.Scripts = map[string]string{script: fail}
			}
			w := newWorld(t, from)
			w.class = change.Sensitive
			w.offer(to)
			forth, back := w.changes(pair{from, to})
			v, undo := w.permit(forth, back)
			m := w.manager()
			r, err := m.Apply(t.Context(), v)
			if err != nil || r.Code != string(pkgmgr.CodeScript) || (r.Outcome != writ.Partial && r.Outcome != writ.Failed) {
				t.Fatalf("forth: %+v, %v\n%s", r, err, w.log)
			}
			t.Logf("after the failure: %s %+v", r.Outcome, r.States)
			if r.Outcome == writ.Failed {
				return // nothing was changed: there is nothing to undo
			}
			r, err = m.Apply(t.Context(), undo())
			if err != nil || r.Outcome != writ.RolledBack || w.version("hello-pw") != "1.0-1 installed" {
				t.Errorf("back: %+v, %v; dpkg says %q\n%s", r, err, w.version("hello-pw"), w.log)
			}
		})
	}
}

func TestTheDiskFillsUpOnTheWay(t *testing.T) {
	big := new20
	big.Files = map[string]debworld.File{"/usr/share/doc/hello-pw/BIG": {Content: strings.Repeat("0123456789abcdef", 1<<18)}}
	w := newWorld(t, old10)
	w.offer(big)
	forth, back := w.changes(pair{old10, big})
	v, _ := w.permit(forth, back)
	share := filepath.Join(w.host.Dir, "usr/share/doc")
	small(t, share, 8<<20)
	w.journal.OnBegin = func() error { fillMore(t, share, 1<<20); return nil }
	r, err := w.manager().Apply(t.Context(), v)
	if err != nil || r.Code != string(pkgmgr.CodeFull) || r.Outcome == writ.Done {
		t.Errorf("%+v, %v\n%s", r, err, w.log)
	}
	if v := w.version("hello-pw"); !strings.Contains(v, r.States[0].Status) || r.States[0].After != strings.Fields(v)[0] {
		t.Errorf("dpkg says %q, the receipt %+v", v, r.States)
	}
}

func TestNoRoomForTheAgentsOwnDirectory(t *testing.T) {
	w := newWorld(t, old10)
	w.offer(new20)
	small(t, filepath.Join(w.host.Dir, "var/lib"), 0)
	_, err := w.apply(pair{old10, new20})
	w.refused(err, pkgmgr.CodeSpace)
	if _, err := os.Stat(filepath.Join(w.host.Dir, agentBin)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half an agent is left where the gate runs from: %v", err)
	}
}

func TestTheOwnDirectoryMustBePrivate(t *testing.T) {
	w := newWorld(t, old10)
	w.offer(new20)
	dir := filepath.Join(w.host.Dir, ownDir)
	w.must(os.Mkdir(dir, 0o755))
	_, err := w.apply(pair{old10, new20})
	w.refused(err, pkgmgr.CodeDir)
	w.must(os.Remove(dir))
	w.must(os.Symlink("/tmp", dir))
	_, err = w.apply(pair{old10, new20})
	w.refused(err, pkgmgr.CodeDir)
	w.must(os.Remove(dir))
	w.done(w.apply(pair{old10, new20}))
}

func TestAFileThatIsNotTheArtefacts(t *testing.T) {
	meddler := new20
	meddler.Scripts = map[string]string{"postinst": "#!/bin/sh\necho changed > /usr/bin/hello-pw\n"}
	w := newWorld(t, old10)
	w.class = change.Sensitive
	w.offer(meddler)
	r, err := w.apply(pair{old10, meddler})
	if err != nil || r.Outcome != writ.Partial || r.Code != string(pkgmgr.CodeFiles) || r.Effective.Installed != writ.No {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestConfigurationOfTheAdministratorStays(t *testing.T) {
	with := func(version, text string) debworld.Package {
		p := hello(version)
		p.Files["/etc/hello-pw"] = debworld.File{Content: text}
		p.Conffiles = []string{"/etc/hello-pw"}
		return p
	}
	from, to := with("1.0-1", "one"), with("1.0-2", "two")
	w := newWorld(t, from)
	w.class = change.Sensitive
	w.must(w.host.Write("/etc/hello-pw", []byte("mine"), 0o644))
	w.offer(to)
	w.done(w.apply(pair{from, to}))
	if raw, err := os.ReadFile(filepath.Join(w.host.Dir, "etc/hello-pw")); err != nil || string(raw) != "mine" {
		t.Errorf("the administrator's file is %q, %v", raw, err)
	}
}

var _ = trust.Origin{}
