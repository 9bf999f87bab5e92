package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/advisor/post"
	"github.com/patchwrit/patchwrit/canon"
)

func adviceAskCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ask",
		Short: "ask the configured model about a plan, keep what was said, and judge it",
		Long: "Ask sends a request to the model that --model names (docs/ADVICE.md describes the file), once, and judges the answer as advice check does.\n" +
			"The request is --request, or is built from --plan and the feeds as advice request builds it. What was sent and received is appended whole, without the key,\n" +
			"to --record, which provider replay reads. The model's words are put together and read in a sandboxed process, patchwrit-advisor, which lies beside this program\n" +
			"(or where PATCHWRIT_ADVISOR says; PATCHWRIT_ADVISOR_SHA256 pins it); where the sandbox cannot be made nobody is asked. Without --model nobody is asked. What is accepted permits nothing.\n\n" +
			"Exit codes: 0 nobody was asked, or all of the answer holds, or it abstains; 1 the model gave no advice; 3 a claim is not verified, the proposal was\n" +
			"rejected or a sentence was dropped; 5 the request does not open, or the answer is none or is about another dossier; 6 as 0, and a feed could not be read whole.",
		Example: "  patchwrit advice ask --model model.json --plan plan.json --feed Debian.zip -o json\n" +
			"  patchwrit advice ask --model model.json --request request.json",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return askModel(cmd) },
	}
	addDossierFlags(cmd)
	f := cmd.Flags()
	f.String("model", "", "model file (default: provider deterministic, which asks nobody)")
	f.String("request", "", "a request that advice request -o json wrote, in place of --plan")
	f.String("record", "advice-exchanges.jsonl", "file to which the exchange is appended; made readable by its owner only")
	f.String("at", "", "judge as of this time, as 2026-01-31T08:00:00Z (default: now)")
	addFormatFlag(cmd)
	return cmd
}

func askModel(cmd *cobra.Command) error {
	if _, err := output(cmd, "table", "json"); err != nil {
		return err
	}
	at, limits, err := judgedAt(cmd)
	if err != nil {
		return err
	}
	conf, adviser, err := configured(cmd)
	if err != nil {
		return err
	}
	request, d, gaps, err := wanted(cmd)
	if err != nil {
		return err
	}
	h := adviser.Ask(cmd.Context(), request)
	v := askView{Model: conf.Model, ModelDigest: conf.Model.Digest(), Outcome: h.Outcome, Why: h.Why, Decoded: "the reply was decoded in a process of its own that has one socket and nothing else"}
	if !conf.Model.Provider.Remote() {
		v.Decoded = fmt.Sprintf("no reply was decoded: provider %s speaks to nobody", conf.Model.Provider)
	}
	if h.Outcome != advice.Off {
		v.Record, _ = cmd.Flags().GetString("record")
		if err := appendLine(v.Record, advisor.Record(conf.Model, request, h, time.Now().Unix(), conf.Model.Provider.Remote()).Line()); err != nil {
			return fmt.Errorf("the exchange was not kept, so what was answered is not shown: %w", err)
		}
	}
	var unread error
	if h.Outcome == advice.Answered {
		a, err := advice.ParseAnswer(h.Answer)
		if err == nil {
			r := advice.Verify(d, a, at.Unix(), limits)
			v.Report = &r
		}
		unread = err
	}
	if err := present(cmd, v, v); err != nil {
		return err
	}
	return v.end(unread, gaps)
}

// end gives the exit code.
func (v askView) end(unread error, gaps []string) error {
	switch {
	case unread != nil:
		return exit{exitIntegrity, fmt.Errorf("the model's text is no answer, so there is no advice: %w", unread)}
	case v.Report != nil && v.Report.Foreign:
		return exit{exitIntegrity, errors.New("the answer is about another dossier: nothing of it holds")}
	case v.Report != nil && !v.Report.Holds():
		return exit{code: exitFindings}
	case v.Report == nil && v.Outcome != advice.Off:
		return exit{exitFailure, fmt.Errorf("no advice: %s", v.Why)}
	case len(gaps) > 0:
		return exit{exitPartial, errors.New(strings.Join(gaps, "; "))}
	}
	return nil
}

// wanted is the request, and its dossier.
func wanted(cmd *cobra.Command) (request []byte, d advice.Dossier, gaps []string, err error) {
	f := cmd.Flags()
	name, _ := f.GetString("request")
	if plan, _ := f.GetString("plan"); name != "" && plan != "" {
		return nil, d, nil, usagef("say one: --request FILE, or --plan FILE with its feeds")
	}
	if name == "" {
		d, gaps, err = buildDossier(cmd, time.Now())
		return advice.Request(d), d, gaps, err
	}
	raw, err := readFile(name)
	if err != nil {
		return nil, d, nil, err
	}
	if d, err = advice.ReadRequest(raw); err != nil {
		return nil, d, nil, exit{exitIntegrity, fmt.Errorf("%s: %w", name, err)}
	}
	return advice.Request(d), d, nil, nil
}

// configured opens the model file and what it names, beside it.
func configured(cmd *cobra.Command) (advisor.Config, advisor.Adviser, error) {
	name, _ := cmd.Flags().GetString("model")
	if name == "" {
		return advisor.Deterministic, advisor.Nobody{}, nil
	}
	raw, err := readFile(name)
	if err != nil {
		return advisor.Config{}, nil, err
	}
	c, err := advisor.ReadConfig(raw)
	if err != nil {
		return c, nil, exit{exitUsage, fmt.Errorf("%s: %w", name, err)}
	}
	beside := func(path string) string {
		if filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(filepath.Dir(name), path)
	}
	line, recordings := post.Line{Proxy: c.Proxy}, []byte(nil)
	if c.KeyFile != "" {
		if line.Key, err = post.ReadKey(beside(c.KeyFile)); err != nil {
			return c, nil, err
		}
	}
	if c.CAFile != "" {
		if raw, err = readFile(beside(c.CAFile)); err == nil {
			line.CA, err = post.PoolOf(raw)
		}
		if err != nil {
			return c, nil, fmt.Errorf("ca_file %s: %w", c.CAFile, err)
		}
	}
	if c.Recordings != "" {
		if recordings, err = readFile(beside(c.Recordings)); err != nil {
			return c, nil, err
		}
	}
	if c.Model.Provider.Remote() {
		return c, boxOf(c.Model, line), nil
	}
	a, err := advisor.New(c, recordings, nil)
	if err != nil {
		err = exit{exitIntegrity, fmt.Errorf("%s: %w", name, err)}
	}
	return c, a, err
}

// appendLine adds a line to a file that only its owner reads, and waits until it
// is on the disk.
func appendLine(path string, line []byte) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Sync(), f.Close())
}

// askView is what came of asking, for people and programs.
type askView struct {
	Model       dialect.Model  `json:"model"`
	ModelDigest canon.Digest   `json:"model_digest"`
	Outcome     advice.Outcome `json:"outcome"`
	Why         canon.Note     `json:"why"`
	Decoded     string         `json:"decoded"` // where the reply was read
	Record      string         `json:"record"`  // file that holds the exchange; "": nothing was asked
	Report      *advice.Report `json:"report"`  // null: no advice
}

func (v askView) write(w io.Writer) error {
	err := say(w, "model %s (%s), %s", v.Model.Name, v.Model.Provider, v.ModelDigest.Short())
	if err == nil && v.Model.Provider == dialect.Hostile {
		err = say(w, "this is a simulated model that means harm, for trying what holds against it")
	}
	if err == nil {
		err = say(w, "%s", v.Decoded)
	}
	if err == nil && v.Record != "" {
		err = say(w, "what was sent and received is in %s", v.Record)
	}
	if err == nil && v.Report != nil {
		err = reportView(*v.Report).write(w)
	}
	if err == nil && v.Report == nil && v.Why != "" {
		err = say(w, "%s, so there is no advice: %s", v.Outcome, v.Why)
	}
	return err
}
