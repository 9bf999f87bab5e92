// Package approval is a person's word: yes or no to one plan, a grant, its
// revocation, a halt, its lifting — and whether enough different people gave it.
//
// The parties: people sign statements with their own keys, on a machine of
// their own; the control plane carries the signatures; hosts and auditors check
// them against the roster of the trust root. A signature covers one kind of
// statement over exact bytes: a yes is never a no, a login, a halt, or a yes to
// something else.
//
// The package does not say what a plan means and keeps no state; it cannot see
// a person's screen (docs/THREATS.md).
package approval

import (
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/trust"
)

// Kind is what a person says.
type Kind string

// The closed set of kinds.
const (
	Approve Kind = "approve" // over a plan's header bytes
	Deny    Kind = "deny"    // over a plan's header bytes
	Allow   Kind = "grant"   // over a grant's bytes
	Revoke  Kind = "revoke"  // over a grant's bytes
	Stop    Kind = "halt"    // over a halt's bytes
	Lift    Kind = "lift"    // over a halt's bytes
	Promote Kind = "promote" // over a promotion's bytes (advice/conduct): more say for a model that advises
)

// Kinds lists them all.
var Kinds = []Kind{Approve, Deny, Allow, Revoke, Stop, Lift, Promote}

// Domain is the digest domain of the kind: "patchwrit/approve/v1".
func (k Kind) Domain() string { return "patchwrit/" + string(k) + "/v1" }

// Namespace is the SSHSIG namespace of the kind: "patchwrit-approve@v1".
func (k Kind) Namespace() string { return "patchwrit-" + string(k) + "@v1" }

// Statement is what is signed: a kind over exact bytes.
type Statement struct {
	Kind  Kind
	Bytes []byte // canonical bytes of a plan header, grant or halt
}

// Digest is the statement's name and the WebAuthn challenge.
func (s Statement) Digest() canon.Digest { return canon.Sum(s.Kind.Domain(), s.Bytes) }

// Approval is one person's signature over one statement.
type Approval struct {
	Type          string         `json:"type"` // "patchwrit/approval/v1"
	Kind          Kind           `json:"kind"`
	Statement     canon.Digest   `json:"statement"` // Statement.Digest
	Person        trust.PersonID `json:"person"`
	Credential    canon.Digest   `json:"credential"`
	At            int64          `json:"at"`                 // Unix seconds by the signer's clock; informative only
	Signature     string         `json:"signature"`          // base64: ssh: the SSHSIG blob without armour; webauthn: the assertion's signature
	Authenticator string         `json:"authenticator_data"` // base64; webauthn only, else ""
	Client        string         `json:"client_data"`        // base64 of clientDataJSON; webauthn only, else ""
}

// TypeApproval is the type of an Approval.
const TypeApproval = "patchwrit/approval/v1"

// Grant is a standing approval for a scope: autonomy with limits, each of which
// the host checks.
type Grant struct {
	Type     string          `json:"type"`  // "patchwrit/grant/v1"
	Nonce    string          `json:"nonce"` // 32 random bytes, lower hex
	Author   trust.PersonID  `json:"author"`
	Created  int64           `json:"created"` // Unix seconds
	Expires  int64           `json:"expires"` // at most 90 days after Created
	Scope    trust.Scope     `json:"scope"`
	Packages []string        `json:"packages"` // exact names, or a prefix that ends in *
	Origins  []change.Origin `json:"origins"`
	Ceiling  change.Class    `json:"ceiling"` // routine or sensitive; critical is refused
	Soak     int64           `json:"soak"`    // seconds the plan must have stood in a witnessed checkpoint
	Slots    []Slot          `json:"slots"`   // a fault domain that is not listed is not covered
	Budget   int             `json:"budget"`  // changes a host may take under this grant in 24 hours
	Note     canon.Note      `json:"note"`
}

// TypeGrant is the type of a Grant.
const TypeGrant = "patchwrit/grant/v1"

// MaxGrantLife is 90 days in seconds.
const MaxGrantLife = 90 * 24 * 3600

// Slot holds a fault domain back until After seconds after the soak has ended.
type Slot struct {
	Domain string `json:"domain"`
	After  int64  `json:"after"`
}

// Halt is a person's stop for a scope, with an end.
type Halt struct {
	Type   string         `json:"type"`  // "patchwrit/halt/v1"
	Nonce  string         `json:"nonce"` // 32 random bytes, lower hex
	Author trust.PersonID `json:"author"`
	From   int64          `json:"from"`  // Unix seconds
	Until  int64          `json:"until"` // at most 30 days after From
	Scope  trust.Scope    `json:"scope"`
	Note   canon.Note     `json:"note"`
}

// TypeHalt is the type of a Halt.
const TypeHalt = "patchwrit/halt/v1"

// MaxHaltLife is 30 days in seconds: a halt nobody can lift still ends.
const MaxHaltLife = 30 * 24 * 3600
