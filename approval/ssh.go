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
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
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

// sshsig is an SSHSIG blob taken apart.
type sshsig struct {
	public                     []byte // key blob, RFC 4253 §6.6
	namespace, hash, algorithm string
	blob                       []byte
	authenticator              []byte // sk- keys: flags and counter, 5 bytes; else none
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
		return refusal.New("PW-APPROVAL-SSH-FORM", "%d bytes", len(raw))
	case !bytes.Equal(sig.public, public):
		return refusal.New("PW-APPROVAL-SSH-KEY", "not the key of credential %s", c.ID.Short())
	case sig.namespace != s.Kind.Namespace():
		return refusal.New("PW-APPROVAL-SSH-NAMESPACE", "%q, wanted is %q", sig.namespace, s.Kind.Namespace())
	case sig.algorithm != c.Algorithm:
		return refusal.New("PW-APPROVAL-SSH-ALGORITHM", "%q, the roster says %q", sig.algorithm, c.Algorithm)
	}
	signed, ok := sig.message(s.Bytes)
	if !ok {
		return refusal.New("PW-APPROVAL-SSH-HASH", "%q", sig.hash)
	}
	if secure(c.Algorithm) {
		if err := checkFlags(sig.authenticator[0]); err != nil {
			return err
		}
		// What a FIDO key signs in place of the message (openssh/PROTOCOL.u2f).
		app, sum := sha256.Sum256([]byte(c.Application)), sha256.Sum256(signed)
		signed = slices.Concat(app[:], sig.authenticator, sum[:])
	}
	if !key.verify(signed, sig.blob) {
		return refusal.New("PW-APPROVAL-SIGNATURE", "%s by credential %s", sig.algorithm, c.ID.Short())
	}
	return nil
}

// sshKey is a public key of the roster; exactly one of the two is set.
type sshKey struct {
	edwards ed25519.PublicKey
	nist    *ecdsa.PublicKey
}

// readRosterKey reads the credential's key blob and holds it to what is pinned
// beside it: type and application.
func readRosterKey(c trust.Credential) (key sshKey, blob []byte, err error) {
	n := map[string]int{Ed25519: 2, ECDSA: 3, SKEd25519: 3, SKECDSA: 4}[c.Algorithm]
	blob, err = base64.StdEncoding.Strict().DecodeString(c.Public)
	f, rest, ok := split(blob, n)
	if n == 0 || err != nil || !ok || len(rest) > 0 || string(f[0]) != c.Algorithm {
		return key, nil, refusal.New("PW-APPROVAL-METHOD", "the roster pins %q, which its key is not", c.Algorithm)
	}
	application := ""
	if secure(c.Algorithm) {
		application, f = string(f[n-1]), f[:n-1]
	}
	if application != c.Application || secure(c.Algorithm) && application == "" {
		return key, nil, refusal.New("PW-APPROVAL-APPLICATION", "the key is for %q, the roster pins %q", application, c.Application)
	}
	switch {
	case len(f) == 2 && len(f[1]) == ed25519.PublicKeySize:
		key.edwards = f[1]
	case len(f) == 3 && string(f[1]) == "nistp256":
		key.nist, err = point(f[2])
	default:
		err = refusal.New("PW-APPROVAL-METHOD", "the roster's key is malformed")
	}
	return key, blob, err
}

// point reads an uncompressed P-256 point and refuses one that is off the curve.
func point(b []byte) (*ecdsa.PublicKey, error) {
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), b)
	if err != nil {
		return nil, refusal.New("PW-APPROVAL-METHOD", "the roster's public key is no point of P-256: %v", err)
	}
	return key, nil
}

// secure reports whether the algorithm is one of a FIDO security key.
func secure(algorithm string) bool { return strings.HasPrefix(algorithm, "sk-") }

// verify checks a signature blob: 64 bytes of Ed25519, or two mpints of ECDSA
// over the SHA-256 (RFC 5656 §3.1.2).
func (k sshKey) verify(message, blob []byte) bool {
	if k.edwards != nil {
		return len(blob) == ed25519.SignatureSize && ed25519.Verify(k.edwards, message, blob)
	}
	f, rest, ok := split(blob, 2)
	if !ok || len(rest) > 0 || !shortest(f[0]) || !shortest(f[1]) {
		return false
	}
	digest := sha256.Sum256(message)
	return ecdsa.Verify(k.nist, digest[:], new(big.Int).SetBytes(f[0]), new(big.Int).SetBytes(f[1]))
}

// shortest reports whether b is an mpint (RFC 4251 §5) of 1 to 256 bits, positive
// and in its one right form.
func shortest(b []byte) bool {
	if len(b) > 1 && b[0] == 0 && b[1] >= 0x80 { // the zero that keeps it positive
		return len(b) <= 33
	}
	return len(b) > 0 && len(b) <= 32 && b[0] > 0 && b[0] < 0x80
}

// message is what the blob signs: the hash of the bytes, wrapped with magic,
// namespace, the empty reserved field and the hash's name.
func (s sshsig) message(b []byte) ([]byte, bool) {
	long, short := sha512.Sum512(b), sha256.Sum256(b)
	sum := map[string][]byte{"sha512": long[:], "sha256": short[:]}[s.hash]
	out := []byte(magic)
	for _, field := range [][]byte{[]byte(s.namespace), nil, []byte(s.hash), sum} {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(field))), field...)
	}
	return out, sum != nil
}

// readSSHSIG takes a blob apart. It has one reading: version 1, every length
// exact, the reserved field empty, nothing behind.
func readSSHSIG(b []byte) (s sshsig, ok bool) {
	b, right := bytes.CutPrefix(b, []byte(magic+"\x00\x00\x00\x01"))
	f, rest, ok := split(b, 5) // key, namespace, reserved, hash, signature
	if !right || !ok || len(rest) > 0 || len(f[2]) > 0 {
		return s, false
	}
	in, rest, ok := split(f[4], 2)
	if !ok || secure(string(in[0])) != (len(rest) == 5) || !secure(string(in[0])) && len(rest) > 0 {
		return s, false
	}
	return sshsig{f[0], string(f[1]), string(f[3]), string(in[0]), in[1], rest}, true
}

// split reads n strings (RFC 4251 §5: a length of four bytes, then as many
// bytes) and gives what follows them.
func split(b []byte, n int) (fields [][]byte, rest []byte, ok bool) {
	for range n {
		if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
			return nil, nil, false
		}
		end := 4 + int(binary.BigEndian.Uint32(b))
		fields, b = append(fields, b[4:end]), b[end:]
	}
	return fields, b, true
}
