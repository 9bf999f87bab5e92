package docs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"github.com/patchwrit/patchwrit/redteam"
)

// Marks of the table of attacks in THREATS.md.
const (
	attacksBegin = "<!-- attacks: made from redteam.Table by go run ./internal/docs/gen -->\n"
	attacksEnd   = "<!-- end of attacks -->"
)

// WithAttacks puts the table of attacks into THREATS.md, between its two marks.
func WithAttacks(text []byte) ([]byte, error) {
	head, rest, ok := bytes.Cut(text, []byte(attacksBegin))
	_, tail, ok2 := bytes.Cut(rest, []byte(attacksEnd))
	if !ok || !ok2 {
		return nil, errors.New("THREATS.md has lost the marks of its table of attacks")
	}
	var b bytes.Buffer
	b.Write(head)
	b.WriteString(attacksBegin + "\n| attack | where | meets | what is done | the same step, unmodified |\n|---|---|---|---|---|\n")
	for _, r := range redteam.Table() {
		meets := cmp.Or(r.Effect, "no effect")
		if r.Code != "" {
			meets = "`" + string(r.Code) + "`"
		}
		if r.Says != "" {
			meets += " (" + cell(r.Says) + ")"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", r.ID, r.Where, meets, cell(r.What), cell(r.Control))
	}
	b.WriteString("\n" + attacksEnd)
	b.Write(tail)
	return b.Bytes(), nil
}
