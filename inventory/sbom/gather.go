package sbom

import (
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
	system inventory.OS // of the first component of type operating-system
	seen   map[string]bool
	others int // components that are neither the subject nor a system
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
	return inventory.OS{ID: systemID(id), VersionID: c.version}
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
		return
	case g.seen[c.purl]:
		g.left(c, Repeated, false, "")
		return
	}
	g.seen[c.purl] = true
	switch p.Type {
	case "deb", "rpm", "apk":
		g.pack(c, p)
	case "golang", "pypi", "npm", "cargo":
		g.library(c, p)
	case "oci", "docker":
		g.container(c)
	default:
		switch {
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
		l.Ecosystem, l.Name = "npm", cased(l.Name, c)
	case "cargo":
		l.Ecosystem = "crates.io"
	}
	for _, s := range []string{l.Name, l.Version} {
		if s != "" && (len(s) > maxName || !strictjson.Printable(s) || strings.Contains(s, " ")) {
			g.left(c, BadVersion, true, "")
			return
		}
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

// cased is a name with the capitals that the component's own name, or its group
// and name, has: the purl specification wants Go's and npm's names in lower case,
// and records tell capitals apart.
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

// systemOfPackage is the system that a package's purl names, or that the
// operating-system component does; false when neither says it.
func (g *gatherer) systemOfPackage(p Purl) (inventory.OS, bool) {
	id, distro := systemID(p.Namespace), p.Qualifier["distro"]
	_, name, _ := strings.Cut(distro, "-") // "debian-bookworm"
	for _, n := range []string{distro, name} {
		if is, ok := releases[n]; ok && is.ID == id {
			return is, true
		}
	}
	switch at := release(distro); {
	case at > 0:
		return inventory.OS{ID: systemID(distro[:at-1]), VersionID: distro[at:]}, true
	case distro != "" && distro[0] >= '0' && distro[0] <= '9' && strictjson.Printable(distro):
		return inventory.OS{ID: id, VersionID: distro}, true
	case distro == "" && g.system.ID == id && id != "":
		return g.system, true
	}
	return inventory.OS{}, false
}

// pack keeps a package of a distribution: that of the first one met.
func (g *gatherer) pack(c component, p Purl) {
	system, ok := g.systemOfPackage(p)
	if !ok {
		g.left(c, ReleaseUnknown, true, "")
		return
	}
	if have := g.doc.Inventory.OS; have.ID != "" && have != system {
		g.left(c, OtherSystem, true, have.ID+" "+have.VersionID)
		return
	}
	pkg, why := packageOf(c, p)
	if why != "" {
		g.left(c, why, true, "")
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
	for _, s := range []string{pkg.Name, pkg.Source, pkg.Arch, pkg.Module} {
		if s != "" && (len(s) > 255 || !strictjson.Printable(s) || strings.Contains(s, " ")) {
			return pkg, BadVersion
		}
	}
	if pkg.Source == "" || version.Valid(pkg.Scheme, pkg.Version) != nil || version.Valid(pkg.Scheme, pkg.SourceVersion) != nil {
		return pkg, BadVersion
	}
	return pkg, ""
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
