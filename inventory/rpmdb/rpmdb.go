// Package rpmdb opens rpm's package database below a root and gives it to room
// inventory.
//
// The parties: rpm wrote the database, or whoever owns the root; people's scan
// reads the inventory. The object is rpmdb.sqlite (rpm 4.16 and later), Packages
// (Berkeley DB, EL 8 and older) or Packages.db (ndb, SUSE), of which a copy within
// bounds is opened, so that the root is never written to and a writer is never
// blocked.
//
// The promise: what cannot be read is a gap, with what to do: a header that is no
// package, a database that is too large or damaged. The two older forms are read
// by room inventory/rpmfile. It runs no rpm and checks no signature: who can write
// the database can lie about what is installed. A copy that is made while rpm
// writes may be damaged, and says so.
package rpmdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/inventory/rpmfile"
)

// Limits: the largest real database seen has 200 MB and 5,000 packages.
const (
	maxFile     = 2 << 30 // bytes
	maxPackages = rpmfile.MaxPackages
	maxGaps     = 50
	maxTime     = 2 * time.Minute
)

// dirs are where distributions keep the database; the first is a link to the
// second on newer ones.
var dirs = []string{"var/lib/rpm", "usr/lib/sysimage/rpm"}

// Read is inventory.Read, with rpm's database where there is one.
func Read(ctx context.Context, fsys fs.FS) (inventory.Inventory, error) {
	if fsys != nil {
		if db, ok := Find(ctx, fsys); ok {
			return inventory.Read(fsys, db)
		}
	}
	return inventory.Read(fsys)
}

// forms are what the database's file may be, the newest first.
var forms = []struct {
	name string
	read func(ctx context.Context, fsys fs.FS, path string) inventory.Database
}{
	{"rpmdb.sqlite", readSQLite},
	{"Packages.db", func(_ context.Context, fsys fs.FS, path string) inventory.Database {
		return readOld(fsys, path, rpmfile.ReadNDB)
	}},
	{"Packages", func(_ context.Context, fsys fs.FS, path string) inventory.Database {
		return readOld(fsys, path, rpmfile.ReadBDB)
	}},
}

// Find reads rpm's database; false means that there is none.
func Find(ctx context.Context, fsys fs.FS) (inventory.Database, bool) {
	for _, dir := range dirs {
		for _, form := range forms {
			if _, err := fs.Stat(fsys, dir+"/"+form.name); !errors.Is(err, fs.ErrNotExist) {
				return form.read(ctx, fsys, dir+"/"+form.name), true
			}
		}
	}
	return inventory.Database{}, false
}

// readOld reads a copy of one of the older forms.
func readOld(fsys fs.FS, path string, read func(io.ReaderAt, int64, rpmfile.Take) error) inventory.Database {
	dir, err := os.MkdirTemp("", "patchwrit-rpm")
	if err != nil {
		return gapped("%s cannot be read: %+q", path, err.Error())
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "packages")
	if err := copyFile(fsys, path, file); err != nil {
		return gapped("%s cannot be read: %+q", path, err.Error())
	}
	f, err := os.Open(file)
	if err != nil {
		return gapped("%s cannot be read: %+q", path, err.Error())
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return gapped("%s cannot be read: %+q", path, err.Error())
	}
	var c collector
	if err := read(f, info.Size(), func(id uint32, header []byte, bad error) error { return c.take(int64(id), header, bad) }); err != nil {
		c.gaps = append(c.gaps, gapped("%s cannot be read whole: %+q; let rpm on that system rewrite it (rpm --rebuilddb), or scan its SBOM", path, strings.ReplaceAll(err.Error(), dir, "")).Gaps...)
	}
	return c.done(path)
}

// collector gathers what headers say.
type collector struct {
	packages []inventory.Package
	gaps     []inventory.Gap
	seen     int
	dropped  int // gaps beyond maxGaps
}

// take reads one header; bad is why it could not even be found. The error ends
// the reading.
func (c *collector) take(id int64, header []byte, bad error) error {
	if c.seen++; c.seen > maxPackages {
		return fmt.Errorf("more than %d packages", maxPackages)
	}
	p, err := inventory.Package{}, bad
	if err == nil {
		p, err = inventory.ParseRPM(header)
	}
	switch {
	case errors.Is(err, inventory.ErrPubkey):
	case err == nil:
		c.packages = append(c.packages, p)
	case len(c.gaps) < maxGaps:
		c.gaps = append(c.gaps, gapped("header %d of the rpm database: %+q", id, err.Error()).Gaps...)
	default:
		c.dropped++
	}
	return nil
}

func (c *collector) done(path string) inventory.Database {
	if c.dropped > 0 {
		c.gaps = append(c.gaps, gapped("and %d more of the same kind", c.dropped).Gaps...)
	}
	if len(c.packages) == 0 && len(c.gaps) == 0 {
		return gapped("the rpm database %s is empty", path)
	}
	return inventory.Database{Packages: c.packages, Gaps: c.gaps}
}

func gapped(format string, args ...any) inventory.Database {
	return inventory.Database{Gaps: []inventory.Gap{{What: inventory.AreaPackages, Why: fmt.Sprintf(format, args...)}}}
}

func readSQLite(ctx context.Context, fsys fs.FS, path string) inventory.Database {
	dir, err := os.MkdirTemp("", "patchwrit-rpm")
	if err != nil {
		return gapped("%s cannot be read: %+q", path, err.Error())
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "rpmdb.sqlite")
	for _, suffix := range []string{"", "-wal"} {
		err := copyFile(fsys, path+suffix, file+suffix)
		if err != nil && (suffix == "" || !errors.Is(err, fs.ErrNotExist)) {
			return gapped("%s%s cannot be read: %+q", path, suffix, err.Error())
		}
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	var c collector
	if err := headers(ctx, file, &c); err != nil {
		c.gaps = append(c.gaps, gapped("%s cannot be read whole: %+q", path, strings.ReplaceAll(err.Error(), dir, "")).Gaps...)
	}
	return c.done(path)
}

func copyFile(fsys fs.FS, from, to string) error {
	in, err := inventory.Open(fsys, from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(in, maxFile+1))
	if err == nil && n > maxFile {
		err = fmt.Errorf("more than %d bytes", maxFile)
	}
	return errors.Join(err, out.Close())
}

// headers reads every header of the copy.
func headers(ctx context.Context, file string, c *collector) error {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?_pragma=trusted_schema(0)&_pragma=query_only(1)")
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, "SELECT hnum, CASE WHEN length(blob) <= ? THEN blob END FROM Packages ORDER BY hnum LIMIT ?", inventory.MaxRPMHeader, maxPackages+1)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var blob []byte
		if err := rows.Scan(&id, &blob); err != nil {
			return err
		}
		if err := c.take(id, blob, nil); err != nil {
			return err
		}
	}
	return rows.Err()
}
