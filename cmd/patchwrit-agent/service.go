package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/patchwrit/patchwrit/agent/helper"
	"github.com/patchwrit/patchwrit/agent/messenger"
	"github.com/patchwrit/patchwrit/wire/dial"
)

// logger writes structured lines to standard error, where a service manager
// takes them.
func logger(format string, w io.Writer) (*slog.Logger, error) {
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, nil)), nil
	}
	return nil, errUsage{fmt.Sprintf("--log takes text or json, not %q", format)}
}

// run is the messenger.
func (p *program) run(args []string) error {
	f := p.flags("run", "[--state DIR]")
	state := f.String("state", messengerState, "the messenger's directory, as enroll made it")
	format := f.String("log", "text", "form of the log lines on standard error: text or json")
	if err := parse(f, args); err != nil {
		return err
	}
	log, err := logger(*format, p.stderr)
	if err != nil {
		return err
	}
	s, err := messenger.ReadServer(*state)
	if err != nil {
		return err
	}
	if err := became(s.UID, s.GID); err != nil {
		return err
	}
	seed, err := messenger.Seed(*state)
	if err != nil {
		return err
	}
	conn, err := dial.Dial(dial.Config{URL: s.URL.Text(), CertSHA256: s.Cert, Seed: seed, Logger: log})
	if err != nil {
		return err
	}
	defer conn.Close()
	m, err := messenger.New(messenger.Config{State: *state, Version: version, Wire: conn, Now: time.Now, Logger: log})
	if err != nil {
		return err
	}
	return m.Run(p.ctx)
}

// helper is the part that is root.
func (p *program) helper(args []string) error {
	f := p.flags("helper", "[--state DIR]")
	c := helper.Config{Now: time.Now}
	f.StringVar(&c.State, "state", helperState, "the helper's directory, as enroll made it")
	f.DurationVar(&c.LockWait, "lock-wait", 30*time.Second, "how long to wait for another package manager")
	format := f.String("log", "text", "form of the log lines on standard error: text or json")
	if err := parse(f, args); err != nil {
		return err
	}
	var err error
	if c.Logger, err = logger(*format, p.stderr); err != nil {
		return err
	}
	if c.Agent, err = os.Executable(); err != nil {
		return err
	}
	return helper.Run(p.ctx, c)
}
