// Package store is the control plane's record: events that are never changed,
// and documents that are made of them.
//
// The parties: room control writes and reads; room tlog/writer makes the tree
// of the events that have an entry; operators back it up. The objects: an
// Event in a stream, a Doc, a Batch that is committed whole or not at all.
//
// The promise: a batch that was acknowledged survives kill -9 and a power cut
// (fsync before the answer); two writers of one stream do not overtake each
// other (Expect); events are numbered without gaps in the order in which they
// were committed. The log's tree is a function of the events with an entry.
//
// It judges nothing, and nothing in it permits anything: hosts do not read it.
// Implementations stand below (store/sqlite); store/storetest is what they must
// pass.
package store

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/tlog"
)

// Limits.
const (
	MaxBody  = 32 << 20 // of one event or document, in bytes
	MaxBatch = 10_000   // events and documents in one batch
)

// Event is one thing that happened.
type Event struct {
	Position int64      // 1, 2, 3 … over all streams; given by Commit
	Stream   string     // what it belongs to, such as "plan/<digest>"
	Version  int64      // 1, 2, 3 … within the stream; given by Commit
	Kind     string     // such as "plan", "approval", "receipt"
	At       int64      // Unix seconds
	Body     []byte     // canonical JSON
	Entry    tlog.Entry // its log entry; the zero Entry for events that stay out of the log
	Index    int64      // its place in the log once it has one, else -1
	Proof    tlog.Proof // inclusion, as it was when it was logged; "" before
}

// Doc is one row of a projection.
type Doc struct {
	Kind string // such as "host", "plan", "writ"
	ID   string
	Body []byte // canonical JSON; nil in a Batch removes the document
}

// Batch is committed whole or not at all.
type Batch struct {
	Stream string
	Expect int64 // version of the stream's last event, 0 for a new one; Any when it does not matter
	Events []Event
	Docs   []Doc
}

// Any is an Expect that always holds.
const Any int64 = -1

// ErrConflict says that the stream has moved on: read again, decide again.
var ErrConflict = errors.New("the stream has other events than expected")

// ErrNotFound says that there is no such document.
var ErrNotFound = errors.New("not found")

// Store is the record. It is safe for concurrent use. Iterators stop at the
// first error, which they yield.
type Store interface {
	// Commit stores a batch durably and returns the position of its last event
	// (0 when it has none). Concurrent commits share an fsync.
	Commit(ctx context.Context, b Batch) (int64, error)
	// Events yields all events after a position, in order.
	Events(ctx context.Context, after int64) iter.Seq2[Event, error]
	// Stream yields the events of one stream, in order.
	Stream(ctx context.Context, stream string) iter.Seq2[Event, error]
	// Unlogged yields the events with an entry and no index, in order: the outbox.
	Unlogged(ctx context.Context) iter.Seq2[Event, error]
	// Logged stores an event's place in the log; the same place again is no error, another is.
	Logged(ctx context.Context, position, index int64, proof tlog.Proof) error
	// Subject finds the first event whose entry names the digest.
	Subject(ctx context.Context, d canon.Digest) (Event, error)
	// Doc reads one document.
	Doc(ctx context.Context, kind, id string) (Doc, error)
	// Docs yields all documents of a kind, ascending by ID.
	Docs(ctx context.Context, kind string) iter.Seq2[Doc, error]
	// Backup writes a consistent copy while others write. The copy is what Restore of the implementation takes.
	Backup(ctx context.Context, w io.Writer) error
	// Close waits for commits under way.
	Close() error
}
