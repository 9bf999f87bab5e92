package provenance

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/unpack"
)

// fields is one control paragraph: values by lower-case field name, lines of a
// value parted by newlines, the white space around each line gone.
type fields map[string]string

// paragraph parses a release: exactly one paragraph (deb822(5)), no field twice
// whatever its case, no comment. Where readers of the format differ, the text
// is refused.
func paragraph(text []byte) (fields, error) {
	if !utf8.Valid(text) {
		return nil, refusal.New(codeField, "the release is not UTF-8")
	}
	f, last := fields{}, ""
	for n, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		if strings.TrimSpace(line) == "" {
			return nil, refusal.New(codeField, "line %d is empty: more than one paragraph", n+1)
		}
		if line[0] == ' ' || line[0] == '\t' {
			if last == "" {
				return nil, refusal.New(codeField, "line %d continues nothing", n+1)
			}
			continue
		}
		name, _, ok := strings.Cut(line, ":")
		if !ok || !fieldName(name) {
			return nil, refusal.New(codeField, "line %d is no field", n+1)
		}
		last = strings.ToLower(name)
		if _, twice := f[last]; twice {
			return nil, refusal.New(codeField, "line %d: field %s twice", n+1, name)
		}
		f[last] = ""
	}
	f.fill(string(text))
	return f, nil
}

// fill sets the values of a paragraph that was found well-formed.
func (f fields) fill(text string) {
	var name string
	var value strings.Builder
	for line := range strings.Lines(text) {
		if line[0] != ' ' && line[0] != '\t' {
			if name != "" {
				f[name] = value.String()
			}
			value.Reset()
			name, line, _ = strings.Cut(line, ":")
			name = strings.ToLower(name)
		} else {
			value.WriteByte('\n')
		}
		value.WriteString(strings.TrimSpace(line))
	}
	f[name] = value.String()
}

// fieldName reports whether s is a field name: printable ASCII without space
// and colon, not beginning like a comment or a list.
func fieldName(s string) bool {
	if s == "" || s[0] == '#' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// says holds the identifying fields to what the trust root says, exactly.
func (f fields) says(o trust.Origin) error {
	for _, want := range []struct {
		code  refusal.Code
		field string
		any   []string
	}{
		{codeOrigin, "Origin", []string{o.Origin}},
		{codeLabel, "Label", []string{o.Label}},
		{codeCodename, "Codename", []string{o.Codename}},
		{codeSuite, "Suite", o.Suites},
	} {
		got, ok := f[strings.ToLower(want.field)]
		if !ok || !slices.Contains(want.any, got) {
			return refusal.New(want.code, "%s is %q, origin %s wants %q", want.field, got, o.ID, want.any)
		}
	}
	return nil
}

// dates reads Date and Valid-Until and holds them to the floor and to now. The
// second result is 0 when there is no Valid-Until.
func (f fields) dates(floor int64, now time.Time) (date, until int64, err error) {
	if date, err = f.date("Date"); err != nil {
		return 0, 0, err
	}
	if date < floor {
		return 0, 0, refusal.New(codeBack, "dated %s, seen before: %s", show(date), show(floor))
	}
	if limit := now.Add(MaxAhead).Unix(); date > limit {
		return 0, 0, refusal.New(codeAhead, "dated %s, the limit is %s", show(date), show(limit))
	}
	if _, ok := f["valid-until"]; !ok {
		return date, 0, nil
	}
	if until, err = f.date("Valid-Until"); err != nil {
		return 0, 0, err
	}
	if until <= now.Unix() {
		return 0, 0, refusal.New(codeExpired, "valid until %s, judged at %s", show(until), show(now.Unix()))
	}
	return date, until, nil
}

func show(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// date reads one date field as Debian's archive ("UTC") or apt-ftparchive and
// reprepro ("+0000", days without a leading zero) write it.
func (f fields) date(name string) (int64, error) {
	value := f[strings.ToLower(name)]
	for _, layout := range []string{"Mon, 2 Jan 2006 15:04:05 UTC", "Mon, 2 Jan 2006 15:04:05 +0000"} {
		// A year before 1970 would be negative, and no release is that old.
		if t, err := time.Parse(layout, value); err == nil && t.Unix() > 0 {
			return t.Unix(), nil
		}
	}
	return 0, refusal.New(codeDate, "%s is %q", name, value)
}

// files reads field SHA256 and keeps the Packages files of allowed components.
// Every line must be sound, also those that are not kept.
func (f fields) files(sections []string) (map[string]File, error) {
	list, ok := f["sha256"]
	first, rest, more := strings.Cut(list, "\n")
	if !ok || first != "" || !more {
		return nil, refusal.New(codeFiles, "field SHA256 is missing or not a list")
	}
	seen, kept := map[string]bool{}, map[string]File{}
	for line := range strings.SplitSeq(rest, "\n") {
		file, err := fileLine(line)
		if err != nil {
			return nil, err
		}
		if seen[file.Path] {
			return nil, refusal.New(codeFiles, "%q twice", file.Path)
		}
		if seen[file.Path] = true; len(seen) > MaxFiles {
			return nil, refusal.New(codeLimit, "more than %d files", MaxFiles)
		}
		if _, err := packagesPath(file.Path, sections); err == nil {
			kept[file.Path] = file
		}
	}
	return kept, nil
}

// fileLine reads "digest size path".
func fileLine(line string) (File, error) {
	w := strings.Fields(line)
	if len(w) != 3 {
		return File{}, refusal.New(codeFiles, "line %.120q", line)
	}
	f := File{Path: w[2], Digest: canon.Digest(w[0])}
	if !f.Digest.Valid() {
		return File{}, refusal.New(codeFiles, "digest %.80q", w[0])
	}
	size, ok := decimal(w[1])
	if !ok || size > MaxFileSize {
		return File{}, refusal.New(codeFiles, "size %.40q of %.120q", w[1], f.Path)
	}
	if f.Size = size; !clean(f.Path) {
		return File{}, refusal.New(codeFiles, "path %.120q", f.Path)
	}
	return f, nil
}

// decimal reads a size in its one spelling: digits, no leading zero.
func decimal(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, false
	}
	return int64(n), true
}

// clean reports whether p is a relative path that stays below its root, of
// printable ASCII, with one spelling only.
func clean(p string) bool {
	const most = 1024 // longer paths no file system in use can hold
	if p == "" || len(p) > most || p[0] == '/' || path.Clean(p) != p || p == "." || p == ".." || strings.HasPrefix(p, "../") {
		return false
	}
	for i := range len(p) {
		if p[i] <= ' ' || p[i] > '~' || p[i] == '\\' {
			return false
		}
	}
	return true
}

// packagesPath takes "main/binary-amd64/Packages.xz" apart and gives its
// architecture. The component must be one of sections.
func packagesPath(p string, sections []string) (arch string, err error) {
	dir, file := path.Split(p)
	component, last := path.Split(strings.TrimSuffix(dir, "/"))
	base, _ := unpack.FormatOf(file)
	arch, ok := strings.CutPrefix(last, "binary-")
	if !ok || base != "Packages" || !change.Name(arch) || !clean(p) {
		return "", refusal.New(codePath, "%.120q", p)
	}
	if component = strings.TrimSuffix(component, "/"); !slices.Contains(sections, component) {
		return "", refusal.New(codeSection, "%q, allowed are %q", component, sections)
	}
	return arch, nil
}

func sortedFiles(files map[string]File) []File {
	return slices.SortedFunc(maps.Values(files), func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
}
