package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match/fleet"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// fleetIndex is what all hosts have and all feeds say, ready to be asked. It is
// made anew at the start from the kept inventories; later only what has changed
// is worked in. It decides nothing: plans come from the solver.
type fleetIndex struct {
	news   chan struct{}          // an inventory has come, or a host has gone
	newest atomic.Pointer[moment] // nil until all was read once; readers wait for nobody

	mu    sync.Mutex // guards the next fields: one writer at a time
	index *fleet.Index
	hosts map[trust.HostID]canon.Digest // the inventory that the index holds of a host
	refs  map[fleet.Ref]canon.Digest    // the record that it holds, by its bytes
	feeds []advisory.Snapshot
	read  time.Time // when the feeds were
}

// moment is the index at one moment, and what it rests on.
type moment struct {
	*fleet.Snapshot
	feeds []advisory.Snapshot
	read  time.Time
}

// About says which hosts a vulnerability concerns, by the feeds and not by the
// changelogs that a plan reads besides. Each host stands in one list at most.
type About struct {
	Name         string         `json:"name"`         // as asked
	Records      []string       `json:"records"`      // "feed: id" of every record that goes by the name
	Affected     []trust.HostID `json:"affected"`     // ascending, as all lists
	Unknown      []trust.HostID `json:"unknown"`      // it cannot be told
	Investigated []trust.HostID `json:"investigated"` // the source is still finding out
	Gaps         []string       `json:"gaps"`         // why a host may be missing; not empty: nothing here means "clean"
	Hosts        int            `json:"hosts"`        // asked about
	Read         int64          `json:"read"`         // when the feeds were, Unix seconds
}

// Count is how many hosts a vulnerability concerns.
type Count struct {
	Name         string `json:"name"`
	Affected     int    `json:"affected"`
	Unknown      int    `json:"unknown"`
	Investigated int    `json:"investigated"`
}

// indexed brings the fleet index up to what the book and the feeds say now.
func (c *Control) indexed(ctx context.Context) error {
	x := &c.fleet
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.index == nil {
		x.index, x.hosts, x.refs = fleet.New(), map[trust.HostID]canon.Digest{}, map[fleet.Ref]canon.Digest{}
	}
	changed, err := c.indexHosts(ctx)
	if now := c.Now(); now.Sub(x.read) >= c.Terms.Plan || now.Before(x.read) {
		if failed := c.indexFeeds(ctx, now); failed != nil {
			return errors.Join(err, failed)
		}
		changed = true
	}
	if changed && ctx.Err() == nil {
		x.newest.Store(&moment{x.index.Commit(), x.feeds, x.read})
	}
	return err
}

// indexHosts works in what has changed of hosts. One whose inventory cannot be
// read is told and tried again; until then it counts as one of which nothing
// is known.
func (c *Control) indexHosts(ctx context.Context) (changed bool, err error) {
	x, now := &c.fleet, map[trust.HostID]canon.Digest{}
	c.mu.Lock()
	for _, h := range c.book.hosts {
		if h.State != wire.Gone && h.Inventory != "" {
			now[h.ID] = h.Inventory
		}
	}
	c.mu.Unlock()
	for id := range x.hosts {
		if _, there := now[id]; !there {
			delete(x.hosts, id)
			changed = x.index.RemoveHost(string(id)) || changed
		}
	}
	var errs []error
	same := map[canon.Digest]inventory.Inventory{}
	for id, d := range now {
		if x.hosts[id] == d || ctx.Err() != nil {
			continue
		}
		inv, ok := same[d]
		if !ok {
			if inv, err = inventory.Read(os.DirFS(c.rootOf(d))); err != nil {
				errs = append(errs, fmt.Errorf("inventory %s of host %s: %w", d.Short(), id.Short(), err))
				x.index.PutHost(fleet.Host{Name: string(id), Incomplete: true})
				x.hosts[id], changed = "", true
				continue
			}
			same[d] = inv
		}
		x.index.PutHost(fleet.FromInventory(string(id), inv))
		x.hosts[id], changed = d, true
	}
	return changed, errors.Join(errs...)
}

// indexFeeds works in what has changed of the feeds.
func (c *Control) indexFeeds(ctx context.Context, now time.Time) error {
	x := &c.fleet
	sets, err := c.advisories(ctx, now)
	if err != nil {
		return err
	}
	refs, next := map[fleet.Ref]canon.Digest{}, map[fleet.Ref]int{}
	x.feeds = nil
	for i := range sets {
		x.feeds = append(x.feeds, sets[i].Snapshot)
		for j := range sets[i].Advisories {
			a := &sets[i].Advisories[j]
			ref := fleet.Ref{Feed: a.Feed.Name, ID: a.ID}
			ref.Nth, next[ref] = next[ref], next[ref]+1
			// The same bytes say the same, but where several records come of
			// them, or some end.
			if had, ok := x.refs[ref]; !ok || had != a.Raw || ref.Nth > 0 || a.Basis == advisory.BasisStatement {
				x.index.PutNth(a, ref.Nth)
			}
			refs[ref] = a.Raw
		}
	}
	for ref := range x.refs {
		if _, still := refs[ref]; !still {
			x.index.RemoveAdvisory(ref)
		}
	}
	x.refs, x.read = refs, now
	return nil
}

// errNotRead says that the index is not there yet.
var errNotRead = errors.New("the control plane has not read all inventories and feeds since it started; ask again in a moment")

// About says which hosts a vulnerability concerns, by an id, an alias or the
// name of an upstream record.
func (c *Control) About(name string) (About, error) {
	m := c.fleet.newest.Load()
	if m == nil {
		return About{}, errNotRead
	}
	answer, refs := m.Named(name)
	out := About{Name: name, Records: []string{}, Affected: m.ids(answer.Affected), Unknown: m.ids(answer.Unknown),
		Investigated: m.ids(answer.Investigated), Gaps: c.gaps(m), Hosts: m.All().Len(), Read: m.read.Unix()}
	for _, r := range refs {
		out.Records = append(out.Records, r.Feed+": "+r.ID)
	}
	if len(refs) == 0 {
		out.Gaps = append(out.Gaps, fmt.Sprintf("no feed that was read has a record named %+q", name))
	}
	return out, nil
}

func (m *moment) ids(h fleet.Hosts) []trust.HostID {
	out := make([]trust.HostID, 0, h.Len())
	for i := range h.All() {
		out = append(out, trust.HostID(m.Name(i)))
	}
	slices.Sort(out)
	return out
}

// gaps says what keeps an answer from being complete.
func (c *Control) gaps(m *moment) []string {
	out := []string{}
	if len(m.feeds) == 0 {
		out = append(out, "no feed was read (patchwrit up --feed or --depot)")
	}
	for _, f := range m.feeds {
		switch {
		case f.Count == 0:
			out = append(out, fmt.Sprintf("feed %+q has no records", f.Name))
		case len(f.Partial) > 0:
			out = append(out, fmt.Sprintf("feed %+q could not be read whole (%s)", f.Name, f.Gaps()))
		}
	}
	if n := m.Incomplete().Len(); n > 0 {
		out = append(out, fmt.Sprintf("of %d hosts not everything is known (the first: %s)", n, m.ids(m.Incomplete())[0]))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	silent := 0
	for _, h := range c.book.hosts {
		if _, held := m.Number(string(h.ID)); h.State != wire.Gone && !held {
			silent++
		}
	}
	if silent > 0 {
		out = append(out, fmt.Sprintf("%d enrolled hosts have not told yet what they have", silent))
	}
	return out
}

// maxCounts bounds one list of vulnerabilities.
const maxCounts = 10_000

// Counts lists the vulnerabilities that concern some host, those of the most
// hosts first, at most limit.
func (c *Control) Counts(limit int) ([]Count, error) {
	m := c.fleet.newest.Load()
	if m == nil {
		return nil, errNotRead
	}
	out := []Count{}
	for _, name := range m.Concerning() {
		affected, unknown, investigated := m.Count(name)
		out = append(out, Count{name, affected, unknown, investigated})
	}
	slices.SortFunc(out, func(a, b Count) int {
		return cmp.Or(b.Affected-a.Affected, b.Unknown-a.Unknown, b.Investigated-a.Investigated, cmp.Compare(a.Name, b.Name))
	})
	return out[:min(limit, len(out))], nil
}

func (c *Control) apiAbout(r *http.Request) (any, error) {
	name := r.FormValue("name")
	if name == "" || len(name) > 256 {
		return nil, fmt.Errorf("%w: name=%q is not the name of an advisory", errRequest, name)
	}
	return c.About(name)
}

func (c *Control) apiCounts(r *http.Request) (any, error) {
	limit, err := strconv.Atoi(cmp.Or(r.FormValue("limit"), strconv.Itoa(maxCounts)))
	if err != nil || limit < 1 || limit > maxCounts {
		return nil, fmt.Errorf("%w: limit=%q is not a number from 1 to %d", errRequest, r.FormValue("limit"), maxCounts)
	}
	return c.Counts(limit)
}
