package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/visit"
)

// overheard collects every byte of a session.
type overheard struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *overheard) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *overheard) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// connect starts patchwrit mcp as a client would, and speaks to it with the SDK's
// client.
func (p *plant) connect(token string, all *overheard, where ...string) *sdk.ClientSession {
	p.t.Helper()
	cmd := p.patchwrit(append([]string{"mcp", "--token-file", token}, where...)...)
	s, err := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil).Connect(p.t.Context(), &sdk.LoggingTransport{Transport: &sdk.CommandTransport{Command: cmd}, Writer: all}, nil)
	p.must(err)
	return s
}

// called calls a tool and reads its answer, or its refusal.
func called[A any](p *plant, s *sdk.ClientSession, tool string, args any) (a A, no visit.No) {
	p.t.Helper()
	r, err := s.CallTool(p.t.Context(), &sdk.CallToolParams{Name: tool, Arguments: args})
	p.must(err)
	raw := []byte(r.Content[0].(*sdk.TextContent).Text)
	if r.IsError {
		p.must(json.Unmarshal(raw, &no))
		return a, no
	}
	p.must(json.Unmarshal(raw, &a))
	return a, no
}

// run runs a command of an operator.
func (p *plant) run(args ...string) string {
	p.t.Helper()
	cmd := p.patchwrit(args...)
	cmd.Env = append(cmd.Env, "PATCHWRIT_SERVER=unix:"+filepath.Join(p.data, "api.sock"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestAVisitorOverMCP: a real client speaks to a real patchwrit mcp, and that to a
// real patchwrit up, over TLS: every tool, each answer by its schema as another
// validator reads it, and no secret in any byte.
func TestAVisitorOverMCP(t *testing.T) {
	feed := filepath.Join(t.TempDir(), "DSA-1.json")
	if err := os.WriteFile(feed, []byte(`{"schema_version":"1.6.0","id":"DSA-1","modified":"2026-11-01T00:00:00Z","aliases":["CVE-2026-0001"],"affected":[{"package":{"ecosystem":"Debian:12","name":"hello"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"`+evidencetest.New+`"}]}]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPlant(t, controltest.Options{Hosts: 1}, "--plan-every", "1h", "--feed", feed, "--max-age", "876000h")
	p.start()
	h := p.Host(0, "hello")
	p.enrol(h)
	_, err := h.Hello(t.Context(), p.ask(h))
	p.must(err)
	p.must(h.Report(t.Context(), p.ask(h)))
	plan := p.Plan(h)
	if raw, status, err := p.call("POST", "plans", plan.Bytes()); err != nil || status != http.StatusOK {
		t.Fatalf("%v %d %s", err, status, raw)
	}
	token := filepath.Join(t.TempDir(), "claude.token")
	if out := p.run("visitor", "add", "claude", "--out", token); !strings.Contains(out, token) {
		t.Error(out)
	}
	if info, err := os.Stat(token); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	var all overheard
	s := p.connect(token, &all, "--server", p.url, "--server-cert", string(p.key))
	p.until("the feeds are read", func() bool {
		_, no := called[visit.Findings](p, s, "finding_ls", map[string]any{})
		return no.Code == ""
	})
	p.everyTool(s, h.Known.ID, plan.Header.Digest().Short())
	p.noSecrets(&all, token)
	p.must(s.Close())

	little := filepath.Join(t.TempDir(), "little.token")
	p.run("visitor", "add", "little", "--out", little, "--calls-hour", "2", "--requests-hour", "0")
	s = p.connect(little, &all, "--server", "unix:"+filepath.Join(p.data, "api.sock"))
	for _, want := range []string{"", "", string(visit.CodeBudget)} {
		if _, no := called[visit.Hosts](p, s, "host_ls", map[string]any{}); no.Code != want || (want == "") != (no.Free == 0) {
			t.Errorf("%+v, want %q", no, want)
		}
	}
	p.run("visitor", "rm", "little")
	if _, no := called[visit.Hosts](p, s, "host_ls", map[string]any{}); no.Code != string(visit.CodeToken) {
		t.Errorf("%+v", no)
	}
	p.must(s.Close())
	p.ledgered()
}

// TestTwoSessionsOfOneVisitor share what it may spend, to the call, however many they
// send at once; a token that was exchanged ends both.
func TestTwoSessionsOfOneVisitor(t *testing.T) {
	p := newPlant(t, controltest.Options{Hosts: 1}, "--plan-every", "1h")
	p.start()
	token := filepath.Join(t.TempDir(), "twin.token")
	p.run("visitor", "add", "twin", "--out", token, "--calls-hour", "40")
	const each = 60 // as many as a session holds, and fewer
	var all overheard
	sessions := [2]*sdk.ClientSession{p.connect(token, &all, "--server", p.url, "--server-cert", string(p.key)), p.connect(token, &all, "--server", "unix:"+filepath.Join(p.data, "api.sock"))}
	codes := make(chan string, 2*each)
	for _, s := range sessions {
		for range each {
			go func() {
				r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: "host_ls", Arguments: map[string]any{}})
				var no visit.No
				if err == nil && r.IsError {
					err = json.Unmarshal([]byte(r.Content[0].(*sdk.TextContent).Text), &no)
				}
				if err != nil {
					no.Code = err.Error()
				}
				codes <- no.Code
			}()
		}
	}
	got := map[string]int{}
	for range 2 * each {
		got[<-codes]++
	}
	if got[""] != 40 || got[string(visit.CodeBudget)] != 2*each-40 {
		t.Errorf("%v", got)
	}
	if out := p.run("visitor", "ls"); !strings.Contains(out, "40 of 2000 a day") {
		t.Error(out)
	}
	p.run("visitor", "token", "twin", "--out", token+"2")
	for _, s := range sessions {
		if _, no := called[visit.Hosts](p, s, "host_ls", map[string]any{}); no.Code != string(visit.CodeToken) {
			t.Errorf("after another token: %+v", no)
		}
		p.must(s.Close())
	}
}

// everyTool calls each tool once and holds its answer to the schema it gave.
func (p *plant) everyTool(s *sdk.ClientSession, host trust.HostID, short string) {
	list, err := s.ListTools(p.t.Context(), nil)
	p.must(err)
	var plans visit.Plans
	p.until("the rules answer", func() bool {
		plans, _ = called[visit.Plans](p, s, "plan_ls", visit.PlanList{State: string(control.Review)})
		return len(plans.Plans) == 1
	})
	plan := plans.Plans[0].Plan
	d, no := called[visit.Dossier](p, s, "plan_dossier", visit.PlanID{Plan: plan})
	if no.Code != "" || d.Dossier.Digest() != d.ID {
		p.t.Fatalf("%+v", no)
	}
	answer := `{"type":"` + advice.TypeAnswer + `","dossier":"` + string(d.ID) + `","abstain":true,"claims":[],"proposal":{"action":"keep","order":[],"because":[]},"unknowns":[],"narrative":""}`
	asked, no := called[visit.Proposal](p, s, "plan_propose", visit.Ask{Hosts: []trust.HostID{host}, Packages: []string{"hello"}})
	if no.Code != "" || len(asked.Hosts) != 1 {
		p.t.Fatalf("%+v %+v", asked, no)
	}
	args := map[string]any{"host_ls": map[string]any{}, "host_findings": visit.HostPage{Host: host}, "finding_ls": visit.Limit{Limit: 3}, "finding_hosts": visit.Named{Finding: "CVE-2026-0001"},
		"finding_explain": visit.NamedOn{Finding: "DSA-1", Host: host}, "plan_ls": visit.PlanList{}, "plan_show": visit.PlanID{Plan: plan}, "plan_dossier": visit.PlanID{Plan: plan}, "review_ls": visit.Limit{},
		"why": visit.HostPackage{Host: host}, "advice_check": visit.Advice{Answer: answer}, "plan_propose": visit.Ask{Hosts: []trust.HostID{host}, Packages: []string{"hello"}}, "proposal_show": visit.ProposalID{Proposal: asked.Proposal}}
	for _, tool := range list.Tools {
		r, err := s.CallTool(p.t.Context(), &sdk.CallToolParams{Name: tool.Name, Arguments: args[tool.Name]})
		if err != nil || r.IsError || args[tool.Name] == nil {
			p.t.Errorf("%s: %v %+v", tool.Name, err, r)
			continue
		}
		schema, err := json.Marshal(tool.OutputSchema)
		p.must(err)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
		p.must(err)
		c := jsonschema.NewCompiler()
		p.must(c.AddResource("x.json", doc))
		compiled, err := c.Compile("x.json")
		p.must(err)
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(r.Content[0].(*sdk.TextContent).Text))
		p.must(err)
		if err := compiled.Validate(v); err != nil {
			p.t.Errorf("%s: %v", tool.Name, err)
		}
	}
	if len(list.Tools) != len(visit.Tools) {
		p.t.Errorf("%d tools", len(list.Tools))
	}
	if _, err := s.CallTool(p.t.Context(), &sdk.CallToolParams{Name: "plan_approve", Arguments: visit.PlanID{Plan: plan}}); err == nil {
		p.t.Error("a visitor approves", short)
	}
}

// noSecrets greps every byte of a session, and of what the control plane logged.
func (p *plant) noSecrets(all *overheard, token string) {
	all.mu.Lock()
	defer all.mu.Unlock()
	secrets := [][]byte{}
	for _, f := range []string{token, filepath.Join(p.data, operatorToken), filepath.Join(p.data, "log.key")} {
		raw, err := os.ReadFile(f)
		p.must(err)
		secrets = append(secrets, bytes.TrimSpace(raw))
	}
	raw, err := os.ReadFile(filepath.Join(p.data, "tls.key"))
	p.must(err)
	secrets = append(secrets, bytes.Split(raw, []byte("\n"))[1])
	if all.b.Len() < 10_000 || slices.ContainsFunc(secrets, func(s []byte) bool { return len(s) < 30 }) {
		p.t.Errorf("there is nothing to look for, or in: %d bytes", all.b.Len())
	}
	for i, s := range secrets {
		if bytes.Contains(all.b.Bytes(), s) || strings.Contains(p.err.String(), string(s)) {
			p.t.Errorf("secret %d is told", i)
		}
	}
}

// ledgered wants the visitors and what they asked for in the ledger, known to an
// auditor.
func (p *plant) ledgered() {
	p.until("the log has all", func() bool {
		return !strings.Contains(p.run("ledger", "ls", "--all"), " waits ")
	})
	list := p.run("ledger", "ls", "--all")
	for _, want := range []string{"visitor/claude", "visitor/little", "  request ", "  call "} {
		if !strings.Contains(list, want) {
			p.t.Errorf("%q is not in\n%s", want, list)
		}
	}
	file := filepath.Join(p.t.TempDir(), "ledger.jsonl")
	p.run("ledger", "export", "--out", file)
	if out := p.run("ledger", "verify", file); strings.Contains(out, "does not know") || !strings.Contains(out, "as it was logged") {
		p.t.Error(out)
	}
	if out := p.run("visitor", "ls"); !strings.Contains(out, "dismissed") || !strings.Contains(out, "admitted") {
		p.t.Error(out)
	}
}

// TestMCPStartsWithAToken: without one, with one that others can read, or with an
// operator's, it does not start; lines that are no messages do not end it.
func TestMCPStartsWithAToken(t *testing.T) {
	dir := t.TempDir()
	good, open, other := filepath.Join(dir, "good"), filepath.Join(dir, "open"), filepath.Join(dir, "other")
	text := "claude." + strings.Repeat("ab", 32)
	for path, mode := range map[string]os.FileMode{good: 0o600, open: 0o644} {
		if err := os.WriteFile(path, []byte(text+"\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(other, []byte(strings.Repeat("ab", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(in string, args ...string) (string, error) {
		cmd := exec.Command(os.Args[0], append([]string{"mcp", "--server", "unix:" + filepath.Join(dir, "none.sock")}, args...)...)
		cmd.Env, cmd.Stdin = append(os.Environ(), "PATCHWRIT_TEST_MAIN=1"), strings.NewReader(in)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for want, args := range map[string][]string{"a bearer token is needed": {}, "others on this machine": {"--token-file", open}, "no token of a visitor": {"--token-file", other}} {
		if out, err := start("", args...); err == nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v %s", args, err, out)
		}
	}
	out, err := start("hello\n"+`{"jsonrpc":"2.0","id":"x","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}`+"\n[]\n", "--token-file", good)
	if err != nil || !strings.Contains(out, "-32700") || !strings.Contains(out, "-32600") {
		t.Errorf("%v %s", err, out)
	}
}
