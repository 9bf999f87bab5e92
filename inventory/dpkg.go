package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/version"
)

// dpkg's database inside a root.
const (
	dpkgDir       = "var/lib/dpkg"
	statusFile    = dpkgDir + "/status"
	statusDir     = dpkgDir + "/status.d" // one file a package, in images without dpkg
	updatesDir    = dpkgDir + "/updates"  // dpkg's journal: newer than status
	infoDir       = dpkgDir + "/info"
	archFile      = dpkgDir + "/arch"
	maxGaps       = 50      // gaps of one kind that are listed one by one
	usualPackages = 8192    // a large desktop has half of them
	maxDirNames   = 400_000 // entries of one directory; info holds about seven a package
)

var wantedFields = []string{"Package", "Status", "Architecture", "Version", "Source", "Multi-Arch", "Essential"}

// database collects packages by key while files are read.
type database struct {
	fsys    fs.FS
	list    []Package
	at      map[string]int  // where in list, by key
	seen    map[string]bool // names in any state, for the comparison with info
	more    []Package       // of databases that others read
	gaps    []Gap
	dropped int // gaps beyond maxGaps
}

func (db *database) gap(format string, args ...any) {
	if len(db.gaps) >= maxGaps {
		db.dropped++
		return
	}
	db.gaps = append(db.gaps, Gap{AreaPackages, fmt.Sprintf(format, args...)})
}

// readPackages reads every package database of the root that it knows.
func readPackages(fsys fs.FS, more []Database) ([]Package, []Gap) {
	db := &database{fsys: fsys, list: []Package{}, at: map[string]int{}, seen: map[string]bool{}}
	others := db.readApk() || len(more) > 0
	db.readDpkg(others)
	locks := versionLocks(fsys)
	for _, m := range more {
		for _, p := range m.Packages {
			p.Hold = p.Hold || locked(locks, p.Name)
			db.more = append(db.more, p)
		}
		db.gaps = append(db.gaps, m.Gaps...)
	}
	return db.finish()
}

// readDpkg reads status, status.d and the journal, in dpkg's own order, and
// compares the outcome with the file lists in info. Where others were read, its
// database may be missing.
func (db *database) readDpkg(others bool) {
	found := db.readFile(statusFile, "")
	names := db.dir(statusDir)
	for _, name := range names {
		if !strings.HasSuffix(name, ".md5sums") {
			found = db.readFile(statusDir+"/"+name, "install ok installed") || found
		}
	}
	for _, name := range db.dir(updatesDir) {
		if strings.Trim(name, "0123456789") == "" {
			db.readJournal(updatesDir + "/" + name)
		}
	}
	switch {
	case !found && others:
	case !found:
		db.gap("there is no dpkg database in %s; other package managers are not read", dpkgDir)
	case len(db.seen) == 0 && len(db.gaps) == 0 && !others:
		db.gap("the dpkg database is empty")
	}
	db.compareInfo()
}

func (db *database) finish() ([]Package, []Gap) {
	out := append(slices.DeleteFunc(db.list, func(p Package) bool { return p.Status.State == NotInstalled }), db.more...)
	slices.SortFunc(out, func(a, b Package) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return cmp.Or(strings.Compare(a.Arch, b.Arch), strings.Compare(a.Version, b.Version))
	})
	if db.dropped > 0 {
		db.gaps = append(db.gaps, Gap{AreaPackages, fmt.Sprintf("and %d more of the same kind", db.dropped)})
	}
	return out, db.gaps
}

// readFile reads one file of stanzas; status is what a stanza without Status
// has. It reports whether the file is there.
func (db *database) readFile(path, status string) bool {
	fresh := map[string]bool{}
	return db.stanzas(path, status, func(line int, p Package) {
		key := p.Key()
		if fresh[key] {
			db.gap("%s line %d: %s stands twice; the later one counts", path, line, key)
		}
		fresh[key] = true
		db.put(key, p)
	})
}

// put takes the place of what was known of a package.
func (db *database) put(key string, p Package) {
	if i, ok := db.at[key]; ok {
		db.list[i] = p
		return
	}
	db.at[key] = len(db.list)
	db.list = append(db.list, p)
}

// room makes room for the packages of a file at once: in real ones each takes a
// KiB or somewhat less.
func (db *database) room(f fs.File) {
	if info, err := f.Stat(); err == nil {
		db.list = slices.Grow(db.list, int(min(info.Size()>>9, usualPackages)))
	}
}

// readJournal applies one journal entry: it replaces what status said.
func (db *database) readJournal(path string) {
	db.stanzas(path, "", func(_ int, p Package) { db.put(p.Key(), p) })
}

func (db *database) stanzas(path, status string, each func(line int, p Package)) bool {
	f, err := Open(db.fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		db.gap("%s cannot be opened: %s", path, reason(err))
		return true
	}
	defer f.Close()
	db.room(f)
	d := newDeb822(f, wantedFields...)
	for {
		s, err := d.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			db.gap("%s cannot be read beyond line %d: %s", path, d.line, reason(err))
			return true
		}
		p, why := parsePackage(s, status)
		if why != "" {
			db.gap("%s line %d, package %+q: %s", path, s.line, s.fields["Package"], why)
		}
		if p.Name != "" {
			db.seen[p.Name] = true
			each(s.line, p)
		}
	}
	if d.cut {
		db.gap("%s ends in the middle of line %d; what followed is lost", path, d.line)
	}
	return true
}

// dir lists the names in a directory, ascending. A directory that is missing is
// empty; one that cannot be read is a gap.
func (db *database) dir(path string) []string {
	entries, err := fs.ReadDir(db.fsys, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		db.gap("%s cannot be listed: %s", path, reason(err))
	}
	if len(entries) > maxDirNames {
		db.gap("%s has more than %d entries", path, maxDirNames)
		entries = entries[:maxDirNames]
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}

// compareInfo finds a status file that lost stanzas: dpkg keeps a file list for
// every package whose files, or configuration, are on the disk.
func (db *database) compareInfo() {
	lost, first := map[string]bool{}, ""
	for _, file := range db.dir(infoDir) {
		name, ok := strings.CutSuffix(file, ".list")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, ":")
		if !db.seen[name] && !lost[name] {
			lost[name] = true
			if first == "" {
				first = name
			}
		}
	}
	if len(lost) > 0 {
		db.gap("%d packages have a file list in %s but no entry in the database, the first is %+q", len(lost), infoDir, first)
	}
}

// parsePackage turns a stanza into a package. A package that has a name but is
// otherwise absurd is returned together with the reason, so that it stays visible.
func parsePackage(s stanza, status string) (Package, string) {
	f := s.fields
	p := Package{Name: f["Package"], Arch: f["Architecture"], Version: f["Version"], Scheme: version.Deb,
		MultiArch: f["Multi-Arch"], Essential: strings.EqualFold(f["Essential"], "yes")}
	if s.broken != "" && p.Name == "" {
		return Package{}, s.broken
	}
	if !word(p.Name) || strings.ContainsAny(p.Name, "/:_") {
		return Package{}, "this is no package name"
	}
	why := s.broken
	note := func(ok bool, what string) {
		if !ok && why == "" {
			why = what
		}
	}
	if f["Status"] == "" {
		f["Status"] = status
	}
	var ok bool
	p.Status, ok = parseStatus(f["Status"])
	note(ok, "its Status is not three words that dpkg knows")
	p.Hold = p.Status.Want == "hold"
	p.Source, p.SourceVersion, ok = parseSource(f["Source"], p.Name, p.Version)
	note(ok, "its Source is not a name and a version")
	if p.Status.State != NotInstalled {
		note(p.Version != "" || !p.Status.Present(), "it has no Version")
		note(p.Arch != "" || !p.Status.Present(), "it has no Architecture")
	}
	for _, v := range []*string{&p.Arch, &p.Version, &p.MultiArch} {
		if *v != "" && !word(*v) {
			note(false, "a field holds what no field of its kind can hold")
			*v = ""
		}
	}
	return p, why
}

func parseStatus(s string) (Status, bool) {
	w := strings.Fields(s)
	if len(w) != 3 {
		return Status{Want: "unknown", Flag: "unknown", State: "unknown"}, false
	}
	st := Status{
		Want:  known(w[0], "unknown", "install", "hold", "deinstall", "purge"),
		Flag:  known(w[1], "unknown", "ok", "reinstreq"),
		State: known(w[2], "unknown", NotInstalled, ConfigFiles, HalfInstalled, Unpacked, HalfConfigured, TriggersAwaited, TriggersPending, Installed),
	}
	return st, st.State != "unknown" && st.Flag != "unknown" && (st.Want != "unknown" || w[0] == "unknown")
}

func known(s, otherwise string, all ...string) string {
	if slices.Contains(all, s) {
		return s
	}
	return otherwise
}

// parseSource reads "name" or "name (version)"; without the field the source is
// called and versioned like the package (Debian Policy 5.6.1).
func parseSource(field, name, ver string) (string, string, bool) {
	if field == "" {
		field = name
	}
	src, rest, has := strings.Cut(field, " ")
	if !word(src) {
		return name, "", false
	}
	if !has {
		if !word(ver) {
			ver = ""
		}
		return src, ver, true
	}
	inner, ok := strings.CutPrefix(strings.TrimSpace(rest), "(")
	inner, closed := strings.CutSuffix(inner, ")")
	if !ok || !closed || !word(inner) {
		return src, "", false
	}
	return src, inner, true
}

// word reports whether s is 1 to 255 printable ASCII characters without space.
func word(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= 255
}

// reason is the innermost text of an error, without the path it speaks of.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Sprintf("%+q", err.Error())
}
