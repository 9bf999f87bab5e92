package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
)

// The kinds of documents.
const (
	kindHost    = "host"    // by wire key
	kindToken   = "token"   // by digest of the secret
	kindPlan    = "plan"    // by plan digest
	kindGrant   = "grant"   // by statement digest
	kindWrit    = "writ"    // by body digest
	kindReceipt = "receipt" // by receipt digest
	kindDraft   = "draft"   // by writ body digest, while it waits for the log

	kindExposure = "exposure" // by fingerprint
	kindClocks   = "clocks"   // by digest: what hosts with the same past share
	kindArtefact = "artefact" // by digest
	kindTriage   = "triage"   // by fingerprint

	kindWord = "word" // by digest

	kindAdvice  = "advice"  // by plan digest
	kindModel   = "model"   // by digest
	kindCase    = "case"    // by plan digest: what the watch of a model sees
	kindVisitor = "visitor" // by name
	kindAsk     = "request" // by digest
	kindShown   = "dossier" // by digest: what visitors were shown
)

// Host is what is known about an agent.
type Host struct {
	Wire      string         `json:"wire"` // its key on the bus
	ID        trust.HostID   `json:"id"`
	Public    string         `json:"public"` // host key, lower hex
	Name      canon.Note     `json:"name"`   // what it calls itself
	State     wire.HostState `json:"state"`
	Enrolled  int64          `json:"enrolled"` // Unix seconds
	Seen      int64          `json:"seen"`
	Version   string         `json:"version"`
	Run       string         `json:"run"`      // the start that speaks now
	Runs      []string       `json:"runs"`     // those before, the last few
	Snapshot  canon.Digest   `json:"snapshot"` // newest, kept as a blob
	Inventory canon.Digest   `json:"inventory"`
	Stale     bool           `json:"stale"`   // it has handed over a receipt and not yet told what it has now
	Leased    int64          `json:"leased"`  // last quorum of leases that was relayed
	Refused   int64          `json:"refused"` // last time that no quorum of leases came
	Why       canon.Note     `json:"why"`     // the witnesses' reason then
	Helper    canon.Note     `json:"helper"`  // why the host cannot try its writ, or ""
}

// Token is a permission to enrol one host.
type Token struct {
	Digest  canon.Digest `json:"digest"`
	Expires int64        `json:"expires"`
	Used    string       `json:"used"` // wire key, or ""
}

// PlanState is how far a plan is.
type PlanState string

// The states of a plan.
const (
	Proposed PlanState = "proposed" // committed; the rules are to be asked once it is logged
	Held     PlanState = "held"     // the rules say: not before Until
	Review   PlanState = "review"   // people are asked
	Running  PlanState = "running"  // permitted: writs go out wave by wave
	Finished PlanState = "finished" // every host is done
	Denied   PlanState = "denied"   // by a person, the rules or silence
	Stopped  PlanState = "stopped"  // a host failed or was silent
	Expired  PlanState = "expired"
)

// open reports whether the plan may still lead to a change.
func (s PlanState) open() bool {
	return s == Proposed || s == Held || s == Review || s == Running
}

// Plan is a plan and what became of it.
type Plan struct {
	Digest   canon.Digest        `json:"digest"`
	State    PlanState           `json:"state"`
	File     canon.Digest        `json:"file"`  // blob: proposal.File
	Cover    canon.Digest        `json:"cover"` // of hosts and changes: the same work is not proposed twice
	Class    change.Class        `json:"class"` // the verdict's once there is one
	Hosts    []trust.HostID      `json:"hosts"`
	Waves    []int               `json:"waves"` // of the hosts, in their order
	Packages []string            `json:"packages"`
	Created  int64               `json:"created"`
	Expires  int64               `json:"expires"`
	Until    int64               `json:"until"`   // review's deadline, or the end of a hold
	Grant    canon.Digest        `json:"grant"`   // runs under it, or ""
	Verdict  []policy.Verdict    `json:"verdict"` // none or one
	Input    canon.Digest        `json:"input"`   // blob: what the rules saw
	Answers  []approval.Approval `json:"answers"`
	Why      canon.Note          `json:"why"`               // of the last change of state
	Urgency  []Urgency           `json:"urgency,omitempty"` // one, when it was planned here
}

// Open reports whether the plan may still lead to a change.
func (p Plan) Open() bool { return p.State.open() }

// Grant is a grant and how it stands.
type Grant struct {
	Digest    canon.Digest        `json:"digest"`
	Grant     approval.Grant      `json:"grant"`
	Approvals []approval.Approval `json:"approvals"`
	State     string              `json:"state"` // live, suspended, revoked
	Why       canon.Note          `json:"why"`
}

// The states of a grant.
const (
	Live      = "live"
	Suspended = "suspended" // something under it failed; people look, and sign a new one
	Revoked   = "revoked"
)

// Writ is a writ and how it stands.
type Writ struct {
	Digest   canon.Digest   `json:"digest"` // of its body
	Host     trust.HostID   `json:"host"`
	Plan     canon.Digest   `json:"plan"`
	Wave     int            `json:"wave"`
	State    string         `json:"state"`
	File     canon.Digest   `json:"file"` // SumFile of the bytes a host gets, "" while it waits for the log
	Issued   int64          `json:"issued"`
	Expires  int64          `json:"expires"`
	Receipts []canon.Digest `json:"receipts"` // in the order they came; the last one counts
	Outcome  string         `json:"outcome"`  // of the last receipt, or ""
	Code     string         `json:"code"`     // the host's last refusal
	Why      canon.Note     `json:"why"`
}

// The states of a writ.
const (
	Drafted   = "drafted"   // its entry is not yet in the log
	Ready     = "ready"     // waits for its host
	Done      = "done"      // good receipt
	Failed    = "failed"    // a receipt that is not good, or a refusal that does not pass
	Lapsed    = "lapsed"    // it ended, and its host was silent
	Replaced  = "replaced"  // it ended while its host waited for something that passes; another was issued
	Withdrawn = "withdrawn" // its plan ended first: it is not handed out any more
)

// draft is a writ but for its proof.
type draft struct {
	Digest canon.Digest `json:"digest"`
	Writ   writ.Writ    `json:"writ"`
	Gone   bool         `json:"gone"` // only on its way into the book: the document is removed
}

// Receipt is a receipt with the leases that its host was shown.
type Receipt struct {
	Receipt writ.Receipt `json:"receipt"`
	Leases  []writ.Lease `json:"leases"`
}

// get reads a document.
func get[T any](ctx context.Context, s store.Store, kind, id string) (T, error) {
	var v T
	d, err := s.Doc(ctx, kind, id)
	if err != nil {
		return v, err
	}
	return v, canon.Decode(d.Body, &v)
}

// all reads every document of a kind, ascending by its id.
func all[T any](ctx context.Context, s store.Store, kind string) ([]T, error) {
	var out []T
	for d, err := range s.Docs(ctx, kind) {
		if err != nil {
			return nil, err
		}
		var v T
		if err := canon.Decode(d.Body, &v); err != nil {
			return nil, fmt.Errorf("%s %s: %w", kind, d.ID, err)
		}
		out = append(out, v)
	}
	return out, nil
}

func doc(kind, id string, v any) store.Doc {
	return store.Doc{Kind: kind, ID: id, Body: canon.MustEncode(v)}
}

func (r Receipt) doc() store.Doc { return doc(kindReceipt, string(r.Receipt.Digest()), r) }

func (d draft) doc() store.Doc {
	if d.Gone {
		return store.Doc{Kind: kindDraft, ID: string(d.Digest)}
	}
	return doc(kindDraft, string(d.Digest), d)
}

func (h Host) doc() store.Doc  { return doc(kindHost, h.Wire, h) }
func (t Token) doc() store.Doc { return doc(kindToken, string(t.Digest), t) }
func (p Plan) doc() store.Doc  { return doc(kindPlan, string(p.Digest), p) }
func (g Grant) doc() store.Doc { return doc(kindGrant, string(g.Digest), g) }
func (w Writ) doc() store.Doc  { return doc(kindWrit, string(w.Digest), w) }

// commit stores one event with the documents it changes.
func (c *Control) commit(ctx context.Context, stream, kind string, body []byte, e tlog.Entry, records ...record) error {
	return c.put(ctx, stream, []store.Event{{Kind: kind, At: c.Now().Unix(), Body: body, Entry: e}}, records...)
}

// put stores events of one stream with the documents they change, and enters
// those into the book. The caller holds the lock.
func (c *Control) put(ctx context.Context, stream string, events []store.Event, records ...record) error {
	b := store.Batch{Stream: stream, Expect: store.Any, Events: events}
	for _, r := range records {
		b.Docs = append(b.Docs, r.doc())
	}
	if len(b.Events)+len(b.Docs) == 0 {
		return nil
	}
	if _, err := c.Store.Commit(ctx, b); err != nil {
		return err
	}
	for _, r := range records {
		r.enter(c.book)
	}
	if slices.ContainsFunc(events, func(e store.Event) bool { return e.Entry != tlog.Entry{} }) {
		wake(c.ink)
	}
	return nil
}

// note commits something that stays out of the log.
func (c *Control) note(ctx context.Context, stream, kind string, body any, records ...record) error {
	return c.commit(ctx, stream, kind, canon.MustEncode(body), tlog.Entry{}, records...)
}

// logWait is how long the log may take for what is handed to it at once; usual
// is a fraction of a second.
const logWait = 15 * time.Second

// maxLogged is how many events are handed to the log at once.
const maxLogged = 1000

// flush brings every event that waits into the log, in order.
func (c *Control) flush(ctx context.Context) error {
	for {
		var events []store.Event
		for e, err := range c.Store.Unlogged(ctx) {
			if err != nil {
				return err
			}
			e.Body = nil
			if events = append(events, e); len(events) == maxLogged {
				break
			}
		}
		if len(events) == 0 {
			return nil
		}
		if err := c.logged(ctx, events); err != nil {
			return err
		}
		c.Kick()
	}
}

// logged appends the entries of events and stores their places.
func (c *Control) logged(ctx context.Context, events []store.Event) error {
	ctx, cancel := context.WithTimeout(ctx, logWait)
	defer cancel()
	entries := make([]tlog.Entry, len(events))
	for i, e := range events {
		entries[i] = e.Entry
	}
	places, err := c.Log.AppendAll(ctx, entries)
	if err != nil {
		return err
	}
	errs, work := make([]error, len(events)), make(chan int)
	var storing sync.WaitGroup
	for range min(maxStoring, len(events)) {
		storing.Go(func() {
			for i := range work {
				errs[i] = c.Store.Logged(ctx, events[i].Position, places[i].Index, places[i].Proof)
			}
		})
	}
	for i := range events {
		work <- i
	}
	close(work)
	storing.Wait()
	return errors.Join(errs...)
}

// maxStoring is how many places are stored at once: they share an fsync.
const maxStoring = 128

// proofOf is the proof of an entry once it is logged; ok is false before.
func (c *Control) proofOf(ctx context.Context, subject canon.Digest) (proof tlog.Proof, ok bool, err error) {
	e, err := c.Store.Subject(ctx, subject)
	if err != nil || e.Index < 0 {
		return "", false, err
	}
	return e.Proof, true, nil
}

// blobs is a directory of files by their SHA-256.
type blobs string

func (b blobs) path(d canon.Digest) string { return filepath.Join(string(b), string(d)) }

// put stores bytes durably and names them.
func (b blobs) put(raw []byte) (canon.Digest, error) {
	d := canon.SumFile(raw)
	if _, err := os.Stat(b.path(d)); err == nil {
		return d, nil
	}
	return d, keep(b.path(d), raw)
}

// keep writes a file so that a crash leaves the old one or the new one.
func keep(path string, raw []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// get reads bytes by their name, and looks whether they are still they.
func (b blobs) get(d canon.Digest) ([]byte, error) {
	if !d.Valid() {
		return nil, fmt.Errorf("%q is no digest", d)
	}
	raw, err := os.ReadFile(b.path(d))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, refusal.New(codeBlob, "the bytes with SHA-256 %s are not there", d)
	case err != nil:
		return nil, err
	case canon.SumFile(raw) != d:
		return nil, refusal.New(codeBlob, "the bytes with SHA-256 %s are damaged: they have another", d)
	}
	return raw, nil
}
