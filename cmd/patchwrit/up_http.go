package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/patchwrit/patchwrit/canon"
)

// operatorToken is the file with the operators' bearer token.
const operatorToken = "operator.token"

// Limits of what is served besides the wire.
const (
	headTime    = 10 * time.Second
	requestTime = 2 * time.Minute // a large plan over a slow line
	maxHead     = 32 << 10
	atOnce      = 32 // requests of operators that are answered at the same time
)

// operators reads the bearer token, or makes one.
func operators(dir string) ([]byte, error) {
	path := filepath.Join(dir, operatorToken)
	raw, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		raw = []byte(hex.EncodeToString(randomBytes(32)))
		return raw, keepFile(path, append(raw, '\n'))
	}
	if err == nil && len(raw) < 32 {
		err = fmt.Errorf("%s is no token: remove it, and the next start makes one", path)
	}
	return raw, err
}

// listenLocal listens on the socket; the lock of the store says that nobody
// else does.
func listenLocal(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("the operators' socket (a path may have 107 bytes; choose a shorter --data): %w", err)
	}
	return l, os.Chmod(path, 0o600)
}

// operators is the API with what only a running server can tell.
func (p *plane) operators() http.Handler {
	slots := make(chan struct{}, atOnce)
	m := http.NewServeMux()
	m.Handle("/v1/", p.control.API())
	m.HandleFunc("GET /v1/server", p.about)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			m.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, `{"code":"","detail":"too many requests at once; try again"}`, http.StatusServiceUnavailable)
		}
	})
}

// sockets is what the operators' socket serves: operators, and visitors with their
// token.
func (p *plane) sockets() http.Handler {
	m := http.NewServeMux()
	m.Handle("/v1/visit/", p.visits)
	m.Handle("/", p.operators())
	return m
}

// about says who answers.
func (p *plane) about(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(struct {
		Address   string       `json:"address"`
		Key       canon.Digest `json:"key"` // SHA-256 of the TLS key
		Version   string       `json:"version"`
		Connected int          `json:"connected"`
	}{p.wire.Addr(), p.wire.CertSHA256(), version, p.wire.Connected()})
}

// routes is what the TLS port serves besides the wire.
func (p *plane) routes() http.Handler {
	m := http.NewServeMux()
	m.Handle("/v1/visit/", p.visits)
	m.Handle("/v1/", p.bearer(p.operators()))
	m.HandleFunc("GET /healthz", p.health)
	m.Handle("GET /metrics", p.metrics())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, end := http.NewResponseController(w), time.Now().Add(requestTime)
		if err := errors.Join(c.SetReadDeadline(end), c.SetWriteDeadline(end)); err != nil {
			p.logger.Warn("a connection has no deadline", "err", err)
		}
		ctx, cancel := context.WithDeadline(r.Context(), end)
		defer cancel()
		m.ServeHTTP(w, r.WithContext(ctx))
	})
}

// bearer lets only who has the token through.
func (p *plane) bearer(next http.Handler) http.Handler {
	want := sha256.Sum256(p.token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(said))
		if !ok || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintln(w, `{"code":"","detail":"operators show the bearer token that stands in operator.token of the data directory"}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// health answers 200 while store and log can be used. It names what does not
// work; why is told to operators only (/v1/trouble).
func (p *plane) health(w http.ResponseWriter, r *http.Request) {
	h := p.control.Health(r.Context())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !h.OK {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(h)
}

// metrics are the flow's, the wire's and the process's.
func (p *plane) metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(p.control.Metrics(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "patchwrit_connected_agents", Help: "Connections of agents."}, func() float64 { return float64(p.wire.Connected()) }))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 2, Timeout: requestTime})
}
