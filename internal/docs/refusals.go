package docs

import (
	"fmt"
	"strings"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/refusal/explain"
)

// Refusals is docs/refusals.md: the catalogue as tables, one for each group, in
// the catalogue's order.
func Refusals() []byte {
	groups, order := map[string][]explain.Entry{}, []string{}
	for _, e := range explain.All() {
		g := group(e.Code)
		if len(groups[g]) == 0 {
			order = append(order, g)
		}
		groups[g] = append(groups[g], e)
	}
	var b strings.Builder
	b.WriteString("# Refusals\n\nEvery no of Patchwrit has a code. Codes never change their meaning, and a retired code is never used again.\n" +
		"On a terminal `patchwrit refusal CODE` says the same.\n\n" +
		"Made from `refusal/catalogue.txt` by `go run ./internal/docs/gen`; change it there.\n\n| group | codes |\n|---|---|\n")
	for _, g := range order {
		fmt.Fprintf(&b, "| [%s](#%s) | %d |\n", g, strings.ToLower(g), len(groups[g]))
	}
	for _, g := range order {
		fmt.Fprintf(&b, "\n## %s\n\n| code | what happened | why | what to do next |\n|---|---|---|---|\n", g)
		for _, e := range groups[g] {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", e.Code, cell(e.Title), cell(e.Text), cell(e.Next))
		}
	}
	return []byte(b.String())
}

// group is the code's first two words: "PW-WRIT".
func group(c refusal.Code) string {
	words := strings.SplitN(string(c), "-", 3)
	return strings.Join(words[:min(2, len(words))], "-")
}

// cell is text inside a table of Markdown.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;", "*", `\*`, "_", `\_`).Replace(text)
}
