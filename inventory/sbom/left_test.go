package sbom

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// counted is what is left of a document, and whether the answer is whole.
func counted(d Document) string {
	var out []string
	for _, l := range d.Left {
		open := ""
		if l.Open {
			open = " open"
		}
		out = append(out, fmt.Sprintf("%s %s %d%s", l.Why, l.Type, l.Count, open))
	}
	return fmt.Sprintf("%d: %s; %d gaps", d.Components, strings.Join(out, ", "), len(d.Inventory.Partial))
}

const (
	goLib   = `{"type":"library","bom-ref":"lib","name":"n","purl":"pkg:golang/golang.org/x/net@v0.1.0"}`
	aFile   = `{"type":"file","bom-ref":"f","name":"etc/motd"}`
	nothing = `{"type":"library","name":"x"}`
)

// What is left out is counted by reason and type, and only what could be
// vulnerable makes the answer incomplete.
func TestEachComponentIsCounted(t *testing.T) {
	bare := func(rest string) string { return `{"bomFormat":"CycloneDX","specVersion":"1.6"` + rest + `}` }
	list := func(components ...string) string {
		return bare(`,"components":[` + strings.Join(components, ",") + `]`)
	}
	graph := func(from, to string) string {
		return fmt.Sprintf(`,"dependencies":[{"ref":%q,"dependsOn":[%q]}]`, from, to)
	}
	spdx := func(rest string) string { return `{"spdxVersion":"SPDX-2.3",` + rest + `}` }
	ref := `"externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:golang/golang.org/x/net@v0.1.0"}]`
	for name, c := range map[string]struct{ in, want string }{
		"a library":                                {list(goLib), "1: ; 0 gaps"},
		"a library, and who says so":               {bare(`,"metadata":{"timestamp":"2026-01-01T00:00:00Z","tools":{"components":[` + nothing + `]}},"components":[` + goLib + `]`), "1: ; 0 gaps"},
		"files alone":                              {list(aFile, aFile, `{"type":"data","name":"d"}`, `{"type":"cryptographic-asset","name":"k"}`), "4: no-purl cryptographic-asset 1, no-purl data 1, no-purl file 2; 0 gaps"},
		"files beside a library":                   {list(aFile, goLib), "2: no-purl file 1; 0 gaps"},
		"nothing":                                  {list(), "0: ; 1 gaps"},
		"a subject of files":                       {bare(`,"metadata":{"component":{"type":"application","name":"it"}},"components":[` + aFile + `]`), "2: no-purl application 1 open, no-purl file 1; 1 gaps"},
		"a subject of libraries":                   {bare(`,"metadata":{"component":{"type":"application","name":"it"}},"components":[` + goLib + `]`), "2: subject application 1; 0 gaps"},
		"a subject with a purl":                    {bare(`,"metadata":{"component":{"type":"application","name":"it","purl":"pkg:generic/it@1"}},"components":[` + goLib + `]`), "2: subject application 1; 0 gaps"},
		"an image with a purl":                     {bare(`,"metadata":{"component":{"type":"container","name":"it","purl":"pkg:oci/it@1"}},"components":[` + goLib + `]`), "2: subject container 1; 0 gaps"},
		"a subject that is published":              {bare(`,"metadata":{"component":{"type":"application","name":"it","purl":"pkg:maven/g/it@1"}},"components":[` + goLib + `]`), "2: type-not-matched application 1 open; 1 gaps"},
		"SPDX: two are described":                  {spdx(`"documentDescribes":["a","b"],"packages":[{"SPDXID":"a","name":"fw","primaryPackagePurpose":"FIRMWARE"},{"SPDXID":"b","name":"app"},{"SPDXID":"n","name":"n",` + ref + `}],"relationships":[{"spdxElementId":"b","relationshipType":"DEPENDS_ON","relatedSpdxElement":"n"}]`), "3: no-purl firmware 1 open, subject package 1; 1 gaps"},
		"an image of nothing":                      {bare(`,"metadata":{"component":{"type":"container","name":"it","purl":"pkg:oci/it@1"}}`), "1: container-empty container 1 open; 2 gaps"},
		"a container of a library":                 {list(`{"type":"container","name":"c","components":[` + goLib + `]}`), "2: contents container 1; 0 gaps"},
		"a container of a file":                    {list(goLib, `{"type":"container","name":"c","components":[`+aFile+`]}`), "3: container-empty container 1 open, no-purl file 1; 1 gaps"},
		"a container by the graph":                 {bare(`,"components":[{"type":"container","bom-ref":"c","name":"c"},` + goLib + `]` + graph("c", "lib")), "2: contents container 1; 0 gaps"},
		"a container, the graph has a file":        {bare(`,"components":[{"type":"container","bom-ref":"c","name":"c"},` + goLib + `,` + aFile + `]` + graph("c", "f")), "3: container-empty container 1 open, no-purl file 1; 1 gaps"},
		"a container, the graph goes nowhere":      {bare(`,"components":[{"type":"container","bom-ref":"c","name":"c"},` + goLib + `]` + graph("c", "x")), "2: container-empty container 1 open; 1 gaps"},
		"a container that holds itself":            {bare(`,"components":[{"type":"container","bom-ref":"c","name":"c"},` + goLib + `]` + graph("c", "c")), "2: container-empty container 1 open; 1 gaps"},
		"two containers that name each other":      {bare(`,"components":[{"type":"container","bom-ref":"c","name":"c"},{"type":"container","bom-ref":"d","name":"d"},` + goLib + `],"dependencies":[{"ref":"c","dependsOn":["d"]},{"ref":"d","dependsOn":["c"]}]`), "3: container-empty container 2 open; 1 gaps"},
		"two of them, and one has a library":       {bare(`,"components":[{"type":"container","bom-ref":"c","name":"c"},{"type":"container","bom-ref":"d","name":"d"},` + goLib + `],"dependencies":[{"ref":"c","dependsOn":["d"]},{"ref":"d","dependsOn":["c","lib"]}]`), "3: contents container 2; 0 gaps"},
		"a container of an empty one":              {list(goLib, `{"type":"container","name":"c","components":[{"type":"container","name":"d","purl":"pkg://OCI/d@1"}]}`), "3: container-empty container 2 open; 1 gaps"},
		"a container of a lock file of nothing":    {list(goLib, `{"type":"container","name":"c","components":[{"type":"application","name":"go.mod","properties":[{"name":"aquasecurity:trivy:Class","value":"lang-pkgs"}]}]}`), "3: container-empty application 1 open, container-empty container 1 open; 2 gaps"},
		"a container of a system alone":            {list(goLib, `{"type":"container","name":"c","components":[{"type":"operating-system","name":"debian","version":"12"}]}`), "3: container-empty container 1 open, system operating-system 1; 2 gaps"},
		"a container of a container of a library":  {list(`{"type":"container","name":"c","components":[{"type":"container","name":"d","components":[` + goLib + `]}]}`), "3: contents container 2; 0 gaps"},
		"a container of a file with a library":     {bare(`,"components":[{"type":"container","name":"c","components":[` + aFile + `]},` + goLib + `]` + graph("f", "lib")), "3: contents container 1, no-purl file 1; 0 gaps"},
		"a container of what the bill is of":       {bare(`,"metadata":{"component":{"type":"application","bom-ref":"it","name":"it"}},"components":[{"type":"container","bom-ref":"c","name":"c"},` + goLib + `],"dependencies":[{"ref":"c","dependsOn":["it"]},{"ref":"it","dependsOn":["lib"]}]`), "3: container-empty container 1 open, subject application 1; 1 gaps"},
		"a subject of an empty container":          {bare(`,"metadata":{"component":{"type":"application","name":"it"}},"components":[{"type":"container","name":"c"}]`), "2: container-empty container 1 open, no-purl application 1 open; 2 gaps"},
		"a subject of what it has inside":          {bare(`,"metadata":{"component":{"type":"application","name":"it","components":[` + goLib + `]}}`), "2: subject application 1; 0 gaps"},
		"SPDX: an image with two purls":            {spdx(`"documentDescribes":["i","j"],"packages":[{"SPDXID":"i","name":"i","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:oci/i@1"},{"referenceType":"purl","referenceLocator":"pkg:docker/i@1"}]},{"SPDXID":"j","name":"j"},{"SPDXID":"n","name":"n",` + ref + `}],"relationships":[{"spdxElementId":"i","relationshipType":"CONTAINS","relatedSpdxElement":"n"},{"spdxElementId":"j","relationshipType":"CONTAINS","relatedSpdxElement":"n"}]`), "4: subject package 3; 0 gaps"},
		"a purl beside others":                     {spdx(`"packages":[{"name":"n","purl":"pkg:gem/c@1",` + ref + `}]`), "2: type-not-matched package 1 open; 1 gaps"},
		"the same image, empty and not":            {list(`{"type":"container","name":"c","purl":"pkg:oci/c@1","components":[`+goLib+`]}`, `{"type":"container","name":"c","purl":"pkg:oci/c@1"}`), "3: container-empty container 1 open, contents container 1; 1 gaps"},
		"the same package, by another source":      {list(lib("pkg:deb/debian/a@1?distro=debian-12"), `{"type":"library","name":"a","purl":"pkg:deb/debian/a@1?distro=debian-12","properties":[{"name":"aquasecurity:trivy:SrcName","value":"b"}]}`), "2: ; 0 gaps"},
		"the same Go module in two spellings":      {list(lib("pkg:golang/github.com/masterminds/semver@v1"), `{"type":"library","name":"github.com/Masterminds/semver","purl":"pkg:golang/github.com/masterminds/semver@v1"}`), "2: repeated library 1; 0 gaps"}, // in which it is looked up alike
		"an npm package whose spelling is unsure":  {list(lib("pkg:npm/JSONStream@1"), `{"type":"library","name":"jsonstream","purl":"pkg:npm/JSONStream@1"}`), "2: ; 0 gaps"},
		"the same npm package in two spellings":    {list(lib("pkg:npm/jsonstream@1"), `{"type":"library","name":"JSONStream","purl":"pkg:npm/jsonstream@1"}`), "2: ; 0 gaps"},
		"a system that the packages are not of":    {list(`{"type":"operating-system","name":"ubuntu","version":"22.04"}`, lib("pkg:deb/debian/a@1?distro=debian-12")), "2: other-system library 1 open, system operating-system 1; 2 gaps"},
		"another system of the same number":        {list(`{"type":"operating-system","name":"ubuntu","version":"12"}`, lib("pkg:deb/debian/a@1?distro=debian-12")), "2: other-system library 1 open, system operating-system 1; 2 gaps"},
		"the same purl twice, not matched":         {list(lib("pkg:gem/a@1"), lib("pkg:gem/a@1")), "2: repeated library 1, type-not-matched library 1 open; 1 gaps"},
		"a release that the packages are not of":   {list(`{"type":"operating-system","name":"debian","version":"11"}`, lib("pkg:deb/debian/a@1?distro=debian-12")), "2: other-system library 1 open, system operating-system 1; 2 gaps"},
		"a release that begins like the packages'": {list(`{"type":"operating-system","name":"debian","version":"1"}`, lib("pkg:deb/debian/a@1?distro=debian-12")), "2: other-system library 1 open, system operating-system 1; 2 gaps"},
		"a release in fewer numbers":               {list(`{"type":"operating-system","name":"debian","version":"12"}`, lib("pkg:deb/debian/a@1?distro=debian-12.5")), "2: system operating-system 1; 0 gaps"},
		"a release in more numbers":                {list(`{"type":"operating-system","name":"debian","version":"12.5"}`, lib("pkg:deb/debian/a@1?distro=debian-12")), "2: system operating-system 1; 0 gaps"},
		"a release by its name":                    {list(`{"type":"operating-system","name":"debian","version":"bookworm"}`, lib("pkg:deb/debian/a@1?distro=debian-12")), "2: system operating-system 1; 0 gaps"},
		"Trivy's lock file":                        {bare(`,"components":[{"type":"application","bom-ref":"c","name":"go.mod","properties":[{"name":"aquasecurity:trivy:Class","value":"lang-pkgs"}]},` + goLib + `]` + graph("c", "lib")), "2: contents application 1; 0 gaps"},
		"an application of a library":              {bare(`,"components":[{"type":"application","bom-ref":"c","name":"nginx"},` + goLib + `]` + graph("c", "lib")), "2: no-purl application 1 open; 1 gaps"},
		"the same twice":                           {list(goLib, goLib), "2: repeated library 1; 0 gaps"},
		"a system and another one":                 {list(`{"type":"operating-system","name":"debian","version":"12"}`, `{"type":"operating-system","name":"debian","version":"11"}`, lib("pkg:deb/debian/a@1")), "3: other-system operating-system 1 open, system operating-system 1; 1 gaps"},
		"a system with a purl":                     {list(`{"type":"operating-system","name":"debian","version":"12","purl":"pkg:generic/debian@12"}`, lib("pkg:deb/debian/a@1")), "2: system operating-system 1; 0 gaps"},
		"types that are not matched":               {list(lib("pkg:nuget/a@1"), lib("pkg:nuget/b@1"), lib("pkg:gem/c@1"), nothing), "4: no-purl library 1 open, type-not-matched library 1 open, type-not-matched library 2 open; 3 gaps"},
		"SPDX: files":                              {spdx(`"files":[{"SPDXID":"a","fileName":"./a"},{}]`), "2: no-purl file 2; 0 gaps"},
		"SPDX: a described source tree":            {spdx(`"documentDescribes":["r"],"packages":[{"SPDXID":"r","name":"dir","primaryPackagePurpose":"SOURCE"},{"name":"n",` + ref + `}]`), "2: subject source 1; 0 gaps"},
		"SPDX: described by itself":                {spdx(`"relationships":[{"spdxElementId":"r","relationshipType":"DESCRIBED_BY","relatedSpdxElement":"SPDXRef-DOCUMENT"}],"packages":[{"SPDXID":"r","name":"dir"},{"name":"n",` + ref + `}]`), "2: subject package 1; 0 gaps"},
		"SPDX: a container contains":               {spdx(`"relationships":[{"spdxElementId":"r","relationshipType":"CONTAINS","relatedSpdxElement":"n"}],"packages":[{"SPDXID":"r","name":"c","primaryPackagePurpose":"CONTAINER"},{"SPDXID":"n","name":"n",` + ref + `}]`), "2: contents container 1; 0 gaps"},
		"SPDX: is contained":                       {spdx(`"relationships":[{"spdxElementId":"n","relationshipType":"CONTAINED_BY","relatedSpdxElement":"r"}],"packages":[{"SPDXID":"r","name":"c","primaryPackagePurpose":"CONTAINER"},{"SPDXID":"n","name":"n",` + ref + `}]`), "2: contents container 1; 0 gaps"},
		"SPDX: contained by nothing that is named": {spdx(`"relationships":[{"relationshipType":"CONTAINS","relatedSpdxElement":"r"}],"packages":[{"SPDXID":"r","name":"r"},{"SPDXID":"n","name":"n",` + ref + `}]`), "2: no-purl package 1 open; 1 gaps"},
		"SPDX: another relation":                   {spdx(`"relationships":[{"spdxElementId":"r","relationshipType":"COPY_OF","relatedSpdxElement":"n"}],"packages":[{"SPDXID":"r","name":"c","primaryPackagePurpose":"CONTAINER"},{"SPDXID":"n","name":"n",` + ref + `}]`), "2: container-empty container 1 open; 1 gaps"},
		"SPDX: Trivy's lock file":                  {spdx(`"relationships":[{"spdxElementId":"r","relationshipType":"CONTAINS","relatedSpdxElement":"n"}],"packages":[{"SPDXID":"r","name":"go.mod","primaryPackagePurpose":"APPLICATION","annotations":[{"comment":"Class: lang-pkgs"},{"comment":"x"}]},{"SPDXID":"n","name":"n",` + ref + `}]`), "2: contents application 1; 0 gaps"},
		"SPDX: two purls of one package":           {spdx(`"packages":[{"name":"n","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:golang/a.b/c@v1"},{"referenceType":"purl","referenceLocator":"pkg:gem/c@1"},{"referenceType":"purl","referenceLocator":"pkg:golang/a.b/c@v1"}]}]`), "2: type-not-matched package 1 open; 1 gaps"},
	} {
		if got := counted(read(t, c.in)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

// What holds something is what a walk from it comes to something real by, but not
// into what the bill is of.
func TestHoldsIsReachability(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int32Range(1, 8).Draw(t, "elements")
		r := reader{elements: n}
		for i := range n {
			c := component{ref: fmt.Sprint(i), element: i, parent: outermost, kind: rapid.SampledFrom([]string{"container", "container", "file", "library", "operating-system"}).Draw(t, "kind")}
			if i > 0 && rapid.Bool().Draw(t, "nested") {
				c.parent = rapid.Int32Range(0, i-1).Draw(t, "parent")
			}
			c.subject = rapid.IntRange(0, 5).Draw(t, "subject") == 0
			r.list = append(r.list, c)
		}
		for range rapid.IntRange(0, 10).Draw(t, "edges") {
			at := rapid.Int32Range(0, n) // one more than there are
			r.edges = append(r.edges, edge{fmt.Sprint(at.Draw(t, "from")), fmt.Sprint(at.Draw(t, "to"))})
		}
		var reaches func(from int32, met map[int32]bool) bool
		reaches = func(from int32, met map[int32]bool) bool {
			for _, c := range r.list {
				inside := c.parent == from || slices.Contains(r.edges, edge{fmt.Sprint(from), c.ref})
				if !inside || c.element == from || c.subject || met[c.element] {
					continue
				}
				met[c.element] = true
				if c.kind == "library" || reaches(c.element, met) {
					return true
				}
			}
			return false
		}
		subjects, real := 0, false
		for _, c := range r.list {
			if c.subject {
				subjects++
			}
			real = real || c.kind == "library" && !c.subject
		}
		r.fill()
		for _, c := range r.list {
			if want := reaches(c.element, map[int32]bool{}) || c.subject && subjects == 1 && real; c.holds != want {
				t.Fatalf("%s %s: %v, want %v: %+v %+v", c.ref, c.kind, c.holds, want, r.list, r.edges)
			}
		}
	})
}

// Trivy writes the source package of a Debian package into SPDX's sourceInfo.
func TestSourceInfo(t *testing.T) {
	d := read(t, `{"spdxVersion":"SPDX-2.3","packages":[{"name":"libssl3","sourceInfo":"built package from: openssl 1:3.0.9-1","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:deb/debian/libssl3@3.0.9-1?distro=debian-12"}]},
{"name":"a","sourceInfo":"package found in: b 2","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:deb/debian/a@1?distro=debian-12"}]},{"name":"c","sourceInfo":"built package from: d","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:deb/debian/c@1?distro=debian-12"}]}]}`)
	got := ""
	for _, p := range d.Inventory.Packages {
		got += p.Name + " " + p.Source + " " + p.SourceVersion + "; "
	}
	if got != "a a 1; c d 1; libssl3 openssl 1:3.0.9-1; " {
		t.Error(got)
	}
}

// What is hostile stays small: kinds without end are put together, texts are cut
// and escaped.
func TestLeftIsBounded(t *testing.T) {
	var many []string
	for i := range 3 * maxLeft {
		many = append(many, lib(fmt.Sprintf("pkg:t%d/a@1", i)))
	}
	many = append(many, `{"type":"library","name":"\u001b[31m`+strings.Repeat("x", 5000)+`"}`)
	d := read(t, cdx(many...))
	if n := len(d.Left); n > maxLeft+len(says) {
		t.Errorf("%d entries", n)
	}
	for _, l := range d.Left {
		if len(l.First) > maxFirst || strings.Contains(l.First, "\x1b") {
			t.Errorf("%q", l.First)
		}
	}
	if last := d.Inventory.Partial[len(d.Inventory.Partial)-1].Why; !strings.Contains(last, "201 of type other: no feed here covers the purl type several kinds") {
		t.Error(last)
	}
	small := []byte(cdx(goLib, `{"type":"container","components":[`+aFile+`]}`)) // four with the subject
	if _, err := parse(small, bounds{len(small), 4, 0}); err != nil {
		t.Error(err)
	}
	if _, err := parse(small, bounds{len(small) - 1, 4, 0}); err == nil || !strings.Contains(err.Error(), "the limit is") {
		t.Error(err)
	}
	if _, err := parse(small, bounds{len(small), 3, 0}); err == nil || !strings.Contains(err.Error(), "more than 3 components") {
		t.Error(err)
	}
}
