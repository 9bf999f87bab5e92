package inventory

import (
	"strings"

	"github.com/patchwrit/patchwrit/version"
)

// Boot is how the kernel that runs stands to the installed ones of its flavour.
type Boot string

// The answers of Kernel.Boot.
const (
	BootNone      Boot = "none"          // no kernel of its own is installed, as in a container
	BootUnknown   Boot = "unknown"       // it is not known what runs
	BootNewest    Boot = "newest"        // the newest installed kernel of its flavour runs
	BootOlder     Boot = "older"         // an installed one runs, and a newer one of its flavour waits for a boot
	BootReplaced  Boot = "replaced"      // its package was replaced under its name: an older build runs
	BootUnmatched Boot = "not-installed" // what runs is of no installed package
)

// Boot tells it. build is what uname -v prints, "" when it is not known: Debian
// writes the package's version there, for it replaces builds under one release.
// Releases of rpm's kernels change with each build.
func (k Kernel) Boot(build string) Boot {
	newest := k.Newest()
	switch {
	case newest.Release == "":
		return BootNone
	case k.Running == "":
		return BootUnknown
	}
	for _, i := range k.Installed {
		if i.Release != k.Running {
			continue
		}
		if v := DebianBuild(build); v != "" && i.scheme() == version.Deb {
			if order, err := version.Compare(version.Deb, v, i.Version); err != nil || order < 0 {
				return BootReplaced
			}
		}
		if i.Release != newest.Release {
			return BootOlder
		}
		return BootNewest
	}
	return BootUnmatched
}

// DebianBuild is the package version in the build of Debian's kernels: "#1 SMP
// PREEMPT_DYNAMIC Debian 6.1.159-1 (2025-12-30)". "": another maker's.
func DebianBuild(uname string) string {
	_, after, ok := strings.Cut(uname, " Debian ")
	if !ok {
		return ""
	}
	v, _, _ := strings.Cut(after, " ")
	return v
}

// ImageOf is the installed image that a package is, or is a part of: its modules,
// and the empty package beside it. Tools, headers and documentation are none.
func (k Kernel) ImageOf(name, ver string) (Image, bool) {
	for _, i := range k.Installed {
		if i.Package == name && i.Version == ver {
			return i, true
		}
		if i.scheme() == version.RPM {
			base := rpmBase(i.Package)
			if i.Version == ver && (name == base || strings.HasPrefix(name, base+"-modules")) {
				return i, true
			}
		} else if strings.HasPrefix(name, "linux-modules-") && strings.HasSuffix(name, "-"+i.Release) {
			return i, true
		}
	}
	return Image{}, false
}
