package control

import (
	"context"
	"slices"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/store"
)

// Artefact is when an artefact was first met in its origin's signed index.
type Artefact struct {
	Digest canon.Digest  `json:"digest"`
	Origin change.Origin `json:"origin"`
	Since  int64         `json:"since"` // Unix seconds, by the clock here
}

func (a Artefact) doc() store.Doc { return doc(kindArtefact, string(a.Digest), a) }
func (a Artefact) enter(b *book)  { b.artefacts[a.Digest] = a }

// meet notes the artefacts of a solution that were not met before. The caller
// holds the lock.
func (c *Control) meet(ctx context.Context, facts []proposal.Fact) error {
	var records []record
	named := []canon.Digest{}
	for _, f := range facts {
		d := f.Chain.Artefact
		if _, met := c.book.artefacts[d]; met || d == "" || slices.Contains(named, d) {
			continue
		}
		named, records = append(named, d), append(records, Artefact{Digest: d, Origin: f.Chain.Origin, Since: c.Now().Unix()})
	}
	if len(records) == 0 {
		return nil
	}
	return c.note(ctx, "artefacts", "met", map[string][]canon.Digest{"artefacts": named}, records...)
}

// Cooling is how long one artefact of a plan still waits.
type Cooling struct {
	Artefact canon.Digest  `json:"artefact"`
	Package  string        `json:"package"`
	Arch     string        `json:"arch"`
	To       string        `json:"to"`
	Since    int64         `json:"since"` // 0: never met here, it waits as if it were new
	Hold     priority.Hold `json:"hold"`
}

// cooling says for each new artefact of a plan how long it waits. Nil when no
// cooldown is configured. found are the findings that the plan answers.
func (c *Control) cooling(f proposal.File, found []match.Finding, know Knowledge, now int64) []Cooling {
	if c.Terms.Cooldowns == nil {
		return nil
	}
	causes := map[string][]string{} // CVE ids by package:arch
	for _, x := range found {
		key := x.Package + ":" + x.Arch
		causes[key] = append(causes[key], x.CVEs()...)
	}
	out := []Cooling{}
	back := backOnly(f)
	for _, fact := range f.Dossier.Artefacts {
		if back[fact.Package+":"+fact.Arch+" "+fact.To] {
			continue
		}
		d, key := fact.Chain.Artefact, fact.Package+":"+fact.Arch
		met, ok := c.book.artefacts[d]
		a := priority.Artefact{Origin: fact.Chain.Origin, Class: fact.Class, Since: met.Since, Fixes: slices.Compact(slices.Sorted(slices.Values(causes[key])))}
		if !ok {
			a.Since = now
		}
		out = append(out, Cooling{d, fact.Package, fact.Arch, fact.To, met.Since, c.Terms.Cooldowns.Hold(a, voices(fact, found, know))})
	}
	return out
}

// backOnly names, as "package:arch version", what a plan goes back to and nowhere
// forth: that is not new, and a way back does not wait.
func backOnly(f proposal.File) map[string]bool {
	out := map[string]bool{}
	for _, b := range f.Branches {
		for _, ch := range b.Changes {
			key := ch.Package + ":" + ch.Arch + " " + ch.To
			only, met := out[key]
			out[key] = ch.Op == change.Downgrade && (only || !met)
		}
	}
	return out
}

// voices are who says that a change is urgent: CISA of a CVE that it fixes, and
// its own distribution, by a changelog inside the very packages that its key
// signs.
func voices(fact proposal.Fact, found []match.Finding, know Knowledge) []priority.Voice {
	var out []priority.Voice
	for _, f := range found {
		if f.Package != fact.Package || f.Arch != fact.Arch {
			continue
		}
		for _, cve := range f.CVEs() {
			if know != nil && know(cve).KEV == priority.Yes {
				out = append(out, priority.Voice{Kind: priority.VoiceKEV, By: "CISA", CVE: cve})
			}
			for _, s := range f.Sources {
				if s.Basis == advisory.BasisMention && s.State == match.Affected {
					out = append(out, priority.Voice{Kind: priority.VoiceSigned, By: string(fact.Chain.Origin), CVE: cve, Snapshot: s.Snapshot})
				}
			}
		}
	}
	return out
}

// basisOf is what a plan was made from; a plan that a person made elsewhere has
// none here.
func (c *Control) basisOf(ctx context.Context, plan canon.Digest) (b proposal.Basis, err error) {
	for e, err := range c.Store.Stream(ctx, "plan/"+string(plan)) {
		if err != nil {
			return b, err
		}
		if e.Kind == "basis" {
			return b, canon.Decode(e.Body, &b)
		}
	}
	return b, nil
}
