package writ

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// leased finds the trusted time: the latest time such that the witnesses that
// signed a good lease at or after it satisfy the quorum. A lease that is not
// good does not count; it does not spoil the others.
func (c *checker) leased() error {
	age := c.now - c.mem.NonceAt
	if !canon.Hex(c.mem.Nonce, 32) {
		return refusal.New("PW-WRIT-LEASE", "this host has asked for none")
	}
	if age < 0 || age > LeaseLife {
		return refusal.New("PW-WRIT-LEASE", "asked for %d seconds ago, good for %d", age, LeaseLife)
	}
	times, why, newer := map[string]int64{}, "none given", false
	for _, raw := range c.raw.Leases {
		l, err := c.lease(raw)
		if err != nil {
			why = err.Error()
			continue
		}
		if l.Versions.Newer(c.root.Versions) {
			newer, why = true, fmt.Sprintf("witness %s knows a newer trust root", l.Witness)
			continue
		}
		times[l.Witness] = l.Time
		c.leases = append(c.leases, l)
	}
	t, ok := c.policy.QuorumTime(times)
	switch {
	case !ok && newer:
		return refusal.New("PW-WRIT-TRUST", "%s", why)
	case !ok:
		return refusal.New("PW-WRIT-LEASE", "%d good leases are no quorum; last reason: %s", len(times), why)
	case t < c.mem.Time-skew:
		return refusal.New("PW-WRIT-LEASE", "the witnesses' time went back from %s to %s", stamp(c.mem.Time), stamp(t))
	case c.now-t > clockDrift || t-c.now > clockDrift:
		return refusal.New("PW-WRIT-CLOCK", "this host says %s, the witnesses %s", stamp(c.now), stamp(t))
	}
	c.time = max(t, c.mem.Time)
	return nil
}

// lease says why one witness's lease does not count, or returns it.
func (c *checker) lease(raw []byte) (Lease, error) {
	var l Lease
	if err := canon.Decode(raw, &l); err != nil {
		return l, err
	}
	switch {
	case l.Type != TypeLease:
		return l, fmt.Errorf("type %q", l.Type)
	case l.Host != c.mem.Host:
		return l, fmt.Errorf("lease for host %s", l.Host.Short())
	case l.Nonce != c.mem.Nonce:
		return l, fmt.Errorf("lease for another nonce")
	case l.Trust != c.root.ID:
		return l, fmt.Errorf("lease under trust root %s", l.Trust.Short())
	case l.Checkpoint.Size > 0 && l.Checkpoint.Origin != c.policy.Origin():
		return l, fmt.Errorf("lease for log %q", l.Checkpoint.Origin)
	}
	key, known := c.policy.Key(l.Witness)
	if !known {
		return l, fmt.Errorf("witness %q is not in the policy", l.Witness)
	}
	return l, l.Signed(key)
}

// Signed says why the lease is not the word of the witness with this key, or nil.
func (l Lease) Signed(key ed25519.PublicKey) error {
	if !signed(key, l.Digest(), l.Signature) {
		return fmt.Errorf("signature of witness %s does not verify", l.Witness)
	}
	return nil
}

// signed verifies a hex Ed25519 signature over the digest's 32 bytes.
func signed(key ed25519.PublicKey, d canon.Digest, signature string) bool {
	if len(key) != ed25519.PublicKeySize || !canon.Hex(signature, ed25519.SignatureSize) {
		return false
	}
	sig, _ := hex.DecodeString(signature) // cannot fail: canon.Hex has looked at every digit
	return ed25519.Verify(key, d.Bytes(), sig)
}
