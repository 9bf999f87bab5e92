package control

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/visit"
)

// Visitor is somebody else's agent that operators let in: it may read and ask
// (room visit), and nothing else.
type Visitor struct {
	Name   string       `json:"name"`
	State  string       `json:"state"`
	Secret canon.Digest `json:"secret"` // visit.Token.Digest; "" once it is dismissed
	Budget visit.Budget `json:"budget"`
	Spent  visit.Spent  `json:"spent"`
	Made   int64        `json:"made"`  // Unix seconds
	Until  int64        `json:"until"` // the token's end
	Seen   int64        `json:"seen"`  // last call, 0: none
}

func (v Visitor) doc() store.Doc { return doc(kindVisitor, v.Name, v) }

func (v Visitor) enter(b *book) { b.visitors[v.Name] = v }

// VisitorView is a visitor as operators see it: without what is kept of its secret.
type VisitorView struct {
	Name   string       `json:"name"`
	State  string       `json:"state"`
	Budget visit.Budget `json:"budget"`
	Spent  visit.Spent  `json:"spent"`
	Made   int64        `json:"made"`
	Until  int64        `json:"until"`
	Seen   int64        `json:"seen"`
}

// NewVisitor is what operators ask for when they let a visitor in.
type NewVisitor struct {
	Name    string       `json:"name"`
	Budget  visit.Budget `json:"budget"`
	Seconds int64        `json:"seconds"` // of its token's life
}

// VisitorToken is the answer to who let a visitor in: the token is told once.
type VisitorToken struct {
	Token string `json:"token"`
	Until int64  `json:"until"`
}

// Admit lets a visitor in under a name that none had before.
func (c *Control) Admit(ctx context.Context, n NewVisitor) (VisitorToken, error) {
	if !visit.Name(n.Name) {
		return VisitorToken{}, refusal.New(visit.CodeName, "%q: a letter, then letters of the lower case, digits and hyphens, at most %d", n.Name, visit.MaxName)
	}
	if err := n.Budget.Valid(); err != nil {
		return VisitorToken{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if had, known := c.book.visitors[n.Name]; known {
		return VisitorToken{}, refusal.New(visit.CodeName, "%q is %s; a name is used once, so that the ledger names one only", n.Name, had.State)
	}
	return c.admit(ctx, Visitor{Name: n.Name, State: visit.Admitted, Budget: n.Budget, Made: c.Now().Unix()}, n.Seconds)
}

// Reissue gives a visitor another token; the one before ends at once.
func (c *Control) Reissue(ctx context.Context, name string, seconds int64) (VisitorToken, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, err := c.admitted(name)
	if err != nil {
		return VisitorToken{}, err
	}
	return c.admit(ctx, v, seconds)
}

// admit makes a token and commits the visitor. The caller holds the lock.
func (c *Control) admit(ctx context.Context, v Visitor, seconds int64) (VisitorToken, error) {
	if seconds < 1 || seconds > visit.MaxLife {
		return VisitorToken{}, fmt.Errorf("%w: a visitor's token lives up to %d days", errRequest, visit.MaxLife/86400)
	}
	secret := make([]byte, tokenBytes)
	if _, err := io.ReadFull(c.Random, secret); err != nil {
		return VisitorToken{}, err
	}
	t := visit.Token{Name: v.Name, Secret: hex.EncodeToString(secret)}
	v.Secret, v.Until = t.Digest(), c.Now().Unix()+seconds
	return VisitorToken{t.String(), v.Until}, c.changed(ctx, v)
}

// Dismiss lets a visitor go: its token ends at once. Its plans stay.
func (c *Control) Dismiss(ctx context.Context, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, err := c.admitted(name)
	if err != nil {
		return err
	}
	v.State, v.Secret = visit.Dismissed, ""
	return c.changed(ctx, v)
}

func (c *Control) admitted(name string) (Visitor, error) {
	v, ok := c.book.visitors[name]
	if !ok || v.State != visit.Admitted {
		return v, refusal.New(visit.CodeName, "no visitor %q is admitted", name)
	}
	return v, nil
}

// changed commits what operators decided about a visitor; the log holds it.
func (c *Control) changed(ctx context.Context, v Visitor) error {
	a := visit.Admission{Type: visit.TypeAdmission, Name: v.Name, State: v.State, Budget: v.Budget, Until: v.Until, At: c.Now().Unix()}
	c.Logger.Info("visitor "+v.State, "name", v.Name)
	return c.commit(ctx, "visitor/"+v.Name, "visitor", canon.MustEncode(a), a.Entry(), v)
}

func (c *Control) apiVisitors(*http.Request) (any, error) {
	out := []VisitorView{}
	for _, v := range listed(c, c.book.visitors) {
		out = append(out, VisitorView{v.Name, v.State, v.Budget, v.Spent, v.Made, v.Until, v.Seen})
	}
	return out, nil
}

func (c *Control) apiAdmit(r *http.Request) (any, error) {
	n, err := body[NewVisitor](r)
	if err != nil {
		return nil, err
	}
	return c.Admit(r.Context(), n)
}

func (c *Control) apiReissue(r *http.Request) (any, error) {
	seconds, err := strconv.ParseInt(r.FormValue("seconds"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: seconds=%q", errRequest, r.FormValue("seconds"))
	}
	return c.Reissue(r.Context(), r.PathValue("name"), seconds)
}

// known finds the visitor that a token is of. Whether the name or the secret is
// wrong is not told.
func (c *Control) known(text string) (Visitor, error) {
	t, ok := visit.ParseToken(text)
	c.mu.Lock()
	v, now := c.book.visitors[t.Name], c.Now().Unix()
	c.mu.Unlock()
	switch {
	case !t.Is(v.Secret) || !ok || v.State != visit.Admitted:
		return v, refusal.New(visit.CodeToken, "it is not the token of a visitor that is admitted here")
	case v.Until <= now:
		return v, refusal.New(visit.CodeToken, "it ended %s", stamp(v.Until))
	}
	return v, nil
}

// spend takes one call of a visitor's budget, whose token is still the one that it
// showed: a question may have taken long to come, or waited. A first refusal of a kind goes into
// the record, those after it do not: they are as many as somebody likes.
func (c *Control) spend(ctx context.Context, came Visitor, call visit.Call, asks bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, now := c.book.visitors[came.Name], c.Now().Unix()
	if v.State != visit.Admitted || v.Secret != came.Secret || v.Until <= now {
		return refusal.New(visit.CodeToken, "it is no longer the token of a visitor that is admitted here")
	}
	v.Seen = now
	next, err := v.Budget.Take(v.Spent, asks, v.Seen)
	if err == nil {
		v.Spent = next
		v.enter(c.book) // committed with the call, before its answer is given
		return nil
	}
	over := err.(*visit.Over)
	if v.Spent.Told != over.Free {
		v.Spent.Told, call.Outcome = over.Free, string(visit.CodeBudget)
		if err := c.note(ctx, "visitor/"+v.Name, "call", call, v); err != nil {
			return err
		}
	}
	return over
}

// called commits a call, before its answer is given.
func (c *Control) called(ctx context.Context, call visit.Call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.note(ctx, "visitor/"+call.Visitor, "call", call, c.book.visitors[call.Visitor])
}

// petition is a visitor's request, and what became of it.
type petition struct {
	Request visit.Request `json:"request"`
	Hosts   []outcome     `json:"hosts"` // in the request's order
}

// outcome is what became of a request on one host.
type outcome struct {
	State string         `json:"state"`
	Plans []canon.Digest `json:"plans"`
	Code  refusal.Code   `json:"code"`
	Text  canon.Note     `json:"text"`
}

func (a petition) doc() store.Doc { return doc(kindAsk, string(a.Request.Digest()), a) }

func (a petition) enter(b *book) {
	d := a.Request.Digest()
	b.asks[d] = a
	delete(b.asking, d)
	if slices.ContainsFunc(a.Hosts, func(o outcome) bool { return o.State == visit.Waiting }) {
		b.asking[d] = true
	}
}

// inTurn are the requests that wait, the oldest first. The caller holds the lock.
func (b *book) inTurn() []petition {
	out := []petition{}
	for d := range b.asking {
		out = append(out, b.asks[d])
	}
	slices.SortFunc(out, func(x, y petition) int {
		return cmp.Or(cmp.Compare(x.Request.At, y.Request.At), cmp.Compare(x.Request.Nonce, y.Request.Nonce))
	})
	return out
}

// patienceOf is how long a request waits for its hosts to be looked at.
const patienceOf = time.Hour
