package quarantine_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	. "github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/shareddata"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/version"
)

// zipped reads the OSV records of an archive of the shared data, each id once.
func zipped(t testing.TB, name string) []advisory.Advisory {
	t.Helper()
	by := map[string]advisory.Advisory{}
	shareddata.Zipped(t, "../..", name, func(file string, raw []byte) {
		if !strings.HasSuffix(file, ".json") {
			return
		}
		a, err := advisory.ParseOSV(raw, advisory.Feed{Name: path.Base(name), Kind: "osv"})
		if err != nil {
			return
		}
		if had, ok := by[a.ID]; ok { // one id in the folders of several releases
			had.Affected = append(had.Affected, a.Affected...)
			a = had
		}
		by[a.ID] = a
	})
	out := []advisory.Advisory{}
	for _, id := range slices.Sorted(maps.Keys(by)) {
		out = append(out, by[id])
	}
	return out
}

func unix(text string) int64 {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return t.Unix()
}

// asOf is the set as it can have stood at a time: what was published by then. A
// record that was changed later has its publication as its time and bytes of
// its own (the content of then is not known, so it is that of today).
func asOf(all []advisory.Advisory, at int64) advisory.Set {
	list := []advisory.Advisory{}
	newest := int64(0)
	for _, a := range all {
		born := a.Published
		if born == 0 || a.Modified < born {
			born = a.Modified
		}
		if born > at {
			continue
		}
		if a.Modified > at {
			a.Modified = born
			a.Raw = canon.SumFile([]byte("earlier" + string(a.Raw)))
		}
		newest = max(newest, a.Modified)
		list = append(list, a)
	}
	s := set(at, list...)
	s.Snapshot.Newest = newest
	return s
}

// TestCleanSnapshotsPass measures how many records of three later snapshots are
// held although nothing is wrong with them: at most 0.1 %, and of those that are
// new or changed as well. (DSA-423 of the derived list has no version at all; it
// is held from the start.)
func TestCleanSnapshotsPass(t *testing.T) {
	for name, c := range map[string]struct {
		file  string
		times []string
	}{
		"AlmaLinux, by quarter": {"osv/AlmaLinux.zip", []string{"2025-12-01", "2026-03-01", "2026-06-01", "2026-08-22"}},
		"AlmaLinux, by day":     {"osv/AlmaLinux.zip", []string{"2026-05-25", "2026-05-26", "2026-05-27", "2026-05-28"}},
		"Debian DSA and DLA":    {"debian/osv-derived-DSA-DLA-to-2023-03.zip", []string{"2022-12-01", "2023-01-01", "2023-02-01", "2023-04-01"}},
		"Debian 12":             {"debian/osv-derived-bookworm.zip", []string{"2026-05-01", "2026-07-01", "2026-09-01", "2026-11-21"}},
	} {
		t.Run(name, func(t *testing.T) {
			all := zipped(t, c.file)
			w := World{}
			if name == "Debian 12" {
				w = NewWorld(carried(t), nil)
			}
			first := asOf(all, unix(c.times[0]))
			v := Judge(Case{New: first, World: w, Now: unix(c.times[0])})
			last, judged, changed, held, fresh := v.Set, 0, 0, 0, 0
			again := map[string]bool{}
			for _, h := range v.Held {
				again[h.ID+string(h.Raw)] = true
			}
			t.Logf("as of %s: %d records, %d held at first", c.times[0], len(first.Advisories), len(v.Held))
			for _, at := range c.times[1:] {
				raws := map[canon.Digest]bool{}
				for _, a := range last.Advisories {
					raws[a.Raw] = true
				}
				next := asOf(all, unix(at))
				for _, a := range next.Advisories {
					if !raws[a.Raw] {
						changed++
					}
				}
				v := Judge(Case{Last: &last, New: next, World: w, Now: unix(at)})
				if len(v.Whole) > 0 {
					t.Fatalf("%s: %v", at, v.Whole)
				}
				for _, h := range v.Held {
					t.Logf("%s: held %s: %v", at, h.ID, h.Reasons)
				}
				for _, h := range v.Held {
					if key := h.ID + string(h.Raw); !again[key] {
						again[key], fresh = true, fresh+1
					}
				}
				judged, held, last = judged+len(next.Advisories), held+len(v.Held), v.Set
			}
			t.Logf("%d of %d records held (%.4f %%); of the %d that were new or changed %d are (%.3f %%)", held, judged, 100*float64(held)/float64(judged), changed, fresh, 100*float64(fresh)/float64(max(changed, 1)))
			if judged == 0 || changed == 0 || held*1000 > judged || fresh*1000 > changed {
				t.Errorf("%d of %d clean records are held, or %d of the %d new or changed ones: more than 0.1 %%", held, judged, fresh, changed)
			}
		})
	}
}

// carried is what Debian 12 was ever seen to carry.
func carried(t testing.TB) []Version {
	out := []Version{}
	for _, c := range shareddata.Carried(t, "../..") {
		out = append(out, Version{Ecosystem: "Debian:12", Package: c[0], Version: c[1]})
	}
	return out
}

// everything is a host on which every package of an index is installed.
func everything(t testing.TB) inventory.Inventory {
	inv := inventory.Inventory{OS: inventory.OS{ID: "debian", VersionID: "12", Codename: "bookworm"}, Arch: "amd64"}
	for _, s := range shareddata.Stanzas(t, "../..", shareddata.BookwormMain) {
		inv.Packages = append(inv.Packages, inventory.Package{Name: s.Package, Arch: s.Arch, Version: s.Version, Scheme: version.Deb,
			Source: s.Source, SourceVersion: s.SourceVersion, Status: inventory.Status{Want: "install", Flag: "ok", State: "installed"}})
	}
	return inv
}

// poisons are the kinds; each makes one poisoned record of a real one.
var poisons = map[string]func(r *rand.Rand, a *advisory.Advisory){
	"withdrawn": func(_ *rand.Rand, a *advisory.Advisory) { a.Withdrawn = a.Modified + 1 },
	"lowered": func(r *rand.Rand, a *advisory.Advisory) {
		eachFixed(a, func(v string) string { return []string{"0~", "0~1", "0~" + v}[r.IntN(3)] })
	},
	"begins late": func(_ *rand.Rand, a *advisory.Advisory) {
		a.Affected[0].Ranges[0].Introduced = a.Affected[0].Ranges[0].Fixed
	},
	"package gone": func(_ *rand.Rand, a *advisory.Advisory) { a.Affected = a.Affected[1:] },
	"raised": func(r *rand.Rand, a *advisory.Advisory) {
		eachFixed(a, func(v string) string { return v + fmt.Sprintf("+evil%d", r.IntN(1000)) })
	},
	"jump": func(r *rand.Rand, a *advisory.Advisory) {
		eachFixed(a, func(v string) string { return fmt.Sprintf("9%d:%s", r.IntN(10), v[strings.Index(v, ":")+1:]) })
	},
	"unreadable": func(_ *rand.Rand, a *advisory.Advisory) { eachFixed(a, func(v string) string { return v + " or so" }) },
	"time back":  func(r *rand.Rand, a *advisory.Advisory) { a.Modified -= 1 + r.Int64N(1e8) },
	"future":     func(_ *rand.Rand, a *advisory.Advisory) { a.Modified = 4e9 },
	"severity": func(_ *rand.Rand, a *advisory.Advisory) {
		a.Severities = []advisory.Severity{{Source: "x", Type: "CVSS_V3", Score: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"}}
	},
	"fake critical": func(r *rand.Rand, a *advisory.Advisory) {
		a.ID += "-1"
		eachFixed(a, func(v string) string { return v + fmt.Sprintf("+evil%d", r.IntN(1000)) })
	},
	"one look-alike": func(r *rand.Rand, a *advisory.Advisory) {
		a.ID += "-3"
		i := r.IntN(len(a.Affected))
		n := a.Affected[i].Package
		k := 1 + r.IntN(len(n)-1)
		a.Affected[i].Package = n[:k] + string(rune('a'+r.IntN(26))) + n[k:]
	},
	"look-alike": func(r *rand.Rand, a *advisory.Advisory) {
		a.ID += "-2"
		for i := range a.Affected {
			n := a.Affected[i].Package
			k := 1 + r.IntN(len(n)-1)
			a.Affected[i].Package = n[:k] + string(rune('a'+r.IntN(26))) + n[k:]
		}
	},
}

func eachFixed(a *advisory.Advisory, to func(string) string) {
	for i := range a.Affected {
		for k := range a.Affected[i].Ranges {
			if v := a.Affected[i].Ranges[k].Fixed; v != "" {
				a.Affected[i].Ranges[k].Fixed = to(v)
			}
		}
	}
}

// copyOf is a record that can be changed without the original.
func copyOf(a advisory.Advisory) advisory.Advisory {
	a.Affected = slices.Clone(a.Affected)
	for i := range a.Affected {
		a.Affected[i].Ranges = slices.Clone(a.Affected[i].Ranges)
	}
	return a
}

// queue is the work that match.Find and proposal's selection see.
func queue(inv inventory.Inventory, s advisory.Set) []string {
	out := []string{}
	for _, f := range match.Find(inv, match.NewIndex(s)) {
		if f.Work() {
			out = append(out, strings.Join([]string{f.Advisory, f.Package, f.Arch, f.Fixed}, " "))
		}
	}
	slices.Sort(out)
	return out
}

// TestTenThousandPoisonedRecordsChangeNoWork mutates real records of Debian 12,
// 100 to a snapshot, against a host that has every package of the release, and
// 5,000 of AlmaLinux and Go, where every one has to be held.
func TestTenThousandPoisonedRecordsChangeNoWork(t *testing.T) {
	all := zipped(t, "debian/osv-derived-bookworm.zip")
	for i := range all {
		all[i].Severities = []advisory.Severity{{Source: "x", Type: "CVSS_V3", Score: "CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"}}
	}
	inv := everything(t)
	last := asOf(all, unix("2026-11-22"))
	w := NewWorld(carried(t), nil)
	want := queue(inv, last)
	if len(want) < 400 {
		t.Fatalf("only %d pieces of work: the host shows nothing", len(want))
	}
	kinds := slices.Sorted(maps.Keys(poisons))
	r := rand.New(rand.NewPCG(4, 3))
	mutated, held, unjudged := 0, map[string]int{}, 0
	most := 10_000
	if testing.Short() {
		most = 1_300 // each kind once
	}
	for mutated < most {
		came := slices.Clone(last.Advisories)
		kind := kinds[(mutated/100)%len(kinds)]
		made := map[string]bool{}
		for len(made) < 100 {
			i := r.IntN(len(last.Advisories))
			a := copyOf(last.Advisories[i])
			poisons[kind](r, &a)
			if made[a.ID] {
				continue
			}
			made[a.ID] = true
			a.Raw = canon.SumFile(fmt.Appendf(nil, "%d", mutated+len(made)))
			if a.ID == came[i].ID {
				came[i] = a
			} else {
				came = append(came, a)
			}
		}
		mutated += 100
		next := set(unix("2026-11-23"), came...)
		if got := queue(inv, next); slices.Equal(got, want) {
			unjudged++
		}
		v := Judge(Case{Last: &last, New: next, World: w, Now: unix("2026-11-23")})
		held[kind] += len(v.Held)
		if got := queue(inv, v.Set); !slices.Equal(got, want) {
			t.Errorf("%s: the work changed: %d pieces, were %d", kind, len(got), len(want))
		}
	}
	t.Logf("%d mutated records, %d pieces of work before and after; held by kind (of about 800, in all 10,000): %v; without a judge %d of %d snapshots change no work", mutated, len(want), held, unjudged, mutated/100)
	if unjudged*100 > mutated/100*60 {
		t.Errorf("the poison is weak: %d of %d snapshots change nothing even without a judge", unjudged, mutated/100)
	}
}

// TestPoisonOfRealRecordsIsHeld is about ecosystems without a verified index.
func TestPoisonOfRealRecordsIsHeld(t *testing.T) {
	for _, file := range []string{"osv/AlmaLinux.zip", "osv/Go.zip", "debian/osv-derived-DSA-DLA-to-2023-03.zip"} {
		all := zipped(t, file)
		for i := range all {
			all[i].Severities = []advisory.Severity{{Source: "x", Type: "CVSS_V3", Score: "CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"}}
		}
		last := asOf(all, unix("2026-11-22"))
		r := rand.New(rand.NewPCG(4, 3))
		for _, kind := range slices.Sorted(maps.Keys(poisons)) {
			if kind == "raised" || kind == "fake critical" { // cannot be told without an index
				continue
			}
			came, made := slices.Clone(last.Advisories), map[string]bool{}
			for i, a := range last.Advisories {
				fit := a.Withdrawn == 0 && len(a.Affected) > 0 && len(a.Affected[0].Package) >= 5 && len(a.Affected[0].Ranges) > 0 && a.Affected[0].Ranges[0].Fixed != "" && a.Modified > 2e8
				if strings.HasPrefix(a.ID, "GO-") { // no times there, and no order of versions
					fit = fit || len(a.Affected) > 0 && len(a.Affected[0].Ranges) > 0 && a.Affected[0].Ranges[0].Fixed != "" && a.Withdrawn == 0 && kind != "time back"
				}
				if kind == "package gone" && fit && slices.ContainsFunc(a.Affected[1:], func(o advisory.Affected) bool {
					return o.Ecosystem == a.Affected[0].Ecosystem && o.Package == a.Affected[0].Package && o.Module == a.Affected[0].Module
				}) {
					continue // it still names the package
				}
				if !fit || r.IntN(10) > 0 || len(made) >= 200 {
					continue
				}
				m := copyOf(a)
				poisons[kind](r, &m)
				m.Raw = canon.SumFile([]byte(m.ID + kind))
				made[m.ID] = true
				if m.ID == a.ID {
					came[i] = m
				} else {
					came = append(came, m)
				}
			}
			if len(made) == 0 {
				continue
			}
			v := Judge(Case{Last: &last, New: set(unix("2026-11-23"), came...), Now: unix("2026-11-23")})
			caught := 0
			for _, h := range v.Held {
				if made[h.ID] {
					caught++
				}
			}
			t.Logf("%s, %s: %d of %d held", path.Base(file), kind, caught, len(made))
			if caught != len(v.Held) || caught*100 < len(made)*95 {
				t.Errorf("%s, %s: %d of %d held, and %d others", path.Base(file), kind, caught, len(made), len(v.Held)-caught)
			}
		}
	}
}
