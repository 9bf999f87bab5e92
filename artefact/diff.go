package artefact

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
)

// TypeDiff is the type of a Diff.
const TypeDiff = "patchwrit/diff/v1"

// Limits of a Diff's lists, so that a dossier stays readable and bounded.
const (
	MaxListed = 1000   // entries of one list
	MaxLost   = 20_000 // lost symbols of one library that are named
	maxText   = 400    // bytes of one control field that are shown
)

// Diff is what one artefact changes against the one it replaces. All texts that
// come from an artefact are Notes or plain names, every list is sorted, and
// none is nil: a Diff has one canonical encoding.
type Diff struct {
	Type      string          `json:"type"`
	Package   string          `json:"package"`
	Arch      string          `json:"arch"`
	From      string          `json:"from"` // version before, "" when First
	To        string          `json:"to"`
	First     bool            `json:"first"`      // nothing is replaced: everything counts as added
	Fields    []FieldChange   `json:"fields"`     // control fields, Version and Installed-Size left out
	Counts    Counts          `json:"counts"`     // files and links, directories left out
	Added     []canon.Note    `json:"added"`      // paths
	Removed   []canon.Note    `json:"removed"`    // paths
	Changed   []canon.Note    `json:"changed"`    // paths whose contents, target or kind changed
	Modes     []ModeChange    `json:"modes"`      // of paths that stay, directories too
	Rights    []Right         `json:"rights"`     // new setuid, setgid, world-writable, device
	Scripts   []ScriptChange  `json:"scripts"`    // maintainer scripts, preinst, postinst, prerm, postrm, config
	NewScript bool            `json:"new_script"` // one that was not there before
	Conffiles Lines           `json:"conffiles"`
	Triggers  Lines           `json:"triggers"`
	Hooks     []Hook          `json:"hooks"` // files in places the system acts upon by itself
	Libraries []LibraryChange `json:"libraries"`
	Needed    []NeededChange  `json:"needed"` // what programs and libraries are linked with
	Unread    []canon.Note    `json:"unread"` // new or changed files that begin like ELF and cannot be read
	Cut       []string        `json:"cut"`    // names of lists that hold only their first entries
}

// What happened to a thing.
const (
	added   = "added"
	removed = "removed"
	changed = "changed"
)

// Counts counts files and links.
type Counts struct {
	Added   int `json:"added"`
	Removed int `json:"removed"`
	Changed int `json:"changed"`
	Same    int `json:"same"`
}

// FieldChange is one control field that changed; a missing one is "".
type FieldChange struct {
	Name canon.Note `json:"name"`
	From canon.Note `json:"from"` // at most 400 bytes of it
	To   canon.Note `json:"to"`
}

// ModeChange is a path whose permissions or owner changed.
type ModeChange struct {
	Path canon.Note `json:"path"`
	From canon.Note `json:"from"` // "0755 root:root"
	To   canon.Note `json:"to"`
}

// Right is a right that a path has now and had not before.
type Right struct {
	Kind string     `json:"kind"` // setuid, setgid, world-writable or device
	Path canon.Note `json:"path"`
	Mode canon.Note `json:"mode"` // "4755 root:root"
}

// ScriptChange is a maintainer script that was added, removed or changed.
type ScriptChange struct {
	Name     string       `json:"name"`
	Change   string       `json:"change"`
	From     canon.Digest `json:"from"`     // SHA-256, or ""
	To       canon.Digest `json:"to"`       // SHA-256, or ""
	Mentions []string     `json:"mentions"` // words worth a look that it did not mention before
}

// Lines is what changed in a list of lines.
type Lines struct {
	Added   []canon.Note `json:"added"`
	Removed []canon.Note `json:"removed"`
}

// Hook is a file in a place the system acts upon by itself.
type Hook struct {
	Kind    string     `json:"kind"` // unit, cron, sudoers, loader, apt, profile, …
	Path    canon.Note `json:"path"`
	Change  string     `json:"change"`
	Enabled string     `json:"enabled"` // units: "link", "script" or "no"; else ""
}

// LibraryChange is a library, known by its SONAME, whose exported symbols
// changed. Lost names at most MaxLost of LostCount.
type LibraryChange struct {
	Soname      canon.Note   `json:"soname"`
	Path        canon.Note   `json:"path"`
	Change      string       `json:"change"` // added: a new SONAME; removed: the package has it no more
	LostCount   int          `json:"lost_count"`
	GainedCount int          `json:"gained_count"`
	Lost        []canon.Note `json:"lost"` // "name" or "name@version"
}

// NeededChange is a program or library that is linked with others than before.
type NeededChange struct {
	Path    canon.Note   `json:"path"`
	Added   []canon.Note `json:"added"`
	Removed []canon.Note `json:"removed"`
}

// Compare says what new changes against old; a nil old is a first installation.
// It does not check that both are the same package: Class does.
func Compare(old *Contents, new Contents) Diff {
	d := Diff{Type: TypeDiff, Package: new.Package, Arch: new.Arch, To: new.Version, First: old == nil, Cut: []string{}}
	if old == nil {
		old = &Contents{}
	}
	d.From = old.Version
	d.Fields = fieldChanges(old, &new)
	d.files(old, &new)
	d.scripts(old, &new)
	d.Conffiles = lineChanges(old.Conffiles, new.Conffiles)
	d.Triggers = lineChanges(old.Triggers, new.Triggers)
	d.Libraries = libraryChanges(old, &new)
	d.Needed = neededChanges(old, &new)
	d.cut()
	return d
}

// fieldChanges compares control files. Version is in the Diff itself, and the
// installed size changes always.
func fieldChanges(old, new *Contents) []FieldChange {
	names := map[string]bool{}
	for _, f := range append(slices.Clone(old.Fields), new.Fields...) {
		names[strings.ToLower(f.Name)] = true
	}
	delete(names, "version")
	delete(names, "installed-size")
	all := []FieldChange{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		before, _ := old.field(name)
		after, _ := new.field(name)
		if before != after {
			all = append(all, FieldChange{canon.NoteOf(name), excerpt(before), excerpt(after)})
		}
	}
	return all
}

func excerpt(text string) canon.Note {
	if len(text) > maxText {
		text = text[:maxText] + "..."
	}
	return canon.NoteOf(text)
}

// files walks both lists in the order of merged paths.
func (d *Diff) files(old, new *Contents) {
	unread := map[string]bool{}
	for _, p := range new.Unread {
		unread[p] = true
	}
	units := startsOf(new)
	a, b := byMergedPath(old.Files), byMergedPath(new.Files)
	for len(a) > 0 || len(b) > 0 {
		var before, after *File
		order := 0
		switch {
		case len(a) == 0:
			order = +1
		case len(b) == 0:
			order = -1
		default:
			order = cmp.Compare(merged(a[0].Path), merged(b[0].Path))
		}
		if order <= 0 {
			before, a = a[0], a[1:]
		}
		if order >= 0 {
			after, b = b[0], b[1:]
		}
		happened := d.file(before, after)
		d.hook(before, after, happened, units)
		if after != nil && unread[after.Path] && happened != "" {
			d.Unread = append(d.Unread, canon.NoteOf(after.Path))
		}
	}
}

func byMergedPath(files []File) []*File {
	all := make([]*File, len(files))
	for i := range files {
		all[i] = &files[i]
	}
	slices.SortStableFunc(all, func(a, b *File) int { return cmp.Compare(merged(a.Path), merged(b.Path)) })
	return all
}

// file records one path, of which one of before and after may be nil, and says
// what happened to it; "" is nothing.
func (d *Diff) file(before, after *File) string {
	d.rights(before, after)
	if before != nil && after != nil && after.Kind != Symlink && before.access() != after.access() {
		d.Modes = append(d.Modes, ModeChange{canon.NoteOf(after.Path), canon.NoteOf(before.access()), canon.NoteOf(after.access())})
	}
	switch {
	case (before == nil || before.Kind == Dir) && (after == nil || after.Kind == Dir):
		return ""
	case before == nil:
		d.Counts.Added++
		d.Added = append(d.Added, canon.NoteOf(after.Path))
		return added
	case after == nil:
		d.Counts.Removed++
		d.Removed = append(d.Removed, canon.NoteOf(before.Path))
		return removed
	case before.Kind != after.Kind || before.Digest != after.Digest || before.Link != after.Link:
		d.Counts.Changed++
		d.Changed = append(d.Changed, canon.NoteOf(after.Path))
		return changed
	}
	d.Counts.Same++
	return ""
}

// hook records a change in a place the system acts upon by itself.
func (d *Diff) hook(before, after *File, happened string, units starts) {
	f := after
	if f == nil {
		f = before
	}
	p, ok := placeOf(merged(f.Path))
	if !ok || happened == "" {
		return
	}
	h := Hook{Kind: p.kind, Path: canon.NoteOf(f.Path), Change: happened}
	if p.kind == "unit" && after != nil {
		h.Enabled = units.how(f.Path)
	}
	d.Hooks = append(d.Hooks, h)
}

// access shows permissions and owner: "4755 root:root".
func (f *File) access() string {
	mode := strconv.FormatUint(uint64(f.Mode), 8)
	return strings.Repeat("0", max(0, 4-len(mode))) + mode + " " + f.Owner + ":" + f.Group
}

// held lists the rights that others than its owner gain by a file.
func (f *File) held() []string {
	if f == nil || f.Kind == Symlink {
		return nil
	}
	all := []string{}
	if f.Mode&0o4000 != 0 && f.Kind != Dir {
		all = append(all, "setuid")
	}
	if f.Mode&0o2000 != 0 {
		all = append(all, "setgid")
	}
	if f.Mode&0o0002 != 0 {
		all = append(all, "world-writable")
	}
	if f.Kind == CharDev || f.Kind == BlockDev {
		all = append(all, "device")
	}
	return all
}

// rights records what after gives and before did not. Another owner or kind
// makes every right a new one.
func (d *Diff) rights(before, after *File) {
	had := before.held()
	if before != nil && after != nil && (before.Owner != after.Owner || before.Group != after.Group || before.Kind != after.Kind) {
		had = nil
	}
	for _, r := range after.held() {
		if !slices.Contains(had, r) {
			d.Rights = append(d.Rights, Right{r, canon.NoteOf(after.Path), canon.NoteOf(after.access())})
		}
	}
}

func (d *Diff) scripts(old, new *Contents) {
	d.Scripts = []ScriptChange{}
	for _, name := range scripts {
		before, after := old.scriptNamed(name), new.scriptNamed(name)
		c := ScriptChange{Name: name, From: before.Digest, To: after.Digest, Mentions: []string{}}
		switch {
		case before.Digest == after.Digest:
			continue
		case before.Digest == "":
			c.Change, d.NewScript = added, true
		case after.Digest == "":
			c.Change = removed
		default:
			c.Change = changed
		}
		for _, w := range after.Mentions {
			if !slices.Contains(before.Mentions, w) {
				c.Mentions = append(c.Mentions, w)
			}
		}
		d.Scripts = append(d.Scripts, c)
	}
}

func (c *Contents) scriptNamed(name string) Script {
	for _, s := range c.Scripts {
		if s.Name == name {
			return s
		}
	}
	return Script{}
}

// lineChanges compares two sorted lists as sets.
func lineChanges(before, after []string) Lines {
	return Lines{Added: minus(after, before), Removed: minus(before, after)}
}

// minus gives what of sorted a is not in sorted b, as sorted Notes.
func minus(a, b []string) []canon.Note {
	out := []canon.Note{}
	for _, s := range a {
		if _, ok := slices.BinarySearch(b, s); !ok {
			out = append(out, canon.NoteOf(s))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// libraries finds the libraries of a package: by SONAME and directory, and the
// first of each SONAME.
type libraries struct {
	in    map[[2]string]*Object
	first map[string]*Object
}

func librariesOf(c *Contents) libraries {
	l := libraries{map[[2]string]*Object{}, map[string]*Object{}}
	for i := range c.Objects {
		o := &c.Objects[i]
		if o.Soname == "" {
			continue
		}
		l.in[[2]string{o.Soname, path.Dir(merged(o.Path))}] = o
		if l.first[o.Soname] == nil {
			l.first[o.Soname] = o
		}
	}
	return l
}

// successor finds what takes the place of a library: the same SONAME in the
// same directory, or else anywhere.
func (l libraries) successor(o *Object) *Object {
	return cmp.Or(l.in[[2]string{o.Soname, path.Dir(merged(o.Path))}], l.first[o.Soname])
}

func libraryChanges(old, new *Contents) []LibraryChange {
	all := []LibraryChange{}
	before, after := librariesOf(old), librariesOf(new)
	for i := range old.Objects {
		o := &old.Objects[i]
		if o.Soname == "" {
			continue
		}
		c := LibraryChange{Soname: canon.NoteOf(o.Soname), Path: canon.NoteOf(o.Path), Change: changed, Lost: []canon.Note{}}
		n := after.successor(o)
		if n == nil {
			c.Change, c.LostCount = removed, len(o.Exports)
			all = append(all, c)
			continue
		}
		lost := minus(o.Exports, n.Exports)
		c.LostCount, c.GainedCount = len(lost), len(minus(n.Exports, o.Exports))
		c.Lost = lost[:min(len(lost), MaxLost)]
		if c.LostCount+c.GainedCount > 0 {
			all = append(all, c)
		}
	}
	for i := range new.Objects {
		if n := &new.Objects[i]; n.Soname != "" && before.first[n.Soname] == nil {
			all = append(all, LibraryChange{Soname: canon.NoteOf(n.Soname), Path: canon.NoteOf(n.Path), Change: added, GainedCount: len(n.Exports), Lost: []canon.Note{}})
		}
	}
	return all
}

// neededChanges compares what objects at the same path are linked with.
func neededChanges(old, new *Contents) []NeededChange {
	before := map[string]*Object{}
	for i := range old.Objects {
		before[merged(old.Objects[i].Path)] = &old.Objects[i]
	}
	all := []NeededChange{}
	for _, n := range new.Objects {
		o := before[merged(n.Path)]
		if o == nil {
			continue
		}
		c := NeededChange{canon.NoteOf(n.Path), minus(n.Needed, o.Needed), minus(o.Needed, n.Needed)}
		if len(c.Added)+len(c.Removed) > 0 {
			all = append(all, c)
		}
	}
	return all
}

// cut sorts every list, bounds it and says which lost entries.
func (d *Diff) cut() {
	for _, l := range []struct {
		name string
		list *[]canon.Note
	}{
		{"added", &d.Added}, {"removed", &d.Removed}, {"changed", &d.Changed}, {"unread", &d.Unread},
		{"conffiles", &d.Conffiles.Added}, {"conffiles", &d.Conffiles.Removed},
		{"triggers", &d.Triggers.Added}, {"triggers", &d.Triggers.Removed},
	} {
		*l.list = bounded(d, l.name, *l.list, cmp.Compare[canon.Note])
	}
	d.Fields = bounded(d, "fields", d.Fields, func(a, b FieldChange) int { return cmp.Compare(a.Name, b.Name) })
	d.Modes = bounded(d, "modes", d.Modes, func(a, b ModeChange) int { return cmp.Compare(a.Path, b.Path) })
	d.Rights = bounded(d, "rights", d.Rights, func(a, b Right) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Path, b.Path)) })
	d.Hooks = bounded(d, "hooks", d.Hooks, func(a, b Hook) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Path, b.Path)) })
	d.Libraries = bounded(d, "libraries", d.Libraries, func(a, b LibraryChange) int {
		return cmp.Or(cmp.Compare(a.Soname, b.Soname), cmp.Compare(a.Path, b.Path))
	})
	d.Needed = bounded(d, "needed", d.Needed, func(a, b NeededChange) int { return cmp.Compare(a.Path, b.Path) })
	slices.Sort(d.Cut)
	d.Cut = slices.Compact(d.Cut)
}

func bounded[T any](d *Diff, name string, list []T, order func(a, b T) int) []T {
	if list == nil {
		list = []T{}
	}
	slices.SortStableFunc(list, order)
	if len(list) > MaxListed {
		d.Cut = append(d.Cut, name)
		list = list[:MaxListed:MaxListed]
	}
	return list
}
