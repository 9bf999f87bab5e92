package match

import "fmt"

// Limits of one search. A bill of materials at its own limits, whose every
// component many records name, has hundreds of millions of answers; full hosts
// have some ten thousand.
const (
	MaxFindings = 1_000_000  // kept: some 2 KB each
	MaxWeighed  = 20_000_000 // pairs of a package's version and a record
)

// Budget is what a search may still do.
type Budget struct{ Findings, Weighings int }

// NewBudget is that of one search.
func NewBudget() Budget { return Budget{MaxFindings, MaxWeighed} }

// Keep takes room for one finding; false when there is none left.
func (b *Budget) Keep() bool { b.Findings--; return !b.Spent() }

// Weigh takes the work of one comparison; false when there is none left.
func (b *Budget) Weigh() bool { b.Weighings--; return !b.Spent() }

// Spent reports that more was asked for than there was. What was found until then
// is a part, and no part is given.
func (b *Budget) Spent() bool { return b.Findings < 0 || b.Weighings < 0 }

// Exceeded is the answer then: about what (a few words) it was.
func Exceeded(what string) Finding {
	return Finding{Aliases: []string{}, State: Unknown, Sources: []Source{}, Reason: Reason{TooMany, fmt.Sprintf(
		"The %s have more than %d findings, or more than %d pairs of a version and a record to compare, so none is given: look at them in parts, or with fewer feeds.", what, MaxFindings, MaxWeighed)}}
}
