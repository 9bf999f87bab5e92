package control_test

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/store"
)

// asked is the one that is asked.
func (w *town) asked() control.ModelView {
	w.t.Helper()
	all := get[[]control.ModelView](w, "models")
	if len(all) != 1 || !all[0].Asked {
		w.t.Fatalf("%+v", all)
	}
	return all[0]
}

// promotion is one step on from where the model is, as it is written now.
func (w *town) promotion(change func(*conduct.Promotion)) conduct.Promotion {
	w.t.Helper()
	m, now := w.asked(), w.now().Unix()
	p := conduct.Promotion{Type: conduct.TypePromotion, Nonce: strings.Repeat("ab", 32), Author: w.World.House.People[2].ID, Created: now, Expires: now + 3600,
		Model: m.Digest, Registration: m.Registration.Digest(), From: m.Say, Limits: m.Limits.Digest(), Note: "it did well"}
	p.To, _ = m.Say.Above()
	if change != nil {
		change(&p)
	}
	return p
}

// promote has people sign a promotion, and hands it over.
func (w *town) promote(p conduct.Promotion, people ...int) error {
	w.t.Helper()
	s := control.SignedPromotion{Promotion: p, Approvals: []approval.Approval{}}
	for _, n := range people {
		s.Approvals = append(s.Approvals, w.Person(n, p.Statement()))
	}
	_, err := call[struct{}](w, "POST", "promotions", s)
	return err
}

func (w *town) sheet(text string) error {
	w.t.Helper()
	return w.control.Sheet(w.t.Context(), simulated.Model, []byte(text))
}

// TestAModelBeginsInShadow: what it proposes counts for nothing until two people
// promoted it, step by step, over its data sheet, and its figures allow it.
func TestAModelBeginsInShadow(t *testing.T) {
	t.Parallel()
	w := newTown(t, controltest.Options{Hosts: 3})
	w.has, w.terms.Advice, w.advise = conduct.Shadow, time.Hour, advicetest.Simulated(advice.Hold)
	w.limits = `{"base":10,"window":10,"cases":1,"claims":1,"orders":10,"plans":5,"answers":10,"seen":1,"promote_cases":1}`
	w.start()
	w.grant(0)
	if m := w.asked(); m.Say != conduct.Shadow || m.Registration.Prompt != advice.Prompt() || !strings.Contains(m.Missing, "0 answered cases in shadow; 1 are wanted") {
		t.Fatalf("%+v", m)
	}
	w.must(w.sheet("trained on nothing: it is simulated"))
	w.refusedAs("too few cases", w.promote(w.promotion(nil), 0, 1), "PW-MODEL-UNPROVEN")
	w.enrol(0, 0, hello)
	first := w.unlike()
	w.work(first, control.Finished)
	if v := w.advised(first); v.Effect != control.EffectShadow || v.Until != 0 || v.Exchange.Proposal.Action != advice.Hold || !strings.Contains(strings.Join(v.Lines(), "\n"), "proposal: hold; the model is in shadow: nothing of it counts") {
		t.Errorf("%+v", v)
	}
	w.must(w.promote(w.promotion(nil), 0, 1))
	w.enrol(1, 1, hello)
	second := w.unlike(first)
	w.work(second, control.Finished)
	if v := w.advised(second); v.Effect != control.EffectShown || v.Until != 0 {
		t.Errorf("it may not hold: %+v", v)
	}
	w.must(w.promote(w.promotion(nil), 0, 1))
	w.enrol(2, 2, hello)
	third := w.unlike(first, second)
	w.until("the third is held", func() bool { return w.plan(third).State == control.Review })
	w.restart()
	if v, m := w.advised(third), w.asked(); v.Effect != control.EffectHeld || m.Say != conduct.Hold || len(m.Used) != 2 || m.Missing == "" {
		t.Errorf("%+v\n%+v", v, m)
	}
	w.say(w.plan(third), approval.Approve, 0)
	if m := w.asked(); m.Recent[0].Asked != 0 {
		t.Errorf("one of two yes counts as people's: %+v", m.Recent[0])
	}
	w.say(w.plan(third), approval.Approve, 1)
	w.work(third, control.Finished)
	w.figures()
	w.must(w.control.Demote(t.Context(), simulated.Model, "we do not like it"))
	if m := w.asked(); m.Say != conduct.Shadow || m.By != conduct.ByPeople || len(m.Base)+len(m.Recent) > 2 {
		t.Errorf("%+v", m)
	}
	w.until("all of it in the log", func() bool {
		kinds := map[string]int{}
		for _, e := range get[[]control.Logged](w, "ledger?logged=1") {
			if e.Index >= 0 && e.Stream == "model/"+string(simulated.Model) {
				kinds[e.Kind]++
			}
		}
		return kinds["registration"] == 2 && kinds["promote"] == 4 && kinds["promotion"] == 2 && kinds["demotion"] == 1
	})
	w.recorded(w.advised(third))
}

// figures wants what the model did in its three cases: its claims, how long plans took,
// and that people let pass what it held.
func (w *town) figures() {
	w.t.Helper()
	var all conduct.Figures
	took := 0
	for _, f := range append(w.asked().Base, w.asked().Recent...) {
		if f.By == conduct.ByOS && f.Name != "debian-12" {
			w.t.Errorf("release %q is no host's", f.Name)
		}
		if f.Segment != conduct.All {
			continue
		}
		all.Cases, all.Claims, all.Asked, all.Overridden = all.Cases+f.Cases, all.Claims+f.Claims, all.Asked+f.Asked, max(all.Overridden, f.Overridden)
		for _, p := range f.Patch {
			took += p.Plans
		}
	}
	if all.Cases != 3 || all.Claims < 3 || all.Asked != 1 || all.Overridden != conduct.Million || took != 3 {
		w.t.Errorf("%+v, %d plans took their time", all, took)
	}
}

// unlike is the plan that is none of these.
func (w *town) unlike(known ...canon.Digest) (d canon.Digest) {
	w.t.Helper()
	w.until("another plan", func() bool {
		for _, p := range w.plans() {
			if !slices.Contains(known, p.Digest) {
				d = p.Digest
				return true
			}
		}
		return false
	})
	return d
}

// TestPromotionsThatDoNotFit are refused, and change nothing.
func TestPromotionsThatDoNotFit(t *testing.T) {
	t.Parallel()
	w := newTown(t, controltest.Options{Hosts: 1})
	w.has, w.advise = conduct.Shadow, advicetest.Simulated(advice.Hold)
	w.start()
	w.refusedAs("no data sheet", w.promote(w.promotion(nil), 0, 1), "PW-MODEL-PROMOTION")
	w.refusedAs("an empty sheet", w.sheet(""), "PW-MODEL-SHEET")
	_, err := call[[]byte](w, "GET", "models/"+string(simulated.Model)+"/sheet", nil)
	w.refusedAs("a sheet that is not there", err, "PW-MODEL-SHEET")
	w.must(w.sheet(strings.Repeat("x", conduct.MaxSheet)))
	w.refusedAs("a huge sheet", w.control.Sheet(t.Context(), simulated.Model, make([]byte, conduct.MaxSheet+1)), "PW-MODEL-SHEET")
	fits := w.promotion(nil)
	for what, change := range map[string]func(*conduct.Promotion){
		"two steps":            func(p *conduct.Promotion) { p.To = conduct.Hold },
		"from another level":   func(p *conduct.Promotion) { p.From, p.To = conduct.Show, conduct.Hold },
		"another registration": func(p *conduct.Promotion) { p.Registration = canon.SumFile([]byte("x")) },
		"other limits":         func(p *conduct.Promotion) { p.Limits = canon.SumFile([]byte("x")) },
		"ended":                func(p *conduct.Promotion) { p.Created, p.Expires = p.Created-3600, p.Created-1 },
		"older than its say":   func(p *conduct.Promotion) { p.Created -= 3600 },
		"of another day":       func(p *conduct.Promotion) { p.Created, p.Expires = p.Created+3600, p.Expires+3600 },
		"too long a life":      func(p *conduct.Promotion) { p.Expires += conduct.MaxPromotion },
		"no author":            func(p *conduct.Promotion) { p.Author = "" },
		"no nonce":             func(p *conduct.Promotion) { p.Nonce = "" },
		"another type":         func(p *conduct.Promotion) { p.Type = conduct.TypeDemotion },
	} {
		w.refusedAs(what, w.promote(w.promotion(change), 0, 1), "PW-MODEL-PROMOTION")
	}
	w.refusedAs("another model", w.promote(w.promotion(func(p *conduct.Promotion) { p.Model = canon.SumFile([]byte("x")) }), 0, 1), "PW-MODEL-UNKNOWN")
	for what, people := range map[string][]int{"nobody": nil, "one person": {0}, "one person twice": {0, 0}, "its author": {0, 2}, "its author with another": {1, 2}} {
		if err := w.promote(fits, people...); err == nil {
			t.Errorf("%s may promote", what)
		}
	}
	other := fits
	other.Note = "changed"
	if _, err := call[struct{}](w, "POST", "promotions", control.SignedPromotion{Promotion: other, Approvals: []approval.Approval{w.Person(0, fits.Statement()), w.Person(1, fits.Statement())}}); err == nil {
		t.Error("signatures under another promotion are taken")
	}
	if m := w.asked(); m.Say != conduct.Shadow {
		t.Fatalf("%+v", m)
	}
	w.skew.Store(3601)
	w.refusedAs("a promotion after its end", w.promote(fits, 0, 1), "PW-MODEL-PROMOTION")
	w.skew.Store(0)
	w.must(w.promote(fits, 0, 1))
	w.must(w.control.Demote(t.Context(), simulated.Model, "again"))
	w.refusedAs("the same once more", w.promote(fits, 0, 1), "PW-MODEL-PROMOTION")
	if err := w.control.Demote(t.Context(), simulated.Model, "again"); err == nil {
		t.Error("what has no say loses some")
	}
}

// TestAnotherPromptBeginsInShadow: a program that asks otherwise is another model to
// people; one that asks the same keeps what it has.
func TestAnotherPromptBeginsInShadow(t *testing.T) {
	t.Parallel()
	w := newTown(t, controltest.Options{Hosts: 1})
	w.advise = advicetest.Simulated(advice.Hold)
	w.start()
	w.restart()
	if m := w.asked(); m.Say != conduct.Hold || !strings.Contains(m.Loose.Text(), "0 cases of a first time in shadow; 30 are wanted") {
		t.Fatalf("%+v", m)
	}
	w.until("people are told that it is not watched", func() bool { return strings.Contains(strings.Join(w.control.Trouble(), "\n"), "is hardly watched") })
	w.end()
	w.prompt = canon.SumFile([]byte("another"))
	w.start()
	if m := w.asked(); m.Say != conduct.Shadow || m.Watch != 2 || m.Registration.Prompt != w.prompt {
		t.Fatalf("%+v", m)
	}
}

// TestAnotherModelSaysNothing: what answers under another digest than the one that
// is registered counts for nothing.
func TestAnotherModelSaysNothing(t *testing.T) {
	t.Parallel()
	w, swapped := newTown(t, controltest.Options{Hosts: 1}), canon.SumFile([]byte("swapped"))
	w.terms.Advice = time.Hour
	w.advise = func(ctx context.Context, request []byte) advice.Heard {
		h := advicetest.Simulated(advice.Hold)(ctx, request)
		h.Model = swapped
		return h
	}
	w.start()
	old := w.asked().Model // another that had its say once, and is not asked any more
	old.Digest, old.Registration.Model = swapped, swapped
	_, err := w.store.Commit(t.Context(), store.Batch{Stream: "model/" + string(swapped), Expect: store.Any, Docs: []store.Doc{{Kind: "model", ID: string(swapped), Body: canon.MustEncode(old)}}})
	w.must(err)
	w.restart()
	w.grant(0)
	w.enrol(0, 0, hello)
	p := w.unlike()
	w.work(p, control.Finished)
	if v := w.advised(p); v.Effect != control.EffectShadow {
		t.Errorf("%+v", v)
	}
}

// TestAPlanOfAnotherKindIsAbstained: of what the model was not watched on, nothing
// that it says counts.
func TestAPlanOfAnotherKindIsAbstained(t *testing.T) {
	t.Parallel()
	w := newTown(t, controltest.Options{Hosts: 2})
	w.terms.Advice, w.advise, w.limits = time.Hour, advicetest.Simulated(advice.Hold), `{"promote_cases":0,"seen":1}`
	w.start()
	w.grant(0)
	w.enrol(0, 0, hello)
	p := w.unlike()
	w.work(p, control.Finished)
	if v := w.advised(p); v.Effect != control.EffectShadow || !strings.Contains(v.Text.Text(), "The model was watched on 0 plans") {
		t.Errorf("%+v", v)
	}
	if m := w.asked(); len(m.Recent) > 0 && m.Recent[0].Cases > 0 || len(m.Base) > 0 && m.Base[0].Cases > 0 {
		t.Errorf("it says something of the model: %+v", m)
	}
	w.enrol(1, 1, hello)
	second := w.unlike(p)
	w.until("it is held, as the kind is known now", func() bool { return w.advised(second).Effect == control.EffectHeld })
}

// TestGibberishIsSilence: what a model answers that is no answer counts as its silence,
// what a provider did not deliver does not.
func TestGibberishIsSilence(t *testing.T) {
	t.Parallel()
	w, n := newTown(t, controltest.Options{Hosts: 2}), new(atomic.Int64)
	w.advise = func(context.Context, []byte) advice.Heard {
		if n.Add(1) == 1 {
			return advice.Heard{Model: advicetest.Model, Outcome: advice.Failed, Why: "the line is dead"}
		}
		return advice.Heard{Model: advicetest.Model, Outcome: advice.Answered, Answer: []byte("gibberish")}
	}
	w.start()
	w.grant(0)
	w.oneByOne(w.oneByOne(nil, 0, 0), 1, 1)
	if m := w.asked(); len(m.Recent) == 0 || m.Recent[0].Cases != 1 || m.Recent[0].Abstained != conduct.Million {
		t.Errorf("%+v", m.Recent)
	}
}

// TestAStoppedPlanIsMisjudged: what the model would have let be, and went wrong, counts
// in its calibration.
func TestAStoppedPlanIsMisjudged(t *testing.T) {
	t.Parallel()
	w := newTown(t, controltest.Options{Hosts: 1})
	w.terms.Advice, w.advise = time.Hour, advicetest.Simulated(advice.Keep)
	w.start()
	w.grant(0)
	w.enrol(0, 0, hello)
	w.hosts[0].Fail = true
	p := w.unlike()
	w.work(p, control.Stopped)
	if m := w.asked(); len(m.Recent) == 0 || m.Recent[0].Ended != 1 || m.Recent[0].Misjudged != conduct.Million || len(m.Recent[0].Patch) != 0 {
		t.Errorf("%+v", m.Recent)
	}
}

// drifting answers as it should a few times, and then says nothing of use.
func drifting(good int64) func(context.Context, []byte) advice.Heard {
	n := new(atomic.Int64)
	return func(ctx context.Context, request []byte) advice.Heard {
		h := advicetest.Simulated(advice.Keep)(ctx, request)
		if n.Add(1) > good {
			d, _ := advice.ReadRequest(request)
			h.Answer = advicetest.Write(advice.Answer{Dossier: d.Digest(), Abstain: true, Proposal: advice.Proposal{Action: advice.Keep}})
		}
		return h
	}
}

// few are limits with which few cases are enough.
const few = `{"base":3,"window":3,"cases":3,"claims":1,"orders":3,"plans":1,"answers":3,"sigmas":1000,"seen":0,"promote_cases":3}`

// TestADriftedModelIsDemoted: within the cases that the limits name it loses one
// step of its say by itself, seen in log, record and status; plans go on.
func TestADriftedModelIsDemoted(t *testing.T) {
	t.Parallel()
	w := newTown(t, controltest.Options{Hosts: 6})
	w.has, w.terms.Advice, w.limits, w.advise = conduct.Shadow, time.Hour, few, drifting(3)
	w.start()
	w.grant(0)
	w.must(w.sheet("a sheet"))
	known := w.oneByOne(nil, 0, 2)
	w.must(w.promote(w.promotion(nil), 0, 1))
	known = w.oneByOne(known, 3, 4)
	if m := w.asked(); m.Say != conduct.Show || len(m.Alarms) != 0 {
		t.Fatalf("after two of three: %+v", m)
	}
	w.oneByOne(known, 5, 5)
	w.until("it is demoted", func() bool { return w.asked().Say == conduct.Shadow })
	m := w.asked()
	if m.By != conduct.ByWatch || m.Watch != 2 || len(m.Base)+len(m.Recent) > 2 {
		t.Errorf("%+v", m)
	}
	w.until("people are told", func() bool { return strings.Contains(strings.Join(w.control.Trouble(), "\n"), "was demoted to shadow") })
	w.restart()
	w.until("people are told after a restart", func() bool { return strings.Contains(strings.Join(w.control.Trouble(), "\n"), "was demoted to shadow") })
	demotions := w.demotions()
	if len(demotions) != 1 || len(demotions[0].Cases) != 3 || len(demotions[0].Alarms) == 0 || demotions[0].Limits != m.Limits.Digest() {
		t.Errorf("%+v", demotions)
	}
	for _, p := range w.plans() {
		if p.State != control.Finished {
			t.Errorf("%+v", p)
		}
	}
}

// oneByOne enrols hosts so that each has a plan of its own, and lets them run.
func (w *town) oneByOne(known []canon.Digest, first, last int) []canon.Digest {
	w.t.Helper()
	for i := first; i <= last; i++ {
		w.enrol(i, i, hello)
		p := w.unlike(known...)
		w.work(p, control.Finished)
		w.advised(p)
		known = append(known, p)
	}
	return known
}

func (w *town) demotions() (out []conduct.Demotion) {
	w.t.Helper()
	for _, e := range get[[]control.Logged](w, "ledger?bodies=1") {
		if e.Kind == "demotion" {
			var d conduct.Demotion
			w.must(canon.Decode(e.Body, &d))
			out = append(out, d)
		}
	}
	return out
}

// halfway is a store that dies when a demotion is to be committed.
type halfway struct{ store.Store }

func (h halfway) Commit(ctx context.Context, b store.Batch) (int64, error) {
	for _, e := range b.Events {
		if e.Kind == "demotion" {
			return 0, errors.New("killed")
		}
	}
	return h.Store.Commit(ctx, b)
}

// TestADemotionOutlivesAnEnd: when the process ends between the case and the step
// back, the next start takes the step.
func TestADemotionOutlivesAnEnd(t *testing.T) {
	t.Parallel()
	w := newTown(t, controltest.Options{Hosts: 6})
	w.has, w.terms.Advice, w.limits, w.advise = conduct.Shadow, time.Hour, few, drifting(3)
	w.start()
	w.grant(0)
	w.must(w.sheet("a sheet"))
	known := w.oneByOne(nil, 0, 2)
	w.must(w.promote(w.promotion(nil), 0, 1))
	w.end()
	w.wrap = func(s store.Store) store.Store { return halfway{s} }
	w.start()
	w.oneByOne(known, 3, 5)
	if m := w.asked(); m.Say != conduct.Show || len(m.Alarms) == 0 {
		t.Fatalf("%+v", m)
	}
	w.wrap = nil
	w.restart()
	w.until("it is demoted", func() bool { return w.asked().Say == conduct.Shadow })
	if d := w.demotions(); len(d) != 1 || cmp.Or(d[0].From, "") != conduct.Show {
		t.Errorf("%+v", d)
	}
}

// TestLostBytesAreTold: a report that somebody removed, or changed, is a clear no; the
// plan itself is shown.
func TestLostBytesAreTold(t *testing.T) {
	t.Parallel()
	w := newTown(t, controltest.Options{Hosts: 1})
	w.terms.Advice, w.advise = time.Hour, advicetest.Simulated(advice.Hold)
	w.start()
	w.grant(0)
	w.enrol(0, 0, hello)
	p := w.unlike()
	report := string(w.advised(p).Exchange.Report)
	files, err := filepath.Glob(filepath.Join(w.Data(), "blobs", "*", report))
	if more, _ := filepath.Glob(filepath.Join(w.Data(), "blobs", report)); err == nil {
		files = append(files, more...)
	}
	if len(files) != 1 {
		t.Fatalf("%q %v", files, err)
	}
	w.must(os.WriteFile(files[0], []byte("{}"), 0o600))
	_, err = call[[]control.AdviceView](w, "GET", "plans/"+string(p)+"/advice", nil)
	w.refusedAs("a damaged report", err, "PW-CONTROL-BLOB")
	w.must(os.Remove(files[0]))
	_, err = call[[]control.AdviceView](w, "GET", "plans/"+string(p)+"/advice", nil)
	w.refusedAs("a missing report", err, "PW-CONTROL-BLOB")
	if w.plan(p).Digest != p {
		t.Error("the plan is not shown")
	}
}

// TestAModelThatLostOneStepIsWatchedOn: what fell from hold to show and is still not
// what it was falls again, held to the same first time.
func TestAModelThatLostOneStepIsWatchedOn(t *testing.T) {
	t.Parallel()
	w := newTown(t, controltest.Options{Hosts: 9})
	w.has, w.terms.Advice, w.limits, w.advise = conduct.Shadow, time.Hour, strings.Replace(few, `"promote_cases":3`, `"promote_cases":1`, 1), drifting(4)
	w.start()
	w.grant(0)
	w.must(w.sheet("a sheet"))
	known := w.oneByOne(nil, 0, 2)
	w.must(w.promote(w.promotion(nil), 0, 1))
	known = w.oneByOne(known, 3, 3)
	w.must(w.promote(w.promotion(nil), 0, 1))
	known = w.oneByOne(known, 4, 5)
	w.until("one step", func() bool { return w.asked().Say == conduct.Show })
	if m := w.asked(); m.Watch != 1 || m.Base[0].Cases != 3 || m.Recent[0].Cases != 0 || len(m.Alarms) != 0 {
		t.Fatalf("%+v", m)
	}
	w.skew.Add(1) // cases of the second in which it fell are not looked at again
	w.oneByOne(known, 6, 8)
	w.until("the second", func() bool { return w.asked().Say == conduct.Shadow })
	if d := w.demotions(); len(d) != 2 || d[0].To != conduct.Show || d[1].From != conduct.Show {
		t.Errorf("%+v", d)
	}
}
