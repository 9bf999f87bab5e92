package rpmdb

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/internal/rpmtest"
	"github.com/patchwrit/patchwrit/inventory"
)

func header(name, ver, rel string, epoch uint32) []byte {
	return rpmtest.Header(rpmtest.Package{Name: name, Version: ver, Release: rel, Epoch: epoch})
}

// root writes a system with an rpm database.
func root(t *testing.T, dir string, headers ...[]byte) string {
	t.Helper()
	top := t.TempDir()
	for _, d := range []string{"etc", dir} {
		if err := os.MkdirAll(filepath.Join(top, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "etc/os-release"), []byte("ID=almalinux\nVERSION_ID=9.4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	rpmtest.Fill(t, filepath.Join(top, dir, "rpmdb.sqlite"), headers...)
	return top
}

func read(t *testing.T, top string) inventory.Inventory {
	t.Helper()
	r, err := os.OpenRoot(top)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	inv, err := Read(t.Context(), r.FS())
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func names(inv inventory.Inventory) (out []string) {
	for _, p := range inv.Packages {
		out = append(out, p.Name+" "+p.Version)
	}
	return out
}

func TestReadSQLite(t *testing.T) {
	for _, dir := range dirs {
		top := root(t, dir, header("bash", "5.1.8", "6.el9", 0), header("gpg-pubkey", "1", "2", 0), header("perl", "5.32", "1", 4))
		if inv := read(t, top); !slices.Equal(names(inv), []string{"bash 5.1.8-6.el9", "perl 4:5.32-1"}) || len(inv.Partial) != 0 {
			t.Errorf("%s: %v %v", dir, names(inv), inv.Partial)
		}
		left, err := os.ReadDir(filepath.Join(top, dir))
		if err != nil || len(left) != 1 {
			t.Errorf("the root was written to: %v %v", left, err)
		}
	}
}

func TestWhatCannotBeReadIsAGap(t *testing.T) {
	bash := header("bash", "5.1.8", "6.el9", 0)
	damaged := root(t, dirs[0], bash)
	if err := os.WriteFile(filepath.Join(damaged, dirs[0], "rpmdb.sqlite"), []byte("no database"), 0o644); err != nil {
		t.Fatal(err)
	}
	older := t.TempDir()
	for name, text := range map[string]string{"etc/os-release": "ID=almalinux\nVERSION_ID=8.4\n", dirs[0] + "/Packages": "x"} {
		_ = os.MkdirAll(filepath.Dir(filepath.Join(older, name)), 0o755)
		if err := os.WriteFile(filepath.Join(older, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var many [][]byte
	for range maxGaps + 3 {
		many = append(many, []byte("x"))
	}
	for want, top := range map[string]string{
		"header 2 of the rpm database": root(t, dirs[0], bash, bash[:40]),
		"and 3 more of the same kind":  root(t, dirs[0], many...),
		"the rpm database var/lib/rpm": root(t, dirs[0]),
		"cannot be read whole":         damaged,
		"first page cannot be read":    older,
	} {
		if inv := read(t, top); !strings.Contains(fmt.Sprint(inv.Partial), want) {
			t.Errorf("want %q: %v", want, inv.Partial)
		}
	}
}

// A database has an end, its rows have numbers, and its copy is a file of its own.
func TestBounds(t *testing.T) {
	file := filepath.Join(root(t, dirs[0], header("bash", "5.1.8", "6.el9", 0)), dirs[0], "rpmdb.sqlite")
	if err := headers(t.Context(), file, &collector{seen: maxPackages - 1}); err != nil {
		t.Errorf("the last package there is room for: %v", err)
	}
	if err := headers(t.Context(), file, &collector{seen: maxPackages}); err == nil || !strings.Contains(err.Error(), "more than 200000 packages") {
		t.Errorf("one package too many: %v", err)
	}
	odd := filepath.Join(t.TempDir(), "odd")
	db, err := sql.Open("sqlite", odd)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE Packages (hnum TEXT, blob BLOB); INSERT INTO Packages VALUES ('one', 'x')"); err != nil {
		t.Fatal(err)
	}
	if err := headers(t.Context(), odd, &collector{}); err == nil {
		t.Error("a row without a number is read")
	}
	if err := copyFile(os.DirFS(filepath.Dir(odd)), "odd", odd); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a copy over a file: %v", err)
	}
}

// rpm itself reads the same packages from the same database.
func TestEqualsRPM(t *testing.T) {
	tool, err := exec.LookPath("rpm")
	if err != nil {
		t.Skip("rpm is not installed: only databases that the test writes itself are read here")
	}
	top := root(t, dirs[0])
	file := filepath.Join(top, dirs[0], "rpmdb.sqlite")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "--dbpath", filepath.Dir(file), "--initdb").CombinedOutput(); err != nil {
		t.Skipf("rpm makes no database: %v %s", err, out)
	}
	if _, err := os.Stat(file); err != nil {
		t.Skip("this rpm writes another kind of database than SQLite: only those that the test writes itself are read here")
	}
	rpmtest.Fill(t, file, header("bash", "5.1.8", "6.el9", 0), header("perl", "5.32", "1.module_el8+1+abc", 4))
	out, err := exec.Command(tool, "--dbpath", filepath.Join(top, dirs[0]), "-qa", "--qf", "%{NAME} %{EPOCHNUM}:%{VERSION}-%{RELEASE}\n").CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	want := strings.Split(strings.ReplaceAll(strings.TrimSpace(string(out)), " 0:", " "), "\n")
	slices.Sort(want)
	if got := names(read(t, top)); !slices.Equal(got, want) {
		t.Errorf("rpm says %v, we %v", want, got)
	}
}
