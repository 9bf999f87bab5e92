package ceremony

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/change"
)

// keySuffix ends the name of a keeper's key file.
const keySuffix = ".keeper.pem"

// maxKey is more than any Ed25519 private key in a file has.
const maxKey = 16 << 10

// WriteKey makes a keeper's key and stores it as PKCS#8 in dir, readable by its
// owner only. A file that is there is never replaced.
func WriteKey(dir, name string, random io.Reader) (key ed25519.PrivateKey, path string, err error) {
	if !change.Name(name) {
		return nil, "", fmt.Errorf("a keeper's name is letters, digits and . + - _, not %q", name)
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, "", err
	}
	key = ed25519.NewKeyFromSeed(seed)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", err
	}
	path = filepath.Join(dir, name+keySuffix)
	if _, err := os.Lstat(path); err == nil {
		return nil, "", fmt.Errorf("%s is there already; a keeper's key is never replaced: choose another name, or remove it yourself", path)
	}
	return key, path, replace(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// ReadKeys reads keepers' keys: PKCS#8 or OpenSSH private key files without a
// passphrase, or directories with files that WriteKey made. A file that others
// can read is refused.
func ReadKeys(paths ...string) ([]crypto.Signer, error) {
	var keys []crypto.Signer
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(path, "*"+keySuffix)); err != nil || len(files) == 0 {
				return nil, fmt.Errorf("no file *%s in %s", keySuffix, path)
			}
		}
		for _, file := range files {
			key, err := readKey(file)
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func readKey(path string) (crypto.Signer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %#o): chmod 600 it, and think about who may have copied it", path, mode)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, err
	}
	raw, err := ssh.ParseRawPrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s is no private key without passphrase: %w", path, err)
	}
	switch key := raw.(type) {
	case ed25519.PrivateKey:
		return key, nil
	case *ed25519.PrivateKey:
		return *key, nil
	}
	return nil, fmt.Errorf("%s is a %T; a keeper's key is Ed25519", path, raw)
}
