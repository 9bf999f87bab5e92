package page

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/trust"
)

const (
	typeKept  = "patchwrit/passkeys/v1"
	maxHandle = 1023    // bytes of a credential id, by the WebAuthn standard
	maxKept   = 1 << 20 // of the file: some 1,000 passkeys
)

// kept is the file in which a person's machine keeps the handles of its
// passkeys. Nothing in it is secret; without it a security key that stores no
// credentials of its own cannot find its key.
type kept struct {
	Type     string    `json:"type"`
	Passkeys []Passkey `json:"passkeys"`
}

// Keep adds a passkey to the file at path, which it makes when it is not there.
func Keep(path string, p Passkey) error {
	all, err := Kept(path)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(old Passkey) bool { return old.Credential.ID == p.Credential.ID })
	b, err := canon.Encode(kept{typeKept, append(all, p)})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	next := path + ".new"
	if err := os.WriteFile(next, b, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// Kept reads the passkeys in the file at path; no file is no passkeys.
func Kept(path string) ([]Passkey, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return []Passkey{}, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxKept {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read", path, info.Size(), maxKept)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var k kept
	if err := canon.Decode(b, &k); err != nil || k.Type != typeKept {
		return nil, fmt.Errorf("%s is no passkey file of this version: %w", path, errors.Join(err))
	}
	return k.Passkeys, nil
}

// Choose finds the person's passkey for a page on this machine: one that is
// kept here and stands in the roster, not revoked.
func Choose(root trust.Root, person trust.PersonID, all []Passkey) (Passkey, error) {
	p, known := root.Person(person)
	for _, k := range all {
		for _, c := range p.Credentials {
			if known && c.ID == k.Credential.ID && !c.Revoked && c.RelyingParty == RelyingParty {
				return Passkey{Credential: c, Handle: k.Handle}, nil
			}
		}
	}
	return Passkey{}, fmt.Errorf("none of the %d passkeys kept on this machine stands in the roster for %q; register one and let the root keepers add it", len(all), person)
}

// pointOf reads a P-256 public key in SPKI form (base64) as the uncompressed
// point that the roster writes.
func pointOf(spki string) ([]byte, error) {
	der, err := base64.StdEncoding.Strict().DecodeString(spki)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	public, ok := key.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, fmt.Errorf("a key of type %T, wanted is one on P-256", key)
	}
	return public.Bytes()
}
