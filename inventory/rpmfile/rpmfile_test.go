package rpmfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/internal/rpmfiletest"
	"github.com/patchwrit/patchwrit/inventory/rpmfile"
)

type reader func(in io.ReaderAt, length int64, take rpmfile.Take) error

// readers are those of the files by their names.
var readers = map[string]reader{"Packages": rpmfile.ReadBDB, "Packages.db": rpmfile.ReadNDB}

// value is n bytes of which every run tells where it stands.
func value(name string, n int) []byte {
	b := []byte{}
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%s %d ", name, i)
	}
	return b[:n]
}

func TestValues(t *testing.T) {
	want := [][]byte{value("bash", 600), value("inside", 99), value("perl", 5000), {}}
	for name, raw := range map[string][]byte{
		"Packages":           rpmfiletest.BDB(binary.LittleEndian, want...),
		"Packages (big end)": rpmfiletest.BDB(binary.BigEndian, want...),
		"Packages.db":        rpmfiletest.NDB(want...),
	} {
		file, _, _ := strings.Cut(name, " ")
		n := 0
		err := readers[file](bytes.NewReader(raw), int64(len(raw)), func(id uint32, v []byte, bad error) error {
			if n++; int(id) != n || bad != nil || !bytes.Equal(v, want[n-1]) {
				t.Errorf("%s: value %d has %d bytes: %v", name, id, len(v), bad)
			}
			return nil
		})
		if err != nil || n != len(want) {
			t.Errorf("%s: %d values: %v", name, n, err)
		}
		if err := readers[file](bytes.NewReader(raw), int64(len(raw)), func(uint32, []byte, error) error { return errEnough }); err != errEnough {
			t.Errorf("%s: what take says is not returned: %v", name, err)
		}
	}
}

// A disk that fails once is told: of one value in its place, of all else at the end.
func TestFailingReader(t *testing.T) {
	for name, raw := range map[string][]byte{"Packages": rpmfiletest.BDB(binary.LittleEndian, value("bash", 600)), "Packages.db": rpmfiletest.NDB(value("bash", 600))} {
		for fails := range 3 {
			bad := error(nil)
			err := readers[name](&failing{bytes.NewReader(raw), fails}, int64(len(raw)), func(_ uint32, _ []byte, b error) error { bad = b; return nil })
			if errors.Is(err, errDisk) != (fails < 2) || errors.Is(bad, errDisk) != (fails == 2) {
				t.Errorf("%s: at read %d: %v, %v", name, fails, err, bad)
			}
		}
	}
}

var errDisk = errors.New("the disk is gone")

// failing fails at one read.
type failing struct {
	*bytes.Reader
	in int
}

func (f *failing) ReadAt(b []byte, off int64) (int, error) {
	if f.in--; f.in == -1 {
		return 0, errDisk
	}
	return f.Reader.ReadAt(b, off)
}

// Each lie of a file is told, and what stands beside it is read.
func TestLies(t *testing.T) {
	bash, perl := value("bash", 600), value("perl", 900)
	good := rpmfiletest.BDB(binary.LittleEndian, bash, perl)
	le := binary.LittleEndian
	edit := func(raw []byte, f func(b []byte)) []byte { b := bytes.Clone(raw); f(b); return b }
	item := func(b []byte, i int) []byte { return b[512+int(le.Uint16(b[512+rpmfiletest.BDBIndex+2*i:])):] }
	ndb := rpmfiletest.NDB(bash, perl)
	for _, c := range []struct {
		name, file, want string
		raw              []byte
		left             int // packages that are read all the same
	}{
		{"bdb cut short", "Packages", "it was cut short", good[:len(good)-512], 0},
		{"bdb, no magic", "Packages", "no unencrypted hash database", edit(good, func(b []byte) { b[12] = 0 }), 0},
		{"bdb, encrypted", "Packages", "no unencrypted hash database", edit(good, func(b []byte) { b[24] = 1 }), 0},
		{"bdb, a b-tree", "Packages", "no unencrypted hash database", edit(good, func(b []byte) { b[25] = 9 }), 0},
		{"bdb, huge pages", "Packages", "claim to have", edit(good, func(b []byte) { le.PutUint32(b[20:], 1<<20) }), 0},
		{"bdb, odd pages", "Packages", "claim to have", edit(good, func(b []byte) { le.PutUint32(b[20:], 600) }), 0},
		{"bdb, too many entries", "Packages", "claims 900 entries", edit(good, func(b []byte) { le.PutUint16(b[512+20:], 900) }), 0},
		{"bdb, a key alone", "Packages", "claims 5 entries", edit(good, func(b []byte) { le.PutUint16(b[512+20:], 5) }), 0},
		{"bdb, an entry outside", "Packages", "lies at 4", edit(good, func(b []byte) { le.PutUint16(b[512+rpmfiletest.BDBIndex+2:], 4) }), 0},
		{"bdb, an entry above the one before", "Packages", "entry 3 lies at", edit(good, func(b []byte) { le.PutUint16(b[512+rpmfiletest.BDBIndex+6:], 511) }), 0},
		{"bdb, a key of another kind", "Packages", "no number of a package", edit(good, func(b []byte) { item(b, 2)[0] = 3 }), 0},
		{"bdb, a value of another kind", "Packages", "is not read", edit(good, func(b []byte) { item(b, 3)[0] = 4 }), 1},
		{"bdb, a huge value", "Packages", "value claims", edit(good, func(b []byte) { le.PutUint32(item(b, 3)[8:], 1<<31) }), 1},
		{"bdb, a chain that ends", "Packages", "goes to page 0", edit(good, func(b []byte) { le.PutUint32(item(b, 3)[8:], 1<<20) }), 1},
		{"bdb, a chain in a circle", "Packages", "used already", edit(good, func(b []byte) { le.PutUint32(item(b, 3)[8:], 1<<20); le.PutUint32(b[2*512+16:], 2) }), 1},
		{"bdb, two values in one chain", "Packages", "used already", edit(good, func(b []byte) { le.PutUint32(item(b, 5)[4:], 2) }), 1},
		{"bdb, a chain beyond the end", "Packages", "goes to page 99", edit(good, func(b []byte) { le.PutUint32(item(b, 3)[4:], 99) }), 1},
		{"bdb, a chain of hash pages", "Packages", "is of type 13", edit(good, func(b []byte) { le.PutUint32(item(b, 3)[4:], 1) }), 1},
		{"bdb, a page that claims too much", "Packages", "claims 999 bytes", edit(good, func(b []byte) { le.PutUint16(b[2*512+22:], 999) }), 1},
		{"bdb, a value's entry in the page's head", "Packages", "lies at 4 to", edit(good, func(b []byte) { le.PutUint16(b[512+rpmfiletest.BDBIndex+6:], 4) }), 0},
		{"bdb, a chain page of another type", "Packages", "is of type 13", edit(good, func(b []byte) { b[2*512+25] = 13 }), 1},
		{"bdb, a page that claims more than it is", "Packages", "claims 500 bytes", edit(good, func(b []byte) { le.PutUint32(item(b, 3)[8:], 1<<20); le.PutUint16(b[2*512+22:], 500) }), 1},
		{"bdb, nothing in it", "Packages", "", rpmfiletest.BDB(le), 0},
		{"ndb, no magic", "Packages.db", "no ndb database", edit(ndb, func(b []byte) { b[0] = 0 }), 0},
		{"ndb, another version", "Packages.db", "version 7", edit(ndb, func(b []byte) { b[4] = 7 }), 0},
		{"ndb, too many slots", "Packages.db", "pages of slots", edit(ndb, func(b []byte) { le.PutUint32(b[12:], 1<<30) }), 0},
		{"ndb, no slots", "Packages.db", "pages of slots", edit(ndb, func(b []byte) { b[12] = 0 }), 0},
		{"ndb, a slot that is none", "Packages.db", "slot at byte 48", edit(ndb, func(b []byte) { b[48] = 0 }), 1},
		{"ndb, a blob outside", "Packages.db", "its blob lies at", edit(ndb, func(b []byte) { le.PutUint32(b[40:], 1<<20) }), 1},
		{"ndb, the blob of another", "Packages.db", "begin and end as one", edit(ndb, func(b []byte) { copy(b[40:48], b[56:64]) }), 1},
		{"ndb, a blob that is longer", "Packages.db", "begin and end as one", edit(ndb, func(b []byte) { le.PutUint32(b[rpmfiletest.NDBPage+12:], 1<<30) }), 1},
		{"ndb, a blob without an end", "Packages.db", "begin and end as one", edit(ndb, func(b []byte) { b[len(b)-1] = 0 }), 1},
		{"ndb, one blob in every slot", "Packages.db", "larger than itself", edit(ndb, func(b []byte) {
			for at := 48; at < rpmfiletest.NDBPage; at += rpmfiletest.NDBUnit {
				copy(b[at+4:], b[36:48])
				le.PutUint32(b[at+12:], uint32(len(b)/rpmfiletest.NDBUnit/2))
			}
		}), 1},
		{"ndb, a blob that is longer at both ends", "Packages.db", "begin and end as one", edit(ndb, func(b []byte) {
			le.PutUint32(b[rpmfiletest.NDBPage+12:], 1<<20)
			le.PutUint32(b[len(b)-8:], 1<<20)
			copy(b[40:44], b[56:60])
			copy(b[44:48], b[60:64])
			le.PutUint32(b[36:], 2)
			le.PutUint32(b[le.Uint32(b[56:])*rpmfiletest.NDBUnit+12:], 1<<20)
		}), 0},
		{"ndb, nothing in it", "Packages.db", "", rpmfiletest.NDB(), 0},
	} {
		read, said := readers[c.file], []string{}
		left := 0
		err := read(bytes.NewReader(c.raw), int64(len(c.raw)), func(id uint32, v []byte, bad error) error {
			if bad != nil {
				said = append(said, fmt.Sprintf("value %d: %v", id, bad))
			} else if left++; !bytes.Equal(v, bash) && !bytes.Equal(v, perl) {
				t.Errorf("%s: value %d is none that was written", c.name, id)
			}
			return nil
		})
		if err != nil {
			said = append(said, err.Error())
		}
		if !strings.Contains(strings.Join(said, "; "), c.want) || left != c.left {
			t.Errorf("%s: %d values, %q; want %d and %s", c.name, left, said, c.left, c.want)
		}
	}
}

var errEnough = errors.New("enough")

// Whatever the bytes are: no panic, and no more values than the file can hold.
// Run it with -fuzzminimizetime=1x: files have thousands of bytes, and go test
// would spend its time, a minute for each, on making them shorter.
func fuzz(f *testing.F, read reader) {
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, total := 0, 0
		err := read(bytes.NewReader(raw), int64(len(raw)), func(_ uint32, v []byte, bad error) error {
			n++
			if total += len(v); bad != nil && v != nil {
				t.Fatal("an error and a value")
			}
			if n > 100_000 {
				return errEnough
			}
			return nil
		})
		if err != nil && errors.Is(err, errEnough) || total > 2*len(raw) {
			t.Fatalf("%d values of %d bytes from a file of %d: %v", n, total, len(raw), err)
		}
	})
}

func FuzzBDB(f *testing.F) {
	f.Add(rpmfiletest.BDB(binary.LittleEndian, value("bash", 600), []byte("x")))
	f.Add(rpmfiletest.BDB(binary.BigEndian, value("bash", 90)))
	fuzz(f, rpmfile.ReadBDB)
}

func FuzzNDB(f *testing.F) {
	f.Add(rpmfiletest.NDB(value("bash", 600), []byte("x")))
	fuzz(f, rpmfile.ReadNDB)
}
