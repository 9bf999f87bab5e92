package artefact

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/unpack"
)

// opensslSized makes a package like libssl3 of Debian 12: a library of 4.7 MB
// with 5,367 symbols, one of 0.7 MB with 519, an engine or two and the usual
// documents; xz like the real one.
func opensslSized(b *testing.B, release int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	lib := func(name string, symbols, size int) entry {
		s := so{soname: name, needed: []string{"libc.so.6"}}
		for i := range symbols {
			s.exports = append(s.exports, fmt.Sprintf("OPENSSL_function_%05d@OPENSSL_3.0.0", i))
		}
		code := make([]byte, size)
		for i := range code { // packs about as well as machine code
			code[i] = byte(r.IntN(64)) & byte(r.IntN(256))
		}
		code[release*1000] ^= 0xff
		return entry{name: "usr/lib/" + name, body: string(append(s.bytes(), code...))}
	}
	p := sound()
	p.format = unpack.XZ
	p.fields["Version"] = fmt.Sprintf("3.0.%d-1~deb12u1", release)
	p.files = append(p.files, lib("libcrypto.so.3", 5367, 4_400_000), lib("libssl.so.3", 519, 660_000))
	for i := range 60 {
		p.add(entry{name: fmt.Sprintf("usr/share/doc/file%d", i), body: fmt.Sprintf("text %d of %d", i, release)})
	}
	return p.bytes(b)
}

// BenchmarkCompareDeb opens both packages, compares them and computes the class.
func BenchmarkCompareDeb(b *testing.B) {
	before, after := opensslSized(b, 20), opensslSized(b, 22)
	b.SetBytes(int64(len(before) + len(after)))
	b.ReportAllocs()
	for b.Loop() {
		old, err := Open(bytes.NewReader(before), int64(len(before)))
		if err != nil {
			b.Fatal(err)
		}
		new, err := Open(bytes.NewReader(after), int64(len(after)))
		if err != nil {
			b.Fatal(err)
		}
		d := Compare(&old, new)
		if class, _ := Class(d, new, Floor()); class != change.Routine || d.Counts.Changed != 62 {
			b.Fatalf("%s %+v", class, d.Counts)
		}
	}
}

// BenchmarkClass computes the class of a package with many files.
func BenchmarkClass(b *testing.B) {
	var old, new Contents
	for i := range 100_000 {
		f := File{Path: fmt.Sprintf("/usr/share/x/%06d", i), Kind: Regular, Owner: "root", Group: "root", Digest: "a"}
		old.Files = append(old.Files, f)
		f.Digest = "b"
		new.Files = append(new.Files, f)
	}
	old.Version, new.Version = "1-1", "1-2"
	for b.Loop() {
		Class(Compare(&old, new), new, Floor())
	}
}
