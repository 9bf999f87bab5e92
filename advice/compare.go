package advice

import (
	"fmt"
	"slices"
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

// opinion is what a piece of evidence says of a claim. One fact that agrees is
// enough, as of several ranges, but for a claim that a package is not affected:
// there one range that holds the version is enough to differ. A source whose
// score is not that of its own vector says nothing about the score.
func opinion(c Claim, e Evidence) stance {
	out := silent
	for _, f := range e.Facts {
		switch fits(c, f) {
		case agrees:
			if out == silent || !denies(c) {
				out = agrees
			}
		case differs:
			if out == silent || denies(c) {
				out = differs
			}
		}
	}
	if out != silent && !consistent(c, e) {
		return silent
	}
	return out
}

// denies reports whether a claim says that something is not so, which one fact
// of several cannot show.
func denies(c Claim) bool { return Kind(c.Kind) == PackageAffected && c.Value != "yes" }

// fits compares one fact with a claim.
func fits(c Claim, f Fact) stance {
	k := Kind(c.Kind)
	if k == PackageAffected && f.Kind == AffectedRange {
		return within(c, f)
	}
	if f.Kind != k || f.About != c.About || c.Source != "" && f.Source != c.Source {
		return silent
	}
	if k == DependsBefore && f.Package == c.Value && f.Value == c.Package {
		return differs
	}
	if f.Package != c.Package || !aboutVersion(c, f) {
		return silent
	}
	return value(k, c, f)
}

// aboutVersion reports whether a fact is about the version that a claim names. A
// source that says it of all versions names none; other facts without a version
// are about nothing that has one.
func aboutVersion(c Claim, f Fact) bool {
	switch {
	case f.Version == c.Version:
		return true
	case f.Version == "":
		return f.Kind == PackageAffected
	case c.Version == "":
		return true // shape has asked for one where the kind has it
	}
	order, err := version.Compare(f.Scheme, f.Version, c.Version)
	return err == nil && order == 0
}

// within tells whether the version of a claim lies in a range.
func within(c Claim, f Fact) stance {
	if f.About != c.About || f.Package != c.Package || c.Source != "" && f.Source != c.Source {
		return silent
	}
	r, ok := rangeOf(f.Value)
	if !ok {
		return silent
	}
	in, err := r.Contains(f.Scheme, c.Version)
	if err != nil || c.Value == "unknown" {
		return silent
	}
	if in == (c.Value == "yes") {
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
func value(k Kind, c Claim, f Fact) stance {
	same := c.Value == f.Value
	switch k {
	case FixedVersion, Supersedes:
		order, err := version.Compare(f.Scheme, c.Value, f.Value)
		same = err == nil && order == 0
	case AffectedRange:
		same = sameRange(f.Scheme, c.Value, f.Value)
	case EPSSScore:
		a, one := micro(c.Value)
		b, two := micro(f.Value)
		same = one && two && a == b
	case Severity:
		return severity(c.Value, f.Value)
	case DependsBefore: // one of several that come after it
		if !same {
			return silent
		}
	case Exploitation:
		point, _, _ := strings.Cut(f.Value, "=")
		if !strings.HasPrefix(c.Value, point+"=") {
			return silent
		}
	}
	if same {
		return agrees
	}
	return differs
}

func sameRange(s version.Scheme, a, b string) bool {
	x, one := rangeOf(a)
	y, two := rangeOf(b)
	if !one || !two {
		return false
	}
	for _, p := range [][2]string{{x.Introduced, y.Introduced}, {x.Fixed, y.Fixed}, {x.LastAffected, y.LastAffected}} {
		if p[0] == p[1] {
			continue
		}
		if order, err := version.Compare(s, p[0], p[1]); err != nil || order != 0 || p[0] == advisory.Beginning || p[1] == advisory.Beginning {
			return false
		}
	}
	return true
}

// micro reads a decimal between 0 and 1 as millionths.
func micro(s string) (int, bool) {
	whole, part, _ := strings.Cut(s, ".")
	part = strings.TrimRight(part, "0")
	n, err := strconv.Atoi(whole + (part + "000000")[:6])
	return n, err == nil && len(part) <= 6 && len(whole) == 1 && n >= 0 && n <= 1000000
}

func isScore(s string) bool {
	whole, tenth, ok := strings.Cut(s, ".")
	digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	return ok && digits(whole) && len(whole) <= 2 && digits(tenth) && len(tenth) == 1
}

// severity compares a score with a score or a vector, and a vector or word with
// its like.
func severity(claim, fact string) stance {
	if isScore(claim) != isScore(fact) {
		tenths, ok := Base(fact)
		if !isScore(claim) || !ok {
			return silent
		}
		fact = fmt.Sprintf("%d.%d", tenths/10, tenths%10)
	}
	vector := strings.HasPrefix(claim, "CVSS:")
	if vector != strings.HasPrefix(fact, "CVSS:") {
		return silent
	}
	if claim == fact || vector && sameVector(claim, fact) {
		return agrees
	}
	return differs
}

// consistent reports whether a claimed score is a source's own as well as that of
// its own vector, as far as the source gives both and the vector can be scored
// here.
func consistent(c Claim, e Evidence) bool {
	if Kind(c.Kind) != Severity || !isScore(c.Value) {
		return true
	}
	var scores, scored []string
	for _, f := range e.Facts {
		if f.Kind != Severity || f.About != c.About || f.Source != c.Source || f.Version != c.Version {
			continue
		}
		if isScore(f.Value) {
			scores = append(scores, f.Value)
		} else if tenths, ok := Base(f.Value); ok {
			scored = append(scored, fmt.Sprintf("%d.%d", tenths/10, tenths%10))
		}
	}
	if len(scores) == 0 || len(scored) == 0 {
		return true
	}
	return slices.Contains(scores, c.Value) == slices.Contains(scored, c.Value)
}
