package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/store/sqlite"
)

func init() { verbs = append(verbs, backupCmd) }

// backupCmd copies a data directory that may be in use.
func backupCmd() *cobra.Command {
	var to string
	var pool bool
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "copy the control plane's data directory into one file, while up runs",
		Long: "Backup writes record, keys, blobs, inventories and the log's newest checkpoint into one file (mode 0600: it holds\n" +
			"the keys). The record is as of one moment; the log's tree is not copied, because it is made of the record again.\n" +
			"Vendors' bytes are fetched again after a restore, unless --pool takes them along.\n\n" +
			"What happens after the backup is not in it. A log that witnesses have seen grow since cannot go on from it:\n" +
			"then keepers sign a new log (patchwrit trust). Take backups often, to another machine.",
		Example: "  patchwrit backup --data /var/lib/patchwrit --to /mnt/backup/patchwrit.tar",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := dataDir(cmd)
			if err != nil {
				return err
			}
			if to == "" {
				return usagef("say where the copy goes: --to FILE")
			}
			n, err := backup(cmd.Context(), dir, to, pool)
			if err != nil {
				return fmt.Errorf("no backup was made: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d files in %s\n", n, to)
			return err
		},
	}
	addDataFlag(cmd)
	cmd.Flags().StringVar(&to, "to", "", "file for the copy; it is replaced when it is there")
	cmd.Flags().BoolVar(&pool, "pool", false, "take vendors' bytes along")
	return cmd
}

// manifestName is the archive's last file: every other file's digest.
const manifestName = "manifest.json"

// typeManifest is the type of a manifest.
const typeManifest = "patchwrit/backup/v1"

// manifest says what is in a backup.
type manifest struct {
	Type  string  `json:"type"`
	At    int64   `json:"at"` // Unix seconds
	Files []saved `json:"files"`
}

type saved struct {
	Name   string       `json:"name"`
	Size   int64        `json:"size"`
	Digest canon.Digest `json:"digest"`
}

// recordName and checkpointName are the archive's names of what is not copied
// as it lies in the directory.
const (
	recordName     = sqlite.FileName
	checkpointName = "log/checkpoint"
)

// keptFiles and keptDirs are what a backup takes along. The checkpoint comes
// before the record: all that it covers is in the record then.
var (
	keptFiles = []string{checkpointName, "log.key", "tls.key", operatorToken, "policy.tar.gz"}
	keptDirs  = []string{"blobs", "hosts", "bodies", "plans"}
)

// backup writes the archive and counts its files.
func backup(ctx context.Context, dir, to string, pool bool) (n int, err error) {
	f, err := os.CreateTemp(filepath.Dir(to), ".backup-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	a := &archive{tar: tar.NewWriter(f), m: manifest{Type: typeManifest, At: time.Now().Unix(), Files: []saved{}}}
	dirs := keptDirs
	if pool {
		dirs = append(slices.Clone(dirs), "pool")
	}
	for _, step := range []func() error{
		func() error { return a.files(dir, keptFiles) },
		func() error { return a.record(ctx, dir) },
		func() error { return a.dirs(dir, dirs) },
		a.close,
	} {
		if err := step(); err != nil {
			return 0, errors.Join(err, f.Close())
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return 0, err
	}
	return len(a.m.Files), os.Rename(f.Name(), to)
}

// archive is a backup in the making.
type archive struct {
	tar *tar.Writer
	m   manifest
}

// add writes one file.
func (a *archive) add(name string, size int64, r io.Reader) error {
	if err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: size, ModTime: time.Unix(a.m.At, 0)}); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(a.tar, sum), r, size); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	a.m.Files = append(a.m.Files, saved{name, size, digestOf(sum)})
	return nil
}

func digestOf(h hash.Hash) canon.Digest { return canon.Digest(hex.EncodeToString(h.Sum(nil))) }

func (a *archive) file(dir, name string) error {
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return a.add(name, info.Size(), f)
}

// files adds those that are there.
func (a *archive) files(dir string, names []string) error {
	for _, name := range names {
		if err := a.file(dir, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// record adds the record as of one moment.
func (a *archive) record(ctx context.Context, dir string) error {
	temp, err := os.CreateTemp(dir, ".copy-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if err := sqlite.Copy(ctx, dir, temp); err != nil {
		return err
	}
	size, err := temp.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if _, err := temp.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return a.add(recordName, size, temp)
}

// dirs adds the files below directories. What is gone when it is its turn was
// replaced, and what replaced it is not spoken of in the record yet.
func (a *archive) dirs(dir string, names []string) error {
	for _, top := range names {
		err := fs.WalkDir(os.DirFS(dir), top, func(name string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case strings.HasPrefix(d.Name(), "."):
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil // being written
			case !d.Type().IsRegular():
				return nil
			}
			if err := a.file(dir, name); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// close writes the manifest and ends the archive.
func (a *archive) close() error {
	raw, err := canon.Encode(a.m)
	if err != nil {
		return err
	}
	if err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: manifestName, Mode: 0o600, Size: int64(len(raw)), ModTime: time.Unix(a.m.At, 0)}); err != nil {
		return err
	}
	_, err = a.tar.Write(raw)
	return errors.Join(err, a.tar.Close())
}
