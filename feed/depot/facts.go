package depot

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/refusal"
)

// CodeScores is why a day's EPSS does not count: the scores jumped.
const CodeScores refusal.Code = "PW-POISON-SCORES"

// kevNews is how many entries a day CISA adds at most before they are not
// believed by themselves. Since 2023 it was never more than 9 (kev-history.csv of
// the shared data); in 2022 three days had more than 40.
const kevNews = 40

// entryDigest names what an entry says.
func entryDigest(e kev.Entry) canon.Digest {
	return canon.Sum("patchwrit/kev-entry/v1", canon.MustEncode(e))
}

// listings rules on a KEV catalogue. An entry that is gone, or says less than it
// did, lowers urgency; many at once raise it. Both are held: an entry stays as
// it was, a new one is not listed yet. A CVE record in which CISA says that the
// vulnerability is exploited frees a new one.
func (c Case) listings(ctx context.Context) (Ruling, error) {
	if c.Last == nil {
		return Ruling{}, nil
	}
	last, err := c.LastContent(ctx)
	if err != nil {
		return Ruling{}, err
	}
	old := map[string]*kev.Entry{}
	for i := range last.KEV.Entries {
		old[last.KEV.Entries[i].CVE] = &last.KEV.Entries[i]
	}
	flooded := map[string]quarantine.Reason{}
	for _, h := range c.Before {
		for _, r := range h.Reasons {
			if r.Code == quarantine.CodeFlood {
				flooded[h.ID] = r
			}
		}
	}
	flood := c.kevFlood(old, flooded)
	var r Ruling
	var list []Held
	for _, e := range c.Content.KEV.Entries {
		was := old[e.CVE]
		delete(old, e.CVE)
		reasons := c.entryReasons(e, was)
		if was == nil && flood != nil {
			reasons = append(reasons, *flood)
		} else if stays, ok := flooded[e.CVE]; ok && was == nil {
			reasons = append(reasons, stays)
		}
		if was == nil {
			r.Fresh++
		}
		if len(reasons) > 0 {
			list = append(list, heldEntry(&e, was, reasons))
		}
	}
	for _, was := range old {
		list = append(list, heldEntry(nil, was, []quarantine.Reason{reasonOf(quarantine.CodeGone, "the entry is no longer in the catalogue")}))
	}
	slices.SortFunc(list, compareHeld)
	return c.freeEntries(ctx, r, list)
}

func reasonOf(code refusal.Code, format string, args ...any) quarantine.Reason {
	return quarantine.Reason{Code: code, Text: canon.NoteOf(fmt.Sprintf(format, args...))}
}

func (c Case) kevFlood(old map[string]*kev.Entry, flooded map[string]quarantine.Reason) *quarantine.Reason {
	if c.Again {
		return nil
	}
	fresh := 0
	for _, e := range c.Content.KEV.Entries {
		if _, stays := flooded[e.CVE]; old[e.CVE] == nil && !stays {
			fresh++
		}
	}
	days := max(1, (c.New.Fetched-c.Last.Fetched)/day1)
	if fresh == 0 || int64(fresh+c.Recent) <= kevNews*days {
		return nil
	}
	r := reasonOf(quarantine.CodeFlood, "%d new entries came within %d day(s); more than %d are not believed without a second source", fresh+c.Recent, days, kevNews*days)
	return &r
}

// entryReasons lists what speaks against an entry; was is the one that counts.
func (c Case) entryReasons(e kev.Entry, was *kev.Entry) (out []quarantine.Reason) {
	if tomorrow := day(c.Now + day1)[:10]; e.Added > tomorrow && (was == nil || was.Added != e.Added) {
		out = append(out, reasonOf(quarantine.CodeTime, "it says that it was added in the future (%s)", e.Added))
	}
	if was == nil {
		return out
	}
	if was.Ransomware == "known" && e.Ransomware != "known" {
		out = append(out, reasonOf(quarantine.CodeLowered, "its use by ransomware was known, and now it is not"))
	}
	if e.Due > was.Due {
		out = append(out, reasonOf(quarantine.CodeLowered, "its day moved from %s to %s", was.Due, e.Due))
	}
	return out
}

func heldEntry(e, was *kev.Entry, reasons []quarantine.Reason) Held {
	h := Held{Entry: was, Held: quarantine.Held{Reasons: reasons, Subjects: []advisory.Subject{}}}
	if was != nil {
		h.ID, h.Was = was.CVE, entryDigest(*was)
	}
	if e != nil {
		h.ID, h.Raw = e.CVE, entryDigest(*e)
	}
	return h
}

// freeEntries takes out what a person released, and new entries that a CVE record
// confirms.
func (c Case) freeEntries(ctx context.Context, r Ruling, list []Held) (Ruling, error) {
	if len(list) == 0 {
		return r, nil
	}
	asked := map[string]bool{}
	for _, h := range list {
		asked[h.ID] = true
	}
	others, err := c.Others(ctx, func(cve string) bool { return asked[cve] })
	if err != nil {
		return r, err
	}
	active := map[string]advisory.Advisory{}
	for _, o := range others {
		for _, rec := range o.CVE.Records {
			if slices.ContainsFunc(rec.Claims, func(x cve.Claim) bool {
				return x.Point == cve.Exploitation && x.Value == "active" && x.Source == cve.CISA
			}) {
				active[rec.CVE] = advisory.Advisory{ID: rec.CVE, Source: cve.CISA, Feed: rec.Feed}
			}
		}
	}
	for _, h := range list {
		f := quarantine.Freed{Held: h.Held}
		if a, ok := active[h.ID]; ok && h.Entry == nil {
			f.By = []advisory.Advisory{a}
		}
		if i := slices.IndexFunc(c.Releases, func(w quarantine.Release) bool { return w.ID == h.ID && w.Raw == h.Raw && w.Was == h.Was }); i >= 0 {
			f.Release = &c.Releases[i]
		}
		switch {
		case f.Release != nil || len(f.By) > 0:
			r.Freed = append(r.Freed, f)
		default:
			if h.Entry == nil {
				r.Fresh--
			}
			r.Held = append(r.Held, h)
		}
	}
	return r, nil
}

// Where a new day's EPSS is ordinary. Between neighbouring readings of the
// series in the shared data, weeks or months apart, at most 2.1 % of the scores
// moved by a tenth or more and 99 % of the highest thousand stayed in the highest
// twentieth; at the two changes of the model in between it was 5 to 7 % and 95 %.
const (
	epssMoved = 40 // of a thousand scores, by a tenth of the scale or more
	epssKept  = 90 // percent of the highest scores that stay in the highest twentieth
	epssFew   = 50 // below so many common scores nothing is said
)

// scores rules on a day of EPSS, as a whole: a computation is right or it is not.
func (c Case) scores(ctx context.Context) (Ruling, error) {
	if c.Last == nil || c.Again {
		return Ruling{}, nil
	}
	last, err := c.LastContent(ctx)
	if err != nil {
		return Ruling{}, err
	}
	d := c.Content.EPSS.Since(*last.EPSS)
	var why []string
	if d.Common >= epssFew && d.Moved*1000 > d.Common*epssMoved {
		why = append(why, fmt.Sprintf("%d of %d scores moved by a tenth or more", d.Moved, d.Common))
	}
	if d.Common >= epssFew && d.Kept*100 < d.Top*epssKept {
		why = append(why, fmt.Sprintf("of the %d highest scores only %d are still among the highest twentieth", d.Top, d.Kept))
	}
	if d.Common >= epssFew && d.Highest == 0 {
		why = append(why, "every score is zero")
	}
	if len(why) == 0 {
		return Ruling{}, nil
	}
	text := strings.Join(why, "; ")
	if old, is := last.EPSS.Model, c.Content.EPSS.Model; old != is {
		text += fmt.Sprintf("; it says that it is of model %q, the one in use is of %q", is, old)
	}
	return Ruling{Against: []Reason{{CodeScores, canon.NoteOf(text)}}}, nil
}
