package provenance

import (
	"bytes"
	"crypto"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

func TestASoundReleaseIsRead(t *testing.T) {
	v := newVendor(t)
	f := v.fixture(t)
	raw := f.inRelease(t)
	r, err := ReadRelease(raw, f.origin, f.keyring, f.floor, f.now)
	if err != nil {
		t.Fatal(err)
	}
	if r.Origin() != "debian-security" || r.Digest() != canon.SumFile(raw) || r.Date() != made.Unix() || r.ValidUntil() != made.Add(7*24*time.Hour).Unix() {
		t.Errorf("origin %s, digest %s, date %d, until %d", r.Origin(), r.Digest(), r.Date(), r.ValidUntil())
	}
	if s := r.Signers(); len(s) != 1 || s[0].Key != fmt.Sprintf("%x", v.ed.PrimaryKey.Fingerprint) || s[0].Made != made.Unix() {
		t.Errorf("signers %v", s)
	}
	if len(r.Refused()) != 0 {
		t.Errorf("refused %v", r.Refused())
	}
	var paths []string
	for _, p := range r.Packages() {
		paths = append(paths, p.Path)
		if p.Size != int64(len(f.files[p.Path])) || p.Digest != canon.SumFile(f.files[p.Path]) {
			t.Errorf("%+v", p)
		}
	}
	if got, want := strings.Join(paths, " "), "main/binary-amd64/Packages main/binary-amd64/Packages.gz main/binary-amd64/Packages.xz main/binary-amd64/Packages.zst main/binary-arm64/Packages"; got != want {
		t.Errorf("packages %s", got)
	}
}

// TestRefusals breaks one thing at a time; the unbroken twin must pass.
func TestRefusals(t *testing.T) {
	v := newVendor(t)
	_, err := v.fixture(t).read(t)
	if err != nil {
		t.Fatal("control: ", err)
	}
	replace := func(old, new string) func(*fixture) {
		return func(f *fixture) {
			f.raw = func(b []byte) []byte {
				if !bytes.Contains(b, []byte(old)) {
					t.Fatalf("the fixture has no %q", old)
				}
				return bytes.Replace(b, []byte(old), []byte(new), 1)
			}
		}
	}
	set := func(name, value string) func(*fixture) { return func(f *fixture) { f.set(name, value) } }
	drop := func(name string) func(*fixture) { return func(f *fixture) { f.drop(name) } }
	file := func(line string) func(*fixture) { return func(f *fixture) { f.extra = append(f.extra, line) } }
	tail := func(text string) func(*fixture) { return func(f *fixture) { f.tail = text } }
	digest := string(canon.SumFile(nil))
	for _, c := range []struct {
		name   string
		code   refusal.Code
		broken func(*fixture)
	}{
		{"too large", codeLimit, func(f *fixture) { f.raw = func(b []byte) []byte { return append(b, make([]byte, MaxRelease)...) } }},
		{"empty", codeForm, func(f *fixture) { f.raw = func([]byte) []byte { return nil } }},
		{"unsigned", codeForm, func(f *fixture) { f.raw = func([]byte) []byte { return []byte(f.text()) } }},
		{"text before the block", codeForm, func(f *fixture) { f.raw = func(b []byte) []byte { return append([]byte("Origin: Evil\n"), b...) } }},
		{"an empty line before the block", codeForm, func(f *fixture) { f.raw = func(b []byte) []byte { return append([]byte("\n"), b...) } }},
		{"text behind the block", codeForm, func(f *fixture) { f.raw = func(b []byte) []byte { return append(b, "Origin: Evil\n"...) } }},
		{"a word behind the block", codeForm, func(f *fixture) { f.raw = func(b []byte) []byte { return append(bytes.TrimSpace(b), "x\n"...) } }},
		{"the block twice", codeForm, func(f *fixture) { f.raw = func(b []byte) []byte { return append(b, b...) } }},
		{"another block behind it", codeForm, func(f *fixture) {
			f.raw = func(b []byte) []byte { return append(b, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n"...) }
		}},
		{"a boundary inside the text", codeForm, set("Description", "-----BEGIN PGP SIGNATURE-----")},
		{"carriage returns", codeForm, func(f *fixture) {
			f.raw = func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }
		}},
		{"a NUL", codeForm, replace("Vorw", "\x00orw")},
		{"a header line other than Hash", codeForm, replace("Hash: SHA512", "Comment: hello")},
		{"broken armour", codeForm, replace("-----BEGIN PGP SIGNATURE-----\n\n", "-----BEGIN PGP SIGNATURE-----\n\n*****")},
		{"half a signature packet", codeForm, func(f *fixture) { f.sigs = func(s [][]byte) []byte { return s[0][:len(s[0])-1] } }},
		{"a few bytes behind a signature packet", codeForm, func(f *fixture) { f.sigs = func(s [][]byte) []byte { return append(s[0], 1, 2, 3) } }},
		{"two bytes behind a signature packet", codeForm, func(f *fixture) { f.sigs = func(s [][]byte) []byte { return append(s[0], 0xc2, 200) } }},
		{"another packet among the signatures", codeForm, func(f *fixture) {
			f.sigs = func(s [][]byte) []byte { return append(append([]byte{0xc0 | 13, 8}, "someuser"...), s[0]...) }
		}},
		{"a signature of indefinite length", codeForm, func(f *fixture) { f.sigs = func(s [][]byte) []byte { return append([]byte{0x8b}, s[0][2:]...) } }},
		{"a signature in parts", codeForm, func(f *fixture) { f.sigs = func(s [][]byte) []byte { return append([]byte{0xc2, 0xe5}, s[0][2:]...) } }},
		{"too many signatures", codeLimit, func(f *fixture) { f.sigs = func(s [][]byte) []byte { return bytes.Repeat(s[0], MaxSigs+1) } }},

		{"no signature at all", codeSigners, func(f *fixture) { f.signers = nil }},
		{"a flipped byte", codeSigBad, replace("Components: main", "Components: mein")},
		{"another text under the signature", codeSigBad, replace(string(canon.SumFile([]byte(stanzas))), digest)},
		{"a forged signature", codeSigBad, func(f *fixture) { f.sigs = func(s [][]byte) []byte { s[0][len(s[0])-1] ^= 1; return s[0] } }},
		{"a key outside the keyring", codeSigUnknown, func(f *fixture) { f.signers = []signer{by(v.stranger)} }},
		{"an empty keyring", codeKeyring, func(f *fixture) { f.keyring = nil }},
		{"a keyring of something else", codeKeyring, func(f *fixture) { f.keyring = []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n") }},
		{"a huge keyring", codeLimit, func(f *fixture) { f.keyring = bytes.Repeat(f.keyring, MaxKeyring/len(f.keyring)+1) }},
		{"too few signers", codeSigners, func(f *fixture) { f.origin.Signers = 2 }},
		{"no signers wanted", codeSigners, func(f *fixture) { f.origin.Signers = 0 }},
		{"one key twice", codeSigners, func(f *fixture) { f.origin.Signers = 2; f.signers = []signer{by(v.ed), by(v.ed)} }},
		{"a key and its subkey", codeSigners, func(f *fixture) { f.origin.Signers = 2; f.signers = []signer{by(v.sub), bySubkey(v.sub)} }},
		{"one key twice in the keyring", codeSigners, func(f *fixture) {
			f.origin.Signers = 2
			f.signers = []signer{by(v.ed), by(v.ed)}
			f.keyring = keyring(t, v.ed, v.ed)
		}},
		{"one good signature and one bad of two wanted", codeSigBad, func(f *fixture) {
			f.origin.Signers = 2
			f.signers = []signer{by(v.ed), by(v.second)}
			f.sigs = func(s [][]byte) []byte { s[1][len(s[1])-1] ^= 1; return append(s[0], s[1]...) }
		}},
		{"two signatures, refused for two reasons", codeSigners, func(f *fixture) {
			f.signers = []signer{by(v.stranger), {key: v.ed.PrivateKey, hash: crypto.SHA1}}
		}},

		{"SHA-1", codeSigHash, func(f *fixture) { f.signers[0].hash = crypto.SHA1 }},
		{"SHA-224", codeSigHash, func(f *fixture) { f.sigs = func(s [][]byte) []byte { s[0][2+3] = 11; return s[0] } }},
		{"MD5", codeSigHash, func(f *fixture) { f.sigs = func(s [][]byte) []byte { s[0][2+3] = 1; return s[0] } }},
		{"an unknown hash", codeSigVersion, func(f *fixture) { f.sigs = func(s [][]byte) []byte { s[0][2+3] = 99; return s[0] } }},
		{"an unknown algorithm", codeSigVersion, func(f *fixture) { f.sigs = func(s [][]byte) []byte { s[0][2+2] = 99; return s[0] } }},
		{"a version 3 signature", codeSigVersion, func(f *fixture) { f.sigs = func(s [][]byte) []byte { s[0][2] = 3; return s[0] } }},
		{"a signature over something else", codeSigVersion, func(f *fixture) { f.sigs = func(s [][]byte) []byte { s[0][2+1] = 0x13; return s[0] } }},
		{"a signature that names no key", codeSigVersion, func(f *fixture) { f.sigs = func([][]byte) []byte { return anonymous } }},
		{"an empty signature packet", codeSigVersion, func(f *fixture) { f.sigs = func([][]byte) []byte { return []byte{0xc2, 5, 4, 1, 22, 10, 0} } }},
		{"a signature packet of one byte", codeSigVersion, func(f *fixture) { f.sigs = func(s [][]byte) []byte { return append([]byte{0xc2, 1, 4}, anonymous...) } }},
		{"a signature cut short inside its packet", codeSigVersion, func(f *fixture) {
			f.sigs = func(s [][]byte) []byte { s[0][1] -= 10; return s[0][:len(s[0])-10] }
		}},
		{"a version 6 signature", codeSigVersion, func(f *fixture) {
			c := config(keyBorn)
			c.V6Keys, c.Algorithm = true, packet.PubKeyAlgoEd25519
			e := newKeyBy(t, "Version 6", c)
			f.keyring, f.signers = keyring(t, e), []signer{by(e)}
		}},
		{"an expired signature", codeSigTime, func(f *fixture) { f.signers[0].life = 3600 }},
		{"a signature from the future", codeSigTime, func(f *fixture) { f.signers[0].at = now.Add(MaxAhead + time.Second) }},

		{"another Origin", codeOrigin, set("Origin", "Ubuntu")},
		{"no Origin", codeOrigin, drop("Origin")},
		{"another Label", codeLabel, set("Label", "Debian")},
		{"another Codename", codeCodename, set("Codename", "bookworm")},
		{"another Suite", codeSuite, set("Suite", "testing-security")},
		{"no Suite", codeSuite, drop("Suite")},
		{"an almost right Suite", codeSuite, set("Suite", "oldstable-security oldstable-security")},
		{"no suites allowed", codeSuite, func(f *fixture) { f.origin.Suites = nil }},
		{"no Date", codeDate, drop("Date")},
		{"a Date without a zone", codeDate, set("Date", "Sat, 21 Nov 2026 00:53:02")},
		{"a Date in another zone", codeDate, set("Date", "Sat, 21 Nov 2026 00:53:02 -0800")},
		{"a Date before dates", codeDate, set("Date", "Wed, 31 Dec 1969 23:59:59 UTC")},
		{"an older release than seen", codeBack, func(f *fixture) { f.floor++ }},
		{"a release from the future", codeAhead, set("Date", "Mon, 23 Nov 2026 12:00:01 UTC")},
		{"an expired release", codeExpired, set("Valid-Until", "Sun, 22 Nov 2026 12:00:00 UTC")},
		{"an unreadable Valid-Until", codeDate, set("Valid-Until", "never")},

		{"a field twice", codeField, tail("Suite: stable-security\n")},
		{"a field twice in another case", codeField, tail("SUITE: stable-security\n")},
		{"the files twice", codeField, tail("SHA256:\n " + digest + " 1 a\n")},
		{"a second paragraph", codeField, tail("\nOrigin: Evil\n")},
		{"a second paragraph behind white space", codeField, tail(" \t\nOther: x\n")},
		{"a line that is no field", codeField, tail("just words\n")},
		{"a field without a name", codeField, tail(": x\n")},
		{"a comment", codeField, tail("#Other: x\n")},
		{"a list item", codeField, tail("-Other: x\n")},
		{"a name with a space", codeField, tail("Oth er: x\n")},
		{"a continuation of nothing", codeField, func(f *fixture) { f.fields = append([][2]string{{" Acquire-By-Hash", "yes"}}, f.fields...) }},
		{"other bytes than UTF-8", codeField, set("Description", "\xff\xfe")},

		{"no files", codeFiles, func(f *fixture) { f.files = nil }},
		{"files on the first line", codeFiles, func(f *fixture) {
			f.files = nil
			f.tail = ""
			f.fields = append(f.fields, [2]string{"SHA256", digest + " 1 a"})
			f.raw = dropEmptySHA256(t, f, v)
		}},
		{"files on the first line and on others", codeFiles, func(f *fixture) {
			f.files, f.fields = nil, append(f.fields, [2]string{"SHA256", digest + " 1 a\n " + digest + " 2 b"})
			f.raw = dropEmptySHA256(t, f, v)
		}},
		{"a file twice", codeFiles, file(digest + " 0 main/binary-arm64/Packages")},
		{"a short digest", codeFiles, file(digest[1:] + " 1 a")},
		{"an upper-case digest", codeFiles, file(strings.ToUpper(digest) + " 1 a")},
		{"a negative size", codeFiles, file(digest + " -1 a")},
		{"a size with a leading zero", codeFiles, file(digest + " 01 a")},
		{"an absurd size", codeFiles, file(digest + " 99999999999999 a")},
		{"two words", codeFiles, file(digest + " 1")},
		{"four words", codeFiles, file(digest + " 1 a b")},
		{"an absolute path", codeFiles, file(digest + " 1 /etc/passwd")},
		{"a climbing path", codeFiles, file(digest + " 1 ../../etc/passwd")},
		{"a path of nothing", codeFiles, file(digest + " 1 ..")},
		{"a hidden climb", codeFiles, file(digest + " 1 main/../../x")},
		{"a path with two spellings", codeFiles, file(digest + " 1 main//x")},
		{"a backslash", codeFiles, file(digest + ` 1 main\x`)},
		{"a path outside ASCII", codeFiles, file(digest + " 1 main/ü")},
		{"a long path", codeFiles, file(digest + " 1 " + strings.Repeat("x", 1025))},
		{"too many files", codeLimit, func(f *fixture) {
			for i := range MaxFiles {
				f.extra = append(f.extra, fmt.Sprintf("%s 1 x/%d", digest, i))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := v.fixture(t)
			c.broken(f)
			r, err := f.read(t)
			wantCode(t, err, c.code)
			if r != (Release{}) {
				t.Error("a refused release answers")
			}
		})
	}
}

// dropEmptySHA256 signs the text without the fixture's own empty SHA256 line.
func dropEmptySHA256(t *testing.T, f *fixture, v vendor) func([]byte) []byte {
	return func([]byte) []byte {
		text := strings.TrimSuffix(f.text(), "\nSHA256:")
		return clearText(t, text, by(v.ed).sign(t, text))
	}
}

// anonymous is a well-formed version 4 EdDSA signature packet without an issuer.
var anonymous = func() []byte {
	body := []byte{4, 1, 22, 10, 0, 6, 5, 2, 0x65, 0, 0, 0, 0, 0, 0xab, 0xcd, 0, 8, 0xff, 0, 8, 0xff}
	return append([]byte{0xc2, byte(len(body))}, body...)
}()

// TestKeysThatMustNotCount needs keys of its own.
func TestKeysThatMustNotCount(t *testing.T) {
	v := newVendor(t)
	sound := newKey(t, "Sound", 0)
	control := func(e *openpgp.Entity, s signer) error {
		f := v.fixture(t)
		f.keyring, f.signers = keyring(t, e), []signer{s}
		_, err := f.read(t)
		return err
	}
	if err := control(sound, by(sound)); err != nil {
		t.Fatal("control: ", err)
	}
	sub := withSubkey(t, newKey(t, "Subkey", 0))
	if err := control(sub, bySubkey(sub)); err != nil {
		t.Fatal("control with a subkey: ", err)
	}
	revoke := func(e *openpgp.Entity) *openpgp.Entity {
		if err := e.RevokeKey(packet.KeyCompromised, "stolen", config(made)); err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, c := range []struct {
		name string
		code refusal.Code
		make func() (*openpgp.Entity, signer)
	}{
		{"an expired key", codeSigExpired, func() (*openpgp.Entity, signer) {
			e := newKey(t, "Expired", 24*time.Hour)
			return e, by(e)
		}},
		{"an expired subkey", codeSigExpired, func() (*openpgp.Entity, signer) {
			e, c := newKey(t, "Expired subkey", 0), config(keyBorn)
			c.KeyLifetimeSecs = 3600
			if err := e.AddSigningSubkey(c); err != nil {
				t.Fatal(err)
			}
			return e, bySubkey(e)
		}},
		{"a sound subkey of an expired key", codeSigExpired, func() (*openpgp.Entity, signer) {
			e := withSubkey(t, newKey(t, "Expired primary", 24*time.Hour))
			return e, bySubkey(e)
		}},
		{"a key born tomorrow", codeSigExpired, func() (*openpgp.Entity, signer) {
			e := newKeyBy(t, "Unborn", config(now.Add(time.Hour)))
			return e, signer{key: e.PrivateKey}
		}},
		{"a revoked key", codeSigRevoked, func() (*openpgp.Entity, signer) {
			e := newKey(t, "Revoked", 0)
			return revoke(e), by(e)
		}},
		{"a subkey of a revoked key", codeSigRevoked, func() (*openpgp.Entity, signer) {
			e := withSubkey(t, newKey(t, "Revoked primary", 0))
			return revoke(e), bySubkey(e)
		}},
		{"a revoked subkey", codeSigRevoked, func() (*openpgp.Entity, signer) {
			e := withSubkey(t, newKey(t, "Revoked subkey", 0))
			if err := e.RevokeSubkey(&e.Subkeys[0], packet.KeySuperseded, "old", config(made)); err != nil {
				t.Fatal(err)
			}
			return e, bySubkey(e)
		}},
		{"a revoked identity", codeSigRevoked, func() (*openpgp.Entity, signer) {
			e := newKey(t, "Revoked identity", 0)
			for name, id := range e.Identities {
				r := *id.SelfSignature
				r.SigType, r.CreationTime = packet.SigTypeCertificationRevocation, made
				if err := r.SignUserId(name, e.PrimaryKey, e.PrivateKey, config(made)); err != nil {
					t.Fatal(err)
				}
				id.Signatures = append(id.Signatures, &r)
			}
			return e, by(e)
		}},
		{"a short RSA key", codeSigKey, func() (*openpgp.Entity, signer) {
			e := newKeyBy(t, "Short", &packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024, MinRSABits: 1024, Time: config(keyBorn).Time})
			return e, by(e)
		}},
		{"an unusual curve", codeSigKey, func() (*openpgp.Entity, signer) {
			e := newKeyBy(t, "Koblitz", &packet.Config{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveSecP256k1, Time: config(keyBorn).Time})
			return e, by(e)
		}},
		{"a key bound by SHA-1", codeSigHash, func() (*openpgp.Entity, signer) {
			e := newKey(t, "Old binding", 0)
			for name, id := range e.Identities {
				id.SelfSignature.Hash = crypto.SHA1
				if err := id.SelfSignature.SignUserId(name, e.PrimaryKey, e.PrivateKey, config(keyBorn)); err != nil {
					t.Fatal(err)
				}
			}
			return e, by(e)
		}},
		{"a key that is not for signing", codeSigUnknown, func() (*openpgp.Entity, signer) {
			e := newKey(t, "Certifies only", 0)
			for name, id := range e.Identities {
				id.SelfSignature.FlagSign = false
				if err := id.SelfSignature.SignUserId(name, e.PrimaryKey, e.PrivateKey, config(keyBorn)); err != nil {
					t.Fatal(err)
				}
			}
			return e, by(e)
		}},
		{"a binding with an unknown critical notation", codeSigBad, func() (*openpgp.Entity, signer) {
			e := newKey(t, "Critical", 0)
			for name, id := range e.Identities {
				id.SelfSignature.Notations = []*packet.Notation{{Name: "x@example.org", Value: []byte("y"), IsCritical: true, IsHumanReadable: true}}
				if err := id.SelfSignature.SignUserId(name, e.PrimaryKey, e.PrivateKey, config(keyBorn)); err != nil {
					t.Fatal(err)
				}
			}
			return e, by(e)
		}},
	} {
		t.Run(c.name, func(t *testing.T) { wantCode(t, control(c.make()), c.code) })
	}
}

func TestSignersAreCountedByPrimaryKey(t *testing.T) {
	v := newVendor(t)
	rsa := newKeyBy(t, "RSA", &packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048, Time: config(keyBorn).Time})
	p256 := newKeyBy(t, "P-256", &packet.Config{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256, Time: config(keyBorn).Time})
	f := v.fixture(t)
	f.keyring = keyring(t, v.ed, v.second, v.sub, rsa, p256)
	f.signers = []signer{bySubkey(v.sub), by(v.stranger), by(v.ed), by(v.sub), by(rsa), {key: p256.PrivateKey, binary: true}, by(v.ed)}
	f.origin.Signers = 4
	r := f.mustRead(t)
	if len(r.Signers()) != 4 || len(r.Refused()) != 1 || refusal.CodeOf(r.Refused()[0]) != codeSigUnknown {
		t.Errorf("signers %v, refused %v", r.Signers(), r.Refused())
	}
	for i, s := range r.Signers()[1:] {
		if s.Key <= r.Signers()[i].Key {
			t.Error("signers not ascending")
		}
	}
	f.origin.Signers = 5
	_, err := f.read(t)
	wantCode(t, err, codeSigUnknown)
}

func TestTheDecidingIdentityIsNoMatterOfChance(t *testing.T) {
	v := newVendor(t)
	yes := true
	e := newKey(t, "A", 0)
	for _, name := range []string{"B", "C"} {
		if err := e.AddUserId(name, "", "", config(keyBorn)); err != nil {
			t.Fatal(err)
		}
	}
	// C lets the key expire, and only the name decides between A, B and C.
	life := uint32(3600)
	for name, id := range e.Identities {
		id.SelfSignature.IsPrimaryId = nil
		if strings.HasPrefix(name, "C") {
			id.SelfSignature.KeyLifetimeSecs = &life
		}
		if err := id.SelfSignature.SignUserId(name, e.PrimaryKey, e.PrivateKey, config(keyBorn)); err != nil {
			t.Fatal(err)
		}
	}
	f := v.fixture(t)
	f.signers = []signer{by(e)}
	for range 30 {
		f.keyring = keyring(t, e)
		if _, err := f.read(t); err != nil {
			t.Fatal(err)
		}
	}
	for name, id := range e.Identities {
		if strings.HasPrefix(name, "C") {
			id.SelfSignature.IsPrimaryId = &yes
			if err := id.SelfSignature.SignUserId(name, e.PrimaryKey, e.PrivateKey, config(keyBorn)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 30 {
		f.keyring = keyring(t, e)
		_, err := f.read(t)
		wantCode(t, err, codeSigExpired)
	}
}

func TestTimesAtTheirLimits(t *testing.T) {
	v := newVendor(t)
	for _, c := range []struct {
		name  string
		date  string
		until string
		floor int64
	}{
		{"apt-ftparchive's dates", "Sat, 21 Nov 2026 00:53:02 +0000", "Sat, 28 Nov 2026 00:53:02 +0000", 0},
		{"a day without a leading zero", "Sun, 1 Nov 2026 00:00:00 UTC", "", 0},
		{"dated as the floor", "Sat, 21 Nov 2026 00:53:02 UTC", "", made.Unix()},
		{"dated a day ahead", "Mon, 23 Nov 2026 12:00:00 UTC", "", 0},
		{"valid for a second yet", "Sat, 21 Nov 2026 00:53:02 UTC", "Sun, 22 Nov 2026 12:00:01 UTC", 0},
	} {
		f := v.fixture(t)
		f.floor = c.floor
		f.set("Date", c.date)
		f.set("Valid-Until", c.until)
		if c.until == "" {
			f.drop("Valid-Until")
		}
		r, err := f.read(t)
		if err != nil || (c.until == "") != (r.ValidUntil() == 0) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	f := v.fixture(t)
	f.signers[0].at = now.Add(MaxAhead)
	if _, err := f.read(t); err != nil {
		t.Errorf("signed a day ahead: %v", err)
	}
}

// TestNoByteChangesWhatIsRead flips bytes of an InRelease, with PATCHWRIT_E2E=1
// every one: whatever is still accepted must say exactly the same.
func TestNoByteChangesWhatIsRead(t *testing.T) {
	f := newVendor(t).fixture(t)
	raw, want := f.inRelease(t), f.mustRead(t)
	step, accepted := 17, 0
	if os.Getenv("PATCHWRIT_E2E") == "1" {
		step = 1
	}
	for i := 0; i < len(raw); i += step {
		for _, mask := range []byte{0x01, 0x20, 0x80} {
			b := bytes.Clone(raw)
			b[i] ^= mask
			r, err := ReadRelease(b, f.origin, f.keyring, f.floor, f.now)
			if err != nil {
				if refusal.CodeOf(err) == "" {
					t.Fatalf("byte %d: an error without a code: %v", i, err)
				}
				continue
			}
			accepted++
			if !same(r, want) {
				t.Fatalf("byte %d ^ %#x is accepted and reads otherwise:\n%s", i, mask, b)
			}
		}
	}
	t.Logf("%d changed files of %d read the same as before (armour checksum, case of the Hash header's name)", accepted, 3*len(raw)/step)
}

// same reports whether two releases say the same, their bytes' digest aside.
func same(a, b Release) bool {
	said := func(r Release) string {
		return fmt.Sprint(r.Origin(), r.Date(), r.ValidUntil(), r.Signers(), r.Refused(), r.Packages())
	}
	return said(a) == said(b)
}

func TestReadReleaseIsAFunction(t *testing.T) {
	v := newVendor(t)
	rapid.Check(t, func(rt *rapid.T) {
		f := v.fixture(t)
		f.floor = rapid.Int64Range(made.Unix()-2, made.Unix()+2).Draw(rt, "floor")
		f.now = made.Add(time.Duration(rapid.Int64Range(-2*86400, 9*86400).Draw(rt, "now")) * time.Second)
		f.origin.Signers = rapid.IntRange(0, 3).Draw(rt, "signers")
		f.signers = rapid.SliceOfN(rapid.SampledFrom([]signer{by(v.ed), by(v.second), by(v.sub), bySubkey(v.sub), by(v.stranger)}), 1, 4).Draw(rt, "by")
		distinct := map[string]bool{}
		for _, s := range f.signers {
			switch s.key {
			case v.ed.PrivateKey:
				distinct["ed"] = true
			case v.second.PrivateKey:
				distinct["second"] = true
			case v.sub.PrivateKey, v.sub.Subkeys[0].PrivateKey:
				distinct["sub"] = true
			}
		}
		raw := f.inRelease(t)
		r1, err1 := ReadRelease(raw, f.origin, f.keyring, f.floor, f.now)
		r2, err2 := ReadRelease(raw, f.origin, f.keyring, f.floor, f.now)
		if fmt.Sprint(err1) != fmt.Sprint(err2) || (err1 == nil && !same(r1, r2)) {
			rt.Fatalf("two answers: %v, %v", err1, err2)
		}
		early := f.now.Before(made.Add(-MaxAhead)) // then also the signature is from the future
		should := f.origin.Signers > 0 && len(distinct) >= f.origin.Signers && f.floor <= made.Unix() && !early &&
			f.now.Before(made.Add(7*24*time.Hour))
		if should != (err1 == nil) {
			rt.Fatalf("signers %d of %d, floor %+d, now %s: %v", len(distinct), f.origin.Signers, f.floor-made.Unix(), f.now.Sub(made), err1)
		}
	})
}

func TestZeroValuesAnswerNothing(t *testing.T) {
	var r Release
	if r.Origin() != "" || r.Digest() != "" || r.Date() != 0 || r.ValidUntil() != 0 || len(r.Signers())+len(r.Refused())+len(r.Packages()) != 0 {
		t.Error("the zero Release answers")
	}
	_, err := r.ReadPackages("main/binary-amd64/Packages", strings.NewReader(stanzas))
	wantCode(t, err, codeZero)
	var x Index
	if x.Len() != 0 {
		t.Error("the zero Index has entries")
	}
	for range x.All() {
		t.Error("the zero Index yields")
	}
	for range x.Named("") {
		t.Error("the zero Index yields")
	}
	_, err = x.Find("openssl", "amd64", "1")
	wantCode(t, err, codeZero)
	wantCode(t, x.Agrees(x), codeZero)
	var e Entry
	if e.Package()+e.Version()+e.Arch()+e.Section()+e.Filename()+string(e.Artefact())+string(e.Origin()) != "" || e.Size() != 0 || e.Essential() {
		t.Error("the zero Entry answers")
	}
	wantCode(t, e.Check(strings.NewReader("")), codeZero)
	if _, err := canon.Encode(e.Chain()); err != nil {
		t.Error(err)
	}
}
