package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store/sqlite"
	"github.com/patchwrit/patchwrit/tlog/writer"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/wire/serve"
	"github.com/patchwrit/patchwrit/witness/ask"
)

// codePrivate says that others can read what is the control plane's alone.
const codePrivate refusal.Code = "PW-UP-PRIVATE"

// plane is the running control plane.
type plane struct {
	logger  *slog.Logger
	store   *sqlite.Store
	ledger  *ledger
	control *control.Control
	wire    *serve.Server
	api     *http.Server
	local   net.Listener
	socket  string
	token   []byte
	visits  http.Handler
}

// openPlane opens everything; what was opened is closed again when it fails.
func openPlane(ctx context.Context, u *upFlags, root trust.Root, logger *slog.Logger) (p *plane, err error) {
	p = &plane{logger: logger, socket: filepath.Join(u.data, "api.sock")}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if err := private(u.data); err != nil {
		return p, err
	}
	if p.store, err = sqlite.Open(ctx, u.data); err != nil {
		return p, err
	}
	if err := u.bring(root.Policy.Bundle); err != nil {
		return p, err
	}
	if p.ledger, err = openLedger(ctx, u.data, root, logger); err != nil {
		return p, err
	}
	if p.token, err = operators(u.data); err != nil {
		return p, err
	}
	if err := p.assemble(ctx, u); err != nil {
		return p, err
	}
	p.local, err = listenLocal(p.socket)
	return p, err
}

// assemble makes the flow and the wire, each of which needs the other.
func (p *plane) assemble(ctx context.Context, u *upFlags) (err error) {
	c := u.config(p.logger)
	c.Store, c.Log, c.Lease = p.store, p.ledger.log, ask.Leases
	c.Wake = func(key string) { p.wire.Wake(key) }
	c.Cut = func(key string) error { return p.wire.Cut(key) }
	w := serve.Config{Dir: u.data, Listen: u.listen, Names: u.names, Now: time.Now, Logger: p.logger}
	key, err := serve.Key(w.Dir)
	if err != nil {
		return err
	}
	c.Server = key
	if p.control, err = control.Open(ctx, c); err != nil {
		return err
	}
	p.visits = p.control.Visits()
	w.Directory, w.Handler, w.Extra = directory{p.control}, p.control.Handle, p.routes()
	p.api = &http.Server{Handler: p.sockets(), ReadHeaderTimeout: headTime, ReadTimeout: requestTime, WriteTimeout: requestTime,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHead, ErrorLog: slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug)}
	p.wire, err = serve.Listen(ctx, w)
	return err
}

// directory is what the wire asks about hosts.
type directory struct{ *control.Control }

func (d directory) Enrol(ctx context.Context, secret []byte, e wire.Enrolment) error {
	return d.Control.Enrol(ctx, secret, control.Host{Wire: e.Wire, ID: e.Host(), Public: e.Public, Name: e.Name})
}

// private refuses a data directory, or a key in it, that others can read.
func private(dir string) error {
	for _, name := range []string{".", "log.key", "tls.key", operatorToken, sqlite.FileName} {
		info, err := os.Stat(filepath.Join(dir, name))
		switch {
		case errors.Is(err, os.ErrNotExist) && name != ".":
			continue
		case err != nil:
			return fmt.Errorf("the data directory is not there; patchwrit ledger init makes it: %w", err)
		case info.Mode().Perm()&0o077 != 0:
			return refusal.New(codePrivate, "%s has mode %s", filepath.Join(dir, name), info.Mode().Perm())
		}
	}
	return nil
}

// run serves until ctx ends.
func (p *plane) run(ctx context.Context) error {
	inner, stop := context.WithCancel(ctx)
	var working sync.WaitGroup
	failed := make(chan error, 1)
	working.Go(func() { p.control.Run(inner) })
	go func() { failed <- p.api.Serve(p.local) }()
	p.logger.Info("up", "address", p.wire.Addr(), "key", string(p.wire.CertSHA256()), "version", version)
	notify(p.logger, "READY=1")
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("the operators' socket: %w", err)
	}
	notify(p.logger, "STOPPING=1")
	stop()
	working.Wait()
	return errors.Join(err, p.close())
}

// lastWait is how long the log may take to publish what was written last; it
// stands in the tree, and is published on the next start if not now.
const lastWait = 3 * time.Second

// close lets everything go, the log after who writes it.
func (p *plane) close() error {
	var errs []error
	if p.local != nil {
		errs = append(errs, p.api.Close(), ignoreClosed(p.local.Close()))
	}
	if p.wire != nil {
		errs = append(errs, p.wire.Close())
	}
	if p.ledger != nil {
		ctx, cancel := context.WithTimeout(context.Background(), lastWait)
		defer cancel()
		if err := p.ledger.log.Close(ctx); refusal.CodeOf(err) == writer.CodeWitnesses {
			p.logger.Warn("the last entries are not published yet; the next start does it", "err", err)
		} else {
			errs = append(errs, err)
		}
	}
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	p.logger.Info("down")
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// notify tells systemd how the service stands (sd_notify(3)); without
// NOTIFY_SOCKET it does nothing.
func notify(log *slog.Logger, state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		err = errors.Join(err, conn.Close())
	}
	if err != nil {
		log.Warn("tell systemd", "state", state, "err", err)
	}
}
