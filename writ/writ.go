// Package writ is the permission itself: the proof-carrying writ for one host,
// the witnesses' lease, the host's receipt, and the one function that turns
// bytes into a Verified.
//
// The parties: the control plane assembles writs (room writ/issue) and can
// withhold them; people sign plans and grants; the log's witnesses cosign
// checkpoints and sign leases; the host alone decides, with Verify, from its
// pinned trust root and its own memory.
//
// The promise: Verify and VerifyUndo are the only ways to a Verified; the zero
// Verified permits nothing; the same bytes, root, memory and time give the same
// answer. Memory goes in and comes out: whoever calls must store what came out,
// durably, before acting.
//
// It does not judge artefact bytes (room provenance) nor recompute classes
// (room artefact): Verified.Meets takes the recomputed class.
package writ

import (
	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
)

// Type names of the encodings; also their digest domains.
const (
	TypeFile    = "patchwrit/writfile/v1" // the whole writ as it travels
	TypeBody    = "patchwrit/writ/v1"     // its body: what the log's leaf is derived from
	TypeLease   = "patchwrit/lease/v1"
	TypeReceipt = "patchwrit/receipt/v1"
)

// Limits, each in seconds.
const (
	MaxLife    = 24 * 3600 // a writ's, from Issued to Expires
	LeaseLife  = 10 * 60   // a lease is good for one step begun within this
	UndoWindow = 15 * 60   // a plan's own rollback works this long after the failure
	BudgetSpan = 24 * 3600 // the span a grant's budget counts in
)

// Body is what the log's leaf is derived from.
type Body struct {
	Type      string         `json:"type"`
	Nonce     string         `json:"nonce"` // 32 random bytes, lower hex
	Host      trust.HostID   `json:"host"`
	Plan      canon.Digest   `json:"plan"`
	Branch    canon.Digest   `json:"branch"`    // canon.Sum(plan.TypeBranch, branch bytes)
	Grant     canon.Digest   `json:"grant"`     // approval.Statement digest of the grant, or "" when people approved this plan
	Approvals canon.Digest   `json:"approvals"` // ApprovalsDigest of the approvals carried: which signatures were used is logged too
	Verdict   canon.Digest   `json:"verdict"`   // canon.Sum("patchwrit/verdict/v1", verdict bytes): recorded, re-run by auditors, permits nothing
	Issued    int64          `json:"issued"`    // Unix seconds
	Expires   int64          `json:"expires"`   // at most 24 hours after Issued
	Trust     trust.Versions `json:"trust"`     // the trust root the issuer saw
}

// Digest names the writ.
func (b Body) Digest() canon.Digest { return canon.Sum(TypeBody, canon.MustEncode(b)) }

// ApprovalsDigest names a list of approvals, in its order.
func ApprovalsDigest(as []approval.Approval) canon.Digest {
	return canon.Sum("patchwrit/approvals/v1", canon.MustEncode(append([]approval.Approval{}, as...)))
}

// Entry is the writ's log entry.
func (b Body) Entry() tlog.Entry { return tlog.NewEntry("writ", b.Digest(), b.Issued) }

// Writ is one file: the body and everything that proves it.
type Writ struct {
	Type      string              `json:"type"`
	Body      Body                `json:"body"`
	Header    plan.Header         `json:"header"`
	Branch    plan.Branch         `json:"branch"`
	Index     int                 `json:"index"`     // of the branch in the plan's tree
	Path      []canon.Digest      `json:"path"`      // audit path of the branch, bottom up
	Approvals []approval.Approval `json:"approvals"` // over the plan, or over the grant when Body.Grant is set
	Grants    []Granted           `json:"grants"`    // none, or exactly one
	Earlier   []Earlier           `json:"earlier"`   // receipts of earlier waves
	Proof     tlog.Proof          `json:"proof"`     // inclusion of Body.Entry in a witnessed checkpoint
}

// Granted is what a writ under a grant carries besides.
type Granted struct {
	Grant approval.Grant `json:"grant"`
	Proof tlog.Proof     `json:"proof"` // inclusion of the plan's entry in a witnessed checkpoint: the soak counts from its quorum time
}

// Earlier is a receipt of an earlier wave with the branch that shows the
// receipt's host stood in that wave.
type Earlier struct {
	Receipt Receipt        `json:"receipt"`
	Branch  plan.Branch    `json:"branch"`
	Index   int            `json:"index"`
	Path    []canon.Digest `json:"path"`
}

// PlanEntry is the log entry of a plan.
func PlanEntry(h plan.Header) tlog.Entry { return tlog.NewEntry("plan", h.Digest(), h.Created) }

// Lease is one witness's word to one host: at this time I had seen this
// checkpoint, and nothing that covers you is halted.
type Lease struct {
	Type       string          `json:"type"`
	Witness    string          `json:"witness"` // name of its key in witness.policy
	Host       trust.HostID    `json:"host"`
	Nonce      string          `json:"nonce"` // 32 random bytes, lower hex, made by the host
	Time       int64           `json:"time"`  // Unix seconds by the witness
	Checkpoint tlog.Checkpoint `json:"checkpoint"`
	Trust      canon.Digest    `json:"trust"`     // trust.Root.ID
	Versions   trust.Versions  `json:"versions"`  // newest trust root the witness has seen
	Signature  string          `json:"signature"` // hex: Ed25519 by the witness's cosigning key over the 32 bytes of Digest
}

// Digest is what the witness signs: the lease without its signature.
func (l Lease) Digest() canon.Digest {
	l.Signature = ""
	return canon.Sum(TypeLease, canon.MustEncode(l))
}

// Shown names everything a host was shown when it acted: the writ's bytes and
// the leases that counted, in the order they came (none for a plan's own
// rollback). A receipt carries it, so that nobody can show an auditor another
// proof than the host had.
func Shown(writ []byte, leases []Lease) canon.Digest {
	type shown struct {
		Writ   canon.Digest `json:"writ"`
		Leases []Lease      `json:"leases"`
	}
	return canon.Sum("patchwrit/shown/v1", canon.MustEncode(shown{canon.SumFile(writ), append([]Lease{}, leases...)}))
}

// Outcome is how an attempt ended.
type Outcome string

// The outcomes. Only Done is good.
const (
	Done       Outcome = "done"        // every change is there and nothing else
	Failed     Outcome = "failed"      // nothing was changed
	Partial    Outcome = "partial"     // some changes are there; States says which
	RolledBack Outcome = "rolled_back" // failed, and brought back to where it came from
)

// Receipt is what the host did, signed by the host.
type Receipt struct {
	Type       string          `json:"type"`
	Host       trust.HostID    `json:"host"`
	Writ       canon.Digest    `json:"writ"`
	Plan       canon.Digest    `json:"plan"`
	Wave       int             `json:"wave"`
	Shown      canon.Digest    `json:"shown"` // Shown of the writ and leases it acted on
	Outcome    Outcome         `json:"outcome"`
	Code       string          `json:"code"` // refusal code when the outcome is not done, else ""
	States     []State         `json:"states"`
	Effective  Effective       `json:"effective"`
	Started    int64           `json:"started"`
	Ended      int64           `json:"ended"`
	Simulated  bool            `json:"simulated"`  // true only from pkgmgr/fake and sim
	Checkpoint tlog.Checkpoint `json:"checkpoint"` // newest the host holds: the next writ's consistency proof starts here
	Signature  string          `json:"signature"`  // hex: Ed25519 by the host key over the 32 bytes of Digest
}

// Digest is what the host signs: the receipt without its signature.
func (r Receipt) Digest() canon.Digest {
	r.Signature = ""
	return canon.Sum(TypeReceipt, canon.MustEncode(r))
}

// Entry is the receipt's log entry.
func (r Receipt) Entry() tlog.Entry { return tlog.NewEntry("receipt", r.Digest(), r.Ended) }

// State is one package's state as the package manager's own database tells it.
type State struct {
	Package string `json:"package"`
	Arch    string `json:"arch"`
	Before  string `json:"before"` // version, "" when it was not there
	After   string `json:"after"`
	Status  string `json:"status"` // dpkg's word: installed, half-configured, unpacked …, not-installed
}

// Fact is one rung of "effective": each shown separately, each may be unknown.
type Fact string

// The values of a Fact.
const (
	Yes     Fact = "yes"
	No      Fact = "no"
	Unknown Fact = "unknown"
)

// Effective says how far the change has reached (promise P7).
type Effective struct {
	Installed Fact     `json:"installed"` // the database and the files agree with the writ
	Running   Fact     `json:"running"`   // no process maps a replaced file; running kernel is the newest installed
	Rescanned Fact     `json:"rescanned"` // the findings that caused the plan are gone
	Healthy   Fact     `json:"healthy"`   // health probes
	Attested  Fact     `json:"attested"`  // measured by hardware
	Stale     []string `json:"stale"`     // "pid name path" of processes on replaced files, sorted
}

// Memory is everything a host must never forget. The agent's journal stores it
// durably; Verify takes it in and gives the next one out.
type Memory struct {
	Type       string          `json:"type"` // "patchwrit/memory/v1"
	Host       trust.HostID    `json:"host"`
	Root       canon.Digest    `json:"root"` // trust.Root.ID pinned at enrolment
	Versions   trust.Versions  `json:"versions"`
	Time       int64           `json:"time"`       // newest trusted time seen
	Generation int64           `json:"generation"` // newest plan generation acted on
	Checkpoint tlog.Checkpoint `json:"checkpoint"` // newest witnessed checkpoint seen
	Nonce      string          `json:"nonce"`      // outstanding lease nonce, or ""
	NonceAt    int64           `json:"nonce_at"`   // host clock when it was made
	Consumed   []Consumed      `json:"consumed"`   // plans used, until they would have expired
	Floors     []Floor         `json:"floors"`     // newest version this host ever had, ascending by key
	Spent      []Spent         `json:"spent"`      // changes taken under grants in the last day
	Failures   []Failure       `json:"failures"`   // recorded failures a plan's own rollback may answer
	Releases   []Release       `json:"releases"`   // newest Release date seen for each origin
}

// TypeMemory is the type of a Memory.
const TypeMemory = "patchwrit/memory/v1"

// Consumed is a plan whose writ for this host was used: no other writ may try it again.
type Consumed struct {
	Plan    canon.Digest `json:"plan"`
	Expires int64        `json:"expires"`
}

// Floor is the newest version of a package this host ever had.
type Floor struct {
	Key     string `json:"key"` // package:arch
	Scheme  string `json:"scheme"`
	Version string `json:"version"`
}

// Spent is one use of a grant's budget.
type Spent struct {
	Grant   canon.Digest `json:"grant"`
	At      int64        `json:"at"`
	Changes int          `json:"changes"`
}

// Failure is a failed step that this host recorded itself.
type Failure struct {
	Writ   canon.Digest `json:"writ"`
	At     int64        `json:"at"`
	Undone bool         `json:"undone"` // its rollback was used
}

// Release is the newest Release date seen for an origin.
type Release struct {
	Origin change.Origin `json:"origin"`
	Date   int64         `json:"date"`
}

// Raw is what reaches a host: unverified bytes.
type Raw struct {
	Writ        []byte         // canonical bytes of a Writ
	Leases      [][]byte       // canonical bytes of Leases for this host's outstanding nonce
	Consistency []canon.Digest // RFC 6962 proof between Memory.Checkpoint and the writ's checkpoint, older to newer
}

// Verified permits exactly one use of exactly these changes on this host. Only
// Verify and VerifyUndo fill it; the zero value permits nothing.
type Verified struct {
	p *permit
}

type permit struct {
	digest, shown, plan  canon.Digest
	host                 trust.HostID
	wave                 int
	changes, back        []change.Change
	network, undo, taken bool
	meets                func(change.Class) error
}
