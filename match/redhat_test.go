package match

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/feed/csaf"
	"github.com/patchwrit/patchwrit/internal/shareddata"
	"github.com/patchwrit/patchwrit/inventory"
)

// The reference: CSAF as encoding/json sees it, and the rules written down
// again in the plainest way.

type rawBranch struct {
	Branches []rawBranch
	Product  *rawProduct
}

type rawProduct struct {
	ID     string                     `json:"product_id"`
	Helper struct{ PURL, CPE string } `json:"product_identification_helper"`
}

type rawCSAF struct {
	Document struct{ Tracking struct{ ID string } }
	Tree     struct {
		Branches      []rawBranch
		Relationships []struct {
			Full rawProduct `json:"full_product_name"`
			What string     `json:"product_reference"`
			To   string     `json:"relates_to_product_reference"`
		}
	} `json:"product_tree"`
	Vulnerabilities []struct {
		CVE    string
		Status map[string][]string `json:"product_status"`
	}
}

// statement is one line of a product status.
type statement struct{ kind, cpe, name, version, module string }

func statements(raw []byte) (id string, by map[string][]statement, err error) {
	var d rawCSAF
	if err := json.Unmarshal(raw, &d); err != nil {
		return "", nil, err
	}
	purl, cpe, next := map[string]string{}, map[string]string{}, map[string][2]string{}
	var walk func([]rawBranch)
	walk = func(list []rawBranch) {
		for _, b := range list {
			if b.Product != nil {
				purl[b.Product.ID], cpe[b.Product.ID] = b.Product.Helper.PURL, b.Product.Helper.CPE
			}
			walk(b.Branches)
		}
	}
	walk(d.Tree.Branches)
	for _, r := range d.Tree.Relationships {
		next[r.Full.ID] = [2]string{r.What, r.To}
	}
	by = map[string][]statement{}
	for _, v := range d.Vulnerabilities {
		for kind, ids := range v.Status {
			for _, id := range ids {
				s := statement{kind: kind}
				for at := id; ; at = next[at][1] {
					step, more := next[at]
					what := at
					if more {
						what = step[0]
					}
					s.learn(purl[what], cpe[what])
					if !more {
						break
					}
				}
				by[v.CVE] = append(by[v.CVE], s)
			}
		}
	}
	return d.Document.Tracking.ID, by, nil
}

func (s *statement) learn(purl, cpe string) {
	if cpe != "" {
		s.cpe = cpe
	}
	u, err := url.Parse(purl)
	if err != nil || purl == "" {
		return
	}
	name, ver, _ := strings.Cut(u.Opaque[strings.LastIndexByte(u.Opaque, '/')+1:], "@")
	name, _ = url.PathUnescape(name)
	ver, _ = url.PathUnescape(ver)
	q := u.Query()
	switch {
	case strings.HasPrefix(purl, "pkg:rpmmod/"):
		stream, _, _ := strings.Cut(ver, ":")
		s.module = name + ":" + stream
	case strings.HasPrefix(purl, "pkg:rpm/"):
		if s.name, s.version = name, ver; q.Get("epoch") != "" && ver != "" {
			s.version = q.Get("epoch") + ":" + ver
		}
		if m := strings.Split(q.Get("rpmmod"), ":"); m[0] != "" {
			s.module = strings.Join(m[:min(2, len(m))], ":")
		}
	}
}

var tag = regexp.MustCompile(`(?:\.|\+)el([0-9]+[._][0-9]+)`)

func tagOf(v string) string {
	if m := tag.FindStringSubmatch(v); m != nil {
		return strings.ReplaceAll(m[1], ".", "_")
	}
	return ""
}

// refer answers one package of one major release.
func refer(list []statement, major string, p inventory.Package, stream string) string {
	var main, longer []statement
	for _, s := range list {
		if s.module != stream || s.name != p.Name && (s.name != p.Source || s.version != "" && s.kind == "fixed") {
			continue
		}
		if regexp.MustCompile(`:redhat:(enterprise_linux|rhel_extras):` + major + `([.:]|$)`).MatchString(s.cpe) {
			main = append(main, s)
		}
		if regexp.MustCompile(`:redhat:rhel_(eus|eus_long_life|aus|tus|e4s|els|mission_critical):` + major + `([.:]|$)`).MatchString(s.cpe) {
			longer = append(longer, s)
		}
	}
	holds := 0
	for _, s := range longer {
		if s.kind == "fixed" && s.name == p.Name && tagOf(s.version) != "" && tagOf(s.version) == tagOf(p.Version) {
			if rpmOlder(p.Version, s.version) {
				holds = -1
			} else if holds == 0 {
				holds = 1
			}
		}
	}
	if holds == 1 {
		return "not_affected"
	}
	if len(main) == 0 {
		main = longer
	}
	kinds, older, named := map[string]bool{}, false, false
	for _, s := range main {
		named = named || s.kind == "fixed" && p.Name != p.Source
		older = older || s.kind == "fixed" && rpmOlder(p.Version, s.version)
	}
	for _, s := range main {
		if s.kind != "known_affected" || !named || s.name != p.Name {
			kinds[s.kind] = true
		}
	}
	switch {
	case older, kinds["known_affected"]:
		return "affected"
	case kinds["under_investigation"]:
		return "under_investigation"
	case len(kinds) > 0:
		return "not_affected"
	}
	return ""
}

// redHatDocs are the real documents, each once.
func redHatDocs(t *testing.T) map[string][]byte {
	docs := map[string][]byte{}
	keep := func(name string, raw []byte) {
		if strings.HasSuffix(name, ".json") && bytes.Contains(raw, []byte(`"csaf_version"`)) {
			docs[name[strings.LastIndexByte(name, '/')+1:]] = raw
		}
	}
	for name, raw := range shareddata.Archive(t, "..", "redhat/redhat-csaf-vex-fixtures.tar.zst", "") {
		keep(name, raw)
	}
	for name, raw := range shareddata.Archive(t, "..", "fixtures/vuls-data-update-feed-fixtures.tar.zst", "pkg/fetch/redhat/") {
		if strings.HasSuffix(name, ".tar.zst") {
			shareddata.Untar(t, bytes.NewReader(raw), keep)
		} else {
			keep(name, raw)
		}
	}
	return docs
}

// rhelHost is a host of a release with every package that a document names, in
// every version that makes a difference. Arch tells them apart.
func rhelHost(list []statement, major string) (inv inventory.Inventory, streams map[string]string) {
	inv.OS, streams = inventory.OS{ID: "rhel", VersionID: major + ".4"}, map[string]string{}
	names, open := map[string][]string{}, map[string]bool{}
	for _, s := range list {
		if !strings.Contains(s.cpe, ":"+major) || s.name == "" || s.module != "" && !strings.Contains(s.module, ":") { // of a flatpak, which is on no host's list
			continue
		}
		k := s.name + "\n" + s.module
		if names[k] = append(names[k], "1-1.el"+major); s.version != "" {
			names[k] = append(names[k], s.version, s.version+"~1", s.version+".1", s.version+".el"+major+"_9")
		} else {
			open[s.name] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(names)) {
		name, stream, _ := strings.Cut(k, "\n")
		slices.Sort(names[k])
		for i, v := range slices.Compact(names[k]) {
			for j, source := range append(slices.Sorted(maps.Keys(open))[:min(2, len(open))], name, "other-source") {
				p := rpmPackage(name, v, "")
				if stream != "" {
					p.Module = stream + ":8060020220823:0b4eb31d"
				}
				p.Arch, p.Source = fmt.Sprintf("%s/%d/%d", stream, i, j), source
				streams[p.Arch] = stream
				inv.Packages = append(inv.Packages, p)
			}
		}
	}
	return inv, streams
}

// For every real document and each major release: all packages named, in the
// versions at each boundary, against the reference.
func TestRedHatIsExact(t *testing.T) {
	compared, states, documents := 0, map[string]int{}, 0
	docs := redHatDocs(t)
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		raw := docs[name]
		if testing.Short() && len(raw) > 300_000 {
			continue
		}
		documents++
		var list []advisory.Advisory
		csaf.Read(bytes.NewReader(raw), func(a advisory.Advisory) { list = append(list, a) }, func(_, why string) { t.Fatal(name, why) })
		_, by, err := statements(raw)
		if err != nil {
			t.Fatal(err)
		}
		ix := NewIndex(advisory.Set{Snapshot: advisory.Snapshot{Count: len(list)}, Advisories: list})
		for _, cve := range slices.Sorted(maps.Keys(by))[:min(len(by), 3)] {
			for _, major := range []string{"6", "7", "8", "9", "10"} {
				inv, streams := rhelHost(by[cve], major)
				got := map[string]string{}
				for _, f := range Explain(inv, ix, Query{Advisory: cve}) {
					got[f.Package+" "+f.Version+" "+f.Arch] = string(f.State)
				}
				for _, p := range inv.Packages {
					want := refer(by[cve], major, p, streams[p.Arch])
					compared++
					if states[want]++; got[p.Name+" "+p.Version+" "+p.Arch] != want {
						t.Fatalf("%s %s on %s: %s %s (source %s, %s): %q, the reference %q", name, cve, major, p.Name, p.Version, p.Source, p.Arch, got[p.Name+" "+p.Version+" "+p.Arch], want)
					}
				}
			}
		}
	}
	t.Logf("%d documents, %d packages compared: %v", documents, compared, states)
	if states["affected"] < 100 || states["not_affected"] < 100 || !testing.Short() && states[""] < 10 {
		t.Errorf("too little was compared: %v", states)
	}
}

// One rule each, without the shared data.
func TestRedHatRules(t *testing.T) {
	part := func(product, pkg, fixed string, status advisory.Status) advisory.Affected {
		f := advisory.Affected{Ecosystem: "Red Hat:" + product, Package: pkg, Status: status}
		if status != advisory.NotAffected && status != advisory.UnderInvestigation {
			f.Ranges = []advisory.Range{{Type: "ECOSYSTEM", Introduced: advisory.Beginning, Fixed: fixed}}
		}
		return f
	}
	const eus, els, base, app = "rhel_eus:9.2::baseos", "rhel_els:9", "enterprise_linux:9::baseos", "enterprise_linux:9::appstream"
	for _, c := range []struct {
		name, pkg, source, installed string
		parts                        []advisory.Affected
		want                         string
	}{
		{"below the fix", "kernel-core", "kernel", "5.14.0-1.el9_3", []advisory.Affected{part(base, "kernel-core", "5.14.0-9.el9_3", "")}, "affected below-fixed 5.14.0-9.el9_3"},
		{"at the fix", "kernel-core", "kernel", "5.14.0-9.el9_3", []advisory.Affected{part(base, "kernel-core", "5.14.0-9.el9_3", "")}, "not_affected fixed 5.14.0-9.el9_3"},
		{"a minor release of its own name", "a", "a", "1-1.el9", []advisory.Affected{part("enterprise_linux:9.1", "a", "1-2.el9_1", "")}, "affected below-fixed 1-2.el9_1"},
		{"another major release", "a", "a", "1-1.el9", []advisory.Affected{part("enterprise_linux:8::baseos", "a", "1-2.el8", "")}, "not_affected not-named "},
		{"a product of another name", "a", "a", "1-1.el9", []advisory.Affected{part("openshift:9", "a", "1-2.el9", "")}, "not_affected not-named "},
		{"won't fix, by source", "libtiff-tools", "libtiff", "4-1.el9", []advisory.Affected{part("enterprise_linux:9", "libtiff", "", advisory.WontFix)}, "affected wont-fix "},
		{"out of support, by source", "libtiff-tools", "libtiff", "4-1.el9", []advisory.Affected{part("enterprise_linux:9", "libtiff", "", advisory.EndOfLife)}, "affected end-of-life "},
		{"not affected, by source", "libtiff-tools", "libtiff", "4-1.el9", []advisory.Affected{part("enterprise_linux:9", "libtiff", "", advisory.NotAffected)}, "not_affected denied "},
		{"investigated, by source", "libtiff-tools", "libtiff", "4-1.el9", []advisory.Affected{part("enterprise_linux:9", "libtiff", "", advisory.UnderInvestigation)}, "under_investigation under-investigation "},
		{"not affected in one variant, affected in another", "a", "a", "1-1.el9", []advisory.Affected{part(base, "a", "", advisory.NotAffected), part(app, "a", "", advisory.Unfixed)}, "affected unfixed "},
		{"a source's version is no binary's", "perl-lib", "perl", "0.1-1.el9", []advisory.Affected{part(base, "perl", "4:5.32-2.el9", "")}, "not_affected not-named "},
		{"a build of a longer stream holds the fix", "a", "a", "1-5.el9_2", []advisory.Affected{part(base, "a", "1-9.el9_3", ""), part(eus, "a", "1-4.el9_2", "")}, "not_affected fixed 1-4.el9_2"},
		{"a build of a longer stream does not", "a", "a", "1-3.el9_2", []advisory.Affected{part(base, "a", "1-9.el9_3", ""), part(eus, "a", "1-4.el9_2", "")}, "affected below-fixed 1-9.el9_3"},
		{"newer than another minor release's fix", "a", "a", "1-5.el9_3", []advisory.Affected{part(base, "a", "1-9.el9_3", ""), part(eus, "a", "1-4.el9_2", "")}, "affected below-fixed 1-9.el9_3"},
		{"two longer streams, one of them fixed later", "a", "a", "1-5.el9_2", []advisory.Affected{part(base, "a", "1-9.el9_3", ""), part(eus, "a", "1-4.el9_2", ""), part("rhel_aus:9.2::baseos", "a", "1-6.el9_2", "")}, "affected below-fixed 1-9.el9_3"},
		{"a longer stream alone", "a", "a", "1-1.el9", []advisory.Affected{part(els, "a", "1-2.el9", "")}, "affected below-fixed 1-2.el9"},
		{"the main line before a longer stream", "a", "a", "1-1.el9", []advisory.Affected{part("enterprise_linux:9", "a", "", advisory.NotAffected), part(els, "a", "1-2.el9", "")}, "not_affected denied "},
		{"a binary called like another source", "kernel-rt", "kernel", "5.14.0-9.el9_3", []advisory.Affected{part("enterprise_linux:9", "kernel-rt", "", advisory.Unfixed), part("enterprise_linux:9::nfv", "kernel-rt", "5.14.0-9.el9_3", "")}, "not_affected fixed 5.14.0-9.el9_3"},
		{"that source itself", "kernel-rt", "kernel-rt", "5.14.0-9.el9_3", []advisory.Affected{part("enterprise_linux:9", "kernel-rt", "", advisory.Unfixed), part("enterprise_linux:9::nfv", "kernel-rt", "5.14.0-9.el9_3", "")}, "affected unfixed "},
	} {
		a := advisory.Advisory{ID: "redhat-csaf/CVE-2026-1/CVE-2026-1", Aliases: []string{"CVE-2026-1"}, Source: csaf.Source, Basis: advisory.BasisRecord, Affected: c.parts}
		p := rpmPackage(c.pkg, c.installed, "")
		p.Source = c.source
		inv := inventory.Inventory{OS: inventory.OS{ID: "rhel", VersionID: "9.3"}, Packages: []inventory.Package{p}}
		got := Explain(inv, NewIndex(advisory.Set{Snapshot: advisory.Snapshot{Count: 1}, Advisories: []advisory.Advisory{a}}), Query{Advisory: "CVE-2026-1", Package: c.pkg})
		if len(got) != 1 || fmt.Sprint(got[0].State, " ", got[0].Reason.Code, " ", got[0].Fixed) != c.want && !strings.HasPrefix(c.want, "not_affected not-named") || strings.HasPrefix(c.want, "not_affected not-named") && len(got[0].Sources) > 0 {
			t.Errorf("%s: %+v, want %s", c.name, got, c.want)
		}
	}
}

// What is said of a release that no feed speaks of, and of a withdrawn erratum.
func TestRedHatsSilence(t *testing.T) {
	inv := inventory.Inventory{OS: inventory.OS{ID: "rhel", VersionID: "9.3"}, Packages: []inventory.Package{rpmPackage("a", "1-1.el9", "")}}
	set := func(product string, withdrawn int64) advisory.Set {
		return advisory.Set{Snapshot: advisory.Snapshot{Count: 1}, Advisories: []advisory.Advisory{{ID: "RHSA-1", Source: "osv/RHSA", Basis: advisory.BasisRecord, Withdrawn: withdrawn,
			Affected: []advisory.Affected{{Ecosystem: "Red Hat:" + product, Package: "a", Ranges: []advisory.Range{{Introduced: advisory.Beginning, Fixed: "1-2.el9_3"}}}}}}}
	}
	codes := func(s advisory.Set, o inventory.OS) (out string) {
		inv.OS = o
		for _, f := range Find(inv, NewIndex(s)) {
			out += string(f.Reason.Code) + " "
		}
		return out
	}
	rhel := inventory.OS{ID: "rhel", VersionID: "9.3"}
	for want, got := range map[string]string{
		"below-fixed ":             codes(set("enterprise_linux:9::baseos", 0), rhel),
		"":                         codes(set("enterprise_linux:9::baseos", 1), rhel),
		"not-covered ":             codes(set("enterprise_linux:8::baseos", 0), rhel),
		"not-covered below-fixed ": codes(set("rhel_eus:9.2::baseos", 0), rhel),
		"system-unknown ":          codes(set("enterprise_linux:9::baseos", 0), inventory.OS{ID: "rhel"}),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for s, want := range map[advisory.Subject]bool{
		{Ecosystem: "Red Hat:enterprise_linux:9::baseos", Package: "a"}: true, {Ecosystem: "Red Hat:rhel_eus:9.2::baseos", Package: "src"}: true,
		{Ecosystem: "Red Hat:enterprise_linux:8::baseos", Package: "a"}: false, {Ecosystem: "Red Hat:enterprise_linux:9::baseos", Package: "b"}: false,
	} {
		p := rpmPackage("a", "1-1.el9", "")
		p.Source = "src"
		if Concerns(rhel, p, s) != want {
			t.Errorf("%v: want %v", s, want)
		}
	}
	p := rpmPackage("a", "1-1.el9", "")
	p.Source = "src"
	for s, want := range map[advisory.Subject]bool{{Ecosystem: "AlmaLinux:9", Package: "a"}: true, {Ecosystem: "AlmaLinux", Package: "a"}: true, {Ecosystem: "AlmaLinux:9", Package: "src"}: false, {Ecosystem: "AlmaLinux:8", Package: "a"}: false} {
		if Concerns(inventory.OS{ID: "almalinux", VersionID: "9.3"}, p, s) != want {
			t.Errorf("%v: want %v", s, want)
		}
	}
}

// Streams of modules among Red Hat's statements.
func TestRedHatsModules(t *testing.T) {
	const label, installed = "nodejs:18:8060020220823:0b4eb31d", "1:18.0.0-5.module+el8.6.0+5+5"
	part := func(product, module, fixed string) advisory.Affected {
		return advisory.Affected{Ecosystem: "Red Hat:" + product, Package: "nodejs", Module: module, Ranges: []advisory.Range{{Type: "ECOSYSTEM", Introduced: advisory.Beginning, Fixed: fixed}}}
	}
	main := part("enterprise_linux:8::appstream", "nodejs:18", "1:18.0.0-9.module+el8.8.0+9+9")
	for _, c := range []struct {
		name      string
		parts     []advisory.Affected
		withdrawn int64
		want      string
	}{
		{"the same stream", []advisory.Affected{main}, 0, "affected below-fixed"},
		{"unfixed outside modules", []advisory.Affected{part("enterprise_linux:8", "", "")}, 0, "not_affected not-named"},
		{"unfixed in another stream", []advisory.Affected{part("enterprise_linux:8", "nodejs:16", "")}, 0, "not_affected not-named"},
		{"unfixed in this one", []advisory.Affected{part("enterprise_linux:8", "nodejs:18", "")}, 0, "affected unfixed"},
		{"a longer stream's build", []advisory.Affected{main, part("rhel_eus:8.6::appstream", "nodejs:18", "1:18.0.0-4.module+el8.6.0+4+4")}, 0, "not_affected fixed"},
		{"a longer stream's build of another module stream", []advisory.Affected{main, part("rhel_eus:8.6::appstream", "nodejs:16", "1:16.0.0-4.module+el8.6.0+4+4")}, 0, "affected below-fixed"},
		{"withdrawn", []advisory.Affected{main, part("rhel_eus:8.6::appstream", "nodejs:18", "1:18.0.0-4.module+el8.6.0+4+4")}, 1, "not_affected withdrawn"},
	} {
		a := advisory.Advisory{ID: "RHSA-1", Source: csaf.Source, Basis: advisory.BasisRecord, Affected: c.parts, Withdrawn: c.withdrawn}
		inv := inventory.Inventory{OS: inventory.OS{ID: "rhel", VersionID: "8.6"}, Packages: []inventory.Package{rpmPackage("nodejs", installed, label)}}
		got := Explain(inv, NewIndex(advisory.Set{Snapshot: advisory.Snapshot{Count: 1}, Advisories: []advisory.Advisory{a}}), Query{Advisory: "RHSA-1", Package: "nodejs"})
		if len(got) != 1 || fmt.Sprint(got[0].State, " ", got[0].Reason.Code) != c.want {
			t.Errorf("%s: %+v, want %s", c.name, got, c.want)
		}
	}
}
