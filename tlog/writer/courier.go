package writer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/patchwrit/patchwrit/tlog"
)

// maxAnswer bounds what is read of a witness's answer: one signature line of
// some 200 bytes, or a few words of error.
const maxAnswer = 16 << 10

// courier carries checkpoints to the witnesses and remembers each one's last
// answer. A request that has begun is carried through even when the quorum is
// reached without it, so that a slow witness does not fall behind for ever.
type courier struct {
	life    context.Context // of the log
	base    http.RoundTripper
	timeout time.Duration
	log     *slog.Logger
	names   map[string]string // by submission address
	order   []string
	running sync.WaitGroup

	mu   sync.Mutex // guards last
	last map[string]string
}

func newCourier(life context.Context, cfg Config, p tlog.Policy) *courier {
	c := &courier{
		life: life, base: http.DefaultTransport, timeout: cfg.WitnessTimeout, log: cfg.Logger,
		names: map[string]string{}, last: map[string]string{},
	}
	if cfg.Client != nil && cfg.Client.Transport != nil {
		c.base = cfg.Client.Transport
	}
	for _, w := range p.Witnesses() {
		c.names[w.URL+"/add-checkpoint"] = w.Name
		c.order = append(c.order, w.Name)
	}
	return c
}

// client is what Tessera gets. A redirect is an answer, not an invitation.
func (c *courier) client() *http.Client {
	return &http.Client{
		Transport:     c,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type answer struct {
	resp *http.Response
	err  error
}

// RoundTrip implements http.RoundTripper.
func (c *courier) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err = errors.Join(err, req.Body.Close()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.life, c.timeout)
	arrived := make(chan answer, 1)
	c.running.Go(func() {
		defer cancel()
		resp, err := c.carry(req.Clone(ctx), body)
		c.note(req.URL.String(), resp, err)
		arrived <- answer{resp, err}
	})
	select {
	case a := <-arrived:
		return a.resp, a.err
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// carry asks and reads the answer whole.
func (c *courier) carry(req *http.Request, body []byte) (*http.Response, error) {
	req.Body = io.NopCloser(bytes.NewReader(body))
	resp, err := c.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	said, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(said))
	return resp, nil
}

// note remembers an answer, and logs it when the witness gave another before.
func (c *courier) note(url string, resp *http.Response, err error) {
	name, said := c.names[url], "ok"
	switch {
	case err != nil:
		said = err.Error()
	case resp.StatusCode == http.StatusConflict && resp.Header.Get("Content-Type") == "text/x.tlog.size":
		b, _ := io.ReadAll(resp.Body) // from memory
		resp.Body = io.NopCloser(bytes.NewReader(b))
		said = "has seen size " + strings.TrimSpace(string(b))
	case resp.StatusCode != http.StatusOK:
		said = resp.Status
	}
	c.mu.Lock()
	before := c.last[name]
	c.last[name] = said
	c.mu.Unlock()
	if said == "ok" && before != "" && before != "ok" {
		c.log.LogAttrs(c.life, slog.LevelInfo, "witness cosigns again", slog.String("witness", name))
	}
	if said != "ok" && said != before && !strings.HasPrefix(said, "has seen size") {
		c.log.LogAttrs(c.life, slog.LevelWarn, "witness does not cosign", slog.String("witness", name), slog.String("said", said))
	}
}

// report says what each witness answered last.
func (c *courier) report() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	said := make([]string, len(c.order))
	for i, name := range c.order {
		last := c.last[name]
		if last == "" {
			last = "no answer"
		}
		said[i] = fmt.Sprintf("%s: %s", name, last)
	}
	return strings.Join(said, "; ")
}

// wait returns when no request is under way; the log's life has ended.
func (c *courier) wait() { c.running.Wait() }
