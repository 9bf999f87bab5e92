package control_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/policy/rego/standard"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
)

// pin has n keepers name the standard rules with a text replaced, with a tool
// that says of anything that it is harmless, and brings the bundle.
func (w *town) pin(n int, file, old, new string) {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	public, err := rego.PublicPEM(&key.PublicKey)
	w.must(err)
	rules := fstest.MapFS{}
	names, err := fs.Glob(standard.Rules, "*.rego")
	w.must(err)
	for _, name := range names {
		b, err := fs.ReadFile(standard.Rules, name)
		w.must(err)
		if name == file {
			b = []byte(strings.Replace(string(b), old, new, 1))
		}
		rules[name] = &fstest.MapFile{Data: b}
	}
	bundle, err := rego.Sign(rules, key)
	w.must(err)
	w.must(os.WriteFile(filepath.Join(w.Data(), "policy.tar.gz"), bundle, 0o600))
	s := w.signing(n)
	s.Harmless = func(trust.Policy, trust.Policy) error { return nil }
	_, err = ceremony.Update(w.Trust(), s, func(c *ceremony.Contents) error {
		c.Policy = trust.Policy{Bundle: canon.SumFile(bundle), Key: string(canon.NoteOf(public))}
		return nil
	})
	w.must(err)
}

func (w *town) signing(n int) ceremony.Signing {
	s := ceremony.Signing{Pinned: w.World.House.Pinned, Now: time.Now()}
	for _, k := range w.World.House.Keepers[:n] {
		s.Keys = append(s.Keys, crypto.Signer(k))
	}
	return s
}

// alone lets one keeper sign alone from now on.
func (w *town) alone() {
	w.t.Helper()
	k := ceremony.Keepers{Threshold: 1}
	for _, key := range w.World.House.Keepers {
		k.Keys = append(k.Keys, key.Public().(ed25519.PublicKey))
	}
	_, err := ceremony.RotateRoot(w.Trust(), w.signing(2), k)
	w.must(err)
}

// decidedBy is the bundle that the newest plan was decided by.
func (w *town) decidedBy() canon.Digest {
	p := w.plans()
	if len(p) == 0 || len(p[len(p)-1].Verdict) == 0 {
		return ""
	}
	return p[len(p)-1].Verdict[0].Bundle
}

// TestRulesThatOneKeeperWeakened: the control plane goes on with the rules it
// had, and does not begin with weaker ones either.
func TestRulesThatOneKeeperWeakened(t *testing.T) {
	w := newTown(t, controltest.Options{Hosts: 1})
	w.start()
	w.enrol(0, 0, hello)
	w.only(control.Review)
	before := w.decidedBy()
	w.alone()
	w.pin(1, "forensic.rego", `f.deadline.is == "3DF"`, `f.deadline.is == "4DF"`)
	w.until("a refusal", func() bool {
		return strings.Contains(strings.Join(w.control.Trouble(), "\n"), "PW-POLICY-WEAKER")
	})
	if got := w.decidedBy(); got != before {
		t.Errorf("decided by %s, was %s", got.Short(), before.Short())
	}
	w.end()
	w.refusedAs("a start", w.opened(), "PW-POLICY-WEAKER")
	w.pin(1, "settings.rego", "deferred_most := 3", "deferred_most := 4")
	if err := w.opened(); err != nil {
		t.Errorf("a tightened setting: %v", err)
	}
	w.pin(2, "forensic.rego", `f.deadline.is == "3DF"`, `f.deadline.is == "4DF"`)
	if err := w.opened(); err != nil {
		t.Errorf("weaker rules, signed by two: %v", err)
	}
}
