package evidencetest

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/identity/softkey"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/issue"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// Powers are the keys somebody owns besides the control plane's and the log's.
// Without the witnesses' no proof can be made again.
type Powers struct{ People, Witnesses, Hosts bool }

// Everyone makes an honest bundle, or one in which all conspire.
var Everyone = Powers{true, true, true}

// Spoil changes one party's part just before that party signs or logs it.
type Spoil struct {
	Writ    func(i int, w *writ.Writ)                 // before its body is logged
	Lease   func(i, n int, l *writ.Lease)             // before it is signed
	Leases  func(i int, ls []writ.Lease) []writ.Lease // as the host gets them
	Receipt func(i, n int, r *writ.Receipt)           // before it is signed
	Order   func(events []tlog.Entry)                 // of the log, with the events already made; proofs inside writs are older
	Fork    bool                                      // the entries are proved in another log than the writs
}

// begin fills the parts of the bundle that Rebuild makes fit: words, writs and
// receipts as they would be said on a good day.
func (w *World) begin() {
	b, now := &w.Bundle, w.House.Now.Unix()
	b.Approvals, b.Writs = []approval.Approval{}, []evidence.Used{}
	if w.Options.Grant {
		g := w.grant()
		b.Grant = approval.Statement{Kind: approval.Allow, Bytes: canon.MustEncode(g)}.Digest()
	} else {
		for i := range 2 {
			b.Approvals = append(b.Approvals, approval.Approval{Kind: approval.Approve, Person: w.House.People[i].ID, At: now - 7200 + int64(i)})
		}
	}
	for i := range w.Options.Hosts {
		issued := now - 3600 + 1200*int64(i)
		u := evidence.Used{Writ: w.draft(w.House.Hosts[i].ID, issued), Leases: []writ.Lease{}, Receipts: []writ.Receipt{}}
		if !w.Options.Pending {
			u.Receipts = w.attempts(issued, u.Writ.Branch)
		}
		b.Writs = append(b.Writs, u)
	}
}

func (w *World) draft(host trust.HostID, issued int64) writ.Writ {
	branch, index, path, err := issue.Branch(w.Bundle.Branches, host)
	if err != nil {
		panic("evidencetest: " + err.Error())
	}
	return writ.Writ{Type: writ.TypeFile, Branch: branch, Index: index, Path: append([]canon.Digest{}, path...), Earlier: []writ.Earlier{}, Grants: []writ.Granted{},
		Body: writ.Body{Type: writ.TypeBody, Nonce: strings.Repeat("2e", 32), Host: host, Grant: w.Bundle.Grant,
			Issued: issued, Expires: issued + 3600, Trust: w.House.Root.Versions}}
}

// attempts are the receipts of a host: done, or failed and rolled back.
func (w *World) attempts(issued int64, b plan.Branch) []writ.Receipt {
	state := func(before, after string) []writ.State {
		return []writ.State{{Package: Package, Arch: "amd64", Before: before, After: after, Status: "installed"}}
	}
	r := writ.Receipt{Type: writ.TypeReceipt, Wave: b.Wave, Outcome: writ.Done, States: state(Old, New), Started: issued + 20, Ended: issued + 60,
		Effective: writ.Effective{Installed: writ.Yes, Running: writ.Yes, Rescanned: writ.Yes, Healthy: writ.Unknown, Attested: writ.Unknown, Stale: []string{"77 hello /usr/bin/hello"}}}
	if !w.Options.Fail {
		return []writ.Receipt{r}
	}
	back := r
	r.Outcome, r.Code, r.Effective.Installed = writ.Partial, "PW-APT-EXIT", writ.No
	back.Outcome, back.States, back.Started, back.Ended = writ.RolledBack, state(New, Old), issued+100, issued+140
	return []writ.Receipt{r, back}
}

func (w *World) grant() approval.Grant {
	c := writtest.New(w.House)
	return *c.GrantFor()
}

// Judge lets the rules decide about the bundle as it is.
func (w *World) Judge() error {
	b := &w.Bundle
	in := w.input().Bytes()
	d, err := w.Decide(w.Rules, in)
	b.Verdict = policy.Bind(d, b.Header.Digest(), b.Header.Class, w.House.Now.Unix()-5400, canon.SumFile(w.Rules), policy.InputDigest(in))
	return err
}

func (w *World) input() policy.Input {
	b := w.Bundle
	return policy.NewInput(w.House.Root, b.Header, b.Branches, b.Dossier, b.Facts, b.Grant, w.House.Now.Unix()-5400)
}

// Rebuild makes everything fit again that its owner's keys can make fit: tree
// and digests always; then the words of people, proofs and leases, receipts.
// The verdict keeps its words and names the plan and input of now.
func (w *World) Rebuild(own Powers) error {
	w.own = own
	w.rename()
	for i := range w.Bundle.Approvals {
		if err := w.say(&w.Bundle.Approvals[i]); err != nil {
			return err
		}
	}
	return w.relog()
}

// rename recomputes the plan's digests.
func (w *World) rename() {
	b := &w.Bundle
	leaves := [][]byte{}
	for _, br := range b.Branches {
		leaves = append(leaves, br.Bytes())
	}
	tree, err := whole.Tree(leaves)
	if err != nil {
		panic("evidencetest: " + err.Error())
	}
	b.Header.Tree, b.Header.Leaves, b.Header.Dossier = tree, len(leaves), b.Dossier.Digest()
	b.Verdict.Plan, b.Verdict.Input = b.Header.Digest(), policy.InputDigest(w.input().Bytes())
}

// say makes a person's word: the first signs by SSH, everybody else with a
// passkey.
func (w *World) say(a *approval.Approval) error {
	if !w.own.People {
		return nil
	}
	i := slices.IndexFunc(w.House.People, func(p trusttest.Person) bool { return p.ID == a.Person })
	p, s := w.House.People[i], approval.Statement{Kind: a.Kind, Bytes: w.Bundle.Header.Bytes()}
	if i == 0 {
		*a = writtest.Sign(p, s, a.At)
		return nil
	}
	said, err := softkey.Passkey(w.House.Root, p.Passkey, p.PasskeyCredential(), s, a.At)
	*a = said
	return err
}

// relog writes the log from its first entry: everything in its time.
func (w *World) relog() error {
	b := &w.Bundle
	w.log = [][]byte{}
	w.fill(3)
	w.enter(writ.PlanEntry(b.Header))
	late := []tlog.Entry{} // words that came after everything else
	for _, a := range b.Approvals {
		if a.At >= w.House.Now.Unix() {
			late = append(late, evidence.ApprovalEntry(a))
		} else {
			w.enter(evidence.ApprovalEntry(a))
		}
	}
	w.enter(evidence.VerdictEntry(b.Verdict))
	for i := range b.Writs {
		w.fill(i + 1)
		if err := w.use(i); err != nil {
			return err
		}
	}
	for _, e := range late {
		w.enter(e)
	}
	w.fill(2)
	if w.Spoil.Fork {
		w.log[0] = tlog.NewEntry("filler", canon.SumFile([]byte("another log")), 1).Bytes()
	}
	return w.prove()
}

func (w *World) enter(e tlog.Entry) { w.log = append(w.log, e.Bytes()) }

func (w *World) fill(n int) {
	for range n {
		w.enter(tlog.NewEntry("filler", canon.SumFile([]byte{byte(len(w.log))}), 1))
	}
}

// use issues writ i, leases it and lets its host act.
func (w *World) use(i int) error {
	b, u := &w.Bundle, &w.Bundle.Writs[i]
	x := &u.Writ
	x.Header, x.Body.Plan, x.Body.Verdict = b.Header, b.Header.Digest(), b.Verdict.Digest()
	x.Body.Branch = canon.Sum(plan.TypeBranch, x.Branch.Bytes())
	if branch, index, path, err := issue.Branch(b.Branches, x.Body.Host); err == nil && branch.Host == x.Branch.Host {
		x.Index, x.Path = index, append([]canon.Digest{}, path...)
	}
	if err := w.words(i, x); err != nil {
		return err
	}
	if w.Spoil.Writ != nil {
		w.Spoil.Writ(i, x)
	}
	x.Body.Approvals = writ.ApprovalsDigest(x.Approvals)
	w.enter(x.Body.Entry())
	if err := w.witness(i, u); err != nil {
		return err
	}
	w.act(i, u)
	return nil
}

// words puts into writ i what permits it: yes or grant, and earlier receipts.
func (w *World) words(i int, x *writ.Writ) error {
	b := &w.Bundle
	x.Approvals = []approval.Approval{}
	for _, a := range b.Approvals {
		if a.Kind == approval.Approve {
			x.Approvals = append(x.Approvals, a)
		}
	}
	if w.Options.Grant && w.own.Witnesses {
		g := w.grant()
		s := approval.Statement{Kind: approval.Allow, Bytes: canon.MustEncode(g)}
		for _, p := range w.House.People[:2] {
			x.Approvals = append(x.Approvals, writtest.Sign(p, s, g.Created))
		}
		n := slices.IndexFunc(w.log, func(e []byte) bool { return string(e) == string(writ.PlanEntry(b.Header).Bytes()) })
		stood, err := w.House.Prove(w.log[:n+1], n, w.times(b.Header.Created+60)...)
		if err != nil {
			return err
		}
		x.Grants = []writ.Granted{{Grant: g, Proof: stood}}
	}
	x.Earlier = []writ.Earlier{}
	for _, before := range b.Writs[:i] {
		if n := len(before.Receipts); n > 0 {
			y := before.Writ
			x.Earlier = append(x.Earlier, writ.Earlier{Receipt: before.Receipts[n-1], Branch: y.Branch, Index: y.Index, Path: y.Path})
		}
	}
	return nil
}

func (w *World) times(at int64) []int64 { return slices.Repeat([]int64{at}, len(w.House.Witnesses)) }

// witness proves writ i in the log as it is now and leases it.
func (w *World) witness(i int, u *evidence.Used) error {
	if !w.own.Witnesses {
		return nil
	}
	var err error
	if u.Writ.Proof, err = w.House.Prove(w.log, len(w.log)-1, w.times(u.Writ.Body.Issued+5)...); err != nil || len(u.Receipts) == 0 {
		return err
	}
	w.fill(1) // the witnesses have seen more than the writ's proof shows
	at, err := w.checkpoint()
	if err != nil {
		return err
	}
	u.Leases = []writ.Lease{}
	for n, x := range w.House.Witnesses {
		l := writ.Lease{Type: writ.TypeLease, Witness: x.Name, Host: u.Writ.Body.Host, Nonce: writtest.Nonce, Time: u.Writ.Body.Issued + 10 + int64(n),
			Checkpoint: at, Trust: w.House.Root.ID, Versions: w.House.Root.Versions}
		if w.Spoil.Lease != nil {
			w.Spoil.Lease(i, n, &l)
		}
		u.Leases = append(u.Leases, writtest.SignLease(l, x.Key))
	}
	if w.Spoil.Leases != nil {
		u.Leases = w.Spoil.Leases(i, u.Leases)
	}
	return nil
}

func (w *World) checkpoint() (tlog.Checkpoint, error) {
	signed, err := w.House.Witnessed(w.log, w.times(w.House.Now.Unix())...)
	if err != nil {
		return tlog.Checkpoint{}, err
	}
	p, err := tlog.ParsePolicy(w.House.Root.Witnesses)
	if err != nil {
		return tlog.Checkpoint{}, err
	}
	seen, err := p.Checkpoint(signed)
	return seen.Checkpoint, err
}

// act signs and logs the receipts of writ i.
func (w *World) act(i int, u *evidence.Used) {
	host := slices.IndexFunc(w.House.Hosts, func(h trusttest.Host) bool { return h.ID == u.Writ.Body.Host })
	for n := range u.Receipts {
		r, leases := &u.Receipts[n], u.Leases
		if w.own.Hosts {
			if n == 1 {
				leases = nil
			}
			r.Host, r.Writ, r.Plan, r.Wave = u.Writ.Body.Host, u.Writ.Body.Digest(), u.Writ.Body.Plan, u.Writ.Branch.Wave
			r.Shown = writ.Shown(canon.MustEncode(u.Writ), leases)
			if len(u.Leases) > 0 {
				r.Checkpoint = u.Leases[0].Checkpoint
			}
			if w.Spoil.Receipt != nil {
				w.Spoil.Receipt(i, n, r)
			}
			*r = writtest.SignReceipt(*r, w.House.Hosts[host].Key)
		}
		w.enter(r.Entry())
	}
}

// prove gives every event its proof at the log's newest state, and links the
// earlier states to it.
func (w *World) prove() error {
	b := &w.Bundle
	if !w.own.Witnesses {
		return nil
	}
	events := b.Events()
	if w.Spoil.Order != nil {
		w.reorder(events)
	}
	b.Entries = []evidence.Logged{}
	for n, raw := range w.log {
		i := slices.IndexFunc(events, func(e tlog.Entry) bool { return string(e.Bytes()) == string(raw) })
		if i < 0 {
			continue
		}
		p, err := w.House.Prove(w.log, n, w.times(w.House.Now.Unix())...)
		if err != nil {
			return err
		}
		b.Entries = append(b.Entries, evidence.Logged{Entry: events[i], Proof: p})
	}
	return w.link()
}

// reorder writes the events into the log's places in another order.
func (w *World) reorder(events []tlog.Entry) {
	places := []int{}
	for _, e := range events {
		places = append(places, slices.IndexFunc(w.log, func(raw []byte) bool { return string(raw) == string(e.Bytes()) }))
	}
	w.Spoil.Order(events)
	slices.Sort(places)
	for i, n := range places {
		w.log[n] = events[i].Bytes()
	}
}

func (w *World) link() error {
	p, err := tlog.ParsePolicy(w.House.Root.Witnesses)
	if err != nil {
		return err
	}
	points, err := w.Bundle.States(p)
	if err != nil {
		return err
	}
	w.Bundle.Links = []evidence.Link{}
	for i := 1; i < len(points); i++ {
		l := evidence.Link{From: points[i-1].Size, To: points[i].Size}
		if l.Proof, err = trusttest.Consistent(w.log[:min(int(l.To), len(w.log))], l.From); err != nil {
			return err
		}
		w.Bundle.Links = append(w.Bundle.Links, l)
	}
	return nil
}

// Blobs makes the bundle's files.
func Blobs(files ...[]byte) []evidence.Blob {
	all := []evidence.Blob{}
	for _, f := range files {
		all = append(all, evidence.NewBlob(f))
	}
	slices.SortFunc(all, func(a, b evidence.Blob) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return all
}

// File finds a file of a bundle by its digest.
func File(b evidence.Bundle, d canon.Digest) (file []byte, found bool) {
	for _, x := range b.Blobs {
		if x.Digest == d {
			raw, err := base64.StdEncoding.DecodeString(x.Data)
			return raw, err == nil
		}
	}
	return nil, false
}
