package priority

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var (
	c3, c14, c60, next0 = Class{Key: "3D", Rank: 3, Days: 3}, Class{Key: "14D", Rank: 2, Days: 14}, Class{Key: "60D", Rank: 1, Days: 60}, Class{Key: "FSU"}
)

func seen(d int64, names ...string) Event {
	return Event{At: d * day, Host: "h", Names: names, Kind: Seen}
}
func absent(d int64, names ...string) Event {
	return Event{At: d * day, Host: "h", Names: names, Kind: Absent}
}
func effective(d int64, names ...string) Event {
	return Event{At: d * day, Host: "h", Names: names, Kind: Effective}
}
func assessed(d int64, c Class, names ...string) Event {
	return Event{At: d * day, Host: "h", Names: names, Kind: Assessed, Class: c}
}

func TestClock(t *testing.T) {
	const a, b, g, u = "CVE-2026-0001", "CVE-2026-0002", "GHSA-x", "USN-1"
	for name, c := range map[string]struct {
		events []Event
		want   []Exposure // times in days; Spent on day 100 is in wantSpent
		spent  []int64
	}{
		"seen and fixed": {[]Event{seen(1, a), assessed(1, c14, a), effective(5, a)},
			[]Exposure{{ID: a, Names: []string{a}, First: 1, Opened: 1, Closed: 5, Class: c14}}, []int64{4}},
		"seen again and again": {[]Event{seen(1, a), assessed(1, c14, a), seen(2, a), seen(2, a), assessed(3, c14, a), seen(9, a)},
			[]Exposure{{ID: a, Names: []string{a}, First: 1, Opened: 1, Class: c14, Due: 15}}, []int64{99}},
		"vanishes and returns": {[]Event{seen(1, a), assessed(1, c14, a), absent(4, a), absent(5, a), seen(10, a)},
			[]Exposure{{ID: a, Names: []string{a}, First: 1, Opened: 1, Class: c14, Due: 15}}, []int64{99}},
		"vanished": {[]Event{seen(1, a), assessed(1, c14, a), absent(4, a), absent(5, a)},
			[]Exposure{{ID: a, Names: []string{a}, First: 1, Opened: 1, Class: c14, Due: 15, Gone: 4}}, []int64{99}},
		"absent and seen in the same second": {[]Event{seen(1, a), absent(4, a), seen(4, a)},
			[]Exposure{{ID: a, Names: []string{a}, First: 1, Opened: 1}}, []int64{99}},
		"fixed and undone": {[]Event{seen(1, a), assessed(1, c14, a), effective(11, a), seen(50, a)},
			[]Exposure{{ID: a, Names: []string{a}, First: 1, Opened: 50, Used: 10, Class: c14, Due: 54}}, []int64{60}},
		"undone with nothing left": {[]Event{seen(1, a), assessed(1, c14, a), effective(31, a), seen(50, a)},
			[]Exposure{{ID: a, Names: []string{a}, First: 1, Opened: 50, Used: 30, Class: c14, Due: 50}}, []int64{80}},
		"fixed and seen in the same second": {[]Event{seen(1, a), effective(3, a), seen(3, a)},
			[]Exposure{{ID: a, Names: []string{a}, First: 1, Opened: 3, Used: 2}}, []int64{99}},
		"never seen": {[]Event{assessed(1, c3, a), effective(2, a), absent(3, b), effective(3, g)}, []Exposure{}, nil},
		"becomes listed": {[]Event{seen(0, a), assessed(0, c60, a), assessed(30, c14, a)},
			[]Exposure{{ID: a, Names: []string{a}, Class: c14, Due: 44}}, []int64{100}},
		"becomes listed near the end": {[]Event{seen(0, a), assessed(0, c60, a), assessed(55, c14, a)},
			[]Exposure{{ID: a, Names: []string{a}, Class: c14, Due: 60}}, []int64{100}},
		"becomes milder": {[]Event{seen(0, a), assessed(0, c3, a), assessed(2, c60, a)},
			[]Exposure{{ID: a, Names: []string{a}, Class: c60, Due: 60}}, []int64{100}},
		"milder, then strict again": {[]Event{seen(0, a), assessed(0, c3, a), assessed(2, c60, a), assessed(40, c3, a)},
			[]Exposure{{ID: a, Names: []string{a}, Class: c3, Due: 3}}, []int64{100}},
		"two classes in a second": {[]Event{seen(0, a), assessed(0, c3, a), assessed(0, c60, a)},
			[]Exposure{{ID: a, Names: []string{a}, Class: c3, Due: 3}}, []int64{100}},
		"with the next upgrade": {[]Event{seen(2, a), assessed(2, next0, a)},
			[]Exposure{{ID: a, Names: []string{a}, First: 2, Opened: 2, Class: next0}}, []int64{98}},
		"an alias first": {[]Event{seen(1, g), assessed(1, c14, g), seen(9, a, g), effective(12, a)},
			[]Exposure{{ID: a, Names: []string{a, g}, First: 1, Opened: 1, Closed: 12, Class: c14}}, []int64{11}},
		"aliases of aliases": {[]Event{seen(1, g), seen(3, g, u), seen(9, u, a), effective(12, g)},
			[]Exposure{{ID: a, Names: []string{a, g, u}, First: 1, Opened: 1, Closed: 12}}, []int64{11}},
		"no CVE at all": {[]Event{seen(1, u, g), seen(5, g), effective(7, u)},
			[]Exposure{{ID: g, Names: []string{g, u}, First: 1, Opened: 1, Closed: 7}}, []int64{6}},
		"an alias of two CVEs ends neither": {[]Event{seen(1, a, u), seen(2, b, u), effective(3, u)},
			[]Exposure{{ID: a, Names: []string{a, u}, First: 1, Opened: 1}, {ID: b, Names: []string{b, u}, First: 2, Opened: 2}}, []int64{99, 98}},
		"an alias of two CVEs opens both": {[]Event{assessed(5, c3, a, u), assessed(5, c60, b, u), seen(6, u)},
			[]Exposure{{ID: a, Names: []string{a, u}, First: 6, Opened: 6, Class: c3, Due: 9}, {ID: b, Names: []string{b, u}, First: 6, Opened: 6, Class: c60, Due: 66}}, []int64{94, 94}},
		"an end does not join": {[]Event{seen(1, a), seen(1, g), effective(2, a, g), effective(3, g)},
			[]Exposure{{ID: a, Names: []string{a}, First: 1, Opened: 1, Closed: 2}, {ID: g, Names: []string{g}, First: 1, Opened: 1, Closed: 3}}, []int64{1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Fold(c.events)
			for i := range c.want {
				w := &c.want[i]
				w.Host = "h"
				for _, at := range []*int64{&w.First, &w.Opened, &w.Closed, &w.Gone, &w.Used, &w.Due} {
					*at *= day
				}
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Fatalf("\n%+v, want\n%+v", got, c.want)
			}
			for i, e := range got {
				if spent := e.Spent(100 * day); spent != c.spent[i]*day {
					t.Errorf("%s: %d days of exposure, want %d", e.ID, spent/day, c.spent[i])
				}
			}
		})
	}
}

// The host is a part of the clock's name.
func TestHostsHaveTheirOwnClocks(t *testing.T) {
	other := seen(4, "CVE-2026-0001")
	other.Host = "g"
	got := Fold([]Event{seen(1, "CVE-2026-0001"), other, effective(2, "CVE-2026-0001")})
	if len(got) != 2 || got[0].Host != "g" || got[0].Closed != 0 || got[1].Closed != 2*day {
		t.Errorf("%+v", got)
	}
}

// The breach comes at the second, and never while the class has no day.
func TestOverdueAtTheSecond(t *testing.T) {
	e := Fold([]Event{seen(1, "CVE-2026-0001"), assessed(1, c3, "CVE-2026-0001")})[0]
	if e.Overdue(4*day-1) || !e.Overdue(4*day) {
		t.Errorf("%+v", e)
	}
	if (Exposure{}).Overdue(now) {
		t.Error("no day")
	}
}

func someEvents(t *rapid.T) []Event {
	pool := []string{"CVE-2026-0001", "CVE-2026-0002", "GHSA-x", "USN-1"}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Event {
		return Event{At: rapid.Int64Range(0, 9).Draw(t, "at") * day, Host: rapid.SampledFrom([]string{"g", "h"}).Draw(t, "host"),
			Names: rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 1, 2, rapid.ID).Draw(t, "names"),
			Kind:  rapid.SampledFrom(kinds).Draw(t, "kind"), Class: rapid.SampledFrom([]Class{c3, c14, c60, next0}).Draw(t, "class")}
	}), 0, 12).Draw(t, "events")
}

// Order and repetition do not matter.
func TestFoldIsAFunctionOfTheSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := someEvents(t)
		want := Fold(events)
		again := rapid.Permutation(append(slices.Clone(events), events...)).Draw(t, "again")
		if got := Fold(again); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\n%+v", got, want)
		}
	})
}

// Another scan while a clock runs, and a vulnerability that vanishes for a time,
// leave every day and every second of exposure as they were.
func TestScansDoNotMoveTheClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := someEvents(t)
		want := Fold(events)
		more := slices.Clone(events)
		for _, e := range want {
			if e.Closed != 0 {
				continue
			}
			at := e.Opened + rapid.Int64Range(1, 5*day).Draw(t, "later")
			id := []string{e.ID}
			kind := rapid.SampledFrom([]EventKind{Seen, Absent}).Draw(t, "kind")
			more = append(more, Event{At: at, Host: e.Host, Names: id, Kind: kind}, Event{At: at + 1, Host: e.Host, Names: id, Kind: Seen})
		}
		got := Fold(more)
		for i := range want {
			w, g := want[i], got[i]
			w.Gone, g.Gone = 0, 0
			if !reflect.DeepEqual(g, w) {
				t.Fatalf("%+v\n%+v", g, w)
			}
		}
	})
}

// Only an effective fix ends exposure: without it no clock ever stands, and more
// of them never make more exposure.
func TestOnlyAFixStopsTheClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := someEvents(t)
		unfixed := Fold(slices.DeleteFunc(slices.Clone(events), func(e Event) bool { return e.Kind == Effective }))
		fixed := Fold(events)
		if len(fixed) != len(unfixed) {
			t.Fatal("a fix made or hid a clock")
		}
		for i, u := range unfixed {
			if f := fixed[i]; u.Closed != 0 || u.Opened != u.First || f.First != u.First || f.Spent(20*day) > u.Spent(20*day) {
				t.Fatalf("%+v\n%+v", f, u)
			}
		}
	})
}

// TestAStateGoesOn adds events in batches, each later than those before: the
// state is that of all events at once, or says that it cannot tell.
func TestAStateGoesOn(t *testing.T) {
	told := 0
	rapid.Check(t, func(t *rapid.T) {
		pool := []string{"CVE-2026-0001", "CVE-2026-0002", "CVE-2026-0003", "GHSA-x", "USN-1", "DSA-9"}
		var all []Event
		s := NewState(nil)
		for at := int64(1); at <= 6; at++ {
			batch := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Event {
				return Event{At: at * day, Names: rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 1, 3, rapid.ID).Draw(t, "names"),
					Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Class: rapid.SampledFrom([]Class{c3, c14, c60, next0}).Draw(t, "class")}
			}), 0, 4).Draw(t, "batch")
			all = append(all, batch...)
			want, before := NewState(all), reflectCopy(s)
			got, ok := s.Next(batch)
			if !reflect.DeepEqual(s, before) {
				t.Fatal("the state before was changed")
			}
			if ok {
				told++
				if len(batch) == 0 {
					got.At = want.At
				}
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("after %+v\n%+v\nof all\n%+v", batch, got, want)
				}
			}
			s = want
		}
	})
	if told < 20 {
		t.Errorf("only %d states went on", told)
	}
}

// TestHostsOfOnePast have the states that their own events come to, and share
// nothing that one of them changes. What names mean the same is found here once
// more, by going through all of them.
func TestHostsOfOnePast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := []string{"CVE-2026-0001", "CVE-2026-0002", "CVE-2026-0003", "GHSA-x", "USN-1", "DSA-9"}
		events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Event {
			return Event{At: rapid.Int64Range(0, 3).Draw(t, "look"), Names: rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 1, 3, rapid.ID).Draw(t, "names"),
				Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Class: rapid.SampledFrom([]Class{c3, c14, c60, next0}).Draw(t, "class")}
		}), 0, 16).Draw(t, "events")
		p := NewPast(slices.Clone(events))
		for range 3 {
			times := rapid.SliceOfN(rapid.Int64Range(0, 5), 4, 4).Draw(t, "times") // in any order, some alike
			own := slices.Clone(events)
			for i := range own {
				own[i].At = times[own[i].At] * day
			}
			want := NewState(own)
			got := p.State(func(look int64) int64 { return times[look] * day })
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%+v\nof its own events\n%+v", got, want)
			}
			for _, c := range got.Clocks {
				if all := namesOf(events, c.ID); !slices.Equal(c.Names, all) {
					t.Fatalf("clock %s is called %q, want %q", c.ID, c.Names, all)
				}
			}
			later := own[:0:0]
			for _, e := range own {
				e.At += 9 * day
				later = append(later, e)
			}
			got.Next(later)
		}
	})
}

// namesOf are the names of a clock: aliases that were said together mean the same,
// and those that were said with a CVE are names of it.
func namesOf(events []Event, id string) []string {
	joins := slices.DeleteFunc(slices.Clone(events), func(e Event) bool { return e.Kind != Seen && e.Kind != Assessed })
	out := map[string]bool{}
	var follow func(alias string)
	follow = func(alias string) {
		if out[alias] {
			return
		}
		out[alias] = true
		for _, e := range joins {
			if slices.Contains(e.Names, alias) {
				for _, n := range e.Names {
					if !isCVE(n) {
						follow(n)
					}
				}
			}
		}
	}
	if !isCVE(id) {
		follow(id)
	}
	for _, e := range joins {
		if isCVE(id) && slices.Contains(e.Names, id) {
			for _, n := range e.Names {
				if !isCVE(n) {
					follow(n)
				}
			}
			out[id] = true
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// reflectCopy is a copy that shares nothing.
func reflectCopy(s State) State {
	s.Clocks, s.Loose = slices.Clone(s.Clocks), slices.Clone(s.Loose)
	for i := range s.Clocks {
		s.Clocks[i].Names, s.Clocks[i].Terms = slices.Clone(s.Clocks[i].Names), slices.Clone(s.Clocks[i].Terms)
	}
	return s
}

// What happens in a usual look is told by the state alone.
func TestUsualLooksGoOn(t *testing.T) {
	const a, b, c = "CVE-2026-0001", "CVE-2026-0002", "CVE-2026-0003"
	s := NewState([]Event{seen(1, a), assessed(1, c14, a), seen(1, b, "DSA-1"), seen(1, "USN-5")})
	for name, batch := range map[string][]Event{
		"again":            {seen(2, a), assessed(2, c14, a), seen(2, b, "DSA-1")},
		"fixed":            {effective(2, a), absent(2, b, "DSA-1")},
		"something new":    {seen(2, c, "DSA-3", "GHSA-x")},
		"a name more":      {seen(2, a, "DSA-2"), effective(2, b, "DSA-1")},
		"two of one alias": {seen(2, c, "CVE-2026-0004", "DSA-7")},
		"an alias alone":   {seen(2, "DSA-1"), effective(2, "DSA-1")},
		"no CVE":           {seen(2, "USN-1", "GHSA-y")},
	} {
		if _, ok := s.Next(batch); !ok {
			t.Errorf("%s: folded anew", name)
		}
	}
	for name, batch := range map[string][]Event{
		"the same second":         {seen(1, a)},
		"the past":                {seen(0, a)},
		"an alias of two":         {seen(2, a, "DSA-1")},
		"another id, perhaps":     {seen(2, "USN-5", "DSA-0")},
		"an end under a new name": {effective(2, "USN-7")},
	} {
		if _, ok := s.Next(batch); ok {
			t.Errorf("%s: told by the state alone", name)
		}
	}
}
