package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/agent"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/pkgmgr/apt"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/refusal/explain"
	"github.com/patchwrit/patchwrit/witness/ask"
	"github.com/patchwrit/patchwrit/writ"
)

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// apply verifies a writ and carries it out.
func (p *program) apply(args []string) error {
	f := p.flags("apply", "--root DIR --writ FILE --pool DIR --trust DIR --root-sha256 HEX --state DIR")
	var o agent.Options
	var leases list
	f.StringVar(&o.Root, "root", "", `top directory of the system to change; "/" is the running one`)
	f.StringVar(&o.Pool, "pool", "", "directory of the releases, indexes and artefacts that belong to the writ")
	f.StringVar(&o.Trust, "trust", "", "directory of the trust repository")
	f.StringVar(&o.State, "state", "", "directory of this host's journal, key and receipts")
	f.StringVar(&o.Log, "log", "", "directory of the log's tiles, for the proof that it only grew since this host last looked")
	f.DurationVar(&o.LockWait, "lock-wait", 30*time.Second, "how long to wait for another package manager")
	file := f.String("writ", "", "the writ")
	pinned := f.String("root-sha256", "", "SHA-256 of the trust repository's 1.root.json, as it came with this host's image")
	f.Var(&leases, "lease", "a lease for the nonce that status shows (repeat); without any the witnesses are asked")
	output := f.String("o", "table", "table or json")
	if err := parse(f, args, "root", "writ", "pool", "trust", "state", "root-sha256"); err != nil {
		return err
	}
	if o.Pinned = canon.Digest(*pinned); !o.Pinned.Valid() {
		return errUsage{"--root-sha256 takes 64 lower-case hexadecimal digits"}
	}
	if err := p.inputs(&o, *file, leases); err != nil {
		return err
	}
	o.Ask, o.Now, o.Progress = witnesses, time.Now, p.stderr
	result, err := agent.Apply(p.ctx, o)
	if perr := p.report(*output, result, err); perr != nil {
		return perr
	}
	if n := len(result.Receipts); err == nil && (n == 0 || result.Receipts[n-1].Outcome != writ.Done) {
		return errNotDone
	}
	return err
}

// witnesses asks them directly. The proof that the log only grew comes from its
// tiles (--log).
func witnesses(ctx context.Context, q agent.Question) (agent.Answer, error) {
	leases, err := ask.Leases(ctx, q.Witnesses, q.Host, q.Nonce)
	return agent.Answer{Leases: leases}, err
}

// inputs reads the files that were named.
func (p *program) inputs(o *agent.Options, file string, leases []string) error {
	var err error
	if o.Writ, err = readFile(file); err != nil {
		return err
	}
	for _, name := range leases {
		raw, err := readFile(name)
		if err != nil {
			return err
		}
		o.Leases = append(o.Leases, raw)
	}
	for _, dir := range []*string{&o.Root, &o.Pool, &o.Trust, &o.State} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return errUsage{err.Error()}
		}
	}
	o.Agent, err = os.Executable()
	return err
}

// readFile reads a canonical document; one newline at its end is forgiven.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, errUsage{err.Error()}
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, canon.MaxBytes+1))
	if err != nil {
		return nil, errUsage{err.Error()}
	}
	return []byte(strings.TrimSuffix(string(raw), "\n")), nil
}

// report prints what came of an attempt.
func (p *program) report(output string, result agent.Result, err error) error {
	switch output {
	case "json":
		doc := struct {
			Receipts []writ.Receipt `json:"receipts"`
			Error    *failure       `json:"error"`
		}{result.Receipts, failureOf(err)}
		if doc.Receipts == nil {
			doc.Receipts = []writ.Receipt{}
		}
		return p.json(doc)
	case "table":
		for _, r := range result.Receipts {
			p.receipt(r)
		}
		return nil
	}
	return errUsage{fmt.Sprintf("-o takes table or json, not %q", output)}
}

// failure is an error for machines.
type failure struct {
	Code  string `json:"code"`
	Title string `json:"title"`
	Seen  string `json:"seen"`
	Why   string `json:"why"`
	Next  string `json:"next"`
}

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	var r *refusal.Refusal
	if !errors.As(err, &r) {
		return &failure{Title: err.Error()}
	}
	e := explain.Of(r.Code)
	return &failure{string(r.Code), e.Title, r.Detail, e.Text, e.Next}
}

func (p *program) json(v any) error {
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// receipt shows one receipt to a person.
func (p *program) receipt(r writ.Receipt) {
	code := ""
	if r.Code != "" {
		code = " " + r.Code + ": " + explain.Of(refusal.Code(r.Code)).Title
	}
	fmt.Fprintf(p.stdout, "%s  writ %s  %s%s\n", stamp(r.Ended), r.Writ.Short(), r.Outcome, code)
	for _, s := range r.States {
		fmt.Fprintf(p.stdout, "  %-32s %-26s -> %-26s %s\n", s.Package+":"+s.Arch, or(s.Before), or(s.After), s.Status)
	}
	e := r.Effective
	fmt.Fprintf(p.stdout, "  effective: installed %s · running %s · rescanned %s · healthy %s · attested %s\n", e.Installed, e.Running, e.Rescanned, e.Healthy, e.Attested)
	for _, s := range e.Stale {
		fmt.Fprintf(p.stdout, "  still on the old file: %s\n", s)
	}
	if r.Simulated {
		fmt.Fprintln(p.stdout, "  Simulated: no real host was changed.")
	}
}

func or(version string) string {
	if version == "" {
		return "(none)"
	}
	return version
}

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// status shows what the state directory tells.
func (p *program) status(args []string) error {
	f := p.flags("status", "--state DIR")
	dir := f.String("state", "", "directory of this host's journal, key and receipts")
	n := f.Int("n", 10, "how many receipts to show")
	output := f.String("o", "table", "table or json")
	if err := parse(f, args, "state"); err != nil {
		return err
	}
	s, err := agent.ReadStatus(*dir, *n)
	if err != nil {
		return err
	}
	switch *output {
	case "json":
		return p.json(s)
	case "table":
	default:
		return errUsage{fmt.Sprintf("-o takes table or json, not %q", *output)}
	}
	fmt.Fprintf(p.stdout, "host       %s\n", s.Host)
	if s.Root == "" {
		fmt.Fprintln(p.stdout, "not enrolled: the first apply pins the trust root it is given")
		return nil
	}
	fmt.Fprintf(p.stdout, "trust root %s (root %d, targets %d, hosts %d)\n", s.Root, s.Trust.Root, s.Trust.Targets, s.Trust.Hosts)
	fmt.Fprintf(p.stdout, "log        %s size %d\n", s.Checkpoint.Origin, s.Checkpoint.Size)
	fmt.Fprintf(p.stdout, "plans      from generation %d\n", s.Generation)
	if s.Nonce != "" {
		fmt.Fprintf(p.stdout, "nonce      %s\n", s.Nonce)
	}
	for _, b := range s.Unfinished {
		fmt.Fprintf(p.stdout, "UNFINISHED writ %s, begun %s, %d changes; apply finishes and reports it first\n", b.Writ.Short(), stamp(b.Started), len(b.Changes))
	}
	for _, r := range s.Receipts {
		p.receipt(r)
	}
	return nil
}

// keygen makes the host's key and prints the public half.
func (p *program) keygen(args []string) error {
	f := p.flags("keygen", "--state DIR")
	dir := f.String("state", "", "directory of this host's journal, key and receipts")
	output := f.String("o", "table", "table (the public key alone) or json (an entry for hosts.json)")
	if err := parse(f, args, "state"); err != nil {
		return err
	}
	h, err := agent.NewKey(*dir)
	if err != nil {
		return err
	}
	if *output == "json" {
		return p.json(h)
	}
	fmt.Fprintf(p.stderr, "fingerprint %s\n", h.ID)
	fmt.Fprintln(p.stdout, h.Public)
	return nil
}

// gate is apt's hook, and switches the lockdown.
func (p *program) gate(args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return apt.GateMain(args, p.getenv)
	}
	f := p.flags("gate "+args[0], "--root DIR")
	root := f.String("root", "", `top directory of the system; "/" is the running one`)
	if err := parse(f, args[1:], "root"); err != nil {
		return err
	}
	switch args[0] {
	case "lock":
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return apt.Lock(*root, self)
	case "unlock":
		return apt.Unlock(*root)
	}
	return errUsage{fmt.Sprintf("gate takes lock or unlock, not %q", args[0])}
}

// supervise is the parent of apt or dpkg; see pkgmgr/apt.
func (p *program) supervise(args []string) error {
	if len(args) != 1 {
		return errUsage{"supervise is started by apply"}
	}
	return apt.Supervise(args[0])
}

func (p *program) version(args []string) error {
	if len(args) > 0 {
		return errUsage{"version takes no argument"}
	}
	fmt.Fprintln(p.stdout, version)
	return nil
}
