package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/tlog/writer"
	"github.com/patchwrit/patchwrit/trust"
)

func init() { verbs = append(verbs, ledgerCmd) }

// ledgerCmd keeps the log and the events it names.
func ledgerCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "ledger", Short: "keep the transparency log and the events it names"}
	cmd.AddCommand(ledgerInitCmd(), ledgerContinueCmd(), ledgerLsCmd(), ledgerShowCmd(), ledgerExportCmd(), ledgerVerifyCmd())
	return cmd
}

func addDataFlag(cmd *cobra.Command) {
	cmd.Flags().String("data", os.Getenv("PATCHWRIT_DATA"), "data directory of the control plane (or PATCHWRIT_DATA)")
}

func dataDir(cmd *cobra.Command) (string, error) {
	dir, err := cmd.Flags().GetString("data")
	if err == nil && dir == "" {
		err = usagef("say where the control plane keeps its data: --data DIR (or PATCHWRIT_DATA)")
	}
	return dir, err
}

func ledgerInitCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "make a data directory with the log's key, and print the log's line for the witness policy",
		Example: "  patchwrit ledger init --data data --origin log.example.org/patchwrit >> witness.policy\n" +
			"  patchwrit-witness keygen …                                          >> witness.policy",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := dataDir(cmd)
			if err != nil {
				return err
			}
			origin, err := cmd.Flags().GetString("origin")
			if err != nil {
				return err
			}
			if origin == "" {
				return usagef("give the log a name that is yours alone: --origin log.example.org/patchwrit")
			}
			vkey, err := initLedger(dir, origin)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "log", vkey)
			return err
		},
	}
	addDataFlag(cmd)
	cmd.Flags().String("origin", "", "the log's name, as in C2SP tlog-checkpoint")
	return cmd
}

// initLedger makes the data directory and the log's key; a key that is there
// is kept, if it is of this log.
func initLedger(dir, origin string) (vkey string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "log.key")
	if _, err := os.Stat(path); err == nil {
		return "", fmt.Errorf("%s is there already; a log has one key for its whole life: choose another --data, or keep this one", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return "", err
	}
	return vkey, os.WriteFile(path, []byte(skey+"\n"), 0o600)
}

// ledger is the open data directory: log and bodies.
type ledger struct {
	dir string
	log *writer.Log
}

// openLedger opens the log under the house's witness policy.
func openLedger(ctx context.Context, dir string, root trust.Root, logger *slog.Logger) (*ledger, error) {
	key, err := readFile(filepath.Join(dir, "log.key"))
	if err != nil {
		return nil, fmt.Errorf("the data directory has no log yet; patchwrit ledger init makes one: %w", err)
	}
	signer, err := note.NewSigner(string(key))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "bodies"), 0o700); err != nil {
		return nil, err
	}
	log, err := writer.Open(ctx, writer.Config{Dir: filepath.Join(dir, "log"), Signer: signer, Policy: root.Witnesses, Logger: logger})
	if err != nil {
		return nil, err
	}
	return &ledger{dir, log}, nil
}

// logWait is how long an event may take until a quorum of witnesses has seen
// it; usual is a fraction of a second.
const logWait = 30 * time.Second

// Append implements issue.Log with a deadline.
func (l *ledger) Append(ctx context.Context, e tlog.Entry) (tlog.Proof, error) {
	ctx, cancel := context.WithTimeout(ctx, logWait)
	defer cancel()
	return l.log.Append(ctx, e)
}

// event stores an event's bytes by the digest that its entry names, then logs
// the entry: what is in the log can be re-created.
func (l *ledger) event(ctx context.Context, e tlog.Entry, body []byte) (tlog.Proof, error) {
	if err := l.keep(e.Subject, body); err != nil {
		return "", err
	}
	return l.Append(ctx, e)
}

func (l *ledger) keep(d canon.Digest, body []byte) error {
	path := filepath.Join(l.dir, "bodies", string(d)+".json")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".body-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// body reads an event's bytes again.
func (l *ledger) body(d canon.Digest) ([]byte, error) {
	return readFile(filepath.Join(l.dir, "bodies", string(d)+".json"))
}

func (l *ledger) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), logWait)
	defer cancel()
	return l.log.Close(ctx)
}

// withLedger opens house and ledger for one verb.
func withLedger(cmd *cobra.Command, use func(context.Context, trust.Root, *ledger) error) (err error) {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	dir, err := dataDir(cmd)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	l, err := openLedger(cmd.Context(), dir, root, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	return use(cmd.Context(), root, l)
}

func ledgerLsCmd() *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "list what was logged: the events with their leaf",
		Long: "Lists the control plane's events that go to the log, or with --all every event. With --data and no control plane, the\n" +
			"leaves of the log in that data directory.",
		Example: "  patchwrit ledger ls\n  patchwrit ledger ls --all -o json\n  patchwrit ledger ls --data data --trust trust --root-sha256 3f2a…",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := output(cmd, "table", "json")
			if err != nil {
				return err
			}
			if serverName(cmd) != "" && !cmd.Flags().Changed("data") {
				return listRecord(cmd, all)
			}
			return withLedger(cmd, func(ctx context.Context, _ trust.Root, l *ledger) error { return l.list(ctx, cmd, format) })
		},
	}
	addHouseFlags(cmd)
	addServerFlags(cmd)
	addDataFlag(cmd)
	addFormatFlag(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "also events that do not go to the log")
	return cmd
}

func (l *ledger) list(ctx context.Context, cmd *cobra.Command, format string) error {
	out, n := cmd.OutOrStdout(), 0
	for e, err := range l.log.Entries(ctx) {
		if err != nil {
			return err
		}
		if format == "json" {
			err = json.NewEncoder(out).Encode(map[string]any{"index": n, "entry": e})
		} else {
			_, err = fmt.Fprintf(out, "%6d  %s  %-9s %s\n", n, time.Unix(e.At, 0).UTC().Format(time.RFC3339), e.Kind, e.Subject)
		}
		if err != nil {
			return err
		}
		n++
	}
	return nil
}
