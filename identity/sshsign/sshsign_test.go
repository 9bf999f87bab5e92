package sshsign_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/identity"
	"github.com/patchwrit/patchwrit/identity/sshsign"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

const at = 1767600000

var yes = approval.Statement{Kind: approval.Approve, Bytes: []byte(`{"type":"patchwrit/plan/v1"}`)}

// add puts a public key into the roster for the house's first person.
func add(public ssh.PublicKey, revoked bool) func(*ceremony.Contents) {
	return func(c *ceremony.Contents) {
		cr, err := ceremony.FromSSH(ssh.MarshalAuthorizedKey(public))
		if err != nil {
			panic(err)
		}
		cr.Revoked = revoked
		c.People[0].Credentials = append(c.People[0].Credentials, cr)
	}
}

func house(edit func(*ceremony.Contents)) trusttest.House {
	return trusttest.Must(nil, trusttest.Options{Edit: edit})
}

func publicOf(t *testing.T, key any) ssh.PublicKey {
	t.Helper()
	s, err := ssh.NewSignerFromKey(key)
	must(t, err)
	return s.PublicKey()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// keyFile writes a private key as ssh-keygen does.
func keyFile(t *testing.T, key any, passphrase string, mode os.FileMode) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "test")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "test", []byte(passphrase))
	}
	must(t, err)
	path := filepath.Join(t.TempDir(), "id")
	must(t, os.WriteFile(path, pem.EncodeToMemory(block), mode))
	return path
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return k
}

func edKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	return k
}

func ask(words ...string) (func() ([]byte, error), *int) {
	asked := 0
	return func() ([]byte, error) {
		asked++
		return []byte(words[min(asked, len(words))-1]), nil
	}, &asked
}

func TestKeyFiles(t *testing.T) {
	for name, key := range map[string]any{"ed25519": edKey(t), "ecdsa": ecKey(t)} {
		h := house(add(publicOf(t, key), false))
		never, asked := ask("")
		k, err := sshsign.File(keyFile(t, key, "", 0o600), never, sshsign.Terminal{})
		must(t, err)
		a, err := sshsign.Approve(t.Context(), h.Root, "", k, yes, at)
		if err != nil || a.Person != "p-001" || a.At != at || *asked != 0 {
			t.Errorf("%s: %+v, %v, asked %d times", name, a, err, *asked)
		}
		if _, _, err := approval.Check(h.Root, yes, a); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		other := approval.Statement{Kind: yes.Kind, Bytes: []byte(`{"type":"patchwrit/plan/v2"}`)}
		if _, _, err := approval.Check(h.Root, other, a); err == nil {
			t.Errorf("%s: passes for another plan", name)
		}
	}
}

func TestLockedKeyFiles(t *testing.T) {
	key := edKey(t)
	path := keyFile(t, key, "right", 0o600)
	for _, c := range []struct {
		words []string
		asked int
		err   error
	}{
		{[]string{"right"}, 1, nil},
		{[]string{"wrong", "wrong", "right"}, 3, nil},
		{[]string{"wrong", "wrong", "wrong", "right"}, 3, sshsign.ErrPassphrase},
	} {
		f, asked := ask(c.words...)
		_, err := sshsign.File(path, f, sshsign.Terminal{})
		if !errors.Is(err, c.err) || *asked != c.asked {
			t.Errorf("%q: asked %d times, %v", c.words, *asked, err)
		}
	}
	gone := errors.New("the terminal went away")
	_, err := sshsign.File(path, func() ([]byte, error) { return nil, gone }, sshsign.Terminal{})
	if !errors.Is(err, gone) {
		t.Error(err)
	}
}

func TestKeyFilesThatAreRefused(t *testing.T) {
	never, _ := ask("")
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	large := filepath.Join(t.TempDir(), "large")
	must(t, os.WriteFile(large, make([]byte, 65<<10), 0o600))
	for name, c := range map[string]struct{ path, says string }{
		"rsa":             {keyFile(t, weak, "", 0o600), "ssh-keygen -t ed25519"},
		"another curve":   {keyFile(t, p384, "", 0o600), "do not approve"},
		"others may read": {keyFile(t, edKey(t), "", 0o644), "chmod 600"},
		"no file":         {filepath.Join(t.TempDir(), "none"), "no such file"},
		"a directory":     {t.TempDir(), "chmod"},
		"too large":       {large, "larger"},
	} {
		if _, err := sshsign.File(c.path, never, sshsign.Terminal{}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhoseKey(t *testing.T) {
	known, revoked := edKey(t), edKey(t)
	h := house(func(c *ceremony.Contents) {
		add(publicOf(t, known), false)(c)
		add(publicOf(t, revoked), true)(c)
	})
	for _, c := range []struct {
		key    ed25519.PrivateKey
		person trust.PersonID
		right  bool
	}{{known, "", true}, {known, "p-001", true}, {known, "p-002", false}, {revoked, "", false}, {edKey(t), "", false}} {
		k, err := sshsign.Memory(c.key)
		must(t, err)
		_, err = sshsign.Approve(t.Context(), h.Root, c.person, k, yes, at)
		if c.right != (err == nil) || err != nil && !errors.Is(err, identity.ErrUnknown) {
			t.Errorf("%q: %v", c.person, err)
		}
	}
}

func TestArmour(t *testing.T) {
	blob := bytes.Repeat([]byte("signature"), 30)
	text := string(sshsign.Armour(blob))
	for name, in := range map[string]string{"itself": text, "CRLF": strings.ReplaceAll(text, "\n", "\r\n"), "indented": "\n  " + text + "\n\n"} {
		if got, err := sshsign.Dearmour([]byte(in)); err != nil || !bytes.Equal(got, blob) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, in := range map[string]string{
		"empty": "", "no end": strings.Split(text, "-----END")[0], "no begin": strings.TrimPrefix(text, "-----BEGIN"),
		"text before": "x" + text, "text behind": text + "x", "two": text + text, "another kind": strings.ReplaceAll(text, "SSH SIGNATURE", "SSH MESSAGE"),
		"no base64": strings.Replace(text, "c2ln", "!!!!", 1), "large": strings.Replace(text, "\n", strings.Repeat("\n", 17<<10), 1),
	} {
		if _, err := sshsign.Dearmour([]byte(in)); !errors.Is(err, sshsign.ErrArmour) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !strings.HasPrefix(text, "-----BEGIN SSH SIGNATURE-----\n") || len(strings.Split(text, "\n")[1]) != 70 {
		t.Error(text)
	}
	if _, err := sshsign.Import(house(nil).Root, "", []byte("x"), yes, at); !errors.Is(err, sshsign.ErrArmour) {
		t.Error(err)
	}
	for name, blob := range map[string][]byte{"no magic": []byte("SSHSIX"), "cut": []byte("SSHSIG\x00\x00\x00\x01\xff")} {
		_, err := sshsign.Import(house(nil).Root, "", sshsign.Armour(blob), yes, at)
		if !errors.Is(err, sshsign.ErrArmour) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDearmour(f *testing.F) {
	f.Add([]byte(sshsign.Armour([]byte("blob"))))
	f.Add([]byte("-----BEGIN SSH SIGNATURE----------END SSH SIGNATURE-----"))
	f.Fuzz(func(t *testing.T, in []byte) {
		blob, err := sshsign.Dearmour(in)
		if err != nil {
			return
		}
		again, err := sshsign.Dearmour(sshsign.Armour(blob))
		if err != nil || !bytes.Equal(again, blob) {
			t.Fatalf("%x, %v", again, err)
		}
	})
}

// serveAgent is x/crypto's in-memory agent on a socket of its own.
func serveAgent(t *testing.T, keys ...any) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		must(t, ring.Add(agent.AddedKey{PrivateKey: k}))
	}
	return listen(t, func(c net.Conn) { _ = agent.ServeAgent(ring, c) })
}

// forgetful is an agent that lists a key once, and has lost it afterwards.
func forgetful(t *testing.T, key any) string {
	full, empty := agent.NewKeyring(), agent.NewKeyring()
	must(t, full.Add(agent.AddedKey{PrivateKey: key}))
	first := make(chan agent.Agent, 1)
	first <- full
	return listen(t, func(c net.Conn) {
		select {
		case ring := <-first:
			_ = agent.ServeAgent(ring, c)
		default:
			_ = agent.ServeAgent(empty, c)
		}
	})
}

func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // t.TempDir can be too long for a socket
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}

func TestAgent(t *testing.T) {
	known := ecKey(t)
	h := house(add(publicOf(t, known), false))
	socket := serveAgent(t, edKey(t), known)
	k, err := sshsign.Agent(t.Context(), socket, h.Root, "p-001")
	must(t, err)
	a, err := sshsign.Approve(t.Context(), h.Root, "p-001", k, yes, at)
	must(t, err)
	if _, _, err := approval.Check(h.Root, yes, a); err != nil {
		t.Error(err)
	}
	if _, err := sshsign.Agent(t.Context(), socket, h.Root, "p-002"); !errors.Is(err, identity.ErrUnknown) {
		t.Error(err)
	}
	for dead, says := range map[string]string{"": "SSH_AUTH_SOCK is not set", filepath.Join(t.TempDir(), "none"): "no such file"} {
		if _, err := sshsign.Agent(t.Context(), dead, h.Root, ""); !errors.Is(err, sshsign.ErrNoAgent) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", dead, err)
		}
	}
	k, err = sshsign.Agent(t.Context(), forgetful(t, known), h.Root, "p-001")
	must(t, err)
	if _, err := sshsign.Approve(t.Context(), h.Root, "p-001", k, yes, at); err == nil || !strings.Contains(err.Error(), "would not sign") {
		t.Errorf("an agent that does not sign: %v", err)
	}
}

func TestAgentThatNeverAnswers(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	socket := listen(t, func(c net.Conn) {
		cancel() // once it is connected
		_, _ = io.Copy(io.Discard, c)
	})
	if _, err := sshsign.Agent(ctx, socket, house(nil).Root, ""); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := sshsign.Agent(ctx, socket, house(nil).Root, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("not even connected: %v", err)
	}
}

// keygen runs the system's ssh-keygen.
func keygen(t *testing.T, stdin []byte, args ...string) ([]byte, error) {
	t.Helper()
	program, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("ssh-keygen is not installed (Debian: openssh-client): interoperation with it is not tested here")
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	return cmd.CombinedOutput()
}

// TestInteroperation signs with ssh-keygen and imports; signs here and lets
// ssh-keygen verify; for each key type that works without hardware.
func TestInteroperation(t *testing.T) {
	for _, kind := range []string{"ed25519", "ecdsa"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			id := filepath.Join(dir, "id")
			out, err := keygen(t, nil, "-q", "-t", kind, "-N", "", "-C", "", "-f", id)
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			line, err := os.ReadFile(id + ".pub")
			must(t, err)
			public, _, _, _, err := ssh.ParseAuthorizedKey(line)
			must(t, err)
			h := house(add(public, false))
			theirs(t, h, id, yes)
			ours(t, h, id, line)

			k, err := sshsign.Keygen(id, public, sshsign.Terminal{})
			must(t, err)
			if _, err := sshsign.Approve(t.Context(), h.Root, "", k, yes, at); err != nil {
				t.Errorf("through ssh-keygen: %v", err)
			}
		})
	}
}

// theirs signs with ssh-keygen -Y sign and imports the file it makes.
func theirs(t *testing.T, h trusttest.House, id string, s approval.Statement) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "header")
	must(t, os.WriteFile(file, s.Bytes, 0o600))
	if out, err := keygen(t, nil, "-q", "-Y", "sign", "-f", id, "-n", s.Kind.Namespace(), file); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	armoured, err := os.ReadFile(file + ".sig")
	must(t, err)
	if _, err := sshsign.Import(h.Root, "p-001", armoured, s, at); err != nil {
		t.Errorf("their signature: %v", err)
	}
	_, err = sshsign.Import(h.Root, "", armoured, approval.Statement{Kind: s.Kind, Bytes: append([]byte(" "), s.Bytes...)}, at)
	if refusal.CodeOf(err) != "PW-APPROVAL-SIGNATURE" {
		t.Errorf("other bytes: %v", err)
	}
	_, err = sshsign.Import(h.Root, "", armoured, approval.Statement{Kind: approval.Deny, Bytes: s.Bytes}, at)
	if refusal.CodeOf(err) != "PW-APPROVAL-SSH-NAMESPACE" {
		t.Errorf("as a no: %v", err)
	}
	if _, err := sshsign.Import(h.Root, "p-002", armoured, s, at); !errors.Is(err, identity.ErrUnknown) {
		t.Errorf("as somebody else: %v", err)
	}
}

// ours signs here and lets ssh-keygen -Y verify judge.
func ours(t *testing.T, h trusttest.House, id string, line []byte) {
	t.Helper()
	never, _ := ask("")
	k, err := sshsign.File(id, never, sshsign.Terminal{})
	must(t, err)
	a, err := sshsign.Approve(t.Context(), h.Root, "", k, yes, at)
	must(t, err)
	blob, err := base64.StdEncoding.DecodeString(a.Signature)
	must(t, err)
	dir := t.TempDir()
	sig, allowed := filepath.Join(dir, "sig"), filepath.Join(dir, "allowed")
	must(t, os.WriteFile(sig, sshsign.Armour(blob), 0o600))
	must(t, os.WriteFile(allowed, append([]byte("p-001 "), line...), 0o600))
	verify := func(namespace string, message []byte) error {
		_, err := keygen(t, message, "-Y", "verify", "-f", allowed, "-I", "p-001", "-n", namespace, "-s", sig)
		return err
	}
	if err := verify(yes.Kind.Namespace(), yes.Bytes); err != nil {
		t.Errorf("ssh-keygen does not accept our signature: %v", err)
	}
	if verify(approval.Deny.Namespace(), yes.Bytes) == nil || verify(yes.Kind.Namespace(), []byte("x")) == nil {
		t.Error("ssh-keygen accepts anything: this test proves nothing")
	}
}

func TestKeygenThatIsNotThere(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := sshsign.Keygen("id", publicOf(t, edKey(t)), sshsign.Terminal{})
	if !errors.Is(err, sshsign.ErrNoKeygen) || !strings.Contains(err.Error(), "openssh-client") {
		t.Error(err)
	}
}

func TestKeygenThatFails(t *testing.T) {
	keygen(t, nil, "-l")
	var terminal bytes.Buffer
	public := publicOf(t, edKey(t))
	k, err := sshsign.Keygen(filepath.Join(t.TempDir(), "none"), public, sshsign.Terminal{Out: &terminal})
	must(t, err)
	if _, err := sshsign.Approve(t.Context(), house(add(public, false)).Root, "", k, yes, at); err == nil || !strings.Contains(err.Error(), "ssh-keygen did not sign") || terminal.Len() == 0 {
		t.Errorf("%v; on the terminal: %q", err, terminal.String())
	}
}
