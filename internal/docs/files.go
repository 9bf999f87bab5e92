package docs

import (
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
)

// The vector files. Fields called Bytes, and those that hold a statement, are
// its exact bytes as a string: canonical JSON is printable ASCII.

// Canon is canon.json: what is canonical and what is not.
type Canon struct {
	About string        `json:"about"`
	Good  []CanonGood   `json:"good"`
	Bad   []CanonBad    `json:"bad"`
	Notes []EscapedNote `json:"notes"`
}

// CanonGood is a canonical document with its digest in a domain, and plain.
type CanonGood struct {
	Name   string       `json:"name"`
	Bytes  string       `json:"bytes"`
	Domain string       `json:"domain"`
	Sum    canon.Digest `json:"sum"`
	SHA256 canon.Digest `json:"sha256"`
}

// CanonBad is what must be refused.
type CanonBad struct {
	Name  string `json:"name"`
	Bytes string `json:"bytes"`
}

// EscapedNote is a text and how it stands in a note field.
type EscapedNote struct {
	Text string     `json:"text"`
	Note canon.Note `json:"note"`
}

// Versions is versions.json: the order of Debian versions.
type Versions struct {
	About string      `json:"about"`
	Pairs []Ordered   `json:"pairs"`
	Bad   []BadString `json:"bad"`
}

// Ordered says how a compares with b: -1, 0 or 1.
type Ordered struct {
	A     string `json:"a"`
	B     string `json:"b"`
	Order int    `json:"order"`
}

// BadString is no version.
type BadString struct {
	Version string `json:"version"`
}

// Trust is trust.json: a whole trust repository.
type Trust struct {
	About       string            `json:"about"`
	Now         int64             `json:"now"`
	Pinned      canon.Digest      `json:"pinned"`
	Files       map[string]string `json:"files"` // by path
	Versions    trust.Versions    `json:"versions"`
	Hosts       []Named           `json:"hosts"`
	Credentials []Named           `json:"credentials"`
	Refused     []TrustRefused    `json:"refused"`
}

// Named is a public key as it is written, and its name.
type Named struct {
	Public string       `json:"public"`
	ID     canon.Digest `json:"id"`
}

// TrustRefused is the same repository under other circumstances.
type TrustRefused struct {
	Name    string         `json:"name"`
	Pinned  canon.Digest   `json:"pinned"`
	Seen    trust.Versions `json:"seen"`
	Now     int64          `json:"now"`
	Without string         `json:"without"` // a file that is missing, or ""
	Code    refusal.Code   `json:"code"`
}

// Plan is plan.json: a header, its branches and the tree over them.
type Plan struct {
	About          string          `json:"about"`
	Header         string          `json:"header"`
	Digest         canon.Digest    `json:"digest"`
	Tree           canon.Digest    `json:"tree"`
	Branches       []Leaf          `json:"branches"`
	RefusedPaths   []RefusedPath   `json:"refused_paths"`
	RefusedHeaders []CanonBad      `json:"refused_headers"`
	RefusedChanges []RefusedChange `json:"refused_changes"`
}

// Leaf is a branch and what ties it to the tree.
type Leaf struct {
	Bytes  string         `json:"bytes"`
	Digest canon.Digest   `json:"digest"` // in the domain patchwrit/branch/v1
	Hash   canon.Digest   `json:"hash"`   // SHA-256(0x00 || bytes)
	Index  int            `json:"index"`
	Path   []canon.Digest `json:"path"`
}

// RefusedPath does not lead from branch number Branch of the file to the tree.
type RefusedPath struct {
	Name   string         `json:"name"`
	Branch int            `json:"branch"`
	Index  int            `json:"index"`
	Path   []canon.Digest `json:"path"`
}

// RefusedChange is a change that contradicts itself.
type RefusedChange struct {
	Name   string        `json:"name"`
	Change change.Change `json:"change"`
}

// PlanFile is planfile.json: a plan as it travels between people.
type PlanFile struct {
	About   string       `json:"about"`
	Bytes   string       `json:"bytes"`
	Plan    canon.Digest `json:"plan"`
	Dossier canon.Digest `json:"dossier"`
	Refused []Replaced   `json:"refused"`
}

// Replaced is a good document in which New stands for the first Old.
type Replaced struct {
	Name string `json:"name"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

// Approvals is approvals.json: people's words under the roster of trust.json.
type Approvals struct {
	About   string            `json:"about"`
	Good    []ApprovalGood    `json:"good"`
	Refused []ApprovalRefused `json:"refused"`
}

// ApprovalGood is an approval that passes.
type ApprovalGood struct {
	Name      string         `json:"name"`
	Kind      string         `json:"kind"`
	Domain    string         `json:"domain"`
	Namespace string         `json:"namespace"`
	Statement string         `json:"statement"` // the bytes signed over
	Digest    canon.Digest   `json:"digest"`
	Challenge string         `json:"challenge"` // base64url of the digest, no padding: WebAuthn's
	Person    trust.PersonID `json:"person"`
	Approval  string         `json:"approval"`
}

// ApprovalRefused is an approval for the statement of the good one named Of.
type ApprovalRefused struct {
	Name     string       `json:"name"`
	Of       string       `json:"of"`
	Kind     string       `json:"kind"` // that is asked for
	Approval string       `json:"approval"`
	Code     refusal.Code `json:"code"`
}

// Grant is grant.json: a grant and a halt with the signatures that carry them.
type Grant struct {
	About     string        `json:"about"`
	Grant     Signed        `json:"grant"`
	Halt      Signed        `json:"halt"`
	Covers    []Covered     `json:"covers"`
	NotBefore []SoakedUntil `json:"not_before"`
	Halted    []HaltedAt    `json:"halted"`
}

// Signed is a statement and the approvals that meet its quorum.
type Signed struct {
	Bytes     string       `json:"bytes"`
	Kind      string       `json:"kind"`
	Digest    canon.Digest `json:"digest"`
	Quorum    string       `json:"quorum"`
	Approvals []string     `json:"approvals"`
}

// Covered says whether the grant covers a change on a host; Code is "" when so.
type Covered struct {
	Name   string        `json:"name"`
	Host   canon.Digest  `json:"host"`
	Change change.Change `json:"change"`
	Code   refusal.Code  `json:"code"`
}

// SoakedUntil says when a host may begin.
type SoakedUntil struct {
	Host      canon.Digest `json:"host"`
	SoakStart int64        `json:"soak_start"`
	Begins    int64        `json:"begins"`
}

// HaltedAt says whether the halt stops a host at a time.
type HaltedAt struct {
	Host    canon.Digest `json:"host"`
	At      int64        `json:"at"`
	Stopped bool         `json:"stopped"`
}

// Log is log.json: entries, a proof and a consistency proof.
type Log struct {
	About       string          `json:"about"`
	Policy      string          `json:"policy"`
	Entries     []LogLeaf       `json:"entries"`
	Proofs      []LogProof      `json:"proofs"`
	Consistency []LogConsistent `json:"consistency"`
	Refused     []LogRefused    `json:"refused"`
	BadPolicies []BadPolicy     `json:"bad_policies"`
}

// LogLeaf is an entry: the leaf's bytes and its hash.
type LogLeaf struct {
	Bytes string       `json:"bytes"`
	Hash  canon.Digest `json:"hash"`
}

// LogProof is a proof and what it shows.
type LogProof struct {
	Entry      int             `json:"entry"` // index into Entries
	Proof      tlog.Proof      `json:"proof"`
	Text       string          `json:"text"` // the proof without its base64
	Checkpoint tlog.Checkpoint `json:"checkpoint"`
	Time       int64           `json:"time"`
	Witnesses  []string        `json:"witnesses"`
}

// LogConsistent shows that newer continues older.
type LogConsistent struct {
	Older tlog.Checkpoint `json:"older"`
	Newer tlog.Checkpoint `json:"newer"`
	Proof []canon.Digest  `json:"proof"`
}

// LogRefused is a proof that shows nothing.
type LogRefused struct {
	Name  string       `json:"name"`
	Entry int          `json:"entry"`
	Proof tlog.Proof   `json:"proof"`
	Code  refusal.Code `json:"code"`
}

// BadPolicy is a witness policy that is refused.
type BadPolicy struct {
	Name   string       `json:"name"`
	Policy string       `json:"policy"`
	Code   refusal.Code `json:"code"`
}

// Lease is lease.json: what a host asks a witness and what it answers.
type Lease struct {
	About   string       `json:"about"`
	Request string       `json:"request"`
	Lease   string       `json:"lease"`
	Digest  canon.Digest `json:"digest"`
	Public  string       `json:"public"` // the witness's Ed25519 key, lower hex
	Refused []CanonBad   `json:"refused"`
}

// Writ is writ.json: whole writs, judged under the root of trust.json.
type Writ struct {
	About   string        `json:"about"`
	Good    []WritGood    `json:"good"`
	Refused []WritRefused `json:"refused"`
}

// WritGood is a writ that permits.
type WritGood struct {
	Name        string         `json:"name"`
	Now         int64          `json:"now"` // the host's clock
	Memory      string         `json:"memory"`
	Writ        string         `json:"writ"`
	Leases      []string       `json:"leases"`
	Consistency []canon.Digest `json:"consistency"`
	Digest      canon.Digest   `json:"digest"` // of the body: the writ's name
	Approvals   canon.Digest   `json:"approvals"`
	Shown       canon.Digest   `json:"shown"`
	Changes     string         `json:"changes"` // canonical array
	Next        string         `json:"next"`    // the memory afterwards
}

// WritRefused is the good writ named Of where one thing differs; what is empty
// is as there.
type WritRefused struct {
	Name    string       `json:"name"`
	Of      string       `json:"of"`
	Now     int64        `json:"now"`
	Memory  string       `json:"memory"`
	Replace []string     `json:"replace"` // in the writ's bytes: this, by that; none or two
	Leases  *int         `json:"leases"`  // only so many of them
	NoProof bool         `json:"no_consistency"`
	Code    refusal.Code `json:"code"`
}

// Receipt is receipt.json: what a host signs afterwards.
type Receipt struct {
	About   string       `json:"about"`
	Receipt string       `json:"receipt"`
	Digest  canon.Digest `json:"digest"`
	Entry   string       `json:"entry"` // its leaf in the log
	Public  string       `json:"public"`
	Good    bool         `json:"good"` // a later wave may count on it
	Refused []CanonBad   `json:"refused"`
}

// Verdict is verdict.json: the rules' answer and what they looked at.
type Verdict struct {
	About       string       `json:"about"`
	Input       string       `json:"input"`
	InputDigest canon.Digest `json:"input_digest"`
	Verdict     string       `json:"verdict"`
	Digest      canon.Digest `json:"digest"`
	Entry       string       `json:"entry"`
}
