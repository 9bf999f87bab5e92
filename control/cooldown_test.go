package control

import (
	"slices"
	"testing"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/provenance"
)

// TestAWayBackDoesNotCoolDown: what a plan only goes back to is not new. The same
// artefact waits where some host goes forth to it, whatever the order.
func TestAWayBackDoesNotCoolDown(t *testing.T) {
	cool, err := priority.NewCooldowns([]priority.Wait{{Origin: "debian-security", Class: change.Routine, Seconds: 1000, Corroborated: 100}})
	if err != nil {
		t.Fatal(err)
	}
	c := &Control{Config: Config{Terms: Terms{Cooldowns: &cool}}, book: newBook()}
	fact := proposal.Fact{Package: "one", Arch: "amd64", To: "1.0", Class: change.Routine,
		Chain: provenance.Chain{Origin: "debian-security", Artefact: canon.SumFile([]byte("one"))}}
	ask := func(ops ...change.Op) []Cooling {
		f := proposal.File{Dossier: proposal.Dossier{Artefacts: []proposal.Fact{fact}}}
		for _, op := range ops {
			f.Branches = append(f.Branches, plan.Branch{Changes: []change.Change{{Op: op, Package: "one", Arch: "amd64", To: "1.0"}}})
		}
		return c.cooling(f, nil, nil, 5000)
	}
	for _, ops := range [][]change.Op{{change.Downgrade}, {change.Downgrade, change.Downgrade}} {
		if got := ask(ops...); len(got) != 0 {
			t.Errorf("%v: a way back waits: %+v", ops, got)
		}
	}
	for _, ops := range [][]change.Op{{change.Upgrade}, {change.Install}, {change.Upgrade, change.Downgrade}, {change.Downgrade, change.Upgrade}} {
		if got := ask(ops...); len(got) != 1 || got[0].Hold.Until != 6000 || got[0].Since != 0 {
			t.Errorf("%v: %+v", ops, got)
		}
	}
	c.book.artefacts[fact.Chain.Artefact] = Artefact{Digest: fact.Chain.Artefact, Since: 4500}
	if got := ask(change.Upgrade); got[0].Hold.Until != 5500 || got[0].Since != 4500 {
		t.Errorf("since it was first met: %+v", got)
	}
}

// TestOnlyIndependentVoicesShortenAWait: CISA and the very distribution, of one
// CVE that the change fixes.
func TestOnlyIndependentVoicesShortenAWait(t *testing.T) {
	cool, err := priority.NewCooldowns([]priority.Wait{{Origin: "debian-security", Class: change.Routine, Seconds: 1000, Corroborated: 100}})
	if err != nil {
		t.Fatal(err)
	}
	c := &Control{Config: Config{Terms: Terms{Cooldowns: &cool}}, book: newBook()}
	fact := proposal.Fact{Package: "one", Arch: "amd64", To: "1.1", Class: change.Routine, Chain: provenance.Chain{Origin: "debian-security", Artefact: canon.SumFile([]byte("one"))}}
	f := proposal.File{Dossier: proposal.Dossier{Artefacts: []proposal.Fact{fact}}}
	found := func(pkg string, basis advisory.Basis, state match.State) []match.Finding {
		return []match.Finding{{Advisory: "CVE-2026-0001", Aliases: []string{}, Package: pkg, Arch: "amd64", State: match.Affected, Sources: []match.Source{{Basis: basis, State: state}}}}
	}
	listed := func(a priority.Answer) Knowledge {
		return func(string) priority.Known { return priority.Known{KEV: a} }
	}
	for name, x := range map[string]struct {
		found []match.Finding
		know  Knowledge
		until int64
	}{
		"both":                               {found("one", advisory.BasisMention, match.Affected), listed(priority.Yes), 5100},
		"nobody knows of KEV":                {found("one", advisory.BasisMention, match.Affected), nil, 6000},
		"not listed":                         {found("one", advisory.BasisMention, match.Affected), listed(priority.No), 6000},
		"unknown whether listed":             {found("one", advisory.BasisMention, match.Affected), listed(priority.Unknown), 6000},
		"no word of its own":                 {found("one", advisory.BasisRecord, match.Affected), listed(priority.Yes), 6000},
		"its word is of the fixed":           {found("one", advisory.BasisMention, match.NotAffected), listed(priority.Yes), 6000},
		"of another package":                 {found("two", advisory.BasisMention, match.Affected), listed(priority.Yes), 6000},
		"of the same CVE in another package": {slices.Concat(found("one", advisory.BasisRecord, match.Affected), found("two", advisory.BasisMention, match.Affected)), listed(priority.Yes), 6000},
	} {
		if got := c.cooling(f, x.found, x.know, 5000); len(got) != 1 || got[0].Hold.Until != x.until {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
