package record_test

import (
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/evidence/record"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// TestAPromotionIsSigned: an auditor sees offline that people of quorum grant signed a
// promotion in the log, and whoever writes the log cannot write one without them.
func TestAPromotionIsSigned(t *testing.T) {
	type signing = func(w *world, p conduct.Promotion) []approval.Approval
	by := func(people ...int) signing {
		return func(w *world, p conduct.Promotion) (out []approval.Approval) {
			for i, n := range people {
				out = append(out, writtest.Sign(w.House.People[n], p.Statement(), int64(20+i)))
			}
			return out
		}
	}
	but := func(change func(w *world, a *approval.Approval), people ...int) signing {
		return func(w *world, p conduct.Promotion) []approval.Approval {
			out := by(people...)(w, p)
			change(w, &out[len(out)-1])
			return out
		}
	}
	for name, c := range map[string]struct {
		signed   signing
		says     string // of the finding; "": it holds
		unproved bool
	}{
		"two people":                    {by(0, 1), "", false},
		"one of them twice":             {by(0, 1, 0), "", false},
		"with one who is there no more": {but(func(_ *world, a *approval.Approval) { a.Person = "p-gone" }, 0, 1, 2), "", false},
		"nobody":                        {by(), "0 of 2", false},
		"one":                           {by(0), "1 of 2", false},
		"one, twice":                    {by(0, 0), "1 of 2", false},
		"its author and another":        {by(0, 2), "PW-APPROVAL-AUTHOR", false},
		"another's signature":           {but(func(w *world, a *approval.Approval) { a.Person, a.Credential = w.House.People[2].ID, w.credential(2) }, 0, 1), "what stands there as the word of", false},
		"of another promotion": {but(func(w *world, a *approval.Approval) {
			*a = writtest.Sign(w.House.People[1], approval.Statement{Kind: approval.Promote, Bytes: []byte("{}")}, 20)
		}, 0, 1), "1 of 2", false},
		"as a yes to a plan":               {but(func(_ *world, a *approval.Approval) { a.Kind = approval.Approve }, 0, 1), "1 of 2", false},
		"one, and one whom nobody names":   {but(func(_ *world, a *approval.Approval) { a.Person = "p-gone" }, 0, 1), "", true},
		"nobody, and one whom nobody name": {but(func(_ *world, a *approval.Approval) { a.Person = "p-gone" }, 1), "1 of 2", false},
	} {
		t.Run(name, func(t *testing.T) {
			w, d := newWorld(t), canon.SumFile(nil)
			p := conduct.Promotion{Type: conduct.TypePromotion, Nonce: strings.Repeat("ab", 32), Author: w.House.People[2].ID, Created: 10, Expires: 30, Model: d, Registration: d, From: conduct.Shadow, To: conduct.Show, Limits: d}
			for _, a := range c.signed(w, p) {
				w.add(a, evidence.ApprovalEntry(a))
			}
			at := int64(len(w.rows))
			w.add(p, p.Entry())
			w.prove(t)
			r := w.check(w.lines())
			if strings.Contains(strings.Join(r.NotProved, "\n"), "That enough people signed promotion") != c.unproved {
				t.Errorf("not proved: %q", r.NotProved)
			}
			if c.says == "" {
				if !r.OK {
					t.Errorf("%+v", r.Findings)
				}
				return
			}
			find(t, r, record.CodeUnsigned, at)
			if len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Says, c.says) {
				t.Errorf("%+v, want %q", r.Findings, c.says)
			}
		})
	}
}

// TestAPromotionWithoutAQuorum: a house that names no quorum for grants promotes nothing.
func TestAPromotionWithoutAQuorum(t *testing.T) {
	w, d := newWorld(t), canon.SumFile(nil)
	p := conduct.Promotion{Type: conduct.TypePromotion, Nonce: strings.Repeat("ab", 32), Author: "p-gone", Created: 10, Expires: 30, Model: d, Registration: d, From: conduct.Shadow, To: conduct.Show, Limits: d}
	a := writtest.Sign(w.House.People[1], p.Statement(), 20)
	a.Person = "p-other"
	w.add(a, evidence.ApprovalEntry(a))
	w.add(p, p.Entry())
	w.prove(t)
	w.House.Root.Quorums = []trust.Quorum{}
	find(t, w.check(w.lines()), record.CodeUnsigned, int64(len(w.rows)-1))
}

func (w *world) credential(n int) canon.Digest {
	p, _ := w.House.Root.Person(w.House.People[n].ID)
	return p.Credentials[0].ID
}
