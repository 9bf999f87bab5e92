package sbom

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// flat writes a purl's parts one after the other.
func flat(p Purl) string {
	out := fmt.Sprintf("%s|%s|%s|%s|%s|", p.Type, p.Namespace, p.Name, p.Version, p.Subpath)
	for _, k := range slices.Sorted(maps.Keys(p.Qualifier)) {
		out += k + "=" + p.Qualifier[k] + ";"
	}
	return out
}

// The rules of the specification ("Rules for each purl component", "How to parse",
// and the definitions of the types that are matched), one case each: parts, and
// the canonical form.
func TestPurl(t *testing.T) {
	for _, c := range []struct{ rule, in, parts, canonical string }{
		{"only type and name are wanted", "pkg:cargo/rand", "cargo||rand|||", "pkg:cargo/rand"},
		{"the scheme and type in any case", "PKG:Cargo/rand@0.7.2", "cargo||rand|0.7.2||", "pkg:cargo/rand@0.7.2"},
		{"slashes behind the scheme are dropped", "pkg://cargo/rand@0.7.2", "cargo||rand|0.7.2||", "pkg:cargo/rand@0.7.2"},
		{"slashes around names are dropped", "pkg:golang//github.com//gorilla/context/@v1", "golang|github.com/gorilla|context|v1||", "pkg:golang/github.com/gorilla/context@v1"},
		{"an empty version is none", "pkg:npm/foobar@", "npm||foobar|||", "pkg:npm/foobar"},
		{"all parts are percent-encoded", "pkg:generic/%61/b%20c@1%2B2?k=%26#d%20e", "generic|a|b c|1+2|d e|k=&;", "pkg:generic/a/b%20c@1%2B2?k=%26#d%20e"},
		{"a colon is never encoded", "pkg:deb/debian/attr@1%3A2.4.47-2?arch=source", "deb|debian|attr|1:2.4.47-2||arch=source;", "pkg:deb/debian/attr@1:2.4.47-2?arch=source"},
		{"a plus is no space", "pkg:deb/debian/attr@2+b1?x=a+b", "deb|debian|attr|2+b1||x=a+b;", "pkg:deb/debian/attr@2%2Bb1?x=a%2Bb"},
		{"the last @ begins the version", "pkg:generic/a@b@1", "generic||a@b|1||", "pkg:generic/a%40b@1"},
		{"a version may have slashes", "pkg:golang/example.com/m@feature/x", "golang|example.com|m|feature/x||", "pkg:golang/example.com/m@feature%2Fx"},
		{"qualifiers: keys in lower case, sorted", "pkg:rpm/fedora/curl@7-1?Distro=fedora-25&arch=i386", "rpm|fedora|curl|7-1||arch=i386;distro=fedora-25;", "pkg:rpm/fedora/curl@7-1?arch=i386&distro=fedora-25"},
		{"qualifiers: empty values are none", "pkg:rpm/fedora/curl@7-1?epoch=&arch&&distro=x", "rpm|fedora|curl|7-1||distro=x;", "pkg:rpm/fedora/curl@7-1?distro=x"},
		{"qualifiers: the first = ends the key", "pkg:npm/a@1?vcs_url=git://h/p%3Fx=y", "npm||a|1||vcs_url=git://h/p?x=y;", "pkg:npm/a@1?vcs_url=git:%2F%2Fh%2Fp%3Fx%3Dy"},
		{"subpath: empty segments, . and .. are dropped", "pkg:golang/google.golang.org/genproto#/googleapis/./api//../annotations/", "golang|google.golang.org|genproto||googleapis/api/annotations|", "pkg:golang/google.golang.org/genproto#googleapis/api/annotations"},
		{"deb: namespace and name in lower case", "pkg:deb/Debian/Curl@7", "deb|debian|curl|7||", "pkg:deb/debian/curl@7"},
		{"apk: namespace and name in lower case", "pkg:apk/Alpine/Curl@7", "apk|alpine|curl|7||", "pkg:apk/alpine/curl@7"},
		{"rpm: namespace in lower case, the name as it is", "pkg:rpm/Fedora/NetworkManager@1-1", "rpm|fedora|NetworkManager|1-1||", "pkg:rpm/fedora/NetworkManager@1-1"},
		{"pypi: PEP 503", "pkg:pypi/Zope.-_Interface__x@1.0", "pypi||zope-interface-x|1.0||", "pkg:pypi/zope-interface-x@1.0"},
		{"npm: the scope is encoded", "pkg:npm/%40angular/animation@12.3.1", "npm|@angular|animation|12.3.1||", "pkg:npm/%40angular/animation@12.3.1"},
		{"npm: or is not", "pkg:npm/@angular/animation@12.3.1", "npm|@angular|animation|12.3.1||", "pkg:npm/%40angular/animation@12.3.1"},
		{"npm: or is not, and there is no version", "pkg:npm/@angular/animation", "npm|@angular|animation|||", "pkg:npm/%40angular/animation"},
		{"npm: scope and name as one segment", "pkg:npm/%40angular%2Fanimation@1", "npm||@angular/animation|1||", "pkg:npm/%40angular%2Fanimation@1"},
		{"golang: a path as one segment of the namespace", "pkg:golang/github.com%2Fgorilla/context@v1", "golang|github.com/gorilla|context|v1||", "pkg:golang/github.com/gorilla/context@v1"},
		{"cargo: the name is case sensitive", "pkg:cargo/Inflector@0.11.4", "cargo||Inflector|0.11.4||", "pkg:cargo/Inflector@0.11.4"},
	} {
		p, err := ParsePurl(c.in)
		if got := flat(p); err != nil || got != c.parts || p.String() != c.canonical {
			t.Errorf("%s: %s\n got %s %s %v\nwant %s %s", c.rule, c.in, got, p, err, c.parts, c.canonical)
		}
	}
	for rule, in := range map[string]string{
		"no scheme": "cargo/rand", "another scheme": "http://cargo/rand", "no name": "pkg:cargo", "an empty name": "pkg:cargo/", "only a version": "pkg:cargo//@1",
		"a type with a space": "pkg:n pm/a", "a type that is encoded": "pkg:n%70m/a", "a type that begins with a digit": "pkg:3d/a", "an endless type": "pkg:" + strings.Repeat("a", 65) + "/a",
		"no type": "pkg:/a", "half an escape": "pkg:npm/a%2", "no UTF-8": "pkg:npm/a%ff", "no UTF-8, raw": "pkg:npm/a\xff", "half an escape in the version": "pkg:npm/a@%",
		"half an escape in a qualifier": "pkg:npm/a?b=%", "half an escape in the subpath": "pkg:npm/a#%", "a slash in a segment of the subpath": "pkg:npm/a#b%2Fc",
		"a key twice": "pkg:rpm/a/b@1?epoch=1&Epoch=2", "a key with a space": "pkg:npm/a?b c=d", "a key that is encoded": "pkg:npm/a?%62=d", "no key": "pkg:npm/a?=d",
		"two question marks": "pkg:npm/a?b=c?d", "two number signs": "pkg:npm/a#b#c",
	} {
		if p, err := ParsePurl(in); err == nil {
			t.Errorf("%s: %s is read as %s", rule, in, flat(p))
		}
	}
}

// Whatever the parts are, what is written is read as the same, but for the normal
// form of its type.
func TestPurlRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9@:%+/?#&=. _~-]{0,8}`), rapid.String())
		segments := func(label string) string {
			return strings.Join(rapid.SliceOfN(rapid.StringMatching(`[a-zA-Z@:%+?#&= _~-]{1,4}`), 0, 3).Draw(t, label), "/")
		}
		p := Purl{Type: rapid.SampledFrom([]string{"deb", "rpm", "apk", "golang", "npm", "pypi", "cargo", "generic"}).Draw(t, "type"),
			Namespace: segments("namespace"), Name: text.Filter(func(s string) bool { return s != "" }).Draw(t, "name"), Version: text.Draw(t, "version"),
			Qualifier: rapid.MapOfN(rapid.StringMatching(`[a-z][a-z0-9._-]{0,6}`), text.Filter(func(s string) bool { return s != "" }), 0, 3).Draw(t, "qualifiers"),
			Subpath:   segments("subpath")}
		want := p
		want.normalise()
		got, err := ParsePurl(p.String())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %v\n got %s\nwant %s", p, err, flat(got), flat(want))
		}
		if again, err := ParsePurl(got.String()); err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("not canonical: %s, then %s: %v", got, again, err)
		}
	})
}

// Whatever the text is: no panic, and what can be read has one canonical form.
func FuzzPurl(f *testing.F) {
	for _, s := range []string{"pkg:npm/%40a/b@1?c=d&e=f#g/h", "pkg:deb/debian/a@1:2-3%2Bb1?arch=amd64&distro=debian-12&upstream=b%402", "pkg:golang/github.com%2F!a/b@v1", "PKG://pypi/A_.b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePurl(s)
		if err != nil {
			return
		}
		again, err := ParsePurl(p.String())
		if err != nil || !reflect.DeepEqual(p, again) || again.String() != p.String() {
			t.Fatalf("%q: %s, then %s %s: %v", s, flat(p), p, flat(again), err)
		}
	})
}
