package conduct_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/raced"
)

var seeds = flag.Int("drift.seeds", 8, "fleets that the drift tests simulate of each kind")

// model is how a simulated model behaves in the world of simulate.
type model struct {
	verified, contradicted float64   // of claims
	silent                 float64   // of cases
	keep, hold             float64   // of cases that are not silent; the rest it escalates
	yes                    float64   // of what people answer to what it brings before them
	last                   string    // a component that it always puts last
	late                   string    // an OS whose plans wait twice as long
	only                   string    // an OS to which verified and contradicted are limited
	releases               []float64 // shares of the first ones, of those it is asked about
	slow                   bool      // the drift comes over 400 decisions, not at once
}

// usual is a model that does not change.
var usual = model{verified: 0.96, contradicted: 0.015, silent: 0.04, keep: 0.75, hold: 0.18, yes: 0.3, releases: []float64{0.5, 0.3}}

// like is the usual model but for some of it.
func like(change func(*model)) model {
	m := usual
	change(&m)
	return m
}

// drifts are the kinds of drift, each with the decisions within which it is found and
// the measures of which one has to find it.
var drifts = []struct {
	name     string
	m        model
	within   int
	measures []string
}{
	{"it hallucinates: 20 % of its claims are contradicted", like(func(m *model) { m.verified, m.contradicted = 0.77, 0.2 }), 120, []string{conduct.MeasureContradicted, conduct.MeasureVerified}},
	{"it hallucinates a little: 9 % of its claims", like(func(m *model) { m.verified, m.contradicted = 0.88, 0.09 }), 200, []string{conduct.MeasureContradicted, conduct.MeasureVerified}},
	{"it hallucinates about one release, that of three in ten plans: 40 % of its claims", like(func(m *model) { m.verified, m.contradicted, m.only = 0.57, 0.4, "ubuntu:24.04" }), 280, []string{conduct.MeasureContradicted, conduct.MeasureVerified}},
	{"nothing supports 20 % of its claims", like(func(m *model) { m.verified = 0.77 }), 150, []string{conduct.MeasureVerified}},
	{"it abstains always", like(func(m *model) { m.silent = 1 }), 60, []string{conduct.MeasureAbstained}},
	{"it holds always", like(func(m *model) { m.keep, m.hold = 0, 1 }), 130, []string{conduct.MeasureActions, conduct.MeasureDisagreed}},
	{"its actions drift over 400 decisions: keep 75 to 30 %", like(func(m *model) { m.keep, m.hold, m.slow = 0.3, 0.6, true }), 520, []string{conduct.MeasureActions, conduct.MeasureDisagreed}},
	{"it puts one component last, the kernel", like(func(m *model) { m.last = "linux" }), 200, []string{conduct.MeasureFirst}},
	{"plans of one release wait twice as long", like(func(m *model) { m.late = "debian:12" }), 360, []string{conduct.MeasureTime}},
	{"six of ten plans are of a release that two of ten were of", like(func(m *model) { m.releases = []float64{0.3, 0.1} }), 200, []string{conduct.MeasureOSes, conduct.MeasureVendors}},
	{"people let pass 85 % of what it brings before them", like(func(m *model) { m.yes = 0.85 }), 260, []string{conduct.MeasureOverridden}},
}

var (
	releases   = []string{"debian:12", "ubuntu:24.04", "rhel:9"}
	components = []string{"linux", "openssl", "glibc", "curl", "nginx", "postgresql", "python3", "systemd"}
	classOf    = []string{"3DF", "14D", "60D"}
	hours      = map[string]float64{"3DF": 14, "14D": 36, "60D": 60} // median from made until effective
)

// weighed draws an index with these weights, which sum to 1.
func weighed(r *rand.Rand, w ...float64) int {
	x := r.Float64()
	for i, p := range w {
		if x -= p; x < 0 {
			return i
		}
	}
	return len(w)
}

// world draws cases, some thirty plans a day, each with what will have become of it.
type world struct {
	r  *rand.Rand
	at int64
}

func (w *world) next(m model, say conduct.Say) conduct.Case {
	r := w.r
	w.at += int64(r.ExpFloat64() * 2880)
	c := conduct.Case{Exchange: canon.SumFile(fmt.Append(nil, w.at, r.Uint64())), At: w.at, Made: w.at, Say: say, Outcome: advice.Answered, Action: advice.Keep,
		Rules: []string{"allow", "quorum", "hold", "deny"}[weighed(r, 0.6, 0.3, 0.07)], Class: classOf[weighed(r, 0.2, 0.5)]}
	os := releases[weighed(r, m.releases...)]
	vendor := os[:strings.Index(os, ":")]
	w.items(&c, os, vendor)
	took := hours[c.Class] * 3600 * math.Exp(0.5*r.NormFloat64())
	if os == m.late {
		took *= 2
	}
	c.Effective = c.Made + int64(took)
	if r.Float64() < m.silent {
		c.Abstained = true
		return c
	}
	w.claims(&c, m)
	c.Action = advice.Actions[weighed(r, m.keep, m.hold)]
	w.order(&c, m)
	if c.Action != advice.Keep && (say == conduct.Hold || c.Rules == "quorum") && r.Float64() < 0.8 {
		if c.People = conduct.No; r.Float64() < m.yes {
			c.People = conduct.Yes
		}
	}
	return c
}

func (w *world) items(c *conduct.Case, os, vendor string) {
	names := slices.Clone(components)
	w.r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:1+w.r.IntN(4)] {
		by := vendor
		if name == "nginx" {
			by = "nginx.org"
		}
		c.Items = append(c.Items, conduct.Item{OS: os, Vendor: by, Component: name})
	}
}

// claims are two to six about each item. They vary from case to case: some are twice
// as bad as usual, some good.
func (w *world) claims(c *conduct.Case, m model) {
	mood := []float64{0, 1, 2}[w.r.IntN(3)]
	total := map[advice.Verdict]int{}
	for i := range c.Items {
		verified, contradicted := m.verified, m.contradicted
		if m.only != "" && c.Items[i].OS != m.only {
			verified, contradicted = usual.verified, usual.contradicted
		}
		n := map[advice.Verdict]int{}
		for range 2 + w.r.IntN(5) {
			n[[]advice.Verdict{advice.Contradicted, advice.Unsupported, advice.Verified}[weighed(w.r, mood*contradicted, mood*(1-verified-contradicted))]]++
		}
		c.Items[i].Claims = list(n)
		for v, k := range n {
			total[v] += k
		}
	}
	c.Claims = list(total)
}

func list(n map[advice.Verdict]int) []advice.Counted {
	out := []advice.Counted{}
	for _, v := range advice.Verdicts {
		if n[v] > 0 {
			out = append(out, advice.Counted{Verdict: v, Claims: n[v]})
		}
	}
	return out
}

func (w *world) order(c *conduct.Case, m model) {
	for _, i := range c.Items {
		c.Order = append(c.Order, i.Component)
	}
	if at := slices.Index(c.Order, "linux"); at > 0 && w.r.Float64() < 0.5 {
		c.Order[0], c.Order[at] = c.Order[at], c.Order[0]
	}
	if at := slices.Index(c.Order, m.last); at >= 0 {
		c.Order = append(slices.Delete(c.Order, at, at+1), m.last)
	}
}

// simulate runs one fleet: the usual model, 200 decisions in shadow and 200 with all
// its say, then m. It gives the decision, counted from the change, at which Watch
// alarms first, looked at after each step of them, and those alarms; -1 when it does
// not within most.
func simulate(seed uint64, m model, most, step int) (int, []conduct.Alarm) {
	const promoted, change = 200, 400
	w := world{r: rand.New(rand.NewPCG(seed, 5))}
	cases := []conduct.Case{}
	for n := range change + most {
		say, is := conduct.Hold, usual
		if n < promoted {
			say = conduct.Shadow
		}
		if n >= change {
			is = m
			if part := float64(n-change) / 400; m.slow && part < 1 {
				is.keep, is.hold = usual.keep+part*(m.keep-usual.keep), usual.hold+part*(m.hold-usual.hold)
			}
		}
		cases = append(cases, w.next(is, say))
		if n < promoted || n < change && n%10 > 0 || n%step > 0 {
			continue
		}
		base, recent := slices.Clone(cases[:conduct.Default.Base]), slices.Clone(cases[max(0, len(cases)-conduct.Default.Window):])
		for _, list := range [][]conduct.Case{base, recent} {
			for i := range list {
				if list[i].Effective > w.at {
					list[i].Effective = 0 // nobody knows it yet
				}
			}
		}
		if alarms := conduct.Watch(base, recent, conduct.Default); len(alarms) > 0 {
			return n + 1 - change, alarms
		}
	}
	return -1, nil
}

// TestDriftIsFound: every kind of drift, in every fleet, within the stated number of
// decisions, by a measure that is meant for it, and not before it began. The numbers
// are those of docs/ADVICE.md.
func TestDriftIsFound(t *testing.T) {
	raced.Leave(t, "make test-real")
	doc, err := os.ReadFile("../../docs/ADVICE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range drifts {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(string(doc), fmt.Sprintf("\n| %s | %d |", d.name, d.within)) {
				t.Errorf("docs/ADVICE.md does not say that it is found within %d decisions", d.within)
			}
			found := []int{}
			for seed := range uint64(*seeds) {
				n, alarms := simulate(seed, d.m, d.within, 5)
				if n < 1 {
					t.Errorf("seed %d: found after %d decisions, %d are stated: %+v", seed, n, d.within, alarms)
				} else if !slices.ContainsFunc(alarms, func(a conduct.Alarm) bool { return slices.Contains(d.measures, a.Measure) }) {
					t.Errorf("seed %d: found by %+v", seed, alarms)
				}
				found = append(found, n)
			}
			slices.Sort(found)
			t.Logf("| %s | %d | %d | %d |", d.name, d.within, found[len(found)/2], found[len(found)-1])
		})
	}
}

// TestWhatDoesNotChangeDoesNotAlarm: the usual model, over fleets.
func TestWhatDoesNotChangeDoesNotAlarm(t *testing.T) {
	raced.Leave(t, "make test-real")
	const decisions = 1600
	alarmed := 0
	for seed := range uint64(*seeds) {
		if n, alarms := simulate(1000+seed, usual, decisions-200, 10); n != -1 {
			alarmed++
			t.Logf("seed %d, decision %d: %+v", seed, n, alarms)
		}
	}
	t.Logf("%d fleets of %d alarmed within %d decisions after the promotion, looked at after each tenth", alarmed, *seeds, decisions)
	if alarmed > *seeds/100 {
		t.Errorf("%d fleets of %d alarmed", alarmed, *seeds)
	}
}
