// Package sshsign makes approvals with OpenSSH keys: from a private key file,
// through an ssh-agent, with FIDO security keys, or from a signature file that
// ssh-keygen made elsewhere.
//
// The parties: a person with a key; the program that holds it (this one, an
// agent, or ssh-keygen); the roster. The promise: Approve and Import hand out
// only what approval.Check accepts.
//
// It shows nothing: whoever asks for a signature has shown the statement before,
// rebuilt from its bytes. A passphrase passes through and is not kept.
package sshsign

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/identity"
	"github.com/patchwrit/patchwrit/trust"
)

// Signer holds one key.
type Signer interface {
	// Public is the key's blob (RFC 4253 §6.6).
	Public() []byte
	// Sign returns the SSHSIG blob, without armour, over message under the
	// namespace. It may ask the person for a touch, a PIN or a passphrase, and
	// gives up when ctx ends.
	Sign(ctx context.Context, namespace string, message []byte) ([]byte, error)
}

// ErrKeyType says that the key is of a type that does not approve.
var ErrKeyType = errors.New("keys of this type do not approve")

// Approve signs s as person (or, when person is empty, as whoever the roster
// lists the key for). at is the signer's clock in Unix seconds.
func Approve(ctx context.Context, root trust.Root, person trust.PersonID, k Signer, s approval.Statement, at int64) (approval.Approval, error) {
	p, c, err := identity.Find(root, person, base64.StdEncoding.EncodeToString(k.Public()))
	if err != nil {
		return approval.Approval{}, err
	}
	blob, err := k.Sign(ctx, s.Kind.Namespace(), s.Bytes)
	if err != nil {
		return approval.Approval{}, err
	}
	return seal(root, p, c, s, blob, at)
}

// Import makes an approval of a signature file, armoured as ssh-keygen writes
// it. The person signs with
//
//	ssh-keygen -Y sign -f KEY -n patchwrit-approve@v1 FILE
//
// where FILE holds the statement's bytes and nothing else.
func Import(root trust.Root, person trust.PersonID, armoured []byte, s approval.Statement, at int64) (approval.Approval, error) {
	blob, err := Dearmour(armoured)
	if err != nil {
		return approval.Approval{}, err
	}
	public, err := publicOf(blob)
	if err != nil {
		return approval.Approval{}, err
	}
	p, c, err := identity.Find(root, person, base64.StdEncoding.EncodeToString(public))
	if err != nil {
		return approval.Approval{}, err
	}
	return seal(root, p, c, s, blob, at)
}

// seal puts the approval together and asks what every host will ask.
func seal(root trust.Root, p trust.Person, c trust.Credential, s approval.Statement, blob []byte, at int64) (approval.Approval, error) {
	a := identity.Blank(s, p.ID, c.ID, at)
	a.Signature = base64.StdEncoding.EncodeToString(blob)
	if _, _, err := approval.Check(root, s, a); err != nil {
		return approval.Approval{}, err
	}
	return a, nil
}

// accepted says why keys of the type do not approve, or nil.
func accepted(algorithm string) error {
	if slices.Contains([]string{approval.Ed25519, approval.ECDSA, approval.SKEd25519, approval.SKECDSA}, algorithm) {
		return nil
	}
	return fmt.Errorf("%w: %s. Make one with: ssh-keygen -t ed25519 (or -t ed25519-sk -O verify-required with a security key)", ErrKeyType, algorithm)
}

func security(algorithm string) bool { return strings.HasPrefix(algorithm, "sk-") }

// The SSHSIG format (openssh/PROTOCOL.sshsig).
const (
	magic = "SSHSIG"
	hash  = "sha512"
)

type envelope struct {
	Version   uint32
	Public    []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

// toSign is what the key signs in place of the message.
func toSign(namespace string, message []byte) []byte {
	sum := sha512.Sum512(message)
	return append([]byte(magic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Sum                       []byte
	}{namespace, "", hash, sum[:]})...)
}

// pack puts a raw signature into its envelope.
func pack(public []byte, namespace string, sig *ssh.Signature) []byte {
	return append([]byte(magic), ssh.Marshal(envelope{1, public, namespace, "", hash, ssh.Marshal(sig)})...)
}

// publicOf reads the key blob out of an SSHSIG blob.
func publicOf(blob []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(blob, []byte(magic))
	var e envelope
	if err := ssh.Unmarshal(rest, &e); !ok || err != nil {
		return nil, fmt.Errorf("%w: not an SSHSIG blob", ErrArmour)
	}
	return e.Public, nil
}

const (
	begin     = "-----BEGIN SSH SIGNATURE-----"
	end       = "-----END SSH SIGNATURE-----"
	maxArmour = 16 << 10 // a signature file has about 400 bytes
	column    = 70       // as ssh-keygen writes
)

// ErrArmour says that a file is no signature as ssh-keygen -Y sign writes it.
var ErrArmour = errors.New("not an armoured SSH signature")

// Armour writes a blob the way ssh-keygen does, for ssh-keygen -Y verify.
func Armour(blob []byte) []byte {
	text := base64.StdEncoding.EncodeToString(blob)
	out := []byte(begin + "\n")
	for line := range slices.Chunk([]byte(text), column) {
		out = append(append(out, line...), '\n')
	}
	return append(out, end+"\n"...)
}

// Dearmour reads what Armour or ssh-keygen wrote. Line ends and white space do
// not matter; anything before or behind the one signature does.
func Dearmour(armoured []byte) ([]byte, error) {
	if len(armoured) > maxArmour {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrArmour, len(armoured), maxArmour)
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(string(armoured)), begin)
	text, closed := strings.CutSuffix(text, end)
	if !ok || !closed {
		return nil, fmt.Errorf("%w: it must stand between %q and %q", ErrArmour, begin, end)
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrArmour, err)
	}
	return blob, nil
}
