package trusttest

import (
	"encoding/hex"

	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/tlog"
)

// hashes is a whole small log, as its stored hashes.
type hashes []sumdb.Hash

func (h hashes) ReadHashes(indexes []int64) ([]sumdb.Hash, error) {
	out := make([]sumdb.Hash, len(indexes))
	for i, n := range indexes {
		out[i] = h[n]
	}
	return out, nil
}

func grow(entries [][]byte) (hashes, error) {
	var all hashes
	for i, e := range entries {
		more, err := sumdb.StoredHashes(int64(i), e, all)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

func digests[P ~[]sumdb.Hash](path P) []canon.Digest {
	out := make([]canon.Digest, len(path))
	for i, h := range path {
		out[i] = canon.Digest(hex.EncodeToString(h[:]))
	}
	return out
}

// Prove is the proof that entries[n] stands in the log that holds exactly these
// entries; the first len(times) witnesses cosigned the checkpoint, each at its
// time (Unix seconds).
func (h House) Prove(entries [][]byte, n int, times ...int64) (tlog.Proof, error) {
	all, err := grow(entries)
	if err != nil {
		return "", err
	}
	path, err := sumdb.ProveRecord(int64(len(entries)), int64(n), all)
	if err != nil {
		return "", err
	}
	signed, err := h.Witnessed(entries, times...)
	if err != nil {
		return "", err
	}
	return tlog.NewProof(int64(n), digests(path), signed), nil
}

// Witnessed is the signed checkpoint of the log that holds exactly these
// entries, cosigned as in Prove.
func (h House) Witnessed(entries [][]byte, times ...int64) ([]byte, error) {
	all, err := grow(entries)
	if err != nil {
		return nil, err
	}
	root, err := sumdb.TreeHash(int64(len(entries)), all)
	if err != nil {
		return nil, err
	}
	return h.Checkpoint(int64(len(entries)), root, times...)
}

// Consistent is the RFC 6962 proof that the log of these entries continues the
// one of the first size entries, as tlog.Consistent takes it.
func Consistent(entries [][]byte, size int64) ([]canon.Digest, error) {
	all, err := grow(entries)
	if err != nil || size == 0 {
		return nil, err
	}
	proof, err := sumdb.ProveTree(int64(len(entries)), size, all)
	return digests(proof), err
}
