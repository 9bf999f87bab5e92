package conduct

import (
	"cmp"
	"slices"

	"github.com/patchwrit/patchwrit/advice"
)

// Million is one in parts per million, the unit of every rate here.
const Million = 1_000_000

// Figures are what a model did in one segment. Rates are parts per million.
type Figures struct {
	Segment
	Cases        int    `json:"cases"`        // answered, refused or truncated
	Claims       int    `json:"claims"`       // about the segment
	Verified     int    `json:"verified"`     // rate of claims
	Contradicted int    `json:"contradicted"` // rate of claims: the hallucination rate
	Abstained    int    `json:"abstained"`    // rate of cases: abstained, refused or truncated
	Restrained   int    `json:"restrained"`   // rate of cases: hold or escalate
	Disagreed    int    `json:"disagreed"`    // rate of cases: it would have people look and the rules would not, or the other way
	Ended        int    `json:"ended"`        // cases of which it is known how the plan ended
	Misjudged    int    `json:"misjudged"`    // rate of those: it would have people look and all went well, or the other way
	Asked        int    `json:"asked"`        // cases in which people answered what came before them through it
	Overridden   int    `json:"overridden"`   // rate of those: they said yes
	Orders       int    `json:"orders"`       // cases in which it gave an order with this component in it; all: any order
	First        int    `json:"first"`        // of those: the component stood first
	Patch        []Time `json:"patch"`        // by deadline class, ascending
}

// Time is how long plans of one deadline class took, from made until effective.
type Time struct {
	Class  string `json:"class"`
	Plans  int    `json:"plans"`
	Median int64  `json:"median"` // seconds
}

// Measure gives the figures of every segment: all first, then by os, vendor and
// component, each by name.
func Measure(cases []Case) []Figures {
	out := []Figures{}
	for s, list := range segments(cases) {
		out = append(out, figures(s, list))
	}
	slices.SortFunc(out, func(a, b Figures) int { return compareSegments(a.Segment, b.Segment) })
	return out
}

var bys = []string{ByAll, ByOS, ByVendor, ByComponent}

func compareSegments(a, b Segment) int {
	return cmp.Or(cmp.Compare(slices.Index(bys, a.By), slices.Index(bys, b.By)), cmp.Compare(a.Name, b.Name))
}

// part is a case as one segment sees it: with the claims about that segment.
type part struct {
	*Case
	claims []advice.Counted
}

// segments sorts cases into segments; a plan of several components is in several.
// Cases without an answer are left out.
func segments(cases []Case) map[Segment][]part {
	out := map[Segment][]part{All: nil}
	for n := range cases {
		c := &cases[n]
		if !c.answered() {
			continue
		}
		out[All] = append(out[All], part{c, c.Claims})
		mine := map[Segment][]advice.Counted{}
		for _, i := range c.Items {
			for _, s := range i.segments() {
				mine[s] = append(mine[s], i.Claims...)
			}
		}
		for s, claims := range mine {
			out[s] = append(out[s], part{c, claims})
		}
	}
	return out
}

func (i Item) segments() [3]Segment {
	return [3]Segment{{ByOS, i.OS}, {ByVendor, i.Vendor}, {ByComponent, i.Component}}
}

func (i Item) in(s Segment) bool {
	of := i.segments()
	return slices.Contains(of[:], s)
}

func figures(s Segment, list []part) Figures {
	f := Figures{Segment: s, Cases: len(list), Patch: []Time{}}
	var verified, contradicted, abstained, restrained, disagreed, misjudged, yes int
	times := map[string][]int64{}
	for _, p := range list {
		n, v, x := p.count()
		f.Claims, verified, contradicted = f.Claims+n, verified+v, contradicted+x
		abstained += ones(p.silent())
		restrained += ones(p.restrains())
		disagreed += ones(p.disagrees())
		known, badly := p.ended()
		f.Ended += ones(known)
		misjudged += ones(known && badly != p.restrains())
		f.Asked += ones(p.People != "")
		yes += ones(p.People == Yes)
		if at := p.placeOf(s); at >= 0 {
			f.Orders, f.First = f.Orders+1, f.First+ones(at == 0)
		}
		if p.Effective > 0 {
			times[p.Class] = append(times[p.Class], max(0, p.Effective-p.Made))
		}
	}
	f.Verified, f.Contradicted = rate(verified, f.Claims), rate(contradicted, f.Claims)
	f.Abstained, f.Restrained, f.Disagreed = rate(abstained, f.Cases), rate(restrained, f.Cases), rate(disagreed, f.Cases)
	f.Misjudged, f.Overridden = rate(misjudged, f.Ended), rate(yes, f.Asked)
	for class, list := range times {
		f.Patch = append(f.Patch, Time{class, len(list), median(list)})
	}
	slices.SortFunc(f.Patch, func(a, b Time) int { return cmp.Compare(a.Class, b.Class) })
	return f
}

// count gives claims, and how many of them were verified and contradicted.
func (p part) count() (n, verified, contradicted int) {
	for _, c := range p.claims {
		n += c.Claims
		switch c.Verdict {
		case advice.Verified:
			verified += c.Claims
		case advice.Contradicted:
			contradicted += c.Claims
		}
	}
	return n, verified, contradicted
}

// silent reports that the model said nothing of use: it abstained, refused, or
// could not end.
func (c Case) silent() bool { return c.Abstained || c.Outcome != advice.Answered }

// disagrees reports that model and rules differ on whether people should look.
// Where the rules only wait, for a window or a cooldown, they have not said.
func (c Case) disagrees() bool {
	return c.Rules != "hold" && c.restrains() != (c.Rules != "allow")
}

// placeOf is where a segment's component stands in the case's order; -1: nowhere.
func (c Case) placeOf(s Segment) int {
	switch {
	case s.By == ByComponent && len(c.Order) > 1:
		return slices.Index(c.Order, s.Name)
	case s.By == ByAll && len(c.Order) > 1:
		return 0
	}
	return -1
}

func ones(is bool) int {
	if is {
		return 1
	}
	return 0
}

// rate is n of all in parts per million; 0 of none.
func rate(n, all int) int {
	if all == 0 {
		return 0
	}
	return int(int64(n) * Million / int64(all))
}

// median is the middle value, of an even number the lower one; 0 of none. It sorts
// the list.
func median(list []int64) int64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[(len(list)-1)/2]
}
