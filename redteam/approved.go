package redteam

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/identity/sshsign"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/issue"
)

// The states of the greeting that people approve one after the other.
var (
	v1, v2, v3, v4 = pkg(greeting, "1.0-1"), pkg(greeting, "1.0-2"), pkg(greeting, "1.0-3"), pkg(greeting, "1.0-4")
	rival          = conflicting(pkg("pw-rival", "1.0-2"))
	mild           = pkg("pw-rival", "1.0-1")
)

// conflicting cannot be installed unless the bystander goes.
func conflicting(p debworld.Package) debworld.Package {
	p.Conflicts = bystand
	return p
}

// opening is the first honest step: hosts that have verified one writ have a
// memory to be deceived.
func opening() act {
	return act{
		name: "a first honest plan", control: "the writ itself, the first time it comes",
		set: func(p *play) error {
			if err := p.openLog(); err != nil {
				return err
			}
			for _, t := range p.targets {
				if err := p.install(t, v1, pkg(bystand, "1.0-1"), mild); err != nil {
					return err
				}
			}
			pool, err := p.pool("opening", edition{at: time.Now().Add(-2 * time.Hour), packages: []debworld.Package{v1, v2}})
			if err != nil {
				return err
			}
			t, err := p.plan(nil, part{to: p.web, steps: []step{{v1, v2}}})
			if p.twin, err = p.approved(t, err, p.yes...); err != nil {
				return err
			}
			p.twin.pool = pool
			if _, err := p.nonce(p.web); err != nil { // the host has asked for leases: it has a journal
				return err
			}
			return p.keep("before the first writ")
		},
		proof: func(p *play) error { return p.carry(p.twin, p.web) },
		after: []Row{
			{ID: "replayed-writ", Where: OnHost, Code: "PW-WRIT-CONSUMED", What: "a writ that was used is handed to the host again, with fresh leases",
				make: func(p *play) (parcel, error) { return p.letter(p.twin, p.web) }},
			{ID: "replayed-after-restoring-state", Where: OnHost, Code: "PW-AGENT-OLD", What: "the agent's state directory is put back from an old copy, then the used writ comes again",
				make: restored},
			{ID: "replayed-after-restoring-state-and-mark", Where: OnHost, Code: "PW-APT-FROM", What: "state directory and the mark in the system are put back together: the packages are not, so the writ starts from somewhere else",
				play: restoredWithMark},
		},
	}
}

// keep copies the first host's state directory and the mark in its system aside.
func (p *play) keep(name string) error {
	dir := filepath.Join(p.Dir, "kept")
	p.kept[name] = dir
	mark, err := os.ReadFile(filepath.Join(p.web.Root, journalMark))
	return errors.Join(err, copyState(p.web.State, filepath.Join(dir, "state")), put(filepath.Join(dir, "mark"), mark))
}

// restored hands the used writ to the host with its old state directory.
func restored(p *play) (parcel, error) {
	q, err := p.letter(p.twin, p.web)
	if err != nil {
		return q, err
	}
	if q.state, err = os.MkdirTemp(p.Dir, "state-"); err != nil {
		return q, err
	}
	return q, copyState(filepath.Join(p.kept["before the first writ"], "state"), q.state)
}

// copyState copies the files of a state directory with their rights.
func copyState(from, to string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if !d.Type().IsRegular() {
			return nil // a socket of a helper that is not running
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), raw, 0o600)
	})
}

const journalMark = "var/lib/patchwrit/journal.mark"

// restoredWithMark puts back more than the control plane can reach: it shows
// where the mark ends and the package manager's own look begins.
func restoredWithMark(p *play) (a answer, err error) {
	mark := filepath.Join(p.web.Root, journalMark)
	was, err := os.ReadFile(mark)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, os.WriteFile(mark, was, 0o600)) }()
	old, err := os.ReadFile(filepath.Join(p.kept["before the first writ"], "mark"))
	if err == nil {
		err = os.WriteFile(mark, old, 0o600)
	}
	if err != nil {
		return a, err
	}
	q, err := restored(p)
	if err != nil {
		return a, err
	}
	return p.hand(q)
}

// approvedPlan is the act in which people have said yes to one plan for two
// hosts, and the attacker wants something else.
func approvedPlan() act {
	return act{
		name: "a plan that people approved", control: "the same writ, unmodified, is applied on the same host",
		set: func(p *play) error {
			everything := []debworld.Package{v1, v2, v3, mild}
			pool, err := p.pool("approved", edition{at: time.Now().Add(-time.Hour), packages: everything})
			if err != nil {
				return err
			}
			t, err := p.plan(nil, part{to: p.web, steps: []step{{v2, v3}}}, part{to: p.far, steps: []step{{v1, v3}}})
			p.before = p.twin
			if p.twin, err = p.approved(t, err, p.yes...); err != nil {
				return err
			}
			p.twin.pool = pool
			return nil
		},
		rows:  slices.Concat(vendorRows(), peopleRows(), writRows(), planRows(), logRows(), leaseRows(), rootRows()),
		proof: func(p *play) error { return errors.Join(p.carry(p.twin, p.web), p.carry(p.twin, p.far)) },
	}
}

// vendorRows attack the bytes.
func vendorRows() []Row {
	return []Row{
		{ID: "trojaned-deb", Where: OnHost, Code: "PW-APT-BYTES", What: "the pool holds a trojan under the digest of the approved package",
			make: func(p *play) (parcel, error) {
				q, err := p.letter(p.twin, p.web)
				if err != nil {
					return q, err
				}
				raw, err := trojan(v3).Build()
				if err != nil {
					return q, err
				}
				if q.pool, err = p.pool("trojaned", edition{at: time.Now().Add(-time.Hour), packages: []debworld.Package{v1, v2, v3}}); err != nil {
					return q, err
				}
				return q, put(blob(q.pool, p.twin.branch(p.web).Changes[0].Artefact), raw)
			}},
		{ID: "trojan-approved-by-people", Where: OnHost, Code: "PW-APT-VENDOR", Says: "signs", What: "people were talked into a plan that names a trojan's digest; the vendor has signed another",
			make: func(p *play) (parcel, error) {
				pool, err := p.pool("trojan-approved", edition{at: time.Now().Add(-time.Hour), packages: []debworld.Package{v1, v2, v3}})
				if err != nil {
					return parcel{}, err
				}
				raw, err := trojan(v3).Build()
				if err == nil {
					err = put(blob(pool, canon.SumFile(raw)), raw)
				}
				if err != nil {
					return parcel{}, err
				}
				return p.anotherPlan(p.yes, pool, nil, step{v2, trojan(v3)})
			}},
		{ID: "right-key-wrong-origin", Where: OnHost, Code: "PW-APT-BACK", Says: "PW-PROV-ORIGIN", What: "the release is signed by the vendor's own key, and is another of his repositories",
			make: otherRelease("wrong-origin", edition{at: time.Now().Add(-time.Hour), edit: debworld.SetField("Origin", "RedTeam-Testing")})},
		{ID: "old-inrelease", Where: OnHost, Code: "PW-APT-BACK", Says: "PW-PROV-BACK", What: "the mirror serves an InRelease older than the one this host has seen",
			make: otherRelease("old-release", edition{at: time.Now().Add(-3 * time.Hour)})},
		{ID: "far-future-inrelease", Where: OnHost, Code: "PW-APT-BACK", Says: "PW-PROV-AHEAD", What: "an InRelease dated days ahead, so that no later one would count",
			make: otherRelease("future-release", edition{at: time.Now().Add(72 * time.Hour)})},
		{ID: "extra-removal-by-the-solver", Where: OnHost, Code: "PW-APT-SOLVER", What: "the approved package conflicts with one that the plan does not name: installing it would remove that one",
			make: func(p *play) (parcel, error) {
				pool, err := p.pool("rival", edition{at: time.Now().Add(-time.Hour), packages: []debworld.Package{mild, rival}})
				if err != nil {
					return parcel{}, err
				}
				return p.anotherPlan(p.yes, pool, nil, step{mild, rival})
			}},
		{ID: "class-lowered", Where: OnHost, Code: "PW-WRIT-CLASS", What: "a package that sets a file setuid is planned as routine, so that fewer people are asked",
			make: func(p *play) (parcel, error) {
				bad := pkg(greeting, v3.Version)
				bad.Files["/usr/share/pw-greeting/tool"] = debworld.File{Content: "#!/bin/sh\n", Mode: 0o4755}
				pool, err := p.pool("setuid", edition{at: time.Now().Add(-time.Hour), packages: []debworld.Package{v2, bad}})
				if err != nil {
					return parcel{}, err
				}
				return p.anotherPlan(p.owners, pool, nil, step{v2, bad})
			}},
	}
}

// otherRelease hands the honest writ over with another release of the vendor's.
func otherRelease(name string, e edition) func(*play) (parcel, error) {
	return func(p *play) (parcel, error) {
		q, err := p.letter(p.twin, p.web)
		if err != nil {
			return q, err
		}
		e.packages = []debworld.Package{v1, v2, v3}
		q.pool, err = p.pool(name, e)
		return q, err
	}
}

// peopleRows attack the yes of people. The writ is logged with what it carries.
func peopleRows() []Row {
	row := func(id, says, what string, change func(*play, []approval.Approval) ([]approval.Approval, error)) Row {
		return Row{ID: id, Where: OnHost, Code: "PW-WRIT-APPROVAL", Says: says, What: what, make: func(p *play) (parcel, error) {
			as, err := change(p, slices.Clone(p.twin.yes))
			if err != nil {
				return parcel{}, err
			}
			return p.forged(p.web, func(o *issue.Order) { o.Approvals = as }, forgery{})
		}}
	}
	return []Row{
		row("forged-approval", "PW-APPROVAL-SSH-KEY", "the second signature is by a key of the attacker's, in the person's name", forgedApproval),
		row("approval-of-another-plan", "PW-APPROVAL-STATEMENT", "one person's yes is to another plan", func(p *play, as []approval.Approval) ([]approval.Approval, error) {
			other := p.twin.header
			other.Nonce = nonce()
			more, err := p.sign(approval.Statement{Kind: approval.Approve, Bytes: other.Bytes()}, p.yes[1])
			return append(as[:1], more...), err
		}),
		row("approval-relabelled", "PW-APPROVAL-SIGNATURE", "one person's yes to another plan, with this plan's digest written over it", func(p *play, as []approval.Approval) ([]approval.Approval, error) {
			other := p.twin.header
			other.Nonce = nonce()
			more, err := p.sign(approval.Statement{Kind: approval.Approve, Bytes: other.Bytes()}, p.yes[1])
			if err != nil {
				return nil, err
			}
			more[0].Statement = as[0].Statement
			return append(as[:1], more...), nil
		}),
		row("deny-as-yes", "PW-APPROVAL-KIND", "one person has said no, and it is carried as it is", func(p *play, as []approval.Approval) ([]approval.Approval, error) {
			no, err := p.sign(approval.Statement{Kind: approval.Deny, Bytes: p.twin.header.Bytes()}, p.yes[1])
			return append(as[:1], no...), err
		}),
		row("deny-relabelled-as-yes", "PW-APPROVAL-SSH-NAMESPACE", "one person has said no, and the word is changed to yes", func(p *play, as []approval.Approval) ([]approval.Approval, error) {
			no, err := p.sign(approval.Statement{Kind: approval.Deny, Bytes: p.twin.header.Bytes()}, p.yes[1])
			if err != nil {
				return nil, err
			}
			no[0].Kind, no[0].Statement = approval.Approve, as[0].Statement
			return append(as[:1], no...), nil
		}),
		row("login-as-yes", "PW-APPROVAL-SSH-NAMESPACE", "a signature that a person gave to log in, over a challenge that was this plan, is carried as a yes", loginAsYes),
		row("one-person-twice", "PW-APPROVAL-TWICE", "one person's yes stands there twice", func(_ *play, as []approval.Approval) ([]approval.Approval, error) {
			return append(as[:1], as[0]), nil
		}),
		row("one-person-only", "PW-APPROVAL-PEOPLE", "one of two signatures is left out", func(_ *play, as []approval.Approval) ([]approval.Approval, error) { return as[:1], nil }),
		row("author-approves", "PW-APPROVAL-AUTHOR", "the author's yes stands for the second person's", func(p *play, as []approval.Approval) ([]approval.Approval, error) {
			more, err := p.sign(approval.Statement{Kind: approval.Approve, Bytes: p.twin.header.Bytes()}, p.author)
			return append(as[:1], more...), err
		}),
		row("nobody-approves", "PW-APPROVAL-PEOPLE", "the writ carries no approval at all", func(*play, []approval.Approval) ([]approval.Approval, error) { return []approval.Approval{}, nil }),
	}
}

// forgedApproval signs with the attacker's key what stands in a person's name.
func forgedApproval(p *play, as []approval.Approval) ([]approval.Approval, error) {
	signer, err := sshsign.Memory(newKey())
	if err != nil {
		return nil, err
	}
	blob, err := signer.Sign(context.Background(), approval.Approve.Namespace(), p.twin.header.Bytes())
	if err != nil {
		return nil, err
	}
	as[1].Signature = base64.StdEncoding.EncodeToString(blob)
	return as, nil
}

// loginAsYes is a person who logs in with the key that approves, which no
// person should do; the hostile page has chosen the bytes.
func loginAsYes(p *play, as []approval.Approval) ([]approval.Approval, error) {
	signer, err := sshsign.Memory(p.yes[1].SSH)
	if err != nil {
		return nil, err
	}
	blob, err := signer.Sign(context.Background(), "patchwrit-login@v1", p.twin.header.Bytes())
	if err != nil {
		return nil, err
	}
	as[1].Signature = base64.StdEncoding.EncodeToString(blob)
	return as, nil
}

// anotherPlan is a plan beside the twin, for the same host, that these people
// approved.
func (p *play) anotherPlan(who []Person, pool string, edit func(*plan.Header), s step) (parcel, error) {
	t, err := p.plan(edit, part{to: p.web, steps: []step{s}})
	if t, err = p.approved(t, err, who...); err != nil {
		return parcel{}, err
	}
	t.pool = pool
	return p.letter(t, p.web)
}

// writRows attack what the writ says of times and hosts.
func writRows() []Row {
	return []Row{
		{ID: "expired-writ", Where: OnHost, Code: "PW-WRIT-EXPIRED", Says: "the writ ended", What: "a writ whose time is over",
			make: func(p *play) (parcel, error) {
				return p.forged(p.web, func(o *issue.Order) { o.Issued, o.Expires = now()-7200, now()-3600 }, forgery{})
			}},
		{ID: "life-stretched", Where: OnHost, Code: "PW-WRIT-LIFE", What: "a writ for longer than a day",
			make: func(p *play) (parcel, error) {
				return p.forged(p.web, func(o *issue.Order) { o.Expires = o.Issued + writ.MaxLife + 1 }, forgery{})
			}},
		{ID: "expired-plan", Where: OnHost, Code: "PW-WRIT-EXPIRED", Says: "the plan ended", What: "people approved it once; its week is over",
			make: func(p *play) (parcel, error) {
				return p.anotherPlan(p.yes, p.twin.pool, func(h *plan.Header) {
					h.Created, h.Expires = now()-7*24*3600, now()-60
					for i := range h.Waves {
						h.Waves[i].NotBefore = h.Created
					}
				}, step{v2, v3})
			}},
		{ID: "other-hosts-writ", Where: OnHost, Code: "PW-WRIT-HOST", What: "the writ of another host of the same plan", Control: "the same writ, unmodified, is applied on the host that it names",
			make: func(p *play) (parcel, error) {
				q, err := p.letter(p.twin, p.far)
				q.to = p.web
				return q, err
			}},
		{ID: "older-generation", Where: OnHost, Code: "PW-WRIT-GENERATION", What: "a plan that people approved before the one this host has acted on",
			make: func(p *play) (parcel, error) {
				return p.anotherPlan(p.yes, p.twin.pool, func(h *plan.Header) { h.Generation = p.before.header.Generation - 1 }, step{v2, v3})
			}},
	}
}

// planRows attack what the plan says.
func planRows() []Row {
	return []Row{
		{ID: "package-swapped", Where: OnHost, Code: "PW-WRIT-BRANCH", Says: "not in the plan's tree", What: "another artefact in the branch, with every digest around it made anew",
			make: func(p *play) (parcel, error) {
				raw, err := trojan(v3).Build()
				if err != nil {
					return parcel{}, err
				}
				return p.forged(p.web, nil, forgery{draft: branch(func(b *plan.Branch) {
					b.Changes = slices.Clone(b.Changes)
					b.Changes[0].Artefact, b.Changes[0].Size = canon.SumFile(raw), int64(len(raw))
				})})
			}},
		{ID: "extra-removal", Where: OnHost, Code: "PW-WRIT-BRANCH", Says: "not in the plan's tree", What: "one removal more than people approved",
			make: func(p *play) (parcel, error) {
				gone := step{from: pkg(bystand, "1.0-1")}
				forth, err := p.Vendor.change(gone, change.Routine)
				if err != nil {
					return parcel{}, err
				}
				back, err := p.Vendor.change(gone.back(), change.Routine)
				return mixed(p, forth, back, err)
			}},
		{ID: "hidden-branch", Where: OnHost, Code: "PW-WRIT-BRANCH", Says: "not in the plan's tree", What: "a branch for one host more hangs in the tree than the header counts, and people signed without opening the plan",
			make: hiddenBranch},
		{ID: "below-the-floor", Where: OnHost, Code: "PW-WRIT-FLOOR", What: "an approved upgrade that ends below what this host already has",
			make: func(p *play) (parcel, error) {
				return p.anotherPlan(p.yes, p.twin.pool, nil, step{pkg(greeting, "0.9-1"), v1})
			}},
		{ID: "downgrade", Where: OnHost, Code: "PW-WRIT-APPROVAL", Says: "quorum rollback", What: "a downgrade, approved by people who are enough for a routine change only",
			make: func(p *play) (parcel, error) { return p.anotherPlan(p.owners, p.twin.pool, nil, step{v2, v1}) }},
	}
}

// branch edits the branch of a draft and everything that names it.
func branch(edit func(*plan.Branch)) func(*writ.Writ) {
	return func(w *writ.Writ) {
		edit(&w.Branch)
		w.Body.Branch = canon.Sum(plan.TypeBranch, w.Branch.Bytes())
	}
}

// mixed adds a change to the twin's branch.
func mixed(p *play, forth, back change.Change, err error) (parcel, error) {
	if err != nil {
		return parcel{}, err
	}
	sorted := func(cs []change.Change, c change.Change) []change.Change {
		cs = append(slices.Clone(cs), c)
		slices.SortFunc(cs, func(a, b change.Change) int {
			if a.Key() < b.Key() {
				return -1
			}
			return 1
		})
		return cs
	}
	return p.forged(p.web, nil, forgery{draft: branch(func(b *plan.Branch) {
		b.Changes, b.Rollback = sorted(b.Changes, forth), sorted(b.Rollback, back)
	})})
}

// hiddenBranch is a plan whose tree holds one leaf more than its header says.
func hiddenBranch(p *play) (parcel, error) {
	t, err := p.plan(nil, part{to: p.web, steps: []step{{v2, v3}}}, part{to: p.far, steps: []step{{v1, v3}}})
	if err != nil {
		return parcel{}, err
	}
	o := p.order(t, p.web)
	extra := &twin{}
	if err := p.branch(extra, part{to: p.other, steps: []step{{v1, v3}}}); err != nil {
		return parcel{}, err
	}
	all := append(slices.Clone(t.branches), extra.branches[0])
	tree, err := whole.Tree(leaves(all))
	if err != nil {
		return parcel{}, err
	}
	h := t.header
	h.Tree = tree
	signed, err := p.sign(approval.Statement{Kind: approval.Approve, Bytes: h.Bytes()}, p.yes...)
	if err != nil {
		return parcel{}, err
	}
	var inner error
	raw, err := p.issue(o, forgery{draft: func(w *writ.Writ) {
		w.Header, w.Approvals = h, signed
		w.Path, inner = whole.Path(leaves(all), w.Index)
		w.Body.Plan, w.Body.Approvals = h.Digest(), writ.ApprovalsDigest(signed)
	}})
	return parcel{to: p.web, writ: raw, pool: p.twin.pool}, errors.Join(err, inner)
}
