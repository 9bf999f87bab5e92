package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/refusal/explain"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// Reason is one line of Why.
type Reason struct {
	Plan     string   `json:"plan"`     // digest, or ""
	Packages []string `json:"packages"` // of the plan
	State    string   `json:"state"`
	Text     string   `json:"text"`
	Code     string   `json:"code"`  // of the refusal, or ""
	Title    string   `json:"title"` // what the code means
	Do       string   `json:"do"`    // what to do about it
	Who      []string `json:"who"`   // who can unblock it
	Next     int64    `json:"next"`  // Unix seconds of the next possible moment, 0: not known
	Due      int64    `json:"due"`   // Unix seconds by when it has to be effective; 0: no day
	Overdue  bool     `json:"overdue"`
	Advice   []string `json:"advice,omitempty"` // what an adviser said of the plan, no fact: each line begins with what it is worth
}

// coded adds what a refusal code means.
func (r *Reason) coded(code string) {
	if code == "" {
		return
	}
	e := explain.Of(refusal.Code(code))
	r.Code, r.Title, r.Do = code, e.Title, e.Next
}

// Why says why a host, or one package on it, was patched, waits or was refused:
// first what is true of the host whatever the plan, then each plan that names
// it, the oldest first.
func (c *Control) Why(ctx context.Context, id trust.HostID, pkg string) ([]Reason, error) {
	out, err := c.why(ctx, id, pkg)
	for i, r := range out {
		v, ok, bad := c.adviceOn(canon.Digest(r.Plan))
		switch {
		case !ok || r.State == staysAffected:
		case bad != nil: // what is known of the host does not hang on it
			out[i].Advice = []string{"an adviser was asked; what it said, blob " + v.Exchange.Report.Short() + ", cannot be read here"}
		default:
			out[i].Advice = v.Lines()
		}
	}
	return out, err
}

// staysAffected is the state of what a plan does not fix.
const staysAffected = "stays affected"

func (c *Control) why(ctx context.Context, id trust.HostID, pkg string) ([]Reason, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.book.host(id)
	if !ok {
		return nil, refusal.New(codeHost, "no host %s is enrolled", id.Short())
	}
	out := c.whyHost(h)
	plans := sorted(c.book.plans)
	slices.SortStableFunc(plans, func(a, b Plan) int { return int(a.Created - b.Created) })
	plans = slices.DeleteFunc(plans, func(p Plan) bool { return !slices.Contains(p.Hosts, id) })
	for i, p := range plans {
		if pkg == "" || slices.Contains(p.Packages, pkg) {
			r, err := c.whyPlan(ctx, p, id)
			if err != nil {
				return nil, err
			}
			out = append(out, r)
		}
		if i == len(plans)-1 {
			held, err := c.whyHeld(p, id, pkg)
			if err != nil {
				return nil, err
			}
			out = append(out, held...)
		}
	}
	if len(out) == 0 {
		out = append(out, c.whyQuiet(h, pkg))
	}
	return out, nil
}

// whyHost is what keeps a host from everything.
func (c *Control) whyHost(h Host) []Reason {
	r := Reason{State: string(c.seenAs(h)), Packages: []string{}, Who: []string{}}
	switch s := c.seenAs(h); {
	case s == wire.Pending:
		r.Text, r.Who = "it is enrolled, and the trust root does not name it yet: patchwrit trust add-host", []string{"keepers of the hosts role"}
	case s == wire.Cloned:
		r.Text, r.Who = "two machines speak with its keys: find out which is which, enrol the other anew, then patchwrit host accept", []string{"operators"}
	case h.Helper != "":
		r.State, r.Text, r.Who = "helper silent", "it has a writ and cannot try it: "+h.Helper.Text(), []string{"whoever operates the host: systemctl status patchwrit-helper"}
	case h.Refused > h.Leased || h.Why != "": // both may fall into one second
		r.State, r.Text = "no lease", "the witnesses gave no quorum of leases at "+stamp(h.Refused)+": "+h.Why.Text()
		r.Who = []string{"a quorum that lifts the halt (patchwrit halt ls)", "the witnesses' operators, where witnesses do not answer"}
		for _, word := range strings.FieldsFunc(h.Why.Text(), func(r rune) bool { return r != '-' && (r < 'A' || r > 'Z') }) {
			if explain.Known(refusal.Code(word)) {
				r.coded(word)
			}
		}
	case h.Snapshot == "":
		r.State, r.Text, r.Who = "no inventory", "it has not told what it has, so nothing can be planned for it", []string{"whoever looks after the host: is patchwrit-agent running there?"}
	default:
		return nil
	}
	return []Reason{r}
}

// whyQuiet says why no plan is about a host.
func (c *Control) whyQuiet(h Host, pkg string) Reason {
	r := Reason{State: "quiet", Packages: []string{}, Who: []string{}, Next: c.planned.Add(c.Terms.Plan).Unix(),
		Text: "no plan names it: nothing that is known to be affected can be fixed now, or it was not looked at yet"}
	if pkg != "" {
		r.Text = fmt.Sprintf("no plan of this host is about %q: as far as is known it is not affected, or it cannot be fixed now", pkg)
	}
	c.ill.Lock()
	defer c.ill.Unlock()
	if why, ill := c.trouble["planning for inventory "+h.Inventory.Short()]; ill {
		r.State, r.Text, r.Who = "planning fails", why, []string{"operators: see patchwrit doctor"}
	}
	return r
}

// whyHeld lists affected packages that a plan does not fix.
func (c *Control) whyHeld(p Plan, id trust.HostID, pkg string) ([]Reason, error) {
	f, err := c.file(p)
	if err != nil {
		return nil, err
	}
	var out []Reason
	for _, h := range f.Dossier.Hosts {
		for _, held := range h.Held {
			if h.ID == id && (pkg == "" || pkg == held.Package) {
				out = append(out, Reason{Plan: string(p.Digest), Packages: []string{held.Package}, State: staysAffected, Text: held.Why.Text(),
					Who: []string{"the vendor, with a newer package"}, Next: c.planned.Add(c.Terms.Plan).Unix()})
			}
		}
	}
	return out, nil
}

// whyPlan says how one plan stands for one host.
func (c *Control) whyPlan(ctx context.Context, p Plan, id trust.HostID) (Reason, error) {
	r := Reason{Plan: string(p.Digest), Packages: p.Packages, State: string(p.State), Text: p.Why.Text(), Who: []string{}}
	if w := p.work(); p.State.open() && w.Due != 0 {
		r.Due, r.Overdue = w.Due, w.Overdue(c.Now().Unix())
	}
	switch p.State {
	case Proposed:
		c.whyProposed(&r)
	case Held:
		r.Next = p.Until
	case Review:
		err := c.whyReview(p, &r)
		return r, err
	case Running:
		return c.whyRunning(ctx, p, id, r)
	case Finished:
		more, err := c.effective(ctx, p, id)
		r.Text += more
		c.whyWrit(p, id, &r)
		return r, err
	default: // denied, stopped, expired
		c.whyWrit(p, id, &r)
		if r.Next = p.Created + again; r.Next < c.Now().Unix() {
			r.Next = c.planned.Add(c.Terms.Plan).Unix()
		}
		r.Who = []string{"nobody: what is ended stays so; the same work is planned anew later, or when a person proposes a plan"}
	}
	return r, nil
}

func (c *Control) whyProposed(r *Reason) {
	r.Text, r.Who = "it waits for the log's witnesses, then the rules are asked", []string{"the witnesses' operators"}
	c.ill.Lock()
	defer c.ill.Unlock()
	if why, ill := c.trouble["log"]; ill {
		r.Text += ": " + why
	}
}

func (c *Control) whyReview(p Plan, r *Reason) error {
	f, err := c.file(p)
	if err != nil {
		return err
	}
	r.Text = "people are asked until " + stamp(p.Until) + "; then silence is a no"
	if c.heldByAdvice(p) {
		r.Text = p.Why.Text()
	}
	if _, err := c.yes(p, f.File); err != nil {
		r.Text += ". Missing: " + detail(err)
	}
	r.Who = c.voters(p)
	return nil
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

// whyWrit adds how the host's writ stands; ok says whether there is one.
func (c *Control) whyWrit(p Plan, id trust.HostID, r *Reason) (w Writ, ok bool) {
	for _, x := range c.book.issued(p.Digest) {
		if x.Host == id {
			w, ok = x, true
		}
	}
	if !ok {
		return w, false
	}
	text := fmt.Sprintf("writ %s is %s", w.Digest.Short(), w.State)
	if w.State == Ready || w.State == Drafted {
		text += ", until " + stamp(w.Expires)
	}
	if w.Why != "" {
		text += ": " + w.Why.Text()
	}
	if r.Text != "" {
		text = r.Text + "; " + text
	}
	r.Text = text
	r.coded(w.Code)
	return w, true
}

// whyRunning says what a host of a running plan waits for.
func (c *Control) whyRunning(ctx context.Context, p Plan, id trust.HostID, r Reason) (Reason, error) {
	if why := c.hostIs(id); why != "" {
		r.Text = "it takes no part any more: " + why
		return r, nil
	}
	r.Text = ""
	if w, ok := c.whyWrit(p, id, &r); ok {
		r.State = "writ " + w.State
		switch h, _ := c.book.host(id); w.State {
		case Ready:
			r.Who, r.Next = []string{"the host, when it asks; it was last heard of " + stamp(h.Seen)}, c.Now().Unix()
		case Drafted:
			r.Who = []string{"the log's witnesses"}
		case Failed, Lapsed:
			r.Who = []string{"whoever looks after the host"}
		}
		return r, nil
	}
	at := p.Waves[slices.Index(p.Hosts, id)]
	if at > 0 {
		r.Text = fmt.Sprintf("wave %d waits for good receipts of the waves before it", at)
		r.Who = c.waits(p, at)
	}
	err := c.whySlot(ctx, p, id, at, &r)
	return r, err
}

// waits are the hosts of earlier waves without a good receipt.
func (c *Control) waits(p Plan, wave int) []string {
	done := map[trust.HostID]bool{}
	for _, w := range c.book.issued(p.Digest) {
		done[w.Host] = done[w.Host] || w.State == Done
	}
	out := []string{}
	for i, h := range p.Hosts {
		if p.Waves[i] < wave && !done[h] {
			out = append(out, fmt.Sprintf("host %s of wave %d", canon.Digest(h).Short(), p.Waves[i]))
		}
	}
	return out
}

// whySlot adds when the wave, and the grant's soak and slot, let a host begin.
func (c *Control) whySlot(ctx context.Context, p Plan, id trust.HostID, at int, r *Reason) error {
	f, err := c.file(p)
	if err != nil {
		return err
	}
	r.Next = f.Header.Waves[at].NotBefore
	now := c.Now().Unix()
	if at == 0 && r.Next > now {
		r.Text = "its wave has not begun"
	}
	if p.Grant == "" {
		return nil
	}
	proof, ok, err := c.proofOf(ctx, p.Digest)
	if err != nil || !ok {
		return err
	}
	stood, err := c.stood(f, proof)
	if err != nil {
		return err
	}
	known, _ := c.root.Host(id)
	slot, err := c.book.grants[p.Grant].Grant.NotBefore(known, stood)
	if r.Next = max(r.Next, slot); at == 0 && slot > now {
		r.Text = "the soak of its grant, or the slot of its fault domain, is not over"
	}
	return err
}
