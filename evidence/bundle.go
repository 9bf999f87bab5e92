// Package evidence is one file that an auditor checks offline: everything that
// led to a change on a host, and everything needed to judge it again.
//
// The parties: the control plane exports a Bundle; an auditor holds the trust
// repository, from elsewhere, and this code; nobody else is asked. The promise:
// Check derives every statement again — plan, signatures, verdict, provenance,
// log, leases, receipts — and names each check with its result; every byte of a
// bundle is covered by at least one of them. What a bundle cannot prove stands
// in the report in plain words.
//
// It contacts nobody and trusts no field that it can compute.
package evidence

import (
	"encoding/base64"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/writ"
)

// TypeBundle is the type of a Bundle.
const TypeBundle = "patchwrit/evidence/v1"

// Bundle is everything about one plan. It is canonical JSON. Whatever can be
// derived from the rest is left out: the rules' input, and which releases and
// indexes the artefacts came from (the dossier's chains name them).
type Bundle struct {
	Type      string              `json:"type"`
	Root      canon.Digest        `json:"root"` // trust.Root.ID of the house
	Header    plan.Header         `json:"header"`
	Branches  []plan.Branch       `json:"branches"`
	Dossier   proposal.Dossier    `json:"dossier"`
	Approvals []approval.Approval `json:"approvals"`      // the yes and no that were logged over the plan, in the log's order
	Grant     canon.Digest        `json:"grant"`          // the grant that the rules were asked about, or ""
	Facts     policy.Facts        `json:"facts,omitzero"` // what the rules were told beside what derives
	Verdict   policy.Verdict      `json:"verdict"`
	Writs     []Used              `json:"writs"`   // in the log's order
	Entries   []Logged            `json:"entries"` // plan, approvals, verdict, writs, receipts, in the log's order, all at one checkpoint
	Links     []Link              `json:"links"`   // one between each two neighbouring sizes of the log that anything here speaks of
	Blobs     []Blob              `json:"blobs"`   // policy bundle, InRelease and Packages files; ascending by digest
}

// Used is a writ as the host saw it, and what the host did.
type Used struct {
	Writ     writ.Writ      `json:"writ"`
	Leases   []writ.Lease   `json:"leases"`   // those that counted, in the order the host had them; none without a receipt
	Receipts []writ.Receipt `json:"receipts"` // none yet, or the attempt's, then its rollback's
}

// Logged is an entry with its proof.
type Logged struct {
	Entry tlog.Entry `json:"entry"`
	Proof tlog.Proof `json:"proof"`
}

// Link is a consistency proof between two sizes of the log (RFC 6962 §2.1.2).
type Link struct {
	From  int64          `json:"from"`
	To    int64          `json:"to"`
	Proof []canon.Digest `json:"proof"`
}

// Blob is a file by its SHA-256.
type Blob struct {
	Digest canon.Digest `json:"digest"`
	Data   string       `json:"data"` // base64, padded
}

// NewBlob is a file of a bundle.
func NewBlob(file []byte) Blob {
	return Blob{Digest: canon.SumFile(file), Data: base64.StdEncoding.EncodeToString(file)}
}

// Report is what a check found.
type Report struct {
	OK        bool     `json:"ok"`
	Plan      string   `json:"plan"`
	Checks    []Check  `json:"checks"`
	NotProved []string `json:"not_proved"`
}

// Check is one named result.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Says string `json:"says"` // what was proved, or why not
	Code string `json:"code"` // refusal code when not ok
}
