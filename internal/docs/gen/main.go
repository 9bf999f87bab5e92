// Command gen makes the derived parts of docs/: the test vectors, refusals.md,
// the table of linked modules in DEPENDENCIES.md and that of attacks in THREATS.md.
//
// The party is an engineer who has changed a format, a refusal or a dependency
// on purpose and looks at the difference before committing it. Nothing is
// written that the rooms themselves would not judge as the vectors say.
//
// Usage, from the repository's root: go run ./internal/docs/gen
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing/fstest"

	"github.com/patchwrit/patchwrit/internal/docs"
)

func main() {
	if err := run("docs"); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	vectors := filepath.Join(dir, "vectors")
	if _, err := os.Stat(vectors); err != nil {
		return fmt.Errorf("run it from the repository's root: %w", err)
	}
	files, err := docs.Vectors(os.DirFS(vectors))
	if err != nil {
		return err
	}
	made, all := fstest.MapFS{}, map[string][]byte{}
	for name, b := range files {
		made[name] = &fstest.MapFile{Data: b}
		all[filepath.Join(vectors, name)] = b
	}
	if err := docs.Check(made); err != nil {
		return fmt.Errorf("the vectors do not hold, so nothing was written: %w", err)
	}
	all[filepath.Join(dir, "refusals.md")] = docs.Refusals()
	path := filepath.Join(dir, "DEPENDENCIES.md")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	linked, err := docs.Linked(".")
	if err != nil {
		return err
	}
	if all[path], err = docs.WithTable(text, linked); err != nil {
		return err
	}
	threats := filepath.Join(dir, "THREATS.md")
	if text, err = os.ReadFile(threats); err != nil {
		return err
	}
	if all[threats], err = docs.WithAttacks(text); err != nil {
		return err
	}
	for name, b := range all {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
