package debworld

import (
	"bytes"
	"crypto"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// A text with everything canonicalisation can get wrong.
const signedText = "Origin: Test\nDescription: blanks at the end \t \n- dash\n--- dashes\n\nLast: line\n"

func testKey(t testing.TB, c KeyConfig) *Key {
	t.Helper()
	if c.Name == "" {
		c.Name, c.Email = "Test Archive", "archive@example.invalid"
	}
	if c.Created.IsZero() {
		c.Created = time.Now().Add(-365 * 24 * time.Hour)
	}
	k, err := NewKey(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// gpgv returns the status lines of gpgv over a clearsigned text, and whether it
// was satisfied.
func gpgv(t *testing.T, signed []byte, keys ...*Key) (string, bool) {
	t.Helper()
	Need(t, need(false, "gpgv"))
	ring, err := Keyring(keys...)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "ring.gpg"), string(ring))
	put(t, filepath.Join(dir, "InRelease"), string(signed))
	cmd := exec.Command("gpgv", "--homedir", dir, "--weak-digest", "SHA1", "--status-fd", "1",
		"--keyring", filepath.Join(dir, "ring.gpg"), "--output", filepath.Join(dir, "out"), filepath.Join(dir, "InRelease"))
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var status, chatter bytes.Buffer
	cmd.Stdout, cmd.Stderr = &status, &chatter
	err = cmd.Run()
	if status.Len() == 0 {
		t.Fatalf("gpgv said nothing: %v %s", err, chatter.String())
	}
	return status.String(), err == nil
}

func TestGpgvVerifiesEverySignatureOfOneArmour(t *testing.T) {
	now := time.Now()
	rsa, ed, sub := testKey(t, KeyConfig{RSA: true}), testKey(t, KeyConfig{}), testKey(t, KeyConfig{RSA: true, Subkey: true})
	signed, err := Clearsign(signedText, now, Signer{Key: rsa}, Signer{Key: ed, Hash: crypto.SHA256}, Signer{Key: sub})
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(signed, []byte("-----BEGIN PGP SIGNATURE-----")); n != 1 {
		t.Errorf("%d armours, Debian has one", n)
	}
	status, good := gpgv(t, signed, rsa, ed, sub)
	for _, k := range []*Key{rsa, ed, sub} {
		if !strings.Contains(status, "VALIDSIG "+k.SigningFingerprint()) {
			t.Errorf("gpgv does not see the signature of %s:\n%s", k.SigningFingerprint(), status)
		}
	}
	if !good || !strings.Contains(status, " "+sub.Fingerprint()+"\n") || sub.Fingerprint() == sub.SigningFingerprint() {
		t.Errorf("good %v; the subkey's signature does not name its primary key:\n%s", good, status)
	}
	// One key missing from the ring: the others still count, this one is unknown.
	if status, _ := gpgv(t, signed, rsa, sub); strings.Count(status, "VALIDSIG") != 2 || !strings.Contains(status, "NO_PUBKEY") {
		t.Errorf("without one key:\n%s", status)
	}
}

func TestGoReadsWhatWeSign(t *testing.T) {
	a, b := testKey(t, KeyConfig{}), testKey(t, KeyConfig{RSA: true})
	signed, err := Clearsign(signedText, time.Now(), Signer{Key: a}, Signer{Key: b})
	if err != nil {
		t.Fatal(err)
	}
	block, rest := clearsign.Decode(signed)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		t.Fatalf("not one clearsigned block: rest %q", rest)
	}
	want := strings.TrimSuffix(strings.Replace(signedText, "end \t \n", "end\n", 1), "\n") // what a signature covers
	if got := string(block.Plaintext); got != want {
		t.Errorf("the text came back as %q, want %q", got, want)
	}
	packets, err := io.ReadAll(block.ArmoredSignature.Body)
	if err != nil {
		t.Fatal(err)
	}
	// Each packet alone verifies with its own key, over the canonical bytes.
	seen := 0
	for in := packet.NewReader(bytes.NewReader(packets)); ; seen++ {
		p, err := in.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		var one bytes.Buffer
		if err := p.(*packet.Signature).Serialize(&one); err != nil {
			t.Fatal(err)
		}
		key := []*Key{a, b}[seen]
		if _, err := openpgp.CheckDetachedSignature(openpgp.EntityList{key.entity}, bytes.NewReader(block.Bytes), &one, nil); err != nil {
			t.Errorf("signature %d: %v", seen, err)
		}
	}
	if seen != 2 {
		t.Errorf("%d signature packets, want 2", seen)
	}
}

func TestGpgvRefusesWhatItShould(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	good := testKey(t, KeyConfig{RSA: true})
	expired := testKey(t, KeyConfig{Created: now.Add(-30 * day), Life: 10 * day})
	for name, c := range map[string]struct {
		signer Signer
		ring   *Key
		harm   func([]byte) []byte
		want   string
	}{
		"a changed text": {Signer{Key: good}, good, func(b []byte) []byte { return bytes.Replace(b, []byte("Test"), []byte("Evil"), 1) }, "BADSIG"},
		"another key":    {Signer{Key: testKey(t, KeyConfig{})}, good, nil, "NO_PUBKEY"},
		"an expired key": {Signer{Key: expired}, expired, nil, "EXPKEYSIG"},
		"SHA-1":          {Signer{Key: good, Hash: crypto.SHA1}, good, nil, "ERRSIG"},
	} {
		t.Run(name, func(t *testing.T) {
			signed, err := Clearsign(signedText, now, c.signer)
			if err != nil {
				t.Fatal(err)
			}
			if c.harm != nil {
				signed = c.harm(signed)
			}
			status, satisfied := gpgv(t, signed, c.ring)
			if !strings.Contains(status, c.want) || strings.Contains(status, "GOODSIG") {
				t.Errorf("want %s, gpgv (satisfied: %v) says:\n%s", c.want, satisfied, status)
			}
		})
	}
	// The twin of all of them.
	signed, err := Clearsign(signedText, now, Signer{Key: good})
	if err != nil {
		t.Fatal(err)
	}
	if status, satisfied := gpgv(t, signed, good); !satisfied {
		t.Errorf("the honest twin is refused:\n%s", status)
	}
}

func TestNobodySignsNothing(t *testing.T) {
	if _, err := Clearsign(signedText, time.Now()); err == nil {
		t.Error("a text without signers was signed")
	}
	if _, err := Clearsign(signedText, time.Now(), Signer{Key: testKey(t, KeyConfig{}), Hash: crypto.BLAKE2b_256}); err == nil {
		t.Error("signed with a hash that OpenPGP does not have")
	}
}
