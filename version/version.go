// Package version orders package versions the way each package manager does.
//
// Parties: rooms that must know whether one version is older than, equal to or
// newer than another (change, match, writ), and authors of versions, who are
// not trusted to write well-formed ones. Objects: a version string and the
// Scheme that says whose rules hold.
//
// Promise: Compare is a total preorder on the valid versions of one scheme and
// agrees with dpkg, rpm or apk. A string that the scheme does not allow is an
// error and is never put anywhere in the order; callers treat such a package as
// unknown, not as clean. Key gives deb versions bytes that sort the same way.
//
// It does not evaluate ranges or dependency relations, does not know which
// distribution a version came from, and does not cover language ecosystems.
package version

import (
	"cmp"
	"fmt"
	"strings"
)

// Scheme names the rules by which versions are ordered. The set is closed: Deb,
// RPM and APK. Any other value is refused.
type Scheme string

const (
	Deb Scheme = "deb" // dpkg: Debian Policy §5.6.12, deb-version(7)
	RPM Scheme = "rpm" // rpm: rpm-version(7), [epoch:]version[-release]
	APK Scheme = "apk" // Alpine: as apk-tools 2.14 and 3 do; older ones differ at numbers that begin with 0
)

// MaxLength is the longest version read, in bytes. A package's file name
// contains its version, and no file system in use allows longer names.
const MaxLength = 255

// Invalid says why a string is no version of its scheme.
type Invalid struct {
	Scheme  Scheme
	Version string // as it was given
	Reason  string // for the person who looks into it; printable
}

// shown is how much of an invalid version an error quotes, in bytes.
const shown = 80

// Error names the version (cut when long), the reason and what to do next.
func (e *Invalid) Error() string {
	v := e.Version
	if len(v) > shown {
		v = v[:shown] + "…"
	}
	return fmt.Sprintf("%q is not a valid %s version: %s; it cannot be ordered, so correct it at its source and treat the package as unknown until then",
		v, e.Scheme, e.Reason)
}

// Valid says why v is no version of scheme s (an *Invalid), or nil.
func Valid(s Scheme, v string) error {
	_, err := Compare(s, v, v)
	return err
}

// Compare gives -1, 0 or +1 as version a is older than, equal to or newer than
// version b by the rules of scheme s. Equal versions need not be equal strings.
// An invalid version or an unknown scheme is an *Invalid.
func Compare(s Scheme, a, b string) (int, error) {
	switch s {
	case Deb:
		return compare(s, parseDeb, compareDeb, a, b)
	case RPM:
		return compare(s, parseRPM, compareRPM, a, b)
	case APK:
		return compare(s, parseAPK, compareAPK, a, b)
	}
	return 0, &Invalid{Scheme: s, Version: a, Reason: "the scheme is unknown (known are deb, rpm and apk)"}
}

// compare parses a and b and orders them. A parser gives the reason why it
// cannot read its argument, or "".
func compare[T any](s Scheme, parse func(string) (T, string), order func(a, b T) int, a, b string) (int, error) {
	x, reason := parse(a)
	if reason != "" {
		return 0, &Invalid{s, a, reason}
	}
	y, reason := parse(b)
	if reason != "" {
		return 0, &Invalid{s, b, reason}
	}
	return order(x, y), nil
}

// tooLong is the reason not to read a version longer than MaxLength.
const tooLong = "it is longer than 255 bytes"

// parts is a version of the form [epoch:]upstream[-revision], as deb and rpm
// write it. rpm calls the last two version and release.
type parts struct {
	epoch    string // digits, "" for none
	upstream string
	revision string // "" for none
}

// split cuts s at the first colon and the last hyphen. An epoch must be digits
// and not above most, so that it means the same to tools with fixed-size
// integers; a present revision must not be empty.
func split(s, most string) (p parts, reason string) {
	if len(s) > MaxLength {
		return p, tooLong
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		p.epoch, s = s[:i], s[i+1:]
		if p.epoch == "" || digits(p.epoch) != len(p.epoch) {
			return p, "the epoch before the first colon is not a number"
		}
		if compareDigits(p.epoch, most) > 0 {
			return p, "the epoch is above " + most
		}
	}
	p.upstream = s
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		p.upstream, p.revision = s[:i], s[i+1:]
		if p.revision == "" {
			return p, "nothing follows the last hyphen"
		}
	}
	return p, ""
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isAlpha(c byte) bool { return isLower(c) || 'A' <= c && c <= 'Z' }

// span is the length of the longest prefix of s whose bytes are all in class.
func span(s string, class func(byte) bool) int {
	n := 0
	for n < len(s) && class(s[n]) {
		n++
	}
	return n
}

// digits is the length of the run of digits that s begins with.
func digits(s string) int { return span(s, isDigit) }

// significant cuts the leading zeros off a run of digits; zero becomes "".
func significant(s string) string {
	for len(s) > 0 && s[0] == '0' {
		s = s[1:]
	}
	return s
}

// compareDigits orders two runs of digits by value, however long; an empty run
// counts as zero.
func compareDigits(a, b string) int {
	a, b = significant(a), significant(b)
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}
