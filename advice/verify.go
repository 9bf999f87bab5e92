package advice

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/version"
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
	Unknowns  []canon.Note `json:"unknowns"`  // for people; never used. What must not be shown is a dropped sentence
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
	v := judge{d: d, now: now, limits: limits, at: map[string]int{}, of: map[string][]learned{}, packages: map[string]bool{}, cve: map[string]string{}, orders: ordersOf(d)}
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
	holds := r.verified()
	r.Proposal = v.proposal(a.Proposal, holds, r.Foreign)
	r.Sentences = sentences(a.Narrative, holds)
	for _, u := range a.Unknowns {
		if s := sentence(u, holds); s.Kept {
			r.Unknowns = append(r.Unknowns, s.Text)
		} else {
			r.Sentences = append(r.Sentences, s)
		}
	}
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
	at       map[string]int       // where a piece of evidence stands, by id
	of       map[string][]learned // facts by what they are about, in the dossier's order
	packages map[string]bool      // packages that facts and items name
	cve      map[string]string    // the one CVE that a record, by its id, speaks of
	orders   map[version.Scheme]*order
}

// learned is a fact with what is worked out once for all claims.
type learned struct {
	Fact
	piece    int   // index of its evidence
	from, to int64 // where its statement stands in the text
	span     advisory.Range
	ranged   bool
	score    string // of a vector: the base score; of a score: itself
	vector   string // of a severity: as canonical writes it

	at, value, low, fixed, last int // places of its version, its value, and its bounds
}

func (v *judge) learn() {
	for n, e := range v.d.Evidence {
		if _, twice := v.at[e.ID]; !twice {
			v.at[e.ID] = n
		}
		at, ids := int64(0), map[string]bool{}
		for _, f := range e.Facts {
			o := v.orders[f.Scheme]
			l := learned{Fact: f, piece: n, from: at, to: at + int64(len(f.String())), at: o.place(f.Version)}
			at = l.to + int64(len(between))
			switch f.Kind {
			case AffectedRange:
				l.span, l.ranged = rangeOf(f.Value)
				l.low, l.fixed, l.last = o.place(l.span.Introduced), o.place(l.span.Fixed), o.place(l.span.LastAffected)
			case FixedVersion, Supersedes:
				l.value = o.place(f.Value)
			case Severity:
				l.score, l.vector = scoreOf(f.Value), canonical(f.Value)
			}
			v.of[f.About], v.packages[f.Package] = append(v.of[f.About], l), true
			if f.Kind != CVEExists && len(ids) < 3 {
				ids[f.About] = true
			}
		}
		v.alias(e.Record, ids)
	}
	for _, i := range v.d.Items {
		v.packages[i.Key] = true
	}
}

// alias notes that a record that says the same under its id and under one CVE
// speaks of that CVE under both names.
func (v *judge) alias(record string, ids map[string]bool) {
	if !ids[record] || len(ids) != 2 {
		return
	}
	for id := range ids {
		if id != record {
			v.cve[record] = id
		}
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
	cited, trusted := map[int]bool{}, false
	for _, id := range c.Evidence {
		n := v.at[id]
		cited[n], trusted = true, trusted || trusts(v.d.Evidence[n])
	}
	if !trusted {
		return Unsupported, "It rests on untrusted text, or on what people typed, alone; that supports nothing.", none
	}
	all := v.hear(c)
	support, against := among(all, cited, agrees), among(all, cited, differs)
	if len(support) == 0 {
		for _, x := range all {
			if cited[x.piece] && x.broken {
				return Unsupported, v.said([]saying{x}) + " gives a score that is not that of its own vector: people must look.", none
			}
		}
		return v.without(all, against)
	}
	// What is too old carries nothing, and lends its weight and its quotes to nothing.
	fresh, why, verdict := v.fresh(c, support)
	if len(fresh) > 0 {
		support = fresh
	}
	if verdict, why := v.overruled(c, all, support); why != "" {
		return verdict, why, none
	}
	if why := v.unquoted(c, support); why != "" {
		return Unsupported, why, none
	}
	if len(fresh) == 0 {
		return verdict, why, none
	}
	ids := []string{}
	for _, x := range fresh {
		ids = append(ids, v.d.Evidence[x.piece].ID)
	}
	return Verified, "So says " + v.said(fresh) + ".", ids
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
		if _, ok := v.at[id]; !ok {
			return fmt.Sprintf("It cites %.40q, which is no evidence of this dossier.", id)
		}
	}
	if len(c.Quotes) == 0 {
		return "It quotes nothing of what it cites."
	}
	for _, q := range c.Quotes {
		if !slices.Contains(c.Evidence, q.Evidence) {
			return fmt.Sprintf("It quotes %.40q, which it does not cite.", q.Evidence)
		}
		if length := len(v.d.Evidence[v.at[q.Evidence]].Text); q.From >= q.To || q.To > int64(length) {
			return fmt.Sprintf("It quotes bytes %d to %d of %s, which has %d.", q.From, q.To, q.Evidence, length)
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
	if c.About != "" && len(v.of[c.About]) == 0 {
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

// trusts reports whether a piece of evidence may support a claim at all.
func trusts(e Evidence) bool {
	return e.Channel != Untrusted && rank(e.Authority) > rank(advisory.People)
}

// without is the verdict where nothing that is cited says so.
func (v *judge) without(all, against []saying) (Verdict, string, []string) {
	if len(against) > 0 {
		return Contradicted, v.said(against) + " says otherwise.", []string{}
	}
	support, against := among(all, nil, agrees), among(all, nil, differs)
	switch {
	case len(support) > 0:
		return Unsupported, "What it cites does not say so; " + v.said(support) + " does.", []string{}
	case len(against) > 0:
		return Contradicted, "What it cites does not say so, and " + v.said(against) + " says otherwise.", []string{}
	}
	return Unsupported, "Nothing in the dossier says so.", []string{}
}

// weight orders what pieces of evidence say of a claim. Whether a CVE exists the
// CVE program and NIST know best, whoever uses the id.
func (v *judge) weight(c Claim, x saying) int {
	e := v.d.Evidence[x.piece]
	if Kind(c.Kind) == CVEExists && (e.Source == "cve" || e.Source == "nvd") {
		return rank(Own)
	}
	return rank(e.Authority)
}

// overruled says that a source of the dossier, cited or not, says otherwise and
// is not weaker than the strongest that says so. Where the claim is about a record
// that speaks of one CVE, and names no source, what a stronger one says of that
// CVE counts, too: a weak record is not worth more under its own name.
func (v *judge) overruled(c Claim, all, support []saying) (Verdict, string) {
	best := 0
	for _, x := range support {
		best = max(best, v.weight(c, x))
	}
	against := among(all, nil, differs)
	if cve := v.cve[c.About]; cve != "" && c.Source == "" {
		same := c
		same.About = cve
		for _, x := range among(v.hear(same), nil, differs) {
			if v.weight(same, x) > best {
				against = append(against, x)
			}
		}
	}
	for _, x := range against {
		if v.weight(c, x) > best {
			return Contradicted, fmt.Sprintf("%s says otherwise, and its word is worth more.", v.said([]saying{x}))
		}
	}
	for _, x := range against {
		if v.weight(c, x) == best {
			return Unsupported, fmt.Sprintf("%s says otherwise, and its word is worth as much: people must look.", v.said([]saying{x}))
		}
	}
	return "", ""
}

// unquoted says that no quote of what carries the claim holds the claim's value
// and what it is about, as a source wrote them.
func (v *judge) unquoted(c Claim, support []saying) string {
	for _, q := range c.Quotes {
		for _, x := range support {
			if x.piece != v.at[q.Evidence] {
				continue
			}
			i, _ := slices.BinarySearchFunc(x.agree, q.From, func(l *learned, from int64) int { return cmp.Compare(l.from, from) })
			if i < len(x.agree) && x.agree[i].to <= q.To {
				return ""
			}
		}
	}
	return "What it quotes is not a whole statement that says so."
}

// fresh keeps what is not too old for a claim, and of the time that the claim
// gives. Where nothing is left it says why.
func (v *judge) fresh(c Claim, support []saying) (out []saying, why string, verdict Verdict) {
	for _, x := range support {
		e := v.d.Evidence[x.piece]
		limit := v.limits.of(e.Channel)
		switch age := v.now - e.AsOf; {
		case age > limit:
			why, verdict = fmt.Sprintf("%s is %d hours old, the limit is %d.", v.said([]saying{x}), age/3600, limit/3600), Stale
		case age < -86400:
			why, verdict = fmt.Sprintf("%s is dated more than a day in the future.", v.said([]saying{x})), Stale
		case c.AsOf != 0 && c.AsOf != e.AsOf:
			if why == "" {
				why, verdict = fmt.Sprintf("%s is as of %d, not %d.", v.said([]saying{x}), e.AsOf, c.AsOf), Contradicted
			}
		default:
			out = append(out, x)
		}
	}
	return out, why, verdict
}

// said names pieces of evidence for a person.
func (v *judge) said(list []saying) string {
	parts := []string{}
	for _, x := range list[:min(len(list), 4)] {
		e := v.d.Evidence[x.piece]
		parts = append(parts, fmt.Sprintf("%s (%s %s)", e.ID, e.Source, e.Record))
	}
	if more := len(list) - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(parts, " and ")
}
