// Package softkey signs with keys held in memory: a stand-in for people's
// authenticators in tests and in the demo, which says so wherever it is used.
//
// The signatures are real and pass approval.Check; what they lack is a person.
// The "user verified" flag is set by software, so a passkey of this kind proves
// that a program ran, and nothing about who started it. No shipped binary but
// the demo's links it.
package softkey

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/identity"
	"github.com/patchwrit/patchwrit/identity/sshsign"
	"github.com/patchwrit/patchwrit/trust"
)

// SSH answers s as whoever the roster lists the key for. key is a private key
// as ssh.NewSignerFromKey takes it; at is in Unix seconds.
func SSH(root trust.Root, key any, s approval.Statement, at int64) (approval.Approval, error) {
	signer, err := sshsign.Memory(key)
	if err != nil {
		return approval.Approval{}, err
	}
	return sshsign.Approve(context.Background(), root, "", signer, s, at)
}

// Passkey answers s as whoever the roster lists the passkey c for.
func Passkey(root trust.Root, key *ecdsa.PrivateKey, c trust.Credential, s approval.Statement, at int64) (approval.Approval, error) {
	p, c, err := identity.Find(root, "", c.Public)
	if err != nil {
		return approval.Approval{}, err
	}
	a, err := Assert(key, c, s)
	if err != nil {
		return approval.Approval{}, err
	}
	a.Person, a.At = p.ID, at
	if _, _, err := approval.Check(root, s, a); err != nil {
		return approval.Approval{}, err
	}
	return a, nil
}

// Assert makes a WebAuthn assertion over s as a browser and an authenticator
// would on the first page that c allows. It says nothing of person and time.
func Assert(key *ecdsa.PrivateKey, c trust.Credential, s approval.Statement) (approval.Approval, error) {
	if len(c.Origins) == 0 {
		return approval.Approval{}, fmt.Errorf("credential %s allows no page", c.ID.Short())
	}
	client := fmt.Appendf(nil, `{"type":"webauthn.get","challenge":%q,"origin":%q,"crossOrigin":false}`,
		base64.RawURLEncoding.EncodeToString(s.Digest().Bytes()), c.Origins[0])
	party := sha256.Sum256([]byte(c.RelyingParty))
	const touchedAndVerified = 0x05
	authenticator := append(party[:], touchedAndVerified, 0, 0, 0, 0)
	sum := sha256.Sum256(client)
	digest := sha256.Sum256(slices.Concat(authenticator, sum[:]))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return approval.Approval{}, err
	}
	a := identity.Blank(s, "", c.ID, 0)
	a.Signature = base64.StdEncoding.EncodeToString(sig)
	a.Authenticator = base64.StdEncoding.EncodeToString(authenticator)
	a.Client = base64.StdEncoding.EncodeToString(client)
	return a, nil
}
