package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/feed"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/epss"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/feed/nvd"
)

func init() { verbs = append(verbs, adviceCmd) }

func adviceCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "advice", Short: "see what a model would be asked about a plan, and judge what it answers"}
	cmd.AddCommand(adviceRequestCmd(), adviceAskCmd(), adviceCheckCmd(), adviceShowCmd(), adviceFiguresCmd())
	return cmd
}

func adviceRequestCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "request",
		Short: "show exactly what an adviser would be sent about a plan",
		Long: "Request builds the dossier of a plan file: numbered evidence from the plan and from the records of --feed, --kev, --epss and --cve\n" +
			"that its changes answer, from an allow-list of fields (docs/ADVICE.md). Nothing is sent. -o json is the request byte for byte, with the JSON Schema\n" +
			"of an answer; -o dossier is the dossier alone. Without --feed the depot's feeds are read.\n" +
			"With the digest of a plan, or its beginning, it is what the control plane sent about it, or, where it asked nobody yet, what it would send now.\n\n" +
			"Exit codes: 0 written, 5 the plan file does not open, 6 written, and a feed could not be read whole.",
		Example: "  patchwrit advice request --plan plan.json --feed Debian.zip --kev known_exploited_vulnerabilities.json\n" +
			"  patchwrit advice request --plan plan.json --feed Debian.zip -o json > request.json",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := output(cmd, "table", "json", "dossier")
			if err != nil {
				return err
			}
			d, asked, err := dossierOfServer(cmd)
			gaps := []string{}
			if err == nil && !asked {
				d, gaps, err = buildDossier(cmd, time.Now())
			}
			if err != nil {
				return err
			}
			switch format {
			case "json":
				err = writeFile(cmd, "", advice.Request(d))
			case "dossier":
				err = writeFile(cmd, "", d.Bytes())
			default:
				err = showDossier(cmd.OutOrStdout(), d)
			}
			if err == nil && len(gaps) > 0 {
				err = exit{exitPartial, errors.New(strings.Join(gaps, "; "))}
			}
			return err
		},
	}
	addDossierFlags(cmd)
	cmd.Flags().StringP("output", "o", "table", "table, json (the request), or dossier")
	return cmd
}

// addDossierFlags are what buildDossier reads.
func addDossierFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	addServerFlags(cmd)
	f.String("plan", "", "plan file, as patchwrit plan writes it; or a plan's digest (or the beginning of it) at the control plane")
	f.StringArray("feed", nil, "vulnerability feed: file, zip, directory, URL, or the name of one in the depot (repeatable; default: all of the depot)")
	addDepotFlag(cmd)
	f.String("kev", "", "CISA's catalogue of known exploited vulnerabilities: file or URL")
	f.String("epss", "", "FIRST's EPSS scores: file or URL")
	f.StringArray("cve", nil, "CVE records (JSON 5) or pages of NVD's API 2.0: file, zip, directory or URL (repeatable)")
	f.Duration("max-age", 14*24*time.Hour, "a feed whose newest record is older is told of")
	f.BoolP("quiet", "q", false, "tell no progress")
}

// buildDossier reads the plan and what the flags name about it, and says what
// could not be read whole.
func buildDossier(cmd *cobra.Command, now time.Time) (d advice.Dossier, gaps []string, err error) {
	name, _ := cmd.Flags().GetString("plan")
	if name == "" {
		return d, nil, usagef("say which plan: --plan FILE")
	}
	m := advice.Material{}
	if m.Plan, err = planFile(name); err != nil {
		return d, nil, err
	}
	c, err := choose(cmd)
	if err != nil {
		return d, nil, err
	}
	age, err := maxAge(cmd)
	if err != nil {
		return d, nil, err
	}
	if m.Sets, err = adviceSets(cmd, c, advice.Subjects(m.Plan), now); err != nil {
		return d, nil, err
	}
	r := adviceReading{Material: &m, limit: int64(age / time.Second), now: now, cves: advice.CVEs(advice.Records(m.Plan, m.Sets))}
	for _, s := range m.Sets {
		r.gap(s.Snapshot)
	}
	if err := r.facts(cmd, c); err != nil {
		return d, nil, err
	}
	d, err = advice.Build(m)
	return d, r.gaps, err
}

// adviceSets reads, of the chosen feeds, what is about the plan's packages.
func adviceSets(cmd *cobra.Command, c chosen, subjects map[string]bool, now time.Time) ([]advisory.Set, error) {
	progress := cmd.ErrOrStderr()
	if quiet, _ := cmd.Flags().GetBool("quiet"); quiet {
		progress = io.Discard
	}
	out, _, err := c.sets(cmd.Context(), now, func(format string, args ...any) { say(progress, format, args...) })
	if err != nil {
		return nil, err
	}
	given, err := cmd.Flags().GetStringArray("feed")
	if err != nil {
		return nil, err
	}
	taken := map[string]bool{}
	for _, name := range c.names {
		taken[name] = true
	}
	for _, source := range given {
		if taken[source] {
			continue
		}
		fmt.Fprintln(progress, "read feed", clean(shown(source)))
		set, err := feed.Read(cmd.Context(), source, feed.Options{Now: now, Wanted: func(s advisory.Subject) bool { return subjects[s.Package] }})
		if err != nil {
			return nil, err
		}
		out = append(out, set)
	}
	if len(out) == 0 {
		return nil, usagef("say where records come from: --feed PATH|URL|NAME, or fill the depot (patchwrit feed update)")
	}
	return out, nil
}

// adviceReading gathers facts about the CVEs of a plan.
type adviceReading struct {
	*advice.Material
	limit int64 // seconds
	now   time.Time
	cves  []string
	gaps  []string
}

func (r *adviceReading) gap(s advisory.Snapshot) {
	if s = s.Aged(r.now.Unix(), r.limit); len(s.Partial) > 0 {
		r.gaps = append(r.gaps, fmt.Sprintf("feed %+q from %+q could not be read whole (%s)", s.Name, s.Source, s.Gaps()))
	}
}

func (r *adviceReading) facts(cmd *cobra.Command, c chosen) error {
	known, err := c.facts(cmd.Context(), r.now)
	if err != nil {
		return err
	}
	if cmd.Flags().Changed("kev") {
		k, err := readFlag(cmd, "kev", func(in io.Reader, source string) (kev.Catalogue, error) {
			return kev.Read(in, kev.Options{Source: source, Now: r.now})
		})
		if err != nil {
			return err
		}
		known.kev = &k
	}
	if cmd.Flags().Changed("epss") {
		s, err := readFlag(cmd, "epss", func(in io.Reader, source string) (epss.Scores, error) {
			return epss.Read(in, epss.Options{Source: source, Now: r.now})
		})
		if err != nil {
			return err
		}
		known.epss = &s
	}
	r.lists(known)
	wanted := map[string]bool{}
	for _, id := range r.cves {
		wanted[id] = true
	}
	return r.books(cmd, known.cve, func(id string) bool { return wanted[id] })
}

// lists takes from KEV and EPSS what they say of the plan's CVEs.
func (r *adviceReading) lists(known facts) {
	if known.kev != nil {
		r.gap(known.kev.Snapshot)
		r.KEV = &advice.Catalogue{Version: known.kev.Version, AsOf: known.kev.Snapshot.Newest, Digest: known.kev.Snapshot.Digest, Listed: map[string]bool{}}
		for _, id := range r.cves {
			if _, l := known.kev.Lookup(id); l != kev.Unknown {
				r.KEV.Listed[id] = l == kev.Listed
			}
		}
	}
	if known.epss != nil {
		r.gap(known.epss.Snapshot)
		r.EPSS = &advice.Scores{Day: known.epss.Day, AsOf: known.epss.Snapshot.Newest, Digest: known.epss.Snapshot.Digest, Share: map[string]string{}}
		for _, id := range r.cves {
			if s, ok := known.epss.Of(id); ok {
				r.EPSS.Share[id] = s.Share()
			}
		}
	}
}

// books reads the CVE records of the depot and of --cve.
func (r *adviceReading) books(cmd *cobra.Command, kept chosen, wanted func(string) bool) error {
	list, _, err := kept.books(cmd.Context(), r.now, wanted)
	if err != nil {
		return err
	}
	given, err := cmd.Flags().GetStringArray("cve")
	if err != nil {
		return err
	}
	for _, source := range given {
		b, err := feed.Facts(cmd.Context(), source, feed.Options{Now: r.now}, wanted)
		if err != nil {
			return fmt.Errorf("--cve: %w", err)
		}
		list = append(list, b)
	}
	for _, b := range list {
		r.gap(b.Snapshot)
		for _, x := range b.Records {
			r.Spoke = append(r.Spoke, spokenOf(x, b.Snapshot))
		}
	}
	return nil
}

func spokenOf(x cve.Record, from advisory.Snapshot) advice.Spoken {
	s := advice.Spoken{CVE: x.CVE, Rejected: x.Rejected, NVD: from.Name == nvd.Name, AsOf: min(from.Fetched, from.Newest), Digest: x.Raw}
	for _, c := range x.Claims {
		s.Points = append(s.Points, advice.Point{Source: c.Source, Name: string(c.Point), Value: c.Value})
	}
	for _, c := range x.Scores {
		s.Scores = append(s.Scores, advice.Score{Source: c.Source, Version: c.Version, Vector: c.Vector, Tenths: c.Tenths})
	}
	return s
}

// showDossier shows a person what an adviser would read.
func showDossier(w io.Writer, d advice.Dossier) error {
	t := &rows{head: []string{"EVIDENCE", "CHANNEL", "AUTHORITY", "SOURCE", "RECORD", "AS OF"}}
	for _, e := range d.Evidence {
		t.add(e.ID, string(e.Channel), string(e.Authority), e.Source, e.Record, when(e.AsOf))
	}
	if err := t.write(w); err != nil {
		return err
	}
	for _, e := range d.Evidence {
		says := []string{"untrusted: " + e.Text}
		if e.Channel != advice.Untrusted {
			says = says[:0]
			for _, f := range e.Facts {
				says = append(says, f.String())
			}
		}
		for _, line := range says {
			if err := say(w, "%s %s", e.ID, line); err != nil {
				return err
			}
		}
	}
	for _, e := range d.Edges {
		if err := say(w, "%s goes before %s", e.Before, e.After); err != nil {
			return err
		}
	}
	return say(w, "dossier %s of plan %s: %d pieces of evidence, %d items, %d edges, a request of %d bytes; -o json shows it", d.Digest(), d.Plan.Short(),
		len(d.Evidence), len(d.Items), len(d.Edges), len(advice.Request(d)))
}

func adviceCheckCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "judge an answer by its dossier, claim by claim, offline",
		Long: "Check judges what an adviser, or anybody, answered to a request: each claim by the evidence that it cites, the proposal,\n" +
			"and each sentence of the narrative (docs/ADVICE.md). It asks no model and no network: the same files and the same --at give the same report.\n" +
			"What is accepted permits nothing; it can only hold a plan, bring it before people, or order changes of one class.\n\n" +
			"Exit codes: 0 every claim is verified and nothing was rejected, or the answer abstains; 3 a claim is not verified, the proposal was rejected or\n" +
			"a sentence was dropped; 5 the dossier does not open, or the answer is none or is about another dossier.",
		Example: "  patchwrit advice check --dossier request.json --answer answer.json\n" +
			"  patchwrit advice check --dossier request.json --answer answer.json --at 2026-11-28T12:00:00Z -o json",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := checkAnswer(cmd)
			if err != nil {
				return err
			}
			if err := present(cmd, r, reportView(r)); err != nil {
				return err
			}
			switch {
			case r.Foreign:
				return exit{exitIntegrity, errors.New("the answer is about another dossier: nothing of it holds")}
			case !r.Holds():
				return exit{code: exitFindings}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.String("dossier", "", "the request (advice request -o json), or the dossier alone")
	f.String("answer", "", "what was answered: JSON of the request's schema")
	f.String("at", "", "judge as of this time, as 2026-01-31T08:00:00Z (default: now)")
	f.Duration("max-age", 14*24*time.Hour, "records, KEV and EPSS that are older support no claim")
	addFormatFlag(cmd)
	return cmd
}

func checkAnswer(cmd *cobra.Command) (r advice.Report, err error) {
	f := cmd.Flags()
	name, _ := f.GetString("dossier")
	answer, _ := f.GetString("answer")
	if name == "" || answer == "" {
		return r, usagef("say what is judged by what: --dossier FILE --answer FILE")
	}
	at, limits, err := judgedAt(cmd)
	if err != nil {
		return r, err
	}
	raw, err := readFile(name)
	if err != nil {
		return r, err
	}
	d, err := advice.ReadRequest(raw)
	if err != nil {
		return r, exit{exitIntegrity, fmt.Errorf("%s: %w", name, err)}
	}
	if raw, err = readFile(answer); err != nil {
		return r, err
	}
	a, err := advice.ParseAnswer(raw)
	if err != nil {
		return r, exit{exitIntegrity, fmt.Errorf("%s: %w", answer, err)}
	}
	return advice.Verify(d, a, at.Unix(), limits), nil
}

// judgedAt reads --at and --max-age.
func judgedAt(cmd *cobra.Command) (at time.Time, limits advice.Ages, err error) {
	at, limits = time.Now(), advice.Days14
	if text, _ := cmd.Flags().GetString("at"); text != "" {
		if at, err = time.Parse(time.RFC3339, text); err != nil {
			return at, limits, usagef("--at takes a time like 2026-01-31T08:00:00Z, not %q", text)
		}
	}
	age, err := maxAge(cmd)
	limits.Records, limits.KEV, limits.EPSS = int64(age/time.Second), int64(age/time.Second), int64(age/time.Second)
	return at, limits, err
}

// reportView shows a report to a person.
type reportView advice.Report

func (v reportView) write(w io.Writer) error {
	r := advice.Report(v)
	if len(r.Claims) > 0 {
		t := &rows{head: []string{"CLAIM", "VERDICT", "SAYS", "WHY"}}
		for _, j := range r.Claims {
			t.add(string(j.ID), string(j.Verdict), string(j.Claim), string(j.Reason))
		}
		if err := t.write(w); err != nil {
			return err
		}
	}
	if r.Abstained {
		if err := say(w, "the adviser abstains"); err != nil {
			return err
		}
	}
	stands := "rejected, as if there were no advice"
	if r.Proposal.Stands {
		stands = "stands"
	}
	err := say(w, "proposal %s: %s. %s", r.Proposal.Action, stands, r.Proposal.Reason)
	if err == nil && len(r.Proposal.Order) > 0 {
		err = say(w, "order of class %s: %s", r.Proposal.Class, strings.Join(r.Proposal.Order, ", "))
	}
	for _, s := range r.Sentences {
		line := "  " + string(s.Text)
		if !s.Kept {
			line = fmt.Sprintf("  dropped: %s (%s)", strconv.Quote(string(s.Text)), s.Reason)
		}
		if err == nil {
			err = say(w, "%s", line)
		}
	}
	for _, u := range r.Unknowns {
		if err == nil {
			err = say(w, "unknown to the adviser: %s", u)
		}
	}
	counts := []string{}
	for _, verdict := range []advice.Verdict{advice.Verified, advice.Contradicted, advice.Unsupported, advice.Stale, advice.OutOfScope, advice.Malformed} {
		counts = append(counts, fmt.Sprintf("%s %d", verdict, r.Count(verdict)))
	}
	if err == nil {
		err = say(w, "claims: %s", strings.Join(counts, ", "))
	}
	return err
}
