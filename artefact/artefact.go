// Package artefact says what is inside a .deb and what changes against the one
// it replaces: files, rights, maintainer scripts, units, libraries — and from
// that how dangerous the change is.
//
// The parties: a vendor makes artefacts; the control plane describes them to
// people (the dossier) and names a class; the host computes the same class from
// the same bytes with this same code and believes nothing else. The objects:
// Contents, what one .deb holds; Diff, what changes; Class with its Reasons;
// Break, a program on a host that would miss a symbol.
//
// The promise: Open reads hostile bytes within bounds and refuses what two
// unpackers could read differently (a path twice, a path through a link, an
// archive member nobody expects). Compare, Class and Breaks are functions of
// their arguments alone, and a Diff has one canonical encoding. What a list
// cannot hold is said (Diff.Cut) and raises the class, so that nothing hides
// behind a limit.
//
// It does not authenticate (room provenance comes first), runs nothing, reads
// no meaning into scripts beyond the words they mention, and sees symbols, not
// behaviour: a library may break its users without losing one, and what is
// loaded by name at run time is not seen.
package artefact

import (
	"io"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
)

// Limits of everything that is read.
const (
	MaxMembers  = 500_000   // members of a data archive; the largest packages of Debian 12 hold about 100,000
	MaxParts    = 256       // members of a control archive; about ten are known
	MaxFields   = 256       // of a control file; about 40 are known
	MaxUnpacked = 16 << 30  // bytes of a data archive; the largest of Debian 12 hold about 6 GiB
	MaxControl  = 128 << 20 // bytes of a control archive, md5sums included
	MaxText     = 1 << 20   // bytes of one control file that is kept; maintainer scripts have up to 100 KB
	MaxPath     = 4096      // bytes of a path, as the kernel has it (PATH_MAX)
	MaxName     = 255       // bytes of one name in it (NAME_MAX)
	MaxDepth    = 128       // names in a path; the deepest of Debian 12 have about 25
	MaxPaths    = 256 << 20 // bytes of all paths and link targets of a package together
	MaxELF      = 256 << 20 // bytes of an ELF file that is looked into; browsers have libraries of 160 MB
	MaxSections = 4096      // of a linked ELF file; usual are 30
	MaxTable    = 64 << 20  // bytes of one ELF table
	MaxSymbols  = 1_000_000 // dynamic symbols of one ELF file; large C++ libraries have 50,000
	MaxSymbol   = 64 << 10  // bytes of one symbol's name; C++ names reach a few thousand
	MaxNames    = 512 << 20 // bytes that all symbols of a package, or of one ELF file read alone, may take in memory
)

// The refusals of this room; the catalogue says what each means.
const (
	codeLimit   refusal.Code = "PW-ART-LIMIT"     // larger than anything genuine
	codeRead    refusal.Code = "PW-ART-READ"      // the bytes could not be read
	codeAr      refusal.Code = "PW-ART-AR"        // not a well-formed ar archive
	codeMember  refusal.Code = "PW-ART-MEMBER"    // not exactly the three members of a .deb
	codeFormat  refusal.Code = "PW-ART-FORMAT"    // another version of the .deb format
	codeUnpack  refusal.Code = "PW-ART-UNPACK"    // broken or unknown compression
	codeTar     refusal.Code = "PW-ART-TAR"       // not a well-formed tar archive
	codeType    refusal.Code = "PW-ART-TYPE"      // a kind of member that .debs do not have
	codePath    refusal.Code = "PW-ART-PATH"      // a path that leads elsewhere
	codeTwice   refusal.Code = "PW-ART-DUPLICATE" // one path twice
	codeLink    refusal.Code = "PW-ART-LINK"      // a hard link to nothing, or a path through a link
	codeControl refusal.Code = "PW-ART-CONTROL"   // the control file says too little or contradicts itself
	codeELF     refusal.Code = "PW-ART-ELF"       // not a readable ELF file
)

// Contents is what one .deb holds.
type Contents struct {
	Package       string
	Version       string
	Arch          string
	Source        string // source package; the package's own name when it says none
	SourceVersion string
	Maintainer    string  // as written
	Essential     bool    // Essential or Protected: dpkg refuses to remove it
	Fields        []Field // every control field, ascending by name
	Scripts       []Script
	Conffiles     []string // lines of conffiles, sorted
	Triggers      []string // lines of triggers, sorted
	Extra         []string // other members of the control archive, sorted
	Files         []File   // ascending by path, the root directory left out
	Objects       []Object // linked ELF files, ascending by path
	Unread        []string // paths of files that begin like ELF and cannot be read as such
}

// Field is one field of the control file.
type Field struct {
	Name  string // as written
	Value string // continuation lines follow after newlines
}

// Script is one maintainer script: it runs as root.
type Script struct {
	Name     string // preinst, postinst, prerm, postrm or config
	Text     []byte
	Digest   canon.Digest // SHA-256 of Text
	Mentions []string     // words worth a look, from a closed set, sorted
}

// Kind is what a path is.
type Kind string

// The kinds of files a .deb can hold.
const (
	Regular  Kind = "file"
	Dir      Kind = "dir"
	Symlink  Kind = "symlink"
	Hardlink Kind = "hardlink" // mode, size and digest are those of its target
	CharDev  Kind = "char"
	BlockDev Kind = "block"
	Fifo     Kind = "fifo"
)

// File is one path of the data archive.
type File struct {
	Path   string // absolute, clean, any bytes but NUL
	Kind   Kind
	Mode   uint32       // permissions with setuid 04000, setgid 02000, sticky 01000
	Owner  string       // user name, or its number
	Group  string       // group name, or its number
	Size   int64        // bytes; 0 unless Regular or Hardlink
	Digest canon.Digest // SHA-256; "" unless Regular or Hardlink
	Link   string       // target of a link as written; "major:minor" of a device
}

// Object is one linked ELF file.
type Object struct {
	Path    string
	Soname  string   // DT_SONAME, or ""
	Needed  []string // DT_NEEDED, sorted
	Exports []string // defined dynamic symbols "name" or "name@version", sorted
	Imports []Import // undefined, not weak, sorted
}

// Import is a symbol that a program takes from a library.
type Import struct {
	Symbol  string
	Version string // "" when unversioned
	Library string // SONAME that the version is bound to, or ""
}

// Key is "name" or "name@version", as Object.Exports has it.
func (i Import) Key() string {
	if i.Version == "" {
		return i.Symbol
	}
	return i.Symbol + "@" + i.Version
}

// Open reads a whole .deb of size bytes. It unpacks everything once; it holds
// the list of files, the scripts and, one at a time, each ELF file in memory.
// Every error is a refusal.
func Open(r io.ReaderAt, size int64) (Contents, error) {
	control, data, err := members(r, size)
	if err != nil {
		return Contents{}, err
	}
	var c Contents
	if err := control.each(MaxParts, MaxControl, c.control); err != nil {
		return Contents{}, err
	}
	if c.Package == "" {
		return Contents{}, refusal.New(codeControl, "no control file")
	}
	t := tree{at: map[string]int{}, left: MaxPaths, names: MaxNames}
	if err := data.each(MaxMembers, MaxUnpacked, t.add); err != nil {
		return Contents{}, err
	}
	if err := t.check(); err != nil {
		return Contents{}, err
	}
	c.sort()
	c.Files, c.Objects, c.Unread = t.sorted()
	return c, nil
}

// Read returns the bytes of the regular files of a .deb whose absolute path
// want accepts, together at most limit bytes: for example a changelog. Hard and
// symbolic links are not followed. Every error is a refusal.
func Read(r io.ReaderAt, size, limit int64, want func(path string) bool) (map[string][]byte, error) {
	_, data, err := members(r, size)
	if err != nil {
		return nil, err
	}
	found := map[string][]byte{}
	err = data.each(MaxMembers, MaxUnpacked, func(m member) error {
		path, err := clean(m.Name)
		if err != nil || m.kind() != Regular || !want(path) {
			return err
		}
		if _, twice := found[path]; twice {
			return refusal.New(codeTwice, "%.200q", path)
		}
		text, err := m.text(limit)
		limit -= int64(len(text))
		found[path] = text
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Key is "package:arch", as change.Change has it.
func (c Contents) Key() string { return change.Change{Package: c.Package, Arch: c.Arch}.Key() }
