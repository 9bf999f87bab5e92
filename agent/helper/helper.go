// Package helper is the part of the agent that is root: it has one verb, apply
// this writ, on one unix socket, and listens nowhere else.
//
// The parties: the messenger, an ordinary user who may be in anybody's hands and
// is told apart by the kernel (peer credentials); room agent, which verifies and
// carries out. The objects: Enrolled, what this host was enrolled to; Config;
// one conversation (room agent/parley) at a time.
//
// The promise: nothing that the messenger says or leaves in its directory is
// believed. Writ, trust repository and artefacts are copied before they are
// judged, the trust root is the pinned one, and what permits is the writ alone.
// The messenger can withhold, and learn what the host did; nothing else.
//
// A conversation that breaks off ends nothing that was begun. What an earlier
// helper left open is brought to rest first.
package helper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/agent"
	"github.com/patchwrit/patchwrit/agent/idle"
	"github.com/patchwrit/patchwrit/agent/parley"
	"github.com/patchwrit/patchwrit/pkgmgr/apt"
	"github.com/patchwrit/patchwrit/refusal"
)

// Refusals of this room; refusal/catalogue.txt says what each means.
const (
	codeSocket   refusal.Code = "PW-HELPER-SOCKET"  // the socket cannot be made
	codePeer     refusal.Code = "PW-HELPER-PEER"    // somebody else than the messenger speaks
	codeFiles    refusal.Code = "PW-HELPER-FILES"   // what was offered is not in the messenger's directory
	codeEnrolled refusal.Code = "PW-AGENT-ENROLLED" // this host is not enrolled, or otherwise
	codeBusy     refusal.Code = "PW-AGENT-BUSY"
)

// Config is what a helper works with. Enrolled says the rest.
type Config struct {
	State    string        // 0700: journal, host key, receipts, what it was enrolled to
	Agent    string        // path of this binary
	LockWait time.Duration // how long to wait for another package manager
	Now      func() time.Time
	Logger   *slog.Logger
}

// Times and sizes.
const (
	offerTime  = 10 * time.Second // from connection to offer
	answerTime = 2 * time.Minute  // for leases
	writeTime  = 5 * time.Second  // for a line of progress
	atOnce     = 4                // connections
	factsEvery = 10 * time.Minute

	packagesEvery = 30 * time.Second // between two looks at the date of the package database
)

// Helper is a running helper.
type Helper struct {
	Config
	e    Enrolled
	work sync.Mutex // held by the one conversation that may act
	eyes sync.Mutex // guards seen
	seen *apt.Seen  // nil until the first look
}

// Run serves until ctx ends. A package manager that runs then goes on without it.
func Run(ctx context.Context, c Config) error {
	e, err := ReadEnrolled(c.State)
	if err != nil {
		return err
	}
	h := &Helper{Config: c, e: e}
	l, err := h.listen()
	if err != nil {
		return err
	}
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var busy sync.WaitGroup
	defer busy.Wait()
	h.work.Lock() // until what was left open is at rest
	busy.Go(func() { defer h.work.Unlock(); h.recover(ctx) })
	busy.Go(func() { h.look(ctx) })
	slots := make(chan struct{}, atOnce)
	h.Logger.Info("helper ready", "socket", l.Addr().String(), "root", e.Root.Text(), "uid", e.UID)
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return refusal.New(codeSocket, "%v", err)
		}
		select {
		case slots <- struct{}{}:
			busy.Go(func() { defer func() { <-slots }(); h.serve(ctx, conn) })
		default:
			conn.Close()
		}
	}
}

// listen makes the socket: for the time until it belongs to the messenger's
// user, to root alone.
func (h *Helper) listen() (*net.UnixListener, error) {
	dir := h.e.Public.Text()
	path := filepath.Join(dir, parley.Socket)
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		if err = os.Remove(path); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return nil, refusal.New(codeSocket, "%v", err)
	}
	was := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(was)
	if err == nil {
		err = os.Chown(path, h.e.UID, 0)
	}
	if err != nil {
		return nil, refusal.New(codeSocket, "%v", err)
	}
	return l, nil
}

// recover brings to rest what an earlier helper left open.
func (h *Helper) recover(ctx context.Context) {
	o := h.options()
	log := &lines{to: func(line string) { h.Logger.Info(line, "step", "recover") }}
	o.Progress = log
	r, err := agent.Recover(ctx, o)
	log.end()
	for _, receipt := range r.Receipts {
		h.Logger.Info("an interrupted attempt has ended", "writ", receipt.Writ.Short(), "outcome", receipt.Outcome, "code", receipt.Code)
	}
	if err != nil && ctx.Err() == nil {
		h.Logger.Error("an interrupted attempt is not at rest yet; the next offer tries again", "err", err)
	}
}

func (h *Helper) options() agent.Options {
	return agent.Options{Root: h.e.Root.Text(), State: h.State, Trust: h.trustDir(), Pinned: h.e.Pinned,
		Agent: h.Agent, LockWait: h.LockWait, Now: h.Now}
}

// peer is the user at the other end, as the kernel knows it.
func peer(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	uid, inner := -1, error(nil)
	err = raw.Control(func(fd uintptr) {
		cred, e := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if inner = e; e == nil {
			uid = int(cred.Uid)
		}
	})
	return uid, errors.Join(err, inner)
}

// serve holds one conversation.
func (h *Helper) serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	t := &talk{conn: conn, log: h.Logger}
	uid, err := peer(conn)
	if err != nil || uid != h.e.UID {
		h.Logger.Warn("somebody else than the messenger speaks", "uid", uid, "err", err)
		t.end(parley.End{Code: string(codePeer), Detail: note(fmt.Sprintf("user %d", uid))})
		return
	}
	var offer parley.Offer
	conn.SetReadDeadline(time.Now().Add(offerTime))
	if err := parley.Expect(conn, parley.MaxSaid, parley.KindOffer, &offer); err == nil {
		err = offer.Check()
		t.end(h.answer(ctx, t, offer, err))
	} else {
		t.end(ended("", err))
	}
}

// answer carries out an offer, one at a time.
func (h *Helper) answer(ctx context.Context, t *talk, offer parley.Offer, err error) parley.End {
	if err != nil {
		return ended("", err)
	}
	if !h.work.TryLock() {
		return ended("", refusal.New(codeBusy, "the helper is carrying out another offer"))
	}
	defer h.work.Unlock()
	defer idle.Rest()
	h.see() // whose the files are that processes use now, nobody can tell afterwards
	defer h.see()
	e, err := h.apply(ctx, t, offer)
	if err != nil {
		h.Logger.Warn("an offer was refused", "writ", offer.Writ.Short(), "err", err)
	}
	return e
}
