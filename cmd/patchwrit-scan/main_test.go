package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/match/flat"
)

var now = time.Unix(1_795_000_000, 0)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// world is a root with two packages and an index with a record for each.
func world(t *testing.T) (root, index string, sets []advisory.Set) {
	t.Helper()
	dir := t.TempDir()
	root, index = filepath.Join(dir, "root"), filepath.Join(dir, "index")
	write(t, filepath.Join(root, "etc/os-release"), "ID=debian\nVERSION_ID=12\n")
	write(t, filepath.Join(root, "var/lib/dpkg/arch"), "amd64\n")
	status := ""
	for _, p := range []string{"a", "b"} {
		status += "Package: " + p + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1-1\n\n"
	}
	write(t, filepath.Join(root, "var/lib/dpkg/status"), status)
	s := advisory.Set{Snapshot: advisory.Snapshot{Name: "osv", Kind: "osv", Source: "x", Digest: canon.SumFile(nil), Count: 2, Newest: now.Unix(), Scope: []advisory.Subject{}, Partial: []advisory.Gap{}}}
	for _, p := range []string{"a", "b"} {
		r := advisory.Range{Type: "ECOSYSTEM", Introduced: "0", Fixed: "2-1"}
		if p == "b" {
			r.Fixed = "not a version"
		}
		s.Advisories = append(s.Advisories, advisory.Advisory{ID: "CVE-2026-" + p, Aliases: []string{}, Source: "osv/DEBIAN", Basis: advisory.BasisRecord, Raw: canon.SumFile([]byte(p)), Feed: s.Snapshot.Origin(),
			Affected: []advisory.Affected{{Ecosystem: "Debian:12", Package: p, Ranges: []advisory.Range{r}}}})
	}
	sets = []advisory.Set{s}
	var b bytes.Buffer
	if _, err := flat.Write(&b, sets...); err != nil {
		t.Fatal(err)
	}
	write(t, index, b.String())
	return root, index, sets
}

func TestTheAnswerIsThatOfTheSets(t *testing.T) {
	root, index, sets := world(t)
	r, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	inv, err := inventory.Read(r.FS())
	if err != nil {
		t.Fatal(err)
	}
	want := match.Find(inv, match.NewIndex(sets...))
	var out, stderr bytes.Buffer
	if code := run([]string{"-root", root, "-index", index, "-o", "json"}, &out, &stderr, now); code != exitFindings {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
	var doc struct {
		OS                inventory.OS
		Findings          []match.Finding
		Gaps              []match.Reason
		Snapshots         []advisory.Snapshot
		Affected, Unknown int
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if len(want) != 2 || !reflect.DeepEqual(doc.Findings, want) || len(doc.Gaps) != 0 || doc.Affected != 1 || doc.Unknown != 1 || doc.OS.ID != "debian" || doc.Snapshots[0].Count != 2 {
		t.Errorf("got %+v\nwant %+v", doc, want)
	}
}

func TestExitCodes(t *testing.T) {
	root, index, _ := world(t)
	broken := filepath.Join(t.TempDir(), "broken")
	raw, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	write(t, broken, string(raw[:len(raw)-1]))
	for args, want := range map[string]int{
		"-root R -index I":                   exitFindings,
		"-root R -index I -fail-on none":     exitPartial,
		"-root R -index I -max-age 1ns":      exitFindings,
		"-root R":                            exitUsage,
		"-root R -index I -o xml":            exitUsage,
		"-root R -index I -fail-on anything": exitUsage,
		"-root R -index I more":              exitUsage,
		"-nonsense":                          exitUsage,
		"-root R -index B":                   exitIntegrity,
		"-root R -index R":                   exitFailure,
		"-root R -index absent":              exitFailure,
		"-root absent -index I":              exitFailure,
	} {
		argv := strings.Fields(strings.NewReplacer("R", root, "I", index, "B", broken).Replace(args))
		var out, stderr bytes.Buffer
		if got := run(argv, &out, &stderr, now.Add(time.Second)); got != want {
			t.Errorf("%s: exit %d, want %d: %s%s", args, got, want, out.String(), stderr.String())
		}
	}
	var out, stderr bytes.Buffer
	run([]string{"-root", root, "-index", index, "-max-age", "1ns"}, &out, &stderr, now.Add(48*time.Hour))
	for _, want := range []string{"CVE-2026-a\ta:amd64\t1-1\t2-1\taffected\tbelow-fixed", "feed-partial", "debian 12: 1 affected, 1 unknown, 1 gaps, 1 feeds"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
