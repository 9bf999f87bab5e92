package fleet

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
)

// crowd is a fleet of hosts made from few images, so that templates are shared
// by many, and the reference beside it.
type crowd struct {
	*testing.T
	*rand.Rand
	*Index
	naive
	images [][]Package
}

const crowded = 160

func newCrowd(t *testing.T, seed uint64) *crowd {
	c := &crowd{t, rand.New(rand.NewPCG(seed, 0)), New(), naive{map[string]Host{}, map[Ref]advisory.Advisory{}}, nil}
	for range 3 {
		var list []Package
		for i := range 30 {
			list = append(list, Package{Source: fmt.Sprintf("p%02d", i), Version: c.version()})
		}
		list = slices.Insert(list, 12, list[11], Package{Source: "p11", Version: "0.9"}) // twice, and in two versions
		c.images = append(c.images, list)
	}
	return c
}

func (c *crowd) version() string { return []string{"1.0", "1.1", "2", "3", "no version!"}[c.IntN(5)] }

// put makes a host of an image, with drift, gaps and packages of its own.
func (c *crowd) put(name string) {
	k := c.IntN(len(c.images))
	list := slices.Clone(c.images[k])
	for range c.IntN(4) {
		switch i := c.IntN(len(list)); c.IntN(5) {
		case 0:
			list[i].Version = c.version()
		case 1:
			list = slices.Delete(list, i, min(i+1+c.IntN(3), len(list)))
		case 2:
			list = slices.Insert(list, i, Package{Source: fmt.Sprintf("own%d", c.IntN(40)), Version: c.version(), Unsettled: c.IntN(4) == 0})
		case 3:
			list[0], list[i] = list[i], list[0]
		case 4:
			list[i].Unsettled = true
		}
	}
	if c.IntN(10) == 0 {
		k = c.IntN(len(c.images)) // another system with the same packages
	}
	h := Host{Name: name, Ecosystem: []string{"Debian:12", "Debian:13", "AlmaLinux:9"}[k], Packages: list}
	c.PutHost(h)
	c.hosts[name] = h
}

// change takes some packages of a host out and puts some in.
func (c *crowd) change(name string, went, came []Package) {
	h := c.hosts[name]
	if _, err := c.Change(Change{name, went, came}); err != nil {
		c.Fatal(err)
	}
	rest := slices.DeleteFunc(slices.Clone(h.Packages), func(p Package) bool { return slices.Contains(went, p) })
	h.Packages = append(rest, came...)
	c.hosts[name] = h
}

// publish puts a record about one package, in place of one before it or not.
func (c *crowd) publish() {
	a := advisory.Advisory{ID: fmt.Sprintf("CVE-2026-%d", c.IntN(8)), Feed: advisory.Feed{Name: "f"}}
	for _, e := range []string{"Debian:12", "Debian:13", "AlmaLinux:9"} {
		r := advisory.Range{Introduced: advisory.Beginning, Fixed: c.version()}
		if c.IntN(4) == 0 {
			r.Introduced = "1.1"
		}
		source := []string{fmt.Sprintf("p%02d", c.IntN(30)), "p11", "agent"}[c.IntN(3)]
		a.Affected = append(a.Affected, advisory.Affected{Ecosystem: e, Package: source, Ranges: []advisory.Range{r}})
	}
	if c.IntN(8) == 0 {
		a.Withdrawn = 1
	}
	c.records[c.PutAdvisory(&a)] = a
}

// step changes the whole fleet a little, or much.
func (c *crowd) step(round int) {
	for i := range crowded {
		name := fmt.Sprint("host-", i)
		h, known := c.hosts[name]
		switch {
		case !known && (round == 0 || c.IntN(2) == 0), c.IntN(40) == 0:
			c.put(name)
		case !known:
		case c.IntN(40) == 0:
			c.RemoveHost(name)
			delete(c.hosts, name)
		case round == 1: // a package comes to all, one goes from most
			c.change(name, nil, []Package{{Source: "agent", Version: c.version()}})
		case round == 2 || c.IntN(20) == 0:
			if len(h.Packages) > 0 {
				p := h.Packages[c.IntN(len(h.Packages))]
				c.change(name, []Package{p}, []Package{{Source: p.Source, Version: c.version()}})
			}
		case c.IntN(20) == 0:
			if c.IntN(2) == 0 {
				h.Ecosystem = "Debian:13"
			}
			c.PutHost(h) // nothing new, or another system
			c.hosts[name] = h
		}
	}
	for range 5 {
		c.publish()
	}
	ref := Ref{Feed: "f", ID: fmt.Sprintf("CVE-2026-%d", c.IntN(8))}
	c.RemoveAdvisory(ref)
	delete(c.records, ref)
}

// TestManyAlikeHosts holds a fleet of alike hosts to the reference through
// rounds of changes, and the snapshots of earlier rounds to what they said.
func TestManyAlikeHosts(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		c := newCrowd(t, seed)
		var past []*Snapshot
		var want []map[string]bool
		for round := range 6 {
			c.step(round)
			past, want = append(past, c.Commit()), append(want, c.findings())
			for i := range past {
				if i < round && round < 5 {
					continue // the older ones again at the end
				}
				if d := differ(findings(past[i]), want[i]); len(d) > 0 {
					t.Fatalf("seed %d, snapshot %d after round %d: %d differ:\n%s", seed, i, round, len(d), strings.Join(d[:min(len(d), 20)], "\n"))
				}
			}
			c.alike(past[round])
			c.tidy(past[round])
			c.wiped(past[round])
		}
	}
}

// alike checks that hosts stand as differences to few templates, whose text is
// the packages', and that all is said of each host.
func (c *crowd) alike(s *Snapshot) {
	shared := 0
	for i := range s.templates.n {
		t := *s.templates.at(i)
		if n := 0; t.text != "" {
			r := reader{template: t, tuples: s.tuples}
			for ; r.at < len(t.order); n++ {
				f := s.tuples[t.list[t.order[r.at]]]
				if same, _ := r.next(f.ecosystem, &Package{Source: f.source(), Version: f.version()}); !same {
					c.Fatalf("template %d spells package %d otherwise than %q %q", i, n, f.source(), f.version())
				}
				r.skip(1)
			}
			shared += t.n
		}
	}
	if shared < len(c.hosts)/2 {
		c.Errorf("%d of %d hosts share a template with many", shared, len(c.hosts))
	}
	for name, want := range c.hosts {
		got, ok := s.Host(name)
		for _, p := range want.Packages {
			if !slices.Contains(got.Packages, p) {
				c.Fatalf("%s has %v, known %v, and not %v", name, got.Packages, ok, p)
			}
		}
	}
}

// TestTheFirstHostKeepsItsOwn lets a template's first host lose packages before
// a second one cuts the template down.
func TestTheFirstHostKeepsItsOwn(t *testing.T) {
	c := newCrowd(t, 7)
	var list []Package
	for i := range 40 {
		p := Package{Source: fmt.Sprintf("p%02d", i), Version: "1.0"}
		list = append(list, p)
		a := advisory.Advisory{ID: p.Source, Affected: []advisory.Affected{{Ecosystem: "Debian:12", Package: p.Source,
			Ranges: []advisory.Range{{Introduced: advisory.Beginning, Fixed: "2"}}}}}
		c.records[c.PutAdvisory(&a)] = a
	}
	h := Host{Name: "first", Ecosystem: "Debian:12", Packages: list}
	c.PutHost(h)
	c.hosts[h.Name] = h
	c.change("first", []Package{list[10], list[20]}, []Package{{Source: "own", Version: "1.0"}})
	c.Commit()
	h = Host{Name: "second", Ecosystem: "Debian:12", Packages: slices.Concat(list[:5], list[6:10], list[11:])}
	c.PutHost(h)
	c.hosts[h.Name] = h
	s := c.Commit()
	if first, second := s.hosts.at(0).template, s.hosts.at(1).template; s.templates.n != 1 || first != second {
		t.Fatalf("%d templates, the hosts' are %d and %d", s.templates.n, first, second)
	}
	if n := len((*s.templates.at(0)).list); n != 38 {
		t.Errorf("the template has %d packages, want the 38 that were not cut", n)
	}
	if d := differ(findings(s), c.findings()); len(d) > 0 {
		t.Fatalf("findings:\n%s", strings.Join(d, "\n"))
	}
	c.tidy(s)
	for name, want := range c.hosts {
		got, _ := s.Host(name)
		if len(got.Packages) != len(want.Packages) || slices.ContainsFunc(want.Packages, func(p Package) bool { return !slices.Contains(got.Packages, p) }) {
			t.Errorf("%s has %v, want %v", name, got.Packages, want.Packages)
		}
	}
	c.RemoveHost("first")
	delete(c.hosts, "first")
	if d := differ(findings(c.Commit()), c.findings()); len(d) > 0 {
		t.Fatalf("findings without the first:\n%s", strings.Join(d, "\n"))
	}
}

// wiped checks that joining and wiping a package leaves nothing, in a space so
// large that wipe goes where the hosts are.
func (c *crowd) wiped(s *Snapshot) {
	g := gather{words: make([]uint64, 1<<13)}
	for i := range s.subjects.n {
		about := s.subject(i)
		for _, list := range [][]held{about.ordered, about.loose} {
			g.orAll(s, list)
			g.wipe(s, list)
			if left := slices.IndexFunc(g.words, func(w uint64) bool { return w != 0 }); left >= 0 || g.n != 0 {
				c.Fatalf("%q: word %d is %x after wiping, %d hosts", about.Package, left, g.words[max(left, 0)], g.n)
			}
		}
	}
}

// tidy checks that a host lacks a package only where its template has it, and
// has it besides only where it has not.
func (c *crowd) tidy(s *Snapshot) {
	for i := range s.subjects.n {
		about := s.subject(i)
		for _, h := range slices.Concat(about.ordered, about.loose) {
			var by carried
			if h.by != nil {
				by = *h.by
			}
			by.lacking.each(func(id uint32) {
				if !slices.Contains(by.templates, s.hosts.at(id).template) || !s.hosts.at(id).present() {
					c.Errorf("%s lacks %q, which its template has not", s.hostName(id), h.text)
				}
			})
			h.extra.each(func(id uint32) {
				if slices.Contains(by.templates, s.hosts.at(id).template) || !s.hosts.at(id).present() {
					c.Errorf("%s has %q besides, and its template has it", s.hostName(id), h.text)
				}
			})
		}
	}
}

func TestListsStayAscending(t *testing.T) {
	old := []uint32{5, 7}
	for _, c := range []struct{ changes, want []uint32 }{
		{[]uint32{9<<1 | on, 11<<1 | on}, []uint32{5, 7, 9, 11}},
		{[]uint32{3<<1 | on, 7<<1 | on}, []uint32{3, 5, 7}},
		{[]uint32{7 << 1, 8<<1 | on}, []uint32{5, 8}},
	} {
		if got := enlist(old, c.changes); !slices.Equal(got, c.want) || !slices.Equal(old, []uint32{5, 7}) {
			t.Errorf("%v becomes %v, want %v", old, got, c.want)
		}
	}
}

// TestMisfitsChangeNothing takes from a host what it has not, what it has no
// more, and one thing twice.
func TestMisfitsChangeNothing(t *testing.T) {
	a, b, other := Package{Source: "a", Version: "1"}, Package{Source: "b", Version: "1"}, Package{Source: "a", Version: "0"}
	x := New()
	x.PutHost(Host{Name: "h", Ecosystem: "Debian:12", Packages: []Package{a, b}})
	x.PutHost(Host{Name: "i", Ecosystem: "Debian:12", Packages: []Package{a, b, other}})
	if _, err := x.Change(Change{"h", []Package{b}, nil}); err != nil {
		t.Fatal(err)
	}
	for _, went := range [][]Package{{other}, {b}, {a, a}} {
		if _, err := x.Change(Change{"h", went, []Package{{Source: "c", Version: "1"}}}); err == nil {
			t.Errorf("%v was taken from a host that has it not", went)
		}
	}
	if h, _ := x.Commit().Host("h"); !slices.Equal(h.Packages, []Package{a}) {
		t.Errorf("the host has %v", h.Packages)
	}
}

// TestACutTemplateSpellsAnew cuts a template down that many hosts had before.
func TestACutTemplateSpellsAnew(t *testing.T) {
	c := newCrowd(t, 8)
	var list []Package
	for i := range 40 {
		list = append(list, Package{Source: fmt.Sprintf("p%02d", i), Version: "1.0"})
	}
	put := func(name string, list []Package) {
		c.hosts[name] = Host{Name: name, Ecosystem: "Debian:12", Packages: list}
		c.PutHost(c.hosts[name])
	}
	for i := range spelledAt {
		put(fmt.Sprint("h", i), list)
	}
	if t0 := *c.next.templates.at(0); t0.text == "" {
		t.Fatal("many hosts, and the template's text is not kept together")
	}
	for i := 1; i < spelledAt; i++ {
		c.RemoveHost(fmt.Sprint("h", i))
		delete(c.hosts, fmt.Sprint("h", i))
	}
	put("second", slices.Concat(list[:5], list[7:]))
	put("third", slices.Concat(list[:5], list[7:30]))
	s := c.Commit()
	c.tidy(s)
	for name, want := range c.hosts {
		if got, _ := s.Host(name); len(got.Packages) != len(want.Packages) || slices.ContainsFunc(want.Packages, func(p Package) bool { return !slices.Contains(got.Packages, p) }) {
			t.Errorf("%s has %v, want %v", name, got.Packages, want.Packages)
		}
	}
}

// TestAlikeButForTheModule has so many hosts like one another that their
// template's text is kept; one more has the same version from another module.
func TestAlikeButForTheModule(t *testing.T) {
	host := func(i int, module string) Host {
		h := Host{Name: fmt.Sprint("host-", i), Ecosystem: "AlmaLinux:9"}
		for k := range 30 {
			h.Packages = append(h.Packages, Package{Source: fmt.Sprint("p", k), Version: "1.0-1"})
		}
		h.Packages[7].Module = module
		return h
	}
	for _, c := range [][2]string{{"nodejs:18", ""}, {"", "nodejs:18"}, {"nodejs:18", OtherStream}} {
		x := New()
		for i := range spelledAt + 1 {
			x.PutHost(host(i, c[0]))
		}
		x.PutHost(host(99, c[1]))
		s := x.Commit()
		for i, want := range map[int]string{0: c[0], spelledAt: c[0], 99: c[1]} {
			h, _ := s.Host(fmt.Sprint("host-", i))
			if k := slices.IndexFunc(h.Packages, func(p Package) bool { return p.Source == "p7" }); k < 0 || h.Packages[k].Module != want {
				t.Errorf("many of %q and one of %q: host %d has %v", c[0], c[1], i, h.Packages)
			}
		}
	}
}

// TestChangesTogether applies many changes at once, some of one host, with one
// that does not fit: those before it count, it and those after it do not.
func TestChangesTogether(t *testing.T) {
	pkg := func(source string, v int) Package { return Package{Source: source, Version: fmt.Sprint(v)} }
	bySource := func(a, b Package) int { return strings.Compare(a.Source+" "+a.Version, b.Source+" "+b.Version) }
	together, single := New(), New()
	for i := range 200 {
		h := Host{Name: fmt.Sprint("h", i), Ecosystem: []string{"Debian:12", "AlmaLinux:9"}[i%2], Packages: []Package{pkg("a", 0), pkg("b", i%3), pkg("c", i%7)}}
		together.PutHost(h)
		single.PutHost(h)
	}
	var list []Change
	for i := range 300 { // the first hundred hosts twice
		list = append(list, Change{fmt.Sprint("h", i%200), []Package{pkg("a", i/200)}, []Package{pkg("a", i/200+1), pkg(fmt.Sprint("d", i%11), 1)}})
	}
	for _, misfit := range []int{0, 31, 32, 33, 250, len(list)} {
		some := slices.Clone(list)
		if misfit < len(some) {
			some[misfit].Host = "nobody"
		}
		n, err := together.Change(some...)
		if n != misfit || (err == nil) != (misfit == len(some)) {
			t.Fatalf("%d changes were taken, want %d: %v", n, misfit, err)
		}
		for _, c := range some[:n] {
			if _, err := single.Change(c); err != nil {
				t.Fatal(err)
			}
		}
		got, want := together.Commit(), single.Commit()
		for i := range 200 {
			g, _ := got.Host(fmt.Sprint("h", i))
			w, _ := want.Host(fmt.Sprint("h", i))
			slices.SortFunc(g.Packages, bySource)
			slices.SortFunc(w.Packages, bySource)
			if !slices.Equal(g.Packages, w.Packages) {
				t.Fatalf("host %d has %v, want %v", i, g.Packages, w.Packages)
			}
		}
		for _, c := range slices.Backward(some[:n]) { // and back
			if _, err := together.Change(Change{c.Host, c.Came, c.Went}); err != nil {
				t.Fatal(err)
			}
			if _, err := single.Change(Change{c.Host, c.Came, c.Went}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestNamesOfOneHash changes hosts whose names have the same hash and whose
// systems differ: each keeps its own.
func TestNamesOfOneHash(t *testing.T) {
	x := New()
	by := map[uint32]string{}
	for i := 0; ; i++ {
		name := fmt.Sprint("h", i)
		hash := nameHash(x.next.seed, name)
		other, twice := by[hash]
		if by[hash] = name; !twice {
			continue
		}
		hosts := []Host{{Name: other, Ecosystem: "Debian:12"}, {Name: name, Ecosystem: "AlmaLinux:9"}}
		for _, h := range hosts {
			h.Packages = []Package{{Source: "a", Version: "1"}}
			x.PutHost(h)
		}
		for _, h := range hosts {
			for v := range 3 {
				c := Change{h.Name, []Package{{Source: "a", Version: fmt.Sprint(v + 1)}}, []Package{{Source: "a", Version: fmt.Sprint(v + 2)}}}
				if _, err := x.Change(c, c); err == nil || !strings.Contains(err.Error(), "not known to have had") {
					t.Fatalf("a change that was made twice: %v", err)
				}
			}
			if got, _ := x.Commit().Host(h.Name); got.Ecosystem != h.Ecosystem || !slices.Equal(got.Packages, []Package{{Source: "a", Version: "4"}}) {
				t.Fatalf("%v", got)
			}
		}
		return
	}
}
