package advice

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/version"
)

// TypeDossier is the type and digest domain of a Dossier. What stands in a plan
// is another dossier (room proposal), with fields that are not sent.
const TypeDossier = "patchwrit/advicedossier/v1"

// ErrForm says that bytes are no dossier, or no answer.
var ErrForm = errors.New("malformed")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrForm}, args...)...)
}

// Dossier is all that an adviser gets to see about one plan.
type Dossier struct {
	Type     string       `json:"type"`
	Plan     canon.Digest `json:"plan"` // the plan's name; none of its free texts, people or hosts
	Evidence []Evidence   `json:"evidence"`
	Items    []Item       `json:"items"` // what can be ordered: the plan's changes, ascending
	Edges    []Edge       `json:"edges"` // what must go before what, ascending
}

// Evidence is what one source says.
type Evidence struct {
	ID        string             `json:"id"` // e1, e2, … in the dossier's order
	Channel   Channel            `json:"channel"`
	Source    string             `json:"source"`    // who says so: "osv/DSA", "cisa/kev", "patchwrit"
	Record    string             `json:"record"`    // its id there: "DSA-5999-1", "2026.08.07"
	Authority advisory.Authority `json:"authority"` // of the record as a whole
	AsOf      int64              `json:"as_of"`     // Unix seconds
	Digest    canon.Digest       `json:"digest"`    // SHA-256 of the source's own bytes
	Text      string             `json:"text"`      // what quotes point into: the facts in words, or untrusted prose
	Facts     []Fact             `json:"facts"`     // what the text says; none of untrusted text
}

// Fact is one thing that a piece of evidence says. Kind says what the fields
// hold; what does not apply is "".
type Fact struct {
	Kind    Kind           `json:"kind"`
	About   string         `json:"about"`
	Package string         `json:"package"`
	Source  string         `json:"source"`
	Scheme  version.Scheme `json:"scheme"` // order of the versions in it
	Version string         `json:"version"`
	Value   string         `json:"value"`
}

// Item is one change of the plan that can be ordered among those of its class.
type Item struct {
	Key   string       `json:"key"` // package:arch
	Class change.Class `json:"class"`
}

// Edge says that one item must be done before another.
type Edge struct {
	Before string `json:"before"`
	After  string `json:"after"`
}

// String is the fact in words.
func (f Fact) String() string {
	return words(f.Kind, f.About, f.Package, f.Version, f.Source, f.Value)
}

func words(k Kind, about, pkg, at, source, value string) string {
	s := string(k)
	for _, part := range [][2]string{{" of ", about}, {" in ", pkg}, {" at ", at}, {" by ", source}} {
		if part[1] != "" {
			s += part[0] + part[1]
		}
	}
	return s + ": " + value
}

// between stands between two facts in a text.
const between = "; "

// textOf gives the text that facts are.
func textOf(facts []Fact) string {
	parts := []string{}
	for _, f := range facts {
		parts = append(parts, f.String())
	}
	return strings.Join(parts, between)
}

// Bytes are the dossier's canonical bytes.
func (d Dossier) Bytes() []byte { return canon.MustEncode(d) }

// Digest names the dossier. An answer is about one dossier, by this name.
func (d Dossier) Digest() canon.Digest { return canon.Sum(TypeDossier, d.Bytes()) }

// ReadDossier reads canonical bytes. What it gives says in each text exactly
// what its facts are. The error is canon.ErrForm or ErrForm.
func ReadDossier(raw []byte) (Dossier, error) {
	var d Dossier
	if len(raw) > MaxDossier {
		return d, bad("a dossier of %d bytes, the limit is %d", len(raw), MaxDossier)
	}
	if err := canon.Decode(raw, &d); err != nil {
		return Dossier{}, fmt.Errorf("this is no dossier: %w", err)
	}
	if err := d.valid(); err != nil {
		return Dossier{}, err
	}
	return d, nil
}

// valid says why the dossier contradicts itself, or nil.
func (d Dossier) valid() error {
	switch {
	case d.Type != TypeDossier:
		return bad("type %q, not %q", canon.NoteOf(d.Type), TypeDossier)
	case !d.Plan.Valid():
		return bad("the dossier names no plan")
	case len(d.Evidence) > MaxEvidence || len(d.Items) > MaxOrder || len(d.Edges) > MaxOrder*8:
		return bad("%d pieces of evidence, %d items, %d edges: more than a dossier holds", len(d.Evidence), len(d.Items), len(d.Edges))
	}
	for i, e := range d.Evidence {
		if err := e.valid(i + 1); err != nil {
			return err
		}
	}
	keys := map[string]bool{}
	for i, it := range d.Items {
		if i > 0 && d.Items[i-1].Key >= it.Key {
			return bad("the items are not strictly ascending")
		}
		if it.Class.Rank() > len(change.Classes) {
			return bad("item %s has the unknown class %q", it.Key, it.Class)
		}
		keys[it.Key] = true
	}
	for _, e := range d.Edges {
		if !keys[e.Before] || !keys[e.After] || e.Before == e.After {
			return bad("an edge from %q to %q, which are not two items", e.Before, e.After)
		}
	}
	return nil
}

func (e Evidence) valid(number int) error {
	switch {
	case e.ID != fmt.Sprintf("e%d", number):
		return bad("evidence %d is called %q", number, e.ID)
	case !slices.Contains(channels, e.Channel):
		return bad("%s: there is no channel %q", e.ID, e.Channel)
	case rank(e.Authority) == 0:
		return bad("%s: there is no authority %q", e.ID, e.Authority)
	case !e.Digest.Valid():
		return bad("%s names no bytes of its source", e.ID)
	case e.Channel == Untrusted && len(e.Facts) > 0:
		return bad("%s is untrusted text, which carries no fact", e.ID)
	case e.Channel != Untrusted && e.Text != textOf(e.Facts):
		return bad("%s: the text is not what its facts say", e.ID)
	}
	for _, f := range e.Facts {
		if !slices.Contains(Kinds, f.Kind) {
			return bad("%s: there is no kind of fact %q", e.ID, f.Kind)
		}
	}
	return nil
}

// add appends a piece, with the next number and the text of its facts. A fact
// that a source wrote prose into is left out, and so is a piece that says nothing.
func (d *Dossier) add(e Evidence) {
	e.Facts = slices.DeleteFunc(e.Facts, func(f Fact) bool { return !plain(f) })
	if e.Channel != Untrusted {
		e.Text = textOf(e.Facts)
	}
	if e.Text == "" {
		return
	}
	if e.Facts == nil {
		e.Facts = []Fact{}
	}
	e.ID = fmt.Sprintf("e%d", len(d.Evidence)+1)
	d.Evidence = append(d.Evidence, e)
}
