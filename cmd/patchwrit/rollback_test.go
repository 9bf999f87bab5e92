package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/internal/shop"
	"github.com/patchwrit/patchwrit/trust"
)

// loop is a shop with one real Debian root and one vendor.
type loop struct {
	*shop.Shop
	t    *testing.T
	host debworld.Root
}

// newLoop founds a house whose host has pw-tool 1.0-1 installed; the vendor
// offers 1.1-1, which fixes a CVE, and still holds 1.0-1.
func newLoop(t *testing.T) *loop {
	t.Helper()
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: real Debian roots, minutes")
	}
	t.Parallel() // a root and a house of its own, and mostly waiting
	l := &loop{t: t, host: debworld.NewHost(t)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := debworld.NewKey(debworld.KeyConfig{Name: "Vendor", Created: time.Now().Add(-24 * time.Hour)})
	must(err)
	ring, err := debworld.Keyring(key)
	must(err)
	repo, err := debworld.NewRepo(filepath.Join(t.TempDir(), "repo"), debworld.RepoConfig{Origin: "Vendor", Label: "Vendor", Suite: "stable", Codename: "pwtest"})
	must(err)
	old, fixed := tool("1.0-1"), tool("1.1-1")
	fixed.Changelog = append([]debworld.Change{{Version: "1.1-1", Lines: []string{"Fix CVE-2026-1001."}, At: time.Now()}}, fixed.Changelog...)
	raw, err := old.Build()
	must(err)
	must(l.host.Write("/tmp/old.deb", raw, 0o644))
	_, err = l.host.Run(t.Context(), "dpkg", "-i", "/tmp/old.deb")
	must(err)
	must(repo.Add(old, fixed))
	_, err = repo.Publish(debworld.Publication{At: time.Now().Add(-time.Minute), Signers: []debworld.Signer{{Key: key}}})
	must(err)
	dir := t.TempDir()
	origin, err := json.Marshal(trust.Origin{ID: "vendor", Keyring: "vendor.gpg", Signers: 1, Origin: "Vendor", Label: "Vendor",
		Codename: "pwtest", Suites: []string{"stable"}, Sections: []string{"main"}})
	must(err)
	place(t, dir, "origin.json", string(origin))
	place(t, dir, "vendor.gpg", string(ring))
	l.Shop = shop.New(t, shop.Options{Origins: []string{filepath.Join(dir, "origin.json") + ":" + filepath.Join(dir, "vendor.gpg")}})
	l.Put("source", []byte("vendor=file://"+repo.Dir+",pwtest"))
	return l
}

// planned are the flags that every plan of this host takes.
func (l *loop) planned(argv ...string) []string {
	source, err := os.ReadFile(l.In("source"))
	if err != nil {
		l.t.Fatal(err)
	}
	return append(append(argv, "--root", l.host.Dir, "--host", l.Host, "--author", l.People["eve"], "--pool", l.In("pool"),
		"--data", l.In("data"), "--source", string(source)), l.House()...)
}

// approve has a person sign a plan, and issue tries to make the writ of what
// was signed.
func (l *loop) approve(plan, person string) {
	l.t.Helper()
	l.Must(append([]string{"patchwrit", "approve", l.In(plan + ".json"), "--key", l.In("keys", person), "--yes", "--out", l.In(plan + "-" + person + ".json")}, l.House()...)...)
}

func (l *loop) issue(plan string, people ...string) []string {
	argv := append([]string{"patchwrit", "writ", "issue", l.In(plan + ".json"), "--policy", l.In("policy.tar.gz"), "--data", l.In("data"), "--out", l.In(plan + "-writ.json")}, l.House()...)
	for _, p := range people {
		argv = append(argv, "--answer", l.In(plan+"-"+p+".json"))
	}
	return argv
}

func (l *loop) apply(plan string) []string {
	return append([]string{"patchwrit-agent", "apply", "--root", l.host.Dir, "--writ", l.In(plan + "-writ.json"), "--pool", l.In("pool"),
		"--state", l.In("host"), "--log", l.In("data", "log")}, l.House()...)
}

// installed is the version that dpkg has.
func (l *loop) installed() string {
	l.t.Helper()
	out, err := l.host.Run(l.t.Context(), "dpkg-query", "-W", "-f", "${Version}", "pw-tool")
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.TrimSpace(string(out.Stdout))
}

// verified exports the evidence of a plan and checks it offline.
func (l *loop) verified(plan string) {
	l.t.Helper()
	l.Must(append([]string{"patchwrit", "evidence", "export", l.In(plan + ".json"), "--data", l.In("data"), "--pool", l.In("pool"), "--agent-state", l.In("host"), "-o", l.In(plan + "-evidence.json")}, l.House()...)...)
	l.Must(append([]string{"patchwrit", "verify", l.In(plan + "-evidence.json")}, l.House()...)...)
}

// TestARollbackByQuorum upgrades a real root, and takes the upgrade back by a
// plan of its own: with a person's reason, the rollback quorum, and what it
// opens again in plain sight.
func TestARollbackByQuorum(t *testing.T) {
	l := newLoop(t)
	l.Must(l.planned("patchwrit", "plan", "new", "--out", l.In("up.json"))...)
	l.approve("up", "ann")
	l.approve("up", "bob")
	l.Must(l.issue("up", "ann", "bob")...)
	l.Must(l.apply("up")...)
	if v := l.installed(); v != "1.1-1" {
		t.Fatalf("installed is %s", v)
	}

	back := func(more ...string) []string {
		return append(l.planned("patchwrit", "plan", "rollback", l.In("up.json"), "--out", l.In("back.json")), more...)
	}
	l.Want(exitUsage, "say why", back()...)
	l.Must(back("--reason", "1.1-1 breaks the \x1bproxy")...)
	show := l.Must("patchwrit", "plan", "show", l.In("back.json"))
	for _, want := range []string{"ROLLBACK    1.1-1 breaks the \\x1bproxy", "OPENS   debian-changelog/pw-tool/CVE-2026-1001", "downgrade pw-tool:amd64  critical",
		"from 1.1-1 to 1.0-1", "quorum named rollback", "back    upgrade to 1.1-1", "replaces    "} {
		if !strings.Contains(show, want) {
			t.Errorf("%q is not shown:\n%s", want, show)
		}
	}
	l.approve("back", "ann")
	l.Want(exitWaits, "1 of 2 people for critical", l.issue("back", "ann")...)
	l.approve("back", "bob")
	l.Must(l.issue("back", "ann", "bob")...)
	l.Must(l.apply("back")...)
	if v := l.installed(); v != "1.0-1" {
		t.Fatalf("installed is %s", v)
	}
	l.Want(exitIntegrity, "PW-WRIT-CONSUMED", l.apply("back")...)
	l.verified("back")

	l.Want(exitFindings, "not below that", back("--reason", "again")...)
	l.Want(exitFindings, "holds pw-tool 0.9-1", l.planned("patchwrit", "plan", "rollback", "--to", "pw-tool=0.9-1", "--reason", "further")...)
	l.Want(exitFindings, "not installed", l.planned("patchwrit", "plan", "rollback", "--to", "pw-absent=1", "--reason", "further")...)
}
