package approval_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// The house's people: p-001 owner, p-002 owner and security, p-003 owner,
// p-004 owner and security, p-005 owner.

func quorum(t *testing.T, name string) trust.Quorum {
	t.Helper()
	q, ok := shown.Root.Quorum(name)
	if !ok {
		t.Fatalf("no quorum %q", name)
	}
	return q
}

// near and far are the person's approvals of s: on the command line, and on the
// console's page.
func near(n int, s approval.Statement) approval.Approval { return shown.quick(n).sign(s) }

func far(n int, s approval.Statement) approval.Approval {
	return shown.far[shown.People[n].ID].sign(s)
}

func TestTallyCountsPeopleRolesAndViews(t *testing.T) {
	s := say("approve")
	y, err := approval.Tally(shown.Root, quorum(t, "critical"), s, "control", []approval.Approval{near(1, s), far(0, s)})
	must(t, err)
	if y.Quorum() != "critical" || y.Statement() != s.Digest() {
		t.Errorf("%+v", y)
	}
	want := []approval.Voice{
		{Person: "p-001", Credential: shown.far["p-001"].credential.ID, Roles: []string{"owner"}, Independent: false},
		{Person: "p-002", Credential: shown.quick(1).credential.ID, Roles: []string{"owner", "security"}, Independent: true},
	}
	if got := y.Voices(); !slices.EqualFunc(got, want, func(a, b approval.Voice) bool {
		return a.Person == b.Person && a.Credential == b.Credential && a.Independent == b.Independent && slices.Equal(a.Roles, b.Roles)
	}) {
		t.Errorf("got %+v", got)
	}
	y.Voices()[0].Person = "p-009"
	if y.Voices()[0].Person != "p-001" {
		t.Error("the voices of a Yes can be changed from outside")
	}
}

func TestTallyRefusals(t *testing.T) {
	s, no := say("approve"), say("deny")
	many := func() []approval.Approval {
		all := []approval.Approval{}
		for range approval.MaxApprovals + 1 {
			all = append(all, near(0, s))
		}
		return all
	}
	for _, c := range []struct {
		name   string
		code   refusal.Code
		quorum string
		edit   func(*trust.Quorum)
		s      approval.Statement
		author trust.PersonID
		as     []approval.Approval
	}{
		{"nobody", "PW-APPROVAL-PEOPLE", "routine", nil, s, "control", nil},
		{"one", "PW-APPROVAL-PEOPLE", "routine", nil, s, "control", []approval.Approval{near(0, s)}},
		{"two of three", "PW-APPROVAL-PEOPLE", "routine", func(q *trust.Quorum) { q.People = 3 }, s, "control", []approval.Approval{near(0, s), near(1, s)}},
		{"one person, two keys", "PW-APPROVAL-TWICE", "routine", nil, s, "control", []approval.Approval{near(0, s), far(0, s)}},
		{"one person, one key twice", "PW-APPROVAL-TWICE", "routine", nil, s, "control", []approval.Approval{near(0, s), near(0, s)}},
		{"one person twice among enough", "PW-APPROVAL-TWICE", "routine", nil, s, "control", []approval.Approval{near(0, s), near(1, s), far(1, s)}},
		{"the author", "PW-APPROVAL-AUTHOR", "routine", nil, s, "p-001", []approval.Approval{near(0, s), near(1, s)}},
		{"the author among enough", "PW-APPROVAL-AUTHOR", "routine", nil, s, "p-001", []approval.Approval{near(0, s), near(1, s), near(2, s)}},
		{"no author", "PW-APPROVAL-AUTHOR", "routine", nil, s, "", []approval.Approval{near(0, s), near(1, s)}},
		{"the author of a grant", "PW-APPROVAL-AUTHOR", "grant", nil, say("grant"), "p-002", []approval.Approval{near(0, say("grant")), near(1, say("grant"))}},
		{"no security", "PW-APPROVAL-ROLES", "critical", nil, s, "control", []approval.Approval{near(0, s), near(2, s)}},
		{"one person for both roles", "PW-APPROVAL-ROLES", "critical", func(q *trust.Quorum) {
			q.Roles = []trust.RoleNeed{{Role: "owner", People: 2}, {Role: "security", People: 1}}
		}, s, "control", []approval.Approval{near(0, s), near(1, s)}},
		{"two of the second role", "PW-APPROVAL-ROLES", "critical", func(q *trust.Quorum) { q.Roles[1].People = 2 }, s, "control", []approval.Approval{near(0, s), near(1, s), near(2, s)}},
		{"all on the console", "PW-APPROVAL-INDEPENDENT", "critical", nil, s, "control", []approval.Approval{far(0, s), far(1, s)}},
		{"a no among enough", "PW-APPROVAL-KIND", "routine", nil, s, "control", []approval.Approval{near(0, s), near(1, s), near(2, no)}},
		{"a revoked key among enough", "PW-APPROVAL-REVOKED", "routine", nil, s, "control", []approval.Approval{near(1, s), near(2, s), shown.revoked.sign(s)}},
		{"too many", "PW-APPROVAL-MANY", "routine", nil, s, "control", many()},
		{"the quorum of something else", "PW-APPROVAL-QUORUM", "halt", nil, s, "control", []approval.Approval{near(0, s), near(1, s)}},
		{"a class's quorum for a grant", "PW-APPROVAL-QUORUM", "critical", nil, say("grant"), "control", []approval.Approval{near(0, say("grant")), near(1, say("grant"))}},
		{"a quorum without a name", "PW-APPROVAL-QUORUM", "routine", func(q *trust.Quorum) { q.For = "" }, s, "control", []approval.Approval{near(0, s), near(1, s)}},
		{"a quorum of nobody", "PW-APPROVAL-QUORUM", "routine", func(q *trust.Quorum) { q.People = 0 }, s, "control", []approval.Approval{near(0, s), near(1, s)}},
		{"a quorum of one", "PW-APPROVAL-QUORUM", "routine", func(q *trust.Quorum) { q.People = 1 }, s, "control", []approval.Approval{near(0, s), near(1, s)}},
		{"a halt by nobody", "PW-APPROVAL-QUORUM", "halt", func(q *trust.Quorum) { q.People = 0 }, say("halt"), "p-001", []approval.Approval{near(0, say("halt"))}},
		{"a role without a name", "PW-APPROVAL-QUORUM", "critical", func(q *trust.Quorum) { q.Roles[0].Role = "" }, s, "control", []approval.Approval{near(0, s), near(1, s)}},
		{"nobody of a role", "PW-APPROVAL-QUORUM", "critical", func(q *trust.Quorum) { q.Roles[0].People = 0 }, s, "control", []approval.Approval{near(0, s), near(1, s)}},
		{"an absurd role", "PW-APPROVAL-QUORUM", "critical", func(q *trust.Quorum) { q.Roles[0].People = 1 << 40 }, s, "control", []approval.Approval{near(0, s), near(1, s)}},
		{"the zero quorum", "PW-APPROVAL-QUORUM", "routine", func(q *trust.Quorum) { *q = trust.Quorum{} }, s, "control", []approval.Approval{near(0, s), near(1, s)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := quorum(t, c.quorum)
			q.Roles = slices.Clone(q.Roles)
			if c.edit != nil {
				c.edit(&q)
			}
			y, err := approval.Tally(shown.Root, q, c.s, c.author, c.as)
			refuses(t, err, c.code)
			if len(y.Voices()) > 0 || y.Quorum() != "" || y.Statement() != "" {
				t.Errorf("a refusal that says %+v", y)
			}
		})
	}
	_, err := approval.Tally(trust.Root{}, quorum(t, "routine"), s, "control", []approval.Approval{near(0, s), near(1, s)})
	refuses(t, err, "PW-APPROVAL-ROOT")
}

// TestEnoughIsEnough are the positive twins of the refusals above.
func TestEnoughIsEnough(t *testing.T) {
	for _, c := range []struct {
		quorum string
		kind   approval.Kind
		author trust.PersonID
		far    []int
		near   []int
	}{
		{"routine", approval.Approve, "control", nil, []int{0, 2}},
		{"routine", approval.Approve, "control", nil, []int{0, 1, 2, 3, 4}},
		{"sensitive", approval.Approve, "p-003", []int{0}, []int{1}},
		{"critical", approval.Approve, "p-001", []int{4}, []int{3}},
		{"rollback", approval.Approve, "p-001", nil, []int{1, 2}},
		{"critical", approval.Deny, "p-001", nil, []int{0, 3}},
		{"grant", approval.Allow, "p-001", nil, []int{1, 2}},
		{"revoke", approval.Revoke, "p-001", nil, []int{0}}, // its author may take a grant back
		{"halt", approval.Stop, "p-001", nil, []int{0}},
		{"halt", approval.Stop, "", nil, []int{0}},
		{"lift", approval.Lift, "p-001", nil, []int{0, 2}},
	} {
		s, as := say(c.kind), []approval.Approval{}
		for _, n := range c.far {
			as = append(as, far(n, s))
		}
		for _, n := range c.near {
			as = append(as, near(n, s))
		}
		y, err := approval.Tally(shown.Root, quorum(t, c.quorum), s, c.author, as)
		if err != nil || len(y.Voices()) != len(as) {
			t.Errorf("%s by %v and %v: %v", c.quorum, c.near, c.far, err)
		}
	}
}

func TestAloneInSoloModeOnly(t *testing.T) {
	solo := newHouse(true)
	s := say("approve")
	q := trust.Quorum{For: "routine", People: 1, Roles: []trust.RoleNeed{}}
	self := []approval.Approval{solo.quick(0).sign(s)}
	for _, author := range []trust.PersonID{"p-001", "control"} {
		_, err := approval.Tally(solo.Root, q, s, author, self)
		must(t, err)
	}
	_, err := approval.Tally(solo.Root, q, s, "p-001", []approval.Approval{solo.far["p-001"].sign(s)})
	refuses(t, err, "PW-APPROVAL-INDEPENDENT")
	_, err = approval.Tally(shown.Root, q, s, "p-002", []approval.Approval{near(0, s)})
	refuses(t, err, "PW-APPROVAL-QUORUM")
}

// signed holds approvals of everybody, made once: signing is the slow part.
var signed = func() (all [5][2]approval.Approval) {
	s := say("approve")
	for n := range all {
		all[n] = [2]approval.Approval{near(n, s), far(n, s)}
	}
	return all
}()

// TestTallyProperties: whatever is drawn, Tally agrees with a plain count done
// by trying every way to give people to places; no person counts twice; the
// order of approvals changes neither the answer nor the refusal.
func TestTallyProperties(t *testing.T) {
	s := say("approve")
	rapid.Check(t, func(t *rapid.T) {
		as, people, independent := []approval.Approval{}, []int{}, false
		for range rapid.IntRange(0, 6).Draw(t, "approvals") {
			n, view := rapid.IntRange(0, 4).Draw(t, "person"), rapid.IntRange(0, 1).Draw(t, "view")
			as, people = append(as, signed[n][view]), append(people, n)
			independent = independent || view == 0
		}
		q := trust.Quorum{For: "routine", People: rapid.IntRange(2, 4).Draw(t, "people"), Roles: []trust.RoleNeed{
			{Role: "owner", People: rapid.IntRange(1, 3).Draw(t, "owner")}, {Role: "security", People: rapid.IntRange(1, 3).Draw(t, "security")},
		}}
		author := rapid.SampledFrom([]trust.PersonID{"control", "p-001", "p-002"}).Draw(t, "author")
		y, err := approval.Tally(shown.Root, q, s, author, as)

		distinct := map[int]bool{}
		for _, n := range people {
			distinct[n] = true
		}
		want := len(distinct) == len(people) && len(people) >= q.People && independent &&
			!slices.ContainsFunc(people, func(n int) bool { return shown.People[n].ID == author }) &&
			fill([]int{q.Roles[0].People, q.Roles[1].People}, slices.Collect(maps.Keys(distinct)))
		if (err == nil) != want {
			t.Fatalf("people %v, quorum %+v, author %s: got %v, want %v", people, q, author, err, want)
		}
		if seen := map[trust.PersonID]bool{}; err == nil {
			for _, v := range y.Voices() {
				if seen[v.Person] {
					t.Fatalf("%s counts twice", v.Person)
				}
				seen[v.Person] = true
			}
		}
		y2, err2 := approval.Tally(shown.Root, q, s, author, rapid.Permutation(as).Draw(t, "order"))
		if fmt.Sprint(err) != fmt.Sprint(err2) || fmt.Sprint(y) != fmt.Sprint(y2) {
			t.Fatalf("the order matters: %v, %v", err, err2)
		}
	})
}

// fill tries every way: the first person takes each place they can, or none.
func fill(places []int, people []int) bool {
	if places[0] == 0 && places[1] == 0 {
		return true
	}
	if len(people) == 0 {
		return false
	}
	roles := shown.Root.People[people[0]].Roles
	for i, role := range []string{"owner", "security"} {
		if places[i] > 0 && slices.Contains(roles, role) {
			less := slices.Clone(places)
			less[i]--
			if fill(less, people[1:]) {
				return true
			}
		}
	}
	return fill(places, people[1:])
}

// TestWhichBrokenApprovalIsNamedDoesNotDependOnOrder: with several broken in
// different ways, the refusal is the same in any order.
func TestWhichBrokenApprovalIsNamedDoesNotDependOnOrder(t *testing.T) {
	s := say("approve")
	as := []approval.Approval{near(0, s), near(1, say("deny")), shown.revoked.sign(s), near(2, s)}
	as[3].Signature = "!"
	rapid.Check(t, func(t *rapid.T) {
		_, err := approval.Tally(shown.Root, trust.Quorum{For: "routine", People: 2}, s, "control", rapid.Permutation(as).Draw(t, "order"))
		if refusal.CodeOf(err) != "PW-APPROVAL-REVOKED" && refusal.CodeOf(err) != "PW-APPROVAL-TWICE" {
			t.Fatal(err)
		}
		_, first := approval.Tally(shown.Root, trust.Quorum{For: "routine", People: 2}, s, "control", as)
		if err.Error() != first.Error() {
			t.Fatalf("%v, %v", err, first)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	s := approval.Statement{Kind: approval.Approve, Bytes: canon.MustEncode(map[string]string{"note": strings.Repeat("x", 700), "type": "patchwrit/plan/v1"})}
	for _, name := range slices.Sorted(maps.Keys(shown.keys)) {
		a := shown.keys[name].sign(s)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := approval.Check(shown.Root, s, a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	q, _ := shown.Root.Quorum("critical")
	as := []approval.Approval{near(0, s), near(1, s)}
	b.Run("tally of two", func(b *testing.B) {
		for b.Loop() {
			if _, err := approval.Tally(shown.Root, q, s, "control", as); err != nil {
				b.Fatal(err)
			}
		}
	})
}
