package rego_test

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

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
	if err != nil || v.Outcome != policy.Quorum || len(policy.Variants(in)) > 65 {
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

// ruleNames are the names under which the standard rules give reasons, read from
// their syntax trees. One that is put together in another way is an error.
func ruleNames(t *testing.T) map[string]bool {
	t.Helper()
	out, triggers := map[string]bool{}, []string{}
	paths, err := fs.Glob(standard.Rules, "*.rego")
	if err != nil {
		t.Fatal(err)
	}
	wanted := []ast.Value{}
	for _, path := range paths {
		raw, err := fs.ReadFile(standard.Rules, path)
		if err != nil {
			t.Fatal(err)
		}
		m, err := ast.ParseModuleWithOpts(path, string(raw), ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, "_test.rego") {
			continue
		}
		for _, r := range m.Rules {
			if r.Head.Name == "triggers" {
				for _, k := range r.Head.Value.Value.(ast.Object).Keys() {
					triggers = append(triggers, string(k.Value.(ast.String)))
				}
			}
			ast.WalkTerms(r, func(x *ast.Term) bool {
				if o, ok := x.Value.(ast.Object); ok && o.Get(ast.StringTerm("rule")) != nil {
					wanted = append(wanted, o.Get(ast.StringTerm("rule")).Value)
				}
				return false
			})
		}
	}
	for _, v := range wanted {
		switch s := v.(type) {
		case ast.String:
			out[string(s)] = true
		case ast.Ref: // of a hold, which has a name of its own
			if s.String() != "h.rule" {
				t.Errorf("a rule is named by %s", s)
			}
		case ast.Call:
			if s.String() != `sprintf("nonstandard_%s", [name])` {
				t.Errorf("a rule is named by %s", s)
			}
			for _, name := range triggers {
				out["nonstandard_"+name] = true
			}
		default:
			t.Errorf("a rule is named by %s", s)
		}
	}
	return out
}

// withoutOne reads from docs/POLICY.md which rules have no single fact that lifts
// them, each with the reason.
func withoutOne(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/POLICY.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	_, table, _ := strings.Cut(string(raw), "| no single fact lifts | because |\n|---|---|\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 4 {
			break
		}
		out[strings.Trim(cells[1], " `")] = strings.TrimSpace(cells[2])
	}
	return out
}

// lifted is, by rule, an input in which it speaks, and the fact that lifts it with
// the outcome of then.
func lifted() map[string]lift {
	host := func(edit func(*policy.HostFacts)) func(*policy.Input) {
		return func(in *policy.Input) { edit(&in.Facts.Hosts[0]) }
	}
	closed := func(h *policy.HostFacts) { h.Windowed.Is = policy.Yes }
	out := map[string]lift{
		"autonomy_observe": {host(func(h *policy.HostFacts) { h.Level.Is = "L0" }), "level L4", policy.Allow},
		"autonomy":         {host(func(h *policy.HostFacts) { h.Level.Is = "L3" }), "deadline 14D", policy.Allow},
		"unknown_fact":     {host(func(h *policy.HostFacts) { h.Exposed.Is = "" }), "exposed no", policy.Allow},
		"unknown_deadline": {situation("sources of deadlines do not say"), "deadline 60D", policy.Allow},
		"exposed":          {host(func(h *policy.HostFacts) { h.Exposed.Is = policy.Yes }), "exposed no", policy.Allow},
		"data_tag":         {host(func(h *policy.HostFacts) { h.Data = []string{"gdpr"} }), "data none", policy.Allow},
		"data_window":      {host(func(h *policy.HostFacts) { h.Data = []string{"hipaa"} }), "data none", policy.Allow},
		"forensic_hold":    {host(func(h *policy.HostFacts) { h.Deadline.Is, h.Triage.Is = "3DF", "needed" }), "triage done", policy.Allow},
		"window":           {host(closed), "windowed no", policy.Allow},
		"overdue":          {host(func(h *policy.HostFacts) { closed(h); h.Due = 1 }), "windowed no", policy.Allow},
		"cooldown":         {func(in *policy.Input) { in.Facts.Artefacts[0].Cooldown = in.At + 60 }, "cooldown past", policy.Allow},
		"freeze":           {situation("a freeze"), "freeze none", policy.Allow},
		"people_decide":    {situation("without a grant"), "grant named", policy.Allow},
		"network":          {situation("maintainer scripts want the network"), "network no", policy.Allow},
		"abi_break":        {situation("a program would break"), "breaks none", policy.Allow},
		"rollback":         {situation("it goes down under a grant"), "grant none", policy.Quorum},
	}
	for name, at := range map[string]func(*policy.ArtefactFacts) *policy.Answer{
		"new_publisher": func(a *policy.ArtefactFacts) *policy.Answer { return &a.NewPublisher },
		"new_script":    func(a *policy.ArtefactFacts) *policy.Answer { return &a.NewScript },
		"downgrade":     func(a *policy.ArtefactFacts) *policy.Answer { return &a.Downgrade },
		"new_vendor":    func(a *policy.ArtefactFacts) *policy.Answer { return &a.NewVendor },
		"new_origin":    func(a *policy.ArtefactFacts) *policy.Answer { return &a.NewOrigin },
		"major":         func(a *policy.ArtefactFacts) *policy.Answer { return &a.Major },
		"core":          func(a *policy.ArtefactFacts) *policy.Answer { return &a.Core },
	} {
		out["nonstandard_"+name] = lift{func(in *policy.Input) { at(&in.Facts.Artefacts[0]).Is = policy.Yes }, name + " no", policy.Allow}
	}
	return out
}

type lift struct {
	edit    func(*policy.Input)
	by      string // fact and value
	outcome policy.Outcome
}

// situation is one of policy.Situations.
func situation(name string) func(*policy.Input) {
	return func(in *policy.Input) {
		for _, s := range policy.Situations() {
			if s.Name == name {
				*in = s.Input
				return
			}
		}
		panic(name)
	}
}

func speaks(v policy.Verdict, rule string) bool {
	return slices.ContainsFunc(v.Reasons, func(r policy.Reason) bool { return r.Rule == rule })
}

// TestEveryRuleSaysWhatWouldLiftIt: of each rule that gives a reason either one
// fact is told that would lift it, or docs/POLICY.md says why there is none. A new
// rule is red until somebody has thought of it.
func TestEveryRuleSaysWhatWouldLiftIt(t *testing.T) {
	rules, with, without := ruleNames(t), lifted(), withoutOne(t)
	if len(rules) < 25 || len(without) < 5 {
		t.Fatalf("%d rules, %d without: are they read?", len(rules), len(without))
	}
	for rule := range rules {
		if _, has := with[rule]; has == (without[rule] != "") {
			t.Errorf("%s: say in this test which fact lifts it, or in docs/POLICY.md why none does (and not both)", rule)
		}
	}
	for _, rule := range append(slices.Collect(maps.Keys(with)), slices.Collect(maps.Keys(without))...) {
		if !rules[rule] {
			t.Errorf("there is no rule %s", rule)
		}
	}
	for rule, c := range with {
		in := policy.Situations()[0].Input
		c.edit(&in)
		v, found, err := plain().Counterfactuals(context.Background(), in)
		if err != nil || !speaks(v, rule) {
			t.Errorf("%s does not speak: %+v, %v", rule, v, err)
		}
		i := slices.IndexFunc(found, func(f rego.Counterfactual) bool { return f.Fact+" "+f.To == c.by })
		if i < 0 || found[i].Outcome != c.outcome {
			t.Errorf("%s: that %s would give %s is not told: %+v", rule, c.by, c.outcome, found)
			continue
		}
		for _, other := range policy.Variants(in) {
			if other.Fact+" "+other.To != c.by {
				continue
			}
			if then, err := plain().Verdict(context.Background(), other.Input); err != nil || policy.InputDigest(other.Input.Bytes()) != found[i].Input || then.Outcome != c.outcome || rule != "rollback" && speaks(then, rule) {
				t.Errorf("%s: with %s it still speaks: %+v, %v", rule, c.by, then, err)
			}
		}
	}
}

// TestWhereNoFactLiftsARule: what docs/POLICY.md says of rules without a
// counterfactual is so.
func TestWhereNoFactLiftsARule(t *testing.T) {
	spoke := map[string]bool{}
	without := withoutOne(t)
	for _, s := range policy.Situations() {
		v, err := plain().Verdict(context.Background(), s.Input)
		if err != nil {
			t.Fatal(err)
		}
		mine, fresh := []string{}, false
		for rule := range without {
			if speaks(v, rule) && rule != "granted" {
				mine = append(mine, rule)
			}
		}
		for _, rule := range mine {
			fresh = fresh || !spoke[rule]
			spoke[rule] = true
		}
		if !fresh { // one situation for each is enough
			continue
		}
		_, found, err := plain().Counterfactuals(context.Background(), s.Input)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range policy.Variants(s.Input) {
			i := slices.IndexFunc(found, func(f rego.Counterfactual) bool { return f.Input == policy.InputDigest(v.Input.Bytes()) })
			if i < 0 || found[i].Outcome.Rank() >= policy.Deny.Rank() {
				continue
			}
			then, err := plain().Verdict(context.Background(), v.Input)
			if err != nil {
				t.Fatal(err)
			}
			for _, rule := range mine {
				if !speaks(then, rule) {
					t.Errorf("%s: %s %s lifts %s", s.Name, v.Fact, v.To, rule)
				}
			}
		}
	}
	for rule := range without {
		if !spoke[rule] && rule != "granted" {
			t.Errorf("%s never speaks", rule)
		}
	}
}
