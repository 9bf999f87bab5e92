package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/feed"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
)

// addSinceFlag adds what a feed is held to.
func addSinceFlag(cmd *cobra.Command) {
	cmd.Flags().StringArray("since", nil, "an earlier reading that you trust of the --feed at the same place (repeatable): what has changed since is judged before it counts")
	cmd.Flags().String("release", "", "JSON file with a list of records that people release from quarantine: id, raw and was as scan -o json shows them, by, why, at (Unix seconds)")
}

// readSince reads the earlier readings of the feeds whose places in o.Feeds are
// given.
func readSince(cmd *cobra.Command, places []int, age time.Duration, o *solve.Options) error {
	if cmd.Flags().Lookup("since") == nil {
		return nil
	}
	since, err := cmd.Flags().GetStringArray("since")
	if err != nil {
		return err
	}
	if len(since) > len(places) {
		return usagef("%d --since for %d --feed that are files or URLs: each --since is an earlier reading of the --feed at its place", len(since), len(places))
	}
	o.Since = map[int]advisory.Set{}
	for i, source := range since {
		set, err := feed.Read(cmd.Context(), source, feed.Options{Now: o.Now})
		if err != nil {
			return coded(err)
		}
		set.Snapshot = set.Snapshot.Aged(o.Now.Unix(), int64(age/time.Second))
		o.Since[places[i]] = set
	}
	return readReleases(cmd, o)
}

// maxReleases bounds the file of --release; one release has about 300 bytes.
const maxReleases = 1 << 20

func readReleases(cmd *cobra.Command, o *solve.Options) error {
	name, err := cmd.Flags().GetString("release")
	if err != nil || name == "" {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	d := json.NewDecoder(io.LimitReader(f, maxReleases))
	d.DisallowUnknownFields()
	if err := d.Decode(&o.Released); err != nil {
		return usagef("--release %s is no list of releases (%v)", name, err)
	}
	return nil
}

// concerned reports whether a held record names something that is installed: then
// part of the answer is unknown.
func (r scanReport) concerned() bool {
	for _, h := range r.Held {
		if len(h.Packages) > 0 {
			return true
		}
	}
	return false
}

// mark tells each finding which held records are about it, and each held entry of
// KEV which packages it is about.
func (r *scanReport) mark() {
	for k := range r.Held {
		h := &r.Held[k]
		for i := range r.Findings {
			f := &r.Findings[i]
			key := solve.Key(f.Finding)
			named := slices.Contains(f.Names(), h.ID) || slices.ContainsFunc(f.Sources, func(s match.Source) bool { return s.Advisory == h.ID && s.Feed == h.Feed })
			if h.Last == nil && h.Came == nil && len(h.Subjects) == 0 && named && !slices.Contains(h.Packages, key) {
				h.Packages = append(h.Packages, key) // of KEV
				slices.Sort(h.Packages)
			}
			if named && slices.Contains(h.Packages, key) {
				f.Held = append(f.Held, h.Feed+" "+h.ID)
			}
		}
	}
}

// heldTable writes a line for each held record and reason.
func (r scanReport) heldTable(w io.Writer) (err error) {
	for _, h := range r.Held {
		about := "concerns nothing that is installed"
		if len(h.Packages) > 0 {
			about = "concerns " + strings.Join(h.Packages, " ")
		}
		for _, why := range h.Reasons {
			_, e := fmt.Fprintf(w, "quarantined: %s: %s (%s); %s\n", h.ID, why.Text.Text(), why.Code, about)
			err = errors.Join(err, e)
		}
	}
	return err
}
