package canon

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type sample struct {
	Name  string   `json:"name"`
	Count int64    `json:"count"`
	Yes   bool     `json:"yes"`
	List  []string `json:"list"`
	Deep  *sample  `json:"deep,omitempty"`
}

func TestEncodeSortsKeysAndKeepsTheSubset(t *testing.T) {
	b, err := Encode(sample{Name: `a"\ <&>`, Count: MaxInt, Yes: true, List: []string{"b", ""}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"count":9007199254740991,"list":["b",""],"name":"a\"\\ <&>","yes":true}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

func TestEncodeRefusesWhatIsOutsideTheSubset(t *testing.T) {
	for name, v := range map[string]any{
		"nil slice":       sample{List: nil},
		"negative":        sample{Count: -1, List: []string{}},
		"too large":       sample{Count: MaxInt + 1, List: []string{}},
		"not ASCII":       sample{Name: "é", List: []string{}},
		"control":         sample{Name: "a\nb", List: []string{}},
		"DEL":             sample{Name: "a\x7fb", List: []string{}},
		"fraction":        map[string]float64{"a": 1.5},
		"exponent":        map[string]float64{"a": 1e30},
		"upper-case key":  map[string]int{"A": 1},
		"key with spaces": map[string]int{"a b": 1},
		"null":            map[string]any{"a": nil},
		"channel":         make(chan int),
	} {
		if b, err := Encode(v); !errors.Is(err, ErrForm) {
			t.Errorf("%s: got %s, %v; want ErrForm", name, b, err)
		}
	}
}

func TestEncodeSaysWhatItCannotWrite(t *testing.T) {
	if _, err := Encode(make(chan int)); !errors.Is(err, ErrForm) || !strings.Contains(err.Error(), "unsupported type") {
		t.Errorf("%v", err)
	}
}

func TestDecodeAcceptsOneSpellingOnly(t *testing.T) {
	good := `{"count":7,"list":["x"],"name":"n","yes":false}`
	var s sample
	if err := Decode([]byte(good), &s); err != nil || s.Count != 7 || s.List[0] != "x" {
		t.Fatalf("the control does not decode: %v", err)
	}
	for name, c := range map[string]struct{ raw, says string }{
		"white space":     {`{"count":7, "list":["x"],"name":"n","yes":false}`, "a string was expected"},
		"trailing":        {good + " ", "other bytes"},
		"two documents":   {good + good, "other bytes"},
		"key order":       {`{"list":["x"],"count":7,"name":"n","yes":false}`, "strictly ascending"},
		"duplicate key":   {`{"count":7,"count":7,"list":["x"],"name":"n","yes":false}`, "strictly ascending"},
		"other case":      {`{"COUNT":7,"list":["x"],"name":"n","yes":false}`, "a key with other characters"},
		"unknown key":     {`{"count":7,"extra":1,"list":["x"],"name":"n","yes":false}`, "unknown field"},
		"missing key":     {`{"count":7,"list":["x"],"name":"n"}`, "a key is missing"},
		"missing list":    {`{"count":7,"name":"n","yes":false}`, "neither object"},
		"no colon":        {`{"count"=7}`, "a colon"},
		"no comma":        {`{"count":7"list":["x"]}`, "a comma or }"},
		"no array comma":  {`{"count":7,"list":["x""y"]}`, "a comma or ]"},
		"bad element":     {`["x",?]`, "neither object"},
		"leading zero":    {`{"count":07,"list":["x"],"name":"n","yes":false}`, "an integer outside"},
		"fraction":        {`{"count":7.0,"list":["x"],"name":"n","yes":false}`, "a comma or }"},
		"exponent":        {`{"count":7e0,"list":["x"],"name":"n","yes":false}`, "a comma or }"},
		"negative zero":   {`{"count":-0,"list":["x"],"name":"n","yes":false}`, "neither object"},
		"rounded":         {`{"count":9007199254740993,"list":["x"],"name":"n","yes":false}`, "an integer outside"},
		"needless escape": {`{"count":7,"list":["x"],"name":"\u006e","yes":false}`, "an escape other"},
		"slash escape":    {`{"count":7,"list":["x"],"name":"\/","yes":false}`, "an escape other"},
		"raw control":     {"{\"count\":7,\"list\":[\"x\"],\"name\":\"\n\",\"yes\":false}", "outside printable ASCII"},
		"UTF-8":           {`{"count":7,"list":["x"],"name":"é","yes":false}`, "outside printable ASCII"},
		"null":            {`{"count":7,"list":null,"name":"n","yes":false}`, "neither object"},
		"wrong type":      {`{"count":"7","list":["x"],"name":"n","yes":false}`, "cannot unmarshal"},
		"empty":           {``, "neither object"},
		"truncated":       {good[:len(good)-1], "a comma or }"},
		"open string":     {`{"count`, "a string without end"},
		"comma":           {`{"count":7,"list":["x",],"name":"n","yes":false}`, "neither object"},
		"too deep":        {strings.Repeat("[", 100) + strings.Repeat("]", 100), "nesting too deep"},
	} {
		if err := Decode([]byte(c.raw), new(sample)); !errors.Is(err, ErrForm) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want ErrForm that says %q", name, err, c.says)
		}
	}
	if err := Check(make([]byte, MaxBytes+1)); !errors.Is(err, ErrForm) || !strings.Contains(err.Error(), "limit") {
		t.Errorf("too large: %v", err)
	}
}

func TestEncodeRefusesAKeyTwice(t *testing.T) {
	p := parser{in: []byte(`{"a":1,"a":2}`), loose: true}
	if _, err := p.value(nil, 0); !errors.Is(err, ErrForm) {
		t.Errorf("loose parser took a key twice: %v", err)
	}
}

func TestDigestsAreLowerHexOf32Bytes(t *testing.T) {
	d := Sum("patchwrit/plan/v1", []byte("x"))
	if !d.Valid() || len(d.Bytes()) != 32 || d == Sum("patchwrit/deny/v1", []byte("x")) || d == SumFile([]byte("x")) {
		t.Errorf("digest %q", d)
	}
	for _, bad := range []Digest{"", d[:63], d + "0", Digest(strings.ToUpper(string(d))), Digest("g" + string(d[1:]))} {
		if bad.Valid() || bad.Bytes() != nil {
			t.Errorf("%q passes for a digest", bad)
		}
	}
	if Digest("ab").Short() != "ab" || len(d.Short()) != 12 {
		t.Error("Short")
	}
}

func TestNoteKeepsEveryText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		n := NoteOf(text)
		if _, err := Encode(map[string]Note{"note": n}); err != nil {
			t.Fatalf("%q does not encode: %v", n, err)
		}
		if got := n.Text(); got != strings.ToValidUTF8(text, "\uFFFD") && got != text {
			t.Fatalf("%q came back as %q", text, got)
		}
	})
	if got := Note(`bad \x`).Text(); got != `bad \x` {
		t.Errorf("a foreign escape is shown as %q", got)
	}
}

func TestEveryByteMatters(t *testing.T) {
	good := MustEncode(sample{Name: "openssl", Count: 12, List: []string{"a", "b"}, Deep: &sample{List: []string{}}})
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			var s sample
			if Decode(bad, &s) == nil && bytes.Equal(MustEncode(s), good) {
				t.Fatalf("byte %d bit %d: other bytes, same value", i, bit)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"count":7,"list":["x"],"name":"n","yes":false}`))
	f.Add([]byte(`[[[{"a":"\\"}]]]`))
	f.Add([]byte(`{"a":9007199254740991}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s sample
		if Decode(b, &s) == nil && !bytes.Equal(MustEncode(s), b) {
			t.Fatalf("%q decodes but encodes to %q", b, MustEncode(s))
		}
		if Check(b) == nil {
			p := parser{in: b}
			out, err := p.value(nil, 0)
			if err != nil || !bytes.Equal(out, b) {
				t.Fatalf("%q is called canonical", b)
			}
		}
	})
}
