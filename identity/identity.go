// Package identity finds the person behind a key. The rooms below it make
// people's signatures: sshsign with OpenSSH keys and FIDO keys, page with
// WebAuthn on a page that the approver's own binary serves.
//
// The parties: a person at their own machine; their key, in a file, an agent or
// an authenticator; the trust root, whose roster says whose key it is. The
// promise: what these rooms hand out has passed approval.Check against that
// roster, so a signature that a host would refuse is refused here, at once.
//
// It holds no authority and stores no secret. It never links into the agent.
package identity

import (
	"errors"
	"fmt"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/trust"
)

// ErrUnknown says that the roster does not list the key, or lists it as
// revoked, or for somebody else.
var ErrUnknown = errors.New("the roster does not list this key for you")

// Find returns the person and credential of a public key as the roster writes
// it (trust.Credential.Public). Unless person is empty it must be theirs.
func Find(root trust.Root, person trust.PersonID, public string) (trust.Person, trust.Credential, error) {
	for _, p := range root.People {
		for _, c := range p.Credentials {
			switch {
			case c.Public != public:
			case person != "" && p.ID != person:
				return trust.Person{}, trust.Credential{}, fmt.Errorf("%w: it belongs to %s, not to %s", ErrUnknown, p.ID, person)
			case c.Revoked:
				return trust.Person{}, trust.Credential{}, fmt.Errorf("%w: key %s of %s was revoked", ErrUnknown, c.ID.Short(), p.ID)
			default:
				return p, c, nil
			}
		}
	}
	return trust.Person{}, trust.Credential{}, fmt.Errorf("%w: key %s is new to it; let the root keepers add it", ErrUnknown, trust.CredentialOf(public).Short())
}

// Blank is the approval of s by p with c, without its signature.
func Blank(s approval.Statement, p trust.PersonID, c canon.Digest, at int64) approval.Approval {
	return approval.Approval{Type: approval.TypeApproval, Kind: s.Kind, Statement: s.Digest(), Person: p, Credential: c, At: at}
}
