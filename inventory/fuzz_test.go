package inventory

import (
	"strings"
	"testing"
	"testing/fstest"
)

// Whatever a database holds: no panic, a digest, and either packages that are
// well formed or a gap.
func FuzzStatus(f *testing.F) {
	f.Add(entry("dpkg", ok, "1"), entry("dpkg", "install ok unpacked", "2"))
	f.Add("Package: a\nStatus: install ok installed\nVersion: 1:2-3\nArchitecture: all\nSource: b (1)\n", "")
	f.Add("\n\n \n\t\nx", "Package: \x80\n\n")
	f.Fuzz(func(t *testing.T, status, journal string) {
		inv, err := Read(root(map[string]string{statusFile: status, updatesDir + "/0000": journal, infoDir + "/a.list": ""}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := inv.Digest(); err != nil {
			t.Fatalf("%v: %+v", err, inv)
		}
		if len(inv.Packages) == 0 && len(inv.Partial) == 0 {
			t.Fatal("an empty database is not a clean host")
		}
		for _, p := range inv.Packages {
			if len(inv.Partial) == 0 && p.Status.Present() && (p.Name == "" || p.Version == "" || p.Arch == "" || p.SourceVersion == "") {
				t.Fatalf("no gap for %+v", p)
			}
		}
	})
}

func FuzzOSRelease(f *testing.F) {
	f.Add(debian12)
	f.Add("ID='a'\nVERSION_ID=\"\\\"\"")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := ParseOSRelease(text)
		if err == nil && (!word(o.ID) || (o.VersionID != "" && !word(o.VersionID))) {
			t.Fatalf("%+v", o)
		}
		if inv, err := Read(fstest.MapFS{"etc/os-release": {Data: []byte(text)}}); err != nil || len(inv.Partial) == 0 {
			t.Fatal("a root without packages must have a gap")
		}
	})
}

func FuzzDeletedMappings(f *testing.F) {
	f.Add("7f10c8a1e000-7f10c8a7c000 r-xp 0001e000 08:01 2001    /usr/lib/libssl.so.3 (deleted)\n")
	f.Add("7f10c8f00000-7f10c8f01000 rw-p 00000000 00:00 0 \n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := DeletedMappings(strings.NewReader(text))
		if err != nil && got != nil {
			t.Fatal("an error and an answer")
		}
		for _, m := range got {
			if !strings.HasPrefix(m.Path, "/") || m.Inode == 0 {
				t.Fatalf("%+v", m)
			}
		}
	})
}

func FuzzOwnersOf(f *testing.F) {
	good := listedRoot()
	f.Add(good[infoDir+"/more.list"], good[diversionsFile])
	f.Add("/.", "/a\n/b\n")
	f.Fuzz(func(t *testing.T, list, diversions string) {
		files := listedRoot()
		files[infoDir+"/more.list"], files[diversionsFile] = list, diversions
		fsys := root(files)
		inv, err := Read(fsys)
		if err != nil {
			t.Fatal(err)
		}
		got, err := OwnersOf(fsys, inv, []string{"/usr/bin/one", "/usr/bin/tool"})
		if err != nil && got != nil {
			t.Fatal("an error and an answer")
		}
		for p, owners := range got {
			if len(owners) == 0 || !(Mapping{Path: p, Owners: owners}).Owned() {
				t.Fatalf("%s: %+v", p, owners)
			}
		}
	})
}
