package debworld

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// CacheEnv names the variable that moves the cache of base roots.
const CacheEnv = "PATCHWRIT_CACHE"

// lockPoll is how often a waiting builder looks whether the other one is done.
const lockPoll = 200 * time.Millisecond

// aptConf goes into every base root. It keeps clones small (no binary caches,
// no translations), dpkg's output a pipe, and changes nothing that decides what
// apt accepts.
const aptConf = `Acquire::Languages "none";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dpkg::Use-Pty "0";
`

// policyRC keeps maintainer scripts from starting services: nothing supervises
// them in a root.
const policyRC = "#!/bin/sh\nexit 101\n"

// Recipe is all that decides what a base root holds, apart from the state of
// the mirror on the day it is built.
type Recipe struct {
	Suite   string
	Variant string            // of mmdebstrap
	Include []string          // packages besides the variant's
	Options []string          // of dpkg, from the first package on
	Files   map[string]string // written into the finished root, path → content
	Links   map[string]string // symbolic links made in the finished root, path → target
}

// theRecipe makes a small host with pending security updates: only the suite
// main is used, and ca-certificates brings openssl and libssl3.
var theRecipe = Recipe{
	Suite:   Codename,
	Variant: "apt",
	Include: []string{"ca-certificates"},
	Files: map[string]string{
		"etc/apt/apt.conf.d/90patchwrit-world": aptConf,
		"usr/sbin/policy-rc.d":                 policyRC,
	},
}

// Name is the same for the same recipe, and another for every other.
func (r Recipe) Name() string {
	sum := sha256.New()
	fmt.Fprintf(sum, "1\n%s\n%s\n%s\n%v", r.Suite, r.Variant, strings.Join(r.Include, ","), r.Files)
	if len(r.Options)+len(r.Links) > 0 {
		fmt.Fprintf(sum, "\n%q\n%v", r.Options, r.Links)
	}
	return r.Suite + "-" + hex.EncodeToString(sum.Sum(nil))[:12]
}

// CacheDir is where base roots are kept when the caller names no place:
// $PATCHWRIT_CACHE, else patchwrit in the user's cache directory.
func CacheDir() (string, error) {
	if dir := os.Getenv(CacheEnv); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for the cache of base roots: %w; set %s", err, CacheEnv)
	}
	return filepath.Join(dir, "patchwrit"), nil
}

// BaseRoot returns the directory of the base root in cacheDir (empty:
// [CacheDir]) and builds it first, for minutes, if it is not there. Its suite is
// main only, so security updates are pending. Several processes may ask at the
// same time: one builds, the others wait. What the builder says goes to
// progress, which may be nil.
//
// The directory is shared: never change it, [Clone] or [Copy] it.
func BaseRoot(ctx context.Context, cacheDir string, progress io.Writer) (string, error) {
	return theRecipe.Base(ctx, cacheDir, progress)
}

// Base is [BaseRoot] for any recipe.
func (r Recipe) Base(ctx context.Context, cacheDir string, progress io.Writer) (string, error) {
	if cacheDir == "" {
		var err error
		if cacheDir, err = CacheDir(); err != nil {
			return "", err
		}
	}
	if progress == nil {
		progress = io.Discard
	}
	return r.base(ctx, cacheDir, progress)
}

func (r Recipe) base(ctx context.Context, cacheDir string, progress io.Writer) (string, error) {
	if runtime.GOARCH != "amd64" {
		return "", Missing{Facts: []string{"packages and roots are made for amd64, this machine is " + runtime.GOARCH}}
	}
	// Root is needed also for what is there already: a root cannot be entered without.
	if err := need(true, "unshare"); err != nil {
		return "", err
	}
	roots := filepath.Join(cacheDir, "roots")
	done := filepath.Join(roots, r.Name())
	if _, err := os.Stat(done); err == nil {
		return done, nil
	}
	if err := need(true, "mmdebstrap", "apt-get", "dpkg"); err != nil {
		return "", err
	}
	mirror, err := MirrorSources()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(roots, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, done+".lock", progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(done); err == nil { // another process built it meanwhile
		return done, nil
	}
	return done, r.build(ctx, mirror, done, progress)
}

// build makes the root beside its final place and renames it when it is whole.
// The caller holds the lock.
func (r Recipe) build(ctx context.Context, m Mirror, done string, progress io.Writer) error {
	half := done + ".half"
	if err := errors.Join(Unmount(half), removeTree(half)); err != nil { // a killed builder's
		return err
	}
	start := time.Now()
	fmt.Fprintf(progress, "building a base root of Debian %s from this machine's mirror (once, some minutes)\n", r.Suite)
	if err := r.mmdebstrap(ctx, m, half, progress); err != nil {
		return errors.Join(err, Unmount(half), removeTree(half))
	}
	if err := r.furnish(m, half); err != nil {
		return errors.Join(err, removeTree(half))
	}
	if err := os.Rename(half, done); err != nil {
		return err
	}
	fmt.Fprintf(progress, "base root is ready after %s\n", time.Since(start).Round(time.Second))
	return nil
}

func (r Recipe) mmdebstrap(ctx context.Context, m Mirror, target string, progress io.Writer) error {
	var tail tailBuffer
	args := []string{"--mode=root", "--format=directory",
		"--variant=" + r.Variant, "--include=" + strings.Join(r.Include, ","),
		"--keyring=" + m.Keyring, "--dpkgopt=force-unsafe-io",
		`--aptopt=Acquire::Languages "none"`}
	for _, o := range r.Options {
		args = append(args, "--dpkgopt="+o)
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", append(args,
		r.Suite, target, fmt.Sprintf("deb %s %s main", m.Main, r.Suite))...)
	cmd.Env = commandEnv()
	cmd.Stdout = io.MultiWriter(progress, &tail)
	cmd.Stderr = cmd.Stdout
	// Its own mount namespace, so that a killed build leaves no mount behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second // for grandchildren that keep the pipe open
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mmdebstrap could not build the base root: %w; its last words:\n%s", err, tail.String())
	}
	return nil
}

// furnish puts in the recipe's files, links and an honest main-only sources list.
func (r Recipe) furnish(m Mirror, dir string) error {
	files := map[string]string{
		"etc/apt/sources.list": fmt.Sprintf("deb [signed-by=%s] %s %s main\n", archiveKeyring, m.Main, r.Suite),
	}
	for path, content := range r.Files {
		files[path] = content
	}
	for path, content := range files {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(content, "#!") {
			mode = 0o755
		}
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, []byte(content), mode); err != nil {
			return err
		}
	}
	for path, target := range r.Links {
		full := filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.RemoveAll(full)); err != nil {
			return err
		}
		if err := os.Symlink(target, full); err != nil {
			return err
		}
	}
	return nil
}

// lock takes an exclusive lock on the file at path, or waits for it until ctx
// ends. The lock goes with the process, however it ends.
func lock(ctx context.Context, path string, progress io.Writer) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for told := false; ; told = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if err != syscall.EWOULDBLOCK {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !told {
			fmt.Fprintln(progress, "another process is building the base root; waiting for it")
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for another builder of the base root: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// tailBuffer keeps the last words of a long output.
type tailBuffer struct{ buf bytes.Buffer }

const tailSize = 4 << 10

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if extra := t.buf.Len() - tailSize; extra > 0 {
		t.buf.Next(extra)
	}
	return len(p), nil
}

func (t *tailBuffer) String() string { return t.buf.String() }
