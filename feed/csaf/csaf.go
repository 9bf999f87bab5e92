// Package csaf reads Red Hat's CSAF 2.0 documents (OASIS CSAF 2.0, profiles 4.5
// VEX and 4.4 security advisory): what Red Hat says about each vulnerability,
// product and package.
//
// The parties: Red Hat's product security writes one document for each CVE or
// erratum, a provider publishes them, room feed brings the bytes. The objects
// are the product tree with its relationships, and the product status of each
// vulnerability.
//
// The promise: each vulnerability of a document becomes one advisory with one
// part for each product, package, module stream and kind of statement. Products
// are named as OSV names them ("Red Hat:enterprise_linux:9::appstream").
// "Will not fix", "Out of support scope" and "Fix deferred" stay apart. A
// document is taken whole or reported with the byte or the product at fault.
//
// Only rpm packages of Red Hat's products are kept: images, archives and other
// vendors' products are not. A name may be that of a source package (Red Hat
// names those for what is not fixed) or of a binary one. Signatures are not
// verified here.
package csaf

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
)

// What snapshots from here are called, and who says so.
const (
	Name   = "redhat-csaf"
	Kind   = "csaf 2.0"
	Source = "redhat/csaf"
)

// Limits. The largest documents of 2026 have some tens of megabytes and some
// hundred thousand products.
const (
	maxDocument = 64 << 20 // bytes
	maxProducts = 1_000_000
	maxID       = 4 << 10 // bytes of a product's id or purl
	maxVulns    = 10_000
	maxList     = 100_000 // branches, remediations, threats, scores
	maxChain    = 8       // relationships from a package to its product; two are in use
)

// Is reports whether a top-level member is one that only CSAF has.
func Is(key, _ string) bool {
	return key == "document" || key == "product_tree" || key == "vulnerabilities"
}

// Read reads one document. take gets each advisory, without its Feed; gap gets
// the reason when the document cannot be read.
func Read(in io.Reader, take func(advisory.Advisory), gap func(record, why string)) {
	raw, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
	if err == nil && len(raw) > maxDocument {
		err = fmt.Errorf("it has more than %d bytes", maxDocument)
	}
	if err != nil {
		gap("", err.Error())
		return
	}
	d := &document{Doc: strictjson.Of(raw), products: map[string]product{}, relations: map[string]relation{}}
	list, err := d.read(canon.SumFile(raw))
	if err != nil {
		why := err.Error()
		if at := (*strictjson.Syntax)(nil); errors.As(err, &at) {
			why = fmt.Sprintf("byte %d: %s", at.Offset, at.Reason)
		}
		gap(d.id, why)
		return
	}
	for _, a := range list {
		take(a)
	}
}

// document is a document while it is read.
type document struct {
	strictjson.Doc
	id, category, version, publisher string
	title                            canon.Note
	published, modified              int64
	products                         map[string]product
	relations                        map[string]relation
	vulns                            []vulnerability
}

// product is a leaf of the tree: a package has a purl, a product a cpe.
type product struct{ purl, cpe string }

// relation says that a package or module belongs to a module or product.
type relation struct{ what, to string }

// vulnerability is one element of "vulnerabilities".
type vulnerability struct {
	cve     string
	status  map[string][]string // by kind of statement: product ids
	flags   map[string]string   // by product id: why it is not affected
	fixes   map[string]fix      // by product id: what is meant to be done
	impact  map[string]string   // by product id
	vectors []advisory.Severity
}

// fix is a remediation that says something about the future.
type fix struct{ category, details string }

func (d *document) read(raw canon.Digest) ([]advisory.Advisory, error) {
	err := d.Whole(func() error {
		return d.Object(func(key string) error {
			switch key {
			case "document":
				return d.Object(d.head)
			case "product_tree":
				return d.Object(d.tree)
			case "vulnerabilities":
				return d.Array(maxVulns, d.vulnerability)
			}
			return d.Skip()
		})
	})
	switch {
	case err != nil:
		return nil, err
	case d.id == "" || d.version != "2.0":
		return nil, fmt.Errorf("it has no tracking id, or is CSAF %+q and not 2.0", d.version)
	case d.category != "csaf_vex" && d.category != "csaf_security_advisory":
		return nil, fmt.Errorf("the category %+q is neither csaf_vex nor csaf_security_advisory", d.category)
	case d.publisher != "https://www.redhat.com":
		return nil, fmt.Errorf("the publisher %+q is not Red Hat, and no other's products are known here", d.publisher)
	}
	var out []advisory.Advisory
	for _, v := range d.vulns {
		a, err := d.advisory(v, raw)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func (d *document) head(key string) (err error) {
	switch key {
	case "category":
		d.category, err = d.Plain(advisory.MaxWord)
	case "csaf_version":
		d.version, err = d.Plain(advisory.MaxWord)
	case "title":
		var text string
		text, err = d.Str(advisory.MaxText)
		d.title = advisory.SummaryOf(text)
	case "publisher":
		err = d.Object(func(key string) (err error) {
			if key != "namespace" {
				return d.Skip()
			}
			d.publisher, err = d.Plain(advisory.MaxWord)
			return err
		})
	case "tracking":
		err = d.Object(d.tracking)
	default:
		err = d.Skip()
	}
	return err
}

func (d *document) tracking(key string) (err error) {
	switch key {
	case "id":
		d.id, err = d.Plain(advisory.MaxWord / 4)
	case "initial_release_date":
		d.published, err = d.Time(advisory.MaxWord)
	case "current_release_date":
		d.modified, err = d.Time(advisory.MaxWord)
	default:
		err = d.Skip()
	}
	return err
}

func (d *document) tree(key string) error {
	switch key {
	case "branches":
		return d.Array(maxList, d.branch)
	case "full_product_names":
		return d.Array(maxList, func() error { _, err := d.product(); return err })
	case "relationships":
		return d.Array(maxProducts, d.relationship)
	}
	return d.Skip()
}

func (d *document) branch() error {
	return d.Object(func(key string) (err error) {
		switch key {
		case "branches":
			err = d.Array(maxList, d.branch)
		case "product":
			_, err = d.product()
		default:
			err = d.Skip()
		}
		return err
	})
}

// product reads a full_product_name_t and returns its id.
func (d *document) product() (id string, err error) {
	var p product
	err = d.Object(func(key string) (err error) {
		switch key {
		case "product_id":
			id, err = d.Plain(maxID)
		case "product_identification_helper":
			err = d.Object(func(key string) (err error) {
				switch key {
				case "purl":
					p.purl, err = d.Plain(maxID)
				case "cpe":
					p.cpe, err = d.Plain(maxID)
				default:
					err = d.Skip()
				}
				return err
			})
		default:
			err = d.Skip()
		}
		return err
	})
	if old, twice := d.products[id]; err == nil && (id == "" || twice && old != p && p != (product{})) {
		err = d.Fail("the product id %+q is empty or stands for two products", id)
	}
	if err == nil && len(d.products) >= maxProducts {
		err = d.Fail("more than %d products", maxProducts)
	}
	if _, twice := d.products[id]; err == nil && !twice {
		d.products[id] = p
	}
	return id, err
}

func (d *document) relationship() error {
	var r relation
	var id string
	err := d.Object(func(key string) (err error) {
		switch key {
		case "full_product_name":
			id, err = d.product()
		case "product_reference":
			r.what, err = d.Plain(maxID)
		case "relates_to_product_reference":
			r.to, err = d.Plain(maxID)
		default:
			err = d.Skip()
		}
		return err
	})
	if err == nil && (id == "" || r.what == "" || r.to == "") {
		err = d.Fail("a relationship that misses one of its three products")
	}
	if old, twice := d.relations[id]; err == nil && twice && old != r {
		err = d.Fail("the product id %+q stands for two relationships", id)
	}
	d.relations[id] = r
	return err
}

func (d *document) vulnerability() error {
	v := vulnerability{status: map[string][]string{}, flags: map[string]string{}, fixes: map[string]fix{}, impact: map[string]string{}}
	err := d.Object(func(key string) (err error) {
		switch key {
		case "cve":
			v.cve, err = d.Plain(advisory.MaxWord / 4)
		case "product_status":
			err = d.Object(func(kind string) (err error) { v.status[kind], err = d.ids(); return err })
		case "flags":
			err = d.each("label", func(f entry) { put(v.flags, f.ids, f.word) })
		case "remediations":
			err = d.each("category", func(f entry) {
				if f.word == "no_fix_planned" || f.word == "none_available" {
					put(v.fixes, f.ids, fix{f.word, f.details})
				}
			})
		case "threats":
			err = d.each("category", func(f entry) {
				if f.word == "impact" && strictjson.Printable(f.details) && len(f.details) <= advisory.MaxWord {
					put(v.impact, f.ids, f.details)
				}
			})
		case "scores":
			err = d.each("", func(f entry) {
				s := advisory.Severity{Source: Source, Type: "CVSS_V3", Score: f.vector}
				if f.vector != "" && !slices.Contains(v.vectors, s) {
					v.vectors = append(v.vectors, s)
				}
			})
		default:
			err = d.Skip()
		}
		return err
	})
	if err == nil && !strings.HasPrefix(v.cve, "CVE-") {
		err = d.Fail("a vulnerability without a CVE")
	}
	d.vulns = append(d.vulns, v)
	return err
}

func put[V any](m map[string]V, ids []string, v V) {
	for _, id := range ids {
		m[id] = v
	}
}

func (d *document) ids() (out []string, err error) {
	err = d.Array(maxProducts, func() error {
		id, err := d.Plain(maxID)
		out = append(out, id)
		return err
	})
	return out, err
}

// entry is an element of flags, remediations, threats or scores.
type entry struct {
	word, details, vector string
	ids                   []string
}

// each reads a list whose elements carry their kind under the key word.
func (d *document) each(word string, take func(entry)) error {
	return d.Array(maxList, func() error {
		var e entry
		err := d.Object(func(key string) (err error) {
			switch {
			case key == word:
				e.word, err = d.Plain(advisory.MaxWord)
			case key == "details":
				e.details, err = d.Str(advisory.MaxText)
			case key == "product_ids" || key == "products":
				e.ids, err = d.ids()
			case key == "cvss_v3":
				err = d.Object(func(key string) (err error) {
					if key != "vectorString" {
						return d.Skip()
					}
					e.vector, err = d.Plain(advisory.MaxWord)
					return err
				})
			default:
				err = d.Skip()
			}
			return err
		})
		take(e)
		return err
	})
}
