// Package inventory is what a host has and runs: its system, its packages with
// their dpkg states, its kernels, and the processes that still map deleted files.
//
// The parties: the edge opens a root file system and the files of /proc and
// hands them in; match, proposal, integrity and people read the result. The
// objects are Inventory and its Gaps. Read is deterministic: one root gives one
// Inventory, byte for byte, whatever the order on disk.
//
// The promise: nothing that is missing, cut short or absurd passes in silence.
// Each such thing is a Gap, and an inventory with gaps can answer "unknown" but
// never "clean".
//
// It opens no file by itself, runs nothing, and does not say which packages are
// vulnerable. Give it the file system of an os.Root: a plain directory would
// follow a root's absolute links out into the machine that looks at it.
// It reads dpkg's and apk's databases. rpm's is no plain file: room
// inventory/rpmdb opens it and hands the packages to Read; without that an rpm
// system has a Gap.
package inventory

import (
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/version"
)

// Domain is the digest domain of an Inventory.
const Domain = "patchwrit/inventory/v1"

// Inventory is one host at one moment. Its strings are printable ASCII and its
// slices are never nil, so that it has canonical bytes.
type Inventory struct {
	OS       OS        `json:"os"`
	Arch     string    `json:"arch"`     // dpkg's native architecture, "amd64"
	Packages []Package `json:"packages"` // ascending by name, architecture, version
	Kernel   Kernel    `json:"kernel"`
	Partial  []Gap     `json:"partial"` // what could not be learned; empty when all was read
}

// OS names the release, as os-release(5) spells it.
type OS struct {
	ID        string `json:"id"`         // "debian"
	VersionID string `json:"version_id"` // "12"; "" for a rolling release
	Codename  string `json:"codename"`   // "bookworm"
}

// Package is one entry of the package database.
type Package struct {
	Name          string         `json:"name"`
	Arch          string         `json:"arch"`
	Version       string         `json:"version"` // of the binary package
	Scheme        version.Scheme `json:"scheme"`
	Source        string         `json:"source"`
	SourceVersion string         `json:"source_version"` // what advisories speak of
	Status        Status         `json:"status"`
	Hold          bool           `json:"hold"`       // people asked to leave it alone
	MultiArch     string         `json:"multi_arch"` // "same", "foreign", "allowed" or ""
	Essential     bool           `json:"essential"`
	Module        string         `json:"module,omitempty"` // rpm's modularity label, "nodejs:18:8090020240301:a75119d5"
}

// Key is "name:arch", as in change.Change, unique within an Inventory; rpm
// alone may have several kernels under one key.
func (p Package) Key() string { return p.Name + ":" + p.Arch }

// Status is the three words of dpkg's Status field (dpkg-query(1)).
type Status struct {
	Want  string `json:"want"`  // "install", "hold", "deinstall", "purge", "unknown"
	Flag  string `json:"flag"`  // "ok" or "reinstreq"
	State string `json:"state"` // one of the State constants
}

// The states a package can be in (dpkg(1), "Package states").
const (
	NotInstalled    = "not-installed"
	ConfigFiles     = "config-files"
	HalfInstalled   = "half-installed"
	Unpacked        = "unpacked"
	HalfConfigured  = "half-configured"
	TriggersAwaited = "triggers-awaited"
	TriggersPending = "triggers-pending"
	Installed       = "installed"
)

// Present reports whether the package's files may be on the disk. A state that
// is not known counts as present.
func (s Status) Present() bool { return s.State != NotInstalled && s.State != ConfigFiles }

// Settled reports whether the recorded version is certainly the one on the
// disk. While half-installed, files of an older version may be there instead.
func (s Status) Settled() bool {
	switch s.State {
	case Unpacked, HalfConfigured, TriggersAwaited, TriggersPending, Installed:
		return s.Flag == "ok"
	}
	return false
}

// Kernel is what runs and what could run after the next boot.
type Kernel struct {
	Running   string  `json:"running"`   // release of uname(2), filled in by the edge; "" for a root that is not running
	Installed []Image `json:"installed"` // ascending by release
}

// Newest is the newest installed kernel of the flavour that runs, by the order of
// versions: the one that should run after the next boot. A real-time kernel is no
// older or newer than an ordinary one. Where it is not known what runs, or that is
// of no installed package, it is the newest of all; the zero Image when there is
// none, as in a container. Of several of one version it is the one that runs.
func (k Kernel) Newest() Image {
	list := k.Installed
	if at := slices.IndexFunc(list, func(i Image) bool { return i.Release == k.Running }); at >= 0 {
		flavour := list[at].flavour()
		list = slices.DeleteFunc(slices.Clone(list), func(i Image) bool { return i.flavour() != flavour })
	}
	newest := Image{}
	for _, image := range list {
		if n, err := version.Compare(image.scheme(), image.order(), newest.order()); newest.Release == "" || err == nil && (n > 0 || n == 0 && image.Release == k.Running) {
			newest = image
		}
	}
	return newest
}

// Image is one installed kernel image.
type Image struct {
	Release string `json:"release"` // "6.1.0-37-amd64"
	Package string `json:"package"`
	Version string `json:"version"` // of the package
	// Scheme orders Version; "" is version.Deb.
	Scheme version.Scheme `json:"scheme,omitempty"`
}

func (i Image) scheme() version.Scheme {
	if i.Scheme == "" {
		return version.Deb
	}
	return i.Scheme
}

// Area says which question a Gap leaves open.
type Area string

// The areas of an inventory.
const (
	AreaOS       Area = "os"
	AreaArch     Area = "arch"
	AreaPackages Area = "packages"
)

// Gap is one thing that could not be learned, and why.
type Gap struct {
	What Area   `json:"what"`
	Why  string `json:"why"` // one sentence for people, printable ASCII
}

// Digest names the inventory: canon.Sum over its canonical bytes. The error
// means that it was built by hand outside the promises of its fields.
func (i Inventory) Digest() (canon.Digest, error) {
	b, err := canon.Encode(i)
	if err != nil {
		return "", err
	}
	return canon.Sum(Domain, b), nil
}
