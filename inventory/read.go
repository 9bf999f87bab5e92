package inventory

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/version"
)

// ErrNotARoot says that the file system holds neither a system description nor
// a package database: most likely the wrong directory was given.
var ErrNotARoot = errors.New("neither etc/os-release nor var/lib/dpkg/status is there; give the top directory of a system's root file system")

// Read learns everything that a root's files tell, and takes in what others read
// from its databases that are no plain files. The only errors are ErrNotARoot
// and a nil fsys; all else that goes wrong is a Gap.
func Read(fsys fs.FS, more ...Database) (Inventory, error) {
	if fsys == nil || !looksLikeRoot(fsys) {
		return Inventory{}, ErrNotARoot
	}
	system, gaps := readOS(fsys)
	packages, holes := readPackages(fsys, more)
	inv := Inventory{OS: system, Packages: packages, Partial: append(gaps, holes...)}
	if inv.Arch = nativeArch(fsys, packages); inv.Arch == "" {
		inv.Partial = append(inv.Partial, Gap{AreaArch, "the native architecture is not told by the package dpkg, by " + archFile + ", or by all packages alike"})
	}
	inv.Kernel.Installed = Images(packages)
	if inv.Partial == nil {
		inv.Partial = []Gap{}
	}
	return inv, nil
}

func looksLikeRoot(fsys fs.FS) bool {
	for _, p := range []string{"etc/os-release", "usr/lib/os-release", statusFile, statusDir, apkFile, apkUsr} {
		if _, err := fs.Stat(fsys, p); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

// readOS reads etc/os-release, or usr/lib/os-release where the former is
// missing or a link that leads out of the root.
func readOS(fsys fs.FS) (OS, []Gap) {
	for _, path := range []string{"etc/os-release", "usr/lib/os-release"} {
		raw, err := readSmall(fsys, path)
		if err != nil {
			continue
		}
		o, err := ParseOSRelease(raw)
		if err != nil {
			return o, []Gap{{AreaOS, path + ": " + err.Error()}}
		}
		if o.VersionID == "" {
			return o, []Gap{{AreaOS, path + " has no VERSION_ID, so the release is not known"}}
		}
		return o, nil
	}
	return OS{}, []Gap{{AreaOS, "etc/os-release and usr/lib/os-release are missing or cannot be read"}}
}

// maxSmall is far above any real os-release or arch file (below 1 KB).
const maxSmall = 64 << 10

func readSmall(fsys fs.FS, path string) (string, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(b) > maxSmall {
		err = errTooBig
	}
	return string(b), err
}

// ParseOSRelease reads the text of an os-release(5) file of at most 64 KiB.
// Lines it cannot read are an error when they carry one of the wanted keys.
func ParseOSRelease(text string) (OS, error) {
	if len(text) > maxSmall {
		return OS{}, errTooBig
	}
	var o OS
	into := map[string]*string{"ID": &o.ID, "VERSION_ID": &o.VersionID, "VERSION_CODENAME": &o.Codename}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		to := into[key]
		if to == nil {
			continue
		}
		v, ok := unquote(value)
		if !ok || (v != "" && !word(v)) {
			return OS{}, fmt.Errorf("the value of %s cannot be read", key)
		}
		*to = v // a later assignment wins, as in a shell
	}
	if o.ID == "" {
		return OS{}, errors.New("ID is missing")
	}
	return o, nil
}

// unquote undoes the shell quoting that os-release(5) allows.
func unquote(s string) (string, bool) {
	switch {
	case len(s) >= 2 && s[0] == '\'' && s[len(s)-1] == '\'':
		s = s[1 : len(s)-1]
		return s, !strings.Contains(s, "'")
	case len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"':
		return unescape(s[1 : len(s)-1])
	}
	return s, !strings.ContainsAny(s, "\"'\\$`")
}

func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"', '$', '`':
			return "", false
		case '\\':
			if i++; i == len(s) || !strings.ContainsRune("\"$`\\", rune(s[i])) {
				return "", false
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

// nativeArch is dpkg's own architecture; else the first line of dpkg's arch
// file; else the only one that packages have.
func nativeArch(fsys fs.FS, packages []Package) string {
	common := ""
	for _, p := range packages {
		if !p.Status.Present() || p.Arch == "" || p.Arch == "all" || p.Arch == "noarch" {
			continue
		}
		if p.Name == "dpkg" || p.Name == "rpm" || p.Name == "apk-tools" {
			return p.Arch
		}
		if common == "" {
			common = p.Arch
		} else if common != p.Arch {
			common = "several"
		}
	}
	if text, err := readSmall(fsys, archFile); err == nil {
		if first, _, _ := strings.Cut(text, "\n"); word(first) {
			return first
		}
	}
	if common == "several" {
		return ""
	}
	return common
}

// Images picks the kernel image packages, ascending by release; never nil. A
// release begins with three numbers; linux-image-amd64 and linux-image-6.12-amd64
// only point at an image.
func Images(packages []Package) []Image {
	out := []Image{}
	for _, p := range packages {
		if p.Scheme == version.RPM {
			if i, ok := rpmImage(p); ok {
				out = append(out, i)
			}
			continue
		}
		release, ok := strings.CutPrefix(p.Name, "linux-image-")
		release = strings.TrimSuffix(strings.TrimPrefix(release, "unsigned-"), "-unsigned")
		if ok && p.Status.Present() && isRelease(release) {
			out = append(out, Image{Release: release, Package: p.Name, Version: p.Version})
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

// rpmKernels are the packages that hold an image, and what uname -r prints after
// version-release.arch (the RHEL family's LOCALVERSION).
var rpmKernels = map[string]string{"kernel": "", "kernel-core": "", "kernel-uek": "", "kernel-uek-core": "", "kernel-rt": "", "kernel-rt-core": "+rt", "kernel-64k-core": "+64k", "kernel-debug-core": "+debug"}

// rpmImage is the image in a package such as kernel-core; its release is what
// uname -r prints. Several may be installed at once. Until EL 7 the image is in
// "kernel"; later that package is empty and stands beside its kernel-core.
func rpmImage(p Package) (Image, bool) {
	variant, ok := rpmKernels[p.Name]
	if !ok {
		return Image{}, false
	}
	_, release, ok := strings.Cut(p.Version, ":")
	if !ok {
		release = p.Version
	}
	release += "." + p.Arch
	if variant != "+rt" || !strings.Contains(p.Version, ".rt") { // until EL 9.2 the version says rt
		release += variant
	}
	return Image{Release: release, Package: p.Name, Version: p.Version, Scheme: version.RPM}, true
}

// withoutEmpty drops the packages that only point at an image beside them.
func withoutEmpty(list []Image) []Image {
	return slices.DeleteFunc(slices.Clone(list), func(i Image) bool {
		return i.Scheme == version.RPM && slices.ContainsFunc(list, func(o Image) bool { return o.Package == i.Package+"-core" && o.Version == i.Version })
	})
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
