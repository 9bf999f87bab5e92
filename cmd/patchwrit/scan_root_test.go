package main

import (
	"archive/zip"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/internal/debworld"
)

// dpkgSays is a binary package of a real root, as its own dpkg tells it.
type dpkgSays struct{ name, version, source, sourceVersion string }

// A scan of a real Debian 12 root, made from the mirror, finds what dpkg says: the
// root's own dpkg tells what is installed and from which source, and this machine's
// `dpkg --compare-versions` decides each pair of a record and a package. Records are
// Debian's derived ones, where the shared data set is, and some around the version
// of each installed source, since a root that is up to date has few findings.
func TestARealRootIsExactByDpkg(t *testing.T) {
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: real Debian roots, minutes")
	}
	host := debworld.NewHost(t)
	said, err := host.Run(t.Context(), "dpkg-query", "-W", "-f", `${db:Status-Status} ${Package} ${Version} ${source:Package} ${source:Version}\n`)
	if err != nil {
		t.Fatal(err)
	}
	var installed []dpkgSays
	versions := map[string]string{}
	for line := range strings.Lines(said.Stdout) {
		if f := strings.Fields(line); len(f) == 5 && f[0] == "installed" {
			installed, versions[f[3]] = append(installed, dpkgSays{f[1], f[2], f[3], f[4]}), f[4]
		}
	}
	if len(installed) < 80 {
		t.Fatalf("dpkg tells %d packages", len(installed))
	}
	want, records, pairs := map[string]bool{}, map[string][]byte{}, 0
	older := func(a, op, b string) bool {
		return exec.Command("dpkg", "--compare-versions", a, op, b).Run() == nil
	}
	add := func(id, source, introduced, fixed string) {
		for _, p := range installed {
			if p.source == source {
				pairs++
				if (introduced == "0" || older(p.sourceVersion, "ge", introduced)) && older(p.sourceVersion, "lt", fixed) {
					want[id+" "+p.name+" "+p.version] = true
				}
			}
		}
	}
	for i, source := range slices.Sorted(maps.Keys(versions)) {
		v := versions[source]
		for n, bounds := range [][2]string{{"0", v}, {"0", v + "~"}, {"0", v + "+b1"}, {"0", v + ".1"}, {v, v + "+deb12u99"}, {v + "+a", v + "+b"}, {"0", "999:0"}} {
			id := fmt.Sprintf("DEBIAN-CVE-2099-%d", 100000+10*i+n)
			records[id] = fmt.Appendf(nil, `{"schema_version":"1.6.0","id":%q,"modified":%q,"affected":[{"package":{"ecosystem":"Debian:12","name":%q},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":%q},{"fixed":%q}]}]}]}`,
				id, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), source, bounds[0], bounds[1])
			add(id, source, bounds[0], bounds[1])
		}
	}
	derived := derivedRecords(t, records, add)
	feed := filepath.Join(t.TempDir(), "made.zip")
	f, err := os.Create(feed)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for _, id := range slices.Sorted(maps.Keys(records)) {
		w, err := z.Create(id + ".json")
		if err == nil {
			_, err = w.Write(records[id])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	r := call(t, "scan", "-q", "--root", host.Dir, "--feed", feed, "--max-age", "876000h", "-o", "json")
	var doc struct {
		Findings []struct{ Advisory, Package, Version, State string }
	}
	if err := json.Unmarshal([]byte(r.out), &doc); err != nil || r.code != exitFindings {
		t.Fatalf("exit %d, %v: %s", r.code, err, r.err)
	}
	got := map[string]bool{}
	for _, x := range doc.Findings {
		if x.State == "affected" {
			got[x.Advisory+" "+x.Package+" "+x.Version] = true
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%d findings, dpkg gives %d", len(got), len(want))
		for k := range want {
			if !got[k] {
				t.Fatalf("missing: %s", k)
			}
		}
		for k := range got {
			if !want[k] {
				t.Fatalf("too many: %s", k)
			}
		}
	}
	t.Logf("%d packages of %d sources, %d records of which %d are Debian's derived ones, %d pairs decided by dpkg, %d findings equal", len(installed), len(versions), len(records), derived, pairs, len(want))
}

// derivedRecords adds Debian's derived records of installed sources.
func derivedRecords(t *testing.T, records map[string][]byte, add func(id, source, introduced, fixed string)) (n int) {
	name := filepath.Join(cmp.Or(os.Getenv("PATCHWRIT_SHARED"), "../../../shared/data"), "debian/osv-derived-bookworm.zip")
	z, err := zip.OpenReader(name)
	if err != nil {
		t.Logf("Debian's derived records are not here (%v): only made ones are compared", err)
		return 0
	}
	defer z.Close()
	for _, f := range z.File {
		raw, err := z.Open(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		var r struct {
			ID       string
			Affected []struct {
				Package struct{ Name string }
				Ranges  []struct{ Events []map[string]string }
			}
		}
		var body json.RawMessage
		if err := json.NewDecoder(raw).Decode(&body); err != nil {
			t.Fatal(err)
		}
		raw.Close()
		if err := json.Unmarshal(body, &r); err != nil {
			t.Fatal(err)
		}
		records[r.ID], n = body, n+1
		for _, a := range r.Affected {
			for _, g := range a.Ranges {
				for _, e := range g.Events {
					if e["fixed"] != "" {
						add(r.ID, a.Package.Name, "0", e["fixed"])
					}
				}
			}
		}
	}
	return n
}
