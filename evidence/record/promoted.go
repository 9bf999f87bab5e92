package record

import (
	"fmt"
	"slices"

	"github.com/patchwrit/patchwrit/advice/conduct"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

// promoted is a promotion in the log, and where it stands.
type promoted struct {
	line  int
	index int64
	of    conduct.Promotion
}

// maxHeard is how many signatures under one promotion are counted; a control plane
// logs none but those that were counted.
const maxHeard = 4 * approval.MaxApprovals

// heard keeps the signatures under promotions, to be counted at the end.
func (c *checker) heard(a approval.Approval) error {
	if a.Kind == approval.Promote && len(c.under[a.Statement]) < maxHeard {
		c.under[a.Statement] = append(c.under[a.Statement], a)
	}
	return nil
}

// promotions counts the signatures of each promotion again: whoever wrote the log may
// have written one that nobody signed.
func (c *checker) promotions() {
	for _, p := range c.promoted {
		good, gone, err := c.signers(p.of)
		if err == nil && len(gone) == 0 {
			err = c.enough(p.of, good)
		} else if err == nil && c.enough(p.of, good) != nil {
			if err = c.could(good, gone); err == nil {
				c.unproved = append(c.unproved, fmt.Sprintf("That enough people signed promotion %s of model %s to %s (leaf %d): this trust root does not name %v with the keys that signed. Check it under the root of that time.",
					p.of.Statement().Digest().Short(), p.of.Model.Short(), p.of.To, p.index, gone))
			}
		}
		if err != nil {
			c.find(p.line, p.index, CodeUnsigned, "leaf %d, a promotion of model %s to %s: people of quorum %s have not signed it: %v", p.index, p.of.Model.Short(), p.of.To, approval.Allow, err)
		}
	}
}

// signers are one good signature of each person under a promotion, and the people whom
// the trust root names no more, or not with that key: they cannot be asked. A signature
// that another made is an error.
func (c *checker) signers(p conduct.Promotion) (good []approval.Approval, gone []trust.PersonID, err error) {
	for _, a := range c.under[p.Statement().Digest()] {
		_, _, err := approval.Check(c.root, p.Statement(), a)
		switch refusal.CodeOf(err) {
		case "PW-APPROVAL-PERSON", "PW-APPROVAL-CREDENTIAL", "PW-APPROVAL-REVOKED":
			if !slices.Contains(gone, a.Person) {
				gone = append(gone, a.Person)
			}
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("what stands there as the word of %s: %w", a.Person, err)
		}
		if !slices.ContainsFunc(good, func(g approval.Approval) bool { return g.Person == a.Person }) {
			good = append(good, a) // a person may have signed again, when the first time nothing came of it
		}
	}
	return good, gone, nil
}

func (c *checker) enough(p conduct.Promotion, good []approval.Approval) error {
	q, _ := c.root.Quorum(string(approval.Allow)) // none is a quorum of nobody, which is none
	_, err := approval.Tally(c.root, q, p.Statement(), p.Author, good)
	return err
}

// could reports whether those who are gone make up for what is missing.
func (c *checker) could(good []approval.Approval, gone []trust.PersonID) error {
	q, ok := c.root.Quorum(string(approval.Allow))
	if !ok {
		return refusal.New("PW-APPROVAL-QUORUM", "the trust root names none")
	}
	people := slices.Clone(gone)
	for _, a := range good {
		if !slices.Contains(people, a.Person) {
			people = append(people, a.Person)
		}
	}
	if len(people) < q.People {
		return refusal.New("PW-APPROVAL-PEOPLE", "%d of %d people", len(people), q.People)
	}
	return nil
}
