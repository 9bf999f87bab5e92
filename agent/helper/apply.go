package helper

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/agent"
	"github.com/patchwrit/patchwrit/agent/parley"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/writ"
)

// apply is the one verb. The End also holds the receipts that were never
// acknowledged, whatever became of this offer.
func (h *Helper) apply(ctx context.Context, t *talk, offer parley.Offer) (parley.End, error) {
	if err := agent.Acknowledge(h.State, offer.Stored); err != nil {
		return ended("", err), err
	}
	name := canon.Digest("")
	err := h.attempt(ctx, t, offer, &name)
	e := ended(name, err)
	owed, oerr := agent.ReadOwed(h.State)
	if oerr != nil {
		return ended(name, oerr), errors.Join(err, oerr)
	}
	for _, o := range owed {
		e.Receipts = append(e.Receipts, parley.Receipt{Receipt: o.Receipt, Leases: parley.Base64(o.Leases)})
		if o.Receipt.Writ == name {
			e.Code, e.Detail = "", "" // it was begun and has ended: the receipt says how
		}
	}
	return e, err
}

// attempt verifies and carries out the writ that was offered; name becomes its
// digest. A writ whose receipt is owed was begun before: its receipt is the answer.
func (h *Helper) attempt(ctx context.Context, t *talk, offer parley.Offer, name *canon.Digest) error {
	m, err := openMessenger(h.e.Messenger.Text())
	if err != nil {
		return err
	}
	defer m.Close()
	raw, err := m.blob(offer.Writ)
	if err != nil {
		return err
	}
	var w writ.Writ
	if err := canon.Decode(raw, &w); err != nil {
		return refusal.New("PW-WRIT-FORM", "%v", err)
	}
	*name = w.Body.Digest()
	owed, err := agent.ReadOwed(h.State)
	if err != nil {
		return err
	}
	for _, o := range owed {
		if o.Receipt.Writ == *name {
			return nil
		}
	}
	if err := h.takeTrust(m); err != nil {
		return err
	}
	pool, err := m.dir(parley.PoolDir)
	if err != nil {
		return err
	}
	defer pool.Close()
	o := h.options()
	progress := &lines{to: t.progress}
	defer progress.end()
	o.Writ, o.Pool, o.Ask, o.Progress = raw, pool.path(), t.ask, progress
	if _, err = agent.Apply(ctx, o); t.broken != nil {
		return t.broken
	}
	return err
}

func note(text string) canon.Note { return canon.NoteOf(text) }

// maxDetail bounds what is told about a failure.
const maxDetail = 2000

// ended is the last word after an error, or none.
func ended(name canon.Digest, err error) parley.End {
	e := parley.End{Writ: name, Receipts: []parley.Receipt{}}
	var r *refusal.Refusal
	switch {
	case err == nil:
	case errors.As(err, &r):
		e.Code, e.Detail = string(r.Code), note(r.Detail[:min(len(r.Detail), maxDetail)])
	default:
		e.Detail = note(err.Error()[:min(len(err.Error()), maxDetail)])
	}
	return e
}

// talk is the helper's side of one conversation. Once the messenger does not
// take a line any more, nothing more is said but the end.
type talk struct {
	conn *net.UnixConn
	log  *slog.Logger
	gone bool
	said int

	broken error // something else than an answer was said to the question
}

// Limits of progress.
const (
	maxLine  = 400
	maxLines = 20_000
)

func (t *talk) progress(line string) {
	t.log.Info(line)
	if t.said++; t.gone || t.said > maxLines {
		return
	}
	t.conn.SetWriteDeadline(time.Now().Add(writeTime))
	t.gone = parley.Write(t.conn, parley.KindProgress, parley.Progress{Line: note(line)}) != nil
}

// ask has the messenger fetch leases and the log's proof.
func (t *talk) ask(_ context.Context, q agent.Question) (agent.Answer, error) {
	t.conn.SetDeadline(time.Now().Add(answerTime))
	err := parley.Write(t.conn, parley.KindQuestion, parley.Question{Nonce: q.Nonce, Host: q.Host, Older: q.Older, Newer: q.Newer})
	var a parley.Answer
	if err == nil {
		err = parley.Expect(t.conn, parley.MaxSaid, parley.KindAnswer, &a)
	}
	leases, berr := parley.Bytes(a.Leases)
	if err = errors.Join(err, berr); err != nil {
		t.broken = refusal.New(parley.CodeForm, "%v", err)
		return agent.Answer{}, t.broken
	}
	if a.Why != "" {
		err = errors.New(a.Why.Text())
	}
	return agent.Answer{Leases: leases, Consistency: a.Consistency}, err
}

func (t *talk) end(e parley.End) {
	if e.Receipts == nil {
		e.Receipts = []parley.Receipt{}
	}
	t.conn.SetWriteDeadline(time.Now().Add(writeTime))
	if err := parley.Write(t.conn, parley.KindEnd, e); err != nil {
		t.log.Warn("the messenger is gone; it gets the receipts with its next offer", "err", err)
	}
	t.conn.CloseWrite()
	t.conn.SetReadDeadline(time.Now().Add(writeTime))
	io.CopyN(io.Discard, t.conn, parley.MaxSaid) // what it still says is not looked at
}

// lines cuts what is written into lines.
type lines struct {
	to   func(string)
	rest string
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest += string(p)
	for {
		line, rest, ok := strings.Cut(l.rest, "\n")
		if !ok && len(l.rest) <= maxLine {
			return len(p), nil
		}
		if !ok {
			line, rest = l.rest[:maxLine], l.rest[maxLine:]
		}
		l.rest = rest
		if line != "" {
			l.to(line[:min(len(line), maxLine)])
		}
	}
}

func (l *lines) end() {
	if l.rest != "" {
		l.to(l.rest)
		l.rest = ""
	}
}
