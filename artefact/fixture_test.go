package artefact

import (
	"archive/tar"
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/unpack"
)

// entry is one member of a tar archive.
type entry struct {
	name string // "./" is put before it unless it begins with a point or a slash
	body string
	mode int64 // 0644, 0755 for directories, 0777 for links when zero
	kind byte  // TypeReg when zero
	link string
	user string // root when empty
	dev  int64  // major number
	pax  bool
}

func dir(name string) entry { return entry{name: name + "/", kind: tar.TypeDir} }

func symlink(name, to string) entry { return entry{name: name, kind: tar.TypeSymlink, link: to} }

func (e entry) header() *tar.Header {
	if e.kind == tar.TypeXGlobalHeader {
		return &tar.Header{Typeflag: e.kind, PAXRecords: map[string]string{"comment": "x"}}
	}
	h := &tar.Header{Name: e.name, Mode: e.mode, Typeflag: cmp.Or(e.kind, tar.TypeReg), Linkname: e.link, Devmajor: e.dev,
		Size: int64(len(e.body)), Uname: cmp.Or(e.user, "root"), Gname: "root", ModTime: time.Unix(1_700_000_000, 0), Format: tar.FormatGNU}
	if !strings.HasPrefix(h.Name, ".") && !strings.HasPrefix(h.Name, "/") {
		h.Name = "./" + h.Name
	}
	if e.mode == 0 {
		h.Mode = map[byte]int64{tar.TypeDir: 0o755, tar.TypeSymlink: 0o777}[h.Typeflag]
		h.Mode = cmp.Or(h.Mode, 0o644)
	}
	if e.pax {
		h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{"SCHILY.xattr.security.capability": "x"}
	}
	return h
}

func tarball(t testing.TB, entries ...entry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(e.header()); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pack(t testing.TB, f unpack.Format, b []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch f {
	case unpack.Plain:
		return b
	case unpack.Gzip:
		w, err = gzip.NewWriterLevel(&out, gzip.BestSpeed)
	case unpack.XZ:
		w, err = xz.WriterConfig{DictCap: 1 << 20}.NewWriter(&out)
	case unpack.Zstd:
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	}
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// part is one member of an ar archive.
type part struct {
	name string
	body []byte
}

func arball(parts ...part) []byte {
	b := []byte(arMagic)
	for _, p := range parts {
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", p.name, 1_700_000_000, 0, 0, 0o100644, len(p.body))
		b = append(b, p.body...)
		if len(p.body)%2 == 1 {
			b = append(b, '\n')
		}
	}
	return b
}

// pkg describes a .deb; each test changes one thing of a sound one.
type pkg struct {
	fields  map[string]string
	scripts map[string]string // and any other member of the control archive
	files   []entry
	format  unpack.Format
	control func([]entry) []entry
	parts   func([]part) []part
	raw     func([]byte) []byte
}

// sound is an ordinary package with a library, a program and a unit.
func sound() *pkg {
	return &pkg{
		fields: map[string]string{
			"Package": "libgov1", "Version": "1.2.3-1", "Architecture": "amd64", "Maintainer": "Gov Team <gov@lists.example.org>",
			"Source": "gov (1.2.3-1)", "Depends": "libc6 (>= 2.36)", "Installed-Size": "12", "Description": "a library\n and more\n .\n of it",
		},
		scripts: map[string]string{"postinst": "#!/bin/sh\nset -e\nldconfig\n", "md5sums": "", "conffiles": "/etc/gov.conf\n", "triggers": "activate-noawait ldconfig\n"},
		files: []entry{
			dir("."), dir("etc"), {name: "etc/gov.conf", body: "x=1\n"}, dir("usr"), dir("usr/bin"), dir("usr/lib"),
			{name: "usr/bin/gov", body: string(program().bytes()), mode: 0o755},
			{name: "usr/lib/libgov.so.1.2", body: string(library().bytes())},
			symlink("usr/lib/libgov.so.1", "libgov.so.1.2"),
			dir("usr/share"), dir("usr/share/doc"), {name: "usr/share/doc/copyright", body: "free\n"},
		},
		format: unpack.Gzip,
	}
}

func (p *pkg) bytes(t testing.TB) []byte {
	control := []entry{dir(".")}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.fields)) {
		fmt.Fprintf(&text, "%s: %s\n", name, p.fields[name])
	}
	control = append(control, entry{name: "control", body: text.String()})
	for _, name := range slices.Sorted(maps.Keys(p.scripts)) {
		control = append(control, entry{name: name, body: p.scripts[name], mode: 0o755})
	}
	if p.control != nil {
		control = p.control(control)
	}
	end := string(p.format)
	parts := []part{{"debian-binary", []byte("2.0\n")},
		{"control.tar" + end, pack(t, p.format, tarball(t, control...))}, {"data.tar" + end, pack(t, p.format, tarball(t, p.files...))}}
	if p.parts != nil {
		parts = p.parts(parts)
	}
	b := arball(parts...)
	if p.raw != nil {
		b = p.raw(b)
	}
	return b
}

func (p *pkg) open(t testing.TB) (Contents, error) {
	b := p.bytes(t)
	return Open(bytes.NewReader(b), int64(len(b)))
}

func (p *pkg) mustOpen(t testing.TB) Contents {
	t.Helper()
	c, err := p.open(t)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (p *pkg) add(e ...entry) { p.files = append(p.files, e...) }

// file finds a member of the data archive.
func (p *pkg) file(name string) *entry {
	for i := range p.files {
		if p.files[i].name == name {
			return &p.files[i]
		}
	}
	panic("no " + name)
}

func (p *pkg) drop(name string) {
	p.files = slices.DeleteFunc(p.files, func(e entry) bool { return e.name == name })
}

// so describes an ELF file to be made.
type so struct {
	soname  string
	needed  []string
	exports []string // "name" or "name@version"
	imports []Import
	weak    []string // undefined, weak
	hidden  []string // defined, hidden
	kind    elf.Type // ET_DYN when zero
	narrow  bool     // 32 bits
	big     bool     // big-endian
	edit    func(sections []elfSection) []elfSection
}

type elfSection struct {
	kind elf.SectionType
	link uint32
	flag uint64
	body []byte
	size uint64 // as the header says, when not the body's
}

func library() so {
	return so{soname: "libgov.so.1", needed: []string{"libc.so.6"}, exports: []string{"gov_old@GOV_1", "gov_new@GOV_1", "gov_plain"},
		imports: []Import{{"malloc", "GLIBC_2.2.5", "libc.so.6"}}, weak: []string{"__gmon_start__"}, hidden: []string{"inner"}}
}

func program() so {
	return so{needed: []string{"libgov.so.1", "libc.so.6"}, imports: []Import{{"gov_old", "GOV_1", "libgov.so.1"}, {"gov_plain", "", ""}, {"puts", "GLIBC_2.2.5", "libc.so.6"}}}
}

const (
	sDynstr = iota + 1 // section numbers of a made ELF file
	sDynsym
	sVersym
	sVerdef
	sVerneed
	sDynamic
)

// bytes writes the file: header, then each section's body, then the headers.
func (s so) bytes() []byte {
	var bo binary.ByteOrder = binary.LittleEndian
	if s.big {
		bo = binary.BigEndian
	}
	w := &elfWriter{so: s, bo: bo, names: []byte{0}, at: map[string]uint32{"": 0}}
	return w.file(w.sections())
}

type elfWriter struct {
	so
	bo    binary.ByteOrder
	names []byte
	at    map[string]uint32
}

func (w *elfWriter) name(s string) uint32 {
	if _, ok := w.at[s]; !ok {
		w.at[s] = uint32(len(w.names))
		w.names = append(append(w.names, s...), 0)
	}
	return w.at[s]
}

func (w *elfWriter) put(values ...any) []byte {
	var b bytes.Buffer
	for _, v := range values {
		if err := binary.Write(&b, w.bo, v); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

func (w *elfWriter) symbol(name string, bind elf.SymBind, seen elf.SymVis, index elf.SectionIndex) []byte {
	info := elf.ST_INFO(bind, elf.STT_FUNC)
	if w.narrow {
		return w.put(w.name(name), uint32(0), uint32(0), info, uint8(seen), uint16(index))
	}
	return w.put(w.name(name), info, uint8(seen), uint16(index), uint64(0), uint64(0))
}

func (w *elfWriter) dyn(tag elf.DynTag, value uint32) []byte {
	if w.narrow {
		return w.put(int32(tag), value)
	}
	return w.put(int64(tag), uint64(value))
}

// sections lays out the dynamic tables. Version indexes: 1 is the base, defined
// versions follow, then needed ones.
func (w *elfWriter) sections() []elfSection {
	index, defs := map[string]uint16{"": 1}, []string{}
	number := func(key string) uint16 {
		if _, ok := index[key]; !ok {
			index[key] = uint16(len(index) + 1)
		}
		return index[key]
	}
	blank := w.symbol("", elf.STB_LOCAL, 0, 0)
	dynsym, versym := blank, w.put(uint16(0))
	for _, key := range w.exports {
		name, version, _ := strings.Cut(key, "@")
		if version != "" && index["def "+version] == 0 {
			number("def " + version)
			defs = append(defs, version)
		}
		v := uint16(1)
		if version != "" {
			v = index["def "+version]
		}
		dynsym, versym = append(dynsym, w.symbol(name, elf.STB_GLOBAL, elf.STV_DEFAULT, 1)...), append(versym, w.put(v)...)
	}
	for _, name := range w.hidden {
		dynsym, versym = append(dynsym, w.symbol(name, elf.STB_GLOBAL, elf.STV_HIDDEN, 1)...), append(versym, w.put(uint16(1))...)
	}
	for _, name := range w.weak {
		dynsym, versym = append(dynsym, w.symbol(name, elf.STB_WEAK, elf.STV_DEFAULT, 0)...), append(versym, w.put(uint16(1))...)
	}
	needs := map[string][]string{}
	for _, i := range w.imports {
		v := uint16(1)
		if i.Version != "" {
			if index["need "+i.Key()[len(i.Symbol):]+i.Library] == 0 {
				needs[i.Library] = append(needs[i.Library], i.Version)
			}
			v = number("need " + i.Key()[len(i.Symbol):] + i.Library)
		}
		dynsym, versym = append(dynsym, w.symbol(i.Symbol, elf.STB_GLOBAL, elf.STV_DEFAULT, 0)...), append(versym, w.put(v)...)
	}
	var dynamic []byte
	for _, n := range w.needed {
		dynamic = append(dynamic, w.dyn(elf.DT_NEEDED, w.name(n))...)
	}
	if w.soname != "" {
		dynamic = append(dynamic, w.dyn(elf.DT_SONAME, w.name(w.soname))...)
	}
	dynamic = append(dynamic, w.dyn(elf.DT_NULL, 0)...)
	all := []elfSection{{}, {kind: elf.SHT_STRTAB}, {kind: elf.SHT_DYNSYM, link: sDynstr, body: dynsym}, {kind: elf.SHT_GNU_VERSYM, link: sDynsym, body: versym},
		{kind: elf.SHT_GNU_VERDEF, link: sDynstr, body: w.verdef(defs, index)}, {kind: elf.SHT_GNU_VERNEED, link: sDynstr, body: w.verneed(needs, index)},
		{kind: elf.SHT_DYNAMIC, link: sDynstr, body: dynamic}}
	all[sDynstr].body = w.names
	if w.edit != nil {
		all = w.edit(all)
	}
	return all
}

func (w *elfWriter) verdef(defs []string, index map[string]uint16) []byte {
	one := func(name string, flags, number uint16, next uint32) []byte {
		return w.put(uint16(1), flags, number, uint16(1), uint32(0), uint32(20), next, w.name(name), uint32(0))
	}
	if len(defs) == 0 {
		return []byte{}
	}
	b := one(w.soname, 1, 1, 28)
	for i, name := range defs {
		next := uint32(28)
		if i == len(defs)-1 {
			next = 0
		}
		b = append(b, one(name, 0, index["def "+name], next)...)
	}
	return b
}

func (w *elfWriter) verneed(needs map[string][]string, index map[string]uint16) []byte {
	b := []byte{}
	libraries := slices.Sorted(maps.Keys(needs))
	for i, library := range libraries {
		versions := needs[library]
		next := uint32(16 + 16*len(versions))
		if i == len(libraries)-1 {
			next = 0
		}
		b = append(b, w.put(uint16(1), uint16(len(versions)), w.name(library), uint32(16), next)...)
		for k, v := range versions {
			step := uint32(16)
			if k == len(versions)-1 {
				step = 0
			}
			b = append(b, w.put(uint32(0), uint16(0), index["need @"+v+library], w.name(v), step)...)
		}
	}
	return b
}

func (w *elfWriter) file(sections []elfSection) []byte {
	head, entry := 64, 64
	if w.narrow {
		head, entry = 52, 40
	}
	var bodies, headers []byte
	for _, s := range sections {
		at, size := uint64(head+len(bodies)), cmp.Or(s.size, uint64(len(s.body)))
		bodies = append(bodies, s.body...)
		if w.narrow {
			headers = append(headers, w.put(uint32(0), uint32(s.kind), uint32(s.flag), uint32(0), uint32(at), uint32(size), s.link, uint32(0), uint32(1), uint32(0))...)
		} else {
			headers = append(headers, w.put(uint32(0), uint32(s.kind), s.flag, uint64(0), at, size, s.link, uint32(0), uint64(1), uint64(0))...)
		}
	}
	class, data := elf.ELFCLASS64, elf.ELFDATA2LSB
	if w.narrow {
		class = elf.ELFCLASS32
	}
	if w.big {
		data = elf.ELFDATA2MSB
	}
	ident := [16]byte{0x7f, 'E', 'L', 'F', byte(class), byte(data), 1}
	start := uint64(head + len(bodies))
	kind, machine := uint16(cmp.Or(w.kind, elf.ET_DYN)), uint16(elf.EM_X86_64)
	var b []byte
	if w.narrow {
		b = w.put(ident, kind, machine, uint32(1), uint32(0), uint32(0), uint32(start), uint32(0), uint16(head), uint16(0), uint16(0), uint16(entry), uint16(len(sections)), uint16(0))
	} else {
		b = w.put(ident, kind, machine, uint32(1), uint64(0), uint64(0), start, uint32(0), uint16(head), uint16(0), uint16(0), uint16(entry), uint16(len(sections)), uint16(0))
	}
	return append(append(b, bodies...), headers...)
}

// wantCode fails unless err is a refusal of exactly this code.
func wantCode(t testing.TB, err error, want refusal.Code) {
	t.Helper()
	if err == nil {
		t.Fatalf("no refusal, want %s", want)
	}
	if got := refusal.CodeOf(err); got != want {
		t.Fatalf("refused with %q, want %s: %v", got, want, err)
	}
}
