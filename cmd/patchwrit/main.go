// Command patchwrit is the people's tool: it scans, plans, shows plans, signs
// approvals, issues writs and verifies evidence.
//
// The parties: engineers scan and plan, approvers look and sign with their own
// keys on their own machines, auditors verify offline. The tool itself permits
// nothing: hosts believe only what they verify (patchwrit-agent).
//
// Exit codes: 0 ok, 1 failure, 2 usage, 3 findings or deny at --fail-on, 4 waits
// for approval, 5 integrity or verification failure, 6 stale or partial data,
// 130 interrupted. An error outranks findings. A second INT or TERM ends it at once.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advisor/box"
	"github.com/patchwrit/patchwrit/internal/ending"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/refusal/explain"
)

var version = "unknown" // set by the linker

// Exit codes of design.md §9.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitFindings    = 3
	exitWaits       = 4
	exitIntegrity   = 5
	exitPartial     = 6
	exitInterrupted = 130
)

func main() {
	box.Stage() // the process that is to become the sandboxed advisor goes no further
	os.Exit(Main())
}

// Main runs the tool and returns its exit code; scripts in tests call it too.
func Main() int {
	ctx, stop := ending.Begin()
	defer stop()
	root := newRoot(os.Stdout, os.Stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "patchwrit: interrupted; nothing further was done")
		return exitInterrupted
	}
	return report(os.Stderr, err)
}

// exit is an error that carries its exit code. A nil cause prints nothing.
type exit struct {
	code  int
	cause error
}

func (e exit) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.cause.Error()
}

func (e exit) Unwrap() error { return e.cause }

// report prints an error for a person and chooses the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	code := exitFailure
	var e exit
	switch {
	case errors.As(err, &e):
		code = e.code
		if e.cause == nil {
			return code
		}
	case errors.As(err, new(usage)):
		code = exitUsage
	case refusal.CodeOf(err) != "":
		code = exitIntegrity
	}
	fmt.Fprintln(w, "patchwrit:", cleanLines(explain.Error(err)))
	return code
}

// usage is an error in how the tool was called.
type usage struct{ error }

func usagef(format string, args ...any) error { return usage{fmt.Errorf(format, args...)} }

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "patchwrit",
		Short: "govern autonomous patching: a host changes only under a writ it has verified itself",
		Long: "Patchwrit scans hosts, plans exact changes, lets people sign those very plans, and issues writs.\n" +
			"A host changes only under a writ that it has verified itself (patchwrit-agent).\n\n" +
			"Exit codes: 0 ok, 1 failure, 2 usage, 3 findings or deny, 4 waits for approval,\n" +
			"5 integrity or verification failure, 6 stale or partial data, 130 interrupted.\n" +
			"INT or TERM ends a command in good order, a second one at once.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no command %q; see patchwrit --help", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetVersionTemplate("patchwrit {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%v; see %s --help", err, cmd.CommandPath())
	})
	for _, verb := range verbs {
		root.AddCommand(verb())
	}
	return root
}

// verbs are the tool's commands; each stands in a file of its own.
var verbs = []func() *cobra.Command{versionCmd, refusalCmd}

func versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "tell the version",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "patchwrit", version)
			return err
		},
	}
}

// exactly wants n arguments and says so when there are others.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("%s takes %d arguments, got %d: %s", cmd.CommandPath(), n, len(args), strings.Join(args, " "))
		}
		return nil
	}
}

// between wants from least to most arguments and says so when there are others.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usagef("%s takes %d to %d arguments, got %d: %s", cmd.CommandPath(), least, most, len(args), strings.Join(args, " "))
		}
		return nil
	}
}
