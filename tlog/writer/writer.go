// Package writer appends to the transparency log: a Tessera log (c2sp.org/tlog-tiles)
// in a directory of this machine, cosigned by the witnesses of the policy.
//
// The parties: the control plane writes; witnesses, which other people run,
// cosign; hosts and auditors verify the proofs with room tlog and never ask
// here. The promise: Append returns a proof only when the entry is on disk,
// stands in a published checkpoint, and a quorum of witnesses has cosigned that
// checkpoint. Where the witnesses are short it fails and says which and why;
// nothing is then proved, though the entry may stand in the tree. Appending an
// entry again gives its first place, so trying again is always right.
//
// A process that is killed loses nothing it has acknowledged (every file is
// written, synced and renamed before the next step). A directory that is
// restored from an older copy cannot continue: the witnesses have seen more.
// The package does not know what an entry means.
package writer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
)

// Why the writer refuses.
const (
	CodeWitnesses refusal.Code = "PW-LOG-WITNESSES" // no quorum cosigned in time
	CodeBusy      refusal.Code = "PW-LOG-BUSY"      // another process writes this log
	CodeForeign   refusal.Code = "PW-LOG-FOREIGN"   // the directory holds another log
	CodeClosed    refusal.Code = "PW-LOG-CLOSED"    // the writer was closed
	CodeAbsent    refusal.Code = "PW-LOG-ABSENT"    // the entry or size is not in the log
)

// Config says where and how a log is written. Zero durations and sizes take
// the defaults named here.
type Config struct {
	Dir            string        // the log's directory; made when it is not there
	Signer         note.Signer   // the log's key; its name is the policy's log
	Policy         string        // witness policy, the text that hosts have
	Client         *http.Client  // asks the witnesses; its Transport and nothing else is used
	WitnessTimeout time.Duration // for one witness to answer; 5 s
	BatchSize      uint          // entries that are written together; 64
	BatchAge       time.Duration // how long the first of them waits for more; 20 ms
	Interval       time.Duration // least time between two checkpoints, at least 100 ms; 100 ms
	Refresh        time.Duration // an idle log's checkpoint is cosigned again after this; 10 min
	Logger         *slog.Logger  // what the witnesses answered when that changes; default: nowhere
}

func (c Config) filled() Config {
	fill := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	fill(&c.WitnessTimeout, 5*time.Second)
	fill(&c.BatchAge, 20*time.Millisecond)
	fill(&c.Interval, 100*time.Millisecond)
	fill(&c.Refresh, 10*time.Minute)
	if c.BatchSize == 0 {
		c.BatchSize = 64
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Log is an open log. It has one writer: this process.
type Log struct {
	cfg     Config
	policy  tlog.Policy
	app     *tessera.Appender
	reader  tessera.LogReader
	finish  func(context.Context) error // Tessera's: waits until all is published
	stop    context.CancelFunc
	stopped <-chan struct{}
	watched chan struct{} // closed when watch has returned
	post    *courier
	lock    *os.File

	mu      sync.Mutex           // guards the fields below
	places  map[leafHash]int64   // index of every leaf in the tree, published or not
	known   int64                // leaves looked at for places
	flying  map[leafHash]*flight // being added
	newest  published
	closing bool
	grown   chan struct{} // closed and replaced when newest changes
}

// published is a checkpoint that a quorum cosigned.
type published struct {
	signed []byte
	seen   tlog.Verified
}

// quiet sends Tessera's own log nowhere: it repeats every witness's failure
// ten times a second. The courier reports changes instead.
var quiet = sync.OnceFunc(func() { klog.SetSlogLogger(slog.New(slog.DiscardHandler)) })

// Open opens the log in cfg.Dir, or begins it there. It needs no witness to be
// up; Append does. Close it to let another process in.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	quiet()
	cfg = cfg.filled()
	policy, err := tlog.ParsePolicy(cfg.Policy)
	if err != nil {
		return nil, err
	}
	if cfg.Signer == nil || cfg.Signer.Name() != policy.Origin() {
		return nil, refusal.New(CodeForeign, "the signing key is not that of %q in the witness policy", policy.Origin())
	}
	lock, err := hold(cfg.Dir)
	if err != nil {
		return nil, err
	}
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &Log{
		cfg: cfg, policy: policy, lock: lock, stop: stop, stopped: inner.Done(), watched: make(chan struct{}),
		places: map[leafHash]int64{}, flying: map[leafHash]*flight{}, grown: make(chan struct{}),
	}
	l.post = newCourier(inner, cfg, policy)
	if err := l.start(inner); err != nil {
		stop()
		return nil, errors.Join(err, lock.Close())
	}
	return l, nil
}

// hold makes the directory and locks it for this process.
func hold(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, ".writer.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(refusal.New(CodeBusy, "%s: %v", dir, err), f.Close())
	}
	return f, nil
}

// start opens Tessera on the directory and reads what is there.
func (l *Log) start(ctx context.Context) error {
	if err := l.ours(); err != nil {
		return err
	}
	group, err := tessera.NewWitnessGroupFromPolicy([]byte(l.cfg.Policy))
	if err != nil {
		return fmt.Errorf("witness policy: %w", err)
	}
	opts := tessera.NewAppendOptions().
		WithCheckpointSigner(l.cfg.Signer).
		WithBatching(l.cfg.BatchSize, l.cfg.BatchAge).
		WithCheckpointInterval(l.cfg.Interval).
		WithCheckpointRepublishInterval(l.cfg.Refresh).
		WithWitnesses(group, &tessera.WitnessOptions{FailOpen: false, Timeout: l.cfg.WitnessTimeout})
	driver, err := posix.New(ctx, posix.Config{Path: l.cfg.Dir, HTTPClient: l.post.client()})
	if err != nil {
		return fmt.Errorf("log directory: %w", err)
	}
	begun := exists(l.cfg.Dir, ".state", "treeState")
	l.app, l.finish, l.reader, err = tessera.NewAppender(ctx, driver, opts)
	if err != nil && !begun && exists(l.cfg.Dir, ".state", "treeState") {
		// A new log is to publish its empty checkpoint, which takes witnesses.
		// The tree stands; the checkpoint is tried again all the time.
		l.app, l.finish, l.reader, err = tessera.NewAppender(ctx, driver, opts)
	}
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	if err := l.catchUp(ctx); err != nil {
		return err
	}
	go l.watch(ctx)
	return nil
}

func exists(elem ...string) bool {
	_, err := os.Stat(filepath.Join(elem...))
	return err == nil
}

// ours refuses a directory that another log was published in. Where the
// witnesses of an older policy cosigned, the checkpoint is made to look old, so
// that Tessera asks the present ones at once.
func (l *Log) ours() error {
	path := filepath.Join(l.cfg.Dir, layout.CheckpointPath)
	signed, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read checkpoint: %w", err)
	}
	if _, err := l.policy.Checkpoint(signed); err == nil {
		return nil
	}
	if _, _, err := l.policy.Signed(signed); refusal.CodeOf(err) != "" && refusal.CodeOf(err) != tlog.CodeCosignature {
		return refusal.New(CodeForeign, "%s: %v", l.cfg.Dir, err)
	}
	return os.Chtimes(path, time.Time{}, time.Unix(0, 0))
}

// Close waits until every entry is published, or ctx ends, and lets the
// directory go. An error says that entries added last have no proof yet; they
// stand in the tree and are published when the log is opened again.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	err := l.finish(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = refusal.New(CodeWitnesses, "on closing: %s: %v", l.post.report(), err)
	}
	l.stop()
	<-l.watched
	l.post.wait()
	return errors.Join(err, l.lock.Close())
}
