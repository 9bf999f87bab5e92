package sbom

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/inventory"
)

func cdx(components ...string) string {
	return `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"metadata":{"component":{"type":"application","name":"it"}},"components":[` + strings.Join(components, ",") + `]}`
}

func lib(purl string) string { return fmt.Sprintf(`{"type":"library","name":"x","purl":%q}`, purl) }

func spdx(purl string) string {
	return fmt.Sprintf(`{"spdxVersion":"SPDX-2.3","relationships":[{"spdxElementId":"SPDXRef-DOCUMENT","relationshipType":"DESCRIBES","relatedSpdxElement":"it"}],"packages":[{"SPDXID":"it","name":"x","primaryPackagePurpose":"CONTAINER"},{"name":"y","versionInfo":"1","externalRefs":[{"referenceCategory":"SECURITY","referenceType":"cpe23Type","referenceLocator":"cpe"},{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":%q}]}]}`, purl)
}

func read(t *testing.T, text string) Document {
	t.Helper()
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	sums(t, d)
	return d
}

func TestPackagesOfADistribution(t *testing.T) {
	for in, want := range map[string]string{
		"pkg:deb/debian/libssl3@3.0.9-1?arch=amd64&distro=debian-12&upstream=openssl":                                                "debian 12: libssl3 amd64 3.0.9-1 openssl 3.0.9-1",
		"pkg:deb/debian/vim@2%3A9.0-1%2Bb1?distro=debian-12.5":                                                                       "debian 12.5: vim  2:9.0-1+b1 vim 2:9.0-1",
		"pkg:deb/debian/perl-base@5.36.0-7?distro=debian-12&epoch=1&upstream=perl%405.36.0-6":                                        "debian 12: perl-base  1:5.36.0-7 perl 5.36.0-6",
		"pkg:rpm/almalinux/openssl-libs@3.0.7-27.el9?arch=x86_64&epoch=1&upstream=openssl-3.0.7-27.el9.src.rpm&distro=almalinux-9.4": "almalinux 9.4: openssl-libs x86_64 1:3.0.7-27.el9 openssl 3.0.7-27.el9",
		"pkg:apk/alpine/libssl3@3.3.1-r0?arch=x86_64&upstream=openssl&distro=3.20.1":                                                 "alpine 3.20.1: libssl3 x86_64 3.3.1-r0 openssl 3.3.1-r0",
		"pkg:apk/Alpine/LibSSL3@3.3.1-r0?distro=alpine-3.20.1":                                                                       "alpine 3.20.1: libssl3  3.3.1-r0 libssl3 3.3.1-r0",
		"pkg:deb/debian/curl@7.50.3-1?arch=i386&distro=stretch":                                                                      "debian 9: curl i386 7.50.3-1 curl 7.50.3-1",
		"pkg:deb/ubuntu/curl@7.50.3-1?distro=ubuntu-jammy":                                                                           "ubuntu 22.04: curl  7.50.3-1 curl 7.50.3-1",
		"pkg:deb/debian/libssl3:amd64@3.0.9-1?distro=debian-12&upstream=openssl":                                                     "debian 12: libssl3 amd64 3.0.9-1 openssl 3.0.9-1",
		"pkg:deb/debian/libssl3%3Aamd64@3.0.9-1?distro=debian-12&arch=amd64":                                                         "debian 12: libssl3 amd64 3.0.9-1 libssl3 3.0.9-1",
		"pkg:deb/curl@7.50.3-1?distro=bookworm":                                                                                      "debian 12: curl  7.50.3-1 curl 7.50.3-1",
		"pkg:rpm/almalinux/python3-backports_abc@1-1.el9?distro=almalinux-9.4":                                                       "almalinux 9.4: python3-backports_abc  1-1.el9 python3-backports_abc 1-1.el9",
		"pkg:apk/alpine/.build-deps@20240101.000000?distro=alpine-3.20.1":                                                            "alpine 3.20.1: .build-deps  20240101.000000 .build-deps 20240101.000000",
		"pkg:deb/debian/vim@9.0-1?distro=debian-12&epoch=0":                                                                          "debian 12: vim  9.0-1 vim 9.0-1",
		"pkg:rpm/redhat/vim@8.2-1.el9?epoch=2&distro=redhat-9.4":                                                                     "rhel 9.4: vim  2:8.2-1.el9 vim 2:8.2-1.el9",
		"pkg:rpm/redhat/vim@2:8.2-1.el9?epoch=2&distro=rhel-9.4":                                                                     "rhel 9.4: vim  2:8.2-1.el9 vim 2:8.2-1.el9",
		"pkg:rpm/redhat/vim@0:8.2-1.el9?epoch=0&distro=rhel-9.4":                                                                     "rhel 9.4: vim  8.2-1.el9 vim 8.2-1.el9",
		"pkg:rpm/alma/bash@5.1.8-6.el9?distro=alma-9.4&upstream=odd":                                                                 "almalinux 9.4: bash  5.1.8-6.el9 bash 5.1.8-6.el9",
		"pkg:rpm/almalinux/NetworkManager@1-1.el9?distro=almalinux-9.4":                                                              "almalinux 9.4: NetworkManager  1-1.el9 NetworkManager 1-1.el9",
	} {
		for _, text := range []string{cdx(lib(in)), spdx(in)} {
			d := read(t, text)
			if len(d.Inventory.Packages) != 1 || len(d.Inventory.Partial) != 0 {
				t.Errorf("%s: %+v", in, d)
				continue
			}
			p, o := d.Inventory.Packages[0], d.Inventory.OS
			if got := fmt.Sprintf("%s %s: %s %s %s %s %s", o.ID, o.VersionID, p.Name, p.Arch, p.Version, p.Source, p.SourceVersion); got != want {
				t.Errorf("%s\n%s\n%s", in, got, want)
			}
		}
	}
	d := read(t, cdx(`{"type":"operating-system","name":"debian","version":"12"}`, `{"type":"library","name":"libssl3","purl":"pkg:deb/debian/libssl3@1","properties":[{"name":"aquasecurity:trivy:SrcName","value":"openssl"},{"name":"aquasecurity:trivy:SrcVersion","value":"3.0"},{"name":"aquasecurity:trivy:SrcRelease","value":"1"},{"name":"aquasecurity:trivy:SrcEpoch","value":"2"}]}`))
	if p := d.Inventory.Packages; len(p) != 1 || p[0].Source != "openssl" || p[0].SourceVersion != "2:3.0-1" || d.Inventory.OS != (inventory.OS{ID: "debian", VersionID: "12"}) {
		t.Errorf("%+v", d)
	}
}

func TestLibraries(t *testing.T) {
	for in, want := range map[string]string{
		"pkg:golang/golang.org/x/net@v0.17.0":                "Go golang.org/x/net v0.17.0",
		"pkg:golang/github.com/%21masterminds/semver@v1.0.0": "Go github.com/Masterminds/semver v1.0.0",
		"pkg:golang/stdlib@go1.22.1":                         "Go stdlib 1.22.1",
		"pkg:golang/stdlib@1.22rc1":                          "Go stdlib 1.22.0-rc.1",
		"pkg:golang/std@go1.21beta2":                         "Go stdlib 1.21.0-beta.2",
		"pkg:golang/google.golang.org/genproto#googleapis":   "Go google.golang.org/genproto ",
		"pkg:golang/github.com%2Fgorilla%2Fmux@v1.0.0":       "Go github.com/gorilla/mux v1.0.0",
		"pkg:npm/%40babel%2Fcore@7.0.0":                      "npm @babel/core 7.0.0",
		"pkg:npm/@babel/core@7.0.0":                          "npm @babel/core 7.0.0",
		"pkg:pypi/a?repository_url=https://pypi.example":     "PyPI a ",
		"pkg:pypi/Zope.Interface_x@1.0":                      "PyPI zope-interface-x 1.0",
		"pkg:npm/%40babel/core@7.0.0":                        "npm @babel/core 7.0.0",
		"pkg:cargo/time@0.1.0?repository_url=x#sub/p":        "crates.io time 0.1.0",
	} {
		d := read(t, cdx(lib(in), lib(in)))
		if len(d.Libraries) != 1 || len(d.Inventory.Partial) != 0 {
			t.Errorf("%s: %+v", in, d)
		} else if l := d.Libraries[0]; l.Ecosystem+" "+l.Name+" "+l.Version != want {
			t.Errorf("%s: %+v", in, l)
		}
	}
}

// Names of Go and npm have capitals that a purl in lower case has lost.
func TestNamesKeepTheirCapitals(t *testing.T) {
	for _, c := range []struct{ group, name, purl, want string }{
		{"", "github.com/Masterminds/semver", "pkg:golang/github.com/masterminds/semver@v1.0.0", "github.com/Masterminds/semver"},
		{"github.com/Masterminds", "semver", "pkg:golang/github.com/masterminds/semver@v1.0.0", "github.com/Masterminds/semver"},
		{"", "semver", "pkg:golang/github.com/masterminds/semver@v1.0.0", "github.com/masterminds/semver"},
		{"", "github.com/labstack/echo/v4", "pkg:golang/github.com/labstack/echo@v4.1.16#v4", "github.com/labstack/echo/v4"},
		{"", "", "pkg:golang/github.com/labstack/echo@v4.1.16#v4", "github.com/labstack/echo/v4"},
		{"", "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp", "pkg:golang/go.opentelemetry.io/contrib/instrumentation@v0.30.0#net/http/otelhttp", "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"},
		{"", "github.com/Masterminds/semver/v3", "pkg:golang/github.com/masterminds/semver@v3.0.0#v3", "github.com/Masterminds/semver/v3"},
		{"", "genproto", "pkg:golang/google.golang.org/genproto@v1.0.0#googleapis/v1", "google.golang.org/genproto"},
		{"", "evil.example/x", "pkg:golang/github.com/masterminds/semver@v1.0.0", "github.com/masterminds/semver"},
		{"", "github.com/Masterminds/semver", "pkg:golang/github.com/%21masterminds/semver@v1.0.0", "github.com/Masterminds/semver"},
		{"", "JSONStream", "pkg:npm/jsonstream@1.3.5", "JSONStream or jsonstream"},
		{"", "jsonstream", "pkg:npm/JSONStream@1.3.5", "JSONStream or jsonstream"},
		{"", "JSONSTREAM", "pkg:npm/JSONStream@1.3.5", "JSONStream or JSONSTREAM"},
		{"", "JSONStream", "pkg:npm/JSONStream@1.3.5", "JSONStream"},
		{"", "jsonstream", "pkg:npm/jsonstream@1.3.5", "jsonstream"},
		{"", "x", "pkg:npm/JSONStream@1.3.5", "JSONStream"},
		{"@Acme", "Kit", "pkg:npm/%40acme/kit@1.0.0", "@Acme/Kit or @acme/kit"},
		{"", "\u212ait", "pkg:npm/kit@1.0.0", "kit"}, // the Kelvin sign folds to k
		{"", "Rand", "pkg:cargo/rand@1.0.0", "rand"},
	} {
		d := read(t, cdx(fmt.Sprintf(`{"type":"library","group":%q,"name":%q,"purl":%q}`, c.group, c.name, c.purl)))
		if len(d.Libraries) != 1 || strings.TrimSuffix(d.Libraries[0].Name+" or "+d.Libraries[0].Other, " or ") != c.want {
			t.Errorf("%+v: %+v", c, d.Libraries)
		}
	}
}

func TestNothingIsDroppedInSilence(t *testing.T) {
	good := lib("pkg:deb/debian/a@1?distro=debian-12")
	if d := read(t, cdx(good)); len(d.Inventory.Partial) != 0 {
		t.Fatalf("the positive control: %+v", d)
	}
	for in, want := range map[string]string{
		`{"type":"operating-system","name":"Microsoft Windows Server","version":"10"}`: "to Windows, which Patchwrit does not scan on purpose",
		lib("pkg:generic/windows-kb5034@1"):                                            "to Windows",
		lib("pkg:nuget/Newtonsoft.Json@1"):                                             "covers the purl type nuget",
		lib("nonsense"):                                                                "the purl cannot be read",
		lib("pkg:deb/debian/b@%ff?distro=debian-12"):                                   "the purl cannot be read",
		`{"type":"library","name":"x"}`:                                                "without a purl nothing says",
		`{"type":"firmware","name":"x"}`:                                               "firmware",
		lib("pkg:deb/debian/b@1"):                                                      "for which release of the distribution",
		lib("pkg:deb/debian/b@1?distro=debian-12&epoch=x"):                             "can have this name or version",
		lib("pkg:deb/debian/b@1_2?distro=debian-12&upstream=c%401"):                    "can have this name or version",
		lib("pkg:deb/debian/b@1:1?distro=debian-12&epoch=2"):                           "can have this name or version",
		lib("pkg:deb/debian/b@1?distro=debian-12&upstream=c%40%20"):                    "can have this name or version",
		lib("pkg:deb/debian/b@1?distro=debian-12&upstream=%401"):                       "can have this name or version",
		lib("pkg:deb/debian/b@1?distro=debian-12&arch=a%20b"):                          "can have this name or version",
		lib("pkg:deb/debian/b%20c@1?distro=debian-12"):                                 "can have this name or version",
		lib("pkg:npm/b%20c@1"):                                                         "can have this name or version",
		lib("pkg:npm/b@1%202"):                                                         "can have this name or version",
		lib("pkg:deb/debian/b@1?distro=sid"):                                           "for which release of the distribution",
		lib("pkg:deb/debian/b@1?distro=jammy"):                                         "belong to different systems",
		lib("pkg:deb/debian/b@1?distro=debian-12&distro=debian-11"):                    "the purl cannot be read",
		lib("pkg:oci/debian@sha256%3A244fd47e07d10"):                                   "lists nothing inside this container",
		`{"type":"container","name":"x"}`:                                              "lists nothing inside this container",
		`{"type":"container","name":"x","components":[{"type":"file","name":"f"}]}`:    "lists nothing inside this container",
		`{"type":"machine-learning-model","name":"x"}`:                                 "type machine-learning-model: without a purl",
		`{"type":"hovercraft","name":"x"}`:                                             "type other: without a purl",
		`{"name":"x"}`:                                                                 "type package: without a purl",
		lib("pkg:deb/debian/b@1?distro=debian-11"):                                     "to another system than debian 12",
		lib("pkg:deb/debian/b?distro=debian-12"):                                       "1 of type library: no version is given (",
		// a name that no package can have, by the rules of its scheme
		lib("pkg:deb/debian/libssl3:amd64@1?distro=debian-12&arch=arm64"):          "can have this name or version",
		lib("pkg:deb/debian/libssl3:amd64:x@1?distro=debian-12"):                   "can have this name or version",
		lib("pkg:deb/debian/b:@1?distro=debian-12&arch=a%3Ab"):                     "can have this name or version",
		lib("pkg:deb/debian/a%2Fb@1?distro=debian-12"):                             "can have this name or version",
		lib("pkg:deb/debian/b_c@1?distro=debian-12"):                               "can have this name or version",
		lib("pkg:deb/debian/b_c@1?distro=debian-12&upstream=d"):                    "can have this name or version",
		lib("pkg:deb/debian/-b@1?distro=debian-12"):                                "can have this name or version",
		lib("pkg:deb/debian/b@1?distro=debian-12&upstream=OpenSSL"):                "can have this name or version",
		lib("pkg:deb/debian/b@1?distro=debian-12&upstream=a%2Fb"):                  "can have this name or version",
		lib("pkg:deb/debian/b@1?distro=debian-12&arch=a%2Fb"):                      "can have this name or version",
		lib("pkg:deb/debian/b" + strings.Repeat("c", 255) + "@1?distro=debian-12"): "can have this name or version",
		lib("pkg:rpm/almalinux/a%2Fb@1-1?distro=almalinux-9"):                      "another system than debian 12",
		// what the purl says of the system does not fit together, or with the bill's
		lib("pkg:rpm/debian/b@1-1?distro=debian-12"):             "type, namespace and distro of the purl belong to different systems",
		lib("pkg:deb/almalinux/b@1-1?distro=almalinux-9"):        "belong to different systems",
		lib("pkg:apk/ubuntu/b@1-r1?distro=ubuntu-22.04"):         "belong to different systems",
		lib("pkg:deb/ubuntu/b@1?distro=debian-12"):               "belong to different systems",
		lib("pkg:deb/linuxmint/b@1?distro=debian-12"):            "belong to different systems",
		lib("pkg:deb/debian/b@1?distro=linuxmint-21"):            "belong to different systems",
		lib("pkg:deb/b@1?distro=12"):                             "for which release of the distribution",
		`{"type":"operating-system","name":"a/b","version":"1"}`: "can have this name or version",
	} {
		d := read(t, cdx(good, in))
		if !strings.Contains(fmt.Sprint(d.Inventory.Partial), want) || len(d.Inventory.Packages) != 1 {
			t.Errorf("%s: %+v", in, d.Inventory)
		}
	}
	for in, want := range map[string]string{
		cdx(): "without a purl nothing says which package this is (the first: \"it\")", cdx(`{"type":"operating-system","name":"debian","version":"12"}`): "none of its packages",
		`{"bomFormat":"CycloneDX","specVersion":"1.6"}`: "nothing that could be matched", `{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":{"type":"file","name":"dir"}}}`: "nothing that could be matched",
	} {
		if d := read(t, in); !strings.Contains(fmt.Sprint(d.Inventory.Partial), want) {
			t.Errorf("%s: %+v", in, d)
		}
	}
	for _, in := range []string{"", "{}", "[]", `{"bomFormat":"CycloneDX","specVersion":"1.3"}`, `{"spdxVersion":"SPDX-2.2"}`, cdx(good) + "x", `{"bomFormat":1}`} {
		if d, err := Parse([]byte(in)); err == nil {
			t.Errorf("%s: %+v", in, d)
		}
	}
}

// sums fails unless every component is counted once.
func sums(t testing.TB, d Document) {
	t.Helper()
	n, open := len(d.Inventory.Packages)+len(d.Libraries), 0
	for _, l := range d.Left {
		if n += l.Count; l.Open {
			open++
		}
	}
	if n != d.Components {
		t.Fatalf("%d of %d components are counted: %+v", n, d.Components, d.Left)
	}
	if len(d.Inventory.Packages) > 0 && d.Inventory.OS.ID == "" {
		t.Fatalf("packages of no system: %+v", d.Inventory)
	}
	if len(d.Inventory.Partial) < open || d.Components == 0 && len(d.Inventory.Partial) == 0 {
		t.Fatalf("what is open is no gap: %+v %+v", d.Left, d.Inventory.Partial)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(cdx(lib("pkg:deb/debian/a@1?distro=debian-12"), lib("pkg:golang/stdlib@go1"))))
	f.Add([]byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":{"type":"container","bom-ref":"i","name":"i","components":[{"type":"operating-system","name":"debian","version":"12"}]}},"components":[` + goLib + `,{"type":"container","bom-ref":"c","components":[` + aFile + `]},` + lib("pkg:deb/debian/a:amd64@1?distro=debian-12") + `],"dependencies":[{"ref":"c","dependsOn":["i","lib"]},{"ref":"i","dependsOn":["c",""]}]}`))
	f.Add([]byte(spdx("pkg:rpm/debian/a@1-1?distro=debian-12")))
	f.Add([]byte(spdx("pkg:rpm/almalinux/a@1-1?epoch=1&upstream=a-1-1.src.rpm&distro=almalinux-9")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := Parse(raw)
		if err != nil {
			return
		}
		sums(t, d)
		if _, err := d.Inventory.Digest(); err != nil {
			t.Fatal(err)
		}
	})
}

// Names of rpm and apk have rules of their own.
func TestNamesOfPackages(t *testing.T) {
	for in, want := range map[string]bool{
		"pkg:rpm/almalinux/NetworkManager@1-1.el9?distro=almalinux-9": true, "pkg:rpm/almalinux/_b@1-1?distro=almalinux-9": true, "pkg:rpm/almalinux/.b@1-1?distro=almalinux-9": false,
		"pkg:rpm/almalinux/a%2Fb@1-1?distro=almalinux-9": false, "pkg:rpm/almalinux/gcc-c%2B%2B@1-1?distro=almalinux-9": true, "pkg:rpm/almalinux/b:x86_64@1-1?distro=almalinux-9": false,
		"pkg:apk/alpine/b%2Fc@1-r1?distro=alpine-3.20": false, "pkg:apk/alpine/b@1-r1?distro=alpine-3.20&upstream=B_c.d-e%2B": true, "pkg:apk/alpine/-b@1-r1?distro=alpine-3.20": false,
	} {
		d := read(t, cdx(lib(in)))
		if got := len(d.Inventory.Packages) == 1; got != want || len(d.Inventory.Partial) == 0 != want {
			t.Errorf("%s: %+v", in, d)
		}
	}
}

// Purls of one component and references between components have limits of their
// own: what a text makes of work and memory follows its size.
func TestWorkAndMemoryAreBounded(t *testing.T) {
	purls := func(n int) []byte {
		var refs []string
		for i := range n {
			refs = append(refs, fmt.Sprintf(`{"referenceType":"purl","referenceLocator":"pkg:cargo/a%d@1"}`, i))
		}
		refs = append(refs, refs...) // again is no more
		return []byte(`{"spdxVersion":"SPDX-2.3","packages":[{"name":"n","externalRefs":[` + strings.Join(refs, ",") + `]}]}`)
	}
	if d, err := Parse(purls(maxPurls)); err != nil || len(d.Libraries) != maxPurls {
		t.Errorf("%d, %v", len(d.Libraries), err)
	}
	if _, err := Parse(purls(maxPurls + 1)); err == nil || !strings.Contains(err.Error(), "more than 100 purls of one component") {
		t.Error(err)
	}
	edges := 3
	for _, text := range []string{
		`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[` + goLib + `],"dependencies":[{"ref":"lib","dependsOn":["lib","x"]},{"dependsOn":[""]}]}`,
		`{"spdxVersion":"SPDX-2.3","documentDescribes":["a"],"packages":[{"SPDXID":"a"}],"relationships":[{"spdxElementId":"r","relationshipType":"DESCRIBES","relatedSpdxElement":"n"},{"spdxElementId":"r","relationshipType":"DEPENDS_ON","relatedSpdxElement":"n"},{"relationshipType":"OTHER"}]}`,
	} {
		if _, err := parse([]byte(text), bounds{MaxFile, maxComponents, edges}); err != nil {
			t.Error(err)
		}
		if _, err := parse([]byte(text), bounds{MaxFile, maxComponents, edges - 1}); err == nil || !strings.Contains(err.Error(), "more than 2 references between components") {
			t.Error(err)
		}
	}
	nothing := []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","dependencies":[{"ref":"a","dependsOn":[` + strings.Repeat(`"",`, 300_000) + `"a"]}]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Parse(nothing); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4*uint64(len(nothing)) {
		t.Errorf("%d bytes of memory for %d bytes of references to nothing", got, len(nothing))
	}
}

// What is no reference stops the reading there, with the byte and the reason.
func TestAReferenceIsAText(t *testing.T) {
	for _, in := range []string{
		`{"bomFormat":"CycloneDX","specVersion":"1.6","dependencies":[{"ref":"a","dependsOn":[1]}]}`,
		`{"spdxVersion":"SPDX-2.3","relationships":[{"spdxElementId":"a","relationshipType":"DESCRIBES","relatedSpdxElement":1}]}`,
	} {
		at := fmt.Sprintf("(byte %d): a string was expected", strings.LastIndexByte(in, '1'))
		if _, err := Parse([]byte(in)); err == nil || !strings.Contains(err.Error(), at) {
			t.Errorf("%v, want %s", err, at)
		}
	}
}

// A byte order mark before the document is ignored, once.
func TestAByteOrderMark(t *testing.T) {
	const mark, bill = "\xef\xbb\xbf", `{"bomFormat":"CycloneDX","specVersion":"1.5","components":[]}`
	if _, err := Parse([]byte(mark + bill)); err != nil {
		t.Error(err)
	}
	if _, err := Parse([]byte(mark + mark + bill)); err == nil {
		t.Error("two marks are taken")
	}
}
