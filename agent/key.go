package agent

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

const pemType = "PRIVATE KEY" // PKCS #8, RFC 5958

// NewKey makes the host key of a state directory, unless there is one, and
// returns what the keepers put into hosts.json; domain and labels are theirs to
// fill in.
func NewKey(dir string) (trust.Host, error) {
	if err := private(dir); err != nil {
		return trust.Host{}, err
	}
	path := filepath.Join(dir, keyFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path); err != nil {
			return trust.Host{}, refusal.New(codeKey, "%v", err)
		}
	}
	key, err := readKey(path)
	if err != nil {
		return trust.Host{}, err
	}
	public := key.Public().(ed25519.PublicKey)
	return trust.Host{ID: trust.HostOf(public), Public: hex.EncodeToString(public), Labels: []trust.Label{}}, nil
}

// Signer is this host and its key, to vouch for the wire key at enrolment.
func Signer(dir string) (trust.Host, func([]byte) []byte, error) {
	h, err := NewKey(dir)
	if err != nil {
		return h, nil, err
	}
	key, err := readKey(filepath.Join(dir, keyFile))
	return h, func(digest []byte) []byte { return ed25519.Sign(key, digest) }, err
}

func makeKey(path string) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return replace(path, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))
}

// readKey reads a host key that nobody else can read.
func readKey(path string) (ed25519.PrivateKey, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refusal.New(codeKey, "there is none at %s", path)
	} else if err != nil {
		return nil, refusal.New(codeKey, "%v", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, refusal.New(codeKey, "%s has mode %s", path, info.Mode())
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, refusal.New(codeKey, "%v", err)
	}
	block, rest := pem.Decode(raw)
	if block == nil || block.Type != pemType || len(rest) > 0 {
		return nil, refusal.New(codeKey, "%s is no PEM private key", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, refusal.New(codeKey, "%s: %v", path, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, refusal.New(codeKey, "%s is no Ed25519 key", path)
	}
	return key, nil
}
