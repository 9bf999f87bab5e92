package provenance

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/patchwrit/patchwrit/refusal"
)

const (
	beginMessage = "-----BEGIN PGP SIGNED MESSAGE-----\n"
	anyBoundary  = "-----BEGIN PGP "
)

// open takes an InRelease apart: the text for parsing, the bytes that were
// signed (the same text with CRLF), and the signature packets. The file must be
// exactly one clear-signed block: a reader that looks for the first or the last
// of several blocks would see another text than we do.
func open(in []byte) (text, signed []byte, sigs [][]byte, err error) {
	if len(in) > MaxRelease {
		return nil, nil, nil, refusal.New(codeLimit, "InRelease of %d bytes, limit %d", len(in), MaxRelease)
	}
	if !bytes.HasPrefix(in, []byte(beginMessage)) {
		return nil, nil, nil, refusal.New(codeForm, "it does not begin with a clear-signed message")
	}
	if i := bytes.IndexFunc(in, control); i >= 0 {
		return nil, nil, nil, refusal.New(codeForm, "control character %#02x at byte %d", in[i], i)
	}
	if bytes.Count(in, []byte(anyBoundary)) != 2 {
		return nil, nil, nil, refusal.New(codeForm, "not exactly one message and one signature block")
	}
	block, rest := clearsign.Decode(in) // rest is everything when the block is broken
	if len(rest) > 0 {
		return nil, nil, nil, refusal.New(codeForm, "the block is broken, or something follows it: %d bytes are left over", len(rest))
	}
	raw, err := io.ReadAll(block.ArmoredSignature.Body)
	if err != nil {
		return nil, nil, nil, refusal.New(codeForm, "the signature's armour is broken: %v", err)
	}
	sigs, err = split(raw)
	return block.Plaintext, block.Bytes, sigs, err
}

// control reports what has no place in a text file: also the carriage return,
// which signing and parsing would treat differently.
func control(r rune) bool { return (r < 0x20 && r != '\n' && r != '\t') || r == 0x7f }

// split parts concatenated OpenPGP packets (RFC 9580 §4.2), each a signature of
// definite length. One packet each, so that every signature is judged alone.
func split(b []byte) ([][]byte, error) {
	var all [][]byte
	for len(b) > 0 {
		head, length, ok := packetHeader(b)
		if !ok || length > len(b)-head {
			return nil, refusal.New(codeForm, "signature packet %d is not a whole signature packet", len(all)+1)
		}
		all = append(all, b[:head+length])
		b = b[head+length:]
		if len(all) > MaxSigs {
			return nil, refusal.New(codeLimit, "more than %d signatures", MaxSigs)
		}
	}
	return all, nil
}

// packetHeader reads the header of a signature packet: its own length and the
// body's.
func packetHeader(b []byte) (head, length int, ok bool) {
	const tagSignature = 2
	be := func(n int) int {
		v := 0
		for _, c := range b[1 : 1+n] {
			v = v<<8 | int(c)
		}
		return v
	}
	const long = 6 // the longest header
	if len(b) < long {
		return 0, 0, false
	}
	switch first, second := b[0], int(b[1]); {
	case first&0xc0 == 0x80 && first>>2&0x0f == tagSignature && first&3 != 3: // old format
		n := 1 << (first & 3)
		return 1 + n, be(n), true
	case first != 0xc0|tagSignature:
		return 0, 0, false
	case second < 192:
		return 2, second, true
	case second < 224:
		return 3, (second-192)<<8 + int(b[2]) + 192, true
	case second == 255:
		b = b[1:]
		return 6, be(4), true
	}
	return 0, 0, false
}

// verify counts the distinct primary keys of the keyring that signed, and gives
// a reason for every signature that does not count.
func verify(signed []byte, sigs [][]byte, keyring []byte, need int, now time.Time) ([]Signer, []error, error) {
	keys, err := readKeyring(keyring)
	if err != nil {
		return nil, nil, err
	}
	var signers []Signer
	refused := []error{}
	for _, raw := range sigs {
		s, err := judge(signed, raw, keys, now)
		switch {
		case err != nil:
			refused = append(refused, err)
		case !slices.ContainsFunc(signers, func(o Signer) bool { return o.Key == s.Key }):
			signers = append(signers, s)
		}
	}
	if need < 1 || len(signers) < need {
		return nil, nil, tooFew(len(signers), need, refused)
	}
	slices.SortFunc(signers, func(a, b Signer) int { return cmp.Compare(a.Key, b.Key) })
	return signers, refused, nil
}

// tooFew names the one reason why signatures did not count, when they share it,
// and else says only that there were too few.
func tooFew(have, need int, refused []error) error {
	code, reasons := codeSigners, make([]string, len(refused))
	for i, err := range refused {
		reasons[i] = err.Error()
		if i == 0 {
			code = refusal.CodeOf(err)
		} else if refusal.CodeOf(err) != code {
			code = codeSigners
		}
	}
	if len(reasons) == 0 {
		reasons = []string{"none was refused"}
	}
	return refusal.New(code, "%d distinct keys signed, the trust root wants %d; %s", have, need, strings.Join(reasons, "; "))
}

// readKeyring reads a binary keyring. Keys without a self-signature are left
// out, and of several identities only the one that decides a key's properties
// is kept: the library would choose among equals by chance.
func readKeyring(b []byte) (openpgp.EntityList, error) {
	if len(b) > MaxKeyring {
		return nil, refusal.New(codeLimit, "keyring of %d bytes, limit %d", len(b), MaxKeyring)
	}
	all, err := openpgp.ReadKeyRing(bytes.NewReader(b)) // none, when it fails
	keys := all[:0]
	for _, e := range all {
		if id := deciding(e); id != nil {
			e.Identities = map[string]*openpgp.Identity{id.Name: id}
			keys = append(keys, e)
		}
	}
	if len(keys) == 0 {
		return nil, refusal.New(codeKeyring, "no usable key in %d bytes: %v", len(b), err)
	}
	return keys, nil
}

// deciding chooses a key's identity: not revoked before revoked, marked primary
// before not, newest before oldest, then by name.
func deciding(e *openpgp.Entity) *openpgp.Identity {
	var best *openpgp.Identity
	rank := func(i *openpgp.Identity) (int, int, int64) {
		primary := 0
		if p := i.SelfSignature.IsPrimaryId; p != nil && *p {
			primary = 1
		}
		return -len(i.Revocations), primary, i.SelfSignature.CreationTime.Unix()
	}
	for _, id := range e.Identities {
		if id.SelfSignature == nil {
			continue
		}
		if best == nil {
			best = id
			continue
		}
		r1, p1, t1 := rank(id)
		r2, p2, t2 := rank(best)
		if cmp.Or(cmp.Compare(r1, r2), cmp.Compare(p1, p2), cmp.Compare(t1, t2), cmp.Compare(best.Name, id.Name)) > 0 {
			best = id
		}
	}
	return best
}

// judge says which key of the keyring made one signature, or why it does not
// count.
func judge(signed, raw []byte, keys openpgp.EntityList, now time.Time) (Signer, error) {
	sig, err := parse(raw)
	if err != nil {
		return Signer{}, err
	}
	candidates := keys.KeysByIdUsage(*sig.IssuerKeyId, packet.KeyFlagSign)
	if len(candidates) == 0 {
		return Signer{}, refusal.New(codeSigUnknown, "signing key %016x", *sig.IssuerKeyId)
	}
	at := now
	if ahead := sig.CreationTime.Sub(now); ahead > 0 && ahead <= MaxAhead {
		at = sig.CreationTime // the vendor's clock may run ahead as far as its dates may
	}
	cfg := &packet.Config{Time: func() time.Time { return at }}
	for _, key := range candidates {
		_, signer, detail := openpgp.VerifyDetachedSignature(openpgp.EntityList{key.Entity}, bytes.NewReader(signed), bytes.NewReader(raw), cfg)
		if signer == nil {
			continue
		}
		if err := usable(key, sig, at); err != nil {
			return Signer{}, err
		}
		if detail != nil {
			return Signer{}, refusal.New(codeSigBad, "signing key %016x: %v", *sig.IssuerKeyId, detail)
		}
		return Signer{Key: hex.EncodeToString(key.Entity.PrimaryKey.Fingerprint), Made: sig.CreationTime.Unix()}, nil
	}
	return Signer{}, refusal.New(codeSigBad, "signing key %016x", *sig.IssuerKeyId)
}

// parse reads one signature packet of a kind that is accepted.
func parse(raw []byte) (*packet.Signature, error) {
	head, _, _ := packetHeader(raw)
	body := raw[head:]
	const v4 = 4
	if len(body) < 4 || body[0] != v4 {
		return nil, refusal.New(codeSigVersion, "not a version 4 signature")
	}
	if name, weak := weakHashes[body[3]]; weak {
		return nil, refusal.New(codeSigHash, "%s", name)
	}
	p, err := packet.Read(bytes.NewReader(raw))
	if err != nil {
		return nil, refusal.New(codeSigVersion, "%v", err)
	}
	sig, ok := p.(*packet.Signature)
	if !ok || sig.IssuerKeyId == nil || (sig.SigType != packet.SigTypeText && sig.SigType != packet.SigTypeBinary) {
		return nil, refusal.New(codeSigVersion, "no signature over a document, or none that names its key")
	}
	return sig, nil
}

// weakHashes are the hash algorithms of RFC 9580 §9.5 for which others can make
// a second text, or soon could.
var weakHashes = map[byte]string{1: "MD5", 2: "SHA-1", 3: "RIPEMD-160", 11: "SHA-224"}

// usable says why a key whose signature fits must not be counted, or nil.
func usable(key openpgp.Key, sig *packet.Signature, at time.Time) error {
	e := key.Entity
	self, id := e.PrimarySelfSignature()
	name := hex.EncodeToString(key.PublicKey.Fingerprint)
	if e.Revoked(at) || key.Revoked(at) || (id != nil && id.Revoked(at)) {
		return refusal.New(codeSigRevoked, "key %s", name)
	}
	if e.PrimaryKey.KeyExpired(self, at) || key.PublicKey.KeyExpired(key.SelfSignature, at) {
		return refusal.New(codeSigExpired, "key %s", name)
	}
	if sig.SigExpired(at) {
		return refusal.New(codeSigTime, "made %s, judged at %s", sig.CreationTime.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	for _, k := range []*packet.PublicKey{e.PrimaryKey, key.PublicKey} {
		if why := weak(k); why != "" {
			return refusal.New(codeSigKey, "key %s: %s", name, why)
		}
	}
	for _, s := range []*packet.Signature{self, key.SelfSignature} {
		if s.Hash.Size() < 32 {
			return refusal.New(codeSigHash, "key %s is bound by %v", name, s.Hash)
		}
	}
	return nil
}

// weak says why a key is too easy to forge, or "".
func weak(k *packet.PublicKey) string {
	const minRSA = 2048
	switch k.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		// BitLength cannot fail for RSA.
		if bits, _ := k.BitLength(); bits < minRSA {
			return "RSA below 2048 bits"
		}
		return ""
	case packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519, packet.PubKeyAlgoEd448:
		return ""
	case packet.PubKeyAlgoECDSA:
		if curve, err := k.Curve(); err == nil && slices.Contains(curves, curve) {
			return ""
		}
		return "an unusual curve"
	}
	return "an algorithm that is not accepted"
}

var curves = []packet.Curve{
	packet.CurveNistP256, packet.CurveNistP384, packet.CurveNistP521,
	packet.CurveBrainpoolP256, packet.CurveBrainpoolP384, packet.CurveBrainpoolP512,
}
