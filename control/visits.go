package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/visit"
)

// Limits of what visitors ask at the same time: the rest of the machine is for
// operators and hosts.
const (
	atOnceVisits = 4 // are answered
	maxVisits    = 8 // of one visitor are read, or wait
)

// visits counts the questions of each visitor that are read or answered now.
type visits struct {
	slots chan struct{}
	mu    sync.Mutex
	of    map[string]int
}

// enter counts one more. ok is false when the visitor has as many as it may have.
func (v *visits) enter(name string) (leave func(), ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of[name] >= maxVisits {
		return nil, false
	}
	v.of[name]++
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.of[name]--; v.of[name] == 0 {
			delete(v.of, name)
		}
	}, true
}

// Visits answers visitors: POST /v1/visit/TOOL with the arguments as JSON, and the
// token of the visitor as the bearer. It has no other verbs than visit.Tools, and
// takes no token of operators.
func (c *Control) Visits() http.Handler {
	m, now := http.NewServeMux(), &visits{slots: make(chan struct{}, atOnceVisits), of: map[string]int{}}
	m.HandleFunc("POST /v1/visit/{tool}", func(w http.ResponseWriter, r *http.Request) { c.visited(w, r, now) })
	return m
}

// visited answers one question of a visitor. Nothing of a stranger's is read.
func (c *Control) visited(w http.ResponseWriter, r *http.Request, now *visits) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	v, err := c.known(text)
	if err != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		c.denied(w, r, http.StatusUnauthorized, err)
		return
	}
	leave, ok := now.enter(v.Name)
	if !ok {
		c.denied(w, r, 0, &visit.Over{What: fmt.Sprintf("%d questions at once", maxVisits), Free: c.Now().Unix() + 1})
		return
	}
	defer leave()
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, visit.MaxQuestion))
	if err != nil {
		c.denied(w, r, http.StatusRequestEntityTooLarge, refusal.New(visit.CodeQuestion, "a question has at most %d bytes", visit.MaxQuestion))
		return
	}
	select {
	case now.slots <- struct{}{}:
		defer func() { <-now.slots }()
	case <-r.Context().Done():
		return
	}
	answer, err := c.Visit(r.Context(), v, r.PathValue("tool"), raw)
	if err != nil {
		c.denied(w, r, http.StatusUnprocessableEntity, err)
		return
	}
	w.Write(answer)
}

// denied tells a visitor no. What is wrong inside is told to operators only.
func (c *Control) denied(w http.ResponseWriter, r *http.Request, status int, err error) {
	no, over, refused := noOf(err), (*visit.Over)(nil), (*refusal.Refusal)(nil)
	switch {
	case errors.As(err, &over):
		status = http.StatusTooManyRequests
	case !errors.As(err, &refused):
		status = http.StatusInternalServerError
		if !errors.Is(err, context.Canceled) {
			c.Logger.Error("a question of a visitor failed", "path", r.URL.Path, "err", err)
		}
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(no)
}

// noOf is an error as a visitor gets it.
func noOf(err error) visit.No {
	var refused *refusal.Refusal
	var over *visit.Over
	switch {
	case errors.As(err, &over):
		return visit.No{Code: string(visit.CodeBudget), Detail: over.What + " are used up; there is budget again " + stamp(over.Free), Free: over.Free}
	case errors.As(err, &refused):
		return visit.No{Code: string(refused.Code), Detail: visit.Said(refused.Detail).Text}
	}
	return visit.No{Detail: "the control plane could not answer; its operators see why"}
}

// Visit answers one question of a visitor that is known: within its budget, and
// with a call in the record before the answer is given.
func (c *Control) Visit(ctx context.Context, v Visitor, tool string, args []byte) ([]byte, error) {
	t, known := visit.Find(tool)
	call := visit.Call{Type: visit.TypeCall, Visitor: v.Name, Tool: canon.NoteOf(tool[:min(len(tool), 64)]), Arguments: canon.SumFile(args), At: c.Now().Unix()}
	if err := c.spend(ctx, v, call, t.Asks); err != nil {
		return nil, err
	}
	answer, err := c.tooled(ctx, v, known, tool, args)
	switch code := refusal.CodeOf(err); {
	case err == nil:
		call.Outcome, call.Bytes = "ok", len(answer)
	case code != "":
		call.Outcome = string(code)
	default:
		call.Outcome = "failed"
	}
	if failed := c.called(context.WithoutCancel(ctx), call); failed != nil {
		return nil, failed
	}
	return answer, err
}

// tooled runs a tool.
func (c *Control) tooled(ctx context.Context, v Visitor, known bool, tool string, args []byte) ([]byte, error) {
	f, there := c.tools()[tool]
	if !known || !there {
		return nil, refusal.New(visit.CodeTool, "there is no tool %q", tool)
	}
	answer, err := f(ctx, v, args)
	if errors.Is(err, store.ErrNotFound) {
		err = refusal.New(visit.CodeQuestion, "there is nothing of that name")
	}
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(answer)
	if err == nil && len(raw) > v.Budget.Bytes {
		return nil, refusal.New(visit.CodeSize, "the answer has %d bytes, your budget says %d: ask for less (limit)", len(raw), v.Budget.Bytes)
	}
	return raw, err
}

// tool answers one kind of question.
type tool func(ctx context.Context, v Visitor, args []byte) (any, error)

// tools are the answers to visit.Tools, by name.
func (c *Control) tools() map[string]tool {
	return map[string]tool{
		"host_ls":         asked(c.visitHosts),
		"host_findings":   asked(c.visitHostFindings),
		"finding_ls":      asked(c.visitFindings),
		"finding_hosts":   asked(c.visitConcerned),
		"finding_explain": asked(c.visitExplain),
		"plan_ls":         asked(c.visitPlans),
		"plan_show":       asked(c.visitPlan),
		"plan_dossier":    asked(c.visitDossier),
		"review_ls":       asked(c.visitReviews),
		"why":             asked(c.visitWhy),
		"advice_check":    asked(c.visitCheck),
		"plan_propose": func(ctx context.Context, v Visitor, args []byte) (any, error) {
			q, err := question[visit.Ask](args)
			if err != nil {
				return nil, err
			}
			a, err := c.askFor(ctx, v.Name, q)
			if err != nil {
				return nil, err
			}
			return a.proposal(), nil
		},
		"proposal_show": func(_ context.Context, v Visitor, args []byte) (any, error) {
			q, err := question[visit.ProposalID](args)
			if err != nil {
				return nil, err
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			a, ok := c.book.asks[q.Proposal]
			if !ok || a.Request.Visitor != v.Name {
				return nil, refusal.New(visit.CodeQuestion, "you have made no proposal %q", q.Proposal)
			}
			return a.proposal(), nil
		},
	}
}

// asked reads the question that a tool takes.
func asked[Q, A any](f func(context.Context, Q) (A, error)) tool {
	return func(ctx context.Context, _ Visitor, args []byte) (any, error) {
		q, err := question[Q](args)
		if err != nil {
			return nil, err
		}
		return f(ctx, q)
	}
}

// question reads arguments: one JSON object with the members of Q, each once and by
// its exact name, and no others.
func question[Q any](args []byte) (q Q, err error) {
	whole := strictjson.Of(args)
	err = whole.Whole(func() error { return whole.Object(func(name string) error { return member(&whole, name) }) })
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(args))
		d.DisallowUnknownFields()
		err = d.Decode(&q)
	}
	if err != nil {
		err = refusal.New(visit.CodeQuestion, "%v", err)
	}
	return q, err
}

// member passes over a member of a question. Their names are all of these letters;
// the standard decoder would take others for the same.
func member(d *strictjson.Doc, name string) error {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return d.Fail("unknown field %+q", name[:min(len(name), 64)])
	}
	return d.Skip()
}

// few is how many entries a list has at most.
func few(limit int) (int, error) {
	switch {
	case limit == 0:
		return 100, nil
	case limit < 0 || limit > visit.MaxList:
		return 0, refusal.New(visit.CodeQuestion, "limit: 1 to %d, not %d", visit.MaxList, limit)
	}
	return limit, nil
}
