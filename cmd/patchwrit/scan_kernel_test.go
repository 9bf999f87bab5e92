package main

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
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

// What has no package of a kernel has one of its own where files or people say so.
func TestOwns(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "lib/modules/6.6.31-0-odd"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		root, release string
		bill, want    bool
	}{{root, "6.6.31-0-odd", false, true}, {root, "6.6.32-0-odd", false, false}, {root, "", false, false}, {"/absent", "", true, false}, {"/absent", "6", true, true}} {
		cmd := scanCmd()
		if err := cmd.ParseFlags([]string{"--root", c.root}); err != nil {
			t.Fatal(err)
		}
		if got, err := owns(cmd, c.bill, c.release); got != c.want || err != nil {
			t.Errorf("%+v: %v %v", c, got, err)
		}
	}
	cmd := scanCmd()
	if err := cmd.ParseFlags([]string{"--root", "/absent"}); err != nil {
		t.Fatal(err)
	}
	if _, err := owns(cmd, false, "6"); err == nil {
		t.Error("a root that is not there")
	}
}
