package inventory

import (
	"testing"
	"testing/fstest"

	"github.com/patchwrit/patchwrit/version"
)

func rpmKernelPackage(name, ver string) Package {
	return Package{Name: name, Version: ver, Arch: "x86_64", Scheme: version.RPM, Status: installed}
}

func debKernelPackage(name, ver string) Package {
	return Package{Name: name, Version: ver, Arch: "amd64", Scheme: version.Deb, Status: installed}
}

func TestBoot(t *testing.T) {
	rpm := Images([]Package{rpmKernelPackage("kernel-core", "5.14.0-427.el9"), rpmKernelPackage("kernel-core", "5.14.0-70.el9"), rpmKernelPackage("kernel", "5.14.0-427.el9"), rpmKernelPackage("bash", "5-1")})
	deb := Images([]Package{debKernelPackage("linux-image-6.1.0-42-amd64", "6.1.159-1"), debKernelPackage("linux-image-6.1.0-9-amd64", "6.1.27-1"), debKernelPackage("linux-image-amd64", "6.1.159-1")})
	if len(rpm) != 2 || len(deb) != 2 {
		t.Fatalf("%v %v", rpm, deb)
	}
	const old, now = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.158-1 (2025-11-09)", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.159-1 (2025-12-30)"
	apk := Images([]Package{{Name: "linux-lts", Version: "6.6.31-r0", Scheme: version.APK, Status: installed}, {Name: "linux-virt", Version: "6.6.40-r1", Scheme: version.APK, Status: installed}})
	// of two flavours each, the other one newer or listed first
	rt := Images([]Package{rpmKernelPackage("kernel-core", "5.14.0-503.el9"), rpmKernelPackage("kernel-rt-core", "5.14.0-427.el9"), rpmKernelPackage("kernel-rt-core", "5.14.0-70.el9")})
	debRT := Images([]Package{debKernelPackage("linux-image-6.1.0-42-amd64", "6.1.159-1"), debKernelPackage("linux-image-6.1.0-42-rt-amd64", "6.1.159-1"), debKernelPackage("linux-image-6.12.48+deb13-amd64", "6.12.48-1"), debKernelPackage("linux-image-5.10.0-0.deb11.9-rt-amd64", "5.10.9-1")})
	pae := Images([]Package{debKernelPackage("linux-image-6.1.0-42-686-pae", "6.1.159-1"), debKernelPackage("linux-image-6.1.0-43-686", "6.1.160-1"), debKernelPackage("linux-image-6.1.0-41-686", "6.1.158-1"), debKernelPackage("linux-image-6.12.48+deb13-686-pae", "6.12.48-1")})
	house := Images([]Package{debKernelPackage("linux-image-6.6.1-mine-amd64", "2"), debKernelPackage("linux-image-6.6.0-yours-amd64", "1")})
	rpi := Images([]Package{debKernelPackage("linux-image-6.1.0-rpi7-rpi-v8", "1:6.1.63-1"), debKernelPackage("linux-image-6.1.0-rpi8-rpi-v7", "1:6.1.73-1"), debKernelPackage("linux-image-6.1.0-rpi8-rpi-v8", "1:6.1.73-1")})
	xan := Images([]Package{debKernelPackage("linux-image-6.8.9-x64v3-xanmod1", "6.8.9-1"), debKernelPackage("linux-image-6.8.10-x64v3-xanmod2", "6.8.10-1"), debKernelPackage("linux-image-6.9.1-site3", "6.9.1-1"), debKernelPackage("linux-image-6.9.2-site4", "6.9.2-1")})
	// built from a commit, by the kernel's own scripts: the count and the revision order, the commit does not
	git := Images([]Package{debKernelPackage("linux-image-6.6.10-g1234abc", "6.6.10-g1234abc-1"), debKernelPackage("linux-image-6.6.9-gfffffff", "6.6.9-gfffffff-9"),
		debKernelPackage("linux-image-6.6.9-00007-gabcdef012345-dirty", "6.6.9-00007-gabcdef012345-dirty-3"), debKernelPackage("linux-image-6.6.8", "6.6.8-1"), debKernelPackage("linux-image-6.6.7+", "6.6.7+-1"),
		debKernelPackage("linux-image-6.6.11-mine-00002-g0000000", "6.6.11-mine-00002-g0000000-1"), debKernelPackage("linux-image-6.6.11-mine-00010-gfffffff", "6.6.11-mine-00010-gfffffff-1"),
		debKernelPackage("linux-image-6.6.12-yours", "6.6.12-yours-1"), debKernelPackage("linux-image-6.6.11-yours+", "6.6.11-yours+-1"), debKernelPackage("linux-image-6.6.10-yours-dirty", "6.6.10-yours-dirty-1"),
		debKernelPackage("linux-image-6.6.9-yours-00007-gabcdef012345", "6.6.9-yours-00007-gabcdef012345-1")})
	twins := Images([]Package{debKernelPackage("linux-image-6.6.10-g0000001", "6.6.10-g0000001-1"), debKernelPackage("linux-image-6.6.10-gfffffff", "6.6.10-gfffffff-1"), debKernelPackage("linux-image-6.6.10-g8888888-dirty", "6.6.10-g8888888-dirty-1")})
	for _, c := range []struct {
		images         []Image
		running, build string
		want           Boot
	}{
		{nil, "6.1.0-42-amd64", now, BootNone},
		{rpm, "", "", BootUnknown},
		{rpm, "5.14.0-427.el9.x86_64", "#1 SMP x", BootNewest},
		{rpm, "5.14.0-427.el9.x86_64", old, BootNewest}, // who knows how it says so
		{rpm, "5.14.0-70.el9.x86_64", "", BootOlder},
		{rpm, "5.14.0-427.el9.aarch64", "", BootUnmatched},
		{rpm, "5.14.0-362.el9.x86_64", "", BootUnmatched},
		{deb, "6.1.0-42-amd64", now, BootNewest},
		{deb, "6.1.0-42-amd64", "", BootNewest},
		{deb, "6.1.0-42-amd64", old, BootReplaced},
		{deb, "6.1.0-42-amd64", "#1 SMP Debian _ (x)", BootReplaced},
		{deb, "6.1.0-9-amd64", "", BootOlder},
		{deb, "6.12.1-mine", now, BootUnmatched},
		{apk, "6.6.31-0-lts", "#1-Alpine SMP PREEMPT_DYNAMIC", BootNewest},
		{apk, "6.6.40-1-virt", "", BootNewest},
		{apk, "6.6.30-0-lts", "", BootUnmatched},
		{rt, "5.14.0-427.el9.x86_64+rt", "", BootNewest},
		{rt, "5.14.0-70.el9.x86_64+rt", "", BootOlder},
		{rt, "5.14.0-503.el9.x86_64", "", BootNewest},
		{debRT, "6.1.0-42-rt-amd64", "", BootNewest},
		{debRT, "5.10.0-0.deb11.9-rt-amd64", "", BootOlder},
		{debRT, "6.1.0-42-amd64", "", BootOlder},
		{debRT, "6.12.48+deb13-amd64", "", BootNewest},
		{house, "6.6.0-yours-amd64", "", BootNewest},
		{rpi, "6.1.0-rpi7-rpi-v8", "", BootOlder},
		{rpi, "6.1.0-rpi8-rpi-v8", "", BootNewest},
		{xan, "6.8.9-x64v3-xanmod1", "", BootOlder},
		{xan, "6.9.1-site3", "", BootOlder},
		{xan, "6.8.10-x64v3-xanmod2", "", BootNewest},
		{git, "6.6.10-g1234abc", "", BootNewest},
		{git, "6.6.9-gfffffff", "", BootOlder},
		{git, "6.6.9-00007-gabcdef012345-dirty", "", BootOlder},
		{git, "6.6.8", "", BootOlder},
		{git, "6.6.7+", "", BootOlder},
		{git, "6.6.11-mine-00002-g0000000", "", BootOlder},
		{git, "6.6.11-mine-00010-gfffffff", "", BootNewest},
		{git, "6.6.12-yours", "", BootNewest},
		{git, "6.6.11-yours+", "", BootOlder},
		{git, "6.6.10-yours-dirty", "", BootOlder},
		{git, "6.6.9-yours-00007-gabcdef012345", "", BootOlder},
		{twins, "6.6.10-g0000001", "", BootNewest}, // nobody knows which is newer
		{twins, "6.6.10-gfffffff", "", BootNewest},
		{twins, "6.6.10-g8888888-dirty", "", BootNewest},
		{pae, "6.1.0-43-686", "", BootNewest},
		{pae, "6.1.0-41-686", "", BootOlder},
		{pae, "6.1.0-42-686-pae", "", BootOlder},
	} {
		if got := (Kernel{Running: c.running, Installed: c.images}).Boot(c.build); got != c.want {
			t.Errorf("%s %q of %d: %s, want %s", c.running, c.build, len(c.images), got, c.want)
		}
	}
}

func TestImageOf(t *testing.T) {
	k := Kernel{Installed: Images([]Package{rpmKernelPackage("kernel-core", "5.14.0-427.el9"), rpmKernelPackage("kernel-core", "5.14.0-70.el9"), rpmKernelPackage("kernel-rt-core", "5.14.0-427.el9"),
		debKernelPackage("linux-image-6.1.0-42-amd64", "6.1.159-1")})}
	for in, want := range map[[2]string]string{
		{"kernel-core", "5.14.0-70.el9"}:                   "5.14.0-70.el9.x86_64",
		{"kernel", "5.14.0-427.el9"}:                       "5.14.0-427.el9.x86_64",
		{"kernel-modules-core", "5.14.0-427.el9"}:          "5.14.0-427.el9.x86_64",
		{"kernel-modules", "5.14.0-1.el9"}:                 "",
		{"kernel-rt-modules", "5.14.0-427.el9"}:            "5.14.0-427.el9.x86_64+rt",
		{"kernel-tools", "5.14.0-427.el9"}:                 "",
		{"kernel-headers", "5.14.0-427.el9"}:               "",
		{"linux-image-6.1.0-42-amd64", "6.1.159-1"}:        "6.1.0-42-amd64",
		{"linux-modules-extra-6.1.0-42-amd64", "6.1.1-1"}:  "6.1.0-42-amd64",
		{"linux-headers-6.1.0-42-amd64", "6.1.159-1"}:      "",
		{"linux-image-6.1.0-42-amd64", "6.1.158-1"}:        "",
		{"linux-modules-extra-16.1.0-42-amd64", "6.1.1-1"}: "",
	} {
		if got, ok := k.ImageOf(in[0], in[1]); got.Release != want || ok != (want != "") {
			t.Errorf("%v: %q, want %q", in, got.Release, want)
		}
	}
}

// A root that has a kernel's modules or image runs it; a container has neither.
func TestOwns(t *testing.T) {
	for path, want := range map[string]bool{"lib/modules/6.6.31-0-lts/modules.dep": true, "usr/lib/modules/6.6.31-0-lts/x": true, "boot/vmlinuz-6.6.31-0-lts": true, "lib/modules/6.6.30-0-lts/x": false, "boot/vmlinuz-lts": false} {
		if got := Owns(fstest.MapFS{path: {}}, "6.6.31-0-lts"); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	for _, odd := range []string{"", ".", "..", "../modules", "a b", "6/x"} {
		if Owns(fstest.MapFS{"lib/modules/6/x": {}, "boot/vmlinuz-": {}, "lib/modules/a b/x": {}}, odd) {
			t.Errorf("%q", odd)
		}
	}
}
