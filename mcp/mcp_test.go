package mcp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/patchwrit/patchwrit/mcp"
	"github.com/patchwrit/patchwrit/visit"
)

// asker answers from a table, with a fault what begins with "!", and remembers what it was asked.
type asker struct {
	mu      sync.Mutex
	asked   []string
	answers map[string]string
	hang    chan struct{} // of why: closed when its context has ended
}

func (a *asker) Ask(ctx context.Context, tool string, args []byte) ([]byte, error) {
	a.mu.Lock()
	a.asked = append(a.asked, tool+" "+string(args))
	a.mu.Unlock()
	if tool == "why" {
		<-ctx.Done()
		close(a.hang)
		return nil, ctx.Err()
	}
	answer, ok := a.answers[tool]
	if !ok {
		return nil, mcp.Refused{No: visit.No{Code: string(visit.CodeBudget), Detail: "used up", Free: 1_900_000_000}}
	}
	if fault, ok := strings.CutPrefix(answer, "!"); ok {
		return nil, errors.New(fault)
	}
	return []byte(answer), nil
}

func (a *asker) calls() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string{}, a.asked...)
}

// serve starts a server on pipes.
func serve(t *testing.T, a mcp.Asker) (io.WriteCloser, io.Reader) {
	t.Helper()
	in, toServer := io.Pipe()
	fromServer, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := mcp.Serve(t.Context(), in, out, a, "test")
		out.Close()
		ended <- err
	}()
	t.Cleanup(func() {
		toServer.Close()
		fromServer.Close()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the server does not end with its input")
		}
	})
	return toServer, fromServer
}

func connect(t *testing.T, a mcp.Asker) *sdk.ClientSession {
	t.Helper()
	in, out := serve(t, a)
	s, err := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), &sdk.IOTransport{Reader: io.NopCloser(out), Writer: in}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func compiled(t *testing.T, schema any) *jsonschema.Schema {
	t.Helper()
	raw, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("x.json", v); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("x.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTheToolsAndTheirSchemas: a client sees visit.Tools and no others; an
// independent validator understands each schema, and a question with what is not in
// it, or with too much, is refused by each.
func TestTheToolsAndTheirSchemas(t *testing.T) {
	s := connect(t, &asker{})
	if r := s.InitializeResult(); r.Capabilities.Prompts != nil || r.Capabilities.Resources != nil || !strings.Contains(r.Instructions, "untrusted") {
		t.Errorf("%+v", r)
	}
	list, err := s.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, x := range list.Tools {
		seen[x.Name] = true
		known, ok := visit.Find(x.Name)
		if !ok || x.Annotations.ReadOnlyHint == known.Asks || *x.Annotations.DestructiveHint {
			t.Errorf("%s: %+v", x.Name, x.Annotations)
		}
		in, out := compiled(t, x.InputSchema), compiled(t, x.OutputSchema)
		for name, v := range map[string]any{"a member that is not in it": map[string]any{"approve": true}, "no object": []any{},
			"a long name": map[string]any{"host": strings.Repeat("a", 300), "plan": strings.Repeat("a", 300), "finding": strings.Repeat("a", 300)}} {
			if in.Validate(v) == nil {
				t.Errorf("%s takes %s", x.Name, name)
			}
		}
		if out.Validate(map[string]any{}) == nil {
			t.Errorf("%s may answer nothing", x.Name)
		}
	}
	if len(seen) != len(visit.Tools) {
		t.Errorf("%d tools of %d", len(seen), len(visit.Tools))
	}
}

// TestCalls: what is asked comes through, what is refused says why, an answer that
// is not of the schema is not handed on.
func TestCalls(t *testing.T) {
	a := &asker{answers: map[string]string{"finding_ls": `{"findings":[{"name":"CVE-2026-1","affected":1,"unknown":0,"investigated":0}],"more":false}`,
		"plan_ls": `{"plans":null,"more":false}`, "review_ls": `{"reviews":"many"}`}}
	s := connect(t, a)
	call := func(name string, args any) *sdk.CallToolResult {
		t.Helper()
		r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: name, Arguments: args})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return r
	}
	said := func(r *sdk.CallToolResult) string { return r.Content[0].(*sdk.TextContent).Text }
	if r := call("finding_ls", map[string]any{"limit": 7}); r.IsError || !strings.Contains(said(r), "CVE-2026-1") || fmt.Sprint(a.calls()) != `[finding_ls {"limit":7}]` {
		t.Errorf("%s %v", said(r), a.calls())
	}
	for name, args := range map[string]map[string]any{"finding_ls": {"limit": -1}, "host_findings": {}, "plan_propose": {"hosts": []string{}, "packages": []string{"a"}},
		"why": {"host": "a", "sql": "b"}, "plan_show": {"plan": 3}, "advice_check": {"answer": strings.Repeat("a", 257<<10)}, "proposal_show": {"proposal": nil}} {
		if r := call(name, args); !r.IsError || len(a.calls()) != 1 {
			t.Errorf("%s takes %.80v: %s", name, args, said(r))
		}
	}
	for _, name := range []string{"plan_ls", "review_ls"} {
		if r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: name, Arguments: map[string]any{}}); err == nil && !r.IsError {
			t.Errorf("%s: an answer that is none: %s", name, said(r))
		}
	}
	var no struct {
		Code, Title, Do string
		Free            int64
	}
	if r := call("host_ls", map[string]any{}); !r.IsError || json.Unmarshal([]byte(said(r)), &no) != nil || no.Code != string(visit.CodeBudget) || no.Free != 1_900_000_000 || no.Title == "" || no.Do == "" {
		t.Errorf("%s", said(r))
	}
	if _, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: "plan_approve"}); err == nil {
		t.Error("a tool that is not there")
	}
}

// TestCancelling ends the question at the control plane.
func TestCancelling(t *testing.T) {
	a := &asker{hang: make(chan struct{})}
	s := connect(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for len(a.calls()) == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := s.CallTool(ctx, &sdk.CallToolParams{Name: "why", Arguments: map[string]any{"host": "a"}}); err == nil {
		t.Error("no error")
	}
	select {
	case <-a.hang:
	case <-time.After(10 * time.Second):
		t.Error("the control plane is still asked")
	}
}

// TestLinesThatAreNoMessages answers each with an error, and goes on.
func TestLinesThatAreNoMessages(t *testing.T) {
	in, out := serve(t, &asker{})
	read := bufio.NewReaderSize(out, 1<<20)
	say := func(line string) (answer struct {
		ID     any
		Error  struct{ Code int }
		Result map[string]any
	}) {
		t.Helper()
		if _, err := io.WriteString(in, line+"\n"); err != nil {
			t.Fatal(err)
		}
		raw, err := read.ReadBytes('\n')
		if err != nil || json.Unmarshal(raw, &answer) != nil {
			t.Fatalf("%.80s: %v %.200s", line, err, raw)
		}
		return answer
	}
	deep := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"host_ls","arguments":` + strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40) + "}}"
	bad := []struct {
		name, line string
		code       int
	}{{"no JSON", "{", -32700}, {"a word", "hello", -32700}, {"two objects", `{"a":1}{"b":2}`, -32700}, {"a batch", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, -32600}, {"a string", `"a"`, -32600},
		{"no version", `{"id":1,"method":"ping"}`, -32600}, {"nothing in it", `{"jsonrpc":"2.0"}`, -32600}, {"depth", deep, -32600}, {"depth without an end", strings.Repeat("[", 100_000), -32600},
		{"length", `{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("a", 3<<20) + `"}`, -32600}}
	round := func() {
		for _, b := range bad {
			if got := say(b.line); got.Error.Code != b.code || got.ID != nil {
				t.Errorf("%s: %+v", b.name, got)
			}
		}
	}
	round()
	if got := say(`{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}`); got.ID != 7.0 || got.Result["protocolVersion"] != "2025-06-18" {
		t.Fatalf("%+v", got)
	}
	round()
	io.WriteString(in, `{"jsonrpc":"2.0","method":"notifications/initialized"}`+"\n\n")
	if got := say(`{"jsonrpc":"2.0","id":8,"method":"tools/approve"}`); got.Error.Code != -32601 {
		t.Errorf("%+v", got)
	}
	if got := say(`{"jsonrpc":"2.0","id":9,"method":"resources/list"}`); got.Error.Code == 0 && len(got.Result) == 0 {
		t.Errorf("%+v", got)
	}
	if got := say(`{"jsonrpc":"2.0","id":10,"method":"ping"}`); got.ID != 10.0 || got.Error.Code != 0 {
		t.Errorf("%+v", got)
	}
}
