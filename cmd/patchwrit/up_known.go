package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/feed/world"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/priority"
)

// known reads KEV, EPSS and, of the CVE records, those that are asked for from
// the depot, as they are at a time. Nil without a depot: then nothing sets
// deadlines; nor does anything without KEV.
func (u *upFlags) known() func(context.Context, time.Time, func(string) bool) (control.Knowledge, error) {
	if u.depot == "" {
		return nil
	}
	return func(ctx context.Context, now time.Time, wanted func(string) bool) (control.Knowledge, error) {
		c, err := u.chosen()
		if err != nil {
			return nil, err
		}
		f, err := c.facts(ctx, now)
		if err != nil || f.kev == nil {
			return nil, err
		}
		books, _, err := f.cve.books(ctx, now, wanted)
		return func(name string) priority.Known { return f.of(name, books) }, err
	}
}

// knownBy names what known reads at a time: the snapshots in use of feeds of
// facts, and how each stands.
func (u *upFlags) knownBy() func(time.Time) (string, error) {
	if u.depot == "" {
		return nil
	}
	return func(now time.Time) (string, error) {
		c, err := u.chosen()
		if err != nil {
			return "", err
		}
		var b strings.Builder
		for _, name := range c.names {
			f, ok, err := c.depot.Feed(name)
			if err != nil {
				return "", err
			}
			if k, _ := f.InUse(); ok && depot.IsFact(f.Kind) {
				fmt.Fprintln(&b, name, f.Kind, k.Digest, k.Holds, f.Within(c.maxAge).Standing(now.Unix()))
			}
		}
		return b.String(), nil
	}
}

// quarantine reads from the depot what is held, and the words that freed records.
// Nil without a depot.
func (u *upFlags) quarantine() func(context.Context) (control.Quarantine, error) {
	if u.depot == "" {
		return nil
	}
	return func(context.Context) (control.Quarantine, error) {
		q, d := control.Quarantine{Held: map[string]int{}}, depot.Open(u.depot, nil)
		names, err := d.Names()
		if err != nil {
			return q, err
		}
		for _, name := range names {
			f, _, err := d.Feed(name)
			if err != nil {
				return q, err
			}
			words, err := d.Words(name)
			if err != nil {
				return q, err
			}
			k, _ := f.InUse()
			q.Held[name], q.Words = k.Held, append(q.Words, words...)
		}
		q.List = func() ([]control.HeldRecord, error) { return heldIn(d) }
		return q, nil
	}
}

// heldIn lists what a depot holds, of all feeds.
func heldIn(d *depot.Depot) (out []control.HeldRecord, err error) {
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		list, source, err := d.Aside(name)
		if err != nil {
			return nil, err
		}
		for _, h := range list {
			out = append(out, control.HeldRecord{Feed: name, Source: source, Held: h})
		}
	}
	return out, nil
}

// solve solves, and keeps in the depot which versions the verified indexes carry.
// A depot that cannot be written is told, and no reason to plan nothing.
func (u *upFlags) solve(ctx context.Context, o solve.Options) (solve.Solved, error) {
	s, err := solve.Solve(ctx, o)
	if err != nil || u.depot == "" {
		return s, err
	}
	d := depot.Open(u.depot, nil)
	grew, bad := world.Learn(d.World(), s.Archives(), o.Now.Unix())
	if bad == nil && grew {
		bad = d.Reconsider(ctx, o.Now.Unix())
	}
	if bad != nil && o.Progress != nil {
		fmt.Fprintln(o.Progress, "the depot does not learn what the indexes carry:", bad)
	}
	return s, nil
}

// ssvc gives a point's value as an answer.
var ssvc = map[string]priority.Answer{"yes": priority.Yes, "total": priority.Yes, "no": priority.No, "partial": priority.No}

// of is what all sources say of one CVE.
func (k facts) of(name string, books []cve.Book) (out priority.Known) {
	if k.kev != nil {
		switch _, listing := k.kev.Lookup(name); listing {
		case kev.Listed:
			out.KEV = priority.Yes
		case kev.Unlisted:
			out.KEV = priority.No
		}
	}
	if k.epss != nil {
		if s, ok := k.epss.Of(name); ok {
			out.EPSS = priority.Measure{Known: true, Value: int(s.EPSS)}
		}
	}
	x := cve.Settle(name, books...)
	out.Automatable, out.Total = ssvc[x.Automatable.Value], ssvc[x.Impact.Value]
	if x.Score != nil {
		out.CVSS = priority.Measure{Known: true, Value: x.Score.Tenths}
	}
	return out
}
