package sbom

import (
	"fmt"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/inventory"
)

func cdx(components ...string) string {
	return `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"metadata":{"component":{"type":"application","name":"it"}},"components":[` + strings.Join(components, ",") + `]}`
}

func lib(purl string) string { return fmt.Sprintf(`{"type":"library","name":"x","purl":%q}`, purl) }

func spdx(purl string) string {
	return fmt.Sprintf(`{"spdxVersion":"SPDX-2.3","packages":[{"name":"x","primaryPackagePurpose":"CONTAINER"},{"name":"y","versionInfo":"1","externalRefs":[{"referenceCategory":"SECURITY","referenceType":"cpe23Type","referenceLocator":"cpe"},{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":%q}]}]}`, purl)
}

func parse(t *testing.T, text string) Document {
	t.Helper()
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPackagesOfADistribution(t *testing.T) {
	for in, want := range map[string]string{
		"pkg:deb/debian/libssl3@3.0.9-1?arch=amd64&distro=debian-12&upstream=openssl":                                                "debian 12: libssl3 amd64 3.0.9-1 openssl 3.0.9-1",
		"pkg:deb/debian/vim@2%3A9.0-1%2Bb1?distro=debian-12.5":                                                                       "debian 12.5: vim  2:9.0-1+b1 vim 2:9.0-1",
		"pkg:deb/debian/perl-base@5.36.0-7?distro=debian-12&epoch=1&upstream=perl%405.36.0-6":                                        "debian 12: perl-base  1:5.36.0-7 perl 5.36.0-6",
		"pkg:rpm/almalinux/openssl-libs@3.0.7-27.el9?arch=x86_64&epoch=1&upstream=openssl-3.0.7-27.el9.src.rpm&distro=almalinux-9.4": "almalinux 9.4: openssl-libs x86_64 1:3.0.7-27.el9 openssl 3.0.7-27.el9",
		"pkg:apk/alpine/libssl3@3.3.1-r0?arch=x86_64&upstream=openssl&distro=3.20.1":                                                 "alpine 3.20.1: libssl3 x86_64 3.3.1-r0 openssl 3.3.1-r0",
	} {
		for _, text := range []string{cdx(lib(in)), spdx(in)} {
			d := parse(t, text)
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
	d := parse(t, cdx(`{"type":"operating-system","name":"debian","version":"12"}`, `{"type":"library","name":"libssl3","purl":"pkg:deb/debian/libssl3@1","properties":[{"name":"aquasecurity:trivy:SrcName","value":"openssl"},{"name":"aquasecurity:trivy:SrcVersion","value":"3.0"},{"name":"aquasecurity:trivy:SrcRelease","value":"1"},{"name":"aquasecurity:trivy:SrcEpoch","value":"2"}]}`))
	if p := d.Inventory.Packages; len(p) != 1 || p[0].Source != "openssl" || p[0].SourceVersion != "2:3.0-1" || d.Inventory.OS != (inventory.OS{ID: "debian", VersionID: "12"}) {
		t.Errorf("%+v", d)
	}
}

func TestLibraries(t *testing.T) {
	for in, want := range map[string]string{
		"pkg:golang/golang.org/x/net@v0.17.0":                "Go golang.org/x/net v0.17.0",
		"pkg:golang/github.com/%21masterminds/semver@v1.0.0": "Go github.com/Masterminds/semver v1.0.0",
		"pkg:golang/stdlib@go1.22.1":                         "Go stdlib 1.22.1",
		"pkg:pypi/Zope.Interface_x@1.0":                      "PyPI zope-interface-x 1.0",
		"pkg:npm/%40babel/core@7.0.0":                        "npm @babel/core 7.0.0",
		"pkg:cargo/time@0.1.0?repository_url=x#sub/p":        "crates.io time 0.1.0",
	} {
		d := parse(t, cdx(lib(in), lib(in)))
		if len(d.Libraries) != 1 || len(d.Inventory.Partial) != 0 {
			t.Errorf("%s: %+v", in, d)
		} else if l := d.Libraries[0]; l.Ecosystem+" "+l.Name+" "+l.Version != want {
			t.Errorf("%s: %+v", in, l)
		}
	}
}

// Go's names have capitals that a purl in lower case has lost.
func TestGoNamesKeepTheirCapitals(t *testing.T) {
	for name, want := range map[string]string{"github.com/Masterminds/semver": "github.com/Masterminds/semver", "semver": "github.com/masterminds/semver", "evil.example/x": "github.com/masterminds/semver"} {
		d := parse(t, cdx(fmt.Sprintf(`{"type":"library","name":%q,"purl":"pkg:golang/github.com/masterminds/semver@v1.0.0"}`, name)))
		if len(d.Libraries) != 1 || d.Libraries[0].Name != want {
			t.Errorf("%s: %+v", name, d.Libraries)
		}
	}
}

func TestNothingIsDroppedInSilence(t *testing.T) {
	good := lib("pkg:deb/debian/a@1?distro=debian-12")
	if d := parse(t, cdx(good)); len(d.Inventory.Partial) != 0 {
		t.Fatalf("the positive control: %+v", d)
	}
	for in, want := range map[string]string{
		`{"type":"operating-system","name":"Microsoft Windows Server","version":"10"}`: "of Windows, which Patchwrit does not scan on purpose",
		lib("pkg:generic/windows-kb5034@1"):                                            "of Windows",
		lib("pkg:nuget/Newtonsoft.Json@1"):                                             "of the purl type nuget",
		lib("nonsense"):                                                                "purl that cannot be read",
		lib("pkg:deb/debian/b@%ff?distro=debian-12"):                                   "purl that cannot be read",
		`{"type":"library","name":"x"}`:                                                "have no purl",
		`{"type":"firmware","name":"x"}`:                                               "firmware",
		lib("pkg:deb/debian/b@1"):                                                      "of which release",
		lib("pkg:deb/debian/b@1?distro=debian-11"):                                     "of another system than debian 12",
		lib("pkg:deb/debian/b?distro=debian-12"):                                       "no version",
		`{"type":"operating-system","name":"a/b","version":"1"}`:                       "unknown name",
	} {
		d := parse(t, cdx(good, in))
		if !strings.Contains(fmt.Sprint(d.Inventory.Partial), want) || len(d.Inventory.Packages) != 1 {
			t.Errorf("%s: %+v", in, d.Inventory)
		}
	}
	for in, want := range map[string]string{cdx(): "nothing that could be matched", cdx(`{"type":"operating-system","name":"debian","version":"12"}`): "none of its packages"} {
		if d := parse(t, in); !strings.Contains(fmt.Sprint(d.Inventory.Partial), want) {
			t.Errorf("%s: %+v", in, d)
		}
	}
	for _, in := range []string{"", "{}", "[]", `{"bomFormat":"CycloneDX","specVersion":"1.3"}`, `{"spdxVersion":"SPDX-2.2"}`, cdx(good) + "x", `{"bomFormat":1}`} {
		if d, err := Parse([]byte(in)); err == nil {
			t.Errorf("%s: %+v", in, d)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(cdx(lib("pkg:deb/debian/a@1?distro=debian-12"), lib("pkg:golang/stdlib@go1"))))
	f.Add([]byte(spdx("pkg:rpm/almalinux/a@1-1?epoch=1&upstream=a-1-1.src.rpm&distro=almalinux-9")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := Parse(raw)
		if err != nil {
			return
		}
		if len(d.Inventory.Packages)+len(d.Libraries)+len(d.Inventory.Partial) == 0 {
			t.Fatal("a bill of nothing is not clean")
		}
		if _, err := d.Inventory.Digest(); err != nil {
			t.Fatal(err)
		}
	})
}
