package depot

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/nvd"
)

// anyRecord draws what two speakers say of one CVE, themselves or by NVD's mouth.
func anyRecord(t *rapid.T, who string) cve.Record {
	r := cve.Record{CVE: "CVE-2026-1000", Modified: 1, Rejected: rapid.IntRange(0, 9).Draw(t, who+" rejected") == 0, Claims: []cve.Claim{}, Scores: []cve.Score{}}
	speaker, at := rapid.SampledFrom([]string{cve.CISA, "cna"}), rapid.Int64Range(1, 6)
	for range rapid.IntRange(0, 5).Draw(t, who+" claims") {
		x := cve.Claim{CVE: r.CVE, Point: rapid.SampledFrom(cve.Points).Draw(t, "point"), Source: speaker.Draw(t, "by"), Role: cve.ADP, At: at.Draw(t, "at")}
		x.Value = rapid.SampledFrom(map[cve.Point][]string{cve.Exploitation: {"none", "poc", "active"}, cve.Automatable: {"no", "yes"}, cve.Impact: {"partial", "total"}}[x.Point]).Draw(t, "value")
		x.Via = rapid.SampledFrom([]string{"", "", nvd.Name}).Draw(t, "via")
		r.Claims = append(r.Claims, x)
	}
	for range rapid.IntRange(0, 2).Draw(t, who+" scores") {
		r.Scores = append(r.Scores, cve.Score{Source: speaker.Draw(t, "by"), Role: cve.ADP, Version: "3.1", Tenths: rapid.SampledFrom([]int{10, 50, 80, 95}).Draw(t, "tenths"), At: at.Draw(t, "at")})
	}
	r.Raw = canon.SumFile(canon.MustEncode(r))
	return r
}

// TestNothingFallsAlone: whatever a record says after another one, beside any other
// feeds, no speaker's word becomes milder and no score falls by two levels; the same
// record once more changes nothing.
func TestNothingFallsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]string{cve.Kind, cve.Kind, nvd.Kind})
		var others []cve.Book
		for i := range rapid.IntRange(0, 2).Draw(t, "others") {
			others = append(others, cve.Book{Snapshot: advisory.Snapshot{Kind: kind.Draw(t, "kind")}, Records: []cve.Record{anyRecord(t, fmt.Sprint(i))}})
		}
		c := Case{Now: t0, Content: Content{CVE: &cve.Book{Snapshot: advisory.Snapshot{Kind: kind.Draw(t, "own kind")}}}}
		var counts *cve.Record
		if rapid.Bool().Draw(t, "known") {
			was := anyRecord(t, "was")
			counts = &was
		}
		is := anyRecord(t, "is")
		before := c.together(is.CVE, counts, others)
		for range 2 {
			if h := c.milder(&is, counts, others); len(h.Reasons) > 0 {
				counts = h.instead(&is, counts).Record
			} else {
				counts = &is
			}
			after := c.together(is.CVE, counts, others)
			if before.Known && !before.Rejected && after.Rejected {
				t.Fatalf("rejected: %+v after %+v", is, before)
			}
			if before.Rejected {
				return
			}
			for _, p := range cve.Points {
				for _, by := range speakers(before.Point(p)) {
					if less(p, wordOf(after.Point(p), by), wordOf(before.Point(p), by)) {
						t.Fatalf("%s of %s: %+v after %+v", p, by, after, before)
					}
				}
			}
			if sinks(before.Score, after.Score) {
				t.Fatalf("%+v after %+v", after, before)
			}
		}
	})
}

// TestWhatNVDTakesBackCounts: NVD alone rejects no id, so what it says once it no
// longer does is judged point by point; what fell in it takes nothing else away.
func TestWhatNVDTakesBackCounts(t *testing.T) {
	score := func(tenths int) []cve.Score {
		return []cve.Score{{Source: "cna", Role: cve.CNA, Version: "3.1", Tenths: tenths, At: 1}}
	}
	was := cve.Record{CVE: "CVE-2026-1000", Rejected: true, Raw: canon.SumFile([]byte("was")), Claims: []cve.Claim{}, Scores: score(10)}
	is := cve.Record{CVE: was.CVE, Raw: canon.SumFile([]byte("is")), Scores: score(10),
		Claims: []cve.Claim{{CVE: was.CVE, Point: cve.Exploitation, Value: "active", Source: cve.CISA, Role: cve.ADP, Via: nvd.Name, At: 1}}}
	others := []cve.Book{{Snapshot: advisory.Snapshot{Kind: cve.Kind}, Records: []cve.Record{{CVE: was.CVE, Claims: []cve.Claim{}, Scores: score(98)}}}}
	c := Case{Now: t0, Content: Content{CVE: &cve.Book{Snapshot: advisory.Snapshot{Kind: nvd.Kind}}}}
	others[0].Records[0].Scores[0].At = 0
	h := c.milder(&is, &was, others).instead(&is, &was)
	if got := c.together(was.CVE, h.Record, others); len(h.Reasons) != 1 || got.Exploitation.Value != "active" || got.Score.Tenths != 98 {
		t.Errorf("%+v held for %+v", got, h.Reasons)
	}
}
