package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/match/library"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
)

// findingExplainCmd says why an advisory does or does not concern a system.
func findingExplainCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain ADVISORY [PACKAGE]",
		Short: "say why an advisory does or does not concern a system",
		Long: "Explain answers one advisory (an id or an alias such as a CVE), for all packages or for one, the negative\n" +
			"answers too: what was compared, what each source says, from which reading of which feed, by digest and time.\n\n" +
			"Exit codes: 0 it does not concern the system, 3 something is affected, 6 part of the answer is unknown.",
		Example: "  patchwrit finding explain CVE-2026-1001 --feed Debian.zip\n" +
			"  patchwrit finding explain ALSA-2026:1 openssl-libs --sbom image.cdx.json --feed AlmaLinux.zip -o json",
		Args: between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := output(cmd, "table", "json")
			if err != nil {
				return err
			}
			q := match.Query{Advisory: args[0]}
			if len(args) > 1 {
				q.Package = args[1]
			}
			seen, err := scan(cmd, true)
			if err != nil {
				return err
			}
			list := explainFindings(seen, q)
			if format == "json" {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(list)
			} else {
				err = writeExplained(cmd.OutOrStdout(), list)
			}
			if err != nil {
				return err
			}
			if err := explainedCode(list); err != nil {
				return err
			}
			return gapsOf(cmd, seen)
		},
	}
	addHouseFlags(cmd)
	addLookFlags(cmd)
	addSubjectFlags(cmd)
	cmd.Flags().StringP("output", "o", "table", "table or json")
	return cmd
}

// gapsOf tells what could not be asked at all; an answer beside it is not whole.
func gapsOf(cmd *cobra.Command, seen looked) error {
	gaps := newScanReport(seen).Gaps
	for _, g := range gaps {
		fmt.Fprintf(cmd.ErrOrStderr(), "unknown: %s (%s)\n", g.Text, g.Code)
	}
	if len(gaps) > 0 {
		return exit{code: exitPartial}
	}
	return nil
}

// explainedSource is what one source says, with the reading it comes from.
type explainedSource struct {
	match.Source
	Fetched int64  `json:"fetched"` // Unix seconds
	From    string `json:"from"`    // file, directory or URL
}

// explainedFinding is a finding whose sources say when and where they were read.
type explainedFinding struct {
	match.Finding
	Sources []explainedSource `json:"sources"`
	Runs    string            `json:"runs,omitempty"` // of a kernel: whether it is the one that runs, "yes" or "no"
}

// answersTo gives the answers that q picks. What a record in quarantine would say
// is one of them: it takes the place of an answer that there is none.
func answersTo(seen looked, q match.Query) []match.Finding {
	found := counting(seen, q)
	var held []match.Finding
	for _, f := range seen.Findings {
		if f.Reason.Code == match.Quarantined && slices.Contains(f.Names(), q.Advisory) && (q.Package == "" || q.Package == f.Package || q.Package == f.Source) {
			held = append(held, f)
		}
	}
	if len(held) > 0 && len(found) == 1 && len(found[0].Sources) == 0 {
		return held
	}
	return append(found, held...)
}

// counting gives the answers of the records that count: of a bill's libraries, of
// packages, or one that says why there is none.
func counting(seen looked, q match.Query) []match.Finding {
	if seen.bill == nil {
		return match.Explain(seen.Inventory, seen.Index, q)
	}
	libs, gaps := seen.bill.Libraries, seen.Inventory.Partial
	found := library.Explain(libs, seen.Index, q)
	if seen.Inventory.OS.ID == "" {
		if len(found) == 0 {
			found = append(found, library.Nothing(libs, gaps, seen.Index, q))
		}
		return found
	}
	for _, f := range match.Explain(seen.Inventory, seen.Index, q) {
		switch {
		case len(f.Sources) > 0 || f.State != match.NotAffected && len(found) > 0:
			found = append(found, f)
		case len(found) == 0: // about nothing: what is known of libraries decides where one is asked for
			if n := library.Nothing(libs, gaps, seen.Index, q); n.Reason.Code == match.NotNamed || n.Reason.Code == match.NotCovered {
				f = n
			}
			found = append(found, f)
		}
	}
	return found
}

func explainFindings(seen looked, q match.Query) []explainedFinding {
	found := answersTo(seen, q)
	type key struct{ name, digest string }
	at := map[key]int{}
	snapshots := seen.Index.Snapshots()
	for i, s := range snapshots {
		at[key{s.Name, string(s.Digest)}] = i
	}
	out, kernel := []explainedFinding{}, match.KernelOf(seen.Inventory.Kernel, seen.build, seen.own)
	for _, f := range found {
		x := explainedFinding{Finding: f, Sources: []explainedSource{}, Runs: kernel.Runs(&f)}
		for _, s := range f.Sources {
			es := explainedSource{Source: s}
			if i, ok := at[key{s.Feed, string(s.Snapshot)}]; ok {
				es.Fetched, es.From = snapshots[i].Fetched, snapshots[i].Source
			}
			x.Sources = append(x.Sources, es)
		}
		out = append(out, x)
	}
	return out
}

func writeExplained(out io.Writer, list []explainedFinding) error {
	w := &strings.Builder{}
	for _, f := range list {
		fmt.Fprintf(w, "%s %s", f.Advisory, f.State)
		if f.Package != "" {
			fmt.Fprintf(w, ": %s", strings.TrimSpace(solve.Key(f.Finding)+" "+f.Version))
		}
		fmt.Fprintf(w, " (%s)\n  %s\n", f.Reason.Code, f.Reason.Text)
		if f.SourceVersion != "" {
			fmt.Fprintf(w, "  compared: %s %s", f.Source, f.SourceVersion)
			if f.Fixed != "" {
				fmt.Fprintf(w, " with %s", f.Fixed)
			}
			fmt.Fprintln(w)
		}
		if f.Runs != "" {
			fmt.Fprintln(w, "  is the kernel that runs:", f.Runs)
		}
		for _, s := range f.Sources {
			read := "at an unknown time"
			if s.Fetched > 0 {
				read = time.Unix(s.Fetched, 0).UTC().Format(time.RFC3339)
			}
			fmt.Fprintf(w, "  %s by %s: %s (%s), fixed %q; feed %s from %s, read %s\n    record %s, snapshot %s\n", s.Advisory, s.Source.Source, s.State, s.Reason, s.Fixed, s.Feed, s.From, read, s.Raw, s.Snapshot)
		}
	}
	_, err := io.WriteString(out, cleanLines(w.String()))
	return err
}

// explainedCode is the exit code: affected before unknown, both before clean.
func explainedCode(list []explainedFinding) error {
	code := 0
	for _, f := range list {
		switch f.State {
		case match.Affected:
			return exit{code: exitFindings}
		case match.Unknown, match.UnderInvestigation:
			code = exitPartial
		}
	}
	if code != 0 {
		return exit{code: code}
	}
	return nil
}
