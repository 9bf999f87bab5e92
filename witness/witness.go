// Package witness is a witness of the transparency log: it cosigns that the log
// only grew (c2sp.org/tlog-witness), grants leases to hosts, and holds halts.
//
// The parties: the control plane's log asks for cosignatures; hosts ask for
// leases, through whoever carries their request; people halt and lift with
// their own signatures, with or against the control plane. A witness is run by
// somebody else than the control plane's operator, or it proves nothing.
//
// The promise: no two cosignatures of one witness contradict each other,
// because size and root are synced to disk before the answer leaves; no lease
// goes to a host that a halt covers; a halt that was answered outlives a crash
// and ends by itself. The trust root only moves forward. A witness that has
// lost its state directory, or runs from an older copy of it, must not go on
// under its key: it cannot know what it has forgotten.
//
// It reads no meaning in the log's content, and cannot change it.
package witness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/witness/ask"
)

// Why a witness refuses.
const (
	CodeState    refusal.Code = "PW-WITNESS-STATE"    // the state directory is missing something or damaged
	CodeExposed  refusal.Code = "PW-WITNESS-EXPOSED"  // others can read the state directory
	CodeBusy     refusal.Code = "PW-WITNESS-BUSY"     // another process is this witness
	CodeKeyThere refusal.Code = "PW-WITNESS-KEY"      // there is a key already
	CodeHouse    refusal.Code = "PW-WITNESS-HOUSE"    // the state belongs to another trust root
	CodeStranger refusal.Code = "PW-WITNESS-STRANGER" // the trust root does not name this witness
	CodeRequest  refusal.Code = "PW-WITNESS-REQUEST"  // a request that is malformed
	CodeHost     refusal.Code = "PW-WITNESS-HOST"     // a host the trust root does not name
	CodeHalted   refusal.Code = "PW-WITNESS-HALTED"   // a halt covers the host
	CodeOver     refusal.Code = "PW-WITNESS-OVER"     // the halt's end has come
	CodeFull     refusal.Code = "PW-WITNESS-FULL"     // no room for another halt
)

// Config says what a witness runs on.
type Config struct {
	Dir    string           // state directory that NewKey made, mode 0700
	Trust  fs.FS            // the trust repository
	Root   canon.Digest     // SHA-256 of its 1.root.json, learned out of band
	Reload time.Duration    // how often Serve looks for a newer trust root; zero: a minute
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nowhere
}

// Witness is a running witness.
type Witness struct {
	cfg   Config
	key   cosigner
	store *store

	mu     sync.Mutex // guards the fields below, and every save
	root   trust.Root
	policy tlog.Policy
	print  string // of the trust repository's files when it was loaded last
	seen   map[string]tlog.Checkpoint
	halts  map[canon.Digest]ask.Held // those whose end has not come
	since  int64                     // when it was started: asked holds nothing from before
	asked  map[trust.HostID]asked
}

// Open takes the state directory and loads the trust root.
func Open(cfg Config) (*Witness, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Reload == 0 {
		cfg.Reload = time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := openStore(cfg.Dir)
	if err != nil {
		return nil, err
	}
	w := &Witness{cfg: cfg, store: s, seen: map[string]tlog.Checkpoint{}, halts: map[canon.Digest]ask.Held{}, since: cfg.Now().Unix(), asked: map[trust.HostID]asked{}}
	if err = w.remember(); err == nil {
		err = w.Reload()
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return w, nil
}

// remember reads the state directory.
func (w *Witness) remember() error {
	var k keyDoc
	var seen seenDoc
	if err := errors.Join(w.store.load(keyFile, &k), w.store.load(seenFile, &seen)); err != nil {
		return err
	}
	var err error
	if w.key, err = newCosigner(k); err != nil {
		return err
	}
	if seen.Type != typeSeen {
		return refusal.New(CodeState, "%s is of type %q", seenFile, seen.Type)
	}
	for _, c := range seen.Checkpoints {
		w.seen[c.Origin] = c
	}
	names, err := w.store.list(haltDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		var h ask.Held
		if err := w.store.load(name, &h); err != nil {
			return err
		}
		w.halts[h.Digest()] = h
	}
	return nil
}

// Reload reads the trust repository again when its files have changed. A root
// that is not newer, not whole, or does not name this witness is refused, and
// the one before stays.
func (w *Witness) Reload() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	print, err := fingerprint(w.cfg.Trust)
	if err != nil || (w.root.Loaded() && print == w.print) {
		return err
	}
	var known trustDoc
	if err := w.store.load(trustFile, &known); err != nil {
		return err
	}
	if known.Type != typeTrust || (known.Root != "" && known.Root != w.cfg.Root) {
		return refusal.New(CodeHouse, "%s, asked for is %s", known.Root.Short(), w.cfg.Root.Short())
	}
	root, err := trust.Load(w.cfg.Trust, w.cfg.Root, known.Versions, w.cfg.Now())
	if err != nil {
		return err
	}
	policy, err := tlog.ParsePolicy(root.Witnesses)
	if err != nil {
		return err
	}
	if key, ok := policy.Key(w.key.name); !ok || !key.Equal(w.key.private.Public()) {
		return refusal.New(CodeStranger, "%s", w.key.vkey)
	}
	if err := w.store.save(trustFile, trustDoc{typeTrust, root.ID, root.Versions}); err != nil {
		return err
	}
	w.root, w.policy, w.print = root, policy, print
	w.cfg.Logger.LogAttrs(context.Background(), slog.LevelInfo, "trust root loaded", slog.String("root", string(root.ID)), slog.Any("versions", root.Versions))
	return nil
}

// fingerprint changes with every new version of a trust repository: its roots'
// names and its timestamp's bytes.
func fingerprint(fsys fs.FS) (string, error) {
	roots, err := fs.Glob(fsys, "*.root.json")
	if err != nil {
		return "", err
	}
	stamp, err := fs.ReadFile(fsys, "timestamp.json")
	if err != nil {
		return "", fmt.Errorf("trust repository: %w", err)
	}
	return fmt.Sprint(roots, canon.SumFile(stamp)), nil
}

// Close lets the state directory go.
func (w *Witness) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.store.close()
}

// Name is the name of the witness's key.
func (w *Witness) Name() string { return w.key.name }

// trusted is the trust root and the witness policy as loaded now.
func (w *Witness) trusted() (trust.Root, tlog.Policy) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.root, w.policy
}

// now is Unix seconds.
func (w *Witness) now() int64 { return w.cfg.Now().Unix() }

// held lists the halts whose end has not come, ordered by digest, and forgets
// the others. The caller holds w.mu.
func (w *Witness) held(now int64) []ask.Held {
	out := []ask.Held{}
	for _, d := range slices.Sorted(maps.Keys(w.halts)) {
		if h := w.halts[d]; h.Halt.Until > now {
			out = append(out, h)
			continue
		}
		delete(w.halts, d)
		if err := w.store.remove(haltPath(d)); err != nil {
			w.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, "forget a halt that is over", slog.String("err", err.Error()))
		}
	}
	return out
}

// Serve answers on a listener until ctx ends, then finishes what is under way.
func (w *Witness) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           w.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       20 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(w.cfg.Logger.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	tick := time.NewTicker(w.cfg.Reload)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return fmt.Errorf("serve: %w", err)
		case <-tick.C:
			if err := w.Reload(); err != nil {
				w.cfg.Logger.LogAttrs(ctx, slog.LevelError, "newer trust root refused", slog.String("err", err.Error()))
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			return srv.Shutdown(last)
		}
	}
}
