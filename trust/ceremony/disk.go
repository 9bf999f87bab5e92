package ceremony

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// order is the order in which files are written, so that the repository loads
// after each of them: targets, hosts, targets.json, snapshot; timestamp.json
// makes them count; a new root comes last, since what it governs is signed by
// the keepers before it and by its own.
func (f Files) order() []string {
	rank := func(name string) int {
		for i, part := range []string{"targets/", ".hosts.json", ".targets.json", ".snapshot.json", "timestamp.json"} {
			if strings.Contains(name, part) {
				return i
			}
		}
		return 5
	}
	names := slices.Sorted(maps.Keys(f))
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	return names
}

// writeFiles puts each file in its place at once and durably.
func writeFiles(dir string, f Files, order []string) error {
	for _, name := range order {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := replace(path, f[name], 0o644); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return syncDir(filepath.Dir(dir))
}

// replace writes a file beside its place, syncs it, and renames it over.
func replace(path string, b []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".patchwrit-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already when all went well
	_, err = tmp.Write(b)
	if err := errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// resolve is the absolute path with every symbolic link on the way resolved, also
// when its end does not exist yet.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(abs) != abs {
		parent, err := resolve(filepath.Dir(abs))
		return filepath.Join(parent, filepath.Base(abs)), err
	}
	return resolved, err
}

// within reports whether path is dir or lies below it.
func within(path, dir string) (bool, error) {
	p, err := resolve(path)
	if err != nil {
		return false, err
	}
	d, err := resolve(dir)
	if err != nil {
		return false, err
	}
	rel, err := filepath.Rel(d, p)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../"), nil
}
