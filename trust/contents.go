package trust

import (
	"cmp"
	"encoding/pem"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
)

// Type names of the targets' encodings.
const (
	TypeRoster     = "patchwrit/roster/v1"
	TypeThresholds = "patchwrit/thresholds/v1"
	TypeHosts      = "patchwrit/hosts/v1"
	TypeOrigins    = "patchwrit/origins/v1"
	TypeCritical   = "patchwrit/critical/v1"
	TypePolicy     = "patchwrit/policy/v1"
)

// QuorumNames are the quorums a root has, ascending: one for each class, and
// those for standing permissions, stops and going back.
var QuorumNames = []string{"critical", "grant", "halt", "lift", "revoke", "rollback", "routine", "sensitive"}

// AgentPackage stands on every critical list: the program that judges
// permissions is never replaced under a grant.
const AgentPackage = "patchwrit-agent"

// Limits of the contents.
const (
	maxPeople  = 64 // in one quorum: approval.MaxApprovals
	maxRoles   = 8  // in one quorum: Met looks at every set of them
	maxSigners = 16 // of one origin; Debian signs with three keys
)

// contents reads every target into out. A target that this version does not
// know is refused: it might be a rule that an old reader would pass over.
func (l *loader) contents() error {
	r, t, o, c, p, h := Roster{}, Thresholds{}, Origins{}, Critical{}, Policy{}, Hosts{}
	known := []string{"witness.policy"}
	for _, d := range []struct {
		role, name, kind string
		into             any
		stated           *string
	}{
		{metadata.TARGETS, "roster.json", TypeRoster, &r, &r.Type},
		{metadata.TARGETS, "thresholds.json", TypeThresholds, &t, &t.Type},
		{metadata.TARGETS, "origins.json", TypeOrigins, &o, &o.Type},
		{metadata.TARGETS, "critical.json", TypeCritical, &c, &c.Type},
		{metadata.TARGETS, "policy.json", TypePolicy, &p, &p.Type},
		{RoleHosts, "hosts.json", TypeHosts, &h, &h.Type},
	} {
		b, err := l.target(d.role, d.name)
		if err != nil {
			return err
		}
		if err := canon.Decode(b, d.into); err != nil || *d.stated != d.kind {
			return refusal.New("PW-TRUST-FORM", "%s of type %q, wanted is %s in canonical form: %v", d.name, *d.stated, d.kind, err)
		}
		if d.role == metadata.TARGETS {
			known = append(known, d.name)
		}
	}
	witnesses, err := l.target(metadata.TARGETS, "witness.policy")
	if err != nil {
		return err
	}
	l.out.People, l.out.Solo, l.out.Quorums, l.out.Hosts = r.People, t.Solo, t.Quorums, h.Hosts
	l.out.Origins, l.out.Critical, l.out.Policy, l.out.Witnesses = o.Origins, c.List, p, string(witnesses)
	return l.keyrings(known)
}

// keyrings reads the keyring of every origin, and refuses targets not known.
func (l *loader) keyrings(known []string) (err error) {
	l.out.Keyrings = map[string][]byte{}
	for _, o := range l.out.Origins {
		name := "keyrings/" + o.Keyring
		if l.out.Keyrings[o.Keyring], err = l.target(metadata.TARGETS, name); err != nil {
			return err
		}
		known = append(known, name)
	}
	for name := range l.tuf.Targets[metadata.TARGETS].Signed.Targets {
		if !slices.Contains(known, name) {
			return refusal.New("PW-TRUST-TARGET", "%q is no target this version knows", name)
		}
	}
	return nil
}

// people wants each person and each key once, and keys that agree with what is
// pinned beside them.
func (r *Root) people() error {
	owner := map[canon.Digest]PersonID{}
	for _, p := range r.People {
		if !change.Name(string(p.ID)) || !all(p.Roles, change.Name) || !rising(p.Roles, func(role string) string { return role }) {
			return refusal.New("PW-TRUST-ROSTER", "person %q, roles %q", p.ID, p.Roles)
		}
		for _, c := range p.Credentials {
			if c.ID != CredentialOf(c.Public) || !c.closed() {
				return refusal.New("PW-TRUST-CREDENTIAL", "%s: %s %s, id %s", p.ID, c.Method, c.Algorithm, c.ID.Short())
			}
			if other, taken := owner[c.ID]; taken {
				return refusal.New("PW-TRUST-ROSTER", "credential %s is %s's and %s's", c.ID.Short(), other, p.ID)
			}
			owner[c.ID] = p.ID
		}
	}
	if !rising(r.People, func(p Person) PersonID { return p.ID }) {
		return refusal.New("PW-TRUST-ROSTER", "people are not strictly ascending by id")
	}
	return nil
}

// CredentialOf computes the id of the credential whose key is written public.
func CredentialOf(public string) canon.Digest {
	return canon.Sum("patchwrit/credential/v1", []byte(public))
}

// closed reports whether method, algorithm and what must stand beside them are
// of the closed set. Whether the key is one of that algorithm is for the room
// approval, each time it is used.
func (c Credential) closed() bool {
	switch c.Algorithm {
	case "ssh-ed25519", "ecdsa-sha2-nistp256":
		return c.Method == SSH && c.Application == "" && c.RelyingParty == "" && len(c.Origins) == 0
	case "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com":
		return c.Method == SSH && c.Application != "" && c.RelyingParty == "" && len(c.Origins) == 0
	case "ES256":
		return c.Method == WebAuthn && c.Application == "" && c.RelyingParty != "" && len(c.Origins) > 0
	}
	return false
}

// quorums judges each quorum, and wants each class to need at least what the
// one below needs, and a grant, which stands in for approvals up to sensitive,
// at least what that needs.
func (r *Root) quorums() error {
	if !slices.EqualFunc(r.Quorums, QuorumNames, func(q Quorum, name string) bool { return q.For == name }) {
		return refusal.New("PW-TRUST-QUORUM", "there must be exactly %q, in this order", QuorumNames)
	}
	of := map[string]Quorum{}
	for _, q := range r.Quorums {
		sum := 0
		for _, need := range q.Roles {
			if !change.Name(need.Role) || need.People < 1 {
				return refusal.New("PW-TRUST-QUORUM", "%s: %d of role %q", q.For, need.People, need.Role)
			}
			sum += need.People
		}
		switch {
		case q.People < max(1, sum) || q.People > maxPeople || len(q.Roles) > maxRoles || !rising(q.Roles, func(n RoleNeed) string { return n.Role }):
			return refusal.New("PW-TRUST-QUORUM", "%s: %d people, roles %v", q.For, q.People, q.Roles)
		case q.People < 2 && !r.Solo && q.For != "halt" && q.For != "revoke":
			return refusal.New("PW-TRUST-SOLO", "%s", q.For)
		}
		of[q.For] = q
	}
	for _, pair := range [][2]string{{"routine", "sensitive"}, {"sensitive", "critical"}, {"sensitive", "grant"}} {
		if !of[pair[1]].covers(of[pair[0]]) {
			return refusal.New("PW-TRUST-QUORUM", "%s needs less than %s", pair[1], pair[0])
		}
	}
	return nil
}

// covers reports whether whoever meets q meets low.
func (q Quorum) covers(low Quorum) bool {
	return q.People >= low.People && all(low.Roles, func(need RoleNeed) bool {
		return slices.ContainsFunc(q.Roles, func(n RoleNeed) bool { return n.Role == need.Role && n.People >= need.People })
	})
}

// reachable wants the people who hold a key in force to be able to meet every
// quorum, one of them on a view of their own.
func (r *Root) reachable() error {
	able, independent := []Person{}, false
	for _, p := range r.People {
		inForce := slices.DeleteFunc(slices.Clone(p.Credentials), func(c Credential) bool { return c.Revoked })
		if len(inForce) > 0 {
			able = append(able, p)
		}
		independent = independent || slices.ContainsFunc(inForce, Credential.Independent)
	}
	for _, q := range r.Quorums {
		if !q.Met(able) || !independent {
			return refusal.New("PW-TRUST-UNREACHABLE", "%s, by %d people with a key in force; one with an independent view: %t", q.For, len(able), independent)
		}
	}
	return nil
}

func (r *Root) machines() error {
	for _, h := range r.Hosts {
		key := canon.Digest(h.Public).Bytes() // a key has the form of a digest: 32 bytes, lower hex
		if key == nil || HostOf(key) != h.ID {
			return refusal.New("PW-TRUST-HOSTS", "%q is not the fingerprint of its key", h.ID)
		}
		if !change.Name(h.Domain) || !all(h.Labels, Label.valid) || !rising(h.Labels, func(l Label) string { return l.Key }) {
			return refusal.New("PW-TRUST-HOSTS", "%s: fault domain %q, labels %q", h.ID.Short(), h.Domain, h.Labels)
		}
	}
	if !rising(r.Hosts, func(h Host) HostID { return h.ID }) {
		return refusal.New("PW-TRUST-HOSTS", "hosts are not strictly ascending by fingerprint")
	}
	return nil
}

// rest judges origins, witnesses, critical list and policy pin.
func (r *Root) rest() error {
	for _, o := range r.Origins {
		named := !slices.Contains(slices.Concat([]string{o.Origin, o.Label, o.Codename}, o.Suites, o.Sections), "") && len(o.Suites) > 0 && len(o.Sections) > 0
		if !change.Name(string(o.ID)) || !change.Name(o.Keyring) || !named || o.Signers < 1 || o.Signers > maxSigners || len(r.Keyrings[o.Keyring]) == 0 {
			return refusal.New("PW-TRUST-ORIGIN", "%q: keyring %q of %d bytes, %d signers", o.ID, o.Keyring, len(r.Keyrings[o.Keyring]), o.Signers)
		}
	}
	if !rising(r.Origins, func(o Origin) change.Origin { return o.ID }) {
		return refusal.New("PW-TRUST-ORIGIN", "origins are not strictly ascending by id")
	}
	if _, err := tlog.ParsePolicy(r.Witnesses); err != nil {
		return refusal.New("PW-TRUST-WITNESSES", "%v", err)
	}
	if !r.Critical.HasPackage(AgentPackage) || !all(r.Critical.Paths, func(p string) bool { return strings.HasPrefix(p, "/") }) {
		return refusal.New("PW-TRUST-CRITICAL", "packages %q, paths %q", r.Critical.Packages, r.Critical.Paths)
	}
	block, after := pem.Decode([]byte(canon.Note(r.Policy.Key).Text()))
	pinned := r.Policy.Bundle.Valid() && block != nil && block.Type == "PUBLIC KEY" && len(after) == 0
	if !pinned && (r.Policy.Bundle != "" || r.Policy.Key != "") {
		return refusal.New("PW-TRUST-POLICY", "bundle %q, key of %d characters", r.Policy.Bundle, len(r.Policy.Key))
	}
	return nil
}

// rising wants a list strictly ascending by its keys, so that one content has
// one encoding and nothing stands twice.
func rising[T any, K cmp.Ordered](list []T, key func(T) K) bool {
	return slices.IsSortedFunc(list, func(next, last T) int { return 2*cmp.Compare(key(next), key(last)) - 1 })
}

func all[T any](list []T, good func(T) bool) bool {
	return !slices.ContainsFunc(list, func(t T) bool { return !good(t) })
}
