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
	if err := whole.Open(o.Header, o.Branches); err != nil {
		return writ.Writ{}, err
	}
	branch, index, path, err := Branch(o.Branches, o.Host)
	if err != nil {
		return writ.Writ{}, err
	}
	w := writ.Writ{
		Type: writ.TypeFile,
		Body: writ.Body{Type: writ.TypeBody, Nonce: o.Nonce, Host: o.Host, Plan: o.Header.Digest(),
			Branch: canon.Sum(plan.TypeBranch, branch.Bytes()), Approvals: writ.ApprovalsDigest(o.Approvals), Verdict: o.Verdict, Issued: o.Issued, Expires: o.Expires, Trust: o.Trust},
		Header: o.Header, Branch: branch, Index: index, Path: path,
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
	leaves := make([][]byte, len(branches))
	at := -1
	for i, b := range branches {
		leaves[i] = b.Bytes()
		if b.Host == host {
			at = i
		}
	}
	if at < 0 {
		return plan.Branch{}, 0, nil, fmt.Errorf("the plan has no branch for host %s", host.Short())
	}
	path, err := whole.Path(leaves, at)
	return branches[at], at, path, err
}
