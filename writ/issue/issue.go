// Package issue assembles writs: it takes what people signed and the log's
// proof, and puts them into the one file a host will verify.
//
// The party is the control plane. It links this room, the agent never does.
// Issuing permits nothing: a writ whose parts do not hold is refused by the
// host. The promise is only that what is assembled here is logged before it
// leaves: no writ without its entry in a witnessed checkpoint.
package issue

import (
	"context"
	"fmt"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

// Log appends an entry and returns once it stands in a checkpoint that a
// quorum of witnesses has cosigned. Appending the same entry again may return
// either place.
type Log interface {
	Append(ctx context.Context, e tlog.Entry) (tlog.Proof, error)
}

// Order is everything a writ is made of but its log proof.
type Order struct {
	Nonce     string // 32 random bytes, lower hex
	Host      trust.HostID
	Header    plan.Header
	Branches  []plan.Branch // all of them: the path is computed here
	Approvals []approval.Approval
	Grants    []writ.Granted // none, or the one the writ runs under
	Earlier   []writ.Earlier
	Verdict   canon.Digest
	Trust     trust.Versions
	Issued    int64 // Unix seconds
	Expires   int64
}

// Issue logs the writ's entry and returns the writ's canonical bytes and body.
// It fails when the plan does not open or has no branch for the host.
func Issue(ctx context.Context, log Log, o Order) ([]byte, writ.Body, error) {
	w, err := Draft(o)
	if err != nil {
		return nil, writ.Body{}, err
	}
	if w.Proof, err = log.Append(ctx, w.Body.Entry()); err != nil {
		return nil, writ.Body{}, fmt.Errorf("the writ was not issued, because it could not be logged: %w", err)
	}
	raw, err := canon.Encode(w)
	return raw, w.Body, err
}

// Draft is the whole writ but its log proof: a caller that keeps a record
// commits the body first, has its entry logged, and fills Proof then.
func Draft(o Order) (writ.Writ, error) {
	p, err := Open(o.Header, o.Branches)
	if err != nil {
		return writ.Writ{}, err
	}
	return p.Draft(o)
}

// Plan is an opened plan, for who drafts many writs of it.
type Plan struct {
	header   plan.Header
	branches []plan.Branch
	tree     whole.Grown
	at       map[trust.HostID]int
}

// Open opens a plan.
func Open(h plan.Header, branches []plan.Branch) (Plan, error) {
	if err := whole.Open(h, branches); err != nil {
		return Plan{}, err
	}
	p, err := grow(branches)
	p.header = h
	return p, err
}

func grow(branches []plan.Branch) (Plan, error) {
	p := Plan{branches: branches, at: make(map[trust.HostID]int, len(branches))}
	leaves := make([][]byte, len(branches))
	for i, b := range branches {
		leaves[i], p.at[b.Host] = b.Bytes(), i
	}
	tree, err := whole.Grow(leaves)
	p.tree = tree
	return p, err
}

// Branch finds a host's branch, its index and its audit path.
func (p Plan) Branch(host trust.HostID) (plan.Branch, int, []canon.Digest, error) {
	at, ok := p.at[host]
	if !ok {
		return plan.Branch{}, 0, nil, fmt.Errorf("the plan has no branch for host %s", host.Short())
	}
	path, err := p.tree.Path(at)
	return p.branches[at], at, path, err
}

// Draft is Draft for a plan that was opened before; the order's own header and
// branches are not looked at.
func (p Plan) Draft(o Order) (writ.Writ, error) {
	branch, index, path, err := p.Branch(o.Host)
	if err != nil {
		return writ.Writ{}, err
	}
	w := writ.Writ{
		Type: writ.TypeFile,
		Body: writ.Body{Type: writ.TypeBody, Nonce: o.Nonce, Host: o.Host, Plan: p.header.Digest(),
			Branch: canon.Sum(plan.TypeBranch, branch.Bytes()), Approvals: writ.ApprovalsDigest(o.Approvals), Verdict: o.Verdict, Issued: o.Issued, Expires: o.Expires, Trust: o.Trust},
		Header: p.header, Branch: branch, Index: index, Path: path,
		Approvals: append([]approval.Approval{}, o.Approvals...),
		Grants:    append([]writ.Granted{}, o.Grants...),
		Earlier:   append([]writ.Earlier{}, o.Earlier...),
	}
	if len(o.Grants) == 1 {
		s := approval.Statement{Kind: approval.Allow, Bytes: canon.MustEncode(o.Grants[0].Grant)}
		w.Body.Grant = s.Digest()
	}
	return w, nil
}

// Branch finds a host's branch, its index and its audit path.
func Branch(branches []plan.Branch, host trust.HostID) (plan.Branch, int, []canon.Digest, error) {
	p, err := grow(branches)
	if err != nil {
		return plan.Branch{}, 0, nil, err
	}
	return p.Branch(host)
}
