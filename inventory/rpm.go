package inventory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/patchwrit/patchwrit/version"
)

// Database is what another reader learned from a package database that is no
// plain file: rpm's (room inventory/rpmdb).
type Database struct {
	Packages []Package
	Gaps     []Gap
}

// Limits of an rpm header. rpm itself takes at most 64 Ki entries and 256 MB
// (lib/header.c); the largest header of a real distribution is below 20 MB.
const (
	maxRPMTags   = 64 << 10
	MaxRPMHeader = 64 << 20 // bytes
)

// The tags that are read (rpm's rpmtag.h), and their types.
const (
	rpmName, rpmVersion, rpmRelease, rpmEpoch = 1000, 1001, 1002, 1003
	rpmArch, rpmSource, rpmModule             = 1022, 1044, 5096
	rpmInt32, rpmString                       = 4, 6
)

// ErrPubkey says that a header is a trusted key, which rpm keeps among packages.
var ErrPubkey = errors.New("a public key, not a package")

// ParseRPM reads one header as rpm keeps it in its database: two counts, the
// index, the data, in network order and without the magic of a package file.
// Version is [epoch:]version-release, without a zero epoch. The error says why
// it is no package, or is ErrPubkey.
func ParseRPM(header []byte) (Package, error) {
	s, epoch, err := rpmTags(header)
	if err != nil {
		return Package{}, err
	}
	p := Package{Name: s[rpmName], Arch: s[rpmArch], Scheme: version.RPM, Module: s[rpmModule], Status: installed}
	if p.Name == "gpg-pubkey" {
		return Package{}, ErrPubkey
	}
	if !word(p.Name) || strings.Contains(p.Name, "/") {
		return Package{}, fmt.Errorf("%+q is no package name", p.Name)
	}
	p.Version = s[rpmVersion] + "-" + s[rpmRelease]
	if epoch > 0 {
		p.Version = fmt.Sprintf("%d:%s", epoch, p.Version)
	}
	if err := version.Valid(version.RPM, p.Version); err != nil {
		return p, fmt.Errorf("package %+q: %+q", p.Name, err.Error())
	}
	if !word(p.Arch) || p.Module != "" && !word(p.Module) {
		p.Arch, p.Module = "", ""
		return p, fmt.Errorf("package %+q has an odd architecture or module", p.Name)
	}
	p.Source, p.SourceVersion = SourceRPM(s[rpmSource])
	if p.Source == "" {
		p.Source, p.SourceVersion = p.Name, p.Version
	}
	return p, nil
}

// SourceRPM cuts "openssl-3.0.7-1.el9.src.rpm" into name and version-release;
// both are "" when it has no such form.
func SourceRPM(file string) (name, ver string) {
	base, ok := strings.CutSuffix(file, ".src.rpm")
	if !ok {
		base, ok = strings.CutSuffix(file, ".nosrc.rpm")
	}
	r := strings.LastIndexByte(base, '-')
	if !ok || r <= 0 || !word(base) {
		return "", ""
	}
	v := strings.LastIndexByte(base[:r], '-')
	if v <= 0 {
		return "", ""
	}
	return base[:v], base[v+1:]
}

// rpmTags gives the wanted strings by tag, and the epoch.
func rpmTags(h []byte) (map[uint32]string, uint32, error) {
	if len(h) < 8 {
		return nil, 0, errors.New("the header is cut short")
	}
	il, dl := binary.BigEndian.Uint32(h), binary.BigEndian.Uint32(h[4:])
	if il > maxRPMTags || dl > MaxRPMHeader || 8+16*uint64(il)+uint64(dl) > uint64(len(h)) {
		return nil, 0, fmt.Errorf("the header has %d bytes and claims %d entries and %d bytes of data", len(h), il, dl)
	}
	index, data := h[8:8+16*il], h[8+16*il:8+16*il+dl]
	out, epoch := map[uint32]string{}, uint32(0)
	for ; len(index) > 0; index = index[16:] {
		tag, kind, at := binary.BigEndian.Uint32(index), binary.BigEndian.Uint32(index[4:]), binary.BigEndian.Uint32(index[8:])
		switch tag {
		case rpmName, rpmVersion, rpmRelease, rpmArch, rpmSource, rpmModule:
			if kind != rpmString || at >= dl {
				return nil, 0, fmt.Errorf("entry %d has another type or lies outside", tag)
			}
			text, _, ok := strings.Cut(string(data[at:min(uint64(dl), uint64(at)+1024)]), "\x00")
			if !ok {
				return nil, 0, fmt.Errorf("entry %d has no end", tag)
			}
			out[tag] = text
		case rpmEpoch:
			if kind != rpmInt32 || uint64(at)+4 > uint64(dl) {
				return nil, 0, errors.New("the epoch has another type or lies outside")
			}
			epoch = binary.BigEndian.Uint32(data[at:])
		}
	}
	return out, epoch, nil
}

// versionLocks are the entries of dnf's versionlock plug-in.
func versionLocks(fsys fs.FS) []string {
	var out []string
	for _, path := range []string{"etc/dnf/plugins/versionlock.list", "etc/yum/pluginconf.d/versionlock.list"} {
		text, err := readSmall(fsys, path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != '!' {
				out = append(out, line)
			}
		}
	}
	return out
}

// locked reports whether a lock names the package: "bash", "bash-*",
// "bash-0:5.1.8-6.el9.*".
func locked(locks []string, name string) bool {
	for _, l := range locks {
		if l == name {
			return true
		}
		if rest, ok := strings.CutPrefix(l, name+"-"); ok && rest != "" && strings.IndexByte("0123456789*", rest[0]) >= 0 {
			return true
		}
	}
	return false
}
