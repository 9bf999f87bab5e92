package advice

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
)

// TypeReport is the type of a Report.
const TypeReport = "patchwrit/advicereport/v1"

// Report is what becomes of an answer. Its strings are printable ASCII.
type Report struct {
	Type      string       `json:"type"`
	Dossier   canon.Digest `json:"dossier"` // the one it was judged by
	Answer    canon.Digest `json:"answer"`  // SHA-256 of the answer's bytes
	At        int64        `json:"at"`      // Unix seconds: when it was judged
	Foreign   bool         `json:"foreign"` // the answer is about another dossier: nothing of it holds
	Abstained bool         `json:"abstained"`
	Claims    []Judged     `json:"claims"` // in the answer's order
	Proposal  Accepted     `json:"proposal"`
	Sentences []Sentence   `json:"sentences"` // of the narrative
	Unknowns  []canon.Note `json:"unknowns"`  // for people; never used
}

// Judged is what becomes of one claim.
type Judged struct {
	ID      canon.Note `json:"id"`
	Claim   canon.Note `json:"claim"` // in words
	Verdict Verdict    `json:"verdict"`
	Reason  canon.Note `json:"reason"`  // one sentence
	Support []string   `json:"support"` // cited evidence that says so, by a source that may
}

// Holds reports whether all of the answer holds: every claim is verified, the
// proposal stands, and no sentence was dropped. An abstention holds.
func (r Report) Holds() bool {
	return !r.Foreign && r.Proposal.Stands &&
		!slices.ContainsFunc(r.Claims, func(j Judged) bool { return j.Verdict != Verified }) &&
		!slices.ContainsFunc(r.Sentences, func(s Sentence) bool { return !s.Kept })
}

// Count counts the claims with a verdict.
func (r Report) Count(v Verdict) int {
	n := 0
	for _, j := range r.Claims {
		if j.Verdict == v {
			n++
		}
	}
	return n
}

// Verify judges an answer by the dossier that it is about, at the time now (Unix
// seconds). It asks nobody: the same arguments give the same report.
func Verify(d Dossier, a Answer, now int64, limits Ages) Report {
	v := judge{d: d, now: now, limits: limits, abouts: map[string]bool{}, packages: map[string]bool{}, ends: map[string][]int64{}}
	v.learn()
	r := Report{Type: TypeReport, Dossier: d.Digest(), Answer: a.Raw, At: now, Abstained: a.Abstain, Claims: []Judged{}, Unknowns: []canon.Note{}}
	r.Foreign = a.Dossier != r.Dossier
	seen := map[string]bool{}
	for _, c := range a.Claims {
		j := Judged{ID: canon.NoteOf(c.ID), Claim: canon.NoteOf(c.words()), Support: []string{}}
		switch {
		case r.Foreign:
			j.Verdict, j.Reason = Malformed, "The answer is about another dossier."
		case seen[c.ID]:
			j.Verdict, j.Reason = Malformed, "Another claim has this id."
		default:
			var why string
			j.Verdict, why, j.Support = v.claim(c)
			j.Reason = canon.NoteOf(why)
		}
		seen[c.ID] = true
		r.Claims = append(r.Claims, j)
	}
	for _, u := range a.Unknowns {
		r.Unknowns = append(r.Unknowns, canon.NoteOf(u))
	}
	holds := r.verified()
	r.Proposal = v.proposal(a.Proposal, holds, r.Foreign)
	r.Sentences = sentences(a.Narrative, holds)
	return r
}

// verified gives, by id, the words of the claims that hold. An id that stands
// twice names none.
func (r Report) verified() map[string]string {
	out, twice := map[string]string{}, map[canon.Note]int{}
	for _, j := range r.Claims {
		twice[j.ID]++
	}
	for _, j := range r.Claims {
		if j.Verdict == Verified && twice[j.ID] == 1 {
			out[string(j.ID)] = string(j.Claim)
		}
	}
	return out
}

func (c Claim) words() string {
	return words(Kind(c.Kind), c.About, c.Package, c.Version, c.Source, c.Value)
}

// judge knows a dossier and the time.
type judge struct {
	d        Dossier
	now      int64
	limits   Ages
	abouts   map[string]bool    // what facts are about
	packages map[string]bool    // packages that they name
	ends     map[string][]int64 // by evidence: where the statement of each fact ends in its text
}

func (v *judge) learn() {
	for _, e := range v.d.Evidence {
		at, ends := int64(0), make([]int64, 0, len(e.Facts))
		for _, f := range e.Facts {
			v.abouts[f.About], v.packages[f.Package] = true, true
			at += int64(len(f.String()))
			ends = append(ends, at)
			at += int64(len(between))
		}
		v.ends[e.ID] = ends
	}
	for _, i := range v.d.Items {
		v.packages[i.Key] = true
	}
}

// claim gives the verdict on one claim, with a sentence why, and the evidence
// that carries it.
func (v *judge) claim(c Claim) (Verdict, string, []string) {
	none := []string{}
	if why := v.malformed(c); why != "" {
		return Malformed, why, none
	}
	if why := v.outside(c); why != "" {
		return OutOfScope, why, none
	}
	cited, trusted := []Evidence{}, 0
	for _, id := range c.Evidence {
		e, _ := v.d.evidence(id)
		cited = append(cited, e)
		if trusts(e) {
			trusted++
		}
	}
	if trusted == 0 {
		return Unsupported, "It rests on untrusted text, or on what people typed, alone; that supports nothing.", none
	}
	support, against := opinions(c, cited)
	if len(support) == 0 {
		for _, e := range cited {
			if !consistent(c, e) {
				return Unsupported, said([]Evidence{e}) + " gives a score that is not that of its own vector: people must look.", none
			}
		}
		return v.without(c, against)
	}
	if verdict, why := v.overruled(c, support); why != "" {
		return verdict, why, none
	}
	if why := v.unquoted(c, support); why != "" {
		return Unsupported, why, none
	}
	fresh, why, verdict := v.fresh(c, support)
	if len(fresh) == 0 {
		return verdict, why, none
	}
	ids := []string{}
	for _, e := range fresh {
		ids = append(ids, e.ID)
	}
	return Verified, "So says " + said(fresh) + ".", ids
}

var claimID = regexp.MustCompile(`^c[1-9][0-9]{0,3}$`)

// malformed says why a claim is none of its kind, or cites what is not there.
func (v *judge) malformed(c Claim) string {
	k := Kind(c.Kind)
	if !claimID.MatchString(c.ID) {
		return "Its id is not c1, c2 and so on."
	}
	if !slices.Contains(Kinds, k) {
		return "There is no such kind of claim."
	}
	for _, s := range []string{c.About, c.Package, c.Source, c.Version, c.Value} {
		if s != "" && !strictjson.Printable(s) {
			return "A field holds characters outside printable ASCII, or begins or ends with a space."
		}
	}
	if why := shape(k, c); why != "" {
		return why
	}
	if len(c.Evidence) == 0 {
		return "It cites no evidence."
	}
	for _, id := range c.Evidence {
		if _, ok := v.d.evidence(id); !ok {
			return fmt.Sprintf("It cites %.40q, which is no evidence of this dossier.", id)
		}
	}
	if len(c.Quotes) == 0 {
		return "It quotes nothing of what it cites."
	}
	for _, q := range c.Quotes {
		e, ok := v.d.evidence(q.Evidence)
		if !ok || !slices.Contains(c.Evidence, q.Evidence) {
			return fmt.Sprintf("It quotes %.40q, which it does not cite.", q.Evidence)
		}
		if q.From >= q.To || q.To > int64(len(e.Text)) {
			return fmt.Sprintf("It quotes bytes %d to %d of %s, which has %d.", q.From, q.To, e.ID, len(e.Text))
		}
	}
	return ""
}

// needed tells which fields a kind has beside its value.
var needed = map[Kind]struct{ about, pkg, at, source, asOf bool }{
	CVEExists: {about: true}, PackageAffected: {about: true, pkg: true, at: true}, AffectedRange: {about: true, pkg: true}, FixedVersion: {about: true, pkg: true},
	Severity: {about: true, at: true, source: true}, KEVMember: {about: true, asOf: true}, EPSSScore: {about: true, asOf: true}, Exploitation: {about: true, source: true},
	PatchArtifact: {pkg: true, at: true}, Supersedes: {pkg: true, at: true}, DependsBefore: {pkg: true}, RebootRequired: {pkg: true}, AssetFact: {about: true}, Workaround: {about: true},
}

// shape says which field of a kind is missing or holds what it cannot.
func shape(k Kind, c Claim) string {
	n := needed[k]
	switch {
	case c.Value == "":
		return "It has no value."
	case n.about && c.About == "":
		return "It does not say what it is about."
	case n.pkg && c.Package == "":
		return "It names no package."
	case n.at && c.Version == "":
		return "It does not say which version it means."
	case n.source && c.Source == "":
		return "It does not say whose word it is; sources are not averaged."
	case n.asOf && c.AsOf == 0:
		return "It does not say as of when."
	}
	words := map[Kind][]string{CVEExists: {"yes", "rejected"}, PackageAffected: {"yes", "no", "unknown"}, KEVMember: {"yes", "no"}, RebootRequired: {"yes", "no"}}[k]
	if words != nil && !slices.Contains(words, c.Value) {
		return fmt.Sprintf("Its value is %.40q, not one of %q.", c.Value, words)
	}
	return ""
}

// outside says that the dossier is not about what the claim is about.
func (v *judge) outside(c Claim) string {
	if c.About != "" && !v.abouts[c.About] {
		return fmt.Sprintf("Nothing in the dossier is about %s.", c.About)
	}
	packages := []string{c.Package}
	if Kind(c.Kind) == DependsBefore {
		packages = append(packages, c.Value)
	}
	for _, p := range packages {
		if p != "" && !v.packages[p] {
			return fmt.Sprintf("The dossier has no package %s.", p)
		}
	}
	return ""
}

// opinions sorts evidence by what it says of a claim. What is silent is neither.
func opinions(c Claim, list []Evidence) (support, against []Evidence) {
	for _, e := range list {
		if !trusts(e) {
			continue
		}
		switch opinion(c, e) {
		case agrees:
			support = append(support, e)
		case differs:
			against = append(against, e)
		}
	}
	return support, against
}

// trusts reports whether a piece of evidence may support a claim at all.
func trusts(e Evidence) bool {
	return e.Channel != Untrusted && rank(e.Authority) > rank(advisory.People)
}

// without is the verdict where nothing that is cited says so.
func (v *judge) without(c Claim, against []Evidence) (Verdict, string, []string) {
	if len(against) > 0 {
		return Contradicted, said(against) + " says otherwise.", []string{}
	}
	support, against := opinions(c, v.d.Evidence)
	switch {
	case len(support) > 0:
		return Unsupported, "What it cites does not say so; " + said(support) + " does.", []string{}
	case len(against) > 0:
		return Contradicted, "What it cites does not say so, and " + said(against) + " says otherwise.", []string{}
	}
	return Unsupported, "Nothing in the dossier says so.", []string{}
}

// overruled says that a source of the dossier, cited or not, says otherwise and
// is not weaker than the strongest that says so.
func (v *judge) overruled(c Claim, support []Evidence) (Verdict, string) {
	best := 0
	for _, e := range support {
		best = max(best, rank(e.Authority))
	}
	_, against := opinions(c, v.d.Evidence)
	for _, e := range against {
		if rank(e.Authority) > best {
			return Contradicted, fmt.Sprintf("%s says otherwise, and its word is worth more.", said([]Evidence{e}))
		}
	}
	for _, e := range against {
		if rank(e.Authority) == best {
			return Unsupported, fmt.Sprintf("%s says otherwise, and its word is worth as much: people must look.", said([]Evidence{e}))
		}
	}
	return "", ""
}

// unquoted says that no quote of what carries the claim holds the claim's value
// and what it is about, as a source wrote them.
func (v *judge) unquoted(c Claim, support []Evidence) string {
	for _, q := range c.Quotes {
		for _, e := range support {
			if e.ID != q.Evidence {
				continue
			}
			from := int64(0)
			for i, end := range v.ends[e.ID] {
				if from >= q.From && end <= q.To && fits(c, e.Facts[i]) == agrees {
					return ""
				}
				from = end + int64(len(between))
			}
		}
	}
	return "What it quotes is not a whole statement that says so."
}

// fresh keeps what is not too old for a claim, and of the time that the claim
// gives. Where nothing is left it says why.
func (v *judge) fresh(c Claim, support []Evidence) (out []Evidence, why string, verdict Verdict) {
	for _, e := range support {
		limit := v.limits.of(e.Channel)
		switch age := v.now - e.AsOf; {
		case age > limit:
			why, verdict = fmt.Sprintf("%s is %d hours old, the limit is %d.", said([]Evidence{e}), age/3600, limit/3600), Stale
		case age < -86400:
			why, verdict = fmt.Sprintf("%s is dated more than a day in the future.", said([]Evidence{e})), Stale
		case c.AsOf != 0 && c.AsOf != e.AsOf:
			if why == "" {
				why, verdict = fmt.Sprintf("%s is as of %d, not %d.", said([]Evidence{e}), e.AsOf, c.AsOf), Contradicted
			}
		default:
			out = append(out, e)
		}
	}
	return out, why, verdict
}

// said names pieces of evidence for a person.
func said(list []Evidence) string {
	parts := []string{}
	for _, e := range list[:min(len(list), 4)] {
		parts = append(parts, fmt.Sprintf("%s (%s %s)", e.ID, e.Source, e.Record))
	}
	if more := len(list) - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(parts, " and ")
}
