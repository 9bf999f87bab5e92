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
		"-root R -index I -max-age -1h":      exitUsage,
		"-root R -index I -max-age -1ns":     exitUsage,
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
	for age, want := range map[string]string{"47h": " 1 gaps,", "48h": " 0 gaps,", "": " 0 gaps,"} { // the default is 14 days
		args := []string{"-root", root, "-index", index}
		if age != "" {
			args = append(args, "-max-age", age)
		}
		var out bytes.Buffer
		if run(args, &out, &stderr, now.Add(48*time.Hour)); !strings.Contains(out.String(), want) {
			t.Errorf("-max-age %s: no %q in\n%s", age, want, out.String())
		}
	}
	for _, want := range []string{"CVE-2026-a\ta:amd64\t1-1\t2-1\taffected\tbelow-fixed", "feed-partial", "debian 12: 1 affected, 1 unknown, 1 gaps, 1 feeds"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// Which kernel runs is said as patchwrit scan says it: of each finding, in a line,
// and as a gap where no finding is about it.
func TestTheKernelThatRuns(t *testing.T) {
	root, index, sets := world(t)
	sets[0].Advisories[0].Affected[0].Package = "linux"
	var b bytes.Buffer
	if _, err := flat.Write(&b, sets...); err != nil {
		t.Fatal(err)
	}
	write(t, index, b.String())
	status := ""
	for release, version := range map[string]string{"6.1.0-9-amd64": "1-1", "6.1.0-42-amd64": "3-1"} {
		status += "Package: linux-image-" + release + "\nStatus: install ok installed\nArchitecture: amd64\nSource: linux\nVersion: " + version + "\n\n"
	}
	bare := filepath.Join(filepath.Dir(root), "bare")
	write(t, filepath.Join(bare, "etc/os-release"), "ID=debian\nVERSION_ID=12\n")
	write(t, filepath.Join(bare, "var/lib/dpkg/arch"), "amd64\n")
	write(t, filepath.Join(bare, "var/lib/dpkg/status"), "Package: c\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1-1\n\n")
	write(t, filepath.Join(bare, "lib/modules/6.1.0-odd/modules.dep"), "")
	write(t, filepath.Join(root, "var/lib/dpkg/status"), status)
	for name, c := range map[string]struct {
		root, kernel, runs, boot string
		code                     int
		table                    string
	}{
		"the older one":     {root, "6.1.0-9-amd64", "yes", "older", exitFindings, "kernel: 6.1.0-9-amd64 runs, 6.1.0-42-amd64 is installed and waits for a boot\n"},
		"the newest":        {root, "6.1.0-42-amd64", "no", "newest", exitFindings, "\tbelow-fixed, does not run\nkernel: 6.1.0-42-amd64 runs, the newest installed\n"},
		"another":           {root, "6.1.0-7-amd64", "no", "not-installed", exitFindings, "unknown: The kernel 6.1.0-7-amd64 runs and is of no installed package"},
		"not known":         {root, "", "", "unknown", exitFindings, "\tbelow-fixed\ndebian 12: 1 affected, 0 unknown, 0 gaps"},
		"of no package":     {bare, "6.1.0-odd", "", "not-installed", exitPartial, "unknown: The kernel 6.1.0-odd runs, and no installed package is known to hold a kernel, so no finding is about it. (kernel-unmatched)\ndebian 12: 0 affected, 0 unknown, 1 gaps"},
		"of another system": {bare, "6.1.0-9-amd64", "", "", 0, "debian 12: 0 affected, 0 unknown, 0 gaps"},
	} {
		args := []string{"-root", c.root, "-index", index, "-kernel", c.kernel}
		var table, raw, stderr bytes.Buffer
		if code := run(args, &table, &stderr, now); code != c.code || !strings.Contains(table.String(), c.table) {
			t.Errorf("%s: exit %d, %s%s", name, code, table.String(), stderr.String())
		}
		if code := run(append(args, "-o", "json"), &raw, &stderr, now); code != c.code {
			t.Errorf("%s: exit %d, %s", name, code, stderr.String())
		}
		var doc struct {
			Findings []struct{ Runs string }
			Gaps     []match.Reason
			Kernel   *match.Kernel
		}
		if err := json.Unmarshal(raw.Bytes(), &doc); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, raw.String())
		}
		boot, runs, gaps := "", "", 0
		if doc.Kernel != nil {
			boot = string(doc.Kernel.Boot)
		}
		for _, f := range doc.Findings {
			runs += f.Runs
		}
		if c.boot == "not-installed" {
			gaps = 1
		}
		if boot != c.boot || runs != c.runs || len(doc.Gaps) != gaps {
			t.Errorf("%s: %s", name, raw.String())
		}
	}
}

// What runs is asked of this machine only when this machine is looked at.
func TestRunning(t *testing.T) {
	mine, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	build, err := os.ReadFile("/proc/sys/kernel/version")
	if err != nil {
		t.Fatal(err)
	}
	for o, want := range map[options][2]string{
		{root: "/"}:              {strings.TrimSpace(string(mine)), strings.TrimSpace(string(build))},
		{root: "//"}:             {strings.TrimSpace(string(mine)), strings.TrimSpace(string(build))},
		{root: "/srv/host"}:      {"", ""},
		{root: "/", kernel: "6"}: {"6", ""},
	} {
		release, build, err := running(o)
		if err != nil || release != want[0] || build != want[1] {
			t.Errorf("%+v: %q %q %v, want %q", o, release, build, err, want)
		}
	}
}
