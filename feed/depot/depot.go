// Package depot keeps what feeds published, snapshot by snapshot, on one disk.
//
// The parties: whoever publishes; the way between (room feed/fetch, or a signed
// bundle of another site); the Judge, who says whether what came may count; and
// those who read (scan, the control plane). The objects are the Feed, one small
// file that tells everything about a feed, and the Kept, one snapshot of it by
// the digest of its bytes.
//
// The promise: a snapshot that came is a Candidate until the Judge accepts it,
// and only accepted ones are read. One that is not accepted is kept aside as
// Refused with its reasons, and until a source confirms a good one again, or a
// person decides, everything read from that feed has a gap: unknown, never
// clean. A failed fetch changes nothing in use. Every step is durable before the
// next (bytes, then the feed's file, each fsynced and renamed into place), so
// that a kill at any point leaves the depot whole; a candidate that was not
// judged yet is judged at the next Keep or Settle.
//
// The Judge is given the candidate and what counts now, both with their parsed
// content, before the candidate counts. Standard refuses whole snapshots (empty,
// shrunk, time going backwards), and of one that is accepted it holds single
// records (room advisory/quarantine): these count in the form that was accepted
// last, or not at all when they are new. The list of them is kept beside the
// snapshot by its digest, survives the next snapshot, and is judged again when a
// second source, a verified index or a person has spoken since (Reconsider). Each
// such word is kept, and kept first. Accept is how a person overrules the judge
// about a whole snapshot, Release about single records.
//
// What it does not do: it fetches nothing and checks no signature (Proof is what
// the caller found), and does not keep local root from changing its files. Bytes
// are checked against their digest whenever they are read.
package depot

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// Why a snapshot, or a depot, is refused.
const (
	CodeUnusable  refusal.Code = "PW-FEED-UNUSABLE"  // the bytes cannot be read as a feed of its kind
	CodeEmpty     refusal.Code = "PW-FEED-EMPTY"     // no record in it
	CodeShrunk    refusal.Code = "PW-FEED-SHRUNK"    // far fewer records than before
	CodeBackwards refusal.Code = "PW-FEED-BACKWARDS" // older than what was accepted
	CodeDepot     refusal.Code = "PW-FEED-DEPOT"     // the depot's own files are broken
	CodeUnknown   refusal.Code = "PW-FEED-UNKNOWN"   // there is no feed of that name
)

// State is how a snapshot stands.
type State string

// The closed set of states of a snapshot.
const (
	Candidate State = "candidate" // its bytes are here, nobody has judged them yet
	Accepted  State = "accepted"  // it may be read
	Refused   State = "refused"   // kept aside
)

// Reason is why a snapshot does not count.
type Reason struct {
	Code refusal.Code `json:"code"`
	Text canon.Note   `json:"text"`
}

// Kept is one snapshot of a feed.
type Kept struct {
	Digest   canon.Digest `json:"digest"` // SHA-256 of the bytes as they came
	Size     int64        `json:"size"`
	Source   string       `json:"source"`   // URL without credentials and query
	Fetched  int64        `json:"fetched"`  // Unix seconds
	Modified int64        `json:"modified"` // Last-Modified, else Date of the answer, Unix seconds; 0: not told
	ETag     canon.Note   `json:"etag"`
	Address  string       `json:"address"` // names the URL that ETag and Modified are of, see fetch.Address
	Proof    canon.Note   `json:"proof"`   // which pin or signature held; "" when there is none
	Count    int          `json:"count"`   // records read whole
	Newest   int64        `json:"newest"`  // newest record, Unix seconds
	Gaps     int          `json:"gaps"`    // what could not be read
	State    State        `json:"state"`
	Reasons  []Reason     `json:"reasons"` // when refused; kept when a person accepted it all the same
	Word     canon.Note   `json:"word"`    // of the person who accepted it against the judge; else ""

	Held  int          `json:"held,omitempty"`  // records of it that do not count as they came
	Holds canon.Digest `json:"holds,omitempty"` // names the list of these
	Basis canon.Digest `json:"basis,omitempty"` // what the judge knew beside the bytes when it last looked at them
}

// Feed is everything the depot knows about one feed. Kept is ordered by arrival,
// the newest first.
type Feed struct {
	Type    string     `json:"type"` // "patchwrit/feed/v1"
	Name    string     `json:"name"`
	Kind    string     `json:"kind"`    // one of Kinds
	MaxAge  int64      `json:"max_age"` // seconds after which it can no longer say that a system is clean
	Shrink  int        `json:"shrink"`  // percent of records that may be missing from a newer snapshot
	Tried   int64      `json:"tried"`   // last attempt, Unix seconds
	Failure canon.Note `json:"failure"` // why the last attempt brought nothing; "" when it did
	Until   int64      `json:"until"`   // its sources want to be left alone until then (Retry-After), Unix seconds; 0: no
	Checked int64      `json:"checked"` // when a source last gave, or confirmed, the snapshot in use
	// Contested is the refused snapshot that came after the one in use was last
	// given or confirmed, or "": nobody knows which of the two is right.
	Contested canon.Digest `json:"contested"`
	Kept      []Kept       `json:"kept"`
	Fresh     []Fresh      `json:"fresh,omitempty"` // the news of the last day, in order
}

// TypeFeed is the type of a Feed.
const TypeFeed = "patchwrit/feed/v1"

// Rules bound a feed; they come from its configuration or its bundle.
type Rules struct {
	Name   string
	Kind   string
	MaxAge int64 // seconds
	Shrink int   // percent, 0 to 100
}

// How much is kept: the snapshot in use, two before it for comparison and for
// bundles, and the two that were refused last, for people to look at.
const (
	keepAccepted = 3
	keepRefused  = 2
	maxFile      = 1 << 20 // of a feed's own file; one with 5 snapshots has 4 KiB
)

var feedName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// ValidName reports whether a feed can have the name: it is part of file names.
func ValidName(name string) bool { return feedName.MatchString(name) }

// InUse is the newest accepted snapshot.
func (f Feed) InUse() (Kept, bool) {
	i := slices.IndexFunc(f.Kept, func(k Kept) bool { return k.State == Accepted })
	if i < 0 {
		return Kept{}, false
	}
	return f.Kept[i], true
}

// Aside is the contested snapshot, if there is one.
func (f Feed) Aside() (Kept, bool) {
	i := f.find(f.Contested, Refused)
	if f.Contested == "" || i < 0 {
		return Kept{}, f.Contested != ""
	}
	return f.Kept[i], true
}

func (f Feed) find(sum canon.Digest, state State) int {
	return slices.IndexFunc(f.Kept, func(k Kept) bool { return k.Digest == sum && k.State == state })
}

// Depot is a depot on disk. Readers need no lock; those who change it wait for
// each other, in this process and in others.
type Depot struct {
	dir   string
	judge Judge
	cache *Cache       // nil: every reading reads
	point func(string) // called between durable steps; nil but in tests that kill there
}

// Open opens the depot in dir, which is made when a feed is first kept. judge
// nil is Standard.
func Open(dir string, judge Judge) *Depot {
	if judge == nil {
		judge = Standard{}
	}
	return &Depot{dir: dir, judge: judge, point: func(string) {}}
}

// Dir is where the depot is.
func (d *Depot) Dir() string { return d.dir }

func (d *Depot) feedFile(name string) string {
	return filepath.Join(d.dir, "feeds", name+".json")
}
func (d *Depot) object(sum canon.Digest) string {
	return filepath.Join(d.dir, "objects", string(sum))
}

// Bytes opens a snapshot's bytes. They are not checked; who reads them holds them
// to the digest.
func (d *Depot) Bytes(sum canon.Digest) (*os.File, error) {
	if !sum.Valid() {
		return nil, os.ErrNotExist
	}
	return os.Open(d.object(sum))
}

// Staging is the directory for downloads that are not complete yet; it is on the
// same disk.
func (d *Depot) Staging() (string, error) {
	dir := filepath.Join(d.dir, "partial")
	return dir, os.MkdirAll(dir, 0o700)
}

// Names lists the feeds of the depot, ascending.
func (d *Depot) Names() ([]string, error) {
	list, err := os.ReadDir(filepath.Join(d.dir, "feeds"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range list {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok && ValidName(name) {
			out = append(out, name)
		}
	}
	return out, nil
}

// Unknown is the refusal of a name that no feed has, which lists those there are.
func Unknown(name string, known []string) error {
	have := "it has none"
	if len(known) > 0 {
		have = "it has " + strings.Join(known, ", ")
	}
	return refusal.New(CodeUnknown, "the depot has no feed %q; %s", name, have)
}

func (d *Depot) unknown(name string) error {
	names, err := d.Names()
	return cmp.Or(err, Unknown(name, names))
}

// Feed reads what is known of a feed; false when the depot has none of the name.
func (d *Depot) Feed(name string) (Feed, bool, error) {
	if !ValidName(name) {
		return Feed{}, false, nil
	}
	in, err := os.Open(d.feedFile(name))
	if errors.Is(err, os.ErrNotExist) {
		return Feed{}, false, nil
	}
	if err != nil {
		return Feed{}, false, err
	}
	defer in.Close()
	raw, err := io.ReadAll(io.LimitReader(in, maxFile))
	if err != nil {
		return Feed{}, false, err
	}
	var f Feed
	if err := canon.Decode(raw, &f); err != nil || f.Type != TypeFeed || f.Name != name {
		return Feed{}, false, refusal.New(CodeDepot, "%s is not a feed's file (%v)", d.feedFile(name), err)
	}
	return f, true, nil
}

// change reads a feed, lets edit change it, and stores it, alone.
func (d *Depot) change(r Rules, edit func(*Feed) error) error {
	if !ValidName(r.Name) {
		return fmt.Errorf("%q cannot name a feed: 1 to 64 of a-z 0-9 . _ -, not beginning with a sign", r.Name)
	}
	for _, sub := range []string{"feeds", "objects"} {
		if err := os.MkdirAll(filepath.Join(d.dir, sub), 0o755); err != nil {
			return err
		}
	}
	lock, err := os.OpenFile(filepath.Join(d.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	f, ok, err := d.Feed(r.Name)
	if err != nil {
		return err
	}
	if !ok {
		f = Feed{Type: TypeFeed, Name: r.Name, Kind: r.Kind, Kept: []Kept{}}
	}
	if f.Kind != r.Kind {
		return fmt.Errorf("feed %s holds %s, not %s; give the other kind another name, or remove what is kept (patchwrit feed rm %[1]s)", f.Name, f.Kind, r.Kind)
	}
	f.MaxAge, f.Shrink = r.MaxAge, r.Shrink
	switch err := edit(&f); {
	case errors.Is(err, errGone):
		return errors.Join(syncDir(filepath.Join(d.dir, "feeds")), d.sweep())
	case err != nil:
		return err
	}
	return d.store(f)
}

// errGone says that an edit removed the feed.
var errGone = errors.New("the feed is gone")

// store prunes a feed, replaces its file, and then removes bytes that no feed
// speaks of.
func (d *Depot) store(f Feed) error {
	f.Kept = pruned(f.Kept)
	raw, err := canon.Encode(f)
	if err != nil {
		return err
	}
	dir := filepath.Join(d.dir, "feeds")
	tmp, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(raw)
	d.point("feed written")
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), d.feedFile(f.Name)); err != nil {
		return err
	}
	d.point("feed renamed")
	if err := syncDir(dir); err != nil {
		return err
	}
	return d.sweep()
}

// pruned leaves what is worth keeping. Every candidate stays.
func pruned(all []Kept) []Kept {
	good, bad := 0, 0
	return slices.DeleteFunc(slices.Clone(all), func(k Kept) bool {
		switch k.State {
		case Accepted:
			good++
		case Refused:
			bad++
		}
		return k.State == Accepted && good > keepAccepted || k.State == Refused && bad > keepRefused
	})
}

// sweep removes objects and half files that no feed speaks of. The lock is held.
func (d *Depot) sweep() error {
	names, err := d.Names()
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, name := range names {
		f, _, err := d.Feed(name)
		if err != nil {
			return err // what it speaks of is unknown: remove nothing
		}
		for _, k := range f.Kept {
			used[string(k.Digest)], used[string(k.Holds)] = true, true
		}
	}
	for _, sub := range []string{"objects", "feeds"} {
		list, err := os.ReadDir(filepath.Join(d.dir, sub))
		if err != nil {
			return err
		}
		for _, e := range list {
			if half := strings.HasPrefix(e.Name(), ".new-"); half || sub == "objects" && !used[e.Name()] {
				err = errors.Join(err, os.Remove(filepath.Join(d.dir, sub, e.Name())))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Missed notes that an attempt brought nothing: what is in use stays in use.
// until is when the sources may be asked again, Unix seconds, or 0.
func (d *Depot) Missed(r Rules, now, until int64, why error) error {
	return d.change(r, func(f *Feed) error {
		f.Tried, f.Until, f.Failure = now, until, canon.NoteOf(why.Error())
		return nil
	})
}

// Confirmed notes that a source says that nothing changed since the snapshot in
// use (304, or the same bytes again).
func (d *Depot) Confirmed(r Rules, now int64) error {
	return d.change(r, func(f *Feed) error {
		f.Tried, f.Checked, f.Failure, f.Until, f.Contested = now, now, "", 0, ""
		return nil
	})
}

// Arrived is a complete file that came.
type Arrived struct {
	File     string // path, on the depot's disk; taken away
	Source   string // URL without credentials
	Modified int64  // as in Kept
	ETag     string
	Address  string
	Proof    string
	Fetched  int64    // when another site fetched it, Unix seconds; 0: now, from its source
	Checked  int64    // when that site's source last gave or confirmed it
	Against  []Reason // what the caller found against it (a pin, a signature): it is kept aside unread
}

// Keep takes a file that came, judges it, and says how it stands. The same bytes
// as those in use are no new snapshot: that one is returned. now is Unix seconds.
func (d *Depot) Keep(ctx context.Context, r Rules, a Arrived, now int64) (Kept, error) {
	a.Fetched, a.Checked = min(now, cmp.Or(a.Fetched, now)), min(now, cmp.Or(a.Checked, now))
	k := Kept{Source: string(canon.NoteOf(a.Source)), Fetched: a.Fetched, Modified: a.Modified, ETag: canon.NoteOf(a.ETag), Address: a.Address,
		Proof: canon.NoteOf(a.Proof), State: Candidate, Reasons: append([]Reason{}, a.Against...)}
	var err error
	if k.Digest, k.Size, err = SumOf(a.File); err != nil {
		return Kept{}, err
	}
	if len(a.Against) > 0 {
		k.State = Refused
	}
	again := false // then a refused file of the same bytes may stand before the one in use
	err = d.change(r, func(f *Feed) error {
		f.Tried, f.Failure, f.Until = now, "", 0
		if last, ok := f.InUse(); ok && last.Digest == k.Digest && k.State == Candidate {
			again, k = true, f.again(k, a.Checked)
			return os.Remove(a.File)
		}
		if err := d.place(a.File, k.Digest); err != nil {
			return err
		}
		f.Kept = slices.DeleteFunc(f.Kept, func(o Kept) bool { return o.Digest == k.Digest && o.State != Accepted })
		f.Kept = append([]Kept{k}, f.Kept...)
		if k.State == Refused {
			f.Contested = k.Digest
		}
		return nil
	})
	if err != nil || again {
		return k, err
	}
	d.point("candidate")
	if err := d.Settle(ctx, r.Name, now); err != nil {
		return k, err
	}
	if k, err = d.settled(r, k, a.Checked); err == nil {
		err = d.Reconsider(ctx, now) // it may speak for what is held of others
	}
	return k, err
}

// again notes that what is in use came again, at the time checked.
func (f *Feed) again(k Kept, checked int64) Kept {
	in := &f.Kept[slices.IndexFunc(f.Kept, func(o Kept) bool { return o.State == Accepted })]
	in.Source, in.ETag, in.Address, in.Proof = k.Source, k.ETag, k.Address, k.Proof
	if a, ok := f.Aside(); ok && checked >= a.Fetched {
		f.Contested = ""
	}
	f.Checked = max(f.Checked, checked)
	return *in
}

// settled is how a candidate stands now that it was judged.
func (d *Depot) settled(r Rules, k Kept, checked int64) (Kept, error) {
	f, _, err := d.Feed(r.Name)
	i := slices.IndexFunc(f.Kept, func(o Kept) bool { return o.Digest == k.Digest })
	if err != nil || i < 0 {
		return k, cmp.Or(err, fmt.Errorf("another process changed feed %s meanwhile", r.Name))
	}
	if k = f.Kept[i]; k.State == Accepted && checked > k.Fetched {
		err = d.change(r, func(f *Feed) error {
			f.Checked = max(f.Checked, checked)
			return nil
		})
	}
	return k, err
}

// place makes a file durable among the objects.
func (d *Depot) place(file string, sum canon.Digest) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	d.point("bytes written")
	if err := os.Rename(file, d.object(sum)); err != nil {
		return err
	}
	d.point("bytes renamed")
	return syncDir(filepath.Join(d.dir, "objects"))
}

// Settle judges the candidates of a feed that nobody has judged yet, in order of
// arrival.
func (d *Depot) Settle(ctx context.Context, name string, now int64) error {
	for {
		f, ok, err := d.Feed(name)
		if err != nil || !ok {
			return err
		}
		i := -1
		for j, k := range f.Kept {
			if k.State == Candidate {
				i = j
			}
		}
		if i < 0 {
			return nil
		}
		k := f.Kept[i]
		r, err := d.decide(ctx, f, &k, now)
		if err != nil {
			return err
		}
		d.point("judged")
		first := !slices.ContainsFunc(f.Kept, func(o Kept) bool { return o.State == Accepted })
		err = d.change(Rules{f.Name, f.Kind, f.MaxAge, f.Shrink}, func(f *Feed) error {
			i := f.find(k.Digest, Candidate)
			if i < 0 {
				return nil // another process was faster
			}
			if k.State == Accepted {
				if !first {
					f.Fresh = f.noting(k.Fetched, r.Fresh)
				}
				if err := errors.Join(d.witnessed(f.Name, r.Freed, now), d.hold(f.Name, &k, r.Held)); err != nil {
					return err
				}
			}
			f.Kept[i], f.Contested = k, k.Digest
			if k.State == Accepted {
				f.Checked, f.Contested = max(f.Checked, k.Fetched), ""
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// decide reads a candidate and asks the judge. The error is the context's, or of
// the disk.
func (d *Depot) decide(ctx context.Context, f Feed, k *Kept, now int64) (Ruling, error) {
	basis, err := d.basis(f.Name)
	if err != nil {
		return Ruling{}, err
	}
	content, err := d.open(ctx, f, *k, now, nil)
	if ctx.Err() != nil {
		return Ruling{}, ctx.Err()
	}
	if err != nil {
		k.State, k.Reasons = Refused, []Reason{reason(CodeUnusable, err)}
		return Ruling{}, nil
	}
	s := content.Snapshot()
	k.Count, k.Newest, k.Gaps = s.Count, s.Newest, len(s.Partial)
	c, err := d.caseOf(f, *k, content, now)
	if err != nil {
		return Ruling{}, err
	}
	r, err := d.judge.Judge(ctx, c)
	if err != nil {
		return Ruling{}, fmt.Errorf("feed %s: judging %s: %w", f.Name, k.Digest.Short(), err)
	}
	if k.State, k.Basis = Accepted, basis; len(r.Against) > 0 {
		k.State, k.Reasons, k.Basis = Refused, r.Against, ""
	}
	r.Held = since(r.Held, c.Before, now)
	k.Newest = content.holding(r.Held).Snapshot().Newest
	return r, nil
}

func reason(code refusal.Code, err error) Reason { return Reason{code, canon.NoteOf(err.Error())} }

// Accept makes a refused snapshot count by a person's word, which is kept with
// it and with the reasons that spoke against it. All of it counts, and nothing of
// it is held.
func (d *Depot) Accept(ctx context.Context, name string, sum canon.Digest, word string, now int64) (Kept, error) {
	f, ok, err := d.Feed(name)
	if err != nil || !ok {
		return Kept{}, cmp.Or(err, d.unknown(name))
	}
	i := f.find(sum, Refused)
	if i < 0 {
		return Kept{}, fmt.Errorf("feed %s keeps no refused snapshot %s; patchwrit feed ls -o json lists them", name, sum.Short())
	}
	k := f.Kept[i]
	content, err := d.open(ctx, f, k, now, nil)
	if err != nil {
		return Kept{}, refusal.New(CodeUnusable, "%s: %v", sum.Short(), err)
	}
	s := content.Snapshot()
	k.Count, k.Newest, k.Gaps = s.Count, s.Newest, len(s.Partial)
	k.State, k.Word = Accepted, canon.NoteOf(word)
	return k, d.change(Rules{f.Name, f.Kind, f.MaxAge, f.Shrink}, func(f *Feed) error {
		f.Kept = slices.DeleteFunc(f.Kept, func(o Kept) bool { return o.Digest == sum && o.State == Refused })
		f.Kept = append([]Kept{k}, f.Kept...)
		f.Checked, f.Contested = max(f.Checked, k.Fetched), ""
		return nil
	})
}

// Remove forgets a feed and its snapshots, and with them what would have shown
// that it went backwards.
func (d *Depot) Remove(name string) error {
	f, ok, err := d.Feed(name)
	if err != nil || !ok {
		return cmp.Or(err, d.unknown(name))
	}
	return d.change(Rules{f.Name, f.Kind, f.MaxAge, f.Shrink}, func(f *Feed) error {
		return errors.Join(os.Remove(d.feedFile(name)), errGone)
	})
}

// SumOf hashes a file and counts its bytes.
func SumOf(name string) (canon.Digest, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	return canon.Digest(hex.EncodeToString(sum.Sum(nil))), n, err
}
