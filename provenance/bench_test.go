package provenance

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/patchwrit/patchwrit/canon"
)

// BenchmarkReadRelease reads a release of Debian's size, signed by two keys of
// a keyring of three; and the machine's own, where there is one.
func BenchmarkReadRelease(b *testing.B) {
	v := newVendor(b)
	f := v.fixture(b)
	f.signers, f.origin.Signers = []signer{by(v.ed), by(v.second)}, 2
	for i := range 700 {
		f.extra = append(f.extra, fmt.Sprintf("%s %d main/i18n/Translation-%d.bz2", canon.SumFile([]byte{byte(i)}), i, i))
	}
	raw := f.inRelease(b)
	b.Run("made", func(b *testing.B) {
		for b.Loop() {
			if _, err := ReadRelease(raw, f.origin, f.keyring, f.floor, f.now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("real", func(b *testing.B) {
		all, keys := realReleases(b)
		r := all[len(all)-1]
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ReadRelease(r.raw, r.o, keys, 0, r.at); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// manyStanzas writes a Packages text of n stanzas, about 800 bytes each as
// Debian's are.
func manyStanzas(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Package: lib%d-perl\nVersion: %d.%d-1+deb12u%d\nInstalled-Size: %d\nMaintainer: Debian Perl Group <pkg-perl-maintainers@lists.alioth.debian.org>\nArchitecture: all\n"+
			"Depends: perl:any, libmodule-runtime-perl, libnamespace-clean-perl, libtype-tiny-perl (>= 1.%d)\nDescription: module %d for something that perl programs need\nMulti-Arch: foreign\n"+
			"Homepage: https://example.org/dist/Lib-%d\nDescription-md5: 0123456789abcdef0123456789abcdef\nTag: devel::lang:perl, devel::library,\n implemented-in::perl, role::devel-lib\n"+
			"Section: perl\nPriority: optional\nFilename: pool/main/libp/lib%d-perl/lib%d-perl_%d-1_all.deb\nSize: %d\nMD5sum: 0123456789abcdef0123456789abcdef\nSHA256: %s\n\n",
			i, i%90, i%7, i%5, i, i%100, i, i, i, i, i, i+1, canon.SumFile(fmt.Append(nil, i)))
	}
	return b.String()
}

// BenchmarkReadPackages reads 60,000 stanzas, as Debian 12 main has.
func BenchmarkReadPackages(b *testing.B) {
	v := newVendor(b)
	text := manyStanzas(60_000)
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	io.WriteString(w, text)
	w.Close()
	for path, body := range map[string][]byte{"main/binary-amd64/Packages": []byte(text), "main/binary-amd64/Packages.gz": packed.Bytes()} {
		b.Run(path[len("main/binary-amd64/"):], func(b *testing.B) {
			f := v.fixture(b)
			f.files = map[string][]byte{path: body}
			r := f.mustRead(b)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				x, err := r.ReadPackages(path, bytes.NewReader(body))
				if err != nil || x.Len() != 60_000 {
					b.Fatal(err)
				}
			}
		})
	}
}
