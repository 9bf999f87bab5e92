package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/patchwrit/patchwrit/feed/update"
	"github.com/patchwrit/patchwrit/internal/shop"
)

// newKey makes an OpenSSH key pair, NAME and NAME.pub.
func newKey(path string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, pem.EncodeToMemory(block), 0o600),
		os.WriteFile(path+".pub", ssh.MarshalAuthorizedKey(key), 0o644))
}

// toolRecord is an OSV record on pw-tool of Debian 12.
func toolRecord(id, fixed string) string {
	return fmt.Sprintf(`{"schema_version":"1.6.0","id":"DEBIAN-%s","upstream":[%[1]q],"modified":"2026-08-01T00:00:00Z","affected":[{"package":{"ecosystem":"Debian:12","name":"pw-tool"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":%q}]}]}]}`, id, fixed)
}

// catalogue is a KEV catalogue with n entries.
func catalogue(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`{"cveID":"CVE-2026-%d","vendorProject":"v","product":"p","vulnerabilityName":"n","dateAdded":"2026-01-02","shortDescription":"s","requiredAction":"r","dueDate":"2026-01-23","knownRansomwareCampaignUse":"Unknown","notes":"","cwes":[]}`, 1001+i))
	}
	return fmt.Sprintf(`{"title":"t","catalogVersion":"2026.08.07","dateReleased":"2026-08-07T15:00:00.0000Z","count":%d,"vulnerabilities":[%s]}`, n, strings.Join(list, ","))
}

// TestRunbookFeeds follows feeds.md with a source on this machine, and reads the
// configuration that stands there.
func TestRunbookFeeds(t *testing.T) {
	page := runbook(t, "feeds.md", 2)
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(runbooks, "feeds.md"))
	if err != nil {
		t.Fatal(err)
	}
	put("page.json", string(regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(raw)[1]))
	if c, err := update.Read(filepath.Join(dir, "page.json")); err != nil || len(c.Feeds) != 6 {
		t.Fatal(c, err)
	}
	site := httptest.NewServer(tagged(filepath.Join(dir, "site")))
	defer site.Close()
	put("depot/feeds.json", strings.ReplaceAll(`{"feeds":[{"name":"debian-osv","kind":"osv","urls":["SITE/osv.json"],"max_age":"87600h"},{"name":"kev","kind":"kev","urls":["SITE/kev.json"],"max_age":"87600h"}]}`, "SITE", site.URL))
	put("site/osv.json", toolRecord("CVE-2026-1001", "2.0-1"))
	put("site/kev.json", catalogue(10))
	put("host/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n")
	put("host/var/lib/dpkg/arch", "amd64\n")
	put("host/var/lib/dpkg/status", "Package: pw-tool\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: T <t@example.invalid>\nVersion: 1.0-1\nDescription: t\n\n")
	if err := newKey(filepath.Join(dir, "keys", "ann")); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err == nil {
		err = errors.Join(os.Mkdir(filepath.Join(dir, "bin"), 0o755), os.Symlink(self, filepath.Join(dir, "bin", "patchwrit")))
	}
	if err != nil {
		t.Fatal(err)
	}
	run := func(command string) (int, string) {
		argv := shop.Shell(command)
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATCHWRIT_TEST_MAIN=1", "PATCHWRIT_FEEDS=depot", "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), errs.String() + out.String()
	}
	page[0].Follow(t, run)
	put("site/kev.json", catalogue(1))
	page[1].Follow(t, run)
	put("site/osv.json", toolRecord("CVE-2026-1001", "1.5-1"))
	page[2].Follow(t, run)
}
