// Package evidencetest makes whole, valid evidence bundles: a house with a real
// vendor's repository, small real .debs, signed rules, a plan that two people
// approved, a log, writs, leases and receipts.
//
// Nothing is stubbed: every signature, tree and digest is made by the party
// that would make it. Each party's part can be spoiled on its way, and Rebuild
// lets an attacker who owns some of the parties make everything else fit again.
// It is for tests only; it lies below internal because it builds packages with
// internal/debworld.
package evidencetest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/artefact"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/policy/rego/standard"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/version"
)

// Options chooses what happened. The zero Options: people approved a plan for
// two hosts in two waves, and both are done.
type Options struct {
	Now     time.Time // as in trusttest
	Hosts   int       // zero: 2; one wave each
	Grant   bool      // the plan runs under a grant
	Fail    bool      // the first host failed and rolled back; only sensible with one host
	Pending bool      // no host has acted yet; only sensible with one host
	NoTrial bool      // the rules want no trial of a model before people may promote it

	Edit func(*ceremony.Contents) // a last change to the house before it is signed
}

// World is a house, what it published and decided, and the bundle about it.
type World struct {
	House   trusttest.House
	Options Options
	Rules   []byte                  // signed policy bundle
	Debs    map[canon.Digest][]byte // artefacts, old and new
	Bundle  evidence.Bundle
	Spoil   Spoil
	own     Powers
	log     [][]byte // entries while Rebuild runs
	fixed   string   // source version of the fix
}

// Versions of the one package, old and new.
const (
	Package = "hello"
	Old     = "2.10-2"
	New     = "2.10-3"
)

// Make builds the world. It writes only below a directory of its own, which is
// gone when it returns.
func Make(o Options) (*World, error) {
	if o.Hosts == 0 {
		o.Hosts = 2
	}
	w := &World{Options: o, Debs: map[canon.Digest][]byte{}, fixed: New}
	vendor, err := debworld.NewKey(debworld.KeyConfig{Name: "Test Archive", Created: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		return nil, err
	}
	if err := w.found(vendor); err != nil {
		return nil, err
	}
	fact, blobs, err := w.publish(vendor)
	if err != nil {
		return nil, err
	}
	if err := w.propose(fact); err != nil {
		return nil, err
	}
	w.Bundle.Blobs = Blobs(append(blobs, w.Rules)...)
	w.begin()
	if err := w.Judge(); err != nil {
		return nil, err
	}
	return w, w.Rebuild(Everyone)
}

// Must is Make for tests that have nowhere to go with an error.
func Must(o Options) *World {
	w, err := Make(o)
	if err != nil {
		panic("evidencetest: " + err.Error())
	}
	return w
}

// Raw is the bundle's bytes.
func (w *World) Raw() []byte { return canon.MustEncode(w.Bundle) }

// Clone is a world whose bundle can be changed without changing w's.
func (w *World) Clone() *World {
	c := *w
	c.Bundle = evidence.Bundle{}
	if err := canon.Decode(w.Raw(), &c.Bundle); err != nil {
		panic("evidencetest: " + err.Error())
	}
	return &c
}

// Decide evaluates rules as patchwrit verify does.
func (w *World) Decide(bundle, input []byte) (policy.Decision, error) {
	return Decide(w.House.Root)(bundle, input)
}

// Decide is the evaluation of the rules that a root pins.
func Decide(root trust.Root) evidence.Decide {
	return func(bundle, input []byte) (policy.Decision, error) {
		ctx := context.Background()
		e, err := rego.Load(ctx, bundle, root.Policy.Bundle, canon.Note(root.Policy.Key).Text())
		if err != nil {
			return policy.Decision{}, err
		}
		return e.Decide(ctx, input)
	}
}

// noTrial are the standard rules of a house that wants no trial of models before
// people may promote them.
func noTrial() (fstest.MapFS, error) {
	out := fstest.MapFS{"house.rego": {Data: []byte("package patchwrit\n\nadvice_limits := {\"promote_cases\": 0, \"seen\": 0}\n")}}
	names, err := fs.Glob(standard.Rules, "*.rego")
	for _, name := range names {
		raw, bad := fs.ReadFile(standard.Rules, name)
		out[name], err = &fstest.MapFile{Data: raw}, errors.Join(err, bad)
	}
	return out, err
}

// found makes the house, which pins the vendor's keyring and the rules.
func (w *World) found(vendor *debworld.Key) error {
	keyring, err := debworld.Keyring(vendor)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	var rules fs.FS = standard.Rules
	if w.Options.NoTrial {
		if rules, err = noTrial(); err != nil {
			return err
		}
	}
	if w.Rules, err = rego.Sign(rules, key); err != nil {
		return err
	}
	public, err := rego.PublicPEM(&key.PublicKey)
	if err != nil {
		return err
	}
	w.House, err = trusttest.New(nil, trusttest.Options{Now: w.Options.Now, Hosts: max(w.Options.Hosts, 2), Keyrings: map[string][]byte{"vendor.gpg": keyring},
		Edit: func(c *ceremony.Contents) {
			c.Policy = trust.Policy{Type: "patchwrit/policy/v1", Bundle: canon.SumFile(w.Rules), Key: string(canon.NoteOf(public))}
			for i := range c.Hosts {
				c.Hosts[i].Labels = append([]trust.Label{{Key: "autonomy", Value: "L4"}}, c.Hosts[i].Labels...)
				c.Hosts[i].Labels = append(c.Hosts[i].Labels, trust.Label{Key: "exposure", Value: "internal"})
			}
			if w.Options.Edit != nil {
				w.Options.Edit(c)
			}
		}})
	return err
}

// publish makes the vendor's repository and reads it as a control plane does.
func (w *World) publish(vendor *debworld.Key) (f proposal.Fact, blobs [][]byte, err error) {
	dir, err := os.MkdirTemp("", "evidencetest-")
	if err != nil {
		return f, nil, err
	}
	defer os.RemoveAll(dir)
	repo, err := debworld.NewRepo(dir, debworld.RepoConfig{Origin: "Debian", Label: "Debian-Security", Suite: "stable-security", Codename: "bookworm-security"})
	if err != nil {
		return f, nil, err
	}
	for _, v := range []string{Old, New} {
		p := debworld.Package{Name: Package, Version: v, Files: map[string]debworld.File{"/usr/share/hello/text": {Content: "hello " + v + "\n"}}}
		raw, err := p.Build()
		if err != nil {
			return f, nil, err
		}
		if err := repo.AddRaw(p, raw); err != nil {
			return f, nil, err
		}
		w.Debs[canon.SumFile(raw)] = raw
	}
	in, err := repo.Publish(debworld.Publication{At: w.House.Now.Add(-24 * time.Hour), ValidFor: 7 * 24 * time.Hour, Signers: []debworld.Signer{{Key: vendor}}})
	if err != nil {
		return f, nil, err
	}
	const path = "main/binary-amd64/Packages.xz"
	packages, err := os.ReadFile(filepath.Join(dir, "dists/bookworm-security", path))
	if err != nil {
		return f, nil, err
	}
	f, err = w.describe(in, path, packages)
	return f, [][]byte{in, packages}, err
}

// describe makes the fact about the one upgrade.
func (w *World) describe(in []byte, path string, packages []byte) (proposal.Fact, error) {
	origin, _ := w.House.Root.Origin("debian-security")
	release, err := provenance.ReadRelease(in, origin, w.House.Root.Keyrings[origin.Keyring], 0, w.House.Now)
	if err != nil {
		return proposal.Fact{}, err
	}
	x, err := release.ReadPackages(path, bytes.NewReader(packages))
	if err != nil {
		return proposal.Fact{}, err
	}
	var entries [2]provenance.Entry
	var inside [2]artefact.Contents
	for i, v := range []string{Old, New} {
		if entries[i], err = x.Find(Package, "amd64", v); err != nil {
			return proposal.Fact{}, err
		}
		raw := w.Debs[entries[i].Artefact()]
		if inside[i], err = artefact.Open(bytes.NewReader(raw), int64(len(raw))); err != nil {
			return proposal.Fact{}, err
		}
	}
	diff := artefact.Compare(&inside[0], inside[1])
	class, reasons := artefact.Class(diff, inside[1], w.House.Root.Critical)
	source, sourceVersion := entries[1].Source()
	return proposal.Fact{Package: Package, Arch: "amd64", From: Old, To: New, Source: source, SourceVersion: sourceVersion, Class: class, Reasons: reasons,
		Diff: diff, Breaks: []artefact.Break{}, Chain: entries[1].Chain(), Back: entries[0].Chain()}, nil
}

// propose makes the plan: one host a wave.
func (w *World) propose(f proposal.Fact) error {
	now := w.House.Now.Unix()
	r := proposal.Request{Nonce: strings.Repeat("1f", 32), Author: w.House.People[2].ID, Created: now - 3*3600, Expires: now + 6*24*3600,
		Generation: 1, Facts: []proposal.Fact{f}, Note: "Ann's greeting \u00e9, twice"}
	forth := change.Change{Op: change.Upgrade, Scheme: version.Deb, Package: f.Package, Arch: f.Arch, From: f.From, To: f.To,
		Artefact: f.Chain.Artefact, Size: f.Chain.Size, Origin: f.Chain.Origin, Class: f.Class}
	back := change.Change{Op: change.Downgrade, Scheme: version.Deb, Package: f.Package, Arch: f.Arch, From: f.To, To: f.From,
		Artefact: f.Back.Artefact, Size: f.Back.Size, Origin: f.Back.Origin, Class: change.Critical}
	finding := match.Finding{Advisory: "CVE-2026-0001", Package: f.Package, Arch: f.Arch, Source: f.Source, Fixed: w.fixed, State: match.Affected,
		Sources: []match.Source{{State: match.Affected, Authority: advisory.Distribution}}}
	for i := range w.Options.Hosts {
		r.Waves = append(r.Waves, plan.Wave{NotBefore: now - 3*3600, Good: 1})
		r.Hosts = append(r.Hosts, proposal.HostRequest{ID: w.House.Hosts[i].ID, Wave: i, Inventory: canon.SumFile([]byte{byte(i)}),
			Findings: []match.Finding{finding}, Changes: []change.Change{forth}, Back: []change.Change{back},
			Held: []proposal.Held{{Package: "world", Why: canon.NoteOf("no newer version is there")}}})
	}
	h, branches, d, err := proposal.New(r)
	w.Bundle.Type, w.Bundle.Root = evidence.TypeBundle, w.House.Root.ID
	w.Bundle.Header, w.Bundle.Branches, w.Bundle.Dossier = h, branches, d
	return err
}
