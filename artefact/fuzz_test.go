package artefact

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/unpack"
)

// FuzzDeb offers any bytes as a .deb, and as the data and control archives of
// one. Whatever opens is compared with itself and with nothing.
func FuzzDeb(f *testing.F) {
	for _, format := range []unpack.Format{unpack.Plain, unpack.Gzip, unpack.XZ, unpack.Zstd} {
		p := sound()
		p.format = format
		f.Add(p.bytes(f))
	}
	f.Add(tarball(f, sound().files...))
	f.Add(tarball(f, entry{name: "control", body: "Package: a\nVersion: 1\nArchitecture: all\n"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		inData := arball(part{"debian-binary", []byte("2.0\n")}, part{"control.tar", controlOnly}, part{"data.tar", b})
		inControl := arball(part{"debian-binary", []byte("2.0\n")}, part{"control.tar", b}, part{"data.tar", make([]byte, 1024)})
		for _, deb := range [][]byte{b, inData, inControl} {
			c, err := Open(bytes.NewReader(deb), int64(len(deb)))
			if err != nil {
				if refusal.CodeOf(err) == "" {
					t.Fatalf("an error without a code: %v", err)
				}
				continue
			}
			for _, file := range c.Files {
				if file.Path[0] != '/' || strings.Contains(file.Path, "/../") || strings.Contains(file.Path, "//") {
					t.Fatalf("path %q", file.Path)
				}
			}
			first, same := Compare(nil, c), Compare(&c, c)
			canon.MustEncode(first)
			canon.MustEncode(same)
			if n := same.Counts; n.Added+n.Removed+n.Changed+len(same.Modes)+len(same.Scripts)+len(same.Libraries) > 0 {
				t.Fatalf("a package differs from itself: %+v", same)
			}
			if class, reasons := Class(first, c, change.List{}); class == change.Routine || !slices.ContainsFunc(reasons, func(r Reason) bool { return r.Code == "install" }) {
				t.Fatalf("a first installation is %s: %v", class, reasons)
			}
			canon.MustEncode(Breaks(first, c.Consumers()))
		}
	})
}

// controlOnly is the smallest control archive.
var controlOnly = func() []byte {
	var t testing.T
	return tarball(&t, entry{name: "control", body: "Package: a\nVersion: 1\nArchitecture: all\n"})
}()

// FuzzELF offers any bytes as a program.
func FuzzELF(f *testing.F) {
	for _, s := range []so{library(), program()} {
		f.Add(s.bytes())
		s.narrow = true
		f.Add(s.bytes())
		s.big = true
		f.Add(s.bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ReadConsumer("x", bytes.NewReader(b), int64(len(b)))
		if err != nil && refusal.CodeOf(err) != codeELF {
			t.Fatalf("%v", err)
		}
		o, linked, err2 := read(b)
		if bytes.HasPrefix(b, []byte("\x7fELF")) && (err == nil) != (err2 == nil) {
			t.Fatalf("%v, %v", err, err2)
		}
		if linked && (!slices.IsSorted(o.Exports) || !slices.IsSortedFunc(o.Imports, compareImports) || len(c.Imports) != len(o.Imports)) {
			t.Fatalf("%+v", o)
		}
	})
}
