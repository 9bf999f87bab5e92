package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/shop"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/trust"
	debversion "github.com/patchwrit/patchwrit/version"
)

// browser is one tab of a headless Chromium with a virtual authenticator.
type browser struct{ context.Context }

func chromium(t *testing.T, path string) browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if _, err := chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportUsb,
		HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}}); err != nil {
		t.Fatal(err)
	}
	return browser{ctx}
}

// answers runs a verb that serves a page, opens the address it prints in the
// browser and presses the button that selector names.
func (b browser) answers(t *testing.T, s *shop.Shop, selector string, argv ...string) (code int, says string) {
	t.Helper()
	cmd := exec.CommandContext(b, s.In("bin", argv[0]), argv[1:]...)
	cmd.Dir, cmd.Env = s.Dir, s.Env()
	told, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(told)
	for {
		line, err := lines.ReadString('\n')
		says += line
		if _, rest, ok := strings.Cut(line, "open http"); ok {
			address, _, _ := strings.Cut("http"+rest, " ")
			go func() {
				_ = chromedp.Do(b, chromedp.Navigate(address), chromedp.Focus(chromedp.CSS(selector)), chromedp.KeyEvent("\r"))
			}() // the verb reports what came of it
		}
		if err != nil {
			break
		}
	}
	rest, _ := io.ReadAll(lines)
	err = cmd.Wait()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), says + string(rest) + out.String()
}

// securityKey makes a FIDO key whose token is software that OpenSSH loads, and
// gives its file.
func securityKey(t *testing.T, s *shop.Shop) string {
	t.Helper()
	library := s.In("sk.so")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", library, ".")
	cmd.Dir = filepath.Join("..", "..", "identity", "sshsign", "testdata", "skprovider")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.Put("askpass", []byte("#!/bin/sh\necho 1234\n")) // the PIN of skprovider
	if err := os.Chmod(s.In("askpass"), 0o700); err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"SSH_ASKPASS": s.In("askpass"), "SSH_ASKPASS_REQUIRE": "force", "SSH_SK_PROVIDER": library} {
		t.Setenv(k, v)
	}
	s.Must("ssh-keygen", "-q", "-t", "ed25519-sk", "-O", "verify-required", "-N", "", "-C", "", "-f", s.In("keys", "bob-sk"))
	return s.In("keys", "bob-sk")
}

// aPlan is a plan for the shop's one host that an advisory asks for. Nothing of
// it is ever applied.
func aPlan(t *testing.T, s *shop.Shop) []byte {
	t.Helper()
	sum := func(text string) canon.Digest { return canon.SumFile([]byte(text)) }
	forth := change.Change{Op: change.Upgrade, Scheme: debversion.Deb, Package: "hello", Arch: "amd64", From: "1", To: "2", Artefact: sum("2"), Size: 2, Origin: "vendor", Class: change.Routine}
	back := forth
	back.Op, back.From, back.To, back.Artefact, back.Class = change.Downgrade, "2", "1", sum("1"), change.Critical
	chain := func(c change.Change) provenance.Chain {
		k := provenance.Entry{}.Chain()
		k.Origin, k.Artefact, k.Size, k.Signers = c.Origin, c.Artefact, c.Size, []string{"AB"}
		return k
	}
	now := time.Now().Unix()
	h, branches, d, err := proposal.New(proposal.Request{Nonce: strings.Repeat("0a", 32), Author: trust.PersonID(s.People["eve"]), Created: now, Expires: now + 3600,
		Waves: []plan.Wave{{NotBefore: now, Good: 1}}, Facts: []proposal.Fact{{Package: "hello", Arch: "amd64", From: "1", To: "2", Source: "hello", SourceVersion: "2", Class: change.Routine,
			Reasons: []artefact.Reason{}, Diff: artefact.Compare(&artefact.Contents{}, artefact.Contents{}), Breaks: []artefact.Break{}, Chain: chain(forth), Back: chain(back)}},
		Hosts: []proposal.HostRequest{{ID: trust.HostID(s.Host), Inventory: sum(""), Changes: []change.Change{forth}, Back: []change.Change{back},
			Findings: []match.Finding{{Advisory: "CVE-2026-1", Package: "hello", Arch: "amd64", State: match.Affected, Fixed: "2",
				Sources: []match.Source{{State: match.Affected, Authority: advisory.Distribution}}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return proposal.NewFile(h, branches, d).Bytes()
}

// TestPeopleSignThroughTheVerbs has one person register a passkey and approve on
// the page of the verb, in a real browser, and another approve with a FIDO key,
// by its file and through an agent. The two are a quorum: a writ is issued.
func TestPeopleSignThroughTheVerbs(t *testing.T) {
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: starts Chromium and builds a security key, a minute")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed (Debian: chromium): the page is not tested in a real browser here")
	}
	var b browser
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	s := shop.New(t, shop.Options{Origins: []string{vendorOrigin(t)}, People: func(s *shop.Shop) []string {
		b = chromium(t, path)
		code, says := b.answers(t, s, "[data-register]", "patchwrit", "approver", "register", "--person", "ann", "--port", port, "--passkeys", s.In("passkeys.json"), "--out", s.In("keys", "ann.json"))
		if code != 0 {
			t.Fatalf("register: exit code %d\n%s", code, says)
		}
		return []string{"ann:owner:" + s.In("keys", "ann.json"), "bob:security:" + securityKey(t, s) + ".pub"}
	}})
	s.Put("plan.json", aPlan(t, s))

	onPage := func(selector, out string) (int, string) {
		return b.answers(t, s, selector, append([]string{"patchwrit", "approve", s.In("plan.json"), "--page", "--person", s.People["ann"], "--passkeys", s.In("passkeys.json"), "--out", s.In(out)}, s.House()...)...)
	}
	if code, says := onPage("[data-close]", "nothing.json"); code == 0 || strings.Contains(says, "signed by") {
		t.Errorf("closed without an answer: exit code %d\n%s", code, says)
	}
	if code, says := onPage("[data-kind=approve]", "ann.json"); code != 0 || !strings.Contains(says, "signed by "+s.People["ann"]) {
		t.Fatalf("on the page: exit code %d\n%s", code, says)
	}
	issue := func(answers ...string) []string {
		argv := append([]string{"patchwrit", "writ", "issue", s.In("plan.json"), "--policy", s.In("policy.tar.gz"), "--data", s.In("data"), "--out", s.In("writ.json")}, s.House()...)
		for _, a := range answers {
			argv = append(argv, "--answer", s.In(a))
		}
		return argv
	}
	s.Want(exitWaits, "1 of 2 people", issue("ann.json")...)

	byKey := func(out string, how ...string) []string {
		return append(append([]string{"patchwrit", "approve", s.In("plan.json"), "--yes", "--out", s.In(out)}, how...), s.House()...)
	}
	s.Must(byKey("bob.json", "--key", s.In("keys", "bob-sk"))...)
	t.Setenv("SSH_AUTH_SOCK", startAgent(t, s))
	s.Must(byKey("bob-agent.json", "--agent", "--person", s.People["bob"])...)
	t.Setenv("SSH_AUTH_SOCK", "")
	t.Setenv("SSH_ASKPASS", "/bin/false") // nobody enters the PIN
	s.Want(exitFailure, "did not sign", byKey("none.json", "--key", s.In("keys", "bob-sk"))...)

	s.Must(issue("ann.json", "bob.json")...)
	show := s.Must("patchwrit", "writ", "show", s.In("writ.json"))
	for _, who := range []string{"ann", "bob"} {
		if !strings.Contains(show, "approve  by "+s.People[who]) {
			t.Errorf("the writ does not carry %s's yes:\n%s", who, show)
		}
	}
}

// vendorOrigin is an origin whose keyring is any; nothing of it is fetched.
func vendorOrigin(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	place(t, dir, "origin.json", `{"id":"vendor","keyring":"vendor.gpg","signers":1,"origin":"Vendor","label":"Vendor","codename":"pwtest","suites":["stable"],"sections":["main"]}`)
	place(t, dir, "vendor.gpg", "a keyring")
	return filepath.Join(dir, "origin.json") + ":" + filepath.Join(dir, "vendor.gpg")
}

// startAgent runs the system's ssh-agent with bob's security key in it.
func startAgent(t *testing.T, s *shop.Shop) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	agent := exec.Command("ssh-agent", "-D", "-a", socket, "-P", s.In("sk.so"))
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("ssh-agent does not listen")
		}
	}
	add := exec.Command("ssh-add", "-S", s.In("sk.so"), s.In("keys", "bob-sk"))
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return socket
}
