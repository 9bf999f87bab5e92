package match_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/feed"
	"github.com/patchwrit/patchwrit/internal/shareddata"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/version"
)

// What is read for a host finds what is found over the whole feed, and says the
// same of the feed.
func TestAFeedReadForAHostFindsTheSame(t *testing.T) {
	osv := func(id, ecosystem, name, more string) string {
		return fmt.Sprintf(`{"id":%q,"modified":"2026-11-20T00:00:00Z","affected":[{"package":{"ecosystem":%q,"name":%q},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"2"}]}]}%s]}`, id, ecosystem, name, more)
	}
	other := `,{"package":{"ecosystem":"Debian:12","name":"other"},"versions":["1.0-1"]}`
	tracker := `{"a":{"CVE-2026-0001":{"releases":{"bookworm":{"status":"resolved","fixed_version":"2","urgency":"low"}}}},"b":{"CVE-2026-0002":{"releases":{"bookworm":{"status":"open","urgency":"low"}}}}}`
	vex := `{"@context":"https://openvex.dev/ns/v0.2.0","statements":[]}`
	for name, files := range map[string][]string{
		"one of many":        {osv("DEBIAN-CVE-2026-1", "Debian:12", "a", other), osv("DEBIAN-CVE-2026-2", "Debian:12", "x", ""), osv("DEBIAN-CVE-2026-3", "Debian:11", "a", "")},
		"nothing installed":  {osv("DEBIAN-CVE-2026-1", "Debian:12", "x", other), osv("DEBIAN-CVE-2026-2", "Debian:12", "y", "")},
		"another release":    {osv("DEBIAN-CVE-2026-1", "Debian:11", "a", "")},
		"no release":         {osv("DEBIAN-CVE-2026-1", "Debian", "a", "")},
		"an id twice":        {osv("DEBIAN-CVE-2026-1", "Debian:11", "x", ""), osv("DEBIAN-CVE-2026-1", "Debian:11", "y", ""), osv("DEBIAN-CVE-2026-1", "Debian:12", "a", "")},
		"the same twice":     {osv("DEBIAN-CVE-2026-1", "Debian:11", "x", ""), osv("DEBIAN-CVE-2026-1", "Debian:11", "x", "")},
		"broken, unwanted":   {osv("DEBIAN-CVE-2026-1", "Debian:12", "a", ""), osv("DEBIAN-CVE-2026-2", "Debian:11", "x", `,{"package":{"ecosystem":"Debian:11"}}`)},
		"broken at its end":  {osv("DEBIAN-CVE-2026-1", "Debian:12", "a", ""), osv("DEBIAN-CVE-2026-2", "Debian:11", "x", "") + "x"},
		"somebody's word":    {osv("X-1", "Debian:12", "x", ""), osv("X-2", "Debian:12", "a", "")},
		"whole by one alone": {osv("X-1", "Debian:12", "x", ""), osv("DEBIAN-CVE-2026-2", "Debian:12", "y", "")},
		"tracker":            {tracker},
		"empty":              {vex},
	} {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for i, f := range files {
			w, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprint(i, ".json"), Method: zip.Deflate, Modified: time.Unix(1_795_000_000, 0)})
			if err == nil {
				_, err = w.Write([]byte(f))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "z")
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		sameForHost(t, name, path, debianHost("12", "a", "b"), 1)
	}
}

func TestARealFeedReadForAHostFindsTheSame(t *testing.T) {
	path := shareddata.Path(t, "..", "debian/osv-derived-DSA-DLA-to-2023-03.zip")
	sameForHost(t, "DSA", path, debianHost("11", "openssl", "linux", "curl", "bash"), 10)
}

// debianHost has the sources at version 1.0-1, each as one package.
func debianHost(release string, sources ...string) (inv inventory.Inventory) {
	installed := inventory.Status{Want: "install", Flag: "ok", State: inventory.Installed}
	inv = inventory.Inventory{OS: inventory.OS{ID: "debian", VersionID: release}, Partial: []inventory.Gap{}}
	for _, s := range sources {
		inv.Packages = append(inv.Packages, inventory.Package{Name: s, Arch: "amd64", Version: "1.0-1", Scheme: version.Deb, Source: s, SourceVersion: "1.0-1", Status: installed})
	}
	return inv
}

// sameForHost compares; of the records at most one in share is kept where it is
// above 1.
func sameForHost(t *testing.T, name, path string, inv inventory.Inventory, share int) {
	t.Helper()
	o := feed.Options{Now: time.Unix(1_795_000_100, 0)}
	whole, err := feed.Read(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Wanted = match.Wanted(inv)
	part, err := feed.Read(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(part.Snapshot, whole.Snapshot) {
		t.Errorf("%s: the snapshot of the part is %+v, of the whole %+v", name, part.Snapshot, whole.Snapshot)
	}
	got, want := match.Find(inv, match.NewIndex(part)), match.Find(inv, match.NewIndex(whole))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: found in the part\n%+v\nin the whole\n%+v", name, got, want)
	}
	if share > 1 && (len(part.Advisories)*share > len(whole.Advisories) || len(want) < 10) {
		t.Errorf("%s: %d of %d records are kept, %d found: nothing is shown", name, len(part.Advisories), len(whole.Advisories), len(want))
	}
}
