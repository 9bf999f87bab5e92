package solve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/feed/debian"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/provenance"
)

// changelogs reads the changelogs inside the newer packages: one binary package
// of each source is enough, the smallest first, until one holds it.
func (p *planner) changelogs(ctx context.Context, s Seen) ([]advisory.Set, error) {
	ecosystem, ok := match.Ecosystem(s.Inventory.OS)
	if !ok || !strings.HasPrefix(ecosystem, "Debian:") {
		return nil, nil
	}
	branch := debian.Branch{Ecosystem: ecosystem, Codename: s.Inventory.OS.Codename}
	groups := p.bySource(s)
	if len(groups) > 0 {
		p.say.line("read the changelogs of %d source packages with newer versions", len(groups))
	}
	sets, errs := make([]advisory.Set, len(groups)), make([]error, len(groups))
	each(len(groups), func(i int) { sets[i], errs[i] = p.changelog(ctx, s, groups[i], branch) })
	return sets, errors.Join(errs...)
}

// speaking are the versions whose changelogs are asked: the newer ones; for a
// way back those that are installed, since they tell what would be open again.
func (p *planner) speaking(s Seen) map[string]provenance.Entry {
	if len(p.Down) == 0 {
		return s.newest
	}
	out := map[string]provenance.Entry{}
	for _, is := range s.Inventory.Packages {
		if !is.Status.Present() || !s.shares(is, p.Down) {
			continue
		}
		if e, ok := s.exact(is.Name, is.Arch, is.Version); ok {
			out[is.Key()] = e
		}
	}
	return out
}

// bySource groups the newer versions by their source package, each group
// smallest first, the groups ascending. With Only, just those packages' sources.
func (p *planner) bySource(s Seen) [][]provenance.Entry {
	wanted, groups := map[string]bool{}, map[string][]provenance.Entry{}
	for _, e := range p.speaking(s) {
		source, _ := e.Source()
		groups[source] = append(groups[source], e)
		if len(p.Only) == 0 || slices.Contains(p.Only, e.Package()) {
			wanted[source] = true
		}
	}
	out := [][]provenance.Entry{}
	for source, group := range groups {
		if !wanted[source] {
			continue
		}
		slices.SortFunc(group, func(a, b provenance.Entry) int {
			return cmp.Or(cmp.Compare(a.Size(), b.Size()), strings.Compare(a.Package()+":"+a.Arch(), b.Package()+":"+b.Arch()))
		})
		out = append(out, group)
	}
	slices.SortFunc(out, func(a, b []provenance.Entry) int {
		x, _ := a[0].Source()
		y, _ := b[0].Source()
		return strings.Compare(x, y)
	})
	return out
}

// changelog reads one source's changelog: the first that is whole, else the one
// that tells most.
func (p *planner) changelog(ctx context.Context, s Seen, group []provenance.Entry, b debian.Branch) (advisory.Set, error) {
	var most advisory.Set
	for i, e := range group {
		if err := p.fetch(ctx, s.base(e), e); err != nil {
			return most, err
		}
		set, err := p.readChangelog(e, b)
		if err != nil {
			return most, fmt.Errorf("changelog of %s %s: %w", e.Package(), e.Version(), err)
		}
		if i == 0 || set.Snapshot.Count > most.Snapshot.Count {
			most = set
		}
		if len(set.Snapshot.Partial) == 0 {
			return set, nil
		}
	}
	return most, nil
}

func (p *planner) readChangelog(e provenance.Entry, b debian.Branch) (advisory.Set, error) {
	f, err := p.pool.open(artefactName(e))
	if err != nil {
		return advisory.Set{}, err
	}
	defer f.Close()
	return debian.Read(e, f, b, p.Now.Unix())
}

// base is the address of the archive that an entry is in.
func (s Seen) base(e provenance.Entry) string {
	for _, v := range s.vendors {
		if v.source.Origin.ID == e.Origin() {
			return v.source.URL
		}
	}
	return ""
}
