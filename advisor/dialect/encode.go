package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Header is one header of a call.
type Header struct{ Name, Value string }

// Call is one HTTP request to the model's endpoint, without the key. Whoever
// sends it adds "Authorization: Bearer" with the key, which all providers take.
type Call struct {
	Method string
	Path   string   // with the endpoint's own
	Header []Header // sorted by name
	Body   []byte
}

// anthropicVersion is the API's form. Since it, temperature, top_p and top_k
// are refused and a key goes as a bearer token (platform.claude.com,
// api/migration-2026-10-21; anthropic-sdk-go v2 sends the same).
const anthropicVersion = "2026-10-21"

// paths are where each API listens below its endpoint.
var paths = map[Provider]string{
	Chat:      "/chat/completions", // endpoint https://host/v1
	OpenAI:    "/chat/completions",
	Anthropic: "/v1/messages",
	Ollama:    "/api/chat",
}

// Frame is a call of this model without a body: what a broker, who trusts no
// decoder, sends whatever body it is handed.
func (m Model) Frame() Call {
	c := Call{Method: "POST", Header: []Header{{"Accept", "application/json"}, {"Accept-Encoding", "identity"}, {"Content-Type", "application/json"}, {"User-Agent", "patchwrit"}}}
	if m.Provider == Anthropic {
		c.Header = append(c.Header, Header{"anthropic-version", anthropicVersion})
	}
	if u, err := url.Parse(m.Endpoint); err == nil {
		c.Path = u.Path + paths[m.Provider]
	}
	return c
}

// ErrRequest says that bytes are no request for advice.
var ErrRequest = errors.New("these bytes are no request for advice")

// MaxRequest is the most bytes of a request: that of advice.ReadRequest.
const MaxRequest = 8<<20 + 64<<10

// typeRequest is advice.TypeRequest; a test holds them together.
const typeRequest = "patchwrit/advicerequest/v1"

// request is an advice.Request.
type request struct {
	Type         string          `json:"type"`
	Instructions string          `json:"instructions"`
	Dossier      json.RawMessage `json:"dossier"`
	Schema       json.RawMessage `json:"schema"`
}

// Encode puts the bytes of an advice.Request into a call: the instructions as
// the one system message, the dossier, byte for byte, as the one user message,
// the schema as the provider constrains output by it. The error is ErrModel or
// ErrRequest.
func Encode(m Model, raw []byte) (Call, error) {
	if err := m.Check(); err != nil {
		return Call{}, err
	}
	if !m.Provider.Remote() {
		return Call{}, bad("%s speaks to nobody", m.Provider)
	}
	var r request
	var schema any
	if len(raw) > MaxRequest || json.Unmarshal(raw, &r) != nil || r.Type != typeRequest || json.Unmarshal(r.Schema, &schema) != nil || len(r.Dossier) == 0 {
		return Call{}, ErrRequest
	}
	c := m.Frame()
	schema = narrow(schema)
	var body any
	switch m.Provider {
	case Anthropic:
		body = anthropicBody(m, r, schema)
	case Ollama:
		body = ollamaBody(m, r, schema)
	default:
		body = chatBody(m, r, schema)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		return Call{}, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	c.Body = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	return c, nil
}

type object = map[string]any

func messages(r request) []any {
	return []any{object{"role": "system", "content": r.Instructions}, object{"role": "user", "content": string(r.Dossier)}}
}

// chatBody is a body of POST /chat/completions (developers.openai.com,
// api-reference/chat/create; docs.vllm.ai, serving/openai_compatible_server;
// llama.cpp, tools/server/README.md; ollama, openai/openai.go): response_format
// json_schema. OpenAI's models take max_completion_tokens and refuse max_tokens
// where they reason; the other servers know max_tokens, Ollama only that. One
// choice, no stream and no tools are the defaults everywhere.
func chatBody(m Model, r request, schema any) object {
	b := object{"model": m.Name, "messages": messages(r), "max_tokens": m.MaxTokens, "response_format": object{"type": "json_schema",
		"json_schema": object{"name": "patchwrit_advice", "strict": true, "schema": schema}}}
	if m.Provider == OpenAI {
		delete(b, "max_tokens")
		b["max_completion_tokens"], b["store"] = m.MaxTokens, false
	}
	if m.Sampling == Zero {
		b["temperature"], b["seed"] = 0, m.Seed
	}
	return b
}

// anthropicBody is a body of POST /v1/messages (platform.claude.com,
// api/messages/create and build-with-claude/structured-outputs):
// output_config.format json_schema; there is neither seed nor temperature.
func anthropicBody(m Model, r request, schema any) object {
	text := func(s string) []any { return []any{object{"type": "text", "text": s}} }
	return object{"model": m.Name, "max_tokens": m.MaxTokens, "system": text(r.Instructions),
		"messages":      []any{object{"role": "user", "content": text(string(r.Dossier))}},
		"output_config": object{"format": object{"type": "json_schema", "schema": schema}}}
}

// ollamaBody is a body of POST /api/chat (ollama, docs/api.md and api/types.go):
// format is the schema. Its server cuts a request that is longer than its
// context, silently, unless truncate and shift are false.
func ollamaBody(m Model, r request, schema any) object {
	options := object{"num_predict": m.MaxTokens}
	if m.Sampling == Zero {
		options["temperature"], options["seed"] = 0, m.Seed
	}
	if m.Context > 0 {
		options["num_ctx"] = m.Context
	}
	return object{"model": m.Name, "messages": messages(r), "stream": false, "format": schema, "options": options, "truncate": false, "shift": false}
}

// Limits of a schema in OpenAI's strict mode, the tightest that is published
// (developers.openai.com, guides/structured-outputs, supported schemas): values
// of all lists; characters of all names and values (120,000 with the names of
// members, of which there are few); characters of a list of more than 250.
const (
	mostValues = 1000
	mostText   = 100_000
	longList   = 250
	mostLong   = 15_000
)

// narrow brings a schema within the limits: $schema goes, and the longest lists
// of values become any text. What such a text names, advice.Verify still looks up.
func narrow(schema any) any {
	root, ok := schema.(object)
	if !ok {
		return schema
	}
	delete(root, "$schema")
	lists := enums(root, "")
	slices.SortFunc(lists, func(a, b enum) int {
		if a.text != b.text {
			return b.text - a.text
		}
		return strings.Compare(a.at, b.at)
	})
	values, text := 0, 0
	for _, l := range lists {
		values, text = values+l.values, text+l.text
	}
	for _, l := range lists {
		if values > mostValues || text > mostText || l.values > longList && l.text > mostLong {
			delete(l.in, "enum")
			values, text = values-l.values, text-l.text
		}
	}
	return root
}

// enum is a list of values in a schema.
type enum struct {
	in           object
	at           string
	values, text int
}

func enums(v any, at string) (out []enum) {
	switch v := v.(type) {
	case object:
		if list, ok := v["enum"].([]any); ok {
			e := enum{in: v, at: at, values: len(list)}
			for _, x := range list {
				e.text += len(fmt.Sprint(x))
			}
			out = append(out, e)
		}
		for key, x := range v {
			out = append(out, enums(x, at+"/"+key)...)
		}
	case []any:
		for i, x := range v {
			out = append(out, enums(x, fmt.Sprint(at, "/", i))...)
		}
	}
	return out
}
