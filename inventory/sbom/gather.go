package sbom

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/version"
)

// gatherer sorts components into what is matched and what is not.
type gatherer struct {
	doc    Document
	system inventory.OS    // of the first component of type operating-system
	seen   map[string]bool // purls with the answers that they got
	others int             // components that are neither the subject nor a system
}

func gather(format string, r *reader) Document {
	g := gatherer{doc: Document{Format: format, Components: len(r.list), Libraries: []Library{}, Left: []Left{}}, seen: map[string]bool{}}
	g.doc.Inventory = inventory.Inventory{Packages: []inventory.Package{}, Partial: []inventory.Gap{}}
	if r.spdx != "" && r.files > 0 {
		g.doc.Components, g.others = g.doc.Components+r.files, r.files
		g.count(Left{Why: NoPurl, Type: "file", Count: r.files, First: r.firstFile, Text: says[NoPurl]})
	}
	r.fill()
	for _, c := range r.list {
		if c.kind == "operating-system" && g.system.ID == "" && !isWindows(c) {
			g.system = systemOf(c)
		}
	}
	for _, c := range r.list {
		if g.take(c); !c.subject && c.kind != "operating-system" {
			g.others++
		}
	}
	if g.doc.Inventory.OS.ID == "" {
		g.doc.Inventory.OS = g.system
	}
	g.close()
	slices.SortFunc(g.doc.Inventory.Packages, func(a, b inventory.Package) int {
		return strings.Compare(a.Name+"\x00"+a.Arch+"\x00"+a.Version, b.Name+"\x00"+b.Arch+"\x00"+b.Version)
	})
	g.doc.Inventory.Kernel.Installed = inventory.Images(g.doc.Inventory.Packages)
	slices.SortFunc(g.doc.Libraries, func(a, b Library) int {
		return strings.Compare(a.Ecosystem+"\x00"+a.Name+"\x00"+a.Version+"\x00"+a.Purl, b.Ecosystem+"\x00"+b.Name+"\x00"+b.Version+"\x00"+b.Purl)
	})
	return g.doc
}

func isWindows(c component) bool {
	return c.kind == "operating-system" && strings.Contains(strings.ToLower(c.name), "windows") || strings.Contains(strings.ToLower(c.purl), "windows")
}

// systemOf is the system that an operating-system component names; empty when its
// name or version is none that os-release(5) could have.
func systemOf(c component) inventory.OS {
	id := strings.ToLower(c.name)
	if !strictjson.Printable(id) || strings.ContainsAny(id, " /") || !strictjson.Printable(c.version) || strings.Contains(c.version, " ") {
		return inventory.OS{}
	}
	is := inventory.OS{ID: systemID(id), VersionID: c.version}
	if by, ok := releases[c.version]; ok && by.ID == is.ID {
		return by
	}
	return is
}

// systemID is os-release's ID of what purls and Trivy call a distribution.
func systemID(name string) string {
	switch name {
	case "redhat":
		return "rhel"
	case "alma":
		return "almalinux"
	}
	return name
}

// take sorts one component.
func (g *gatherer) take(c component) {
	if c.purl == "" {
		g.unnamed(c)
		return
	}
	p, err := ParsePurl(c.purl)
	switch {
	case err != nil:
		g.left(c, Unreadable, true, "")
	case p.Type == "deb" || p.Type == "rpm" || p.Type == "apk":
		g.pack(c, p)
	case p.Type == "golang" || p.Type == "pypi" || p.Type == "npm" || p.Type == "cargo":
		g.library(c, p)
	case madeOf(p.Type):
		g.container(c)
	case isWindows(c):
		g.left(c, Windows, true, "")
	case c.kind == "operating-system":
		g.operatingSystem(c)
	case c.subject && c.holds && p.Type == "generic": // published under no name that records could have
		g.left(c, Subject, false, "")
	default:
		g.left(c, TypeUnmatched, true, p.Type)
	}
}

// first reports whether this answer to this purl is the first one. A purl that
// comes again with another answer, a name in other capitals, say, or a container
// that is empty this time, is no repetition.
func (g *gatherer) first(purl, answer string) bool {
	key := purl + "\x00" + answer
	was := g.seen[key]
	g.seen[key] = true
	return !was
}

// unnamed sorts a component without a purl.
func (g *gatherer) unnamed(c component) {
	switch {
	case c.kind == "operating-system":
		g.operatingSystem(c)
	case passive(c.kind):
		g.left(c, NoPurl, false, "")
	case c.kind == "container" || c.grouping:
		g.container(c)
	case c.subject && c.holds:
		g.left(c, Subject, false, "")
	default:
		g.left(c, NoPurl, true, "")
	}
}

// container sorts what is only made of others: it leaves a question open when the
// bill does not name them.
func (g *gatherer) container(c component) {
	switch {
	case !c.holds:
		g.left(c, EmptyContainer, true, "")
	case c.subject:
		g.left(c, Subject, false, "")
	default:
		g.left(c, Grouping, false, "")
	}
}

func (g *gatherer) operatingSystem(c component) {
	switch is := systemOf(c); {
	case isWindows(c):
		g.left(c, Windows, true, "")
	case is.ID == "":
		g.left(c, BadVersion, true, "")
	case is != g.system:
		g.left(c, OtherSystem, true, g.system.ID+" "+g.system.VersionID)
	default:
		g.left(c, System, false, "")
	}
}

// maxName is the most bytes of a library's name or version; Go's longest module
// paths have some hundred.
const maxName = 1024

// library keeps a component of a language ecosystem. One without a version is
// matched by its name: each record of it is then unknown.
func (g *gatherer) library(c component, p Purl) {
	l := Library{Name: p.Name, Version: p.Version, Purl: c.purl}
	if p.Namespace != "" {
		l.Name = p.Namespace + "/" + p.Name
	}
	switch p.Type {
	case "golang":
		l.Ecosystem = "Go"
		if l.Name == "stdlib" || l.Name == "std" {
			l.Name, l.Version = "stdlib", goRelease(l.Version)
		}
		l.Name = unproxied(cased(deeper(l.Name, p.Subpath, c), c))
	case "pypi":
		l.Ecosystem = "PyPI"
	case "npm":
		l.Ecosystem = "npm"
		l.Name, l.Other = spelled(l.Name, cased(l.Name, c))
	case "cargo":
		l.Ecosystem = "crates.io"
	}
	for _, s := range []string{l.Name, l.Version} {
		if s != "" && (len(s) > maxName || !strictjson.Printable(s) || strings.Contains(s, " ")) {
			g.left(c, BadVersion, true, "")
			return
		}
	}
	asked := strings.TrimSpace(l.Name + " " + l.Other)
	if l.Ecosystem == "Go" { // which room match/library looks up in any capitals
		asked = strings.ToLower(asked)
	}
	if !g.first(c.purl, "library "+asked) {
		g.left(c, Repeated, false, "")
		return
	}
	g.doc.Libraries = append(g.doc.Libraries, l)
}

// deeper is a Go module's name with the purl's subpath, where that belongs to
// it: Syft writes github.com/labstack/echo/v4 as github.com/labstack/echo#v4. The
// component's own name tells, else a major version at the end does.
func deeper(name, subpath string, c component) string {
	whole := name + "/" + subpath
	if subpath != "" && (strings.EqualFold(c.name, whole) || strings.EqualFold(c.group+"/"+c.name, whole) || major.MatchString(subpath)) {
		return whole
	}
	return name
}

// major is how the path of a Go module from version 2 on ends (Go Modules
// Reference, "Major version suffixes").
var major = regexp.MustCompile(`(?:^|/)v(?:[2-9]|[1-9][0-9]+)$`)

// spelled is an npm package's name, and its other spelling where purl and component
// differ in capitals. npm takes no new name with capitals, but has thousands of old
// ones, hundreds beside one in lower case (validate-npm-package-name: "legacy").
// The purl specification wanted lower case until it called names case-sensitive,
// so that a purl without capitals may have lost them, and one with some has not.
func spelled(purl, own string) (name, other string) {
	switch {
	case own == purl:
		return purl, ""
	case purl == strings.ToLower(purl):
		return own, purl
	}
	return purl, own
}

// cased is a name with the capitals that the component's own name, or its group
// and name, has: purls in lower case have lost them, and records tell them apart.
func cased(name string, c component) string {
	for _, own := range []string{c.name, c.group + "/" + c.name} {
		if strictjson.Printable(own) && strings.EqualFold(own, name) {
			return own
		}
	}
	return name
}

// unproxied undoes the proxy's form of a module's path, in which some tools write
// it: "!masterminds" for "Masterminds".
func unproxied(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '!' && i+1 < len(path) && path[i+1] >= 'a' && path[i+1] <= 'z' {
			i++
			b.WriteByte(path[i] - 'a' + 'A')
			continue
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

var goCandidate = regexp.MustCompile(`^([0-9]+\.[0-9]+)(beta|rc)([0-9]+)$`)

// goRelease is a version of Go itself as records spell it: "1.22.0-rc.1" for
// "go1.22rc1".
func goRelease(v string) string {
	return goCandidate.ReplaceAllString(strings.TrimPrefix(v, "go"), "$1.0-$2.$3")
}

// releases are the numbers of names that purls have in distro=, as in the
// specification's own examples of Debian.
var releases = map[string]inventory.OS{}

func init() {
	for name, number := range map[string]string{"jessie": "8", "stretch": "9", "buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13"} {
		releases[name] = inventory.OS{ID: "debian", VersionID: number}
	}
	for name, number := range map[string]string{"trusty": "14.04", "xenial": "16.04", "bionic": "18.04", "focal": "20.04", "jammy": "22.04", "noble": "24.04"} {
		releases[name] = inventory.OS{ID: "ubuntu", VersionID: number}
	}
}

// kin are the package types of the systems that are matched, and of some near them.
var kin = map[string]string{"debian": "deb", "ubuntu": "deb", "almalinux": "rpm", "rocky": "rpm", "rhel": "rpm", "centos": "rpm", "fedora": "rpm", "alpine": "apk"}

// systemOfPackage is the system that a package's purl names, or that the
// operating-system component does. The reason says why there is none: neither says
// it, or the purl's type, namespace and distro are of different systems.
func (g *gatherer) systemOfPackage(p Purl) (inventory.OS, Why) {
	id, distro := systemID(p.Namespace), p.Qualifier["distro"]
	is := inventory.OS{ID: id}
	_, name, _ := strings.Cut(distro, "-") // "debian-bookworm"
	at := release(distro)
	switch by := cmp.Or(releases[distro], releases[name]); {
	case by.ID != "":
		is = by
	case at > 0:
		is = inventory.OS{ID: systemID(distro[:at-1]), VersionID: distro[at:]}
	case distro != "" && distro[0] >= '0' && distro[0] <= '9' && strictjson.Printable(distro) && id != "":
		is.VersionID = distro
	case distro == "" && g.system.ID == id && id != "":
		is = g.system
	default:
		return inventory.OS{}, ReleaseUnknown
	}
	if id != "" && is.ID != id && (kin[id] != "" || kin[is.ID] != "") {
		return inventory.OS{}, Contradictory
	}
	if want := kin[is.ID]; want != "" && want != p.Type {
		return inventory.OS{}, Contradictory
	}
	return is, ""
}

// sameRelease reports whether two names of a release can mean the same one: "12"
// and "12.5".
func sameRelease(a, b inventory.OS) bool {
	within := func(x, y string) bool { return x == y || x == "" || strings.HasPrefix(y, x+".") }
	return a.ID == b.ID && (within(a.VersionID, b.VersionID) || within(b.VersionID, a.VersionID))
}

// pack keeps a package of a distribution: that of the first one met, which is not
// another than the bill's operating-system component names.
func (g *gatherer) pack(c component, p Purl) {
	system, why := g.systemOfPackage(p)
	if why != "" {
		g.left(c, why, true, "")
		return
	}
	have := g.doc.Inventory.OS
	switch {
	case g.system.ID != "" && !sameRelease(g.system, system):
		g.left(c, OtherSystem, true, g.system.ID+" "+g.system.VersionID)
		return
	case have.ID != "" && have != system:
		g.left(c, OtherSystem, true, have.ID+" "+have.VersionID)
		return
	}
	pkg, why := packageOf(c, p)
	switch {
	case why != "":
		g.left(c, why, true, "")
		return
	case !g.first(c.purl, "package "+pkg.Source+" "+pkg.SourceVersion):
		g.left(c, Repeated, false, "")
		return
	}
	g.doc.Inventory.OS = system
	g.doc.Inventory.Packages = append(g.doc.Inventory.Packages, pkg)
}

// packageOf makes a package of a purl; the reason says why it cannot be one. The
// epoch stands in a qualifier, and belongs to the version.
func packageOf(c component, p Purl) (inventory.Package, Why) {
	pkg := inventory.Package{Name: p.Name, Version: p.Version, Arch: p.Qualifier["arch"], Scheme: version.Scheme(p.Type),
		Module: p.Qualifier["modularitylabel"], Status: inventory.Status{Want: "install", Flag: "ok", State: inventory.Installed}}
	if pkg.Module == "" {
		pkg.Module = p.Qualifier["rpmmod"]
	}
	if name, arch, ok := strings.Cut(pkg.Name, ":"); ok && p.Type == "deb" && (pkg.Arch == "" || pkg.Arch == arch) {
		pkg.Name, pkg.Arch = name, arch // "libssl3:amd64", as dpkg prints it
	}
	if pkg.Version == "" {
		return pkg, VersionMissing
	}
	if e := p.Qualifier["epoch"]; e != "" {
		in, rest, has := strings.Cut(pkg.Version, ":")
		switch {
		case has && in != e:
			return pkg, BadVersion // two epochs
		case !has && e != "0":
			pkg.Version = e + ":" + pkg.Version
		case has && e == "0":
			pkg.Version = rest
		}
	}
	source(&pkg, p, c)
	if !named(pkg.Scheme, pkg.Name) || !named(pkg.Scheme, pkg.Source) {
		return pkg, BadVersion
	}
	for _, s := range []string{pkg.Arch, pkg.Module} {
		if s != "" && (len(s) > maxPackageName || !strictjson.Printable(s) || strings.ContainsAny(s, " /")) {
			return pkg, BadVersion
		}
	}
	if strings.Contains(pkg.Arch, ":") || version.Valid(pkg.Scheme, pkg.Version) != nil || version.Valid(pkg.Scheme, pkg.SourceVersion) != nil {
		return pkg, BadVersion
	}
	return pkg, ""
}

const maxPackageName = 255

// named reports whether a text can be the name of a package, binary or source.
// Of dpkg's: lower case letters, digits and "+-.", a letter or digit first (Debian
// Policy 5.6.1, but for the length). Of rpm's, the letters in both cases and "_"
// too (ALLOWED_CHARS_NAME in rpm's build/parsePreamble.c). Of apk's the same, and
// a "." may be first: abuild's names, and those that apk add --virtual is given.
func named(s version.Scheme, name string) bool {
	first, more := "", "+-."
	switch s {
	case version.RPM:
		first, more = "_", "+-._"
	case version.APK:
		first, more = "_.", "+-._"
	}
	for i, c := range []byte(name) {
		lower, upper, digit := c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9'
		switch {
		case lower, digit, upper && s != version.Deb:
		case i == 0 && strings.IndexByte(first, c) >= 0, i > 0 && strings.IndexByte(more, c) >= 0:
		default:
			return false
		}
	}
	return name != "" && len(name) <= maxPackageName
}

// release is where the number begins in "debian-12" or "opensuse-leap-15.5"; 0
// for other forms.
func release(distro string) int {
	i := strings.LastIndexByte(distro, '-') + 1
	if i < 2 || i == len(distro) || distro[i] < '0' || distro[i] > '9' || !strictjson.Printable(distro) {
		return 0
	}
	return i
}

// source finds the source package: the purl's upstream as Syft writes it (name,
// name@version, or a source rpm's file name), or what Trivy writes beside the
// purl; else it is called and versioned like the package.
func source(pkg *inventory.Package, p Purl, c component) {
	pkg.Source, pkg.SourceVersion = pkg.Name, pkg.Version
	switch up := p.Qualifier["upstream"]; {
	case up != "" && p.Type == "rpm":
		if n, v := inventory.SourceRPM(up); n != "" {
			pkg.Source, pkg.SourceVersion = n, v
		}
	case up != "":
		name, ver, has := strings.Cut(up, "@")
		if pkg.Source = name; has {
			pkg.SourceVersion = ver
		}
	case c.source != "":
		pkg.Source = c.source
		if c.sourceVersion != "" {
			pkg.SourceVersion = c.sourceVersion
		}
	}
	if p.Type == "deb" && pkg.SourceVersion == pkg.Version {
		pkg.SourceVersion = withoutBinNMU(pkg.Version)
	}
}

// withoutBinNMU cuts "+b1" off a binary version: a rebuild has the source
// version before it (Debian Developer's Reference 5.10.2.1).
func withoutBinNMU(v string) string {
	i := strings.LastIndex(v, "+b")
	if i > 0 && i+2 < len(v) && strings.Trim(v[i+2:], "0123456789") == "" {
		return v[:i]
	}
	return v
}
