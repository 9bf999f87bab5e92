package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/epss"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/refusal/explain"
)

func feedQuarantineCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "see and release the records that do not count as they came",
		Long: "What a feed says anew is judged record by record before it counts. One that was withdrawn or vanished, whose fixed version\n" +
			"moved down or cannot be, whose severity jumped, that came in a flood, names a look-alike, or went back in time, is held: it\n" +
			"counts as it did before, or not at all when it is new. So is an entry of KEV or a CVE record (SSVC, CVSS) that says less than\n" +
			"what counts, and an EPSS score that collapses; what they say stricter counts at once (COUNTS then says in part). It is freed when a second vendor's or\n" +
			"distribution's feed (of facts: another speaker in another feed of CVE records) says the same, when a verified index carries the version, when\n" +
			"its source takes it back, or by a person's word.",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(quarantineLsCmd(), quarantineShowCmd(), quarantineReleaseCmd(), quarantineWordsCmd())
	return cmd
}

// heldRow is one held record in feed quarantine ls.
type heldRow struct {
	Feed string `json:"feed"`
	depot.Held
}

// quarantined lists what is held of one feed, or of all. each is also given the
// content as it came.
func quarantined(cmd *cobra.Command, only string) (list []heldRow, came map[string]depot.Content, err error) {
	d, err := openDepot(cmd)
	if err != nil {
		return nil, nil, err
	}
	names, err := d.Names()
	if err != nil {
		return nil, nil, err
	}
	if only != "" {
		names = []string{only}
	}
	list, came = []heldRow{}, map[string]depot.Content{}
	for _, name := range names {
		held, content, err := d.Holding(cmd.Context(), name, time.Now().Unix())
		if err != nil {
			return nil, nil, err
		}
		for _, h := range held {
			list = append(list, heldRow{name, h})
		}
		came[name] = content
	}
	return list, came, nil
}

func quarantineLsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls [FEED]",
		Short: "list what is held, why, and what to do next",
		Long: "With --server the control plane is asked what the depot holds that it reads.\n\n" +
			"Exit code 6: something is held.",
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := heldAnywhere(cmd, strings.Join(args, ""))
			if err != nil {
				return err
			}
			if err := present(cmd, list, heldTable(list)); err != nil || len(list) == 0 {
				return err
			}
			return exit{code: exitPartial}
		},
	}
	addDepotFlag(cmd)
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

// heldAnywhere asks the control plane that --server names, else the depot, for
// what is held of a feed; "" is all of them.
func heldAnywhere(cmd *cobra.Command, only string) ([]control.HeldRecord, error) {
	list := []control.HeldRecord{}
	another := func(h control.HeldRecord) bool { return only != "" && h.Feed != only }
	if cmd.Flags().Changed("server") {
		s, err := openServer(cmd)
		if err == nil {
			err = s.get(cmd.Context(), "quarantine?feed="+url.QueryEscape(only), &list)
		}
		return slices.DeleteFunc(list, another), err // one of the version before tells of all feeds
	}
	d, err := openDepot(cmd)
	if err != nil {
		return nil, err
	}
	names, err := d.Names()
	if err == nil && only != "" && !slices.Contains(names, only) {
		err = depot.Unknown(only, names)
	}
	if err != nil {
		return nil, err
	}
	more, err := heldIn(d)
	return append(list, slices.DeleteFunc(more, another)...), err
}

// heldTable is the list for people; below it stands for each reason what to do.
func heldTable(list []control.HeldRecord) tabular {
	t := &rows{head: []string{"FEED", "RECORD", "SINCE", "COUNTS", "CODE", "REASON"}}
	notes, met := feedNotes{table: t}, map[string]bool{}
	for _, h := range list {
		for _, r := range h.Reasons {
			t.add(h.Feed, h.ID, when(h.Since), counts(h.Held), string(r.Code), r.Text.Text())
			met[string(r.Code)] = true
		}
	}
	for _, e := range explain.All() {
		if met[string(e.Code)] {
			notes.lines = append(notes.lines, fmt.Sprintf("%s, next: %s", e.Code, e.Next))
		}
	}
	return notes
}

// counts says what counts instead of the form that came.
func counts(h depot.Held) string {
	switch {
	case h.Part:
		return "in part" // what did not fall counts as it came
	case h.Was == "":
		return "nothing yet"
	}
	return "as before"
}

// heldView is one held record with both forms.
type heldView struct {
	heldRow
	Came       *advisory.Advisory `json:"came,omitempty"`        // the form that came
	CameEntry  *kev.Entry         `json:"came_entry,omitempty"`  // likewise, of a KEV catalogue
	CameRecord *cve.Record        `json:"came_record,omitempty"` // of CVE records
	CameScore  *epss.Score        `json:"came_score,omitempty"`  // of EPSS
	Source     string             `json:"source"`                // where the snapshot came from
	Proof      string             `json:"proof"`                 // which pin or signature held; "": none
}

func quarantineShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show FEED RECORD",
		Short: "show a held record: as it counts, and beside it as it came",
		Args:  exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, came, err := quarantined(cmd, args[0])
			if err != nil {
				return err
			}
			d, err := openDepot(cmd)
			if err != nil {
				return err
			}
			f, _, err := d.Feed(args[0])
			if err != nil {
				return err
			}
			k, _ := f.InUse()
			views := []heldView{}
			for _, h := range list {
				if h.ID == args[1] {
					v := heldView{heldRow: h, Came: h.Held.Came, CameRecord: h.CameRecord, Source: k.Source, Proof: k.Proof.Text()}
					if c := came[args[0]].KEV; c != nil && h.Raw != "" {
						if e, l := c.Lookup(h.ID); l == kev.Listed {
							v.CameEntry = &e
						}
					}
					if c := came[args[0]].EPSS; c != nil && h.Raw != "" {
						if s, ok := c.Of(h.ID); ok {
							v.CameScore = &s
						}
					}
					views = append(views, v)
				}
			}
			if len(views) == 0 {
				return fmt.Errorf("feed %s: %w: %q; patchwrit feed quarantine ls lists what is", args[0], depot.ErrNotHeld, args[1])
			}
			return present(cmd, views, heldViews(views))
		},
	}
	addDepotFlag(cmd)
	addFormatFlag(cmd)
	return cmd
}

type heldViews []heldView

// write puts both forms side by side.
func (list heldViews) write(w io.Writer) (err error) {
	for i, v := range list {
		if i > 0 {
			err = errors.Join(err, say(w, ""))
		}
		err = errors.Join(err, say(w, "%s of feed %s, held since %s", v.ID, v.Feed, when(v.Since)))
		for _, r := range v.Reasons {
			err = errors.Join(err, say(w, "  %s (%s)", r.Text.Text(), r.Code))
		}
		t := &rows{head: []string{"", "COUNTS", "CAME"}}
		old, now := fieldsOf(v.Last, v.Entry, v.Record, v.Score), fieldsOf(v.Came, v.CameEntry, v.CameRecord, v.CameScore)
		for _, f := range fieldNames(old, now) {
			mark := ""
			if old[f] != now[f] {
				mark = " *"
			}
			t.add(f+mark, old[f], now[f])
		}
		t.add("record", string(v.Was.Short()), string(v.Raw.Short()))
		t.add("source of the snapshot", "", v.Source)
		t.add("proof", "", v.Proof)
		err = errors.Join(err, t.write(w))
	}
	return err
}

// heldFields is the order in which a record's fields are shown.
var heldFields = []string{"by", "published", "modified", "withdrawn", "aliases", "severity", "added", "due", "ransomware", "product", "state",
	string(cve.Exploitation), string(cve.Automatable), string(cve.Impact), "cvss", "epss"}

// fieldNames are the fields that either form has; packages last.
func fieldNames(old, now map[string]string) (out []string) {
	for _, f := range heldFields {
		if old[f] != "" || now[f] != "" {
			out = append(out, f)
		}
	}
	seen := map[string]bool{}
	for _, m := range []map[string]string{old, now} {
		for f := range m {
			if strings.Contains(f, " ") && !seen[f] && !slices.Contains(heldFields, f) {
				seen[f] = true
			}
		}
	}
	return append(out, slices.Sorted(maps.Keys(seen))...)
}

// factFields tells what a CVE record says.
func factFields(r *cve.Record) map[string]string {
	out := map[string]string{"published": when(r.Published), "modified": when(r.Modified), "state": r.Status}
	f := cve.Settle(r.CVE, cve.Book{Snapshot: advisory.Snapshot{Kind: cve.Kind}, Records: []cve.Record{*r}})
	for _, p := range cve.Points {
		if a := f.Point(p); a.Value != "" {
			out[string(p)] = a.Value + " (" + a.Claims[0].Source + ")"
		}
	}
	if f.Score != nil {
		out["cvss"] = f.Score.Base() + " (" + f.Score.Source + ")"
	}
	return out
}

// fieldsOf tells an advisory, an entry of KEV, a CVE record or a score field by
// field.
func fieldsOf(a *advisory.Advisory, e *kev.Entry, r *cve.Record, s *epss.Score) map[string]string {
	out := map[string]string{}
	if r != nil {
		out = factFields(r)
	}
	if s != nil {
		out["epss"] = s.Share()
	}
	if e != nil {
		out["added"], out["due"], out["ransomware"], out["product"] = e.Added, e.Due, e.Ransomware, e.Vendor.Text()+" "+e.Product.Text()
	}
	if a == nil {
		return out
	}
	out["by"], out["published"], out["modified"] = a.Source, when(a.Published), when(a.Modified)
	if a.Withdrawn > 0 {
		out["withdrawn"] = when(a.Withdrawn)
	}
	out["aliases"] = strings.Join(a.Names()[1:], " ")
	put := func(list []advisory.Severity) {
		for _, s := range list {
			out["severity"] = strings.TrimSpace(out["severity"] + " " + s.Type + ":" + s.Score)
		}
	}
	put(a.Severities)
	for _, f := range a.Affected {
		put(f.Severities)
		key := f.Ecosystem + " " + f.Package
		text := out[key]
		for _, r := range f.Ranges {
			text += fmt.Sprintf(" [%s, %s)", r.Introduced, r.Fixed+r.LastAffected)
		}
		if len(f.Versions) > 0 {
			text += fmt.Sprintf(" and %d versions", len(f.Versions))
		}
		out[key] = strings.TrimSpace(text + " " + string(f.Status))
	}
	return out
}

func quarantineReleaseCmd() *cobra.Command {
	var by, why, code, raw string
	cmd := &cobra.Command{
		Use:   "release FEED [RECORD]",
		Short: "let held records count, by your word",
		Long: "Your word binds to the very bytes that are held and to those that they replace: another form of the record is held again.\n" +
			"It is kept in the depot before anything changes (patchwrit feed quarantine words), and a control plane that reads the\n" +
			"depot enters it into its log before the record counts there. Without RECORD, --code names which are meant.",
		Example: "  patchwrit feed quarantine release debian DEBIAN-CVE-2026-1001 --by alice --why 'withdrawn on the tracker too, read there today'\n" +
			"  patchwrit feed quarantine release kev --code PW-POISON-FLOOD --by alice --why 'CISA announced the import'",
		Args: between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if by == "" || why == "" {
				return usagef("--by and --why say who releases it and why; both are kept")
			}
			if len(args) < 2 && code == "" {
				return usagef("say which: RECORD, or --code CODE for all that are held for it")
			}
			d, err := openDepot(cmd)
			if err != nil {
				return err
			}
			w, err := d.Release(cmd.Context(), args[0], func(h depot.Held) bool {
				return (len(args) < 2 || h.ID == args[1]) && (raw == "" || string(h.Raw) == raw) && (code == "" || held(h, code))
			}, by, why, time.Now().Unix())
			if err != nil {
				return err
			}
			return present(cmd, w, line(fmt.Sprintf("%s: %d records count from now on, by the word of %s", args[0], len(w.Records), by)))
		},
	}
	f := cmd.Flags()
	f.StringVar(&by, "by", "", "who says so")
	f.StringVar(&why, "why", "", "the reason; it is kept")
	f.StringVar(&code, "code", "", "those that are held for this reason, and for no other")
	f.StringVar(&raw, "raw", "", "the form with this digest, where one id is held in several")
	addDepotFlag(cmd)
	addFormatFlag(cmd)
	return cmd
}

// held reports whether a record is held for one reason alone.
func held(h depot.Held, code string) bool {
	for _, r := range h.Reasons {
		if string(r.Code) != code {
			return false
		}
	}
	return true
}

func quarantineWordsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "words [FEED]",
		Short: "list by whose word held records came to count",
		Args:  between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := openDepot(cmd)
			if err != nil {
				return err
			}
			names, err := d.Names()
			if err != nil {
				return err
			}
			if len(args) > 0 {
				names = args
			}
			list := []depot.Word{}
			t := &rows{head: []string{"FEED", "AT", "KIND", "BY", "RECORDS", "WHY"}}
			for _, name := range names {
				words, err := d.Words(name)
				if err != nil {
					return err
				}
				list = append(list, words...)
				for _, w := range words {
					about := fmt.Sprint(len(w.Records))
					if len(w.Records) == 1 {
						about = w.Records[0].ID
					}
					t.add(name, when(w.At), w.Kind, w.By.Text(), about, w.Why.Text())
				}
			}
			return present(cmd, list, t)
		},
	}
	addDepotFlag(cmd)
	addFormatFlag(cmd)
	return cmd
}
