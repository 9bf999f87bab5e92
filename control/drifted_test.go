package control_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/store"
)

// decided writes n cases of the model into the record, as the control plane keeps
// them: so many per cent of their claims are contradicted, the others verified.
func (w *town) decided(r *rand.Rand, from, n int, say conduct.Say, contradicted int) int {
	w.t.Helper()
	type kept struct { // as control.observed
		Case    conduct.Case `json:"case"`
		Nth     int          `json:"nth"`
		Watch   int          `json:"watch"`
		Foreign bool         `json:"foreign"`
	}
	b := store.Batch{Stream: "model/" + string(simulated.Model), Expect: store.Any}
	for i := from + 1; i <= from+n; i++ {
		bad, all := 0, 4+r.IntN(8)
		for range all {
			if r.IntN(100) < contradicted {
				bad++
			}
		}
		claims := []advice.Counted{{Verdict: advice.Verified, Claims: all - bad}}
		if bad > 0 {
			claims = append(claims, advice.Counted{Verdict: advice.Contradicted, Claims: bad})
		}
		plan := canon.SumFile(fmt.Append(nil, "a plan of the past ", i))
		c := conduct.Case{Exchange: plan, Plan: plan, Model: simulated.Model, At: int64(1000 * i), Say: say, Outcome: advice.Answered, Claims: claims, Action: advice.Keep, Rules: "allow",
			Order: []string{}, Items: []conduct.Item{{OS: "debian-12", Vendor: "debian-security", Component: hello, Claims: claims}}, Made: int64(1000 * i), Effective: int64(1000*i + 600)}
		b.Docs = append(b.Docs, store.Doc{Kind: "case", ID: string(plan), Body: canon.MustEncode(kept{c, i, 1, false})})
	}
	_, err := w.store.Commit(w.t.Context(), b)
	w.must(err)
	return from + n
}

// TestAHallucinatingModelIsDemotedInTime: under the limits that stand in the program,
// a model that was watched 200 times and then had its say 200 times begins to make up
// a fifth of its claims. The control plane takes one step, no more, within the
// decisions that docs/ADVICE.md states.
func TestAHallucinatingModelIsDemotedInTime(t *testing.T) {
	t.Parallel()
	const within, step = 120, 10
	doc, err := os.ReadFile("../docs/ADVICE.md")
	if err != nil || !strings.Contains(string(doc), fmt.Sprintf("| it hallucinates: 20 %% of its claims are contradicted | %d |", within)) {
		t.Errorf("docs/ADVICE.md does not say that it is found within %d decisions: %v", within, err)
	}
	w, r := newTown(t, controltest.Options{Hosts: 1}), rand.New(rand.NewPCG(7, 5))
	w.advise, w.limits = advicetest.Simulated(advice.Keep), "{}"
	w.open()
	n := w.decided(r, 0, 200, conduct.Shadow, 2)
	n = w.decided(r, n, 200, conduct.Hold, 2)
	w.restart()
	w.look()
	if m := w.asked(); m.Limits != conduct.Default || m.Say != conduct.Hold || len(m.Alarms) != 0 || m.Base[0].Cases != 200 || m.Recent[0].Cases != 200 {
		t.Fatalf("before it changes: %+v", m)
	}
	changed := n
	for len(w.asked().Alarms) == 0 && w.asked().Say == conduct.Hold && n-changed < within {
		n = w.decided(r, n, step, conduct.Hold, 20)
		w.restart()
	}
	w.until("it is demoted", func() bool { return w.asked().Say != conduct.Hold })
	t.Logf("demoted after %d decisions", n-changed)
	for range 2 { // it is not looked at again for the same cases
		w.look()
		w.restart()
	}
	w.until("people are told", func() bool {
		return strings.Contains(strings.Join(w.control.Trouble(), "\n"), "was demoted to show")
	})
	d, m := w.demotions(), w.asked()
	if m.Say != conduct.Show || m.By != conduct.ByWatch || m.Watch != 1 || len(d) != 1 || d[0].From != conduct.Hold || d[0].To != conduct.Show || len(d[0].Cases) != 200 || d[0].Limits != conduct.Default.Digest() {
		t.Errorf("%+v\n%+v", m, d)
	}
	if len(d) == 0 || !slices.ContainsFunc(d[0].Alarms, func(a conduct.Alarm) bool { return a.Measure == conduct.MeasureContradicted }) {
		t.Errorf("%+v", d)
	}
}

// TestADemotionMovesNothingThatMustBePatched: plans before and after a model that
// would hold everything loses its say, against a run in which nobody is asked: each is
// there, with the same class, deadline class and days until it is due.
func TestADemotionMovesNothingThatMustBePatched(t *testing.T) {
	t.Parallel()
	run := func(advised bool) (seen []string, effects []string) {
		w, r := newTown(t, controltest.Options{Hosts: 2}), rand.New(rand.NewPCG(7, 5))
		w.known, w.limits = mild, `{"seen":0}`
		if advised {
			w.terms.Advice, w.advise = time.Hour, advicetest.Simulated(advice.Hold)
		}
		w.open()
		if advised {
			w.decided(r, w.decided(r, 0, 200, conduct.Shadow, 2), 200, conduct.Hold, 2)
		}
		w.restart()
		defer w.end()
		w.grant(3600)
		known := []canon.Digest{}
		for i := range 2 {
			w.enrol(i, i, hello)
			known = append(known, w.unlike(known...))
			p := w.plan(known[i])
			if advised {
				w.advised(p.Digest)
			}
			w.until("it is known how it goes on", func() bool {
				p = w.plan(p.Digest)
				return p.State == control.Review || p.State == control.Running
			})
			if advised {
				effects = append(effects, w.advised(p.Digest).Effect)
			}
			if len(p.Urgency) != 1 || p.Urgency[0].Due == 0 {
				t.Errorf("nothing says that it must be patched: %+v", p)
				return seen, effects
			}
			days := (p.Urgency[0].Due - p.Created + 43200) / 86400
			seen = append(seen, fmt.Sprint(i, p.Packages, p.Class, p.Verdict[0].Outcome, p.Urgency[0].Class, days))
			if advised && i == 0 {
				w.decided(r, 401, 120, conduct.Hold, 20)
				w.restart()
				w.until("it is demoted", func() bool { return w.asked().Say == conduct.Show })
			}
		}
		return seen, effects
	}
	without, _ := run(false)
	with, effects := run(true)
	if !slices.Equal(without, with) || len(with) != 2 {
		t.Errorf("the twin: %q, with the model: %q", without, with)
	}
	if !slices.Equal(effects, []string{control.EffectHeld, control.EffectShown}) {
		t.Errorf("%q: it was not demoted between the two", effects)
	}
}
