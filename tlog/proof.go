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
	CodeEntry       refusal.Code = "PW-LOG-ENTRY"       // the entry itself is malformed
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

// Limits. A checkpoint with MaxWitnesses cosignatures under the longest names
// is 20 KB; a path in a tree of 2^53 leaves is 53 lines of 45 bytes.
const (
	MaxCheckpoint = 24 << 10
	MaxPath       = 64
	maxProof      = MaxCheckpoint + 4<<10
	maxKind       = 32 // the longest word in use has 8 letters
)

const proofHeader = "c2sp.org/tlog-proof@v1\n"

// Log hashes are SHA-256 (RFC 6962 §2.1).
type hash = tlog.Hash

// NewProof joins the parts of a proof: the leaf's index, its audit path from
// the leaf up, and the signed checkpoint.
func NewProof(index int64, path []canon.Digest, signed []byte) (Proof, error) {
	hashes, err := hashesOf(path)
	if err != nil || index < 0 {
		return "", refusal.New(CodeProof, "index %d, %d hashes: %v", index, len(path), err)
	}
	return Proof(base64.StdEncoding.EncodeToString(torchwood.FormatProof(index, hashes, signed))), nil
}

// Verify shows that the entry stands in a checkpoint which the log signed and
// a quorum of witnesses cosigned. Every byte of the proof counts: another
// spelling, extra data, or a signature by an unknown key is refused.
func (p Policy) Verify(e Entry, proof Proof) (Verified, error) {
	leaf, err := canon.Encode(e)
	if err != nil || e.Type != TypeEntry || e.Kind == "" || len(e.Kind) > maxKind || !e.Subject.Valid() {
		return Verified{}, refusal.New(CodeEntry, "type %.40q, kind %.40q", e.Type, e.Kind)
	}
	index, path, signed, err := proof.split()
	if err != nil {
		return Verified{}, err
	}
	v, err := p.Checkpoint(signed)
	if err != nil {
		return Verified{}, err
	}
	root := hash(v.Checkpoint.Hash.Bytes())
	if err := tlog.CheckRecord(path, v.Checkpoint.Size, root, index, tlog.RecordHash(leaf)); err != nil {
		return Verified{}, refusal.New(CodeInclusion, "%s %s at index %d of %d: %v", e.Kind, e.Subject.Short(), index, v.Checkpoint.Size, err)
	}
	v.Index = index
	return v, nil
}

// split reads a proof, and refuses every spelling but the one NewProof writes.
func (p Proof) split() (index int64, path tlog.RecordProof, signed []byte, err error) {
	bad := func(what string) (int64, tlog.RecordProof, []byte, error) {
		return 0, nil, nil, refusal.New(CodeProof, "%s", what)
	}
	if len(p) > base64.StdEncoding.EncodedLen(maxProof) {
		return bad("longer than a proof can be")
	}
	text, err := base64.StdEncoding.DecodeString(string(p))
	if err != nil || base64.StdEncoding.EncodeToString(text) != string(p) {
		return bad("not base64 in its only spelling")
	}
	head, note, ok := strings.Cut(string(text), "\n\n")
	lines, has := strings.CutPrefix(head, proofHeader+"index ")
	if !ok || !has {
		return bad("not a tlog-proof without extra data")
	}
	fields := strings.Split(lines, "\n")
	index, err = strconv.ParseInt(fields[0], 10, 64)
	if err != nil || index < 0 || len(fields) > 1+MaxPath {
		return bad("no index, or too many hashes")
	}
	for _, line := range fields[1:] {
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(h) != tlog.HashSize {
			return bad("a hash that is none")
		}
		path = append(path, hash(h))
	}
	if string(torchwood.FormatProof(index, path, []byte(note))) != string(text) {
		return bad("another spelling than its only one")
	}
	return index, path, []byte(note), nil
}

// Checkpoint verifies a signed checkpoint: the log's signature and the
// witnesses' quorum. Index is -1: nothing is shown about any entry.
func (p Policy) Checkpoint(signed []byte) (Verified, error) {
	if p.rule == nil {
		return Verified{}, refusal.New(CodePolicy, "no policy is loaded")
	}
	n, c, err := p.open(signed, p.rule)
	if err != nil {
		return Verified{}, err
	}
	if len(n.UnverifiedSigs) > 0 {
		return Verified{}, refusal.New(CodeCosignature, "%q is not a key of the policy", n.UnverifiedSigs[0].Name)
	}
	times, again := map[string]int64{}, n.Text+"\n"
	for _, s := range n.Sigs {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil {
			return Verified{}, refusal.New(CodeCheckpoint, "signature of %s: %v", s.Name, err)
		}
		again += "\u2014 " + s.Name + " " + base64.StdEncoding.EncodeToString(raw) + "\n"
		if s.Name == p.origin {
			continue
		}
		t, err := torchwood.CosignatureTimestamp(s)
		if err != nil || t > canon.MaxInt {
			return Verified{}, refusal.New(CodeCosignature, "time of %s: %v", s.Name, err)
		}
		times[s.Name] = t
	}
	if again != string(signed) {
		return Verified{}, refusal.New(CodeCheckpoint, "a signature stands twice or in another spelling")
	}
	if len(times) == len(n.Sigs) {
		return Verified{}, refusal.New(CodeSignature, "only witnesses signed")
	}
	at, ok := p.QuorumTime(times)
	if !ok {
		return Verified{}, refusal.New(CodeQuorum, "%d of %d witnesses cosigned", len(times), len(p.witnesses))
	}
	return Verified{Index: -1, Checkpoint: c, Time: at, Witnesses: slices.Sorted(maps.Keys(times))}, nil
}

// Signed verifies the log's own signature on a checkpoint and nothing else,
// ignoring other signatures: what a witness looks at before it cosigns, and no
// reason for anybody else to believe it. It also returns the text to cosign.
func (p Policy) Signed(signed []byte) (c Checkpoint, text string, err error) {
	if p.rule == nil {
		return c, "", refusal.New(CodePolicy, "no policy is loaded")
	}
	n, c, err := p.open(signed, note.VerifierList(p.log))
	if err != nil {
		return Checkpoint{}, "", err
	}
	return c, n.Text, nil
}

// open reads a checkpoint of this log and verifies the signatures of known
// keys, at least one of which there is.
func (p Policy) open(signed []byte, known note.Verifiers) (*note.Note, Checkpoint, error) {
	if len(signed) > MaxCheckpoint {
		return nil, Checkpoint{}, refusal.New(CodeCheckpoint, "%d bytes, limit %d", len(signed), MaxCheckpoint)
	}
	if first, _, _ := strings.Cut(string(signed), "\n"); first != p.origin {
		return nil, Checkpoint{}, refusal.New(CodeOrigin, "%.100q, want %q", first, p.origin)
	}
	n, err := note.Open(signed, known)
	var none *note.UnverifiedNoteError
	var forged *note.InvalidSignatureError
	switch {
	case errors.As(err, &none):
		return nil, Checkpoint{}, refusal.New(CodeSignature, "%v", err)
	case errors.As(err, &forged) && forged.Name != p.origin:
		return nil, Checkpoint{}, refusal.New(CodeCosignature, "%v", err)
	case errors.As(err, &forged):
		return nil, Checkpoint{}, refusal.New(CodeSignature, "%v", err)
	case err != nil:
		return nil, Checkpoint{}, refusal.New(CodeCheckpoint, "%v", err)
	}
	c, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil || c.String() != n.Text || c.Extension != "" || c.N > canon.MaxInt {
		return nil, Checkpoint{}, refusal.New(CodeCheckpoint, "not origin, size and hash in their only spelling: %v", err)
	}
	return n, Checkpoint{Origin: c.Origin, Size: c.N, Hash: digestOf(c.Hash)}, nil
}

// Consistent shows that newer continues older: that the log only grew. An
// older of size 0 (nothing seen) and one equal to newer take an empty proof.
func Consistent(older, newer Checkpoint, proof []canon.Digest) error {
	old, errOld := hashesOf([]canon.Digest{older.Hash})
	now, errNew := hashesOf([]canon.Digest{newer.Hash})
	path, err := hashesOf(proof)
	switch {
	case older.Size < 0 || newer.Size < 0 || errNew != nil || (older.Size > 0 && errOld != nil):
		return refusal.New(CodeCheckpoint, "sizes %d and %d, or a hash that is none", older.Size, newer.Size)
	case older.Origin != newer.Origin && older != (Checkpoint{}):
		return refusal.New(CodeOrigin, "%q and then %q", older.Origin, newer.Origin)
	case newer.Size < older.Size:
		return refusal.New(CodeBackwards, "from %d to %d", older.Size, newer.Size)
	case newer.Size == older.Size && older.Size > 0 && newer.Hash != older.Hash:
		return refusal.New(CodeFork, "size %d is %s and %s", older.Size, older.Hash.Short(), newer.Hash.Short())
	case err != nil || len(path) > MaxPath:
		return refusal.New(CodeConsistency, "%d hashes: %v", len(proof), err)
	case (newer.Size == older.Size || older.Size == 0) && len(path) > 0:
		return refusal.New(CodeConsistency, "%d hashes where none are needed", len(path))
	case newer.Size == older.Size || older.Size == 0:
		return nil
	}
	if err := tlog.CheckTree(path, newer.Size, now[0], older.Size, old[0]); err != nil {
		return refusal.New(CodeConsistency, "from %d to %d: %v", older.Size, newer.Size, err)
	}
	return nil
}

func hashesOf(digests []canon.Digest) ([]hash, error) {
	hashes := make([]hash, 0, len(digests))
	for _, d := range digests {
		if !d.Valid() {
			return nil, errors.New("a digest is not 64 hexadecimal digits")
		}
		hashes = append(hashes, hash(d.Bytes()))
	}
	return hashes, nil
}

func digestOf(h hash) canon.Digest {
	return canon.Digest(hex.EncodeToString(h[:]))
}
