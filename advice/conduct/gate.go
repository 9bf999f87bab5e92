package conduct

import (
	"cmp"
	"fmt"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// Known reports whether a plan is of a kind that the model was watched on: of each
// of its releases, vendors and of its deadline class the base has at least l.Seen
// cases. Where it is not, the note says why, and the model counts as abstaining.
// A new component alone is no reason: there are new ones every week.
func Known(base []Case, c Case, l Limits) (bool, canon.Note) {
	base = answeredOf(base)
	no := func(what, name string, n int) (bool, canon.Note) {
		return false, canon.NoteOf(fmt.Sprintf("The model was watched on %d plans of the %s %s; %d are wanted.", n, what, cmp.Or(name, "unknown"), l.Seen))
	}
	count := func(is func(*Case) bool) (n int) {
		for i := range base {
			n += ones(is(&base[i]))
		}
		return n
	}
	for _, i := range c.Items {
		if n := count(func(b *Case) bool { return b.in(Segment{ByOS, i.OS}) }); n < l.Seen {
			return no("release", i.OS, n)
		}
		if n := count(func(b *Case) bool { return b.in(Segment{ByVendor, i.Vendor}) }); n < l.Seen {
			return no("vendor", i.Vendor, n)
		}
	}
	if n := count(func(b *Case) bool { return b.Class == c.Class }); n < l.Seen {
		return no("deadline class", c.Class, n)
	}
	return true, ""
}

// Gate says whether people may promote a model to a level: enough cases in the level
// below, no alarm, and in every segment with enough claims a rate of verified ones
// that is high enough, none far below that of all. Out of shadow there have to be as
// many cases as the watch needs of a base. With PromoteCases 0 no number of
// cases or claims is asked for. The error is a refusal that names
// the first reason. That there is a data sheet, and who signs, is not asked here.
func Gate(cases []Case, alarms []Alarm, to Say, l Limits) error {
	no := func(format string, args ...any) error { return refusal.New("PW-MODEL-UNPROVEN", format, args...) }
	from := to.Below()
	if !to.Valid() || to == from {
		return no("nobody is promoted to %q", to)
	}
	if len(alarms) > 0 {
		return no("%d alarms stand; the first: %s", len(alarms), alarms[0].Text)
	}
	mine := []Case{}
	for _, c := range cases {
		if c.Say == from {
			mine = append(mine, c)
		}
	}
	all := Figures{}
	for _, f := range Measure(mine) { // all come first
		name := "all plans"
		if f.Segment == All {
			if all = f; f.Cases < l.trial(from) {
				return no("%d answered cases in %s; %d are wanted", f.Cases, from, l.trial(from))
			}
			if l.PromoteCases > 0 && f.Claims < l.Claims {
				return no("%d claims in %s; %d are wanted", f.Claims, from, l.Claims)
			}
		} else {
			name = fmt.Sprintf("%s %s", f.By, cmp.Or(f.Name, "unknown"))
		}
		switch {
		case f.Claims < l.Claims:
		case f.Verified < l.PromoteVerified:
			return no("%s: %s of %d claims are verified; %s are wanted", name, percent(f.Verified), f.Claims, percent(l.PromoteVerified))
		case f.Contradicted > l.PromoteContradicted:
			return no("%s: %s of %d claims are contradicted; %s may be", name, percent(f.Contradicted), f.Claims, percent(l.PromoteContradicted))
		case f.Verified < all.Verified-l.PromoteParity:
			return no("%s: %s of %d claims are verified, of all %s; %s below are too many", name, percent(f.Verified), f.Claims, percent(all.Verified), percent(all.Verified-f.Verified))
		}
	}
	return nil
}

// trial is how many cases a level wants before people may promote from it.
func (l Limits) trial(from Say) int {
	if from == Shadow && l.PromoteCases > 0 {
		return max(l.PromoteCases, l.Cases)
	}
	return l.PromoteCases
}

// Unwatched says so when a model that has some say has too short a first time behind it
// to be held to: then no rate, mixture or time of it can alarm. It is "" when it has not.
func Unwatched(base []Case, say Say, l Limits) canon.Note {
	if n := len(answeredOf(base)); say != Shadow && n < l.Cases {
		return canon.NoteOf(fmt.Sprintf("It has %s, and %d cases of a first time in shadow; %d are wanted to hold it to. Until people take its say and give it again, only their own answers to what it holds can alarm.", say, n, l.Cases))
	}
	return ""
}

func percent(ppm int) string { return fmt.Sprintf("%.2f %%", float64(ppm)/(Million/100)) }
