package wire

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// Refusals of this room; refusal/catalogue.txt says what each means.
const (
	CodeToken  refusal.Code = "PW-WIRE-TOKEN"  // not an enrolment token
	CodeEnrol  refusal.Code = "PW-WIRE-ENROL"  // an enrolment that contradicts itself
	CodePass   refusal.Code = "PW-WIRE-PASS"   // no pass for this wire key
	CodeServer refusal.Code = "PW-WIRE-SERVER" // not the server that the token names
	CodeDown   refusal.Code = "PW-WIRE-DOWN"   // the control plane does not answer
	CodeMany   refusal.Code = "PW-WIRE-MANY"   // one agent asks too much at once
)

// SecretBytes is the length of a token's secret.
const SecretBytes = 32

// tokenPrefix is the form of a token, with its version.
const tokenPrefix = "pwt1"

// maxToken bounds the text of a token; one has 113 characters.
const maxToken = 200

// Token lets one host enrol once: a secret, and which server to say it to. It
// never carries the digest of the trust root.
type Token struct {
	Secret []byte
	Server canon.Digest // SHA-256 of the public key in the server's TLS certificate (SubjectPublicKeyInfo)
}

// String is the token as people carry it: "pwt1.<secret>.<server>".
func (t Token) String() string {
	return strings.Join([]string{tokenPrefix, base64.RawURLEncoding.EncodeToString(t.Secret), string(t.Server)}, ".")
}

// ParseToken reads a token.
func ParseToken(text string) (Token, error) {
	if len(text) > maxToken {
		return Token{}, refusal.New(CodeToken, "%d characters", len(text))
	}
	f := strings.Split(text, ".")
	if len(f) != 3 || f[0] != tokenPrefix {
		return Token{}, refusal.New(CodeToken, "it begins with %s. and has three parts", tokenPrefix)
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(f[1])
	t := Token{Secret: secret, Server: canon.Digest(f[2])}
	if err != nil || len(secret) != SecretBytes || !t.Server.Valid() {
		return Token{}, refusal.New(CodeToken, "a part of it is damaged")
	}
	return t, nil
}

// TypeEnrolment is the type and digest domain of an Enrolment.
const TypeEnrolment = "patchwrit/enrolment/v1"

// Enrolment asks to be served: the host key vouches for the wire key.
type Enrolment struct {
	Type      string     `json:"type"`
	Secret    string     `json:"secret"`    // the token's, standard base64
	Public    string     `json:"public"`    // host key, Ed25519, lower hex
	Wire      string     `json:"wire"`      // public nkey of the messenger
	Name      canon.Note `json:"name"`      // what the host calls itself
	Signature string     `json:"signature"` // by the host key over the 32 bytes of Digest, lower hex
}

// Digest is what the host key signs: all of it but the signature, so that nobody
// enrols another wire key with the same secret in this host's name.
func (e Enrolment) Digest() canon.Digest {
	e.Signature = ""
	return canon.Sum(TypeEnrolment, canon.MustEncode(e))
}

// Host is the fingerprint of the host key; Check says whether it is one.
func (e Enrolment) Host() trust.HostID {
	key, _ := hex.DecodeString(e.Public)
	return trust.HostOf(key)
}

// Check says why an enrolment contradicts itself, or nil, and gives the secret.
func (e Enrolment) Check() (secret []byte, err error) {
	secret, err = base64.StdEncoding.Strict().DecodeString(e.Secret)
	if err != nil || len(secret) != SecretBytes || e.Type != TypeEnrolment {
		return nil, refusal.New(CodeEnrol, "type %q, secret of %d bytes", e.Type, len(secret))
	}
	if !canon.Hex(e.Public, ed25519.PublicKeySize) || !canon.Hex(e.Signature, ed25519.SignatureSize) {
		return nil, refusal.New(CodeEnrol, "host key or signature have the wrong form")
	}
	key, _ := hex.DecodeString(e.Public)
	sig, _ := hex.DecodeString(e.Signature)
	if !ed25519.Verify(key, e.Digest().Bytes(), sig) {
		return nil, refusal.New(CodeEnrol, "the host key's signature does not verify")
	}
	return secret, nil
}

// TypePass is the type and digest domain of a PassRequest.
const TypePass = "patchwrit/pass/v1"

// PassSkew is how far, in seconds, the time in a PassRequest may lie from the
// server's: with a wrong clock an agent still connects.
const PassSkew = 24 * 3600

// PassRequest asks for a short-lived JWT. Replayed it gives a JWT that is of no
// use without the wire key.
type PassRequest struct {
	Type      string       `json:"type"`
	Wire      string       `json:"wire"`
	Server    canon.Digest `json:"server"`
	At        int64        `json:"at"`
	Signature string       `json:"signature"` // by the wire key over the 32 bytes of Digest, standard base64
}

// Digest is what the wire key signs.
func (p PassRequest) Digest() canon.Digest {
	p.Signature = ""
	return canon.Sum(TypePass, canon.MustEncode(p))
}

// PassAnswer carries the JWT.
type PassAnswer struct {
	JWT string `json:"jwt"`
}

// No is a refusal on its way to an agent.
type No struct {
	Code   string     `json:"code"` // refusal code, or "" for a failure of the machine
	Detail canon.Note `json:"detail"`
}

// Marks of an answer on the bus: its first byte.
const (
	MarkYes = '+' // then the answer
	MarkNo  = '-' // then a No
)

// Err is the refusal that a No carries.
func (n No) Err() error {
	if n.Code == "" {
		return refusal.New(CodeDown, "%s", n.Detail.Text())
	}
	return refusal.New(refusal.Code(n.Code), "%s", n.Detail.Text())
}

// Subjects on the bus.
const (
	HostSubject  = "host."
	WakeSubject  = "wake."
	InboxSubject = "_INBOX_"
)

// Paths on the server.
const (
	PathEnrol = "/enroll"
	PathPass  = "/pass"
	PathWire  = "/wire"
)
