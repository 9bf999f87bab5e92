package tlog

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// Why a checkpoint or a proof is refused.
const (
	CodeProof       refusal.Code = "PW-LOG-PROOF"       // not one tlog-proof in its only spelling
	CodeCheckpoint  refusal.Code = "PW-LOG-CHECKPOINT"  // not one checkpoint in its only spelling
	CodeOrigin      refusal.Code = "PW-LOG-ORIGIN"      // another log
	CodeSignature   refusal.Code = "PW-LOG-SIGNATURE"   // the log did not sign
	CodeCosignature refusal.Code = "PW-LOG-COSIGNATURE" // a cosignature is false, or of nobody the policy knows
	CodeQuorum      refusal.Code = "PW-LOG-QUORUM"      // too few witnesses
	CodeInclusion   refusal.Code = "PW-LOG-INCLUSION"   // the entry is not where the proof says
	CodeBackwards   refusal.Code = "PW-LOG-BACKWARDS"   // the newer checkpoint is smaller
	CodeFork        refusal.Code = "PW-LOG-FORK"        // same size, other content
	CodeConsistency refusal.Code = "PW-LOG-CONSISTENCY" // the proof does not show that the log only grew
)

// Limits. Sixty cosignatures are 15 KB; a path in a tree of 2^53 leaves is 53
// lines of 45 bytes.
const (
	MaxCheckpoint = 24 << 10 // bytes of a signed checkpoint
	MaxProof      = 36 << 10 // bytes of a Proof: a checkpoint and a path, in base64
)

// NewProof joins the parts of a proof: the leaf's index, its audit path from
// the leaf up, and the signed checkpoint. It judges nothing; Verify does.
func NewProof(index int64, path []canon.Digest, signed []byte) Proof {
	return Proof(base64.StdEncoding.EncodeToString(torchwood.FormatProof(index, hashes(path), signed)))
}

// Verify shows that the entry stands in a checkpoint which the log signed and
// a quorum of witnesses cosigned. Every byte of the proof counts: another
// spelling, extra data, or a signature by an unknown key is refused.
func (p Policy) Verify(e Entry, proof Proof) (Verified, error) {
	leaf, err := e.Leaf()
	if err != nil {
		return Verified{}, err
	}
	index, path, signed, err := proof.split()
	if err != nil {
		return Verified{}, refusal.New(CodeProof, "%v", err)
	}
	v, err := p.Checkpoint(signed)
	if err != nil {
		return Verified{}, err
	}
	v.Index = index
	root := hashes([]canon.Digest{v.Checkpoint.Hash})[0]
	if err := tlog.CheckRecord(path, v.Checkpoint.Size, root, index, tlog.RecordHash(leaf)); err != nil {
		return Verified{}, refusal.New(CodeInclusion, "%s %s at index %d of %d", e.Kind, e.Subject.Short(), index, v.Checkpoint.Size)
	}
	return v, nil
}

// split reads a proof. Whatever was misread comes back in another spelling.
func (p Proof) split() (index int64, path tlog.RecordProof, signed []byte, err error) {
	text, err := base64.StdEncoding.DecodeString(string(p))
	head, rest, _ := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if err != nil || len(p) > MaxProof || len(lines) < 2 {
		return 0, nil, nil, errors.New("too long, or no base64 of a tlog-proof")
	}
	index, _ = strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	for _, line := range lines[2:] {
		h, _ := tlog.ParseHash(line)
		path = append(path, h)
	}
	if again := torchwood.FormatProof(index, path, []byte(rest)); base64.StdEncoding.EncodeToString(again) != string(p) {
		return 0, nil, nil, errors.New("another spelling than its only one")
	}
	return index, path, []byte(rest), nil
}

// Checkpoint verifies a signed checkpoint: the log's signature and the
// witnesses' quorum. Index is -1: nothing is shown about any entry.
func (p Policy) Checkpoint(signed []byte) (Verified, error) {
	c, n, err := p.Signed(signed)
	if err != nil {
		return Verified{}, err
	}
	if strings.Count(string(signed), "\n\u2014 ") != len(n.Sigs) {
		return Verified{}, refusal.New(CodeCosignature, "a signature that stands twice, or by no key of the policy")
	}
	times := map[string]int64{}
	for _, s := range n.Sigs {
		_, loose := base64.StdEncoding.Strict().DecodeString(s.Base64)
		t, err := torchwood.CosignatureTimestamp(s)
		switch {
		case loose != nil:
			return Verified{}, refusal.New(CodeCheckpoint, "signature of %s in another spelling", s.Name)
		case s.Name == p.origin: // the log's own says no time
		case err != nil || t > canon.MaxInt:
			return Verified{}, refusal.New(CodeCosignature, "the time of %s is beyond the calendar", s.Name)
		default:
			times[s.Name] = t
		}
	}
	at, ok := p.QuorumTime(times)
	if !ok {
		return Verified{}, refusal.New(CodeQuorum, "%d of %d witnesses cosigned", len(times), len(p.witnesses))
	}
	return Verified{Index: -1, Checkpoint: c, Time: at, Witnesses: slices.Sorted(maps.Keys(times))}, nil
}

// Signed verifies the log's own signature, and those of the policy's witnesses
// that are there: what a witness looks at before it cosigns the note's text, and
// no reason for anybody else to believe the checkpoint.
func (p Policy) Signed(signed []byte) (Checkpoint, *note.Note, error) {
	if first, _, _ := strings.Cut(string(signed), "\n"); first != p.origin {
		return Checkpoint{}, nil, refusal.New(CodeOrigin, "%.100q, want %q", first, p.origin)
	}
	n, err := note.Open(signed, p.rule)
	var forged *note.InvalidSignatureError
	var unsigned *note.UnverifiedNoteError
	switch {
	case errors.As(err, &forged) && forged.Name != p.origin:
		return Checkpoint{}, nil, refusal.New(CodeCosignature, "%v", err)
	case errors.As(err, &forged), errors.As(err, &unsigned), err == nil && !slices.ContainsFunc(n.Sigs, p.byLog):
		return Checkpoint{}, nil, refusal.New(CodeSignature, "no valid signature by %s", p.origin)
	case err != nil:
		return Checkpoint{}, nil, refusal.New(CodeCheckpoint, "%v", err)
	}
	c, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil || c.String() != n.Text || c.Extension != "" || c.N > canon.MaxInt || len(signed) > MaxCheckpoint {
		return Checkpoint{}, nil, refusal.New(CodeCheckpoint, "not origin, size and hash in their only spelling, or %d bytes", len(signed))
	}
	return Checkpoint{Origin: c.Origin, Size: c.N, Hash: canon.Digest(hex.EncodeToString(c.Hash[:]))}, n, nil
}

func (p Policy) byLog(s note.Signature) bool { return s.Name == p.origin }

// Consistent shows that newer continues older: that the log only grew. Both
// are verified checkpoints. An older of size 0 (nothing seen) and one equal to
// newer take an empty proof.
func Consistent(older, newer Checkpoint, proof []canon.Digest) error {
	same := older.Size == newer.Size
	switch {
	case older.Origin != newer.Origin && older != (Checkpoint{}):
		return refusal.New(CodeOrigin, "%q and then %q", older.Origin, newer.Origin)
	case newer.Size < older.Size:
		return refusal.New(CodeBackwards, "from %d to %d", older.Size, newer.Size)
	case same && older.Size > 0 && newer.Hash != older.Hash:
		return refusal.New(CodeFork, "size %d is %s and %s", older.Size, older.Hash.Short(), newer.Hash.Short())
	case (same || older.Size == 0) && len(proof) > 0:
		return refusal.New(CodeConsistency, "%d hashes where none are needed", len(proof))
	case same || older.Size == 0:
		return nil
	}
	h := hashes(append([]canon.Digest{older.Hash, newer.Hash}, proof...))
	if err := tlog.CheckTree(h[2:], newer.Size, h[1], older.Size, h[0]); err != nil {
		return refusal.New(CodeConsistency, "from %d to %d: %v", older.Size, newer.Size, err)
	}
	return nil
}

// hashes gives the bytes of digests; one that is not valid becomes zeros,
// which no proof leads to.
func hashes(digests []canon.Digest) []tlog.Hash {
	out := make([]tlog.Hash, len(digests))
	for i, d := range digests {
		copy(out[i][:], d.Bytes())
	}
	return out
}
