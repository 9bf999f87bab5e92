package rpmdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	reference "github.com/anchore/go-rpmdb/pkg"

	"github.com/patchwrit/patchwrit/internal/rpmtest"
	"github.com/patchwrit/patchwrit/internal/schematest"
	"github.com/patchwrit/patchwrit/inventory"
)

// makeBDB writes a database with pages of 512 bytes: the count under key 0 and
// each value off the page.
func makeBDB(order binary.ByteOrder, values ...[]byte) []byte {
	const size = 512
	page := func(kind byte) []byte { b := make([]byte, size); b[25] = kind; return b }
	meta, hash := page(bdbMetaHash), page(bdbHash)
	order.PutUint32(meta[12:], bdbMagic)
	order.PutUint32(meta[20:], size)
	pages, at, n := [][]byte{meta, hash}, size, 0
	item := func(b []byte) {
		at -= len(b)
		copy(hash[at:], b)
		order.PutUint16(hash[bdbHead+2*n:], uint16(at))
		n++
	}
	u32 := func(v int) []byte { b := make([]byte, 4); order.PutUint32(b, uint32(v)); return b }
	item(append([]byte{bdbInline}, u32(0)...))
	item(append([]byte{bdbInline}, u32(len(values))...))
	for i, v := range values {
		item(append([]byte{bdbInline}, u32(i+1)...))
		if len(v) < 100 {
			item(append([]byte{bdbInline}, v...))
			continue
		}
		item(slices.Concat([]byte{bdbOffPage, 0, 0, 0}, u32(len(pages)), u32(len(v))))
		for len(v) > 0 {
			b := page(bdbOverflow)
			k := copy(b[bdbHead:], v)
			order.PutUint16(b[22:], uint16(k))
			if v = v[k:]; len(v) > 0 {
				order.PutUint32(b[16:], uint32(len(pages)+1))
			}
			pages = append(pages, b)
		}
	}
	order.PutUint16(hash[20:], uint16(n))
	order.PutUint32(meta[32:], uint32(len(pages)-1))
	return slices.Concat(pages...)
}

// makeNDB writes a database with one page of slots.
func makeNDB(values ...[]byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, ndbPage)
	le.PutUint32(b, ndbMagic)
	le.PutUint32(b[12:], 1)
	for at := ndbHeader; at < ndbPage; at += ndbUnit {
		le.PutUint32(b[at:], ndbSlot)
	}
	for i, v := range values {
		blob := le.AppendUint32(nil, ndbBegin)
		for _, x := range []int{i + 1, 1, len(v)} {
			blob = le.AppendUint32(blob, uint32(x))
		}
		blob = append(blob, v...)
		for (len(blob)+ndbTail)%ndbUnit != 0 {
			blob = append(blob, 0)
		}
		blob = le.AppendUint32(le.AppendUint32(le.AppendUint32(blob, 0), uint32(len(v))), ndbEnd)
		slot := b[ndbHeader+i*ndbUnit:]
		le.PutUint32(slot[4:], uint32(i+1))
		le.PutUint32(slot[8:], uint32(len(b)/ndbUnit))
		le.PutUint32(slot[12:], uint32(len(blob)/ndbUnit))
		b = append(b, blob...)
	}
	return b
}

// placed is a system with a database of some form.
func placed(t *testing.T, name string, raw []byte) string {
	t.Helper()
	top := root(t, dirs[0])
	if err := os.Remove(filepath.Join(top, dirs[0], "rpmdb.sqlite")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, dirs[0], name), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	return top
}

func TestOlderForms(t *testing.T) {
	bash, perl, long := header("bash", "5.1.8", "6.el8", 0), header("perl", "5.26", "1.el8", 4), rpmtest.Header(rpmtest.Package{Name: "long", Version: "1", Release: "1", Source: strings.Repeat("n", 1000)})
	for name, raw := range map[string][]byte{"Packages": makeBDB(binary.LittleEndian, bash, perl, long), "Packages.db": makeNDB(bash, perl, long)} {
		if inv := read(t, placed(t, name, raw)); len(inv.Packages) != 3 || len(inv.Partial) != 0 || inv.Packages[len(inv.Packages)-1].Version != "4:5.26-1.el8" {
			t.Errorf("%s: %v %v", name, names(inv), inv.Partial)
		}
	}
	if inv := read(t, placed(t, "Packages", makeBDB(binary.BigEndian, bash, perl))); len(inv.Packages) != 2 || len(inv.Partial) != 0 {
		t.Errorf("%v %v", names(inv), inv.Partial)
	}
}

// Each lie of a database is a gap, and what stands beside it is read.
func TestLiesOfOlderForms(t *testing.T) {
	bash, perl := header("bash", "5.1.8", "6.el8", 0), header("perl", "5.26", "1.el8", 4)
	good := makeBDB(binary.LittleEndian, bash, perl)
	le := binary.LittleEndian
	edit := func(raw []byte, f func(b []byte)) []byte { b := bytes.Clone(raw); f(b); return b }
	item := func(b []byte, i int) []byte { return b[512+int(le.Uint16(b[512+bdbHead+2*i:])):] }
	ndb := makeNDB(bash, perl)
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
		{"bdb, an entry outside", "Packages", "lies at 4", edit(good, func(b []byte) { le.PutUint16(b[512+bdbHead+2:], 4) }), 0},
		{"bdb, an entry above the one before", "Packages", "entry 3 lies at", edit(good, func(b []byte) { le.PutUint16(b[512+bdbHead+6:], 511) }), 0},
		{"bdb, a key of another kind", "Packages", "no number of a package", edit(good, func(b []byte) { item(b, 2)[0] = 3 }), 0},
		{"bdb, a value of another kind", "Packages", "is not read", edit(good, func(b []byte) { item(b, 3)[0] = 4 }), 1},
		{"bdb, a huge value", "Packages", "value claims", edit(good, func(b []byte) { le.PutUint32(item(b, 3)[8:], 1<<31) }), 1},
		{"bdb, a chain that ends", "Packages", "goes to page 0", edit(good, func(b []byte) { le.PutUint32(item(b, 3)[8:], 1<<20) }), 1},
		{"bdb, a chain in a circle", "Packages", "used already", edit(good, func(b []byte) { le.PutUint32(item(b, 3)[8:], 1<<20); le.PutUint32(b[2*512+16:], 2) }), 1},
		{"bdb, two values in one chain", "Packages", "used already", edit(good, func(b []byte) { le.PutUint32(item(b, 5)[4:], 2) }), 1},
		{"bdb, a chain beyond the end", "Packages", "goes to page 99", edit(good, func(b []byte) { le.PutUint32(item(b, 3)[4:], 99) }), 1},
		{"bdb, a chain of hash pages", "Packages", "is of type 13", edit(good, func(b []byte) { le.PutUint32(item(b, 3)[4:], 1) }), 1},
		{"bdb, a page that claims too much", "Packages", "claims 999 bytes", edit(good, func(b []byte) { le.PutUint16(b[2*512+22:], 999) }), 1},
		{"bdb, a value's entry in the page's head", "Packages", "lies at 4 to", edit(good, func(b []byte) { le.PutUint16(b[512+bdbHead+6:], 4) }), 0},
		{"bdb, a chain page of another type", "Packages", "is of type 13", edit(good, func(b []byte) { b[2*512+25] = bdbHash }), 1},
		{"bdb, a page that claims more than it is", "Packages", "claims 500 bytes", edit(good, func(b []byte) { le.PutUint32(item(b, 3)[8:], 1<<20); le.PutUint16(b[2*512+22:], 500) }), 1},
		{"bdb, nothing in it", "Packages", "is empty", makeBDB(le), 0},
		{"ndb, no magic", "Packages.db", "no ndb database", edit(ndb, func(b []byte) { b[0] = 0 }), 0},
		{"ndb, another version", "Packages.db", "version 7", edit(ndb, func(b []byte) { b[4] = 7 }), 0},
		{"ndb, too many slots", "Packages.db", "pages of slots", edit(ndb, func(b []byte) { le.PutUint32(b[12:], 1<<30) }), 0},
		{"ndb, no slots", "Packages.db", "pages of slots", edit(ndb, func(b []byte) { b[12] = 0 }), 0},
		{"ndb, a slot that is none", "Packages.db", "slot at byte 48", edit(ndb, func(b []byte) { b[48] = 0 }), 1},
		{"ndb, a blob outside", "Packages.db", "its blob lies at", edit(ndb, func(b []byte) { le.PutUint32(b[40:], 1<<20) }), 1},
		{"ndb, the blob of another", "Packages.db", "begin and end as one", edit(ndb, func(b []byte) { copy(b[40:48], b[56:64]) }), 1},
		{"ndb, a blob that is longer", "Packages.db", "begin and end as one", edit(ndb, func(b []byte) { le.PutUint32(b[ndbPage+12:], 1<<30) }), 1},
		{"ndb, a blob without an end", "Packages.db", "begin and end as one", edit(ndb, func(b []byte) { b[len(b)-1] = 0 }), 1},
		{"ndb, one blob in every slot", "Packages.db", "larger than itself", edit(ndb, func(b []byte) {
			for at := 48; at < ndbPage; at += ndbUnit {
				copy(b[at+4:], b[36:48])
				le.PutUint32(b[at+12:], uint32(len(b)/ndbUnit/2))
			}
		}), 1},
		{"ndb, a blob that is longer at both ends", "Packages.db", "begin and end as one", edit(ndb, func(b []byte) {
			le.PutUint32(b[ndbPage+12:], 1<<20)
			le.PutUint32(b[len(b)-8:], 1<<20)
			copy(b[40:44], b[56:60])
			copy(b[44:48], b[60:64])
			le.PutUint32(b[36:], 2)
			le.PutUint32(b[le.Uint32(b[56:])*ndbUnit+12:], 1<<20)
		}), 0},
		{"ndb, nothing in it", "Packages.db", "is empty", makeNDB(), 0},
	} {
		inv := read(t, placed(t, c.file, c.raw))
		if !strings.Contains(fmt.Sprint(inv.Partial), c.want) || len(inv.Packages) != c.left {
			t.Errorf("%s: %v %v, want %s and %d packages", c.name, names(inv), inv.Partial, c.want, c.left)
		}
	}
}

// Every real database beside the reference gives the packages that the reference
// reads from it.
func TestEqualsGoRPMDB(t *testing.T) {
	dir := schematest.ModuleDir(t, "github.com/anchore/go-rpmdb")
	files, err := filepath.Glob(filepath.Join(dir, "pkg/testdata/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	forms, total, modules := map[string]int{}, 0, 0
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		if !slices.Contains([]string{"Packages", "Packages.db", "rpmdb.sqlite"}, name) || testing.Short() && info.Size() > 12<<20 {
			continue
		}
		got, want := database(t, file), referenced(t, file)
		if forms[name]++; !slices.Equal(got, want) || len(got) == 0 {
			t.Errorf("%s: %d packages, the reference has %d", file, len(got), len(want))
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Fatalf("%q, the reference %q", got[i], want[i])
				}
			}
		}
		total += len(got)
		for _, p := range got {
			if !strings.HasSuffix(p, " ") {
				modules++
			}
		}
	}
	t.Logf("%v, %d packages, %d of modules", forms, total, modules)
	if forms["Packages"] == 0 || forms["Packages.db"] == 0 || forms["rpmdb.sqlite"] == 0 || total < 500 || modules == 0 && !testing.Short() {
		t.Errorf("too little was compared: %v %d %d", forms, total, modules)
	}
}

// database is what we read of one file.
func database(t *testing.T, file string) (out []string) {
	fsys := os.DirFS(filepath.Dir(file))
	var db inventory.Database
	for _, form := range forms {
		if form.name == filepath.Base(file) {
			db = form.read(t.Context(), fsys, form.name)
		}
	}
	if len(db.Gaps) > 0 {
		t.Errorf("%s: %v", file, db.Gaps)
	}
	for _, p := range db.Packages {
		out = append(out, p.Name+" "+p.Version+" "+p.Arch+" "+p.Module)
	}
	slices.Sort(out)
	return out
}

func referenced(t *testing.T, file string) (out []string) {
	db, err := reference.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	list, err := db.ListPackages()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.Name == "gpg-pubkey" {
			continue
		}
		v := p.Version + "-" + p.Release
		if p.Epoch != nil && *p.Epoch != 0 {
			v = fmt.Sprintf("%d:%s", *p.Epoch, v)
		}
		out = append(out, p.Name+" "+v+" "+p.Arch+" "+strings.TrimSpace(p.Modularitylabel))
	}
	slices.Sort(out)
	return out
}

var errEnough = errors.New("enough")

// Whatever the bytes are: no panic, and no more values than the file can hold.
func fuzzOld(f *testing.F, read func(b []byte, take func(uint32, []byte, error) error) error) {
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, bytes := 0, 0
		err := read(raw, func(_ uint32, v []byte, bad error) error {
			n++
			if bytes += len(v); bad != nil && v != nil {
				t.Fatal("an error and a value")
			}
			if n > 100_000 {
				return errEnough
			}
			return nil
		})
		if err != nil && errors.Is(err, errEnough) || bytes > 2*len(raw) {
			t.Fatalf("%d values of %d bytes from a file of %d: %v", n, bytes, len(raw), err)
		}
	})
}

func FuzzBDB(f *testing.F) {
	f.Add(makeBDB(binary.LittleEndian, header("bash", "5", "6", 0), []byte("x")))
	f.Add(makeBDB(binary.BigEndian, header("bash", "5", "6", 1)))
	fuzzOld(f, func(b []byte, take func(uint32, []byte, error) error) error {
		return readBDB(bytes.NewReader(b), int64(len(b)), take)
	})
}

func FuzzNDB(f *testing.F) {
	f.Add(makeNDB(header("bash", "5", "6", 0), []byte("x")))
	fuzzOld(f, func(b []byte, take func(uint32, []byte, error) error) error {
		return readNDB(bytes.NewReader(b), int64(len(b)), take)
	})
}
