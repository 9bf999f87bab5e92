package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const judged = `package patchwrit

limit := 3

reasons contains {"rule": "old", "text": sprintf("%d is old", [input.age])} if {
	input.age > limit
	not input.young
}

name := r.rule if {
	some r in reasons
} else := "none"
`

// What the tests beside rules do not notice is a survivor, by its name; and rules
// whose tests are whole leave none.
func TestRulesAreJudgedByTheirOwnTests(t *testing.T) {
	const asks = "package patchwrit_test\nimport data.patchwrit\nsaid(age, young) := name if name := patchwrit.name with input as {\"age\": age, \"young\": young}\n"
	const whole = asks + `test_a if said(4, false) == "old"
test_b if said(3, false) == "none"
test_c if said(4, true) == "none"`
	for name, c := range map[string]struct {
		tests     string
		survivors []string // below name "a.rego: "
	}{
		"whole":         {whole, nil},
		"nothing young": {strings.Replace(whole, "test_c", "unused_c", 1), []string{"reasons old: without not input.young"}},
		"nothing at 3":  {strings.Replace(whole, "said(3,", "said(2,", 1), []string{`reasons old: input.age > limit becomes input.age >= limit`}},
		"no limit of 3": {strings.Replace(whole, "said(4,", "said(5,", 2), []string{`limit: 3 becomes 4`}},
	} {
		all, err := readRules(fstest.MapFS{"a.rego": {Data: []byte(judged)}, "a_test.rego": {Data: []byte(c.tests)}})
		if err != nil {
			t.Fatal(err)
		}
		results, err := all.judge(context.Background(), "room")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := []string{}
		for _, r := range results {
			if strings.Contains(r.m.cond, "is old") {
				t.Errorf("the words of a reason were changed: %s", r.m.name())
			}
			if !r.killed {
				got = append(got, strings.TrimPrefix(r.m.name(), "room/a.rego: "))
			}
		}
		if len(results) < 11 || !slices.Equal(got, c.survivors) && len(got)+len(c.survivors) > 0 {
			t.Errorf("%s: of %d mutants %q survive, want %q", name, len(results), got, c.survivors)
		}
	}
}

// Rules whose tests are red, or that have none, are no bench.
func TestRedRulesJudgeNothing(t *testing.T) {
	rules := fstest.MapFS{"a.rego": {Data: []byte(judged)}, "a_test.rego": {Data: []byte("package patchwrit_test\ntest_a if 1 == 2")}}
	all, err := readRules(rules)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all.judge(context.Background(), ""); err == nil || !strings.Contains(err.Error(), "test_a is red") {
		t.Errorf("%v", err)
	}
	delete(rules, "a_test.rego")
	if _, err := readRules(rules); err == nil {
		t.Error("rules without tests were read")
	}
}
