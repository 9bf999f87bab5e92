package advice_test

import (
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/advicetest"
)

const now = advicetest.Now

func dossier(t testing.TB) advice.Dossier {
	t.Helper()
	d, err := advice.Build(advicetest.Material())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// judged gives the report on what an adviser would really send.
func judged(t testing.TB, d advice.Dossier, a advice.Answer) advice.Report {
	t.Helper()
	if a.Dossier == "" {
		a.Dossier = d.Digest()
	}
	if a.Proposal.Action == "" {
		a.Proposal.Action = advice.Keep
	}
	parsed, err := advice.ParseAnswer(advicetest.Write(a))
	if err != nil {
		t.Fatal(err)
	}
	return advice.Verify(d, parsed, now, advice.Days14)
}

// find gives the true claim about the first fact of a kind that is about
// something, by a source.
func find(t testing.TB, d advice.Dossier, k advice.Kind, about, source string) advice.Claim {
	t.Helper()
	for _, e := range d.Evidence {
		for i, f := range e.Facts {
			if f.Kind == k && f.About == about && strings.HasPrefix(f.Source, source) {
				return advicetest.True(e, i)
			}
		}
	}
	t.Fatalf("no fact of kind %s about %q by %q", k, about, source)
	return advice.Claim{}
}

// Every fact of the world, told as it stands, holds, but for those that the world
// is made to overrule.
func TestTrueClaimsHold(t *testing.T) {
	d, held := dossier(t), map[advice.Kind]int{}
	for _, e := range d.Evidence {
		for i, f := range e.Facts {
			want, c := advice.Verified, advicetest.True(e, i)
			switch {
			case f.Source == "nvd@nist.gov" && f.Value == "9.0": // its vector gives 7.5
				want = advice.Unsupported
			}
			r := judged(t, d, advice.Answer{Claims: []advice.Claim{c}})
			if got := r.Claims[0]; got.Verdict != want {
				t.Errorf("%s: %s is %s, not %s: %s", e.ID, f, got.Verdict, want, got.Reason)
			}
			if want == advice.Verified {
				held[f.Kind]++
				if !r.Holds() || len(r.Claims[0].Support) != 1 {
					t.Errorf("%s: %s: %+v", e.ID, f, r)
				}
			}
		}
	}
	for _, k := range advice.Kinds {
		if held[k] == 0 && k != advice.Workaround {
			t.Errorf("the world has no fact of kind %s", k)
		}
	}
}

// row is one answer that differs from a true one in one thing.
type row struct {
	name    string
	kind    advice.Kind
	about   string
	source  string
	edit    func(c *advice.Claim)
	verdict advice.Verdict
	reason  string
}

func value(v string) func(*advice.Claim) { return func(c *advice.Claim) { c.Value = v } }

const openssl = "pkg:deb/debian/openssl?arch=source&distro=debian-12"

var rows = []row{
	// referential
	{"a foreign piece", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.Evidence = append(c.Evidence, "e99") }, advice.Malformed, `"e99", which is no evidence`},
	{"no evidence", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.Evidence = nil }, advice.Malformed, "cites no evidence"},
	{"no quote", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.Quotes = nil }, advice.Malformed, "quotes nothing"},
	{"a quote of what is not cited", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.Quotes[0].Evidence = "e1" }, advice.Malformed, "does not cite"},
	{"a quote beyond the end", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.Quotes[0].To = 100000 }, advice.Malformed, "quotes bytes 0 to 100000"},
	{"a quote of nothing", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.Quotes[0].To = c.Quotes[0].From }, advice.Malformed, "quotes bytes"},
	{"a quote of half a statement", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.Quotes[0].To-- }, advice.Unsupported, "not a whole statement"},
	{"a quote of another statement", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.Quotes[0].From, c.Quotes[0].To = c.Quotes[0].To+2, c.Quotes[0].To+20 }, advice.Unsupported, "not a whole statement"},
	{"a quote of the one that does not say so", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) {
		c.Evidence, c.Quotes = append(c.Evidence, "e1"), []advice.Quote{{Evidence: "e1", From: 0, To: 200}}
	}, advice.Unsupported, "not a whole statement"},
	// form
	{"an id of another kind", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.ID = "claim" }, advice.Malformed, "c1, c2"},
	{"no such kind", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.Kind = "shell" }, advice.Malformed, "no such kind"},
	{"a bell", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.Source = "cisa\a" }, advice.Malformed, "printable"},
	{"no value", advice.KEVMember, "CVE-2026-0001", "", value(""), advice.Malformed, "no value"},
	{"a value of another kind", advice.KEVMember, "CVE-2026-0001", "", value("perhaps"), advice.Malformed, "not one of"},
	{"about nothing", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.About = "" }, advice.Malformed, "what it is about"},
	{"no package", advice.FixedVersion, "CVE-2026-0001", "osv/DEBIAN", func(c *advice.Claim) { c.Package = "" }, advice.Malformed, "names no package"},
	{"no version", advice.Supersedes, "", "", func(c *advice.Claim) { c.Version = "" }, advice.Malformed, "which version"},
	{"nobody's severity", advice.Severity, "CVE-2026-0001", "example", func(c *advice.Claim) { c.Source = "" }, advice.Malformed, "not averaged"},
	{"without a time", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.AsOf = 0 }, advice.Malformed, "as of when"},
	// scope
	{"a CVE that does not exist", advice.CVEExists, "CVE-2026-0001", "", func(c *advice.Claim) { c.About = "CVE-2026-99999" }, advice.OutOfScope, "about CVE-2026-99999"},
	{"a package that is not there", advice.FixedVersion, "CVE-2026-0001", "osv/DEBIAN", func(c *advice.Claim) { c.Package = strings.Replace(openssl, "openssl", "openssh", 1) }, advice.OutOfScope, "no package"},
	{"another release", advice.FixedVersion, "CVE-2026-0001", "osv/DEBIAN", func(c *advice.Claim) { c.Package = strings.Replace(openssl, "-12", "-13", 1) }, advice.OutOfScope, "no package"},
	{"before what is not there", advice.DependsBefore, "", "", value("bash:amd64"), advice.OutOfScope, "no package bash"},
	// typed comparison
	{"one version lower", advice.FixedVersion, "CVE-2026-0001", "osv/DEBIAN", value("3.0.22-1~deb12u0"), advice.Contradicted, "says otherwise"},
	{"no version at all", advice.FixedVersion, "CVE-2026-0001", "osv/DEBIAN", value("_"), advice.Contradicted, "says otherwise"},
	{"the same version in other letters", advice.FixedVersion, "CVE-2026-0001", "osv/DEBIAN", value("0:3.0.22-01~deb12u1"), advice.Verified, ""},
	{"another range", advice.AffectedRange, "CVE-2026-0001", "osv/DEBIAN", value(">=0 <=3.0.22-1~deb12u1"), advice.Contradicted, "otherwise"},
	{"a range that begins later", advice.AffectedRange, "CVE-2026-0001", "osv/DEBIAN", value(">=3.0.0-1 <3.0.22-1~deb12u1"), advice.Contradicted, "otherwise"},
	{"a range without its sign", advice.AffectedRange, "CVE-2026-0001", "osv/DEBIAN", value("0 <3.0.22-1~deb12u1"), advice.Contradicted, "otherwise"},
	{"a bound without its sign", advice.AffectedRange, "CVE-2026-0001", "osv/DEBIAN", value(">=0 3.0.22-1~deb12u1"), advice.Contradicted, "otherwise"},
	{"a range that is none", advice.AffectedRange, "CVE-2026-0001", "osv/DEBIAN", value("all"), advice.Contradicted, "otherwise"},
	{"an affected version of the range", advice.AffectedRange, "CVE-2026-0001", "osv/DEBIAN", func(c *advice.Claim) { c.Kind, c.Version, c.Value = "package_affected", "3.0.1-1", "yes" }, advice.Verified, ""},
	{"the fixed one is said to be affected", advice.AffectedRange, "CVE-2026-0001", "osv/DEBIAN", func(c *advice.Claim) { c.Kind, c.Version, c.Value = "package_affected", "3.0.22-1~deb12u1", "yes" }, advice.Contradicted, "otherwise"},
	{"an affected one is said not to be", advice.AffectedRange, "CVE-2026-0001", "osv/DEBIAN", func(c *advice.Claim) { c.Kind, c.Version, c.Value = "package_affected", "3.0.1-1", "no" }, advice.Contradicted, "otherwise"},
	{"a version that is none", advice.AffectedRange, "CVE-2026-0001", "osv/DEBIAN", func(c *advice.Claim) { c.Kind, c.Version, c.Value = "package_affected", "_", "yes" }, advice.Unsupported, "Nothing in the dossier"},
	{"in one range of two, said not to be", advice.AffectedRange, "CVE-2026-0002", "osv/DEBIAN", func(c *advice.Claim) {
		c.Kind, c.Package, c.Version, c.Value = "package_affected", "pkg:deb/debian/linux?arch=source&distro=debian-11", "5.10.209-2", "no"
	}, advice.Contradicted, "otherwise"},
	{"in the first range of two, said not to be", advice.AffectedRange, "CVE-2026-0002", "osv/DEBIAN", func(c *advice.Claim) {
		c.Kind, c.Package, c.Version, c.Value = "package_affected", "pkg:deb/debian/linux?arch=source&distro=debian-11", "5.10.100-1", "no"
	}, advice.Contradicted, "otherwise"},
	{"outside, said to be unknown", advice.AffectedRange, "CVE-2026-0001", "osv/DEBIAN", func(c *advice.Claim) { c.Kind, c.Version, c.Value = "package_affected", "9-9", "unknown" }, advice.Unsupported, "Nothing in the dossier"},
	{"a range that begins at a version", advice.AffectedRange, "CVE-2026-0001", "osv/DEBIAN", value(">=0:0 <3.0.22-1~deb12u1"), advice.Contradicted, "otherwise"},
	{"a vector of CVSS 3.0", advice.Severity, "CVE-2026-0001", "example", value("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"), advice.Contradicted, "otherwise"},
	{"a score that is not that of the source's vector", advice.Severity, "CVE-2026-0002", "nvd@nist.gov", value("9.0"), advice.Unsupported, "not that of its own vector"},
	{"another score", advice.Severity, "CVE-2026-0001", "example", value("9.9"), advice.Contradicted, "otherwise"},
	{"the score of the vector", advice.Severity, "CVE-2026-0001", "example", value("9.8"), advice.Verified, ""},
	{"the mean of two sources", advice.Severity, "CVE-2026-0001", "example", value("8.7"), advice.Contradicted, "otherwise"},
	{"another's score", advice.Severity, "CVE-2026-0001", "example", value("7.5"), advice.Contradicted, "otherwise"},
	{"a vector in another order", advice.Severity, "CVE-2026-0001", "example", value("CVSS:3.1/AC:L/AV:N/PR:N/UI:N/S:U/C:H/I:H/A:H"), advice.Verified, ""},
	{"a vector with one metric changed", advice.Severity, "CVE-2026-0001", "example", value("CVSS:3.1/AV:L/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"), advice.Contradicted, "otherwise"},
	{"a score of a source that gives a vector alone", advice.Severity, "CVE-2026-0002", "osv/DEBIAN", value("7.5"), advice.Verified, ""},
	{"a wrong score of a source that gives a vector alone", advice.Severity, "CVE-2026-0002", "osv/DEBIAN", value("7.6"), advice.Contradicted, "otherwise"},
	{"a word where there is a vector", advice.Severity, "CVE-2026-0002", "osv/DEBIAN", value("critical"), advice.Unsupported, "Nothing in the dossier"},
	{"another version of CVSS", advice.Severity, "CVE-2026-0001", "example", func(c *advice.Claim) { c.Version = "CVSS_V4" }, advice.Unsupported, "Nothing in the dossier"},
	{"not known to be exploited", advice.KEVMember, "CVE-2026-0001", "", value("no"), advice.Contradicted, "otherwise"},
	{"known to be exploited", advice.KEVMember, "CVE-2026-0002", "", value("yes"), advice.Contradicted, "otherwise"},
	{"another probability", advice.EPSSScore, "CVE-2026-0001", "", value("0.97568"), advice.Contradicted, "otherwise"},
	{"the same probability", advice.EPSSScore, "CVE-2026-0001", "", value("0.975670"), advice.Verified, ""},
	{"a probability above one", advice.EPSSScore, "CVE-2026-0001", "", value("97.567"), advice.Contradicted, "otherwise"},
	{"another point", advice.Exploitation, "CVE-2026-0001", "", value("exploitation=none"), advice.Contradicted, "otherwise"},
	{"a point that nobody speaks of", advice.Exploitation, "CVE-2026-0001", "", value("mission=none"), advice.Unsupported, "Nothing in the dossier"},
	{"other bytes", advice.PatchArtifact, "", "", value(strings.Repeat("0", 64)), advice.Contradicted, "otherwise"},
	{"the bytes of another version", advice.PatchArtifact, "", "", func(c *advice.Claim) { c.Version = "1" }, advice.Unsupported, "Nothing in the dossier"},
	{"downwards", advice.Supersedes, "", "", func(c *advice.Claim) { c.Version, c.Value = c.Value, c.Version }, advice.Unsupported, "Nothing in the dossier"},
	{"the wrong way round", advice.DependsBefore, "", "", func(c *advice.Claim) { c.Package, c.Value = c.Value, c.Package }, advice.Contradicted, "otherwise"},
	{"an edge that is none", advice.DependsBefore, "", "", value("linux-image-amd64:amd64"), advice.Unsupported, "Nothing in the dossier"},
	{"one host more", advice.AssetFact, "hosts", "", value("3"), advice.Contradicted, "otherwise"},
	{"the hosts with a version that was not asked for", advice.AssetFact, "hosts", "", func(c *advice.Claim) { c.Version = "9" }, advice.Unsupported, "Nothing in the dossier"},
	{"no reboot", advice.RebootRequired, "", "", value("no"), advice.Contradicted, "otherwise"},
	{"a workaround", advice.CVEExists, "CVE-2026-0001", "", func(c *advice.Claim) { c.Kind, c.Value, c.Source = "workaround", "set x=1", "" }, advice.Unsupported, "Nothing in the dossier"},
	// authority
	{"another source's word", advice.FixedVersion, "CVE-2026-0001", "osv/DEBIAN", func(c *advice.Claim) { c.Source = "osv/RHSA" }, advice.Unsupported, "Nothing in the dossier"},
	{"a weaker source, not named", advice.FixedVersion, "CVE-2026-0001", "osv/CVE", func(c *advice.Claim) { c.Source = "" }, advice.Contradicted, "worth more"},
	{"evidence beside it", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.Evidence[0], c.Quotes[0].Evidence = "e1", "e1" }, advice.Unsupported, "does not say so; "},
	{"false, and evidence beside it", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.Evidence[0], c.Quotes[0].Evidence, c.Value = "e1", "e1", "no" }, advice.Contradicted, "does not say so, and"},
	// freshness
	{"as of another time", advice.KEVMember, "CVE-2026-0001", "", func(c *advice.Claim) { c.AsOf-- }, advice.Contradicted, "is as of"},
}

func TestEachLieIsFound(t *testing.T) {
	d := dossier(t)
	for _, x := range rows {
		c := find(t, d, x.kind, x.about, x.source)
		x.edit(&c)
		r := judged(t, d, advice.Answer{Claims: []advice.Claim{c}})
		if got := r.Claims[0]; got.Verdict != x.verdict || !strings.Contains(string(got.Reason), x.reason) {
			t.Errorf("%s: %s, %q; want %s, %q", x.name, got.Verdict, got.Reason, x.verdict, x.reason)
		}
		if r.Holds() != (x.verdict == advice.Verified) {
			t.Errorf("%s: the answer holds: %t", x.name, r.Holds())
		}
	}
}

// What strangers and people wrote supports nothing, whatever it says.
func TestNothingRestsOnUntrustedText(t *testing.T) {
	d := dossier(t)
	c := find(t, d, advice.FixedVersion, "CVE-2026-0001", "osv/DEBIAN")
	for _, e := range d.Evidence {
		if e.Channel == advice.Untrusted {
			c.Evidence, c.Quotes = []string{e.ID}, []advice.Quote{{Evidence: e.ID, From: 0, To: int64(len(e.Text))}}
		}
	}
	if got := judged(t, d, advice.Answer{Claims: []advice.Claim{c}}).Claims[0]; got.Verdict != advice.Unsupported || !strings.Contains(string(got.Reason), "untrusted") {
		t.Errorf("%+v", got)
	}
	m := advicetest.Material()
	said := advicetest.Record("house/openvex", "HOUSE-1", "openssl", "1-1", "CVE-2026-0001")
	said.Basis = advisory.BasisStatement
	m.Sets = append(m.Sets, advicetest.Set(said))
	d = advicetest.Dossier(m)
	c = find(t, d, advice.FixedVersion, "HOUSE-1", "house")
	if got := judged(t, d, advice.Answer{Claims: []advice.Claim{c}}).Claims[0]; got.Verdict != advice.Unsupported || !strings.Contains(string(got.Reason), "people typed") {
		t.Errorf("%+v", got)
	}
	c = find(t, d, advice.FixedVersion, "CVE-2026-0001", "osv/DEBIAN")
	c.Source = ""
	if got := judged(t, d, advice.Answer{Claims: []advice.Claim{c}}).Claims[0]; got.Verdict != advice.Verified {
		t.Errorf("what people typed counts against a source: %+v", got)
	}
}

// Two sources of the same authority that differ are for people.
func TestSourcesThatDiffer(t *testing.T) {
	m := advicetest.Material()
	m.Sets[0].Advisories[1] = advicetest.Record("osv/DSA", "DSA-6000-1", "openssl", "3.0.23-1", "CVE-2026-0001")
	d := advicetest.Dossier(m)
	c := find(t, d, advice.FixedVersion, "CVE-2026-0001", "osv/DEBIAN")
	if got := judged(t, d, advice.Answer{Claims: []advice.Claim{c}}).Claims[0]; got.Verdict != advice.Verified {
		t.Errorf("each source's own word holds: %+v", got)
	}
	c.Source = ""
	if got := judged(t, d, advice.Answer{Claims: []advice.Claim{c}}).Claims[0]; got.Verdict != advice.Unsupported || !strings.Contains(string(got.Reason), "people must look") {
		t.Errorf("%+v", got)
	}
}

func TestOldEvidenceSupportsNothing(t *testing.T) {
	d := dossier(t)
	for _, x := range []struct {
		kind   advice.Kind
		about  string
		source string
		after  int64
		want   advice.Verdict
	}{
		{advice.KEVMember, "CVE-2026-0001", "", 13 * 86400, advice.Verified}, {advice.KEVMember, "CVE-2026-0001", "", 13*86400 + 1, advice.Stale},
		{advice.EPSSScore, "CVE-2026-0001", "", 13*86400 + 43200, advice.Verified}, {advice.EPSSScore, "CVE-2026-0001", "", 13*86400 + 43201, advice.Stale},
		{advice.FixedVersion, "CVE-2026-0001", "osv/DEBIAN", 14*86400 - 3600, advice.Verified}, {advice.FixedVersion, "CVE-2026-0001", "osv/DEBIAN", 14*86400 - 3599, advice.Stale},
		{advice.Supersedes, "", "", 7*86400 - 3600, advice.Verified}, {advice.Supersedes, "", "", 7*86400 - 3599, advice.Stale},
		{advice.AssetFact, "hosts", "", 7*86400 - 3599, advice.Stale}, {advice.PatchArtifact, "", "", 7*86400 - 3599, advice.Stale},
		{advice.KEVMember, "CVE-2026-0001", "", -2 * 86400, advice.Verified}, {advice.KEVMember, "CVE-2026-0001", "", -2*86400 - 1, advice.Stale},
	} {
		a, err := advice.ParseAnswer(advicetest.Answer(d, find(t, d, x.kind, x.about, x.source)))
		if err != nil {
			t.Fatal(err)
		}
		if got := advice.Verify(d, a, now+x.after, advice.Days14).Claims[0]; got.Verdict != x.want {
			t.Errorf("%s after %d: %+v", x.kind, x.after, got)
		}
	}
}

// An answer about another dossier is worth nothing, and so is an id twice.
func TestForeignAndDoubled(t *testing.T) {
	d := dossier(t)
	c := find(t, d, advice.KEVMember, "CVE-2026-0001", "")
	said := advice.Answer{Dossier: canon.SumFile(nil), Claims: []advice.Claim{c}, Narrative: "It is {{c1}}.", Proposal: advice.Proposal{Action: advice.Hold, Because: []string{"c1"}}}
	r := judged(t, d, said)
	if !r.Foreign || r.Holds() || r.Claims[0].Verdict != advice.Malformed || r.Proposal.Stands || r.Proposal.Action != advice.Keep || len(r.Kept()) != 0 {
		t.Errorf("%+v", r)
	}
	ordered := advice.Answer{Dossier: said.Dossier, Proposal: advice.Proposal{Action: advice.Keep, Order: []string{"linux-image-amd64:amd64"}}}
	if r = judged(t, d, ordered); r.Proposal.Stands {
		t.Errorf("%+v", r.Proposal)
	}
	said.Dossier, said.Claims = "", []advice.Claim{c, c}
	if r = judged(t, d, said); r.Holds() || r.Claims[0].Verdict != advice.Verified || r.Claims[1].Verdict != advice.Malformed || r.Proposal.Stands || len(r.Kept()) != 0 {
		t.Errorf("%+v", r)
	}
	said.Claims = said.Claims[:1]
	if r = judged(t, d, said); !r.Holds() || r.Proposal.Action != advice.Hold || len(r.Kept()) != 1 || r.Kept()[0] != "It is [kev_member of CVE-2026-0001 by cisa/kev: yes]." {
		t.Errorf("%+v", r)
	}
}

// A vector with more metrics than the claim's is another.
func TestVectorsWithMoreMetrics(t *testing.T) {
	m := advicetest.Material()
	m.Spoke[0].Scores[0].Vector += "/E:P"
	d := advicetest.Dossier(m)
	c := find(t, d, advice.Severity, "CVE-2026-0001", "example")
	c.Value = advicetest.CNAVector
	if got := judged(t, d, advice.Answer{Claims: []advice.Claim{c}}).Claims[0]; got.Verdict != advice.Contradicted {
		t.Errorf("%+v", got)
	}
}
