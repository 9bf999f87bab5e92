package debworld

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Names of the library pair and its consumer.
const (
	LibraryName   = "libpwdemo1"
	LibrarySoname = "libpwdemo.so.1"
	LibraryPath   = "/usr/lib/x86_64-linux-gnu/" + LibrarySoname
	RemovedSymbol = "pwdemo_old"
	ConsumerName  = "pwdemo-app"
	ConsumerPath  = "/usr/bin/pwdemo-app"
)

//go:embed library/*.c
var librarySources embed.FS

// ABIBreak is a library update that keeps its SONAME and loses a symbol, and a
// program that needs this symbol.
type ABIBreak struct {
	Old, New Package // LibraryName 1.0-1 and 1.1-1; New has lost RemovedSymbol
	Good     Package // LibraryName 1.0-2: rebuilt, nothing lost
	// Consumer prints "pwdemo 1" and ends; with the argument "hold" it prints
	// "holding" and keeps the library mapped until it is killed.
	Consumer Package
}

// BuildABIBreak compiles the library and the consumer with the machine's gcc,
// once for each state of sources and compiler: the results are kept below
// cacheDir (empty: [CacheDir]).
func BuildABIBreak(ctx context.Context, cacheDir string) (ABIBreak, error) {
	if err := need(false, "gcc"); err != nil {
		return ABIBreak{}, err
	}
	if cacheDir == "" {
		var err error
		if cacheDir, err = CacheDir(); err != nil {
			return ABIBreak{}, err
		}
	}
	dir, err := compiled(ctx, filepath.Join(cacheDir, "library"))
	if err != nil {
		return ABIBreak{}, err
	}
	bins := map[string]string{}
	for _, name := range []string{"old.so", "good.so", "new.so", "app"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return ABIBreak{}, err
		}
		bins[name] = string(raw)
	}
	return ABIBreak{
		Old:  libraryPackage("1.0-1", bins["old.so"]),
		Good: libraryPackage("1.0-2", bins["good.so"]),
		New:  libraryPackage("1.1-1", bins["new.so"]),
		Consumer: Package{
			Name: ConsumerName, Version: "1.0-1", Depends: "libc6, " + LibraryName + " (>= 1.0)",
			Files: map[string]File{ConsumerPath: {Content: bins["app"], Mode: 0o755}},
		},
	}, nil
}

func libraryPackage(version, so string) Package {
	return Package{
		Name: LibraryName, Version: version, Source: "pwdemo", Section: "libs", MultiArch: "same",
		Files:   map[string]File{LibraryPath: {Content: so}},
		Control: map[string]string{"shlibs": "libpwdemo 1 " + LibraryName + "\n", "triggers": "activate-noawait ldconfig\n"},
	}
}

// compiled returns the directory that holds the compiled files.
func compiled(ctx context.Context, cache string) (string, error) {
	key := sha256.New()
	version, err := exec.CommandContext(ctx, "gcc", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("gcc --version: %w", err)
	}
	fmt.Fprintf(key, "%s%q\n", version, steps)
	sources, err := librarySources.ReadDir("library")
	if err != nil {
		return "", err
	}
	for _, s := range sources {
		raw, err := librarySources.ReadFile("library/" + s.Name())
		if err != nil {
			return "", err
		}
		fmt.Fprintf(key, "%s %d\n%s", s.Name(), len(raw), raw)
	}
	done := filepath.Join(cache, hex.EncodeToString(key.Sum(nil))[:12])
	if _, err := os.Stat(done); err == nil {
		return done, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	half, err := os.MkdirTemp(cache, "half-")
	if err != nil {
		return "", err
	}
	if err := compile(ctx, half); err != nil {
		return "", errors.Join(err, os.RemoveAll(half))
	}
	if err := os.Rename(half, done); err != nil { // another process was quicker: same files
		return done, os.RemoveAll(half)
	}
	return done, nil
}

// steps are the arguments of gcc: the three states of the library, built without
// the C library so that it fits every root, and the consumer.
var steps = [][]string{
	library("old.so", "-DOLD", "-DRELEASE=1"),
	library("good.so", "-DOLD", "-DRELEASE=2"),
	library("new.so", "-DRELEASE=3"),
	{"-o", "app", "library/app.c", "old.so"},
}

func library(out string, defines ...string) []string {
	return append([]string{"-o", out, "library/pwdemo.c", "-shared", "-fPIC", "-nostdlib", "-Wl,-soname," + LibrarySoname}, defines...)
}

// compile runs the steps in dir.
func compile(ctx context.Context, dir string) error {
	if err := os.CopyFS(dir, librarySources); err != nil {
		return err
	}
	for _, step := range steps {
		// Nothing of this machine or this minute goes into the bytes.
		args := append([]string{"-O1", "-s", "-Wl,--build-id=none", "-fno-ident"}, step...)
		cmd := exec.CommandContext(ctx, "gcc", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			if strings.Contains(string(out), "No such file") { // gcc without libc6-dev
				return Missing{Facts: []string{"gcc cannot build: " + strings.TrimSpace(string(out)) + "; install libc6-dev"}}
			}
			return fmt.Errorf("gcc %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}
