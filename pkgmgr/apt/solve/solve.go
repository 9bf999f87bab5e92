// Package solve asks the real apt what would have to change on one Debian root
// so that its affected packages are fixed, and brings the bytes together.
//
// The parties: vendors sign releases; mirrors carry them and are trusted with
// nothing; the root's own apt is the only solver; the control plane's planner
// calls Look and Solve; room proposal makes a plan of the answer. The objects:
// a Source, one vendor release and where to fetch it; the pool, files by digest
// in the layout of docs/design/0001; Seen, what is installed and what is known
// against it; Solved, exact changes with their facts and the way back.
//
// The promise: what is in the pool was verified while it was written. A change
// is there only when its bytes and those of the way back are in the pool. Every
// affected package without a change is Held with a reason. Nothing goes down but
// to the versions that Down names. The root is left as
// it was: apt works in a directory of its own, without network, and simulates.
//
// It changes no package, permits nothing, and plans no removals: a fix that
// needs one is Held. It is the control plane's; the agent never links it.
package solve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/inventory/rpmdb"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/trust"
)

// Source is one vendor release and where to fetch it.
type Source struct {
	Origin  trust.Origin
	Keyring []byte // the origin's binary OpenPGP keyring
	URL     string // base of the archive: http://, https:// or file://
	Suite   string // directory below dists/, such as "bookworm-security"
}

// Options say what to solve. Root and Now have no default.
type Options struct {
	Root     string // directory with a Debian system in it
	Snapshot bool   // Root holds only os-release and dpkg's database of a host elsewhere: this machine's apt is asked, and which programs a change would break is not looked at
	Pool     string // directory of the bytes, made when it is not there; not needed without sources
	Sources  []Source
	Feeds    []advisory.Set          // besides the changelogs inside the sources' packages
	Since    map[int]advisory.Set    // by place in Feeds: an earlier reading of it that counted; then only what stands up to it counts
	Released []quarantine.Release    // people's word for records that are held
	Held     []Held                  // records of Feeds that do not count, with the form that came; Packages is filled here
	Records  []match.Records         // besides Feeds: those that are looked up where they are
	More     More                    // besides Feeds: read when it is known what is installed
	Only     []string                // binary package names; empty: all that are affected
	Down     []Target                // instead: back to these versions, and nothing else
	Critical change.List             // the trust root's
	Floor    map[change.Origin]int64 // newest release date known, Unix seconds
	Now      time.Time
	Progress io.Writer    // a line for each thing that takes long; nil: nowhere
	Client   *http.Client // nil: one that gives up after downloadTime
}

// More reads feeds. Look asks for no other parts of their records than those that
// wanted is true for.
type More func(wanted func(advisory.Subject) bool) ([]advisory.Set, error)

// Target is an installed package and the lower version it is to go back to.
type Target struct{ Package, Arch, Version string }

func (t Target) key() string { return t.Package + ":" + t.Arch }

// Seen is what is installed in a root, and what is known against it.
type Seen struct {
	Inventory inventory.Inventory
	Index     match.Index
	Findings  []match.Finding
	Held      []Held // records of Feeds that do not count
	vendors   []*vendor
	newest    map[string]provenance.Entry // by inventory key: above the installed version
}

// Solved is what to do about it.
type Solved struct {
	Seen
	Digest  canon.Digest // of the inventory
	Changes []change.Change
	Back    []change.Change // the way back, in the same order
	Facts   []proposal.Fact // one for each change
	Held    []proposal.Held // affected packages without a change, ascending
	After   []match.Finding // with Down: what would be found once it is done
}

// planner is one call of Look or Solve.
type planner struct {
	Options
	pool pool
	say  *teller
}

func newPlanner(o Options) (*planner, error) {
	if o.Root == "" || o.Now.IsZero() || o.Pool == "" && len(o.Sources) > 0 {
		return nil, errors.New("root, pool and the time must be given")
	}
	urls := map[change.Origin]bool{}
	for _, s := range o.Sources {
		if urls[s.Origin.ID] {
			return nil, fmt.Errorf("two sources of the origin %s: the pool has room for one release of each", s.Origin.ID)
		}
		urls[s.Origin.ID] = true
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Client == nil {
		o.Client = &http.Client{Timeout: downloadTime}
	}
	p := &planner{Options: o, pool: pool(o.Pool), say: &teller{w: o.Progress}}
	if o.Pool == "" {
		return p, nil
	}
	return p, os.MkdirAll(p.pool.path("sha256"), 0o755)
}

// Look reads the root and the sources, and finds what is affected. Advisories
// are those of the feeds and of the changelogs inside newer packages.
func Look(ctx context.Context, o Options) (Seen, error) {
	p, err := newPlanner(o)
	if err != nil {
		return Seen{}, err
	}
	return p.look(ctx)
}

func (p *planner) look(ctx context.Context) (Seen, error) {
	var s Seen
	root, err := os.OpenRoot(p.Root)
	if err != nil {
		return s, err
	}
	defer root.Close()
	if s.Inventory, err = rpmdb.Read(ctx, root.FS()); err != nil {
		return s, err
	}
	for _, source := range p.Sources {
		v, err := p.vendor(ctx, source, s.Inventory.Arch)
		if err != nil {
			return s, err
		}
		s.vendors = append(s.vendors, v)
	}
	s.newest = newer(s.Inventory, s.vendors)
	changelogs, err := p.changelogs(ctx, s)
	if err != nil {
		return s, err
	}
	feeds := p.judged(&s, changelogs)
	if p.More != nil {
		more, err := p.More(match.Wanted(s.Inventory))
		if err != nil {
			return s, err
		}
		feeds = append(feeds, more...)
	}
	s.Index = match.Over(append([]match.Records{match.Memory(append(changelogs, feeds...)...)}, p.Records...)...)
	s.Findings = match.Find(s.Inventory, s.Index)
	s.Doubt(p.Held, nil)
	return s, s.Index.Err()
}

// newer finds, for each installed package, the newest version that any vendor
// signs, when it is above the installed one.
func newer(inv inventory.Inventory, vendors []*vendor) map[string]provenance.Entry {
	out := map[string]provenance.Entry{}
	for _, p := range inv.Packages {
		if !p.Status.Present() {
			continue
		}
		top := p.Version
		for _, v := range vendors {
			for _, index := range v.indexes {
				for e := range index.Named(p.Name) {
					if e.Arch() == p.Arch && above(e.Version(), top) {
						top, out[p.Key()] = e.Version(), e
					}
				}
			}
		}
	}
	return out
}

// Solve looks, asks apt, and brings the bytes and facts of every change.
func Solve(ctx context.Context, o Options) (Solved, error) {
	p, err := newPlanner(o)
	if err != nil {
		return Solved{}, err
	}
	var s Solved
	if s.Seen, err = p.look(ctx); err != nil {
		return s, err
	}
	for _, gap := range s.Inventory.Partial {
		if gap.What == inventory.AreaPackages || gap.What == inventory.AreaArch {
			return s, fmt.Errorf("the root's packages cannot be read whole, so nothing is planned: %s", gap.Why)
		}
	}
	if s.Digest, err = s.Inventory.Digest(); err != nil {
		return s, err
	}
	c := choose(s.Seen, p.Only)
	if len(p.Down) > 0 {
		c = s.goBack(p.Down)
	}
	pairs, err := p.ask(ctx, s.Seen, &c)
	if err != nil {
		return s, err
	}
	if len(p.Down) > 0 {
		s.After = s.afterwards(pairs)
	}
	if err := p.describe(ctx, &s, pairs); err != nil {
		return s, err
	}
	s.Held = c.reasons()
	return s, nil
}

// pair is one change with the artefacts of both ends; the old one is zero for
// an installation.
type pair struct {
	pack     string
	arch     string
	from, to string
	new, old provenance.Entry
}

func (p pair) key() string { return p.pack + ":" + p.arch }

// chosen is what the solver is asked for, and what is held.
type chosen struct {
	want []inventory.Package
	to   map[string]string // version asked for, by inventory key
	held map[string]string // reason by inventory key
	down bool
}

// choose sorts the affected packages into those to ask for and those held.
func choose(s Seen, only []string) chosen {
	c := chosen{to: map[string]string{}, held: map[string]string{}}
	fixes := map[string][]match.Finding{}
	for _, f := range s.Findings {
		if f.Grounded() {
			key := f.Package + ":" + f.Arch
			fixes[key] = append(fixes[key], f)
		}
	}
	for _, p := range s.Inventory.Packages {
		found := fixes[p.Key()]
		named := slices.Contains(only, p.Name)
		if !p.Status.Present() || len(only) > 0 && !named || len(found) == 0 && !named {
			continue
		}
		if why := s.unfit(p, found); why != "" {
			c.held[p.Key()] = why
			continue
		}
		c.want, c.to[p.Key()] = append(c.want, p), s.newest[p.Key()].Version()
	}
	for _, name := range only {
		if !slices.ContainsFunc(s.Inventory.Packages, func(p inventory.Package) bool { return p.Name == name && p.Status.Present() }) {
			c.held[name] = "it is not installed"
		}
	}
	return c
}

// unfit says why a package cannot be asked for, or "".
func (s Seen) unfit(p inventory.Package, found []match.Finding) string {
	e, ok := s.newest[p.Key()]
	switch {
	case p.Hold:
		return "it is on hold in dpkg: apt-mark unhold " + p.Name + " lets it go"
	case !p.Status.Settled():
		return "an earlier installation of it was interrupted: repair it first (dpkg --configure -a)"
	case !ok:
		return "no verified index holds a version above " + p.Version
	}
	_, source := e.Source()
	if len(found) > 0 && !slices.ContainsFunc(found, func(f match.Finding) bool {
		return f.Work() && !above(f.Fixed, source)
	}) {
		return "the newest verified version, " + e.Version() + ", fixes none of its findings"
	}
	if _, ok := s.exact(p.Name, p.Arch, p.Version); !ok {
		return noWayBack(p.Name, p.Version)
	}
	return ""
}

func noWayBack(name, version string) string {
	return fmt.Sprintf("no way back: no verified index of the sources still holds %s %s", name, version)
}

// exact finds an artefact in any verified index.
func (s Seen) exact(name, arch, version string) (provenance.Entry, bool) {
	for _, v := range s.vendors {
		for _, index := range v.indexes {
			if e, err := index.Find(name, arch, version); err == nil {
				return e, true
			}
		}
	}
	return provenance.Entry{}, false
}

// reasons lists what is held, ascending.
func (c chosen) reasons() []proposal.Held {
	out := []proposal.Held{}
	for key, why := range c.held {
		out = append(out, proposal.Held{Package: key, Why: canon.NoteOf(why)})
	}
	slices.SortFunc(out, func(a, b proposal.Held) int { return strings.Compare(a.Package, b.Package) })
	return out
}

// Idle lists installed packages with a newer verified version that nothing
// known asks for, "name:arch version", ascending. A fix may hide there: vendors
// do not name every vulnerability.
func (s Solved) Idle() []string {
	out := []string{}
	for key, e := range s.newest {
		changed := slices.ContainsFunc(s.Changes, func(c change.Change) bool { return c.Key() == key })
		held := slices.ContainsFunc(s.Held, func(h proposal.Held) bool { return h.Package == key })
		if !changed && !held {
			out = append(out, key+" "+e.Version())
		}
	}
	slices.Sort(out)
	return out
}
