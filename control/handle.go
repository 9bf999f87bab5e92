package control

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// Handle answers one question of one agent. Room wire vouches for the wire key
// and for nothing else.
func (c *Control) Handle(ctx context.Context, wireKey string, v wire.Verb, body []byte) ([]byte, error) {
	switch v {
	case wire.Hello:
		return ask(ctx, c, wireKey, body, false, c.hello)
	case wire.Report:
		return c.report(ctx, wireKey, body) // takes its own time
	case wire.Next:
		return ask(ctx, c, wireKey, body, true, c.next)
	case wire.Fetch:
		return c.fetch(wireKey, body)
	case wire.Lease:
		return c.lease(ctx, wireKey, body) // takes its own time
	case wire.Done:
		return ask(ctx, c, wireKey, body, true, c.receipts)
	}
	return nil, refusal.New(codeMessage, "verb %q", v)
}

// ask decodes a question, finds who asks, and answers it under the lock. Only a
// host that the trust root names gets answers to strict questions.
func ask[Q, A any](ctx context.Context, c *Control, wireKey string, body []byte, strict bool, answer func(context.Context, Host, Q) (A, error)) ([]byte, error) {
	var q Q
	if err := canon.Decode(body, &q); err != nil {
		return nil, refusal.New(codeMessage, "%v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h, err := c.asking(wireKey, strict)
	if err != nil {
		return nil, err
	}
	a, err := answer(ctx, h, q)
	if err != nil {
		return nil, err
	}
	return canon.Encode(a)
}

// asking is the host that asks.
func (c *Control) asking(wireKey string, strict bool) (Host, error) {
	h, ok := c.book.hosts[wireKey]
	if !ok {
		return h, refusal.New(codeHost, "no host has this wire key")
	}
	if s := c.seenAs(h); strict && s != wire.Enrolled {
		return h, refusal.New(codeHost, "host %s is %s", h.ID.Short(), s)
	}
	return h, nil
}

// next says what there is to do: the trust repository when it has moved on, and
// the oldest writ that waits for this host.
func (c *Control) next(ctx context.Context, h Host, q wire.NextRequest) (wire.NextAnswer, error) {
	a := wire.NextAnswer{Trust: []wire.File{}, Pool: []wire.File{}}
	if h.Helper != q.Helper {
		h.Helper = q.Helper
		if err := c.note(ctx, "host/"+h.Wire, "helper", map[string]canon.Note{"why": q.Helper}, h); err != nil {
			return a, err
		}
	}
	h.Seen = c.Now().Unix()
	c.touch(h)
	if q.Trust.Newer(c.root.Versions) || c.root.Versions.Newer(q.Trust) {
		files, err := c.trustFiles()
		if err != nil {
			return a, err
		}
		a.Trust = files
	}
	w, ok := c.oldest(h.ID)
	if !ok {
		return a, nil
	}
	a.Writ = w.File
	var err error
	a.Pool, err = c.poolFiles(w)
	return a, err
}

// oldest is the oldest writ that waits for a host, of a plan that runs.
func (c *Control) oldest(id trust.HostID) (oldest Writ, ok bool) {
	now := c.Now().Unix()
	for _, d := range c.book.waiting[id] {
		w := c.book.writs[d]
		p := c.book.plans[w.Plan]
		if p.State == Running && now < w.Expires && now < p.Expires && (!ok || w.Issued < oldest.Issued) {
			oldest, ok = w, true
		}
	}
	return oldest, ok
}

// maxTrustFile bounds a file of the trust repository.
const maxTrustFile = 16 << 20

// trustFiles lists the trust repository, each file kept as a blob.
func (c *Control) trustFiles() ([]wire.File, error) {
	files := []wire.File{}
	err := fs.WalkDir(os.DirFS(c.Trust), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > maxTrustFile {
			err = fmt.Errorf("%s has %d bytes", name, info.Size())
		}
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(filepath.Join(c.Trust, name))
		if err != nil {
			return err
		}
		digest, err := c.blobs.put(raw)
		files = append(files, wire.File{Name: name, Digest: digest, Size: int64(len(raw))})
		return err
	})
	return files, err
}

// poolFiles lists what a writ needs, named as in the pool. They were kept as
// blobs when the plan was made.
func (c *Control) poolFiles(w Writ) ([]wire.File, error) {
	files, seen := []wire.File{}, map[string]bool{}
	add := func(name string, d canon.Digest, size int64) {
		if !seen[name] {
			seen[name] = true
			files = append(files, wire.File{Name: name, Digest: d, Size: size})
		}
	}
	f, err := c.file(c.book.plans[w.Plan])
	if err != nil {
		return nil, err
	}
	branch, _, _, err := f.issue.Branch(w.Host)
	if err != nil {
		return nil, err
	}
	origins := map[change.Origin]bool{}
	for _, ch := range slices.Concat(branch.Changes, branch.Rollback) {
		if ch.Op == change.Remove {
			continue
		}
		add("sha256/"+string(ch.Artefact), ch.Artefact, ch.Size)
		origins[ch.Origin] = true
	}
	for origin := range origins {
		releases, err := c.releaseFiles(w.Plan, origin)
		if err != nil {
			return nil, err
		}
		for _, f := range releases {
			add(f.Name, f.Digest, f.Size)
		}
	}
	slices.SortFunc(files, func(a, b wire.File) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return files, nil
}

// fetch gives a part of a blob or artefact to an enrolled host that knows its
// digest: vendors' bytes, writs, the trust repository.
func (c *Control) fetch(wireKey string, body []byte) ([]byte, error) {
	var q wire.BlobRequest
	if err := canon.Decode(body, &q); err != nil {
		return nil, refusal.New(codeMessage, "%v", err)
	}
	c.mu.Lock()
	_, err := c.asking(wireKey, true)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	a, err := c.part(q)
	if err != nil {
		return nil, err
	}
	return canon.Encode(a)
}

// part reads a part of a blob or artefact.
func (c *Control) part(q wire.BlobRequest) (wire.BlobAnswer, error) {
	if !q.Digest.Valid() || q.Offset < 0 {
		return wire.BlobAnswer{}, refusal.New(codeMessage, "blob %q at %d", q.Digest, q.Offset)
	}
	f, err := os.Open(c.blobs.path(q.Digest))
	if err != nil {
		f, err = os.Open(filepath.Join(c.Dir, "pool", "sha256", string(q.Digest)))
	}
	if err != nil {
		return wire.BlobAnswer{}, refusal.New(codeMessage, "no blob %s is here", q.Digest.Short())
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return wire.BlobAnswer{}, err
	}
	part := make([]byte, min(wire.MaxChunk, max(0, info.Size()-q.Offset)))
	n, err := f.ReadAt(part, q.Offset)
	if err != nil && err != io.EOF {
		return wire.BlobAnswer{}, err
	}
	return wire.BlobAnswer{Data: base64.StdEncoding.EncodeToString(part[:n]), Size: info.Size()}, nil
}

// lease asks the witnesses for a host, outside the lock, and has the log show
// that it only grew.
func (c *Control) lease(ctx context.Context, wireKey string, body []byte) ([]byte, error) {
	var q wire.LeaseRequest
	if err := canon.Decode(body, &q); err != nil {
		return nil, refusal.New(codeMessage, "%v", err)
	}
	c.mu.Lock()
	h, err := c.asking(wireKey, true)
	witnesses := c.root.Witnesses
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	a, err := c.leases(ctx, h.ID, witnesses, q)
	if err != nil {
		return nil, err
	}
	if err := c.leased(ctx, h.ID, witnesses, a); err != nil {
		return nil, err
	}
	return canon.Encode(a)
}

func (c *Control) leases(ctx context.Context, host trust.HostID, witnesses string, q wire.LeaseRequest) (wire.LeaseAnswer, error) {
	a := wire.LeaseAnswer{Leases: []string{}, Consistency: []canon.Digest{}}
	p, err := tlog.ParsePolicy(witnesses)
	if err != nil {
		return a, err
	}
	_, seen, err := c.Log.Checkpoint(ctx)
	if err != nil {
		return a, err
	}
	if top := seen.Checkpoint.Size; q.Older < 0 || q.Newer < 0 || q.Older > top || q.Newer > top {
		return a, refusal.New(codeMessage, "states of %d and %d entries; the log has %d", q.Older, q.Newer, top)
	}
	if q.Older > 0 && q.Older < q.Newer {
		if a.Consistency, err = c.Log.Consistency(ctx, q.Older, q.Newer); err != nil {
			return a, err
		}
	} else if q.Newer > 0 && q.Newer < q.Older {
		if a.Consistency, err = c.Log.Consistency(ctx, q.Newer, q.Older); err != nil {
			return a, err
		}
	}
	leases, err := c.Lease(ctx, p.Witnesses(), host, q.Nonce)
	for _, l := range leases {
		a.Leases = append(a.Leases, base64.StdEncoding.EncodeToString(l))
	}
	if err != nil {
		a.Why = canon.NoteOf(err.Error())
	}
	return a, nil
}

// leased notes whether a host got a quorum of leases: who asks `why` or halts
// wants to know, and a host that has one no longer waits.
func (c *Control) leased(ctx context.Context, id trust.HostID, witnesses string, a wire.LeaseAnswer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.book.host(id)
	if !ok {
		return refusal.New(codeHost, "host %s was removed", id.Short())
	}
	now := c.Now().Unix()
	if !enough(witnesses, a) {
		h.Refused, h.Why = now, a.Why
		c.touch(h)
		return nil
	}
	h.Leased, h.Why = now, ""
	c.touch(h)
	w, ok := c.oldest(id)
	if !ok || !w.passing() {
		return nil
	}
	w.Code, w.Why = "", ""
	return c.note(ctx, "writ/"+string(w.Digest), "leased", map[string]int64{"at": now}, w)
}
