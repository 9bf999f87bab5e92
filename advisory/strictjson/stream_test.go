package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// outer reads an object's members as "key=bytes", in order.
func outer(in io.Reader, limit int) (out []string, err error) {
	s := NewStream(in)
	err = s.Object(1000, func(key string) error {
		raw, err := s.Raw(limit)
		if errors.Is(err, ErrTooLong) {
			out = append(out, key+" too long")
			return nil
		}
		if err == nil {
			out = append(out, key+"="+string(raw))
		}
		return err
	})
	if err == nil {
		err = s.End()
	}
	return out, err
}

func TestStreamHandsOnEachValuesBytes(t *testing.T) {
	text := `{ "a" : {"x":"}\"]","y":[1,2]} ,"b":[[]],"c":"\\", "\u0064":-1.5e3,"e":true ,"f":"` + strings.Repeat("long", 50) + `","g":[` + strings.Repeat("1,", 300) + `1],"h":null}` + "\n"
	want := []string{`a={"x":"}\"]","y":[1,2]}`, `b=[[]]`, `c="\\"`, `d=-1.5e3`, `e=true`, "f too long", "g too long", "h=null"}
	for name, in := range map[string]io.Reader{"whole": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text)), "halves": iotest.HalfReader(strings.NewReader(text))} {
		got, err := outer(in, 100)
		if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: %v\n%s", name, err, strings.Join(got, "\n"))
		}
	}
}

func TestStreamRefuses(t *testing.T) {
	many := new(strings.Builder)
	for i := range 1001 {
		fmt.Fprintf(many, `"%d":1,`, i)
	}
	some := new(strings.Builder)
	for i := range 40 {
		fmt.Fprintf(some, `"%d":1,`, i)
	}
	for text, want := range map[string]string{
		`{` + some.String() + `"39":1}`: "stands twice",
		``:                              "an object was expected",
		`[]`:                            "an object was expected",
		`{`:                             "the text ends here",
		`{"a"`:                          "a colon was expected",
		`{"a":`:                         "a value was expected",
		`{"a":}`:                        "a value was expected",
		`{"a":1`:                        "the text ends here",
		`{"a":{"b":1`:                   "the text ends here",
		`{"a":"\`:                       "the text ends here",
		`{"a":1 "b":2}`:                 "a comma or",
		`{"a":1,}`:                      "a string was expected",
		`{"a":1,"a":2}`:                 "stands twice",
		`{"a":1,"\u0061":2}`:            "stands twice",
		`{"a":1}{}`:                     "something follows",
		"{\"a\":1}\x00":                 "goes on with a byte 0",
		"{\"\xff\":1}":                  "not UTF-8",
		`{` + many.String() + `"":1}`:   "more than 1000 keys",
		`{"` + strings.Repeat("k", maxStreamKey) + `":1}`: "a key without end",
		`{"a":` + strings.Repeat("[", 70):                 "nested more than 64",
	} {
		_, err := outer(strings.NewReader(text), 100)
		var s *Syntax
		if !errors.As(err, &s) || !strings.Contains(s.Reason, want) || s.Offset > int64(len(text)) {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
	}
	s := NewStream(strings.NewReader(`[1,2,3]`))
	if err := s.Array(2, func() error { return s.Skip(10) }); err == nil || !strings.Contains(err.Error(), "more than 2 elements") {
		t.Errorf("three elements of two: %v", err)
	}
	s = NewStream(strings.NewReader(`[1,01]`))
	if err := s.Array(2, func() error { return s.Skip(10) }); err == nil || !strings.Contains(err.Error(), "not a number") {
		t.Errorf("what is skipped is not checked: %v", err)
	}
	broken := io.MultiReader(strings.NewReader(`{"a":1`), iotest.ErrReader(errors.New("disk")))
	if _, err := outer(broken, 100); err == nil {
		t.Error("a disk that fails went unnoticed")
	}
}

// Whatever bytes come: what the stream takes is what the standard library
// takes, with the same values, however the bytes arrive.
func FuzzStream(f *testing.F) {
	for _, s := range []string{`{"a":{"b":[1,"\"}"]},"c":-0.5}`, `{}`, `{"a":1,"b":tru}`, `{"x":"\\"}`, `{"a":[}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := outer(bytes.NewReader(raw), len(raw)+1)
		slow, err2 := outer(iotest.OneByteReader(bytes.NewReader(raw)), len(raw)+1)
		if strings.Join(got, "\n") != strings.Join(slow, "\n") || (err == nil) != (err2 == nil) {
			t.Fatalf("%q %v, slowly %q %v", got, err, slow, err2)
		}
		for _, kv := range got { // what a Doc would refuse is refused by the record's reader
			_, v, _ := strings.Cut(kv, "=")
			if d := Of([]byte(v)); d.Whole(d.Skip) != nil {
				return
			}
		}
		var std map[string]json.RawMessage
		if stdErr := json.Unmarshal(raw, &std); err == nil && (stdErr != nil || len(std) != len(got)) {
			t.Fatalf("taken as %q, but elsewhere %d keys: %v", got, len(std), stdErr)
		}
	})
}
