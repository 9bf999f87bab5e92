// Package agenttest is an honest control plane in memory, for tests of the agent
// only: it serves one house of trust/trusttest over the real wire.
//
// The parties: agents under test, and a test that puts writs on the table and
// looks at what came back. Nothing is stubbed: server, enrolment, leases and
// proofs are real. It plans nothing, stores nothing, and no shipped binary links
// it.
package agenttest

import (
	"context"
	"encoding/base64"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/trusttest"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/wire/serve"
	"github.com/patchwrit/patchwrit/writ"
	"github.com/patchwrit/patchwrit/writ/writtest"
)

// Said is one question of an agent.
type Said struct {
	Wire string
	Verb wire.Verb
	Body []byte
}

// Hall is the control plane. Its fields are guarded by Lock.
type Hall struct {
	House  trusttest.House
	Server *serve.Server

	mu       sync.Mutex
	secrets  map[string]string // secret → wire key that used it, or ""
	hosts    map[string]trust.HostID
	blobs    map[canon.Digest][]byte
	trust    []wire.File
	writ     canon.Digest
	pool     []wire.File
	theCase  *writtest.Case
	receipts []writ.Receipt
	refused  []wire.ReceiptRequest
	snapshot *wire.Snapshot
	parts    []canon.Note
	said     []Said
	before   func(Said) error // may answer no
	every    int
	helper   canon.Note
}

// New starts a hall in dir.
func New(ctx context.Context, house trusttest.House, dir string) (*Hall, error) {
	h := &Hall{House: house, secrets: map[string]string{}, hosts: map[string]trust.HostID{}, blobs: map[canon.Digest][]byte{}, every: 1}
	h.SetTrust(house.Bundle())
	return h, h.Listen(ctx, dir, "127.0.0.1:0")
}

// Listen starts the server, again after Server.Close.
func (h *Hall) Listen(ctx context.Context, dir, addr string) (err error) {
	h.Server, err = serve.Listen(ctx, serve.Config{Dir: dir, Listen: addr, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Directory: h, Handler: h.handle})
	return err
}

// SetTrust lays a trust repository on the table.
func (h *Hall) SetTrust(files map[string][]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trust = nil
	for name, raw := range files {
		h.trust = append(h.trust, h.file(name, raw))
	}
}

func (h *Hall) file(name string, raw []byte) wire.File {
	d := canon.SumFile(raw)
	h.blobs[d] = raw
	return wire.File{Name: name, Digest: d, Size: int64(len(raw))}
}

// Table lays a writ on the table, with its pool by file name.
func (h *Hall) Table(c *writtest.Case, pool map[string][]byte) {
	h.mu.Lock()
	h.theCase, h.pool = c, []wire.File{}
	h.writ = h.file("", c.Raw().Writ).Digest
	for name, raw := range pool {
		h.pool = append(h.pool, h.file(name, raw))
	}
	h.mu.Unlock()
	h.Wake()
}

// Wake wakes every agent.
func (h *Hall) Wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key := range h.hosts {
		h.Server.Wake(key)
	}
}

// Before is asked before every answer; an error is the answer.
func (h *Hall) Before(f func(Said) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before = f
}

// Token is a token for one host.
func (h *Hall) Token() wire.Token {
	h.mu.Lock()
	defer h.mu.Unlock()
	secret := slices.Repeat([]byte{byte(len(h.secrets) + 1)}, wire.SecretBytes)
	h.secrets[string(secret)] = ""
	return wire.Token{Secret: secret, Server: h.Server.CertSHA256()}
}

// Receipts are those that came in, each once.
func (h *Hall) Receipts() []writ.Receipt {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.receipts)
}

// Refused are the reports of writs that were not begun.
func (h *Hall) Refused() []wire.ReceiptRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.refused)
}

// Snapshot is the newest inventory, or nil.
func (h *Hall) Snapshot() *wire.Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.snapshot
}

// Helper is why the agent's helper does not answer, as it was told last.
func (h *Hall) Helper() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.helper.Text()
}

// Said is everything that was asked, in order.
func (h *Hall) Said() []Said {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.said)
}

// Enrol implements serve.Directory.
func (h *Hall) Enrol(_ context.Context, secret []byte, e wire.Enrolment) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	by, ok := h.secrets[string(secret)]
	if !ok || by != "" && by != e.Wire {
		return refusal.New("PW-CONTROL-TOKEN", "it was used, or never made here")
	}
	h.secrets[string(secret)], h.hosts[e.Wire] = e.Wire, e.Host()
	return nil
}

// Knows implements serve.Directory.
func (h *Hall) Knows(_ context.Context, key string) (trust.HostID, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id, ok := h.hosts[key]
	if !ok {
		return "", refusal.New("PW-CONTROL-HOST", "it is not known here")
	}
	return id, nil
}

// handle is a serve.Handler.
func (h *Hall) handle(_ context.Context, key string, v wire.Verb, body []byte) ([]byte, error) {
	said := Said{key, v, body}
	h.mu.Lock()
	h.said = append(h.said, said)
	before := h.before
	h.mu.Unlock()
	if before != nil {
		if err := before(said); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	id := h.hosts[key]
	switch v {
	case wire.Hello:
		return answer(body, func(q wire.HelloRequest) (wire.HelloAnswer, error) { return h.hello(id, q) })
	case wire.Report:
		return answer(body, h.report)
	case wire.Next:
		return answer(body, h.next)
	case wire.Fetch:
		return answer(body, h.fetch)
	case wire.Lease:
		return answer(body, h.lease)
	case wire.Done:
		return answer(body, h.done)
	}
	return nil, refusal.New("PW-CONTROL-MESSAGE", "verb %q", v)
}

func answer[Q, A any](body []byte, f func(Q) (A, error)) ([]byte, error) {
	var q Q
	if err := canon.Decode(body, &q); err != nil {
		return nil, refusal.New("PW-CONTROL-MESSAGE", "%v", err)
	}
	a, err := f(q)
	if err != nil {
		return nil, err
	}
	return canon.Encode(a)
}

func (h *Hall) hello(id trust.HostID, q wire.HelloRequest) (wire.HelloAnswer, error) {
	spoken, err := wire.Common(q.Protocol)
	a := wire.HelloAnswer{Protocol: spoken, State: wire.Pending, Time: time.Now().Unix(), Every: h.every}
	if err != nil {
		return a, err
	}
	if q.Host != id {
		return a, refusal.New("PW-CONTROL-MESSAGE", "another host")
	}
	if slices.ContainsFunc(h.House.Hosts, func(o trusttest.Host) bool { return o.ID == id }) {
		a.State = wire.Enrolled
	}
	return a, nil
}

func (h *Hall) report(q wire.InventoryRequest) (wire.InventoryAnswer, error) {
	have := canon.Digest("")
	if h.snapshot != nil {
		have = h.snapshot.Digest()
	}
	switch {
	case q.Digest == have:
		return wire.InventoryAnswer{Want: "nothing"}, nil
	case q.Part == 0 && have != "":
		return wire.InventoryAnswer{Want: "delta", Base: have}, nil
	case q.Part == 0:
		return wire.InventoryAnswer{Want: "all"}, nil
	case q.Part == 1:
		h.parts = nil
		if q.Base != "" {
			if q.Base != have {
				return wire.InventoryAnswer{}, refusal.New("PW-CONTROL-MESSAGE", "another base")
			}
			h.parts = slices.DeleteFunc(slices.Clone(h.snapshot.Status), func(p canon.Note) bool {
				return slices.Contains(q.Gone, string(canon.SumFile([]byte(p))))
			})
		}
	}
	h.parts = append(h.parts, q.Rest.Status...)
	if q.More {
		return wire.InventoryAnswer{Want: "more"}, nil
	}
	s := q.Rest
	s.Status = slices.Sorted(slices.Values(h.parts))
	if s.Digest() != q.Digest {
		return wire.InventoryAnswer{Want: "all"}, nil
	}
	h.snapshot = &s
	return wire.InventoryAnswer{Want: "nothing"}, nil
}

func (h *Hall) next(q wire.NextRequest) (wire.NextAnswer, error) {
	a := wire.NextAnswer{Trust: []wire.File{}, Writ: h.writ, Pool: []wire.File{}}
	h.helper = q.Helper
	if q.Trust != h.House.Root.Versions {
		a.Trust = h.trust
	}
	if h.writ != "" {
		a.Pool = h.pool
	}
	return a, nil
}

func (h *Hall) fetch(q wire.BlobRequest) (wire.BlobAnswer, error) {
	raw, ok := h.blobs[q.Digest]
	if !ok || q.Offset > int64(len(raw)) {
		return wire.BlobAnswer{}, refusal.New("PW-CONTROL-MESSAGE", "no blob %s", q.Digest.Short())
	}
	part := raw[q.Offset:min(int64(len(raw)), q.Offset+wire.MaxChunk)]
	return wire.BlobAnswer{Data: base64.StdEncoding.EncodeToString(part), Size: int64(len(raw))}, nil
}

func (h *Hall) lease(q wire.LeaseRequest) (wire.LeaseAnswer, error) {
	a := wire.LeaseAnswer{Leases: []string{}, Consistency: []canon.Digest{}}
	if h.theCase == nil {
		return a, nil
	}
	c := *h.theCase
	edit := c.EditLease
	c.EditLease = func(n int, l *writ.Lease) {
		l.Nonce, l.Time = q.Nonce, time.Now().Unix()
		if edit != nil {
			edit(n, l)
		}
	}
	c.Memory.Checkpoint.Size = q.Older
	raw := c.Raw()
	for _, l := range raw.Leases {
		a.Leases = append(a.Leases, base64.StdEncoding.EncodeToString(l))
	}
	a.Consistency = append(a.Consistency, raw.Consistency...)
	return a, nil
}

func (h *Hall) done(q wire.ReceiptRequest) (wire.ReceiptAnswer, error) {
	if len(q.Receipts) == 0 {
		h.refused = append(h.refused, q)
	}
	for _, text := range q.Receipts {
		var r writ.Receipt
		raw, err := base64.StdEncoding.DecodeString(text)
		if err == nil {
			err = canon.Decode(raw, &r)
		}
		if err != nil {
			return wire.ReceiptAnswer{}, refusal.New("PW-CONTROL-RECEIPT", "%v", err)
		}
		if !slices.ContainsFunc(h.receipts, func(o writ.Receipt) bool { return o.Digest() == r.Digest() }) {
			h.receipts = append(h.receipts, r)
		}
	}
	h.writ = "" // the table is cleared
	return wire.ReceiptAnswer{Stored: len(q.Receipts)}, nil
}
