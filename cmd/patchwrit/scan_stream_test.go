package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
)

// What is written an element at a time is byte for byte what the encoder writes
// of the whole.
func TestAStreamedListIsTheSameBytes(t *testing.T) {
	type element struct {
		Text string            `json:"text"`
		Tags map[string]string `json:"tags,omitempty"`
		On   []int             `json:"on"`
	}
	type within struct {
		Title string    `json:"title"` // looks like the key
		List  []element `json:"list"`
		After []element `json:"after"`
	}
	type document struct {
		List  string   `json:"name"`
		Inner []within `json:"inner"`
	}
	all := []element{{"a<b>&\"list\": []", map[string]string{"x": "y"}, []int{1, 2}}, {"", nil, []int{}}, {"\n  \"list\": []", nil, nil}}
	for _, html := range []bool{true, false} {
		for n := range len(all) + 1 {
			whole := document{"\n      \"list\": []", []within{{"\"list\": []", all[:n], []element{}}}}
			empty := document{whole.List, []within{{whole.Inner[0].Title, []element{}, []element{}}}}
			var want, got bytes.Buffer
			e := json.NewEncoder(&want)
			e.SetEscapeHTML(html)
			e.SetIndent("", "  ")
			if err := e.Encode(whole); err != nil {
				t.Fatal(err)
			}
			if err := streamed(&got, html, empty, "list", 3, slices.Values(all[:n])); err != nil || got.String() != want.String() {
				t.Errorf("%d elements: %v\n%s\nwant\n%s", n, err, &got, &want)
			}
		}
	}
	if err := streamed(&bytes.Buffer{}, false, document{}, "list", 3, slices.Values(all)); err == nil {
		t.Error("a list that is not in the document was written")
	}
}
