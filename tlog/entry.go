// Package tlog reads the transparency log: entries, checkpoints, inclusion and
// consistency proofs, witness cosignatures and their times, in the C2SP formats
// (c2sp.org/tlog-checkpoint, tlog-cosignature, tlog-proof, tlog-tiles).
//
// The parties: the control plane's writer (room tlog/writer) appends; witnesses
// cosign that the log only grew; hosts and auditors verify here, offline. The
// promise: a Proof that verifies shows that the entry stands in a checkpoint
// that the log signed and that a quorum of witnesses had seen by Time.
//
// It does not fetch, and it does not know what an entry means.
package tlog

import (
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// TypeEntry is the type of an Entry.
const TypeEntry = "patchwrit/entry/v1"

// Entry is one leaf of the log: a governance event, named by digest only, so
// that personal data never enters the tree. Its canonical bytes are the leaf.
type Entry struct {
	Type    string       `json:"type"`
	Kind    string       `json:"kind"`    // plan, approval, grant, verdict, writ, receipt, …
	Subject canon.Digest `json:"subject"` // digest of the event's bytes, in its own domain
	At      int64        `json:"at"`      // Unix seconds, as the event itself states
}

// NewEntry makes the entry of an event.
func NewEntry(kind string, subject canon.Digest, at int64) Entry {
	return Entry{Type: TypeEntry, Kind: kind, Subject: subject, At: at}
}

// CodeEntry says that an entry is malformed.
const CodeEntry refusal.Code = "PW-LOG-ENTRY"

const maxKind = 32 // bytes; the longest word in use has 8

// Bytes are the leaf's bytes, for an entry that this program made itself.
func (e Entry) Bytes() []byte { return canon.MustEncode(e) }

// Leaf gives the leaf's bytes of any entry, and refuses one that cannot stand
// in the log.
func (e Entry) Leaf() ([]byte, error) {
	leaf, err := canon.Encode(e)
	if err != nil || e.Type != TypeEntry || e.Kind == "" || len(e.Kind) > maxKind || !e.Subject.Valid() {
		return nil, refusal.New(CodeEntry, "type %.40q, kind %.40q", e.Type, e.Kind)
	}
	return leaf, nil
}

// Checkpoint names one state of the log. The zero Checkpoint is "none seen".
type Checkpoint struct {
	Origin string       `json:"origin"`
	Size   int64        `json:"size"`
	Hash   canon.Digest `json:"hash"` // root hash, "" only in the zero Checkpoint
}

// Proof is a c2sp.org/tlog-proof@v1 text, base64 so that it stays on one line.
type Proof string

// Verified is what a proof has shown.
type Verified struct {
	Index      int64
	Checkpoint Checkpoint
	Time       int64    // latest time such that the witnesses that cosigned at or after it satisfy the quorum; Unix seconds
	Witnesses  []string // names of the witnesses whose cosignatures verified, sorted
}

// ContinuedBy reports whether origin is the name that the keepers give the next
// log after this one was lost: it carries the last witnessed checkpoint, which
// must not be older than what c's holder has seen (docs/formats.md §5).
func (c Checkpoint) ContinuedBy(origin string) bool {
	rest, ok := strings.CutPrefix(origin, c.Origin+"/after/")
	size, hash, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseInt(size, 10, 64)
	return ok && err == nil && (n > c.Size || n == c.Size && strings.HasPrefix(hash, string(c.Hash)))
}
