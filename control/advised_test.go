package control_test

import (
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
	"github.com/patchwrit/patchwrit/advisor"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/advicetwin"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/trust"
)

// counted counts how often an adviser is asked.
func counted(n *atomic.Int64, ask func(context.Context, []byte) advice.Heard) func(context.Context, []byte) advice.Heard {
	return func(ctx context.Context, request []byte) advice.Heard {
		n.Add(1)
		return ask(ctx, request)
	}
}

// advised waits until a plan has its advice.
func (w *town) advised(p canon.Digest) (v control.AdviceView) {
	w.t.Helper()
	w.until("advice", func() bool {
		got := get[[]control.AdviceView](w, "plans/"+string(p)+"/advice")
		if len(got) == 1 {
			v = got[0]
		}
		return len(got) == 1
	})
	return v
}

// TestAHoldAsksPeopleFirst: what the rules allow under a grant waits for people
// because of a verified claim; with their approval it runs, and an auditor is content.
func TestAHoldAsksPeopleFirst(t *testing.T) {
	t.Parallel()
	w, asked := newTown(t, controltest.Options{Hosts: 2}), new(atomic.Int64)
	w.terms.Advice, w.advise = time.Hour, counted(asked, advicetest.Simulated(advice.Escalate))
	w.start()
	w.grant(0)
	w.enrol(0, 1, hello)
	p := w.only(control.Review)
	v := w.advised(p.Digest)
	if v.Effect != control.EffectHeld || v.Rules != policy.Allow || v.Until != p.Until || p.Grant != "" || v.Exchange.Proposal.Action != advice.Escalate || p.Verdict[0].Outcome != policy.Allow {
		t.Fatalf("%+v\n%+v", v, p)
	}
	if got := get[[]control.Waiting](w, "reviews"); len(got) != 1 || !got[0].Advised || !got[0].First || got[0].Until != v.Until {
		t.Errorf("%+v", got)
	}
	if n := w.round(); n != 0 {
		t.Fatalf("%d hosts acted", n)
	}
	lines := strings.Join(v.Lines(), "\n")
	for _, want := range []string{"verified: ", "a model's words, not verified: Look at it.", "proposal: escalate; people are asked first", "a model's order of class routine"} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q is not in\n%s", want, lines)
		}
	}
	if why := get[[]control.Reason](w, "why?host="+string(w.hosts[0].Known.ID)); !slices.Equal(why[0].Advice, v.Lines()) || strings.Contains(why[0].Text, "simulated") {
		t.Errorf("%+v", why)
	}
	w.restart() // it is not asked again
	w.say(p, approval.Approve, 0, 1)
	w.work(p.Digest, control.Finished)
	w.audit(p.Digest)
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
	w.recorded(v)
	if f := get[control.Figures](w, "figures"); f.Asked != 1 || f.Held != 1 || f.First != 1 || f.With.Plans != 1 || f.With.Failed != 0 || f.Without.Plans != 0 {
		t.Errorf("%+v", f)
	}
}

// recorded wants the whole exchange kept, and its event in the log.
func (w *town) recorded(v control.AdviceView) {
	w.t.Helper()
	x, found := v.Exchange, 0
	for _, e := range get[[]control.Logged](w, "ledger?bodies=1") {
		if e.Kind == "advice" && e.Stream == "plan/"+string(x.Plan) {
			found++
			if e.Index < 0 || e.Subject != x.Entry().Subject || string(e.Body) != string(canon.MustEncode(x)) {
				w.t.Errorf("its event: %+v", e)
			}
		}
	}
	if found != 1 {
		w.t.Errorf("%d events of advice", found)
	}
	for part, name := range map[string]canon.Digest{"request": x.Request, "sent": x.Sent, "received": x.Received, "answer": x.Answer, "report": x.Report} {
		if name == "" {
			continue
		}
		if raw := w.bytes("plans/" + string(x.Plan) + "/advice/" + part); canon.SumFile(raw) != name {
			w.t.Errorf("%s is %q", part, raw)
		}
	}
}

// TestAHoldEndsByItself: without an answer the plan goes on as the rules said.
func TestAHoldEndsByItself(t *testing.T) {
	t.Parallel()
	w := newTown(t, controltest.Options{Hosts: 1})
	w.terms.Advice, w.terms.Review, w.advise = time.Hour, 2*time.Second, advicetest.Simulated(advice.Hold)
	w.start()
	grant := w.grant(0)
	w.enrol(0, 0, hello)
	p := w.only(control.Review)
	w.work(p.Digest, control.Finished)
	if done := w.plan(p.Digest); done.Grant != grant || len(done.Answers) != 0 || done.Verdict[0].At < p.Until {
		t.Errorf("%+v", done)
	}
	if v := w.advised(p.Digest); v.Effect != control.EffectHeld || v.Until != p.Until {
		t.Errorf("%+v", v)
	}
	w.audit(p.Digest)
}

// TestANoDuringAHold ends the plan.
func TestANoDuringAHold(t *testing.T) {
	t.Parallel()
	w := newTown(t, controltest.Options{Hosts: 1})
	w.terms.Advice, w.advise = time.Hour, advicetest.Simulated(advice.Hold)
	w.start()
	w.grant(0)
	w.enrol(0, 0, hello)
	p := w.only(control.Review)
	w.say(p, approval.Deny, 2)
	if s := w.plan(p.Digest).State; s != control.Denied {
		t.Errorf("the plan is %s", s)
	}
}

// TestNobodyWaitsForAdvice: while an adviser thinks, the plan runs to its end, and
// what it then says changes nothing. With a soak it comes in time.
func TestNobodyWaitsForAdvice(t *testing.T) {
	t.Parallel()
	w, said := newTown(t, controltest.Options{Hosts: 1}), make(chan struct{})
	w.advise = func(ctx context.Context, request []byte) advice.Heard {
		select {
		case <-said:
		case <-ctx.Done():
		}
		return advicetest.Simulated(advice.Hold)(ctx, request)
	}
	w.start()
	w.grant(0)
	w.enrol(0, 0, hello)
	w.until("a plan", func() bool { return len(w.plans()) == 1 })
	p := w.plans()[0]
	w.work(p.Digest, control.Finished)
	steps := w.steps(p.Digest)
	if strings.Contains(steps, "advice") {
		t.Errorf("the plan went through %s", steps)
	}
	close(said)
	if v := w.advised(p.Digest); v.Effect != control.EffectLate || w.plan(p.Digest).State != control.Finished {
		t.Errorf("%+v", v)
	}
	if f := get[control.Figures](w, "figures"); f.With.Plans != 0 || f.Without.Plans != 1 {
		t.Errorf("%+v", f)
	}
}

// TestAdviceAddsNoStep: what is committed for a plan that does not wait is the
// same, event for event, with an adviser and without one.
func TestAdviceAddsNoStep(t *testing.T) {
	t.Parallel()
	run := func(advise func(context.Context, []byte) advice.Heard) string {
		w := newTown(t, controltest.Options{Hosts: 1})
		w.advise = advise
		w.start()
		defer w.end()
		w.grant(0)
		w.enrol(0, 0, hello)
		w.until("a plan", func() bool { return len(w.plans()) == 1 })
		p := w.plans()[0]
		w.work(p.Digest, control.Finished)
		return w.steps(p.Digest)
	}
	wait := func(ctx context.Context, _ []byte) advice.Heard {
		<-ctx.Done()
		return advice.Heard{Outcome: advice.Failed, Why: "it never ends"}
	}
	if without, with := run(nil), run(wait); without != with || without == "" {
		t.Errorf("without: %s\nwith:    %s", without, with)
	}
}

// steps are the events of a plan, in order.
func (w *town) steps(p canon.Digest) string {
	w.t.Helper()
	out := []string{}
	for _, e := range get[[]control.Logged](w, "ledger") {
		if e.Stream == "plan/"+string(p) {
			out = append(out, e.Kind)
		}
	}
	return strings.Join(out, " ")
}

// TestAPlanWaitsWhenTheOperatorWants: until the adviser has answered, or the time
// is over, and no longer.
func TestAPlanWaitsWhenTheOperatorWants(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		wait    time.Duration
		answers bool
	}{{time.Hour, true}, {2 * time.Second, false}} {
		w, said := newTown(t, controltest.Options{Hosts: 1}), make(chan struct{})
		w.terms.Advice = x.wait
		w.advise = func(ctx context.Context, request []byte) advice.Heard {
			select {
			case <-said:
			case <-ctx.Done():
			}
			return advicetest.Simulated(advice.Keep)(ctx, request)
		}
		w.start()
		w.grant(0)
		w.enrol(0, 0, hello)
		p := w.only(control.Held)
		if p.Until != p.Created+int64(x.wait/time.Second) || len(w.writs()) != 0 {
			t.Errorf("%+v", p)
		}
		if x.answers {
			close(said)
		}
		w.work(p.Digest, control.Finished)
		w.end()
	}
}

// TestAdviceAfterTheFirstWrit changes nothing, though the plan still runs.
func TestAdviceAfterTheFirstWrit(t *testing.T) {
	t.Parallel()
	w, said := newTown(t, controltest.Options{Hosts: 2}), make(chan struct{})
	w.advise = func(ctx context.Context, request []byte) advice.Heard {
		select {
		case <-said:
		case <-ctx.Done():
		}
		return advicetest.Simulated(advice.Hold)(ctx, request)
	}
	w.start()
	grant := w.grant(0)
	w.enrol(0, 1, hello)
	w.ready(1)
	close(said)
	v := w.advised(w.plans()[0].Digest)
	if p := w.plan(v.Exchange.Plan); v.Effect != control.EffectLate || p.State != control.Running || p.Grant != grant {
		t.Errorf("%+v\n%+v", p, v)
	}
	w.work(v.Exchange.Plan, control.Finished)
}

func TestAdviceInTheSoakHolds(t *testing.T) {
	t.Parallel()
	w := newTown(t, controltest.Options{Hosts: 1})
	w.advise = advicetest.Simulated(advice.Hold)
	w.start()
	w.grant(3600)
	w.enrol(0, 0, hello)
	w.until("a plan", func() bool { return len(w.plans()) == 1 })
	v := w.advised(w.plans()[0].Digest)
	if p := w.plan(v.Exchange.Plan); p.State != control.Review || p.Grant != "" || v.Effect != control.EffectHeld || v.Until != p.Until {
		t.Errorf("%+v\n%+v", p, v)
	}
}

// TestAHoldEndsInTheWindow: half of what is left of the open window is for the work,
// though grant, plan and people have longer.
func TestAHoldEndsInTheWindow(t *testing.T) {
	t.Parallel()
	end := time.Now().Add(10 * time.Minute).Truncate(time.Minute)
	span := end.Add(-time.Hour).UTC().Format("1504") + "-" + end.UTC().Format("1504")
	w := newTown(t, controltest.Options{Hosts: 1, Labels: []trust.Label{{Key: "window", Value: span}}})
	w.advise = advicetest.Simulated(advice.Hold)
	began := w.now().Unix()
	w.start()
	w.grant(3600)
	w.enrol(0, 0, hello)
	w.until("a plan", func() bool { return len(w.plans()) == 1 })
	v := w.advised(w.plans()[0].Digest)
	half := func(from int64) int64 { return from + (end.Unix()-from)/2 }
	if v.Effect != control.EffectHeld || v.Until < half(began) || v.Until > half(w.now().Unix()) {
		t.Errorf("%s until %d, half of the window is over between %d and %d", v.Effect, v.Until, half(began), half(w.now().Unix()))
	}
}

// TestNoHoldWhereTheWindowIsNotKnown: what the rules saw of a plan is gone, so nobody
// knows until when it may run, and advice does not stop it.
func TestNoHoldWhereTheWindowIsNotKnown(t *testing.T) {
	t.Parallel()
	w, say := newTown(t, controltest.Options{Hosts: 1}), make(chan struct{})
	w.advise = func(ctx context.Context, request []byte) advice.Heard {
		<-say
		return advicetest.Simulated(advice.Hold)(ctx, request)
	}
	w.start()
	grant := w.grant(3600)
	w.enrol(0, 0, hello)
	w.until("a plan", func() bool { return len(w.plans()) == 1 && w.plans()[0].Grant != "" })
	w.must(os.Remove(filepath.Join(w.Data(), "blobs", string(w.plans()[0].Input))))
	close(say)
	v := w.advised(w.plans()[0].Digest)
	if p := w.plan(v.Exchange.Plan); v.Effect != control.EffectShown || v.Exchange.Proposal.Action != advice.Hold || p.State != control.Running || p.Grant != grant {
		t.Errorf("%s: %s\n%+v", v.Effect, v.Text.Text(), p)
	}
}

// TestNoAdviceIsAsIfNobodyWasAsked: whatever goes wrong is written down, and the
// plan does what it would have done.
func TestNoAdviceIsAsIfNobodyWasAsked(t *testing.T) {
	hold := advicetest.Simulated(advice.Hold)
	for name, x := range map[string]struct {
		heard  advice.Heard
		has    conduct.Say // what the model may say that proposes a hold; "": another answers
		effect string
	}{
		"refused":        {advice.Heard{Outcome: advice.Refused, Why: "it would not", Sent: []byte("s"), Received: []byte("no")}, "", control.EffectNone},
		"truncated":      {advice.Heard{Outcome: advice.Truncated, Why: "cut", Answer: []byte("{")}, "", control.EffectNone},
		"no answer":      {advice.Heard{Outcome: advice.Answered, Answer: []byte(`{"action":"approve"}`)}, "", control.EffectNone},
		"no say":         {advice.Heard{}, conduct.Shadow, control.EffectShadow},
		"no say to hold": {advice.Heard{}, conduct.Show, control.EffectShown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTown(t, controltest.Options{Hosts: 1})
			w.terms.Advice, w.has = time.Hour, x.has
			w.advise = func(ctx context.Context, request []byte) advice.Heard {
				if x.has != "" {
					return hold(ctx, request)
				}
				return x.heard
			}
			w.start()
			grant := w.grant(3600)
			w.enrol(0, 0, hello)
			p := w.only(control.Running)
			v := w.advised(p.Digest)
			if p.Grant != grant || v.Effect != x.effect {
				t.Errorf("%+v\n%+v", p, v)
			}
			w.until("its event in the log", func() bool {
				return slices.ContainsFunc(get[[]control.Logged](w, "ledger?logged=1"), func(e control.Logged) bool { return e.Kind == "advice" && e.Index >= 0 })
			})
			w.recorded(v)
		})
	}
}

// TestWhateverBreaksIsNoAdvice: no dossier, an adviser that breaks down, and one
// whose words cannot be written down end nothing; they are in the record.
func TestWhateverBreaksIsNoAdvice(t *testing.T) {
	broken := errors.New("the feed cannot be read")
	for name, x := range map[string]struct {
		lists   func(context.Context, time.Time, *advice.Material) error
		advise  func(context.Context, []byte) advice.Heard
		outcome advice.Outcome
		why     string
	}{
		"no dossier": {func(context.Context, time.Time, *advice.Material) error { return broken }, advicetest.Simulated(advice.Hold), advice.Off, "the dossier could not be made"},
		"a panic":    {nil, func(context.Context, []byte) advice.Heard { panic("gone") }, advice.Failed, "asking broke down, this is a bug: gone"},
		"no note": {nil, func(context.Context, []byte) advice.Heard {
			return advice.Heard{Outcome: advice.Refused, Why: "\x1b[2J"}
		}, advice.Failed, "judging broke down"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTown(t, controltest.Options{Hosts: 1})
			w.terms.Advice, w.lists, w.advise = time.Hour, x.lists, x.advise
			w.start()
			grant := w.grant(3600)
			w.enrol(0, 0, hello)
			p := w.only(control.Running)
			v := w.advised(p.Digest)
			if p.Grant != grant || v.Effect != control.EffectNone || v.Exchange.Outcome != x.outcome || !strings.HasPrefix(v.Exchange.Why.Text(), x.why) || (v.Exchange.Request == "") != (x.lists != nil) {
				t.Errorf("%+v\n%+v", p, v)
			}
		})
	}
}

// TestTheEndDoesNotWait: an adviser that does not come back holds up neither the
// end of the control plane nor, while its answer is not there, the loop.
func TestTheEndDoesNotWait(t *testing.T) {
	t.Parallel()
	w, never := newTown(t, controltest.Options{Hosts: 1}), make(chan struct{})
	defer close(never)
	asked := make(chan struct{}, 1)
	w.advise = func(context.Context, []byte) advice.Heard {
		asked <- struct{}{}
		<-never
		return advice.Heard{}
	}
	w.start()
	w.enrol(0, 0, hello)
	<-asked
	ended := make(chan struct{})
	go func() { defer close(ended); w.end() }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the control plane does not end")
	}
}

// deaf is a store that does not take what an adviser said.
type deaf struct{ store.Store }

func (d deaf) Commit(ctx context.Context, b store.Batch) (int64, error) {
	if slices.ContainsFunc(b.Events, func(e store.Event) bool { return e.Kind == "advice" }) {
		return 0, errKilled
	}
	return d.Store.Commit(ctx, b)
}

// TestWhatIsNotKeptIsNotAskedAgainAtOnce: each asking may cost money. After a
// while it is asked again; a report that is lost does not hide what is known.
func TestWhatIsNotKeptIsNotAskedAgainAtOnce(t *testing.T) {
	t.Parallel()
	w, asked := newTown(t, controltest.Options{Hosts: 1}), new(atomic.Int64)
	w.advise, w.wrap = counted(asked, advicetest.Simulated(advice.Keep)), func(s store.Store) store.Store { return deaf{s} }
	w.start()
	w.enrol(0, 0, hello)
	p := w.only(control.Review)
	w.until("trouble", func() bool { return strings.Contains(w.account(), "trouble advice") })
	time.Sleep(2500 * time.Millisecond) // more than two looks
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	w.skew.Add(11 * 60)
	w.until("another asking", func() bool { return asked.Load() == 2 })
	w.wrap = nil
	w.restart()
	report := w.advised(p.Digest).Exchange.Report
	w.must(os.Remove(filepath.Join(w.Data(), "blobs", string(report))))
	if why := get[[]control.Reason](w, "why?host="+string(w.hosts[0].Known.ID)); len(why) == 0 || len(why[0].Advice) != 1 || !strings.Contains(why[0].Advice[0], "cannot be read here") {
		t.Errorf("%+v", why)
	}
}

// seen is what a town did, as twins are compared.
func (w *town) seen() (out []advicetwin.Seen) {
	w.t.Helper()
	for _, p := range w.plans() {
		f, s := w.file(p), advicetwin.Seen{Work: strings.Join(p.Packages, " "), Class: p.Class, Outcome: p.Verdict[0].Outcome, Expires: 1 << 40, Approvals: len(p.Answers)}
		for _, b := range f.Branches {
			s.Artefacts += canon.SumFile(canon.MustEncode(b.Changes))
		}
		for _, a := range get[[]control.AdviceView](w, "plans/"+string(p.Digest)+"/advice") {
			if s.First = a.Exchange.Proposal.Action == advice.Escalate; a.Effect == control.EffectHeld {
				s.Outcome = policy.Quorum
			}
		}
		if s.Outcome == policy.Allow {
			s.Alone = 1
		} else if p.State == control.Running && len(p.Answers) == 0 {
			s.Outcome, s.Alone = policy.Allow, 0 // it runs, and nobody was asked
		} else if w.heldBack(p) {
			s.Alone = 2
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b advicetwin.Seen) int { return strings.Compare(a.Work, b.Work) })
	return out
}

func (w *town) heldBack(p control.Plan) bool {
	return slices.ContainsFunc(get[[]control.Waiting](w, "reviews"), func(x control.Waiting) bool { return x.Plan == p.Digest && x.Advised })
}

// TestTwinsOfTheLoop: the whole loop with advisers that say anything, against the
// loop without one: a plan that a grant covers, and one that people must approve.
func TestTwinsOfTheLoop(t *testing.T) {
	if testing.Short() {
		t.Skip("houses with three witnesses each: make test-real runs them; TestNoAnswerPermitsAnything has the same without them")
	}
	run := func(advise func(context.Context, []byte) advice.Heard) []advicetwin.Seen {
		w := newTown(t, controltest.Options{Hosts: 1})
		w.Allow(hello, "zlib")
		w.terms.Advice, w.advise = time.Hour, advise
		w.start()
		defer w.end()
		w.grant(3600)
		w.enrol(0, 0, hello, "zlib")
		w.until("two plans", func() bool { return len(w.plans()) == 2 })
		for _, p := range w.plans() {
			if advise != nil {
				w.advised(p.Digest)
			}
			w.until("its state", func() bool { s := w.plan(p.Digest).State; return s == control.Review || s == control.Running })
		}
		return w.seen()
	}
	clean, total := run(nil), advicetwin.Difference{}
	lies := func(seed int64) func(context.Context, []byte) advice.Heard {
		return advisor.Hostile{Model: dialect.Model{Type: dialect.TypeModel, Provider: dialect.Hostile, Name: "a simulated enemy", Seed: seed, Sampling: dialect.Plain}}.Ask
	}
	for _, advise := range []func(context.Context, []byte) advice.Heard{advicetest.Simulated(advice.Keep), advicetest.Simulated(advice.Hold), advicetest.Simulated(advice.Escalate),
		advicetest.Simulated("approve"), lies(1), lies(2), lies(3), lies(4)} {
		total.Add(advicetwin.Compare(clean, run(advise)))
	}
	if t.Log(total, "held:", total.Held); !total.Clean() || total.Held < 2 || total.Escalated < 2 {
		t.Errorf("%s, held: %d %v", total, total.Held, total.Why)
	}
}
