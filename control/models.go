package control

import (
	"context"
	"math"
	"slices"

	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
)

// Model is a model that is asked or was, and how much of its proposals counts.
type Model struct {
	Digest       canon.Digest         `json:"digest"`
	Registration conduct.Registration `json:"registration"` // the newest
	Say          conduct.Say          `json:"say"`
	Since        int64                `json:"since"` // when it got that say, Unix seconds
	Watch        int                  `json:"watch"` // which watch of it this is: a new one begins with another prompt and with each fall to shadow
	Anew         int                  `json:"anew"`  // cases up to this one, after the first time in shadow, are looked at no more: a step back was taken for them
	Used         []canon.Digest       `json:"used"`  // promotions that were handed over; each counts once
	By           string               `json:"by"`    // who gave it its say: "" (registered), conduct.ByPeople, conduct.ByWatch
	Why          canon.Note           `json:"why"`
}

const codeModel refusal.Code = "PW-MODEL-UNKNOWN" // no such model in the ledger

func (m Model) doc() store.Doc { return doc(kindModel, string(m.Digest), m) }
func (m Model) enter(b *book) {
	b.moves++
	if b.models == nil {
		b.models = map[canon.Digest]Model{}
	}
	b.models[m.Digest] = m
}

func (m Model) stream() string { return "model/" + string(m.Digest) }

// register enters the model that is asked into the ledger when it is not there as
// it is now. It begins in shadow; so does one that is asked with another prompt.
func (c *Control) register(ctx context.Context) error {
	if c.Model == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := *c.Model
	had, known := c.book.models[r.Model]
	if known && had.Registration.Prompt == r.Prompt {
		return nil
	}
	r.Type, r.At = conduct.TypeRegistration, c.Now().Unix()
	m := Model{Digest: r.Model, Registration: r, Say: conduct.Shadow, Since: r.At, Watch: had.Watch + 1, Used: append([]canon.Digest{}, had.Used...), Why: "it is new here"}
	if known {
		m.Registration.Sheet, m.Why = had.Registration.Sheet, "this version asks otherwise than the one before"
	}
	c.Logger.Info("a model begins in shadow: it is asked and written down, and nothing of it counts until people promote it", "model", r.Model.Short(), "why", m.Why)
	return c.commit(ctx, m.stream(), "registration", canon.MustEncode(m.Registration), m.Registration.Entry(), m)
}

// model finds one. The caller holds the lock.
func (c *Control) model(d canon.Digest) (Model, error) {
	m, ok := c.book.models[d]
	if !ok {
		return m, refusal.New(codeModel, "no model %s was ever registered here", d.Short())
	}
	return m, nil
}

// Sheet keeps a model's data sheet: what people say it was trained on and tried
// with. The registration that names it stands in the log; its say stays.
func (c *Control) Sheet(ctx context.Context, model canon.Digest, sheet []byte) error {
	if err := conduct.SheetFits(sheet); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.model(model)
	if err != nil {
		return err
	}
	name, err := c.blobs.put(sheet)
	if err != nil || name == m.Registration.Sheet {
		return err
	}
	m.Registration.Sheet, m.Registration.At = name, c.Now().Unix()
	return c.commit(ctx, m.stream(), "registration", canon.MustEncode(m.Registration), m.Registration.Entry(), m)
}

// SignedPromotion is a promotion with the signatures under it.
type SignedPromotion struct {
	Promotion conduct.Promotion   `json:"promotion"`
	Approvals []approval.Approval `json:"approvals"`
}

// Promote gives a model one step more say: people signed it, who may lend
// autonomy, and its figures allow it.
func (c *Control) Promote(ctx context.Context, s SignedPromotion) error {
	p := s.Promotion
	if err := c.proven(p); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.promotable(p) // once more: model, sheet or limits may have changed meanwhile
	if err != nil {
		return err
	}
	if err := c.quorum(string(approval.Allow), p.Statement(), p.Author, s.Approvals); err != nil {
		return err
	}
	if err := c.signatures(ctx, m.stream(), s.Approvals); err != nil {
		return err
	}
	m.Say, m.Since, m.By, m.Why = p.To, c.Now().Unix(), conduct.ByPeople, canon.NoteOf("promoted by "+signed(s.Approvals)+": "+p.Note.Text())
	m.Used = append(slices.Clone(m.Used), p.Statement().Digest())
	c.Logger.Info("people promoted a model", "model", m.Digest.Short(), "say", m.Say)
	return c.commit(ctx, m.stream(), "promotion", p.Bytes(), p.Entry(), m)
}

func signed(answers []approval.Approval) string {
	names := ""
	for i, a := range answers {
		if i > 0 {
			names += ", "
		}
		names += string(a.Person)
	}
	return names
}

// ahead is how far a clock on which a promotion was written may be before ours,
// seconds. One that is dated later could be kept and handed over years after people
// took the model's say.
const ahead = 300

// promotable says why a promotion does not fit. The caller holds the lock.
func (c *Control) promotable(p conduct.Promotion) (Model, error) {
	if err := p.Valid(); err != nil {
		return Model{}, err
	}
	m, err := c.model(p.Model)
	if err != nil {
		return m, err
	}
	l, now := c.limits(), c.Now().Unix()
	no := func(format string, args ...any) error { return refusal.New(conduct.CodePromotion, format, args...) }
	switch {
	case slices.Contains(m.Used, p.Statement().Digest()):
		return m, no("it was handed over before; a promotion counts once")
	case p.Created > now+ahead:
		return m, no("it was made at %s, which is not yet", stamp(p.Created))
	case now >= p.Expires:
		return m, no("it ended at %s", stamp(p.Expires))
	case p.Created < m.Since:
		return m, no("it was made at %s, before the model got the say it has, at %s", stamp(p.Created), stamp(m.Since))
	case p.From != m.Say:
		return m, no("the model has %s, not %s", m.Say, p.From)
	case p.Registration != m.Registration.Digest():
		return m, no("it is about registration %s, the model's is %s", p.Registration.Short(), m.Registration.Digest().Short())
	case p.Limits != l.Digest():
		return m, no("it is about limits %s, in force are %s", p.Limits.Short(), l.Digest().Short())
	case m.Registration.Sheet == "":
		return m, no("the model has no data sheet: hand one over (patchwrit model register)")
	}
	return m, nil
}

// proven says whether a model's figures allow a promotion. It holds the lock only to
// take the cases: all those of a model may be many.
func (c *Control) proven(p conduct.Promotion) error {
	c.mu.Lock()
	m, err := c.promotable(p)
	l := c.limits()
	base, recent, _ := c.watched(m, l, math.MaxInt)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return conduct.Gate(append(slices.Clone(base), recent...), conduct.Watch(base, recent, l), p.To, l)
}

// Demote takes all say from a model, as people want it: nobody has to sign for
// less say, as nobody has to for a halt of their own.
func (c *Control) Demote(ctx context.Context, model canon.Digest, why canon.Note) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.model(model)
	if err != nil {
		return err
	}
	if m.Say == conduct.Shadow {
		return refusal.New(conduct.CodePromotion, "it has no say already")
	}
	return c.demote(ctx, m, conduct.Demotion{Type: conduct.TypeDemotion, Model: m.Digest, From: m.Say, To: conduct.Shadow, At: c.Now().Unix(), By: conduct.ByPeople,
		Limits: c.limits().Digest(), Alarms: []conduct.Alarm{}, Cases: []canon.Digest{}, Why: why})
}

// demote commits a step back. In shadow another watch begins; a model that keeps
// some say is still held to its first time, or nobody would watch it any more. The
// caller holds the lock.
func (c *Control) demote(ctx context.Context, m Model, d conduct.Demotion) error {
	m.Say, m.Since, m.By, m.Why, m.Anew = d.To, d.At, d.By, d.Why, c.book.cases
	if d.To == conduct.Shadow {
		m.Watch++
	}
	c.Logger.Warn("a model was demoted", "model", m.Digest.Short(), "from", d.From, "to", d.To, "by", d.By, "why", d.Why)
	return c.commit(ctx, m.stream(), "demotion", canon.MustEncode(d), d.Entry(), m)
}

// limits are those in force: what the signed rules name, else conduct.Default.
// Limits that cannot be read are told, and those that stand in the program hold.
func (c *Control) limits() conduct.Limits {
	raw := c.rules.Advice()
	if len(raw) == 0 {
		c.told("limits of models", nil)
		return conduct.Default
	}
	l, err := conduct.ParseLimits(raw)
	c.told("limits of models", err)
	if err != nil {
		return conduct.Default
	}
	return l
}
