package approval

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"math/big"
	"strings"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

const (
	codeSSHForm      refusal.Code = "PW-APPROVAL-SSH-FORM"
	codeSSHKey       refusal.Code = "PW-APPROVAL-SSH-KEY"
	codeSSHNamespace refusal.Code = "PW-APPROVAL-SSH-NAMESPACE"
	codeSSHHash      refusal.Code = "PW-APPROVAL-SSH-HASH"
	codeSSHAlgorithm refusal.Code = "PW-APPROVAL-SSH-ALGORITHM"
	codeApplication  refusal.Code = "PW-APPROVAL-APPLICATION"
)

// The SSH key types that may sign, by their names in OpenSSH. RSA is not among
// them: its keys vary in strength and its signatures in hash.
const (
	Ed25519   = "ssh-ed25519"
	ECDSA     = "ecdsa-sha2-nistp256"
	SKEd25519 = "sk-ssh-ed25519@openssh.com"         // FIDO security key
	SKECDSA   = "sk-ecdsa-sha2-nistp256@openssh.com" // FIDO security key
)

// magic begins both an SSHSIG blob and what it signs (openssh/PROTOCOL.sshsig).
const magic = "SSHSIG"

var curve = elliptic.P256()

// sshsig is an SSHSIG blob taken apart.
type sshsig struct {
	public    []byte // key blob, RFC 4253 §6.6
	namespace string
	hash      string
	algorithm string
	blob      []byte
	flags     byte   // sk- only
	counter   uint32 // sk- only
}

// checkSSH judges an SSHSIG blob over the statement's bytes.
func checkSSH(c trust.Credential, s Statement, raw []byte) error {
	key, public, err := readRosterKey(c)
	if err != nil {
		return err
	}
	sig, ok := readSSHSIG(raw)
	switch {
	case !ok:
		return refusal.New(codeSSHForm, "%d bytes", len(raw))
	case !bytes.Equal(sig.public, public):
		return refusal.New(codeSSHKey, "not the key of credential %s", c.ID.Short())
	case sig.namespace != s.Kind.Namespace():
		return refusal.New(codeSSHNamespace, "%q, wanted is %q", sig.namespace, s.Kind.Namespace())
	case sig.algorithm != c.Algorithm:
		return refusal.New(codeSSHAlgorithm, "%q, the roster says %q", sig.algorithm, c.Algorithm)
	}
	signed, ok := sig.message(s.Bytes)
	if !ok {
		return refusal.New(codeSSHHash, "%q", sig.hash)
	}
	if key.secure {
		if err := checkFlags(sig.flags); err != nil {
			return err
		}
		signed = sig.toAuthenticator(c.Application, signed)
	}
	if !key.verify(signed, sig.blob) {
		return refusal.New(codeSignature, "%s by credential %s", sig.algorithm, c.ID.Short())
	}
	return nil
}

// checkFlags wants the person's touch and the authenticator's word that it was
// them.
func checkFlags(flags byte) error {
	switch {
	case flags&flagUP == 0:
		return refusal.New(codePresence, "flags %#02x", flags)
	case flags&flagUV == 0:
		return refusal.New(codeVerification, "flags %#02x", flags)
	}
	return nil
}

// sshKey is a public key of the roster; exactly one of the two keys is set.
type sshKey struct {
	edwards ed25519.PublicKey
	nist    *ecdsa.PublicKey
	secure  bool // a FIDO security key
}

// readRosterKey reads the credential's key blob and holds it to what is pinned
// beside it: type and application.
func readRosterKey(c trust.Credential) (sshKey, []byte, error) {
	blob, err := base64.StdEncoding.Strict().DecodeString(c.Public)
	r := wire{rest: blob}
	if algorithm := r.text(); err != nil || algorithm != c.Algorithm {
		return sshKey{}, nil, refusal.New(codeMethod, "the roster pins %q, its key is %q", c.Algorithm, algorithm)
	}
	var key sshKey
	switch c.Algorithm {
	case Ed25519, SKEd25519:
		key.edwards = r.bytes()
		r.broken = r.broken || len(key.edwards) != ed25519.PublicKeySize
	case ECDSA, SKECDSA:
		r.broken = r.text() != "nistp256" || r.broken
		if key.nist, err = point(r.bytes()); err != nil {
			return sshKey{}, nil, err
		}
	default:
		return sshKey{}, nil, refusal.New(codeMethod, "SSH keys of type %q do not approve", c.Algorithm)
	}
	application := ""
	if key.secure = secure(c.Algorithm); key.secure {
		application = r.text()
	}
	if !r.done() {
		return sshKey{}, nil, refusal.New(codeMethod, "the roster's key is malformed")
	}
	if application != c.Application || key.secure && application == "" {
		return sshKey{}, nil, refusal.New(codeApplication, "the key is for %q, the roster pins %q", application, c.Application)
	}
	return key, blob, nil
}

// secure reports whether the algorithm is one of a FIDO security key.
func secure(algorithm string) bool { return strings.HasPrefix(algorithm, "sk-") }

// verify checks a signature blob: 64 bytes of Ed25519, or two mpints of ECDSA
// over the SHA-256 (RFC 5656 §3.1.2).
func (k sshKey) verify(message, blob []byte) bool {
	if k.edwards != nil {
		return len(blob) == ed25519.SignatureSize && ed25519.Verify(k.edwards, message, blob)
	}
	in := wire{rest: blob}
	r, s := in.mpint(), in.mpint()
	digest := sha256.Sum256(message)
	return in.done() && ecdsa.Verify(k.nist, digest[:], r, s)
}

// message is what the blob signs: the hash of the bytes, wrapped with magic,
// namespace, the empty reserved field and the hash's name.
func (s sshsig) message(b []byte) ([]byte, bool) {
	var sum []byte
	switch s.hash {
	case "sha512":
		h := sha512.Sum512(b)
		sum = h[:]
	case "sha256":
		h := sha256.Sum256(b)
		sum = h[:]
	default:
		return nil, false
	}
	out := []byte(magic)
	for _, field := range [][]byte{[]byte(s.namespace), nil, []byte(s.hash), sum} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(field)))
		out = append(out, field...)
	}
	return out, true
}

// toAuthenticator is what a FIDO key signs in place of the message: hash of the
// application, flags, counter, hash of the message (openssh/PROTOCOL.u2f).
func (s sshsig) toAuthenticator(application string, message []byte) []byte {
	app, sum := sha256.Sum256([]byte(application)), sha256.Sum256(message)
	out := append(app[:], s.flags)
	out = binary.BigEndian.AppendUint32(out, s.counter)
	return append(out, sum[:]...)
}

// readSSHSIG takes a blob apart. It has one reading: every length exact, the
// reserved field empty, nothing behind.
func readSSHSIG(b []byte) (sshsig, bool) {
	rest, ok := bytes.CutPrefix(b, []byte(magic))
	r := wire{rest: rest}
	ok = ok && r.number() == 1 // SIG_VERSION
	var s sshsig
	s.public, s.namespace = r.bytes(), r.text()
	ok = len(r.bytes()) == 0 && ok // reserved
	s.hash = r.text()
	in := wire{rest: r.bytes()}
	s.algorithm, s.blob = in.text(), in.bytes()
	if secure(s.algorithm) {
		s.flags, s.counter = in.octet(), in.number()
	}
	return s, ok && r.done() && in.done()
}

// wire reads the data types of RFC 4251 §5. After the first thing that is not
// there it is broken and gives zero values.
type wire struct {
	rest   []byte
	broken bool
}

func (w *wire) take(n uint32) []byte {
	if w.broken || uint64(n) > uint64(len(w.rest)) {
		w.broken = true
		return nil
	}
	b := w.rest[:n]
	w.rest = w.rest[n:]
	return b
}

func (w *wire) octet() byte {
	if b := w.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (w *wire) number() uint32 {
	if b := w.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (w *wire) bytes() []byte { return w.take(w.number()) }

func (w *wire) text() string { return string(w.bytes()) }

// mpint reads a positive integer of at most 256 bits in its shortest form.
func (w *wire) mpint() *big.Int {
	b := w.bytes()
	digits := b
	if len(b) > 1 && b[0] == 0 && b[1] >= 0x80 { // the zero that keeps it positive
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 32 || digits[0] == 0 || b[0] >= 0x80 {
		w.broken = true
	}
	return new(big.Int).SetBytes(b)
}

func (w *wire) done() bool { return !w.broken && len(w.rest) == 0 }
