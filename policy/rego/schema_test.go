package rego_test

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/docs/schema"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/internal/schematest"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/refusal"
)

// The schema has every member of the type and no other, and every one is
// described.
func TestTheInputHasASchema(t *testing.T) {
	s := schematest.Compile(t, schema.PolicyInput)
	for _, wrong := range s.Describes(reflect.TypeFor[policy.Input]()) {
		t.Error(wrong)
	}
	var doc map[string]any
	if err := json.Unmarshal(schema.PolicyInput, &doc); err != nil {
		t.Fatal(err)
	}
	described(t, "$", doc)
}

// described wants a description of every member, and a unit of every number.
func described(t *testing.T, path string, node any) {
	m, ok := node.(map[string]any)
	if !ok {
		return
	}
	for name, p := range m {
		if name != "properties" && name != "$defs" {
			described(t, path+"."+name, p)
			continue
		}
		for member, q := range p.(map[string]any) {
			one := q.(map[string]any)
			text, _ := one["description"].(string)
			if text == "" && one["$ref"] == nil {
				t.Errorf("%s.%s has no description", path, member)
			}
			if one["type"] == "integer" && !strings.Contains(text, "Unix seconds") && !strings.Contains(text, "number of") && !strings.Contains(text, "how many times") && !strings.Contains(text, "bytes") &&
				!strings.Contains(text, "index") && !strings.Contains(text, "entries") {
				t.Errorf("%s.%s: %q names no unit", path, member, text)
			}
			described(t, path+"."+member, one)
		}
	}
}

// Inputs as they are recorded are valid, the systematic ones too, and what is
// not of this form is not.
func TestInputsAreAsTheSchemaSays(t *testing.T) {
	s := schematest.Compile(t, schema.PolicyInput)
	w := evidencetest.Must(evidencetest.Options{})
	b := w.Bundle
	real := policy.NewInput(w.House.Root, b.Header, b.Branches, b.Dossier, b.Facts, b.Grant, b.Verdict.At).Bytes()
	if policy.InputDigest(real) != b.Verdict.Input {
		t.Fatal("this is not the input that was recorded")
	}
	s.Accepts(t, "a recorded input", real)
	for _, c := range policy.Situations() {
		s.Accepts(t, c.Name, c.Input.Bytes())
	}
	for path, value := range map[string]any{"facts.hosts.exposed.is": "maybe", "facts.hosts.level.is": "L5", "at": "today", "facts.hosts.due": -1, "plan.class": "mild", "news": 1, "branches.changes.op": "paint", "type": "v0", "facts.hosts.id": "x"} {
		if s.Judge(t, schematest.Changed(t, policy.Situations()[0].Input.Bytes(), path, value)) == nil {
			t.Errorf("with %s = %v it passes", path, value)
		}
	}
	for _, path := range []string{"facts", "solo", "facts.hosts.windows", "dossier.artefacts.chain.signers"} {
		if s.Judge(t, schematest.Changed(t, policy.Situations()[0].Input.Bytes(), path, nil)) == nil {
			t.Errorf("without %s it passes", path)
		}
	}
}

// A member that input does not have is an error, wherever rules are compiled.
func TestATypoInARuleIsAnError(t *testing.T) {
	for source, typo := range map[string]string{
		"x if input.typo":                      "input.typo",
		"x if input.plan.klass == \"routine\"": "input.plan.klass",
		"x if input.hosts[_].lables":           "lables",
		"x if { some b in input.branches; some c in b.changes; c.operation == \"remove\" }": "operation",
		"x if { some h in input.facts.hosts; h.exposed.iss == \"yes\" }":                    "iss",
		"x if input.facts.hosts[_].exposed.is == \"yes\"":                                   "",
		"x if input.dossier.artefacts[_].chain.signers[_] == \"a\"":                         "",
	} {
		source += "\n" + strings.Replace(good, ", %s", "", 1)
		bundle := signed(t, source)
		_, loaded := rego.Load(context.Background(), bundle, canon.SumFile(bundle), public(t, key))
		files := fstest.MapFS{"a.rego": {Data: []byte("package patchwrit\n" + source)}}
		_, compiled := rego.Unsigned(context.Background(), files)
		_, tested := rego.Test(context.Background(), files)
		for how, err := range map[string]error{"loaded": loaded, "compiled": compiled, "tested": tested} {
			code := refusal.Code("PW-POLICY-BUNDLE")
			if how == "tested" { // rules that nobody has signed yet
				code = "PW-POLICY-RULES"
			}
			if (typo == "") != (err == nil) || typo != "" && (refusal.CodeOf(err) != code || !strings.Contains(err.Error(), typo)) {
				t.Errorf("%q, %s: %v", source[:40], how, err)
			}
		}
	}
}
