package control

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
)

// look finds work: hosts with the same packages are asked about once, and what
// is affected becomes at most two plans, one of routine changes and one of the
// rest, so that what a grant may permit does not wait for people.
func (c *Control) look(ctx context.Context) {
	c.mu.Lock()
	groups, root, err := c.groups(ctx)
	c.told("planning", err)
	c.mu.Unlock()
	for _, g := range groups {
		if ctx.Err() != nil {
			return
		}
		err := c.plan(ctx, root, g)
		c.mu.Lock()
		c.told("planning for inventory "+g.inventory.Short(), err)
		c.mu.Unlock()
	}
}

// group is hosts with the same packages.
type group struct {
	inventory canon.Digest
	hosts     []trust.Host // ascending
}

// groups are the enrolled hosts by what they have, but those that an open plan
// is about to change, and those whose last change is newer than what they told.
func (c *Control) groups(ctx context.Context) ([]group, trust.Root, error) {
	hosts, err := all[Host](ctx, c.Store, kindHost)
	if err != nil {
		return nil, c.root, err
	}
	plans, err := all[Plan](ctx, c.Store, kindPlan)
	if err != nil {
		return nil, c.root, err
	}
	busy := map[trust.HostID]bool{}
	for _, p := range plans {
		for _, h := range p.Hosts {
			busy[h] = busy[h] || p.State.open()
		}
	}
	by := map[canon.Digest][]trust.Host{}
	for _, h := range hosts {
		known, ok := c.root.Host(h.ID)
		if ok && c.seenAs(h) == wire.Enrolled && h.Inventory != "" && !h.Stale && !busy[h.ID] {
			by[h.Inventory] = append(by[h.Inventory], known)
		}
	}
	var out []group
	for d, hs := range by {
		slices.SortFunc(hs, func(a, b trust.Host) int { return cmp.Compare(a.ID, b.ID) })
		out = append(out, group{d, hs})
	}
	slices.SortFunc(out, func(a, b group) int { return cmp.Compare(a.inventory, b.inventory) })
	return out, c.root, nil
}

// plan solves for one group and proposes what comes of it.
func (c *Control) plan(ctx context.Context, root trust.Root, g group) error {
	sources, err := c.Sources(root)
	if err != nil {
		return err
	}
	var feeds []advisory.Set
	if c.Feeds != nil {
		if feeds, err = c.Feeds(ctx, c.Now()); err != nil {
			return err
		}
	}
	o := solve.Options{Root: c.rootOf(g.inventory), Snapshot: true, Pool: filepath.Join(c.Dir, "pool"), Sources: sources,
		Feeds: feeds, Only: c.Terms.Only, Critical: root.Critical, Now: c.Now(), Progress: c.Progress}
	solved, err := c.Solve(ctx, o)
	if err != nil || len(solved.Changes) == 0 {
		return err
	}
	tracks, err := c.tracks(ctx, o, solved)
	if err != nil {
		return err
	}
	_, seen, err := c.Log.Checkpoint(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range tracks {
		if err := c.propose(ctx, g, s, seen.Checkpoint.Size); err != nil {
			return err
		}
	}
	return nil
}

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

// coverOf names the work of a plan, whoever proposes it and when.
func coverOf(g group, s solve.Solved) canon.Digest {
	type cover struct {
		Hosts   []trust.HostID  `json:"hosts"`
		Changes []change.Change `json:"changes"`
	}
	cv := cover{Changes: s.Changes}
	for _, h := range g.hosts {
		cv.Hosts = append(cv.Hosts, h.ID)
	}
	return canon.Sum("patchwrit/cover/v1", canon.MustEncode(cv))
}

// again is how long work that was denied, stopped or expired is not proposed
// anew: people have just seen it.
const again = 24 * 3600

// propose commits a plan for a group, unless the same work is under way.
func (c *Control) propose(ctx context.Context, g group, s solve.Solved, generation int64) error {
	if len(s.Changes) == 0 {
		return nil
	}
	cover, now := coverOf(g, s), c.Now().Unix()
	plans, err := all[Plan](ctx, c.Store, kindPlan)
	if err != nil {
		return err
	}
	for _, p := range plans {
		if p.Cover == cover && (p.State.open() || now-p.Created < again) {
			return nil
		}
	}
	f, err := c.request(g, s, generation, now)
	if err != nil {
		return err
	}
	if err := c.found(ctx, proposal.NewBasis(f, s.Digest, s.Findings, now)); err != nil {
		return err
	}
	return c.Accepted(ctx, f, cover)
}

// request makes the plan.
func (c *Control) request(g group, s solve.Solved, generation, now int64) (proposal.File, error) {
	nonce, err := c.nonce()
	if err != nil {
		return proposal.File{}, err
	}
	wave, waves := waves(g.hosts, now)
	r := proposal.Request{Nonce: nonce, Author: Author, Created: now, Expires: now + int64(c.Terms.Life/time.Second), Generation: generation,
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
// the others into one wave for each fault domain. Every canary, and all but a
// tenth of each later wave, must be good before the next wave begins.
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
		out = append(out, plan.Wave{NotBefore: now, Good: max(1, n-n/10)})
	}
	return of, out
}

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
		Hosts: []trust.HostID{}, Waves: []int{}, Packages: packages(f.Branches), Verdict: noVerdict(), Answers: noAnswers()}
	for _, b := range f.Branches {
		p.Hosts, p.Waves = append(p.Hosts, b.Host), append(p.Waves, b.Wave)
	}
	if err := c.keepReleases(p.Digest, f); err != nil {
		return err
	}
	c.Logger.Info("plan proposed", "plan", p.Digest.Short(), "class", h.Class, "hosts", len(p.Hosts), "packages", len(p.Packages))
	c.Kick()
	return c.commit(ctx, "plan/"+string(p.Digest), "plan", h.Bytes(), writ.PlanEntry(h), p.doc())
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
					return err
				}
				d, err := c.blobs.put(raw)
				if err != nil {
					return err
				}
				if d != want {
					return fmt.Errorf("%s in the pool is %s, the plan was made with %s", at, d.Short(), want.Short())
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
	return os.WriteFile(c.releasesFile(p), canon.MustEncode(list), 0o600)
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
