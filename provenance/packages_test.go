package provenance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// open1 reads a Packages text as the plain file of an otherwise sound release.
func (v vendor) packages(t testing.TB, text string) (Index, error) {
	const path = "main/binary-amd64/Packages"
	f := v.fixture(t)
	f.files = map[string][]byte{path: []byte(text)}
	return f.mustRead(t).ReadPackages(path, strings.NewReader(text))
}

func TestPackagesAreReadInEveryCompression(t *testing.T) {
	f := newVendor(t).fixture(t)
	r := f.mustRead(t)
	for _, path := range []string{"Packages", "Packages.gz", "Packages.xz", "Packages.zst"} {
		path = "main/binary-amd64/" + path
		x, err := r.ReadPackages(path, bytes.NewReader(f.files[path]))
		if err != nil {
			t.Fatal(path, err)
		}
		if x.Len() != 3 {
			t.Errorf("%s: %d entries", path, x.Len())
		}
		e, err := x.Find("libc-bin", "amd64", "2.36-9+deb12u14+b1")
		if err != nil {
			t.Fatal(err)
		}
		source, version := e.Source()
		got := fmt.Sprint(e.Package(), " ", e.Arch(), " ", e.Version(), " ", source, " ", version, " ", e.Section(), " ", e.Essential(), " ", e.Filename(), " ", e.Size(), " ", e.Artefact(), " ", e.Origin())
		want := "libc-bin amd64 2.36-9+deb12u14+b1 glibc 2.36-9+deb12u14 libs true pool/main/g/glibc/libc-bin.deb 5 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 debian-security"
		if got != want {
			t.Errorf("%s:\n%s\n%s", path, got, want)
		}
		if err := e.Check(strings.NewReader("hello")); err != nil {
			t.Error(err)
		}
	}
	x, err := r.ReadPackages("main/binary-arm64/Packages", strings.NewReader(""))
	if err != nil || x.Len() != 0 {
		t.Errorf("an empty file: %d, %v", x.Len(), err)
	}
}

func TestOneArchitectureAndSourceFields(t *testing.T) {
	x, err := newVendor(t).packages(t, stanzas)
	if err != nil {
		t.Fatal(err)
	}
	e, err := x.Find("ca-certificates", "all", "20230311+deb12u1")
	if err != nil {
		t.Fatal(err)
	}
	if name, version := e.Source(); name != "ca-certs" || version != e.Version() {
		t.Errorf("source %s %s", name, version)
	}
	if e, err = x.Find("openssl", "amd64", "3.0.22-1~deb12u1"); err != nil {
		t.Fatal(err)
	}
	if name, version := e.Source(); name != "openssl" || version != e.Version() || e.Essential() {
		t.Errorf("source %s %s", name, version)
	}
}

func TestRefusalsOfPackages(t *testing.T) {
	v := newVendor(t)
	f := v.fixture(t)
	const path = "main/binary-amd64/Packages.gz"
	body := f.files[path]
	r := f.mustRead(t)
	if _, err := r.ReadPackages(path, bytes.NewReader(body)); err != nil {
		t.Fatal("control: ", err)
	}
	flipped := bytes.Clone(body)
	flipped[len(flipped)/2] ^= 1
	for _, c := range []struct {
		name string
		code refusal.Code
		path string
		from io.Reader
	}{
		{"a component that is not allowed", codeSection, "contrib/binary-amd64/Packages.gz", bytes.NewReader(body)},
		{"no component", codeSection, "binary-amd64/Packages.gz", bytes.NewReader(body)},
		{"a file of another kind", codePath, "main/Contents-amd64.gz", bytes.NewReader(body)},
		{"another file beside it", codePath, "main/binary-amd64/Release", bytes.NewReader(body)},
		{"no architecture", codePath, "main/binary-/Packages", bytes.NewReader(body)},
		{"a climbing path", codePath, "main/../main/binary-amd64/Packages.gz", bytes.NewReader(body)},
		{"an architecture of several words", codePath, "main/binary-amd64;x/Packages.gz", bytes.NewReader(body)},
		{"a file that the release does not name", codeUnlisted, "main/binary-i386/Packages.gz", bytes.NewReader(body)},
		{"a compression that the release does not name", codeUnlisted, "main/binary-arm64/Packages.gz", bytes.NewReader(body)},
		{"a broken source", codeRead, path, iotest.ErrReader(errors.New("disk on fire"))},
		{"one byte less", codeSize, path, bytes.NewReader(body[:len(body)-1])},
		{"one byte more", codeSize, path, io.MultiReader(bytes.NewReader(body), strings.NewReader("x"))},
		{"endless bytes", codeSize, path, endless{}},
		{"a flipped byte", codeDigest, path, bytes.NewReader(flipped)},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, err := r.ReadPackages(c.path, c.from)
			wantCode(t, err, c.code)
			if x != (Index{}) {
				t.Error("a refused index answers")
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestNothingIsParsedBeforeTheDigest offers bytes that would be refused as a
// broken stream, if anybody looked at them.
func TestNothingIsParsedBeforeTheDigest(t *testing.T) {
	f := newVendor(t).fixture(t)
	const path = "main/binary-amd64/Packages.gz"
	r, garbage := f.mustRead(t), bytes.Repeat([]byte{0xaa}, len(f.files[path]))
	_, err := r.ReadPackages(path, bytes.NewReader(garbage))
	wantCode(t, err, codeDigest)
	f.files[path] = garbage // control: the same bytes, signed for
	_, err = f.mustRead(t).ReadPackages(path, bytes.NewReader(garbage))
	wantCode(t, err, codeUnpack)
}

func TestStreamsThatAreSignedForAndStillBroken(t *testing.T) {
	v := newVendor(t)
	whole := gz(stanzas)
	bomb := append([]byte("\xfd7zXZ\x00\x00\x00\x00\x00\x00\x00\x02\x00!\x01\x16\x00\x00\x00\x00\x00\x00\x00"),
		bytes.Repeat([]byte{0xff, 0xff, 0xff, 0, 0, 0x5d, 0}, MaxUnpacked>>21+1)...)
	for _, c := range []struct {
		name string
		code refusal.Code
		path string
		body []byte
	}{
		{"cut in the middle", codeUnpack, "main/binary-amd64/Packages.gz", whole[:len(whole)/2]},
		{"not packed at all", codeUnpack, "main/binary-amd64/Packages.xz", []byte(stanzas)},
		{"a bomb", codeLimit, "main/binary-amd64/Packages.xz", bomb},
		{"a line too long", codeLimit, "main/binary-amd64/Packages.gz", gz("Package: " + strings.Repeat("x", MaxStanza))},
		{"a stanza too long", codeLimit, "main/binary-amd64/Packages.gz", gz("Package: x\n" + strings.Repeat("Depends: "+strings.Repeat("y", 1000)+"\n", MaxStanza/1000))},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := v.fixture(t)
			f.files = map[string][]byte{c.path: c.body}
			_, err := f.mustRead(t).ReadPackages(c.path, bytes.NewReader(c.body))
			wantCode(t, err, c.code)
		})
	}
	f := v.fixture(t)
	f.files, f.extra = nil, []string{fmt.Sprintf("%s %d main/binary-amd64/Packages", canon.SumFile(nil), MaxPackages+1)}
	_, err := f.mustRead(t).ReadPackages("main/binary-amd64/Packages", endless{})
	wantCode(t, err, codeLimit)
}

func TestStanzasAreStrict(t *testing.T) {
	v := newVendor(t)
	if _, err := v.packages(t, stanzas); err != nil {
		t.Fatal("control: ", err)
	}
	for _, ok := range []string{"", "\n\n", stanzas + "\n\n\n", strings.TrimSuffix(stanzas, "\n"), "\n" + stanzas} {
		if _, err := v.packages(t, ok); err != nil {
			t.Errorf("control: %v", err)
		}
	}
	for _, c := range []struct{ name, old, new string }{
		{"no Package", "Package: openssl\n", ""},
		{"an odd Package", "Package: openssl", "Package: open ssl"},
		{"no Version", "Version: 3.0.22-1~deb12u1\n", ""},
		{"an unordered Version", "Version: 3.0.22-1~deb12u1", "Version: x:y"},
		{"no Architecture", "Architecture: amd64\n", ""},
		{"another Architecture", "Architecture: amd64", "Architecture: arm64"},
		{"no Filename", "Filename: pool/updates/main/o/openssl/openssl_3.0.22-1~deb12u1_amd64.deb\n", ""},
		{"an absolute Filename", "Filename: pool", "Filename: /pool"},
		{"a climbing Filename", "Filename: pool", "Filename: ../pool"},
		{"no Size", "Size: 12\n", ""},
		{"a Size of nothing", "Size: 12\n", "Size: 0\n"},
		{"a Size below nothing", "Size: 12\n", "Size: -12\n"},
		{"an absurd Size", "Size: 12\n", "Size: 4294967297\n"},
		{"no SHA256", "SHA256: 7509e5bda0c762d2bac7f90d758b5b2263fa01ccbc542ab5e3df163be08e6ca9\n", ""},
		{"a short SHA256", "SHA256: 7509", "SHA256: 509"},
		{"a field twice", "Size: 12\n", "Size: 12\nSize: 13\n"},
		{"a field twice in another case", "Size: 12\n", "Size: 12\nsize: 13\n"},
		{"an empty field twice", "Size: 12\n", "Size:\nSize: 12\n"},
		{"a field that goes on", "Size: 12\n", "Size: 12\n 13\n"},
		{"a line of white space", "Size: 12\n", "Suggests: x\n \nSize: 12\n"},
		{"a first line that goes on", "Package: openssl\n", " Package: openssl\nPackage: openssl\n"},
		{"a line that is no field", "Size: 12\n", "Size: 12\nhello\n"},
		{"a nameless field", "Size: 12\n", "Size: 12\n: x\n"},
		{"a comment", "Size: 12\n", "Size: 12\n#x: y\n"},
		{"a list item", "Size: 12\n", "Size: 12\n-x: y\n"},
		{"a carriage return", "Size: 12\n", "Size: 12\r\n"},
		{"a NUL", "Size: 12\n", "Size: 12\nX: \x00\n"},
		{"an odd Source", "Source: ca-certs\n", "Source: ca certs\n"},
		{"an unclosed Source version", "(2.36-9+deb12u14)", "(2.36-9+deb12u14"},
		{"an odd Source version", "(2.36-9+deb12u14)", "(a b)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(stanzas, c.old) {
				t.Fatalf("the fixture has no %q", c.old)
			}
			_, err := v.packages(t, strings.Replace(stanzas, c.old, c.new, 1))
			wantCode(t, err, codeStanza)
		})
	}
}

func TestTooManyStanzas(t *testing.T) {
	in := &index{arch: "amd64", entries: make([]entry, MaxEntries)}
	first, _, _ := strings.Cut(stanzas, "\n\n")
	wantCode(t, in.add([]byte(first)), codeLimit)
	in.entries = nil
	if err := in.add([]byte(first)); err != nil {
		t.Fatal("control: ", err)
	}
}

func TestEquivocation(t *testing.T) {
	v := newVendor(t)
	first, _, _ := strings.Cut(stanzas, "\n\n")
	x, err := v.packages(t, stanzas+"\n"+first+"\n")
	if err != nil || x.Len() != 3 {
		t.Fatalf("control: the same stanza twice: %d, %v", x.Len(), err)
	}
	for _, change := range []string{"SHA256: 8509", "Size: 13"} {
		field, _, _ := strings.Cut(change, ":")
		at := strings.Index(first, "\n"+field) + 1
		other := first[:at] + change + first[at+len(change):]
		_, err := v.packages(t, stanzas+"\n"+other+"\n")
		wantCode(t, err, codeEquivocal)
		y, err := v.packages(t, other+"\n")
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, x.Agrees(y), codeEquivocal)
		wantCode(t, y.Agrees(x), codeEquivocal)
	}
	if err := x.Agrees(x); err != nil {
		t.Error(err)
	}
	wantCode(t, x.Agrees(Index{}), codeZero)
}

func TestFindAndCheck(t *testing.T) {
	x, err := newVendor(t).packages(t, stanzas)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][3]string{{"openssl", "amd64", "3.0.22-1~deb12u2"}, {"openssl", "all", "3.0.22-1~deb12u1"}, {"opensslx", "amd64", "3.0.22-1~deb12u1"}, {"", "", ""}} {
		_, err := x.Find(c[0], c[1], c[2])
		wantCode(t, err, codeNoEntry)
	}
	e, err := x.Find("libc-bin", "amd64", "2.36-9+deb12u14+b1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from io.Reader
		code refusal.Code
	}{
		{strings.NewReader("hell"), codeArtefactLen}, {strings.NewReader("hello!"), codeArtefactLen}, {strings.NewReader(""), codeArtefactLen},
		{endless{}, codeArtefactLen}, {strings.NewReader("jello"), codeArtefact}, {iotest.ErrReader(io.ErrClosedPipe), codeRead},
	} {
		wantCode(t, e.Check(c.from), c.code)
	}
}

func TestTheChainCanBeDerivedAgain(t *testing.T) {
	v := newVendor(t)
	f := v.fixture(t)
	f.signers = append(f.signers, by(v.second))
	const path = "main/binary-amd64/Packages.xz"
	r := f.mustRead(t)
	x, err := r.ReadPackages(path, bytes.NewReader(f.files[path]))
	if err != nil {
		t.Fatal(err)
	}
	e, err := x.Find("libc-bin", "amd64", "2.36-9+deb12u14+b1")
	if err != nil {
		t.Fatal(err)
	}
	first := slices.Index(strings.Split(stanzas, "\n\n"), "") // none is empty
	stanza := strings.Split(stanzas, "\n\n")[1] + "\n"
	c := e.Chain()
	want := Chain{Type: TypeChain, Origin: "debian-security", Release: r.Digest(), Date: r.Date(), ValidUntil: r.ValidUntil(),
		Signers: []string{r.Signers()[0].Key, r.Signers()[1].Key}, Path: path, Packages: canon.SumFile(f.files[path]), Stanza: canon.SumFile([]byte(stanza)),
		Package: "libc-bin", Arch: "amd64", Version: "2.36-9+deb12u14+b1", Filename: "pool/main/g/glibc/libc-bin.deb", Size: 5, Artefact: canon.SumFile([]byte("hello"))}
	b, err := canon.Encode(c)
	if err != nil || first != -1 {
		t.Fatal(err)
	}
	if wanted := canon.MustEncode(want); !bytes.Equal(b, wanted) {
		t.Errorf("\n%s\n%s", b, wanted)
	}
	var back Chain
	if err := canon.Decode(b, &back); err != nil {
		t.Error(err)
	}
}

// TestEveryEntryIsFound draws Packages files and looks for every stanza.
func TestEveryEntryIsFound(t *testing.T) {
	v := newVendor(t)
	f := v.fixture(t)
	rel := f.mustRead(t).r
	rapid.Check(t, func(rt *rapid.T) {
		type key struct{ name, arch, version string }
		stanza := rapid.Custom(func(rt *rapid.T) key {
			return key{rapid.StringMatching(`[a-z][a-z0-9+.-]{0,4}`).Draw(rt, "name"), rapid.SampledFrom([]string{"amd64", "all"}).Draw(rt, "arch"),
				rapid.StringMatching(`[0-9][0-9.~+a-z]{0,4}`).Draw(rt, "version")}
		})
		keys := rapid.SliceOfDistinct(stanza, func(k key) key { return k }).Draw(rt, "stanzas")
		in := &index{release: rel, arch: "amd64"}
		var text strings.Builder
		for _, k := range keys {
			fmt.Fprintf(&text, "Package: %s\nX-Other: y\n z\nArchitecture: %s\nVersion: %s\nFilename: f\nSize: 1\nSHA256: %s\n\n", k.name, k.arch, k.version, canon.SumFile([]byte(fmt.Sprint(k))))
		}
		if err := errors.Join(in.read(iotest.OneByteReader(strings.NewReader(text.String()))), in.sort()); err != nil {
			rt.Fatal(err)
		}
		x := Index{in}
		for _, k := range keys {
			e, err := x.Find(k.name, k.arch, k.version)
			if err != nil || e.Artefact() != canon.SumFile([]byte(fmt.Sprint(k))) {
				rt.Fatalf("%v: %v", k, err)
			}
			named := 0
			for e := range x.Named(k.name) {
				if e.Package() != k.name {
					rt.Fatalf("Named(%s) yields %s", k.name, e.Package())
				}
				named++
			}
			count := 0
			for _, o := range keys {
				if o.name == k.name {
					count++
				}
			}
			if named != count {
				rt.Fatalf("Named(%s) yields %d of %d", k.name, named, count)
			}
		}
		last, n := &entry{}, 0
		for e := range x.All() {
			if n++; last.compare(e.e) >= 0 {
				rt.Fatal("All is not ascending")
			}
			last = e.e
		}
		if n != len(keys) || n != x.Len() {
			rt.Fatalf("%d of %d", n, len(keys))
		}
		for range x.All() {
			break // stopping early must work
		}
	})
}
