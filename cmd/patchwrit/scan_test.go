package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ran is how one call of the tool ended.
type ran struct {
	code     int
	out, err string
}

// call runs the tool in this process.
func call(t *testing.T, args ...string) ran {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRoot(&out, &errs)
	root.SetArgs(args)
	code := report(&errs, root.ExecuteContext(t.Context()))
	return ran{code, out.String(), errs.String()}
}

// place writes a file below dir.
func place(t *testing.T, dir, name, text string) string {
	t.Helper()
	full := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return full
}

// paperRoot is a system that consists of its descriptions.
func paperRoot(t *testing.T, version string) string {
	dir := t.TempDir()
	place(t, dir, "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n")
	place(t, dir, "var/lib/dpkg/arch", "amd64\n")
	place(t, dir, "var/lib/dpkg/status", "Package: pw-tool\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: T <t@example.invalid>\nVersion: "+version+"\nDescription: t\n\n")
	return dir
}

// osvRecord is an OSV record that was modified some time ago.
func osvRecord(ago time.Duration) string {
	return fmt.Sprintf(`{"schema_version":"1.6.0","id":"DEBIAN-CVE-2026-1001","modified":%q,"affected":[{"package":{"ecosystem":"Debian:12","name":"pw-tool"},
"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.1-1"}]}]}]}`, time.Now().Add(-ago).UTC().Format(time.RFC3339))
}

func TestScanEndsWithTheRightCode(t *testing.T) {
	feed := t.TempDir()
	fresh := place(t, feed, "fresh/a.json", osvRecord(time.Hour))
	stale := place(t, feed, "stale/a.json", osvRecord(100*24*time.Hour))
	broken := place(t, feed, "broken/b.json", `{"id":`)
	place(t, feed, "broken/a.json", osvRecord(time.Hour))
	tracker := place(t, feed, "tracker.json", `{"pw-tool":{"CVE-2026-1001":{"releases":{"bookworm":{"status":"resolved","fixed_version":"1.1-1"}}},
"CVE-2026-1002":{"releases":{"bookworm":{"status":"resolved","fixed_version":"0"}}}}}`)
	ignored := place(t, feed, "ignored.json", `{"pw-tool":{"CVE-2026-1003":{"releases":{"bookworm":{"status":"open","nodsa":"Minor issue","nodsa_reason":"ignored"}}}}}`)
	open := place(t, feed, "open.json", `{"pw-tool":{"CVE-2026-1004":{"releases":{"bookworm":{"status":"undetermined"}}}}}`)
	old := place(t, feed, "old.json", `{"pw-tool":{"CVE-2026-1001":{"releases":{"bookworm":{"status":"resolved","fixed_version":"1.1-1"}}}}}`)
	secdb := place(t, feed, "secdb.json", `{"distroversion":"v3.22","reponame":"main","packages":[{"pkg":{"name":"pw-tool","secfixes":{"2-r0":["CVE-2026-1"]}}}]}`)
	csaf := place(t, feed, "csaf.json", `{"document":{"category":"csaf_vex","csaf_version":"2.0","publisher":{"namespace":"https://www.redhat.com"},
"tracking":{"id":"CVE-2026-1","current_release_date":"`+time.Now().UTC().Format(time.RFC3339)+`"}},"vulnerabilities":[{"cve":"CVE-2026-1"}]}`)
	vex := func(status, expires string) string {
		return place(t, feed, status+expires+".json", fmt.Sprintf(`{"@context":"https://openvex.dev/ns/v0.2.0","@id":"x","author":"Ada","timestamp":%q,
"statements":[{"vulnerability":{"name":"CVE-2026-1001"},"status":%q,"justification":"component_not_present"%s,"products":[{"@id":"pkg:deb/debian/pw-tool?distro=debian-12"}]}]}`,
			time.Now().Add(-30*24*time.Hour).UTC().Format(time.RFC3339), status, expires)) // older than --max-age, and yet in force
	}
	ended := fmt.Sprintf(`,"expires":%q`, time.Now().Add(-time.Minute).UTC().Format(time.RFC3339))
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-100*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		version string
		args    []string
		code    int
		says    string
	}{
		"affected":             {"1.0-1", []string{"--feed", fresh}, exitFindings, "DEBIAN-CVE-2026-1001"},
		"clean":                {"1.1-1", []string{"--feed", fresh}, exitOK, "0 affected, 0 unknown, 0 gaps"},
		"tracker, affected":    {"1.0-1", []string{"--feed", tracker}, exitFindings, "debian-tracker/pw-tool/CVE-2026-1001"},
		"tracker, clean":       {"1.1-1", []string{"--feed", tracker}, exitOK, "0 affected, 0 unknown, 0 gaps"},
		"tracker, won't fix":   {"1.1-1", []string{"--feed", ignored}, exitFindings, "wont-fix"},
		"tracker, not known":   {"1.1-1", []string{"--feed", open}, exitPartial, "undetermined"},
		"only Alpine's words":  {"1.1-1", []string{"--feed", secdb}, exitPartial, "0 affected, 0 unknown, 1 gaps, 1 feeds"},
		"Alpine's beside":      {"1.1-1", []string{"--feed", fresh, "--feed", secdb}, exitOK, "2 feeds"},
		"Red Hat's beside":     {"1.0-1", []string{"--feed", fresh, "--feed", csaf}, exitFindings, "0 gaps, 2 feeds"},
		"people deny, vendor":  {"1.0-1", []string{"--feed", fresh, "--feed", vex("not_affected", "")}, exitFindings, "1 affected"},
		"people alone":         {"1.0-1", []string{"--feed", vex("not_affected", "")}, exitPartial, "unknown: No feed speaks about"},
		"people deny, nothing": {"1.1-1", []string{"--feed", fresh, "--feed", vex("not_affected", "")}, exitOK, "0 gaps, 2 feeds"},
		"people warn":          {"1.1-1", []string{"--feed", fresh, "--feed", vex("affected", "")}, exitPartial, "stated"},
		"people warned":        {"1.1-1", []string{"--feed", fresh, "--feed", vex("affected", ended)}, exitPartial, "has no records"},
		"tracker, an old file": {"1.1-1", []string{"--feed", old}, exitPartial, "unknown:"},
		"affected, not asked":  {"1.0-1", []string{"--feed", fresh, "--fail-on", "none"}, exitOK, "1 affected"},
		"a feed that stands":   {"1.1-1", []string{"--feed", stale}, exitPartial, "unknown:"},
		"a feed partly broken": {"1.1-1", []string{"--feed", filepath.Dir(broken)}, exitPartial, "unknown:"},
		"partial and affected": {"1.0-1", []string{"--feed", filepath.Dir(broken)}, exitFindings, "unknown:"},
		"partial, not asked":   {"1.0-1", []string{"--feed", filepath.Dir(broken), "--fail-on", "none"}, exitPartial, "unknown:"},
		"one feed is missing":  {"1.0-1", []string{"--feed", fresh, "--feed", filepath.Join(feed, "absent.zip")}, exitFailure, ""},
		"nothing to ask":       {"1.0-1", nil, exitUsage, ""},
		"a wrong word":         {"1.0-1", []string{"--feed", fresh, "--fail-on", "high"}, exitUsage, ""},
		"a source, no trust":   {"1.0-1", []string{"--source", "vendor=file:///nowhere,stable"}, exitUsage, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := call(t, append([]string{"scan", "-q", "--root", paperRoot(t, c.version)}, c.args...)...)
			if r.code != c.code || !strings.Contains(r.out, c.says) {
				t.Errorf("exit %d, want %d\n%s%s", r.code, c.code, r.out, r.err)
			}
		})
	}
}

func TestScanSaysTheSameTwice(t *testing.T) {
	root, feed := paperRoot(t, "1.0-1"), place(t, t.TempDir(), "a.json", osvRecord(time.Hour))
	one := call(t, "scan", "-q", "--root", root, "--feed", feed, "-o", "json")
	two := call(t, "scan", "-q", "--root", root, "--feed", feed, "-o", "json")
	cut := func(s string) string { // when the feed was read is all that may differ
		var kept []string
		for line := range strings.Lines(s) {
			if !strings.Contains(line, `"fetched"`) {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}
	if cut(one.out) != cut(two.out) || !strings.Contains(one.out, `"state": "affected"`) || one.err != "" {
		t.Errorf("%s\n%s\n%s", one.out, two.out, one.err)
	}
}

func TestCredentialsOfAnAddressAreNotShown(t *testing.T) {
	for in, want := range map[string]string{
		"https://me:secret@feeds.example/a.zip": "https://feeds.example/a.zip",
		"https://feeds.example/a@b.zip":         "https://feeds.example/a@b.zip",
		"dir/a@b.zip":                           "dir/a@b.zip",
	} {
		if got := shown(in); got != want {
			t.Errorf("%s is shown as %s", in, got)
		}
	}
}
