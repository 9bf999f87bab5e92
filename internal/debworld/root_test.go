package debworld

import (
	"context"
	"crypto"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// vendor is a repository that is served and trusted by a host.
type vendor struct {
	*Repo
	key    *Key
	source Source
}

func newVendor(t *testing.T, pkgs ...Package) vendor {
	t.Helper()
	v := vendor{Repo: newRepo(t, pkgs...), key: testKey(t, KeyConfig{})}
	s, err := Serve(v.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	ring, err := Keyring(v.key)
	if err != nil {
		t.Fatal(err)
	}
	v.source = v.Source("vendor", s.URL, ring)
	publish(t, v.Repo, v.now())
	return v
}

// now is the honest publication.
func (v vendor) now() Publication {
	return Publication{At: time.Now().Add(-time.Minute), Signers: []Signer{{Key: v.key}}}
}

func apt(t *testing.T, r Root, argv ...string) (Result, error) {
	t.Helper()
	return r.Run(t.Context(), append([]string{"apt-get", "-q", "-y"}, argv...)...)
}

func mustApt(t *testing.T, r Root, argv ...string) Result {
	t.Helper()
	res, err := apt(t, r, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func demo(version, says string) Package {
	return Package{Name: "pwdemo-greet", Version: version, Arch: "all",
		Files: map[string]File{"/usr/bin/pwdemo-greet": {Content: "#!/bin/sh\necho " + says + "\n", Mode: 0o755}}}
}

func TestRealAptUpgradesFromOurRepository(t *testing.T) {
	t.Parallel()
	r := NewHost(t)
	v := newVendor(t, demo("1.0", "one"))
	Need(t, r.SetSources(v.source))
	mustApt(t, r, "update")
	mustApt(t, r, "install", "pwdemo-greet")
	if err := v.Add(demo("1.1", "two")); err != nil {
		t.Fatal(err)
	}
	publish(t, v.Repo, v.now())
	mustApt(t, r, "update")
	mustApt(t, r, "install", "pwdemo-greet")
	res, err := r.Run(t.Context(), "pwdemo-greet")
	if err != nil || res.Stdout != "two\n" || res.Code != 0 {
		t.Errorf("after the upgrade: %+v %v", res, err)
	}
	res, err = r.Run(t.Context(), "dpkg-query", "-W", "-f", "${Version} ${db:Status-Abbrev}", "pwdemo-greet")
	if err != nil || res.Stdout != "1.1 ii " {
		t.Errorf("dpkg says %+v %v", res, err)
	}
	if res, err := r.Run(t.Context(), "dpkg", "--verify", "pwdemo-greet"); err != nil || res.Stdout != "" {
		t.Errorf("dpkg --verify: %+v %v", res, err)
	}
	changed, err := r.Changed()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(changed, "\n")+"\n", "/usr/bin/pwdemo-greet\n") || len(changed) > 60 {
		t.Errorf("the upper directory has %d entries: %v", len(changed), changed)
	}
}

// Each broken publication is refused by apt itself for its own reason, and its
// honest twin is taken by the same host.
func TestRealAptRefusesBrokenPublications(t *testing.T) {
	t.Parallel()
	r := NewHost(t)
	v := newVendor(t, demo("1.0", "one"))
	day := 24 * time.Hour
	rsa := testKey(t, KeyConfig{RSA: true})
	expired := testKey(t, KeyConfig{Created: time.Now().Add(-30 * day), Life: 10 * day})
	ring, err := Keyring(v.key, rsa, expired)
	if err != nil {
		t.Fatal(err)
	}
	v.source.Keyring = ring
	honest := v.now()
	honest.Signers = []Signer{{Key: rsa}} // so that the SHA-1 case differs by its hash alone
	for _, c := range []struct {
		name, want string
		change     func(*Publication)
	}{
		{"signed by another key", "NO_PUBKEY", func(p *Publication) { p.Signers = []Signer{{Key: testKey(t, KeyConfig{})}} }},
		{"signed by an expired key", "EXPKEYSIG", func(p *Publication) { p.Signers = []Signer{{Key: expired}} }},
		{"signed with SHA-1", "signatures were invalid: " + rsa.Fingerprint(), func(p *Publication) { p.Signers = []Signer{{Key: rsa, Hash: crypto.SHA1}} }},
		{"not signed", "is not signed", func(p *Publication) { p.Signers = nil }},
		{"changed after signing", "BADSIG", func(p *Publication) {
			p.Harm = func(b []byte) []byte {
				return []byte(strings.Replace(string(b), "Patchwrit Test", "Patchwrit Best", 1))
			}
		}},
		{"expired", "is expired", func(p *Publication) { p.At, p.ValidFor = p.At.Add(-2*day), day }},
		{"from the far future", "is not valid yet", func(p *Publication) { p.At = p.At.Add(30 * day) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := honest
			c.change(&p)
			publish(t, v.Repo, p)
			Need(t, r.SetSources(v.source))
			res, err := apt(t, r, "--error-on=any", "update")
			if err == nil || !strings.Contains(res.Stdout+res.Stderr, c.want) {
				t.Errorf("want a refusal with %q, got %v\n%s%s", c.want, err, res.Stdout, res.Stderr)
			}
			publish(t, v.Repo, honest)
			Need(t, r.SetSources(v.source))
			if _, err := apt(t, r, "--error-on=any", "update"); err != nil {
				t.Errorf("the honest twin is refused: %v", err)
			}
		})
	}
}

// Several signers: apt is content with any one it knows.
func TestRealAptTakesSeveralSignatures(t *testing.T) {
	t.Parallel()
	r := NewHost(t)
	v := newVendor(t, demo("1.0", "one"))
	p := v.now()
	p.Signers = append([]Signer{{Key: testKey(t, KeyConfig{RSA: true})}}, p.Signers...)
	publish(t, v.Repo, p)
	Need(t, r.SetSources(v.source))
	mustApt(t, r, "--error-on=any", "update")
}

func TestRealAptRefusesASwappedPackage(t *testing.T) {
	t.Parallel()
	r := NewHost(t)
	v := newVendor(t, demo("1.0", "one"))
	Need(t, r.SetSources(v.source))
	mustApt(t, r, "update")
	if err := v.Swap(demo("1.0", "owned")); err != nil {
		t.Fatal(err)
	}
	if res, err := apt(t, r, "install", "pwdemo-greet"); err == nil {
		t.Errorf("apt installed a package other than the index names:\n%s", res.Stdout)
	}
	if exists(filepath.Join(r.Dir, "usr/bin/pwdemo-greet")) {
		t.Error("the swapped package is there")
	}
	if err := v.Swap(demo("1.0", "one")); err != nil {
		t.Fatal(err)
	}
	mustApt(t, r, "install", "pwdemo-greet")
}

func TestSecurityUpdatesArePending(t *testing.T) {
	t.Parallel()
	r := NewHost(t)
	m, err := MirrorSources()
	Need(t, err)
	if m.Security == "" {
		t.Skip("this machine's APT sources have no security suite")
	}
	Need(t, r.SetSources(m.Sources()...))
	mustApt(t, r, "update")
	res := mustApt(t, r, "-s", "dist-upgrade")
	pending := 0
	for line := range strings.Lines(res.Stdout) {
		if strings.HasPrefix(line, "Inst ") && strings.Contains(line, "Debian-Security") {
			pending++
		}
	}
	t.Logf("%d security updates are pending", pending)
	if pending == 0 {
		t.Errorf("nothing is pending in a root of the suite main:\n%s", res.Stdout)
	}
}

func TestABIBreakBreaksItsConsumer(t *testing.T) {
	t.Parallel()
	r := NewHost(t)
	abi, err := BuildABIBreak(t.Context(), "")
	Need(t, err)
	v := newVendor(t, abi.Old, abi.Consumer)
	Need(t, r.SetSources(v.source))
	mustApt(t, r, "update")
	mustApt(t, r, "install", ConsumerName)
	for _, c := range []struct {
		lib  Package
		runs bool
	}{{abi.Old, true}, {abi.Good, true}, {abi.New, false}} {
		if err := v.Add(c.lib); err != nil {
			t.Fatal(err)
		}
		publish(t, v.Repo, v.now())
		mustApt(t, r, "update")
		mustApt(t, r, "install", LibraryName+"="+c.lib.Version)
		res, err := r.Run(t.Context(), ConsumerPath)
		if c.runs != (err == nil && res.Stdout == "pwdemo 1\n") {
			t.Errorf("with the library %s the consumer gave %+v %v", c.lib.Version, res, err)
		}
		if !c.runs && !strings.Contains(res.Stderr, RemovedSymbol) {
			t.Errorf("the consumer does not name %s: %s", RemovedSymbol, res.Stderr)
		}
	}
}

func TestRunIsAHostOfItsOwn(t *testing.T) {
	t.Parallel()
	r := NewHost(t)
	spaces := []string{"mnt", "pid", "ipc", "uts"}
	script := "echo $$; ls /proc | grep -c '^[0-9]'; for n in " + strings.Join(spaces, " ") + "; do readlink /proc/self/ns/$n; done; echo bad >&2; exit 3"
	res, err := r.Run(t.Context(), "sh", "-c", script)
	if err == nil || res.Code != 3 || res.Stderr != "bad\n" || !strings.Contains(err.Error(), "bad") {
		t.Errorf("the status is lost: %+v %v", res, err)
	}
	lines := strings.Fields(res.Stdout)
	if len(lines) != 2+len(spaces) {
		t.Fatalf("printed %q", res.Stdout)
	}
	if n, _ := strconv.Atoi(lines[1]); lines[0] != "1" || n > 5 {
		t.Errorf("pid %s, %s processes: not a pid namespace with its own /proc", lines[0], lines[1])
	}
	for i, space := range spaces {
		if ours, err := os.Readlink("/proc/self/ns/" + space); err != nil || lines[2+i] == ours {
			t.Errorf("the command runs in the machine's %s namespace (%v)", space, err)
		}
	}
	if res, err := r.Run(t.Context(), "no-such-command"); err == nil || res.Code == 0 {
		t.Errorf("a command that is not there gave %+v", res)
	}
}

// The caller may take the network away.
func TestCommandTakesMoreNamespaces(t *testing.T) {
	t.Parallel()
	r := NewHost(t)
	cmd := r.Command(t.Context(), "cat", "/proc/net/dev")
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), ":"); n != 1 {
		t.Errorf("%d network devices, want only lo:\n%s", n, out)
	}
}

func TestKillIsAPowerLoss(t *testing.T) {
	t.Parallel()
	r := NewHost(t)
	slow := demo("1.0", "one")
	slow.Scripts = map[string]string{"postinst": "#!/bin/sh\ntouch /reached\nsleep 600 & sleep 600\n"}
	v := newVendor(t, slow)
	Need(t, r.SetSources(v.source))
	mustApt(t, r, "update")
	ended := make(chan error, 1)
	go func() {
		_, err := r.Run(context.Background(), "apt-get", "-q", "-y", "install", "pwdemo-greet")
		ended <- err
	}()
	waitFor(t, "the postinst", func() bool { return exists(filepath.Join(r.Dir, "reached")) })
	waitFor(t, "apt-get, dpkg, sh and its sleeps", func() bool {
		pids, err := r.processes()
		return err == nil && len(pids) >= 4
	})
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("apt-get succeeded although it was killed")
	}
	if pids, err := r.processes(); err != nil || len(pids) > 0 {
		t.Errorf("after Kill: %v %v", pids, err)
	}
	res, err := r.Run(t.Context(), "dpkg-query", "-W", "-f", "${db:Status-Abbrev}", "pwdemo-greet")
	if err != nil || res.Stdout != "iF " {
		t.Errorf("dpkg says %+v %v, want half-configured", res, err)
	}
}

func theBase(t *testing.T) string {
	t.Helper()
	if os.Getenv(RootsEnv) == "no" {
		t.Skip(RootsEnv + "=no")
	}
	base, err := BaseRoot(t.Context(), "", os.Stderr)
	Need(t, err)
	return base
}

func waitFor(t *testing.T, what string, there func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !there(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no sign of %s for a minute", what)
		}
	}
}

// Asks for the list only: were the safeguard gone, Kill would end the machine.
func TestTheMachineIsNoHost(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/", "/proc/self/root", link} {
		if pids, err := At(dir).processes(); err == nil {
			t.Errorf("%s gives %d processes of the machine to be killed", dir, len(pids))
		}
	}
}

func TestCancelledRunEnds(t *testing.T) {
	t.Parallel()
	r := NewHost(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := r.Run(ctx, "sh", "-c", "sleep 600 & sleep 600"); err == nil {
		t.Error("a cancelled command succeeded")
	}
	if took := time.Since(start); took > 9*time.Second {
		t.Errorf("it took %v", took)
	}
	waitFor(t, "the end of all processes", func() bool { pids, _ := r.processes(); return len(pids) == 0 })
}

func TestCloneIsCheapAndLeavesNothing(t *testing.T) {
	t.Parallel()
	base := theBase(t)
	dir := filepath.Join(t.TempDir(), "h")
	start := time.Now()
	r, cleanup, err := Clone(base, dir)
	Need(t, err)
	took := time.Since(start)
	defer cleanup()
	changed, err := r.Changed()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a clone took %v and wrote %d files: %v", took, len(changed), changed)
	if len(changed) > 1 { // the resolver, if it is another one by now
		t.Errorf("a fresh clone changed %v", changed)
	}
	marker := "etc/only-in-the-clone"
	if err := r.Write(marker, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if exists(filepath.Join(base, marker)) {
		t.Fatal("a write to the clone reached the base root")
	}
	if points, err := Mounts(dir); err != nil || len(points) != 1 {
		t.Errorf("mounted: %v %v", points, err)
	}
	held := r.Command(t.Context(), "sleep", "600") // somebody is still inside
	if err := held.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "sleep", func() bool { pids, _ := r.processes(); return len(pids) == 1 })
	for range 2 {
		if err := cleanup(); err != nil {
			t.Errorf("cleanup: %v", err)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- held.Wait() }()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("a process outlived its host")
		held.Process.Kill()
		<-ended
	}
	if exists(dir) {
		t.Errorf("%s is still there", dir)
	}
	if points, _ := Mounts(filepath.Dir(dir)); len(points) > 0 {
		t.Errorf("still mounted: %v", points)
	}
}

// What a killed test left is found and taken away, and nothing is removed
// through a mount.
func TestLeftoversAreTakenAway(t *testing.T) {
	Need(t, need(true))
	dir := filepath.Join(t.TempDir(), "with a blank")
	precious := t.TempDir()
	put(t, filepath.Join(precious, "file"), "keep me")
	for _, sub := range []string{"a", "a/b"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount(precious, filepath.Join(dir, sub), "", syscall.MS_BIND, ""); err != nil {
			t.Skip("no bind mounts here: ", err)
		}
		t.Cleanup(func() { Unmount(dir) })
		if err := os.MkdirAll(filepath.Join(precious, "b"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeTree(dir); err == nil {
		t.Error("a directory with mounts was removed")
	}
	if err := Remove(dir); err != nil {
		t.Error(err)
	}
	if read(t, filepath.Join(precious, "file")) != "keep me" || exists(dir) {
		t.Error("Remove must take the mounts away and keep what was mounted")
	}
	if err := Remove(dir); err != nil {
		t.Errorf("a second Remove: %v", err)
	}
}

func TestCopyStays(t *testing.T) {
	t.Parallel()
	base := theBase(t)
	dir := filepath.Join(t.TempDir(), "hosts/h1/root")
	start := time.Now()
	if _, err := Copy(t.Context(), base, dir); err != nil {
		t.Fatal(err)
	}
	t.Logf("a copy took %v", time.Since(start))
	if _, err := Copy(t.Context(), base, dir); err == nil {
		t.Error("a second copy went into the first")
	}
	res, err := At(dir).Run(t.Context(), "dpkg", "--audit")
	if err != nil || res.Stdout != "" {
		t.Errorf("dpkg --audit in the copy: %+v %v", res, err)
	}
	out, err := exec.Command("stat", "-c", "%U %a", filepath.Join(dir, "usr/bin/passwd")).Output()
	if err != nil || string(out) != "root 4755\n" {
		t.Errorf("owner and mode of a setuid program are %q %v", out, err)
	}
	if err := Remove(dir); err != nil || exists(dir) {
		t.Errorf("Remove: %v", err)
	}
}
