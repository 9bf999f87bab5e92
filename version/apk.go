package version

import (
	"cmp"
	"slices"
	"strings"
)

// maxAPKDigits is the longest number read, leading zeros apart. apk keeps
// numbers in 64 bits and wraps around, so a longer one has no place in its order.
const maxAPKDigits = 19

// apkSuffixes are the known suffixes in their order; the first apkPre of them
// mark what comes before the plain version.
var apkSuffixes = []string{"alpha", "beta", "pre", "rc", "cvs", "svn", "git", "hg", "p"}

const apkPre = 4

// apkKind is the kind of a token, in the order in which tokens follow each
// other: 1 .2 .3 a _rc 4 ~hash -r5.
type apkKind int

const (
	apkFirst   apkKind = iota // the number at the beginning
	apkNumber                 // a number after a dot
	apkLetter                 // one lower-case letter
	apkSuffix                 // "_" and one of apkSuffixes
	apkCount                  // the number of a suffix
	apkHash                   // "~" and lower-case hexadecimal digits
	apkRelease                // "-r" and a number
	apkEnd
	apkBad // not a version
)

// apkToken is one token: its text without the mark in front, and what follows.
type apkToken struct {
	kind apkKind
	text string
	rest string
}

// parseAPK checks the form digits{.digits}[letter]{_suffix[digits]}[~hash][-rdigits].
func parseAPK(s string) (string, string) {
	if len(s) > MaxLength {
		return s, tooLong
	}
	for t := firstAPK(s); t.kind != apkEnd; t = t.next() {
		if t.kind == apkBad {
			return s, "it is not of the form 1{.2}[a]{_suffix[3]}[~hash][-r4], with a known suffix and numbers below 10^19"
		}
	}
	return s, ""
}

// compareAPK orders two valid versions token by token.
func compareAPK(a, b string) int {
	for t, u := firstAPK(a), firstAPK(b); ; t, u = t.next(), u.next() {
		c := cmp.Compare(u.age(), t.age())
		if c == 0 {
			c = t.compare(u)
		}
		if c != 0 || t.kind == apkEnd {
			return c
		}
	}
}

// age orders tokens of different kinds at the same place, newest first: the
// kind that stands earlier in a version is newer, the end is older than any
// further token, and a pre-release's suffix is older still.
func (t apkToken) age() apkKind {
	if t.kind == apkSuffix && slices.Index(apkSuffixes, t.text) < apkPre {
		return apkEnd + 1
	}
	return t.kind
}

// compare orders two tokens of the same kind and age. A number after a dot that has a
// leading zero is compared as text, as a decimal fraction would be.
func (t apkToken) compare(u apkToken) int {
	switch t.kind {
	case apkFirst, apkCount, apkRelease:
		return compareDigits(t.text, u.text)
	case apkNumber:
		if t.text[0] != '0' && u.text[0] != '0' {
			return compareDigits(t.text, u.text)
		}
	case apkSuffix:
		return cmp.Compare(slices.Index(apkSuffixes, t.text), slices.Index(apkSuffixes, u.text))
	}
	return strings.Compare(t.text, u.text)
}

// firstAPK reads the token a version begins with.
func firstAPK(s string) apkToken { return takeAPK(apkFirst, s, digits(s)) }

// next reads the token after t; apkBad where none may stand there.
func (t apkToken) next() apkToken {
	s := t.rest
	switch {
	case s == "":
		return apkToken{kind: apkEnd}
	case s[0] == '.' && t.kind <= apkNumber:
		return takeAPK(apkNumber, s[1:], digits(s[1:]))
	case isLower(s[0]) && t.kind <= apkNumber:
		return takeAPK(apkLetter, s, 1)
	case s[0] == '_' && t.kind <= apkCount:
		return takeAPK(apkSuffix, s[1:], span(s[1:], isLower))
	case isDigit(s[0]) && t.kind == apkSuffix:
		return takeAPK(apkCount, s, digits(s))
	case s[0] == '~' && t.kind < apkHash:
		return takeAPK(apkHash, s[1:], span(s[1:], isHex))
	case strings.HasPrefix(s, "-r") && t.kind < apkRelease:
		return takeAPK(apkRelease, s[2:], digits(s[2:]))
	}
	return apkToken{kind: apkBad}
}

// takeAPK cuts a token of n bytes off s and checks its text.
func takeAPK(kind apkKind, s string, n int) apkToken {
	text := s[:n]
	switch {
	case n == 0,
		kind == apkSuffix && !slices.Contains(apkSuffixes, text),
		kind != apkHash && len(significant(text)) > maxAPKDigits:
		return apkToken{kind: apkBad}
	}
	return apkToken{kind, text, s[n:]}
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' }
