// Package change is one exact operation on one host: which package goes from
// which version to which, by which bytes, from which origin, and how dangerous
// that is.
//
// Plans hold changes, people sign plans, hosts carry changes out. A Change
// leaves no choice to whoever executes it: the artefact is named by its digest.
// The package checks that a change is well formed and says nothing about
// whether it is permitted.
package change

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/version"
)

// Op is what happens to the package.
type Op string

// The closed set of operations.
const (
	Install   Op = "install"   // not there before: From is empty
	Upgrade   Op = "upgrade"   // From < To
	Downgrade Op = "downgrade" // From > To
	Remove    Op = "remove"    // gone afterwards: To, Artefact, Size and Origin are empty
)

// Class says how dangerous a change is. It is computed from the artefact.
type Class string

// The classes, in rising order. Every class needs at least the approval of the
// one before it.
const (
	Routine   Class = "routine"
	Sensitive Class = "sensitive" // non-standard: new setuid file, new maintainer script, ABI loss, major version …
	Critical  Class = "critical"  // boot chain, libc, ssh, sudo, pam, the package manager, Patchwrit itself, downgrades
)

// Classes lists every class in rising order.
var Classes = []Class{Routine, Sensitive, Critical}

// Rank is 1, 2, 3 in rising order and 4 for anything unknown, so that an
// unknown class is never the milder one.
func (c Class) Rank() int {
	if i := slices.Index(Classes, c); i >= 0 {
		return i + 1
	}
	return len(Classes) + 1
}

// Max returns the more dangerous of the two.
func Max(a, b Class) Class {
	if b.Rank() > a.Rank() {
		return b
	}
	return a
}

// Origin names one signed package source of the trust root ("debian-security").
type Origin string

// Change is one exact operation.
type Change struct {
	Op       Op             `json:"op"`
	Scheme   version.Scheme `json:"scheme"` // order of versions: "deb"
	Package  string         `json:"package"`
	Arch     string         `json:"arch"`
	From     string         `json:"from"` // version before, "" for Install
	To       string         `json:"to"`   // version after, "" for Remove
	Artefact canon.Digest   `json:"artefact"`
	Size     int64          `json:"size"` // of the artefact, in bytes
	Origin   Origin         `json:"origin"`
	Class    Class          `json:"class"`
}

// MaxArtefact is the largest artefact a change may name: 4 GiB. The largest
// package of Debian 12 is about 1 GiB.
const MaxArtefact = 4 << 30

// ErrForm says that a change contradicts itself.
var ErrForm = errors.New("malformed change")

// Key is "package:arch", unique within a host.
func (c Change) Key() string { return c.Package + ":" + c.Arch }

// Valid says why c is no well-formed change, or nil.
func (c Change) Valid() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", ErrForm, c.Key(), fmt.Sprintf(format, args...))
	}
	switch {
	case !Name(c.Package) || !Name(c.Arch):
		return bad("package and architecture must be plain names")
	case c.Class.Rank() > len(Classes):
		return bad("unknown class %q", c.Class)
	case (c.From == "") != (c.Op == Install):
		return bad("%s with earlier version %q", c.Op, c.From)
	case (c.To == "") != (c.Op == Remove):
		return bad("%s with later version %q", c.Op, c.To)
	case c.Op == Remove && (c.Artefact != "" || c.Size != 0 || c.Origin != ""):
		return bad("a removal names an artefact")
	case c.Op != Remove && (!c.Artefact.Valid() || c.Size < 1 || c.Size > MaxArtefact || !Name(string(c.Origin))):
		return bad("artefact, size or origin missing or absurd")
	}
	return c.validOrder(bad)
}

func (c Change) validOrder(bad func(string, ...any) error) error {
	from, to := cmp.Or(c.From, c.To), cmp.Or(c.To, c.From) // a version without another: only its form is judged
	order, err := version.Compare(c.Scheme, from, to)
	if err != nil {
		return bad("%v", err)
	}
	switch {
	case c.Op == Upgrade && order >= 0:
		return bad("upgrade from %s to %s goes not up", from, to)
	case c.Op == Downgrade && order <= 0:
		return bad("downgrade from %s to %s goes not down", from, to)
	case !slices.Contains([]Op{Install, Upgrade, Downgrade, Remove}, c.Op):
		return bad("unknown operation %q", c.Op)
	}
	return nil
}

// Name reports whether s is a plain name: 1 to 128 of a-z A-Z 0-9 . + - _ and
// beginning with a letter or digit.
func Name(s string) bool {
	const marks, plain = ".+-_", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-_"
	return s != "" && len(s) <= 128 && !strings.ContainsRune(marks, rune(s[0])) && strings.Trim(s, plain) == ""
}

// ValidSet says why cs is no change set, or nil: each change valid, keys
// strictly ascending, at least one.
func ValidSet(cs []Change) error {
	for i, c := range cs {
		if err := c.Valid(); err != nil {
			return err
		}
		if i > 0 && cs[i-1].Key() >= c.Key() {
			return fmt.Errorf("%w: %s not strictly after %s", ErrForm, c.Key(), cs[i-1].Key())
		}
	}
	if len(cs) == 0 {
		return fmt.Errorf("%w: no change at all", ErrForm)
	}
	return nil
}

// Highest returns the most dangerous class named in cs.
func Highest(cs []Change) Class {
	top := Routine
	for _, c := range cs {
		top = Max(top, c.Class)
	}
	return top
}

// List is the content of critical.json in the trust root: what is always
// Critical and never under a grant.
type List struct {
	Packages []string `json:"packages"` // exact names, or a prefix that ends in *
	Paths    []string `json:"paths"`    // absolute path prefixes inside an artefact

	Grants []canon.Digest `json:"grants"` // statements of grants that the keepers have ended
}

// HasPackage reports whether the list names the package.
func (l List) HasPackage(name string) bool {
	for _, p := range l.Packages {
		if prefix, ok := strings.CutSuffix(p, "*"); p == name || (ok && strings.HasPrefix(name, prefix)) {
			return true
		}
	}
	return false
}

// HasPath reports whether the list names a prefix of the path.
func (l List) HasPath(path string) bool {
	return slices.ContainsFunc(l.Paths, func(p string) bool { return strings.HasPrefix(path, p) })
}
