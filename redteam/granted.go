package redteam

import (
	"errors"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/issue"
)

// Terms of the grant in the play, in seconds. They are short so that its soak
// can be waited for.
const (
	soak = 12
	slot = 20 // the second domain waits so much longer: more than an attempt takes on a busy machine
)

// grant has people sign a grant: routine upgrades of the vendor's packages on
// web hosts, one change a day.
func (p *play) grant(edit func(*approval.Grant), who ...Person) (approval.Grant, []approval.Approval, error) {
	author, err := p.id(p.author)
	if err != nil {
		return approval.Grant{}, nil, err
	}
	g := approval.Grant{Type: approval.TypeGrant, Nonce: nonce(), Author: author, Created: now() - 60, Expires: now() + 30*24*3600,
		Scope:    trust.Scope{Hosts: []trust.HostID{}, Domains: []string{}, Labels: []trust.Label{{Key: "role", Value: "web"}}},
		Packages: []string{bootlike, "pw-*"}, Origins: []change.Origin{VendorOrigin}, Ceiling: change.Routine, Soak: soak,
		Slots: []approval.Slot{{Domain: p.web.known.Domain}, {Domain: p.far.known.Domain, After: slot}}, Budget: 1}
	if g.Slots[0].Domain > g.Slots[1].Domain {
		g.Slots[0], g.Slots[1] = g.Slots[1], g.Slots[0]
	}
	if edit != nil {
		edit(&g)
	}
	if err := g.Valid(); err != nil {
		return g, nil, err
	}
	as, err := p.sign(g.Statement(approval.Allow), who...)
	return g, as, err
}

// under puts a plan under a grant: the plan has just been logged, and the proof
// of it is what the soak counts from.
func (p *play) under(g approval.Grant, as []approval.Approval, t *twin, err error) (*twin, error) {
	if err != nil {
		return nil, err
	}
	proof, err := p.log.Append(p.ctx, writ.PlanEntry(t.header))
	t.yes, t.grants = as, []writ.Granted{{Grant: g, Proof: proof}}
	return t, err
}

// begins is when a host may begin under the twin's grant.
func (p *play) begins(t *twin, of *target) (time.Time, error) {
	stood, err := p.policy.Verify(writ.PlanEntry(t.header), t.grants[0].Proof)
	if err != nil {
		return time.Time{}, err
	}
	at, err := t.grants[0].Grant.NotBefore(of.known, stood.Time)
	return time.Unix(at, 0), err
}

// wait waits until the host may begin. Nothing can hurry it: that is the point.
func (p *play) wait(t *twin, of *target) error {
	at, err := p.begins(t, of)
	if err != nil {
		return err
	}
	p.say("   … waiting %d s for the grant's soak on %s", max(0, int(time.Until(at).Seconds())+1), of.Name)
	select {
	case <-time.After(time.Until(at) + time.Second):
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// grantedPlan is the act in which a grant is live.
func grantedPlan() act {
	return act{
		name: "a plan under a grant", control: "the same writ, unmodified, is applied on the same host once the soak is over",
		set: func(p *play) error {
			pool, err := p.pool("granted", edition{at: time.Now().Add(-50 * time.Minute), packages: []debworld.Package{v2, v3, v4, mild, pkg("pw-rival", "1.0-3")}})
			if err != nil {
				return err
			}
			g, as, err := p.grant(nil, p.yes...)
			if err != nil {
				return err
			}
			t, err := p.plan(nil, part{to: p.web, steps: []step{{v3, v4}}}, part{to: p.far, steps: []step{{v3, v4}}})
			if p.twin, err = p.under(g, as, t, err); err != nil {
				return err
			}
			p.twin.pool = pool
			t, err = p.plan(nil, part{to: p.web, steps: []step{{mild, pkg("pw-rival", "1.0-3")}}})
			if p.second, err = p.under(g, as, t, err); err == nil {
				p.second.pool = pool
			}
			return err
		},
		rows: append(reachRows(), termRows()...),
		proof: func(p *play) error {
			return errors.Join(p.wait(p.twin, p.web), p.carry(p.twin, p.web), p.wait(p.twin, p.far), p.carry(p.twin, p.far))
		},
		after: spentRows(),
	}
}

// reachRows attack what a grant is for.
func reachRows() []Row {
	return []Row{
		{ID: "grant-before-its-soak", Where: OnHost, Code: "PW-WRIT-SOAK", What: "the grant is used as soon as the plan is logged",
			make: func(p *play) (parcel, error) { return p.letter(p.twin, p.web) }},
		{ID: "soak-counted-from-another-entry", Where: OnHost, Code: "PW-WRIT-LOG", Says: "the plan's entry", What: "the proof of an entry that has stood for long, in place of the plan's own",
			make: func(p *play) (parcel, error) {
				return p.forged(p.web, nil, forgery{last: func(w *writ.Writ) { w.Grants[0].Proof = p.oldProof() }})
			}},
		grantRow("grant-for-critical", "PW-GRANT-CRITICAL", "a package of critical.json, which the grant's own list names", func(p *play) []part {
			return []part{{to: p.web, steps: []step{{debworld.Package{}, pkg(bootlike, "1.0-1")}}}}
		}),
		grantRow("grant-for-the-agent", "PW-GRANT-SELF", "Patchwrit's own agent", func(p *play) []part {
			return []part{{to: p.web, steps: []step{{debworld.Package{}, pkg(ourOwn, "99.0-1")}}}}
		}),
		grantRow("grant-outside-its-packages", "PW-GRANT-PACKAGE", "a package that the grant does not name", func(p *play) []part {
			return []part{{to: p.web, steps: []step{{debworld.Package{}, pkg("openssl-redteam", "1.0-1")}}}}
		}),
		grantRow("downgrade-under-a-grant", "PW-GRANT-OP", "a downgrade", func(p *play) []part {
			return []part{{to: p.web, steps: []step{{v3, v2}}}}
		}),
		grantRow("removal-under-a-grant", "PW-GRANT-OP", "a removal", func(p *play) []part {
			return []part{{to: p.web, steps: []step{{from: pkg(bystand, "1.0-1")}}}}
		}),
	}
}

// termRows attack the grant's own words.
func termRows() []Row {
	return []Row{
		{ID: "grant-outside-its-labels", Where: OnHost, Code: "PW-WRIT-GRANT", Says: "PW-GRANT-SCOPE", What: "a host without the grant's label; the control plane's database says that it has it",
			make: func(p *play) (parcel, error) { return p.outside("") }},
		{ID: "relabelled-by-the-control-plane", Where: OnHost, Code: "PW-TRUST-TAMPERED", What: "the same, and the trust repository that reaches the host says so too",
			make: func(p *play) (parcel, error) {
				dir, err := p.relabelled(p.other, trust.Label{Key: "role", Value: "web"})
				if err != nil {
					return parcel{}, err
				}
				return p.outside(dir)
			}},
		{ID: "grant-stretched", Where: OnHost, Code: "PW-WRIT-APPROVAL", Says: "PW-APPROVAL-STATEMENT", What: "the grant's soak is set to nothing; people's signatures are the old ones",
			make: func(p *play) (parcel, error) {
				g := p.twin.grants[0]
				g.Grant.Soak = 0
				return p.forged(p.web, func(o *issue.Order) { o.Grants = []writ.Granted{g} }, forgery{})
			}},
		{ID: "grant-signed-by-one", Where: OnHost, Code: "PW-WRIT-APPROVAL", Says: "PW-APPROVAL-PEOPLE", What: "one of the grant's two signatures is left out",
			make: func(p *play) (parcel, error) {
				return p.forged(p.web, func(o *issue.Order) { o.Approvals = o.Approvals[:1] }, forgery{})
			}},
		{ID: "class-above-the-grants-ceiling", Where: OnHost, Code: "PW-WRIT-GRANT", Says: "PW-GRANT-CEILING", What: "a sensitive change under a grant for routine ones",
			make: func(p *play) (parcel, error) {
				t, err := p.plan(nil, part{to: p.web, class: change.Sensitive, steps: []step{{v3, v4}}})
				if t, err = p.under(p.twin.grants[0].Grant, p.twin.yes, t, err); err != nil {
					return parcel{}, err
				}
				t.pool = p.twin.pool
				return p.letter(t, p.web)
			}},
		{ID: "network-under-a-grant", Where: OnHost, Code: "PW-WRIT-GRANT", Says: "network", What: "maintainer scripts are to have the network, under a grant", make: networked},
		{ID: "grant-before-its-slot", Where: OnHost, Code: "PW-WRIT-SOAK", What: "the soak is over, the slot of this host's fault domain has not come", Control: "the same writ, unmodified, is applied on the same host once its slot has come",
			make: func(p *play) (parcel, error) {
				q, err := p.letter(p.twin, p.far)
				return q, errors.Join(err, p.wait(p.twin, p.web))
			}},
	}
}

// spentRows attack a grant that has been used.
func spentRows() []Row {
	return []Row{
		{ID: "grant-beyond-its-budget", Where: OnHost, Code: "PW-WRIT-BUDGET", What: "a second change on a host in one day, the grant allows one",
			Control: "the first change under the same grant, on the same host",
			make:    func(p *play) (parcel, error) { return p.letter(p.second, p.web) }},
	}
}

// grantRow is a plan that the grant does not reach.
func grantRow(id, says, what string, parts func(*play) []part) Row {
	return Row{ID: id, Where: OnHost, Code: "PW-WRIT-GRANT", Says: says, What: "under the grant: " + what, make: func(p *play) (parcel, error) {
		q := parts(p)
		t, err := p.plan(nil, q...)
		if t, err = p.under(p.twin.grants[0].Grant, p.twin.yes, t, err); err != nil {
			return parcel{}, err
		}
		t.pool = p.twin.pool
		return p.letter(t, q[0].to)
	}}
}

// outside is a writ under the grant for a host that it does not cover.
func (p *play) outside(trustDir string) (parcel, error) {
	t, err := p.plan(nil, part{to: p.other, steps: []step{{v1, v4}}})
	if t, err = p.under(p.twin.grants[0].Grant, p.twin.yes, t, err); err != nil {
		return parcel{}, err
	}
	t.pool = p.twin.pool
	q, err := p.letter(t, p.other)
	q.trust = trustDir
	return q, err
}

// oldProof is the proof of the first plan of the play.
func (p *play) oldProof() tlog.Proof {
	proof, err := p.log.Prove(p.ctx, writ.PlanEntry(p.before.header), 0)
	if err != nil {
		return tlog.Proof("")
	}
	return proof
}

// networked is a plan under the grant whose branch wants the network.
func networked(p *play) (parcel, error) {
	t, err := p.plan(nil, part{to: p.web, steps: []step{{v3, v4}}})
	if err != nil {
		return parcel{}, err
	}
	t.branches[0].Network = true
	if t.header.Tree, err = whole.Tree(leaves(t.branches)); err != nil {
		return parcel{}, err
	}
	if t, err = p.under(p.twin.grants[0].Grant, p.twin.yes, t, nil); err != nil {
		return parcel{}, err
	}
	t.pool = p.twin.pool
	return p.letter(t, p.web)
}

// waves is the act of a plan in two waves.
func waves() act {
	return act{
		name: "a plan in two waves", control: "the same writ with the first host's own receipt is applied once that host is done",
		set: func(p *play) error {
			pool, err := p.pool("waves", edition{at: time.Now().Add(-40 * time.Minute), packages: []debworld.Package{v4, v5}})
			if err != nil {
				return err
			}
			t, err := p.plan(nil, part{to: p.web, steps: []step{{v4, v5}}}, part{to: p.far, wave: 1, steps: []step{{v4, v5}}})
			if p.twin, err = p.approved(t, err, p.yes...); err != nil {
				return err
			}
			p.twin.pool = pool
			return nil
		},
		rows: []Row{
			{ID: "all-waves-at-once", Where: OnHost, Code: "PW-WRIT-RECEIPTS", Says: "0 of 1", What: "the second wave's writ is handed out while the first has not begun",
				make: func(p *play) (parcel, error) { return p.forged(p.far, nil, forgery{}) }},
			{ID: "forged-receipt", Where: OnHost, Code: "PW-WRIT-RECEIPTS", Says: "signature does not verify", What: "the control plane writes the first host's receipt itself",
				make: func(p *play) (parcel, error) {
					e, err := p.receiptOf(p.web, writ.Receipt{Type: writ.TypeReceipt, Host: p.web.known.ID, Writ: anyDigest, Plan: p.twin.header.Digest(), Shown: anyDigest, Outcome: writ.Done, States: []writ.State{},
						Effective: writ.Effective{Installed: writ.Yes, Running: writ.Yes, Rescanned: writ.Unknown, Healthy: writ.Unknown, Attested: writ.Unknown, Stale: []string{}}, Started: now() - 9, Ended: now()})
					e.Receipt.Signature = signReceipt(e.Receipt)
					return p.withReceipt(e, err)
				}},
			{ID: "receipt-of-another-plan", Where: OnHost, Code: "PW-WRIT-RECEIPTS", Says: "another plan", What: "the first host's good receipt of an earlier plan",
				make: func(p *play) (parcel, error) { return p.withReceipt(p.receiptOf(p.web, p.last[p.web.Name])) }},
		},
		proof: func(p *play) error {
			if err := p.carry(p.twin, p.web); err != nil {
				return err
			}
			e, err := p.receiptOf(p.web, p.last[p.web.Name])
			if err != nil {
				return err
			}
			p.twin.earlier = []writ.Earlier{e}
			return p.carry(p.twin, p.far)
		},
	}
}

// receiptOf is a receipt with the branch of its host, as later waves carry it.
func (p *play) receiptOf(t *target, r writ.Receipt) (writ.Earlier, error) {
	b, at, path, err := issue.Branch(p.twin.branches, t.known.ID)
	return writ.Earlier{Receipt: r, Branch: b, Index: at, Path: path}, err
}

func (p *play) withReceipt(e writ.Earlier, err error) (parcel, error) {
	if err != nil {
		return parcel{}, err
	}
	return p.forged(p.far, func(o *issue.Order) { o.Earlier = []writ.Earlier{e} }, forgery{})
}
