package sbom

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

// purl is a package URL (purl-spec): pkg:type/namespace/name@version?qualifiers#subpath.
type purl struct {
	kind, namespace, name, version string
	qualifiers                     map[string]string
}

var errPurl = errors.New("this is no package URL")

func parsePurl(s string) (purl, error) {
	rest, ok := strings.CutPrefix(s, "pkg:")
	if !ok {
		return purl{}, errPurl
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	kind, path, ok := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	if !ok {
		return purl{}, errPurl
	}
	p := purl{kind: strings.ToLower(kind), qualifiers: map[string]string{}}
	if i := strings.LastIndexByte(path, '@'); i > 0 { // a name's own @ is %40
		path, p.version = path[:i], path[i+1:]
	}
	path = strings.Trim(path, "/")
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		p.namespace, path = path[:i], path[i+1:]
	}
	p.name = path
	for _, part := range []*string{&p.namespace, &p.name, &p.version} {
		v, err := url.PathUnescape(*part)
		if err != nil || !utf8.ValidString(v) {
			return purl{}, errPurl
		}
		*part = v
	}
	for _, q := range strings.Split(query, "&") {
		k, v, _ := strings.Cut(q, "=")
		v, err := url.PathUnescape(v) // a plus stands for itself
		if err != nil || !utf8.ValidString(v) {
			return purl{}, errPurl
		}
		p.qualifiers[strings.ToLower(k)] = v
	}
	if p.kind == "" || p.name == "" {
		return purl{}, errPurl
	}
	if p.kind == "deb" || p.kind == "rpm" || p.kind == "apk" {
		p.namespace = strings.ToLower(p.namespace)
	}
	return p, nil
}
