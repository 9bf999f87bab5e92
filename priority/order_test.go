package priority

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

const now = 1_790_000_000

func m(v int) Measure { return Measure{true, v} }

func TestOrderIsAsTold(t *testing.T) {
	want := []Work{ // in this order
		{"late, strict, oldest", 4, now - 50, m(1), m(1)},
		{"late, strict", 4, now, m(999_999), m(100)},
		{"late, mild", 1, now - 900, m(5), m(5)},
		{"strict, not measured", 4, now + 9, Measure{}, m(1)},
		{"strict, likely, no CVSS", 4, now + 9, m(900_000), Measure{}},
		{"strict, likely, severe", 4, now + 9, m(900_000), m(98)},
		{"strict, likely, mild", 4, now + 3, m(900_000), m(50)},
		{"strict, unlikely", 4, now + 1, m(10), m(100)},
		{"a, middle, due", 2, now + 5, m(0), m(0)},
		{"b, middle, due", 2, now + 5, m(0), m(0)},
		{"a, middle, no day", 2, 0, m(0), m(0)},
		{"mild, near 1", 0, 0, m(PPMMost), m(100)},
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	Order(got, now)
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("place %d: %s, want %s", i, got[i].ID, want[i].ID)
		}
	}
}

// PPMMost is the highest EPSS, in parts per million.
const PPMMost = 1_000_000

func someWork(t *rapid.T) []Work {
	measure := rapid.Custom(func(t *rapid.T) Measure {
		if rapid.Bool().Draw(t, "known") {
			return m(rapid.IntRange(0, 3).Draw(t, "value"))
		}
		return Measure{}
	})
	work := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Work {
		return Work{rapid.StringMatching("[a-f]{1,2}").Draw(t, "id"), rapid.IntRange(0, 4).Draw(t, "rank"),
			rapid.SampledFrom([]int64{0, now - 2, now - 1, now, now + 1, now + 2}).Draw(t, "due"), measure.Draw(t, "epss"), measure.Draw(t, "cvss")}
	}), 0, 12, func(w Work) string { return w.ID }).Draw(t, "work")
	return work
}

// Whatever the scores: overdue before not overdue, then the stricter class.
// Scores permute only inside that, and the order does not hang on the input's.
func TestNothingOutranksWhatIsOverdue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		work := someWork(t)
		shuffled := rapid.Permutation(work).Draw(t, "shuffled")
		rescored := slices.Clone(work)
		for i := range rescored {
			rescored[i].EPSS, rescored[i].CVSS = m(rapid.IntRange(0, 9).Draw(t, "epss")), Measure{}
		}
		Order(work, now)
		Order(shuffled, now)
		Order(rescored, now)
		if !slices.Equal(work, shuffled) {
			t.Fatalf("the order depends on the order: %v %v", work, shuffled)
		}
		for i, w := range work {
			if w.Overdue(now) != rescored[i].Overdue(now) || w.Rank != rescored[i].Rank {
				t.Fatalf("scores moved work out of its class: %v %v", work, rescored)
			}
			if i == 0 {
				continue
			}
			before := work[i-1]
			if w.Overdue(now) && !before.Overdue(now) {
				t.Fatalf("%v stands before overdue %v", before, w)
			}
			if w.Overdue(now) == before.Overdue(now) && w.Rank > before.Rank {
				t.Fatalf("%v stands before stricter %v", before, w)
			}
		}
	})
}

// No flood of fresh, strict work keeps a mild thing waiting for ever: one that
// is put off day after day comes first on its due day.
func TestMildWorkDoesNotStarve(t *testing.T) {
	mild := Work{ID: "mild", Rank: 1, Due: now + 60*day, EPSS: m(0), CVSS: m(0)}
	for d := int64(0); ; d++ {
		queue := []Work{mild}
		for i := range 50 {
			queue = append(queue, Work{ID: string(rune('A' + i)), Rank: 4, Due: now + (d+3)*day})
		}
		Order(queue, now+d*day)
		if queue[0] == mild {
			if d != 60 {
				t.Errorf("first on day %d", d)
			}
			return
		}
		if d > 60 {
			t.Fatal("it starves")
		}
	}
}
