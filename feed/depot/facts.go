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
	"github.com/patchwrit/patchwrit/feed/epss"
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
// did, lowers urgency (not a day that moves from one past day to another); many at
// once raise it. Both are held: an entry stays as it was, a new one is not listed
// yet. A CVE record in which CISA says that the vulnerability is exploited frees a
// new one.
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
	flooded := c.flooded()
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
	if len(list) == 0 {
		return r, nil
	}
	slices.SortFunc(list, compareHeld)
	asked := map[string]bool{}
	for _, h := range list {
		asked[h.ID] = true
	}
	others, err := c.Others(ctx, func(name string) bool { return asked[name] })
	return c.freed(r, list, others, exploited), err
}

// flooded are the records that are held since a flood, by id.
func (c Case) flooded() map[string]quarantine.Reason {
	out := map[string]quarantine.Reason{}
	for _, h := range c.Before {
		for _, r := range h.Reasons {
			if r.Code == quarantine.CodeFlood {
				out[h.ID] = r
			}
		}
	}
	return out
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
	if e.Due > was.Due && e.Due >= day(c.Now)[:10] { // what is past in both forms is due in both
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

// exploited names who confirms a new entry in a CVE record, or "": CISA, which
// says in it that the vulnerability is exploited. It is CISA's catalogue, too, but
// an entry only raises urgency, so that a second work of the same house will do.
func exploited(h Held, r cve.Record) string {
	says := slices.ContainsFunc(r.Claims, func(x cve.Claim) bool {
		return x.Point == cve.Exploitation && x.Value == "active" && x.Source == cve.CISA
	})
	if h.Was != "" || !says {
		return ""
	}
	return cve.CISA
}

// released is a person's word for exactly this, or nil.
func (c Case) released(h Held) *quarantine.Release {
	i := slices.IndexFunc(c.Releases, func(w quarantine.Release) bool { return w.ID == h.ID && w.Raw == h.Raw && w.Was == h.Was })
	if i < 0 {
		return nil
	}
	return &c.Releases[i]
}

// freed takes out what a person released, and what somebody confirms in a CVE
// record of another feed: as it counts there, or as it came.
func (c Case) freed(r Ruling, list []Held, others []Content, confirms func(Held, cve.Record) string) Ruling {
	records := map[string][]cve.Record{}
	for _, o := range others {
		if o.CVE.Snapshot.Kind != cve.Kind {
			continue // NVD frees nothing
		}
		for _, rec := range o.CVE.Records {
			records[rec.CVE] = append(records[rec.CVE], rec)
		}
		for _, h := range o.Held {
			if h.CameRecord != nil && h.vouches() {
				records[h.ID] = append(records[h.ID], *h.CameRecord)
			}
		}
	}
	for _, h := range list {
		f := quarantine.Freed{Held: h.Held, Release: c.released(h)}
		for _, rec := range records[h.ID] {
			if who := confirms(h, rec); who != "" {
				f.By = []advisory.Advisory{{ID: rec.CVE, Source: who, Feed: rec.Feed}}
				break
			}
		}
		switch {
		case f.Release != nil || len(f.By) > 0:
			r.Freed = append(r.Freed, f)
		default:
			if h.Was == "" {
				r.Fresh--
			}
			r.Held = append(r.Held, h)
		}
	}
	return r
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

// epssFall is how far a single score may fall before it stays as it was: half of
// the scale, in parts per million. Over one to four months between readings of
// the series in the shared data, without a change of the model, that were 0.0003
// to 0.07 % of the scores.
const epssFall = epss.PPM / 2

// scores rules on a day of EPSS. As a whole it is right or it is not; of one that
// is, a single score that collapses or goes away stays as it was. A score only
// orders work inside a class, so that nothing more is asked of it: what rises
// counts at once, and what falls by less than half of the scale too.
func (c Case) scores(ctx context.Context) (Ruling, error) {
	if c.Last == nil {
		return Ruling{}, nil
	}
	last, err := c.LastContent(ctx)
	if err != nil {
		return Ruling{}, err
	}
	if !c.Again {
		if why := c.drift(*last.EPSS); why != nil {
			return Ruling{Against: []Reason{*why}}, nil
		}
	}
	var r Ruling
	for _, f := range c.Content.EPSS.Falls(*last.EPSS, epssFall) {
		h := heldScore(f)
		if w := c.released(h); w != nil {
			r.Freed = append(r.Freed, quarantine.Freed{Held: h.Held, Release: w})
			continue
		}
		r.Held = append(r.Held, h)
	}
	return r, nil
}

// heldScore describes a score that fell. The form that came is named by the tenth
// of the scale it lies in: it is the same the next day, when it is a little other.
func heldScore(f epss.Fall) Held {
	type named struct {
		CVE   string `json:"cve"`
		Parts int64  `json:"parts"`
	}
	digest := func(parts uint32) canon.Digest {
		return canon.Sum("patchwrit/epss-score/v1", canon.MustEncode(named{f.CVE, int64(parts)}))
	}
	h := Held{Score: &f.Was, Held: quarantine.Held{ID: f.CVE, Was: digest(f.Was.EPSS), Subjects: []advisory.Subject{}}}
	if f.Gone {
		h.Reasons = []quarantine.Reason{reasonOf(quarantine.CodeGone, "its score was %s, and now it has none", f.Was.Share())}
		return h
	}
	h.Raw = digest(f.Is.EPSS / (epss.PPM / 10) * (epss.PPM / 10))
	h.Reasons = []quarantine.Reason{reasonOf(CodeScores, "its score was %s, and now it is %s", f.Was.Share(), f.Is.Share())}
	return h
}

// drift is what speaks against a day of scores as a whole, or nil.
func (c Case) drift(last epss.Scores) *Reason {
	d := c.Content.EPSS.Since(last)
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
		return nil
	}
	text := strings.Join(why, "; ")
	if old, is := last.Model, c.Content.EPSS.Model; old != is {
		text += fmt.Sprintf("; it says that it is of model %q, the one in use is of %q", is, old)
	}
	return &Reason{CodeScores, canon.NoteOf(text)}
}
