package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/depot"
)

func init() { verbs = append(verbs, feedCmd) }

func feedCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "feed",
		Short: "fetch, keep and carry what the world says about vulnerabilities",
		Long: "The depot is a directory that keeps snapshots of feeds by digest. What came is judged before it counts; what was\n" +
			"refused is kept aside, and until it is settled the feed's answers are unknown.",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(feedUpdateCmd(), feedBundleCmd(), feedImportCmd(), feedLsCmd(), feedAcceptCmd(), feedQuarantineCmd(), feedRmCmd(), feedCompileCmd())
	return cmd
}

// addDepotFlag adds what says where the depot is.
func addDepotFlag(cmd *cobra.Command) {
	cmd.Flags().String("feeds", os.Getenv("PATCHWRIT_FEEDS"), "the depot's directory (or PATCHWRIT_FEEDS; default: in the user's cache)")
}

// depotDir is --feeds, else a directory in the user's cache.
func depotDir(cmd *cobra.Command) (string, error) {
	dir, err := cmd.Flags().GetString("feeds")
	if err != nil || dir != "" {
		return dir, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", usagef("there is no cache directory for feeds (%v): give one with --feeds", err)
	}
	return filepath.Join(cache, "patchwrit", "feeds"), nil
}

func openDepot(cmd *cobra.Command) (*depot.Depot, error) {
	dir, err := depotDir(cmd)
	if err != nil {
		return nil, err
	}
	return depot.Open(dir, nil), nil
}

// feedRow is one feed in feed ls.
type feedRow struct {
	depot.Feed
	State   depot.Standing `json:"state"`
	Records int            `json:"records"`
	Newest  int64          `json:"newest"` // newest record, Unix seconds
	Fetched int64          `json:"fetched"`
	Age     int64          `json:"age"` // seconds since a source last gave or confirmed it
	Digest  canon.Digest   `json:"digest"`
	Source  string         `json:"source"`
	Proof   canon.Note     `json:"proof"`
	Held    int            `json:"held"` // records that do not count as they came
}

func feedLsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "list the depot's feeds and how each of them stands",
		Long: "STATE: ok; stale (not confirmed, or without a new record, for longer than its maximal age); refused (something newer\n" +
			"was refused); partial (parts could not be read); empty (nothing was accepted yet). HELD counts the records that do not\n" +
			"count as they came (patchwrit feed quarantine ls). -o json lists every snapshot.\n\n" +
			"Exit code 6: not every feed is ok.",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := openDepot(cmd)
			if err != nil {
				return err
			}
			list, err := listFeeds(d, time.Now().Unix())
			if err != nil {
				return err
			}
			if err := present(cmd, list, feedTable(list)); err != nil {
				return err
			}
			return notAllOK(list)
		},
	}
	addDepotFlag(cmd)
	addFormatFlag(cmd)
	return cmd
}

func listFeeds(d *depot.Depot, now int64) ([]feedRow, error) {
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	list := []feedRow{}
	for _, name := range names {
		f, ok, err := d.Feed(name)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue // removed meanwhile
		}
		l := feedRow{Feed: f, State: f.Standing(now)}
		if k, ok := f.InUse(); ok {
			l.Records, l.Newest, l.Fetched, l.Digest, l.Source, l.Proof, l.Age = k.Count, k.Newest, k.Fetched, k.Digest, k.Source, k.Proof, now-f.Checked
			l.Held = k.Held
		}
		list = append(list, l)
	}
	return list, nil
}

// feedTable is the list for people; below a feed that is not right stands why.
func feedTable(list []feedRow) tabular {
	t := &rows{head: []string{"NAME", "KIND", "RECORDS", "NEWEST", "FETCHED", "AGE", "HELD", "STATE", "DIGEST", "SOURCE"}}
	notes := feedNotes{table: t}
	for _, l := range list {
		age := ""
		if l.Fetched > 0 {
			age = (time.Duration(l.Age) * time.Second).Truncate(time.Minute).String()
		}
		t.add(l.Name, l.Kind, fmt.Sprint(l.Records), when(l.Newest), when(l.Fetched), age, fmt.Sprint(l.Held), string(l.State), l.Digest.Short(), l.Source)
		if a, ok := l.Aside(); ok {
			for _, r := range a.Reasons {
				notes.lines = append(notes.lines, fmt.Sprintf("%s: refused %s of %s: %s (%s)", l.Name, a.Digest, when(a.Fetched), r.Text.Text(), r.Code))
			}
		}
		if l.Failure != "" {
			notes.lines = append(notes.lines, fmt.Sprintf("%s: the attempt of %s brought nothing: %s", l.Name, when(l.Tried), oneLine(l.Failure.Text())))
		}
	}
	return notes
}

// feedNotes is a table with lines below it.
type feedNotes struct {
	table *rows
	lines []string
}

func (n feedNotes) write(w io.Writer) error {
	err := n.table.write(w)
	for _, l := range n.lines {
		err = errors.Join(err, say(w, "%s", l))
	}
	return err
}

func feedAcceptCmd() *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use:   "accept NAME DIGEST",
		Short: "let a refused snapshot count, by your word",
		Long:  "The whole snapshot is used from now on, and nothing of it is held. Your word is kept with it, and with what spoke against it.",
		Args:  exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if why == "" {
				return usagef("say why it may count: --why TEXT")
			}
			if !canon.Digest(args[1]).Valid() {
				return usagef("DIGEST is the whole SHA-256, as patchwrit feed ls prints it, not %q", args[1])
			}
			d, err := openDepot(cmd)
			if err != nil {
				return err
			}
			k, err := d.Accept(cmd.Context(), args[0], canon.Digest(args[1]), why, time.Now().Unix())
			if err != nil {
				return err
			}
			return say(cmd.OutOrStdout(), "%s: %d records of %s count from now on", args[0], k.Count, k.Digest.Short())
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "your reason; it is kept")
	addDepotFlag(cmd)
	return cmd
}

func feedRmCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm NAME",
		Short: "forget a feed and its snapshots",
		Long:  "With the snapshots goes what would show that a later one is older than they were.",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := openDepot(cmd)
			if err != nil {
				return err
			}
			return d.Remove(args[0])
		},
	}
	addDepotFlag(cmd)
	return cmd
}
