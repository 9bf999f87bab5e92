package trust

import (
	"cmp"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
)

// Loaded reports whether r came out of Load.
func (r Root) Loaded() bool { return r.loaded }

// Person finds a person of the roster.
func (r Root) Person(id PersonID) (Person, bool) {
	return find(r, r.People, id, func(p Person) PersonID { return p.ID })
}

// Host finds a host by the fingerprint of its key.
func (r Root) Host(id HostID) (Host, bool) {
	return find(r, r.Hosts, id, func(h Host) HostID { return h.ID })
}

// Quorum finds what a class, or grant, revoke, halt, lift or rollback, needs.
func (r Root) Quorum(name string) (Quorum, bool) {
	return find(r, r.Quorums, name, func(q Quorum) string { return q.For })
}

// Origin finds a vendor source.
func (r Root) Origin(id change.Origin) (Origin, bool) {
	return find(r, r.Origins, id, func(o Origin) change.Origin { return o.ID })
}

// find searches a list that Load has found strictly ascending.
func find[T any, K cmp.Ordered](r Root, list []T, id K, key func(T) K) (found T, ok bool) {
	i, ok := slices.BinarySearchFunc(list, id, func(t T, id K) int { return cmp.Compare(key(t), id) })
	if !r.loaded || !ok {
		return found, false
	}
	return list[i], true
}

// Covers reports whether the scope names the host. The zero Scope covers none,
// and nothing covers the zero Host.
func (s Scope) Covers(h Host) bool {
	named := slices.Contains(s.Hosts, h.ID) || slices.Contains(s.Domains, h.Domain) ||
		slices.ContainsFunc(s.Labels, func(l Label) bool { return slices.Contains(h.Labels, l) })
	return h.ID != "" && (s.All || named)
}

// Valid says why the scope cannot be meant, or nil: it covers all and names
// nothing, or names at least one well-formed host, domain or label.
func (s Scope) Valid() error {
	lines := len(s.Hosts) + len(s.Domains) + len(s.Labels)
	if s.All != (lines == 0) || !all(s.Hosts, HostID.Valid) || !all(s.Domains, change.Name) || !all(s.Labels, Label.valid) {
		return refusal.New("PW-TRUST-SCOPE", "all: %t, hosts %q, domains %q, labels %q", s.All, s.Hosts, s.Domains, s.Labels)
	}
	return nil
}

// valid wants a plain key and a printable value without blanks, 1 to 128 long.
func (l Label) valid() bool {
	return change.Name(l.Key) && l.Value != "" && len(l.Value) <= 128 &&
		!strings.ContainsFunc(l.Value, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Met reports whether the people satisfy the quorum: enough distinct people,
// and every role need met by people who meet no other need. That is so exactly
// when, for every set of roles, as many people hold one of them as are needed
// for them together (Hall's theorem).
func (q Quorum) Met(people []Person) bool {
	roles := map[PersonID][]string{}
	for _, p := range people {
		roles[p.ID] = p.Roles
	}
	for set := range 1 << min(len(q.Roles), maxRoles) {
		need, wanted := 0, []string{}
		for i, n := range q.Roles {
			if set&(1<<i) != 0 {
				need, wanted = need+n.People, append(wanted, n.Role)
			}
		}
		for _, held := range roles {
			if slices.ContainsFunc(held, func(role string) bool { return slices.Contains(wanted, role) }) {
				need--
			}
		}
		if need > 0 {
			return false
		}
	}
	return q.People >= 1 && len(roles) >= q.People && len(q.Roles) <= maxRoles
}
