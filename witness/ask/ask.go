// Package ask speaks with witnesses: it fetches leases for a host, hands halts
// and their lifting over, and lists what is halted.
//
// The parties: an agent that wants leases, or a person who stops a fleet, on
// one side; witnesses that other people run on the other. All witnesses are
// asked at once, each has its own deadline, and every answer is told: one that
// is down or refuses does not hide the others.
//
// It believes nothing: room writ verifies leases, and a witness verifies the
// approvals of a halt. The messages are canonical JSON over HTTP POST.
package ask

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/writ"
)

// Type names of the messages.
const (
	TypeLeaseRequest = "patchwrit/leaserequest/v1"
	TypeHaltRequest  = "patchwrit/haltrequest/v1"
	TypeStanding     = "patchwrit/standing/v1"
	TypeHalts        = "patchwrit/halts/v1"
	TypeRefused      = "patchwrit/refused/v1"
	TypeReach        = "patchwrit/reach/v1"
	TypeHealth       = "patchwrit/witnesshealth/v1"
)

// Limits of the messages, in bytes. An approval is at most 4 KB and a tally
// takes at most approval.MaxApprovals of them.
const (
	MaxLeaseRequest = 1 << 10
	MaxHaltRequest  = 512 << 10
	maxLease        = 16 << 10
	maxHalts        = canon.MaxBytes
)

// patience is how long one witness may take to answer.
const patience = 10 * time.Second

// LeaseRequest is the body of POST /lease; the answer is a writ.Lease.
type LeaseRequest struct {
	Type  string       `json:"type"`
	Host  trust.HostID `json:"host"`
	Nonce string       `json:"nonce"` // 32 random bytes, lower hex, the host's outstanding one
}

// HaltRequest is the body of POST /halt and POST /lift: the same halt, with
// approvals of kind halt or lift. The answer is a Standing.
type HaltRequest struct {
	Type      string              `json:"type"`
	Halt      approval.Halt       `json:"halt"`
	Approvals []approval.Approval `json:"approvals"`
}

// State is how a halt stands at a witness.
type State string

// The states.
const (
	InForce State = "in_force" // hosts in its scope get no lease, from From until Until
	Lifted  State = "lifted"   // a quorum ended it before its time; it cannot be set again
)

// Standing says how a halt stands at a witness.
type Standing struct {
	Type    string       `json:"type"`
	Witness string       `json:"witness"`
	Halt    canon.Digest `json:"halt"` // digest of its halt statement
	State   State        `json:"state"`
}

// Halts is the answer of GET /halts: every halt whose end has not come, so that
// anybody can check who stopped what and who lifted it.
type Halts struct {
	Type    string `json:"type"`
	Witness string `json:"witness"`
	Time    int64  `json:"time"` // Unix seconds by the witness
	Halts   []Held `json:"halts"`
}

// Held is a halt as a witness keeps it.
type Held struct {
	Halt      approval.Halt       `json:"halt"`
	Approvals []approval.Approval `json:"approvals"` // of kind halt; empty when only the lifting was handed over
	Lifts     []approval.Approval `json:"lifts"`     // of kind lift; empty while it is in force
}

// State says how it stands.
func (h Held) State() State {
	if len(h.Lifts) > 0 {
		return Lifted
	}
	return InForce
}

// Digest names the halt.
func (h Held) Digest() canon.Digest { return h.Halt.Statement(approval.Stop).Digest() }

// Health is the answer of GET /healthz.
type Health struct {
	Type       string          `json:"type"`
	Witness    string          `json:"witness"`
	Time       int64           `json:"time"`
	Checkpoint tlog.Checkpoint `json:"checkpoint"` // of the log in the policy, cosigned last
	Trust      canon.Digest    `json:"trust"`
	Versions   trust.Versions  `json:"versions"`
	Halts      int             `json:"halts"` // whose end has not come, lifted ones included
}

// Reach is the answer of GET /reach?halt=DIGEST: whom a halt has reached, as far
// as this witness knows. It remembers leases since it was started, and tells so.
// It is for people and nobody acts on it, so it is not signed.
type Reach struct {
	Type    string       `json:"type"`
	Witness string       `json:"witness"`
	Halt    canon.Digest `json:"halt"`
	Time    int64        `json:"time"`  // Unix seconds by the witness
	Since   int64        `json:"since"` // it remembers leases from here on
	Hosts   int          `json:"hosts"` // that its trust root names and the halt covers
	Seen    int          `json:"seen"`  // of them, those that asked since and were refused
	Live    []Live       `json:"live"`  // of them, those whose last lease from this witness is not over; ascending
}

// Live is a host that may still begin a step by an earlier lease.
type Live struct {
	Host  trust.HostID `json:"host"`
	Until int64        `json:"until"` // Unix seconds
}

// Reached is what one witness said of a halt's reach.
type Reached struct {
	Witness string
	Reach   Reach
	Err     error
}

// Refused is the body of every answer that is not 200, except to
// /add-checkpoint, which speaks c2sp.org/tlog-witness.
type Refused struct {
	Type   string     `json:"type"`
	Code   string     `json:"code"` // refusal code, or "" for a failure of the machine
	Detail canon.Note `json:"detail"`
}

// Answer is what one witness said.
type Answer struct {
	Witness  string
	Standing Standing // of Halt and Lift
	Err      error    // a refusal of the witness, or why it could not be asked
	lease    []byte
	reach    Reach
}

// Leases asks every witness for a lease. It returns the leases that came, in
// the witnesses' order and as their canonical bytes; the error names each
// witness that gave none and says why, and does not spoil the others' leases.
func Leases(ctx context.Context, witnesses []tlog.Witness, host trust.HostID, nonce string) ([][]byte, error) {
	body := canon.MustEncode(LeaseRequest{TypeLeaseRequest, host, nonce})
	answers := all(ctx, witnesses, func(ctx context.Context, w tlog.Witness, a *Answer) error {
		raw, err := post(ctx, w.URL+"/lease", body, maxLease)
		if err != nil {
			return err
		}
		var l writ.Lease
		if err := canon.Decode(raw, &l); err != nil {
			return fmt.Errorf("its answer is no lease: %w", err)
		}
		if l.Witness != w.Name || l.Host != host || l.Nonce != nonce {
			return fmt.Errorf("its lease is by %q for host %s", l.Witness, l.Host.Short())
		}
		a.lease = raw
		return nil
	})
	leases := [][]byte{}
	for _, a := range answers {
		if a.Err == nil {
			leases = append(leases, a.lease)
		}
	}
	return leases, Err(answers)
}

// Halt hands a signed halt to every witness and tells what each said.
func Halt(ctx context.Context, witnesses []tlog.Witness, h approval.Halt, halts []approval.Approval) []Answer {
	return hand(ctx, witnesses, "/halt", h, halts)
}

// Lift hands the lifting of a halt to every witness and tells what each said.
func Lift(ctx context.Context, witnesses []tlog.Witness, h approval.Halt, lifts []approval.Approval) []Answer {
	return hand(ctx, witnesses, "/lift", h, lifts)
}

func hand(ctx context.Context, witnesses []tlog.Witness, verb string, h approval.Halt, as []approval.Approval) []Answer {
	body, err := canon.Encode(HaltRequest{TypeHaltRequest, h, as})
	return all(ctx, witnesses, func(ctx context.Context, w tlog.Witness, a *Answer) error {
		if err != nil {
			return err
		}
		raw, err := post(ctx, w.URL+verb, body, maxLease)
		if err != nil {
			return err
		}
		if err := canon.Decode(raw, &a.Standing); err != nil {
			return fmt.Errorf("its answer is unreadable: %w", err)
		}
		return nil
	})
}

// Standings asks one witness for the halts it holds.
func Standings(ctx context.Context, w tlog.Witness) (Halts, error) {
	return get[Halts](ctx, w.URL+"/halts", maxHalts)
}

// HealthOf asks one witness how it is. The answer is not signed.
func HealthOf(ctx context.Context, w tlog.Witness) (Health, error) {
	return get[Health](ctx, w.URL+"/healthz", maxLease)
}

// get asks for a message.
func get[T any](ctx context.Context, url string, limit int64) (v T, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return v, err
	}
	raw, err := do(req, limit)
	if err != nil {
		return v, err
	}
	if err := canon.Decode(raw, &v); err != nil {
		return v, fmt.Errorf("its answer is unreadable: %w", err)
	}
	return v, nil
}

// Reaches asks every witness whom a halt has reached; answers come in the
// witnesses' order.
func Reaches(ctx context.Context, witnesses []tlog.Witness, halt canon.Digest) []Reached {
	out := make([]Reached, len(witnesses))
	answers := all(ctx, witnesses, func(ctx context.Context, w tlog.Witness, a *Answer) (err error) {
		a.reach, err = get[Reach](ctx, w.URL+"/reach?halt="+string(halt), maxHalts)
		return err
	})
	for i, a := range answers {
		out[i] = Reached{a.Witness, a.reach, a.Err}
	}
	return out
}

// freshness is how far a witness's clock may be from the asker's.
const freshness = 10 * time.Minute

// Newest asks one witness for the checkpoint of the log that it has cosigned
// last. The answer is signed by the witness, at a time near now.
func Newest(ctx context.Context, w tlog.Witness, origin string, now time.Time) (tlog.Checkpoint, error) {
	none := tlog.Checkpoint{}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+"/newest", nil)
	if err != nil {
		return none, err
	}
	raw, err := do(req, tlog.MaxCheckpoint)
	if err != nil {
		return none, err
	}
	v, err := torchwood.NewCosignatureVerifier(w.VKey)
	if err != nil {
		return none, err
	}
	n, err := note.Open(raw, note.VerifierList(v))
	if err != nil {
		return none, fmt.Errorf("its answer is not signed by its key: %w", err)
	}
	at, err := torchwood.CosignatureTimestamp(n.Sigs[0])
	if off := now.Sub(time.Unix(at, 0)); err != nil || off.Abs() > freshness {
		return none, fmt.Errorf("its answer is of another time: %d (%w)", at, err)
	}
	c, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil || c.Origin != origin || c.N > canon.MaxInt {
		return none, fmt.Errorf("its answer is no checkpoint of %s: %w", origin, err)
	}
	return tlog.Checkpoint{Origin: c.Origin, Size: c.N, Hash: canon.Digest(hex.EncodeToString(c.Hash[:]))}, nil
}

// Err joins what went wrong, each under its witness's name; nil when all is well.
func Err(answers []Answer) error {
	var errs []error
	for _, a := range answers {
		if a.Err != nil {
			errs = append(errs, fmt.Errorf("witness %s: %w", a.Witness, a.Err))
		}
	}
	return errors.Join(errs...)
}

// all asks all witnesses at once; answers come in the witnesses' order.
func all(ctx context.Context, witnesses []tlog.Witness, one func(context.Context, tlog.Witness, *Answer) error) []Answer {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answers := make([]Answer, len(witnesses))
	var asking sync.WaitGroup
	for i, w := range witnesses {
		answers[i].Witness = w.Name
		asking.Go(func() { answers[i].Err = one(ctx, w, &answers[i]) })
	}
	asking.Wait()
	return answers
}

// client follows no redirect: a witness has the address that the trust root says.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func post(ctx context.Context, url string, body []byte, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return do(req, limit)
}

// do returns the body of a 200 answer; a refusal comes back as the same
// refusal, told by the witness.
func do(req *http.Request, limit int64) ([]byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(raw)) > limit:
		return nil, fmt.Errorf("its answer is longer than %d bytes", limit)
	case resp.StatusCode == http.StatusOK:
		return raw, nil
	}
	var no Refused
	if err := canon.Decode(raw, &no); err != nil || no.Code == "" {
		return nil, fmt.Errorf("it answers %s %s", resp.Status, no.Detail)
	}
	return nil, refusal.New(refusal.Code(no.Code), "%s", string(no.Detail))
}
