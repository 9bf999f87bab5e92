package mcp

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// FuzzLines: whatever comes, the reader hands on whole messages of JSON-RPC alone,
// and each other line is answered by one line of JSON.
func FuzzLines(f *testing.F) {
	for _, s := range []string{"", "\n\n", "{}", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "[]\n{\n", `{"jsonrpc":"2.0","method":"a","params":{"b":"\"}"}}` + "\n" + `"x`, strings.Repeat("[", 50)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		g := guarded(bytes.NewReader(in), &lines{w: &out})
		var passed bytes.Buffer
		_, err := passed.ReadFrom(g)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(passed.Bytes()) {
			if code, why := unfit(bytes.TrimSpace(line)); code != 0 || len(line) < 2 {
				t.Fatalf("%q is let through: %s", line, why)
			}
		}
		for line := range bytes.Lines(out.Bytes()) {
			if !json.Valid(line) || line[len(line)-1] != '\n' {
				t.Fatalf("%q", line)
			}
		}
	})
}
