// Package conduct is how a model has done so far, and what follows from it for
// how much of its proposals counts.
//
// The parties: the control plane asks a model about plans and keeps what came of
// each asking (Case); people give a model more say, one step at a time, and this
// package only says whether they may (Gate); when what a model does drifts away
// from what it was watched doing (Watch), the control plane takes a step back by
// itself. Thresholds are people's (Limits): they stand in the signed rules.
//
// The promise: the same cases and limits give the same figures and alarms, in
// whatever order they come; nothing here ever gives a model more say; a step back
// makes no plan's outcome milder than the rules' own, as nothing that a model says
// does.
//
// It does not say whether a model is right. It compares: with what the verifier
// could prove, with the rules, with what people answered, and with the model's own
// past. A model that was wrong from the first case on in what nobody can verify
// looks well here.
package conduct

import (
	"slices"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/canon"
)

// Say is how much of what a model proposes counts.
type Say string

// The closed set, the least first. Anything else counts as Shadow.
const (
	Shadow Say = "shadow" // it is asked and written down; nothing counts
	Show   Say = "show"   // its order is shown, and what it escalates stands first for people who look anyway; it holds nothing
	Hold   Say = "hold"   // all that stands counts
)

// Says are all of them, the least first.
var Says = []Say{Shadow, Show, Hold}

// Valid reports whether s is one of Says.
func (s Say) Valid() bool { return slices.Contains(Says, s) }

// Below is one step back; from the least there is none.
func (s Say) Below() Say { return Says[max(0, slices.Index(Says, s)-1)] }

// Above is one step on; false at the most.
func (s Say) Above() (Say, bool) {
	i := max(0, slices.Index(Says, s)) + 1
	if i == len(Says) {
		return s, false
	}
	return Says[i], true
}

// Of is what of a proposal counts: all of it, or, in shadow, nothing. That Show
// holds nothing is for whoever does what it says (restraint.Stand).
func (s Say) Of(a advice.Accepted) advice.Accepted {
	if s != Show && s != Hold {
		return advice.Accepted{Action: advice.Keep, Order: []string{}}
	}
	return a
}

// Case is one asking of a model about one plan, and what came of it. Times are Unix
// seconds.
type Case struct {
	Exchange  canon.Digest     `json:"exchange"` // domain advice.TypeExchange
	Plan      canon.Digest     `json:"plan"`
	Model     canon.Digest     `json:"model"`
	At        int64            `json:"at"`
	Say       Say              `json:"say"` // what the model had then
	Outcome   advice.Outcome   `json:"outcome"`
	Abstained bool             `json:"abstained"`
	Claims    []advice.Counted `json:"claims"`
	Action    string           `json:"action"` // what it proposed and verification let stand
	Rules     string           `json:"rules"`  // outcome of the rules then: allow, quorum, hold or deny
	Class     string           `json:"class"`  // strictest deadline of the plan, 3DF to FSU; "": unknown
	Order     []string         `json:"order"`  // components in the order in which it would look at them; empty: it gave none
	Items     []Item           `json:"items"`
	People    string           `json:"people"`    // what people answered when the plan came before them through it: "", yes, no
	Made      int64            `json:"made"`      // the plan
	Effective int64            `json:"effective"` // on all of its hosts; 0: not yet
	Wrong     bool             `json:"wrong"`     // it was stopped: a host failed or was silent
}

// What people answer.
const (
	Yes = "yes"
	No  = "no"
)

// Item is one component that a plan changes.
type Item struct {
	OS        string           `json:"os"`        // release, as the dossier spells it
	Vendor    string           `json:"vendor"`    // who publishes it; "": unknown
	Component string           `json:"component"` // source package
	Claims    []advice.Counted `json:"claims"`    // about it
}

// restrains reports that the model would have had people look.
func (c Case) restrains() bool { return c.Action == advice.Hold || c.Action == advice.Escalate }

// ended reports that it is known how the plan ended, and whether badly: it was stopped,
// or people said no when it brought it before them.
func (c Case) ended() (known, badly bool) {
	badly = c.Wrong || c.People == No && c.restrains()
	return badly || c.Effective > 0, badly
}

// answered reports that the model gave an answer that could be judged. What a
// provider or a sandbox did not deliver says nothing about a model.
func (c Case) answered() bool {
	return c.Outcome == advice.Answered || c.Outcome == advice.Refused || c.Outcome == advice.Truncated
}

// Segment is a part of the cases: those that change something of one release, of
// one vendor, or one component. {all ""} is all of them.
type Segment struct {
	By   string `json:"by"` // all, os, vendor, component
	Name string `json:"name"`
}

// What segments are by.
const (
	ByAll       = "all"
	ByOS        = "os"
	ByVendor    = "vendor"
	ByComponent = "component"
)

// All is the segment of all cases.
var All = Segment{By: ByAll}
