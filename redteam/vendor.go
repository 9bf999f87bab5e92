package redteam

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
)

// Names of the vendor in a trust root.
const (
	VendorOrigin  change.Origin = "redteam-vendor"
	VendorKeyring string        = "redteam-vendor.gpg"
)

// Vendor is a vendor of small packages whose signing key is at hand: what he
// signs is right by the trust root, and may be wrong by everything else.
type Vendor struct {
	Origin  trust.Origin // for the trust root
	Keyring []byte       // for the trust root, under VendorKeyring
	key     *debworld.Key
}

// NewVendor makes a vendor with a new key.
func NewVendor() (*Vendor, error) {
	key, err := debworld.NewKey(debworld.KeyConfig{Name: "Red Team Vendor", Created: time.Now().Add(-30 * 24 * time.Hour)})
	if err != nil {
		return nil, err
	}
	ring, err := debworld.Keyring(key)
	return &Vendor{key: key, Keyring: ring, Origin: trust.Origin{ID: VendorOrigin, Keyring: VendorKeyring, Signers: 1,
		Origin: "RedTeam", Label: "RedTeam", Codename: "redteam", Suites: []string{"stable"}, Sections: []string{"main"}}}, err
}

// edition is one state of what the vendor publishes.
type edition struct {
	at       time.Time
	edit     func(release string) string // before it is signed
	packages []debworld.Package
}

// pool writes an edition to a directory as it travels with a writ: the release,
// its indexes, and every package by digest.
func (v *Vendor) pool(dir string, e edition) error {
	repo, err := debworld.NewRepo(filepath.Join(dir, "repo"), debworld.RepoConfig{Origin: v.Origin.Origin, Label: v.Origin.Label, Suite: "stable", Codename: v.Origin.Codename})
	if err != nil {
		return err
	}
	if err := repo.Add(e.packages...); err != nil {
		return err
	}
	signed := e.at
	if late := time.Now().Add(-time.Minute); signed.After(late) {
		signed = late // a signature of the future is refused for that
	}
	in, err := repo.Publish(debworld.Publication{At: e.at, Edit: e.edit, Signers: []debworld.Signer{{Key: v.key, At: signed}}})
	if err != nil {
		return err
	}
	const index = "main/binary-amd64/Packages.xz"
	packages, err := os.ReadFile(filepath.Join(repo.Dir, "dists", v.Origin.Codename, index))
	if err != nil {
		return err
	}
	release := filepath.Join(dir, "releases", string(v.Origin.ID))
	if err := errors.Join(put(filepath.Join(release, "InRelease"), in), put(filepath.Join(release, index), packages)); err != nil {
		return err
	}
	for _, p := range e.packages {
		raw, err := p.Build()
		if err != nil {
			return err
		}
		if err := put(blob(dir, canon.SumFile(raw)), raw); err != nil {
			return err
		}
	}
	return nil
}

func blob(pool string, d canon.Digest) string { return filepath.Join(pool, "sha256", string(d)) }

// put writes a file with its directories.
func put(path string, raw []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o644)
}

// step is one package before and after; an empty name is none.
type step struct{ from, to debworld.Package }

// back is the way back.
func (s step) back() step { return step{s.to, s.from} }

// change is the exact change of a step.
func (v *Vendor) change(s step, class change.Class) (change.Change, error) {
	named := s.to
	if named.Name == "" {
		named = s.from
	}
	c := change.Change{Op: change.Upgrade, Scheme: version.Deb, Package: named.Name, Arch: "amd64", From: s.from.Version, To: s.to.Version, Class: class}
	switch {
	case s.from.Name == "":
		c.Op = change.Install
	case s.to.Name == "":
		c.Op = change.Remove
		return c, nil
	default:
		n, err := version.Compare(version.Deb, s.from.Version, s.to.Version)
		if err != nil {
			return c, err
		}
		if n > 0 {
			c.Op = change.Downgrade
		}
	}
	raw, err := s.to.Build()
	if err != nil {
		return c, err
	}
	c.Artefact, c.Size, c.Origin = canon.SumFile(raw), int64(len(raw)), v.Origin.ID
	return c, nil
}

// The packages of the play. Names with grub and patchwrit are on every critical
// list.
const (
	greeting = "pw-greeting"
	bystand  = "pw-bystander"
	bootlike = "grub-pw-redteam"
	ourOwn   = "patchwrit-agent"
)

// pkg is a small package with one file, which belongs to nobody else.
func pkg(name, version string) debworld.Package {
	return debworld.Package{Name: name, Version: version, Files: map[string]debworld.File{
		"/usr/share/" + name + "/text": {Content: fmt.Sprintf("%s %s\n", name, version)},
	}}
}

// ownedMark is a file that exists on a host only when a trojan has run there.
const ownedMark = "tmp/pw-redteam-owned"

// trojan is a package with a maintainer script of the attacker's.
func trojan(p debworld.Package) debworld.Package {
	p.Scripts = map[string]string{"postinst": "#!/bin/sh\ntouch /" + ownedMark + "\n"}
	return p
}
