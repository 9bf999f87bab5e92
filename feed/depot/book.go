package depot

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/refusal"
)

// Where news about CVE records end to be ordinary. In 2025 the CVE program
// published 130 records a day; CISA works off what has gathered.
const (
	bookNews  = 1000 // new records a day, beside bookShare
	bookShare = 2    // and this many percent of the records there were
	bookMass  = 25   // percent of the records that counted whose newer form may be held
	bookFew   = 100  // but so many may be held of any book
)

// book rules on a feed of CVE records, or of NVD's pages. A record that comes new
// or changed is held to what counts now, over all feeds and for each speaker. What
// it says stricter counts at once. What it says milder stays as it was: an SSVC
// point that a speaker lowers or drops, a CVSS score that falls by two levels or
// more, an id that is rejected now, a record that is gone, a time that went back.
// Another speaker in another feed of CVE records that says the same frees it; the
// same speaker in another feed is no second one, and NVD, which has the least
// authority, frees nothing.
//
// Where two feeds have a word of one speaker the stricter one counts, see
// [cve.Settle]. A first word that is milder and newer than what another feed has is
// held all the same: else it would count alone once that feed is gone. A fall is
// freed in each feed for itself.
//
// A first word about a CVE that no feed has is believed, whatever it says: nearly
// every record comes without points, and gets them later.
func (c Case) book(ctx context.Context) (Ruling, error) {
	old, count := map[string]*cve.Record{}, 0
	if c.Last != nil {
		last, err := c.LastContent(ctx)
		if err != nil {
			return Ruling{}, err
		}
		count = len(last.CVE.Records)
		for i := range last.CVE.Records {
			old[last.CVE.Records[i].CVE] = &last.CVE.Records[i]
		}
	}
	others, err := c.beside(ctx, old)
	if err != nil {
		return Ruling{}, err
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
		h := c.milder(is, was, booksOf(others))
		if was == nil {
			r.Fresh++
			if flood != nil {
				h.Reasons = append(h.Reasons, *flood)
			} else if stays, ok := flooded[is.CVE]; ok {
				h.Reasons = append(h.Reasons, stays)
			}
		}
		if len(h.Reasons) > 0 {
			list = append(list, h.instead(is, was))
			if was != nil {
				changed++
			}
		}
	}
	if !c.Again && changed > bookFew && changed*100 > count*bookMass {
		why := reasonOf(quarantine.CodeMass, "%d of the %d records that count would say less than they do; more than %d%% is no news", changed, count, bookMass)
		return Ruling{Against: []Reason{Reason(why)}}, nil
	}
	if c.Content.CVE.Snapshot.Kind == cve.Kind { // files of NVD hold the news of some days, and let go of the rest
		for _, was := range old {
			h := Held{Held: quarantine.Held{Reasons: []quarantine.Reason{reasonOf(quarantine.CodeGone, "the record is no longer in the feed")}}}
			list = append(list, h.instead(nil, was))
		}
	}
	slices.SortFunc(list, compareHeld)
	return c.freed(r, list, others, saysTheSame), nil
}

// beside is what other feeds say that counts about the records that came new or
// changed. They are read once, and only when there are such records.
func (c Case) beside(ctx context.Context, old map[string]*cve.Record) ([]Content, error) {
	news := map[string]bool{}
	for _, is := range c.Content.CVE.Records {
		if was := old[is.CVE]; was == nil || was.Raw != is.Raw {
			news[is.CVE] = true
		}
	}
	if len(news) == 0 {
		return nil, nil
	}
	return c.Others(ctx, func(name string) bool { return news[name] })
}

func booksOf(list []Content) (out []cve.Book) {
	for _, o := range list {
		out = append(out, *o.CVE)
	}
	return out
}

func (c Case) bookFlood(old map[string]*cve.Record, flooded map[string]quarantine.Reason) *quarantine.Reason {
	if c.Again || c.Last == nil {
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

// fall is what one speaker says milder than what counts: a point, or with point ""
// the score.
type fall struct {
	point cve.Point
	by    string
}

// milder says what a record says less than what counts, and what is wrong with its
// time. was is the feed's own record that counts, nil for a new one; others are
// the other feeds as they count.
func (c Case) milder(is, was *cve.Record, others []cve.Book) (h Held) {
	if was != nil && is.Raw == was.Raw {
		return h
	}
	add := func(code refusal.Code, format string, args ...any) {
		h.Reasons = append(h.Reasons, reasonOf(code, format, args...))
	}
	if at := latest(is); at > c.Now+day1 && (was == nil || latest(was) != at) {
		add(quarantine.CodeTime, "it says that it was changed in the future (%s)", day(at))
	}
	if was != nil && is.Modified < was.Modified {
		add(quarantine.CodeTime, "it is of %s, the one that counts is of %s", day(is.Modified), day(was.Modified))
	}
	before, after := c.together(is.CVE, was, others), c.together(is.CVE, is, others)
	own, x := said(was), said(is)
	if is.Rejected && !before.Rejected && (after.Rejected && before.Known || was != nil && !was.Rejected) {
		add(quarantine.CodeWithdrawn, "the id is rejected now, so nothing would be known of it")
		return h
	}
	if is.Rejected && before.Rejected {
		return h // another feed's word counts already
	}
	for _, p := range cve.Points {
		for _, by := range speakers(own.Point(p), before.Point(p)) {
			counts, mine := wordOf(before.Point(p), by), wordOf(own.Point(p), by)
			now, left := wordOf(x.Point(p), by), wordOf(after.Point(p), by)
			switch {
			case less(p, left, counts): // everything together
			case less(p, now, mine) && (counts == "" || less(p, now, counts)): // the feed by itself
				counts, left = mine, now
			case mine == "" && outdated(x.Point(p), before.Point(p), by): // a first word that is to replace a stricter one
				left = now
			default:
				continue
			}
			h.falls = append(h.falls, fall{p, by})
			if left == "" {
				add(quarantine.CodeLowered, "it says nothing of %q any more; it was %q by %s", p, counts, by)
			} else {
				add(quarantine.CodeLowered, "%q was %q by %s, and now it is %[4]q by %[3]s", p, counts, by, left)
			}
		}
	}
	if y, z := before.Score, after.Score; sinks(y, z) || sinks(own.Score, x.Score) && sinks(y, x.Score) {
		if !sinks(y, z) {
			y, z = own.Score, x.Score
		}
		now, f := "unscored", fall{by: y.Source}
		if z != nil {
			now, f.by = z.Base()+" by "+z.Source, z.Source
		}
		h.falls = append(h.falls, f)
		add(quarantine.CodeSeverity, "its CVSS score was %s by %s, and now it is %s", y.Base(), y.Source, now)
	}
	return h
}

// latest is the newest time that a record tells.
func latest(r *cve.Record) int64 {
	at := r.Modified
	for _, x := range r.Claims {
		at = max(at, x.At)
	}
	return at
}

// together is what a record of this feed says with those of others.
func (c Case) together(name string, r *cve.Record, others []cve.Book) cve.Facts {
	all := others
	if r != nil {
		all = append(slices.Clip(others), cve.Book{Snapshot: advisory.Snapshot{Kind: c.Content.CVE.Snapshot.Kind}, Records: []cve.Record{*r}})
	}
	return cve.Settle(name, all...)
}

// speakers are who says something in either answer, ascending.
func speakers(list ...cve.Answer) (out []string) {
	for _, a := range list {
		for _, x := range a.Claims {
			out = append(out, x.Source)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// wordOf is the strictest that a speaker says in an answer, or "".
func wordOf(a cve.Answer, by string) string {
	if i := slices.IndexFunc(a.Claims, func(x cve.Claim) bool { return x.Source == by }); i >= 0 {
		return a.Claims[i].Value // the stricter ones stand first
	}
	return ""
}

// outdated reports whether what a speaker says in an answer is milder than in the
// one before, and newer.
func outdated(is, before cve.Answer, by string) bool {
	direct := func(a cve.Answer) int {
		return slices.IndexFunc(a.Claims, func(x cve.Claim) bool { return x.Source == by && x.Via == "" })
	}
	i, k := direct(is), direct(before)
	return i >= 0 && k >= 0 && is.Claims[i].At > before.Claims[k].At && less(is.Claims[i].Point, is.Claims[i].Value, before.Claims[k].Value)
}

// less reports whether a is milder than b. To say nothing is milder than every
// value but the mildest: of a deadline what is unknown is the stricter row.
func less(p cve.Point, a, b string) bool {
	if a == "" {
		return b != "" && b != cve.Mildest(p)
	}
	return b != "" && cve.Stricter(p, b, a)
}

// sinks reports whether a score falls by two levels or more, or goes away.
func sinks(from, to *cve.Score) bool {
	return from != nil && (to == nil && level(from) >= 2 || to != nil && level(from)-level(to) >= 2)
}

// said is what one record says alone, as room feed/cve settles it.
func said(r *cve.Record) cve.Facts {
	if r == nil {
		return cve.Facts{}
	}
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

// instead fills what is held, and what counts for it: where nothing but points and
// the score fell, these stay as they were, and the rest counts as it came.
func (h Held) instead(is, was *cve.Record) Held {
	h.Record, h.CameRecord, h.Subjects = was, is, []advisory.Subject{}
	if was != nil {
		h.from = was.Raw
	}
	if is != nil {
		h.ID, h.Raw = is.CVE, is.Raw
		if len(h.falls) == len(h.Reasons) {
			h.Record = h.partly(*is, was)
			h.Part = h.Record != nil && (was == nil || !slices.Equal(words(h.Record), words(was)))
		}
	}
	if h.Record != nil {
		h.ID, h.Was = h.Record.CVE, h.Record.Raw
	}
	return h
}

// partly is a record without what fell: there it says what it said, or in a new
// record nothing. It is nil when nothing is left. The same record in place of this
// one gives this one again.
func (h Held) partly(is cve.Record, was *cve.Record) *cve.Record {
	fell := func(x cve.Claim) bool { return slices.Contains(h.falls, fall{x.Point, x.Source}) }
	scored := !slices.ContainsFunc(h.falls, func(f fall) bool { return f.point == "" })
	out, before := is, cve.Record{Claims: []cve.Claim{}, Scores: []cve.Score{}}
	if was != nil && !was.Rejected { // by NVD: else nothing would have fallen
		out, before = *was, *was
	}
	out.Claims = slices.DeleteFunc(slices.Clone(is.Claims), fell)
	for _, x := range before.Claims {
		if fell(x) {
			out.Claims = append(out.Claims, x)
		}
	}
	if out.Scores = before.Scores; scored {
		out.Scores = is.Scores
	}
	if was != nil && sameFacts(said(&out), said(was)) {
		return was
	}
	if was == nil && len(out.Claims)+len(out.Scores) == 0 {
		return nil
	}
	out.Claims, out.Scores = append([]cve.Claim{}, out.Claims...), append([]cve.Score{}, out.Scores...)
	named := out
	named.Raw, named.Feed = "", advisory.Feed{}
	out.Raw = canon.Sum("patchwrit/cve-partly/v1", canon.MustEncode(named))
	return &out
}

// words are what each speaker says in a record, without the times.
func words(r *cve.Record) (out []string) {
	f := said(r)
	for _, p := range cve.Points {
		for _, x := range f.Point(p).Claims {
			out = append(out, fmt.Sprintf("%q by %q: %q", p, x.Source, x.Value))
		}
	}
	for _, x := range f.Scores {
		out = append(out, fmt.Sprintf("score by %q: %s", x.Source, x.Base()))
	}
	return out
}

// sameFacts reports whether two readings give the same answers.
func sameFacts(a, b cve.Facts) bool {
	return reflect.DeepEqual([]any{a.Exploitation, a.Automatable, a.Impact, a.Scores}, []any{b.Exploitation, b.Automatable, b.Impact, b.Scores})
}

// saysTheSame names who else says in a record of another feed all that a held one
// newly does, or "". That a record is gone, rejected, says nothing, or is of
// another time nobody else can confirm: there is one speaker for that.
func saysTheSame(h Held, o cve.Record) (who string) {
	if h.CameRecord == nil {
		return ""
	}
	falls := slices.Clone(h.falls)
	for _, r := range h.Reasons {
		switch r.Code {
		case quarantine.CodeSeverity, quarantine.CodeLowered:
		case quarantine.CodeFlood: // every first word of it; what counts then is no milder than the other's word, which counts already
			for _, x := range h.CameRecord.Claims {
				falls = append(falls, fall{x.Point, x.Source})
			}
		default:
			return ""
		}
	}
	for _, f := range falls {
		by := anotherWord(f, *h.CameRecord, o)
		if by == "" {
			return ""
		}
		who = cmp.Or(who, by)
	}
	return who
}

// anotherWord is who else says in a record of another feed what fell, or milder,
// or "".
func anotherWord(f fall, is, o cve.Record) string {
	x, y := said(&is), said(&o)
	if f.point == "" {
		if i := slices.IndexFunc(y.Scores, func(s cve.Score) bool { return s.Source != f.by }); x.Score != nil && i >= 0 && level(&y.Scores[i]) <= level(x.Score) {
			return y.Scores[i].Source
		}
		return ""
	}
	now := wordOf(x.Point(f.point), f.by)
	i := slices.IndexFunc(y.Point(f.point).Claims, func(x cve.Claim) bool { return x.Source != f.by })
	if now == "" || i < 0 || less(f.point, now, y.Point(f.point).Claims[i].Value) {
		return ""
	}
	return y.Point(f.point).Claims[i].Source
}
