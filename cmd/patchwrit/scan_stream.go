package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
)

// streamed writes an indented document whose longest list is empty in it, and that
// list in its place, an element at a time: a scan may have a million findings, and
// the encoder holds what it writes three times over. The list is the first key of
// this name, at this depth. html escapes what HTML would read.
func streamed[T any](w io.Writer, html bool, document any, key string, depth int, list iter.Seq[T]) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	e.SetIndent("", "  ")
	if err := e.Encode(document); err != nil {
		return err
	}
	prefix := string(bytes.Repeat([]byte("  "), depth))
	empty := fmt.Appendf(nil, "\n%s%q: []", prefix, key) // in no text: its quotes would be escaped
	before, after, ok := bytes.Cut(b.Bytes(), empty)
	if !ok {
		return fmt.Errorf("no empty list %q in the document", key)
	}
	out := bufio.NewWriter(w)
	out.Write(before)
	out.Write(empty[:len(empty)-1])
	sep := ""
	var one bytes.Buffer
	e = json.NewEncoder(&one)
	e.SetEscapeHTML(html)
	e.SetIndent(prefix+"  ", "  ")
	for x := range list {
		one.Reset()
		if err := e.Encode(x); err != nil {
			return err
		}
		out.WriteString(sep + "\n" + prefix + "  ")
		out.Write(bytes.TrimSuffix(one.Bytes(), []byte("\n")))
		sep = ","
	}
	if sep != "" {
		out.WriteString("\n" + prefix)
	}
	out.WriteByte(']')
	out.Write(after)
	return out.Flush()
}
