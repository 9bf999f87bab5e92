package redteam

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/patchwrit/patchwrit/agent"
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/identity/softkey"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/plan/whole"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/tlog/writer"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/issue"
)

// play is a scene in which the attacker is at work.
type play struct {
	Scene
	ctx     context.Context
	root    trust.Root
	policy  tlog.Policy
	log     *writer.Log // over a copy of the control plane's data directory, with its key
	logDir  string
	targets []*target
	web     *target // role=web, the first domain: most attacks go here
	far     *target // role=web, another domain
	other   *target // not role=web
	author  Person  // writes honest plans and grants
	yes     []Person
	owners  []Person // enough for a routine plan, not for a rollback

	server *server // while an act needs the control plane to run
	a, b   mole    // two agents that have enrolled there

	mu       sync.Mutex // guards the next two
	parcels  int
	last     map[string]writ.Receipt // the newest one that each host has signed, by its name
	twin     *twin                   // the honest step of this act
	before   *twin                   // and of the one before
	second   *twin                   // another step under the same grant
	kept     map[string]string
	quiet    []byte    // the plan of a host in which nobody has written anything
	ledger   string    // what the control plane exported
	loopDate time.Time // of the releases that the loop plans from

	allowed    []string // a row that may change hosts names what it may change
	controlled error    // a row's own control that failed
}

// enter finds out who is who, and steals what the control plane has.
func enter(ctx context.Context, s Scene) (*play, error) {
	p := &play{Scene: s, ctx: ctx, kept: map[string]string{}, last: map[string]writ.Receipt{}}
	for _, step := range []func() error{p.trusting, p.cast, p.people, p.steal} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("the scene: %w", err)
		}
	}
	return p, nil
}

func (p *play) trusting() error {
	for what, name := range map[string]string{"Agent": p.Agent, "CLI": p.CLI, "Data": p.Data} {
		if _, err := os.Stat(name); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	var err error
	if p.root, err = trust.Load(os.DirFS(p.Trust), p.Pinned, trust.Versions{}, time.Now()); err != nil {
		return err
	}
	if _, ok := p.root.Origin(VendorOrigin); !ok {
		return fmt.Errorf("the trust root must name the origin %s (see NewVendor)", VendorOrigin)
	}
	p.policy, err = tlog.ParsePolicy(p.root.Witnesses)
	return err
}

// cast gives the hosts their parts, by what the trust root says of them.
func (p *play) cast() error {
	web := trust.Label{Key: "role", Value: "web"}
	for _, h := range p.Hosts {
		st, err := agent.ReadStatus(h.State, 0)
		if err != nil {
			return err
		}
		known, ok := p.root.Host(st.Host)
		if !ok {
			return fmt.Errorf("host %s is not in the trust root", h.Name)
		}
		t := &target{h, known}
		p.targets = append(p.targets, t)
		switch isWeb := slices.Contains(known.Labels, web); {
		case isWeb && p.web == nil:
			p.web = t
		case isWeb && p.far == nil && known.Domain != p.web.known.Domain:
			p.far = t
		case !isWeb && p.other == nil:
			p.other = t
		}
	}
	if p.web == nil || p.far == nil || p.other == nil {
		return errors.New("two hosts with the label role=web in two fault domains are needed, and one without it")
	}
	return nil
}

// people finds an author, enough others for every quorum, and enough for a
// routine plan that are not enough for a rollback.
func (p *play) people() error {
	for i, author := range p.People {
		rest := slices.Delete(slices.Clone(p.People), i, i+1)
		for _, pair := range pairs(rest) {
			if p.yes == nil && p.meet(pair, "routine", "sensitive", "critical", "grant", "rollback") {
				p.author, p.yes = author, pair
			}
			if p.owners == nil && p.meet(pair, "routine") && !p.meet(pair, "rollback", "sensitive") {
				p.owners = pair
			}
		}
		if p.yes != nil && p.owners != nil {
			return nil
		}
		p.yes, p.owners = nil, nil
	}
	return errors.New("besides an author the people must hold two who meet every quorum, and two who meet that of routine changes but not those of sensitive ones and of rollbacks")
}

func pairs(all []Person) [][]Person {
	var out [][]Person
	for i := range all {
		for j := i + 1; j < len(all); j++ {
			out = append(out, []Person{all[i], all[j]})
		}
	}
	return out
}

// meet reports whether these people's signatures meet all of these quorums.
func (p *play) meet(who []Person, quorums ...string) bool {
	for _, name := range quorums {
		kind := approval.Approve
		if name == "grant" {
			kind = approval.Allow
		}
		s := approval.Statement{Kind: kind, Bytes: []byte(`{}`)}
		as, err := p.sign(s, who...)
		q, ok := p.root.Quorum(name)
		if err != nil || !ok {
			return false
		}
		if _, err := approval.Tally(p.root, q, s, "nobody", as); err != nil {
			return false
		}
	}
	return true
}

// sign makes people's signatures over a statement.
func (p *play) sign(s approval.Statement, who ...Person) ([]approval.Approval, error) {
	var out []approval.Approval
	for _, w := range who {
		a, err := softkey.SSH(p.root, w.SSH, s, now())
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// id is a person's name in the roster.
func (p *play) id(w Person) (trust.PersonID, error) {
	as, err := p.sign(approval.Statement{Kind: approval.Deny, Bytes: []byte(`{}`)}, w)
	if err != nil {
		return "", err
	}
	return as[0].Person, nil
}

// steal copies the control plane's data directory.
func (p *play) steal() error {
	return copyState(p.Data, p.stolen())
}

// stolen is the copy that the attacker works with.
func (p *play) stolen() string { return filepath.Join(p.Dir, "stolen") }

// openLog opens the stolen log with its key. Witnesses cannot tell the thief
// from the owner.
func (p *play) openLog() error {
	key, err := os.ReadFile(filepath.Join(p.stolen(), "log.key"))
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(key)))
	if err != nil {
		return err
	}
	p.logDir = filepath.Join(p.stolen(), "log")
	p.log, err = writer.Open(p.ctx, writer.Config{Dir: p.logDir, Signer: signer, Policy: p.root.Witnesses})
	if err == nil { // a log with nothing in it has no checkpoint to plan from
		_, err = p.log.Append(p.ctx, tlog.NewEntry("verdict", canon.SumFile([]byte(nonce())), now()))
	}
	return err
}

func (p *play) leave() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), 10*time.Second)
	defer cancel()
	if err := p.down(); err != nil {
		p.say("%v", err)
	}
	if p.log != nil {
		p.log.Close(ctx)
	}
}

func now() int64 { return time.Now().Unix() }

func nonce() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b)
}

// anyDigest is a digest of something that hosts do not look at, such as a
// verdict: the rules are for people and auditors, they permit nothing.
var anyDigest = canon.SumFile([]byte("recorded, and not looked at by hosts"))

// twin is an honest step: a plan, people's yes to it or to a grant, the bytes,
// and once it was issued the writs.
type twin struct {
	header   plan.Header
	branches []plan.Branch
	yes      []approval.Approval
	grants   []writ.Granted
	earlier  []writ.Earlier
	pool     string
	writs    map[trust.HostID][]byte
}

// branch is what the plan wants of one host.
func (t *twin) branch(of *target) plan.Branch {
	i := slices.IndexFunc(t.branches, func(b plan.Branch) bool { return b.Host == of.known.ID })
	return t.branches[i]
}

// part is what a plan wants of one host.
type part struct {
	to    *target
	wave  int
	class change.Class
	steps []step
}

// plan makes a plan of the control plane's, whole and well-formed, by an author
// of the house. It stands in the log when edit is done with it.
func (p *play) plan(edit func(*plan.Header), parts ...part) (*twin, error) {
	author, err := p.id(p.author)
	if err != nil {
		return nil, err
	}
	_, seen, err := p.log.Checkpoint(p.ctx)
	if err != nil {
		return nil, err
	}
	t := &twin{writs: map[trust.HostID][]byte{}}
	t.header = plan.Header{Type: plan.TypeHeader, Nonce: nonce(), Author: author, Created: now() - 60, Expires: now() + 6*24*3600,
		Generation: seen.Checkpoint.Size, Dossier: anyDigest, Class: change.Routine, Waves: []plan.Wave{}}
	for _, q := range parts {
		if err := p.branch(t, q); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(t.branches, func(a, b plan.Branch) int { return strings.Compare(string(a.Host), string(b.Host)) })
	t.header.Leaves = len(t.branches)
	if t.header.Tree, err = whole.Tree(leaves(t.branches)); err != nil {
		return nil, err
	}
	if edit != nil {
		edit(&t.header)
	}
	_, err = p.log.Append(p.ctx, writ.PlanEntry(t.header))
	return t, err
}

func (p *play) branch(t *twin, q part) error {
	class := q.class
	if class == "" {
		class = change.Routine
	}
	b := plan.Branch{Type: plan.TypeBranch, Host: q.to.known.ID, Wave: q.wave, Changes: []change.Change{}, Rollback: []change.Change{}}
	for _, s := range q.steps {
		forth, err := p.Vendor.change(s, class)
		if err != nil {
			return err
		}
		back, err := p.Vendor.change(s.back(), class)
		if err != nil {
			return err
		}
		b.Changes, b.Rollback = append(b.Changes, forth), append(b.Rollback, back)
	}
	byKey := func(a, b change.Change) int { return strings.Compare(a.Key(), b.Key()) }
	slices.SortFunc(b.Changes, byKey)
	slices.SortFunc(b.Rollback, byKey)
	t.branches = append(t.branches, b)
	for len(t.header.Waves) <= q.wave {
		t.header.Waves = append(t.header.Waves, plan.Wave{NotBefore: now() - 60})
	}
	t.header.Waves[q.wave].Hosts++
	t.header.Waves[q.wave].Good++
	t.header.Class = change.Max(t.header.Class, class)
	return nil
}

func leaves(branches []plan.Branch) [][]byte {
	var out [][]byte
	for _, b := range branches {
		out = append(out, b.Bytes())
	}
	return out
}

// approved has people say yes to a plan.
func (p *play) approved(t *twin, err error, who ...Person) (*twin, error) {
	if err != nil {
		return nil, err
	}
	t.yes, err = p.sign(approval.Statement{Kind: approval.Approve, Bytes: t.header.Bytes()}, who...)
	return t, err
}

// order is the honest order for a host's writ.
func (p *play) order(t *twin, to *target) issue.Order {
	return issue.Order{Nonce: nonce(), Host: to.known.ID, Header: t.header, Branches: t.branches, Approvals: t.yes, Grants: t.grants, Earlier: t.earlier,
		Verdict: anyDigest, Trust: p.root.Versions, Issued: now() - 30, Expires: now() + 3600}
}

// forgery is what is changed on the way from an order to a writ.
type forgery struct {
	draft func(*writ.Writ)  // before the body's entry is logged
	entry func(*tlog.Entry) // what is logged in its place
	last  func(*writ.Writ)  // after everything
}

// issue makes a writ with the control plane's own hands: it is logged, and the
// witnesses cosign it as they cosign everything.
func (p *play) issue(o issue.Order, f forgery) ([]byte, error) {
	w, err := issue.Draft(o)
	if err != nil {
		return nil, err
	}
	if f.draft != nil {
		f.draft(&w)
	}
	e := w.Body.Entry()
	if f.entry != nil {
		f.entry(&e)
	}
	if w.Proof, err = p.log.Append(p.ctx, e); err != nil {
		return nil, err
	}
	if f.last != nil {
		f.last(&w)
	}
	return canon.Encode(w)
}

// letter is the honest writ of a twin for a host: the same bytes each time.
func (p *play) letter(t *twin, to *target) (parcel, error) {
	q := parcel{to: to, pool: t.pool, writ: t.writs[to.known.ID]}
	if q.writ == nil {
		raw, err := p.issue(p.order(t, to), forgery{})
		if err != nil {
			return q, err
		}
		q.writ, t.writs[to.known.ID] = raw, raw
	}
	return q, nil
}

// carry issues and carries out an honest writ.
func (p *play) carry(t *twin, to *target) error {
	q, err := p.letter(t, to)
	if err != nil {
		return err
	}
	return p.done(q)
}

// pool lays an edition of the vendor's out.
func (p *play) pool(name string, e edition) (string, error) {
	dir := filepath.Join(p.Dir, "pools", name)
	return dir, p.Vendor.pool(dir, e)
}

// forged is a parcel like the twin's for its first host, with a forged writ.
func (p *play) forged(to *target, o func(*issue.Order), f forgery) (parcel, error) {
	order := p.order(p.twin, to)
	if o != nil {
		o(&order)
	}
	raw, err := p.issue(order, f)
	return parcel{to: to, writ: raw, pool: p.twin.pool}, err
}
