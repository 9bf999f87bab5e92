// Package redteam attacks a fleet, one safeguard at a time, and looks whether
// anything happened.
//
// The parties: an attacker, who owns the control plane with its keys, database
// and log, the wire and the mirror, and where a row says so one vendor key or
// the witnesses; people, whose software keys sign what an honest plan needs and
// nothing else; hosts, which are real roots behind the real agent binary. The
// objects: a Scene, which is the place with all of them in it; a Row, which is
// one attack with the code it must meet; a Result.
//
// The promise: each row breaks exactly one thing of a step that works. The same
// step, unmodified, is carried out on the same host by the same binary, and
// Result.ControlOK says that it worked. A row counts as refused only when the
// code is the one in the table, for the reason in the table, and the host's
// package database is what it was.
//
// It proves nothing about attacks that are not in the table, and it changes the
// hosts of its scene: it is for tests and the demo, never for a fleet in use.
package redteam

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// Scene is the place of an attack. Every field but Progress is needed. No agent
// of the hosts and no control plane may be at work while it is played: the
// attacker works on a copy of the data directory and hands writs to the agent
// binary himself.
type Scene struct {
	Dir       string       // an empty directory for the attacker's own files
	Trust     string       // the trust repository
	Pinned    canon.Digest // of its first root
	Data      string       // the control plane's data directory, as patchwrit up keeps it; it is copied, not changed
	Agent     string       // the patchwrit-agent binary
	CLI       string       // the patchwrit binary
	People    []Person     // see Cast
	Witnesses []string     // state directories of the witnesses, for the rows in which they collude
	Hosts     []Host       // at least three, see Cast
	Vendor    *Vendor      // an origin of the trust root whose key the scene holds
	Progress  io.Writer    // what is being done, for people
}

// Person is an approver whose keys are software.
type Person struct {
	SSH     ed25519.PrivateKey
	Passkey *ecdsa.PrivateKey // may be nil
}

// Host is a machine that is attacked.
type Host struct {
	Name  string // for people
	Root  string // top directory of its system
	State string // state directory of its agent
}

// Row is one attack: exactly one thing broken.
type Row struct {
	ID      string       // kebab-case
	Where   Where        // where it is stopped
	Code    refusal.Code // what it must meet; "" when it must simply have no effect
	Says    string       // part of the refusal's detail: which check it was
	What    string       // what the attacker does
	Control string       // the same step, unmodified; "" when it is its act's
	Effect  string       // what it comes to where there is no code; "" for no effect

	make func(*play) (parcel, error) // what is handed to a host; nil when the row plays by itself
	play func(*play) (answer, error)
}

// Where is the place where an attack is stopped.
type Where string

// The places.
const (
	OnHost    Where = "host"
	OnBus     Where = "bus"
	AtWitness Where = "witness"
	AtControl Where = "control"
	InLoop    Where = "loop"
)

// Result is what came of one attack.
type Result struct {
	ID        string  `json:"id"`
	Where     Where   `json:"where"`
	Expected  string  `json:"expected_code"` // "" for no effect
	Code      string  `json:"code"`
	Outcome   Outcome `json:"outcome"`
	ControlOK bool    `json:"control_ok"`
	Detail    string  `json:"detail"`
}

// Outcome is how an attack ended.
type Outcome string

// The outcomes. The first two are as they should be, if the code is right.
const (
	Refused  Outcome = "refused"
	NoEffect Outcome = "no_effect"
	Wrong    Outcome = "wrong"     // nothing changed, and another check than the table's has said so
	Breached Outcome = "succeeded" // something changed
)

// OK reports whether the attack ended as the table says and its control worked.
func (r Result) OK() bool {
	return r.ControlOK && r.Code == r.Expected && (r.Outcome == Refused || r.Outcome == NoEffect)
}

// act is a group of attacks on one honest step. The rows before the control
// are tried first, then the control is carried out, then the rows that need it
// to have happened.
type act struct {
	name    string
	control string // for people
	set     func(*play) error
	rows    []Row
	proof   func(*play) error
	after   []Row
	end     func(*play) error
}

// Table lists every attack.
func Table() []Row { return rowsOf(acts()) }

func rowsOf(acts []act) []Row {
	var all []Row
	for _, a := range acts {
		for _, r := range append(append([]Row{}, a.rows...), a.after...) {
			if r.Control == "" {
				r.Control = a.control
			}
			all = append(all, r)
		}
	}
	return all
}

// Run plays the whole table, or only the rows that are named, in a scene. The
// error says that the scene itself did not hold; what attacks came to is in the
// results.
func Run(ctx context.Context, s Scene, only ...string) ([]Result, error) {
	return perform(ctx, s, acts(), only...)
}

// perform plays acts in their order; the first ones make what later ones need.
func perform(ctx context.Context, s Scene, acts []act, only ...string) ([]Result, error) {
	p, err := enter(ctx, s)
	if err != nil {
		return nil, err
	}
	defer p.leave()
	wanted := map[string]bool{}
	for _, id := range only {
		wanted[id] = true
	}
	var all []Result
	for _, a := range acts {
		results, err := p.act(a, wanted)
		all = append(all, results...)
		if err != nil {
			return all, fmt.Errorf("act %q: %w", a.name, err)
		}
	}
	return all, nil
}

// act plays one act. An act with no wanted row is still carried out, because
// later ones build on what hosts remember of it.
func (p *play) act(a act, wanted map[string]bool) ([]Result, error) {
	p.say("-- %s", a.name)
	if a.set != nil {
		if err := a.set(p); err != nil {
			return nil, fmt.Errorf("its honest step could not be made: %w", err)
		}
	}
	results := p.rows(a.rows, wanted)
	err := error(nil)
	if a.proof != nil {
		err = a.proof(p)
		p.say("   control: %s: %s", a.control, worked(err))
	}
	if err == nil {
		results = append(results, p.rows(a.after, wanted)...)
	}
	for i := range results {
		results[i].ControlOK = results[i].ControlOK && err == nil
		if err != nil {
			results[i].Detail = strings.TrimSpace(results[i].Detail + "; the control failed: " + err.Error())
		}
	}
	if a.end != nil {
		if err := a.end(p); err != nil {
			return results, err
		}
	}
	return results, p.ctx.Err()
}

func worked(err error) string {
	if err != nil {
		return "FAILED: " + err.Error()
	}
	return "works"
}

func (p *play) rows(rows []Row, wanted map[string]bool) []Result {
	var all []Result
	for _, r := range rows {
		if len(wanted) == 0 || wanted[r.ID] {
			res := p.row(r)
			p.say("   %-34s %-9s %s", r.ID, res.Outcome, res.Code)
			all = append(all, res)
		}
	}
	return all
}

// row tries one attack and judges it.
func (p *play) row(r Row) Result {
	res := Result{ID: r.ID, Where: r.Where, Expected: string(r.Code), ControlOK: true}
	before, err := p.packages()
	if err != nil {
		return res.wrong(err)
	}
	p.controlled = nil
	got, err := p.attempt(r)
	if err != nil {
		return res.wrong(fmt.Errorf("it could not be tried: %w", err))
	}
	res.Code, res.Detail, res.ControlOK = string(got.code), got.detail, p.controlled == nil
	after, err := p.packages()
	if err == nil && p.allowed == nil {
		err = differ(before, after)
	}
	p.allowed = nil
	switch {
	case err != nil:
		res.Outcome, res.Detail = Breached, err.Error()+"; "+got.detail
	case got.code != r.Code, !strings.Contains(got.detail, r.Says):
		res.Outcome = Wrong
		res.Detail = fmt.Sprintf("want %q with %q, got %q with %q", r.Code, r.Says, got.code, got.detail)
	case r.Code == "":
		res.Outcome = NoEffect
	default:
		res.Outcome = Refused
	}
	if p.controlled != nil {
		res.Detail += "; the control failed: " + p.controlled.Error()
	}
	return res
}

func (r Result) wrong(err error) Result {
	r.Outcome, r.Detail = Wrong, err.Error()
	return r
}

func (p *play) attempt(r Row) (answer, error) {
	if r.play != nil {
		return r.play(p)
	}
	if r.make == nil {
		return answer{}, errors.New("the row does nothing")
	}
	parcel, err := r.make(p)
	if err != nil {
		return answer{}, err
	}
	return p.hand(parcel)
}

func (p *play) say(format string, args ...any) {
	if p.Progress != nil {
		fmt.Fprintf(p.Progress, format+"\n", args...)
	}
}
