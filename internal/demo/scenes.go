package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/inventory"
)

// makeHost copies the base root (built once, cached) to demo/hosts/web-1/root.
func (s *stage) makeHost() error {
	cache, err := debworld.CacheDir()
	if err != nil {
		return err
	}
	base, err := debworld.BaseRoot(s.ctx, cache, os.Stderr)
	if err != nil {
		return err
	}
	mirror, err := debworld.MirrorSources()
	if err != nil {
		return err
	}
	if mirror.Security == "" {
		return errors.New("this machine's apt sources name no security suite, so nothing would be pending; add it and run the demo again")
	}
	s.sources = []string{
		"--source", "debian=" + mirror.Main + "," + debworld.Codename,
		"--source", "debian-security=" + mirror.Security + "," + debworld.Codename + "-security",
	}
	if err := os.MkdirAll(filepath.Dir(s.root()), 0o755); err != nil {
		return err
	}
	if _, err := debworld.Copy(s.ctx, base, s.root()); err != nil {
		return err
	}
	versions, err := s.versions()
	if err != nil {
		return err
	}
	fmt.Printf("    %d packages in demo/hosts/%s/root\n", len(versions), hostName)
	return nil
}

// versions reads what dpkg says is installed.
func (s *stage) versions() (map[string]string, error) {
	inv, err := inventory.Read(os.DirFS(s.root()))
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for _, p := range inv.Packages {
		versions[p.Key()] = p.Version
	}
	return versions, nil
}

// foundHouse makes every key and party and starts the witnesses.
func (s *stage) foundHouse() error {
	fmt.Println("    The approvers' and keepers' keys below are SOFTWARE KEYS made by this demo. They stand in for people and protect nothing.")
	if err := os.MkdirAll(s.in("keys"), 0o700); err != nil {
		return err
	}
	for _, name := range []string{"ann", "bob", "eve-the-author"} {
		if _, err := s.do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo software key "+name, "-f", s.in("keys", name)); err != nil {
			return err
		}
	}
	log, err := s.do("patchwrit", "ledger", "init", "--data", s.in("data"), "--origin", "demo.patchwrit.example/log")
	if err != nil {
		return err
	}
	lines := []string{log}
	for _, name := range []string{"witness-1", "witness-2"} {
		addr, err := freePort()
		if err != nil {
			return err
		}
		line, err := s.do("patchwrit-witness", "keygen", "--dir", s.in(name), "--name", name, "--url", "http://"+addr)
		if err != nil {
			return err
		}
		s.ports = append(s.ports, addr)
		lines = append(lines, line)
	}
	lines = append(lines, "group all-witnesses all witness-1 witness-2", "quorum all-witnesses", "")
	if err := os.WriteFile(s.in("witness.policy"), []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		return err
	}
	if _, err := s.do("patchwrit", "policy", "sign", "--key", s.in("keys", "policy"), "--out", s.in("policy.tar.gz")); err != nil {
		return err
	}
	if s.hostKey, err = s.do("patchwrit-agent", "keygen", "--state", s.in("hosts", hostName, "state")); err != nil {
		return err
	}
	return s.foundTrust()
}

func (s *stage) foundTrust() error {
	mirror, err := debworld.MirrorSources()
	if err != nil {
		return err
	}
	if _, err := s.do("patchwrit", "trust", "init", s.in("trust"), "--demo", "--keeper", "keeper-1", "--keeper", "keeper-2", "--keeper", "keeper-3", "--threshold", "2",
		"--keys", s.in("keys"), "--names", s.in("names.json"), "--roles", "owner,security",
		"--person", "ann:owner:"+s.in("keys", "ann.pub"), "--person", "bob:security:"+s.in("keys", "bob.pub"),
		"--person", "eve-the-author:owner,security:"+s.in("keys", "eve-the-author.pub"),
		"--host", s.hostKey+":rack-1:role=web", "--witness-policy", s.in("witness.policy"), "--keyring", mirror.Keyring,
		"--policy", s.in("policy.tar.gz"), "--policy-key", s.in("keys", "policy.pem")); err != nil {
		return err
	}
	if err := s.readHouse(); err != nil {
		return err
	}
	if _, err := s.try(call{argv: append([]string{"patchwrit", "trust", "show"}, s.house()...)}); err != nil {
		return err
	}
	for i, name := range []string{"witness-1", "witness-2"} {
		if err := s.startWitness(name, s.ports[i]); err != nil {
			return err
		}
	}
	return nil
}

// readHouse learns the pinned digest, the pseudonyms and the fingerprint.
func (s *stage) readHouse() error {
	out, err := s.do("sha256sum", s.in("trust", "1.root.json"))
	if err != nil {
		return err
	}
	s.rootSHA = strings.Fields(out)[0]
	raw, err := os.ReadFile(s.in("names.json"))
	if err != nil {
		return err
	}
	names := map[string]string{}
	if err := json.Unmarshal(raw, &names); err != nil {
		return err
	}
	for id, name := range names {
		if name == "eve-the-author" {
			s.author = id
		}
	}
	shown, err := s.do(append([]string{"patchwrit", "trust", "show", "-o", "json"}, s.house()...)...)
	if err != nil {
		return err
	}
	var doc struct {
		Hosts []struct{ ID string } `json:"hosts"`
	}
	if err := json.Unmarshal([]byte(shown), &doc); err != nil || len(doc.Hosts) != 1 {
		return fmt.Errorf("trust show names %d hosts: %w", len(doc.Hosts), err)
	}
	s.host, s.summary.Trust, s.summary.Root, s.summary.Software = doc.Hosts[0].ID, "trust", s.rootSHA, true
	return nil
}

// scanArgs is one scan of the host; each scan of the demo asks the same.
func (s *stage) scanArgs() []string {
	argv := append([]string{"patchwrit", "scan", "--root", s.root(), "--pool", s.in("pool")}, s.house()...)
	return append(argv, s.sources...)
}

func (s *stage) scan() error {
	_, err := s.try(call{argv: s.scanArgs(), code: 3})
	return err
}

func (s *stage) plan() error {
	argv := append([]string{"patchwrit", "plan", "new", "--root", s.root(), "--host", s.host, "--author", s.author, "--pool", s.in("pool"),
		"--data", s.in("data"), "--note", "demo", "--out", s.in("plan.json")}, s.house()...)
	if _, err := s.try(call{argv: append(argv, s.sources...)}); err != nil {
		return err
	}
	_, err := s.try(call{argv: []string{"patchwrit", "plan", "show", s.in("plan.json")}})
	return err
}

// approve lets two people sign; with PATCHWRIT_DEMO_YES nobody is asked.
func (s *stage) approve() error {
	for _, name := range []string{"ann", "bob"} {
		argv := append([]string{"patchwrit", "approve", s.in("plan.json"), "--key", s.in("keys", name), "--out", s.in("approve-" + name + ".json")}, s.house()...)
		c := call{argv: argv, in: os.Stdin}
		if s.yes {
			c = call{argv: append(argv, "--yes"), mute: true}
		}
		if _, err := s.try(c); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) issueArgs(answers ...string) []string {
	argv := append([]string{"patchwrit", "writ", "issue", s.in("plan.json"), "--policy", s.in("policy.tar.gz"), "--out", s.in("writ.json")}, s.ledger()...)
	for _, a := range answers {
		argv = append(argv, "--answer", s.in("approve-"+a+".json"))
	}
	return argv
}

func (s *stage) issue() error {
	fmt.Println("    First with one approval: it must wait (exit code 4).")
	if _, err := s.try(call{argv: s.issueArgs("ann"), code: 4}); err != nil {
		return err
	}
	if _, err := s.try(call{argv: s.issueArgs("ann", "bob")}); err != nil {
		return err
	}
	_, err := s.try(call{argv: []string{"patchwrit", "writ", "show", s.in("writ.json")}})
	return err
}

func (s *stage) applyArgs(writ string) []string {
	return append([]string{"patchwrit-agent", "apply", "--root", s.root(), "--writ", writ, "--pool", s.in("pool"),
		"--state", s.in("hosts", hostName, "state"), "--log", s.in("data", "log")}, s.house()...)
}

func (s *stage) apply() error {
	before, err := s.versions()
	if err != nil {
		return err
	}
	if _, err := s.try(call{argv: s.applyArgs(s.in("writ.json"))}); err != nil {
		return err
	}
	after, err := s.versions()
	if err != nil {
		return err
	}
	h := hostSummary{ID: hostName, Before: map[string]string{}, After: map[string]string{}}
	for key, v := range after {
		if before[key] != v {
			h.Before[key], h.After[key] = before[key], v
		}
	}
	if len(h.After) < 2 {
		return fmt.Errorf("only %d packages changed", len(h.After))
	}
	s.summary.Hosts = append(s.summary.Hosts, h)
	return nil
}

// rescan asks again, and takes "effective" from the host's own receipt.
func (s *stage) rescan() error {
	h := &s.summary.Hosts[0]
	out, err := s.do("patchwrit-agent", "status", "--state", s.in("hosts", hostName, "state"), "-o", "json")
	if err != nil {
		return err
	}
	var status struct {
		Receipts []struct {
			Writ      string `json:"writ"`
			Outcome   string `json:"outcome"`
			Effective struct{ Installed, Running string }
		} `json:"receipts"`
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil || len(status.Receipts) == 0 {
		return fmt.Errorf("the agent's status names no receipt: %w", err)
	}
	r := status.Receipts[len(status.Receipts)-1]
	h.Writ, h.Effective = r.Writ, r.Outcome == "done" && r.Effective.Installed == "yes" && r.Effective.Running == "yes"
	fmt.Printf("    receipt: %s, installed %s, running %s\n", r.Outcome, r.Effective.Installed, r.Effective.Running)
	if !h.Effective {
		return errors.New("the change is not effective")
	}
	return s.fixed()
}

// fixed scans again: what the plan answered must be gone.
func (s *stage) fixed() error {
	raw, err := s.answer(append(s.scanArgs(), "-q", "-o", "json", "--fail-on", "none")...)
	if err != nil {
		return err
	}
	var doc struct {
		Findings []struct {
			Advisory, Package, State string
		} `json:"findings"`
	}
	if err := json.Unmarshal([]byte(raw), &doc); err != nil {
		return err
	}
	left := []string{}
	for _, f := range doc.Findings {
		if _, changed := s.summary.Hosts[0].After[f.Package+":amd64"]; changed && f.State == "affected" {
			left = append(left, f.Package+" "+f.Advisory)
		}
	}
	slices.Sort(left)
	if len(left) > 0 {
		return fmt.Errorf("still affected after the change: %s", strings.Join(left, ", "))
	}
	fmt.Printf("    %d findings left, none about a package that was changed\n", len(doc.Findings))
	return nil
}
