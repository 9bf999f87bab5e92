package advisorconformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/advisor/post"
	"github.com/patchwrit/patchwrit/internal/advisortest"
)

// said is a reply that the server gives to both.
type said struct {
	status int
	body   []byte
}

// bench is the one server, and what it answers next.
type bench struct {
	*advisortest.Stub
	next said // set while nobody asks
}

func newBench(t *testing.T) *bench {
	b := &bench{}
	b.Stub = advisortest.NewStub(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(b.next.status)
		w.Write(b.next.body)
	})
	return b
}

// both has the SDK and us ask the same, and gives what each sent and understood.
func (b *bench) both(t *testing.T, m dialect.Model, s said) (sdk, our advisortest.Asked, theirs meaning, ours dialect.Said) {
	t.Helper()
	b.next = s
	request := advisortest.Request()
	var q question
	if err := json.Unmarshal(request, &q); err != nil {
		t.Fatal(err)
	}
	before := len(b.Asked())
	theirs = asks[m.Provider](t.Context(), m, q)
	key, err := post.KeyOf("a test", advisortest.Secret)
	if err != nil {
		t.Fatal(err)
	}
	call, err := dialect.Encode(m, request)
	if err != nil {
		t.Fatal(err)
	}
	ours = dialect.Decode(m, post.Line{Key: key}.Send(t.Context(), m, call))
	asked := b.Asked()[before:]
	if len(asked) != 2 {
		t.Fatalf("%s: %d requests, one of each was expected", m.Provider, len(asked))
	}
	return asked[0], asked[1], theirs, ours
}

// models are every way in which a provider is asked.
func models(base string) (out []dialect.Model) {
	for _, p := range advisortest.Remote {
		m := advisortest.Model(p, base)
		out = append(out, m)
		if m.Sampling = dialect.Plain; p != dialect.Anthropic {
			out = append(out, m)
		}
		if m.Sampling, m.Context = dialect.Zero, 32768; p == dialect.Ollama {
			out = append(out, m)
		}
	}
	return out
}

// TestTheSameIsSent holds method, path, headers and body together.
func TestTheSameIsSent(t *testing.T) {
	b := newBench(t)
	for _, m := range models(b.URL) {
		name := fmt.Sprintf("%s, %s, context %d", m.Provider, m.Sampling, m.Context)
		sdk, our, _, _ := b.both(t, m, said{200, advisortest.Reply(m.Provider, `{"a":"b"}`)})
		if sdk.Method != our.Method || sdk.Path != our.Path {
			t.Errorf("%s: the SDK asks %s %s, we %s %s", name, sdk.Method, sdk.Path, our.Method, our.Path)
		}
		differences(t, name+": header", headers(sdk.Header), headers(our.Header), apart(headersApart, m.Provider))
		differences(t, name+": body", leaves(t, sdk.Body), leaves(t, our.Body), nil)
	}
}

// headersApart are the headers that differ, by provider ("": all) and name, and why.
var headersApart = map[dialect.Provider]map[string]string{
	"": {
		"Accept-Encoding": "we ask for the bytes as they are: they are evidence",
		"User-Agent":      "each says who it is; we say no version",
		"Connection":      "we send one request over a connection, and close it",
	},
	dialect.Ollama: {
		"Accept":        "its client always reads lines; with stream false there is one, and we ask for that",
		"Authorization": "its client knows no key; a gateway in front of it may ask for one, and then ours goes out",
	},
}

func apart(by map[dialect.Provider]map[string]string, p dialect.Provider) map[string]string {
	out := maps.Clone(by[""])
	maps.Copy(out, by[p])
	return out
}

// headers are a request's, without the SDKs' telemetry about language, system and
// tries, which we send nobody, and without the length, which follows from the order
// of keys and the escapes.
func headers(h http.Header) map[string]string {
	out := map[string]string{}
	for name, values := range h {
		if !strings.HasPrefix(name, "X-Stainless-") && name != "Content-Length" {
			out[name] = strings.Join(values, ", ")
		}
	}
	return out
}

// leaves are a JSON document's values by their path.
func leaves(t *testing.T, raw []byte) map[string]string {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	out := map[string]string{}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			out[at] = "an object"
			for key, x := range v {
				walk(at+"/"+key, x)
			}
		case []any:
			out[at] = fmt.Sprintf("an array of %d", len(v))
			for i, x := range v {
				walk(fmt.Sprint(at, "/", i), x)
			}
		default:
			out[at] = fmt.Sprintf("%T %v", v, v)
		}
	}
	walk("", v)
	return out
}

// differences wants two sides to be equal but for what is apart, each of which
// must really differ.
func differences(t *testing.T, what string, sdk, our, apart map[string]string) {
	t.Helper()
	names := maps.Clone(sdk)
	maps.Copy(names, our)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		theirs, there := sdk[name]
		ours, here := our[name]
		same := there && here && theirs == ours
		if _, known := apart[name]; !same && !known {
			t.Errorf("%s %s: the SDK sends %.80q (%v), we %.80q (%v)", what, name, theirs, there, ours, here)
		}
	}
	for name := range apart {
		if theirs, there := sdk[name]; there && theirs == our[name] {
			t.Errorf("%s %s no longer differs: take it out of the list", what, name)
		}
	}
	if len(sdk) == 0 || len(our) == 0 {
		t.Errorf("%s: nothing was compared", what)
	}
}

// swap is one reply that is made from a finished one.
type swap struct{ name, from, to string }

const answer = `{"a":"b"}`

// replies are what each provider may say; the outcome is the SDK's to tell.
var replies = map[dialect.Provider][]swap{
	dialect.OpenAI: {
		{"finished", "", ""}, {"cut", `"stop"`, `"length"`}, {"filtered", `"stop"`, `"content_filter"`}, {"calls a tool", `"stop"`, `"tool_calls"`}, {"a new reason", `"stop"`, `"because"`}, {"no reason", `"stop"`, `null`},
		{"refuses", `"refusal":null`, `"refusal":"I cannot"`}, {"no choice", `"choices":[`, `"choices":[],"x":[`}, {"null", `"{\"a\":\"b\"}"`, `null`}, {"empty", `"{\"a\":\"b\"}"`, `""`}, {"another model", advisortest.Name, "other-model"},
		{"a tool call", `"annotations":[]`, `"tool_calls":[{"id":"x","type":"function","function":{"name":"sh","arguments":"{}"}}]`}, {"a function call", `"annotations":[]`, `"function_call":{"name":"sh","arguments":"{}"}`},
	},
	dialect.Anthropic: {
		{"finished", "", ""}, {"cut", `"end_turn"`, `"max_tokens"`}, {"no room", `"end_turn"`, `"model_context_window_exceeded"`}, {"refuses", `"end_turn"`, `"refusal"`}, {"calls a tool", `"end_turn"`, `"tool_use"`},
		{"pauses", `"end_turn"`, `"pause_turn"`}, {"a stop sequence", `"end_turn"`, `"stop_sequence"`}, {"a new reason", `"end_turn"`, `"because"`}, {"no reason", `"end_turn"`, `null`}, {"another model", advisortest.Name, "other-model"},
		{"a tool", `{"type":"text"`, `{"type":"tool_use","id":"x","name":"sh","input":{}},{"type":"text"`}, {"only thinks", `{"type":"text"`, `{"type":"redacted_thinking","data":"x"},{"type":"thinking"`}, {"empty", `"{\"a\":\"b\"}"`, `""`},
	},
	dialect.Ollama: {
		{"finished", "", ""}, {"cut", `"stop"`, `"length"`}, {"only loaded", `"stop"`, `"load"`}, {"not done", `"done":true`, `"done":false`}, {"no reason", `,"done_reason":"stop"`, ``}, {"another model", advisortest.Name, "other-model"},
		{"a tool", `"role"`, `"tool_calls":[{"function":{"name":"sh","arguments":{}}}],"role"`}, {"empty", `"{\"a\":\"b\"}"`, `""`}, {"an error", `"done":true`, `"error":"boom","done":true`}, {"handed on", `"done":true`, `"remote_host":"https://ollama.com","done":true`},
		{"a stream of lines", `"eval_duration":1}`, `"eval_duration":1}` + "\n" + `{"done":true}`},
	},
}

// stricter are replies that an SDK's types let pass and we do not, and why.
var stricter = map[dialect.Provider]map[swap]string{
	dialect.OpenAI: {
		{"two choices", `"choices":[`, `"choices":[{"message":{"role":"assistant","content":"{\"a\":\"b\"}"},"finish_reason":"stop"},`}: "one was asked for; which of two counts is nobody's to choose",
		{"a key twice", `"refusal":null`, `"content":"{\"a\":\"b\"}"`}:                                                                  "two readers could see two answers",
		{"another role", `"assistant"`, `"user"`}:                                                                                       "the model's turn was asked for",
		{"an error beside", `"created":1`, `"error":{"code":"boom"}`}:                                                                   "gateways send it with status 200",
	},
	dialect.Anthropic: {
		{"two texts", `{"type":"text"`, `{"type":"text","text":"x"},{"type":"text"`}: "a document that is put together from parts is not what the model wrote",
		{"a key twice", `"role"`, `"model":"simulated-model","role"`}:                "two readers could see two answers",
		{"another role", `"assistant"`, `"user"`}:                                    "the model's turn was asked for",
	},
	dialect.Ollama: {
		{"a key twice", `"role"`, `"content":"{\"a\":\"b\"}","role"`}: "two readers could see two answers",
		{"another role", `"assistant"`, `"tool"`}:                     "the model's turn was asked for",
	},
}

func (s swap) of(t *testing.T, p dialect.Provider) said {
	t.Helper()
	good := string(advisortest.Reply(p, answer))
	if !strings.Contains(good, s.from) {
		t.Fatalf("%s: there is no %s in %s", p, s.from, good)
	}
	return said{200, []byte(strings.Replace(good, s.from, s.to, 1))}
}

// TestRepliesMeanTheSame holds what the SDK's types say of a reply to what we say.
func TestRepliesMeanTheSame(t *testing.T) {
	b := newBench(t)
	seen := map[dialect.Outcome]int{}
	for p, list := range replies {
		m := advisortest.Model(p, b.URL)
		for _, s := range list {
			_, _, theirs, ours := b.both(t, m, s.of(t, p))
			seen[ours.Outcome]++
			got := meaning{ours.Outcome, string(ours.Answer), ours.Served}
			if theirs.served == "" { // the SDK gave an error, which names no model
				got.served = ""
			}
			if got != theirs {
				t.Errorf("%s: %s: the SDK says %+v, we %+v (%s)", p, s.name, theirs, got, ours.Why)
			}
		}
		for s, why := range stricter[p] {
			_, _, theirs, ours := b.both(t, m, s.of(t, p))
			if theirs.outcome != dialect.Answered || ours.Outcome != dialect.Failed {
				t.Errorf("%s: %s: the SDK says %s, we %s; stricter was expected, because %s", p, s.name, theirs.outcome, ours.Outcome, why)
			}
		}
	}
	for _, o := range []dialect.Outcome{dialect.Answered, dialect.Refused, dialect.Truncated, dialect.Failed} {
		if seen[o] == 0 {
			t.Errorf("no reply came to %q, so that was not compared", o)
		}
	}
}

// TestErrorsMeanTheSame gives statuses that are no success.
func TestErrorsMeanTheSame(t *testing.T) {
	b := newBench(t)
	for _, p := range advisortest.Remote {
		m := advisortest.Model(p, b.URL)
		for _, s := range []said{
			{400, []byte(`{"error":{"type":"invalid_request_error","message":"no such field","code":null,"param":null}}`)}, {401, []byte(`{"type":"error","error":{"type":"authentication_error","message":"x"}}`)},
			{404, []byte(`{"error":"model not found"}`)}, {429, []byte(`{"error":{"type":"rate_limit_error","message":"slow down"}}`)}, {500, nil}, {503, []byte(`<html>`)}, {529, []byte(`{"type":"error","error":{"type":"overloaded_error","message":"x"}}`)},
			{200, []byte(`<html>`)}, {200, nil}, {200, advisortest.Reply(p, answer)[:40]},
		} {
			_, _, theirs, ours := b.both(t, m, s)
			if theirs.outcome != dialect.Failed || ours.Outcome != dialect.Failed {
				t.Errorf("%s: status %d %q: the SDK says %s, we %s", p, s.status, s.body, theirs.outcome, ours.Outcome)
			}
		}
	}
	for _, p := range []dialect.Provider{dialect.Chat, dialect.OpenAI} {
		_, _, theirs, ours := b.both(t, advisortest.Model(p, b.URL), said{400, []byte(`{"error":{"code":"content_filter","type":null,"message":"x","param":"prompt"}}`)})
		if theirs.outcome != dialect.Refused || ours.Outcome != dialect.Refused {
			t.Errorf("%s: a filter: the SDK says %s, we %s", p, theirs.outcome, ours.Outcome)
		}
	}
}

// TestAComparisonNotices shows that a comparison sees what it is for.
func TestAComparisonNotices(t *testing.T) {
	sdk := leaves(t, []byte(`{"a":{"b":[1,"1"]},"c":null}`))
	for _, our := range []string{`{"a":{"b":[1,"1"]}}`, `{"a":{"b":["1","1"]},"c":null}`, `{"a":{"b":[1,"1",2]},"c":null}`, `{"a":{"b":[1,"1"]},"c":{}}`, `{"a":{"b":[1,"1"]},"c":null,"d":0}`} {
		if reflect.DeepEqual(sdk, leaves(t, []byte(our))) {
			t.Errorf("%s passes for the same", our)
		}
	}
}
