package provenance

import (
	"bytes"
	"testing"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// FuzzInRelease offers any bytes as an InRelease, then takes the signature out
// of the way and offers them as the signed text. No answer but a refusal with a
// code, or a release that was signed.
func FuzzInRelease(f *testing.F) {
	v := newVendor(f)
	fix := v.fixture(f)
	f.Add(fix.inRelease(f))
	f.Add([]byte(fix.text()))
	f.Add(clearText(f, fix.text(), by(v.ed).sign(f, fix.text()), bySubkey(v.sub).sign(f, fix.text())))
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\n\n\n-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n"))
	f.Add([]byte("Date: Sat, 21 Nov 2026 00:53:02 UTC\nSHA256:\n " + "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 1 main/binary-amd64/Packages"))
	good := fix.inRelease(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ReadRelease(b, fix.origin, fix.keyring, 0, fix.now)
		if err == nil && !bytes.Contains(b, []byte("bookworm-security")) {
			t.Fatalf("accepted: %q", b)
		}
		if err != nil && (refusal.CodeOf(err) == "" || r != (Release{})) {
			t.Fatalf("%v", err)
		}
		_, _ = ReadRelease(good, fix.origin, b, 0, fix.now) // as a keyring
		if fields, err := paragraph(b); err == nil {
			_ = fields.says(trust.Origin{})
			if date, until, err := fields.dates(0, fix.now); err == nil && (date <= 0 || until < 0) {
				t.Fatalf("dates %d %d", date, until)
			}
			files, err := fields.files([]string{"main", "contrib"})
			for path, file := range files {
				if err != nil || path != file.Path || !clean(path) || file.Size < 0 || !file.Digest.Valid() {
					t.Fatalf("%+v, %v", file, err)
				}
			}
		}
	})
}

// FuzzPackages offers any bytes as an authentic Packages file.
func FuzzPackages(f *testing.F) {
	f.Add([]byte(stanzas))
	f.Add([]byte("Package: a\n\n"))
	f.Add([]byte(" \n"))
	f.Add([]byte("Package: a\nVersion: 1\nArchitecture: all\nFilename: f\nSize: 1\nSHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"))
	rel := &release{origin: trust.Origin{ID: "o"}}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := &index{release: rel, arch: "amd64", file: File{Path: "main/binary-amd64/Packages"}}
		err := in.read(bytes.NewReader(b))
		if err == nil {
			err = in.sort()
		}
		if err != nil {
			if refusal.CodeOf(err) == "" {
				t.Fatalf("an error without a code: %v", err)
			}
			return
		}
		x := Index{in}
		for e := range x.All() {
			again, err := x.Find(e.Package(), e.Arch(), e.Version())
			if err != nil || again != e || !clean(e.Filename()) || e.Size() < 1 || !e.Artefact().Valid() {
				t.Fatalf("%+v: %v", e.Chain(), err)
			}
		}
	})
}
