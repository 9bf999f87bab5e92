// Package advisortest is what every adviser is held to, and simulated providers
// to hold them to it.
//
// The parties: a test, an advisor.Adviser, and a Stub, which speaks the words of
// each provider on a loopback address and answers as its test says. It thinks
// nothing, and says so in its model's name. It is for tests only.
package advisortest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/internal/advicetest"
)

// Name is the name of every simulated model.
const Name = "simulated-model"

// Secret is the key that tests use; no byte of it may be stored.
const Secret = "sk-CANARY/0123456789abcdef"

// Remote are the providers that are asked over a network.
var Remote = []dialect.Provider{dialect.Chat, dialect.OpenAI, dialect.Anthropic, dialect.Ollama}

// Model is a model of a provider behind an address (without path).
func Model(p dialect.Provider, base string) dialect.Model {
	m := dialect.Model{Type: dialect.TypeModel, Provider: p, Name: Name, Sampling: dialect.Zero, Seed: 7, MaxTokens: 512, Seconds: 20, MaxBytes: 1 << 20}
	switch p {
	case dialect.Anthropic:
		m.Endpoint, m.Sampling = base, dialect.Plain
	case dialect.Ollama:
		m.Endpoint = base
	case dialect.Chat, dialect.OpenAI:
		m.Endpoint = base + "/v1"
	}
	return m
}

// Reply is a reply of a provider whose model finished, with this text.
func Reply(p dialect.Provider, text string) []byte {
	said, err := json.Marshal(text)
	if err != nil {
		panic("advisortest: " + err.Error())
	}
	form := map[dialect.Provider]string{
		dialect.Chat:      `{"id":"x","object":"chat.completion","created":1,"model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":%s,"tool_calls":[],"reasoning_content":"hm"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`,
		dialect.Anthropic: `{"id":"msg_x","type":"message","role":"assistant","model":%q,"content":[{"type":"thinking","thinking":"hm","signature":"x"},{"type":"text","text":%s}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}`,
		dialect.Ollama:    `{"model":%q,"created_at":"2026-11-28T12:00:00.000000000Z","message":{"role":"assistant","content":%s},"done":true,"done_reason":"stop","total_duration":1,"load_duration":1,"prompt_eval_count":1,"prompt_eval_duration":1,"eval_count":1,"eval_duration":1}`,
	}
	form[dialect.OpenAI] = strings.Replace(form[dialect.Chat], `"tool_calls":[]`, `"refusal":null,"annotations":[]`, 1)
	return fmt.Appendf(nil, form[p], Name, said)
}

// Asked is one request that a Stub saw.
type Asked struct {
	Method, Path string
	Header       http.Header
	Body         []byte
}

// Stub is a provider on a loopback address.
type Stub struct {
	*httptest.Server
	mu    sync.Mutex // guards what follows
	asked []Asked
}

// NewStub starts one that answers each request by answer; it ends with the test.
func NewStub(t testing.TB, answer http.HandlerFunc) *Stub {
	s := &Stub{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.asked = append(s.asked, Asked{r.Method, r.URL.RequestURI(), r.Header.Clone(), body})
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// Asked gives what it was asked so far.
func (s *Stub) Asked() []Asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Request is a request about the world of advicetest.
func Request() []byte { return advice.Request(advicetest.Dossier(advicetest.Material())) }

// Contract is what everybody who advises keeps, whoever it is: it asks twice about
// a request, once about something that is none, and looks at every byte.
func Contract(t *testing.T, a advisor.Adviser, model dialect.Model) {
	t.Helper()
	request := Request()
	first := a.Ask(context.Background(), request)
	sound(t, "a request", first)
	if model.Provider != dialect.Deterministic && first.Model != model.Digest() {
		t.Errorf("the model is not named: %q", first.Model)
	}
	if again := a.Ask(context.Background(), request); !reflect.DeepEqual(first, again) {
		t.Errorf("asked again, it says something else:\n%+v\n%+v", first, again)
	}
	alone := advicetest.Dossier(advicetest.Material()).Bytes() // what check takes, too
	for _, none := range []string{"", "{}", "\x00", string(request[:len(request)/2]), string(alone)} {
		h := a.Ask(context.Background(), []byte(none))
		sound(t, "no request", h)
		if h.Outcome != advice.Off || h.Sent != nil {
			t.Errorf("%.20q was sent: %+v", none, h)
		}
	}
}

// sound judges one answer's form.
func sound(t *testing.T, what string, h advice.Heard) {
	t.Helper()
	known := slices.Contains([]advice.Outcome{advice.Answered, advice.Refused, advice.Truncated, advice.Failed, advice.Off}, h.Outcome)
	answered := h.Outcome == advice.Answered
	if !known || answered != (len(h.Answer) > 0) || answered != (h.Why == "") || len(h.Answer) > advice.MaxAnswer || h.Outcome == advice.Off && h.Sent != nil {
		t.Errorf("%s: an outcome, and an answer or a reason, belong together: %q %q, %d bytes", what, h.Outcome, h.Why, len(h.Answer))
	}
	for _, b := range [][]byte{h.Answer, h.Sent, h.Received, []byte(h.Why)} {
		if bytes.Contains(b, []byte(Secret)) {
			t.Errorf("%s: the key stands in what is kept", what)
		}
	}
}
