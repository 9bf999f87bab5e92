package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/mcp"
	"github.com/patchwrit/patchwrit/visit"
)

func init() { verbs = append(verbs, mcpCmd, visitorCmd) }

// mcpCmd lets somebody else's agent read and ask.
func mcpCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mcp",
		Short: "let another agent read and ask, over the Model Context Protocol on stdin and stdout",
		Long: "Mcp is started by an assistant or an editor that speaks the Model Context Protocol, and asks the control plane in the name\n" +
			"of one visitor (patchwrit visitor add), whose token stands in --token-file. Its tools read findings, plans, verdicts and\n" +
			"reviews, judge advice, and ask that work be looked for. None approves, applies, pauses, halts or changes rules.\n" +
			"docs/MCP.md says how to connect Claude, VS Code and others.",
		Example: "  patchwrit mcp --server https://control.example.org:8443 --server-cert 9b1c… --token-file ~/.config/patchwrit/claude.token",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			if s.token, err = bearer(cmd); err != nil {
				return err
			}
			if _, ok := visit.ParseToken(s.token); !ok {
				return usagef("--token-file holds no token of a visitor (patchwrit visitor add)")
			}
			return mcp.Serve(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), visitor{s}, version)
		},
	}
	addServerFlags(cmd)
	return cmd
}

// visitor asks the control plane in a visitor's name.
type visitor struct{ *server }

// Ask implements mcp.Asker.
func (v visitor) Ask(ctx context.Context, tool string, args []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.base+"/v1/visit/"+url.PathEscape(tool), bytes.NewReader(args))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+v.token)
	resp, err := v.http.Do(req)
	if err != nil {
		return nil, unreachable{v.name, err}
	}
	defer resp.Body.Close()
	most := visit.Most.Bytes + 4096
	raw, err := io.ReadAll(io.LimitReader(resp.Body, int64(most)+1))
	switch {
	case err != nil:
		return nil, unreachable{v.name, err}
	case len(raw) > most:
		return nil, fmt.Errorf("the control plane at %s answers with more than %d bytes", v.name, most)
	case resp.StatusCode == http.StatusOK:
		return raw, nil
	}
	var no visit.No
	if err := json.Unmarshal(raw, &no); err != nil {
		no = visit.No{Detail: "the control plane says no: " + http.StatusText(resp.StatusCode)}
	}
	return nil, mcp.Refused{No: no}
}

func visitorCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "visitor", Short: "let other people's agents read and ask (patchwrit mcp), and let them go"}
	cmd.AddCommand(visitorAddCmd(), visitorLsCmd(), visitorTokenCmd(), visitorRmCmd())
	return cmd
}

func visitorAddCmd() *cobra.Command {
	var out string
	var life time.Duration
	b := visit.Usual
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "let a visitor in: a name, a budget, and a token in a file",
		Long: "NAME stands in the ledger with every call, and as the author of plans that the visitor asks for (visitor:NAME; nobody can\n" +
			"approve in that name). It is used once. The token is written to --out, for its owner only, and told nowhere else.",
		Example: "  patchwrit visitor add claude-ops --out claude-ops.token\n  patchwrit visitor add reader --requests-day 0 --requests-hour 0 --out reader.token",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Lstat(out); err == nil {
				return usagef("--out: %s is there already", out)
			}
			if err := b.Valid(); err != nil {
				return usage{err}
			}
			return giveToken(cmd, "visitors", control.NewVisitor{Name: args[0], Budget: b, Seconds: int64(life / time.Second)}, args[0], out, life)
		},
	}
	addServerFlags(cmd)
	addTokenFlags(cmd, &out, &life)
	f := cmd.Flags()
	f.IntVar(&b.CallsHour, "calls-hour", b.CallsHour, "calls in an hour")
	f.IntVar(&b.CallsDay, "calls-day", b.CallsDay, "calls in a day")
	f.IntVar(&b.RequestsHour, "requests-hour", b.RequestsHour, "requests for work in an hour; 0: it only reads")
	f.IntVar(&b.RequestsDay, "requests-day", b.RequestsDay, "requests for work in a day; 0: it only reads")
	f.IntVar(&b.Bytes, "bytes", b.Bytes, "bytes of one answer")
	return cmd
}

func addTokenFlags(cmd *cobra.Command, out *string, life *time.Duration) {
	cmd.Flags().StringVar(out, "out", "", "file for the token")
	cmd.Flags().DurationVar(life, "life", 90*24*time.Hour, "how long the token is good, at most 8784h")
}

// giveToken asks for a token and writes it to a file.
func giveToken(cmd *cobra.Command, path string, body any, name, out string, life time.Duration) error {
	if out == "" {
		return usagef("say where the token goes: --out FILE")
	}
	if life < time.Second || life > visit.MaxLife*time.Second {
		return usagef("--life takes 1s to %s, not %s", visit.MaxLife*time.Second, life)
	}
	if info, err := os.Stat(filepath.Dir(out)); err != nil || !info.IsDir() {
		return usagef("--out: %s is no directory", filepath.Dir(out))
	}
	s, err := openServer(cmd)
	if err != nil {
		return err
	}
	var t control.VisitorToken
	if err := s.post(cmd.Context(), path, body, &t); err != nil {
		return err
	}
	if err := keepFile(out, []byte(t.Token+"\n")); err != nil {
		return fmt.Errorf("the token could not be kept, and is told once: patchwrit visitor token %s makes another: %w", name, err)
	}
	return say(cmd.OutOrStdout(), "visitor %s: token in %s, until %s", name, out, when(t.Until))
}

func visitorTokenCmd() *cobra.Command {
	var out string
	var life time.Duration
	cmd := &cobra.Command{
		Use:     "token NAME",
		Short:   "give a visitor another token; the one before ends at once",
		Example: "  patchwrit visitor token claude-ops --out claude-ops.token",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			seconds := strconv.FormatInt(int64(life/time.Second), 10)
			return giveToken(cmd, "visitors/"+url.PathEscape(args[0])+"/token?seconds="+url.QueryEscape(seconds), struct{}{}, args[0], out, life)
		},
	}
	addServerFlags(cmd)
	addTokenFlags(cmd, &out, &life)
	return cmd
}

func visitorRmCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rm NAME",
		Short:   "let a visitor go: its token ends at once, its plans stay",
		Example: "  patchwrit visitor rm claude-ops",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			if err := s.post(cmd.Context(), "visitors/"+url.PathEscape(args[0])+"/dismiss", struct{}{}, &struct{}{}); err != nil {
				return err
			}
			return say(cmd.OutOrStdout(), "visitor %s dismissed", args[0])
		},
	}
	addServerFlags(cmd)
	return cmd
}

func visitorLsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "list the visitors: who they are, what they used, until when they may come",
		Long:    "Every call stands in the record (patchwrit ledger ls --all); requests for work and admissions stand in the log.",
		Example: "  patchwrit visitor ls\n  patchwrit visitor ls -o json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			var all []control.VisitorView
			if err := s.get(cmd.Context(), "visitors", &all); err != nil {
				return err
			}
			t := &rows{head: []string{"VISITOR", "STATE", "CALLS", "REQUESTS", "UNTIL", "SEEN"}}
			for _, v := range all {
				t.add(v.Name, v.State, used(v.Spent.CallsDay, v.Budget.CallsDay), used(v.Spent.RequestsDay, v.Budget.RequestsDay), when(v.Until), when(v.Seen))
			}
			return present(cmd, all, t)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

// used says how much of a day's budget is used.
func used(w visit.Window, most int) string {
	n := w.N
	if w.Since+86400 <= time.Now().Unix() {
		n = 0
	}
	return fmt.Sprintf("%d of %d a day", n, most)
}
