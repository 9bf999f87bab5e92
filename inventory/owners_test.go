package inventory

import (
	"maps"
	"reflect"
	"strings"
	"testing"
)

// listedRoot is a system whose packages are one, two (of source one), more and
// divert, with their lists.
func listedRoot() map[string]string {
	return map[string]string{
		statusFile: entry("libone1", ok, "1", "Source: one", "Multi-Arch: same") + entry("one", ok, "1") + entry("more", ok, "1") +
			entry("divert", ok, "1") + entry("purged", "deinstall ok config-files", "1"),
		infoDir + "/libone1:amd64.list": "/.\n/usr\n/lib/x86_64-linux-gnu/libone.so.1.0\n/usr/share/both\n",
		infoDir + "/one.list":           "/.\n/usr/bin/one\n/usr/share/both\n",
		infoDir + "/more.list":          "/.\n/usr/bin/tool\n/sbin/old\n/etc/local\n",
		infoDir + "/divert.list":        "/.\n/usr/bin/tool\n",
		infoDir + "/purged.list":        "/.\n/usr/bin/gone\n",
		diversionsFile:                  "/usr/bin/tool\n/usr/bin/tool.real\ndivert\n/usr/sbin/old\n/usr/sbin/old.real\ndivert\n/etc/local\n/etc/local.real\n:\n",
	}
}

func TestOwnersOf(t *testing.T) {
	one, lib := Owner{"one:amd64", "one"}, Owner{"libone1:amd64", "one"}
	more, divert := Owner{"more:amd64", "more"}, Owner{"divert:amd64", "divert"}
	want := map[string][]Owner{
		"/usr/lib/x86_64-linux-gnu/libone.so.1.0": {lib},
		"/lib/x86_64-linux-gnu/libone.so.1.0":     {lib},
		"/usr/bin/one":                            {one},
		"/usr/share/both":                         {lib, one},
		"/usr/bin/tool":                           {divert},
		"/usr/bin/tool.real":                      {more},
		"/usr/sbin/old":                           {more}, // under another name: both places count
		"/usr/sbin/old.real":                      {more},
		"/etc/local.real":                         {more},
	}
	asked := []string{"/etc/local", "/usr/bin/gone", "/usr/lib/x86_64-linux-gnu/libone.so.1", "/tmp/x"} // nobody's
	for p := range want {
		asked = append(asked, p)
	}
	fsys := root(listedRoot())
	got, err := OwnersOf(fsys, read(t, fsys), asked)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\n%+v", err, got, want)
	}
}

// TestOwnersOfAreNotKnown: where one list may be missing, no path is known to be
// another package's alone.
func TestOwnersOfAreNotKnown(t *testing.T) {
	good := listedRoot()
	for name, c := range map[string]struct {
		change func(map[string]string)
		why    string
	}{
		"as it was":         {func(map[string]string) {}, ""},
		"without diversion": {func(m map[string]string) { delete(m, diversionsFile) }, ""},
		"a list is missing": {func(m map[string]string) { delete(m, infoDir+"/more.list") }, "file list of package more:amd64"},
		"a list is cut":     {func(m map[string]string) { m[infoDir+"/more.list"] = "/.\n/usr/bi" }, "ends within line 2"},
		"a list is empty":   {func(m map[string]string) { m[infoDir+"/more.list"] = "" }, "it is empty"},
		"no diversion left": {func(m map[string]string) { m[diversionsFile] = "" }, ""},
		"a line is too long": {func(m map[string]string) { m[infoDir+"/more.list"] = "/" + strings.Repeat("x", maxListLine) + "\n" },
			"file list of package more:amd64: line 1"},
		"half unpacked": {func(m map[string]string) { m[statusFile] += entry("half", "install ok half-installed", "1") }, "half:amd64 is half-installed"},
		"half unpacked, in the journal": {func(m map[string]string) {
			m[updatesDir+"/0000"] = entry("more", "install reinstreq half-installed", "1")
		},
			"more:amd64 is half-installed"},
		"no lists":            {func(m map[string]string) { maps.DeleteFunc(m, func(k, _ string) bool { return k != statusFile }) }, "dpkg's file lists"},
		"a cut diversion":     {func(m map[string]string) { m[diversionsFile] = "/a\n/b\n" }, "no whole entries"},
		"a database with gap": {func(m map[string]string) { m[infoDir+"/lost.list"] = "/.\n" }, "not whole"},
	} {
		files := maps.Clone(good)
		c.change(files)
		fsys := root(files)
		got, err := OwnersOf(fsys, read(t, fsys), []string{"/usr/bin/one"})
		if (err == nil) != (c.why == "") || err != nil && (!strings.Contains(err.Error(), c.why) || got != nil) || err == nil && len(got) != 1 {
			t.Errorf("%s: %v, %v; want %q", name, got, err, c.why)
		}
	}
}

func TestMergedUsr(t *testing.T) {
	if MergedUsr("/lib/x") != "/usr/lib/x" || MergedUsr("/library/x") != "/library/x" || MergedUsr("/usr/lib/x") != "/usr/lib/x" {
		t.Error("merged paths")
	}
}

func TestOwnedMappings(t *testing.T) {
	for name, c := range map[string]struct {
		of   []Owner
		want bool
	}{"none": {nil, false}, "one": {[]Owner{{"a:amd64", "a"}}, true}, "no package": {[]Owner{{"", "a"}}, false}, "one has no source": {[]Owner{{"a:amd64", "a"}, {"b:amd64", ""}}, false}} {
		if (Mapping{Path: "/x", Owners: c.of}).Owned() != c.want {
			t.Errorf("%s: owned %v", name, !c.want)
		}
	}
}
