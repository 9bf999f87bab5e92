package apt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/writ"
)

// simulated is what apt-get of Debian 12 printed for two upgrades.
const simulated = `Reading package lists...
Building dependency tree...
The following packages will be upgraded:
  libssl3 openssl
2 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.
Inst libssl3 [3.0.20-1~deb12u2] (3.0.22-1~deb12u2 local-deb [amd64])
Inst openssl [3.0.20-1~deb12u2] (3.0.22-1~deb12u2 local-deb [amd64])
Conf libssl3 (3.0.22-1~deb12u2 local-deb [amd64])
Conf openssl (3.0.22-1~deb12u2 local-deb [amd64])
`

func upgrade(name, from, to string) change.Change {
	op := change.Upgrade
	switch {
	case from == "":
		op = change.Install
	case to == "":
		op = change.Remove
	}
	c := change.Change{Op: op, Package: name, Arch: "amd64", From: from, To: to}
	if to != "" {
		c.Artefact = canon.SumFile([]byte(name + to))
	}
	return c
}

var two = []change.Change{upgrade("libssl3", "3.0.20-1~deb12u2", "3.0.22-1~deb12u2"), upgrade("openssl", "3.0.20-1~deb12u2", "3.0.22-1~deb12u2")}

func TestTheDryRunMustBeExactlyTheWrit(t *testing.T) {
	all := change.Change{Op: change.Remove, Package: "ca-certificates", Arch: "all", From: "2023"}
	for name, c := range map[string]struct {
		changes []change.Change
		text    string
		want    string // part of the difference, "" when there is none
	}{
		"the same":            {two, simulated, ""},
		"one more installed":  {two, simulated + "Inst evil (1 local-deb [amd64])\nConf evil (1 local-deb [amd64])\n", "not in the writ: install evil"},
		"one more configured": {two, simulated + "Conf left-over (1 local-deb [amd64])\n", "not in the writ: configure left-over"},
		"one removed":         {two, simulated + "Remv sudo [1.9]\n", "not in the writ: remove sudo:amd64 1.9"},
		"one purged":          {two, simulated + "Purg sudo [1.9]\n", "not in the writ: purge sudo"},
		"one less":            {two[:1], simulated, "not in the writ: install openssl"},
		"one missing":         {append(slices.Clone(two), upgrade("z", "1", "2")), simulated, "missing: install z"},
		"another version":     {two, strings.ReplaceAll(simulated, "3.0.22", "3.0.21"), "3.0.21"},
		"from another one":    {two, strings.ReplaceAll(simulated, "[3.0.20", "[3.0.19"), "3.0.19"},
		"another arch":        {two, strings.ReplaceAll(simulated, "[amd64]", "[i386]"), "i386"},
		"not configured":      {two, strings.Replace(simulated, "Conf openssl", "Note openssl", 1), "missing: configure openssl"},
		"twice":               {two, simulated + simulated, "not in the writ"},
		"a removal of all":    {[]change.Change{all}, "Remv ca-certificates [2023]\n", ""},
		"a first one":         {[]change.Change{upgrade("a", "", "1")}, "Inst a (1 local-deb [amd64])\nConf a (1 local-deb [amd64])\n", ""},
		"broken meanwhile":    {[]change.Change{upgrade("a", "1", "2")}, "Inst a [1] (2 local-deb [amd64]) [perl:amd64 ]\nConf a (2 local-deb [amd64])\n", ""},
	} {
		steps, err := ReadSimulation(c.text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := differs(c.changes, steps, "amd64"); (diff == "") != (c.want == "") || !strings.Contains(diff, c.want) {
			t.Errorf("%s: %q, want %q", name, diff, c.want)
		}
	}
}

func TestALineOfTheDryRunThatCannotBeRead(t *testing.T) {
	for _, line := range []string{"Inst", "Inst a", "Inst a [1", "Inst a (1 x", "Inst a (1)", "Conf a [1]", "Inst a:i386 [1] (2 x [amd64])", "Remv a", "Inst ../a (1 x [amd64])", "Inst a (1 x [amd64]) more"} {
		if steps, err := ReadSimulation(line + "\n"); err == nil {
			t.Errorf("%q was read as %+v", line, steps)
		}
	}
	if _, err := ReadSimulation(strings.Repeat(" ", maxSimulation+1)); err == nil {
		t.Error("no limit")
	}
}

// hook is what apt writes for an expectation, as seen with Debian 12.
func hook(e expectation) string {
	text := "VERSION 3\nAPT::Architecture=amd64\nDPkg::Use-Pty=0\n\n"
	for _, o := range e.Operations {
		old, oldArch, oldMulti := o.Old, o.Arch, "foreign"
		if old == "" {
			old, oldArch, oldMulti = "-", "-", "none"
		}
		if o.New == "" {
			text += fmt.Sprintf("%s %s %s %s > - - none **REMOVE**\n", o.Package, old, oldArch, oldMulti)
			continue
		}
		head := fmt.Sprintf("%s %s %s %s %s %s %s foreign ", o.Package, old, oldArch, oldMulti, order(o.Old, o.New), o.New, o.Arch)
		text += head + o.Path + "\n" + head + "**CONFIGURE**\n"
	}
	return text
}

var mixed = []change.Change{upgrade("a", "", "1:1.0~rc1"), upgrade("b", "2", ""), two[0], {Op: change.Downgrade, Package: "z", Arch: "all", From: "2", To: "1", Artefact: canon.SumFile([]byte("z1"))}}

// sums answers with the digest that each path should have.
func sums(e expectation) func(string) (canon.Digest, error) {
	return func(path string) (canon.Digest, error) {
		for _, o := range e.Operations {
			if o.Path == path {
				return o.Digest, nil
			}
		}
		return "", os.ErrNotExist
	}
}

func TestTheGateComparesTheWholeSet(t *testing.T) {
	e := expect("", mixed, "/dir")
	good := hook(e)
	if err := e.check(strings.NewReader(good), sums(e)); err != nil {
		t.Fatalf("the set itself: %v", err)
	}
	for name, text := range map[string]string{
		"a removal smuggled in":   good + "sudo 1.9 amd64 none > - - none **REMOVE**\n",
		"a configuration more":    good + "sudo 1.9 amd64 none = 1.9 amd64 none **CONFIGURE**\n",
		"an installation more":    good + "evil - - none < 1 amd64 none /dir/evil_1_amd64.deb\n",
		"a line twice":            good + "b 2 amd64 foreign > - - none **REMOVE**\n",
		"another path":            strings.Replace(good, "/dir/libssl3", "/tmp/libssl3", 1),
		"another version":         strings.ReplaceAll(good, "3.0.22", "3.0.23"),
		"another version before":  strings.ReplaceAll(good, "3.0.20", "3.0.19"),
		"another architecture":    strings.ReplaceAll(good, "amd64", "i386"),
		"a removal less":          strings.Replace(good, "b 2 amd64 foreign > - - none **REMOVE**\n", "", 1),
		"nothing at all":          "VERSION 3\n\n",
		"no word":                 "",
		"another protocol":        strings.Replace(good, "VERSION 3", "VERSION 2", 1),
		"a line with more fields": strings.Replace(good, "**REMOVE**", "**REMOVE** x", 1),
		"a line without end":      good + strings.Repeat("x", maxHookLine+1),
	} {
		if err := e.check(strings.NewReader(text), sums(e)); refusal.CodeOf(err) != pkgmgr.CodeGate {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := func(string) (canon.Digest, error) { return canon.SumFile([]byte("trojan")), nil }
	if err := e.check(strings.NewReader(good), other); refusal.CodeOf(err) != pkgmgr.CodeGate {
		t.Errorf("other bytes: %v", err)
	}
	gone := func(string) (canon.Digest, error) { return "", errors.New("gone") }
	if err := e.check(strings.NewReader(good), gone); refusal.CodeOf(err) != pkgmgr.CodeGate {
		t.Errorf("no bytes: %v", err)
	}
}

func TestTheGateAnswersOnceAndOnlyForItsSeal(t *testing.T) {
	e := expect("", []change.Change{upgrade("b", "2", "")}, "/dir")
	file := filepath.Join(t.TempDir(), "expectation")
	if err := os.WriteFile(file, e.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Gate(strings.NewReader(hook(e)), file, canon.SumFile(nil)); refusal.CodeOf(err) != pkgmgr.CodeGate {
		t.Errorf("another seal: %v", err)
	}
	if err := Gate(strings.NewReader(hook(e)), file, e.seal()); err != nil {
		t.Errorf("the first time: %v", err)
	}
	if err := Gate(strings.NewReader(hook(e)), file, e.seal()); refusal.CodeOf(err) != pkgmgr.CodeGate {
		t.Errorf("the second time: %v", err)
	}
	if err := Gate(strings.NewReader(""), "", ""); refusal.CodeOf(err) != pkgmgr.CodeLockdown {
		t.Errorf("without an expectation: %v", err)
	}
}

// Taking any one line out of the hook's text, or adding one, closes the gate.
func TestEveryLineCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var changes []change.Change
		for i := range rapid.IntRange(1, 8).Draw(t, "changes") {
			c := upgrade(fmt.Sprintf("p%d", i), rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "from"), "3")
			if c.From != "" && rapid.Bool().Draw(t, "remove") {
				c = upgrade(c.Package, c.From, "")
			}
			changes = append(changes, c)
		}
		e := expect("", changes, "/dir")
		lines := strings.SplitAfter(hook(e), "\n")
		lines = lines[:len(lines)-1]
		if err := e.check(strings.NewReader(strings.Join(lines, "")), sums(e)); err != nil {
			t.Fatal(err)
		}
		n := rapid.IntRange(4, len(lines)-1).Draw(t, "line")
		without := slices.Delete(slices.Clone(lines), n, n+1)
		twice := slices.Insert(slices.Clone(lines), n, lines[n])
		for _, text := range [][]string{without, twice} {
			if e.check(strings.NewReader(strings.Join(text, "")), sums(e)) == nil {
				t.Fatalf("passed:\n%s", strings.Join(text, ""))
			}
		}
	})
}

func FuzzReadHook(f *testing.F) {
	f.Add(hook(expect("", mixed, "/dir")))
	f.Add("VERSION 3\n\na b c\n")
	f.Add("")
	e := expect("", mixed, "/dir")
	want := e.lines()
	f.Fuzz(func(t *testing.T, text string) {
		got, err := readHook(strings.NewReader(text))
		passed := e.check(strings.NewReader(text), sums(e)) == nil
		if passed != (err == nil && slices.Equal(got, want)) {
			t.Errorf("passed: %v, read %q, %v", passed, got, err)
		}
	})
}

func FuzzReadSimulation(f *testing.F) {
	f.Add(simulated)
	f.Add("Remv a [1]\nInst a:i386 [1] (2 x [i386]) [b:amd64 ]\n")
	f.Fuzz(func(t *testing.T, text string) {
		steps, err := ReadSimulation(text)
		if err != nil {
			return
		}
		n := 0
		for line := range strings.Lines(text) {
			verb, _, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
			if slices.Contains([]string{"Inst", "Conf", "Remv", "Purg"}, verb) {
				n++
			}
		}
		if n != len(steps) {
			t.Errorf("%d lines, %d steps", n, len(steps))
		}
		if len(steps) > 0 && differs(nil, steps, "amd64") == "" {
			t.Error("steps that nobody wanted make no difference")
		}
	})
}

func TestCommandLineAndConfiguration(t *testing.T) {
	has := func(cs []change.Change, word string) bool {
		return slices.Contains(command("/run", cs, "amd64", false), word)
	}
	if !has(two, "--no-remove") || has(two, "--allow-downgrades") || !has(two, "--no-download") || has(two, "--reinstall") {
		t.Errorf("upgrades: %v", command("/run", two, "amd64", false))
	}
	if has(mixed, "--no-remove") || !has(mixed, "--allow-downgrades") || !has(mixed, "b-") || !has(mixed, "/run/archives/a_1%3a1.0~rc1_amd64.deb") {
		t.Errorf("a mixture: %v", command("/run", mixed, "amd64", false))
	}
	foreign := upgrade("b", "2", "")
	foreign.Arch = "i386"
	if !has([]change.Change{foreign}, "b:i386-") {
		t.Errorf("a foreign removal: %v", command("/run", []change.Change{foreign}, "amd64", false))
	}
	conf := configuration("/run", canon.SumFile(nil), 5)
	for _, want := range []string{`Dir::Etc::sourcelist "/dev/null";`, `Dir::Etc::parts "` + emptyDir + `";`, "gate --expect /run/expectation --seal " + string(canon.SumFile(nil)), `::Version "3";`} {
		if !strings.Contains(conf, want) {
			t.Errorf("the configuration lacks %q:\n%s", want, conf)
		}
	}
}

func TestWhatAptComplainsOf(t *testing.T) {
	for _, c := range []struct {
		end  exit
		log  string
		code refusal.Code
	}{
		{exit{}, "anything", ""},
		{exit{Code: 100}, "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1 (apt-get)", pkgmgr.CodeLock},
		{exit{Code: 100}, "cannot copy extracted data: failed to write (No space left on device)", pkgmgr.CodeFull},
		{exit{Code: 100}, "installed a package post-installation script subprocess returned error exit status 1", pkgmgr.CodeScript},
		{exit{Code: 100}, "E: Failure running script " + agentBin + " gate", pkgmgr.CodeGate},
		{exit{Code: 100}, "", pkgmgr.CodeExit},
		{exit{Code: 255, Signal: 9}, "", pkgmgr.CodeExit},
		{exit{Code: 255, Why: "no such file"}, "", pkgmgr.CodeTool},
	} {
		if got := complains(c.end, c.log); got != c.code {
			t.Errorf("%+v %q: %q, want %q", c.end, c.log, got, c.code)
		}
	}
}

func TestWhatIsLeftToTakeBack(t *testing.T) {
	p := func(version, state, flag string) []inventory.Package {
		return []inventory.Package{{Name: "a", Arch: "amd64", Version: version, Status: inventory.Status{Want: "install", Flag: flag, State: state}}}
	}
	back := []change.Change{{Op: change.Downgrade, Package: "a", Arch: "amd64", From: "2", To: "1"}}
	for name, c := range map[string]struct {
		is   []inventory.Package
		from string // "-" when nothing is left
	}{
		"never touched":        {p("1", inventory.Installed, "ok"), "-"},
		"half configured":      {p("2", inventory.HalfConfigured, "ok"), "2"},
		"installed":            {p("2", inventory.Installed, "ok"), "2"},
		"died while unpacking": {p("1", inventory.HalfInstalled, "reinstreq"), "1"},
		"gone":                 {nil, ""},
	} {
		todo := remaining(back, c.is)
		if (len(todo) == 0) != (c.from == "-") || (len(todo) == 1 && todo[0].From != c.from) {
			t.Errorf("%s: %+v", name, todo)
		}
	}
}

func TestPatternsOfDpkg(t *testing.T) {
	v := &verifier{excluded: []pattern{{"/usr/share/doc/*", false}, {"/usr/share/doc/*/copyright", true}}}
	for path, want := range map[string]bool{"/usr/share/doc/a/b/c": true, "/usr/share/doc/a/copyright": false, "/usr/bin/a": false} {
		if v.excludes(path) != want {
			t.Errorf("%s: excluded %v", path, !want)
		}
	}
}

func TestReplacedFilesAreFoundUnderAnyRoot(t *testing.T) {
	replaced := map[string]bool{"/usr/lib/x.so": true}
	dir, here := &system{dir: "/srv/root"}, &system{dir: "/"}
	for path, want := range map[string]bool{"/srv/root/usr/lib/x.so": true, "/srv/root/lib/x.so": true, "/usr/lib/x.so": true, "/srv/root/usr/lib/y.so": false} {
		if _, ok := dir.inner(path, replaced); ok != want {
			t.Errorf("%s: %v", path, ok)
		}
	}
	if _, ok := here.inner("/opt/container/usr/lib/x.so", replaced); ok {
		t.Error("another system's file was taken for this one's")
	}
}

func TestASupervisorStartsNothingElse(t *testing.T) {
	inRun := runsDir + "/a/apply"
	for name, c := range map[string]struct {
		argv []string
		file string
		good bool
	}{
		"apt-get for a run":    {[]string{aptGet, "install"}, inRun, true},
		"dpkg for a run":       {[]string{dpkg, "--configure"}, inRun, true},
		"a shell":              {[]string{"/bin/sh", "-c", aptGet}, inRun, false},
		"another apt-get":      {[]string{"/tmp/apt-get"}, inRun, false},
		"nothing":              {nil, inRun, false},
		"a job from elsewhere": {[]string{aptGet}, "/tmp/run/a/apply", false},
		"a job deeper down":    {[]string{aptGet}, runsDir + "/a/b/apply", false},
	} {
		if err := (job{Argv: c.argv}).allowed(c.file); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "apply")
	if err := os.WriteFile(file+jobSuffix, canon.MustEncode(job{Argv: []string{"/bin/true"}, Env: []string{}}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Supervise(file); err == nil || !strings.Contains(err.Error(), "nothing else") {
		t.Errorf("the verb itself: %v", err)
	}
}

func TestOnlyAKernelWaitsForAReboot(t *testing.T) {
	for path, want := range map[string]bool{"/boot/vmlinuz-6.1.0-56-cloud-amd64": true, "/boot/config-6.1.0-56-cloud-amd64": false, "/usr/bin/hello-pw": false} {
		if got := bootsAnew(map[string]bool{"/usr/share/doc/x": true, path: true}); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
}

func TestAKernelThatWasReplacedUnderItsNameIsOld(t *testing.T) {
	const here, next = "6.1.0-42-amd64", "6.1.0-43-amd64"
	for _, c := range []struct {
		newest, replaced string
		want             writ.Fact
	}{{here, "", writ.Yes}, {here, "/boot/vmlinuz-" + here, writ.No}, {next, "/boot/vmlinuz-" + next, writ.No}, {here, "/boot/vmlinuz-6.1.0-41-amd64", writ.Yes}} {
		k := inventory.Kernel{Running: here, Installed: []inventory.Image{{Release: here, Version: "1"}, {Release: "6.1.0-44-rt-amd64", Version: "3"}}}
		if c.newest != here {
			k.Installed = append(k.Installed, inventory.Image{Release: c.newest, Version: "2"})
		}
		line, got := kernelIs(k, map[string]bool{c.replaced: true})
		if got != c.want || (line == "0 kernel "+here) != (c.want == writ.No) {
			t.Errorf("%+v: %q, %s", c, line, got)
		}
	}
}
