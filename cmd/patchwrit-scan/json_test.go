package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/match"
)

// plain is what encoding/json writes.
func plain(t interface{ Fatal(...any) }, v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// fill sets every field, also those that are still to come.
func fill(v reflect.Value, word func() string, many func() int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(word())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), word, many)
		}
	case reflect.Slice:
		n := many()
		if n < 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), word, many)
		}
	default:
		panic("a field of a kind that the encoder does not know: " + v.Type().String())
	}
}

func TestAFindingIsWrittenAsEncodingJSONDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.OneOf(rapid.StringMatching(`[ -~]{0,12}`), rapid.String(), rapid.SampledFrom([]string{"", "\u2028", "<&>", "\xff", "\"", `\`, "\x7f", "é"}))
		var f match.Finding
		fill(reflect.ValueOf(&f).Elem(), func() string { return words.Draw(t, "word") }, func() int { return rapid.IntRange(-1, 2).Draw(t, "many") })
		whole := struct {
			match.Finding
			Runs string `json:"runs,omitempty"`
		}{f, words.Draw(t, "runs")}
		if got, want := string(finding(nil, &f, whole.Runs)), plain(t, whole); got != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}
