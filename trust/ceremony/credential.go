package ceremony

import (
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/trust"
)

// FromSSH makes a credential of one line of an authorized_keys file or of a
// .pub file: Ed25519, ECDSA P-256, or either on a FIDO security key.
func FromSSH(line []byte) (trust.Credential, error) {
	key, _, options, rest, err := ssh.ParseAuthorizedKey(line)
	switch {
	case err != nil:
		return trust.Credential{}, fmt.Errorf("this is no OpenSSH public key: %w", err)
	case len(options) > 0 || strings.TrimSpace(string(rest)) != "":
		return trust.Credential{}, fmt.Errorf("give one public key without options, as in a .pub file")
	}
	c := trust.Credential{Method: trust.SSH, Algorithm: key.Type(), Origins: []string{}}
	blob := key.Marshal()
	c.Public = base64.StdEncoding.EncodeToString(blob)
	c.ID = trust.CredentialOf(c.Public)
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256:
		return c, nil
	case ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		c.Application, err = application(blob)
		return c, err
	}
	return trust.Credential{}, fmt.Errorf("SSH keys of type %s do not approve; use ed25519, ecdsa P-256, or either on a security key (ssh-keygen -t ed25519-sk -O verify-required)", key.Type())
}

// FromWebAuthn makes a credential of a passkey's public key. Signatures are
// asked for by the relying party rp (a domain name, or localhost) on pages of
// exactly these origins.
func FromWebAuthn(key *ecdsa.PublicKey, rp string, origins ...string) (trust.Credential, error) {
	point, err := key.Bytes()
	if err != nil || len(point) != 65 {
		return trust.Credential{}, fmt.Errorf("a passkey must be on P-256 (ES256)")
	}
	c := trust.Credential{Method: trust.WebAuthn, Algorithm: "ES256", Public: hex.EncodeToString(point), RelyingParty: rp, Origins: filled(origins)}
	c.ID = trust.CredentialOf(c.Public)
	return c, nil
}

// application is the last field of a security key's blob (openssh/PROTOCOL.u2f).
func application(blob []byte) (string, error) {
	var last []byte
	for in := cryptobyte.String(blob); !in.Empty(); {
		var n uint32
		if !in.ReadUint32(&n) || !in.ReadBytes(&last, int(n)) {
			return "", fmt.Errorf("the security key's public key is cut short")
		}
	}
	return string(last), nil
}
