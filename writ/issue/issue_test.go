package issue_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/issue"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

var house = trusttest.Must(nil, trusttest.Options{})

// ledger is the house's log in memory, cosigned by all witnesses at once.
type ledger struct {
	entries [][]byte
	fails   error
}

func (l *ledger) Append(_ context.Context, e tlog.Entry) (tlog.Proof, error) {
	if l.fails != nil {
		return "", l.fails
	}
	l.entries = append(l.entries, e.Bytes())
	now := house.Now.Unix()
	return house.Prove(l.entries, len(l.entries)-1, now, now, now)
}

// order is for a plan of two hosts that two people approved.
func order(t *testing.T) issue.Order {
	t.Helper()
	c := writtest.New(house)
	c.Branches = []plan.Branch{c.Branches[0], writtest.Branch(house.Hosts[1].ID, 0, writtest.Upgrade("openssl", "3.0.20-1~deb12u2", "3.0.22-1~deb12u2"))}
	if c.Branches[0].Host > c.Branches[1].Host {
		c.Branches[0], c.Branches[1] = c.Branches[1], c.Branches[0]
	}
	tree, err := whole.Tree([][]byte{c.Branches[0].Bytes(), c.Branches[1].Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	c.Header.Tree, c.Header.Leaves, c.Header.Waves[0].Hosts = tree, 2, 2
	s := approval.Statement{Kind: approval.Approve, Bytes: c.Header.Bytes()}
	return issue.Order{Nonce: strings.Repeat("44", 32), Host: house.Hosts[1].ID, Header: c.Header, Branches: c.Branches, Verdict: canon.SumFile(nil),
		Approvals: []approval.Approval{writtest.Sign(house.People[0], s, c.Now), writtest.Sign(house.People[1], s, c.Now)},
		Trust:     house.Root.Versions, Issued: c.Now, Expires: c.Now + 600}
}

// leases are every witness's word to the order's host.
func leases(o issue.Order) [][]byte {
	all := [][]byte{}
	for _, w := range house.Witnesses {
		all = append(all, canon.MustEncode(writtest.SignLease(writ.Lease{Type: writ.TypeLease, Witness: w.Name, Host: o.Host, Nonce: writtest.Nonce,
			Time: house.Now.Unix(), Trust: house.Root.ID, Versions: house.Root.Versions}, w.Key)))
	}
	return all
}

func TestIssuedWritsVerify(t *testing.T) {
	o, l := order(t), &ledger{entries: [][]byte{tlog.NewEntry("filler", canon.SumFile(nil), 1).Bytes(), tlog.NewEntry("filler", canon.SumFile(nil), 2).Bytes()}}
	raw, body, err := issue.Issue(context.Background(), l, o)
	if err != nil {
		t.Fatal(err)
	}
	mem := writ.NewMemory(o.Host, house.Root.ID).Asking(writtest.Nonce, house.Now.Unix())
	v, _, err := writ.Verify(writ.Raw{Writ: raw, Leases: leases(o)}, house.Root, mem, house.Now)
	if err != nil || v.Digest() != body.Digest() || v.Host() != o.Host {
		t.Fatalf("%+v, %v", v, err)
	}
	if last := l.entries[len(l.entries)-1]; string(last) != string(body.Entry().Bytes()) || len(l.entries) != 3 {
		t.Error("what was logged is not the writ's entry")
	}
	other := writ.NewMemory(house.Hosts[0].ID, house.Root.ID).Asking(writtest.Nonce, house.Now.Unix())
	if _, _, err := writ.Verify(writ.Raw{Writ: raw, Leases: leases(o)}, house.Root, other, house.Now); refusal.CodeOf(err) != "PW-WRIT-HOST" {
		t.Errorf("another host takes it: %v", err)
	}
}

func TestGrantedWritsNameTheirGrant(t *testing.T) {
	o := order(t)
	g := writtest.New(house).GrantFor()
	s := approval.Statement{Kind: approval.Allow, Bytes: canon.MustEncode(*g)}
	l := &ledger{}
	stood := house.Now.Add(-2 * time.Hour).Unix()
	l.entries = append(l.entries, writ.PlanEntry(o.Header).Bytes())
	proof, err := house.Prove(l.entries, 0, stood, stood, stood)
	if err != nil {
		t.Fatal(err)
	}
	l.entries = append(l.entries, tlog.NewEntry("filler", canon.SumFile(nil), 1).Bytes())
	o.Grants = []writ.Granted{{Grant: *g, Proof: proof}}
	o.Approvals = []approval.Approval{writtest.Sign(house.People[0], s, g.Created), writtest.Sign(house.People[1], s, g.Created)}
	raw, body, err := issue.Issue(context.Background(), l, o)
	if err != nil || body.Grant != s.Digest() {
		t.Fatalf("%+v, %v", body, err)
	}
	mem := writ.NewMemory(o.Host, house.Root.ID).Asking(writtest.Nonce, house.Now.Unix())
	if _, _, err := writ.Verify(writ.Raw{Writ: raw, Leases: leases(o)}, house.Root, mem, house.Now); err != nil {
		t.Error(err)
	}
}

func TestNothingLeavesThatIsNotLoggedOrNotWhole(t *testing.T) {
	down := errors.New("no quorum of witnesses")
	for name, c := range map[string]struct {
		spoil func(*issue.Order)
		log   *ledger
		says  string
	}{
		"the log is down":   {func(*issue.Order) {}, &ledger{fails: down}, "could not be logged"},
		"a host not in it":  {func(o *issue.Order) { o.Host = trust.HostID(canon.SumFile(nil)) }, &ledger{}, "no branch"},
		"a branch left out": {func(o *issue.Order) { o.Branches = o.Branches[:1] }, &ledger{}, plan.ErrForm.Error()},
		"a branch edited":   {func(o *issue.Order) { o.Branches[0].Network = true }, &ledger{}, plan.ErrForm.Error()},
		"a header edited":   {func(o *issue.Order) { o.Header.Tree = canon.SumFile(nil) }, &ledger{}, plan.ErrForm.Error()},
	} {
		o := order(t)
		c.spoil(&o)
		raw, body, err := issue.Issue(context.Background(), c.log, o)
		if err == nil || !strings.Contains(err.Error(), c.says) || raw != nil || body.Type != "" {
			t.Errorf("%s: %d bytes, %v", name, len(raw), err)
		}
		if len(c.log.entries) > 0 {
			t.Errorf("%s: it was logged all the same", name)
		}
	}
}
