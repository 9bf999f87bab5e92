package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// maxRequest bounds what an operator sends: a plan file of a large fleet.
const maxRequest = canon.MaxBytes

// Failure is the body of every answer that is not 200.
type Failure struct {
	Code   string `json:"code"` // refusal code, or ""
	Detail string `json:"detail"`
}

// Signed is a grant with the signatures under it; for a revocation the grant is
// named by the address.
type Signed struct {
	Grant     approval.Grant      `json:"grant"`
	Approvals []approval.Approval `json:"approvals"`
}

// NewToken is the answer to who made a token.
type NewToken struct {
	Secret  []byte `json:"secret"`
	Token   string `json:"token"` // as a host takes it, see wire.Token
	Expires int64  `json:"expires"`
}

// HostView is a host as operators see it: what it said, and what the trust root
// says.
type HostView struct {
	Host
	Domain string        `json:"domain"`
	Labels []trust.Label `json:"labels"`
}

// Logged is an event as operators see it.
type Logged struct {
	Position int64        `json:"position"`
	Stream   string       `json:"stream"`
	Kind     string       `json:"kind"`
	At       int64        `json:"at"`
	Subject  canon.Digest `json:"subject"` // "" for an event that stays out of the log
	Index    int64        `json:"index"`   // in the log, -1 when not there
	Entry    *tlog.Entry  `json:"entry,omitempty"`
	Proof    tlog.Proof   `json:"proof,omitempty"`
	Body     []byte       `json:"body,omitempty"`
}

// API answers operators: reading, and handing over what people signed. It has
// no verb that permits anything. Who may call it is for the caller to see to.
func (c *Control) API() http.Handler {
	m := http.NewServeMux()
	read := func(path string, f func(*http.Request) (any, error)) {
		m.HandleFunc("GET /v1/"+path, func(w http.ResponseWriter, r *http.Request) { c.reply(w, r, f) })
	}
	write := func(path string, f func(*http.Request) (any, error)) {
		m.HandleFunc("POST /v1/"+path, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
			c.reply(w, r, f)
		})
	}
	read("hosts", c.apiHosts)
	read("plans", func(*http.Request) (any, error) { return listed(c, c.book.plans), nil })
	read("plans/{id}", func(r *http.Request) (any, error) { return c.apiPlan(r) })
	read("plans/{id}/file", c.apiPlanFile)
	read("plans/{id}/basis", c.apiBasis)
	read("plans/{id}/input", c.apiPlanInput)
	read("plans/{id}/advice", c.apiAdvice)
	read("plans/{id}/advice/{part}", c.apiAdvicePart)
	read("plans/{id}/request", c.apiRequest)
	read("figures", func(r *http.Request) (any, error) { return c.Figures(r.Context()) })
	read("grants", func(*http.Request) (any, error) { return listed(c, c.book.grants), nil })
	read("writs", func(*http.Request) (any, error) { return listed(c, c.book.writs), nil })
	read("writs/{id}/file", c.apiWritFile)
	read("receipts", func(r *http.Request) (any, error) { return c.receiptsNow(r.Context()) })
	read("why", c.apiWhy)
	read("exposures", c.apiExposures)
	read("findings", c.apiCounts)
	read("findings/hosts", c.apiAbout)
	read("reviews", func(r *http.Request) (any, error) { return c.Reviews(r.Context()) })
	read("ledger", c.apiLedger)
	read("quarantine", func(r *http.Request) (any, error) { return c.quarantined(r.Context(), r.URL.Query().Get("feed")) })
	read("checkpoint", c.apiCheckpoint)
	read("evidence/{id}", c.apiEvidence)
	read("trouble", func(*http.Request) (any, error) { return c.Trouble(), nil })
	write("tokens", c.apiToken)
	write("plans", c.apiPropose)
	write("plans/{id}/answers", c.apiAnswer)
	write("grants", c.apiGrant)
	write("grants/{id}/revoke", c.apiRevoke)
	c.visitorRoutes(read, write)
	c.modelRoutes(read, write)
	write("hosts/{id}/remove", func(r *http.Request) (any, error) {
		return struct{}{}, c.Remove(r.Context(), trust.HostID(r.PathValue("id")))
	})
	write("hosts/{id}/accept", func(r *http.Request) (any, error) {
		return struct{}{}, c.Accept(r.Context(), trust.HostID(r.PathValue("id")))
	})
	write("hosts/{id}/triaged", func(r *http.Request) (any, error) {
		t, err := body[Triage](r)
		if err != nil {
			return nil, err
		}
		return struct{}{}, c.Triaged(r.Context(), trust.HostID(r.PathValue("id")), t.By, t.Note)
	})
	write("look", func(*http.Request) (any, error) {
		c.mu.Lock()
		c.want, c.all = true, true
		c.mu.Unlock()
		wake(c.hurry)
		return struct{}{}, nil
	})
	return m
}

// visitorRoutes are those of API about visitors.
func (c *Control) visitorRoutes(read, write func(string, func(*http.Request) (any, error))) {
	read("visitors", c.apiVisitors)
	write("visitors", c.apiAdmit)
	write("visitors/{name}/token", c.apiReissue)
	write("visitors/{name}/dismiss", func(r *http.Request) (any, error) {
		return struct{}{}, c.Dismiss(r.Context(), r.PathValue("name"))
	})
}

func (c *Control) reply(w http.ResponseWriter, r *http.Request, f func(*http.Request) (any, error)) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	v, err := f(r)
	if err == nil {
		if raw, ok := v.([]byte); ok {
			w.Write(raw)
			return
		}
		json.NewEncoder(w).Encode(v)
		return
	}
	no, status := Failure{Detail: err.Error()}, http.StatusInternalServerError
	var refused *refusal.Refusal
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &refused):
		no, status = Failure{string(refused.Code), refused.Detail}, http.StatusUnprocessableEntity
	case errors.Is(err, store.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, errNotRead):
		status = http.StatusServiceUnavailable
	case errors.As(err, &syntax), errors.Is(err, errRequest), errors.Is(err, canon.ErrForm):
		status = http.StatusBadRequest
	default:
		c.Logger.Error("a request of an operator failed", "path", r.URL.Path, "err", err)
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(no)
}

// errRequest says that a request is not one.
var errRequest = errors.New("the request cannot be understood")

// listed are the values of a part of the book, ascending by key.
func listed[K ~string, V any](c *Control, m map[K]V) []V {
	c.mu.Lock()
	defer c.mu.Unlock()
	return sorted(m)
}

// body reads a request's canonical JSON.
func body[T any](r *http.Request) (v T, err error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return v, fmt.Errorf("%w: %v", errRequest, err)
	}
	return v, canon.Decode(raw, &v)
}

func (c *Control) apiHosts(*http.Request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := []HostView{}
	for _, h := range sorted(c.book.hosts) {
		known, _ := c.root.Host(h.ID)
		h.State = c.seenAs(h)
		out = append(out, HostView{h, known.Domain, append([]trust.Label{}, known.Labels...)})
	}
	return out, nil
}

func (c *Control) apiPlan(r *http.Request) (Plan, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.book.plans[canon.Digest(r.PathValue("id"))]
	if !ok {
		return p, refusal.New(codePlan, "no plan %q", r.PathValue("id"))
	}
	return p, nil
}

// apiWritFile gives the bytes that a host gets.
func (c *Control) apiWritFile(r *http.Request) (any, error) {
	c.mu.Lock()
	w, ok := c.book.writs[canon.Digest(r.PathValue("id"))]
	c.mu.Unlock()
	if !ok || w.File == "" {
		return nil, refusal.New(codePlan, "no writ %q that was completed", r.PathValue("id"))
	}
	return c.blobs.get(w.File)
}

// apiPlanInput gives what the rules saw when they last answered about a plan.
func (c *Control) apiPlanInput(r *http.Request) (any, error) {
	p, err := c.apiPlan(r)
	if err != nil {
		return nil, err
	}
	if p.Input == "" {
		return nil, refusal.New(codePlan, "the rules have not been asked about plan %s yet", p.Digest.Short())
	}
	return c.blobs.get(p.Input)
}

func (c *Control) apiPlanFile(r *http.Request) (any, error) {
	p, err := c.apiPlan(r)
	if err != nil {
		return nil, err
	}
	return c.blobs.get(p.File)
}

func (c *Control) apiWhy(r *http.Request) (any, error) {
	return c.Why(r.Context(), trust.HostID(r.FormValue("host")), r.FormValue("package"))
}

// Limits of one answer about the ledger.
const (
	maxEvents = 1000
	maxBodies = 16 << 20 // bytes; one event alone may be longer
)

// apiLedger lists events after a position, in order. With logged, only those
// that the log is to hold; with bodies, all that proves them too.
func (c *Control) apiLedger(r *http.Request) (any, error) {
	after, err := strconv.ParseInt("0"+r.FormValue("after"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: after=%q", errRequest, r.FormValue("after"))
	}
	out, size := []Logged{}, 0
	for e, err := range c.Store.Events(r.Context(), after) {
		if err != nil {
			return nil, err
		}
		if r.FormValue("logged") != "" && e.Entry.Subject == "" {
			continue
		}
		l := Logged{Position: e.Position, Stream: e.Stream, Kind: e.Kind, At: e.At, Subject: e.Entry.Subject, Index: e.Index}
		if r.FormValue("bodies") != "" {
			l.Entry, l.Proof, l.Body = &e.Entry, e.Proof, e.Body
			size += len(e.Body)
		}
		if out = append(out, l); len(out) == maxEvents || size > maxBodies {
			break
		}
	}
	return out, nil
}

// apiCheckpoint is the newest checkpoint that the witnesses have seen.
func (c *Control) apiCheckpoint(r *http.Request) (any, error) {
	signed, _, err := c.Log.Checkpoint(r.Context())
	return map[string][]byte{"checkpoint": signed}, err
}

// maxTokenLife is how long a token may wait to be used.
const maxTokenLife = 7 * 24 * time.Hour

func (c *Control) apiToken(r *http.Request) (any, error) {
	seconds, err := strconv.Atoi(r.FormValue("seconds"))
	life := time.Duration(seconds) * time.Second
	if err != nil || life <= 0 || life > maxTokenLife {
		return nil, fmt.Errorf("%w: a token lives up to %s", errRequest, maxTokenLife)
	}
	secret, err := c.NewToken(r.Context(), life)
	return NewToken{secret, wire.Token{Secret: secret, Server: c.Server}.String(), c.Now().Add(life).Unix()}, err
}

// apiPropose takes a plan that a person made elsewhere.
func (c *Control) apiPropose(r *http.Request) (any, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errRequest, err)
	}
	f, err := proposal.ReadFile(raw)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.root.Person(f.Header.Author); !known {
		return nil, refusal.New(codePlan, "its author %q is not in the roster", f.Header.Author)
	}
	if _, known := c.book.plans[f.Header.Digest()]; known {
		return struct{}{}, nil
	}
	return struct{}{}, c.Accepted(r.Context(), f, f.Header.Digest())
}

func (c *Control) apiAnswer(r *http.Request) (any, error) {
	a, err := body[approval.Approval](r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, c.Answer(r.Context(), canon.Digest(r.PathValue("id")), a)
}

func (c *Control) apiGrant(r *http.Request) (any, error) {
	s, err := body[Signed](r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, c.Grant(r.Context(), s.Grant, s.Approvals)
}

func (c *Control) apiRevoke(r *http.Request) (any, error) {
	as, err := body[[]approval.Approval](r)
	if err != nil {
		return nil, err
	}
	return struct{}{}, c.Revoke(r.Context(), canon.Digest(r.PathValue("id")), as)
}
