package strictjson

import (
	"encoding/json"
	"testing"
)

// The grammar of what is skipped is exactly JSON's.
func FuzzSkipIsJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e-3,"\u00e9",null,true]}`, `[[],{}]`, ` 0 `, `"\/"`, `-0`, `01`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := Of(raw)
		err := d.Whole(d.Skip)
		if s, ok := err.(*Syntax); ok && (s.Reason == "nested more than 64 deep" || s.Reason == "the text is not UTF-8") {
			return
		}
		if (err == nil) != json.Valid(raw) {
			t.Fatalf("we say %v, the standard library %v", err, json.Valid(raw))
		}
	})
}
