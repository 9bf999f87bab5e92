package approval

import (
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
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
	bad := func(format string, args ...any) error { return refusal.New("PW-GRANT-FORM", format, args...) }
	switch {
	case g.Type != TypeGrant || !canon.Hex(g.Nonce, 32) || g.Author == "":
		return bad("type %q, author %q, nonce of %d characters", g.Type, g.Author, len(g.Nonce))
	case !lives(g.Created, g.Expires, MaxGrantLife):
		return bad("it lives from %d to %d; the most is 90 days", g.Created, g.Expires)
	case g.Ceiling != change.Routine && g.Ceiling != change.Sensitive:
		return bad("ceiling %q", g.Ceiling)
	case g.Soak < 0 || g.Soak > MaxGrantLife || g.Budget < 1 || g.Budget > maxBudget:
		return bad("soak of %d seconds, budget of %d changes a day", g.Soak, g.Budget)
	case !g.validLines():
		return bad("packages, origins and slots must be there, plain and strictly ascending; Patchwrit itself is never among them")
	}
	if err := g.Scope.Valid(); err != nil {
		return bad("%v", err)
	}
	if _, err := canon.Encode(g); err != nil {
		return bad("%v", err)
	}
	return nil
}

// lives reports whether a statement begins, ends later, and ends within most
// seconds.
func lives(from, until, most int64) bool {
	return from > 0 && from <= canon.MaxInt-most && until > from && until-from <= most
}

// validLines wants every list non-empty and strictly ascending, so that a grant
// for nothing, or one line twice, is seen before it is signed.
func (g Grant) validLines() bool {
	domains := []string{}
	for _, s := range g.Slots {
		if s.After < 0 || s.After > MaxGrantLife {
			return false
		}
		domains = append(domains, s.Domain)
	}
	pattern := func(p string) bool {
		return p == "*" || change.Name(strings.TrimSuffix(p, "*")) && !strings.HasPrefix(p, own)
	}
	origin := func(o change.Origin) bool { return change.Name(string(o)) }
	return lines(g.Packages, pattern) && lines(g.Origins, origin) && lines(domains, change.Name)
}

// lines reports whether list is there, bounded, strictly ascending and valid
// throughout.
func lines[T ~string](list []T, valid func(T) bool) bool {
	for i, line := range list {
		if i > 0 && list[i-1] >= line || !valid(line) {
			return false
		}
	}
	return len(list) > 0 && len(list) <= maxLines
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
		return refusal.New("PW-GRANT-SCOPE", "host %s", host.ID.Short())
	}
	if len(cs) == 0 {
		return refusal.New("PW-GRANT-OP", "no change at all")
	}
	patterns := change.List{Packages: g.Packages}
	for _, c := range cs {
		switch {
		case c.Op != change.Install && c.Op != change.Upgrade:
			return refusal.New("PW-GRANT-OP", "%s of %s", c.Op, c.Key())
		case strings.HasPrefix(c.Package, own):
			return refusal.New("PW-GRANT-SELF", "%s", c.Key())
		case critical.HasPackage(c.Package):
			return refusal.New("PW-GRANT-CRITICAL", "%s", c.Key())
		case !patterns.HasPackage(c.Package):
			return refusal.New("PW-GRANT-PACKAGE", "%s", c.Key())
		case !slices.Contains(g.Origins, c.Origin):
			return refusal.New("PW-GRANT-ORIGIN", "%s from %s", c.Key(), c.Origin)
		case c.Class.Rank() > g.Ceiling.Rank():
			return refusal.New("PW-GRANT-CEILING", "%s is %s, the ceiling is %s", c.Key(), c.Class, g.Ceiling)
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
		return 0, refusal.New("PW-GRANT-FORM", "the soak begins at %d", soakStart)
	}
	for _, s := range g.Slots {
		if s.Domain == host.Domain {
			return soakStart + g.Soak + s.After, nil
		}
	}
	return 0, refusal.New("PW-GRANT-DOMAIN", "%q of host %s", host.Domain, host.ID.Short())
}

// Bytes are the halt's canonical bytes: what people sign.
func (h Halt) Bytes() []byte { return canon.MustEncode(h) }

// Statement is the kind's statement over the halt: Stop or Lift.
func (h Halt) Statement(k Kind) Statement { return Statement{k, h.Bytes()} }

// Valid says why the halt contradicts itself, or nil.
func (h Halt) Valid() error {
	switch {
	case h.Type != TypeHalt || !canon.Hex(h.Nonce, 32) || h.Author == "":
		return refusal.New("PW-HALT-FORM", "type %q, author %q, nonce of %d characters", h.Type, h.Author, len(h.Nonce))
	case !lives(h.From, h.Until, MaxHaltLife):
		return refusal.New("PW-HALT-FORM", "it lasts from %d to %d; the most is 30 days", h.From, h.Until)
	}
	if err := h.Scope.Valid(); err != nil {
		return refusal.New("PW-HALT-FORM", "%v", err)
	}
	if _, err := canon.Encode(h); err != nil {
		return refusal.New("PW-HALT-FORM", "%v", err)
	}
	return nil
}

// Covers reports whether the halt stops the host at the Unix second at: from
// From inclusive to Until exclusive. It does not ask whether the halt is Valid:
// that was asked when it was accepted, and afterwards a doubt must not free a host.
func (h Halt) Covers(host trust.Host, at int64) bool {
	return h.From <= at && at < h.Until && h.Scope.Covers(host)
}
