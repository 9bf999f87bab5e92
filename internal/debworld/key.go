package debworld

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // for signatures that apt has to refuse
	_ "crypto/sha512"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// rsaBits is the size of our RSA keys: the least that gpgv and the Go verifier
// both take for good, so that making one stays quick.
const rsaBits = 2048

// KeyConfig describes a vendor's signing key.
type KeyConfig struct {
	Name    string        // of the user id, such as "Demo Archive"
	Email   string        // of the user id; may be empty
	Created time.Time     // may be long ago, for a key that has expired
	Life    time.Duration // 0: never expires
	RSA     bool          // RSA 2048 in place of Ed25519; Debian signs with both
	Subkey  bool          // sign with a subkey, as Debian's archive keys do
}

// Key is an OpenPGP key with its secret part, held in memory only.
type Key struct{ entity *openpgp.Entity }

// NewKey makes a key. Two calls give two different keys.
func NewKey(c KeyConfig) (*Key, error) {
	conf := &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, RSABits: rsaBits, DefaultHash: crypto.SHA512,
		Time:            func() time.Time { return c.Created },
		KeyLifetimeSecs: uint32(c.Life / time.Second),
	}
	if c.RSA {
		conf.Algorithm = packet.PubKeyAlgoRSA
	}
	e, err := openpgp.NewEntity(c.Name, "", c.Email, conf)
	if err != nil {
		return nil, fmt.Errorf("make the key %q: %w", c.Name, err)
	}
	e.Subkeys = nil // only the encryption subkey so far; an archive has no use for it
	if c.Subkey {
		if err := e.AddSigningSubkey(conf); err != nil {
			return nil, fmt.Errorf("make a subkey of %q: %w", c.Name, err)
		}
	}
	return &Key{e}, nil
}

// Fingerprint is the fingerprint of the primary key in upper-case hex, as gpg
// prints it.
func (k *Key) Fingerprint() string { return fmt.Sprintf("%X", k.entity.PrimaryKey.Fingerprint) }

// SigningFingerprint is the fingerprint of the key that signs: the subkey's, or
// the primary key's where there is none.
func (k *Key) SigningFingerprint() string { return fmt.Sprintf("%X", k.signing().Fingerprint) }

func (k *Key) signing() *packet.PrivateKey {
	if len(k.entity.Subkeys) > 0 {
		return k.entity.Subkeys[0].PrivateKey
	}
	return k.entity.PrivateKey
}

// Keyring is the public keys in the binary form that apt's Signed-By and gpgv read.
func Keyring(keys ...*Key) ([]byte, error) {
	var out bytes.Buffer
	for _, k := range keys {
		if err := k.entity.Serialize(&out); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// Signer is one signature packet to be made.
type Signer struct {
	Key  *Key
	Hash crypto.Hash // default SHA-512; crypto.SHA1 makes one that apt refuses
	At   time.Time   // time of the signature; default: the publication's date
}

// Clearsign signs text in the cleartext framework (RFC 9580 §7) with one packet
// for each signer, all in one armour, as Debian signs InRelease. Nothing checks
// that the keys are valid at that time: an expired key signs all the same.
func Clearsign(text string, now time.Time, signers ...Signer) ([]byte, error) {
	if len(signers) == 0 {
		return nil, fmt.Errorf("nobody signs this text: name at least one signer")
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	var hashes []string
	var packets bytes.Buffer
	for _, s := range signers {
		if s.Hash == 0 {
			s.Hash = crypto.SHA512
		}
		if s.At.IsZero() {
			s.At = now
		}
		if name := strings.ReplaceAll(s.Hash.String(), "-", ""); !slices.Contains(hashes, name) {
			hashes = append(hashes, name)
		}
		if err := sign(&packets, lines, s); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "-----BEGIN PGP SIGNED MESSAGE-----\nHash: %s\n\n", strings.Join(hashes, ", "))
	for _, line := range lines {
		if strings.HasPrefix(line, "-") {
			out.WriteString("- ")
		}
		out.WriteString(line + "\n")
	}
	if err := armoured(&out, packets.Bytes()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// sign appends one signature over the canonical text: lines without trailing
// blanks, ended by CRLF, the last one not ended.
func sign(w io.Writer, lines []string, s Signer) error {
	key := s.Key.signing()
	sig := &packet.Signature{
		Version: key.Version, SigType: packet.SigTypeText, PubKeyAlgo: key.PubKeyAlgo,
		Hash: s.Hash, CreationTime: s.At, IssuerKeyId: &key.KeyId, IssuerFingerprint: key.Fingerprint,
	}
	salted := false // as gpg signs; the library's salt knows no SHA-1
	conf := &packet.Config{Time: func() time.Time { return s.At }, NonDeterministicSignaturesViaNotation: &salted}
	h, err := sig.PrepareSign(conf)
	if err != nil {
		return fmt.Errorf("sign with %v: %w", s.Hash, err)
	}
	for i, line := range lines {
		if i > 0 {
			io.WriteString(h, "\r\n")
		}
		io.WriteString(h, strings.TrimRight(line, " \t\r"))
	}
	if err := sig.Sign(h, key, conf); err != nil {
		return err
	}
	return sig.Serialize(w)
}

func armoured(out *bytes.Buffer, packets []byte) error {
	w, err := armor.Encode(out, "PGP SIGNATURE", nil)
	if err != nil {
		return err
	}
	if _, err := w.Write(packets); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.WriteByte('\n')
}
