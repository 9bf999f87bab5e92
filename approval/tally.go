package approval

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// MaxApprovals bounds how many signatures one tally checks: each costs up to
// 0.2 ms, and no quorum of people is this large.
const MaxApprovals = 64

// Rollback names the quorum that a plan which goes down needs besides its
// class's. The other quorums are named by a class or by a Kind.
const Rollback = "rollback"

// Yes is the answer of enough people. Only Tally fills it; the zero Yes is
// nobody's word.
type Yes struct {
	statement canon.Digest
	quorum    string
	voices    []Voice
}

// Voice is one person's part in a Yes.
type Voice struct {
	Person      trust.PersonID
	Credential  canon.Digest
	Roles       []string // as the roster gives them; every line of the quorum is met by different people
	Independent bool     // signed on a view the control plane does not serve
}

// Statement is the digest of what was answered.
func (y Yes) Statement() canon.Digest { return y.statement }

// Quorum is the name of the quorum that was met.
func (y Yes) Quorum() string { return y.quorum }

// Voices lists the people, ascending by id.
func (y Yes) Voices() []Voice { return slices.Clone(y.voices) }

// Tally answers whether the approvals are the quorum's yes to s: every one
// passes Check, each by another person, none by the author, at least q.People
// of them, every role met by different people (AND between roles), and at least
// one signed on an independent view.
//
// It is all or nothing: one approval that does not pass refuses the whole,
// however many good ones stand beside it, since nothing that is signed and
// logged should carry a broken one. The order of approvals never matters, not
// even for which refusal is given.
//
// The author counts in solo mode only. What can only make things stop (halt,
// revoke, deny) and the lifting of a halt have no author in this sense: anybody
// may stop what they wrote.
func Tally(root trust.Root, q trust.Quorum, s Statement, author trust.PersonID, as []Approval) (Yes, error) {
	if err := fits(root, q, s.Kind); err != nil {
		return Yes{}, err
	}
	if len(as) > MaxApprovals {
		return Yes{}, refusal.New("PW-APPROVAL-MANY", "%d approvals, the most is %d", len(as), MaxApprovals)
	}
	people, y, err := hear(root, s, as)
	if err != nil {
		return Yes{}, err
	}
	y.quorum = q.For
	if err := apart(root, s.Kind, author, people); err != nil {
		return Yes{}, err
	}
	if len(people) < q.People {
		return Yes{}, refusal.New("PW-APPROVAL-PEOPLE", "%d of %d people for %s", len(people), q.People, q.For)
	}
	if !q.Met(people) {
		return Yes{}, refusal.New("PW-APPROVAL-ROLES", "quorum %s wants %v; the roles there are %v", q.For, q.Roles, y.voices)
	}
	if !slices.ContainsFunc(y.voices, func(v Voice) bool { return v.Independent }) {
		return Yes{}, refusal.New("PW-APPROVAL-INDEPENDENT", "%d people, all of them on a view the control plane serves", len(people))
	}
	return y, nil
}

// fits holds a quorum against the kind and against itself. A quorum of nobody
// is none, and one person is enough only to stop things or in solo mode.
func fits(root trust.Root, q trust.Quorum, k Kind) error {
	least := 2
	if root.Solo || k == Stop || k == Revoke || k == Deny {
		least = 1
	}
	named := q.For == string(k) || k == Promote && q.For == string(Allow) // who may lend autonomy
	if k == Approve || k == Deny {
		named = change.Class(q.For).Rank() <= len(change.Classes) || q.For == Rollback
	}
	empty := func(n trust.RoleNeed) bool { return n.Role == "" || n.People < 1 || n.People > MaxApprovals }
	if !named || q.People < least || slices.ContainsFunc(q.Roles, empty) {
		return refusal.New("PW-APPROVAL-QUORUM", "%d people of quorum %q with roles %v, for a %s", q.People, q.For, q.Roles, k)
	}
	return nil
}

// hear checks every approval, in an order of its own.
func hear(root trust.Root, s Statement, as []Approval) ([]trust.Person, Yes, error) {
	as = slices.SortedFunc(slices.Values(as), func(a, b Approval) int { return cmp.Compare(fmt.Sprintf("%#v", a), fmt.Sprintf("%#v", b)) })
	y, people := Yes{statement: s.Digest()}, []trust.Person{}
	for i, a := range as {
		p, c, err := Check(root, s, a)
		if err != nil {
			return nil, Yes{}, err
		}
		if i > 0 && people[i-1].ID == p.ID {
			return nil, Yes{}, refusal.New("PW-APPROVAL-TWICE", "%s", p.ID)
		}
		people = append(people, p)
		y.voices = append(y.voices, Voice{Person: p.ID, Credential: c.ID, Roles: slices.Clone(p.Roles), Independent: c.Independent()})
	}
	return people, y, nil
}

// apart keeps the author out of a yes to their own words.
func apart(root trust.Root, k Kind, author trust.PersonID, people []trust.Person) error {
	if k != Approve && k != Allow && k != Promote {
		return nil
	}
	self := slices.ContainsFunc(people, func(p trust.Person) bool { return p.ID == author })
	if author == "" || self && !root.Solo {
		return refusal.New("PW-APPROVAL-AUTHOR", "written by %q", author)
	}
	return nil
}
