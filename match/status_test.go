package match

import (
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
)

// said is a set with one record whose parts all speak of package a of Debian 12.
func said(name, cve string, parts ...advisory.Affected) advisory.Set {
	s := advisory.Snapshot{Name: name, Kind: "test", Source: name, Digest: canon.SumFile([]byte(name)), Count: 1}
	for i := range parts {
		parts[i].Ecosystem, parts[i].Package = "Debian:12", "a"
	}
	return advisory.Set{Snapshot: s, Advisories: []advisory.Advisory{{ID: name + "/" + cve, Aliases: []string{cve}, Source: name,
		Basis: advisory.BasisRecord, Affected: parts, Raw: canon.SumFile([]byte(name + cve)), Feed: s.Origin()}}}
}

var endless = []advisory.Range{{Type: "ECOSYSTEM", Introduced: advisory.Beginning}}

func until(fixed string) []advisory.Range {
	return []advisory.Range{{Type: "ECOSYSTEM", Introduced: advisory.Beginning, Fixed: fixed}}
}

func TestWhatASourceSaysBesideTheRanges(t *testing.T) {
	part := func(s advisory.Status, r ...advisory.Range) advisory.Affected {
		return advisory.Affected{Status: s, Ranges: r, Note: "so it is"}
	}
	for want, parts := range map[string][]advisory.Affected{
		"affected unfixed":                        {part(advisory.Unfixed, endless...)},
		"affected no-advisory":                    {part(advisory.NoAdvisory, endless...)},
		"affected postponed":                      {part(advisory.Postponed, endless...)},
		"affected wont-fix":                       {part(advisory.WontFix, endless...)},
		"affected end-of-life":                    {part(advisory.EndOfLife, endless...)},
		"not_affected denied":                     {part(advisory.NotAffected)},
		"unknown undetermined":                    {part(advisory.Undetermined)},
		"under_investigation under-investigation": {part(advisory.UnderInvestigation), part(advisory.NotAffected)},
		"affected below-fixed":                    {part(advisory.NotAffected), part("", until("2")...)},
		"not_affected fixed":                      {part(advisory.NotAffected), part(advisory.NoAdvisory, until("1")...)},
		"unknown no-range":                        {part("")},
	} {
		f := Explain(host("a amd64 1 a 1 installed"), NewIndex(said("s", "CVE-2026-1", parts...)), Query{Advisory: "CVE-2026-1"})
		if len(f) != 1 || string(f[0].State)+" "+string(f[0].Reason.Code) != want || f[0].Reason.Text == "" {
			t.Errorf("want %s, got %+v", want, f)
		}
		render(t, f)
		if intent, ok := intents[parts[0].Status]; ok && f[0].Reason.Code == intent && intent != EndOfLife && !strings.Contains(f[0].Reason.Text, "so it is") {
			t.Errorf("the source's own reason is missing: %s", f[0].Reason.Text)
		}
	}
}

// A source that says less bad things never outweighs one that says worse.
func TestSourcesThatDisagreeTheWorseDecides(t *testing.T) {
	order := []advisory.Affected{
		{Ranges: endless}, {Status: advisory.Undetermined}, {Status: advisory.UnderInvestigation}, {Status: advisory.NotAffected},
	}
	want := []State{Affected, Unknown, UnderInvestigation, NotAffected}
	for i := range order {
		for j := range order {
			f := Explain(host("a amd64 1 a 1 installed"), NewIndex(said("x", "CVE-2026-1", order[i]), said("y", "CVE-2026-1", order[j])), Query{Package: "a"})
			if len(f) != 1 || f[0].State != want[min(i, j)] || len(f[0].Sources) != 2 || (i != j) != strings.Contains(f[0].Reason.Text, "disagree") {
				t.Errorf("%d and %d: %+v", i, j, f)
			}
		}
	}
}

// People's statements never lower a vendor's word, and alone make no work.
func TestPeoplesWordAlone(t *testing.T) {
	mine := func(p advisory.Affected) advisory.Set {
		s := said("mine", "CVE-2026-1", p)
		s.Advisories[0].Basis = advisory.BasisStatement
		return s
	}
	only := []string{"1"}
	for name, c := range map[string]struct {
		mine   advisory.Affected
		vendor *advisory.Affected
		want   string
	}{
		"affected, alone":              {advisory.Affected{Ranges: endless}, nil, "unknown stated"},
		"this version, alone":          {advisory.Affected{Versions: only}, nil, "unknown stated"},
		"affected, vendor denies":      {advisory.Affected{Ranges: endless}, &advisory.Affected{Status: advisory.NotAffected}, "unknown stated"},
		"affected, vendor too":         {advisory.Affected{Ranges: endless}, &advisory.Affected{Ranges: until("2")}, "affected below-fixed"},
		"not affected, alone":          {advisory.Affected{Status: advisory.NotAffected}, nil, "not_affected denied"},
		"fixed here, alone":            {advisory.Affected{Status: advisory.NotAffected, Versions: only}, nil, "not_affected denied"},
		"not affected, vendor says so": {advisory.Affected{Status: advisory.NotAffected}, &advisory.Affected{Ranges: endless}, "affected unfixed"},
		"not affected, vendor is open": {advisory.Affected{Status: advisory.NotAffected}, &advisory.Affected{Status: advisory.Undetermined}, "unknown undetermined"},
		"looking into it":              {advisory.Affected{Status: advisory.UnderInvestigation}, nil, "under_investigation under-investigation"},
	} {
		sets := []advisory.Set{mine(c.mine)}
		if c.vendor != nil {
			sets = append(sets, said("vendor", "CVE-2026-1", *c.vendor))
		}
		f := Explain(host("a amd64 1 a 1 installed"), NewIndex(sets...), Query{Package: "a"})
		if len(f) != 1 || string(f[0].State)+" "+string(f[0].Reason.Code) != c.want {
			t.Errorf("%s: want %s, got %+v", name, c.want, f)
		}
	}
	for _, other := range []advisory.Affected{{Versions: []string{"9"}}, {Versions: []string{"9"}, Status: advisory.NotAffected}, {Versions: []string{"9"}, Status: advisory.UnderInvestigation}} {
		if f := Find(host("a amd64 1 a 1 installed"), NewIndex(mine(other))); len(f) != 1 || f[0].Reason.Code != NotCovered {
			t.Errorf("a word about another version, and people's silence: %+v", f)
		}
	}
}
