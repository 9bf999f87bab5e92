package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/store/sqlite"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/tlog/writer"
	"github.com/patchwrit/patchwrit/trust"
)

func init() { verbs = append(verbs, restoreCmd) }

// Why a backup is not restored.
const (
	codeArchive refusal.Code = "PW-RESTORE-ARCHIVE" // the file is no whole backup
	codeTree    refusal.Code = "PW-RESTORE-TREE"    // the events are not the tree that witnesses saw
	codeBehind  refusal.Code = "PW-RESTORE-BEHIND"  // the witnesses have seen more, or too few answer
)

// restoreCmd makes a data directory of a backup.
func restoreCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "make a data directory of a backup, and prove that its log goes on",
		Long: "Restore unpacks a backup into a directory that is not there yet, builds the log's tree again from the record's\n" +
			"events, holds it to the checkpoint in the backup, and has the witnesses cosign it: they refuse a tree that is\n" +
			"shorter than what they have seen, or another one. Then nothing is restored (PW-RESTORE-BEHIND): there is a newer\n" +
			"backup, or keepers sign a new log. Afterwards start patchwrit up on the directory; agents go on by themselves,\n" +
			"because the TLS key is the same.\n\n" +
			"End the old control plane first, for good: two that write one log split it.",
		Example: "  patchwrit restore /mnt/backup/patchwrit.tar --data /var/lib/patchwrit --trust /etc/patchwrit/trust --root-sha256 3f2a…",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, err := openHouse(cmd)
			if err != nil {
				return err
			}
			dir, err := dataDir(cmd)
			if err != nil {
				return err
			}
			n, err := restore(cmd.Context(), args[0], dir, root)
			if err != nil {
				return fmt.Errorf("nothing was restored: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d log entries; the witnesses have cosigned them\n", n)
			return err
		},
	}
	addHouseFlags(cmd)
	addDataFlag(cmd)
	return cmd
}

// restore makes dir of the backup, whole or not at all.
func restore(ctx context.Context, file, dir string, root trust.Root) (entries int, err error) {
	if _, err := os.Stat(dir); err == nil {
		return 0, usagef("%s is there already: restore into a directory that is not", dir)
	}
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	temp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".restore-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(temp)
	if err := unpackBackup(f, temp); err != nil {
		return 0, err
	}
	leaves, err := restoreRecord(ctx, temp)
	if err != nil {
		return 0, err
	}
	if err := restoreLog(ctx, temp, root, leaves); err != nil {
		return 0, err
	}
	return len(leaves), os.Rename(temp, dir)
}

// Limits of an archive.
const (
	maxSaved    = 2_000_000 // files
	maxManifest = canon.MaxBytes
)

// unpackBackup writes the archive's files below dir, and looks whether they are
// those of its manifest. The record is left beside as it came.
func unpackBackup(r io.Reader, dir string) error {
	no := func(format string, args ...any) error { return refusal.New(codeArchive, format, args...) }
	had, in := []saved{}, tar.NewReader(r)
	for len(had) < maxSaved {
		h, err := in.Next()
		if err != nil {
			return no("it ends before its manifest: %v", err)
		}
		if h.Typeflag != tar.TypeReg || !expected(h.Name) {
			return no("it holds %q", canon.NoteOf(h.Name))
		}
		if h.Name == manifestName {
			raw, err := io.ReadAll(io.LimitReader(in, maxManifest))
			if err != nil {
				return no("manifest: %v", err)
			}
			var m manifest
			if err := canon.Decode(raw, &m); err != nil || m.Type != typeManifest || !slices.Equal(m.Files, had) {
				return no("its files are not those of its manifest (%v)", err)
			}
			return nil
		}
		s, err := unpackOne(in, dir, h)
		if err != nil {
			return err
		}
		had = append(had, s)
	}
	return no("it holds more than %d files", maxSaved)
}

// expected reports whether a name is one that a backup has.
func expected(name string) bool {
	if name == manifestName || name == recordName || slices.Contains(keptFiles, name) {
		return true
	}
	top, _, below := strings.Cut(name, "/")
	return below && (slices.Contains(keptDirs, top) || top == "pool") && filepath.IsLocal(filepath.FromSlash(name)) && !strings.Contains(name, "//")
}

func unpackOne(in io.Reader, dir string, h *tar.Header) (saved, error) {
	path := filepath.Join(dir, filepath.FromSlash(h.Name))
	if h.Name == recordName {
		path += ".saved"
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return saved{}, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return saved{}, refusal.New(codeArchive, "%s: %v", canon.NoteOf(h.Name), err)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), in)
	if err != nil {
		err = refusal.New(codeArchive, "%s: %v", canon.NoteOf(h.Name), err)
	}
	return saved{h.Name, n, digestOf(sum)}, errors.Join(err, f.Sync(), f.Close())
}

// restoreRecord puts the record in its place, and reads the log's leaves from
// its events.
func restoreRecord(ctx context.Context, dir string) ([]tlog.Entry, error) {
	path := filepath.Join(dir, recordName+".saved")
	f, err := os.Open(path)
	if err != nil {
		return nil, refusal.New(codeArchive, "it holds no record: %v", err)
	}
	err = sqlite.Restore(ctx, f, dir)
	if err = errors.Join(err, f.Close(), os.Remove(path)); err != nil {
		return nil, err
	}
	s, err := sqlite.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	leaves, err := leavesOf(ctx, s)
	return leaves, errors.Join(err, s.Close())
}

// leavesOf are the log's entries in their order: those whose place is known,
// and then those that wait, in the order in which they are handed over.
func leavesOf(ctx context.Context, s store.Store) ([]tlog.Entry, error) {
	var placed []store.Event
	var waiting []tlog.Entry
	for e, err := range s.Events(ctx, 0) {
		switch {
		case err != nil:
			return nil, err
		case e.Entry == tlog.Entry{}:
		case e.Index >= 0:
			placed = append(placed, store.Event{Position: e.Position, Index: e.Index, Entry: e.Entry})
		default:
			waiting = append(waiting, e.Entry)
		}
	}
	slices.SortFunc(placed, func(a, b store.Event) int { return cmp.Compare(a.Index, b.Index) })
	leaves, there := []tlog.Entry{}, map[tlog.Entry]bool{}
	for _, e := range placed {
		switch {
		case there[e.Entry] && e.Index < int64(len(leaves)) && leaves[e.Index] == e.Entry: // one entry of two events
		case e.Index != int64(len(leaves)) || there[e.Entry]:
			return nil, refusal.New(codeTree, "event %d has place %d in the log, and the events before it fill %d", e.Position, e.Index, len(leaves))
		default:
			leaves, there[e.Entry] = append(leaves, e.Entry), true
		}
	}
	for _, e := range waiting {
		if !there[e] {
			leaves, there[e] = append(leaves, e), true
		}
	}
	return leaves, nil
}

// restoreLog builds the tree from its leaves, holds it to the saved checkpoint,
// and has the witnesses cosign it.
func restoreLog(ctx context.Context, dir string, root trust.Root, leaves []tlog.Entry) error {
	if err := checkTree(dir, root, leaves); err != nil {
		return err
	}
	l, err := openLedger(ctx, dir, root, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := l.log.Fill(ctx, leaves, logWait); err != nil {
		done, cancel := context.WithTimeout(ctx, lastWait)
		defer cancel()
		l.log.Close(done) // its directory is thrown away
		if refusal.CodeOf(err) == writer.CodeWitnesses {
			return refusal.New(codeBehind, "%v", err)
		}
		return err
	}
	return l.close()
}

// checkTree holds the leaves to the checkpoint that was published when the
// backup began.
func checkTree(dir string, root trust.Root, leaves []tlog.Entry) error {
	path := filepath.Join(dir, filepath.FromSlash(checkpointName))
	signed, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // nothing was ever published
	}
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil { // the new log begins in an empty directory
		return err
	}
	policy, err := tlog.ParsePolicy(root.Witnesses)
	if err != nil {
		return err
	}
	seen, err := policy.Checkpoint(bytes.TrimRight(signed, "\x00"))
	if err != nil {
		return refusal.New(codeTree, "the saved checkpoint: %v", err)
	}
	size := seen.Checkpoint.Size
	if size > int64(len(leaves)) {
		return refusal.New(codeTree, "the events make %d entries, the checkpoint has %d", len(leaves), size)
	}
	hash, err := treeOf(leaves[:size])
	if err != nil {
		return err
	}
	if size > 0 && hash != seen.Checkpoint.Hash {
		return refusal.New(codeTree, "the first %d entries make another tree than the checkpoint names", size)
	}
	return nil
}

// treeOf is the root over entries, as RFC 6962.
func treeOf(leaves []tlog.Entry) (canon.Digest, error) {
	var all []sumdb.Hash
	read := sumdb.HashReaderFunc(func(indexes []int64) ([]sumdb.Hash, error) {
		out := make([]sumdb.Hash, len(indexes))
		for i, n := range indexes {
			out[i] = all[n]
		}
		return out, nil
	})
	for i, e := range leaves {
		leaf, err := e.Leaf()
		if err != nil {
			return "", err
		}
		add, err := sumdb.StoredHashes(int64(i), leaf, read)
		if err != nil {
			return "", err
		}
		all = append(all, add...)
	}
	hash, err := sumdb.TreeHash(int64(len(leaves)), read)
	return canon.Digest(fmt.Sprintf("%x", hash[:])), err
}
