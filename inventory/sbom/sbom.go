// Package sbom reads a software bill of materials and gives what a scan can
// match: the packages of one distribution as an inventory, and libraries of
// language ecosystems.
//
// The parties: a tool that somebody ran wrote the text; people's scan reads it.
// The objects are CycloneDX 1.4 to 1.6 JSON and SPDX 2.3 JSON; what a component
// is, is told by its purl (purl-spec) and by nothing else.
//
// The promise: no package is dropped in silence. A component without a purl, of a
// type that is not matched, of a second distribution, or of Windows (which is
// no goal) is counted in a gap, so that the answer is unknown and not clean. Files,
// containers and data without a purl are what packages are made of or come in;
// they are left out and not counted.
//
// It believes the document: what the tool did not see is not there. It checks no
// signature and no hash, and reads no relationships.
package sbom

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/version"
)

// Limits of one document. The largest seen, of a whole desktop, has 60 MB and
// 40,000 components.
const (
	MaxFile       = 256 << 20 // bytes
	maxComponents = 200_000
	maxText       = 1 << 20
	maxPurl       = 4 << 10
)

// Library is a component of a language ecosystem.
type Library struct {
	Ecosystem string // as OSV spells it: "Go", "PyPI", "npm", "crates.io"
	Name      string
	Version   string // as written; "" when it is not known
	Purl      string
}

// Document is what a bill says.
type Document struct {
	Format    string              // "CycloneDX 1.5" or "SPDX-2.3"
	Inventory inventory.Inventory // OS is empty when no package of a distribution is named
	Libraries []Library           // ascending by ecosystem, name, version; each once
}

// component is one element, of either format.
type component struct {
	kind, name, version, purl string
	props                     map[string]string
}

// Parse reads one document. The error says why it is none, with the byte; what
// is odd inside it is a gap of the inventory.
func Parse(raw []byte) (Document, error) {
	if len(raw) > MaxFile {
		return Document{}, fmt.Errorf("the document has %d bytes, the limit is %d", len(raw), MaxFile)
	}
	r := reader{Doc: strictjson.Of(raw)}
	if err := r.Whole(func() error { return r.Object(r.top) }); err != nil {
		return Document{}, fmt.Errorf("the bill of materials cannot be read (byte %d): %w", r.At(), err)
	}
	format := ""
	switch {
	case r.bom == "CycloneDX" && slices.Contains([]string{"1.4", "1.5", "1.6"}, r.spec):
		format = r.bom + " " + r.spec
	case r.spdx == "SPDX-2.3":
		format = r.spdx
	default:
		return Document{}, errors.New("this is neither CycloneDX 1.4 to 1.6 nor SPDX 2.3 in JSON (bomFormat and specVersion, or spdxVersion); convert it with the tool that made it")
	}
	return gather(format, r.list), nil
}

// reader walks a document of either format.
type reader struct {
	strictjson.Doc
	bom, spec, spdx string
	list            []component
}

func (r *reader) top(key string) (err error) {
	switch key {
	case "bomFormat":
		r.bom, err = r.Str(maxText)
	case "specVersion":
		r.spec, err = r.Str(maxText)
	case "spdxVersion":
		r.spdx, err = r.Str(maxText)
	case "metadata":
		err = r.Object(func(key string) error {
			if key == "component" {
				err := r.component()
				if n := len(r.list); err == nil && r.list[n-1].purl == "" && r.list[n-1].kind != "operating-system" {
					r.list[n-1].kind = "container" // the subject of the bill
				}
				return err
			}
			return r.Skip()
		})
	case "components", "packages":
		err = r.Array(maxComponents, r.component)
	default:
		err = r.Skip()
	}
	return err
}

func (r *reader) component() error {
	c := component{props: map[string]string{}}
	err := r.Object(func(key string) (err error) {
		switch key {
		case "type":
			c.kind, err = r.Str(maxText)
		case "primaryPackagePurpose": // of SPDX, "OPERATING-SYSTEM"
			c.kind, err = r.Str(maxText)
			c.kind = strings.ToLower(c.kind)
		case "name":
			c.name, err = r.Str(maxText)
		case "version", "versionInfo":
			c.version, err = r.Str(maxText)
		case "purl":
			c.purl, err = r.Str(maxPurl)
		case "components":
			err = r.Array(maxComponents, r.component)
		case "properties":
			err = r.Array(maxComponents, func() error { return r.pair("name", "value", c.props) })
		case "externalRefs":
			refs := map[string]string{}
			err = r.Array(maxComponents, func() error { return r.pair("referenceType", "referenceLocator", refs) })
			c.purl = refs["purl"]
		default:
			err = r.Skip()
		}
		return err
	})
	if err == nil && len(r.list) >= maxComponents {
		err = r.Fail("more than %d components", maxComponents)
	}
	r.list = append(r.list, c)
	return err
}

// pair reads an object with a name and a value into a map.
func (r *reader) pair(name, value string, into map[string]string) error {
	var n, v string
	err := r.Object(func(key string) (err error) {
		switch key {
		case name:
			n, err = r.Str(maxText)
		case value:
			if r.Peek() != '"' {
				return r.Skip()
			}
			v, err = r.Str(maxText)
		default:
			err = r.Skip()
		}
		return err
	})
	into[n] = v
	return err
}

// gatherer sorts components into what is matched and what is not.
type gatherer struct {
	doc    Document
	system inventory.OS // of a component of type operating-system
	gaps   map[string]int
	first  map[string]string
	seen   map[string]bool
}

func gather(format string, list []component) Document {
	g := gatherer{doc: Document{Format: format}, gaps: map[string]int{}, first: map[string]string{}, seen: map[string]bool{}}
	g.doc.Inventory = inventory.Inventory{Packages: []inventory.Package{}, Kernel: inventory.Kernel{Installed: []inventory.Image{}}, Partial: []inventory.Gap{}}
	for _, c := range list {
		if c.kind == "operating-system" && c.purl == "" {
			g.operatingSystem(c)
		}
	}
	for _, c := range list {
		g.take(c)
	}
	if g.doc.Inventory.OS.ID == "" {
		g.doc.Inventory.OS = g.system
	}
	g.nothing()
	for _, why := range slices.Sorted(maps.Keys(g.gaps)) {
		g.doc.Inventory.Partial = append(g.doc.Inventory.Partial, inventory.Gap{What: inventory.AreaPackages,
			Why: fmt.Sprintf("%d components %s (the first: %+q)", g.gaps[why], why, g.first[why])})
	}
	slices.SortFunc(g.doc.Inventory.Packages, func(a, b inventory.Package) int {
		return strings.Compare(a.Name+"\x00"+a.Arch+"\x00"+a.Version, b.Name+"\x00"+b.Arch+"\x00"+b.Version)
	})
	slices.SortFunc(g.doc.Libraries, func(a, b Library) int {
		return strings.Compare(a.Ecosystem+"\x00"+a.Name+"\x00"+a.Version, b.Ecosystem+"\x00"+b.Name+"\x00"+b.Version)
	})
	return g.doc
}

// nothing says that a bill without packages says nothing.
func (g *gatherer) nothing() {
	inv := &g.doc.Inventory
	switch {
	case len(inv.Packages) > 0 || len(g.doc.Libraries) > 0 && inv.OS.ID == "":
	case inv.OS.ID != "":
		inv.Partial = append(inv.Partial, inventory.Gap{What: inventory.AreaPackages, Why: "the bill names a system and none of its packages"})
	default:
		inv.Partial = append(inv.Partial, inventory.Gap{What: inventory.AreaPackages, Why: "the bill names nothing that could be matched"})
	}
}

func (g *gatherer) gap(c component, why string) {
	if g.gaps[why]++; g.first[why] == "" {
		if g.first[why] = c.purl; c.purl == "" {
			g.first[why] = c.name
		}
	}
}

func (g *gatherer) operatingSystem(c component) {
	id := strings.ToLower(c.name)
	switch {
	case strings.Contains(id, "windows"):
		g.gap(c, windows)
	case strictjson.Printable(id) && !strings.ContainsAny(id, " /") && strictjson.Printable(c.version) && !strings.Contains(c.version, " "):
		g.system = inventory.OS{ID: id, VersionID: c.version}
	default:
		g.gap(c, "are an operating system of unknown name")
	}
}

const windows = "are of Windows, which Patchwrit does not scan on purpose"

// take sorts one component.
func (g *gatherer) take(c component) {
	if c.purl == "" {
		switch c.kind {
		case "operating-system", "file", "container", "device", "firmware", "data":
			if c.kind == "firmware" || c.kind == "device" {
				g.gap(c, "are firmware or devices, which are not matched")
			}
		default:
			g.gap(c, "have no purl, so it is not known what they are")
		}
		return
	}
	p, err := parsePurl(c.purl)
	if err != nil {
		g.gap(c, "have a purl that cannot be read")
		return
	}
	if g.seen[c.purl] {
		return
	}
	g.seen[c.purl] = true
	switch p.kind {
	case "deb", "rpm", "apk":
		g.pack(c, p)
	case "golang", "pypi", "npm", "cargo":
		g.library(c, p)
	case "oci", "docker":
		// the image itself: its contents are the other components
	default:
		if strings.Contains(strings.ToLower(c.purl), "windows") {
			g.gap(c, windows)
			return
		}
		g.gap(c, "are of the purl type "+p.kind+", which is not matched")
	}
}

// library keeps a component of a language ecosystem.
func (g *gatherer) library(c component, p purl) {
	l := Library{Name: p.name, Version: p.version, Purl: c.purl}
	if p.namespace != "" {
		l.Name = p.namespace + "/" + p.name
	}
	switch p.kind {
	case "golang":
		l.Ecosystem = "Go"
		if p.namespace == "" && (p.name == "stdlib" || p.name == "std") {
			l.Name, l.Version = "stdlib", strings.TrimPrefix(l.Version, "go")
		}
		l.Name = goPath(l.Name, c.name)
	case "pypi":
		name := strings.FieldsFunc(strings.ToLower(l.Name), func(r rune) bool { return r == '-' || r == '_' || r == '.' })
		l.Ecosystem, l.Name = "PyPI", strings.Join(name, "-") // PEP 503
	case "npm":
		l.Ecosystem = "npm"
	case "cargo":
		l.Ecosystem = "crates.io"
	}
	g.doc.Libraries = append(g.doc.Libraries, l)
}

// goPath is a module path as records spell it. Records tell capitals apart; the
// purl specification wants Go's names in lower case, and some tools write the
// proxy's form ("!masterminds" for "Masterminds"). The component's own name has
// the capitals.
func goPath(path, name string) string {
	if strings.EqualFold(path, name) {
		return name
	}
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

// pack keeps a package of a distribution: the first one met, or the one that the
// operating-system component names.
func (g *gatherer) pack(c component, p purl) {
	system := inventory.OS{ID: p.namespace}
	switch distro := p.qualifiers["distro"]; {
	case release(distro) > 0:
		system = inventory.OS{ID: distro[:release(distro)-1], VersionID: distro[release(distro):]}
	case distro != "" && distro[0] >= '0' && distro[0] <= '9':
		system.VersionID = distro
	case distro == "" && g.system.ID == p.namespace:
		system.VersionID = g.system.VersionID
	default:
		g.gap(c, "do not say of which release they are (distro=debian-12 in the purl)")
		return
	}
	if have := g.doc.Inventory.OS; have.ID == "" {
		g.doc.Inventory.OS = system
	} else if have != system {
		g.gap(c, fmt.Sprintf("are of another system than %s %s; scan each system's bill alone", have.ID, have.VersionID))
		return
	}
	pkg := inventory.Package{Name: p.name, Version: p.version, Arch: p.qualifiers["arch"], Scheme: version.Scheme(p.kind),
		Module: p.qualifiers["modularitylabel"], Status: inventory.Status{Want: "install", Flag: "ok", State: inventory.Installed}}
	if pkg.Module == "" {
		pkg.Module = p.qualifiers["rpmmod"]
	}
	if e := p.qualifiers["epoch"]; e != "" && e != "0" && !strings.Contains(pkg.Version, ":") {
		pkg.Version = e + ":" + pkg.Version
	}
	source(&pkg, p, c.props)
	for _, s := range []string{pkg.Name, pkg.Version, pkg.Source, pkg.SourceVersion} {
		if s == "" || len(s) > 255 || !strictjson.Printable(s) || strings.Contains(s, " ") {
			g.gap(c, "have no name or no version that a package can have")
			return
		}
	}
	g.doc.Inventory.Packages = append(g.doc.Inventory.Packages, pkg)
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

// source finds the source package: the purl's upstream (name, name@version, or a
// source rpm's file name), or what Trivy writes beside the purl; else it is
// called and versioned like the package.
func source(pkg *inventory.Package, p purl, props map[string]string) {
	pkg.Source, pkg.SourceVersion = pkg.Name, pkg.Version
	const trivy = "aquasecurity:trivy:Src"
	switch up := p.qualifiers["upstream"]; {
	case up != "" && p.kind == "rpm":
		if n, v := inventory.SourceRPM(up); n != "" {
			pkg.Source, pkg.SourceVersion = n, v
		}
	case up != "":
		name, ver, has := strings.Cut(up, "@")
		if pkg.Source = name; has {
			pkg.SourceVersion = ver
		}
	case props[trivy+"Name"] != "":
		pkg.Source = props[trivy+"Name"]
		if v := props[trivy+"Version"]; v != "" {
			if r := props[trivy+"Release"]; r != "" {
				v += "-" + r
			}
			if e := props[trivy+"Epoch"]; e != "" && e != "0" {
				v = e + ":" + v
			}
			pkg.SourceVersion = v
		}
	}
	if p.kind == "deb" && pkg.SourceVersion == pkg.Version {
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
