package artefact

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"io"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/refusal"
)

// The reader of ELF files is our own, with debug/elf for the numbers of the
// format: the library's follows compressed sections and copies every name from
// wherever it points, so a small hostile file can ask it for any amount of
// memory. Here names are parts of one string, tables are bounded, and all names
// of a file together are bounded too. It reads section headers, which every
// linker writes; a file without them is unreadable, not empty.
// Source: System V ABI, chapters 4 and 5; LSB, symbol versioning.

// object reads tables of one ELF file.
type object struct {
	r        io.ReaderAt
	size     int64
	order    binary.ByteOrder
	wide     bool // 64 bits
	sections []section
	names    string // the string table of the dynamic symbols
	budget   *int64 // bytes that symbols may still take
	steps    int    // entries of version tables visited
}

type section struct {
	kind         elf.SectionType
	flags        uint64
	offset, size uint64
	link         uint32
}

// Consumer is a program or library on a host and what it takes from others.
type Consumer struct {
	Name    string // path, or whatever the caller calls it
	Needed  []string
	Imports []Import
}

// ReadConsumer reads what an ELF file of size bytes needs. A file that is no
// linked program or library (a script, an object file) gives a Consumer that
// needs nothing; one that begins like ELF and cannot be read is a refusal.
func ReadConsumer(name string, r io.ReaderAt, size int64) (Consumer, error) {
	var magic [len(elf.ELFMAG)]byte
	if n, err := r.ReadAt(magic[:], 0); n < len(magic) && err != nil && err != io.EOF {
		return Consumer{}, refusal.New(codeRead, "%.200q: %v", name, err)
	}
	if string(magic[:]) != elf.ELFMAG {
		return Consumer{Name: name, Needed: []string{}, Imports: []Import{}}, nil
	}
	budget := int64(MaxNames)
	o, _, err := readObject(r, size, &budget)
	if err != nil {
		return Consumer{}, refusal.New(codeELF, "%.200q: %v", name, err)
	}
	return Consumer{Name: name, Needed: o.Needed, Imports: o.Imports}, nil
}

// Consumers gives what the package's own files need.
func (c Contents) Consumers() []Consumer {
	all := make([]Consumer, 0, len(c.Objects))
	for _, o := range c.Objects {
		all = append(all, Consumer{Name: o.Path, Needed: o.Needed, Imports: o.Imports})
	}
	return all
}

// malformed is the reason why a file is not read; its text is for people.
type malformed string

func (m malformed) Error() string { return string(m) }

// readObject reads soname, needed libraries and dynamic symbols, and charges
// what they take to the budget. linked is false for object files, core dumps
// and files without dynamic linking.
func readObject(r io.ReaderAt, size int64, budget *int64) (out Object, linked bool, err error) {
	out = Object{Needed: []string{}, Exports: []string{}, Imports: []Import{}}
	if size > MaxELF {
		return out, false, malformed("larger than is looked into")
	}
	o := &object{r: r, size: size, budget: budget}
	kind, err := o.header()
	if err != nil || (kind != elf.ET_DYN && kind != elf.ET_EXEC) {
		return out, false, err
	}
	dynamic, err := o.table(elf.SHT_DYNAMIC)
	if err != nil || dynamic == nil {
		return out, false, err
	}
	if err := o.strings(elf.SHT_DYNAMIC); err != nil { // which is there: its table was read
		return out, false, err
	}
	if err := o.tags(dynamic, &out); err != nil {
		return out, false, err
	}
	if err := o.symbols(&out); err != nil {
		return out, false, err
	}
	slices.Sort(out.Needed)
	out.Exports = compact(out.Exports, cmp.Compare[string])
	out.Imports = compact(out.Imports, compareImports)
	return out, true, nil
}

// compact sorts and drops what stands twice.
func compact[T comparable](s []T, order func(a, b T) int) []T {
	slices.SortFunc(s, order)
	return slices.Compact(s)
}

func compareImports(a, b Import) int {
	return cmp.Or(cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Library, b.Library))
}

// read gives n bytes at a place, inside the file and bounded.
func (o *object) read(at, n uint64) ([]byte, error) {
	if n > MaxTable || at > uint64(o.size) || n > uint64(o.size)-at {
		return nil, malformed("a table lies outside the file or is too large")
	}
	b := make([]byte, n)
	if got, err := o.r.ReadAt(b, int64(at)); got < len(b) {
		return nil, err
	}
	return b, nil
}

// header reads the file header and all section headers.
func (o *object) header() (elf.Type, error) {
	const long, short = 64, 52
	ident, err := o.read(0, short)
	if err != nil {
		return 0, err
	}
	switch elf.Data(ident[elf.EI_DATA]) {
	case elf.ELFDATA2LSB:
		o.order = binary.LittleEndian
	case elf.ELFDATA2MSB:
		o.order = binary.BigEndian
	default:
		return 0, malformed("unknown byte order")
	}
	switch elf.Class(ident[elf.EI_CLASS]) {
	case elf.ELFCLASS64:
		o.wide = true
	case elf.ELFCLASS32:
	default:
		return 0, malformed("neither 32 nor 64 bits")
	}
	if string(ident[:len(elf.ELFMAG)]) != elf.ELFMAG {
		return 0, malformed("not ELF")
	}
	kind := elf.Type(o.order.Uint16(ident[16:]))
	at, entry, count := uint64(o.order.Uint32(ident[32:])), o.order.Uint16(ident[46:]), o.order.Uint16(ident[48:])
	want := uint16(40)
	if o.wide {
		if ident, err = o.read(0, long); err != nil {
			return 0, err
		}
		at, entry, count, want = o.order.Uint64(ident[40:]), o.order.Uint16(ident[58:]), o.order.Uint16(ident[60:]), 64
	}
	if kind != elf.ET_DYN && kind != elf.ET_EXEC {
		return kind, nil
	}
	if at == 0 || count == 0 || count > MaxSections || entry != want {
		return 0, malformed("no usable section headers")
	}
	return kind, o.headers(at, int(entry), int(count))
}

func (o *object) headers(at uint64, entry, count int) error {
	b, err := o.read(at, uint64(entry*count))
	if err != nil {
		return err
	}
	for ; len(b) > 0; b = b[entry:] {
		s := section{kind: elf.SectionType(o.order.Uint32(b[4:]))}
		if o.wide {
			s.flags, s.offset, s.size, s.link = o.order.Uint64(b[8:]), o.order.Uint64(b[24:]), o.order.Uint64(b[32:]), o.order.Uint32(b[40:])
		} else {
			s.flags, s.offset, s.size, s.link = uint64(o.order.Uint32(b[8:])), uint64(o.order.Uint32(b[16:])), uint64(o.order.Uint32(b[20:])), o.order.Uint32(b[24:])
		}
		o.sections = append(o.sections, s)
	}
	return nil
}

// find gives the index of the one section of a kind, or -1.
func (o *object) find(kind elf.SectionType) (int, error) {
	at := -1
	for i, s := range o.sections {
		if s.kind != kind {
			continue
		}
		if at >= 0 {
			return -1, malformed("a dynamic table twice")
		}
		at = i
	}
	return at, nil
}

// table reads the one section of a kind; nil when there is none.
func (o *object) table(kind elf.SectionType) ([]byte, error) {
	i, err := o.find(kind)
	if err != nil || i < 0 {
		return nil, err
	}
	s := o.sections[i]
	if s.flags&uint64(elf.SHF_COMPRESSED) != 0 {
		return nil, malformed("a compressed dynamic table")
	}
	return o.read(s.offset, s.size)
}

// strings loads the string table that the one section of a kind links to; all
// dynamic tables must share one, as the dynamic linker has only one.
func (o *object) strings(kind elf.SectionType) error {
	i, _ := o.find(kind)
	link := int64(o.sections[i].link)
	if link >= int64(len(o.sections)) || o.sections[link].kind != elf.SHT_STRTAB || o.sections[link].flags&uint64(elf.SHF_COMPRESSED) != 0 {
		return malformed("no string table")
	}
	b, err := o.read(o.sections[link].offset, o.sections[link].size)
	o.names = string(b)
	return cmp.Or(err, o.charge(len(b)))
}

// name reads the name at a place of the string table.
func (o *object) name(at uint32) (string, error) {
	if int64(at) >= int64(len(o.names)) {
		return "", malformed("a name outside the string table")
	}
	rest := o.names[at:]
	n := strings.IndexByte(rest[:min(len(rest), MaxSymbol+1)], 0)
	if n < 0 {
		return "", malformed("a name without end")
	}
	const list = 48 // bytes of an entry in a list of imports
	return rest[:n], o.charge(n + list)
}

// charge takes bytes from the budget.
func (o *object) charge(n int) error {
	if *o.budget -= int64(n); *o.budget < 0 {
		return malformed("more names than are read")
	}
	return nil
}

// tags reads DT_SONAME and DT_NEEDED.
func (o *object) tags(b []byte, out *Object) (err error) {
	entry := 8
	if o.wide {
		entry = 16
	}
	for ; len(b) >= entry; b = b[entry:] {
		tag, value := elf.DynTag(o.order.Uint32(b)), o.order.Uint32(b[4:])
		if o.wide {
			tag, value = elf.DynTag(o.order.Uint64(b)), uint32(min(o.order.Uint64(b[8:]), 1<<32-1))
		}
		switch tag {
		case elf.DT_NULL:
			return nil
		case elf.DT_SONAME:
			if out.Soname, err = o.name(value); err != nil {
				return err
			}
		case elf.DT_NEEDED:
			name, err := o.name(value)
			if err != nil {
				return err
			}
			out.Needed = append(out.Needed, name)
		}
	}
	return nil
}

// binding is what a version index of a symbol stands for.
type binding struct {
	version string
	library string // for imports
}

// symbols reads the dynamic symbols with their versions.
func (o *object) symbols(out *Object) error {
	table, err := o.table(elf.SHT_DYNSYM)
	if err != nil {
		return err
	}
	entry := 16
	if o.wide {
		entry = 24
	}
	if len(table)/entry > MaxSymbols {
		return malformed("more symbols than are read")
	}
	versions, err := o.versions()
	if err != nil {
		return err
	}
	versym, err := o.table(elf.SHT_GNU_VERSYM)
	if err != nil {
		return err
	}
	for i := 1; (i+1)*entry <= len(table); i++ {
		var b binding
		if len(versym) >= 2*i+2 {
			const hidden = 0x8000
			b = versions[o.order.Uint16(versym[2*i:])&^hidden]
		}
		if err := o.symbol(table[i*entry:], b, out); err != nil {
			return err
		}
	}
	return nil
}

// symbol files one dynamic symbol under exports or imports.
func (o *object) symbol(b []byte, v binding, out *Object) error {
	info, other, index := b[12], b[13], elf.SectionIndex(o.order.Uint16(b[14:]))
	if o.wide {
		info, other, index = b[4], b[5], elf.SectionIndex(o.order.Uint16(b[6:]))
	}
	const unique = 10 // STB_GNU_UNIQUE
	bind, kind, seen := elf.ST_BIND(info), elf.ST_TYPE(info), elf.ST_VISIBILITY(other)
	strong, weak := bind == elf.STB_GLOBAL || bind == unique, bind == elf.STB_WEAK
	if (!strong && !weak) || kind == elf.STT_SECTION || kind == elf.STT_FILE {
		return nil
	}
	name, err := o.name(o.order.Uint32(b))
	if err != nil || name == "" {
		return err
	}
	switch {
	case index == elf.SHN_UNDEF && strong:
		out.Imports = append(out.Imports, Import{Symbol: name, Version: v.version, Library: v.library})
	case index != elf.SHN_UNDEF && (seen == elf.STV_DEFAULT || seen == elf.STV_PROTECTED):
		if index == elf.SHN_ABS && name == v.version {
			return nil // the name of a version, not a symbol
		}
		out.Exports = append(out.Exports, Import{Symbol: name, Version: v.version}.Key())
	}
	return nil
}

// versions maps version indexes to what the file defines (verdef) and what it
// needs (verneed). Index 1 is the base version: it stands for no version.
func (o *object) versions() (map[uint16]binding, error) {
	all := map[uint16]binding{}
	defined, err := o.table(elf.SHT_GNU_VERDEF)
	if err != nil {
		return nil, err
	}
	err = o.chain(defined, 20, 16, func(b []byte) error {
		aux, err := at(b, uint64(o.order.Uint32(b[12:])), 8)
		if err != nil {
			return err
		}
		name, err := o.name(o.order.Uint32(aux))
		if index := o.order.Uint16(b[4:]); index > 1 {
			all[index] = binding{version: name}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	needed, err := o.table(elf.SHT_GNU_VERNEED)
	if err != nil {
		return nil, err
	}
	err = o.chain(needed, 16, 12, func(b []byte) error {
		library, err := o.name(o.order.Uint32(b[4:]))
		if err != nil {
			return err
		}
		list, err := at(b, uint64(o.order.Uint32(b[8:])), 16)
		if err != nil {
			return err
		}
		return o.chain(list, 16, 12, func(b []byte) error {
			name, err := o.name(o.order.Uint32(b[8:]))
			all[o.order.Uint16(b[6:])] = binding{version: name, library: library}
			return err
		})
	})
	return all, err
}

// at gives the bytes from a place on, at least n of them.
func at(b []byte, from uint64, n int) ([]byte, error) {
	if from > uint64(len(b)) || len(b)-int(from) < n {
		return nil, malformed("a version table is cut short")
	}
	return b[from:], nil
}

// maxSteps bounds the version tables: a version's number has 16 bits.
const maxSteps = 2 << 16

// chain visits entries of at least size bytes, each giving at place next how
// far the next one lies behind it, 0 at the last. It always moves forward, so
// it ends.
func (o *object) chain(b []byte, size, next int, visit func([]byte) error) error {
	for len(b) > 0 {
		if len(b) < size {
			return malformed("a version table is cut short")
		}
		if o.steps++; o.steps > maxSteps {
			return malformed("more versions than there are numbers for")
		}
		if err := visit(b); err != nil {
			return err
		}
		step := o.order.Uint32(b[next:])
		if step == 0 {
			return nil
		}
		var err error
		if b, err = at(b, uint64(step), size); err != nil {
			return err
		}
	}
	return nil
}
