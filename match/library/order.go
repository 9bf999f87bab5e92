package library

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/mod/semver"
)

// Compare orders two versions of an ecosystem: -1, 0, +1. The error says which
// one cannot be read.
func Compare(ecosystem, a, b string) (int, error) {
	switch ecosystem {
	case "Go", "npm", "crates.io":
		x, y := "v"+strings.TrimPrefix(a, "v"), "v"+strings.TrimPrefix(b, "v")
		for _, v := range []string{x, y} {
			if len(v) > maxVersion || !semver.IsValid(v) {
				return 0, fmt.Errorf("%.80q is no semantic version", strings.TrimPrefix(v, "v"))
			}
		}
		return semver.Compare(x, y), nil
	case "PyPI":
		x, err := parsePEP440(a)
		if err != nil {
			return 0, err
		}
		y, err := parsePEP440(b)
		if err != nil {
			return 0, err
		}
		return x.compare(y), nil
	}
	return 0, fmt.Errorf("the order of versions of %+q is not known", ecosystem)
}

const maxVersion = 255 // bytes

// python is the pattern of PEP 440, appendix B, with its spellings.
var python = regexp.MustCompile(`^v?(?:([0-9]+)!)?([0-9]+(?:\.[0-9]+)*)` +
	`(?:[-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?([0-9]*))?` +
	`(?:(?:-([0-9]+))|(?:[-_.]?(post|rev|r)[-_.]?([0-9]*)))?` +
	`(?:[-_.]?(dev)[-_.]?([0-9]*))?` +
	`(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?$`)

// pep440 is a version in the parts that order it. pre is "" for none, else
// "a", "b" or "rc" with its number; the flags tell whether a part is there.
type pep440 struct {
	epoch     string
	release   []string
	pre, preN string
	post, dev bool
	postN     string
	devN      string
	local     []string
}

func parsePEP440(s string) (pep440, error) {
	m := python.FindStringSubmatch(strings.ToLower(strings.TrimSpace(s)))
	if len(s) > maxVersion || m == nil {
		return pep440{}, fmt.Errorf("%.80q is no version by PEP 440", s)
	}
	p := pep440{epoch: m[1], release: strings.Split(m[2], "."), preN: m[4], post: m[5]+m[6] != "", postN: m[5] + m[7], dev: m[8] != "", devN: m[9]}
	switch m[3] {
	case "a", "alpha":
		p.pre = "a"
	case "b", "beta":
		p.pre = "b"
	case "c", "rc", "pre", "preview":
		p.pre = "rc"
	}
	if m[10] != "" {
		p.local = strings.FieldsFunc(m[10], func(r rune) bool { return r == '-' || r == '_' || r == '.' })
	}
	return p, nil
}

// compare follows PEP 440, "Summary of permitted suffixes and relative ordering":
// dev alone < pre < none < post; within each, dev comes before the rest.
func (p pep440) compare(q pep440) int {
	c := numbers(p.epoch, q.epoch)
	for i := 0; c == 0 && i < max(len(p.release), len(q.release)); i++ {
		c = numbers(at(p.release, i), at(q.release, i))
	}
	return cmp.Or(c,
		cmp.Compare(p.stage(), q.stage()), numbers(p.preN, q.preN),
		flag(p.post)-flag(q.post), numbers(p.postN, q.postN),
		flag(q.dev)-flag(p.dev), numbers(p.devN, q.devN),
		locals(p.local, q.local))
}

// stage ranks what follows the release numbers.
func (p pep440) stage() int {
	switch {
	case p.pre == "" && !p.post && p.dev:
		return 0
	case p.pre == "a":
		return 1
	case p.pre == "b":
		return 2
	case p.pre == "rc":
		return 3
	}
	return 4
}

func locals(a, b []string) int {
	for i := range min(len(a), len(b)) {
		x, y := strings.Trim(a[i], "0123456789") == "", strings.Trim(b[i], "0123456789") == ""
		c := flag(x) - flag(y) // a number is above a word
		if c == 0 && x {
			c = numbers(a[i], b[i])
		} else if c == 0 {
			c = strings.Compare(a[i], b[i])
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// numbers orders runs of digits by value; none is zero.
func numbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}
