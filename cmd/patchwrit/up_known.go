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
		d := depot.Open(u.depot, nil).Through(&u.parsed)
		names, err := d.Names()
		if err != nil {
			return nil, err
		}
		f, err := chosen{depot: d, names: names}.facts(ctx, now)
		if err != nil || f.kev == nil {
			return nil, err
		}
		books, err := f.cve.books(ctx, now, wanted)
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
		d := depot.Open(u.depot, nil)
		names, err := d.Names()
		if err != nil {
			return "", err
		}
		var b strings.Builder
		for _, name := range names {
			f, ok, err := d.Feed(name)
			if err != nil {
				return "", err
			}
			if k, _ := f.InUse(); ok && depot.IsFact(f.Kind) {
				fmt.Fprintln(&b, name, f.Kind, k.Digest, k.Holds, f.Standing(now.Unix()))
			}
		}
		return b.String(), nil
	}
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
