package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/internal/rpmtest"
	"github.com/patchwrit/patchwrit/match"
)

// osvOf is a record about pw-tool of Debian 12, or what affected says instead.
func osvOf(id, more, affected string) string {
	if !strings.Contains(affected, "ecosystem") {
		affected = `{"package":{"ecosystem":"Debian:12","name":"pw-tool"}` + affected + `}`
	}
	return `{"id":"` + id + `","modified":"2026-01-01T00:00:00Z",` + more + `"affected":[` + affected + `]}`
}

func events(list string) string { return `,"ranges":[{"type":"ECOSYSTEM","events":[` + list + `]}]` }

// explainWorld writes feeds and systems, and gives the questions: a name, and
// arguments behind "finding explain -q".
func explainWorld(t *testing.T) (string, [][]string) {
	dir := t.TempDir()
	for id, rec := range map[string]string{
		"below":     osvOf("DEBIAN-below", `"aliases":["CVE-2026-1"],`, events(`{"introduced":"0"},{"fixed":"1.1-1"}`)),
		"unfixed":   osvOf("DEBIAN-unfixed", "", events(`{"introduced":"0"}`)),
		"last":      osvOf("DEBIAN-last", "", events(`{"introduced":"0"},{"last_affected":"1.0-1"}`)),
		"listed":    osvOf("DEBIAN-listed", "", `,"versions":["0.9-1","1.0-1"]`),
		"fixed":     osvOf("DEBIAN-fixed", "", events(`{"introduced":"0"},{"fixed":"0.9-1"}`)),
		"later":     osvOf("DEBIAN-later", "", events(`{"introduced":"2.0-1"}`)),
		"past":      osvOf("DEBIAN-past", "", events(`{"introduced":"0"},{"last_affected":"0.5-1"}`)),
		"withdrawn": osvOf("DEBIAN-withdrawn", `"withdrawn":"2026-02-01T00:00:00Z",`, events(`{"introduced":"0"}`)),
		"other":     osvOf("DEBIAN-other", "", `{"package":{"ecosystem":"Debian:12","name":"other"}`+events(`{"introduced":"0"}`)+`}`),
		"norange":   osvOf("DEBIAN-norange", "", ""),
		"unnamed":   osvOf("DEBIAN-unnamed", "", `{"package":{"ecosystem":"Debian","name":"pw-tool"}`+events(`{"introduced":"0"}`)+`}`),
	} {
		place(t, dir, "osv/"+id+".json", rec)
	}
	place(t, dir, "broken/a.json", osvOf("DEBIAN-other", "", `{"package":{"ecosystem":"Debian:12","name":"other"}`+events(`{"introduced":"0"}`)+`}`))
	place(t, dir, "broken/b.json", `{"id":`)
	place(t, dir, "eleven/a.json", osvOf("DEBIAN-eleven", "", `{"package":{"ecosystem":"Debian:11","name":"pw-tool"}`+events(`{"introduced":"0"}`)+`}`))
	place(t, dir, "tracker.json", `{"pw-tool":{"CVE-2026-11":{"releases":{"bookworm":{"status":"open","nodsa":"Minor issue","nodsa_reason":""}}},
"CVE-2026-12":{"releases":{"bookworm":{"status":"open","nodsa":"Minor issue","nodsa_reason":"postponed"}}},"CVE-2026-13":{"releases":{"bookworm":{"status":"open","nodsa":"Minor issue","nodsa_reason":"ignored"}}},
"CVE-2026-14":{"releases":{"bookworm":{"status":"open","urgency":"end-of-life"}}},"CVE-2026-15":{"releases":{"bookworm":{"status":"undetermined"}}},
"CVE-2026-16":{"releases":{"bookworm":{"status":"resolved","fixed_version":"0"}}}}}`)
	place(t, dir, "people.json", `{"@context":"https://openvex.dev/ns/v0.2.0","@id":"x","author":"Ada","timestamp":"`+time.Now().Add(-30*24*time.Hour).UTC().Format(time.RFC3339)+`","statements":[{"vulnerability":{"name":"CVE-2026-21"},"status":"affected","products":[{"@id":"pkg:deb/debian/pw-tool?distro=debian-12"}]}]}`)
	place(t, dir, "csaf/a.json", `{"document":{"category":"csaf_vex","csaf_version":"2.0","publisher":{"namespace":"https://www.redhat.com"},"title":"it","tracking":{"id":"CVE-2026-31","current_release_date":"2026-02-03T00:00:00Z","initial_release_date":"2026-01-01T00:00:00Z"}},
"product_tree":{"branches":[{"product":{"product_id":"rhel9","product_identification_helper":{"cpe":"cpe:/o:redhat:enterprise_linux:9"}}},{"product":{"product_id":"vim","product_identification_helper":{"purl":"pkg:rpm/redhat/vim"}}}],
"relationships":[{"category":"default_component_of","full_product_name":{"product_id":"rhel9:vim"},"product_reference":"vim","relates_to_product_reference":"rhel9"}]},
"vulnerabilities":[{"cve":"CVE-2026-31","product_status":{"under_investigation":["rhel9:vim"]}}]}`)
	place(t, dir, "alma/a.json", `{"id":"ALSA-41","modified":"2026-01-01T00:00:00Z","summary":"Important: nodejs:18 security update","affected":[{"package":{"ecosystem":"AlmaLinux:9","name":"nodejs"}`+events(`{"introduced":"0"},{"fixed":"18.2.0-1.module_el9.1.0+1+1"}`)+`}]}`)
	for id, rec := range map[string]string{
		"fixable": `{"id":"GO-51","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Go","name":"a.b/c"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.2.0"}]}]}]}`,
		"open":    `{"id":"GO-52","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Go","name":"a.b/c"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`,
		"past":    `{"id":"GO-53","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Go","name":"a.b/c"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"0.9.0"}]}]}]}`,
		"devel":   `{"id":"GO-54","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Go","name":"a.b/d"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.2.0"}]}]}]}`,
	} {
		place(t, dir, "go/"+id+".json", rec)
	}
	place(t, dir, "npm/a.json", `{"id":"GHSA-61","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"npm","name":"kit"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`)
	bill := func(name string, purls ...string) string {
		var list []string
		for _, p := range purls {
			list = append(list, `{"type":"library","name":"x","purl":"`+p+`"}`)
		}
		return place(t, dir, name, `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[`+strings.Join(list, ",")+`]}`)
	}
	debian, half := paperRoot(t, "1.0-1"), t.TempDir()
	place(t, half, "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n")
	place(t, half, "var/lib/dpkg/status", "Package: pw-tool\nStatus: install ok half-installed\nArchitecture: amd64\nVersion: 1.0-1\n\nPackage: cut\n")
	on := func(root, feed string, q ...string) []string {
		return append(q, "--root", root, "--feed", filepath.Join(dir, feed), oldFeeds)
	}
	of := func(bill, feed string, q ...string) []string {
		return append(q, "--sbom", bill, "--feed", filepath.Join(dir, feed), oldFeeds)
	}
	libs := bill("libs.json", "pkg:golang/a.b/c@v1.0.0", "pkg:golang/a.b/d@devel", "pkg:golang/a.b/e@v1.0.0")
	rhel := bill("rhel.json", "pkg:rpm/redhat/vim@8.2-1.el9?arch=x86_64&distro=rhel-9.4")
	alma := rpmtest.Root(t, "ID=almalinux\nVERSION_ID=9.4\n", rpmtest.Package{Name: "nodejs", Version: "18.1.0", Release: "1.module_el9.1.0+1+1"})
	var all [][]string
	for _, id := range []string{"below", "unfixed", "last", "listed", "fixed", "later", "past", "withdrawn", "other", "norange", "unnamed"} {
		all = append(all, append([]string{id}, on(debian, "osv", "DEBIAN-"+id)...))
	}
	for _, c := range []string{"11 no-dsa", "12 postponed", "13 ignored", "14 end of life", "15 undetermined", "16 never affected"} {
		id, name, _ := strings.Cut(c, " ")
		all = append(all, append([]string{"tracker: " + name}, on(debian, "tracker.json", "CVE-2026-"+id)...))
	}
	return dir, append(all,
		append([]string{"by an alias, one package"}, on(debian, "osv", "CVE-2026-1", "pw-tool")...),
		append([]string{"no record names this package"}, on(debian, "osv", "DEBIAN-other", "pw-tool")...),
		append([]string{"nobody knows it"}, on(debian, "osv", "CVE-1999-1")...),
		append([]string{"not settled"}, on(half, "osv", "DEBIAN-below")...),
		append([]string{"part of the inventory is missing"}, on(half, "osv", "DEBIAN-other")...),
		append([]string{"part of the feed is missing"}, on(debian, "broken", "DEBIAN-other", "pw-tool")...),
		append([]string{"a feed about another release"}, on(debian, "eleven", "DEBIAN-eleven", "pw-tool")...),
		append([]string{"people say so"}, append(on(debian, "people.json", "CVE-2026-21"), "--feed", filepath.Join(dir, "osv"))...),
		append([]string{"an unknown system"}, of(bill("fedora.json", "pkg:rpm/fedora/bash@5-1?distro=fedora-42"), "osv", "DEBIAN-below")...),
		append([]string{"under investigation"}, of(rhel, "csaf", "CVE-2026-31")...),
		append([]string{"the stream of a module is not known"}, on(alma, "alma", "ALSA-41")...),
		append([]string{"a library, fixed elsewhere"}, of(libs, "go", "GO-51")...),
		append([]string{"a library, fixed nowhere"}, of(libs, "go", "GO-52")...),
		append([]string{"a library, past it"}, of(libs, "go", "GO-53")...),
		append([]string{"a library of no version"}, of(libs, "go", "GO-54")...),
		append([]string{"a library that no record names"}, of(libs, "go", "GO-51", "a.b/e")...),
		append([]string{"a library that is not there"}, of(libs, "go", "GO-51", "a.b/z")...),
		append([]string{"a library, no feed"}, of(bill("npm.json", "pkg:npm/a@1.0.0"), "go", "GO-51", "a")...),
		append([]string{"an npm package in two spellings"}, of(place(t, dir, "two.json", `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"Kit","purl":"pkg:npm/kit@1.0.0"}]}`), "npm", "GHSA-61")...),
		append([]string{"a component that is not matched"}, of(bill("gem.json", "pkg:gem/a@1"), "go", "GO-51")...),
	)
}

// explainElsewhere are the codes that no question here can bring about, and why.
var explainElsewhere = map[string]string{
	"no-feed":          "without a feed the command is refused",
	"index-broken":     "a damaged index is refused when it is opened",
	"quarantined":      "the depot holds the record: script feed_quarantine",
	"kernel-unmatched": "a gap of scan: script scan_kernel",
	"too-many":         "a gap of scan: TestMoreFindingsThanMayBeAreUnknown",
	"feed-empty":       "a gap of scan: TestScanEndsWithTheRightCode",
}

// Every kind of answer explains itself: the golden text is what a person reads.
// PATCHWRIT_REWRITE=1 writes it anew.
func TestEveryAnswerExplainsItself(t *testing.T) {
	dir, questions := explainWorld(t)
	hex, stamp, tmp := regexp.MustCompile(`\b[0-9a-f]{64}\b`), regexp.MustCompile(`\b20[0-9]{2}-[0-9T:-]{14}Z\b`), regexp.MustCompile(regexp.QuoteMeta(filepath.Dir(dir))+`/[0-9]+`)
	var b strings.Builder
	for _, q := range questions {
		r := call(t, append([]string{"finding", "explain", "-q"}, q[1:]...)...)
		fmt.Fprintf(&b, "# %s (exit code %d)\n%s", q[0], r.code, r.out)
		for line := range strings.Lines(r.err) {
			b.WriteString("! " + line)
		}
		b.WriteByte('\n')
	}
	got := tmp.ReplaceAllString(stamp.ReplaceAllString(hex.ReplaceAllString(b.String(), "DIGEST"), "TIME"), "DIR")
	file := "testdata/explain.golden"
	if os.Getenv("PATCHWRIT_REWRITE") == "1" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Fatalf("line %d\n got %s\nwant %s", i+1, g[i], w[i])
			}
		}
		t.Fatalf("%d lines, want %d", len(g), len(w))
	}
	for _, code := range codes(t) {
		if said := strings.Contains(got, "("+code+")\n"); said == (explainElsewhere[code] != "") {
			t.Errorf("code %s: in the golden text %v, and excused: %q", code, said, explainElsewhere[code])
		}
	}
}

// codes are the reasons that room match has.
func codes(t *testing.T) (out []string) {
	file, err := parser.ParseFile(gotoken.NewFileSet(), "../../match/judge.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Code" {
				s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, s)
			}
		}
		return true
	})
	if len(out) < 30 {
		t.Fatalf("only %d codes were found", len(out))
	}
	return out
}

// Whatever a record, a feed or its file is called, a terminal gets no command.
func TestExplainedTextIsClean(t *testing.T) {
	evil := "e\x1b]0;pwned\x07"
	f := explainedFinding{Finding: match.Finding{Advisory: evil, Package: evil, Version: evil, State: match.Unknown, Reason: match.Reason{Code: match.Code(evil), Text: evil}, Source: evil, SourceVersion: evil, Fixed: evil}, Runs: evil}
	f.Sources = []explainedSource{{Source: match.Source{Advisory: evil, Source: evil, Feed: evil}, From: evil}}
	var out strings.Builder
	if err := writeExplained(&out, []explainedFinding{f}); err != nil || strings.ContainsAny(out.String(), "\x1b\x07") || strings.Count(out.String(), "\n") < 6 {
		t.Errorf("%v %q", err, out.String())
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full")
	}
	defer full.Close()
	if err := writeExplained(full, []explainedFinding{f}); err == nil {
		t.Error("what could not be written was not told")
	}
	cmd := newRoot(full, io.Discard)
	cmd.SetArgs([]string{"refusal"})
	if err := cmd.ExecuteContext(t.Context()); err == nil {
		t.Error("a list that could not be written was not told")
	}
}
