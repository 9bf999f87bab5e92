package main

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
)

// What runs is asked of this machine only when this machine is looked at.
func TestRunningKernel(t *testing.T) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	mine := unix.ByteSliceToString(u.Release[:])
	for _, c := range []struct {
		flags         []string
		bill          bool
		release, what string
	}{
		{nil, false, mine, "by default"},
		{[]string{"--root", "//"}, false, mine, "the root in other words"},
		{nil, true, "", "a bill"},
		{[]string{"--root", "/srv/host"}, false, "", "another root"},
		{[]string{"--kernel", "6.1"}, false, "6.1", "as it is said"},
		{[]string{"--kernel", "6.1", "--root", "/srv/host"}, true, "6.1", "as it is said, of another root"},
	} {
		cmd := scanCmd()
		if err := cmd.ParseFlags(c.flags); err != nil {
			t.Fatal(err)
		}
		release, build, err := runningKernel(cmd, c.bill)
		if err != nil || release != c.release || (build != "") != (release == mine) {
			t.Errorf("%s: %q %q %v, want %q", c.what, release, build, err, c.release)
		}
	}
}

// An older build under the same name is none of the installed ones.
func TestAReplacedKernelIsAGap(t *testing.T) {
	k := inventory.Kernel{Running: "6.1.0-42-amd64", Installed: []inventory.Image{{Release: "6.1.0-42-amd64", Package: "linux-image-6.1.0-42-amd64", Version: "6.1.159-1"}}}
	f := match.Finding{Package: "linux-image-6.1.0-42-amd64", Version: "6.1.159-1"}
	for build, want := range map[string]struct{ gap, runs string }{
		"#1 SMP Debian 6.1.158-1 (2025-11-09)": {"An older build of the kernel 6.1.0-42-amd64 runs than is installed under this name, so no finding is about it until the system boots.", "no"},
		"#1 SMP Debian 6.1.159-1 (2025-12-30)": {"", "yes"},
	} {
		r := newKernelReport(k, build)
		if g, _ := r.gap(); g.Text != want.gap || r.runs(f) != want.runs {
			t.Errorf("%s: %+v %s", build, g, r.runs(f))
		}
	}
	var none *kernelReport
	if _, gap := none.gap(); gap || none.runs(f) != "" {
		t.Error("a system without a kernel")
	}
	var out bytes.Buffer
	none.table(&out)
	if out.Len() > 0 {
		t.Error(out.String())
	}
}
