package inventory

import (
	"testing"

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
