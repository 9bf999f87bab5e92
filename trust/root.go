package trust

import (
	"cmp"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
)

const codeScope refusal.Code = "PW-TRUST-SCOPE"

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
func find[T any, K cmp.Ordered](r Root, list []T, id K, key func(T) K) (T, bool) {
	var zero T
	if !r.loaded {
		return zero, false
	}
	i, ok := slices.BinarySearchFunc(list, id, func(t T, id K) int { return cmp.Compare(key(t), id) })
	if !ok {
		return zero, false
	}
	return list[i], true
}

// Covers reports whether the scope names the host. The zero Scope covers none,
// and nothing covers the zero Host.
func (s Scope) Covers(h Host) bool {
	if h.ID == "" {
		return false
	}
	return s.All || slices.Contains(s.Hosts, h.ID) || slices.Contains(s.Domains, h.Domain) ||
		slices.ContainsFunc(s.Labels, func(l Label) bool { return slices.Contains(h.Labels, l) })
}

// Valid says why the scope cannot be meant, or nil: it covers all and names
// nothing, or names at least one well-formed host, domain or label.
func (s Scope) Valid() error {
	lines := len(s.Hosts) + len(s.Domains) + len(s.Labels)
	switch {
	case s.All && lines > 0:
		return refusal.New(codeScope, "covers all hosts and names %d besides", lines)
	case !s.All && lines == 0:
		return refusal.New(codeScope, "covers no host")
	}
	for _, h := range s.Hosts {
		if !h.Valid() {
			return refusal.New(codeScope, "host %q", h)
		}
	}
	for _, d := range s.Domains {
		if !change.Name(d) {
			return refusal.New(codeScope, "fault domain %q", d)
		}
	}
	for _, l := range s.Labels {
		if !l.valid() {
			return refusal.New(codeScope, "label %q=%q", l.Key, l.Value)
		}
	}
	return nil
}

// valid wants a plain key and a printable value without blanks, 1 to 128 long.
func (l Label) valid() bool {
	return change.Name(l.Key) && l.Value != "" && len(l.Value) <= 128 &&
		!strings.ContainsFunc(l.Value, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Met reports whether the people satisfy the quorum: enough distinct people,
// and each role's need met by people who meet no other need.
func (q Quorum) Met(people []Person) bool {
	distinct := map[PersonID]Person{}
	for _, p := range people {
		distinct[p.ID] = p
	}
	if q.People < 1 || len(distinct) < q.People {
		return false
	}
	m := matching{people: distinct, of: map[PersonID]int{}}
	for _, need := range q.Roles {
		for range need.People {
			m.slots = append(m.slots, need.Role)
			if !m.fill(len(m.slots)-1, map[PersonID]bool{}) {
				return false
			}
		}
	}
	return true
}

// matching gives each slot (one person of a role) a person of its own.
type matching struct {
	people map[PersonID]Person
	slots  []string         // role wanted
	of     map[PersonID]int // slot a person fills
}

// fill finds a person for a slot and moves others on where that helps: an
// augmenting path (Kuhn's algorithm for bipartite matching).
func (m *matching) fill(slot int, tried map[PersonID]bool) bool {
	for id, p := range m.people {
		if tried[id] || !slices.Contains(p.Roles, m.slots[slot]) {
			continue
		}
		tried[id] = true
		if other, busy := m.of[id]; !busy || m.fill(other, tried) {
			m.of[id] = slot
			return true
		}
	}
	return false
}
