// Package explain has the words for every refusal: title, why, and what to do
// next, from the one catalogue.
//
// The parties are people at a terminal, on a page or with a document. It
// decides nothing; an unknown code is explained as unknown.
package explain

import (
	"errors"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/refusal"
)

// Entry is one line of the catalogue.
type Entry struct {
	Code  refusal.Code
	Title string // what happened, in a few words
	Text  string // why it is refused, one or two sentences
	Next  string // what a person does now
}

// Of returns the catalogue's entry; an unknown code gives an entry that says so.
func Of(c refusal.Code) Entry {
	if e, ok := find(c); ok {
		return e
	}
	return Entry{Code: c, Title: "refused", Text: "This code is not in the catalogue of this version.", Next: "Look it up in a newer version's documentation."}
}

// Known reports whether the catalogue has the code.
func Known(c refusal.Code) bool {
	_, ok := find(c)
	return ok
}

// All returns the catalogue in its order.
func All() []Entry { return slices.Collect(entries) }

func find(c refusal.Code) (Entry, bool) {
	for e := range entries {
		if e.Code == c {
			return e, true
		}
	}
	return Entry{}, false
}

// entries reads the catalogue, which few runs of a program need: blocks parted by
// blank lines, each "CODE title", then "why: …", then "next: …". Lines that begin
// with # are for its editors.
func entries(yield func(Entry) bool) {
	for block := range strings.SplitSeq(refusal.Catalogue, "\n\n") {
		var e Entry
		for line := range strings.Lines(block) {
			line = strings.TrimSpace(line)
			key, rest, _ := strings.Cut(line, " ")
			switch {
			case strings.HasPrefix(line, "#"), line == "":
			case key == "why:":
				e.Text = rest
			case key == "next:":
				e.Next = rest
			default:
				e.Code, e.Title = refusal.Code(key), rest
			}
		}
		if e.Code != "" && !yield(e) {
			return
		}
	}
}

// Error renders an error for a terminal: what happened, why, and what to do
// next, each on its own line. The innermost refusals follow as "because" lines.
// Any other error is returned as its text.
func Error(err error) string {
	var r *refusal.Refusal
	if !errors.As(err, &r) {
		return err.Error()
	}
	var b strings.Builder
	b.WriteString("refused " + string(r.Code) + ": " + Of(r.Code).Title + "\n")
	if r.Detail != "" {
		b.WriteString("  seen: " + r.Detail + "\n")
	}
	b.WriteString("  why:  " + Of(r.Code).Text + "\n")
	next := Of(r.Code).Next
	for inner := r.Cause; inner != nil; {
		var deeper *refusal.Refusal
		if !errors.As(inner, &deeper) {
			break
		}
		e := Of(deeper.Code)
		b.WriteString("  because " + string(e.Code) + ": " + e.Title + ". " + e.Text + "\n")
		next, inner = e.Next, deeper.Cause
	}
	b.WriteString("  next: " + next)
	return b.String()
}
