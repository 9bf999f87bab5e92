package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/trust"
)

// vendorCodename names the suite of a Vendor.
const vendorCodename = "pwtest"

// Vendor is an archive of the workshop's own: small packages that really fail,
// wait or succeed, on no mirror.
type Vendor struct {
	Origin Origin

	key  *debworld.Key
	repo *debworld.Repo
}

// NewVendor makes an empty archive below dir.
func NewVendor(dir string) (*Vendor, error) {
	key, err := debworld.NewKey(debworld.KeyConfig{Name: "Vendor", Created: time.Now().Add(-24 * time.Hour)})
	if err != nil {
		return nil, err
	}
	v := &Vendor{key: key, Origin: Origin{File: filepath.Join(dir, "vendor.json"), Keyring: filepath.Join(dir, "vendor.gpg"),
		Source: "vendor=file://" + filepath.Join(dir, "repo") + "," + vendorCodename}}
	ring, err := debworld.Keyring(key)
	if err != nil {
		return nil, err
	}
	origin, err := json.Marshal(trust.Origin{ID: "vendor", Keyring: "vendor.gpg", Signers: 1, Origin: "Vendor", Label: "Vendor",
		Codename: vendorCodename, Suites: []string{"stable"}, Sections: []string{"main"}})
	if err != nil {
		return nil, err
	}
	v.repo, err = debworld.NewRepo(filepath.Join(dir, "repo"), debworld.RepoConfig{Origin: "Vendor", Label: "Vendor", Suite: "stable", Codename: vendorCodename})
	return v, errors.Join(err, os.WriteFile(v.Origin.File, origin, 0o644), os.WriteFile(v.Origin.Keyring, ring, 0o644))
}

// Offer publishes further packages.
func (v *Vendor) Offer(packages ...debworld.Package) error {
	if err := v.repo.Add(packages...); err != nil {
		return err
	}
	_, err := v.repo.Publish(debworld.Publication{At: time.Now(), Signers: []debworld.Signer{{Key: v.key}}})
	return err
}

// Fix is a version of a package whose changelog names a CVE, and what it is
// after; none for the first version.
func Fix(name, version, cve string, scripts map[string]string) debworld.Package {
	p := debworld.Package{Name: name, Version: version, Scripts: scripts,
		Files: map[string]debworld.File{"/usr/share/" + name + "/version": {Content: version + "\n"}}}
	if cve != "" {
		p.Changelog = append(p.Changelog, debworld.Change{Version: version, Lines: []string{"Fix " + cve + "."}, At: time.Now()})
	}
	p.Changelog = append(p.Changelog, debworld.Change{Version: "1.0-1", Lines: []string{"New upstream release."}, At: time.Now().Add(-time.Hour)})
	return p
}

// Preinstall puts packages on a host by plain dpkg, as if from before.
func (m *Machine) Preinstall(ctx context.Context, packages ...debworld.Package) error {
	for _, p := range packages {
		raw, err := p.Build()
		if err != nil {
			return err
		}
		file := "/tmp/" + p.FileName()
		if err := m.Root.Write(file, raw, 0o644); err != nil {
			return err
		}
		if _, err := m.Root.Run(ctx, "dpkg", "-i", file); err != nil {
			return err
		}
	}
	return nil
}

// Withdraw takes a version back and publishes what is left.
func (v *Vendor) Withdraw(name, version string) error {
	v.repo.Drop(name, version, "amd64")
	return v.Offer()
}
