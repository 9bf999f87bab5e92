package trust_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/trust"
)

func TestScopeCovers(t *testing.T) {
	h := trust.Host{ID: canon.SumFile([]byte("h")), Domain: "a", Labels: []trust.Label{{Key: "env", Value: "prod"}, {Key: "zone", Value: "1"}}}
	other := canon.SumFile([]byte("other"))
	for name, c := range map[string]struct {
		scope trust.Scope
		want  bool
	}{
		"zero":                     {trust.Scope{}, false},
		"all":                      {trust.Scope{All: true}, true},
		"its id":                   {trust.Scope{Hosts: []trust.HostID{other, h.ID}}, true},
		"another id":               {trust.Scope{Hosts: []trust.HostID{other}}, false},
		"its domain":               {trust.Scope{Domains: []string{"a"}}, true},
		"another domain":           {trust.Scope{Domains: []string{"b"}}, false},
		"one of its labels":        {trust.Scope{Labels: []trust.Label{{Key: "env", Value: "test"}, {Key: "zone", Value: "1"}}}, true},
		"its key, another value":   {trust.Scope{Labels: []trust.Label{{Key: "env", Value: "test"}}}, false},
		"another key, its value":   {trust.Scope{Labels: []trust.Label{{Key: "tier", Value: "prod"}}}, false},
		"any line is enough":       {trust.Scope{Hosts: []trust.HostID{other}, Domains: []string{"a"}}, true},
		"empty domain is no match": {trust.Scope{Domains: []string{""}}, false},
	} {
		if got := c.scope.Covers(h); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
		if c.scope.Covers(trust.Host{}) {
			t.Errorf("%s covers the zero host", name)
		}
	}
}

func TestScopeValid(t *testing.T) {
	id := canon.SumFile(nil)
	for name, s := range map[string]trust.Scope{
		"all":    {All: true},
		"host":   {Hosts: []trust.HostID{id}},
		"domain": {Domains: []string{"a"}},
		"label":  {Labels: []trust.Label{{Key: "env", Value: "prod"}}},
		"mixed":  {Hosts: []trust.HostID{id}, Domains: []string{"a"}, Labels: []trust.Label{{Key: "env", Value: "prod"}}},
	} {
		if err := s.Valid(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, s := range map[string]trust.Scope{
		"nothing":                 {},
		"all and more":            {All: true, Domains: []string{"a"}},
		"no digest":               {Hosts: []trust.HostID{"abc"}},
		"empty domain":            {Domains: []string{""}},
		"blank label":             {Labels: []trust.Label{{Key: "env", Value: " "}}},
		"label in another script": {Labels: []trust.Label{{Key: "env", Value: "é"}}},
		"keyless label":           {Labels: []trust.Label{{Value: "prod"}}},
		"one bad line":            {Hosts: []trust.HostID{id, ""}},
	} {
		if s.Valid() == nil {
			t.Errorf("%s is valid", name)
		}
		refused(t, s.Valid(), "PW-TRUST-SCOPE")
	}
}

// TestScopeNeverCoversLess: adding a line never takes a host out.
func TestScopeNeverCoversLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"a", "b", "c"})
		draw := func() trust.Scope {
			var s trust.Scope
			s.Domains = rapid.SliceOfN(word, 0, 2).Draw(t, "domains")
			for _, w := range rapid.SliceOfN(word, 0, 2).Draw(t, "labels") {
				s.Labels = append(s.Labels, trust.Label{Key: w, Value: "1"})
			}
			return s
		}
		a, b := draw(), draw()
		h := trust.Host{ID: "x", Domain: word.Draw(t, "domain"), Labels: []trust.Label{{Key: word.Draw(t, "label"), Value: "1"}}}
		both := trust.Scope{Domains: slices.Concat(a.Domains, b.Domains), Labels: slices.Concat(a.Labels, b.Labels)}
		if both.Covers(h) != (a.Covers(h) || b.Covers(h)) {
			t.Fatalf("%+v and %+v on %+v", a, b, h)
		}
	})
}

func TestQuorumMet(t *testing.T) {
	person := func(id string, roles ...string) trust.Person {
		return trust.Person{ID: trust.PersonID(id), Roles: roles}
	}
	both, owner, security := person("both", "owner", "security"), person("o", "owner"), person("s", "security")
	q := trust.Quorum{People: 2, Roles: []trust.RoleNeed{{Role: "owner", People: 1}, {Role: "security", People: 1}}}
	for name, c := range map[string]struct {
		q      trust.Quorum
		people []trust.Person
		want   bool
	}{
		"one of each":                     {q, []trust.Person{owner, security}, true},
		"one who is both, and an owner":   {q, []trust.Person{both, owner}, true},
		"one who is both, and a security": {q, []trust.Person{both, security}, true},
		"one person is not two":           {q, []trust.Person{both, both}, false},
		"two owners":                      {q, []trust.Person{owner, person("o2", "owner")}, false},
		"one who is both, and a stranger": {q, []trust.Person{both, person("x")}, false},
		"nobody":                          {q, nil, false},
		"the zero quorum":                 {trust.Quorum{}, []trust.Person{owner, security}, false},
	} {
		if got := c.q.Met(c.people); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestQuorumOfTooManyRoles: Met looks at every set of roles, so it answers no to
// more than Load lets in.
func TestQuorumOfTooManyRoles(t *testing.T) {
	var q trust.Quorum
	var people []trust.Person
	for i := range 9 {
		role := fmt.Sprint(i)
		q.People++
		q.Roles = append(q.Roles, trust.RoleNeed{Role: role, People: 1})
		people = append(people, trust.Person{ID: trust.PersonID(role), Roles: []string{role}})
		if got := q.Met(people); got != (i < 8) {
			t.Errorf("%d roles: %t", i+1, got)
		}
	}
}

// TestQuorumMetAsByTrying compares Met with trying every way to give people to
// needs.
func TestQuorumMetAsByTrying(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		roles := []string{"a", "b", "c"}
		var people []trust.Person
		for i := range rapid.IntRange(0, 5).Draw(t, "people") {
			p := trust.Person{ID: trust.PersonID(fmt.Sprint(i))}
			for _, r := range roles {
				if rapid.Bool().Draw(t, r) {
					p.Roles = append(p.Roles, r)
				}
			}
			people = append(people, p)
		}
		q := trust.Quorum{People: rapid.IntRange(1, 4).Draw(t, "wanted")}
		var slots []string
		for _, r := range roles {
			if n := rapid.IntRange(0, 2).Draw(t, "need "+r); n > 0 {
				q.Roles = append(q.Roles, trust.RoleNeed{Role: r, People: n})
				slots = append(slots, slices.Repeat([]string{r}, n)...)
			}
		}
		want := len(people) >= q.People && assign(slots, people)
		if got := q.Met(people); got != want {
			t.Fatalf("%+v by %+v: %t, trying says %t", q, people, got, want)
		}
	})
}

func assign(slots []string, people []trust.Person) bool {
	if len(slots) == 0 {
		return true
	}
	for i, p := range people {
		if slices.Contains(p.Roles, slots[0]) && assign(slots[1:], slices.Concat(people[:i:i], people[i+1:])) {
			return true
		}
	}
	return false
}
