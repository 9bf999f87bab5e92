package policy

import (
	"fmt"

	"github.com/patchwrit/patchwrit/canon"
)

// Standing is how one bundle of rules stands to the one before it.
type Standing string

// The standings, from harmless to not. MayBeWeaker is everything that cannot be
// shown to be one of the first two: rules are programs, and that no input of a
// list shows a weakness is no proof that there is none.
const (
	Same        Standing = "same"          // the same rules, settings and data
	Stricter    Standing = "stricter"      // the standard rules, known settings tightened, nothing else
	MayBeWeaker Standing = "may_be_weaker" // anything else
	Weaker      Standing = "weaker"        // proved: an input with a milder answer, or a known setting loosened
)

// Harmless reports whether a change of that kind needs no second keeper.
func (s Standing) Harmless() bool { return s == Same || s == Stricter }

// Ruling is a verdict without its reasons.
type Ruling struct {
	Outcome Outcome `json:"outcome"`
	Class   string  `json:"class"` // the quorum wanted
	Until   int64   `json:"until"` // hold: Unix seconds, else 0
}

// Ruling is the verdict without its reasons.
func (v Verdict) Ruling() Ruling { return Ruling{v.Outcome, string(v.Class), v.Until} }

// Text is the ruling for people: "hold until 2000, class routine".
func (r Ruling) Text() string {
	if r.Outcome == Hold {
		return fmt.Sprintf("%s until %d, class %s", r.Outcome, r.Until, r.Class)
	}
	return fmt.Sprintf("%s, class %s", r.Outcome, r.Class)
}

// WeakerThan says in what v is milder than before on the same input: it lets
// more happen, wants a smaller quorum, holds for a shorter time, or holds for
// fewer reasons. None: it is nowhere milder.
func (v Verdict) WeakerThan(before Verdict) []string {
	out := []string{}
	if v.Outcome.Rank() < before.Outcome.Rank() {
		out = append(out, fmt.Sprintf("%s became %s", before.Outcome, v.Outcome))
	}
	if v.Outcome != Deny && v.Class.Rank() < before.Class.Rank() {
		out = append(out, fmt.Sprintf("the quorum %s became %s", before.Class, v.Class))
	}
	if v.Outcome == Hold && before.Outcome == Hold {
		if v.Until < before.Until {
			out = append(out, fmt.Sprintf("the hold ends %d seconds earlier", before.Until-v.Until))
		}
		if had, has := before.holds(), v.holds(); has < had {
			out = append(out, fmt.Sprintf("%d rules held, %d hold", had, has))
		}
	}
	return out
}

// holds counts the rules that hold.
func (v Verdict) holds() int {
	rules := map[string]bool{}
	for _, r := range v.Reasons {
		if r.Outcome == Hold {
			rules[r.Rule] = true
		}
	}
	return len(rules)
}

// Spoke are the rules that v gives a reason of and not has none of, in order.
func (v Verdict) Spoke(not Verdict) []string {
	had, out := map[string]bool{}, []string{}
	for _, r := range not.Reasons {
		had[r.Rule] = true
	}
	for _, r := range v.Reasons {
		if !had[r.Rule] {
			had[r.Rule] = true
			out = append(out, r.Rule)
		}
	}
	return out
}

// Comparison is what comparing two bundles found. Its JSON is stable.
type Comparison struct {
	Old      canon.Digest `json:"old"` // of the bundle files; "" for rules that are not signed
	New      canon.Digest `json:"new"`
	Is       Standing     `json:"is"`
	Why      []string     `json:"why"`      // what decided, for people
	Settings []Setting    `json:"settings"` // those that differ, by name
	Rules    []RuleChange `json:"rules"`    // definitions that went and came, settings left out
	Asked    int          `json:"asked"`    // inputs that both were asked
	Weaker   int          `json:"weaker"`   // inputs with a milder answer in some respect
	Stricter int          `json:"stricter"` // inputs with a stricter answer, and nowhere a milder one
	Findings []Finding    `json:"findings"` // counterexamples: the first of each kind
}

// Setting is a rule that is one constant.
type Setting struct {
	Name string `json:"name"`
	Old  string `json:"old"` // as Rego writes it; "" when it is not there
	New  string `json:"new"`
	Is   string `json:"is"` // stricter, weaker, or unknown: nothing is known of its direction
}

// RuleChange is a definition that only one of two bundles has.
type RuleChange struct {
	Rule string `json:"rule"` // package and name
	Is   string `json:"is"`   // gone or new; a changed definition is both
	Text string `json:"text"` // as Rego writes it, at most 200 bytes
}

// Finding is an input to which the new rules give a milder answer.
type Finding struct {
	Case  string   `json:"case"`  // what is particular about the input
	Said  Ruling   `json:"said"`  // by the old rules
	Says  Ruling   `json:"says"`  // by the new ones
	In    []string `json:"in"`    // what is milder
	Gone  []string `json:"gone"`  // rules that gave a reason and do not any more
	Input Input    `json:"input"` // the whole of it
}
