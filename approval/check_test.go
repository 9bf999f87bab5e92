package approval_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/refusal/explain"
	"github.com/patchwrit/patchwrit/trust"
)

// refuses wants exactly one code.
func refuses(t *testing.T, err error, want refusal.Code) {
	t.Helper()
	if got := refusal.CodeOf(err); got != want {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
	if explain.Of(want).Title == "refused" {
		t.Errorf("%s is not in the catalogue", want)
	}
}

func TestEveryKeyAndKindIsAccepted(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(shown.keys)) {
		k := shown.keys[name]
		for _, kind := range approval.Kinds {
			p, c, err := approval.Check(shown.Root, say(kind), k.sign(say(kind)))
			if err != nil || p.ID != k.person || c.ID != k.credential.ID {
				t.Errorf("%s, %s: %v, %v, %v", name, kind, p.ID, c.ID.Short(), err)
			}
		}
	}
}

// TestHarmlessDifferences are the positive controls of checks that could be too
// strict: what browsers and authenticators rightly vary.
func TestHarmlessDifferences(t *testing.T) {
	pass, sk := shown.keys["passkey"], shown.keys["sk-ed25519"]
	for name, a := range map[string]approval.Approval{
		"second origin":       pass.sign(say("approve"), client(page, "http://localhost:9000")),
		"no crossOrigin":      pass.sign(say("approve"), client(`,"crossOrigin":false`, "")),
		"unknown keys":        pass.sign(say("approve"), client(`{"type"`, `{"other_keys_can_be_added_here":{"a":[1,{"type":"x"}]},"type"`)),
		"other order":         pass.sign(say("approve"), client(`{"type":"webauthn.get",`, `{`), client(`"crossOrigin":false}`, `"crossOrigin":false,"type":"webauthn.get"}`)),
		"synchronised key":    pass.sign(say("approve"), flags(0x1d)),
		"may be synchronised": pass.sign(say("approve"), flags(0x0d)),
		"counter":             pass.sign(say("approve"), func(p *parts) { binary.BigEndian.PutUint32(p.authenticator[33:], 1<<31) }),
		"escaped slash":       pass.sign(say("approve"), client("http://", `http:\/\/`)),
		"sha256":              shown.keys["ed25519"].sign(say("approve"), func(p *parts) { p.hash = "sha256" }),
		"sk counter 0":        sk.sign(say("approve"), func(p *parts) { p.counter = 0 }),
	} {
		if _, _, err := approval.Check(shown.Root, say("approve"), a); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func client(old, with string) func(*parts) {
	return func(p *parts) {
		if !strings.Contains(p.client, old) {
			panic(old + " is not in " + p.client)
		}
		p.client = strings.Replace(p.client, old, with, 1)
	}
}

func flags(f byte) func(*parts) {
	return func(p *parts) {
		p.flags = f
		if p.authenticator != nil {
			p.authenticator[32] = f
		}
	}
}

// TestRefusalMatrix breaks exactly one thing and wants exactly that code. The
// unbroken twin of each case is looked at first.
func TestRefusalMatrix(t *testing.T) {
	type approvalOf = approval.Approval
	otherKey := newSSH("other", approval.Ed25519, "")
	public, _ := base64.StdEncoding.DecodeString(otherKey.credential.Public)
	for _, c := range []struct {
		name string
		code refusal.Code
		key  string
		bend func(*parts)             // before signing
		edit func(*approval.Approval) // after signing
	}{
		{"type", "PW-APPROVAL-FORM", "passkey", nil, func(a *approvalOf) { a.Type = "patchwrit/approval/v2" }},
		{"before 1970", "PW-APPROVAL-FORM", "passkey", nil, func(a *approvalOf) { a.At = -1 }},
		{"beyond 2^53", "PW-APPROVAL-FORM", "passkey", nil, func(a *approvalOf) { a.At = 1 << 53 }},
		{"no signature", "PW-APPROVAL-FORM", "ed25519", nil, func(a *approvalOf) { a.Signature = "" }},
		{"base64 with a line end", "PW-APPROVAL-FORM", "ed25519", nil, func(a *approvalOf) { a.Signature = a.Signature[:8] + "\n" + a.Signature[8:] }},
		{"base64 of URLs", "PW-APPROVAL-FORM", "passkey", nil, func(a *approvalOf) { a.Client = strings.TrimRight(a.Client, "=") + "_-==" }},
		{"base64 with loose bits", "PW-APPROVAL-FORM", "passkey", func(p *parts) { p.client += "" }, func(a *approvalOf) { a.Authenticator = loosen(a.Authenticator) }},
		{"a long signature", "PW-APPROVAL-FORM", "ed25519", func(p *parts) { p.tail = make([]byte, 1024) }, nil},
		{"long client data", "PW-APPROVAL-FORM", "passkey", client(`{"type"`, `{"x":"`+strings.Repeat("x", 2048)+`","type"`), nil},
		{"no client data", "PW-APPROVAL-FORM", "passkey", nil, func(a *approvalOf) { a.Client = "" }},
		{"no authenticator data", "PW-APPROVAL-FORM", "passkey", nil, func(a *approvalOf) { a.Authenticator = "" }},
		{"SSH with client data", "PW-APPROVAL-FORM", "ed25519", nil, func(a *approvalOf) { a.Client = "e30=" }},
		{"SSH with authenticator data", "PW-APPROVAL-FORM", "ed25519", nil, func(a *approvalOf) { a.Authenticator = "e30=" }},

		{"another kind", "PW-APPROVAL-KIND", "ed25519", nil, func(a *approvalOf) { a.Kind = approval.Deny }},
		{"another statement", "PW-APPROVAL-STATEMENT", "ed25519", nil, func(a *approvalOf) { a.Statement = say("deny").Digest() }},
		{"nobody", "PW-APPROVAL-PERSON", "ed25519", nil, func(a *approvalOf) { a.Person = "p-999" }},
		{"no name", "PW-APPROVAL-PERSON", "ed25519", nil, func(a *approvalOf) { a.Person = "" }},
		{"somebody else's key", "PW-APPROVAL-CREDENTIAL", "ed25519", nil, func(a *approvalOf) { a.Person = shown.People[1].ID }},
		{"unknown key", "PW-APPROVAL-CREDENTIAL", "ed25519", nil, func(a *approvalOf) { a.Credential = otherKey.credential.ID }},
		{"another key of the same person", "PW-APPROVAL-SSH-KEY", "ed25519", nil, func(a *approvalOf) { a.Credential = shown.keys["sk-ed25519"].credential.ID }},
		{"revoked", "PW-APPROVAL-REVOKED", "revoked", nil, nil},

		{"magic", "PW-APPROVAL-SSH-FORM", "ed25519", func(p *parts) { p.magic = "SSHSIh" }, nil},
		{"version", "PW-APPROVAL-SSH-FORM", "ed25519", func(p *parts) { p.version = 2 }, nil},
		{"reserved", "PW-APPROVAL-SSH-FORM", "ed25519", func(p *parts) { p.reserved = "x" }, nil},
		{"bytes behind", "PW-APPROVAL-SSH-FORM", "ed25519", func(p *parts) { p.tail = []byte{0} }, nil},
		{"bytes behind the signature", "PW-APPROVAL-SSH-FORM", "ed25519", func(p *parts) { p.inner = []byte{0} }, nil},
		{"bytes behind a security key's", "PW-APPROVAL-SSH-FORM", "sk-ecdsa", func(p *parts) { p.inner = []byte{0} }, nil},
		{"cut", "PW-APPROVAL-SSH-FORM", "ed25519", nil, func(a *approvalOf) { a.Signature = a.Signature[:80] }},
		{"key inside", "PW-APPROVAL-SSH-KEY", "ed25519", func(p *parts) { p.public = public }, nil},
		{"namespace of a no", "PW-APPROVAL-SSH-NAMESPACE", "ed25519", func(p *parts) { p.namespace = approval.Deny.Namespace() }, nil},
		{"namespace of git", "PW-APPROVAL-SSH-NAMESPACE", "sk-ed25519", func(p *parts) { p.namespace = "git" }, nil},
		{"hash", "PW-APPROVAL-SSH-HASH", "ed25519", func(p *parts) { p.hash = "sha384" }, nil},
		{"algorithm", "PW-APPROVAL-SSH-ALGORITHM", "ecdsa", func(p *parts) { p.algorithm = "ecdsa-sha2-nistp384" }, nil},
		{"webauthn inside ssh", "PW-APPROVAL-SSH-FORM", "sk-ecdsa", func(p *parts) { p.algorithm = "webauthn-" + approval.SKECDSA }, nil},
		{"nobody touched", "PW-APPROVAL-PRESENCE", "sk-ed25519", flags(0x04), nil},
		{"nobody was verified", "PW-APPROVAL-VERIFICATION", "sk-ed25519", flags(0x01), nil},
		{"ecdsa: nobody touched", "PW-APPROVAL-PRESENCE", "sk-ecdsa", flags(0x04), nil},
		{"ecdsa: nobody was verified", "PW-APPROVAL-VERIFICATION", "sk-ecdsa", flags(0x01), nil},
		{"signed for another application", "PW-APPROVAL-SIGNATURE", "sk-ed25519", func(p *parts) { p.app = "ssh:other" }, nil},
		{"another signature", "PW-APPROVAL-SIGNATURE", "ed25519", func(p *parts) { p.blob = func([]byte) []byte { return make([]byte, 64) } }, nil},
		{"a short signature", "PW-APPROVAL-SIGNATURE", "ed25519", func(p *parts) { p.blob = func(b []byte) []byte { return b[:63] } }, nil},
		{"padded r", "PW-APPROVAL-SIGNATURE", "ecdsa", func(p *parts) { p.blob = padR }, nil},
		{"negative s", "PW-APPROVAL-SIGNATURE", "ecdsa", func(p *parts) { p.blob = negativeS }, nil},
		{"bytes behind s", "PW-APPROVAL-SIGNATURE", "ecdsa", func(p *parts) { p.blob = func(b []byte) []byte { return append(b, 0) } }, nil},

		{"no JSON", "PW-APPROVAL-CLIENT-FORM", "passkey", client(`}`, ``), nil},
		{"an array", "PW-APPROVAL-CLIENT-FORM", "passkey", func(p *parts) { p.client = "[" + p.client + "]" }, nil},
		{"white space before", "PW-APPROVAL-CLIENT-FORM", "passkey", client(`{`, ` {`), nil},
		{"a second object", "PW-APPROVAL-CLIENT-FORM", "passkey", func(p *parts) { p.client += "{}" }, nil},
		{"type twice", "PW-APPROVAL-CLIENT-FORM", "passkey", client(`{`, `{"type":"webauthn.get",`), nil},
		{"type twice, escaped", "PW-APPROVAL-CLIENT-FORM", "passkey", client(`{`, `{"typ\u0065":"webauthn.get",`), nil},
		{"unknown key twice", "PW-APPROVAL-CLIENT-FORM", "passkey", client(`{`, `{"x":1,"x":1,`), nil},
		{"no origin", "PW-APPROVAL-CLIENT-FORM", "passkey", client(`"origin"`, `"Origin"`), nil},
		{"origin is a list", "PW-APPROVAL-CLIENT-FORM", "passkey", client(`"`+page+`"`, `["`+page+`"]`), nil},
		{"origin is null", "PW-APPROVAL-CLIENT-FORM", "passkey", client(`"`+page+`"`, `null`), nil},
		{"crossOrigin is null", "PW-APPROVAL-CLIENT-FORM", "passkey", client(`:false`, `:null`), nil},
		{"not UTF-8", "PW-APPROVAL-CLIENT-FORM", "passkey", client(`{`, "{\"x\":\"\xff\","), nil},
		{"a registration", "PW-APPROVAL-CLIENT-TYPE", "passkey", client("webauthn.get", "webauthn.create"), nil},
		{"a payment", "PW-APPROVAL-CLIENT-TYPE", "passkey", client("webauthn.get", "payment.get"), nil},
		{"another challenge", "PW-APPROVAL-CHALLENGE", "passkey", client(`"challenge":"`, `"challenge":"A`), nil},
		{"a padded challenge", "PW-APPROVAL-CHALLENGE", "passkey", client(`","origin"`, `=","origin"`), nil},
		{"the challenge of a no", "PW-APPROVAL-CHALLENGE", "passkey", client(challenge(say("approve")), challenge(say("deny"))), nil},
		{"another port", "PW-APPROVAL-ORIGIN", "passkey", client(page, "http://localhost:8445"), nil},
		{"another scheme", "PW-APPROVAL-ORIGIN", "passkey", client(page, "https://localhost:8444"), nil},
		{"origin with a slash", "PW-APPROVAL-ORIGIN", "passkey", client(page, page+"/"), nil},
		{"origin in capitals", "PW-APPROVAL-ORIGIN", "passkey", client(page, "http://LOCALHOST:8444"), nil},
		{"a longer origin", "PW-APPROVAL-ORIGIN", "passkey", client(page, page+".evil.example"), nil},
		{"in a frame", "PW-APPROVAL-CROSSORIGIN", "passkey", client(`:false`, `:true`), nil},
		{"top origin", "PW-APPROVAL-CROSSORIGIN", "passkey", client(`}`, `,"topOrigin":"`+page+`"}`), nil},
		{"authenticator: short", "PW-APPROVAL-AUTHENTICATOR", "passkey", func(p *parts) { p.authenticator = p.authenticator[:36] }, nil},
		{"authenticator: long", "PW-APPROVAL-AUTHENTICATOR", "passkey", func(p *parts) { p.authenticator = append(p.authenticator, 0) }, nil},
		{"attested data announced", "PW-APPROVAL-AUTHENTICATOR", "passkey", flags(0x45), nil},
		{"extensions announced", "PW-APPROVAL-AUTHENTICATOR", "passkey", flags(0x85), nil},
		{"extensions there", "PW-APPROVAL-AUTHENTICATOR", "passkey", func(p *parts) { p.authenticator[32] = 0x85; p.authenticator = append(p.authenticator, 0xa0) }, nil},
		{"another party", "PW-APPROVAL-RP", "passkey", func(p *parts) { p.authenticator[0] ^= 1 }, nil},
		{"synchronised, yet cannot be", "PW-APPROVAL-BACKUP", "passkey", flags(0x15), nil},
		{"passkey: nobody touched", "PW-APPROVAL-PRESENCE", "passkey", flags(0x04), nil},
		{"passkey: nobody was verified", "PW-APPROVAL-VERIFICATION", "passkey", flags(0x01), nil},
		{"passkey: another signature", "PW-APPROVAL-SIGNATURE", "passkey", func(p *parts) { p.der = func(b []byte) []byte { b[len(b)-1] ^= 1; return b } }, nil},
		{"DER with bytes behind", "PW-APPROVAL-SIGNATURE", "passkey", func(p *parts) { p.der = func(b []byte) []byte { return append(b, 0) } }, nil},
		{"BER length", "PW-APPROVAL-SIGNATURE", "passkey", func(p *parts) { p.der = ber }, nil},
		{"client data written anew", "PW-APPROVAL-SIGNATURE", "passkey", nil, rewrite},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, k := say("approve"), shown.keys[c.key]
			if c.key == "revoked" {
				k = shown.revoked
				k.credential = shown.revoked.credential
			} else if _, _, err := approval.Check(shown.Root, s, k.sign(s)); err != nil {
				t.Fatalf("the unbroken twin: %v", err)
			}
			bend := []func(*parts){}
			if c.bend != nil {
				bend = append(bend, c.bend)
			}
			a := k.sign(s, bend...)
			if c.edit != nil {
				c.edit(&a)
			}
			p, cr, err := approval.Check(shown.Root, s, a)
			refuses(t, err, c.code)
			if p.ID != "" || cr.ID != "" {
				t.Errorf("a refusal that names %s and %s", p.ID, cr.ID)
			}
		})
	}
}

func challenge(s approval.Statement) string {
	return base64.RawURLEncoding.EncodeToString(s.Digest().Bytes())
}

// loosen sets a bit that padding leaves unused: the same bytes, spelt otherwise.
func loosen(text string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	i := len(strings.TrimRight(text, "=")) - 1
	if i == len(text)-1 {
		panic("nothing is padded in " + text)
	}
	return text[:i] + string(digits[strings.IndexByte(digits, text[i])|1]) + text[i+1:]
}

type pair struct{ R, S *big.Int }

func unpair(b []byte) (p pair) {
	if err := ssh.Unmarshal(b, &p); err != nil {
		panic(err)
	}
	return p
}

// padR writes r with a zero byte too many.
func padR(b []byte) []byte {
	p := unpair(b)
	r := append([]byte{0, 0}, p.R.Bytes()...)
	return ssh.Marshal(struct {
		R []byte
		S *big.Int
	}{r, p.S})
}

func negativeS(b []byte) []byte {
	p := unpair(b)
	return ssh.Marshal(pair{p.R, new(big.Int).Neg(p.S)})
}

// ber writes the outer length of a DER signature in two bytes.
func ber(b []byte) []byte { return slices.Concat([]byte{b[0], 0x81}, b[1:]) }

// rewrite changes client data in a way no reader of JSON would notice.
func rewrite(a *approval.Approval) {
	b, _ := base64.StdEncoding.DecodeString(a.Client)
	a.Client = base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(b), `,"origin"`, `, "origin"`, 1)))
}

// TestRosterMatrix bends what the roster pins. trust.Load refuses most of this
// too; the host's last check does not rest on that.
func TestRosterMatrix(t *testing.T) {
	rsa := ssh.Marshal(struct{ A, B, C string }{"ssh-rsa", "\x01\x00\x01", strings.Repeat("\x01", 256)})
	off := point(newEC())
	off[64] ^= 1
	for _, c := range []struct {
		name string
		code refusal.Code
		key  string
		edit func(*trust.Credential)
	}{
		{"method", "PW-APPROVAL-METHOD", "ed25519", func(c *trust.Credential) { c.Method = "password" }},
		{"no method", "PW-APPROVAL-METHOD", "ed25519", func(c *trust.Credential) { c.Method = "" }},
		{"algorithm", "PW-APPROVAL-METHOD", "ed25519", func(c *trust.Credential) { c.Algorithm = approval.ECDSA }},
		{"rsa", "PW-APPROVAL-METHOD", "ed25519", func(c *trust.Credential) {
			c.Algorithm, c.Public = "ssh-rsa", base64.StdEncoding.EncodeToString(rsa)
		}},
		{"key not base64", "PW-APPROVAL-METHOD", "ed25519", func(c *trust.Credential) { c.Public += "!" }},
		{"key with bytes behind", "PW-APPROVAL-METHOD", "ed25519", func(c *trust.Credential) {
			b, _ := base64.StdEncoding.DecodeString(c.Public)
			c.Public = base64.StdEncoding.EncodeToString(append(b, 0))
		}},
		{"short key", "PW-APPROVAL-METHOD", "ed25519", func(c *trust.Credential) {
			c.Public = base64.StdEncoding.EncodeToString(ssh.Marshal(struct{ A, B string }{approval.Ed25519, strings.Repeat("k", 31)}))
		}},
		{"another curve", "PW-APPROVAL-METHOD", "ecdsa", func(c *trust.Credential) {
			c.Public = base64.StdEncoding.EncodeToString(ssh.Marshal(struct{ A, B, C string }{approval.ECDSA, "nistp384", string(point(newEC()))}))
		}},
		{"point off the curve", "PW-APPROVAL-METHOD", "ecdsa", func(c *trust.Credential) {
			c.Public = base64.StdEncoding.EncodeToString(ssh.Marshal(struct{ A, B, C string }{approval.ECDSA, "nistp256", string(off)}))
		}},
		{"another application", "PW-APPROVAL-APPLICATION", "sk-ed25519", func(c *trust.Credential) { c.Application = "ssh:other" }},
		{"no application", "PW-APPROVAL-APPLICATION", "sk-ecdsa", func(c *trust.Credential) { c.Application = "" }},
		{"application of a plain key", "PW-APPROVAL-APPLICATION", "ed25519", func(c *trust.Credential) { c.Application = "ssh:" }},
		{"passkey: algorithm", "PW-APPROVAL-METHOD", "passkey", func(c *trust.Credential) { c.Algorithm = "RS256" }},
		{"passkey: no party", "PW-APPROVAL-METHOD", "passkey", func(c *trust.Credential) { c.RelyingParty = "" }},
		{"passkey: another party", "PW-APPROVAL-RP", "passkey", func(c *trust.Credential) { c.RelyingParty = "login.example" }},
		{"passkey: no origin", "PW-APPROVAL-ORIGIN", "passkey", func(c *trust.Credential) { c.Origins = nil }},
		{"passkey: off the curve", "PW-APPROVAL-METHOD", "passkey", func(c *trust.Credential) { c.Public = c.Public[:128] + "00" }},
		{"passkey: compressed", "PW-APPROVAL-METHOD", "passkey", func(c *trust.Credential) { c.Public = "02" + c.Public[2:66] }},
		{"passkey: not hexadecimal", "PW-APPROVAL-METHOD", "passkey", func(c *trust.Credential) { c.Public += "zz" }},
		{"another key", "PW-APPROVAL-SIGNATURE", "passkey", func(c *trust.Credential) { c.Public = newPasskey("", "localhost").credential.Public }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, k := say("approve"), shown.keys[c.key]
			a, cr := k.sign(s), k.credential
			must(t, approval.Verify(cr, s, a))
			cr.Origins = slices.Clone(cr.Origins)
			c.edit(&cr)
			refuses(t, approval.Verify(cr, s, a), c.code)
		})
	}
}

func TestNobodyCountsWithoutARoot(t *testing.T) {
	s := say("approve")
	a := shown.keys["ed25519"].sign(s)
	copied := trust.Root{People: shown.Root.People, Quorums: shown.Root.Quorums} // all but Load's word
	for _, root := range []trust.Root{{}, copied} {
		_, _, err := approval.Check(root, s, a)
		refuses(t, err, "PW-APPROVAL-ROOT")
	}
}

// TestAYesIsNothingElse: what was signed as one kind passes as no other, even
// when the approval's own words are changed to match.
func TestAYesIsNothingElse(t *testing.T) {
	for _, k := range shown.keys {
		for _, signed := range approval.Kinds {
			a := k.sign(say(signed))
			for _, asked := range append(slices.Clone(approval.Kinds), "register", "login", "") {
				if asked == signed {
					continue
				}
				a.Kind, a.Statement = asked, say(asked).Digest()
				if _, _, err := approval.Check(shown.Root, say(asked), a); err == nil {
					t.Errorf("%s: a %s passes for a %s", k.name, signed, asked)
				}
			}
		}
	}
}

func TestUnknownKindsAreNeverAsked(t *testing.T) {
	for _, kind := range []approval.Kind{"", "register", "approve/v1\x00"} {
		s := approval.Statement{Kind: kind, Bytes: []byte("{}")}
		_, _, err := approval.Check(shown.Root, s, shown.keys["ed25519"].sign(s))
		refuses(t, err, "PW-APPROVAL-KIND")
	}
	empty := approval.Statement{Kind: approval.Approve}
	_, _, err := approval.Check(shown.Root, empty, shown.keys["ed25519"].sign(empty))
	refuses(t, err, "PW-APPROVAL-STATEMENT")
}

// TestEveryFlippedBitIsFound flips each bit of an approval's encoding, and of
// the statement, in turn. Only At may change: it is not signed and informs only.
func TestEveryFlippedBitIsFound(t *testing.T) {
	s := say("approve")
	for name, k := range shown.keys {
		a := k.sign(s)
		raw, flipped := canon.MustEncode(a), 0
		for i := range len(raw) * 8 {
			b := slices.Clone(raw)
			b[i/8] ^= 1 << (i % 8)
			var got approval.Approval
			if canon.Decode(b, &got) != nil {
				continue
			}
			flipped++
			if got.At != a.At {
				continue
			}
			if _, _, err := approval.Check(shown.Root, s, got); err == nil {
				t.Fatalf("%s: bit %d of byte %d of the approval is not missed: %s", name, i%8, i/8, b)
			}
		}
		if flipped < 500 {
			t.Errorf("%s: only %d flips reached Check", name, flipped)
		}
		for i := range len(s.Bytes) * 8 {
			b := slices.Clone(s.Bytes)
			b[i/8] ^= 1 << (i % 8)
			other := approval.Statement{Kind: s.Kind, Bytes: b}
			if _, _, err := approval.Check(shown.Root, other, a); err == nil {
				t.Fatalf("%s: statement bit %d is not missed", name, i)
			}
			forged := a
			forged.Statement = other.Digest() // the approval's words may be changed by anyone
			if _, _, err := approval.Check(shown.Root, other, forged); err == nil {
				t.Fatalf("%s: statement bit %d, digest adjusted, is not missed", name, i)
			}
		}
	}
}

// TestAgreesWithXCrypto compares our reading of OpenSSH's signatures with
// golang.org/x/crypto/ssh, which checks the touch and not the verification.
func TestAgreesWithXCrypto(t *testing.T) {
	for _, name := range []string{"ed25519", "ecdsa", "sk-ed25519", "sk-ecdsa"} {
		k := shown.keys[name]
		public, _ := base64.StdEncoding.DecodeString(k.credential.Public)
		theirs, err := ssh.ParsePublicKey(public)
		must(t, err)
		message := []byte("the same message for both")
		for n := range 40 {
			s := approval.Statement{Kind: approval.Approve, Bytes: append(message, byte(n))}
			raw, _ := base64.StdEncoding.DecodeString(k.sign(s, func(p *parts) { p.hash = "sha256" }).Signature)
			var w struct {
				Version                                uint32
				Public, Namespace, Reserved, Hash, Sig string
			}
			must(t, ssh.Unmarshal(raw[6:], &w))
			var sig ssh.Signature
			must(t, ssh.Unmarshal([]byte(w.Sig), &sig))
			must(t, theirs.Verify(signedBytes(s), &sig))
			must(t, approval.Verify(k.credential, s, k.sign(s)))
		}
	}
}

// signedBytes is what OpenSSH signs for s with hash sha256.
func signedBytes(s approval.Statement) []byte {
	sum := sha256.Sum256(s.Bytes)
	return append([]byte("SSHSIG"), ssh.Marshal(struct{ A, B, C, D string }{s.Kind.Namespace(), "", "sha256", string(sum[:])})...)
}

func TestDigestsAndNamespaces(t *testing.T) {
	// From the shell: printf 'patchwrit/approve/v1\0{}' | sha256sum, and so on.
	for kind, want := range map[approval.Kind]string{
		approval.Approve: "9dfeda7dc5a3e5ef2cf062974f1e6f170c271178c00f327e646007c71c896ddf",
		approval.Deny:    "ac9598c3a55dcf5aa5533f05aeaee6f55ee90e7e7eb556b2954be5b666bbc3c4",
		approval.Allow:   "6dfb8f0121d7696f61da15d44e3ca17191ded9230f5a3fc76c4b6cf408e8e460",
		approval.Revoke:  "8f7e8213eaca9a122ee2521061d51d09eb1c7fc97a668736bda38506b24bed77",
		approval.Stop:    "e8b401e81823248b8145807e78bdfaba929bc707b6576eac944ef61be51ff7cf",
		approval.Lift:    "af93db5225c01ef593127334bdeed64a308c720adf5d0788710cadfed56ae2a7",
	} {
		s := approval.Statement{Kind: kind, Bytes: []byte("{}")}
		if string(s.Digest()) != want {
			t.Errorf("%s: %s", kind, s.Digest())
		}
	}
	if approval.Approve.Namespace() != "patchwrit-approve@v1" || approval.Stop.Domain() != "patchwrit/halt/v1" {
		t.Error("namespace or domain changed")
	}
}
