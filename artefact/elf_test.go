package artefact

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/unpack"
)

func read(b []byte) (Object, bool, error) {
	budget := int64(MaxNames)
	return readObject(bytes.NewReader(b), int64(len(b)), &budget)
}

func TestObjectsOfEveryShape(t *testing.T) {
	for _, narrow := range []bool{false, true} {
		for _, big := range []bool{false, true} {
			s := library()
			s.narrow, s.big = narrow, big
			s.imports = append(s.imports, Import{"free", "GLIBC_2.2.5", "libc.so.6"}, Import{"sin", "GLIBC_2.2.5", "libm.so.6"}, Import{"loose", "", ""})
			o, linked, err := read(s.bytes())
			want := Object{Soname: "libgov.so.1", Needed: []string{"libc.so.6"}, Exports: []string{"gov_new@GOV_1", "gov_old@GOV_1", "gov_plain"},
				Imports: []Import{{"free", "GLIBC_2.2.5", "libc.so.6"}, {"loose", "", ""}, {"malloc", "GLIBC_2.2.5", "libc.so.6"}, {"sin", "GLIBC_2.2.5", "libm.so.6"}}}
			if err != nil || !linked || !reflect.DeepEqual(o, want) {
				t.Errorf("narrow %v, big %v: %+v %v", narrow, big, o, err)
			}
		}
	}
}

func TestFilesThatAreNotLinked(t *testing.T) {
	relocatable := library()
	relocatable.kind = elf.ET_REL
	static := so{kind: elf.ET_EXEC, edit: func(s []elfSection) []elfSection { return s[:sDynamic] }}
	for name, s := range map[string]so{"object file": relocatable, "static program": static} {
		if o, linked, err := read(s.bytes()); err != nil || linked {
			t.Errorf("%s: %+v %v", name, o, err)
		}
	}
	if o, linked, err := read((so{kind: elf.ET_EXEC, needed: []string{"x"}}).bytes()); err != nil || !linked || o.Needed[0] != "x" {
		t.Errorf("control: %v", err)
	}
}

func TestTheNameOfAVersionIsNoSymbol(t *testing.T) {
	s := library()
	s.exports = append(s.exports, "GOV_1@GOV_1")
	o, _, err := read(s.bytes())
	if err != nil || !slices.Contains(o.Exports, "GOV_1@GOV_1") {
		t.Fatalf("control, as a function: %v %v", o.Exports, err)
	}
	s.edit = func(sections []elfSection) []elfSection { // the fourth symbol becomes absolute
		binary.LittleEndian.PutUint16(sections[sDynsym].body[4*24+6:], uint16(elf.SHN_ABS))
		return sections
	}
	if o, _, err = read(s.bytes()); err != nil || slices.Contains(o.Exports, "GOV_1@GOV_1") || !slices.Contains(o.Exports, "gov_plain") {
		t.Errorf("%v %v", o.Exports, err)
	}
}

// TestHostileObjects breaks one thing at a time in an ELF file.
func TestHostileObjects(t *testing.T) {
	if _, _, err := read(library().bytes()); err != nil {
		t.Fatal("control: ", err)
	}
	le := binary.LittleEndian
	section := func(number int, f func(*elfSection)) func(*so) {
		return func(s *so) { s.edit = func(all []elfSection) []elfSection { f(&all[number]); return all } }
	}
	for _, c := range []struct {
		name   string
		broken func(*so)
		raw    func([]byte) []byte
	}{
		{"an unknown class", nil, func(b []byte) []byte { b[elf.EI_CLASS] = 7; return b }},
		{"an unknown byte order", nil, func(b []byte) []byte { b[elf.EI_DATA] = 7; return b }},
		{"another magic", nil, func(b []byte) []byte { b[1] = 'X'; return b }},
		{"half a header", nil, func(b []byte) []byte { return b[:51] }},
		{"a wide header in a short file", nil, func(b []byte) []byte { return b[:60] }},
		{"no section headers", nil, func(b []byte) []byte { le.PutUint64(b[40:], 0); return b }},
		{"no sections", nil, func(b []byte) []byte { le.PutUint16(b[60:], 0); return b }},
		{"too many sections", nil, func(b []byte) []byte {
			le.PutUint16(b[60:], MaxSections+1)
			return append(b, make([]byte, 64*MaxSections)...)
		}},
		{"section headers of another size", nil, func(b []byte) []byte { le.PutUint16(b[58:], 40); return b }},
		{"section headers outside", nil, func(b []byte) []byte { le.PutUint64(b[40:], 1<<60); return b }},
		{"a table outside", section(sDynsym, func(s *elfSection) { s.size = 1 << 40 }), nil},
		{"a table at the end of numbers", section(sDynsym, func(s *elfSection) { s.size = 1<<64 - 8 }), nil},
		{"a compressed symbol table", section(sDynsym, func(s *elfSection) { s.flag = uint64(elf.SHF_COMPRESSED) }), nil},
		{"a compressed string table", section(sDynstr, func(s *elfSection) { s.flag = uint64(elf.SHF_COMPRESSED) }), nil},
		{"two symbol tables", section(sVersym, func(s *elfSection) { s.kind = elf.SHT_DYNSYM }), nil},
		{"two dynamic tables", section(sVersym, func(s *elfSection) { s.kind = elf.SHT_DYNAMIC }), nil},
		{"two version tables", section(sVerdef, func(s *elfSection) { s.kind = elf.SHT_GNU_VERNEED }), nil},
		{"two tables of versions", section(sVerneed, func(s *elfSection) { s.kind = elf.SHT_GNU_VERDEF }), nil},
		{"two tables of version numbers", section(sVerdef, func(s *elfSection) { s.kind = elf.SHT_GNU_VERSYM }), nil},
		{"a string table outside", section(sDynstr, func(s *elfSection) { s.size = 1 << 40 }), nil},
		{"a link to nowhere", section(sDynamic, func(s *elfSection) { s.link = 99 }), nil},
		{"a link to nowhere that nothing needs", func(s *so) {
			*s = so{edit: func(all []elfSection) []elfSection { all[sDynamic].link = 99; return all }}
		}, nil},
		{"a link to no string table", section(sDynamic, func(s *elfSection) { s.link = sDynsym }), nil},
		{"a soname outside", section(sDynamic, func(s *elfSection) { le.PutUint64(s.body[16+8:], 1<<33) }), nil},
		{"a needed library outside", section(sDynamic, func(s *elfSection) { le.PutUint64(s.body[8:], 1<<20) }), nil},
		{"a symbol's name outside", section(sDynsym, func(s *elfSection) { le.PutUint32(s.body[24:], 1<<20) }), nil},
		{"a name without end", section(sDynstr, func(s *elfSection) { s.body[len(s.body)-1] = 'x' }), nil},
		{"a version's name outside", section(sVerdef, func(s *elfSection) { le.PutUint32(s.body[28+20:], 1<<20) }), nil},
		{"a version without a name", section(sVerdef, func(s *elfSection) { le.PutUint32(s.body[28+12:], 1<<20) }), nil},
		{"half a version", section(sVerdef, func(s *elfSection) { s.body = s.body[:len(s.body)-20] }), nil},
		{"a next version outside", section(sVerdef, func(s *elfSection) { le.PutUint32(s.body[16:], 1<<31) }), nil},
		{"a needed version's library outside", section(sVerneed, func(s *elfSection) { le.PutUint32(s.body[4:], 1<<20) }), nil},
		{"a needed version outside", section(sVerneed, func(s *elfSection) { le.PutUint32(s.body[8:], 1<<20) }), nil},
		{"a needed version's name outside", section(sVerneed, func(s *elfSection) { le.PutUint32(s.body[16+8:], 1<<20) }), nil},
		{"half a needed version", section(sVerneed, func(s *elfSection) { s.body = s.body[:10] }), nil},
		{"too long a name", func(s *so) { s.exports = []string{strings.Repeat("x", MaxSymbol+1)} }, nil},
		{"too many symbols", section(sDynsym, func(s *elfSection) { s.body = append(s.body, make([]byte, 24*MaxSymbols)...) }), nil},
		{"endless versions", section(sVerdef, func(s *elfSection) { s.body = loops(maxSteps + 10) }), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := library()
			if c.broken != nil {
				c.broken(&s)
			}
			b := s.bytes()
			if c.raw != nil {
				b = c.raw(b)
			}
			o, linked, err := read(b)
			var m malformed
			if !errors.As(err, &m) || linked {
				t.Errorf("%v, want malformed; read as %+v", err, o)
			}
			_, err = ReadConsumer("x", bytes.NewReader(b), int64(len(b)))
			if c.name != "another magic" {
				wantCode(t, err, codeELF)
			}
			p := sound()
			p.format = unpack.Plain
			p.file("usr/bin/gov").body = string(b)
			if got := p.mustOpen(t); c.name != "another magic" && !slices.Equal(got.Unread, []string{"/usr/bin/gov"}) {
				t.Errorf("unread %v", got.Unread)
			}
		})
	}
}

// loops makes a version table of many tiny steps.
func loops(n int) []byte {
	b := make([]byte, 4*n+28)
	for i := range n + 1 {
		binary.LittleEndian.PutUint32(b[4*i:], 4)
	}
	return b
}

func TestBudgetsOfNames(t *testing.T) {
	b := library().bytes()
	var need int64
	for budget := int64(0); ; budget += 16 {
		left := budget
		if _, _, err := readObject(bytes.NewReader(b), int64(len(b)), &left); err == nil {
			need = budget
			break
		}
	}
	if need < int64(len(library().exports))*48 {
		t.Errorf("the budget charges only %d bytes", need)
	}
	left := int64(MaxNames)
	if _, _, err := readObject(bytes.NewReader(b), MaxELF+1, &left); err == nil {
		t.Error("a huge file is looked into")
	}
}

func TestConsumers(t *testing.T) {
	b := program().bytes()
	c, err := ReadConsumer("/usr/bin/gov", bytes.NewReader(b), int64(len(b)))
	want := Consumer{"/usr/bin/gov", []string{"libc.so.6", "libgov.so.1"}, []Import{{"gov_old", "GOV_1", "libgov.so.1"}, {"gov_plain", "", ""}, {"puts", "GLIBC_2.2.5", "libc.so.6"}}}
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("%+v %v", c, err)
	}
	if all := sound().mustOpen(t).Consumers(); len(all) != 2 || !reflect.DeepEqual(all[0], want) {
		t.Errorf("%+v", all)
	}
	for _, text := range []string{"", "#!", "#!/bin/sh\n"} {
		if c, err := ReadConsumer("x", strings.NewReader(text), int64(len(text))); err != nil || len(c.Needed)+len(c.Imports) > 0 || c.Needed == nil {
			t.Errorf("%q: %+v %v", text, c, err)
		}
	}
	_, err = ReadConsumer("x", breaksAt{b, 2}, int64(len(b)))
	wantCode(t, err, codeRead)
	_, err = ReadConsumer("x", breaksAt{b, 100}, int64(len(b)))
	wantCode(t, err, codeELF)
}

// TestRealObjects compares with debug/elf on this machine's libraries.
func TestRealObjects(t *testing.T) {
	if testing.Short() {
		t.Skip("long: reads this machine's programs and libraries")
	}
	n, most := 0, 60
	if os.Getenv("PATCHWRIT_E2E") == "1" {
		most = 1000
	}
	for _, root := range []string{"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/bin"} {
		filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || n >= most {
				return nil
			}
			b, err := os.ReadFile(p)
			if err != nil || !bytes.HasPrefix(b, []byte(elf.ELFMAG)) || len(b) > most<<15 {
				return nil
			}
			compareWithLibrary(t, p, b)
			n++
			return nil
		})
	}
	if n == 0 {
		t.Skip("no ELF files in the usual places: nothing to compare with debug/elf")
	}
	t.Logf("%d files read as debug/elf reads them", n)
}

func compareWithLibrary(t *testing.T, p string, b []byte) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	o, linked, err := read(b)
	if err != nil {
		t.Fatalf("%s: %v", p, err)
	}
	needed, _ := f.ImportedLibraries()
	soname, _ := f.DynString(elf.DT_SONAME)
	slices.Sort(needed)
	if !slices.Equal(o.Needed, needed) || strings.Join(soname, "") != o.Soname {
		t.Errorf("%s: needs %v, %v; soname %s, %v", p, o.Needed, needed, o.Soname, soname)
	}
	if !linked {
		return
	}
	var exports []string
	var imports []Import
	symbols, _ := f.DynamicSymbols()
	for _, s := range symbols {
		bind, seen := elf.ST_BIND(s.Info), elf.ST_VISIBILITY(s.Other)
		if bind == elf.STB_LOCAL || s.Name == "" || elf.ST_TYPE(s.Info) == elf.STT_SECTION {
			continue
		}
		version := s.Version
		if s.VersionIndex.Index() < 2 {
			version = ""
		}
		i := Import{s.Name, version, s.Library}
		switch {
		case s.Section == elf.SHN_UNDEF && bind == elf.STB_GLOBAL:
			imports = append(imports, i)
		case s.Section != elf.SHN_UNDEF && (seen == elf.STV_DEFAULT || seen == elf.STV_PROTECTED) && !(s.Section == elf.SHN_ABS && s.Name == version):
			exports = append(exports, i.Key())
		}
	}
	slices.Sort(exports)
	slices.SortFunc(imports, compareImports)
	if !slices.Equal(o.Exports, slices.Compact(exports)) {
		t.Errorf("%s: %d exports, debug/elf gives %d", p, len(o.Exports), len(exports))
	}
	if !slices.Equal(o.Imports, slices.Compact(imports)) {
		t.Errorf("%s: %d imports, debug/elf gives %d", p, len(o.Imports), len(imports))
	}
}
