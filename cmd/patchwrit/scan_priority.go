package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/epss"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/priority"
)

// addPriorityFlags adds what deadlines are made from.
func addPriorityFlags(cmd *cobra.Command) {
	cmd.Flags().String("kev", "", "CISA's catalogue of known exploited vulnerabilities, JSON or JSON.gz: file or URL")
	cmd.Flags().String("epss", "", "FIRST's EPSS scores, CSV or CSV.gz: file or URL; they order findings inside a deadline class")
	cmd.Flags().StringArray("cve", nil, "CVE records (JSON 5, with CISA's SSVC points and CVSS) or pages of NVD's API 2.0: file, zip, directory or URL (repeatable)")
	cmd.Flags().String("exposed", "unknown", "whether the public reaches this system: yes, no or unknown")
}

// judge gives findings their deadlines.
type judge struct {
	rules   priority.Rules
	exposed priority.Answer
	kev     *kev.Catalogue // nil: not given
	epss    *epss.Scores   // nil: not given
	from    []string       // of CVE records
	kept    chosen         // those of the depot
	held    []solve.Held   // entries of KEV, CVE records
	maxAge  int64          // seconds
	cve     []cve.Book     // what they say of the CVEs that findings name; see read
}

// newJudge reads the flags, the files they name, and what the chosen feeds of the
// depot tell. It is nil when neither asks for deadlines.
func newJudge(cmd *cobra.Command, now time.Time) (*judge, error) {
	f := cmd.Flags()
	c, err := choose(cmd)
	if err != nil {
		return nil, err
	}
	known, err := c.facts(cmd.Context(), now)
	if err != nil {
		return nil, err
	}
	if known.none() && !f.Changed("kev") && !f.Changed("epss") && !f.Changed("cve") && !f.Changed("exposed") {
		return nil, nil
	}
	j := &judge{kev: known.kev, epss: known.epss, kept: known.cve, held: known.held}
	switch word, _ := f.GetString("exposed"); word {
	case "yes", "no":
		j.exposed = priority.Answer(word)
	case "unknown":
	default:
		return nil, usagef("--exposed takes yes, no or unknown, not %q", word)
	}
	if j.rules, err = priority.Standard(); err != nil {
		return nil, err
	}
	age, err := maxAge(cmd)
	if err != nil {
		return nil, err
	}
	limit := int64(age / time.Second)
	j.maxAge = limit
	if j.from, err = f.GetStringArray("cve"); err != nil {
		return nil, err
	}
	if f.Changed("kev") {
		c, err := readFlag(cmd, "kev", func(in io.Reader, source string) (kev.Catalogue, error) {
			return kev.Read(in, kev.Options{Source: source, Now: now})
		})
		if err != nil {
			return nil, err
		}
		c.Snapshot = c.Snapshot.Aged(now.Unix(), limit)
		j.kev = &c
	}
	if f.Changed("epss") {
		s, err := readFlag(cmd, "epss", func(in io.Reader, source string) (epss.Scores, error) {
			return epss.Read(in, epss.Options{Source: source, Now: now})
		})
		if err != nil {
			return nil, err
		}
		s.Snapshot = s.Snapshot.Aged(now.Unix(), limit)
		j.epss = &s
	}
	return j, nil
}

// readFlag opens the file or URL that a flag names and reads it.
func readFlag[T any](cmd *cobra.Command, flag string, read func(in io.Reader, source string) (T, error)) (out T, err error) {
	name, err := cmd.Flags().GetString(flag)
	if err != nil {
		return out, err
	}
	f, name, err := feed.Open(cmd.Context(), name, feed.Options{Now: time.Now()})
	if err != nil {
		return out, fmt.Errorf("--%s: %w", flag, err)
	}
	defer f.Close()
	if out, err = read(f, name); err != nil {
		return out, fmt.Errorf("--%s %s: %w", flag, name, err)
	}
	return out, nil
}

// read reads, of the CVE records, those that the affected findings name.
func (j *judge) read(ctx context.Context, r *scanReport, now time.Time) error {
	wanted := map[string]bool{}
	for _, f := range r.Findings {
		if f.State == match.Affected {
			for _, name := range f.CVEs() {
				wanted[name] = true
			}
		}
	}
	if len(j.kept.names) > 0 {
		kept, held, err := j.kept.books(ctx, now, func(name string) bool { return wanted[name] })
		if err != nil {
			return err
		}
		j.cve, j.held = append(j.cve, kept...), append(j.held, held...)
	}
	for _, source := range j.from {
		b, err := feed.Facts(ctx, source, feed.Options{Now: now}, func(name string) bool { return wanted[name] })
		if err != nil {
			return fmt.Errorf("--cve: %w", err)
		}
		b.Snapshot = b.Snapshot.Aged(now.Unix(), j.maxAge)
		j.cve = append(j.cve, b)
	}
	return nil
}

// urgency is what a scan says on one affected finding's deadline.
type urgency struct {
	priority.Deadline
	Rule    string        `json:"rule"`       // in words
	Why     []string      `json:"why"`        // one sentence for each input
	CVEs    []string      `json:"cves"`       // what was looked up; ascending
	Of      string        `json:"decided_by"` // the CVE whose facts decided: of several that with the strictest class; "" where there is none
	KEV     []kev.Entry   `json:"kev"`        // of these, what CISA lists
	Facts   []cve.Facts   `json:"facts"`      // what CVE records say of each, with sources and times
	EPSS    *float64      `json:"epss"`       // the highest probability of theirs; null: unscored
	EPSSOf  string        `json:"epss_of"`    // the CVE that has it
	CVSS    *cve.Score    `json:"cvss"`       // the highest of theirs, of each the one with most authority; null: unscored
	measure priority.Work // its place in the order
	said    []said        // as Why, for groups
}

// said is why, without the time, and when it was said; 0: no time.
type said struct {
	text     string
	from, to int64
}

// of decides one finding. A record that covers several CVEs is as urgent as the
// worst of them: each is decided by its own facts alone.
func (j *judge) of(f match.Finding) *urgency {
	d := &urgency{CVEs: f.CVEs(), KEV: []kev.Entry{}, Facts: []cve.Facts{}}
	d.measure = priority.Work{ID: f.Advisory + " " + f.Package + ":" + f.Arch}
	var facts cve.Facts
	if len(d.CVEs) == 0 {
		facts = cve.Settle("")
		d.Deadline = j.rules.Decide(j.factsOf(d, facts))
	}
	for i, name := range d.CVEs {
		x := cve.Settle(name, j.cve...)
		if x.Known {
			d.Facts = append(d.Facts, x)
		}
		if one := j.rules.Decide(j.factsOf(d, x)); i == 0 || stricter(one, d.Deadline) {
			d.Deadline, d.Of, facts = one, name, x
		}
		j.measure(d, x)
	}
	d.measure.Rank = d.Class.Rank
	d.Rule = ruleOf(d.Class)
	for _, in := range d.Decision.Inputs {
		d.said = append(d.said, j.why(in, d, facts))
	}
	for _, s := range d.said {
		d.Why = append(d.Why, s.String())
	}
	return d
}

// stricter reports whether a counts before b: by class, then whoever is known to
// be exploited, then by SSVC's own advice.
func stricter(a, b priority.Deadline) bool {
	listed := func(d priority.Deadline) int {
		if in := d.Decision.Inputs[0]; in.Point == priority.PointKEV && in.Known && in.Value == "Y" {
			return 1
		}
		return 0
	}
	return cmp.Or(a.Class.Rank-b.Class.Rank, listed(a)-listed(b)) > 0
}

// factsOf gives what is known of one CVE to the rules.
func (j *judge) factsOf(d *urgency, x cve.Facts) priority.Facts {
	return priority.Facts{Exposed: j.exposed, KEV: j.listed(d, x.CVE), Automatable: ssvc[x.Automatable.Value],
		Total: ssvc[x.Impact.Value], Exploited: priority.Exploitation(x.Exploitation.Value)}
}

// measure takes the scores of one CVE where they are higher than those before.
func (j *judge) measure(d *urgency, x cve.Facts) {
	if x.Score != nil && (d.CVSS == nil || x.Score.Tenths > d.CVSS.Tenths) {
		d.CVSS, d.measure.CVSS = x.Score, priority.Measure{Known: true, Value: x.Score.Tenths}
	}
	if j.epss == nil {
		return
	}
	if s, ok := j.epss.Of(x.CVE); ok && (d.EPSS == nil || int(s.EPSS) > d.measure.EPSS.Value) {
		share := float64(s.EPSS) / epss.PPM
		d.EPSS, d.EPSSOf, d.measure.EPSS = &share, x.CVE, priority.Measure{Known: true, Value: int(s.EPSS)}
	}
}

// listed looks a CVE up and keeps its entry.
func (j *judge) listed(d *urgency, name string) priority.Answer {
	if j.kev == nil || name == "" {
		return priority.Unknown
	}
	switch e, l := j.kev.Lookup(name); l {
	case kev.Listed:
		d.KEV = append(d.KEV, e)
		return priority.Yes
	case kev.Unlisted:
		return priority.No
	}
	return priority.Unknown
}

// ruleOf says what a class demands.
func ruleOf(c priority.Class) string {
	rule := "with the next upgrade of the system"
	if c.Days > 0 {
		rule = fmt.Sprintf("effective within %d days of when the class first applied", c.Days)
	}
	if c.Next(nil) == priority.HoldForTriage {
		rule = "hold for triage first: look for a compromise before anything is changed; " + rule
	}
	return rule
}

// why is one sentence on one input: who says so, or why nobody does and what
// another value would give.
func (j *judge) why(in priority.Input, d *urgency, x cve.Facts) said {
	if in.Known {
		return j.speaker(in, x)
	}
	would := []string{}
	for _, w := range d.Decision.Would {
		if w.Point == in.Point {
			would = append(would, fmt.Sprintf("%s would give %s", w.Means, w.Name))
		}
	}
	return said{text: fmt.Sprintf("%s: unknown, taken as %s (%s); %s", in.Name, in.Means, j.silence(in, d, x), strings.Join(would, ", "))}
}

// speaker says whose word an input is.
func (j *judge) speaker(in priority.Input, x cve.Facts) said {
	s := said{text: fmt.Sprintf("%s: %s", in.Name, in.Means)}
	switch in.Point {
	case priority.PointKEV:
		s.text += fmt.Sprintf(" (CISA's catalogue %s)", cmp.Or(j.kev.Version, "of unknown version"))
		s.from, s.to = j.kev.Snapshot.Newest, j.kev.Snapshot.Newest
	case priority.PointExposed:
		s.text += " (--exposed)"
	case priority.PointAutomatable, priority.PointImpact:
		a := x.Automatable
		if in.Point == priority.PointImpact {
			a = x.Impact
		}
		c := a.Claims[0]
		s.text, s.from, s.to = s.text+" ("+c.Source, c.At, c.At
		if c.Via != "" {
			s.text += " by way of " + c.Via
		}
		if a.Disputed() {
			s.text += "; others say otherwise, and the stricter value counts"
		}
		s.text += ")"
	}
	return s
}

// silence says why nothing is known of an input.
func (j *judge) silence(in priority.Input, d *urgency, x cve.Facts) string {
	ssvc := in.Point == priority.PointAutomatable || in.Point == priority.PointImpact
	switch {
	case in.Point == priority.PointExposed:
		return "say --exposed yes or --exposed no"
	case ssvc && len(j.from)+len(j.kept.names) == 0 || in.Point == priority.PointKEV && j.kev == nil:
		return "no source of it was given"
	case len(d.CVEs) == 0:
		return "the record names no CVE"
	case in.Point == priority.PointKEV:
		return "the catalogue is partial or stale, so that absence from it says nothing"
	case x.Rejected:
		return "the CVE program has rejected the id"
	case x.Known:
		return "the CVE's record has no word on it"
	}
	return "no CVE record of it was found"
}

// String is the sentence with its time.
func (s said) String() string {
	day := func(at int64) string { return time.Unix(at, 0).UTC().Format("2006-01-02") }
	switch {
	case s.from == 0 && s.to == 0:
		return s.text
	case s.from == s.to:
		return s.text + ", as of " + time.Unix(s.from, 0).UTC().Format(time.RFC3339)
	case s.from == 0:
		return s.text + ", as of " + day(s.to) + " or without a time"
	}
	return s.text + ", as of " + day(s.from) + " to " + day(s.to)
}

// scanFinding is a finding, with its deadline when one was asked for.
type scanFinding struct {
	match.Finding
	Priority *urgency `json:"priority,omitempty"`
	Held     []string `json:"held,omitempty"` // records in quarantine that are about it: feed and id
	Runs     string   `json:"runs,omitempty"` // of a kernel: whether it is the one that runs, "yes" or "no"
}

// basis is what deadlines were made from.
type basis struct {
	Tables  []tableUsed         `json:"tables"`
	Exposed string              `json:"exposed"`
	Sources []advisory.Snapshot `json:"sources"` // KEV, EPSS, CVE records
	Version string              `json:"kev_version"`
	Model   string              `json:"epss_model"`
	Day     string              `json:"epss_day"`
}

type tableUsed struct {
	ID     string       `json:"id"`
	Digest canon.Digest `json:"digest"`
}

// apply gives every affected finding its deadline and orders all: affected ones
// first, as work is ordered, then the rest as they stood. Gaps of the catalogue
// and of the scores are gaps of the scan.
func (j *judge) apply(r *scanReport, now int64) {
	r.Held = append(r.Held, j.held...)
	b := &basis{Exposed: cmp.Or(string(j.exposed), "unknown"), Sources: []advisory.Snapshot{}}
	for _, t := range []priority.Table{j.rules.BOD, j.rules.Deployer} {
		b.Tables = append(b.Tables, tableUsed{t.ID, t.Digest})
	}
	if j.kev != nil {
		b.Version, b.Sources = j.kev.Version, append(b.Sources, j.kev.Snapshot)
	}
	if j.epss != nil {
		b.Model, b.Day, b.Sources = j.epss.Model, j.epss.Day, append(b.Sources, j.epss.Snapshot)
	}
	for _, book := range j.cve {
		b.Sources = append(b.Sources, book.Snapshot)
	}
	for _, s := range b.Sources {
		if len(s.Partial) > 0 {
			r.Gaps = append(r.Gaps, match.Reason{Code: match.FeedPartial, Text: fmt.Sprintf("Feed %+q from %+q could not be read whole (%s).", s.Name, s.Source, s.Gaps())})
		}
	}
	for i, f := range r.Findings {
		if f.State == match.Affected {
			r.Findings[i].Priority = j.of(f.Finding)
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b scanFinding) int {
		switch {
		case a.Priority != nil && b.Priority != nil:
			return priority.Compare(a.Priority.measure, b.Priority.measure, now)
		case a.Priority != nil:
			return -1
		case b.Priority != nil:
			return 1
		}
		return 0
	})
	r.Deadlines = b
}

// table writes the findings with their deadlines, and below them why: each set of
// reasons once, with the findings that it holds for and the times of what was
// said.
func (b *basis) table(w io.Writer, findings []scanFinding) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(findings) > 0 {
		fmt.Fprintln(t, "DEADLINE\tKEV\tEPSS\tCVSS\tADVISORY\tPACKAGE\tINSTALLED\tFIXED\tSTATE\tWHY")
	}
	order, groups := []string{}, map[string]*group{}
	for _, f := range findings {
		class, listed, score, cvss := "-", "-", "-", "-"
		if p := f.Priority; p != nil {
			class, listed = p.Class.Name, "?"
			if in := p.Decision.Inputs[0]; in.Known {
				listed = strings.ToLower(in.Means)
			}
			if p.EPSS != nil {
				score = fmt.Sprintf("%.5f", *p.EPSS)
			}
			if p.CVSS != nil {
				cvss = fmt.Sprintf("%d.%d", p.CVSS.Tenths/10, p.CVSS.Tenths%10)
			}
			key := p.group()
			if groups[key] == nil {
				order, groups[key] = append(order, key), &group{urgency: p, said: slices.Clone(p.said)}
			}
			groups[key].add(p)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s:%s\t%s\t%s\t%s\t%s\n", class, listed, score, cvss, f.Advisory, f.Package, f.Arch, f.Version, cmp.Or(f.Fixed, "-"), f.State, f.Why(f.Runs))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, key := range order {
		g := groups[key]
		fmt.Fprintf(w, "%s (%d findings): %s\n", g.Class.Name, g.count, g.Rule)
		for _, s := range g.said {
			fmt.Fprintf(w, "  %s\n", s)
		}
		fmt.Fprintf(w, "  SSVC's deployer tree, from the same facts: %s\n", g.SSVC.Name)
	}
	return nil
}

// group is the findings that have the same reasons.
type group struct {
	*urgency
	count int
	said  []said
}

// group is the name of the group that a finding is in.
func (d *urgency) group() string {
	key := d.Class.Key + "\n" + d.SSVC.Outcome
	for _, s := range d.said {
		key += "\n" + s.text
	}
	return key
}

// add counts a finding and widens the times to its own.
func (g *group) add(d *urgency) {
	g.count++
	for i, s := range d.said {
		g.said[i].from, g.said[i].to = min(g.said[i].from, s.from), max(g.said[i].to, s.to)
	}
}
