package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/evidence/record"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/witness/ask"
)

// events yields the control plane's events, page by page.
func (s *server) events(ctx context.Context, query string) iter.Seq2[control.Logged, error] {
	return func(yield func(control.Logged, error) bool) {
		for after := int64(0); ; {
			var page []control.Logged
			if err := s.get(ctx, "ledger?after="+strconv.FormatInt(after, 10)+query, &page); err != nil {
				yield(control.Logged{}, err)
				return
			}
			for _, e := range page {
				if e.Position <= after {
					yield(e, fmt.Errorf("the control plane lists event %d after event %d: it does not end", e.Position, after))
					return
				}
				if after = e.Position; !yield(e, nil) {
					return
				}
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// listRecord lists the events of the control plane.
func listRecord(cmd *cobra.Command, all bool) error {
	s, err := openServer(cmd)
	if err != nil {
		return err
	}
	query := "&logged=1"
	if all {
		query = ""
	}
	list, t := []control.Logged{}, &rows{head: []string{"EVENT", "TIME", "KIND", "LEAF", "SUBJECT", "STREAM"}}
	for e, err := range s.events(cmd.Context(), query) {
		if err != nil {
			return err
		}
		list = append(list, e)
		leaf := "waits"
		if e.Index >= 0 {
			leaf = strconv.FormatInt(e.Index, 10)
		} else if e.Subject == "" {
			leaf = "-"
		}
		t.add(strconv.FormatInt(e.Position, 10), when(e.At), e.Kind, leaf, string(e.Subject), e.Stream)
	}
	return present(cmd, list, t)
}

func ledgerExportCmd() *cobra.Command {
	out := ""
	cmd := &cobra.Command{
		Use:   "export",
		Short: "write the control plane's ledger to a file that anybody can check offline",
		Long: "Writes one line of canonical JSON for each event of the log (leaf, proof, the event's own bytes), in the log's order,\n" +
			"and a seal with the newest checkpoint that the witnesses have seen. Check it with patchwrit ledger verify. Events that\n" +
			"do not go to the log (enrolments, agents' questions) are not in it.",
		Example: "  patchwrit ledger export --out ledger.jsonl\n" +
			"  patchwrit ledger verify ledger.jsonl --trust trust --root-sha256 3f2a…",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := openHouse(cmd)
			if err != nil {
				return err
			}
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			if out == "-" {
				_, err := s.export(cmd.Context(), cmd.OutOrStdout(), root)
				return err
			}
			return s.exportTo(cmd, out, root)
		},
	}
	addHouseFlags(cmd)
	addServerFlags(cmd)
	cmd.Flags().StringVar(&out, "out", "-", "file for the record")
	return cmd
}

// exportTo writes the record so that a crash leaves the old file or the new.
func (s *server) exportTo(cmd *cobra.Command, path string, root trust.Root) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".patchwrit-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	n, err := s.export(cmd.Context(), f, root)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	tell(cmd, "%d events; patchwrit ledger verify %s checks them", n, path)
	return os.Rename(f.Name(), path)
}

// export writes rows and seal. Events that wait for the log are not in it yet.
func (s *server) export(ctx context.Context, out io.Writer, root trust.Root) (n int64, err error) {
	w := bufio.NewWriter(out)
	for e, err := range s.events(ctx, "&logged=1&bodies=1") {
		if err != nil {
			return n, err
		}
		if e.Index < 0 || e.Entry == nil {
			continue
		}
		row := record.Row{Type: record.TypeRow, Index: e.Index, Entry: *e.Entry, Proof: e.Proof, Body: base64.StdEncoding.EncodeToString(e.Body)}
		if err := writeLine(w, row); err != nil {
			return n, err
		}
		n++
	}
	var newest map[string][]byte
	if err := s.get(ctx, "checkpoint", &newest); err != nil {
		return n, err
	}
	seal := record.Seal{Type: record.TypeSeal, Root: root.ID, Checkpoint: base64.StdEncoding.EncodeToString(newest["checkpoint"]), Rows: n}
	return n, errors.Join(writeLine(w, seal), w.Flush())
}

func writeLine(w *bufio.Writer, v any) error {
	raw, err := canon.Encode(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(raw, '\n'))
	return err
}

func ledgerVerifyCmd() *cobra.Command {
	var asked bool
	var seen []string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "check an exported ledger: nothing edited, taken out, reordered, cut off or signed anew",
		Long: "Derives every leaf from the event's own bytes, builds the tree again, and holds it to the checkpoint that the witnesses\n" +
			"have seen, under your own trust root. Each row that is not as it was logged is named, and each promotion of a model that\n" +
			"too few people of that trust root signed. It works offline; whether the end was cut off together with\n" +
			"its checkpoint is found by who has seen more: the witnesses (--ask), or an earlier record of yours (--seen).\n\n" +
			"Exit codes: 5 something was changed, or not signed; 6 a witness was asked and did not answer.",
		Example: "  patchwrit ledger verify ledger.jsonl --trust trust --root-sha256 3f2a…\n" +
			"  patchwrit ledger verify ledger.jsonl --ask --seen last-month.jsonl",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error { return verifyRecord(cmd, args[0], asked, seen) },
	}
	addHouseFlags(cmd)
	addFormatFlag(cmd)
	cmd.Flags().BoolVar(&asked, "ask", false, "ask the witnesses what they have seen (needs the network)")
	cmd.Flags().StringArrayVar(&seen, "seen", nil, "an earlier record, whose state this one must continue (repeat)")
	return cmd
}

func verifyRecord(cmd *cobra.Command, file string, asked bool, earlier []string) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	seen, silent := []record.Seen{}, error(nil)
	if asked {
		if seen, silent, err = newest(cmd.Context(), root); err != nil {
			return err
		}
	}
	for _, path := range earlier {
		r, err := checkFile(path, root, nil)
		if err != nil {
			return err
		}
		if !r.OK {
			return exit{exitIntegrity, fmt.Errorf("the earlier record %s does not hold itself: patchwrit ledger verify %[1]s", path)}
		}
		seen = append(seen, record.Seen{Who: path, Checkpoint: tlog.Checkpoint{Size: r.Size, Hash: r.Hash}})
	}
	r, err := checkFile(file, root, seen)
	if err != nil {
		return err
	}
	if err := present(cmd, r, recordTable{r}); err != nil {
		return err
	}
	switch {
	case !r.OK:
		return exit{exitIntegrity, fmt.Errorf("%s does not hold: do not rely on it, keep it, and tell whoever runs the log and the witnesses", file)}
	case silent != nil:
		return exit{exitPartial, fmt.Errorf("not every witness said what it has seen:\n%w", silent)}
	}
	return nil
}

// newest asks every witness what it has seen.
func newest(ctx context.Context, root trust.Root) (seen []record.Seen, silent, err error) {
	p, err := tlog.ParsePolicy(root.Witnesses)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range p.Witnesses() {
		c, err := ask.Newest(ctx, w, p.Origin(), time.Now())
		if err != nil {
			silent = errors.Join(silent, fmt.Errorf("%s: %s", w.Name, firstLine(err)))
			continue
		}
		seen = append(seen, record.Seen{Who: "witness " + w.Name, Checkpoint: c})
	}
	return seen, silent, nil
}

// checkFile checks a record's file, which may be read twice.
func checkFile(path string, root trust.Root, seen []record.Seen) (record.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return record.Report{}, err
	}
	defer f.Close()
	var failed error
	lines := func(yield func([]byte) bool) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			failed = err
			return
		}
		s := bufio.NewScanner(f)
		s.Buffer(make([]byte, 1<<16), record.MaxLine)
		for s.Scan() {
			if !yield(s.Bytes()) {
				return
			}
		}
		failed = errors.Join(failed, s.Err())
	}
	r := record.Check(lines, root, seen)
	return r, failed
}

// recordTable is a report for people.
type recordTable struct{ record.Report }

func (r recordTable) write(w io.Writer) error {
	p := &pairs{}
	for _, f := range r.Findings {
		p.add("NO", "%s  line %d: %s", f.Code, f.Line, f.Says)
	}
	if r.More > 0 {
		p.add("NO", "and %d findings more", r.More)
	}
	p.add("rows", "%d", r.Rows)
	p.add("log", "%d leaves, %s; a quorum of witnesses had seen it %s", r.Size, r.Hash, when(r.Time))
	for _, who := range r.Seen {
		p.add("asked", "%s has seen the same, and no more", who)
	}
	verdict := "Every event is as it was logged, and none is missing."
	if !r.OK {
		verdict = "THIS RECORD DOES NOT HOLD."
	}
	p.add("", "%s", verdict)
	for _, n := range r.NotProved {
		p.add("not proved", "%s", n)
	}
	return p.write(w)
}
