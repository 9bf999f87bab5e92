package seal

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/identity/sshsign"
	"github.com/patchwrit/patchwrit/refusal"
)

const now = 1_790_000_000 // 2026-09-21

type person struct {
	sshsign.Signer
	line string // public key
}

func newPerson(t testing.TB, key any) person {
	t.Helper()
	s, err := sshsign.Memory(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ssh.ParsePublicKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	return person{s, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))}
}

func edwards(t testing.TB) person {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newPerson(t, key)
}

func (p person) signs(t testing.TB, namespace, text string) []byte {
	t.Helper()
	blob, err := p.Sign(t.Context(), namespace, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func signers(t testing.TB, text string) Signers {
	t.Helper()
	s, err := ReadSigners([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhoseWordCounts(t *testing.T) {
	me, other := edwards(t), edwards(t)
	nist, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	second := newPerson(t, nist)
	good := me.signs(t, FeedNamespace, "text")
	for name, c := range map[string]struct {
		signers, namespace, text string
		blob                     []byte
		want                     string // in the refusal; "" is yes
	}{
		"a key":                  {me.line, FeedNamespace, "text", good, ""},
		"a key with its comment": {me.line + " me", FeedNamespace, "text", good, ""},
		"a line":                 {"me@x " + me.line, FeedNamespace, "text", good, ""},
		"among others":           {"# people\n\nother " + other.line + "\nme " + me.line + "\n", FeedNamespace, "text", good, ""},
		"P-256":                  {second.line, FeedNamespace, "text", second.signs(t, FeedNamespace, "text"), ""},
		"for this":               {`me namespaces="x,patchwrit-feed@*" ` + me.line, FeedNamespace, "text", good, ""},
		"in time":                {`me valid-after="20260901Z",valid-before="202612312359" ` + me.line, FeedNamespace, "text", good, ""},
		"other text":             {me.line, FeedNamespace, "texT", good, "not over these bytes"},
		"other namespace":        {me.line, BundleNamespace, "text", good, `signed as "patchwrit-feed@v1"`},
		"not listed":             {other.line, FeedNamespace, "text", good, "is not listed"},
		"for something else":     {`me namespaces="git" ` + me.line, FeedNamespace, "text", good, "is not listed for"},
		"too early":              {`me valid-after="20261001" ` + me.line, FeedNamespace, "text", good, "does not count yet"},
		"too late":               {`me valid-before="20260901120000Z" ` + me.line, FeedNamespace, "text", good, "counts no longer"},
		"nothing":                {me.line, FeedNamespace, "text", nil, "SSHSIG's form"},
		"another's, as mine":     {me.line, FeedNamespace, "text", bytes.Replace(other.signs(t, FeedNamespace, "text"), other.Public(), me.Public(), 1), "not over these bytes"},
		"no longer than it is":   {me.line, FeedNamespace, "text", append(bytes.Clone(good), 0), "SSHSIG's form"},
	} {
		who, err := signers(t, c.signers).Verify(strings.NewReader(c.text), c.namespace, c.blob, now)
		if c.want == "" && (err != nil || !strings.Contains(who.String(), "SHA256:")) || c.want != "" && (refusal.CodeOf(err) != CodeSignature || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %s %v", name, who, err)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := signers(t, me.line).Verify(strings.NewReader("text"), FeedNamespace, bad, now); refusal.CodeOf(err) != CodeSignature {
			t.Fatalf("byte %d may be another: %v", i, err)
		}
	}
	if _, err := signers(t, me.line).Verify(iotest.ErrReader(os.ErrDeadlineExceeded), FeedNamespace, good, now); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func TestWhatIsNoSigner(t *testing.T) {
	me := edwards(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ssh.NewPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "# nobody", "me", "me " + string(ssh.MarshalAuthorizedKey(pub)), "me cert-authority " + me.line, `me valid-after="soon" ` + me.line,
		`me namespaces="[" ` + me.line, "me ssh-ed25519 AAAA", me.line + "\nme"} {
		if s, err := ReadSigners([]byte(text)); err == nil {
			t.Errorf("%q is taken: %v", text, s)
		}
	}
}

// touch packs a security key's signature by hand, with the flags.
func TestASecurityKeyMustBeTouched(t *testing.T) {
	me := edwards(t)
	good := me.signs(t, FeedNamespace, "text")
	var e envelope
	if err := ssh.Unmarshal(good[len(magic):], &e); err != nil {
		t.Fatal(err)
	}
	e.Signature = append(e.Signature, 1, 0, 0, 0, 1) // what only a security key's signature has behind it
	if _, err := signers(t, me.line).Verify(strings.NewReader("text"), FeedNamespace, append([]byte(magic), ssh.Marshal(e)...), now); refusal.CodeOf(err) != CodeSignature {
		t.Error(err)
	}
}

func TestWhatSSHKeygenSigns(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not installed: its own signatures are not tested here")
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	id, file := filepath.Join(dir, "id"), filepath.Join(dir, "f")
	run("-q", "-t", "ed25519", "-N", "", "-C", "me@example.org", "-f", id)
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	run("-q", "-Y", "sign", "-f", id, "-n", FeedNamespace, file)
	line, err := os.ReadFile(id + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	armoured, err := os.ReadFile(file + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	blob, err := Dearmour(armoured)
	if err != nil {
		t.Fatal(err)
	}
	who, err := signers(t, string(line)).Verify(strings.NewReader("text"), FeedNamespace, blob, now)
	if err != nil || who.Name != "me@example.org" {
		t.Error(who, err)
	}
	for _, bad := range []string{"", "x", string(armoured) + "x", strings.ReplaceAll(string(armoured), "SSH SIGNATURE", "PGP SIGNATURE")} {
		if _, err := Dearmour([]byte(bad)); refusal.CodeOf(err) != CodeSignature {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzSigners(f *testing.F) {
	f.Add("me ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJN0Q9jVYhqRtLYwYyUx1HwIhSVKCsLPQKWbyJrZwJcV c", []byte(magic+"\x00\x00\x00\x01"))
	f.Add(`"a b" namespaces="x",valid-after="20260101Z" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJN0Q9jVYhqRtLYwYyUx1HwIhSVKCsLPQKWbyJrZwJcV`, []byte{})
	f.Fuzz(func(t *testing.T, text string, blob []byte) {
		s, err := ReadSigners([]byte(text))
		if err != nil {
			return
		}
		if who, err := s.Verify(strings.NewReader("text"), FeedNamespace, blob, now); err == nil {
			t.Errorf("somebody's signature was guessed: %s", who)
		}
	})
}
