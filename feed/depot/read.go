package depot

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/epss"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/feed/nvd"
	"github.com/patchwrit/patchwrit/refusal"
)

// Content is a snapshot as it was parsed. One of the first four fields is set: KEV, EPSS and
// CVE for feeds of facts about vulnerabilities (CVE for kinds cve and nvd), Set
// for every kind of advisories.
type Content struct {
	Set  *advisory.Set
	KEV  *kev.Catalogue
	EPSS *epss.Scores
	CVE  *cve.Book
	Held []Held // what of it does not count as it came: the rest has it in its last accepted form
}

// snapshot points to the one that is there.
func (c Content) snapshot() *advisory.Snapshot {
	switch {
	case c.KEV != nil:
		return &c.KEV.Snapshot
	case c.EPSS != nil:
		return &c.EPSS.Snapshot
	case c.CVE != nil:
		return &c.CVE.Snapshot
	}
	return &c.Set.Snapshot
}

// Snapshot says what the content is as a whole.
func (c Content) Snapshot() advisory.Snapshot { return *c.snapshot() }

// with is the content with one more gap.
func (c Content) with(why string) Content {
	s := c.snapshot()
	s.Partial = append(slices.Clip(s.Partial), advisory.Gap{Why: canon.NoteOf(why)})
	return c
}

// opening is how a file is read.
type opening struct {
	name, source string
	date         int64 // of the file's content, 0: unknown
	now          time.Time
	wanted       func(cve string) bool // of CVE records; nil: all
}

// kinds of feeds that are no advisories. Every format of room feed is one too.
var kinds = map[string]func(ctx context.Context, path string, o opening) (Content, error){
	kev.Kind: func(_ context.Context, path string, o opening) (Content, error) {
		c, err := reading(path, func(f *os.File) (kev.Catalogue, error) {
			return kev.Read(f, kev.Options{Source: o.source, Now: o.now})
		})
		return Content{KEV: &c}, err
	},
	epss.Kind: func(_ context.Context, path string, o opening) (Content, error) {
		s, err := reading(path, func(f *os.File) (epss.Scores, error) {
			return epss.Read(f, epss.Options{Source: o.source, Now: o.now})
		})
		return Content{EPSS: &s}, err
	},
	cve.Name: func(ctx context.Context, path string, o opening) (Content, error) {
		return book(ctx, path, cve.Kind, o)
	},
	nvd.Name: func(ctx context.Context, path string, o opening) (Content, error) {
		return book(ctx, path, nvd.Kind, o)
	},
}

// reading opens a file for a reader of one file.
func reading[T any](path string, read func(*os.File) (T, error)) (out T, err error) {
	f, err := os.Open(path)
	if err != nil {
		return out, err
	}
	defer f.Close()
	return read(f)
}

// book reads CVE records, or NVD's pages.
func book(ctx context.Context, path, kind string, o opening) (Content, error) {
	b, err := feed.Facts(ctx, path, feed.Options{Name: o.name, Source: o.source, Date: o.date, Now: o.now}, o.wanted)
	if err == nil && b.Snapshot.Kind != kind && b.Snapshot.Count > 0 {
		err = fmt.Errorf("its content is %s, not %s", b.Snapshot.Kind, kind)
	}
	return Content{CVE: &b}, err
}

// IsFact reports whether feeds of the kind tell about vulnerabilities as such and
// not about packages.
func IsFact(kind string) bool { return kinds[kind] != nil }

// Kinds lists the kinds of feeds, ascending.
func Kinds() []string {
	all := slices.AppendSeq(slices.Collect(maps.Keys(kinds)), maps.Keys(feed.Formats()))
	slices.Sort(all)
	return all
}

// open reads a snapshot's bytes, held to their digest, as content of the feed's
// kind.
func (d *Depot) open(ctx context.Context, f Feed, k Kept, now int64, wanted func(cve string) bool) (Content, error) {
	o := opening{name: f.Name, source: k.Source, date: cmp.Or(k.Modified, k.Fetched), now: time.Unix(now, 0), wanted: wanted}
	c, err := contentOf(ctx, d.object(k.Digest), f.Kind, o)
	if err != nil {
		return Content{}, err
	}
	if got := c.Snapshot().Digest; got != k.Digest {
		return Content{}, refusal.New(CodeDepot, "the bytes of %s are those of %s", k.Digest.Short(), got.Short())
	}
	s := c.snapshot()
	s.Name, s.Fetched = f.Name, k.Fetched
	if c.Set != nil {
		for i := range c.Set.Advisories {
			c.Set.Advisories[i].Feed = s.Origin()
		}
	}
	if c.CVE != nil {
		for i := range c.CVE.Records {
			c.CVE.Records[i].Feed = s.Origin()
		}
	}
	return c, nil
}

func contentOf(ctx context.Context, path, kind string, o opening) (Content, error) {
	if read := kinds[kind]; read != nil {
		return read(ctx, path, o)
	}
	want, ok := feed.Formats()[kind]
	if !ok {
		return Content{}, fmt.Errorf("this program knows no feeds of kind %q, only %v", kind, Kinds())
	}
	s, err := feed.Read(ctx, path, feed.Options{Name: o.name, Source: o.source, Date: o.date, Now: o.now})
	if err == nil && s.Snapshot.Kind != want {
		err = fmt.Errorf("its content is %s, not %s", s.Snapshot.Kind, want)
	}
	return Content{Set: &s}, err
}

// Read reads what is in use of a feed. Its snapshot carries a gap for everything
// that keeps it from saying that a system is clean: nothing was accepted yet, a
// newer one was refused, no source has confirmed it for longer than maxAge
// (seconds; 0: the feed's own), its newest record is older than that, it is empty.
func (d *Depot) Read(ctx context.Context, name string, now, maxAge int64) (Feed, Content, error) {
	return d.ReadOf(ctx, name, now, maxAge, nil)
}

// ReadOf is Read, of feeds of CVE records only those that are wanted.
func (d *Depot) ReadOf(ctx context.Context, name string, now, maxAge int64, wanted func(cve string) bool) (Feed, Content, error) {
	for try := 0; ; try++ {
		f, ok, err := d.Feed(name)
		if err != nil || !ok {
			return f, Content{}, cmp.Or(err, d.unknown(name))
		}
		c, err := d.read(ctx, f, now, maxAge, wanted)
		switch {
		case err == nil || ctx.Err() != nil:
			return f, c, cmp.Or(ctx.Err(), err)
		case try == 0:
			continue // it may have been replaced meanwhile, several times
		}
		return f, Content{}, refusal.New(CodeDepot, "feed %s: %v", name, err)
	}
}

func (d *Depot) read(ctx context.Context, f Feed, now, maxAge int64, wanted func(cve string) bool) (Content, error) {
	k, ok := f.InUse()
	if !ok {
		return nothing(f), nil
	}
	c, err := d.counted(ctx, f, k, now, wanted)
	if err != nil {
		return Content{}, err
	}
	for _, why := range f.doubts(now, cmp.Or(maxAge, f.MaxAge)) {
		c = c.with(why)
	}
	return c, nil
}

// nothing is the content of a feed of which nothing was accepted.
func nothing(f Feed) Content {
	s := advisory.Snapshot{Name: f.Name, Kind: cmp.Or(feed.Formats()[f.Kind], f.Kind), Digest: canon.SumFile(nil), Scope: []advisory.Subject{}, Partial: []advisory.Gap{}}
	c := Content{Set: &advisory.Set{Snapshot: s, Advisories: []advisory.Advisory{}}}
	switch f.Kind {
	case kev.Kind:
		c = Content{KEV: &kev.Catalogue{Snapshot: s}}
	case epss.Kind:
		c = Content{EPSS: &epss.Scores{Snapshot: s}}
	case cve.Name, nvd.Name:
		c = Content{CVE: &cve.Book{Snapshot: s}}
	}
	return c.with("no snapshot of it was accepted yet")
}

// Standing is how a feed as a whole stands.
type Standing string

// The closed set of standings, the worst first.
const (
	Empty   Standing = "empty"   // nothing accepted, or no record in it
	Stale   Standing = "stale"   // not confirmed, or without a new record, for longer than its maximal age
	Contest Standing = "refused" // something newer was refused
	Partial Standing = "partial" // parts of what is in use could not be read
	OK      Standing = "ok"
)

// Within is the feed with another maximal age in seconds; 0: its own.
func (f Feed) Within(maxAge int64) Feed {
	f.MaxAge = cmp.Or(maxAge, f.MaxAge)
	return f
}

// Standing says how the feed stands at now, Unix seconds. Only OK can say that a
// system is clean.
func (f Feed) Standing(now int64) Standing {
	k, ok := f.InUse()
	_, aside := f.Aside()
	switch {
	case !ok || k.Count == 0 && k.Gaps > 0:
		return Empty
	case len(f.stale(k, now, f.MaxAge)) > 0:
		return Stale
	case aside:
		return Contest
	case k.Gaps > 0:
		return Partial
	}
	return OK
}

// doubts are the reasons why what is in use cannot say that a system is clean,
// beside what its own reading says.
func (f Feed) doubts(now, maxAge int64) []string {
	k, _ := f.InUse()
	out := f.stale(k, now, maxAge)
	if a, ok := f.Aside(); ok {
		why := fmt.Sprintf("what its source gave on %s (%s) was refused", day(a.Fetched), a.Digest.Short())
		for _, r := range a.Reasons {
			why += fmt.Sprintf("; %s: %s", r.Code, r.Text.Text())
		}
		out = append(out, why)
	}
	return out
}

func (f Feed) stale(k Kept, now, maxAge int64) []string {
	var out []string
	for _, g := range (advisory.Snapshot{Newest: k.Newest}).Aged(now, maxAge).Partial {
		out = append(out, g.Why.Text())
	}
	if quiet := now - f.Checked; quiet > maxAge {
		out = append(out, fmt.Sprintf("no source has confirmed it for %d hours, the limit is %d", quiet/3600, maxAge/3600))
	}
	return out
}
