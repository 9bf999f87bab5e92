package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Pinned versions; grype's stands in grypedb/go.mod.
const (
	osvScanner  = "github.com/google/osv-scanner/v2/cmd/osv-scanner@v2.6.0"
	osvVersion  = "osv-scanner 2.6.0"
	osvGo       = "go1.27.0" // its go.mod asks for it
	grypeModule = "github.com/anchore/grype/cmd/grype"
	grypeName   = "grype 0.121.2"
)

func (w *world) bin(name string) string { return filepath.Join(w.dir, "bin", name) }

// tools builds the peers and ourselves. A peer that cannot be built is left out,
// by name.
func (w *world) tools() error {
	if _, err := exec.LookPath("time"); err != nil {
		return fmt.Errorf("time(1) is needed to measure memory: apt-get install time")
	}
	if err := os.MkdirAll(w.bin(""), 0o755); err != nil {
		return err
	}
	w.install("osv-scanner", []string{"GOTOOLCHAIN=" + osvGo}, ".", "go", "install", "-trimpath", "-ldflags=-s -w", osvScanner)
	w.install("grype", nil, "internal/bench/peers/grypedb", "go", "install", "-trimpath", "-ldflags=-s -w", grypeModule)
	w.install("grypedb", nil, "internal/bench/peers/grypedb", "go", "install", "-trimpath", ".")
	return command(".", []string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", w.bin(""), "./cmd/patchwrit", "./cmd/patchwrit-scan")
}

// install runs what puts a tool into the own bin directory, once.
func (w *world) install(name string, env []string, dir string, argv ...string) {
	if w.without != "" && strings.HasPrefix(name, w.without) {
		w.missing = append(w.missing, name+", by -without")
		return
	}
	if w.has(name) {
		return
	}
	say("installing %s into %s: %s", name, w.bin(""), strings.Join(argv, " "))
	if err := command(dir, append(env, "GOBIN="+w.bin("")), argv...); err != nil {
		w.missing = append(w.missing, fmt.Sprintf("%s could not be built: %s", name, lastLine(err)))
	}
}

func (w *world) has(name string) bool {
	_, err := os.Stat(w.bin(name))
	return err == nil && (w.without == "" || !strings.HasPrefix(name, w.without))
}

func command(dir string, env []string, argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}

func lastLine(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return lines[len(lines)-1]
}

// compile makes the prebuilt data of both: grype's database, by its own writer,
// and our index.
func (w *world) compile() error {
	if err := command(".", []string{"PATCHWRIT_FEEDS=" + filepath.Join(w.dir, "none")}, w.bin("patchwrit"), "feed", "compile", "--feed", w.zip, "-o", w.index); err != nil {
		return err
	}
	if !w.has("grype") || !w.has("grypedb") {
		return nil
	}
	say("writing grype's database")
	if err := os.RemoveAll(w.grype); err != nil {
		return err
	}
	return command(".", nil, w.bin("grypedb"), w.zip, w.grype)
}
