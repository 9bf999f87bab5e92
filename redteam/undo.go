package redteam

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/writ"
)

// signReceipt signs a receipt with a key that is not the host's.
func signReceipt(r writ.Receipt) string {
	return hex.EncodeToString(ed25519.Sign(newKey(), r.Digest().Bytes()))
}

var v5, v6 = pkg(greeting, "1.0-5"), pkg(greeting, "1.0-6")

// failing is a package whose configuration fails.
func failing(p debworld.Package) debworld.Package {
	p.Scripts = map[string]string{"postinst": "#!/bin/sh\nexit 1\n"}
	return p
}

// wayBack is the act in which the attacker wants the old, vulnerable version
// back: he says that a gate has failed.
func wayBack() act {
	bad := failing(v6)
	return act{
		name: "the plan's own way back", control: "a change that really fails on the host goes back by itself, to where it came from, once",
		set: func(p *play) error {
			pool, err := p.pool("way-back", edition{at: time.Now().Add(-30 * time.Minute), packages: []debworld.Package{v4, v5, bad}})
			if err != nil {
				return err
			}
			p.before = p.twin // the waves: done on both hosts
			t, err := p.plan(nil, part{to: p.web, class: change.Sensitive, steps: []step{{v5, bad}}})
			if p.twin, err = p.approved(t, err, p.yes...); err != nil {
				return err
			}
			p.twin.pool = pool
			return nil
		},
		rows: []Row{
			{ID: "fake-gate-failure", Where: OnHost, Code: "PW-WRIT-APPROVAL", Says: "PW-APPROVAL-STATEMENT", What: "a gate is said to have failed: the approved plan's rollback is issued as a plan, with the approvals of the plan itself",
				make: func(p *play) (parcel, error) {
					t, err := p.plan(nil, part{to: p.web, steps: []step{{v5, v4}}})
					if err != nil {
						return parcel{}, err
					}
					t.yes, t.pool = p.before.yes, p.twin.pool
					return p.letter(t, p.web)
				}},
			{ID: "used-writ-for-its-rollback", Where: OnHost, Code: "PW-WRIT-CONSUMED", What: "the writ of a change that went well is handed over again, so that the host may go back under it",
				make: func(p *play) (parcel, error) { return p.letter(p.before, p.web) }},
			{ID: "way-back-in-place-of-the-way-forth", Where: OnHost, Code: "PW-WRIT-BRANCH", What: "the approved branch with forth and back exchanged",
				make: func(p *play) (parcel, error) {
					return p.forged(p.web, nil, forgery{draft: branch(func(b *plan.Branch) { b.Changes, b.Rollback = b.Rollback, b.Changes })})
				}},
		},
		proof: func(p *play) error {
			q, err := p.letter(p.twin, p.web)
			if err != nil {
				return err
			}
			a, err := p.hand(q)
			if err != nil {
				return err
			}
			if n := len(a.receipts); n != 2 || a.receipts[1].Outcome != writ.RolledBack {
				return fmt.Errorf("the host did not go back: %d receipts, %s %s", n, a.code, a.detail)
			}
			has, err := p.packages()
			if err != nil {
				return err
			}
			if got := has[p.web.Name][greeting+":amd64"]; got != v5.Version+" installed" {
				return fmt.Errorf("after the rollback it has %q", got)
			}
			return nil
		},
		after: []Row{
			{ID: "rollback-twice", Where: OnHost, Code: "PW-WRIT-CONSUMED", What: "the failed writ is handed over once more, for a second rollback",
				make: func(p *play) (parcel, error) { return p.letter(p.twin, p.web) }},
			{ID: "another-writ-for-a-failed-plan", Where: OnHost, Code: "PW-WRIT-CONSUMED", What: "the plan that failed and went back is issued anew, as another writ, logged and cosigned, so that the host goes through it again",
				make: func(p *play) (parcel, error) { return p.forged(p.web, nil, forgery{}) }},
		},
	}
}

// acts are played in this order: each leaves the hosts as the next one wants
// them.
func acts() []act {
	return []act{onTheBus(), theLedger(), opening(), theLoop(), beforeWitnesses(), approvedPlan(), ownedAlone(), grantedPlan(), waves(), wayBack(), ownedWithGrant()}
}
