package inventory

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/patchwrit/patchwrit/version"
)

// apk's database inside a root (apk-tools, "Installed database V2": one line a
// field, "P:name", and a blank line after each package).
const (
	apkFile  = "lib/apk/db/installed"
	apkUsr   = "usr/lib/apk/db/installed" // where /lib is a link to it
	apkWorld = "etc/apk/world"
)

// readApk adds apk's packages to the database and reports whether apk's own
// database is there.
func (db *database) readApk() bool {
	for _, path := range []string{apkFile, apkUsr} {
		f, err := Open(db.fsys, path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			db.gap("%s cannot be opened: %s", path, reason(err))
			return true
		}
		before := len(db.list)
		db.apkStanzas(path, f, db.apkPins())
		f.Close()
		if len(db.list) == before && len(db.gaps) == 0 {
			db.gap("the apk database is empty")
		}
		return true
	}
	return false
}

// apkPins are the names that etc/apk/world binds to a version: "openssl=3.1.4-r5".
func (db *database) apkPins() map[string]bool {
	pins := map[string]bool{}
	text, err := readSmall(db.fsys, apkWorld)
	if err != nil {
		return pins
	}
	for _, w := range strings.Fields(text) {
		if i := strings.IndexAny(w, "=<~>"); i > 0 && w[i] != '>' {
			pins[w[:i]] = true
		}
	}
	return pins
}

func (db *database) apkStanzas(path string, in io.Reader, pins map[string]bool) {
	d := newDeb822(in)
	d.in = bufio.NewReaderSize(in, maxLine)
	fields, start := map[byte]string{}, 0
	flush := func() bool {
		if len(fields) == 0 {
			return true
		}
		p, why := parseApk(fields)
		p.Hold = pins[p.Name]
		if why != "" {
			db.gap("%s line %d, package %+q: %s", path, start, fields['P'], why)
		}
		if p.Name != "" {
			if _, twice := db.at[p.Key()]; twice {
				db.gap("%s line %d: %s stands twice; the later one counts", path, start, p.Key())
			}
			db.put(p.Key(), p)
		}
		fields = map[byte]string{}
		return d.counted() == nil
	}
	for {
		line, err := d.readLine()
		switch {
		case err == io.EOF:
			if d.cut {
				db.gap("%s ends in the middle of line %d; what followed is lost", path, d.line)
			}
			flush()
			return
		case err != nil:
			flush()
			db.gap("%s cannot be read beyond line %d: %s", path, d.line, reason(err))
			return
		case line == "":
			if !flush() {
				db.gap("%s has more than %d packages", path, maxStanzas)
				return
			}
		case len(line) < 2 || line[1] != ':':
			db.gap("%s line %d is no field", path, d.line)
		default:
			if len(fields) == 0 {
				start = d.line
			}
			if strings.IndexByte("PVAo", line[0]) < 0 {
				fields[line[0]] = "" // it is there, and not needed
				continue
			}
			if fields[line[0]] != "" {
				db.gap("%s line %d: field %c stands twice", path, d.line, line[0])
			}
			fields[line[0]] = strings.TrimSpace(line[2:])
		}
	}
}

// parseApk makes a package of a stanza's fields: P name, V version, A
// architecture, o origin (the source; without it the package is its own).
func parseApk(f map[byte]string) (Package, string) {
	p := Package{Name: f['P'], Arch: f['A'], Version: f['V'], Scheme: version.APK, Source: f['o'], Status: installed}
	if !word(p.Name) || strings.Contains(p.Name, "/") {
		return Package{}, "this is no package name"
	}
	why := ""
	if p.Source == "" {
		p.Source = p.Name
	}
	for _, v := range []*string{&p.Arch, &p.Version, &p.Source} {
		if !word(*v) {
			why, *v = fmt.Sprintf("version, architecture or origin is missing or odd (%+q)", *v), ""
		}
	}
	if p.Source == "" {
		p.Source = p.Name
	}
	p.SourceVersion = p.Version // all packages of an origin have its version
	return p, why
}

// installed is the state of whatever apk or rpm lists.
var installed = Status{Want: "install", Flag: "ok", State: Installed}
