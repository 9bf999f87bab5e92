package policy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/patchwrit/patchwrit/canon"
)

// Past is a decision as it was recorded.
type Past struct {
	Name    string  // where it was found
	Verdict Verdict // as it was given
	Input   []byte  // canonical bytes of what the rules saw
}

// Replayed is what another bundle would have said. Its JSON is stable.
type Replayed struct {
	Bundle    canon.Digest `json:"bundle"` // "" for rules that are not signed
	Decisions int          `json:"decisions"`
	Changed   int          `json:"changed"`
	Weaker    int          `json:"weaker"`  // of those: milder in some respect
	Changes   []Changed    `json:"changes"` // those that would be others, in the order given
	Groups    []Group      `json:"groups"`  // by name
	Left      []LeftOut    `json:"left"`    // what could not be replayed, and why
}

// Changed is a past decision that would be another.
type Changed struct {
	Name   string       `json:"name"`
	Plan   canon.Digest `json:"plan"`
	At     int64        `json:"at"`     // Unix seconds of the recorded decision
	Bundle canon.Digest `json:"bundle"` // that gave it
	Groups []string     `json:"groups"` // of its hosts, ascending
	Hosts  int          `json:"hosts"`
	Said   Ruling       `json:"said"`
	Says   Ruling       `json:"says"`
	Weaker []string     `json:"weaker"` // in what it is milder; none: it is nowhere
	Gone   []string     `json:"gone"`   // rules that gave a reason then
	Came   []string     `json:"came"`   // rules that give one now
	Why    []string     `json:"why"`    // the reasons that decide now
}

// Group is the total of one host group (label group=NAME; "" for hosts without).
type Group struct {
	Group     string         `json:"group"`
	Decisions int            `json:"decisions"`
	Hosts     int            `json:"hosts"`   // host decisions: a host counts once for each
	Changed   int            `json:"changed"` // decisions
	Weaker    int            `json:"weaker"`
	Moves     map[string]int `json:"moves"` // "allow -> deny": decisions
}

// LeftOut is a recorded decision that could not be replayed.
type LeftOut struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Replay asks other rules about past decisions. Nothing is passed over: a
// recorded input that this version does not read, or that is not the one its
// verdict names, is listed. The error is decide's own.
func Replay(past []Past, bundle canon.Digest, decide func(input []byte) (Decision, error)) (Replayed, error) {
	out := Replayed{Bundle: bundle, Changes: []Changed{}, Groups: []Group{}, Left: []LeftOut{}}
	groups := map[string]*Group{}
	for _, p := range past {
		in, err := p.read()
		if err != nil {
			out.Left = append(out.Left, LeftOut{p.Name, err.Error()})
			continue
		}
		d, err := decide(p.Input)
		if err != nil {
			return out, fmt.Errorf("%s: %w", p.Name, err)
		}
		now := Bind(d, p.Verdict.Plan, in.Plan.Class, in.At, bundle, p.Verdict.Input)
		c := p.against(now, in)
		out.Decisions++
		if c.Said != c.Says {
			out.Changed, out.Changes = out.Changed+1, append(out.Changes, c)
			if len(c.Weaker) > 0 {
				out.Weaker++
			}
		}
		c.count(in, groups)
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		out.Groups = append(out.Groups, *groups[name])
	}
	return out, nil
}

// read reads the recorded input, and holds it to its verdict.
func (p Past) read() (Input, error) {
	var in Input
	if err := canon.Decode(p.Input, &in); err != nil {
		return in, fmt.Errorf("this version does not read its input (an older form, or no input): %w", err)
	}
	switch {
	case in.Type != TypeInput:
		return in, fmt.Errorf("its input has the type %q, this version reads %s", in.Type, TypeInput)
	case p.Verdict.Type != TypeVerdict:
		return in, fmt.Errorf("its verdict has the type %q, this version reads %s", p.Verdict.Type, TypeVerdict)
	case InputDigest(p.Input) != p.Verdict.Input:
		return in, fmt.Errorf("its input is %s, its verdict was given over %s", InputDigest(p.Input).Short(), p.Verdict.Input.Short())
	case in.Plan.Digest() != p.Verdict.Plan || in.At != p.Verdict.At:
		return in, fmt.Errorf("its input is about plan %s, its verdict about %s", in.Plan.Digest().Short(), p.Verdict.Plan.Short())
	}
	return in, nil
}

func (p Past) against(now Verdict, in Input) Changed {
	c := Changed{Name: p.Name, Plan: p.Verdict.Plan, At: p.Verdict.At, Bundle: p.Verdict.Bundle, Groups: []string{}, Hosts: len(in.Facts.Hosts),
		Said: p.Verdict.Ruling(), Says: now.Ruling(), Weaker: now.WeakerThan(p.Verdict), Gone: p.Verdict.Spoke(now), Came: now.Spoke(p.Verdict), Why: []string{}}
	for _, h := range in.Facts.Hosts {
		c.Groups = append(c.Groups, h.Group)
	}
	slices.Sort(c.Groups)
	c.Groups = slices.Compact(c.Groups)
	for _, r := range now.Reasons {
		if r.Outcome == now.Outcome {
			c.Why = append(c.Why, r.Rule+": "+r.Text.Text())
		}
	}
	return c
}

// count adds a decision to each group that has a host in it.
func (c Changed) count(in Input, groups map[string]*Group) {
	for _, name := range c.Groups {
		g := groups[name]
		if g == nil {
			g = &Group{Group: name, Moves: map[string]int{}}
			groups[name] = g
		}
		g.Decisions++
		for _, h := range in.Facts.Hosts {
			if h.Group == name {
				g.Hosts++
			}
		}
		if c.Said == c.Says {
			continue
		}
		g.Changed++
		g.Moves[move(c.Said, c.Says)]++
		if len(c.Weaker) > 0 {
			g.Weaker++
		}
	}
}

// move names what changes: outcomes where they differ, else what does.
func move(said, says Ruling) string {
	switch {
	case said.Outcome != says.Outcome:
		return string(said.Outcome) + " -> " + string(says.Outcome)
	case said.Class != says.Class:
		return string(said.Outcome) + ", quorum " + said.Class + " -> " + says.Class
	case says.Until < said.Until:
		return "a shorter hold"
	}
	return "a longer hold"
}
