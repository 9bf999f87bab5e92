package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/docs/schema"
	"github.com/patchwrit/patchwrit/feed"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/document"
	"github.com/patchwrit/patchwrit/feed/world"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

func init() { verbs = append(verbs, scanCmd) }

const scanLong = "Scan reads a system's package database and matches it with feeds (--feed: OSV, the\n" +
	"Debian security tracker's JSON, Alpine's secdb, Red Hat's CSAF, OpenVEX of your own) and with the changelogs inside a vendor's signed packages\n" +
	"(--source, which needs the trust root).\n\n" +
	"The system is --root (dpkg, apk, rpm's database in its three forms), or what a bill of materials says (--sbom: CycloneDX 1.4 to 1.6,\n" +
	"SPDX 2.3, both JSON). Libraries of Go, PyPI, npm and crates.io in a bill are matched and reported as found, not\n" +
	"fixable here. Each component of a bill is counted. One that could be vulnerable and is not matched (no purl, a type or release that is not matched,\n" +
	"a purl that contradicts itself, a container without contents, Windows) makes the answer unknown. Files, data and what only holds other components are left out, and the answer says so.\n" +
	"More than a million findings, or 20 million pairs of a version and a record to compare, are unknown as a whole.\n\n" +
	"Without --feed and --source it matches with the whole depot (patchwrit feed update, feed ls).\n" +
	"A --feed that is cut, of no known format or out of reach makes the answer unknown; the others still answer. One that does not exist is an error.\n\n" +
	"With --kev, --cve, --epss or --exposed, or with feeds of these kinds in the depot, each affected finding also gets its deadline by CISA BOD 26-04,\n" +
	"and the findings stand in the order of work. --cve brings CISA's SSVC points (automatable, technical\n" +
	"impact) and CVSS scores, each with its source and time. What is not known counts as the stricter value;\n" +
	"the answer names it, and says what each other value would give.\n\n" +
	"With --since, what a feed says anew is judged before it counts: withdrawals, lowered versions, jumps of severity, floods,\n" +
	"look-alike names, impossible versions and times that go back are quarantined, and the record as it was keeps counting.\n" +
	"The depot's feeds were judged so when they came (patchwrit feed quarantine). Where a held record would make something\n" +
	"affected that is not by what counts, the answer is unknown.\n\n" +
	"Of a kernel the answer says whether it is the one that runs (this machine's with --root /, else --kernel); one that runs\n" +
	"and is of no installed package is unknown.\n\n" +
	"Packages of a module (RHEL family) are matched with their own stream only; Red Hat's hosts with its CSAF VEX, docs/MATCHING.md.\n\n" +
	"Exit codes: 3 something is affected (whatever else is unknown, which the answer says), 6 part of the answer is unknown, 0 neither."

// scanCmd finds what is affected on one root.
func scanCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scan",
		Short: "find what is affected on a system, and say what could not be learned",
		Long:  scanLong,
		Example: "  patchwrit scan --feed Debian.zip\n" +
			"  patchwrit scan --sbom image.cdx.json --feed AlmaLinux.zip --feed Go.zip\n" +
			"  patchwrit feed compile --feed Debian.zip -o debian.index && patchwrit scan --index debian.index\n" +
			"  patchwrit scan --feed Debian.zip --kev known_exploited_vulnerabilities.json --cve vulnrichment.zip --epss epss_scores-2026-11-27.csv.gz --exposed no\n" +
			"  patchwrit scan --root /srv/host1 --source debian-security=https://archive.example/debian-security,bookworm-security -o json",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := output(cmd, formats...)
			if err != nil {
				return err
			}
			failOn, err := cmd.Flags().GetString("fail-on")
			if err != nil {
				return err
			}
			if failOn != "affected" && failOn != "none" {
				return usagef("--fail-on takes affected or none, not %q", failOn)
			}
			now := time.Now()
			deadlines, err := newJudge(cmd, now)
			if err != nil {
				return coded(err)
			}
			seen, err := scan(cmd, false)
			if err != nil {
				return err
			}
			r := newScanReport(seen)
			if deadlines != nil {
				if err := deadlines.read(cmd.Context(), &r, now); err != nil {
					return coded(err)
				}
				deadlines.apply(&r, now.Unix())
			}
			if err := r.write(cmd.OutOrStdout(), format); err != nil {
				return err
			}
			return r.verdict(failOn)
		},
	}
	addHouseFlags(cmd)
	addLookFlags(cmd)
	addPriorityFlags(cmd)
	addSubjectFlags(cmd)
	addSinceFlag(cmd)
	cmd.Flags().String("fail-on", "affected", "what ends with exit code 3: affected or none")
	cmd.Flags().StringP("output", "o", "table", "table, json (scan schema describes it), sarif (SARIF 2.1.0) or vex (CycloneDX 1.6)")
	return with(cmd, scanSchemaCmd())
}

// with adds verbs under a verb.
func with(cmd *cobra.Command, under ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(under...)
	return cmd
}

// scanSchemaCmd prints what describes a scan's JSON.
func scanSchemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "print the JSON Schema (draft 2020-12) of what scan -o json writes",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(schema.Scan)
			return err
		},
	}
}

// scan looks at what the flags name. Without whole the index knows of --feed only
// what concerns the system that is looked at.
func scan(cmd *cobra.Command, whole bool) (looked, error) {
	bill, err := readBill(cmd)
	if err != nil {
		return looked{}, err
	}
	o, sources, err := lookOptions(cmd, whole || bill != nil, true)
	if err != nil {
		return looked{}, err
	}
	if len(sources) == 0 && len(o.Feeds) == 0 && len(o.Records) == 0 && o.More == nil {
		return looked{}, usagef("say what to match with: --feed PATH|URL|NAME, --index FILE or --source ORIGIN=URL,SUITE, or fill the depot (patchwrit feed update)")
	}
	running, build, err := runningKernel(cmd, bill != nil)
	if err != nil {
		return looked{}, err
	}
	own, err := owns(cmd, bill != nil, running)
	if err != nil {
		return looked{}, err
	}
	if bill != nil {
		bill.Inventory.Kernel.Running = running
		seen, err := lookAtBill(bill, o)
		seen.own = own
		return seen, err
	}
	if len(sources) > 0 {
		root, err := openHouse(cmd)
		if err != nil {
			return looked{}, err
		}
		if o.Sources, err = sourcesOf(root, sources); err != nil {
			return looked{}, err
		}
		if o.Pool, err = poolDir(cmd); err != nil {
			return looked{}, err
		}
	}
	seen, err := solve.Look(cmd.Context(), o)
	if err == nil {
		err = learn(cmd, seen)
	}
	seen.Inventory.Kernel.Running = running
	return looked{Seen: seen, build: build, own: own}, err
}

// learn keeps in the depot, where there is one, which versions the verified
// indexes carry.
func learn(cmd *cobra.Command, seen solve.Seen) error {
	dir, err := depotDir(cmd)
	if err != nil {
		return err
	}
	d := depot.Open(dir, nil)
	if names, err := d.Names(); err != nil || len(names) == 0 {
		return err
	}
	_, err = world.Learn(d.World(), seen.Archives(), time.Now().Unix())
	return err
}

// addLookFlags adds what says where knowledge comes from.
func addLookFlags(cmd *cobra.Command) {
	cmd.Flags().StringArray("feed", nil, "vulnerability feed: file, zip, directory, URL, or the name of one in the depot (repeatable; default without --source: all of the depot)")
	addDepotFlag(cmd)
	cmd.Flags().String("index", "", "compiled feeds (patchwrit feed compile); no other feed is read, and each --feed beside it is only compared: the index must have been made from it")
	cmd.Flags().StringArray("source", nil, "signed archive of an origin of the trust root, ORIGIN=URL,SUITE (repeatable)")
	cmd.Flags().Duration("max-age", 14*24*time.Hour, maxAgeHelp)
	cmd.Flags().BoolP("quiet", "q", false, "tell no progress")
}

// lookOptions reads the flags; the sources are returned as they were written.
// Without whole the feeds that are files or URLs are read later, by o.More. With
// without, one of them that cannot be read makes the answer unknown and is no error.
func lookOptions(cmd *cobra.Command, whole, without bool) (o solve.Options, sources []string, err error) {
	f := cmd.Flags()
	o = solve.Options{Now: time.Now(), Progress: cmd.ErrOrStderr()}
	if o.Root, err = f.GetString("root"); err != nil {
		return o, nil, err
	}
	if quiet, _ := f.GetBool("quiet"); quiet {
		o.Progress = io.Discard
	}
	feeds, err := f.GetStringArray("feed")
	if err != nil {
		return o, nil, err
	}
	age, err := maxAge(cmd)
	if err != nil {
		return o, nil, err
	}
	c, err := choose(cmd)
	if err != nil {
		return o, nil, err
	}
	if name, _ := f.GetString("index"); name != "" {
		r, err := openIndex(cmd.Context(), name, c, feeds, o.Now)
		if err != nil {
			return o, nil, err
		}
		o.Records = append(o.Records, match.Aged(r, o.Now.Unix(), int64(age/time.Second)))
	} else if err := readFeeds(cmd, c, feeds, age, whole, without, &o); err != nil {
		return o, nil, err
	}
	sources, err = f.GetStringArray("source")
	return o, sources, err
}

// readFeeds reads what was chosen from the depot, and the other feeds, now or, in
// part, later. What is judged before it counts (--since) is read whole.
func readFeeds(cmd *cobra.Command, c chosen, feeds []string, age time.Duration, whole, without bool, o *solve.Options) (err error) {
	if err := c.warn(cmd, o.Now); err != nil {
		return err
	}
	o.Feeds, o.Held, err = c.sets(cmd.Context(), o.Now, func(format string, args ...any) { say(o.Progress, format, args...) })
	if err != nil {
		return err
	}
	feeds = slices.DeleteFunc(slices.Clone(feeds), func(source string) bool { return slices.Contains(c.names, source) }) // read from the depot
	read := func(wanted func(advisory.Subject) bool) (out []advisory.Set, err error) {
		for _, source := range feeds {
			fmt.Fprintln(o.Progress, "read feed", clean(shown(source)))
			set, err := feed.Read(cmd.Context(), source, feed.Options{Now: o.Now, Wanted: wanted})
			if without && errors.Is(err, feed.ErrUnusable) && there(source) {
				set, err = nothing(source, o.Now, err), nil
			}
			if err != nil {
				return nil, coded(err)
			}
			set.Snapshot = set.Snapshot.Aged(o.Now.Unix(), int64(age/time.Second))
			out = append(out, set)
		}
		return out, nil
	}
	if !whole && len(feeds) > 0 && !cmd.Flags().Changed("since") {
		o.More = read
		return readSince(cmd, nil, age, o)
	}
	sets, err := read(nil)
	if err != nil {
		return err
	}
	var places []int
	for _, set := range sets {
		places, o.Feeds = append(places, len(o.Feeds)), append(o.Feeds, set)
	}
	return readSince(cmd, places, age, o)
}

// there reports whether a source may exist. One that does not is a slip of who typed
// it, and nothing is answered.
func there(source string) bool {
	_, err := os.Stat(source)
	return strings.Contains(source, "://") || !errors.Is(err, fs.ErrNotExist)
}

// nothing is what was read of a feed that could not be used: the other feeds answer,
// and no answer is clean.
func nothing(source string, now time.Time, err error) advisory.Set {
	return advisory.Set{Snapshot: advisory.Snapshot{Name: filepath.Base(shown(source)), Kind: "none", Source: shown(source), Fetched: now.Unix(), Scope: []advisory.Subject{},
		Partial: []advisory.Gap{{Why: canon.NoteOf(string(depot.CodeUnusable) + ": " + plainly(err))}}}}
}

// plainly is what made a feed unusable, without the words for which the code stands.
func plainly(err error) string {
	return strings.Replace(err.Error(), feed.ErrUnusable.Error()+": ", "", 1)
}

// coded gives a feed that cannot be used its code; what was asked for was not done.
func coded(err error) error {
	if !errors.Is(err, feed.ErrUnusable) && !errors.Is(err, document.ErrUnusable) {
		return err
	}
	return exit{code: exitFailure, cause: refusal.New(depot.CodeUnusable, "%s", plainly(err))}
}

// shown is an address without credentials, for progress.
func shown(feed string) string {
	if scheme, rest, ok := strings.Cut(feed, "://"); ok {
		if host, path, _ := strings.Cut(rest, "/"); strings.Contains(host, "@") {
			return scheme + "://" + host[strings.LastIndex(host, "@")+1:] + "/" + path
		}
	}
	return feed
}

// sourcesOf reads ORIGIN=URL,SUITE and binds each to its origin and keyring.
func sourcesOf(root trust.Root, flags []string) ([]solve.Source, error) {
	out := []solve.Source{}
	for _, flag := range flags {
		id, rest, ok := strings.Cut(flag, "=")
		comma := strings.LastIndex(rest, ",")
		if !ok || comma < 0 {
			return nil, usagef("--source takes ORIGIN=URL,SUITE, not %q", flag)
		}
		origin, ok := root.Origin(change.Origin(id))
		if !ok {
			return nil, usagef("the trust root knows no origin %q", id)
		}
		out = append(out, solve.Source{Origin: origin, Keyring: root.Keyrings[origin.Keyring], URL: rest[:comma], Suite: rest[comma+1:]})
	}
	return out, nil
}

// poolDir is --pool, else a directory in the user's cache.
func poolDir(cmd *cobra.Command) (string, error) {
	dir, err := cmd.Flags().GetString("pool")
	if err != nil || dir != "" {
		return dir, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", usagef("there is no cache directory for what is fetched (%v): give one with --pool", err)
	}
	return filepath.Join(cache, "patchwrit", "pool"), nil
}

// scanReport is what a scan says, for people and machines.
type scanReport struct {
	OS        inventory.OS        `json:"os"`
	Findings  []scanFinding       `json:"findings"`
	Gaps      []match.Reason      `json:"gaps"` // what could not be asked or learned
	Snapshots []advisory.Snapshot `json:"snapshots"`
	Affected  int                 `json:"affected"`
	Unknown   int                 `json:"unknown"`
	Held      []solve.Held        `json:"quarantine,omitempty"` // records that do not count: of the depot, or with --since
	Deadlines *basis              `json:"deadlines,omitempty"`  // when asked for
	Kernel    *match.Kernel       `json:"kernel,omitempty"`     // where the system has one of its own
	Bill      *billReport         `json:"bill,omitempty"`       // with --sbom: what became of its components

	purls map[[2]string]string // of libraries, by name and version
}

func newScanReport(s looked) scanReport {
	r := scanReport{OS: s.Inventory.OS, Findings: []scanFinding{}, Gaps: []match.Reason{}, Snapshots: s.Index.Snapshots(), Held: s.Held,
		Kernel: match.KernelOf(s.Inventory.Kernel, s.build, s.own), Bill: newBillReport(s.bill), purls: purls(s.bill)}
	if g, ok := r.Kernel.Gap(); ok {
		r.Gaps = append(r.Gaps, g)
	}
	for _, f := range s.Findings {
		switch {
		case f.Advisory == "" && f.Package == "":
			r.Gaps = append(r.Gaps, f.Reason)
			continue
		case f.State == match.Affected:
			r.Affected++
		default:
			r.Unknown++
		}
		r.Findings = append(r.Findings, scanFinding{Finding: f, Runs: r.Kernel.Runs(&f)})
	}
	return r
}

// verdict is the exit code: findings before gaps, both before clean.
func (r scanReport) verdict(failOn string) error {
	switch {
	case r.Affected > 0 && failOn == "affected":
		return exit{code: exitFindings}
	case r.Unknown > 0 || len(r.Gaps) > 0 || r.concerned():
		return exit{code: exitPartial}
	}
	return nil
}

func (r scanReport) write(w io.Writer, format string) error {
	r.mark()
	if done, err := r.special(w, format); done {
		return err
	}
	if format == "json" {
		all := slices.Values(r.Findings)
		r.Findings = []scanFinding{}
		return streamed(w, true, r, "findings", 1, all)
	}
	if err := r.table(w); err != nil {
		return err
	}
	for _, g := range r.Gaps {
		fmt.Fprintf(w, "unknown: %s (%s)\n", g.Text, g.Code)
	}
	if err := r.heldTable(w); err != nil {
		return err
	}
	if text := r.Kernel.Sentence(); text != "" {
		fmt.Fprintln(w, text)
	}
	if r.Bill != nil {
		r.Bill.table(w)
	}
	system := strings.TrimSpace(r.OS.ID + " " + r.OS.VersionID)
	_, err := fmt.Fprintf(w, "%s: %d affected, %d unknown, %d gaps, %d feeds\n", cmp.Or(system, "no system"), r.Affected, r.Unknown, len(r.Gaps), len(r.Snapshots))
	return err
}

// table writes one line for each finding.
func (r scanReport) table(w io.Writer) error {
	if r.Deadlines != nil {
		return r.Deadlines.table(w, r.Findings)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Findings) > 0 {
		fmt.Fprintln(t, "ADVISORY\tPACKAGE\tINSTALLED\tFIXED\tSTATE\tWHY")
	}
	for _, f := range r.Findings {
		fixed := f.Fixed
		if fixed == "" {
			fixed = "-"
		}
		fmt.Fprintf(t, "%s\t%s:%s\t%s\t%s\t%s\t%s\n", f.Advisory, f.Package, f.Arch, f.Version, fixed, f.State, f.Why(f.Runs))
	}
	return t.Flush()
}
