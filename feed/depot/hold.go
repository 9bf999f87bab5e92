package depot

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/epss"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/feed/nvd"
	"github.com/patchwrit/patchwrit/feed/world"
	"github.com/patchwrit/patchwrit/refusal"
)

// Held is one record of an accepted snapshot that does not count as it came:
// instead of it counts what counted before, or nothing.
type Held struct {
	quarantine.Held             // Last is nil but for advisories; what keeps counting is then
	Entry           *kev.Entry  `json:"entry,omitempty"`  // of a KEV catalogue
	Record          *cve.Record `json:"record,omitempty"` // of CVE records or NVD's pages
	Score           *epss.Score `json:"score,omitempty"`  // of a day of EPSS
	Part            bool        `json:"part,omitempty"`   // of Record: what counts is new in part, and only what fell stays as it was
	Since           int64       `json:"since"`            // when this form was first held, Unix seconds

	// The form that is held, where the content was read and has it.
	Came       *advisory.Advisory `json:"-"`
	CameRecord *cve.Record        `json:"-"`

	falls []fall       // in a CVE record, while it is judged: what is milder
	from  canon.Digest // likewise: what counted until now
}

// compareHeld orders what is held.
func compareHeld(a, b Held) int {
	return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(string(a.Raw), string(b.Raw)), strings.Compare(string(a.Was), string(b.Was)))
}

// Fresh is how many new records began to count at a time.
type Fresh struct {
	At  int64 `json:"at"` // Unix seconds
	New int   `json:"new"`
}

const day1 = 24 * 3600

// recent sums up the news of the day before now.
func (f Feed) recent(now int64) (n int) {
	for _, x := range f.Fresh {
		if x.At > now-day1 {
			n += x.New
		}
	}
	return n
}

// noting is the news with one more, and without those that are a day old.
func (f Feed) noting(at int64, n int) []Fresh {
	out := slices.DeleteFunc(slices.Clone(f.Fresh), func(x Fresh) bool { return x.At <= at-day1 })
	if n > 0 {
		out = append(out, Fresh{at, n})
	}
	return out[max(0, len(out)-maxFresh):]
}

// maxFresh is how many arrivals of a day are remembered.
const maxFresh = 100

// Limits of a list of held records.
const (
	typeHeld    = "patchwrit/held/v1"
	maxHeld     = 1 << 30 // bytes
	maxHeldLine = 32 << 20
)

// heldHead is the first line of a list.
type heldHead struct {
	Type     string       `json:"type"`
	Feed     string       `json:"feed"`
	Snapshot canon.Digest `json:"snapshot"`
	Count    int          `json:"count"`
}

// heldBytes is a list as it is kept: a head and a line for each record.
func heldBytes(name string, k Kept, list []Held) ([]byte, error) {
	var b bytes.Buffer
	lines := []any{heldHead{typeHeld, name, k.Digest, len(list)}}
	for _, h := range list {
		lines = append(lines, h)
	}
	for _, l := range lines {
		raw, err := canon.Encode(l)
		if err != nil {
			return nil, err
		}
		b.Write(append(raw, '\n'))
	}
	return b.Bytes(), nil
}

// held reads what is held of a snapshot. An error names the file, and is of
// CodeDepot.
func (d *Depot) held(f Feed, k Kept) ([]Held, error) {
	if k.Holds == "" {
		return nil, nil
	}
	bad := func(err error) ([]Held, error) {
		return nil, refusal.New(CodeDepot, "what is held of feed %s, in %s: %v", f.Name, d.object(k.Holds), err)
	}
	file, err := os.Open(d.object(k.Holds))
	if err != nil {
		return bad(err)
	}
	defer file.Close()
	sum := sha256.New()
	list, head, err := readHeld(io.TeeReader(io.LimitReader(file, maxHeld), sum), f.Kind)
	if _, rest := io.Copy(sum, file); err == nil {
		err = rest
	}
	switch got := hex.EncodeToString(sum.Sum(nil)); {
	case err != nil:
		return bad(err)
	case got != string(k.Holds):
		return bad(errors.New("its bytes are others"))
	case head.Feed != f.Name || head.Snapshot != k.Digest || head.Count != len(list):
		return bad(errors.New("it is the list of another snapshot"))
	}
	return list, nil
}

// readHeld reads a list of a feed of the kind.
func readHeld(r io.Reader, kind string) (out []Held, head heldHead, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxHeldLine)
	for lines.Scan() {
		if head.Type == "" {
			if err := canon.Decode(lines.Bytes(), &head); err != nil || head.Type != typeHeld {
				return nil, head, fmt.Errorf("it is no such list (%v)", err)
			}
			continue
		}
		var h Held
		err := canon.Decode(lines.Bytes(), &h)
		if err == nil {
			err = h.valid(kind)
		}
		if err != nil {
			return nil, head, fmt.Errorf("record %d: %w", len(out)+1, err)
		}
		out = append(out, h)
	}
	return out, head, lines.Err()
}

// valid reports what a held record of a feed of the kind must not be: without an
// id or a reason, or with another thing that keeps counting than it says, and its
// kind has.
func (h Held) valid(kind string) error {
	if h.ID == "" || len(h.Reasons) == 0 {
		return errors.New("it has no id, or no reason")
	}
	id, of := h.ID, map[string]bool{"": h.Last != nil, kev.Kind: h.Entry != nil, epss.Kind: h.Score != nil, cve.Name: h.Record != nil}
	switch kind {
	case kev.Kind, epss.Kind, cve.Name:
	case nvd.Name:
		kind = cve.Name
	default:
		kind = ""
	}
	for other, there := range of {
		if want := other == kind && h.Was != ""; there != want {
			return fmt.Errorf("%s says %q of what keeps counting, and has something else", id, h.Was.Short())
		}
	}
	switch {
	case kind == epss.Kind && h.Was == "":
		return fmt.Errorf("%s has no score", id)
	case h.Entry != nil && h.Entry.CVE != id, h.Record != nil && h.Record.CVE != id, h.Last != nil && h.Last.ID != id:
		return fmt.Errorf("%s has something of another id", id)
	}
	return nil
}

// hold notes in a snapshot what is held of it, and makes that durable. The lock
// is held: the feed's file, which is written next, keeps the list from the sweep.
func (d *Depot) hold(name string, k *Kept, list []Held) error {
	if k.Held, k.Holds = len(list), ""; len(list) == 0 {
		return nil
	}
	raw, err := heldBytes(name, *k, list)
	if err != nil {
		return err
	}
	k.Holds = canon.SumFile(raw)
	tmp, err := os.CreateTemp(filepath.Join(d.dir, "objects"), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(raw)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	err = d.place(tmp.Name(), k.Holds)
	d.point("held")
	return err
}

// holding is the content with what is held at its last accepted form.
func (c Content) holding(list []Held) Content {
	if c.Held = list; len(list) == 0 {
		return c
	}
	out := map[string]bool{}
	for _, h := range list {
		out[h.ID+" "+string(h.Raw)] = h.Raw != ""
	}
	c.came()
	switch {
	case c.Set != nil:
		s := *c.Set
		dated := s.Snapshot.Newest == newest(s.Advisories)
		s.Advisories = slices.DeleteFunc(slices.Clone(s.Advisories), func(a advisory.Advisory) bool { return out[a.ID+" "+string(a.Raw)] })
		for _, h := range list {
			if h.Last != nil {
				s.Advisories = append(s.Advisories, *h.Last)
			}
		}
		slices.SortStableFunc(s.Advisories, func(a, b advisory.Advisory) int {
			return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(string(a.Raw), string(b.Raw)))
		})
		if dated { // what is held makes a feed neither younger nor older
			s.Snapshot.Newest = newest(s.Advisories)
		}
		c.Set = &s
	case c.KEV != nil:
		k := *c.KEV
		k.Entries = slices.DeleteFunc(slices.Clone(k.Entries), func(e kev.Entry) bool { return out[e.CVE+" "+string(entryDigest(e))] })
		for _, h := range list {
			if h.Entry != nil {
				k.Entries = append(k.Entries, *h.Entry)
			}
		}
		slices.SortFunc(k.Entries, func(a, b kev.Entry) int { return strings.Compare(a.CVE, b.CVE) })
		c.KEV = &k
	case c.EPSS != nil:
		as := map[string]epss.Score{}
		for _, h := range list {
			as[h.ID] = *h.Score
		}
		s := c.EPSS.With(as)
		c.EPSS = &s
	case c.CVE != nil:
		b := booked(*c.CVE, list, out)
		c.CVE = &b
	}
	return c
}

// booked is a book with what is held at its last accepted form.
func booked(b cve.Book, list []Held, out map[string]bool) cve.Book {
	dated := b.Snapshot.Newest == changed(b.Records)
	b.Records = slices.DeleteFunc(slices.Clone(b.Records), func(r cve.Record) bool { return out[r.CVE+" "+string(r.Raw)] })
	for _, h := range list {
		if h.Record != nil {
			b.Records = append(b.Records, *h.Record)
		}
	}
	slices.SortFunc(b.Records, func(a, b cve.Record) int { return strings.Compare(a.CVE, b.CVE) })
	if dated {
		b.Snapshot.Newest = changed(b.Records)
	}
	return b
}

func changed(list []cve.Record) (at int64) {
	for i := range list {
		at = max(at, list[i].Modified)
	}
	return at
}

func newest(list []advisory.Advisory) (at int64) {
	for i := range list {
		at = max(at, list[i].Modified)
	}
	return at
}

// came fills the forms that are held.
func (c Content) came() {
	if c.CVE != nil {
		for i, h := range c.Held {
			if r, ok := c.CVE.Of(h.ID); ok && r.Raw == h.Raw {
				c.Held[i].CameRecord = &r
			}
		}
	}
	if c.Set == nil {
		return
	}
	at := map[string]*advisory.Advisory{}
	for i := range c.Set.Advisories {
		a := &c.Set.Advisories[i]
		at[a.ID+" "+string(a.Raw)] = a
	}
	for i, h := range c.Held {
		c.Held[i].Came = at[h.ID+" "+string(h.Raw)]
	}
}

// count reads a snapshot as it counts.
func (d *Depot) count(ctx context.Context, f Feed, k Kept, now int64, wanted func(cve string) bool) (Content, error) {
	list, err := d.held(f, k)
	if err != nil {
		return Content{}, err
	}
	c, err := d.open(ctx, f, k, now, wanted)
	if c.CVE != nil && wanted != nil {
		list = slices.DeleteFunc(list, func(h Held) bool { return !wanted(h.ID) })
	}
	return c.holding(list), err
}

// caseOf is what a judge is given about a snapshot.
func (d *Depot) caseOf(f Feed, k Kept, content Content, now int64) (Case, error) {
	c := Case{Feed: f, New: k, Content: content, Now: now, Recent: f.recent(k.Fetched)}
	words, err := d.Words(f.Name)
	if err != nil {
		return c, err
	}
	c.Releases = releases(words)
	c.World = func() (quarantine.World, error) {
		w, _, err := world.Read(d.World())
		return w, err
	}
	c.Others = func(ctx context.Context, wanted func(cve string) bool) ([]Content, error) {
		return d.others(ctx, f.Name, now, wanted)
	}
	last, ok := f.InUse()
	if !ok {
		return c, nil
	}
	c.Last = &last
	if c.Before, err = d.held(f, last); err != nil {
		return c, err
	}
	c.LastContent = func(ctx context.Context) (Content, error) { return d.count(ctx, f, last, now, nil) }
	return c, nil
}

// World is the directory of the versions that trusted repositories were seen to
// carry, see room feed/world.
func (d *Depot) World() string { return filepath.Join(d.dir, "world") }

// others is what the other feeds say that counts: those of advisories, or with
// wanted those of CVE records, and NVD's pages, about these CVEs.
func (d *Depot) others(ctx context.Context, but string, now int64, wanted func(cve string) bool) (out []Content, err error) {
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		f, ok, err := d.Feed(name)
		if err != nil {
			return nil, err
		}
		if k, used := f.InUse(); ok && used && name != but && (wanted == nil && !IsFact(f.Kind) || wanted != nil && (f.Kind == cve.Name || f.Kind == nvd.Name)) {
			c, err := d.count(ctx, f, k, now, wanted)
			if err != nil {
				return nil, fmt.Errorf("the second source %s: %w", name, err)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// basis names everything but a feed's own bytes that its judge goes by.
func (d *Depot) basis(name string) (canon.Digest, error) {
	sum := sha256.New()
	names, err := d.Names()
	if err != nil {
		return "", err
	}
	for _, other := range names {
		f, _, err := d.Feed(other)
		if err != nil {
			return "", err
		}
		if k, ok := f.InUse(); ok && other != name {
			fmt.Fprintln(sum, other, k.Digest, k.Holds)
		}
	}
	_, stamp, err := world.Read(d.World())
	if err != nil {
		return "", err
	}
	words, err := d.Words(name)
	fmt.Fprintln(sum, stamp, len(words))
	return canon.Digest(hex.EncodeToString(sum.Sum(nil))), err
}

// Reconsider judges anew what is held, wherever something has come since that
// can free it: another source's snapshot, a version in a verified index, a
// person's word. What is freed in one feed may free more in another, which is
// looked at again. now is Unix seconds.
func (d *Depot) Reconsider(ctx context.Context, now int64) error {
	names, err := d.Names()
	if err != nil {
		return err
	}
	for range names {
		more := false
		for _, name := range names {
			changed, err := d.reconsider(ctx, name, now)
			if err != nil {
				return err
			}
			more = more || changed
		}
		if !more {
			break
		}
	}
	return nil
}

// reconsider judges one feed again, and says whether that changed what is held.
func (d *Depot) reconsider(ctx context.Context, name string, now int64) (changed bool, err error) {
	f, ok, err := d.Feed(name)
	k, used := f.InUse()
	if err != nil || !ok || !used || k.Held == 0 {
		return false, err
	}
	basis, err := d.basis(name)
	if err != nil || basis == k.Basis {
		return false, err
	}
	content, err := d.open(ctx, f, k, now, nil)
	if err != nil {
		return false, err
	}
	c, err := d.caseOf(f, k, content, now)
	if err != nil {
		return false, err
	}
	c.Again = true
	r, err := d.judge.Judge(ctx, c)
	if err != nil {
		return false, fmt.Errorf("feed %s: judging again what is held: %w", name, err)
	}
	d.point("judged again")
	err = d.change(Rules{f.Name, f.Kind, f.MaxAge, f.Shrink}, func(f *Feed) error {
		i := slices.IndexFunc(f.Kept, func(o Kept) bool { return o.State == Accepted })
		if i < 0 || f.Kept[i].Digest != k.Digest || f.Kept[i].Holds != k.Holds {
			return nil // another process was faster
		}
		if err := d.witnessed(f.Name, r.Freed, now); err != nil {
			return err
		}
		f.Kept[i].Basis = basis
		err := d.hold(f.Name, &f.Kept[i], since(r.Held, c.Before, now))
		changed = f.Kept[i].Holds != k.Holds
		return err
	})
	return changed, err
}

// since says of what is held when it was first held in this form, and whether what
// counts for it was put together at an earlier time.
func since(list, before []Held, now int64) []Held {
	at, parts := map[string]int64{}, map[canon.Digest]bool{}
	for _, h := range before {
		at[h.ID+" "+string(h.Raw)+" "+string(h.Was)] = h.Since
		if h.Part {
			parts[h.Was] = true
		}
	}
	for i, h := range list {
		list[i].Part = h.Part || parts[h.from] // with the same words of a later day it is another form
		list[i].Since = cmp.Or(at[h.ID+" "+string(h.Raw)+" "+string(h.Was)], now)
	}
	return list
}

// Aside lists what is held of a feed's snapshot in use, ascending by id, and says
// where that snapshot came from. It reads no content.
func (d *Depot) Aside(name string) ([]Held, string, error) {
	f, ok, err := d.Feed(name)
	k, used := f.InUse()
	if err != nil || !ok || !used {
		return nil, "", err
	}
	list, err := d.held(f, k)
	return list, k.Source, err
}

// Holding lists what is held of a feed's snapshot in use, ascending by id, and
// gives its content as it came.
func (d *Depot) Holding(ctx context.Context, name string, now int64) ([]Held, Content, error) {
	f, ok, err := d.Feed(name)
	if err != nil || !ok {
		return nil, Content{}, cmp.Or(err, d.unknown(name))
	}
	k, used := f.InUse()
	if !used || k.Held == 0 {
		return nil, Content{}, nil
	}
	list, err := d.held(f, k)
	if err != nil {
		return nil, Content{}, err
	}
	c, err := d.open(ctx, f, k, now, nil)
	c.Held = list
	if err == nil {
		c.came()
	}
	return list, c, err
}
