package quarantine_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	. "github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

const (
	day = 24 * 3600
	now = 1_800_000_000
)

// rec is a record of Debian about one package, from the beginning to fixed.
func rec(id, pkg, fixed string) advisory.Advisory {
	return sign(advisory.Advisory{ID: id, Upstream: []string{strings.TrimPrefix(id, "DEBIAN-")}, Source: "osv/DEBIAN", Basis: advisory.BasisRecord, Published: now - 90*day, Modified: now - 30*day,
		Severities: []advisory.Severity{{Source: "osv/DEBIAN", Type: "urgency", Score: "medium"}}, Feed: advisory.Feed{Name: "debian"},
		Affected: []advisory.Affected{{Ecosystem: "Debian:12", Package: pkg, Ranges: []advisory.Range{{Type: "ECOSYSTEM", Introduced: "0", Fixed: fixed}}}}})
}

// sign gives a record the digest of what it says.
func sign(a advisory.Advisory) advisory.Advisory {
	a.Raw = ""
	a.Raw = canon.SumFile(fmt.Appendf(nil, "%+v", a))
	return a
}

func set(at int64, list ...advisory.Advisory) advisory.Set {
	return advisory.Set{Snapshot: advisory.Snapshot{Name: "debian", Count: len(list), Fetched: at, Newest: at}, Advisories: list}
}

var world = NewWorld([]Version{
	{Ecosystem: "Debian:12", Package: "openssl", Version: "3.0.9-1"}, {Ecosystem: "Debian:12", Package: "openssl", Version: "3.0.11-1"}, {Ecosystem: "Debian:12", Package: "openssl", Version: "3.0.14-1"},
	{Ecosystem: "Debian:12", Package: "openssl", Version: "not a version!"}, {Ecosystem: "Nowhere", Package: "openssl", Version: "1"},
	{Ecosystem: "Debian:12", Package: "libcrypt0", Version: "1-1"},
}, nil)

func before() *advisory.Set {
	s := set(now-day, rec("DEBIAN-CVE-2026-1", "openssl", "3.0.11-1"), rec("DEBIAN-CVE-2026-2", "systemd", "252.9-1"), rec("DEBIAN-CVE-2026-3", "linux", ""))
	return &s
}

func codes(h Held) (out []refusal.Code) {
	for _, r := range h.Reasons {
		out = append(out, r.Code)
	}
	return out
}

// TestEachKind changes one thing in one record. What came must not count, and
// what was must go on counting; the twin in the row, a like change that is
// honest, counts.
func TestEachKind(t *testing.T) {
	at := func(a advisory.Advisory, edit func(*advisory.Advisory)) advisory.Advisory {
		a.Affected, a.Severities, a.Modified = slices.Clone(a.Affected), slices.Clone(a.Severities), now-day
		a.Affected[0].Ranges = slices.Clone(a.Affected[0].Ranges)
		edit(&a)
		return sign(a)
	}
	fixed := func(v string) func(*advisory.Advisory) {
		return func(a *advisory.Advisory) { a.Affected[0].Ranges[0].Fixed = v }
	}
	score := func(v string) func(*advisory.Advisory) {
		return func(a *advisory.Advisory) {
			a.Severities = []advisory.Severity{{Source: "osv/DEBIAN", Type: "urgency", Score: v}}
		}
	}
	pkg := func(v string) func(*advisory.Advisory) {
		return func(a *advisory.Advisory) {
			a.ID, a.Affected[0].Package, a.Affected[0].Ranges[0].Fixed = "DEBIAN-CVE-2026-9", v, "1-1"
		}
	}
	for name, c := range map[string]struct {
		which       int
		code        refusal.Code
		bad, honest func(*advisory.Advisory)
	}{
		"withdrawn":        {0, CodeWithdrawn, func(a *advisory.Advisory) { a.Withdrawn = now - day }, func(*advisory.Advisory) {}},
		"fixed moved down": {0, CodeLowered, fixed("3.0.9-1"), fixed("3.0.14-1")},
		"begins later":     {0, CodeLowered, func(a *advisory.Advisory) { a.Affected[0].Ranges[0].Introduced = "3.0.9-1" }, func(*advisory.Advisory) {}},
		"ranges gone":      {0, CodeLowered, func(a *advisory.Advisory) { a.Affected[0].Ranges = nil }, func(*advisory.Advisory) {}},
		"last, not fixed": {0, CodeLowered, func(a *advisory.Advisory) {
			a.Affected[0].Ranges[0].Fixed, a.Affected[0].Ranges[0].LastAffected = "", "3.0.14-1"
		}, func(*advisory.Advisory) {}},
		"package gone":      {0, CodeLowered, func(a *advisory.Advisory) { a.Affected = nil }, func(*advisory.Advisory) {}},
		"other package":     {0, CodeLowered, func(a *advisory.Advisory) { a.Affected[0].Package = "systemd" }, func(*advisory.Advisory) {}},
		"a hole":            {2, CodeLowered, func(a *advisory.Advisory) { a.Affected[0].Ranges[0].Introduced = "6" }, fixed("6.1.9-1")},
		"severity up":       {0, CodeSeverity, score("critical"), score("high")},
		"severity down":     {0, CodeSeverity, score("unimportant"), score("low")},
		"severity gone":     {0, CodeSeverity, func(a *advisory.Advisory) { a.Severities = nil }, func(*advisory.Advisory) {}},
		"never carried":     {0, CodeVersion, fixed("3.0.12-1"), fixed("3.0.14-1")},
		"beyond the newest": {0, CodeVersion, fixed("3.0.99-1"), fixed("3.0.14-1")},
		"unreadable":        {1, CodeVersion, fixed("no version!"), fixed("252.10-1")},
		"a jump":            {1, CodeVersion, fixed("99999-1"), fixed("253-1")},
		"an epoch":          {1, CodeVersion, fixed("9:252.9-1"), fixed("252.9-2")},
		"older":             {0, CodeTime, func(a *advisory.Advisory) { a.Modified = now - 31*day }, func(*advisory.Advisory) {}},
		"without its time":  {0, CodeTime, func(a *advisory.Advisory) { a.Modified = 0 }, func(*advisory.Advisory) {}},
		"from the future":   {0, CodeTime, func(a *advisory.Advisory) { a.Published = now + 2*day }, func(a *advisory.Advisory) { a.Published = now }},
		"changed in future": {0, CodeTime, func(a *advisory.Advisory) { a.Modified = now + 2*day }, func(a *advisory.Advisory) { a.Modified = now }},
		"a homoglyph":       {0, CodeLookAlike, pkg("0penssl"), pkg("nginx")},
		"rn for m":          {0, CodeLookAlike, pkg("systernd"), pkg("libcrypt0")},
		"one edit":          {0, CodeLookAlike, pkg("opensssl"), pkg("openssl3")},
		"one less":          {0, CodeLookAlike, pkg("opnssl"), pkg("open")},
		"one other":         {0, CodeLookAlike, pkg("openssh"), pkg("openldap")},
		"two exchanged":     {0, CodeLookAlike, pkg("opensls"), pkg("sslopen")},
	} {
		last := before()
		was := last.Advisories[c.which]
		for honest, edit := range map[bool]func(*advisory.Advisory){false: c.bad, true: c.honest} {
			came := slices.Clone(last.Advisories)
			if a := at(was, edit); a.ID == was.ID {
				came[c.which] = a
			} else {
				came = append(came, a)
			}
			v := Judge(Case{Last: last, New: set(now, came...), World: world, Now: now})
			switch {
			case len(v.Whole) > 0:
				t.Errorf("%s: all of it: %v", name, v.Whole)
			case honest && (len(v.Held) > 0 || !reflect.DeepEqual(v.Set.Advisories, came)):
				t.Errorf("%s: the honest twin is held: %+v", name, v.Held)
			case !honest && (len(v.Held) != 1 || !slices.Contains(codes(v.Held[0]), c.code)):
				t.Errorf("%s: not held as %s: %+v", name, c.code, v.Held)
			case !honest && !same(v.Set.Advisories, last.Advisories):
				t.Errorf("%s: what counted does not count any more", name)
			}
		}
	}
}

func same(a, b []advisory.Advisory) bool {
	by := func(a, b advisory.Advisory) int { return strings.Compare(a.ID, b.ID) }
	a, b = slices.SortedFunc(slices.Values(a), by), slices.SortedFunc(slices.Values(b), by)
	return reflect.DeepEqual(a, b)
}

func TestAVanishedRecordKeepsCounting(t *testing.T) {
	last := before()
	for i := range 40 {
		last.Advisories = append(last.Advisories, rec(fmt.Sprintf("DEBIAN-CVE-2025-%d", i), "systemd", "252.1-1"))
	}
	people := rec("house-1", "systemd", "1-1")
	people.Basis = advisory.BasisStatement
	ended := rec("DEBIAN-CVE-2024-1", "systemd", "1-1")
	ended.Expires = now
	last.Advisories = append(last.Advisories, people, ended)
	last.Snapshot.Count = len(last.Advisories)
	v := Judge(Case{Last: last, New: set(now, last.Advisories[1:len(last.Advisories)-2]...), World: world, Now: now})
	if len(v.Held) != 1 || codes(v.Held[0])[0] != CodeGone || v.Held[0].Raw != "" || v.Held[0].Was != last.Advisories[0].Raw || !same(v.Set.Advisories, last.Advisories[:len(last.Advisories)-2]) {
		t.Errorf("%+v %+v", v.Whole, v.Held)
	}
}

func TestAFloodCountsNot(t *testing.T) {
	last := before()
	came := slices.Clone(last.Advisories)
	for i := range 501 {
		came = append(came, rec(fmt.Sprintf("DEBIAN-CVE-2025-%d", i), "systemd", "252.1-1"))
	}
	v := Judge(Case{Last: last, New: set(now, came...), World: world, Now: now})
	if len(v.Held) != 501 || codes(v.Held[0])[0] != CodeFlood || !same(v.Set.Advisories, last.Advisories) {
		t.Errorf("%d held", len(v.Held))
	}
	if v := Judge(Case{Last: last, New: set(now, came[:len(came)-1]...), World: world, Now: now}); len(v.Held) != 0 {
		t.Errorf("500 in a day: %d held", len(v.Held))
	}
	if v := Judge(Case{Last: last, New: set(now+day, came...), World: world, Now: now + day}); len(v.Held) != 0 {
		t.Errorf("501 in two days: %d held", len(v.Held))
	}
	if v := Judge(Case{New: set(now, came...), World: world, Now: now}); len(v.Held) != 0 {
		t.Errorf("the first snapshot: %d held", len(v.Held))
	}
}

func TestWholeSnapshots(t *testing.T) {
	last := before()
	for name, c := range map[string]struct {
		edit func(*Case)
		want refusal.Code
	}{
		"empty":     {func(c *Case) { c.New = set(now) }, "PW-FEED-EMPTY"},
		"shrunk":    {func(c *Case) { c.New = set(now, last.Advisories[:2]...) }, "PW-FEED-SHRUNK"},
		"backwards": {func(c *Case) { c.New.Snapshot.Newest = last.Snapshot.Newest - 1 }, "PW-FEED-BACKWARDS"},
		"signature": {func(c *Case) { c.Failed = "the key is not listed" }, "PW-FEED-SIGNATURE"},
	} {
		k := Case{Last: last, New: set(now, last.Advisories...), World: world, Now: now}
		if v := Judge(k); len(v.Whole) > 0 {
			t.Errorf("the twin: %v", v.Whole)
		}
		c.edit(&k)
		v := Judge(k)
		if len(v.Whole) == 0 || !slices.ContainsFunc(v.Whole, func(r Reason) bool { return r.Code == c.want }) || !reflect.DeepEqual(v.Set, *last) {
			t.Errorf("%s: %v", name, v.Whole)
		}
		if k.Last = nil; name == "empty" || name == "signature" {
			if v := Judge(k); len(v.Set.Advisories) != 0 || v.Set.Snapshot.Count != 0 {
				t.Errorf("%s, first: something counts", name)
			}
		}
	}
}

func TestAReleaseBindsToTheBytes(t *testing.T) {
	last := before()
	came := slices.Clone(last.Advisories)
	came[0].Withdrawn = now - day
	came[0] = sign(came[0])
	k := Case{Last: last, New: set(now, came...), World: world, Now: now}
	h := Judge(k).Held[0]
	good := Release{ID: h.ID, Raw: h.Raw, Was: h.Was, By: "ada", Why: "seen on the tracker", At: now}
	if k.Releases = []Release{good}; len(Judge(k).Held) != 0 || Judge(k).Set.Advisories[0].Withdrawn == 0 {
		t.Error("released and still held")
	}
	for name, edit := range map[string]func(*Release){
		"other record": func(r *Release) { r.ID = "x" }, "other bytes": func(r *Release) { r.Raw = canon.SumFile(nil) }, "other past": func(r *Release) { r.Was = canon.SumFile(nil) },
		"nobody": func(r *Release) { r.By = "" }, "no reason": func(r *Release) { r.Why = "" }, "no time": func(r *Release) { r.At = 0 },
	} {
		r := good
		edit(&r)
		if k.Releases = []Release{r}; len(Judge(k).Held) != 1 {
			t.Errorf("%s: released", name)
		}
	}
}

func TestASecondSourceCorroborates(t *testing.T) {
	last := before()
	came := slices.Clone(last.Advisories)
	came[0] = rec("DEBIAN-CVE-2026-1", "openssl", "3.0.9-1")
	came[0].Modified = now - day
	second := func(edit func(*advisory.Advisory)) []advisory.Set {
		a := rec("CVE-2026-1", "openssl", "3.0.9-1")
		a.Source, a.Feed.Name, a.Upstream = "debian/tracker", "tracker", nil
		edit(&a)
		return []advisory.Set{set(now, a)}
	}
	for name, c := range map[string]struct {
		edit func(*advisory.Advisory)
		free bool
	}{
		"the same":           {func(*advisory.Advisory) {}, true},
		"another version":    {func(a *advisory.Advisory) { a.Affected[0].Ranges[0].Fixed = "3.0.11-1" }, false},
		"another CVE":        {func(a *advisory.Advisory) { a.ID = "CVE-2026-7" }, false},
		"no CVE":             {func(a *advisory.Advisory) { a.ID = "X" }, false},
		"another package":    {func(a *advisory.Advisory) { a.Affected[0].Package = "libssl" }, false},
		"another release":    {func(a *advisory.Advisory) { a.Affected[0].Ecosystem = "Debian:11" }, false},
		"withdrawn there":    {func(a *advisory.Advisory) { a.Withdrawn = now }, false},
		"no distribution":    {func(a *advisory.Advisory) { a.Source = "nvd" }, false},
		"people":             {func(a *advisory.Advisory) { a.Basis = advisory.BasisStatement }, false},
		"the same source":    {func(a *advisory.Advisory) { a.Source = "osv/DEBIAN" }, false},
		"the same feed":      {func(a *advisory.Advisory) { a.Feed.Name = "debian" }, false},
		"another's packages": {func(a *advisory.Advisory) { a.Source = "osv/USN" }, false},
	} {
		v := Judge(Case{Last: last, New: set(now, came...), World: world, Others: second(c.edit), Now: now})
		if (len(v.Held) == 0) != c.free {
			t.Errorf("%s: held %+v", name, v.Held)
		}
	}
	came[0] = rec("DEBIAN-CVE-2026-1", "openssl", "3.0.11-1")
	came[0].Withdrawn = now - day
	came[0] = sign(came[0])
	for name, c := range map[string]struct {
		edit func(*advisory.Advisory)
		free bool
	}{
		"withdrawn too":      {func(a *advisory.Advisory) { a.Withdrawn = now }, true},
		"not affected there": {func(a *advisory.Advisory) { a.Affected[0].Status, a.Affected[0].Ranges = advisory.NotAffected, nil }, true},
		"in force there":     {func(*advisory.Advisory) {}, false},
	} {
		v := Judge(Case{Last: last, New: set(now, came...), World: world, Others: second(c.edit), Now: now})
		if (len(v.Held) == 0) != c.free {
			t.Errorf("withdrawal, %s: held %+v", name, v.Held)
		}
	}
}

// TestANewNameBesideKnownOnes: a name that is nearly a known one is suspect, but
// not beside that very name with the same versions, and not when it is put
// together in the usual way from another name of the record.
func TestANewNameBesideKnownOnes(t *testing.T) {
	part := func(pkg, fixed string) advisory.Affected {
		return advisory.Affected{Ecosystem: "Debian:12", Package: pkg, Ranges: []advisory.Range{{Type: "ECOSYSTEM", Introduced: "0", Fixed: fixed}}}
	}
	last := before()
	for i, name := range []string{"glibc", "langpack-cv", "python3-dns", "python3-six", "python3-yaml", "ldnsd", "lone-dns"} {
		last.Advisories = append(last.Advisories, rec(fmt.Sprintf("DEBIAN-CVE-2025-%d", i), name, "1-1"))
	}
	for name, c := range map[string]struct {
		parts []advisory.Affected
		held  bool
	}{
		"beside the one it looks like": {[]advisory.Affected{part("langpack-cv", "2-1"), part("langpack-kv", "2-1")}, false},
		"alone":                        {[]advisory.Affected{part("langpack-kv", "2-1")}, true},
		"with another version":         {[]advisory.Affected{part("langpack-cv", "3-1"), part("langpack-kv", "2-1")}, true},
		"instead of it":                {[]advisory.Affected{part("glibc", "2-1"), part("langpack-kv", "2-1")}, true},
		"with a usual affix":           {[]advisory.Affected{part("ldnsd", "2-1"), part("python3-ldnsd", "2-1")}, false},
		"a usual affix, another name":  {[]advisory.Affected{part("glibc", "2-1"), part("python3-dnss", "2-1")}, true},
		"an affix that nobody has":     {[]advisory.Affected{part("dnss", "2-1"), part("lone-dnss", "2-1")}, true},
	} {
		a := rec("DEBIAN-CVE-2026-9", "x", "1")
		a.Affected = c.parts
		v := Judge(Case{Last: last, New: set(now, append(slices.Clone(last.Advisories), sign(a))...), World: world, Now: now})
		if (len(v.Held) == 1) != c.held || len(v.Held) > 1 {
			t.Errorf("%s: %+v", name, v.Held)
		}
	}
}

// TestAFloodStaysHeld: that some of its records were released, or that the next
// snapshot has less news, frees no other.
func TestAFloodStaysHeld(t *testing.T) {
	last := before()
	came := slices.Clone(last.Advisories)
	for i := range 501 {
		came = append(came, rec(fmt.Sprintf("DEBIAN-CVE-2025-%d", i), "systemd", "252.1-1"))
	}
	first := Judge(Case{Last: last, New: set(now, came...), World: world, Now: now})
	var words []Release
	for _, h := range first.Held[:10] {
		words = append(words, Release{ID: h.ID, Raw: h.Raw, Was: h.Was, By: "ada", Why: "read it", At: now})
	}
	again := Judge(Case{Last: &first.Set, New: set(now, came...), World: world, Now: now, Before: first.Held, Again: true, Releases: words})
	if len(again.Held) != 491 || len(again.Freed) != 10 || again.Freed[0].Release == nil {
		t.Errorf("after a release of ten: %d held, %d freed", len(again.Held), len(again.Freed))
	}
	next := append(slices.Clone(came), rec("DEBIAN-CVE-2024-1", "systemd", "252.1-1"))
	v := Judge(Case{Last: &first.Set, New: set(now+day, next...), World: world, Now: now + day, Before: first.Held})
	if len(v.Held) != 501 || slices.ContainsFunc(v.Held, func(h Held) bool { return h.ID == "DEBIAN-CVE-2024-1" }) {
		t.Errorf("a day later: %d held", len(v.Held))
	}
	if v := Judge(Case{Last: last, New: set(now, came[:10]...), World: world, Now: now, Recent: 499}); len(v.Held) != 7 {
		t.Errorf("drop by drop: %d held", len(v.Held))
	}
}

func TestAMassIsNotBelieved(t *testing.T) {
	var list []advisory.Advisory
	for i := range 200 {
		list = append(list, rec(fmt.Sprintf("DEBIAN-CVE-2025-%d", i), "systemd", "252.1-1"))
	}
	last := set(now-day, list...)
	withdrawn := func(n int) advisory.Set {
		came := slices.Clone(list)
		for i := range n {
			came[i].Withdrawn = now
			came[i] = sign(came[i])
		}
		return set(now, came...)
	}
	if v := Judge(Case{Last: &last, New: withdrawn(100), Now: now}); len(v.Whole) > 0 || len(v.Held) != 100 {
		t.Errorf("a hundred: %v, %d held", v.Whole, len(v.Held))
	}
	if v := Judge(Case{Last: &last, New: withdrawn(101), Now: now}); len(v.Whole) != 1 || v.Whole[0].Code != CodeMass || !reflect.DeepEqual(v.Set, last) || len(v.Held) > 0 {
		t.Errorf("half and more: %v, %d held", v.Whole, len(v.Held))
	}
}

// TestOneIDTwice: a database can have a file for each release under one id.
func TestOneIDTwice(t *testing.T) {
	nine, eight := rec("ALSA-1", "a", "1-1"), rec("ALSA-1", "b", "1-1")
	last := set(now-day, eight, nine)
	if v := Judge(Case{Last: &last, New: set(now, nine, eight), Now: now}); len(v.Held) > 0 || len(v.Set.Advisories) != 2 {
		t.Errorf("in another order: %+v", v.Held)
	}
	later := nine
	later.Affected = []advisory.Affected{nine.Affected[0]}
	later.Modified++
	later = sign(later)
	if v := Judge(Case{Last: &last, New: set(now, later, eight), Now: now}); len(v.Held) > 0 {
		t.Errorf("one of the two is newer: %+v", v.Held)
	}
	v := Judge(Case{Last: &last, New: set(now, eight), Limits: Limits{Shrink: 60}, Now: now})
	if len(v.Held) != 1 || v.Held[0].Was != nine.Raw || !same(v.Set.Advisories, last.Advisories) {
		t.Errorf("one of the two is gone: %+v", v.Held)
	}
}

// TestWhatWasThereBeforeAnybodyLooked lies between two versions of the first
// sight; what came later was seen or never was.
func TestWhatWasThereBeforeAnybodyLooked(t *testing.T) {
	deb := func(v string, first bool) Version {
		return Version{Ecosystem: "Debian:12", Package: "openssl", Version: v, First: first}
	}
	list := []Version{deb("3.0.11-1", true), deb("3.0.14-1", true), deb("3.0.16-1", false)}
	last := before()
	for v, c := range map[string]struct {
		at   int64
		held bool
	}{
		"3.0.10-1": {now, false}, "3.0.12-1": {now, false}, "3.0.14-1": {now, false}, "3.0.15-1": {now, true}, "3.0.16-1": {now, false},
		"3.0.17-1": {now, true}, "3.0.18-1": {now - 8*day, false}, "3.0.15-2": {now - 8*day, true},
	} {
		w := NewWorld(list, map[string]int64{"Debian:12": c.at})
		got := Judge(Case{Last: last, New: set(now, append(slices.Clone(last.Advisories), rec("DEBIAN-CVE-2026-9", "openssl", v))...), World: w, Now: now})
		if (len(got.Held) == 1) != c.held {
			t.Errorf("%s, last look %d days ago: %+v", v, (now-c.at)/day, got.Held)
		}
	}
}

func TestAnEpochGrowsByOne(t *testing.T) {
	last := before()
	for v, held := range map[string]bool{"1:0.3-1": false, "2:0.3-1": true, "1:9999-1": true, "1:252.10-1": false, "x:1-1": true} {
		came := append(slices.Clone(last.Advisories), rec("DEBIAN-CVE-2026-9", "systemd", v))
		if got := Judge(Case{Last: last, New: set(now, came...), World: world, Now: now}); (len(got.Held) == 1) != held {
			t.Errorf("%s: %+v", v, got.Held)
		}
	}
}

func TestWhoSaysTheSameIsNamed(t *testing.T) {
	last := before()
	came := slices.Clone(last.Advisories)
	came[0] = rec("DEBIAN-CVE-2026-1", "openssl", "3.0.9-1")
	came[0].Modified = now - day
	came[0] = sign(came[0])
	o := rec("DSA-1-1", "openssl", "3.0.9-1")
	o.Upstream, o.Source, o.Feed.Name = []string{"CVE-2026-1"}, "osv/DSA", "dsa"
	v := Judge(Case{Last: last, New: set(now, came...), World: world, Others: []advisory.Set{set(now, o)}, Now: now})
	if len(v.Held) != 0 || len(v.Freed) != 1 || len(v.Freed[0].By) != 1 || v.Freed[0].By[0].ID != "DSA-1-1" || v.Freed[0].ID != came[0].ID {
		t.Errorf("held %+v, freed %+v", v.Held, v.Freed)
	}
}

// TestAScoreThatCannotBeReadIsNoScore: a real one after it is news, no jump.
func TestAScoreThatCannotBeReadIsNoScore(t *testing.T) {
	last := before()
	for was, held := range map[string]bool{"CVSS:3.1/AV:N/AC:L": false, "AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N": false, "who knows": false, "low": true, "CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N": true} {
		old := last.Advisories[0]
		old.Severities = []advisory.Severity{{Source: "x", Type: "t", Score: was}}
		last.Advisories[0] = sign(old)
		a := old
		a.Severities = []advisory.Severity{{Source: "x", Type: "t", Score: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"}}
		v := Judge(Case{Last: last, New: set(now, sign(a), last.Advisories[1], last.Advisories[2]), World: world, Now: now})
		if (len(v.Held) == 1) != held {
			t.Errorf("%s: %+v", was, v.Held)
		}
	}
}
