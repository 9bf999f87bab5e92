package cve

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/shareddata"
)

// text is a record as CISA's repository has it. Tests put other words in.
const text = `{"dataType":"CVE_RECORD","containers":{"adp":[
{"title":"CVE Program Container","references":[{"url":"https://example.invalid"}],"providerMetadata":{"orgId":"af854a3a-2127-422b-91ae-364da2661108","shortName":"CVE","dateUpdated":"2024-08-01T16:27:57.559Z"}},
{"title":"CISA ADP Vulnrichment","metrics":[
 {"cvssV3_1":{"version":"3.1","baseScore":8.4,"vectorString":"CVSS:3.1/AV:L/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H","scope":"UNCHANGED"}},
 {"other":{"type":"ssvc","content":{"id":"CVE-2026-0001","role":"CISA Coordinator","options":[{"Exploitation":"PoC"},{"Automatable":"no"},{"Technical Impact":"Total"}],"version":"2.0.3","timestamp":"2024-08-01T20:30:39.205373Z"}}},
 {"other":{"content":{"dateAdded":"2022-03-25","reference":"r"},"type":"kev"}}],
 "providerMetadata":{"orgId":"134c704f-9b21-4f2e-91b3-4a467353bcc0","shortName":"CISA-ADP","dateUpdated":"2024-08-01T20:34:01.143Z"}}],
"cna":{"providerMetadata":{"orgId":"8254265b-2729-46b6-b9e3-3dfca2d5bfca","shortName":"ex\u00e4mple","dateUpdated":"2005-11-02T10:00:00"},
 "metrics":[{"format":"CVSS","cvssV4_0":{"version":"4.0","baseScore":10,"vectorString":"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"},
 "cvssV2_0":{"version":"2.0","baseScore":9.3,"vectorString":"AV:N/AC:M/Au:N/C:C/I:C/A:C"}}]}},
"cveMetadata":{"cveId":"CVE-2026-0001","state":"PUBLISHED","dateUpdated":"2024-08-01T20:39:56.806Z","datePublished":"1999-09-29T04:00:00"},"dataVersion":"5.1"}`

func swap(t testing.TB, pairs ...string) string {
	t.Helper()
	s := text
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(s, pairs[i]) {
			t.Fatalf("the record has no %s", pairs[i])
		}
		s = strings.Replace(s, pairs[i], pairs[i+1], 1)
	}
	return s
}

func TestEveryWordKeepsItsSpeakerAndTime(t *testing.T) {
	r, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	const id, ssvc, adp, cna = "CVE-2026-0001", 1722544239, 1722544441, 1130925600
	want := Record{CVE: id, Status: "PUBLISHED", Published: 938577600, Modified: 1722544796, Raw: canon.SumFile([]byte(text)),
		Claims: []Claim{{id, Exploitation, "poc", CISA, ADP, ssvc, ""}, {id, Automatable, "no", CISA, ADP, ssvc, ""}, {id, Impact, "total", CISA, ADP, ssvc, ""}},
		Scores: []Score{{id, "3.1", "CVSS:3.1/AV:L/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 84, CISA, ADP, adp, ""},
			{id, "4.0", "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 100, string(canon.NoteOf("exämple")), CNA, cna, ""},
			{id, "2.0", "AV:N/AC:M/Au:N/C:C/I:C/A:C", 93, string(canon.NoteOf("exämple")), CNA, cna, ""}}}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("%+v\nwant\n%+v", r, want)
	}
	if r.Unscored() || !(Record{}).Unscored() {
		t.Error("unscored is a record without scores")
	}
}

func TestTimesThatAreMissing(t *testing.T) {
	r, err := Parse([]byte(swap(t, `,"timestamp":"2024-08-01T20:30:39.205373Z"`, "", `"dateUpdated":"2024-08-01T20:39:56.806Z",`, "")))
	if err != nil {
		t.Fatal(err)
	}
	if r.Claims[0].At != 1722544441 || r.Modified != 1722544441 {
		t.Errorf("%+v: the container's time should stand in", r)
	}
}

func TestRejected(t *testing.T) {
	const plain = `{"dataType":"CVE_RECORD","dataVersion":"5.0","containers":{"cna":{"rejectedReasons":[{"lang":"en","value":"x"}],"providerMetadata":{"orgId":"a","dateUpdated":"2024-01-02T00:00:00Z"}}},"cveMetadata":{"cveId":"CVE-2026-0002","state":"REJECTED"DATE}}`
	for date, want := range map[string]int64{`,"dateRejected":"2024-01-01T00:00:00Z"`: 1704067200, "": 1704153600} {
		r, err := Parse([]byte(strings.Replace(plain, "DATE", date, 1)))
		if err != nil || !r.Rejected || r.Withdrawn != want || r.Status != "REJECTED" {
			t.Errorf("%q: %+v %v", date, r, err)
		}
	}
	r, err := Parse([]byte(swap(t, `"state":"PUBLISHED"`, `"state":"PUBLISHED","dateRejected":"2024-01-01T00:00:00Z"`)))
	if err != nil || r.Rejected || r.Withdrawn != 0 {
		t.Errorf("published again: %+v %v", r, err)
	}
}

func TestBrokenRecordsAreLeftOut(t *testing.T) {
	for name, c := range map[string]struct{ raw, reason string }{
		"another type":            {swap(t, "CVE_RECORD", "CVE"), "data type"},
		"another format":          {swap(t, `"dataVersion":"5.1"`, `"dataVersion":"6.0"`), "only 5.x"},
		"no id":                   {swap(t, `"cveId":"CVE-2026-0001",`, ""), "no cveId"},
		"no CVE":                  {swap(t, `"cveId":"CVE-2026-0001"`, `"cveId":"CVE-26-1"`), "no CVE id"},
		"no state":                {swap(t, `"state":"PUBLISHED",`, ""), "state"},
		"another state":           {swap(t, "PUBLISHED", "RESERVED"), "state"},
		"points of another":       {swap(t, `"id":"CVE-2026-0001"`, `"id":"CVE-2026-0003"`), "those of"},
		"an unknown value":        {swap(t, `"Automatable":"no"`, `"Automatable":"maybe"`), "not known"},
		"an unknown point":        {swap(t, `"Automatable":"no"`, `"Auto":"no"`), "not known"},
		"no options":              {swap(t, `"options":[{"Exploitation":"PoC"},{"Automatable":"no"},{"Technical Impact":"Total"}]`, `"options":[]`), "without options"},
		"nobody speaks":           {swap(t, `"orgId":"134c704f-9b21-4f2e-91b3-4a467353bcc0",`, ""), "who speaks"},
		"a score beyond":          {swap(t, `"baseScore":8.4`, `"baseScore":10.1`), "base score"},
		"a score below":           {swap(t, `"baseScore":8.4`, `"baseScore":-1`), "base score"},
		"a score of two decimals": {swap(t, `"baseScore":8.4`, `"baseScore":8.45`), "base score"},
		"a score in words":        {swap(t, `"baseScore":8.4`, `"baseScore":"8.4"`), "base score"},
		"no score":                {swap(t, `"baseScore":8.4,`, ""), "without a base score"},
		"no vector":               {swap(t, `"vectorString":"CVSS:3.1/AV:L/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",`, ""), "no vector"},
		"no vector 2":             {swap(t, `,"vectorString":"AV:N/AC:M/Au:N/C:C/I:C/A:C"`, ""), "no vector"},
		"another's vector":        {swap(t, `"CVSS:3.1/AV`, `"CVSS:3.0/AV`), "no vector"},
		"another version":         {swap(t, `"version":"3.1"`, `"version":"5.0"`), "version"},
		"a time that is none":     {swap(t, `"dateUpdated":"2024-08-01T20:39:56.806Z"`, `"dateUpdated":"yesterday"`), "no time"},
		"a time before all":       {swap(t, `"dateUpdated":"2024-08-01T20:39:56.806Z"`, `"dateUpdated":"1960-08-01T20:39:56Z"`), "no time"},
		"no score at all":         {swap(t, `"baseScore":8.4`, `"baseScore":tru`), "a value was expected"},
		"a value in numbers":      {swap(t, `"Automatable":"no"`, `"Automatable":1`), "a string was expected"},
		"a time in numbers":       {swap(t, `"dateUpdated":"2024-08-01T20:39:56.806Z"`, `"dateUpdated":1722544796`), "a string was expected"},
		"a key twice":             {swap(t, `"dataType"`, `"dataType":"CVE_RECORD","dataType"`), "twice"},
		"cut":                     {text[:len(text)-1], "comma"},
		"something after it":      {text + "{}", "follows"},
		"too deep":                {swap(t, `"references":[`, `"x":`+strings.Repeat("[", 80)+strings.Repeat("]", 80)+`,"references":[`), "deep"},
		"too many containers":     {swap(t, `"adp":[`, `"adp":[`+strings.Repeat("{},", maxContainers)), "more than 64"},
		"too many metrics":        {swap(t, `"metrics":[`, `"metrics":[`+strings.Repeat("{},", maxMetrics)), "more than 256"},
		"too many options":        {swap(t, `"options":[`, `"options":[`+strings.Repeat("{},", maxOptions)), "more than 32"},
		"too long":                {swap(t, `"state":"PUBLISHED"`, `"state":"`+strings.Repeat("P", maxWord+1)+`"`), "limit is 512"},
		"too large":               {text + strings.Repeat(" ", MaxRecord), "the limit is 8388608"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Parse([]byte(c.raw))
			m := (*Malformed)(nil)
			if !errors.As(err, &m) || !strings.Contains(m.Reason, c.reason) || r.CVE != "" {
				t.Fatalf("%v %+v", err, r)
			}
			if name == "a time that is none" && (m.CVE != "CVE-2026-0001" || m.Offset < 100 || !strings.HasPrefix(m.Error(), "byte ")) {
				t.Errorf("%+v", m)
			}
		})
	}
	if _, err := Parse([]byte(text + strings.Repeat(" ", MaxRecord-len(text)))); err != nil {
		t.Error("at the limit:", err)
	}
}

// Nobody else can call itself CISA.
func TestSourceOf(t *testing.T) {
	for want, c := range map[string][2]string{CISA: {CISAOrg, "x"}, "redhat": {"id", "redhat"}, "id": {"id", "cisa-ADP"}, "id2": {"id2", ""}} {
		if got := SourceOf(c[0], c[1]); got != want {
			t.Errorf("%v: %s, want %s", c, got, want)
		}
	}
}

func book(kind string, list ...Record) Book {
	return Book{Snapshot: advisory.Snapshot{Name: kind, Kind: kind}, Records: list}
}

func claim(value, source, via string, at int64) Claim {
	role := ADP
	if source == "cna" {
		role = CNA
	}
	return Claim{CVE: "CVE-2026-0001", Point: Automatable, Value: value, Source: source, Role: role, At: at, Via: via}
}

func TestWhoCounts(t *testing.T) {
	for name, c := range map[string]struct {
		claims   []Claim
		value    string
		said     int
		disputed bool
	}{
		"nobody":                            {nil, "", 0, false},
		"one":                               {[]Claim{claim("no", CISA, "", 1)}, "no", 1, false},
		"the newer of one speaker":          {[]Claim{claim("yes", CISA, "", 1), claim("no", CISA, "", 2)}, "no", 1, false},
		"the stricter of one time":          {[]Claim{claim("yes", CISA, "", 2), claim("no", CISA, "", 2)}, "yes", 1, false},
		"the stricter of two speakers":      {[]Claim{claim("yes", "other", "", 1), claim("no", CISA, "", 2)}, "yes", 2, true},
		"what is passed on and is older":    {[]Claim{claim("yes", CISA, "nvd", 1), claim("no", CISA, "", 2)}, "no", 1, false},
		"what is passed on and is as old":   {[]Claim{claim("yes", CISA, "nvd", 2), claim("no", CISA, "", 2)}, "no", 1, false},
		"what is passed on and is newer":    {[]Claim{claim("yes", CISA, "nvd", 3), claim("no", CISA, "", 2)}, "yes", 2, true},
		"milder words that are passed on":   {[]Claim{claim("no", CISA, "nvd", 3), claim("yes", CISA, "", 2)}, "yes", 2, true},
		"passed on alone":                   {[]Claim{claim("no", CISA, "nvd", 3)}, "no", 1, false},
		"two that say the same":             {[]Claim{claim("no", "cna", "", 3), claim("no", CISA, "", 1)}, "no", 2, false},
		"another's words do not age yours":  {[]Claim{claim("yes", "other", "nvd", 1), claim("no", CISA, "", 9)}, "yes", 2, true},
		"claims of another point stay away": {[]Claim{{CVE: "x", Point: Impact, Value: "total", Source: CISA, At: 9}}, "", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				f := Settle("CVE-2026-0001", book(Kind, Record{CVE: "CVE-2026-0001", Claims: c.claims}))
				a := f.Automatable
				if a.Value != c.value || len(a.Claims) != c.said || a.Disputed() != c.disputed || !f.Known {
					t.Errorf("%+v", a)
				}
				slices.Reverse(c.claims)
			}
		})
	}
	f := Settle("CVE-2026-0001", book(Kind, Record{CVE: "CVE-2026-0001", Claims: []Claim{claim("no", CISA, "", 1), claim("no", "cna", "", 1)}}))
	if f.Automatable.Claims[0].Source != "cna" {
		t.Error("of two that say the same the CNA stands first")
	}
}

// TestNoBookKeepsAnothersWordDown: what one speaker says in several books, newest
// or not. A book without a word of the speaker has none.
func TestNoBookKeepsAnothersWordDown(t *testing.T) {
	for name, c := range map[string]struct {
		first, second []Claim
		value         string
		said          int
	}{
		"a milder word is dated ahead":      {[]Claim{claim("no", CISA, "", 9)}, []Claim{claim("yes", CISA, "", 2)}, "yes", 1},
		"a stricter word is newer":          {[]Claim{claim("no", CISA, "", 1)}, []Claim{claim("yes", CISA, "", 2)}, "yes", 1},
		"both say the milder one":           {[]Claim{claim("no", CISA, "", 1)}, []Claim{claim("yes", CISA, "", 2), claim("no", CISA, "", 3)}, "no", 1},
		"the other says nothing":            {[]Claim{claim("no", CISA, "", 9)}, nil, "no", 1},
		"the other says it of another":      {[]Claim{claim("no", CISA, "", 9)}, []Claim{claim("no", "cna", "", 1)}, "no", 2},
		"the other passes on an older one":  {[]Claim{claim("no", CISA, "", 9)}, []Claim{claim("yes", CISA, "nvd", 2)}, "no", 1},
		"what is passed on is held to each": {[]Claim{claim("no", CISA, "", 9)}, []Claim{claim("yes", CISA, "", 1), claim("yes", CISA, "nvd", 5)}, "yes", 1},
	} {
		t.Run(name, func(t *testing.T) {
			books := []Book{book(Kind, Record{CVE: "CVE-2026-0001", Claims: c.first}), book("b", Record{CVE: "CVE-2026-0001", Claims: c.second})}
			for range 2 {
				a := Settle("CVE-2026-0001", books...).Automatable
				if a.Value != c.value || len(a.Claims) != c.said {
					t.Errorf("%+v", a)
				}
				slices.Reverse(books)
			}
		})
	}
	both := Settle("CVE-2026-0001", book(Kind, Record{CVE: "CVE-2026-0001", Claims: []Claim{claim("no", CISA, "", 1)}}), book("b", Record{CVE: "CVE-2026-0001", Claims: []Claim{claim("no", CISA, "", 3)}}))
	if both.Automatable.Claims[0].At != 3 {
		t.Errorf("where both say the same, it is of %d", both.Automatable.Claims[0].At)
	}
}

func TestScoresAreOrderedAndNeverAveraged(t *testing.T) {
	nist, cisa := Score{Version: "3.1", Tenths: 100, Role: NVD, Via: "nvd"}, Score{Version: "4.0", Tenths: 99, Role: ADP, Source: CISA}
	old, passed, last := Score{Version: "2.0", Tenths: 50, Role: CNA}, Score{Version: "4.0", Tenths: 60, Role: CNA, Via: "nvd"}, Score{Version: "3.1", Tenths: 40, Role: CNA}
	f := Settle("CVE-2026-0001", book("nvd", Record{CVE: "CVE-2026-0001", Scores: []Score{nist, passed}}),
		book(Kind, Record{CVE: "CVE-2026-0001", Scores: []Score{old, cisa, last, last}}))
	if want := []Score{last, old, passed, cisa, nist}; !slices.Equal(f.Scores, want) || *f.Score != last {
		t.Errorf("%+v", f.Scores)
	}
	if f := Settle("CVE-2026-0001", book(Kind, Record{CVE: "CVE-2026-0001"})); f.Score != nil || !f.Known || f.Scores == nil {
		t.Errorf("unscored: %+v", f)
	}
	if f := Settle("CVE-2026-0002", book(Kind, Record{CVE: "CVE-2026-0001"})); f.Known {
		t.Errorf("absent: %+v", f)
	}
}

func TestARejectedIDHasNoFacts(t *testing.T) {
	said := Record{CVE: "CVE-2026-0001", Status: "PUBLISHED", Claims: []Claim{claim("no", CISA, "", 1)}, Scores: []Score{{Tenths: 1, Role: CNA}}}
	gone := Record{CVE: "CVE-2026-0001", Status: "Rejected", Rejected: true, Withdrawn: 7, Claims: said.Claims, Scores: said.Scores}
	for name, c := range map[string]struct {
		books []Book
		value string
		gone  bool
	}{
		"by the program":                  {[]Book{book(Kind, gone)}, "", true},
		"by the program, NIST lags":       {[]Book{book("nvd", said), book(Kind, gone)}, "", true},
		"by NIST alone: it calls off not": {[]Book{book(Kind, said), book("nvd", gone)}, "no", false},
		"by NIST, nobody else":            {[]Book{book("nvd", gone)}, "", false},
	} {
		f := Settle("CVE-2026-0001", c.books...)
		if f.Automatable.Value != c.value || f.Rejected != c.gone || (f.Score != nil) != (c.value != "") || c.gone != (f.Withdrawn == 7) || len(f.Statuses) != len(c.books) {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// Whatever is said, in whatever order: the answer is one that somebody said, and
// no speaker whose newest word stands in a CVE record is stricter.
func TestSettleIsNeverMilder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Claim {
			return claim(rapid.SampledFrom([]string{"no", "yes"}).Draw(t, "value"), rapid.SampledFrom([]string{CISA, "cna", "other"}).Draw(t, "source"),
				rapid.SampledFrom([]string{"", "nvd"}).Draw(t, "via"), rapid.Int64Range(0, 4).Draw(t, "at"))
		})).Draw(t, "claims")
		f := Settle("CVE-2026-0001", book(Kind, Record{CVE: "CVE-2026-0001", Claims: list}))
		shuffled := rapid.Permutation(list).Draw(t, "shuffled")
		if g := Settle("CVE-2026-0001", book(Kind, Record{CVE: "CVE-2026-0001", Claims: shuffled})); !reflect.DeepEqual(f, g) {
			t.Fatalf("order shows: %+v %+v", f, g)
		}
		if (f.Automatable.Value == "") != (len(list) == 0) {
			t.Fatalf("%+v", f.Automatable)
		}
		newest := map[string]Claim{}
		for _, c := range list {
			if old, ok := newest[c.Source]; c.Via == "" && (!ok || c.At > old.At || c.At == old.At && c.Value == "yes") {
				newest[c.Source] = c
			}
		}
		for _, c := range newest {
			if c.Value == "yes" && f.Automatable.Value != "yes" {
				t.Fatalf("%+v counts for less than it is", c)
			}
		}
	})
}

// Every record of CISA's repository that we have is read whole. What is counted
// was counted by another program (encoding/json in Python, see the data's README).
func TestRealRecords(t *testing.T) {
	got := map[string]int{}
	for _, name := range []string{"vulnrichment-2025-01-24-kev-subset.zip", "vulnrichment-2025-01-24-random5000.zip"} {
		shareddata.Zipped(t, "../..", "vulnrichment/"+name, func(file string, raw []byte) {
			r, err := Parse(raw)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				return
			}
			got[r.Status]++
			for _, c := range r.Claims {
				got[fmt.Sprintf("%s %s by %s", c.Point, c.Value, c.Source)]++
			}
			for _, s := range r.Scores {
				got[string(s.Role)+" "+s.Version]++
			}
		})
	}
	want := map[string]int{"PUBLISHED": 5382, "REJECTED": 9,
		"exploitation none by CISA-ADP": 4148, "exploitation poc by CISA-ADP": 915, "exploitation active by CISA-ADP": 318,
		"automatable no by CISA-ADP": 4266, "automatable yes by CISA-ADP": 1115,
		"technical impact partial by CISA-ADP": 3484, "technical impact total by CISA-ADP": 1897,
		"adp 3.1": 921, "cna 2.0": 286, "cna 3.0": 604, "cna 3.1": 3031, "cna 4.0": 336}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v\nwant\n%v", got, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(text))
	f.Add([]byte(`{"dataType":"CVE_RECORD","dataVersion":"5.0","cveMetadata":{"cveId":"CVE-2026-0002","state":"REJECTED"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := Parse(raw)
		if m := (*Malformed)(nil); err != nil && (!errors.As(err, &m) || m.Offset > len(raw) || !strictjson.Printable("x"+m.Reason+"x")) {
			t.Fatalf("%T %v", err, err)
		}
		if err != nil {
			return
		}
		if !ID(r.CVE) || r.Claims == nil || r.Scores == nil {
			t.Fatalf("%+v", r)
		}
		for _, c := range r.Claims {
			if _, _, ok := Value(string(c.Point), c.Value); !ok || c.CVE != r.CVE || c.Source == "" {
				t.Fatalf("%+v", c)
			}
		}
		for _, s := range r.Scores {
			if s.Tenths < 0 || s.Tenths > 100 || s.CVE != r.CVE || s.Source == "" || s.Vector == "" {
				t.Fatalf("%+v", s)
			}
		}
	})
}
