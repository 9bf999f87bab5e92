// Package messenger is the part of the agent that speaks to the network: an
// ordinary user with one outbound connection, who carries and decides nothing.
//
// The parties: the control plane, over room wire; the helper, over room
// agent/parley; the host's own files. The objects: Server, what this host was
// enrolled to; Messenger; a state directory that survives every crash.
//
// The promise: it tells what the host has and runs, first as a digest; fetches
// what a writ needs, by digest, and goes on where it was cut off; has the helper
// try it; and hands every receipt over until the control plane has it. kill -9
// at any point loses nothing: what was not finished is taken up again.
//
// It listens on no port. What it says permits nothing and what it hears is not
// believed: the helper judges again, and so do auditors.
package messenger

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/patchwrit/patchwrit/agent/idle"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

// Refusals of this room; refusal/catalogue.txt says what each means.
const (
	codeState    refusal.Code = "PW-MESSENGER-STATE"  // its directory is unusable
	codeFetch    refusal.Code = "PW-MESSENGER-FETCH"  // what was fetched is not what was named
	codeHelper   refusal.Code = "PW-MESSENGER-HELPER" // the helper does not answer
	codeEnrolled refusal.Code = "PW-AGENT-ENROLLED"
)

// Wire is the connection to the control plane; *dial.Conn is one.
type Wire interface {
	Ask(ctx context.Context, v wire.Verb, body []byte) ([]byte, error)
	Wakes() <-chan struct{}
}

// Config is what a messenger works with. Server says the rest.
type Config struct {
	State   string // 0700, its own
	Version string // of the agent
	Wire    Wire
	Now     func() time.Time
	Logger  *slog.Logger
}

// Messenger is a running messenger.
type Messenger struct {
	Config
	server  Server
	run     string         // this start, for the control plane
	state   wire.HostState // as the control plane sees this host; "" until it has said
	every   time.Duration
	told    canon.Digest // digest of the snapshot that the control plane has
	spoken  int          // protocol
	silent  canon.Note   // why an offer does not end
	waiting bool         // an offer has not ended
	marked  string       // mark of the files it was made of
	looked  time.Time
	list    sighting     // of processes on deleted files, as it was told last
	refused canon.Digest // file of the writ that was refused last: not offered twice in one round
}

// Pace.
const (
	usual    = time.Minute
	minEvery = time.Second
	maxEvery = time.Hour
	minWait  = time.Second // after a failure, doubling
	maxWait  = time.Minute
)

// New makes a messenger over its state directory.
func New(c Config) (*Messenger, error) {
	s, err := ReadServer(c.State)
	if err != nil {
		return nil, err
	}
	return over(c, s)
}

func over(c Config, s Server) (*Messenger, error) {
	for _, sub := range []string{blobsDir, partialDir, reportsDir, poolDir} {
		if err := os.MkdirAll(filepath.Join(c.State, sub), 0o700); err != nil {
			return nil, refusal.New(codeState, "%v", err)
		}
	}
	return &Messenger{Config: c, server: s, every: usual}, nil
}

// start begins a run: the control plane takes two runs that alternate for two
// machines. Whoever looks meanwhile (enroll) speaks as the run that is there.
func (m *Messenger) start(fresh bool) error {
	name := filepath.Join(m.State, runFile)
	if raw, err := os.ReadFile(name); err == nil && !fresh && canon.Hex(string(raw), 16) {
		m.run = string(raw)
		return nil
	}
	b := make([]byte, 16)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	m.run = hex.EncodeToString(b)
	return put(name, []byte(m.run))
}

// Run works until ctx ends.
func (m *Messenger) Run(ctx context.Context) error {
	if err := m.start(true); err != nil {
		return err
	}
	failures := 0
	m.Logger.Info("messenger ready", "host", m.server.Host.Short(), "server", m.server.URL.Text())
	for {
		wait := jitter(m.every)
		if err := m.round(ctx); err != nil && ctx.Err() == nil {
			wait = jitter(min(maxWait, minWait<<min(failures, 6)))
			failures++
			m.Logger.Warn("a round failed", "err", err, "code", refusal.CodeOf(err), "again_in", wait.Round(time.Millisecond))
		} else {
			failures = 0
		}
		idle.Rest()
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-m.Wire.Wakes():
			rest(ctx) // whoever wakes all hosts at once, or one of them for ever
		case <-t.C:
		}
		t.Stop()
	}
}

// breath is the least time between two rounds.
const breath = 100 * time.Millisecond

func rest(ctx context.Context) {
	t := time.NewTimer(jitter(breath))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// jitter is between three and five quarters of d, so that hosts that were
// started together do not stay together.
func jitter(d time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(d/2)+1))
	if err != nil {
		return d
	}
	return d*3/4 + time.Duration(n.Int64())
}

// round does everything that there is to do once.
func (m *Messenger) round(ctx context.Context) error {
	if m.state != wire.Enrolled {
		if err := m.hello(ctx); err != nil || m.state != wire.Enrolled {
			return err
		}
	}
	err := m.work(ctx)
	if code := refusal.CodeOf(err); code == wire.CodeDown || code == "PW-CONTROL-HOST" {
		m.state, m.told = "", "" // a new connection begins with hello
	}
	return err
}

// work does what there is to do. An offer that has not ended yet keeps nothing
// else back, and the control plane is told why it does not end.
func (m *Messenger) work(ctx context.Context) error {
	m.refused = ""
	waits := m.resume(ctx)
	switch code := refusal.CodeOf(waits); {
	case code == wire.CodeDown || code == "PW-CONTROL-HOST":
		return waits
	case waits == nil || code == "PW-AGENT-BUSY" || code == "PW-APT-RUNNING":
		m.silent = ""
	default:
		m.silent = canon.NoteOf(waits.Error())
	}
	m.waiting = waits != nil
	for _, step := range []func(context.Context) error{m.deliver, m.report, m.next} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return waits
}

// ask asks the control plane one question.
func ask[A any](ctx context.Context, w Wire, v wire.Verb, q any) (A, error) {
	var a A
	body, err := canon.Encode(q)
	if err != nil {
		return a, fmt.Errorf("question %s: %w", v, err)
	}
	raw, err := w.Ask(ctx, v, body)
	if err != nil {
		return a, err
	}
	if err := canon.Decode(raw, &a); err != nil {
		return a, refusal.New(codeFetch, "the answer to %s: %v", v, err)
	}
	return a, nil
}

func (m *Messenger) hello(ctx context.Context) error {
	a, err := Greet(ctx, m.Wire, m.server, m.Version, m.run)
	if err != nil {
		return err
	}
	if m.state != a.State {
		m.Logger.Info("the control plane has seen us", "state", a.State, "protocol", a.Protocol, "clock_difference", a.Time-m.Now().Unix())
	}
	m.state, m.spoken = a.State, a.Protocol
	if d := time.Duration(a.Every) * time.Second; d > 0 {
		m.every = min(max(d, minEvery), maxEvery)
	}
	return nil
}

// Greet opens a connection: it says who is there and hears how the control plane
// sees the host.
func Greet(ctx context.Context, w Wire, s Server, version, run string) (wire.HelloAnswer, error) {
	a, err := ask[wire.HelloAnswer](ctx, w, wire.Hello, wire.HelloRequest{Protocol: wire.Protocol, Version: version, Host: s.Host, Run: run, Name: s.Name})
	if err == nil {
		a.Protocol, err = wire.Common(a.Protocol)
	}
	return a, err
}

// next asks what there is to do, and does it.
func (m *Messenger) next(ctx context.Context) error {
	for {
		a, err := ask[wire.NextAnswer](ctx, m.Wire, wire.Next, wire.NextRequest{Trust: m.held().Versions, Helper: m.silent})
		if err != nil {
			return err
		}
		if len(a.Trust) > 0 {
			if err := m.takeTrust(ctx, a.Trust); err != nil {
				return err
			}
		}
		if a.Writ == "" || a.Writ == m.refused || m.waiting || m.held().Versions == (trust.Versions{}) {
			return nil
		}
		if err := m.begin(offer{Type: typeOffer, Writ: a.Writ, Pool: a.Pool}); err != nil {
			return err
		}
		if err := m.resume(ctx); err != nil {
			return err
		}
		if err := m.deliver(ctx); err != nil {
			return err
		}
		if err := m.report(ctx); err != nil {
			return err
		}
	}
}
