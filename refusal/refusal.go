// Package refusal is how Patchwrit says no: one stable code for each reason,
// and what was seen. Catalogue holds the title, sentence and next step of every
// code, shared by the command line, the documentation and the console; room
// refusal/explain reads it.
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
)

// Code names one reason to refuse, for example "PW-WRIT-EXPIRED".
type Code string

// Refusal is one no: the code, and what was seen here. It is an error.
type Refusal struct {
	Code   Code
	Detail string // what was seen, for the person who looks into it; printable
	Cause  error  // what made it so, or nil
}

// Error gives "CODE: detail". Room refusal/explain has the words for people.
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Detail }

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

// Catalogue is catalogue.txt, as its editors write it.
//
//go:embed catalogue.txt
var Catalogue string
