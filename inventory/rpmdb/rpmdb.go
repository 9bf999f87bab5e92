// Package rpmdb opens rpm's package database below a root and gives it to room
// inventory.
//
// The parties: rpm wrote the database, or whoever owns the root; people's scan
// reads the inventory. The object is rpmdb.sqlite (rpm 4.16 and later), of which
// a copy within bounds is opened, so that the root is never written to and a
// writer is never blocked.
//
// The promise: what cannot be read is a gap, with what to do: a header that is no
// package, a database that is too large or damaged, and the older forms (Berkeley
// DB and ndb), which are not read at all. It runs no rpm and checks no signature:
// who can write the database can lie about what is installed.
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
)

// Limits: the largest real database seen has 200 MB and 5,000 packages.
const (
	maxFile     = 2 << 30 // bytes
	maxPackages = 200_000
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

// Find reads rpm's database; false means that there is none.
func Find(ctx context.Context, fsys fs.FS) (inventory.Database, bool) {
	for _, dir := range dirs {
		if _, err := fs.Stat(fsys, dir+"/rpmdb.sqlite"); !errors.Is(err, fs.ErrNotExist) {
			return readSQLite(ctx, fsys, dir+"/rpmdb.sqlite"), true
		}
		for _, old := range []string{"Packages", "Packages.db"} {
			if _, err := fs.Stat(fsys, dir+"/"+old); err == nil {
				return gapped("%s/%s is of an older form, which is not read; let rpm on that system rewrite it (rpmdb --rebuilddb with _db_backend sqlite), or scan its SBOM", dir, old), true
			}
		}
	}
	return inventory.Database{}, false
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
	out, err := headers(ctx, file)
	if err != nil {
		out.Gaps = append(out.Gaps, gapped("%s cannot be read whole: %+q", path, strings.ReplaceAll(err.Error(), dir, "")).Gaps...)
	} else if len(out.Packages) == 0 && len(out.Gaps) == 0 {
		out = gapped("the rpm database %s is empty", path)
	}
	return out
}

func copyFile(fsys fs.FS, from, to string) error {
	in, err := fsys.Open(from)
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
func headers(ctx context.Context, file string) (out inventory.Database, err error) {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?_pragma=trusted_schema(0)&_pragma=query_only(1)")
	if err != nil {
		return out, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, "SELECT hnum, CASE WHEN length(blob) <= ? THEN blob END FROM Packages ORDER BY hnum LIMIT ?", inventory.MaxRPMHeader, maxPackages+1)
	if err != nil {
		return out, err
	}
	defer rows.Close()
	dropped := 0
	for n := 0; rows.Next(); n++ {
		if n == maxPackages {
			return out, fmt.Errorf("more than %d packages", maxPackages)
		}
		var id int64
		var blob []byte
		if err := rows.Scan(&id, &blob); err != nil {
			return out, err
		}
		p, err := inventory.ParseRPM(blob)
		if errors.Is(err, inventory.ErrPubkey) {
			continue
		}
		if err != nil && len(out.Gaps) < maxGaps {
			out.Gaps = append(out.Gaps, gapped("header %d of the rpm database: %s", id, err).Gaps...)
		} else if err != nil {
			dropped++
		}
		if err == nil {
			out.Packages = append(out.Packages, p)
		}
	}
	if dropped > 0 {
		out.Gaps = append(out.Gaps, gapped("and %d more of the same kind", dropped).Gaps...)
	}
	return out, rows.Err()
}
