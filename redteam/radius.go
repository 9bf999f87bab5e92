package redteam

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

// What the vendor publishes while the attacker owns the control plane.
var (
	v7, v8  = pkg(greeting, "1.0-7"), pkg(greeting, "1.0-8")
	rival3  = pkg("pw-rival", "1.0-3")
	catalog = []debworld.Package{pkg(greeting, "0.9-1"), v1, v2, v3, v4, v5, v7, v8, mild, rival3, pkg(bootlike, "1.0-1"), pkg(ourOwn, "99.0-1"), pkg(bystand, "1.0-1")}
)

// wish is a change that the attacker would like on every host.
type wish struct {
	name    string
	granted bool // the grant of the play reaches it, on the hosts of its scope
	step    func(greeting string) step
}

func wishes() []wish {
	to := func(p debworld.Package) func(string) step {
		return func(is string) step { return step{pkg(greeting, is), p} }
	}
	fixed := func(s step) func(string) step { return func(string) step { return s } }
	return []wish{
		{"the granted package, upgraded", true, to(v7)},
		{"the granted package, upgraded further", true, to(v8)},
		{"the granted package, downgraded", false, to(pkg(greeting, "0.9-1"))},
		{"a trojan under the granted name", false, to(trojan(pkg(greeting, "1.0-9")))},
		{"another package, upgraded", false, fixed(step{mild, rival3})},
		{"a package, removed", false, fixed(step{from: pkg(bystand, "1.0-1")})},
		{"a package of the boot chain", false, fixed(step{to: pkg(bootlike, "1.0-1")})},
		{"Patchwrit's own agent", false, fixed(step{to: pkg(ourOwn, "99.0-1")})},
	}
}

// means is a way to pass something off as permitted.
type means struct {
	name  string
	grant bool
	fit   func(*play, *twin) error
}

// forgedMeans are all that the control plane's keys and database give.
func forgedMeans() []means {
	return []means{
		{"nobody's word", false, func(_ *play, t *twin) error { t.yes = []approval.Approval{}; return nil }},
		{"people's words to an older plan", false, func(p *play, t *twin) error { t.yes = p.twin.yes; return nil }},
		{"forged signatures in people's names", false, func(p *play, t *twin) error {
			as, err := p.sign(approval.Statement{Kind: approval.Deny, Bytes: t.header.Bytes()}, p.yes...)
			for i := range as {
				as[i].Kind, as[i].Statement = approval.Approve, approval.Statement{Kind: approval.Approve, Bytes: t.header.Bytes()}.Digest()
			}
			t.yes = as
			return err
		}},
		{"a grant that the attacker wrote", true, func(p *play, t *twin) error {
			g, _, err := p.grant(func(g *approval.Grant) { g.Packages, g.Soak, g.Budget, g.Scope = []string{"*"}, 0, 100, everywhere() })
			if err != nil {
				return err
			}
			_, err = p.under(g, p.twin.yes, t, nil)
			return err
		}},
	}
}

func everywhere() trust.Scope {
	return trust.Scope{All: true, Hosts: []trust.HostID{}, Domains: []string{}, Labels: []trust.Label{}}
}

// grantMeans are what a live grant adds.
func grantMeans(g approval.Grant, as []approval.Approval) []means {
	return []means{
		{"the live grant", true, func(p *play, t *twin) error { _, err := p.under(g, as, t, nil); return err }},
		{"the live grant, stretched to all hosts", true, func(p *play, t *twin) error {
			wide := g
			wide.Scope = everywhere()
			_, err := p.under(wide, as, t, nil)
			return err
		}},
	}
}

// shot is one writ for one host.
type shot struct {
	wish  wish
	means means
	plan  *twin
	to    *target
	raw   []byte
}

// load plans every wish by every means for every host, and logs all of it.
func (p *play) load(pool string, by []means) ([]shot, error) {
	has, err := p.packages()
	if err != nil {
		return nil, err
	}
	var all []shot
	for _, m := range by {
		for _, w := range wishes() {
			for _, t := range p.targets {
				is, _, _ := strings.Cut(has[t.Name][greeting+":amd64"], " ")
				all = append(all, shot{wish: w, means: m, to: t, plan: &twin{}, raw: []byte(is)})
			}
		}
	}
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { errs[i] = p.aim(&all[i], pool) })
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

// aim makes one shot's plan and writ.
func (p *play) aim(s *shot, pool string) error {
	t, err := p.plan(nil, part{to: s.to, steps: []step{s.wish.step(string(s.raw))}})
	if err != nil {
		return fmt.Errorf("%s: %w", s.wish.name, err)
	}
	if err := s.means.fit(p, t); err != nil {
		return err
	}
	t.pool, s.plan = pool, t
	s.raw, err = p.issue(p.order(t, s.to), forgery{})
	return err
}

// hit is a shot that changed its host.
type hit struct {
	shot
	receipt writ.Receipt
}

// fire hands all shots over, each host's one after the other.
func (p *play) fire(all []shot) (hits []hit, codes map[refusal.Code]int, err error) {
	codes = map[refusal.Code]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, t := range p.targets {
		wg.Go(func() {
			for _, s := range all {
				if s.to != t || p.ctx.Err() != nil {
					continue
				}
				a, e := p.hand(parcel{to: t, writ: s.raw, pool: s.plan.pool})
				mu.Lock()
				err = errors.Join(err, e)
				codes[a.code]++
				for _, r := range a.receipts {
					hits = append(hits, hit{s, r})
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return hits, codes, errors.Join(err, p.ctx.Err())
}

func tally(all ...map[refusal.Code]int) string {
	sum := map[refusal.Code]int{}
	for _, codes := range all {
		for c, n := range codes {
			sum[c] += n
		}
	}
	var out []string
	for _, c := range slices.Sorted(maps.Keys(sum)) {
		name := string(c)
		if name == "" {
			name = "applied"
		}
		out = append(out, fmt.Sprintf("%s %d", name, sum[c]))
	}
	return strings.Join(out, ", ")
}

// ownedAlone is the act in which the attacker has everything of the control
// plane, and nobody has signed a grant.
func ownedAlone() act {
	return act{
		name: "everything of the control plane stolen, no grant", control: "one of the same changes, with the signatures of two people, is applied",
		rows: []Row{{ID: "control-plane-owned-without-a-grant", Where: AtControl, What: "every change the attacker can think of, on every host, by every means that the control plane's keys, log and database give", play: func(p *play) (answer, error) {
			pool, err := p.pool("owned", edition{at: time.Now().Add(-55 * time.Minute), packages: catalog})
			if err != nil {
				return answer{}, err
			}
			shots, err := p.load(pool, forgedMeans())
			if err != nil {
				return answer{}, err
			}
			hits, codes, err := p.fire(shots)
			if err == nil && len(hits) > 0 {
				err = fmt.Errorf("%d writs were carried out", len(hits))
			}
			return answer{detail: fmt.Sprintf("%d writs on %d hosts: %s", len(shots), len(p.targets), tally(codes))}, err
		}}},
		proof: func(p *play) error {
			t, err := p.plan(nil, part{to: p.other, steps: []step{{mild, rival3}}})
			if t, err = p.approved(t, err, p.yes...); err != nil {
				return err
			}
			t.pool, err = p.pool("owned-control", edition{at: time.Now().Add(-55 * time.Minute), packages: catalog})
			return errors.Join(err, p.carry(t, p.other))
		},
	}
}

// ownedWithGrant is the same with a live grant: exactly what it says may
// happen, where it says, not before it says, and no more of it.
func ownedWithGrant() act {
	return act{
		name: "everything of the control plane stolen, one grant live", control: "one of the refused changes, with the signatures of two people, is applied",
		rows: []Row{{ID: "control-plane-owned-with-a-grant", Where: AtControl, Effect: "exactly the grant, host by host", What: "the same, and people have signed a grant for one package on web hosts: on each of those exactly one granted change happens, in its slot; nothing else, nowhere else", play: raid}},
		proof: func(p *play) error {
			t, err := p.plan(nil, part{to: p.web, steps: []step{{mild, rival3}}})
			if t, err = p.approved(t, err, p.yes...); err != nil {
				return err
			}
			t.pool, err = p.pool("raided-control", edition{at: time.Now().Add(-20 * time.Minute), packages: catalog})
			return errors.Join(err, p.carry(t, p.web))
		},
	}
}

// raid uses a live grant for all it is worth.
func raid(p *play) (answer, error) {
	pool, err := p.pool("raided", edition{at: time.Now().Add(-25 * time.Minute), packages: catalog})
	if err != nil {
		return answer{}, err
	}
	g, as, err := p.grant(func(g *approval.Grant) { g.Packages = []string{greeting} }, p.yes...)
	if err != nil {
		return answer{}, err
	}
	shots, err := p.load(pool, grantMeans(g, as))
	if err != nil {
		return answer{}, err
	}
	before, err := p.packages()
	if err != nil {
		return answer{}, err
	}
	hits, early, err := p.fire(shots)
	if err != nil {
		return answer{}, err
	}
	for _, s := range shots { // until the last slot has come
		if s.means.name == grantMeans(g, as)[0].name && g.Covers(s.to.known, s.plan.branch(s.to).Changes, p.root.Critical) == nil {
			if err := p.wait(s.plan, s.to); err != nil {
				return answer{}, err
			}
		}
	}
	more, late, err := p.fire(shots)
	if err != nil {
		return answer{}, err
	}
	after, err := p.packages()
	if err != nil {
		return answer{}, err
	}
	if early["PW-WRIT-SOAK"] == 0 {
		return answer{}, errors.New("nothing was tried before the soak was over: the machine is too slow for this row")
	}
	p.allowed = []string{"what the grant covers"}
	detail := fmt.Sprintf("%d writs on %d hosts, twice: %s; changed: %s", len(shots), len(p.targets), tally(early, late), strings.Join(delta(before, after), "; "))
	return answer{detail: detail}, p.exactly(g, delta(before, after), append(hits, more...))
}

// exactly says how what happened differs from what the grant permits, or nil.
// It is reckoned from the grant's words alone, not with the code that hosts use.
func (p *play) exactly(g approval.Grant, changed []string, hits []hit) error {
	want := map[string]bool{}
	for _, t := range p.targets {
		if slices.Contains(t.known.Labels, trust.Label{Key: "role", Value: "web"}) && slices.ContainsFunc(g.Slots, func(s approval.Slot) bool { return s.Domain == t.known.Domain }) {
			want[t.Name] = true
		}
	}
	for _, line := range changed {
		host, what, _ := strings.Cut(line, " ")
		if !want[host] || !strings.HasPrefix(what, greeting+":amd64: ") || !strings.HasSuffix(what, v7.Version+" installed") && !strings.HasSuffix(what, v8.Version+" installed") {
			return fmt.Errorf("not covered by the grant: %s", line)
		}
	}
	if len(changed) != len(want) || len(hits) != len(want) {
		return fmt.Errorf("%d changes and %d receipts, the grant permits one on each of %d hosts", len(changed), len(hits), len(want))
	}
	for _, h := range hits {
		at, err := p.begins(h.plan, h.to)
		if err != nil {
			return err
		}
		if h.receipt.Started < at.Unix() || len(h.plan.branch(h.to).Changes) > g.Budget || h.wish.step("").to.Name != greeting || change.Highest(h.plan.branch(h.to).Changes) != change.Routine {
			return fmt.Errorf("on %s: %s by %s, begun at %d, not before %d", h.to.Name, h.wish.name, h.means.name, h.receipt.Started, at.Unix())
		}
	}
	return nil
}
