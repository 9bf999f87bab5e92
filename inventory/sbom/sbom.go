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
// that is not matched, of a second distribution, with a name that no package can
// have or a purl that contradicts itself or the bill's system, a container of which
// nothing is named, Windows (which is no goal). Files, data and keys without a purl
// leave no question open, nor does the subject of the bill when its contents are
// named: a bill of files alone is answered, an empty one is unknown.
//
// It believes the document: what the tool did not see is not there, and a package
// of another registry (repository_url) is taken for the public one of its name. It
// checks no signature and no hash.
package sbom

import (
	"bytes"
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
	maxEdges      = 2_000_000 // references between components, all together
	maxPurls      = 100       // of one component; tools write one or two
	maxText       = 1 << 20
	maxPurl       = 4 << 10
)

// bounds are those that a test lowers.
type bounds struct{ bytes, components, edges int }

// Library is a component of a language ecosystem.
type Library struct {
	Ecosystem string // as OSV spells it: "Go", "PyPI", "npm", "crates.io"
	Name      string
	Other     string // of npm: in the other capitals that the bill has too; ""
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
	holds                                 bool   // real contents are inside it or what it depends on
	element, parent                       int32  // its number in the document, and that of the one around it, or outermost
}

// outermost is the parent of a component that is in no other.
const outermost = -1

// Parse reads one document. The error says why it is none, with the byte; what
// is odd inside it is a gap of the inventory.
func Parse(raw []byte) (Document, error) {
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")) // some tools write one; RFC 8259, section 8.1, lets a reader ignore it
	return parse(raw, bounds{MaxFile, maxComponents, maxEdges})
}

func parse(raw []byte, most bounds) (Document, error) {
	if len(raw) > most.bytes {
		return Document{}, fmt.Errorf("the document has %d bytes, the limit is %d", len(raw), most.bytes)
	}
	r := reader{Doc: strictjson.Of(raw), most: most, inside: outermost}
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
	most            bounds
	list            []component
	elements        int32 // begun
	inside          int32 // the one that is being read
	edges           []edge
	referred        int // references, also those that are no edge
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
	element := r.elements
	err := r.component()
	for i := range r.list {
		r.list[i].subject = r.list[i].subject || r.list[i].element == element
	}
	return err
}

// refs reads references to what from holds.
func (r *reader) refs(from string) error {
	return r.Array(maxFiles, func() error {
		to, err := r.Str(maxText)
		if err != nil {
			return err
		}
		return r.refer(from, to)
	})
}

// refer keeps a reference that can lead somewhere, and counts every one.
func (r *reader) refer(from, to string) error {
	if r.referred++; r.referred > r.most.edges {
		return r.Fail("more than %d references between components", r.most.edges)
	}
	if to != "" && to != from {
		r.edges = append(r.edges, edge{from, to})
	}
	return nil
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
	if err != nil || a == "" || b == "" { // a word that is missing is not "the bill is of it"
		return err
	}
	switch kind {
	case "DESCRIBES":
		return r.refer("", b)
	case "DESCRIBED_BY":
		return r.refer("", a)
	case "CONTAINS", "DEPENDS_ON":
		return r.refer(a, b)
	case "CONTAINED_BY", "DEPENDENCY_OF", "PACKAGE_OF":
		return r.refer(b, a)
	}
	return nil
}

func (r *reader) component() error {
	c := component{element: r.elements, parent: r.inside}
	r.elements, r.inside = r.elements+1, c.element
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
	r.inside = c.parent
	if len(purls) > 0 && c.purl != "" && !slices.Contains(purls, c.purl) {
		purls = append(purls, c.purl)
	}
	if err == nil && len(r.list)+max(1, len(purls)) > r.most.components {
		err = r.Fail("more than %d components", r.most.components)
	}
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
			if err != nil || kind != "purl" || slices.Contains(*purls, where) {
				return err
			}
			if len(*purls) == maxPurls {
				return r.Fail("more than %d purls of one component", maxPurls)
			}
			*purls = append(*purls, where)
			return nil
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
