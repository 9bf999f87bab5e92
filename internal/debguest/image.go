package debguest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/patchwrit/patchwrit/internal/debworld"
)

// imageSize is what the guest's disk can hold; the file has holes.
const imageSize = "3G"

// Handover is where a guest sees the directory it was given.
const Handover = "/handover"

// recipe makes a host with systemd and an older kernel than the security suite
// has. Services that only cost time without KVM are masked.
func recipe() debworld.Recipe {
	r := debworld.Recipe{
		Suite: debworld.Codename, Variant: "apt",
		Include: []string{"systemd-sysv", "udev", "dbus", "linux-image-cloud-amd64", "tiny-initramfs",
			"qemu-guest-agent", "iproute2", "ca-certificates", "openssl", "kmod"},
		Options: []string{"path-exclude=/usr/share/doc/*", "path-exclude=/usr/share/man/*", "path-exclude=/usr/share/locale/*"},
		Files: map[string]string{
			"etc/hostname":   "pw-guest\n",
			"etc/hosts":      "127.0.0.1 localhost\n127.0.1.1 pw-guest\n",
			"etc/fstab":      "/dev/vda / ext4 rw,errors=remount-ro 0 1\n/dev/vdb " + Handover + " ext4 ro,nofail 0 0\n",
			"etc/machine-id": "",
			// Without KVM, beside other work, nothing here is stuck after 90 seconds.
			"etc/systemd/system.conf.d/slow.conf": "[Manager]\nDefaultTimeoutStartSec=15min\nDefaultTimeoutStopSec=5min\nDefaultDeviceTimeoutSec=15min\n",
			"etc/systemd/network/10-user.network": "[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nDNS=10.0.2.3\n" +
				"IPv6AcceptRA=no\nLinkLocalAddressing=no\n",
			"etc/tiny-initramfs/initramfs.conf.d/.keep": "",
			Handover[1:] + "/.keep":                     "",
		},
		Links: map[string]string{
			"etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service",
		},
	}
	for _, unit := range []string{"systemd-networkd-wait-online.service", "apt-daily.timer", "apt-daily-upgrade.timer",
		"dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "getty@tty1.service",
		"serial-getty@ttyS0.service", "systemd-pstore.service"} {
		r.Links["etc/systemd/system/"+unit] = "/dev/null"
	}
	return r
}

// tools are the commands the workshop needs, besides mmdebstrap's.
var tools = []string{"qemu-system-x86_64", "qemu-img", "busybox", "mke2fs", "debugfs", "e2fsck"}

// Image returns the base image in cacheDir (empty: debworld.CacheDir) and builds
// it first, for minutes, if it is not there. Never write to it.
func Image(ctx context.Context, cacheDir string, progress io.Writer) (string, error) {
	if err := debworld.Requires(tools...); err != nil {
		return "", err
	}
	if cacheDir == "" {
		var err error
		if cacheDir, err = debworld.CacheDir(); err != nil {
			return "", err
		}
	}
	r := recipe()
	done := filepath.Join(cacheDir, "guests", r.Name()+".img")
	if _, err := os.Stat(done); err == nil {
		return done, nil
	}
	root, err := r.Base(ctx, cacheDir, progress)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(done), 0o755); err != nil {
		return "", err
	}
	half, err := os.CreateTemp(filepath.Dir(done), "half-")
	if err != nil {
		return "", err
	}
	half.Close()
	defer os.Remove(half.Name())
	if err := makeDisk(ctx, root, half.Name(), imageSize, "guest"); err != nil {
		return "", err
	}
	return done, os.Rename(half.Name(), done) // another process was quicker: the same
}

// makeDisk makes an ext4 file system of a directory.
func makeDisk(ctx context.Context, dir, file, size, label string) error {
	out, err := exec.CommandContext(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-E", "lazy_itable_init=0,lazy_journal_init=0",
		"-d", dir, file, size).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make a disk of %s: %w: %s", dir, err, out)
	}
	return nil
}
