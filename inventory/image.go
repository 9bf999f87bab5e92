package inventory

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/version"
)

// Images picks the packages that hold a kernel image, ascending by release; never
// nil. Of Debian and Ubuntu linux-image-RELEASE, where a release begins with three
// numbers (linux-image-amd64 and linux-image-6.12-amd64 only point at one); of rpm
// systems as rpmVariant says; of Alpine its flavours.
func Images(packages []Package) []Image {
	out := []Image{}
	for _, p := range packages {
		if !p.Status.Present() {
			continue
		}
		image := debImage
		switch p.Scheme {
		case version.RPM:
			image = rpmImage
		case version.APK:
			image = apkImage
		}
		if release := image(p); release != "" {
			i := Image{Release: release, Package: p.Name, Version: p.Version}
			if p.Scheme != version.Deb {
				i.Scheme = p.Scheme
			}
			out = append(out, i)
		}
	}
	out = withoutEmpty(out)
	slices.SortFunc(out, func(a, b Image) int {
		if c := strings.Compare(a.Release, b.Release); c != 0 {
			return c
		}
		return strings.Compare(a.Package, b.Package)
	})
	return slices.Compact(out)
}

// debImage is the release in a name such as linux-image-6.1.0-42-amd64; "": none.
func debImage(p Package) string {
	release, ok := strings.CutPrefix(p.Name, "linux-image-")
	release = strings.TrimSuffix(strings.TrimPrefix(release, "unsigned-"), "-unsigned")
	if !ok || !isRelease(release) {
		return ""
	}
	return release
}

// apkFlavours are Alpine's kernels: linux-FLAVOUR.
var apkFlavours = []string{"asahi", "edge", "elm", "grsec", "gru", "hardened", "lts", "rpi", "rpi2", "rpi4", "stable", "starfive", "vanilla", "virt", "virtgrsec", "virthardened"}

// apkImage is "6.6.31-0-lts" for linux-lts 6.6.31-r0 (the kernel's APKBUILD: version,
// package release, flavour); "": none.
func apkImage(p Package) string {
	flavour, ok := strings.CutPrefix(p.Name, "linux-")
	ver, rel, has := strings.Cut(p.Version, "-r")
	if !ok || !has || !slices.Contains(apkFlavours, flavour) {
		return ""
	}
	return ver + "-" + rel + "-" + flavour
}

// rpmImage is what uname -r prints for the kernel in a package such as
// kernel-core; "": it holds none. Several may be installed at once.
func rpmImage(p Package) string {
	variant, ok := rpmVariant(p)
	if !ok {
		return ""
	}
	_, release, ok := strings.Cut(p.Version, ":")
	if !ok {
		release = p.Version
	}
	return release + "." + p.Arch + variant
}

// rpmWhole are packages with an image that have no "-core" beside them, and what
// uname -r prints behind version-release.arch: EL 7's, Oracle's and ELRepo's.
var rpmWhole = map[string]string{"kernel": "", "kernel-uek": "", "kernel-rt": "", "kernel-lt": "", "kernel-ml": "", "kernel-plus": "", "kernel-debug": ".debug", "kernel-rt-debug": ".debug"}

// rpmVariant is what uname -r prints behind version-release.arch, the variant of
// the RHEL family's kernel.spec: "+rt" of kernel-rt-core, "+64k-debug" of
// kernel-64k-debug-core. Oracle's and ELRepo's have none.
func rpmVariant(p Package) (string, bool) {
	if v, ok := rpmWhole[p.Name]; ok {
		return v, true
	}
	base := rpmBase(p.Name)
	variant, ok := strings.CutPrefix(base, "kernel")
	if !ok || base == p.Name || variant != "" && variant[0] != '-' || strings.HasSuffix(base, "-modules") {
		return "", false
	}
	switch variant = strings.TrimPrefix(variant, "-"); variant {
	case "", "uek", "lt", "ml", "plus":
		return "", true
	}
	if rest, ok := strings.CutPrefix(variant, "rt"); ok && strings.Contains(p.Version, ".rt") { // until EL 9.2 the version says rt
		if variant = strings.TrimPrefix(rest, "-"); variant == "" {
			return "", true
		}
	}
	return "+" + variant, true
}

// rpmBase is the name that the packages of one kernel share: "kernel-rt" of
// kernel-rt-core, "kernel" of kernel-uki-virt, which is the same as one file.
func rpmBase(name string) string {
	return strings.TrimSuffix(strings.TrimSuffix(name, "-uki-virt"), "-core")
}

// withoutEmpty drops the packages that only point at an image beside them: from
// EL 8 on "kernel" is empty and stands beside its kernel-core.
func withoutEmpty(list []Image) []Image {
	return slices.DeleteFunc(slices.Clone(list), func(i Image) bool {
		return i.Scheme == version.RPM && slices.ContainsFunc(list, func(o Image) bool { return o.Package == i.Package+"-core" && o.Version == i.Version })
	})
}

// flavour names the kernels of which a newer one takes an older one's place: the
// package of rpm and apk, what stands behind the version in Debian's and Ubuntu's
// release ("rt-amd64" of 6.1.0-42-rt-amd64, "amd64" of 6.12.48+deb13-amd64). Other
// makers count their builds behind a word: 6.1.0-rpi7-rpi-v8, 6.8.9-x64v3-xanmod1.
// Which commit it was built from is no part of it.
func (i Image) flavour() string {
	switch i.scheme() {
	case version.RPM:
		return rpmBase(i.Package)
	case version.APK:
		return i.Package
	}
	ver, rest, _ := strings.Cut(ofCommit.ReplaceAllString(i.Release, ""), "-")
	if strings.Contains(ver, "+") {
		return rest
	}
	if abi, behind, ok := strings.Cut(rest, "-"); ok && abi != "" && abi[0] >= '0' && abi[0] <= '9' {
		return behind
	}
	words := strings.Split(rest, "-")
	for i, w := range words {
		if !strings.HasSuffix(w, "64") { // amd64
			words[i] = strings.TrimRight(w, "0123456789")
		}
	}
	return strings.Join(words, "-")
}

// What the kernel's scripts/setlocalversion writes last in a release: how many
// commits are behind the tag, -g and the commit (12 digits, once as short as git
// made it), and whether there was more than is committed; or a "+" alone, where
// CONFIG_LOCALVERSION_AUTO is off.
var (
	ofCommit = regexp.MustCompile(`(?:(?:-[0-9]{5,})?-g[0-9a-f]{7,40}(?:-dirty)?|-dirty|\+)$`)
	commit   = regexp.MustCompile(`-g[0-9a-f]{7,40}(?:-dirty)?(-|$)`) // in a package's version, before its revision
)

// order is what orders the image among those of its flavour: the version, without
// a commit, which says nothing of older and newer.
func (i Image) order() string {
	if i.scheme() != version.Deb {
		return i.Version
	}
	return commit.ReplaceAllString(i.Version, "$1")
}

// Owns reports whether a root has the modules or the image of a kernel of this
// release, as far as files tell: a container that shares its host's kernel has not.
func Owns(fsys fs.FS, release string) bool {
	for _, dir := range []string{"lib/modules/", "usr/lib/modules/", "boot/vmlinuz-"} {
		if p := dir + release; word(release) && !strings.Contains(release, "/") && fs.ValidPath(p) {
			if _, err := fs.Stat(fsys, p); err == nil {
				return true
			}
		}
	}
	return false
}

func isRelease(s string) bool {
	for range 2 {
		rest := strings.TrimLeft(s, "0123456789")
		if rest == s || !strings.HasPrefix(rest, ".") {
			return false
		}
		s = rest[1:]
	}
	return s != "" && s[0] >= '0' && s[0] <= '9' && !strings.HasSuffix(s, "-dbg")
}
