package witness

import (
	"context"
	"errors"

	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/witness/ask"
	"github.com/patchwrit/patchwrit/writ"
)

const (
	maxHalts = 100 // that one person has signed and whose end has not come, so that nobody can fill the witness up
	skew     = 300 // seconds by which a halt may begin in the future and is in force nonetheless: clocks differ
)

// Handler answers the witness's requests.
func (w *Witness) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", w.addCheckpoint)
	mux.HandleFunc("POST /lease", answers(w, ask.MaxLeaseRequest, w.lease))
	mux.HandleFunc("POST /halt", answers(w, ask.MaxHaltRequest, func(q ask.HaltRequest) (any, error) { return w.take(q, approval.Stop) }))
	mux.HandleFunc("POST /lift", answers(w, ask.MaxHaltRequest, func(q ask.HaltRequest) (any, error) { return w.take(q, approval.Lift) }))
	mux.HandleFunc("GET /halts", func(rw http.ResponseWriter, _ *http.Request) { w.say(rw, w.standings(), nil) })
	mux.HandleFunc("GET /newest", w.newest)
	mux.HandleFunc("GET /reach", func(rw http.ResponseWriter, r *http.Request) {
		a, err := w.reach(canon.Digest(r.FormValue("halt")))
		w.say(rw, a, err)
	})
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { w.say(rw, w.health(), nil) })
	return mux
}

// answers makes a handler of a function from a canonical request to an answer.
func answers[Q any](w *Witness, limit int64, f func(Q) (any, error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, limit))
		var q Q
		if err == nil {
			err = canon.Decode(body, &q)
		}
		if err != nil {
			w.say(rw, nil, refusal.New(CodeRequest, "%v", err))
			return
		}
		a, err := f(q)
		w.say(rw, a, err)
	}
}

// say writes an answer or why there is none.
func (w *Witness) say(rw http.ResponseWriter, a any, err error) {
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Cache-Control", "no-store")
	if err == nil {
		rw.Write(canon.MustEncode(a))
		return
	}
	var no *refusal.Refusal
	if !errors.As(err, &no) {
		w.cfg.Logger.LogAttrs(context.Background(), slog.LevelError, "failure", slog.String("err", err.Error()))
		rw.WriteHeader(http.StatusInternalServerError)
		rw.Write(canon.MustEncode(ask.Refused{Type: ask.TypeRefused, Detail: "the witness cannot store its state"}))
		return
	}
	status := http.StatusForbidden
	if no.Code == CodeRequest {
		status = http.StatusBadRequest
	}
	rw.WriteHeader(status)
	rw.Write(canon.MustEncode(ask.Refused{Type: ask.TypeRefused, Code: string(no.Code), Detail: canon.NoteOf(no.Detail)}))
}

// lease grants a lease to a host that no halt covers.
func (w *Witness) lease(q ask.LeaseRequest) (any, error) {
	if q.Type != ask.TypeLeaseRequest || !q.Host.Valid() || !canon.Hex(q.Nonce, 32) {
		return nil, refusal.New(CodeRequest, "type %q, host %q", q.Type, q.Host.Short())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	host, ok := w.root.Host(q.Host)
	if !ok {
		return nil, refusal.New(CodeHost, "%s", q.Host)
	}
	now := w.now()
	for d, h := range w.halts {
		if h.State() == ask.InForce && covers(h.Halt, host, now) {
			w.asked[host.ID] = asked{w.asked[host.ID].leased, now}
			return nil, refusal.New(CodeHalted, "halt %s by %s until %s: %s", d.Short(), h.Halt.Author, clock(h.Halt.Until), h.Halt.Note)
		}
	}
	w.asked[host.ID] = asked{now, w.asked[host.ID].refused}
	return w.key.lease(writ.Lease{
		Type: writ.TypeLease, Witness: w.key.name, Host: host.ID, Nonce: q.Nonce, Time: now,
		Checkpoint: w.seen[w.policy.Origin()], Trust: w.root.ID, Versions: w.root.Versions,
	}), nil
}

// covers takes a halt that begins in a moment as begun.
func covers(h approval.Halt, host trust.Host, now int64) bool {
	return h.Covers(host, now) || (h.From > now && h.From-now <= skew && h.Covers(host, h.From))
}

// take accepts a halt, or its lifting, that enough people have signed. What is
// lifted stays lifted, whichever arrives first: a halt's bytes are public, and
// handing them over again is no new decision.
func (w *Witness) take(q ask.HaltRequest, kind approval.Kind) (any, error) {
	if q.Type != ask.TypeHaltRequest {
		return nil, refusal.New(CodeRequest, "type %q", q.Type)
	}
	if err := q.Halt.Valid(); err != nil {
		return nil, err
	}
	root, _ := w.trusted()
	quorum, _ := root.Quorum(string(kind))
	yes, err := approval.Tally(root, quorum, q.Halt.Statement(kind), q.Halt.Author, q.Approvals)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if q.Halt.Until <= now {
		return nil, refusal.New(CodeOver, "at %s", clock(q.Halt.Until))
	}
	h := ask.Held{Halt: q.Halt, Approvals: []approval.Approval{}, Lifts: []approval.Approval{}}
	d := h.Digest()
	if before, known := w.halts[d]; known {
		h = before
	} else if err := w.room(yes, now); err != nil {
		return nil, err
	}
	switch {
	case kind == approval.Stop && len(h.Approvals) == 0:
		h.Approvals = q.Approvals
	case kind == approval.Lift && len(h.Lifts) == 0:
		h.Lifts = q.Approvals
	default: // nothing new
		return ask.Standing{Type: ask.TypeStanding, Witness: w.key.name, Halt: d, State: h.State()}, nil
	}
	if err := w.store.save(haltPath(d), h); err != nil {
		return nil, err
	}
	w.halts[d] = h
	w.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, string(kind), slog.String("halt", string(d)), slog.String("author", string(h.Halt.Author)), slog.String("state", string(h.State())))
	return ask.Standing{Type: ask.TypeStanding, Witness: w.key.name, Halt: d, State: h.State()}, nil
}

// room refuses one more halt by people who have signed too many. The caller
// holds w.mu.
func (w *Witness) room(yes approval.Yes, now int64) error {
	signed := map[trust.PersonID]int{}
	for _, h := range w.held(now) {
		for _, a := range slices.Concat(h.Approvals, h.Lifts) {
			signed[a.Person]++
		}
	}
	for _, v := range yes.Voices() {
		if signed[v.Person] >= maxHalts {
			return refusal.New(CodeFull, "%s has signed %d", v.Person, signed[v.Person])
		}
	}
	return nil
}

func (w *Witness) standings() ask.Halts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return ask.Halts{Type: ask.TypeHalts, Witness: w.key.name, Time: w.now(), Halts: w.held(w.now())}
}

func (w *Witness) health() ask.Health {
	w.mu.Lock()
	defer w.mu.Unlock()
	return ask.Health{
		Type: ask.TypeHealth, Witness: w.key.name, Time: w.now(), Checkpoint: w.seen[w.policy.Origin()],
		Trust: w.root.ID, Versions: w.root.Versions, Halts: len(w.held(w.now())),
	}
}

func haltPath(d canon.Digest) string { return filepath.Join(haltDir, string(d)+".json") }

func clock(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
