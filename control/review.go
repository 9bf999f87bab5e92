package control

import (
	"context"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
)

// Waiting is a plan that people are asked about, and who is missing.
type Waiting struct {
	Plan     canon.Digest `json:"plan"`
	Class    change.Class `json:"class"`
	Hosts    int          `json:"hosts"`
	Packages []string     `json:"packages"`
	Asked    int64        `json:"asked"`   // Unix seconds: when the rules answered
	Until    int64        `json:"until"`   // then silence is a no
	Due      int64        `json:"due"`     // by when the work has to be effective; 0: no day
	Said     []string     `json:"said"`    // people whose yes is there
	Missing  string       `json:"missing"` // what the quorum still lacks
	Who      []string     `json:"who"`     // people whose yes could count
	Why      canon.Note   `json:"why"`     // why people are asked
	Advised  bool         `json:"advised"` // only because an adviser wants it: without an answer it goes on at Until
	First    bool         `json:"first"`   // an adviser asks people to look now
}

// Reviews lists the plans that people are asked about, in the order of work: what
// is overdue comes first.
func (c *Control) Reviews(context.Context) ([]Waiting, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := []Waiting{}
	for _, d := range c.ordered() {
		p := c.book.plans[d]
		if p.State != Review {
			continue
		}
		w, err := c.waiting(p)
		if err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	return out, nil
}

func (c *Control) waiting(p Plan) (Waiting, error) {
	w := Waiting{Plan: p.Digest, Class: p.Class, Hosts: len(p.Hosts), Packages: p.Packages, Until: p.Until, Due: p.work().Due, Said: []string{}, Who: c.voters(p), Why: p.Why,
		Advised: c.heldByAdvice(p), First: c.book.advised[p.Digest].says().Action == advice.Escalate}
	if len(p.Verdict) > 0 {
		w.Asked = p.Verdict[0].At
	}
	for _, a := range p.Answers {
		w.Said = append(w.Said, string(a.Person))
	}
	f, err := c.file(p)
	if err != nil {
		return w, err
	}
	if _, err := c.yes(p, f.File); err != nil {
		w.Missing = detail(err)
	}
	return w, nil
}
