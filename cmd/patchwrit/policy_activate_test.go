package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// TestLimitsThatWouldNotHoldAreNotActivated: policy sign makes no such bundle, another
// program can.
func TestLimitsThatWouldNotHoldAreNotActivated(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := rego.PublicPEM(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	cmd := &cobra.Command{}
	cmd.SetContext(t.Context())
	for text, want := range map[string]refusal.Code{`{"base": 100}`: "", `{"base": 0}`: "PW-POLICY-LIMITS"} {
		bundle, err := rego.Sign(fstest.MapFS{"a.rego": {Data: []byte("package patchwrit\nadvice_limits := " + text)}}, key)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "policy.tar.gz")
		if err := os.WriteFile(path, bundle, 0o600); err != nil {
			t.Fatal(err)
		}
		p := trust.Policy{Bundle: canon.SumFile(bundle), Key: string(canon.NoteOf(public))}
		if _, err := againstForce(cmd, trust.Root{}, p, path, ""); refusal.CodeOf(err) != want {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
