package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// Trouble lists what does not work at the moment, "subject: reason", sorted.
func (c *Control) Trouble() []string {
	c.ill.Lock()
	defer c.ill.Unlock()
	out := []string{}
	for subject, why := range c.trouble {
		out = append(out, subject+": "+why)
	}
	slices.Sort(out)
	return out
}

// Health says whether the control plane can do its work at all.
type Health struct {
	OK      bool     `json:"ok"`      // store and log can be used
	Trouble []string `json:"trouble"` // subjects that do not work
}

// Health looks at the store, and at what the last round met.
func (c *Control) Health(ctx context.Context) Health {
	h := Health{OK: true, Trouble: []string{}}
	if _, err := c.Store.Doc(ctx, kindHost, "health"); err != nil && !errors.Is(err, store.ErrNotFound) {
		h.OK, h.Trouble = false, append(h.Trouble, "store")
	}
	c.ill.Lock()
	defer c.ill.Unlock()
	for subject := range c.trouble {
		h.OK = h.OK && subject != "log" && subject != "store"
		h.Trouble = append(h.Trouble, subject)
	}
	slices.Sort(h.Trouble)
	h.Trouble = slices.Compact(h.Trouble)
	return h
}

// Reason is one line of Why.
type Reason struct {
	Plan     string   `json:"plan"`     // digest, or ""
	Packages []string `json:"packages"` // of the plan
	State    string   `json:"state"`
	Text     string   `json:"text"`
	Who      []string `json:"who"`  // who can unblock it
	Next     int64    `json:"next"` // Unix seconds of the next possible moment, 0: not known
}

// Why says why a host, or one package on it, was patched, waits or was refused.
func (c *Control) Why(ctx context.Context, id trust.HostID, pkg string) ([]Reason, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.book.host(id)
	if !ok {
		return nil, refusal.New(codeHost, "no host %s is enrolled", id.Short())
	}
	out := c.whyHost(h)
	plans := sorted(c.book.plans)
	slices.SortStableFunc(plans, func(a, b Plan) int { return int(a.Created - b.Created) })
	for _, p := range plans {
		if !slices.Contains(p.Hosts, id) || pkg != "" && !slices.Contains(p.Packages, pkg) {
			continue
		}
		r, err := c.whyPlan(ctx, p, id)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		out = append(out, Reason{State: "quiet", Text: "no plan names it: nothing that is known to be affected can be fixed now, or it was not looked at yet", Packages: []string{}, Who: []string{}})
	}
	return out, nil
}

func (c *Control) whyHost(h Host) []Reason {
	r := Reason{State: string(c.seenAs(h)), Packages: []string{}, Who: []string{}}
	switch c.seenAs(h) {
	case wire.Pending:
		r.Text, r.Who = "it is enrolled, and the trust root does not name it yet: patchwrit trust add-host", []string{"keepers of the hosts role"}
	case wire.Cloned:
		r.Text, r.Who = "two machines speak with its keys: find out which is which, enrol the other anew, then patchwrit host accept", []string{"operators"}
	default:
		if h.Helper != "" {
			r.State, r.Text, r.Who = "helper silent", "it has a writ and cannot try it: "+h.Helper.Text(), []string{"whoever operates the host: systemctl status patchwrit-helper"}
			return []Reason{r}
		}
		if h.Refused > h.Leased {
			r.State, r.Text, r.Who = "no lease", "the witnesses gave no quorum of leases at "+stamp(h.Refused)+": "+h.Why.Text(), []string{"whoever halted it (patchwrit halt ls), or the witnesses' operators"}
			return []Reason{r}
		}
		return nil
	}
	return []Reason{r}
}

// whyPlan says how one plan stands for one host.
func (c *Control) whyPlan(ctx context.Context, p Plan, id trust.HostID) (Reason, error) {
	r := Reason{Plan: string(p.Digest), Packages: p.Packages, State: string(p.State), Text: p.Why.Text(), Who: []string{}, Next: p.Until}
	switch p.State {
	case Proposed:
		r.Text, r.Who = "it waits for the log's witnesses, then the rules are asked", []string{"the witnesses' operators"}
	case Review:
		f, err := c.file(p)
		if err != nil {
			return r, err
		}
		_, err = c.yes(p, f.File)
		r.Text = "people are asked until " + stamp(p.Until) + "; then silence is a no"
		if err != nil {
			r.Text += ". Missing: " + detail(err)
		}
		r.Who = c.voters(p)
	case Running:
		return c.whyRunning(ctx, p, id, r)
	case Finished:
		more, err := c.effective(ctx, p, id)
		r.Text += more
		return r, err
	}
	return r, nil
}

func detail(err error) string {
	text := err.Error()
	if code := refusal.CodeOf(err); code != "" {
		_, text, _ = strings.Cut(text, ": ")
	}
	return text
}

// voters are the people whose yes could count and is not there.
func (c *Control) voters(p Plan) []string {
	out := []string{}
	q, _ := c.root.Quorum(string(p.Class))
	for _, person := range c.root.People {
		said := slices.ContainsFunc(p.Answers, func(a approval.Approval) bool { return a.Person == person.ID })
		has := slices.ContainsFunc(q.Roles, func(n trust.RoleNeed) bool { return slices.Contains(person.Roles, n.Role) }) || len(q.Roles) == 0
		if !said && has {
			out = append(out, string(person.ID)+" ("+strings.Join(person.Roles, ", ")+")")
		}
	}
	return out
}

func (c *Control) whyRunning(ctx context.Context, p Plan, id trust.HostID, r Reason) (Reason, error) {
	if why := c.hostIs(id); why != "" {
		r.Text = "it takes no part any more: " + why
		return r, nil
	}
	for _, w := range c.book.issued(p.Digest) {
		if w.Host != id {
			continue
		}
		r.State, r.Next = "writ "+w.State, w.Expires
		r.Text = fmt.Sprintf("writ %s, until %s", w.Digest.Short(), stamp(w.Expires))
		if w.Why != "" {
			r.Text += ": " + w.Why.Text()
		}
	}
	if r.State != string(Running) {
		return r, nil
	}
	at := p.Waves[slices.Index(p.Hosts, id)]
	r.Text = fmt.Sprintf("wave %d waits for good receipts of the waves before it", at)
	if p.Grant == "" {
		return r, nil
	}
	f, err := c.file(p)
	if err != nil {
		return r, err
	}
	proof, ok, err := c.proofOf(ctx, p.Digest)
	if err != nil || !ok {
		return r, err
	}
	stood, err := c.stood(f, proof)
	if err != nil {
		return r, err
	}
	known, _ := c.root.Host(id)
	if r.Next, err = c.book.grants[p.Grant].Grant.NotBefore(known, stood); err != nil {
		return r, err
	}
	if at == 0 && r.Next > c.Now().Unix() {
		r.Text = "the soak of its grant, or the slot of its fault domain, is not over"
	}
	return r, nil
}
