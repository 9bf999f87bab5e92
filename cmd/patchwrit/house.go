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
	"github.com/patchwrit/patchwrit/trust"
)

// addHouseFlags adds what says whose word counts.
func addHouseFlags(cmd *cobra.Command) {
	cmd.Flags().String("trust", os.Getenv("PATCHWRIT_TRUST"), "directory of the trust repository (or PATCHWRIT_TRUST)")
	cmd.Flags().String("root-sha256", os.Getenv("PATCHWRIT_ROOT_SHA256"), "SHA-256 of its first root, as you were given it apart from the directory (or PATCHWRIT_ROOT_SHA256)")
}

// houseNamed reports whether the person said whose word counts.
func houseNamed(cmd *cobra.Command) bool {
	dir, _ := cmd.Flags().GetString("trust")
	pin, _ := cmd.Flags().GetString("root-sha256")
	return dir != "" && pin != ""
}

// openHouse loads the trust root that the flags name.
func openHouse(cmd *cobra.Command) (trust.Root, error) {
	dir, err := cmd.Flags().GetString("trust")
	if err != nil {
		return trust.Root{}, err
	}
	pin, err := cmd.Flags().GetString("root-sha256")
	if err != nil {
		return trust.Root{}, err
	}
	if dir == "" || pin == "" {
		return trust.Root{}, usagef("say whose word counts: --trust DIR and --root-sha256 HEX (or PATCHWRIT_TRUST and PATCHWRIT_ROOT_SHA256)")
	}
	if !canon.Digest(pin).Valid() {
		return trust.Root{}, usagef("--root-sha256 takes 64 lower-case hexadecimal digits, not %q", pin)
	}
	return trust.Load(os.DirFS(dir), canon.Digest(pin), trust.Versions{}, time.Now())
}

// writeFile stores bytes so that a crash leaves the old file or the new one.
// A path of "-" or "" is the standard output.
func writeFile(cmd *cobra.Command, path string, b []byte) error {
	if path == "" || path == "-" {
		_, err := cmd.OutOrStdout().Write(append(b, '\n'))
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".patchwrit-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("%s was not written: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

// maxFile bounds every file a person hands to the tool, but artefacts.
const maxFile = canon.MaxBytes

// readFile reads a file a person named, bounded, also where it has no size of its
// own: a pipe, a device. The newline that editors and shells put at the end is not
// part of it.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes; files of this kind have at most %d", path, info.Size(), maxFile)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s goes on; files of this kind have at most %d bytes", path, maxFile)
	}
	if n := len(b); err == nil && n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
	}
	return b, err
}

// maxAgeHelp is what --max-age of a look says.
const maxAgeHelp = "a feed whose newest record is older cannot say that a system is clean; a feed of the depot has its own age (max_age) unless this is given"

// depotAge is --max-age in seconds for feeds of the depot, of which each has an age of
// its own: 0, that one, unless the flag was given.
func depotAge(cmd *cobra.Command) (int64, error) {
	if !cmd.Flags().Changed("max-age") {
		return 0, nil
	}
	age, err := maxAge(cmd)
	return max(1, int64(age/time.Second)), err
}

// maxAge reads --max-age, which is none below nought.
func maxAge(cmd *cobra.Command) (time.Duration, error) {
	age, err := cmd.Flags().GetDuration("max-age")
	if err == nil && age < 0 {
		err = usagef("--max-age takes a length of time like 336h, not %s", age)
	}
	return age, err
}

// output reads -o and refuses what is not offered.
func output(cmd *cobra.Command, offered ...string) (string, error) {
	o, err := cmd.Flags().GetString("output")
	if err != nil {
		return "", err
	}
	for _, f := range offered {
		if o == f {
			return o, nil
		}
	}
	return "", usagef("-o takes one of %v, not %q", offered, o)
}

// nonce makes 32 random bytes in lower hex.
func nonce() string { return fmt.Sprintf("%x", randomBytes(32)) }
