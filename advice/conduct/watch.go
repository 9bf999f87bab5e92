package conduct

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/canon"
)

// Alarm is one measure beyond its limit. Value and Limit are parts per million.
type Alarm struct {
	Measure string     `json:"measure"`
	Segment Segment    `json:"segment"`
	Value   int        `json:"value"`
	Limit   int        `json:"limit"`
	Cases   int        `json:"cases"` // newest cases that the value is of
	Text    canon.Note `json:"text"`  // one sentence
}

// The measures.
const (
	MeasureVerified     = "verified"      // the rate of verified claims falls
	MeasureContradicted = "contradicted"  // the rate of contradicted claims, hallucinations, rises
	MeasureAbstained    = "abstained"     // the rate of cases without an answer of use rises
	MeasureDisagreed    = "disagreed"     // the rate of cases in which rules and model differ rises
	MeasureMisjudged    = "misjudged"     // calibration: the rate of plans whose end is another than it would have had people fear rises
	MeasureOverridden   = "overridden"    // people let pass what it would have them stop
	MeasureActions      = "actions"       // keep, hold, escalate, silence: another mixture
	MeasureVerdicts     = "verdicts"      // of claims: another mixture
	MeasureOSes         = "inputs_os"     // it is asked about another mixture of releases
	MeasureVendors      = "inputs_vendor" // likewise of vendors
	MeasureClasses      = "inputs_class"  // likewise of deadline classes
	MeasureTime         = "time"          // one segment waits longer, or shorter, for patches than the others of its class
	MeasureFirst        = "first"         // a component is first in no order any more
)

// Measures are all of them, in the order of alarms.
var Measures = []string{MeasureVerified, MeasureContradicted, MeasureAbstained, MeasureDisagreed, MeasureMisjudged, MeasureOverridden, MeasureActions,
	MeasureVerdicts, MeasureOSes, MeasureVendors, MeasureClasses, MeasureTime, MeasureFirst}

// watch holds the newest cases to the first ones.
type watch struct {
	l         Limits
	base, now []Case
	latest    int64 // when the newest case was judged
	alarms    []Alarm
}

// Watch holds the newest l.Window answered cases of recent to the first l.Base of
// base, those of the model's first time in shadow. Nothing that it finds says that
// the model is wrong: it is not what it was when people gave it its say.
func Watch(base, recent []Case, l Limits) []Alarm {
	w := watch{l: l, base: answeredOf(base), now: answeredOf(recent), alarms: []Alarm{}}
	w.base = w.base[:min(len(w.base), l.Base)]
	w.now = w.now[max(0, len(w.now)-l.Window):]
	for _, c := range w.now {
		w.latest = max(w.latest, c.At)
	}
	before, now := segments(w.base), segments(w.now)
	for s, list := range now {
		w.rates(s, before[s], list)
		w.actions(s, before[s], list)
		w.first(s, before[s], list)
		w.times(s)
	}
	w.overridden()
	w.mixtures()
	slices.SortFunc(w.alarms, func(a, b Alarm) int {
		return cmp.Or(cmp.Compare(slices.Index(Measures, a.Measure), slices.Index(Measures, b.Measure)), compareSegments(a.Segment, b.Segment), cmp.Compare(a.Text, b.Text))
	})
	return w.alarms
}

// answeredOf are the cases that the model answered, the first first.
func answeredOf(cases []Case) []Case {
	out := slices.DeleteFunc(slices.Clone(cases), func(c Case) bool { return !c.answered() })
	slices.SortFunc(out, func(a, b Case) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Exchange, b.Exchange), cmp.Compare(a.Plan, b.Plan))
	})
	return out
}

func (w *watch) alarm(measure string, s Segment, value float64, limit, cases int, format string, args ...any) {
	about := ""
	if s != All {
		about = fmt.Sprintf(" (%s %s)", s.By, cmp.Or(s.Name, "unknown"))
	}
	w.alarms = append(w.alarms, Alarm{measure, s, ppm(value), limit, cases, canon.NoteOf(fmt.Sprintf(format, args...) + about + ".")})
}

func ppm(x float64) int { return int(math.Round(x * Million)) }

// sigmas is how many standard errors are no chance.
func (w *watch) sigmas() float64 { return float64(w.l.Sigmas) / 1000 }

// rates looks at the rates of claims and of cases in a segment.
func (w *watch) rates(s Segment, before, now []part) {
	claims := func(of func(n, v, x int) int) func(part) counted {
		return func(p part) counted {
			n, v, x := p.count()
			return counted{float64(of(n, v, x)), float64(n)}
		}
	}
	cases := func(is func(Case) bool) func(part) counted {
		return func(p part) counted { return counted{float64(ones(is(*p.Case))), 1} }
	}
	ends := func(p part) counted {
		known, badly := p.ended()
		return counted{float64(ones(known && badly != p.restrains())), float64(ones(known))}
	}
	for _, m := range []struct {
		measure      string
		least, limit int
		of           func(part) counted
		what         string
	}{
		{MeasureVerified, w.l.Claims, w.l.VerifiedFall, claims(func(n, v, _ int) int { return n - v }), "claims that are not verified"},
		{MeasureContradicted, w.l.Claims, w.l.ContradictedRise, claims(func(_, _, x int) int { return x }), "contradicted claims"},
		{MeasureAbstained, w.l.Cases, w.l.AbstainedRise, cases(Case.silent), "answers without use"},
		{MeasureDisagreed, w.l.Cases, w.l.DisagreedRise, cases(Case.disagrees), "plans on which model and rules differ"},
		{MeasureMisjudged, w.l.Cases, w.l.MisjudgedRise, ends, "plans that went well where it would have people look, or badly where not"},
	} {
		b, n := each(before, m.of), each(now, m.of)
		k0, n0 := sum(b)
		k1, n1 := sum(n)
		if n0 < float64(m.least) || n1 < float64(m.least) {
			continue
		}
		rise, sigma := apart(b, n)
		if ppm(rise) >= m.limit && rise >= w.sigmas()*sigma {
			w.alarm(m.measure, s, rise, m.limit, len(now), "the rate of %s rose from %.1f %% to %.1f %%, %.1f standard errors", m.what, 100*k0/n0, 100*k1/n1, rise/sigma)
		}
	}
}

func each(list []part, of func(part) counted) []counted {
	out := []counted{}
	for _, p := range list {
		out = append(out, of(p))
	}
	return out
}

// overridden looks at what people answered. In shadow nobody is asked, so there is
// no base: the rate itself has a limit.
func (w *watch) overridden() {
	asked, yes := 0, 0
	for _, c := range w.now {
		asked += ones(c.People != "")
		yes += ones(c.People == Yes)
	}
	if asked >= w.l.Answers && rate(yes, asked) >= w.l.Overridden {
		w.alarm(MeasureOverridden, All, float64(yes)/float64(asked), w.l.Overridden, asked, "people let pass %d of %d plans that it brought before them", yes, asked)
	}
}

// actions looks at the mixture of what it would do.
func (w *watch) actions(s Segment, before, now []part) {
	if len(before) < w.l.Cases || len(now) < w.l.Cases {
		return
	}
	var b, n shares
	for _, p := range before {
		b.add([]string{p.does()})
	}
	for _, p := range now {
		n.add([]string{p.does()})
	}
	p, q := bins(b, n, 0)
	value := js(p, q)
	if chance := byChance(len(p), b.cases, n.cases, w.sigmas()) / 8 / math.Ln2; ppm(value) >= w.l.JS && value >= chance {
		w.alarm(MeasureActions, s, value, w.l.JS, len(now), "it keeps, holds, escalates and is silent in another mixture: %.3f bits, by chance %.3f at most", value, chance)
	}
}

func (c Case) does() string {
	if c.silent() {
		return "silent"
	}
	return c.Action
}

// mixtures looks at what the model is asked about, and what became of its claims.
// Components come in bursts, a kernel month and a browser week, so their mixture is
// not looked at.
func (w *watch) mixtures() {
	if len(w.base) < w.l.Cases || len(w.now) < w.l.Cases {
		return
	}
	for _, m := range []struct {
		measure, what string
		of            func(Case) []string
	}{
		{MeasureVerdicts, "its claims have other verdicts", verdicts},
		{MeasureOSes, "it is asked about other releases", func(c Case) []string { return names(c, func(i Item) string { return i.OS }) }},
		{MeasureVendors, "it is asked about other vendors", func(c Case) []string { return names(c, func(i Item) string { return i.Vendor }) }},
		{MeasureClasses, "it is asked about other deadline classes", func(c Case) []string { return []string{c.Class} }},
	} {
		var b, n shares
		for _, c := range w.base {
			b.add(m.of(c))
		}
		for _, c := range w.now {
			n.add(m.of(c))
		}
		if b.cases == 0 || n.cases == 0 {
			continue
		}
		p, q := bins(b, n, float64(w.l.Bin)/Million)
		value, chance := psi(p, q), byChance(len(p), b.cases, n.cases, w.sigmas())
		if ppm(value) >= w.l.PSI && value >= chance {
			w.alarm(m.measure, All, value, w.l.PSI, int(n.cases), "%s: a stability index of %.3f, by chance %.3f at most", m.what, value, chance)
		}
	}
}

// names are those of a case's items, each once.
func names(c Case, of func(Item) string) []string {
	out := []string{}
	for _, i := range c.Items {
		if n := of(i); !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// verdicts are those of a case's claims, each as often as it was given.
func verdicts(c Case) []string {
	out := []string{}
	for _, n := range c.Claims {
		out = append(out, slices.Repeat([]string{string(n.Verdict)}, max(0, min(n.Claims, advice.MaxClaims)))...)
	}
	return out
}

// first finds a component that was first in orders before, and is first in none of
// the last ones that have it.
func (w *watch) first(s Segment, before, now []part) {
	if s.By != ByComponent {
		return
	}
	k, n := 0, 0
	for _, p := range before {
		if at := p.placeOf(s); at >= 0 {
			k, n = k+ones(at == 0), n+1
		}
	}
	run := 0
	for _, p := range now {
		switch at := p.placeOf(s); {
		case at == 0:
			run = 0
		case at > 0:
			run++
		}
	}
	if run >= w.l.Orders && never(k, n, run) < tail(w.sigmas()) {
		w.alarm(MeasureFirst, s, 0, 0, run, "it is first in none of the last %d orders that have it, before in %d of %d", run, k, n)
	}
}
