// Package dialect puts a request for advice into the words of a model's
// provider, and reads what the provider sent back.
//
// The parties: who asks, who holds the bytes of an advice.Request; a provider,
// whose reply is hostile bytes; and whoever carries one to the other, which is
// not done here. The objects: a Model names the provider, the model and every
// parameter; a Call is one HTTP request without the key; a Reply is what came
// back; a Said is what of it counts.
//
// The promise: pure functions. The same model and request give the same call,
// byte for byte. One question is asked once: no tools, no streaming, one answer.
// Only a reply that its provider calls finished, with one text and nothing else,
// is an answer; a refusal, a cut, a filter, a tool call, a second choice or an
// empty text is no advice. Parsing is bounded in size, depth and keys.
//
// This is all that a sandboxed process needs: it links no network, opens no file
// and never sees the key (a law of the house). It does not judge what the answer
// says; advice.Verify does.
package dialect

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
)

// Provider is a way to be advised.
type Provider string

// The closed set of providers. The first three speak to nobody.
const (
	Deterministic Provider = "deterministic"    // no model: there is no advice
	Replay        Provider = "replay"           // recorded exchanges, by the request's digest
	Hostile       Provider = "hostile"          // simulated: returns anything, by seed
	Chat          Provider = "chat-completions" // vLLM, llama.cpp, Ollama's /v1 and what else speaks as OpenAI did first
	OpenAI        Provider = "openai"           // the same, as OpenAI's own models take it today
	Anthropic     Provider = "anthropic"        // the Messages API
	Ollama        Provider = "ollama"           // Ollama's own API
)

// Providers are all of them.
var Providers = []Provider{Deterministic, Replay, Hostile, Chat, OpenAI, Anthropic, Ollama}

// Remote reports whether the provider is asked over a network.
func (p Provider) Remote() bool { return paths[p] != "" }

// Sampling says how a model chooses.
type Sampling string

// The closed set of samplings.
const (
	Zero  Sampling = "zero"  // temperature 0 and the seed are sent
	Plain Sampling = "plain" // neither is sent: the provider refuses them (Claude since API version 2026-10-21, models that reason)
)

// TypeModel is the type of a Model, and the domain of its digest.
const TypeModel = "patchwrit/model/v1"

// Limits of a model's parameters.
const (
	MaxSeconds = 600
	MaxBytes   = 16 << 20 // of a reply
	MaxTokens  = 1 << 20
	maxName    = 256
)

// ErrModel says that a model cannot be asked as it is described.
var ErrModel = errors.New("the model file")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrModel, fmt.Sprintf(format, args...))
}

// Model is who is asked, and how. Where the key lies is not a part of it.
type Model struct {
	Type      string   `json:"type"`
	Provider  Provider `json:"provider"`
	Name      string   `json:"name"`     // as the provider spells it; pin a dated name or a digest where there is one
	Endpoint  string   `json:"endpoint"` // https://host[:port][/path]; http for a literal loopback address only; "" for who speaks to nobody
	Sampling  Sampling `json:"sampling"`
	Seed      int64    `json:"seed"`
	MaxTokens int64    `json:"max_tokens"` // of an answer, thinking included
	Context   int64    `json:"context"`    // tokens of request and answer together, Ollama only; 0: as the server has it
	Seconds   int64    `json:"seconds"`    // from the first byte sent to the last one read
	MaxBytes  int64    `json:"max_bytes"`  // of the reply's body
}

// Digest names the model with all its parameters.
func (m Model) Digest() canon.Digest { return canon.Sum(TypeModel, canon.MustEncode(m)) }

// Check says why a model cannot be asked, as ErrModel.
func (m Model) Check() error {
	known := false
	for _, p := range Providers {
		known = known || p == m.Provider
	}
	switch {
	case m.Type != TypeModel:
		return bad("type %+q, not %q", m.Type, TypeModel)
	case !known:
		return bad("there is no provider %+q; there are %v", string(m.Provider), Providers)
	case !printable(m.Name) || len(m.Name) > maxName:
		return bad("name: 1 to %d printable characters without space", maxName)
	case m.Sampling != Zero && m.Sampling != Plain:
		return bad("sampling is %q or %q, not %+q", Zero, Plain, string(m.Sampling))
	case m.Provider == Anthropic && m.Sampling == Zero:
		return bad("Anthropic's API refuses a temperature since its version 2026-10-21: write \"sampling\":%q", Plain)
	case m.Seed < 0 || m.Seed > canon.MaxInt:
		return bad("seed: 0 to 2^53-1")
	case m.Context < 0 || m.Context > MaxTokens || m.Context > 0 && m.Provider != Ollama:
		return bad("context: 0 to %d, and 0 except for %s", MaxTokens, Ollama)
	}
	if !m.Provider.Remote() {
		if m.Endpoint != "" {
			return bad("%s speaks to nobody, so it has no endpoint", m.Provider)
		}
		return nil
	}
	switch {
	case m.MaxTokens < 1 || m.MaxTokens > MaxTokens:
		return bad("max_tokens: 1 to %d", MaxTokens)
	case m.Seconds < 1 || m.Seconds > MaxSeconds:
		return bad("seconds: 1 to %d", MaxSeconds)
	case m.MaxBytes < 1<<10 || m.MaxBytes > MaxBytes:
		return bad("max_bytes: %d to %d", 1<<10, MaxBytes)
	}
	return CheckEndpoint(m.Endpoint)
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// CheckEndpoint says, as ErrModel, why an address is none that may be asked:
// https, or http to a literal loopback address, and nothing but host, port and
// a plain path.
func CheckEndpoint(address string) error {
	u, err := url.Parse(address)
	if err != nil || !printable(address) {
		return bad("endpoint %+q is no address", address)
	}
	again := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	switch {
	case u.Hostname() == "" || again.String() != address || strings.HasSuffix(u.Path, "/") || strings.Contains(u.Path+"/", "/../") || strings.Contains(u.Path, "//"):
		return bad("endpoint %+q: an address is https://host[:port][/path], without user, query, fragment or a slash at its end", address)
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && Loopback(u.Hostname()):
		return nil
	}
	return bad("endpoint %+q: only https, or http to 127.0.0.1 or [::1]: else the dossier goes in the clear", address)
}

// Loopback reports whether a host is a literal loopback address.
func Loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
