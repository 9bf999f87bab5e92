package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
)

// lookIfDue looks for work when it is time, or when somebody wants it.
//
// Two looks never fall into one second: what they see is kept by the second.
func (c *Control) lookIfDue(ctx context.Context) {
	c.mu.Lock()
	soon := c.Now().Unix() == c.ended.Unix()
	c.mu.Unlock()
	if soon || !c.due() {
		return
	}
	c.mu.Lock()
	groups, root := c.groups(c.all)
	c.all = false
	lapsed := c.lapse(ctx)
	c.mu.Unlock()
	c.told("requests of visitors", lapsed)
	c.look(ctx, root, groups)
	c.mu.Lock()
	c.ended = c.Now()
	inUse := map[canon.Digest]bool{}
	for _, h := range c.book.hosts {
		inUse[h.Inventory] = true
	}
	c.mu.Unlock()
	c.told("old inventories", c.sweep(inUse))
}

// look finds work: hosts with the same packages are asked about once, and what
// is affected becomes at most two plans, one of routine changes and one of the
// rest, so that what a grant may permit does not wait for people.
func (c *Control) look(ctx context.Context, root trust.Root, groups []group) {
	for _, g := range groups {
		if ctx.Err() != nil {
			return
		}
		err := c.plan(ctx, root, g)
		c.told("planning for inventory "+g.inventory.Short(), err)
		c.mu.Lock()
		if err == nil {
			c.looked[g.key()] = c.Now()
		}
		c.mu.Unlock()
	}
}

// group is hosts with the same packages.
type group struct {
	inventory canon.Digest
	hosts     []trust.Host // ascending
}

func (g group) key() string {
	key := string(g.inventory)
	for _, h := range g.hosts {
		key += string(h.ID)
	}
	return string(canon.SumFile([]byte(key)))
}

// groups are the enrolled hosts by what they have, but those whose last change
// is newer than what they told; unless all are wanted, without those that were
// looked at a short while ago, or are all part of an open plan, unless a visitor asks
// about them. What presses most is looked at first.
func (c *Control) groups(all bool) ([]group, trust.Root) {
	busy := map[trust.HostID]bool{}
	for d := range c.book.open {
		for _, h := range c.book.plans[d].Hosts {
			busy[h] = true
		}
	}
	by := map[canon.Digest][]trust.Host{}
	for _, h := range c.book.hosts {
		if known, ok := c.root.Host(h.ID); ok && h.Inventory != "" && !h.Stale && c.seenAs(h) == wire.Enrolled {
			by[h.Inventory] = append(by[h.Inventory], known)
		}
	}
	var out []group
	for d, hs := range by {
		slices.SortFunc(hs, func(a, b trust.Host) int { return cmp.Compare(a.ID, b.ID) })
		g := group{d, hs}
		idle := slices.ContainsFunc(hs, func(h trust.Host) bool { return !busy[h.ID] })
		if last, ok := c.looked[g.key()]; all || c.asked(g) || idle && (!ok || c.Now().Sub(last) >= c.Terms.Plan) {
			out = append(out, g)
		}
	}
	now, pressing := c.Now().Unix(), map[canon.Digest]priority.Work{}
	for _, g := range out {
		pressing[g.inventory] = c.pressing(g, now)
	}
	slices.SortFunc(out, func(a, b group) int { return priority.Compare(pressing[a.inventory], pressing[b.inventory], now) })
	c.tidy(by)
	return out, c.root
}

// tidy forgets what no host has any more.
func (c *Control) tidy(inUse map[canon.Digest][]trust.Host) {
	for key, at := range c.looked {
		if c.Now().Sub(at) > c.Terms.Plan {
			delete(c.looked, key)
		}
	}
	const prefix = "planning for inventory "
	c.ill.Lock()
	defer c.ill.Unlock()
	for subject := range c.trouble {
		short, ok := strings.CutPrefix(subject, prefix)
		if ok && !slices.ContainsFunc(slices.Collect(maps.Keys(inUse)), func(d canon.Digest) bool { return d.Short() == short }) {
			delete(c.trouble, subject)
		}
	}
}

// plan solves for one group and proposes what comes of it.
func (c *Control) plan(ctx context.Context, root trust.Root, g group) error {
	sources, err := c.Sources(root)
	if err != nil {
		return err
	}
	if err := c.laidOut(g); err != nil {
		return err
	}
	feeds, err := c.advisories(ctx, c.Now())
	if err != nil {
		return err
	}
	o := solve.Options{Root: c.rootOf(g.inventory), Snapshot: true, Pool: filepath.Join(c.Dir, "pool"), Sources: sources,
		Feeds: feeds, Only: c.Terms.Only, Critical: root.Critical, Now: c.Now(), Progress: c.Progress}
	solved, err := c.Solve(ctx, o)
	if err != nil {
		return err
	}
	if solved.Digest != g.inventory {
		return errors.Join(fmt.Errorf("what was laid out is inventory %s; it is laid out again", solved.Digest.Short()), os.RemoveAll(c.rootOf(g.inventory)))
	}
	know := c.knowing(ctx, cvesOf(solved.Findings)...)
	if err := c.observe(ctx, g, solved, know); err != nil {
		return err
	}
	if len(solved.Changes) == 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.answerAsks(ctx, g, solved)
	}
	tracks, err := c.tracks(ctx, o, solved)
	if err != nil {
		return err
	}
	open, err := c.openOf(ctx, g, solved)
	if err != nil {
		return err
	}
	_, seen, err := c.Log.Checkpoint(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.meet(ctx, solved.Facts); err != nil {
		return err
	}
	for _, s := range tracks {
		if err := c.propose(ctx, g, s, c.authorOf(g, s, solved), know, open, seen.Checkpoint.Size); err != nil {
			return err
		}
	}
	return c.answerAsks(ctx, g, solved)
}

// laidOut lays a group's inventory out again when it is not there.
func (c *Control) laidOut(g group) error {
	if _, err := os.Stat(c.rootOf(g.inventory)); err == nil {
		return nil
	}
	c.mu.Lock()
	h, ok := c.book.host(g.hosts[0].ID)
	c.mu.Unlock()
	if !ok || h.Inventory != g.inventory {
		return nil // it has told another meanwhile
	}
	s, err := c.snapshot(h.Snapshot)
	if err != nil {
		return err
	}
	_, err = c.layOut(s)
	return err
}

// sweep removes inventories that no host has any more, and half files.
func (c *Control) sweep(inUse map[canon.Digest]bool) error {
	list, err := os.ReadDir(filepath.Join(c.Dir, "hosts"))
	if err != nil {
		return err
	}
	for _, e := range list {
		info, err := e.Info()
		if err != nil || c.Now().Sub(info.ModTime()) < sweepAge || !e.IsDir() || inUse[canon.Digest(e.Name())] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(c.Dir, "hosts", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// sweepAge is how long what nobody has is kept.
const sweepAge = time.Hour

// tracks splits what was solved into routine changes and the rest, when the
// solver says that each stands alone; else it stays one.
func (c *Control) tracks(ctx context.Context, o solve.Options, whole solve.Solved) ([]solve.Solved, error) {
	var routine, rest []string
	for _, ch := range whole.Changes {
		if ch.Class == change.Routine {
			routine = append(routine, ch.Package)
		} else {
			rest = append(rest, ch.Package)
		}
	}
	if len(routine) == 0 || len(rest) == 0 {
		return []solve.Solved{whole}, nil
	}
	o.Only = rest
	high, err := c.Solve(ctx, o)
	if err != nil {
		return nil, err
	}
	o.Only = slices.DeleteFunc(routine, func(name string) bool {
		return slices.ContainsFunc(high.Changes, func(ch change.Change) bool { return ch.Package == name })
	})
	if len(o.Only) == 0 {
		return []solve.Solved{whole}, nil
	}
	low, err := c.Solve(ctx, o)
	if err != nil {
		return nil, err
	}
	apart := !slices.ContainsFunc(low.Changes, func(ch change.Change) bool {
		return ch.Class != change.Routine || slices.ContainsFunc(high.Changes, func(other change.Change) bool { return other.Key() == ch.Key() })
	})
	if !apart || len(low.Changes)+len(high.Changes) != len(whole.Changes) {
		return []solve.Solved{whole}, nil
	}
	return []solve.Solved{low, high}, nil
}

// coverOf names the work of a plan, whoever proposes it, for whom and when.
func coverOf(cs []change.Change) canon.Digest {
	return canon.Sum("patchwrit/cover/v1", canon.MustEncode(cs))
}

// again is how long work that was denied, stopped or expired is not proposed
// anew to a host: people have just seen it.
const again = 24 * 3600

// propose commits a plan for the hosts of a group that are not under way with
// the same work, or with the same packages.
func (c *Control) propose(ctx context.Context, g group, s solve.Solved, author trust.PersonID, know Knowledge, open running, generation int64) error {
	if len(s.Changes) == 0 {
		return nil
	}
	cover, now := coverOf(s.Changes), c.Now().Unix()
	taken := map[trust.HostID]bool{}
	for _, p := range c.book.plans {
		same := p.Cover == cover && now-p.Created < again
		if same || p.State.open() && slices.ContainsFunc(s.Changes, func(ch change.Change) bool { return slices.Contains(p.Packages, ch.Package) }) {
			for _, h := range p.Hosts {
				taken[h] = true
			}
		}
	}
	g.hosts = slices.DeleteFunc(slices.Clone(g.hosts), func(h trust.Host) bool { return taken[h.ID] })
	if len(g.hosts) == 0 {
		return nil
	}
	f, err := c.request(g, s, author, generation, now)
	if err != nil {
		return err
	}
	if err := c.found(ctx, proposal.NewBasis(f, s.Digest, s.Findings, now)); err != nil {
		return err
	}
	u, err := c.urgency(ctx, g, s, know, open)
	if err != nil {
		return err
	}
	return c.accept(ctx, f, cover, u)
}

// request makes the plan.
func (c *Control) request(g group, s solve.Solved, author trust.PersonID, generation, now int64) (proposal.File, error) {
	nonce, err := c.nonce()
	if err != nil {
		return proposal.File{}, err
	}
	wave, waves := waves(g.hosts, now)
	r := proposal.Request{Nonce: nonce, Author: author, Created: now, Expires: now + int64(c.Terms.Life/time.Second), Generation: generation,
		Waves: waves, Facts: s.Facts, Note: fmt.Sprintf("%d hosts with the same packages", len(g.hosts))}
	for i, h := range g.hosts {
		r.Hosts = append(r.Hosts, proposal.HostRequest{ID: h.ID, Wave: wave[i], Inventory: s.Digest, Findings: s.Findings,
			Changes: s.Changes, Back: s.Back, Held: s.Held})
	}
	h, branches, dossier, err := proposal.New(r)
	return proposal.NewFile(h, branches, dossier), err
}

// roleLabel names the label that says what a host is for.
const roleLabel = "role"

// waves puts the first host of each role into the first wave, as canaries, and
// the others into one wave for each fault domain. Later waves carry the good
// receipts of every canary, and of some of each wave between: hosts check them.
// The control plane itself waits for more (muster.wave).
func waves(hosts []trust.Host, now int64) (of []int, out []plan.Wave) {
	of = make([]int, len(hosts))
	canaries, domains := map[string]bool{}, []string{}
	for i, h := range hosts {
		if r := role(h); !canaries[r] {
			canaries[r] = true
			continue
		}
		of[i] = -1
		if !slices.Contains(domains, h.Domain) {
			domains = append(domains, h.Domain)
		}
	}
	slices.Sort(domains)
	out = []plan.Wave{{NotBefore: now, Good: len(canaries)}}
	for _, d := range domains {
		n := 0
		for i, h := range hosts {
			if of[i] < 0 && h.Domain == d {
				of[i] = len(out)
				n++
			}
		}
		out = append(out, plan.Wave{NotBefore: now, Good: min(n, carried)})
	}
	return of, out
}

// carried is how many receipts of each wave but the first a later writ carries:
// with all of them, a plan for n hosts would need n² receipts.
const carried = 8

func role(h trust.Host) string {
	for _, l := range h.Labels {
		if l.Key == roleLabel {
			return l.Value
		}
	}
	return ""
}

// Accepted commits a plan that was proposed here or by a person.
func (c *Control) Accepted(ctx context.Context, f proposal.File, cover canon.Digest) error {
	return c.accept(ctx, f, cover)
}

// accept commits a plan, with its urgency when that is known.
func (c *Control) accept(ctx context.Context, f proposal.File, cover canon.Digest, u ...Urgency) error {
	raw := f.Bytes()
	if _, err := proposal.ReadFile(raw); err != nil {
		return err
	}
	file, err := c.blobs.put(raw)
	if err != nil {
		return err
	}
	h := f.Header
	p := Plan{Digest: h.Digest(), State: Proposed, File: file, Cover: cover, Class: h.Class, Created: h.Created, Expires: h.Expires,
		Hosts: []trust.HostID{}, Waves: []int{}, Packages: packages(f.Branches), Verdict: noVerdict(), Answers: noAnswers(), Urgency: u}
	for _, b := range f.Branches {
		p.Hosts, p.Waves = append(p.Hosts, b.Host), append(p.Waves, b.Wave)
	}
	if err := c.keepReleases(p.Digest, f); err != nil {
		return err
	}
	if err := c.meet(ctx, f.Dossier.Artefacts); err != nil {
		return err
	}
	c.Logger.Info("plan proposed", "plan", p.Digest.Short(), "class", h.Class, "hosts", len(p.Hosts), "packages", len(p.Packages))
	c.Kick()
	return c.commit(ctx, "plan/"+string(p.Digest), "plan", h.Bytes(), writ.PlanEntry(h), p)
}

func packages(branches []plan.Branch) []string {
	out := []string{}
	for _, b := range branches {
		for _, ch := range b.Changes {
			out = append(out, ch.Package)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// keepReleases keeps the vendors' releases and indexes that a plan rests on: the
// pool's are replaced when the vendor publishes again.
func (c *Control) keepReleases(p canon.Digest, f proposal.File) error {
	files := map[string]wire.File{}
	for _, fact := range f.Dossier.Artefacts {
		for _, chain := range []provenance.Chain{fact.Chain, fact.Back} {
			if chain.Artefact == "" {
				continue
			}
			for name, want := range map[string]canon.Digest{"InRelease": chain.Release, chain.Path: chain.Packages} {
				at := path.Join("releases", string(chain.Origin), name)
				if _, have := files[at]; have {
					continue
				}
				if !filepath.IsLocal(at) {
					return fmt.Errorf("the dossier names %q", at)
				}
				raw, err := os.ReadFile(filepath.Join(c.Dir, "pool", filepath.FromSlash(at)))
				if err != nil {
					return refusal.New(codePlan, "it rests on %s, which is not in the pool: %v", at, err)
				}
				d, err := c.blobs.put(raw)
				if err != nil {
					return err
				}
				if d != want {
					return refusal.New(codePlan, "%s in the pool is %s, the plan was made with %s", at, d.Short(), want.Short())
				}
				files[at] = wire.File{Name: at, Digest: d, Size: int64(len(raw))}
			}
		}
	}
	list := []wire.File{}
	for _, f := range files {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b wire.File) int { return cmp.Compare(a.Name, b.Name) })
	return keep(c.releasesFile(p), canon.MustEncode(list))
}

func (c *Control) releasesFile(p canon.Digest) string {
	return filepath.Join(c.Dir, "blobs", string(p)+".releases")
}

// releaseFiles are the kept files of one origin.
func (c *Control) releaseFiles(p canon.Digest, origin change.Origin) ([]wire.File, error) {
	raw, err := os.ReadFile(c.releasesFile(p))
	if err != nil {
		return nil, err
	}
	var list []wire.File
	if err := canon.Decode(raw, &list); err != nil {
		return nil, err
	}
	prefix := path.Join("releases", string(origin)) + "/"
	return slices.DeleteFunc(list, func(f wire.File) bool { return len(f.Name) <= len(prefix) || f.Name[:len(prefix)] != prefix }), nil
}
