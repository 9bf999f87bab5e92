package rpmdb

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	reference "github.com/anchore/go-rpmdb/pkg"

	"github.com/patchwrit/patchwrit/internal/rpmfiletest"
	"github.com/patchwrit/patchwrit/internal/rpmtest"
	"github.com/patchwrit/patchwrit/internal/schematest"
	"github.com/patchwrit/patchwrit/inventory"
)

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
	for name, raw := range map[string][]byte{"Packages": rpmfiletest.BDB(binary.LittleEndian, bash, perl, long), "Packages.db": rpmfiletest.NDB(bash, perl, long)} {
		if inv := read(t, placed(t, name, raw)); len(inv.Packages) != 3 || len(inv.Partial) != 0 || inv.Packages[len(inv.Packages)-1].Version != "4:5.26-1.el8" {
			t.Errorf("%s: %v %v", name, names(inv), inv.Partial)
		}
	}
	if inv := read(t, placed(t, "Packages", rpmfiletest.BDB(binary.BigEndian, bash, perl))); len(inv.Packages) != 2 || len(inv.Partial) != 0 {
		t.Errorf("%v %v", names(inv), inv.Partial)
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

// What the older forms' reader says about a file is a gap with what to do, and
// what stands beside it is read.
func TestLiesOfOlderFormsAreGaps(t *testing.T) {
	bash, perl := header("bash", "5.1.8", "6.el8", 0), header("perl", "5.26", "1.el8", 4)
	bdb, ndb := rpmfiletest.BDB(binary.LittleEndian, bash, perl), rpmfiletest.NDB(bash, perl)
	ndb[len(ndb)-1] = 0 // the end of the last value
	for _, c := range []struct {
		name, file, want string
		raw              []byte
		left             int // packages that are read all the same
	}{
		{"cut short", "Packages", "it was cut short\"; let rpm on that system rewrite it", bdb[:len(bdb)-512], 0},
		{"nothing in it", "Packages", "Packages is empty", rpmfiletest.BDB(binary.LittleEndian), 0},
		{"a value without an end", "Packages.db", "header 2 of the rpm database: \"its blob does not", ndb, 1},
		{"nothing in it either", "Packages.db", "Packages.db is empty", rpmfiletest.NDB(), 0},
	} {
		inv := read(t, placed(t, c.file, c.raw))
		if !strings.Contains(fmt.Sprint(inv.Partial), c.want) || len(inv.Packages) != c.left {
			t.Errorf("%s: %v %v, want %s and %d packages", c.name, names(inv), inv.Partial, c.want, c.left)
		}
	}
}
