package inventory

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
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
	f, err := Open(fsys, path)
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
