package sbom

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/patchwrit/patchwrit/advisory"
)

// Purl is a package URL (ECMA-427, "PURL Specification"):
// pkg:type/namespace/name@version?qualifiers#subpath. Its parts are decoded and in
// the form that the type's definition wants, except that names of Go and npm keep
// their capitals: records tell them apart, and npm's registry does.
type Purl struct {
	Type      string
	Namespace string // segments by slashes; "" when there is none
	Name      string
	Version   string            // "" when there is none
	Qualifier map[string]string // without empty values
	Subpath   string
}

var errPurl = errors.New("this is no package URL, or one that can be read in two ways")

// ParsePurl reads a package URL. What the specification wants encoded must be: a
// second "?" or "#", and a key that stands twice, are an error, because tools
// read them differently.
func ParsePurl(s string) (Purl, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || !strings.EqualFold(scheme, "pkg") || !utf8.ValidString(s) {
		return Purl{}, errPurl
	}
	rest, subpath, _ := strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	kind, path, ok := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	if !ok || !wordOf(kind, ".-") || strings.Contains(subpath, "#") || strings.Contains(query, "?") {
		return Purl{}, errPurl
	}
	p := Purl{Type: strings.ToLower(kind), Qualifier: map[string]string{}}
	path = strings.TrimLeft(path, "/")
	if i := strings.LastIndexByte(path, '@'); i > 0 || i == 0 && !strings.Contains(path, "/") { // else it is npm's scope, not encoded
		path, p.Version = path[:i], path[i+1:]
	}
	path = strings.TrimRight(path, "/")
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		p.Namespace, path = path[:i], path[i+1:]
	}
	p.Name = path
	for _, part := range []*string{&p.Namespace, &p.Name, &p.Version} {
		if *part, ok = decoded(*part); !ok {
			return Purl{}, errPurl
		}
	}
	p.Namespace = strings.Join(strings.FieldsFunc(p.Namespace, isSlash), "/")
	if p.Subpath, ok = segments(subpath); !ok || !p.qualify(query) || p.Name == "" {
		return Purl{}, errPurl
	}
	p.normalise()
	return p, nil
}

func isSlash(r rune) bool { return r == '/' }

// decoded undoes percent-encoding; a plus stands for itself.
func decoded(s string) (string, bool) {
	v, err := url.PathUnescape(s)
	return v, err == nil && utf8.ValidString(v)
}

// wordOf reports whether s begins with a letter and goes on with letters, digits
// and more.
func wordOf(s, more string) bool {
	for i, c := range []byte(s) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') && (i == 0 || strings.IndexByte(more, c) < 0) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// segments reads a subpath: what is empty, "." or ".." is left out.
func segments(s string) (string, bool) {
	var out []string
	for _, part := range strings.Split(s, "/") {
		v, ok := decoded(part)
		if !ok || strings.Contains(v, "/") {
			return "", false
		}
		if v != "" && v != "." && v != ".." {
			out = append(out, v)
		}
	}
	return strings.Join(out, "/"), true
}

// qualify reads key=value pairs.
func (p *Purl) qualify(query string) bool {
	for _, q := range strings.Split(query, "&") {
		if q == "" {
			continue
		}
		k, v, _ := strings.Cut(q, "=")
		v, ok := decoded(v)
		if k = strings.ToLower(k); !ok || !wordOf(k, ".-_") {
			return false
		}
		if v == "" {
			continue
		}
		if _, twice := p.Qualifier[k]; twice {
			return false
		}
		p.Qualifier[k] = v
	}
	return true
}

// normalise applies the definitions of the types that are matched.
func (p *Purl) normalise() {
	switch p.Type {
	case "deb", "apk":
		p.Namespace, p.Name = strings.ToLower(p.Namespace), strings.ToLower(p.Name)
	case "rpm":
		p.Namespace = strings.ToLower(p.Namespace)
	case "pypi":
		p.Name = advisory.PyPIName(p.Name)
	}
}

// String writes the canonical form. Parsing it gives the same Purl.
func (p Purl) String() string {
	var b strings.Builder
	b.WriteString("pkg:" + p.Type + "/")
	for _, s := range strings.FieldsFunc(p.Namespace, isSlash) {
		b.WriteString(encoded(s) + "/")
	}
	b.WriteString(encoded(p.Name))
	if p.Version != "" {
		b.WriteString("@" + encoded(p.Version))
	}
	sep := "?"
	for _, k := range slices.Sorted(maps.Keys(p.Qualifier)) {
		if v := p.Qualifier[k]; v != "" {
			b.WriteString(sep + k + "=" + encoded(v))
			sep = "&"
		}
	}
	sep = "#"
	for _, s := range strings.FieldsFunc(p.Subpath, isSlash) {
		b.WriteString(sep + encoded(s))
		sep = "/"
	}
	return b.String()
}

// encoded leaves what the specification's "Character encoding" leaves: letters,
// digits, ".-_~" and the colon.
func encoded(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(s) {
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= ':' || strings.IndexByte(".-_~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}
