package mcp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/patchwrit/patchwrit/mcp"
	"github.com/patchwrit/patchwrit/visit"
)

// hello begins a session by hand.
const hello = `{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}` + "\n" +
	`{"jsonrpc":"2.0","method":"notifications/initialized"}` + "\n"

// TestHostileMessagesEndNoSession sends each in a session of its own: it is answered
// with an error or passed over, nothing is asked, and the session goes on.
func TestHostileMessagesEndNoSession(t *testing.T) {
	call := func(args string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"host_findings","arguments":` + args + `}}`
	}
	for what, line := range map[string]string{
		"bytes that are no UTF-8":      call(`{"host":"` + "\xff\xfe" + `"}`),
		"half a surrogate":             call(`{"host":3,"a":"\ud800"}`),
		"a name twice":                 call(`{"host":"a","host":"b"}`),
		"a name twice, once escaped":   call(`{"host":"a","\u0068ost":"b"}`),
		"two methods":                  `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"host_ls"}}`,
		"a name in capitals":           call(`{"HOST":"a"}`),
		"the tool's name in capitals":  `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"host_ls","arguments":{}}}`,
		"a member too many":            call(`{"host":"a","approve":true}`),
		"a number with a fraction":     call(`{"host":"a","limit":1.5}`),
		"a number without an end":      call(`{"host":"a","limit":1e400}`),
		"a number over":                call(`{"host":"a","limit":501}`),
		"a text over":                  call(`{"host":"` + strings.Repeat("a", 257) + `"}`),
		"arguments that are a list":    call(`[]`),
		"arguments that are null":      call(`null`),
		"no arguments":                 `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"host_findings"}}`,
		"parameters that are a text":   `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"x"}`,
		"no parameters":                `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`,
		"a tool with bidi":             `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"host_ls\u202e","arguments":{}}}`,
		"a tool that is not there":     `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"plan_approve","arguments":{}}}`,
		"an id that is an object":      `{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{"name":"host_ls"}}`,
		"an answer that nobody wants":  `{"jsonrpc":"2.0","id":99,"result":{}}`,
		"an error that nobody wants":   `{"jsonrpc":"2.0","id":99,"error":{"code":-1,"message":"x"}}`,
		"an answer and a method":       `{"jsonrpc":"2.0","id":1,"method":"tools/approve","result":{}}`,
		"a cancel of what is not":      `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}`,
		"a cancel of everything":       `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"*"}}`,
		"a cursor of another":          `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"` + strings.Repeat("/4EDAQEK", 1000) + `"}}`,
		"prompts":                      `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"x"}}`,
		"a resource":                   `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///etc/passwd"}}`,
		"a subscription":               `{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"file:///etc/passwd"}}`,
		"a completion":                 `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"a","value":"b"}}}`,
		"a second beginning":           strings.SplitN(hello, "\n", 2)[0],
		"progress of nothing":          `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":[],"progress":1}}`,
		"roots that nobody asked for":  `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`,
		"a method without a name":      `{"jsonrpc":"2.0","id":1,"method":""}`,
		"a method that is a number":    `{"jsonrpc":"2.0","id":1,"method":3}`,
		"a call that is no call":       `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"host_ls","arguments":{}}}`,
		"a byte 0 in it":               `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"host_ls` + "\x00" + `"}}`,
		"an id that is used":           call(`{"host":1}`) + "\n" + call(`{"host":1}`),
		"a mark before it":             "\ufeff" + call(`{"host":"a"}`),
		"a line's end of Windows":      call(`{"host":2}`) + "\r",
		"nothing but a carriage":       "\r",
		"metadata that are deep":       `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":` + strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40) + "}}",
		"a version that is not there":  `{"jsonrpc":"3.0","id":1,"method":"tools/call","params":{"name":"host_ls"}}`,
		"a long name in the arguments": call(`{"` + strings.Repeat("\u202e", 100_000) + `":1,"host":"a"}`),
		"a long wrong value":           call(`{"host":["` + strings.Repeat("\u202e", 100_000) + `"]}`),
	} {
		t.Run(what, func(t *testing.T) {
			a := &asker{answers: map[string]string{"host_findings": `{"host":"","findings":[],"more":false}`, "host_ls": `{"hosts":[],"more":false}`}}
			in, out := serve(t, a)
			read := bufio.NewReaderSize(out, 1<<20)
			defer time.AfterFunc(20*time.Second, func() { in.Close() }).Stop()
			ask := func(lines string, answers int, last string) {
				t.Helper()
				go io.WriteString(in, lines)
				for found := last == ""; answers > 0 || !found; answers-- {
					raw, err := read.ReadBytes('\n')
					if err != nil {
						t.Fatalf("the session ended: %v", err)
					}
					if len(raw) > 100_000 || strings.ContainsFunc(string(raw), func(r rune) bool { return r == '\u202e' || r == '\ufffd' }) {
						t.Errorf("it is told again: %d bytes, %.200q", len(raw), raw)
					}
					found = found || strings.Contains(string(raw), last)
				}
			}
			ask(hello, 1, "")
			answers := strings.Count(line, `"id":1,`) + strings.Count(line, `"id":7,`) + strings.Count(line, `"id":{}`)
			ask(line+"\n", min(answers, 1), "") // of two calls with one id the second may have none
			ask(`{"jsonrpc":"2.0","id":"last","method":"ping"}`+"\n", 1, `"id":"last"`)
			if got := a.calls(); len(got) != 0 {
				t.Errorf("the control plane is asked: %q", got)
			}
		})
	}
}

// TestEachErrorOfAToolHasItsForm: whoever says no, a client reads one JSON object,
// short and in printable ASCII.
func TestEachErrorOfAToolHasItsForm(t *testing.T) {
	s := connect(t, &asker{answers: map[string]string{"plan_ls": "!" + strings.Repeat("\u202e", 5000)}})
	long := strings.Repeat("\u202e", 100_000)
	for what, x := range map[string]struct {
		tool string
		args any
		code string
	}{"a refusal": {"host_ls", map[string]any{}, string(visit.CodeBudget)}, "a member too many": {"host_ls", map[string]any{long: 1}, string(visit.CodeQuestion)}, "a wrong value": {"why", map[string]any{"host": []string{long}}, string(visit.CodeQuestion)},
		"a value too long": {"why", map[string]any{"host": long}, string(visit.CodeQuestion)}, "a fault": {"plan_ls", map[string]any{}, ""}} {
		r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: x.tool, Arguments: x.args})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var no struct {
			Code, Detail, Title, Do string
			Free                    int64
		}
		raw := r.Content[0].(*sdk.TextContent).Text
		d := json.NewDecoder(strings.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&no); err != nil || !r.IsError || no.Code != x.code || no.Detail == "" || len(no.Detail) > visit.MaxSaid || (x.code != "") != (no.Title != "") || strings.ContainsFunc(no.Detail, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%s: %v %.300q", what, err, raw)
		}
	}
}

// TestAnAnswerThatIsHalfRead is none: what could be read of it would say that
// nothing is affected.
func TestAnAnswerThatIsHalfRead(t *testing.T) {
	s := connect(t, &asker{answers: map[string]string{"finding_ls": `{"findings":[],"more":"yes"}`}})
	if r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: "finding_ls", Arguments: map[string]any{}}); err != nil || !r.IsError || r.StructuredContent != nil {
		t.Errorf("%v %+v", err, r)
	}
}

// slow answers when it is let, and counts who is there.
type slow struct {
	mu        sync.Mutex
	now, most int
	let       chan struct{}
}

func (s *slow) Ask(ctx context.Context, _ string, _ []byte) ([]byte, error) {
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	select {
	case <-s.let:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	return []byte(`{"hosts":[],"more":false}`), ctx.Err()
}

func (s *slow) there() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// TestThousandsOfCalls at once are a few questions at a time; each call gets its
// answer or a refusal with a code, and afterwards there is room again.
func TestThousandsOfCalls(t *testing.T) {
	a := &slow{let: make(chan struct{})}
	s := connect(t, a)
	call := func() (string, error) {
		r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: "host_ls", Arguments: map[string]any{}})
		if err != nil || !r.IsError {
			return "", err
		}
		var no visit.No
		raw := r.Content[0].(*sdk.TextContent).Text
		if err := json.Unmarshal([]byte(raw), &no); err != nil || no.Code == "" {
			return raw, err
		}
		return no.Code, nil
	}
	const calls = 3000
	answered, refused := 0, 0
	said := make(chan string, calls)
	for range calls {
		go func() {
			code, err := call()
			if err != nil {
				code = err.Error()
			}
			said <- code
		}()
	}
	count := func() {
		t.Helper()
		select {
		case code := <-said:
			switch code {
			case "":
				answered++
			case string(visit.CodeBudget):
				refused++
			default:
				t.Fatalf("call %d: %s", answered+refused, code)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%d of %d calls are answered", answered+refused, calls)
		}
	}
	for refused < calls-64 {
		count()
	}
	if answered != 0 || a.there() == 0 {
		t.Errorf("%d answered, %d asked", answered, a.there())
	}
	close(a.let)
	for answered+refused < calls {
		count()
	}
	if a.most > 4 || answered != 64 {
		t.Errorf("%d at once, %d answered, %d refused", a.most, answered, refused)
	}
	if code, err := call(); code != "" || err != nil {
		t.Errorf("afterwards: %s %v", code, err)
	}
}

var _ mcp.Asker = (*slow)(nil)
