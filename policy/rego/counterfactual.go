package rego

import (
	"context"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/policy"
)

func (e *Engine) bound(ctx context.Context, in policy.Input, raw []byte) (policy.Verdict, error) {
	d, err := e.Decide(ctx, raw)
	return policy.Bind(d, in.Plan.Digest(), in.Plan.Class, in.At, e.digest, policy.InputDigest(raw)), err
}

// Verdict is what the bundle says over an input.
func (e *Engine) Verdict(ctx context.Context, in policy.Input) (policy.Verdict, error) {
	return e.bound(ctx, in, in.Bytes())
}

// Counterfactual is one fact that would change the outcome.
type Counterfactual struct {
	Fact    string         `json:"fact"`
	From    string         `json:"from"`
	To      string         `json:"to"`
	Outcome policy.Outcome `json:"outcome"` // what the rules would say
	Class   string         `json:"class"`
	Input   canon.Digest   `json:"input"` // of the input that differs in this fact only
}

// Counterfactuals evaluates the same bundle over inputs that differ from in in
// exactly one fact of the closed list (policy.Variants), in its order, and gives
// those whose outcome or class is another.
func (e *Engine) Counterfactuals(ctx context.Context, in policy.Input) (policy.Verdict, []Counterfactual, error) {
	now, err := e.Verdict(ctx, in)
	if err != nil {
		return now, nil, err
	}
	out := []Counterfactual{}
	for _, v := range policy.Variants(in) {
		then, err := e.Verdict(ctx, v.Input)
		if err != nil {
			return now, nil, err
		}
		if then.Outcome != now.Outcome || then.Class != now.Class {
			out = append(out, Counterfactual{v.Fact, v.From, v.To, then.Outcome, string(then.Class), then.Input})
		}
	}
	return now, out, nil
}
