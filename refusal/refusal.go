// Package refusal is the catalogue of everything Patchwrit refuses: one stable
// code, title, sentence and next step each, shared by the command line, the
// documentation and the console.
//
// A pure function that says no returns a *Refusal (as an error); the edge shows
// it. Codes never change their meaning; a retired code is never used again.
//
// The package decides nothing.
package refusal

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
)

// Code names one reason to refuse, for example "PW-WRIT-EXPIRED".
type Code string

// Refusal is one no: the code, and what was seen here. It is an error.
type Refusal struct {
	Code   Code
	Detail string // what was seen, for the person who looks into it; printable
	Cause  error  // what made it so, or nil
}

// Error gives "CODE: title (detail)".
func (r *Refusal) Error() string {
	s := string(r.Code) + ": " + r.Code.Entry().Title
	if r.Detail != "" {
		s += " (" + r.Detail + ")"
	}
	return s
}

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// New makes a refusal. An error among the arguments becomes its cause.
func New(code Code, format string, args ...any) error {
	r := &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if err, ok := a.(error); ok {
			r.Cause = err
		}
	}
	return r
}

// CodeOf returns the code of the outermost refusal in err's chain, or "" when
// err is no refusal.
func CodeOf(err error) Code {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}

// Entry is one line of the catalogue.
type Entry struct {
	Code  Code
	Title string // what happened, in a few words
	Text  string // why it is refused, one or two sentences
	Next  string // what a person does now
}

//go:embed catalogue.txt
var catalogue string

var entries, order = read(catalogue)

// Entry returns the catalogue's entry; an unknown code gives an entry that
// says so.
func (c Code) Entry() Entry {
	if e, ok := entries[c]; ok {
		return e
	}
	return Entry{Code: c, Title: "refused", Text: "This code is not in the catalogue of this version.", Next: "Look it up in a newer version's documentation."}
}

// All returns the catalogue in its order.
func All() []Entry {
	all := make([]Entry, 0, len(order))
	for _, c := range order {
		all = append(all, entries[c])
	}
	return all
}

// read parses the catalogue: blocks parted by blank lines, each "CODE title",
// then "why: …", then "next: …". Lines that begin with # are for its editors.
func read(text string) (map[Code]Entry, []Code) {
	table, order := map[Code]Entry{}, []Code{}
	for block := range strings.SplitSeq(text, "\n\n") {
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
				e.Code, e.Title = Code(key), rest
			}
		}
		if e.Code != "" {
			table[e.Code] = e
			order = append(order, e.Code)
		}
	}
	return table, order
}
