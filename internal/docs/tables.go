package docs

import (
	"time"

	"github.com/patchwrit/patchwrit/canon"
)

func at(unix int64) time.Time { return time.Unix(unix, 0) }

// canonFile says what is canonical. The documents of the other files are
// canonical too; here is one of each shape, and one of each fault.
func canonFile() Canon {
	f := Canon{About: "Canonical documents with their digest in a domain and their plain SHA-256; documents that must be refused; texts and how they stand in a note field."}
	for _, g := range [][3]string{
		{"empty object", "patchwrit/plan/v1", `{}`}, {"empty array", "patchwrit/plan/v1", `[]`}, {"the same bytes in another domain", "patchwrit/approve/v1", `{}`},
		{"empty string", "patchwrit/plan/v1", `""`}, {"zero", "patchwrit/plan/v1", `0`}, {"the largest integer", "patchwrit/plan/v1", `9007199254740991`},
		{"booleans", "patchwrit/plan/v1", `[true,false]`}, {"both escapes", "patchwrit/plan/v1", `"\"\\"`}, {"what browsers would escape", "patchwrit/plan/v1", `"</script>&'"`},
		{"keys in order of their bytes", "patchwrit/plan/v1", `{"0":0,"_":1,"a":2,"a0":3,"a_b":4,"aa":5,"b":6}`},
		{"nested", "patchwrit/plan/v1", `{"list":[{"deep":[[]]},{}],"name":"a b~"}`},
	} {
		b := []byte(g[2])
		f.Good = append(f.Good, CanonGood{Name: g[0], Domain: g[1], Bytes: g[2], Sum: canon.Sum(g[1], b), SHA256: canon.SumFile(b)})
	}
	for _, b := range [][2]string{
		{"nothing", ``}, {"white space", `{"a": 1}`}, {"a newline behind", "{}\n"}, {"two documents", `{}{}`}, {"keys out of order", `{"b":1,"a":2}`}, {"a key twice", `{"a":1,"a":1}`},
		{"an upper-case key", `{"A":1}`}, {"a key with a hyphen", `{"a-b":1}`}, {"null", `{"a":null}`}, {"a sign", `-1`}, {"minus zero", `-0`}, {"a fraction", `1.0`}, {"an exponent", `1e3`},
		{"a leading zero", `01`}, {"an integer too large", `9007199254740992`}, {"a needless escape", `"\u0061"`}, {"an escaped slash", `"\/"`}, {"an escaped newline", `"\n"`}, {"a raw newline", "\"\n\""},
		{"DEL", "\"\x7f\""}, {"UTF-8", `"é"`}, {"a comma too many", `[1,]`}, {"an open string", `"a`}, {"an open object", `{"a":1`}, {"a byte order mark", "\ufeff{}"},
		{"nested too deep", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"},
	} {
		f.Bad = append(f.Bad, CanonBad{b[0], b[1]})
	}
	for _, text := range []string{"", "plain text", `a "quote"`, `a \ backslash`, "tab\tand\nnewline", "bell\a and DEL\x7f", "naïve – 日本語", "a flag 🏴"} {
		f.Notes = append(f.Notes, EscapedNote{text, canon.NoteOf(text)})
	}
	return f
}

// versionsFile holds pairs of deb-version(7) and of what Debian does with it.
func versionsFile() Versions {
	f := Versions{About: "Debian versions: order is -1, 0 or 1 as a is older than, equal to or newer than b. bad: no version at all."}
	f.Pairs = []Ordered{
		{"1~~", "1~~a", -1}, {"1~~a", "1~", -1}, {"1~", "1", -1}, {"1", "1a", -1}, {"1a", "1+", -1}, {"1Z", "1a", -1}, {"1.9", "1.10", -1}, {"1.0", "1.00", 0},
		{"1", "1-0", 0}, {"0:1", "1", 0}, {"9", "1:1", -1}, {"2:0", "10:0", -1}, {"1-2-1", "1-10-1", -1}, {"1.0-1~deb12u1", "1.0-1", -1}, {"1.2-9", "1.2.1-1", -1},
		{"2.36-9+deb12u9", "2.36-9+deb12u10", -1}, {"1.22.1-9+b1", "1.22.1-9.1", -1}, {"3.0.0~rc1-1", "3.0.0-1", -1}, {"1:2.3-4~bpo12+1", "1:2.3-4", -1},
		{"22.01+really26.01+dfsg-0+deb12u1", "22.01+really26.02+dfsg-0+deb12u1", -1}, {"18446744073709551616", "18446744073709551617", -1},
		{from, to, -1}, {to, from, 1}, {to, to, 0}, {"1-1", "1", 1},
	}
	for _, v := range []string{"", "a", ":1", "1:", "x:1", "1-", "-1", "1 2", "1_2", "1\n", "é", "2147483648:1"} {
		f.Bad = append(f.Bad, BadString{v})
	}
	return f
}
