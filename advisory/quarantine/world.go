package quarantine

import (
	"slices"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/version"
)

// World is what verified package indexes, and changelogs inside verified
// packages, have shown: which versions of a source package there ever were. The
// zero value knows nothing. It only grows.
type World struct {
	carried map[advisory.Subject][]string // ascending, each once
}

// Version is one version of a source package that a trusted repository carried.
type Version struct {
	Ecosystem string `json:"ecosystem"`
	Package   string `json:"package"` // source package
	Version   string `json:"version"` // source version
}

// NewWorld knows a list of versions. What cannot be ordered is left out.
func NewWorld(list []Version) World {
	w := World{carried: map[advisory.Subject][]string{}}
	for _, v := range list {
		if s, ok := advisory.SchemeOf(v.Ecosystem); ok && version.Valid(s, v.Version) == nil {
			k := advisory.Subject{Ecosystem: v.Ecosystem, Package: v.Package}
			w.carried[k] = append(w.carried[k], v.Version)
		}
	}
	for k, l := range w.carried {
		s, _ := advisory.SchemeOf(k.Ecosystem)
		slices.SortFunc(l, func(a, b string) int {
			if c, err := version.Compare(s, a, b); err == nil && c != 0 {
				return c
			}
			return strings.Compare(a, b)
		})
		w.carried[k] = slices.Compact(l)
	}
	return w
}

// impossible says which version of a part cannot be, or "". Versions that the
// version in force has already are not asked again.
func (j *judge) impossible(f advisory.Affected, old *advisory.Advisory) string {
	s, ordered := advisory.SchemeOf(f.Ecosystem)
	known := map[string]bool{"": true, advisory.Beginning: true}
	if old != nil {
		for _, o := range old.Affected {
			for _, r := range o.Ranges {
				if o.Ecosystem == f.Ecosystem && o.Package == f.Package {
					known[r.Introduced], known[r.Fixed], known[r.LastAffected] = true, true, true
				}
			}
		}
	}
	for _, r := range f.Ranges {
		for _, v := range []string{r.Introduced, r.Fixed, r.LastAffected} {
			if known[v] {
				continue
			}
			if ordered && version.Valid(s, v) != nil || !ordered && !strings.ContainsAny(v, "0123456789") {
				return "version " + v + " of " + f.Package + " cannot be read"
			}
		}
		if !known[r.Fixed] {
			if why := j.unheardOf(s, f, r.Fixed); why != "" {
				return why
			}
		}
	}
	return ""
}

// unheardOf says why a fixed version is not believed. One that is older than
// everything the world has seen of its package lies before its time.
func (j *judge) unheardOf(s version.Scheme, f advisory.Affected, v string) string {
	subject := advisory.Subject{Ecosystem: f.Ecosystem, Package: f.Package}
	if list := j.World.carried[subject]; len(list) > 0 {
		i, found := slices.BinarySearchFunc(list, v, func(have, want string) int {
			c, _ := version.Compare(s, have, want)
			return c
		})
		if !found && i > 0 {
			return "no trusted repository ever carried " + f.Package + " " + v + " for " + f.Ecosystem + "; the newest that was seen is " + list[len(list)-1]
		}
		return ""
	}
	if top, ok := j.tops[subject]; ok && leading(v) > 10*top+100 {
		return "version " + v + " of " + f.Package + " jumps beyond reason: no fixed version of it began with more than " + strconv.FormatInt(top, 10)
	}
	return ""
}

// leading is a version's epoch × 10^9 plus its first number.
func leading(v string) int64 {
	epoch := int64(0)
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, _ = strconv.ParseInt(e, 10, 32) // the highest when it is too high, 0 when it is no number: that is no version, and judged as such
		v = rest
	}
	v = strings.TrimLeftFunc(v, func(r rune) bool { return r < '0' || r > '9' })
	end := strings.IndexFunc(v, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(v)
	}
	first, err := strconv.ParseInt(v[:end], 10, 64)
	if err != nil && end > 0 || first > 1e9 {
		first = 1e9 - 1
	}
	return epoch*1e9 + first
}

// names are the known packages of an ecosystem, in any release.
type names struct {
	known    map[string]bool
	skeleton map[string]string // how a name looks → the name
	without  map[string]string // a name with one character left out → the name; made when first needed
}

func base(ecosystem string) string {
	b, _, _ := strings.Cut(ecosystem, ":")
	return b
}

func (j *judge) know(ecosystem, name string) {
	b := base(ecosystem)
	n := j.names[b]
	if n == nil {
		n = &names{map[string]bool{}, map[string]string{}, nil}
		j.names[b] = n
	}
	if !n.known[name] {
		n.known[name] = true
		n.skeleton[skeleton(name)] = name
	}
}

var looks = strings.NewReplacer("rn", "m", "vv", "w", "cl", "d", "0", "o", "1", "l", "i", "l", "|", "l", "5", "s", "_", "-", ".", "-")

// skeleton maps names that look alike to one string (the idea of Unicode
// Technical Standard 39, section 4, for the printable ASCII that names have).
func skeleton(name string) string { return looks.Replace(strings.ToLower(name)) }

// shortest is the length from which one edit makes a name suspect: below it
// honest names differ by one character all the time.
const shortest = 5

// lookAlike says which known package a new name can be taken for, or "".
func (j *judge) lookAlike(f advisory.Affected) string {
	n := j.names[base(f.Ecosystem)]
	if n == nil || n.known[f.Package] {
		return ""
	}
	said := func(name string) string {
		return "package " + f.Package + " was never in " + base(f.Ecosystem) + " and can be taken for " + name
	}
	if name, ok := n.skeleton[skeleton(f.Package)]; ok && !onlyDigits(f.Package, name) {
		return said(name)
	}
	if len(f.Package) < shortest {
		return ""
	}
	if n.without == nil {
		n.without = map[string]string{}
		for name := range n.known {
			for i := range len(name) {
				if w := name[:i] + name[i+1:]; n.without[w] == "" || n.without[w] > name {
					n.without[w] = name
				}
			}
		}
	}
	near := []string{n.without[f.Package]} // one character more
	for i := range len(f.Package) {
		w := f.Package[:i] + f.Package[i+1:]
		if n.known[w] {
			near = append(near, w) // one less
		}
		near = append(near, n.without[w]) // one other, or two that changed places
	}
	for _, name := range near {
		if len(name) >= shortest && oneEdit(f.Package, name) && !onlyDigits(f.Package, name) {
			return said(name)
		}
	}
	return ""
}

// oneEdit reports whether a becomes b by one insertion, deletion, substitution
// or exchange of neighbours.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	p := 0
	for p < len(a) && a[p] == b[p] {
		p++
	}
	q := 0
	for q < len(a)-p && a[len(a)-1-q] == b[len(b)-1-q] {
		q++
	}
	x, y := a[p:len(a)-q], b[p:len(b)-q]
	return len(y) == 1 && len(x) <= 1 || len(x) == 2 && len(y) == 2 && x[0] == y[1] && x[1] == y[0]
}

// onlyDigits reports whether two names differ in digits alone: php8.2 and
// php8.3 are versions of one thing.
func onlyDigits(a, b string) bool {
	strip := strings.NewReplacer("0", "", "1", "", "2", "", "3", "", "4", "", "5", "", "6", "", "7", "", "8", "", "9", "")
	return strip.Replace(a) == strip.Replace(b)
}
