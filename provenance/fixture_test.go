package provenance

import (
	"bytes"
	"cmp"
	"crypto"
	_ "crypto/sha1" // for signatures that must be refused
	_ "crypto/sha512"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

var (
	now     = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	made    = time.Date(2026, 11, 21, 0, 53, 2, 0, time.UTC) // when the release was dated and signed
	keyBorn = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
)

func config(at time.Time) *packet.Config {
	no := false // else the library refuses to sign with SHA-1
	return &packet.Config{NonDeterministicSignaturesViaNotation: &no, Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA512, Time: func() time.Time { return at }}
}

// newKey makes a vendor key that has lived since keyBorn, for life seconds (0
// for ever).
func newKey(t testing.TB, name string, life time.Duration) *openpgp.Entity {
	c := config(keyBorn)
	c.KeyLifetimeSecs = uint32(life / time.Second)
	return newKeyBy(t, name, c)
}

func newKeyBy(t testing.TB, name string, c *packet.Config) *openpgp.Entity {
	e, err := openpgp.NewEntity(name, "", "archive@example.org", c)
	if err != nil {
		t.Fatal(err)
	}
	e.Subkeys = nil // only one for encryption so far
	return e
}

func withSubkey(t testing.TB, e *openpgp.Entity) *openpgp.Entity {
	if err := e.AddSigningSubkey(config(keyBorn)); err != nil {
		t.Fatal(err)
	}
	return e
}

// keyring serialises public keys. Their self-signatures stay as they are.
func keyring(t testing.TB, keys ...*openpgp.Entity) []byte {
	var b bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// signer is how one signature packet is made.
type signer struct {
	key    *packet.PrivateKey
	hash   crypto.Hash // SHA-512 when zero
	at     time.Time   // made when zero
	life   uint32      // seconds
	binary bool        // a signature over a binary document
}

func by(e *openpgp.Entity) signer { return signer{key: e.PrivateKey} }

func bySubkey(e *openpgp.Entity) signer { return signer{key: e.Subkeys[0].PrivateKey} }

// sign makes a signature packet over text as a clear-signed message has it.
func (s signer) sign(t testing.TB, text string) []byte {
	sig := &packet.Signature{Version: 4, SigType: packet.SigTypeText, PubKeyAlgo: s.key.PubKeyAlgo,
		Hash: cmp.Or(s.hash, crypto.SHA512), CreationTime: made, IssuerKeyId: &s.key.KeyId, IssuerFingerprint: s.key.Fingerprint}
	if s.binary {
		sig.SigType = packet.SigTypeBinary
	}
	if !s.at.IsZero() {
		sig.CreationTime = s.at
	}
	if s.life > 0 {
		sig.SigLifetimeSecs = &s.life
	}
	sig.Version = s.key.Version
	h, err := sig.PrepareSign(config(made))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			io.WriteString(h, "\r\n")
		}
		io.WriteString(h, strings.TrimRight(line, " \t"))
	}
	if err := sig.Sign(h, s.key, config(made)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := sig.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// clearText puts a text and signature packets into one block.
func clearText(t testing.TB, text string, sigs ...[]byte) []byte {
	var b bytes.Buffer
	b.WriteString("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + text + "\n")
	w, err := armor.Encode(&b, "PGP SIGNATURE", nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(bytes.Join(sigs, nil))
	w.Close()
	b.WriteByte('\n')
	return b.Bytes()
}

// fixture is one release and everything it is judged by; each test changes one
// thing of a sound one.
type fixture struct {
	fields  [][2]string // before SHA256
	files   map[string][]byte
	extra   []string // further lines of SHA256
	tail    string   // behind SHA256
	signers []signer
	raw     func([]byte) []byte        // changes the finished InRelease
	sigs    func(sigs [][]byte) []byte // changes the signature packets
	keyring []byte
	origin  trust.Origin
	floor   int64
	now     time.Time
}

// vendor holds keys that take long to make, made once.
type vendor struct {
	ed, second, sub, stranger *openpgp.Entity
}

func newVendor(t testing.TB) vendor {
	return vendor{newKey(t, "First", 0), newKey(t, "Second", 0), withSubkey(t, newKey(t, "With subkey", 0)), newKey(t, "Stranger", 0)}
}

func (v vendor) fixture(t testing.TB) *fixture {
	return &fixture{
		fields: [][2]string{
			{"Origin", "Debian"}, {"Label", "Debian-Security"}, {"Suite", "oldstable-security"}, {"Version", "12"},
			{"Codename", "bookworm-security"}, {"Date", "Sat, 21 Nov 2026 00:53:02 UTC"}, {"Valid-Until", "Sat, 28 Nov 2026 00:53:02 UTC"},
			{"Components", "main contrib"}, {"Description", "Vorwärts immer"},
		},
		files: map[string][]byte{
			"main/binary-amd64/Packages":         []byte(stanzas),
			"main/binary-amd64/Packages.gz":      gz(stanzas),
			"main/binary-amd64/Packages.xz":      xzip(t, stanzas),
			"main/binary-amd64/Packages.zst":     zst(t, stanzas),
			"main/binary-arm64/Packages":         nil,
			"contrib/binary-amd64/Packages.gz":   gz(stanzas),
			"main/Contents-amd64.gz":             []byte("not of interest"),
			"main/binary-amd64/Release":          []byte("nor this"),
			"main/debian-installer/Packages":     []byte("nor this"),
			"main/binary-amd64/Packages.diff/Id": []byte("nor this"),
		},
		signers: []signer{by(v.ed)},
		keyring: keyring(t, v.ed, v.second, v.sub),
		origin: trust.Origin{ID: "debian-security", Keyring: "debian", Signers: 1, Origin: "Debian", Label: "Debian-Security",
			Codename: "bookworm-security", Suites: []string{"stable-security", "oldstable-security"}, Sections: []string{"main"}},
		floor: made.Unix(),
		now:   now,
	}
}

func (f *fixture) set(name, value string) {
	i := slices.IndexFunc(f.fields, func(kv [2]string) bool { return kv[0] == name })
	f.fields[i][1] = value
}

func (f *fixture) drop(name string) {
	f.fields = slices.DeleteFunc(f.fields, func(kv [2]string) bool { return kv[0] == name })
}

func (f *fixture) text() string {
	var b strings.Builder
	for _, kv := range f.fields {
		fmt.Fprintf(&b, "%s: %s\n", kv[0], kv[1])
	}
	b.WriteString("SHA256:\n")
	for _, path := range slices.Sorted(maps.Keys(f.files)) {
		fmt.Fprintf(&b, " %s %8d %s\n", canon.SumFile(f.files[path]), len(f.files[path]), path)
	}
	for _, line := range f.extra {
		b.WriteString(" " + line + "\n")
	}
	b.WriteString(f.tail)
	return strings.TrimSuffix(b.String(), "\n")
}

func (f *fixture) inRelease(t testing.TB) []byte {
	text, sigs := f.text(), [][]byte{}
	for _, s := range f.signers {
		sigs = append(sigs, s.sign(t, text))
	}
	if f.sigs != nil {
		sigs = [][]byte{f.sigs(sigs)}
	}
	b := clearText(t, text, sigs...)
	if f.raw != nil {
		b = f.raw(b)
	}
	return b
}

func (f *fixture) read(t testing.TB) (Release, error) {
	return ReadRelease(f.inRelease(t), f.origin, f.keyring, f.floor, f.now)
}

func (f *fixture) mustRead(t testing.TB) Release {
	r, err := f.read(t)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func gz(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.Bytes()
}

func zst(t testing.TB, s string) []byte {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll([]byte(s), nil)
}

func xzip(t testing.TB, s string) []byte {
	var b bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 1 << 16}.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, s)
	w.Close()
	return b.Bytes()
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

// stanzas is a small Packages file: an ordinary package, one of another source
// version, one for every architecture.
const stanzas = `Package: openssl
Version: 3.0.22-1~deb12u1
Installed-Size: 2290
Maintainer: Debian OpenSSL Team <pkg-openssl-devel@alioth-lists.debian.net>
Architecture: amd64
Depends: libc6 (>= 2.34), libssl3 (>= 3.0.17)
Suggests: ca-certificates
Description: Secure Sockets Layer toolkit - cryptographic utility
 with a second line
Section: utils
Priority: optional
Filename: pool/updates/main/o/openssl/openssl_3.0.22-1~deb12u1_amd64.deb
Size: 12
MD5sum: 0cc175b9c0f1b6a831c399e269772661
SHA256: 7509e5bda0c762d2bac7f90d758b5b2263fa01ccbc542ab5e3df163be08e6ca9

Package: libc-bin
Source: glibc (2.36-9+deb12u14)
Version: 2.36-9+deb12u14+b1
Essential: yes
Architecture: amd64
Section: libs
Filename: pool/main/g/glibc/libc-bin.deb
Size: 5
SHA256: 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824

Package: ca-certificates
Source: ca-certs
Version: 20230311+deb12u1
Architecture: all
Filename: pool/main/c/ca-certificates.deb
Size: 5
SHA256: 486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7
`
