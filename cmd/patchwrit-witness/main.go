// Command patchwrit-witness is a witness of the log: it cosigns checkpoints,
// grants leases and holds halts (package witness). Run it on a machine whose
// operator is not the control plane's, or it proves nothing.
//
// Exit codes: 0 ok, 1 failure, 2 usage, 5 integrity or verification failure,
// 130 interrupted.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/refusal/explain"
	"github.com/patchwrit/patchwrit/witness"
)

var version = "unknown" // set by the linker

// Exit codes of design.md §9.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitIntegrity   = 5
	exitInterrupted = 130
)

const help = `usage: patchwrit-witness VERB [FLAGS]

  keygen --dir DIR --name NAME --url URL
        Make a witness's key and memory in DIR (new, mode 0700) and print its
        line for witness.policy. NAME is like witness.example/one; URL is where
        hosts and the log reach it. Give the line to the keepers.

  run --dir DIR --listen ADDR --trust DIR --root-sha256 HEX
        Cosign, lease and hold halts. --trust is the trust repository; it is
        read again every minute and on SIGHUP, and only moves forward.
        --root-sha256 is the digest of its 1.root.json, learned from the
        keepers and not from the control plane.

  version
        Tell the version.

Exit codes: 0 ok, 1 failure, 2 usage, 5 integrity or verification failure,
130 interrupted.
`

func main() { os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr)) }

// usage is an error in how the program was called.
type usage struct{ error }

// Main runs a verb and returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	verb := ""
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	var err error
	switch verb {
	case "keygen":
		err = keygen(args, stdout, stderr)
	case "run":
		err = run(args, stdout, stderr)
	case "version":
		_, err = fmt.Fprintln(stdout, "patchwrit-witness", version)
	case "help", "-h", "-help", "--help":
		_, err = io.WriteString(stdout, help)
	case "":
		err = usage{errors.New("a verb is missing")}
	default:
		err = usage{fmt.Errorf("there is no verb %q", verb)}
	}
	return report(stderr, err)
}

// report prints an error for a person and chooses the exit code.
func report(w io.Writer, err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, new(usage)):
		fmt.Fprintln(w, "patchwrit-witness:", err)
		fmt.Fprintln(w, "patchwrit-witness: patchwrit-witness help tells how to call it")
		return exitUsage
	}
	fmt.Fprintln(w, "patchwrit-witness:", explain.Error(err))
	if refusal.CodeOf(err) != "" {
		return exitIntegrity
	}
	return exitFailure
}

// parse reads a verb's flags; all of them are needed, and nothing else.
func parse(verb string, args []string, needed map[string]*string) error {
	set := flag.NewFlagSet(verb, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for name, value := range needed {
		set.StringVar(value, name, "", "")
	}
	if err := set.Parse(args); err != nil {
		return usage{fmt.Errorf("%s: %w", verb, err)}
	}
	if set.NArg() > 0 {
		return usage{fmt.Errorf("%s takes no argument %q", verb, set.Arg(0))}
	}
	var missing []string
	set.VisitAll(func(f *flag.Flag) {
		if f.Value.String() == "" {
			missing = append(missing, "--"+f.Name)
		}
	})
	if len(missing) > 0 {
		return usage{fmt.Errorf("%s needs %s", verb, strings.Join(missing, ", "))}
	}
	return nil
}

func keygen(args []string, stdout, stderr io.Writer) error {
	var dir, name, url string
	if err := parse("keygen", args, map[string]*string{"dir": &dir, "name": &name, "url": &url}); err != nil {
		return err
	}
	line, err := witness.NewKey(dir, name, url, rand.Reader)
	if err != nil {
		return err
	}
	fmt.Fprintln(stderr, "patchwrit-witness: give this line to the keepers, for witness.policy")
	_, err = fmt.Fprintln(stdout, line)
	return err
}

var errInterrupted = errors.New("interrupted")

func run(args []string, stdout, stderr io.Writer) (err error) {
	var dir, listen, trust, root string
	if err := parse("run", args, map[string]*string{"dir": &dir, "listen": &listen, "trust": &trust, "root-sha256": &root}); err != nil {
		return err
	}
	if !canon.Digest(root).Valid() {
		return usage{errors.New("run: --root-sha256 is 64 lower-case hexadecimal digits")}
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	w, err := witness.Open(witness.Config{Dir: dir, Trust: os.DirFS(trust), Root: canon.Digest(root), Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	heed(ctx, stop, w, log)
	fmt.Fprintf(stdout, "patchwrit-witness: %s listens on http://%s\n", w.Name(), l.Addr())
	notify(log, "READY=1")
	err = w.Serve(ctx, l)
	notify(log, "STOPPING=1")
	if err == nil && errors.Is(context.Cause(ctx), errInterrupted) {
		return errInterrupted
	}
	return err
}

// heed reads the trust root again on SIGHUP and ends ctx on SIGTERM and SIGINT.
func heed(ctx context.Context, stop context.CancelCauseFunc, w *witness.Witness, log *slog.Logger) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				switch s {
				case syscall.SIGHUP:
					if err := w.Reload(); err != nil {
						log.LogAttrs(ctx, slog.LevelError, "newer trust root refused", slog.String("err", err.Error()))
					}
				case syscall.SIGINT:
					stop(errInterrupted)
				default:
					stop(nil)
				}
			}
		}
	}()
}

// notify tells systemd how the service stands (sd_notify(3)); without
// NOTIFY_SOCKET it does nothing.
func notify(log *slog.Logger, state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		err = errors.Join(err, conn.Close())
	}
	if err != nil {
		log.LogAttrs(context.Background(), slog.LevelWarn, "tell systemd", slog.String("state", state), slog.String("err", err.Error()))
	}
}
