package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/epss"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/priority"
)

// addPriorityFlags adds what deadlines are made from.
func addPriorityFlags(cmd *cobra.Command) {
	cmd.Flags().String("kev", "", "CISA's catalogue of known exploited vulnerabilities, JSON or JSON.gz")
	cmd.Flags().String("epss", "", "FIRST's EPSS scores, CSV or CSV.gz; they order findings inside a deadline class")
	cmd.Flags().String("exposed", "unknown", "whether the public reaches this system: yes, no or unknown")
}

// judge gives findings their deadlines.
type judge struct {
	rules   priority.Rules
	exposed priority.Answer
	kev     *kev.Catalogue // nil: not given
	epss    *epss.Scores   // nil: not given
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
	if known == (facts{}) && !f.Changed("kev") && !f.Changed("epss") && !f.Changed("exposed") {
		return nil, nil
	}
	j := &judge{kev: known.kev, epss: known.epss}
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
	age, err := f.GetDuration("max-age")
	if err != nil {
		return nil, err
	}
	limit := int64(age / time.Second)
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

// readFlag opens the file that a flag names and reads it.
func readFlag[T any](cmd *cobra.Command, flag string, read func(in io.Reader, source string) (T, error)) (out T, err error) {
	name, err := cmd.Flags().GetString(flag)
	if err != nil {
		return out, err
	}
	f, err := os.Open(name)
	if err != nil {
		return out, fmt.Errorf("--%s: %w", flag, err)
	}
	defer f.Close()
	if out, err = read(f, name); err != nil {
		return out, fmt.Errorf("--%s %s: %w", flag, name, err)
	}
	return out, nil
}

// urgency is what a scan says on one affected finding's deadline.
type urgency struct {
	priority.Deadline
	Rule    string        `json:"rule"`    // in words
	Why     []string      `json:"why"`     // one sentence for each input
	CVEs    []string      `json:"cves"`    // what was looked up; ascending
	KEV     []kev.Entry   `json:"kev"`     // of these, what CISA lists
	EPSS    *float64      `json:"epss"`    // the highest probability of theirs; null: unscored
	EPSSOf  string        `json:"epss_of"` // the CVE that has it
	measure priority.Work // its place in the order
}

var cveName = regexp.MustCompile(`^(?:[A-Z]+-)?(CVE-[0-9]{4}-[0-9]{4,19})$`)

// cvesOf gives the CVE ids among a finding's names. Distributions put their own
// name before one (DEBIAN-CVE-2026-0001).
func cvesOf(f match.Finding) []string {
	var out []string
	for _, name := range append([]string{f.Advisory}, f.Aliases...) {
		if m := cveName.FindStringSubmatch(name); m != nil {
			out = append(out, m[1])
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// of decides one finding. A record that covers several CVEs is as urgent as the
// worst of them.
func (j *judge) of(f match.Finding) *urgency {
	d := &urgency{CVEs: cvesOf(f), KEV: []kev.Entry{}}
	if d.CVEs == nil {
		d.CVEs = []string{}
	}
	facts := priority.Facts{Exposed: j.exposed, KEV: j.listed(d)}
	d.Deadline = j.rules.Decide(facts)
	d.Rule = ruleOf(d.Class)
	for _, in := range d.Decision.Inputs {
		d.Why = append(d.Why, j.why(in, d))
	}
	d.measure = priority.Work{ID: f.Advisory + " " + f.Package + ":" + f.Arch, Rank: d.Class.Rank}
	if j.epss == nil {
		return d
	}
	for _, cve := range d.CVEs {
		if s, ok := j.epss.Of(cve); ok && (d.EPSS == nil || int(s.EPSS) > d.measure.EPSS.Value) {
			share := float64(s.EPSS) / epss.PPM
			d.EPSS, d.EPSSOf, d.measure.EPSS = &share, cve, priority.Measure{Known: true, Value: int(s.EPSS)}
		}
	}
	return d
}

// listed looks a finding's CVEs up and keeps the entries.
func (j *judge) listed(d *urgency) priority.Answer {
	if j.kev == nil || len(d.CVEs) == 0 {
		return priority.Unknown
	}
	answer := priority.No
	for _, cve := range d.CVEs {
		switch e, l := j.kev.Lookup(cve); {
		case l == kev.Listed:
			d.KEV, answer = append(d.KEV, e), priority.Yes
		case l == kev.Unknown && answer == priority.No:
			answer = priority.Unknown
		}
	}
	return answer
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

// why is one sentence on one input, with what another value would give.
func (j *judge) why(in priority.Input, d *urgency) string {
	if in.Known {
		return fmt.Sprintf("%s: %s", in.Name, in.Means)
	}
	reason := "no source of it was given"
	switch {
	case in.Point == priority.PointKEV && j.kev != nil && len(d.CVEs) == 0:
		reason = "the record names no CVE"
	case in.Point == priority.PointKEV && j.kev != nil:
		reason = "the catalogue is partial or stale, so that absence from it says nothing"
	case in.Point == priority.PointExposed:
		reason = "say --exposed yes or --exposed no"
	}
	would := []string{}
	for _, w := range d.Decision.Would {
		if w.Point == in.Point {
			would = append(would, fmt.Sprintf("%s would give %s", w.Means, w.Name))
		}
	}
	return fmt.Sprintf("%s: unknown, taken as %s (%s); %s", in.Name, in.Means, reason, strings.Join(would, ", "))
}

// scanFinding is a finding, with its deadline when one was asked for.
type scanFinding struct {
	match.Finding
	Priority *urgency `json:"priority,omitempty"`
}

// basis is what deadlines were made from.
type basis struct {
	Tables  []tableUsed         `json:"tables"`
	Exposed string              `json:"exposed"`
	Sources []advisory.Snapshot `json:"sources"` // KEV, EPSS
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
	for _, s := range b.Sources {
		if n := len(s.Partial); n > 0 {
			g := s.Partial[0]
			r.Gaps = append(r.Gaps, match.Reason{Code: match.FeedPartial,
				Text: fmt.Sprintf("Feed %+q from %+q could not be read whole (%d gaps; the first: %+q %s).", s.Name, s.Source, n, g.Record, g.Why)})
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
// reasons once, with the findings that it holds for.
func (b *basis) table(w io.Writer, findings []scanFinding) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(findings) > 0 {
		fmt.Fprintln(t, "DEADLINE\tKEV\tEPSS\tADVISORY\tPACKAGE\tINSTALLED\tFIXED\tSTATE\tWHY")
	}
	order, count, first := []string{}, map[string]int{}, map[string]*urgency{}
	for _, f := range findings {
		class, listed, score := "-", "-", "-"
		if p := f.Priority; p != nil {
			class, listed = p.Class.Name, "?"
			if in := p.Decision.Inputs[0]; in.Known {
				listed = strings.ToLower(in.Means)
			}
			if p.EPSS != nil {
				score = fmt.Sprintf("%.5f", *p.EPSS)
			}
			key := p.Class.Key + strings.Join(p.Why, "\n")
			if count[key]++; first[key] == nil {
				order, first[key] = append(order, key), p
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s:%s\t%s\t%s\t%s\t%s\n", class, listed, score, f.Advisory, f.Package, f.Arch, f.Version, cmp.Or(f.Fixed, "-"), f.State, f.Reason.Code)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, key := range order {
		p := first[key]
		fmt.Fprintf(w, "%s (%d findings): %s\n", p.Class.Name, count[key], p.Rule)
		for _, why := range p.Why {
			fmt.Fprintf(w, "  %s\n", why)
		}
		fmt.Fprintf(w, "  SSVC's deployer tree, from the same facts: %s\n", p.SSVC.Name)
	}
	return nil
}
