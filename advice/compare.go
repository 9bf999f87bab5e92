package advice

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/version"
)

// stance is what a fact, or a piece of evidence, says of a claim.
type stance int

const (
	silent stance = iota
	agrees
	differs
)

// question is a claim with what is worked out once for all facts.
type question struct {
	Claim
	kind   Kind
	isBase bool   // the value is a score
	vector string // the value, as canonical writes it
	span   advisory.Range
	ranged bool
	orders map[version.Scheme]*order
	places map[version.Scheme]places
}

// places are those of a claim's versions in one order.
type places struct{ at, value, low, fixed, last int }

func (v *judge) question(c Claim) *question {
	q := &question{Claim: c, kind: Kind(c.Kind), isBase: isScore(c.Value), vector: canonical(c.Value), orders: v.orders, places: map[version.Scheme]places{}}
	if q.kind == AffectedRange {
		q.span, q.ranged = rangeOf(c.Value)
	}
	return q
}

// in gives the places in the order of a scheme.
func (q *question) in(s version.Scheme) places {
	p, ok := q.places[s]
	if !ok {
		o := q.orders[s]
		p = places{o.place(q.Version), o.place(q.Value), o.place(q.span.Introduced), o.place(q.span.Fixed), o.place(q.span.LastAffected)}
		q.places[s] = p
	}
	return p
}

// saying is what one piece of evidence says of a claim.
type saying struct {
	piece  int
	stance stance
	agree  []*learned // facts that say so, in the order of the text
	broken bool       // the score that is claimed is not that of the source's own vector
}

// hear asks each piece of the dossier that may support anything what it says of a
// claim, in order. Silent ones are left out, but for broken ones.
//
// One fact that agrees is enough, as of several ranges, but for a claim that a
// package is not affected: there one range that holds the version is enough to
// differ. A piece whose edges go both ways says nothing of an order, and a source
// whose score is not that of its own vector nothing of the score.
func (v *judge) hear(c Claim) (out []saying) {
	facts, q := v.of[c.About], v.question(c)
	for i := 0; i < len(facts); {
		x, counts, own, differing := saying{piece: facts[i].piece}, trusts(v.d.Evidence[facts[i].piece]), own{}, false
		for ; i < len(facts) && facts[i].piece == x.piece; i++ {
			if !counts {
				continue
			}
			own.add(q, &facts[i])
			switch q.fits(&facts[i]) {
			case agrees:
				x.agree = append(x.agree, &facts[i])
			case differs:
				differing = true
			}
		}
		x.broken = own.broken()
		switch {
		case x.broken || differing && len(x.agree) > 0 && q.kind == DependsBefore:
		case differing && (len(x.agree) == 0 || q.denies()):
			x.stance = differs
		case len(x.agree) > 0:
			x.stance = agrees
		}
		if x.stance != silent || x.broken {
			out = append(out, x)
		}
	}
	return out
}

// among picks, of what was heard, what has a stance; of some pieces only, or of
// all where none are named.
func among(all []saying, pieces map[int]bool, s stance) (out []saying) {
	for _, x := range all {
		if x.stance == s && (pieces == nil || pieces[x.piece]) {
			out = append(out, x)
		}
	}
	return out
}

// denies reports whether a claim says that something is not so, which one fact
// of several cannot show.
func (q *question) denies() bool { return q.kind == PackageAffected && q.Value != "yes" }

// fits compares one fact with a claim.
func (q *question) fits(f *learned) stance {
	if q.kind == PackageAffected && f.Kind == AffectedRange {
		return q.within(f)
	}
	if f.Kind != q.kind || f.About != q.About || q.Source != "" && f.Source != q.Source {
		return silent
	}
	if q.kind == DependsBefore && f.Package == q.Value && f.Value == q.Package {
		return differs
	}
	if f.Package != q.Package || !q.aboutVersion(f) {
		return silent
	}
	if q.kind == Severity {
		return q.severity(f)
	}
	return q.value(f)
}

// aboutVersion reports whether a fact is about the version that a claim names. A
// source that says it of all versions names none; other facts without a version
// are about nothing that has one. Nor is a claim without a version about one: how
// many hosts have one version is not how many have the package.
func (q *question) aboutVersion(f *learned) bool {
	switch {
	case f.Version == q.Version:
		return true
	case f.Version == "":
		return f.Kind == PackageAffected
	}
	return f.at != unread && f.at == q.in(f.Scheme).at
}

// within tells whether the version of a claim lies in a range, as
// advisory.Range.Contains does.
func (q *question) within(f *learned) stance {
	if f.About != q.About || f.Package != q.Package || q.Source != "" && f.Source != q.Source || !f.ranged || q.Value == "unknown" {
		return silent
	}
	at, in := q.in(f.Scheme).at, true
	switch {
	case at == unread || f.span.Introduced != advisory.Beginning && f.low == unread:
		return silent
	case f.span.Introduced != advisory.Beginning && at < f.low:
		in = false
	case f.span.Fixed != "":
		if f.fixed == unread {
			return silent
		}
		in = at < f.fixed
	case f.span.LastAffected != "":
		if f.last == unread {
			return silent
		}
		in = at <= f.last
	}
	if in == (q.Value == "yes") {
		return agrees
	}
	return differs
}

// rangeOf reads ">=A <B", ">=A <=B" or ">=A".
func rangeOf(text string) (advisory.Range, bool) {
	var r advisory.Range
	low, high, _ := strings.Cut(text, " ")
	var ok bool
	if r.Introduced, ok = strings.CutPrefix(low, ">="); !ok || r.Introduced == "" {
		return r, false
	}
	if high == "" {
		return r, !strings.HasSuffix(text, " ")
	}
	if last, ok := strings.CutPrefix(high, "<="); ok {
		r.LastAffected = last
		return r, last != ""
	}
	r.Fixed, ok = strings.CutPrefix(high, "<")
	return r, ok && r.Fixed != ""
}

// value compares the values of a claim and a fact of one kind about one thing.
func (q *question) value(f *learned) stance {
	same := q.Value == f.Value
	switch q.kind {
	case FixedVersion, Supersedes:
		same = f.value != unread && f.value == q.in(f.Scheme).value
	case AffectedRange:
		same = q.sameRange(f)
	case EPSSScore:
		a, one := micro(q.Value)
		b, two := micro(f.Value)
		same = one && two && a == b
	case DependsBefore: // one of several that come after it
		if !same {
			return silent
		}
	case Exploitation:
		point, _, _ := strings.Cut(f.Value, "=")
		if !strings.HasPrefix(q.Value, point+"=") {
			return silent
		}
	}
	if same {
		return agrees
	}
	return differs
}

// sameRange reports whether both bounds are the same versions.
func (q *question) sameRange(f *learned) bool {
	if !q.ranged || !f.ranged {
		return false
	}
	p := q.in(f.Scheme)
	bound := func(a, b string, x, y int) bool {
		return a == b || a != advisory.Beginning && b != advisory.Beginning && x != unread && x == y
	}
	return bound(q.span.Introduced, f.span.Introduced, p.low, f.low) && bound(q.span.Fixed, f.span.Fixed, p.fixed, f.fixed) && bound(q.span.LastAffected, f.span.LastAffected, p.last, f.last)
}

// micro reads a decimal between 0 and 1 as millionths.
func micro(s string) (int, bool) {
	whole, part, _ := strings.Cut(s, ".")
	part = strings.TrimRight(part, "0")
	if len(whole) != 1 || len(part) > 6 || !digits(whole+part) {
		return 0, false
	}
	n, err := strconv.Atoi(whole + (part + "000000")[:6])
	return n, err == nil && n <= 1000000
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func isScore(s string) bool {
	whole, tenth, ok := strings.Cut(s, ".")
	return ok && digits(whole) && len(whole) <= 2 && digits(tenth) && len(tenth) == 1
}

// scoreOf gives the score that a severity is: its own, or that of a vector that
// can be scored here; else "".
func scoreOf(s string) string {
	if isScore(s) {
		return s
	}
	if tenths, ok := Base(s); ok {
		return fmt.Sprintf("%d.%d", tenths/10, tenths%10)
	}
	return ""
}

// severity compares a score with a score or a vector, and a vector or word with
// its like.
func (q *question) severity(f *learned) stance {
	switch {
	case q.isBase:
		if f.score == "" {
			return silent
		}
		if q.Value == f.score {
			return agrees
		}
		return differs
	case f.score == f.Value || strings.HasPrefix(q.Value, "CVSS:") != strings.HasPrefix(f.Value, "CVSS:"):
		return silent
	case q.vector == f.vector:
		return agrees
	}
	return differs
}

// own gathers whether a claimed score is a source's own as well as that of its
// own vector.
type own struct{ scores, vectors, score, vector bool }

func (o *own) add(q *question, f *learned) {
	if !q.isBase || q.kind != Severity || f.Kind != Severity || f.Source != q.Source || f.Version != q.Version || f.score == "" {
		return
	}
	if f.score == f.Value {
		o.scores, o.score = true, o.score || f.score == q.Value
	} else {
		o.vectors, o.vector = true, o.vector || f.score == q.Value
	}
}

// broken is true where the source gives both, the vector can be scored here, and
// one of them alone is what is claimed.
func (o own) broken() bool { return o.scores && o.vectors && o.score != o.vector }
