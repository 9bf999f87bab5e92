package advice_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/schematest"
)

func TestProposals(t *testing.T) {
	d := dossier(t)
	yes := find(t, d, advice.KEVMember, "CVE-2026-0001", "")
	no := yes
	no.ID, no.Value = "c2", "no"
	libssl, openssl, linux := "libssl3:amd64", "openssl:amd64", "linux-image-amd64:amd64"
	for name, x := range map[string]struct {
		p      advice.Proposal
		stands bool
		reason string
	}{
		"keep":                            {advice.Proposal{Action: "keep"}, true, ""},
		"hold for a verified claim":       {advice.Proposal{Action: "hold", Because: []string{"c1"}}, true, ""},
		"escalate for one":                {advice.Proposal{Action: "escalate", Because: []string{"c1"}}, true, ""},
		"hold for nothing":                {advice.Proposal{Action: "hold"}, false, "for no claim"},
		"escalate for a false claim":      {advice.Proposal{Action: "escalate", Because: []string{"c1", "c2"}}, false, "not verified"},
		"keep for a claim that is absent": {advice.Proposal{Action: "keep", Because: []string{"c9"}}, false, "not verified"},
		"approve":                         {advice.Proposal{Action: "approve", Because: []string{"c1"}}, false, "no action"},
		"a shell":                         {advice.Proposal{Action: "sh -c id"}, false, "no action"},
		"no action":                       {advice.Proposal{Action: "Keep"}, false, "no action"},
		"an order":                        {advice.Proposal{Action: "keep", Order: []string{libssl, openssl}}, true, ""},
		"an order of the other class":     {advice.Proposal{Action: "keep", Order: []string{linux}}, true, ""},
		"against an edge":                 {advice.Proposal{Action: "keep", Order: []string{openssl, libssl}}, false, "openssl:amd64 before libssl3:amd64"},
		"a mixed order":                   {advice.Proposal{Action: "keep", Order: []string{libssl, openssl, linux}}, false, "mixes"},
		"half an order":                   {advice.Proposal{Action: "keep", Order: []string{libssl}}, false, "leaves out openssl:amd64"},
		"one twice":                       {advice.Proposal{Action: "keep", Order: []string{libssl, openssl, libssl}}, false, "twice"},
		"what is not planned":             {advice.Proposal{Action: "keep", Order: []string{"bash:amd64"}}, false, "does not change"},
	} {
		r := judged(t, d, advice.Answer{Claims: []advice.Claim{yes, no}, Proposal: x.p})
		p := r.Proposal
		if p.Stands != x.stands || !strings.Contains(string(p.Reason), x.reason) {
			t.Errorf("%s: %+v", name, p)
		}
		if !p.Stands && (p.Action != advice.Keep || len(p.Order) != 0 || p.Class != "") {
			t.Errorf("%s: something is left of what was rejected: %+v", name, p)
		}
	}
	d.Edges = append(d.Edges, advice.Edge{Before: openssl, After: libssl})
	for _, order := range [][]string{{libssl, openssl}, {openssl, libssl}} {
		if p := judged(t, d, advice.Answer{Proposal: advice.Proposal{Action: "keep", Order: order}}).Proposal; p.Stands {
			t.Errorf("an order of a cycle stands: %+v", p)
		}
	}
}

func TestNarrative(t *testing.T) {
	d := dossier(t)
	yes := find(t, d, advice.KEVMember, "CVE-2026-0001", "")
	no := yes
	no.ID, no.Value = "c2", "no"
	for text, why := range map[string]string{
		"It is exploited, see {{c1}}.":            "",
		"Look at the libraries first.":            "",
		"It is fixed in 3.0.22.":                  "a number",
		"See CVE-2026-0001.":                      "a number",
		"See the cve that Debian names.":          "names a vulnerability",
		"The ghsa record says so.":                "names a vulnerability",
		"It is critical, {{c2}}.":                 "not verified",
		"It is critical, {{c7}}.":                 "not verified",
		"It is critical, {{ c1 }}.":               "not verified",
		"It is critical, {{x}":                    "markup",
		"Twenty-one hosts have it.":               "number in words",
		"Thousands have it.":                      "number in words",
		"Half of it is done.":                     "number in words",
		"Read https://evil.example for more.":     "an address",
		"Read www.evil.example for more.":         "an address",
		"Press <b>yes</b> now.":                   "markup",
		"It has \u0661 host.":                     "printable",
		"It is \u202egnorw\u202c.":                "printable",
		"It is exploited {{c1}} on 7 hosts.":      "a number",
		"Versions before {{c1}} and 1.1 have it.": "a number",
	} {
		r := judged(t, d, advice.Answer{Claims: []advice.Claim{yes, no}, Narrative: text})
		if len(r.Sentences) != 1 || r.Sentences[0].Kept != (why == "") || !strings.Contains(string(r.Sentences[0].Reason), why) {
			t.Errorf("%q: %+v", text, r.Sentences)
		}
	}
	r := judged(t, d, advice.Answer{Claims: []advice.Claim{yes}, Narrative: "Good day. There are 3!  Is it {{c1}}?\nIt is.\r\n"})
	if got := strings.Join(r.Kept(), "|"); got != "Good day.|Is it [kev_member of CVE-2026-0001 by cisa/kev: yes]?|It is." || r.Holds() {
		t.Errorf("%q, holds %t", got, r.Holds())
	}
}

func TestAbstaining(t *testing.T) {
	d := dossier(t)
	r := judged(t, d, advice.Answer{Abstain: true, Unknowns: []string{"whether it is exploited"}})
	if !r.Holds() || !r.Abstained || r.Proposal.Action != advice.Keep || len(r.Unknowns) != 1 || r.Unknowns[0] != "whether it is exploited" {
		t.Errorf("%+v", r)
	}
	r = judged(t, d, advice.Answer{Abstain: true, Unknowns: []string{"whether 10.0.0.1 is exposed", "caf\u00e9"}})
	if r.Holds() || len(r.Unknowns) != 0 || len(r.Sentences) != 2 || r.Sentences[0].Kept || r.Sentences[1].Kept || r.Sentences[1].Text != `caf\u00e9` {
		t.Errorf("%+v", r)
	}
	for _, a := range []advice.Answer{
		{Claims: []advice.Claim{find(t, d, advice.KEVMember, "CVE-2026-0001", "")}, Proposal: advice.Proposal{Action: "keep"}},
		{Proposal: advice.Proposal{Action: "hold"}}, {Proposal: advice.Proposal{Action: "keep", Order: []string{"x"}}},
	} {
		a.Abstain, a.Dossier = true, d.Digest()
		if _, err := advice.ParseAnswer(advicetest.Write(a)); !errors.Is(err, advice.ErrForm) || !strings.Contains(err.Error(), "abstains") {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	d := dossier(t)
	good := string(advicetest.Answer(d, find(t, d, advice.KEVMember, "CVE-2026-0001", "")))
	if _, err := advice.ParseAnswer([]byte(good)); err != nil {
		t.Fatal(err)
	}
	swap := func(was, is string) string {
		if !strings.Contains(good, was) {
			t.Fatalf("%s is not in the answer", was)
		}
		return strings.Replace(good, was, is, 1)
	}
	many := func(n int, one string) string { return strings.TrimSuffix(strings.Repeat(one+",", n), ",") }
	claim := good[strings.Index(good, `"claims":[`)+10 : strings.Index(good, `],"dossier"`)]
	for text, why := range map[string]string{
		"": "an object was expected", "I cannot help with that.": "an object was expected", good + "{}": "something follows", good[:100]: "at byte",
		"```json\n" + good + "\n```": "an object was expected", "\xff" + good: "UTF-8",
		swap(`"abstain":false`, `"abstain":"no"`):                                "a value was expected",
		swap(`"abstain":false`, `"abstain":false,"abstain":false`):               "stands twice",
		swap(`"abstain":false`, `"tool":"sh","abstain":false`):                   `no key "tool"`,
		swap(`"abstain":false,`, ``):                                             "1 of the keys",
		swap(`"action":"keep",`, ``):                                             "1 of the keys",
		swap(`"as_of":`, `"as_of":-`):                                            "no integer from 0",
		swap(`"as_of":`, `"as_of":1.5e3,"x":`):                                   "no integer from 0",
		swap(`"as_of":`, `"as_of":9007199254740992,"x":`):                        "no integer from 0",
		swap(`"from":0`, `"from":"0"`):                                           "no integer from 0",
		swap(`"unknowns":[]`, `"unknowns":null`):                                 "an array was expected",
		swap(`"claims":[`, `"claims":null,"x":[`):                                "an array was expected",
		swap(advice.TypeAnswer, "patchwrit/plan/v1"):                             "type",
		swap(`"value":"yes"`, `"value":"`+strings.Repeat("y", 600)+`"`):          "the limit is 512",
		swap(claim, many(advice.MaxClaims+1, claim)):                             "more than 256",
		swap(`"unknowns":[]`, `"unknowns":[`+many(65, `""`)+`]`):                 "more than 64",
		swap(`"order":[]`, `"order":[`+many(advice.MaxOrder+1, `""`)+`]`):        "more than 4096",
		swap(`"because":[]`, `"because":[`+many(257, `""`)+`]`):                  "more than 256",
		swap(`"narrative":""`, `"narrative":"`+strings.Repeat("n", 17<<10)+`"`):  "limit is 16384",
		swap(`"narrative":""`, `"narrative":"`+strings.Repeat("n", 256<<10)+`"`): "the limit is 262144",
		swap(`"narrative":""`, `"narrative":`+strings.Repeat("[", 100)):          "a string was expected",
	} {
		_, err := advice.ParseAnswer([]byte(text))
		if !errors.Is(err, advice.ErrForm) || !strings.Contains(err.Error(), why) {
			t.Errorf("%.60q: %v, want %q", text, err, why)
		}
	}
	one := strings.Index(claim, `"quotes":[`)
	quote := claim[one+10 : strings.Index(claim[one:], "]")+one]
	for _, list := range [][2]string{{quote, many(17, quote)}, {`"evidence":["`, `"evidence":[` + many(17, `""`) + `,"`}} {
		if _, err := advice.ParseAnswer([]byte(swap(list[0], list[1]))); err == nil || !strings.Contains(err.Error(), "more than 16") {
			t.Errorf("%.40s: %v", list[0], err)
		}
	}
}

// What the schema asks for is what is read, and what is foreign cannot be said.
func TestSchema(t *testing.T) {
	d := dossier(t)
	s := schematest.Compile(t, d.Schema())
	c := find(t, d, advice.KEVMember, "CVE-2026-0001", "")
	s.Accepts(t, "an answer", advicetest.Write(advice.Answer{Dossier: d.Digest(), Claims: []advice.Claim{c}, Proposal: advice.Proposal{Action: "keep", Order: []string{"openssl:amd64"}}}))
	for name, edit := range map[string]func(c *advice.Claim, a *advice.Answer){
		"foreign evidence": func(c *advice.Claim, _ *advice.Answer) { c.Evidence = []string{"e99"} },
		"foreign quote":    func(c *advice.Claim, _ *advice.Answer) { c.Quotes[0].Evidence = "e99" },
		"foreign CVE":      func(c *advice.Claim, _ *advice.Answer) { c.About = "CVE-2026-99999" },
		"foreign package":  func(c *advice.Claim, _ *advice.Answer) { c.Package = "pkg:deb/debian/bash" },
		"foreign kind":     func(c *advice.Claim, _ *advice.Answer) { c.Kind = "shell" },
		"foreign action":   func(_ *advice.Claim, a *advice.Answer) { a.Proposal.Action = "approve" },
		"foreign order":    func(_ *advice.Claim, a *advice.Answer) { a.Proposal.Order = []string{"bash:amd64"} },
		"foreign dossier":  func(_ *advice.Claim, a *advice.Answer) { a.Dossier = d.Plan },
	} {
		c, a := find(t, d, advice.KEVMember, "CVE-2026-0001", ""), advice.Answer{Dossier: d.Digest(), Proposal: advice.Proposal{Action: "keep"}}
		edit(&c, &a)
		a.Claims = []advice.Claim{c}
		if s.Judge(t, advicetest.Write(a)) == nil {
			t.Errorf("the schema takes %s", name)
		}
	}
}

// Whatever comes back: it is judged or refused, never with more than hold or
// escalate, always the same, and in words that are safe to show.
func hostile(t interface{ Errorf(string, ...any) }, d advice.Dossier, raw []byte) {
	a, err := advice.ParseAnswer(raw)
	if err != nil {
		if !errors.Is(err, advice.ErrForm) {
			t.Errorf("%v", err)
		}
		return
	}
	r := advice.Verify(d, a, now, advice.Days14)
	one, err := canon.Encode(r)
	two, _ := canon.Encode(advice.Verify(d, a, now, advice.Days14))
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("the report of %.80q: %v, the same twice %t", raw, err, bytes.Equal(one, two))
	}
	p := r.Proposal
	if !slices.Contains(advice.Actions, p.Action) || !p.Stands && p.Action != advice.Keep || p.Class.Rank() > len(change.Classes) && p.Class != "" {
		t.Errorf("%.80q: %+v", raw, p)
	}
	for _, s := range r.Kept() {
		if strings.ContainsAny(cut(s), "0123456789") {
			t.Errorf("a number stands in %q", s)
		}
	}
}

// cut takes out what the claims say.
func cut(s string) string {
	for {
		from, to := strings.Index(s, "["), strings.Index(s, "]")
		if from < 0 || to < from {
			return s
		}
		s = s[:from] + s[to+1:]
	}
}

func FuzzAnswers(f *testing.F) {
	d := dossier(f)
	c := find(f, d, advice.KEVMember, "CVE-2026-0001", "")
	f.Add(advicetest.Answer(d, c))
	f.Add(advicetest.Write(advice.Answer{Dossier: d.Digest(), Abstain: true, Proposal: advice.Proposal{Action: "keep"}}))
	f.Add(advicetest.Write(advice.Answer{Dossier: d.Digest(), Claims: []advice.Claim{c}, Proposal: advice.Proposal{Action: "hold", Because: []string{"c1"}, Order: []string{"libssl3:amd64", "openssl:amd64"}}, Narrative: "It is {{c1}}. 7"}))
	f.Fuzz(func(t *testing.T, raw []byte) { hostile(t, d, raw) })
}

// A claim holds only where a trusted piece that it cites and quotes says exactly
// that, whatever else is said: judged here by the facts themselves.
func TestOnlyWhatIsWrittenHolds(t *testing.T) {
	d := dossier(t)
	facts := map[string]map[string]advice.Fact{}
	pool := []string{"", "c1", "yes", "no", "9.8", "0.97567", "hosts"}
	for _, e := range d.Evidence {
		facts[e.ID] = map[string]advice.Fact{}
		for _, f := range e.Facts {
			facts[e.ID][f.String()] = f
			pool = append(pool, f.About, f.Package, f.Source, f.Version, f.Value)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		e := rapid.SampledFrom(d.Evidence).Draw(t, "evidence")
		if len(e.Facts) == 0 {
			t.Skip("untrusted text has no facts to claim: another draw")
		}
		c := advicetest.True(e, rapid.IntRange(0, len(e.Facts)-1).Draw(t, "fact"))
		for _, to := range []*string{&c.Kind, &c.About, &c.Package, &c.Source, &c.Version, &c.Value, &c.Evidence[0]} {
			if rapid.IntRange(0, 4).Draw(t, "change") == 0 {
				*to = rapid.SampledFrom(append(pool, "e1", "e2", "e3", "fixed_version", "severity")).Draw(t, "to")
			}
		}
		raw := advicetest.Answer(d, c)
		hostile(t, d, raw)
		a, err := advice.ParseAnswer(raw)
		if err != nil {
			t.Fatal(err)
		}
		if advice.Verify(d, a, now, advice.Days14).Claims[0].Verdict != advice.Verified {
			return
		}
		for _, f := range facts[c.Evidence[0]] {
			exact := f.Kind == advice.Kind(c.Kind) && f.About == c.About && f.Package == c.Package && f.Value == c.Value
			ranged := f.Kind == advice.AffectedRange && c.Kind == string(advice.PackageAffected) && f.About == c.About && f.Package == c.Package
			scored := f.Kind == advice.Severity && c.Kind == string(advice.Severity) && f.About == c.About && f.Source == c.Source
			if exact || ranged || scored {
				return
			}
		}
		t.Fatalf("verified, and nobody wrote it: %+v", c)
	})
}
