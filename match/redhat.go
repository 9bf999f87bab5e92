package match

import (
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/version"
)

// Red Hat names products by CPE. A host of one major release is spoken of under
// many: the main line in its variants ("enterprise_linux:9::baseos",
// "enterprise_linux:9::appstream", "enterprise_linux:10.0") and streams that live
// longer ("rhel_eus:9.2::baseos"). What is fixed names binary packages in a
// version; what is not fixed, not affected or under investigation names source
// packages, or binary ones, in no version.

// system is what an installed system's packages go by in advisories.
type system struct {
	name     string   // "Debian:12"; of Red Hat that of the main line, "Red Hat:enterprise_linux:9"
	main     []string // the products of Red Hat's main line that are spoken of; nil for other systems
	extended []string // likewise those of its longer streams
}

// redHatName is how Red Hat Enterprise Linux begins; the major release follows.
const redHatName = "Red Hat:enterprise_linux:"

// system names a system, with the products that ix speaks of. False: it has no
// name in advisories that are known here.
func (ix Index) system(o inventory.OS) (system, bool) {
	if o.ID != "rhel" {
		name, ok := Ecosystem(o)
		return system{name: name}, ok
	}
	major, _, _ := strings.Cut(o.VersionID, ".")
	if major == "" {
		return system{}, false
	}
	s := system{name: redHatName + major}
	s.main = []string{s.name}
	for _, r := range ix.records {
		for _, e := range r.Releases() {
			switch main, extended := line(e, major); {
			case main && !slices.Contains(s.main, e):
				s.main = append(s.main, e)
			case extended && !slices.Contains(s.extended, e):
				s.extended = append(s.extended, e)
			}
		}
	}
	slices.Sort(s.main)
	slices.Sort(s.extended)
	return s, true
}

// longer are the streams that get fixes for longer than the main line.
var longer = []string{"rhel_eus", "rhel_eus_long_life", "rhel_aus", "rhel_tus", "rhel_e4s", "rhel_els", "rhel_mission_critical"}

// line tells whether an ecosystem is a product of a major release's main line,
// or of one of its longer streams.
func line(ecosystem, major string) (main, extended bool) {
	rest, ok := strings.CutPrefix(ecosystem, "Red Hat:")
	product, ver, _ := strings.Cut(rest, ":")
	ver, _, _ = strings.Cut(ver, ":")
	ver, _, _ = strings.Cut(ver, ".")
	if !ok || ver != major {
		return false, false
	}
	return product == "enterprise_linux" || product == "rhel_extras", slices.Contains(longer, product)
}

// Concerns reports whether a record about a subject would be asked about an
// installed package of a system.
func Concerns(o inventory.OS, p inventory.Package, s advisory.Subject) bool {
	if o.ID == "rhel" {
		major, _, _ := strings.Cut(o.VersionID, ".")
		main, extended := line(s.Ecosystem, major)
		return (main || extended) && (s.Package == p.Name || s.Package == p.Source)
	}
	ecosystem, ok := Ecosystem(o)
	base, _, _ := strings.Cut(ecosystem, ":")
	return ok && (s.Ecosystem == ecosystem || s.Ecosystem == base) &&
		slices.ContainsFunc(identities(p), func(id identity) bool { return id.source == s.Package })
}

// speaks reports whether what is said of an ecosystem is said of s.
func (s system) speaks(ecosystem string) bool {
	return ecosystem == s.name || slices.Contains(s.main, ecosystem) || slices.Contains(s.extended, ecosystem)
}

// heard is what one record says of one package, by product.
type heard struct {
	record         *advisory.Advisory
	main, extended []*advisory.Affected
}

// redHat gives what each record says about p.
func (ix Index) redHat(s system, p inventory.Package, name string) []verdict {
	type key struct {
		snapshot, raw canon.Digest
		id            string
	}
	at, order := map[key]*heard{}, []*heard{}
	ask := func(ecosystems []string, pkg string, into func(*heard) *[]*advisory.Affected) {
		for _, e := range ecosystems {
			for a, parts := range ix.of(advisory.Subject{Ecosystem: e, Package: pkg}) {
				if name != "" && !slices.Contains(a.Names(), name) {
					continue
				}
				k := key{a.Feed.Snapshot, a.Raw, a.ID}
				if at[k] == nil {
					own := *a
					at[k] = &heard{record: &own}
					order = append(order, at[k])
				}
				to := into(at[k])
				for _, f := range parts {
					if pkg == p.Name || !versioned(f) { // a source's version has no epoch here
						*to = append(*to, kept(f))
					}
				}
			}
		}
	}
	names := []string{p.Name}
	if p.Source != p.Name {
		names = append(names, p.Source)
	}
	for _, n := range names {
		ask(s.main, n, func(h *heard) *[]*advisory.Affected { return &h.main })
		ask(s.extended, n, func(h *heard) *[]*advisory.Affected { return &h.extended })
	}
	var out []verdict
	for _, h := range order {
		if v, speaks := h.verdict(p); speaks {
			out = append(out, v)
		}
	}
	return out
}

// kept is a copy: what an index gives is used up when the next record is asked for.
func kept(f *advisory.Affected) *advisory.Affected {
	c := *f
	c.Ranges, c.Versions = slices.Clone(f.Ranges), slices.Clone(f.Versions)
	return &c
}

// versioned reports whether a statement names a fixed version.
func versioned(f *advisory.Affected) bool {
	return slices.ContainsFunc(f.Ranges, func(r advisory.Range) bool { return r.Fixed != "" || r.LastAffected != "" })
}

// verdict puts the products' words together. The main line decides; a longer
// stream only says that a build of its own holds the fix, and decides where the
// main line is silent. A statement in no version that names a binary package
// means the source package of that name where the record has a fixed version for
// the binary (kernel-rt of 9.3 and later is built from kernel).
func (h heard) verdict(p inventory.Package) (verdict, bool) {
	id := identity{p.Name, p.Version}
	if fixed, by := backported(h.extended, p); fixed != "" && h.record.Withdrawn == 0 && p.Status.Settled() {
		return verdict{record: record{Advisory: h.record}, id: id, state: NotAffected, code: Fixed, fixed: fixed, authority: h.record.Over(by), ecosystem: by}, true
	}
	parts := h.main
	if !slices.ContainsFunc(parts, func(f *advisory.Affected) bool { return about(f, p) != no }) {
		parts = h.extended
	}
	if p.Source != p.Name && slices.ContainsFunc(parts, func(f *advisory.Affected) bool { return f.Package == p.Name && versioned(f) && about(f, p) == yes }) {
		parts = slices.DeleteFunc(slices.Clone(parts), func(f *advisory.Affected) bool {
			return f.Package == p.Name && len(f.Ranges) > 0 && !versioned(f)
		})
	}
	return record{h.record, parts}.about(p, id, false)
}

// branch is the minor release that a build was made for, "9_2"; "" where its
// release does not say: ".el9_2", ".module+el8.6.0".
func branch(v string) string {
	for _, rest, ok := strings.Cut(v[strings.LastIndexByte(v, '-')+1:], "."); ok; _, rest, ok = strings.Cut(rest, ".") {
		s, el := strings.CutPrefix(strings.TrimPrefix(rest, "module+"), "el")
		major := leadingDigits(s)
		if s = s[len(major):]; !el || major == "" || s == "" || s[0] != '.' && s[0] != '_' {
			continue
		}
		if minor := leadingDigits(s[1:]); minor != "" {
			return major + "_" + minor
		}
	}
	return ""
}

func leadingDigits(s string) string {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return s[:i]
		}
	}
	return s
}

// backported is the highest version with the fix that longer streams name for
// the minor release that p was built for, when p is not older than that, and the
// product that says so. Within one minor release each build holds the fixes of
// those before it; across them the order of versions says nothing.
func backported(extended []*advisory.Affected, p inventory.Package) (fixed, by string) {
	own := branch(p.Version)
	if own == "" {
		return "", ""
	}
	for _, f := range extended {
		if about(f, p) != yes {
			continue
		}
		for _, r := range f.Ranges {
			if r.Fixed != "" && branch(r.Fixed) == own && (fixed == "" || above(version.RPM, r.Fixed, fixed)) {
				fixed, by = r.Fixed, f.Ecosystem
			}
		}
	}
	if fixed == "" || !atLeast(version.RPM, p.Version, fixed) {
		return "", ""
	}
	return fixed, by
}
