package approval

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"unicode/utf8"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// ES256 is the one WebAuthn algorithm: ECDSA on P-256 with SHA-256 (COSE -7).
const ES256 = "ES256"

// Limits of an assertion.
const (
	maxClient        = 2048 // browsers write 120 to 300 bytes
	maxAuthenticator = 1024 // 37 bytes are right; more is read only to say what is wrong with it
	sizeAssertion    = sha256.Size + 1 + 4
)

// checkWebAuthn follows https://www.w3.org/TR/webauthn-3/#sctn-verifying-assertion,
// stricter where the standard leaves a choice. The signature counter is not
// looked at: a synchronised key always says 0, and a statement is signed once.
func checkWebAuthn(c trust.Credential, s Statement, authenticator, client, signature []byte) error {
	if c.Algorithm != ES256 || c.RelyingParty == "" {
		return refusal.New("PW-APPROVAL-METHOD", "the roster pins %q for relying party %q", c.Algorithm, c.RelyingParty)
	}
	b, err := hex.DecodeString(c.Public)
	if err != nil {
		return refusal.New("PW-APPROVAL-METHOD", "the roster's key is not hexadecimal")
	}
	key, err := point(b)
	if err != nil {
		return err
	}
	if err := checkClient(c, s, client); err != nil {
		return err
	}
	if err := checkAuthenticator(c, authenticator); err != nil {
		return err
	}
	sum := sha256.Sum256(client)
	digest := sha256.Sum256(slices.Concat(authenticator, sum[:]))
	if !ecdsa.VerifyASN1(key, digest[:], signature) {
		return refusal.New("PW-APPROVAL-SIGNATURE", "%s by credential %s", c.Algorithm, c.ID.Short())
	}
	return nil
}

// checkClient judges clientDataJSON: what the browser saw.
func checkClient(c trust.Credential, s Statement, raw []byte) error {
	saw, ok := readClient(raw)
	challenge := base64.RawURLEncoding.EncodeToString(s.Digest().Bytes())
	switch {
	case !ok:
		return refusal.New("PW-APPROVAL-CLIENT-FORM", "%d bytes", len(raw))
	case saw.kind != "webauthn.get":
		return refusal.New("PW-APPROVAL-CLIENT-TYPE", "%q", saw.kind)
	case subtle.ConstantTimeCompare([]byte(saw.challenge), []byte(challenge)) != 1:
		return refusal.New("PW-APPROVAL-CHALLENGE", "%q", saw.challenge)
	case !slices.Contains(c.Origins, saw.origin):
		return refusal.New("PW-APPROVAL-ORIGIN", "%q, the roster allows %q", saw.origin, c.Origins)
	case saw.framed:
		return refusal.New("PW-APPROVAL-CROSSORIGIN", "in a frame of another origin")
	}
	return nil
}

// checkAuthenticator judges authenticatorData: what the authenticator saw. An
// assertion that was asked for nothing else has exactly 37 bytes.
func checkAuthenticator(c trust.Credential, raw []byte) error {
	if len(raw) < sizeAssertion {
		return refusal.New("PW-APPROVAL-AUTHENTICATOR", "%d bytes, %d are right", len(raw), sizeAssertion)
	}
	flags, party := raw[sha256.Size], sha256.Sum256([]byte(c.RelyingParty))
	switch {
	case flags&(flagAT|flagED) != 0:
		return refusal.New("PW-APPROVAL-AUTHENTICATOR", "flags %#02x announce data nobody asked for", flags)
	case len(raw) != sizeAssertion:
		return refusal.New("PW-APPROVAL-AUTHENTICATOR", "%d bytes, %d are right", len(raw), sizeAssertion)
	case !bytes.Equal(raw[:sha256.Size], party[:]):
		return refusal.New("PW-APPROVAL-RP", "not %q", c.RelyingParty)
	case flags&flagBS != 0 && flags&flagBE == 0:
		return refusal.New("PW-APPROVAL-BACKUP", "flags %#02x", flags)
	}
	return checkFlags(flags)
}

// clientData is clientDataJSON taken apart.
type clientData struct {
	kind, challenge, origin string
	framed                  bool // crossOrigin, or topOrigin in any form
}

// readClient reads clientDataJSON as browsers write it: one object without
// white space around it, any order, keys it does not know allowed (the standard
// tells browsers to add some), no key twice.
func readClient(raw []byte) (c clientData, ok bool) {
	if !utf8.Valid(raw) || !json.Valid(raw) || raw[0] != '{' || raw[len(raw)-1] != '}' {
		return c, false
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	_, _ = d.Token() // the brace: raw is valid JSON, as looked at above
	seen := map[string]bool{}
	for d.More() {
		key, _ := d.Token()
		name, _ := key.(string)
		var value json.RawMessage
		if d.Decode(&value) != nil || seen[name] || !c.set(name, value) {
			return c, false
		}
		seen[name] = true
	}
	return c, seen["type"] && seen["challenge"] && seen["origin"]
}

// set stores one member; false when a known one has the wrong type.
func (c *clientData) set(name string, value json.RawMessage) bool {
	word := map[string]*string{"type": &c.kind, "challenge": &c.challenge, "origin": &c.origin}[name]
	switch {
	case word != nil:
		return value[0] == '"' && json.Unmarshal(value, word) == nil
	case name == "crossOrigin":
		c.framed = c.framed || string(value) == "true"
		return string(value) == "true" || string(value) == "false"
	case name == "topOrigin":
		c.framed = true
	}
	return true
}
