package match

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/internal/shareddata"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/version"
)

// rawRecord is an OSV record as encoding/json sees it.
type rawRecord struct {
	ID       string
	Summary  string
	Affected []struct {
		Package struct{ Ecosystem, Name string }
		Ranges  []struct{ Events []map[string]string }
	}
}

// rpmvercmp is the reference: rpm's own algorithm (rpmio/rpmvercmp.c), written
// down again in the plainest way, apart from room version.
func rpmvercmp(a, b string) int {
	alnum := func(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
	for a != "" || b != "" {
		for a != "" && !alnum(a[0]) && a[0] != '~' && a[0] != '^' {
			a = a[1:]
		}
		for b != "" && !alnum(b[0]) && b[0] != '~' && b[0] != '^' {
			b = b[1:]
		}
		if strings.HasPrefix(a, "~") || strings.HasPrefix(b, "~") {
			if !strings.HasPrefix(a, "~") {
				return 1
			}
			if !strings.HasPrefix(b, "~") {
				return -1
			}
			a, b = a[1:], b[1:]
			continue
		}
		if strings.HasPrefix(a, "^") || strings.HasPrefix(b, "^") {
			switch {
			case a == "":
				return -1
			case b == "":
				return 1
			case a[0] != '^':
				return 1
			case b[0] != '^':
				return -1
			}
			a, b = a[1:], b[1:]
			continue
		}
		if a == "" || b == "" {
			break
		}
		numeric := a[0] >= '0' && a[0] <= '9'
		class := "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		if numeric {
			class = "0123456789"
		}
		x, y := a[:len(a)-len(strings.TrimLeft(a, class))], b[:len(b)-len(strings.TrimLeft(b, class))]
		if y == "" {
			if numeric {
				return 1
			}
			return -1
		}
		a, b = a[len(x):], b[len(y):]
		if numeric {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	return len(a) - len(b)
}

// rpmOlder reports whether [epoch:]version-release a is older than b.
func rpmOlder(a, b string) bool {
	evr := func(s string) [3]string {
		epoch, rest, ok := strings.Cut(s, ":")
		if !ok {
			epoch, rest = "0", s
		}
		i := strings.LastIndexByte(rest, '-')
		return [3]string{epoch, rest[:i], rest[i+1:]}
	}
	x, y := evr(a), evr(b)
	for i := range x {
		if c := rpmvercmp(x[i], y[i]); c != 0 {
			return c < 0
		}
	}
	return false
}

// rawFeed reads a zip twice: by room advisory, and by encoding/json.
func rawFeed(t *testing.T, name string) (advisory.Set, []rawRecord) {
	set, seen, plain := advisory.Set{Snapshot: advisory.Snapshot{Name: "osv"}}, map[string]bool{}, []rawRecord{}
	shareddata.Zipped(t, "..", name, func(file string, raw []byte) {
		if !strings.HasSuffix(file, ".json") || testing.Short() && strings.Contains(file, "almalinux8/") {
			return
		}
		var p rawRecord
		if err := json.Unmarshal(raw, &p); err != nil {
			t.Fatal(err)
		}
		a, err := advisory.ParseOSV(raw, set.Snapshot.Origin())
		if err != nil {
			t.Fatal(err)
		}
		set.Advisories, plain = append(set.Advisories, a), append(plain, p)
		seen[a.ID] = true
	})
	set.Snapshot.Count = len(seen)
	return set, plain
}

// rawSaid is what a raw record says of a package: its fixed version and, for builds
// of modules, the streams that the erratum's title names.
type rawSaid struct {
	id, fixed string
	modular   bool
	streams   []string
}

var titled = regexp.MustCompile(`(?:^| )([A-Za-z][-A-Za-z0-9_.+]*:[-A-Za-z0-9_.+]*[A-Za-z0-9])(?: |$)`)

// want is the reference's answer to one package with a module label ("" where it
// has none): "affected", "unknown", or "" for neither.
func (s rawSaid) want(ver, label string) string {
	modular := label != "" || strings.Contains(ver, ".module")
	switch {
	case modular != s.modular || !rpmOlder(ver, s.fixed):
		return ""
	case !modular:
		return "affected"
	case label == "" || len(s.streams) == 0:
		return "unknown"
	case slices.Contains(s.streams, label):
		return "affected"
	}
	return ""
}

// of reads what raw records say about a release, by package.
func of(plain []rawRecord, ecosystem string) map[string][]rawSaid {
	by := map[string][]rawSaid{}
	for _, r := range plain {
		var streams []string
		for _, m := range titled.FindAllStringSubmatch(strings.ReplaceAll(r.Summary, " ", "  "), -1) {
			streams = append(streams, m[1])
		}
		for _, a := range r.Affected {
			if a.Package.Ecosystem != ecosystem {
				continue
			}
			for _, e := range a.Ranges[0].Events {
				if v, ok := e["fixed"]; ok {
					by[a.Package.Name] = append(by[a.Package.Name], rawSaid{r.ID, v, strings.Contains(v, ".module"), streams})
				}
			}
		}
	}
	return by
}

// hosts is a host for each boundary of each package, in a shape, with the module
// labels that make a difference, and the reference's findings.
func hosts(by map[string][]rawSaid, release, shape string) (inv inventory.Inventory, want map[string]string, compared int) {
	inv.OS, want = inventory.OS{ID: "almalinux", VersionID: release + ".4"}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		seen := map[string]bool{}
		for _, bound := range by[name] {
			labels := []string{""}
			if bound.modular {
				labels = append(labels, append(slices.Clone(bound.streams), "other:1")...)
			}
			for _, label := range labels {
				p := inventory.Package{Name: name, Arch: "x86_64/" + label, Version: fmt.Sprintf(shape, bound.fixed), Scheme: version.RPM, Source: name, Status: inventory.Status{Want: "install", Flag: "ok", State: inventory.Installed}}
				if p.Module = label; label != "" {
					p.Module += ":8060020220823:0b4eb31d"
				}
				if seen[p.Version+" "+label] {
					continue
				}
				seen[p.Version+" "+label] = true
				inv.Packages = append(inv.Packages, p)
				for _, s := range by[name] {
					compared++
					key := s.id + " " + name + " " + p.Version + " " + p.Arch
					if w := s.want(p.Version, label); w != "" && want[key] != "affected" {
						want[key] = w
					}
				}
			}
		}
	}
	return inv, want, compared
}

// For the complete AlmaLinux feed: inventories at every boundary, just below it
// and above it, from each module stream, another one and an unknown one, against
// the naive loop over the raw records.
func TestAlmaLinuxIsExact(t *testing.T) {
	set, plain := rawFeed(t, "osv/AlmaLinux.zip")
	ix, total, compared, modular := NewIndex(set), 0, 0, map[string]int{}
	shapes, least := []string{"%s", "%s~1", "%s.1", "%s^1"}, 100_000
	if testing.Short() {
		shapes, least = shapes[1:2], 1000
	}
	for _, release := range []string{"8", "9", "10"} {
		by := of(plain, "AlmaLinux:"+release)
		if testing.Short() && release != "10" { // modules alone, of one release
			maps.DeleteFunc(by, func(_ string, list []rawSaid) bool {
				return release == "8" || !slices.ContainsFunc(list, func(s rawSaid) bool { return s.modular })
			})
		}
		for _, shape := range shapes {
			inv, want, n := hosts(by, release, shape)
			compared += n
			got := map[string]string{}
			for _, f := range Find(inv, ix) {
				got[f.Advisory+" "+f.Package+" "+f.Version+" "+f.Arch] = string(f.State)
				if f.State == Unknown && f.Reason.Code != ModuleUnknown {
					t.Fatalf("%+v", f)
				}
				if strings.Contains(f.Version, ".module") {
					modular[string(f.State)]++
				}
			}
			if total += len(want); !maps.Equal(got, want) {
				t.Errorf("%s %s: %d findings, the reference has %d", release, shape, len(got), len(want))
				for k := range want {
					if got[k] != want[k] {
						t.Fatalf("%s: %s, the reference %s", k, got[k], want[k])
					}
				}
				for k := range got {
					if want[k] == "" {
						t.Fatalf("too many: %s", k)
					}
				}
			}
		}
	}
	t.Logf("%d records, %d comparisons, %d findings (advisory, package, version, stream) equal; of modules %v", len(plain), compared, total, modular)
	if total < least || modular["affected"] == 0 || modular["unknown"] == 0 {
		t.Errorf("only %d findings were compared, %v of modules", total, modular)
	}
}

// For Debian 12: every pair of record and installed package, decided by dpkg.
func TestDebianIsExactByDpkg(t *testing.T) {
	tool, err := exec.LookPath("dpkg")
	if err != nil {
		t.Skip("dpkg is not installed: Debian's findings are not compared with its own order here")
	}
	_, plain := rawFeed(t, "debian/osv-derived-bookworm.zip")
	inv, set := bookworm(t), realFeed(t)
	source, older := map[string]map[string]bool{}, map[[2]string]bool{}
	for _, p := range inv.Packages {
		if source[p.Source] == nil {
			source[p.Source] = map[string]bool{}
		}
		source[p.Source][p.SourceVersion] = true
	}
	want, pairs := map[string]bool{}, 0
	for _, r := range plain {
		for _, a := range r.Affected {
			for v := range source[a.Package.Name] {
				for _, e := range a.Ranges[0].Events {
					fixed, ok := e["fixed"]
					if !ok {
						continue
					}
					k := [2]string{v, fixed}
					if _, known := older[k]; !known {
						older[k] = exec.Command(tool, "--compare-versions", v, "lt", fixed).Run() == nil
					}
					pairs++
					want[r.ID+" "+a.Package.Name+" "+v] = older[k]
				}
			}
		}
	}
	got := map[string]bool{}
	for _, f := range Explain(inv, NewIndex(set), Query{}) {
		if f.Advisory != "" {
			got[f.Advisory+" "+f.Source+" "+f.SourceVersion] = f.State == Affected
		}
	}
	if !maps.Equal(got, want) || len(want) < 900 {
		t.Errorf("%d verdicts, dpkg gives %d", len(got), len(want))
	}
	t.Logf("%d pairs of record and installed source, %d calls of dpkg, all verdicts equal", pairs, len(older))
}
