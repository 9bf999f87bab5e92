package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/tlog"
)

// version of the schema. A file of a higher one is refused.
const version = 1

// schema is version 1. Triggers keep events as they are: only a place in the
// log is added, once.
const schema = `
CREATE TABLE events (
	position  INTEGER PRIMARY KEY,
	stream    TEXT NOT NULL,
	version   INTEGER NOT NULL,
	kind      TEXT NOT NULL,
	at        INTEGER NOT NULL,
	body      BLOB NOT NULL,
	entry     BLOB,
	subject   TEXT,
	log_index INTEGER,
	proof     TEXT NOT NULL DEFAULT '',
	UNIQUE (stream, version)
) STRICT;
CREATE INDEX events_subject ON events (subject) WHERE subject IS NOT NULL;
CREATE INDEX events_unlogged ON events (position) WHERE entry IS NOT NULL AND log_index IS NULL;
CREATE TABLE docs (kind TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID;
CREATE TRIGGER events_stay BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;
CREATE TRIGGER events_hold BEFORE UPDATE ON events
	WHEN OLD.log_index IS NOT NULL OR NEW.position IS NOT OLD.position OR NEW.stream IS NOT OLD.stream OR NEW.version IS NOT OLD.version
		OR NEW.kind IS NOT OLD.kind OR NEW.at IS NOT OLD.at OR NEW.body IS NOT OLD.body OR NEW.entry IS NOT OLD.entry OR NEW.subject IS NOT OLD.subject
	BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
`

// migrate brings the file to this version, in one transaction.
func migrate(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return refusal.New(codeDamaged, "the record cannot be opened: %v", err)
	}
	defer tx.Rollback()
	var has int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&has); err != nil {
		return refusal.New(codeDamaged, "%v", err)
	}
	switch {
	case has > version:
		return refusal.New(codeNewer, "the record is of version %d, this program knows %d", has, version)
	case has == version:
		return nil
	}
	if _, err := tx.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d;", version)); err != nil {
		return err
	}
	return tx.Commit()
}

// maxGroup is how many commits share one fsync at most.
const maxGroup = 256

// commit is one batch, or one place in the log, on its way to the disk.
type commit struct {
	do   func(*sql.Tx) (int64, error)
	last int64
	err  error
	done chan struct{}
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, b store.Batch) (int64, error) {
	if err := valid(b); err != nil {
		return 0, err
	}
	return s.hand(ctx, func(tx *sql.Tx) (int64, error) { return apply(tx, b) })
}

// Logged implements store.Store.
func (s *Store) Logged(ctx context.Context, position, index int64, proof tlog.Proof) error {
	_, err := s.hand(ctx, func(tx *sql.Tx) (int64, error) {
		var entry []byte
		var had sql.NullInt64
		err := tx.QueryRow("SELECT entry, log_index FROM events WHERE position = ?", position).Scan(&entry, &had)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return 0, store.ErrNotFound
		case err != nil:
			return 0, err
		case entry == nil || index < 0:
			return 0, fmt.Errorf("event %d stays out of the log, or has no place %d there", position, index)
		case had.Valid && had.Int64 == index:
			return 0, nil
		case had.Valid:
			return 0, fmt.Errorf("event %d has place %d in the log, not %d", position, had.Int64, index)
		}
		_, err = tx.Exec("UPDATE events SET log_index = ?, proof = ? WHERE position = ?", index, string(proof), position)
		return 0, err
	})
	return err
}

func valid(b store.Batch) error {
	if len(b.Events)+len(b.Docs) > store.MaxBatch {
		return fmt.Errorf("a batch of %d events and documents; the most is %d", len(b.Events)+len(b.Docs), store.MaxBatch)
	}
	if len(b.Events) > 0 && b.Stream == "" {
		return errors.New("events without a stream")
	}
	for _, e := range b.Events {
		if len(e.Body) > store.MaxBody || e.Kind == "" {
			return fmt.Errorf("event %q of %d bytes; the most is %d", e.Kind, len(e.Body), store.MaxBody)
		}
	}
	for _, d := range b.Docs {
		if len(d.Body) > store.MaxBody || d.Kind == "" || d.ID == "" {
			return fmt.Errorf("document %q %q of %d bytes; the most is %d", d.Kind, d.ID, len(d.Body), store.MaxBody)
		}
	}
	return nil
}

// hand gives work to the writer and waits until it is on the disk. When ctx
// ends first the work may still be done.
func (s *Store) hand(ctx context.Context, do func(*sql.Tx) (int64, error)) (int64, error) {
	c := &commit{do: do, done: make(chan struct{})}
	s.closing.RLock()
	if s.closed {
		s.closing.RUnlock()
		return 0, errors.New("the record is closed")
	}
	select {
	case s.queue <- c:
		s.closing.RUnlock()
	case <-ctx.Done():
		s.closing.RUnlock()
		return 0, ctx.Err()
	}
	<-c.done // a write takes milliseconds; to leave now would hide what came of it
	return c.last, c.err
}

// writer commits what waits, together.
func (s *Store) writer() {
	defer close(s.done)
	for first := range s.queue {
		group := []*commit{first}
	more:
		for len(group) < maxGroup {
			select {
			case c, ok := <-s.queue:
				if !ok {
					break more
				}
				group = append(group, c)
			default:
				break more
			}
		}
		err := s.together(group)
		for _, c := range group {
			if err != nil && c.err == nil {
				c.last, c.err = 0, err
			}
			close(c.done)
		}
	}
}

// together does a group in one transaction. One that fails is taken back alone.
func (s *Store) together(group []*commit) error {
	tx, err := s.write.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, c := range group {
		if _, err := tx.Exec("SAVEPOINT one"); err != nil {
			return err
		}
		if c.last, c.err = c.do(tx); c.err != nil {
			if _, err := tx.Exec("ROLLBACK TO one"); err != nil {
				return err
			}
		}
		if _, err := tx.Exec("RELEASE one"); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// apply writes one batch.
func apply(tx *sql.Tx, b store.Batch) (last int64, err error) {
	var at, position int64
	if len(b.Events) > 0 || b.Expect != store.Any {
		if err := tx.QueryRow("SELECT coalesce(max(version), 0) FROM events WHERE stream = ?", b.Stream).Scan(&at); err != nil {
			return 0, err
		}
	}
	if b.Expect != store.Any && b.Expect != at {
		return 0, fmt.Errorf("%w: %s is at %d, expected %d", store.ErrConflict, b.Stream, at, b.Expect)
	}
	if err := tx.QueryRow("SELECT coalesce(max(position), 0) FROM events").Scan(&position); err != nil {
		return 0, err
	}
	for i, e := range b.Events {
		var entry, subject any
		if e.Entry != (tlog.Entry{}) {
			if entry, err = canon.Encode(e.Entry); err != nil {
				return 0, err
			}
			subject = string(e.Entry.Subject)
		}
		last = position + int64(i) + 1
		if _, err := tx.Exec("INSERT INTO events (position, stream, version, kind, at, body, entry, subject) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			last, b.Stream, at+int64(i)+1, e.Kind, e.At, append([]byte{}, e.Body...), entry, subject); err != nil {
			return 0, err
		}
	}
	for _, d := range b.Docs {
		if d.Body == nil {
			_, err = tx.Exec("DELETE FROM docs WHERE kind = ? AND id = ?", d.Kind, d.ID)
		} else {
			_, err = tx.Exec("INSERT INTO docs (kind, id, body) VALUES (?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body", d.Kind, d.ID, d.Body)
		}
		if err != nil {
			return 0, err
		}
	}
	return last, nil
}
