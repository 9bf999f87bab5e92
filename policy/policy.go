// Package policy holds verdicts: what the rules say about one plan, how strict
// that is, and why.
//
// The parties: rules are Rego in a signed bundle that the trust root pins; room
// policy/rego evaluates them at the edge; the control plane records the verdict
// before it issues a writ and may afterwards only make it stricter (Restrict);
// auditors evaluate the same bundle over the same input again.
//
// A verdict permits nothing: hosts check people's signatures, not verdicts.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
)

// Outcome is what the rules say.
type Outcome string

// The outcomes, from mild to strict. Anything unknown counts as Deny.
const (
	Allow  Outcome = "allow"  // may run by itself under a grant
	Quorum Outcome = "quorum" // needs people's approval of this very plan
	Hold   Outcome = "hold"   // nothing before Until
	Deny   Outcome = "deny"
)

// Rank orders outcomes by strictness, 0 to 3.
func (o Outcome) Rank() int {
	if i := slices.Index([]Outcome{Allow, Quorum, Hold, Deny}, o); i >= 0 {
		return i
	}
	return 3
}

// Type names of the encodings; also their digest domains.
const (
	TypeVerdict = "patchwrit/verdict/v1"
	TypeInput   = "patchwrit/policyinput/v1"
)

// Verdict is the rules' answer about one plan.
type Verdict struct {
	Type    string       `json:"type"`
	Plan    canon.Digest `json:"plan"`
	At      int64        `json:"at"`     // Unix seconds: the input's time
	Bundle  canon.Digest `json:"bundle"` // SHA-256 of the signed bundle file
	Input   canon.Digest `json:"input"`  // canon.Sum(TypeInput, input bytes)
	Outcome Outcome      `json:"outcome"`
	Class   change.Class `json:"class"` // the quorum wanted: never below the plan's class
	Until   int64        `json:"until"` // Hold: Unix seconds, else 0
	Reasons []Reason     `json:"reasons"`
}

// Reason is one rule that spoke, with what it said.
type Reason struct {
	Rule    string     `json:"rule"`
	Outcome Outcome    `json:"outcome"`
	Text    canon.Note `json:"text"`
}

// Bytes are the verdict's canonical bytes.
func (v Verdict) Bytes() []byte { return canon.MustEncode(v) }

// Digest names the verdict.
func (v Verdict) Digest() canon.Digest { return canon.Sum(TypeVerdict, v.Bytes()) }

// ErrForm says that an answer is no verdict; the caller treats it as Deny.
var ErrForm = errors.New("the rules gave no usable answer")

// Decision is what a bundle's rules return, before it is bound to a plan.
type Decision struct {
	Outcome Outcome
	Class   change.Class
	Until   int64
	Reasons []Reason
}

// Bind makes the verdict of a decision. The class never falls below the plan's;
// a decision that is unusable becomes Deny with the reason.
func Bind(d Decision, plan canon.Digest, class change.Class, at int64, bundle, input canon.Digest) Verdict {
	if err := d.valid(); err != nil {
		d = Decision{Outcome: Deny, Class: class, Reasons: []Reason{{Rule: "usable_answer", Outcome: Deny, Text: canon.NoteOf(err.Error())}}}
	}
	reasons := append([]Reason{}, d.Reasons...)
	slices.SortFunc(reasons, func(a, b Reason) int {
		return strings.Compare(a.Rule+"\x00"+string(a.Text), b.Rule+"\x00"+string(b.Text))
	})
	return Verdict{Type: TypeVerdict, Plan: plan, At: at, Bundle: bundle, Input: input,
		Outcome: d.Outcome, Class: change.Max(class, d.Class), Until: d.Until, Reasons: reasons}
}

func (d Decision) valid() error {
	if !slices.Contains([]Outcome{Allow, Quorum, Hold, Deny}, d.Outcome) {
		return fmt.Errorf("%w: outcome %q", ErrForm, d.Outcome)
	}
	if d.Class.Rank() > len(change.Classes) {
		return fmt.Errorf("%w: class %q", ErrForm, d.Class)
	}
	if (d.Outcome == Hold) != (d.Until > 0) || d.Until < 0 || d.Until > canon.MaxInt {
		return fmt.Errorf("%w: %s until %d", ErrForm, d.Outcome, d.Until)
	}
	for _, r := range d.Reasons {
		if r.Outcome.Rank() > d.Outcome.Rank() {
			return fmt.Errorf("%w: rule %s says %s, the answer is %s", ErrForm, r.Rule, r.Outcome, d.Outcome)
		}
	}
	return nil
}

// Restrict returns the stricter of two verdicts on the same plan, with the
// reasons of both: outcome, class and end of hold each take the stricter. It is
// the only way advice can reach a verdict (promise P2).
func (v Verdict) Restrict(by Verdict) Verdict {
	if by.Outcome.Rank() > v.Outcome.Rank() {
		v.Outcome = by.Outcome
	}
	v.Class = change.Max(v.Class, by.Class)
	v.Until = max(v.Until, by.Until)
	v.Reasons = append(slices.Clone(v.Reasons), by.Reasons...)
	return v
}
