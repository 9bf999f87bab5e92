// Package synthetic makes the fleet on which match/fleet is measured, so that
// its numbers can be repeated.
//
// The parties: benchmarks, and whoever doubts them. The objects: a Fleet of any
// size, host by host, and records about it. From one seed come the same hosts,
// whatever is asked for first.
//
// What is promised is the shape: 8 images (releases), 40 roles in each, 52
// weeks of patches. A host has the 180 packages of its image, about 350 of its
// role, taken by Zipf's law from 12,000, all in the versions of the week in
// which it was last patched, save 3 % that are of another week, and 25 packages
// of its own out of 30,000 (names and versions together). Popular packages are patched more often. It is no
// picture of a real fleet: hosts are numbered without any order, which
// compresses worse than the order in which real ones are made.
package synthetic

import (
	"fmt"
	"iter"
	"slices"
	"sort"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/match/fleet"
)

// The shape of a fleet.
const (
	Images   = 8
	Roles    = 40
	Weeks    = 52
	Base     = 180 // packages that every host of an image has
	universe = 12_000
	byRole   = 350
	private  = 25
	privates = 6_000 // names of private packages, each in up to 5 versions
	drift    = 3     // in a hundred
)

// Fleet is a fleet without its hosts, which are made one at a time.
type Fleet struct {
	seed   uint64
	images [Images]image
	roles  [Images][Roles][]int // numbers of packages, ascending
	zipf   []float64            // sums of the packages' weights
}

type image struct {
	ecosystem string
	packages  []history
}

// history is a package with the versions that it had, oldest first.
type history struct {
	name     string
	versions []string
	weeks    []int // from which each version on was there; the first from 0 on
}

var ecosystems = [Images]string{"Debian:11", "Debian:12", "Debian:13", "Debian:14",
	"Ubuntu:20.04:LTS", "Ubuntu:22.04:LTS", "Ubuntu:24.04:LTS", "Ubuntu:26.04:LTS"}

// random is a number from the seed and the path that leads to a thing
// (splitmix64 over the path).
func (f *Fleet) random(path ...uint64) uint64 {
	x := f.seed
	for _, p := range path {
		x = step(x ^ p)
	}
	return x
}

func step(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// The first steps of paths.
const (
	ofHistory = iota
	ofRole
	ofHost
	ofRecord
	ofUpgrade
)

// New makes the images and roles of a fleet.
func New(seed uint64) *Fleet {
	f := &Fleet{seed: seed, zipf: make([]float64, universe)}
	sum := 0.0
	for p := range universe {
		sum += 1 / float64(p+1)
		f.zipf[p] = sum
	}
	for m := range Images {
		f.images[m].ecosystem = ecosystems[m]
		for p := range universe {
			f.images[m].packages = append(f.images[m].packages, f.history(m, p))
		}
		for r := range Roles {
			f.roles[m][r] = f.role(m, r)
		}
	}
	return f
}

// history makes a package's versions: popular ones are patched up to 25 times
// in the 52 weeks, most never or once.
func (f *Fleet) history(m, p int) history {
	x := f.random(ofHistory, uint64(p))
	h := history{name: fmt.Sprintf("package-%05d", p), weeks: []int{0}}
	upstream := fmt.Sprintf("%d.%d.%d-%d", 1+x%9, x>>8%20, m+int(x>>16%7), 1+x>>24%5)
	patches := int(f.random(ofHistory, uint64(p), uint64(m)) % uint64(1+24*Base/(Base+p)))
	for k := range patches {
		h.weeks = append(h.weeks, 1+int(f.random(ofHistory, uint64(p), uint64(m), uint64(k))%(Weeks-1)))
	}
	slices.Sort(h.weeks)
	h.weeks = slices.Compact(h.weeks)
	for k := range h.weeks {
		h.versions = append(h.versions, fmt.Sprintf("%s+u%d", upstream, k))
	}
	return h
}

// at is the version of a week.
func (h *history) at(week int) string {
	return h.versions[sort.SearchInts(h.weeks, week+1)-1]
}

// Ordinary draws a package by Zipf's law among those that not every host has.
func (f *Fleet) Ordinary(x uint64) int {
	for x = step(x); f.popular(x) < Base; x = step(x) {
	}
	return f.popular(x)
}

// popular draws a package by Zipf's law.
func (f *Fleet) popular(x uint64) int {
	return sort.SearchFloat64s(f.zipf, float64(x>>11)/(1<<53)*f.zipf[universe-1])
}

func (f *Fleet) role(m, r int) []int {
	has := map[int]bool{}
	for p := range Base {
		has[p] = true
	}
	for i := uint64(0); len(has) < Base+byRole; i++ {
		has[f.popular(f.random(ofRole, uint64(m), uint64(r), i))] = true
	}
	var list []int
	for p := range has {
		list = append(list, p)
	}
	slices.Sort(list)
	return list
}

// Host makes host i.
func (f *Fleet) Host(i int) fleet.Host {
	x := f.random(ofHost, uint64(i))
	m, r, week := int(x%Images), int(x>>8%Roles), int(x>>16%Weeks)
	h := fleet.Host{Name: fmt.Sprintf("host-%07d.example", i), Ecosystem: f.images[m].ecosystem}
	h.Packages = make([]fleet.Package, 0, Base+byRole+private)
	for _, p := range f.roles[m][r] {
		w := week
		if x = step(x); x%100 < drift {
			w = int(x >> 8 % Weeks)
		}
		about := &f.images[m].packages[p]
		h.Packages = append(h.Packages, fleet.Package{Source: about.name, Version: about.at(w)})
	}
	for range private {
		x = step(x)
		h.Packages = append(h.Packages, fleet.Package{Source: fmt.Sprintf("private-%04d", x%privates), Version: fmt.Sprintf("%d.0-1", 1+x>>32%5)})
	}
	return h
}

// Upgrade gives a change of one package of host i, as it was made: to a version
// of another week. nth picks another change of the same host.
func (f *Fleet) Upgrade(h fleet.Host, nth int) (went, came fleet.Package) {
	m := slices.Index(ecosystems[:], h.Ecosystem)
	for k := uint64(0); ; k++ {
		x := f.random(ofUpgrade, uint64(nth), k)
		went = h.Packages[x%uint64(len(h.Packages))]
		var p int
		if _, err := fmt.Sscanf(went.Source, "package-%d", &p); err != nil {
			continue
		}
		came = fleet.Package{Source: went.Source, Version: f.images[m].packages[p].at(int(x >> 32 % Weeks))}
		if came != went {
			return went, came
		}
	}
}

// Records makes records with that many rows together: each names one package in
// one to three neighbouring images. One in eight packages is drawn by Zipf's
// law, the others are all alike; a host then has about 4,000 findings, as many
// as Debian's tracker gives for a machine that is not patched.
func (f *Fleet) Records(rows int) iter.Seq[*advisory.Advisory] {
	return func(yield func(*advisory.Advisory) bool) {
		for i := 0; rows > 0; i++ {
			x := f.random(ofRecord, uint64(i))
			n := min(1+int(x%3), rows)
			rows -= n
			p := int(x >> 40 % universe)
			if x>>32%8 == 0 {
				p = f.popular(step(x))
			}
			if !yield(f.Record(fmt.Sprintf("CVE-2026-%06d", i), p, int(x>>8%Images), n, x)) {
				return
			}
		}
	}
}

// Record makes one record: package number p in n images from image m on, each
// fixed in some version that it had or, one time in four, in the next one.
func (f *Fleet) Record(id string, p, m, n int, x uint64) *advisory.Advisory {
	a := &advisory.Advisory{ID: id, Feed: advisory.Feed{Name: "synthetic"}}
	for k := range n {
		im := &f.images[(m+k)%Images]
		x = step(x)
		fixed := im.packages[p].at(int(x >> 8 % Weeks))
		if x%4 == 0 {
			fixed = im.packages[p].versions[len(im.packages[p].versions)-1] + "+next"
		}
		a.Affected = append(a.Affected, advisory.Affected{Ecosystem: im.ecosystem, Package: im.packages[p].name,
			Ranges: []advisory.Range{{Type: "ECOSYSTEM", Introduced: advisory.Beginning, Fixed: fixed}}})
	}
	return a
}
