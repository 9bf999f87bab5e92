// Package sqlite is the record in one file on one machine: store.Store over
// SQLite (write-ahead log, synchronous=FULL).
//
// The parties: one process, which holds the directory alone; the disk. One
// writer commits whatever waits together, so that many callers share an fsync;
// readers have connections of their own and never wait for it.
//
// The promise is store.Store's. Besides, the database itself refuses to change
// or delete an event, also for code that goes round this package. It does not
// protect against who can write the file: that is found by the log.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/tlog"
)

// Refusals of this room.
const (
	codeBusy    refusal.Code = "PW-STORE-BUSY"    // another process holds the directory
	codeNewer   refusal.Code = "PW-STORE-NEWER"   // the file is of a newer version
	codeDamaged refusal.Code = "PW-STORE-DAMAGED" // the file is not what was written
)

// FileName is the database's name in its directory.
const FileName = "record.db"

// Store is an open record.
type Store struct {
	lock  *os.File
	write *sql.DB // one connection
	read  *sql.DB
	dir   string

	queue   chan *commit
	done    chan struct{} // closed when the writer has ended
	closing sync.RWMutex  // held for reading while a commit is handed over
	closed  bool
}

var _ store.Store = (*Store)(nil)

// readers is how many may read at once: more only wait for two cores.
const readers = 8

// Open opens the record in dir, or begins it there.
func Open(ctx context.Context, dir string) (*Store, error) {
	lock, err := hold(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{lock: lock, dir: dir, queue: make(chan *commit, maxGroup), done: make(chan struct{})}
	path := filepath.Join(dir, FileName)
	if err = begin(path); err == nil {
		s.write, err = open(path, 1, false)
	}
	if err == nil {
		err = migrate(ctx, s.write)
	}
	if err == nil {
		s.read, err = open(path, readers, true)
	}
	if err != nil {
		return nil, errors.Join(err, s.letGo())
	}
	go s.writer()
	return s, nil
}

// hold makes the directory and locks it for this process.
func hold(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, ".record.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(refusal.New(codeBusy, "%s: %v", dir, err), f.Close())
	}
	return f, nil
}

// begin makes the file, so that only its owner reads it; SQLite gives the same
// rights to the files beside it.
func begin(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func open(path string, connections int, readOnly bool) (*sql.DB, error) {
	q := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "foreign_keys(1)", "trusted_schema(0)"}, "_txlock": {"immediate"}}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
		q.Set("_txlock", "deferred")
	}
	path, err := filepath.Abs(path) // a relative one would be read as a host
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

func (s *Store) letGo() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.closing.Lock()
	if s.closed {
		s.closing.Unlock()
		return nil
	}
	s.closed = true
	close(s.queue)
	s.closing.Unlock()
	<-s.done
	return s.letGo()
}

const columns = "position, stream, version, kind, at, body, entry, log_index, proof"

func (s *Store) events(ctx context.Context, where string, args ...any) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		rows, err := s.read.QueryContext(ctx, "SELECT "+columns+" FROM events WHERE "+where+" ORDER BY position", args...)
		if err != nil {
			yield(store.Event{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			e, err := scan(rows)
			if !yield(e, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(store.Event{}, err)
		}
	}
}

// scan reads one row of columns.
func scan(row interface{ Scan(...any) error }) (store.Event, error) {
	var e store.Event
	var entry []byte
	var index sql.NullInt64
	var proof string
	if err := row.Scan(&e.Position, &e.Stream, &e.Version, &e.Kind, &e.At, &e.Body, &entry, &index, &proof); err != nil {
		return e, err
	}
	e.Index, e.Proof = -1, tlog.Proof(proof)
	if index.Valid {
		e.Index = index.Int64
	}
	if entry != nil {
		if err := canon.Decode(entry, &e.Entry); err != nil {
			return e, refusal.New(codeDamaged, "entry of event %d: %v", e.Position, err)
		}
	}
	return e, nil
}

// Events implements store.Store.
func (s *Store) Events(ctx context.Context, after int64) iter.Seq2[store.Event, error] {
	return s.events(ctx, "position > ?", after)
}

// Stream implements store.Store.
func (s *Store) Stream(ctx context.Context, stream string) iter.Seq2[store.Event, error] {
	return s.events(ctx, "stream = ?", stream)
}

// Unlogged implements store.Store.
func (s *Store) Unlogged(ctx context.Context) iter.Seq2[store.Event, error] {
	return s.events(ctx, "entry IS NOT NULL AND log_index IS NULL")
}

// Subject implements store.Store.
func (s *Store) Subject(ctx context.Context, d canon.Digest) (store.Event, error) {
	e, err := scan(s.read.QueryRowContext(ctx, "SELECT "+columns+" FROM events WHERE subject = ? ORDER BY position LIMIT 1", string(d)))
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	return e, err
}

// Doc implements store.Store.
func (s *Store) Doc(ctx context.Context, kind, id string) (store.Doc, error) {
	d := store.Doc{Kind: kind, ID: id}
	err := s.read.QueryRowContext(ctx, "SELECT body FROM docs WHERE kind = ? AND id = ?", kind, id).Scan(&d.Body)
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	return d, err
}

// Docs implements store.Store.
func (s *Store) Docs(ctx context.Context, kind string) iter.Seq2[store.Doc, error] {
	return func(yield func(store.Doc, error) bool) {
		rows, err := s.read.QueryContext(ctx, "SELECT id, body FROM docs WHERE kind = ? ORDER BY id", kind)
		if err != nil {
			yield(store.Doc{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			d := store.Doc{Kind: kind}
			err := rows.Scan(&d.ID, &d.Body)
			if !yield(d, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(store.Doc{}, err)
		}
	}
}

// Backup implements store.Store: a whole database file, as of one moment.
func (s *Store) Backup(ctx context.Context, w io.Writer) error { return Copy(ctx, s.dir, w) }

// Copy writes a whole database file of the record in dir, as of one moment,
// while another process may write there.
func Copy(ctx context.Context, dir string, w io.Writer) error {
	if _, err := os.Stat(filepath.Join(dir, FileName)); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(dir, ".backup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	path := filepath.Join(temp, FileName)
	db, err := open(filepath.Join(dir, FileName), 1, false) // the readers' connections may not even write a copy
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// Restore puts a backup into dir, where no record may be, after a look at
// whether it is whole.
func Restore(ctx context.Context, backup io.Reader, dir string) error {
	lock, err := hold(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	path := filepath.Join(dir, FileName)
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s is there already: restore into an empty directory", path)
	}
	f, err := os.CreateTemp(dir, ".restore-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, backup)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := whole(ctx, f.Name()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// whole looks into a database file that is not in use.
func whole(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: "mode=ro&immutable=1"}).String())
	if err != nil {
		return err
	}
	defer db.Close()
	return check(ctx, db)
}

// Check looks whether the record is whole: the file, and the numbers of its
// events.
func (s *Store) Check(ctx context.Context) error { return check(ctx, s.read) }

func check(ctx context.Context, db *sql.DB) error {
	var says string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&says); err != nil || says != "ok" {
		return refusal.New(codeDamaged, "integrity check: %s %v", says, err)
	}
	var events, last, gaps int64
	err := db.QueryRowContext(ctx, `SELECT count(*), coalesce(max(position), 0),
		(SELECT count(*) FROM (SELECT stream FROM events GROUP BY stream HAVING count(*) <> max(version))) FROM events`).Scan(&events, &last, &gaps)
	switch {
	case err != nil:
		return refusal.New(codeDamaged, "%v", err)
	case events != last:
		return refusal.New(codeDamaged, "%d events, the last one has number %d", events, last)
	case gaps > 0:
		return refusal.New(codeDamaged, "%d streams have gaps", gaps)
	}
	return nil
}
