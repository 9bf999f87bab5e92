// Package priority says by when a vulnerability has to be gone from a host, in
// which order work is done, and how long a new artefact waits.
//
// The parties: CISA and the SSVC authors publish decision tables, which are data
// here (tables/); KEV, EPSS, CVE records and people who know their hosts give the
// facts; proposal, policy and people read the answers. The objects are the Table
// and its Decision, the Exposure of one host to one vulnerability, the Work that
// is put in order, and the Cooldown of an artefact. A "deadline class" here is an
// outcome of BOD 26-04; a change's own class is in room change.
//
// The promise: the same facts give the same answer, and the answer holds all that
// a sceptic needs to find it again. An input that is unknown counts as the value
// that gives the stricter row, and the answer says so. EPSS and CVSS order only
// inside a deadline class. What is overdue stands before all that is not. A clock
// that runs stops only when the fix is effective. Only independent corroboration
// shortens a wait, never a label.
//
// It knows no vulnerabilities, fetches nothing, and permits nothing: a deadline
// is no reason for a host to change without a writ.
package priority

import (
	"embed"
	"fmt"
	"slices"
)

//go:embed tables/*.json
var tables embed.FS

// Answer is what is known of a yes-or-no question. The zero value is unknown.
type Answer string

// The closed set of answers.
const (
	Unknown Answer = ""
	Yes     Answer = "yes"
	No      Answer = "no"
)

// The decision points that Facts fill, by their SSVC ids.
const (
	PointKEV          = "cisa:KEV:1.0.0"
	PointExposed      = "cisa:PE:1.0.0"
	PointAutomatable  = "ssvc:A:2.0.0"
	PointImpact       = "ssvc:TI:1.0.0"
	PointExploitation = "ssvc:E:1.1.0"
	PointExposure     = "ssvc:EXP:1.0.1"
	PointHuman        = "ssvc:HI:2.0.2"

	outcomeBOD  = "cisa:BOD2604:1.0.0"
	outcomeDSOI = "ssvc:DSOI:1.0.0"
)

// Facts is what is known of one vulnerability on one host. What is not known
// stays at its zero value.
type Facts struct {
	KEV         Answer // CISA lists it as exploited
	Exposed     Answer // unauthenticated or untrusted parties reach the host over a public network
	Automatable Answer // CISA's or another's SSVC: exploitation can be automated
	Total       Answer // technical impact: yes is total, no is partial
	Exploited   Exploitation
}

// Exploitation is what is known of exploitation. The zero value is unknown.
type Exploitation string

// The closed set of values, SSVC's.
const (
	ExploitedNone   Exploitation = "none"
	ExploitedPoC    Exploitation = "poc" // a proof of concept is public
	ExploitedActive Exploitation = "active"
)

// known gives, for each decision point of which something is known, the values
// that are possible (SSVC's keys).
//
// KEV and public exposure say something about the deployer tree's points too: a
// listed vulnerability is exploited (Active) whatever SSVC says, an exposed host is Open, another
// one Small or Controlled. Not to be listed says nothing about exploitation.
func (f Facts) known() map[string][]string {
	out := map[string][]string{}
	for point, a := range map[string]Answer{PointKEV: f.KEV, PointExposed: f.Exposed, PointAutomatable: f.Automatable} {
		switch a {
		case Yes:
			out[point] = []string{"Y"}
		case No:
			out[point] = []string{"N"}
		}
	}
	switch f.Total {
	case Yes:
		out[PointImpact] = []string{"T"}
	case No:
		out[PointImpact] = []string{"P"}
	}
	switch {
	case f.KEV == Yes || f.Exploited == ExploitedActive:
		out[PointExploitation] = []string{"A"}
	case f.Exploited == ExploitedPoC:
		out[PointExploitation] = []string{"P"}
	case f.Exploited == ExploitedNone:
		out[PointExploitation] = []string{"N"}
	}
	switch f.Exposed {
	case Yes:
		out[PointExposure] = []string{"O"}
	case No:
		out[PointExposure] = []string{"S", "C"}
	}
	return out
}

// Rules are the tables in force.
type Rules struct {
	BOD      Table // decides the deadline
	Deployer Table // SSVC's own advice, beside it
}

// Standard returns the tables that the program carries.
func Standard() (Rules, error) {
	bod, err := tables.ReadFile("tables/cisa_bod_26_04.json")
	if err != nil {
		return Rules{}, err
	}
	deployer, err := tables.ReadFile("tables/ssvc_deployer.json")
	if err != nil {
		return Rules{}, err
	}
	return NewRules(bod, deployer)
}

// NewRules loads both tables. The error, ErrTable, says also that a table's
// inputs or outcomes are others than those this package has a meaning for: a new
// version of a directive must be read by people before it sets deadlines.
func NewRules(bod, deployer []byte) (Rules, error) {
	var r Rules
	var err error
	if r.BOD, err = Load(bod); err != nil {
		return Rules{}, fmt.Errorf("BOD 26-04: %w", err)
	}
	if r.Deployer, err = Load(deployer); err != nil {
		return Rules{}, fmt.Errorf("SSVC deployer tree: %w", err)
	}
	if err = r.BOD.has(outcomeBOD, PointKEV, PointExposed, PointAutomatable, PointImpact); err != nil {
		return Rules{}, err
	}
	if err = r.Deployer.has(outcomeDSOI, PointAutomatable, PointExploitation, PointExposure, PointHuman); err != nil {
		return Rules{}, err
	}
	for _, v := range r.BOD.Outcome.Values {
		if _, ok := terms[v.Key]; !ok {
			return Rules{}, bad("nobody has said what the outcome %s of %s means for a deadline", v.Key, r.BOD.ID)
		}
	}
	return r, nil
}

// has reports whether the table decides outcome from exactly these inputs.
func (t Table) has(outcome string, inputs ...string) error {
	if t.Outcome.ID != outcome || !slices.EqualFunc(t.Inputs, inputs, func(p Point, id string) bool { return p.ID == id }) {
		return bad("%s decides %s from other inputs than this program knows", t.ID, t.Outcome.ID)
	}
	return nil
}

// Step is one thing to do about a finding.
type Step string

// The steps, in the order in which they are taken.
const (
	// HoldForTriage keeps the host as it is until somebody has looked for a
	// compromise: a change destroys traces.
	HoldForTriage Step = "hold-for-triage"
	Change        Step = "change"
)

// Class is a deadline class: an outcome of BOD 26-04 with what it demands.
type Class struct {
	Key   string `json:"key"`   // "3DF"
	Name  string `json:"name"`  // "3 days & forensic investigation"
	Rank  int    `json:"rank"`  // 0 is the mildest
	Days  int    `json:"days"`  // to be effective, from when the class first applied; 0: with the next upgrade, no day
	Steps []Step `json:"steps"` // in order; never nil
}

// terms is what each outcome of BOD 26-04 demands.
var terms = map[string]struct {
	days   int
	triage bool
}{"3DF": {3, true}, "3D": {3, false}, "14D": {14, false}, "60D": {60, false}, "FSU": {0, false}}

// Deadline is the answer for one vulnerability on one host.
type Deadline struct {
	Class    Class    `json:"class"`
	Decision Decision `json:"decision"` // of BOD 26-04: which inputs, which row, what else would give
	SSVC     Decision `json:"ssvc"`     // of the deployer tree; advice, sets no day
}

// Decide applies the rules to facts. Every set of facts has an answer.
func (r Rules) Decide(f Facts) Deadline {
	d := Deadline{Decision: r.BOD.Decide(f.known()), SSVC: r.Deployer.Decide(f.known())}
	d.Class = r.class(d.Decision.Outcome)
	return d
}

// Class gives the deadline class with this key; false when the table has none.
func (r Rules) Class(key string) (Class, bool) {
	if !slices.ContainsFunc(r.BOD.Outcome.Values, func(v Value) bool { return v.Key == key }) {
		return Class{}, false
	}
	return r.class(key), true
}

// class gives the outcome with this key.
func (r Rules) class(key string) Class {
	i := slices.IndexFunc(r.BOD.Outcome.Values, func(v Value) bool { return v.Key == key })
	c := Class{Key: key, Name: r.BOD.Outcome.Values[i].Name, Rank: i, Days: terms[key].days, Steps: []Step{Change}}
	if terms[key].triage {
		c.Steps = []Step{HoldForTriage, Change}
	}
	return c
}

// Next returns the first step of a class that is not done, "" when all are. A
// later step that was done does not stand for an earlier one.
func (c Class) Next(done []Step) Step {
	for _, s := range c.Steps {
		if !slices.Contains(done, s) {
			return s
		}
	}
	return ""
}
