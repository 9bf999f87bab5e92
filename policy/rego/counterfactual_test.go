package rego_test

import (
	"context"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/policy/rego/standard"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/trust"
)

// TestCounterfactualsComeTrue: the named fact, changed, changes the outcome as
// was said, and an exposed host would run by itself if it were not.
func TestCounterfactualsComeTrue(t *testing.T) {
	b, err := rego.Sign(standard.Rules, key)
	if err != nil {
		t.Fatal(err)
	}
	e := must(t, b)
	in := policy.Input{Type: policy.TypeInput, At: 1_800_000_000, Grant: canon.SumFile(nil), Plan: plan.Header{Class: change.Routine, Waves: []plan.Wave{}},
		Branches: []plan.Branch{}, Hosts: []policy.Host{{ID: "h", Domain: "a", Labels: []trust.Label{}}},
		Dossier: proposal.Dossier{Artefacts: []proposal.Fact{}, Hosts: []proposal.Host{}},
		Facts:   policy.Facts{Artefacts: []policy.ArtefactFacts{}, Hosts: []policy.HostFacts{{ID: "h", Data: []string{}, Windows: []policy.Span{}, Level: policy.Stated{Is: "L4"}, Exposed: policy.Answer{Is: policy.Yes}}}}}
	v, found, err := e.Counterfactuals(context.Background(), in)
	if err != nil || v.Outcome != policy.Quorum || len(policy.Variants(in)) > 60 {
		t.Fatalf("%+v, %v", v, err)
	}
	seen := map[string]policy.Outcome{}
	for _, c := range found {
		seen[c.Fact+" "+c.To] = c.Outcome
	}
	if seen["exposed no"] != policy.Allow || seen["level L0"] != policy.Deny || seen["triage needed"] != policy.Hold {
		t.Errorf("%v", seen)
	}
	if _, there := seen["kev yes"]; there {
		t.Error("a fact that no rule looks at changes the outcome")
	}
	in.Facts.Hosts[0].Exposed.Is = policy.No
	if v, _, err := e.Counterfactuals(context.Background(), in); err != nil || v.Outcome != policy.Allow {
		t.Errorf("it did not come true: %+v, %v", v, err)
	}
}
