// Package trust is the trust root: a TUF repository (https://theupdateframework.github.io/specification/,
// version 1.0) that names people, thresholds, hosts, witnesses and vendor
// keyrings. It only moves forward.
//
// The parties: root keepers (k of n, offline) sign it; hosts, witnesses and
// auditors load it, each pinned to the digest of the first root.json they were
// given out of band. The control plane may carry the files and cannot change them.
//
// Load is the only way to a Root that answers: the zero Root knows nobody and
// no quorum. The package fetches nothing, and gives no freshness: that comes
// from leases.
package trust

import (
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
)

// HostID is the fingerprint of a host's Ed25519 key:
// canon.Sum("patchwrit/host/v1", the 32 key bytes).
type HostID = canon.Digest

// HostOf computes the fingerprint of a host's public key.
func HostOf(public []byte) HostID { return canon.Sum("patchwrit/host/v1", public) }

// PersonID is a pseudonym from the roster, such as "p-7f3a"; names live in a
// separate table that can be erased.
type PersonID string

// Credential is one key with which a person says yes, no or halt; never one
// with which they log in.
type Credential struct {
	ID           canon.Digest `json:"id"`            // canon.Sum("patchwrit/credential/v1", []byte(Public))
	Method       Method       `json:"method"`        // ssh or webauthn
	Algorithm    string       `json:"algorithm"`     // pinned: ssh key type, or "ES256" for webauthn
	Public       string       `json:"public"`        // ssh: base64 of the key blob (RFC 4253 §6.6); webauthn: lower hex of the uncompressed P-256 point
	Application  string       `json:"application"`   // sk- ssh keys: the application string; else ""
	RelyingParty string       `json:"relying_party"` // webauthn: rp id; else ""
	Origins      []string     `json:"origins"`       // webauthn: exact origins allowed, scheme://host[:port]
	Revoked      bool         `json:"revoked"`
}

// Method is how a credential signs.
type Method string

// The methods.
const (
	SSH      Method = "ssh"
	WebAuthn Method = "webauthn"
)

// Independent reports whether signatures of c are made on a view that the
// control plane does not serve: the command line, or the page that the
// approver's own binary serves on localhost.
func (c Credential) Independent() bool {
	return c.Method == SSH || c.RelyingParty == "localhost"
}

// Person is one human being, however many keys they hold.
type Person struct {
	ID          PersonID     `json:"id"`
	Roles       []string     `json:"roles"`
	Credentials []Credential `json:"credentials"`
}

// Roster is roster.json.
type Roster struct {
	Type   string   `json:"type"` // "patchwrit/roster/v1"
	People []Person `json:"people"`
}

// Quorum is how many distinct people, and how many of each role, must say yes.
// Every role need is met by different people (AND between roles).
type Quorum struct {
	For    string     `json:"for"`    // a class, or grant, revoke, halt, lift, rollback
	People int        `json:"people"` // distinct people in all
	Roles  []RoleNeed `json:"roles"`
}

// RoleNeed is one line of a quorum.
type RoleNeed struct {
	Role   string `json:"role"`
	People int    `json:"people"`
}

// Thresholds is thresholds.json. Unless Solo is true every quorum but halt and
// revoke needs at least two people; Solo is shown everywhere.
type Thresholds struct {
	Type    string   `json:"type"` // "patchwrit/thresholds/v1"
	Solo    bool     `json:"solo"`
	Quorums []Quorum `json:"quorums"`
}

// Label is one property of a host that scopes refer to.
type Label struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Host is one machine of hosts.json.
type Host struct {
	ID     HostID  `json:"id"`
	Public string  `json:"public"` // Ed25519 public key, lower hex
	Domain string  `json:"domain"` // fault domain
	Labels []Label `json:"labels"`
}

// Hosts is hosts.json, signed by the delegated role "hosts".
type Hosts struct {
	Type  string `json:"type"` // "patchwrit/hosts/v1"
	Hosts []Host `json:"hosts"`
}

// Origin is one vendor source of artefacts and what its releases must say.
type Origin struct {
	ID       change.Origin `json:"id"`
	Keyring  string        `json:"keyring"`  // target name below keyrings/, binary OpenPGP
	Signers  int           `json:"signers"`  // distinct keys of the keyring that must have signed
	Origin   string        `json:"origin"`   // Release field Origin, exact
	Label    string        `json:"label"`    // Release field Label, exact
	Codename string        `json:"codename"` // Release field Codename, exact
	Suites   []string      `json:"suites"`   // Release field Suite: one of these
	Sections []string      `json:"sections"` // components allowed, such as "main"
}

// Origins is origins.json.
type Origins struct {
	Type    string   `json:"type"` // "patchwrit/origins/v1"
	Origins []Origin `json:"origins"`
}

// Critical is critical.json.
type Critical struct {
	Type string `json:"type"` // "patchwrit/critical/v1"
	change.List
}

// Policy is policy.json: which signed Rego bundle decides.
type Policy struct {
	Type   string       `json:"type"`   // "patchwrit/policy/v1"
	Bundle canon.Digest `json:"bundle"` // SHA-256 of the signed bundle file (tar.gz)
	Key    string       `json:"key"`    // PEM of the key that signed it, escaped as canon.Note
}

// Versions are the TUF version numbers of a loaded root. None ever falls.
type Versions struct {
	Root      int64 `json:"root"`
	Timestamp int64 `json:"timestamp"`
	Snapshot  int64 `json:"snapshot"`
	Targets   int64 `json:"targets"`
	Hosts     int64 `json:"hosts"`
}

// Scope says which hosts a grant or a halt covers: all, or every host that a
// line names. An empty scope covers none.
type Scope struct {
	All     bool     `json:"all"`
	Hosts   []HostID `json:"hosts"`
	Domains []string `json:"domains"`
	Labels  []Label  `json:"labels"` // any one of these is enough
}

// Root is a verified trust root. Fill it with Load; the zero value trusts nothing.
type Root struct {
	ID        canon.Digest // SHA-256 of the pinned first root.json: the name of this house
	Versions  Versions
	Solo      bool
	People    []Person
	Quorums   []Quorum
	Hosts     []Host
	Origins   []Origin
	Keyrings  map[string][]byte // by target name without "keyrings/"
	Critical  change.List
	Policy    Policy
	Witnesses string // witness.policy, C2SP text

	loaded bool
}
