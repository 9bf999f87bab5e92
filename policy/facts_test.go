package policy_test

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	planroom "github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/provenance"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
	"github.com/patchwrit/patchwrit/trust/trusttest"
)

func labelled(t testing.TB, labels ...trust.Label) trusttest.House {
	t.Helper()
	return trusttest.Must(nil, trusttest.Options{Edit: func(c *ceremony.Contents) { c.Hosts[0].Labels = labels }})
}

func inputOf(h trusttest.House, f policy.Facts, d proposal.Dossier, at int64) policy.Input {
	b := []planroom.Branch{{Host: h.Hosts[0].ID, Changes: []change.Change{{Op: change.Upgrade, Package: "p", To: "2.1"}}, Rollback: []change.Change{}}}
	return policy.NewInput(h.Root, planroom.Header{Waves: []planroom.Wave{}}, b, d, f, "", at)
}

func TestLabelsBecomeFacts(t *testing.T) {
	h := labelled(t, trust.Label{Key: "autonomy", Value: "L3"}, trust.Label{Key: "data", Value: "gdpr+secret"}, trust.Label{Key: "exposure", Value: "internal"},
		trust.Label{Key: "group", Value: "db"}, trust.Label{Key: "window", Value: "sun-2300-0100"})
	const monday = 4 * 24 * 3600 // 1970-01-05
	for name, c := range map[string]struct {
		told policy.HostFacts
		want policy.HostFacts
	}{
		"labels alone":           {policy.HostFacts{}, policy.HostFacts{}},
		"a stricter level stays": {policy.HostFacts{Level: policy.Stated{Is: "L1", Source: "x"}}, policy.HostFacts{Level: policy.Stated{Is: "L1", Source: "x"}}},
		"a milder does not":      {policy.HostFacts{Level: policy.Stated{Is: "L4", Source: "x"}}, policy.HostFacts{}},
		"exposed stays":          {policy.HostFacts{Exposed: policy.Answer{Is: policy.Yes, Source: "x"}}, policy.HostFacts{Exposed: policy.Answer{Is: policy.Yes, Source: "x"}}},
	} {
		c.told.ID, c.want.ID, c.want.Group, c.want.Data = h.Hosts[0].ID, h.Hosts[0].ID, "db", []string{"else", "gdpr"}
		if c.want.Level.Is == "" {
			c.want.Level = policy.Stated{Is: "L3", Source: policy.FromTrust}
		}
		if c.want.Exposed.Is == "" {
			c.want.Exposed = policy.Answer{Is: policy.No, Source: policy.FromTrust}
		}
		if name == "a milder does not" || name == "a stricter level stays" {
			c.want.Exposed.Source = policy.FromTrust
		}
		c.want.Windowed = policy.Answer{Is: policy.Yes, Source: policy.FromTrust}
		c.want.Windows = []policy.Span{{From: monday - 3600, Until: monday + 3600}, {From: monday + 7*24*3600 - 3600, Until: monday + 7*24*3600 + 3600}}
		in := inputOf(h, policy.Facts{Hosts: []policy.HostFacts{c.told}}, proposal.Dossier{}, monday+60)
		if !reflect.DeepEqual(in.Facts.Hosts[0], c.want) {
			t.Errorf("%s:\n%+v\n%+v", name, in.Facts.Hosts[0], c.want)
		}
		again := inputOf(h, in.Facts, proposal.Dossier{}, monday+60)
		if !reflect.DeepEqual(again, in) {
			t.Errorf("%s: joined twice it is another", name)
		}
	}
}

func TestLabelsThatCannotBeReadAreStrict(t *testing.T) {
	h := labelled(t, trust.Label{Key: "autonomy", Value: "all"}, trust.Label{Key: "exposure", Value: "maybe"}, trust.Label{Key: "window", Value: "2500-2600"})
	f := inputOf(h, policy.Facts{}, proposal.Dossier{}, 1000).Facts.Hosts[0]
	if f.Level.Is != "L0" || f.Exposed.Is != policy.Yes || f.Windowed.Is != policy.Yes || len(f.Windows) != 0 {
		t.Errorf("%+v", f)
	}
}

func TestTriggersFollowFromTheDossier(t *testing.T) {
	h, same := labelled(t), provenance.Chain{Origin: "debian", Signers: []string{"a"}}
	for name, c := range map[string]struct {
		edit func(*proposal.Fact)
		want string
	}{
		"nothing":       {func(*proposal.Fact) {}, "nnnnnnn"},
		"new publisher": {func(f *proposal.Fact) { f.Chain.Signers = []string{"b"} }, "ynnnnnn"},
		"new script":    {func(f *proposal.Fact) { f.Diff.NewScript = true }, "nynnnnn"},
		"new origin":    {func(f *proposal.Fact) { f.Chain.Origin = "debian-backports" }, "nnnnynn"},
		"its updates":   {func(f *proposal.Fact) { f.Chain = provenance.Chain{Origin: "debian-security", Signers: []string{"b"}} }, "nnnnnnn"},
		"unsigned":      {func(f *proposal.Fact) { f.Chain = provenance.Chain{Origin: "debian-security"} }, "ynnnnnn"},
		"new vendor":    {func(f *proposal.Fact) { f.Chain.Origin = "other" }, "nnnyynn"},
		"major":         {func(f *proposal.Fact) { f.From = "1.9" }, "nnnnnyn"},
		"epoch":         {func(f *proposal.Fact) { f.From = "1:2.0" }, "nnnnnyn"},
		"core":          {func(f *proposal.Fact) { f.Class = change.Critical }, "nnnnnny"},
	} {
		f := proposal.Fact{Package: "p", From: "2.0", To: "2.1", Class: change.Routine, Chain: same, Back: same}
		c.edit(&f)
		x, got := inputOf(h, policy.Facts{}, proposal.Dossier{Artefacts: []proposal.Fact{f}}, 9).Facts.Artefacts[0], ""
		for _, a := range []policy.Answer{x.NewPublisher, x.NewScript, x.Downgrade, x.NewVendor, x.NewOrigin, x.Major, x.Core} {
			got += a.Is[:1]
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestNobodyTellsForTheKeepers: what only labels say is not taken from whoever
// tells the facts, and what is stricter is.
func TestNobodyTellsForTheKeepers(t *testing.T) {
	bare := labelled(t)
	told := policy.HostFacts{ID: bare.Hosts[0].ID, Group: "g", Level: policy.Stated{Is: "L4", Source: policy.FromTrust}, Exposed: policy.Answer{Is: policy.No, Source: policy.FromTrust},
		Windowed: policy.Answer{Is: policy.Yes}, Windows: []policy.Span{{From: 0, Until: 9999}}}
	f := inputOf(bare, policy.Facts{Hosts: []policy.HostFacts{told}}, proposal.Dossier{}, 1000).Facts.Hosts[0]
	if f.Group != "" || f.Level.Is != "" || f.Exposed.Is != "" || f.Windowed.Is != "" || len(f.Windows) != 0 {
		t.Errorf("invented labels are believed: %+v", f)
	}
	told.Level.Is, told.Exposed.Is = "L0", policy.Yes
	f = inputOf(bare, policy.Facts{Hosts: []policy.HostFacts{told}}, proposal.Dossier{}, 1000).Facts.Hosts[0]
	if f.Level.Is != "L0" || f.Exposed.Is != policy.Yes {
		t.Errorf("what is stricter is not: %+v", f)
	}
}

// TestCeilings: no rule lifts them, whatever it says.
func TestCeilings(t *testing.T) {
	for in, want := range map[string]policy.Outcome{
		`{"grant":"g","plan":{"class":"routine"}}`:                                                                policy.Allow,
		`{"grant":"","plan":{"class":"routine"}}`:                                                                 policy.Quorum,
		`{"grant":"g","plan":{"class":"sensitive"}}`:                                                              policy.Quorum,
		`{"grant":"g","hosts":[{"domain":"","id":"h"}],"plan":{"class":"routine"}}`:                               policy.Deny,
		`{"facts":{"hosts":[{"id":"h","level":{"is":"L0","source":""}}]},"grant":"g","plan":{"class":"routine"}}`: policy.Deny,
		`{"branches":[{"changes":[{"op":"downgrade"}]}],"grant":"g","plan":{"class":"routine"}}`:                  policy.Deny,
		`{"plan":7}`: policy.Deny,
	} {
		d := policy.Ceilings([]byte(in), policy.Decision{Outcome: policy.Allow, Class: change.Routine, Reasons: []policy.Reason{}})
		if d.Outcome != want || (want != policy.Allow) != (len(d.Reasons) == 1) {
			t.Errorf("%s: %s %+v, want %s", in, d.Outcome, d.Reasons, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := decisions().Draw(t, "rules")
		in := canon.MustEncode(map[string]any{"grant": rapid.SampledFrom([]string{"", "g"}).Draw(t, "grant"), "plan": map[string]string{"class": rapid.SampledFrom([]string{"routine", "critical"}).Draw(t, "class")}})
		if got := policy.Ceilings(in, d); got.Outcome.Rank() < d.Outcome.Rank() || got.Class != d.Class {
			t.Fatalf("%+v became milder: %+v", d, got)
		}
	})
}
