package control

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// maxRuns is how many earlier starts of an agent are remembered: one that
// speaks again after another has begun is a second machine with the same keys.
const maxRuns = 32

// tokenBytes is the length of an enrolment secret.
const tokenBytes = 32

// NewToken makes a secret with which one host may enrol until life is over.
func (c *Control) NewToken(ctx context.Context, life time.Duration) (secret []byte, err error) {
	secret = make([]byte, tokenBytes)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := io.ReadFull(c.Random, secret); err != nil {
		return nil, err
	}
	t := Token{Digest: tokenDigest(secret), Expires: c.Now().Add(life).Unix()}
	return secret, c.note(ctx, "tokens", "token", t, t)
}

func tokenDigest(secret []byte) canon.Digest { return canon.Sum("patchwrit/token/v1", secret) }

// Enrol judges an enrolment whose signatures were checked by room wire. The
// host is pending until the trust root names it.
func (c *Control) Enrol(ctx context.Context, secret []byte, h Host) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := get[Token](ctx, c.Store, kindToken, string(tokenDigest(secret)))
	now := c.Now().Unix()
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refusal.New(codeToken, "it is not known here")
	case err != nil:
		return err
	case t.Used == h.Wire:
		return nil // the answer was lost: the same host asks again
	case t.Used != "":
		return refusal.New(codeToken, "it was used by another host")
	case t.Expires <= now:
		return refusal.New(codeToken, "it ended %s", stamp(t.Expires))
	}
	if _, known := c.book.host(h.ID); known {
		return refusal.New(codeHost, "host %s is enrolled already; remove it first (patchwrit host rm), or make a new host key", h.ID.Short())
	}
	if had, known := c.book.hosts[h.Wire]; known && had.State != wire.Gone {
		return refusal.New(codeHost, "the wire key is that of host %s", had.ID.Short())
	}
	h.State, h.Enrolled, h.Seen, h.Runs = wire.Pending, now, now, []string{}
	t.Used = h.Wire
	if err := c.note(ctx, "host/"+h.Wire, "enrolled", h, h, t); err != nil {
		return err
	}
	c.Logger.Info("host enrolled, pending until the trust root names it", "host", h.ID.Short(), "name", string(h.Name))
	return nil
}

// Knows tells room wire which host a wire key speaks for.
func (c *Control) Knows(_ context.Context, wireKey string) (trust.HostID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.book.hosts[wireKey]
	if !ok || h.State == wire.Gone {
		return "", refusal.New(codeHost, "the wire key is not that of an enrolled host")
	}
	return h.ID, nil
}

// Remove lets a host go. Its plans go on without it, while enough hosts are left
// for the receipts that later waves must show.
func (c *Control) Remove(ctx context.Context, id trust.HostID) error {
	return c.setState(ctx, id, wire.Gone, "removed")
}

// Accept says that a person has looked at a host that seemed to be two.
func (c *Control) Accept(ctx context.Context, id trust.HostID) error {
	return c.setState(ctx, id, wire.Pending, "accepted")
}

func (c *Control) setState(ctx context.Context, id trust.HostID, s wire.HostState, event string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.book.host(id)
	if !ok {
		return refusal.New(codeHost, "no host %s is enrolled", id.Short())
	}
	h.State, h.Run, h.Runs = s, "", []string{}
	if err := c.note(ctx, "host/"+h.Wire, event, h, h); err != nil || s != wire.Gone || c.Cut == nil {
		return err
	}
	return c.Cut(h.Wire)
}

// hello takes note of a start of an agent.
func (c *Control) hello(ctx context.Context, h Host, q wire.HelloRequest) (wire.HelloAnswer, error) {
	if q.Host != h.ID || !canon.Hex(q.Run, 16) {
		return wire.HelloAnswer{}, refusal.New(codeMessage, "hello of host %s", q.Host.Short())
	}
	spoken, err := wire.Common(q.Protocol)
	if err != nil {
		return wire.HelloAnswer{}, err
	}
	had := h
	if h.Run != q.Run {
		if slices.Contains(h.Runs, q.Run) {
			return c.cloned(ctx, h, q)
		}
		if h.Run != "" {
			h.Runs = append(slices.Clone(h.Runs), h.Run)
			h.Runs = h.Runs[max(0, len(h.Runs)-maxRuns):]
		}
		h.Run = q.Run
	}
	h.Version, h.Name, h.State, h.Seen = q.Version, q.Name, c.seenAs(h), c.Now().Unix()
	if had.Run == h.Run && had.Version == h.Version && had.State == h.State && had.Name == h.Name {
		c.touch(h)
	} else if err := c.note(ctx, "host/"+h.Wire, "hello", q, h); err != nil {
		return wire.HelloAnswer{}, err
	}
	return wire.HelloAnswer{Protocol: spoken, State: h.State, Time: h.Seen, Every: int(c.Terms.Every / time.Second)}, nil
}

// seenAs is the host's state by the trust root of this moment.
func (c *Control) seenAs(h Host) wire.HostState {
	if h.State == wire.Cloned || h.State == wire.Gone {
		return h.State
	}
	if known, ok := c.root.Host(h.ID); ok && known.Public == h.Public {
		return wire.Enrolled
	}
	return wire.Pending
}

// cloned marks a host whose keys are on two machines.
func (c *Control) cloned(ctx context.Context, h Host, q wire.HelloRequest) (wire.HelloAnswer, error) {
	h.State = wire.Cloned
	if err := c.note(ctx, "host/"+h.Wire, "cloned", q, h); err != nil {
		return wire.HelloAnswer{}, err
	}
	c.Logger.Warn("two machines speak with one host's keys; it gets nothing until a person has looked", "host", h.ID.Short())
	return wire.HelloAnswer{Protocol: wire.Protocol, State: wire.Cloned, Time: c.Now().Unix(), Every: int(c.Terms.Every / time.Second)}, nil
}

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
