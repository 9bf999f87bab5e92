// Command patchwrit-agent is the only program that changes a host, and only
// under a writ that it has verified itself. It listens on no port.
//
//	patchwrit-agent enroll --root-sha256 HEX --server URL --token FILE
//	patchwrit-agent run
//	patchwrit-agent helper
//	patchwrit-agent keygen --state DIR
//	patchwrit-agent apply --root DIR --writ FILE --pool DIR --trust DIR --root-sha256 HEX --state DIR
//	patchwrit-agent status --state DIR
//	patchwrit-agent gate [lock|unlock --root DIR]
//	patchwrit-agent version
//
// Exit codes: 0 done · 1 not done · 2 wrong usage · 4 waits for approval ·
// 5 verification refused · 130 interrupted. INT or TERM ends a verb in good order, a
// second one at once: a package manager that runs then goes on under its supervisor,
// which no signal ends, and what was begun stands in the journal, as after kill -9; the
// next helper or apply brings it to rest and reports it before it does anything else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/patchwrit/patchwrit/internal/ending"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/refusal/explain"
)

// version is set when the program is built.
var version = "unknown"

// Exit codes (docs/design: one list for all programs).
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitApproval    = 4
	exitRefused     = 5
	exitInterrupted = 130
)

// errUsage marks a mistake in the command line.
type errUsage struct{ text string }

func (e errUsage) Error() string { return e.text }

// errNotDone says that an attempt was made and did not end well; its receipts
// were printed.
var errNotDone = errors.New("not done")

// program is one run: where it reads, writes and asks.
type program struct {
	ctx            context.Context
	stdout, stderr io.Writer
	getenv         func(string) string
}

type verb struct {
	name string
	run  func(*program, []string) error
	help string
}

func verbs() []verb {
	return []verb{
		{"enroll", (*program).enroll, "bind this host to a trust root and a control plane, once"},
		{"run", (*program).run, "speak with the control plane (an ordinary user; the service patchwrit-agent)"},
		{"helper", (*program).helper, "apply writs for the messenger (root; the service patchwrit-helper)"},
		{"apply", (*program).apply, "verify a writ and carry it out"},
		{"status", (*program).status, "show what this host remembers and has signed"},
		{"keygen", (*program).keygen, "make the host's key, print its public half for hosts.json"},
		{"gate", (*program).gate, "apt's hook: compare what apt is about to do; lock or unlock the host for apt runs without a writ"},
		{"version", (*program).version, "print the version"},
	}
}

func main() {
	ctx, stop := ending.Begin()
	defer stop()
	p := &program{ctx: ctx, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	os.Exit(p.main(os.Args[1:]))
}

// main runs a verb and turns its error into words and an exit code.
func (p *program) main(args []string) int {
	err := p.dispatch(args)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errNotDone):
		return exitFailed
	}
	var usage errUsage
	if errors.As(err, &usage) {
		fmt.Fprintf(p.stderr, "patchwrit-agent: %s\n  next: patchwrit-agent help\n", usage.text)
		return exitUsage
	}
	fmt.Fprintf(p.stderr, "patchwrit-agent: %s\n", explain.Error(err))
	if p.ctx.Err() != nil {
		return exitInterrupted
	}
	return codeFor(err)
}

func (p *program) dispatch(args []string) error {
	if len(args) == 0 {
		return errUsage{"say what to do: enroll, run, helper, apply, status, keygen, gate or version"}
	}
	switch args[0] {
	case "help", "-h", "--help":
		return p.help()
	case "supervise": // started by apply, inside the root
		return p.supervise(args[1:])
	}
	for _, v := range verbs() {
		if v.name == args[0] {
			return v.run(p, args[1:])
		}
	}
	return errUsage{fmt.Sprintf("there is no verb %q", args[0])}
}

func (p *program) help() error {
	fmt.Fprintln(p.stdout, "patchwrit-agent changes this host, and only under a writ that it has verified itself.")
	for _, v := range verbs() {
		fmt.Fprintf(p.stdout, "  patchwrit-agent %-8s %s\n", v.name, v.help)
	}
	fmt.Fprintln(p.stdout, "Each verb tells its flags with -h.")
	fmt.Fprintln(p.stdout, "INT or TERM ends a verb in good order, a second one at once. Neither ends a package manager that runs: the next helper or apply reports it.")
	return flag.ErrHelp
}

// codeFor is the exit code of a refusal. What stands in the way on this host,
// and may be gone in a minute, is a failure; what was found wrong with the writ,
// its proof or its bytes is a verification failure.
func codeFor(err error) int {
	code := string(refusal.CodeOf(err))
	switch {
	case code == "PW-WRIT-APPROVAL":
		return exitApproval
	case code == "PW-WIRE-SERVER":
		return exitRefused
	case code == "":
		return exitFailed
	}
	for _, room := range []string{"AGENT", "HELPER", "MESSENGER", "WIRE", "CONTROL"} {
		if strings.HasPrefix(code, "PW-"+room+"-") {
			return exitFailed
		}
	}
	for _, c := range []string{"ROOT", "DIR", "TOOL", "DATABASE", "BROKEN", "HELD", "POOL", "LOCK", "SPACE", "JOURNAL", "RUNNING", "INTERRUPTED"} {
		if code == "PW-APT-"+c {
			return exitFailed
		}
	}
	return exitRefused
}

// flags is a verb's flag set: it prints its own help and never exits.
func (p *program) flags(name, usage string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(p.stderr)
	f.Usage = func() {
		fmt.Fprintf(p.stderr, "usage: patchwrit-agent %s %s\n", name, usage)
		f.PrintDefaults()
	}
	return f
}

// parse parses the flags and refuses what is left over, and what is missing.
func parse(f *flag.FlagSet, args []string, required ...string) error {
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage{err.Error()}
	}
	if f.NArg() > 0 {
		return errUsage{fmt.Sprintf("%s takes no argument %q", f.Name(), f.Arg(0))}
	}
	for _, name := range required {
		if f.Lookup(name).Value.String() == "" {
			return errUsage{fmt.Sprintf("%s needs --%s: %s", f.Name(), name, f.Lookup(name).Usage)}
		}
	}
	return nil
}
