package ceremony_test

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
)

// TestDebianOriginsMatchRealReleases reads the InRelease files that this
// machine's apt has fetched.
func TestDebianOriginsMatchRealReleases(t *testing.T) {
	files, err := filepath.Glob("/var/lib/apt/lists/*_dists_bookworm*_InRelease")
	if err != nil {
		t.Fatal(err)
	}
	origins, met := ceremony.DebianOrigins("bookworm"), map[string]bool{}
	for _, path := range files {
		f := fields(t, path)
		i := slices.IndexFunc(origins, func(o trust.Origin) bool { return o.Codename == f["Codename"] })
		if f["Origin"] != "Debian" || i < 0 {
			continue
		}
		if o := origins[i]; o.Origin != f["Origin"] || o.Label != f["Label"] || !slices.Contains(o.Suites, f["Suite"]) {
			t.Errorf("%s says %v, the origin wants %+v", filepath.Base(path), f, o)
		}
		met[f["Codename"]] = true
	}
	if len(met) == 0 {
		t.Skip("apt has fetched no release of Debian bookworm on this machine (apt-get update)")
	}
}

func fields(t *testing.T, path string) map[string]string {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan() && !strings.HasPrefix(lines.Text(), "MD5Sum:") && !strings.HasPrefix(lines.Text(), "SHA256:"); {
		if key, value, ok := strings.Cut(lines.Text(), ": "); ok {
			out[key] = value
		}
	}
	return out
}

func TestDebianCriticalList(t *testing.T) {
	l := ceremony.DebianCritical()
	for _, name := range []string{"linux-image-amd64", "grub-efi-amd64-signed", "shim-signed", "systemd-sysv", "libc6", "openssh-server", "sudo", "libpam-modules", "apt", "dpkg", "patchwrit-agent", "patchwrit-witness"} {
		if !l.HasPackage(name) {
			t.Errorf("%s is not critical", name)
		}
	}
	for _, name := range []string{"libssl3", "openssl", "curl", "nginx", "aptitude", "tzdata"} {
		if l.HasPackage(name) {
			t.Errorf("%s is critical", name)
		}
	}
	for _, path := range []string{"/boot/vmlinuz-6.1.0", "/etc/pam.d/sshd", "/lib/x86_64-linux-gnu/security/pam_unix.so", "/usr/lib/security/pam_x.so", "/etc/sudoers.d/x"} {
		if !l.HasPath(path) {
			t.Errorf("%s is not critical", path)
		}
	}
	if l.HasPath("/usr/bin/curl") || l.HasPath("/etc/cron.d/x") {
		t.Error("an ordinary path is critical")
	}
}
