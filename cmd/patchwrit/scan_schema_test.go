package main

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/docs/schema"
	"github.com/patchwrit/patchwrit/internal/rpmtest"
	"github.com/patchwrit/patchwrit/internal/schematest"
)

const oldFeeds = "--max-age=876000h"

// scanned is every kind of answer that a scan gives, as arguments after "scan -q".
func scanned(t *testing.T) map[string][]string {
	dir := t.TempDir()
	rec := func(name, id, more, ecosystem, pkg, fixed string) string {
		return place(t, dir, name+"/a.json", `{"id":"`+id+`","modified":"2026-01-01T00:00:00Z",`+more+`"affected":[{"package":{"ecosystem":"`+ecosystem+`","name":"`+pkg+`"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"`+fixed+`"}]}]}]}`)
	}
	debian := paperRoot(t, "1.0-1")
	alma := rpmtest.Root(t, "ID=almalinux\nVERSION_ID=9.4\n", rpmtest.Package{Name: "openssl-libs", Version: "3.0.7", Release: "1.el9", Epoch: 1}, rpmtest.Package{Name: "bash", Version: "5", Release: "1.el9"})
	alpine := t.TempDir()
	place(t, alpine, "etc/os-release", "ID=alpine\nVERSION_ID=3.20.1\n")
	place(t, alpine, "lib/apk/db/installed", "P:libssl3\nV:3.3.1-r0\nA:x86_64\no:openssl\n\n")
	half := t.TempDir()
	place(t, half, "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n")
	place(t, half, "var/lib/dpkg/status", "Package: pw-tool\nStatus: install ok half-installed\nArchitecture: amd64\nVersion: 1.0-1\n\nPackage: cut\n")
	deb := rec("deb", "DEBIAN-CVE-2026-1001", `"upstream":["CVE-2026-1001"],"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],`, "Debian:12", "pw-tool", "1.1-1")
	lower := rec("lower", "DEBIAN-CVE-2026-1001", `"upstream":["CVE-2026-1001"],"withdrawn":"2026-02-01T00:00:00Z",`, "Debian:12", "pw-tool", "1.1-1")
	broken := place(t, dir, "broken/b.json", `{"id":`)
	rec("broken", "DEBIAN-CVE-2026-1001", "", "Debian:12", "pw-tool", "1.1-1")
	kev := place(t, dir, "kev.json", `{"title":"t","catalogVersion":"2026.08.07","dateReleased":"2026-08-07T16:45:47.0648Z","count":1,"vulnerabilities":[
{"cveID":"CVE-2026-1001","vendorProject":"Example","product":"Tool","vulnerabilityName":"n","dateAdded":"2026-08-07","shortDescription":"d","requiredAction":"a","dueDate":"2026-08-10","knownRansomwareCampaignUse":"Known"}]}`)
	nvd := place(t, dir, "nvd.json", `{"resultsPerPage":1,"startIndex":0,"totalResults":1,"format":"NVD_CVE","version":"2.0","timestamp":"2026-08-05T00:00:00.000","vulnerabilities":[
{"cve":{"id":"CVE-2026-1001","sourceIdentifier":"a","lastModified":"2026-08-04T00:00:00.000","vulnStatus":"Analyzed","metrics":{"cvssMetricV31":[{"source":"nvd@nist.gov","type":"Primary","cvssData":{"version":"3.1","vectorString":"CVSS:3.1/AV:N","baseScore":10}}],"ssvcV203":[{"source":"134c704f-9b21-4f2e-91b3-4a467353bcc0","ssvcData":{"id":"CVE-2026-1001","timestamp":"2026-08-02T00:00:00Z","options":[{"automatable":"yes"}]}}]}}}]}`)
	epss := place(t, dir, "epss_scores-2026-08-16.csv", "cve,epss,percentile\nCVE-2026-1001,0.97567,0.99995\n")
	bill := place(t, dir, "bill.cdx.json", `{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"type":"library","name":"n","purl":"pkg:golang/golang.org/x/net@v0.1.0"},{"type":"library","name":"?"}]}`)
	_ = rec("go", "GO-1", "", "Go", "golang.org/x/net", "0.2.0")
	golang := place(t, dir, "go/a.json", `{"id":"GO-1","modified":"2026-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"Go","name":"golang.org/x/net"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"0.2.0"}]}]}]}`)
	return map[string][]string{
		"debian":      {"--root", debian, "--feed", deb, oldFeeds},
		"almalinux":   {"--root", alma, oldFeeds, "--feed", rec("alma", "ALSA-1", `"aliases":["CVE-2026-1"],`, "AlmaLinux:9", "openssl-libs", "1:3.0.7-2.el9")},
		"alpine":      {"--root", alpine, oldFeeds, "--feed", rec("apk", "ALPINE-1", "", "Alpine:v3.20", "openssl", "3.3.2-r0")},
		"kernel":      {"--root", rpmtest.Root(t, "ID=almalinux\nVERSION_ID=9.4\n", rpmtest.Package{Name: "kernel-core", Version: "5.14.0", Release: "70.el9"}, rpmtest.Package{Name: "kernel-core", Version: "5.14.0", Release: "427.el9"}), "--kernel", "5.14.0-70.el9.x86_64", oldFeeds, "--feed", rec("kernel", "ALSA-2", "", "AlmaLinux:9", "kernel-core", "5.14.0-427.el9")},
		"bill":        {"--sbom", bill, "--feed", golang, oldFeeds},
		"unknown":     {"--root", half, "--feed", deb, oldFeeds},
		"partial":     {"--root", debian, oldFeeds, "--feed", filepath.Dir(broken)},
		"stale":       {"--root", debian, "--feed", deb, "--max-age", "1h"},
		"clean":       {"--root", paperRoot(t, "2-1"), "--feed", deb, oldFeeds},
		"no system":   {"--root", rpmtest.Root(t, "ID=fedora\nVERSION_ID=42\n", rpmtest.Package{Name: "bash", Version: "5", Release: "1"}), "--feed", deb, oldFeeds},
		"deadlines":   {"--root", debian, "--feed", deb, oldFeeds, "--kev", kev, "--epss", epss, "--cve", nvd, "--exposed", "yes"},
		"no facts":    {"--root", debian, "--feed", deb, oldFeeds, "--exposed", "unknown"},
		"quarantined": {"--root", debian, "--feed", filepath.Dir(lower), "--since", filepath.Dir(deb), oldFeeds},
	}
}

// What a scan says is what the schema says, in both directions.
func TestScanIsAsItsSchemaSays(t *testing.T) {
	s := schematest.Compile(t, schema.Scan)
	for _, wrong := range s.Describes(reflect.TypeFor[scanReport]()) {
		t.Error(wrong)
	}
	states, held, gaps, gone := map[string]bool{}, 0, 0, []byte(nil)
	for name, args := range scanned(t) {
		r := call(t, append([]string{"scan", "-q", "-o", "json"}, args...)...)
		if r.out == "" {
			t.Errorf("%s: exit %d: %s", name, r.code, r.err)
			continue
		}
		s.Accepts(t, name, []byte(r.out))
		var doc scanReport
		if err := json.Unmarshal([]byte(r.out), &doc); err != nil {
			t.Error(err)
		}
		for _, f := range doc.Findings {
			states[string(f.State)] = true
		}
		held, gaps = held+len(doc.Held), gaps+len(doc.Gaps)
		if name == "kernel" && (len(doc.Findings) != 1 || doc.Findings[0].Runs != "yes" || doc.Kernel.Boot != "older") {
			t.Errorf("the rpm kernel that runs: %+v %+v", doc.Findings, doc.Kernel)
		}
		if name == "deadlines" {
			gone = []byte(r.out)
		}
	}
	if !states["affected"] || !states["unknown"] || held == 0 || gaps == 0 {
		t.Errorf("the outputs are too plain to prove anything: %v, %d held, %d gaps", states, held, gaps)
	}
	for _, path := range []string{"gaps", "findings.state", "findings.priority.class.days", "snapshots.digest", "findings.sources.raw", "deadlines.exposed"} {
		if err := s.Judge(t, schematest.Changed(t, gone, path, nil)); err == nil {
			t.Errorf("without %s it passes", path)
		}
	}
	for path, value := range map[string]any{"findings.state": "clean", "affected": -1, "news": 1, "findings.advisory": "", "findings.priority.kev.news": "x", "snapshots.fetched": "today", "os.id": 7} {
		if err := s.Judge(t, schematest.Changed(t, gone, path, value)); err == nil {
			t.Errorf("with %s = %v it passes", path, value)
		}
	}
}

// A field that is added to what a scan writes is an error until the schema has
// it, and the other way round.
func TestAFieldWithoutSchemaIsFound(t *testing.T) {
	type more struct {
		scanReport
		News string `json:"news"`
	}
	type less struct {
		OS struct {
			ID int `json:"id"`
		} `json:"os"`
	}
	s := schematest.Compile(t, schema.Scan)
	got := strings.Join(append(s.Describes(reflect.TypeFor[more]()), s.Describes(reflect.TypeFor[less]())...), "\n")
	for _, want := range []string{`writes "news", which the schema does not have`, `the schema has "version_id", which`, `$.os.id: the schema has the type [string], int is written`, `the schema has "findings", which`} {
		if !strings.Contains(got, want) {
			t.Errorf("want %s in:\n%s", want, got)
		}
	}
}

func TestScanPrintsItsSchema(t *testing.T) {
	if r := call(t, "scan", "schema"); r.code != 0 || r.out != string(schema.Scan) {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	if r := call(t, "scan", "scheme"); r.code != exitUsage {
		t.Errorf("exit %d\n%s", r.code, r.err)
	}
}
