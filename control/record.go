package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/policy"
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
	Why      canon.Note          `json:"why"` // of the last change of state
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
	Digest  canon.Digest `json:"digest"` // of its body
	Host    trust.HostID `json:"host"`
	Plan    canon.Digest `json:"plan"`
	Wave    int          `json:"wave"`
	State   string       `json:"state"`
	File    canon.Digest `json:"file"` // SumFile of the bytes a host gets, "" while it waits for the log
	Draft   writ.Writ    `json:"draft"`
	Issued  int64        `json:"issued"`
	Expires int64        `json:"expires"`
	Receipt canon.Digest `json:"receipt"`
	Code    string       `json:"code"` // the host's last refusal
	Why     canon.Note   `json:"why"`
}

// The states of a writ.
const (
	Drafted  = "drafted"  // its entry is not yet in the log
	Ready    = "ready"    // waits for its host
	Done     = "done"     // good receipt
	Failed   = "failed"   // a receipt that is not good
	Lapsed   = "lapsed"   // it ended without a receipt
	Replaced = "replaced" // the host refused it for a passing reason; another was issued
)

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

func (h Host) doc() store.Doc  { return doc(kindHost, h.Wire, h) }
func (t Token) doc() store.Doc { return doc(kindToken, string(t.Digest), t) }
func (p Plan) doc() store.Doc  { return doc(kindPlan, string(p.Digest), p) }
func (g Grant) doc() store.Doc { return doc(kindGrant, string(g.Digest), g) }
func (w Writ) doc() store.Doc  { return doc(kindWrit, string(w.Digest), w) }

// commit stores one event with the documents it changes.
func (c *Control) commit(ctx context.Context, stream, kind string, body []byte, e tlog.Entry, docs ...store.Doc) error {
	b := store.Batch{Stream: stream, Expect: store.Any, Docs: docs,
		Events: []store.Event{{Kind: kind, At: c.Now().Unix(), Body: body, Entry: e}}}
	_, err := c.Store.Commit(ctx, b)
	return err
}

// note commits something that stays out of the log.
func (c *Control) note(ctx context.Context, stream, kind string, body any, docs ...store.Doc) error {
	return c.commit(ctx, stream, kind, canon.MustEncode(body), tlog.Entry{}, docs...)
}

// logWait is how long the log may take for one entry before others get a turn;
// usual is a fraction of a second.
const logWait = 15 * time.Second

// flush brings every event that waits into the log, in order.
func (c *Control) flush(ctx context.Context) error {
	for e, err := range c.Store.Unlogged(ctx) {
		if err != nil {
			return err
		}
		if _, err := c.logged(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// logged appends one event's entry and stores its place.
func (c *Control) logged(ctx context.Context, e store.Event) (tlog.Proof, error) {
	ctx, cancel := context.WithTimeout(ctx, logWait)
	defer cancel()
	proof, err := c.Log.Append(ctx, e.Entry)
	if err != nil {
		return "", err
	}
	index, ok := c.Log.Find(e.Entry)
	if !ok {
		return "", errors.New("the log does not hold what it has just taken")
	}
	return proof, c.Store.Logged(ctx, e.Position, index, proof)
}

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
	f, err := os.CreateTemp(string(b), ".new-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	return d, os.Rename(f.Name(), b.path(d))
}

// get reads bytes by their name, and looks whether they are still they.
func (b blobs) get(d canon.Digest) ([]byte, error) {
	if !d.Valid() {
		return nil, fmt.Errorf("%q is no digest", d)
	}
	raw, err := os.ReadFile(b.path(d))
	if err == nil && canon.SumFile(raw) != d {
		err = fmt.Errorf("blob %s is damaged", d.Short())
	}
	return raw, err
}
