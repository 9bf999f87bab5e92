package depot

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory/quarantine"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// Word is why records count against which something speaks: a person said so, or
// another source does.
type Word struct {
	Type    string     `json:"type"` // "patchwrit/word/v1"
	Feed    string     `json:"feed"`
	Kind    string     `json:"kind"` // "person" or "source"
	By      canon.Note `json:"by"`   // the person; or record, source and feed
	Why     canon.Note `json:"why"`
	At      int64      `json:"at"` // Unix seconds
	Records []Freed    `json:"records"`
}

// Freed is one record that a word frees: exactly this form of it, in place of
// exactly that one.
type Freed struct {
	ID    string         `json:"id"`
	Raw   canon.Digest   `json:"raw"`
	Was   canon.Digest   `json:"was"`
	Codes []refusal.Code `json:"codes"` // what spoke against it
}

// TypeWord is the type of a Word; its kinds.
const (
	TypeWord   = "patchwrit/word/v1"
	ByPerson   = "person"
	BySource   = "source"
	maxWords   = 256 << 20 // bytes of a feed's words
	maxRelease = 20_000    // records that one word frees
)

func freed(h quarantine.Held) Freed {
	f := Freed{ID: h.ID, Raw: h.Raw, Was: h.Was, Codes: []refusal.Code{}}
	for _, r := range h.Reasons {
		if !slices.Contains(f.Codes, r.Code) {
			f.Codes = append(f.Codes, r.Code)
		}
	}
	return f
}

func (d *Depot) wordsFile(name string) string { return filepath.Join(d.dir, "words", name) }

// Words lists the words about a feed, in the order in which they were given. One
// that was cut off while it was written was never given.
func (d *Depot) Words(name string) ([]Word, error) {
	if !ValidName(name) {
		return nil, nil
	}
	f, err := os.Open(d.wordsFile(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxWords))
	if err != nil {
		return nil, err
	}
	var out []Word
	for n, line := range bytes.SplitAfter(raw, []byte("\n")) {
		line, whole := bytes.CutSuffix(line, []byte("\n"))
		if !whole {
			break
		}
		var w Word
		if err := canon.Decode(line, &w); err != nil || w.Type != TypeWord || w.Feed != name {
			return nil, refusal.New(CodeDepot, "%s, line %d is no word about feed %s (%v)", d.wordsFile(name), n+1, name, err)
		}
		out = append(out, w)
	}
	return out, nil
}

// say adds words, all or none of them, durably. The lock is held. However many
// they are, the file is read, written and synced once.
func (d *Depot) say(name string, list ...Word) error {
	if len(list) == 0 {
		return nil
	}
	dir := filepath.Join(d.dir, "words")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	had, err := os.ReadFile(d.wordsFile(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	all := had[:bytes.LastIndexByte(had, '\n')+1]
	for _, w := range list {
		raw, err := canon.Encode(w)
		if err != nil {
			return err
		}
		all = append(append(all, raw...), '\n')
	}
	if len(all) > maxWords {
		return refusal.New(CodeDepot, "%s would have more than %d bytes; nothing more can be released", d.wordsFile(name), maxWords)
	}
	next := filepath.Join(dir, ".new-"+name) // no feed can be called so; what a kill leaves is written over
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(all)
	d.point("words written")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, d.wordsFile(name)); err != nil {
		return err
	}
	d.point("said")
	return syncDir(dir)
}

// releases are the persons' words as the judge takes them.
func releases(words []Word) (out []quarantine.Release) {
	for _, w := range words {
		for _, r := range w.Records {
			if w.Kind == ByPerson {
				out = append(out, quarantine.Release{ID: r.ID, Raw: r.Raw, Was: r.Was, By: w.By, Why: w.Why, At: w.At})
			}
		}
	}
	return out
}

// witnessed keeps which sources freed what, each once. The lock is held.
func (d *Depot) witnessed(name string, list []quarantine.Freed, now int64) error {
	words, err := d.Words(name)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	key := func(r Freed) string { return r.ID + " " + string(r.Raw) + " " + string(r.Was) }
	for _, w := range words {
		for _, r := range w.Records {
			known[key(r)] = true
		}
	}
	var said []Word
	for _, f := range list {
		if r := freed(f.Held); f.Release == nil && len(f.By) > 0 && !known[key(r)] {
			var by []string
			for _, o := range f.By {
				by = append(by, o.ID+" ("+o.Source+") of feed "+o.Feed.Name)
			}
			known[key(r)] = true
			said = append(said, Word{TypeWord, name, BySource, canon.NoteOf(strings.Join(by, ", ")), "it says the same", now, []Freed{r}})
		}
	}
	return d.say(name, said...)
}

// ErrNotHeld says that a feed holds no such record.
var ErrNotHeld = errors.New("no such record is held")

// Release lets held records of a feed count by a person's word, which is kept
// first. The error is ErrNotHeld when which picks none.
func (d *Depot) Release(ctx context.Context, name string, which func(Held) bool, by, why string, now int64) (Word, error) {
	f, ok, err := d.Feed(name)
	if err != nil || !ok {
		return Word{}, cmp.Or(err, d.unknown(name))
	}
	if strings.TrimSpace(by) == "" || strings.TrimSpace(why) == "" {
		return Word{}, errors.New("a release says who gives it, and why")
	}
	w := Word{TypeWord, name, ByPerson, canon.NoteOf(by), canon.NoteOf(why), now, []Freed{}}
	err = d.change(Rules{f.Name, f.Kind, f.MaxAge, f.Shrink}, func(f *Feed) error {
		k, _ := f.InUse()
		list, err := d.held(*f, k)
		if err != nil {
			return err
		}
		for _, h := range list {
			if which(h) {
				w.Records = append(w.Records, freed(h.Held))
			}
		}
		switch {
		case len(w.Records) == 0:
			return fmt.Errorf("feed %s: %w; patchwrit feed quarantine ls lists what is", name, ErrNotHeld)
		case len(w.Records) > maxRelease:
			return fmt.Errorf("feed %s: one word frees at most %d records, not %d", name, maxRelease, len(w.Records))
		}
		return d.say(name, w)
	})
	if err != nil {
		return Word{}, err
	}
	return w, d.Reconsider(ctx, now)
}
