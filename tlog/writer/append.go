package writer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/client"
	xtlog "golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
)

// glance is how often the published checkpoint is looked at: a file of some
// 600 bytes in the page cache.
const glance = 10 * time.Millisecond

type leafHash = xtlog.Hash

// flight is an entry on its way into the tree, which several callers may wait for.
type flight struct {
	landed chan struct{} // closed when the fields below are set
	index  int64
	err    error
}

// Append puts an entry into the log and returns its proof, once a quorum of
// witnesses has cosigned a published checkpoint that holds it. An entry that
// is already there is not added again; its proof is the newest. The end of ctx
// ends the wait with PW-LOG-WITNESSES; the entry may then stand in the tree, so
// appending it again later gives the proof.
func (l *Log) Append(ctx context.Context, e tlog.Entry) (tlog.Proof, error) {
	leaf, err := e.Leaf()
	if err != nil {
		return "", err
	}
	index, err := l.add(ctx, leaf)
	if err != nil {
		return "", err
	}
	return l.proof(ctx, e, index, index+1)
}

// Placed is where an entry stands, and its proof.
type Placed struct {
	Index int64
	Proof tlog.Proof
}

// AppendAll is Append for many entries: they share batches and one checkpoint,
// and those that are new stand in the log in their order. It returns the places
// of all, or an error; entries may then stand in the tree all the same.
func (l *Log) AppendAll(ctx context.Context, entries []tlog.Entry) ([]Placed, error) {
	out := make([]Placed, len(entries))
	waits, size := make([]func() (int64, error), len(entries)), int64(0)
	for i, e := range entries {
		leaf, err := e.Leaf()
		if err != nil {
			return nil, err
		}
		if waits[i], err = l.begin(ctx, leaf); err != nil {
			return nil, err
		}
	}
	for i, wait := range waits {
		index, err := wait()
		if err != nil {
			return nil, err
		}
		out[i].Index, size = index, max(size, index+1)
	}
	return out, l.proofs(ctx, entries, out, size)
}

// fillWindow is how many entries are on their way at once.
const fillWindow = 1000

// Fill brings entries into a new log, in their order, and waits at most patience
// for a quorum of witnesses to cosign a checkpoint that holds them all. Where
// the witnesses have seen the same log before, smaller ones get no cosignature.
func (l *Log) Fill(ctx context.Context, entries []tlog.Entry, patience time.Duration) error {
	for from := 0; from < len(entries); from += fillWindow {
		part := entries[from:min(from+fillWindow, len(entries))]
		waits := make([]func() (int64, error), len(part))
		for i, e := range part {
			leaf, err := e.Leaf()
			if err != nil {
				return err
			}
			if waits[i], err = l.begin(ctx, leaf); err != nil {
				return err
			}
		}
		for i, wait := range waits {
			if index, err := wait(); err != nil || index != int64(from+i) {
				return fmt.Errorf("entry %d was given place %d: %w", from+i, index, err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := l.await(ctx, int64(len(entries)))
	return err
}

// add brings a leaf into the tree, durably, and returns its index.
func (l *Log) add(ctx context.Context, leaf []byte) (int64, error) {
	wait, err := l.begin(ctx, leaf)
	if err != nil {
		return 0, err
	}
	return wait()
}

// begin hands a leaf over, unless it is there or on its way; wait gives its
// index once it is in the tree.
func (l *Log) begin(ctx context.Context, leaf []byte) (wait func() (int64, error), err error) {
	h := xtlog.RecordHash(leaf)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return nil, refusal.New(CodeClosed, "before the entry was written")
	}
	if index, ok := l.places[h]; ok {
		return func() (int64, error) { return index, nil }, nil
	}
	f, ok := l.flying[h]
	if !ok {
		f = &flight{landed: make(chan struct{})}
		l.flying[h] = f
		go l.fly(f, h, l.app.Add(context.Background(), tessera.NewEntry(leaf)))
	}
	return func() (int64, error) {
		select {
		case <-f.landed:
			return f.index, f.err
		case <-ctx.Done():
			return 0, fmt.Errorf("write to the log: %w", ctx.Err())
		case <-l.stopped:
			return 0, refusal.New(CodeClosed, "while an entry was written")
		}
	}, nil
}

// fly waits for a leaf that Tessera has. It does not end with the caller who
// began it: others may wait for the same leaf.
func (l *Log) fly(f *flight, h leafHash, added tessera.IndexFuture) {
	index, err := added()
	if err != nil {
		// It may have been written before the error came.
		err = errors.Join(fmt.Errorf("write to the log: %w", err), l.catchUp(context.Background()))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.places[h] = int64(index.Index)
	}
	f.index, f.err = int64(index.Index), err
	delete(l.flying, h)
	close(f.landed)
}

// catchUp learns the places of the leaves that are in the tree and were not
// looked at before.
func (l *Log) catchUp(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	size, err := l.reader.IntegratedSize(ctx)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	return l.leaves(ctx, l.known, int64(size), func(index int64, leaf []byte) bool {
		l.places[xtlog.RecordHash(leaf)] = index
		l.known = index + 1
		return true
	})
}

// leaves gives the leaves from index from to before size, in order.
func (l *Log) leaves(ctx context.Context, from, size int64, yield func(index int64, leaf []byte) bool) error {
	const width = 256 // leaves in a bundle (c2sp.org/tlog-tiles)
	for at := from; at < size; {
		bundle, err := client.GetEntryBundle(ctx, l.reader.ReadEntryBundle, uint64(at/width), uint64(size))
		if err != nil {
			return fmt.Errorf("read log entries from %d: %w", at, err)
		}
		first := at % width
		if int64(len(bundle.Entries)) <= first {
			return fmt.Errorf("read log entries from %d: the bundle ends before", at)
		}
		for _, leaf := range bundle.Entries[first:] {
			if at == size {
				return nil
			}
			if !yield(at, leaf) {
				return nil
			}
			at++
		}
	}
	return nil
}

// watch looks for newly published checkpoints and wakes who waits for one.
func (l *Log) watch(ctx context.Context) {
	defer close(l.watched)
	tick := time.NewTicker(glance)
	defer tick.Stop()
	var last []byte
	for {
		signed, err := l.reader.ReadCheckpoint(ctx)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			l.cfg.Logger.LogAttrs(ctx, slog.LevelError, "read checkpoint", slog.String("err", err.Error()))
		case !bytes.Equal(signed, last):
			last = signed
			l.publish(ctx, signed)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// publish takes a checkpoint, if it is what hosts would accept.
func (l *Log) publish(ctx context.Context, signed []byte) {
	seen, err := l.policy.Checkpoint(signed)
	if err != nil {
		l.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "published checkpoint does not satisfy the policy", slog.String("err", err.Error()))
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if seen.Checkpoint.Size >= l.newest.seen.Checkpoint.Size {
		l.newest = published{signed, seen}
		close(l.grown)
		l.grown = make(chan struct{})
	}
}

// await returns the newest published checkpoint once it has that size.
func (l *Log) await(ctx context.Context, size int64) (published, error) {
	for {
		l.mu.Lock()
		newest, grown := l.newest, l.grown
		l.mu.Unlock()
		if newest.signed != nil && newest.seen.Checkpoint.Size >= size {
			return newest, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return published{}, refusal.New(CodeWitnesses, "size %d: %s: %v", size, l.post.report(), ctx.Err())
		case <-l.stopped:
			return published{}, refusal.New(CodeClosed, "while size %d waited for witnesses", size)
		}
	}
}
