package depot

import (
	"context"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/feed/cve"
)

// Where news about CVE records end to be ordinary. In 2025 the CVE program
// published 130 records a day; CISA works off what has gathered.
const (
	bookNews  = 1000 // new records a day, beside bookShare
	bookShare = 2    // and this many percent of the records there were
	bookMass  = 25   // percent of the records that counted whose newer form may be held
	bookFew   = 100  // but so many may be held of any book
)

// book rules on a feed of CVE records, or of NVD's pages. What a record newly
// says counts at once when it is stricter. A record that says less than it did
// stays as it was: an SSVC point that became milder or went away, a CVSS score
// that fell by two levels or more, an id that is rejected now, a record that is
// gone, a time that went back. Another feed of CVE records that says the same
// frees it; NVD, which has the least authority, frees nothing.
//
// A first word about a CVE is believed, whatever it says: nearly every record
// comes without points, and gets them later.
func (c Case) book(ctx context.Context) (Ruling, error) {
	if c.Last == nil {
		return Ruling{}, nil
	}
	last, err := c.LastContent(ctx)
	if err != nil {
		return Ruling{}, err
	}
	old := map[string]*cve.Record{}
	for i := range last.CVE.Records {
		old[last.CVE.Records[i].CVE] = &last.CVE.Records[i]
	}
	flooded := c.flooded()
	flood := c.bookFlood(old, flooded)
	var r Ruling
	var list []Held
	changed := 0
	for i := range c.Content.CVE.Records {
		is := &c.Content.CVE.Records[i]
		was := old[is.CVE]
		delete(old, is.CVE)
		reasons := c.milder(is, was)
		if was == nil {
			r.Fresh++
			if flood != nil {
				reasons = append(reasons, *flood)
			} else if stays, ok := flooded[is.CVE]; ok {
				reasons = append(reasons, stays)
			}
		}
		if len(reasons) > 0 {
			list = append(list, heldRecord(is, was, reasons))
			if was != nil {
				changed++
			}
		}
	}
	if n := len(last.CVE.Records); !c.Again && changed > bookFew && changed*100 > n*bookMass {
		why := reasonOf(quarantine.CodeMass, "%d of the %d records that count would say less than they do; more than %d%% is no news", changed, n, bookMass)
		return Ruling{Against: []Reason{Reason(why)}}, nil
	}
	if c.Content.CVE.Snapshot.Kind == cve.Kind { // files of NVD hold the news of some days, and let go of the rest
		for _, was := range old {
			list = append(list, heldRecord(nil, was, []quarantine.Reason{reasonOf(quarantine.CodeGone, "the record is no longer in the feed")}))
		}
	}
	slices.SortFunc(list, compareHeld)
	return c.freed(ctx, r, list, saysTheSame)
}

func (c Case) bookFlood(old map[string]*cve.Record, flooded map[string]quarantine.Reason) *quarantine.Reason {
	if c.Again {
		return nil
	}
	fresh := 0
	for _, is := range c.Content.CVE.Records {
		if _, stays := flooded[is.CVE]; old[is.CVE] == nil && !stays {
			fresh++
		}
	}
	days := max(1, (c.New.Fetched-c.Last.Fetched)/day1)
	most := int64(bookNews+len(old)*bookShare/100) * days
	if fresh == 0 || int64(fresh+c.Recent) <= most {
		return nil
	}
	r := reasonOf(quarantine.CodeFlood, "%d new records came within %d day(s); more than %d are not believed without a second source", fresh+c.Recent, days, most)
	return &r
}

// milder lists what a record says less than the one that counts, and what is
// wrong with its time. was is nil for a new record.
func (c Case) milder(is, was *cve.Record) (out []quarantine.Reason) {
	if was != nil && is.Raw == was.Raw {
		return nil
	}
	if is.Modified > c.Now+day1 && (was == nil || was.Modified != is.Modified) {
		out = append(out, reasonOf(quarantine.CodeTime, "it says that it was changed in the future (%s)", day(is.Modified)))
	}
	if was == nil {
		return out
	}
	if is.Modified < was.Modified {
		out = append(out, reasonOf(quarantine.CodeTime, "it is of %s, the one that counts is of %s", day(is.Modified), day(was.Modified)))
	}
	if is.Rejected && !was.Rejected {
		return append(out, reasonOf(quarantine.CodeWithdrawn, "the id is rejected now, so nothing would be known of it"))
	}
	x, y := said(is), said(was)
	for _, p := range cve.Points {
		switch a, b := x.Point(p), y.Point(p); {
		case b.Value == "" || a.Value == b.Value:
		case a.Value == "":
			out = append(out, reasonOf(quarantine.CodeLowered, "it says nothing of %q any more; it was %q by %s", p, b.Value, b.Claims[0].Source))
		case cve.Stricter(p, b.Value, a.Value):
			out = append(out, reasonOf(quarantine.CodeLowered, "%q was %q by %s, and now it is %q by %s", p, b.Value, b.Claims[0].Source, a.Value, a.Claims[0].Source))
		}
	}
	if y.Score != nil && (x.Score == nil && level(y.Score) >= 2 || x.Score != nil && level(y.Score)-level(x.Score) >= 2) {
		now := "unscored"
		if x.Score != nil {
			now = x.Score.Base() + " by " + x.Score.Source
		}
		out = append(out, reasonOf(quarantine.CodeSeverity, "its CVSS score was %s by %s, and now it is %s", y.Score.Base(), y.Score.Source, now))
	}
	return out
}

// said is what one record says alone, as room feed/cve settles it.
func said(r *cve.Record) cve.Facts {
	return cve.Settle(r.CVE, cve.Book{Snapshot: advisory.Snapshot{Kind: cve.Kind}, Records: []cve.Record{*r}})
}

// level is 0 (none) to 4 (critical) by CVSS 3.1, section 5.
func level(s *cve.Score) int {
	for l, least := range []int{1, 40, 70, 90} {
		if s.Tenths < least {
			return l
		}
	}
	return 4
}

// heldRecord describes a record that does not count as it came.
func heldRecord(is, was *cve.Record, reasons []quarantine.Reason) Held {
	h := Held{Record: was, CameRecord: is, Held: quarantine.Held{Reasons: reasons, Subjects: []advisory.Subject{}}}
	if was != nil {
		h.ID, h.Was = was.CVE, was.Raw
	}
	if is != nil {
		h.ID, h.Raw = is.CVE, is.Raw
	}
	return h
}

// saysTheSame reports whether a record of another feed says all that a held one
// newly does. That a record is gone, or says nothing, nobody can confirm.
func saysTheSame(h Held, o cve.Record) bool {
	is := h.CameRecord
	if is == nil {
		return false
	}
	x, y := said(is), said(&o)
	for _, r := range h.Reasons {
		ok := false
		switch r.Code {
		case quarantine.CodeTime:
			ok = o.Raw == is.Raw && !strings.Contains(r.Text.Text(), "future")
		case quarantine.CodeWithdrawn:
			ok = o.Rejected
		case quarantine.CodeSeverity:
			ok = !o.Rejected && x.Score != nil && y.Score != nil && level(y.Score) <= level(x.Score)
		case quarantine.CodeLowered, quarantine.CodeFlood:
			ok = !o.Rejected && len(is.Claims) > 0 && !slices.ContainsFunc(cve.Points, func(p cve.Point) bool {
				return x.Point(p).Value == "" || x.Point(p).Value != y.Point(p).Value
			})
		}
		if !ok {
			return false
		}
	}
	return true
}
