package sshsign_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/identity/sshsign"
	"github.com/patchwrit/patchwrit/refusal"
)

// provider builds the software security key that OpenSSH loads.
func provider(t *testing.T) string {
	t.Helper()
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: builds a C library, up to a minute or two")
	}
	for _, tool := range []string{"ssh-keygen", "ssh-agent", "ssh-add", "gcc", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: real FIDO signatures are not tested here", tool)
		}
	}
	library := filepath.Join(t.TempDir(), "sk.so")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", library, ".")
	cmd.Dir = filepath.Join("testdata", "skprovider")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return library
}

// TestRealOpenSSHWithSecurityKeys runs the system's ssh-keygen, its helper and
// its agent with a security key in software: with verification, signatures pass
// on every way; without, or without a touch, they are refused with their code.
func TestRealOpenSSHWithSecurityKeys(t *testing.T) {
	library := provider(t)
	dir := t.TempDir()
	askpass := filepath.Join(dir, "askpass")
	must(t, os.WriteFile(askpass, []byte("#!/bin/sh\necho 1234\n"), 0o700)) // the PIN of testdata/skprovider
	t.Setenv("SSH_ASKPASS", askpass)
	t.Setenv("SSH_ASKPASS_REQUIRE", "force")
	t.Setenv("SSH_SK_PROVIDER", library)
	for _, c := range []struct {
		kind, option string
		untouched    bool
		code         refusal.Code
	}{
		{"ed25519-sk", "verify-required", false, ""},
		{"ecdsa-sk", "verify-required", false, ""},
		{"ed25519-sk", "application=ssh:patchwrit", false, "PW-APPROVAL-VERIFICATION"},
		{"ecdsa-sk", "application=ssh:patchwrit", true, "PW-APPROVAL-PRESENCE"},
	} {
		t.Run(c.kind+" "+c.option, func(t *testing.T) {
			id := filepath.Join(t.TempDir(), "id")
			if out, err := keygen(t, nil, "-q", "-t", c.kind, "-O", c.option, "-N", "", "-C", "", "-f", id); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if c.untouched {
				t.Setenv("SKPROVIDER_UNTOUCHED", "1")
			}
			line, err := os.ReadFile(id + ".pub")
			must(t, err)
			public, _, _, _, err := ssh.ParseAuthorizedKey(line)
			must(t, err)
			h := house(add(public, false))
			never, asked := ask("")
			k, err := sshsign.File(id, never, sshsign.Terminal{Out: &bytes.Buffer{}})
			must(t, err)
			_, err = sshsign.Approve(t.Context(), h.Root, "p-001", k, yes, at)
			if refusal.CodeOf(err) != c.code || (c.code == "") != (err == nil) || *asked != 0 {
				t.Errorf("through the key file: %v", err)
			}
			if c.code == "" {
				theirs(t, h, id, yes)
			}
			k, err = sshsign.Agent(t.Context(), startAgent(t, library, id), h.Root, "p-001")
			must(t, err)
			_, err = sshsign.Approve(t.Context(), h.Root, "p-001", k, yes, at)
			if refusal.CodeOf(err) != c.code || (c.code == "") != (err == nil) {
				t.Errorf("through the ssh-agent: %v", err)
			}
		})
	}
}

// startAgent runs the system's ssh-agent with one key in it.
func startAgent(t *testing.T, library, id string) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // t.TempDir can be too long for a socket
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	agent := exec.Command("ssh-agent", "-D", "-a", socket, "-P", library)
	must(t, agent.Start())
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
	add := exec.Command("ssh-add", "-S", library, id)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return socket
}
