package debworld

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Compression names how the two tar members of a .deb are packed.
type Compression string

// What dpkg of Debian 12 reads. Debian's own packages use XZ, Ubuntu's Zstd.
const (
	XZ   Compression = "xz"
	Zstd Compression = "zst"
	Gzip Compression = "gz"
)

// builtAt is the time in every archive member, so that the same Package gives
// the same bytes on every day.
var builtAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// window is the dictionary of our xz and zstd members. Packages made here are
// small, and a small window makes them in milliseconds.
const window = 1 << 16

// File is one thing in the file system of a package.
type File struct {
	Content string // of a regular file, any bytes
	Mode    uint32 // Unix mode with setuid, setgid and sticky; 0 means 0644, or 0755 for a directory
	Link    string // makes it a symbolic link to this target
	Dir     bool   // makes it a directory
}

// Change is one entry of a Debian changelog.
type Change struct {
	Version      string
	Distribution string   // default "bookworm-security"
	Urgency      string   // default "high"
	Lines        []string // without the leading "  * "
	By           string   // default: the package's maintainer
	At           time.Time
}

// Package describes a .deb. The zero value of a field leaves it out of the
// control file, unless a default is named.
type Package struct {
	Name, Version string
	Arch          string // default "amd64"
	Source        string // "name" or "name (version)"
	Maintainer    string // default "Patchwrit Tests <tests@example.invalid>"
	Section       string // default "misc"
	Priority      string // default "optional"
	Description   string // default: the name
	Essential     bool
	MultiArch     string // "same", "foreign", "allowed"

	Depends, PreDepends, Recommends, Conflicts, Breaks, Replaces, Provides string

	Fields map[string]string // further control fields, verbatim

	Files     map[string]File   // absolute path → file; parent directories come by themselves
	Scripts   map[string]string // "preinst", "postinst", "prerm", "postrm", "config" → text
	Control   map[string]string // further control members: "triggers", "shlibs", "symbols", …
	Conffiles []string          // absolute paths
	Changelog []Change          // newest first; goes to /usr/share/doc/NAME/changelog.Debian.gz

	Compression Compression // default XZ
}

// filled returns the package with the defaults in place.
func (p Package) filled() Package {
	def := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	def(&p.Arch, "amd64")
	def(&p.Maintainer, "Patchwrit Tests <tests@example.invalid>")
	def(&p.Section, "misc")
	def(&p.Priority, "optional")
	def(&p.Description, p.Name)
	if p.Compression == "" {
		p.Compression = XZ
	}
	return p
}

// FileName is the package's file name in a pool: the epoch is left out of it,
// as Debian does.
func (p Package) FileName() string {
	p = p.filled()
	version := p.Version
	if _, after, ok := strings.Cut(version, ":"); ok {
		version = after
	}
	return fmt.Sprintf("%s_%s_%s.deb", p.Name, version, p.Arch)
}

// Build makes the bytes of the .deb. The same Package gives the same bytes.
func (p Package) Build() ([]byte, error) {
	p = p.filled()
	if p.Name == "" || p.Version == "" {
		return nil, fmt.Errorf("a package needs a name and a version, got %q %q", p.Name, p.Version)
	}
	files, err := p.contents()
	if err != nil {
		return nil, err
	}
	data, err := tarOf(withParents(files))
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", p.Name, err)
	}
	control, err := tarOf(withParents(p.controlFiles(files)))
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", p.Name, err)
	}
	return p.assemble(control, data)
}

// contents is the package's files with the changelog among them.
func (p Package) contents() (map[string]File, error) {
	files := map[string]File{}
	maps.Copy(files, p.Files)
	if len(p.Changelog) > 0 {
		packed, err := pack(Gzip, []byte(p.changelog()))
		if err != nil {
			return nil, err
		}
		files["/usr/share/doc/"+p.Name+"/changelog.Debian.gz"] = File{Content: string(packed)}
	}
	return files, nil
}

// assemble writes the ar archive that is a .deb (deb(5)).
func (p Package) assemble(control, data []byte) ([]byte, error) {
	packedControl, err := pack(p.Compression, control)
	if err != nil {
		return nil, err
	}
	packedData, err := pack(p.Compression, data)
	if err != nil {
		return nil, err
	}
	var deb bytes.Buffer
	deb.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		body []byte
	}{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar." + string(p.Compression), packedControl},
		{"data.tar." + string(p.Compression), packedData},
	} {
		fmt.Fprintf(&deb, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", m.name, builtAt.Unix(), 0, 0, "100644", len(m.body), m.body)
		if len(m.body)%2 == 1 { // members start at even offsets
			deb.WriteByte('\n')
		}
	}
	return deb.Bytes(), nil
}

// controlFiles lists the members of control.tar.
func (p Package) controlFiles(files map[string]File) map[string]File {
	all := map[string]File{"/control": {Content: p.paragraph(installedKiB(files))}}
	for name, text := range p.Scripts {
		all["/"+name] = File{Content: text, Mode: 0o755}
	}
	if len(p.Conffiles) > 0 {
		all["/conffiles"] = File{Content: strings.Join(p.Conffiles, "\n") + "\n"}
	}
	if sums := md5sums(files, p.Conffiles); sums != "" {
		all["/md5sums"] = File{Content: sums}
	}
	for name, text := range p.Control {
		all["/"+name] = File{Content: text}
	}
	return all
}

// paragraph is the control paragraph, in Debian's order of fields.
func (p Package) paragraph(kib int) string {
	var b strings.Builder
	put := func(field, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", field, value)
		}
	}
	put("Package", p.Name)
	put("Source", p.Source)
	put("Version", p.Version)
	put("Architecture", p.Arch)
	if p.Essential {
		put("Essential", "yes")
	}
	put("Maintainer", p.Maintainer)
	put("Installed-Size", fmt.Sprint(kib))
	put("Provides", p.Provides)
	put("Depends", p.Depends)
	put("Pre-Depends", p.PreDepends)
	put("Recommends", p.Recommends)
	put("Conflicts", p.Conflicts)
	put("Breaks", p.Breaks)
	put("Replaces", p.Replaces)
	put("Multi-Arch", p.MultiArch)
	put("Section", p.Section)
	put("Priority", p.Priority)
	for _, field := range slices.Sorted(maps.Keys(p.Fields)) {
		put(field, p.Fields[field])
	}
	put("Description", p.Description)
	return b.String()
}

func (p Package) changelog() string {
	name := p.Name
	if p.Source != "" {
		name = strings.Fields(p.Source)[0]
	}
	var b strings.Builder
	for _, c := range p.Changelog {
		for field, value := range map[*string]string{
			&c.Distribution: Codename + "-security", &c.Urgency: "high", &c.By: p.Maintainer,
		} {
			if *field == "" {
				*field = value
			}
		}
		if c.At.IsZero() {
			c.At = builtAt
		}
		fmt.Fprintf(&b, "%s (%s) %s; urgency=%s\n\n", name, c.Version, c.Distribution, c.Urgency)
		for _, line := range c.Lines {
			fmt.Fprintf(&b, "  * %s\n", line)
		}
		fmt.Fprintf(&b, "\n -- %s  %s\n\n", c.By, c.At.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// installedKiB estimates as dpkg-gencontrol does: each file rounded up to 1 KiB,
// each other thing 1 KiB.
func installedKiB(files map[string]File) int {
	total := 0
	for _, f := range withParents(files) {
		if f.Dir || f.Link != "" {
			total++
		} else {
			total += (len(f.Content) + 1023) / 1024
		}
	}
	return total
}

// md5sums is the control member that `dpkg --verify` reads; conffiles are not in it.
func md5sums(files map[string]File, conffiles []string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if f := files[name]; f.Link == "" && !f.Dir && !slices.Contains(conffiles, name) {
			sum := md5.Sum([]byte(f.Content))
			fmt.Fprintf(&b, "%s  %s\n", hex.EncodeToString(sum[:]), strings.TrimPrefix(path.Clean(name), "/"))
		}
	}
	return b.String()
}

// withParents adds the directories above each file, down from "/".
func withParents(files map[string]File) map[string]File {
	all := map[string]File{"/": {Dir: true}}
	for name, f := range files {
		name = path.Clean("/" + name)
		for up := path.Dir(name); up != "/"; up = path.Dir(up) {
			if _, there := all[up]; !there {
				all[up] = File{Dir: true}
			}
		}
		all[name] = f
	}
	return all
}

// tarOf writes the files in order of their paths, owned by root, with the
// leading "./" that dpkg writes.
func tarOf(files map[string]File) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := files[name]
		h := &tar.Header{
			Name: "." + name, Mode: int64(f.Mode), ModTime: builtAt,
			Uname: "root", Gname: "root", Format: tar.FormatGNU,
		}
		switch {
		case f.Dir:
			h.Typeflag, h.Mode = tar.TypeDir, mode(f.Mode, 0o755)
			h.Name = strings.TrimSuffix(h.Name, "/") + "/"
		case f.Link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
		default:
			h.Typeflag, h.Size, h.Mode = tar.TypeReg, int64(len(f.Content)), mode(f.Mode, 0o644)
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, f.Content); err != nil {
				return nil, err
			}
		}
	}
	if err := w.Close(); err != nil { // writes the end blocks, so before out is read
		return nil, err
	}
	return out.Bytes(), nil
}

func mode(m uint32, otherwise int64) int64 {
	if m == 0 {
		return otherwise
	}
	return int64(m)
}

// pack compresses one member.
func pack(c Compression, raw []byte) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch c {
	case XZ:
		w, err = xz.WriterConfig{DictCap: window}.NewWriter(&out)
	case Zstd:
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	case Gzip:
		w = gzip.NewWriter(&out)
	default:
		err = fmt.Errorf("no such compression %q: use xz, zst or gz", c)
	}
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil { // flushes, so before out is read
		return nil, err
	}
	return out.Bytes(), nil
}
