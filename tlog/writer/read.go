package writer

import (
	"context"
	"encoding/hex"
	"fmt"
	"iter"

	"github.com/transparency-dev/tessera/client"
	xtlog "golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
)

// Checkpoint returns the newest published checkpoint, signed, and what it
// shows. Before the first one it waits, as Append does.
func (l *Log) Checkpoint(ctx context.Context) ([]byte, tlog.Verified, error) {
	p, err := l.await(ctx, 0)
	return p.signed, p.seen, err
}

// Find returns the index of an entry and whether it is in the tree; it may not
// be published yet.
func (l *Log) Find(e tlog.Entry) (int64, bool) {
	leaf, err := e.Leaf()
	if err != nil {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	index, ok := l.places[xtlog.RecordHash(leaf)]
	return index, ok
}

// Prove returns a new proof of an entry that is in the log, in the newest
// published checkpoint; it waits for one of at least that size (0: any that
// holds the entry).
func (l *Log) Prove(ctx context.Context, e tlog.Entry, size int64) (tlog.Proof, error) {
	index, ok := l.Find(e)
	if !ok {
		return "", refusal.New(CodeAbsent, "%s %s", e.Kind, e.Subject.Short())
	}
	return l.proof(ctx, e, index, max(size, index+1))
}

// proof makes a proof and looks at it as a host would.
func (l *Log) proof(ctx context.Context, e tlog.Entry, index, size int64) (tlog.Proof, error) {
	one := []Placed{{Index: index}}
	err := l.proofs(ctx, []tlog.Entry{e}, one, size)
	return one[0].Proof, err
}

// proofs makes the proofs of entries whose places are known, all at the newest
// checkpoint of at least that size.
func (l *Log) proofs(ctx context.Context, entries []tlog.Entry, places []Placed, size int64) error {
	p, err := l.await(ctx, size)
	if err != nil {
		return err
	}
	b, err := client.NewProofBuilder(ctx, uint64(p.seen.Checkpoint.Size), l.reader.ReadTile)
	if err != nil {
		return fmt.Errorf("prove in a log of %d: %w", p.seen.Checkpoint.Size, err)
	}
	for i, e := range entries {
		path, err := b.InclusionProof(ctx, uint64(places[i].Index))
		if err != nil {
			return fmt.Errorf("prove entry %d: %w", places[i].Index, err)
		}
		proof := tlog.NewProof(places[i].Index, digests(path), p.signed)
		if _, err := l.policy.Verify(e, proof); err != nil {
			return fmt.Errorf("prove entry %d: the log contradicts itself: %w", places[i].Index, err)
		}
		places[i].Proof = proof
	}
	return nil
}

// Consistency proves that the log of size newer continues that of size older,
// for tlog.Consistent. It waits until newer is published.
func (l *Log) Consistency(ctx context.Context, older, newer int64) ([]canon.Digest, error) {
	if older < 0 || older > newer {
		return nil, refusal.New(CodeAbsent, "a log does not shrink from %d to %d", older, newer)
	}
	if older == 0 || older == newer {
		return []canon.Digest{}, nil
	}
	p, err := l.await(ctx, newer)
	if err != nil {
		return nil, err
	}
	b, err := client.NewProofBuilder(ctx, uint64(p.seen.Checkpoint.Size), l.reader.ReadTile)
	if err != nil {
		return nil, fmt.Errorf("prove %d to %d: %w", older, newer, err)
	}
	proof, err := b.ConsistencyProof(ctx, uint64(older), uint64(newer))
	if err != nil {
		return nil, fmt.Errorf("prove %d to %d: %w", older, newer, err)
	}
	return digests(proof), nil
}

// Entries gives every published entry in order, from index 0; it ends with the
// first error.
func (l *Log) Entries(ctx context.Context) iter.Seq2[tlog.Entry, error] {
	return func(yield func(tlog.Entry, error) bool) {
		p, err := l.await(ctx, 0)
		if err != nil {
			yield(tlog.Entry{}, err)
			return
		}
		more := true
		err = l.leaves(ctx, 0, p.seen.Checkpoint.Size, func(index int64, leaf []byte) bool {
			var e tlog.Entry
			err := canon.Decode(leaf, &e)
			if err != nil {
				err = fmt.Errorf("log entry %d: %w", index, err)
			}
			more = yield(e, err) && err == nil
			return more
		})
		if err != nil && more {
			yield(tlog.Entry{}, err)
		}
	}
}

func digests(hashes [][]byte) []canon.Digest {
	out := make([]canon.Digest, len(hashes))
	for i, h := range hashes {
		out[i] = canon.Digest(hex.EncodeToString(h))
	}
	return out
}
