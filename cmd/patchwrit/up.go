package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/feed"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/plan"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/trust"
)

func init() { verbs = append(verbs, upCmd) }

// upFlags are the flags of up.
type upFlags struct {
	data, trust, listen, policy string
	depot                       string
	pinned                      canon.Digest
	names, sources, feeds       []string
	cooldowns                   []string
	age                         time.Duration // --max-age
	depotAge                    int64         // the same where it was given, for feeds of the depot; 0: each feed's own
	jsonLog                     bool
	terms                       control.Terms
	parsed                      depot.Cache   // of the depot
	asks                        dialect.Model // of the model file
	advise                      func(context.Context, []byte) advice.Heard
}

// upCmd is the control plane.
func upCmd() *cobra.Command {
	return new(upFlags).command()
}

func (u *upFlags) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "run the control plane: store, log, bus and the flow from inventories to receipts",
		Long: "Up is one process over one data directory (patchwrit ledger init makes it). It takes inventories in, makes plans,\n" +
			"asks the rules, waits for people or finds a grant, logs, issues writs wave by wave, and keeps receipts.\n" +
			"It permits nothing by itself: every host verifies its writ.\n\n" +
			"One TLS port carries agents (/enroll, /pass, /wire), operators (/v1/, with the bearer token in DATA/operator.token),\n" +
			"visitors (/v1/visit/, each with its own token: patchwrit visitor), /healthz and /metrics.\n" +
			"The same /v1/ answers on the socket DATA/api.sock. Agents pin the TLS key, which is made on the first start; its SHA-256 is printed.\n\n" +
			"The rules are the signed bundle that the trust root names; the file is kept as DATA/policy.tar.gz (--policy\n" +
			"brings it there). SIGTERM ends up cleanly; after kill -9 it takes every step up again.",
		Example: "  patchwrit up --data data --trust trust --root-sha256 3f2a… --listen :8443 --name control.example.org \\\n" +
			"    --source debian=https://archive.example/debian,bookworm \\\n" +
			"    --source debian-security=https://archive.example/debian-security,bookworm-security",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return u.run(cmd) },
	}
	addHouseFlags(cmd)
	addDataFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&u.listen, "listen", "127.0.0.1:8443", "address of the one TLS port")
	f.StringArrayVar(&u.names, "name", nil, "DNS name or address in the TLS certificate (repeatable)")
	f.StringVar(&u.policy, "policy", "", "the policy bundle that the trust root pins; copied into the data directory")
	f.StringArrayVar(&u.sources, "source", nil, "signed archive of an origin of the trust root, ORIGIN=URL,SUITE (repeatable)")
	f.StringArrayVar(&u.feeds, "feed", nil, "vulnerability feed: file, zip, directory or URL (repeatable); the format is told by its content")
	f.StringVar(&u.depot, "feeds", os.Getenv("PATCHWRIT_FEEDS"), "the depot (patchwrit feed update): all its feeds are read at each look (or PATCHWRIT_FEEDS)")
	f.DurationVar(&u.age, "max-age", 14*24*time.Hour, maxAgeHelp)
	f.StringArrayVar(&u.cooldowns, "cooldown", nil, "how long new artefacts wait, ORIGIN:CLASS=WAIT[,CORROBORATED] such as debian-security:routine=72h,6h (repeatable);\nthe second time holds when CISA's KEV and the distribution's signed changelog both name a CVE that it fixes")
	f.DurationVar(&u.terms.Plan, "plan-every", 10*time.Minute, "time between two looks for work")
	f.DurationVar(&u.terms.Review, "review", 24*time.Hour, "how long people have to answer; then silence is a no")
	f.DurationVar(&u.terms.Life, "plan-life", 72*time.Hour, "how long a plan lives, at most 168h")
	f.DurationVar(&u.terms.Writ, "writ-life", time.Hour, "how long a writ lives, at most 24h; a host that is silent for so long has failed")
	f.DurationVar(&u.terms.Every, "poll-every", time.Minute, "how often an agent asks when nothing wakes it")
	f.DurationVar(&u.terms.Settle, "settle", 5*time.Second, "time without a new inventory before hosts are planned for: those that come together are planned together")
	f.StringSliceVar(&u.terms.Only, "only", nil, "plan for these packages only (comma-separated)")
	f.String("model", "", "model file (docs/ADVICE.md): who is asked about plans; it begins in shadow, counts as far as people promote it (patchwrit model), and permits nothing. Without it nobody is asked")
	f.DurationVar(&u.terms.Advice, "advice-wait", 0, "how long a plan that could run waits for the model, at most 24h, and at most half of the time until it is due (default: no plan waits)")
	f.BoolVar(&u.jsonLog, "log-json", false, "log as JSON lines")
	return cmd
}

func (u *upFlags) run(cmd *cobra.Command) error {
	root, err := openHouse(cmd)
	if err != nil {
		return err
	}
	if err := u.check(cmd, root); err != nil {
		return err
	}
	logger := u.logger(cmd.ErrOrStderr())
	p, err := openPlane(cmd.Context(), u, root, logger)
	if err != nil {
		return err
	}
	u.tells(cmd.Context(), logger)
	fmt.Fprintf(cmd.OutOrStdout(), "listen  https://%s\nkey     %s\nsocket  %s\ntoken   %s\n", p.wire.Addr(), p.wire.CertSHA256(), p.socket, filepath.Join(u.data, operatorToken))
	return p.run(cmd.Context())
}

func (u *upFlags) logger(w io.Writer) *slog.Logger {
	if u.jsonLog {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// maxWritLife is what hosts accept at most.
const maxWritLife = 24 * time.Hour

// check refuses what could not work later.
func (u *upFlags) check(cmd *cobra.Command, root trust.Root) (err error) {
	if u.data, err = dataDir(cmd); err != nil {
		return err
	}
	if u.data, err = filepath.Abs(u.data); err != nil {
		return err
	}
	u.trust, _ = cmd.Flags().GetString("trust")
	u.pinned = root.ID
	if _, err := sourcesOf(root, u.sources); err != nil {
		return err
	}
	if u.terms.Cooldowns, err = cooldownsOf(u.cooldowns, func(o change.Origin) bool { _, ok := root.Origin(o); return ok }); err != nil {
		return err
	}
	if err := u.adviser(cmd); err != nil {
		return err
	}
	if u.depotAge, err = depotAge(cmd); err != nil {
		return err
	}
	for _, d := range []struct {
		flag       string
		value      time.Duration
		least, top time.Duration
	}{
		{"plan-every", u.terms.Plan, time.Second, 7 * 24 * time.Hour},
		{"review", u.terms.Review, time.Second, plan.MaxLife * time.Second},
		{"plan-life", u.terms.Life, time.Minute, plan.MaxLife * time.Second},
		{"writ-life", u.terms.Writ, time.Second, maxWritLife},
		{"poll-every", u.terms.Every, time.Second, time.Hour},
		{"settle", u.terms.Settle, 0, time.Hour},
		{"advice-wait", u.terms.Advice, 0, 24 * time.Hour},
		{"max-age", u.age, 0, 876000 * time.Hour},
	} {
		if d.value < d.least || d.value > d.top {
			return usagef("--%s takes %s to %s, not %s", d.flag, d.least, d.top, d.value)
		}
	}
	return nil
}

// rules loads the bundle that the trust root names from the data directory.
func (u *upFlags) rules(ctx context.Context, p trust.Policy) (control.Rules, error) {
	path := filepath.Join(u.data, "policy.tar.gz")
	raw, err := readBundle(path)
	if err != nil {
		return nil, fmt.Errorf("the policy bundle %s that the trust root names is not at %s (patchwrit up --policy FILE brings it there): %w", p.Bundle.Short(), path, err)
	}
	engine, err := rego.Load(ctx, raw, p.Bundle, canon.Note(p.Key).Text())
	if err != nil {
		return nil, err
	}
	return engine, nil
}

func readBundle(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, rego.MaxBundle+1))
}

// bring copies --policy into the data directory.
func (u *upFlags) bring(pinned canon.Digest) error {
	if u.policy == "" {
		return nil
	}
	raw, err := readBundle(u.policy)
	if err != nil {
		return err
	}
	if d := canon.SumFile(raw); d != pinned {
		return usagef("--policy: %s is %s, the trust root pins %s", u.policy, d.Short(), pinned.Short())
	}
	return keepFile(filepath.Join(u.data, "policy.tar.gz"), raw)
}

// keepFile writes a private file so that a crash leaves the old one or the new.
func keepFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// read reads every feed, as it is now.
func (u *upFlags) read(ctx context.Context, now time.Time) ([]advisory.Set, error) {
	var out []advisory.Set
	for _, source := range u.feeds {
		set, err := feed.Read(ctx, source, feed.Options{Now: now, Cache: filepath.Join(u.data, "feeds")})
		if err != nil {
			return nil, fmt.Errorf("feed %s: %w", shown(source), err)
		}
		set.Snapshot = set.Snapshot.Aged(now.Unix(), int64(u.age/time.Second))
		out = append(out, set)
	}
	if u.depot == "" {
		return out, nil
	}
	c, err := u.chosen()
	if err != nil {
		return nil, err
	}
	kept, _, err := c.sets(ctx, now, func(string, ...any) {})
	return append(out, kept...), err
}

// chosen are all feeds of the depot.
func (u *upFlags) chosen() (chosen, error) {
	d := depot.Open(u.depot, nil).Through(&u.parsed)
	names, err := d.Names()
	return chosen{depot: d, names: names, maxAge: u.depotAge}, err
}

// config is what control works with, without the wire.
func (u *upFlags) config(logger *slog.Logger) control.Config {
	c := control.Config{Rules: u.rules, Dir: u.data, Trust: u.trust, Pinned: u.pinned, Solve: u.solve, Feeds: u.read, Known: u.known(), Lists: u.lists(), Advise: u.advise, KnownBy: u.knownBy(), Quarantine: u.quarantine(),
		Sources: func(root trust.Root) ([]solve.Source, error) { return sourcesOf(root, u.sources) },
		Now:     time.Now, Random: rand.Reader, Logger: logger, Progress: progress{logger}, Terms: u.terms}
	if u.advise != nil {
		c.Model = registration(u.asks)
	}
	return c
}

// progress is the planner's lines as log entries.
type progress struct{ log *slog.Logger }

func (p progress) Write(b []byte) (int, error) {
	p.log.Debug("planner", "line", string(b))
	return len(b), nil
}
