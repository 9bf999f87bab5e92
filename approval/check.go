package approval

import (
	"encoding/base64"
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// Flags of a FIDO authenticator, the same in WebAuthn's authenticatorData
// (https://www.w3.org/TR/webauthn-3/#authdata-flags) and in OpenSSH's sk-
// signatures (openssh/PROTOCOL.u2f).
const (
	flagUP = 0x01 // the person touched it
	flagUV = 0x04 // it verified who the person is: PIN or biometric
	flagBE = 0x08 // the key may be synchronised to other devices
	flagBS = 0x10 // the key is synchronised
	flagAT = 0x40 // attested credential data follows
	flagED = 0x80 // extensions follow
)

// maxSignature bounds Approval.Signature: the largest SSHSIG blob of an
// accepted key type has about 400 bytes.
const maxSignature = 1024

// Check answers who made a over s, and with which of their credentials, when
// every check passes: form, kind, statement digest, person, credential, not
// revoked, and the signature as Verify judges it. Each failing check has its
// own refusal. Whether the statement still lives is not judged here.
func Check(root trust.Root, s Statement, a Approval) (trust.Person, trust.Credential, error) {
	p, c, err := find(root, s, a)
	if err == nil {
		err = Verify(c, s, a)
	}
	if err != nil {
		return trust.Person{}, trust.Credential{}, err
	}
	return p, c, nil
}

// find holds the approval's own words against the statement and the roster.
func find(root trust.Root, s Statement, a Approval) (p trust.Person, c trust.Credential, err error) {
	if !root.Loaded() {
		return p, c, refusal.New("PW-APPROVAL-ROOT", "the root names nobody")
	}
	if a.Type != TypeApproval || a.At < 0 || a.At > canon.MaxInt {
		return p, c, refusal.New("PW-APPROVAL-FORM", "type %q at %d", a.Type, a.At)
	}
	if !slices.Contains(Kinds, s.Kind) || a.Kind != s.Kind {
		return p, c, refusal.New("PW-APPROVAL-KIND", "it says %q, wanted is %q", a.Kind, s.Kind)
	}
	if len(s.Bytes) == 0 || a.Statement != s.Digest() {
		return p, c, refusal.New("PW-APPROVAL-STATEMENT", "it names %q, wanted is %s", a.Statement.Short(), s.Digest().Short())
	}
	p, known := root.Person(a.Person)
	if !known {
		return p, c, refusal.New("PW-APPROVAL-PERSON", "%q", a.Person)
	}
	i := slices.IndexFunc(p.Credentials, func(c trust.Credential) bool { return c.ID == a.Credential })
	if i < 0 {
		return p, c, refusal.New("PW-APPROVAL-CREDENTIAL", "%q is not a credential of %s", a.Credential.Short(), p.ID)
	}
	if c = p.Credentials[i]; c.Revoked {
		return p, c, refusal.New("PW-APPROVAL-REVOKED", "%s of %s", c.ID.Short(), p.ID)
	}
	return p, c, nil
}

// Verify says why a's signature was not made by c over s, or nil. It judges the
// signature alone and asks no roster: who decides asks Check or Tally; this is
// for whoever makes a signature or enrols a credential.
func Verify(c trust.Credential, s Statement, a Approval) error {
	signature, err := unpack(a.Signature, maxSignature)
	if err != nil {
		return err
	}
	switch c.Method {
	case trust.SSH:
		if a.Authenticator != "" || a.Client != "" {
			return refusal.New("PW-APPROVAL-FORM", "an SSH signature with WebAuthn fields")
		}
		return checkSSH(c, s, signature)
	case trust.WebAuthn:
		authenticator, err := unpack(a.Authenticator, maxAuthenticator)
		if err != nil {
			return err
		}
		client, err := unpack(a.Client, maxClient)
		if err != nil {
			return err
		}
		return checkWebAuthn(c, s, authenticator, client, signature)
	}
	return refusal.New("PW-APPROVAL-METHOD", "method %q", c.Method)
}

// unpack decodes base64 that has exactly one spelling: padded, no white space,
// no loose bits, 1 to limit bytes.
func unpack(text string, limit int) ([]byte, error) {
	if text == "" || len(text) > base64.StdEncoding.EncodedLen(limit) {
		return nil, refusal.New("PW-APPROVAL-FORM", "a signature field of %d characters, 1 to %d are right", len(text), base64.StdEncoding.EncodedLen(limit))
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || base64.StdEncoding.EncodeToString(b) != text {
		return nil, refusal.New("PW-APPROVAL-FORM", "a signature field is not strict base64")
	}
	return b, nil
}

// checkFlags wants the person's touch and the authenticator's word that it was
// them.
func checkFlags(flags byte) error {
	switch {
	case flags&flagUP == 0:
		return refusal.New("PW-APPROVAL-PRESENCE", "flags %#02x", flags)
	case flags&flagUV == 0:
		return refusal.New("PW-APPROVAL-VERIFICATION", "flags %#02x", flags)
	}
	return nil
}
