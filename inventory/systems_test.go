package inventory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/patchwrit/patchwrit/internal/shareddata"
	"github.com/patchwrit/patchwrit/version"
)

// rpmHeader writes what rpm keeps of one package.
func rpmHeader(epoch uint32, strs map[uint32]string) []byte {
	var index, data []byte
	add := func(tag, kind uint32, b []byte) {
		for _, v := range []uint32{tag, kind, uint32(len(data)), 1} {
			index = binary.BigEndian.AppendUint32(index, v)
		}
		data = append(data, b...)
	}
	if epoch > 0 {
		add(rpmEpoch, rpmInt32, binary.BigEndian.AppendUint32(nil, epoch))
	}
	for tag, s := range strs {
		add(tag, rpmString, append([]byte(s), 0))
	}
	h := binary.BigEndian.AppendUint32(nil, uint32(len(index)/16))
	return append(append(binary.BigEndian.AppendUint32(h, uint32(len(data))), index...), data...)
}

func rpm(epoch uint32, name, ver, rel, source, module string) []byte {
	m := map[uint32]string{rpmName: name, rpmVersion: ver, rpmRelease: rel, rpmArch: "x86_64", rpmSource: source}
	if module != "" {
		m[rpmModule] = module
	}
	return rpmHeader(epoch, m)
}

func TestRPMHeader(t *testing.T) {
	p, err := ParseRPM(rpm(1, "openssl-libs", "3.0.7", "27.el9", "openssl-3.0.7-27.el9.src.rpm", "x:1:2:3"))
	if err != nil || p.Version != "1:3.0.7-27.el9" || p.Source != "openssl" || p.SourceVersion != "3.0.7-27.el9" || p.Module != "x:1:2:3" || p.Scheme != version.RPM || !p.Status.Settled() {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := ParseRPM(rpm(0, "a", "1", "2", "(none)", "")); err != nil || p.Source != "a" || p.Version != "1-2" {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := ParseRPM(rpm(0, "gpg-pubkey", "d4082792", "5b32db75", "", "")); !errors.Is(err, ErrPubkey) {
		t.Error(err)
	}
	good := rpm(0, "a", "1", "2", "a-1-2.src.rpm", "")
	for n := range good {
		if p, err := ParseRPM(good[:n]); err == nil {
			t.Errorf("cut at %d: %+v", n, p)
		}
	}
	for name, h := range map[string][]byte{"no version": rpmHeader(0, map[uint32]string{rpmName: "a", rpmArch: "x"}), "odd name": rpm(0, "a b", "1", "1", "", ""),
		"huge": binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 1<<31), 1<<31)} {
		if _, err := ParseRPM(h); err == nil {
			t.Error(name)
		}
	}
}

func FuzzRPMHeader(f *testing.F) {
	f.Add(rpm(1, "a", "1", "2", "a-1-2.src.rpm", ""))
	f.Fuzz(func(t *testing.T, h []byte) {
		if p, err := ParseRPM(h); err == nil && (!word(p.Name) || version.Valid(version.RPM, p.Version) != nil || !word(p.Source)) {
			t.Fatalf("%+v", p)
		}
	})
}

func FuzzApk(f *testing.F) {
	f.Add("P:a\nV:1.2-r0\nA:x86_64\no:b\nF:usr\nR:x\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		inv := read(t, fstest.MapFS{"etc/os-release": {Data: []byte("ID=alpine\nVERSION_ID=3.20.1\n")}, apkFile: {Data: []byte(text)}})
		if _, err := inv.Digest(); err != nil {
			t.Fatal(err)
		}
		if len(inv.Packages) == 0 && len(inv.Partial) == 0 {
			t.Fatal("an empty database is not a clean host")
		}
	})
}

func TestKernelsAndLocksOfRPM(t *testing.T) {
	var db Database
	for _, h := range [][]byte{rpm(0, "kernel-core", "5.14.0", "427.13.1.el9_4", "", ""), rpm(0, "kernel-core", "5.14.0", "70.1.1.el9_0", "", ""), rpm(0, "bash", "5.1.8", "6.el9", "", ""), rpm(0, "bash-doc", "5.1.8", "6.el9", "", "")} {
		p, err := ParseRPM(h)
		if err != nil {
			t.Fatal(err)
		}
		db.Packages = append(db.Packages, p)
	}
	inv, err := Read(fstest.MapFS{"etc/os-release": {Data: []byte("ID=almalinux\nVERSION_ID=9.4\n")}, "etc/dnf/plugins/versionlock.list": {Data: []byte("# why\nbash-0:5.1.8-6.el9.*\n")}}, db)
	if err != nil || len(inv.Partial) != 0 || len(inv.Packages) != 4 || len(inv.Kernel.Installed) != 2 {
		t.Fatalf("%+v %v", inv, err)
	}
	if n := inv.Kernel.Newest(); n.Release != "5.14.0-427.13.1.el9_4.x86_64" || inv.Arch != "x86_64" {
		t.Errorf("%+v %s", n, inv.Arch)
	}
	for _, p := range inv.Packages {
		if p.Hold != (p.Name == "bash") {
			t.Errorf("%s: hold %v", p.Name, p.Hold)
		}
	}
}

// What uname -r prints, of each kind of rpm kernel.
func TestReleasesOfRPMKernels(t *testing.T) {
	for _, c := range []struct{ name, ver, rel, want string }{
		{"kernel", "3.10.0", "1160.el7", "3.10.0-1160.el7.x86_64"},
		{"kernel-core", "4.18.0", "553.el8_10", "4.18.0-553.el8_10.x86_64"},
		{"kernel-rt-core", "4.18.0", "553.rt7.342.el8_10", "4.18.0-553.rt7.342.el8_10.x86_64"},
		{"kernel-rt-core", "5.14.0", "427.el9_4", "5.14.0-427.el9_4.x86_64+rt"},
		{"kernel-64k-core", "5.14.0", "427.el9_4", "5.14.0-427.el9_4.x86_64+64k"},
		{"kernel-debug-core", "5.14.0", "427.el9_4", "5.14.0-427.el9_4.x86_64+debug"},
		{"kernel-uki-virt", "5.14.0", "427.el9_4", "5.14.0-427.el9_4.x86_64"},
		{"kernel-rt-debug-core", "5.14.0", "427.el9_4", "5.14.0-427.el9_4.x86_64+rt-debug"},
		{"kernel-rt-debug-core", "4.18.0", "553.rt7.342.el8_10", "4.18.0-553.rt7.342.el8_10.x86_64+debug"},
		{"kernel-64k-debug-core", "5.14.0", "427.el9_4", "5.14.0-427.el9_4.x86_64+64k-debug"},
		{"kernel-zfcpdump-core", "5.14.0", "427.el9_4", "5.14.0-427.el9_4.x86_64+zfcpdump"},
		{"kernel-debug", "3.10.0", "1160.el7", "3.10.0-1160.el7.x86_64.debug"},
		{"kernel-rt", "3.10.0", "1160.rt56.1131.el7", "3.10.0-1160.rt56.1131.el7.x86_64"},
		{"kernel-lt", "6.1.81", "1.el9.elrepo", "6.1.81-1.el9.elrepo.x86_64"},
		{"kernel-ml-core", "6.16.6", "1.el9.elrepo", "6.16.6-1.el9.elrepo.x86_64"},
		{"kernel-uek-core", "5.15.0", "3.el9uek", "5.15.0-3.el9uek.x86_64"},
		{"kernel-modules-core", "5.14.0", "427.el9_4", ""}, // parts and helpers
		{"kernel-rt-modules-core", "5.14.0", "427.el9_4", ""},
		{"kernel-modules", "5.14.0", "427.el9_4", ""},
		{"kernel-devel", "5.14.0", "427.el9_4", ""},
		{"kernelshark-core", "1", "1", ""},
		{"glibc-core", "1", "1", ""},
		{"kernel-headers", "5.14.0", "427.el9_4", ""},
	} {
		p, err := ParseRPM(rpm(0, c.name, c.ver, c.rel, "", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := rpmImage(p); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	var list []Package
	for _, name := range []string{"kernel", "kernel-core"} {
		p, _ := ParseRPM(rpm(0, name, "5.14.0", "427.el9_4", "", ""))
		list = append(list, p)
	}
	if got := Images(list); len(got) != 1 || got[0].Package != "kernel-core" {
		t.Errorf("%+v", got)
	}
}

// What uname -r prints on Alpine, and what is no kernel there.
func TestReleasesOfAlpineKernels(t *testing.T) {
	for in, want := range map[[2]string]string{
		{"linux-lts", "6.6.31-r0"}: "6.6.31-0-lts", {"linux-virt", "6.6.31-r12"}: "6.6.31-12-virt", {"linux-rpi", "6.6.31-r0"}: "6.6.31-0-rpi",
		{"linux-lts-dev", "6.6.31-r0"}: "", {"linux-headers", "6.6-r0"}: "", {"linux-pam", "1.6.0-r0"}: "", {"linux-firmware", "2024-r0"}: "", {"lts", "6.6.31-r0"}: "", {"linux-lts", "6.6.31"}: "",
	} {
		list := Images([]Package{{Name: in[0], Version: in[1], Scheme: version.APK, Arch: "x86_64", Status: installed}})
		got := ""
		for _, i := range list {
			got += i.Release
		}
		if got != want || want != "" && (list[0].Scheme != version.APK || list[0].Package != in[0] || list[0].Version != in[1]) {
			t.Errorf("%v: %+v, want %q", in, list, want)
		}
	}
}

func TestApk(t *testing.T) {
	const good = "C:Q1\nP:libssl3\nV:3.3.1-r0\nA:x86_64\no:openssl\nF:lib\nR:x\nR:y\na:0:0:755\n\nP:apk-tools\nV:2.14.4-r0\nA:x86_64\n\n"
	files := func(text string) fstest.MapFS {
		return fstest.MapFS{"etc/os-release": {Data: []byte("ID=alpine\nVERSION_ID=3.20.1\n")}, apkFile: {Data: []byte(text)}, apkWorld: {Data: []byte("libssl3=3.3.1-r0\nb>1\n")}}
	}
	inv := read(t, files(good))
	if len(inv.Partial) != 0 || len(inv.Packages) != 2 || inv.Arch != "x86_64" {
		t.Fatalf("%+v", inv)
	}
	if p := inv.Packages[1]; p.Name != "libssl3" || p.Source != "openssl" || p.SourceVersion != "3.3.1-r0" || p.Scheme != version.APK || !p.Hold {
		t.Errorf("%+v", p)
	}
	for text, want := range map[string]string{"": "apk database is empty", good + "P:cut": "middle of line", good + "P:a b\nV:1\n\n": "no package name", good + "P:a\nA:x\n\n": "missing or odd",
		good + "rubbish\n\n": "is no field", good + good: "stands twice", good + "P:a\nV:1\nV:2\nA:x\n\n": "field V stands twice"} {
		if inv := read(t, files(text)); !strings.Contains(fmt.Sprint(inv.Partial), want) {
			t.Errorf("%.20q: %v, want %s", text, inv.Partial, want)
		}
	}
}

// Real databases: packages are counted in the plainest way.
func TestRealDatabases(t *testing.T) {
	const tar = "fixtures/dpkg-rpm-apk-db-samples.tar.zst"
	for name, raw := range shareddata.Archive(t, "..", tar, "apk/testdata/") {
		inv := read(t, fstest.MapFS{"etc/os-release": {Data: []byte("ID=alpine\nVERSION_ID=3.20.1\n")}, apkFile: {Data: raw}})
		if n := strings.Count("\n"+string(raw), "\nP:"); n != len(inv.Packages) || n == 0 && len(inv.Partial) == 0 {
			t.Errorf("%s: %d packages of %d; %v", name, len(inv.Packages), n, inv.Partial)
		}
	}
	for name, raw := range shareddata.Archive(t, "..", tar, ".status") {
		inv := read(t, fstest.MapFS{"etc/os-release": {Data: []byte(debian12)}, statusFile: {Data: raw}})
		if n := strings.Count("\n"+string(raw), "\nPackage:"); n < len(inv.Packages) || len(inv.Packages) == 0 {
			t.Errorf("%s: %d packages of %d; %v", name, len(inv.Packages), n, inv.Partial)
		}
	}
	raw := shareddata.Archive(t, "..", tar, "status.d/foo")
	files := fstest.MapFS{"etc/os-release": {Data: []byte(debian12)}}
	for name, b := range raw {
		files[statusDir+name[strings.LastIndexByte(name, '/'):]] = &fstest.MapFile{Data: b}
	}
	if inv := read(t, files); !slices.ContainsFunc(inv.Packages, func(p Package) bool { return p.Name == "foo" && p.Status.Settled() }) {
		t.Errorf("status.d: %+v", inv)
	}
}
