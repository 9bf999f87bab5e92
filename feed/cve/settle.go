package cve

import (
	"cmp"
	"slices"
	"strings"
)

// Facts is what several books say together about one CVE.
type Facts struct {
	CVE          string   `json:"cve"`
	Known        bool     `json:"known"`    // a book has a record of it
	Rejected     bool     `json:"rejected"` // the CVE program has withdrawn the id, so there are no facts
	Withdrawn    int64    `json:"withdrawn"`
	Exploitation Answer   `json:"exploitation"`
	Automatable  Answer   `json:"automatable"`
	Impact       Answer   `json:"technical_impact"`
	Score        *Score   `json:"score"`    // by which it is ordered; null: unscored
	Scores       []Score  `json:"scores"`   // everybody's, as authority goes; never averaged
	Statuses     []Status `json:"statuses"` // what each document calls the state it is in
}

// Point is the answer on a point.
func (f Facts) Point(p Point) Answer {
	return map[Point]Answer{Exploitation: f.Exploitation, Automatable: f.Automatable, Impact: f.Impact}[p]
}

// Status is a document's own word for the state of a CVE.
type Status struct {
	Feed string `json:"feed"`
	Word string `json:"word"`
}

// Answer is the value of one point.
type Answer struct {
	Value  string  `json:"value"`  // "": unknown
	Claims []Claim `json:"claims"` // who says what: the deciding one first
}

// Disputed reports whether the speakers differ.
func (a Answer) Disputed() bool {
	return slices.ContainsFunc(a.Claims, func(c Claim) bool { return c.Value != a.Value })
}

// Settle says what books say together about a CVE. Of one speaker's claims on a
// point in one book the newest counts; where several books have a word of the
// speaker, the newest of each, and of these the stricter one, whatever its time: a
// word becomes milder when every book that has one says so, and a book that says
// nothing has none. What somebody passes on counts as long as the speaker has not
// said something newer in a CVE record. Of different values the stricter one
// counts. Of the scores that of the CNA stands first, then an ADP's, then NIST's;
// of one speaker's, that of the highest version; what stands in the CVE record
// before what is passed on.
//
// A record that the CVE program rejects has no facts, whatever others pass on.
// NIST alone cannot reject one: its word on it is then left out.
func Settle(cve string, books ...Book) Facts {
	f := Facts{CVE: cve, Scores: []Score{}, Statuses: []Status{}}
	var claims [][]Claim
	for _, b := range books {
		r, ok := b.Of(cve)
		if !ok {
			continue
		}
		f.Known = true
		f.Statuses = append(f.Statuses, Status{b.Snapshot.Name, r.Status})
		switch {
		case r.Rejected && b.Snapshot.Kind == Kind:
			f.Rejected, f.Withdrawn = true, max(f.Withdrawn, r.Withdrawn)
		case !r.Rejected:
			claims, f.Scores = append(claims, r.Claims), append(f.Scores, r.Scores...)
		}
	}
	if f.Rejected {
		claims, f.Scores = nil, []Score{}
	}
	f.Exploitation, f.Automatable, f.Impact = settle(Exploitation, claims), settle(Automatable, claims), settle(Impact, claims)
	slices.SortFunc(f.Scores, compareScores)
	if f.Scores = slices.Compact(f.Scores); len(f.Scores) > 0 {
		f.Score = &f.Scores[0]
	}
	return f
}

func compareScores(a, b Score) int {
	return cmp.Or(authority[a.Role]-authority[b.Role], strings.Compare(a.Via, b.Via), -strings.Compare(a.Version, b.Version),
		cmp.Compare(b.At, a.At), cmp.Compare(b.Tenths, a.Tenths), strings.Compare(a.Source, b.Source), strings.Compare(a.Vector, b.Vector))
}

// speaker is who says something, itself or by another's mouth.
type speaker struct{ source, via string }

// settle answers one point from the claims of each book.
func settle(p Point, books [][]Claim) Answer {
	counts, last := map[speaker]Claim{}, map[speaker]int64{}
	for _, claims := range books {
		for key, c := range newest(p, claims) {
			last[key] = max(last[key], c.At)
			if old, ok := counts[key]; !ok || severity(c) > severity(old) || severity(c) == severity(old) && c.At > old.At {
				counts[key] = c
			}
		}
	}
	a := Answer{Claims: []Claim{}}
	for key, c := range counts {
		direct := speaker{key.source, ""}
		if _, ok := counts[direct]; key.via == "" || !ok || c.At > last[direct] {
			a.Claims = append(a.Claims, c)
		}
	}
	slices.SortFunc(a.Claims, func(a, b Claim) int {
		return cmp.Or(severity(b)-severity(a), authority[a.Role]-authority[b.Role], strings.Compare(a.Via, b.Via), strings.Compare(a.Source, b.Source))
	})
	if len(a.Claims) > 0 {
		a.Value = a.Claims[0].Value
	}
	return a
}

// newest is each speaker's newest word on a point in one book; of one time the
// stricter one.
func newest(p Point, claims []Claim) map[speaker]Claim {
	out := map[speaker]Claim{}
	for _, c := range claims {
		key := speaker{c.Source, c.Via}
		if old, ok := out[key]; c.Point == p && (!ok || c.At > old.At || c.At == old.At && severity(c) > severity(old)) {
			out[key] = c
		}
	}
	return out
}

// severity is the place of a claim's value, the mildest first.
func severity(c Claim) int { return slices.Index(values[c.Point], c.Value) }
