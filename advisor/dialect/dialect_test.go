package dialect_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/internal/advicetest"
	"github.com/patchwrit/patchwrit/internal/advisortest"
)

// The words that stand twice, because a sandboxed process links no room that
// links a network, are the same.
func TestTheWordsOfAdviceAreTheSame(t *testing.T) {
	for ours, theirs := range map[dialect.Outcome]advice.Outcome{dialect.Answered: advice.Answered, dialect.Refused: advice.Refused, dialect.Truncated: advice.Truncated, dialect.Failed: advice.Failed} {
		if string(ours) != string(theirs) {
			t.Errorf("%q and %q", ours, theirs)
		}
	}
	if dialect.MaxAnswer != advice.MaxAnswer || dialect.MaxRequest != 2*advice.MaxDossier+64<<10 {
		t.Error("the limits differ")
	}
	if _, err := dialect.Encode(advisortest.Model(dialect.Chat, "http://127.0.0.1:1"), advisortest.Request()); err != nil {
		t.Error(err)
	}
}

func TestWhatIsSent(t *testing.T) {
	request := advisortest.Request()
	d, err := advice.ReadRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range advisortest.Remote {
		m := advisortest.Model(p, "https://models.example:8443")
		c, err := dialect.Encode(m, request)
		if err != nil {
			t.Fatal(p, err)
		}
		again, _ := dialect.Encode(m, request)
		if !bytes.Equal(c.Body, again.Body) {
			t.Errorf("%s: the same request gives other bytes", p)
		}
		var got any
		if err := json.Unmarshal(c.Body, &got); err != nil {
			t.Fatal(p, err)
		}
		schema := func() any {
			var v map[string]any
			json.Unmarshal(d.Schema(), &v)
			delete(v, "$schema")
			return v
		}()
		type o = map[string]any
		system, user := advice.Instructions, string(d.Bytes())
		messages := []any{o{"role": "system", "content": system}, o{"role": "user", "content": user}}
		format := o{"type": "json_schema", "json_schema": o{"name": "patchwrit_advice", "strict": true, "schema": schema}}
		text := func(s string) []any { return []any{o{"type": "text", "text": s}} }
		wants := map[dialect.Provider]o{
			dialect.Chat:      {"model": m.Name, "messages": messages, "temperature": 0, "seed": 7, "max_tokens": 512, "response_format": format},
			dialect.OpenAI:    {"model": m.Name, "messages": messages, "temperature": 0, "seed": 7, "max_completion_tokens": 512, "store": false, "response_format": format},
			dialect.Anthropic: {"model": m.Name, "max_tokens": 512, "system": text(system), "messages": []any{o{"role": "user", "content": text(user)}}, "output_config": o{"format": o{"type": "json_schema", "schema": schema}}},
			dialect.Ollama:    {"model": m.Name, "messages": messages, "stream": false, "format": schema, "options": o{"num_predict": 512, "temperature": 0, "seed": 7}, "truncate": false, "shift": false},
		}
		if want, _ := json.Marshal(wants[p]); !same(t, want, c.Body) {
			t.Errorf("%s: sent\n%s\nwant\n%s", p, c.Body, want)
		}
		path := map[dialect.Provider]string{dialect.Chat: "/v1/chat/completions", dialect.OpenAI: "/v1/chat/completions", dialect.Anthropic: "/v1/messages", dialect.Ollama: "/api/chat"}[p]
		header := "[{Accept application/json} {Accept-Encoding identity} {Content-Type application/json} {User-Agent patchwrit}"
		if p == dialect.Anthropic {
			header += " {anthropic-version 2026-10-21}"
		}
		if c.Method != "POST" || c.Path != path || fmt.Sprint(c.Header) != header+"]" {
			t.Errorf("%s: %s %s %v", p, c.Method, c.Path, c.Header)
		}
		m.Sampling = dialect.Plain
		if c, err = dialect.Encode(m, request); err != nil || bytes.Contains(c.Body, []byte(`"temperature"`)) || bytes.Contains(c.Body, []byte(`"seed":7`)) {
			t.Errorf("%s: plain sampling sends a temperature: %v", p, err)
		}
	}
	m := advisortest.Model(dialect.Ollama, "http://127.0.0.1:11434")
	m.Context = 32768
	if c, err := dialect.Encode(m, request); err != nil || !bytes.Contains(c.Body, []byte(`"num_ctx":32768`)) {
		t.Errorf("no context: %v", err)
	}
}

func same(t *testing.T, a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		t.Fatal("not JSON")
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}

func TestWhatCannotBeAsked(t *testing.T) {
	request, good := advisortest.Request(), advisortest.Model(dialect.Chat, "https://models.example")
	if _, err := dialect.Encode(good, request); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*dialect.Model){
		"type":             func(m *dialect.Model) { m.Type = "x" },
		"provider":         func(m *dialect.Model) { m.Provider = "x" },
		"no name":          func(m *dialect.Model) { m.Name = "" },
		"name":             func(m *dialect.Model) { m.Name = "a b" },
		"long name":        func(m *dialect.Model) { m.Name = strings.Repeat("a", 257) },
		"sampling":         func(m *dialect.Model) { m.Sampling = "warm" },
		"seed":             func(m *dialect.Model) { m.Seed = -1 },
		"large seed":       func(m *dialect.Model) { m.Seed = 1 << 53 },
		"context":          func(m *dialect.Model) { m.Context = 1 },
		"negative context": func(m *dialect.Model) { m.Provider, m.Context = dialect.Ollama, -1 },
		"tokens":           func(m *dialect.Model) { m.MaxTokens = 0 },
		"many tokens":      func(m *dialect.Model) { m.MaxTokens = 1<<20 + 1 },
		"seconds":          func(m *dialect.Model) { m.Seconds = 0 },
		"many seconds":     func(m *dialect.Model) { m.Seconds = 601 },
		"bytes":            func(m *dialect.Model) { m.MaxBytes = 1 },
		"many bytes":       func(m *dialect.Model) { m.MaxBytes = 1 << 40 },
		"heat":             func(m *dialect.Model) { m.Provider, m.Sampling = dialect.Anthropic, dialect.Zero },
		"nobody":           func(m *dialect.Model) { m.Provider, m.Endpoint = dialect.Deterministic, "" },
		"nobody there":     func(m *dialect.Model) { m.Provider = dialect.Hostile },
	} {
		m := good
		change(&m)
		if _, err := dialect.Encode(m, request); !errors.Is(err, dialect.ErrModel) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, endpoint := range []string{"", "x", "models.example", "http://models.example", "http://localhost:1", "http://10.0.0.1", "http://169.254.169.254", "https://", "https://a@models.example",
		"https://models.example/", "https://models.example/?q=1", "https://models.example?q", "https://models.example#f", "https://models.example/a/../b", "https://models.example//v1", "https://models.example/a b",
		"https://[::1", "https://models.example/%zz", "ftp://models.example", "unix:///run/x", "https://models.example/%2e%2e", "HTTPS://models.example", "http://[::ffff:10.0.0.1]"} {
		m := good
		if m.Endpoint = endpoint; !errors.Is(m.Check(), dialect.ErrModel) {
			t.Errorf("%q may be asked", endpoint)
		}
	}
	unknown := good
	if unknown.Provider, unknown.Endpoint = "x", ""; !errors.Is(unknown.Check(), dialect.ErrModel) {
		t.Error("a provider that is none, which has no endpoint")
	}
	for _, p := range []dialect.Provider{dialect.Deterministic, dialect.Replay, dialect.Hostile} {
		m := good
		m.Provider, m.Endpoint = p, ""
		if err := m.Check(); err != nil {
			t.Errorf("%s: %v", p, err)
		}
		if m.Endpoint = good.Endpoint; !errors.Is(m.Check(), dialect.ErrModel) {
			t.Errorf("%s, who speaks to nobody, may have an endpoint", p)
		}
	}
	for _, endpoint := range []string{"https://models.example", "https://models.example:8443/openai/v1", "http://127.0.0.1:11434", "http://[::1]:8000/v1", "http://127.9.9.9"} {
		m := good
		if m.Endpoint = endpoint; m.Check() != nil {
			t.Errorf("%q: %v", endpoint, m.Check())
		}
	}
	for _, raw := range [][]byte{nil, []byte("{}"), []byte(`{"type":"patchwrit/advicerequest/v1"}`), bytes.Replace(request, []byte("advicerequest"), []byte("approval"), 1), request[1:],
		append(bytes.Clone(request), bytes.Repeat([]byte(" "), dialect.MaxRequest)...)} {
		if _, err := dialect.Encode(good, raw); !errors.Is(err, dialect.ErrRequest) {
			t.Errorf("%.40q: %v", raw, err)
		}
	}
}

// What a schema has too much of for a strict mode, it loses; the rest stays.
func TestLargeSchemasAreNarrowed(t *testing.T) {
	lists := func(schema string) (out []int) {
		raw := fmt.Appendf(nil, `{"type":%q,"instructions":"x","dossier":{},"schema":%s}`, advice.TypeRequest, schema)
		c, err := dialect.Encode(advisortest.Model(dialect.Ollama, "http://127.0.0.1:1"), raw)
		if err != nil {
			t.Fatal(err)
		}
		var b struct {
			Format map[string]struct{ Enum []string }
		}
		var flat struct{ Format map[string]any }
		if err := json.Unmarshal(c.Body, &flat); err != nil || flat.Format["$schema"] != nil {
			t.Fatal(err, "or $schema is sent")
		}
		if err := json.Unmarshal(c.Body, &b); err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{"a", "b", "c"} {
			out = append(out, len(b.Format[k].Enum))
		}
		return out
	}
	enum := func(n, width int) string {
		return `{"type":"string","enum":["` + strings.Join(strings.Fields(strings.Repeat(strings.Repeat("x", width)+" ", n)), `","`) + `"]}`
	}
	for name, x := range map[string]struct {
		a, b, c string
		want    string
	}{
		"small":                     {enum(3, 4), enum(400, 5), enum(10, 1), "[3 400 10]"},
		"at the limit":              {enum(400, 5), enum(400, 6), enum(200, 5), "[400 400 200]"},
		"one value more":            {enum(400, 5), enum(400, 6), enum(201, 5), "[400 0 201]"},
		"a long list of long names": {enum(251, 60), enum(2, 5), enum(3, 5), "[0 2 3]"},
		"a list that is just short": {enum(250, 60), enum(2, 5), enum(3, 5), "[250 2 3]"},
		"too much text":             {enum(200, 300), enum(199, 300), enum(3, 5), "[0 199 3]"},
	} {
		if got := fmt.Sprint(lists(`{"$schema":"x","a":` + x.a + `,"b":` + x.b + `,"c":` + x.c + `}`)); got != x.want {
			t.Errorf("%s: %s, want %s", name, got, x.want)
		}
	}
}

// swap makes a reply out of a good one by one change.
func swap(p dialect.Provider, from, to string) []byte {
	good := string(advisortest.Reply(p, `{"a":"b"}`))
	if !strings.Contains(good, from) {
		panic("there is no " + from + " in " + good)
	}
	return []byte(strings.Replace(good, from, to, 1))
}

func TestWhatAReplyComesTo(t *testing.T) {
	chat := map[string]struct {
		from, to string
		outcome  dialect.Outcome
		why      string
	}{
		"finished":           {`"stop"`, `"stop"`, dialect.Answered, ""},
		"cut":                {`"stop"`, `"length"`, dialect.Truncated, "length"},
		"filtered":           {`"stop"`, `"content_filter"`, dialect.Refused, "content_filter"},
		"calls a tool":       {`"stop"`, `"tool_calls"`, dialect.Failed, "tool_calls"},
		"ends for no reason": {`"stop"`, `null`, dialect.Failed, "did not finish"},
		"a new reason":       {`"stop"`, `"because"`, dialect.Failed, "did not finish"},
		"refuses":            {`"role"`, `"refusal":"I cannot","role"`, dialect.Refused, "refused"},
		"a tool call":        {`"role"`, `"function_call":{"name":"sh"},"role"`, dialect.Failed, "no tool was offered"},
		"empty":              {`"{\"a\":\"b\"}"`, `""`, dialect.Failed, "not empty"},
		"null":               {`"{\"a\":\"b\"}"`, `null`, dialect.Failed, "not empty"},
		"parts":              {`"{\"a\":\"b\"}"`, `[{"type":"text","text":"x"}]`, dialect.Failed, "a string was expected"},
		"two choices":        {`"choices":[`, `"choices":[{"message":{"role":"assistant","content":"y"},"finish_reason":"stop"},`, dialect.Failed, "2 answers"},
		"no choice":          {`"choices":[`, `"choices":[],"x":[`, dialect.Failed, "0 answers"},
		"another role":       {`"assistant"`, `"user"`, dialect.Failed, "speaks as"},
		"an error":           {`"created":1`, `"error":{"code":"boom"}`, dialect.Failed, "error"},
		"no error":           {`"created":1`, `"error":null`, dialect.Answered, ""},
		"a key twice":        {`"created":1`, `"model":"x"`, dialect.Failed, "stands twice"},
		"content twice":      {`"role"`, `"content":"approve","role"`, dialect.Failed, "stands twice"},
	}
	for _, p := range []dialect.Provider{dialect.Chat, dialect.OpenAI} {
		for name, x := range chat {
			if name == "refuses" && p == dialect.OpenAI {
				x.from, x.to = `"refusal":null`, `"refusal":"I cannot"`
			}
			want(t, p, name, swap(p, x.from, x.to), x.outcome, x.why)
		}
	}
	want(t, dialect.Chat, "a call in a list", swap(dialect.Chat, `"tool_calls":[]`, `"tool_calls":[{"id":"x"}]`), dialect.Failed, "no tool was offered")
	for name, x := range map[string]struct {
		from, to string
		outcome  dialect.Outcome
		why      string
	}{
		"finished":         {`"end_turn"`, `"end_turn"`, dialect.Answered, ""},
		"cut":              {`"end_turn"`, `"max_tokens"`, dialect.Truncated, "max_tokens"},
		"no room":          {`"end_turn"`, `"model_context_window_exceeded"`, dialect.Truncated, "context_window"},
		"refuses":          {`"end_turn"`, `"refusal"`, dialect.Refused, "refusal"},
		"calls a tool":     {`"end_turn"`, `"tool_use"`, dialect.Failed, "tool_use"},
		"a tool":           {`{"type":"text"`, `{"type":"tool_use","id":"x","name":"sh","input":{}},{"type":"text"`, dialect.Failed, "no tool was offered"},
		"pauses":           {`"end_turn"`, `"pause_turn"`, dialect.Failed, "pause_turn"},
		"a stop sequence":  {`"end_turn"`, `"stop_sequence"`, dialect.Failed, "stop_sequence"},
		"no reason":        {`"end_turn"`, `null`, dialect.Failed, "did not finish"},
		"two texts":        {`{"type":"text"`, `{"type":"text","text":"x"},{"type":"text"`, dialect.Failed, "2 texts"},
		"only thinks":      {`{"type":"text"`, `{"type":"redacted_thinking"`, dialect.Failed, "0 texts"},
		"empty":            {`"{\"a\":\"b\"}"`, `""`, dialect.Failed, "not empty"},
		"another role":     {`"assistant"`, `"user"`, dialect.Failed, "speaks as"},
		"an error":         {`"type":"message"`, `"type":"error","error":{"type":"overloaded_error"}`, dialect.Failed, "overloaded_error"},
		"no message":       {`"type":"message"`, `"type":"completion"`, dialect.Failed, "not message"},
		"a block's type 2": {`"type":"thinking"`, `"type":"text","type":"thinking"`, dialect.Failed, "stands twice"},
	} {
		want(t, dialect.Anthropic, name, swap(dialect.Anthropic, x.from, x.to), x.outcome, x.why)
	}
	for name, x := range map[string]struct {
		from, to string
		outcome  dialect.Outcome
		why      string
	}{
		"finished":          {`"stop"`, `"stop"`, dialect.Answered, ""},
		"cut":               {`"stop"`, `"length"`, dialect.Truncated, "length"},
		"only loaded":       {`"stop"`, `"load"`, dialect.Failed, "load"},
		"not done":          {`"done":true`, `"done":false`, dialect.Failed, "did not finish"},
		"done is not said":  {`"done":true,`, ``, dialect.Failed, "did not finish"},
		"no reason":         {`,"done_reason":"stop"`, ``, dialect.Failed, "did not finish"},
		"a tool":            {`"role"`, `"tool_calls":[{}],"role"`, dialect.Failed, "no tool was offered"},
		"empty":             {`"{\"a\":\"b\"}"`, `""`, dialect.Failed, "not empty"},
		"an error":          {`"done":true`, `"error":"boom","done":true`, dialect.Failed, "error"},
		"handed on":         {`"done":true`, `"remote_host":"https://ollama.com","done":true`, dialect.Failed, "handed the request on"},
		"another role":      {`"assistant"`, `"tool"`, dialect.Failed, "speaks as"},
		"a stream of lines": {`"eval_duration":1}`, `"eval_duration":1}` + "\n" + `{"done":true}`, dialect.Failed, "something follows"},
	} {
		want(t, dialect.Ollama, name, swap(dialect.Ollama, x.from, x.to), x.outcome, x.why)
	}
}

func want(t *testing.T, p dialect.Provider, name string, body []byte, outcome dialect.Outcome, why string) {
	t.Helper()
	s := dialect.Decode(advisortest.Model(p, "http://127.0.0.1:1"), dialect.Reply{Status: 200, Body: body})
	answer := ""
	if outcome == dialect.Answered {
		answer = `{"a":"b"}`
		if s.Served != advisortest.Name {
			t.Errorf("%s: %s: served %q", p, name, s.Served)
		}
	}
	if s.Outcome != outcome || string(s.Answer) != answer || (why == "") != (s.Why == "") || !strings.Contains(s.Why, why) {
		t.Errorf("%s: %s: %+v, want %s", p, name, s, outcome)
	}
}

func TestWhatIsNoReply(t *testing.T) {
	for _, p := range advisortest.Remote {
		m, good := advisortest.Model(p, "http://127.0.0.1:1"), advisortest.Reply(p, "x")
		for name, r := range map[string]dialect.Reply{
			"broken":             {Status: 200, Body: good, Broken: "no whole reply came"},
			"nothing":            {Status: 200},
			"a redirect":         {Status: 302, Body: good},
			"created":            {Status: 201, Body: good},
			"no status":          {Body: good},
			"busy":               {Status: 429, Body: []byte(`{"error":{"type":"rate_limit_error","message":"` + advicetest.Canary + `"}}`)},
			"an error as text":   {Status: 404, Body: []byte(`{"error":"model not found"}`)},
			"a page":             {Status: 502, Body: []byte(`<html>`)},
			"a list":             {Status: 200, Body: []byte(`[]`)},
			"half":               {Status: 200, Body: good[:len(good)/2]},
			"twice":              {Status: 200, Body: append(bytes.Clone(good), good...)},
			"no UTF-8":           {Status: 200, Body: append(bytes.Clone(good), 0xff)},
			"deep":               {Status: 200, Body: []byte(`{"x":` + strings.Repeat("[", 1<<16))},
			"too long":           {Status: 200, Body: append(bytes.Clone(good), bytes.Repeat([]byte(" "), 1<<20)...)},
			"too long an answer": {Status: 200, Body: advisortest.Reply(p, strings.Repeat("x", dialect.MaxAnswer+1))},
		} {
			s := dialect.Decode(m, r)
			if s.Outcome != dialect.Failed || s.Answer != nil || s.Why == "" || strings.Contains(s.Why, advicetest.Canary) {
				t.Errorf("%s: %s: %+v", p, name, s)
			}
		}
		if s := dialect.Decode(m, dialect.Reply{Status: 400, Body: []byte(`{"error":{"code":"content_filter","type":null}}`)}); s.Outcome != dialect.Refused || !strings.Contains(s.Why, "content_filter") {
			t.Errorf("%s: a filter: %+v", p, s)
		}
		if s := dialect.Decode(m, dialect.Reply{Status: 200, Body: advisortest.Reply(p, strings.Repeat("x", dialect.MaxAnswer))}); s.Outcome != dialect.Answered {
			t.Errorf("%s: the longest answer: %+v", p, s.Why)
		}
	}
	if s := dialect.Decode(advisortest.Model(dialect.Hostile, ""), dialect.Reply{Status: 200, Body: advisortest.Reply(dialect.Chat, "x")}); s.Outcome != dialect.Failed {
		t.Error("a provider that speaks to nobody has a reply")
	}
}

func fuzz(f *testing.F, p dialect.Provider) {
	for _, raw := range [][]byte{advisortest.Reply(p, `{"a":1}`), swap(p, `"assistant"`, `"user"`), []byte(`{"error":{"type":"x"}}`), []byte(`{}`), []byte(`[`)} {
		f.Add(200, raw)
		f.Add(429, raw)
	}
	m := advisortest.Model(p, "http://127.0.0.1:1")
	f.Fuzz(func(t *testing.T, code int, raw []byte) {
		s := dialect.Decode(m, dialect.Reply{Status: code, Body: raw})
		answered := s.Outcome == dialect.Answered
		if answered && (code != 200 || len(s.Answer) == 0 || len(s.Answer) > dialect.MaxAnswer || s.Why != "") || !answered && (s.Answer != nil || s.Why == "") {
			t.Fatalf("%d %q: %+v", code, raw, s)
		}
		if answered && !json.Valid(raw) {
			t.Fatalf("an answer out of what is no JSON: %q", raw)
		}
	})
}

func FuzzDecodeChat(f *testing.F)      { fuzz(f, dialect.Chat) }
func FuzzDecodeOpenAI(f *testing.F)    { fuzz(f, dialect.OpenAI) }
func FuzzDecodeAnthropic(f *testing.F) { fuzz(f, dialect.Anthropic) }
func FuzzDecodeOllama(f *testing.F)    { fuzz(f, dialect.Ollama) }
