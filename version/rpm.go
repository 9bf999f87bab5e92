package version

import (
	"cmp"
	"strings"
)

// maxRPMEpoch is the largest epoch an rpm header holds: a 32-bit unsigned tag.
const maxRPMEpoch = "4294967295"

// The ranks of what comes next in an rpm version or release: a tilde sorts
// before the end, a caret after it, then letters, then digits.
const (
	rpmTilde = iota
	rpmEnd
	rpmCaret
	rpmLetters
	rpmDigits
)

// parseRPM reads [epoch:]version[-release]. Version and release are of the
// characters that rpm's own builder allows, with a letter or digit in each; a
// version contains no hyphen.
func parseRPM(s string) (parts, string) {
	p, reason := split(s, maxRPMEpoch)
	switch {
	case reason != "":
		return p, reason
	case !rpmText(p.upstream):
		return p, "the version is empty or not of A-Z a-z 0-9 . _ + ~ ^"
	case p.revision != "" && !rpmText(p.revision):
		return p, "the release is not of A-Z a-z 0-9 . _ + ~ ^"
	}
	return p, ""
}

// rpmText reports whether s has only allowed characters and at least one letter
// or digit: rpm would order separators alone as equal to nothing.
func rpmText(s string) bool {
	solid := false
	for i := range len(s) {
		c := s[i]
		alnum := isDigit(c) || isAlpha(c)
		if !alnum && strings.IndexByte("._+~^", c) < 0 {
			return false
		}
		solid = solid || alnum
	}
	return solid
}

// compareRPM orders by epoch (none is 0), version and release. As in rpm's own
// comparison of labels, a version without a release is older than any with one;
// the dependency rule "no release matches every release" is not applied.
func compareRPM(a, b parts) int {
	return cmp.Or(
		compareDigits(a.epoch, b.epoch),
		compareRPMPart(a.upstream, b.upstream),
		cmp.Compare(min(len(a.revision), 1), min(len(b.revision), 1)),
		compareRPMPart(a.revision, b.revision),
	)
}

// compareRPMPart orders two versions or two releases segment by segment.
// Characters that are neither letters, digits, tilde nor caret only separate.
func compareRPMPart(a, b string) int {
	for {
		a, b = strings.TrimLeft(a, "._+"), strings.TrimLeft(b, "._+")
		x, y := rpmHead(a), rpmHead(b)
		if x != y {
			return cmp.Compare(x, y)
		}
		n, m, c := 1, 1, 0 // a tilde or a caret in both
		switch x {
		case rpmEnd:
			return 0
		case rpmLetters:
			n, m = span(a, isAlpha), span(b, isAlpha)
			c = strings.Compare(a[:n], b[:m])
		case rpmDigits:
			n, m = digits(a), digits(b)
			c = compareDigits(a[:n], b[:m])
		}
		if c != 0 {
			return c
		}
		a, b = a[n:], b[m:]
	}
}

// rpmHead is the rank of what s, free of leading separators, begins with.
func rpmHead(s string) int {
	switch {
	case s == "":
		return rpmEnd
	case s[0] == '~':
		return rpmTilde
	case s[0] == '^':
		return rpmCaret
	case isDigit(s[0]):
		return rpmDigits
	}
	return rpmLetters
}
