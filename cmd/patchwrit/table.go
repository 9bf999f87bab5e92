package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"
)

// clean shows every character without a shape of its own (controls, escapes,
// bidi overrides, zero widths) as its escape: names come from agents and
// servers, and no terminal may take one for a command.
func clean(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}

// cleanLines cleans a text of several lines.
func cleanLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// addFormatFlag adds -o for what lists and shows.
func addFormatFlag(cmd *cobra.Command) { cmd.Flags().StringP("output", "o", "table", "table or json") }

// rows is a table for people; every cell is cleaned.
type rows struct {
	head  []string
	cells [][]string
}

func (r *rows) add(cells ...string) { r.cells = append(r.cells, cells) }

func (r *rows) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, line := range append([][]string{r.head}, r.cells...) {
		for i, cell := range line {
			if line[i] = clean(cell); line[i] == "" {
				line[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(line, "\t"))
	}
	return t.Flush()
}

// pairs is one thing for people, a name and a value on each line.
type pairs struct{ lines [][2]string }

func (p *pairs) add(name, format string, args ...any) {
	p.lines = append(p.lines, [2]string{name, fmt.Sprintf(format, args...)})
}

func (p *pairs) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, l := range p.lines {
		fmt.Fprintf(t, "%s\t%s\n", l[0], clean(l[1]))
	}
	return t.Flush()
}

// tabular is a table or a list of pairs.
type tabular interface{ write(io.Writer) error }

// line is a text for people.
type line string

func (l line) write(w io.Writer) error { return say(w, "%s", string(l)) }

// present writes v as JSON, or its table.
func present(cmd *cobra.Command, v any, t tabular) error {
	format, err := output(cmd, "table", "json")
	if err != nil {
		return err
	}
	if format == "json" {
		return printJSON(cmd.OutOrStdout(), v)
	}
	return t.write(cmd.OutOrStdout())
}

// printJSON writes indented JSON in ASCII: what is not stands as \uXXXX.
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	out := make([]byte, 0, b.Len())
	for _, r := range b.String() {
		if r < 0x7f {
			out = append(out, byte(r))
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			out = fmt.Appendf(out, `\u%04x`, u)
		}
	}
	_, err := w.Write(out)
	return err
}

// say writes one clean line.
func say(w io.Writer, format string, args ...any) error {
	_, err := fmt.Fprintln(w, clean(fmt.Sprintf(format, args...)))
	return err
}

// tell writes one clean line to the standard error, as this program.
func tell(cmd *cobra.Command, format string, args ...any) {
	say(cmd.ErrOrStderr(), "patchwrit: "+format, args...)
}

// when is a time for people, "-" for none.
func when(unix int64) string {
	if unix == 0 {
		return "-"
	}
	return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05Z")
}

// some joins a few of many: "a, b and 3 more".
func some(all []string) string {
	const few = 4
	if len(all) <= few {
		return strings.Join(all, ", ")
	}
	return strings.Join(all[:few], ", ") + " and " + strconv.Itoa(len(all)-few) + " more"
}
