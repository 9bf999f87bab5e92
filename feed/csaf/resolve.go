package csaf

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/version"
)

// pack is a package of a product.
type pack struct {
	ecosystem, name, module, version string // version without a zero epoch, "" when none is named
}

// resolve follows a product id's relationships. False means that it is no rpm
// package of a Red Hat product, or a whole product.
func (d *document) resolve(id string) (p pack, ok bool, err error) {
	top := id
	for range maxChain {
		r, isRelation := d.relations[id]
		what := id
		if isRelation {
			what = r.what
		}
		leaf, known := d.products[what]
		if !known {
			return p, false, fmt.Errorf("the product %+q is not in the product tree", what)
		}
		if err := p.learn(leaf); err != nil {
			return p, false, err
		}
		if !isRelation {
			return p, p.ecosystem != "" && p.name != "", nil
		}
		id = r.to
	}
	return p, false, fmt.Errorf("the product %+q has more than %d relationships in a row", top, maxChain)
}

// learn takes what a product's helpers tell: a package, a module, a product.
func (p *pack) learn(leaf product) error {
	if vendor, rest, ok := strings.Cut(strings.TrimLeft(strings.TrimPrefix(leaf.cpe, "cpe:/"), "aoh"), ":redhat:"); ok && vendor == "" {
		p.ecosystem = "Red Hat:" + rest
	}
	kind, rest, _ := strings.Cut(leaf.purl, "/")
	rest, query, _ := strings.Cut(rest, "?")
	path, ver, _ := strings.Cut(rest, "@")
	name := path[strings.LastIndexByte(path, '/')+1:]
	q, err := url.ParseQuery(query)
	name, err2 := unescape(name, err)
	ver, err3 := unescape(ver, err2)
	if leaf.purl == "" {
		return nil
	}
	if err3 != nil || name == "" || len(name) > advisory.MaxWord/4 {
		return fmt.Errorf("the purl %+q cannot be read", leaf.purl)
	}
	switch kind {
	case "pkg:rpm":
		p.name, p.version = name, ver
		if e := q.Get("epoch"); e != "" && e != "0" && ver != "" {
			p.version = e + ":" + ver
		}
		if m := q.Get("rpmmod"); m != "" {
			p.module = stream(m)
		}
		if p.version != "" && version.Valid(version.RPM, p.version) != nil {
			return fmt.Errorf("%+q of the purl %+q is no rpm version", p.version, leaf.purl)
		}
	case "pkg:rpmmod":
		p.module = stream(name + ":" + ver)
	}
	if !strictjson.Printable(p.name + p.module + "x") {
		return fmt.Errorf("the purl %+q has characters outside printable ASCII", leaf.purl)
	}
	return nil
}

func unescape(s string, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return url.PathUnescape(s)
}

// stream cuts a module's name and stream out of "nodejs:18:8060020230:ad008a3a".
// What has no stream ("rhel10", of flatpaks) stays as it is: it is no package of
// the product without modules.
func stream(module string) string {
	f := strings.SplitN(module, ":", 3)
	return strings.Join(f[:min(2, len(f))], ":")
}

// kinds are the kinds of statement in product_status that are read, in order.
// The others speak of versions in ways that Red Hat does not use.
var kinds = []string{"fixed", "known_affected", "known_not_affected", "under_investigation"}

func (d *document) advisory(v vulnerability, raw canon.Digest) (advisory.Advisory, error) {
	a := advisory.Advisory{ID: d.id, Aliases: []string{v.cve}, Upstream: []string{}, Related: []string{}, Source: Source,
		Basis: advisory.BasisRecord, Published: d.published, Modified: d.modified, Summary: d.title,
		Affected: []advisory.Affected{}, Severities: append([]advisory.Severity{}, v.vectors...), Raw: raw}
	a.ID = "redhat-csaf/" + d.id + "/" + v.cve
	for kind := range v.status {
		if !slices.Contains(kinds, kind) && kind != "recommended" {
			return a, fmt.Errorf("%s: the product status %+q is not known", v.cve, kind)
		}
	}
	at := map[string]int{} // where in a.Affected
	for _, kind := range kinds {
		for _, id := range v.status[kind] {
			p, ok, err := d.resolve(id)
			if err != nil {
				return a, fmt.Errorf("%s: %w", v.cve, err)
			}
			if !ok {
				continue
			}
			part, why := v.part(kind, id, p)
			if why != "" {
				return a, fmt.Errorf("%s: product %+q: %s", v.cve, id, why)
			}
			key := strings.Join([]string{p.ecosystem, p.name, p.module, string(part.Status), part.Word}, "\x00")
			i, seen := at[key]
			if !seen {
				at[key] = len(a.Affected)
				a.Affected = append(a.Affected, part)
				continue
			}
			for _, r := range part.Ranges {
				if !slices.Contains(a.Affected[i].Ranges, r) {
					a.Affected[i].Ranges = append(a.Affected[i].Ranges, r)
				}
			}
		}
	}
	return a, nil
}

// part is one statement about one package.
func (v vulnerability) part(kind, id string, p pack) (f advisory.Affected, why string) {
	f = advisory.Affected{Ecosystem: p.ecosystem, Package: p.name, Module: p.module, Ranges: []advisory.Range{}, Versions: []string{}, Severities: []advisory.Severity{}}
	if impact := v.impact[id]; impact != "" {
		f.Severities = append(f.Severities, advisory.Severity{Source: Source, Type: "impact", Score: impact})
	}
	switch kind {
	case "fixed":
		if p.version == "" {
			return f, "it is fixed, but no version is named"
		}
		f.Ranges = append(f.Ranges, advisory.Range{Type: "ECOSYSTEM", Introduced: advisory.Beginning, Fixed: p.version})
	case "known_affected":
		f.Ranges = append(f.Ranges, advisory.Range{Type: "ECOSYSTEM", Introduced: advisory.Beginning})
		f.Status, f.Word = v.fixes[id].intent()
		f.Note = advisory.SummaryOf(v.fixes[id].details)
	case "known_not_affected":
		f.Status, f.Word = advisory.NotAffected, v.flags[id]
	case "under_investigation":
		f.Status, f.Word = advisory.UnderInvestigation, kind
	}
	return f, ""
}

// intent is what Red Hat means to do, by the remediation's category and its
// own few words for it.
func (x fix) intent() (advisory.Status, string) {
	switch {
	case x.category == "no_fix_planned" && x.details == "Out of support scope":
		return advisory.EndOfLife, x.category
	case x.category == "no_fix_planned":
		return advisory.WontFix, x.category
	case x.category == "none_available" && x.details == "Fix deferred":
		return advisory.Postponed, x.category
	}
	return advisory.Unfixed, x.category
}
