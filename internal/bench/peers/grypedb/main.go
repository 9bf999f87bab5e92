// Command grypedb writes a grype v6 database from a zip of OSV records, with
// grype's own writer, so that grype is measured on the very records that the
// others read. It is a module of its own: grype is nobody's dependency here.
package main

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/afero"

	db "github.com/anchore/grype/grype/db/v6"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "grypedb:", err)
		os.Exit(1)
	}
}

type record struct {
	ID       string
	Upstream []string
	Details  string
	Affected []struct {
		Package struct{ Ecosystem, Name string }
		Ranges  []struct{ Events []map[string]string }
	}
}

// codenames are part of how grype finds a release.
var codenames = map[string]string{"11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky"}

func run(from, dir string) error {
	z, err := zip.OpenReader(from)
	if err != nil {
		return err
	}
	defer z.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	w, err := db.NewWriter(db.Config{DBDirPath: dir, CacheSizeKiB: 256 << 10})
	if err != nil {
		return err
	}
	if err := w.SetDBMetadata(); err != nil {
		return err
	}
	now := time.Now().UTC()
	provider := &db.Provider{ID: "debian", Version: "1", Processor: "patchwrit-bench", DateCaptured: &now}
	for from := 0; from < len(z.File); from += 500 {
		if err := write(w, provider, z.File[from:min(from+500, len(z.File))]); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := db.Hydrater()(dir); err != nil {
		return err
	}
	_, err = db.WriteImportMetadata(afero.NewOsFs(), dir, "patchwrit-bench")
	return err
}

// write stores some records and what they say about packages.
func write(w db.ReadWriter, provider *db.Provider, files []*zip.File) error {
	var vulns []*db.VulnerabilityHandle
	var records []record
	for _, f := range files {
		var r record
		in, err := f.Open()
		if err != nil {
			return err
		}
		err = json.NewDecoder(in).Decode(&r)
		in.Close()
		if err != nil {
			return err
		}
		name := r.Upstream[0]
		vulns = append(vulns, &db.VulnerabilityHandle{Name: name, Status: db.VulnerabilityActive, ProviderID: provider.ID, Provider: provider,
			BlobValue: &db.VulnerabilityBlob{ID: name, Description: r.Details}})
		records = append(records, r)
	}
	if err := w.AddVulnerabilities(vulns...); err != nil {
		return err
	}
	var packages []*db.AffectedPackageHandle
	for i, r := range records {
		for _, a := range r.Affected {
			_, release, _ := strings.Cut(a.Package.Ecosystem, ":")
			rng := db.Range{Version: db.Version{Type: "dpkg"}, Fix: &db.Fix{State: db.NotFixedStatus}}
			for _, e := range a.Ranges[0].Events {
				if fixed := e["fixed"]; fixed != "" {
					rng = db.Range{Version: db.Version{Type: "dpkg", Constraint: "< " + fixed}, Fix: &db.Fix{Version: fixed, State: db.FixedStatus}}
				}
			}
			packages = append(packages, &db.AffectedPackageHandle{
				VulnerabilityID: vulns[i].ID, Vulnerability: vulns[i],
				OperatingSystem: &db.OperatingSystem{Name: "debian", ReleaseID: "debian", MajorVersion: release, Codename: codenames[release]},
				Package:         &db.Package{Ecosystem: "deb", Name: a.Package.Name},
				BlobValue:       &db.PackageBlob{CVEs: []string{r.Upstream[0]}, Ranges: []db.Range{rng}},
			})
		}
	}
	return w.AddAffectedPackages(packages...)
}
