package refusal

import (
	"errors"
	"strings"
)

// Explain renders an error for a terminal: what happened, why, and what to do
// next, each on its own line. The innermost refusals follow as "because" lines.
// Any other error is returned as its text.
func Explain(err error) string {
	var r *Refusal
	if !errors.As(err, &r) {
		return err.Error()
	}
	var b strings.Builder
	b.WriteString("refused " + string(r.Code) + ": " + r.Code.Entry().Title + "\n")
	if r.Detail != "" {
		b.WriteString("  seen: " + r.Detail + "\n")
	}
	b.WriteString("  why:  " + r.Code.Entry().Text + "\n")
	next := r.Code.Entry().Next
	for inner := r.Cause; inner != nil; {
		var deeper *Refusal
		if !errors.As(inner, &deeper) {
			break
		}
		e := deeper.Code.Entry()
		b.WriteString("  because " + string(e.Code) + ": " + e.Title + ". " + e.Text + "\n")
		next, inner = e.Next, deeper.Cause
	}
	b.WriteString("  next: " + next)
	return b.String()
}
