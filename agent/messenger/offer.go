package messenger

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/agent/parley"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/wire"
)

// begin writes down what the helper is to try.
func (m *Messenger) begin(o offer) error { return m.put(offerFile, o) }

// resume has the helper try what is outstanding, if anything is, and keeps what
// comes of it until the control plane has it.
func (m *Messenger) resume(ctx context.Context) error {
	var o offer
	if err := m.get(offerFile, &o); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil || o.Type != typeOffer || !o.Writ.Valid() {
		m.Logger.Warn("what was outstanding cannot be read; the control plane names it again", "err", err)
		return m.drop(offerFile)
	}
	if err := m.gather(ctx, o); err != nil {
		if code := refusal.CodeOf(err); code == "PW-CONTROL-MESSAGE" { // it is not there any more
			return errors.Join(err, m.drop(offerFile))
		}
		return err
	}
	e, err := m.converse(ctx, o)
	if err != nil {
		return err
	}
	return m.conclude(o, e)
}

// gather fetches what an offer needs and lays it out for the helper.
func (m *Messenger) gather(ctx context.Context, o offer) error {
	if err := m.sweep(o); err != nil {
		return err
	}
	if err := m.fetch(ctx, o.Writ, -1); err != nil {
		return err
	}
	if err := m.fetchAll(ctx, o.Pool, maxPool); err != nil {
		return err
	}
	if err := m.layOut(poolDir, o.Pool); err != nil {
		return err
	}
	return m.settle(poolDir)
}

// unsettled are codes of ends that are not the end: the same offer is made again.
var unsettled = []string{"", "PW-AGENT-BUSY", "PW-APT-RUNNING", "PW-APT-INTERRUPTED", "PW-APT-JOURNAL", "PW-HELPER-FORM", "PW-HELPER-PEER"}

// spoilt are codes that may mean that a blob was damaged here: all are fetched
// again.
var spoilt = []string{"PW-HELPER-FILES", "PW-APT-BYTES", "PW-APT-POOL", "PW-APT-VENDOR"}

// conclude keeps what the helper said until the control plane has it.
func (m *Messenger) conclude(o offer, e parley.End) error {
	settled := e.Code == "" && e.Detail == ""
	for _, r := range e.Receipts {
		m.Logger.Info("receipt", "writ", r.Receipt.Writ.Short(), "outcome", r.Receipt.Outcome, "code", r.Receipt.Code)
		q := wire.ReceiptRequest{Receipts: []string{base64.StdEncoding.EncodeToString(canon.MustEncode(r.Receipt))}, Leases: r.Leases, Writ: r.Receipt.Writ}
		if err := m.put(filepath.Join(reportsDir, string(r.Receipt.Digest())), q); err != nil {
			return err
		}
	}
	if !settled && slices.Contains(unsettled, e.Code) {
		return refusal.New(cmp.Or(refusal.Code(e.Code), codeHelper), "the helper: %s", e.Detail.Text())
	}
	if e.Code != "" {
		m.refused = o.Writ
		m.Logger.Warn("the helper refused a writ", "writ", e.Writ.Short(), "code", e.Code, "detail", e.Detail.Text())
		if e.Writ != "" {
			q := wire.ReceiptRequest{Receipts: []string{}, Leases: []string{}, Writ: e.Writ, Code: e.Code, Detail: e.Detail}
			if err := m.put(filepath.Join(reportsDir, refusedPrefix+string(e.Writ)), q); err != nil {
				return err
			}
		}
		if slices.Contains(spoilt, e.Code) {
			if err := m.sweep(offer{}); err != nil {
				return err
			}
		}
	}
	return m.drop(offerFile)
}

const refusedPrefix = "refused-"

// talkTime bounds a conversation but for the work itself: a package manager may
// take hours, but it says something now and then, or the helper is gone.
const talkTime = 6 * time.Hour

// converse has the helper try an offer.
func (m *Messenger) converse(ctx context.Context, o offer) (parley.End, error) {
	var stored []canon.Digest
	if err := m.get(storedFile, &stored); err != nil {
		stored = []canon.Digest{}
	}
	stored = stored[max(0, len(stored)-parley.MaxStored):]
	no := func(err error) (parley.End, error) {
		return parley.End{}, refusal.New(codeHelper, "%v", err)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(m.server.Public.Text(), parley.Socket))
	if err != nil {
		return no(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	conn.SetDeadline(time.Now().Add(talkTime))
	if err := parley.Write(conn, parley.KindOffer, parley.Offer{Type: parley.TypeOffer, Writ: o.Writ, Stored: stored}); err != nil {
		return no(err)
	}
	for {
		k, body, err := parley.Read(conn, parley.MaxTold)
		if err != nil {
			return no(err)
		}
		switch k {
		case parley.KindProgress:
			var p parley.Progress
			if err = parley.Decode(k, body, parley.KindProgress, &p); err == nil {
				m.Logger.Info("helper", "line", p.Line.Text())
			}
		case parley.KindQuestion:
			var q parley.Question
			if err = parley.Decode(k, body, parley.KindQuestion, &q); err == nil {
				err = parley.Write(conn, parley.KindAnswer, m.relay(ctx, q))
			}
		default:
			var e parley.End
			if err = parley.Decode(k, body, parley.KindEnd, &e); err == nil {
				return e, m.drop(storedFile) // the helper has taken note
			}
		}
		if err != nil {
			return no(err)
		}
	}
}

// relay has the control plane ask the witnesses. What went wrong is told: the
// helper then refuses for want of leases, and says so.
func (m *Messenger) relay(ctx context.Context, q parley.Question) parley.Answer {
	a, err := ask[wire.LeaseAnswer](ctx, m.Wire, wire.Lease, wire.LeaseRequest{Nonce: q.Nonce, Older: q.Older, Newer: q.Newer})
	if err != nil {
		return parley.Answer{Leases: []string{}, Consistency: []canon.Digest{}, Why: canon.NoteOf(err.Error())}
	}
	return parley.Answer{Leases: a.Leases, Consistency: a.Consistency, Why: a.Why}
}

// deliver hands over what the control plane does not have yet. One report that
// it does not take keeps no other back.
func (m *Messenger) deliver(ctx context.Context) error {
	entries, err := os.ReadDir(filepath.Join(m.State, reportsDir))
	if err != nil {
		return refusal.New(codeState, "%v", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), newSuffix) {
			continue
		}
		name := filepath.Join(reportsDir, e.Name())
		var q wire.ReceiptRequest
		if err := m.get(name, &q); err != nil {
			m.Logger.Error("a report cannot be read; the helper has the receipt", "name", name, "err", err)
			if err := m.drop(name); err != nil {
				return err
			}
			continue
		}
		_, err := ask[wire.ReceiptAnswer](ctx, m.Wire, wire.Done, q)
		if refusal.CodeOf(err) == wire.CodeDown {
			return err
		} else if err != nil {
			m.Logger.Warn("the control plane does not take a report", "name", name, "err", err)
			continue
		}
		m.told = "" // it is asked for again: something was done, or taken back
		if err := m.delivered(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// delivered takes note that the control plane has a report, for the helper to
// hear with the next offer, and forgets it.
func (m *Messenger) delivered(name string) error {
	if d := canon.Digest(name); d.Valid() {
		var stored []canon.Digest
		if err := m.get(storedFile, &stored); err != nil {
			stored = []canon.Digest{}
		}
		if err := m.put(storedFile, append(stored, d)); err != nil {
			return err
		}
	}
	return m.drop(filepath.Join(reportsDir, name))
}
