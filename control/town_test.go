package control_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/store/sqlite"
	"github.com/patchwrit/patchwrit/tlog/writer"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/witness/ask"
)

// town is a house with a running control plane, which can be killed.
type town struct {
	*controltest.House
	t     testing.TB
	terms control.Terms
	feeds func(context.Context, time.Time) ([]advisory.Set, error)
	solve func(context.Context, solve.Options) (solve.Solved, error) // nil: the house's

	quarantine func(context.Context) (control.Quarantine, error)
	advise     func(context.Context, []byte) advice.Heard
	lists      func(context.Context, time.Time, *advice.Material) error
	has        conduct.Say  // what the model may say that advise stands for; "": all
	prompt     canon.Digest // of the questions; "": this version's
	limits     string       // of the model's watch, as the rules give them; "": no trial, and every plan is known
	logged     io.Writer    // where the control plane logs; nil: nowhere

	skew    atomic.Int64 // seconds by which the control plane's clock is ahead
	control *control.Control
	store   store.Store
	log     *writer.Log
	wrap    func(store.Store) store.Store
	known   func(context.Context, time.Time, func(string) bool) (control.Knowledge, error)
	stop    func()
	woken   sync.Map
	hosts   []*controltest.Host
}

func newTown(t testing.TB, o controltest.Options) *town {
	w := &town{House: controltest.New(t, o), t: t, terms: control.Terms{Plan: time.Hour, Every: time.Second}}
	if o.Hosts > 1 { // however slow the machine: what they report together is planned for together
		w.terms.Settle = time.Second
	}
	t.Cleanup(func() { w.end() })
	return w
}

func (w *town) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) now() time.Time { return time.Now().Add(time.Duration(w.skew.Load()) * time.Second) }

// open opens store, log and control on what is on the disk.
func (w *town) open() {
	w.t.Helper()
	ctx := context.Background()
	s, err := sqlite.Open(ctx, w.Data())
	w.must(err)
	w.store = s
	if w.wrap != nil {
		w.store = w.wrap(s)
	}
	signer, err := note.NewSigner(w.World.House.Log.SKey)
	w.must(err)
	w.log, err = writer.Open(ctx, writer.Config{Dir: filepath.Join(w.Data(), "log"), Signer: signer, Policy: w.Root().Witnesses})
	w.must(err)
	w.admitted(ctx)
	w.control, err = control.Open(ctx, w.config())
	w.must(err)
	w.stop = func() {
		done, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		w.log.Close(done)
		s.Close()
	}
}

func (w *town) config() control.Config {
	solver := w.Solve
	if w.solve != nil {
		solver = w.solve
	}
	logger := slog.New(slog.DiscardHandler)
	if w.logged != nil {
		logger = slog.New(slog.NewTextHandler(w.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	c := control.Config{Advise: w.advise, Lists: w.lists, Store: w.store, Log: w.log, Dir: w.Data(), Trust: w.Trust(), Pinned: w.World.House.Pinned,
		Rules: w.rules, Solve: solver, Sources: func(trust.Root) ([]solve.Source, error) { return nil, nil }, Lease: ask.Leases, Known: w.known, Feeds: w.feeds, Quarantine: w.quarantine,
		Wake: func(key string) { w.woken.Store(key, true) }, Now: w.now, Random: rand.Reader, Logger: logger, Terms: w.terms}
	if w.advise != nil {
		r := simulated
		r.Prompt = cmp.Or(w.prompt, r.Prompt)
		c.Model = &r
	}
	return c
}

// simulated is the registration of the model that advicetest simulates.
var simulated = conduct.Registration{Type: conduct.TypeRegistration, Model: advicetest.Model, Record: "{}", Prompt: advice.Prompt(), At: 1}

// admitted writes into the record of a new house that the model has its say, as if
// people had promoted it long ago; models_test.go goes the whole way.
func (w *town) admitted(ctx context.Context) {
	w.t.Helper()
	_, err := w.store.Doc(ctx, "model", string(simulated.Model))
	if w.advise == nil || w.has == conduct.Shadow || err == nil {
		return
	}
	m := control.Model{Digest: simulated.Model, Registration: simulated, Say: cmp.Or(w.has, conduct.Hold), Since: 1, Watch: 1, Used: []canon.Digest{}, By: conduct.ByPeople}
	_, err = w.store.Commit(ctx, store.Batch{Stream: "model/" + string(simulated.Model), Expect: store.Any, Docs: []store.Doc{{Kind: "model", ID: string(simulated.Model), Body: canon.MustEncode(m)}}})
	w.must(err)
}

// limited are rules with limits on a model's conduct.
type limited struct {
	control.Rules
	advice string
}

func (l limited) Advice() []byte { return []byte(l.advice) }

// opened says whether a control plane would start over what is on the disk.
func (w *town) opened() error {
	w.t.Helper()
	s, err := sqlite.Open(context.Background(), w.Data())
	w.must(err)
	defer s.Close()
	w.store = s
	_, err = control.Open(context.Background(), w.config())
	return err
}

func (w *town) rules(ctx context.Context, p trust.Policy) (control.Rules, error) {
	raw, err := os.ReadFile(filepath.Join(w.Data(), "policy.tar.gz"))
	if err != nil {
		return nil, err
	}
	rules, err := rego.Load(ctx, raw, p.Bundle, canon.Note(p.Key).Text())
	return limited{rules, cmp.Or(w.limits, `{"promote_cases":0,"seen":0}`)}, err
}

// start opens the control plane and runs it.
func (w *town) start() {
	w.t.Helper()
	w.open()
	ctx, cancel := context.WithCancel(context.Background())
	ended, stop := make(chan struct{}), w.stop
	go func() { defer close(ended); w.control.Run(ctx) }()
	w.stop = func() { cancel(); <-ended; stop() }
}

func (w *town) end() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// restart ends the control plane and starts another on the same directory.
func (w *town) restart() {
	w.t.Helper()
	w.end()
	w.start()
}

// enrol makes the agents of the trust root's hosts from first on, enrols them
// and has them tell what they have.
func (w *town) enrol(first, last int, packages ...string) {
	w.t.Helper()
	for i := first; i <= last; i++ {
		h := w.Host(i, packages...)
		secret, err := w.control.NewToken(w.t.Context(), time.Hour)
		w.must(err)
		w.must(w.control.Enrol(w.t.Context(), secret, control.Host{Wire: h.Wire, ID: h.Known.ID, Public: h.Known.Public, Name: "h"}))
		_, err = h.Hello(w.t.Context(), w.control.Handle)
		w.must(err)
		w.hosts = append(w.hosts, h)
	}
	for _, h := range w.hosts[len(w.hosts)-1-last+first:] { // together: the control plane looks every second
		w.must(h.Report(w.t.Context(), w.control.Handle))
	}
	w.look()
}

// look has the control plane look for work at once.
func (w *town) look() {
	w.t.Helper()
	_, err := call[struct{}](w, "POST", "look", nil)
	w.must(err)
}

// until waits for something.
func (w *town) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s does not happen: %s", what, w.account())
		}
	}
}

// account tells what is there, for who reads a failure.
func (w *town) account() string {
	var b strings.Builder
	for _, p := range w.plans() {
		b.WriteString("\nplan " + p.Digest.Short() + " " + string(p.State) + ": " + p.Why.Text())
	}
	for _, v := range w.writs() {
		b.WriteString("\nwrit " + v.Digest.Short() + " " + v.State + ": " + v.Why.Text())
	}
	for _, line := range w.control.Trouble() {
		b.WriteString("\ntrouble " + line)
	}
	return b.String()
}

// call asks the API.
func call[A any](w *town, method, path string, body any) (out A, err error) {
	w.t.Helper()
	var raw string
	if body != nil {
		raw = string(canon.MustEncode(body))
	}
	rec := httptest.NewRecorder()
	w.control.API().ServeHTTP(rec, httptest.NewRequest(method, "/v1/"+path, strings.NewReader(raw)))
	if rec.Code != http.StatusOK {
		var no control.Failure
		if err := json.Unmarshal(rec.Body.Bytes(), &no); err != nil {
			return out, err
		}
		if no.Code != "" {
			return out, refusal.New(refusal.Code(no.Code), "%s", no.Detail)
		}
		return out, errors.New(no.Detail)
	}
	return out, json.Unmarshal(rec.Body.Bytes(), &out)
}

func get[A any](w *town, path string) A {
	w.t.Helper()
	out, err := call[A](w, "GET", path, nil)
	w.must(err)
	return out
}

// bytes asks the API for bytes.
func (w *town) bytes(path string) []byte {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.control.API().ServeHTTP(rec, httptest.NewRequest("GET", "/v1/"+path, nil))
	if rec.Code != http.StatusOK {
		w.t.Fatalf("%s: %s", path, rec.Body)
	}
	return rec.Body.Bytes()
}

func (w *town) plans() []control.Plan { return get[[]control.Plan](w, "plans") }
func (w *town) writs() []control.Writ { return get[[]control.Writ](w, "writs") }

// only is the one plan, once there is one in this state.
func (w *town) only(s control.PlanState) control.Plan {
	w.t.Helper()
	w.until("a plan that is "+string(s), func() bool {
		p := w.plans()
		return len(p) > 0 && p[len(p)-1].State == s
	})
	all := w.plans()
	if len(all) != 1 {
		w.t.Fatalf("%d plans: %s", len(all), w.account())
	}
	return all[0]
}

// becomes is a plan once it is in a state, whatever else is planned by then.
func (w *town) becomes(p control.Plan, s control.PlanState) control.Plan {
	w.t.Helper()
	w.until("a plan that becomes "+string(s), func() bool { return w.plan(p.Digest).State == s })
	return w.plan(p.Digest)
}

// file is a plan whole.
func (w *town) file(p control.Plan) proposal.File {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.control.API().ServeHTTP(rec, httptest.NewRequest("GET", "/v1/plans/"+string(p.Digest)+"/file", nil))
	f, err := proposal.ReadFile(rec.Body.Bytes())
	w.must(err)
	return f
}

// say has people answer a plan.
func (w *town) say(p control.Plan, k approval.Kind, people ...int) {
	w.t.Helper()
	s := controltest.Statement(w.file(p).Header, k)
	for _, n := range people {
		_, err := call[struct{}](w, "POST", "plans/"+string(p.Digest)+"/answers", w.Person(n, s))
		w.must(err)
	}
}

// grant signs a grant and hands it over.
func (w *town) grant(soak int64) canon.Digest {
	w.t.Helper()
	g, yes := w.Grant(soak)
	_, err := call[struct{}](w, "POST", "grants", control.Signed{Grant: g, Approvals: yes})
	w.must(err)
	return g.Statement(approval.Allow).Digest()
}

// round lets every host ask once, and counts those that acted.
func (w *town) round() int {
	w.t.Helper()
	acted := 0
	for _, h := range w.hosts {
		did, err := h.Round(w.t.Context(), w.control.Handle)
		w.must(err)
		if did {
			acted++
		}
	}
	return acted
}

// work lets the hosts ask until the plan is in a state.
func (w *town) work(p canon.Digest, s control.PlanState) {
	w.t.Helper()
	w.until("the plan is "+string(s), func() bool {
		w.round()
		return w.plan(p).State == s
	})
}

func (w *town) plan(d canon.Digest) control.Plan { return get[control.Plan](w, "plans/"+string(d)) }

// refusedAs wants a refusal.
func (w *town) refusedAs(what string, err error, code refusal.Code) {
	w.t.Helper()
	if refusal.CodeOf(err) != code {
		w.t.Errorf("%s: %v, want %s", what, err, code)
	}
}

// audit has an auditor check a plan's evidence offline.
func (w *town) audit(p canon.Digest) {
	w.t.Helper()
	b := get[evidence.Bundle](w, "evidence/"+string(p))
	r := evidence.Run(canon.MustEncode(b), w.Root(), evidencetest.Decide(w.Root()), false)
	for _, c := range r.Checks {
		if !c.OK {
			w.t.Errorf("the auditor: %s: %s %s", c.Name, c.Code, c.Says)
		}
	}
}
