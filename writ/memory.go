package writ

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/version"
)

// NewMemory is the memory of a host that has just been enrolled to a trust root.
func NewMemory(host trust.HostID, root canon.Digest) Memory {
	return Memory{Type: TypeMemory, Host: host, Root: root,
		Consumed: []Consumed{}, Floors: []Floor{}, Spent: []Spent{}, Failures: []Failure{}, Releases: []Release{}}
}

func (m Memory) clone() Memory {
	m.Consumed = append([]Consumed{}, m.Consumed...)
	m.Floors = append([]Floor{}, m.Floors...)
	m.Spent = append([]Spent{}, m.Spent...)
	m.Failures = append([]Failure{}, m.Failures...)
	m.Releases = append([]Release{}, m.Releases...)
	return m
}

// remember is the memory after a writ was verified: everything only moves
// forward, and what can no longer matter is forgotten.
func (c *checker) remember() Memory {
	m, b := c.mem.clone(), c.w.Body
	m.Versions, m.Time, m.Nonce, m.NonceAt = c.root.Versions, c.time, "", 0
	m.Generation = max(m.Generation, c.w.Header.Generation)
	if c.seen.Checkpoint.Size >= m.Checkpoint.Size {
		m.Checkpoint = c.seen.Checkpoint
	}
	m.Consumed = slices.DeleteFunc(m.Consumed, func(u Consumed) bool { return u.Expires <= c.time })
	m.Consumed = append(m.Consumed, Consumed{b.Plan, c.w.Header.Expires})
	m.Spent = slices.DeleteFunc(m.Spent, func(s Spent) bool { return s.At <= c.time-BudgetSpan })
	if b.Grant != "" {
		m.Spent = append(m.Spent, Spent{b.Grant, c.time, len(c.w.Branch.Changes)})
	}
	m.Failures = slices.DeleteFunc(m.Failures, func(f Failure) bool { return c.now-f.At > UndoWindow })
	return m
}

// Asking is the memory once the host has asked the witnesses with a fresh
// nonce: 32 random bytes, lower hex, made at at (Unix seconds, host's clock).
func (m Memory) Asking(nonce string, at int64) Memory {
	m.Nonce, m.NonceAt = nonce, at
	return m
}

// Failed is the memory once a used writ has failed at at (host's clock). It is
// what VerifyUndo answers.
func (m Memory) Failed(writ canon.Digest, at int64) Memory {
	m = m.clone()
	m.Failures = append(m.Failures, Failure{Writ: writ, At: at})
	return m
}

// Had is the memory once packages were seen installed: floors rise, never fall.
// A version that cannot be read is an error, and nothing changes.
func (m Memory) Had(scheme version.Scheme, versions map[string]string) (Memory, error) {
	next := m.clone()
	at := map[string]int{}
	for i, f := range next.Floors {
		at[f.Key] = i
	}
	for key, v := range versions {
		i, known := at[key]
		floor := v
		if known {
			floor = next.Floors[i].Version
		}
		order, err := version.Compare(scheme, v, floor)
		switch {
		case err != nil:
			return m, err
		case !known:
			next.Floors = append(next.Floors, Floor{key, string(scheme), v})
		case order > 0:
			next.Floors[i].Version = v
		}
	}
	slices.SortFunc(next.Floors, func(a, b Floor) int { return strings.Compare(a.Key, b.Key) })
	return next, nil
}

// Released is the memory once a Release file of an origin was verified; dates
// never go back.
func (m Memory) Released(origin change.Origin, date int64) Memory {
	m = m.clone()
	for i, r := range m.Releases {
		if r.Origin == origin {
			m.Releases[i].Date = max(r.Date, date)
			return m
		}
	}
	m.Releases = append(m.Releases, Release{origin, date})
	return m
}

// ReleaseFloor is the newest Release date seen for an origin, 0 when none was.
func (m Memory) ReleaseFloor(origin change.Origin) int64 {
	for _, r := range m.Releases {
		if r.Origin == origin {
			return r.Date
		}
	}
	return 0
}

// Good reports whether a later wave may count on this receipt: done, installed,
// and on a real host.
func (r Receipt) Good() bool {
	return r.Outcome == Done && r.Effective.Installed == Yes && !r.Simulated
}

// Signed says why the receipt is not the host's word, or nil.
func (r Receipt) Signed(h trust.Host) error {
	key, err := hex.DecodeString(h.Public)
	if err != nil || r.Type != TypeReceipt || r.Host != h.ID || trust.HostOf(key) != h.ID {
		return errors.New("the receipt names another host or kind")
	}
	if !signed(key, r.Digest(), r.Signature) {
		return errors.New("the host's signature does not verify")
	}
	return nil
}

// verified fills the permission; nothing else does.
func (c *checker) verified() Verified {
	b := c.w.Branch
	p := &permit{digest: c.digest, shown: Shown(c.raw.Writ, c.leases), host: b.Host, plan: c.w.Body.Plan, wave: b.Wave,
		changes: slices.Clone(b.Changes), back: slices.Clone(b.Rollback), network: b.Network, undo: c.undo}
	switch {
	case c.undo:
		p.changes, p.back = p.back, p.changes
		p.meets = func(change.Class) error { return nil } // the way back was approved with the plan
	case len(c.w.Grants) == 1:
		p.meets = c.meetsGrant
	default:
		p.meets = c.meets
	}
	return Verified{p}
}

// Take uses the permission up. It must be the last thing before the package
// manager starts; the second call, and any call on the zero value, refuses. It
// is not safe for concurrent use: one host does one thing at a time.
func (v Verified) Take() error {
	if v.p == nil {
		return refusal.New("PW-VERIFIED-ZERO", "Take")
	}
	if v.p.taken {
		return refusal.New("PW-VERIFIED-USED", "writ %s", v.p.digest.Short())
	}
	v.p.taken = true
	return nil
}

// Meets says why a class computed from the bytes is not permitted, or nil.
func (v Verified) Meets(class change.Class) error {
	if v.p == nil {
		return refusal.New("PW-VERIFIED-ZERO", "Meets")
	}
	if err := v.p.meets(class); err != nil {
		return refusal.New("PW-WRIT-CLASS", "%s: %v", class, err)
	}
	return nil
}

// Changes are what may happen, sorted by key; none for the zero value.
func (v Verified) Changes() []change.Change { return slices.Clone(v.get().changes) }

// Back are the changes that lead back to where Changes start.
func (v Verified) Back() []change.Change { return slices.Clone(v.get().back) }

// Host, Digest (the writ's name), Shown, Plan, Wave, Network and Undo tell what
// the permission is for; the zero value answers with zero values.
func (v Verified) Host() trust.HostID   { return v.get().host }
func (v Verified) Digest() canon.Digest { return v.get().digest }
func (v Verified) Shown() canon.Digest  { return v.get().shown } // what was verified: for the receipt
func (v Verified) Plan() canon.Digest   { return v.get().plan }
func (v Verified) Wave() int            { return v.get().wave }
func (v Verified) Network() bool        { return v.get().network } // maintainer scripts may use it
func (v Verified) Undo() bool           { return v.get().undo }    // this is the plan's own rollback

func (v Verified) get() permit {
	if v.p == nil {
		return permit{}
	}
	return *v.p
}
