package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/match/flat"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
	"github.com/patchwrit/patchwrit/refusal"
)

func feedCompileCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compile",
		Short: "compile feeds once into a file that scans look things up in",
		Long: "What a scan over the file (scan --index, patchwrit-scan) finds is what it finds over the feeds; it reads no zip and no JSON.\n" +
			"The file holds the feeds' snapshots and their digests; the same snapshots give the same bytes. It is replaced whole or not at all.\n\n" +
			"Exit code 6: the file was written, and a feed could not be read whole.",
		Example: "  patchwrit feed compile --feed Debian.zip --feed vex/ -o debian.index\n" +
			"  patchwrit scan --index debian.index --feed Debian.zip --feed vex/",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			feeds, err := cmd.Flags().GetStringArray("feed")
			if err != nil {
				return err
			}
			out, err := cmd.Flags().GetString("out")
			if err != nil {
				return err
			}
			if out == "" {
				return usagef("say where to: -o FILE")
			}
			return compileFeeds(cmd, feeds, out)
		},
	}
	cmd.Flags().StringArray("feed", nil, "vulnerability feed: file, zip, directory, URL, or the name of one in the depot (repeatable; default: all of the depot)")
	addDepotFlag(cmd)
	cmd.Flags().StringP("out", "o", "", "file to write")
	return cmd
}

func compileFeeds(cmd *cobra.Command, feeds []string, out string) error {
	now := time.Now()
	c, err := choose(cmd)
	if err != nil {
		return err
	}
	sets, held, err := c.sets(cmd.Context(), now, func(string, ...any) {})
	if err != nil {
		return err
	}
	for i := range sets {
		noteHeld(&sets[i].Snapshot, held)
	}
	for _, source := range feeds {
		if slices.Contains(c.names, source) {
			continue // read from the depot
		}
		set, err := feed.Read(cmd.Context(), source, feed.Options{Now: now})
		if err != nil {
			return err
		}
		sets = append(sets, set)
	}
	if len(sets) == 0 {
		return usagef("say what to compile: --feed PATH|URL|NAME, or fill the depot (patchwrit feed update)")
	}
	digest, size, err := writeIndex(out, sets)
	if err != nil {
		return err
	}
	partial := false
	for _, s := range sets {
		s := s.Snapshot
		if err := say(cmd.OutOrStdout(), "%s: %d records, %d gaps, %s", s.Source, s.Count, len(s.Partial), s.Digest.Short()); err != nil {
			return err
		}
		partial = partial || len(s.Partial) > 0
	}
	if err := say(cmd.OutOrStdout(), "%s: %d bytes, %s", out, size, digest); err != nil || !partial {
		return err
	}
	return exit{code: exitPartial}
}

// maxHeldGaps is how many held records are named in a compiled file; the others
// are counted.
const maxHeldGaps = 100

// noteHeld makes a gap of each record that is held: who reads the compiled file
// has no depot to ask.
func noteHeld(s *advisory.Snapshot, held []solve.Held) {
	n := 0
	for _, h := range held {
		if h.Feed != s.Name {
			continue
		}
		if n++; n <= maxHeldGaps {
			s.Partial = append(slices.Clip(s.Partial), advisory.Gap{Record: h.ID, Why: "it is in quarantine and counts as it did before, or not at all"})
		}
	}
	if n > maxHeldGaps {
		s.Partial = append(s.Partial, advisory.Gap{Why: canon.NoteOf(fmt.Sprintf("and %d more records are in quarantine", n-maxHeldGaps))})
	}
}

// writeIndex puts a compiled file in its place when it is whole and on the disk.
func writeIndex(path string, sets []advisory.Set) (digest canon.Digest, size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if digest, err = flat.Write(f, sets...); err != nil {
		return "", 0, fmt.Errorf("%s: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return "", 0, err
	}
	return digest, info.Size(), os.Rename(f.Name(), path)
}

// openIndex opens a compiled file and sees that it was made from feeds as they
// are now. The file stays open as long as the process lives.
func openIndex(ctx context.Context, name string, c chosen, feeds []string, now time.Time) (match.Records, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--index: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "--index", Path: name, Err: errors.New("it is no regular file")}
	}
	ix, err := flat.Open(f, info.Size(), now.Unix())
	if err != nil {
		return nil, fmt.Errorf("--index %s: %w", name, err)
	}
	for _, source := range feeds {
		digest, err := c.digestOf(ctx, source)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(ix.Snapshots(), func(s advisory.Snapshot) bool { return s.Digest == digest }) {
			return nil, refusal.New(flat.Stale, "%s has digest %s, which is none of those that %s was made from", source, digest.Short(), name)
		}
	}
	return ix, nil
}

// digestOf is the digest that a feed has now: of the file or directory, or of
// the depot's snapshot in use.
func (c chosen) digestOf(ctx context.Context, source string) (canon.Digest, error) {
	if strings.Contains(source, "://") {
		return "", usagef("--feed %s beside --index: only files, directories and the depot's feeds can be compared with an index", shown(source))
	}
	if !slices.Contains(c.names, source) {
		return feed.DigestOf(ctx, source)
	}
	f, _, err := c.depot.Feed(source)
	if err != nil {
		return "", err
	}
	k, _ := f.InUse()
	return k.Digest, nil
}
