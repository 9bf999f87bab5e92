package quarantine

import (
	"slices"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/version"
)

// World is what verified package indexes have shown: which versions of a source
// package there were. The zero value knows nothing. It only grows.
type World struct {
	carried map[advisory.Subject]history
	seen    map[string]int64 // by ecosystem: when its indexes were last verified, Unix seconds; absent: now
}

// history is what was seen of one package.
type history struct {
	versions []string // ascending, each once
	before   string   // the newest at first sight: what is older may have come and gone unseen; "": nothing did
}

// Version is one version of a source package that a trusted repository carried.
type Version struct {
	Ecosystem string `json:"ecosystem"`
	Package   string `json:"package"` // source package
	Version   string `json:"version"` // source version
	First     bool   `json:"first"`   // it was there at first sight: nobody looked before
}

// NewWorld knows a list of versions, and when the indexes of an ecosystem were
// last verified (Unix seconds; an ecosystem that is not named was just now). What
// cannot be ordered is left out.
func NewWorld(list []Version, seen map[string]int64) World {
	w := World{carried: map[advisory.Subject]history{}, seen: seen}
	for _, v := range list {
		if s, ok := advisory.SchemeOf(v.Ecosystem); ok && version.Valid(s, v.Version) == nil {
			k := advisory.Subject{Ecosystem: v.Ecosystem, Package: v.Package}
			h := w.carried[k]
			h.versions = append(h.versions, v.Version)
			if v.First && (h.before == "" || above(s, v.Version, h.before)) {
				h.before = v.Version
			}
			w.carried[k] = h
		}
	}
	for k, h := range w.carried {
		s, _ := advisory.SchemeOf(k.Ecosystem)
		slices.SortFunc(h.versions, func(a, b string) int {
			if c, err := version.Compare(s, a, b); err == nil && c != 0 {
				return c
			}
			return strings.Compare(a, b)
		})
		h.versions = slices.Compact(h.versions)
		w.carried[k] = h
	}
	return w
}

func above(s version.Scheme, a, b string) bool {
	c, err := version.Compare(s, a, b)
	return err == nil && c > 0
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

// asleep is how long after the last look at an ecosystem's indexes a newer
// version is still held to them, in seconds. Who stops looking learns no news.
const asleep = 7 * day

// unheardOf says why a fixed version is not believed. One that is older than
// everything the world has seen of its package lies before its time, and so may
// one that is no newer than the newest at first sight.
func (j *judge) unheardOf(s version.Scheme, f advisory.Affected, v string) string {
	subject := advisory.Subject{Ecosystem: f.Ecosystem, Package: f.Package}
	if h := j.World.carried[subject]; len(h.versions) > 0 {
		i, found := slices.BinarySearchFunc(h.versions, v, func(have, want string) int {
			c, _ := version.Compare(s, have, want)
			return c
		})
		seen, dated := j.World.seen[f.Ecosystem]
		newest := h.versions[len(h.versions)-1]
		switch {
		case found || i == 0 || h.before != "" && !above(s, v, h.before):
		case i == len(h.versions) && dated && j.Now-seen > asleep:
		default:
			return "no trusted repository ever carried " + f.Package + " " + v + " for " + f.Ecosystem + "; the newest that was seen is " + newest
		}
		return ""
	}
	if t, ok := j.tops[subject]; ok && t.beyond(v) {
		return "version " + v + " of " + f.Package + " jumps beyond reason: no fixed version of it had a higher epoch than " +
			strconv.FormatInt(t.epoch, 10) + " or began with more than " + strconv.FormatInt(t.first, 10)
	}
	return ""
}

// top is the highest epoch, and the highest first number, of a package's fixed
// versions.
type top struct{ epoch, first int64 }

func (t top) with(v string) top {
	epoch, first := leading(v)
	return top{max(t.epoch, epoch), max(t.first, first)}
}

// beyond reports whether a version is out of reach of the next ones: an epoch
// grows by one, and the first number starts anew with it.
func (t top) beyond(v string) bool {
	epoch, first := leading(v)
	return epoch > t.epoch+1 || first > 10*t.first+100
}

// leading gives a version's epoch and its first number, each at most 10^9.
func leading(v string) (epoch, first int64) {
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, v = number(e), rest
	}
	v = strings.TrimLeftFunc(v, func(r rune) bool { return r < '0' || r > '9' })
	return epoch, number(v)
}

// number reads the digits that a text begins with; 0 when it begins with none.
func number(v string) int64 {
	end := strings.IndexFunc(v, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(v)
	}
	n, err := strconv.ParseInt(v[:end], 10, 64)
	if err != nil && end > 0 || n > 1e9 {
		return 1e9
	}
	return n
}

// names are the known packages of an ecosystem, in any release.
type names struct {
	known    map[string]bool
	skeleton map[string]string   // how a name looks → the name
	without  map[string][]string // a name with one character left out → the names; made when first needed
	affixes  map[string]int      // "python3-", "-devel" → how many names have it; made when first needed
}

func base(ecosystem string) string {
	b, _, _ := strings.Cut(ecosystem, ":")
	return b
}

func (j *judge) know(ecosystem, name string) {
	b := base(ecosystem)
	n := j.names[b]
	if n == nil {
		n = &names{known: map[string]bool{}, skeleton: map[string]string{}}
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

// lookAlike says which known package a new name can be taken for, or "". It is
// not for one that the record names too, with the same versions, and not for a
// name that is put together in the usual way from another of that record.
func (j *judge) lookAlike(f advisory.Affected, a *advisory.Advisory) string {
	n := j.names[base(f.Ecosystem)]
	if n == nil || n.known[f.Package] {
		return ""
	}
	beside := map[string]bool{}
	for _, o := range a.Affected {
		if o.Ecosystem == f.Ecosystem && o.Package != f.Package && o.Module == f.Module && n.known[o.Package] &&
			slices.Equal(o.Ranges, f.Ranges) && slices.Equal(o.Versions, f.Versions) {
			beside[o.Package] = true
		}
	}
	for _, name := range n.near(f.Package) {
		if !beside[name] && !n.builtFrom(f.Package, beside) {
			return "package " + f.Package + " was never in " + base(f.Ecosystem) + " and can be taken for " + name
		}
	}
	return ""
}

// near lists the known names that a name can be taken for, ascending.
func (n *names) near(name string) (out []string) {
	if twin, ok := n.skeleton[skeleton(name)]; ok && !onlyDigits(name, twin) {
		out = append(out, twin)
	}
	if len(name) < shortest {
		return out
	}
	if n.without == nil {
		n.without = map[string][]string{}
		for known := range n.known {
			for i := range len(known) {
				w := known[:i] + known[i+1:]
				n.without[w] = append(n.without[w], known)
			}
		}
	}
	near := slices.Clone(n.without[name]) // one character more
	for i := range len(name) {
		w := name[:i] + name[i+1:]
		if n.known[w] {
			near = append(near, w) // one less
		}
		near = append(near, n.without[w]...) // one other, or two that changed places
	}
	for _, known := range near {
		if len(known) >= shortest && oneEdit(name, known) && !onlyDigits(name, known) {
			out = append(out, known)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// usual is how many known names an affix has that packages usually get.
const usual = 3

// builtFrom reports whether a name is one of the others with an affix that many
// known names have: python3-ldns beside ldns.
func (n *names) builtFrom(name string, beside map[string]bool) bool {
	if n.affixes == nil {
		n.affixes = map[string]int{}
		for known := range n.known {
			for i := range len(known) {
				if known[i] == '-' {
					n.affixes[known[:i+1]]++
					n.affixes[known[i:]]++
				}
			}
		}
	}
	for i := range len(name) {
		if name[i] == '-' && (beside[name[i+1:]] && n.affixes[name[:i+1]] >= usual || beside[name[:i]] && n.affixes[name[i:]] >= usual) {
			return true
		}
	}
	return false
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
