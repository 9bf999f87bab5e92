package main

import (
	"context"
	"time"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/priority"
)

// known reads KEV and EPSS from the depot, as they are at a time. Nil without a
// depot: then nothing sets deadlines.
func (u *upFlags) known() func(context.Context, time.Time) (control.Knowledge, error) {
	if u.depot == "" {
		return nil
	}
	return func(ctx context.Context, now time.Time) (control.Knowledge, error) {
		d := depot.Open(u.depot, nil)
		names, err := d.Names()
		if err != nil {
			return nil, err
		}
		f, err := chosen{depot: d, names: names}.facts(ctx, now)
		if err != nil || f.kev == nil {
			return nil, err
		}
		return f.of, nil
	}
}

// of is what KEV and EPSS say of one CVE.
func (f facts) of(cve string) (k priority.Known) {
	if f.kev != nil {
		switch _, listing := f.kev.Lookup(cve); listing {
		case kev.Listed:
			k.KEV = priority.Yes
		case kev.Unknown:
		default:
			k.KEV = priority.No
		}
	}
	if f.epss != nil {
		if s, ok := f.epss.Of(cve); ok {
			k.EPSS = priority.Measure{Known: true, Value: int(s.EPSS)}
		}
	}
	return k
}
