package fleet

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/version"
)

// naive is the reference: it looks at every record for every package of every
// host, and orders versions by version.Compare.
type naive struct {
	hosts   map[string]Host
	records map[Ref]advisory.Advisory
}

// findings are written "ref ecosystem/package state host", once each.
func (n naive) findings() map[string]bool {
	out := map[string]bool{}
	for ref, a := range n.records {
		for _, h := range n.hosts {
			for _, p := range h.Packages {
				distribution, _, _ := strings.Cut(h.Ecosystem, ":")
				for i, e := range []string{h.Ecosystem, distribution} {
					if state := say(a, e, p, i == 1); h.Ecosystem != "" && state != "" {
						out[fmt.Sprintf("%s %s/%s %s %s", label(ref), e, p.Source, state, h.Name)] = true
					}
				}
			}
		}
	}
	return out
}

func label(r Ref) string { return fmt.Sprintf("%s/%s/%d", r.Feed, r.ID, r.Nth) }

// say is what a record says about a version under the name of an ecosystem; ""
// is not affected.
func say(a advisory.Advisory, ecosystem string, p Package, unnamed bool) string {
	var sure, open []advisory.Affected
	for _, f := range a.Affected {
		if f.Ecosystem != ecosystem || f.Package != p.Source {
			continue
		}
		switch meant(f, p) {
		case "yes":
			sure = append(sure, f)
		case "perhaps":
			open = append(open, f)
		}
	}
	if a.Withdrawn > 0 || !slices.ContainsFunc(append(slices.Clone(sure), open...), func(f advisory.Affected) bool { return loud(a, f, p) }) {
		return ""
	}
	if len(open) == 0 {
		return sayThese(a, sure, ecosystem, p, unnamed)
	}
	state := sayThese(a, open, ecosystem, p, unnamed)
	if len(sure) > 0 {
		if certain := sayThese(a, sure, ecosystem, p, unnamed); state == "" || certain == "affected" || certain == "unknown" {
			return certain
		}
	}
	if state == "affected" {
		return "unknown" // if it comes from that stream
	}
	return state
}

// meant tells by module streams whether a part is about a package: "yes", "no",
// "perhaps". Without a word about modules the builds that it names tell.
func meant(f advisory.Affected, p Package) string {
	if !strings.HasPrefix(f.Ecosystem, "AlmaLinux") {
		return "yes"
	}
	modular, plain := false, false
	for _, r := range f.Ranges {
		ofModule := strings.Contains(r.Fixed, ".module_el")
		modular, plain = modular || ofModule, plain || r.Fixed != "" && !ofModule
	}
	switch {
	case f.Module != "" && p.Module == OtherStream, f.Module == "" && modular && !plain && p.Module != "":
		return "perhaps"
	case f.Module != "" && f.Module == p.Module, f.Module == "" && modular == plain, f.Module == "" && plain && p.Module == "":
		return "yes"
	}
	return "no"
}

// loud tells whether a part says anything about a version.
func loud(a advisory.Advisory, f advisory.Affected, p Package) bool {
	return len(f.Versions) == 0 || len(f.Ranges) > 0 || slices.Contains(f.Versions, p.Version) || f.Status == "" && a.Basis != advisory.BasisStatement
}

// sayThese is what these parts of a record say together.
func sayThese(a advisory.Advisory, parts []advisory.Affected, ecosystem string, p Package, unnamed bool) string {
	scheme, known := advisory.SchemeOf(ecosystem)
	ranges, hit, broken, words := 0, false, false, map[advisory.Status]bool{}
	for _, f := range parts {
		listed := slices.Contains(f.Versions, p.Version)
		if f.Status != "" && len(f.Ranges) == 0 {
			words[f.Status] = words[f.Status] || len(f.Versions) == 0 || listed
			continue
		}
		hit, ranges = hit || listed, ranges+len(f.Ranges)+len(f.Versions)
		for _, r := range f.Ranges {
			in, err := r.Contains(scheme, p.Version)
			hit, broken = hit || in, broken || err != nil
		}
	}
	switch {
	case unnamed || p.Unsettled || !known || version.Valid(scheme, p.Version) != nil:
		return "unknown"
	case hit && a.Basis == advisory.BasisStatement:
		return "unknown"
	case hit:
		return "affected"
	case broken || words[advisory.Undetermined]:
		return "unknown"
	case words[advisory.UnderInvestigation]:
		return "under_investigation"
	case ranges == 0 && !words[advisory.NotAffected]:
		return "unknown"
	}
	return ""
}

// sets are an answer's, by state.
func sets(a Answer) map[string]Hosts {
	return map[string]Hosts{"affected": a.Affected, "unknown": a.Unknown, "under_investigation": a.Investigated}
}

// findings are those of a snapshot, as naive writes them.
func findings(s *Snapshot) map[string]bool {
	out := map[string]bool{}
	for r := range s.Match() {
		for state, set := range sets(r.Answer) {
			for id := range set.All() {
				out[fmt.Sprintf("%s %s/%s %s %s", label(r.Ref), r.Ecosystem, r.Package, state, s.Name(id))] = true
			}
		}
	}
	return out
}

// differ lists what stands in one set only.
func differ(got, want map[string]bool) []string {
	var out []string
	for f := range got {
		if !want[f] {
			out = append(out, "too much: "+f)
		}
	}
	for f := range want {
		if !got[f] {
			out = append(out, "missing: "+f)
		}
	}
	slices.Sort(out)
	return out
}

// answered checks that Answer says of each record what its rows say together.
func answered(t *rapid.T, s *Snapshot, n naive, all map[string]bool) {
	want := map[string]bool{}
	for f := range all {
		p := strings.Fields(f)
		want[p[0]+" "+p[2]+" "+p[3]] = true
	}
	got := map[string]bool{}
	for ref := range n.records {
		a, ok := s.Answer(ref)
		if !ok {
			t.Fatalf("record %v is not held", ref)
		}
		for state, set := range sets(a) {
			if set.Len() != len(set.Numbers()) {
				t.Fatalf("%v: Len %d, %d numbers", ref, set.Len(), len(set.Numbers()))
			}
			for id := range set.All() {
				got[fmt.Sprintf("%s %s %s", label(ref), state, s.Name(id))] = true
			}
		}
	}
	if d := differ(got, want); len(d) > 0 {
		t.Fatalf("answers:\n%s", strings.Join(d, "\n"))
	}
}

var (
	// The first of each stand more than once, so that versions of one package meet.
	ecosystems = []string{"Debian:12", "Debian:12", "Debian:12", "Debian:12", "Debian:12", "Debian:13", "AlmaLinux:9", "AlmaLinux:9", "AlmaLinux:9", "Alpine:v3.20", "Nowhere:1", "Debian", "Alpine", "AlmaLinux"}
	sources    = []string{"a", "a", "a", "a", "b", "linux", "linux-signed-amd64"}
	versions   = []string{"1.0", "1.00", "0:1.0", "1.0-0", "1.0-1", "1.0~rc1", "1.0-r1", "1.1", "1.10", "1.9", "2", "1:0.1", "1.0+deb12u1", "0~~", "", "no version!", "_", "x", "2-", "1.1-1.module_el9+1", "1.0-1.module_el9+1"}
	feeds      = []string{"f", "g"}
	statuses   = []advisory.Status{advisory.Unfixed, advisory.WontFix, advisory.NotAffected, advisory.NotAffected,
		advisory.UnderInvestigation, advisory.UnderInvestigation, advisory.Undetermined}
)

func drawVersion(t *rapid.T) string { return rapid.SampledFrom(versions).Draw(t, "version") }

func drawPackages(t *rapid.T, most int) []Package {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Package {
		p := Package{Source: rapid.SampledFrom(sources).Draw(t, "source"), Version: drawVersion(t), Unsettled: rapid.IntRange(0, 9).Draw(t, "state") == 0,
			Module: rapid.SampledFrom([]string{"", "", "", "", "nodejs:18", "nodejs:20", OtherStream}).Draw(t, "module")}
		if p.Module == "" && advisory.ModuleBuild(p.Version) {
			p.Module = OtherStream
		}
		return p
	}), 0, most).Draw(t, "packages")
}

func drawRange(t *rapid.T) advisory.Range {
	r := advisory.Range{Type: "ECOSYSTEM", Introduced: advisory.Beginning}
	if rapid.Bool().Draw(t, "later") {
		r.Introduced = drawVersion(t)
	}
	switch rapid.IntRange(0, 3).Draw(t, "end") {
	case 0:
		r.LastAffected = drawVersion(t)
	case 1, 2:
		r.Fixed = drawVersion(t)
	}
	return r
}

func drawAdvisory(t *rapid.T) advisory.Advisory {
	a := advisory.Advisory{ID: fmt.Sprintf("CVE-2026-%d", rapid.IntRange(1, 6).Draw(t, "id")), Feed: advisory.Feed{Name: rapid.SampledFrom(feeds).Draw(t, "feed")}}
	a.Aliases = rapid.SliceOfN(rapid.SampledFrom([]string{"CVE-2026-1", "CVE-2026-2", "DSA-1"}), 0, 2).Draw(t, "aliases")
	a.Basis = rapid.SampledFrom([]advisory.Basis{advisory.BasisRecord, advisory.BasisRecord, advisory.BasisMention, advisory.BasisStatement}).Draw(t, "basis")
	if rapid.IntRange(0, 7).Draw(t, "withdrawn") == 0 {
		a.Withdrawn = 1
	}
	for range rapid.IntRange(1, 3).Draw(t, "affected") {
		f := advisory.Affected{Ecosystem: rapid.SampledFrom(ecosystems).Draw(t, "ecosystem"), Package: rapid.SampledFrom(sources).Draw(t, "package")}
		for range rapid.IntRange(0, 2).Draw(t, "ranges") {
			f.Ranges = append(f.Ranges, drawRange(t))
		}
		if rapid.IntRange(0, 3).Draw(t, "lists") == 0 {
			f.Versions = append(f.Versions, drawVersion(t), drawVersion(t))
		}
		if rapid.IntRange(0, 2).Draw(t, "word") == 0 {
			f.Status = rapid.SampledFrom(statuses).Draw(t, "status")
		}
		if strings.HasPrefix(f.Ecosystem, "AlmaLinux") {
			f.Module = rapid.SampledFrom([]string{"", "", "nodejs:18"}).Draw(t, "module")
		}
		a.Affected = append(a.Affected, f)
	}
	return a
}

// drawIndex makes an index in which even short lists may need templates of
// their own.
func drawIndex(t *rapid.T) *Index {
	x := New()
	x.slack = rapid.SampledFrom([]int{0, 1, 3, 8}).Draw(t, "slack")
	return x
}

// step makes one random change to the index and to the reference.
func step(t *rapid.T, x *Index, n naive) {
	name := fmt.Sprintf("host-%d", rapid.IntRange(1, 5).Draw(t, "host"))
	switch rapid.SampledFrom([]string{"put", "put", "change", "change", "remove", "publish", "publish", "publish", "retract"}).Draw(t, "step") {
	case "put":
		h := Host{name, rapid.SampledFrom(append(ecosystems, "")).Draw(t, "system"), drawPackages(t, 5), rapid.Bool().Draw(t, "gaps")}
		x.PutHost(h)
		n.hosts[name] = h
	case "change":
		change(t, x, n, name)
	case "remove":
		_, want := n.hosts[name]
		if got := x.RemoveHost(name); got != want {
			t.Fatalf("RemoveHost(%s) = %v, want %v", name, got, want)
		}
		delete(n.hosts, name)
	case "publish":
		a := drawAdvisory(t)
		n.records[x.PutNth(&a, rapid.IntRange(0, 1).Draw(t, "nth"))] = a
	case "retract":
		ref := Ref{rapid.SampledFrom(feeds).Draw(t, "feed"), fmt.Sprintf("CVE-2026-%d", rapid.IntRange(1, 6).Draw(t, "id")), rapid.IntRange(0, 1).Draw(t, "nth")}
		_, want := n.records[ref]
		if got := x.RemoveAdvisory(ref); got != want {
			t.Fatalf("RemoveAdvisory(%v) = %v, want %v", ref, got, want)
		}
		delete(n.records, ref)
	}
}

func change(t *rapid.T, x *Index, n naive, name string) {
	came := drawPackages(t, 2)
	var went []Package
	h, known := n.hosts[name]
	if len(h.Packages) > 0 && h.Ecosystem != "" && rapid.Bool().Draw(t, "goes") {
		went = []Package{rapid.SampledFrom(h.Packages).Draw(t, "went")}
	}
	if rapid.IntRange(0, 9).Draw(t, "misfit") == 0 {
		went = append(went, Package{Source: "never", Version: "1.0"})
	}
	_, err := x.Change(Change{name, went, came})
	if misfit := slices.ContainsFunc(went, func(p Package) bool { return p.Source == "never" }); !known || h.Ecosystem == "" || misfit {
		if err == nil {
			t.Fatalf("a change of %s that does not fit was taken", name)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	rest := slices.DeleteFunc(slices.Clone(h.Packages), func(p Package) bool { return slices.Contains(went, p) })
	h.Packages = append(rest, came...)
	n.hosts[name] = h
}

// TestEqualToLookingAtEveryHost compares whole finding sets after every commit
// of a random history, and at the end those of the snapshots before.
func TestEqualToLookingAtEveryHost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, n := drawIndex(t), naive{map[string]Host{}, map[Ref]advisory.Advisory{}}
		type moment struct {
			*Snapshot
			want map[string]bool
		}
		var past []moment
		for range rapid.IntRange(1, 25).Draw(t, "commits") {
			for range rapid.IntRange(1, 3).Draw(t, "steps") {
				step(t, x, n)
			}
			s, want := x.Commit(), n.findings()
			if d := differ(findings(s), want); len(d) > 0 {
				t.Fatalf("findings:\n%s", strings.Join(d, "\n"))
			}
			answered(t, s, n, want)
			holds(t, s, n)
			past = append(past, moment{s, want})
		}
		for i, m := range past {
			if d := differ(findings(m.Snapshot), m.want); len(d) > 0 {
				t.Fatalf("snapshot %d of %d has changed:\n%s", i, len(past), strings.Join(d, "\n"))
			}
		}
	})
}

// holds checks what the snapshot says of the hosts themselves.
func holds(t *rapid.T, s *Snapshot, n naive) {
	if got, want := s.All().Len(), len(n.hosts); got != want {
		t.Fatalf("%d hosts, want %d", got, want)
	}
	for name, want := range n.hosts {
		got, ok := s.Host(name)
		id, known := s.Number(name)
		if !ok || !known || s.Name(id) != name || got.Ecosystem != want.Ecosystem || !s.All().Has(id) {
			t.Fatalf("host %s: %v %v %d %+v", name, ok, known, id, got)
		}
		if gaps := want.Incomplete || want.Ecosystem == ""; got.Incomplete != gaps || s.Incomplete().Has(id) != gaps {
			t.Fatalf("host %s: incomplete %v, want %v", name, got.Incomplete, gaps)
		}
		has := map[Package]bool{}
		for _, p := range want.Packages {
			has[p] = want.Ecosystem != ""
		}
		maps.DeleteFunc(has, func(_ Package, here bool) bool { return !here })
		if len(got.Packages) != len(has) || slices.ContainsFunc(got.Packages, func(p Package) bool { return !has[p] }) {
			t.Fatalf("host %s has %v, want %v", name, got.Packages, has)
		}
	}
}

// TestEqualToFind holds the index to room match: for each record, the hosts for
// which Explain lists it in each state, and for each name, the worst state of
// the findings that Find gives about it.
func TestEqualToFind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, refs := drawIndex(t), map[Ref]bool{}
		feeds := map[string]*advisory.Set{}
		for range rapid.IntRange(1, 8).Draw(t, "records") {
			a := drawAdvisory(t)
			if ref := (Ref{Feed: a.Feed.Name, ID: a.ID}); !refs[ref] {
				refs[x.PutAdvisory(&a)] = true
				if feeds[a.Feed.Name] == nil {
					feeds[a.Feed.Name] = &advisory.Set{Snapshot: advisory.Snapshot{Name: a.Feed.Name, Count: 1}}
				}
				feeds[a.Feed.Name].Advisories = append(feeds[a.Feed.Name].Advisories, a)
			}
		}
		var list []advisory.Set
		for _, s := range feeds {
			list = append(list, *s)
		}
		ix, want := match.NewIndex(list...), map[string]bool{}
		for i := range rapid.IntRange(1, 4).Draw(t, "hosts") {
			name, inv := fmt.Sprintf("host-%d", i), drawInventory(t)
			x.PutHost(FromInventory(name, inv))
			for _, f := range match.Explain(inv, ix, match.Query{}) {
				for _, s := range f.Sources {
					if s.State != match.NotAffected {
						want["concerns "+keyOf(feeds[s.Feed], s.Advisory)] = true
						want[fmt.Sprintf("%s/%s/0 %s %s", s.Feed, s.Advisory, s.State, name)] = true
					}
				}
			}
			for _, about := range everyName {
				if state := worst(inv, ix, about); state != match.NotAffected {
					want[fmt.Sprintf("%s %s %s", about, state, name)] = true
				}
			}
		}
		if d := differ(asked(x.Commit(), refs), want); len(d) > 0 {
			t.Fatalf("against match.Explain:\n%s", strings.Join(d, "\n"))
		}
	})
}

var everyName = []string{"CVE-2026-1", "CVE-2026-2", "CVE-2026-3", "CVE-2026-4", "CVE-2026-5", "CVE-2026-6", "DSA-1", "CVE-2026-7"}

// keyOf is the name under which findings join a record.
func keyOf(set *advisory.Set, id string) string {
	i := slices.IndexFunc(set.Advisories, func(a advisory.Advisory) bool { return a.ID == id })
	return cmp.Or(set.Advisories[i].CVE(), id)
}

// worst is what match.Explain says of a vulnerability on a host.
func worst(inv inventory.Inventory, ix match.Index, name string) match.State {
	found := map[match.State]bool{}
	for _, f := range match.Explain(inv, ix, match.Query{Advisory: name}) {
		found[f.State] = found[f.State] || f.Package != ""
	}
	for _, s := range []match.State{match.Affected, match.Unknown, match.UnderInvestigation} {
		if found[s] {
			return s
		}
	}
	return match.NotAffected
}

// asked is what a snapshot says of records and of names.
func asked(s *Snapshot, refs map[Ref]bool) map[string]bool {
	got := map[string]bool{}
	for ref := range refs {
		a, _ := s.Answer(ref)
		for state, set := range sets(a) {
			for id := range set.All() {
				got[fmt.Sprintf("%s %s %s", label(ref), state, s.Name(id))] = true
			}
		}
	}
	for _, name := range s.Concerning() {
		got["concerns "+name] = true
	}
	for _, name := range everyName {
		a, _ := s.Named(name)
		if affected, unknown, studied := s.Count(name); affected != a.Affected.Len() || unknown != a.Unknown.Len() || studied != a.Investigated.Len() {
			got[fmt.Sprintf("%s counts %d %d %d", name, affected, unknown, studied)] = true
		}
		for state, set := range sets(a) {
			for id := range set.All() {
				got[fmt.Sprintf("%s %s %s", name, state, s.Name(id))] = true
			}
		}
	}
	return got
}

// drawInventory makes a Debian host with dpkg states of every kind, or an
// AlmaLinux host with packages of modules.
func drawInventory(t *rapid.T) inventory.Inventory {
	inv := inventory.Inventory{OS: inventory.OS{ID: "debian", VersionID: rapid.SampledFrom([]string{"12", "13", ""}).Draw(t, "release")}}
	alma := rapid.IntRange(0, 2).Draw(t, "alma") == 0
	if alma {
		inv.OS = inventory.OS{ID: "almalinux", VersionID: "9.4"}
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "packages") {
		state := rapid.SampledFrom([]string{inventory.Installed, inventory.Installed, inventory.Installed, inventory.TriggersPending, inventory.HalfInstalled, inventory.ConfigFiles, "odd"}).Draw(t, "state")
		p := inventory.Package{Name: fmt.Sprint("p", i), Arch: "amd64", Version: drawVersion(t), Scheme: version.Deb,
			Source: rapid.SampledFrom(sources).Draw(t, "source"), SourceVersion: drawVersion(t), Status: inventory.Status{Want: "install", Flag: "ok", State: state}}
		if alma {
			p.Name, p.SourceVersion, p.Scheme = p.Source, p.Version, version.RPM
			p.Module = rapid.SampledFrom([]string{"", "", "nodejs:18", "nodejs:18:8060:abc", "nodejs:20", "odd"}).Draw(t, "module")
		}
		inv.Packages = append(inv.Packages, p)
	}
	return inv
}

// TestKnowsEveryField turns red when the normal form grows a field: then say
// here whether compile must read it.
func TestKnowsEveryField(t *testing.T) {
	for _, c := range []struct {
		of   any
		want string
	}{
		{advisory.Affected{}, "Ecosystem Package Ranges Versions Severities Module Status Word Note"},
		{advisory.Range{}, "Type Introduced Fixed LastAffected"},
		{advisory.Advisory{}, "ID Aliases Upstream Related Source Basis Published Modified Withdrawn Expires Summary Affected Severities Raw Feed"},
	} {
		var got []string
		for i := range reflect.TypeOf(c.of).NumField() {
			got = append(got, reflect.TypeOf(c.of).Field(i).Name)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%T has the fields %s; compile knows %s", c.of, s, c.want)
		}
	}
}

// TestReadersDoNotWait reads the newest snapshot in some goroutines while one
// writes; each must see a whole moment: as many hosts below the fixed version
// as hosts there are. The race detector watches over it.
func TestReadersDoNotWait(t *testing.T) {
	x := New()
	a := advisory.Advisory{ID: "CVE-2026-1", Affected: []advisory.Affected{{Ecosystem: "Debian:12", Package: "a",
		Ranges: []advisory.Range{{Introduced: advisory.Beginning, Fixed: "9"}}}}}
	ref := x.PutAdvisory(&a)
	var newest atomic.Pointer[Snapshot]
	newest.Store(x.Commit())
	var readers sync.WaitGroup
	var done atomic.Bool
	var seen atomic.Int64
	for range 3 {
		readers.Go(func() {
			for most := 0; !done.Load() || most == 0; {
				s := newest.Load()
				got, _ := s.Answer(ref)
				if got.Affected.Len() != s.All().Len() || got.Affected.Len() < most {
					t.Errorf("%d of %d hosts, after %d", got.Affected.Len(), s.All().Len(), most)
					return
				}
				for range s.Match() {
				}
				if _, ok := s.Host("host-1"); !ok && got.Affected.Len() > 1 {
					t.Error("host-1 is not there")
					return
				}
				most = got.Affected.Len()
				seen.Add(1)
			}
		})
	}
	for i := range 400 {
		x.PutHost(Host{Name: fmt.Sprint("host-", i), Ecosystem: "Debian:12", Packages: []Package{{Source: "a", Version: fmt.Sprint(i % 9)}, {Source: fmt.Sprint("b", i), Version: "1"}}})
		if i > 1 {
			if _, err := x.Change(Change{"host-1", []Package{{Source: "a", Version: fmt.Sprint((i - 1) % 9)}}, []Package{{Source: "a", Version: fmt.Sprint(i % 9)}}}); err != nil {
				t.Fatal(err)
			}
		}
		newest.Store(x.Commit())
	}
	done.Store(true)
	readers.Wait()
	if seen.Load() == 0 {
		t.Error("no reader saw anything")
	}
}

// TestNothingToWaitFor: a reader can wait only for a lock or a channel. The room has
// none, neither in its source nor in what a snapshot holds of other rooms.
func TestNothingToWaitFor(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ImportSpec:
				if p := strings.Trim(n.Path.Value, `"`); p == "sync" || p == "sync/atomic" || p == "context" || p == "time" {
					t.Errorf("%s imports %s", name, p)
				}
			case *ast.ChanType, *ast.SendStmt, *ast.SelectStmt, *ast.GoStmt:
				t.Errorf("%s has a %T", name, n)
			}
			return true
		})
	}
	seen := map[reflect.Type]bool{}
	locks(t, seen, reflect.TypeFor[Snapshot](), "Snapshot")
	if !seen[reflect.TypeFor[subject]()] || !seen[reflect.TypeFor[tuple]()] || !seen[reflect.TypeFor[roaring.Bitmap]()] {
		t.Errorf("%d kinds were looked at: not all of a snapshot's", len(seen))
	}
}

// locks looks for what can be waited for in all that a kind holds.
func locks(t *testing.T, seen map[reflect.Type]bool, k reflect.Type, path string) {
	if seen[k] {
		return
	}
	seen[k] = true
	if k.PkgPath() == "sync" || k.PkgPath() == "sync/atomic" || k.Kind() == reflect.Chan {
		t.Errorf("%s is a %s", path, k)
		return
	}
	switch k.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		locks(t, seen, k.Elem(), path)
	case reflect.Map:
		locks(t, seen, k.Key(), path)
		locks(t, seen, k.Elem(), path)
	case reflect.Struct:
		for i := range k.NumField() {
			locks(t, seen, k.Field(i).Type, path+"."+k.Field(i).Name)
		}
	}
}

// TestNamesGrow puts and removes so many hosts that the table of names splits
// often, and that numbers are used again.
func TestNamesGrow(t *testing.T) {
	x := New()
	const n = 5000
	for i := range n {
		x.PutHost(Host{Name: fmt.Sprint("host-", i), Ecosystem: "Debian:12"})
	}
	full := x.Commit()
	for i := 0; i < n; i += 3 {
		if !x.RemoveHost(fmt.Sprint("host-", i)) {
			t.Fatalf("host-%d was not there", i)
		}
	}
	less := x.Commit()
	x.PutHost(Host{Name: "late", Ecosystem: "Debian:12"})
	if s := x.Commit(); s.hosts.n != full.hosts.n || s.hosts.n > n+maxBlock {
		t.Errorf("%d rows for %d hosts, %d before: the number of a removed host was not used again", s.hosts.n, n, full.hosts.n)
	}
	if id, _ := x.Commit().Number("late"); full.Name(id) == "" {
		t.Errorf("late is number %d, which no host had before", id)
	}
	for i := range n {
		name := fmt.Sprint("host-", i)
		id, ok := full.Number(name)
		if !ok || full.Name(id) != name {
			t.Fatalf("%s is %d, %v", name, id, ok)
		}
		if _, ok := less.Number(name); ok == (i%3 == 0) {
			t.Fatalf("%s after the removals: %v", name, ok)
		}
	}
	if full.Name(n) != "" || less.All().Len() != n-(n+2)/3 {
		t.Errorf("%q, %d", full.Name(n), less.All().Len())
	}
}

// TestDifferenceKeepsTheList writes differences and reads them back, and finds
// a list again from its template.
func TestDifferenceKeepsTheList(t *testing.T) {
	draw := rapid.Map(rapid.SliceOfN(rapid.Uint32Range(0, 1<<29), 0, 700), func(l []uint32) []uint32 {
		slices.Sort(l)
		return slices.Compact(l)
	})
	rapid.Check(t, func(t *rapid.T) {
		templ, list := template{list: draw.Draw(t, "template")}, draw.Draw(t, "list")
		if n := len(templ.list); rapid.Bool().Draw(t, "alike") && n > 0 {
			list = slices.Delete(slices.Clone(templ.list), n/2, n/2+1)
		}
		var d difference
		for i, id := range templ.list {
			if _, here := slices.BinarySearch(list, id); !here {
				d.missing = append(d.missing, uint32(i))
			}
		}
		for _, id := range list {
			if _, there := slices.BinarySearch(templ.list, id); !there {
				d.added = append(d.added, id)
			}
		}
		var again difference
		again.decode(string(d.encode(nil)))
		if !slices.Equal(d.missing, again.missing) || !slices.Equal(d.added, again.added) {
			t.Fatalf("%v becomes %v", d, again)
		}
		if got := templ.tuples([]uint32{7}, &again); got[0] != 7 || !slices.Equal(got[1:], list) {
			t.Fatalf("%v becomes %v", list, got)
		}
	})
}

// TestSetsHoldWhatIsPutIn holds stored sets, and the stretches of templates, to
// a map; of long sets too, and those of older generations must not change.
func TestSetsHoldWhatIsPutIn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s set
		var members template
		has := map[uint32]bool{}
		type moment struct {
			set
			want []uint32
		}
		var past []moment
		for generation := range uint64(rapid.IntRange(1, 8).Draw(t, "generations")) {
			for range rapid.IntRange(1, 3).Draw(t, "steps") {
				var changes []uint32
				in := rapid.IntRange(0, 2).Draw(t, "in") > 0
				from, every := rapid.Uint32Range(0, 200_000).Draw(t, "from"), rapid.Uint32Range(1, 300).Draw(t, "every")
				for i := range rapid.Uint32Range(1, 900).Draw(t, "n") {
					n := from + i*every
					if in != has[n] && in {
						members.join(n)
					} else if in != has[n] {
						members.leave(n)
					}
					change := n << 1
					if has[n] = in; in {
						change |= on
					}
					changes = append(changes, change)
				}
				s = s.apply(generation, changes...)
			}
			maps.DeleteFunc(has, func(_ uint32, in bool) bool { return !in })
			past = append(past, moment{s, slices.Sorted(maps.Keys(has))})
		}
		for i, m := range past {
			var got []uint32
			m.each(func(i uint32) { got = append(got, i) })
			if !slices.Equal(got, m.want) || m.len() != len(m.want) || !slices.Equal(m.bitmap().ToArray(), m.want) {
				t.Fatalf("set %d of %d has %d numbers, says %d, want %d", i, len(past), len(got), m.len(), len(m.want))
			}
		}
		var got []uint32
		for i, r := range members.members {
			if i > 0 && members.members[i-1].last+1 >= r.first {
				t.Fatalf("stretches %v are not apart", members.members)
			}
			for n := r.first; n <= r.last; n++ {
				got = append(got, n)
			}
		}
		if want := slices.Sorted(maps.Keys(has)); !slices.Equal(got, want) {
			t.Fatalf("stretches hold %d numbers, want %d", len(got), len(want))
		}
		g := gather{words: make([]uint64, 600_000/64)}
		for _, r := range members.members {
			g.span(r)
			g.span(r) // again says nothing new
		}
		if g.n != len(got) || !slices.Equal(g.hosts().Numbers(), append([]uint32{}, got...)) {
			t.Fatalf("stretches give %d hosts, want %d", g.n, len(got))
		}
		var all []uint32
		for _, n := range got[min(len(got), 3):] {
			all = append(all, n<<1)
		}
		less := s.apply(100, all...)
		if less.len() != min(len(got), 3) || less.many != nil || !slices.Equal(less.few, got[:less.len()]) {
			t.Fatalf("taking all but three out of %d leaves %+v", len(got), less)
		}
		for _, n := range []uint32{0, 7, 65_536, 199_999} {
			if s.has(n) != has[n] {
				t.Fatalf("has(%d) = %v", n, s.has(n))
			}
		}
	})
}

func TestHostsAsSets(t *testing.T) {
	x := New()
	for i := range 10 {
		x.PutHost(Host{Name: fmt.Sprint(i), Ecosystem: "Debian:12"})
	}
	s := x.Commit()
	rings := s.Rings(3, func(name string) int { return int(name[0]-'0') - 1 })
	some := rings[0].Or(rings[1]).Or(rings[2])
	for i, part := range some.Without(rings[1]).Split(rings) {
		if want := []int{1, 0, 1}[i]; part.Len() != want {
			t.Errorf("ring %d has %d hosts, want %d", i, part.Len(), want)
		}
	}
	if c := some.Clone(); !slices.Equal(c.Numbers(), some.Numbers()) || some.Len() != 3 {
		t.Errorf("%v %v", c.Numbers(), some.Numbers())
	}
	if zero := (Hosts{}); zero.Len() != 0 || zero.Has(0) || zero.And(some).Len() != 0 || zero.Or(some).Len() != 3 {
		t.Error("the zero set is not empty")
	}
}

// TestTheSameIsTheSameByteByByte puts different packages under one hash.
func TestTheSameIsTheSameByteByByte(t *testing.T) {
	table := interned{slots: make([]slot, 4)}
	list := []tuple{
		{id: 0, ecosystem: 1, text: "abc", cut: 1, end: 3}, {id: 1, ecosystem: 1, text: "abc", cut: 2, end: 3},
		{id: 2, ecosystem: 2, text: "abc", cut: 1, end: 3}, {id: 3, ecosystem: 1, text: "abc", cut: 1, end: 3, unsettled: true},
		{id: 4, ecosystem: 1, text: "abd", cut: 1, end: 3}, {id: 5, ecosystem: 1, text: "dbc", cut: 1, end: 3},
		{id: 6, ecosystem: 1, text: "abcd", cut: 1, end: 4}, {id: 7, ecosystem: 1, text: "dabc", cut: 2, end: 4},
		{id: 8, ecosystem: 1, text: "abc", cut: 1, end: 3, module: "m:1"},
	}
	for i := range list {
		p := Package{list[i].source(), list[i].version(), list[i].unsettled, list[i].module}
		if got := table.find(7, list[i].ecosystem, &p); got != nil {
			t.Errorf("tuple %d is taken for %d", i, got.id)
		}
		table.add(7, &list[i])
	}
	for i := range list {
		p := Package{list[i].source(), list[i].version(), list[i].unsettled, list[i].module}
		if got := table.find(7, list[i].ecosystem, &p); got != &list[i] {
			t.Errorf("tuple %d is not found", i)
		}
	}
}

func TestFromInventory(t *testing.T) {
	inv := inventory.Inventory{OS: inventory.OS{ID: "debian", VersionID: "12"}, Partial: []inventory.Gap{{What: inventory.AreaArch}}}
	for _, state := range []string{inventory.Installed, inventory.HalfInstalled, inventory.ConfigFiles, inventory.NotInstalled} {
		inv.Packages = append(inv.Packages, inventory.Package{Name: state, Version: "1", Source: state, SourceVersion: "1", Status: inventory.Status{Want: "install", Flag: "ok", State: state}})
	}
	inv.Packages = append(inv.Packages, inventory.Package{Name: "linux-image-amd64", Version: "6.1.140-1", Source: "linux-signed-amd64", SourceVersion: "6.1.140+1",
		Status: inventory.Status{Want: "install", Flag: "ok", State: inventory.Installed}})
	want := Host{"h", "Debian:12", []Package{{"installed", "1", false, ""}, {"half-installed", "1", true, ""},
		{"linux-signed-amd64", "6.1.140+1", false, ""}, {"linux", "6.1.140-1", false, ""}}, true}
	if got := FromInventory("h", inv); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	inv.OS = inventory.OS{ID: "plan9"}
	if got := FromInventory("h", inv); got.Ecosystem != "" {
		t.Errorf("a system without a name in advisories is %q", got.Ecosystem)
	}
}

// The stream of a module comes with its package; what is of a module whose
// stream is not known is told from what is of none.
func TestFromInventoryWithModules(t *testing.T) {
	p := func(name, ver, module string) inventory.Package {
		return inventory.Package{Name: name, Arch: "x86_64", Version: ver, Scheme: version.RPM, Module: module, Status: inventory.Status{Flag: "ok", State: inventory.Installed}}
	}
	inv := inventory.Inventory{OS: inventory.OS{ID: "almalinux", VersionID: "8.9"}, Packages: []inventory.Package{
		p("a", "1-1.el8", ""), p("b", "1-1.module_el8+1+1", ""), p("c", "1-1", "c:1:1:1")}}
	want := Host{"h", "AlmaLinux:8", []Package{{"a", "1-1.el8", false, ""}, {"b", "1-1.module_el8+1+1", false, OtherStream}, {"c", "1-1", false, "c:1"}}, false}
	if got := FromInventory("h", inv); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := FromInventory("h", inventory.Inventory{OS: inventory.OS{ID: "rhel", VersionID: "9.4"}, Packages: inv.Packages}); got.Ecosystem != "" {
		t.Errorf("a host of Red Hat Enterprise Linux is indexed as %q", got.Ecosystem)
	}
}
