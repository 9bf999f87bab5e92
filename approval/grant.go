package approval

import (
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

const (
	codeGrantForm     refusal.Code = "PW-GRANT-FORM"
	codeGrantScope    refusal.Code = "PW-GRANT-SCOPE"
	codeGrantOp       refusal.Code = "PW-GRANT-OP"
	codeGrantPackage  refusal.Code = "PW-GRANT-PACKAGE"
	codeGrantOrigin   refusal.Code = "PW-GRANT-ORIGIN"
	codeGrantCeiling  refusal.Code = "PW-GRANT-CEILING"
	codeGrantCritical refusal.Code = "PW-GRANT-CRITICAL"
	codeGrantSelf     refusal.Code = "PW-GRANT-SELF"
	codeGrantDomain   refusal.Code = "PW-GRANT-DOMAIN"
	codeHaltForm      refusal.Code = "PW-HALT-FORM"
)

// Limits of a grant.
const (
	maxLines  = 10_000 // package patterns, origins or slots: more than a host has packages is no scope but a mistake
	maxBudget = 10_000 // changes a day on one host
	own       = "patchwrit"
)

// Bytes are the grant's canonical bytes: what people sign.
func (g Grant) Bytes() []byte { return canon.MustEncode(g) }

// Statement is the kind's statement over the grant: Allow or Revoke.
func (g Grant) Statement(k Kind) Statement { return Statement{k, g.Bytes()} }

// Valid says why the grant contradicts itself, or nil.
func (g Grant) Valid() error {
	bad := func(format string, args ...any) error { return refusal.New(codeGrantForm, format, args...) }
	switch {
	case g.Type != TypeGrant || !canon.Hex(g.Nonce, 32) || g.Author == "":
		return bad("type %q, author %q, nonce of %d characters", g.Type, g.Author, len(g.Nonce))
	case g.Created < 1 || g.Created > canon.MaxInt-MaxGrantLife || g.Expires <= g.Created || g.Expires-g.Created > MaxGrantLife:
		return bad("it lives from %d to %d; the most is 90 days", g.Created, g.Expires)
	case g.Ceiling != change.Routine && g.Ceiling != change.Sensitive:
		return bad("ceiling %q", g.Ceiling)
	case g.Soak < 0 || g.Soak > MaxGrantLife:
		return bad("soak of %d seconds", g.Soak)
	case g.Budget < 1 || g.Budget > maxBudget:
		return bad("budget of %d changes a day", g.Budget)
	}
	if err := g.Scope.Valid(); err != nil {
		return bad("%v", err)
	}
	if _, err := canon.Encode(g); err != nil {
		return bad("%v", err)
	}
	return g.validLines(bad)
}

// validLines wants every list non-empty and strictly ascending, so that a grant
// for nothing, or one line twice, is seen before it is signed.
func (g Grant) validLines(bad func(string, ...any) error) error {
	if !ascending(g.Packages) || !ascending(g.Origins) || !slices.IsSortedFunc(g.Slots, func(a, b Slot) int { return strings.Compare(a.Domain, b.Domain) }) {
		return bad("packages, origins and slots must be there and strictly ascending")
	}
	for _, p := range g.Packages {
		if name, pattern := strings.CutSuffix(p, "*"); !change.Name(name) && !(pattern && name == "") || strings.HasPrefix(name, own) {
			return bad("package %q", p)
		}
	}
	for _, o := range g.Origins {
		if !change.Name(string(o)) {
			return bad("origin %q", o)
		}
	}
	for i, s := range g.Slots {
		if s.Domain == "" || i > 0 && g.Slots[i-1].Domain == s.Domain || s.After < 0 || s.After > MaxGrantLife {
			return bad("slot of %q after %d seconds", s.Domain, s.After)
		}
	}
	if n := max(len(g.Packages), len(g.Origins), len(g.Slots)); len(g.Slots) == 0 || n > maxLines {
		return bad("%d lines at most, %d slots", n, len(g.Slots))
	}
	return nil
}

// ascending reports whether list has an element and is strictly ascending.
func ascending[T ~string](list []T) bool {
	for i := 1; i < len(list); i++ {
		if list[i-1] >= list[i] {
			return false
		}
	}
	return len(list) > 0
}

// Covers says why the grant does not permit the changes on the host, or nil. It
// judges neither time nor budget nor signatures. A grant that is not Valid
// covers nothing; critical is critical.json of the trust root, which no grant
// reaches, as none reaches Patchwrit's own packages, downgrades and removals.
func (g Grant) Covers(host trust.Host, cs []change.Change, critical change.List) error {
	if err := g.Valid(); err != nil {
		return err
	}
	if !g.Scope.Covers(host) {
		return refusal.New(codeGrantScope, "host %s", host.ID.Short())
	}
	if len(cs) == 0 {
		return refusal.New(codeGrantOp, "no change at all")
	}
	patterns := change.List{Packages: g.Packages}
	for _, c := range cs {
		switch {
		case c.Op != change.Install && c.Op != change.Upgrade:
			return refusal.New(codeGrantOp, "%s of %s", c.Op, c.Key())
		case strings.HasPrefix(c.Package, own):
			return refusal.New(codeGrantSelf, "%s", c.Key())
		case critical.HasPackage(c.Package):
			return refusal.New(codeGrantCritical, "%s", c.Key())
		case !patterns.HasPackage(c.Package):
			return refusal.New(codeGrantPackage, "%s", c.Key())
		case !slices.Contains(g.Origins, c.Origin):
			return refusal.New(codeGrantOrigin, "%s from %s", c.Key(), c.Origin)
		case c.Class.Rank() > g.Ceiling.Rank():
			return refusal.New(codeGrantCeiling, "%s is %s, the ceiling is %s", c.Key(), c.Class, g.Ceiling)
		}
	}
	return nil
}

// NotBefore is the Unix second at which a plan may begin on the host: soakStart
// (when the witnesses had seen the plan) plus the soak plus the slot of the
// host's fault domain. A domain without a slot is refused.
func (g Grant) NotBefore(host trust.Host, soakStart int64) (int64, error) {
	if err := g.Valid(); err != nil {
		return 0, err
	}
	if soakStart < 1 || soakStart > canon.MaxInt {
		return 0, refusal.New(codeGrantForm, "the soak begins at %d", soakStart)
	}
	for _, s := range g.Slots {
		if s.Domain == host.Domain {
			return soakStart + g.Soak + s.After, nil
		}
	}
	return 0, refusal.New(codeGrantDomain, "%q of host %s", host.Domain, host.ID.Short())
}

// Bytes are the halt's canonical bytes: what people sign.
func (h Halt) Bytes() []byte { return canon.MustEncode(h) }

// Statement is the kind's statement over the halt: Stop or Lift.
func (h Halt) Statement(k Kind) Statement { return Statement{k, h.Bytes()} }

// Valid says why the halt contradicts itself, or nil.
func (h Halt) Valid() error {
	switch {
	case h.Type != TypeHalt || !canon.Hex(h.Nonce, 32) || h.Author == "":
		return refusal.New(codeHaltForm, "type %q, author %q, nonce of %d characters", h.Type, h.Author, len(h.Nonce))
	case h.From < 1 || h.From > canon.MaxInt-MaxHaltLife || h.Until <= h.From || h.Until-h.From > MaxHaltLife:
		return refusal.New(codeHaltForm, "it lasts from %d to %d; the most is 30 days", h.From, h.Until)
	}
	if err := h.Scope.Valid(); err != nil {
		return refusal.New(codeHaltForm, "%v", err)
	}
	if _, err := canon.Encode(h); err != nil {
		return refusal.New(codeHaltForm, "%v", err)
	}
	return nil
}

// Covers reports whether the halt stops the host at the Unix second at: from
// From inclusive to Until exclusive. It does not ask whether the halt is Valid:
// that was asked when it was accepted, and afterwards a doubt must not free a host.
func (h Halt) Covers(host trust.Host, at int64) bool {
	return h.From <= at && at < h.Until && h.Scope.Covers(host)
}
