package agent

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/patchwrit/patchwrit/refusal"
)

func TestAHostKeyIsExactlyOneEd25519Key(t *testing.T) {
	_, host, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pemOf := func(kind string, key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	good := pemOf(pemType, host)
	for name, c := range map[string]struct {
		file []byte
		code refusal.Code
	}{
		"the honest twin":     {good, ""},
		"nothing":             {nil, codeKey},
		"no PEM":              {[]byte("hello"), codeKey},
		"another kind":        {pemOf("EC PRIVATE KEY", host), codeKey},
		"something behind":    {append(append([]byte{}, good...), good...), codeKey},
		"another algorithm":   {pemOf(pemType, other), codeKey},
		"bytes that are none": {pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte("x")}), codeKey},
	} {
		path := filepath.Join(t.TempDir(), keyFile)
		if err := os.WriteFile(path, c.file, 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := readKey(path)
		if refusal.CodeOf(err) != c.code || (err == nil) != (c.code == "") || (err == nil) != (key != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readKey(filepath.Join(t.TempDir(), keyFile)); refusal.CodeOf(err) != codeKey {
		t.Errorf("no file: %v", err)
	}
}
