// Package rpmtest writes rpm headers and databases for tests.
//
// The parties: tests of rooms that read rpm's database. The promise: a header has
// the form that rpm itself accepts, with the region around all entries; a
// database is the one table that rpm's SQLite backend keeps headers in. It links
// to no binary.
package rpmtest

import (
	"database/sql"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Package is what a header says.
type Package struct {
	Name, Version, Release string
	Epoch                  uint32 // 0: none
	Arch                   string // "" is x86_64
	Source                 string // file name of the source rpm; "" is made of the name
	Module                 string // modularity label
}

// Header writes what rpm keeps of one package (rpm's lib/header.c: two counts,
// the index, the data, with tag 63 around all others).
func Header(p Package) []byte {
	var index, data []byte
	n := uint32(1)
	add := func(tag, kind uint32, b []byte) {
		for kind == 4 && len(data)%4 != 0 {
			data = append(data, 0)
		}
		for _, v := range []uint32{tag, kind, uint32(len(data)), 1} {
			index = binary.BigEndian.AppendUint32(index, v)
		}
		data = append(data, b...)
		n++
	}
	text := func(tag uint32, s string) { add(tag, 6, append([]byte(s), 0)) }
	text(1000, p.Name)
	text(1001, p.Version)
	text(1002, p.Release)
	if p.Epoch > 0 {
		add(1003, 4, binary.BigEndian.AppendUint32(nil, p.Epoch))
	}
	if p.Arch == "" {
		p.Arch = "x86_64"
	}
	text(1022, p.Arch)
	if p.Source == "" {
		p.Source = p.Name + "-" + p.Version + "-" + p.Release + ".src.rpm"
	}
	text(1044, p.Source)
	if p.Module != "" {
		text(5096, p.Module)
	}
	region := binary.BigEndian.AppendUint32(nil, 63)
	for _, v := range []uint32{7, uint32(len(data)), 16} {
		region = binary.BigEndian.AppendUint32(region, v)
	}
	trailer := binary.BigEndian.AppendUint32(nil, 63)
	for _, v := range []uint32{7, ^(16 * n) + 1, 16} {
		trailer = binary.BigEndian.AppendUint32(trailer, v)
	}
	data = append(data, trailer...)
	h := binary.BigEndian.AppendUint32(nil, n)
	h = binary.BigEndian.AppendUint32(h, uint32(len(data)))
	return append(append(append(h, region...), index...), data...)
}

// Fill adds headers to an SQLite database, which is made where it is not there.
func Fill(t testing.TB, file string, headers ...[]byte) {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		if _, err := db.Exec("INSERT INTO Packages(blob) VALUES (?)", h); err != nil {
			t.Fatal(err)
		}
	}
}

// Root writes a system with an SQLite database of packages, and gives its top.
func Root(t testing.TB, osRelease string, list ...Package) string {
	t.Helper()
	top := t.TempDir()
	for _, d := range []string{"etc", "var/lib/rpm"} {
		if err := os.MkdirAll(filepath.Join(top, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "etc/os-release"), []byte(osRelease), 0o644); err != nil {
		t.Fatal(err)
	}
	var headers [][]byte
	for _, p := range list {
		headers = append(headers, Header(p))
	}
	Fill(t, filepath.Join(top, "var/lib/rpm/rpmdb.sqlite"), headers...)
	return top
}
