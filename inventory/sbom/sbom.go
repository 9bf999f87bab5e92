// Package sbom reads a software bill of materials and gives what a scan can
// match: the packages of one distribution as an inventory, and libraries of
// language ecosystems.
//
// The parties: a tool that somebody ran wrote the text; people's scan reads it.
// The objects are CycloneDX 1.4 to 1.6 JSON and SPDX 2.3 JSON; what a component
// is, is told by its purl and by nothing else.
//
// The promise: each component is counted, as matched or as Left with its reason.
// What could be vulnerable and is not matched is a gap of the inventory too, so
// that the answer is unknown and not clean: a component without a purl, of a type
// that is not matched, of a second distribution, a container of which nothing is
// named, Windows (which is no goal). Files, data and keys without a purl leave no
// question open, nor does the subject of the bill when its contents are named: a
// bill of files alone is answered, an empty one is unknown.
//
// It believes the document: what the tool did not see is not there, and a package
// of another registry (repository_url) is taken for the public one of its name. It
// checks no signature and no hash.
package sbom

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/inventory"
)

// Limits of one document. The largest seen, of a whole desktop, has 60 MB and
// 40,000 components.
const (
	MaxFile       = 256 << 20 // bytes
	maxComponents = 200_000
	maxFiles      = 2_000_000 // of SPDX, which lists every file
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

// Document is what a bill says. Each of its components is a package, a library, or
// counted in Left.
type Document struct {
	Format     string              // "CycloneDX 1.5" or "SPDX-2.3"
	Inventory  inventory.Inventory // OS is empty when no package of a distribution is named
	Libraries  []Library           // ascending by ecosystem, name, version, purl; each once
	Components int                 // of SPDX also the files
	Left       []Left              // ascending by reason, type, text
}

// component is one element, of either format.
type component struct {
	kind, group, name, version, purl, ref string
	source, sourceVersion                 string // as Trivy writes them
	grouping                              bool   // only what others come in: Trivy's lock files and binaries
	subject                               bool   // what the bill is of
	holds                                 bool   // others, more than files, are inside it or what it depends on
}

// Parse reads one document. The error says why it is none, with the byte; what
// is odd inside it is a gap of the inventory.
func Parse(raw []byte) (Document, error) { return parse(raw, MaxFile, maxComponents) }

func parse(raw []byte, limit, most int) (Document, error) {
	if len(raw) > limit {
		return Document{}, fmt.Errorf("the document has %d bytes, the limit is %d", len(raw), limit)
	}
	r := reader{Doc: strictjson.Of(raw), most: most}
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
	return gather(format, &r), nil
}

// edge says that one component has another in it, depends on it, or, from
// "" to it, that the bill is of it.
type edge struct{ from, to string }

// reader walks a document of either format.
type reader struct {
	strictjson.Doc
	bom, spec, spdx string
	most            int // components
	list            []component
	edges           []edge
	files           int
	firstFile       string
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
		err = r.Object(r.metadata)
	case "components", "packages":
		err = r.Array(maxComponents, r.component)
	case "files":
		err = r.Array(maxFiles, r.file)
	case "dependencies":
		err = r.Array(maxComponents, r.dependency)
	case "relationships":
		err = r.Array(maxFiles, r.relationship)
	case "documentDescribes":
		err = r.refs("")
	default:
		err = r.Skip()
	}
	return err
}

func (r *reader) metadata(key string) error {
	if key != "component" {
		return r.Skip()
	}
	err := r.component()
	if err == nil {
		r.list[len(r.list)-1].subject = true
	}
	return err
}

// refs reads references to what from holds.
func (r *reader) refs(from string) error {
	return r.Array(maxFiles, func() error {
		to, err := r.Str(maxText)
		r.edges = append(r.edges, edge{from, to})
		return err
	})
}

// file counts an element of SPDX's list of files.
func (r *reader) file() error {
	name, _, err := r.pair("fileName", "SPDXID")
	if r.files++; r.files == 1 {
		r.firstFile = name
	}
	return err
}

// dependency reads an element of CycloneDX's graph.
func (r *reader) dependency() error {
	from, first := "", len(r.edges)
	err := r.Object(func(key string) (err error) {
		switch key {
		case "ref":
			from, err = r.Str(maxText)
		case "dependsOn", "provides":
			err = r.refs("")
		default:
			err = r.Skip()
		}
		return err
	})
	for i := range r.edges[first:] {
		r.edges[first+i].from = from
	}
	if from == "" {
		r.edges = r.edges[:first]
	}
	return err
}

// relationship reads an element of SPDX's.
func (r *reader) relationship() error {
	var a, b, kind string
	err := r.Object(func(key string) (err error) {
		switch key {
		case "spdxElementId":
			a, err = r.Str(maxText)
		case "relatedSpdxElement":
			b, err = r.Str(maxText)
		case "relationshipType":
			kind, err = r.Str(maxText)
		default:
			err = r.Skip()
		}
		return err
	})
	switch kind {
	case "DESCRIBES":
		r.edges = append(r.edges, edge{"", b})
	case "DESCRIBED_BY":
		r.edges = append(r.edges, edge{"", a})
	case "CONTAINS", "DEPENDS_ON":
		r.edges = append(r.edges, edge{a, b})
	case "CONTAINED_BY", "DEPENDENCY_OF", "PACKAGE_OF":
		r.edges = append(r.edges, edge{b, a})
	}
	return err
}

// fill works out of which components the bill names the contents, and which one
// it is of.
func (r *reader) fill() {
	at, more, subjects := map[string]int{}, 0, 0
	for i, c := range r.list {
		if c.ref != "" {
			at[c.ref] = i
		}
	}
	for _, e := range r.edges {
		to, ok := at[e.to]
		if !ok {
			continue
		}
		if from, known := at[e.from]; known && from != to && !r.list[to].part() {
			r.list[from].holds = true
		} else if e.from == "" {
			r.list[to].subject = true
		}
	}
	for _, c := range r.list {
		if c.subject {
			subjects++
		}
		if !c.subject && !c.part() && c.kind != "operating-system" {
			more++
		}
	}
	for i := range r.list {
		c := &r.list[i]
		c.holds = c.holds || c.subject && subjects == 1 && more > 0 // of several each must say what it holds
	}
}

// part reports whether a component is only a part of what others name.
func (c component) part() bool { return c.purl == "" && passive(c.kind) }

func (r *reader) component() error {
	c, inside := component{}, len(r.list)
	var purls []string
	err := r.Object(func(key string) (err error) {
		switch key {
		case "type", "primaryPackagePurpose": // of SPDX, "OPERATING-SYSTEM"
			c.kind, err = r.Str(maxText)
			c.kind = strings.ToLower(c.kind)
		case "bom-ref", "SPDXID":
			c.ref, err = r.Str(maxText)
		case "group":
			c.group, err = r.Str(maxText)
		case "name":
			c.name, err = r.Str(maxText)
		case "version", "versionInfo":
			c.version, err = r.Str(maxText)
		case "purl":
			c.purl, err = r.Str(maxPurl)
		case "components":
			err = r.Array(maxComponents, r.component)
		default:
			err = r.beside(key, &c, &purls)
		}
		return err
	})
	if err == nil && len(r.list)+max(1, len(purls)) > r.most {
		err = r.Fail("more than %d components", r.most)
	}
	c.holds = slices.ContainsFunc(r.list[inside:], func(o component) bool { return !o.part() })
	for _, p := range purls { // an element of SPDX may have several
		c.purl = p
		r.list = append(r.list, c)
	}
	if len(purls) == 0 {
		r.list = append(r.list, c)
	}
	return err
}

// beside reads what stands beside a component's name.
func (r *reader) beside(key string, c *component, purls *[]string) error {
	switch key {
	case "properties": // of CycloneDX
		props := map[string]string{}
		err := r.Array(maxComponents, func() error {
			k, v, err := r.pair("name", "value")
			props[k] = v
			return err
		})
		c.trivy(props)
		return err
	case "annotations": // of SPDX; in CycloneDX there are none inside a component
		return r.Array(maxComponents, func() error {
			_, v, err := r.pair("annotationDate", "comment")
			c.grouping = c.grouping || v == "Class: lang-pkgs"
			return err
		})
	case "sourceInfo": // "built package from: openssl 3.0.9-1", by Trivy
		text, err := r.Str(maxText)
		if rest, ok := strings.CutPrefix(text, "built package from: "); ok {
			c.source, c.sourceVersion, _ = strings.Cut(rest, " ")
		}
		return err
	case "externalRefs":
		return r.Array(maxComponents, func() error {
			kind, where, err := r.pair("referenceType", "referenceLocator")
			if kind == "purl" && !slices.Contains(*purls, where) {
				*purls = append(*purls, where)
			}
			return err
		})
	}
	return r.Skip()
}

// trivy takes what Trivy writes as properties.
func (c *component) trivy(props map[string]string) {
	const trivy = "aquasecurity:trivy:"
	c.grouping = props[trivy+"Class"] == "lang-pkgs"
	v := props[trivy+"SrcVersion"]
	if r := props[trivy+"SrcRelease"]; v != "" && r != "" {
		v += "-" + r
	}
	if e := props[trivy+"SrcEpoch"]; v != "" && e != "" && e != "0" {
		v = e + ":" + v
	}
	c.source, c.sourceVersion = props[trivy+"SrcName"], v
}

// pair reads two texts of an object.
func (r *reader) pair(first, second string) (a, b string, err error) {
	err = r.Object(func(key string) (err error) {
		switch {
		case key == first && r.Peek() == '"':
			a, err = r.Str(maxText)
		case key == second && r.Peek() == '"':
			b, err = r.Str(maxText)
		default:
			err = r.Skip()
		}
		return err
	})
	return a, b, err
}
